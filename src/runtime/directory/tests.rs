//! The directory on a real store.

use agentry_chain::ChainTransaction;
use agentry_core::Commit;
use agentry_core::commit::{Backfill, CardSeen, Observation, Step};
use agentry_protocol::command::{Announce, CARD_MAX_AHEAD_MS, Endpoints, KnownCommand};
use agentry_protocol::header::Header;
use agentry_protocol::{
    BlockHash, BlockHeight, ChainId, Dialect, Json, MessageId, Number, Payload, Seed,
    SignedTransaction, SigningKey, Timestamp, Transaction, compose,
};

use super::*;

const NOW: Timestamp = Timestamp::new(1_800_000_000_000);
const HOUR: u64 = 60 * 60 * 1000;
const DAY: u64 = 24 * HOUR;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

fn chain() -> ChainId {
    "ait-devnet".parse().unwrap()
}

fn card(name: &str, expires: Timestamp) -> Announce {
    Announce {
        name: name.parse().unwrap(),
        description: None,
        capabilities: agentry_protocol::command::Tags::default(),
        commands: agentry_protocol::command::Tags::default(),
        schemas: None,
        enc_key: None,
        endpoints: Endpoints::default(),
        expires,
    }
}

/// A command of the wallet `byte` to an address.
struct Said {
    signer: u8,
    from: Address,
    to: Address,
    key: Option<PublicKey>,
    id: Option<MessageId>,
    chain: ChainId,
    payload: Payload,
}

impl Said {
    fn new(byte: u8, command: &KnownCommand) -> Self {
        Self {
            signer: byte,
            from: address(byte),
            to: address(byte),
            key: Some(key(byte).public_key()),
            id: Some(MessageId::generate(NOW).unwrap()),
            chain: chain(),
            payload: command.to_payload(),
        }
    }

    fn signed(&self) -> SignedTransaction {
        let header = Header {
            key: self.key,
            id: self.id,
            ..Header::default()
        };
        Transaction {
            dialect: Dialect::April2026,
            from: self.from.clone(),
            to: self.to.clone(),
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(1_u64),
            payload: compose(&self.payload, Some(&header)).unwrap(),
            chain_id: self.chain.clone(),
        }
        .sign(&key(self.signer))
    }

    fn seen(&self, height: u64) -> Option<CardSeen> {
        let signed = self.signed();
        card_of(
            &signed.stored(),
            signed.hash(),
            BlockHeight(height),
            &chain(),
            NOW,
        )
    }
}

fn announced(byte: u8, name: &str, height: u64) -> Step {
    let command = KnownCommand::Announce(card(name, NOW.plus_ms(DAY)));
    Step::Card(Said::new(byte, &command).seen(height).unwrap())
}

fn withdrawn(byte: u8, height: u64) -> Step {
    let said = Said::new(byte, &KnownCommand::Withdraw);
    Step::Card(said.seen(height).unwrap())
}

struct Stage {
    _dir: tempfile::TempDir,
    store: Store,
    directory: Directory,
}

impl Stage {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("agentry.db")).unwrap();
        let directory = Directory::load(&store, Vec::new(), &Cards::default())
            .await
            .unwrap();
        Self {
            _dir: dir,
            store,
            directory,
        }
    }

    async fn commit(&self, commit: Commit) {
        let changes = self.store.commit(commit).await.unwrap();
        self.directory
            .refresh(&self.store, &changes.cards)
            .await
            .unwrap();
        // The refreshed directory equals a newly loaded one.
        let loaded = Directory::load(&self.store, Vec::new(), &Cards::default())
            .await
            .unwrap();
        let (one, other) = (self.all(), loaded.find(&Query::all(), NOW));
        assert_eq!(one, other);
    }

    async fn observe(&self, steps: Vec<Step>) {
        self.observe_final(steps, None).await;
    }

    async fn observe_final(&self, steps: Vec<Step>, through: Option<u64>) {
        self.commit(Commit::Observe(Observation {
            steps,
            cursor: serde_json::json!({}),
            catching_up: None,
            final_through: through.map(BlockHeight),
            at: NOW,
        }))
        .await;
    }

    async fn backfill(&self, steps: Vec<Step>, read_before: Option<u64>) {
        self.commit(Commit::Backfill(Backfill {
            steps,
            read_before: read_before.map(BlockHeight),
            at: NOW,
            ..Backfill::default()
        }))
        .await;
    }

    fn all(&self) -> Vec<Card> {
        self.directory.find(&Query::all(), NOW)
    }

    fn names(&self) -> Vec<String> {
        let all = self.all();
        all.iter().map(|card| card.card.name.to_string()).collect()
    }
}

