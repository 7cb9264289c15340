//! Whether a message is from the sender that it names.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use agentry_protocol::authenticity::examine;
use agentry_protocol::{
    Address, Authenticity, ChainId, Dialect, Finding, Json, Limits, Number, PublicKey, Seed,
    SigningKey, StoredTransaction, Transaction, Verification,
};

fn signer(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

fn chain() -> ChainId {
    "ait-devnet".parse().unwrap()
}

fn sent(from: Address, key: &SigningKey) -> StoredTransaction {
    let signed = Transaction {
        dialect: Dialect::April2026,
        from,
        to: Address::from_public_key(&signer(9).public_key()),
        amount: Number::from(0),
        fee: Number::from(10),
        nonce: Number::from(1),
        payload: Json::string("ping"),
        chain_id: chain(),
    }
    .sign(key);
    StoredTransaction::parse(signed.body().as_bytes(), Limits::default()).unwrap()
}

fn examined(
    transaction: &StoredTransaction,
    header: Option<&PublicKey>,
    known: Option<&PublicKey>,
) -> Finding {
    examine(transaction, &chain(), header, known)
}

const VALID: Finding = Finding::Signature(Verification::Valid);
const INVALID: Finding = Finding::Signature(Verification::Invalid);

#[test]
fn a_valid_signature_under_any_key_bound_to_the_sender_verifies_it() {
    let (alice, mallory) = (signer(1), signer(2));
    let (key, other) = (alice.public_key(), mallory.public_key());
    for from in [
        Address::from_public_key(&key),
        Address::bech32_from_public_key(&key),
    ] {
        let honest = sent(from.clone(), &alice);
        assert_eq!(examined(&honest, None, None), Finding::NoKey);
        for (header, known) in [
            (Some(&key), None),
            (None, Some(&key)),
            (Some(&key), Some(&key)),
            // The configuration has another key; the address verifies this one.
            (Some(&key), Some(&other)),
        ] {
            assert_eq!(examined(&honest, header, known), VALID);
        }
        assert_eq!(examined(&honest, Some(&other), None), Finding::ForeignKey);
        assert_eq!(examined(&honest, None, Some(&other)), INVALID);

        let forged = sent(from, &mallory);
        assert_eq!(examined(&forged, None, None), Finding::NoKey);
        assert_eq!(examined(&forged, Some(&key), None), INVALID);
        assert_eq!(examined(&forged, None, Some(&key)), INVALID);
        assert_eq!(examined(&forged, Some(&key), Some(&key)), INVALID);
        assert_eq!(
            examined(&forged, Some(&other), Some(&key)),
            Finding::ForeignKey
        );
    }
}

#[test]
fn the_configuration_can_name_the_key_of_an_address_that_belongs_to_none() {
    let (alice, mallory) = (signer(1), signer(2));
    let (key, other) = (alice.public_key(), mallory.public_key());
    let treasury = Address::from_chain("treasury").unwrap();
    let honest = sent(treasury.clone(), &alice);
    assert_eq!(examined(&honest, None, Some(&key)), VALID);
    assert_eq!(examined(&honest, Some(&key), Some(&key)), VALID);
    assert_eq!(examined(&honest, Some(&key), None), Finding::ForeignKey);
    let forged = sent(treasury, &mallory);
    assert_eq!(
        examined(&forged, Some(&other), Some(&key)),
        Finding::ForeignKey
    );
    assert_eq!(examined(&forged, None, Some(&key)), INVALID);
}

#[test]
fn a_signature_that_is_missing_or_misspelled_is_forged_once_a_key_is_known() {
    let alice = signer(1);
    let key = alice.public_key();
    let mut sent = sent(Address::from_public_key(&key), &alice);
    sent.signature = sent.signature.map(|text| text.to_uppercase());
    let misspelled = Finding::Signature(Verification::Misspelled);
    assert_eq!(examined(&sent, Some(&key), None), misspelled);
    assert_eq!(examined(&sent, None, None), Finding::NoKey);
    sent.signature = None;
    let missing = Finding::Signature(Verification::Missing);
    assert_eq!(examined(&sent, None, Some(&key)), missing);
    assert_eq!(missing.authenticity(), Authenticity::Forged);
    assert_eq!(misspelled.authenticity(), Authenticity::Forged);
}

#[test]
fn another_chain_s_message_is_forged_whatever_else_is_right() {
    let alice = signer(1);
    let key = alice.public_key();
    let sent = sent(Address::from_public_key(&key), &alice);
    let elsewhere = "ait-mainnet".parse().unwrap();
    for header in [None, Some(&key)] {
        let finding = examine(&sent, &elsewhere, header, None);
        assert_eq!(finding, Finding::ForeignChain);
        assert_eq!(finding.authenticity(), Authenticity::Forged);
    }
}

#[test]
fn the_older_client_s_seven_keys_count() {
    let alice = signer(1);
    let mut kept = sent(Address::from_public_key(&alice.public_key()), &alice);
    let unsigned = Transaction {
        dialect: Dialect::April2026,
        from: kept.from.clone(),
        to: kept.to.clone(),
        amount: kept.amount.clone(),
        fee: kept.fee.clone(),
        nonce: kept.nonce.clone(),
        payload: kept.payload.clone(),
        chain_id: chain(),
    };
    let signature = alice.sign(unsigned.signing_text_seven_keys().as_bytes());
    kept.signature = Some(signature.to_string());
    let finding = examined(&kept, Some(&alice.public_key()), None);
    assert_eq!(finding, Finding::Signature(Verification::ValidSevenKeys));
    assert_eq!(finding.authenticity(), Authenticity::Verified);
}

#[test]
fn trust_is_ordered_and_named() {
    let all = [
        Authenticity::Forged,
        Authenticity::Unverified,
        Authenticity::Verified,
    ];
    assert!(all.is_sorted());
    for authenticity in all {
        let text = serde_json::to_string(&authenticity).unwrap();
        assert_eq!(text, format!("{:?}", authenticity.as_str()));
    }
    assert_eq!(Finding::NoKey.authenticity(), Authenticity::Unverified);
}
