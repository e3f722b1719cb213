//! One thing changed in genuine evidence. Numbers N.. are those of the recipes in `negatives.md` beside the vectors.

use serde_json::Value;

use crate::inputs::{ITEMS, Input, Layout, Source, from_pem, to_pem};

/// Every recipe that fits this base.
pub(crate) fn of(base: &Input, source: &Source) -> Vec<Input> {
    let layout = Layout::of(&base.quote).unwrap();
    [
        structure(base, &layout),
        signatures(base, &layout),
        pck_chain(base, &layout),
        collateral(base),
        others(base, source),
    ]
    .concat()
}

/// N01 to N18.
fn structure(base: &Input, layout: &Layout) -> Vec<Input> {
    let quote = &base.quote;
    let u32_at = |at: usize| u32::from_le_bytes(*quote[at..].first_chunk().unwrap());
    let at = |what: &str, at: usize, bytes: &[u8]| {
        base.changed(format!("{what} {bytes:02x?}"), |input| {
            input.quote[at..at + bytes.len()].copy_from_slice(bytes)
        })
    };
    let shorts = |what: &str, place: usize, values: &[u16]| -> Vec<Input> {
        values.iter().map(|value| at(what, place, &value.to_le_bytes())).collect()
    };
    let longs = |what: &str, place: usize, values: &[u32]| -> Vec<Input> {
        values.iter().map(|value| at(what, place, &value.to_le_bytes())).collect()
    };
    let (signature_data, inner) = (u32_at(layout.sig_len), u32_at(layout.inner + 2));
    let mut all = [
        shorts("N02 N03 version", 0, &[0, 2, 3, 4, 5, 6, 0xffff]),
        shorts("N04 key type", 2, &[0, 1, 3]),
        longs("N05 TEE type", 4, &[0, 1, 0x80, 0x81, 0x82]),
        vec![at("N06 vendor", 12, &[quote[12] ^ 1])],
        longs(
            "N07 signature data",
            layout.sig_len,
            &[0, signature_data - 1, signature_data + 1, i32::MAX as u32, u32::MAX],
        ),
        shorts("N10 auth length", layout.auth, &[0, 1, 31, 33, 0xffff]),
        shorts("N12 N13 inner type", layout.inner, &[0, 1, 2, 3, 4, 6, 7, 8]),
        longs("N14 N18 inner size", layout.inner + 2, &[0, inner - 256, inner - 1, inner + 1, u32::MAX]),
    ]
    .concat();
    if let Some(outer) = layout.outer {
        let size = u32_at(outer + 2);
        all.extend(shorts("N08 outer type", outer, &[0, 1, 5, 7]));
        all.extend(longs("N09 outer size", outer + 2, &[0, size - 1, size + 1, u32::MAX]));
    }
    if quote[0] == 5 {
        all.extend(shorts("N15 body type", 48, &[0, 1, 2, 4, 5]));
        all.extend(longs("N15 body size", 50, &[0, 584, 647, 649, u32::MAX]));
    }
    let cuts = [0, 1, 47, 48, layout.body, layout.sig_len, layout.sig_len + 4, layout.sig_len + 68];
    let more = [
        layout.qe_report,
        layout.qe_sig,
        layout.auth,
        layout.auth + 2,
        layout.inner,
        layout.pem,
        quote.len() - 1,
    ];
    for cut in cuts.into_iter().chain(more).chain(layout.outer) {
        all.push(base.changed(format!("N01 cut at {cut}"), |input| input.quote.truncate(cut)));
    }
    for length in [31, 33] {
        let auth: Vec<u8> = (0..length).collect();
        all.push(base.changed(format!("N11 auth of {length}"), |input| {
            input.quote = layout.with_tail(quote, &auth, &quote[layout.pem..]);
        }));
    }
    for tail in [&[0; 70][..], b"extra", &[0, 0, 0, 1], &[0; 8000], &[0; 32 * 1024]] {
        all.push(base.changed(format!("N16 {} bytes more", tail.len()), |input| input.quote.extend(tail)));
    }
    let longer = |what: &str, outer: Option<usize>| {
        base.changed(what, |input| {
            input.quote.extend([0; 4]);
            input.quote[layout.sig_len..layout.sig_len + 4]
                .copy_from_slice(&(signature_data + 4).to_le_bytes());
            if let Some(outer) = outer {
                let size = u32_at(outer + 2) + 4;
                input.quote[outer + 2..outer + 6].copy_from_slice(&size.to_le_bytes());
            }
        })
    };
    all.push(longer("N17 signature data", None));
    all.extend(layout.outer.map(|outer| longer("N17 outer", Some(outer))));
    all
}

