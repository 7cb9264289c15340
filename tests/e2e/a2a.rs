//! Jobs that another agent does over A2A, through `kill -9`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::runtime::{ask, configure, devnet, start};
use agentry_testbed::until;

/// An agent that asks how much water a plant needs, and works for ever if it is to be slow.
struct Gardener {
    url: String,
    /// The messages that it got, each once however often it came.
    messages: Arc<Mutex<Vec<Value>>>,
    /// The operations that were called.
    called: Arc<Mutex<Vec<String>>>,
}

impl Gardener {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gardener = Self {
            url: url.clone(),
            messages: Arc::default(),
            called: Arc::default(),
        };
        let (messages, called) = (Arc::clone(&gardener.messages), Arc::clone(&gardener.called));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (messages, called) = (Arc::clone(&messages), Arc::clone(&called));
                let url = url.clone();
                std::thread::spawn(move || serve(stream, &url, &messages, &called));
            }
        });
        gardener
    }

    fn has(&self, operation: &str) -> bool {
        self.called
            .lock()
            .unwrap()
            .iter()
            .any(|called| called == operation)
    }

    fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    url: &str,
    messages: &Mutex<Vec<Value>>,
    called: &Mutex<Vec<String>>,
) {
    let Some(request) = request(&mut stream) else {
        return;
    };
    let answer = if request.is_null() {
        json!({
            "name": "gardener", "capabilities": {},
            "supportedInterfaces": [
                { "url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0" },
            ],
        })
    } else {
        let operation = request["method"].as_str().unwrap();
        called.lock().unwrap().push(operation.to_owned());
        let params = &request["params"];
        let mut messages = messages.lock().unwrap();
        if operation == "SendMessage" {
            let id = &params["message"]["messageId"];
            assert!(
                messages.iter().all(|known| known["messageId"] != *id),
                "{id} came twice"
            );
            messages.push(params["message"].clone());
        }
        // The conversation that is asked for: that of a job.
        let id = ["id", "contextId"]
            .iter()
            .find_map(|name| params[name].as_str());
        let id = id.or(params["message"]["contextId"].as_str()).unwrap();
        let of_job = messages.iter().filter(|message| message["contextId"] == id);
        let of_job: Vec<&Value> = of_job.collect();
        let result = match operation {
            "ListTasks" if of_job.is_empty() => json!({ "tasks": [] }),
            "ListTasks" => json!({ "tasks": [task(id, &of_job)] }),
            "SendMessage" => json!({ "task": task(id, &of_job) }),
            _ => task(id, &of_job),
        };
        json!({ "jsonrpc": "2.0", "id": 1, "result": result })
    };
    let body = answer.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    // The client may have been killed.
    let _ = stream.write_all((head + &body).as_bytes());
}

/// The task of a conversation: what its messages lead to.
fn task(id: &str, messages: &[&Value]) -> Value {
    let text = |index: usize| messages[index]["parts"][0]["text"].as_str().unwrap();
    let said = |text: &str| json!({ "messageId": text, "parts": [{ "text": text }] });
    let status = match messages.len() {
        _ if text(0) == "slow" => json!({ "state": "TASK_STATE_WORKING" }),
        1 => json!({ "state": "TASK_STATE_INPUT_REQUIRED", "message": said("how much?") }),
        _ => json!({ "state": "TASK_STATE_COMPLETED", "message": said(&format!(
            "watered with {}", text(1)
        )) }),
    };
    json!({ "id": id, "contextId": id, "status": status, "history": messages })
}

/// The body of a request; null for one without.
fn request(stream: &mut TcpStream) -> Option<Value> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            match length.map(|length| length.trim().parse::<usize>().unwrap()) {
                None => return Some(Value::Null),
                Some(length) if body.len() >= length => return serde_json::from_str(body).ok(),
                Some(_) => {}
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => read.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}

#[test]
fn an_agent_asks_over_the_chain_and_is_answered_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, gardener) = (dir.path(), Gardener::start());
    let devnet = devnet(dir);
    let tables = format!(
        "[[agent]]\nname = \"worker\"\nwallet = \"w1\"\n[[agent.behaviours]]\n\
         kind = \"tasks\"\nallow = [\"boss\"]\n[agent.behaviours.types.garden]\n\
         executor = \"a2a\"\nurl = \"{}\"\nallow_private = true\npoll_every = \"50ms\"\n\
         concurrency = 2\n[[agent]]\nname = \"boss\"\nwallet = \"w2\"\nbehaviours = []\n",
        gardener.url
    );
    configure(dir, &devnet.url(), &[1, 2], &tables);
    let runtime = start(dir, &[]);
    let submit = |prompt: &str| {
        let job = [
            "task", "submit", "--wallet", "boss", "--to", "worker", "--type", "garden",
        ];
        let told = ask(dir, &[&job[..], &["--prompt", prompt]].concat());
        told["id"].as_str().unwrap().to_owned()
    };
    let show = |id: &str| ask(dir, &["task", "show", id]);

    let id = submit("water it");
    until("the agent's question is on the chain", || {
        show(&id)["state"] == "input-required"
    });
    assert_eq!(show(&id)["input"]["question"], "how much?");
    runtime.kill();
    let runtime = start(dir, &[]);
    ask(dir, &["task", "answer", &id, "two litres"]);
    until("the job is completed", || show(&id)["state"] == "completed");
    assert_eq!(show(&id)["result"]["text"], "watered with two litres");
    let messages = gardener.messages();
    assert_eq!(messages.len(), 2);
    let key = messages[0]["messageId"].as_str().unwrap();
    assert_eq!(messages[1]["messageId"], format!("{key}-1"));
    assert_eq!(messages[1]["taskId"], key, "it is the same task");
    assert_eq!(
        show(&id)["ended"]["transaction"].as_str().unwrap().len(),
        66
    );

    // The attempt is killed while the agent is at work: the next one goes on with its task.
    let id = submit("slow");
    until("the agent is at work", || gardener.messages().len() == 3);
    until("it is asked how far it is", || gardener.has("GetTask"));
    runtime.kill();
    gardener.called.lock().unwrap().clear();
    let runtime = start(dir, &[]);
    until("it is asked again", || gardener.has("GetTask"));
    assert!(!gardener.has("SendMessage"), "the job is not given twice");
    ask(dir, &["task", "cancel", &id]);
    until("the agent is told to stop", || gardener.has("CancelTask"));
    until("the job is canceled", || show(&id)["state"] == "canceled");
    runtime.stop();
}
