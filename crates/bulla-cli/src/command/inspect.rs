//! `bulla inspect`: what an envelope claims, read without any key.

use bulla::Header;
use bulla_tee::KeyRequest;
use serde_json::{Value, json};

use crate::args::Inspect;
use crate::failure::Failure;
use crate::{files, say};

/// Prints the header.
pub(crate) fn run(options: &Inspect) -> Result<(), Failure> {
    let header = Header::read(&mut files::input(Some(&options.file))?)?;
    if options.json {
        say::result(describe(&header));
        return Ok(());
    }
    say::field("context", &header.context().into());
    if let Some(created) = header.created() {
        say::field("created", &format!("{created} (seconds since 1970)").into());
    }
    say::field("envelope", &hex::encode(header.envelope_id()).into());
    say::field("suite", &format!("{} (AES-256-GCM in chunks of 64 KiB)", header.suite().id()).into());
    for (index, slot) in header.slots().iter().enumerate() {
        let opener = opener(slot.request());
        let bound = format!("{}: {}, bound to its measurement", slot.kind(), opener.machine);
        say::field(&format!("slot {index}"), &bound.into());
        opener.selectors.iter().for_each(|(name, value)| say::field(name, value));
    }
    say::note("these are claims of the header: only opening proves them");
    Ok(())
}

fn describe(header: &Header) -> Value {
    let slots: Vec<Value> = header
        .slots()
        .iter()
        .map(|slot| {
            let opener = opener(slot.request());
            json!({
                "kind": slot.kind(),
                "machine": opener.machine,
                "simulated": opener.simulated,
                "binding": "measurement",
                "claims": Value::Object(opener.selectors.into_iter().map(|(name, value)| (name.into(), value)).collect()),
            })
        })
        .collect();
    json!({
        "version": 0,
        "suite": header.suite().id(),
        "envelope_id": hex::encode(header.envelope_id()),
        "context": header.context(),
        "created": header.created(),
        "slots": slots,
    })
}

/// Who may open a slot, as its request claims.
struct Opener {
    machine: &'static str,
    simulated: bool,
    selectors: Vec<(&'static str, Value)>,
}

fn opener(request: &KeyRequest) -> Opener {
    match request {
        KeyRequest::Sgx(request) => Opener {
            machine: "an SGX enclave",
            simulated: false,
            selectors: vec![
                ("MRENCLAVE", hex::encode(request.mrenclave).into()),
                ("MRSIGNER", hex::encode(request.mrsigner).into()),
                ("ISVPRODID", request.isv_prod_id.into()),
                ("ISVSVN", request.isvsvn.into()),
                ("CPUSVN", hex::encode(request.cpusvn).into()),
                ("CONFIGSVN", request.configsvn.into()),
                ("ATTRIBUTES", hex::encode(request.flags.to_be_bytes()).into()),
                ("ATTRIBUTEMASK", hex::encode(request.flags_mask.to_be_bytes()).into()),
                ("XFRMMASK", hex::encode(request.xfrm_mask.to_be_bytes()).into()),
                ("MISCMASK", hex::encode(request.misc_mask.to_be_bytes()).into()),
                ("KEYPOLICY", request.keypolicy.into()),
                ("KEYID", hex::encode(request.keyid).into()),
            ],
        },
        KeyRequest::TdxProvider(request) => {
            let mut selectors: Vec<(&'static str, Value)> = request
                .guest
                .named()
                .into_iter()
                .map(|(name, value)| (name, hex::encode(value).into()))
                .collect();
            selectors.extend([
                ("provider", hex::encode(request.provider).into()),
                ("authority", hex::encode(request.authority).into()),
                ("root", hex::encode(request.root_id).into()),
                ("path", request.path.clone().into()),
                ("purpose", request.purpose.clone().into()),
            ]);
            Opener { machine: "a TDX guest, through its key provider", simulated: false, selectors }
        }
        KeyRequest::Simulated(request) => Opener { simulated: true, ..opener(request) },
        _ => Opener {
            machine: "a machine that this program does not know",
            simulated: false,
            selectors: Vec::new(),
        },
    }
}
