//! The laws of every source.

use std::sync::Arc;

use agentry_chain::{SourceError, Start};
use agentry_protocol::{BlockHeight, Timestamp};

use crate::model::{Model, Sort};
use crate::reader::Follower;
use crate::stage::{Kind, Stage};

const FROM_0: Start = Start::Height(BlockHeight(0));

/// Every wanted transaction is delivered, in order; foreign ones are not; empty columns hide
/// nothing; undecodable transactions are reported and hide nothing.
async fn everything_once_and_in_order(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    for _ in 0..100 {
        stage.append(&[Sort::Mine, Sort::Foreign, Sort::Bare, Sort::Bad, Sort::Mine]);
        stage.append(&[]);
        stage.append(&[Sort::BareForeign, Sort::Bare]);
    }
    let mut source = stage.source();
    let mut follower = Follower::begin(&mut *source, FROM_0).await;
    assert_eq!(follower.cursor().height(), None);
    follower.catch_up(&mut *source, 7).await;
    let model = stage.model.lock().unwrap().clone();
    assert_eq!(follower.seen, model.wanted(0));
    assert_eq!(follower.bad, model.bad(0));
    assert_eq!(follower.delivered, 400, "each was delivered once");
    assert!(
        follower.log.iter().all(|line| line.starts_with("new")),
        "{:?}",
        follower.log
    );
    assert_eq!(follower.cursor().height(), Some(BlockHeight(300)));
    let head = source.head().await.unwrap().unwrap();
    assert_eq!(head.hash.to_string(), model.blocks[300].hash);
    // 2026-04-01, the time of the model's blocks.
    let time = source.time(BlockHeight(300)).await.unwrap();
    assert_eq!(time, Some(Timestamp::new(1_775_001_600_000)));
    assert_eq!(source.time(BlockHeight(301)).await.unwrap(), None);
    let genesis = source.genesis().await.unwrap().unwrap();
    assert_eq!(genesis.to_string(), model.blocks[0].hash);
    assert_eq!(follower.cursor().genesis(), Some(&genesis));
}

/// A new reader begins after the head and is given nothing older; one that begins at a height is
/// given that block first, even if it does not exist yet.
async fn a_start_is_kept(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    for _ in 0..80 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.source();
    let mut at_head = Follower::begin(&mut *source, Start::Head).await;
    let mut at_50 = Follower::begin(&mut *source, Start::Height(BlockHeight(50))).await;
    let mut to_come = Follower::begin(&mut *source, Start::Height(BlockHeight(90))).await;
    assert_eq!(at_head.cursor().height(), Some(BlockHeight(80)));
    assert_eq!(at_50.cursor().height(), Some(BlockHeight(49)));
    for _ in 0..20 {
        stage.append(&[Sort::Mine]);
    }
    for follower in [&mut at_head, &mut at_50, &mut to_come] {
        follower.catch_up(&mut *source, 5).await;
    }
    let model = stage.model.lock().unwrap().clone();
    assert_eq!(at_head.seen, model.wanted(81));
    assert_eq!(at_50.seen, model.wanted(50));
    assert_eq!(to_come.seen, model.wanted(90));
    assert_eq!(
        at_head.delivered + at_50.delivered + to_come.delivered,
        20 + 51 + 11
    );
}

/// Forks of every depth, whose blocks take over the row ids of those they replace.
async fn reorganisations_are_seen(kind: Kind) {
    for (depth, length) in [
        (1, 1),
        (1, 3),
        (3, 1),
        (10, 12),
        (63, 2),
        (64, 70),
        (70, 5),
        (99, 1),
    ] {
        let mut stage = Stage::new(kind).await;
        for _ in 0..100 {
            stage.append(&[Sort::Mine, Sort::Foreign]);
        }
        let mut source = stage.source();
        let mut follower = Follower::begin(&mut *source, FROM_0).await;
        follower.catch_up(&mut *source, 50).await;
        stage.reorganise(depth, &vec![vec![Sort::Mine, Sort::Bare]; length]);
        follower.log.clear();
        follower.catch_up(&mut *source, 50).await;
        // As long as a shorter chain shows no block at a height that the trail holds, it cannot be
        // distinguished from a chain that is behind.
        let forked = |follower: &Follower| {
            let mut log = follower.log.iter();
            log.any(|line| line.starts_with("withdrawn"))
        };
        while !forked(&follower) {
            assert!(depth > 64 && stage.head() < 100, "{depth} {length}");
            stage.append(&[Sort::Mine]);
            follower.catch_up(&mut *source, 50).await;
        }
        assert_eq!(
            follower.seen,
            stage.model.lock().unwrap().wanted(0),
            "{depth} {length}"
        );
        let first = &follower.log[0];
        if depth < 64 {
            let above = 100 - depth;
            assert_eq!(
                *first,
                format!("withdrawn {depth} above Some(BlockHeight({above}))")
            );
        } else {
            // Below the window the trail is sparse: the last block known to be canonical may be
            // deeper. And new rows of a database are delivered as late ones until their block is
            // known.
            assert!(
                first.starts_with("withdrawn") || first.starts_with("late"),
                "{first}"
            );
        }
    }
}

