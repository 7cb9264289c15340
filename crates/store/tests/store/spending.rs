//! What budgets pay for, their refunds, and the drafts that wait for them.

use std::collections::{BTreeMap, HashSet};

use agentry_core::commit::{Observation, PostResult, QueueTarget, Step};
use agentry_core::rows::{Draft, Prepared, Spent};
use agentry_core::state::drafts::QueueTurn;
use agentry_core::{AgentId, Cause, Commit, OutboxId, SendResult, Standing, State};
use agentry_protocol::timestamp::DAY_MS;
use agentry_protocol::{Amount, BlockHeight, Timestamp};
use agentry_store::list::{self, Filter, OutboxItem};
use agentry_store::{Store, read};
use proptest::prelude::*;

use super::{address, draft, observe, prepared, store};

const DAY: u64 = 20_000;
const NOW: Timestamp = Timestamp::new(DAY * DAY_MS + 1);

/// A draft that costs this much, fee included.
fn costing(origin: &str, cost: u64, cause: Cause) -> Draft {
    Draft {
        amount: Amount(cost - 10),
        cause,
        ..draft(origin, 9, "pong")
    }
}

fn paid(from: u8, draft: &Draft, nonce: u64, day: u64) -> Prepared {
    Prepared {
        day,
        ..prepared(from, draft, nonce)
    }
}

async fn send(store: &Store, agent: AgentId, draft: Draft, signed: Option<Prepared>) -> OutboxId {
    let commit = Commit::Send {
        token: None,
        agent,
        draft,
        prepared: signed,
        at: NOW,
    };
    store.commit(commit).await.unwrap().sends[0].id()
}

async fn spent(store: &Store, agent: AgentId, day: u64) -> Spent {
    store
        .read(move |db| read::spent(db, agent, day))
        .await
        .unwrap()
}

async fn rows(store: &Store) -> Vec<OutboxItem> {
    let filter = Filter {
        limit: 100,
        ..Filter::default()
    };
    store
        .read(move |db| list::outbox(db, &filter))
        .await
        .unwrap()
}

/// A verified sender.
fn sender(standing: Standing, byte: u8) -> Cause {
    Cause::of(standing, &address(byte))
}

fn sum(all: u64, unverified: u64) -> Spent {
    Spent {
        all: Amount(all),
        unverified: Amount(unverified),
        ..Spent::default()
    }
}

#[tokio::test]
async fn the_day_of_signing_pays_and_is_refunded_on_failure() {
    let (_dir, store, agents) = store(2).await;
    let agent = agents[0];
    let one = costing("control/1", 25, Cause::Own);
    let signed = paid(1, &one, 1, DAY);
    let id = send(&store, agent, one, Some(signed)).await;
    let other = costing("control/2", 10, Cause::Unverified);
    let signed = paid(1, &other, 2, DAY);
    send(&store, agent, other, Some(signed)).await;
    assert_eq!(spent(&store, agent, DAY).await, sum(35, 10));
    assert_eq!(spent(&store, agents[1], DAY).await, sum(0, 0));
    let failed = Commit::Post {
        id,
        result: PostResult::Failed {
            reason: "no".to_owned(),
        },
        at: NOW.plus_ms(DAY_MS),
    };
    store.commit(failed.clone()).await.unwrap();
    assert_eq!(spent(&store, agent, DAY).await, sum(10, 10));
    // It fails.
    store.commit(failed).await.unwrap();
    assert_eq!(spent(&store, agent, DAY).await, sum(10, 10));
    // An operator has it posted again: the day of the retry pays.
    let retry = Commit::Retry {
        target: QueueTarget::Outbox(id),
        at: NOW.plus_ms(DAY_MS),
    };
    let changes = store.commit(retry).await.unwrap();
    assert_eq!(changes.reopened[0].charge.as_ref().unwrap().day, DAY + 1);
    assert_eq!(spent(&store, agent, DAY).await, sum(10, 10));
    assert_eq!(spent(&store, agent, DAY + 1).await, sum(25, 0));
}

