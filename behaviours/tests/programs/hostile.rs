//! Programs that misbehave: a limit ends them, and no process or file of them is left.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use agentry_sdk::TaskError;
use serde_json::{Value, json};

use crate::Test;
use crate::bench::{Bench, task};
use crate::role::ROLE;

pub(crate) const TESTS: &[Test] = &[
    ("one_that_never_ends_is_ended", one_that_never_ends_is_ended),
    (
        "one_that_ignores_signals_is_ended",
        one_that_ignores_signals_is_ended,
    ),
    (
        "one_that_stops_its_watcher_is_ended",
        one_that_stops_its_watcher_is_ended,
    ),
    ("detached_processes_are_ended", detached_processes_are_ended),
    (
        "processes_that_it_leaves_running_are_ended",
        processes_that_it_leaves_running_are_ended,
    ),
    ("one_that_forks_is_ended", one_that_forks_is_ended),
    ("a_fork_bomb_is_ended", a_fork_bomb_is_ended),
    (
        "one_that_fills_its_output_is_ended",
        one_that_fills_its_output_is_ended,
    ),
    (
        "a_flood_on_standard_error_is_not_an_error",
        a_flood_on_standard_error_is_not_an_error,
    ),
    (
        "memory_of_one_process_is_bounded",
        memory_of_one_process_is_bounded,
    ),
    (
        "memory_of_all_processes_is_bounded",
        memory_of_all_processes_is_bounded,
    ),
    ("cpu_time_is_bounded", cpu_time_is_bounded),
    ("the_size_of_files_is_bounded", the_size_of_files_is_bounded),
    ("deep_folders_are_removed", deep_folders_are_removed),
    ("open_files_are_bounded", open_files_are_bounded),
    (
        "nothing_is_left_when_agentry_is_killed",
        nothing_is_left_when_agentry_is_killed,
    ),
    (
        "nothing_is_left_when_the_watcher_is_killed",
        nothing_is_left_when_the_watcher_is_killed,
    ),
];

fn failure(bench: &Bench, script: &str, settings: &Value) -> TaskError {
    let executor = bench.shell(script, settings);
    bench.run(executor.as_ref(), &task()).unwrap_err()
}

/// Runs a script until it has made a file, drops the run then, and waits until nothing is left.
fn dropped(script: &str, processes: usize) {
    let bench = Bench::new();
    let executor = bench.shell(script, &json!({}));
    // The watcher has the marker too.
    bench.drop_when(executor.as_ref(), || bench.processes().len() > processes);
    bench.assert_nothing_is_left();
}

fn one_that_never_ends_is_ended() {
    dropped("while true; do sleep 1; done", 2);
}

fn one_that_ignores_signals_is_ended() {
    dropped(
        "trap '' TERM INT HUP QUIT USR1; echo > mess; while true; do sleep 1; done",
        2,
    );
}

fn one_that_stops_its_watcher_is_ended() {
    dropped("kill -STOP $PPID; while true; do sleep 1; done", 2);
}

fn detached_processes_are_ended() {
    // Its parents have ended, it has its own session, and it holds none of our files open.
    let detach = "(setsid sh -c '(setsid sleep 1000 <&- >&- 2>&- &)' &)";
    dropped(&format!("{detach}; sleep 1000"), 3);
}

fn processes_that_it_leaves_running_are_ended() {
    let bench = Bench::new();
    // It holds standard output open, so reading would never end.
    let script = "(setsid sleep 1000 &); (setsid sleep 1000 >&- 2>&- &); echo done";
    let executor = bench.shell(script, &json!({}));
    let output = bench.run(executor.as_ref(), &task()).unwrap();
    assert_eq!(output.text, "done\n");
    bench.assert_nothing_is_left();
}

fn one_that_forks_is_ended() {
    let bench = Bench::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9; do setsid sleep 1000 & done; wait";
    let error = failure(&bench, script, &json!({ "processes": 5 }));
    assert_eq!(error.code(), "process-limit");
    assert!(!error.is_transient());
    bench.assert_nothing_is_left();
}

