//! The directory: every runtime that reads the chain knows the agents announced on it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agentry::config::{Config, Overlay, Source};
use agentry::ops::OperationError;
use agentry::ops::cards::{CardWanted, Registered};
use agentry::runtime::control::{Client, ControlError};
use agentry::runtime::directory::{EndpointWanted, Registration};
use agentry::{Host, HostOptions};
use agentry_chain::{NodeClient, NodeOptions};
use agentry_devnet::{Devnet, DevnetConfig, Fault, Faults};
use agentry_protocol::command::CARD_MAX_AHEAD_MS;
use agentry_protocol::header::Header;
use agentry_protocol::{
    Address, BlockHeight, ChainId, Dialect, Json, KnownCommand, MessageId, Number, PublicKey, Seed,
    SigningKey, Transaction, TransactionHash, compose,
};
use agentry_sdk::{
    Authenticity, Behaviour, BehaviourError, Card, ConfigureError, Context, Effects, Message,
    Query, Setup,
};
use agentry_store::list::{self, Filter};
use agentry_store::{open_for_reading, read};
use tokio::sync::watch;

use super::{PATIENCE, Stage, address, key, kinds, now, unique};

/// A second runtime on the node of a stage, with a store of its own and an agent of its own.
struct Neighbour {
    host: Option<Host>,
    dir: tempfile::TempDir,
    text: String,
}

impl Neighbour {
    /// `chain` are further keys of `[chain]`, `more` further tables.
    fn start(stage: &Stage, chain: &str, more: &str) -> Self {
        Self::at(&stage.devnet, chain, more)
    }

