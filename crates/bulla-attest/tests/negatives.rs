//! One thing changed in real evidence: the refusal has the code of exactly that change. Numbers N.. are those of the
//! recipes in `negatives.md` beside the vectors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use bulla_attest::{Collateral, CollateralId, IntelPlatform, PckCa, Platform, Policy, TcbStatus};
use common::{Case, Vectors, announce, code, loose, verify};
use serde_json::{Value, json};

/// A genuine quote that verifies, to change things in.
struct Base {
    name: &'static str,
    quote: Vec<u8>,
    case: Case,
    /// Offset of the report body.
    body: usize,
    /// Offset of the length of the signature data; everything after is relative to it.
    sig_len: usize,
    /// Offset of the outer certification data, in TDX quotes.
    outer: Option<usize>,
    qe_report: usize,
    qe_sig: usize,
    auth: usize,
    inner: usize,
    pem: usize,
}

impl Base {
    fn new(name: &'static str, quote: &[u8], case: &Case) -> Self {
        let (body, body_len) = match quote[0] {
            3 => (48, 384),
            4 => (48, 584),
            _ => (54, 648),
        };
        let sig_len = body + body_len;
        let outer = (quote[0] > 3).then_some(sig_len + 132);
        let qe_report = sig_len + 132 + if outer.is_some() { 6 } else { 0 };
        let auth = qe_report + 448;
        let inner = auth + 2 + 32;
        let base = Self {
            name,
            quote: quote.to_vec(),
            case: case.clone(),
            body,
            sig_len,
            outer,
            qe_report,
            qe_sig: qe_report + 384,
            auth,
            inner,
            pem: inner + 6,
        };
        assert_eq!(base.code(&base.quote), "ok", "{name}");
        base
    }

    fn code(&self, quote: &[u8]) -> &'static str {
        code(quote, &self.case.collateral, self.case.now, &loose())
    }

    fn code_of(&self, collateral: &Value) -> &'static str {
        code(&self.quote, collateral, self.case.now, &loose())
    }

    fn with(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut quote = self.quote.clone();
        quote[at..at + bytes.len()].copy_from_slice(bytes);
        quote
    }

    fn flipped(&self, at: usize) -> Vec<u8> {
        self.with(at, &[self.quote[at] ^ 1])
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.quote[at..at + 4].try_into().unwrap())
    }

    /// Other bytes from the QE auth data on, with all enclosing lengths fixed up.
    fn with_tail(&self, auth: &[u8], pem: &[u8]) -> Vec<u8> {
        let mut quote = self.quote[..self.auth].to_vec();
        quote.extend(u16::try_from(auth.len()).unwrap().to_le_bytes());
        quote.extend(auth);
        quote.extend(5u16.to_le_bytes());
        quote.extend(u32::try_from(pem.len()).unwrap().to_le_bytes());
        quote.extend(pem);
        let length = |from: usize| u32::try_from(quote.len() - from).unwrap().to_le_bytes();
        let (signature_data, outer) = (length(self.sig_len + 4), self.outer.map(|at| (at, length(at + 6))));
        quote[self.sig_len..self.sig_len + 4].copy_from_slice(&signature_data);
        if let Some((at, length)) = outer {
            quote[at + 2..at + 6].copy_from_slice(&length);
        }
        quote
    }

    fn auth_data(&self) -> &[u8] {
        &self.quote[self.auth + 2..self.inner]
    }

    fn with_chain(&self, chain: &[Vec<u8>]) -> Vec<u8> {
        self.with_tail(self.auth_data(), to_pem(chain).as_bytes())
    }

    /// Leaf, CA, root.
    fn chain(&self) -> Vec<Vec<u8>> {
        from_pem(self.quote[self.pem..].strip_suffix(b"\0").unwrap_or(&self.quote[self.pem..]))
    }

    fn with_item(&self, item: &str, value: impl Into<Value>) -> Value {
        let mut collateral = self.case.collateral.clone();
        collateral[item] = value.into();
        collateral
    }

    fn item(&self, name: &str) -> &str {
        self.case.collateral[name].as_str().unwrap()
    }
}

fn to_pem(chain: &[Vec<u8>]) -> String {
    pem::encode_many(&chain.iter().map(|der| pem::Pem::new("CERTIFICATE", der.clone())).collect::<Vec<_>>())
}

fn from_pem(text: &[u8]) -> Vec<Vec<u8>> {
    pem::parse_many(text).unwrap().into_iter().map(pem::Pem::into_contents).collect()
}

fn flip_hex(digits: &str, byte: usize) -> String {
    let mut bytes = hex::decode(digits).unwrap();
    bytes[byte] ^= 1;
    hex::encode(bytes)
}

