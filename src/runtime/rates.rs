//! Rate limits: how many messages of one sender an agent handles in a period.
//!
//! Each sender has a [token bucket](https://en.wikipedia.org/wiki/Token_bucket), which holds as
//! many tokens as the rate allows in its period, and fills evenly. Unverified senders share one
//! bucket: anyone can invent as many of them as they like. Buckets live in memory; a restart fills
//! them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use agentry_core::AgentId;
use agentry_protocol::Timestamp;

use crate::config::Rate;

/// The number of buckets from which full ones are dropped: a full bucket is the same as none.
const PRUNE_AT: usize = 65_536;

/// The key of a bucket: a verified sender, or all others.
type Lane = (AgentId, Option<Box<str>>);

/// The buckets of all senders of all agents.
#[derive(Clone, Debug, Default)]
pub struct Rates(Arc<Mutex<Buckets>>);

#[derive(Debug, Default)]
struct Buckets {
    of: HashMap<Lane, Bucket>,
    prune_at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When it is, or was, full again: milliseconds since the epoch.
    full_at: f64,
}

impl Rates {
    /// Takes a token for a message of this sender (`None`: of an unverified sender).
    ///
    /// # Errors
    /// There is no token; the error says when the next one is available.
    pub fn take(
        &self,
        agent: AgentId,
        sender: Option<&str>,
        rate: Rate,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let at = now.get() as f64;
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.prune(at);
        let bucket = buckets
            .of
            .entry((agent, sender.map(Into::into)))
            .or_insert(Bucket { full_at: at });
        bucket.take(rate, now)
    }
}

impl Rates {
    /// When the next token for this sender is available; `None`, if one is available now. Takes
    /// none.
    pub fn until(
        &self,
        agent: AgentId,
        sender: Option<&str>,
        rate: Rate,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let lane = (agent, sender.map(Into::into));
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bucket = *buckets.of.get(&lane)?;
        drop(buckets);
        bucket.take(rate, now).err()
    }
}

impl Bucket {
    /// Takes a token.
    ///
    /// # Errors
    /// There is no token; the error says when the next one is available.
    fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), Timestamp> {
        let count = f64::from(rate.count.max(1));
        let period = rate.per.as_millis() as f64;
        let each = period / count;
        let at = now.get() as f64;
        // Neither a changed rate nor a time that goes back may close the bucket for longer than the
        // rate's period.
        self.full_at = self.full_at.clamp(at, at + period);
        if self.full_at + each > at + period + f64::EPSILON * at {
            let wait = self.full_at + each - (at + period);
            return Err(now.plus_ms(wait.ceil().max(1.0) as u64));
        }
        self.full_at += each;
        Ok(())
    }
}

