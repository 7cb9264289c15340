//! The location of a store: its real path, its lock, and who else can access it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Mark, StoreError};

/// The longest path of a store, in bytes. SQLite opens no path of 512 bytes or more, and the names
/// of its own files beside the store are eight bytes longer.
pub const LONGEST_PATH: usize = 503;

/// The most symbolic links that are followed to a store that does not exist yet.
const MOST_LINKS: usize = 40;

/// How many times a held lock is tried again. A process that only tests whether the lock is held
/// holds it for some microseconds.
const TRIES: usize = 5;

/// The pause between two attempts to lock.
const PAUSE: Duration = Duration::from_millis(20);

/// The path of a file that belongs to the store: its name with `suffix` after it.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The absolute path of a store without symbolic links. It is the same for every path to the same
/// store, so all processes use the same lock and the same socket beside it.
///
/// # Errors
/// The links form a loop, or a folder cannot be read.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::canonicalize(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        // It does not exist yet, or is a link to a file that does not: SQLite creates that file.
        match fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            Err(_) => return absolute(&path),
        }
    }
    Err(io::Error::other("its symbolic links form a loop"))
}

/// The path of a file that does not exist, in its real folder if that exists.
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

/// Creates the folder of a store for its owner alone, if there is none. Otherwise warns if others
/// could replace the store's file.
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
            "other users can create files in the folder of the store: they can keep agentry from \
             starting and, without the sticky bit, replace the store; give it a folder of its own \
             (chmod 700)"
        );
    }
    Ok(())
}

/// The mode of a folder in which users other than its owner can create files; `None` if no other
/// user can.
///
/// # Errors
/// The folder's metadata cannot be read.
pub fn shared(folder: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
    Ok((mode & 0o022 != 0).then_some(mode))
}

/// Prepares the folder of a store at a path, and locks the store. Returns its real path.
pub(super) fn claim(path: &Path) -> Result<(PathBuf, File), StoreError> {
    prepare_folder(path)?;
    let path = real_path(path).map_err(|source| io_error(path, source))?;
    if is_too_long(&path) {
        return Err(StoreError::TooLong { path });
    }
    let lock = lock(&path)?;
    Ok((path, lock))
}

/// Puts a copy that [`Store::snapshot`](super::Store::snapshot) has written in the place of the store
/// at `path`, if there is one. Both are in one file system; the copy is moved. Returns the mark of
/// the last record that it has.
///
/// # Errors
/// [`StoreError::Locked`] if a process has the store open; the copy is none, or is damaged; and any
/// error of the file system.
pub fn install(copy: &Path, path: &Path) -> Result<Mark, StoreError> {
    let no_copy = || StoreError::NoCopy {
        path: copy.to_owned(),
    };
    let mark = super::mark(copy)?.ok_or_else(no_copy)?;
    let (path, _lock) = claim(path)?;
    File::open(copy)
        .and_then(|file| file.sync_all())
        .map_err(|source| io_error(copy, source))?;
    remove_files(&path)?;
    fs::rename(copy, &path).map_err(|source| io_error(&path, source))?;
    File::open(folder(&path))
        .and_then(|folder| folder.sync_all())
        .map_err(|source| io_error(folder(&path), source))?;
    Ok(mark)
}

/// Removes the store at `path`, if there is one: what it has can be had again from its log.
///
/// # Errors
/// [`StoreError::Locked`] if a process has the store open; any error of the file system.
pub fn discard(path: &Path) -> Result<(), StoreError> {
    let (path, _lock) = claim(path)?;
    remove_files(&path)
}

/// A process that is killed in between leaves no store, or a log without its store, which is named as
/// damage.
fn remove_files(path: &Path) -> Result<(), StoreError> {
    remove(&super::sums::at(path))?;
    for suffix in ["", "-wal", "-shm", "-journal"] {
        remove(&with_suffix(path, suffix))?;
    }
    Ok(())
}

/// Gives a file that is complete the name of a store, which nothing may have yet. Both are in one file
/// system. The store is there whole or not at all.
///
/// # Errors
/// [`StoreError::Locked`] if a process is about to create a store there, and any error of the file
/// system: there is a file of this name.
pub fn publish(made: &Path, path: &Path) -> Result<(), StoreError> {
    let (path, _lock) = claim(path)?;
    if path.exists() {
        return Err(io_error(&path, io::ErrorKind::AlreadyExists.into()));
    }
    remove(&super::sums::at(&path))?;
    fs::rename(made, &path).map_err(|source| io_error(&path, source))?;
    File::open(folder(&path))
        .and_then(|folder| folder.sync_all())
        .map_err(|source| io_error(folder(&path), source))
}

/// Removes a file, if there is one.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(path, source)),
        _ => Ok(()),
    }
}

/// Makes durable what the write-ahead log holds. A process that was killed may have written a
/// transaction without having synced it; SQLite shows it from now on, and it will be acted on.
pub(super) fn sync_log(path: &Path) -> Result<(), StoreError> {
    let log = with_suffix(path, "-wal");
    match File::open(&log).and_then(|file| file.sync_all()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(&log, source)),
        _ => Ok(()),
    }
}

/// Creates the store's file, if there is none, and removes all permissions of other users from it
/// and the files beside it. SQLite gives the files that it creates the mode of the store's file.
pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        // A umask may have removed permissions that the owner needs.
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
/// file: closing any handle on that would drop SQLite's own locks in this process. Other users
/// cannot open it, because a user who can open a file can lock it.
fn lock_path(real: &Path) -> PathBuf {
    with_suffix(real, ".lock")
}

/// Locks the store at this real path, so that no other runtime can open it.
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
    // The user who created it can lock it. In a shared folder that may be any user.
    let owner_of_folder = fs::metadata(folder(real)).map_err(failed)?.uid();
    let ours = rustix::process::geteuid().as_raw();
    if ![ours, owner_of_folder, 0].contains(&metadata.uid()) {
        return Err(StoreError::ForeignLock {
            path,
            owner: metadata.uid(),
        });
    }
    // Earlier versions left it readable for all users, and a umask may remove too much.
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

/// Whether a process has the store open for writing: a runtime, or briefly a command. This takes a
/// shared lock and releases it at once, so that two tests do not block each other.
///
/// # Errors
/// The lock cannot be tested, for example because another user owns it.
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

/// Whether this path is too long for SQLite.
pub fn is_too_long(path: &Path) -> bool {
    let length = |path: &OsStr| path.as_bytes().len() > LONGEST_PATH;
    std::path::absolute(path).is_ok_and(|path| length(path.as_os_str()))
}
