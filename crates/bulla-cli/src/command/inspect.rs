//! `bulla inspect`: what an envelope claims, read without any key.

use bulla::{Header, Opener, Recipient, Role, Slot, Strength};
use bulla_tee::KeyRequest;
use serde_json::{Map, Value, json};

use crate::args::Inspect;
use crate::command::recipient::kem;
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
    if let Some(epoch) = header.epoch() {
        say::field("epoch", &epoch.into());
    }
    for (name, value) in header.labels() {
        say::field("label", &format!("{name}={value}").into());
    }
    say::field("envelope", &hex::encode(header.envelope_id()).into());
    say::field("suite", &format!("{} (AES-256-GCM in chunks of 64 KiB)", header.suite().id()).into());
    if let Some(origin) = header.origin() {
        say::field("origin", &format!("written by the machine of slot {origin}").into());
    }
    say::field("weakest slot", &header.weakest().map_or("none: nobody can open it", strength).into());
    for (index, slot) in header.slots().iter().enumerate() {
        say::field(&format!("slot {index}"), &format!("{}: {}", slot.kind(), summary(slot.opener())).into());
        for (name, value) in details(slot.opener()).iter().filter(|(_, value)| *value != "") {
            say::field(name, value);
        }
    }
    say::note("these are claims of the header: only opening proves them");
    Ok(())
}

fn describe(header: &Header) -> Value {
    let labels: Map<String, Value> =
        header.labels().map(|(name, value)| (name.into(), value.into())).collect();
    json!({
        "version": header.version(),
        "suite": header.suite().id(),
        "envelope_id": hex::encode(header.envelope_id()),
        "context": header.context(),
        "created": header.created(),
        "epoch": header.epoch(),
        "labels": labels,
        "origin": header.origin(),
        "weakest": header.weakest().map(strength),
        "slots": header.slots().iter().map(describe_slot).collect::<Vec<_>>(),
    })
}

fn describe_slot(slot: &Slot) -> Value {
    let mut slot_json = json!({ "kind": slot.kind(), "strength": strength(slot.strength()) });
    let more = match slot.opener() {
        Opener::Machine(request) => {
            let machine = machine(request);
            json!({
                "machine": machine.name,
                "simulated": machine.simulated,
                "binding": request.policy().to_string(),
                "claims": Value::Object(details(slot.opener()).into_iter().collect()),
            })
        }
        Opener::Recipient(opener) => {
            json!({ "recipient": describe_recipient(opener.recipient()), "role": role(opener.role()) })
        }
        Opener::Threshold(opener) => json!({
            "threshold": opener.threshold(),
            "recipients": opener.recipients().map(describe_recipient).collect::<Vec<_>>(),
        }),
        _ => json!({}),
    };
    if let (Value::Object(all), Value::Object(more)) = (&mut slot_json, more) {
        all.extend(more);
    }
    slot_json
}

fn describe_recipient(recipient: &Recipient) -> Value {
    json!({ "id": hex::encode(recipient.id()), "kem": kem(recipient.kem()), "recipient": recipient.to_string() })
}

fn summary(opener: &Opener) -> String {
    match opener {
        Opener::Machine(request) => format!("{}, bound to {}", machine(request).name, request.policy()),
        Opener::Recipient(opener) => format!("a private key, for {}", role(opener.role())),
        Opener::Threshold(opener) => {
            format!("{} of {} private keys together", opener.threshold(), opener.recipients().len())
        }
        _ => "something that this program does not know".into(),
    }
}

fn details(opener: &Opener) -> Vec<(String, Value)> {
    let named = |recipient: &Recipient| format!("{} ({})", hex::encode(recipient.id()), kem(recipient.kem()));
    match opener {
        Opener::Machine(request) => {
            machine(request).selectors.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
        }
        Opener::Recipient(opener) => vec![("recipient".into(), named(opener.recipient()).into())],
        Opener::Threshold(opener) => (1..)
            .zip(opener.recipients())
            .map(|(index, recipient): (u8, _)| (format!("share {index}"), named(recipient).into()))
            .collect(),
        _ => Vec::new(),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Recovery => "recovery",
        Role::Successor => "successor",
        _ => "unknown",
    }
}

/// What it takes to open a slot.
fn strength(strength: Strength) -> &'static str {
    match strength {
        Strength::Simulated => "simulated",
        Strength::Recipient => "recipient",
        Strength::Threshold => "threshold",
        Strength::Signer => "signer",
        Strength::Measurement => "measurement",
        _ => "unknown",
    }
}

