//! Where a store lies: its real path, its lock, and who else can reach it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StoreError;

/// The longest path of a store, in bytes. SQLite opens none of 512 bytes and more, and the names of
/// its own files beside the store are eight bytes longer.
pub const LONGEST_PATH: usize = 503;

/// How many symbolic links are followed to a store that does not exist yet.
const MOST_LINKS: usize = 40;

/// How often a lock that is held is tried again. Whoever only looks whether it is held has it for
/// some microseconds.
const TRIES: usize = 5;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The path of a file that belongs to the store: its name with `suffix` after it.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The path of a store without symbolic links, from the root. By whatever path a store is named,
/// this is the same one, so that everybody finds the same lock and the same socket beside it.
///
/// # Errors
/// The links lead in a circle, or a folder cannot be looked through.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::canonicalize(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        // It does not exist yet, or is a link to what does not: SQLite makes what that names.
        match fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            Err(_) => return absolute(&path),
        }
    }
    Err(io::Error::other("its symbolic links lead in a circle"))
}

/// The path of a file that does not exist, in the real folder where there is one.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(folder(path)), path.file_name()) {
        (Ok(folder), Some(name)) => Ok(folder.join(name)),
        (Err(error), _) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::path::absolute(path),
    }
}

/// The folder of a path, `.` for a bare name.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the folder of a store, for its owner alone, if there is none; else warns where others
/// could put another file in the place of the store's.
pub(super) fn prepare_folder(path: &Path) -> Result<(), StoreError> {
    let folder = folder(path);
    let failed = |source| io_error(folder, source);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    if let Some(mode) = shared(folder).map_err(failed)? {
        tracing::warn!(
            folder = %folder.display(),
            mode = format!("{mode:04o}"),
            "others can make files in the folder of the store: they can keep it from starting, and \
             without the sticky bit replace it; give it a folder of its own (chmod 700)"
        );
    }
    Ok(())
}

/// The mode of a folder in which others than its owner can make files; none, where nobody else can.
///
/// # Errors
/// The folder cannot be looked at.
pub fn shared(folder: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
    Ok((mode & 0o022 != 0).then_some(mode))
}

/// Makes the store's file, if there is none, and takes from it and its companions whatever others
/// may do with them. SQLite gives the files that it makes the mode of the store's.
pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        // A umask may have taken away what its owner needs.
        Ok(file) => file
            .set_permissions(private())
            .map_err(|source| io_error(path, source))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(io_error(path, source)),
    }
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = with_suffix(path, suffix);
        match fs::set_permissions(&path, private()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(|source| io_error(&path, source))?,
        }
    }
    Ok(())
}

fn private() -> Permissions {
    Permissions::from_mode(0o600)
}

fn io_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The file beside the store that is locked while a runtime has it open. It is not the store's own
/// file: closing any handle on that would drop SQLite's own locks in this process. Others cannot
/// open it, since whoever can open a file can lock it.
fn lock_path(real: &Path) -> PathBuf {
    with_suffix(real, ".lock")
}

/// Locks every other runtime out of the store at this real path.
pub(super) fn lock(real: &Path) -> Result<File, StoreError> {
    let path = lock_path(real);
    let failed = |source| io_error(&path, source);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // Whoever made it can lock it. In a folder of everybody's that may be anybody.
    let owner_of_folder = fs::metadata(folder(real)).map_err(failed)?.uid();
    let ours = rustix::process::geteuid().as_raw();
    if ![ours, owner_of_folder, 0].contains(&metadata.uid()) {
        return Err(StoreError::ForeignLock {
            path,
            owner: metadata.uid(),
        });
    }
    // Earlier versions left it readable to everybody, and a umask may take away too much.
    let is_private = metadata.permissions().mode() & 0o7777 == 0o600;
    if !is_private && [metadata.uid(), 0].contains(&ours) {
        file.set_permissions(private()).map_err(failed)?;
    }
    for tries in 1.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tries < TRIES => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    path: real.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    Ok(file)
}

/// Whether somebody has the store open to change it: a runtime, or for a moment a command. Asked by
/// a shared lock that is given back at once: two who ask do not stand in each other's way.
///
/// # Errors
/// It cannot be found out, as where the lock is another user's.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(lock_path(&real_path(path)?)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether SQLite can open a store at this path, as far as its length goes.
pub fn is_too_long(path: &Path) -> bool {
    let length = |path: &OsStr| path.as_bytes().len() > LONGEST_PATH;
    std::path::absolute(path).is_ok_and(|path| length(path.as_os_str()))
}
