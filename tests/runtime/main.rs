//! The runtime in this process, with behaviours made for the test, on a real embedded node.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod approvals;
mod authenticity;
mod budget;
mod confirmations;
mod conversation;
mod coordinator;
mod directory;
mod doors;
mod fair;
mod isolation;
mod kinds;
mod plans;
mod reload;
mod restore;
mod runner;
mod submit;
mod tasks;
mod time;
mod webhooks;
mod worker;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use agentry::config::{Config, Overlay, Source};
use agentry::runtime::clock::Clock;
use agentry::{Host, HostError, HostOptions};
use agentry_chain::{NodeClient, NodeOptions};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{
    Address, ChainId, Dialect, Json, Limits, Number, Password, Payload, Seed, SigningKey,
    Timestamp, Transaction, TransactionHash,
};
use agentry_sdk::Registry;
use agentry_store::list::{self, Filter, InboxItem, OutboxItem};
use agentry_store::open_for_reading;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

/// How long a test waits for anything: far more than it takes, since machines are shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A sending wallet whose seed is this byte.
pub(crate) fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

/// Its address.
pub(crate) fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

/// A node and a runtime that hosts one agent (seed 1) with the behaviours of a test.
pub(crate) struct Stage {
    pub(crate) devnet: Devnet,
    pub(crate) host: Option<Host>,
    pub(crate) node: NodeClient,
    pub(crate) store: PathBuf,
    /// The clock of the runtime, from its start on.
    pub(crate) clock: Clock,
    text: String,
    dir: tempfile::TempDir,
}

impl Stage {
    /// `behaviours` is the array of agents.toml; `more` are further keys of `[chain]`; `keys` are
    /// further keys of the agent.
    pub(crate) fn set(behaviours: &str, more: &str, keys: &str) -> Self {
        Self::with_tables(behaviours, more, keys, "")
    }

    /// With further tables.
    pub(crate) fn with_tables(behaviours: &str, more: &str, keys: &str, tables: &str) -> Self {
        Self::with_files(behaviours, more, keys, tables, &[])
    }

    /// With further files.
    pub(crate) fn with_files(
        behaviours: &str,
        more: &str,
        keys: &str,
        tables: &str,
        files: &[(&str, &str)],
    ) -> Self {
        Self::try_with_files(behaviours, more, keys, tables, files).unwrap()
    }

    /// The same, or why the runtime cannot start.
    pub(crate) fn try_with_files(
        behaviours: &str,
        more: &str,
        keys: &str,
        tables: &str,
        files: &[(&str, &str)],
    ) -> Result<Self, HostError> {
        let dir = tempfile::tempdir().unwrap();
        let devnet = Devnet::start(DevnetConfig {
            dir: dir.path().join("node"),
            block_time: Duration::from_millis(50),
            allocations: (1..=20).map(|byte| (address(byte), 100_000)).collect(),
            ..DevnetConfig::default()
        })
        .unwrap();
        let text = format!(
            "[chain]\nid = \"ait-devnet\"\nrpc = \"{}\"\ndb = \"node/chain.db\"\nstart = 0\n{more}\n\
             [store]\npath = \"agentry.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [wallets]\nkeystore_dir = \"keystore\"\npassword_file = \"keystore/.password\"\n\
             [defaults]\nper_sender_rate = \"unlimited\"\ndaily_budget = 1_000_000_000\n\
             [[agent]]\nname = \"agent\"\nwallet = \"one\"\n{keys}\nbehaviours = [{behaviours}]\n\
             {tables}\n",
            devnet.url()
        );
        let keystore = dir.path().join("keystore");
        agentry::wallet::ensure_password_file(&keystore.join(".password")).unwrap();
        let password: Password =
            agentry::wallet::password::read(&keystore.join(".password")).unwrap();
        let wallets = agentry::wallet::WalletStore::new(Some(keystore), None);
        let seed = Seed::from_bytes([1; 32]);
        wallets
            .add(&"one".parse().unwrap(), &seed, &address(1), &password)
            .unwrap();
        let other = Seed::from_bytes([20; 32]);
        wallets
            .add(&"other".parse().unwrap(), &other, &address(20), &password)
            .unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let node = NodeClient::new(&devnet.url(), NodeOptions::default()).unwrap();
        let store = dir.path().join("agentry.db");
        let mut stage = Self {
            devnet,
            host: None,
            node,
            store,
            clock: Clock::default(),
            text,
            dir,
        };
        stage.try_start(0)?;
        Ok(stage)
    }

