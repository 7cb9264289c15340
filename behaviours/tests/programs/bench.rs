//! An environment for programs, and the search for what they leave behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentry_sdk::protocol::{Address, Timestamp};
use agentry_sdk::{AnyExecutor, Desk, Setup, Task, TaskError, TaskOutput, Tokens};
use serde_json::{Value, json};

use crate::role::ROLE;

/// How long a test waits for something that must happen: far longer than a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The variable that marks every process of a test.
const MARKER: &str = "AGENTRY_TEST_MARKER";

/// Progress and a note.
pub(crate) type Report = (f64, Option<String>);

/// The environment for the programs of one test.
pub(crate) struct Bench {
    scratch: PathBuf,
    /// The value of the variable that marks all processes of the test.
    marker: String,
    reports: Arc<Mutex<Vec<Report>>>,
    /// The folder, removed at the end if this test made it.
    folder: Option<tempfile::TempDir>,
}

/// A job with a prompt.
pub(crate) fn task() -> Task {
    Task {
        key: "0xkey".to_owned(),
        kind: "sort".to_owned(),
        input: json!({ "prompt": "hello", "params": { "n": 5 } }),
        deadline: Some(Timestamp::new(99)),
        agent: "worker".to_owned(),
        submitter: Some(Address::from_chain("ait1sender").unwrap()),
        attempt: 1,
        idempotency_key: "51ab".repeat(10),
        answers: Vec::new(),
        tokens: Tokens::default(),
    }
}

/// An executor `command` with these settings.
pub(crate) fn command(settings: &Value) -> Result<Arc<dyn AnyExecutor>, String> {
    let registry = agentry_behaviours::builtins();
    let settings = settings.as_object().unwrap().clone();
    let executor = Setup::new(Path::new("."), &registry).executor("command", settings);
    executor.map_err(|error| error.to_string())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

impl Bench {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        let marker = format!("{}-{count}", std::process::id());
        let mut bench = Self::existing(folder.path().to_owned(), marker);
        bench.folder = Some(folder);
        bench
    }

    /// An environment in an existing folder.
    pub(crate) fn existing(scratch: PathBuf, marker: String) -> Self {
        Self {
            scratch,
            marker,
            reports: Arc::default(),
            folder: None,
        }
    }

    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    pub(crate) fn marker(&self) -> &str {
        &self.marker
    }

    /// An executor with these settings, whose processes have the marker.
    pub(crate) fn executor(&self, settings: &Value) -> Arc<dyn AnyExecutor> {
        let mut settings = settings.clone();
        settings["scratch"] = json!(self.scratch);
        let mut env = settings.get("env").cloned().unwrap_or_else(|| json!({}));
        env[MARKER] = json!(self.marker);
        settings["env"] = env;
        command(&settings).unwrap()
    }

    /// An executor that runs a script.
    pub(crate) fn shell(&self, script: &str, more: &Value) -> Arc<dyn AnyExecutor> {
        let mut settings = more.clone();
        settings["program"] = json!("sh");
        settings["args"] = json!(["-c", script]);
        self.executor(&settings)
    }

    /// An executor that runs this binary in a role.
    pub(crate) fn role(&self, role: &[&str], more: &Value) -> Arc<dyn AnyExecutor> {
        let mut settings = more.clone();
        settings["program"] = json!(std::env::current_exe().unwrap());
        let role = std::iter::once(&ROLE).chain(role);
        settings["args"] = role.copied().collect();
        self.executor(&settings)
    }

    fn desk(&self) -> Desk {
        let reports = Arc::clone(&self.reports);
        Desk::new(move |progress, note| reports.lock().unwrap().push((progress, note)))
    }

    /// The reports of progress so far.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap().clone()
    }

    /// Runs a task to completion.
    pub(crate) fn run(
        &self,
        executor: &dyn AnyExecutor,
        task: &Task,
    ) -> Result<TaskOutput, TaskError> {
        let desk = self.desk();
        runtime().block_on(async {
            let run = executor.execute(task, &desk);
            tokio::time::timeout(PATIENCE, run)
                .await
                .expect("the run does not end")
        })
    }

    /// Runs a task until `enough` is true, and then drops it.
    pub(crate) fn drop_when(&self, executor: &dyn AnyExecutor, enough: impl Fn() -> bool) {
        let (task, desk) = (task(), self.desk());
        runtime().block_on(async {
            tokio::select! {
                ended = executor.execute(&task, &desk) => panic!("it has ended: {ended:?}"),
                () = until("the program is where it should be", &enough) => {}
            }
        });
    }

    /// The ids of the running processes of the test.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let wanted = format!("{MARKER}={}", self.marker);
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let mut variables = environment.split(|byte| *byte == 0);
            let ours = variables.any(|variable| variable == wanted.as_bytes());
            (ours && pid != std::process::id()).then_some(pid)
        });
        processes.collect()
    }

    /// Waits until no process and no file of the programs is left.
    pub(crate) fn assert_nothing_is_left(&self) {
        runtime().block_on(until("nothing is left", || {
            self.processes().is_empty() && fs::read_dir(&self.scratch).unwrap().next().is_none()
        }));
    }

    /// Waits until a condition holds.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        runtime().block_on(until(what, is_so));
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it is never so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
