//! A client reaches every agent through every host.

use serde_json::{Value, json};

use crate::client::{Client, Response, Stdio};
use crate::cluster::Cluster;
use agentry_testbed::until;

/// What both agents do.
const BEHAVIOURS: &str = "{ kind = \"pong\", trigger = \"ping\", reply = \"pong\" }, \
    { kind = \"tasks\", allow = [\"asker\", \"worker\"], types = { cat = { executor = \"command\", \
    program = \"cat\" } } }, { kind = \"ack\" }";

const A2A: &str = "[a2a]\nagents = [\"worker\"]\nfrom = \"asker\"\nseal = false\n";

/// The host that owns the agent `asker`, and the one that owns `worker`.
const BOTH: [usize; 2] = [0, 1];

fn encoded(id: &Value) -> String {
    id.as_str().unwrap().replace('/', "%2F")
}

/// Sends a ping through a client, and waits for the answer.
fn ping(client: &Client, from: &str, to: &str) -> Value {
    let message = json!({ "from": from, "to": to, "text": "ping", "ack": { "what": "done" } });
    let sent = client.post("/messages", &message).good(202);
    answered(client, from, &sent["id"])
}

/// The same while the shard of `from` moves to another host: until it runs there, nothing is sent.
fn ping_in_a_move(client: &Client, from: &str, to: &str) -> Value {
    let message = json!({ "from": from, "to": to, "text": "ping" });
    let mut sent: Option<Response> = None;
    until("a host sends", || {
        let tried = client.post("/messages", &message);
        assert!([202, 503, 504].contains(&tried.status), "{tried:?}");
        sent.insert(tried).status == 202
    });
    answered(client, from, &sent.unwrap().good(202)["id"])
}

fn answered(client: &Client, from: &str, id: &Value) -> Value {
    let path = format!(
        "/messages/{}/delivery?agent={from}&timeout_ms=60000",
        encoded(id)
    );
    let delivery = client.get(&path).good(200);
    assert_eq!(delivery["answer"]["text"], "pong", "{delivery}");
    delivery
}

