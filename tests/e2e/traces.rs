//! Two processes, a model and a collector: one trace.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentry::wallet::{WalletStore, ensure_password_file, password};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{
    Address, ChainId, Header, MessageId, Number, Payload, Seed, SigningKey, Timestamp, Transaction,
    compose,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::collector::{Collector, Span};
use crate::support::{http, until};

/// The trace of the message with which all begins.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// What must never reach a collector.
const PROMPT: &str = "a s3cret prompt";
const ANSWER: &str = "a s3cret answer";
const KEY: &str = "s3cret-key";

/// The clerk has the work done by the worker, and tells whoever asked.
const CLERK: &str = r#"
import agentry
class Clerk(agentry.Behaviour):
    def on_message(self, message, context):
        if message.text is not None:
            job = {"cmd": "EXECUTE_AI_JOB", "type": "chat", "prompt": message.text}
            effects = agentry.Effects().set_state("from", message.sender)
            return effects.send("WORKER", job)
        return agentry.Effects().send(context.state["from"], "it is done", thread="t")
agentry.run(Clerk())
"#;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

/// A runtime in a process of its own; killed when it is dropped.
struct Process {
    child: Child,
    status: u16,
    log: std::path::PathBuf,
}

impl Process {
    /// Hosts the wallet of this byte.
    fn start(dir: &Path, node: &str, byte: u8, agent: &str, variables: &[(&str, &str)]) -> Self {
        let keystore = dir.join("keystore");
        ensure_password_file(&keystore.join(".password")).unwrap();
        let secret = password::read(&keystore.join(".password")).unwrap();
        let wallets = WalletStore::new(Some(keystore), None);
        let seed = Seed::from_bytes([byte; 32]);
        wallets
            .add(&"own".parse().unwrap(), &seed, &address(byte), &secret)
            .unwrap();
        let text = format!(
            "[chain]\nid = \"ait-devnet\"\nrpc = \"{node}\"\nstart = 0\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [wallets]\nkeystore_dir = \"keystore\"\npassword_file = \"keystore/.password\"\n{agent}"
        );
        let config = dir.join("agents.toml");
        std::fs::write(&config, text).unwrap();
        let log = dir.join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentry"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("AGENTRY") || name.starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .arg("run")
            .arg("--config")
            .arg(config)
            .arg("--json")
            .current_dir(dir)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{}", std::fs::read_to_string(&log).unwrap()));
        let status = told["status"].as_str().unwrap();
        Self {
            child,
            status: status.rsplit_once(':').unwrap().1.parse().unwrap(),
            log,
        }
    }

