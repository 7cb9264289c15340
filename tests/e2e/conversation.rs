//! The guarantee of every behaviour under kills and faults: each message is acted on once, each
//! answer is mined once. Includes acknowledgments, status, tasks run by real programs, and resends.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agentry::runtime::kill::Point;
use agentry_devnet::NoncePolicy;
use agentry_protocol::command::ExecuteAiJob;
use agentry_protocol::timestamp::DAY_MS;
use agentry_protocol::{
    AckRequest, Address, Command, Dialect, Header, Json, KnownCommand, Limits, MessageId, Number,
    Payload, Timestamp, Transaction, compose,
};

use agentry_testbed::chain;
use agentry_testbed::conversation::{BEHAVIOURS, Conversation, Question};
use agentry_testbed::dice::Dice;
use agentry_testbed::wallet::Wallet;
use agentry_testbed::world::{Setup, Source, World};
use agentry_testbed::{PATIENCE, until, within};

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn world(test: &str, dice: &mut Dice, source: Source, nonces: NoncePolicy) -> Arc<World> {
    let setup = Setup {
        agents: 4,
        source,
        nonces,
        behaviours: BEHAVIOURS,
        ..Setup::default()
    };
    Arc::new(World::new(test, dice, setup))
}

/// Kills at random moments while messages arrive.
fn killed(test: &str, source: Source, nonces: NoncePolicy, kills: usize) {
    let mut dice = Dice::new(test);
    let world = world(test, &mut dice, source, nonces);
    let conversation = Conversation::with(&world);
    for _ in 0..kills {
        let mut runtime = world.spawn(&[], &[]);
        assert!(runtime.ready(), "the runtime exited during its start");
        for _ in 0..4 {
            conversation.ask(&mut dice);
            std::thread::sleep(dice.up_to(Duration::from_millis(120)));
        }
        conversation.repost();
        runtime.kill();
    }
    conversation.finish(world.run());
}

#[test]
fn every_behaviour_answers_once_through_kills_reading_the_database() {
    killed(
        "every_behaviour_answers_once_through_kills_reading_the_database",
        Source::Db,
        NoncePolicy::Ignored,
        8,
    );
}

#[test]
fn every_behaviour_answers_once_through_kills_over_rpc_with_sequential_nonces() {
    killed(
        "every_behaviour_answers_once_through_kills_over_rpc_with_sequential_nonces",
        Source::Rpc,
        NoncePolicy::Sequential,
        5,
    );
}

/// Kills at each point in the life of a task, at its first and second pass.
#[test]
fn a_job_is_answered_once_through_kills_at_every_point() {
    let test = "a_job_is_answered_once_through_kills_at_every_point";
    let mut dice = Dice::new(test);
    let world = world(test, &mut dice, Source::Db, NoncePolicy::Ignored);
    let conversation = Conversation::with(&world);
    for point in Point::TASKS {
        for passing in 1..=2 {
            let wish = format!("{}:{passing}", point.as_str());
            let mut runtime = world.spawn(&[], &[("AGENTRY_KILL_AT", &wish)]);
            let death = within(PATIENCE, || {
                conversation.ask_for(Question::Job, &mut dice);
                std::thread::sleep(world.chain.block_time());
                runtime.ended()
            });
            let death = death.unwrap_or_else(|| panic!("{wish} was not reached"));
            assert_eq!(death.signal(), Some(9), "{wish}: {death}");
            let runtime = world.run();
            conversation.settle();
            runtime.kill();
        }
    }
    conversation.finish(world.run());
}

