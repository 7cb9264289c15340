//! `doctor`: a good installation, and each problem that it detects.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{
    Address, BlockHash, ChainId, Dialect, Json, Number, Seed, SigningKey, Transaction, genesis_hash,
};
use serde_json::Value;

use crate::host::{Host, agent, eventually, pong};
use crate::world::{Run, World};

/// A configuration on a node that runs by itself.
fn plain(world: &World, node: &str, chain: &str, more: &str) {
    let text = format!(
        "[chain]\nid = \"{chain}\"\nrpc = \"{node}\"\n{more}\n[store]\npath = \"agentry.db\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[wallets]\nkeystore_dir = \"keys\"\n\
         password_file = \"password\"\n[[agent]]\nname = \"ponger\"\nwallet = \"one\"\n\
         behaviours = [{{ kind = \"pong\" }}]\n"
    );
    world.private("plain.toml", &text);
}

fn look(world: &World) -> Report {
    Report::of(&world.run(&["-c", "plain.toml", "doctor", "--json"]))
}

/// The report, and the exit code.
#[derive(Debug)]
pub(crate) struct Report {
    code: i32,
    whole: Value,
}

impl Report {
    pub(crate) fn of(run: &Run) -> Self {
        assert!(run.err.is_empty(), "{run:#?}");
        assert_eq!(run.out.lines().count(), 1, "{run:#?}");
        Self {
            code: run.code,
            whole: serde_json::from_str(&run.out).unwrap(),
        }
    }

    fn checks(&self) -> &Vec<Value> {
        self.whole["checks"].as_array().unwrap()
    }

    /// One check in this state contains this result and this suggested fix.
    pub(crate) fn says(&self, check: &str, state: &str, found: &str, fix: &str) -> &Self {
        let is = |one: &Value, key: &str, part: &str| one[key].as_str().unwrap().contains(part);
        let one = self
            .checks()
            .iter()
            .find(|one| one["check"] == check && one["state"] == state && is(one, "found", found));
        let one = one.unwrap_or_else(|| panic!("{check} {state} {found:?}: {self:#?}"));
        match state {
            "warning" | "error" => assert!(is(one, "fix", fix), "{fix:?}: {one:#}"),
            _ => assert!(one["fix"].is_null(), "{one:#}"),
        }
        self
    }

    /// There are no errors and no warnings.
    fn good(&self) -> &Self {
        for check in self.checks() {
            let state = check["state"].as_str().unwrap();
            assert!(["ok", "skipped"].contains(&state), "{self:#?}");
        }
        self.ends(0)
    }

    pub(crate) fn ends(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{self:#?}");
        assert_eq!(self.whole["ok"], code == 0);
        self
    }
}

/// All files in the folder and below.
fn files(world: &World) -> BTreeSet<std::path::PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![world.path("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

/// A node that answers every request with the result of `answer` for its path, and with this date.
fn fake(date: &'static str, answer: impl Fn(&str) -> Option<String> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // The client may have disconnected.
            drop(stream.and_then(|stream| serve(&stream, date, &answer)));
        }
    });
    url
}