#[test]
fn only_verified_self_sent_announcements_count() {
    let announce = KnownCommand::Announce(card("ponger", NOW.plus_ms(DAY)));
    let good = Said::new(1, &announce);
    let seen = good.seen(7).unwrap();
    assert_eq!(seen.address, address(1));
    assert_eq!(seen.expires_at, NOW.plus_ms(DAY));
    assert_eq!(seen.announced_at, NOW);
    assert_eq!(seen.height, BlockHeight(7));

    let mut said = Said::new(1, &announce);
    said.to = address(2);
    assert_eq!(said.seen(7), None, "it was sent to somebody else");
    let mut said = Said::new(1, &announce);
    (said.from, said.to) = (address(2), address(2));
    assert_eq!(said.seen(7), None, "the key makes another address");
    said.key = Some(key(2).public_key());
    assert_eq!(said.seen(7), None, "it is forged");
    let mut said = Said::new(1, &announce);
    said.key = None;
    assert_eq!(said.seen(7), None, "it has no key");
    let mut said = Said::new(1, &announce);
    said.chain = "ait-mainnet".parse().unwrap();
    assert_eq!(said.seen(7), None, "it is another chain's");
    let said = Said::new(1, &KnownCommand::Ping);
    assert_eq!(said.seen(7), None, "it is no card");
    let ahead = KnownCommand::Announce(card("ponger", NOW.plus_ms(CARD_MAX_AHEAD_MS + 1)));
    assert_eq!(Said::new(1, &ahead).seen(7), None, "it is too far ahead");
    let furthest = KnownCommand::Announce(card("ponger", NOW.plus_ms(CARD_MAX_AHEAD_MS)));
    assert!(Said::new(1, &furthest).seen(7).is_some());
    let expired = KnownCommand::Announce(card("ponger", NOW.minus_ms(1)));
    assert!(
        Said::new(1, &expired).seen(7).is_some(),
        "it replaces the card before it"
    );

    // An invalid signature, and a payload that is not a command.
    let mut stored = good.signed().stored();
    stored.signature = stored.signature.map(|text| text.to_uppercase());
    let hash = stored.hash();
    assert_eq!(card_of(&stored, hash, BlockHeight(7), &chain(), NOW), None);
    let mut stored = good.signed().stored();
    stored.payload = Json::string("{\"cmd\":\"ANNOUNCE\"}");
    assert_eq!(card_of(&stored, hash, BlockHeight(7), &chain(), NOW), None);
}

#[test]
fn the_time_of_an_announcement_is_its_ids_but_never_ahead() {
    let announce = KnownCommand::Announce(card("ponger", NOW.plus_ms(DAY)));
    let mut said = Said::new(1, &announce);
    said.id = Some(MessageId::generate(NOW.minus_ms(HOUR)).unwrap());
    assert_eq!(said.seen(7).unwrap().announced_at, NOW.minus_ms(HOUR));
    said.id = Some(MessageId::generate(NOW.plus_ms(HOUR)).unwrap());
    assert_eq!(said.seen(7).unwrap().announced_at, NOW);
    said.id = None;
    assert_eq!(said.seen(7).unwrap().announced_at, NOW);
}

#[test]
fn a_card_once_too_far_ahead_stays_refused() {
    let announced = NOW.minus_ms(20 * DAY);
    let mut said = Said::new(
        1,
        &KnownCommand::Announce(card("ponger", NOW.plus_ms(10 * DAY))),
    );
    said.id = Some(MessageId::generate(announced).unwrap());
    assert!(said.seen(7).is_some());
    let late = KnownCommand::Announce(card("ponger", NOW.plus_ms(11 * DAY)));
    said.payload = late.to_payload();
    assert_eq!(said.seen(7), None);
}

