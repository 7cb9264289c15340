//! Tasks: each ends once, in any order of events.

use agentry_core::commit::{Handled, Outcome, Step, TaskEnd, TimerSetting};
use agentry_core::rows::{Draft, EventId, EventKind, EventRef, ReceiptRequest, TaskId, TaskState};
use agentry_core::state::due::Turn;
use agentry_core::state::row::Task;
use agentry_core::state::row::task::Lane;
use agentry_core::{
    AgentId, Cause, Commit, CommitResult, InboxId, Standing, State, TaskOutput, TaskStart,
    TokenCharge,
};
use agentry_protocol::{BlockHeight, Timestamp};
use agentry_store::Store;
use agentry_store::read;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{address, arrival, draft, observe, prepared, sql, store};

/// A store with one agent and this many messages to it, in rows 1, 2, …
async fn with_messages(count: usize) -> (tempfile::TempDir, Store, AgentId) {
    let (dir, store, agents) = store(1).await;
    let agent = agents[0];
    let steps = (1..=count)
        .map(|n| Step::Arrival(arrival(agent, 1, 9, &format!("m{n}"), 1)))
        .collect();
    store.commit(observe(steps)).await.unwrap();
    (dir, store, agent)
}

fn task(key: &str, kind: &str, deadline: Option<Timestamp>) -> TaskStart {
    TaskStart {
        key: key.to_owned(),
        kind: kind.to_owned(),
        input: json!({ "prompt": key }),
        deadline,
    }
}

/// The outcome of the behaviour `tasks` for a message, which `ack` watches.
fn outcome(message: i64) -> Outcome {
    Outcome {
        behaviour: Some("tasks".to_owned()),
        handled: Some(Handled {
            watchers: vec!["ack".to_owned()],
            ..Handled::default()
        }),
        ..Outcome::nothing(EventRef::Inbox(InboxId(message)), 0, Timestamp::new(2_000))
    }
}

fn start(message: i64, tasks: Vec<TaskStart>) -> Commit {
    Commit::Outcome(Outcome {
        tasks,
        ..outcome(message)
    })
}

fn begin(task: i64, attempts: u32) -> Commit {
    Commit::TaskBegin {
        task: TaskId(task),
        attempts,
        reserved: TokenCharge::default(),
        at: Timestamp::new(3_000),
    }
}

fn end(task: i64, attempts: u32, end: TaskEnd) -> Commit {
    Commit::TaskEnd {
        task: TaskId(task),
        attempts,
        end,
        used: None,
        duration_ms: 7,
        at: Timestamp::new(4_000),
    }
}

fn completed(text: &str) -> TaskEnd {
    TaskEnd::Completed(TaskOutput::text(text))
}

fn failed() -> TaskEnd {
    TaskEnd::Failed {
        code: "no".to_owned(),
        message: "it cannot be done".to_owned(),
        public: "no".to_owned(),
    }
}

async fn row(store: &Store, task: i64) -> Task {
    store
        .read(move |db| read::task(db, TaskId(task)))
        .await
        .unwrap()
        .unwrap()
}

