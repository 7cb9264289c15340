//! The tasks of behaviours.

use agentry_core::commit::{Outcome, TaskEnd};
use agentry_core::rows::{EventKind, TaskId, TaskState};
use agentry_core::{Commit, CommitResult, InboxId, TaskOutput};
use agentry_protocol::Timestamp;

use super::{FIRST, Stage, job, outcome};

/// A stage on which a message has started the task 1.
pub(super) fn working() -> Stage {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.apply(Commit::Outcome(Outcome {
        tasks: vec![job("job")],
        ..outcome(FIRST, "tasks")
    }));
    stage
}

fn state(stage: &Stage) -> TaskState {
    stage.state.tasks().get(&TaskId(1)).unwrap().state
}

pub(super) fn end(attempts: u32) -> Commit {
    Commit::TaskEnd {
        task: TaskId(1),
        attempts,
        end: TaskEnd::Completed(TaskOutput {
            text: "HELLO".to_owned(),
            media_type: None,
            incomplete: None,
        }),
        duration_ms: 5,
        at: Timestamp::new(4_000),
    }
}

#[test]
fn only_the_current_attempt_ends_a_task_and_it_ends_once() {
    let mut stage = working();
    let begin = |attempts| Commit::TaskBegin {
        task: TaskId(1),
        attempts,
        at: Timestamp::new(3_000),
    };
    assert_eq!(stage.apply(begin(0)).result, CommitResult::Applied);
    assert_eq!(stage.apply(begin(0)).result, CommitResult::Stale);
    assert_eq!(stage.apply(end(0)).result, CommitResult::Stale);
    assert_eq!(state(&stage), TaskState::Working);
    assert_ne!(stage.apply(end(1)).result, CommitResult::Stale);
    assert_eq!(state(&stage), TaskState::Completed);
    assert_eq!(stage.apply(end(1)).result, CommitResult::Stale);
    let told = |event: &&agentry_core::state::row::Event| event.kind == EventKind::Task;
    assert_eq!(stage.state.events().iter().filter(told).count(), 1);
}

#[test]
fn an_ended_task_is_not_canceled() {
    let mut stage = working();
    stage.hear(2, 6);
    stage.hear(3, 6);
    let cancel = |message| {
        Commit::Outcome(Outcome {
            cancels: vec!["job".to_owned()],
            ..outcome(InboxId(message), "tasks")
        })
    };
    assert_eq!(stage.apply(cancel(2)).canceled, [TaskId(1)]);
    assert_eq!(state(&stage), TaskState::Canceled);
    assert!(stage.apply(cancel(3)).canceled.is_empty());
}

/// The news of a task that wait for its behaviour, each with the time at which it is due.
fn news(stage: &Stage) -> Vec<(String, u64)> {
    let events = stage.state.events().iter();
    let of_tasks = events.filter(|event| event.kind == EventKind::Task);
    let news = of_tasks.map(|event| (event.data["news"]["news"].to_string(), event.due_at.get()));
    news.collect()
}

#[test]
fn the_end_of_a_task_replaces_its_progress() {
    let mut stage = working();
    stage.apply(Commit::TaskBegin {
        task: TaskId(1),
        attempts: 0,
        at: Timestamp::new(3_000),
    });
    stage.apply(Commit::TaskProgress {
        task: TaskId(1),
        attempts: 1,
        progress: 0.5,
        note: None,
        tell: true,
        at: Timestamp::new(3_500),
    });
    assert_eq!(news(&stage), [(r#""progress""#.to_owned(), 3_500)]);
    stage.apply(end(1));
    assert_eq!(news(&stage), [(r#""completed""#.to_owned(), 4_000)]);
}

#[test]
fn a_task_that_ends_before_its_start_is_reported_when_it_could_have_started() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.apply(Commit::Outcome(Outcome {
        tasks: vec![job("job")],
        tasks_from: Timestamp::new(9_000),
        ..outcome(FIRST, "tasks")
    }));
    stage.apply(end(0));
    assert_eq!(news(&stage), [(r#""completed""#.to_owned(), 9_000)]);
}
