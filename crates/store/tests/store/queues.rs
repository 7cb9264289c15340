//! The queues of messages and of transactions.

use agentry_core::commit::{PostResult, QueueTarget, Step};
use agentry_core::rows::EventRef;
use agentry_core::state::due::{Due, Turn};
use agentry_core::{AgentId, Commit, CommitResult, InboxId, OutboxId, SendResult};
use agentry_protocol::{Address, BlockHeight, Timestamp};
use agentry_store::Store;
use agentry_store::list::{self, Filter};
use agentry_store::read;

use super::{arrival, draft, observe, outcome, own, prepared, store};

const NOW: Timestamp = Timestamp::new(10_000);

/// What is due when the verified sender `after` had the last turn.
async fn due(store: &Store, agent: AgentId, after: Option<&str>, limit: usize) -> Due {
    let mut turn = Turn::default();
    turn.verified = after.map(|after| Address::from_chain(after).unwrap());
    store
        .query(move |state| state.due(agent, NOW, BlockHeight(100), &mut turn, limit))
        .await
        .unwrap()
}

async fn outbox_states(store: &Store) -> Vec<String> {
    let filter = Filter {
        limit: 100,
        ..Filter::default()
    };
    let items = store
        .read(move |db| list::outbox(db, &filter))
        .await
        .unwrap();
    items.into_iter().map(|item| item.state).collect()
}

#[tokio::test]
async fn messages_that_return_after_a_reorganisation_are_in_their_new_order() {
    let (_dir, store, agents) = store(1).await;
    let seen = |text: &str| Step::Arrival(arrival(agents[0], 1, 9, text, 5));
    let above = Some(BlockHeight(4));
    let steps = ["one", "two", "three"].map(seen).to_vec();
    store.commit(observe(steps)).await.unwrap();
    let again = || {
        let back = ["three", "one", "two", "four"].map(seen);
        observe([vec![Step::Withdrawn { above }], back.to_vec()].concat())
    };
    // Twice: the second time changes nothing.
    for _ in 0..2 {
        store.commit(again()).await.unwrap();
        let messages = due(&store, agents[0], None, 8).await.messages;
        let order: Vec<_> = messages.iter().map(|message| message.id.0).collect();
        assert_eq!(order, [3, 1, 2, 4]);
    }
}

#[tokio::test]
async fn a_message_seen_twice_is_one_message() {
    let (_dir, store, agents) = store(1).await;
    let seen = arrival(agents[0], 1, 9, "ping", 5);
    let changes = store
        .commit(observe(vec![Step::Arrival(seen.clone())]))
        .await
        .unwrap();
    assert_eq!((changes.arrived, changes.repeated), (1, 0));
    assert_eq!(changes.due, agents);
    let changes = store
        .commit(observe(vec![Step::Arrival(seen)]))
        .await
        .unwrap();
    assert_eq!((changes.arrived, changes.repeated), (0, 1));
    assert_eq!(
        changes.due, agents,
        "it still waits, and its agent may not have been woken"
    );
    assert_eq!(due(&store, agents[0], None, 8).await.messages.len(), 1);
    let outcome = Commit::Outcome(outcome(InboxId(1), 0, 9, "pong"));
    store.commit(outcome).await.unwrap();
    let again = arrival(agents[0], 1, 9, "ping", 5);
    let changes = store
        .commit(observe(vec![Step::Arrival(again)]))
        .await
        .unwrap();
    assert!(changes.due.is_empty(), "it is handled");
}

#[tokio::test]
async fn an_outcome_is_applied_once() {
    let (_dir, store, agents) = store(1).await;
    store
        .commit(observe(vec![Step::Arrival(arrival(
            agents[0], 1, 9, "ping", 5,
        ))]))
        .await
        .unwrap();
    let outcome = Commit::Outcome(outcome(InboxId(1), 0, 9, "pong"));
    assert_ne!(
        store.commit(outcome.clone()).await.unwrap().result,
        CommitResult::Stale
    );
    assert_eq!(
        store.commit(outcome).await.unwrap().result,
        CommitResult::Stale
    );
    assert_eq!(outbox_states(&store).await, ["queued"]);
    assert!(due(&store, agents[0], None, 8).await.messages.is_empty());
}

