//! `task`: jobs from one hosted wallet to another, which runs programs for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::Value;

use crate::host::{Host, agent, eventually, pong};
use crate::world::{Run, World};

/// The tables of an agent that requests jobs, one that is not allowed to, and one that executes
/// them.
fn tables() -> [String; 3] {
    let shell = |script: &str, more: &str| {
        format!(
            "{{ executor = \"command\", program = \"sh\", args = [\"-c\", '''{script}'''], \
             attempts = 1{more} }}"
        )
    };
    let types = [
        ("echo", shell("cat", "")),
        ("fail", shell("exit 3", "")),
        (
            "lines",
            shell("printf 'one\\n\\ttwo\\033[31m\\r\\nthree\\n'", ""),
        ),
        (
            "asks",
            shell(
                "input=$(cat); case $input in *answers*) printf %s \"$input\";; \
                 *) echo 'ask {\"question\":\"how many?\",\"schema\":{\"type\":\"integer\"}}' >&2; \
                 exec sleep 600;; esac",
                "",
            ),
        ),
        ("long", shell("yes 012\u{f6} | head -c 5000", "")),
        (
            "slow",
            shell(
                "echo progress 0.5 half of it >&2; exec sleep 600",
                ", progress_every = \"1s\"",
            ),
        ),
    ]
    .map(|(name, keys)| format!("{name} = {keys}"))
    .join(", ");
    let worker = format!(
        "{{ kind = \"tasks\", allow = [\"asker\"], inline_limit = \"1KiB\", types = {{ {types} }} \
         }}, {{ kind = \"ack\" }}"
    );
    [
        agent("asker", "asker", &pong("ping", "pong")),
        agent("stranger", "stranger", &pong("ping", "pong")),
        agent("worker", "worker", &worker),
    ]
}

fn submit<'a>(kind: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![
        "task", "submit", "--wallet", "asker", "--to", "worker", "--type", kind,
    ];
    all.extend(more);
    all
}

/// Checks the exit code and a part of standard error.
fn ended(run: &Run, code: i32, part: &str) {
    assert_eq!(run.code, code, "{run:#?}");
    assert!(run.err.contains(part), "{part:?} is not in {run:#?}");
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} of {value:#}"))
}

#[test]
fn a_job_is_requested_executed_and_shown() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    host.run(&["task", "list"]).good();
    let nothing = host.run(&["task", "list"]);
    assert!(
        nothing.out.contains("no job was requested yet"),
        "{nothing:#?}"
    );
    let nothing = host.run(&["task", "list", "--executing"]);
    assert!(nothing.out.contains("no task was accepted"), "{nothing:#?}");

    world.private("prompt", "What is the time?");
    let more = [
        "--prompt-file",
        "prompt",
        "--model",
        "clock-1",
        "--param",
        "zone=UTC",
        "--param",
        "digits=2",
        "--params",
        r#"{"digits":9,"deep":{"a":[1]}}"#,
        "--deadline",
        "10m",
        "--ack",
        "done",
    ];
    let sent = host.json(&submit("echo", &more));
    let id = text(&sent, "id");
    let job = host.json(&["task", "wait", id]);
    assert_eq!(text(&job, "state"), "completed");
    assert_eq!(job["transaction"], sent["transaction"]);
    assert_eq!(job["result_id"], sent["result_id"]);
    assert!(job["ended"]["height"].as_u64() >= job["height"].as_u64());
    assert_eq!(
        job["asked"]["params"],
        serde_json::json!({
            "deep": { "a": [1] }, "zone": "UTC", "digits": 2
        })
    );
    let result = text(&job["result"], "text");
    let echoed: Value = serde_json::from_str(result).unwrap();
    assert_eq!(text(&echoed, "prompt"), "What is the time?");
    assert_eq!(text(&echoed, "model"), "clock-1");
    assert_eq!(echoed["params"], job["asked"]["params"]);
    assert_eq!(job["result"]["whole"], true);

    let by_each_name = [id, text(&sent, "transaction"), text(&sent, "result_id")]
        .map(|name| host.json(&["task", "show", name]));
    assert!(
        by_each_name
            .iter()
            .all(|shown| shown["ended"] == job["ended"])
    );
    let printed = host.run(&["task", "show", id, "--result"]);
    assert_eq!(printed.good().out, result);
    let shown = host.run(&["task", "show", id]);
    for part in [
        "completed",
        "What is the time?",
        "whole",
        text(&job["result"], "sha256"),
    ] {
        assert!(
            shown.good().out.contains(part),
            "{part:?} is not in {shown:#?}"
        );
    }
    let listed = host.run(&["task", "list"]);
    assert!(listed.good().out.contains(id) && listed.out.contains("completed"));
    let listed = host.json(&["task", "list", "--state", "completed"]);
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
    let none = host.run(&["task", "list", "--state", "rejected"]);
    assert!(none.good().out.contains("no job is rejected"));

    let doing = host.json(&["task", "list", "--executing"]);
    let doing = &doing["tasks"];
    assert_eq!(doing.as_array().unwrap().len(), 1);
    assert_eq!(doing[0]["transaction"], sent["transaction"]);
    assert_eq!(doing[0]["waits_for"], Value::Null);
    let here = host.json(&["task", "show", text(&sent, "transaction"), "--executing"]);
    assert_eq!(text(&here, "id"), "task/1");
    assert_eq!(text(&here, "result"), result);
    assert_eq!(here["result_sha256"], job["result"]["sha256"]);
    let shown = host.run(&["task", "show", "task/1"]);
    assert!(shown.good().out.contains("completed"), "{shown:#?}");

    let over = host.run(&["task", "cancel", id]);
    over.failed(65, "has ended: it is completed");
    let over = host.run(&["task", "cancel", "task/1"]);
    over.failed(65, "has ended: it is completed");
}

