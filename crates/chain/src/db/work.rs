//! Counters of the work that reading takes.

use std::sync::atomic::{AtomicU64, Ordering};

/// The work that a [`ChainDb`](crate::ChainDb) has done since it was opened. It grows with what is
/// new on the chain, not with the length of the chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DbWork {
    /// How often the file was opened.
    pub opens: u64,
    /// Read transactions. A read that finds nothing changed takes none.
    pub snapshots: u64,
    /// Blocks whose transactions were read.
    pub blocks: u64,
    /// Transactions whose addresses were compared with the interest.
    pub rows: u64,
    /// Transactions that were parsed.
    pub payloads: u64,
}

/// The counters behind [`DbWork`].
#[derive(Debug, Default)]
pub(super) struct Work {
    opens: AtomicU64,
    snapshots: AtomicU64,
    blocks: AtomicU64,
    rows: AtomicU64,
    payloads: AtomicU64,
}

impl Work {
    pub(super) fn count_open(&self) {
        self.opens.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_snapshot(&self) {
        self.snapshots.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_block(&self) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_rows(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(super) fn count_payload(&self) {
        self.payloads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn so_far(&self) -> DbWork {
        DbWork {
            opens: self.opens.load(Ordering::Relaxed),
            snapshots: self.snapshots.load(Ordering::Relaxed),
            blocks: self.blocks.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            payloads: self.payloads.load(Ordering::Relaxed),
        }
    }
}
