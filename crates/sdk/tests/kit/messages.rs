//! Delivery of messages to behaviours, and the messages that agents write.

use std::time::Duration;

use agentry_sdk::protocol::command::{Ack, AckStatus, Announce, Endpoints, Tags};
use agentry_sdk::protocol::{AckRequest, Json, KnownCommand};
use agentry_sdk::testing::{Agent, MessageBuilder, Party, START, Simulation, block_on};
use agentry_sdk::{Environment as _, NameError, Settlement};
use serde_json::json;

use crate::puppet::{Puppet, log, log_of, puppet, texts};

fn ack(status: AckStatus) -> KnownCommand {
    KnownCommand::Ack(Ack {
        status,
        detail: None,
    })
}

#[test]
fn a_message_is_shown_in_order_to_each_behaviour_that_accepts_it() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = Agent::named("two")
            .with_named::<Puppet>("first", json!({}))
            .with_named::<Puppet>("sealed", json!({ "sealed_only": true }))
            .with_named::<Puppet>("open", json!({ "unverified": true }));
        let agent = chain.host(agent);
        let alice = chain.peer("alice");
        let somebody = chain.stranger("somebody");
        chain.deliver(alice.text("a")).await;
        chain.deliver(alice.text("b").sealed()).await;
        chain.deliver(somebody.text("c")).await;
        chain.deliver(alice.text("d").unverified()).await;
        let forged = chain.deliver(alice.text("e").forged()).await;
        let own = chain.deliver(agent.text("f").to(&agent)).await;

        let shown = |behaviour| log_of(&chain, &agent, behaviour);
        assert_eq!(shown("first"), ["message a", "message b"]);
        assert_eq!(shown("sealed"), ["message b"]);
        assert_eq!(
            shown("open"),
            ["message a", "message b", "message c", "message d"]
        );
        let dropped: Vec<_> = chain.dropped().iter().map(|one| one.transaction).collect();
        assert_eq!(dropped, [forged, own]);
        let order: Vec<_> = chain
            .runs()
            .iter()
            .map(|run| run.behaviour.as_str())
            .collect();
        assert_eq!(order[..5], ["first", "open", "first", "sealed", "open"]);
    });
}

#[test]
fn an_answer_has_the_header_that_its_question_calls_for() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        let plain = chain.deliver(alice.text("reply plain")).await;
        let threaded = alice.text("reply threaded").thread("t".parse().unwrap());
        let threaded = chain.deliver(threaded.with_id()).await;
        chain.deliver(alice.text("send alice hello")).await;

        let sent = chain.sent_to(&alice);
        assert_eq!((sent[0].re, &sent[0].header), (Some(plain), &None));
        let header = sent[1].header.as_ref().unwrap();
        assert_eq!(header.re, Some(threaded));
        assert_eq!(header.thread, Some("t".parse().unwrap()));
        assert_eq!(header.key, Some(agent.public_key));
        assert_eq!(header.id.unwrap().time(), START);
        let header = sent[2].header.as_ref().unwrap();
        assert_eq!((sent[2].re, header.re), (None, None));
        assert_eq!(sent[2].label.as_deref(), Some("hello"));
    });
}

#[test]
fn only_the_recipient_of_a_question_can_answer_it() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = chain.host(Agent::named("puppet").with::<Puppet>(json!({ "commands": true })));
        let (alice, bob) = (chain.peer("alice"), chain.peer("bob"));
        chain.deliver(alice.text("send bob question")).await;
        let question = chain.sent_to(&bob)[0].transaction;
        let pong = KnownCommand::Pong;
        chain
            .deliver(alice.command(&pong).answering(question))
            .await;
        chain.deliver(bob.command(&pong)).await;
        let unproven = bob.command(&pong).answering(question).unverified();
        chain.deliver(unproven).await;
        assert_eq!(chain.dropped().len(), 3);
        chain
            .deliver(alice.text("by the way").answering(question))
            .await;
        chain.deliver(bob.command(&pong).answering(question)).await;
        chain.deliver(bob.text("indeed").answering(question)).await;
        assert_eq!(
            log(&chain, &agent)[1..],
            [
                "update question mined",
                "message by the way",
                "message PONG answering Some(\"question\")",
                "message indeed answering Some(\"question\")",
            ]
        );
    });
}

#[test]
fn messages_are_read_as_they_are_on_the_chain() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let text = Json::object([("text", Json::string("reply object"))]);
        let alice = chain.peer("alice");
        chain.deliver(MessageBuilder::raw(text).from(&alice)).await;
        let command = alice.text(r#"{"cmd":"PING"}"#);
        let hash = chain.deliver(command).await;
        // A text that looks like a command is encoded so that it stays a text.
        assert_eq!(
            log(&chain, &agent),
            ["message reply object", "message {\"cmd\":\"PING\"}"]
        );
        assert_eq!(chain.settlement(hash), Some(Settlement::Done));
    });
}

#[test]
fn a_watcher_is_told_the_outcome_of_a_message() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = Agent::named("two")
            .with_named::<Puppet>("watcher", json!({ "watches": true, "commands": true }))
            .with::<Puppet>(json!({}));
        let agent = chain.host(agent);
        let alice = chain.peer("alice");
        for text in ["set a b", "permanent", "reject busy", "task t broken"] {
            chain.deliver(alice.text(text)).await;
        }
        let command = chain.deliver(alice.command(&KnownCommand::CancelJob)).await;
        chain
            .deliver(alice.text("late").expires_at(START.minus_ms(1)))
            .await;
        let settled: Vec<String> = log_of(&chain, &agent, "watcher")
            .into_iter()
            .filter(|line| line.starts_with("settled"))
            .collect();
        assert_eq!(
            settled,
            [
                "settled set a b Done",
                "settled permanent Failed { reason: \"acting on it failed\" }",
                "settled reject busy Rejected { reason: \"busy\" }",
                "settled task t broken Failed { reason: \"its task failed: broken\" }",
                "settled ? Rejected { reason: \"no behaviour takes it\" }",
                "settled late Expired",
            ]
        );
        assert!(matches!(
            chain.settlement(command),
            Some(Settlement::Rejected { .. })
        ));
        assert_eq!(chain.dead_letters().len(), 1);
    });
}