    /// On another node.
    fn at(node: &Devnet, chain: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[chain]\nid = \"ait-devnet\"\nrpc = \"{}\"\n{chain}\n\
             [store]\npath = \"agentry.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [wallets]\nkeystore_dir = \"keystore\"\npassword_file = \"keystore/.password\"\n\
             [[agent]]\nname = \"neighbour\"\nwallet = \"nine\"\n\
             behaviours = [{{ kind = \"asker\" }}]\n{more}\n",
            node.url()
        );
        let keystore = dir.path().join("keystore");
        agentry::wallet::ensure_password_file(&keystore.join(".password")).unwrap();
        let password = agentry::wallet::password::read(&keystore.join(".password")).unwrap();
        let wallets = agentry::wallet::WalletStore::new(Some(keystore), None);
        let seed = Seed::from_bytes([9; 32]);
        wallets
            .add(&"nine".parse().unwrap(), &seed, &address(9), &password)
            .unwrap();
        let mut neighbour = Self {
            host: None,
            dir,
            text,
        };
        neighbour.go_on();
        neighbour
    }

    fn go_on(&mut self) {
        let source = Source::Text {
            path: self.dir.path().join("agents.toml"),
            text: self.text.clone(),
        };
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        let registry = kinds::registry().with::<Asker>();
        let config = Config::load(&source, &overlay, &registry).unwrap();
        let (_keep, cancel) = watch::channel(false);
        self.host = Some(Host::start(config, HostOptions::default(), cancel).unwrap());
    }

    fn stop(&mut self) {
        self.host.take().unwrap().stop().unwrap();
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("agentry.db")
    }

    fn cards(&self) -> Vec<Card> {
        let db = open_for_reading(&self.store()).unwrap();
        let cards = read::cards(&db).unwrap();
        cards.into_iter().map(|announced| announced.card).collect()
    }

    /// The answers of its agent, oldest first.
    fn replies(&self) -> Vec<String> {
        let db = open_for_reading(&self.store()).unwrap();
        let filter = Filter {
            limit: 1_000,
            ..Filter::default()
        };
        let sent = list::outbox(&db, &filter).unwrap();
        sent.iter()
            .map(|item| {
                let payload: serde_json::Value = serde_json::from_str(&item.payload).unwrap();
                // A text that could be taken for a command is wrapped in an object.
                let text = payload.get("text").unwrap_or(&payload);
                text.as_str().unwrap().to_owned()
            })
            .collect()
    }

    fn names(&self) -> Vec<String> {
        let cards = self.cards();
        let mut names: Vec<String> = cards
            .iter()
            .map(|card| card.card.name.to_string())
            .collect();
        names.sort();
        names
    }

    async fn until_named(&self, wanted: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while self.names() != wanted {
            assert!(
                Instant::now() < deadline,
                "timed out waiting for the directory to hold {wanted:?}; it holds {:#?}",
                self.cards()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the directory covers the chain from this height on.
    async fn until_known_from(&self, height: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let db = open_for_reading(&self.store()).unwrap();
            let surveyed = read::surveyed(&db).unwrap();
            if surveyed.from == Some(BlockHeight(height)) {
                return;
            }
            assert!(Instant::now() < deadline, "{surveyed:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Answers with what it finds: `who NAME`, `find CAPABILITY`, `status`.
#[derive(Debug)]
struct Asker;

impl Behaviour for Asker {
    const KIND: &'static str = "asker";
    type Settings = kinds::NoSettings;

    fn configure(_: kinds::NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn demands(&self) -> Authenticity {
        Authenticity::Unverified
    }

    fn capabilities(&self) -> Vec<String> {
        vec!["ask".to_owned()]
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let text = message.text().unwrap_or_default();
        let answer = match text.split_once(' ') {
            Some(("who", name)) => match context.resolve(name) {
                Ok(address) => address.to_string(),
                Err(error) => error.to_string(),
            },
            Some(("find", capability)) => {
                let found = context.find(&Query::capability(capability));
                let names: Vec<&str> = found.iter().map(|card| card.card.name.as_str()).collect();
                names.join(" ")
            }
            _ => KnownCommand::Status(context.status().await)
                .body()
                .to_compact(),
        };
        Ok(Effects::none().reply(answer))
    }
}

fn db(devnet: &Devnet) -> String {
    format!("db = \"{}\"", devnet.chain_db().display())
}

/// A command from an address to an address.
struct Said {
    signer: SigningKey,
    from: Address,
    to: Address,
    key: Option<PublicKey>,
    command: KnownCommand,
}

impl Said {
    fn by(byte: u8, command: KnownCommand) -> Self {
        Self {
            signer: key(byte),
            from: address(byte),
            to: address(byte),
            key: Some(key(byte).public_key()),
            command,
        }
    }

    /// Posts it.
    async fn post(&self, stage: &Stage) -> TransactionHash {
        let header = Header {
            id: Some(MessageId::generate(now()).unwrap()),
            key: self.key,
            ..Header::default()
        };
        let payload = compose(&self.command.to_payload(), Some(&header)).unwrap();
        self.send(stage, payload).await
    }

    /// Posts a text in its place.
    async fn say(&self, stage: &Stage, text: &str) -> TransactionHash {
        self.send(stage, Json::string(text)).await
    }

    async fn send(&self, stage: &Stage, payload: Json) -> TransactionHash {
        let signed = Transaction {
            dialect: Dialect::April2026,
            from: self.from.clone(),
            to: self.to.clone(),
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(unique()),
            payload,
            chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
        }
        .sign(&self.signer);
        // A node accepts any transaction that comes without a key.
        let body = signed.stored().stored_text();
        stage.node.submit(&body).await.unwrap()
    }
}

fn card(name: &str) -> KnownCommand {
    let registration = Registration::new(name, None, &[], &[], 3_600_000).unwrap();
    KnownCommand::Announce(registration.announce(now(), None))
}

async fn announce(stage: &Stage, byte: u8, name: &str) -> TransactionHash {
    Said::by(byte, card(name)).post(stage).await
}

async fn register(stage: &Stage, name: &str) -> Registered {
    let card = CardWanted {
        name: Some(name.to_owned()),
        description: Some("answers pings".to_owned()),
        capabilities: Some(vec!["pong".to_owned()]),
        commands: None,
        endpoints: vec![EndpointWanted {
            protocol: "a2a".to_owned(),
            url: "https://ponger.example/a2a".to_owned(),
        }],
        ttl_ms: 3_600_000,
    };
    let client = Client::new(&stage.store);
    client.register("agent", card).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_agent_is_known_elsewhere_until_it_withdraws() {
    let stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    let chain = db(&stage.devnet);
    let mut neighbour = Neighbour::start(&stage, &chain, "");
    let registered = register(&stage, "the-ponger").await;
    assert_eq!(registered.address, address(1));
    neighbour.until_named(&["the-ponger"]).await;
    let card = neighbour.cards().remove(0);
    assert_eq!(card.address, address(1));
    assert_eq!(card.public_key, key(1).public_key());
    assert!(card.card.enc_key.is_some(), "messages to it can be sealed");
    assert!(card.card.capabilities.contains("pong"));
    let endpoints = card.card.endpoints.as_slice();
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0].protocol.as_str(), "a2a");
    assert_eq!(endpoints[0].url.as_str(), "https://ponger.example/a2a");
    assert!(card.card.commands.contains("PING"), "what pong declares");

    // Registered again: the later card counts, here and there.
    register(&stage, "renamed").await;
    neighbour.until_named(&["renamed"]).await;
    neighbour.stop();
    neighbour.go_on();
    assert_eq!(neighbour.names(), ["renamed"], "a restart keeps it");

    let client = Client::new(&stage.store);
    client.withdraw("agent", "k".to_owned()).await.unwrap();
    neighbour.until_named(&[]).await;
    let card = CardWanted {
        name: None,
        description: None,
        capabilities: None,
        commands: None,
        endpoints: Vec::new(),
        ttl_ms: 3_600_000,
    };
    let refused = client.register("nobody", card).await.unwrap_err();
    assert!(
        matches!(refused, ControlError::Refused(OperationError::NotHosted(_))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_renewed_when_it_is_due() {
    let mut stage = Stage::set("", "", "");
    let chain = db(&stage.devnet);
    let neighbour = Neighbour::start(&stage, &chain, "");
    register(&stage, "ponger").await;
    neighbour.until_named(&["ponger"]).await;
    let first = neighbour.cards().remove(0);
    stage.stop();
    {
        // Two thirds of its life later.
        let store = rusqlite::Connection::open(&stage.store).unwrap();
        let changed = store
            .execute("UPDATE event SET due_at = 0 WHERE kind = 'renewal'", [])
            .unwrap();
        assert_eq!(changed, 1);
    }
    stage.start();
    let deadline = Instant::now() + PATIENCE;
    let second = loop {
        let card = neighbour.cards().remove(0);
        if card.transaction != first.transaction {
            break card;
        }
        assert!(Instant::now() < deadline, "it is not announced again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(second.card.name, first.card.name);
    assert_eq!(second.card.enc_key, first.card.enc_key);
    assert!(second.card.expires > first.card.expires);
    stage.blocks(5).await;
    assert_eq!(neighbour.cards(), [second], "once, not again and again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_restores_the_earlier_card() {
    let stage = Stage::set("", "", "");
    let chain = db(&stage.devnet);
    let neighbour = Neighbour::start(&stage, &chain, "");
    stage.devnet.pause_mining();
    announce(&stage, 2, "first").await;
    stage.devnet.mine().unwrap();
    neighbour.until_named(&["first"]).await;
    announce(&stage, 2, "second").await;
    Said::by(3, card("other")).post(&stage).await;
    stage.devnet.mine().unwrap();
    neighbour.until_named(&["other", "second"]).await;
    stage.devnet.reorganise_and_drop(1).unwrap();
    neighbour.until_named(&["first"]).await;
    Said::by(2, KnownCommand::Withdraw).post(&stage).await;
    stage.devnet.mine().unwrap();
    neighbour.until_named(&[]).await;
    stage.devnet.reorganise_and_drop(1).unwrap();
    neighbour.until_named(&["first"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unverified_card_is_never_in_the_directory() {
    let stage = Stage::set("", "", "");
    let chain = db(&stage.devnet);
    let neighbour = Neighbour::start(&stage, &chain, "");
    announce(&stage, 2, "real").await;
    neighbour.until_named(&["real"]).await;

    // Another wallet in the name of 2, with the keys that it knows.
    for claimed in [Some(key(2).public_key()), Some(key(3).public_key()), None] {
        for command in [card("forged"), KnownCommand::Withdraw] {
            let mut said = Said::by(3, command);
            (said.from, said.to, said.key) = (address(2), address(2), claimed);
            said.post(&stage).await;
        }
    }
    // Wallet 4 itself: to another address, without its key, and with too late an expiry.
    let mut said = Said::by(4, card("elsewhere"));
    said.to = address(5);
    said.post(&stage).await;
    let mut said = Said::by(4, card("keyless"));
    said.key = None;
    said.post(&stage).await;
    let mut ahead = Registration::new("ahead", None, &[], &[], 3_600_000)
        .unwrap()
        .announce(now(), None);
    ahead.expires = now().plus_ms(CARD_MAX_AHEAD_MS + 3_600_000);
    let ahead = KnownCommand::Announce(ahead);
    Said::by(4, ahead).post(&stage).await;
    stage.blocks(2).await;
    announce(&stage, 6, "last").await;
    neighbour.until_named(&["last", "real"]).await;
    let real = neighbour.cards();
    let real = real.iter().find(|card| card.address == address(2)).unwrap();
    assert_eq!(real.public_key, key(2).public_key());
}

#[tokio::test(flavor = "multi_thread")]
async fn old_blocks_are_read_only_for_their_cards() {
    let stage = Stage::set("", "", "");
    let mut all = Vec::new();
    for byte in 2..8 {
        let name = format!("agent-{byte}");
        announce(&stage, byte, &name).await;
        all.push(name);
        stage.blocks(3).await;
    }
    // A message to the neighbour that was sent before the neighbour began.
    let mut said = Said::by(8, KnownCommand::Ping);
    said.to = address(9);
    said.post(&stage).await;
    Said::by(7, KnownCommand::Withdraw).post(&stage).await;
    stage.blocks(3).await;
    all.pop();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for chain in [db(&stage.devnet), String::new()] {
        let without = Neighbour::start(&stage, &chain, "");
        let mut with = Neighbour::start(&stage, &chain, "[directory]\nfrom = 0\n");
        // However often the backfill is interrupted.
        for _ in 0..3 {
            with.stop();
            with.go_on();
        }
        with.until_known_from(0).await;
        with.until_named(&all).await;
        announce(&stage, 8, "zz-new").await;
        without.until_named(&["zz-new"]).await;
        let mut more = all.clone();
        more.push("zz-new");
        with.until_named(&more).await;
        let db = open_for_reading(&with.store()).unwrap();
        assert!(
            read::counts(&db).unwrap().inbox.is_empty(),
            "messages sent before the agent began do not concern it"
        );
        Said::by(8, KnownCommand::Withdraw).post(&stage).await;
        without.until_named(&[]).await;
        with.until_named(&all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_self_sent_transactions_does_not_stop_the_backfill() {
    let stage = Stage::set("", "", "");
    announce(&stage, 2, "early").await;
    stage.blocks(2).await;
    for _ in 0..1_200 {
        Said::by(10, KnownCommand::Ping).say(&stage, "a note").await;
    }
    announce(&stage, 3, "late").await;
    let deadline = Instant::now() + PATIENCE;
    while !stage.node.mempool_hashes().await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the node does not mine them");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stage.blocks(2).await;
    // More than one reading, with an interruption in between.
    let chain = db(&stage.devnet);
    let mut neighbour = Neighbour::start(&stage, &chain, "[directory]\nfrom = 0\n");
    loop {
        let db = open_for_reading(&neighbour.store()).unwrap();
        let surveyed = read::surveyed(&db).unwrap();
        if surveyed.progress.is_some() || surveyed.from == Some(BlockHeight(0)) {
            break;
        }
        assert!(Instant::now() < deadline, "{surveyed:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    neighbour.stop();
    neighbour.go_on();
    neighbour.until_known_from(0).await;
    neighbour.until_named(&["early", "late"]).await;
    assert_eq!(neighbour.replies(), [""; 0]);
}

/// A follower that lost the transactions of its blocks shows them in its database's metadata, and
/// not at all over RPC.
#[tokio::test(flavor = "multi_thread")]
async fn incompletely_readable_old_blocks_are_reported() {
    let stage = Stage::set("", "", "");
    announce(&stage, 2, "old").await;
    stage.blocks(3).await;
    let dir = tempfile::tempdir().unwrap();
    let mut faults = Faults::none();
    faults.set(Fault::ImportLosesTransactions);
    let follower = Devnet::start(DevnetConfig {
        dir: dir.path().join("node"),
        block_time: Duration::from_millis(50),
        follow: Some(stage.devnet.url()),
        faults,
        ..DevnetConfig::default()
    })
    .unwrap();
    let node = NodeClient::new(&follower.url(), NodeOptions::default()).unwrap();
    let goal = stage.node.head().await.unwrap().unwrap().height;
    let deadline = Instant::now() + PATIENCE;
    while node
        .head()
        .await
        .unwrap()
        .is_none_or(|head| head.height < goal)
    {
        assert!(Instant::now() < deadline, "the follower does not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let from_0 = "[directory]\nfrom = 0\n";
    let over_db = Neighbour::at(&follower, &db(&follower), from_0);
    over_db.until_named(&["old"]).await;
    let over_rpc = Neighbour::at(&follower, "", from_0);
    over_rpc.until_known_from(0).await;
    assert_eq!(over_rpc.names(), [""; 0]);
    let gaps = |neighbour: &Neighbour| {
        let db = open_for_reading(&neighbour.store()).unwrap();
        read::counts(&db).unwrap().gaps
    };
    assert!(gaps(&over_rpc) > 0);
    assert_eq!(gaps(&over_db), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_below_the_start_is_seen() {
    let stage = Stage::set("", "", "");
    announce(&stage, 2, "old").await;
    stage.blocks(3).await;
    stage.devnet.pause_mining();
    announce(&stage, 2, "withdrawn").await;
    announce(&stage, 3, "gone").await;
    stage.devnet.mine().unwrap();
    stage.devnet.mine().unwrap();
    let chain = db(&stage.devnet);
    let neighbour = Neighbour::start(&stage, &chain, "[directory]\nfrom = 0\n");
    neighbour.until_named(&["gone", "withdrawn"]).await;
    stage.devnet.reorganise_and_drop(2).unwrap();
    neighbour.until_named(&["old"]).await;
    announce(&stage, 4, "new").await;
    stage.devnet.mine().unwrap();
    neighbour.until_named(&["new", "old"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behaviours_look_others_up() {
    let stage = Stage::set("", "", "");
    let contact = format!(
        "[[contact]]\nname = \"boss\"\naddress = \"{}\"\n",
        address(5)
    );
    let neighbour = Neighbour::start(&stage, &db(&stage.devnet), &contact);
    let ask = async |question: &str| -> String {
        let mut said = Said::by(2, KnownCommand::Ping);
        said.to = address(9);
        let before = neighbour.replies();
        said.say(&stage, question).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut replies = neighbour.replies();
            if replies.len() > before.len() {
                return replies.pop().unwrap();
            }
            assert!(Instant::now() < deadline, "{question:?} is not answered");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(ask("who twin").await.contains("unknown name"));
    assert_eq!(ask("find worker").await, "");
    for (byte, name) in [(3, "twin"), (4, "twin"), (6, "boss"), (7, "single")] {
        let words = ["worker".to_owned()];
        let registration = Registration::new(name, None, &words, &[], 3_600_000).unwrap();
        let card = KnownCommand::Announce(registration.announce(now(), None));
        Said::by(byte, card).post(&stage).await;
    }
    neighbour
        .until_named(&["boss", "single", "twin", "twin"])
        .await;
    let ambiguous = ask("who twin").await;
    for byte in [3, 4] {
        assert!(ambiguous.contains(address(byte).as_str()), "{ambiguous}");
    }
    assert_eq!(ask("who single").await, address(7).as_str());
    assert_eq!(ask("who boss").await, address(5).as_str(), "the contact");
    assert_eq!(ask("who neighbour").await, address(9).as_str());
    assert_eq!(ask("find worker").await, "boss single twin twin");
    let status: serde_json::Value = serde_json::from_str(&ask("status").await).unwrap();
    assert_eq!(status["agent"], "neighbour");
    assert_eq!(status["capabilities"], serde_json::json!(["ask"]));
    assert_eq!(status["queue"]["inbox"], 1, "the question itself");
    assert_eq!(status["queue"]["dead"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_payload_is_skipped() {
    let stage = Stage::set("", "", "");
    let chain = db(&stage.devnet);
    let neighbour = Neighbour::start(&stage, &chain, "");
    for payload in [
        Json::null(),
        Json::string("x".repeat(100_000)),
        Json::string("{\"cmd\":\"ANNOUNCE\",\"cmd\":\"ANNOUNCE\"}"),
        Json::string("[".repeat(10_000)),
    ] {
        let signed = Transaction {
            dialect: Dialect::April2026,
            from: address(2),
            to: address(2),
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(unique()),
            payload,
            chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
        }
        .sign(&key(2));
        stage.node.submit(&signed.body()).await.unwrap();
    }
    stage.blocks(2).await;
    announce(&stage, 3, "after").await;
    neighbour.until_named(&["after"]).await;
}
