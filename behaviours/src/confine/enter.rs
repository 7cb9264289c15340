//! What becomes the program: sets its limits and is replaced by it.

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

/// How far the program stands back behind agentry when both want to compute.
const NICENESS: i32 = 5;

/// How many threads above those that the user has, and those that the program may have as
/// processes, `RLIMIT_NPROC` allows: the threads of the program, and what else the user starts
/// meanwhile. The watcher's count is the limit; this stops what outruns the watcher.
const THREAD_SLACK: u64 = 1024;

/// Becomes the program. Returns only what hindered it.
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
        .map_err(Fault::system("asking to be ended with the watcher"))?;
    // It may have ended before that was asked.
    if getppid().map(Pid::as_raw_pid) != Some(watcher) {
        return Err(Fault::Call);
    }
    // A binary of one's own may have opened files in ways of its own.
    descriptors::keep_from_programs();
    setsid().map_err(Fault::system("leaving the terminal"))?;
    set_no_new_privs(true).map_err(Fault::system("giving up new privileges"))?;
    umask(Mode::RWXG | Mode::RWXO);
    // Both only say who comes first where there is not enough; a system may forbid them.
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
        // What the operator's own limit forbids stays forbidden.
        let most = rustix::process::getrlimit(resource).maximum;
        let limit = Some(most.map_or(limit, |most| most.min(limit)));
        // At the first limit of CPU time a signal says why; at the second, a second later, the
        // program is ended.
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
