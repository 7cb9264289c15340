//! Where programs are run, and what is left of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentry_sdk::protocol::Address;
use agentry_sdk::{AnyExecutor, Desk, Setup, Task, TaskError, TaskOutput};
use serde_json::{Value, json};

/// How long something that must happen may take before a test gives it up: nothing is measured by
/// it, and it is far above what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The variable that marks every process of a test.
const MARKER: &str = "AGENTRY_TEST_MARKER";

/// A place for the programs of one test.
pub(crate) struct Bench {
    scratch: PathBuf,
    /// Stands in the environment of all processes of the test.
    marker: String,
    reports: Arc<Mutex<Vec<(f64, Option<String>)>>>,
    _folder: Option<tempfile::TempDir>,
}

/// A job with a prompt.
pub(crate) fn task() -> Task {
    Task {
        key: "0xkey".to_owned(),
        kind: "sort".to_owned(),
        input: json!({ "prompt": "hello", "params": { "n": 5 } }),
        deadline_ms: Some(99),
        agent: "worker".to_owned(),
        submitter: Some(Address::from_chain("ait1sender").unwrap()),
        attempt: 1,
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
        let folder = tempfile::tempdir().unwrap();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let marker = format!("{}-{count}", std::process::id());
        Self {
            _folder: Some(folder),
            ..Self::existing(folder_path(&marker), marker)
        }
    }

    /// One whose folder somebody else made.
    pub(crate) fn existing(scratch: PathBuf, marker: String) -> Self {
        Self {
            scratch,
            marker,
            reports: Arc::default(),
            _folder: None,
        }
    }
}
