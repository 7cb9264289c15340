//! The time, as the runtime reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The local clock. Tests shift it, as an administrator or NTP does to a real one; a replay holds
/// one that shows the times of blocks.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    shift_ms: Arc<AtomicI64>,
    /// What it shows, if it does not go by itself.
    held_at: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// A clock that shows this, in milliseconds since the Unix epoch, until it is
    /// [set](Self::set).
    pub fn held(now_ms: u64) -> Self {
        Self {
            held_at: Some(Arc::new(AtomicU64::new(now_ms))),
            ..Self::default()
        }
    }

    /// Sets a held clock; one that goes by itself stays as it is.
    pub fn set(&self, now_ms: u64) {
        if let Some(held_at) = &self.held_at {
            held_at.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        if let Some(held_at) = &self.held_at {
            return held_at.load(Ordering::Relaxed);
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        now.saturating_add_signed(self.shift_ms.load(Ordering::Relaxed))
    }

    /// Sets the clock forward, or back where `by_ms` is negative.
    pub fn shift(&self, by_ms: i64) {
        self.shift_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}
