//! What is seen on the chain.

use agentry_core::commit::{Arrival, CardSeen, Step};
use agentry_core::rows::{InboxState, OutboxState};
use agentry_core::{Commit, OutboxId};
use agentry_protocol::{BlockHeight, Timestamp, TransactionHash};

use super::{AGENT, Stage, address, arrival, draft, final_through, key, prepared};

#[test]
fn a_message_below_the_start_is_ignored() {
    let mut stage = Stage::starting_at(10);
    assert_eq!(stage.hear(1, 9).arrived, 0);
    assert_eq!(stage.hear(1, 10).arrived, 1);
}

#[test]
fn a_repeated_message_is_the_same_one_whatever_identifies_it_now() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    let again = Arrival {
        identity: "01a1ee56-5e00-7000-8000-000000000000".to_owned(),
        ..arrival(1, 6)
    };
    let changes = stage.see(vec![Step::Arrival(again)]);
    assert_eq!((changes.arrived, changes.repeated), (0, 1));
}

#[test]
fn a_refused_message_is_a_dead_letter_and_wakes_nobody() {
    let mut stage = Stage::new();
    let refused = Arrival {
        refused: Some("too old".to_owned()),
        ..arrival(1, 5)
    };
    let changes = stage.see(vec![Step::Arrival(refused)]);
    assert!(changes.due.is_empty());
    assert_eq!(stage.message(1).state, InboxState::Dead);
    assert_eq!(stage.hear(2, 5).due, [AGENT]);
}

#[test]
fn withdrawn_messages_wait_for_their_return_and_keep_the_order_of_the_chain() {
    let mut stage = Stage::new();
    stage.hear(1, 5);
    stage.hear(2, 5);
    stage.see(vec![Step::Withdrawn {
        above: Some(BlockHeight(4)),
    }]);
    for id in [1, 2] {
        assert_eq!(stage.message(id).state, InboxState::Withdrawn);
        assert_eq!(stage.message(id).height, None);
    }
    stage.hear(2, 5);
    stage.hear(1, 6);
    assert_eq!(stage.message(1).state, InboxState::Waiting);
    assert!(stage.message(2).seq < stage.message(1).seq);
    // What arrives later is later.
    stage.hear(3, 6);
    assert!(stage.message(1).seq < stage.message(3).seq);
}

fn mined(hash: TransactionHash, height: u64) -> Step {
    Step::Sighting {
        agent: AGENT,
        hash,
        own: None,
        height: BlockHeight(height),
        block_hash: None,
    }
}

/// A stage with one signed transaction, and its hash.
fn sent() -> (Stage, TransactionHash) {
    let mut stage = Stage::new();
    let draft = draft("send/1", "hello");
    let prepared = prepared(&draft, 100);
    let hash = prepared.hash;
    stage.apply(Commit::Send {
        token: None,
        agent: AGENT,
        draft,
        prepared: Some(prepared),
        at: Timestamp::new(1_000),
    });
    (stage, hash)
}

#[test]
fn a_mined_transaction_is_final_with_its_block() {
    let (mut stage, hash) = sent();
    stage.see(vec![mined(hash, 9)]);
    for (through, state) in [(8, OutboxState::Mined), (9, OutboxState::Final)] {
        stage.apply(final_through(through));
        assert_eq!(stage.outgoing(1).state, state, "{through}");
    }
    // However deep: the chain decides.
    let changes = stage.see(vec![Step::Withdrawn {
        above: Some(BlockHeight(2)),
    }]);
    assert_eq!(changes.reopened.len(), 1);
    let row = stage.outgoing(1);
    assert_eq!((row.state, row.block), (OutboxState::Accepted, None));
    assert_eq!(row.since, Some(BlockHeight(2)));
}

#[test]
fn a_withdrawn_transaction_is_followed_again() {
    let (mut stage, hash) = sent();
    stage.see(vec![mined(hash, 9)]);
    let changes = stage.see(vec![Step::Withdrawn {
        above: Some(BlockHeight(8)),
    }]);
    let row = stage.outgoing(1);
    assert_eq!((row.state, row.block), (OutboxState::Accepted, None));
    let reopened: Vec<_> = changes.reopened.iter().map(|open| open.id).collect();
    assert_eq!(reopened, [OutboxId(1)]);
}

#[test]
fn a_pending_transaction_is_not_posted_again() {
    let (mut stage, hash) = sent();
    stage.see(vec![Step::Pending {
        agent: AGENT,
        hash,
        own: None,
        latest: Timestamp::new(1_000),
    }]);
    assert_eq!(stage.outgoing(1).state, OutboxState::Accepted);
}

#[test]
fn the_latest_final_announcement_stays() {
    let mut stage = Stage::new();
    let card = |number: u8, height| {
        Step::Card(CardSeen {
            address: address(3),
            hash: TransactionHash::from_bytes([number; 32]),
            height: BlockHeight(height),
            public_key: key(3).public_key(),
            card: Some(format!("{{\"card\":{number}}}")),
            expires_at: Timestamp::new(9_000),
            announced_at: Timestamp::new(1_000),
        })
    };
    stage.see(vec![card(1, 5), card(2, 6), card(3, 9)]);
    stage.apply(final_through(7));
    let heights: Vec<_> = stage.state.cards().iter().map(|row| row.height.0).collect();
    assert_eq!(heights, [6, 9]);
    // A reorganisation restores the one before.
    let above = Some(BlockHeight(7));
    stage.see(vec![Step::Withdrawn { above }]);
    let heights: Vec<_> = stage.state.cards().iter().map(|row| row.height.0).collect();
    assert_eq!(heights, [6]);
    // The directory counts its addresses.
    assert_eq!(stage.state.facts().addresses, 1);
    let above = Some(BlockHeight(0));
    stage.see(vec![Step::Withdrawn { above }]);
    assert_eq!(stage.state.facts().addresses, 0);
}
