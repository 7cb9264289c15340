//! Bounded reading, and atomic writing that never overwrites.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

use super::error::WalletError;

/// Reads a regular file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, WalletError> {
    let failed = |source| WalletError::io("reading", path, source);
    // Opening a named pipe would wait forever for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(damaged(path, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(damaged(path, &format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

pub(super) fn damaged(path: &Path, reason: &str) -> WalletError {
    WalletError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Creates a folder and its missing parents, accessible only to the owner (mode 0700). A folder
/// that exists is left unchanged.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), WalletError> {
    if dir.as_os_str().is_empty() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| WalletError::io("creating the folder", dir, source))
}

/// Writes a new file, accessible only to its owner (mode 0600): atomically, and durably when this
/// returns.
///
/// # Errors
/// [`WalletError::Exists`], [`WalletError::Io`].
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), WalletError> {
    let temporary = write_beside(path, bytes)?;
    temporary
        .persist_noclobber(path)
        .map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => WalletError::Exists(path.to_owned()),
            _ => WalletError::io("writing", path, error.error),
        })?;
    sync_folder(path)
}

/// As [`write_new`], but replaces an existing file.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), WalletError> {
    let temporary = write_beside(path, bytes)?;
    temporary
        .persist(path)
        .map_err(|error| WalletError::io("writing", path, error.error))?;
    sync_folder(path)
}

/// The folder of a path, `.` for a bare name.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn write_beside(path: &Path, bytes: &[u8]) -> Result<NamedTempFile, WalletError> {
    let failed = |source| WalletError::io("writing", path, source);
    // Hidden, so that a listing never mistakes a half-written file for a wallet.
    let mut temporary = tempfile::Builder::new()
        .prefix(".agentry-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder(path))
        .map_err(failed)?;
    temporary.write_all(bytes).map_err(failed)?;
    temporary.as_file().sync_all().map_err(failed)?;
    Ok(temporary)
}

/// Makes the names in a file's folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), WalletError> {
    let folder = folder(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| WalletError::io("syncing the folder", folder, source))
}

/// Renames a file in its folder; an existing file is never overwritten.
pub(super) fn rename_new(from: &Path, to: &Path) -> Result<(), WalletError> {
    // A hard link fails if the name is taken; `rename` would not. Between the two steps the file
    // has both names, so that a crash loses nothing.
    fs::hard_link(from, to).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => WalletError::Exists(to.to_owned()),
        _ => WalletError::io("renaming", from, source),
    })?;
    fs::remove_file(from)
        .map_err(|source| WalletError::io("removing the old name", from, source))?;
    sync_folder(to)
}

/// Removes a file, durably.
pub(super) fn remove(path: &Path) -> Result<(), WalletError> {
    fs::remove_file(path).map_err(|source| WalletError::io("deleting", path, source))?;
    sync_folder(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_files_are_private_and_never_overwrite() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("a/b");
        make_private_dir(&private).unwrap();
        assert_eq!(mode(&private), 0o700);
        let path = private.join("x.json");
        write_new(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(
            write_new(&path, b"two"),
            Err(WalletError::Exists(_))
        ));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            fs::read_dir(&private).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn a_rename_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write_new(&a, b"a").unwrap();
        write_new(&b, b"b").unwrap();
        assert!(matches!(rename_new(&a, &b), Err(WalletError::Exists(_))));
        assert_eq!(
            (fs::read(&a).unwrap(), fs::read(&b).unwrap()),
            (b"a".into(), b"b".into())
        );
        rename_new(&a, &dir.path().join("c")).unwrap();
        assert!(!a.exists() && dir.path().join("c").exists());
    }

    #[test]
    fn reading_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_new(&path, &[0; 100]).unwrap();
        assert_eq!(read(&path, 100).unwrap().len(), 100);
        assert!(matches!(read(&path, 99), Err(WalletError::Damaged { .. })));
        assert!(matches!(
            read(dir.path(), 99),
            Err(WalletError::Damaged { .. })
        ));
    }
}
