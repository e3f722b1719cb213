//! `bulla manifest`: what the owner of an image grants it, and what changed between two images.

mod cause;
mod compare;
mod guest;

use std::io::Write;

use bulla_protocol::text::{shown_time, unix_time};
use bulla_protocol::{DocumentRole, Manifest as Grant};
use serde_json::{Map, Value, json};

use crate::args::{Manifest, ManifestNew, ManifestShow, Signing};
use crate::command::signing::{self, Document};
use crate::failure::Failure;
use crate::{files, registers, say};

/// Runs a subcommand.
pub(crate) fn run(subcommand: &Manifest) -> Result<(), Failure> {
    match subcommand {
        Manifest::New(options) => new(options),
        Manifest::Sign(options) => sign(options),
        Manifest::Show(options) => show(options),
        Manifest::Compare(options) => compare::run(options),
    }
}

fn new(options: &ManifestNew) -> Result<(), Failure> {
    let owner = signing::descriptor(&options.owner)?;
    let image = match (&options.evidence, &options.registers) {
        (Some(path), _) => {
            say::note("the registers are what the quote claims: verify it first, with `bulla attest verify`");
            guest::of_quote(path)?
        }
        (None, Some(path)) => registers::read(path)?,
        (None, None) => return Err(Failure::usage("--evidence or --registers is missing")),
    };
    let except: Vec<_> = options.except.iter().map(String::as_str).collect();
    let mut grant = Grant::new(owner.id(), &options.product, options.svn, &image, &except)?;
    if let Some(date) = &options.not_after {
        let unix =
            unix_time(date).ok_or_else(|| Failure::usage("--not-after is a date, for example 2030-01-31"))?;
        grant = grant.not_after(unix);
    }
    warn(&grant);
    files::output(options.output.as_deref(), |output| output.write_all(grant.to_toml().as_bytes()))
}

fn sign(options: &Signing) -> Result<(), Failure> {
    signing::sign(options, DocumentRole::Manifest, |text, owner| {
        let grant = Grant::from_toml(text)?;
        if *grant.owner() != owner.id() {
            return Err(bulla_protocol::ManifestError::OtherOwner.into());
        }
        warn(&grant);
        Ok(())
    })
}

/// What the owner may not have meant.
fn warn(grant: &Grant) {
    for name in grant.except() {
        let risk = match name {
            "RTMR1" => "any kernel and boot loader gets the keys",
            "RTMR2" => "any kernel command line and initrd gets the keys",
            "RTMR3" => {
                "whatever the guest measures at run time, its application perhaps, makes no difference"
            }
            "MRSERVICETD" => "any service TD may be bound to it",
            "RTMR0" => "any configuration of the virtual hardware and firmware makes no difference",
            _ => "its host chooses the value",
        };
        say::note(format_args!("{name} is excepted: {risk}"));
    }
}

fn show(options: &ManifestShow) -> Result<(), Failure> {
    let document = Document::read(&options.manifest)?;
    let (grant, signed) = match &document {
        Document::Plain(text) => (Grant::from_toml(text)?, false),
        Document::Signed(signed) => (Grant::verify(signed)?, true),
    };
    let image: Map<_, _> =
        grant.image().map(|(name, value)| (name.to_lowercase(), hex::encode(value).into())).collect();
    let except: Vec<Value> = grant.except().map(|name| name.to_lowercase().into()).collect();
    if options.json {
        say::result(json!({
            "signed": signed,
            "owner": hex::encode(grant.owner()),
            "product": grant.product(),
            "svn": grant.svn(),
            "not_after": grant.expires().map(shown_time),
            "image": image,
            "except": except,
        }));
        return Ok(());
    }
    say::field("signed", &(if signed { "by its owner" } else { "not yet" }).into());
    say::field("owner", &hex::encode(grant.owner()).into());
    say::field("product", &grant.product().into());
    say::field("svn", &format!("up to {}", grant.svn()).into());
    if let Some(end) = grant.expires() {
        say::field("not_after", &format!("{} (advisory)", shown_time(end)).into());
    }
    image.iter().for_each(|(name, value)| say::field(name, value));
    except.iter().for_each(|name| say::field("except", name));
    Ok(())
}
