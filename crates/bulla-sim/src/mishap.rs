//! What goes wrong on demand, by the names that people give it.

use std::str::FromStr;

use crate::{Error, GuestFault, QuoteFault, SnpCommand, SnpFault};

/// Something that goes wrong once, the next time that it can, by its name.
///
/// A name means the same in every machine, as far as the interface there shows it: a host that is busy is EBUSY in Gramine and
/// in a TDX guest, and EINVAL in Occlum, which knows no other error.
///
/// ```
/// use bulla_sim::Mishap;
///
/// let mishap: Mishap = "quote-fails=EIO".parse()?;
/// assert!("quote-fails".parse::<Mishap>().is_err());
/// assert!(Mishap::all().any(|(name, _)| name == "quote-fails=ERRNO"));
/// # Ok::<(), bulla_sim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mishap {
    name: &'static str,
    /// With a quote of an enclave.
    pub(crate) quote: Option<QuoteFault>,
    /// In the kernel of a TDX guest.
    pub(crate) guest: Option<GuestFault>,
    /// In the kernel of a SEV-SNP guest.
    pub(crate) snp: Option<(SnpCommand, SnpFault)>,
    /// At an `ENCLU`.
    pub(crate) enclu: Option<EncluFault>,
}

/// What goes wrong at an `ENCLU`, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EncluFault {
    /// It ends with this status.
    Status(u32),
    /// #GP(0) or #PF.
    Exception,
    /// The enclave's pages are gone.
    EpcLost,
    /// The microcode is updated or downgraded after it.
    Microcode(crate::Step),
}

impl Mishap {
    /// All of them: how each is written, and what it does.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        KNOWN.iter().map(|known| (known.usage, known.does))
    }

    /// Its name, without what follows.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    const NOTHING: Self = Self { name: "", quote: None, guest: None, snp: None, enclu: None };

    const fn quote(fault: QuoteFault) -> Self {
        Self { quote: Some(fault), ..Self::NOTHING }
    }

    const fn guest(fault: GuestFault) -> Self {
        Self { guest: Some(fault), ..Self::NOTHING }
    }

    const fn snp(command: SnpCommand, fault: SnpFault) -> Self {
        Self { snp: Some((command, fault)), ..Self::NOTHING }
    }

    const fn enclu(fault: EncluFault) -> Self {
        Self { enclu: Some(fault), ..Self::NOTHING }
    }

    const fn or_in_a_guest(mut self, fault: GuestFault) -> Self {
        self.guest = Some(fault);
        self
    }
}

impl FromStr for Mishap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let known = KNOWN.iter().find(|known| known.name() == name);
        let known = known.ok_or_else(|| Error::Mishap(format!("there is no {name:?}")))?;
        match (known.make)(value) {
            Some(mishap) if value.is_empty() != known.usage.contains('=') => {
                Ok(Self { name: known.name(), ..mishap })
            }
            _ => Err(Error::Mishap(format!("it is written {}", known.usage))),
        }
    }
}

/// How one is written, what it does, and what it is with the value that follows its name.
struct Known {
    usage: &'static str,
    does: &'static str,
    make: fn(&str) -> Option<Mishap>,
}

impl Known {
    fn name(&self) -> &'static str {
        self.usage.split('=').next().unwrap_or_default()
    }
}

