//! `/metrics` of a runtime that works, as Prometheus and its tools read it.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::host::{Host, agent, eventually, pong};
use crate::http::call;
use crate::world::World;

/// What a runtime shows to a request with these headers.
fn shown(host: &Host<'_>, headers: &[&str]) -> String {
    let response = call(host, "GET", "/metrics", headers, "");
    assert_eq!(response.status, 200, "{response:?}");
    response.body
}

/// The count of a histogram; the sum of those with these labels.
fn count(text: &str, histogram: &str) -> u64 {
    let start = format!("{histogram}_count");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&start));
    lines
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// What `promtool check metrics` says of a text; `None` where Prometheus is not installed.
fn promtool(text: &str) -> Option<(bool, String)> {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.ok()?;
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let checked = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    Some((checked.status.success(), said))
}

#[test]
fn histograms_show_what_a_runtime_does_and_promtool_has_nothing_against_them() {
    let world = World::new();
    let types = "{ kind = \"tasks\", allow = [\"asker\"], types = { echo = { executor = \"command\", \
                 program = \"cat\" } } }";
    let host = Host::start(
        &world,
        &[
            agent("asker", "asker", &pong("ping", "pong")),
            agent("worker", "worker", types),
        ],
    );
    assert_eq!(host.ask("worker", "asker", "ping"), "pong");
    let job = [
        "task", "submit", "--wallet", "asker", "--to", "worker", "--type", "echo", "--prompt",
        "hello", "--wait",
    ];
    host.run(&job).good();
    let metrics = || shown(&host, &[]);
    let counted = [
        "agentry_answer_seconds",
        "agentry_queue_age_seconds",
        "agentry_behaviour_run_seconds",
        "agentry_task_run_seconds",
        "agentry_post_seconds",
        "agentry_commit_seconds",
    ];
    eventually("all histograms count", || {
        let text = metrics();
        counted.iter().all(|name| count(&text, name) > 0)
    });
    let text = metrics();
    // The answer to the ping, and the acceptance of the job; neither its result, which a task sends,
    // nor the question, which a person sent.
    assert_eq!(count(&text, "agentry_task_run_seconds"), 1, "{text}");
    for line in [
        "agentry_task_run_seconds_count{kind=\"echo\"} 1",
        "agentry_behaviour_run_seconds_count{kind=\"pong\"} ",
        "agentry_task_run_seconds_bucket{le=\"+Inf\",kind=\"echo\"} 1",
        "# TYPE agentry_answer_seconds histogram",
        "# TYPE agentry_messages_arrived_total counter",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    if let Some((is_good, said)) = promtool(&text) {
        assert!(is_good && said.is_empty(), "{said}");
    }
    host.stop();
}

#[test]
fn openmetrics_is_for_those_who_ask_for_it() {
    let world = World::new();
    let host = Host::start(&world, &[agent("asker", "asker", &pong("ping", "pong"))]);
    let accept = ["Accept: application/openmetrics-text;version=1.0.0"];
    let text = shown(&host, &accept);
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(
        text.contains("# TYPE agentry_messages_arrived counter"),
        "{text}"
    );
    let text = shown(&host, &[]);
    assert!(!text.contains("# EOF"), "{text}");
    host.stop();
}