    /// Starts the runtime (again).
    pub(crate) fn start(&mut self) {
        self.start_off(0);
    }

    /// Starts it while the local clock is off by this much.
    pub(crate) fn start_off(&mut self, by_ms: i64) {
        self.try_start(by_ms).unwrap();
    }

    /// Starts it, or returns why it cannot start.
    pub(crate) fn try_start(&mut self, by_ms: i64) -> Result<(), HostError> {
        self.clock = Clock::default();
        self.clock.shift(by_ms);
        let config = self.config();
        let (_keep, cancel) = watch::channel(false);
        let options = HostOptions {
            clock: self.clock.clone(),
            ..HostOptions::default()
        };
        self.host = Some(Host::start(config, options, cancel)?);
        Ok(())
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> Config {
        let registry: Registry = kinds::registry();
        let source = Source::Text {
            path: self.dir.path().join("agents.toml"),
            text: self.text.clone(),
        };
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        Config::load(&source, &overlay, &registry).unwrap()
    }

    /// Makes the next start host another wallet in place of the first.
    pub(crate) fn replace_agent(&mut self) {
        self.text = self.text.replace("wallet = \"one\"", "wallet = \"other\"");
    }

    /// The folder of the stage.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Changes agents.toml for the next start.
    pub(crate) fn edit(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{from:?} is not in {}", self.text);
        self.text = self.text.replace(from, to);
    }

    /// Stops the runtime.
    pub(crate) fn stop(&mut self) {
        self.host.take().unwrap().stop().unwrap();
    }

    /// Posts a text from a wallet to the agent.
    pub(crate) async fn say(&self, from: u8, text: &str) -> TransactionHash {
        self.send(from, Json::string(text)).await
    }

    /// Posts a payload from a wallet to the agent.
    pub(crate) async fn send(&self, from: u8, payload: Json) -> TransactionHash {
        self.send_to(from, address(1), payload).await
    }

    /// Posts a payload from a wallet to an address.
    pub(crate) async fn send_to(&self, from: u8, to: Address, payload: Json) -> TransactionHash {
        let signed = Transaction {
            dialect: Dialect::April2026,
            from: address(from),
            to,
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(unique()),
            payload,
            chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
        }
        .sign(&key(from));
        self.node.submit(&signed.body()).await.unwrap()
    }

    /// A connection of the test's own to the store, for what no function of the store reads.
    pub(crate) fn sql(&self) -> Connection {
        Connection::open_with_flags(&self.store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }

    pub(crate) fn inbox(&self) -> Vec<InboxItem> {
        let db = open_for_reading(&self.store).unwrap();
        list::inbox(
            &db,
            &Filter {
                limit: 10_000,
                ..Filter::default()
            },
        )
        .unwrap()
    }

    pub(crate) fn outbox(&self) -> Vec<OutboxItem> {
        let db = open_for_reading(&self.store).unwrap();
        list::outbox(
            &db,
            &Filter {
                limit: 10_000,
                ..Filter::default()
            },
        )
        .unwrap()
    }

    /// What the agent has sent that is in blocks, as far as its runtime has seen it: a text in
    /// quotes, or the body of a command; without their headers.
    pub(crate) fn said(&self) -> Vec<String> {
        let mined = |item: &OutboxItem| item.state == "mined" || item.state == "final";
        self.outbox()
            .iter()
            .filter(|item| mined(item))
            .map(|item| words(&item.payload))
            .collect()
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(
                Instant::now() < deadline,
                "timed out waiting for: {what}; inbox {:#?}, outbox {:#?}",
                self.inbox(),
                self.outbox()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the chain has grown by this many blocks.
    pub(crate) async fn blocks(&self, count: u64) {
        let height = || async { self.node.head().await.unwrap().unwrap().height.0 };
        let goal = height().await + count;
        let deadline = Instant::now() + PATIENCE;
        while height().await < goal {
            assert!(Instant::now() < deadline, "the node makes no blocks");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// A number that was not returned before.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A payload's content without its header.
pub(crate) fn words(payload: &str) -> String {
    let payload = Json::parse(payload.as_bytes(), Limits::default()).unwrap();
    match Payload::read(&payload) {
        Payload::Text(text) => Json::string(text).to_compact(),
        Payload::Command(command) => {
            let body = command.body.root();
            let said = body.entries().filter(|(key, _)| *key != "msg");
            Json::object(said.map(|(key, value)| (key, value.to_json()))).to_compact()
        }
        Payload::Opaque(json) => json.to_compact(),
    }
}
