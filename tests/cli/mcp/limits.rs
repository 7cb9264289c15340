//! What a host may not do.

use serde_json::{Value, json};

use super::client::{BOTH, Client, Revision};
use super::tables;
use crate::host::Host;
use crate::world::World;

/// A host whose user can be asked.
fn forms() -> Value {
    json!({"elicitation": {"form": {}}})
}

/// How many messages the host's agent has sent, or will send.
fn sent(runtime: &Host<'_>) -> usize {
    let all = [
        "agent", "messages", "--agent", "helper", "--sent", "--limit", "100",
    ];
    runtime.json(&all)["messages"].as_array().unwrap().len()
}

#[test]
fn a_read_only_host_reads() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    for revision in BOTH {
        let mut host = Client::start(&world, revision, &["--agent", "helper", "--read-only"]);
        let listed = host.request("tools/list", json!({})).unwrap();
        let tools = listed["tools"].as_array().unwrap();
        assert_eq!(tools.len(), 7);
        assert!(
            tools
                .iter()
                .all(|tool| tool["annotations"]["readOnlyHint"] == true)
        );
        host.tool("read_inbox", json!({}));
        for (tool, arguments) in [
            ("send_message", json!({"to": "ponger", "text": "ping"})),
            ("submit_task", json!({"to": "worker", "type": "echo"})),
            ("cancel_task", json!({"id": "outbox/1"})),
        ] {
            let refused = host.refused(tool, arguments);
            assert!(
                refused.starts_with("not_allowed: ") || refused.starts_with("not_found: "),
                "{tool}: {refused}"
            );
        }
        host.stop();
    }
    assert_eq!(sent(&runtime), 0);
    runtime.stop();
}

#[test]
fn an_agent_that_is_bound_is_the_only_one() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    let mut other = Client::start(&world, Revision::Old, &["--agent", "mute"]);
    let id = other.send(json!({"to": "ponger", "text": "ping"}));
    let job = other.tool("submit_task", json!({"to": "worker", "type": "echo"}));
    let mut host = Client::start(&world, Revision::New, &["--agent", "helper"]);
    for (tool, arguments) in [
        ("read_inbox", json!({"agent": "mute"})),
        (
            "send_message",
            json!({"from": "mute", "to": "ponger", "text": "ping"}),
        ),
        (
            "submit_task",
            json!({"from": "mute", "to": "worker", "type": "echo"}),
        ),
        ("wait_for_reply", json!({"id": id})),
        ("get_message", json!({"id": id})),
        ("get_task", json!({"id": job["id"]})),
        ("cancel_task", json!({"id": job["id"]})),
        ("agent_status", json!({"agent": "mute"})),
    ] {
        let refused = host.refused(tool, arguments);
        assert!(refused.starts_with("not_found: "), "{tool}: {refused}");
    }
    let inbox = json!({"uri": "agentry://inbox/mute"});
    let missing = host.request("resources/read", inbox).unwrap_err();
    assert_eq!(missing["code"], -32602, "{missing}");
    runtime.stop();
}

#[test]
fn a_budget_is_kept() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    // A fee is 10 AIT.
    for revision in BOTH {
        let mut host = Client::start(&world, revision, &["--agent", "helper", "--budget", "45"]);
        let before = sent(&runtime);
        let message =
            json!({"to": "mute", "text": "one", "amount": 5, "key": format!("{revision:?}")});
        host.send(message.clone());
        host.send(message);
        let refused = host.refused(
            "send_message",
            json!({"to": "mute", "text": "x", "amount": 21}),
        );
        assert!(refused.contains("30 of the 45 of"), "{refused}");
        // Every resend may cost as much.
        let with_resends = json!({"to": "mute", "text": "x", "ack": {"what": "done"}});
        let refused = host.refused("send_message", with_resends);
        assert!(refused.contains("this may cost 40,"), "{refused}");
        // What is refused by the runtime costs nothing.
        for _ in 0..4 {
            host.refused(
                "send_message",
                json!({"to": "mute", "text": "x", "seal": true,
                "recipient_key": "zz"}),
            );
        }
        // Neither does a key that was used, and it gives nothing back.
        let other =
            json!({"to": "mute", "text": "other", "amount": 5, "key": format!("{revision:?}")});
        for _ in 0..4 {
            let refused = host.refused("send_message", other.clone());
            assert!(refused.starts_with("key_reused: "), "{refused}");
        }
        host.tool("submit_task", json!({"to": "worker", "type": "echo"}));
        host.send(json!({"to": "mute", "text": "two"}));
        host.send(json!({"to": "mute", "text": "three"}));
        let refused = host.refused("send_message", json!({"to": "mute", "text": "four"}));
        assert!(refused.contains("0 of the 45 of"), "{refused}");
        assert_eq!(sent(&runtime) - before, 4);
        host.stop();
    }
    runtime.stop();
}

#[test]
fn the_user_is_asked_before_much_is_spent() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    let options = ["--agent", "helper", "--ask-above", "20"];
    let large = || json!({"to": "mute", "text": "much", "amount": 11});

    // A host that cannot ask sends nothing.
    for revision in BOTH {
        let mut host = Client::start(&world, revision, &options);
        host.send(json!({"to": "mute", "text": "little", "amount": 10}));
        let refused = host.refused("send_message", large());
        assert!(refused.contains("may cost 21 AIT"), "{refused}");
        assert!(refused.contains("cannot ask"), "{refused}");
        host.stop();
    }
    let before = sent(&runtime);

    // Before revision 2026-07-28 the server asks.
    let mut host = Client::able(&world, Revision::Old, forms(), &options);
    for answer in [
        json!({"action": "decline"}),
        json!({"action": "cancel"}),
        json!({"action": "accept"}),
        json!({"action": "accept", "content": {"confirm": false}}),
    ] {
        host.user = Some(answer);
        let refused = host.refused("send_message", large());
        assert!(refused.contains("did not agree"), "{refused}");
    }
    assert_eq!(sent(&runtime), before);
    host.user = Some(json!({"action": "accept", "content": {"confirm": true}}));
    host.send(large());
    let mut told = host.told.iter();
    let asked = told.find(|one| one["method"] == "elicitation/create");
    let message = asked.unwrap()["params"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    let known = host.tool("get_agent", json!({"who": "mute"}));
    let address = known["address"].as_str().unwrap();
    for part in ["11 AIT to mute (", address, "up to 21 AIT"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(sent(&runtime), before + 1);
    host.stop();

    // Since then, the result asks, and the host calls again.
    let mut host = Client::able(&world, Revision::New, forms(), &options);
    let asked = host.result("send_message", large());
    assert_eq!(asked["resultType"], "input_required", "{asked:#}");
    let (key, request) = asked["inputRequests"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    assert_eq!(request["method"], "elicitation/create");
    let agree = json!({key: {"action": "accept", "content": {"confirm": true}}});
    // The consent is to this call, and to no other.
    let other = json!({
        "name": "send_message",
        "arguments": {"to": "mute", "text": "much", "amount": 12},
        "inputResponses": agree,
    });
    let asked = host.request("tools/call", other).unwrap();
    assert_eq!(asked["resultType"], "input_required", "{asked:#}");
    assert_eq!(sent(&runtime), before + 1);
    let call = json!({"name": "send_message", "arguments": large(), "inputResponses": agree});
    let done = host.request("tools/call", call).unwrap();
    assert_eq!(done["resultType"], "complete", "{done:#}");
    assert_eq!(sent(&runtime), before + 2);
    host.stop();
    runtime.stop();
}
