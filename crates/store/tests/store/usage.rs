//! Limits on how much of the shared resources each sender may use.

use agentry_core::commit::{Arrival, Outcome, QueueTarget, Step, TaskEnd, TimerSetting};
use agentry_core::rows::{EventRef, TaskId};
use agentry_core::{
    AgentId, Authenticity, Cause, Commit, EventId, InboxId, Standing, TaskOutput, TaskStart,
};
use agentry_protocol::{BlockHeight, Timestamp};
use agentry_store::{Store, StoreError};
use rusqlite::Row;
use serde_json::Value;

use super::{address, arrival, draft, observe, outcome, prepared, sql, store};

fn sender(standing: Standing, byte: u8) -> Cause {
    Cause::of(standing, &address(byte))
}

/// The content of the table, and the result of counting the rows.
pub(crate) fn usage(store: &Store) -> (Vec<String>, Vec<String>) {
    let rows = |sql: &str| {
        texts(store, sql, |row| {
            let word = |column| row.get::<_, String>(column);
            let sum = |column| row.get::<_, i64>(column);
            let (agent, items, bytes) = (sum(0)?, sum(4)?, sum(5)?);
            let (kind, standing, sender) = (word(1)?, word(2)?, word(3)?);
            Ok(format!(
                "{agent} {kind} {standing} {sender:?} {items} {bytes}"
            ))
        })
    };
    let known = rows("SELECT * FROM usage ORDER BY 1, 2, 3, 4");
    let counted = rows(
        "WITH one AS (
             SELECT agent, 'message' AS kind, standing,
                    iif(standing = 'unverified', '', sender) AS sender,
                    octet_length(stored) AS bytes FROM inbox
             UNION ALL SELECT agent, 'forged', 'unverified', '', octet_length(stored)
                 FROM forged
             UNION ALL SELECT agent, 'timer', standing, sender, octet_length(data)
                 FROM event WHERE kind = 'timer'
             UNION ALL SELECT agent, 'task', standing, sender, octet_length(input)
                 FROM task WHERE ended_at IS NULL
             UNION ALL SELECT agent, 'queued', standing, sender, octet_length(payload)
                 FROM outbox WHERE state = 'queued'
             UNION ALL SELECT agent, 'ended', standing, sender,
                     octet_length(input) + coalesce(octet_length(result), 0)
                         + coalesce(octet_length(error), 0)
                 FROM task WHERE ended_at IS NOT NULL
             UNION ALL SELECT agent, 'settled', standing, sender,
                     octet_length(coalesce(payload, body -> '$.payload'))
                         + coalesce(octet_length(body), 0)
                 FROM outbox WHERE settled_at IS NOT NULL
         )
         SELECT agent, kind, standing, '' AS sender, count(*), sum(bytes) FROM one
         GROUP BY agent, kind, standing
         UNION ALL
         SELECT agent, kind, standing, sender, count(*), sum(bytes) FROM one
         WHERE sender <> '' GROUP BY agent, kind, standing, sender
         ORDER BY 1, 2, 3, 4",
    );
    (known, counted)
}

