//! Values in DER (ITU-T X.690, section 10.1), for what the parser of certificates does not read, or reads slowly.

/// Tags.
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NAME: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// In a tag, that more of it follows.
const LONG_TAG: u8 = 0x1f;

/// The tag of the first value, its content, and what follows it. A value has less than 16 MiB here, and a tag of one byte.
pub(crate) fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, rest, least) = match *der.get(1..)? {
        [0x83, high, middle, low, ref rest @ ..] => {
            (u32::from_be_bytes([0, high, middle, low]), rest, 0x1_0000)
        }
        [0x82, high, low, ref rest @ ..] => (u16::from_be_bytes([high, low]).into(), rest, 0x100),
        [0x81, low, ref rest @ ..] => (low.into(), rest, 0x80),
        [short @ ..=0x7f, ref rest @ ..] => (short.into(), rest, 0),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length as usize)?;
    let tag = *der.first()?;
    (length >= least && tag & LONG_TAG != LONG_TAG).then_some((tag, content, rest))
}

/// The first value, which must have this tag, with its header; its content; and what follows it.
pub(crate) fn tagged(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (found, content, rest) = value(der)?;
    let (whole, _) = der.split_at_checked(der.len() - rest.len())?;
    (found == tag).then_some((whole, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_shortest_length_and_all_of_its_content() {
        for (length, header) in [
            (0, &[0x30, 0][..]),
            (0x7f, &[0x30, 0x7f]),
            (0x80, &[0x30, 0x81, 0x80]),
            (0xff, &[0x30, 0x81, 0xff]),
            (0x100, &[0x30, 0x82, 1, 0]),
            (0xffff, &[0x30, 0x82, 0xff, 0xff]),
            (0x1_0000, &[0x30, 0x83, 1, 0, 0]),
        ] {
            let content = vec![7; length];
            let whole = [header, &content, &[1]].concat();
            assert_eq!(value(&whole), Some((SEQUENCE, &content[..], &[1][..])));
            assert_eq!(value(&whole[..header.len() + length]), Some((SEQUENCE, &content[..], &[][..])));
            assert_eq!(value(&[header, &vec![7; length.saturating_sub(1)]].concat()).is_none(), length > 0);
            assert!((0..header.len()).all(|end| value(&whole[..end]).is_none()));
        }
        for longer in [&[0x30, 0x81, 0x7f][..], &[0x30, 0x82, 0, 0xff], &[0x30, 0x83, 0, 0xff, 0xff]] {
            assert_eq!(value(&[longer, &[7; 0x1_0000]].concat()), None);
        }
        assert_eq!(value(&[0x30, 0x80, 0, 0]), None);
        assert_eq!(value(&[0xbf, 1, 0]), None);
        assert_eq!(value(&[0x30, 0x84, 0, 0, 0, 0]), None);
    }
}