#[tokio::test]
async fn the_latest_card_counts_and_a_reorganisation_restores_the_one_before() {
    let stage = Stage::new().await;
    stage.observe(vec![announced(1, "first", 5)]).await;
    stage
        .observe(vec![announced(1, "second", 6), announced(1, "third", 6)])
        .await;
    assert_eq!(stage.names(), ["third"], "the last of its block");
    let above = Some(BlockHeight(5));
    stage.observe(vec![Step::Withdrawn { above }]).await;
    assert_eq!(stage.names(), ["first"]);
    stage.observe(vec![withdrawn(1, 6)]).await;
    assert_eq!(stage.names(), [""; 0]);
    stage.observe(vec![Step::Withdrawn { above }]).await;
    assert_eq!(stage.names(), ["first"]);
    stage.observe(vec![Step::Withdrawn { above: None }]).await;
    assert_eq!(stage.names(), [""; 0]);
}

#[tokio::test]
async fn reading_the_same_blocks_again_changes_nothing() {
    let stage = Stage::new().await;
    let steps = vec![
        announced(1, "first", 5),
        announced(2, "other", 5),
        announced(1, "second", 5),
        announced(1, "third", 6),
        withdrawn(2, 7),
    ];
    stage.observe(steps.clone()).await;
    let before = stage.all();
    assert_eq!(stage.names(), ["third"]);
    stage.observe_final(steps.clone(), Some(9)).await;
    assert_eq!(stage.all(), before);
    stage.observe_final(steps, Some(9)).await;
    assert_eq!(stage.all(), before);
}

#[tokio::test]
async fn expired_cards_are_pruned_once_nothing_older_can_count() {
    let stage = Stage::new().await;
    stage
        .observe(vec![announced(1, "gone", 5), withdrawn(2, 5)])
        .await;
    let prune = |at| Commit::Prune {
        before: Timestamp::EPOCH,
        at,
    };
    let changes = stage
        .store
        .commit(prune(NOW.plus_ms(2 * DAY)))
        .await
        .unwrap();
    assert_eq!(changes.cards, []);
    let over = NOW.plus_ms(CARD_MAX_AHEAD_MS).plus_ms(1);
    let changes = stage.store.commit(prune(over)).await.unwrap();
    assert_eq!(changes.cards, [address(2)]);
    let changes = stage.store.commit(prune(over.plus_ms(DAY))).await.unwrap();
    assert_eq!(changes.cards, [address(1)]);
    stage
        .directory
        .refresh(&stage.store, &changes.cards)
        .await
        .unwrap();
    assert!(stage.directory.is_empty());
}

#[tokio::test]
async fn the_directory_holds_a_hundred_thousand_cards_and_drops_the_oldest() {
    let stage = Stage::new().await;
    let Step::Card(model) = announced(1, "one", 1) else {
        panic!("not a card");
    };
    let other = |index: u64, height: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&index.to_be_bytes());
        Step::Card(CardSeen {
            address: Address::from_chain(&format!("ait1{}", hex::encode(&bytes[..20]))).unwrap(),
            hash: agentry_protocol::TransactionHash::from_bytes(bytes),
            height: BlockHeight(height),
            ..model.clone()
        })
    };
    let observe = |steps| {
        Commit::Observe(Observation {
            steps,
            cursor: serde_json::json!({}),
            catching_up: None,
            final_through: None,
            at: NOW,
        })
    };
    for part in 0..10_u64 {
        let steps = (0..10_000).map(|index| other(part * 10_000 + index, 10 + part));
        let changes = stage.store.commit(observe(steps.collect())).await.unwrap();
        stage
            .directory
            .refresh(&stage.store, &changes.cards)
            .await
            .unwrap();
    }
    assert_eq!(stage.directory.len(), 100_000);
    // The oldest agent announces itself again: it is among the newest then.
    let Step::Card(again) = other(0, 30) else {
        panic!("not a card");
    };
    let again = CardSeen {
        hash: agentry_protocol::TransactionHash::from_bytes([9; 32]),
        ..again
    };
    stage.commit(observe(vec![Step::Card(again.clone())])).await;
    assert_eq!(stage.directory.len(), 100_000);
    stage.commit(observe(vec![announced(1, "new", 31)])).await;
    assert_eq!(stage.directory.len(), 100_000);
    assert!(stage.directory.card(&address(1)).is_some());
    assert!(stage.directory.card(&again.address).is_some());
    let Step::Card(oldest) = other(1, 10) else {
        panic!("not a card");
    };
    assert_eq!(stage.directory.card(&oldest.address), None);
}