/// The events of a kind that wait or are held: their state, name and data.
fn events(store: &Store, kind: &str) -> Vec<(String, String, Value)> {
    let db = sql(store);
    let mut statement = db
        .prepare("SELECT state, name, data FROM event WHERE kind = ?1 ORDER BY id")
        .unwrap();
    let events = statement.query_map([kind], |row| {
        let data: String = row.get(2)?;
        Ok((
            row.get(0)?,
            row.get(1)?,
            serde_json::from_str(&data).unwrap(),
        ))
    });
    events.unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_task_starts_no_sooner_than_allowed_and_its_end_is_not_reported_before() {
    let (_dir, store, agent) = with_messages(2).await;
    let deadline = Some(Timestamp::new(2_500));
    let first = Outcome {
        tasks: vec![task("a", "chat", None), task("b", "chat", deadline)],
        tasks_from: Timestamp::new(9_000),
        ..outcome(1)
    };
    store.commit(Commit::Outcome(first)).await.unwrap();
    let due = async |now| {
        let waiting = store.query(move |state| state.waiting_tasks(now, 9)).await;
        waiting
            .unwrap()
            .iter()
            .map(|lane| lane.due.len())
            .sum::<usize>()
    };
    assert_eq!(
        (
            due(Timestamp::new(8_999)).await,
            due(Timestamp::new(9_000)).await
        ),
        (0, 2)
    );
    // Canceled at once, or past its deadline at once: a behaviour that then starts the next one
    // does not loop without a pause.
    let cancel = Outcome {
        cancels: vec!["a".to_owned()],
        ..outcome(2)
    };
    store.commit(Commit::Outcome(cancel)).await.unwrap();
    store.commit(end(2, 0, failed())).await.unwrap();
    let events = async |now| {
        let due = store.query(move |state| {
            let through = BlockHeight(9);
            state.due(agent, now, through, &mut Turn::default(), 9)
        });
        let due = due.await.unwrap();
        let of_tasks = due
            .events
            .iter()
            .filter(|event| event.row.kind == EventKind::Task);
        of_tasks.count()
    };
    assert_eq!(
        (
            events(Timestamp::new(8_999)).await,
            events(Timestamp::new(9_000)).await
        ),
        (0, 2)
    );
}

#[tokio::test]
async fn the_same_key_is_the_same_task() {
    let (_dir, store, agent) = with_messages(2).await;
    let changes = store
        .commit(start(1, vec![task("a", "chat", None)]))
        .await
        .unwrap();
    assert!(changes.tasks);
    let changes = store
        .commit(start(2, vec![task("a", "other", None)]))
        .await
        .unwrap();
    assert!(!changes.tasks);
    let row = row(&store, 1).await;
    assert_eq!((row.agent, row.kind.as_str()), (agent, "chat"));
    assert_eq!(row.submitter, Some(super::address(9)));
}

#[tokio::test]
async fn an_abandoned_attempt_cannot_end_its_task() {
    let (_dir, store, _) = with_messages(1).await;
    store
        .commit(start(1, vec![task("a", "chat", None)]))
        .await
        .unwrap();
    store.commit(begin(1, 0)).await.unwrap();
    let retry = Commit::TaskRetry {
        task: TaskId(1),
        attempts: 1,
        error: ("timeout".to_owned(), "too slow".to_owned()),
        used: None,
        due_at: Timestamp::new(9_000),
    };
    store.commit(retry).await.unwrap();
    store.commit(begin(1, 1)).await.unwrap();
    let late = store.commit(end(1, 1, completed("late"))).await.unwrap();
    assert_eq!(late.result, CommitResult::Stale);
    assert_eq!(row(&store, 1).await.state, TaskState::Working);
    let changes = store.commit(end(1, 2, completed("right"))).await.unwrap();
    assert_ne!(changes.result, CommitResult::Stale);
    assert_eq!(changes.due, [AgentId(1)]);
    let row = row(&store, 1).await;
    assert_eq!(row.result.as_deref(), Some("right"));
    assert_eq!(row.error_code, None, "the earlier error is cleared");
    assert_eq!(events(&store, "task").len(), 1);
}

#[tokio::test]
async fn an_attempt_that_ended_with_the_process_is_counted_apart() {
    let (_dir, store, _) = with_messages(1).await;
    store
        .commit(start(1, vec![task("a", "chat", None)]))
        .await
        .unwrap();
    store.commit(begin(1, 0)).await.unwrap();
    let interrupt = Commit::TaskInterrupt {
        task: TaskId(1),
        attempts: 1,
    };
    let working = store.query(State::working_tasks).await.unwrap();
    assert_eq!(working.len(), 1);
    assert_ne!(
        store.commit(interrupt.clone()).await.unwrap().result,
        CommitResult::Stale
    );
    assert_eq!(
        store.commit(interrupt).await.unwrap().result,
        CommitResult::Stale
    );
    assert!(store.query(State::working_tasks).await.unwrap().is_empty());
    let row = row(&store, 1).await;
    assert_eq!((row.attempts, row.interrupted), (1, 1));
    assert_eq!(row.state, TaskState::Submitted);
    assert!(events(&store, "task").is_empty(), "nobody is told");
}

#[tokio::test]
async fn a_later_update_replaces_undelivered_progress() {
    let (_dir, store, _) = with_messages(1).await;
    store
        .commit(start(1, vec![task("a", "chat", None)]))
        .await
        .unwrap();
    store.commit(begin(1, 0)).await.unwrap();
    for (part, tell) in [(0.1, true), (0.2, true), (0.3, false)] {
        let progress = Commit::TaskProgress {
            task: TaskId(1),
            attempts: 1,
            progress: part,
            note: None,
            tell,
            at: Timestamp::new(3_500),
        };
        store.commit(progress).await.unwrap();
    }
    let told = events(&store, "task");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].2["news"]["progress"], 0.2);
    store.commit(end(1, 1, completed("x"))).await.unwrap();
    let told = events(&store, "task");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].2["news"]["news"], "completed");
}

