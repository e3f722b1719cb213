//! What every machine has to do, and says so where it cannot. It knows `bulla-tee` and no machine, so that other crates
//! can take it in by its path.
#![allow(dead_code, unreachable_pub, reason = "each crate uses its part")]

use bulla_crypto::{Class, Role, RoleHash};
use bulla_tee::{Error, EvidenceKind, Policy, Register, SignerPolicy, Tee};
use zerocopy::FromZeros;

/// A machine, and what changes on it and around it.
pub trait Bench {
    /// What runs, started anew.
    fn start(&self) -> Box<dyn Tee>;

    /// Changes something; what is started from then on sees it.
    fn change(&mut self, change: Change);

    /// Whether the machine is a simulated one, and everything of it is marked so (R15, R110).
    fn is_simulated(&self) -> bool {
        true
    }

    /// Where evidence carries its 64 bytes.
    fn report_data_at(&self) -> usize;

    /// Whether evidence was made for these 64 bytes.
    fn carries(&self, evidence: &[u8], data: &[u8; 64]) -> bool {
        evidence.get(self.report_data_at()..).and_then(<[u8]>::first_chunk) == Some(data)
    }

    /// A local report of a guest of this machine, if it has guests.
    fn guest_report(&self) -> Option<bulla_tee::sgx::arch::ReportMac> {
        None
    }
}

/// What changes. The first program is what runs at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The machine's firmware gets better.
    Update,
    /// And worse again.
    Downgrade,
    /// A program with other measurements, of another signer.
    OtherProgram,
    /// The next version of the first program: other measurements, the same signer and product, a higher version.
    NextVersion,
    /// The first program, open to a debugger.
    Debug,
    /// The first program in another configuration.
    OtherConfiguration,
    /// The processor or the kernel has features that it did not have.
    Features,
    /// The first program on another machine of the same model.
    OtherMachine,
}

/// A backend: what it is, what ran when it was tested, and what it cannot do.
pub struct Row {
    /// The backend.
    pub name: &'static str,
    /// What answers the backend in these tests, at the hardware's own boundary.
    pub ran: &'static str,
    /// What it cannot do, the code of its refusal, and why.
    pub cannot: &'static [(Capability, &'static str, &'static str)],
    /// A new machine.
    pub bench: fn() -> Box<dyn Bench>,
}

/// What a machine can be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    Identity,
    Keys,
    Fresh,
    Restart,
    Update,
    Downgrade,
    Features,
    Measurement,
    Signer,
    Configuration,
    Debug,
    Machine,
    Quote,
    Report,
    Guests,
}

type Outcome = Result<(), Error>;

impl Capability {
    pub const ALL: [Self; 15] = [
        Self::Identity,
        Self::Keys,
        Self::Fresh,
        Self::Restart,
        Self::Update,
        Self::Downgrade,
        Self::Features,
        Self::Measurement,
        Self::Signer,
        Self::Configuration,
        Self::Debug,
        Self::Machine,
        Self::Quote,
        Self::Report,
        Self::Guests,
    ];

    /// The head of its column, and what it stands for.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Identity => ("identity", "says who runs"),
            Self::Keys => ("keys", "derives a key, and the same one again (R1)"),
            Self::Fresh => ("fresh", "no two sealings share a key or a request (R2)"),
            Self::Restart => ("restart", "a key survives a restart"),
            Self::Update => ("update", "a key survives an update of microcode or firmware (R5)"),
            Self::Downgrade => ("downgrade", "a key of newer firmware is refused on older, as too old (R5)"),
            Self::Features => ("features", "a key survives new features of the processor (R4)"),
            Self::Measurement => ("program", "a key is bound to the program (R8)"),
            Self::Signer => ("signer", "a key can be bound to signer, product and lowest version (R7)"),
            Self::Configuration => ("configuration", "a key can be bound to the configuration (R9)"),
            Self::Debug => ("debug", "a program open to a debugger has other keys (R3)"),
            Self::Machine => ("machine", "a key of another machine is refused as that"),
            Self::Quote => ("quote", "evidence for a verifier anywhere"),
            Self::Report => ("report", "evidence for an enclave on this machine"),
            Self::Guests => ("guests", "checks the local reports of TDX guests (R35)"),
        }
    }

    /// Tries it. A refusal comes back; whatever must not happen is a panic.
    fn attempt(self, mut bench: Box<dyn Bench>) -> Outcome {
        let bench = bench.as_mut();
        match self {
            Self::Identity => {
                let identity = bench.start().identity()?;
                assert_eq!(identity.is_simulated(), bench.is_simulated());
                Ok(())
            }
            Self::Keys => keys(bench),
            Self::Fresh => fresh(bench),
            Self::Restart => survives(bench, &[]),
            Self::Update => survives(bench, &[Change::Update]),
            Self::Downgrade => downgrade(bench),
            Self::Features => survives(bench, &[Change::Features]),
            Self::Measurement => refuses(bench, &Policy::measurement(), Change::OtherProgram),
            Self::Signer => signer(bench),
            Self::Configuration => configuration(bench),
            Self::Debug => refuses(bench, &Policy::measurement(), Change::Debug),
            Self::Machine => {
                let refused = other_machine(bench)?;
                assert!(matches!(refused, Error::OtherMachine), "{refused}");
                Ok(())
            }
            Self::Quote => quote(bench),
            Self::Report => report(bench),
            Self::Guests => guests(bench),
        }
    }
}