#[tokio::test]
async fn an_outcome_of_an_older_attempt_is_ignored() {
    let (_dir, store, agents) = store(1).await;
    store
        .commit(observe(vec![Step::Arrival(arrival(
            agents[0], 1, 9, "ping", 5,
        ))]))
        .await
        .unwrap();
    let failure = Commit::Failure {
        event: EventRef::Inbox(InboxId(1)),
        attempts: 0,
        reason: "timed out".to_owned(),
        public: "acting on it failed".to_owned(),
        retry_at: Some(NOW),
        again_at: None,
        watchers: Vec::new(),
        at: Timestamp::new(1),
    };
    assert_ne!(
        store.commit(failure.clone()).await.unwrap().result,
        CommitResult::Stale
    );
    assert_eq!(
        store.commit(failure).await.unwrap().result,
        CommitResult::Stale,
        "the same failure is not counted twice"
    );
    let late = Commit::Outcome(outcome(InboxId(1), 0, 9, "pong"));
    assert_eq!(
        store.commit(late).await.unwrap().result,
        CommitResult::Stale
    );
    assert!(outbox_states(&store).await.is_empty());
    let current = Commit::Outcome(outcome(InboxId(1), 1, 9, "pong"));
    assert_ne!(
        store.commit(current).await.unwrap().result,
        CommitResult::Stale
    );
}

#[tokio::test]
async fn a_withdrawn_message_waits_to_be_seen_again() {
    let (_dir, store, agents) = store(1).await;
    let seen = arrival(agents[0], 1, 9, "ping", 5);
    store
        .commit(observe(vec![Step::Arrival(seen.clone())]))
        .await
        .unwrap();
    store
        .commit(observe(vec![Step::Withdrawn {
            above: Some(BlockHeight(4)),
        }]))
        .await
        .unwrap();
    assert!(due(&store, agents[0], None, 8).await.messages.is_empty());
    let void = Commit::Outcome(outcome(InboxId(1), 0, 9, "pong"));
    assert_eq!(
        store.commit(void).await.unwrap().result,
        CommitResult::Stale,
        "it is not acted on while it is withdrawn"
    );
    let again = agentry_core::commit::Arrival {
        height: BlockHeight(6),
        ..seen
    };
    let changes = store
        .commit(observe(vec![Step::Arrival(again)]))
        .await
        .unwrap();
    assert_eq!(changes.due, agents);
    let due = due(&store, agents[0], None, 8).await;
    assert_eq!(due.messages.len(), 1);
    assert_eq!(due.messages[0].height, Some(BlockHeight(6)));
}

#[tokio::test]
async fn a_handled_message_that_is_withdrawn_is_never_handled_again() {
    let (_dir, store, agents) = store(1).await;
    let seen = arrival(agents[0], 1, 9, "ping", 5);
    store
        .commit(observe(vec![Step::Arrival(seen.clone())]))
        .await
        .unwrap();
    store
        .commit(Commit::Outcome(outcome(InboxId(1), 0, 9, "pong")))
        .await
        .unwrap();
    store
        .commit(observe(vec![Step::Withdrawn { above: None }]))
        .await
        .unwrap();
    let changes = store
        .commit(observe(vec![Step::Arrival(seen)]))
        .await
        .unwrap();
    assert!(changes.due.is_empty());
    assert!(due(&store, agents[0], None, 8).await.messages.is_empty());
    assert_eq!(outbox_states(&store).await, ["queued"]);
}

#[tokio::test]
async fn a_mined_reply_that_is_withdrawn_is_followed_again() {
    let (_dir, store, agents) = store(1).await;
    let reply = draft("control/1", 9, "pong");
    let signed = prepared(1, &reply, 7);
    let commit = Commit::Send {
        token: None,
        agent: agents[0],
        draft: reply,
        prepared: Some(signed.clone()),
        at: Timestamp::new(1),
    };
    let id = OutboxId(1);
    for result in [SendResult::Stored(id), SendResult::Known(id)] {
        let changes = store.commit(commit.clone()).await.unwrap();
        assert_eq!(changes.sends, [result], "the same request is one row");
    }
    store
        .commit(Commit::Post {
            id,
            result: PostResult::Accepted,
            at: Timestamp::new(2),
        })
        .await
        .unwrap();
    let sighting = Step::Sighting {
        agent: agents[0],
        hash: signed.hash,
        own: None,
        height: BlockHeight(8),
        block_hash: None,
    };
    let changes = store.commit(observe(vec![sighting.clone()])).await.unwrap();
    assert_eq!(changes.mined, [(id, signed.hash)]);
    assert_eq!(outbox_states(&store).await, ["mined"]);
    let withdrawn = Step::Withdrawn {
        above: Some(BlockHeight(7)),
    };
    let changes = store.commit(observe(vec![withdrawn])).await.unwrap();
    assert_eq!(changes.reopened.len(), 1);
    assert_eq!(outbox_states(&store).await, ["accepted"]);
    let changes = store.commit(observe(vec![sighting])).await.unwrap();
    assert_eq!(changes.mined.len(), 1);
}

