//! The store's guarantees, on real files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod claims;
mod damage;
mod law;
mod log;
mod operate;
mod queues;
mod refusal;
mod retention;
mod sightings;
mod spending;
mod tasks;
mod usage;
mod versions;
mod watch;

use agentry_core::commit::{
    Arrival, Handled, HostedAgent, Observation, Outcome, OwnTransaction, Step,
};
use agentry_core::rows::{Draft, EventRef, Prepared};
use agentry_core::{AgentId, Authenticity, Commit, InboxId};
use agentry_protocol::{
    Address, Amount, BlockHeight, Chain, ChainId, Dialect, Json, Limits, Nonce, Number, Seed,
    SignedTransaction, SigningKey, Timestamp, Transaction,
};
use agentry_store::{Store, open_for_reading};
use rusqlite::{Connection, OpenFlags};

/// The wallet with this byte as its seed.
pub(crate) fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

/// The address of the wallet with this byte as its seed.
pub(crate) fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

/// A store in a folder of its own, with agents at the addresses 1, 2, …
pub(crate) async fn store(agents: u8) -> (tempfile::TempDir, Store, Vec<AgentId>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("agentry.db")).unwrap();
    let agents = (1..=agents)
        .map(|byte| HostedAgent {
            address: address(byte),
            name: format!("agent-{byte}"),
            start_height: BlockHeight(0),
        })
        .collect();
    let changes = store.commit(Commit::Host { agents }).await.unwrap();
    (dir, store, changes.agents)
}

/// A connection of the test's own to the store, for what no function of the crate reads.
pub(crate) fn sql(store: &Store) -> Connection {
    // Waits until the tables have what was committed.
    drop(open_for_reading(store.path()).unwrap());
    Connection::open_with_flags(store.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// A message `text` from the wallet `sender` to the agent.
pub(crate) fn arrival(agent: AgentId, to: u8, sender: u8, text: &str, height: u64) -> Arrival {
    let signed = Transaction {
        dialect: Dialect::April2026,
        from: address(sender),
        to: address(to),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(1_u64),
        payload: Json::string(text),
        chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
    }
    .sign(&key(sender));
    Arrival::new(
        agent,
        signed.hash(),
        &signed.stored(),
        BlockHeight(height),
        Authenticity::Verified,
        Timestamp::new(1_000),
    )
}

/// A commit of what was seen on the chain.
pub(crate) fn observe(steps: Vec<Step>) -> Commit {
    Commit::Observe(Observation {
        steps,
        cursor: serde_json::json!({ "height": 1 }),
        final_through: None,
        catching_up: None,
        at: Timestamp::new(1_000),
    })
}

/// The outcome of a behaviour that answers `reply`.
pub(crate) fn outcome(message: InboxId, attempts: u32, to: u8, reply: &str) -> Outcome {
    Outcome {
        behaviour: Some("pong".to_owned()),
        sends: vec![(draft(&format!("inbox/{message}/pong/0"), to, reply), None)],
        handled: Some(Handled::default()),
        ..Outcome::nothing(EventRef::Inbox(message), attempts, Timestamp::new(2_000))
    }
}

/// A draft with this origin.
pub(crate) fn draft(origin: &str, to: u8, text: &str) -> Draft {
    Draft::new(
        origin.to_owned(),
        address(to),
        Amount(10),
        Json::string(text),
    )
}

/// The transaction of signed bytes, as the chain shows it.
pub(crate) fn own(prepared: &Prepared) -> Box<OwnTransaction> {
    let signed = SignedTransaction::from_body(prepared.body.as_bytes(), Limits::default());
    Box::new(OwnTransaction::from(&signed.unwrap()))
}

/// A draft's signed bytes.
pub(crate) fn prepared(from: u8, draft: &Draft, nonce: u64) -> Prepared {
    let (nonce, id) = (Nonce::new(nonce), "ait-devnet".parse().unwrap());
    let chain = Chain {
        id,
        dialect: Dialect::April2026,
    };
    let unsigned = draft.clone().transaction(address(from), chain, nonce);
    let signed = unsigned.sign(&key(from));
    Prepared {
        nonce,
        hash: signed.hash(),
        digest: signed.digest(),
        body: signed.body(),
        since: BlockHeight(0),
        day: 0,
    }
}
