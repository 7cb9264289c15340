//! Watching the rows that change.

use agentry_core::Commit;
use agentry_core::commit::{QueueTarget, Step};
use agentry_core::rows::{InboxState, OutboxState};
use agentry_protocol::Timestamp;
use agentry_store::{RowChange, read};
use tokio::sync::broadcast::error::TryRecvError;

#[tokio::test]
async fn those_who_watch_are_told_of_what_the_tables_have() {
    let (_dir, store, agents) = super::store(1).await;
    let before = super::arrival(agents[0], 1, 2, "before", 1);
    store
        .commit(super::observe(vec![Step::Arrival(before)]))
        .await
        .unwrap();
    store.read(read::identity).await.unwrap();

    let mut changes = store.changes();
    assert!(matches!(changes.try_recv(), Err(TryRecvError::Empty)));
    let arrival = super::arrival(agents[0], 1, 3, "ping", 1);
    let hash = arrival.hash;
    store
        .commit(super::observe(vec![Step::Arrival(arrival)]))
        .await
        .unwrap();
    // A read has the tables written first.
    store.read(read::identity).await.unwrap();
    let told = changes.recv().await.unwrap();
    let [
        RowChange::Message {
            id,
            agent,
            transaction,
            state,
            is_new,
            ..
        },
    ] = &*told
    else {
        panic!("{told:?}");
    };
    assert_eq!((agent, transaction), (&agents[0], &hash));
    assert_eq!((*state, *is_new), (InboxState::Waiting, true));

    let outcome = super::outcome(*id, 0, 3, "pong");
    store.commit(Commit::Outcome(outcome)).await.unwrap();
    store.read(read::identity).await.unwrap();
    let told = changes.recv().await.unwrap();
    let handled = told.iter().any(|change| {
        matches!(
            change,
            RowChange::Message {
                state: InboxState::Handled,
                is_new: false,
                ..
            }
        )
    });
    let queued = told.iter().any(|change| {
        matches!(
            change,
            RowChange::Transaction {
                state: OutboxState::Queued,
                ..
            }
        )
    });
    assert!(handled && queued, "{told:?}");

    // What changes no state is not told.
    let nothing = Commit::Drop {
        target: QueueTarget::All,
        at: Timestamp::new(3_000),
    };
    store.commit(nothing).await.unwrap();
    store.read(read::identity).await.unwrap();
    assert!(matches!(changes.try_recv(), Err(TryRecvError::Empty)));
}
