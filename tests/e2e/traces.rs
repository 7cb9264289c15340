//! Two processes, a model and a collector: one trace.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::collector::{Collector, Span};
use crate::support::runtime::{ask, configure, devnet, say, start};
use agentry_testbed::until;
use agentry_testbed::wallet::address;

/// The trace of the message with which all begins.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// What must never reach a collector.
const PROMPT: &str = "a s3cret prompt";
const ANSWER: &str = "a s3cret answer";
const KEY: &str = "s3cret-key";

/// The clerk has the work done by the worker, and tells whoever asked.
const CLERK: &str = r#"
import agentry.behaviour as agentry
class Clerk(agentry.Behaviour):
    def on_message(self, message, context):
        if message.text is not None:
            job = {"cmd": "EXECUTE_AI_JOB", "type": "chat", "prompt": message.text}
            effects = agentry.Effects().set_state("from", message.sender)
            return effects.send("WORKER", job)
        return agentry.Effects().send(context.state["from"], "it is done", thread="t")
agentry.run(Clerk())
"#;

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
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/src");
    let tables = format!(
        "[[agent]]\nname = \"clerk\"\nwallet = \"w1\"\n[[agent.behaviours]]\n\
         kind = \"process\"\nprogram = \"python3\"\nargs = [\"clerk.py\"]\n\
         texts = true\ncommands = [\"JOB_COMPLETE\"]\nanswers = true\n\
         env = {{ PYTHONPATH = {python:?}, PYTHONDONTWRITEBYTECODE = \"1\" }}\n\
         [traces]\nendpoint = \"{}/\"\n",
        collector.url
    );
    configure(dirs[0].path(), &devnet.url(), &[1], &tables);
    let clerk = start(dirs[0].path(), &[]);
    std::fs::write(dirs[1].path().join("key"), KEY).unwrap();
    let tables = format!(
        "[[agent]]\nname = \"worker\"\nwallet = \"w2\"\n[[agent.behaviours]]\n\
         kind = \"tasks\"\nallow = [\"*\"]\n[agent.behaviours.types.chat]\n\
         executor = \"http\"\nurl = \"{model}\"\nmodel = \"small\"\nmax_tokens = 50\n\
         key_file = \"key\"\nstream = false\n"
    );
    configure(dirs[1].path(), &devnet.url(), &[2], &tables);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=us"),
        ("OTEL_SERVICE_NAME", "workshop"),
    ];
    let worker = start(dirs[1].path(), &variables);
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
fn what_an_operator_sends_begins_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let devnet = devnet(dir.path());
    let collector = Collector::start();
    let tables = format!(
        "[[agent]]\nname = \"ponger\"\nwallet = \"w1\"\n\
         behaviours = [{{ kind = \"ack\" }}, {{ kind = \"pong\" }}]\n\
         [[agent]]\nname = \"pinger\"\nwallet = \"w2\"\nbehaviours = []\n\
         [traces]\nendpoint = \"{}\"\n",
        collector.url
    );
    configure(dir.path(), &devnet.url(), &[1, 2], &tables);
    let runtime = start(dir.path(), &[]);
    let message = [
        "agent", "message", "--wallet", "pinger", "--to", "ponger", "ping",
    ];
    ask(
        dir.path(),
        &[&message[..], &["--ack", "done", "--wait"]].concat(),
    );
    runtime.stop();
    let spans = collector.spans();
    let first = spans.iter().find(|span| span.name == "compose").unwrap();
    assert_eq!(first.parent, "");
    // Two acknowledgments and the answer, each by a run, after the message itself.
    for (name, count) in [
        ("compose", 1),
        ("process text", 1),
        ("behaviour pong", 1),
        ("behaviour ack", 2),
        ("send text", 2),
        ("send ACK", 2),
    ] {
        let found = spans.iter().filter(|span| span.name == name).count();
        assert_eq!(found, count, "{name}: {spans:#?}");
    }
    for span in &spans {
        assert_eq!(span.trace, first.trace, "{span:#?}");
        let mut parents = spans.iter().filter(|parent| parent.id == span.parent);
        assert!(span.id == first.id || parents.next().is_some(), "{span:#?}");
    }
}

#[test]
fn a_collector_that_does_not_answer_delays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let devnet = devnet(dir.path());
    // It accepts connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tables = format!(
        "[[agent]]\nname = \"ponger\"\nwallet = \"w1\"\nbehaviours = [{{ kind = \"pong\" }}]\n\
         [traces]\nendpoint = \"http://{}\"\n",
        silent.local_addr().unwrap()
    );
    configure(dir.path(), &devnet.url(), &[1], &tables);
    let runtime = start(dir.path(), &[]);
    for nonce in 1..=30 {
        say(&devnet, "ping", None, nonce);
    }
    until("all are answered", || {
        runtime.metric("agentry_transactions_mined_total") == 30
    });
    let began = Instant::now();
    runtime.stop();
    // Ten seconds are what one request may take; the stop does not wait for that.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
}
