//! The agent's card: which ones are trusted, and where they lead.

use agentry_sdk::protocol::{KeyType, Seed, SigningKey};
use serde_json::{Value, json};

use crate::bench::{
    Agent, Reply, card, configured, head, json_of, response, result, run, signature, signer, task,
};

/// The canonical form of [`card`], written by hand.
fn canonical(url: &str) -> String {
    format!(
        concat!(
            r#"{{"capabilities":{{"pushNotifications":false,"streaming":false}},"#,
            r#""defaultInputModes":["text/plain"],"defaultOutputModes":["text/plain"],"#,
            r#""description":"waters plants","name":"Gärtner","#,
            r#""skills":[{{"id":"w","name":"water","tags":["garden"]}}],"#,
            r#""supportedInterfaces":[{{"protocolBinding":"JSONRPC","protocolVersion":"1.0","#,
            r#""url":"{}/rpc"}}],"version":"1.0.0"}}"#
        ),
        url
    )
}

/// An agent with a card that is signed by the key of this byte, and then changed.
async fn signed(byte: u8, protected: Value, change: fn(&mut Value)) -> Agent {
    Agent::start(move |request, url| {
        if request.method() == "SendMessage" {
            return result(&json!({ "task": task("COMPLETED", Some("done"), &json!([])) }));
        }
        let mut card = card(url, false);
        let signature = signature(&signer(byte).0, &protected, &canonical(url));
        card["signatures"] = json!([{ "protected": "e30", "signature": "AAAA" }, signature]);
        change(&mut card);
        json_of(&card)
    })
    .await
}

#[tokio::test]
async fn a_card_that_is_signed_by_a_known_key_is_trusted() {
    let protected = json!({ "alg": "EdDSA", "kid": "k", "typ": "JOSE" });
    let keys = json!({ "signed_by": [signer(2).1, signer(1).1] });
    let same: [fn(&mut Value); 3] = [
        |_| {},
        // What older clients are told, and defaults, are not part of what is signed.
        |card| card["url"] = "https://elsewhere.example".into(),
        |card| card["skills"][0]["examples"] = json!([]),
    ];
    for same in same {
        let agent = signed(1, protected.clone(), same).await;
        assert_eq!(run(&agent, &keys).await.unwrap().text, "done");
    }
    let others: [fn(&mut Value); 5] = [
        |card| card["name"] = "Gardener".into(),
        |card| card["supportedInterfaces"][0]["tenant"] = "other".into(),
        |card| card["capabilities"]["streaming"] = Value::Null,
        |card| drop(card["signatures"].as_array_mut().unwrap().pop()),
        |card| drop(card.as_object_mut().unwrap().remove("signatures")),
    ];
    for (index, other) in others.into_iter().enumerate() {
        let agent = signed(1, protected.clone(), other).await;
        let error = run(&agent, &keys).await.unwrap_err();
        assert_eq!(error.code(), "card-refused", "{index}: {error}");
        assert!(!error.is_transient());
        assert_eq!(
            agent.requests().len(),
            1,
            "nothing but the card is asked for"
        );
    }
    for (byte, protected) in [
        (3, protected),
        (1, json!({ "alg": "none" })),
        (1, json!({ "alg": "HS256" })),
        (1, json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false })),
        (1, json!([])),
    ] {
        let agent = signed(byte, protected.clone(), |_| {}).await;
        let error = run(&agent, &keys).await.unwrap_err();
        assert_eq!(error.code(), "card-refused", "{byte} {protected}");
    }
}

#[tokio::test]
async fn a_card_can_be_signed_with_a_key_of_secp256k1() {
    let start = |algorithm: &'static str, seed: Seed| {
        Agent::start(move |request, url| {
            if request.method() == "SendMessage" {
                return result(&json!({ "task": task("COMPLETED", Some("done"), &json!([])) }));
            }
            let mut card = card(url, false);
            let key = SigningKey::from_seed(&seed);
            let protected = json!({ "alg": algorithm, "kid": "k", "typ": "JOSE" });
            card["signatures"] = json!([signature(&key, &protected, &canonical(url))]);
            json_of(&card)
        })
    };
    let seed = || Seed::new([1; 32], KeyType::Secp256k1).unwrap();
    let keys = json!({ "signed_by": [signer(1).1, seed().public_key()] });
    let agent = start("ES256K", seed()).await;
    assert_eq!(run(&agent, &keys).await.unwrap().text, "done");
    // The wrong algorithm for the key, and another key.
    let other = Seed::new([2; 32], KeyType::Secp256k1).unwrap();
    for (algorithm, seed) in [("EdDSA", seed()), ("ES256", seed()), ("ES256K", other)] {
        let agent = start(algorithm, seed).await;
        let error = run(&agent, &keys).await.unwrap_err();
        assert_eq!(error.code(), "card-refused", "{algorithm}: {error}");
    }
}

