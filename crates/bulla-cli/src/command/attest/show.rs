//! `bulla attest show`: what evidence claims, before anything of it is verified.

use bulla_attest::{Collateral, Outline};
use serde_json::{Map, Value};

use super::{claims, picture, tpm};
use crate::args::Show;
use crate::failure::Failure;
use crate::{files, say};

pub(crate) fn show(options: &Show) -> Result<(), Failure> {
    let quote = files::beginning(&options.quote, bulla_protocol::QUOTE_MAX as u64 + 1)?;
    if tpm::is_quote(&quote) {
        return show_tpm(options, &quote);
    }
    let collateral = options.collateral.as_ref().map(|path| {
        let json = files::beginning(path, Collateral::LIMIT as u64 + 1)?;
        Ok::<_, Failure>(Collateral::from_json(&json)?)
    });
    let outline = Outline::of(&quote, collateral.transpose()?.as_ref())?;
    say::note(CLAIMED);
    let lines = lines(&outline);
    if options.json {
        let mut report: Map<String, Value> =
            lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        report.insert("verified".into(), false.into());
        report.insert("signers".into(), outline.signers.iter().map(picture::json).collect());
        say::result(Value::from(report));
        return Ok(());
    }
    lines.iter().for_each(|(name, value)| say::field(name, value));
    say::result("");
    picture::lines(&outline.signers).iter().for_each(say::result);
    Ok(())
}

const CLAIMED: &str = "claimed, not verified: whoever made these bytes chose them";

fn show_tpm(options: &Show, quote: &[u8]) -> Result<(), Failure> {
    let lines = tpm::claimed(quote)?;
    say::note(CLAIMED);
    if options.json {
        let mut report: Map<String, Value> = lines.into_iter().collect();
        report.insert("verified".into(), false.into());
        say::result(Value::from(report));
        return Ok(());
    }
    lines.iter().for_each(|(name, value)| say::field(name, value));
    Ok(())
}

fn lines(outline: &Outline) -> Vec<(&'static str, Value)> {
    let mut lines = vec![
        ("kind", outline.kind.clone().into()),
        ("version", outline.version.into()),
        ("report_data", hex::encode(outline.report_data).into()),
    ];
    lines.extend(outline.qe_id.map(|id| ("qe_id", hex::encode(id).into())));
    lines.extend(outline.identity.iter().flat_map(claims::identity));
    lines
}
