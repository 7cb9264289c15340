//! Detection of changes to the files of a program, for `restart_on_change`.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// The most files that are checked. A program in development has few.
const MOST: usize = 1_000;

/// The state of a file: its time of modification and its length.
type Stamp = (Option<SystemTime>, u64);

/// The files of a program: the program, the files that its arguments name, and files beside them
/// with the same extension, such as other modules.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    seen: Mutex<Option<BTreeMap<PathBuf, Stamp>>>,
}

impl Watch {
    /// Watches a program with these arguments and this working directory.
    pub(super) fn new(program: &Path, args: &[String], directory: &Path) -> Self {
        let named = args.iter().map(|arg| directory.join(arg));
        Self {
            files: named
                .filter(|file| file.is_file())
                .chain([program.to_owned()])
                .collect(),
            seen: Mutex::new(None),
        }
    }

    /// Whether any of the files has changed since the last call.
    pub(super) fn has_changed(&self) -> bool {
        let now = self.stamps();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.replace(now);
        before.is_some_and(|before| Some(before) != *seen)
    }

    fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        let mut stamps = BTreeMap::new();
        for file in &self.files {
            if let Ok(found) = file.metadata() {
                stamps.insert(file.clone(), stamp(&found));
            }
            // A file without an extension, such as a compiled program, has no related files.
            let (Some(folder), Some(ending)) = (file.parent(), file.extension()) else {
                continue;
            };
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension() == Some(ending)
                    && stamps.len() < MOST
                    && let Ok(found) = entry.metadata()
                {
                    stamps.insert(path, stamp(&found));
                }
            }
        }
        stamps
    }
}

fn stamp(found: &Metadata) -> Stamp {
    (found.modified().ok(), found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_program_or_of_what_is_beside_it_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("bot.py"), "1").unwrap();
        let watch = Watch::new(Path::new("/bin/sh"), &["bot.py".to_owned()], folder.path());
        assert!(!watch.has_changed() && !watch.has_changed());
        fs::write(at("bot.py"), "22").unwrap();
        assert!(watch.has_changed() && !watch.has_changed());
        fs::write(at("module.py"), "3").unwrap();
        assert!(watch.has_changed() && !watch.has_changed());
        fs::write(at("agentry.db"), "4").unwrap();
        assert!(!watch.has_changed());
        fs::remove_file(at("module.py")).unwrap();
        assert!(watch.has_changed() && !watch.has_changed());
        fs::remove_file(at("bot.py")).unwrap();
        assert!(watch.has_changed());
    }
}
