//! Who sent a message, and what any change does to it.

use agentry_protocol::authenticity::{Authenticity, Finding, examine};
use agentry_protocol::{
    Address, ChainId, Envelope, Header, Identity, Json, MessageId, Number, Payload,
    SignedTransaction, StoredTransaction, Timestamp, compose,
};
use proptest::prelude::*;

use super::{DIALECT, address, key, message, row, signed_message, transaction};

fn judge(transaction: &StoredTransaction) -> Authenticity {
    let chain: ChainId = "ait-vec".parse().unwrap();
    examine(transaction, &chain, None, None).authenticity()
}

/// A change of a mined transaction, as anyone can make it who puts another into a block.
#[derive(Clone, Debug)]
enum Change {
    From(String),
    To(String),
    Amount(u64),
    Chain,
    Message(Json),
    /// A digit of the inner signature.
    Signature(prop::sample::Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (2..9_u8).prop_map(|byte| Change::From(address(byte).to_string())),
        "[!-~]{1,44}".prop_map(Change::From),
        (3..9_u8).prop_map(|byte| Change::To(address(byte).to_string())),
        "[!-~]{1,44}".prop_map(Change::To),
        (1..u64::MAX).prop_map(Change::Amount),
        Just(Change::Chain),
        signed_message().prop_map(Change::Message),
        (any::<prop::sample::Index>(), 0..16_u8)
            .prop_map(|(at, digit)| Change::Signature(at, digit)),
    ]
}

/// The text of the payload's inner signature: the only 130 digits in a row.
fn inner(payload: &Json) -> String {
    let text = payload.to_compact();
    let runs = text.split(|found: char| !found.is_ascii_hexdigit());
    let mut signatures = runs.filter(|run| run.len() == 130);
    signatures.next().unwrap().to_owned()
}