#[tokio::test]
async fn a_reply_is_known_by_what_was_signed_even_under_another_hash() {
    let (_dir, store, agents) = store(1).await;
    let reply = draft("control/1", 9, "pong");
    let signed = prepared(1, &reply, 7);
    let send = Commit::Send {
        token: None,
        agent: agents[0],
        draft: reply,
        prepared: Some(signed.clone()),
        at: Timestamp::new(1),
    };
    store.commit(send).await.unwrap();
    let respelled = Step::Sighting {
        agent: agents[0],
        hash: format!("0x{}", "ab".repeat(32)).parse().unwrap(),
        own: Some(own(&signed)),
        height: BlockHeight(8),
        block_hash: None,
    };
    assert_eq!(
        store
            .commit(observe(vec![respelled]))
            .await
            .unwrap()
            .mined
            .len(),
        1
    );
}

#[tokio::test]
async fn senders_take_turns() {
    let (_dir, store, agents) = store(1).await;
    let mut steps = Vec::new();
    for index in 0..50 {
        steps.push(Step::Arrival(arrival(
            agents[0],
            1,
            7,
            &format!("flood {index}"),
            5,
        )));
    }
    steps.push(Step::Arrival(arrival(agents[0], 1, 8, "one", 5)));
    steps.push(Step::Arrival(arrival(agents[0], 1, 9, "two", 5)));
    store.commit(observe(steps)).await.unwrap();
    let first = due(&store, agents[0], None, 3).await.messages;
    let senders: std::collections::BTreeSet<String> = first
        .iter()
        .map(|message| message.sender.to_string())
        .collect();
    assert_eq!(senders.len(), 3, "each sender has one of three places");
    let last = first[0].sender.to_string();
    let next = due(&store, agents[0], Some(&last), 1).await.messages;
    assert_ne!(next[0].sender.to_string(), last, "the turns continue");
}

#[tokio::test]
async fn first_attempts_keep_the_chains_order_and_retries_let_others_pass() {
    let (_dir, store, agents) = store(1).await;
    let steps = (0..3)
        .map(|i| Step::Arrival(arrival(agents[0], 1, 9, &format!("{i}"), 5 + i)))
        .collect();
    store.commit(observe(steps)).await.unwrap();
    let ids = |due: &Due| {
        due.messages
            .iter()
            .map(|message| message.id.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&due(&store, agents[0], None, 8).await), [1, 2, 3]);
    let failure = Commit::Failure {
        event: EventRef::Inbox(InboxId(1)),
        attempts: 0,
        reason: "later".to_owned(),
        public: "acting on it failed".to_owned(),
        retry_at: Some(NOW.plus_ms(5)),
        again_at: None,
        watchers: Vec::new(),
        at: NOW,
    };
    store.commit(failure).await.unwrap();
    let waiting = due(&store, agents[0], None, 8).await;
    assert_eq!(ids(&waiting), [2, 3]);
    assert_eq!(waiting.next_at, Some(NOW.plus_ms(5)));
}

#[tokio::test]
async fn a_dead_letter_can_be_retried_and_dropped() {
    let (_dir, store, agents) = store(1).await;
    store
        .commit(observe(vec![Step::Arrival(arrival(
            agents[0], 1, 9, "x", 5,
        ))]))
        .await
        .unwrap();
    let dead = |attempts| Commit::Failure {
        event: EventRef::Inbox(InboxId(1)),
        attempts,
        reason: "no".to_owned(),
        public: "acting on it failed".to_owned(),
        retry_at: None,
        again_at: None,
        watchers: Vec::new(),
        at: Timestamp::new(1),
    };
    store.commit(dead(0)).await.unwrap();
    assert!(due(&store, agents[0], None, 8).await.messages.is_empty());
    let changes = store
        .commit(Commit::Retry {
            target: QueueTarget::All,
            at: NOW,
        })
        .await
        .unwrap();
    assert_eq!(changes.due, agents);
    let attempts = due(&store, agents[0], None, 8).await.messages[0].attempts;
    store.commit(dead(attempts)).await.unwrap();
    let drop = Commit::Drop {
        target: QueueTarget::Inbox(InboxId(1)),
        at: Timestamp::new(3),
    };
    assert_eq!(store.commit(drop).await.unwrap().rows, 1);
    let changes = store
        .commit(Commit::Retry {
            target: QueueTarget::All,
            at: NOW,
        })
        .await
        .unwrap();
    assert_eq!(changes.rows, 0);
}

