//! Exit codes, compared with their table.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use agentry::cli::ExitCode;

use crate::host::{Host, agent, pong};
use crate::world::{Run, World};

/// A port at which nobody listens.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn every_code_of_the_table_is_used_by_a_command() {
    let world = World::new();
    let fails = "{ kind = \"tasks\", allow = [\"asker\"], types = { fail = { executor = \
                 \"command\", program = \"sh\", args = [\"-c\", \"exit 3\"], attempts = 1 } } }";
    let host = Host::start(
        &world,
        &[
            agent("asker", "asker", &pong("ping", "pong")),
            agent("worker", "worker", fails),
        ],
    );
    let mut shown = BTreeSet::new();
    let mut ends = |code: ExitCode, run: Run| {
        assert_eq!(run.code, code as i32, "{run:#?}");
        shown.insert(code as u8);
    };
    let job = ["task", "submit", "--wallet", "asker", "--to", "worker"];
    let job = [&job[..], &["--type", "fail", "--wait"]].concat();
    ends(ExitCode::Success, world.run(&["--version"]));
    ends(ExitCode::Failed, host.run(&job));
    ends(ExitCode::Usage, world.run(&["queue", "show", "inbox"]));
    let nobody = format!("ait1{}", "0".repeat(39));
    let message = ["agent", "message", "--wallet", "asker", "--to"];
    ends(
        ExitCode::Usage,
        host.run(&[&message[..], &[&nobody, "x"]].concat()),
    );
    ends(
        ExitCode::Data,
        world.run_with_input(&["tx", "inspect"], b"{"),
    );
    for who in [
        &[
            "agent", "message", "--wallet", "nobody", "--to", "asker", "x",
        ][..],
        &[
            "agent", "message", "--wallet", "asker", "--to", "nobody", "x",
        ],
        &["agent", "messages", "--agent", "nobody"],
        &["agent", "register", "--agent", "nobody"],
        &["agent", "withdraw", "--wallet", "nobody"],
        &["queue", "list", "--agent", "nobody"],
        &["queue", "list", "--from", "nobody"],
        &["queue", "retry", "--all", "--to", "nobody"],
        &["queue", "stats", "--agent", "nobody"],
        &["replay", "--from", "0", "--agent", "nobody"],
        &["chain", "account", "nobody"],
    ] {
        ends(ExitCode::NoInput, host.run(who));
    }
    ends(ExitCode::Temporary, world.run(&["run"]));
    let late = ["demo", "--block-time", "50ms", "--timeout", "1ms"];
    ends(ExitCode::Temporary, world.run(&late));
    let waits = [
        "agent", "message", "--wallet", "asker", "--to", "worker", "x",
    ];
    let waits = [&waits[..], &["--wait", "--timeout", "1s"]].concat();
    ends(ExitCode::Temporary, host.run(&waits));
    let key = ["wallet", "show", "asker", "--unlock", "--password-file"];
    ends(
        ExitCode::Denied,
        world.run(&[&key[..], &["wrong"]].concat()),
    );
    let create = ["wallet", "create", "asker", "--password-file", "password"];
    ends(ExitCode::CannotCreate, world.run(&create));
    ends(
        ExitCode::Config,
        world.run(&["config", "check", "--set", "chain.nonce=odd"]),
    );
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut completions = world.command(&["completions", "bash"]);
    let written = completions.stdout(Stdio::from(full)).output().unwrap();
    ends(ExitCode::Io, Run::of(written));
    let binary = world.command(&["run"]);
    let limited = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" run"])
        .arg(binary.get_program())
        .current_dir(world.path("."))
        .output();
    ends(ExitCode::System, Run::of(limited.unwrap()));
    let node = format!("http://127.0.0.1:{}", closed_port());
    let away = world.run(&["chain", "head", "--node", &node]);
    // One cause, and the failed request.
    assert_eq!(
        away.err,
        format!(
            "agentry: GET /rpc/head: connecting to {node}: Connection refused (os error 111); \
             is the node running?\n"
        )
    );
    ends(ExitCode::Unavailable, away);
    host.stop();
    // Every command that needs a running runtime says so.
    for needy in [
        &["reload"][..],
        &["agent", "register", "--agent", "asker"],
        &["agent", "withdraw", "--agent", "asker"],
        &job,
        &[
            "agent", "message", "--wallet", "asker", "--to", "worker", "x", "--ack", "done",
        ],
    ] {
        ends(ExitCode::Unavailable, world.run(needy));
    }
    let all: BTreeSet<u8> = ExitCode::ALL
        .into_iter()
        .filter(|code| *code != ExitCode::Internal)
        .map(|code| code as u8)
        .collect();
    assert_eq!(shown, all);
    let help = world.run(&["--help"]);
    for code in ExitCode::ALL {
        assert!(help.out.contains(code.word()), "{help:#?}");
    }
}