#[test]
fn every_behaviour_answers_once_through_faults() {
    let test = "every_behaviour_answers_once_through_faults";
    let mut dice = Dice::new(test);
    let world = world(test, &mut dice, Source::Db, NoncePolicy::Ignored);
    let conversation = Conversation::with(&world);
    let runtime = world.run();
    for (name, how_often) in [
        ("silent-drop", "0.2"),
        ("lose-answer", "0.2"),
        ("error-500", "0.3"),
        ("error-429", "0.3"),
    ] {
        let fault = format!("{name}={how_often}");
        world.chain.set(&[&fault]);
        for _ in 0..8 {
            conversation.ask(&mut dice);
            std::thread::sleep(dice.up_to(Duration::from_millis(60)));
        }
        conversation.settle();
        world.chain.clear(&[name]);
    }
    conversation.finish(runtime);
}

#[test]
fn every_behaviour_answers_once_through_reorganisations() {
    let test = "every_behaviour_answers_once_through_reorganisations";
    let mut dice = Dice::new(test);
    let world = world(test, &mut dice, Source::Db, NoncePolicy::Ignored);
    let conversation = Conversation::with(&world);
    let runtime = world.run();
    for round in 0..6 {
        for _ in 0..5 {
            conversation.ask(&mut dice);
            std::thread::sleep(dice.up_to(Duration::from_millis(80)));
        }
        // Shallower than `final_depth`; every other time the withdrawn transactions are lost.
        let depth = 1 + dice.below(4) as u64;
        world.chain.await_blocks(0, depth + 1);
        world
            .chain
            .with(|node| {
                if round % 2 == 0 {
                    node.reorganise(depth)
                } else {
                    node.reorganise_and_drop(depth)
                }
            })
            .unwrap();
    }
    conversation.finish(runtime);
}

/// The files of a store.
const STORE: [&str; 3] = ["agentry.db", "agentry.db-wal", "agentry.db-shm"];

/// Copies the store of a runtime that has exited or was killed.
fn copy_store(world: &World, name: &str) {
    let copy = world.path().join(name);
    std::fs::create_dir_all(&copy).unwrap();
    // The third file, shared memory, is created again from these two.
    for file in &STORE[..2] {
        let from = world.path().join(file);
        if from.exists() {
            std::fs::copy(&from, copy.join(file)).unwrap();
        }
    }
}

/// Restores a copy of the store; if there is no such copy, the store is lost.
fn restore_store(world: &World, name: &str) {
    for file in STORE {
        let store = world.path().join(file);
        if store.exists() {
            std::fs::remove_file(&store).unwrap();
        }
        let copy = world.path().join(name).join(file);
        if copy.exists() {
            std::fs::copy(&copy, &store).unwrap();
        }
    }
}

/// The store is restored from older copies, and lost, between messages.
fn restored(test: &str, source: Source, nonces: NoncePolicy) {
    let mut dice = Dice::new(test);
    let world = world(test, &mut dice, source, nonces);
    let conversation = Conversation::with(&world);
    for round in 0..5 {
        let runtime = world.run();
        for _ in 0..4 {
            conversation.ask(&mut dice);
            std::thread::sleep(dice.up_to(Duration::from_millis(120)));
        }
        conversation.settle();
        if dice.below(2) == 0 {
            runtime.kill();
        } else {
            runtime.stop();
        }
        copy_store(&world, &format!("copy-{round}"));
        // One of the copies, or none: the last round has no copy yet.
        restore_store(&world, &format!("copy-{}", dice.below(round + 2)));
    }
    restore_store(&world, "copy-0");
    conversation.finish(world.run());
}

#[test]
fn every_behaviour_answers_once_when_the_store_is_restored_or_lost() {
    restored(
        "every_behaviour_answers_once_when_the_store_is_restored_or_lost",
        Source::Db,
        NoncePolicy::Ignored,
    );
}

#[test]
fn every_behaviour_answers_once_when_the_store_is_restored_over_rpc_with_sequential_nonces() {
    restored(
        "every_behaviour_answers_once_when_the_store_is_restored_over_rpc_with_sequential_nonces",
        Source::Rpc,
        NoncePolicy::Sequential,
    );
}