/// Which machine may open a slot, as its request claims.
struct Machine {
    name: &'static str,
    simulated: bool,
    selectors: Vec<(&'static str, Value)>,
}

fn machine(request: &KeyRequest) -> Machine {
    match request {
        KeyRequest::Sgx(request) => Machine {
            name: "an SGX enclave",
            simulated: false,
            selectors: vec![
                ("MRENCLAVE", hex::encode(request.mrenclave).into()),
                ("MRSIGNER", hex::encode(request.mrsigner).into()),
                ("ISVPRODID", request.isv_prod_id.into()),
                ("ISVSVN", request.isvsvn.into()),
                ("CPUSVN", hex::encode(request.cpusvn).into()),
                ("CONFIGSVN", request.configsvn.into()),
                ("CONFIGID", hex::encode(request.config_id).into()),
                ("ISVFAMILYID", hex::encode(request.isv_family_id).into()),
                ("ISVEXTPRODID", hex::encode(request.isv_ext_prod_id).into()),
                ("label", request.label.clone().into()),
                ("ATTRIBUTES", hex::encode(request.flags.to_be_bytes()).into()),
                ("ATTRIBUTEMASK", hex::encode(request.flags_mask.to_be_bytes()).into()),
                ("XFRMMASK", hex::encode(request.xfrm_mask.to_be_bytes()).into()),
                ("MISCMASK", hex::encode(request.misc_mask.to_be_bytes()).into()),
                ("KEYPOLICY", request.keypolicy.into()),
                ("KEYID", hex::encode(request.keyid).into()),
            ],
        },
        KeyRequest::SgxKeyFile(request) => Machine {
            name: "an SGX enclave, by Gramine's key file: an update of the microcode ends it",
            simulated: false,
            selectors: vec![
                ("MRENCLAVE", hex::encode(request.mrenclave).into()),
                ("ISVPRODID", request.isv_prod_id.into()),
                ("ISVSVN", request.isvsvn.into()),
                ("CPUSVN", hex::encode(request.cpusvn).into()),
                ("ATTRIBUTES", hex::encode(request.flags.to_be_bytes()).into()),
                ("XFRM", hex::encode(request.xfrm.to_be_bytes()).into()),
                ("MISCSELECT", request.misc_select.into()),
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
                ("binding", request.binding.to_string().into()),
                ("provider", hex::encode(request.provider).into()),
                ("authority", hex::encode(request.authority).into()),
                ("root", hex::encode(request.root_id).into()),
                ("path", request.path.clone().into()),
                ("purpose", request.purpose.clone().into()),
            ]);
            Machine { name: "a TDX guest, through its key provider", simulated: false, selectors }
        }
        KeyRequest::TdxNative(request) => {
            let registers = ["RTMR0", "RTMR1", "RTMR2", "RTMR3"].into_iter().zip(request.rtmr());
            let bound = registers.filter(|(_, value)| *value != [0; 48]);
            let mut selectors = vec![("MRTD", hex::encode(request.mrtd).into())];
            selectors.extend(bound.map(|(name, value)| (name, hex::encode(value).into())));
            selectors.extend([
                ("ATTRIBUTES", hex::encode(request.attributes.to_be_bytes()).into()),
                ("ATTRIBUTEMASK", hex::encode(request.attributes_mask.to_be_bytes()).into()),
                ("XFAMMASK", hex::encode(request.xfam_mask.to_be_bytes()).into()),
                ("CPUSVN", hex::encode(request.cpusvn).into()),
                ("TEE_TCB_SVN", hex::encode(request.tee_tcb_svn).into()),
                ("KEYPOLICY", hex::encode(request.keypolicy.to_be_bytes()).into()),
                ("SALT", hex::encode(request.salt).into()),
                ("bits", request.bits.into()),
            ]);
            Machine { name: "a TDX guest, by its TDX module", simulated: false, selectors }
        }
        KeyRequest::Snp(request) => Machine {
            name: "a SEV-SNP guest",
            simulated: false,
            selectors: vec![
                ("MEASUREMENT", hex::encode(request.measurement).into()),
                ("signer", hex::encode(request.signer).into()),
                ("FAMILY_ID", hex::encode(request.family_id).into()),
                ("GUEST_SVN", request.guest_svn.into()),
                ("HOST_DATA", hex::encode(request.host_data).into()),
                ("POLICY", format!("{:#x}", request.policy).into()),
                ("VMPL", request.vmpl.into()),
                ("TCB", hex::encode(request.tcb_version).into()),
                ("label", request.label.clone().into()),
                ("GUEST_FIELD_SELECT", format!("{:#x}", request.guest_field_select).into()),
                ("KEYID", hex::encode(request.keyid).into()),
            ],
        },
        KeyRequest::Tpm(request) => Machine {
            name: "a TPM",
            simulated: false,
            selectors: vec![
                ("registers", request.selection().to_string().into()),
                ("states", request.states.iter().map(|state| hex::encode(&**state)).collect()),
                ("policy", KeyRequest::Tpm(request.clone()).policy().to_string().into()),
                ("storage key", hex::encode(request.parent).into()),
            ],
        },
        KeyRequest::Simulated(request) => Machine { simulated: true, ..machine(request) },
        _ => Machine {
            name: "a machine that this program does not know",
            simulated: false,
            selectors: Vec::new(),
        },
    }
}