#[test]
fn numbers_keep_their_digits_or_are_refused_by_name() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    // The executor receives the numbers of a job digit by digit, and its answer is shown likewise.
    let kept = [
        ("most", "18446744073709551615"),
        ("least", "-9223372036854775808"),
        ("past", "9223372036854775808"),
        ("sum", "0.30000000000000004"),
        ("small", "5e-324"),
        ("large", "1.7976931348623157e+308"),
        ("odd", "2.2250738585072011e-308"),
        ("one", "1.0"),
        ("minus", "-0.0"),
        ("text", "\"1000000000000000000001\""),
    ];
    let params: Vec<String> = kept
        .iter()
        .map(|(name, value)| format!("--param={name}={value}"))
        .collect();
    let mut arguments = submit("echo", &["--wait"]);
    arguments.extend(params.iter().map(String::as_str));
    let job = host.json(&arguments);
    let echoed: Value = serde_json::from_str(text(&job["result"], "text")).unwrap();
    for (name, value) in kept {
        let expected: Value = serde_json::from_str(value).unwrap();
        for found in [&echoed["params"][name], &job["asked"]["params"][name]] {
            assert_eq!(found.to_string(), expected.to_string(), "{name}");
        }
    }

    for (value, path) in [
        ("1000000000000000000001", "amount"),
        ("18446744073709551616", "amount"),
        ("-9223372036854775809", "amount"),
        ("[0,{\"b\":99999999999999999999}]", "amount[1].b"),
    ] {
        let param = format!("amount={value}");
        let refused = host.run(&submit("echo", &["--wait", "--param", &param]));
        ended(&refused, 1, "the job is rejected: bad-parameters");
        assert!(
            refused.err.contains(&format!("at `{path}`")),
            "{refused:#?}"
        );
        let digits: String = value.chars().filter(char::is_ascii_digit).collect();
        let digits = digits.trim_start_matches('0');
        assert!(refused.err.contains(digits), "{refused:#?}");
    }
    // On the chain the number has all its digits, and is shown with them.
    let job = &host.json(&["task", "list", "--state", "rejected"])["jobs"][0];
    let shown = host.run(&["task", "show", text(job, "id")]);
    assert!(
        shown.good().out.contains("99999999999999999999"),
        "{shown:#?}"
    );

    let refused = host.run(&submit("echo", &["--param", "amount=1e400"]));
    refused.failed(64, "beyond the range of a double");
}

