//! The bytes of an agent card that its signatures cover.
//!
//! A card is signed as the message `AgentCard` of a2a.proto: fields that this message does not have
//! are left out, and so are fields with their default value and everything empty; then it is written
//! as RFC 8785 (JSON Canonicalization Scheme) says. So a field that a server adds for older clients
//! changes nothing, and one that a reader of version 1.0 uses is covered.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// What a field holds, as far as it matters which value is its default.
enum Kind {
    /// A text or a list of texts, or what has no defaults within.
    Plain,
    /// A boolean whose default is false.
    Flag,
    /// A boolean that can be absent: false says something.
    Choice,
    Message(&'static [(&'static str, Kind)]),
    Messages(&'static [(&'static str, Kind)]),
    /// An object whose keys are names.
    Map(&'static [(&'static str, Kind)]),
}

use Kind::{Choice, Flag, Map as Named, Message, Messages, Plain};

const CARD: &[(&str, Kind)] = &[
    ("name", Plain),
    ("description", Plain),
    ("supportedInterfaces", Messages(INTERFACE)),
    (
        "provider",
        Message(&[("url", Plain), ("organization", Plain)]),
    ),
    ("version", Plain),
    ("documentationUrl", Plain),
    ("capabilities", Message(CAPABILITIES)),
    ("securitySchemes", Named(SCHEME)),
    ("securityRequirements", Messages(REQUIREMENT)),
    ("defaultInputModes", Plain),
    ("defaultOutputModes", Plain),
    ("skills", Messages(SKILL)),
    ("iconUrl", Plain),
];

const INTERFACE: &[(&str, Kind)] = &[
    ("url", Plain),
    ("protocolBinding", Plain),
    ("tenant", Plain),
    ("protocolVersion", Plain),
];

const CAPABILITIES: &[(&str, Kind)] = &[
    ("streaming", Choice),
    ("pushNotifications", Choice),
    ("extensions", Messages(EXTENSION)),
    ("extendedAgentCard", Choice),
];

const EXTENSION: &[(&str, Kind)] = &[
    ("uri", Plain),
    ("description", Plain),
    ("required", Flag),
    ("params", Plain),
];

const SKILL: &[(&str, Kind)] = &[
    ("id", Plain),
    ("name", Plain),
    ("description", Plain),
    ("tags", Plain),
    ("examples", Plain),
    ("inputModes", Plain),
    ("outputModes", Plain),
    ("securityRequirements", Messages(REQUIREMENT)),
];

const REQUIREMENT: &[(&str, Kind)] = &[("schemes", Named(&[("list", Plain)]))];

const SCHEME: &[(&str, Kind)] = &[
    (
        "apiKeySecurityScheme",
        Message(&[("description", Plain), ("location", Plain), ("name", Plain)]),
    ),
    (
        "httpAuthSecurityScheme",
        Message(&[
            ("description", Plain),
            ("scheme", Plain),
            ("bearerFormat", Plain),
        ]),
    ),
    (
        "oauth2SecurityScheme",
        Message(&[
            ("description", Plain),
            ("flows", Message(FLOWS)),
            ("oauth2MetadataUrl", Plain),
        ]),
    ),
    (
        "openIdConnectSecurityScheme",
        Message(&[("description", Plain), ("openIdConnectUrl", Plain)]),
    ),
    ("mtlsSecurityScheme", Message(&[("description", Plain)])),
];

const FLOWS: &[(&str, Kind)] = &[
    ("authorizationCode", Message(FLOW)),
    ("clientCredentials", Message(FLOW)),
    ("implicit", Message(FLOW)),
    ("password", Message(FLOW)),
    ("deviceCode", Message(FLOW)),
];

/// The fields of all flows together.
const FLOW: &[(&str, Kind)] = &[
    ("authorizationUrl", Plain),
    ("deviceAuthorizationUrl", Plain),
    ("tokenUrl", Plain),
    ("refreshUrl", Plain),
    ("scopes", Plain),
    ("pkceRequired", Flag),
];

/// The bytes that the signatures of a card cover.
pub fn signed_bytes(card: &Value) -> Vec<u8> {
    let kept = message(CARD, card).unwrap_or_else(|| Value::Object(Map::new()));
    let mut text = String::new();
    write(&kept, &mut text);
    text.into_bytes()
}

/// A value without what is empty or has its default; none if nothing remains.
fn kept(kind: &Kind, value: &Value) -> Option<Value> {
    match kind {
        Flag if value == &Value::Bool(false) => None,
        Plain | Flag | Choice => full(value),
        Message(fields) => message(fields, value),
        Messages(fields) => match value {
            Value::Array(items) => some_list(items.iter().filter_map(|item| message(fields, item))),
            other => full(other),
        },
        Named(fields) => match value {
            Value::Object(entries) => some_object(
                entries
                    .iter()
                    .filter_map(|(key, item)| Some((key.clone(), message(fields, item)?))),
            ),
            other => full(other),
        },
    }
}

