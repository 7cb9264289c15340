//! The database file: opening it without changing the files beside it, and detecting its
//! replacement.
//!
//! # What opening does to the directory (hazard 9 in `docs/hazards.md`)
//! SQLite cannot read a WAL database without a `-wal` and a `-shm` file beside it, and creates them
//! even for a read-only connection. So:
//!
//! * **No `-wal` (and no `-journal`) beside it**: no process has it open for writing, and all
//!   content is in the file. It is opened with `immutable=1`, which locks nothing and creates
//!   nothing. That is sound only while no process writes, so every read of such a file is checked
//!   afterwards: if the file changed, or a `-wal` appeared in between, the result is discarded and
//!   read again.
//! * **A `-wal` beside it**: a node has it open, or died with it open. It is opened read-only in
//!   the ordinary way, under SQLite's locks. If `-shm` is missing then (a copied backup), SQLite
//!   creates it, as the node itself would at its next start.
//!
//! Closing the connection checkpoints nothing and deletes nothing (`NO_CKPT_ON_CLOSE`, and a
//! read-only handle cannot).
//!
//! # Whether it is still the same file
//! Only `stat` is used to find out. Opening and closing the file by other means than SQLite would
//! drop the POSIX locks of every SQLite handle in this process, the embedded node's included.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::source::SourceError;

/// What `stat` reports about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Look {
    fn at(path: &Path) -> Result<Option<Self>, SourceError> {
        match fs::metadata(path) {
            Ok(data) => Ok(Some(Self {
                device: data.dev(),
                inode: data.ino(),
                size: data.size(),
                modified: (data.mtime(), data.mtime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SourceError::File {
                path: path.to_owned(),
                error,
            }),
        }
    }

    fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The file, its `-wal` and its `-journal` at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scene {
    main: Look,
    wal: Option<Look>,
    journal: bool,
}

impl Scene {
    /// None: the file is not there.
    fn at(path: &Path) -> Result<Option<Self>, SourceError> {
        let Some(main) = Look::at(path)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            main,
            wal: Look::at(&beside(path, "-wal"))?,
            journal: Look::at(&beside(path, "-journal"))?.is_some(),
        }))
    }

    /// No process appears to have the file open for writing.
    fn still(&self) -> bool {
        self.wal.is_none() && !self.journal
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The one connection to the file.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) connection: Connection,
    /// The real path, behind symbolic links.
    path: PathBuf,
    scene: Scene,
    immutable: bool,
}

/// How an open file has changed since it was last checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is the same, as far as `stat` can tell.
    Same,
    /// Its content was written to, perhaps by something other than a commit: a checkpoint, or a
    /// copy of another database over it, which SQLite cannot notice. Unless a commit explains it,
    /// the file has to be opened again.
    Touched,
    /// Another file is at the path, or the file has to be opened in another mode.
    Replaced,
    /// There is no file at the path.
    Gone,
}

impl Open {
    /// Opens the file at `path`.
    pub(super) fn at(path: &Path, busy_timeout: Duration) -> Result<Self, SourceError> {
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SourceError::Missing {
                    path: path.to_owned(),
                });
            }
            Err(error) => {
                return Err(SourceError::File {
                    path: path.to_owned(),
                    error,
                });
            }
        };
        let missing = || SourceError::Missing {
            path: path.to_owned(),
        };
        let before = Scene::at(&real)?.ok_or_else(missing)?;
        let immutable = before.still();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if immutable {
            Connection::open_with_flags(immutable_uri(&real), flags | OpenFlags::SQLITE_OPEN_URI)
        } else {
            Connection::open_with_flags(&real, flags)
        };
        let failed = |doing| {
            let path = path.to_owned();
            move |error| SourceError::Database { path, doing, error }
        };
        let connection = connection.map_err(failed("opening it"))?;
        connection
            .busy_timeout(busy_timeout)
            .map_err(failed("setting its time limit"))?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            // Otherwise SQLite plans a statement with a bound LIMIT again at each run.
            .and_then(|_| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true))
            .map_err(failed("setting it up"))?;
        // SQLite opens lazily: this query makes it open the -wal and -shm, before the second check.
        connection
            .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))
            .map_err(failed("reading its schema"))?;
        let after = Scene::at(&real)?.ok_or_else(missing)?;
        let same = after.main.same_file(&before.main)
            && after.wal.map(|wal| wal.inode) == before.wal.map(|wal| wal.inode);
        if !same {
            return Err(SourceError::Replaced {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            connection,
            path: real,
            scene: before,
            immutable,
        })
    }

    /// Checks the file again.
    pub(super) fn change(&mut self, path: &Path) -> Result<Change, SourceError> {
        // The path may be a symbolic link whose target has changed: `stat` follows it.
        let Some(main) = Look::at(path)? else {
            return Ok(Change::Gone);
        };
        if !main.same_file(&self.scene.main) {
            return Ok(Change::Replaced);
        }
        let Some(now) = Scene::at(&self.path)? else {
            return Ok(Change::Gone);
        };
        if self.immutable {
            return Ok(if now == self.scene {
                Change::Same
            } else {
                Change::Replaced
            });
        }
        let same_wal = match (&now.wal, &self.scene.wal) {
            (Some(now), Some(then)) => now.same_file(then),
            (None, None) => true,
            _ => false,
        };
        if !same_wal || !now.main.same_file(&self.scene.main) {
            return Ok(Change::Replaced);
        }
        let touched = now.main != self.scene.main;
        self.scene.main = now.main;
        Ok(if touched {
            Change::Touched
        } else {
            Change::Same
        })
    }

    /// After a read: whether its result is consistent. SQLite's locks guarantee that for an
    /// ordinary read; an immutable read is consistent if nothing has changed in between.
    pub(super) fn was_sound(&self) -> Result<bool, SourceError> {
        Ok(!self.immutable || Scene::at(&self.path)? == Some(self.scene))
    }
}

/// The URI under which SQLite opens a file without locks and without files beside it. It is for a
/// file that no process writes to.
pub fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri.push_str("?immutable=1");
    uri
}