#[test]
fn a_job_that_is_not_completed_ends_the_wait_with_1() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let failed = host.run(&submit("fail", &["--wait"]));
    ended(&failed, 1, "the job is failed: exit:");
    assert!(failed.out.contains("failed in block"), "{failed:#?}");
    let here = host.run(&["task", "wait", "task/1"]);
    ended(&here, 1, "task/1 is failed: exit");
    let job = &host.json(&["task", "list", "--state", "failed"])["jobs"][0];
    assert_eq!(text(&job["error"], "code"), "exit");
    assert_eq!(
        text(&host.json(&["task", "show", "task/1"]), "error_code"),
        "exit"
    );
    let no_result = host.run(&["task", "show", text(job, "id"), "--result"]);
    no_result.failed(66, "has no result: it is failed");
    let no_result = host.run(&["task", "show", "task/1", "--result"]);
    no_result.failed(66, "has no result: it is failed");

    let unknown = host.run(&submit("dance", &["--anyway", "--wait"]));
    ended(&unknown, 1, "the job is rejected: unknown-type");
    let stranger = host.run(&[
        "task", "submit", "--wallet", "stranger", "--to", "worker", "--type", "echo", "--wait",
    ]);
    ended(&stranger, 1, "the job is rejected: not-allowed");
    // Without its JOB_FAILED, the acknowledgment alone would show it.
    let rejected = host.json(&["task", "list", "--state", "rejected"]);
    assert_eq!(rejected["jobs"].as_array().unwrap().len(), 2);
}

#[test]
fn the_rest_of_a_cut_result_is_fetched() {
    let world = World::new();
    let mut host = Host::start(&world, &tables());
    let whole = "012ö\n".repeat(834)[..5000].to_owned();
    let waited = host.run(&submit("long", &["--wait"]));
    assert!(
        waited.good().out.contains("1023 of 5000 bytes came"),
        "{waited:#?}"
    );
    let job = host.json(&["task", "list"])["jobs"][0].clone();
    assert_eq!(job["result"]["whole"], false);
    assert_eq!(job["result"]["bytes"], 5000);
    let hash = text(&job, "transaction");
    let here = host.run(&["task", "show", hash, "--executing", "--result"]);
    assert_eq!(here.good().out, whole);
    let here = host.json(&["task", "show", hash, "--executing"]);
    assert_eq!(here["result_sha256"], job["result"]["sha256"]);
    let cut = host.run(&["task", "show", hash, "--result"]);
    assert_eq!(cut.good().out, whole[..1023]);
    assert!(cut.err.contains("the result was cut"), "{cut:#?}");

    let early = host.run(&["task", "fetch", hash, "--timeout", "1ms"]);
    ended(&early, 75, "1023 of 5000 bytes are here");
    host.signal("-KILL");
    host.wait();
    host = Host::begin(&world, "agents.toml");
    let fetched = host.run(&["task", "fetch", hash]);
    assert_eq!(fetched.good().out, whole);
    let requests = |host: &Host<'_>| {
        let sent = host.json(&["agent", "messages", "--agent", "asker", "--sent"]);
        let sent = sent["messages"].as_array().unwrap().iter();
        sent.filter(|message| message.to_string().contains("FETCH_RESULT"))
            .count()
    };
    assert_eq!(requests(&host), 4, "one for each part of 1 KiB");
    let again = host.json(&["task", "fetch", hash]);
    assert_eq!(again["text"], whole);
    assert_eq!(again["sha256"], job["result"]["sha256"]);
    assert_eq!(requests(&host), 4, "what has come is not asked for again");

    let here = host.json(&["task", "fetch", "task/1"]);
    assert_eq!(here["text"], whole);
    let unknown = host.run(&["task", "fetch", "task/9"]);
    ended(&unknown, 66, "there is no job");

    let failed = host.run(&submit("fail", &["--wait"]));
    ended(&failed, 1, "exit");
    let here = host.run(&["task", "fetch", "task/2"]);
    ended(&here, 66, "task/2 has no result: it is failed");
    let id = text(&host.json(&["task", "list"])["jobs"][0], "id").to_owned();
    let none = host.run(&["task", "fetch", &id]);
    ended(&none, 66, "has no result: it is failed");
    host.stop();
}

