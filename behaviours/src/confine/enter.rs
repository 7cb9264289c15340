//! Sets the limits of the program, and executes it in place of this process.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, nice, set_parent_process_death_signal, setrlimit,
    setsid, umask,
};
use rustix::thread::set_no_new_privs;

use super::order::{Limits, Order};
use super::tree::threads_of_user;
use super::{Fault, descriptors};

/// The niceness of the program, so that agentry gets the CPU first.
const NICENESS: i32 = 5;

/// How many threads `RLIMIT_NPROC` allows beyond the user's current threads and the program's limit
/// of processes: for the program's threads, and for what else the user starts meanwhile. The
/// watcher enforces the limit; this stops a program that starts processes faster than the watcher
/// counts them.
const THREAD_SLACK: u64 = 1024;

/// Executes the program. Returns only if that fails, with the reason.
pub(super) fn main(mut arguments: impl Iterator<Item = OsString>) -> Fault {
    let order = arguments.next();
    let order = order.and_then(|order| serde_json::from_str(order.to_str()?).ok());
    let watcher = arguments.next();
    let watcher = watcher.and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    let (Some(order), Some(watcher), Some(program)) = (order, watcher, arguments.next()) else {
        return Fault::Call;
    };
    if let Err(fault) = confine(&order, watcher) {
        return fault;
    }
    Fault::Start(Command::new(program).args(arguments).exec())
}

fn confine(order: &Order, watcher: i32) -> Result<(), Fault> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(Fault::system("requesting to be killed with the watcher"))?;
    // The watcher may have ended before this request.
    if getppid().map(Pid::as_raw_pid) != Some(watcher) {
        return Err(Fault::Call);
    }
    // A user's own binary may have opened files without close-on-exec.
    descriptors::keep_from_programs();
    setsid().map_err(Fault::system("leaving the terminal"))?;
    set_no_new_privs(true).map_err(Fault::system("setting no_new_privs"))?;
    umask(Mode::RWXG | Mode::RWXO);
    // Both only set priorities under shortage; a system may forbid them.
    let _ = nice(NICENESS);
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    set_limits(&order.limits)
}

fn set_limits(limits: &Limits) -> Result<(), Fault> {
    let threads = threads_of_user()
        .saturating_add(limits.processes)
        .saturating_add(THREAD_SLACK);
    let all = [
        (Resource::Core, Some(0)),
        (Resource::Data, Some(limits.memory)),
        (Resource::Fsize, Some(limits.file_size)),
        (Resource::Nofile, Some(limits.open_files)),
        (Resource::Nproc, Some(threads)),
        (Resource::Cpu, limits.cpu.map(|cpu| cpu.saturating_add(1))),
    ];
    for (resource, limit) in all {
        let Some(limit) = limit else { continue };
        // A lower limit that the operator has set stays in force.
        let most = rustix::process::getrlimit(resource).maximum;
        let limit = Some(most.map_or(limit, |most| most.min(limit)));
        // At the soft limit of CPU time the kernel sends SIGXCPU, which tells the reason; at the
        // hard limit, one second later, it kills the program.
        let current = match resource {
            Resource::Cpu => limit.map(|limit| limit.saturating_sub(1).max(1)),
            _ => limit,
        };
        let limits = Rlimit {
            current,
            maximum: limit,
        };
        setrlimit(resource, limits).map_err(Fault::system("setting a limit"))?;
    }
    Ok(())
}
