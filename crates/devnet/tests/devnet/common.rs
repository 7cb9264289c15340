//! Helpers of the tests: a node in its own directory, real HTTP, and waiting for conditions.

use std::time::{Duration, Instant};

use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{
    Address, ChainId, Dialect, Json, Number, Seed, SignedTransaction, SigningKey, Transaction,
};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// How long a condition may take: far longer than any takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node that produces blocks on demand, unless the configuration says otherwise.
pub(crate) struct Node {
    pub(crate) devnet: Option<Devnet>,
    pub(crate) dir: TempDir,
    pub(crate) config: DevnetConfig,
    http: reqwest::Client,
}

/// A configuration without a clock: only `mine` produces blocks.
pub(crate) fn manual() -> DevnetConfig {
    DevnetConfig {
        automatic: false,
        block_time: Duration::from_millis(50),
        ..DevnetConfig::default()
    }
}

pub(crate) fn http() -> reqwest::Client {
    // The chain's client installs the TLS provider that reqwest needs.
    drop(agentry_chain::NodeClient::new("http://127.0.0.1:1", Default::default()).unwrap());
    // A connection for each call: one that is kept alive would be broken after a restart.
    reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

impl Node {
    pub(crate) fn start(config: DevnetConfig) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let config = DevnetConfig {
            dir: dir.path().join("chain"),
            ..config
        };
        let devnet = Devnet::start(config.clone()).unwrap();
        Node {
            devnet: Some(devnet),
            dir,
            config,
            http: http(),
        }
    }

    pub(crate) fn manual() -> Node {
        Node::start(manual())
    }

    pub(crate) fn devnet(&self) -> &Devnet {
        self.devnet.as_ref().unwrap()
    }

    pub(crate) fn stop(&mut self) {
        if let Some(devnet) = self.devnet.take() {
            // The same port is used after a restart: followers only know that one.
            self.config.port = devnet.port();
            devnet.stop();
        }
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.devnet = Some(Devnet::start(self.config.clone()).unwrap());
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.devnet().url())
    }

    pub(crate) fn client(&self) -> agentry_chain::NodeClient {
        agentry_chain::NodeClient::new(&self.devnet().url(), Default::default()).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(self.url(path)).send().await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_str(&answer.text().await.unwrap()).unwrap(),
        )
    }

    pub(crate) async fn get_text(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(self.url(path)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> (u16, Value) {
        let answer = self.try_post(path, body).await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_str(&answer.text().await.unwrap()).unwrap(),
        )
    }

    pub(crate) async fn try_post(
        &self,
        path: &str,
        body: impl Into<String>,
    ) -> Result<reqwest::Response, reqwest::Error> {
        self.http
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body.into())
            .send()
            .await
    }

    /// Posts a transaction that must be accepted; returns its hash.
    pub(crate) async fn submit(&self, signed: &SignedTransaction) -> String {
        let (status, answer) = self.post("/rpc/transaction", signed.body()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["transaction_hash"], signed.hash().to_string());
        signed.hash().to_string()
    }

    /// Posts a body that must be refused; returns the reason.
    pub(crate) async fn refuse(&self, body: impl Into<String>) -> String {
        let (status, answer) = self.post("/rpc/transaction", body).await;
        let detail = answer["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(status, 400, "{answer}");
        let reason = detail.strip_prefix("Failed to submit transaction: ");
        reason.unwrap_or_else(|| panic!("{detail}")).to_owned()
    }

    pub(crate) async fn height(&self) -> u64 {
        let (status, head) = self.get("/rpc/head").await;
        if status == 404 {
            0
        } else {
            head["height"].as_u64().unwrap()
        }
    }

    pub(crate) async fn balance(&self, wallet: &Wallet) -> i64 {
        self.get(&format!("/rpc/accounts/{}", wallet.address))
            .await
            .1["balance"]
            .as_i64()
            .unwrap()
    }

    pub(crate) async fn pending(&self) -> Vec<Value> {
        let (_, answer) = self.get("/rpc/mempool?limit=100000").await;
        answer["transactions"].as_array().unwrap().clone()
    }

    /// The chain's database, read only.
    pub(crate) fn db(&self) -> Connection {
        Connection::open_with_flags(
            self.config.dir.join("chain.db"),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )
        .unwrap()
    }

    /// How many rows have a hash.
    pub(crate) fn mined(&self, hash: &str) -> i64 {
        self.db()
            .query_row(
                "SELECT count(*) FROM \"transaction\" WHERE tx_hash = ?1",
                [hash],
                |row| row.get(0),
            )
            .unwrap()
    }

    /// Every block's height and hash.
    pub(crate) fn blocks(&self) -> Vec<(i64, String)> {
        let db = self.db();
        let mut statement = db
            .prepare("SELECT height, hash FROM block ORDER BY height")
            .unwrap();
        statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    /// Every account: address, balance, counter.
    pub(crate) fn accounts(&self) -> Vec<(String, i64, i64)> {
        let db = self.db();
        let mut statement = db
            .prepare("SELECT address, balance, nonce FROM account ORDER BY address")
            .unwrap();
        statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    /// Every mined transaction: height, hash, counter.
    pub(crate) fn rows(&self) -> Vec<(i64, String, i64)> {
        let db = self.db();
        let mut statement = db
            .prepare("SELECT block_height, tx_hash, nonce FROM \"transaction\" ORDER BY block_height, id")
            .unwrap();
        statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }
}

/// Waits until a condition holds, and fails if that takes too long.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A key with its address.
pub(crate) struct Wallet {
    pub(crate) key: SigningKey,
    pub(crate) address: Address,
}

impl Wallet {
    /// The wallet with a number: always the same one.
    pub(crate) fn of(number: u8) -> Wallet {
        let key = SigningKey::from_seed(&Seed::from_bytes([number; 32]));
        let address = Address::from_public_key(&key.public_key());
        Wallet { key, address }
    }

    pub(crate) fn transaction(
        &self,
        to: &Wallet,
        amount: u64,
        fee: u64,
        nonce: u64,
    ) -> Transaction {
        Transaction {
            dialect: Dialect::April2026,
            from: self.address.clone(),
            to: to.address.clone(),
            amount: Number::from(amount),
            fee: Number::from(fee),
            nonce: Number::from(nonce),
            payload: Json::string("hello"),
            chain_id: chain(),
        }
    }

    pub(crate) fn pay(&self, to: &Wallet, amount: u64, fee: u64, nonce: u64) -> SignedTransaction {
        self.transaction(to, amount, fee, nonce).sign(&self.key)
    }
}

pub(crate) fn chain() -> ChainId {
    "ait-devnet".parse().unwrap()
}