#[tokio::test]
async fn the_outcome_of_a_message_is_reported_when_its_tasks_have_ended() {
    for (last, expected) in [
        (completed("b"), json!({ "settlement": "done" })),
        (
            failed(),
            json!({ "settlement": "failed", "reason": "its task failed: no" }),
        ),
    ] {
        let (_dir, store, _) = with_messages(1).await;
        let tasks = vec![task("a", "chat", None), task("b", "chat", None)];
        store.commit(start(1, tasks)).await.unwrap();
        assert_eq!(events(&store, "settled")[0].0, "held");
        store.commit(begin(1, 0)).await.unwrap();
        store.commit(begin(2, 0)).await.unwrap();
        store.commit(end(2, 1, last)).await.unwrap();
        assert_eq!(events(&store, "settled")[0].0, "held");
        let changes = store.commit(end(1, 1, completed("a"))).await.unwrap();
        assert_eq!(changes.due, [AgentId(1)]);
        let settled = events(&store, "settled");
        assert_eq!(
            (settled[0].0.as_str(), &settled[0].2),
            ("waiting", &expected)
        );
    }
}

#[tokio::test]
async fn everything_that_follows_from_a_message_has_its_sender_as_cause() {
    let (_dir, store, agent) = with_messages(1).await;
    let cause = Cause::of(Standing::Stranger, &address(9));
    let asked = ReceiptRequest {
        behaviour: Some("tasks".to_owned()),
        label: Some("label".to_owned()),
        wanted: None,
        within_ms: 0,
        resends: 0,
    };
    let sent = Draft {
        cause: cause.clone(),
        receipt: Some(asked),
        ..draft("inbox/1/tasks/0", 9, "pong")
    };
    let signed = prepared(1, &sent, 1);
    let timer = TimerSetting {
        due_at: Timestamp::new(2_500),
        data: Value::Null,
    };
    let first = Outcome {
        cause: cause.clone(),
        sends: vec![(sent, Some(signed.clone()))],
        timers: vec![("later".to_owned(), Some(timer))],
        tasks: vec![task("a", "chat", None)],
        ..outcome(1)
    };
    store.commit(Commit::Outcome(first)).await.unwrap();
    let seen = Step::Sighting {
        agent,
        hash: signed.hash,
        own: None,
        height: BlockHeight(8),
        block_hash: None,
    };
    store.commit(observe(vec![seen])).await.unwrap();
    store.commit(begin(1, 0)).await.unwrap();
    store.commit(end(1, 1, completed("x"))).await.unwrap();
    let due = store
        .query(move |state| {
            state.due(
                agent,
                Timestamp::new(9_000),
                BlockHeight(9),
                &mut Turn::default(),
                8,
            )
        })
        .await
        .unwrap();
    let kinds: Vec<_> = due
        .events
        .iter()
        .filter(|event| event.row.cause == cause)
        .map(|event| event.row.kind)
        .collect();
    assert_eq!(
        kinds,
        [EventKind::Delivery, EventKind::Timer, EventKind::Task]
    );
}

#[tokio::test]
async fn a_task_that_ended_before_its_message_was_handled_delays_nothing() {
    let (_dir, store, _) = with_messages(1).await;
    let first = Outcome {
        tasks: vec![task("a", "chat", None)],
        handled: None,
        ..outcome(1)
    };
    store.commit(Commit::Outcome(first)).await.unwrap();
    store.commit(begin(1, 0)).await.unwrap();
    store.commit(end(1, 1, failed())).await.unwrap();
    let second = Outcome {
        behaviour: Some("other".to_owned()),
        ..outcome(1)
    };
    store.commit(Commit::Outcome(second)).await.unwrap();
    let settled = events(&store, "settled");
    assert_eq!(settled[0].0, "waiting");
    assert_eq!(settled[0].2["settlement"], "failed");
}

#[tokio::test]
async fn a_reported_failure_waits_for_no_task() {
    let (_dir, store, _) = with_messages(1).await;
    let first = Outcome {
        tasks: vec![task("a", "chat", None)],
        handled: None,
        ..outcome(1)
    };
    store.commit(Commit::Outcome(first)).await.unwrap();
    let dead = Commit::Failure {
        event: EventRef::Inbox(InboxId(1)),
        attempts: 0,
        reason: "no".to_owned(),
        public: "acting on it failed".to_owned(),
        retry_at: None,
        again_at: None,
        watchers: vec!["ack".to_owned()],
        at: Timestamp::new(2_500),
    };
    store.commit(dead).await.unwrap();
    let settled = events(&store, "settled");
    assert_eq!(settled[0].0, "waiting");
    assert_eq!(settled[0].2["settlement"], "failed");
}

