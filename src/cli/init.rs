//! Running as the first process of a container.
//!
//! A process that loses its parent becomes a child of process 1 and stays a zombie until process 1
//! reaps it. A runtime must not reap children that are not its own: it would lose the exit status
//! of its own programs. Process 1 therefore does nothing else: it starts the binary again as its
//! child, forwards the signals meant for it, reaps all other processes, and ends with the child's
//! exit status.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

/// The running binary, even if its file has been replaced by a newer one.
const OURSELVES: &str = "/proc/self/exe";

/// A shell adds this to the number of the signal that ended a program.
const BY_SIGNAL: i32 = 128;

/// Whether this process is process 1.
pub(super) fn is_first() -> bool {
    getpid().is_init()
}

/// Runs the binary as a child with these arguments, the first of which is its name, and waits for
/// its end.
///
/// # Errors
/// The child cannot be started, or signals cannot be received.
pub(super) fn supervise(arguments: impl IntoIterator<Item = OsString>) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(arguments.into_iter()))
}

async fn serve(mut arguments: impl Iterator<Item = OsString>) -> io::Result<ExitCode> {
    // Before the child exists, so that none of its signals is missed.
    let mut ended = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut user_1 = signal(SignalKind::user_defined1())?;
    let mut user_2 = signal(SignalKind::user_defined2())?;
    // A terminal sends its own signals to all processes of the foreground group, including the
    // child.
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
            // The child may have just ended: the loop notices that below.
            let _ = kill_process(child, signal);
        }
        if let Some(status) = reap(child) {
            return Ok(as_exit_code(status));
        }
    }
}

/// Reaps all children that have ended; returns the exit status of `child` if it is among them.
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
