//! Nodes that are slow, or do not answer. A real node has one thread, and takes 5 to 55 ms for each
//! block that it shows.

use std::time::{Duration, Instant};

use agentry_chain::{ChainSource, HeadPoll, RpcSource, Start};
use agentry_protocol::BlockHeight;

use crate::model::Sort;
use crate::reader::Follower;
use crate::stage::{Kind, Stage};

const FROM_0: Start = Start::Height(BlockHeight(0));

/// Longer than any machine takes; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(120);

/// Reads as the runtime does until the condition holds.
async fn follow(
    follower: &mut Follower,
    source: &mut RpcSource,
    mut until: impl FnMut(&Follower) -> bool,
) {
    let all = async {
        while !until(follower) {
            match follower.step(source, 500).await {
                Ok(true) => {}
                Ok(false) => source.changed().await,
                Err(error) => {
                    assert!(error.is_transient(), "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, all)
        .await
        .expect("it was not read in time");
}

/// Ten times as fast as a real chain: a block every 200 ms, each of which costs the node 2.5 ms to
/// show. The test checks how many blocks were requested, not how long this machine took.
#[tokio::test]
async fn a_node_is_left_nine_tenths_of_its_time() {
    const COST: Duration = Duration::from_micros(2_500);
    const PERIOD: Duration = Duration::from_millis(200);
    let mut stage = Stage::new(Kind::Rpc).await;
    for _ in 0..300 {
        stage.append(&[Sort::Mine]);
    }
    stage.failures.lock().unwrap().a_block_takes = COST;
    let began = Instant::now();
    let mut source = stage.usual_rpc();
    let mut follower = Follower::begin(&mut source, Start::Head).await;
    let mut late = Vec::new();
    for number in 1..=60 {
        stage.append(&[Sort::Mine]);
        if number % 20 == 10 {
            // Added to a block in the middle of those that were read.
            let height = 300 + number / 2;
            stage.late(height, Sort::Mine, false, false);
            let mut model = stage.model.lock().unwrap();
            late.push((model.block(height).txs.last().unwrap().hash, height));
        }
        let due = began + PERIOD * u32::try_from(number).unwrap();
        let height = Some(BlockHeight(300 + number));
        follow(&mut follower, &mut source, |follower| {
            Instant::now() >= due && follower.cursor().height() == height
        })
        .await;
    }
    let used = COST * u32::try_from(stage.worked()).unwrap();
    let (all, asked) = (began.elapsed(), stage.requests());
    assert!(used * 10 < all, "{used:?} of {all:?}");
    // A few for each block: the head just before it arrives, the block, and old blocks sometimes.
    assert!(asked < 60 * 12 + 100, "{asked} requests");
    assert_eq!(stage.most_at_once(), 1);
    // The late transaction is found when its block is read again.
    follow(&mut follower, &mut source, |follower| {
        late.iter().all(|late| follower.seen.contains(late))
    })
    .await;
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(301));
}

/// A wait for a block that reads the last one again only does so while the node has time to spare.
#[tokio::test]
async fn a_wait_for_a_block_leaves_the_node_its_time() {
    const COST: Duration = Duration::from_millis(100);
    let mut stage = Stage::new(Kind::Rpc).await;
    stage.append(&[Sort::Mine]);
    stage.failures.lock().unwrap().a_block_takes = COST;
    let mut poll = HeadPoll::new(stage.client());
    let read = async |poll: &mut HeadPoll| {
        let head = poll.head().await.unwrap()?;
        let block = poll.node().block(head.height).await.unwrap().unwrap();
        poll.read(&head);
        Some(block.height)
    };
    assert_eq!(read(&mut poll).await, Some(BlockHeight(1)));
    let (began, mut again) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(3) {
        poll.wait().await;
        again += u32::from(read(&mut poll).await.is_some());
    }
    let all = began.elapsed();
    assert!(COST * again * 10 < all, "{again} times in {all:?}");
    // A new block is always read.
    stage.append(&[Sort::Mine]);
    assert_eq!(read(&mut poll).await, Some(BlockHeight(2)));
}

/// The longest time that a block of a real node takes: a read from the first block on sends one
/// small range after the other.
#[tokio::test]
async fn a_long_chain_of_a_slow_node_is_read() {
    let mut stage = Stage::new(Kind::Rpc).await;
    for _ in 0..60 {
        stage.append(&[Sort::Mine]);
    }
    stage.failures.lock().unwrap().a_block_takes = Duration::from_millis(55);
    let mut source = stage.usual_rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follow(&mut follower, &mut source, |follower| {
        follower.seen.len() == 60
    })
    .await;
    // Each page begins with the last block of the one before.
    assert!(stage.worked() <= 60 * 2, "{} blocks", stage.worked());
    assert_eq!(stage.most_at_once(), 1);
}

/// A node with one thread that is very slow: the source waits for it, and sends no request twice,
/// because the second one would queue behind the first.
#[tokio::test]
async fn a_request_is_not_sent_again_while_the_node_works_on_it() {
    let mut stage = Stage::new(Kind::Rpc).await;
    stage.append(&[Sort::Mine]);
    let mut source = stage.usual_rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    stage.failures.lock().unwrap().a_block_takes = Duration::from_secs(4);
    let before = stage.worked();
    stage.append(&[Sort::Mine]);
    follow(&mut follower, &mut source, |follower| {
        follower.seen.len() == 2
    })
    .await;
    // Old blocks may be read after that.
    assert!(stage.worked() - before <= 2, "{}", stage.worked() - before);
    assert!(follower.gaps.is_empty());
}

/// A request that is lost while the node answers others is cancelled and sent again.
#[tokio::test]
async fn a_lost_request_is_sent_again() {
    let mut stage = Stage::new(Kind::Rpc).await;
    for _ in 0..10 {
        stage.append(&[Sort::Mine]);
    }
    let mut source = stage.usual_rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    stage.failures.lock().unwrap().silent = 2;
    follow(&mut follower, &mut source, |follower| {
        follower.seen.len() == 10
    })
    .await;
    assert!(follower.gaps.is_empty());
}

/// A node that does not answer for a while is read again soon after it answers.
#[tokio::test]
async fn a_node_that_hung_is_read_again() {
    let mut stage = Stage::new(Kind::Rpc).await;
    stage.append(&[Sort::Mine]);
    let mut source = stage.usual_rpc();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    follower.catch_up(&mut source, 50).await;
    stage.failures.lock().unwrap().hangs = true;
    stage.append(&[Sort::Mine]);
    let failures = std::sync::Arc::clone(&stage.failures);
    let heals = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        failures.lock().unwrap().hangs = false;
    });
    follow(&mut follower, &mut source, |follower| {
        follower.seen.len() == 2
    })
    .await;
    heals.await.unwrap();
    // One request and a few polls of the head, not one request after the other.
    assert!(stage.requests() < 30, "{} requests", stage.requests());
}