/// The rows of a query, each as a text.
fn texts(
    store: &Store,
    query: &str,
    text: impl FnMut(&Row<'_>) -> rusqlite::Result<String>,
) -> Vec<String> {
    let db = sql(store);
    let mut statement = db.prepare(query).unwrap();
    let rows = statement.query_map([], text).unwrap();
    rows.map(Result::unwrap).collect()
}

fn check(store: &Store) {
    let (known, counted) = usage(store);
    assert_eq!(known, counted);
}

/// The outcome for a message, without effects; tests add their own.
fn asking(message: i64, cause: Cause) -> Outcome {
    Outcome {
        behaviour: Some(format!("behaviour-{message}")),
        cause,
        ..Outcome::nothing(EventRef::Inbox(InboxId(message)), 0, Timestamp::new(2_000))
    }
}

fn timers(prefix: &str, count: usize) -> Vec<(String, Option<TimerSetting>)> {
    let setting = TimerSetting {
        due_at: Timestamp::new(9_000),
        data: Value::Null,
    };
    (0..count)
        .map(|index| (format!("{prefix}{index}"), Some(setting.clone())))
        .collect()
}

/// Messages of a few bytes to the first agent, in rows 1, 2, …
async fn messages(store: &Store, agent: AgentId, count: usize) {
    let steps = (0..count)
        .map(|index| Step::Arrival(arrival(agent, 1, 9, &format!("m{index}"), 5)))
        .collect();
    store.commit(observe(steps)).await.unwrap();
}

#[tokio::test]
async fn one_sender_cannot_have_all_timers() {
    let (_dir, store, agents) = store(1).await;
    messages(&store, agents[0], 9).await;
    let set = async |message, cause, count| {
        let outcome = Outcome {
            timers: timers(&format!("{message}/"), count),
            ..asking(message, cause)
        };
        store.commit(Commit::Outcome(outcome)).await
    };
    let stranger = |byte| sender(Standing::Stranger, byte);
    set(1, stranger(2), 1_000).await.unwrap();
    let error = set(2, stranger(2), 1).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Full { reason }
            if reason.contains(address(2).as_str()) && reason.contains("1001 of 1000")),
        "{error}"
    );
    check(&store);
    // Other senders are unaffected until all strangers together have used their share.
    set(3, stranger(3), 1_000).await.unwrap();
    set(4, stranger(4), 500).await.unwrap();
    let error = set(5, stranger(5), 1).await.unwrap_err();
    assert!(error.to_string().contains("2501 of 2500"), "{error}");
    set(6, sender(Standing::Known, 6), 5_000).await.unwrap();
    // A sender may replace one of its timers.
    let again = Outcome {
        timers: timers("1/", 1_000),
        behaviour: Some("behaviour-1".to_owned()),
        ..asking(7, stranger(2))
    };
    store.commit(Commit::Outcome(again)).await.unwrap();
    // A timer that has fired makes room.
    let ran_out = Outcome {
        behaviour: Some("behaviour-1".to_owned()),
        cause: stranger(2),
        timers: timers("new/", 1),
        ..Outcome::nothing(
            EventRef::Event(first_timer(&store)),
            0,
            Timestamp::new(9_000),
        )
    };
    store.commit(Commit::Outcome(ran_out)).await.unwrap();
    check(&store);
}

fn first_timer(store: &Store) -> EventId {
    let query = "SELECT id FROM event WHERE behaviour = 'behaviour-1' ORDER BY id LIMIT 1";
    let id = sql(store).query_row(query, [], |row| row.get(0));
    EventId(id.unwrap())
}

#[tokio::test]
async fn a_request_beyond_the_whole_share_is_refused_permanently() {
    let (_dir, store, agents) = store(1).await;
    messages(&store, agents[0], 2).await;
    let stranger = sender(Standing::Stranger, 2);
    let set = async |message, count| {
        let outcome = Outcome {
            timers: timers(&format!("{message}/"), count),
            ..asking(message, stranger.clone())
        };
        store.commit(Commit::Outcome(outcome)).await
    };
    let error = set(1, 1_001).await.unwrap_err();
    assert!(matches!(error, StoreError::TooMuch { .. }), "{error}");
    set(1, 1_000).await.unwrap();
    let error = set(2, 1_000).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    check(&store);
}

