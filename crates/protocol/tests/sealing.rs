//! Sealed messages: they open only for their recipient, and only in their transaction.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use agentry_protocol::command::{CommandFault, PLAINTEXT_MAX, Sealed};
use agentry_protocol::sealing::{Binding, ContentFault, OpenError, SealError, open, seal};
use agentry_protocol::{
    Address, Authenticity, DecryptionKey, Dialect, EncryptionKey, Envelope, Header, Json,
    KnownCommand, Limits, Number, Payload, Seed, SigningKey, StoredTransaction, Timestamp,
    Transaction, compose,
};
use proptest::prelude::*;

const CHAIN: &str = "ait-devnet";

fn seed(byte: u8) -> Seed {
    Seed::from_bytes([byte; 32])
}

fn address(byte: u8) -> Address {
    Address::from_public_key(&seed(byte).public_key())
}

fn key(byte: u8) -> DecryptionKey {
    DecryptionKey::from_seed(&seed(byte))
}

fn read(text: &str) -> Payload {
    Payload::read(&text.parse().unwrap())
}

fn is_sealed(payload: &Payload) -> Option<Sealed> {
    let Payload::Command(command) = payload else {
        return None;
    };
    match KnownCommand::read(command).unwrap()? {
        KnownCommand::Sealed(sealed) => Some(sealed),
        _ => None,
    }
}

#[test]
fn every_vector_opens() {
    let path = format!("{}/tests/vectors/sealing.json", env!("CARGO_MANIFEST_DIR"));
    let vectors = Json::parse(&std::fs::read(path).unwrap(), Limits::default()).unwrap();
    let cases = vectors.root().get("cases").unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases.items() {
        let text = |key: &str| case.get(key).unwrap().as_str().unwrap();
        let seed = hex::decode(text("recipient_seed")).unwrap();
        let key = DecryptionKey::from_seed(&Seed::from_bytes(seed.try_into().unwrap()));
        let (from, to) = (text("from").parse().unwrap(), text("to").parse().unwrap());
        let binding = Binding {
            chain_id: text("chain_id"),
            from: &from,
            to: &to,
        };
        // In the sent form: a string that holds JSON.
        let sealed = is_sealed(&Payload::read(&Json::string(text("body")))).unwrap();
        let opened = open(&sealed, &key, binding, Authenticity::Verified).unwrap();
        assert_eq!(opened, read(text("plaintext")));
    }
}

