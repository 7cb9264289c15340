//! The same guarantees over the dialect of August 2026: kills, faults of both dialects, and the hazards
//! that only its nodes have.

use std::collections::HashSet;
use std::sync::Arc;

use agentry_protocol::{Dialect, Json, Number, StoredTransaction, Transaction};
use agentry_testbed::dice::Dice;
use agentry_testbed::http;
use agentry_testbed::until;
use agentry_testbed::world::{Posting, Setup, Source, World};
use serde_json::json;

use crate::faults::{PACE, under};
use crate::kill::{at_every_point, at_random};

fn setup(source: Source) -> Setup {
    Setup {
        dialect: Dialect::August2026,
        source,
        faults: &[],
        final_depth: 1,
        ..Setup::default()
    }
}

#[test]
fn killed_at_every_point_reading_the_database() {
    at_every_point(
        "killed_at_every_point_reading_the_database",
        setup(Source::Db),
    );
}

#[test]
fn killed_at_every_point_over_rpc() {
    at_every_point("killed_at_every_point_over_rpc", setup(Source::Rpc));
}

#[test]
fn killed_at_random_moments() {
    let test = "killed_at_random_moments";
    let mut dice = Dice::new(test);
    for run in 0..4 {
        at_random(
            &format!("{test}, run {run}"),
            dice.fork(),
            Dialect::August2026,
        );
    }
}

#[test]
fn dropping_silently() {
    under(
        "august_dropping_silently",
        &["silent-drop=0.3"],
        setup(Source::Db),
    );
}

#[test]
fn errors_over_rpc() {
    under(
        "august_errors_over_rpc",
        &["error-500=0.3"],
        setup(Source::Rpc),
    );
}

#[test]
fn losing_answers() {
    under(
        "august_losing_answers",
        &["lose-answer=0.5"],
        setup(Source::Db),
    );
}

#[test]
fn hanging() {
    under("august_hanging", &["hang=0.2"], setup(Source::Rpc));
}

/// Everybody can take a pending transaction, spell its signature in another way, and post it again: all
/// copies are mined. Each message is acted on once all the same.
#[test]
fn respelled_copies_of_everything() {
    under(
        "respelled_copies_of_everything",
        &["respell=3"],
        setup(Source::Db),
    );
}

/// The same where the source reads over RPC, and accounts are old.
#[test]
fn respelled_copies_and_old_accounts() {
    under(
        "respelled_copies_and_old_accounts",
        &["respell=2", "stale-accounts"],
        setup(Source::Rpc),
    );
}

/// An account is answered as it was when it was first asked for.
#[test]
fn old_accounts() {
    under("old_accounts", &["stale-accounts"], setup(Source::Db));
}

#[test]
fn rows_without_a_hash() {
    under("rows_without_a_hash", &["empty-hash"], setup(Source::Rpc));
}

#[test]
fn rows_without_a_hash_in_the_database() {
    under(
        "rows_without_a_hash_in_the_database",
        &["empty-hash"],
        setup(Source::Db),
    );
}

/// A funded stranger makes the node lose whole batches: what was drained is posted again.
#[test]
fn batches_are_lost() {
    let test = "batches_are_lost";
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(test, &mut dice, setup(Source::Db)));
    world.chain.set(&["batch-loss"]);
    let runtime = world.run();
    let flow = world.flow(dice.fork(), PACE);
    let mut broken = HashSet::new();
    for _ in 0..10 {
        let wallet = world.fresh();
        let payload = Json::object([("type", Json::integer(7))]);
        let transaction = Transaction {
            dialect: Dialect::August2026,
            from: wallet.address.clone(),
            to: world.agents[0].address.clone(),
            // With an amount it is a TRANSFER, whose payload's type the node looks at.
            amount: Number::from(1_u64),
            fee: Number::from(0_u64),
            nonce: Number::from(0_u64),
            payload,
            chain_id: "ait-devnet".parse().unwrap(),
        };
        let signed = transaction.sign(&wallet.key);
        broken.insert(signed.hash().to_string());
        let posted = http::post(world.chain.port(), "/rpc/transaction", &signed.body());
        assert_eq!(posted.unwrap().0, 200);
        world.chain.await_blocks(world.chain.head(), 3);
    }
    assert!(!world.chain.destroyed().is_empty(), "no batch was lost");
    world.chain.clear(&["batch-loss"]);
    flow.stop();
    world.finish(runtime, &broken);
}