/// Every capability of a backend is there, or refused with the code that its row says.
pub fn conforms(row: &Row) {
    for capability in Capability::ALL {
        let outcome = capability.attempt((row.bench)());
        let cannot = row.cannot.iter().find(|(each, ..)| *each == capability);
        match (outcome, cannot) {
            (Ok(()), None) => {}
            (Err(error), None) => panic!("{}: {capability:?}: {error}", row.name),
            (Err(error), Some((_, code, _))) => {
                assert_eq!(error.code(), *code, "{}: {capability:?}: {error}", row.name);
            }
            (Ok(()), Some(_)) => panic!("{}: {capability:?} is there, and its row says no", row.name),
        }
    }
    under_bound((row.bench)().as_ref());
    tagged((row.bench)().as_ref());
}

/// The table of some backends, as the documentation has it.
pub fn table(rows: &[Row]) -> String {
    let mut table = String::from("| backend | what ran |");
    for capability in Capability::ALL {
        table += &format!(" {} |", capability.words().0);
    }
    table += &format!("\n|---|---|{}\n", "---|".repeat(Capability::ALL.len()));
    let mut notes = Vec::new();
    for row in rows {
        table += &format!("| {} | {} |", row.name, row.ran);
        for capability in Capability::ALL {
            match row.cannot.iter().find(|(each, ..)| *each == capability) {
                None => table += " yes |",
                Some(_) => table += " no |",
            }
        }
        table.push('\n');
        for reasons in row.cannot.chunk_by(|(_, one, why), (_, other, also)| (one, why) == (other, also)) {
            let heads: Vec<_> = reasons.iter().map(|(capability, ..)| capability.words().0).collect();
            let (_, code, why) = reasons[0];
            notes.push(format!("- {}, {}: {why} (`{code}`).\n", row.name, heads.join(", ")));
        }
    }
    table + "\n" + &notes.concat()
}

/// What the heads of the table's columns mean.
pub fn legend() -> String {
    let lines = Capability::ALL.map(|capability| {
        let (head, meaning) = capability.words();
        format!("| {head} | {meaning} |\n")
    });
    format!("| column | means |\n|---|---|\n{}", lines.concat())
}

fn keys(bench: &dyn Bench) -> Outcome {
    let tee = bench.start();
    let (request, key) = tee.bind(&Policy::measurement())?;
    assert!(key.expose().len() >= 16);
    assert!(tee.derive(&request)?.ct_eq(&key));
    // R1: what is recorded is all that is needed, after its way through an envelope too.
    let read = bulla_tee::KeyRequest::decode(request.kind(), &request.encode())?;
    assert_eq!(read, request);
    assert!(tee.derive(&read)?.ct_eq(&key));
    Ok(())
}

/// R2.
fn fresh(bench: &dyn Bench) -> Outcome {
    let tee = bench.start();
    let (one, key) = tee.bind(&Policy::measurement())?;
    let (two, other) = tee.bind(&Policy::measurement())?;
    if key.ct_eq(&other) {
        return Err(Error::Unsupported { machine: "this machine", what: "give a new key for each sealing" });
    }
    assert_ne!(one, two);
    Ok(())
}

fn survives(bench: &mut dyn Bench, changes: &[Change]) -> Outcome {
    let (request, key) = bench.start().bind(&Policy::measurement())?;
    changes.iter().for_each(|change| bench.change(*change));
    assert!(bench.start().derive(&request)?.ct_eq(&key), "another key after {changes:?}");
    Ok(())
}

/// R5: also in between, and back up again.
fn downgrade(bench: &mut dyn Bench) -> Outcome {
    bench.change(Change::Update);
    let (request, key) = bench.start().bind(&Policy::measurement())?;
    bench.change(Change::Downgrade);
    let refused = bench.start().derive(&request).err().expect("older firmware has the key of newer");
    if refused.class() != Class::TooOld {
        return Err(refused);
    }
    bench.change(Change::Update);
    assert!(bench.start().derive(&request)?.ct_eq(&key));
    Ok(())
}

