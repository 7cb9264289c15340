//! What the system must allow this process, looked at before anything is begun: a runtime that gets
//! half of what it needs would fail later, at some place that cannot tell why.

use std::sync::mpsc;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files of a runtime by itself: its store and its readers, sockets, its threads' queues, 64
/// connections to each of two nodes, some to its status port.
const FILES: u64 = 256;

/// Open files of a task, or of a behaviour that is a program: its pipes, its folder, its service.
const FILES_EACH: u64 = 8;

/// Open files of an embedded node.
const FILES_OF_A_NODE: u64 = 128;

/// The soft limit on open files is raised up to this, not to whatever the hard one may be: there are
/// programs that close each file that they might have, and children inherit the limit.
const FILES_ENOUGH: u64 = 8_192;

/// Threads of a runtime, beside those that there are for each core.
const THREADS: usize = 24;

/// Threads for each core: workers, arbiters, those of HTTP servers.
const THREADS_A_CORE: usize = 3;

/// The address space that a runtime needs at least, in bytes: the stacks of its threads and what
/// they allocate. One that holds less ends at the first allocation that fails.
const ADDRESS_SPACE: u64 = 768 << 20;

/// What is about to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tasks that may run at a time.
    pub tasks: usize,
    /// Behaviours that are programs.
    pub programs: usize,
    /// Embedded nodes in this process.
    pub embedded_nodes: usize,
}

impl Needs {
    /// How many files may have to be open.
    pub fn files(&self) -> u64 {
        let each = self.tasks.saturating_add(self.programs) as u64;
        let nodes = (self.embedded_nodes as u64).saturating_mul(FILES_OF_A_NODE);
        FILES
            .saturating_add(nodes)
            .saturating_add(each.saturating_mul(FILES_EACH))
    }
}

/// What the system does not allow.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Too few open files.
    #[error(
        "this process may have {limit} files open at a time, and needs {needed}: raise the limit, as with `ulimit -n {needed}`, LimitNOFILE={needed} of a systemd unit, or --ulimit nofile={needed} of a container"
    )]
    Files {
        /// The hard limit.
        limit: u64,
        /// What is needed.
        needed: u64,
    },
    /// Too little memory that may be asked for.
    #[error(
        "this process may use {limit} MB of {what}, and needs {needed} MB: raise the limit (`ulimit {flag}`), or bound its memory otherwise, as with MemoryMax= of a systemd unit"
    )]
    Memory {
        /// What is limited.
        what: &'static str,
        /// The option of the shell's `ulimit`.
        flag: &'static str,
        /// The limit, in MB.
        limit: u64,
        /// What is needed, in MB.
        needed: u64,
    },
    /// Too few threads.
    #[error(
        "the system gives this process {started} further threads, and it needs {needed} ({source}): raise the limit on this user's processes (`ulimit -u`), TasksMax= of the systemd unit, or the container's limit on processes"
    )]
    Threads {
        /// How many could be started.
        started: usize,
        /// How many are needed.
        needed: usize,
        /// Why no more.
        source: std::io::Error,
    },
}

/// Checks that there is what is needed, and raises what may be raised.
///
/// # Errors
/// What is missing, how much of it is needed, and how to get it.
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

/// Starts so many threads at a time and lets them go: the libraries that start them later panic where
/// they get none.
fn threads(needed: usize) -> Result<(), LimitError> {
    let mut started = Vec::with_capacity(needed);
    let mut refused = None;
    for _ in 0..needed {
        let (hold, held) = mpsc::channel::<()>();
        let wait = move || {
            // It ends when the other side goes.
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
        // It does nothing but wait, so it has not panicked.
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
