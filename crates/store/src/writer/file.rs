//! The store's file, as long as it is open.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::error::Trouble;

/// The identity of the open file. SQLite keeps writing to a file that was deleted, moved or
/// replaced, and all of that is lost when the process ends.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    device: u64,
    inode: u64,
}

impl OpenFile {
    pub(super) fn at(path: &Path) -> Result<Self, StoreError> {
        let data = std::fs::metadata(path).map_err(|source| StoreError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            device: data.dev(),
            inode: data.ino(),
        })
    }

    /// Checks that the file at the path is still the open one.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        let path = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(data) if (data.dev(), data.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(Trouble::Refusal(format!(
                "{path} was replaced by another file: restore the original file, or restart agentry"
            ))),
            Err(error) => Err(Trouble::Refusal(format!(
                "{path} can no longer be found ({error}): put it back, or restart agentry"
            ))),
        }
    }
}
