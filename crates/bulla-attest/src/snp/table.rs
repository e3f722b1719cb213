//! The certificates that a host hands to its guest with a report (AMD GHCB specification, SNP Extended Guest Request; what
//! configfs-tsm calls `auxblob`).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::SnpSet;
use crate::Error;

/// The largest table that is read (R31). Real ones have 5 to 10 KiB.
const LIMIT: usize = 64 * 1024;
/// The most entries that are read.
const ENTRIES: usize = 16;

/// The kinds of entries, by their GUIDs as they are written.
const VCEK: u128 = 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd;
const VLEK: u128 = 0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1;
/// ASK, or ASVK.
const ASK: u128 = 0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782;
const ARK: u128 = 0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae;
const CRL: u128 = 0x92f8_1bc3_5811_4d3d_97ff_d19f_88dc_67ea;

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    guid: [u8; 16],
    /// From the start of the table.
    offset: U32,
    length: U32,
}

impl SnpSet {
    /// Reads a table: entries up to one of zeros, and what they point to. Entries of other kinds are passed over.
    pub(crate) fn from_table(table: &[u8]) -> Result<Self, Error> {
        let fault = |detail: &str| Error::CollateralParse(format!("the certificate table {detail}"));
        if table.len() > LIMIT {
            return Err(Error::CollateralTooLarge(table.len()));
        }
        let (mut leaf, mut ask, mut ark, mut crl) = (None, None, None, None);
        let mut rest = table;
        for _ in 0..ENTRIES {
            let (entry, after) = Entry::read_from_prefix(rest).map_err(|_| fault("has no end"))?;
            rest = after;
            let slot = match u128::from_be_bytes(entry.guid) {
                0 => {
                    return Ok(Self {
                        leaf: leaf.ok_or(Error::CollateralIncomplete("VCEK or VLEK"))?,
                        issuer_chain: pem::encode_many(&[
                            pem::Pem::new(
                                "CERTIFICATE",
                                ask.ok_or(Error::CollateralIncomplete("ASK or ASVK"))?,
                            ),
                            pem::Pem::new("CERTIFICATE", ark.ok_or(Error::CollateralIncomplete("ARK"))?),
                        ]),
                        crl,
                    });
                }
                VCEK | VLEK => &mut leaf,
                ASK => &mut ask,
                ARK => &mut ark,
                CRL => &mut crl,
                _ => continue,
            };
            let content = table
                .get(entry.offset.get() as usize..)
                .and_then(|content| content.get(..entry.length.get() as usize))
                .ok_or_else(|| fault("points outside of itself"))?;
            if slot.replace(content.to_vec()).is_some() {
                return Err(fault("has two entries of one kind"));
            }
        }
        Err(fault("has too many entries"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(u128, &[u8]); 5] =
        [(7, b"other"), (VCEK, b"leaf"), (ASK, b"ask"), (ARK, b"ark"), (CRL, b"crl")];

    /// The entries, an end, and what they point to.
    fn table(entries: &[(u128, &[u8])]) -> Vec<u8> {
        let (mut head, mut body) = (Vec::new(), Vec::new());
        for (guid, content) in entries {
            let offset = (entries.len() + 1) * size_of::<Entry>() + body.len();
            head.extend(guid.to_be_bytes());
            head.extend(u32::try_from(offset).unwrap().to_le_bytes());
            head.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
            body.extend_from_slice(content);
        }
        head.extend([0; size_of::<Entry>()]);
        [head, body].concat()
    }

    fn code(table: &[u8]) -> &'static str {
        SnpSet::from_table(table).map_or_else(|error| error.code(), |_| "ok")
    }

    #[test]
    fn a_table_is_read_whole_or_not_at_all() {
        let set = SnpSet::from_table(&table(&ALL)).unwrap();
        let pem = pem::parse_many(&set.issuer_chain).unwrap();
        assert_eq!((set.leaf.as_slice(), set.crl.as_deref()), (&b"leaf"[..], Some(&b"crl"[..])));
        assert_eq!((pem[0].contents(), pem[1].contents()), (&b"ask"[..], &b"ark"[..]));
        for (guid, _) in ALL {
            let rest: Vec<_> = ALL.into_iter().filter(|(other, _)| *other != guid).collect();
            let wanted = if [CRL, 7].contains(&guid) { "ok" } else { "collateral.incomplete" };
            assert_eq!(code(&table(&rest)), wanted, "{guid:x}");
            let twice = [&ALL[..], &[(guid, b"")]].concat();
            assert_eq!(code(&table(&twice)), if guid == 7 { "ok" } else { "collateral.parse" }, "{guid:x}");
        }
        assert_eq!(code(&table(&[&ALL[..], &[(VLEK, b"")]].concat())), "collateral.parse");
        assert_eq!(code(&table(&[(VLEK, b"x"), (ASK, b"x"), (ARK, b"x")])), "ok");
    }

    /// R31, R32: whatever the lengths say.
    #[test]
    fn r31_r32_tables_are_bounded() {
        let good = table(&ALL);
        for length in 0..good.len() {
            assert_eq!(code(&good[..length]), "collateral.parse", "{length}");
        }
        for at in 1..ALL.len() {
            for field in [16, 20] {
                let mut bad = good.clone();
                bad[at * size_of::<Entry>() + field..][..4].fill(0xFF);
                assert_eq!(code(&bad), "collateral.parse");
            }
        }
        let mut padded = good;
        padded.resize(LIMIT, 0);
        assert_eq!(code(&padded), "ok");
        padded.push(0);
        assert_eq!(code(&padded), "collateral.too_large");
        assert_eq!(code(&table(&[(7, &b""[..]); ENTRIES])), "collateral.parse");
        assert_eq!(code(&[]), "collateral.parse");
    }
}
