//! Standard output and standard error that are closed, full, or not read: they end no runtime, and
//! a command that could not print its result fails.

use std::fs::{File, OpenOptions};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::host::{agent, configure, pong};
use crate::world::World;

/// How long a test waits for an expected event.
const LONG: Duration = Duration::from_secs(120);

/// Destination of a child's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A pipe whose reader has closed it.
    Gone,
    /// A pipe whose reader never reads.
    Asleep,
    /// A device that is full.
    Full,
}

impl End {
    fn stdio(self) -> Stdio {
        match self {
            Self::Gone | Self::Asleep => Stdio::piped(),
            Self::Full => full().into(),
        }
    }
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A runtime; it is killed when this is dropped.
struct Runtime(Child);

impl Runtime {
    fn start(world: &World, out: End, err: End) -> Self {
        let mut command = world.command(&["run"]);
        command
            // Enough lines to fill any pipe.
            .env("AGENTRY_LOG", "trace")
            .stdout(out.stdio())
            .stderr(err.stdio());
        let mut child = command.spawn().unwrap();
        if out == End::Gone {
            drop(child.stdout.take());
        }
        if err == End::Gone {
            drop(child.stderr.take());
        }
        Self(child)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_runtime_outlives_the_readers_of_its_output() {
    for (out, err) in [
        (End::Asleep, End::Gone),
        (End::Gone, End::Full),
        (End::Full, End::Asleep),
    ] {
        let world = World::new();
        configure(&world, &[agent("ponger", "two", &pong("ping", "pong"))]);
        let mut runtime = Runtime::start(&world, out, err);
        let what = format!("standard output {out:?}, standard error {err:?}");
        until(&format!("it hosts: {what}"), || {
            assert_eq!(runtime.0.try_wait().unwrap(), None, "it ended: {what}");
            world.run(&["reload"]).code == 0
        });
        // It continues to log and to serve.
        for turn in 0..5 {
            let text = pong("ping", &format!("pong {turn}"));
            configure(&world, &[agent("ponger", "two", &text)]);
            let applied = world.json(&["reload"]);
            assert_eq!(
                applied["agents"]["changed"][0], "ponger",
                "{what}: {applied}"
            );
        }
        let pid = runtime.0.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status();
        assert!(sent.unwrap().success());
        let mut status = None;
        until(&format!("it stops: {what}"), || {
            status = runtime.0.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{what}");
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let world = World::new();
    let mut command = world.command(&["completions", "bash"]);
    let output = command
        .stdout(full())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("writing to standard output"), "{said}");
    // If the message cannot be written either, only the exit code reports the failure.
    let mut command = world.command(&["completions", "bash"]);
    let status = command.stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(74));
}

#[test]
fn text_of_others_hides_nothing_in_json_and_in_text() {
    let world = World::new();
    let hidden = "\u{9b}31m\u{202e}\u{2066}\u{200e}\u{200b}\u{feff}\u{7f}";
    let text = format!(
        "{{ kind = \"pong\", trigger = \"a{}b\" }}",
        "\\u009b31m\\u202e\\u2066\\u200e\\u200b\\ufeff\\u007f"
    );
    configure(&world, &[agent("ponger", "two", &text)]);
    for arguments in [&["config", "show", "--json"][..], &["config", "show"]] {
        let shown = world.run(arguments);
        let shown = &shown.good().out;
        assert!(shown.contains("202e"), "the value is shown: {shown}");
        for character in hidden.chars().filter(|c| !c.is_ascii_graphic()) {
            assert!(!shown.contains(character), "{arguments:?}: {character:?}");
        }
    }
}
