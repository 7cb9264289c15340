//! Who looks whether a database has changed: one of the sources that share it, for all of them.
//!
//! After each event of the file, the database is looked at several times. A look costs little, but not
//! nothing, and a busy node raises many events: so only one source looks, and the others read when that
//! one has found another version.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use super::reader::Version;
use super::watch::Watch;
use crate::source::SourceError;

/// The looks at a database that several sources share.
#[derive(Debug)]
pub(super) struct Looks {
    /// The one who has it looks.
    watch: Mutex<Watch>,
    /// What was found last; `None` if nobody could tell.
    version: watch::Sender<Option<Version>>,
}

impl Looks {
    pub(super) fn new(watch: Watch) -> Arc<Self> {
        Arc::new(Self {
            watch: Mutex::new(watch),
            version: watch::Sender::new(None),
        })
    }

    /// For one more source.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Version>> {
        self.version.subscribe()
    }

    /// Resolves when the source that has this receiver should read. Cancel-safe. `look` tells the present
    /// version.
    pub(super) async fn changed<F>(
        &self,
        version: &mut watch::Receiver<Option<Version>>,
        look: impl Fn() -> F,
    ) where
        F: Future<Output = Result<Version, SourceError>>,
    {
        let mut watch = tokio::select! {
            biased;
            Ok(()) = version.changed() => return,
            watch = self.watch.lock() => watch,
        };
        loop {
            if version.has_changed().unwrap_or(true) {
                version.mark_unchanged();
                return;
            }
            watch.changed().await;
            // If it cannot be read now, a read says why.
            let found = look().await.ok();
            let before = *self.version.borrow();
            if found.is_none() || found != before {
                self.version.send_replace(found);
            }
        }
    }
}
