//! Laws over random histories of commits. `src/tables/law.rs` has those over all commits.

use agentry_core::commit::{Outcome, PostResult, Step};
use agentry_core::rows::EventRef;
use agentry_core::{Commit, InboxId, OutboxId};
use agentry_protocol::{BlockHeight, Timestamp};
use proptest::prelude::*;

use super::{arrival, draft, observe, outcome, own, prepared, store};

/// One step of a history. The values are few, so that the same messages and rows recur.
#[derive(Clone, Debug)]
enum Event {
    Arrive {
        message: u8,
        height: u64,
    },
    Withdraw {
        above: u64,
    },
    Settle {
        row: i64,
        attempts: u32,
        signed: bool,
    },
    Fail {
        row: i64,
        attempts: u32,
        again: bool,
    },
    Post {
        row: i64,
    },
    Mine {
        message: u8,
        height: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_u8..4, 1_u64..20).prop_map(|(message, height)| Event::Arrive { message, height }),
        (0_u64..20).prop_map(|above| Event::Withdraw { above }),
        (1_i64..5, 0_u32..3, any::<bool>()).prop_map(|(row, attempts, signed)| Event::Settle {
            row,
            attempts,
            signed
        }),
        (1_i64..5, 0_u32..3, any::<bool>()).prop_map(|(row, attempts, again)| Event::Fail {
            row,
            attempts,
            again
        }),
        (1_i64..5).prop_map(|row| Event::Post { row }),
        (0_u8..4, 1_u64..20).prop_map(|(message, height)| Event::Mine { message, height }),
    ]
}

fn commit(event: &Event) -> Commit {
    let agent = agentry_core::AgentId(1);
    let reply = |row: i64| draft(&format!("inbox/{row}/pong/0"), 9, "pong");
    match event {
        Event::Arrive { message, height } => observe(vec![Step::Arrival(arrival(
            agent,
            1,
            9,
            &format!("m{message}"),
            *height,
        ))]),
        Event::Withdraw { above } => observe(vec![Step::Withdrawn {
            above: Some(BlockHeight(*above)),
        }]),
        Event::Settle {
            row,
            attempts,
            signed,
        } => {
            let sends = vec![(
                reply(*row),
                signed.then(|| prepared(1, &reply(*row), row.unsigned_abs())),
            )];
            Commit::Outcome(Outcome {
                sends,
                ..outcome(InboxId(*row), *attempts, 9, "pong")
            })
        }
        Event::Fail {
            row,
            attempts,
            again,
        } => Commit::Failure {
            event: EventRef::Inbox(InboxId(*row)),
            attempts: *attempts,
            reason: "no".to_owned(),
            public: "acting on it failed".to_owned(),
            retry_at: again.then_some(Timestamp::new(5)),
            again_at: None,
            watchers: Vec::new(),
            at: Timestamp::new(3),
        },
        Event::Post { row } => Commit::Post {
            id: OutboxId(*row),
            result: PostResult::Accepted,
            at: Timestamp::new(4),
        },
        Event::Mine { message, height } => {
            let row = i64::from(*message) + 1;
            let signed = prepared(1, &reply(row), row.unsigned_abs());
            observe(vec![Step::Sighting {
                agent,
                hash: signed.hash,
                own: Some(own(&signed)),
                height: BlockHeight(*height),
                block_hash: None,
            }])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However often outcomes are tried, a message has at most one reply, and a message is handled
    /// if and only if it has one.
    #[test]
    fn a_message_is_answered_at_most_once(events in prop::collection::vec(event(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, store, _) = store(1).await;
            for event in &events {
                store.commit(commit(event)).await.unwrap();
            }
            let count = |sql: &str| -> i64 {
                super::sql(&store).query_row(sql, [], |row| row.get(0)).unwrap()
            };
            let wrong = count(
                "SELECT count(*) FROM inbox WHERE (state = 'handled') <>
                   (SELECT count(*) FROM outbox WHERE outbox.inbox = inbox.id)",
            );
            prop_assert_eq!(wrong, 0);
            let unsigned =
                count("SELECT count(*) FROM outbox WHERE (state = 'queued') <> (body IS NULL)");
            prop_assert_eq!(unsigned, 0, "rows after `queued` have their signed bytes");
            Ok(())
        })?;
    }
}
