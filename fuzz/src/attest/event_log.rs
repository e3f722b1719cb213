//! Event logs.

use bulla_attest::{Boundary, EventLog};
use bulla_crypto::sha384;
use bulla_tee::{Identity, TdxIdentity};

use super::{GOOD, refused};

/// Reads the bytes after the first as an event log: of firmware if that byte is even, in JSON if not.
pub fn event_log(data: &[u8]) -> bool {
    let Some((&format, log)) = data.split_first() else { return false };
    let read = if format % 2 == 0 { EventLog::from_ccel(log) } else { EventLog::from_json(log) };
    let log = match read {
        Ok(read) => {
            assert_eq!(
                read,
                if format % 2 == 0 { EventLog::from_ccel(log) } else { EventLog::from_json(log) }.unwrap()
            );
            read
        }
        Err(error) => return refused(&error),
    };
    let guest = |rtmr| match &GOOD[1].claims.identity {
        Identity::Tdx(guest) => TdxIdentity { rtmr, ..*guest.clone() },
        _ => unreachable!("evidence of a guest"),
    };
    let rtmr = log.replay();
    for register in 0..4 {
        let mut others = rtmr;
        others[register][47] ^= 1;
        refused(&log.matches(&guest(others)).unwrap_err());
    }
    let guest = guest(rtmr);
    let matched = log.matches(&guest).unwrap();
    let mut replayed = [[0; 48]; 4];
    for event in matched.events() {
        let register = &mut replayed[event.register];
        *register = sha384(&[register.as_slice(), &event.digest]);
    }
    assert_eq!(replayed, rtmr);
    for event in matched.events() {
        let Some(name) = event.name() else { continue };
        match matched.at(Boundary { register: event.register, event: name }) {
            Ok(at) => {
                assert_eq!(matched.events().iter().filter(|other| other.name() == Some(name)).count(), 1);
                at.require_nothing_later().map_or_else(|error| refused(&error), |()| true);
            }
            Err(error) => {
                refused(&error);
            }
        }
    }
    true
}
