//! Canonical JSON: a document has one canonical form, in two spellings, which reads back as the
//! same document.
#![no_main]

use agentry_protocol::{Json, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(json) = Json::parse(text, Limits::default()) else {
        return;
    };
    let (compact, spaced) = (json.to_compact(), json.to_spaced());
    assert!(compact.is_ascii() && spaced.is_ascii());
    for spelled in [&compact, &spaced] {
        let again =
            Json::parse(spelled.as_bytes(), Limits::NONE).expect("a canonical form is json");
        assert_eq!(again, json);
        assert_eq!(again.to_compact(), compact);
        assert_eq!(again.to_spaced(), spaced);
        assert!(!again.has_duplicate_keys());
    }
    assert_eq!(json.root().to_json(), json);
    let stored = serde_json::to_string(&json).expect("a document is serialised as a string");
    let again: Json = serde_json::from_str(&stored).expect("and read back");
    assert_eq!(again, json);
    assert_eq!(again.has_duplicate_keys(), json.has_duplicate_keys());
    // This reader accepts the same objects as another strict reader, except for numbers (exact in
    // this one) and depth (limited to 128 in the other).
    if serde_json::from_slice::<serde_json::Value>(text).is_err() {
        let narrow = Limits {
            max_depth: 100,
            ..Limits::default()
        };
        let shallow = Json::parse(text, narrow).is_ok();
        let digits = text.iter().any(u8::is_ascii_digit);
        assert!(
            !shallow || digits,
            "serde_json refuses a document without numbers and without deep nesting"
        );
    }
});
