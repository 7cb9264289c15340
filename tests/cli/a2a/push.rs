//! Push notifications: who may set up what, and what receivers are told, also through a kill.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Client, state, tables, text, typed};
use crate::host::{Host, eventually};
use crate::world::World;

/// What must be in no log.
const SECRETS: [&str; 3] = ["hook-path", "the-token", "the-credentials"];

/// A call: its headers, in lower case, its body, and whether it was accepted.
#[derive(Clone, Debug)]
struct Call {
    headers: Vec<(String, String)>,
    body: Value,
    accepted: bool,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A receiver, in the process of the test.
struct Receiver {
    port: u16,
    accepts: Arc<AtomicBool>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Receiver {
    fn new(accepts: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let this = Self {
            port,
            accepts: Arc::new(AtomicBool::new(accepts)),
            calls: Arc::default(),
        };
        let (accepts, calls) = (Arc::clone(&this.accepts), Arc::clone(&this.calls));
        // It ends with the process. A caller that is killed meanwhile is no call.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let Some(mut call) = read(&mut stream) else {
                    continue;
                };
                call.accepted = accepts.load(Ordering::SeqCst);
                let status = match call.accepted {
                    true => "204 No Content",
                    false => "302 Found\r\nlocation: /",
                };
                calls.lock().unwrap().push(call);
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                drop(stream.get_mut().write_all(answer.as_bytes()));
            }
        });
        this
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The states that it was told and has accepted, in order.
    fn told(&self) -> Vec<String> {
        let calls = self.calls().into_iter().filter(|call| call.accepted);
        let states = calls.map(|call| state(&call.body["task"]).to_owned());
        states.collect()
    }

    fn config(&self) -> Value {
        json!({
            "url": format!("http://127.0.0.1:{}/hook-path", self.port),
            "token": "the-token",
            "authentication": { "scheme": "Bearer", "credentials": "the-credentials" },
        })
    }
}

fn read(stream: &mut impl BufRead) -> Option<Call> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let headers = lines.iter().skip(1).filter_map(|line| {
        let (key, value) = line.split_once(": ")?;
        Some((key.to_lowercase(), value.to_owned()))
    });
    let mut call = Call {
        headers: headers.collect(),
        body: Value::Null,
        accepted: false,
    };
    let mut body = vec![0; call.header("content-length").parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    call.body = serde_json::from_slice(&body).ok()?;
    Some(call)
}

fn private() -> [String; 5] {
    let mut tables = tables();
    tables[0].push_str("push_private = true\n");
    tables
}