const KNOWN: &[Known] = &[
    Known {
        usage: "quote-fails=ERRNO",
        does: "the next quote fails with this error, by its name or number; a guest's host refuses with EIO",
        make: |errno| {
            Some(Mishap::quote(QuoteFault::Fails(number(errno)?)).or_in_a_guest(GuestFault::QuoteFails))
        },
    },
    Known {
        usage: "quote-busy",
        does: "an earlier quote is still being made (EBUSY)",
        make: |_| Some(Mishap::quote(QuoteFault::Fails(libc::EBUSY)).or_in_a_guest(GuestFault::QuoteBusy)),
    },
    Known {
        usage: "quote-timeout",
        does: "the host does not answer (ETIMEDOUT)",
        make: |_| {
            Some(Mishap::quote(QuoteFault::Fails(libc::ETIMEDOUT)).or_in_a_guest(GuestFault::QuoteTimeout))
        },
    },
    Known {
        usage: "epc-exhausted",
        does: "no memory is left for the quoting enclave: the next quote of an enclave fails (EACCES)",
        make: |_| Some(Mishap::quote(QuoteFault::Fails(libc::EACCES))),
    },
    Known {
        usage: "aesm-restarted",
        does: "the host's aesmd was restarted under a Gramine before 1.8: no quote ever again (EACCES)",
        make: |_| Some(Mishap::quote(QuoteFault::AesmRestarted)),
    },
    Known {
        usage: "quote-torn=BYTES",
        does: "only the first bytes of the next quote come; of a guest's, always 1000",
        make: |bytes| {
            Some(Mishap::quote(QuoteFault::Torn(bytes.parse().ok()?)).or_in_a_guest(GuestFault::QuoteCutOff))
        },
    },
    Known {
        usage: "quote-too-long",
        does: "more comes than any quote of an enclave has",
        make: |_| Some(Mishap::quote(QuoteFault::TooLong)),
    },
    Known {
        usage: "quote-over-others-data",
        does: "the next quote is over report data that another caller wrote in between",
        make: |_| Some(Mishap::quote(QuoteFault::OtherCall).or_in_a_guest(GuestFault::OtherReader)),
    },
    Known {
        usage: "quote-of-other",
        does: "the host hands over the quote of another enclave or guest",
        make: |_| Some(Mishap::quote(QuoteFault::OtherEnclave).or_in_a_guest(GuestFault::QuoteOfOther)),
    },
    Known {
        usage: "quote-of-other-microcode",
        does: "the next quote was made before the microcode was updated",
        make: |_| Some(Mishap::quote(QuoteFault::OtherMicrocode)),
    },
    Known {
        usage: "quote-empty",
        does: "the host refuses a guest, whose old kernel does not look: success, and an empty quote",
        make: |_| Some(Mishap::guest(GuestFault::QuoteEmpty)),
    },
    Known {
        usage: "quote-stale",
        does: "the same, and an earlier quote is still in the buffer",
        make: |_| Some(Mishap::guest(GuestFault::QuoteStale)),
    },
    Known {
        usage: "other-writer",
        does: "somebody else writes to a guest's request behind the next write",
        make: |_| Some(Mishap::guest(GuestFault::OtherWriter)),
    },
    Known {
        usage: "report-fails",
        does: "the TDX module refuses to make the next report (EIO)",
        make: |_| Some(Mishap::guest(GuestFault::ReportFails)),
    },
    Known {
        usage: "report-torn",
        does: "the TDX module gives something that is no report",
        make: |_| Some(Mishap::guest(GuestFault::ReportTorn)),
    },
    Known {
        usage: "report-over-others-data",
        does: "the next report of a guest is over other report data",
        make: |_| Some(Mishap::guest(GuestFault::ReportOfOther)),
    },
    Known {
        usage: "extend-ignored",
        does: "a run-time register of a guest stays as it is when it is extended",
        make: |_| Some(Mishap::guest(GuestFault::ExtendIgnored)),
    },
    Known {
        usage: "key-busy",
        does: "a sealing key of the TDX module is asked for while a register is being extended",
        make: |_| Some(Mishap::guest(GuestFault::KeyBusy)),
    },
    Known {
        usage: "key-fails",
        does: "the TDX module ends with a status that nobody knows",
        make: |_| Some(Mishap::guest(GuestFault::KeyFails)),
    },
    Known {
        usage: "key-zero",
        does: "the sealing key of the TDX module is all zero",
        make: |_| Some(Mishap::guest(GuestFault::KeyZero)),
    },
    Known {
        usage: "snp-report=FAULT",
        does: "SNP_GET_REPORT goes wrong, in one of the ways below",
        make: |fault| Some(Mishap::snp(SnpCommand::Report, snp(fault)?)),
    },
    Known {
        usage: "snp-extended-report=FAULT",
        does: "SNP_GET_EXT_REPORT does, or a report in configfs",
        make: |fault| Some(Mishap::snp(SnpCommand::ExtendedReport, snp(fault)?)),
    },
    Known {
        usage: "snp-key=FAULT",
        does: "SNP_GET_DERIVED_KEY does. FAULT is an error of the system, busy, throttled, host:CODE, firmware:CODE, \
               undecodable, shut, status:CODE, zero-key, others-data, size:BYTES, torn, no-measurement, unsigned, \
               no-certificates, many-certificates, other-writer or other-reader",
        make: |fault| Some(Mishap::snp(SnpCommand::Key, snp(fault)?)),
    },
    Known {
        usage: "enclu-status=NUMBER",
        does: "the next EGETKEY or EVERIFYREPORT2 ends with this status: 2, 28, 32, 64, 256 or any other",
        make: |status| {
            let status = status.parse().ok().filter(|status| *status != 0)?;
            Some(Mishap::enclu(EncluFault::Status(status)))
        },
    },
    Known {
        usage: "enclu-exception",
        does: "the next ENCLU raises an exception (SIGSEGV)",
        make: |_| Some(Mishap::enclu(EncluFault::Exception)),
    },
    Known {
        usage: "epc-lost",
        does: "at the next ENCLU the enclave's memory is gone, as after a suspension (SIGBUS)",
        make: |_| Some(Mishap::enclu(EncluFault::EpcLost)),
    },
    Known {
        usage: "microcode-up",
        does: "the machine's microcode is updated after the next ENCLU, as by `bulla sim microcode`",
        make: |_| Some(Mishap::enclu(EncluFault::Microcode(crate::Step::Up))),
    },
    Known {
        usage: "microcode-down",
        does: "the same, back",
        make: |_| Some(Mishap::enclu(EncluFault::Microcode(crate::Step::Down))),
    },
];

