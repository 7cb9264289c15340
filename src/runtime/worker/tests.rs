//! A worker and the owner of a shard, over a real PostgreSQL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use agentry_cluster::{JobKey, Settings};
use agentry_core::TaskId;
use agentry_core::cluster::{Epoch, Incarnation, ShardId};
use agentry_sdk::task::Ask;
use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, Desk, Effects, Message, Registry, Setup,
    Task, TaskOutput, Tokens,
};
use agentry_testbed::postgres::Server;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;
use crate::config::{Config, Overlay, Source};
use crate::runtime::jobs::Jobs;
use crate::runtime::jobs::board::JobOutcome;
use crate::runtime::jobs::queue::Queue;

/// How long a test waits for anything: far more than it takes, since machines are shared.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of runs that were dropped: whether their tasks were over, by key.
static DROPPED: Mutex<Vec<(String, bool)>> = Mutex::new(Vec::new());

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

/// Executes what the input says.
#[derive(Debug)]
struct Acts;

struct Dropped(String, Desk);

impl Drop for Dropped {
    fn drop(&mut self) {
        let key = std::mem::take(&mut self.0);
        DROPPED.lock().unwrap().push((key, self.1.is_over()));
    }
}

impl Behaviour for Acts {
    const KIND: &'static str = "acts";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn executes(&self, kind: &str) -> bool {
        kind == "chat"
    }

    fn accepts(&self, _: &Message) -> bool {
        false
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none())
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        match task.input["act"].as_str().unwrap() {
            "say" => Ok(TaskOutput::text("said")),
            "fail" => Err(TaskError::transient("away", "nobody answers").with_public("later")),
            "panic" => panic!("as requested"),
            "huge" => Ok(TaskOutput::text("x".repeat((16 << 20) + 1))),
            "ask" => {
                let answer = desk.ask(Ask::new("which?").schema(json!({}))).await;
                Ok(TaskOutput::text(format!("answered {answer}")))
            }
            "report" => {
                desk.used(Tokens {
                    input: 1,
                    output: 2,
                });
                desk.progress(0.5, Some("half".to_owned()));
                // Long enough for a beat to tell it.
                tokio::time::sleep(3 * BEAT).await;
                desk.used(Tokens {
                    input: 10,
                    output: 0,
                });
                Ok(TaskOutput::text("reported"))
            }
            "block" => {
                std::thread::sleep(Duration::from_secs(5));
                Ok(TaskOutput::text("too late"))
            }
            _ => {
                let _dropped = Dropped(task.key.clone(), desk.clone());
                std::future::pending().await
            }
        }
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

/// The owner of a shard, and the database.
struct Stage {
    name: String,
    settings: Settings,
    jobs: Jobs,
    serving: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The reports of progress of an attempt.
type Reports = Arc<Mutex<Vec<(f64, Option<String>)>>>;

/// What the owner of an attempt sees.
struct Followed {
    key: JobKey,
    desk: Desk,
    progress: Reports,
    outcome: JoinHandle<JobOutcome>,
}

impl Followed {
    async fn end(self) -> JobEnd {
        let outcome = tokio::time::timeout(PATIENCE, self.outcome).await.unwrap();
        match outcome.unwrap() {
            JobOutcome::Ended(end) => end,
            JobOutcome::Interrupted(why) => panic!("it was interrupted: {why}"),
        }
    }
}

impl Stage {
    async fn set() -> Self {
        let name = server().database();
        let settings = Settings::new(&[server().url(&name)], None, None).unwrap();
        let database = Database::connect(&settings).await.unwrap();
        database.init(1.try_into().unwrap()).await.unwrap();
        let (shard, me) = (ShardId(0), Incarnation([1; 16]));
        let claim = database.claim(shard, Epoch(0), me, 1).await.unwrap();
        let workers = tokio::runtime::Handle::current();
        let queue = Queue::new(&database, &["chat".to_owned()], &workers);
        let jobs = queue.of(shard, claim.unwrap().epoch);
        jobs.is_complete();
        Self {
            name,
            settings,
            serving: tokio::spawn(jobs.clone().serve()),
            jobs,
        }
    }

