//! Removal of a folder with arbitrary content.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Removes a folder with its content, whatever its depth and permissions.
///
/// `std::fs::remove_dir_all` recurses, and holds a file open for each level. This function first
/// moves each folder that it finds to the top, so there are never more than two levels.
///
/// # Errors
/// An entry cannot be removed.
pub(crate) fn clear(folder: &Path) -> io::Result<()> {
    let mut moved = 0;
    loop {
        // A folder that is moved to the top meanwhile is in this listing or in the next one.
        let mut empty = true;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            empty = false;
            if entry.file_type()?.is_dir() {
                flatten(&entry.path(), folder, &mut moved)?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        if empty {
            return fs::remove_dir(folder);
        }
    }
}

/// Removes a folder, after moving its subfolders to `top`.
fn flatten(folder: &Path, top: &Path, moved: &mut u64) -> io::Result<()> {
    open(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // Moving a folder rewrites its entry for the parent.
            open(&entry.path())?;
            fs::rename(entry.path(), free_name(top, moved))?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        // A listing may miss entries while the folder changes; another round finds them.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed,
    }
}

fn open(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

fn free_name(top: &Path, moved: &mut u64) -> PathBuf {
    loop {
        *moved += 1;
        let name = top.join(OsString::from(moved.to_string()));
        if fs::symlink_metadata(&name).is_err() {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_all_that_is_in_it() {
        let outside = tempfile::tempdir().unwrap();
        let kept = outside.path().join("kept");
        fs::write(&kept, "x").unwrap();
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("folder");
        fs::create_dir_all(folder.join("1/2/3")).unwrap();
        fs::create_dir_all(folder.join("2/1")).unwrap();
        for index in 0..200 {
            fs::write(folder.join(format!("1/2/file {index}")), "x").unwrap();
            fs::create_dir(folder.join(format!("1/2/folder {index}"))).unwrap();
        }
        std::os::unix::fs::symlink(outside.path(), folder.join("1/link")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("broken")).unwrap();
        for closed in ["1/2/3", "1/2", "2"] {
            fs::set_permissions(folder.join(closed), Permissions::from_mode(0o000)).unwrap();
        }
        clear(&folder).unwrap();
        assert!(!folder.exists());
        assert!(kept.exists());
        assert!(clear(&folder).is_err());
    }
}