#[tokio::test]
async fn what_was_signed_cannot_be_dropped() {
    let (_dir, store, agents) = store(1).await;
    let reply = draft("control/1", 9, "pong");
    let signed = prepared(1, &reply, 7);
    let send = Commit::Send {
        token: None,
        agent: agents[0],
        draft: reply,
        prepared: Some(signed),
        at: Timestamp::new(1),
    };
    store.commit(send).await.unwrap();
    let drop = Commit::Drop {
        target: QueueTarget::Outbox(OutboxId(1)),
        at: Timestamp::new(3),
    };
    assert_eq!(store.commit(drop).await.unwrap().rows, 0);
    assert_eq!(outbox_states(&store).await, ["prepared"]);
}

#[tokio::test]
async fn forged_messages_are_kept_apart() {
    let (_dir, store, agents) = store(1).await;
    let mut forged = arrival(agents[0], 1, 9, "ping", 5);
    forged.authenticity = agentry_core::Authenticity::Forged;
    let changes = store
        .commit(observe(vec![Step::Arrival(forged)]))
        .await
        .unwrap();
    assert!(changes.due.is_empty());
    // The forged message has the same identity as the genuine one, which must still be accepted.
    let genuine = arrival(agents[0], 1, 9, "ping", 6);
    let changes = store
        .commit(observe(vec![Step::Arrival(genuine)]))
        .await
        .unwrap();
    assert_eq!(changes.due, agents);
    assert_eq!(store.read(read::counts).await.unwrap().forged, 1);
}

/// Fails a message of each of these senders, so that it is due again at `again`.
async fn failing(store: &Store, agent: AgentId, senders: std::ops::Range<u8>, again: Timestamp) {
    let steps = senders
        .clone()
        .map(|sender| Step::Arrival(arrival(agent, 1, sender, "it fails", 5)))
        .collect();
    store.commit(observe(steps)).await.unwrap();
    for row in 1..=i64::from(senders.end - senders.start) {
        let failure = Commit::Failure {
            event: EventRef::Inbox(InboxId(row)),
            attempts: 0,
            reason: "later".to_owned(),
            public: "later".to_owned(),
            retry_at: Some(again),
            again_at: None,
            watchers: Vec::new(),
            at: NOW,
        };
        assert_ne!(
            store.commit(failure).await.unwrap().result,
            CommitResult::Stale
        );
    }
}

#[tokio::test]
async fn a_sender_with_nothing_due_takes_no_place_from_others() {
    let (_dir, store, agents) = store(1).await;
    failing(&store, agents[0], 10..40, NOW.plus_ms(5)).await;
    for sender in 40..43 {
        let seen = arrival(agents[0], 1, sender, "in time", 5);
        store
            .commit(observe(vec![Step::Arrival(seen)]))
            .await
            .unwrap();
    }
    let found = due(&store, agents[0], None, 8).await;
    assert_eq!(
        found.messages.len(),
        3,
        "also after 30 senders that have to wait"
    );
    assert!(!found.is_cut);
}

