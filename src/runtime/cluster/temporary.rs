//! Files beside a store that are made on the way to something else.

use std::path::{Path, PathBuf};

use agentry_store::with_suffix;

/// A file that is removed when this is dropped, with the files that SQLite and agentry put beside it.
#[derive(Debug)]
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Temporary {
    /// One beside a store. What an earlier process has left of it is removed.
    pub(crate) fn beside(store: &Path, suffix: &str) -> Self {
        let file = Self(with_suffix(store, suffix));
        file.remove();
        file
    }

    fn remove(&self) {
        for suffix in ["", "-wal", "-shm", "-journal", ".lock", ".sums", ".new"] {
            // Mostly it is not there.
            let _ = std::fs::remove_file(with_suffix(&self.0, suffix));
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}
