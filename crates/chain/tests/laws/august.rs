//! Nodes of August 2026: the answers that one gave, and what is particular to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentry_chain::{
    ChainDb, ChainDbOptions, ChainEvent, ChainSource, Everything, LocalNode, NodeClient, NodeError,
    NodeOptions, Refusal, RpcOptions, RpcSource, Seen, Start, SubmitError,
};
use agentry_protocol::json::{Json, Limits};
use agentry_protocol::{Address, BlockHeight, Dialect, Nonce, StoredTransaction, TransactionHash};
use proptest::prelude::*;
use rusqlite::params;
use serde_json::Value;

use crate::http::{HttpNode, Reply};
use crate::model::{Model, Sort, chain_id};
use crate::reader::Follower;
use crate::stage::{Failures, Kind, Stage, node_file_of};

const AUGUST: Dialect = Dialect::August2026;
/// How long a test waits for what takes a second.
const BOUND: Duration = Duration::from_secs(60);

const FROM_0: Start = Start::Height(BlockHeight(0));

/// What a node answered.
pub(crate) fn observed() -> Value {
    let text = include_str!("../../../protocol/tests/vectors/dialect_2026_08.json");
    let mut vectors: Value = serde_json::from_str(text).unwrap();
    vectors["observed"].take()
}

fn options(chain: &str) -> NodeOptions {
    NodeOptions {
        unlimited: true,
        ..NodeOptions::of(AUGUST, &chain.parse().unwrap())
    }
}

fn client(url: &str) -> NodeClient {
    NodeClient::new(url, options("ait-h1")).unwrap()
}

fn read(stored: &Value) -> StoredTransaction {
    StoredTransaction::read(AUGUST, stored.to_string().as_bytes(), Limits::default()).unwrap()
}

