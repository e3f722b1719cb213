//! `bulla authority`: keys that sign together, and the policies that they sign.

use std::io::Write;
use std::path::Path;

use bulla_crypto::{SigningKey, VerifyingKey, sha256};
use bulla_protocol::{Descriptor, DocumentRole, Signed};
use bulla_provider::{Draft, Policy};
use serde_json::{Value, json};

use crate::args::{
    Authority, AuthorityNew, AuthorityPolicy, AuthorityPolicyCheck, AuthorityPolicyFile, AuthorityShow, Sign,
    SignAs, SignerKey,
};
use crate::command::signing::{self, Document};
use crate::failure::Failure;
use crate::{files, machine, say};

/// Runs a subcommand.
pub(crate) fn run(subcommand: &Authority) -> Result<(), Failure> {
    match subcommand {
        Authority::Key(options) => key(options),
        Authority::New(options) => new(options),
        Authority::Sign(options) => sign(options),
        Authority::Show(options) => show(options),
        Authority::Policy(AuthorityPolicy::Check(options)) => check(options),
        Authority::Policy(AuthorityPolicy::Explain(options)) => explain(options),
    }
}

fn key(options: &SignerKey) -> Result<(), Failure> {
    let key = SigningKey::generate().map_err(bulla::Error::from)?;
    files::create(&options.output, signing::key_file(&key).expose())?;
    say::note(format_args!("{} signs for whoever holds it: keep it offline", options.output.display()));
    say::result(hex::encode(key.verifying_key().as_bytes()));
    Ok(())
}

fn new(options: &AuthorityNew) -> Result<(), Failure> {
    let keys = options.key.iter().map(|text| public_key(text)).collect::<Result<Vec<_>, _>>()?;
    let descriptor = Descriptor::new(&options.name, options.threshold, &keys);
    let descriptor = descriptor.map_err(|error| Failure::usage(error.to_string()))?;
    files::output(Some(&options.output), |output| output.write_all(descriptor.to_toml().as_bytes()))?;
    say::result(hex::encode(descriptor.id()));
    Ok(())
}

/// A public key, or what a file says it is.
fn public_key(text: &str) -> Result<VerifyingKey, Failure> {
    let decode = |text: &str| {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).ok().map(|()| VerifyingKey::from_bytes(bytes))
    };
    if let Some(key) = decode(text) {
        return Ok(key);
    }
    let path = Path::new(text);
    let content = String::from_utf8(files::read(path, 256)?).ok();
    content
        .and_then(|content| decode(&content))
        .ok_or_else(|| Failure::usage("it is no public key of a signer, 64 hexadecimal digits").about(path))
}

fn sign(options: &Sign) -> Result<(), Failure> {
    match options.role {
        SignAs::Command => signing::sign(&options.signing, DocumentRole::Command, |_, _| Ok(())),
        SignAs::Policy => signing::sign(&options.signing, DocumentRole::Policy, |text, _| {
            let draft = Draft::from_toml(text)?;
            say::note(title(&draft));
            draft
                .check(machine::now())
                .iter()
                .for_each(|found| say::note(format_args!("warning: {}", found.text)));
            Ok(())
        }),
    }
}

fn show(options: &AuthorityShow) -> Result<(), Failure> {
    match Document::read(&options.file)? {
        Document::Plain(_) => {
            let descriptor = signing::descriptor(&options.file)?;
            print(options.json, &lines(&descriptor));
        }
        Document::Signed(signed) => {
            let standing = signing::standing(&signed)?;
            print(options.json, &signed_lines(&signed, standing)?);
        }
    }
    Ok(())
}

fn lines(descriptor: &Descriptor) -> Vec<(&'static str, Value)> {
    let keys: Vec<Value> = descriptor.keys().map(|key| hex::encode(key.as_bytes()).into()).collect();
    vec![
        ("name", descriptor.name().into()),
        ("id", hex::encode(descriptor.id()).into()),
        ("threshold", descriptor.threshold().into()),
        ("keys", keys.into()),
    ]
}

fn signed_lines(
    signed: &Signed,
    standing: Option<(DocumentRole, usize)>,
) -> Result<Vec<(&'static str, Value)>, Failure> {
    let signers = signed.signers()?;
    let by: Vec<Value> = signed.signatures.iter().map(|by| hex::encode(by.key).into()).collect();
    let found = standing.map_or(0, |(_, found)| found);
    Ok(vec![
        ("signed_as", standing.map(|(role, _)| role.as_str()).into()),
        ("complete", (found >= usize::from(signers.threshold())).into()),
        ("signed_by", by.into()),
        ("digest", hex::encode(sha256(&[signed.document.as_bytes()])).into()),
    ]
    .into_iter()
    .chain(lines(&signers))
    .collect())
}

fn print(as_json: bool, lines: &[(&str, Value)]) {
    if as_json {
        say::result(lines.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Value>());
        return;
    }
    for (name, value) in lines {
        match value.as_array() {
            Some(values) => values.iter().for_each(|value| say::field(name, value)),
            None => say::field(name, value),
        }
    }
}

/// A policy, and the id of its authority where enough have signed it.
fn read(options: &AuthorityPolicyFile) -> Result<(Draft, Option<[u8; 32]>), Failure> {
    let document = Document::read(&options.policy)?;
    let authority = match &document {
        Document::Plain(_) => None,
        Document::Signed(signed) => Some(signed.verify(DocumentRole::Policy)?.id),
    };
    let draft =
        Draft::from_toml(document.text()).map_err(|error| Failure::from(error).about(&options.policy))?;
    Ok((draft, authority))
}

fn check(options: &AuthorityPolicyCheck) -> Result<(), Failure> {
    let (draft, authority) = read(&options.file)?;
    if let Some(before) = &options.after {
        Policy::load(&options.file.policy)?.may_follow(&Policy::load(before)?)?;
    }
    let warnings = draft.check(machine::now());
    if options.file.json {
        let warnings: Vec<_> =
            warnings.iter().map(|found| json!({ "code": found.code, "text": found.text })).collect();
        say::result(described(&draft, authority, "warnings", warnings.into()));
        return Ok(());
    }
    introduce(&draft, authority);
    for found in warnings {
        say::result(format_args!("warning: {} [{}]", say::escaped(&found.text), found.code));
    }
    Ok(())
}

fn explain(options: &AuthorityPolicyFile) -> Result<(), Failure> {
    let (draft, authority) = read(options)?;
    if options.json {
        say::result(described(&draft, authority, "rules", draft.explain().into()));
        return Ok(());
    }
    introduce(&draft, authority);
    draft.explain().iter().for_each(|line| say::result(format_args!("- {}", say::escaped(line))));
    Ok(())
}

fn described(draft: &Draft, authority: Option<[u8; 32]>, name: &str, what: Value) -> Value {
    json!({
        "name": draft.name(),
        "version": draft.version(),
        "digest": hex::encode(draft.digest()),
        "authority": authority.map(hex::encode),
        name: what,
    })
}

fn introduce(draft: &Draft, authority: Option<[u8; 32]>) {
    say::result(title(draft));
    say::result(match authority {
        Some(id) => format!("signed by the authority {}", hex::encode(id)),
        None => "not signed".into(),
    });
}

fn title(draft: &Draft) -> String {
    format!("policy {}, version {}, SHA-256 {}", draft.name(), draft.version(), hex::encode(draft.digest()))
}