    /// The value of a metric, 0 if it is not there.
    fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = http::get(self.status, "/metrics").unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Stops it as an operator does.
    fn stop(mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        until("it stops", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        assert!(
            status.success(),
            "{}",
            std::fs::read_to_string(&self.log).unwrap()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn devnet(dir: &Path) -> Devnet {
    Devnet::start(DevnetConfig {
        dir: dir.join("node"),
        block_time: Duration::from_millis(100),
        allocations: (1..=3).map(|byte| (address(byte), 1_000_000)).collect(),
        ..DevnetConfig::default()
    })
    .unwrap()
}

/// Posts a text from the wallet 3 to the wallet 1, with a trace if there is one.
fn say(devnet: &Devnet, text: &str, trace: Option<&str>, nonce: u64) {
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let mut header = Header {
        id: Some(MessageId::generate(Timestamp::new(now.try_into().unwrap())).unwrap()),
        key: Some(key(3).public_key()),
        ..Header::default()
    };
    header.trail.trace = trace.map(|trace| trace.parse().unwrap());
    let signed = Transaction {
        from: address(3),
        to: address(1),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(nonce),
        payload: compose(&Payload::Text(text.to_owned()), Some(&header)).unwrap(),
        chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
    }
    .sign(&key(3));
    let (status, answer) = http::post(devnet.port(), "/rpc/transaction", &signed.body()).unwrap();
    assert_eq!(status, 200, "{answer}");
}

/// A model that answers every request, once.
fn model() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut read = Vec::new();
            while !String::from_utf8_lossy(&read).contains(PROMPT) {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0);
                read.extend_from_slice(&buffer[..count]);
            }
            let body = format!(
                "{{\"choices\":[{{\"message\":{{\"content\":\"{ANSWER}\"}},\
                 \"finish_reason\":\"stop\"}}],\
                 \"usage\":{{\"prompt_tokens\":11,\"completion_tokens\":7}}}}"
            );
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

/// The spans of the trace, by name and service.
fn of_trace(collector: &Collector) -> HashMap<(String, String), Vec<Span>> {
    let mut found = HashMap::<_, Vec<Span>>::new();
    for span in collector.spans() {
        assert_eq!(span.trace, TRACE, "{span:?}");
        assert!(span.began <= span.ended, "{span:?}");
        assert_eq!(span.schema, "https://opentelemetry.io/schemas/1.37.0");
        let key = (span.service.clone(), span.name.clone());
        found.entry(key).or_default().push(span);
    }
    found
}

#[test]
fn one_trace_leads_through_two_processes_and_a_model() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let devnet = devnet(dirs[0].path());
    let (collector, model) = (Collector::start(), model());
    let program = dirs[0].path().join("clerk.py");
    std::fs::write(&program, CLERK.replace("WORKER", address(2).as_str())).unwrap();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("behaviours/python");
    let clerk = Process::start(
        dirs[0].path(),
        &devnet.url(),
        1,
        &format!(
            "[[agent]]\nname = \"clerk\"\nwallet = \"own\"\n[[agent.behaviours]]\n\
             kind = \"process\"\nprogram = \"python3\"\nargs = [\"clerk.py\"]\n\
             texts = true\ncommands = [\"JOB_COMPLETE\"]\nanswers = true\n\
             env = {{ PYTHONPATH = {:?}, PYTHONDONTWRITEBYTECODE = \"1\" }}\n\
             [traces]\nendpoint = \"{}/\"\n",
            python.to_str().unwrap(),
            collector.url
        ),
        &[],
    );
    std::fs::write(dirs[1].path().join("key"), KEY).unwrap();
    let worker = Process::start(
        dirs[1].path(),
        &devnet.url(),
        2,
        &format!(
            "[[agent]]\nname = \"worker\"\nwallet = \"own\"\n[[agent.behaviours]]\n\
             kind = \"tasks\"\nallow = [\"*\"]\n[agent.behaviours.types.chat]\n\
             executor = \"http\"\nurl = \"{model}\"\nmodel = \"small\"\nmax_tokens = 50\n\
             key_file = \"key\"\nstream = false\n"
        ),
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=us"),
            ("OTEL_SERVICE_NAME", "workshop"),
        ],
    );
    say(&devnet, PROMPT, Some(&format!("00-{TRACE}-{PARENT}-01")), 1);

    // The last thing that happens is that the clerk's answer is in a block.
    until("the trace is complete", || {
        of_trace(&collector).contains_key(&("agentry".to_owned(), "send text".to_owned()))
    });
    // What was recorded last is exported when they stop.
    clerk.stop();
    worker.stop();

    let spans = of_trace(&collector);
    let one = |service: &str, name: &str| {
        let key = (service.to_owned(), name.to_owned());
        let found = spans
            .get(&key)
            .unwrap_or_else(|| panic!("no {key:?} in {spans:#?}"));
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    };
    let follows = |child: &Span, parent: &Span| {
        assert_eq!(child.parent, parent.id, "{child:#?} {parent:#?}");
    };
    // Each step follows from the one before it.
    let asked = one("agentry", "process text");
    assert_eq!((asked.parent.as_str(), asked.kind), (PARENT, 5));
    assert_eq!(asked.attributes["agentry.agent"], "clerk");
    assert_eq!(
        asked.attributes["agentry.message.from"],
        address(3).as_str()
    );
    let runs = &spans[&("agentry".to_owned(), "behaviour process".to_owned())];
    let first = runs.iter().find(|run| run.parent == asked.id).unwrap();
    assert_eq!(first.attributes["agentry.event"], "message");
    let job = one("agentry", "send EXECUTE_AI_JOB");
    follows(&job, first);
    assert_eq!(
        (job.kind, &job.attributes["agentry.message.to"]),
        (4, &address(2).to_string())
    );

    let taken = one("workshop", "process EXECUTE_AI_JOB");
    follows(&taken, first);
    assert_eq!(
        taken.attributes["agentry.transaction"],
        job.attributes["agentry.transaction"]
    );
    assert_eq!(
        taken.attributes["agentry.block"],
        job.attributes["agentry.block"]
    );
    let runs_of_worker = &spans[&("workshop".to_owned(), "behaviour tasks".to_owned())];
    let starts = runs_of_worker
        .iter()
        .find(|run| run.parent == taken.id)
        .unwrap();
    let task = one("workshop", "task chat");
    follows(&task, starts);
    let call = one("workshop", "chat small");
    follows(&call, &task);
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "small"),
        ("gen_ai.request.max_tokens", "50"),
        ("gen_ai.usage.input_tokens", "11"),
        ("gen_ai.usage.output_tokens", "7"),
        ("server.address", "127.0.0.1"),
    ] {
        assert_eq!(call.attributes[name], value, "{name}");
    }
    assert_eq!(call.kind, 3);
    let ends = runs_of_worker
        .iter()
        .find(|run| run.parent == starts.id)
        .unwrap();
    assert_eq!(ends.attributes["agentry.event"], "task");
    follows(&one("workshop", "send JOB_COMPLETE"), ends);

    let told = one("agentry", "process JOB_COMPLETE");
    follows(&told, ends);
    let last = runs.iter().find(|run| run.parent == told.id).unwrap();
    follows(&one("agentry", "send text"), last);
    assert!(
        spans.values().flatten().all(|span| !span.failed),
        "{spans:#?}"
    );

    for content in [PROMPT, ANSWER, KEY, "it is done"] {
        assert!(!collector.has_seen(content), "{content:?} was exported");
    }
    assert!(collector.has_seen("x-tenant: us"));
}

#[test]
fn a_collector_that_does_not_answer_delays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let devnet = devnet(dir.path());
    // It accepts connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = format!(
        "[[agent]]\nname = \"ponger\"\nwallet = \"own\"\nbehaviours = [{{ kind = \"pong\" }}]\n\
         [traces]\nendpoint = \"http://{}\"\n",
        silent.local_addr().unwrap()
    );
    let runtime = Process::start(dir.path(), &devnet.url(), 1, &agent, &[]);
    for nonce in 1..=30 {
        say(&devnet, "ping", None, nonce);
    }
    until("all are answered", || {
        runtime.metric("agentry_transactions_mined_total") == 30
    });
    let began = std::time::Instant::now();
    runtime.stop();
    // Ten seconds are what one request may take; the stop does not wait for that.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
}