proptest! {
    /// A message with an id is verified on the chain, where its transaction's signature is lost; and no
    /// longer once anything is changed.
    #[test]
    fn any_change_of_a_signed_message_is_found(message in signed_message(), change in change()) {
        let signed = transaction(message, 0).sign(&key(1));
        let mined = row(&signed.stored());
        prop_assert_eq!(judge(&mined), Authenticity::Verified);

        let mut changed = mined.clone();
        match change {
            Change::From(text) => changed.from = DIALECT.address(&text).unwrap(),
            Change::To(text) => changed.to = DIALECT.address(&text).unwrap(),
            Change::Amount(amount) => changed.amount = Number::from(amount),
            Change::Chain => changed.chain_id = "ait-other".to_owned(),
            Change::Message(other) => {
                // The signature of one message beside another.
                let own = inner(&mined.payload);
                let other = transaction(other, 0).sign(&key(1));
                let payload = &other.transaction().payload;
                let payload = payload.to_compact().replace(&inner(payload), &own);
                changed.payload = payload.parse().unwrap();
            }
            Change::Signature(at, digit) => {
                let own = inner(&mined.payload);
                let at = at.index(own.len());
                let mut altered = own.clone();
                altered.replace_range(at..=at, &format!("{digit:x}"));
                let payload = mined.payload.to_compact().replace(&own, &altered);
                changed.payload = payload.parse().unwrap();
            }
        }
        if changed == mined {
            return Ok(());
        }
        prop_assert_eq!(judge(&changed), Authenticity::Forged);
    }

    /// A message without an id is not signed, so nothing that is only on the chain is verified; while it is
    /// pending, the signature of its transaction counts.
    #[test]
    fn what_is_not_signed_is_unverified_once_it_is_mined(text in ".{0,20}", forger in 2..9_u8) {
        let message = compose(&Payload::Text(text), None).unwrap();
        let signed = transaction(message.clone(), 0).sign(&key(1));
        prop_assert_eq!(judge(&signed.stored()), Authenticity::Verified);
        prop_assert_eq!(judge(&row(&signed.stored())), Authenticity::Unverified);
        // In another's name.
        let forged = transaction(message, 0).sign(&key(forger));
        prop_assert_eq!(judge(&forged.stored()), Authenticity::Forged);
        prop_assert_eq!(judge(&row(&forged.stored())), Authenticity::Unverified);
    }

    /// Whoever copies a signed message into a transaction of their own copies its id with it: it is the
    /// same message, which is acted on once.
    #[test]
    fn a_copy_is_the_same_message(message in signed_message(), nonce in any::<u32>(), fee in any::<u32>()) {
        let signed = transaction(message, 0).sign(&key(1));
        let mined = row(&signed.stored());
        let copy = StoredTransaction {
            nonce: Number::from(u64::from(nonce)),
            fee: Number::from(u64::from(fee)),
            ..mined.clone()
        };
        prop_assert_eq!(judge(&copy), Authenticity::Verified);
        let identity = |of: &StoredTransaction| {
            Envelope::read(&of.message()).identity(of.digest(), judge(of))
        };
        prop_assert!(matches!(identity(&mined), Identity::Id(_)));
        prop_assert_eq!(identity(&copy), identity(&mined));
    }

    /// A key of another wallet makes no signature for this one.
    #[test]
    fn another_s_signature_is_forged(message in signed_message(), forger in 2..9_u8) {
        let forged = transaction(message, 0).sign(&key(forger));
        prop_assert_eq!(judge(&row(&forged.stored())), Authenticity::Forged);
        prop_assert_eq!(judge(&forged.stored()), Authenticity::Forged);
    }

    /// The sender's account is the same in every spelling; so is the recipient's.
    #[test]
    fn spellings_of_the_accounts_do_not_matter(message in signed_message()) {
        let mut unsigned = transaction(message, 0);
        let spelled = |address: &Address| DIALECT.address(&address.to_checksummed().unwrap());
        unsigned.from = spelled(&unsigned.from).unwrap();
        unsigned.to = spelled(&unsigned.to).unwrap();
        let signed = unsigned.sign(&key(1));
        let mined = row(&signed.stored());
        prop_assert!(mined.from.spelled().starts_with("0x"));
        prop_assert_eq!(judge(&mined), Authenticity::Verified);
        let respelled = StoredTransaction { from: address(1), to: address(2), ..mined };
        prop_assert_eq!(judge(&respelled), Authenticity::Verified);
    }

    /// Nothing of a message that anyone can write makes this panic.
    #[test]
    fn no_message_panics(message in message(), amount in 0..3_u64) {
        let signed = transaction(message, amount).sign(&key(1));
        let _ = judge(&row(&signed.stored()));
        let read = SignedTransaction::from_stored(&row(&signed.stored()), None).unwrap();
        prop_assert!(read.signature().is_none());
    }
}

/// The reasons, by name.
#[test]
fn what_is_wrong_is_named() {
    let id = MessageId::generate(Timestamp::new(1_790_000_000_000)).unwrap();
    let header = Header {
        id: Some(id),
        ..Header::default()
    };
    let message = compose(&Payload::Text("ping".to_owned()), Some(&header)).unwrap();
    let mined = row(&transaction(message, 0).sign(&key(1)).stored());
    let chain: ChainId = "ait-vec".parse().unwrap();
    let find = |of: &StoredTransaction| examine(of, &chain, None, None);
    let other: ChainId = "ait-other".parse().unwrap();
    assert_eq!(examine(&mined, &other, None, None), Finding::ForeignChain);
    let own = inner(&mined.payload);
    let with = |sig: &str| StoredTransaction {
        payload: mined
            .payload
            .to_compact()
            .replace(&format!("\"{own}\""), sig)
            .parse()
            .unwrap(),
        ..mined.clone()
    };
    assert!(find(&mined).authenticity() == Authenticity::Verified);
    // Another spelling of the same signature does not count: there is one of each.
    for sig in [
        format!("\"{}\"", own.to_uppercase()),
        format!("\"0x{own}\""),
        "\"\"".to_owned(),
        "7".to_owned(),
        "{}".to_owned(),
        format!("\"{}\"", &own[..128]),
    ] {
        let finding = find(&with(&sig));
        assert_eq!(finding.authenticity(), Authenticity::Forged, "{sig}");
    }
    // Without it, nothing shows who sent the message.
    assert_eq!(find(&with("null")), Finding::Unsigned);
    let foreign = StoredTransaction {
        from: address(5),
        ..mined.clone()
    };
    assert_eq!(find(&foreign), Finding::ForeignKey);
}
