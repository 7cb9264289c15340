//! The head of a node, for which several sources of one process ask together.
//!
//! Each source asks at its own times. What one of them learns, the others use: they are woken when the
//! head has changed, and ask for themselves only if nobody has asked for a while. Whoever hears of a
//! block in another way wakes them all.

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
    news: watch::Sender<News>,
}

/// What is known about the head.
#[derive(Clone, Debug, Default)]
struct News {
    /// The last answer.
    seen: Option<Seen>,
    /// When the sources were woken last. What was asked for before that is no longer of use.
    woken: Option<Instant>,
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
    news: watch::Receiver<News>,
    /// When the answer was asked for that was used last.
    used: Option<Instant>,
    /// When it was woken, the last time that it asked.
    woken: Option<Instant>,
    head: Option<Head>,
}

impl SharedHead {
    /// Wakes the sources: there may be another head, and they ask for it at once.
    pub fn wake(&self) {
        self.0
            .news
            .send_modify(|news| news.woken = Some(Instant::now()));
    }
}

impl HeadView {
    pub(super) fn of(shared: SharedHead) -> Self {
        Self {
            news: shared.0.news.subscribe(),
            shared,
            used: None,
            woken: None,
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
        let News { seen, woken } = self.news.borrow_and_update().clone();
        self.woken = woken;
        let is_new = |seen: &Seen| {
            self.used.is_none_or(|used| used < seen.asked)
                && woken.is_none_or(|woken| woken <= seen.asked)
                && seen.asked.elapsed() <= fresh
        };
        let seen = match seen.filter(is_new) {
            Some(seen) => seen,
            None => {
                let asked = Instant::now();
                let head = ask.await?;
                let seen = Seen { head, asked };
                let answer = seen.clone();
                self.shared
                    .0
                    .news
                    .send_modify(|news| news.seen = Some(answer));
                seen
            }
        };
        drop(asking);
        self.used = Some(seen.asked);
        self.head.clone_from(&seen.head);
        Ok(seen.head)
    }

    /// Returns once it was woken, or another source has seen another head than this one has used.
    /// Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let (head, used, woken) = (&self.head, self.used, self.woken);
        let is_another =
            |seen: &Seen| seen.head != *head && used.is_none_or(|used| used < seen.asked);
        let is_news =
            |news: &News| news.woken != woken || news.seen.as_ref().is_some_and(is_another);
        if self.news.wait_for(is_news).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
