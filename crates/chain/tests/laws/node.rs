//! The node client against a scripted node: how it handles every kind of answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_chain::{NodeClient, NodeError, NodeOptions, Permit, SubmitError};
use agentry_protocol::{Address, BlockHeight, Limits, StoredTransaction, TransactionHash};

use crate::http::{HttpNode, Reply};

fn client(url: &str) -> NodeClient {
    client_with_timeout(Duration::from_secs(60), url)
}

fn client_with_timeout(timeout: Duration, url: &str) -> NodeClient {
    let options = NodeOptions {
        max_body_bytes: 1_000,
        max_list_bytes: 20_000,
        timeout,
        large_timeout: timeout,
        mempool_limit: 4,
        ..NodeOptions::default()
    };
    NodeClient::new(url, options).unwrap()
}

/// A node that answers everything in one way.
async fn always(reply: Reply) -> (HttpNode, NodeClient) {
    let silent = matches!(reply, Reply::Silence);
    let node = HttpNode::start(move |_, _, _| reply.clone()).await;
    let timeout = if silent {
        Duration::from_millis(300)
    } else {
        Duration::from_secs(60)
    };
    let client = client_with_timeout(timeout, &node.url);
    (node, client)
}

fn json(text: impl Into<String>) -> Reply {
    Reply::Json(200, text.into())
}

fn stored(number: u64) -> String {
    format!(
        r#"{{"amount":1,"chain_id":"ait-test","fee":10,"from":"a","nonce":{number},"payload":"x","signature":null,"to":"b"}}"#
    )
}

fn hash_of(text: &str) -> TransactionHash {
    StoredTransaction::parse(text.as_bytes(), Limits::default())
        .unwrap()
        .hash()
}

/// A process that was frozen goes on with the request that it was about to send.
#[tokio::test]
async fn a_body_is_sent_only_while_its_permit_holds() {
    let hash = TransactionHash::of(b"a transaction");
    let success = format!(r#"{{"success":true,"transaction_hash":"{hash}","message":"ok"}}"#);
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&bodies);
    let node = HttpNode::start(move |_, _, body| {
        seen.lock().unwrap().push(body.to_owned());
        json(&success)
    })
    .await;
    let client = client(&node.url);
    for (body, holds) in [("{}", true), ("[]", false), ("[{}]", true)] {
        let permit = Permit::new(move || holds);
        match client.submit_while(body, Some(permit)).await {
            Ok(found) => assert!(holds && found == hash),
            // The node has seen that there was to be a request.
            Err(error) => assert!(
                !holds && matches!(error, SubmitError::Unknown { .. }),
                "{error}"
            ),
        }
    }
    assert_eq!(*bodies.lock().unwrap(), ["{}", "[{}]"]);
}

