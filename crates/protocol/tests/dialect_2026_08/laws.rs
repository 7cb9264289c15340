//! Laws of the dialect, for random messages and addresses.

use agentry_protocol::authenticity::{self, Authenticity};
use agentry_protocol::{Address, Dialect, Envelope, Json, JsonRef, Limits, Number};
use agentry_protocol::{SignedTransaction, StoredTransaction};
use proptest::prelude::*;

use super::{DIALECT, key, message, name, row, transaction, value};

/// What a node makes of a payload before it verifies the signature.
fn rewritten(payload: &Json, amount: &Number) -> Json {
    if !payload.root().is_object() {
        return Json::object([("amount", Json::number(amount))]);
    }
    let has = payload.root().get("amount").is_some();
    let added = (!has).then(|| ("amount", Json::number(amount)));
    let entries = payload.root().entries();
    let entries = entries.map(|(key, value)| (key, value.to_json()));
    Json::object(entries.chain(added))
}

/// The spellings of an account.
fn spellings(digits: &str) -> Vec<String> {
    let mut all = Vec::new();
    for prefix in ["ait1", "0x", "aitbc1"] {
        let text = format!("{prefix}{digits}");
        all.extend([text.to_uppercase(), format!(" {text} "), text]);
    }
    all
}

fn addresses() -> impl Strategy<Value = String> {
    let digits = prop_oneof![Just("ab".repeat(20)), "[0-9a-f]{40}", "[0-9a-fA-F]{40}"];
    prop_oneof![
        4 => (digits, any::<prop::sample::Index>()).prop_map(|(digits, at)| {
            let all = spellings(&digits);
            all[at.index(all.len())].clone()
        }),
        1 => "[!-~]{1,46}",
        1 => "(0x|ait1|AIT1|aitbc1)[0-9a-f]{39,41}",
    ]
}