#[tokio::test]
async fn a_task_is_pruned_after_its_behaviour_was_told() {
    let (_dir, store, _) = with_messages(1).await;
    store
        .commit(start(1, vec![task("a", "chat", None)]))
        .await
        .unwrap();
    store.commit(begin(1, 0)).await.unwrap();
    store.commit(end(1, 1, completed("x"))).await.unwrap();
    let prune = Commit::Prune {
        before: Timestamp::new(5_000),
        at: Timestamp::new(5_000),
    };
    store.commit(prune.clone()).await.unwrap();
    assert_eq!(row(&store, 1).await.result.as_deref(), Some("x"));
    let query = "SELECT id FROM event WHERE kind = 'task'";
    let told: i64 = sql(&store).query_row(query, [], |row| row.get(0)).unwrap();
    let outcome = Outcome {
        behaviour: Some("tasks".to_owned()),
        ..Outcome::nothing(EventRef::Event(EventId(told)), 0, Timestamp::new(6_000))
    };
    assert_ne!(
        store.commit(Commit::Outcome(outcome)).await.unwrap().result,
        CommitResult::Stale
    );
    store.commit(prune).await.unwrap();
    let found = store.read(|db| read::task(db, TaskId(1))).await.unwrap();
    assert!(found.is_none());
}

#[tokio::test]
async fn lanes_list_due_tasks_in_order_of_arrival() {
    let (_dir, store, agent) = with_messages(1).await;
    let tasks = vec![
        task("a", "chat", None),
        task("b", "chat", None),
        task("c", "chat", None),
        task("d", "other", Some(Timestamp::new(5_000))),
    ];
    store.commit(start(1, tasks)).await.unwrap();
    store.commit(begin(1, 0)).await.unwrap();
    let retry = Commit::TaskRetry {
        task: TaskId(1),
        attempts: 1,
        error: ("away".to_owned(), String::new()),
        used: None,
        due_at: Timestamp::new(9_000),
    };
    store.commit(retry).await.unwrap();
    let lane = |kind: &str| Lane {
        agent,
        behaviour: "tasks".to_owned(),
        kind: kind.to_owned(),
        cause: Cause::Own,
    };
    let look = async |now, limit| {
        let found = store
            .query(move |state| state.waiting_tasks(now, limit))
            .await
            .unwrap();
        found
            .into_iter()
            .map(|one| (one.lane, one.due, one.next_at))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        look(Timestamp::new(4_000), 8).await,
        [
            (
                lane("chat"),
                vec![TaskId(2), TaskId(3)],
                Some(Timestamp::new(9_000))
            ),
            (lane("other"), vec![TaskId(4)], None)
        ]
    );
    assert_eq!(
        look(Timestamp::new(4_000), 1).await,
        [
            (lane("chat"), vec![TaskId(2)], None),
            (lane("other"), vec![TaskId(4)], None)
        ]
    );
    assert_eq!(
        look(Timestamp::new(9_000), 8).await[0].1,
        [TaskId(2), TaskId(3), TaskId(1)]
    );
    let missed = async |now| {
        let found = store.query(move |state| state.deadlines(now, 8));
        let found = found.await.unwrap();
        let missed = found.missed.iter().map(|task| (task.id, task.attempts));
        (missed.collect::<Vec<_>>(), found.next)
    };
    assert_eq!(
        missed(Timestamp::new(4_999)).await,
        (vec![], Some(Timestamp::new(5_000)))
    );
    assert_eq!(
        missed(Timestamp::new(5_000)).await,
        (vec![(TaskId(4), 0)], None)
    );
}

/// How many messages a history may use for cancellations.
const CANCELS: usize = 6;

/// Something that happens to one of two tasks.
#[derive(Clone, Debug)]
enum Happens {
    Begin {
        task: i64,
        attempts: u32,
    },
    Progress {
        task: i64,
        attempts: u32,
        tell: bool,
    },
    Retry {
        task: i64,
        attempts: u32,
    },
    Interrupt {
        task: i64,
        attempts: u32,
    },
    Complete {
        task: i64,
        attempts: u32,
    },
    Fail {
        task: i64,
        attempts: u32,
    },
    Cancel {
        task: i64,
    },
}