/// The position of a needle that stands there once.
fn find(hay: &[u8], needle: &[u8]) -> usize {
    let mut found = (0..hay.len()).filter(|&at| hay[at..].starts_with(needle));
    let (first, second) = (found.next(), found.next());
    assert!(second.is_none(), "the needle stands there twice");
    first.unwrap()
}

/// A TDX v4 quote, B SGX v3, C TDX v5 with a TD 1.5 report (in the big set only).
fn bases(vectors: &Vectors) -> Vec<Base> {
    let mut bases = Vec::new();
    let names: &[_] = if vectors.is_full() {
        &[("A", "tdx-v4-01"), ("B", "sgx-v3-01"), ("C", "tdx-v5-01")]
    } else {
        &[("A", "tdx_quote"), ("B", "sgx_quote")]
    };
    for (name, id) in names {
        let vector =
            vectors.quotes.iter().find(|v| v.id == *id || vectors.is_full() && v.id.starts_with(id)).unwrap();
        bases.push(Base::new(name, &vector.quote, &vector.cases[0]));
    }
    bases
}

/// Counts what was asserted, and says it at the end.
struct Tally(&'static str, usize);

impl Tally {
    #[track_caller]
    fn is(&mut self, what: &str, found: &str, wanted: &[&str]) {
        assert!(wanted.contains(&found), "{} {what}: {found} is none of {wanted:?}", self.0);
        self.1 += 1;
    }

    fn print(&self, vectors: &Vectors) {
        announce(format_args!("{}: {} refusals on the {}", self.0, self.1, vectors.origin));
        assert!(self.1 > 0);
    }
}

/// R32, R33 (N06), R34 (N08, N12, N13): structure, vendor and certification data.
#[test]
fn n01_to_n18_structure() {
    let vectors = Vectors::load();
    let mut tally = Tally("structure", 0);
    for base in bases(&vectors) {
        let (n, quote) = (base.name, &base.quote);
        let sig_data = base.u32_at(base.sig_len);
        let inner_size = base.u32_at(base.inner + 2);
        let mut at = |what: &str, at: usize, bytes: &[u8], wanted: &[&str]| {
            tally.is(&format!("{n} {what} {bytes:02x?}"), base.code(&base.with(at, bytes)), wanted);
        };
        // N02 to N06
        for version in [0u16, 2, 6, 0xffff] {
            at("N02 version", 0, &version.to_le_bytes(), &["parse.version"]);
        }
        for version in [3u16, 4, 5].into_iter().filter(|version| *version != u16::from(quote[0])) {
            at(
                "N03 version",
                0,
                &version.to_le_bytes(),
                &["parse.tee_type", "parse.body_type", "parse.cert_type", "parse.truncated"],
            );
        }
        for kind in [0u16, 1, 3] {
            at("N04 key type", 2, &kind.to_le_bytes(), &["parse.att_key_type"]);
        }
        for tee in [1u32, 0x80, 0x82] {
            at("N05 TEE type", 4, &tee.to_le_bytes(), &["parse.tee_type"]);
        }
        // The other TEE's body is of another size, or of another type.
        let other = 0x81 ^ u32::from(quote[4]);
        let wanted = ["parse.tee_type", "parse.body_type", "parse.truncated"];
        at("N05 TEE type", 4, &other.to_le_bytes(), &wanted);
        at("N06 vendor", 12, &[quote[12] ^ 1], &["parse.qe_vendor"]);
        // N07
        for length in [0, sig_data - 1, sig_data + 1, 0x7fff_ffff, u32::MAX] {
            at("N07 signature data", base.sig_len, &length.to_le_bytes(), &["parse.truncated"]);
        }
        // N08, N09
        if let Some(outer) = base.outer {
            for kind in [0u16, 1, 5, 7] {
                at("N08 outer type", outer, &kind.to_le_bytes(), &["parse.cert_type"]);
            }
            let size = base.u32_at(outer + 2);
            for size in [0, size - 1, size + 1, u32::MAX] {
                at("N09 outer size", outer + 2, &size.to_le_bytes(), &["parse.truncated", "parse.slack"]);
            }
        }
        // N10
        for length in [0u16, 1, 31, 33, 0xffff] {
            at(
                "N10 auth length",
                base.auth,
                &length.to_le_bytes(),
                &["parse.truncated", "qe_report.binding"],
            );
        }
        // N12 to N14, N18
        for kind in [0u16, 6, 8] {
            at("N12 inner type", base.inner, &kind.to_le_bytes(), &["parse.cert_type"]);
        }
        for kind in [1u16, 2, 3, 4, 7] {
            at("N13 inner type", base.inner, &kind.to_le_bytes(), &["pck.no_chain"]);
        }
        for size in [0, inner_size + 1, u32::MAX] {
            at("N14 inner size", base.inner + 2, &size.to_le_bytes(), &["parse.truncated", "parse.slack"]);
        }
        for size in [inner_size - 1, inner_size - 256] {
            at("N18 inner size", base.inner + 2, &size.to_le_bytes(), &["parse.slack"]);
        }
        // N15
        if quote[0] == 5 {
            for kind in [0u16, 1, 2, 4, 5] {
                at("N15 body type", 48, &kind.to_le_bytes(), &["parse.body_type", "parse.body_size"]);
            }
            for size in [0u32, 584, 647, 649, u32::MAX] {
                at("N15 body size", 50, &size.to_le_bytes(), &["parse.body_size"]);
            }
        }
        // N01
        let offsets =
            [0, 1, 47, 48, base.body, base.sig_len, base.sig_len + 4, base.sig_len + 68, base.qe_report];
        let more = [base.qe_sig, base.auth, base.auth + 2, base.inner, base.pem, quote.len() - 1];
        for cut in offsets.into_iter().chain(more).chain(base.outer) {
            tally.is(&format!("{n} N01 cut {cut}"), base.code(&quote[..cut]), &["parse.truncated"]);
        }
        // N11
        for length in [31, 33] {
            let auth: Vec<u8> = (0..length).collect();
            let changed = base.with_tail(&auth, &quote[base.pem..]);
            tally.is(&format!("{n} N11 {length}"), base.code(&changed), &["qe_report.binding"]);
        }
        // N16: padding is stripped, anything else is not.
        for length in [1, 70, 8000] {
            assert_eq!(base.code(&[&quote[..], &vec![0; length]].concat()), "ok", "{n} N16");
        }
        for tail in [&b"extra"[..], &[0, 0, 0, 1]] {
            let changed = [&quote[..], tail].concat();
            tally.is(&format!("{n} N16"), base.code(&changed), &["parse.trailing_bytes"]);
        }
        let changed = [&quote[..], &vec![0; 32 * 1024]].concat();
        tally.is(&format!("{n} R31"), base.code(&changed), &["parse.too_large"]);
        // N17
        let mut changed = [&quote[..], &[0; 4]].concat();
        changed[base.sig_len..base.sig_len + 4].copy_from_slice(&(sig_data + 4).to_le_bytes());
        tally.is(&format!("{n} N17 signature data"), base.code(&changed), &["parse.slack"]);
        if let Some(outer) = base.outer {
            let size = base.u32_at(outer + 2);
            changed[outer + 2..outer + 6].copy_from_slice(&(size + 4).to_le_bytes());
            tally.is(&format!("{n} N17 outer"), base.code(&changed), &["parse.slack"]);
        }
    }
    for vector in &vectors.quotes {
        let (Some(published), Some(case)) = (&vector.as_published, vector.cases.first()) else { continue };
        // N16: one is padded with zeros, the other with text.
        let found = code(published, &case.collateral, case.now, &loose());
        let padded = published[vector.quote.len()..].iter().all(|byte| *byte == 0);
        if padded {
            assert_eq!(found, code(&vector.quote, &case.collateral, case.now, &loose()), "{}", vector.id);
        } else {
            tally.is(&format!("N16 {}", vector.id), found, &["parse.trailing_bytes"]);
        }
    }
    if vectors.is_full() {
        let case = &vectors.get("sgx-v3-01").cases[0];
        let encrypted = vectors.get("sgx-v3-10");
        tally.is(
            "N13 sgx-v3-10",
            code(&encrypted.quote, &case.collateral, case.now, &loose()),
            &["pck.no_chain"],
        );
        assert_eq!(CollateralId::of_quote(&encrypted.quote).unwrap_err().code(), "pck.no_chain");
    }
    tally.print(&vectors);
}

#[test]
fn n19_to_n27_signatures() {
    let vectors = Vectors::load();
    let mut tally = Tally("signatures", 0);
    for base in bases(&vectors) {
        let n = base.name;
        let b = base.body;
        let fields = if base.outer.is_some() {
            // TEE_TCB_SVN, TD attributes, MRTD, RTMRs, report data
            vec![b, b + 120, b + 136, b + 328, b + 376, b + 424, b + 472, b + 520]
        } else {
            // MRENCLAVE, MRSIGNER, attributes, ISVSVN, report data
            vec![b + 64, b + 128, b + 48, b + 258, b + 320]
        };
        for at in (8..12).chain(28..48).chain([b, base.sig_len - 1]).chain(fields) {
            tally.is(&format!("{n} N19 {at}"), base.code(&base.flipped(at)), &["quote.signature"]);
        }
        tally.is(&format!("{n} N20"), base.code(&base.with(28, &[0xab; 16])), &["quote.signature"]);
        let signature = base.sig_len + 4;
        for at in [signature, signature + 31, signature + 32, signature + 63] {
            tally.is(&format!("{n} N21 {at}"), base.code(&base.flipped(at)), &["quote.signature"]);
        }
        for fill in [0, 0xff] {
            tally.is(
                &format!("{n} N21"),
                base.code(&base.with(signature, &[fill; 64])),
                &["quote.signature"],
            );
        }
        // N22: the other form of a signature is as good, so a quote's bytes are not its identity.
        for at in [signature, base.qe_sig] {
            let other = base.with(at + 32, &negated(&base.quote[at + 32..at + 64]));
            let same = verify(&other, &base.case.collateral, base.case.now, &loose()).unwrap();
            let claims = verify(&base.quote, &base.case.collateral, base.case.now, &loose()).unwrap();
            assert_eq!(same, claims, "{n} N22");
        }
        for at in [signature + 64, signature + 127] {
            tally.is(&format!("{n} N23 {at}"), base.code(&base.flipped(at)), &["qe_report.binding"]);
        }
        tally.is(
            &format!("{n} N23"),
            base.code(&base.with(signature + 64, &[0; 64])),
            &["qe_report.binding"],
        );
        for at in [base.auth + 2, base.inner - 1] {
            tally.is(&format!("{n} N24 {at}"), base.code(&base.flipped(at)), &["qe_report.binding"]);
        }
        let qe = base.qe_report;
        for at in [qe, qe + 128, qe + 48, qe + 320, qe + 352, base.qe_sig, base.qe_sig + 63] {
            tally.is(&format!("{n} N25 {at}"), base.code(&base.flipped(at)), &["qe_report.signature"]);
        }
    }
    if vectors.is_full() {
        let a = &bases(&vectors)[0];
        let other = &vectors.get("tdx-v4-10");
        let spliced = [&a.quote[..a.sig_len], &other.quote[a.sig_len..]].concat();
        let case = &other.cases[0];
        tally.is("N26", code(&spliced, &case.collateral, case.now, &loose()), &["quote.signature"]);
        let bad = vectors.get("sgx-v3-12");
        let case = &bad.cases[0];
        tally.is("N27", code(&bad.quote, &case.collateral, case.now, &loose()), &["quote.signature"]);
    }
    tally.print(&vectors);
}

/// n - s, for the order n of P-256.
fn negated(s: &[u8]) -> Vec<u8> {
    let n = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let mut borrow = 0;
    let mut out: Vec<u8> = n
        .iter()
        .zip(s)
        .rev()
        .map(|(n, s)| {
            let difference = i16::from(*n) - i16::from(*s) - borrow;
            borrow = i16::from(difference < 0);
            (difference & 0xff) as u8
        })
        .collect();
    out.reverse();
    out
}

#[test]
fn n28_to_n33_pck_chain() {
    let vectors = Vectors::load();
    let mut tally = Tally("PCK chain", 0);
    for base in bases(&vectors) {
        let n = base.name;
        let chain = base.chain();
        let [leaf, ca, root] = chain.as_slice() else { panic!("{n}: a chain of {}", chain.len()) };
        let mut is = |what: &str, chain: &[&Vec<u8>], wanted: &[&str]| {
            let chain: Vec<_> = chain.iter().map(|der| (*der).clone()).collect();
            tally.is(&format!("{n} {what}"), base.code(&base.with_chain(&chain)), wanted);
        };
        // Control, and N30: the pinned root completes a chain without it.
        assert_eq!(base.code(&base.with_chain(&chain)), "ok", "{n} control");
        assert_eq!(base.code(&base.with_chain(&chain[..2])), "ok", "{n} N30");

        let claims = verify(&base.quote, &base.case.collateral, base.case.now, &loose()).unwrap();
        let flipped = |at: usize| {
            let mut leaf = leaf.clone();
            leaf[at] ^= 1;
            leaf
        };
        let platform = claims.platform.intel().unwrap();
        let signature = leaf.len() - 1;
        let places = [
            find(leaf, &platform.ppid),
            find(leaf, &platform.fmspc),
            find(leaf, &platform.cpusvn),
            signature,
        ];
        for at in places {
            is(&format!("N28 {at}"), &[&flipped(at), ca, root], &["pck.chain_signature"]);
        }
        is("N29", &[leaf], &["pck.chain"]);
        is("N29", &[leaf, root], &["pck.chain"]);
        is("N31 reversed", &[root, ca, leaf], &["pck.chain"]);
        is("N31 CA as leaf", &[ca, root], &["pck.chain"]);
        is("N31 CA as leaf", &[ca, ca, root], &["pck.chain"]);
        // R31: 50 are above the limit of a quote.
        is("N31 50 leaves", &vec![leaf; 50], &["parse.too_large"]);
        is("N31 12 leaves", &[leaf; 12], &["pck.chain"]);
        is("N31 8 leaves", &[leaf; 8], &["pck.chain"]);
        is("N31 more CAs", &[leaf, ca, root, ca, ca, ca], &["pck.chain"]);
        let mut other_root = root.clone();
        *other_root.last_mut().unwrap() ^= 1;
        is("R27 altered root", &[leaf, ca, &other_root], &["pck.untrusted_root"]);

        let text = to_pem(&chain);
        let labelled = text.replacen("CERTIFICATE", "X509 CRL", 2);
        let commented = text.replacen("-----\r\n", "-----\r\nProc-Type: 4\r\n\r\n", 1);
        assert!(labelled != text && commented != text);
        for pem in [
            &b""[..],
            &[b'A'; 3000],
            labelled.as_bytes(),
            commented.as_bytes(),
            &[text.as_bytes(), b"x"].concat(),
        ] {
            let changed = base.with_tail(base.auth_data(), pem);
            tally.is(&format!("{n} N31 {} bytes", pem.len()), base.code(&changed), &["pck.chain"]);
        }
    }
    if vectors.is_full() {
        let a = &bases(&vectors)[0];
        let foreign = |prefix| {
            let vector = vectors.get(prefix);
            from_pem(vector.quote[a.pem..].strip_suffix(b"\0").unwrap_or(&vector.quote[a.pem..]))
        };
        tally.is("N32 of 10", a.code(&a.with_chain(&foreign("tdx-v4-10"))), &["qe_report.signature"]);
        tally.is("N32 of 09", a.code(&a.with_chain(&foreign("tdx-v4-09"))), &["pck.cert_expired"]);
        tally.is("N33 of 19", a.code(&a.with_chain(&foreign("tdx-v4-19"))), &["pck.untrusted_root"]);
        tally.is("N33 19 as it is", a.code(&vectors.get("tdx-v4-19").quote), &["pck.untrusted_root"]);
        // N57: a PPID is not read from a certificate that does not verify.
        let (pair, case) = (vectors.get("tdx-v4-02"), &vectors.get("tdx-v4-02").cases[0]);
        let base = Base::new("N57", &pair.quote, case);
        let mut chain = base.chain();
        let claims = verify(&base.quote, &case.collateral, case.now, &loose()).unwrap();
        let at = find(&chain[0], &claims.platform.intel().unwrap().cpusvn);
        chain[0][at] ^= 1;
        tally.is("N57", base.code(&base.with_chain(&chain)), &["pck.chain_signature"]);
    }
    tally.print(&vectors);
}

#[test]
fn n35_to_n49_collateral() {
    let vectors = Vectors::load();
    let mut tally = Tally("collateral", 0);
    for base in bases(&vectors) {
        let n = base.name;
        let at = |now| code(&base.quote, &base.case.collateral, now, &loose());
        let date = |item: &str, field: &str| {
            let document: Value = serde_json::from_str(base.item(item)).unwrap();
            let date = document[field].as_str().unwrap().to_owned();
            let format = &time::format_description::well_known::Rfc3339;
            u64::try_from(time::OffsetDateTime::parse(&date, format).unwrap().unix_timestamp()).unwrap()
        };
        let early = ["tcb_info.not_yet_valid", "qe_identity.not_yet_valid"];
        for now in [0, date("tcb_info", "issueDate") - 1, date("qe_identity", "issueDate") - 1] {
            tally.is(&format!("{n} N35 {now}"), at(now), &early);
        }
        let late = ["tcb_info.expired", "qe_identity.expired", "pck_crl.expired", "root_crl.expired"];
        let until = Collateral::from_json(base.case.collateral.to_string().as_bytes())
            .unwrap()
            .valid_until()
            .unwrap();
        let dates = [
            date("tcb_info", "nextUpdate") + 1,
            date("qe_identity", "nextUpdate") + 1,
            until,
            1 << 62,
            u64::MAX,
        ];
        for now in dates {
            tally.is(&format!("{n} N36 {now}"), at(now), &late);
        }

        let mut is = |what: &str, item: &str, value: &str, wanted: &[&str]| {
            tally.is(&format!("{n} {what} {item}"), base.code_of(&base.with_item(item, value)), wanted);
        };
        for (item, wanted) in [("tcb_info", "tcb_info.signature"), ("qe_identity", "qe_identity.signature")] {
            let text = base.item(item);
            let mut reordered: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
            let first = reordered.keys().next().unwrap().clone();
            let moved = reordered.shift_remove(&first).unwrap();
            reordered.insert(first, moved);
            let changes = [
                text.replacen("UpToDate", "Revoked", 1),
                text.replace("OutOfDate", "UpToDate").replacen("tcbLevels", "tcbLevelz", 1),
                format!("{text} "),
                text.replacen("nextUpdate\":\"202", "nextUpdate\":\"203", 1),
                Value::Object(reordered).to_string(),
                // N49
                "[".repeat(100_000),
                text.replacen("{\"", "{\"version\":3,\"", 1),
                text.replacen("\"version\":", "\"x\":NaN,\"version\":", 1),
                text.replacen("\"version\":", "\"x\":\"\\ud800\",\"version\":", 1),
                "x".repeat(900_000),
                String::new(),
            ];
            let changes: Vec<_> = changes.into_iter().filter(|change| change != text).collect();
            assert!(changes.len() > 8);
            for change in changes {
                is("N39 N49", item, &change, &[wanted]);
            }
            let name = format!("{item}_signature");
            let signature = base.item(&name);
            let other = if item == "tcb_info" { "qe_identity_signature" } else { "tcb_info_signature" };
            for change in [
                flip_hex(signature, 0),
                flip_hex(signature, 63),
                String::new(),
                signature[2..].to_owned(),
                format!("{signature}00"),
                base.item(other).to_owned(),
            ] {
                is("N40", &name, &change, &[wanted]);
            }
            let chain = format!("{item}_issuer_chain");
            let wanted = format!("{item}.chain");
            is("N41", &chain, base.item("pck_crl_issuer_chain"), &[&wanted]);
            is("N41", &chain, "", &[&wanted]);
            let (pck, mut signer) = (base.chain(), from_pem(base.item(&chain).as_bytes()));
            // A PCK certificate chain: of another shape than a signer's.
            is("N41", &chain, &to_pem(&pck), &[&wanted]);
            *signer[0].last_mut().unwrap() ^= 1;
            is("N41", &chain, &to_pem(&signer), &[&format!("{item}.chain_signature")]);
            let (last, signer) = (signer[1].len() - 1, &mut signer);
            signer[1][last] ^= 1;
            is("N41", &chain, &to_pem(signer), &[&format!("{item}.untrusted_root")]);
        }
        // N45
        let (pck_crl, root_crl) = (base.item("pck_crl"), base.item("root_ca_crl"));
        is("N45", "pck_crl", root_crl, &["pck_crl.wrong_issuer"]);
        is("N45", "root_ca_crl", pck_crl, &["root_crl.wrong_issuer"]);
        for (item, prefix) in [("pck_crl", "pck_crl"), ("root_ca_crl", "root_crl")] {
            let crl = base.item(item);
            is("N45", item, "", &[&format!("{prefix}.parse")]);
            is("N45", item, &format!("{crl}00"), &[&format!("{prefix}.parse")]);
            is("N45", item, &flip_hex(crl, crl.len() / 2 - 1), &[&format!("{prefix}.signature")]);
        }
        let mut chain = from_pem(base.item("pck_crl_issuer_chain").as_bytes());
        is("issuer of the CRL", "pck_crl_issuer_chain", "", &["pck_crl.chain"]);
        *chain[0].last_mut().unwrap() ^= 1;
        is("issuer of the CRL", "pck_crl_issuer_chain", &to_pem(&chain), &["pck_crl.chain_signature"]);

        // R17: an item that is not there.
        for item in base.case.collateral.as_object().unwrap().keys() {
            let mut set = base.case.collateral.clone();
            set.as_object_mut().unwrap().remove(item);
            tally.is(&format!("{n} R17 {item}"), base.code_of(&set), &["collateral.incomplete"]);
        }
        let huge = base.with_item("tcb_info", "x".repeat(10_000_000));
        tally.is(&format!("{n} N49 10 MB"), base.code_of(&huge), &["collateral.too_large"]);
    }
    if vectors.is_full() {
        collateral_of_others(&vectors, &mut tally);
    }
    tally.print(&vectors);
}

/// Genuine items in the wrong place.
fn collateral_of_others(vectors: &Vectors, tally: &mut Tally) {
    let find_case = |prefix: &str, label: &str| {
        let vector = vectors.get(prefix);
        let case = vector.cases.iter().find(|case| case.label.contains(label)).unwrap();
        (vector.quote.clone(), case.clone())
    };
    let take = |into: &Case, from: &Case, items: &[&str]| {
        let mut collateral = into.collateral.clone();
        for item in items {
            collateral[item] = from.collateral[item].clone();
        }
        collateral
    };
    let tcb_info = ["tcb_info", "tcb_info_signature", "tcb_info_issuer_chain"];
    let qe_identity = ["qe_identity", "qe_identity_signature", "qe_identity_issuer_chain"];
    let (a, at_a) = find_case("tdx-v4-01", "2025-06-19");
    let (_, later) = find_case("tdx-v4-01", "2026-08-13");
    let (_, old) = find_case("tdx-v4-13", "2023-06-18");
    let mut is = |what: &str, quote: &[u8], collateral: &Value, now: u64, wanted: &str| {
        tally.is(what, code(quote, collateral, now, &loose()), &[wanted]);
    };
    for (item, wanted) in [("pck_crl", "pck_crl.not_yet_valid"), ("root_ca_crl", "root_crl.not_yet_valid")] {
        is("N37", &a, &take(&at_a, &later, &[item]), at_a.now, wanted);
    }
    let chains = ["tcb_info_issuer_chain", "qe_identity_issuer_chain"];
    is("N38", &a, &take(&at_a, &old, &chains), at_a.now, "tcb_info.cert_expired");
    is("N38", &a, &take(&at_a, &old, &chains[1..]), at_a.now, "qe_identity.cert_expired");
    for (item, wanted) in [("pck_crl", "pck_crl.expired"), ("root_ca_crl", "root_crl.expired")] {
        is("N46", &a, &take(&at_a, &old, &[item]), at_a.now, wanted);
    }
    // N42
    let (_, other) = find_case("tdx-v4-11", "");
    is("N42 A", &a, &other.collateral, other.now, "tcb_info.fmspc_mismatch");
    let (b, at_b) = find_case("sgx-v3-01", "");
    let (_, other) = find_case("sgx-v3-05", "eval17");
    is("N42 B", &b, &other.collateral, other.now, "tcb_info.fmspc_mismatch");
    // N43, N44
    let (sgx, at_sgx) = find_case("sgx-v3-11", "");
    let (tdx, at_tdx) = find_case("tdx-v4-02", "2026-03-17");
    for (quote, own, other) in [(&tdx, &at_tdx, &at_sgx), (&sgx, &at_sgx, &at_tdx)] {
        is("N43", quote, &take(own, other, &tcb_info), 1_775_039_047, "tcb_info.wrong_id");
        is("N44", quote, &take(own, other, &qe_identity), 1_775_039_047, "qe_identity.wrong_id");
    }
    // N45
    is("N45 A", &a, &take(&at_a, &at_b, &["pck_crl"]), at_a.now, "pck_crl.wrong_issuer");
    is("N45 B", &b, &take(&at_b, &at_a, &["pck_crl"]), at_b.now, "pck_crl.wrong_issuer");
    // N47
    for prefix in ["sgx-v3-05", "tdx-v4-10"] {
        let (quote, case) = find_case(prefix, "eval17");
        for (minimum, wanted) in [(17, "ok"), (18, "policy.tcb_evaluation_number")] {
            let policy = loose().min_tcb_evaluation_data_number(minimum);
            assert_eq!(code(&quote, &case.collateral, case.now, &policy), wanted, "N47 {prefix}");
        }
    }
    // N48
    let (quote, case) = find_case("sgx-v3-04", "tcbinfo-v2");
    is("N48", &quote, &case.collateral, case.now, "tcb_info.unsupported_version");
}

#[test]
fn n50_to_n52_policy_and_r22() {
    let vectors = Vectors::load();
    let mut tally = Tally("policy", 0);
    let everything = loose().allow_statuses(&TcbStatus::ALL).allow_simulated();
    for base in bases(&vectors) {
        let strict = verify(&base.quote, &base.case.collateral, base.case.now, &Policy::strict());
        match strict {
            Ok(claims) => assert_eq!(claims.tcb.status, TcbStatus::UpToDate, "{}", base.name),
            Err(error) => tally.is(base.name, error.code(), &["policy.tcb_status"]),
        }
    }
    if vectors.is_full() {
        let rows = [
            ("N50", "sgx-v3-08", "policy.debug"),
            ("N50", "tdx-v4-13", "policy.debug"),
            ("N51", "tdx-v4-14", "policy.sept_ve_disable_not_set"),
            ("N51", "tdx-v5-04", "policy.service_td"),
            ("N52", "tdx-v4-04", "tcb.no_matching_level"),
            ("N52", "tdx-v4-18", "tcb.no_matching_level"),
            ("N52", "tdx-v5-02", "tcb.no_matching_level"),
            ("N52", "tdx-v5-03", "tcb.no_matching_level"),
        ];
        for (what, prefix, wanted) in rows {
            let vector = vectors.get(prefix);
            for case in &vector.cases {
                for policy in [&Policy::strict(), &loose(), &everything] {
                    tally.is(what, code(&vector.quote, &case.collateral, case.now, policy), &[wanted]);
                }
            }
        }
    }
    tally.print(&vectors);
}

#[test]
fn n53_to_n58_same_machine() {
    let vectors = Vectors::load();
    let verified: Vec<_> = vectors
        .quotes
        .iter()
        .filter_map(|vector| {
            let claims = vector
                .cases
                .iter()
                .find_map(|case| verify(&vector.quote, &case.collateral, case.now, &loose()).ok())?;
            Some((vector, claims))
        })
        .collect();
    let mut pairs = 0;
    for (one, claims) in &verified {
        // N58: none of them was made for this.
        assert_eq!(
            claims.require_report_data(&[7; 64]).unwrap_err().code(),
            "binding.report_data",
            "{}",
            one.id
        );
        assert!(claims.require_report_data(&claims.report_data).is_ok());
        for (other, others) in &verified {
            let same = claims.platform.same_machine(&others.platform);
            let wanted = one.id == other.id
                || one.id.starts_with("sgx-v3-11") && other.id.starts_with("tdx-v4-02")
                || one.id.starts_with("tdx-v4-02") && other.id.starts_with("sgx-v3-11");
            assert_eq!(same, wanted, "{} and {}", one.id, other.id);
            if let Err(error) = claims.platform.require_same_machine(&others.platform) {
                assert_eq!(error.code(), "platform.mismatch");
                pairs += 1;
            }
        }
    }
    assert!(pairs > 0);
    if vectors.is_full() {
        let of = |prefix: &str| &verified.iter().find(|(vector, _)| vector.id.starts_with(prefix)).unwrap().1;
        // N54: equal QE IDs, other machines.
        for (one, other) in
            [("tdx-v4-05", "tdx-v4-06"), ("tdx-v4-06", "tdx-v4-07"), ("tdx-v4-05", "tdx-v4-07")]
        {
            let qe_id = |id| vectors.get(id).quote[28..44].to_vec();
            assert_eq!((qe_id(one), qe_id(other)), (vec![0; 16], vec![0; 16]));
            assert!(!of(one).platform.same_machine(&of(other).platform), "N54 {one} {other}");
        }
        // N55: other QE IDs, one machine. 04 meets no TCB level, so its certificate is read from the table.
        let fixed = |text: &Value| hex::decode(text.as_str().unwrap()).unwrap();
        let pck = &vectors.get("tdx-v4-04").pck;
        let fourth = Platform::Intel(IntelPlatform {
            ppid: fixed(&pck["ppid"]).try_into().unwrap(),
            fmspc: fixed(&pck["fmspc"]).try_into().unwrap(),
            pceid: fixed(&pck["pce_id"]).try_into().unwrap(),
            ca: PckCa::Platform,
            instance_id: Some(fixed(&pck["platform_instance_id"]).try_into().unwrap()),
            cpusvn: fixed(&pck["cpusvn"]).try_into().unwrap(),
            pcesvn: 0,
        });
        let third = of("tdx-v4-03");
        assert_ne!(vectors.get("tdx-v4-03").quote[28..44], vectors.get("tdx-v4-04").quote[28..44]);
        assert!(third.platform.same_machine(&fourth), "N55");
        pairs += 1;
    }
    announce(format_args!("same machine: {pairs} pairs on the {}", vectors.origin));
}

/// B5 to B8: every bit of every byte, and every truncation: refused, and nothing panics.
#[test]
fn b5_to_b8_every_flip_and_every_cut_is_refused() {
    let vectors = Vectors::load();
    let (mut flips, mut cuts) = (0, 0);
    for base in bases(&vectors) {
        let collateral = Collateral::from_json(base.case.collateral.to_string().as_bytes()).unwrap();
        let verifier = bulla_attest::Verifier::new(bulla_attest::TrustAnchor::intel());
        let refused = |quote: &[u8]| verifier.verify(quote, &collateral, base.case.now, &loose()).is_err();
        for at in 0..base.quote.len() {
            // One bit of each byte, another one from byte to byte.
            let quote = base.with(at, &[base.quote[at] ^ (1 << (at % 8))]);
            assert!(refused(&quote), "{} flip in {at}", base.name);
            let _ = CollateralId::of_quote(&quote);
            flips += 1;
        }
        for length in 0..base.quote.len() {
            assert!(refused(&base.quote[..length]), "{} cut at {length}", base.name);
            assert!(CollateralId::of_quote(&base.quote[..length]).is_err());
            cuts += 1;
        }
    }
    announce(format_args!("{flips} flips and {cuts} cuts refused on the {}", vectors.origin));
}

/// Damage in every part of the collateral: refused, and nothing panics.
#[test]
fn every_damaged_item_is_refused() {
    let vectors = Vectors::load();
    let mut damages = 0;
    for base in bases(&vectors) {
        for (item, value) in base.case.collateral.as_object().unwrap() {
            let text = value.as_str().unwrap();
            for at in (0..text.len()).step_by(7) {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
                let changed = String::from_utf8(bytes).unwrap();
                assert_ne!(base.code_of(&base.with_item(item, changed)), "ok", "{} {item} {at}", base.name);
                // A chain that ends after a whole certificate is one without its root, which the pin completes.
                if text[..at].trim_end().ends_with("-----END CERTIFICATE-----") {
                    continue;
                }
                let cut = base.with_item(item, &text[..at]);
                assert_ne!(base.code_of(&cut), "ok", "{} {item} cut at {at}", base.name);
                damages += 2;
            }
        }
    }
    assert_eq!(code(&[], &json!({}), 0, &loose()), "collateral.incomplete");
    announce(format_args!("{damages} damaged items refused on the {}", vectors.origin));
}
