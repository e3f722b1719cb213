//! `bulla request`: a TDX guest asks its key provider for keys.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use bulla_client::{Client, GuestEvidence, Judge, Pin, PinnedEnclave, Wanted};
use bulla_crypto::{Kem, SecretBytes};
use bulla_protocol::Signed;
use bulla_protocol::v1::Selector;

use crate::args::{Entitled, EvidenceChoice, Exec, KeyTerms, OptionalPin, Request, SuiteChoice};
use crate::failure::Failure;
use crate::machine::{self, Machine};
use crate::{files, say};

/// More than any manifest or event log has, in bytes.
const DOCUMENT_LIMIT: u64 = 256 * 1024;

/// Asks, and writes the keys.
pub(crate) fn run(machine: Option<&str>, options: &Request) -> Result<(), Failure> {
    let selectors = match (&options.path, &options.purpose) {
        (Some(path), Some(purpose)) => {
            let (path, purpose) = (path.clone(), purpose.clone());
            vec![Selector { path, purpose, algorithm: options.algorithm, length: options.length }]
        }
        _ => options.key.iter().map(|key| key.0.clone()).collect(),
    };
    let outputs = outputs(options, selectors.len())?;
    let wanted = wanted(selectors, &options.asked, &options.entitled)?;
    let client = client(machine::open(machine)?, &options.provider, &options.pin)?;
    let client = client.with_evidence(evidence(options.shown.evidence)).with_kem(kem(options.shown.suite));
    let keys = if options.session { client.session()?.keys(&wanted) } else { client.keys(&wanted) }?;
    let (root, bytes) =
        (hex::encode(keys.root_id), keys.keys.iter().map(|key| key.expose().len()).sum::<usize>());
    match keys.keys.len() {
        1 => say::note(format_args!("{bytes} bytes from root {root}")),
        count => say::note(format_args!("{count} keys from root {root}")),
    }
    outputs.into_iter().zip(&keys.keys).try_for_each(|(output, key)| output.write(key))
}

/// The keys of `bulla exec --request`, in their order.
pub(crate) fn for_command(machine: Option<&str>, options: &Exec) -> Result<Vec<SecretBytes>, Failure> {
    let selectors: Vec<_> = options.request.iter().map(|option| option.key.0.clone()).collect();
    let Some(provider) = options.guest.provider.as_deref().filter(|_| !selectors.is_empty()) else {
        return Ok(Vec::new());
    };
    let wanted = wanted(selectors, &options.asked, &options.guest.entitled)?;
    let client = client(machine::open(machine)?, provider, &options.guest.pin)?;
    Ok(client.keys(&wanted)?.keys)
}

const fn evidence(choice: EvidenceChoice) -> GuestEvidence {
    match choice {
        EvidenceChoice::Any => GuestEvidence::Any,
        EvidenceChoice::Quote => GuestEvidence::Quote,
        EvidenceChoice::Report => GuestEvidence::Report,
    }
}

const fn kem(choice: SuiteChoice) -> Kem {
    match choice {
        SuiteChoice::XWing => Kem::XWing,
        SuiteChoice::X25519 => Kem::X25519,
    }
}

/// A client of the provider at `address`, for the guest that the machine is.
pub(crate) fn client(machine: Machine, address: &str, pin: &OptionalPin) -> Result<Client, Failure> {
    let Some(judge) = machine.judge else {
        return Err(Failure::usage("only a TDX guest asks a provider: an enclave derives its own keys"));
    };
    let pin = Pin {
        enclave: enclave(pin)?,
        authority: match &pin.authority {
            // Every simulated machine has this one. A real machine's has to be named.
            None if judge.simulated => bulla_provider::DEVELOPMENT_AUTHORITY,
            None => return Err(unpinned("--authority")),
            Some(authority) => digits("--authority", authority)?,
        },
        root_id: pin.provider_root.as_deref().map(|root| digits("--provider-root", root)).transpose()?,
    };
    let judge = Judge::new(judge.anchor, judge.collateral, judge.policy, machine::now);
    Ok(Client::new(machine.tee, address, pin, judge)?)
}