/// A fork below the point where a reader began at the head: the replacing blocks are new.
async fn what_replaces_older_blocks_is_new(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    for _ in 0..20 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.source();
    let mut follower = Follower::begin(&mut *source, Start::Head).await;
    let mut fixed = Follower::begin(&mut *source, Start::Height(BlockHeight(21))).await;
    stage.append(&[Sort::Mine]);
    follower.catch_up(&mut *source, 50).await;
    fixed.catch_up(&mut *source, 50).await;
    stage.reorganise(5, &[vec![Sort::Mine], vec![Sort::Mine]]);
    follower.catch_up(&mut *source, 50).await;
    fixed.catch_up(&mut *source, 50).await;
    let model = stage.model.lock().unwrap().clone();
    assert_eq!(follower.seen, model.wanted(17));
    assert_eq!(follower.cursor().origin(), BlockHeight(17));
    assert!(fixed.seen.is_empty(), "nothing below the requested height");
}

/// Transactions that are added at an old height, and blocks that were empty and are filled.
async fn late_rows_are_seen(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    for _ in 0..100 {
        stage.append(&[]);
        stage.append(&[Sort::Mine, Sort::Foreign]);
    }
    let mut source = stage.source();
    let mut follower = Follower::begin(&mut *source, FROM_0).await;
    follower.catch_up(&mut *source, 50).await;
    for (height, sort) in [
        (199, Sort::Mine),
        (140, Sort::Bare),
        (138, Sort::Foreign),
        (200, Sort::Mine),
    ] {
        stage.late(height, sort, true, false);
    }
    // Over RPC a change below the head is searched for when the head changes.
    stage.append(&[]);
    follower.log.clear();
    follower.catch_up(&mut *source, 2).await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    assert!(
        follower.log.iter().any(|line| line == "late at 140"),
        "{:?}",
        follower.log
    );
    assert!(
        follower.log.iter().all(|line| line.starts_with("late")),
        "{:?}",
        follower.log
    );
}

/// A chain that is shorter than before, and has not replaced a block, is behind: nothing is
/// withdrawn. Once it grows with other blocks it has forked.
async fn a_shorter_chain_is_behind(kind: Kind) {
    for depth in [1, 14, 63, 64, 90, 99] {
        let mut stage = Stage::new(kind).await;
        for _ in 0..100 {
            stage.append(&[Sort::Mine]);
        }
        let mut source = stage.source();
        let mut follower = Follower::begin(&mut *source, FROM_0).await;
        follower.catch_up(&mut *source, 50).await;
        assert_eq!((follower.delivered, follower.behind), (100, 0));
        let gone = stage.model.lock().unwrap().blocks[101 - depth as usize..].to_vec();
        // As when one node of several is behind, or a node is restored from an older copy:
        // repeatedly, and also read by a new process.
        for round in 0..3 {
            stage.rewind(depth);
            follower.catch_up(&mut *source, 50).await;
            assert_eq!(follower.behind, depth);
            if round == 1 {
                source = stage.source();
            }
            follower.catch_up(&mut *source, 50).await;
            assert_eq!(follower.behind, depth);
            assert_eq!(follower.cursor().height(), Some(BlockHeight(100)));
            let (half, rest) = gone.split_at(gone.len() / 2);
            stage.put_back(half);
            follower.catch_up(&mut *source, 50).await;
            assert_eq!(follower.behind, rest.len() as u64);
            stage.put_back(rest);
            follower.catch_up(&mut *source, 50).await;
            assert_eq!(follower.behind, 0);
        }
        assert!(
            follower
                .log
                .iter()
                .all(|line| !line.starts_with("withdrawn")),
            "{:?}",
            follower.log
        );
        stage.append(&[Sort::Mine]);
        follower.catch_up(&mut *source, 50).await;
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));

        stage.rewind(depth);
        follower.catch_up(&mut *source, 50).await;
        assert_eq!(follower.behind, depth);
        follower.log.clear();
        while !follower
            .log
            .iter()
            .any(|line| line.starts_with("withdrawn"))
        {
            assert!(stage.head() <= 101);
            stage.append(&[Sort::Foreign, Sort::Mine]);
            follower.catch_up(&mut *source, 50).await;
        }
        assert_eq!(follower.behind, 0);
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    }
}

/// The chain restarts from the same block 0, shorter or longer than before.
async fn a_reset_is_seen(kind: Kind) {
    for length in [0, 1, 150] {
        let mut stage = Stage::new(kind).await;
        for _ in 0..100 {
            stage.append(&[Sort::Mine]);
        }
        let mut source = stage.source();
        let mut follower = Follower::begin(&mut *source, Start::Head).await;
        stage.append(&[Sort::Mine]);
        follower.catch_up(&mut *source, 50).await;
        assert_eq!(follower.seen.len(), 1);
        stage.reset(&vec![vec![Sort::Mine]; length]);
        follower.log.clear();
        follower.catch_up(&mut *source, 50).await;
        if length == 0 {
            // Only block 0 is there, and it is the same: that is not another chain yet.
            assert_eq!((follower.behind, follower.log.len()), (101, 0));
        } else {
            assert_eq!(follower.log[0], "withdrawn 102 above None");
            assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
        }
        stage.append(&[Sort::Mine]);
        follower.catch_up(&mut *source, 50).await;
        assert_eq!(follower.log[0], "withdrawn 102 above None");
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    }
}

