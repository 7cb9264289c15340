//! The watcher: the parent of all processes that the program starts.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, nice, pidfd_open,
    set_child_subreaper, wait,
};

use super::clear::clear;
use super::order::{Limits, Order, Report, input_in, work_in};
use super::{ENTER, Fault, OURSELVES, SUBCOMMAND, tree};

/// How often the processes and their memory are counted.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How long to wait for killed processes before the next search.
const END_EVERY: Duration = Duration::from_millis(2);

/// What the watcher adds to its niceness. `RLIMIT_NPROC` does not stop root's fork bombs, so only the
/// watcher does, and it must get the CPU among thousands of processes that want it, too.
const NICENESS: i32 = -20;

/// The most rounds of search for new processes while the known ones are stopped. Each round stops
/// the processes that a fork bomb started in the round before; a few rounds find the last.
const STOP_ROUNDS: usize = 64;

/// Runs the program until it ends or the other end of standard input is closed.
pub(super) fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<(), Fault> {
    let text = arguments.next();
    let order = text.as_ref().and_then(|text| text.to_str());
    let order: Option<Order> = order.and_then(|order| serde_json::from_str(order).ok());
    let (Some(text), Some(order), Some(program)) = (text, order, arguments.next()) else {
        return Err(Fault::Call);
    };
    let report = run(&order, |command| {
        command
            .arg(text)
            .arg(getpid().as_raw_pid().to_string())
            .arg(program)
            .args(arguments);
    });
    // Also if the program could not be started.
    let cleared = clear(&order.folder).map_err(Fault::system("removing the folder of the run"));
    if let Some(report) = report? {
        tell(report);
    }
    cleared
}

/// Writes the report. The reader may be gone already.
fn tell(report: Report) {
    if let Ok(text) = serde_json::to_vec(&report) {
        let _ = rustix::io::write(io::stdin(), &text);
    }
}

/// Runs the program; returns none if the other end of standard input was closed.
fn run(order: &Order, arguments: impl FnOnce(&mut Command)) -> Result<Option<Report>, Fault> {
    set_child_subreaper(Some(getpid())).map_err(Fault::system("adopting descendants"))?;
    let path = input_in(&order.folder);
    let input = File::open(&path).map_err(Fault::system("opening the input"))?;
    fs::remove_file(&path).map_err(Fault::system("removing the input"))?;
    let mut command = Command::new(OURSELVES);
    command
        .arg0("agentry")
        .args([SUBCOMMAND, ENTER])
        .stdin(input)
        .current_dir(work_in(&order.folder));
    arguments(&mut command);
    let child = command.spawn();
    let child = child.map_err(Fault::system("starting the program"))?;
    // After the program was started, which would inherit it. Only root may do this.
    let _ = nice(NICENESS);
    let program = Pid::from_child(&child);
    let mut children = Children::new(program);
    let outcome = watch(&mut children, &order.limits);
    end_all(&mut children);
    Ok(match outcome {
        Outcome::Ended => children.ended.map(report),
        Outcome::Exceeded(report) => Some(report),
        Outcome::Abandoned => None,
    })
}

fn report(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exited(code),
        (None, signal) => Report::Signaled(signal.unwrap_or(0)),
    }
}

/// Why the watcher ends the program.
enum Outcome {
    /// The program has ended.
    Ended,
    /// A limit is exceeded.
    Exceeded(Report),
    /// The other end of standard input is closed.
    Abandoned,
}

fn watch(children: &mut Children, limits: &Limits) -> Outcome {
    // Without it, the end of the program is noticed at the next check.
    let program = pidfd_open(children.program, PidfdFlags::empty()).ok();
    loop {
        if wait_for_news(program.as_ref(), LOOK_EVERY) {
            return Outcome::Abandoned;
        }
        children.reap();
        if children.ended.is_some() {
            return Outcome::Ended;
        }
        let processes = tree::descendants(getpid());
        if u64::try_from(processes.len()).is_ok_and(|count| count > limits.processes) {
            return Outcome::Exceeded(Report::Processes);
        }
        if tree::resident(&processes) > limits.memory {
            return Outcome::Exceeded(Report::Memory);
        }
    }
}

/// Waits until the program ends or `at_most` has passed. Returns whether standard input was closed.
fn wait_for_news(program: Option<&OwnedFd>, at_most: Duration) -> bool {
    let stdin = io::stdin();
    // Nothing is ever sent: the socket becomes readable only at its end.
    let mut sources = vec![PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    sources.extend(program.map(|program| PollFd::new(program, PollFlags::IN)));
    if let Ok(at_most) = Timespec::try_from(at_most) {
        // An interruption is handled as a timeout.
        let _ = poll(&mut sources, Some(&at_most));
    }
    sources
        .first()
        .is_some_and(|stdin| !stdin.revents().is_empty())
}

/// The children of the watcher: the program, and processes whose own parent ended.
struct Children {
    program: Pid,
    ended: Option<WaitStatus>,
    none_left: bool,
}

impl Children {
    fn new(program: Pid) -> Self {
        Self {
            program,
            ended: None,
            none_left: false,
        }
    }

    /// Reaps all children that ended.
    fn reap(&mut self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.program => self.ended = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return,
                Err(_) => {
                    self.none_left = true;
                    return;
                }
            }
        }
    }
}

/// Kills every descendant. Without children there are no descendants, since a process whose parent
/// ends becomes a child.
fn end_all(children: &mut Children) {
    loop {
        children.reap();
        if children.none_left {
            return;
        }
        let mut stopped = HashSet::new();
        for _ in 0..STOP_ROUNDS {
            let mut found = tree::descendants(getpid());
            found.retain(|process| stopped.insert(*process));
            if found.is_empty() {
                break;
            }
            signal(&found, Signal::STOP);
        }
        signal(&stopped, Signal::KILL);
        wait_a_moment();
    }
}

/// A process that has ended meanwhile needs no signal.
fn signal(processes: &HashSet<Pid>, signal: Signal) {
    for process in processes {
        let _ = kill_process(*process, signal);
    }
}

fn wait_a_moment() {
    std::thread::sleep(END_EVERY);
}
