//! Running of a program that may misbehave, with cleanup of everything that it started.
//!
//! A helper sets the limits: the same binary, called with [`SUBCOMMAND`]. A binary with behaviours
//! passes the arguments that follow that word to [`main`] before it does anything else. The helper
//! is needed because a process can set these limits only for itself without `unsafe` code, which
//! this crate does not have.
//!
//! | module | contents |
//! |---|---|
//! | `order` | the program to run, its limits, and the report on its end |
//! | `watch` | the watcher: the parent of all processes that the program starts |
//! | `tree` | the descendants of a process, and their memory |
//! | `enter` | sets the limits and executes the program |
//! | [`descriptors`] | keeps the file descriptors of this process out of programs |
//! | `clear` | removes a folder with any content |
//! | `orphans` | kills the processes that remain if the watcher was killed |
//!
//! ```text
//! agentry ── a socket as standard input ──▶ agentry confine --watch ──▶ agentry confine --enter = the program
//! ```
//!
//! **What is limited, and how.**
//! - *The lifetime of everything that the program starts*: the watcher is the *subreaper* of its
//!   descendants, so a process that detaches itself (`setsid`, a double fork) becomes a child of
//!   the watcher. When the program has ended, a limit is exceeded, or the other end of the socket
//!   is closed (the task was dropped, or agentry was killed), the watcher stops and kills all
//!   descendants until it has no children. It does not use `SIGTERM`, which would only give a
//!   process that ignores it more time.
//! - *The number of processes*, and *their total resident memory* (shared pages count for each
//!   process): the watcher checks both every 25 ms, and kills all processes when a limit is
//!   exceeded. Between two checks a fork bomb can start some hundreds of processes. For users other
//!   than root, `RLIMIT_NPROC` stops it slightly above what the user ran when the program started.
//!   Root has no such limit: there the watcher runs with the highest priority instead.
//! - *Private memory of each process* (`RLIMIT_DATA`), *CPU time of each process* (`RLIMIT_CPU`),
//!   *the size of each file* (`RLIMIT_FSIZE`), *open files of each process* (`RLIMIT_NOFILE`): the
//!   kernel enforces these at once. There are no core files.
//! - *Inherited files*: the program gets the standard streams only. Other files that were open when
//!   agentry started are closed before the program runs.
//! - *Privileges*: the program cannot gain any (`no_new_privs`), so a set-uid program runs as an
//!   ordinary one.
//!
//! If the watcher itself is killed, the kernel kills the program (`PR_SET_PDEATHSIG`). agentry then
//! kills every process that was started with the run's own home directory.
//!
//! **What is not limited.** This is not a sandbox. The program runs as the same user as agentry,
//! and has access to its files, its processes and the network. A malicious program can kill the
//! watcher after it started processes with another home directory: those continue to run. Threads
//! are not counted (their stacks count as memory), nor is the number of files. Run only programs
//! that you trust not to be malicious, and run agentry as a user of its own.
//!
//! It needs Linux, where the descendants of a process can be tracked.

pub(crate) mod clear;
pub mod descriptors;
#[cfg(target_os = "linux")]
mod enter;
pub(crate) mod order;
#[cfg(target_os = "linux")]
pub(crate) mod orphans;
#[cfg(target_os = "linux")]
mod tree;
#[cfg(target_os = "linux")]
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

/// The first argument of the helper.
pub const SUBCOMMAND: &str = "confine";

/// Starts the watcher. It is an option, so that a binary that does not know [`SUBCOMMAND`] ends
/// with an error: a test binary would read a plain word as the name of a test.
const WATCH: &str = "--watch";
/// Starts the program.
#[cfg(target_os = "linux")]
const ENTER: &str = "--enter";

/// The running binary, even if its file was replaced by a newer one.
const OURSELVES: &str = "/proc/self/exe";

/// The helper's exit code when it cannot do its work (`EX_OSERR` of sysexits).
const FAULT: u8 = 71;

/// The helper's exit code when the program cannot be started: that of a shell.
#[cfg(target_os = "linux")]
const NOT_STARTED: u8 = 127;

/// Runs the helper with the arguments that follow [`SUBCOMMAND`]. Call it first in `main`, while
/// the process has one thread.
#[cfg(target_os = "linux")]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let done = match arguments
        .next()
        .as_deref()
        .and_then(std::ffi::OsStr::to_str)
    {
        Some(WATCH) => watch::main(arguments),
        Some(ENTER) => Err(enter::main(arguments)),
        _ => Err(Fault::Call),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault @ Fault::Start(_)) => complain(&fault, NOT_STARTED),
        Err(fault) => complain(&fault, FAULT),
    }
}

/// The helper, which needs Linux.
#[cfg(not(target_os = "linux"))]
pub fn main(_: impl IntoIterator<Item = OsString>) -> ExitCode {
    complain(&"programs can be confined on Linux only", FAULT)
}

fn complain(fault: &impl std::fmt::Display, code: u8) -> ExitCode {
    use std::io::Write as _;
    // If this fails, there is no other place to report it.
    let _ = writeln!(std::io::stderr(), "agentry {SUBCOMMAND}: {fault}");
    ExitCode::from(code)
}

/// Why the helper could not do its work.
#[cfg(target_os = "linux")]
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// Its arguments are invalid.
    #[error("this command is internal to agentry: its arguments are an order and a program")]
    Call,
    /// The program does not exist or is not executable.
    #[error("the program cannot be started: {0}")]
    Start(std::io::Error),
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        what: &'static str,
        source: std::io::Error,
    },
}

#[cfg(target_os = "linux")]
impl Fault {
    /// Makes a function for `map_err`.
    fn system<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            what,
            source: source.into(),
        }
    }
}

/// The command that runs a program as an order describes. Its standard input must be a socket. The
/// caller holds the other end for as long as the program may run, and reads the
/// [report](order::Report) from it.
pub(crate) fn command(order: &str, program: &std::ffi::OsStr) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(OURSELVES);
    command
        .arg0("agentry")
        .args([SUBCOMMAND, WATCH, order])
        .arg(program)
        .process_group(0);
    command
}