    /// Starts a worker with room for so many tasks.
    async fn worker(&self, room: usize) -> (watch::Sender<bool>, JoinHandle<()>) {
        let text = "[chain]\nid = \"x\"\n[wallets]\nvault = \"v\"\n[[agent]]\nname = \"doer\"\n\
                    behaviours = [{ kind = \"acts\" }]\n";
        let source = Source::Text {
            path: "/etc/agents.toml".into(),
            text: text.to_owned(),
        };
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        let config = Config::load(&source, &overlay, &Registry::new().with::<Acts>()).unwrap();
        let settings = WorkerSettings {
            name: "gpu".to_owned(),
            kinds: BTreeMap::from([("chat".to_owned(), room)]),
            stop_limit: Duration::ZERO,
        };
        let databases = (
            Database::connect(&self.settings).await.unwrap(),
            Database::connect(&self.settings).await.unwrap(),
        );
        let executors = tokio::runtime::Handle::current();
        let behaviours = Behaviours::of(&config);
        let worker = Worker::new(
            settings,
            databases,
            behaviours,
            Traces::default(),
            executors,
        );
        let (stop, stopping) = watch::channel(false);
        (stop, tokio::spawn(worker.unwrap().run(stopping)))
    }

    /// Has a worker do something, in a limited time.
    fn begin(
        &self,
        number: i64,
        act: &str,
        answers: &[Value],
        limit: (Duration, bool),
    ) -> Followed {
        let task = Task {
            key: format!("{}/{number}", self.name),
            kind: "chat".to_owned(),
            input: json!({ "act": act }),
            deadline: None,
            agent: "doer".to_owned(),
            submitter: None,
            attempt: 1,
            idempotency_key: "ab".repeat(20),
            tokens: Tokens::default(),
            answers: answers.to_vec(),
        };
        let behaviour = if act == "unknown" { "other" } else { "acts" };
        self.follow(
            number,
            Some(JobInput::new(behaviour, task, None, limit.0, limit.1)),
        )
    }

    fn follow(&self, number: i64, input: Option<JobInput>) -> Followed {
        let progress = Reports::default();
        let reports = Arc::clone(&progress);
        let desk = Desk::new(move |progress, note| {
            reports.lock().unwrap().push((progress, note));
        });
        let key = self.jobs.key(TaskId(number), 1);
        let run = self.jobs.clone();
        let run = run.run(key, ("chat".to_owned(), input), desk.clone());
        Followed {
            key,
            desk,
            progress,
            outcome: tokio::spawn(run),
        }
    }

    fn simple(&self, number: i64, act: &str) -> Followed {
        self.begin(number, act, &[], (PATIENCE, false))
    }

    /// The state of a job; empty if there is no row.
    async fn state(&self, key: JobKey) -> String {
        let sql = format!("select state from agentry.job where task = {}", key.task.0);
        let name = self.name.clone();
        let psql = tokio::task::spawn_blocking(move || server().psql(&name, &sql));
        psql.await.unwrap()
    }

