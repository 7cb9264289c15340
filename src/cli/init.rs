//! Being the first process of a container.
//!
//! Whatever loses its parent becomes a child of process 1, and stays a zombie until that one asks how
//! it ended. A runtime must not ask for children that are not its own: it would take away how its
//! programs ended. So process 1 does nothing else: it starts the binary again as its child, passes on
//! the signals that are for it, asks for all others, and ends as it does.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

/// The binary that runs, also where its file was replaced by a newer one.
const OURSELVES: &str = "/proc/self/exe";

/// What a shell adds to a signal's number where that ended a program.
const BY_SIGNAL: i32 = 128;

/// Whether this is the first process.
pub(super) fn is_first() -> bool {
    getpid().is_init()
}

/// Runs the binary with these arguments, the first of which is its name, as a child, to its end.
///
/// # Errors
/// It cannot be started, or signals cannot be listened for.
pub(super) fn supervise(arguments: impl IntoIterator<Item = OsString>) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(arguments.into_iter()))
}

async fn serve(mut arguments: impl Iterator<Item = OsString>) -> io::Result<ExitCode> {
    // Before there is a child, so that none of its signals is missed.
    let mut ended = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut user_1 = signal(SignalKind::user_defined1())?;
    let mut user_2 = signal(SignalKind::user_defined2())?;
    // A terminal sends its own signals to all processes in front of it, the child among them.
    let has_terminal = File::open("/dev/tty").is_ok();

    let mut command = Command::new(OURSELVES);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let child = command.args(arguments).spawn()?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let child = child.ok_or_else(|| io::Error::other("the child has no process id"))?;
    loop {
        let pass_on = tokio::select! {
            _ = ended.recv() => None,
            _ = terminate.recv() => Some(Signal::TERM),
            _ = hangup.recv() => Some(Signal::HUP),
            _ = interrupt.recv() => (!has_terminal).then_some(Signal::INT),
            _ = quit.recv() => (!has_terminal).then_some(Signal::QUIT),
            _ = user_1.recv() => Some(Signal::USR1),
            _ = user_2.recv() => Some(Signal::USR2),
        };
        if let Some(signal) = pass_on {
            // It may have ended in this moment: that is seen below.
            let _ = kill_process(child, signal);
        }
        if let Some(status) = reap(child) {
            return Ok(as_exit_code(status));
        }
    }
}

/// Asks for all that have ended; returns how the child did, if it is among them.
fn reap(child: Pid) -> Option<WaitStatus> {
    let mut status = None;
    while let Ok(Some((pid, how))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            status = Some(how);
        }
    }
    status
}

fn as_exit_code(status: WaitStatus) -> ExitCode {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| BY_SIGNAL + signal));
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(u8::MAX),
    )
}
