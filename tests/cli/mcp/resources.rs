//! Resources, and telling of changes.

use serde_json::{Value, json};

use super::client::{BOTH, Client, Revision};
use super::tables;
use crate::host::Host;
use crate::world::World;

fn read(host: &mut Client, uri: &str) -> Value {
    let read = host.request("resources/read", json!({"uri": uri})).unwrap();
    let contents = &read["contents"][0];
    assert_eq!(contents["uri"], uri);
    assert_eq!(contents["mimeType"], "application/json", "{contents}");
    serde_json::from_str(contents["text"].as_str().unwrap()).unwrap()
}

#[test]
fn resources_are_listed_and_read_in_both_revisions() {
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    for revision in BOTH {
        let mut host = Client::start(&world, revision, &["--agent", "helper"]);
        let listed = host.request("resources/list", json!({})).unwrap();
        let listed = listed["resources"].as_array().unwrap();
        assert_eq!(listed[0]["uri"], "agentry://directory");
        assert_eq!(listed.len(), 2, "{listed:#?}");
        assert!(read(&mut host, "agentry://directory")["agents"].is_array());
        let id = host.send(json!({"to": "ponger", "text": "ping", "thread": "talk"}));
        host.tool("wait_for_reply", json!({"id": id, "timeout_ms": 60_000}));
        let uri = listed[1]["uri"].as_str().unwrap();
        let inbox = read(&mut host, uri);
        let last = inbox["messages"].as_array().unwrap().last().unwrap();
        assert_eq!(last["text"], "pong");
        assert_eq!(read(&mut host, "agentry://inbox/helper"), inbox);
        let thread = read(&mut host, "agentry://thread/helper/talk");
        let texts: Vec<&Value> = thread["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["text"])
            .collect();
        assert_eq!(texts[..2], ["ping", "pong"]);
        assert_eq!(read(&mut host, "agentry://card/ponger")["hosted"], "ponger");
        let long = json!({"to": "worker", "type": "long", "wait_ms": 60_000});
        let job = host.tool("submit_task", long);
        assert_eq!(job["result"]["whole"], false, "{job:#}");
        let id = job["id"].as_str().unwrap();
        let task = read(&mut host, &format!("agentry://task/{id}"));
        assert_eq!(task["result"], job["result"]);
        // The rest of the result is fetched over the chain.
        let uri = format!("agentry://result/{id}");
        let whole = host.request("resources/read", json!({"uri": uri})).unwrap();
        assert_eq!(whole["contents"][0]["text"].as_str().unwrap().len(), 5000);
        for uri in [
            "agentry://inbox/nobody",
            "agentry://task/outbox/999",
            "agentry://x",
            "x",
        ] {
            let missing = host
                .request("resources/read", json!({"uri": uri}))
                .unwrap_err();
            let code = if revision == Revision::Old {
                -32002
            } else {
                -32602
            };
            assert_eq!(missing["code"], code, "{missing}");
        }
        host.stop();
    }
    let mut host = Client::start(
        &world,
        Revision::New,
        &["--agent", "helper", "--budget", "99"],
    );
    let job = host.tool(
        "submit_task",
        json!({"to": "worker", "type": "long", "wait_ms": 60_000}),
    );
    let uri = format!("agentry://result/{}", job["id"].as_str().unwrap());
    let refused = host
        .request("resources/read", json!({"uri": uri}))
        .unwrap_err();
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("agentry task fetch"),
        "{refused}"
    );
    host.stop();
    runtime.stop();
}

#[test]
fn subscribers_are_told_of_new_messages() {
    const UPDATED: &str = "notifications/resources/updated";
    let world = World::new();
    let runtime = Host::start(&world, &tables());
    let uri = "agentry://inbox/helper";
    let tell = |text: &str| runtime.tell("mute", "helper", text);

    let mut host = Client::start(&world, Revision::Old, &["--agent", "helper"]);
    host.request("resources/subscribe", json!({"uri": uri}))
        .unwrap();
    tell("one");
    let told = host.until(|message| message["method"] == UPDATED);
    assert_eq!(told["params"]["uri"], uri);
    host.request("resources/unsubscribe", json!({"uri": uri}))
        .unwrap();
    for uri in ["agentry://directory", "x"] {
        let refused = host
            .request("resources/subscribe", json!({"uri": uri}))
            .unwrap_err();
        assert_eq!(refused["code"], -32602, "{refused}");
    }
    for number in 0..16 {
        let uri = format!("agentry://task/outbox/{number}");
        host.request("resources/subscribe", json!({"uri": uri}))
            .unwrap();
    }
    let many = host
        .request("resources/subscribe", json!({"uri": uri}))
        .unwrap_err();
    assert!(
        many["message"].as_str().unwrap().contains("at most 16"),
        "{many}"
    );
    host.stop();

    let mut host = Client::start(&world, Revision::New, &["--agent", "helper"]);
    let wanted = json!({"resourceSubscriptions": [uri, "agentry://directory"]});
    let stream = host.begin("subscriptions/listen", json!({"notifications": wanted}));
    let told = host.until(|message| message["method"].is_string());
    assert_eq!(told["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(
        told["params"]["notifications"],
        json!({"resourceSubscriptions": [uri]})
    );
    // A message that comes at once is noticed at the next look at the latest.
    host.tool("read_inbox", json!({}));
    tell("two");
    tell("three");
    let told = host.until(|message| message["method"] == UPDATED);
    assert_eq!(told["params"]["uri"], uri);
    host.notify("notifications/cancelled", json!({"requestId": stream}));
    host.stop();
    runtime.stop();
}
