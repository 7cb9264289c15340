//! Laws of canonical JSON, over random documents.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::hash::{BuildHasher, RandomState};

use agentry_protocol::{Json, Kind, Limits, Number};
use proptest::prelude::*;

fn parse(text: &str) -> Json {
    Json::parse(text.as_bytes(), Limits::default()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn number() -> impl Strategy<Value = Json> {
    prop_oneof![
        any::<i64>().prop_map(|value| Json::integer(value.into())),
        any::<i128>().prop_map(Json::integer),
        "-?[1-9][0-9]{0,80}".prop_map(|digits| parse(&digits)),
        any::<f64>()
            .prop_filter("json holds finite floats", |value| value.is_finite())
            .prop_map(|value| Json::float(value).unwrap()),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\\x00-\\x7f\u{80}\u{e000}\u{ffff}\u{10000}\u{10ffff}\"\\\\]{0,8}",
        "[ab]{0,2}",
    ]
}

fn document() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::null()),
        any::<bool>().prop_map(Json::boolean),
        number(),
        text().prop_map(Json::string),
    ];
    leaf.prop_recursive(6, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::array),
            prop::collection::vec((text(), inner), 0..5).prop_map(Json::object),
        ]
    })
}

/// The same document in a spelling that is not canonical: the entries of its outermost object
/// reversed, white space everywhere, non-ASCII characters unescaped.
fn respelled(json: &Json) -> String {
    let root = json.root();
    let raw = |text: &str| serde_json::to_string(text).unwrap();
    match root.kind() {
        Kind::Object => {
            let mut entries: Vec<String> = root
                .entries()
                .map(|(key, value)| format!("\t{} :\n{}", raw(key), respelled(&value.to_json())))
                .collect();
            entries.reverse();
            format!(" {{ {} }}\r\n", entries.join(" , "))
        }
        Kind::Array => {
            let items: Vec<String> = root
                .items()
                .map(|item| respelled(&item.to_json()))
                .collect();
            format!("[\n{}\n]", items.join("\n,"))
        }
        Kind::String => raw(root.as_str().unwrap()),
        _ => format!(" {} ", json.to_compact()),
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(json in document()) {
        let (compact, spaced) = (json.to_compact(), json.to_spaced());
        prop_assert_eq!(&parse(&compact), &json);
        prop_assert_eq!(&parse(&spaced), &json);
        prop_assert_eq!(&parse(&spaced).to_compact(), &compact);
        prop_assert_eq!(&parse(&compact).to_spaced(), &spaced);
        prop_assert!(compact.is_ascii() && spaced.is_ascii());
        prop_assert!(compact.len() <= spaced.len());
    }

    #[test]
    fn the_spelling_of_the_input_does_not_matter(json in document()) {
        let read = parse(&respelled(&json));
        prop_assert_eq!(&read, &json);
        prop_assert_eq!(read.to_compact(), json.to_compact());
        let hasher = RandomState::new();
        prop_assert_eq!(hasher.hash_one(&read), hasher.hash_one(&json));
    }

    #[test]
    fn documents_are_equal_exactly_when_their_texts_are(a in document(), b in document()) {
        prop_assert_eq!(a == b, a.to_compact() == b.to_compact());
        prop_assert_eq!(a == b, a.to_spaced() == b.to_spaced());
    }

    #[test]
    fn keys_are_sorted_by_code_point_and_found(json in document()) {
        let mut waiting = vec![json.root()];
        while let Some(value) = waiting.pop() {
            let keys: Vec<&str> = value.entries().map(|(key, _)| key).collect();
            let points = |key: &&str| key.chars().collect::<Vec<_>>();
            prop_assert!(keys.is_sorted_by(|a, b| points(a) < points(b)));
            for (key, child) in value.entries() {
                prop_assert_eq!(value.get(key), Some(child));
                waiting.push(child);
            }
            waiting.extend(value.items());
        }
    }

    #[test]
    fn a_part_is_a_document_of_its_own(json in document()) {
        let whole = Json::array([json.clone(), Json::object([("k", json.clone())])]);
        prop_assert_eq!(&whole.root().at(0).unwrap().to_json(), &json);
        prop_assert_eq!(&whole.root().at(1).unwrap().get("k").unwrap().to_json(), &json);
        let expected = format!("[{0},{{\"k\":{0}}}]", json.to_compact());
        prop_assert_eq!(whole.to_compact(), expected);
    }

    #[test]
    fn serde_keeps_the_document_and_its_duplicate_key_flag(json in document()) {
        let text = serde_json::to_string(&json).unwrap();
        let read: Json = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &json);
        prop_assert_eq!(read.has_duplicate_keys(), json.has_duplicate_keys());
    }

    #[test]
    fn numbers_are_exact(json in number()) {
        let number = json.root().as_number().unwrap();
        prop_assert_eq!(number.to_string(), json.to_compact());
        prop_assert_eq!(&json.to_compact().parse::<Number>().unwrap(), &number);
        prop_assert_eq!(Json::number(&number), json);
        let text = serde_json::to_string(&number).unwrap();
        prop_assert_eq!(serde_json::from_str::<Number>(&text).unwrap(), number);
    }

    #[test]
    fn bytes_never_panic_and_what_is_read_has_a_canonical_form(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        if let Ok(json) = Json::parse(&bytes, Limits::default()) {
            prop_assert_eq!(parse(&json.to_compact()), json);
        }
    }

    #[test]
    fn near_json_never_panics(text in "[\\[\\]{}:,\"\\\\u0-9deE.+ \u{e9}-]{0,24}") {
        if let Ok(json) = Json::parse(text.as_bytes(), Limits::default()) {
            prop_assert_eq!(parse(&json.to_compact()), json);
        }
    }
}
