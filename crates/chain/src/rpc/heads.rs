//! The head of a node, for which several sources of one process ask together.
//!
//! Each source asks at its own times. What one of them learns, the others use: they are woken when the
//! head has changed, and ask for themselves only if nobody has asked for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::node::{Head, NodeError};

/// The head of a node, as the sources that share it have seen it last. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SharedHead(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Who asks: one at a time.
    asking: Mutex<()>,
    seen: watch::Sender<Option<Seen>>,
}

/// An answer.
#[derive(Clone, Debug)]
struct Seen {
    head: Option<Head>,
    /// When the request was sent.
    asked: Instant,
}

/// What one source has used of the shared head.
#[derive(Debug)]
pub(super) struct HeadView {
    shared: SharedHead,
    seen: watch::Receiver<Option<Seen>>,
    /// When the answer was asked for that was used last.
    used: Option<Instant>,
    head: Option<Head>,
}

impl HeadView {
    pub(super) fn of(shared: SharedHead) -> Self {
        Self {
            seen: shared.0.seen.subscribe(),
            shared,
            used: None,
            head: None,
        }
    }

    /// The head: one that was asked for no longer ago than `fresh`, and was not used by this source
    /// before, or what `ask` answers.
    pub(super) async fn head(
        &mut self,
        fresh: Duration,
        ask: impl Future<Output = Result<Option<Head>, NodeError>>,
    ) -> Result<Option<Head>, NodeError> {
        // Whoever waits here uses the answer of the one before.
        let asking = self.shared.0.asking.lock().await;
        let seen = self.seen.borrow_and_update().clone();
        let is_new = |seen: &Seen| {
            self.used.is_none_or(|used| used < seen.asked) && seen.asked.elapsed() <= fresh
        };
        let seen = match seen.filter(is_new) {
            Some(seen) => seen,
            None => {
                let asked = Instant::now();
                let head = ask.await?;
                let seen = Seen { head, asked };
                self.shared.0.seen.send_replace(Some(seen.clone()));
                self.seen.mark_unchanged();
                seen
            }
        };
        drop(asking);
        self.used = Some(seen.asked);
        self.head.clone_from(&seen.head);
        Ok(seen.head)
    }

    /// Returns once another source has seen another head than this one has used. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let (head, used) = (&self.head, self.used);
        let is_another = |seen: &Option<Seen>| {
            seen.as_ref()
                .is_some_and(|seen| seen.head != *head && used.is_none_or(|used| used < seen.asked))
        };
        if self.seen.wait_for(is_another).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