#[tokio::test]
async fn a_re_signed_draft_is_charged_once() {
    let (_dir, store, agents) = store(1).await;
    let agent = agents[0];
    let one = costing("control/1", 10, Cause::Own);
    let id = send(&store, agent, one.clone(), Some(paid(1, &one, 1, DAY))).await;
    let renounce = Commit::Requeue {
        id,
        reason: "spent".to_owned(),
    };
    store.commit(renounce).await.unwrap();
    assert_eq!(spent(&store, agent, DAY).await, sum(0, 0));
    let re_signed = Commit::Prepare {
        prepared: vec![(id, paid(1, &one, 2, DAY + 1))],
        at: NOW,
    };
    let changes = store.commit(re_signed.clone()).await.unwrap();
    assert!(matches!(changes.sends[..], [SendResult::Stored(_)]));
    let again = store.commit(re_signed).await.unwrap();
    assert!(matches!(again.sends[..], [SendResult::Known(_)]));
    assert_eq!(spent(&store, agent, DAY).await, sum(0, 0));
    assert_eq!(spent(&store, agent, DAY + 1).await, sum(10, 0));
}

#[tokio::test]
async fn a_reorganisation_neither_refunds_nor_charges_twice() {
    let (_dir, store, agents) = store(1).await;
    let agent = agents[0];
    let one = costing("control/1", 10, Cause::Own);
    let signed = paid(1, &one, 1, DAY);
    send(&store, agent, one, Some(signed.clone())).await;
    let seen = Step::Sighting {
        agent,
        hash: signed.hash,
        own: None,
        height: BlockHeight(8),
        block_hash: None,
    };
    let withdrawn = Step::Withdrawn {
        above: Some(BlockHeight(7)),
    };
    for step in [seen.clone(), withdrawn, seen] {
        let changes = store.commit(observe(vec![step])).await.unwrap();
        assert!(changes.recharged.is_empty());
        assert_eq!(spent(&store, agent, DAY).await, sum(10, 0));
    }
}

#[tokio::test]
async fn a_failed_transaction_that_is_mined_nevertheless_is_charged() {
    let (_dir, store, agents) = store(1).await;
    let agent = agents[0];
    let one = costing("control/1", 10, Cause::Unverified);
    let signed = paid(1, &one, 1, DAY);
    let id = send(&store, agent, one, Some(signed.clone())).await;
    let result = PostResult::Failed {
        reason: "no".to_owned(),
    };
    let at = NOW;
    store.commit(Commit::Post { id, result, at }).await.unwrap();
    let seen = Step::Sighting {
        agent,
        hash: signed.hash,
        own: None,
        height: BlockHeight(8),
        block_hash: None,
    };
    let changes = store.commit(observe(vec![seen.clone()])).await.unwrap();
    let [charge] = changes.recharged.as_slice() else {
        panic!("{:?}", changes.recharged)
    };
    assert_eq!(
        (charge.agent, charge.cost, &charge.cause),
        (agent, Amount(10), &Cause::Unverified)
    );
    assert_eq!(spent(&store, agent, charge.day).await, sum(10, 10));
    assert_eq!(
        charge.day,
        Timestamp::new(1_000).day(),
        "the day on which it was seen"
    );
    let changes = store.commit(observe(vec![seen])).await.unwrap();
    assert!(changes.recharged.is_empty(), "it is charged once");
}