fn check_log(host: &Host<'_>) {
    let log = host.log();
    for secret in SECRETS {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

#[test]
fn a_receiver_is_told_of_each_state_and_again_after_a_kill() {
    let world = World::new();
    let mut host = Host::start(&world, &private());
    let receiver = Receiver::new(false);
    let mut client = Client::new(&host, "client", &[]);
    let mut asks = json!({ "message": typed("m-1", "asks") });
    asks["configuration"] = json!({ "taskPushNotificationConfig": receiver.config() });
    let asked = client.rpc("several", "SendMessage", &asks).unwrap();
    let task = asked["task"]["id"].clone();
    assert_eq!(state(&asked["task"]), "TASK_STATE_INPUT_REQUIRED");
    eventually("the receiver refuses", || !receiver.calls().is_empty());
    check_log(&host);
    let secret = client.secret.clone();
    host.signal("-KILL");
    host.wait();
    receiver.accepts.store(true, Ordering::SeqCst);
    host = Host::begin(&world, "agents.toml");
    client = Client {
        host: &host,
        secret,
    };
    let last = |wanted: &str| receiver.told().last().is_some_and(|state| state == wanted);
    eventually("it is told of the question", || {
        last("TASK_STATE_INPUT_REQUIRED")
    });
    let call = receiver.calls().pop().unwrap();
    assert_eq!(call.header("x-a2a-notification-token"), "the-token");
    assert_eq!(call.header("authorization"), "Bearer the-credentials");
    assert_eq!(call.header("content-type"), "application/a2a+json");
    assert_eq!(call.body["task"]["id"], task);
    let question = &call.body["task"]["status"]["message"]["parts"][0]["text"];
    assert_eq!(question, "which one?");
    let mut answer = text("m-2", "the left one");
    answer["taskId"] = task.clone();
    client.send("several", &answer).unwrap();
    eventually("it is told of the end", || last("TASK_STATE_COMPLETED"));
    let end = receiver.calls().pop().unwrap().body["task"].take();
    assert_eq!(end["artifacts"][0]["parts"][0]["text"], "thanks\n");
    // Then it is done: nothing is told twice, and the receiver is removed.
    let list = json!({ "taskId": task });
    eventually("the receiver is removed", || {
        let left = client.rpc("several", "ListTaskPushNotificationConfigs", &list);
        left.unwrap()["configs"]
            .as_array()
            .is_none_or(Vec::is_empty)
    });
    let told = receiver.told();
    let mut once = told.clone();
    once.dedup();
    assert_eq!(told, once, "no state is told twice");
    check_log(&host);
}

#[test]
fn receivers_belong_to_a_token_are_few_and_end_with_it() {
    let world = World::new();
    let host = Host::start(&world, &private());
    let receiver = Receiver::new(true);
    let one = Client::new(&host, "one", &["--agent", "gateway"]);
    let two = Client::new(&host, "two", &["--agent", "gateway"]);
    let mut slow = json!({ "message": typed("m-1", "slow") });
    slow["configuration"] = json!({ "returnImmediately": true });
    let begun = one.rpc("several", "SendMessage", &slow).unwrap();
    let task = begun["task"]["id"].as_str().unwrap();
    let mut config = receiver.config();
    config["taskId"] = json!(task);
    let made = one.rpc("several", "CreateTaskPushNotificationConfig", &config);
    let made = made.unwrap();
    // Without an id of its own, it has the task's; credentials are shown to nobody.
    assert_eq!(made["id"], task, "{made:#}");
    assert_eq!(made["url"], config["url"]);
    assert_eq!(made["authentication"], json!({ "scheme": "Bearer" }));
    let path = format!("/a2a/several/tasks/{task}/pushNotificationConfigs");
    let named = |id: &str| {
        let mut named = receiver.config();
        named["id"] = json!(id);
        named.to_string()
    };
    one.request("POST", &path, &named("b")).good(200);
    let listed = one.request("GET", &path, "").good(200);
    assert_eq!(listed["configs"].as_array().unwrap().len(), 2, "{listed:#}");
    let shown = one.request("GET", &format!("{path}/b"), "").good(200);
    assert_eq!(shown["id"], "b");
    let wanted = json!({ "taskId": task, "id": "b" });
    let shown = one.rpc("several", "GetTaskPushNotificationConfig", &wanted);
    assert_eq!(shown.unwrap()["taskId"], task);
    // The other token may see the task, and not who is told of it.
    let listed = two.request("GET", &path, "").good(200);
    assert_eq!(listed["configs"], Value::Null, "{listed:#}");
    assert_eq!(two.request("GET", &format!("{path}/b"), "").status, 404);
    two.request("DELETE", &format!("{path}/b"), "").good(200);
    one.request("GET", &format!("{path}/b"), "").good(200);
    // There are few of them, and an id is one of them.
    for id in ["c", "d", "d"] {
        one.request("POST", &path, &named(id)).good(200);
    }
    let more = one.request("POST", &path, &named("e"));
    assert_eq!(more.status, 400, "{more:?}");
    for id in ["c", "c", "d"] {
        let gone = json!({ "taskId": task, "id": id });
        let deleted = one.rpc("several", "DeleteTaskPushNotificationConfig", &gone);
        assert_eq!(deleted.unwrap(), json!({}));
    }
    let wrong = [
        json!({ "url": "file:///hook-path" }),
        json!({ "url": "http://me:the-credentials@127.0.0.1/hook-path" }),
        json!({ "url": "http://127.0.0.1/", "token": "the-token\r\nx: y" }),
        json!({ "url": "http://127.0.0.1/", "authentication": { "scheme": "a b" } }),
        json!({ "url": "http://127.0.0.1/", "id": "x".repeat(200) }),
    ];
    for wrong in wrong {
        let refused = one.request("POST", &path, &wrong.to_string());
        assert_eq!(refused.status, 400, "{wrong}: {refused:?}");
        let told = refused.json().to_string();
        assert!(
            SECRETS.iter().all(|secret| !told.contains(secret)),
            "{told}"
        );
        // Nothing is sent if its receiver is not as it must be.
        let mut message = json!({ "message": typed("m-2", "cat") });
        message["configuration"] = json!({ "taskPushNotificationConfig": wrong });
        let refused = one.rpc("several", "SendMessage", &message).unwrap_err();
        assert_eq!(refused["code"], -32602);
    }
    let listed = one.rpc("several", "ListTasks", &json!({})).unwrap();
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 1);
    let missing = json!({ "taskId": "nothing", "url": "http://127.0.0.1/" });
    let missing = one.rpc("several", "CreateTaskPushNotificationConfig", &missing);
    assert_eq!(missing.unwrap_err()["code"], -32001);
    eventually("both are told", || receiver.told().len() >= 2);
    // Who may no longer see the task is no longer told.
    host.run(&["token", "revoke", "one"]).good();
    two.rpc("several", "CancelTask", &json!({ "id": task }))
        .unwrap();
    let mut ended = receiver.config();
    ended["taskId"] = json!(task);
    two.rpc("several", "CreateTaskPushNotificationConfig", &ended)
        .unwrap();
    let canceled = || {
        let told = receiver.told();
        told.iter()
            .filter(|state| *state == "TASK_STATE_CANCELED")
            .count()
    };
    eventually("the other one learns of the end", || canceled() > 0);
    assert_eq!(canceled(), 1);
    check_log(&host);
}

#[test]
fn no_private_address_is_called_unless_it_is_allowed() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let receiver = Receiver::new(true);
    let client = Client::new(&host, "client", &[]);
    let send = |id: &str, url: &str| {
        let mut message = json!({ "message": typed(id, "slow") });
        message["configuration"] = json!({
            "returnImmediately": true, "taskPushNotificationConfig": { "url": url },
        });
        client.rpc("several", "SendMessage", &message)
    };
    for (id, url) in [
        ("m-1", "http://example.com/hook-path"),
        ("m-2", "https://127.0.0.1/hook-path"),
        ("m-3", "https://[::1]/hook-path"),
        ("m-4", "https://0x7f.1/hook-path"),
        ("m-5", "https://169.254.169.254/hook-path"),
    ] {
        let refused = send(id, url).unwrap_err();
        assert_eq!(refused["code"], -32602, "{url}: {refused}");
        assert!(!refused.to_string().contains("hook-path"), "{refused}");
    }
    // A name that resolves to this machine is refused when it is called.
    let url = format!("https://localhost:{}/hook-path", receiver.port);
    send("m-6", &url).unwrap();
    host.logged("no public address", 2);
    assert!(receiver.calls().is_empty());
    check_log(&host);
}
