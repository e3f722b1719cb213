//! What both verifiers are asked about.

use std::collections::BTreeSet;

use bulla_attest::TrustAnchor;
use bulla_crypto::sha256;
use serde_json::Value;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::common::{Vectors, loose, verify};
use crate::mutator::Mutator;

/// The items of a set of collateral.
pub(crate) const ITEMS: [&str; 9] = [
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
];
/// Those of them that are certificates.
const CHAINS: [&str; 3] = ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"];
/// Those that belong together.
const GROUPS: [&[&str]; 4] = [
    &["tcb_info_issuer_chain", "tcb_info", "tcb_info_signature"],
    &["qe_identity_issuer_chain", "qe_identity", "qe_identity_signature"],
    &["root_ca_crl", "pck_crl", "pck_crl_issuer_chain"],
    &["root_ca_crl"],
];

/// A question to a verifier.
#[derive(Clone)]
pub(crate) struct Input {
    /// Where it comes from and what was done to it.
    pub(crate) what: String,
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: Value,
    pub(crate) now: u64,
}

impl Input {
    pub(crate) fn item(&self, name: &str) -> &str {
        self.collateral[name].as_str().unwrap()
    }

    /// With something done to it.
    pub(crate) fn changed(&self, what: impl Into<String>, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        changed.what = format!("{}: {}", self.what, what.into());
        change(&mut changed);
        changed
    }

    pub(crate) fn with_item(&self, name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        let shown: String = value.chars().take(40).collect();
        self.changed(format!("{name} := {shown}"), |input| input.collateral[name] = value.into())
    }

    /// The items of another set.
    pub(crate) fn with_items_of(&self, other: &Self, items: &[&str]) -> Self {
        self.changed(format!("{items:?} of {}", other.what), |input| {
            items.iter().for_each(|item| input.collateral[*item] = other.collateral[*item].clone());
        })
    }

    pub(crate) fn at(&self, now: u64) -> Self {
        self.changed(format!("at {now}"), |input| input.now = now)
    }

    /// Of all chains.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = Vec<u8>> {
        let pck = Layout::of(&self.quote).map(|layout| layout.chain(&self.quote)).unwrap_or_default();
        CHAINS.iter().flat_map(|name| from_pem(self.item(name).as_bytes())).chain(pck)
    }

    /// The seconds at which items and certificates begin, and at which they end.
    pub(crate) fn windows(&self) -> (Vec<u64>, Vec<u64>) {
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        let mut add = |from: i64, until: i64| {
            begin.extend(u64::try_from(from));
            end.extend(u64::try_from(until));
        };
        for name in ["tcb_info", "qe_identity"] {
            let Ok(document) = serde_json::from_str::<Value>(self.item(name)) else { continue };
            let format = &time::format_description::well_known::Rfc3339;
            let date = |name: &str| {
                let date = document[name].as_str()?;
                Some(time::OffsetDateTime::parse(date, format).ok()?.unix_timestamp())
            };
            let (Some(from), Some(until)) = (date("issueDate"), date("nextUpdate")) else { continue };
            add(from, until);
        }
        for name in ["root_ca_crl", "pck_crl"] {
            let der = hex::decode(self.item(name)).unwrap_or_default();
            let Ok((_, crl)) = CertificateRevocationList::from_der(&der) else { continue };
            add(crl.last_update().timestamp(), crl.next_update().map_or(i64::MAX, |until| until.timestamp()));
        }
        for der in self.certificates() {
            let Ok((_, certificate)) = X509Certificate::from_der(&der) else { continue };
            add(certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        }
        (begin, end)
    }

    /// All of these, once each.
    pub(crate) fn moments(&self) -> Vec<u64> {
        let (begin, end) = self.windows();
        let moments: BTreeSet<_> = begin.into_iter().chain(end).collect();
        moments.into_iter().collect()
    }
}

/// All evidence that there is.
pub(crate) struct Source {
    cases: Vec<Input>,
    /// Not cut to their declared length.
    published: Vec<Input>,
    /// Those of the cases that bulla takes, by their places.
    good: Vec<usize>,
}

impl Source {
    pub(crate) fn new(vectors: &Vectors) -> Self {
        let (mut cases, mut published) = (Vec::new(), Vec::new());
        for vector in &vectors.quotes {
            for case in &vector.cases {
                let what = format!("{} {}", vector.id, case.label.rsplit('/').next().unwrap());
                let input = Input {
                    what,
                    quote: vector.quote.clone(),
                    collateral: case.collateral.clone(),
                    now: case.now,
                };
                if let Some(longer) = &vector.as_published {
                    published.push(input.changed("as published", |input| input.quote.clone_from(longer)));
                }
                cases.push(input);
            }
        }
        let taken = |input: &Input| verify(&input.quote, &input.collateral, input.now, &loose()).is_ok();
        let good = (0..cases.len()).filter(|place| taken(&cases[*place])).collect();
        Self { cases, published, good }
    }

