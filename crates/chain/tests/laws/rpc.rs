//! Tests that apply only to the RPC source.

use std::sync::Arc;
use std::time::Duration;

use agentry_chain::{ChainSource, Interest, RpcOptions, RpcSource, SharedHead, Start};
use agentry_protocol::BlockHeight;

use crate::model::{Sort, chain_id};
use crate::reader::Follower;
use crate::stage::{Kind, Stage};

const FROM_0: Start = Start::Height(BlockHeight(0));

/// Reads until a failing block has become a gap.
async fn persist(follower: &mut Follower, source: &mut dyn ChainSource) {
    for _ in 0..5 {
        follower.catch_up(source, 50).await;
    }
}

#[tokio::test]
async fn requests_follow_what_is_new() {
    let mut stage = Stage::new(Kind::Rpc).await;
    for _ in 0..300 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.rpc();
    let mut follower = Follower::begin(&mut source, Start::Head).await;
    follower.catch_up(&mut source, 50).await;
    let before = stage.requests();
    for _ in 0..10 {
        follower.catch_up(&mut source, 50).await;
    }
    assert_eq!(stage.requests() - before, 10, "the head alone");
    for _ in 0..10 {
        stage.append(&[Sort::Mine]);
        follower.catch_up(&mut source, 50).await;
    }
    // Here the blocks that were read before are read again under each head.
    assert_eq!(
        stage.requests() - before,
        10 + 3 * 10,
        "the head, the new block, and old ones"
    );
    assert_eq!(stage.requests(), source.requests());
    assert_eq!(follower.seen.len(), 10);

    let before = stage.requests();
    let mut all = Follower::begin(&mut source, FROM_0).await;
    all.catch_up(&mut source, 1_000).await;
    let pages = 311_u64.div_ceil(15);
    assert!(
        stage.requests() - before < pages + 16,
        "{} requests",
        stage.requests() - before
    );
}

/// A read of a chain without wanted transactions ends, so that its position can be stored.
#[tokio::test]
async fn a_long_chain_is_read_in_parts() {
    struct Nothing;
    impl Interest for Nothing {
        fn wants(&self, _: &str, _: &str) -> bool {
            false
        }
    }
    let mut stage = Stage::new(Kind::Rpc).await;
    for _ in 0..600 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.rpc();
    let mut cursor = source.begin(FROM_0).await.unwrap();
    let mut reads = 0;
    loop {
        let batch = source
            .read(&cursor, Arc::new(Nothing), 1_000)
            .await
            .unwrap();
        assert!(batch.events.is_empty());
        assert!(
            batch.cursor.height() > cursor.height(),
            "the position moves"
        );
        cursor = batch.cursor;
        reads += 1;
        if !batch.more {
            break;
        }
    }
    assert!(reads > 1, "{reads} reads");
    assert_eq!(
        cursor.height(),
        source.head().await.unwrap().map(|head| head.height)
    );
}

/// Blocks that one read has fetched and not delivered yet may be of another branch by the next read,
/// up to the very head.
#[tokio::test]
async fn blocks_fetched_ahead_may_be_of_another_branch() {
    for kind in [Kind::Rpc, Kind::OldRpc, Kind::AugustRpc] {
        let mut stage = Stage::new(kind).await;
        for _ in 0..69 {
            stage.append(&[Sort::Mine]);
        }
        stage.append(&[]);
        let mut source = stage.rpc();
        let mut follower = Follower::begin(&mut source, Start::Height(BlockHeight(50))).await;
        assert!(follower.step(&mut source, 11).await.unwrap());
        stage.reorganise(1, &[vec![Sort::Mine]]);
        follower.catch_up(&mut source, 10).await;
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(50));
    }
}

/// A fork that only reading old blocks again brings to light is followed at once.
#[tokio::test]
async fn a_fork_that_the_sweep_finds_is_followed() {
    for kind in [Kind::Rpc, Kind::OldRpc, Kind::AugustRpc] {
        let mut stage = Stage::new(kind).await;
        for _ in 0..20 {
            stage.append(&[Sort::Mine]);
        }
        let mut source = stage.rpc();
        let mut follower = Follower::begin(&mut source, FROM_0).await;
        follower.catch_up(&mut source, 50).await;
        // The head stays as it was: only a block below it is another.
        let head = stage.model.lock().unwrap().blocks.pop().unwrap();
        stage.reorganise(1, &[vec![Sort::Mine, Sort::Mine]]);
        stage.model.lock().unwrap().blocks.push(head);
        let mut source = stage.rpc();
        follower.catch_up(&mut source, 50).await;
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    }
}