/// A node that gives the observed answers.
async fn node() -> HttpNode {
    let observed = observed();
    HttpNode::start(move |_, path, _| {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let names_chain = query.split('&').any(|part| part == "chain_id=ait-h1");
        assert_eq!(names_chain, path != "/health", "{path}?{query}");
        let found = |key: &str| Reply::Json(200, observed[key].to_string());
        match path {
            "/rpc/head" => found("GET /rpc/head"),
            "/health" => found("GET /health"),
            "/rpc/blocks-range" => found("GET /rpc/blocks-range?start=10&end=10"),
            "/rpc/mempool" => {
                let entries = &observed["GET /rpc/mempool?chain_id= (entries)"];
                let count = entries.as_array().unwrap().len();
                let text =
                    format!(r#"{{"success":true,"transactions":{entries},"count":{count}}}"#);
                Reply::Json(200, text)
            }
            _ if path.starts_with("/rpc/transaction/") => found("GET /rpc/transaction/{hash}"),
            "/rpc/accounts/ait14c4905580f509dd7491627257b4cd15010b216ce" => {
                found("GET /rpc/accounts/<bob>")
            }
            _ if path.starts_with("/rpc/accounts/") => {
                let unknown = &observed["GET /rpc/accounts/<unknown>"];
                Reply::Json(404, unknown["body"].to_string())
            }
            other => panic!("{other} is of no use"),
        }
    })
    .await
}

#[tokio::test]
async fn the_answers_of_a_node_are_read() {
    let (node, observed) = (node().await, observed());
    let client = client(&node.url);
    let head = client.head().await.unwrap().unwrap();
    assert_eq!(head.height, BlockHeight(99));
    let health = client.health().await.unwrap();
    assert_eq!(health.supported_chains, ["ait-h1"]);

    // Whole transactions, though the chain keeps no signature.
    let range = &observed["GET /rpc/blocks-range?start=10&end=10"]["blocks"][0];
    let row = &range["transactions"][0];
    let signed =
        read(&observed["WebSocket /rpc/subscribe/ws, frame of block 10"]["transactions"][0]);
    let hash: TransactionHash = row["tx_hash"].as_str().unwrap().parse().unwrap();
    assert_eq!(signed.hash(), hash);
    let block = client.block(BlockHeight(10)).await.unwrap().unwrap();
    assert!(block.is_whole() && block.parent_hash.is_some());
    let [found] = block.transactions.as_deref().unwrap() else {
        panic!("{block:?}")
    };
    assert_eq!(found.hash, Some(hash));
    let mined = found.stored.as_ref().unwrap();
    assert_eq!((mined.signature.as_ref(), &*mined.kind), (None, "MESSAGE"));
    assert_eq!(mined.digest(), signed.digest());
    let found = client.transaction(&hash).await.unwrap().unwrap();
    assert_eq!(found.height, Some(BlockHeight(10)));
    assert_eq!(found.stored.unwrap().digest(), signed.digest());

    // A signature that was seen verifies what was mined.
    let mut seen = Seen::default();
    assert!(!seen.has(&mined.digest()) && !seen.see(mined));
    assert!(seen.see(&signed) && seen.has(&mined.digest()));
    let mempool = client.mempool(10).await.unwrap();
    assert_eq!((mempool.transactions.len(), mempool.complete), (1, true));
    assert!(mempool.transactions.iter().all(|pending| seen.see(pending)));
    let posted = &observed["POST /rpc/transaction answer"]["transaction_hash"];
    let posted: TransactionHash = posted.as_str().unwrap().parse().unwrap();
    assert!(mempool.hashes.contains(&posted));
    assert!(client.mempool_hashes().await.unwrap().contains(&posted));

    // One account in any spelling; one that the chain does not know.
    let bob: Address = "0x4c4905580f509dd7491627257b4cd15010b216ce"
        .parse()
        .unwrap();
    let account = client.account(&bob).await.unwrap();
    assert_eq!(
        (account.balance, account.nonce, account.exists),
        (3_599_999_858, Nonce::new(5), true)
    );
    let nobody = Address::from_chain("ait1nobody").unwrap();
    let account = client.account(&nobody).await.unwrap();
    assert_eq!(
        (account.balance, account.nonce, account.exists),
        (0, Nonce::new(0), false)
    );
}

#[tokio::test]
async fn the_rows_of_a_database_are_read() {
    let (dir, observed) = (tempfile::tempdir().unwrap(), observed());
    let path = dir.path().join("chain.db");
    let writer = node_file_of(AUGUST, &path);
    let block = &observed["chain.db block"];
    let insert_block = |height: i64, hash: &str| {
        let sql = "INSERT INTO block (chain_id, height, hash, parent_hash, proposer, timestamp, \
                   tx_count, block_metadata, signature) \
                   VALUES ('ait-h1', ?1, ?2, '', '', ?3, 1, ?4, '')";
        // Validators write what they like into a block's metadata.
        let metadata = r#"[{"validator": "x", "signature": "y"}, 1, 2, 3]"#;
        let row = params![height, hash, block["timestamp"].as_str(), metadata];
        writer.execute(sql, row).unwrap();
    };
    insert_block(10, block["hash"].as_str().unwrap());
    insert_block(5, "0xab");
    for row in [
        &observed["chain.db row"],
        &observed["follower fed by push, chain.db row"],
    ] {
        let sql = "INSERT INTO \"transaction\" (chain_id, tx_hash, block_height, sender, recipient, \
                   payload, created_at, nonce, value, fee, status, type, timestamp) \
                   VALUES ('ait-h1', ?1, ?2, ?3, ?4, ?5, '', ?6, ?7, ?8, 'confirmed', ?9, NULL)";
        let (text, number) = (|key: &str| row[key].as_str(), |key: &str| row[key].as_i64());
        let row = params![
            text("tx_hash"),
            number("block_height"),
            text("sender"),
            text("recipient"),
            text("payload"),
            number("nonce"),
            number("value"),
            number("fee"),
            text("type")
        ];
        writer.execute(sql, row).unwrap();
    }
    let chain = "ait-h1".parse().unwrap();
    let mut source = ChainDb::open(&path, chain, ChainDbOptions::of(AUGUST)).unwrap();
    assert_eq!(source.dialect().await.unwrap(), Some(AUGUST));
    let cursor = source.begin(FROM_0).await.unwrap();
    let batch = source
        .read(&cursor, Arc::new(Everything), 10)
        .await
        .unwrap();
    let [
        ChainEvent::Transaction(pushed),
        ChainEvent::Transaction(mined),
    ] = &batch.events[..]
    else {
        panic!("{:?}", batch.events)
    };
    // Its hash is nowhere: it is known by its digest.
    let digest = pushed.stored.digest();
    assert_eq!(pushed.hash.as_bytes(), digest.as_bytes());
    assert_eq!(&*pushed.stored.kind, "TRANSFER");
    assert_eq!(
        pushed.stored.to.as_str(),
        "ait12d0170dc7881b43a27306465f1e07ea4949b60be"
    );
    assert_eq!(
        pushed.stored.to.spelled(),
        "0x2d0170dc7881B43a27306465f1E07eA4949b60bE"
    );
    let signed =
        read(&observed["WebSocket /rpc/subscribe/ws, frame of block 10"]["transactions"][0]);
    assert_eq!(mined.hash, signed.hash());
    assert_eq!(mined.stored.digest(), signed.digest());
}

/// An empty mempool proves nothing to whoever has not named the chain: it is not even asked for.
#[tokio::test]
async fn absence_is_never_concluded_without_the_chain() {
    let observed = observed();
    let empty = observed["GET /rpc/mempool (no chain_id)"].to_string();
    let node = HttpNode::start(move |_, _, _| Reply::Json(200, empty.clone())).await;
    let without = NodeOptions {
        chain: None,
        ..options("ait-h1")
    };
    let without = NodeClient::new(&node.url, without).unwrap();
    let hash = TransactionHash::of(b"");
    for error in [
        without.mempool(10).await.err(),
        without.mempool_hashes().await.err(),
        without.find_pending(&hash, 10).await.err(),
        without.pending_that(|_| true).await.err(),
    ] {
        assert!(
            matches!(error, Some(NodeError::Incomplete { .. })),
            "{error:?}"
        );
    }
    assert_eq!(node.requests(), 0);
    assert!(client(&node.url).mempool_hashes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_is_classified() {
    let nonce = Refusal::Nonce {
        expected: Some(Nonce::new(4)),
    };
    for (status, detail, expected) in [
        (
            400,
            "403: Invalid transaction signature",
            Refusal::Signature,
        ),
        (
            400,
            "transaction.fee must be non-negative",
            Refusal::Malformed,
        ),
        (
            400,
            "unsupported chain_id 'x'. Supported chains: ['already in']",
            Refusal::Chain,
        ),
        (
            400,
            "sender account not found on chain 'ait-h1'",
            Refusal::UnknownAccount,
        ),
        (
            400,
            "insufficient balance for sender 'a' on chain 'ait-h1': has 5, needs 10",
            Refusal::Money,
        ),
        (
            400,
            "invalid nonce for sender 'a' on chain 'ait-h1': expected 4, got 3",
            nonce,
        ),
        (422, "", Refusal::Malformed),
        (413, "", Refusal::Size),
        (400, "", Refusal::Other),
    ] {
        let body = match status {
            422 => r#"{"detail":[{"type":"missing","loc":["body","to"],"msg":"x"}]}"#.to_owned(),
            _ => format!(r#"{{"detail":"Failed to submit transaction: {detail}"}}"#),
        };
        let node = HttpNode::start(move |_, _, _| Reply::Json(status, body.clone())).await;
        let error = client(&node.url).submit("{}").await.unwrap_err();
        let SubmitError::Rejected { refusal, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(refusal, expected, "{detail}");
    }
    // A body that is an array or a string is answered 503: nothing is known of it.
    let node = HttpNode::start(|_, _, _| {
        Reply::Json(503, r#"{"detail":"Internal server error: x"}"#.into())
    })
    .await;
    let error = client(&node.url).submit("[]").await.unwrap_err();
    assert!(error.may_have_been_taken(), "{error}");
}

#[tokio::test]
async fn a_node_shows_its_dialect() {
    let block = |more: &str| {
        format!(
            r#"{{"success":true,"blocks":[{{"height":0,"hash":"0xab","tx_count":0{more}}}],"count":1}}"#
        )
    };
    let empty = r#"{"success":true,"blocks":[],"count":0}"#;
    let with = r#"{"paths":{"/rpc/head":{},"/rpc/transaction/{tx_hash}":{}}}"#;
    let without = r#"{"paths":{"/rpc/head":{}}}"#;
    for (range, description, expected) in [
        ((200, block(r#","signature":"""#)), None, Some(AUGUST)),
        ((200, block("")), None, Some(Dialect::April2026)),
        ((200, empty.to_owned()), Some(with), Some(AUGUST)),
        ((503, "{}".to_owned()), Some(with), Some(AUGUST)),
        ((200, empty.to_owned()), Some(without), None),
        ((200, empty.to_owned()), None, None),
    ] {
        let node = HttpNode::start(move |_, path, _| match (path, description) {
            ("/openapi.json", Some(description)) => Reply::Json(200, description.to_owned()),
            ("/openapi.json", None) => Reply::Json(404, r#"{"detail":"Not Found"}"#.into()),
            _ => Reply::Json(range.0, range.1.clone()),
        })
        .await;
        // Whatever the client was made for.
        for options in [NodeOptions::default(), options("ait-h1")] {
            let client = NodeClient::new(&node.url, options).unwrap();
            assert_eq!(client.dialect().await.unwrap(), expected);
        }
    }
    let stage = Stage::new(Kind::Leader).await;
    let found = stage.db().dialect().await.unwrap();
    assert_eq!(found, Some(Dialect::April2026));
}

/// A pause that the node asks for is waited out: the read is no failure, and the call is not repeated.
#[tokio::test]
async fn a_pause_is_no_failure() {
    let mut model = Model::of(AUGUST, 0);
    model.append(&[Sort::Mine]);
    let stage = Stage::with(Kind::AugustRpc, model).await;
    stage.failures.lock().unwrap().refused = 1;
    let node = NodeClient::new(stage.client().url(), options("ait-test")).unwrap();
    let mut source = RpcSource::new(node.clone(), chain_id(), RpcOptions::default());
    let cursor = source.begin(Start::Height(BlockHeight(0))).await;
    // It has to ask for block 0, and is told to wait.
    assert!(matches!(
        cursor.unwrap_err(),
        agentry_chain::SourceError::Node(NodeError::Paused { .. })
    ));
    let before = stage.requests();
    let error = node.block_hash(BlockHeight(0)).await.unwrap_err();
    assert!(error.pause().is_some() && error.is_transient(), "{error}");
    assert_eq!(stage.requests(), before, "it was not asked");
    // Other calls go on.
    assert!(node.head().await.unwrap().is_some());

    let beginning = async {
        while source.begin(FROM_0).await.is_err() {
            source.changed().await;
        }
    };
    tokio::time::timeout(BOUND, beginning).await.unwrap();
    let mut follower = Follower::begin(&mut source, FROM_0).await;
    stage.failures.lock().unwrap().refused = 1;
    let mut rests = 0;
    let reading = async {
        while follower.seen.is_empty() {
            follower.catch_up(&mut source, 50).await;
            rests += 1;
            source.changed().await;
        }
    };
    tokio::time::timeout(BOUND, reading).await.unwrap();
    assert!(rests > 1, "the pause came in between");
    assert_eq!(follower.seen, stage.model.lock().unwrap().wanted(0));
    assert!(follower.gaps.is_empty());
}

/// Blocks that are answered 503 become gaps, and all others are read.
async fn halve(poison: BTreeSet<u64>, length: u64) {
    let mut stage = Stage::new(Kind::AugustRpc).await;
    for _ in 0..length {
        stage.append(&[Sort::Mine]);
    }
    *stage.failures.lock().unwrap() = Failures {
        poison: poison.iter().copied().collect(),
        poison_headers: true,
        ..Failures::default()
    };
    let mut source = stage.rpc();
    let mut follower = Follower::begin(&mut source, Start::Height(BlockHeight(1))).await;
    // Each gap takes as many reads as a block must fail before it is one.
    for _ in 0..3 * (poison.len() + 1) {
        follower.catch_up(&mut source, 50).await;
    }
    let wanted = stage.model.lock().unwrap().wanted(1);
    let wanted: BTreeSet<_> = wanted
        .into_iter()
        .filter(|(_, height)| !poison.contains(height))
        .collect();
    assert_eq!(follower.seen, wanted);
    assert_eq!(follower.gaps, poison);
}

#[tokio::test]
async fn a_block_that_cannot_be_read_is_found_by_halving() {
    halve([40].into(), 80).await;
    halve([79, 80].into(), 80).await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn halving_finds_every_block_that_cannot_be_read(
        poison in proptest::collection::btree_set(1_u64..60, 0..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(halve(poison, 60));
    }
}

/// A payload that looks like its row is a payload, and a block that is read as a range is read once.
#[tokio::test]
async fn a_payload_cannot_pose_as_a_column() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let hash = TransactionHash::of(b"a transaction");
    let row = format!(
        r#"{{"chain_id":"ait-h1","tx_hash":"{hash}","sender":"ait1sender","recipient":"ait1recipient","payload":{{"from":"victim","to":"thief","sender":"victim","amount":9,"type":"TRANSFER"}},"nonce":1,"fee":2,"value":3,"type":"MESSAGE"}}"#
    );
    let block = format!(
        r#"{{"success":true,"blocks":[{{"height":7,"hash":"{hash}","tx_count":1,"transactions":[{row}]}}],"count":1}}"#
    );
    let node = HttpNode::start(move |_, _, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Reply::Json(200, block.clone())
    })
    .await;
    let block = client(&node.url).block(BlockHeight(7)).await;
    let found = block.unwrap().unwrap().transactions.unwrap().remove(0);
    let stored = found.stored.unwrap();
    assert_eq!(stored.from.as_str(), "ait1sender");
    assert_eq!(stored.to.as_str(), "ait1recipient");
    assert_eq!(&*stored.kind, "MESSAGE");
    let amount = stored
        .payload
        .root()
        .get("amount")
        .map(agentry_protocol::JsonRef::to_json);
    assert_eq!(amount, Some(Json::integer(9)));
    assert_eq!(stored.amount.as_u64(), Some(3));
    assert_eq!(asked.load(Ordering::SeqCst), 1, "no second call shows more");
}

/// A node in this process that answers everything with the same bytes.
struct Bytes(Vec<u8>);

impl LocalNode for Bytes {
    fn answer(&self, _: &str, _: Option<&str>) -> (http::StatusCode, Vec<u8>) {
        (http::StatusCode::OK, self.0.clone())
    }
}

/// Reads an answer in every way.
async fn read_hostile(bytes: Vec<u8>) {
    let node = NodeClient::local("a hostile node", Arc::new(Bytes(bytes)), options("ait-h1"));
    let (first, last) = (BlockHeight(0), BlockHeight(99));
    if let Ok(blocks) = node.blocks_range(first, last).await {
        assert!(blocks.is_sorted_by_key(|block| block.height));
        for found in blocks.into_iter().filter_map(|block| block.transactions) {
            for stored in found.iter().filter_map(|found| found.stored.as_ref().ok()) {
                // What is handed on reads back as itself.
                let text = stored.stored_text();
                let again = StoredTransaction::parse(text.as_bytes(), Limits::NONE).unwrap();
                assert_eq!(again.digest(), stored.digest());
            }
            assert!(
                found
                    .iter()
                    .all(|found| found.hash.is_some() || found.stored.is_err())
            );
        }
    }
    let mut seen = Seen::new(1);
    if let Ok(mempool) = node.mempool(100).await {
        for pending in &mempool.transactions {
            assert_eq!(seen.see(pending), seen.has(&pending.digest()));
        }
    }
    let address = Address::from_chain("ait14c4905580f509dd7491627257b4cd15010b216ce").unwrap();
    drop(node.account(&address).await);
    drop(node.transaction(&TransactionHash::of(b"")).await);
    drop(node.mempool_hashes().await);
    drop(node.head().await);
    drop(node.health().await);
    drop(node.dialect().await);
    drop(node.submit("{}").await);
    drop(node.import_block("{}").await);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn hostile_answers_do_no_harm(
        which in 0..4_usize,
        edits in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(b"{}[]\",:\\09-eNnu \xff".to_vec())),
            0..6,
        ),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let observed = observed();
        let key = [
            "GET /rpc/blocks-range?start=10&end=10",
            "GET /rpc/transaction/{hash}",
            "GET /rpc/accounts/<bob>",
            "GET /rpc/mempool?chain_id= (entries)",
        ][which];
        let mut bytes = observed[key].to_string().into_bytes();
        if which == 3 {
            let list = String::from_utf8(bytes).unwrap();
            bytes = format!(r#"{{"success":true,"transactions":{list},"count":1}}"#).into_bytes();
        }
        for (at, edit, byte) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(read_hostile(bytes));
    }
}
