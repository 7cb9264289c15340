//! Until when what was made durable may leave this host.
//!
//! In a cluster, a host that is cut off from the others loses its agents to them after a while. What it
//! has signed before is in their log, too, and they post it. So it posts only while no other host can
//! have taken over: until its [lease](agentry_core::cluster::LEASE) ends, which each beat renews. A host
//! that is alone has no such limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agentry_chain::Permit;
use agentry_core::cluster::LEASE;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// The most that one POST may take: less than what is left of a lease when the next beat is late. A
/// node answers in 5 to 55 ms; what became of a POST without an answer is seen on the chain.
pub const LONGEST_POST: Duration = Duration::from_millis(1_000);

/// The time of this machine since it was started. It never goes back, and goes on while the machine
/// sleeps.
pub fn monotonic() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// A right to post that ends by itself. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    until: Option<Arc<Until>>,
    /// Whether the shard that has it is another host's: what renews the lease of the host renews it no
    /// more.
    is_revoked: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Until {
    /// In milliseconds of [`monotonic`].
    ms: AtomicU64,
    renewed: Notify,
}

impl Lease {
    /// A lease that has ended, and that beats renew.
    pub fn of_a_cluster() -> Self {
        Self {
            until: Some(Arc::default()),
            is_revoked: Arc::default(),
        }
    }

    /// Whether this is one of several hosts.
    pub fn is_of_cluster(&self) -> bool {
        self.until.is_some()
    }

    /// The lease of the host, as one of its shards has it.
    pub fn of_shard(&self) -> Self {
        Self {
            until: self.until.clone(),
            is_revoked: Arc::default(),
        }
    }

    /// Ends it for good. To be called before the lease of the host is renewed by a beat that has shown
    /// that the shard is another host's.
    pub fn revoke(&self) {
        self.is_revoked.store(true, Ordering::Release);
    }

    fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire)
    }

    /// Renews the lease: a beat that was sent at this time of [`monotonic`] was acknowledged.
    pub fn renew(&self, sent: Duration) {
        if let Some(until) = &self.until {
            let end = u64::try_from((sent + LEASE).as_millis()).unwrap_or(u64::MAX);
            until.ms.fetch_max(end, Ordering::AcqRel);
            until.renewed.notify_waiters();
        }
    }

    /// Whether it lasts for so long from now on.
    pub fn covers(&self, needs: Duration) -> bool {
        self.until.as_ref().is_none_or(|until| {
            let end = Duration::from_millis(until.ms.load(Ordering::Acquire));
            // The revocation comes before the renewal that it is about.
            monotonic() + needs <= end && !self.is_revoked()
        })
    }

    /// Returns once it lasts for so long from then on.
    pub async fn covering(&self, needs: Duration) {
        let Some(until) = &self.until else {
            return;
        };
        loop {
            let renewed = until.renewed.notified();
            if self.covers(needs) {
                return;
            }
            renewed.await;
        }
    }

    /// A permit for what takes so long, if the lease covers that now: it ends after this time, even if
    /// this process stands still meanwhile. A host that is alone needs none.
    pub fn permit(&self, needs: Duration) -> Option<Permit> {
        self.until.as_ref()?;
        let (lease, end) = (self.clone(), monotonic() + needs);
        Some(Permit::new(move || {
            monotonic() <= end && !lease.is_revoked()
        }))
    }

    /// How long a POST may take that would be given this long.
    pub fn limit(&self, limit: Duration) -> Duration {
        match self.until {
            None => limit,
            Some(_) => limit.min(LONGEST_POST),
        }
    }
}

#[cfg(test)]
mod tests {
    use agentry_core::cluster::BEAT;

    use super::*;

    #[tokio::test]
    async fn a_lease_lasts_from_when_a_beat_was_sent() {
        let alone = Lease::default();
        assert!(alone.covers(Duration::MAX / 2));
        assert_eq!(alone.limit(Duration::from_secs(9)), Duration::from_secs(9));
        let lease = Lease::of_a_cluster();
        assert!(!lease.covers(Duration::ZERO));
        let waiting = tokio::spawn({
            let lease = lease.clone();
            async move { lease.covering(Duration::from_millis(1)).await }
        });
        // A beat whose answer came too late renews nothing.
        lease.renew(monotonic().saturating_sub(2 * LEASE));
        assert!(!lease.covers(Duration::ZERO));
        // Even if the machine was started just now.
        let sent = monotonic() + LEASE;
        lease.renew(sent);
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .unwrap()
            .unwrap();
        assert!(lease.covers(LEASE));
        assert!(!lease.covers(3 * LEASE));
        lease.renew(Duration::ZERO);
        assert!(lease.covers(LEASE), "a late answer does not shorten it");
    }

    /// A host that was frozen beats again, and learns that a shard is another's.
    #[test]
    fn a_shard_that_is_lost_has_no_part_in_the_next_renewal() {
        let host = Lease::of_a_cluster();
        let (kept, lost) = (host.of_shard(), host.of_shard());
        host.renew(monotonic());
        let permit = lost.permit(LEASE).unwrap();
        assert!(kept.covers(BEAT) && lost.covers(BEAT) && permit.holds());
        lost.revoke();
        host.renew(monotonic() + BEAT);
        assert!(kept.covers(BEAT));
        assert!(!lost.covers(Duration::ZERO) && !permit.holds());
    }
}
