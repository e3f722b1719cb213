//! Quotes that go wrong on demand.

use std::collections::VecDeque;
use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::cpu::Cpu;
use crate::pseudo::Errno;
use crate::quoting::Quoting;
use crate::{EnclaveIdentity, QuoteForm};

/// What goes wrong when a quote is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuoteFault {
    /// It fails with this error of the system, by number.
    Fails(i32),
    /// The host's AESM was restarted under a Gramine before 1.8: EACCES, now and for ever.
    AesmRestarted,
    /// Another part of the program has written its report data in between.
    OtherCall,
    /// The host hands over the quote of another enclave.
    OtherEnclave,
    /// The quote was made before the microcode was updated.
    OtherMicrocode,
    /// Only the first bytes come.
    Torn(usize),
    /// More comes than any quote has.
    TooLong,
}

/// The quotes of one enclave, as its library OS gets them.
pub(crate) struct FaultyQuotes {
    cpu: Arc<Cpu>,
    quoting: Arc<Quoting>,
    enclave: EnclaveIdentity,
    faults: VecDeque<QuoteFault>,
    stuck: bool,
    count: usize,
}

impl FaultyQuotes {
    pub(crate) fn new(cpu: Arc<Cpu>, quoting: Arc<Quoting>, enclave: EnclaveIdentity) -> Self {
        Self { cpu, quoting, enclave, faults: VecDeque::new(), stuck: false, count: 0 }
    }

    pub(crate) fn fault(&mut self, fault: QuoteFault) {
        self.faults.push_back(fault);
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The size of a quote.
    pub(crate) fn size(&self) -> Option<usize> {
        let report = self.cpu.ereport(&self.enclave, &self.quoting.targetinfo(), &[0; 64]).ok()?;
        self.quoting.sgx_quote(&report).ok().map(|quote| quote.len())
    }

    pub(crate) fn quote(&mut self, report_data: &mut [u8; 64]) -> Result<Vec<u8>, Errno> {
        self.count += 1;
        let fault = self.faults.pop_front();
        let mut enclave = self.enclave.clone();
        let mut cpusvn = self.cpu.cpusvn;
        match fault {
            Some(QuoteFault::Fails(error)) => return Err(Errno::from_i32(error)),
            Some(QuoteFault::AesmRestarted) => self.stuck = true,
            Some(QuoteFault::OtherCall) => *report_data = [0xEE; 64],
            Some(QuoteFault::OtherEnclave) => enclave.mrenclave = [0xEE; 32],
            Some(QuoteFault::OtherMicrocode) => cpusvn[0] = cpusvn[0].wrapping_sub(1),
            Some(QuoteFault::Torn(_) | QuoteFault::TooLong) | None => {}
        }
        if self.stuck {
            return Err(Errno::EACCES);
        }
        let quote = match fault {
            Some(QuoteFault::OtherEnclave | QuoteFault::OtherMicrocode) => {
                let body = enclave.report_body(&cpusvn, report_data);
                self.quoting.quote(QuoteForm::SgxV3, body.as_bytes())
            }
            _ => {
                let report = self.cpu.ereport(&enclave, &self.quoting.targetinfo(), report_data);
                self.quoting.sgx_quote(&report.map_err(|_| Errno::EACCES)?)
            }
        };
        let mut quote = quote.map_err(|_| Errno::EACCES)?;
        match fault {
            Some(QuoteFault::Torn(length)) => quote.truncate(length),
            Some(QuoteFault::TooLong) => quote.resize(8193, 0),
            _ => {}
        }
        Ok(quote)
    }
}
