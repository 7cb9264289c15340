//! One run of a program: its start, its output and its result.

use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agentry_sdk::{Desk, Task, TaskError};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::UnixStream;
use tokio::process::Child;

use super::{Command, notes};
use crate::confine;
use crate::confine::order::{Order, Report, input_in, work_in};

/// The exit code that requests another attempt: `EX_TEMPFAIL` of sysexits.
const TEMPORARY: i32 = 75;

/// The byte order mark that some programs write first.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// The longest report of the watcher, in bytes.
const REPORT: u64 = 1 << 10;

/// A running program with its watcher. Dropping it makes the watcher kill all processes and remove
/// the folder.
struct Running {
    /// The watcher.
    child: Child,
    /// The socket whose end tells the watcher to stop.
    lifeline: UnixStream,
    folder: PathBuf,
}

impl Drop for Running {
    /// Resumes the watcher, which the program may have stopped, so that it notices the end.
    fn drop(&mut self) {
        let watcher = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(watcher) = watcher.and_then(Pid::from_raw) {
            // The process exists until the runtime waits for the child.
            let _ = kill_process(watcher, Signal::CONT);
        }
    }
}

/// Runs the program for a task; returns its output.
pub(super) async fn run(command: &Command, task: &Task, desk: &Desk) -> Result<String, TaskError> {
    let mut running = start(command, task).await.map_err(|error| {
        tracing::warn!(
            agent = %task.agent, kind = %task.kind, task = %task.key, program = %command.program.display(),
            %error, "a program could not be started"
        );
        let public = "the program could not be started";
        TaskError::transient("not-started", format!("{public}: {error}")).with_public(public)
    })?;
    let ended = follow(&mut running, command.max_output, desk).await;
    // Dropping `running` ends the program.
    let (output, notes, end) = match ended {
        Ok((output, notes, report)) => (output, notes, End::Reported(report)),
        Err(end) => (Vec::new(), String::new(), end),
    };
    if matches!(end, End::Interrupted) {
        clean_up(task, running).await;
    }
    let result = result_of(command, output, end);
    result.map_err(|error| {
        tracing::warn!(
            agent = %task.agent, kind = %task.kind, task = %task.key, program = %command.program.display(),
            attempt = task.attempt, code = error.code(), again = error.is_transient(),
            stderr = ?notes, "a program failed: {}", error.message()
        );
        for_operator(&error, &notes)
    })
}

/// A failure with the last part of standard error, which the operator sees and the submitter does
/// not.
fn for_operator(error: &TaskError, notes: &str) -> TaskError {
    let public = error.message();
    let reason = match notes {
        "" => public.to_owned(),
        notes => format!("{public}; it wrote: {notes}"),
    };
    let failed = if error.is_transient() {
        TaskError::transient(error.code(), reason)
    } else {
        TaskError::permanent(error.code(), reason)
    };
    failed.with_public(public)
}

/// How a run ended.
#[derive(Clone, Copy)]
enum End {
    /// As the watcher reports.
    Reported(Report),
    /// Its output exceeded the limit.
    Output,
    /// Its watcher was killed.
    Interrupted,
}

fn result_of(command: &Command, output: Vec<u8>, end: End) -> Result<String, TaskError> {
    let limits = &command.limits;
    let exceeded = |code: &str, what: String| {
        let message = format!("the program was killed: {what}");
        Err(TaskError::permanent(code, message))
    };
    match end {
        End::Reported(Report::Exited(0)) => match String::from_utf8(output) {
            Ok(mut output) => {
                // The byte order mark is not part of the result.
                if output.starts_with(BYTE_ORDER_MARK) {
                    output.drain(..BYTE_ORDER_MARK.len_utf8());
                }
                Ok(output)
            }
            Err(_) => Err(TaskError::permanent(
                "bad-output",
                "the program's output is not valid UTF-8",
            )),
        },
        End::Reported(Report::Exited(TEMPORARY)) => Err(TaskError::transient(
            "temporary",
            "the program requested another attempt",
        )),
        End::Reported(Report::Exited(code)) => {
            let message = format!("the program failed with exit code {code}");
            Err(TaskError::permanent("exit", message))
        }
        End::Reported(Report::Signaled(signal)) if signal == XCPU => {
            exceeded("cpu-limit", "it exceeded its limit of CPU time".to_owned())
        }
        End::Reported(Report::Signaled(signal)) if signal == XFSZ => exceeded(
            "file-limit",
            "it exceeded its limit of file size".to_owned(),
        ),
        End::Reported(Report::Signaled(signal)) => {
            let message = format!("signal {signal} ended the program");
            Err(TaskError::permanent("killed", message))
        }
        End::Reported(Report::Memory) => exceeded(
            "memory-limit",
            format!("it used more than {} bytes of memory", limits.memory),
        ),
        End::Reported(Report::Processes) => exceeded(
            "process-limit",
            format!("it ran more than {} processes", limits.processes),
        ),
        End::Output => exceeded(
            "output-limit",
            format!("it wrote more than {} bytes", command.max_output),
        ),
        End::Interrupted => Err(TaskError::transient(
            "watcher-lost",
            "the program and its watcher were killed from outside",
        )),
    }
}