/// A job that has ended on the chain is not run again: neither one that is not in a copy of the
/// store, nor one that was running when the copy was made.
#[test]
fn a_job_that_has_ended_is_not_run_again_from_a_restored_store() {
    let test = "a_job_that_has_ended_is_not_run_again_from_a_restored_store";
    let mut dice = Dice::new(test);
    let desk = tempfile::tempdir().unwrap();
    let (runs, gate) = (desk.path().join("runs"), desk.path().join("gate"));
    let behaviours = format!(
        r#"{{ kind = "ack" }}, {{ kind = "tasks", allow = ["*"], types = {{ shout = {{
           executor = "command", program = "sh", attempts = 100, args = ["-c",
           "echo run >> {}; while [ ! -e {} ]; do sleep 0.02; done; tr a-z A-Z"] }} }} }}"#,
        runs.display(),
        gate.display()
    );
    let setup = Setup {
        agents: 1,
        // A test leaks a line.
        behaviours: Box::leak(behaviours.into_boxed_str()),
        ..Setup::default()
    };
    let world = Arc::new(World::new(test, &mut dice, setup));
    let conversation = Conversation::with(&world);
    let done = || {
        let text = std::fs::read_to_string(&runs).unwrap_or_default();
        text.lines().count()
    };
    std::fs::write(&gate, "").unwrap();
    world.run().stop();
    copy_store(&world, "empty");
    let runtime = world.run();
    conversation.ask_for(Question::Job, &mut dice);
    conversation.settle();
    assert_eq!(done(), 1);
    runtime.stop();
    for copy in ["empty", "none"] {
        restore_store(&world, copy);
        let runtime = world.run();
        conversation.ask_for(Question::Job, &mut dice);
        conversation.settle();
        runtime.stop();
    }
    assert_eq!(done(), 3, "each of three jobs ran once");

    std::fs::remove_file(&gate).unwrap();
    let runtime = world.run();
    conversation.ask_for(Question::Job, &mut dice);
    until("the job is running", || done() == 4);
    runtime.kill();
    copy_store(&world, "busy");
    std::fs::write(&gate, "").unwrap();
    let runtime = world.run();
    conversation.settle();
    assert_eq!(done(), 5, "the end of the process interrupted it once");
    runtime.stop();
    restore_store(&world, "busy");
    let runtime = world.run();
    conversation.ask_for(Question::Job, &mut dice);
    conversation.settle();
    assert_eq!(done(), 6, "only the new job ran");
    conversation.finish(runtime);
}

