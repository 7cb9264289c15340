//! The laws over random histories: whatever happens to a chain, and however often its reader
//! restarts, in the end the reader has exactly the transactions of the chain.

use std::collections::BTreeSet;

use agentry_chain::{ChainSource, Start};
use agentry_protocol::{BlockHeight, TransactionHash};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::Sort;
use crate::reader::Follower;
use crate::stage::{Kind, Stage};

/// An event of a history, of the chain or of its reader.
#[derive(Debug, Clone)]
enum Op {
    Append(Vec<Sort>),
    /// Many blocks at once.
    Burst(u8),
    Reorganise {
        depth: u8,
        blocks: Vec<Vec<Sort>>,
    },
    /// Blocks are removed and not replaced yet.
    Rewind(u8),
    Late {
        back: u8,
        sort: Sort,
        recount: bool,
        restored: bool,
    },
    Reset(Vec<Vec<Sort>>),
    /// The file is created again with the same content (RPC: nothing).
    Rebuild,
    /// The node stops and starts again.
    Bounce,
    Read(u8),
    /// The reader's process ends and another one continues from the stored cursor.
    Restart,
}

fn sort() -> impl Strategy<Value = Sort> {
    prop_oneof![
        4 => Just(Sort::Mine),
        3 => Just(Sort::Foreign),
        1 => Just(Sort::Bare),
        1 => Just(Sort::BareForeign),
        1 => Just(Sort::Bad),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => vec(sort(), 0..4).prop_map(Op::Append),
        2 => (1_u8..90).prop_map(Op::Burst),
        3 => (prop_oneof![4 => 1_u8..6, 1 => 1_u8..100], vec(vec(sort(), 0..3), 0..5))
            .prop_map(|(depth, blocks)| Op::Reorganise { depth, blocks }),
        1 => (1_u8..4).prop_map(Op::Rewind),
        3 => (prop_oneof![2 => 0_u8..60, 1 => 0_u8..200], sort(), any::<bool>(), any::<bool>())
            .prop_map(|(back, sort, recount, restored)| Op::Late { back, sort, recount, restored }),
        1 => vec(vec(sort(), 0..3), 0..8).prop_map(Op::Reset),
        1 => Just(Op::Rebuild),
        1 => Just(Op::Bounce),
        6 => (1_u8..40).prop_map(Op::Read),
        2 => Just(Op::Restart),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Height(BlockHeight(0))),
        (0_u64..120).prop_map(|height| Start::Height(BlockHeight(height))),
        Just(Start::Head),
    ]
}

/// What the model knows about the reader.
struct Expectation {
    /// The first height that must be delivered.
    origin: u64,
    lowers: bool,
    /// Transactions that a source is exempt from seeing.
    exempt: BTreeSet<TransactionHash>,
    /// Transactions added below the window of a file since it was made. A source is exempt from
    /// seeing those that it has not read when the file is replaced.
    below_window: BTreeSet<TransactionHash>,
}

