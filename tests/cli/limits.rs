//! Resource limits: a start with too little is refused and names the limit; soft limits are raised
//! where possible.

use std::process::Command;

use crate::host::{agent, configure, pong};
use crate::world::{Run, World};

/// The binary with these arguments, under limits that the shell's `ulimit` sets first.
fn limited(world: &World, limits: &str, arguments: &[&str]) -> Command {
    let binary = world.command(arguments);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{limits} && exec \"$0\" \"$@\""))
        .arg(binary.get_program())
        .args(binary.get_args())
        .current_dir(world.path("."))
        .env("AGENTRY_LOG", "warn");
    command
}

fn run(world: &World, limits: &str, arguments: &[&str]) -> Run {
    Run::of(limited(world, limits, arguments).output().unwrap())
}

fn world() -> World {
    let world = World::new();
    configure(&world, &[agent("ponger", "two", &pong("ping", "pong"))]);
    world
}

#[test]
fn too_few_open_files_are_refused_with_what_is_needed() {
    let world = world();
    for files in [24, 64, 200] {
        for arguments in [&["run"][..], &["devnet"], &["demo"]] {
            let refused = run(&world, &format!("ulimit -n {files}"), arguments);
            refused.failed(71, "files open at a time, and needs ");
            assert!(
                refused.err.contains(&format!("have {files} files")),
                "{refused:#?}"
            );
            assert!(refused.err.contains("ulimit -n"), "{refused:#?}");
        }
    }
    // The more tasks may run, the more is needed.
    let many = run(
        &world,
        "ulimit -n 600",
        &["run", "--set", "tasks.concurrency=200"],
    );
    many.failed(71, "needs ");
}

#[test]
fn too_little_memory_is_refused_with_what_is_needed() {
    let world = world();
    for option in ["-v", "-d"] {
        let refused = run(&world, &format!("ulimit {option} 300000"), &["run"]);
        refused.failed(71, "and needs ");
        assert!(
            refused.err.contains(&format!("ulimit {option}")),
            "{refused:#?}"
        );
    }
}

#[test]
fn a_soft_limit_on_open_files_is_raised() {
    let world = world();
    let mut command = limited(&world, "ulimit -S -n 64", &["run", "--json"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut told).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    drop(child.kill());
    drop(child.wait());
    assert!(told.contains("\"agents\":1"), "{told}");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().nth(3));
    assert_ne!(soft, Some("64"), "{limits}");
}
