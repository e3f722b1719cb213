//! Fuzz targets for everything of bulla that reads untrusted bytes.
//!
//! Each target is a function that takes any bytes at all and panics if bulla does not keep a promise. libFuzzer calls them
//! through `fuzz_targets/`, and `tests/short.rs` with a bounded number of mutations, on any compiler.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "to panic is how a target says what it found"
)]

mod attest;
mod audit;
mod cbor;
#[path = "../../crates/bulla/tests/envelope/described.rs"]
mod described;
mod edits;
mod floor;
mod header;
mod import;
mod key_request;
mod legacy;
mod luks;
mod order;
mod ring;
mod stream;
mod successor;
mod text;
mod unseal;
mod vectors;

pub use attest::{
    NOW, Sample, collateral, crl, document, event_log, pck, policy, quote, ra_tls, snp, td_report, tpm_quote,
};
pub use audit::audit;
pub use floor::floor;
pub use header::header;
pub use import::import;
pub use key_request::{KINDS, key_request};
pub use legacy::legacy;
pub use luks::luks;
pub use order::order;
pub use ring::ring;
pub use stream::stream;
pub use successor::successor;
pub use text::{recipient_text, share_text};
pub use unseal::unseal;

/// A target, and what a short run of it takes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its corpus.
    pub name: &'static str,
    /// The target itself.
    pub run: fn(&[u8]),
    /// Mutations in a short run: about a second's worth.
    pub rounds: u32,
}

/// Every target.
pub const TARGETS: [Target; 25] = [
    Target { name: "header", run: header, rounds: 200_000 },
    Target { name: "unseal", run: unseal, rounds: 15_000 },
    Target { name: "stream", run: stream, rounds: 2_000 },
    Target { name: "recipient_text", run: recipient_text, rounds: 30_000 },
    Target { name: "share_text", run: share_text, rounds: 200_000 },
    Target { name: "key_request", run: key_request, rounds: 60_000 },
    Target { name: "floor", run: floor, rounds: 200_000 },
    Target { name: "luks", run: luks, rounds: 20_000 },
    Target { name: "ring", run: ring, rounds: 6_000 },
    Target { name: "successor", run: successor, rounds: 60_000 },
    Target {
        name: "quote",
        run: |data| {
            quote(data);
        },
        rounds: 3_000,
    },
    Target {
        name: "pck",
        run: |data| {
            pck(data);
        },
        rounds: 2_000,
    },
    Target {
        name: "collateral",
        run: |data| {
            collateral(data);
        },
        rounds: 6_000,
    },
    Target {
        name: "document",
        run: |data| {
            document(data);
        },
        rounds: 5_000,
    },
    Target {
        name: "crl",
        run: |data| {
            crl(data);
        },
        rounds: 4_000,
    },
    Target {
        name: "td_report",
        run: |data| {
            td_report(data);
        },
        rounds: 100_000,
    },
    Target {
        name: "event_log",
        run: |data| {
            event_log(data);
        },
        rounds: 200_000,
    },
    Target {
        name: "ra_tls",
        run: |data| {
            ra_tls(data);
        },
        rounds: 30_000,
    },
    Target {
        name: "policy",
        run: |data| {
            policy(data);
        },
        rounds: 20_000,
    },
    Target {
        name: "snp",
        run: |data| {
            snp(data);
        },
        rounds: 1_000,
    },
    Target {
        name: "audit",
        run: |data| {
            audit(data);
        },
        rounds: 8_000,
    },
    Target {
        name: "order",
        run: |data| {
            order(data);
        },
        rounds: 100_000,
    },
    Target {
        name: "legacy",
        run: |data| {
            legacy(data);
        },
        rounds: 200_000,
    },
    Target {
        name: "import",
        run: |data| {
            import(data);
        },
        rounds: 200_000,
    },
    Target {
        name: "tpm_quote",
        run: |data| {
            tpm_quote(data);
        },
        rounds: 8_000,
    },
];
