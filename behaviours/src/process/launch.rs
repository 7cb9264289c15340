//! The start of a program, and its end with all processes of its group.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agentry_sdk::{ConfigureError, Setup};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::error::End;
use super::journal::Journal;
use super::lines::{Lines, Overlong};
use super::settings::ProcessSettings;
use super::watch::Watch;
use super::wire::MAX_LINE_BYTES;
use crate::start;

/// The variables that a program inherits from agentry's environment.
const INHERITED: [&str; 3] = ["PATH", "LANG", "HOME"];

/// How long the last lines of the standard error are waited for, after the program has ended.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The parameters of a program's start.
pub(super) struct Launch {
    program: PathBuf,
    args: Vec<String>,
    directory: PathBuf,
    env: BTreeMap<OsString, OsString>,
}

impl fmt::Debug for Launch {
    /// Omits arguments and the environment's values, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("directory", &self.directory)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

impl Launch {
    /// Reads the settings and finds the program.
    pub(super) fn new(
        settings: &ProcessSettings,
        setup: &Setup<'_>,
    ) -> Result<Self, ConfigureError> {
        let mut env: BTreeMap<OsString, OsString> = INHERITED
            .iter()
            .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
            .collect();
        env.extend(
            settings
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let program = if settings.program.contains('/') {
            let path = setup.path(&settings.program);
            check_program(&path).map_err(|reason| {
                ConfigureError(format!("`program` {} {reason}", path.display()))
            })?;
            // A relative path would be resolved in the program's working directory.
            std::path::absolute(&path)
                .map_err(|error| ConfigureError(format!("`program` {}: {error}", path.display())))?
        } else {
            find(&settings.program, env.get(&OsString::from("PATH"))).ok_or_else(|| {
                ConfigureError(format!(
                    "`program` {:?} is not in PATH; install it, or set a path that contains a `/`",
                    settings.program
                ))
            })?
        };
        let directory = setup.path(settings.directory.as_deref().unwrap_or(""));
        let directory = if directory.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            directory
        };
        if !directory.is_dir() {
            return Err(ConfigureError(format!(
                "`directory` {} is not a folder",
                directory.display()
            )));
        }
        Ok(Self {
            program,
            args: settings.args.clone(),
            directory,
            env,
        })
    }

    /// Watches the program's files.
    pub(super) fn watch(&self) -> Watch {
        Watch::new(&self.program, &self.args, &self.directory)
    }

    /// The program's name in the log.
    pub(super) fn name(&self) -> String {
        self.program.display().to_string()
    }

    /// The command that starts the program, with its arguments, its environment and pipes.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .current_dir(&self.directory)
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the program, in a process group of its own.
    pub(super) fn start(&self) -> Result<Running, End> {
        let mut group =
            Group::spawn(self.command()).map_err(|error| End::Unstarted(error.to_string()))?;
        let child = &mut group.child;
        tracing::info!(
            kind = super::KIND,
            program = self.name(),
            pid = child.id(),
            "the program was started"
        );
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(End::Unstarted("its pipes are missing".to_owned()));
        };
        Ok(Running {
            group,
            input: Some(input),
            output: Lines::new(output, MAX_LINE_BYTES, Overlong::Refuse),
            errors: tokio::spawn(Journal::new(self.name()).copy(errors)),
        })
    }
}

/// A process and its process group, which is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) child: Child,
    id: Option<Pid>,
}

impl Group {
    /// Starts a command in a process group of its own.
    pub(super) fn spawn(mut command: Command) -> std::io::Result<Self> {
        command.process_group(0).kill_on_drop(true);
        let child = start::alone(|| command.spawn())?;
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Self { child, id })
    }

    /// Kills the process group.
    ///
    /// The group's id is the program's process id. It cannot be reused before the program is waited
    /// for, nor while a process of the group exists. If the program has ended by itself and left no
    /// process, the id is free for a moment until the kill; the system reuses all other ids first.
    pub(super) fn kill(&mut self) {
        if let Some(group) = self.id.take() {
            // An error means that no process of the group is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running program. Dropping it kills its process group.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) group: Group,
    /// Its standard input; none after it was closed.
    pub(super) input: Option<ChildStdin>,
    pub(super) output: Lines<ChildStdout>,
    errors: JoinHandle<()>,
}

impl Running {
    /// Kills the process group, and waits until the program has ended and what it wrote last to its
    /// standard error is in the log.
    pub(super) async fn end(mut self) {
        self.group.kill();
        // A killed process ends, but an uninterruptible system call may delay that. Only this task
        // waits for it.
        let _ = self.group.child.wait().await;
        // A process that left the group can hold the pipe open.
        let _ = tokio::time::timeout(LAST_LINES, &mut self.errors).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.group.kill();
        // A process that left the group can hold the pipe open; its output is not read.
        self.errors.abort();
    }
}

/// Checks that there is an executable file at this path.
fn check_program(path: &Path) -> Result<(), String> {
    let metadata = path
        .metadata()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err("is not executable; run `chmod +x` on it".to_owned());
    }
    Ok(())
}

/// The path of the program with this name in the folders of `PATH`.
fn find(name: &str, path: Option<&OsString>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| check_program(path).is_ok())
}
