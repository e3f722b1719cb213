//! How much of the service who gets (R48): keys by attested identity, requests by peer.
//!
//! An identity counts once its evidence verified, so nobody uses up another's keys. Names are hashed, under a secret of this
//! process, into as many buckets as there are 16-bit numbers: memory is bounded without forgetting anybody, and who shares a
//! bucket can be neither chosen nor found out. Time is the host's: this protects the service, and no secret depends on it.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZero;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use bulla_protocol::Code;
use bulla_tee::TdxIdentity;

use crate::refusal::Refusal;
use crate::settings::{LimitSettings, Rate};

/// How much of the service who gets.
pub(crate) struct Limits<C: Clock = MonotonicClock> {
    names: RandomState,
    identity: Option<Buckets<C>>,
    peer: Option<Buckets<C>>,
}

/// One bucket for every 16-bit number that was ever asked for.
struct Buckets<C: Clock> {
    limiter: RateLimiter<u16, HashMapStateStore<u16>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    burst: NonZero<u32>,
}

impl Limits {
    pub(crate) fn new(settings: &LimitSettings) -> Self {
        Self::with_clock(settings, &MonotonicClock)
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn with_clock(settings: &LimitSettings, clock: &C) -> Self {
        let buckets = |rate: Option<Rate>| rate.map(|rate| Buckets::new(rate, clock.clone()));
        Self { names: RandomState::new(), identity: buckets(settings.identity), peer: buckets(settings.peer) }
    }

    /// Takes `keys` keys for a guest whose evidence verified, or none of them.
    pub(crate) fn identity(&self, guest: &TdxIdentity, keys: usize) -> Result<(), Refusal> {
        let registers = (&guest.mrtd, &guest.rtmr, &guest.mrconfigid, &guest.mrowner, &guest.mrownerconfig);
        self.take(self.identity.as_ref(), registers, keys, "quota.identity")
    }

    /// Takes one request of a peer. A host of IPv6 has a whole network of addresses, and counts once.
    pub(crate) fn peer(&self, address: IpAddr) -> Result<(), Refusal> {
        let network = match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address => address,
        };
        self.take(self.peer.as_ref(), network, 1, "quota.peer")
    }

    fn take(
        &self,
        buckets: Option<&Buckets<C>>,
        name: impl Hash,
        count: usize,
        cause: &'static str,
    ) -> Result<(), Refusal> {
        let Some(buckets) = buckets else {
            return Ok(());
        };
        let [high, low, ..] = self.names.hash_one(name).to_be_bytes();
        let wait = buckets.take(u16::from_be_bytes([high, low]), count);
        wait.map_err(|seconds| Refusal { retry_after: Some(seconds), ..Refusal::new(Code::Quota, cause) })
    }
}

impl<C: Clock + Clone> Buckets<C> {
    fn new(Rate { per_minute, burst }: Rate, clock: C) -> Self {
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        Self { limiter: RateLimiter::hashmap_with_clock(quota, clock.clone()), clock, burst }
    }

    /// `Err` is the number of seconds until it can be taken. More than fits at all costs all that fits.
    fn take(&self, bucket: u16, count: usize) -> Result<(), u32> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.burst.get());
        let count = NonZero::new(count).unwrap_or(NonZero::<u32>::MIN);
        let Ok(Err(until)) = self.limiter.check_key_n(&bucket, count) else {
            return Ok(());
        };
        let wait = until.wait_time_from(self.clock.now());
        Err(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limits(clock: &FakeRelativeClock) -> Limits<FakeRelativeClock> {
        let rate = |per_minute, burst| {
            let [per_minute, burst] = [per_minute, burst].map(|number| NonZero::new(number).unwrap());
            Some(Rate { per_minute, burst })
        };
        Limits::with_clock(&LimitSettings { identity: rate(6, 10), peer: rate(60, 3) }, clock)
    }

    fn guest(register: u8) -> TdxIdentity {
        TdxIdentity {
            mrtd: [0; 48],
            rtmr: [[0; 48], [0; 48], [0; 48], [register; 48]],
            mrconfigid: [0; 48],
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
            mrservicetd: [0; 48],
            attributes: 0,
            xfam: 0,
            tee_tcb_svn: [0; 16],
            mrseam: [0; 48],
        }
    }

    fn wait(result: Result<(), Refusal>) -> Option<u32> {
        let refusal = result.err()?;
        assert_eq!(refusal.code, Code::Quota);
        refusal.retry_after
    }

    /// R48: an identity that has had its keys waits, others do not, and it is told for how long.
    #[test]
    fn r48_an_identity_gets_its_keys_and_no_more() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        assert_eq!(wait(limits.identity(&guest(1), 9)), None);
        assert_eq!(wait(limits.identity(&guest(1), 2)), Some(11));
        assert_eq!(wait(limits.identity(&guest(1), 1)), None, "what was refused cost nothing");
        assert_eq!(wait(limits.identity(&guest(2), 10)), None, "another guest");
        clock.advance(Duration::from_secs(10));
        assert_eq!(wait(limits.identity(&guest(1), 1)), None);
        assert_eq!(wait(limits.identity(&guest(1), 1)), Some(11));
        clock.advance(Duration::from_secs(200));
        assert_eq!(wait(limits.identity(&guest(1), 256)), None, "a batch above the burst costs the burst");
        assert_eq!(wait(limits.identity(&guest(1), 1)), Some(11));
    }

    /// R48: peers by address; a host cannot use its whole network of IPv6.
    #[test]
    fn r48_a_peer_makes_its_requests_and_no_more() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        let ask = |address: &str| wait(limits.peer(address.parse().unwrap()));
        for (first, same, other) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
            ("::ffff:198.51.100.1", "198.51.100.1", "::ffff:198.51.100.2"),
        ] {
            assert_eq!([first, same, first].map(ask), [None; 3]);
            assert_eq!([first, same, other].map(ask), [Some(2), Some(2), None]);
        }
    }

    /// Memory is bounded: ever new names fill no more than the buckets.
    #[test]
    fn r49_names_without_number_fill_a_bounded_table() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        for network in 0..200_000_u128 {
            let _ = limits.peer(Ipv6Addr::from_bits(network << 64).into());
        }
        let buckets = limits.peer.as_ref().unwrap().limiter.len();
        assert!((60_000..=65_536).contains(&buckets), "{buckets}");
    }

    #[test]
    fn nothing_is_limited_unless_it_is_asked_for() {
        let limits = Limits::new(&LimitSettings::default());
        for _ in 0..10_000 {
            limits.identity(&guest(1), 256).unwrap();
            limits.peer([192, 0, 2, 1].into()).unwrap();
        }
    }
}