/// A block with a row that nobody signed, as `importBlock` takes it: the message in it is unverified, or
/// forged if it claims a signature.
#[test]
fn forged_rows_are_never_verified() {
    let test = "forged_rows_are_never_verified";
    let mut dice = Dice::new(test);
    let world = World::new(test, &mut dice, setup(Source::Db));
    let runtime = world.run();
    let (victim, agent) = (world.fresh().address.clone(), &world.agents[0].address);
    // What the victim would have to have signed.
    let plain = json!({ "amount": 0, "message": "a plain text" });
    let header = json!({
        "v": 1,
        "id": "0198c5f0-0000-7000-8000-000000000000",
        "sig": format!("{}00", "11".repeat(64)),
    });
    let claimed = json!({ "amount": 0, "message": "hello", "msg": header });
    for (number, payload) in [plain, claimed].into_iter().enumerate() {
        let row = json!({
            "chain_id": "ait-devnet",
            "tx_hash": format!("0x{number:064x}"),
            "sender": victim.as_str(),
            "recipient": agent.as_str(),
            "payload": payload,
            "nonce": 0,
            "value": 0,
            "fee": 0,
            "type": "MESSAGE",
        });
        until("the forged block is taken", || {
            // The node's own blocks take places meanwhile.
            let height = world.chain.head() + 1;
            let block = json!({
                "chain_id": "ait-devnet",
                "height": height,
                "hash": format!("0x{:064x}", height + 1_000_000),
                "timestamp": "2026-12-01T00:00:00.000000",
                "tx_count": 1,
                "signature": "",
                "transactions": [row],
            });
            let body = block.to_string();
            let posted = http::post(world.chain.port(), "/rpc/importBlock", &body);
            posted.is_ok_and(|(status, answer)| status == 200 && !answer.contains("already exists"))
        });
    }
    let listed = || {
        let inbox = world.ask(&["queue", "list", "inbox", "--settled"]);
        let forged = world.ask(&["queue", "list", "forged"]);
        (inbox, forged)
    };
    until("both rows were read", || {
        let (inbox, forged) = listed();
        inbox.to_string().contains("unverified") && forged.to_string().contains(victim.as_str())
    });
    let (inbox, _) = listed();
    assert!(!inbox.to_string().contains("\"verified\""), "{inbox}");
    drop(runtime);
}

/// A block that the node can show by no call stays a gap: what comes after it is read, and it is read once
/// the node can show it.
#[test]
fn a_block_that_the_node_cannot_show_is_a_gap() {
    let test = "a_block_that_the_node_cannot_show_is_a_gap";
    let mut dice = Dice::new(test);
    let world = World::new(test, &mut dice, setup(Source::Rpc));
    let runtime = world.run();
    world.chain.pause();
    let hidden = world.chain.head() + 1;
    world.chain.set(&[&format!("unreadable-block={hidden}")]);
    let mined = || {
        let posting = world.write(&world.agents[0].address, "ping", true);
        let posted = http::post(world.chain.port(), "/rpc/transaction", &posting.body);
        assert_eq!(posted.unwrap().0, 200);
        let block = world.chain.with(|node| node.mine().unwrap());
        (posting.hash, block.height.0)
    };
    let (first, height) = mined();
    assert_eq!(height, hidden);
    let (second, _) = mined();
    let is_read = |hash: &str| {
        let inbox = world.ask(&["queue", "list", "inbox", "--settled"]);
        inbox.to_string().contains(hash)
    };
    until("what comes after it is read", || is_read(&second));
    assert!(!is_read(&first));
    world.chain.clear(&["unreadable-block"]);
    until("it is read as well", || is_read(&first));
    drop(runtime);
}