    /// As it is.
    pub(crate) fn genuine(&self) -> Vec<Input> {
        [self.cases.as_slice(), &self.published].concat()
    }

    /// The certificate of Intel's root, which travels in every chain.
    pub(crate) fn root(&self) -> Vec<u8> {
        let mut chains =
            self.cases.iter().map(|case| from_pem(case.item("tcb_info_issuer_chain").as_bytes()));
        let wanted = *TrustAnchor::intel().fingerprint();
        chains.find_map(|chain| chain.into_iter().find(|der| sha256(&[der]) == wanted)).unwrap()
    }

    pub(crate) fn cases(&self) -> &[Input] {
        &self.cases
    }

    /// What to change things in: all cases that verify, or the first of each version and the first whose TDX module is of a kind
    /// that Intel's library judges to the end.
    pub(crate) fn bases(&self, everywhere: bool) -> Vec<Input> {
        let mut seen = BTreeSet::new();
        let good = self.good.iter().map(|place| &self.cases[*place]);
        let first = |input: &&Input| {
            let version = input.quote[0];
            everywhere || seen.insert((version, version == 4 && input.quote[49] == 0))
        };
        good.filter(first).cloned().collect()
    }
}

/// Mutations, the same in every run.
pub(crate) fn random(source: &Source, rounds: usize) -> Vec<Input> {
    let mut mutator = Mutator::new("differential");
    (0..rounds).map(|round| mutated(source, &mut mutator, round)).collect()
}

fn mutated(source: &Source, mutator: &mut Mutator, round: usize) -> Input {
    let base = &source.cases[*mutator.of(&source.good)];
    let other = mutator.of(&source.cases);
    let base = base.changed(format!("mutation {round}"), |_| ());
    match round % 10 {
        0..=2 => flip(&base, mutator),
        3 => base.changed("bytes", |input| {
            input.quote = mutator.mutate(&[base.quote.clone(), other.quote.clone()]);
        }),
        4 => base.with_items_of(other, &[*mutator.of(&ITEMS)]),
        5 => {
            let now = if mutator.below(2) == 0 { base.now } else { other.now };
            base.with_items_of(other, mutator.of::<&[&str]>(&GROUPS)).at(now)
        }
        6 => character(&base, mutator),
        7 => {
            let moments = base.moments();
            let moment = *mutator.of(&moments);
            base.at((moment + 1).saturating_sub(mutator.below(3) as u64))
        }
        8 => parts(&base, other, mutator),
        _ => certificates(&base, other, mutator),
    }
}

fn flip(base: &Input, mutator: &mut Mutator) -> Input {
    // Every second one outside the certificates, which are most of a quote.
    let end = if mutator.below(2) == 0 { base.quote.len() } else { Layout::of(&base.quote).unwrap().pem };
    let (at, bit) = (mutator.below(end), mutator.below(8));
    base.changed(format!("bit {bit} of byte {at}"), |input| input.quote[at] ^= 1 << bit)
}

/// Another character in an item.
fn character(base: &Input, mutator: &mut Mutator) -> Input {
    let name = *mutator.of(&ITEMS);
    let mut text = base.item(name).to_owned().into_bytes();
    let at = mutator.below(text.len());
    let printable = *mutator.of(b"0123456789abcdefghXYZ\"{}[], :-+/=\n");
    // Mostly hexadecimal digits stay hexadecimal digits: what is not is refused at once.
    text[at] = if text[at].is_ascii_hexdigit() { *mutator.of(b"0123456789abcdef") } else { printable };
    let text = String::from_utf8(text).unwrap();
    base.changed(format!("character {at} of {name}"), |input| input.collateral[name] = text.into())
}

/// One part of another quote of the same version.
fn parts(base: &Input, other: &Input, mutator: &mut Mutator) -> Input {
    let (Some(own), Some(their)) = (Layout::of(&base.quote), Layout::of(&other.quote)) else {
        return base.clone();
    };
    if base.quote[0] != other.quote[0] {
        return base.changed("the other's quote", |input| input.quote.clone_from(&other.quote));
    }
    let ranges = [
        (0, own.body),
        (own.body, own.sig_len),
        (own.sig_len + 4, own.sig_len + 68),
        (own.sig_len + 68, own.sig_len + 132),
        (own.sig_len + 4, own.sig_len + 132),
        (own.qe_report, own.qe_report + 384),
        (own.qe_report, own.auth),
        (own.sig_len + 68, own.auth),
    ];
    let place = mutator.below(ranges.len() + 2);
    base.changed(format!("part {place} of {}", other.what), |input| match ranges.get(place) {
        Some(&(from, to)) => input.quote[from..to].copy_from_slice(&other.quote[from..to]),
        None if place == ranges.len() => {
            input.quote = [&base.quote[..own.sig_len], &other.quote[their.sig_len..]].concat();
        }
        None => input.quote = own.with_pem(&base.quote, &other.quote[their.pem..]),
    })
}

