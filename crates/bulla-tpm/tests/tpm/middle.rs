//! Somebody between a program and its TPM, who sees all that passes and changes what they like.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bulla_tpm::Tpm;

use crate::support::{SoftwareTpm, free_pair};

/// TPM 2.0 Library, part 2, TPM_CC.
pub(crate) const START_AUTH_SESSION: u32 = 0x176;
pub(crate) const NV_INCREMENT: u32 = 0x134;
pub(crate) const NV_READ: u32 = 0x14E;
pub(crate) const PCR_READ: u32 = 0x17E;
pub(crate) const UNSEAL: u32 = 0x15E;

/// What becomes of a command: its code and bytes go in; an answer that is given instead of asking the TPM can come out.
pub(crate) type Before = Box<dyn FnMut(u32, &[u8]) -> Option<Vec<u8>> + Send>;
/// What becomes of an answer.
pub(crate) type After = Box<dyn FnMut(u32, &mut Vec<u8>) + Send>;

pub(crate) struct Middle {
    port: u16,
    pub(crate) seen: Arc<Mutex<Vec<u8>>>,
}

impl Middle {
    pub(crate) fn new(software: &SoftwareTpm, before: Before, after: After) -> Self {
        let (data, control, port) = loop {
            let port = free_pair();
            let at = |port: u16| TcpListener::bind(("127.0.0.1", port));
            if let (Ok(data), Ok(control)) = (at(port), at(port + 1)) {
                break (data, control, port);
            }
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (upstream, record) = (software.port, Arc::clone(&seen));
        let mut meddler = (before, after);
        thread::spawn(move || {
            for client in data.incoming().map_while(Result::ok) {
                let Ok(tpm) = TcpStream::connect(("127.0.0.1", upstream)) else { break };
                while exchange(&client, &tpm, &mut meddler, &record).is_ok() {}
                let _ = tpm.shutdown(Shutdown::Both);
            }
        });
        thread::spawn(move || {
            for client in control.incoming().map_while(Result::ok) {
                let Ok(tpm) = TcpStream::connect(("127.0.0.1", upstream + 1)) else { break };
                let (mut up, mut to) = (client.try_clone().unwrap(), tpm.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = io::copy(&mut up, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (mut down, mut back) = (tpm, client);
                let _ = io::copy(&mut down, &mut back);
                let _ = back.shutdown(Shutdown::Both);
            }
        });
        Self { port, seen }
    }

    pub(crate) fn machine(&self) -> Tpm {
        Tpm::open(&format!("swtpm:host=127.0.0.1,port={}", self.port)).unwrap()
    }
}

fn exchange(
    mut client: &TcpStream,
    mut tpm: &TcpStream,
    (before, after): &mut (Before, After),
    record: &Mutex<Vec<u8>>,
) -> io::Result<()> {
    let command = message(client)?;
    let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
    let mut answer = match before(code, &command) {
        Some(instead) => instead,
        None => {
            tpm.write_all(&command)?;
            message(tpm)?
        }
    };
    record.lock().unwrap().extend([&command[..], &answer].concat());
    after(code, &mut answer);
    client.write_all(&answer)
}

/// Tag, size of the whole, code, and the rest.
fn message(mut from: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 10];
    from.read_exact(&mut bytes)?;
    bytes.resize(u32::from_be_bytes(bytes[2..6].try_into().unwrap()) as usize, 0);
    from.read_exact(&mut bytes[10..])?;
    Ok(bytes)
}