/// All steps: sealed, composed, signed, kept by a node, read, verified, opened.
#[test]
fn a_sealed_message_crosses_the_chain() {
    let (alice, bob) = (SigningKey::from_seed(&seed(1)), key(2));
    let (from, to) = (address(1), address(2));
    let secret = read(r#"{"cmd":"EXECUTE_AI_JOB","type":"inference","prompt":"?"}"#);
    let binding = Binding {
        chain_id: CHAIN,
        from: &from,
        to: &to,
    };
    let sealed = seal(&secret, &bob.encryption_key(), binding).unwrap();
    let header = Header {
        key: Some(alice.public_key()),
        thread: Some("t".parse().unwrap()),
        ..Header::default()
    };
    let payload = compose(&KnownCommand::Sealed(sealed).to_payload(), Some(&header)).unwrap();
    assert!(!payload.to_compact().contains("inference"));
    let signed = Transaction {
        dialect: Dialect::April2026,
        from,
        to,
        amount: Number::from(0),
        fee: Number::from(10),
        nonce: Number::from(1),
        payload,
        chain_id: CHAIN.parse().unwrap(),
    }
    .sign(&alice);
    let kept = StoredTransaction::parse(signed.body().as_bytes(), Limits::default()).unwrap();
    let envelope = Envelope::read(&kept.message());
    assert_eq!(envelope.header(), Some(&header));
    let header_key = envelope.header().and_then(|header| header.key);
    let chain = CHAIN.parse().unwrap();
    let finding = agentry_protocol::authenticity::examine(&kept, &chain, header_key.as_ref(), None);
    let sealed = is_sealed(&envelope.payload).unwrap();
    let opened = open(&sealed, &bob, Binding::from(&kept), finding.authenticity());
    assert_eq!(opened, Ok(secret));

    // Mallory posts the ciphertext under another sender. The signature verifies, but the message
    // does not open.
    let mallory = SigningKey::from_seed(&seed(3));
    let stolen = Transaction {
        dialect: Dialect::April2026,
        from: address(3),
        to: kept.to,
        amount: Number::from(0),
        fee: Number::from(10),
        nonce: Number::from(1),
        payload: compose(&envelope.payload, None).unwrap(),
        chain_id: chain,
    }
    .sign(&mallory);
    let stolen = StoredTransaction::parse(stolen.body().as_bytes(), Limits::default()).unwrap();
    let finding = agentry_protocol::authenticity::examine(
        &stolen,
        &CHAIN.parse().unwrap(),
        None,
        Some(&mallory.public_key()),
    );
    assert_eq!(finding.authenticity(), Authenticity::Verified);
    assert_eq!(
        open(
            &sealed,
            &bob,
            Binding::from(&stolen),
            finding.authenticity()
        ),
        Err(OpenError::DoesNotOpen)
    );
}

#[test]
fn only_verified_messages_are_opened() {
    let (from, to) = (address(1), address(2));
    let binding = Binding {
        chain_id: CHAIN,
        from: &from,
        to: &to,
    };
    let sealed = seal(&read(r#"{"text":"x"}"#), &key(2).encryption_key(), binding).unwrap();
    for doubt in [Authenticity::Unverified, Authenticity::Forged] {
        assert_eq!(
            open(&sealed, &key(2), binding, doubt),
            Err(OpenError::NotVerified(doubt))
        );
    }
}

#[test]
fn only_commands_and_texts_without_header_are_sealed() {
    let (from, to) = (address(1), address(2));
    let binding = Binding {
        chain_id: CHAIN,
        from: &from,
        to: &to,
    };
    let recipient = key(2).encryption_key();
    for (text, fault) in [
        ("[1]", ContentFault::NotAMessage),
        (r#"{"a":1}"#, ContentFault::NotAMessage),
        (r#"{"cmd":"A","cmd":"B"}"#, ContentFault::NotAMessage),
        (r#"{"cmd":"PING","msg":{"v":1}}"#, ContentFault::HasHeader),
        (r#"{"cmd":"PING","msg":null}"#, ContentFault::HasHeader),
        (r#"{"cmd":"SEALED"}"#, ContentFault::Nested),
    ] {
        assert_eq!(
            seal(&read(text), &recipient, binding),
            Err(SealError::Content(fault)),
            "{text}"
        );
    }
}

#[test]
fn the_longest_message_is_sealed_and_sent_and_a_longer_one_is_not() {
    let (from, to) = (address(1), address(2));
    let binding = Binding {
        chain_id: CHAIN,
        from: &from,
        to: &to,
    };
    let recipient = key(2).encryption_key();
    let frame = r#"{"text":""}"#.len();
    let longest = Payload::Text("x".repeat(PLAINTEXT_MAX - frame));
    let sealed = seal(&longest, &recipient, binding).unwrap();
    let header = Header {
        id: Some(agentry_protocol::MessageId::new(Timestamp::EPOCH, [0; 10])),
        re: Some(agentry_protocol::TransactionHash::of(b"")),
        thread: Some("t".repeat(128).parse().unwrap()),
        exp: Some(Timestamp::new(u64::MAX)),
        ack: Some(agentry_protocol::AckRequest::Received),
        trail: agentry_protocol::Trail {
            hops: u32::MAX,
            trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
                .parse()
                .ok(),
        },
        key: Some(seed(1).public_key()),
    };
    let payload = KnownCommand::Sealed(sealed).to_payload();
    let sent = compose(&payload, Some(&header)).unwrap();
    let sealed = is_sealed(&Envelope::read(&sent).payload).unwrap();
    let opened = open(&sealed, &key(2), binding, Authenticity::Verified);
    assert_eq!(opened, Ok(longest));

    let longer = Payload::Text("x".repeat(PLAINTEXT_MAX - frame + 1));
    assert_eq!(
        seal(&longer, &recipient, binding),
        Err(SealError::TooLarge {
            bytes: PLAINTEXT_MAX + 1
        })
    );
}

#[test]
fn malformed_sealed_messages_are_refused_by_field() {
    let enc = "A".repeat(43);
    let body = |suite: &str, enc: &str, ct: &str| {
        format!(r#"{{"cmd":"SEALED","suite":"{suite}","enc":"{enc}","ct":"{ct}"}}"#)
    };
    let suite = "X25519-SHA256-AES256GCM";
    let ct = "A".repeat(24);
    let refused = |text: &str| {
        let Payload::Command(command) = read(text) else {
            panic!("no command: {text}");
        };
        let error = KnownCommand::read(&command).unwrap_err();
        assert_eq!(error.cmd, "SEALED");
        (error.field, error.reason)
    };
    assert!(is_sealed(&read(&body(suite, &enc, &ct))).is_some());
    assert_eq!(
        refused(&body("X25519-SHA256-CHACHA20POLY1305", &enc, &ct)),
        ("suite", CommandFault::Word { expected: suite })
    );
    for (bad, reason) in [
        ("A".repeat(41), "is not base64url"),
        // With padding; and with bits beyond the last byte.
        (format!("{enc}="), "is not base64url"),
        (format!("{}B", "A".repeat(42)), "is not base64url"),
        (format!("{}+", "A".repeat(42)), "is not base64url"),
        ("A".repeat(42), "has 31 bytes"),
        ("A".repeat(44), "has 33 bytes"),
        ("A".repeat(45), "over the limit"),
    ] {
        let (field, fault) = refused(&body(suite, &bad, &ct));
        assert_eq!(field, "enc");
        assert!(fault.to_string().contains(reason), "{bad}: {fault}");
    }
    let (field, fault) = refused(&body(suite, &enc, "AAAA"));
    assert_eq!((field, fault.to_string().contains("3 bytes")), ("ct", true));
    for length in [PLAINTEXT_MAX * 4 / 3 + 64, 2_000_000] {
        let (field, fault) = refused(&body(suite, &enc, &"A".repeat(length)));
        assert_eq!(field, "ct");
        assert!(matches!(fault, CommandFault::TooLarge { .. }), "{fault}");
    }
    for missing in ["suite", "enc", "ct"] {
        let text = body(suite, &enc, &ct).replace(&format!("\"{missing}\""), "\"other\"");
        assert_eq!(refused(&text), (missing, CommandFault::Missing));
    }
}

#[test]
fn keys_are_read_in_either_case_and_the_private_one_does_not_show() {
    let public = key(2).encryption_key();
    let text = public.to_string();
    assert_eq!(text.to_uppercase().parse(), Ok(public));
    assert_eq!(EncryptionKey::from_bytes(*public.as_bytes()), public);
    let json = serde_json::to_string(&public).unwrap();
    assert_eq!(
        serde_json::from_str::<EncryptionKey>(&json).unwrap(),
        public
    );
    for bad in ["", &text[1..], &"x".repeat(64)] {
        assert!(bad.parse::<EncryptionKey>().is_err(), "{bad}");
    }
    assert_eq!(format!("{:?}", key(2)), "DecryptionKey(..)");
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Enc(usize),
    Ct(usize),
    Cut(usize),
    Extend,
    From,
    To,
    OtherForm,
    Chain,
    Recipient,
    SigningSeed,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any::<usize>().prop_map(Change::Enc),
        4 => any::<usize>().prop_map(Change::Ct),
        1 => any::<usize>().prop_map(Change::Cut),
        1 => Just(Change::Extend),
        1 => Just(Change::From),
        1 => Just(Change::To),
        1 => Just(Change::OtherForm),
        1 => Just(Change::Chain),
        1 => Just(Change::Recipient),
        1 => Just(Change::SigningSeed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does(
        text in any::<String>(), as_command in any::<bool>(), change in change(),
    ) {
        let secret = if as_command {
            Payload::read(&Json::object([
                ("cmd", Json::string("X")), ("value", Json::string(text)),
            ]))
        } else {
            Payload::Text(text)
        };
        let (from, to) = (address(1), address(2));
        let binding = Binding { chain_id: CHAIN, from: &from, to: &to };
        let sealed = seal(&secret, &key(2).encryption_key(), binding).unwrap();
        let again = seal(&secret, &key(2).encryption_key(), binding).unwrap();
        prop_assert_ne!(&sealed, &again, "each has an ephemeral key of its own");
        let written = KnownCommand::Sealed(sealed.clone()).to_payload();
        prop_assert_eq!(is_sealed(&written), Some(sealed.clone()));
        let opened = open(&sealed, &key(2), binding, Authenticity::Verified);
        prop_assert_eq!(opened, Ok(secret));

        let mut enc = *sealed.encapsulated_key();
        let mut ct = sealed.ciphertext().to_vec();
        let (mut changed, mut reader) = (binding, key(2));
        let other = address(3);
        let bech32 = Address::bech32_from_public_key(&seed(2).public_key());
        match change {
            // The last bit of a point is not part of its coordinate, but HPKE hashes it.
            Change::Enc(bit) => enc[bit % 256 / 8] ^= 1 << (bit % 8),
            Change::Ct(bit) => {
                let at = bit / 8 % ct.len();
                ct[at] ^= 1 << (bit % 8);
            }
            Change::Cut(bytes) => ct.truncate(ct.len() - 1 - bytes % (ct.len() - 16)),
            Change::Extend => ct.push(0),
            Change::From => changed.from = &other,
            Change::To => changed.to = &other,
            Change::OtherForm => changed.to = &bech32,
            Change::Chain => changed.chain_id = "ait-mainnet",
            Change::Recipient => reader = key(3),
            Change::SigningSeed => reader = DecryptionKey::from_bytes(*seed(2).expose()),
        }
        let changed_sealed = Sealed::new(enc, ct).unwrap();
        prop_assert_eq!(
            open(&changed_sealed, &reader, changed, Authenticity::Verified),
            Err(OpenError::DoesNotOpen)
        );
    }
}
