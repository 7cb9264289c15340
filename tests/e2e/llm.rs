//! An agent that converses through a model, which a test writes: real processes, real HTTP, real kills.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use agentry_protocol::Envelope;
use agentry_testbed::wallet::address;
use agentry_testbed::{PATIENCE, until, within};
use serde_json::{Value, json};

use crate::support::runtime::{ask, configure, devnet, say, start};

/// A model that asks for the tool `stock` first, and then says what it has told.
#[derive(Clone, Default)]
struct Model(Arc<Shared>);

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<Asked>>,
    /// The arguments with which it asks for the tool.
    arguments: String,
    /// The request that is not answered until this changes, by its position.
    held: Mutex<Option<usize>>,
    released: Condvar,
}

/// A request: the key that tells it from others, and its body.
#[derive(Clone, Debug)]
struct Asked {
    key: String,
    body: Value,
}

impl Model {
    fn start(arguments: &Value, held: Option<usize>) -> (Self, String) {
        let model = Self(Arc::new(Shared {
            arguments: arguments.to_string(),
            held: Mutex::new(held),
            ..Shared::default()
        }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = model.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let model = serving.clone();
                // The runtime may be killed meanwhile.
                std::thread::spawn(move || model.serve(stream).ok());
            }
        });
        (model, url)
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut key, mut length, mut line) = (String::new(), 0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let header = line.trim_end().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("idempotency-key: ") {
                value.clone_into(&mut key);
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let said = self.answer(&body);
        let at = {
            let mut asked = self.0.asked.lock().unwrap();
            asked.push(Asked { key, body });
            asked.len() - 1
        };
        let held = self.0.held.lock().unwrap();
        let limit = self
            .0
            .released
            .wait_timeout_while(held, PATIENCE, |held| *held == Some(at));
        drop(limit.unwrap());
        let text = said.to_string();
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n";
        let mut stream = stream;
        write!(stream, "{head}content-length: {}\r\n\r\n{text}", text.len())
    }

    fn answer(&self, body: &Value) -> Value {
        let last = body["messages"].as_array().unwrap().last().unwrap();
        let message = match last["role"].as_str().unwrap() {
            "tool" => {
                json!({ "content": format!("{} packets", last["content"].as_str().unwrap().trim()) })
            }
            _ => json!({ "content": null, "tool_calls": [{
                "id": "call-1", "type": "function",
                "function": { "name": "stock", "arguments": self.0.arguments },
            }] }),
        };
        let reason = if message["tool_calls"].is_null() {
            "stop"
        } else {
            "tool_calls"
        };
        json!({
            "choices": [{ "message": message, "finish_reason": reason }],
            "usage": { "prompt_tokens": 30, "completion_tokens": 4 },
        })
    }

    fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().unwrap().clone()
    }

    fn release(&self) {
        *self.0.held.lock().unwrap() = None;
        self.0.released.notify_all();
    }
}

/// The texts that the agent has sent, on the chain.
fn answers(dir: &Path) -> Vec<String> {
    let db = agentry_testbed::chain::open(&dir.join("node/chain.db"));
    let mined = agentry_testbed::chain::transactions(&db).into_iter();
    let ours = mined.filter(|mined| mined.sender == address(1).as_str());
    let texts = ours.map(|mined| {
        let envelope = Envelope::read(&mined.stored.unwrap().payload);
        envelope.payload.text().unwrap().to_owned()
    });
    texts.collect()
}

