//! The page's test vectors are reproduced.

use agentry_protocol::sealing::{Binding, open};
use agentry_protocol::{
    Address, Authenticity, DecryptionKey, Dialect, Envelope, Finding, Json, KeyType, KnownCommand,
    Limits, Payload, Seed, SigningKey, StoredTransaction, Transaction, authenticity,
};
use serde_json::Value;

use super::{json, page, read, section};
use crate::page::top;

pub(super) fn vector(language: &str) -> Value {
    let blocks = page().blocks();
    let [block] = blocks
        .iter()
        .filter(|block| block.language == language)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    read(block)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn seed(text: &str) -> Seed {
    Seed::from_bytes(hex::decode(text).unwrap().try_into().unwrap())
}

#[test]
fn the_transaction_is_reproduced() {
    let vector = vector("json transaction");
    let wallet = seed(text(&vector, "seed"));
    let stated = &vector["transaction"];
    let number = |key: &str| stated[key].as_u64().unwrap().into();
    let payload = Json::string(text(stated, "payload"));
    let from: Address = text(stated, "from").parse().unwrap();
    assert_eq!(from, Address::from_public_key(&wallet.public_key()));
    let signed = Transaction {
        dialect: Dialect::April2026,
        from,
        to: text(stated, "to").parse().unwrap(),
        amount: number("amount"),
        fee: number("fee"),
        nonce: number("nonce"),
        payload: payload.clone(),
        chain_id: text(stated, "chain_id").parse().unwrap(),
    }
    .sign(&SigningKey::from_seed(&wallet));
    assert_eq!(signed.hash().to_string(), text(&vector, "transaction_hash"));
    let kept = StoredTransaction::parse(signed.body().as_bytes(), Limits::default()).unwrap();
    assert_eq!(kept.signature.as_deref(), vector["signature"].as_str());
    assert_eq!(kept.digest().to_string(), text(&vector, "digest"));
    // A reader finds it verified, even if the sender was unknown.
    let envelope = Envelope::read(&payload);
    let key = envelope.header().unwrap().key;
    let chain = text(stated, "chain_id").parse().unwrap();
    let finding: Finding = authenticity::examine(&kept, &chain, key.as_ref(), None);
    assert_eq!(finding.authenticity(), Authenticity::Verified);
    // The payload is encoded as written here.
    assert_eq!(
        agentry_protocol::compose(&envelope.payload, envelope.header()).unwrap(),
        payload
    );
}

#[test]
fn the_transaction_of_august_is_reproduced() {
    let vector = vector("json transaction-2026-08");
    let bytes = hex::decode(text(&vector, "seed")).unwrap();
    let wallet = Seed::new(bytes.try_into().unwrap(), KeyType::Secp256k1).unwrap();
    let key = SigningKey::from_seed(&wallet);
    assert_eq!(key.public_key().to_string(), text(&vector, "public_key"));
    let stated = &vector["transaction"];
    let number = |key: &str| stated[key].as_u64().unwrap().into();
    let from = Address::from_public_key(&key.public_key());
    assert_eq!(from.as_str(), text(stated, "from"));
    assert_eq!(from.to_checksummed().as_deref(), vector["address"].as_str());
    let message = Json::string(text(&vector, "message"));
    let signed = Transaction {
        dialect: Dialect::August2026,
        from,
        to: text(stated, "to").parse().unwrap(),
        amount: number("amount"),
        fee: number("fee"),
        nonce: number("nonce"),
        payload: message.clone(),
        chain_id: text(stated, "chain_id").parse().unwrap(),
    }
    .sign(&key);
    // The inner text is written out by hand.
    let inner = key.sign(text(&vector, "inner_text").as_bytes());
    assert_eq!(inner.to_string(), text(&vector, "sig"));
    assert_eq!(signed.transaction().payload, json(&stated["payload"]));
    assert_eq!(*signed.draft(), message);
    let kept = signed.stored();
    assert_eq!(&*kept.kind, text(stated, "type"));
    assert_eq!(kept.signature.as_deref(), vector["signature"].as_str());
    assert_eq!(kept.digest().to_string(), text(&vector, "digest"));
    assert_eq!(kept.hash().to_string(), text(&vector, "transaction_hash"));
    // A reader finds it verified, although the chain keeps no signature.
    let mined = StoredTransaction {
        signature: None,
        ..kept
    };
    let chain = text(stated, "chain_id").parse().unwrap();
    let finding = authenticity::examine(&mined, &chain, None, None);
    assert_eq!(finding.authenticity(), Authenticity::Verified);
    assert_eq!(mined.digest().to_string(), text(&vector, "digest"));
}

#[test]
fn the_sealed_message_opens() {
    let vector = vector("json sealed");
    // The crate's own tests seal the same vectors with the given ephemeral key.
    let path = top().join("crates/protocol/tests/vectors/sealing.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.contains(&vector), "it is not in sealing.json");

    let key = DecryptionKey::from_seed(&seed(text(&vector, "recipient_seed")));
    assert_eq!(
        key.encryption_key().to_string(),
        text(&vector, "encryption_key")
    );
    let stated: [u8; 32] = hex::decode(text(&vector, "decryption_key"))
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(
        DecryptionKey::from_bytes(stated).encryption_key(),
        key.encryption_key()
    );
    let body: Value = serde_json::from_str(text(&vector, "body")).unwrap();
    // The command's example is this one, with a header.
    let [mut example] = section("SEALED").examples().try_into().unwrap();
    assert!(example.as_object_mut().unwrap().remove("msg").is_some());
    assert_eq!(example, body);
    let Payload::Command(command) = Payload::read(&json(&body)) else {
        panic!("not a command");
    };
    let Ok(Some(KnownCommand::Sealed(sealed))) = KnownCommand::read(&command) else {
        panic!("not sealed");
    };
    let (from, to) = (
        text(&vector, "from").parse().unwrap(),
        text(&vector, "to").parse().unwrap(),
    );
    let binding = Binding {
        chain_id: text(&vector, "chain_id"),
        from: &from,
        to: &to,
    };
    let opened = open(&sealed, &key, binding, Authenticity::Verified).unwrap();
    let plaintext: Value = serde_json::from_str(text(&vector, "plaintext")).unwrap();
    assert_eq!(opened, Payload::read(&json(&plaintext)));
    let elsewhere = Binding {
        chain_id: "ait-mainnet",
        ..binding
    };
    assert!(open(&sealed, &key, elsewhere, Authenticity::Verified).is_err());
}
