//! The type of a parameter as the page describes it, and values on both sides of its bounds.

use agentry_protocol::Timestamp;
use serde_json::{Value, json};

/// Parses a number as spelled on the page: with commas.
pub(super) fn number(text: &str) -> u64 {
    text.replace(',', "").parse().unwrap()
}

/// Spells a number as on the page.
pub(super) fn spelled(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The numbers in a sentence, in order.
fn numbers(sentence: &str) -> Vec<usize> {
    sentence
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .filter_map(|word| word.trim_matches(',').replace(',', "").parse().ok())
        .collect()
}

fn words(count: usize, length: usize) -> Value {
    Value::from(vec!["x".repeat(length); count])
}

/// An object whose compact JSON has this many bytes.
fn of_bytes(bytes: usize) -> Value {
    json!({ "x": "y".repeat(bytes - r#"{"x":""}"#.len()) })
}

/// An object with this many levels.
fn of_levels(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({ "x": inner }))
}

/// This many zero bytes as base64url without padding.
fn base64url(bytes: usize) -> Value {
    "A".repeat((bytes * 4).div_ceil(3)).into()
}

const WORD: &str = "01a20357-9080-7c3a-9d41-5e0b7a2f6c11";
const HASH: &str = "0xe42475e8e8f597622d5495658cc95b0d24b858c92ca372929e94cc61c8661c62";
const KEY: &str = "d04ab232742bb4ab3a1368bd4615e4e6d0224ab71a016baf8520a332c9778737";

/// Values just within and just outside of the bounds on the page, and whether each is accepted. Every
/// kind of sentence on the page must be known here.
pub(super) fn of(holds: &str) -> Vec<(Value, bool)> {
    let numbers = numbers(holds);
    let is = |start: &str| holds.starts_with(start);
    if is("text of at most") {
        let [most] = numbers.try_into().unwrap();
        return vec![
            ("x".repeat(most).into(), true),
            ("x".repeat(most + 1).into(), false),
            // Bytes count, not characters.
            ("é".repeat(most / 2 + 1).into(), false),
            ("".into(), true),
            ("\u{7f}\n".into(), true),
            (7.into(), false),
        ];
    }
    if let Some(length) = holds.strip_prefix("text of 1 to ") {
        let most = number(length.trim_end_matches(" bytes"));
        let most = usize::try_from(most).unwrap();
        return vec![
            ("x".repeat(most).into(), true),
            ("x".repeat(most + 1).into(), false),
            ("".into(), false),
            (7.into(), false),
        ];
    }
    if is("word of") || is("name of") {
        let [least, most] = numbers.try_into().unwrap();
        let mut values = vec![
            ("x".repeat(least).into(), true),
            ("x".repeat(most).into(), true),
            ("x".repeat(most + 1).into(), false),
            ("x".repeat(least - 1).into(), false),
            ("é".into(), false),
            ("a\u{7f}".into(), false),
            (7.into(), false),
        ];
        values.push(("a ~".into(), is("word of")));
        if is("name of") {
            values.push(("AIT1x".into(), false));
            values.push((".x".into(), false));
            values.push(("0.x_y-Z".into(), true));
        }
        return values;
    }
    if is("list of at most") && holds.ends_with(" endpoints") {
        let [count] = numbers.try_into().unwrap();
        let of = |protocol: &str, url: &str| json!({ "protocol": protocol, "url": url });
        let url = |length: usize| format!("https://{}", "h".repeat(length - "https://".len()));
        return vec![
            (json!([]), true),
            (vec![of("a2a", &url(256)); count].into(), true),
            (vec![of("a2a", &url(256)); count + 1].into(), false),
            (json!([of(&"x".repeat(64), "http://h:1/?a")]), true),
            (json!([of(&"x".repeat(65), "http://h")]), false),
            (json!([of("", "http://h")]), false),
            (json!([of("a2a", &url(257))]), false),
            (json!([of("a2a", "https://user@h")]), false),
            (json!([of("a2a", "https://h/#a")]), false),
            (json!([of("a2a", "ftp://h")]), false),
            (json!([of("a2a", "https:///")]), false),
            (json!([{ "protocol": "a2a" }]), false),
            (json!([{ "url": "https://h" }]), false),
            (json!(["https://h"]), false),
            (json!({}), false),
        ];
    }
    if is("list of at most") {
        let [count, least, most] = numbers.try_into().unwrap();
        return vec![
            (words(0, 1), true),
            (words(count, most), true),
            (words(count + 1, 1), false),
            (words(1, most + 1), false),
            (words(1, least - 1), false),
            (json!("x"), false),
            (json!([7]), false),
        ];
    }
    if is("object of at most") || is("JSON of at most") {
        let [bytes, levels] = numbers.try_into().unwrap();
        let mut values = vec![
            (of_bytes(bytes), true),
            (of_bytes(bytes + 1), false),
            (of_levels(levels), true),
            (of_levels(levels + 1), false),
            (json!([]), is("JSON of")),
        ];
        if is("JSON of") {
            values.extend([
                (json!([1, "x"]), true),
                (false.into(), true),
                (Value::Null, false),
            ]);
        }
        return values;
    }
    if is("integer from") {
        let [least, most] = numbers.try_into().unwrap();
        return vec![
            (least.into(), true),
            (most.into(), true),
            ((least - 1).into(), false),
            ((most + 1).into(), false),
            (json!(1.5), false),
            ("1".into(), false),
        ];
    }
    if let Some(length) = holds.strip_prefix("base64url of ") {
        let numbers = self::numbers(length);
        let (least, most) = (numbers[0], numbers[numbers.len() - 1]);
        let padded = format!("{}=", base64url(least).as_str().unwrap());
        return vec![
            (base64url(least), true),
            (base64url(most), true),
            (base64url(least - 1), false),
            (base64url(most + 1), false),
            (padded.into(), false),
        ];
    }
    if let Some(words) = holds.strip_prefix("one of ") {
        let words: Vec<&str> = words
            .split(", ")
            .map(|word| word.trim_matches('`'))
            .collect();
        let lower = |word: &str| {
            if word == word.to_lowercase() {
                word.to_uppercase()
            } else {
                word.to_lowercase()
            }
        };
        let mut values: Vec<(Value, bool)> = vec![("other".into(), false), (7.into(), false)];
        for word in words {
            values.push((word.into(), true));
            values.push((lower(word).into(), false));
        }
        return values;
    }
    match holds {
        "`1`" => vec![
            (1.into(), true),
            (json!(1.0), false),
            (2.into(), false),
            ("1".into(), false),
        ],
        "count" => vec![
            (0.into(), true),
            (u64::MAX.into(), true),
            (json!(-1), false),
            (json!(1.0), false),
            ("1".into(), false),
        ],
        "count below `result_bytes`" => vec![
            (0.into(), true),
            (u64::MAX.into(), false),
            (json!(-1), false),
            (json!(1.0), false),
            ("1".into(), false),
        ],
        "count above `offset`" => vec![
            (u64::MAX.into(), true),
            (0.into(), false),
            (json!(1e9), false),
            ("262199".into(), false),
        ],
        "time" => vec![
            (0.into(), true),
            (Timestamp::MAX_STATED.get().into(), true),
            ((Timestamp::MAX_STATED.get() + 1).into(), false),
            (json!(1.5), false),
            (json!(-1), false),
        ],
        "number from 0 to 1" => vec![
            (0.into(), true),
            (1.into(), true),
            (json!(0.5), true),
            (json!(1.001), false),
            (json!(-0.1), false),
            ("0.5".into(), false),
        ],
        // One that is not valid counts as missing.
        "trace context" => vec![("01-00".into(), true), (7.into(), true)],
        "object" => vec![(json!([]), false), ("x".into(), false)],
        "UUIDv7" => vec![
            (WORD.into(), true),
            (WORD.to_uppercase().into(), true),
            (WORD.replace("-7", "-4").into(), false),
            (WORD.replace('-', "").into(), false),
        ],
        "transaction hash" => vec![
            (HASH.into(), true),
            (HASH.to_uppercase().into(), false),
            (HASH.trim_start_matches("0x").into(), false),
        ],
        "job id" => vec![
            (WORD.into(), true),
            (HASH.into(), true),
            ("17".into(), false),
        ],
        "SHA-256" => vec![
            // Only the form is checked here; the test vectors check that it matches the result.
            (KEY.to_uppercase().into(), false),
            (HASH.into(), false),
        ],
        "Ed25519 key" => vec![
            (KEY.into(), true),
            (KEY.to_uppercase().into(), true),
            ("00".repeat(32).into(), false),
            (KEY[2..].into(), false),
        ],
        "X25519 key" => vec![
            (KEY.into(), true),
            (KEY.to_uppercase().into(), true),
            (KEY[2..].into(), false),
        ],
        other => panic!("unknown description of a parameter: {other:?}"),
    }
}

/// Replaces the value of a parameter, or removes the parameter.
pub(super) fn set(object: &mut Value, name: &str, value: Option<Value>) {
    let (object, key) = match name.rsplit_once('.') {
        Some((outer, key)) => (&mut object[outer], key),
        None => (object, name),
    };
    let object = object.as_object_mut().unwrap();
    match value {
        Some(value) => drop(object.insert(key.to_owned(), value)),
        None => assert!(object.remove(key).is_some(), "the example has no {name}"),
    }
}
