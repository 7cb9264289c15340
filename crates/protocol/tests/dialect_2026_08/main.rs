//! The dialect of August 2026.
//!
//! | module | what it checks |
//! |---|---|
//! | `vectors` | what AITBC's own functions made and answered for the same input |
//! | `laws` | wrapping, rebuilding and equality, for random messages and addresses |
//! | `forgery` | what shows who sent a message, and what any change does to it |

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod forgery;
mod laws;
mod vectors;

use agentry_protocol::{
    Address, Command, Dialect, Header, Json, KeyType, KnownCommand, MessageId, Number, Payload,
    Seed, SigningKey, StoredTransaction, Timestamp, Transaction, compose,
};
use proptest::prelude::*;

const DIALECT: Dialect = Dialect::August2026;

/// The key of a wallet.
fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::new([byte; 32], KeyType::Secp256k1).unwrap())
}

fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

/// A transaction of wallet 1 that carries a message, before it is signed.
fn transaction(message: Json, amount: u64) -> Transaction {
    Transaction {
        dialect: DIALECT,
        from: address(1),
        to: address(2),
        amount: Number::from(amount),
        fee: Number::from(0),
        nonce: Number::from(7),
        payload: message,
        chain_id: "ait-vec".parse().unwrap(),
    }
}

/// What a reader sees on the chain: the columns of a row, without a signature.
fn row(stored: &StoredTransaction) -> StoredTransaction {
    let object = Json::object([
        ("chain_id", Json::string(&*stored.chain_id)),
        ("from", Json::string(stored.from.spelled())),
        ("to", Json::string(stored.to.spelled())),
        ("amount", Json::number(&stored.amount)),
        ("fee", Json::number(&stored.fee)),
        ("nonce", Json::number(&stored.nonce)),
        ("payload", stored.payload.clone()),
        ("type", Json::string(&*stored.kind)),
    ]);
    DIALECT.read_stored(object.root()).unwrap()
}

fn header() -> impl Strategy<Value = Header> {
    let thread = prop::option::of("[!-~]{1,40}");
    (any::<bool>(), any::<[u8; 32]>(), any::<bool>(), thread).prop_map(
        |(has_id, random, has_re, thread)| Header {
            id: has_id.then(|| {
                let at = Timestamp::new(1_790_000_000_000 + u64::from(random[0]));
                MessageId::generate(at).unwrap()
            }),
            re: has_re.then(|| agentry_protocol::TransactionHash::of(&random)),
            thread: thread.map(|thread| thread.parse().unwrap()),
            ..Header::default()
        },
    )
}

/// Any JSON value of a small size.
fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::null()),
        any::<bool>().prop_map(Json::boolean),
        any::<i64>().prop_map(|number| Json::integer(number.into())),
        prop::num::f64::NORMAL.prop_map(|number| Json::float(number).unwrap()),
        ".{0,12}".prop_map(Json::string),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::array),
            prop::collection::btree_map(name(), inner, 0..4).prop_map(Json::object),
        ]
    })
}

/// Keys, among them those that a node, or this program, gives a meaning.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}",
        prop::sample::select(vec![
            "amount",
            "message",
            "text",
            "to",
            "type",
            "payload",
            "signature",
            "sig",
            "value",
            "from",
            "nonce",
        ])
        .prop_map(str::to_owned),
    ]
}

fn command() -> impl Strategy<Value = Payload> {
    let fields = prop::collection::btree_map(name(), value(), 0..5);
    ("[A-Z_]{1,12}", fields).prop_map(|(cmd, fields)| {
        let named = ("cmd".to_owned(), Json::string(cmd.clone()));
        let body = Json::object(fields.into_iter().chain([named]));
        Payload::Command(Command { cmd, body })
    })
}

/// A SEALED message, as a random text of its size.
fn sealed() -> impl Strategy<Value = Payload> {
    any::<[u8; 32]>().prop_map(|random| {
        let seed = Seed::new(random, KeyType::Secp256k1)
            .unwrap_or_else(|_| Seed::new([1; 32], KeyType::Secp256k1).unwrap());
        let recipient = agentry_protocol::DecryptionKey::from_seed(&seed).encryption_key();
        let (from, to) = (address(1), address(2));
        let binding = agentry_protocol::sealing::Binding {
            chain_id: "ait-vec",
            from: &from,
            to: &to,
        };
        let text = Payload::Text("secret".to_owned());
        let sealed = agentry_protocol::sealing::seal(&text, &recipient, binding).unwrap();
        KnownCommand::Sealed(sealed).to_payload()
    })
}

/// Whatever an agent sends: plain texts, texts that look like commands, commands, sealed messages.
fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        3 => ".{0,40}".prop_map(Payload::Text),
        1 => Just(Payload::Text(r#"{"cmd":"PING"}"#.to_owned())),
        1 => Just(Payload::Text(r#"{"text":"x","msg":{"v":1}}"#.to_owned())),
        3 => command(),
        1 => sealed(),
    ]
}

/// What `compose` writes, with and without a header.
fn message() -> impl Strategy<Value = Json> {
    (payload(), prop::option::of(header())).prop_map(|(payload, header)| {
        compose(&payload, header.as_ref()).unwrap_or_else(|error| panic!("{payload:?}: {error}"))
    })
}

/// One with an id, so that it is signed.
fn signed_message() -> impl Strategy<Value = Json> {
    (payload(), header()).prop_map(|(payload, header)| {
        let at = Timestamp::new(1_790_000_000_000);
        let header = Header {
            id: Some(MessageId::generate(at).unwrap()),
            ..header
        };
        compose(&payload, Some(&header)).unwrap()
    })
}
