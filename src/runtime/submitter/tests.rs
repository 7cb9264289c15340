//! The submitter with a real store and a real node, under budgets.

mod busy;
mod chain;
mod stage;
mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_chain::NodeOptions;
use agentry_core::commit::Outcome;
use agentry_core::rows::{Draft, EventRef, ReceiptRequest, Spent};
use agentry_core::{AgentId, Cause, Commit, CommitResult, InboxId, OutboxId};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::timestamp::DAY_MS;
use agentry_protocol::{Amount, BlockHeight, Nonce, Timestamp};

use self::stage::{ONE, PATIENCE, Stage, TWO, on_stage, usual};
use super::*;
use crate::runtime::catch_up::CatchUp;

#[test]
fn drafts_over_budget_wait_for_the_next_day_and_delay_no_others() {
    on_stage(async || {
        let stage = usual(&[25, 1_000]).await;
        let submitter = stage.submitter().await;
        for index in 0..4 {
            let draft = stage.draft(ONE, &format!("one/{index}"), Cause::Own);
            stage.send(&submitter, ONE, draft).await;
        }
        stage.until(&["accepted", "accepted", "held", "held"]).await;
        let reason = stage.rows().await[2].reason.clone().unwrap();
        assert!(reason.contains("20 of 25"), "{reason}");
        // Another wallet's drafts are sent, and immediately: only held drafts wait.
        let other = stage.commit(TWO, stage.draft(TWO, "two/0", Cause::Own));
        submitter.sign_at_once(TWO, other).await;
        assert_eq!(stage.spent(ONE).await.all, Amount(20));

        stage.shift_days(1);
        stage.until(&["accepted"; 4]).await;
        assert_eq!(stage.spent(ONE).await.all, Amount(20));
        // The clock steps back: that day's budget is spent already.
        stage.shift_days(-1);
        let draft = stage.draft(ONE, "one/4", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        stage
            .until(&["accepted", "accepted", "accepted", "accepted", "held"])
            .await;
        assert_eq!(stage.spent(ONE).await.all, Amount(20));
    });
}

#[test]
fn answers_to_unverified_messages_cost_a_tenth_and_delay_nothing() {
    on_stage(async || {
        let stage = usual(&[200]).await;
        let submitter = stage.submitter().await;
        for index in 0..4 {
            let draft = stage.draft(ONE, &format!("unverified/{index}"), Cause::Unverified);
            stage.send(&submitter, ONE, draft).await;
        }
        stage.until(&["accepted", "accepted", "held", "held"]).await;
        for index in 0..18 {
            let draft = stage.draft(ONE, &format!("verified/{index}"), Cause::Own);
            stage.send(&submitter, ONE, draft).await;
        }
        let mut wanted = vec!["accepted", "accepted", "held", "held"];
        wanted.extend(["accepted"; 18]);
        stage.until(&wanted).await;
        let spent = Spent {
            all: Amount(200),
            unverified: Amount(20),
            ..Spent::default()
        };
        assert_eq!(stage.spent(ONE).await, spent);
        let draft = stage.draft(ONE, "verified/18", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        wanted.push("held");
        stage.until(&wanted).await;
    });
}

#[test]
fn a_restart_neither_loses_nor_repeats_spending() {
    on_stage(async || {
        let stage = usual(&[20]).await;
        let submitter = stage.submitter().await;
        for index in 0..3 {
            let draft = stage.draft(ONE, &format!("one/{index}"), Cause::Own);
            stage.send(&submitter, ONE, draft).await;
        }
        stage.until(&["accepted", "accepted", "held"]).await;
        drop(submitter);
        let submitter = stage.submitter().await;
        let draft = stage.draft(ONE, "one/3", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        stage.until(&["accepted", "accepted", "held", "held"]).await;
        // The operator raises the budget: one of the two can be paid for.
        stage.allow(&[35]);
        submitter.send(LookAtQueue::default()).await.unwrap();
        stage
            .until(&["accepted", "accepted", "accepted", "held"])
            .await;
        assert_eq!(stage.spent(ONE).await.all, Amount(30));
    });
}

#[test]
fn many_held_drafts_are_released_gradually() {
    on_stage(async || {
        let stage = usual(&[10]).await;
        let submitter = stage.submitter().await;
        let count = 3 * sign::PAGE;
        for index in 0..count {
            let draft = stage.draft(ONE, &format!("one/{index}"), Cause::Own);
            stage.send(&submitter, ONE, draft).await;
        }
        let mut wanted = vec!["accepted"];
        wanted.extend(std::iter::repeat_n("held", count - 1));
        stage.until(&wanted).await;
        stage.allow(&[10 * count as u64]);
        submitter.send(LookAtQueue::default()).await.unwrap();
        stage.until(&vec!["accepted"; count]).await;
        assert_eq!(stage.spent(ONE).await.all, Amount(10 * count as u64));
    });
}

#[test]
fn a_charge_that_is_not_stored_or_fails_is_refunded() {
    on_stage(async || {
        let node = DevnetConfig {
            min_fee: 20,
            ..DevnetConfig::default()
        };
        let stage = Stage::set(&[20], node, NoncePolicy::Timestamp).await;
        let submitter = stage.submitter().await;
        let dear = || Draft {
            fee: Amount(20),
            ..stage.draft(ONE, "dear", Cause::Own)
        };
        // The event was handled meanwhile: the commit is void.
        let void = Outcome {
            sends: vec![(dear(), None)],
            ..Outcome::nothing(EventRef::Inbox(InboxId(7)), 0, Timestamp::new(1))
        };
        let void = submitter.sign_at_once(ONE, Commit::Outcome(void)).await;
        let next = || stage.commit(ONE, dear());
        assert!(!submitter.signs_at_once(ONE, next()).await, "it is paid");
        let void = submitter.store(void).await.unwrap();
        assert_eq!(void.result, CommitResult::Stale);
        // The store refuses the commit.
        let refused = stage.commit(AgentId(99), dear());
        let refused = submitter.sign_at_once(ONE, refused).await;
        assert!(!submitter.signs_at_once(ONE, next()).await, "it is paid");
        submitter.store(refused).await.unwrap_err();
        // The node refuses these: each is paid for, fails, and its refund pays for the next.
        let asked = Draft {
            receipt: Some(ReceiptRequest {
                behaviour: Some("pong".to_owned()),
                label: Some("label".to_owned()),
                wanted: None,
                within_ms: 0,
                resends: 0,
            }),
            ..stage.draft(ONE, "cheap/0", Cause::Own)
        };
        stage.send(&submitter, ONE, asked).await;
        for index in 1..5 {
            let cheap = stage.draft(ONE, &format!("cheap/{index}"), Cause::Own);
            stage.send(&submitter, ONE, cheap).await;
        }
        stage.until(&["failed"; 5]).await;
        stage.send(&submitter, ONE, dear()).await;
        stage
            .until(&["failed", "failed", "failed", "failed", "failed", "accepted"])
            .await;
        assert_eq!(stage.spent(ONE).await.all, Amount(20));
        assert!(
            stage.woken.lock().unwrap().contains(&ONE),
            "the behaviour is told that its message was not sent"
        );
    });
}

#[test]
fn what_is_stored_is_sent_even_if_its_sender_stops_waiting() {
    on_stage(async || {
        let stage = usual(&[20]).await;
        let submitter = stage.submitter().await;
        let first = stage.draft(ONE, "first", Cause::Own);
        stage.send(&submitter, ONE, first).await;
        stage.until(&["accepted"]).await;
        let draft = stage.draft(ONE, "second", Cause::Own);
        let begun = async {
            while !submitter.is_storing() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = stage.send(&submitter, ONE, draft) => panic!("it was stored too soon"),
            () = begun => {}
        }
        stage.until(&["accepted", "accepted"]).await;
        assert_eq!(stage.spent(ONE).await.all, Amount(20));
    });
}

#[test]
fn an_expired_draft_is_not_sent() {
    on_stage(async || {
        let stage = usual(&[10]).await;
        let submitter = stage.submitter().await;
        let now = stage.shared.clock.confirmed();
        let over = Draft {
            expires_at: Some(now.minus_ms(1)),
            ..stage.draft(ONE, "over", Cause::Own)
        };
        stage.send(&submitter, ONE, over).await;
        stage.until(&["failed"]).await;
        let draft = stage.draft(ONE, "in time", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        stage.until(&["failed", "accepted"]).await;
        // Held until it expires; it is not charged on the next day.
        let soon = Draft {
            expires_at: Some(stage.shared.clock.now().plus_ms(60_000)),
            ..stage.draft(ONE, "soon", Cause::Own)
        };
        stage.send(&submitter, ONE, soon).await;
        stage.until(&["failed", "accepted", "held"]).await;
        stage.shared.clock.pass(DAY_MS);
        stage.until(&["failed", "accepted", "failed"]).await;
        assert_eq!(stage.spent(ONE).await.all, Amount(0));
    });
}

#[test]
fn a_draft_that_has_expired_by_a_wrong_clock_alone_waits_for_the_right_time() {
    on_stage(async || {
        let stage = usual(&[100]).await;
        let submitter = stage.submitter().await;
        let draft = Draft {
            expires_at: Some(stage.shared.clock.now().plus_ms(3_600_000)),
            ..stage.draft(ONE, "soon", Cause::Own)
        };
        stage.shift_days(1);
        stage.send(&submitter, ONE, draft).await;
        // It was examined: the draft queued behind it is sent.
        let other = stage.draft(ONE, "other", Cause::Own);
        stage.send(&submitter, ONE, other).await;
        stage.until(&["queued", "accepted"]).await;
        stage.shift_days(-1);
        stage.until(&["accepted", "accepted"]).await;
    });
}

#[test]
fn budgets_hold_under_sequential_nonces_too() {
    on_stage(async || {
        let node = DevnetConfig {
            account_nonces: agentry_devnet::NoncePolicy::Sequential,
            ..DevnetConfig::default()
        };
        let stage = Stage::set(&[10, 10], node, NoncePolicy::Sequential).await;
        let submitter = stage.submitter().await;
        let dear = Draft {
            fee: Amount(50),
            ..stage.draft(ONE, "dear", Cause::Own)
        };
        stage.send(&submitter, ONE, dear).await;
        let cheap = stage.draft(ONE, "cheap", Cause::Own);
        stage.send(&submitter, ONE, cheap).await;
        let other = stage.draft(TWO, "other", Cause::Own);
        stage.send(&submitter, TWO, other).await;
        stage.until(&["held", "accepted", "accepted"]).await;
        let reason = stage.rows().await[0].reason.clone().unwrap();
        assert!(reason.contains("larger budget"), "{reason}");
        assert_eq!(stage.spent(ONE).await.all, Amount(10));
    });
}

#[test]
fn a_draft_dropped_while_it_waits_is_not_charged() {
    on_stage(async || {
        let stage = usual(&[0]).await;
        let submitter = stage.submitter().await;
        let id = stage
            .send(&submitter, ONE, stage.draft(ONE, "one", Cause::Own))
            .await;
        stage.until(&["held"]).await;
        let drop = Commit::Drop {
            target: agentry_core::commit::QueueTarget::Outbox(id),
            at: Timestamp::new(1),
        };
        stage.shared.store.commit(drop).await.unwrap();
        stage.allow(&[100]);
        submitter.send(LookAtQueue::default()).await.unwrap();
        stage
            .send(&submitter, ONE, stage.draft(ONE, "two", Cause::Own))
            .await;
        stage.until(&["failed", "accepted"]).await;
        assert_eq!(stage.spent(ONE).await.all, Amount(10));
    });
}

#[test]
fn a_nonce_that_the_chain_shows_is_not_reused() {
    on_stage(async || {
        let stage = usual(&[1_000]).await;
        let submitter = stage.submitter().await;
        let sign = async |origin: &str| {
            let commit = stage.commit(ONE, stage.draft(ONE, origin, Cause::Own));
            submitter.sign_at_once(ONE, commit).await.signed.0
        };
        let ahead = Nonce::new(sign("one").await.nonce.get() + 40 * DAY_MS);
        let news = ChainNews {
            nonces: vec![(ONE, ahead)],
            ..ChainNews::default()
        };
        submitter.send(news).await.unwrap();
        assert_eq!(sign("two").await.nonce, ahead.next());
    });
}

#[test]
fn a_transaction_counts_as_accepted_once_however_that_becomes_known() {
    on_stage(async || {
        let stage = usual(&[1_000]).await;
        let submitter = stage.submitter().await;
        let accepted = || stage.shared.metrics.accepted_count();
        let mined = async |id| {
            let hash = stage.rows().await.pop().unwrap().transaction.unwrap();
            let news = ChainNews {
                mined: vec![(id, hash.parse().unwrap())],
                ..ChainNews::default()
            };
            submitter.send(news).await.unwrap();
        };
        stage.devnet.faults().set("lose-answer=1".parse().unwrap());
        let draft = stage.draft(ONE, "one", Cause::Own);
        let id = stage.send(&submitter, ONE, draft).await;
        stage.until(&["accepted"]).await;
        assert_eq!(accepted(), 0, "it may be accepted");
        mined(id).await;
        assert_eq!(accepted(), 1);

        stage.devnet.faults().clear("lose-answer");
        let draft = stage.draft(ONE, "two", Cause::Own);
        let id = stage.send(&submitter, ONE, draft).await;
        stage.until(&["accepted", "accepted"]).await;
        assert_eq!(accepted(), 2);
        mined(id).await;
        assert_eq!(accepted(), 2);
    });
}