#[test]
fn sealing_depends_on_the_question_and_the_key() {
    block_on(async {
        let mut chain = Simulation::new(1);
        chain.host(Agent::named("puppet").with::<Puppet>(json!({ "unverified": true })));
        let alice = chain.peer("alice");
        let somebody = chain.stranger("somebody");
        chain.deliver(alice.text("reply a")).await;
        chain.deliver(alice.text("reply b").sealed()).await;
        chain.deliver(alice.text("aloud c").sealed()).await;
        chain.deliver(alice.text("whisper d")).await;
        let sealed: Vec<bool> = chain.sent_to(&alice).iter().map(|one| one.sealed).collect();
        assert_eq!(sealed, [false, true, false, true]);

        // A card with the key may still arrive, so the failure is transient.
        let lost = chain.deliver(somebody.text("whisper e")).await;
        assert_eq!(chain.settlement(lost), None);
        chain.advance(Duration::from_secs(60)).await;
        assert!(chain.sent_to(&somebody).is_empty());
        assert!(matches!(
            chain.settlement(lost),
            Some(Settlement::Failed { reason }) if reason == "acting on it failed"
        ));
        let (_, reason) = chain.dead_letters().last().unwrap();
        assert!(reason.contains("no encryption key is known"), "{reason}");
        assert!(chain.runs().iter().all(|run| !run.impossible));
    });
}

#[test]
fn cards_on_the_chain_update_the_directory() {
    block_on(async {
        let mut chain = Simulation::new(1);
        puppet(&mut chain);
        let alice = chain.peer("alice");
        let workers = [chain.peer("one"), chain.peer("two")];
        let card = |name: &str| {
            KnownCommand::Announce(Announce {
                name: name.parse().unwrap(),
                description: None,
                capabilities: Tags::new(vec!["dig".parse().unwrap()]).unwrap(),
                commands: Tags::default(),
                enc_key: None,
                schemas: None,
                endpoints: Endpoints::default(),
                expires: START.plus_ms(60_000),
            })
        };
        let announce = |worker: &Party, name: &str| {
            let header = agentry_sdk::protocol::Header {
                key: Some(worker.public_key),
                ..Default::default()
            };
            worker.command(&card(name)).header(header).to(worker)
        };
        chain.deliver(announce(&workers[0], "digger")).await;
        chain.deliver(announce(&workers[1], "Digger-2")).await;
        chain
            .deliver(announce(&workers[1], "forger").forged())
            .await;
        chain.deliver(alice.text("find dig")).await;
        let environment = chain.environment().clone();
        assert_eq!(
            environment.resolve("digger", START),
            Ok(workers[0].address.clone())
        );
        chain.deliver(announce(&workers[1], "digger")).await;
        assert!(matches!(
            environment.resolve("digger", START),
            Err(NameError::Ambiguous { addresses, .. }) if addresses.len() == 2
        ));
        let withdraw = workers[0].command(&KnownCommand::Withdraw).to(&workers[0]);
        chain.deliver(withdraw).await;
        chain.deliver(alice.text("find dig")).await;
        chain.advance(Duration::from_secs(61)).await;
        chain.deliver(alice.text("find dig")).await;
        assert_eq!(texts(&chain, &alice), ["Digger-2 digger", "digger", ""]);
    });
}

#[test]
fn a_receipt_does_not_satisfy_a_request_for_done() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.deliver(alice.text("ask alice q 60 1")).await;
        let question = chain.sent()[0].transaction;
        let say = |status| {
            let ack = alice.command(&ack(status)).with_id();
            ack.answering(question)
        };
        chain.deliver(say(AckStatus::Received)).await;
        chain.advance(Duration::from_secs(300)).await;
        assert_eq!(chain.sent()[0].transactions.len(), 2);
        // The recipient's final answer outranks its silence.
        chain.deliver(say(AckStatus::Failed)).await;
        chain.advance(Duration::from_secs(300)).await;
        assert_eq!(
            log(&chain, &agent)[1..],
            [
                "update q mined",
                "update q received",
                "update q unacknowledged",
                "update q failed",
            ]
        );
    });
}

#[test]
fn two_hosted_agents_talk_and_acknowledge() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let asker = chain.host(Agent::named("asker").with::<Puppet>(json!({})));
        let helper = chain.host(Agent::named("helper").with::<Puppet>(json!({})));
        let alice = chain.peer("alice");
        chain
            .deliver(alice.text("ask helper q 60 1").to(&asker))
            .await;
        let question = chain.sent_to(&helper)[0].clone();
        assert_eq!(question.header.unwrap().ack, Some(AckRequest::Done));
        for status in [AckStatus::Received, AckStatus::Received, AckStatus::Done] {
            let ack = helper.command(&ack(status)).with_id();
            chain
                .deliver(ack.answering(question.transaction).to(&asker))
                .await;
        }
        // No update follows the last one, and none is taken back.
        let late = helper.command(&ack(AckStatus::Failed)).to(&asker);
        chain.deliver(late.answering(question.transaction)).await;
        assert_eq!(
            log(&chain, &asker)[1..],
            [
                "update q mined",
                "message yes answering Some(\"q\")",
                "update q received",
                "update q done",
            ]
        );
        assert_eq!(log(&chain, &helper), ["message reply yes"]);
    });
}