/// What a SEV-SNP guest meets.
fn snp(fault: &str) -> Option<SnpFault> {
    if let Some((name, value)) = fault.split_once(':') {
        let value = value.parse().ok()?;
        return match name {
            "host" => Some(SnpFault::HostRefuses(value)),
            "firmware" => Some(SnpFault::FirmwareRefuses(value)),
            "status" => Some(SnpFault::Status(value)),
            "size" => Some(SnpFault::Size(value)),
            _ => None,
        };
    }
    match fault {
        "busy" => Some(SnpFault::Busy),
        "throttled" => Some(SnpFault::Throttled),
        "undecodable" => Some(SnpFault::Undecodable),
        "shut" => Some(SnpFault::ChannelShut),
        "zero-key" => Some(SnpFault::ZeroKey),
        "others-data" => Some(SnpFault::OtherData),
        "torn" => Some(SnpFault::Torn),
        "no-measurement" => Some(SnpFault::NoMeasurement),
        "unsigned" => Some(SnpFault::Unsigned),
        "no-certificates" => Some(SnpFault::NoCertificates),
        "many-certificates" => Some(SnpFault::ManyCertificates),
        "other-writer" => Some(SnpFault::OtherWriter),
        "other-reader" => Some(SnpFault::OtherReader),
        errno => number(errno).map(SnpFault::Fails),
    }
}

/// An error of the system, by its name or number.
fn number(errno: &str) -> Option<i32> {
    let names = [
        ("EINTR", libc::EINTR),
        ("EIO", libc::EIO),
        ("EAGAIN", libc::EAGAIN),
        ("ENOMEM", libc::ENOMEM),
        ("EACCES", libc::EACCES),
        ("EFAULT", libc::EFAULT),
        ("EBUSY", libc::EBUSY),
        ("ENODEV", libc::ENODEV),
        ("EINVAL", libc::EINVAL),
        ("ENOSPC", libc::ENOSPC),
        ("EFBIG", libc::EFBIG),
        ("ENXIO", libc::ENXIO),
        ("ETIMEDOUT", libc::ETIMEDOUT),
    ];
    let named = names.iter().find(|(name, _)| *name == errno).map(|(_, number)| *number);
    named.or_else(|| errno.parse().ok().filter(|number| (1..4096).contains(number)))
}