proptest! {
    /// What is wrapped and signed reads as what was composed, and is drafted again from the body.
    #[test]
    fn a_message_is_wrapped_and_unwrapped(message in message(), amount in 0..3_u64) {
        let drafted = message.clone();
        let signed = transaction(message, amount).sign(&key(1));
        let draft = signed.draft().into_owned();
        let (read, wanted) = (Envelope::read(&draft), Envelope::read(&drafted));
        prop_assert_eq!(&read.payload, &wanted.payload);
        prop_assert_eq!(read.header(), wanted.header());
        // A reader sees the same, with a signature that it does not know as a field of the header.
        let seen = Envelope::read(&signed.message());
        prop_assert_eq!(seen.header(), wanted.header());
        prop_assert_eq!(seen.payload.cmd_and_fields(), wanted.payload.cmd_and_fields());
        // Signing the draft again gives the same transaction.
        let again = transaction(draft.clone(), amount).sign(&key(1));
        prop_assert_eq!(&again, &signed);
        let body: Json = signed.body().parse().unwrap();
        prop_assert_eq!(SignedTransaction::draft_in(body.root()), Some(draft));
    }

    /// A node changes nothing in what this program posts, and finds none of its own keys there.
    #[test]
    fn a_node_leaves_a_payload_as_it_is(message in message(), amount in 0..3_u64) {
        let signed = transaction(message, amount).sign(&key(1));
        let payload = &signed.transaction().payload;
        prop_assert_eq!(&rewritten(payload, &Number::from(amount)), payload);
        for meant in ["type", "to", "recipient"] {
            prop_assert!(payload.root().get(meant).is_none(), "{}", payload.to_compact());
        }
        let kind = signed.stored().kind;
        prop_assert_eq!(&*kind, if amount == 0 { "MESSAGE" } else { "TRANSFER" });
        // And what it keeps is what was signed.
        let text = signed.stored().stored_text();
        let kept = StoredTransaction::read(DIALECT, text.as_bytes(), Limits::default()).unwrap();
        prop_assert_eq!(kept.hash(), signed.hash());
        prop_assert_eq!(kept.message(), signed.message());
        let read = SignedTransaction::from_body(signed.body().as_bytes(), Limits::default());
        prop_assert_eq!(read.unwrap().body(), signed.body());
    }

    /// The identity of a message is rebuilt from a row, which has no signature.
    #[test]
    fn the_digest_of_a_row_is_that_of_the_transaction(message in message(), amount in 0..3_u64) {
        let signed = transaction(message, amount).sign(&key(1));
        let row = row(&signed.stored());
        prop_assert_eq!(row.digest(), signed.digest());
        prop_assert_eq!(row.signing_text(), signed.transaction().signing_text());
        prop_assert_eq!(row.message(), signed.message());
        let kept = StoredTransaction::parse(row.stored_text().as_bytes(), Limits::default());
        prop_assert_eq!(kept.unwrap(), row);
    }

    /// An address is an account: equal to all of its spellings, and to nothing else.
    #[test]
    fn equality_is_that_of_accounts(one in addresses(), two in addresses(), three in addresses()) {
        let read = |text: &str| DIALECT.address(text).ok();
        let (Some(one), Some(two), Some(three)) = (read(&one), read(&two), read(&three)) else {
            return Ok(());
        };
        prop_assert_eq!(&one, &one);
        prop_assert_eq!(one == two, two == one);
        prop_assert!(one != two || two != three || one == three);
        prop_assert_eq!(one == two, one.as_str() == two.as_str());
        let hash = |address: &Address| {
            use std::hash::{DefaultHasher, Hash as _, Hasher as _};
            let mut hasher = DefaultHasher::new();
            address.hash(&mut hasher);
            hasher.finish()
        };
        prop_assert!(one != two || hash(&one) == hash(&two));
        // The account is its own spelling.
        prop_assert_eq!(DIALECT.address(one.as_str()).unwrap(), one);
    }

    #[test]
    fn all_spellings_are_one_account(digits in "[0-9a-f]{40}") {
        let account = DIALECT.address(&format!("ait1{digits}")).unwrap();
        for spelling in spellings(&digits) {
            let read = DIALECT.address(&spelling).unwrap();
            prop_assert_eq!(&read, &account, "{}", spelling);
            prop_assert_eq!(read.spelled(), spelling.trim());
        }
        let typed: Address = account.to_checksummed().unwrap().parse().unwrap();
        prop_assert_eq!(typed, account);
    }

    /// In April an account is its exact text, and a message is the payload.
    #[test]
    fn april_is_as_it_was(message in message(), digits in "[a-f]{40}") {
        let april = Dialect::April2026;
        let lower = april.address(&format!("ait1{digits}")).unwrap();
        let upper = april.address(&format!("AIT1{}", digits.to_uppercase())).unwrap();
        prop_assert_ne!(&lower, &upper);
        prop_assert_ne!(&lower, &april.address(&format!("0x{digits}")).unwrap());
        prop_assert_eq!(&*april.message(&message), &message);
        prop_assert_eq!(&*april.draft(&message), &message);
        let mut unsigned = transaction(message.clone(), 0);
        unsigned.dialect = april;
        let signed = unsigned.sign(&key(1));
        prop_assert_eq!(&signed.transaction().payload, &message);
    }
}

/// Payloads that anyone can write, among them damaged forms of this program's.
fn hostile() -> impl Strategy<Value = Json> {
    let header = prop_oneof![
        value(),
        (value(), value()).prop_map(|(id, sig)| Json::object([
            ("v", Json::integer(1)),
            ("id", id),
            ("sig", sig)
        ])),
        Just(Json::object([
            ("v", Json::integer(1)),
            ("id", Json::string("0198c5f0-0000-7000-8000-000000000000")),
            ("sig", Json::string("0".repeat(130))),
        ])),
    ];
    let fields = prop::collection::btree_map(name(), value(), 0..4);
    let object = (fields, prop::option::of(header))
        .prop_map(|(fields, header)| {
            let header = header.map(|header| ("msg".to_owned(), header));
            Json::object(fields.into_iter().chain(header))
        })
        .boxed();
    let wrapped = object
        .clone()
        .prop_map(|inner| Json::object([("message", Json::string(inner.to_compact()))]));
    prop_oneof![value(), object, wrapped]
}

