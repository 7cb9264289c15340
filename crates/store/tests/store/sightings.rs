//! Transactions of hosted wallets on the chain that the outbox does not know.

use agentry_core::commit::Step;
use agentry_core::rows::Prepared;
use agentry_core::{AgentId, Changes, Commit, OutboxId, SendResult};
use agentry_protocol::{Amount, BlockHeight, Nonce, Timestamp};
use agentry_store::list::{self, Filter, OutboxItem};
use agentry_store::{Store, read};

use super::{draft, observe, own, prepared, store};

const AGENT: AgentId = AgentId(1);

fn sighting(signed: &Prepared, height: u64) -> Step {
    Step::Sighting {
        agent: AGENT,
        hash: signed.hash,
        own: Some(own(signed)),
        height: BlockHeight(height),
        block_hash: None,
    }
}

async fn send(store: &Store, signed: Option<Prepared>) -> Changes {
    let send = Commit::Send {
        token: None,
        agent: AGENT,
        draft: draft("control/1", 9, "hello"),
        prepared: signed,
        at: Timestamp::new(2_000),
    };
    store.commit(send).await.unwrap()
}

async fn rows(store: &Store) -> Vec<OutboxItem> {
    let filter = Filter {
        limit: 10,
        ..Filter::default()
    };
    store
        .read(move |db| list::outbox(db, &filter))
        .await
        .unwrap()
}

async fn last_nonce(store: &Store) -> Option<Nonce> {
    store.read(read::agents).await.unwrap()[0].last_nonce
}

#[tokio::test]
async fn the_nonce_of_a_lost_transaction_is_spent() {
    let (_dir, store, _) = store(1).await;
    let signed = prepared(1, &draft("x", 9, "hello"), 77);
    let changes = store
        .commit(observe(vec![sighting(&signed, 5)]))
        .await
        .unwrap();
    assert_eq!(changes.nonces, [(AGENT, Nonce::new(77))]);
    assert_eq!(last_nonce(&store).await, Some(Nonce::new(77)));
    // A lower nonce does not lower it, and a nonce that no clock reaches does not count.
    for nonce in [3, Nonce::MAX.get()] {
        let signed = prepared(1, &draft("x", 9, "hello"), nonce);
        let seen = observe(vec![sighting(&signed, 6)]);
        store.commit(seen).await.unwrap();
        assert_eq!(last_nonce(&store).await, Some(Nonce::new(77)));
    }
}

#[tokio::test]
async fn a_transaction_in_a_block_when_it_is_signed_is_mined_and_charged_once() {
    for at_once in [true, false] {
        let (_dir, store, _) = store(1).await;
        let signed = prepared(1, &draft("control/1", 9, "hello"), 77);
        store
            .commit(observe(vec![sighting(&signed, 5)]))
            .await
            .unwrap();
        let changes = if at_once {
            send(&store, Some(signed.clone())).await
        } else {
            send(&store, None).await;
            let prepared = vec![(OutboxId(1), signed.clone())];
            let prepare = Commit::Prepare {
                prepared,
                at: Timestamp::new(2_000),
            };
            store.commit(prepare).await.unwrap()
        };
        assert!(matches!(changes.sends[..], [SendResult::OnChain(_)]));
        assert!(
            changes.recharged.is_empty(),
            "it was paid for when it was signed"
        );
        let row = rows(&store).await.remove(0);
        assert_eq!((row.state.as_str(), row.height), ("mined", Some(5)));
        assert_eq!(row.transaction, Some(signed.hash.to_string()));
        assert!(
            store
                .query(|state| state.open_transactions(None, 9))
                .await
                .unwrap()
                .is_empty()
        );
        let spent = store.read(|db| read::spending(db, 0)).await.unwrap();
        assert_eq!(spent[0].3, Amount(10));
        // Seen again, it is recognised as the mined row.
        let again = observe(vec![sighting(&signed, 5)]);
        assert_eq!(store.commit(again).await.unwrap().mined.len(), 1);
    }
}

#[tokio::test]
async fn a_sighting_withdrawn_before_its_claim_is_followed() {
    let (_dir, store, _) = store(1).await;
    let signed = prepared(1, &draft("control/1", 9, "hello"), 77);
    let withdrawn = Step::Withdrawn {
        above: Some(BlockHeight(4)),
    };
    store
        .commit(observe(vec![sighting(&signed, 5), withdrawn]))
        .await
        .unwrap();
    let changes = send(&store, Some(signed.clone())).await;
    assert!(matches!(changes.sends[..], [SendResult::OnChain(_)]));
    assert_eq!(changes.reopened.len(), 1);
    assert_eq!(changes.reopened[0].since, BlockHeight(0));
    let row = rows(&store).await.remove(0);
    assert_eq!((row.state.as_str(), row.height), ("accepted", None));
    let body = store.query(|state| state.body(OutboxId(1))).await.unwrap();
    assert_eq!(body.as_deref(), Some(signed.body.as_str()));
}

#[tokio::test]
async fn under_sequential_nonces_what_is_mined_is_counted() {
    let (_dir, store, _) = store(1).await;
    for nonce in [4, 5, 1_795_000_000_000] {
        let signed = prepared(1, &draft("x", 9, "hello"), nonce);
        let seen = observe(vec![sighting(&signed, 6)]);
        store.commit(seen).await.unwrap();
    }
    let last = async |counter| {
        let counter = Nonce::new(counter);
        let last = store.query(move |state| state.last_mined_nonce(AGENT, counter));
        last.await.unwrap()
    };
    assert_eq!(last(4).await, Some(Nonce::new(5)));
    assert_eq!(
        last(6).await,
        None,
        "the node has counted them, and no counter assigned the last one"
    );
    let withdrawn = Step::Withdrawn {
        above: Some(BlockHeight(5)),
    };
    store.commit(observe(vec![withdrawn])).await.unwrap();
    assert_eq!(last(4).await, None);
}

#[tokio::test]
async fn old_sightings_are_pruned() {
    let (_dir, store, _) = store(1).await;
    let signed = prepared(1, &draft("x", 9, "hello"), 77);
    store
        .commit(observe(vec![sighting(&signed, 5)]))
        .await
        .unwrap();
    let prune = |before| Commit::Prune { before, at: before };
    assert_eq!(
        store
            .commit(prune(Timestamp::new(1_000)))
            .await
            .unwrap()
            .rows,
        0
    );
    assert_eq!(
        store
            .commit(prune(Timestamp::new(1_001)))
            .await
            .unwrap()
            .rows,
        1
    );
}