#[tokio::test]
async fn held_drafts_let_others_pass_and_senders_take_turns() {
    let (_dir, store, agents) = store(2).await;
    let agent = agents[0];
    let mut ids = Vec::new();
    let (one, two) = (sender(Standing::Stranger, 8), sender(Standing::Known, 9));
    for (index, cause) in [
        &one,
        &one,
        &one,
        &two,
        &Cause::Unverified,
        &two,
        &Cause::Own,
    ]
    .into_iter()
    .enumerate()
    {
        let draft = costing(&format!("control/{index}"), 20, cause.clone());
        ids.push(send(&store, agent, draft, None).await);
    }
    let other = send(&store, agents[1], draft("control/x", 9, "pong"), None).await;
    let held = ids.iter().map(|id| (*id, "waits".to_owned())).collect();
    assert_eq!(store.commit(Commit::Hold { held }).await.unwrap().rows, 7);
    let queued = async || {
        let page = store
            .query(|state| state.queued(&QueueTurn::default(), false, &HashSet::new(), 100))
            .await
            .unwrap();
        page.iter().map(|draft| draft.id).collect::<Vec<_>>()
    };
    let holding = async || store.query(State::agents_held).await.unwrap();
    assert_eq!(queued().await, [other]);
    assert_eq!(holding().await, HashSet::from([agent]));
    let item = &rows(&store).await[0];
    assert!(item.waits_for_budget);
    assert_eq!(
        (item.state.as_str(), item.reason.as_deref()),
        ("queued", Some("waits"))
    );
    assert_eq!(
        (item.standing.as_str(), item.brought_about_by.as_deref()),
        ("stranger", Some(address(8).as_str()))
    );
    let waiting = store.query(move |state| state.held(agent)).await.unwrap();
    // First the oldest draft of each, then the second oldest.
    let order: Vec<_> = waiting.iter().map(|draft| draft.id).collect();
    let turns = [3, 6, 0, 4, 5, 1, 2].map(|index| ids[index]);
    assert_eq!(order, turns);
    assert_eq!(waiting[0].cause, two);
    assert_eq!(
        (waiting[0].amount, waiting[0].fee),
        (Amount(10), Amount(10))
    );
    let release = |ids: &[OutboxId]| Commit::Release { ids: ids.to_vec() };
    let some = [ids[2], ids[3], other];
    let changes = store.commit(release(&some)).await.unwrap();
    assert_eq!(changes.rows, 2, "only waiting drafts are released");
    assert_eq!(queued().await, some);
    store.commit(release(&ids)).await.unwrap();
    assert!(holding().await.is_empty());
    assert!(rows(&store).await.iter().all(|item| item.reason.is_none()));
}

#[tokio::test]
async fn many_drafts_of_one_sender_hide_no_other_sender() {
    let (_dir, store, agents) = store(1).await;
    let agent = agents[0];
    let mut held = Vec::new();
    for index in 0..300 {
        let cause = sender(Standing::Stranger, if index < 298 { 7 } else { 9 });
        let draft = costing(&format!("control/{index}"), 20, cause);
        held.push((send(&store, agent, draft, None).await, "waits".to_owned()));
    }
    store.commit(Commit::Hold { held }).await.unwrap();
    let waiting = store.query(move |state| state.held(agent)).await.unwrap();
    let of = |byte: u8| {
        let cause = sender(Standing::Stranger, byte);
        waiting.iter().filter(|draft| draft.cause == cause).count()
    };
    assert_eq!((of(7), of(9)), (64, 2));
}

#[tokio::test]
async fn the_many_drafts_of_one_agent_do_not_delay_the_few_of_another() {
    let (_dir, store, agents) = store(3).await;
    let mut sent = Vec::new();
    for (index, agent) in [0, 0, 0, 0, 0, 0, 1, 0, 2, 0].into_iter().enumerate() {
        let draft = draft(&format!("control/{index}"), 9, "pong");
        sent.push(send(&store, agents[agent], draft, None).await);
    }
    let mut turn = QueueTurn::default();
    let mut seen = Vec::new();
    loop {
        let (now, passed_over) = (turn.clone(), HashSet::from([agents[2]]));
        let page = store
            .query(move |state| state.queued(&now, false, &passed_over, 4))
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        turn.read(&page);
        let ids: Vec<_> = page.iter().map(|draft| draft.id).collect();
        if seen.is_empty() {
            assert_eq!(ids, [sent[0], sent[1], sent[6]], "both have a turn");
        }
        seen.extend(ids);
    }
    // Each draft was read once, those of one agent in order, and none of a skipped agent.
    let of_one: Vec<_> = seen.iter().filter(|id| **id != sent[6]).copied().collect();
    assert_eq!(of_one, [0, 1, 2, 3, 4, 5, 7, 9].map(|index| sent[index]));
    assert_eq!(seen.len(), 9);
    turn.ended();
    let page = store
        .query(move |state| state.queued(&turn, false, &HashSet::new(), 9))
        .await
        .unwrap();
    assert_eq!(
        page.len(),
        5,
        "three of the first, and one of each of the others"
    );
}

#[tokio::test]
async fn under_sequential_nonces_held_drafts_do_not_block_others() {
    let (_dir, store, agents) = store(1).await;
    let dear = send(
        &store,
        agents[0],
        costing("control/1", 500, Cause::Own),
        None,
    )
    .await;
    let cheap = send(
        &store,
        agents[0],
        costing("control/2", 10, Cause::Own),
        None,
    )
    .await;
    let held = vec![(dear, "waits".to_owned())];
    store.commit(Commit::Hold { held }).await.unwrap();
    let page = store
        .query(|state| state.queued(&QueueTurn::default(), true, &HashSet::new(), 100))
        .await
        .unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].id, cheap);
}

