//! `command`: a program does the job.
//!
//! ```toml
//! [agent.behaviours.types.sort]
//! executor = "command"
//! program = "sort"
//! args = ["--reverse"]
//! memory = "256MiB"
//! processes = 8
//! max_output = "1MiB"
//! cpu = "60s"
//! time_limit = "2m"
//! ```
//!
//! | part | holds |
//! |---|---|
//! | `settings` | the keys in agents.toml, and finding the program |
//! | `run` | one run: starting it, reading what it writes, what came of it |
//! | `notes` | its standard error: progress, and the end of it for the log |
//!
//! **The program** is called with its list of arguments; no shell reads them. On standard input it
//! finds the job as one JSON object, from which it may read or not:
//!
//! | key | |
//! |---|---|
//! | `key`, `type` | the task's key and the job's type |
//! | `prompt`, `model`, `params` | what the job gave, each if it did. All of it is the word of a stranger |
//! | `submitter` | the address that asked, if it is known |
//! | `attempt` | from 1 |
//! | `deadline_ms` | until when the result is of use, if the job says so |
//!
//! What it writes to standard output, UTF-8 of at most `max_output`, is the result. A line
//! `progress 0.5 half of it` on standard error is a report of progress; the rest of standard error
//! is for the log, which gets its end when the run fails.
//!
//! **Its environment** is `PATH`, `HOME` and `TMPDIR` (its working directory), `LANG`, and what
//! `env` and `pass_env` add. The working directory is its own, empty, and removed with all that is
//! in it after the run.
//!
//! **Its end.** Exit code 0 is success, 75 (`EX_TEMPFAIL` of sysexits) asks for another attempt,
//! any other is a failure for good. At the time limit, at the deadline, when it is canceled, when
//! a limit is exceeded, when it has ended itself, and when agentry ends or is killed, all that it
//! started is killed with it. [`confine`](crate::confine) says how, and what is not bounded.
//!
//! | code | meaning | again? |
//! |---|---|---|
//! | `temporary` | it ended with exit code 75 | yes |
//! | `not-started` | the system lacks what a process needs | yes |
//! | `interrupted` | it was ended from outside, with its watcher | yes |
//! | `exit` | it ended with another exit code | no |
//! | `killed` | a signal ended it | no |
//! | `memory-limit`, `process-limit`, `output-limit`, `cpu-limit`, `file-limit` | it exceeded a limit | no |
//! | `bad-output` | its output is no UTF-8 | no |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use agentry_sdk::{ConfigureError, Desk, Executor, Setup, Task, TaskError, TaskOutput};
use serde_json::{Map, Value};

use crate::confine::order::Limits;

mod notes;
mod run;
mod settings;

pub use settings::CommandSettings;

/// Has a program do jobs.
pub struct Command {
    program: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    pass_env: Vec<String>,
    limits: Limits,
    max_output: usize,
    scratch: PathBuf,
    media_type: String,
}

impl std::fmt::Debug for Command {
    /// Without the values of the environment: they may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Command {
    /// What the program finds in its environment when it works in this folder.
    fn environment(&self, work: &std::path::Path) -> BTreeMap<String, OsString> {
        let own = [
            ("PATH", OsString::from(settings::PATH)),
            ("LANG", OsString::from("C.UTF-8")),
            ("HOME", work.into()),
            ("TMPDIR", work.into()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let passed = self.pass_env.iter().filter_map(|name| {
            let value = std::env::var_os(name)?;
            Some((name.clone(), value))
        });
        let given = self.env.iter();
        let given = given.map(|(name, value)| (name.clone(), value.into()));
        own.into_iter().chain(passed).chain(given).collect()
    }
}

/// What the program finds on its standard input.
fn input(task: &Task) -> Vec<u8> {
    let mut input = match &task.input {
        Value::Object(job) => job.clone(),
        _ => Map::new(),
    };
    input.insert("key".to_owned(), task.key.as_str().into());
    input.insert("type".to_owned(), task.kind.as_str().into());
    input.insert("attempt".to_owned(), task.attempt.into());
    if let Some(submitter) = &task.submitter {
        input.insert("submitter".to_owned(), submitter.as_str().into());
    }
    if let Some(deadline) = task.deadline_ms {
        input.insert("deadline_ms".to_owned(), deadline.into());
    }
    Value::Object(input).to_string().into_bytes()
}

impl Executor for Command {
    const KIND: &'static str = "command";
    type Settings = CommandSettings;

    fn configure(settings: CommandSettings, setup: &Setup<'_>) -> Result<Self, ConfigureError> {
        settings.check(setup)
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        let text = run::run(self, task, input(task), desk).await?;
        Ok(TaskOutput {
            incomplete: None,
            text,
            media_type: Some(self.media_type.clone()),
        })
    }
}
