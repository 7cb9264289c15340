//! What is pruned, and what is kept for as long as it can arrive again.

use agentry_core::commit::{Arrival, Backfill, CardSeen, Now, Observation, Step};
use agentry_core::rows::ReceiptRequest;
use agentry_core::{AgentId, Authenticity, Commit, CommitResult, InboxId};
use agentry_protocol::header::{MAX_ID_AGE_MS, MAX_ID_AHEAD_MS};
use agentry_protocol::{
    BlockHeight, ChainId, Dialect, Header, MessageId, Number, Payload, Timestamp, Transaction,
    TransactionHash, compose,
};
use agentry_store::list::{self, Filter};
use agentry_store::{Store, read};

use super::{address, arrival, draft, key, observe, outcome, prepared, sql, store};

const NOW: Timestamp = Timestamp::new(1_795_300_000_000);

/// A message with an id.
fn with_id(agent: AgentId, id: MessageId, text: &str) -> Arrival {
    let header = Header {
        id: Some(id),
        ..Header::default()
    };
    let payload = compose(&Payload::Text(text.to_owned()), Some(&header)).unwrap();
    let signed = Transaction {
        dialect: Dialect::April2026,
        from: address(9),
        to: address(1),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(7_u64),
        payload,
        chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
    }
    .sign(&key(9));
    Arrival::new(
        agent,
        signed.hash(),
        &signed.stored(),
        BlockHeight(5),
        Authenticity::Verified,
        NOW,
    )
}

fn seen(arrival: Arrival, at: Timestamp) -> Commit {
    Commit::Observe(Observation {
        steps: vec![Step::Arrival(arrival)],
        cursor: serde_json::Value::Null,
        final_through: None,
        catching_up: None,
        at,
    })
}

async fn handle(store: &Store, id: i64) {
    let mut done = outcome(InboxId(id), 0, 9, "pong");
    done.sends.clear();
    done.at = NOW;
    assert_ne!(
        store.commit(Commit::Outcome(done)).await.unwrap().result,
        CommitResult::Stale
    );
}

#[tokio::test]
async fn an_id_is_kept_for_as_long_as_it_is_accepted() {
    let (_dir, store, agents) = store(1).await;
    let id = MessageId::new(NOW, [7; 10]);
    let first = with_id(agents[0], id, "once");
    assert_ne!(first.identity, first.digest.to_string());
    store.commit(seen(first, NOW)).await.unwrap();
    store
        .commit(seen(arrival(agents[0], 1, 9, "no id", 5), NOW))
        .await
        .unwrap();
    handle(&store, 1).await;
    handle(&store, 2).await;
    // Both were settled long before the retention; the one with an id may arrive again.
    let prune = |at| Commit::Prune { before: at, at };
    let soon = NOW.plus_ms(MAX_ID_AGE_MS);
    assert_eq!(store.commit(prune(soon)).await.unwrap().rows, 1);
    let again = with_id(agents[0], id, "the same id, other words");
    let changes = store.commit(seen(again, soon)).await.unwrap();
    assert_eq!((changes.arrived, changes.repeated), (0, 1));
    // It is pruned once no message with that id would be accepted.
    let late = NOW.plus_ms(MAX_ID_AGE_MS + MAX_ID_AHEAD_MS + 1);
    assert_eq!(store.commit(prune(late)).await.unwrap().rows, 1);
    // It stays refused, even if a clock later says that it is younger.
    let again = with_id(agents[0], id, "once");
    assert_eq!(again.refused, None);
    let changes = store.commit(seen(again, NOW)).await.unwrap();
    assert!(changes.due.is_empty(), "no agent acts on it");
    let items = store
        .read(|db| {
            let filter = Filter {
                limit: 10,
                ..Filter::default()
            };
            list::inbox(db, &filter)
        })
        .await
        .unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].state, "dead");
    let reason = items[0].reason.clone().unwrap();
    assert!(reason.contains("pruned"), "{reason}");
    // A newer id is accepted.
    let fresh = MessageId::new(late.minus_ms(MAX_ID_AGE_MS), [8; 10]);
    let mut fresh = with_id(agents[0], fresh, "another");
    fresh.refused = None;
    let changes = store.commit(seen(fresh, late)).await.unwrap();
    assert_eq!(changes.due, agents);
}

#[tokio::test]
async fn an_id_is_kept_by_its_own_time_whatever_the_clock_showed_on_arrival() {
    let (_dir, store, agents) = store(1).await;
    let id = MessageId::new(NOW, [7; 10]);
    let first = with_id(agents[0], id, "once");
    // It arrived while the local clock was 20 days behind.
    let behind = NOW.minus_ms(20 * 24 * 60 * 60 * 1000);
    store.commit(seen(first, behind)).await.unwrap();
    handle(&store, 1).await;
    let at = NOW.plus_ms(MAX_ID_AGE_MS);
    let prune = Commit::Prune { before: at, at };
    assert_eq!(store.commit(prune).await.unwrap().rows, 0);
}

#[test]
fn a_wrong_clock_causes_no_id_to_be_refused() {
    let agent = AgentId(1);
    let id = MessageId::new(NOW, [7; 10]);
    let arrival = with_id(agent, id, "once");
    let stored = agentry_protocol::StoredTransaction::parse(
        arrival.stored.as_bytes(),
        agentry_protocol::Limits::default(),
    )
    .unwrap();
    let refused = |earliest, latest| {
        let now = Now { earliest, latest };
        let (hash, height) = (arrival.hash, arrival.height);
        Arrival::new(agent, hash, &stored, height, Authenticity::Verified, now).refused
    };
    let day = 24 * 60 * 60 * 1000;
    assert_eq!(refused(NOW, NOW.plus_ms(40 * day)), None, "40 days ahead");
    assert_eq!(refused(NOW.minus_ms(40 * day), NOW), None, "40 days behind");
    assert!(refused(NOW.plus_ms(31 * day), NOW.plus_ms(40 * day)).is_some());
    assert!(refused(NOW.minus_ms(40 * day), NOW.minus_ms(day)).is_some());
}

