//! Checks the disk that holds the store.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};
use rustix::io::Errno;

use super::super::ExitCode;
use super::report::Check;
use crate::config::Config;

/// Name of the check in the report.
const NAME: &str = "disk";

/// Less free space than this is reported as a warning, in bytes.
const LITTLE: u64 = 1_000_000_000;

/// With less free space than this, the store may refuse any change, in bytes: the largest commits
/// take some megabytes.
const TOO_LITTLE: u64 = 8_000_000;

/// Checks of the disk.
pub(super) fn check(config: &Config) -> Check {
    let path = std::path::absolute(&config.store.path);
    let path = path.as_deref().unwrap_or(&config.store.path);
    // The folder may not exist before the first start.
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let folder = folder.unwrap_or(Path::new("/"));
    let shown = folder.display();
    if let Err(error) = access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        let fix = if error == Errno::ROFS {
            "mount its file system writable, or move `store.path`".to_owned()
        } else {
            format!("`chown` {shown} to this user, or move `store.path`")
        };
        let found = format!("this user cannot write to {shown}: {error}");
        return Check::wrong(NAME, found, fix, ExitCode::Denied);
    }
    match statvfs(folder) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} MB are free in {shown}", free / 1_000_000);
            if free < TOO_LITTLE {
                Check::wrong(
                    NAME,
                    format!("{found}: the store cannot grow"),
                    "free some space, or move `store.path`; the runtime then continues by itself",
                    ExitCode::Io,
                )
            } else if stat.f_files > 0 && stat.f_favail == 0 {
                Check::wrong(
                    NAME,
                    format!("no further file can be created in {shown}: it has no free inodes"),
                    "remove files there, or move `store.path`",
                    ExitCode::Io,
                )
            } else if free < LITTLE {
                Check::warning(
                    NAME,
                    found,
                    "free some space, shorten `store.retention`, or move `store.path`",
                )
            } else {
                Check::well(NAME, found)
            }
        }
        Err(error) => Check::warning(
            NAME,
            format!("reading the free space of {shown}: {error}"),
            "check the file system, or move `store.path`",
        ),
    }
}