#[tokio::test]
async fn a_failed_post_says_whether_the_transaction_may_be_accepted() {
    let hash = TransactionHash::of(b"a transaction");
    let success = format!(r#"{{"success":true,"transaction_hash":"{hash}","message":"ok"}}"#);
    let (_node, client) = always(json(&success)).await;
    assert_eq!(client.submit("{}").await.unwrap(), hash);

    for status in [400, 422, 404, 413] {
        let (_node, client) = always(Reply::Json(status, r#"{"detail":"no\u0007"}"#.into())).await;
        let error = client.submit("{}").await.unwrap_err();
        let SubmitError::Rejected {
            status: code,
            detail,
            ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!((*code, detail.as_str()), (status, r"no\u{7}"));
        assert!(!error.is_transient() && !error.may_have_been_taken());
    }
    let long = format!(r#"{{"detail":"{}"}}"#, "x".repeat(700));
    let (_node, client) = always(Reply::Json(400, long)).await;
    let error = client.submit("{}").await.unwrap_err();
    assert!(matches!(&error, SubmitError::Rejected { detail, .. } if detail.chars().count() < 520));
    // A refusal with a truncated body is a refusal.
    let broken = b"HTTP/1.1 400 X\r\ncontent-length: 50\r\n\r\n{\"det".to_vec();
    let (_node, client) = always(Reply::Raw(broken)).await;
    let error = client.submit("{}").await.unwrap_err();
    assert!(
        matches!(error, SubmitError::Rejected { status: 400, .. }),
        "{error}"
    );

    for (header, expected) in [
        ("retry-after: 7", Some(Duration::from_secs(7))),
        ("retry-after: 999999999", Some(Duration::from_secs(3_600))),
        // A date in the past means at once.
        (
            "retry-after: Wed, 21 Oct 2015 07:28:00 GMT",
            Some(Duration::ZERO),
        ),
        ("retry-after: soon", None),
        ("x-other: 1", None),
    ] {
        let (_node, client) = always(Reply::With(429, header, "{}".into())).await;
        let error = client.submit("{}").await.unwrap_err();
        let SubmitError::Busy { retry_after } = error else {
            panic!("{error}")
        };
        assert_eq!(retry_after, expected);
    }

    let unknown = [
        Reply::Json(500, "{}".into()),
        Reply::Json(502, "bad gateway".into()),
        Reply::Json(503, "{}".into()),
        Reply::Json(409, "{}".into()),
        Reply::With(307, "location: /elsewhere", String::new()),
        json("not JSON"),
        json(r#"{"success":true}"#),
        json(r#"{"success":true,"transaction_hash":"0xzz"}"#),
        json(format!(
            r#"{{"success":false,"transaction_hash":"{hash}"}}"#
        )),
        json(" ".repeat(2_000)),
        Reply::Raw(Vec::new()),
        Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 500\r\n\r\n{\"succ".to_vec()),
        Reply::Raw(b"what?\r\n\r\n".to_vec()),
        Reply::Silence,
    ];
    for reply in unknown {
        let (node, client) = always(reply.clone()).await;
        let error = client.submit("{}").await.unwrap_err();
        assert!(
            matches!(error, SubmitError::Unknown { .. }),
            "{reply:?}: {error}"
        );
        assert!(error.may_have_been_taken() && error.is_transient());
        assert_eq!(node.requests(), 1, "the bytes were sent once: {reply:?}");
    }

    // No process listens on it: the port was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = self::client(&format!("http://{free}"))
        .submit("{}")
        .await
        .unwrap_err();
    assert!(matches!(error, SubmitError::NotSent { .. }), "{error}");
    assert!(!error.may_have_been_taken());
}

#[tokio::test]
async fn the_posted_bytes_are_the_bytes_that_were_given() {
    let node = HttpNode::start(|method, path, body| {
        assert_eq!((method, path), ("POST", "/base/rpc/transaction"));
        let hash = TransactionHash::of(body.as_bytes());
        json(format!(r#"{{"success":true,"transaction_hash":"{hash}"}}"#))
    })
    .await;
    let body = r#"{"amount": 1,  "payload":"\ud83d\ude00 é"}"#;
    let client = client(&format!("{}/base/", node.url));
    assert_eq!(
        client.submit(body).await.unwrap(),
        TransactionHash::of(body.as_bytes())
    );
}

fn mempool(count: usize, limit: usize) -> String {
    let list: Vec<String> = (0..count.min(limit))
        .map(|number| stored(number as u64))
        .collect();
    format!(
        r#"{{"success":true,"transactions":[{}],"count":{}}}"#,
        list.join(","),
        list.len()
    )
}

#[tokio::test]
async fn the_mempool_is_whole_or_it_is_an_error() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let node = HttpNode::start(move |_, path, _| {
        count.fetch_add(1, Ordering::SeqCst);
        let limit = path
            .strip_prefix("/rpc/mempool?limit=")
            .unwrap()
            .parse()
            .unwrap();
        json(mempool(50, limit))
    })
    .await;
    let client = client(&node.url);
    let hashes = client.mempool_hashes().await.unwrap();
    assert_eq!(hashes.len(), 50);
    assert!((0..50).all(|number| hashes.contains(&hash_of(&stored(number)))));
    assert_eq!(asked.load(Ordering::SeqCst), 3, "4, 16 and 64");
    let part = client.mempool(10).await.unwrap();
    assert_eq!((part.transactions.len(), part.complete), (10, false));
    assert!(client.mempool(51).await.unwrap().complete);

    let nothing_proved = [
        json(r#"{"success":true,"transactions":[],"count":1}"#),
        json(r#"{"success":true,"transactions":[]}"#),
        json(r#"{"success":true,"count":0}"#),
        json(r#"{"success":false,"transactions":[],"count":0}"#),
        json(r#"{"success":true,"transactions":[{},"count":1}"#),
        json(mempool(1, 1) + "x"),
        json(&mempool(3, 3)[..100]),
        // It fills every limit, so one call cannot read it whole.
        json(mempool(4, 4)),
        json(mempool(500, 500)),
        Reply::Json(503, "{}".into()),
        Reply::Json(404, "{}".into()),
        Reply::Silence,
    ];
    for reply in nothing_proved {
        let (_node, client) = always(reply.clone()).await;
        let hashes = client.mempool_hashes().await;
        if matches!(&reply, Reply::Json(_, body) if *body == mempool(4, 4)) {
            // Four of the sixteen that were requested: that is all of them.
            assert_eq!(hashes.unwrap().len(), 4);
        } else {
            assert!(hashes.is_err(), "{reply:?}");
        }
    }
}

/// A node whose mempool fills every limit.
#[tokio::test]
async fn an_endless_mempool_is_an_error() {
    let node = HttpNode::start(|_, path, _| {
        let limit: usize = path
            .strip_prefix("/rpc/mempool?limit=")
            .unwrap()
            .parse()
            .unwrap();
        let list = vec!["0"; limit].join(",");
        json(format!(
            r#"{{"success":true,"transactions":[{list}],"count":{limit}}}"#
        ))
    })
    .await;
    let options = NodeOptions {
        mempool_limit: 1,
        ..NodeOptions::default()
    };
    let client = NodeClient::new(&node.url, options).unwrap();
    let error = client.mempool_hashes().await.unwrap_err();
    assert!(matches!(error, NodeError::Incomplete { .. }), "{error}");
    assert_eq!(node.requests(), 9);
}

#[tokio::test]
async fn one_undecodable_transaction_hides_no_other() {
    let bad = r#"{"amount":NaN,"from":"a","to":"b"}"#;
    let surrogate = r#"{"amount":1,"from":"a","to":"b","payload":"\ud800"}"#;
    let list = format!("{},{bad},{surrogate},{}", stored(1), stored(2));
    let body = format!(r#"{{"success":true,"transactions":[{list}],"count":4}}"#);
    let (_node, client) = always(json(body)).await;
    let options = NodeOptions {
        mempool_limit: 100,
        ..NodeOptions::default()
    };
    let whole = NodeClient::new(client.url(), options).unwrap();
    let mempool = whole.mempool(100).await.unwrap();
    assert_eq!(
        (
            mempool.count,
            mempool.undecodable,
            mempool.transactions.len()
        ),
        (4, 2, 2)
    );
    let hashes = whole.mempool_hashes().await.unwrap();
    assert!(hashes.contains(&hash_of(&stored(1))) && hashes.contains(&hash_of(&stored(2))));

    let flat = |number| {
        format!(
            r#"{},"tx_hash":"{}"}}"#,
            stored(number).trim_end_matches('}'),
            hash_of(&stored(number))
        )
    };
    let hash = format!("0x{}", "ab".repeat(32));
    let block = format!(
        r#"{{"height":5,"hash":"{hash}","parent_hash":"","proposer":"","timestamp":"t","tx_count":4,"state_root":null,"transactions":[{},{bad},{surrogate},{}]}}"#,
        flat(1),
        flat(2)
    );
    let (_node, client) = always(json(block)).await;
    let block = client.block(BlockHeight(5)).await.unwrap().unwrap();
    assert_eq!(block.parent_hash, None);
    let found: Vec<bool> = block
        .transactions
        .unwrap()
        .iter()
        .map(|found| found.stored.is_ok())
        .collect();
    assert_eq!(found, [true, false, false, true]);
    assert!(matches!(
        client.block(BlockHeight(6)).await,
        Err(NodeError::Unreadable { .. })
    ));
}

/// A message whose payload looks like a transaction is not read as that transaction.
#[tokio::test]
async fn a_payload_cannot_pose_as_its_transaction() {
    let inner = r#"{"from":"victim","to":"b","amount":1000,"nonce":0,"fee":0,"signature":null,"chain_id":"ait-test","payload":"x"}"#;
    let outer = stored(1).replace("\"x\"", inner);
    let hash = hash_of(&outer);
    let block_hash = format!("0x{}", "cd".repeat(32));
    for rows in [
        format!(
            "[{}]",
            outer.strip_suffix('}').unwrap().to_owned() + &format!(r#","tx_hash":"{hash}"}}"#)
        ),
        format!(
            r#"[{{"id":1,"tx_hash":"{hash}","sender":"a","recipient":"b","payload":{outer}}}]"#
        ),
        format!(r#"[{{"id":1,"tx_hash":"","sender":"","recipient":"","payload":{outer}}}]"#),
    ] {
        let body = format!(
            r#"{{"height":5,"hash":"{block_hash}","timestamp":"t","tx_count":1,"transactions":{rows}}}"#
        );
        let (_node, client) = always(json(body)).await;
        let block = client.block(BlockHeight(5)).await.unwrap().unwrap();
        let found = &block.transactions.unwrap()[0];
        assert_eq!(found.hash, Some(hash));
        assert_eq!(found.stored.as_ref().unwrap().from.as_str(), "a");
    }
}

#[tokio::test]
async fn answers_are_bounded_and_absences_are_distinguished() {
    let (_node, client) = always(json(" ".repeat(2_000))).await;
    assert!(matches!(
        client.head().await,
        Err(NodeError::TooLarge { limit: 1_000, .. })
    ));
    let (_node, client) = always(json(" ".repeat(30_000))).await;
    let range = client.blocks_range(BlockHeight(0), BlockHeight(9)).await;
    assert!(matches!(
        range,
        Err(NodeError::TooLarge { limit: 20_000, .. })
    ));
    let (_node, client) = always(Reply::Silence).await;
    let error = client.head().await.unwrap_err();
    assert!(
        matches!(error, NodeError::Timeout { .. }) && error.is_transient(),
        "{error}"
    );

    let (_node, client) = always(Reply::Json(404, r#"{"detail":"no blocks yet"}"#.into())).await;
    assert_eq!(client.head().await.unwrap(), None);
    assert!(client.block(BlockHeight(1)).await.unwrap().is_none());
    assert!(
        client
            .transaction(&TransactionHash::of(b""))
            .await
            .unwrap()
            .is_none()
    );
    let (_node, client) = always(Reply::Json(404, r#"{"detail":"Not Found"}"#.into())).await;
    let absent = client.transaction(&TransactionHash::of(b"")).await;
    assert!(matches!(absent, Err(NodeError::Unsupported { .. })));
    assert!(
        client.head().await.unwrap_err().is_not_found(),
        "this is not a node"
    );
    let (_node, client) = always(Reply::Json(503, "x".into())).await;
    let error = client.head().await.unwrap_err();
    assert!(error.is_server_error() && error.is_transient() && !error.is_not_found());
}

#[tokio::test]
async fn the_other_calls_read_what_a_node_says() {
    let address = Address::from_chain("ait1x/../y").unwrap();
    let node = HttpNode::start(|method, path, body| match (method, path) {
        ("GET", "/rpc/accounts/ait1x%2F%2E%2E%2Fy") => {
            json(r#"{"address":"ait1x/../y","balance":-17,"nonce":3,"exists":true}"#)
        }
        ("GET", "/health") => json(
            r#"{"status":"ok","supported_chains":["ait-devnet",5],"proposer_id":"p\u001b"}"#,
        ),
        ("POST", "/rpc/importBlock") if body == "{\"height\":4}" => json(
            r#"{"success":true,"block_number":4,"block_hash":"0xab","message":"Block already exists"}"#,
        ),
        ("GET", "/rpc/blocks-range?start=1&end=2&include_tx=true") => json(
            r#"{"success":true,"blocks":[{"height":2,"a":[ 1 ]},{"height":1}],"count":2}"#,
        ),
        ("GET", path) if path.starts_with("/rpc/transaction/") => {
            let hash = hash_of(&stored(1));
            json(format!(
                r#"{{"tx_hash":"{hash}","block_height":9,"sender":"a","recipient":"b","payload":{},"status":"confirmed"}}"#,
                stored(1)
            ))
        }
        _ => Reply::Json(404, format!("{method} {path}")),
    })
    .await;
    let client = client(&node.url);
    let account = client.account(&address).await.unwrap();
    assert_eq!(
        (account.balance, account.nonce.get(), account.exists),
        (-17, 3, true)
    );
    let health = client.health().await.unwrap();
    assert_eq!(health.supported_chains, ["ait-devnet"]);
    assert_eq!(health.proposer_id.as_deref(), Some("p\\u{1b}"));
    let outcome = client.import_block("{\"height\":4}").await.unwrap();
    assert_eq!(
        (outcome.height, outcome.already_exists),
        (BlockHeight(4), true)
    );
    let raw = client
        .blocks_range_raw(BlockHeight(1), BlockHeight(2))
        .await
        .unwrap();
    assert_eq!(raw, [r#"{"height":2,"a":[ 1 ]}"#, r#"{"height":1}"#]);
    let found = client
        .transaction(&hash_of(&stored(1)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.height, Some(BlockHeight(9)));
    assert_eq!(found.status.as_deref(), Some("confirmed"));
    assert_eq!(found.stored.unwrap().hash(), hash_of(&stored(1)));
    let other = client.transaction(&TransactionHash::of(b"other")).await;
    assert!(matches!(other, Err(NodeError::Unreadable { .. })));
}
