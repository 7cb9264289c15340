//! What a runtime tells the service manager that has started it, on a real socket.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::host::{BASE, Host, agent, configure, eventually, pong};
use crate::world::World;

/// How long a test waits for a message.
const LONG: Duration = Duration::from_secs(120);

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    /// Every line that was received.
    lines: Vec<String>,
}

impl Manager {
    fn listen(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.path("notify")).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        Self {
            socket,
            lines: Vec::new(),
        }
    }

    /// Receives until a line begins with this, and returns that line.
    fn until(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + LONG;
        loop {
            let mut message = [0; 4096];
            let length = self.socket.recv(&mut message).unwrap();
            let text = std::str::from_utf8(&message[..length]).unwrap();
            let new: Vec<String> = text.lines().map(str::to_owned).collect();
            self.lines.extend(new.clone());
            if let Some(line) = new.into_iter().find(|line| line.starts_with(beginning)) {
                return line;
            }
            assert!(
                Instant::now() < deadline,
                "no {beginning}: {:?}",
                self.lines
            );
        }
    }
}

/// An agent that asks and one that answers.
fn tables() -> [String; 2] {
    [
        agent("asker", "asker", &pong("hello", "hi")),
        agent("ponger", "ponger", &pong("ping", "pong")),
    ]
}

/// A runtime that systemd would have started, with this watchdog.
fn start<'a>(world: &'a World, watchdog_us: &str) -> Host<'a> {
    configure(world, &tables());
    let mut command = world.command(&["-c", "agents.toml", "run", "--json"]);
    command
        .env("NOTIFY_SOCKET", world.path("notify"))
        .env("WATCHDOG_USEC", watchdog_us);
    Host::spawn(world, command)
}

#[test]
fn systemd_is_told_of_the_start_of_a_reload_of_life_and_of_the_stop() {
    let world = World::new();
    let mut manager = Manager::listen(&world);
    let host = start(&world, "2000000");
    manager.until("READY=1");
    assert_eq!(manager.lines[0], "STATUS=starting");
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    let status = manager.until("STATUS=2 agents, block ");
    assert!(!status.contains("not ready"), "{status}");

    host.signal("-HUP");
    manager.until("RELOADING=1");
    let told = manager.lines.last().unwrap().clone();
    assert!(told.starts_with("MONOTONIC_USEC="), "{:?}", manager.lines);
    manager.until("READY=1");
    // A configuration that is not applied ends the reload, too.
    world.private("agents.toml", &format!("{BASE}[[agent]]\nname = 7\n"));
    host.signal("-HUP");
    manager.until("RELOADING=1");
    manager.until("READY=1");
    // The log is written beside.
    eventually("the reason is in the log", || {
        host.log().contains("was read and not applied")
    });

    host.signal("-TERM");
    manager.until("STOPPING=1");
    assert_eq!(host.wait().code(), Some(0));
}

#[test]
fn nobody_is_told_without_a_service_manager() {
    let world = World::new();
    let manager = Manager::listen(&world);
    manager.socket.set_nonblocking(true).unwrap();
    configure(&world, &tables());
    let mut command = world.command(&["-c", "agents.toml", "run", "--json"]);
    command.env("NOTIFY_SOCKET", "");
    let host = Host::spawn(&world, command);
    assert_eq!(host.ask("asker", "ponger", "ping"), "pong");
    host.stop();
    assert!(manager.socket.recv(&mut [0; 64]).is_err());
}

#[test]
fn a_runtime_lives_on_when_the_service_manager_does_not_listen() {
    let world = World::new();
    let manager = Manager::listen(&world);
    drop(manager);
    let host = start(&world, "1000000");
    let client = ["agent", "history", "ponger"];
    assert_eq!(host.ask("asker", "ponger", "ping"), "pong");
    eventually("the answer is in the history", || {
        host.json(&client)["history"]
            .as_array()
            .is_some_and(|entries| entries.len() > 3)
    });
    host.stop();
}

#[test]
fn a_stop_during_the_start_is_told() {
    let world = World::new();
    let mut manager = Manager::listen(&world);
    // A node that nobody serves: the start waits for it.
    let text = BASE.replace(
        "[devnet]\nblock_time = \"50ms\"\nport = 0\ndir = \"node\"\n",
        "",
    );
    let text = text.replace(
        "id = \"ait-devnet\"\n",
        "id = \"ait-devnet\"\nrpc = \"http://127.0.0.1:9\"\n",
    );
    let tables = agent("ponger", "ponger", &pong("ping", "pong"));
    world.private("agents.toml", &format!("{text}{tables}"));
    world.wallet(&["create", "ponger"]).good();
    world.private("keys/.password", crate::world::PASSWORD);
    let mut child = world
        .command(&["-c", "agents.toml", "run", "--json"])
        .env("NOTIFY_SOCKET", world.path("notify"))
        .spawn()
        .unwrap();
    manager.until("STATUS=starting");
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(sent.unwrap().success());
    manager.until("STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!manager.lines.iter().any(|line| line == "READY=1"));
}
