//! Tasks: start, retries, limits, cancellation, and the outcome of the message.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_sdk::testing::{Simulation, TaskPlan, TaskState, block_on};
use agentry_sdk::{Settlement, TaskError, TaskNews, TaskOutput};

use crate::puppet::{log, puppet, texts};

#[test]
fn a_task_is_done_once_and_answered_once() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.post(alice.text("task t easy"));
        chain.mine();
        chain.crash_before_commit(&agent);
        chain.settle().await;
        chain.deliver(alice.text("task t easy")).await;
        assert_eq!(chain.tasks(&agent).len(), 1);
        assert_eq!(texts(&chain, &alice), ["t t at 1"]);
    });
}

#[test]
fn the_message_waits_for_its_task() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        let hash = chain.deliver(alice.text("task t flaky")).await;
        assert_eq!(chain.settlement(hash), None);
        assert_eq!(chain.tasks(&agent)[0].1, TaskState::Submitted);
        chain.advance(Duration::from_secs(10)).await;
        assert_eq!(chain.settlement(hash), Some(Settlement::Done));
        assert_eq!(log(&chain, &agent)[1..], ["t t at 3"]);
    });
}

#[test]
fn progress_is_reported_if_the_limits_enable_it() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.deliver(alice.text("task a slow\ntask b quick")).await;
        assert_eq!(log(&chain, &agent)[1..], ["a 0.5", "a a at 1", "b b at 1"]);
    });
}

#[test]
fn a_hanging_task_is_ended_by_its_limits() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.plan_tasks(|_| TaskPlan::Hang);
        let urgent = chain.deliver(alice.text("task u urgent")).await;
        chain
            .deliver(alice.text("task s stuck\ntask w stuck"))
            .await;
        let states = |chain: &Simulation| -> Vec<TaskState> {
            chain
                .tasks(&agent)
                .into_iter()
                .map(|(_, state)| state)
                .collect()
        };
        // One of a type at a time.
        assert_eq!(
            states(&chain),
            [TaskState::Working, TaskState::Working, TaskState::Submitted]
        );
        chain.advance(Duration::from_secs(5)).await;
        let reason = "its task failed: deadline".to_owned();
        assert_eq!(
            chain.settlement(urgent),
            Some(Settlement::Failed { reason })
        );
        chain.deliver(alice.text("cancel w")).await;
        // Three attempts of a minute, and the pauses.
        chain.advance(Duration::from_secs(200)).await;
        assert_eq!(
            texts(&chain, &alice),
            ["u deadline", "w canceled", "s timeout"]
        );
    });
}

#[test]
fn a_plan_decides_how_attempts_go() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.plan_tasks(|task| match (task.key.as_str(), task.attempt) {
            ("a", _) => TaskPlan::Complete(TaskOutput::text("planned")),
            ("b", 1) => TaskPlan::Fail(TaskError::transient("x", "again")),
            ("b", _) => TaskPlan::Fail(TaskError::permanent("y", "over")),
            _ => TaskPlan::Execute,
        });
        chain
            .deliver(alice.text("task a k\ntask b k\ntask c k"))
            .await;
        chain.advance(Duration::from_secs(5)).await;
        assert_eq!(texts(&chain, &alice), ["a planned", "c c at 1", "b y"]);
        let (_, state) = &chain.tasks(&agent)[1];
        assert!(matches!(
            state,
            TaskState::Ended(TaskNews::Failed { code, .. }) if code == "y"
        ));
    });
}

#[test]
fn attempts_at_a_task_have_one_idempotency_key_and_their_tokens_are_summed() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let kept = Arc::clone(&seen);
        chain.plan_tasks(move |task| {
            let key = task.idempotency_key.clone();
            kept.lock().unwrap().push((key, task.tokens.sum()));
            TaskPlan::Execute
        });
        chain.deliver(alice.text("task a flaky")).await;
        chain.restart();
        chain.advance(Duration::from_secs(10)).await;
        chain.deliver(alice.text("task b easy")).await;
        assert_eq!(texts(&chain, &alice), ["a a at 3", "b b at 1"]);
        assert_eq!(chain.tasks(&agent).len(), 2);
        let seen = seen.lock().unwrap();
        let key = |attempt: usize| seen[attempt].0.as_str();
        assert!(key(0) == key(1) && key(1) == key(2), "{seen:?}");
        assert_ne!(key(2), key(3));
        let before: Vec<u64> = seen.iter().map(|(_, tokens)| *tokens).collect();
        assert_eq!(before, [0, 5, 10, 0]);
    });
}

#[test]
fn a_restart_starts_running_tasks_again() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.plan_tasks(|_| TaskPlan::Hang);
        chain.deliver(alice.text("task t k")).await;
        chain.plan_tasks(|_| TaskPlan::Execute);
        chain.settle().await;
        assert_eq!(chain.tasks(&agent)[0].1, TaskState::Working);
        chain.restart();
        chain.settle().await;
        assert_eq!(texts(&chain, &alice), ["t t at 1"]);
    });
}

#[test]
fn canceling_a_task_that_has_ended_changes_nothing() {
    block_on(async {
        let mut chain = Simulation::new(1);
        puppet(&mut chain);
        let alice = chain.peer("alice");
        let hash = chain.deliver(alice.text("task t k")).await;
        chain.deliver(alice.text("cancel t\ncancel nothing")).await;
        assert_eq!(texts(&chain, &alice), ["t t at 1"]);
        assert_eq!(chain.settlement(hash), Some(Settlement::Done));
    });
}

#[test]
fn a_task_asks_and_goes_on_with_the_answers() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        let hash = chain.deliver(alice.text("task t asks")).await;
        assert_eq!(chain.tasks(&agent)[0].1, TaskState::InputRequired);
        assert_eq!(chain.settlement(hash), None);
        // An answer to a question that is not asked changes nothing.
        chain.deliver(alice.text("answer t 2 pears")).await;
        assert_eq!(chain.tasks(&agent)[0].1, TaskState::InputRequired);
        chain.down_for(Duration::from_secs(3_600));
        chain.crash_before_commit(&agent);
        chain.deliver(alice.text("answer t 1 three")).await;
        chain.deliver(alice.text("answer t 1 four")).await;
        chain.deliver(alice.text("answer t 2 apples")).await;
        assert_eq!(
            texts(&chain, &alice),
            [
                "t asks 1: how many?",
                "t asks 2: and of what?",
                "t \"three\" \"apples\" at 3"
            ]
        );
        assert_eq!(chain.settlement(hash), Some(Settlement::Done));
    });
}

#[test]
fn a_question_beyond_the_limits_ends_the_task_as_in_the_runtime() {
    block_on(async {
        let mut chain = Simulation::new(1);
        puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.deliver(alice.text("task t asks-nothing")).await;
        assert_eq!(texts(&chain, &alice), ["t bad-question"]);
    });
}

#[test]
fn a_question_that_nobody_answers_ends_the_task() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.deliver(alice.text("task t asks")).await;
        chain.deliver(alice.text("answer t 1 three")).await;
        chain.advance(Duration::from_secs(59)).await;
        assert_eq!(chain.tasks(&agent)[0].1, TaskState::InputRequired);
        chain.advance(Duration::from_secs(2)).await;
        assert_eq!(texts(&chain, &alice).last().unwrap(), "t input-timeout");
    });
}
