//! The socket beside a store: accessible to its owner alone, and reachable whatever the length of
//! its path.
//!
//! The system limits a socket's path to 107 bytes. A longer one is reached by a short name: that of
//! an open file, under `/proc/self/fd`.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};

/// The longest path that a socket's address holds, in bytes.
const LONGEST: usize = 107;

/// Makes the socket, mode 0600, replacing one that is left over. Other users can never connect to
/// it, whatever the umask: it is made in a private folder and moved when it is ready.
///
/// # Errors
/// The folder cannot be written, or the socket not be made.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let folder = tempfile::Builder::new()
        .prefix(".agentry-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(path.parent().unwrap_or(Path::new("/")))?;
    // The umask may have removed permissions that the owner needs.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700))?;
    let made = folder.path().join("s");
    let listener = if is_short(&made) {
        UnixListener::bind(&made)?
    } else {
        let folder = open(folder.path(), OFlags::DIRECTORY)?;
        UnixListener::bind(by_descriptor(&folder).join("s"))?
    };
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    fs::rename(&made, path)?;
    Ok(listener)
}

/// Connects to the socket.
///
/// # Errors
/// There is no socket, nothing serves it, or it belongs to another user.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    if is_short(path) {
        return UnixStream::connect(path).await;
    }
    let socket = open(path, OFlags::empty())?;
    UnixStream::connect(by_descriptor(&socket)).await
}

fn is_short(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() <= LONGEST
}

/// Opens a path only to refer to it (`O_PATH`), which needs no permission on the file itself.
fn open(path: &Path, flags: OFlags) -> io::Result<impl AsRawFd + use<>> {
    #[cfg(target_os = "linux")]
    let flags = flags | OFlags::PATH;
    let flags = flags | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn by_descriptor(file: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder below this one whose path alone is longer than a socket's address.
    fn deep(folder: &Path) -> PathBuf {
        let deep = folder.join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        deep
    }

    #[tokio::test]
    async fn a_socket_is_reached_at_a_path_of_any_length() {
        let dir = tempfile::tempdir().unwrap();
        let deep = deep(dir.path());
        for path in [
            dir.path().join("short"),
            deep.join("name"),
            deep.join("n".repeat(255)),
            dir.path().join("n".repeat(200)),
        ] {
            let missing = connect(&path).await.unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound, "{missing}");
            let listener = bind(&path).unwrap();
            let (connected, accepted) = tokio::join!(connect(&path), listener.accept());
            connected.unwrap();
            accepted.unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600);
            // A leftover socket is replaced.
            drop(listener);
            let refused = connect(&path).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let listener = bind(&path).unwrap();
            let (connected, _) = tokio::join!(connect(&path), listener.accept());
            connected.unwrap();
        }
        // The folders in which they were made are gone.
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 2);
    }
}