#[tokio::test]
async fn an_ambiguous_name_resolves_to_nothing_and_contacts_come_first() {
    let stage = Stage::new().await;
    let resolve = |name: &str| stage.directory.resolve(name, NOW);
    assert_eq!(resolve("twin"), Err(NameError::Unknown("twin".into())));
    stage.observe(vec![announced(1, "twin", 5)]).await;
    assert_eq!(resolve("twin"), Ok(address(1)));
    stage.observe(vec![announced(2, "twin", 6)]).await;
    let mut addresses = vec![address(1), address(2)];
    addresses.sort();
    let name = "twin".to_owned();
    assert_eq!(
        resolve("twin"),
        Err(NameError::Ambiguous { name, addresses })
    );
    // A name in an expired card is free again.
    assert!(stage.directory.named("twin", NOW.plus_ms(2 * DAY)).is_err());
    stage.observe(vec![withdrawn(2, 7)]).await;
    assert_eq!(resolve("twin"), Ok(address(1)));
    stage.directory.set_contacts(vec![Contact {
        name: "twin".parse().unwrap(),
        address: address(3),
        public_key: None,
        enc_key: None,
    }]);
    assert_eq!(resolve("twin"), Ok(address(3)));
}

#[tokio::test]
async fn keys_are_found_under_both_forms_of_an_address() {
    let stage = Stage::new().await;
    let sealing = EncryptionKey::from_bytes([7; 32]);
    let mut with_key = card("ponger", NOW.plus_ms(DAY));
    with_key.enc_key = Some(sealing);
    let said = Said::new(1, &KnownCommand::Announce(with_key));
    stage.observe(vec![Step::Card(said.seen(5).unwrap())]).await;
    let public_key = key(1).public_key();
    let other = Address::bech32_from_public_key(&public_key);
    for form in [&address(1), &other] {
        assert_eq!(stage.directory.key_of(form), Some(public_key));
        assert_eq!(stage.directory.enc_key_of(form, NOW), Some(sealing));
        assert_eq!(stage.directory.enc_key_of(form, NOW.plus_ms(2 * DAY)), None);
    }
    assert_eq!(stage.directory.key_of(&address(2)), None);
    // The operator's contact takes precedence.
    stage.directory.set_contacts(vec![Contact {
        name: "mine".parse().unwrap(),
        address: other.clone(),
        public_key: Some(public_key),
        enc_key: Some(EncryptionKey::from_bytes([8; 32])),
    }]);
    for form in [&address(1), &other] {
        let found = stage.directory.enc_key_of(form, NOW.plus_ms(2 * DAY));
        assert_eq!(found, Some(EncryptionKey::from_bytes([8; 32])));
    }
}

#[tokio::test]
async fn old_blocks_do_not_restore_a_card_withdrawn_since() {
    let stage = Stage::new().await;
    stage
        .observe_final(vec![withdrawn(1, 100), announced(2, "new", 100)], Some(200))
        .await;
    stage
        .backfill(
            vec![
                announced(1, "old", 50),
                announced(2, "old", 50),
                announced(3, "found", 50),
            ],
            None,
        )
        .await;
    assert_eq!(stage.names(), ["found", "new"]);
    // A reorganisation that this reading noticed withdraws its own findings, and no others.
    let above = Some(BlockHeight(40));
    stage
        .backfill(vec![Step::Withdrawn { above }], Some(60))
        .await;
    assert_eq!(stage.names(), ["new"]);
    stage
        .backfill(vec![announced(3, "again", 45)], Some(40))
        .await;
    assert_eq!(stage.names(), ["again", "new"]);
}