/// N19 to N25.
fn signatures(base: &Input, layout: &Layout) -> Vec<Input> {
    let body = layout.body;
    let fields = match layout.outer {
        // TEE_TCB_SVN, TD attributes, MRTD, RTMRs, report data.
        Some(_) => {
            vec![body, body + 120, body + 136, body + 328, body + 376, body + 424, body + 472, body + 520]
        }
        // MRENCLAVE, MRSIGNER, attributes, ISVSVN, report data.
        None => vec![body + 64, body + 128, body + 48, body + 258, body + 320],
    };
    let signature = layout.sig_len + 4;
    let key = signature + 64;
    let qe = layout.qe_report;
    let flips = (8..12)
        .chain(28..48)
        .chain([body, layout.sig_len - 1])
        .chain(fields)
        .chain([signature, signature + 31, signature + 32, signature + 63, key, key + 63])
        .chain([layout.auth + 2, layout.inner - 1])
        .chain([qe, qe + 48, qe + 128, qe + 320, qe + 352, layout.qe_sig, layout.qe_sig + 63]);
    let mut all: Vec<_> = flips
        .map(|at| base.changed(format!("N19 N21 N23 N24 N25 flip in {at}"), |input| input.quote[at] ^= 1))
        .collect();
    let fill = |what: &str, at: usize, bytes: &[u8]| {
        base.changed(what, |input| input.quote[at..at + bytes.len()].copy_from_slice(bytes))
    };
    all.push(fill("N20 another QE ID", 28, &[0xab; 16]));
    all.push(fill("N21 signature of zeros", signature, &[0; 64]));
    all.push(fill("N21 signature of ones", signature, &[0xff; 64]));
    all.push(fill("N23 key of zeros", key, &[0; 64]));
    for s in [signature + 32, layout.qe_sig + 32] {
        all.push(fill("N22 the other s", s, &negated(&base.quote[s..s + 32])));
    }
    all
}

/// n - s, for the order n of P-256.
fn negated(s: &[u8]) -> Vec<u8> {
    let n = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let mut borrow = 0;
    let digit = |(n, s): (&u8, &u8)| {
        let difference = i16::from(*n) - i16::from(*s) - borrow;
        borrow = i16::from(difference < 0);
        (difference & 0xff) as u8
    };
    let mut out: Vec<u8> = n.iter().zip(s).rev().map(digit).collect();
    out.reverse();
    out
}

/// N28 to N33.
fn pck_chain(base: &Input, layout: &Layout) -> Vec<Input> {
    let chain = layout.chain(&base.quote);
    let [leaf, ca, root] = chain.as_slice() else { panic!("{}: a chain of {}", base.what, chain.len()) };
    let with = |what: &str, chain: &[&Vec<u8>]| {
        let chain: Vec<_> = chain.iter().map(|der| (*der).clone()).collect();
        base.changed(what, |input| input.quote = layout.with_pem(&base.quote, to_pem(&chain).as_bytes()))
    };
    let flipped = |der: &[u8], at: usize| {
        let mut der = der.to_vec();
        der[at] ^= 1;
        der
    };
    let mut all = vec![
        with("control", &[leaf, ca, root]),
        with("N29 leaf only", &[leaf]),
        with("N29 no intermediate", &[leaf, root]),
        with("N30 no root", &[leaf, ca]),
        with("N31 reversed", &[root, ca, leaf]),
        with("N31 CA as leaf", &[ca, root]),
        with("N31 CA as leaf", &[ca, ca, root]),
        with("N31 eight leaves", &[leaf; 8]),
        with("N31 50 leaves", &[leaf; 50]),
        with("N31 more CAs", &[leaf, ca, root, ca, ca, ca]),
        with("N31 root twice", &[leaf, ca, root, root]),
        with("altered root", &[leaf, ca, &flipped(root, root.len() - 1)]),
        with("altered CA", &[leaf, &flipped(ca, ca.len() - 1), root]),
    ];
    // PPID, FMSPC, CPUSVN, keys, names, dates: whatever is there.
    for at in (0..leaf.len()).step_by(23).chain([leaf.len() - 1]) {
        all.push(with(&format!("N28 flip in {at}"), &[&flipped(leaf, at), ca, root]));
    }
    let text = to_pem(&chain);
    for pem in [
        String::new(),
        "A".repeat(3000),
        text.replacen("CERTIFICATE", "X509 CRL", 2),
        text.replacen("-----\r\n", "-----\r\nProc-Type: 4\r\n\r\n", 1),
        format!("{text}x"),
        format!("x{text}"),
        text.replace("\r\n", "\n"),
    ] {
        all.push(base.changed(format!("N31 {} bytes", pem.len()), |input| {
            input.quote = layout.with_pem(&base.quote, pem.as_bytes());
        }));
    }
    all
}

