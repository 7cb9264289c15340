//! A behaviour that starts tasks as its messages say.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use agentry_sdk::{
    Authenticity, Behaviour, BehaviourError, ConfigureError, Context, Desk, Effects, Message,
    Setup, Task, TaskError, TaskLimits, TaskNews, TaskOutput, TaskReport, TaskStart, Tokens,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Where a test controls the tasks that it has started.
#[derive(Debug)]
pub(crate) struct Bench {
    asked: AtomicUsize,
    begun: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    dropped: AtomicUsize,
    over: AtomicUsize,
    gate: watch::Sender<bool>,
}

impl Bench {
    /// The bench with this name.
    pub(crate) fn named(name: &str) -> Arc<Self> {
        static BENCHES: LazyLock<Mutex<HashMap<String, Arc<Bench>>>> =
            LazyLock::new(Mutex::default);
        let mut benches = BENCHES.lock().unwrap();
        let bench = benches.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Self {
                asked: AtomicUsize::new(0),
                begun: AtomicUsize::new(0),
                running: AtomicUsize::new(0),
                most: AtomicUsize::new(0),
                dropped: AtomicUsize::new(0),
                over: AtomicUsize::new(0),
                gate: watch::Sender::new(false),
            })
        });
        Arc::clone(bench)
    }

    /// How often it was asked for the tokens of a task.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The number of attempts that have begun.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// The most attempts that ran at the same time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The number of attempts that were dropped before they returned.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    /// The number of attempts that were dropped because their task was over.
    pub(crate) fn over(&self) -> usize {
        self.over.load(Ordering::SeqCst)
    }

    /// Opens the gate for attempts that wait there, now and later.
    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }

    fn begin(self: &Arc<Self>, desk: &Desk) -> Attempt {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        Attempt {
            bench: Arc::clone(self),
            desk: desk.clone(),
            returned: false,
        }
    }
}

struct Attempt {
    bench: Arc<Bench>,
    desk: Desk,
    returned: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.bench.running.fetch_sub(1, Ordering::SeqCst);
        if !self.returned {
            let over = usize::from(self.desk.is_over());
            self.bench.over.fetch_add(over, Ordering::SeqCst);
            self.bench.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The keys of the worker.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerSettings {
    bench: String,
    #[serde(default = "one")]
    concurrency: usize,
    #[serde(default = "one")]
    attempts: usize,
    #[serde(default = "minute")]
    time_ms: u64,
    progress_ms: Option<u64>,
}

const fn one() -> usize {
    1
}

const fn minute() -> u64 {
    60_000
}

/// `KEY KIND ACTION` starts a task and reports its news; `KEY KIND ACTION by MS` gives it a
/// deadline; `cancel KEY` cancels it.
///
/// Actions: `say`, `fail`, `away/N` (fails N times), `panic`, `hang`, `gate` (until the bench
/// opens), `huge`, `report` (reports that it is half done, and then acts as `gate`), `use/N` (has
/// used N tokens, fails at the first attempt, and then acts as `gate`), `spend/N` (may use N tokens,
/// and does), `hold/N` (may use N tokens, acts as `gate`, and has used 5).
#[derive(Debug)]
pub(crate) struct Worker {
    bench: Arc<Bench>,
    limits: TaskLimits,
}

impl Behaviour for Worker {
    const KIND: &'static str = "worker";
    type Settings = WorkerSettings;

    fn configure(settings: WorkerSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self {
            bench: Bench::named(&settings.bench),
            limits: TaskLimits {
                concurrency: settings.concurrency,
                time: Duration::from_millis(settings.time_ms),
                attempts: settings.attempts.try_into().unwrap(),
                progress_every: settings.progress_ms.map(Duration::from_millis),
            },
        })
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let words: Vec<&str> = message.text().unwrap().split(' ').collect();
        if let ["cancel", key] = words[..] {
            return Ok(Effects::none().cancel_task(key));
        }
        let [key, kind, action, rest @ ..] = &words[..] else {
            return Err(BehaviourError::permanent("it is no task"));
        };
        let deadline = match rest {
            ["by", ms] => Some(context.now.plus_ms(ms.parse().unwrap())),
            _ => None,
        };
        Ok(Effects::none().start_task(TaskStart {
            key: (*key).to_owned(),
            kind: (*kind).to_owned(),
            input: json!({ "action": action }),
            deadline,
        }))
    }

    fn task_limits(&self, _: &str) -> TaskLimits {
        self.limits
    }

    fn task_tokens(&self, task: &Task) -> Option<u64> {
        self.bench.asked.fetch_add(1, Ordering::SeqCst);
        let (action, count) = task.input["action"].as_str()?.split_once('/')?;
        ["spend", "hold"]
            .contains(&action)
            .then(|| count.parse().unwrap())
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        let mut attempt = self.bench.begin(desk);
        let action = task.input["action"].as_str().unwrap();
        let result = match action.split_once('/').unwrap_or((action, "")) {
            ("say", _) => Ok(TaskOutput::text(format!("{} said", task.key))),
            ("fail", _) => Err(TaskError::permanent("no", "it cannot be done")),
            ("away", times) if task.attempt <= times.parse().unwrap() => {
                Err(TaskError::transient("away", "nobody answers"))
            }
            ("away", _) => Ok(TaskOutput::text(format!("at attempt {}", task.attempt))),
            ("panic", _) => panic!("as requested"),
            ("huge", _) => Ok(TaskOutput::text("x".repeat((16 << 20) + 1))),
            ("hang", _) => std::future::pending().await,
            ("gate" | "report", _) => {
                if action == "report" {
                    desk.progress(0.5, Some("half of it".to_owned()));
                }
                let mut gate = self.bench.gate.subscribe();
                gate.wait_for(|open| *open).await.unwrap();
                Ok(TaskOutput::text("through the gate"))
            }
            ("use", count) => {
                let output = count.parse().unwrap();
                desk.used(Tokens { input: 1, output });
                if task.attempt == 1 {
                    attempt.returned = true;
                    return Err(TaskError::transient("away", "nobody answers"));
                }
                let mut gate = self.bench.gate.subscribe();
                gate.wait_for(|open| *open).await.unwrap();
                let used = task.tokens.sum();
                Ok(TaskOutput::text(format!("{used} before")))
            }
            ("spend", count) => {
                let output = count.parse().unwrap();
                desk.used(Tokens { input: 0, output });
                Ok(TaskOutput::text("spent"))
            }
            ("hold", _) => {
                let mut gate = self.bench.gate.subscribe();
                gate.wait_for(|open| *open).await.unwrap();
                let (input, output) = (2, 3);
                desk.used(Tokens { input, output });
                Ok(TaskOutput::text("held"))
            }
            _ => Err(TaskError::permanent("what", action)),
        };
        attempt.returned = true;
        result
    }

    async fn on_task(&self, report: &TaskReport, _: &Context) -> Result<Effects, BehaviourError> {
        let key = &report.task.key;
        let said = match &report.news {
            TaskNews::Progress { progress, note } => {
                let note = note.as_deref().unwrap_or_default();
                format!("{key} is at {progress}: {note}")
            }
            TaskNews::Completed { output, .. } => format!("{key} completed: {}", output.text),
            TaskNews::Failed { code, .. } => format!("{key} failed: {code}"),
            TaskNews::Canceled => format!("{key} canceled"),
            TaskNews::InputRequired { question, .. } => format!("{key} asks: {question}"),
        };
        // Its state counts how often it was told.
        Ok(Effects::none()
            .set_state(format!("told {key}"), Value::Bool(true))
            .reply(said))
    }
}
