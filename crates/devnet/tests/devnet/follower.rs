//! A follower: catching up, its leader's outages and reorganisations, forwarding.

use agentry_devnet::{DevnetConfig, Fault, Faults};
use agentry_protocol::genesis_hash;
use serde_json::json;

use crate::common::{Node, Wallet, chain, manual, until};

fn follow(leader: &Node, config: DevnetConfig) -> Node {
    Node::start(DevnetConfig {
        follow: Some(leader.devnet().url()),
        ..config
    })
}

/// A leader with a funded account, and some blocks with transactions.
async fn leader(blocks: u64) -> (Node, Wallet, Wallet) {
    let node = Node::manual();
    let (alice, bob) = (Wallet::of(1), Wallet::of(2));
    node.devnet().fund(&alice.address, 1_000_000).unwrap();
    for nonce in 0..blocks {
        if nonce % 10 == 0 {
            node.submit(&alice.pay(&bob, nonce, 10, nonce)).await;
        }
        node.devnet().mine().unwrap();
    }
    (node, alice, bob)
}

async fn level(follower: &Node, leader: &Node) {
    until("the follower to have caught up", async || {
        follower.blocks() == leader.blocks()
            && follower.rows() == leader.rows()
            && follower.accounts() == leader.accounts()
    })
    .await;
}

