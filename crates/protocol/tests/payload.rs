//! How payloads are read.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use agentry_protocol::{Json, Limits, Payload};
use proptest::prelude::*;

fn json(text: &str) -> Json {
    text.parse().unwrap()
}

fn read_text(text: &str) -> Payload {
    Payload::read(&Json::string(text))
}

fn is_command(payload: &Payload, expected: &str) -> bool {
    matches!(payload, Payload::Command(command)
        if command.cmd == expected && command.body.root().get("cmd").is_some())
}

#[test]
fn commands_come_as_text_and_as_json() {
    for text in [
        r#"{"cmd":"PING"}"#,
        " \t\r\n{\"cmd\": \"PING\", \"n\": 1} ",
        r#"{"text":"hello","cmd":"PING"}"#,
        r#"{"msg":{"v":1},"cmd":"PING"}"#,
    ] {
        assert!(is_command(&read_text(text), "PING"), "{text}");
        assert!(
            is_command(&Payload::read(&json(text.trim())), "PING"),
            "{text}"
        );
    }
}

#[test]
fn other_strings_are_text_as_they_are() {
    for text in [
        "ping",
        "",
        "  ping ",
        "{",
        "{\"cmd\":\"PING\"} and more",
        "{\"cmd\":7}",
        "{\"cmd\":\"PING\"",
        "[{\"cmd\":\"PING\"}]",
        "\"{\\\"cmd\\\":\\\"PING\\\"}\"",
        "{\"text\":\"hello\"}",
        "{\"cmd\":\"\\ud800\"}",
        "\u{a0}{\"cmd\":\"PING\"}",
        "{\"cmd\":NaN}",
    ] {
        assert_eq!(read_text(text), Payload::Text(text.to_owned()), "{text}");
    }
}

#[test]
fn objects_with_a_text_are_text() {
    assert_eq!(
        Payload::read(&json(r#"{"text":"hello"}"#)),
        Payload::Text("hello".into())
    );
    let with_header = json(r#"{"text":"hello","msg":{"v":1},"cmd":null}"#);
    assert_eq!(Payload::read(&with_header), Payload::Text("hello".into()));
}

#[test]
fn everything_else_is_opaque() {
    for text in [
        "7",
        "null",
        "true",
        "1.5",
        "[]",
        "[\"ping\"]",
        "{}",
        "{\"text\":7}",
        "{\"cmd\":[]}",
    ] {
        assert_eq!(
            Payload::read(&json(text)),
            Payload::Opaque(json(text)),
            "{text}"
        );
    }
}

#[test]
fn duplicate_keys_make_any_json_opaque() {
    for text in [
        r#"{"cmd":"PING","cmd":"PONG"}"#,
        r#"{"cmd":"PING","a":{"b":1,"b":1}}"#,
        r#"{"text":"a","text":"b"}"#,
    ] {
        assert_eq!(
            Payload::read(&json(text)),
            Payload::Opaque(json(text)),
            "{text}"
        );
        assert_eq!(read_text(text), Payload::Opaque(json(text)), "{text}");
        // The same after the payload was stored and read back.
        let stored = serde_json::to_string(&json(text)).unwrap();
        let stored: Json = serde_json::from_str(&stored).unwrap();
        assert!(
            matches!(Payload::read(&stored), Payload::Opaque(_)),
            "{text}"
        );
    }
    let array = json(r#"[{"a":1,"a":1}]"#);
    assert_eq!(Payload::read(&array), Payload::Opaque(array.clone()));
}

#[test]
fn depth_beyond_the_limit_is_text() {
    let levels = Limits::default().max_depth;
    let nested = |depth: usize| {
        format!(
            "{{\"cmd\":\"X\",\"a\":{}{}}}",
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    assert!(is_command(&read_text(&nested(levels - 1)), "X"));
    assert_eq!(read_text(&nested(levels)), Payload::Text(nested(levels)));
}

proptest! {
    #[test]
    fn every_string_is_read(text in any::<String>()) {
        match read_text(&text) {
            Payload::Text(read) => prop_assert_eq!(read, text),
            Payload::Command(_) | Payload::Opaque(_) => {
                prop_assert_eq!(text.trim_start().chars().next(), Some('{'));
            }
        }
    }

    #[test]
    fn a_command_is_the_same_as_text_and_as_json(cmd in any::<String>(), value in any::<String>()) {
        let body = Json::object([("cmd", Json::string(cmd.clone())), ("v", Json::string(value))]);
        let as_json = Payload::read(&body);
        prop_assert!(is_command(&as_json, &cmd));
        prop_assert_eq!(&read_text(&body.to_compact()), &as_json);
        prop_assert_eq!(read_text(&body.to_spaced()), as_json);
    }
}
