//! Starting, and why it does not.

use std::time::Duration;

use agentry_devnet::{Devnet, DevnetConfig, DevnetError};

use crate::common::{Node, Wallet, manual};

#[test]
fn it_starts_without_a_runtime_and_stops_when_dropped() {
    let node = Node::manual();
    let mined = node.devnet().mine().unwrap();
    assert_eq!(mined.height.0, 1);
    let config = DevnetConfig {
        port: node.devnet().port(),
        ..node.config.clone()
    };
    let dir = node.dir;
    drop(node.devnet);
    // Port and directory are free again at once.
    let again = Devnet::start(config).unwrap();
    assert_eq!(again.mine().unwrap().height.0, 2);
    assert_eq!(again.chain_db(), dir.path().join("chain/chain.db"));
    again.stop();
}

#[test]
fn a_port_in_use_is_named() {
    let node = Node::manual();
    let other = tempfile::tempdir().unwrap();
    let port = node.devnet().port();
    let config = DevnetConfig {
        dir: other.path().to_owned(),
        port,
        ..manual()
    };
    let error = Devnet::start(config).unwrap_err();
    assert!(
        matches!(error, DevnetError::PortInUse { port: named } if named == port),
        "{error}"
    );
    assert!(error.to_string().contains("choose another port"), "{error}");
}

#[test]
fn a_directory_in_use_is_named() {
    let node = Node::manual();
    let error = Devnet::start(node.config.clone()).unwrap_err();
    assert!(matches!(error, DevnetError::Locked { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&node.config.dir.display().to_string()),
        "{error}"
    );
}

#[test]
fn another_chains_directory_is_refused() {
    let mut node = Node::manual();
    node.stop();
    let config = DevnetConfig {
        chain_id: "ait-mainnet".parse().unwrap(),
        ..node.config.clone()
    };
    let error = Devnet::start(config).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DevnetError::OtherChain { .. }), "{text}");
    assert!(
        text.contains("holds chain ait-devnet, not ait-mainnet"),
        "{text}"
    );
    node.restart();
}

#[test]
fn invalid_configurations_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = || DevnetConfig {
        dir: dir.path().join("chain"),
        ..manual()
    };
    let alice = Wallet::of(1).address;
    for (config, expected) in [
        (
            DevnetConfig {
                block_time: Duration::from_millis(49),
                ..base()
            },
            "too short",
        ),
        (
            DevnetConfig {
                follow: Some("nonsense".into()),
                ..base()
            },
            "following a leader: reading the node's URL",
        ),
        (
            DevnetConfig {
                allocations: vec![(alice.clone(), 0)],
                ..base()
            },
            "crediting 0",
        ),
        (
            DevnetConfig {
                allocations: vec![(alice.clone(), u64::MAX)],
                ..base()
            },
            "give from 1 to",
        ),
        (
            DevnetConfig {
                follow: Some("http://127.0.0.1:1".into()),
                allocations: vec![(alice, 1)],
                ..base()
            },
            "give allocations there",
        ),
    ] {
        let error = Devnet::start(config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn all_credits_together_stay_countable() {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1).address, Wallet::of(2).address);
    node.devnet().fund(&alice, i64::MAX as u64 - 5).unwrap();
    assert!(node.devnet().fund(&bob, 6).is_err());
    assert!(node.devnet().fund(&bob, 0).is_err());
    node.devnet().fund(&bob, 5).unwrap();
}

#[test]
fn ten_nodes_run_at_once() {
    let nodes: Vec<Node> = (0..10).map(|_| Node::manual()).collect();
    std::thread::scope(|scope| {
        for node in &nodes {
            scope.spawn(|| assert_eq!(node.devnet().mine().unwrap().height.0, 1));
        }
    });
}
