//! Nothing of a runtime leaks to other users of the machine, or to the programs that it starts.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use crate::host::{BASE, Host, agent, configure, eventually, pong};
use crate::world::{World, mode};

/// All entries of a folder.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

#[test]
fn files_of_a_runtime_are_private_whatever_the_umask() {
    for umask in ["umask 0", "umask 0777"] {
        let world = World::new();
        // A lock file of an earlier version, which everybody could open and therefore hold.
        fs::write(world.path("agentry.db.lock"), "").unwrap();
        let agents = [
            agent("asker", "one", ""),
            agent("ponger", "two", &pong("ping", "pong")),
        ];
        configure(&world, &agents);
        let ours = ["agents.toml", "password", "wrong", "agents.toml.log"].map(|it| world.path(it));
        let host = Host::spawn(&world, world.command_after(umask, &["run", "--json"]));
        assert_eq!(host.ask("one", "ponger", "ping"), "pong");
        let found = all(&world.path(""));
        for wanted in [
            "agentry.db",
            "agentry.db-wal",
            "agentry.db-shm",
            "agentry.db.lock",
            "agentry.db.sock",
            "keys/one.json",
            "keys/.password",
            "node/chain.db",
            "node/mempool.db",
            "node/devnet.lock",
        ] {
            assert!(found.contains(&world.path(wanted)), "{wanted} in {found:?}");
        }
        for path in found.iter().filter(|path| !ours.contains(path)) {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(path), wanted, "{} after {umask}", path.display());
        }
        host.stop();
    }
}

/// File descriptors of a behaviour's program and of a task's program.
#[test]
fn file_descriptors_open_at_the_start_reach_no_program() {
    let world = World::new();
    world.private("inherited", "what agentry was started with");
    let list = "#!/bin/sh\nreadlink /proc/$$/fd/* > behaviour.fds.new || :\n\
                mv behaviour.fds.new behaviour.fds\nexec sleep 1000\n";
    let task = "#!/bin/sh\ncat > /dev/null\nreadlink /proc/$$/fd/* || :\n";
    for (name, text) in [("list", list), ("task", task)] {
        world.private(name, text);
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(world.path(name), executable).unwrap();
    }
    let behaviours = "{ kind = \"process\", program = \"./list\" }";
    let tasks = "{ kind = \"tasks\", allow = [\"asker\"], types = { list = { executor = \"command\", \
                 program = \"./task\" } } }";
    configure(
        &world,
        &[
            agent("asker", "one", ""),
            agent("lister", "two", behaviours),
            agent("worker", "three", tasks),
        ],
    );
    let host = Host::spawn(
        &world,
        world.command_after("exec 9< inherited", &["run", "--json"]),
    );
    let held = fs::read_link(format!("/proc/{}/fd/9", host.pid())).unwrap();
    assert!(
        held.ends_with("inherited"),
        "the runtime itself has it open"
    );
    // The program is started for the first message to its agent.
    host.tell("one", "lister", "hello");
    eventually("the program of the behaviour", || {
        world.path("behaviour.fds").exists()
    });
    let of_behaviour = fs::read_to_string(world.path("behaviour.fds")).unwrap();
    let done = host.json(&[
        "task", "submit", "--wallet", "one", "--to", "worker", "--type", "list", "--prompt", "x",
        "--wait",
    ]);
    let of_task = done["result"].to_string();
    for open in [of_behaviour, of_task] {
        assert!(
            open.contains("pipe:"),
            "its standard streams are pipes: {open}"
        );
        assert!(!open.contains("inherited"), "{open}");
        assert!(!open.contains("agentry.db"), "{open}");
    }
}

#[test]
fn a_runtime_that_is_killed_by_a_signal_leaves_no_core() {
    let world = World::new();
    configure(&world, &[agent("a", "one", "")]);
    // As far as the limit of this process allows.
    let unlimited = "ulimit -c unlimited 2>/dev/null || ulimit -c \"$(ulimit -H -c)\"";
    let host = Host::spawn(&world, world.command_after(unlimited, &["run", "--json"]));
    let limits = fs::read_to_string(format!("/proc/{}/limits", host.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let numbers: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["0", "0"], "{core}");
    host.signal("-ABRT");
    let status = host.wait();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped(), "{status}");
}

/// The status line of an answer.
fn asked(url: &str, path: &str, host: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let host = if host.is_empty() {
        String::new()
    } else {
        format!("Host: {host}\r\n")
    };
    let version = if host.is_empty() { "1.0" } else { "1.1" };
    write!(
        stream,
        "GET {path} HTTP/{version}\r\n{host}Connection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn ports_on_loopback_answer_no_page_of_another_site() {
    let world = World::new();
    let host = Host::start(&world, &[agent("a", "one", "")]);
    for (url, path) in [
        (&host.status, "/health"),
        (&host.status, "/metrics"),
        (&host.node, "/rpc/head"),
        (&host.node, "/health"),
    ] {
        let port = url.rsplit(':').next().unwrap();
        for own in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            "LOCALHOST".to_owned(),
            "[::1]".to_owned(),
            String::new(),
        ] {
            let answer = asked(url, path, &own);
            assert!(answer.ends_with("200 OK"), "{own:?} at {path}: {answer}");
        }
        for foreign in [
            format!("evil.example:{port}"),
            format!("127.0.0.1.evil.example:{port}"),
            "192.0.2.1".to_owned(),
        ] {
            let answer = asked(url, path, &foreign);
            assert!(answer.contains(" 421 "), "{foreign} at {path}: {answer}");
        }
    }
    // A forwarded host name is ignored in either form.
    let forwarded = "localhost\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=x";
    assert!(asked(&host.status, "/health", forwarded).ends_with("200 OK"));
    host.stop();
}

#[test]
fn a_folder_that_others_can_write_to_causes_a_warning() {
    let world = World::new();
    let text = BASE.replace("agentry.db", "open/agentry.db");
    world.private("agents.toml", &format!("{text}{}", agent("a", "one", "")));
    fs::create_dir(world.path("open")).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(world.path("open"), open).unwrap();
    let host = Host::begin(&world, "agents.toml");
    assert!(
        host.log().contains("other users can create files"),
        "{}",
        host.log()
    );
    let doctor = host.run(&["doctor"]);
    assert!(
        doctor.out.contains("other users can create files"),
        "{doctor:?}"
    );
    host.stop();
}
