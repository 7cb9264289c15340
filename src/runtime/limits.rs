//! The operating-system limits that the process needs, checked before anything starts: a runtime
//! that gets less would fail later, in a place that cannot name the cause.

use std::sync::mpsc;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The open files of a runtime itself: its store and its readers, sockets, its threads' queues, 64
/// connections to each of two nodes, some to its status port.
const FILES: u64 = 256;

/// The open files of a task, or of a behaviour that is a program: its pipes, its folder, its
/// service.
const FILES_EACH: u64 = 8;

/// The open files of an embedded node.
const FILES_OF_A_NODE: u64 = 128;

/// The soft limit on open files is raised up to this value, not to the hard limit: some programs
/// close every file descriptor up to the limit, and children inherit it.
const FILES_ENOUGH: u64 = 8_192;

/// The threads of a runtime, beside those per core.
const THREADS: usize = 24;

/// The threads per core: workers, arbiters, threads of HTTP servers.
const THREADS_A_CORE: usize = 3;

/// The least address space that a runtime needs, in bytes: the stacks of its threads, and their
/// allocations. A runtime that gets less aborts at the first failing allocation.
const ADDRESS_SPACE: u64 = 768 << 20;

/// What the process is about to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The number of tasks that may run at a time.
    pub tasks: usize,
    /// The number of behaviours that are programs.
    pub programs: usize,
    /// The number of embedded nodes in this process.
    pub embedded_nodes: usize,
}

impl Needs {
    /// The number of files that may have to be open.
    pub fn files(&self) -> u64 {
        let each = self.tasks.saturating_add(self.programs) as u64;
        let nodes = (self.embedded_nodes as u64).saturating_mul(FILES_OF_A_NODE);
        FILES
            .saturating_add(nodes)
            .saturating_add(each.saturating_mul(FILES_EACH))
    }
}

/// A system limit that is too low.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The limit on open files.
    #[error(
        "this process may have {limit} files open at a time, and needs {needed}: raise the limit, as with `ulimit -n {needed}`, LimitNOFILE={needed} of a systemd unit, or --ulimit nofile={needed} of a container"
    )]
    Files {
        /// The hard limit.
        limit: u64,
        /// The number needed.
        needed: u64,
    },
    /// The limit on memory.
    #[error(
        "this process may use {limit} MB of {what}, and needs {needed} MB: raise the limit (`ulimit {flag}`), or bound its memory otherwise, as with MemoryMax= of a systemd unit"
    )]
    Memory {
        /// The limited resource.
        what: &'static str,
        /// The option of the shell's `ulimit`.
        flag: &'static str,
        /// The limit, in MB.
        limit: u64,
        /// What is needed, in MB.
        needed: u64,
    },
    /// The limit on threads.
    #[error(
        "this process can start {started} more threads, and needs {needed} ({source}): raise the limit on this user's processes (`ulimit -u`), TasksMax= of the systemd unit, or the container's limit on processes"
    )]
    Threads {
        /// The number of threads that could be started.
        started: usize,
        /// The number needed.
        needed: usize,
        /// Why no more could be started.
        source: std::io::Error,
    },
}

/// Checks the limits, and raises those that may be raised.
///
/// # Errors
/// A limit that is too low, the value needed, and how to raise it.
pub fn prepare(needs: &Needs) -> Result<(), LimitError> {
    files(needs.files())?;
    memory(Resource::As, "address space", "-v")?;
    memory(Resource::Data, "private memory", "-d")?;
    threads(threads_needed())
}

fn files(needed: u64) -> Result<(), LimitError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum
        .map_or(FILES_ENOUGH, |most| most.min(FILES_ENOUGH))
        .max(needed);
    if current.is_none_or(|now| now >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    let may = maximum.is_none_or(|most| wanted <= most);
    if may && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    match current {
        Some(limit) if limit < needed => Err(LimitError::Files {
            limit: maximum.unwrap_or(limit),
            needed,
        }),
        _ => Ok(()),
    }
}

fn memory(resource: Resource, what: &'static str, flag: &'static str) -> Result<(), LimitError> {
    match getrlimit(resource).current {
        Some(limit) if limit < ADDRESS_SPACE => Err(LimitError::Memory {
            what,
            flag,
            limit: limit >> 20,
            needed: ADDRESS_SPACE >> 20,
        }),
        _ => Ok(()),
    }
}

fn threads_needed() -> usize {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_mul(THREADS_A_CORE).saturating_add(THREADS)
}

/// Starts this many threads at a time and ends them: the libraries that start threads later panic
/// if they get none.
fn threads(needed: usize) -> Result<(), LimitError> {
    let mut started = Vec::with_capacity(needed);
    let mut refused = None;
    for _ in 0..needed {
        let (hold, held) = mpsc::channel::<()>();
        let wait = move || {
            // The thread ends when the other side is dropped.
            let _ = held.recv();
        };
        match thread::Builder::new().spawn(wait) {
            Ok(thread) => started.push((hold, thread)),
            Err(source) => {
                refused = Some(source);
                break;
            }
        }
    }
    let count = started.len();
    for (hold, thread) in started {
        drop(hold);
        // The thread only waits, so it has not panicked.
        drop(thread.join());
    }
    match refused {
        Some(source) => Err(LimitError::Threads {
            started: count,
            needed,
            source,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_may_run_the_more_files_are_needed() {
        let alone = Needs::default().files();
        let many = Needs {
            tasks: 100,
            programs: 10,
            embedded_nodes: 1,
        };
        assert_eq!(many.files() - alone, 110 * FILES_EACH + FILES_OF_A_NODE);
        assert!(
            alone < 1_024,
            "the usual limit suffices for a small runtime"
        );
    }

    #[test]
    fn there_are_threads_here() {
        threads(threads_needed()).unwrap();
    }
}