/// Killed while the model is asked, the first and the second time, and not at all: each answer of the
/// model is paid once, and the one that was under way once more. The sender gets one answer.
#[test]
fn a_model_is_asked_once_for_each_step_and_once_more_after_a_kill() {
    for kill in [None, Some(0), Some(1)] {
        let dir = tempfile::tempdir().unwrap();
        let devnet = devnet(dir.path());
        let (model, url) = Model::start(&json!({ "input": "sencha" }), kill);
        let tables = format!(
            "[[agent]]\nname = \"shop\"\nwallet = \"w1\"\n[[agent.behaviours]]\n\
             kind = \"llm\"\nallow = [\"{}\"]\n[agent.behaviours.model]\nurl = \"{url}\"\n\
             model = \"small\"\nsystem = \"You sell tea.\"\nmax_tokens = 50\n\
             [agent.behaviours.tools.stock]\nexecutor = \"command\"\nprogram = \"echo\"\n\
             args = [\"7\"]\ndescription = \"What is in stock.\"\ntrusted = true\n",
            address(3)
        );
        configure(dir.path(), &devnet.url(), &[1], &tables);
        let mut runtime = start(dir.path(), &[]);
        say(&devnet, "how much sencha is there?", None, 1);
        if let Some(at) = kill {
            until("the model is asked", || model.asked().len() == at + 1);
            runtime.kill();
            model.release();
            runtime = start(dir.path(), &[]);
        }
        let is_answered = within(PATIENCE, || (!answers(dir.path()).is_empty()).then_some(()));
        assert!(is_answered.is_some(), "{}", runtime.log());
        let asked = model.asked();
        assert_eq!(asked.len(), 2 + usize::from(kill.is_some()), "{asked:?}");
        if let Some(at) = kill {
            // A service that knows the key does not do the work twice.
            assert_eq!(asked[at].key, asked[at + 1].key);
            assert_eq!(asked[at].body, asked[at + 1].body);
        }
        assert_ne!(asked[0].key, asked.last().unwrap().key);
        let tools = asked[0].body["tools"].to_string();
        assert!(tools.contains("\"stock\""), "{tools}");
        // Steps are tasks, and their tokens are counted.
        let tasks = ask(
            dir.path(),
            &["task", "list", "--executing", "--state", "completed"],
        );
        let tasks = tasks["tasks"].as_array().unwrap();
        let tokens: Vec<_> = tasks
            .iter()
            .map(|task| task["input_tokens"].as_u64())
            .collect();
        assert_eq!(tokens, [Some(30), Some(0), Some(30)], "{tasks:#?}");
        runtime.stop();
        assert_eq!(answers(dir.path()), ["7 packets"]);
    }
}

/// The tool is one of an MCP server: another runtime. The model is told what the server says of it.
#[test]
fn a_tool_of_an_mcp_server_is_used() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let devnet = devnet(dirs[0].path());
    let server = "[[agent]]\nname = \"clerk\"\nwallet = \"w2\"\nbehaviours = []\n";
    configure(dirs[1].path(), &devnet.url(), &[2], server);
    let server = start(dirs[1].path(), &[]);
    let key = dirs[0].path().join("key");
    let create = [
        "token", "create", "shop", "--allow", "read", "--agent", "clerk",
    ];
    let file = ["--secret-file", key.to_str().unwrap()];
    ask(dirs[1].path(), &[&create[..], &file].concat());
    let (model, url) = Model::start(&json!({}), None);
    let tables = format!(
        "[[agent]]\nname = \"shop\"\nwallet = \"w1\"\n[[agent.behaviours]]\n\
         kind = \"llm\"\nallow = [\"*\"]\n[agent.behaviours.model]\nurl = \"{url}\"\n\
         model = \"small\"\n[agent.behaviours.tools.stock]\nexecutor = \"mcp\"\n\
         url = \"{}/mcp\"\ntool = \"agent_status\"\nkey_file = \"key\"\n",
        server.url()
    );
    configure(dirs[0].path(), &devnet.url(), &[1], &tables);
    let runtime = start(dirs[0].path(), &[]);
    say(&devnet, "how is the clerk?", None, 1);
    let is_answered = within(PATIENCE, || {
        (!answers(dirs[0].path()).is_empty()).then_some(())
    });
    assert!(is_answered.is_some(), "{}", runtime.log());
    let answers = answers(dirs[0].path());
    assert!(answers[0].contains("clerk"), "{answers:?}");
    let tools = model.asked()[0].body["tools"].clone();
    let tools = tools.as_array().unwrap().iter();
    let mut tools = tools.filter(|tool| tool["function"]["name"] == "stock");
    let told = &tools.next().unwrap()["function"];
    assert!(told["parameters"]["properties"].is_object(), "{told:#}");
    assert!(told["description"].as_str().unwrap().len() > 20, "{told:#}");
    let secret = std::fs::read_to_string(&key).unwrap();
    assert!(!runtime.log().contains(secret.trim()));
    runtime.stop();
    server.stop();
}
