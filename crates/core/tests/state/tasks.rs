//! The tasks of behaviours.

use agentry_core::commit::{Outcome, TaskEnd};
use agentry_core::rows::{EventKind, TaskId, TaskState};
use agentry_core::{Commit, CommitResult, InboxId, TaskOutput};

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
        at: 4_000,
    }
}

#[test]
fn only_the_current_attempt_ends_a_task_and_it_ends_once() {
    let mut stage = working();
    let begin = |attempts| Commit::TaskBegin {
        task: TaskId(1),
        attempts,
        at: 3_000,
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
