//! Connections that are held for nothing, as hostile peers do.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a crowd looks whether it is still there, and those who drip send a byte.
const PULSE: Duration = Duration::from_millis(100);

/// What a crowd does.
#[derive(Clone, Copy)]
pub(crate) struct Manners {
    /// Connections that send nothing.
    pub(crate) idle: usize,
    /// Connections that send a length and then the body byte by byte.
    pub(crate) dripping: usize,
    /// Whether who is closed comes again at once.
    pub(crate) return_at_once: bool,
}

/// Held until this value ends.
pub(crate) struct Crowd {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Crowd {
    pub(crate) fn gather(at: SocketAddr, manners: Manners, frame: &[u8]) -> Self {
        let (end, frame) = (Arc::new(AtomicBool::new(false)), frame.to_vec());
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let Manners { idle, dripping, return_at_once } = manners;
            let first = |number| if number < idle { &[] } else { frame.get(..4).expect("a length") };
            let mut members: Vec<_> = (0..idle + dripping).map(|number| join(at, first(number))).collect();
            let mut came = members.len();
            for drip in frame.iter().skip(4).cycle() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                for (number, member) in members.iter_mut().enumerate() {
                    match member.as_mut().filter(|stream| !is_closed(stream)) {
                        Some(_) if number < idle => {}
                        Some(stream) => drop(stream.write(&[*drip])),
                        None if return_at_once => {
                            *member = join(at, first(number));
                            came += 1;
                        }
                        None => *member = None,
                    }
                }
                thread::sleep(PULSE);
            }
            came
        });
        Self { end, thread: Some(thread) }
    }

    /// Lets go, and says how many connections there were in all.
    pub(crate) fn disperse(mut self) -> usize {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().unwrap())
    }
}

fn join(at: SocketAddr, first: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_nonblocking(true).ok()?;
    let _ = stream.write(first);
    Some(stream)
}

/// Whether the peer has ended it; nobody is sent anything here.
fn is_closed(stream: &TcpStream) -> bool {
    let mut byte = [0];
    match stream.peek(&mut byte) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}
