//! What each commit means, one rule after the other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod approvals;
mod chain;
mod due;
mod events;
mod notices;
mod operate;
mod origins;
mod plans;
mod pushes;
mod sends;
mod tasks;

use std::borrow::Borrow;

use agentry_core::commit::{
    Arrival, Changes, Handled, HostedAgent, Observation, Outcome, OwnTransaction, Step,
};
use agentry_core::rows::{Draft, EventRef, Prepared};
use agentry_core::state::{Failure, Refusal, row};
use agentry_core::{AgentId, Authenticity, Commit, InboxId, State, TaskStart};
use agentry_protocol::{
    Address, Amount, BlockHeight, ChainId, Dialect, Json, Limits, Nonce, Number, Seed,
    SignedTransaction, SigningKey, Timestamp, Transaction,
};

/// The hosted wallet of every test.
const AGENT: AgentId = AgentId(1);

/// The first message.
const FIRST: InboxId = InboxId(1);

/// A state with one agent at the address 1, and what its commits have answered.
struct Stage {
    state: State,
}

impl Stage {
    fn new() -> Self {
        Self::starting_at(0)
    }

    fn starting_at(height: u64) -> Self {
        let mut stage = Self {
            state: State::default(),
        };
        stage.apply(Commit::Host {
            agents: vec![HostedAgent {
                address: address(1),
                name: "agent".to_owned(),
                start_height: BlockHeight(height),
            }],
        });
        stage
    }

    fn apply(&mut self, commit: impl Borrow<Commit>) -> Changes {
        self.state.apply(commit.borrow()).unwrap()
    }

    fn refused(&mut self, commit: &Commit) -> Refusal {
        match self.state.apply(commit).unwrap_err() {
            Failure::Refused(refusal) => refusal,
            Failure::Archive(error) => panic!("{error}"),
        }
    }

    fn see(&mut self, steps: Vec<Step>) -> Changes {
        self.apply(observe(steps))
    }

    /// The message number `number`, from the wallet 2, arrives in a block.
    fn hear(&mut self, number: u8, height: u64) -> Changes {
        self.see(vec![Step::Arrival(arrival(number, height))])
    }

    fn message(&self, id: i64) -> row::Message {
        row::Message::clone(&self.state.inbox().get(&InboxId(id)).unwrap())
    }

    fn outgoing(&self, id: i64) -> row::Outgoing {
        let id = agentry_core::OutboxId(id);
        row::Outgoing::clone(&self.state.outbox().get(&id).unwrap())
    }
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

fn sign(from: u8, to: &Address, nonce: u64, payload: &Json) -> SignedTransaction {
    Transaction {
        dialect: Dialect::April2026,
        from: address(from),
        to: to.clone(),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(nonce),
        payload: payload.clone(),
        chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
    }
    .sign(&key(from))
}

fn arrival(number: u8, height: u64) -> Arrival {
    let text = Json::string(format!("message {number}"));
    let signed = sign(2, &address(1), u64::from(number), &text);
    Arrival::new(
        AGENT,
        signed.hash(),
        &signed.stored(),
        BlockHeight(height),
        Authenticity::Verified,
        Timestamp::new(1_000),
    )
}

fn observation(steps: Vec<Step>) -> Observation {
    Observation {
        steps,
        cursor: serde_json::json!({}),
        final_through: None,
        catching_up: None,
        at: Timestamp::new(1_000),
    }
}

fn observe(steps: Vec<Step>) -> Commit {
    Commit::Observe(observation(steps))
}

/// The chain is read on, and blocks up to this one are final.
fn final_through(height: u64) -> Commit {
    Commit::Observe(Observation {
        final_through: Some(BlockHeight(height)),
        ..observation(Vec::new())
    })
}

/// A task with this key.
fn job(key: &str) -> TaskStart {
    TaskStart {
        key: key.to_owned(),
        kind: "shout".to_owned(),
        input: serde_json::json!("hello"),
        deadline: None,
    }
}

fn draft(origin: &str, text: &str) -> Draft {
    Draft::new(
        origin.to_owned(),
        address(2),
        Amount(10),
        Json::string(text),
    )
}

fn prepared(draft: &Draft, nonce: u64) -> Prepared {
    let signed = sign(1, &draft.recipient, nonce, &draft.payload);
    Prepared {
        nonce: Nonce::new(nonce),
        hash: signed.hash(),
        digest: signed.digest(),
        body: signed.body(),
        since: BlockHeight(3),
        day: 7,
    }
}

fn own(prepared: &Prepared) -> Box<OwnTransaction> {
    let signed = SignedTransaction::from_body(prepared.body.as_bytes(), Limits::default());
    Box::new(OwnTransaction::from(&signed.unwrap()))
}

/// The outcome of a behaviour that handles a message and lets no other see it.
fn outcome(message: InboxId, behaviour: &str) -> Outcome {
    Outcome {
        behaviour: Some(behaviour.to_owned()),
        handled: Some(Handled::default()),
        ..Outcome::nothing(EventRef::Inbox(message), 0, Timestamp::new(2_000))
    }
}
