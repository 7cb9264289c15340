//! `tx inspect` on the test vectors, whose hashes were verified with a real node.

use agentry_protocol::{Json, JsonRef, Limits};
use serde_json::{Value, json};

use crate::world::{World, vectors, vectors_text};

fn inspect(world: &World, transaction: &str) -> Value {
    world
        .run_with_input(&["tx", "inspect", "--json", "-"], transaction.as_bytes())
        .json()
}

/// The body of a vector.
fn body(case: &Value) -> Value {
    let mut body = case["transaction"].clone();
    body["signature"] = case["signature"].clone();
    body["public_key"] = case["public_key"].clone();
    body
}

/// The body with every number spelled as in the vector, which `serde_json` does not preserve.
fn exact_body(case: JsonRef<'_>) -> String {
    let transaction = case.get("transaction").unwrap();
    let entries = transaction
        .entries()
        .map(|(key, value)| (key, value.to_json()));
    let more = ["signature", "public_key"].map(|key| (key, case.get(key).unwrap().to_json()));
    Json::object(entries.chain(more)).to_compact()
}

#[test]
fn bodies_and_stored_forms_give_text_hash_and_verdict() {
    let world = World::new();
    for (file, keys) in [
        ("transactions.json", 8),
        ("transactions_seven_keys.json", 7),
    ] {
        let vectors = Json::parse(vectors_text(file).as_bytes(), Limits::default()).unwrap();
        let mut count = 0;
        for case in vectors.root().get("cases").unwrap().items() {
            count += 1;
            let text = |key: &str| case.get(key).and_then(JsonRef::as_str);
            let shown = case.to_compact();
            let found = inspect(&world, &exact_body(case));
            let said = |key: &str| found[key].as_str();
            assert_eq!(said("signing_text"), text("signing_text"), "{shown}");
            assert_eq!(
                said("transaction_hash"),
                text("transaction_hash"),
                "{shown}"
            );
            assert_eq!(said("signature"), Some("valid"), "{shown}");
            assert_eq!(found["signed_keys"], keys, "{shown}");
            if let Some(digest) = text("signing_sha256") {
                assert_eq!(said("signing_sha256"), Some(digest), "{shown}");
            }
            // The node does not store the key: it must come from elsewhere.
            let stored = case.get("stored").unwrap().to_compact();
            let found = inspect(&world, &stored);
            assert_eq!(
                found["transaction_hash"].as_str(),
                text("transaction_hash"),
                "{shown}"
            );
            assert_eq!(found["signature"], "unknown_key");
            assert_eq!(found["address_matches"], Value::Null);
            world.private("stored.json", &stored);
            let key = text("public_key").unwrap();
            let found = world.json(&["tx", "inspect", "stored.json", "--public-key", key]);
            assert_eq!(found["signature"], "valid");
        }
        assert!(count > 0, "{file}");
    }
}

#[test]
fn each_verdict() {
    let world = World::new();
    let vectors = vectors("transactions.json");
    let good = body(&vectors["cases"][0]);
    let verdict = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        let found = inspect(&world, &body.to_string());
        (
            found["signature"].as_str().unwrap().to_owned(),
            found["address_matches"].clone(),
        )
    };
    let upper = |text: &Value| json!(text.as_str().unwrap().to_uppercase());
    assert_eq!(verdict(&|_| ()), ("valid".into(), json!(true)));
    assert_eq!(
        verdict(&|body| body["amount"] = json!(1)),
        ("invalid".into(), json!(true))
    );
    assert_eq!(
        verdict(&|body| body["signature"] = Value::Null),
        ("missing".into(), json!(true))
    );
    let misspelled = verdict(&|body| body["signature"] = upper(&body["signature"]));
    assert_eq!(misspelled, ("misspelled".into(), json!(true)));
    let other =
        verdict(&|body| body["from"] = json!("ait13b6a27bcceb6a42d62a3a8d02a6f0d7365321577"));
    assert_eq!(other, ("invalid".into(), json!(false)));
    assert_eq!(
        verdict(&|body| body["public_key"] = Value::Null),
        ("unknown_key".into(), Value::Null)
    );
    let bad_key = verdict(&|body| body["public_key"] = json!("zz"));
    assert_eq!(bad_key, ("invalid".into(), json!(false)));
    let row = json!({ "id": 1, "tx_hash": "0x", "payload": vectors["cases"][0]["stored"] });
    let found = inspect(&world, &row.to_string());
    assert_eq!(
        found["transaction_hash"],
        vectors["cases"][0]["transaction_hash"]
    );
}

#[test]
fn invalid_json_is_refused_with_its_position() {
    let world = World::new();
    let run = |input: &[u8]| world.run_with_input(&["tx", "inspect"], input);
    run(b"").failed(65, "standard input");
    run(b"{\"from\": }").failed(65, "byte 9");
    run(b"[]").failed(65, "object");
    run(b"{\"from\": \"a\"}").failed(65, "\"to\"");
    run(&b"[".repeat(200_000)).failed(65, "deeper");
    run(&b" ".repeat(5 << 20)).failed(65, "limit");
    world
        .run(&["tx", "inspect", "nowhere.json"])
        .failed(66, "nowhere.json");
    world
        .run(&["tx", "inspect", "--public-key", "zz"])
        .failed(64, "--public-key");
}

#[test]
fn control_characters_do_not_reach_terminals() {
    let world = World::new();
    let vectors = vectors("transactions.json");
    let mut body = vectors["cases"][0]["transaction"].clone();
    body["payload"] = json!("\u{1b}[2J\u{7f}\u{9b}");
    let run = world.run_with_input(&["tx", "inspect"], body.to_string().as_bytes());
    assert!(
        run.good().out.chars().all(|c| c == '\n' || !c.is_control()),
        "{run:?}"
    );
}
