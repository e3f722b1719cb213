//! CBOR, as far as it takes to say whether bytes are in the one encoding that is allowed. Written apart from the library's.

/// Whether these bytes are one item of unsigned integers, byte strings, texts, arrays, maps and nulls, in the deterministic
/// encoding (RFC 8949, section 4.2.1), with nothing behind it.
pub(crate) fn is_canonical(bytes: &[u8]) -> bool {
    item(bytes, 0, &mut |_, _| {}) == Some(&[])
}

/// The byte strings that are so many arrays and maps deep in these bytes.
pub(crate) fn byte_strings(bytes: &[u8], wanted: usize) -> Vec<&[u8]> {
    let mut found = Vec::new();
    item(bytes, 0, &mut |depth, bytes| found.extend((depth == wanted).then_some(bytes)));
    found
}

/// What follows the item that stands first. `seen` gets each byte string, and how deep it is.
fn item<'a>(bytes: &'a [u8], depth: usize, seen: &mut dyn FnMut(usize, &'a [u8])) -> Option<&'a [u8]> {
    let (&[head], rest) = bytes.split_first_chunk()?;
    let (kind, short) = (head >> 5, head & 31);
    let size = match short {
        0..24 => 0,
        24..28 => 1 << (short - 24),
        _ => return None,
    };
    let (argument, rest) = rest.split_at_checked(size)?;
    let argument = argument.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let argument = if size == 0 { u64::from(short) } else { argument };
    let least = match size {
        0 => 0,
        1 => 24,
        _ => 1 << (4 * size),
    };
    if argument < least || depth > 4 {
        return None;
    }
    match kind {
        0 => Some(rest),
        2 | 3 => {
            let (content, rest) = rest.split_at_checked(usize::try_from(argument).ok()?)?;
            if kind == 2 {
                seen(depth, content);
            }
            (kind == 2 || std::str::from_utf8(content).is_ok()).then_some(rest)
        }
        4 => (0..argument).try_fold(rest, |rest, _| item(rest, depth + 1, seen)),
        5 => {
            let mut last: &[u8] = &[];
            (0..argument).try_fold(rest, |rest, _| {
                let behind = item(rest, depth + 1, seen)?;
                let (key, _) = rest.split_at(rest.len() - behind.len());
                let ascends = last < key;
                last = key;
                item(behind, depth + 1, seen).filter(|_| ascends)
            })
        }
        7 => (argument == 22 && size == 0).then_some(rest),
        _ => None,
    }
}
