//! Step `challenge`: an order is fresh, and came over the connection that asked for it (R38, B18).
//!
//! A challenge is 48 bytes: counter, expiry, and a MAC over both, the connection and the regime under a key of this process. So
//! the provider remembers two numbers per connection, and a restart voids all challenges, as another policy or root does: an
//! order is answered under the statement that stood when its challenge was given.

use std::time::Duration;

use tokio::time::Instant;

use bulla_crypto::{EntropyFailure, Secret, SystemRandom, hmac, hmac_verify};
use bulla_protocol::Code;
use bulla_protocol::v1::Challenge;

use crate::refusal::Refusal;

/// How long a challenge may be used.
const LIFE: Duration = Duration::from_secs(60);

/// Makes and redeems challenges.
pub(crate) struct Challenges {
    key: Secret<32>,
    start: Instant,
}

/// What is remembered of one connection.
pub(crate) struct Ledger {
    connection: u64,
    issued: u64,
    /// The highest counter that was redeemed; it and all below are used up.
    redeemed: u64,
}

impl Ledger {
    pub(crate) const fn new(connection: u64) -> Self {
        Self { connection, issued: 0, redeemed: 0 }
    }
}

impl Challenges {
    pub(crate) fn new() -> Result<Self, EntropyFailure> {
        Ok(Self { key: SystemRandom.secret()?, start: Instant::now() })
    }

    /// A challenge under the regime of this number.
    pub(crate) fn issue(&self, ledger: &mut Ledger, regime: u64, now: Instant) -> Challenge {
        ledger.issued += 1;
        let counter = ledger.issued.to_be_bytes();
        let expiry = (self.seconds(now) + LIFE.as_secs()).to_be_bytes();
        let (connection, regime) = (ledger.connection.to_be_bytes(), regime.to_be_bytes());
        let mac = hmac(self.key.expose(), &covered(&connection, &regime, &counter, &expiry));
        let expires_in = u32::try_from(LIFE.as_secs()).expect("a minute is short");
        Challenge { challenge: [&counter[..], &expiry, &mac].concat(), expires_in }
    }

    /// Uses a challenge up.
    pub(crate) fn redeem(
        &self,
        ledger: &mut Ledger,
        regime: u64,
        challenge: &[u8],
        now: Instant,
    ) -> Result<(), Refusal> {
        let stale = |cause| Refusal::new(Code::StaleChallenge, cause);
        let parts = challenge.split_first_chunk::<8>().and_then(|(counter, rest)| {
            let (expiry, mac) = rest.split_first_chunk::<8>()?;
            Some((counter, expiry, <&[u8; 32]>::try_from(mac).ok()?))
        });
        let (counter, expiry, mac) = parts.ok_or(stale("challenge.malformed"))?;
        let (connection, regime) = (ledger.connection.to_be_bytes(), regime.to_be_bytes());
        if !hmac_verify(self.key.expose(), &covered(&connection, &regime, counter, expiry), mac) {
            return Err(stale("challenge.foreign"));
        }
        let counter = u64::from_be_bytes(*counter);
        if counter <= ledger.redeemed {
            return Err(stale("challenge.used"));
        }
        ledger.redeemed = counter;
        if self.seconds(now) >= u64::from_be_bytes(*expiry) {
            return Err(stale("challenge.expired"));
        }
        Ok(())
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}

/// What the MAC covers; every part has a fixed length.
fn covered<'a>(
    connection: &'a [u8; 8],
    regime: &'a [u8; 8],
    counter: &'a [u8; 8],
    expiry: &'a [u8; 8],
) -> [&'a [u8]; 5] {
    [b"bulla/challenge/v1", connection, regime, counter, expiry]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(result: Result<(), Refusal>) -> &'static str {
        result.map_or_else(|refusal| refusal.cause, |()| "accepted")
    }

    /// R38, B18: once, in time, by the connection that asked, of this process, under the regime that it was given under.
    #[test]
    fn a_challenge_is_good_once_here_and_now() {
        let challenges = Challenges::new().unwrap();
        let now = Instant::now();
        let (mut one, mut other) = (Ledger::new(1), Ledger::new(2));
        let first = challenges.issue(&mut one, 0, now).challenge;
        let second = challenges.issue(&mut one, 0, now).challenge;
        assert_eq!((first.len(), first == second), (48, false));

        assert_eq!(cause(challenges.redeem(&mut other, 0, &first, now)), "challenge.foreign");
        assert_eq!(cause(Challenges::new().unwrap().redeem(&mut one, 0, &first, now)), "challenge.foreign");
        assert_eq!(cause(challenges.redeem(&mut one, 1, &first, now)), "challenge.foreign");
        assert_eq!(cause(challenges.redeem(&mut one, 0, &first, now)), "accepted");
        assert_eq!(cause(challenges.redeem(&mut one, 0, &first, now)), "challenge.used");
        assert_eq!(cause(challenges.redeem(&mut one, 0, &second, now + LIFE)), "challenge.expired");
        assert_eq!(cause(challenges.redeem(&mut one, 0, &second, now)), "challenge.used");
        let third = challenges.issue(&mut one, 0, now).challenge;
        let late = now + LIFE - Duration::from_secs(1);
        assert_eq!(cause(challenges.redeem(&mut one, 0, &third, late)), "accepted");
    }

    #[test]
    fn no_bit_of_a_challenge_can_be_changed() {
        let challenges = Challenges::new().unwrap();
        let now = Instant::now();
        let mut ledger = Ledger::new(1);
        let good = challenges.issue(&mut ledger, 0, now).challenge;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cause(challenges.redeem(&mut ledger, 0, &bad, now)), "challenge.foreign");
        }
        for bad in [&[][..], &good[..47], &[&good[..], &[0]].concat()] {
            assert_eq!(cause(challenges.redeem(&mut ledger, 0, bad, now)), "challenge.malformed");
        }
        assert_eq!(cause(challenges.redeem(&mut ledger, 0, &good, now)), "accepted");
    }
}