impl Buckets {
    fn prune(&mut self, now: f64) {
        if self.of.len() < self.prune_at.max(PRUNE_AT) {
            return;
        }
        self.of.retain(|_, bucket| bucket.full_at > now);
        // The remaining ones are in use: check again when there are twice as many.
        self.prune_at = self.of.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate {
            count,
            per: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_burst_is_taken_and_then_one_at_a_time() {
        let rates = Rates::default();
        let (agent, rate) = (AgentId(1), rate(60, 60));
        let now = Timestamp::new(1_795_000_000_000);
        for _ in 0..60 {
            assert_eq!(rates.take(agent, Some("a"), rate, now), Ok(()));
        }
        assert_eq!(
            rates.take(agent, Some("a"), rate, now),
            Err(now.plus_ms(1000))
        );
        assert_eq!(rates.take(agent, Some("b"), rate, now), Ok(()));
        assert_eq!(rates.take(agent, None, rate, now), Ok(()));
        assert_eq!(rates.take(AgentId(2), Some("a"), rate, now), Ok(()));
        assert_eq!(
            rates.take(agent, Some("a"), rate, now.plus_ms(1000)),
            Ok(())
        );
        assert!(
            rates
                .take(agent, Some("a"), rate, now.plus_ms(1000))
                .is_err()
        );
    }

    #[test]
    fn asking_when_a_token_is_there_takes_none() {
        let rates = Rates::default();
        let (agent, rate, now) = (AgentId(1), rate(2, 60), Timestamp::new(1_795_000_000_000));
        assert_eq!(rates.until(agent, Some("a"), rate, now), None);
        for _ in 0..2 {
            assert_eq!(rates.until(agent, Some("a"), rate, now), None);
            rates.take(agent, Some("a"), rate, now).unwrap();
        }
        let until = Some(now.plus_ms(30_000));
        assert_eq!(rates.until(agent, Some("a"), rate, now), until);
        assert_eq!(rates.until(agent, Some("a"), rate, now), until);
        assert_eq!(
            rates.until(agent, Some("a"), rate, now.plus_ms(30_000)),
            None
        );
        assert_eq!(rates.until(agent, None, rate, now), None);
    }

    #[test]
    fn a_time_that_goes_back_closes_a_bucket_no_longer_than_the_rates_time() {
        let rates = Rates::default();
        let rate = rate(60, 60);
        let now = Timestamp::new(1_795_000_000_000);
        for back in [60 * 60 * 1000, 40 * 24 * 60 * 60 * 1000] {
            assert_eq!(rates.take(AgentId(1), Some("a"), rate, now), Ok(()));
            let earlier = now.minus_ms(back);
            let until = rates
                .take(AgentId(1), Some("a"), rate, earlier)
                .unwrap_err();
            assert!(until <= earlier.plus_ms(60_000));
            assert_eq!(rates.take(AgentId(1), Some("a"), rate, until), Ok(()));
            let full = earlier.plus_ms(60_000 + 2_000);
            for _ in 0..60 {
                assert_eq!(rates.take(AgentId(1), Some("a"), rate, full), Ok(()));
            }
        }
    }

    #[test]
    fn full_buckets_are_dropped() {
        let rates = Rates::default();
        let now = Timestamp::new(1_795_000_000_000);
        for sender in 0..PRUNE_AT {
            let sender = sender.to_string();
            rates
                .take(AgentId(1), Some(&sender), rate(1, 1), now)
                .unwrap();
        }
        rates
            .take(AgentId(1), Some("x"), rate(1, 1), now.plus_ms(2000))
            .unwrap();
        assert_eq!(rates.0.lock().unwrap().of.len(), 1);
    }

    proptest! {
        #[test]
        fn no_more_pass_than_the_rate_allows(
            count in 1_u32..50, seconds in 1_u64..100, gaps in prop::collection::vec(0_u64..5000, 1..300),
        ) {
            let rates = Rates::default();
            let rate = rate(count, seconds);
            let began = Timestamp::new(1_795_000_000_000);
            let (mut now, mut passed) = (began, 0_u64);
            for gap in gaps {
                now = now.plus_ms(gap);
                match rates.take(AgentId(1), None, rate, now) {
                    Ok(()) => passed += 1,
                    Err(until) => prop_assert!(until > now && until <= now.plus_ms(seconds * 1000)),
                }
                // A full bucket at the start, plus the tokens since.
                let allowed = u64::from(count) + now.ms_since(began) * u64::from(count) / (seconds * 1000);
                prop_assert!(passed <= allowed + 1, "{passed} of {allowed}");
            }
        }

        #[test]
        fn the_time_that_it_names_is_right(count in 1_u32..50, seconds in 1_u64..100) {
            let rates = Rates::default();
            let rate = rate(count, seconds);
            let now = Timestamp::new(1_795_000_000_000);
            let until = loop {
                if let Err(until) = rates.take(AgentId(1), None, rate, now) {
                    break until;
                }
            };
            prop_assert_eq!(rates.take(AgentId(1), None, rate, until), Ok(()));
        }
    }
}
