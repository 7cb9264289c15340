//! The posting node: whether it serves the chain that is read, and the transactions that it has
//! accepted and does not mine.

use std::time::{Duration, Instant};

use agentry::HostError;
use agentry_chain::{NodeClient, NodeOptions};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::BlockHeight;

use super::{PATIENCE, Stage, address};

/// A port on which nothing listens: below the ones that Linux assigns.
fn own_port() -> u16 {
    let first = 15_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (first..)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

fn other_chain(stage: &Stage, port: u16) -> Devnet {
    Devnet::start(DevnetConfig {
        dir: stage.dir().join("other"),
        port,
        chain_id: "ait-other".parse().unwrap(),
        block_time: Duration::from_millis(50),
        allocations: vec![(address(1), 1_000)],
        ..DevnetConfig::default()
    })
    .unwrap()
}

/// A node of the right chain that follows the stage's node and forwards posted transactions to it.
fn right_chain(stage: &Stage, port: u16) -> Devnet {
    Devnet::start(DevnetConfig {
        dir: stage.dir().join("follower"),
        port,
        block_time: Duration::from_millis(50),
        follow: Some(stage.devnet.url()),
        ..DevnetConfig::default()
    })
    .unwrap()
}

/// Waits for this many blocks of a node, and asserts that none contains anything.
async fn assert_untouched(devnet: &Devnet, blocks: u64) {
    let node = NodeClient::new(&devnet.url(), NodeOptions::default()).unwrap();
    let head = async || node.head().await.unwrap().unwrap().height;
    let (first, began) = (head().await, Instant::now());
    while head().await.0 < first.0 + blocks {
        assert!(began.elapsed() < PATIENCE, "the node makes no blocks");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all = node
        .blocks_range(BlockHeight(0), head().await)
        .await
        .unwrap();
    assert!(all.iter().all(|block| block.tx_count == 0));
    assert!(node.mempool(10).await.unwrap().transactions.is_empty());
}

fn node_up(stage: &Stage) -> bool {
    let host = stage.host.as_ref().unwrap();
    host.started().metrics.condition().node_up
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_chain_is_not_posted_to() {
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    stage.stop();
    let other = other_chain(&stage, 0);
    let submit = format!("start = 0\nsubmit = \"{}\"\n", other.url());
    stage.edit("start = 0\n", &submit);
    let error = stage.try_start(0).unwrap_err();
    assert!(matches!(error, HostError::OtherChain { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&other.url()) && text.contains("submit"),
        "{text}"
    );
    // Reading the database of one chain and the RPC of another is refused, too.
    let (right, wrong) = (stage.devnet.url(), other.url());
    stage.edit(&submit, "start = 0\n");
    stage.edit(&right, &wrong);
    let error = stage.try_start(0).unwrap_err();
    assert!(matches!(error, HostError::OtherChain { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_is_asked_for_its_chain_before_posting() {
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    stage.stop();
    let port = own_port();
    let submit = format!("start = 0\nsubmit = \"http://127.0.0.1:{port}\"\n");
    stage.edit("start = 0\n", &submit);
    // Nothing listens there: that does not delay the start.
    stage.start();
    stage.say(2, "ping").await;
    stage
        .until("it is answered", |stage| stage.outbox().len() == 1)
        .await;
    for round in 0..2 {
        let other = other_chain(&stage, port);
        assert_untouched(&other, 30).await;
        assert!(!node_up(&stage));
        drop(other);
        let right = right_chain(&stage, port);
        stage
            .until("the answer is mined", |stage| {
                stage.said().len() == round + 1
            })
            .await;
        assert!(node_up(&stage));
        drop(right);
        stage.until("it is missed", |stage| !node_up(stage)).await;
        stage.say(2, "ping").await;
        stage
            .until("it is answered", |stage| stage.outbox().len() == round + 2)
            .await;
    }
}

/// The value of a metric.
fn metric(stage: &Stage, name: &str) -> i64 {
    let host = stage.host.as_ref().unwrap();
    let text = host.started().metrics.encode().unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

/// The agent answers, and the node drops the answer that it has accepted.
async fn lose_an_answer(stage: &Stage) {
    let answered = stage.outbox().len();
    stage.devnet.pause_mining();
    stage.say(2, "ping").await;
    stage.devnet.mine().unwrap();
    stage
        .until("the node has the answer", |stage| {
            let rows = stage.outbox();
            rows.len() > answered && rows.iter().all(|row| row.state != "prepared")
        })
        .await;
    stage.devnet.faults().set("silent-drop".parse().unwrap());
    stage.devnet.mine().unwrap();
    stage.devnet.faults().clear("silent-drop");
    stage.devnet.resume_mining();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_mempool_is_reported_and_dropped_transactions_wait() {
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    stage.stop();
    stage.edit("db = \"node/chain.db\"\n", "");
    stage.start();
    stage
        .devnet
        .faults()
        .set("mempool-unreadable".parse().unwrap());
    lose_an_answer(&stage).await;
    stage
        .until("its row says why", |stage| {
            let reason = stage.outbox()[0].reason.clone();
            reason.is_some_and(|reason| reason.contains("mempool") && reason.contains("503"))
        })
        .await;
    assert_eq!(metric(&stage, "agentry_mempool_unreadable"), 1);
    assert_eq!(metric(&stage, "agentry_transactions_overdue"), 1);
    assert_eq!(stage.outbox()[0].posts, 1, "nothing proves that it is lost");
    stage.devnet.faults().clear("mempool-unreadable");
    stage
        .until("it is mined", |stage| stage.said().len() == 1)
        .await;
    assert_eq!(stage.outbox()[0].reason, None);
    stage
        .until("the metrics are at rest", |stage| {
            metric(stage, "agentry_mempool_unreadable") == 0
                && metric(stage, "agentry_transactions_overdue") == 0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mempools_database_proves_what_was_dropped() {
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    stage
        .devnet
        .faults()
        .set("mempool-unreadable".parse().unwrap());
    lose_an_answer(&stage).await;
    stage
        .until("it is mined", |stage| stage.said().len() == 1)
        .await;
    assert_eq!(stage.outbox()[0].posts, 2);
    // The store remembers that the database belongs to the node.
    lose_an_answer(&stage).await;
    stage.stop();
    stage.start();
    stage
        .until("it is mined", |stage| stage.said().len() == 2)
        .await;
    assert_eq!(metric(&stage, "agentry_mempool_unreadable"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_stay_pending_are_reported() {
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    stage.stop();
    let follower = right_chain(&stage, 0);
    follower.faults().set("no-forward".parse().unwrap());
    let submit = format!("start = 0\nsubmit = \"{}\"\n", follower.url());
    stage.edit("start = 0\n", &submit);
    stage.start();
    stage.say(2, "ping").await;
    stage
        .until("its row says why", |stage| {
            let rows = stage.outbox();
            let reason = rows.first().and_then(|row| row.reason.clone());
            reason.is_some_and(|reason| reason.contains("pending"))
        })
        .await;
    assert_eq!(stage.outbox()[0].state, "accepted");
    assert_eq!(metric(&stage, "agentry_transactions_overdue"), 1);
}
