//! Quotes and collateral for tests: of a simulated machine, and real ones where they are at hand.

use std::path::PathBuf;
use std::{env, fs};

use bulla_sim::{Machine, TdDescription};
use serde_json::Value;

use crate::Collateral;

/// Quotes, and sets of collateral for them.
pub(crate) fn quotes_and_sets() -> (Vec<Vec<u8>>, Vec<Collateral>) {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::create(directory.path().join("machine")).unwrap();
    let quote = machine.td_quote(&TdDescription::default_guest(), &[7; 64]).unwrap();
    let mut sets = vec![machine.collateral(&quote, 1_800_000_000).unwrap().into_bytes()];
    let mut quotes = vec![quote];
    if let Some(folder) = env::var_os("BULLA_VECTORS").map(PathBuf::from) {
        let read = |path: &Value| fs::read(folder.join(path.as_str().unwrap())).unwrap();
        let table: Value = serde_json::from_slice(&fs::read(folder.join("vectors.json")).unwrap()).unwrap();
        for row in table["quotes"].as_array().unwrap() {
            quotes.push(read(&row["file"]));
            sets.extend(row["cases"].get(0).map(|case| read(&case["collateral"])));
        }
    }
    let sets = sets.iter().filter_map(|json| Collateral::from_json(json).ok()).collect();
    (quotes, sets)
}