/// After `change`, whatever runs is refused by its identity, and what it seals is not for the first program.
fn refuses(bench: &mut dyn Bench, policy: &Policy, change: Change) -> Outcome {
    let (request, _) = bench.start().bind(policy)?;
    bench.change(change);
    let refused = bench.start().derive(&request).err().unwrap_or_else(|| panic!("{change:?} has the key"));
    assert!(matches!(refused, Error::OtherIdentity(_)), "{change:?}: {refused}");
    Ok(())
}

/// R7: the next version opens, the versions below the lowest and other signers do not.
fn signer(bench: &mut dyn Bench) -> Outcome {
    let policy = Policy::signer(SignerPolicy { product: 7, min_svn: 3, label: "acme".into() });
    let (request, key) = bench.start().bind(&policy)?;
    bench.change(Change::NextVersion);
    assert!(bench.start().derive(&request)?.ct_eq(&key));
    refuses(bench, &policy, Change::OtherProgram)
}

/// R9.
fn configuration(bench: &mut dyn Bench) -> Outcome {
    let policy = Policy::measurement().with_register(Register::ConfigId);
    refuses(bench, &policy, Change::OtherConfiguration)
}

fn other_machine(bench: &mut dyn Bench) -> Result<Error, Error> {
    let (request, key) = bench.start().bind(&Policy::measurement())?;
    bench.change(Change::OtherMachine);
    match bench.start().derive(&request) {
        Err(refused) => Ok(refused),
        Ok(other) if other.ct_eq(&key) => panic!("two machines have one key"),
        Ok(_) => Err(Error::Unsupported { machine: "this machine", what: "tell itself from another" }),
    }
}

fn data(nonce: u8) -> RoleHash {
    RoleHash::new(Role::ProviderKey, &[("nonce", &[nonce; 32])])
}

/// Evidence is marked as simulated (R110) and carries what was asked for, each time anew.
fn quote(bench: &dyn Bench) -> Outcome {
    let tee = bench.start();
    for nonce in 1..4 {
        let evidence = tee.attest(&data(nonce), EvidenceKind::Quote)?;
        assert_eq!(matches!(evidence, bulla_tee::Evidence::Simulated(_)), bench.is_simulated());
        assert!(bench.carries(evidence.bytes(), data(nonce).as_bytes()));
    }
    Ok(())
}

fn report(bench: &dyn Bench) -> Outcome {
    let target = bulla_tee::sgx::arch::Targetinfo::new_zeroed();
    let tee = bench.start();
    // An enclave's is for one other enclave, a guest's for all of them.
    let (evidence, length, data_at) = match tee.attest(&data(1), EvidenceKind::Report(&target)) {
        Err(Error::Unsupported { .. }) => (tee.attest(&data(1), EvidenceKind::TdReport)?, 1024, 128),
        evidence => (evidence?, 432, 320),
    };
    assert!(matches!(evidence, bulla_tee::Evidence::Simulated(_)));
    assert_eq!(evidence.bytes().len(), length);
    assert_eq!(evidence.bytes().get(data_at..data_at + 64), Some(&data(1).as_bytes()[..]));
    Ok(())
}

/// R35: this machine's guests pass, another machine's do not.
fn guests(bench: &mut dyn Bench) -> Outcome {
    const CANNOT: Error = Error::Unsupported { machine: "this machine", what: "check local reports" };
    let report = bench.guest_report().ok_or(CANNOT)?;
    bench.start().local_verifier().ok_or(CANNOT)?.verify_report(&report)?;
    bench.change(Change::OtherMachine);
    let refused = bench.start().local_verifier().ok_or(CANNOT)?.verify_report(&report).unwrap_err();
    assert!(matches!(refused, Error::BadReport), "{refused}");
    Ok(())
}

/// R7, R14: no machine binds to too little; none loosens what it cannot do.
fn under_bound(bench: &dyn Bench) {
    for text in ["registers:CONFIGID", "registers:MRSIGNER", "registers:"] {
        let refused = text.parse::<Policy>().and_then(|policy| bench.start().bind(&policy).map(drop));
        assert_eq!(refused.unwrap_err().class(), Class::Usage, "{text}");
    }
}

/// R15: a request without its tag is for a real machine, and refused by a simulated one; and the reverse.
fn tagged(bench: &dyn Bench) {
    let tee = bench.start();
    let Ok((request, _)) = tee.bind(&Policy::measurement()) else { return };
    let other = match request {
        bulla_tee::KeyRequest::Simulated(inner) => *inner,
        request => bulla_tee::KeyRequest::Simulated(Box::new(request)),
    };
    assert_eq!(bench.is_simulated(), !matches!(other, bulla_tee::KeyRequest::Simulated(_)));
    let refused = tee.derive(&other).err().expect("a request with another tag has a key");
    assert!(matches!(refused, Error::WrongBackend { .. }), "{refused}");
}