    async fn until_state(&self, key: JobKey, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.state(key).await;
            if found == state {
                return;
            }
            assert!(Instant::now() < deadline, "it is {found:?}, not {state:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the task of a run that was dropped was over; none if none was dropped.
    fn was_over(&self, number: i64) -> Option<bool> {
        let key = format!("{}/{number}", self.name);
        let dropped = DROPPED.lock().unwrap();
        let found = dropped.iter().find(|(dropped, _)| *dropped == key);
        found.map(|(_, over)| *over)
    }
}

fn code(end: &JobEnd) -> &str {
    match end {
        JobEnd::Returned(Err(error)) => error.code(),
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_run_reaches_its_owner() {
    let stage = Stage::set().await;
    let _worker = stage.worker(4).await;
    let said = stage.simple(1, "say").end().await;
    assert_eq!(said, JobEnd::Returned(Ok(TaskOutput::text("said"))));
    let JobEnd::Returned(Err(failed)) = stage.simple(2, "fail").end().await else {
        panic!("it fails");
    };
    assert!(failed.is_transient());
    assert_eq!((failed.code(), failed.public()), ("away", "later"));
    let panicked = stage.simple(3, "panic").end().await;
    assert_eq!(
        panicked,
        JobEnd::Panicked("panicked: as requested".to_owned())
    );
    let asked = stage.simple(4, "ask").end().await;
    assert_eq!(asked, JobEnd::Asked(Ask::new("which?").schema(json!({}))));
    let answered = stage.begin(5, "ask", &[json!("this")], (PATIENCE, false));
    let text = JobEnd::Returned(Ok(TaskOutput::text("answered \"this\"")));
    assert_eq!(answered.end().await, text);
    assert_eq!(
        code(&stage.simple(6, "huge").end().await),
        "output-too-large"
    );
    let unknown = stage.simple(7, "unknown").end().await;
    assert_eq!(code(&unknown), "worker");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_and_tokens_reach_the_owner_once() {
    let stage = Stage::set().await;
    let _worker = stage.worker(1).await;
    let followed = stage.simple(1, "report");
    let (desk, progress) = (followed.desk.clone(), Arc::clone(&followed.progress));
    followed.end().await;
    let used = Tokens {
        input: 11,
        output: 2,
    };
    assert_eq!(desk.tokens(), used);
    let progress = progress.lock().unwrap();
    assert_eq!(progress.first(), Some(&(0.5, Some("half".to_owned()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_is_over_only_after_the_last_attempt() {
    let stage = Stage::set().await;
    let _worker = stage.worker(2).await;
    for (number, is_last) in [(1, false), (2, true)] {
        let followed = stage.begin(number, "hang", &[], (BEAT, is_last));
        assert_eq!(followed.end().await, JobEnd::TimedOut);
        assert_eq!(stage.was_over(number), Some(is_last));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_blocks_its_thread_holds_up_nothing_else() {
    let stage = Stage::set().await;
    let _worker = stage.worker(2).await;
    let blocked = stage.begin(1, "block", &[], (BEAT, false));
    stage.until_state(blocked.key, "taken").await;
    let said = stage.simple(2, "say").end().await;
    assert_eq!(said, JobEnd::Returned(Ok(TaskOutput::text("said"))));
    assert_eq!(blocked.end().await, JobEnd::TimedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_retired_ends_wherever_it_is() {
    let stage = Stage::set().await;
    let waiting = stage.simple(1, "hang");
    stage.until_state(waiting.key, "waiting").await;
    waiting.outcome.abort();
    stage.jobs.retire(waiting.key);
    stage.until_state(waiting.key, "").await;
    let _worker = stage.worker(1).await;
    let running = stage.simple(2, "hang");
    stage.until_state(running.key, "taken").await;
    running.outcome.abort();
    stage.jobs.retire(running.key);
    stage.until_state(running.key, "").await;
    assert_eq!(stage.was_over(2), Some(true));
    assert_eq!(stage.was_over(1), None, "no worker has taken it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_can_be_followed_by_somebody_else() {
    let stage = Stage::set().await;
    let first = stage.simple(1, "report");
    stage.until_state(first.key, "waiting").await;
    first.outcome.abort();
    assert!(stage.jobs.left().await.contains(&first.key));
    let next = stage.follow(1, None);
    let _worker = stage.worker(1).await;
    let end = next.end().await;
    assert_eq!(end, JobEnd::Returned(Ok(TaskOutput::text("reported"))));
    // One that is not there cannot.
    let gone = stage.follow(9, None);
    let outcome = tokio::time::timeout(PATIENCE, gone.outcome).await.unwrap();
    assert!(matches!(outcome.unwrap(), JobOutcome::Interrupted(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_gives_its_jobs_back() {
    let stage = Stage::set().await;
    let (stop, worker) = stage.worker(1).await;
    let followed = stage.simple(1, "hang");
    stage.until_state(followed.key, "taken").await;
    stop.send(true).unwrap();
    tokio::time::timeout(PATIENCE, worker)
        .await
        .unwrap()
        .unwrap();
    let outcome = tokio::time::timeout(PATIENCE, followed.outcome)
        .await
        .unwrap();
    assert!(matches!(outcome.unwrap(), JobOutcome::Interrupted(_)));
    assert_eq!(stage.was_over(1), Some(false), "another attempt follows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_has_lost_the_shard_puts_nothing() {
    let stage = Stage::set().await;
    let database = Database::connect(&stage.settings).await.unwrap();
    let claim = database.claim(ShardId(0), Epoch(1), Incarnation([2; 16]), 1);
    assert!(claim.await.unwrap().is_some());
    let followed = stage.simple(1, "say");
    let _worker = stage.worker(1).await;
    tokio::time::timeout(4 * BEAT, followed.outcome)
        .await
        .unwrap_err();
    assert_eq!(stage.state(followed.key).await, "");
}
