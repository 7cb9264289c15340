//! A reader that follows a source as the runtime does: it applies the events and stores the cursor
//! as text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentry_chain::{ChainEvent, ChainSource, Cursor, Interest, SourceError, Start};
use agentry_protocol::{BlockHeight, TransactionHash};

use crate::model::ME;

pub(crate) struct Mine;

impl Interest for Mine {
    fn wants(&self, _from: &str, to: &str) -> bool {
        to == ME
    }
}

pub(crate) struct Follower {
    /// The cursor, in its stored form.
    stored: String,
    pub(crate) seen: BTreeSet<(TransactionHash, u64)>,
    pub(crate) bad: BTreeMap<TransactionHash, u64>,
    /// All events in order, abbreviated.
    pub(crate) log: Vec<String>,
    /// How many transactions were delivered, repeats included.
    pub(crate) delivered: usize,
    pub(crate) gaps: BTreeSet<u64>,
    /// How many blocks the source was behind at the last read.
    pub(crate) behind: u64,
    /// The last height that was delivered in order.
    last: u64,
}

impl Follower {
    pub(crate) async fn begin(source: &mut dyn ChainSource, start: Start) -> Self {
        let cursor = source.begin(start).await.unwrap();
        Self {
            stored: serde_json::to_string(&cursor).unwrap(),
            seen: BTreeSet::new(),
            bad: BTreeMap::new(),
            log: Vec::new(),
            delivered: 0,
            gaps: BTreeSet::new(),
            behind: 0,
            last: 0,
        }
    }

    pub(crate) fn cursor(&self) -> Cursor {
        serde_json::from_str(&self.stored).unwrap()
    }

    /// Whether this transaction was delivered, or reported as unreadable.
    pub(crate) fn has_read(&self, hash: &TransactionHash) -> bool {
        self.bad.contains_key(hash) || self.seen.iter().any(|(seen, _)| seen == hash)
    }

    /// One read. True: there is more.
    pub(crate) async fn step(
        &mut self,
        source: &mut dyn ChainSource,
        limit: usize,
    ) -> Result<bool, SourceError> {
        let batch = source.read(&self.cursor(), Arc::new(Mine), limit).await?;
        for event in batch.events {
            self.apply(event);
        }
        assert_eq!(
            batch.cursor.height(),
            batch.read_through.map(|head| head.height)
        );
        self.behind = batch.behind;
        self.stored = serde_json::to_string(&batch.cursor).unwrap();
        assert!(
            self.stored.len() < 14_000,
            "a cursor of {} bytes",
            self.stored.len()
        );
        assert_eq!(
            self.cursor(),
            batch.cursor,
            "the cursor reads back unchanged"
        );
        Ok(batch.more)
    }

    /// Reads until there is no more.
    pub(crate) async fn catch_up(&mut self, source: &mut dyn ChainSource, limit: usize) {
        for _ in 0..100_000 {
            if !self.step(source, limit).await.unwrap() {
                return;
            }
        }
        panic!("there is always more to read");
    }

    fn apply(&mut self, event: ChainEvent) {
        match event {
            ChainEvent::Transaction(found) => {
                let height = found.height.0;
                assert_eq!(found.stored.to.as_str(), ME);
                if found.stored.dialect.keeps_signatures() {
                    assert_eq!(found.stored.hash(), found.hash);
                } else {
                    assert_eq!(found.stored.from.as_str(), "ait1from");
                    assert_eq!(found.stored.kind, "MESSAGE");
                    assert_eq!(found.stored.signature, None);
                }
                if !found.late {
                    assert!(height >= self.last, "{height} came after {}", self.last);
                    self.last = height;
                }
                self.delivered += 1;
                self.log.push(format!(
                    "{} at {height}",
                    if found.late { "late" } else { "new" }
                ));
                self.seen.insert((found.hash, height));
            }
            ChainEvent::Withdrawn { above, depth } => {
                self.log.push(format!("withdrawn {depth} above {above:?}"));
                let is_kept = |height: u64| above.is_some_and(|above| BlockHeight(height) <= above);
                self.seen.retain(|(_, height)| is_kept(*height));
                self.bad.retain(|_, height| is_kept(*height));
                self.gaps.retain(|height| is_kept(*height));
                self.last = above.map_or(0, |above| above.0);
            }
            ChainEvent::Undecodable {
                height,
                count,
                first,
            } => {
                assert_eq!(first.len() as u64, count);
                for bad in first {
                    assert!(!bad.reason.is_empty());
                    self.bad.insert(bad.hash.unwrap(), height.0);
                }
            }
            ChainEvent::Gap { height, reason } => {
                assert!(!reason.is_empty());
                self.log.push(format!("gap at {height}"));
                assert!(self.gaps.insert(height.0), "a gap is reported once");
            }
            ChainEvent::GapFilled { height } => {
                self.log.push(format!("gap filled at {height}"));
                assert!(self.gaps.remove(&height.0), "only a gap can be filled");
            }
        }
    }
}