fn a_fork_bomb_is_ended() {
    let bench = Bench::new();
    let executor = bench.role(&["bomb"], &json!({ "processes": 10 }));
    let error = bench.run(executor.as_ref(), &task()).unwrap_err();
    assert_eq!(error.code(), "process-limit");
    bench.assert_nothing_is_left();
}

fn one_that_fills_its_output_is_ended() {
    let bench = Bench::new();
    for script in ["yes", "yes & yes & wait", "(setsid yes &); sleep 1000"] {
        let error = failure(&bench, script, &json!({ "max_output": "64KiB" }));
        assert_eq!(error.code(), "output-limit", "{script}");
        assert!(!error.is_transient());
    }
    let executor = bench.shell("printf 12345678", &json!({ "max_output": 8 }));
    assert_eq!(
        bench.run(executor.as_ref(), &task()).unwrap().text,
        "12345678"
    );
    bench.assert_nothing_is_left();
}

fn a_flood_on_standard_error_is_not_an_error() {
    let bench = Bench::new();
    let script = "yes | head -c 5000000 >&2; head -c 5000000 /dev/zero >&2; echo done";
    let executor = bench.shell(script, &json!({}));
    assert_eq!(
        bench.run(executor.as_ref(), &task()).unwrap().text,
        "done\n"
    );
    bench.assert_nothing_is_left();
}

fn memory_of_one_process_is_bounded() {
    let bench = Bench::new();
    let executor = bench.role(&["hold", "256"], &json!({ "memory": "64MiB" }));
    let error = bench.run(executor.as_ref(), &task()).unwrap_err();
    // The kernel refuses the memory, and the program ends.
    assert_eq!(error.code(), "killed");
    bench.assert_nothing_is_left();
}

fn memory_of_all_processes_is_bounded() {
    let bench = Bench::new();
    let executor = bench.role(&["share", "4", "48"], &json!({ "memory": "128MiB" }));
    let error = bench.run(executor.as_ref(), &task()).unwrap_err();
    assert_eq!(error.code(), "memory-limit");
    assert!(!error.is_transient());
    bench.assert_nothing_is_left();
}

fn cpu_time_is_bounded() {
    let bench = Bench::new();
    let executor = bench.role(&["compute"], &json!({ "cpu": "1s" }));
    let error = bench.run(executor.as_ref(), &task()).unwrap_err();
    assert_eq!(error.code(), "cpu-limit");
    bench.assert_nothing_is_left();
}

fn the_size_of_files_is_bounded() {
    let bench = Bench::new();
    let settings = json!({ "file_size": "64KiB" });
    let error = failure(&bench, "exec head -c 100000 /dev/zero > file", &settings);
    assert_eq!(error.code(), "file-limit");
    bench.assert_nothing_is_left();
}

fn deep_folders_are_removed() {
    let bench = Bench::new();
    let executor = bench.role(&["dig", "2000"], &json!({}));
    bench.run(executor.as_ref(), &task()).unwrap();
    bench.assert_nothing_is_left();
}

fn open_files_are_bounded() {
    let bench = Bench::new();
    let script = "ulimit -n; ulimit -c";
    let executor = bench.shell(script, &json!({ "open_files": 20 }));
    assert_eq!(
        bench.run(executor.as_ref(), &task()).unwrap().text,
        "20\n0\n"
    );
}

fn nothing_is_left_when_agentry_is_killed() {
    let bench = Bench::new();
    let scratch = bench.scratch().to_str().unwrap();
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args([ROLE, "host", scratch, bench.marker()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut told = BufReader::new(host.stdout.take().unwrap());
    told.read_line(&mut line).unwrap();
    assert_eq!(line, "begins\n");
    // The watcher, the shell, and the two processes that it started.
    bench.wait_until("the job runs", || bench.processes().len() >= 4);
    host.kill().unwrap();
    host.wait().unwrap();
    bench.assert_nothing_is_left();
}

fn nothing_is_left_when_the_watcher_is_killed() {
    let bench = Bench::new();
    // The parent of the program is the watcher.
    let error = failure(
        &bench,
        "(setsid sleep 1000 &); kill -KILL $PPID; sleep 1000",
        &json!({}),
    );
    assert_eq!(error.code(), "watcher-lost");
    assert!(error.is_transient());
    bench.assert_nothing_is_left();
}