/// A plain text is verified if its transaction was seen pending, and unverified otherwise.
#[test]
fn plain_texts_are_verified_while_they_are_seen_pending() {
    let test = "plain_texts_are_verified_while_they_are_seen_pending";
    let mut dice = Dice::new(test);
    let world = World::new(test, &mut dice, setup(Source::Db));
    let authenticity = |posting: &Posting| {
        let inbox = world.ask(&["queue", "list", "inbox", "--settled"]);
        let rows = inbox["messages"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["transaction"] == posting.hash.as_str())?;
        Some(row["authenticity"].as_str().unwrap().to_owned())
    };
    let seen = |posting: &Posting| {
        until("the message was read", || authenticity(posting).is_some());
        authenticity(posting).unwrap()
    };
    let send = || {
        let posting = world.write(&world.agents[0].address, "ping", true);
        let posted = http::post(world.chain.port(), "/rpc/transaction", &posting.body);
        assert_eq!(posted.unwrap().0, 200);
        posting
    };
    // Nobody looks while it is pending.
    let unseen = send();
    until("it is mined", || {
        world
            .chain
            .transactions()
            .iter()
            .any(|one| one.hash == unseen.hash)
    });
    let runtime = world.run();
    assert_eq!(seen(&unseen), "unverified");
    // It stays pending until the runtime has seen it.
    world.chain.pause();
    let pending = send();
    until("the runtime sees it pending", || {
        runtime
            .log()
            .contains("verified a message while its signature was shown")
    });
    world.chain.resume();
    assert_eq!(seen(&pending), "verified");
    drop(runtime);
}

/// A node that pushes its blocks shows the signatures in them, also of what was not pending long enough to
/// be seen; one that does not push is polled.
#[test]
fn plain_texts_are_verified_by_the_blocks_that_are_pushed() {
    /// More than the looks at the mempool, one a second, could see by chance.
    const MESSAGES: usize = 12;
    let test = "plain_texts_are_verified_by_the_blocks_that_are_pushed";
    let mut dice = Dice::new(test);
    let world = World::new(test, &mut dice, setup(Source::Rpc));
    let runtime = world.run();
    until("the node pushes", || {
        runtime.log().contains("the node pushes its blocks")
    });
    for number in 0..MESSAGES {
        let agent = &world.agents[number % world.agents.len()];
        let posting = world.write(&agent.address, "ping", true);
        let posted = http::post(world.chain.port(), "/rpc/transaction", &posting.body);
        assert_eq!(posted.unwrap().0, 200);
        world.chain.with(|node| node.mine().unwrap());
    }
    let read = || {
        let inbox = world.ask(&["queue", "list", "inbox", "--settled"]);
        inbox["messages"].as_array().unwrap().clone()
    };
    until("the messages were read", || read().len() == MESSAGES);
    for row in read() {
        assert_eq!(row["authenticity"], "verified", "{row}");
    }
    drop(runtime);

    world.chain.set(&["no-push"]);
    let runtime = world.run();
    until("the node says that it does not push", || {
        runtime
            .log()
            .contains("the node does not push its blocks: they are polled")
    });
    let posting = world.write(&world.agents[0].address, "ping", true);
    let posted = http::post(world.chain.port(), "/rpc/transaction", &posting.body);
    assert_eq!(posted.unwrap().0, 200);
    until("the message was read", || read().len() == MESSAGES + 1);
    drop(runtime);
}

/// What a node shows of a pending transaction has its signature, and what it shows of a mined one has not.
#[test]
fn the_chain_keeps_no_signatures() {
    let test = "the_chain_keeps_no_signatures";
    let mut dice = Dice::new(test);
    let world = World::new(test, &mut dice, setup(Source::Db));
    let posting = world.write(&world.agents[0].address, "ping", true);
    let posted = http::post(world.chain.port(), "/rpc/transaction", &posting.body);
    assert_eq!(posted.unwrap().0, 200);
    until("it is mined", || {
        let mined = world.chain.transactions();
        let found = mined.iter().find(|one| one.hash == posting.hash);
        let stored: Option<&StoredTransaction> = found.and_then(|one| one.stored.as_ref());
        stored.is_some_and(|stored| {
            assert_eq!(stored.signature, None);
            assert!(stored.from == posting.from && stored.to == posting.to);
            true
        })
    });
}