#[test]
fn a_registration_is_renewed_in_time_and_reads_back() {
    let words = |words: &[&str]| -> Vec<String> { words.iter().map(|&w| w.to_owned()).collect() };
    let registration = Registration::new(
        "ponger",
        Some("answers"),
        &words(&["pong", "pong", "echo"]),
        &words(&["PING"]),
        3 * DAY,
    )
    .unwrap();
    assert_eq!(registration.capabilities.as_slice().len(), 2);
    assert_eq!(
        Registration::read(&registration.to_value()).unwrap(),
        registration
    );
    let card = registration.announce(NOW, EncryptionKey::from_bytes([1; 32]));
    assert_eq!(card.expires, NOW.plus_ms(3 * DAY));
    assert_eq!(card.check_time(NOW), Ok(()));
    assert_eq!(registration.next_renewal(NOW), NOW.plus_ms(2 * DAY));

    // Readers whose clocks are ten minutes behind also accept the longest life.
    let longest = Registration::new("a", None, &[], &[], CARD_MAX_AHEAD_MS).unwrap();
    let card = longest.announce(NOW, None);
    assert_eq!(card.check_time(NOW.minus_ms(10 * 60 * 1000)), Ok(()));
    assert!(longest.next_renewal(NOW) < card.expires);

    let refused = |name: &str, capability: &str, ttl_ms| {
        Registration::new(name, None, &words(&[capability]), &[], ttl_ms).unwrap_err()
    };
    assert!(matches!(
        refused("ait1x", "a", DAY),
        RegistrationError::Name { .. }
    ));
    assert!(matches!(
        refused("a", "é", DAY),
        RegistrationError::Tag { .. }
    ));
    assert!(matches!(
        refused("a", "a", 59_999),
        RegistrationError::TooShort { .. }
    ));
    assert!(matches!(
        refused("a", "a", CARD_MAX_AHEAD_MS + 1),
        RegistrationError::TooLong { .. }
    ));
    let many: Vec<String> = (0..65).map(|index| index.to_string()).collect();
    assert!(matches!(
        Registration::new("a", None, &[], &many, DAY),
        Err(RegistrationError::TooMany { .. })
    ));
    let long = "d".repeat(1025);
    assert!(matches!(
        Registration::new("a", Some(&long), &[], &[], DAY),
        Err(RegistrationError::Description(_))
    ));
}

#[tokio::test]
async fn queries_choose_by_name_and_words() {
    let stage = Stage::new().await;
    let mut steps = Vec::new();
    for (byte, name, capability) in [(1, "b", "x"), (2, "a", "x"), (3, "c", "y"), (4, "a", "y")] {
        let registration =
            Registration::new(name, None, &[capability.to_owned()], &[], DAY).unwrap();
        let command = KnownCommand::Announce(registration.announce(NOW, None));
        let said = Said::new(byte, &command);
        steps.push(Step::Card(said.seen(u64::from(byte)).unwrap()));
    }
    stage.observe(steps).await;
    let found = |query: &Query| -> Vec<Address> {
        let found = stage.directory.find(query, NOW);
        found.into_iter().map(|card| card.address).collect()
    };
    assert_eq!(found(&Query::capability("x")), [address(2), address(1)]);
    let mut query = Query::capability("y");
    query.name = Some("a".to_owned());
    assert_eq!(found(&query), [address(4)]);
    let mut query = Query::all();
    query.limit = 1;
    assert_eq!(found(&query).len(), 1);
    query.limit = 0;
    query.announced_since = Some(BlockHeight(3));
    assert_eq!(found(&query), [address(4), address(3)]);
    assert_eq!(
        stage.directory.find(&Query::all(), NOW.plus_ms(2 * DAY)),
        []
    );
}

#[test]
fn an_invalid_card_is_ignored() {
    // Bounded time and no panic for any payload on a chain.
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for payload in [
        Json::null(),
        Json::string("ANNOUNCE"),
        Json::string("{\"cmd\":\"ANNOUNCE\",\"msg\":{\"v\":1}}"),
        Json::string(deep),
        Json::string("x".repeat(900_000)),
    ] {
        let seen = ChainTransaction {
            hash: agentry_protocol::TransactionHash::from_bytes([1; 32]),
            stored: agentry_protocol::StoredTransaction {
                payload,
                ..Said::new(1, &KnownCommand::Withdraw).signed().stored()
            },
            height: BlockHeight(1),
            block_hash: BlockHash::from_bytes([0; 32]),
            late: false,
        };
        let found = card_of(&seen.stored, seen.hash, seen.height, &chain(), NOW);
        assert_eq!(found, None);
    }
}