/// A block that the node cannot serve becomes a gap, the other blocks are delivered, and once it
/// can be read it is delivered late.
#[tokio::test]
async fn an_unservable_block_is_a_gap() {
    for (kind, headers) in [
        (Kind::Rpc, false),
        (Kind::Rpc, true),
        (Kind::OldRpc, false),
        (Kind::OldRpc, true),
        (Kind::AugustRpc, false),
        (Kind::AugustRpc, true),
    ] {
        let mut stage = Stage::new(kind).await;
        for _ in 0..40 {
            stage.append(&[Sort::Mine, Sort::Foreign]);
        }
        *stage.failures.lock().unwrap() = crate::stage::Failures {
            poison: vec![7, 8, 20, 40],
            poison_headers: headers,
            ..Default::default()
        };
        let mut source = stage.rpc();
        let mut follower = Follower::begin(&mut source, FROM_0).await;
        for _ in 0..20 {
            follower.catch_up(&mut source, 50).await;
        }
        assert_eq!(
            follower.gaps.iter().copied().collect::<Vec<_>>(),
            [7, 8, 20, 40]
        );
        assert_eq!(follower.seen.len(), 36, "{kind:?} {headers}");
        assert_eq!(follower.cursor().gaps().count(), 4);
        // While the gaps are open, reading continues.
        stage.append(&[Sort::Mine]);
        persist(&mut follower, &mut source).await;
        assert_eq!(follower.seen.len(), 37);

        // Another process continues, and the node works again.
        *stage.failures.lock().unwrap() = crate::stage::Failures::default();
        let mut source = stage.rpc();
        persist(&mut follower, &mut source).await;
        assert!(follower.gaps.is_empty(), "{:?}", follower.gaps);
        assert_eq!(follower.cursor().gaps().count(), 0);
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
        assert!(
            !follower
                .log
                .iter()
                .any(|line| line.starts_with("withdrawn"))
        );
    }
}

/// A node that serves nothing is failing: that makes no gap.
#[tokio::test]
async fn a_failing_node_makes_no_gap() {
    let mut stage = Stage::new(Kind::Rpc).await;
    stage.append(&[Sort::Mine]);
    let mut source = stage.rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    stage.append(&[Sort::Mine]);
    stage.failures.lock().unwrap().all = true;
    let mut errors = 0;
    for _ in 0..10 {
        match follower.step(&mut source, 50).await {
            Ok(more) => assert!(!more),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                errors += 1;
            }
        }
    }
    assert!(errors >= 7, "{errors}");
    stage.failures.lock().unwrap().all = false;
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    assert!(follower.gaps.is_empty());
}