/// To which owner's keys the command line entitles the guest, and by what.
pub(crate) fn entitlement(options: &Entitled) -> Result<Option<([u8; 32], Signed)>, Failure> {
    let owner = options.owner.as_deref().map(|owner| digits("--owner", owner)).transpose()?;
    match (owner, &options.manifest) {
        (Some(owner), Some(manifest)) => Ok(Some((owner, read_manifest(manifest)?))),
        (None, Some(_)) => Err(Failure::usage("--manifest needs --owner: the owner of this guest's image")),
        _ => Ok(None),
    }
}

fn wanted(selectors: Vec<Selector>, asked: &KeyTerms, entitled: &Entitled) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::all(selectors)?.bound_to(&asked.binding)?;
    if let Some(name) = &asked.instance {
        wanted = wanted.for_instance(name)?;
    }
    if let Some(root) = &asked.root {
        wanted = wanted.from_root(digits("--root", root)?);
    }
    if let Some(manifest) = &entitled.manifest {
        wanted = wanted.with_manifest(read_manifest(manifest)?);
    }
    if let Some(log) = &asked.event_log {
        wanted = wanted.with_event_log(files::read(log, DOCUMENT_LIMIT)?);
    }
    Ok(wanted)
}

fn read_manifest(path: &Path) -> Result<Signed, Failure> {
    let json = files::read(path, DOCUMENT_LIMIT)?;
    Signed::from_json(&json).map_err(|error| Failure::usage(error.to_string()).about(path))
}

fn enclave(pin: &OptionalPin) -> Result<PinnedEnclave, Failure> {
    match (&pin.provider_id, &pin.provider_signer) {
        (Some(id), _) => Ok(PinnedEnclave::Measurement(digits("--provider-id", id)?)),
        (None, Some(text)) => signer(text)
            .ok_or_else(|| Failure::usage("--provider-signer takes 64 hexadecimal digits,product=N,svn=N")),
        (None, None) => Err(unpinned("--provider-id or --provider-signer")),
    }
}

fn signer(text: &str) -> Option<PinnedEnclave> {
    let (id, terms) = text.split_once(",product=")?;
    let (product, min_svn) = terms.split_once(",svn=")?;
    let mut signer = [0; 32];
    hex::decode_to_slice(id, &mut signer).ok()?;
    Some(PinnedEnclave::Signer { signer, product: product.parse().ok()?, min_svn: min_svn.parse().ok()? })
}

/// R40.
fn unpinned(option: &str) -> Failure {
    Failure::usage(format!("{option} is needed: a client without a pin stops"))
}

fn digits<const N: usize>(option: &str, hex: &str) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    hex::decode_to_slice(hex, &mut bytes)
        .map_err(|_| Failure::usage(format!("{option} takes {} hexadecimal digits", 2 * N)))?;
    Ok(bytes)
}

/// Where a key goes.
enum Output {
    /// A file, or standard output.
    File(Option<PathBuf>),
    Descriptor(File),
}

impl Output {
    fn write(self, key: &SecretBytes) -> Result<(), Failure> {
        match self {
            Self::File(path) => files::output(path.as_deref(), |output| output.write_all(key.expose())),
            Self::Descriptor(mut file) => file
                .write_all(key.expose())
                .map_err(|error| Failure::file("write", Path::new("the descriptor of --fd"), &error)),
        }
    }
}

/// One for each key, known to be there before anyone is asked.
fn outputs(options: &Request, keys: usize) -> Result<Vec<Output>, Failure> {
    let named = options.output.len() + options.fd.len();
    if named == 0 && keys == 1 {
        return Ok(vec![Output::File(None)]);
    }
    if named != keys {
        return Err(Failure::usage(format!("there are {keys} keys: give each an --output, or each an --fd")));
    }
    if options.fd.is_empty() {
        return Ok(options.output.iter().map(|path| Output::File(Some(path.clone()))).collect());
    }
    options.fd.iter().map(|number| descriptor(*number).map(Output::Descriptor)).collect()
}

/// What this process has open under a number. A file that is there already is written on behind its end.
fn descriptor(number: u32) -> Result<File, Failure> {
    let path = format!("/proc/self/fd/{number}");
    let file = OpenOptions::new().append(true).open(&path);
    file.map_err(|error| Failure::file("open", Path::new(&format!("descriptor {number}")), &error))
}