/// Another block 0 is another chain: nothing is withdrawn and nothing delivered.
async fn another_chain_is_refused(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    stage.append(&[Sort::Mine]);
    let mut source = stage.source();
    let mut follower = Follower::begin(&mut *source, FROM_0).await;
    follower.catch_up(&mut *source, 50).await;
    let mut other = Stage::with(kind, Model::of(kind.dialect(), 77)).await;
    for _ in 0..3 {
        other.append(&[Sort::Mine]);
    }
    let mut source = other.source();
    let error = follower.step(&mut *source, 50).await.unwrap_err();
    assert!(matches!(error, SourceError::OtherChain { .. }), "{error}");
    assert!(!error.is_transient());

    // The same when the chain changes under a source that is being read.
    let mut source = stage.source();
    follower.catch_up(&mut *source, 50).await;
    *stage.model.lock().unwrap() = other.model.lock().unwrap().clone();
    if stage.is_file() {
        stage.rebuild();
    }
    let error = follower.step(&mut *source, 50).await.unwrap_err();
    assert!(matches!(error, SourceError::OtherChain { .. }), "{error}");
}

/// The limit is soft but kept: never more than a block beyond it.
async fn the_limit_is_kept(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    for _ in 0..20 {
        stage.append(&[Sort::Mine, Sort::Mine, Sort::Mine]);
    }
    let mut source = stage.source();
    let cursor = source.begin(FROM_0).await.unwrap();
    for (limit, expected) in [(0, 3), (1, 3), (3, 3), (4, 6), (7, 9), (1_000, 60)] {
        let batch = source
            .read(&cursor, Arc::new(crate::reader::Mine), limit)
            .await
            .unwrap();
        assert_eq!(batch.events.len(), expected);
        assert_eq!(batch.more, expected < 60);
    }
}

/// However many events are asked for, large transactions do not fill the memory.
async fn large_transactions_come_in_parts(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    for _ in 0..40 {
        stage.append(&[Sort::Large]);
    }
    let mut source = stage.source();
    let mut cursor = source.begin(FROM_0).await.unwrap();
    let mut parts = Vec::new();
    loop {
        let batch = source
            .read(&cursor, Arc::new(crate::reader::Mine), 1_000)
            .await
            .unwrap();
        parts.push(batch.events.len());
        cursor = batch.cursor;
        if !batch.more {
            break;
        }
    }
    assert_eq!(parts.iter().sum::<usize>(), 40);
    assert!(parts.iter().all(|part| *part <= 19), "{parts:?}");
}

/// A cursor of one kind of source serves the other kind.
async fn a_cursor_changes_sides(kind: Kind) {
    let other = match kind {
        Kind::Leader => Kind::Rpc,
        Kind::Follower => Kind::OldRpc,
        Kind::Rpc => Kind::Leader,
        Kind::OldRpc => Kind::Follower,
        Kind::August => Kind::AugustRpc,
        Kind::AugustRpc => Kind::August,
    };
    let mut first = Stage::new(kind).await;
    for _ in 0..100 {
        first.append(&[Sort::Mine]);
    }
    let mut source = first.source();
    let mut follower = Follower::begin(&mut *source, FROM_0).await;
    follower.catch_up(&mut *source, 50).await;
    let model = first.model.lock().unwrap().clone();
    let mut second = Stage::with(other, model).await;
    second.append(&[Sort::Mine]);
    second.reorganise(3, &[vec![Sort::Mine], vec![Sort::Bare]]);
    let mut source = second.source();
    follower.catch_up(&mut *source, 50).await;
    assert_eq!(follower.seen, second.model.lock().unwrap().wanted(0));
    assert!(
        follower
            .log
            .iter()
            .any(|line| line.starts_with("withdrawn"))
    );
}

macro_rules! laws {
    ($($stage:ident: $kind:expr;)*) => {$(
        mod $stage {
            use super::*;
            laws!(@ $kind;
                everything_once_and_in_order, a_start_is_kept, reorganisations_are_seen,
                what_replaces_older_blocks_is_new, late_rows_are_seen, a_shorter_chain_is_behind,
                a_reset_is_seen,
                another_chain_is_refused, the_limit_is_kept,
                large_transactions_come_in_parts, a_cursor_changes_sides,
            );
        }
    )*};
    (@ $kind:expr; $($law:ident,)*) => {$(
        #[tokio::test]
        async fn $law() {
            super::$law($kind).await;
        }
    )*};
}

laws! {
    leader: Kind::Leader;
    follower: Kind::Follower;
    rpc: Kind::Rpc;
    old_rpc: Kind::OldRpc;
    august: Kind::August;
    august_rpc: Kind::AugustRpc;
}