fn token(cluster: &Cluster, name: &str, more: &[&str]) -> String {
    let mut all = vec!["token", "create", name];
    all.extend(more);
    cluster.command(0, &all)["secret"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn every_host_answers_for_every_agent_and_goes_on_for_one_that_died() {
    let mut cluster = Cluster::start(BEHAVIOURS, A2A, 2);
    let secret = token(&cluster, "all", &["--allow", "read,send,operate"]);
    let clients = BOTH.map(|host| Client::new(&cluster, host, &secret));

    // The same token, the same agents.
    for client in &clients {
        let status = client.get("/status").good(200);
        assert_eq!(status["running"], true);
        let agents = status["agents"].as_array().unwrap();
        let mut listed: Vec<_> = agents
            .iter()
            .map(|agent| agent["address"].as_str().unwrap())
            .collect();
        let mut wanted: Vec<_> = cluster
            .agents
            .iter()
            .map(|agent| agent.address.as_str())
            .collect();
        wanted.sort_unstable();
        assert_eq!(listed, wanted, "by address");
        let first = client.get("/status?limit=1").good(200);
        let rest = client.get(&format!(
            "/status?limit=1&cursor={}",
            first["next"].as_str().unwrap()
        ));
        let rest = rest.good(200);
        assert_eq!(rest["next"], Value::Null);
        let pages = [&first, &rest].map(|page| page["agents"][0]["address"].as_str().unwrap());
        listed.dedup();
        assert_eq!(pages.as_slice(), listed);
        let found = client.get("/agents/worker").good(200);
        assert_eq!(found["hosted"], "worker");
    }

    // Messages from each agent to the other, through each host, and their events on both.
    let mut streams = clients.each_ref().map(Client::events);
    for client in &clients {
        for (from, to) in [("asker", "worker"), ("worker", "asker")] {
            ping(client, from, to);
            let read = client.get(&format!("/messages?agent={to}&limit=1&direction=received"));
            let read = read.good(200);
            assert_eq!(read["messages"].as_array().unwrap().len(), 1, "{read}");
        }
    }
    for events in &mut streams {
        let mut new = 0;
        while new < 8 {
            events.until(|event| event["event"] == "message" && event["new"] == true);
            new += 1;
        }
    }
    drop(streams);

    // Rows are numbered in each shard by itself.
    for client in &clients {
        let unnamed = client.get("/messages/outbox%2F1/delivery");
        assert_eq!(unnamed.status, 400, "{unnamed:?}");
        assert!(
            unnamed.body["message"]
                .as_str()
                .unwrap()
                .contains("`agent`"),
            "{unnamed:?}"
        );
        let of = |agent: &str| {
            client
                .get(&format!("/messages/inbox%2F1?agent={agent}"))
                .good(200)
        };
        assert_ne!(of("asker")["transaction"], of("worker")["transaction"]);
    }
    for client in &clients {
        let mut rows = Vec::new();
        let mut path = "/queue?queue=inbox&part=all&limit=3".to_owned();
        loop {
            let page = client.get(&path).good(200);
            rows.extend(page["rows"].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(next) => path = format!("/queue?queue=inbox&part=all&limit=3&cursor={next}"),
                None => break,
            }
        }
        let mut ids: Vec<_> = rows
            .iter()
            .map(|row| (row["agent"].to_string(), row["id"].to_string()))
            .collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "each once");
        assert!(count >= 8, "{rows:?}");
        let times: Vec<_> = rows
            .iter()
            .map(|row| row["made_at"].as_u64().unwrap())
            .collect();
        assert!(times.is_sorted_by(|one, other| one >= other), "{times:?}");
    }

    // A job, and what the one who does it shows.
    for client in &clients {
        let job = json!({ "from": "asker", "to": "worker", "type": "cat", "prompt": "some text" });
        let job = client.post("/tasks", &job).good(202);
        let path = format!(
            "/tasks/{}?agent=asker&timeout_ms=60000",
            encoded(&job["id"])
        );
        assert_eq!(client.get(&path).good(200)["state"], "completed");
        let work = client.get("/work").good(200);
        assert_eq!(work["tasks"][0]["agent"], "worker", "{work}");
    }
    assert!(
        clients[0].get("/tasks").good(200)["tasks"]
            .as_array()
            .unwrap()
            .len()
            >= 2
    );
    for client in &clients {
        client.post("/queue/resume", &json!({})).good(200);
        let reloaded = client.post("/reload", &json!({})).good(200);
        assert_eq!(reloaded["agents"]["changed"], json!([]));
    }

    // A2A.
    for (at, client) in clients.iter().enumerate() {
        let card = client.card("worker");
        assert_eq!(card["signatures"].as_array().unwrap().len(), 1, "{card}");
        let message = json!({ "messageId": format!("m{at}"), "role": "ROLE_USER", "parts": [{ "text": "text" }] });
        let sent = client.a2a("worker", "SendMessage", &json!({ "message": message }));
        let task = &sent["task"];
        assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{sent}");
        // The same on the other host.
        let other = &clients[1 - at];
        let found = other.a2a("worker", "GetTask", &json!({ "id": task["id"] }));
        assert_eq!(found["id"], task["id"]);
    }

    // MCP.
    for client in &clients {
        let ping = json!({ "from": "asker", "to": "worker", "text": "ping" });
        let (failed, sent) = client.tool("send_message", &ping);
        assert!(!failed, "{sent}");
        let wait = json!({ "id": sent["id"], "agent": "asker", "timeout_ms": 60_000 });
        let (failed, delivery) = client.tool("wait_for_reply", &wait);
        assert!(
            !failed && delivery["answer"]["text"] == "pong",
            "{delivery}"
        );
        let (failed, told) = client.tool("wait_for_reply", &json!({ "id": sent["id"] }));
        assert!(
            failed && told.as_str().unwrap().contains("`agent`"),
            "{told}"
        );
    }

    // A token for one agent names nobody.
    let one = token(
        &cluster,
        "one",
        &["--allow", "read,send", "--agent", "worker"],
    );
    for host in BOTH {
        let client = Client::new(&cluster, host, &one);
        let sent = client
            .post("/messages", &json!({ "to": "asker", "text": "ping" }))
            .good(202);
        let path = format!(
            "/messages/{}/delivery?timeout_ms=60000",
            encoded(&sent["id"])
        );
        assert_eq!(client.get(&path).good(200)["answer"]["text"], "pong");
        let hidden = client.get("/messages?agent=asker");
        assert_eq!(hidden.status, 404, "{hidden:?}");
    }

    // A host hands its agents over. It still answers for them, and tells its clients that they may have
    // missed something; the host that followed them has missed nothing.
    let [mut followed, mut handed] = clients.each_ref().map(Client::events);
    cluster.command(1, &["cluster", "drain", &cluster.names[1]]);
    handed.next_named("missed");
    ping_in_a_move(&clients[1], "worker", "asker");
    let is_new = |event: &Value| {
        event["event"] == "message" && event["agent"] == "worker" && event["new"] == true
    };
    followed.until(is_new);
    while !is_new(&handed.next()) {}
    cluster.command(1, &["cluster", "resume", &cluster.names[1]]);
    cluster.await_places();

    // The host that owns one of them dies, and the same client goes on.
    let [survivor, _] = &clients;
    let mut events = survivor.events();
    cluster.kill(1);
    ping_in_a_move(survivor, "worker", "asker");
    // It followed the shard, and nothing was missed.
    events.until(is_new);
}

/// The third host neither owns nor follows the shards of the agents, until somebody asks it for them.
#[test]
fn a_host_without_a_copy_gets_one_when_it_is_asked() {
    let cluster = Cluster::start(BEHAVIOURS, "", 3);
    let third = 2;
    assert!(!cluster.has_copy(third, 0) && !cluster.has_copy(third, 1));
    let secret = token(&cluster, "all", &["--allow", "read,send"]);
    let client = Client::new(&cluster, third, &secret);
    ping(&client, "asker", "worker");
    assert!(cluster.has_copy(third, 0));
    let read = client.get("/messages?agent=worker").good(200);
    assert_eq!(read["messages"].as_array().unwrap().len(), 1, "{read}");
    assert!(cluster.has_copy(third, 1));

    // Standard input and output, on that machine, for one agent.
    let mut mcp = Stdio::start(&cluster, third, &["mcp", "--agent", "worker"]);
    let sent = mcp.tool("send_message", &json!({ "to": "asker", "text": "ping" }));
    let wait = json!({ "id": sent["id"], "timeout_ms": 60_000 });
    assert_eq!(mcp.tool("wait_for_reply", &wait)["answer"]["text"], "pong");
    let inbox = mcp.tool("read_inbox", &json!({}));
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 2, "{inbox}");
    drop(mcp);

    // An event of an agent whose owner is another host.
    let mut events = client.events();
    let owner = Client::new(&cluster, 0, &secret);
    ping(&owner, "worker", "asker");
    events.until(|event| event["agent"] == "asker" && event["new"] == true);

    // Its token ends on every host.
    cluster.command(1, &["token", "revoke", "all"]);
    until("the token has ended", || {
        client.get("/status").status == 401
    });
    until("the token has ended", || owner.get("/status").status == 401);
}