#[tokio::test]
async fn a_card_leads_nowhere_else() {
    let other = Agent::start(|_, _| panic!("nobody asks here")).await;
    let away = other.url.clone();
    let port = url_port(&other.url);
    for place in [
        format!("{away}/rpc"),
        format!("http://localhost:{port}/rpc"),
        "https://127.0.0.1/rpc".to_owned(),
        "http://user@127.0.0.1:1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "rpc".to_owned(),
    ] {
        let agent = Agent::start(move |_, url| {
            let mut card = card(url, false);
            card["supportedInterfaces"][0]["url"] = place.clone().into();
            json_of(&card)
        })
        .await;
        let error = run(&agent, &json!({})).await.unwrap_err();
        assert_eq!(error.code(), "card-refused", "{error}");
        assert_eq!(agent.requests().len(), 1);
    }
    // Neither the card nor an operation is looked for elsewhere.
    let to = format!("Location: {away}/.well-known/agent-card.json");
    let moved = format!("HTTP/1.1 302 Found\r\n{to}\r\nConnection: close\r\n\r\n");
    let agent = Agent::start({
        let moved = moved.clone();
        move |_, _| Reply::Bytes(moved.clone().into_bytes())
    })
    .await;
    let error = run(&agent, &json!({})).await.unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("refused", false));
    let agent = Agent::scripted(false, move |_, _, _| {
        Reply::Bytes(moved.clone().into_bytes())
    })
    .await;
    let error = run(&agent, &json!({})).await.unwrap_err();
    assert_eq!(error.code(), "refused");
    assert!(other.requests().is_empty());
}

fn url_port(url: &str) -> &str {
    url.rsplit(':').next().unwrap()
}

#[tokio::test]
async fn a_card_that_is_none_is_refused() {
    let interface = |protocol: &str, version: &str| {
        json!({ "supportedInterfaces": [
            { "url": "https://h", "protocolBinding": protocol, "protocolVersion": version },
        ] })
        .to_string()
    };
    for body in [
        "no JSON".to_owned(),
        "[]".to_owned(),
        json!({ "supportedInterfaces": [] }).to_string(),
        interface("GRPC", "1.0"),
        interface("JSONRPC", "0.3"),
        interface("JSONRPC", "10.0"),
        format!("{{\"x\":\"{}\"}}", "x".repeat(300 << 10)),
        "[".repeat(10_000),
    ] {
        let shown: String = body.chars().take(60).collect();
        let agent = Agent::start(move |_, _| response("200 OK", "application/json", &body)).await;
        let error = run(&agent, &json!({})).await.unwrap_err();
        assert_eq!(error.code(), "card-refused", "{shown}: {error}");
    }
    for (status, code, again) in [
        ("404 Not Found", "refused", false),
        ("500 Oh", "service-error", true),
        ("503 Busy", "unavailable", true),
        ("429 Slow", "rate-limited", true),
    ] {
        let agent = Agent::start(move |_, _| response(status, "text/plain", "x")).await;
        let error = run(&agent, &json!({})).await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), (code, again));
    }
    let endless = Agent::start(|_, _| {
        Reply::Endless(
            head("200 OK", "application/json").into_bytes(),
            b"[[[[".repeat(256),
        )
    })
    .await;
    let error = run(&endless, &json!({})).await.unwrap_err();
    assert_eq!(error.code(), "card-refused");
}

#[tokio::test]
async fn a_private_address_must_be_allowed() {
    let agent = Agent::start(|_, _| panic!("nobody asks here")).await;
    let port = url_port(&agent.url);
    for url in [agent.url.clone(), format!("https://127.0.0.1:{port}")] {
        let error = configured(&url, &json!({ "allow_private": false })).unwrap_err();
        assert!(error.contains("allow_private"), "{error}");
    }
    // A name can resolve to anything.
    let url = format!("https://localhost:{port}");
    let executor = configured(&url, &json!({ "allow_private": false })).unwrap();
    let task = crate::bench::job(json!({ "prompt": "water it" }));
    let (result, _) = crate::bench::attempt(&executor, &task).await;
    let error = result.unwrap().unwrap_err();
    assert_eq!(
        (error.code(), error.is_transient()),
        ("private-address", false),
        "{error}"
    );
    assert!(agent.requests().is_empty());
}
