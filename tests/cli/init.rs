//! As the first process of a container: orphans are reaped, signals reach the runtime, and its exit
//! code is the container's.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::host::{agent, configure, pong};
use crate::world::World;

/// How long a test waits for an expected event.
const LONG: Duration = Duration::from_secs(180);

/// The child processes that have not been reaped, with their states.
fn children(pid: u32) -> Vec<(u32, String)> {
    let of_threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = of_threads.into_iter().flatten().flatten();
    let children =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids: Vec<u32> = children
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    let state = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which is in brackets and may contain anything.
        let state = stat.rsplit_once(')')?.1.split_whitespace().next()?;
        Some((*pid, state.to_owned()))
    };
    pids.iter().filter_map(state).collect()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn orphans_of_a_container_do_not_stay_zombies() {
    let container = ["--user", "--map-root-user", "--pid", "--fork"];
    let may = Command::new("unshare").args(container).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        // This user cannot create namespaces here: there is nothing to test.
        return;
    }
    let world = World::new();
    configure(&world, &[agent("ponger", "two", &pong("ping", "pong"))]);
    let binary = world.command(&["run", "--json"]);
    let mut command = Command::new("unshare");
    command
        .args(container)
        .args(["sh", "-c"])
        // Processes whose parent ends at once, and which end soon after.
        .arg("(sleep 1 & sleep 2 & sleep 3 &); exec \"$0\" \"$@\"")
        .arg(binary.get_program())
        .args(binary.get_args())
        .current_dir(world.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut outside = command.spawn().unwrap();
    let mut told = String::new();
    let mut out = std::io::BufReader::new(outside.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut told).unwrap();
    assert!(told.contains("\"agents\":1"), "the child runs: {told}");
    let first = children(outside.id())[0].0;
    until("the orphans are reaped and the runtime is running", || {
        let children = children(first);
        let zombies = children.iter().filter(|(_, state)| state == "Z").count();
        (children.len() == 1 && zombies == 0).then_some(())
    });
    // A signal for the container is forwarded to the runtime, which stops in its own way.
    let sent = Command::new("kill")
        .args(["-TERM", &first.to_string()])
        .status();
    assert!(sent.unwrap().success());
    let status = until("it stops", || outside.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));

    // The exit code of the child is that of the container.
    let mut command = Command::new("unshare");
    command
        .args(container)
        .arg(binary.get_program())
        .args(["config", "check", "-c", "nowhere.toml"])
        .current_dir(world.path("."));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(66), "{output:?}");
}