fn serve(
    mut stream: &TcpStream,
    date: &str,
    answer: &impl Fn(&str) -> Option<String>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match answer(path) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", "{}".to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{date}Content-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A node that has only block 0. An older one shows no transactions.
fn genesis_node(date: &'static str, genesis: BlockHash, transactions: &'static str) -> String {
    node(date, genesis, transactions, 0)
}

/// A node that reports this many blocks above block 0.
fn node(date: &'static str, genesis: BlockHash, transactions: &'static str, head: u64) -> String {
    fake(date, move |path| {
        let block = format!(
            "{{\"height\":0,\"hash\":\"{genesis}\",\"timestamp\":\"2026-01-01T00:00:00\",\
             \"tx_count\":0{transactions}}}"
        );
        match path.split('?').next()? {
            "/rpc/head" => Some(block.replace("\"height\":0", &format!("\"height\":{head}"))),
            "/rpc/blocks/0" => Some(block),
            "/rpc/blocks-range" => Some(format!("{{\"success\":true,\"blocks\":[{block}]}}")),
            "/health" => Some("{\"status\":\"ok\",\"supported_chains\":[]}".to_owned()),
            "/rpc/mempool" => Some("{\"success\":true,\"transactions\":[],\"count\":0}".to_owned()),
            _ => None,
        }
    })
}

fn id(text: &str) -> ChainId {
    text.parse().unwrap()
}

const SHOWN: &str = ",\"transactions\":[]";

#[test]
fn an_empty_folder_lacks_nothing() {
    let world = World::new();
    let before = files(&world);
    // Unusual ports, since somebody may listen at the usual ones.
    let run = world.run(&[
        "doctor",
        "--json",
        "--set",
        "devnet.port=0",
        "--set",
        "chain.rpc=http://127.0.0.1:1",
        "--set",
        "http.listen=127.0.0.1:0",
    ]);
    Report::of(&run)
        .good()
        .says("store", "ok", "there is none", "")
        .says("node", "skipped", "not running", "")
        .says("wallet temp-agent2", "skipped", "there is none", "");
    assert_eq!(files(&world), before);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let world = World::new();
    let node = genesis_node("", genesis_hash(&id("ait-devnet")), SHOWN);
    let port = format!("devnet.port={}", node.rsplit(':').next().unwrap());
    let rpc = format!("chain.rpc={node}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = format!("http.listen={}", listener.local_addr().unwrap());
    drop(listener);
    let with = |listen: &str| {
        let set = ["--set", &port, "--set", &rpc, "--set", listen];
        Report::of(&world.run(&[&["doctor", "--json"][..], &set].concat()))
    };
    with(&free)
        .ends(69)
        .says("node", "error", "something else answers", "`devnet.port`")
        .says("runtime", "ok", "none is running", "");
    let taken = node.replace("http://", "http.listen=");
    with(&taken).ends(69).says(
        "runtime",
        "error",
        "something else answers",
        "`http.listen`",
    );
}

#[test]
fn all_is_good_beside_a_runtime_and_after_it() {
    let world = World::new();
    let host = Host::start(&world, &[agent("ponger", "one", &pong("ping", "pong"))]);
    let status = format!("http.listen={}", host.status.trim_start_matches("http://"));
    let before = files(&world);
    let run = host.run(&["doctor", "--json", "--set", &status]);
    Report::of(&run)
        .good()
        .says("node", "ok", "its head is block", "")
        .says("chain", "ok", "is the store's", "")
        .says("clock", "ok", "agrees", "")
        .says("wallet one", "ok", "the password opens it", "")
        .says("balance of ponger", "ok", "AIT", "")
        .says("store", "ok", "agentry.db", "")
        .says("runtime", "ok", "running and ready", "")
        .says("gaps", "ok", "", "")
        .says("disk", "ok", "", "");
    assert_eq!(files(&world), before);
    // If the runtime chose its own port, it is asked for it. A chain that has just begun has no block
    // that could be read yet.
    eventually("it has read a block", || {
        let run = host.run(&["doctor", "--json"]);
        run.out.contains("it has read block")
    });
    Report::of(&host.run(&["doctor", "--json"])).good().says(
        "runtime",
        "ok",
        "running and ready; it has read block",
        "",
    );
    // For people: one line per check.
    let run = host.run(&["doctor"]);
    assert!(
        run.good()
            .out
            .lines()
            .all(|line| line.starts_with(['✓', '-']))
    );

    // Another configuration may read the node's own database.
    world.private(
        "password",
        &fs::read_to_string(world.path("keys/.password")).unwrap(),
    );
    plain(&world, &host.node, "ait-devnet", "db = \"node/chain.db\"");
    look(&world)
        .good()
        .says("chain.db", "ok", "its head is block", "")
        .says("chain.db", "ok", "its pages are whole", "")
        .says("chain", "ok", "chain.db: its block 0 is the store's", "");
    // A page that reading the head and block 0 does not touch.
    let copy = world.path("copy.db");
    let node = rusqlite::Connection::open(world.path("node/chain.db")).unwrap();
    node.execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    drop(node);
    let page: u32 = rusqlite::Connection::open(&copy)
        .unwrap()
        .query_row(
            "SELECT pageno FROM dbstat WHERE name = 'account' ORDER BY pageno LIMIT 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let file = fs::OpenOptions::new().write(true).open(&copy).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 512], u64::from(page - 1) * 4096)
        .unwrap();
    drop(file);
    plain(&world, &host.node, "ait-devnet", "db = \"copy.db\"");
    look(&world)
        .ends(65)
        .says("chain.db", "error", "copy.db", "over RPC");
    plain(&world, &host.node, "ait-devnet", "db = \"none/chain.db\"");
    look(&world)
        .ends(66)
        .says("chain.db", "error", "none/chain.db", "`chain.db`");

    host.stop();
    let before = files(&world);
    Report::of(&world.run(&["doctor", "--json"])).good().says(
        "runtime",
        "ok",
        "none is running",
        "",
    );
    assert_eq!(files(&world), before);
}

#[test]
fn a_node_that_is_down_or_silent_is_named() {
    let world = World::new();
    world.wallet(&["create", "one"]).good();
    plain(&world, "http://127.0.0.1:1", "ait-devnet", "");
    look(&world)
        .ends(69)
        .says("node", "error", "connecting", "`chain.rpc`")
        .says("balances", "skipped", "does not answer", "");
    // It accepts connections, but never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = format!("http://{}", silent.local_addr().unwrap());
    plain(&world, &node, "ait-devnet", "");
    look(&world)
        .ends(69)
        .says("node", "error", "in time", "`chain.rpc`");
}

#[test]
fn the_wrong_chain_is_named() {
    let world = World::new();
    world.wallet(&["create", "one"]).good();
    let testnet = genesis_node("", genesis_hash(&id("ait-testnet")), SHOWN);
    plain(&world, &testnet, "ait-devnet", "");
    look(&world)
        .ends(78)
        .says("chain", "error", "that of ait-testnet", "`chain.id`");
    // Some chains began differently.
    let odd = genesis_node("", BlockHash::of(b"odd"), SHOWN);
    plain(&world, &odd, "ait-devnet", "");
    look(&world)
        .ends(0)
        .says("chain", "warning", "does not follow", "`chain.id`");
    let devnet = genesis_node("", genesis_hash(&id("ait-devnet")), SHOWN);
    let submit = format!("submit = \"{odd}\"");
    plain(&world, &devnet, "ait-devnet", &submit);
    look(&world)
        .ends(78)
        .says("chain", "error", "different chains", "`chain.submit`");
}

#[test]
fn a_node_that_lags_is_named() {
    let world = World::new();
    world.wallet(&["create", "one"]).good();
    let genesis = genesis_hash(&id("ait-devnet"));
    let (behind, ahead) = (node("", genesis, SHOWN, 100), node("", genesis, SHOWN, 106));
    let near = node("", genesis, SHOWN, 101);
    let with = |rpc: &str, submit: &str| {
        plain(&world, rpc, "ait-devnet", &format!("submit = \"{submit}\""));
        look(&world)
    };
    with(&behind, &ahead)
        .ends(0)
        .says("node of rpc", "warning", "6 blocks behind", "`chain.rpc`");
    with(&ahead, &behind).ends(0).says(
        "node of submit",
        "warning",
        "6 blocks behind",
        "`chain.submit`",
    );
    with(&ahead, &near).good();
}

/// A node at block 500 with this proposer in its blocks and this answer about accounts.
fn at_500(makers: &'static str, account: &'static str) -> String {
    let genesis = genesis_hash(&id("ait-devnet"));
    fake("", move |path| {
        let block = |height: u64| {
            format!(
                "{{\"height\":{height},\"hash\":\"{genesis}\",\"tx_count\":0,\"transactions\":[]\
                 {makers}}}"
            )
        };
        match path {
            "/rpc/head" => Some(block(500)),
            path if path.starts_with("/rpc/mempool") => {
                Some("{\"success\":true,\"transactions\":[],\"count\":0}".to_owned())
            }
            path if path.starts_with("/rpc/accounts/") => Some(account.to_owned()),
            path => Some(block(path.strip_prefix("/rpc/blocks/")?.parse().ok()?)),
        }
    })
}

#[test]
fn a_follower_that_is_posted_to_is_named() {
    let world = World::new();
    world.wallet(&["create", "one"]).good();
    let follower = at_500(
        ",\"proposer\":\"\",\"parent_hash\":\"\"",
        "{\"balance\":0,\"nonce\":0,\"exists\":false}",
    );
    let producer = at_500(
        ",\"proposer\":\"p\",\"parent_hash\":\"\"",
        "{\"balance\":5000,\"nonce\":0,\"exists\":true}",
    );
    plain(&world, &follower, "ait-devnet", "");
    let report = look(&world);
    report
        .ends(0)
        .says(
            "node",
            "warning",
            "it follows another node",
            "`chain.submit`",
        )
        .says("balances", "skipped", "has no accounts", "");
    assert!(!format!("{report:?}").contains("never seen"), "{report:#?}");
    // If the other node has accounts, it is asked.
    plain(
        &world,
        &producer,
        "ait-devnet",
        &format!("submit = \"{follower}\""),
    );
    look(&world)
        .says(
            "node of submit",
            "warning",
            "it follows another node",
            "`chain.submit`",
        )
        .says("balance of ponger", "ok", "5000 AIT", "");
    plain(
        &world,
        &follower,
        "ait-devnet",
        &format!("submit = \"{producer}\""),
    );
    look(&world)
        .good()
        .says("balance of ponger", "ok", "5000 AIT", "");
}

#[test]
fn another_run_of_the_same_chain_is_named() {
    let tables = [agent("ponger", "one", &pong("ping", "pong"))];
    let (one, other) = (World::new(), World::new());
    let first = Host::start(&one, &tables);
    let second = Host::start(&other, &tables);
    one.private(
        "password",
        &fs::read_to_string(one.path("keys/.password")).unwrap(),
    );
    // Above the blocks that a reorganisation changes, in both.
    for host in [&first, &second] {
        eventually("twelve blocks", || {
            host.json(&["chain", "head"])["height"].as_u64() > Some(12)
        });
    }
    plain(&one, &second.node, "ait-devnet", "db = \"node/chain.db\"");
    look(&one).ends(78).says(
        "chain.db",
        "error",
        "different run of the chain than the node of rpc: their blocks",
        "`chain.db`",
    );
    let submit = format!("submit = \"{}\"", second.node);
    plain(&one, &first.node, "ait-devnet", &submit);
    look(&one).ends(78).says(
        "node of submit",
        "error",
        "a different chain than the node of rpc: their blocks",
        "`chain.submit`",
    );
}

#[test]
fn an_old_node_and_a_wrong_clock_are_named() {
    let world = World::new();
    world.wallet(&["create", "one"]).good();
    let date = "Date: Thu, 01 Jan 2099 00:00:00 GMT\r\n";
    let node = genesis_node(date, genesis_hash(&id("ait-devnet")), "");
    plain(&world, &node, "ait-devnet", "");
    look(&world)
        .ends(78)
        .says("node", "error", "2026-04-10", "`chain.db`")
        .says("clock", "error", "behind", "set-ntp");
}

#[test]
fn wallets_are_checked() {
    let world = World::new();
    let node = genesis_node("", genesis_hash(&id("ait-devnet")), SHOWN);
    plain(&world, &node, "ait-devnet", "");
    look(&world).ends(66).says(
        "wallet one",
        "error",
        "no wallet",
        "`agentry wallet create one`",
    );
    world.wallet(&["create", "one"]).good();
    look(&world)
        .ends(0)
        .says("wallet one", "ok", "the password opens it", "");

    let file = world.path("keys/one.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    look(&world).ends(0).says(
        "wallet one",
        "warning",
        "mode 644",
        "`chmod 600 keys/one.json`",
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

    let wrong = fs::read_to_string(world.path("wrong")).unwrap();
    world.private("password", &wrong);
    look(&world)
        .ends(77)
        .says("wallet one", "error", "wrong password", "AGENTRY_PASSWORD");
    let file = world.path("password");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    look(&world)
        .ends(77)
        .says("wallet one", "error", "every user", "mode 600");
    fs::remove_file(file).unwrap();
    look(&world)
        .ends(0)
        .says("wallet one", "ok", "not tried", "");
    fs::write(world.path("keys/one.json"), "{}").unwrap();
    look(&world)
        .ends(65)
        .says("wallet one", "error", "damaged", "backup");
}

#[test]
fn balances_are_checked() {
    let world = World::new();
    world.wallet(&["create", "one"]).good();
    let genesis = genesis_hash(&id("ait-devnet"));
    let node = |account: &'static str| {
        fake("", move |path| {
            let block = format!(
                "{{\"height\":0,\"hash\":\"{genesis}\",\"tx_count\":0,\"transactions\":[]}}"
            );
            match path {
                "/rpc/head" => Some(block),
                path if path.starts_with("/rpc/accounts/") => Some(account.to_owned()),
                _ => None,
            }
        })
    };
    let ask = |account| {
        plain(&world, &node(account), "ait-devnet", "");
        look(&world)
    };
    ask("{\"balance\":100,\"nonce\":0,\"exists\":true}").says("balance of ponger", "ok", "100", "");
    ask("{\"balance\":99,\"nonce\":0,\"exists\":true}")
        .ends(0)
        .says(
            "balance of ponger",
            "warning",
            "99 AIT",
            "transfer some to ait1",
        );
    ask("{\"balance\":0,\"nonce\":0,\"exists\":false}")
        .ends(0)
        .says(
            "balance of ponger",
            "warning",
            "never seen",
            "transfer some to ait1",
        );
}

#[test]
fn a_store_of_another_chain_or_halted_is_named() {
    let world = World::new();
    Host::start(&world, &[agent("ponger", "one", &pong("ping", "pong"))]).stop();
    world.private(
        "password",
        &fs::read_to_string(world.path("keys/.password")).unwrap(),
    );
    let node = genesis_node("", BlockHash::of(b"another"), SHOWN);
    plain(&world, &node, "ait-devnet", "");
    look(&world)
        .ends(78)
        .says("chain", "error", "the store was made with", "`store.path`");
    plain(&world, &node, "ait-testnet", "");
    look(&world)
        .ends(78)
        .says("store", "error", "to the chain ait-devnet", "`chain.id`");

    let db = rusqlite::Connection::open(world.path("agentry.db")).unwrap();
    db.execute(
        "INSERT INTO meta (key, value) VALUES ('halted', 'a reset')",
        [],
    )
    .unwrap();
    drop(db);
    Report::of(&world.run(&["doctor", "--json"])).ends(69).says(
        "posting",
        "error",
        "a reset",
        "`agentry queue resume`",
    );
    let db = rusqlite::Connection::open(world.path("agentry.db")).unwrap();
    let ahead = std::time::SystemTime::now() + Duration::from_secs(40 * 86_400 + 600);
    let ahead = ahead.duration_since(std::time::UNIX_EPOCH).unwrap();
    let time = ahead.as_millis().to_string();
    db.execute("REPLACE INTO meta (key, value) VALUES ('time', ?1)", [time])
        .unwrap();
    drop(db);
    Report::of(&world.run(&["doctor", "--json"])).says(
        "stored time",
        "warning",
        "40 d ahead of this machine's clock",
        "set-ntp",
    );
    fs::write(world.path("agentry.db"), "no database at all").unwrap();
    Report::of(&world.run(&["doctor", "--json"])).ends(65).says(
        "store",
        "error",
        "agentry.db",
        "restore a backup",
    );
}

/// A signed transaction, as rows of a store have it.
struct SignedRow {
    from: String,
    hash: String,
    digest: String,
    stored: String,
    body: String,
}

impl SignedRow {
    fn new(text: &str) -> Self {
        let key = SigningKey::from_seed(&Seed::from_bytes([7; 32]));
        let from = Address::from_public_key(&key.public_key());
        let signed = Transaction {
            dialect: Dialect::April2026,
            from: from.clone(),
            to: from.clone(),
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(1_u64),
            payload: Json::string(text),
            chain_id: id("ait-devnet"),
        }
        .sign(&key);
        Self {
            from: from.to_string(),
            hash: signed.hash().to_string(),
            digest: signed.digest().to_string(),
            stored: signed.stored().stored_text(),
            body: signed.body(),
        }
    }
}

#[test]
fn waiting_rows_and_dead_letters_are_named() {
    let world = World::new();
    Host::start(&world, &[agent("ponger", "one", &pong("ping", "pong"))]).stop();
    let db = rusqlite::Connection::open(world.path("agentry.db")).unwrap();
    let row = |state: &str| {
        let signed = SignedRow::new(state);
        db.execute(
            "INSERT INTO inbox (agent, digest, identity, hash, sender, height, stored, authenticity,
                                standing, state, seq, seen_at)
             SELECT id, unhex(?2), ?2, unhex(substr(?3, 3)), ?4, 1, ?5, 'verified', 'stranger', ?1,
                    1, 1000 FROM agent",
            [
                state,
                &signed.digest,
                &signed.hash,
                &signed.from,
                &signed.stored,
            ],
        )
        .unwrap();
    };
    row("dead");
    row("waiting");
    db.execute_batch(
        "INSERT INTO gap (height, reason, since) VALUES (7, 'r', 0);
         INSERT INTO spending (agent, day, standing, sender, spent)
         SELECT agent.id, unixepoch('now') / 86400 + days.value, 'own', '', 95
         FROM agent, json_each('[0, 1]') AS days;",
    )
    .unwrap();
    let signed = SignedRow::new("accepted");
    db.execute(
        "INSERT INTO outbox (agent, origin, recipient, amount, fee, state, created_at, accepted_at,
                             reason, nonce, hash, digest, body)
         SELECT id, 'control/o', ?1, 0, 10, 'accepted', 0, 1000, 'the node forgot it', 1,
                unhex(substr(?2, 3)), unhex(?3), ?4 FROM agent",
        [&signed.from, &signed.hash, &signed.digest, &signed.body],
    )
    .unwrap();
    drop(db);
    let tight = ["--set", "defaults.daily_budget=100"];
    let run = world.run(&["doctor", "--json", tight[0], tight[1]]);
    Report::of(&run)
        .ends(0)
        .says(
            "dead letters",
            "warning",
            "1 in all, most of ponger",
            "queue list dead",
        )
        .says("waiting", "warning", "has waited", "queue list inbox")
        .says(
            "accepted",
            "warning",
            "the node forgot it",
            "queue list outbox",
        )
        .says("waiting", "warning", "no runtime is running", "")
        .says("gaps", "warning", "as 7", "`chain.db`")
        .says("budgets", "warning", "as ponger", "`daily_budget`");
    // The runtime counts blocks: a transaction that it has reported is reported here, too, however
    // short the time was.
    let now = "UPDATE outbox SET accepted_at = unixepoch('now') * 1000";
    rusqlite::Connection::open(world.path("agentry.db"))
        .unwrap()
        .execute(now, [])
        .unwrap();
    let run = world.run(&["doctor", "--json", "--set", "defaults.daily_budget=9"]);
    Report::of(&run)
        .ends(0)
        .says(
            "accepted",
            "warning",
            "the node forgot it",
            "queue list outbox",
        )
        .says("budget of ponger", "warning", "9 a day", "`daily_budget`");

    let db = rusqlite::Connection::open(world.path("agentry.db")).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    drop(db);
    Report::of(&world.run(&["doctor", "--json"])).ends(78).says(
        "store",
        "error",
        "version 1",
        "move the file away",
    );
}

#[test]
fn a_mempool_that_cannot_be_read_is_named() {
    let world = World::new();
    world.wallet(&["create", "one"]).good();
    let node = Devnet::start(DevnetConfig {
        dir: world.path("node"),
        faults: ["mempool-unreadable".parse().unwrap()]
            .into_iter()
            .collect(),
        ..DevnetConfig::default()
    })
    .unwrap();
    plain(&world, &node.url(), "ait-devnet", "");
    look(&world)
        .ends(0)
        .says("mempool", "warning", "503", "`chain.db`");
    plain(&world, &node.url(), "ait-devnet", "db = \"node/chain.db\"");
    look(&world)
        .ends(0)
        .says("mempool", "ok", "mempool.db can be", "");
}

#[test]
fn a_fleet_is_one_line() {
    let world = World::new();
    let node = genesis_node("", genesis_hash(&id("ait-devnet")), SHOWN);
    plain(&world, &node, "ait-devnet", "");
    world.wallet(&["create", "one"]).good();
    let fleet = |place: &str| {
        let text = fs::read_to_string(world.path("plain.toml")).unwrap();
        let text = text.split("[[fleet]]").next().unwrap();
        let table = format!("[[fleet]]\nname = \"many\"\n{place}\npassword_file = \"password\"\n");
        world.private("plain.toml", &format!("{text}{table}"));
        look(&world)
    };
    fleet("vault = \"many.vault\"").says("fleet many", "error", "many.vault", "[wallets]");
    fleet("keystore_dir = \"many\"").ends(66).says(
        "fleet many",
        "error",
        "no folder many",
        "keystore_dir",
    );
    let create = [
        "create",
        "worker",
        "--count",
        "3",
        "--into-vault",
        "many.vault",
    ];
    world.wallet(&create).good();
    fleet("vault = \"many.vault\"").ends(0).says(
        "fleet many",
        "ok",
        "3 wallets in many.vault; the password opens it",
        "",
    );
    // One wallet cannot belong to two agents.
    fleet("keystore_dir = \"keys\"").ends(78).says(
        "wallets",
        "error",
        "same address",
        "`[[agent]]`",
    );
}

#[test]
fn every_configuration_error_is_a_line() {
    let world = World::new();
    world.private("plain.toml", "[chain]\nidd = \"x\"\n[store]\npath = 7\n");
    let report = look(&world);
    report
        .ends(78)
        .says("configuration", "error", "plain.toml:2:1", "correct")
        .says("configuration", "error", "plain.toml:4", "correct");
    fs::remove_file(world.path("plain.toml")).unwrap();
    look(&world)
        .ends(66)
        .says("configuration", "error", "plain.toml", "--config");
}

#[test]
fn another_dialect_is_named_by_doctor_and_refused_by_start() {
    let dialects = [Dialect::April2026, Dialect::August2026];
    for (spoken, configured) in [(dialects[0], dialects[1]), (dialects[1], dialects[0])] {
        let world = World::new();
        let devnet = Devnet::start(DevnetConfig {
            dir: world.path("node"),
            dialect: spoken,
            ..DevnetConfig::default()
        })
        .unwrap();
        let more = format!("dialect = \"{configured}\"");
        plain(&world, &devnet.url(), "ait-devnet", &more);
        world
            .run(&["-c", "plain.toml", "wallet", "create", "one"])
            .good();
        let evidence = format!("speaks the dialect {spoken}");
        look(&world)
            .ends(78)
            .says("chain", "error", &evidence, "`chain.dialect`");
        world
            .run(&["-c", "plain.toml", "run"])
            .failed(78, &evidence);
        // A file that the node keeps is told apart, too.
        let more = format!("{more}\ndb = \"{}\"", devnet.chain_db().display());
        plain(&world, &devnet.url(), "ait-devnet", &more);
        world
            .run(&["-c", "plain.toml", "run"])
            .failed(78, &evidence);
        devnet.stop();
    }
}
