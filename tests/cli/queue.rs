//! `queue` on a store that no runtime has open.

use agentry_core::commit::{Arrival, HostedAgent, Observation, PostResult, Step};
use agentry_core::rows::{Draft, EventRef, Prepared, ReceiptRequest};
use agentry_core::{AgentId, Commit, InboxId, OutboxId};
use agentry_protocol::timestamp::DAY_MS;
use agentry_protocol::{
    Address, Amount, BlockHeight, ChainId, Dialect, Json, Nonce, Number, Seed, SignedTransaction,
    SigningKey, Timestamp, Transaction,
};
use agentry_sdk::Authenticity;
use agentry_store::Store;
use serde_json::Value;

use crate::host::{Host, agent, eventually, pong};
use crate::world::{Run, World};

const CONFIG: &str = r#"
[chain]
id = "ait-devnet"
[store]
path = "agentry.db"
[wallets]
keystore_dir = "keys"
[defaults]
daily_budget = 200
[[agent]]
name = "ponger"
[[agent]]
name = "pinger"
"#;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

fn signed(from: u8, to: u8, text: &str, nonce: u64) -> SignedTransaction {
    Transaction {
        dialect: Dialect::April2026,
        from: address(from),
        to: address(to),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(nonce),
        payload: Json::string(text),
        chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
    }
    .sign(&key(from))
}

fn arrival(agent: i64, from: u8, text: &str, authenticity: Authenticity) -> Step {
    let to = u8::try_from(agent).unwrap();
    let signed = signed(from, to, text, 1);
    Step::Arrival(Arrival::new(
        AgentId(agent),
        signed.hash(),
        &signed.stored(),
        BlockHeight(5),
        authenticity,
        now(),
    ))
}

fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// The store of two agents. Of `ponger` (1): a message that waits, one that is handled, a dead one
/// and a forged one; a transaction that was paid for and waits for its acknowledgment, one that
/// waits for a budget, and one that failed. Of `pinger` (2): a dead letter.
fn two_agents() -> World {
    // Counts per day must be made on one day, so the test does not start just before midnight.
    while now().get() % DAY_MS >= DAY_MS - 60_000 {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let world = World::new();
    world.private("agents.toml", CONFIG);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = Store::open(&world.path("agentry.db")).unwrap();
    let commit = |commit: Commit| runtime.block_on(store.commit(commit)).unwrap();
    let agents = [("ponger", 1), ("pinger", 2)].map(|(name, byte)| HostedAgent {
        address: address(byte),
        name: name.to_owned(),
        start_height: BlockHeight(0),
    });
    commit(Commit::Host {
        agents: agents.to_vec(),
    });
    let verified = Authenticity::Verified;
    commit(Commit::Observe(Observation {
        steps: vec![
            arrival(1, 9, "waits", verified),
            arrival(1, 9, "dies", verified),
            arrival(1, 8, "forged", Authenticity::Forged),
            arrival(2, 9, "dies, too", verified),
        ],
        cursor: Value::Null,
        catching_up: None,
        final_through: None,
        at: now(),
    }));
    for row in [2, 3] {
        commit(Commit::Failure {
            event: EventRef::Inbox(InboxId(row)),
            attempts: 0,
            reason: "the printer is on fire".to_owned(),
            public: "acting on it failed".to_owned(),
            retry_at: None,
            again_at: None,
            watchers: Vec::new(),
            at: now(),
        });
    }
    let send = |origin: &str, nonce: Option<u64>, receipt| {
        let draft = Draft {
            receipt,
            ..Draft::new(
                origin.to_owned(),
                address(9),
                Amount(10),
                Json::string(origin),
            )
        };
        let prepared = nonce.map(|nonce| {
            let signed = signed(1, 9, origin, nonce);
            Prepared {
                nonce: Nonce::new(nonce),
                hash: signed.hash(),
                digest: signed.digest(),
                body: signed.body(),
                since: BlockHeight(5),
                day: now().day(),
            }
        });
        let agent = AgentId(1);
        let at = now();
        commit(Commit::Send {
            token: None,
            agent,
            draft,
            prepared,
            at,
        });
    };
    let asked = ReceiptRequest {
        behaviour: Some("asker".to_owned()),
        label: Some("question".to_owned()),
        wanted: Some("done".to_owned()),
        within_ms: 60_000,
        resends: 2,
    };
    send("inbox/1/asker/0", Some(1), Some(asked));
    send("inbox/1/asker/1", None, None);
    send("control/1", Some(2), None);
    let held = vec![(OutboxId(2), "waits for the next day's budget".to_owned())];
    commit(Commit::Hold { held });
    commit(Commit::Post {
        id: OutboxId(3),
        result: PostResult::Failed {
            reason: "the node refuses it".to_owned(),
        },
        at: now(),
    });
    world
}

fn ids(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
}

#[test]
fn every_queue_is_listed_and_narrowed_down() {
    let world = two_agents();
    let list = |more: &[&str]| {
        let mut all = vec!["queue", "list"];
        all.extend(more);
        world.json(&all)
    };
    let all = list(&[]);
    assert_eq!(ids(&all["messages"]), ["inbox/1", "inbox/2", "inbox/3"]);
    assert_eq!(
        ids(&all["transactions"]),
        ["outbox/1", "outbox/2", "outbox/3"]
    );
    assert_eq!(
        (
            &all["counts"]["forged"],
            &all["counts"]["waiting_for_budget"]
        ),
        (&1.into(), &1.into())
    );
    assert!(all["forged"].as_array().unwrap().is_empty());
    let receipt = &all["transactions"][0]["receipt"];
    assert_eq!(
        (&receipt["wanted"], &receipt["state"]),
        (&"done".into(), &"open".into())
    );
    assert_eq!(all["transactions"][1]["waits_for_budget"], true);

    assert_eq!(ids(&list(&["forged"])["forged"]), ["forged/1"]);
    let dead = list(&["dead", "--agent", "ponger"]);
    assert_eq!(ids(&dead["messages"]), ["inbox/2"]);
    assert_eq!(ids(&dead["transactions"]), ["outbox/3"]);
    assert_eq!(dead["spending"]["spent"]["all"], 10);
    assert_eq!(dead["spending"]["budget"]["left"], 190);
    assert!(all["spending"].is_null());
    let run = world.run(&["queue", "list", "--agent", "ponger"]);
    let text = &run.good().out;
    assert!(
        text.contains(
            "ponger has spent 10 of 200 AIT today: 0 of 20 on unverified messages, 0 of 50 on \
             strangers, 0 of 50 on listed senders"
        ),
        "{text}"
    );
    let sender = address(9).to_string();
    let from = list(&["--from", &sender, "--state", "waiting,dead"]);
    assert_eq!(ids(&from["messages"]).len(), 3);
    assert!(ids(&from["transactions"]).is_empty());
    let to = list(&["--to", &sender]);
    assert_eq!(ids(&to["transactions"]).len(), 3);
    assert!(ids(&to["messages"]).is_empty());
    let of_asker = list(&["--behaviour", "asker"]);
    assert_eq!(ids(&of_asker["transactions"]), ["outbox/1", "outbox/2"]);
    assert!(ids(&list(&["--since", "2999-01-01T00:00:00Z"])["messages"]).is_empty());
    assert_eq!(ids(&list(&["--since", "1h"])["messages"]).len(), 3);
    assert_eq!(
        ids(&list(&["inbox", "--limit", "1"])["messages"]),
        ["inbox/1"]
    );
    // From a name that nobody has.
    world
        .run(&["queue", "list", "--from", "nobody"])
        .failed(66, "\"nobody\" is neither an address");
    world
        .run(&["queue", "list", "--state", "sleeping"])
        .failed(64, "sleeping");
    world
        .run(&["queue", "list", "--since", "lately"])
        .failed(64, "how long ago");

    let newest = list(&["inbox", "--settled", "--limit", "1"]);
    assert_eq!(
        (&newest["more"], &all["more"]),
        (&true.into(), &false.into())
    );
    assert_eq!(all["messages"][0]["waits"], "no runtime is running");
    assert_eq!(
        all["transactions"][1]["waits"],
        "waits for the next day's budget"
    );
    assert!(all["messages"][0]["text"].is_string(), "{all:#}");
    let narrow = world
        .command(&["queue", "list"])
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    let narrow = Run::of(narrow);
    let rows = narrow
        .good()
        .out
        .lines()
        .filter(|line| line.contains("box/"));
    for row in rows {
        assert!(row.chars().count() <= 100, "{row}");
    }
    let text = world.run(&["queue", "list"]).good().out.clone();
    assert!(!text.contains("bytes)"), "{text}");
    for part in [
        "no runtime is running",
        "the printer is on fire",
        "done: open",
        "waits for the next day's budget",
        "1 transactions wait for a budget",
        "forged: 1",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let nothing = world.run(&["queue", "list", "events"]).good().out.clone();
    assert!(nothing.contains("nothing waits"), "{nothing}");
}

#[test]
fn rows_are_shown_in_full() {
    let world = two_agents();
    let shown = world.run(&["queue", "show", "outbox/1"]).good().out.clone();
    for part in [
        "inbox/1/asker/0",
        "the budget of 20",
        "2 left",
        "question",
        "acknowledgment wanted",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let shown = world.run(&["queue", "show", "inbox/2"]).good().out.clone();
    assert!(shown.contains("failed attempts") && shown.contains("the printer is on fire"));
    let shown = world.run(&["queue", "show", "forged/1"]).good().out.clone();
    assert!(shown.contains("says it is from"), "{shown}");
    assert_eq!(
        world.json(&["queue", "show", "forged/1"])["from"],
        address(8).to_string()
    );
    world
        .run(&["queue", "show", "event/1"])
        .failed(66, "there is no event/1");
    world
        .run(&["queue", "show", "letter/1"])
        .failed(64, "is not an id of a queue");
}

#[test]
fn dead_letters_are_selected_retried_and_dropped() {
    let world = two_agents();
    let changed = |arguments: &[&str]| world.json(arguments)["changed"].as_u64().unwrap();
    assert_eq!(
        changed(&["queue", "retry", "--all", "--agent", "pinger"]),
        1
    );
    assert_eq!(
        changed(&["queue", "retry", "--all", "--behaviour", "asker"]),
        0
    );
    assert_eq!(
        changed(&[
            "queue", "drop", "--all", "--agent", "ponger", "--queue", "inbox"
        ]),
        1
    );
    assert_eq!(changed(&["queue", "retry", "outbox/3"]), 1);
    // A retried transaction is paid from today's budget.
    let stats = world.json(&["queue", "stats", "--agent", "ponger"]);
    assert_eq!(stats["agents"][0]["spent"]["all"], 20);
    assert_eq!(changed(&["queue", "drop", "outbox/2"]), 1);
    world
        .run(&["queue", "drop", "forged/1"])
        .failed(64, "no behaviour sees it");
    world
        .run(&["queue", "retry", "inbox/1", "--agent", "ponger"])
        .failed(64, "narrow down --all");
    world
        .run(&["queue", "retry", "inbox/1", "--queue", "inbox"])
        .failed(64, "--all");
    assert_eq!(
        changed(&["queue", "retry", "--all", "--since", "2999-01-01T00:00:00Z"]),
        0
    );
}

#[test]
fn statistics_of_agents_include_spending() {
    let world = two_agents();
    let stats = world.json(&["queue", "stats"]);
    let agents = stats["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 2);
    let ponger = &agents[1];
    assert_eq!(ponger["agent"], "ponger");
    assert_eq!(ponger["dead_letters"], 2);
    assert_eq!(ponger["forged"], 1);
    assert_eq!(ponger["waiting_for_budget"], 1);
    assert_eq!(ponger["spent"]["all"], 10);
    assert_eq!(ponger["budget"]["daily"], 200);
    assert_eq!(ponger["budget"]["left"], 190);
    assert_eq!(ponger["budget"]["unverified"], 20);
    let table = world.run(&["queue", "stats"]).good().out.clone();
    assert!(table.contains("10 of 200 AIT, 1 wait"), "{table}");
    let one = world
        .run(&["queue", "stats", "--agent", "pinger"])
        .good()
        .out
        .clone();
    assert!(
        one.contains("0 of 200 AIT") && one.contains("1 dead"),
        "{one}"
    );
    world
        .run(&["queue", "stats", "--agent", "nobody"])
        .failed(66, "\"nobody\" is neither an address");
}

#[test]
fn an_empty_store_says_so() {
    let world = World::new();
    world.private("agents.toml", CONFIG);
    drop(Store::open(&world.path("agentry.db")).unwrap());
    let said = |arguments: &[&str]| world.run(arguments).good().out.clone();
    assert!(said(&["queue", "list"]).contains("nothing waits, and nothing has failed"));
    assert!(said(&["queue", "list", "forged"]).contains("there are no forged messages"));
    assert!(said(&["queue", "list", "dead"]).contains("nothing has failed"));
    assert!(said(&["queue", "list", "--settled"]).contains("no row matches"));
    assert!(said(&["queue", "stats"]).contains("no agent was ever hosted"));
}

#[test]
fn a_message_over_its_senders_rate_shows_the_reason() {
    let world = World::new();
    let slow = format!(
        "{}per_sender_rate = \"1/min\"\n",
        agent("slow", "slow", &pong("ping", "pong"))
    );
    let tables = [agent("asker", "w-asker", &pong("hello", "hi")), slow];
    let host = Host::start(&world, &tables);
    assert_eq!(host.ask("asker", "slow", "ping"), "pong");
    host.tell("asker", "slow", "ping\nand more");
    let waiting =
        || host.json(&["queue", "list", "inbox", "--agent", "slow"])["messages"][0].clone();
    eventually("the second message waits", || waiting()["id"].is_string());
    let over = "its sender is over per_sender_rate = 1/min; the next message of its sender is \
                handled in ";
    eventually("the reason is its sender's rate", || {
        waiting()["waits"]
            .as_str()
            .is_some_and(|why| why.starts_with(over))
    });
    let message = waiting();
    assert_eq!(message["from_name"], "asker");
    assert_eq!(message["text"], "ping\nand more");
    let listed = host.run(&["queue", "list"]);
    for part in [over, "from asker", "ping…"] {
        assert!(listed.good().out.contains(part), "{listed:#?}");
    }
    let shown = host.run(&["queue", "show", message["id"].as_str().unwrap()]);
    assert!(shown.good().out.contains(over), "{shown:#?}");
    host.stop();
    let left = world.json(&["queue", "list", "inbox"]);
    assert_eq!(left["messages"][0]["waits"], "no runtime is running");
}
