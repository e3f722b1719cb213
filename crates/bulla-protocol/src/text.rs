//! What names and times look like in documents that people write.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use toml::value::Datetime;

/// Whether a text is 1 to 64 letters, digits, `.`, `_` or `-`.
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// A date, or a date and a time with an offset, in Unix seconds. A date counts from its first second, in UTC.
///
/// `None` for a time without a date or an offset, before 1970, or after the year 9999.
pub fn unix_time(datetime: &Datetime) -> Option<u64> {
    let text = match (datetime.date, datetime.time, datetime.offset) {
        (Some(_), None, None) => format!("{datetime}T00:00:00Z"),
        (Some(_), Some(_), Some(_)) => datetime.to_string(),
        _ => return None,
    };
    let time = OffsetDateTime::parse(&text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
    u64::try_from(time.unix_timestamp()).ok()
}

/// A time in Unix seconds as it stands in a document: a date where it is the first second of one.
pub fn shown_time(unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| unix.to_string());
    text.strip_suffix("T00:00:00Z").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown_in_one_form() {
        let read = |text: &str| unix_time(&text.parse().unwrap());
        assert_eq!(read("2030-01-31"), Some(1_896_048_000));
        assert_eq!(read("2030-01-31T00:00:01Z"), Some(1_896_048_001));
        assert_eq!(read("2030-01-31T01:00:00+01:00"), Some(1_896_048_000));
        for bad in ["2030-01-31T00:00:00", "00:00:00", "1969-12-31", "9999-12-31T23:59:59-01:00"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(shown_time(1_896_048_000), "2030-01-31");
        assert_eq!(shown_time(1_896_048_001), "2030-01-31T00:00:01Z");
    }
}
