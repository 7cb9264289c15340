//! Texts that stay with the operator: of an error, an exception, a panic, a service's refusal,
//! standard error. None of them reaches the chain.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use crate::host::{Host, agent, eventually, pong};
use crate::world::World;

/// The text that must not leak.
const SECRET: &str = "sk-s3cret-0123456789";

/// A behaviour in Python that fails in every possible way.
const ORACLE: &str = r#"
import agentry.behaviour as agentry, sys

SECRET = "sk-s3cret-0123456789"

class Oracle(agentry.Behaviour):
    def on_message(self, message, context):
        what = message.text
        if what == "exception": raise ConnectionError("https://db/?key=" + SECRET)
        if what == "permanent": raise agentry.Permanent("key " + SECRET)
        if what == "public": raise agentry.Permanent("key " + SECRET, public="the oracle sleeps")
        if what == "reject": raise agentry.Reject("ask me nicely")
        if what == "effect": return agentry.Effects().send(message.sender, "x", re=SECRET)
        if what == "exit": sys.stderr.write(SECRET); sys.stderr.flush(); sys.exit(SECRET)
        if what == "task": return agentry.Effects().start_task("t", "deep")

    def execute(self, task, desk):
        raise ConnectionError("https://db/?key=" + SECRET)

    def on_task(self, report, context):
        return agentry.Effects().reply(f"{report.news}: {report.code}: {report.message}")

agentry.run(Oracle())
"#;

/// A service that refuses every request, and reveals too much. It ends with the test's process.
fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let body = format!("{{\"error\":\"Incorrect API key provided: {SECRET}\"}}");
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 8192];
            let _ = stream.read(&mut request);
            let _ = write!(
                stream,
                "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

fn tables(url: &str) -> [String; 3] {
    let types = format!(
        "shell = {{ executor = \"command\", program = \"sh\", attempts = 1, \
           args = [\"-c\", \"echo {SECRET} >&2; exit 3\"] }}, \
         model = {{ executor = \"http\", url = \"{url}\", model = \"m\", attempts = 1 }}"
    );
    [
        agent("asker", "asker", &pong("ping", "pong")),
        agent(
            "worker",
            "worker",
            &format!(
                "{{ kind = \"tasks\", allow = [\"asker\"], types = {{ {types} }} }}, {{ kind = \"ack\" }}"
            ),
        ),
        agent(
            "oracle",
            "stranger",
            "{ kind = \"process\", program = \"./oracle.py\", restart_min = \"1ms\", \
               tasks = { deep = { attempts = 1 } } }, { kind = \"ack\" }",
        ) + "attempts = 1\n",
    ]
}

/// All files of the embedded node, including its journal.
fn chain(world: &World) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut folders = vec![world.path("node")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                bytes.extend(fs::read(path).unwrap());
            }
        }
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn no_text_of_an_error_reaches_the_chain() {
    let world = World::new();
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/src/agentry");
    std::os::unix::fs::symlink(package, world.path("agentry")).unwrap();
    let oracle = world.path("oracle.py");
    fs::write(&oracle, format!("#!/usr/bin/env python3\n{ORACLE}")).unwrap();
    let mut mode = fs::metadata(&oracle).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    fs::set_permissions(&oracle, mode).unwrap();
    let host = Host::start(&world, &tables(&service()));

    // Messages: the text of the acknowledgment is fixed, or was made public explicitly.
    for (what, told) in [
        ("exception", "acting on it failed"),
        ("permanent", "acting on it failed"),
        ("public", "the oracle sleeps"),
        ("reject", "ask me nicely"),
        ("effect", "acting on it failed"),
        ("exit", "acting on it failed"),
        ("task", "its task failed: failed"),
    ] {
        let sent = host.run(&[
            "agent", "message", "--wallet", "asker", "--to", "oracle", what, "--ack", "done",
        ]);
        sent.good();
        eventually(&format!("{what} is acknowledged with {told:?}"), || {
            let bytes = chain(&world);
            holds(&bytes, told) || holds(&bytes, &told.replace('"', "\\\""))
        });
    }
    eventually("the task's end is told", || {
        holds(
            &chain(&world),
            "failed: failed: the program that does this task failed",
        )
    });

    // Jobs: a code, and a fixed sentence.
    for (kind, code, told) in [
        ("shell", "exit", "the program failed with exit code 3"),
        (
            "model",
            "refused",
            "the service answered with status 401 Unauthorized",
        ),
    ] {
        let failed = host.run(&[
            "task", "submit", "--wallet", "asker", "--to", "worker", "--type", kind, "--prompt",
            "hello", "--wait",
        ]);
        assert_eq!(failed.code, 1, "{failed:#?}");
        assert!(
            failed.err.contains(&format!("{code}: {told}")) && !failed.err.contains(SECRET),
            "{failed:#?}"
        );
    }

    let bytes = chain(&world);
    assert!(holds(&bytes, "JOB_FAILED") && holds(&bytes, "FAILED"));
    assert!(!holds(&bytes, SECRET), "a secret is on the chain");

    // The operator sees all of it.
    let dead = host.run(&["queue", "list", "dead", "--json"]);
    assert!(
        dead.good()
            .out
            .contains(&format!("ConnectionError: https://db/?key={SECRET}")),
        "{dead:#?}"
    );
    let shell = host.run(&["task", "list", "--executing", "--json"]);
    assert!(
        shell.good().out.contains(&format!("it wrote: {SECRET}"))
            && shell
                .out
                .contains(&format!("Incorrect API key provided: {SECRET}"))
            && shell
                .out
                .contains(&format!("ConnectionError: https://db/?key={SECRET}")),
        "{shell:#?}"
    );
    // With its traceback, and the agent and message of the run.
    let log = host.log();
    for part in [
        "a run of the program failed:",
        "    | Traceback (most recent call last):",
        "in on_message",
        "agent.name=\"oracle\"",
        "behaviour.name=\"process\"",
        "event=\"message 0x",
    ] {
        assert!(log.contains(part), "{part:?} is not in the log:\n{log}");
    }
}
