//! A store that cannot be written, or that is damaged while a runtime uses it.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};

use agentry_testbed::dice::Dice;
use agentry_testbed::process::Process;
use agentry_testbed::until;
use agentry_testbed::world::{Setup, World};

/// Starts a runtime that logs only warnings, with a flow of pings.
fn begin(test: &str) -> (Arc<World>, Process, agentry_testbed::flow::Flow) {
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(test, &mut dice, Setup::default()));
    let mut runtime = world.spawn(&[], &[("AGENTRY_LOG", "agentry=warn")]);
    assert!(runtime.ready());
    let flow = world.flow(dice.fork(), Duration::from_millis(20));
    until("pings are answered", || world.audit().answered > 5);
    (world, runtime, flow)
}

/// The runtime is not ready and reports why, in its answer, its metrics, and once in its log.
fn refuses(runtime: &Process, why: &str) {
    until("the runtime is not ready", || {
        let (status, says) = runtime.get("/ready");
        status == 503 && says.contains("\"store_up\":false") && says.contains(why)
    });
    let metrics = runtime.get("/metrics").1;
    assert!(metrics.contains("agentry_store_up 0"), "{metrics}");
    assert!(
        metrics.contains("agentry_store_refusals_total 1"),
        "{metrics}"
    );
    // The log is written by a thread of its own.
    let lines = |log: &str| log.matches("the store accepts no changes").count();
    until("the refusal is logged", || lines(&runtime.log()) > 0);
    let log = runtime.log();
    assert_eq!(lines(&log), 1, "{log}");
}

/// doctor reports it, too, without being given the port of the runtime.
fn doctor_sees(world: &World, why: &str) {
    let doctor = world.command(&["doctor"]).output().unwrap();
    assert!(!doctor.status.success(), "{doctor:?}");
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let runtime = checks.iter().find(|check| check["check"] == "runtime");
    let found = runtime.unwrap()["found"].as_str().unwrap();
    assert!(
        found.contains("the store cannot be used") && found.contains(why),
        "{found}"
    );
}

fn limit_files(runtime: &Process, bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Some(runtime.pid()), Resource::Fsize, limit).unwrap();
}

/// Files cannot grow, as on a full disk: nothing is stored, nothing is lost.
#[test]
fn a_disk_that_is_full() {
    let (world, runtime, flow) = begin("a_disk_that_is_full");
    limit_files(&runtime, Some(16 << 10));
    refuses(&runtime, "disk I/O error");
    doctor_sees(&world, "disk I/O error");
    let answered = world.audit().answered;
    // A request for a change fails, and does not wait forever.
    let asked = world.command(&["queue", "resume"]).output().unwrap();
    assert_eq!(asked.status.code(), Some(75), "{asked:?}");
    // Blocks and pings keep arriving; storing each of them fails.
    std::thread::sleep(Duration::from_secs(3));
    assert!(
        world.audit().answered <= answered + 8,
        "signed transactions may still be posted"
    );
    let log = runtime.log();
    assert!(
        log.lines().count() < 20,
        "one line for each change of state:\n{log}"
    );
    limit_files(&runtime, None);
    until("the runtime is ready again", || {
        runtime.get("/ready").0 == 200
    });
    until("pings are answered again", || {
        world.audit().answered > answered + 8
    });
    flow.stop();
    world.finish(runtime, &HashSet::new());
}

/// The same when there is nothing to store: that the file exists does not mean that it can be
/// written.
#[test]
fn a_disk_that_is_full_under_an_idle_runtime() {
    let (world, runtime, flow) = begin("a_disk_that_is_full_under_an_idle_runtime");
    flow.stop();
    until("every ping is mined", || world.audit().unmined.is_empty());
    limit_files(&runtime, Some(4 << 10));
    // It changes nothing, so it succeeds until something that has to be written was refused.
    until("the store refuses a change", || {
        let asked = world.command(&["queue", "resume"]).output().unwrap();
        asked.status.code() == Some(75)
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(8);
    while std::time::Instant::now() < deadline {
        let (status, says) = runtime.get("/ready");
        assert_eq!(status, 503, "{says}");
        std::thread::sleep(Duration::from_millis(50));
    }
    refuses(&runtime, "disk I/O error");
    limit_files(&runtime, None);
    until("the runtime is ready again", || {
        runtime.get("/ready").0 == 200
    });
    world.finish(runtime, &HashSet::new());
}

/// A file system that is really full, if this user may mount one.
#[test]
fn a_file_system_that_is_full() {
    let mut dice = Dice::new("a_file_system_that_is_full");
    let world = Arc::new(World::new("full", &mut dice, Setup::default()));
    let disk = world.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let Some(_mounted) = Mounted::at(&disk) else {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    };
    let text = std::fs::read_to_string(world.config()).unwrap();
    let text = text.replace("\"agentry.db\"", "\"disk/store/agentry.db\"");
    std::fs::write(world.config(), text).unwrap();
    let mut runtime = world.spawn(&[], &[("AGENTRY_LOG", "agentry=warn")]);
    assert!(runtime.ready());
    until("the runtime is ready", || runtime.get("/ready").0 == 200);
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    drop(file);
    refuses(&runtime, "there is no room on its disk");
    doctor_sees(&world, "there is no room on its disk");
    // The stored data can be read.
    world.ask(&["queue", "stats"]);
    std::fs::remove_file(&filler).unwrap();
    until("the runtime is ready again", || {
        runtime.get("/ready").0 == 200
    });
    runtime.stop();
    // A second runtime does not start without room.
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    drop(file);
    let mut full = world.spawn(&[], &[]);
    assert!(!full.ready(), "it started without room");
    assert_eq!(
        full.wait("the start fails").code(),
        Some(74),
        "{}",
        full.log()
    );
    assert!(
        full.log().contains("there is no room on its disk"),
        "{}",
        full.log()
    );
}

/// A small file system, which is unmounted when this is dropped.
struct Mounted<'a>(&'a std::path::Path);

impl<'a> Mounted<'a> {
    fn at(folder: &'a std::path::Path) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"]);
        let output = mount.arg(folder).output().ok()?;
        output.status.success().then_some(Self(folder))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: processes with open files there keep them.
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0)
            .status();
        drop(unmounted);
    }
}

