//! What only RPC has to do with.

use agentry_chain::{ChainSource, Interest, SourceError, Start};
use agentry_protocol::BlockHeight;

use crate::model::Sort;
use crate::reader::Follower;
use crate::stage::{Kind, Stage};

const FROM_0: Start = Start::Height(BlockHeight(0));

/// Reads so often that a block which fails has become a gap.
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
    assert_eq!(
        stage.requests() - before,
        10 + 2 * 10,
        "the head, and one range"
    );
    assert_eq!(stage.requests(), source.requests());
    assert_eq!(follower.seen.len(), 10);

    let before = stage.requests();
    let mut all = Follower::begin(&mut source, FROM_0).await;
    all.catch_up(&mut source, 1_000).await;
    let pages = 311_u64.div_ceil(15);
    assert!(
        stage.requests() - before < pages + 6,
        "{} requests",
        stage.requests() - before
    );
}

/// A read of a chain in which nothing is wanted ends, so that its position can be stored.
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
        let batch = source.read(&cursor, &Nothing, 1_000).await.unwrap();
        assert!(batch.events.is_empty());
        assert!(batch.cursor.height() > cursor.height(), "it moves on");
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

/// A block that the node cannot serve becomes a gap, its neighbours are delivered, and once it can be
/// read it comes late.
#[tokio::test]
async fn an_unservable_block_is_a_gap() {
    for (kind, headers) in [
        (Kind::Rpc, false),
        (Kind::Rpc, true),
        (Kind::OldRpc, false),
        (Kind::OldRpc, true),
    ] {
        let mut stage = Stage::new(kind).await;
        for _ in 0..40 {
            stage.append(&[Sort::Mine, Sort::Foreign]);
        }
        *stage.ills.lock().unwrap() = crate::stage::Ills {
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
        // While the gaps are open, reading goes on.
        stage.append(&[Sort::Mine]);
        persist(&mut follower, &mut source).await;
        assert_eq!(follower.seen.len(), 37);

        // Another process goes on, the node is well again.
        *stage.ills.lock().unwrap() = crate::stage::Ills::default();
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

/// A node that serves nothing is ill: that makes no gap.
#[tokio::test]
async fn an_ill_node_makes_no_gap() {
    let mut stage = Stage::new(Kind::Rpc).await;
    stage.append(&[Sort::Mine]);
    let mut source = stage.rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    stage.append(&[Sort::Mine]);
    stage.ills.lock().unwrap().all = true;
    for _ in 0..10 {
        let error = follower.step(&mut source, 50).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    stage.ills.lock().unwrap().all = false;
    follower.catch_up(&mut source, 50).await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    assert!(follower.gaps.is_empty());
}

/// A block that shows fewer transactions than it counts: what is shown is delivered, the rest is a
/// gap until it is shown.
#[tokio::test]
async fn a_short_block_is_a_gap() {
    for kind in [Kind::Rpc, Kind::OldRpc] {
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
        // A fork takes the other one away.
        stage.reorganise(2, &[vec![], vec![], vec![Sort::Mine]]);
        persist(&mut follower, &mut source).await;
        assert!(follower.gaps.is_empty());
        assert_eq!(follower.cursor().gaps().count(), 0);
        assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    }
}

/// A node that cuts its answers short withdraws nothing by it.
#[tokio::test]
async fn an_answer_cut_short_is_no_fork() {
    let mut stage = Stage::new(Kind::Rpc).await;
    stage.ills.lock().unwrap().cap = 10;
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

    // One that leaves out a block in the middle contradicts itself.
    stage.ills.lock().unwrap().cap = 0;
    stage.ills.lock().unwrap().left_out = Some(90);
    stage.append(&[Sort::Mine]);
    let error = follower.step(&mut source, 50).await.unwrap_err();
    assert!(matches!(error, SourceError::Inconsistent { .. }), "{error}");
    assert!(error.is_transient());
}

/// The node is away for a while.
#[tokio::test]
async fn an_absent_node_is_waited_for() {
    let stage = Stage::new(Kind::Rpc).await;
    let mut source = stage.rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    let node = stage.rpc().node().clone();
    drop(stage);
    let error = loop {
        // The listener closes when its task is gone, which drop() has only asked for.
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