proptest! {
    /// Whatever a chain carries: it reads back as it was, and a row is trusted no more than what was
    /// posted.
    #[test]
    fn any_payload_is_read(
        payload in hostile(), signature in prop::option::of("(0x)?[0-9a-fA-F]{130}|.{0,8}"),
        amount in value(), kind in "[a-zA-Z]{0,9}", from in addresses(),
    ) {
        let draft = DIALECT.draft(&payload).into_owned();
        prop_assert_eq!(&*DIALECT.draft(&draft), &draft);
        let message = DIALECT.message(&payload);
        let (said, drafted) = (Envelope::read(&message), Envelope::read(&draft));
        prop_assert_eq!(said.header(), drafted.header());
        let number = amount.root().as_number().map_or(Json::integer(0), |_| amount.clone());
        let object = Json::object([
            ("chain_id", Json::string("ait-vec")),
            ("from", Json::string(from)),
            ("to", Json::string("x")),
            ("amount", number),
            ("payload", payload),
            ("type", Json::string(kind)),
            ("signature", signature.map_or(Json::null(), Json::string)),
        ]);
        let Ok(stored) = DIALECT.read_stored(object.root()) else { return Ok(()) };
        let text = stored.stored_text();
        let again = StoredTransaction::parse(text.as_bytes(), Limits::NONE).unwrap();
        prop_assert_eq!(again.stored_text(), text);
        prop_assert_eq!(&again, &stored);
        prop_assert_eq!((again.hash(), again.digest()), (stored.hash(), stored.digest()));
        let judge = |of: &StoredTransaction| {
            let chain = "ait-vec".parse().unwrap();
            authenticity::examine(of, &chain, None, None).authenticity()
        };
        let row = StoredTransaction { signature: None, ..stored.clone() };
        prop_assert_eq!(row.digest(), stored.digest());
        let (of_row, judged) = (judge(&row), judge(&stored));
        prop_assert!(of_row == judged || of_row == Authenticity::Unverified);
        prop_assert!(judged != Authenticity::Verified, "nobody has signed this");
    }
}

/// A command without its header.
trait Bare {
    fn cmd_and_fields(&self) -> Json;
}

impl Bare for agentry_protocol::Payload {
    fn cmd_and_fields(&self) -> Json {
        let without_header = |body: JsonRef<'_>| {
            let fields = body.entries().filter(|(key, _)| *key != "msg");
            Json::object(fields.map(|(key, value)| (key, value.to_json())))
        };
        match self {
            Self::Command(command) => without_header(command.body.root()),
            Self::Text(text) => Json::string(text.as_str()),
            Self::Opaque(json) => json.clone(),
        }
    }
}

/// Ordinary payloads of other clients.
#[test]
fn what_others_write_is_read() {
    let text = |json: &str| Envelope::read(&DIALECT.message(&json.parse().unwrap())).payload;
    for (payload, says) in [
        (r#"{"amount":0,"message":"ping"}"#, "ping"),
        (r#"{"message":"ping"}"#, "ping"),
        (r#"{"amount":0,"text":"ping"}"#, "ping"),
        (r#""ping""#, "ping"),
    ] {
        let read = text(payload);
        assert_eq!(
            read,
            agentry_protocol::Payload::Text(says.to_owned()),
            "{payload}"
        );
    }
    let read = text(r#"{"amount":36000,"to":"ait1x"}"#);
    assert!(
        matches!(read, agentry_protocol::Payload::Opaque(_)),
        "{read:?}"
    );
}