/// A block that shows fewer transactions than it counts: those that it shows are delivered, and the
/// rest is a gap until they are shown.
#[tokio::test]
async fn a_short_block_is_a_gap() {
    for kind in [Kind::Rpc, Kind::OldRpc, Kind::AugustRpc] {
        let mut stage = Stage::new(kind).await;
        stage.append(&[Sort::Mine, Sort::Mine]);
        stage.append(&[Sort::Mine]);
        stage.append(&[Sort::Mine]);
        stage.model.lock().unwrap().block(1).txs[0].hidden = true;
        stage.model.lock().unwrap().block(2).txs[0].hidden = true;
        let mut source = stage.rpc();
        let mut follower = Follower::begin(&mut source, FROM_0).await;
        persist(&mut follower, &mut source).await;
        assert_eq!(follower.gaps.iter().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
        stage.model.lock().unwrap().block(1).txs[0].hidden = false;
        persist(&mut follower, &mut source).await;
        assert_eq!(follower.gaps.iter().copied().collect::<Vec<_>>(), [2]);
        // A fork removes the other one.
        stage.reorganise(2, &[vec![], vec![], vec![Sort::Mine]]);
        persist(&mut follower, &mut source).await;
        assert!(follower.gaps.is_empty());
        assert_eq!(follower.cursor().gaps().count(), 0);
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    }
}

/// A node that truncates its answers causes no withdrawal.
#[tokio::test]
async fn a_truncated_answer_is_not_a_fork() {
    let mut stage = Stage::new(Kind::Rpc).await;
    stage.failures.lock().unwrap().cap = 10;
    for _ in 0..100 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    persist(&mut follower, &mut source).await;
    for _ in 0..5 {
        stage.append(&[Sort::Mine]);
        follower.catch_up(&mut source, 50).await;
    }
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    assert!(
        follower.log.iter().all(|line| line.starts_with("new")),
        "{:?}",
        follower.log
    );

    // A node that leaves out a block in the middle hides only that block.
    stage.failures.lock().unwrap().cap = 0;
    stage.failures.lock().unwrap().left_out = Some(90);
    for _ in 0..5 {
        stage.append(&[Sort::Mine, Sort::Mine]);
        follower.catch_up(&mut source, 50).await;
    }
    let mut all = Follower::begin(&mut source, FROM_0).await;
    persist(&mut all, &mut source).await;
    for follower in [follower, all] {
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
        assert!(follower.log.iter().all(|line| line.starts_with("new")));
    }
}

/// Several nodes share one address, and one of them is behind: whichever answers, nothing is
/// withdrawn.
#[tokio::test]
async fn nodes_behind_one_address_may_differ_in_height() {
    for kind in [Kind::Rpc, Kind::OldRpc, Kind::AugustRpc] {
        let mut stage = Stage::new(kind).await;
        for _ in 0..80 {
            stage.append(&[Sort::Mine]);
        }
        let mut source = stage.rpc();
        let mut follower = Follower::begin(&mut source, FROM_0).await;
        // Every second answer comes from a node without the last three blocks.
        stage.failures.lock().unwrap().lags = Some(3);
        for _ in 0..40 {
            stage.append(&[Sort::Mine]);
            persist(&mut follower, &mut source).await;
        }
        stage.failures.lock().unwrap().lags = None;
        persist(&mut follower, &mut source).await;
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
        assert!(
            follower
                .log
                .iter()
                .all(|line| !line.starts_with("withdrawn")),
            "{:?}",
            follower.log
        );
    }
}

/// A block that a follower does not show whole is completed from a second node, if that one is on
/// the same chain and has the same block.
#[tokio::test]
async fn a_followers_gaps_are_filled_from_a_second_node() {
    for kind in [Kind::Rpc, Kind::OldRpc, Kind::AugustRpc] {
        let mut stage = Stage::new(kind).await;
        stage.append(&[Sort::Mine, Sort::Foreign]);
        let model = stage.model.lock().unwrap().clone();
        let mut leader = Stage::with(kind, model).await;
        let mut source = stage.rpc().completed_from(leader.client());
        let mut follower = Follower::begin(&mut source, FROM_0).await;
        follower.catch_up(&mut source, 50).await;
        // The follower counts the transactions of its blocks but has lost them.
        for _ in 0..5 {
            leader.append(&[Sort::Mine, Sort::Foreign]);
            let mut block = leader.model.lock().unwrap().blocks.last().unwrap().clone();
            for tx in &mut block.txs {
                tx.hidden = true;
            }
            stage.put_back(&[block]);
            follower.catch_up(&mut source, 50).await;
        }
        assert_eq!(follower.seen, leader.model.lock().unwrap().wanted(0));
        assert!(follower.gaps.is_empty() && follower.delivered == 6);
        // A block that it cannot write at all.
        leader.append(&[Sort::Mine]);
        let block = leader.model.lock().unwrap().blocks.last().unwrap().clone();
        stage.failures.lock().unwrap().poison = vec![block.height];
        stage.put_back(&[block]);
        persist(&mut follower, &mut source).await;
        assert_eq!(follower.seen, leader.model.lock().unwrap().wanted(0));
        assert!(follower.gaps.is_empty());

        // The second node's transactions in another block at the same height are ignored; once it
        // is on the same chain, the gap is filled.
        let mut block = {
            let mut model = leader.model.lock().unwrap();
            model.append(&[Sort::Mine]);
            model.blocks.pop().unwrap()
        };
        leader.append(&[Sort::Mine]);
        let whole = block.clone();
        block.txs[0].hidden = true;
        stage.put_back(&[block]);
        persist(&mut follower, &mut source).await;
        assert_eq!(follower.gaps.iter().copied().collect::<Vec<_>>(), [8]);
        leader.rewind(1);
        leader.put_back(&[whole]);
        persist(&mut follower, &mut source).await;
        assert!(follower.gaps.is_empty());
        assert_eq!(follower.seen, leader.model.lock().unwrap().wanted(0));
    }
}

/// The answers of a second node on another chain are ignored.
#[tokio::test]
async fn a_second_node_of_another_chain_fills_nothing() {
    let mut stage = Stage::new(Kind::Rpc).await;
    let mut other = Stage::with(Kind::Rpc, crate::model::Model::new(77)).await;
    stage.append(&[Sort::Mine]);
    let block = stage.model.lock().unwrap().blocks[1].clone();
    other.put_back(&[block]);
    stage.model.lock().unwrap().block(1).txs[0].hidden = true;
    let mut source = stage.rpc().completed_from(other.client());
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    persist(&mut follower, &mut source).await;
    assert!(follower.seen.is_empty());
    assert_eq!(follower.gaps.len(), 1);
}

/// A walk skips the blocks that the node cannot serve, and lists them.
#[tokio::test]
async fn a_walk_skips_blocks_that_cannot_be_served() {
    for kind in [Kind::Rpc, Kind::OldRpc, Kind::AugustRpc] {
        let mut stage = Stage::new(kind).await;
        for _ in 0..60 {
            stage.append(&[Sort::Mine]);
        }
        stage.model.lock().unwrap().block(50).txs[0].hidden = true;
        stage.failures.lock().unwrap().poison = vec![7, 8, 30, 60];
        let node = stage.client();
        let mut walk = agentry_chain::BlockWalk::new(&node);
        let (first, last) = (BlockHeight(0), BlockHeight(60));
        let blocks = walk.stretch(first, last).await.unwrap();
        let shown: usize = blocks
            .iter()
            .map(|block| block.transactions.as_ref().map_or(0, Vec::len))
            .sum();
        assert_eq!((blocks.len(), shown), (57, 55));
        assert!(blocks.is_sorted_by_key(|block| block.height));
        let missing: Vec<u64> = walk.missing().iter().map(|height| height.0).collect();
        assert_eq!(missing, [7, 8, 30, 50, 60]);
        // A node that serves nothing is failing.
        stage.failures.lock().unwrap().all = true;
        let mut walk = agentry_chain::BlockWalk::new(&node);
        assert!(walk.stretch(first, last).await.is_err());
    }
}

/// The node is unreachable for a while.
#[tokio::test]
async fn an_unreachable_node_is_waited_for() {
    let stage = Stage::new(Kind::Rpc).await;
    let mut source = stage.rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    let node = stage.rpc().node().clone();
    drop(stage);
    let error = loop {
        // The listener closes when its task has ended, which drop() only requests.
        if let Err(error) = follower.step(&mut source, 50).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains(node.url()), "{error}");
}

#[tokio::test]
async fn changed_polls() {
    let mut stage = Stage::new(Kind::Rpc).await;
    let mut source = stage.rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    stage.append(&[Sort::Mine]);
    while follower.seen.is_empty() {
        source.changed().await;
        follower.catch_up(&mut source, 50).await;
    }
}

/// Sources that share a node's head ask for it together, and wake each other.
#[tokio::test]
async fn sources_that_share_the_head_ask_for_it_once() {
    const SOURCES: usize = 8;
    const ROUNDS: u64 = 10;
    let mut stage = Stage::new(Kind::Rpc).await;
    stage.append(&[Sort::Mine]);
    let head = SharedHead::default();
    let client = stage.client();
    let options = RpcOptions {
        poll: Duration::from_millis(250),
        sweep_every: Duration::from_secs(3600),
        ..RpcOptions::default()
    };
    let mut all = Vec::new();
    for _ in 0..SOURCES {
        let source = RpcSource::new(client.clone(), chain_id(), options.clone());
        let mut source = source.sharing(&head);
        let mut follower = Follower::begin(&mut source, FROM_0).await;
        follower.catch_up(&mut source, 50).await;
        all.push((source, follower));
    }
    let before = stage.requests();
    let rounds = all.iter_mut().map(|(source, follower)| async {
        for _ in 0..ROUNDS {
            source.changed().await;
            follower.catch_up(source, 50).await;
        }
    });
    futures_util::future::join_all(rounds).await;
    let asked = stage.requests() - before;
    assert!(asked < ROUNDS * SOURCES as u64 / 2, "{asked} requests");

    // One of them sees a block, and the others need not wait for their time to ask.
    stage.append(&[Sort::Mine]);
    let (first, others) = all.split_first_mut().unwrap();
    while first.1.seen.len() < 2 {
        first.0.changed().await;
        first.1.catch_up(&mut first.0, 50).await;
    }
    for (source, follower) in others {
        source.changed().await;
        follower.catch_up(source, 50).await;
        assert_eq!(follower.seen.len(), 2);
    }
    // Whoever has heard of a block wakes them all, and one of them asks.
    let before = stage.requests();
    stage.append(&[Sort::Mine]);
    head.wake();
    for (source, follower) in &mut all {
        source.changed().await;
        follower.catch_up(source, 50).await;
        assert_eq!(follower.seen.len(), 3);
    }
    let asked = stage.requests() - before;
    // The head, the new block for each, and an old one.
    assert!(asked <= 1 + 2 * SOURCES as u64, "{asked} requests");
}