fn happens() -> impl Strategy<Value = Happens> {
    let which = || (1_i64..=2, 0_u32..4);
    prop_oneof![
        6 => which().prop_map(|(task, attempts)| Happens::Begin { task, attempts }),
        3 => (which(), any::<bool>()).prop_map(|((task, attempts), tell)| Happens::Progress {
            task,
            attempts,
            tell,
        }),
        2 => which().prop_map(|(task, attempts)| Happens::Retry { task, attempts }),
        2 => which().prop_map(|(task, attempts)| Happens::Interrupt { task, attempts }),
        1 => which().prop_map(|(task, attempts)| Happens::Complete { task, attempts }),
        1 => which().prop_map(|(task, attempts)| Happens::Fail { task, attempts }),
        1 => (1_i64..=2).prop_map(|task| Happens::Cancel { task }),
    ]
}

/// The commit for it; `cancels` counts the messages that were used.
fn commit(happens: &Happens, cancels: &mut usize) -> Option<Commit> {
    Some(match *happens {
        Happens::Begin { task, attempts } => begin(task, attempts),
        Happens::Progress {
            task,
            attempts,
            tell,
        } => Commit::TaskProgress {
            task: TaskId(task),
            attempts,
            progress: 0.5,
            note: Some("half".to_owned()),
            tell,
            at: Timestamp::new(3_500),
        },
        Happens::Retry { task, attempts } => Commit::TaskRetry {
            task: TaskId(task),
            attempts,
            error: ("away".to_owned(), "nobody answers".to_owned()),
            used: None,
            due_at: Timestamp::new(9_000),
        },
        Happens::Interrupt { task, attempts } => Commit::TaskInterrupt {
            task: TaskId(task),
            attempts,
        },
        Happens::Complete { task, attempts } => end(task, attempts, completed("x")),
        Happens::Fail { task, attempts } => end(task, attempts, failed()),
        Happens::Cancel { task } => {
            if *cancels == CANCELS {
                return None;
            }
            *cancels += 1;
            let message = i64::try_from(*cancels).unwrap() + 1;
            Commit::Outcome(Outcome {
                cancels: vec![key(task).to_owned()],
                ..outcome(message)
            })
        }
    })
}

fn key(task: i64) -> &'static str {
    if task == 1 { "a" } else { "b" }
}

fn is_open(state: TaskState) -> bool {
    matches!(state, TaskState::Submitted | TaskState::Working)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// In any order of events: a task ends at most once and stays as it ended. There is one event
    /// for its end and none for its progress beside it. The message is settled when all of its
    /// tasks have ended, and as they have ended.
    #[test]
    fn a_task_has_one_end(history in prop::collection::vec(happens(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, store, _) = with_messages(1 + CANCELS).await;
            let tasks = vec![task("a", "chat", None), task("b", "other", None)];
            store.commit(start(1, tasks)).await.unwrap();
            let mut cancels = 0;
            let mut before = [row(&store, 1).await, row(&store, 2).await];
            for happens in &history {
                let Some(commit) = commit(happens, &mut cancels) else {
                    continue;
                };
                let text = serde_json::to_string(&commit).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Commit>(&text).unwrap(), &commit);
                store.commit(commit.clone()).await.unwrap();
                let after = [row(&store, 1).await, row(&store, 2).await];
                for (before, after) in before.iter().zip(&after) {
                    prop_assert!(after.attempts >= before.attempts);
                    prop_assert!(after.interrupted <= after.attempts);
                    if !is_open(before.state) {
                        prop_assert_eq!(format!("{before:?}"), format!("{after:?}"));
                    }
                }
                let told = events(&store, "task");
                for row in &after {
                    let of_task: Vec<&str> = told
                        .iter()
                        .filter(|(_, name, _)| *name == row.key)
                        .map(|(_, _, data)| data["news"]["news"].as_str().unwrap())
                        .collect();
                    if is_open(row.state) {
                        prop_assert!(of_task.len() <= 1, "{of_task:?}");
                        prop_assert!(of_task.iter().all(|news| *news == "progress"));
                    } else {
                        prop_assert_eq!(of_task, [row.state.as_str()]);
                    }
                }
                let settled = events(&store, "settled");
                let (state, _, data) = &settled[0];
                if after.iter().any(|row| is_open(row.state)) {
                    prop_assert_eq!(state, "held");
                } else {
                    prop_assert_eq!(state, "waiting");
                    let all = after.iter().all(|row| row.state == TaskState::Completed);
                    prop_assert_eq!(&data["settlement"], if all { "done" } else { "failed" });
                }
                before = after;
            }
            Ok(())
        })?;
    }
}