async fn play(kind: Kind, start: Start, before: u8, ops: Vec<Op>) {
    let mut stage = Stage::new(kind).await;
    for _ in 0..before {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.source();
    let mut follower = Follower::begin(&mut *source, start).await;
    // Another source that shares the database, at a position of its own.
    let mut neighbour = stage.source();
    let mut beside = Follower::begin(&mut *neighbour, Start::Head).await;
    let (origin, lowers) = match start {
        Start::Head => (u64::from(before) + 1, true),
        Start::Height(height) => (height.0, false),
    };
    let mut expected = Expectation {
        origin,
        lowers,
        exempt: BTreeSet::new(),
        below_window: BTreeSet::new(),
    };
    for op in ops {
        if stage.is_file() && matches!(op, Op::Read(_)) {
            // What it cannot read is no concern of the other.
            drop(beside.step(&mut *neighbour, 7).await);
        }
        happen(
            &mut stage,
            &mut source,
            &mut follower,
            &mut expected,
            kind,
            op,
        )
        .await;
    }
    stage.append(&[Sort::Mine]);
    follower.catch_up(&mut *source, 10).await;
    // A chain that became much shorter is distinguished from one that is behind once it has grown.
    while follower.behind > 0 {
        stage.append(&[Sort::Mine]);
        follower.catch_up(&mut *source, 10).await;
    }

    let model = stage.model.lock().unwrap().clone();
    let all = model.wanted(0);
    for found in &follower.seen {
        assert!(all.contains(found), "{found:?} is not on the chain");
        assert!(
            found.1 >= follower.cursor().origin().0,
            "{found:?} is below the start"
        );
    }
    for wanted in model.wanted(expected.origin) {
        assert!(
            follower.seen.contains(&wanted) || expected.exempt.contains(&wanted.0),
            "{wanted:?} was not delivered, of {}; {:?}",
            follower.seen.len(),
            follower.log
        );
    }
    for (hash, height) in model.bad(expected.origin) {
        assert!(
            follower.bad.get(&hash) == Some(&height) || expected.exempt.contains(&hash),
            "{hash} at {height} was not reported"
        );
    }
    if !lowers {
        assert_eq!(follower.cursor().origin(), BlockHeight(origin));
    }
    assert_eq!(follower.cursor().height(), Some(BlockHeight(model.head())));
    // After that nothing more is delivered.
    let delivered = follower.delivered;
    follower.catch_up(&mut *source, 10).await;
    assert_eq!(follower.delivered, delivered);
}

async fn happen(
    stage: &mut Stage,
    source: &mut Box<dyn ChainSource>,
    follower: &mut Follower,
    expected: &mut Expectation,
    kind: Kind,
    op: Op,
) {
    let head = stage.head();
    let mut forked_at = |fork: u64| {
        if expected.lowers {
            expected.origin = expected.origin.min(fork + 1);
        }
    };
    match op {
        Op::Append(sorts) => stage.append(&sorts),
        Op::Burst(count) => {
            for number in 0..count {
                stage.append(if number % 7 == 0 { &[Sort::Mine] } else { &[] });
            }
        }
        Op::Reorganise { depth, blocks } => {
            stage.reorganise(depth.into(), &blocks);
            forked_at(head.saturating_sub(depth.into()));
        }
        Op::Rewind(depth) => {
            stage.rewind(depth.into());
            forked_at(head.saturating_sub(depth.into()));
        }
        Op::Reset(blocks) => {
            stage.reset(&blocks);
            forked_at(0);
        }
        Op::Late {
            back,
            sort,
            recount,
            restored,
        } => {
            let height = head.saturating_sub(back.into()).max(1);
            if height > head {
                return;
            }
            // Over RPC it is searched for in the last blocks of the chain at that time.
            let read = follower.cursor().height().map_or(0, |read| read.0);
            let read = if stage.is_file() {
                read
            } else {
                read.max(head + 1)
            };
            let deep = height < read.saturating_sub(63);
            stage.late(height, sort, recount, restored);
            if !stage.is_file() {
                stage.append(&[]);
                // A pass over the window that is under way may be below that block by now: the next
                // one begins with the next read.
                follower.catch_up(&mut **source, 10).await;
                follower.catch_up(&mut **source, 10).await;
            }
            if !deep {
                return;
            }
            let added = stage
                .model
                .lock()
                .unwrap()
                .block(height)
                .txs
                .last()
                .unwrap()
                .hash;
            // Below the window, RPC sees nothing, and a follower's file only new rows.
            if !stage.is_file() || (kind == Kind::Follower && !restored) {
                expected.exempt.insert(added);
            } else {
                expected.below_window.insert(added);
            }
        }
        Op::Rebuild if stage.is_file() => {
            stage.rebuild();
            let unread = std::mem::take(&mut expected.below_window)
                .into_iter()
                .filter(|added| !follower.has_read(added));
            expected.exempt.extend(unread);
        }
        Op::Bounce if stage.is_file() => {
            stage.stop();
            let _ = follower.step(&mut **source, 5).await;
            stage.start();
        }
        Op::Rebuild | Op::Bounce => {}
        Op::Read(limit) => {
            let _ = follower.step(&mut **source, limit.into()).await.unwrap();
        }
        Op::Restart => *source = stage.source(),
    }
}

/// `PROPTEST_CASES` sets a higher number; a failure prints the history that reproduces it.
fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    let more = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if more { default.cases } else { 48 };
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..default
    }
}

macro_rules! histories {
    ($($name:ident: $kind:expr;)*) => {proptest! {
        #![proptest_config(cases())]
        $(
            #[test]
            fn $name(start in start(), before in 0_u8..90, ops in vec(op(), 1..40)) {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(play($kind, start, before, ops));
            }
        )*
    }};
}

histories! {
    leader: Kind::Leader;
    follower: Kind::Follower;
    rpc: Kind::Rpc;
    old_rpc: Kind::OldRpc;
    august: Kind::August;
    august_rpc: Kind::AugustRpc;
}