/// Messages that the runtime itself sends and resends until they are acknowledged, on a node that
/// drops one transaction in five, through kills: the recipient acts on each once.
#[test]
fn resent_messages_are_acted_on_once() {
    let test = "resent_messages_are_acted_on_once";
    let mut dice = Dice::new(test);
    let world = world(test, &mut dice, Source::Db, NoncePolicy::Ignored);
    world
        .chain
        .set(&["replay-destroys-block", "silent-drop=0.2"]);
    let mut rows = Vec::new();
    for round in 0..3 {
        let runtime = world.run();
        for _ in 0..4 {
            let from = dice.below(world.agents.len());
            let to = (from + 1) % world.agents.len();
            let sent = world.ask(&[
                "agent",
                "message",
                "--wallet",
                &format!("fleet/agent-{from}"),
                "--to",
                world.agents[to].address.as_str(),
                "ping",
                "--ack",
                "done",
                // Before the next block, which has the acknowledgment at the earliest: all are
                // resent, although nothing was lost.
                "--within",
                "10ms",
                "--resends",
                "50",
            ]);
            rows.push(sent["outbox"].as_i64().unwrap());
        }
        if round < 2 {
            std::thread::sleep(dice.up_to(Duration::from_millis(300)));
            runtime.kill();
        } else {
            settle_receipts(&world, &rows);
            world.chain.await_blocks(world.chain.head(), 3);
            runtime.stop();
        }
    }
    let copies = |filter: &str| {
        let db = chain::open(&world.path().join("agentry.db"));
        let sql = format!("SELECT count(*) FROM outbox WHERE {filter}");
        db.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert!(copies("resend_of IS NOT NULL") > 0, "nothing was resent");
    let asked = i64::try_from(rows.len()).unwrap();
    for answer in ["\"text\":\"pong\"", "RECEIVED", "DONE"] {
        let answer = answer.replace('\'', "''");
        let said = copies(&format!("instr(coalesce(payload, body), '{answer}') > 0"));
        assert_eq!(said, asked, "{answer}");
    }
}

/// Waits until all of these messages are acknowledged.
fn settle_receipts(world: &World, rows: &[i64]) {
    let states = || -> Vec<String> {
        let db = chain::open(&world.path().join("agentry.db"));
        rows.iter()
            .map(|row| {
                db.query_row(
                    "SELECT state FROM receipt WHERE outbox = ?1",
                    [row],
                    |row| row.get(0),
                )
                .unwrap()
            })
            .collect()
    };
    let done = within(PATIENCE, || {
        states().iter().all(|state| state == "done").then_some(())
    });
    assert!(done.is_some(), "not acknowledged in time: {:?}", states());
}

/// A transaction signed by a wallet, with any sender.
fn signed_by(wallet: &Wallet, from: &Address, to: &Address, payload: Json) -> String {
    Transaction {
        dialect: Dialect::April2026,
        from: from.clone(),
        to: to.clone(),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(0_u64),
        payload,
        chain_id: "ait-devnet".parse().unwrap(),
    }
    .sign(&wallet.key)
    .body()
}

/// Messages on which no agent may act, each with its sending wallet, to which no agent may answer.
fn hostile(world: &World, victim: &Wallet, answered: &str) -> Vec<(Address, String)> {
    let agent = &world.agents[0].address;
    let mut all = Vec::new();
    let mut add = |wallet: &Wallet, from: &Address, payload: &Payload, header: Header| {
        let payload = compose(payload, Some(&header)).unwrap();
        let body = signed_by(wallet, from, agent, payload);
        all.push((wallet.address.clone(), body));
    };
    let ping = Payload::Text("ping".to_owned());
    let job = KnownCommand::ExecuteAiJob(ExecuteAiJob {
        kind: "shout".parse().unwrap(),
        prompt: None,
        model: None,
        params: None,
        deadline: None,
    })
    .to_payload();
    let asking = |wallet: &Wallet| Header {
        id: Some(MessageId::generate(now()).unwrap()),
        ack: Some(AckRequest::Done),
        key: Some(wallet.public_key),
        ..Header::default()
    };
    for payload in [&ping, &job] {
        // In the victim's name, with the sender's own key, and with the victim's.
        let wallet = world.fresh();
        add(wallet, &victim.address, payload, asking(wallet));
        add(wallet, &victim.address, payload, asking(victim));
        // In the sender's own name, with the victim's key.
        add(wallet, &wallet.address, payload, asking(victim));
        // With an id from last year, and one from next year.
        for time in [now().minus_ms(365 * DAY_MS), now().plus_ms(365 * DAY_MS)] {
            let wallet = world.fresh();
            let header = Header {
                id: Some(MessageId::new(time, [7; 10])),
                ..asking(wallet)
            };
            add(wallet, &wallet.address, payload, header);
        }
        // Expired, without a request for an acknowledgment.
        let wallet = world.fresh();
        let header = Header {
            exp: Some(now().minus_ms(60_000)),
            ack: None,
            ..asking(wallet)
        };
        add(wallet, &wallet.address, payload, header);
    }
    // Acknowledgments and results that were not requested.
    for cmd in ["ACK", "JOB_COMPLETE", "STATUS"] {
        let wallet = world.fresh();
        let body = Json::object([
            ("cmd", Json::string(cmd)),
            ("status", Json::string("DONE")),
            ("result_id", Json::string(answered)),
            ("result", Json::string("lies")),
        ]);
        let payload = Payload::Command(Command {
            cmd: cmd.to_owned(),
            body,
        });
        let header = Header {
            re: Some(answered.parse().unwrap()),
            ack: None,
            ..asking(wallet)
        };
        add(wallet, &wallet.address, &payload, header);
    }
    // 900 kilobytes, and 10,000 levels.
    let wallet = world.fresh();
    let large = Payload::Text("ping".repeat(220_000));
    let header = Header {
        ack: None,
        ..asking(wallet)
    };
    add(wallet, &wallet.address, &large, header);
    for deep in [
        format!(
            "{{\"cmd\":\"EXECUTE_AI_JOB\",\"params\":{}{}}}",
            "[".repeat(10_000),
            "]".repeat(10_000)
        ),
        format!(
            "{{\"text\":\"ping\",\"msg\":{}{}}}",
            "{\"a\":".repeat(10_000),
            "}".repeat(10_000)
        ),
    ] {
        let wallet = world.fresh();
        let body = signed_by(wallet, &wallet.address, agent, Json::string(deep));
        all.push((wallet.address.clone(), body));
    }
    all
}

#[test]
fn among_hostile_senders_only_the_honest_are_answered() {
    let test = "among_hostile_senders_only_the_honest_are_answered";
    let mut dice = Dice::new(test);
    let world = world(test, &mut dice, Source::Db, NoncePolicy::Ignored);
    // As the real node, which checks no signature.
    world
        .chain
        .set(&["replay-destroys-block", "no-signature-check"]);
    let conversation = Conversation::with(&world);
    let runtime = world.run();
    conversation.ask(&mut dice);
    conversation.settle();
    // A transaction of an agent for the hostile messages to refer to.
    let answered = world
        .chain
        .transactions()
        .into_iter()
        .find(|one| {
            world
                .agents
                .iter()
                .any(|agent| agent.address.as_str() == one.sender)
        })
        .unwrap()
        .hash;
    let victim = world.fresh();
    let hostile = hostile(&world, victim, &answered);
    for (_, body) in &hostile {
        world.post(body);
        conversation.ask(&mut dice);
    }
    conversation.settle();
    let hashes: Vec<String> = hostile
        .iter()
        .map(|(_, body)| {
            let stored =
                agentry_protocol::StoredTransaction::parse(body.as_bytes(), Limits::default());
            stored.unwrap().hash().to_string()
        })
        .collect();
    let mined = within(PATIENCE, || {
        let chain = world.chain.transactions();
        let all = hashes
            .iter()
            .all(|hash| chain.iter().any(|one| one.hash == *hash));
        if !all {
            for ((_, body), hash) in hostile.iter().zip(&hashes) {
                if world.chain.absent([hash.clone()]).contains(hash) {
                    world.post(body);
                }
            }
        }
        all.then_some(())
    });
    if mined.is_none() {
        let chain = world.chain.transactions();
        let missing = hostile
            .iter()
            .zip(&hashes)
            .filter(|(_, hash)| chain.iter().all(|one| one.hash != **hash));
        let missing: Vec<String> = missing
            .map(|((_, body), hash)| format!("{hash} {body:.200}"))
            .collect();
        panic!("some messages are not mined: {missing:#?}");
    }
    world.chain.await_blocks(world.chain.head(), 5);
    let told: Vec<String> = world
        .chain
        .transactions()
        .into_iter()
        .filter(|one| {
            one.recipient == victim.address.as_str()
                || hostile
                    .iter()
                    .any(|(address, _)| address.as_str() == one.recipient)
        })
        .map(|one| format!("{one:?}"))
        .collect();
    assert!(told.is_empty(), "{told:#?}");
    conversation.finish(runtime);
}