#[tokio::test]
async fn it_catches_up_whole() {
    let (leader, alice, bob) = leader(250).await;
    let follower = follow(&leader, manual());
    level(&follower, &leader).await;
    // Its blocks are the leader's, with the same parent and proposer.
    assert_eq!(
        follower.get("/rpc/blocks/250").await,
        leader.get("/rpc/blocks/250").await
    );
    assert_eq!(
        follower.get("/rpc/blocks/11").await,
        leader.get("/rpc/blocks/11").await
    );
    // It keeps following: new blocks, and credits without a block.
    leader.submit(&alice.pay(&bob, 1, 10, 9_000)).await;
    leader.devnet().mine().unwrap();
    leader.devnet().fund(&Wallet::of(3).address, 77).unwrap();
    level(&follower, &leader).await;
    let (_, health) = follower.get("/health").await;
    assert_eq!(
        (&health["fork"], &health["error"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(health["leader_height"], 251);
    let (_, metrics) = follower.get_text("/metrics").await;
    assert!(
        metrics.contains("\nblocks_imported_total 252\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn it_produces_no_blocks() {
    let (leader, alice, _) = leader(1).await;
    let follower = follow(&leader, manual());
    assert!(
        follower
            .devnet()
            .mine()
            .unwrap_err()
            .to_string()
            .contains("follows http://127.0.0.1:")
    );
    assert!(follower.devnet().fund(&alice.address, 1).is_err());
    assert!(follower.devnet().reorganise(1).is_err());
    assert_eq!(follower.post("/dev/mine", "").await.0, 400);
}

#[tokio::test]
async fn before_the_first_block_there_is_no_head() {
    let dead = Node::manual();
    let url = dead.devnet().url();
    drop(dead);
    let follower = Node::start(DevnetConfig {
        follow: Some(url),
        ..manual()
    });
    assert_eq!(
        follower.get("/rpc/head").await,
        (404, json!({"detail": "no blocks yet"}))
    );
    until("the outage to be reported", async || {
        follower.get("/health").await.1["error"]
            .as_str()
            .is_some_and(|error| error.contains("connecting"))
    })
    .await;
}

#[tokio::test]
async fn it_survives_its_leaders_outage_and_its_own() {
    let (mut leader, alice, bob) = leader(3).await;
    let mut follower = follow(&leader, manual());
    level(&follower, &leader).await;
    leader.stop();
    until("the outage to be noticed", async || {
        !follower.get("/health").await.1["error"].is_null()
    })
    .await;
    assert_eq!(follower.height().await, 3);
    leader.restart();
    leader.submit(&alice.pay(&bob, 5, 10, 100)).await;
    leader.devnet().mine().unwrap();
    level(&follower, &leader).await;
    follower.stop();
    leader.devnet().mine().unwrap();
    leader.devnet().fund(&bob.address, 3).unwrap();
    follower.restart();
    level(&follower, &leader).await;
}

#[tokio::test]
async fn it_follows_a_reorganisation() {
    let (leader, alice, bob) = leader(20).await;
    let follower = follow(&leader, manual());
    level(&follower, &leader).await;
    leader.devnet().reorganise_and_drop(12).unwrap();
    leader.submit(&alice.pay(&bob, 123, 10, 50)).await;
    leader.devnet().mine().unwrap();
    level(&follower, &leader).await;
    until("the reorganisation to be reported", async || {
        let (_, health) = follower.get("/health").await;
        health["reorganisations"].as_u64() >= Some(1) && health["fork"].is_null()
    })
    .await;
}

#[tokio::test]
async fn it_follows_a_fork_longer_than_a_page_that_happened_while_it_was_stopped() {
    let (leader, ..) = leader(230).await;
    let mut follower = follow(&leader, manual());
    level(&follower, &leader).await;
    follower.stop();
    leader.devnet().reorganise(215).unwrap();
    follower.restart();
    level(&follower, &leader).await;
}

#[tokio::test]
async fn a_leader_that_restarted_its_chain_is_followed_from_the_start() {
    let (mut leader, alice, bob) = leader(5).await;
    let follower = follow(&leader, manual());
    level(&follower, &leader).await;
    leader.stop();
    std::fs::remove_dir_all(&leader.config.dir).unwrap();
    leader.restart();
    leader.devnet().fund(&bob.address, 40).unwrap();
    leader.submit(&bob.pay(&alice, 2, 1, 1)).await;
    leader.devnet().mine().unwrap();
    level(&follower, &leader).await;
}

#[tokio::test]
async fn a_chain_with_nothing_in_common_is_a_fork() {
    let mut leader = Node::manual();
    leader.devnet().mine().unwrap();
    let follower = follow(&leader, manual());
    level(&follower, &leader).await;
    leader.stop();
    let port = leader.config.port;
    let other = Node::start(DevnetConfig {
        chain_id: "another-chain".parse().unwrap(),
        port,
        ..manual()
    });
    other.devnet().mine().unwrap();
    until("the fork to be reported", async || {
        !follower.get("/health").await.1["fork"].is_null()
    })
    .await;
    let (_, health) = follower.get("/health").await;
    assert_eq!(health["fork"]["ours"].as_str().unwrap().len(), 66);
    assert_ne!(health["fork"]["ours"], health["fork"]["leaders"]);
    // None of its blocks is imported.
    assert_eq!(
        follower.get("/rpc/blocks/0").await.1["hash"],
        genesis_hash(&chain()).to_string()
    );
    assert_eq!(follower.height().await, 1);
}

#[tokio::test]
async fn it_forwards_posted_transactions() {
    let (leader, alice, bob) = leader(1).await;
    let follower = follow(&leader, manual());
    level(&follower, &leader).await;
    let hash = follower.submit(&alice.pay(&bob, 9, 10, 70)).await;
    // It is pending at both, so a reader of the follower does not take it for lost.
    assert_eq!(
        (leader.pending().await.len(), follower.pending().await.len()),
        (1, 1)
    );
    let refusal = follower.refuse(alice.pay(&bob, 9, 10, 70).body()).await;
    assert!(refusal.contains("already pending"), "{refusal}");
    assert_eq!(follower.post("/rpc/transaction", "{").await.0, 422);
    leader.devnet().mine().unwrap();
    level(&follower, &leader).await;
    assert_eq!(
        (follower.mined(&hash), follower.pending().await.len()),
        (1, 0)
    );
}

#[tokio::test]
async fn a_transaction_that_the_leader_lost_does_not_stay_pending_at_the_follower() {
    let (leader, alice, bob) = leader(1).await;
    let follower = follow(&leader, manual());
    level(&follower, &leader).await;
    leader.devnet().faults().set("silent-drop".parse().unwrap());
    follower.submit(&alice.pay(&bob, 9, 10, 70)).await;
    leader.devnet().mine().unwrap();
    until("the follower to remove it", async || {
        // The follower checks when it has all blocks: it would never catch up with a leader that
        // produced blocks faster than the follower imports them.
        leader.devnet().mine().unwrap();
        level(&follower, &leader).await;
        follower.pending().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_absent_leader_makes_a_forwarding_follower_busy() {
    let (mut leader, alice, bob) = leader(1).await;
    let follower = follow(&leader, manual());
    level(&follower, &leader).await;
    leader.stop();
    until("the follower to be busy", async || {
        let answer = follower
            .try_post("/rpc/transaction", alice.pay(&bob, 1, 10, 1).body())
            .await
            .unwrap();
        let status = answer.status().as_u16();
        // If an older connection breaks during the POST, the result is unknown: 502.
        assert!([429, 502].contains(&status), "{status}");
        status == 429
    })
    .await;
}

#[tokio::test]
async fn no_forward_keeps_it_pending_forever() {
    for by_fault in [true, false] {
        let (leader, alice, bob) = leader(1).await;
        let faults = if by_fault {
            Faults::from_iter([Fault::NoForward])
        } else {
            Faults::none()
        };
        let follower = follow(
            &leader,
            DevnetConfig {
                faults,
                forward: by_fault,
                ..manual()
            },
        );
        level(&follower, &leader).await;
        follower.submit(&alice.pay(&bob, 9, 10, 70)).await;
        leader.devnet().mine().unwrap();
        leader.devnet().mine().unwrap();
        level(&follower, &leader).await;
        assert_eq!(
            (leader.pending().await.len(), follower.pending().await.len()),
            (0, 1)
        );
    }
}

#[tokio::test]
async fn a_lossy_follower_is_aitbcs() {
    let (leader, ..) = leader(12).await;
    let faults = Faults::from_iter([Fault::ImportLosesTransactions]);
    let follower = follow(&leader, DevnetConfig { faults, ..manual() });
    until("the blocks", async || follower.blocks() == leader.blocks()).await;
    assert_eq!((follower.rows().len(), follower.accounts().len()), (0, 0));
    let (_, block) = follower.get("/rpc/blocks/1").await;
    assert_eq!(block["tx_count"], 1);
    assert_eq!(block["transactions"], json!([]));
    assert_eq!(block["parent_hash"], "");
    let metadata: String = follower
        .db()
        .query_row(
            "SELECT block_metadata FROM block WHERE height = 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(metadata.contains("\"payload\":\"hello\""), "{metadata}");
}

#[tokio::test]
async fn a_leader_without_range_transactions_is_followed_block_by_block() {
    let (leader, ..) = leader(12).await;
    leader.devnet().faults().set(Fault::NoRangeTransactions);
    let follower = follow(&leader, manual());
    level(&follower, &leader).await;
}

#[tokio::test]
async fn a_flaky_leader_is_followed() {
    let (leader, ..) = leader(30).await;
    leader
        .devnet()
        .faults()
        .set("error-500=0.5".parse().unwrap());
    let follower = follow(&leader, manual());
    level(&follower, &leader).await;
}

/// A node like AITBC's: it proxies the RPC of a leader, and has no calls under `/dev`.
fn without_ledger(leader: &Node) -> String {
    use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let base = web::Data::new((leader.devnet().url(), crate::common::http()));
    // It ends with the test's process.
    std::thread::spawn(move || {
        let pass = |request: HttpRequest, to: web::Data<(String, reqwest::Client)>| async move {
            if request.path().starts_with("/dev") {
                return HttpResponse::NotFound().body("{\"detail\":\"Not Found\"}");
            }
            let answer =
                to.1.get(format!("{}{}", to.0, request.uri()))
                    .send()
                    .await
                    .unwrap();
            let status = answer.status().as_u16().try_into().unwrap();
            HttpResponse::build(status).body(answer.bytes().await.unwrap())
        };
        let app = move || {
            App::new()
                .app_data(base.clone())
                .default_service(web::to(pass))
        };
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .listen(listener)
            .unwrap();
        actix_rt::System::new().block_on(server.run()).unwrap();
    });
    url
}

#[tokio::test]
async fn accounts_of_a_leader_without_a_ledger_are_read_one_by_one() {
    let (leader, alice, bob) = leader(30).await;
    let url = without_ledger(&leader);
    let follower = Node::start(DevnetConfig {
        follow: Some(url),
        ..manual()
    });
    level(&follower, &leader).await;
    leader.submit(&alice.pay(&bob, 44, 10, 500)).await;
    leader.devnet().mine().unwrap();
    level(&follower, &leader).await;
}