#[tokio::test]
async fn many_senders_with_nothing_due_are_examined_in_several_pulls() {
    let (_dir, store, agents) = store(1).await;
    let agent = agents[0];
    // 300 senders that have to wait: more than one pull examines.
    let steps = (0..300)
        .map(|sender| {
            let mut seen = arrival(agent, 1, 9, &format!("message {sender}"), 5);
            seen.sender = Address::from_chain(&format!("sender-{sender}")).unwrap();
            Step::Arrival(seen)
        })
        .collect();
    store.commit(observe(steps)).await.unwrap();
    for row in 1..=300 {
        let failure = Commit::Failure {
            event: EventRef::Inbox(InboxId(row)),
            attempts: 0,
            reason: "later".to_owned(),
            public: "later".to_owned(),
            retry_at: Some(NOW.plus_ms(1_000 - u64::try_from(row).unwrap())),
            again_at: None,
            watchers: Vec::new(),
            at: NOW,
        };
        store.commit(failure).await.unwrap();
    }
    let mut turn = Turn::default();
    let (mut pulls, mut next_at) = (0, None);
    loop {
        let mut at = turn.clone();
        let (found, at) = store
            .query(move |state| {
                let due = state.due(agent, NOW, BlockHeight(100), &mut at, 8);
                (due, at)
            })
            .await
            .unwrap();
        turn = at;
        assert!(found.is_empty());
        pulls += 1;
        next_at = found.next_at.into_iter().chain(next_at).min();
        if !found.is_cut {
            break;
        }
    }
    assert_eq!(pulls, 2, "all were examined once");
    assert_eq!(next_at, Some(NOW.plus_ms(700)), "the earliest of all");
}

#[tokio::test]
async fn a_message_expired_only_by_the_local_clock_waits_and_delays_no_other() {
    let (_dir, store, agents) = store(1).await;
    let agent = agents[0];
    let with_exp = |text: &str, exp| {
        let mut seen = arrival(agent, 1, 9, text, 5);
        seen.expires_at = exp;
        Step::Arrival(seen)
    };
    let steps = vec![
        with_exp("over", Some(NOW.minus_ms(101))),
        with_exp("over by the local clock", Some(NOW.minus_ms(50))),
        with_exp("in time", Some(NOW.plus_ms(1))),
        with_exp("without", None),
    ];
    store.commit(observe(steps)).await.unwrap();
    let found = store
        .query(move |state| {
            let mut turn = Turn::default();
            turn.doubted = NOW.minus_ms(100)..NOW;
            state.due(agent, NOW, BlockHeight(100), &mut turn, 8)
        })
        .await
        .unwrap();
    let ids: Vec<i64> = found.messages.iter().map(|message| message.id.0).collect();
    assert_eq!(ids, [1, 3, 4]);
    assert_eq!(found.next_at, Some(NOW.plus_ms(51)), "then it is certain");
}

#[tokio::test]
async fn every_agent_with_something_due_is_found() {
    let (_dir, store, agents) = store(3).await;
    let found = |store: Store, now| async move {
        store
            .query(move |state| state.agents_due(now))
            .await
            .unwrap()
    };
    assert!(found(store.clone(), NOW).await.is_empty());
    let register = Commit::Register {
        agent: agents[2],
        card: serde_json::json!({}),
        due_at: NOW,
    };
    store.commit(register).await.unwrap();
    assert!(found(store.clone(), NOW.minus_ms(1)).await.is_empty());
    assert_eq!(found(store.clone(), NOW).await, [agents[2]]);
    let seen = arrival(agents[1], 2, 9, "ping", 5);
    store
        .commit(observe(vec![Step::Arrival(seen)]))
        .await
        .unwrap();
    assert_eq!(found(store.clone(), NOW).await, [agents[1], agents[2]]);
    let outcome = Commit::Outcome(outcome(InboxId(1), 0, 9, "pong"));
    store.commit(outcome).await.unwrap();
    assert_eq!(found(store, NOW).await, [agents[2]]);
}

#[tokio::test]
async fn the_store_keeps_the_latest_runtime_time() {
    let (_dir, store, agents) = store(1).await;
    let noted = || store.read(read::noted_time);
    assert_eq!(noted().await.unwrap(), None);
    let send = |at| Commit::Send {
        token: None,
        agent: agents[0],
        draft: draft(&format!("control/{at}"), 9, "pong"),
        prepared: None,
        at,
    };
    for (at, wanted) in [(5_000, 5_000), (5_500, 5_000), (6_000, 6_000), (100, 6_000)] {
        store.commit(send(Timestamp::new(at))).await.unwrap();
        assert_eq!(noted().await.unwrap(), Some(Timestamp::new(wanted)), "{at}");
    }
    // An operator's clock and the time that blocks confirm are not the runtime's time.
    let later = Timestamp::new(1_000_000);
    for commit in [
        Commit::ExpireQueued { at: later },
        Commit::Prune {
            before: Timestamp::EPOCH,
            at: later,
        },
        Commit::Retry {
            target: QueueTarget::All,
            at: later,
        },
    ] {
        store.commit(commit).await.unwrap();
        assert_eq!(noted().await.unwrap(), Some(Timestamp::new(6_000)));
    }
}
