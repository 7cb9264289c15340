//! `bench`: every row can be measured, and nothing is left of a run.

use std::fs;
use std::process::Stdio;

use crate::host::eventually;
use crate::world::World;

/// The rows, as the program lists them.
fn rows(world: &World) -> Vec<String> {
    let unknown = world.run(&["bench", "--only", "speed"]);
    unknown.failed(64, "invalid value 'speed' for '--only <ROW>'");
    let (_, listed) = unknown.err.split_once("[possible values: ").unwrap();
    let (listed, _) = listed.split_once(']').unwrap();
    let words = listed.split(',').map(|word| word.trim().to_owned());
    words.collect()
}

#[test]
fn every_row_is_measured() {
    let world = World::new();
    let rows = rows(&world);
    assert!(rows.len() >= 12, "{rows:?}");
    fs::create_dir(world.path("disk")).unwrap();
    let printed = world.json(&["bench", "--tiny", "--dir", "disk"]);
    assert_eq!(printed["failed"], serde_json::json!([]));
    let measures = printed["measures"].as_array().unwrap();
    for measure in measures {
        for figure in ["value", "floor_value"] {
            assert!(measure[figure].as_f64().unwrap().is_finite(), "{measure}");
        }
    }
    let measured = measures
        .iter()
        .map(|measure| measure["row"].as_str().unwrap());
    let mut measured: Vec<_> = measured.collect();
    measured.dedup();
    assert_eq!(measured, rows);
    assert_eq!(fs::read_dir(world.path("disk")).unwrap().count(), 0);
}

#[test]
fn people_see_the_machine_and_a_table() {
    let world = World::new();
    let run = world.run(&["bench", "--tiny", "--only", "read", "--only", "read"]);
    let out = &run.good().out;
    assert!(out.starts_with("agentry "), "{out}");
    for part in ["cores ", "load ", "load_at_end ", "\nrow ", "\nread "] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    assert_eq!(out.matches("\nread ").count(), 1, "{out}");
    assert!(run.err.is_empty(), "{}", run.err);
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let world = World::new();
    world
        .run(&["bench", "--tiny", "--dir", "nowhere"])
        .failed(66, "making a folder in nowhere");
    world
        .run(&["bench", "--quick", "--tiny"])
        .failed(64, "cannot be used with");
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let world = World::new();
    fs::create_dir(world.path("disk")).unwrap();
    let mut command = world.command(&["bench", "--only", "cost-store", "--dir", "disk"]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    // The row's process has begun.
    let store = |folder: fs::DirEntry| folder.path().join("cost-store/fleet/fleet.vault");
    eventually("the row", || {
        let mut folders = fs::read_dir(world.path("disk")).unwrap();
        folders.any(|folder| store(folder.unwrap()).exists())
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(fs::read_dir(world.path("disk")).unwrap().count(), 0);
}
