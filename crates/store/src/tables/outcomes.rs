//! Hosts that share a log must come to the same state. Here they find out if they do not, because the
//! tables of one are damaged, or it computes wrongly.
//!
//! The host that leads hashes what each commit changed, and adds the hash to every record whose place
//! is a multiple of [`EVERY`]. A host that follows does the same and compares. Only hashes of one
//! version are compared, and only of stretches that both have applied from their beginning, without
//! an error in between.

use std::fmt::{self, Write};

use agentry_core::{Changes, Commit};
use agentry_protocol::ContentHash;
use sha2::{Digest, Sha256};

use crate::log::{LogError, Position};

/// How many records are compared at once. Tests compare more often.
const EVERY: u64 = if cfg!(test) { 3 } else { 1_000 };

/// The version whose hashes are compared.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the records of a stretch came to; `None` if not all of them were applied.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Option<Sha256>);

impl Outcomes {
    /// None yet, with the record at `at` as the last one that was applied.
    pub(super) fn after(at: Position) -> Self {
        Self(ends(at).then(Sha256::new))
    }

    /// A commit was applied, and changed this.
    pub(super) fn add(&mut self, changes: &Changes) {
        if let Some(hash) = &mut self.0 {
            let written = write!(Feed(hash), "{changes:?};");
            debug_assert!(written.is_ok(), "a hash takes everything");
        }
    }

    /// The commit that says what the stretch came to, if it ends with the record at `at`.
    pub(super) fn of(&self, at: Position) -> Option<Commit> {
        let hash = self.hash().filter(|_| ends(at))?;
        Some(Commit::Outcomes {
            version: VERSION.to_owned(),
            hash,
        })
    }

    /// Compares with what the stretch up to the record at `at` came to elsewhere.
    ///
    /// # Errors
    /// [`LogError::Unsound`]: it differs.
    pub(super) fn compare(
        &self,
        at: Position,
        version: &str,
        hash: &ContentHash,
    ) -> Result<(), LogError> {
        match self.hash() {
            Some(ours) if version == VERSION && ours != *hash => Err(LogError::Unsound(format!(
                "the records up to {at} came to something else here than on the host that appended them"
            ))),
            _ => Ok(()),
        }
    }

    /// The record at `at` was applied. If the stretch ends there, the next one begins.
    pub(super) fn end(&mut self, at: Position) {
        if ends(at) {
            *self = Self::after(at);
        }
    }

    fn hash(&self) -> Option<ContentHash> {
        let hash = self.0.clone()?;
        Some(ContentHash::from_bytes(hash.finalize().into()))
    }
}

/// Whether a stretch ends with the record at a place.
const fn ends(at: Position) -> bool {
    at.0.is_multiple_of(EVERY)
}

/// Hashes what is written to it.
struct Feed<'a>(&'a mut Sha256);

impl Write for Feed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}