#[tokio::test]
async fn an_expired_draft_fails_wherever_it_waits() {
    let (_dir, store, agents) = store(1).await;
    let until = |origin: &str, at| Draft {
        expires_at: at,
        ..draft(origin, 9, "pong")
    };
    let late = send(&store, agents[0], until("control/1", Some(NOW)), None).await;
    let held = send(&store, agents[0], until("control/2", Some(NOW)), None).await;
    send(
        &store,
        agents[0],
        until("control/3", Some(NOW.plus_ms(1))),
        None,
    )
    .await;
    send(&store, agents[0], until("control/4", None), None).await;
    let held = vec![(held, "waits".to_owned())];
    store.commit(Commit::Hold { held }).await.unwrap();
    let expired = async |at| {
        let expired = store.query(move |state| state.has_expired(at));
        expired.await.unwrap()
    };
    assert!(!expired(NOW).await);
    assert!(expired(NOW.plus_ms(1)).await);
    let changes = store
        .commit(Commit::ExpireQueued { at: NOW.plus_ms(1) })
        .await
        .unwrap();
    assert_eq!(changes.rows, 2);
    assert!(!expired(NOW.plus_ms(1)).await);
    let holding = store.query(State::agents_held).await.unwrap();
    assert!(holding.is_empty());
    let states: Vec<_> = rows(&store)
        .await
        .into_iter()
        .map(|item| (item.state, item.waits_for_budget))
        .collect();
    let wanted = ["failed", "failed", "queued", "queued"].map(|state| (state.to_owned(), false));
    assert_eq!(states, wanted);
    // Nothing was paid for it, so dropping it refunds nothing.
    let dropped = Commit::Drop {
        target: QueueTarget::Outbox(late),
        at: NOW,
    };
    assert_eq!(store.commit(dropped).await.unwrap().rows, 1);
    assert_eq!(spent(&store, agents[0], DAY).await, sum(0, 0));
}

/// Something that happens to one of a few transactions.
#[derive(Clone, Copy, Debug)]
enum Event {
    Asked { signed: bool, cause: u8 },
    Signed,
    Failed,
    Renounced,
    Seen,
    Withdrawn,
    Retried,
    Dropped,
    Held,
}

fn events() -> impl Strategy<Value = Vec<(u8, u64, Event)>> {
    let event = prop_oneof![
        3 => (any::<bool>(), 0_u8..6)
            .prop_map(|(signed, cause)| Event::Asked { signed, cause }),
        2 => Just(Event::Signed),
        2 => Just(Event::Failed),
        1 => Just(Event::Renounced),
        2 => Just(Event::Seen),
        1 => Just(Event::Withdrawn),
        2 => Just(Event::Retried),
        1 => Just(Event::Dropped),
        1 => Just(Event::Held),
    ];
    prop::collection::vec((0_u8..5, 0_u64..3, event), 1..60)
}

/// One of a few causes.
fn cause_of(number: u8) -> Cause {
    match number {
        0 => Cause::Own,
        1 => Cause::Unverified,
        2 => sender(Standing::Stranger, 8),
        3 => sender(Standing::Stranger, 9),
        4 => sender(Standing::Listed, 9),
        _ => sender(Standing::Known, 8),
    }
}

