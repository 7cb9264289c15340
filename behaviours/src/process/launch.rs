//! Starting a program, and ending it with all that it started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

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

/// What a program gets of agentry's environment.
const INHERITED: [&str; 3] = ["PATH", "LANG", "HOME"];

/// How a program is started.
pub(super) struct Launch {
    program: PathBuf,
    args: Vec<String>,
    directory: PathBuf,
    env: BTreeMap<OsString, OsString>,
}

impl fmt::Debug for Launch {
    /// Without arguments and the environment's values, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("directory", &self.directory)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

impl Launch {
    /// Reads how to start the program, and finds it.
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
            // Else it would be looked for in the directory where the program is to run.
            std::path::absolute(&path)
                .map_err(|error| ConfigureError(format!("`program` {}: {error}", path.display())))?
        } else {
            find(&settings.program, env.get(&OsString::from("PATH"))).ok_or_else(|| {
                ConfigureError(format!(
                    "`program` {:?} is in no folder of PATH; install it, or give a path with a `/`",
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
                "`directory` {} is no folder",
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

    /// Starts the program, in a process group of its own.
    pub(super) fn start(&self) -> Result<Running, End> {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .current_dir(&self.directory)
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| End::Unstarted(error.to_string()))?;
        tracing::info!(
            kind = super::KIND,
            program = self.name(),
            pid = child.id(),
            "the program is started"
        );
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(End::Unstarted("it has no pipes".to_owned()));
        };
        Ok(Running {
            child,
            group,
            input: Some(input),
            output: Lines::new(output, MAX_LINE_BYTES, Overlong::Refuse),
            errors: tokio::spawn(Journal::new(self.name()).copy(errors)),
        })
    }
}

/// A program that was started. Dropping it kills its process group.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    group: Option<Pid>,
    /// Its standard input; none once that was closed.
    pub(super) input: Option<ChildStdin>,
    pub(super) output: Lines<ChildStdout>,
    errors: JoinHandle<()>,
}

impl Running {
    /// Kills the process group, and waits until the program is gone.
    ///
    /// The group's id is the program's, so it is nobody else's while the program is not waited for,
    /// nor while any of the group is left. Where the program has ended by itself and left nothing,
    /// the id is free for the moment until it is killed here; the system gives out all others first.
    pub(super) async fn end(mut self) {
        self.kill();
        // Killed, it ends; what it holds of the system (a read that cannot be interrupted) may take
        // a while, which is not waited for by anyone but this task.
        let _ = self.child.wait().await;
    }

    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            // An error means that nothing of it is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        // A process that left the group can hold the pipe; nobody waits for what it writes.
        self.errors.abort();
    }
}

/// Whether there is a program at this path.
fn check_program(path: &Path) -> Result<(), String> {
    let metadata = path
        .metadata()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err("may not be executed; `chmod +x` it".to_owned());
    }
    Ok(())
}

/// A program of this name in the folders of `PATH`.
fn find(name: &str, path: Option<&OsString>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| check_program(path).is_ok())
}
