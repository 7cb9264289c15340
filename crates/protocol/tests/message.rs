//! Headers, messages and answers.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use agentry_protocol::header::MessageIdError;
use agentry_protocol::message::{ComposeError, MAX_PAYLOAD_BYTES};
use agentry_protocol::payload::Command;
use agentry_protocol::{
    AckRequest, Authenticity, Envelope, Header, HeaderError, Identity, Json, KnownCommand,
    MessageDigest, MessageId, Payload, Seed, Timestamp, Trace, Trail, TransactionHash, compose,
};
use proptest::prelude::*;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

fn read(text: &str) -> Envelope {
    Envelope::read(&text.parse().unwrap())
}

fn header(msg: &str) -> Result<Option<Header>, HeaderError> {
    read(&format!(r#"{{"cmd":"PING","msg":{msg}}}"#)).header
}

fn hash() -> TransactionHash {
    TransactionHash::of(b"transaction")
}

#[test]
fn a_header_is_read_whole() {
    let key = Seed::from_bytes([1; 32]).public_key();
    let text = format!(
        r#"{{"v":1,"id":"{ID}","re":"{}","thread":"a thread","exp":1795000000000,
            "ack":"done","hops":2,"trace":"{TRACE}","key":"{key}","later":{{"than":"us"}}}}"#,
        hash()
    );
    let expected = Header {
        id: Some(ID.parse().unwrap()),
        re: Some(hash()),
        thread: Some("a thread".parse().unwrap()),
        exp: Some(Timestamp::new(1_795_000_000_000)),
        ack: Some(AckRequest::Done),
        trail: Trail {
            hops: 2,
            trace: Some(TRACE.parse().unwrap()),
        },
        key: Some(key),
    };
    assert_eq!(header(&text), Ok(Some(expected)));
    assert_eq!(header(r#"{"v":1}"#), Ok(Some(Header::default())));
    let nulls = r#"{"v":1,"id":null,"re":null,"thread":null,"exp":null,"ack":null,"hops":null,
        "trace":null,"key":null}"#;
    assert_eq!(header(nulls), Ok(Some(Header::default())));
    let most = header(r#"{"v":1,"hops":18446744073709551615}"#);
    assert_eq!(most.unwrap().unwrap().trail.hops, u32::MAX);
    for foreign in ["7", "\"01-ff\"", "{}"] {
        let text = format!(r#"{{"v":1,"trace":{foreign}}}"#);
        assert_eq!(header(&text), Ok(Some(Header::default())), "{foreign}");
    }
}

#[test]
fn where_a_header_may_be() {
    for (payload, expected) in [
        (r#"{"cmd":"PING","msg":{"v":1}}"#, true),
        (r#""{\"cmd\":\"PING\",\"msg\":{\"v\":1}}""#, true),
        (r#"{"text":"hello","msg":{"v":1}}"#, true),
        // A string that holds a text object is a text, unchanged.
        (r#""{\"text\":\"hello\",\"msg\":{\"v\":1}}""#, false),
        (r#"{"cmd":"PING","msg":null}"#, false),
        (r#"{"cmd":"PING"}"#, false),
        (r#""ping""#, false),
        (r#"{"data":1,"msg":{"v":1}}"#, false),
        (r#"{"cmd":"PING","msg":{"v":1},"msg":{"v":1}}"#, false),
        (r#"{"cmd":"PING","msg":{"v":1,"v":1}}"#, false),
    ] {
        let header = expected.then(Header::default);
        assert_eq!(read(payload).header, Ok(header), "{payload}");
    }
}

#[test]
fn another_version_is_noted_and_counts_as_no_header() {
    for (v, found) in [
        ("2", Some(2)),
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("-1", None),
        ("1.0", None),
        ("\"1\"", None),
        ("null", None),
    ] {
        let error = HeaderError::UnknownVersion { found };
        // The rest of a header of another version is not checked.
        let text = format!(r#"{{"v":{v},"id":7}}"#);
        assert_eq!(header(&text), Err(error), "{v}");
        assert!(error.is_unknown_version());
    }
    let envelope = read(r#"{"cmd":"PING","msg":{"v":2}}"#);
    assert_eq!(envelope.header(), None);
    assert!(envelope.header_error().is_some());
    assert!(matches!(envelope.payload, Payload::Command(_)));
    assert_eq!(
        header("{}"),
        Err(HeaderError::UnknownVersion { found: None })
    );
}

#[test]
fn a_broken_header_names_its_field() {
    for msg in ["7", "\"v1\"", "[]", "true"] {
        assert_eq!(header(msg), Err(HeaderError::NotAnObject), "{msg}");
    }
    let long = format!("\"{}\"", "t".repeat(129));
    for (field, value) in [
        ("id", "7"),
        ("id", "\"7\""),
        ("id", "\"017f22e2-79b0-4cc3-98c4-dc0c0c07398f\""),
        ("re", "\"0x12\""),
        ("re", "[]"),
        ("thread", "\"\""),
        ("thread", long.as_str()),
        ("thread", "\"a\\nb\""),
        ("thread", "{}"),
        ("exp", "-1"),
        ("exp", "1.5"),
        ("exp", "253402300800000"),
        ("exp", "\"1795000000000\""),
        ("exp", "1e400"),
        ("ack", "\"DONE\""),
        ("ack", "true"),
        ("hops", "-1"),
        ("hops", "1.5"),
        ("hops", "\"1\""),
        ("hops", "18446744073709551616"),
        ("key", "\"00\""),
        (
            "key",
            "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        ),
        ("key", "1"),
    ] {
        let Ok(payload) = format!(r#"{{"cmd":"X","msg":{{"v":1,"{field}":{value}}}}}"#).parse()
        else {
            assert_eq!(value, "1e400", "json without a canonical form");
            continue;
        };
        let error = Envelope::read(&payload).header.unwrap_err();
        assert!(!error.is_unknown_version());
        assert!(error.to_string().contains(&format!("{field:?}")), "{error}");
    }
}

#[test]
fn a_message_expires_after_its_last_millisecond() {
    let header = Header {
        exp: Some(Timestamp::new(1000)),
        ..Header::default()
    };
    assert!(!header.is_expired(Timestamp::new(1000)));
    assert!(header.is_expired(Timestamp::new(1001)));
    assert!(!Header::default().is_expired(Timestamp::new(u64::MAX)));
}

#[test]
fn a_verified_id_identifies_a_message_and_else_the_digest_does() {
    let digest = MessageDigest::of(b"text");
    let with_id = read(&format!(r#"{{"cmd":"PING","msg":{{"v":1,"id":"{ID}"}}}}"#));
    let id = Identity::Id(ID.parse().unwrap());
    assert_eq!(with_id.identity(digest, Authenticity::Verified), id);
    assert_eq!(id.to_string(), ID);
    let by_digest = Identity::Digest(digest);
    assert_eq!(
        with_id.identity(digest, Authenticity::Unverified),
        by_digest
    );
    assert_eq!(with_id.identity(digest, Authenticity::Forged), by_digest);
    assert_eq!(by_digest.to_string(), digest.to_string());
    for other in [
        r#""ping""#,
        r#"{"cmd":"PING","msg":{"v":1}}"#,
        r#"{"cmd":"PING","msg":{"v":1,"id":7}}"#,
    ] {
        let identity = read(other).identity(digest, Authenticity::Verified);
        assert_eq!(identity, by_digest);
    }
}

#[test]
fn an_acknowledgment_is_never_acknowledged() {
    let due = |cmd: &str| {
        read(&format!(
            r#"{{"cmd":"{cmd}","msg":{{"v":1,"ack":"received"}}}}"#
        ))
        .ack_due()
    };
    assert_eq!(due("PING"), Some(AckRequest::Received));
    assert_eq!(due("ACK"), None);
    assert_eq!(read(r#""ping""#).ack_due(), None);
    let text = read(r#"{"text":"x","msg":{"v":1,"ack":"done"}}"#);
    assert_eq!(text.ack_due(), Some(AckRequest::Done));
}

#[test]
fn a_plain_text_gets_a_plain_text_and_everything_else_a_header() {
    let text = Payload::Text("pong".into());
    let command = KnownCommand::Pong.to_payload();
    assert_eq!(read(r#""ping""#).answer_header(hash(), &text), None);
    assert_eq!(
        read(r#"{"text":"ping"}"#).answer_header(hash(), &text),
        None
    );
    let only_re = Some(Header {
        re: Some(hash()),
        trail: Trail::NONE.next(),
        ..Header::default()
    });
    assert_eq!(read(r#""ping""#).answer_header(hash(), &command), only_re);
    for question in [
        r#"{"cmd":"PING"}"#,
        r#"{"text":"ping","msg":{"v":1}}"#,
        r#"{"text":"ping","msg":{"v":2}}"#,
        "7",
    ] {
        let header = read(question).answer_header(hash(), &text);
        assert_eq!(header, only_re, "{question}");
    }
    let threaded = read(&format!(
        r#"{{"text":"ping","msg":{{"v":1,"id":"{ID}","thread":"t","ack":"done","exp":1}}}}"#
    ));
    let expected = Header {
        re: Some(hash()),
        thread: Some("t".parse().unwrap()),
        trail: Trail::NONE.next(),
        ..Header::default()
    };
    assert_eq!(threaded.answer_header(hash(), &text), Some(expected));
}

#[test]
fn what_is_sent() {
    let text = |text: &str| Payload::Text(text.into());
    let header = Header {
        thread: Some("t".parse().unwrap()),
        ..Header::default()
    };
    let sent =
        |payload: &Payload, header: Option<&Header>| compose(payload, header).unwrap().to_compact();
    assert_eq!(sent(&text("ping"), None), r#""ping""#);
    assert_eq!(
        sent(&text("ping"), Some(&header)),
        r#"{"msg":{"thread":"t","v":1},"text":"ping"}"#
    );
    assert_eq!(
        sent(&KnownCommand::Ping.to_payload(), Some(&header)),
        r#""{\"cmd\":\"PING\",\"msg\":{\"thread\":\"t\",\"v\":1}}""#
    );
    // A text that looks like a command stays a text.
    let tricky = text(r#"{"cmd":"PING"}"#);
    assert_eq!(sent(&tricky, None), r#"{"text":"{\"cmd\":\"PING\"}"}"#);
    // The header of a forwarded command is not kept.
    let passed_on = read(r#"{"cmd":"PING","n":1,"msg":{"v":1,"thread":"other"}}"#).payload;
    assert_eq!(sent(&passed_on, None), r#""{\"cmd\":\"PING\",\"n\":1}""#);
}

#[test]
fn what_cannot_be_sent() {
    let opaque = Payload::Opaque(Json::null());
    assert_eq!(compose(&opaque, None), Err(ComposeError::NotAMessage));
    for body in [
        r#"{"cmd":"PONG"}"#,
        r#"{"n":1}"#,
        "7",
        r#"{"cmd":"PING","a":{"b":1,"b":2}}"#,
        r#"{"cmd":"PING","cmd":"PING"}"#,
    ] {
        let command = Payload::Command(Command {
            cmd: "PING".into(),
            body: body.parse().unwrap(),
        });
        let error = Err(ComposeError::NotACommand);
        assert_eq!(compose(&command, None), error, "{body}");
    }
    let fits = Payload::Text("x".repeat(MAX_PAYLOAD_BYTES - 2));
    assert!(compose(&fits, None).is_ok());
    // With its escapes: six bytes for each character.
    let escaped = Payload::Text("é".repeat(MAX_PAYLOAD_BYTES / 6));
    let bytes = MAX_PAYLOAD_BYTES + 2;
    assert_eq!(
        compose(&escaped, None),
        Err(ComposeError::TooLarge { bytes })
    );
}

fn any_header() -> impl Strategy<Value = Header> {
    (
        prop::option::of((any::<u64>(), any::<[u8; 10]>())),
        prop::option::of(any::<[u8; 32]>()),
        prop::option::of("[ -~]{1,128}"),
        prop::option::of((0..=Timestamp::MAX_STATED.get()).prop_map(Timestamp::new)),
        prop::option::of(prop_oneof![
            Just(AckRequest::Received),
            Just(AckRequest::Done)
        ]),
        (
            any::<u32>(),
            prop::option::of(any::<([u8; 16], [u8; 8], u8)>()),
        ),
        prop::option::of(any::<[u8; 32]>()),
    )
        .prop_map(|(id, re, thread, exp, ack, (hops, trace), key)| Header {
            id: id.map(|(time, random)| MessageId::new(Timestamp::new(time), random)),
            re: re.map(TransactionHash::from_bytes),
            thread: thread.map(|thread| thread.parse().unwrap()),
            exp,
            ack,
            trail: Trail {
                hops,
                trace: trace
                    .filter(|(id, parent, _)| *id != [0; 16] && *parent != [0; 8])
                    .map(|(id, parent, flags)| Trace { id, parent, flags }),
            },
            key: key.map(|seed| Seed::from_bytes(seed).public_key()),
        })
}

fn any_payload() -> impl Strategy<Value = Payload> {
    let text = prop_oneof![
        any::<String>(),
        Just(r#"{"cmd":"PING"}"#.to_owned()),
        Just(r#" {"cmd":1,"cmd":2}"#.to_owned()),
        Just(r#"{"text":"x"}"#.to_owned()),
    ];
    let command = (any::<String>(), any::<String>(), any::<i64>()).prop_map(|(cmd, key, value)| {
        let entries = [
            (key, Json::integer(value.into())),
            ("cmd".into(), Json::string(cmd)),
        ];
        // A random key that is "cmd" or "msg" is replaced, so it cannot be compared.
        let entries = entries.into_iter().filter(|(key, value)| {
            key != "msg" && (key != "cmd" || value.root().as_str().is_some())
        });
        Payload::read(&Json::object(entries))
    });
    prop_oneof![text.prop_map(Payload::Text), command]
}

proptest! {
    #[test]
    fn what_is_composed_reads_back(
        payload in any_payload(), header in prop::option::of(any_header()),
    ) {
        let sent = compose(&payload, header.as_ref()).unwrap();
        let read = Envelope::read(&sent);
        prop_assert_eq!(read.header(), header.as_ref());
        prop_assert_eq!(read.header_error(), None);
        match (&payload, &read.payload) {
            (Payload::Text(said), Payload::Text(heard)) => prop_assert_eq!(said, heard),
            (Payload::Command(said), Payload::Command(heard)) => {
                prop_assert_eq!(&said.cmd, &heard.cmd);
                for (key, value) in said.body.root().entries() {
                    prop_assert_eq!(heard.body.root().get(key), Some(value));
                }
            }
            other => prop_assert!(false, "{:?}", other),
        }
        // It is sent again unchanged.
        prop_assert_eq!(compose(&read.payload, read.header()).unwrap(), sent);
    }

    #[test]
    fn no_header_panics(
        field in "id|re|thread|exp|ack|key|v", value in any::<String>(), number in any::<i128>(),
        nested in any::<bool>(),
    ) {
        let value = match (nested, number % 3) {
            (true, _) => Json::array([Json::string(value)]),
            (_, 0) => Json::integer(number),
            _ => Json::string(value),
        };
        let msg = Json::object([("v".to_owned(), Json::integer(1)), (field, value)]);
        let payload = Json::object([("cmd", Json::string("X")), ("msg", msg)]);
        if let Ok(Some(header)) = Envelope::read(&payload).header {
            let again = Json::object([("msg", header.to_json())]);
            prop_assert_eq!(Header::read(again.root()), Ok(Some(header)));
        }
    }
}

#[test]
fn the_refusals_of_an_id_can_be_distinguished() {
    let id: MessageId = ID.parse().unwrap();
    assert!(matches!(
        id.check(Timestamp::new(u64::MAX)),
        Err(MessageIdError::TooOld { .. })
    ));
    assert!(matches!(
        id.check(Timestamp::EPOCH),
        Err(MessageIdError::Ahead { .. })
    ));
}
