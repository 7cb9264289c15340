//! The tasks of behaviours.

use agentry_core::commit::{Outcome, TaskEnd};
use agentry_core::rows::{EventKind, TaskId, TaskState};
use agentry_core::state::spending::DayTokens;
use agentry_core::task::Question;
use agentry_core::{
    AgentId, Cause, Commit, CommitResult, InboxId, Standing, TaskOutput, TokenCharge, Tokens,
};
use agentry_protocol::Timestamp;
use serde_json::{Value, json};

use super::{FIRST, Stage, address, job, outcome};

/// A stage on which a message has started the task 1.
pub(super) fn working() -> Stage {
    caused_by(Cause::Own)
}

fn caused_by(cause: Cause) -> Stage {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.apply(Commit::Outcome(Outcome {
        tasks: vec![job("job")],
        cause,
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
        used: None,
        duration_ms: 5,
        at: Timestamp::new(4_000),
    }
}

#[test]
fn only_the_current_attempt_ends_a_task_and_it_ends_once() {
    let mut stage = working();
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
fn the_tokens_of_all_attempts_are_counted_once() {
    let mut stage = working();
    let used = |input, output| Some(Tokens { input, output });
    let counted = |stage: &Stage| stage.state.tasks().get(&TaskId(1)).unwrap().tokens;
    let retry = |attempts, used| Commit::TaskRetry {
        task: TaskId(1),
        attempts,
        error: ("away".to_owned(), String::new()),
        used,
        due_at: Timestamp::new(3_500),
    };
    for commit in [begin(0), retry(1, used(10, 2)), begin(1), retry(2, None)] {
        stage.apply(commit.clone());
        assert_eq!(stage.apply(commit).result, CommitResult::Stale);
    }
    assert_eq!(
        counted(&stage),
        Tokens {
            input: 10,
            output: 2
        }
    );
    stage.apply(begin(2));
    for _ in 0..2 {
        stage.apply(Commit::TaskEnd {
            task: TaskId(1),
            attempts: 3,
            end: TaskEnd::Canceled,
            used: used(u64::MAX, 5),
            duration_ms: 5,
            at: Timestamp::new(4_000),
        });
    }
    let (input, output) = (Tokens::MOST, 7);
    assert_eq!(counted(&stage), Tokens { input, output });
}

#[test]
fn what_an_attempt_has_used_replaces_what_it_reserved() {
    let day = 20_000;
    let at = |day: u64| Timestamp::new(day * 24 * 60 * 60 * 1000);
    let begin = |attempts, tokens| Commit::TaskBegin {
        task: TaskId(1),
        attempts,
        reserved: TokenCharge { day, tokens },
        at: at(day),
    };
    let retry = |attempts, used| Commit::TaskRetry {
        task: TaskId(1),
        attempts,
        error: ("away".to_owned(), String::new()),
        used,
        // The next day; the attempt counts for the day on which it began.
        due_at: at(day + 1),
    };
    let interrupt = |attempts| Commit::TaskInterrupt {
        task: TaskId(1),
        attempts,
    };
    let (input, output) = (7, 5);
    let used = Some(Tokens { input, output });
    let cause = Cause::Sender(Standing::Known, address(5));
    let mut stage = caused_by(cause.clone());
    for (commit, counted, reserved) in [
        (begin(0, 100), 100, 100),
        (retry(1, used), 12, 0),
        (begin(1, 100), 112, 100),
        // Nobody knows what it has used.
        (retry(2, None), 112, 0),
        (begin(2, 50), 162, 50),
        (interrupt(3), 162, 0),
        (begin(3, 0), 162, 0),
        (retry(4, used), 174, 0),
        (begin(4, 30), 204, 30),
        (end(5), 204, 0),
    ] {
        for _ in 0..2 {
            stage.apply(commit.clone());
            let tokens = DayTokens { counted, reserved };
            assert_eq!(
                stage.state.day_tokens(AgentId(1), day),
                tokens,
                "{commit:?}"
            );
        }
    }
    let (input, output) = (14, 10);
    let of_task = stage.state.tasks().get(&TaskId(1)).unwrap().tokens;
    assert_eq!(of_task, Tokens { input, output });
    let none = DayTokens::default();
    assert_eq!(stage.state.day_tokens(AgentId(1), day + 1), none);
    assert_eq!(stage.state.day_tokens(AgentId(2), day), none);
    let rows = stage.state.spending().iter();
    let causes: Vec<_> = rows.map(|row| &row.cause).collect();
    assert_eq!(causes, [&cause]);
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
        reserved: TokenCharge::default(),
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

fn begin(attempts: u32) -> Commit {
    Commit::TaskBegin {
        task: TaskId(1),
        attempts,
        reserved: TokenCharge::default(),
        at: Timestamp::new(3_000),
    }
}

fn ask(attempts: u32, text: &str) -> Commit {
    Commit::TaskAsk {
        task: TaskId(1),
        attempts,
        question: Question {
            text: text.to_owned(),
            schema: None,
            until: Timestamp::new(9_000),
        },
        used: Some(Tokens {
            input: 3,
            output: 4,
        }),
        at: Timestamp::new(3_500),
    }
}

/// The message of this number answers a question of the task.
fn answer(stage: &mut Stage, message: u8, number: u32, answer: Value) -> Commit {
    stage.hear(message, 6);
    Commit::Outcome(Outcome {
        answers: vec![("job".to_owned(), number, answer)],
        ..outcome(InboxId(message.into()), "tasks")
    })
}

#[test]
fn a_task_waits_with_its_question_and_goes_on_with_the_answer() {
    let mut stage = working();
    stage.apply(begin(0));
    assert_eq!(
        stage.apply(ask(1, "how many?")).result,
        CommitResult::Applied
    );
    assert_eq!(stage.apply(ask(1, "how many?")).result, CommitResult::Stale);
    assert_eq!(state(&stage), TaskState::InputRequired);
    assert!(stage.state.working_tasks().is_empty());
    let asked = stage.state.events().iter().next().unwrap().clone();
    assert_eq!(asked.data["news"]["question"]["text"], "how many?");
    assert_eq!(asked.data["news"]["number"], 1);
    // Another question than the one that is asked.
    let early = answer(&mut stage, 2, 2, json!("pears"));
    stage.apply(early);
    assert_eq!(state(&stage), TaskState::InputRequired);
    let right = answer(&mut stage, 3, 1, json!(3));
    assert!(stage.apply(&right).tasks);
    let again = answer(&mut stage, 4, 1, json!(4));
    stage.apply(again);
    let task = stage.state.tasks().get(&TaskId(1)).unwrap();
    assert_eq!((task.state, &task.question), (TaskState::Submitted, &None));
    assert_eq!(task.answers, [json!(3)]);
    assert_eq!((task.attempts, task.failed_attempts()), (1, 0));
    assert_eq!(
        task.tokens,
        Tokens {
            input: 3,
            output: 4
        }
    );
    stage.apply(begin(1));
    stage.apply(ask(2, "and of what?"));
    let asked = stage.state.events().iter().last().unwrap().clone();
    assert_eq!(asked.data["news"]["number"], 2);
}

#[test]
fn a_question_has_its_time_and_ends_with_its_task() {
    let mut stage = working();
    stage.apply(begin(0));
    stage.apply(ask(1, "how many?"));
    let missed = |stage: &Stage, now| stage.state.deadlines(Timestamp::new(now), 5).missed.len();
    assert_eq!((missed(&stage, 8_999), missed(&stage, 9_000)), (0, 1));
    assert_ne!(stage.apply(end(1)).result, CommitResult::Stale);
    let task = stage.state.tasks().get(&TaskId(1)).unwrap();
    assert_eq!((task.state, &task.question), (TaskState::Completed, &None));
    assert_eq!(missed(&stage, 9_000), 0);
}
