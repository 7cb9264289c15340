//! The wallets of the simulation, and the messages to the hosted ones.
//!
//! A message is the text `m KIND NUMBER`. What an agent does for it is `TAG NUMBER`, so everything
//! on the chain tells which message it follows from.

use std::fmt;
use std::rc::Rc;
use std::sync::LazyLock;

use agentry_core::Authenticity;
use agentry_protocol::command::{Ack, AckStatus};
use agentry_protocol::{
    AckRequest, Address, ChainId, ContentHash, Dialect, Header, Json, KnownCommand, MessageId,
    Nonce, Number, Payload, Seed, SignedTransaction, SigningKey, StoredTransaction, Timestamp,
    Transaction as Unsigned, TransactionHash, compose,
};

use super::chain::Transaction;

/// What a transaction costs.
pub(crate) const FEE: u64 = 10;

/// How many wallets are hosted. Those after them are peers; the last peer's key is not known.
pub(crate) const HOSTED: usize = 2;
pub(crate) const PEERS: usize = 3;

static KEYS: LazyLock<Vec<(SigningKey, Address)>> = LazyLock::new(|| {
    (1..=HOSTED + PEERS)
        .map(|number| {
            let byte = u8::try_from(number).unwrap_or(u8::MAX);
            let key = SigningKey::from_seed(&Seed::from_bytes([byte; 32]));
            let address = Address::from_public_key(&key.public_key());
            (key, address)
        })
        .collect()
});

static CHAIN_ID: LazyLock<ChainId> = LazyLock::new(|| "ait-devnet".parse().unwrap());

/// The address of a wallet: the hosted ones come first.
pub(crate) fn address(wallet: usize) -> &'static Address {
    &KEYS[wallet].1
}

/// The hosted wallet with this address.
pub(crate) fn hosted(address: &Address) -> Option<usize> {
    (0..HOSTED).find(|wallet| &KEYS[*wallet].1 == address)
}

/// Whether the messages of a sender are verified.
pub(crate) fn authenticity(sender: &Address) -> Authenticity {
    if &KEYS[HOSTED + PEERS - 1].1 == sender {
        Authenticity::Unverified
    } else {
        Authenticity::Verified
    }
}

/// What a message makes its agent do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It answers.
    Answer,
    /// It starts a task, and answers when that has ended.
    Task,
    /// It sets a timer, and sends something when that fires.
    Timer,
    /// It sends a message that asks for an acknowledgment.
    Ask,
    /// Two behaviours remember the message, one after the other.
    Note,
    /// It fails, and answers at the second attempt.
    Flaky,
    /// It fails.
    Bad,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Answer,
        Self::Task,
        Self::Timer,
        Self::Ask,
        Self::Note,
        Self::Flaky,
        Self::Bad,
    ];

    pub(crate) const fn of(number: u8) -> Self {
        // Answers are the most common, and permanent failures rare.
        match number % 16 {
            0..=5 => Self::Answer,
            6 | 7 => Self::Task,
            8 | 9 => Self::Timer,
            10 | 11 => Self::Ask,
            12 => Self::Note,
            13 | 14 => Self::Flaky,
            _ => Self::Bad,
        }
    }

    /// The first word of what the agent sends for it.
    pub(crate) const fn tag(self) -> Option<&'static str> {
        match self {
            Self::Answer | Self::Flaky => Some("answer"),
            Self::Task => Some("result"),
            Self::Timer => Some("timer"),
            Self::Ask => Some("ask"),
            Self::Note | Self::Bad => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The text of a message.
pub(crate) fn message(kind: Kind, number: u32) -> String {
    format!("m {kind} {number}")
}

/// What a message makes its agent do, and its number.
pub(crate) fn read_message(text: &str) -> Option<(Kind, u32)> {
    let mut words = text.strip_prefix("m ")?.split(' ');
    let kind = words.next()?;
    let kind = Kind::ALL.into_iter().find(|one| one.to_string() == kind)?;
    Some((kind, words.next()?.parse().ok()?))
}

/// The number at the end of a text.
pub(crate) fn number(text: &str) -> Option<u32> {
    text.rsplit(' ').next()?.parse().ok()
}

/// Whether an operator has to approve what is sent with this text: every fifth answer, result and message
/// of a timer.
pub(crate) fn needs_approval(text: &str) -> bool {
    let is_one = ["answer ", "result ", "timer "]
        .iter()
        .any(|word| text.starts_with(word));
    is_one && number(text).is_some_and(is_held)
}

/// Whether an operator has to approve the task with this number.
pub(crate) const fn is_held(number: u32) -> bool {
    number % 5 == 4
}

/// The text that a transaction carries.
pub(crate) fn text(payload: &Json) -> Option<String> {
    Payload::read(payload).text().map(ToOwned::to_owned)
}

/// An id that is made at a time; each number makes another one.
pub(crate) fn id(time: Timestamp, number: u64) -> MessageId {
    let hash = ContentHash::of(&number.to_be_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&hash.as_bytes()[..10]);
    MessageId::new(time, random)
}

fn unsigned(wallet: usize, to: &Address, nonce: Nonce, payload: Json) -> Unsigned {
    Unsigned {
        dialect: Dialect::April2026,
        from: address(wallet).clone(),
        to: to.clone(),
        amount: Number::from(0_u64),
        fee: Number::from(FEE),
        nonce: Number::from(nonce),
        payload,
        chain_id: CHAIN_ID.clone(),
    }
}

pub(crate) fn sign(wallet: usize, to: &Address, nonce: Nonce, payload: Json) -> SignedTransaction {
    unsigned(wallet, to, nonce, payload).sign(&KEYS[wallet].0)
}

/// A text with a header, or without one.
pub(crate) fn payload(text: String, header: Option<&Header>) -> Json {
    compose(&Payload::Text(text), header).unwrap()
}

/// A peer's acknowledgment of a transaction.
pub(crate) fn acknowledgment(re: TransactionHash, id: MessageId) -> Json {
    let ack = KnownCommand::Ack(Ack {
        status: AckStatus::Done,
        detail: None,
    });
    let header = Header {
        id: Some(id),
        re: Some(re),
        ..Header::default()
    };
    compose(&ack.to_payload(), Some(&header)).unwrap()
}

/// The header of a message that asks for an acknowledgment.
pub(crate) fn asking(id: MessageId) -> Header {
    Header {
        id: Some(id),
        ack: Some(AckRequest::Done),
        ..Header::default()
    }
}

/// A peer's transaction. Nobody checks its signature: its authenticity is that of its sender.
pub(crate) fn from_peer(peer: usize, to: usize, nonce: Nonce, payload: Json) -> Transaction {
    let unsigned = unsigned(HOSTED + peer, address(to), nonce, payload);
    let digest = unsigned.digest();
    let stored = StoredTransaction {
        dialect: Dialect::April2026,
        kind: "transfer".into(),
        chain_id: unsigned.chain_id.as_str().to_owned(),
        from: unsigned.from,
        to: unsigned.to,
        amount: unsigned.amount,
        fee: unsigned.fee,
        nonce: unsigned.nonce,
        payload: unsigned.payload,
        signature: Some("0".repeat(128)),
    };
    Transaction {
        hash: stored.hash(),
        digest,
        stored: Rc::new(stored),
        is_forged: false,
        own: None,
    }
}
