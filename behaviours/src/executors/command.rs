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
//! | module | contents |
//! |---|---|
//! | `settings` | the keys in agents.toml; search for the program |
//! | `run` | one run: start, output, result |
//! | `notes` | standard error: progress, and the last part for the log |
//!
//! **The program** gets its arguments as they are, without a shell. Its standard input is the job
//! as one JSON object, which it need not read:
//!
//! | key | |
//! |---|---|
//! | `key`, `type` | the task's key and the job's type |
//! | `prompt`, `model`, `params` | the job's content, each only if the job has it. It comes from the submitter: do not trust it |
//! | `submitter` | the address of the submitter, if it is known |
//! | `attempt` | the number of the attempt, from 1 |
//! | `deadline_ms` | the job's deadline, if it has one |
//! | `answers` | the answers to its questions so far, if there are any |
//!
//! Its standard output is the result: UTF-8, at most `max_output`. A line `progress 0.5 half of it`
//! on standard error reports progress. A line `ask {"question": "…"}`, with a JSON Schema of the
//! answer as `schema` and a time as `within` (a day if it is missing) if need be, asks the submitter:
//! the run ends, and when the answer has come, the program runs again from the start with it. If the
//! run fails, the last part of standard error goes to the log.
//!
//! **Environment.** The program gets `PATH`, `HOME` and `TMPDIR` (its working directory), `LANG`,
//! the variables that `env` and `pass_env` add, and `AGENTRY_IDEMPOTENCY_KEY`: 40 hexadecimal digits,
//! the same for all attempts at the task and for no other task. Each run has its own, empty working
//! directory, which is removed with its content after the run.
//!
//! **End.** Exit code 0 is success, 75 (`EX_TEMPFAIL` of sysexits) requests another attempt, and
//! any other is a permanent failure. All processes that the program started are killed when it
//! ends, at the time limit, at the deadline, on cancellation, when a limit is exceeded, and when
//! agentry ends or is killed. [`confine`](crate::confine) explains how, and what is not limited.
//!
//! | code | meaning | tried again? |
//! |---|---|---|
//! | `temporary` | the program ended with exit code 75 | yes |
//! | `not-started` | the system lacks the resources to start a process | yes |
//! | `interrupted` | the program and its watcher were killed from outside | yes |
//! | `exit` | the program ended with another exit code | no |
//! | `killed` | a signal ended the program | no |
//! | `memory-limit`, `process-limit`, `output-limit`, `cpu-limit`, `file-limit` | the program exceeded a limit | no |
//! | `bad-output` | the program's output is not valid UTF-8 | no |

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

/// Does each job with a program.
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
    /// Omits the values of the environment, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The variable that tells a program which task it does.
const IDEMPOTENCY_KEY: &str = "AGENTRY_IDEMPOTENCY_KEY";

impl Command {
    /// The program's environment for a task, with this folder as its working directory.
    fn environment(&self, task: &Task, work: &std::path::Path) -> BTreeMap<String, OsString> {
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
        let key = OsString::from(&task.idempotency_key);
        let key = [(IDEMPOTENCY_KEY.to_owned(), key)];
        own.into_iter()
            .chain(passed)
            .chain(given)
            .chain(key)
            .collect()
    }
}

/// The program's standard input.
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
    if let Some(deadline) = task.deadline {
        input.insert("deadline_ms".to_owned(), deadline.get().into());
    }
    if !task.answers.is_empty() {
        input.insert("answers".to_owned(), task.answers.clone().into());
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
        let text = run::run(self, task, desk).await?;
        Ok(TaskOutput {
            incomplete: None,
            text,
            media_type: Some(self.media_type.clone()),
        })
    }
}
