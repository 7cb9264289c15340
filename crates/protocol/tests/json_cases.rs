//! Canonical JSON case by case: refusals and their errors, duplicate keys, depth.

use agentry_protocol::{Json, JsonError, JsonRef, Kind, Limits, Number};

fn read(text: &str) -> Result<Json, JsonError> {
    Json::parse(text.as_bytes(), Limits::default())
}

fn compact(text: &str) -> String {
    read(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_compact()
}

#[test]
fn numbers_as_python_reads_them() {
    for (input, output) in [
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("1E5", "100000.0"),
        ("1e16", "1e+16"),
        ("9999999999999998.0", "9999999999999998.0"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("1.50e+3", "1500.0"),
        ("1e-400", "0.0"),
        ("-1e-400", "-0.0"),
        ("18446744073709551616", "18446744073709551616"),
    ] {
        assert_eq!(compact(input), output, "{input}");
    }
}

#[test]
fn what_is_refused_has_a_name() {
    for (input, error) in [
        (
            "",
            JsonError::UnexpectedEnd {
                expected: "a value",
            },
        ),
        (
            "[1",
            JsonError::UnexpectedEnd {
                expected: "',' or ']'",
            },
        ),
        ("{\"a\"", JsonError::UnexpectedEnd { expected: "':'" }),
        ("\"a", JsonError::UnexpectedEnd { expected: "'\"'" }),
        (
            "[1,]",
            JsonError::Unexpected {
                at: 3,
                found: ']',
                expected: "a value",
            },
        ),
        (
            "{\"a\":1,}",
            JsonError::Unexpected {
                at: 7,
                found: '}',
                expected: "a key",
            },
        ),
        (
            "[1}",
            JsonError::Unexpected {
                at: 2,
                found: '}',
                expected: "',' or ']'",
            },
        ),
        (
            "{1:2}",
            JsonError::Unexpected {
                at: 1,
                found: '1',
                expected: "a key or '}'",
            },
        ),
        (
            "+1",
            JsonError::Unexpected {
                at: 0,
                found: '+',
                expected: "a value",
            },
        ),
        (
            "1.",
            JsonError::UnexpectedEnd {
                expected: "a digit",
            },
        ),
        (
            "1.e5",
            JsonError::Unexpected {
                at: 2,
                found: 'e',
                expected: "a digit",
            },
        ),
        (
            "-é",
            JsonError::Unexpected {
                at: 1,
                found: 'é',
                expected: "a digit",
            },
        ),
        ("01", JsonError::Trailing { at: 1 }),
        ("1 2", JsonError::Trailing { at: 2 }),
        (
            "\u{feff}1",
            JsonError::Unexpected {
                at: 0,
                found: '\u{feff}',
                expected: "a value",
            },
        ),
        ("NaN", JsonError::NonFiniteWord { at: 0, word: "NaN" }),
        (
            "[Infinity]",
            JsonError::NonFiniteWord {
                at: 1,
                word: "Infinity",
            },
        ),
        (
            "-Infinity",
            JsonError::NonFiniteWord {
                at: 0,
                word: "-Infinity",
            },
        ),
        ("[1e400]", JsonError::FloatRange { at: 1 }),
        ("-1e400", JsonError::FloatRange { at: 0 }),
        ("\"a\u{1}\"", JsonError::ControlCharacter { at: 2 }),
        ("\"\n\"", JsonError::ControlCharacter { at: 1 }),
        ("\"\\x41\"", JsonError::Escape { at: 1 }),
        ("\"\\u12g4\"", JsonError::Escape { at: 1 }),
        ("\"\\u+123\"", JsonError::Escape { at: 1 }),
        (
            "\"\\",
            JsonError::UnexpectedEnd {
                expected: "an escape",
            },
        ),
        ("\"\\ud83d\"", JsonError::LoneSurrogate { at: 1 }),
        ("\"\\ude00\"", JsonError::LoneSurrogate { at: 1 }),
        (
            "\"\\ud83d\\ud83d\\ude00\"",
            JsonError::LoneSurrogate { at: 1 },
        ),
        ("{\"\\ud83d x\":1}", JsonError::LoneSurrogate { at: 2 }),
    ] {
        assert_eq!(read(input), Err(error), "{input:?}");
    }
    assert_eq!(
        Json::parse(b"\"\xff\"", Limits::default()),
        Err(JsonError::NotUtf8 { at: 1 })
    );
    assert_eq!(Json::float(f64::NAN), Err(JsonError::NotFinite));
    assert_eq!(Json::float(f64::INFINITY), Err(JsonError::NotFinite));
}

#[test]
fn sizes_are_bounded() {
    let limits = Limits {
        max_bytes: 4,
        max_depth: 2,
    };
    let read = |text: &str| Json::parse(text.as_bytes(), limits);
    assert!(read("[[]]").is_ok());
    assert_eq!(
        read("[[]] "),
        Err(JsonError::TooLarge { bytes: 5, limit: 4 })
    );
    assert_eq!(read("[[["), Err(JsonError::TooDeep { at: 2, limit: 2 }));
    assert!(read("[[[").unwrap_err().is_limit());
    assert!(!read("[").unwrap_err().is_limit());
}

#[test]
fn a_duplicate_key_is_reported_and_the_last_one_wins() {
    let json = read(r#"{"b": 1, "a": 2, "b": {"x": 3}, "a": 4}"#).unwrap();
    assert!(json.has_duplicate_keys());
    assert_eq!(json.to_compact(), r#"{"a":4,"b":{"x":3}}"#);
    assert_eq!(json, read(r#"{"a": 4, "b": {"x": 3}}"#).unwrap());

    // The same key in another spelling.
    assert!(
        read(r#"{"a": 1, "\u0061": 2}"#)
            .unwrap()
            .has_duplicate_keys()
    );
    // The same key in two objects is not a duplicate.
    assert!(
        !read(r#"[{"a": 1}, {"a": {"a": 1}}]"#)
            .unwrap()
            .has_duplicate_keys()
    );
    // Only the part that has it reports it, also as a separate document and after serde.
    let json = read(r#"{"clean": {"a": 1}, "unclean": [{"a": 1, "a": 1}]}"#).unwrap();
    assert!(json.has_duplicate_keys());
    assert!(
        !json
            .root()
            .get("clean")
            .unwrap()
            .to_json()
            .has_duplicate_keys()
    );
    let unclean = json.root().get("unclean").unwrap().to_json();
    assert!(unclean.has_duplicate_keys());
    assert!(Json::array([unclean.clone()]).has_duplicate_keys());
    let text = serde_json::to_string(&unclean).unwrap();
    assert!(
        serde_json::from_str::<Json>(&text)
            .unwrap()
            .has_duplicate_keys()
    );
    assert!(Json::object([("a", Json::null()), ("a", Json::boolean(true))]).has_duplicate_keys());
}

#[test]
fn views_answer_only_for_their_kind() {
    let json = read(
        r#"{"n": null, "t": true, "i": -3, "u": 18446744073709551615, "f": 1.0,
        "s": "x", "a": [1, "two"], "big": 1000000000000000000000000000000000000000000}"#,
    )
    .unwrap();
    let get = |key| json.root().get(key).unwrap();
    assert!(get("n").is_null() && get("n").kind() == Kind::Null);
    assert_eq!(get("t").as_bool(), Some(true));
    assert_eq!((get("i").as_i64(), get("i").as_u64()), (Some(-3), None));
    assert_eq!(
        (get("u").as_u64(), get("u").as_i64()),
        (Some(u64::MAX), None)
    );
    assert_eq!(get("u").as_i128(), Some(u64::MAX.into()));
    assert_eq!(
        (get("f").as_f64(), get("f").as_i64(), get("f").as_u64()),
        (Some(1.0), None, None)
    );
    assert_eq!(get("f").kind(), Kind::Float);
    assert_eq!((get("s").as_str(), get("s").as_i64()), (Some("x"), None));
    assert_eq!(
        (get("a").len(), get("a").at(1).and_then(JsonRef::as_str)),
        (2, Some("two"))
    );
    assert_eq!(
        (get("big").as_i128(), get("big").as_f64()),
        (None, Some(1e42))
    );
    assert_eq!(get("big").kind(), Kind::Integer);
    assert!(json.root().get("missing").is_none());
    assert_eq!(
        (get("s").items().count(), get("s").entries().count()),
        (0, 0)
    );
}

#[test]
fn numbers_compare_by_value_and_saturate() {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let number = |text: &str| text.parse::<Number>().unwrap();
    for (text, order) in [
        ("10", Equal),
        ("10.0", Equal),
        ("9.999", Less),
        ("10.001", Greater),
        ("1e300", Greater),
        ("-1e300", Less),
        ("1000000000000000000000000000000000000000000", Greater),
        ("-1000000000000000000000000000000000000000000", Less),
    ] {
        assert_eq!(number(text).cmp_integer(10), order, "{text}");
    }
    assert_eq!(number("-0.0").cmp_integer(0), Equal);
    assert_eq!(number("-0.5").cmp_integer(0), Less);
    assert_eq!(number("1e300").saturating_i128(), i128::MAX);
    assert_eq!(
        number(&format!("-{}", "9".repeat(99))).saturating_i128(),
        i128::MIN
    );
    assert_eq!(number("-1.9").saturating_i128(), -1);
    assert!(number("-1e-300").is_negative() && !number("-0.0").is_negative());
    assert!(number(&format!("-{}", "9".repeat(99))).is_negative());
    assert!(number("10") != number("10.0"));
    assert!("\"1\"".parse::<Number>().is_err() && "".parse::<Number>().is_err());
    assert_eq!(number(&i128::MIN.to_string()).as_i128(), Some(i128::MIN));
}

#[test]
fn typed_values_go_in_and_out() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Job {
        prompt: String,
        tokens: u64,
        weight: f64,
    }
    let job = Job {
        prompt: "é".into(),
        tokens: 7,
        weight: 1e16,
    };
    let json = Json::from_serialize(&job).unwrap();
    assert_eq!(
        json.to_compact(),
        r#"{"prompt":"\u00e9","tokens":7,"weight":1e+16}"#
    );
    assert_eq!(json.root().decode::<Job>().unwrap(), job);
    assert!(matches!(
        Json::null().root().decode::<Job>(),
        Err(JsonError::Convert { .. })
    ));
}

/// A hundred thousand levels on a thread whose stack is too small for a thousand recursions.
#[test]
fn depth_costs_no_stack() {
    const DEPTH: usize = 100_000;
    let work = || {
        let limits = Limits::default();
        let arrays = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
        let objects = format!("{}1{}", "{\"a\":".repeat(DEPTH), "}".repeat(DEPTH));
        for text in [arrays, objects] {
            let json = Json::parse(text.as_bytes(), limits).unwrap();
            let copy = json.clone();
            assert_eq!(copy, json);
            assert_eq!(copy.to_compact(), text);
            assert_eq!(
                json.to_spaced().len(),
                text.len() + text.matches(':').count()
            );
            assert_eq!(json.root().to_json(), json);
            assert!(!json.has_duplicate_keys());
            assert!(format!("{json:?}").len() > DEPTH);
            let stored = serde_json::to_string(&json).unwrap();
            assert_eq!(serde_json::from_str::<Json>(&stored).unwrap(), json);
            // One more level is refused, as is a text that is never closed.
            let deeper = format!("[{text}]");
            assert_eq!(
                Json::parse(deeper.as_bytes(), limits),
                Err(JsonError::TooDeep {
                    at: if text.starts_with('[') {
                        DEPTH
                    } else {
                        DEPTH * 5 - 4
                    },
                    limit: DEPTH
                })
            );
        }
        let mut built = Json::null();
        for _ in 0..DEPTH {
            built = Json::array([built]);
        }
        assert_eq!(built.to_compact().len(), 2 * DEPTH + 4);
    };
    std::thread::Builder::new()
        .stack_size(512 << 10)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

/// A megabyte of digits is read and written back without arithmetic.
#[test]
fn integers_of_any_length_are_kept() {
    let digits = format!("-{}", "9".repeat(1 << 20));
    assert_eq!(compact(&digits), digits);
    assert_eq!(
        compact(&format!("{{\"{digits}\":{digits}}}")).len(),
        2 * digits.len() + 5
    );
}

#[test]
fn an_integer_of_more_than_64_bits_is_not_decoded_and_named() {
    for (text, path, digits) in [
        ("18446744073709551616", "", "18446744073709551616"),
        ("-9223372036854775809", "", "-9223372036854775809"),
        (
            r#"{"a":1,"b":[0,{"c":1000000000000000000001}],"d":2}"#,
            "b[1].c",
            "1000000000000000000001",
        ),
        (
            r#"[[],[1,99999999999999999999]]"#,
            "[1][1]",
            "99999999999999999999",
        ),
    ] {
        let json: Json = text.parse().unwrap();
        let error = json.root().decode::<serde_json::Value>().unwrap_err();
        let expected = JsonError::IntegerRange {
            path: path.to_owned(),
            digits: digits.to_owned(),
        };
        assert_eq!(error, expected, "{text}");
    }
    for text in [
        "[18446744073709551615,-9223372036854775808,9007199254740993]",
        "[0.30000000000000004,5e-324,1.0,-0.0,2.2250738585072011e-308]",
    ] {
        let json: Json = text.parse().unwrap();
        let value: serde_json::Value = json.root().decode().unwrap();
        assert_eq!(Json::from_serialize(&value).unwrap(), json, "{text}");
    }
    // A hostile path is truncated when it is shown.
    let long = format!(
        "{{\"{}\":99999999999999999999}}",
        "é\n".replace('\n', "\\n").repeat(5_000)
    );
    let json: Json = long.parse().unwrap();
    let error = json.root().decode::<serde_json::Value>().unwrap_err();
    assert!(error.to_string().len() < 1_000 && !error.to_string().contains('\n'));
}
