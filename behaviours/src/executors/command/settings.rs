//! The keys of `command` in agents.toml, and the search for the program.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use agentry_sdk::protocol::command::MediaType;
use agentry_sdk::task::MAX_OUTPUT_BYTES;
use agentry_sdk::{ConfigureError, Setup};
use serde::Deserialize;

use super::Command;
use crate::confine::order::Limits;
use crate::units::{Bytes, Time, within};

/// The search path for programs, unless `env` sets `PATH`.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The keys of `command` in agents.toml.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSettings {
    /// The program: a path, relative to the folder of agents.toml, if it contains a slash;
    /// otherwise a name that is searched for in `PATH` of the program's environment.
    pub program: String,
    /// Its arguments, passed as they are. Default: none.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables to add to the environment that every program gets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The names of variables to pass on from agentry's own environment, if they are set. Use it
    /// for secrets.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// The limit of the total resident memory of all its processes, and of the private memory of
    /// each. From 1 MiB. Default 1 GiB.
    #[serde(default = "default_memory")]
    pub memory: Bytes,
    /// The most processes at the same time. From 1 to 10,000. Default 32.
    #[serde(default = "default_processes")]
    pub processes: u64,
    /// The largest output. From 0 to 16 MiB. Default 1 MiB.
    #[serde(default = "default_max_output")]
    pub max_output: Bytes,
    /// The limit of CPU time of each process, in whole seconds. Default: only the time limit
    /// applies.
    pub cpu: Option<Time>,
    /// The largest file that it may write. Default 256 MiB.
    #[serde(default = "default_file_size")]
    pub file_size: Bytes,
    /// The most open files of each process. From 8 to 1,048,576. Default 256.
    #[serde(default = "default_open_files")]
    pub open_files: u64,
    /// The folder in which the working directory of each run is made. Default: the system's folder
    /// for temporary files.
    pub scratch: Option<PathBuf>,
    /// The media type of the output. Default `text/plain; charset=utf-8`.
    #[serde(default = "default_media_type")]
    pub media_type: String,
}

impl std::fmt::Debug for CommandSettings {
    /// Omits the values of the environment, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandSettings")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

const fn default_memory() -> Bytes {
    Bytes(1 << 30)
}

const fn default_processes() -> u64 {
    32
}

const fn default_max_output() -> Bytes {
    Bytes(1 << 20)
}

const fn default_file_size() -> Bytes {
    Bytes(256 << 20)
}

const fn default_open_files() -> u64 {
    256
}

fn default_media_type() -> String {
    "text/plain; charset=utf-8".to_owned()
}

impl CommandSettings {
    /// Checks the settings, and that the program exists.
    pub(super) fn check(self, setup: &Setup<'_>) -> Result<Command, ConfigureError> {
        if !cfg!(target_os = "linux") {
            return Err(ConfigureError(
                "the executor `command` needs Linux: on other systems the processes that a program \
                 starts cannot be tracked and killed"
                    .into(),
            ));
        }
        let path = self.env.get("PATH").map_or(PATH, String::as_str);
        let program = find(&self.program, path, setup)?;
        for name in self.env.keys().chain(&self.pass_env) {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(ConfigureError(format!(
                    "{name:?} is not a valid name of a variable"
                )));
            }
        }
        if self
            .args
            .iter()
            .chain(self.env.values())
            .any(|text| text.contains('\0'))
        {
            return Err(ConfigureError(
                "an argument or a variable contains a NUL character".into(),
            ));
        }
        if let Err(error) = self.media_type.parse::<MediaType>() {
            return Err(ConfigureError(format!("`media_type`: {error}")));
        }
        let most = Bytes(u64::MAX);
        let cpu = self
            .cpu
            .map(|cpu| within("cpu", cpu, (Time::seconds(1), Time::seconds(1 << 32))));
        let limits = Limits {
            memory: within("memory", self.memory, (Bytes(1 << 20), most))?.0,
            processes: within("processes", self.processes, (1, 10_000))?,
            cpu: cpu.transpose()?.map(|cpu| cpu.0.as_secs()),
            file_size: self.file_size.0,
            open_files: within("open_files", self.open_files, (8, 1 << 20))?,
        };
        let output = (Bytes(0), Bytes(MAX_OUTPUT_BYTES as u64));
        let scratch = self.scratch.map(|scratch| setup.path(scratch));
        if let Some(scratch) = scratch.as_ref().filter(|scratch| !scratch.is_dir()) {
            let shown = scratch.display();
            return Err(ConfigureError(format!(
                "`scratch`: {shown} is not a folder"
            )));
        }
        Ok(Command {
            program,
            args: self.args,
            env: self.env,
            pass_env: self.pass_env,
            limits,
            max_output: within("max_output", self.max_output, output)?.as_usize(),
            scratch: scratch.unwrap_or_else(std::env::temp_dir),
            media_type: self.media_type,
        })
    }
}

/// The file of a program.
fn find(program: &str, path: &str, setup: &Setup<'_>) -> Result<PathBuf, ConfigureError> {
    if program.is_empty() {
        return Err(ConfigureError(
            "`program` is empty; set it to the name of a program in PATH, or to a path".into(),
        ));
    }
    if program.contains('/') {
        let found = std::path::absolute(setup.path(program));
        let found = found.map_err(|error| ConfigureError(format!("`program`: {error}")))?;
        if !is_program(&found) {
            return Err(ConfigureError(format!(
                "`program`: {} does not exist or is not an executable file",
                found.display()
            )));
        }
        return Ok(found);
    }
    let found = path
        .split(':')
        .map(|folder| Path::new(folder).join(program));
    found
        .into_iter()
        .find(|found| found.is_absolute() && is_program(found))
        .ok_or_else(|| {
            ConfigureError(format!(
                "`program`: {program:?} is not in {path}; set its path, or set another PATH in \
                 `env`"
            ))
        })
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
