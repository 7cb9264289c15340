//! Faults: crashes, duplicates, losses, reorganisations.

use std::time::Duration;

use agentry_sdk::protocol::MessageId;
use agentry_sdk::testing::{Disturbances, START, Simulation, TransactionPlace, block_on};

use crate::puppet::{log, puppet, texts};

#[test]
fn a_crash_before_the_commit_repeats_the_run_and_sends_once() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.crash_before_commit(&agent);
        chain.crash_before_commit(&agent);
        chain.deliver(alice.text("reply once")).await;
        chain.restart();
        chain.settle().await;
        let committed: Vec<bool> = chain.runs().iter().map(|run| run.committed).collect();
        assert_eq!(committed, [false, false, true]);
        assert_eq!(texts(&chain, &alice), ["once"]);
        assert_eq!(log(&chain, &agent), ["message reply once"]);
    });
}

#[test]
fn a_message_is_shown_once_in_however_many_transactions() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let (alice, bob) = (chain.peer("alice"), chain.peer("bob"));
        let id = MessageId::new(START, [7; 10]);
        let first = chain.deliver(alice.text("a").id(id)).await;
        chain.replay(first);
        chain.resend(first);
        // An id belongs to its sender: the same id from bob is another message, and the id of an
        // unverified message is ignored.
        chain.post(bob.text("b").id(id));
        chain.settle().await;
        assert_eq!(log(&chain, &agent), ["message a", "message b"]);

        // Without an id, only the digest identifies the message.
        let plain = chain.deliver(alice.text("c")).await;
        chain.replay(plain);
        chain.settle().await;
        assert_eq!(log(&chain, &agent)[2..], ["message c"]);
        chain.resend(plain);
        chain.settle().await;
        assert_eq!(log(&chain, &agent)[2..], ["message c", "message c"]);
    });
}

#[test]
fn ids_out_of_time_are_refused() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        let old = MessageId::new(START.minus_ms(31 * 24 * 3_600_000), [1; 10]);
        let ahead = MessageId::new(START.plus_ms(11 * 60_000), [1; 10]);
        chain.deliver(alice.text("old").id(old)).await;
        chain.deliver(alice.text("ahead").id(ahead)).await;
        assert_eq!(chain.dropped().len(), 2);
        assert!(log(&chain, &agent).is_empty());
    });
}

#[test]
fn a_withdrawn_message_waits_until_it_is_mined_again() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.post(alice.text("reply a"));
        chain.mine();
        chain.withdraw(1);
        chain.run_due().await;
        assert!(log(&chain, &agent).is_empty());
        chain.settle().await;
        assert_eq!(log(&chain, &agent), ["message reply a"]);

        // Handled, it stays handled; its answer is mined again.
        assert_eq!(chain.height().0, 2);
        chain.withdraw(2);
        assert_eq!(chain.height().0, 0);
        assert_eq!(chain.sent()[0].place, TransactionPlace::Pending);
        chain.settle().await;
        assert_eq!(log(&chain, &agent), ["message reply a"]);
        assert_eq!(texts(&chain, &alice), ["a"]);
        assert!(matches!(chain.sent()[0].place, TransactionPlace::Mined(_)));
    });
}

#[test]
fn transactions_that_the_node_loses_are_posted_again() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.post(alice.text("send alice news"));
        chain.mine();
        chain.run_due().await;
        let carrier = chain.sent()[0].transaction;
        assert_eq!(chain.lose_pending(), 1);
        assert_eq!(chain.sent()[0].place, TransactionPlace::Lost);
        chain.mine();
        assert_eq!(chain.sent()[0].place, TransactionPlace::Pending);
        chain.settle().await;
        assert_eq!(chain.sent()[0].transactions, [carrier]);
        assert_eq!(log(&chain, &agent)[1..], ["update news mined"]);
    });
}

#[test]
fn a_refusal_by_the_node_is_reported() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.post(alice.text("send alice news"));
        chain.mine();
        chain.run_due().await;
        assert_eq!(chain.refuse_pending("no money"), 1);
        // After a pause, so that a behaviour that sends it again does not loop.
        chain.advance(Duration::from_secs(1)).await;
        assert_eq!(log(&chain, &agent)[1..], ["update news unsent"]);
        assert_eq!(chain.sent()[0].place, TransactionPlace::Unsent);
    });
}

#[test]
fn an_unacknowledged_message_is_resent_with_its_id() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let alice = chain.peer("alice");
        chain.deliver(alice.text("ask alice q 60 2")).await;
        chain.advance(Duration::from_secs(60)).await;
        let question = chain.sent()[0].clone();
        assert_eq!(question.transactions.len(), 2);
        chain.advance(Duration::from_secs(600)).await;
        let sent = chain.sent();
        assert_eq!((sent.len(), sent[0].transactions.len()), (1, 3));
        assert_eq!(
            log(&chain, &agent)[1..],
            ["update q mined", "update q unacknowledged"]
        );
    });
}

#[test]
fn a_recipient_acts_once_on_a_resent_message() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let other = chain.host(
            agentry_sdk::testing::Agent::named("other")
                .with::<crate::puppet::Puppet>(serde_json::json!({})),
        );
        let alice = chain.peer("alice");
        chain
            .deliver(alice.text("ask other q 60 2").to(&agent))
            .await;
        chain.advance(Duration::from_secs(600)).await;
        assert_eq!(chain.sent_to(&other)[0].transactions.len(), 3);
        assert_eq!(log(&chain, &other), ["message reply yes"]);
    });
}

#[test]
fn a_peer_reacts_once_to_each_message() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = puppet(&mut chain);
        let (alice, bob) = (chain.peer("alice"), chain.peer("bob"));
        chain.script(&bob, |sent| {
            let text = sent.text().unwrap_or_default();
            vec![agentry_sdk::testing::MessageBuilder::text(format!(
                "re: {text}"
            ))]
        });
        chain.deliver(alice.text("send bob hello")).await;
        chain.withdraw(1);
        chain.settle().await;
        assert_eq!(
            log(&chain, &agent)[1..],
            ["update hello mined", "message re: hello"]
        );
    });
}

#[test]
fn a_seed_repeats_its_faults() {
    let play = |seed| {
        block_on(async move {
            let mut chain = Simulation::new(seed);
            puppet(&mut chain);
            let alice = chain.peer("alice");
            chain.disturb(Disturbances::all(30));
            for number in 0..20 {
                chain
                    .deliver(alice.text(format!("reply {number}\nsend alice x")))
                    .await;
            }
            let committed: Vec<bool> = chain.runs().iter().map(|run| run.committed).collect();
            (committed, chain.height(), texts(&chain, &alice))
        })
    };
    assert_eq!(play(3), play(3));
    let (one, other) = (play(3), play(4));
    assert_ne!(one.0, other.0);
    assert_eq!(one.2, other.2);
}
