//! Where PostgreSQL's programs are, and who may run them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Why no server can be started on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPostgres {
    /// The programs are missing.
    #[error(
        "PostgreSQL 15 or later is not installed: install it (Debian and Ubuntu: `apt-get install \
         postgresql`; no server needs to run), or put its programs `postgres` and `initdb` on the PATH"
    )]
    Programs,
    /// PostgreSQL refuses to run as root.
    #[error(
        "PostgreSQL does not run as root, and there is no user `postgres` to run it as: install the \
         package `postgresql`, which makes it, or start this as another user"
    )]
    User,
}

/// Whether servers can be started here.
///
/// # Errors
/// [`NoPostgres`].
pub fn check() -> Result<(), NoPostgres> {
    found().and(owner()).map(|_| ())
}

/// What the server says of its version.
///
/// # Panics
/// It is not [installed](check).
pub fn version() -> String {
    run(program("postgres").arg("--version"))
}

/// The folder with PostgreSQL's programs: the newest.
fn found() -> Result<&'static Path, NoPostgres> {
    static BINARIES: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = BINARIES.get_or_init(|| {
        let packages = fs::read_dir("/usr/lib/postgresql");
        let packages = packages.into_iter().flatten().flatten();
        let mut found: Vec<_> = packages.map(|entry| entry.path().join("bin")).collect();
        found.sort_by_key(|path| {
            let version = path.parent().and_then(Path::file_name);
            let version = version.and_then(|name| name.to_str());
            version.and_then(|version| version.parse::<u32>().ok())
        });
        let paths = std::env::var_os("PATH").unwrap_or_default();
        found.reverse();
        found.extend(std::env::split_paths(&paths));
        let has = |path: &PathBuf| path.join("postgres").exists() && path.join("initdb").exists();
        found.into_iter().find(has)
    });
    found.as_deref().ok_or(NoPostgres::Programs)
}

/// The path of one of PostgreSQL's programs.
pub(super) fn binary(name: &str) -> PathBuf {
    found().unwrap_or_else(|error| panic!("{error}")).join(name)
}

/// One of PostgreSQL's programs.
pub(super) fn program(name: &str) -> Command {
    let mut program = as_owner(binary(name), Path::new("/"));
    program
        .env("PGCONNECT_TIMEOUT", "10")
        .env_remove("PGPASSWORD")
        // Ctrl-C ends what uses them first.
        .process_group(0);
    program
}

/// A program that runs as the user that may run a server: root may not.
pub(super) fn as_owner(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner().unwrap_or_else(|error| panic!("{error}")) {
        command.uid(user).gid(group);
    }
    command.current_dir(folder).env("LC_ALL", "C.UTF-8");
    command
}

/// The user `postgres` if this is root.
fn owner() -> Result<Option<(u32, u32)>, NoPostgres> {
    static OWNER: OnceLock<Result<Option<(u32, u32)>, NoPostgres>> = OnceLock::new();
    *OWNER.get_or_init(|| {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let line = users.lines().find(|line| line.starts_with("postgres:"));
        let line = line.ok_or(NoPostgres::User)?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
        Ok(Some((fields.next().unwrap(), fields.next().unwrap())))
    })
}

/// Gives a file to the user that runs the servers.
pub(super) fn own(path: &Path) {
    if let Some((user, group)) = owner().unwrap_or_else(|error| panic!("{error}")) {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// Runs a program to its end and returns what it has printed.
pub(super) fn run(command: &mut Command) -> String {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    stdout.unwrap().read_to_string(&mut out).unwrap();
    stderr.unwrap().read_to_string(&mut err).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?}: {err}");
    out.trim_end().to_owned()
}