/// One certificate more, less, double, elsewhere, or changed, in one of the chains.
fn certificates(base: &Input, other: &Input, mutator: &mut Mutator) -> Input {
    let layout = Layout::of(&base.quote).unwrap();
    let place = mutator.below(CHAINS.len() + 1);
    let mut chain = match CHAINS.get(place) {
        Some(name) => from_pem(base.item(name).as_bytes()),
        None => layout.chain(&base.quote),
    };
    let (at, to) = (mutator.below(chain.len()), mutator.below(chain.len()));
    let how = mutator.below(6);
    match how {
        0 => drop(chain.remove(at)),
        1 => chain.insert(at, chain[to].clone()),
        2 => chain.swap(at, to),
        3 => {
            let byte = mutator.below(chain[at].len());
            chain[at][byte] ^= 1 << mutator.below(8);
        }
        4 => {
            let foreign = from_pem(other.item(mutator.of::<&str>(&CHAINS)).as_bytes());
            chain[at] = mutator.of(&foreign).clone();
        }
        _ => chain.truncate(at),
    }
    let text = to_pem(&chain);
    let what = format!("chain {place}, change {how}, certificates {at} and {to}");
    base.changed(what, |input| match CHAINS.get(place) {
        Some(name) => input.collateral[*name] = text.into(),
        None => input.quote = layout.with_pem(&base.quote, text.as_bytes()),
    })
}

/// Where the parts of a genuine quote are.
pub(crate) struct Layout {
    pub(crate) body: usize,
    /// The length of the signature data.
    pub(crate) sig_len: usize,
    /// The outer certification data, in quotes of a guest.
    pub(crate) outer: Option<usize>,
    pub(crate) qe_report: usize,
    pub(crate) qe_sig: usize,
    pub(crate) auth: usize,
    pub(crate) inner: usize,
    pub(crate) pem: usize,
}

impl Layout {
    pub(crate) fn of(quote: &[u8]) -> Option<Self> {
        let (body, length) = match *quote.first()? {
            3 => (48, 384),
            4 => (48, 584),
            5 => (54, usize::from(u16::from_le_bytes([quote[50], quote[51]]))),
            _ => return None,
        };
        let sig_len = body + length;
        let outer = (quote[0] > 3).then_some(sig_len + 132);
        let qe_report = sig_len + 132 + if outer.is_some() { 6 } else { 0 };
        let auth = qe_report + 448;
        let inner = auth + 2 + usize::from(u16::from_le_bytes([*quote.get(auth)?, *quote.get(auth + 1)?]));
        let pem = inner + 6;
        (pem < quote.len()).then_some(Self {
            body,
            sig_len,
            outer,
            qe_report,
            qe_sig: qe_report + 384,
            auth,
            inner,
            pem,
        })
    }

    /// Leaf first.
    pub(crate) fn chain(&self, quote: &[u8]) -> Vec<Vec<u8>> {
        from_pem(&quote[self.pem..])
    }

    /// With other QE authentication data and another chain, and the lengths of all that encloses them.
    pub(crate) fn with_tail(&self, quote: &[u8], auth: &[u8], pem: &[u8]) -> Vec<u8> {
        let mut quote = quote[..self.auth].to_vec();
        quote.extend(u16::try_from(auth.len()).unwrap().to_le_bytes());
        quote.extend(auth);
        quote.extend(5_u16.to_le_bytes());
        quote.extend(u32::try_from(pem.len()).unwrap().to_le_bytes());
        quote.extend(pem);
        let length = |from: usize| u32::try_from(quote.len() - from).unwrap().to_le_bytes();
        let lengths = [(self.sig_len, length(self.sig_len + 4))]
            .into_iter()
            .chain(self.outer.map(|at| (at + 2, length(at + 6))));
        for (at, length) in lengths.collect::<Vec<_>>() {
            quote[at..at + 4].copy_from_slice(&length);
        }
        quote
    }

    pub(crate) fn with_pem(&self, quote: &[u8], pem: &[u8]) -> Vec<u8> {
        self.with_tail(quote, &quote[self.auth + 2..self.inner], pem)
    }
}

pub(crate) fn to_pem(chain: &[Vec<u8>]) -> String {
    chain.iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.clone()))).collect()
}

pub(crate) fn from_pem(text: &[u8]) -> Vec<Vec<u8>> {
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    pem::parse_many(text).unwrap_or_default().into_iter().map(pem::Pem::into_contents).collect()
}