/// The commit of this event for the transaction with this number, on a day.
fn change(agent: AgentId, number: u8, day: u64, event: Event) -> Commit {
    let at = Timestamp::new(day * DAY_MS + 1);
    let id = OutboxId(i64::from(number) + 1);
    let nonce = u64::from(number);
    let plain = |cause| costing(&format!("control/{number}"), 10 + u64::from(number), cause);
    let signed = paid(1, &plain(Cause::Own), nonce, day);
    match event {
        Event::Asked {
            signed: at_once,
            cause,
        } => Commit::Send {
            token: None,
            agent,
            draft: plain(cause_of(cause)),
            prepared: at_once.then_some(signed),
            at,
        },
        Event::Signed => Commit::Prepare {
            prepared: vec![(id, signed)],
            at,
        },
        Event::Failed => Commit::Post {
            id,
            result: PostResult::Failed {
                reason: "no".to_owned(),
            },
            at,
        },
        Event::Renounced => Commit::Requeue {
            id,
            reason: "spent".to_owned(),
        },
        Event::Seen => Commit::Observe(Observation {
            steps: vec![Step::Sighting {
                agent,
                hash: signed.hash,
                own: None,
                height: BlockHeight(8),
                block_hash: None,
            }],
            cursor: serde_json::Value::Null,
            final_through: None,
            catching_up: None,
            at,
        }),
        Event::Withdrawn => observe(vec![Step::Withdrawn {
            above: Some(BlockHeight(7)),
        }]),
        Event::Retried => Commit::Retry {
            target: QueueTarget::Outbox(id),
            at,
        },
        Event::Dropped => Commit::Drop {
            target: QueueTarget::Outbox(id),
            at,
        },
        Event::Held => Commit::Hold {
            held: vec![(id, "waits".to_owned())],
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The law: a day has paid the sum of its charges, and exactly the signed transactions that
    /// have not failed are paid for.
    #[test]
    fn the_sum_paid_equals_the_charges(events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_dir, store, agents) = store(1).await;
            for number in 0..5 {
                let asked = Event::Asked { signed: false, cause: number };
                store.commit(change(agents[0], number, DAY, asked)).await.unwrap();
            }
            for (number, day, event) in events {
                let commit = change(agents[0], number, DAY + day, event);
                store.commit(commit).await.unwrap();
                let mut sums: BTreeMap<(u64, String, Option<String>), Amount> = BTreeMap::new();
                for item in rows(&store).await {
                    let live = ["prepared", "accepted", "mined", "final"];
                    let signed = live.contains(&item.state.as_str());
                    prop_assert_eq!(item.budget_day.is_some(), signed, "{:?}", item);
                    let Some(day) = item.budget_day else { continue };
                    let key = (day, item.standing, item.brought_about_by);
                    let sum: &mut Amount = sums.entry(key).or_default();
                    *sum = [*sum, item.amount, item.fee].into_iter().sum();
                }
                let known = store.read(|db| read::spending(db, 0)).await.unwrap();
                let known: BTreeMap<_, Amount> = known
                    .into_iter()
                    .filter(|(.., spent)| *spent > Amount::ZERO)
                    .map(|(_, day, cause, spent)| {
                        let standing = cause.standing().map_or("own", Standing::as_str);
                        let sender = cause.sender().map(ToString::to_string);
                        ((day, standing.to_owned(), sender), spent)
                    })
                    .collect();
                prop_assert_eq!(known, sums, "after {:?}", event);
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn sums_saturate_at_the_largest_column_value() {
    let (_dir, store, agents) = store(1).await;
    let most = i64::MAX.unsigned_abs();
    for index in 0..2 {
        let dear = costing(&format!("control/{index}"), most, Cause::Own);
        let signed = paid(1, &dear, index, DAY);
        send(&store, agents[0], dear, Some(signed)).await;
    }
    assert_eq!(spent(&store, agents[0], DAY).await, sum(most, 0));
}

#[tokio::test]
async fn days_are_kept_despite_a_wrong_clock() {
    let (_dir, store, agents) = store(1).await;
    // The clock is ten years ahead for a moment, and much is pruned then.
    let days: Vec<u64> = (0..40).map(|day| DAY + day).chain([DAY + 3_650]).collect();
    for (nonce, day) in days.iter().enumerate() {
        let one = costing(&format!("control/{nonce}"), 10, Cause::Own);
        let signed = paid(1, &one, nonce as u64, *day);
        send(&store, agents[0], one, Some(signed)).await;
    }
    let prune = Commit::Prune {
        before: Timestamp::new((DAY + 3_600) * DAY_MS),
        at: Timestamp::new((DAY + 3_650) * DAY_MS),
    };
    store.commit(prune).await.unwrap();
    let known = store.read(|db| read::spending(db, 0)).await.unwrap();
    let known: Vec<u64> = known.into_iter().map(|(_, day, ..)| day).collect();
    assert_eq!(known, days[days.len() - 32..]);
    // A charge of a pruned day is not refunded.
    let result = PostResult::Failed {
        reason: "no".to_owned(),
    };
    let (id, at) = (OutboxId(1), NOW);
    store.commit(Commit::Post { id, result, at }).await.unwrap();
    assert_eq!(spent(&store, agents[0], DAY).await, sum(0, 0));
}