#[tokio::test]
async fn a_final_transaction_that_is_seen_again_is_still_pruned() {
    let (_dir, store, agents) = store(1).await;
    let draft = draft("operator/1", 2, "hello");
    let signed = prepared(1, &draft, 1);
    let sighting = Step::Sighting {
        agent: agents[0],
        hash: signed.hash,
        own: None,
        height: BlockHeight(5),
        block_hash: None,
    };
    let send = Commit::Send {
        token: None,
        agent: agents[0],
        draft,
        prepared: Some(signed),
        at: NOW,
    };
    store.commit(send).await.unwrap();
    let mut seen = observe(vec![sighting]);
    if let Commit::Observe(observation) = &mut seen {
        observation.final_through = Some(BlockHeight(5));
        observation.at = NOW;
    }
    for _ in 0..2 {
        store.commit(seen.clone()).await.unwrap();
    }
    let at = NOW.plus_ms(1);
    let prune = Commit::Prune { before: at, at };
    assert_eq!(store.commit(prune).await.unwrap().rows, 1);
}

/// An unsent message costs nothing: a behaviour that is told at once and sends it again would loop.
#[tokio::test]
async fn an_unsent_message_is_reported_after_a_pause() {
    let (_dir, store, agents) = store(1).await;
    let mut draft = draft("operator/1", 2, "hello");
    draft.expires_at = Some(NOW.minus_ms(1));
    draft.receipt = Some(ReceiptRequest {
        behaviour: Some("pong".to_owned()),
        label: Some("greeting".to_owned()),
        wanted: None,
        within_ms: 0,
        resends: 0,
    });
    let send = Commit::Send {
        token: None,
        agent: agents[0],
        draft,
        prepared: None,
        at: NOW,
    };
    store.commit(send).await.unwrap();
    let expired = store
        .commit(Commit::ExpireQueued { at: NOW })
        .await
        .unwrap();
    assert_eq!(expired.rows, 1);
    let query = "SELECT due_at FROM event WHERE kind = 'delivery' AND name = 'greeting'";
    let due_at: i64 = sql(&store).query_row(query, [], |row| row.get(0)).unwrap();
    assert_eq!(due_at.unsigned_abs(), NOW.plus_ms(1_000).get());
}

/// The last announcement of a wallet, or its withdrawal, in a block.
fn card(byte: u8, height: u64, card: Option<&str>) -> Step {
    Step::Card(CardSeen {
        address: address(byte),
        hash: TransactionHash::of(&[byte, u8::try_from(height).unwrap()]),
        height: BlockHeight(height),
        public_key: key(byte).public_key(),
        card: card.map(str::to_owned),
        expires_at: card.map_or(Timestamp::EPOCH, |_| NOW.plus_ms(1_000)),
        announced_at: NOW,
    })
}

/// The parameters of an ANNOUNCE.
const CARD: Option<&str> = Some(r#"{"cmd":"ANNOUNCE","name":"one","expires":1795300001000}"#);

async fn observe_final(store: &Store, steps: Vec<Step>, through: u64) {
    let commit = Commit::Observe(Observation {
        steps,
        cursor: serde_json::Value::Null,
        final_through: Some(BlockHeight(through)),
        catching_up: None,
        at: NOW,
    });
    store.commit(commit).await.unwrap();
}

/// How many announcements and withdrawals are kept.
fn kept_cards(store: &Store) -> u32 {
    let count = sql(store).query_row("SELECT count(*) FROM card", [], |row| row.get(0));
    count.unwrap()
}

#[tokio::test]
async fn superseded_announcements_are_pruned_once_final() {
    let (_dir, store, _) = store(1).await;
    observe_final(&store, vec![card(1, 5, CARD)], 0).await;
    for height in 6..40 {
        observe_final(&store, vec![card(1, height, CARD)], height - 5).await;
        assert!(kept_cards(&store) <= 6, "the last final one, and five");
    }
    observe_final(&store, Vec::new(), 39).await;
    assert_eq!(kept_cards(&store), 1);
    let card = store.read(|db| read::card(db, &address(1))).await.unwrap();
    assert_eq!(card.unwrap().card.height, BlockHeight(39));
}

#[tokio::test]
async fn old_announcements_that_a_final_one_supersedes_are_not_kept() {
    let (_dir, store, _) = store(1).await;
    observe_final(&store, vec![card(1, 100, None), card(2, 100, CARD)], 200).await;
    let old = Backfill {
        steps: (1..=3).map(|byte| card(byte, 50, CARD)).collect(),
        at: NOW,
        ..Backfill::default()
    };
    store.commit(Commit::Backfill(old)).await.unwrap();
    assert_eq!(kept_cards(&store), 3);
}

#[tokio::test]
async fn withdrawn_blocks_leave_no_announcements() {
    let (_dir, store, _) = store(1).await;
    let steps = vec![card(1, 5, CARD), card(1, 6, None), card(2, 6, CARD)];
    store.commit(observe(steps)).await.unwrap();
    assert_eq!(kept_cards(&store), 3);
    let all = observe(vec![Step::Withdrawn { above: None }]);
    store.commit(all).await.unwrap();
    assert_eq!(kept_cards(&store), 0);
}
