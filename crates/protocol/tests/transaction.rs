//! Transactions: defaults, refusals, and the verification of signatures.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use agentry_protocol::{
    Address, AddressError, Dialect, Json, JsonError, Limits, Number, Seed, SignedTransaction,
    SigningKey, StoredTransaction, Transaction, TransactionError, Verification,
};
use proptest::prelude::*;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

fn transaction(payload: Json) -> Transaction {
    Transaction {
        dialect: Dialect::April2026,
        from: Address::from_public_key(&key(1).public_key()),
        to: Address::bech32_from_public_key(&key(2).public_key()),
        amount: Number::from(0),
        fee: Number::from(10),
        nonce: Number::from(1_775_819_657_114_u64),
        payload,
        chain_id: "ait-devnet".parse().unwrap(),
    }
}

fn parse(text: &str) -> Result<StoredTransaction, TransactionError> {
    StoredTransaction::parse(text.as_bytes(), Limits::default())
}

#[test]
fn the_node_s_defaults_apply_to_missing_keys() {
    let stored = parse(r#"{"from":"a","to":"b","amount":1.0,"tx_hash":"0x","type":"x"}"#).unwrap();
    assert_eq!(
        stored.stored_text(),
        r#"{"amount":1.0,"chain_id":"ait-mainnet","fee":10,"from":"a","nonce":0,"payload":"0x","signature":null,"to":"b"}"#
    );
    assert_eq!(stored.to_json().to_compact(), stored.stored_text());
    assert_eq!(stored.verify(&key(1).public_key()), Verification::Missing);
}

#[test]
fn what_is_wrong_is_named() {
    let amount = |expected| TransactionError::Type {
        field: "amount",
        expected,
    };
    for (text, error) in [
        ("7", TransactionError::NotAnObject),
        ("{}", TransactionError::Missing { field: "from" }),
        (
            r#"{"from":"a","amount":1}"#,
            TransactionError::Missing { field: "to" },
        ),
        (
            r#"{"from":"a","to":"b"}"#,
            TransactionError::Missing { field: "amount" },
        ),
        (r#"{"from":"a","to":"b","amount":"1"}"#, amount("a number")),
        (r#"{"from":"a","to":"b","amount":true}"#, amount("a number")),
        (
            r#"{"from":"a","to":7,"amount":1}"#,
            TransactionError::Type {
                field: "to",
                expected: "a string",
            },
        ),
        (
            r#"{"from":"","to":"b","amount":1}"#,
            TransactionError::Address {
                field: "from",
                reason: AddressError::Empty,
            },
        ),
        (
            r#"{"from":"a","to":"b","amount":1,"signature":5}"#,
            TransactionError::Type {
                field: "signature",
                expected: "a string or null",
            },
        ),
        (
            r#"{"from":"a","to":"b","amount":1,"chain_id":null}"#,
            TransactionError::Type {
                field: "chain_id",
                expected: "a string",
            },
        ),
        (
            "{",
            TransactionError::Json(JsonError::UnexpectedEnd {
                expected: "a key or '}'",
            }),
        ),
    ] {
        assert_eq!(parse(text), Err(error), "{text}");
    }
}

#[test]
fn every_key_of_a_body_is_required() {
    let signed = transaction(Json::string("ping")).sign(&key(1));
    let body: Json = signed.body().parse().unwrap();
    assert_eq!(body.root().len(), 10);
    for (missing, _) in body.root().entries() {
        let rest = body.root().entries().filter(|(name, _)| *name != missing);
        let cut = Json::object(rest.map(|(name, value)| (name, value.to_json())));
        let read = SignedTransaction::from_body(cut.to_compact().as_bytes(), Limits::default());
        assert!(
            matches!(&read, Err(TransactionError::Missing { field }) if *field == missing),
            "{missing}: {read:?}"
        );
    }
    let other = signed.body().replace("transfer", "transmit");
    let read = SignedTransaction::from_body(other.as_bytes(), Limits::default());
    assert!(matches!(
        read,
        Err(TransactionError::Type { field: "type", .. })
    ));
}

#[test]
fn signatures_are_verified() {
    let signed = transaction(Json::string("ping")).sign(&key(1));
    let stored = signed.stored();
    let (own, unrelated) = (key(1).public_key(), key(2).public_key());
    assert_eq!(stored.verify(&own), Verification::Valid);
    assert_eq!(stored.verify(&unrelated), Verification::Invalid);

    let with = |signature: Option<String>| StoredTransaction {
        signature,
        ..stored.clone()
    };
    let spelled = stored.signature.clone().unwrap();
    assert_eq!(with(None).verify(&own), Verification::Missing);
    for misspelled in [
        spelled.to_uppercase(),
        format!("0x{spelled}"),
        spelled[..127].to_owned(),
        String::new(),
    ] {
        let other = with(Some(misspelled));
        assert_eq!(other.verify(&own), Verification::Misspelled);
        // Another transaction, the same message.
        assert_ne!(other.hash(), stored.hash());
        assert_eq!(other.digest(), stored.digest());
    }

    let seven = SignedTransaction::sign_seven_keys(transaction(Json::string("0x")), &key(1));
    assert_eq!(seven.stored().verify(&own), Verification::ValidSevenKeys);
    assert!(Verification::ValidSevenKeys.is_valid() && Verification::Valid.is_valid());
    assert!(!Verification::Misspelled.is_valid() && !Verification::Missing.is_valid());
}

#[test]
fn after_any_change_the_signature_does_not_verify() {
    let stored = transaction(Json::string("ping")).sign(&key(1)).stored();
    let other = Address::from_chain("someone").unwrap();
    let altered = [
        StoredTransaction {
            dialect: Dialect::April2026,
            kind: "transfer".into(),
            chain_id: "ait-mainnet".into(),
            ..stored.clone()
        },
        StoredTransaction {
            dialect: Dialect::April2026,
            kind: "transfer".into(),
            from: other.clone(),
            ..stored.clone()
        },
        StoredTransaction {
            dialect: Dialect::April2026,
            kind: "transfer".into(),
            to: other,
            ..stored.clone()
        },
        StoredTransaction {
            amount: "0.0".parse().unwrap(),
            ..stored.clone()
        },
        StoredTransaction {
            fee: "10.0".parse().unwrap(),
            ..stored.clone()
        },
        StoredTransaction {
            nonce: Number::from(1),
            ..stored.clone()
        },
        StoredTransaction {
            payload: Json::string("pong"),
            ..stored.clone()
        },
    ];
    for altered in altered {
        assert_eq!(
            altered.verify(&key(1).public_key()),
            Verification::Invalid,
            "{altered:?}"
        );
        assert_ne!(altered.hash(), stored.hash());
        assert_ne!(altered.digest(), stored.digest());
    }
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
        "-?[1-9][0-9]{0,50}".prop_map(|digits| digits.parse().unwrap()),
    ]
}

proptest! {
    #[test]
    fn every_form_is_read_back(
        amount in number(), fee in number(), nonce in number(),
        payload in any::<String>(), from in "[!-~]{1,128}", to in "[!-~]{1,128}",
        chain in "[A-Za-z0-9._-]{1,64}",
    ) {
        let unsigned = Transaction {
            dialect: Dialect::April2026,
            from: Address::from_chain(&from).unwrap(),
            to: Address::from_chain(&to).unwrap(),
            amount, fee, nonce,
            payload: Json::object([(payload.as_str(), Json::string(payload.clone()))]),
            chain_id: chain.parse().unwrap(),
        };
        let signed = unsigned.clone().sign(&key(3));
        prop_assert_eq!(signed.transaction(), &unsigned);
        let body = signed.body();
        let again = SignedTransaction::from_body(body.as_bytes(), Limits::default()).unwrap();
        prop_assert_eq!(&again, &signed);
        prop_assert_eq!(&again.body(), &body);

        // A node accepts the body and keeps its stored form.
        let kept = StoredTransaction::parse(body.as_bytes(), Limits::default()).unwrap();
        prop_assert_eq!(&kept, &signed.stored());
        prop_assert_eq!(&SignedTransaction::from_stored(&kept, signed.public_key()).unwrap(), &signed);
        prop_assert_eq!(kept.hash(), signed.hash());
        prop_assert_eq!(kept.digest(), unsigned.digest());
        prop_assert_eq!(kept.verify(&signed.public_key().unwrap()), Verification::Valid);
        let text = kept.stored_text();
        prop_assert_eq!(&StoredTransaction::parse(text.as_bytes(), Limits::default()).unwrap(), &kept);
        prop_assert_eq!(kept.to_json().to_compact(), text);

        // The texts that are written field by field equal the canonical texts of their JSON.
        let eight: Json = unsigned.signing_text().parse().unwrap();
        prop_assert_eq!(eight.to_spaced(), unsigned.signing_text());
        prop_assert_eq!(eight.root().len(), 8);
        let seven: Json = unsigned.signing_text_seven_keys().parse().unwrap();
        prop_assert_eq!(seven.to_spaced(), unsigned.signing_text_seven_keys());
        prop_assert_eq!(seven.root().len(), 7);
    }
}