/// A runtime reads the chain even if no file can be watched because the limit is used up.
#[test]
fn no_file_can_be_watched() {
    /// A user namespace has its own limits.
    const LIMITED: &str = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let limited = |program: &std::ffi::OsStr| {
        let mut command = std::process::Command::new("unshare");
        command
            .args(["-Ur", "sh", "-c", LIMITED, "sh"])
            .arg(program);
        command
    };
    let tried = limited("true".as_ref()).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this user may not create a user namespace");
        return;
    }
    let mut dice = Dice::new("no_file_can_be_watched");
    let world = Arc::new(World::new("unwatched", &mut dice, Setup::default()));
    let run = world.command(&["run"]);
    let mut command = limited(run.get_program());
    command
        .args(run.get_args())
        .current_dir(world.path())
        .env("AGENTRY_LOG", "warn");
    let mut runtime = world.spawn_as(command);
    assert!(runtime.ready(), "{}", runtime.log());
    let flow = world.flow(dice.fork(), Duration::from_millis(20));
    until("pings are answered", || world.audit().answered > 5);
    flow.stop();
    let log = runtime.log();
    let told = "the chain database's directory cannot be watched; it is polled instead";
    assert_eq!(log.matches(told).count(), 1, "{log}");
    world.finish(runtime, &HashSet::new());
}

/// The store's file is moved away and back.
#[test]
fn a_store_that_is_moved_away() {
    let (world, runtime, flow) = begin("a_store_that_is_moved_away");
    let store = world.path().join("agentry.db");
    let away = world.path().join("away.db");
    std::fs::rename(&store, &away).unwrap();
    refuses(&runtime, "can no longer be found");
    std::fs::rename(&away, &store).unwrap();
    until("the runtime is ready again", || {
        runtime.get("/ready").0 == 200
    });
    flow.stop();
    world.finish(runtime, &HashSet::new());
}

/// Pages are overwritten while a runtime runs: it exits with the reason, and does not start again.
#[test]
fn a_store_that_is_damaged_under_a_runtime() {
    let (world, mut runtime, flow) = begin("a_store_that_is_damaged_under_a_runtime");
    flow.stop();
    until("every ping is mined", || world.audit().unmined.is_empty());
    let store = world.path().join("agentry.db");
    for name in ["agentry.db", "agentry.db-wal"] {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(world.path().join(name))
            .unwrap();
        let length = file.metadata().unwrap().len();
        // Everything but the header; in the write-ahead log, any page.
        for at in (4096..length).step_by(512) {
            file.write_all_at(&[0xa5; 512], at).unwrap();
        }
    }
    let flow = world.flow(Dice::new("after the damage"), Duration::from_millis(20));
    let status = runtime.wait("the runtime exits");
    flow.stop();
    assert_eq!(status.code(), Some(65), "{}", runtime.log());
    let log = runtime.log();
    assert!(log.contains("the store is damaged"), "{log}");
    let doctor = world.command(&["doctor"]).output().unwrap();
    assert_eq!(doctor.status.code(), Some(65), "{doctor:?}");
    let mut again = world.spawn(&[], &[]);
    assert!(!again.ready(), "it started on a damaged store");
    let status = again.wait("the start fails");
    assert_eq!(status.code(), Some(65), "{}", again.log());
    let said = again.log();
    assert!(said.contains(&store.display().to_string()), "{said}");
}
