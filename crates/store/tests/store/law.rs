//! Laws over random histories of commits.

use agentry_core::commit::{Outcome, PostResult, Step};
use agentry_core::rows::EventRef;
use agentry_core::{Commit, InboxId, OutboxId};
use agentry_protocol::BlockHeight;
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
            let sends = vec![(reply(*row), signed.then(|| prepared(1, &reply(*row), *row)))];
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
            retry_at: again.then_some(5),
            watchers: Vec::new(),
            at: 3,
        },
        Event::Post { row } => Commit::Post {
            id: OutboxId(*row),
            result: PostResult::Accepted,
            at: 4,
        },
        Event::Mine { message, height } => {
            let row = i64::from(*message) + 1;
            let signed = prepared(1, &reply(row), row);
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

/// The relevant content of the tables, as text.
async fn dump(store: &agentry_store::Store) -> String {
    store
        .read(|db| {
            let mut text = String::new();
            for table in [
                "agent", "inbox", "progress", "state", "outbox", "meta", "event", "receipt",
                "task", "card", "spending", "usage", "sighting",
            ] {
                let mut statement = db.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))?;
                let columns = statement.column_count();
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    for column in 0..columns {
                        text.push_str(&format!("{:?}|", row.get_ref(column)?));
                    }
                    text.push('\n');
                }
            }
            Ok(text)
        })
        .await
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A serialised and deserialised history produces the same store, and a commit that is applied
    /// twice in a row changes nothing the second time.
    #[test]
    fn commits_are_values(events in prop::collection::vec(event(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_one, first, _) = store(1).await;
            let (_two, second, _) = store(1).await;
            for event in &events {
                let commit = commit(event);
                let text = serde_json::to_string(&commit).unwrap();
                let read: Commit = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&read, &commit);
                first.commit(commit.clone()).await.unwrap();
                second.commit(read).await.unwrap();
                if !matches!(event, Event::Post { .. }) {
                    second.commit(commit).await.unwrap();
                }
            }
            prop_assert_eq!(dump(&first).await, dump(&second).await);
            let (known, counted) = super::usage::usage(&first).await;
            prop_assert_eq!(known, counted);
            Ok(())
        })?;
    }

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
            let wrong: i64 = store
                .read(|db| {
                    db.query_row(
                        "SELECT count(*) FROM inbox WHERE (state = 'handled') <>
                           (SELECT count(*) FROM outbox WHERE outbox.inbox = inbox.id)",
                        [],
                        |row| row.get(0),
                    )
                })
                .await
                .unwrap();
            prop_assert_eq!(wrong, 0);
            let unsigned: i64 = store
                .read(|db| {
                    db.query_row(
                        "SELECT count(*) FROM outbox WHERE (state = 'queued') <> (body IS NULL)",
                        [],
                        |row| row.get(0),
                    )
                })
                .await
                .unwrap();
            prop_assert_eq!(unsigned, 0, "rows after `queued` have their signed bytes");
            Ok(())
        })?;
    }
}
