//! `bulla attest collateral`: a folder of collateral.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bulla_attest::collateral::{Bundle, Directory, Minimum, Store};
use bulla_attest::pcs::{Channel, KdsClient, PcsClient, PcsSettings};
use bulla_attest::{CollateralId, CollateralSource, Error, Verifier};
use serde_json::json;

use super::judge::verifier;
use crate::args::{self, Collateral, Export, Fetch, Import, Status};
use crate::failure::Failure;
use crate::{files, machine, say};

pub(crate) fn run(action: &Collateral) -> Result<(), Failure> {
    match action {
        Collateral::Fetch(options) => fetch(options),
        Collateral::Import(options) => import(options),
        Collateral::Export(options) => export(options),
        Collateral::Status(options) => status(options),
    }
}

/// The store in a folder, and the verifier that it was opened with.
pub(super) fn open(folder: &Path, root: Option<&Path>) -> Result<(Store, Verifier), Failure> {
    let (verifier, anchor) = verifier(root)?;
    let minimum = Minimum::release(&anchor);
    let store = Store::open(Directory::open(folder)?, verifier.clone(), minimum)?;
    Ok((store, verifier))
}

fn opened(options: &args::Store) -> Result<(Store, u64), Failure> {
    let (store, _) = open(&options.store, options.root.as_deref())?;
    Ok((store, options.at.unwrap_or_else(machine::now)))
}

fn fetch(options: &Fetch) -> Result<(), Failure> {
    let (store, now) = opened(&options.store)?;
    let store = store.with_source(Arc::new(Services::of(options)?));
    for path in &options.evidence {
        let evidence = files::beginning(path, bulla_protocol::QUOTE_MAX as u64 + 1)?;
        let fetched = CollateralId::of_quote(&evidence).and_then(|id| store.refresh(&id, now));
        fetched.map_err(|error| Failure::from(error).about(path))?;
    }
    if options.evidence.is_empty() {
        store.refresh_due(now)?;
    }
    lines(&store, now)
}

fn import(options: &Import) -> Result<(), Failure> {
    let (store, now) = opened(&options.store)?;
    let bundle = Bundle::from_json(&files::beginning(&options.bundle, Bundle::LIMIT as u64 + 1)?)?;
    let mut refused = None;
    for set in store.import(&bundle, now)? {
        if let Some(error) = set.refused {
            say::note(format_args!("not taken: {error} [{}]", error.code()));
            refused = refused.or(Some(error));
        }
    }
    lines(&store, now)?;
    refused.map_or(Ok(()), |error| Err(error.into()))
}

fn export(options: &Export) -> Result<(), Failure> {
    let (store, now) = opened(&options.store)?;
    let bundle = store.export(now)?.to_json();
    files::output(Some(&options.output), |file| file.write_all(bundle.as_bytes()))
}

fn status(options: &Status) -> Result<(), Failure> {
    let (store, now) = opened(&options.store)?;
    if options.json {
        say::result(json!(store.status(now)));
        return Ok(());
    }
    lines(&store, now)
}

/// One line for each kind of platform, its items below it.
fn lines(store: &Store, now: u64) -> Result<(), Failure> {
    let status = store.status(now);
    for set in &status.sets {
        let until = set.valid_until.map(|until| format!("good until {}", say::date(until)));
        let state = if set.usable { until.unwrap_or_default() } else { "not usable".into() };
        say::result(format_args!("{}: {state}", set.name));
        for item in &set.items {
            let until = item.next_update.map(say::date).unwrap_or_default();
            let issued = say::date(item.issued);
            say::result(format_args!("  {}: number {}, {issued} to {until}", item.item, item.number));
        }
        if let Some(failure) = &set.last_failure {
            say::result(format_args!("  last failure: {} [{}]", say::escaped(&failure.detail), failure.code));
        }
    }
    say::result(format_args!("nothing before {} is believed", say::date(status.floor_time)));
    if let Some(failure) = &status.storage_failure {
        say::note(format_args!("the folder: {}", say::escaped(failure)));
    }
    Ok(())
}

/// The vendors' services, or caches for them.
struct Services {
    intel: PcsClient,
    amd: KdsClient,
}

impl Services {
    fn of(options: &Fetch) -> Result<Self, Failure> {
        let mut settings = match &options.pccs {
            Some(address) => PcsSettings::pccs(address)?,
            None => PcsSettings::intel(),
        };
        if let Some(path) = &options.authorities {
            settings = settings.with_authorities(&files::read(path, 1 << 20)?)?;
        }
        let channel = match options.evaluation_number {
            Some(number) => Channel::Number(number),
            None if options.early => Channel::Early,
            None => Channel::Standard,
        };
        let amd = match &options.kds {
            Some(address) => KdsClient::service(address, None)?,
            None => KdsClient::amd(),
        };
        Ok(Self { intel: PcsClient::new(settings.with_channel(channel)), amd })
    }
}

impl CollateralSource for Services {
    fn collateral(&self, id: &CollateralId) -> Result<bulla_attest::Collateral, Error> {
        match id {
            CollateralId::Amd(_) => self.amd.collateral(id),
            _ => self.intel.collateral(id),
        }
    }
}
