//! The quote generation service of a simulated machine, as Intel's qgsd speaks (DCAP, QuoteGeneration/quote_wrapper/qgs): it
//! reads a request once, makes one answer and hangs up.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bulla_tee::tdx::{QuoteService, TdReport};
use tempfile::TempDir;
use zerocopy::FromBytes;

use crate::cpu::Cpu;
use crate::quoting::Quoting;

const HEADER: usize = 16;
const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;
/// QGS_MSG_ERROR_UNEXPECTED: the one code that the service ever sends.
const UNEXPECTED: u32 = 0x0001_2001;

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceFault {
    /// It is an error with this code.
    Refuses(u32),
    /// It comes byte by byte.
    Split,
    /// Another answer comes right behind it.
    Coalesced,
    /// Only its first bytes come.
    Truncated(usize),
    /// Its length says that many bytes.
    Length(u32),
    /// The quote is over other report data.
    OtherCall,
    /// The quote is another guest's, over the same report data.
    OtherGuest,
    /// The quote is all zeros.
    Zeros,
    /// The quote is that many bytes longer.
    Longer(usize),
    /// A byte of its message is another one.
    Changed(usize),
    /// There is none.
    HangsUp,
}

/// A service that listens on a Unix socket of its own until this is dropped.
pub struct SimulatedQuoteService {
    folder: TempDir,
    faults: Arc<Mutex<VecDeque<ServiceFault>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SimulatedQuoteService {
    pub(crate) fn new(cpu: Arc<Cpu>, quoting: Arc<Quoting>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let listener = UnixListener::bind(socket(folder.path()))?;
        let faults = Arc::new(Mutex::new(VecDeque::new()));
        let ends = Arc::new(AtomicBool::new(false));
        let server = Server { cpu, quoting, faults: faults.clone() };
        let thread = thread::spawn({
            let ends = ends.clone();
            move || {
                for stream in listener.incoming() {
                    if ends.load(Ordering::SeqCst) {
                        return;
                    }
                    // Whoever hangs up first does not concern the next one.
                    let _ = stream.and_then(|stream| server.serve(stream));
                }
            }
        });
        Ok(Self { folder, faults, ends, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> QuoteService {
        QuoteService::Unix(socket(self.folder.path()))
    }

    /// Lets one of the next answers go wrong, after those that were said before.
    pub fn fail(&self, fault: ServiceFault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("qgs.socket")
}

impl fmt::Debug for SimulatedQuoteService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

impl Drop for SimulatedQuoteService {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        drop(UnixStream::connect(socket(self.folder.path())));
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

struct Server {
    cpu: Arc<Cpu>,
    quoting: Arc<Quoting>,
    faults: Arc<Mutex<VecDeque<ServiceFault>>>,
}

impl Server {
    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        let mut request = [0; 4096];
        let count = stream.read(&mut request)?;
        let (request, _) = request.split_at(count);
        let fault = self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(mut answer) = self.answer(request, fault.as_ref()) else { return Ok(()) };
        match fault {
            Some(ServiceFault::HangsUp) => return Ok(()),
            Some(ServiceFault::Truncated(length)) => answer.truncate(length),
            Some(ServiceFault::Coalesced) => answer.extend_from_within(..),
            Some(ServiceFault::Length(length)) => {
                answer.splice(..4, length.to_be_bytes());
            }
            Some(ServiceFault::Changed(at)) => {
                if let Some(byte) = answer.get_mut(4 + at) {
                    *byte ^= 1;
                }
            }
            Some(ServiceFault::Split) => {
                return answer.chunks(1).try_for_each(|byte| stream.write_all(byte));
            }
            _ => {}
        }
        stream.write_all(&answer)
    }

    /// The frame of the answer; none to what is no message, or not one in one piece.
    fn answer(&self, request: &[u8], fault: Option<&ServiceFault>) -> Option<Vec<u8>> {
        let (length, message) = request.split_first_chunk::<4>()?;
        let number = |at: usize| Some(u32::from_le_bytes(*message.get(at..)?.first_chunk()?));
        let major = u16::from_le_bytes(*message.first_chunk()?);
        let size = u32::from_be_bytes(*length);
        if number(8)? != size || size as usize != message.len() || major != 1 || number(4)? != REQUEST {
            return None;
        }
        let (report_size, list_size) = (number(HEADER)?, number(HEADER + 4)?);
        let body = message.get(HEADER + 8..)?;
        let fits = u64::from(report_size) + u64::from(list_size) == body.len() as u64 && number(12)? == 0;
        let report = TdReport::read_from_prefix(body).ok().filter(|_| fits && report_size == 1024);
        let quote = report.ok_or(UNEXPECTED).and_then(|(report, _)| self.quote(report, fault));
        let (code, quote) = match quote {
            Ok(quote) => (0, quote),
            Err(code) => (code, Vec::new()),
        };
        let size = (HEADER + 8 + quote.len()) as u32;
        let mut answer = size.to_be_bytes().to_vec();
        answer.extend_from_slice(&[1, 0, 1, 0]);
        for number in [RESPONSE, size, code, 0, quote.len() as u32] {
            answer.extend_from_slice(&number.to_le_bytes());
        }
        answer.extend_from_slice(&quote);
        Some(answer)
    }

    fn quote(&self, report: TdReport, fault: Option<&ServiceFault>) -> Result<Vec<u8>, u32> {
        let (mut td_info, mut data) = (report.td_info, report.report_mac.report_data);
        match fault {
            Some(ServiceFault::Refuses(code)) => return Err(*code),
            Some(ServiceFault::Zeros) => return Ok(vec![0; 5000]),
            Some(ServiceFault::OtherCall) => data = [0x0E; 64],
            Some(ServiceFault::OtherGuest) => td_info.mrtd = [0x0E; 48],
            _ => {}
        }
        let report = match fault {
            Some(ServiceFault::OtherCall | ServiceFault::OtherGuest) => self.cpu.tdreport(&td_info, &data),
            // As it came: the quoting enclave looks at its MAC.
            _ => report,
        };
        let mut quote = self.quoting.td_quote(&report).map_err(|_| UNEXPECTED)?;
        if let Some(ServiceFault::Longer(more)) = fault {
            quote.resize(quote.len() + more, 0);
        }
        Ok(quote)
    }
}