#[test]
fn a_job_shows_its_progress_and_can_be_canceled_by_either_side() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let sent = host.json(&submit("slow", &[]));
    let id = text(&sent, "id");
    eventually("its progress", || {
        host.json(&["task", "show", id])["progress"] == 0.5
    });
    let job = host.json(&["task", "show", id]);
    assert_eq!(
        (text(&job, "state"), text(&job, "note")),
        ("working", "half of it")
    );
    let impatient = host.run(&["task", "wait", id, "--timeout", "100ms"]);
    impatient.failed(75, "timed out; the job is working");
    let doing = &host.json(&["task", "list", "--executing", "--state", "working"])["tasks"][0];
    assert_eq!(doing["progress"], 0.5);

    let canceling = host.run(&["task", "cancel", id]);
    assert!(canceling.good().out.contains("to cancel"), "{canceling:#?}");
    let canceled = host.run(&["task", "wait", id]);
    ended(&canceled, 1, "the job is canceled");
    assert_eq!(
        text(&host.json(&["task", "show", "task/1"]), "state"),
        "canceled"
    );

    let sent = host.json(&submit("slow", &[]));
    let id = text(&sent, "id");
    eventually("the second task", || {
        host.json(&["task", "list", "--executing"])["tasks"]
            .as_array()
            .unwrap()
            .len()
            == 2
    });
    let impatient = host.run(&["task", "wait", "task/2", "--timeout", "100ms"]);
    impatient.failed(75, "timed out; task/2 is");
    let canceling = host.run(&["task", "cancel", "task/2"]);
    assert!(canceling.good().out.contains("canceled task/2"));
    let canceled = host.run(&["task", "wait", id]);
    ended(&canceled, 1, "the job is canceled");
}

#[test]
fn sealed_jobs_are_opened_by_the_runtime_with_the_keys() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let unknown = host.run(&submit("echo", &["--seal"]));
    assert_eq!(unknown.code, 75, "{unknown:#?}");
    for name in ["asker", "worker"] {
        host.run(&["agent", "register", "--agent", name, "--wait"])
            .good();
    }
    let more = ["--prompt", "a secret", "--seal", "--wait"];
    let job = host.json(&submit("echo", &more));
    assert!(text(&job["result"], "text").contains("a secret"));
    assert_eq!(job["ended"]["sealed"], true);
    assert_eq!(
        (
            job["asked"]["sealed"].as_bool(),
            text(&job["asked"], "type")
        ),
        (Some(true), "echo")
    );
    let id = text(&job, "id").to_owned();
    let hash = text(&job["ended"], "transaction").to_owned();
    let answer = host.json(&["chain", "transaction", &hash]);
    assert!(!answer.to_string().contains("secret"));

    let long = host.json(&submit("long", &["--seal", "--wait"]));
    assert_eq!(long["result"]["whole"], false);
    let fetched = host.run(&["task", "fetch", text(&long, "id")]);
    assert_eq!(fetched.good().out, "012ö\n".repeat(834)[..5000]);
    let sent = host.json(&["agent", "messages", "--agent", "asker", "--sent"]);
    assert!(
        !sent.to_string().contains("FETCH_RESULT"),
        "a sealed job's result is asked for in sealed messages: {sent:#}"
    );
    host.stop();
    let shown = world.json(&["task", "show", &id]);
    assert_eq!(
        (text(&shown, "state"), &shown["sealed_answers"]),
        ("submitted", &1.into())
    );
    assert!(
        text(&shown, "closed_because").contains("no runtime"),
        "{shown:#}"
    );
    let shown = world.run(&["task", "show", &id]);
    assert!(
        shown.good().out.contains("not opened: no runtime"),
        "{shown:#?}"
    );
    let waited = world.run(&["task", "wait", &id]);
    ended(&waited, 75, "not opened: no runtime");
    let listed = world.run(&["task", "list"]);
    assert!(
        listed.good().out.contains("1 sealed answers"),
        "{listed:#?}"
    );
}

#[test]
fn a_result_of_several_lines_is_printed_as_several_lines() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let run = host.run(&submit("lines", &["--wait", "--prompt", "a\nb"]));
    let result = "one\n\ttwo\\u{1b}[31m\nthree\n";
    assert!(run.good().out.ends_with(result), "{run:#?}");
    for id in ["outbox/1", "task/1"] {
        let shown = host.run(&["task", "show", id]);
        assert!(
            shown.good().out.trim_end().ends_with(result.trim_end()),
            "{shown:#?}"
        );
    }
    let shown = host.run(&["task", "show", "outbox/1"]);
    let prompt = shown
        .out
        .lines()
        .position(|line| line.starts_with("prompt"));
    let below = shown.out.lines().nth(prompt.unwrap() + 1).unwrap();
    assert_eq!(below.trim(), "b", "{shown:#?}");
    // `--result` prints the result unchanged.
    let whole = host.run(&["task", "show", "outbox/1", "--result"]);
    assert_eq!(whole.good().out, "one\n\ttwo\u{1b}[31m\r\nthree\n");
}