#[tokio::test]
async fn one_sender_cannot_have_all_tasks_nor_the_outbox() {
    let (_dir, store, agents) = store(1).await;
    messages(&store, agents[0], 4).await;
    let task = |index| TaskStart {
        key: format!("task-{index}"),
        kind: "chat".to_owned(),
        input: Value::Null,
        deadline: None,
    };
    let stranger = sender(Standing::Stranger, 2);
    let started = |message, tasks: std::ops::Range<usize>, cause| {
        Commit::Outcome(Outcome {
            tasks: tasks.map(task).collect(),
            ..asking(message, cause)
        })
    };
    let ok = started(1, 0..1_000, stranger.clone());
    store.commit(ok).await.unwrap();
    let error = store
        .commit(started(2, 0..1, stranger.clone()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("open tasks"), "{error}");
    let other = started(3, 2_000..2_001, sender(Standing::Stranger, 3));
    store.commit(other).await.unwrap();
    // A stranger has a tenth of the queue in bytes, too.
    let large = "x".repeat(800_000);
    let sends = (0..140)
        .map(|index| {
            let mut draft = draft(&format!("inbox/4/{index}"), 2, &large);
            draft.cause = stranger.clone();
            (draft, None)
        })
        .collect();
    let outcome = Outcome {
        sends,
        ..asking(4, stranger)
    };
    let error = store.commit(Commit::Outcome(outcome)).await.unwrap_err();
    assert!(error.to_string().contains("queued"), "{error}");
    check(&store);
}

/// A message of this many bytes.
fn large(agent: AgentId, from: u8, text: &str, bytes: usize) -> Arrival {
    Arrival {
        stored: "x".repeat(bytes),
        ..arrival(agent, 1, from, text, 5)
    }
}

const MB: usize = 1_000_000;

#[tokio::test]
async fn large_messages_of_one_sender_leave_room_for_the_others() {
    let (_dir, store, agents) = store(1).await;
    let agent = agents[0];
    let arrive = async |from, text: &str| {
        let step = Step::Arrival(large(agent, from, text, 40 * MB));
        store.commit(observe(vec![step])).await.unwrap()
    };
    // A stranger has a tenth of 1 GiB, which is 107 MB.
    assert_eq!(arrive(2, "one").await.refused, 0);
    assert_eq!(arrive(2, "two").await.refused, 0);
    let changes = arrive(2, "three").await;
    assert_eq!((changes.arrived, changes.refused), (1, 1));
    assert!(changes.due.is_empty(), "no agent acts on it");
    let (state, reason, bytes) = row(&store, 3);
    assert_eq!((state.as_str(), bytes), ("dead", 0));
    assert!(reason.unwrap().contains(address(2).as_str()));
    // Another sender has the same share.
    assert_eq!(arrive(3, "one").await.refused, 0);
    // It is known nevertheless, and an operator cannot retry it.
    assert_eq!(arrive(2, "three").await.repeated, 1);
    let retry = Commit::Retry {
        target: QueueTarget::All,
        at: Timestamp::new(3_000),
    };
    assert_eq!(store.commit(retry).await.unwrap().rows, 0);
    check(&store);

    // Settled messages make room, and stay known.
    let mut done = outcome(InboxId(1), 0, 2, "pong");
    done.sends.clear();
    store.commit(Commit::Outcome(done)).await.unwrap();
    assert_eq!(arrive(2, "four").await.refused, 0);
    let (state, _, bytes) = row(&store, 1);
    assert_eq!((state.as_str(), bytes), ("handled", 0));
    assert_eq!(arrive(2, "one").await.repeated, 1);
    check(&store);
}

/// The state of a message, its reason, and how many bytes of it are stored.
fn row(store: &Store, id: i64) -> (String, Option<String>, i64) {
    let query = "SELECT state, reason, octet_length(stored) FROM inbox WHERE id = ?1";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    sql(store).query_row(query, [id], row).unwrap()
}

#[tokio::test]
async fn the_newest_results_of_a_senders_tasks_are_kept() {
    let (_dir, store, agents) = store(1).await;
    messages(&store, agents[0], 9).await;
    let stranger = sender(Standing::Stranger, 2);
    let done = async |number: usize, bytes: usize, told: bool, cause: &Cause| {
        let message = i64::try_from(number).unwrap();
        let start = Outcome {
            tasks: vec![TaskStart {
                key: format!("task-{number}"),
                kind: "chat".to_owned(),
                input: Value::Null,
                deadline: None,
            }],
            ..asking(message, cause.clone())
        };
        store.commit(Commit::Outcome(start)).await.unwrap();
        let task = TaskId(message);
        let output = TaskOutput::text("x".repeat(bytes));
        let end = Commit::TaskEnd {
            task,
            attempts: 0,
            end: TaskEnd::Completed(output),
            used: None,
            duration_ms: 1,
            at: Timestamp::new(3_000 + number as u64),
        };
        store.commit(end).await.unwrap();
        if told {
            let query = "SELECT max(id) FROM event WHERE kind = 'task'";
            let event: i64 = sql(&store).query_row(query, [], |row| row.get(0)).unwrap();
            let told = Outcome::nothing(EventRef::Event(EventId(event)), 0, Timestamp::new(4_000));
            store.commit(Commit::Outcome(told)).await.unwrap();
        }
    };
    let kept = || {
        let query = "SELECT key, state, error_code FROM task ORDER BY id";
        texts(&store, query, |row| {
            let code: Option<String> = row.get(2)?;
            let (key, state): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(format!("{key} {state} {}", code.unwrap_or_default()))
        })
    };
    // A stranger has a tenth of 1 GiB, which is 107 MB.
    done(1, 50 * MB, true, &stranger).await;
    done(2, 50 * MB, true, &stranger).await;
    done(3, 50 * MB, false, &stranger).await;
    assert_eq!(kept(), ["task-2 completed ", "task-3 completed "]);
    check(&store);
    // A result that was not delivered yet is kept, and a task without room for its result fails.
    done(4, 50 * MB, false, &stranger).await;
    done(5, 50 * MB, true, &stranger).await;
    done(6, 50 * MB, true, &sender(Standing::Stranger, 3)).await;
    let left = [
        "task-3 completed ",
        "task-4 completed ",
        "task-5 failed no-room",
        "task-6 completed ",
    ];
    assert_eq!(kept(), left);
    check(&store);
}

#[tokio::test]
async fn the_newest_transactions_of_a_sender_are_kept() {
    let (_dir, store, agents) = store(1).await;
    messages(&store, agents[0], 16).await;
    let large = "x".repeat(4 * MB);
    let settled = async |message: i64, height: u64, cause: Cause| {
        let mut draft = draft(&format!("inbox/{message}/0"), 2, &large);
        draft.cause = cause.clone();
        let signed = prepared(1, &draft, message.unsigned_abs());
        let hash = signed.hash;
        let outcome = Outcome {
            sends: vec![(draft, Some(signed))],
            ..asking(message, cause)
        };
        store.commit(Commit::Outcome(outcome)).await.unwrap();
        let mined = Step::Sighting {
            agent: agents[0],
            hash,
            own: None,
            height: BlockHeight(height),
            block_hash: None,
        };
        let mut seen = observe(vec![mined]);
        if let Commit::Observe(observation) = &mut seen {
            observation.final_through = Some(BlockHeight(height));
        }
        store.commit(seen).await.unwrap();
    };
    for message in 1..=15 {
        let stranger = sender(Standing::Stranger, 2);
        settled(message, 10 + message.unsigned_abs(), stranger).await;
    }
    settled(16, 40, sender(Standing::Stranger, 3)).await;
    let query = "SELECT origin FROM outbox ORDER BY id";
    let kept = texts(&store, query, |row| row.get(0));
    // Each takes twice its length: as a payload and as signed bytes.
    let expected: Vec<_> = (3..=16)
        .map(|message| format!("inbox/{message}/0"))
        .collect();
    assert_eq!(kept, expected);
    check(&store);
}

#[tokio::test]
async fn the_newest_forged_messages_are_kept() {
    let (_dir, store, agents) = store(1).await;
    for index in 0..5 {
        let forged = Arrival {
            authenticity: Authenticity::Forged,
            ..large(agents[0], 2, &format!("m{index}"), 20 * MB)
        };
        let commit = observe(vec![Step::Arrival(forged)]);
        store.commit(commit).await.unwrap();
    }
    let query = "SELECT count(*) FROM forged";
    let kept: i64 = sql(&store).query_row(query, [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 3);
    check(&store);
}
