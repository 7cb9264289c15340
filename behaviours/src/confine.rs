//! Running a program that may misbehave, so that nothing of it is left behind.
//!
//! The limits on a process of ours come from a helper: our own binary, called with
//! [`SUBCOMMAND`]. A binary with behaviours hands what follows that word to [`main`] before it does
//! anything else; `agentry_behaviours` has no `unsafe` code, and limits can be set only from within
//! the process that they are to hold for.
//!
//! | part | holds |
//! |---|---|
//! | `order` | what is run, under which limits, and what became of it |
//! | `watch` | the watcher: the parent of all that the program starts |
//! | `tree` | the processes below another, and their memory |
//! | `enter` | what becomes the program: sets its limits and is replaced by it |
//! | [`descriptors`] | what is open in this process, and must not be in a program |
//! | `clear` | removing a folder that a program filled as it liked |
//! | `orphans` | what is left where the watcher itself was killed |
//!
//! ```text
//! agentry ── a socket as standard input ──▶ agentry confine --watch ──▶ agentry confine --enter = the program
//! ```
//!
//! **What is bounded, and by what.**
//! - *The life of everything the program starts*: the watcher is the *subreaper* of its
//!   descendants, so that one that detaches itself (`setsid`, a double fork) becomes a child of the
//!   watcher. When the program has ended, a limit is exceeded, or the other end of the socket is
//!   closed (the task was dropped, or agentry was killed), the watcher stops all descendants, kills
//!   them, and goes on until it has no child any more. `SIGTERM` is not used: what ignores it would
//!   only gain time.
//! - *The number of processes*, and *their resident memory together* (pages that they share count
//!   for each): the watcher looks every 25 ms and ends all when there is more. In between a fork
//!   bomb can make some hundreds; for users other than root, `RLIMIT_NPROC` stops it a little
//!   above what the user ran when it began.
//! - *Private memory of each process* (`RLIMIT_DATA`), *CPU time of each process* (`RLIMIT_CPU`),
//!   *the size of each file* (`RLIMIT_FSIZE`), *open files of each process* (`RLIMIT_NOFILE`): the
//!   kernel, at once. No core files.
//! - *Open files*: it gets the standard streams alone. What else was open when agentry was started is
//!   closed before the program runs.
//! - *New privileges*: none (`no_new_privs`), so a set-uid program is an ordinary one.
//!
//! Where the watcher itself is killed, the program is killed with it (`PR_SET_PDEATHSIG`), and then,
//! by agentry, whatever began with the home directory that the run alone had.
//!
//! **What is not.** It is no sandbox. The program runs as the same user as agentry, sees its files,
//! its processes and the network. One that means harm can kill the watcher and have started others
//! with another home before: those go on. Threads are not counted (their stacks are memory), and
//! neither is the number of files. Run programs that you trust to be clumsy at worst; run agentry
//! as a user of its own.
//!
//! It needs Linux, where descendants can be followed.

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

/// The first argument with which a binary calls itself as the helper.
pub const SUBCOMMAND: &str = "confine";

/// What becomes the watcher. Where a binary does not know [`SUBCOMMAND`], an unknown option ends it
/// sooner than a word would: a test binary would take that for the names of tests.
const WATCH: &str = "--watch";
/// What becomes the program.
#[cfg(target_os = "linux")]
const ENTER: &str = "--enter";

/// The binary that runs, also where its file was replaced by a newer one.
const OURSELVES: &str = "/proc/self/exe";

/// How the helper ends when it cannot do its work (`EX_OSERR` of sysexits).
const FAULT: u8 = 71;

/// How it ends when the program cannot be started, as a shell does.
#[cfg(target_os = "linux")]
const NOT_STARTED: u8 = 127;

/// The helper: takes the arguments that follow [`SUBCOMMAND`]. To be called first of all, while
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
    complain(&"programs can be confined on Linux alone", FAULT)
}

fn complain(fault: &impl std::fmt::Display, code: u8) -> ExitCode {
    use std::io::Write as _;
    // Nobody is left to be told when this fails.
    let _ = writeln!(std::io::stderr(), "agentry {SUBCOMMAND}: {fault}");
    ExitCode::from(code)
}

/// Why the helper could not do its work.
#[cfg(target_os = "linux")]
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// Its arguments are not those that we give it.
    #[error("this is for agentry's own use: it is called with an order and a program")]
    Call,
    /// There is no such program, or it is none.
    #[error("the program cannot be started: {0}")]
    Start(std::io::Error),
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        what: &'static str,
        source: std::io::Error,
    },
}

#[cfg(target_os = "linux")]
impl Fault {
    /// For `map_err`.
    fn system<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            what,
            source: source.into(),
        }
    }
}

/// The command that runs a program under an order. Its standard input must be a socket whose other
/// end is held for as long as the program may run, and from which the
/// [report](order::Report) is read.
pub(crate) fn command(order: &str, program: &std::ffi::OsStr) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(OURSELVES);
    command
        .arg0("agentry")
        .args([SUBCOMMAND, WATCH, order])
        .arg(program)
        .process_group(0);
    command
}