#[test]
fn a_job_that_nobody_offers_is_refused_before_it_is_sent() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let ask = |to: &str, kind: &str, more: &[&str]| {
        let job = [
            "task", "submit", "--wallet", "asker", "--to", to, "--type", kind,
        ];
        host.run(&[&job[..], more].concat())
    };
    ask("stranger", "echo", &["--wait"]).failed(65, "agent stranger of agents.toml offers no jobs");
    ask("worker", "paint", &["--wait"]).failed(65, "offers no job of type paint, but: ");
    // For an agent that is hosted elsewhere, its card counts.
    let elsewhere = "[[contact]]\nname = \"x\"\naddress = \
                     \"ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7\"\n";
    let config = std::fs::read_to_string(world.path("agents.toml")).unwrap();
    let worker = config.rfind("[[agent]]").unwrap();
    world.private("other.toml", &format!("{}{elsewhere}", &config[..worker]));
    let register = ["agent", "register", "--agent", "worker", "--wait"];
    host.run(&register).good();
    let with_other = |kind: &str| ask("worker", kind, &["-c", "other.toml"]);
    with_other("paint").failed(65, "the card of worker offers no job of type paint");
    with_other("echo").good();
    ask("stranger", "echo", &["--anyway"]).good();
}

#[test]
fn a_task_without_its_behaviour_shows_the_reason() {
    let world = World::new();
    let host = Host::start(&world, &tables());
    let sent = host.json(&submit("slow", &[]));
    eventually("its beginning", || {
        host.json(&["task", "list", "--executing", "--state", "working"])["tasks"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
    host.stop();
    let [asker, stranger, _] = tables();
    let idle = agent("worker", "worker", &pong("ping", "pong"));
    let host = Host::start(&world, &[asker, stranger, idle]);
    let waiting = host.run(&["task", "list", "--executing"]);
    assert!(
        waiting
            .good()
            .out
            .contains("waits: behaviour tasks of agent worker was removed from"),
        "{waiting:#?}"
    );
    let show = || host.json(&["task", "show", text(&sent, "transaction"), "--executing"]);
    let shown = show();
    assert!(
        text(&shown, "waits_for").contains("was removed from"),
        "{shown:#}"
    );
    eventually("the interruption is counted", || show()["interrupted"] == 1);
}

#[test]
fn errors_are_named() {
    let world = World::new();
    crate::host::configure(&world, &tables());
    world.run(&["task", "list"]).failed(66, "there is no store");
    let to = "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7";
    let ask = |more: &[&str]| {
        let mut all = vec![
            "task", "submit", "--wallet", "asker", "--to", to, "--type", "x",
        ];
        all.extend(more);
        world.run(&all)
    };
    ask(&[]).failed(69, "start `agentry run`");
    ask(&["--param", "novalue"]).failed(64, "KEY=VALUE");
    ask(&["--params", "[1]"]).failed(64, "--params");
    ask(&["--params", "{"]).failed(64, "--params");
    ask(&["--ack", "maybe"]).failed(64, "received");
    ask(&["--prompt-file", "missing"]).failed(66, "reading missing");
    ask(&["--prompt", "a", "--prompt-file", "b"]).failed(64, "cannot be used with");
    world.private("large", &"x".repeat((256 << 10) + 1));
    ask(&["--prompt-file", "large"]).failed(65, "over the limit");

    let host = Host::start(&world, &tables());
    for command in [["task", "show"], ["task", "wait"], ["task", "cancel"]] {
        for id in ["outbox/99", "task/99", "nonsense", &"a".repeat(64)] {
            let [first, second] = command;
            host.run(&[first, second, id]).failed(66, "there is no job");
        }
    }
    let stranger = [
        "task", "submit", "--wallet", "nobody", "--to", to, "--type", "x",
    ];
    host.run(&stranger)
        .failed(66, "\"nobody\" is neither an address");
}

/// A server on loopback that answers each request, by its number, with this status and a completion,
/// or not at all; and the idempotency keys of the requests.
fn service(status: fn(usize) -> Option<&'static str>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, keys) = mpsc::channel();
    std::thread::spawn(move || {
        let mut unanswered = Vec::new();
        for (served, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length, mut key) = (String::new(), 0, None);
            while stream.read_line(&mut line).unwrap() > 2 {
                let (name, value) = line.trim().split_once(": ").unwrap_or_default();
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.parse().unwrap(),
                    "idempotency-key" => key = Some(value.to_owned()),
                    _ => {}
                }
                line.clear();
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let Ok(()) = told.send(key.expect("a request has a key")) else {
                return;
            };
            let Some(status) = status(served) else {
                unanswered.push(stream);
                continue;
            };
            let body = r#"{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}],
                           "usage":{"prompt_tokens":60,"completion_tokens":20}}"#;
            write!(
                stream.get_mut(),
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\
                 Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
    });
    (url, keys)
}

#[test]
fn all_attempts_at_a_job_have_one_idempotency_key_also_after_a_restart() {
    let world = World::new();
    let (url, asked) = service(|served| match served {
        0 => Some("500 Internal Server Error"),
        1 => None,
        _ => Some("200 OK"),
    });
    let seen = world.path("seen");
    // It fails once, does not end the second time, and succeeds the third time.
    let script = format!(
        "echo $AGENTRY_IDEMPOTENCY_KEY >> {seen}; \
         case $(wc -l < {seen}) in 1) exit 75;; 2) exec sleep 600;; esac",
        seen = seen.display()
    );
    let worker = format!(
        "{{ kind = \"tasks\", allow = [\"asker\"], types = {{ \
         note = {{ executor = \"command\", program = \"sh\", args = [\"-c\", '''{script}'''] }}, \
         chat = {{ executor = \"http\", url = \"{url}\", model = \"m\" }} }} }}"
    );
    let tables = [
        agent("asker", "asker", &pong("ping", "pong")),
        agent("worker", "worker", &worker),
    ];
    let written = || std::fs::read_to_string(&seen).unwrap_or_default();
    let host = Host::start(&world, &tables);
    let jobs = ["note", "chat"].map(|kind| {
        let sent = host.json(&submit(kind, &["--prompt", "hello"]));
        text(&sent, "id").to_owned()
    });
    eventually("the second run", || written().lines().count() == 2);
    let mut of_service = vec![asked.recv().unwrap(), asked.recv().unwrap()];
    host.stop();
    let host = Host::begin(&world, "agents.toml");
    for id in &jobs {
        let job = host.json(&["task", "wait", id]);
        assert_eq!(text(&job, "state"), "completed", "{job:#}");
    }
    of_service.push(asked.recv().unwrap());
    let of_program: Vec<String> = written().lines().map(ToOwned::to_owned).collect();
    for keys in [&of_service, &of_program] {
        assert_eq!(keys.len(), 3);
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    }
    // The header is a string of structured fields.
    let digits = of_service[0].trim_matches('"');
    assert_eq!(of_service[0], format!("\"{digits}\""));
    for key in [digits, &of_program[0]] {
        assert_eq!(key.len(), 40);
        assert!(key.chars().all(|one| one.is_ascii_hexdigit()), "{key}");
    }
    assert_ne!(digits, of_program[0]);
}

/// An executor asks, and the answer comes after both runtimes were killed: the job completes once.
#[test]
fn a_job_asks_and_is_answered_after_a_kill() {
    let world = World::new();
    let mut host = Host::start(&world, &tables());
    let sent = host.json(&submit("asks", &[]));
    let id = text(&sent, "id");
    let state = |host: &Host<'_>| text(&host.json(&["task", "show", id]), "state").to_owned();
    eventually("it asks", || state(&host) == "input-required");
    host.signal("-KILL");
    host.wait();
    host = Host::begin(&world, "agents.toml");
    let job = host.json(&["task", "show", id]);
    assert_eq!(text(&job["input"], "question"), "how many?");
    assert_eq!(job["input"]["number"], 1);
    assert_eq!(
        job["input"]["schema"],
        serde_json::json!({ "type": "integer" })
    );
    assert_eq!(job["input"]["answered"], false);
    let shown = host.run(&["task", "show", id]);
    assert!(shown.good().out.contains("1: how many?"), "{shown:#?}");
    let listed = host.run(&["task", "list"]);
    assert!(listed.good().out.contains("asks: how many?"), "{listed:#?}");
    let waiting = host.json(&["task", "list", "--executing", "--state", "input-required"]);
    assert_eq!(waiting["tasks"][0]["attempts"], 1);
    let large = host.run(&["task", "answer", id, &format!("\"{}\"", "x".repeat(70_000))]);
    ended(&large, 65, "the answer: ");

    let answered = host.json(&["task", "answer", id, "3"]);
    assert_eq!(answered["input"], 1);
    host.signal("-KILL");
    host.wait();
    host = Host::begin(&world, "agents.toml");
    let again = host.json(&["task", "answer", id, "4"]);
    assert_eq!(
        again["outbox"], answered["outbox"],
        "a question has one answer"
    );
    let job = host.json(&["task", "wait", id]);
    let result: Value = serde_json::from_str(text(&job["result"], "text")).unwrap();
    assert_eq!(result["answers"], serde_json::json!([3]));
    let late = host.run(&["task", "answer", id, "5"]);
    ended(&late, 65, "waits for no answer: it is completed");
    let unknown = host.run(&["task", "answer", "outbox/999", "5"]);
    ended(&unknown, 66, "there is no job");
    host.stop();
}

#[test]
fn tokens_are_counted_and_limited() {
    let world = World::new();
    let (url, _asked) = service(|_| Some("200 OK"));
    let tables = |daily: u64| {
        let behaviour = format!(
            "{{ kind = \"tasks\", allow = [\"asker\"], types = {{ chat = {{ executor = \"http\", \
             url = \"{url}\", model = \"m\", max_tokens = 30 }} }} }}"
        );
        let worker = agent("worker", "worker", &behaviour);
        [
            agent("asker", "asker", &pong("ping", "pong")),
            format!("{worker}daily_tokens = {daily}\n"),
        ]
    };
    let host = Host::start(&world, &tables(100));
    let ask = || {
        let sent = host.json(&submit("chat", &["--prompt", "hello"]));
        text(&sent, "id").to_owned()
    };
    let first = ask();
    let job = host.json(&["task", "wait", &first]);
    assert_eq!(text(&job, "state"), "completed", "{job:#}");
    let done = host.json(&["task", "show", "task/1"]);
    let tokens = (&done["input_tokens"], &done["output_tokens"]);
    assert_eq!(tokens, (&60.into(), &20.into()));
    let shown = host.run(&["task", "show", "task/1"]);
    assert!(
        shown.good().out.contains("60 read, 20 written"),
        "{shown:#?}"
    );

    // It reserves 32: two for the prompt, and `max_tokens`.
    let second = ask();
    let mut waits = Value::Null;
    eventually("the second job waits for tokens", || {
        let list = host.json(&["task", "list", "--executing"]);
        waits = list["tasks"][0]["waits_for"].clone();
        waits.is_string()
    });
    let waits = waits.as_str().unwrap();
    assert!(
        waits.contains("`daily_tokens` is 100, of which 80") && waits.contains("about 32"),
        "{waits}"
    );
    let shown = host.run(&["task", "show", "task/2"]);
    assert!(shown.good().out.contains("next day (UTC)"), "{shown:#?}");
    let stats = host.json(&["queue", "stats", "--agent", "worker"]);
    let worker = &stats["agents"][0];
    let tokens = (&worker["tokens"], &worker["daily_tokens"]);
    assert_eq!(tokens, (&80.into(), &100.into()));
    assert_eq!(worker["senders"][0]["tokens"], 80);
    let listed = host.json(&["queue", "list", "--agent", "worker"]);
    assert_eq!(listed["spending"]["tokens"], 80);
    let listed = host.run(&["queue", "list", "--agent", "worker"]);
    assert!(
        listed.good().out.contains("80 of 100 tokens"),
        "{listed:#?}"
    );

    host.reload(&tables(200)).good();
    let job = host.json(&["task", "wait", &second]);
    assert_eq!(text(&job, "state"), "completed", "{job:#}");
}