fn message(fields: &[(&str, Kind)], value: &Value) -> Option<Value> {
    let Value::Object(entries) = value else {
        return full(value);
    };
    some_object(fields.iter().filter_map(|(name, kind)| {
        let value = kept(kind, entries.get(*name)?)?;
        Some(((*name).to_owned(), value))
    }))
}

/// A value without what is empty.
fn full(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) => some_list(items.iter().filter_map(full)),
        Value::Object(entries) => some_object(
            entries
                .iter()
                .filter_map(|(key, item)| Some((key.clone(), full(item)?))),
        ),
        other => Some(other.clone()),
    }
}

fn some_list(items: impl Iterator<Item = Value>) -> Option<Value> {
    let items: Vec<Value> = items.collect();
    (!items.is_empty()).then_some(Value::Array(items))
}

fn some_object(entries: impl Iterator<Item = (String, Value)>) -> Option<Value> {
    let entries: Map<String, Value> = entries.collect();
    (!entries.is_empty()).then_some(Value::Object(entries))
}

/// Writes a value as RFC 8785 says. serde_json reads at most 128 levels, so the recursion ends.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number_text(number.as_f64().unwrap_or_default())),
        Value::String(value) => write_string(value, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(entries) => {
            let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
            // By UTF-16 code units: not the order of code points, nor of bytes.
            entries.sort_by_cached_key(|(key, _)| key.encode_utf16().collect::<Vec<u16>>());
            text.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(key, text);
                text.push(':');
                write(item, text);
            }
            text.push('}');
        }
    }
}

fn write_string(value: &str, text: &mut String) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            control if control < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

/// A number as ECMAScript's `Number::toString` writes it (ECMA-262, 6.1.6.1.20).
fn number_text(number: f64) -> String {
    // The shortest digits that read back the same, the even ones of two that are as close: `{:e}` of
    // the standard library chooses otherwise.
    let shortest = Number::from_f64(number.abs()).map(|number| number.to_string());
    let shortest = shortest.unwrap_or_default();
    let (text, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{part}");
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let digits = digits.trim_matches('0');
    if digits.is_empty() {
        return "0".to_owned();
    }
    let length = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let sign = if number < 0.0 { "-" } else { "" };
    let count = length(digits.len());
    // The point is after this many digits.
    let point = exponent + length(whole.len()) - length(leading);
    let text = if (count..=21).contains(&point) {
        format!("{digits}{}", zeros(point - count))
    } else if (1..=21).contains(&point) {
        let (whole, part) = digits.split_at(usize::try_from(point).unwrap_or_default());
        format!("{whole}.{part}")
    } else if (-5..=0).contains(&point) {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() {
            String::new()
        } else {
            format!(".{rest}")
        };
        let exponent = point - 1;
        format!("{first}{rest}e{exponent:+}")
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canonical(text: &str) -> String {
        let mut found = String::new();
        write(&serde_json::from_str(text).unwrap(), &mut found);
        found
    }

    #[test]
    fn numbers_are_written_as_in_ecmascript() {
        // RFC 8785, appendix B.
        for (bits, expected) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(number_text(f64::from_bits(bits)), expected);
        }
        assert_eq!(
            canonical("[10, 1.50, -1e2, 4.50e-3]"),
            "[10,1.5,-100,0.0045]"
        );
    }

    #[test]
    fn keys_are_sorted_by_code_units_and_strings_kept() {
        // RFC 8785, sections 3.2.2 and 3.2.3.
        assert_eq!(
            canonical(
                r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#
            ),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}"
        );
        assert_eq!(
            canonical(r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#),
            "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\""
        );
    }

    #[test]
    fn defaults_and_unknown_fields_are_left_out() {
        let card = json!({
            "name": "n", "description": "", "version": null, "skills": [], "url": "https://old",
            "signatures": [{ "protected": "p" }], "provider": { "url": "" },
            "capabilities": { "streaming": false, "extensions": [{ "required": false, "uri": "u" }] },
            "supportedInterfaces": [{ "url": "https://h", "protocolVersion": "1.0", "x": 1 }],
            "securitySchemes": { "a": { "type": "http", "httpAuthSecurityScheme": { "scheme": "b" } } },
        });
        assert_eq!(
            String::from_utf8(signed_bytes(&card)).unwrap(),
            r#"{"capabilities":{"extensions":[{"uri":"u"}],"streaming":false},"name":"n","#
                .to_owned()
                + r#""securitySchemes":{"a":{"httpAuthSecurityScheme":{"scheme":"b"}}},"#
                + r#""supportedInterfaces":[{"protocolVersion":"1.0","url":"https://h"}]}"#
        );
    }
}
