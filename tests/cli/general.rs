//! Usage, help, completions, pipes.

use std::io::Read;
use std::process::Stdio;

use crate::world::World;

#[test]
fn typing_errors_are_usage_errors() {
    let world = World::new();
    world.run(&["walet"]).failed(64, "wallet");
    world.run(&["wallet", "create"]).failed(64, "<NAME>");
    world
        .run(&["wallet", "create", "a", "--count", "0"])
        .failed(64, "--count");
    let to = "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7";
    let message = ["agent", "message", "--wallet", "a", "--to", to, "x"];
    // A negative number is a value, and the option says which values it accepts.
    let negative = world.run(&[&message[..], &["--amount", "-5"]].concat());
    negative.failed(
        64,
        "'-5' for '--amount <AMOUNT>': an amount is a whole number",
    );
    assert!(!negative.err.contains("-- -5"), "{negative:#?}");
    let hash = "0".repeat(64);
    for option in ["--resends", "--limit", "--blocks"] {
        let command = match option {
            "--resends" => [&message[..], &["--ack", "done"]].concat(),
            "--limit" => vec!["queue", "list"],
            _ => vec!["chain", "transaction", &hash],
        };
        let run = world.run(&[&command[..], &[option, "-1"]].concat());
        run.failed(64, "'-1'");
        let says_why = ["is not in 0..", "a whole number that is not negative"];
        assert!(says_why.iter().any(|why| run.err.contains(why)), "{run:#?}");
        assert!(!run.err.contains("-- -1"), "{run:#?}");
    }
    // After `--` it would not be the option's value.
    let job = ["task", "submit", "--wallet", "a", "--to", to, "--type", "t"];
    let dash = world.run(&[&job[..], &["--prompt", "- one"]].concat());
    dash.failed(64, "written as --prompt='- one'");
    assert!(!dash.err.contains("-- - one"), "{dash:#?}");
    assert!(world.run(&["--help"]).good().out.contains("wallet"));
    assert!(world.run(&["--version"]).good().out.starts_with("agentry "));
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let world = World::new();
    world.run(&["man", "pages/man1"]).good();
    let page = |name: &str| {
        let path = world.path("pages/man1").join(format!("{name}.1"));
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(page("agentry").contains("agentry\\-run(1)"));
    for name in ["agentry-run", "agentry-agent-history", "agentry-queue-list"] {
        assert!(page(name).contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(!world.path("pages/man1/agentry-man.1").exists());
    world.private("file", "");
    let failed = world.run(&["man", "file/pages"]);
    assert_ne!(failed.code, 0);
}

#[test]
fn completions_for_every_shell() {
    let world = World::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = world.run(&["completions", shell]);
        assert!(run.good().out.contains("wallet"), "{shell}");
    }
    world.run(&["completions", "cmd"]).failed(64, "bash");
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let world = World::new();
    // Larger than a pipe's buffer, so that the write must reach the closed end.
    let mut command = world.command(&["completions", "zsh"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn an_invalid_log_filter_is_a_usage_error() {
    let world = World::new();
    let mut command = world.command(&["config", "check"]);
    let output = command.env("AGENTRY_LOG", "agentry=loud").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}
