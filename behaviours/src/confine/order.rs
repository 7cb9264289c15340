//! The order to run a program, with its limits, and the report on its end.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How to run a program; passed to the helper as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// The folder of the run, which is removed at the end.
    pub(crate) folder: PathBuf,
    /// The limits.
    pub(crate) limits: Limits,
}

/// The file that the program reads as its standard input, in the folder of the run.
pub(crate) fn input_in(folder: &Path) -> PathBuf {
    folder.join("input")
}

/// The program's working directory, in the folder of the run.
pub(crate) fn work_in(folder: &Path) -> PathBuf {
    folder.join("work")
}

/// The limits of a program. The documentation of the module says what each one applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Resident memory of all processes, and private memory of each, in bytes.
    pub(crate) memory: u64,
    /// The number of processes at the same time.
    pub(crate) processes: u64,
    /// CPU time of each process, in seconds.
    pub(crate) cpu: Option<u64>,
    /// The largest file that is written, in bytes.
    pub(crate) file_size: u64,
    /// Open files of each process.
    pub(crate) open_files: u64,
}

/// How a program ended. The watcher writes it as JSON when no process of the program is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// It ended with this exit code.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
    /// Its processes held more memory than allowed.
    Memory,
    /// There were more processes than allowed.
    Processes,
}
