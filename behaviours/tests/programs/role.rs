//! The roles of this binary as one of the programs.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::json;

use crate::bench::{Bench, task};

/// The first argument of such a call.
pub(crate) const ROLE: &str = "role";

/// Runs a role, by its name below.
pub(crate) fn play(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> = arguments.map(|text| text.into_string().unwrap()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        // Holds this many MiB.
        ["hold", mebibytes] => hold(mebibytes.parse().unwrap()),
        // Starts this many processes that each hold memory.
        ["share", processes, mebibytes] => {
            let ourselves = std::env::current_exe().unwrap();
            let processes = 0..processes.parse::<usize>().unwrap();
            let children: Vec<_> = processes
                .map(|_| {
                    Command::new(&ourselves)
                        .args([ROLE, "hold", mebibytes])
                        .spawn()
                })
                .collect();
            for child in children {
                child.unwrap().wait().unwrap();
            }
        }
        // Starts itself twice, without end.
        ["bomb"] => {
            let ourselves = std::env::current_exe().unwrap();
            loop {
                drop(Command::new(&ourselves).args([ROLE, "bomb"]).spawn());
                drop(Command::new("sleep").arg("1000").spawn());
            }
        }
        // Computes without end.
        ["compute"] => {
            let mut number = 1_u64;
            loop {
                number = std::hint::black_box(number.wrapping_mul(3));
            }
        }
        // Makes nested folders, and makes the last one inaccessible.
        ["dig", levels] => {
            for _ in 0..levels.parse().unwrap() {
                std::fs::create_dir("deeper").unwrap();
                std::env::set_current_dir("deeper").unwrap();
            }
            std::fs::create_dir("closed").unwrap();
            let nothing = std::os::unix::fs::PermissionsExt::from_mode(0o000);
            std::fs::set_permissions("closed", nothing).unwrap();
        }
        // Acts as agentry with a job that never ends.
        ["host", scratch, marker] => host(scratch, marker),
        other => panic!("no such role: {other:?}"),
    }
    ExitCode::SUCCESS
}

fn hold(mebibytes: usize) {
    let held = vec![1_u8; mebibytes << 20];
    std::hint::black_box(&held);
    std::thread::sleep(Duration::from_secs(1000));
    drop(held);
}

fn host(scratch: &str, marker: &str) {
    let bench = Bench::existing(scratch.into(), marker.to_owned());
    let executor = bench.shell("setsid sleep 1000 & sleep 1000", &json!({}));
    // Reports that it is about to start.
    std::io::stdout().write_all(b"begins\n").unwrap();
    std::io::stdout().flush().unwrap();
    drop(bench.run(executor.as_ref(), &task()));
}
