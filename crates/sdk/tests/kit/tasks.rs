//! Tasks: start, retries, limits, cancellation, and the outcome of the message.

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
