//! Hostile transactions, on a node that accepts everything.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use agentry_protocol::{Json, Limits};

use agentry_testbed::dice::Dice;
use agentry_testbed::until;
use agentry_testbed::world::{Setup, Source, World};

/// The longest pause between pings.
const PACE: Duration = Duration::from_millis(40);

/// How many variants of each hostile transaction are posted.
const ROUNDS: u64 = 6;

/// A body with these fields; the caller leaves out values that are not JSON.
fn body(from: &str, to: &str, amount: &str, payload: &str, chain: &str, nonce: u64) -> String {
    format!(
        "{{\"from\":\"{from}\",\"to\":\"{to}\",\"amount\":{amount},\"fee\":0,\"nonce\":{nonce},\
         \"payload\":{payload},\"chain_id\":\"{chain}\",\"type\":\"transfer\",\
         \"signature\":\"{}\"}}",
        "5a".repeat(64)
    )
}

/// Payloads that are not messages, or barely.
fn garbage() -> Vec<String> {
    let mut all: Vec<String> = [
        "null",
        "0",
        "-1e300",
        "1e400",
        "NaN",
        "true",
        "\"\"",
        "[]",
        "{}",
        "\"0x\"",
        "{\"cmd\":7}",
        "{\"cmd\":\"PING\",\"cmd\":\"PONG\"}",
        "{\"text\":\"pong\"}",
        "\"{\\\"cmd\\\":\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "\"ping \"",
        "\"Ping\"",
        "[\"ping\"]",
        "123456789012345678901234567890123456789012345678901234567890",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push(format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
    all.push(format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000)));
    all.push(format!("\"{}\"", "ping".repeat(200_000)));
    all.push(Json::string("x".repeat(100_000)).to_compact());
    all
}

fn among_hostile_transactions(test: &str, source: Source) {
    let mut dice = Dice::new(test);
    let setup = Setup {
        source,
        faults: &["replay-destroys-block", "no-signature-check"],
        ..Setup::default()
    };
    let world = Arc::new(World::new(test, &mut dice, setup));
    let runtime = world.run();
    let flow = world.flow(dice.fork(), PACE);
    until("the first pings are answered", || {
        world.audit().answered >= 3
    });
    let mut culprits = HashSet::new();
    let agent = |dice: &mut Dice| {
        world.agents[dice.below(world.agents.len())]
            .address
            .to_string()
    };
    let stranger = world.fresh().address.to_string();
    for nonce in 0..ROUNDS {
        let mut bodies = Vec::new();
        // In the name of one agent, to another: must not be answered, since the agent's key is known.
        for text in ["\"ping\"", "\"pong\"", "{\"text\":\"ping\"}"] {
            let (from, to) = (agent(&mut dice), agent(&mut dice));
            bodies.push(body(&from, &to, "0", text, "ait-devnet", nonce));
        }
        // From another chain.
        let to = agent(&mut dice);
        bodies.push(body(&stranger, &to, "0", "\"ping\"", "ait-mainnet", nonce));
        bodies.push(body(&stranger, &to, "0", "\"ping\"", "", nonce));
        // Negative amounts, which would drain an account.
        bodies.push(body(
            &stranger,
            &agent(&mut dice),
            "-5",
            "\"thanks\"",
            "ait-devnet",
            nonce,
        ));
        bodies.push(body(
            &agent(&mut dice),
            &stranger,
            "-7",
            "\"thanks\"",
            "ait-devnet",
            nonce,
        ));
        // From and to impossible addresses.
        bodies.push(body("", &to, "0", "\"ping\"", "ait-devnet", nonce));
        bodies.push(body(
            "ait1\\u0000",
            &to,
            "0",
            "\"ping\"",
            "ait-devnet",
            nonce,
        ));
        bodies.push(body(
            &stranger,
            &to.to_uppercase(),
            "0",
            "\"ping\"",
            "ait-devnet",
            nonce,
        ));
        // A huge negative amount, and malformed payloads.
        let ruin = format!("-1{}", "0".repeat(30));
        bodies.push(body(&stranger, &to, &ruin, "\"x\"", "ait-devnet", nonce));
        for payload in garbage() {
            bodies.push(body(&stranger, &to, "0", &payload, "ait-devnet", nonce));
        }
        // The same ping with its signature in capitals: another hash, the same message.
        let mined = world.chain.transactions();
        for posting in world
            .postings()
            .iter()
            .filter(|posting| posting.is_ping)
            .take(5)
        {
            if mined.iter().any(|one| one.hash == posting.hash) {
                let mut text = Json::parse(posting.body.as_bytes(), Limits::default())
                    .unwrap()
                    .to_compact();
                let signature = Json::parse(text.as_bytes(), Limits::default()).unwrap();
                let signature = signature.root().get("signature").unwrap().as_str().unwrap();
                text = text.replace(signature, &signature.to_uppercase());
                bodies.push(text);
            }
        }
        // Mined transactions, posted again.
        let one = &mined[dice.below(mined.len())];
        culprits.insert(one.hash.clone());
        bodies.extend(
            one.stored
                .as_ref()
                .map(|stored| stored.to_json().to_compact()),
        );
        for body in bodies {
            if let Ok(stored) =
                agentry_protocol::StoredTransaction::parse(body.as_bytes(), Limits::default())
            {
                culprits.insert(stored.hash().to_string());
            }
            world.post(&body);
            std::thread::sleep(dice.up_to(Duration::from_millis(10)));
        }
        let head = world.chain.head();
        world.chain.await_blocks(head, 2);
    }
    let recovery = world.recovery();
    println!("among hostile transactions ({source:?}): {recovery}");
    flow.stop();
    world.finish(runtime, &culprits);
}

#[test]
fn among_hostile_transactions_in_the_database() {
    among_hostile_transactions("among_hostile_transactions_in_the_database", Source::Db);
}

#[test]
fn among_hostile_transactions_over_rpc() {
    among_hostile_transactions("among_hostile_transactions_over_rpc", Source::Rpc);
}