/// A position that has read up to `tip`, of a reading that began at `origin`.
fn position(origin: u64, tip: Option<u64>) -> agentry_chain::Cursor {
    let hash = format!("0x{}", "ab".repeat(32));
    serde_json::from_value(serde_json::json!({
        "version": 1, "kind": "db", "genesis": null,
        "origin": { "height": origin, "lowers": true },
        "tip": tip.map(|height| serde_json::json!({ "height": height, "hash": hash, "tx_count": 0 })),
        "transactions": { "id": 0, "print": 0 }, "blocks": { "id": 0, "print": 0 },
        "gaps": [], "trail": "",
    }))
    .unwrap()
}

#[tokio::test]
async fn the_plan_covers_only_unknown_blocks() {
    let stage = Stage::new().await;
    let from = |height| Some(BlockHeight(height));
    let plan = async |wanted, watcher: &agentry_chain::Cursor| {
        let plan = backfill::plan(&stage.store, wanted, watcher, NOW).await;
        plan.unwrap().map(|plan| plan.span())
    };
    let known = async || stage.store.read(read::surveyed).await.unwrap().from;

    // A new store that begins at the head, block 99.
    let watcher = position(100, Some(99));
    assert_eq!(plan(None, &watcher).await, None);
    assert_eq!(known().await, from(100));
    let (low, high) = (BlockHeight(10), BlockHeight(100));
    assert_eq!(plan(from(10), &watcher).await, Some((low, high, None)));
    assert_eq!(plan(from(100), &watcher).await, None);
    // Later starts: the watcher has advanced, and the missing blocks are the same.
    let watcher = position(100, Some(500));
    assert_eq!(plan(from(10), &watcher).await, Some((low, high, None)));

    // An interrupted reading continues; one from another height starts over.
    let at = position(10, Some(42));
    let progress = serde_json::json!({ "from": 10, "to": 100, "cursor": at });
    assert_eq!(
        backfill::standing(&progress.to_string()),
        Some(backfill::Standing {
            from: low,
            to: high,
            at: from(42),
        })
    );
    let note = |known_from| {
        Commit::Backfill(Backfill {
            progress: Some(progress.clone()),
            known_from,
            at: NOW,
            ..Backfill::default()
        })
    };
    stage.commit(note(None)).await;
    assert_eq!(plan(from(10), &watcher).await, Some((low, high, from(42))));
    assert_eq!(
        plan(from(5), &watcher).await,
        Some((BlockHeight(5), high, None))
    );
    stage.commit(note(None)).await;
    assert_eq!(plan(None, &watcher).await, None);
    let surveyed = stage.store.read(read::surveyed).await.unwrap();
    assert_eq!(surveyed.progress, None, "no backfill is wanted any more");

    // Complete, except for the blocks that are read in case of a reorganisation.
    stage.commit(note(from(10))).await;
    assert_eq!(plan(from(10), &watcher).await, Some((low, high, from(42))));
    assert_eq!(known().await, from(10));
    // An agent is new, and the watcher reads everything again: it knows more then.
    let again = position(3, Some(2));
    assert_eq!(plan(from(3), &again).await, None);
    assert_eq!(known().await, from(3));
    // An empty chain.
    let stage = Stage::new().await;
    let nothing = position(0, None);
    let plan = backfill::plan(&stage.store, from(0), &nothing, NOW).await;
    assert_eq!(plan.unwrap(), None);
}

/// What the shards of a process read from the same chain is in memory once.
#[actix_rt::test]
async fn directories_of_one_process_share_cards() {
    let stage = Stage::new().await;
    stage.observe(vec![announced(1, "weather", 5)]).await;
    let cards = Cards::default();
    let load = || async {
        let loaded = Directory::load(&stage.store, Vec::new(), &cards).await;
        loaded.unwrap()
    };
    let (one, other) = (load().await, load().await);
    let held = |directory: &Directory| Arc::clone(directory.table().of(&address(1)).unwrap());
    assert!(Arc::ptr_eq(&held(&one), &held(&other)));

    // A shard that has read further has another card, and the first one has its own still.
    stage.observe(vec![announced(1, "climate", 6)]).await;
    one.refresh(&stage.store, &[address(1)]).await.unwrap();
    assert_eq!(held(&one).card.name.as_str(), "climate");
    assert_eq!(held(&other).card.name.as_str(), "weather");
    other.refresh(&stage.store, &[address(1)]).await.unwrap();
    assert!(Arc::ptr_eq(&held(&one), &held(&other)));
}