/// N35, N36, N39 to N41, N45, N49.
fn collateral(base: &Input) -> Vec<Input> {
    let mut all = Vec::new();
    for moment in base.moments() {
        all.extend([moment.saturating_sub(1), moment, moment + 1].map(|now| base.at(now)));
    }
    all.extend([1 << 40, 1 << 62, u64::MAX].map(|now| base.at(now)));
    for item in ["tcb_info", "qe_identity"] {
        let text = base.item(item);
        let mut reordered: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
        let first = reordered.keys().next().unwrap().clone();
        let moved = reordered.shift_remove(&first).unwrap();
        reordered.insert(first, moved);
        let changes = [
            text.replacen("UpToDate", "Revoked", 1),
            text.replace("OutOfDate", "UpToDate"),
            text.replacen("\"svn\":", "\"svn\":0", 1),
            format!("{text} "),
            format!(" {text}"),
            text.replacen(',', ", ", 1),
            text.replacen("nextUpdate\":\"202", "nextUpdate\":\"203", 1),
            Value::Object(reordered).to_string(),
            "[".repeat(10_000),
            text.replacen("{\"", "{\"version\":3,\"", 1),
            text.replacen("\"version\":", "\"x\":NaN,\"version\":", 1),
            text.replacen("\"version\":", "\"x\":\"\\ud800\",\"version\":", 1),
            String::new(),
        ];
        all.extend(changes.into_iter().map(|change| base.with_item(item, change)));

        let name = format!("{item}_signature");
        let signature = base.item(&name);
        let other = if item == "tcb_info" { "qe_identity_signature" } else { "tcb_info_signature" };
        let changes = [
            flip_hex(signature, 0),
            flip_hex(signature, 63),
            String::new(),
            signature[2..].to_owned(),
            format!("{signature}00"),
            signature.to_uppercase(),
            base.item(other).to_owned(),
        ];
        all.extend(changes.into_iter().map(|change| base.with_item(&name, change)));

        let chain = format!("{item}_issuer_chain");
        let signer = from_pem(base.item(&chain).as_bytes());
        let altered = |place: usize| {
            let mut signer = signer.clone();
            *signer[place].last_mut().unwrap() ^= 1;
            to_pem(&signer)
        };
        let issuers = base.item("pck_crl_issuer_chain").to_owned();
        let changes =
            [issuers, String::new(), altered(0), altered(1), to_pem(&signer[..1]), to_pem(&signer[1..])];
        all.extend(changes.into_iter().map(|change| base.with_item(&chain, change)));
    }
    for (item, other) in [("pck_crl", "root_ca_crl"), ("root_ca_crl", "pck_crl")] {
        let crl = base.item(item);
        let end = crl.len() / 2 - 1;
        let changes = [
            base.item(other).to_owned(),
            String::new(),
            format!("{crl}00"),
            crl[..end].to_owned() + &crl[..end % 2],
        ];
        all.extend(changes.into_iter().map(|change| base.with_item(item, change)));
        all.extend((0..=end).step_by(37).chain([end]).map(|at| base.with_item(item, flip_hex(crl, at))));
    }
    all
}

/// N26, N32, N37, N38, N42 to N46: items, sets and parts of every other case.
fn others(base: &Input, source: &Source) -> Vec<Input> {
    let layout = Layout::of(&base.quote).unwrap();
    let mut all = Vec::new();
    for other in source.cases() {
        all.push(base.with_items_of(other, &ITEMS).at(other.now));
        for prefix in ["tcb_info", "qe_identity"] {
            let items = [prefix.to_owned(), format!("{prefix}_signature"), format!("{prefix}_issuer_chain")];
            all.push(base.with_items_of(other, &items.each_ref().map(String::as_str)));
        }
        all.push(base.with_items_of(other, &["root_ca_crl"]));
        all.push(base.with_items_of(other, &["pck_crl"]));
        if let Some(their) = Layout::of(&other.quote) {
            all.push(base.changed(format!("N32 chain of {}", other.what), |input| {
                input.quote = layout.with_pem(&base.quote, &other.quote[their.pem..]);
            }));
            all.push(base.changed(format!("N26 tail of {}", other.what), |input| {
                input.quote = [&base.quote[..layout.sig_len], &other.quote[their.sig_len..]].concat();
            }));
        }
    }
    all
}

fn flip_hex(digits: &str, byte: usize) -> String {
    let mut bytes = hex::decode(digits).unwrap();
    bytes[byte] ^= 1;
    hex::encode(bytes)
}
