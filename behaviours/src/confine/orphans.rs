//! The processes that remain of a program whose watcher was killed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The most rounds of search. Each round kills the processes that it finds; further rounds are
/// needed only if processes start others meanwhile.
const ROUNDS: usize = 100;

/// The pause between two rounds, for killed processes to end.
const PAUSE: Duration = Duration::from_millis(5);

/// Kills the processes that were started with this folder as their home directory, which only those
/// of one run are. Returns whether none is left. It does not find a process that was started with
/// another environment.
pub(crate) fn end(home: &Path) -> bool {
    let wanted = [b"HOME=", home.as_os_str().as_bytes()].concat();
    for _ in 0..ROUNDS {
        let found = with_variable(&wanted);
        if found.is_empty() {
            return true;
        }
        for process in found {
            // A process that has ended meanwhile needs no signal.
            let _ = kill_process(process, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
    false
}

fn with_variable(wanted: &[u8]) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| {
        let pid = pid(&entry.file_name())?;
        // The files of other users are not readable; those of processes that ended are empty.
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == wanted).then_some(pid)
    });
    processes.collect()
}

fn pid(name: &OsStr) -> Option<Pid> {
    name.to_str()?.parse().ok().and_then(Pid::from_raw)
}
