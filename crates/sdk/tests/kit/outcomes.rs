//! Outcomes: state, timers, failures.

use std::time::Duration;

use agentry_sdk::testing::{Agent, START, Simulation, block_on};
use agentry_sdk::{Effects, Settlement};
use serde_json::json;

use crate::puppet::{Puppet, log, puppet, texts};

#[test]
fn either_all_effects_of_a_run_happen_or_none() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        // The name of this timer is too long.
        let bad = format!("set a 1\nreply half\ntimer {} 1", "n".repeat(300));
        let hash = chain.deliver(alice.text(bad)).await;
        assert!(chain.sent().is_empty());
        assert_eq!(chain.state(&agent, "puppet").get("a"), None);
        assert!(matches!(
            chain.settlement(hash),
            Some(Settlement::Failed { .. })
        ));

        chain
            .deliver(alice.text("set a 1\nset b 2\nclear a\nreply all"))
            .await;
        let state = chain.state(&agent, "puppet");
        assert_eq!((state.get("a"), state.get("b")), (None, Some(&json!("2"))));
        assert_eq!(texts(&chain, &alice), ["all"]);
    });
}

#[test]
fn timers_expire_in_order_and_once() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain
            .deliver(alice.text("timer late 20\ntimer soon 5\ntimer moved 7"))
            .await;
        chain
            .deliver(alice.text("timer moved 30\ntimer gone 6"))
            .await;
        chain.deliver(alice.text("untimer gone")).await;
        assert_eq!(
            chain.timers(&agent, "puppet"),
            [
                ("late".to_owned(), START.plus_ms(20_000)),
                ("soon".to_owned(), START.plus_ms(5_000)),
                ("moved".to_owned(), START.plus_ms(30_000)),
            ]
        );
        chain.advance(Duration::from_secs(19)).await;
        assert_eq!(log(&chain, &agent)[3..], [r#"timer soon {"of":"soon"} 0"#]);
        chain.advance(Duration::from_secs(60)).await;
        assert_eq!(chain.now(), START.plus_ms(79_000));
        assert_eq!(
            log(&chain, &agent)[4..],
            [
                r#"timer late {"of":"late"} 0"#,
                r#"timer moved {"of":"moved"} 0"#
            ]
        );
        assert!(chain.timers(&agent, "puppet").is_empty());
    });
}

#[test]
fn timers_that_expire_while_the_process_is_down_are_late() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.deliver(alice.text("timer b 20\ntimer a 5")).await;
        chain.post(alice.text("stale").expires_at(START.plus_ms(29_999)));
        chain.post(alice.text("fresh").expires_at(START.plus_ms(30_000)));
        chain.down_for(Duration::from_secs(30));
        chain.settle().await;
        assert_eq!(
            log(&chain, &agent)[1..],
            [
                r#"timer a {"of":"a"} 25000"#,
                r#"timer b {"of":"b"} 10000"#,
                "message fresh",
            ]
        );
    });
}

#[test]
fn a_transient_failure_is_retried_and_lets_others_pass() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        let recovered = chain.deliver(alice.text("recover\nattempt")).await;
        chain.deliver(alice.text("attempt")).await;
        assert_eq!(chain.settlement(recovered), None);
        chain.advance(Duration::from_millis(499)).await;
        assert_eq!(texts(&chain, &alice), ["1"]);
        // Half a second, then one.
        chain.advance(Duration::from_millis(1_001)).await;
        assert_eq!(texts(&chain, &alice), ["1", "3"]);
        assert_eq!(chain.settlement(recovered), Some(Settlement::Done));
        assert_eq!(
            log(&chain, &agent),
            ["message attempt", "message recover\nattempt"]
        );
    });
}

#[test]
fn an_event_that_always_fails_becomes_a_dead_letter() {
    block_on(async {
        let mut chain = Simulation::new(1);
        chain.host(Agent::named("puppet").attempts(3).with::<Puppet>(json!({})));
        let alice = chain.peer("alice");
        let hash = chain.deliver(alice.text("transient")).await;
        chain.advance(Duration::from_secs(3_600)).await;
        let attempts: Vec<u32> = chain.runs().iter().map(|run| run.attempt).collect();
        assert_eq!(attempts, [1, 2, 3]);
        let reason = "acting on it failed".to_owned();
        assert_eq!(chain.settlement(hash), Some(Settlement::Failed { reason }));
        assert!(
            chain
                .runs()
                .iter()
                .all(|run| !run.committed && !run.impossible)
        );
        let (_, reason) = &chain.dead_letters()[0];
        assert_eq!(reason, "puppet: not now");
    });
}

#[test]
fn the_effects_of_a_run_can_be_inspected() {
    block_on(async {
        let mut chain = Simulation::new(1);
        puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.deliver(alice.text("reply yes")).await;
        let run = &chain.runs()[0];
        assert_eq!(run.message().unwrap().text(), Some("reply yes"));
        assert_eq!(
            run.outcome,
            Ok(Effects::none()
                .set_state("log", vec!["message reply yes"])
                .reply("yes"))
        );
    });
}

#[test]
fn a_timer_that_sets_itself_again_without_pause_fires_once_a_second() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = Agent::named("restless").with::<restless::Restless>(json!({}));
        let agent = chain.host(agent);
        let alice = chain.peer("alice");
        chain.deliver(alice.text("go")).await;
        chain.advance(Duration::from_secs(10)).await;
        // One from the message, at once.
        assert_eq!(chain.runs().len(), 1 + 1 + 10);
        let next = START.plus_ms(11_000);
        let again = ("again".to_owned(), next);
        assert_eq!(chain.timers(&agent, "restless"), [again]);
    });
}

mod restless {
    use std::time::Duration;

    use agentry_sdk::{
        Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup, Timer,
    };

    #[derive(Debug)]
    pub(super) struct Restless;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct NoSettings {}

    impl Behaviour for Restless {
        const KIND: &'static str = "restless";
        type Settings = NoSettings;

        fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
            Ok(Self)
        }

        fn accepts(&self, _: &Message) -> bool {
            true
        }

        async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
            Ok(Effects::none().schedule("again", Duration::ZERO, ()))
        }

        async fn on_timer(&self, timer: &Timer, _: &Context) -> Result<Effects, BehaviourError> {
            Ok(Effects::none().schedule(&timer.name, Duration::ZERO, ()))
        }
    }
}