/// The signal that the kernel sends at `RLIMIT_CPU`.
const XCPU: i32 = Signal::XCPU.as_raw();
/// The signal that the kernel sends at `RLIMIT_FSIZE`.
const XFSZ: i32 = Signal::XFSZ.as_raw();

async fn start(command: &Command, task: &Task) -> io::Result<Running> {
    let (scratch, input) = (command.scratch.clone(), super::input(task));
    let folder = tokio::task::spawn_blocking(move || prepare(&scratch, &input));
    let folder = folder.await.map_err(io::Error::other)??;
    let order = Order {
        folder: folder.path().to_owned(),
        limits: command.limits,
    };
    let text = serde_json::to_string(&order).map_err(io::Error::other)?;
    let mut watcher = confine::command(&text, command.program.as_os_str());
    watcher
        .args(&command.args)
        .env_clear()
        .envs(command.environment(task, &work_in(&order.folder)))
        .current_dir("/")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (child, lifeline) = crate::start::alone(|| {
        let (lifeline, theirs) = StdUnixStream::pair()?;
        watcher.stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = watcher.spawn()?;
        // It holds the other end of the lifeline.
        drop(watcher);
        io::Result::Ok((child, lifeline))
    })?;
    lifeline.set_nonblocking(true)?;
    let lifeline = UnixStream::from_std(lifeline)?;
    // From here on the watcher removes the folder.
    let folder = folder.keep();
    Ok(Running {
        child,
        lifeline,
        folder,
    })
}

/// Makes the folder of a run, accessible to its owner only, with the input and an empty working
/// directory.
fn prepare(scratch: &Path, input: &[u8]) -> io::Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix("agentry-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(scratch)?;
    std::fs::write(input_in(folder.path()), input)?;
    std::fs::create_dir(work_in(folder.path()))?;
    Ok(folder)
}

/// Does the cleanup of a watcher that was killed.
async fn clean_up(task: &Task, mut running: Running) {
    let watcher = running.child.wait().await.ok();
    let folder = std::mem::take(&mut running.folder);
    let cleaned = tokio::task::spawn_blocking(move || {
        let ended = end_orphans(&work_in(&folder));
        (ended, confine::clear::clear(&folder))
    });
    if let Ok((ended, removed)) = cleaned.await {
        tracing::warn!(
            agent = %task.agent, task = %task.key, ?watcher, ended, ?removed,
            "the watcher of a program ended before the program; its processes and files were \
             cleaned up. If this is a custom binary, it must call \
             agentry_behaviours::confine::main, as agentry::cli::main_with does"
        );
    }
}

#[cfg(target_os = "linux")]
fn end_orphans(home: &Path) -> bool {
    confine::orphans::end(home)
}

/// Programs run on Linux only.
#[cfg(not(target_os = "linux"))]
fn end_orphans(_: &Path) -> bool {
    true
}

/// The result of a run: the output, the last part of standard error, and the watcher's report.
type Ended = (Vec<u8>, String, Report);

/// Reads all output until the watcher has ended.
async fn follow(running: &mut Running, max_output: usize, desk: &Desk) -> Result<Ended, End> {
    let stdout = running.child.stdout.take();
    let stderr = running.child.stderr.take();
    let output = async {
        match stdout {
            Some(stdout) => read_output(stdout, max_output).await,
            None => Ok(Vec::new()),
        }
    };
    let notes = async {
        Ok(match stderr {
            Some(stderr) => notes::read(stderr, desk).await,
            None => String::new(),
        })
    };
    let report = async {
        // Without a watcher, a process that the program started can hold the output open forever.
        let report = read_report(&mut running.lifeline).await;
        report.ok_or(End::Interrupted)
    };
    let ended = async { Ok(running.child.wait().await) };
    let (output, notes, report, _) = tokio::try_join!(output, notes, report, ended)?;
    Ok((output, notes, report))
}

async fn read_output(from: impl AsyncRead + Unpin, max: usize) -> Result<Vec<u8>, End> {
    let mut output = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    // A read error ends the program, and the watcher reports that.
    let _ = from.take(bound).read_to_end(&mut output).await;
    if output.len() > max {
        return Err(End::Output);
    }
    Ok(output)
}

async fn read_report(from: &mut UnixStream) -> Option<Report> {
    let mut report = Vec::new();
    from.take(REPORT).read_to_end(&mut report).await.ok()?;
    serde_json::from_slice(&report).ok()
}
