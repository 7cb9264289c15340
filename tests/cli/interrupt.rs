//! Signals during each phase of a start, and at a password prompt.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use crate::host::{BASE, eventually};
use crate::world::World;

/// A configuration on the node at this URL, with one wallet.
fn configure(world: &World, rpc: &str, wallets: &str) {
    let base = BASE.replace(
        "[devnet]\nblock_time = \"50ms\"\nport = 0\ndir = \"node\"\n",
        "",
    );
    let base = base.replace(
        "id = \"ait-devnet\"\n",
        &format!("id = \"ait-devnet\"\nrpc = \"{rpc}\"\n"),
    );
    let base = base.replace("password_file = \"keys/.password\"\n", wallets);
    assert!(base.contains(rpc) && base.contains(wallets) && !base.contains("devnet]"));
    let agent = "[[agent]]\nname = \"a\"\nwallet = \"one\"\nbehaviours = []\n";
    world.private("agents.toml", &format!("{base}{agent}"));
    world.wallet(&["create", "one"]).good();
}

/// A start that is killed when this is dropped.
struct Starting(Child);

impl Starting {
    fn spawn(world: &World, arguments: &[&str]) -> Self {
        let mut all = arguments.to_vec();
        all.insert(0, "run");
        let log = File::create(world.path("log")).unwrap();
        let command = &mut world.command(&all);
        Self(command.stderr(log).spawn().unwrap())
    }

    fn terminate(&self) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
    }

    fn end(mut self, world: &World) -> ExitStatus {
        let mut status = None;
        eventually("the end of the start", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let log = fs::read_to_string(world.path("log")).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        status.unwrap()
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Waits until another process reads from a pipe, and keeps it waiting.
fn reader_of(path: &Path) -> File {
    let mut writer = None;
    eventually("a reader of the pipe", || {
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(nonblocking)
            .open(path);
        writer = opened.ok();
        writer.is_some()
    });
    writer.unwrap()
}

/// The reported case: its requests would time out after a minute.
#[test]
fn a_start_on_a_node_that_says_nothing_ends_at_once() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rpc = format!("http://{}", listener.local_addr().unwrap());
    configure(&world, &rpc, "password_file = \"password\"\n");
    let starting = Starting::spawn(&world, &["--stop-limit", "3s"]);
    let (mut node, _) = listener.accept().unwrap();
    let mut request = [0; 3];
    node.read_exact(&mut request).unwrap();
    assert_eq!(&request, b"GET");
    starting.terminate();
    assert_eq!(starting.end(&world).code(), Some(0));
}

/// An operation that cannot be interrupted, such as reading a file, is abandoned.
#[test]
fn a_start_that_reads_its_password_from_a_silent_pipe_ends_at_once() {
    let world = World::new();
    configure(&world, "http://127.0.0.1:9", "password_file = \"pipe\"\n");
    make_pipe(&world.path("pipe"));
    let starting = Starting::spawn(&world, &["--stop-limit", "60s"]);
    let _writer = reader_of(&world.path("pipe"));
    starting.terminate();
    assert_eq!(starting.end(&world).code(), Some(0));
}

#[test]
fn a_start_that_cannot_be_interrupted_ends_within_the_stop_limit_or_at_a_second_signal() {
    let world = World::new();
    make_pipe(&world.path("config"));
    let starting = Starting::spawn(&world, &["-c", "config", "--stop-limit", "1s"]);
    let writer = reader_of(&world.path("config"));
    starting.terminate();
    assert_eq!(starting.end(&world).code(), Some(0));
    drop(writer);

    let starting = Starting::spawn(&world, &["-c", "config", "--stop-limit", "1h"]);
    let _writer = reader_of(&world.path("config"));
    starting.terminate();
    eventually("the first signal in the log", || {
        let log = fs::read_to_string(world.path("log")).unwrap();
        log.contains("asked to stop during the start")
    });
    starting.terminate();
    assert_eq!(starting.end(&world).code(), Some(75));
}

/// Runs a command on its own terminal, waits for the prompt, and signals the command. Prints its
/// exit code, and whether the terminal echoes input again.
const AT_A_PROMPT: &str = r#"
import fcntl, os, select, signal, sys, termios, time

how, program = sys.argv[1], sys.argv[2:]
# Both ends stay open here, so that the terminal outlives the program.
terminal, other = os.openpty()
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(other, termios.TIOCSCTTY, 0)
    for stream in range(3):
        os.dup2(other, stream)
    os.execv(program[0], program)
deadline = time.monotonic() + 60
seen = b""
while b"Password of" not in seen or termios.tcgetattr(terminal)[3] & termios.ECHO:
    assert time.monotonic() < deadline, seen
    if select.select([terminal], [], [], 0.05)[0]:
        seen += os.read(terminal, 4096)
if how == "term":
    os.kill(pid, signal.SIGTERM)
else:
    os.write(terminal, b"\x03")
while True:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        break
    assert time.monotonic() < deadline, "it did not end"
    if select.select([terminal], [], [], 0.05)[0]:
        os.read(terminal, 4096)
shows = bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
print(os.waitstatus_to_exitcode(status), shows)
"#;

#[test]
fn a_signal_at_a_password_prompt_ends_the_command_and_leaves_the_terminal_as_it_was() {
    let world = World::new();
    configure(&world, "http://127.0.0.1:9", "");
    let run = ["run", "--stop-limit", "1h"];
    let show = ["wallet", "show", "one", "--unlock"];
    for (how, arguments, code) in [
        ("term", &run[..], 0),
        ("interrupt", &run, 0),
        ("term", &show, 143),
        ("interrupt", &show, 130),
    ] {
        let direct = world.command(arguments);
        let mut python = Command::new("python3");
        python
            .args(["-c", AT_A_PROMPT, how])
            .arg(direct.get_program())
            .args(direct.get_args())
            .env_remove("AGENTRY_PASSWORD")
            .current_dir(world.path(""));
        let output = python.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            told.trim(),
            format!("{code} True"),
            "{how} {arguments:?}: {error}"
        );
    }
}
