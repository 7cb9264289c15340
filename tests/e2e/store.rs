//! A store that the system refuses to write, or that is damaged while a runtime uses it.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};

use crate::support::dice::Dice;
use crate::support::runtime::Runtime;
use crate::support::until;
use crate::support::world::{Setup, World};

/// Begins a runtime that logs warnings alone, with pings on their way.
fn begin(test: &str) -> (Arc<World>, Runtime, crate::support::flow::Flow) {
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(test, &mut dice, Setup::default()));
    let mut runtime = world.spawn(&[], &[("AGENTRY_LOG", "agentry=warn")]);
    assert!(runtime.ready());
    let flow = world.flow(dice.fork(), Duration::from_millis(20));
    until("pings are answered", || world.audit().answered > 5);
    (world, runtime, flow)
}

/// It is not ready and says why, in its answer, its metrics, and once in its log.
fn refuses(runtime: &Runtime, why: &str) {
    until("it is not ready", || {
        let (status, says) = runtime.get("/ready");
        status == 503 && says.contains("\"store_up\":false") && says.contains(why)
    });
    let metrics = runtime.get("/metrics").1;
    assert!(metrics.contains("agentry_store_up 0"), "{metrics}");
    assert!(
        metrics.contains("agentry_store_refusals_total 1"),
        "{metrics}"
    );
    let log = runtime.log();
    assert_eq!(
        log.matches("the store takes no changes").count(),
        1,
        "{log}"
    );
}

fn limit_files(runtime: &Runtime, bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Some(runtime.pid()), Resource::Fsize, limit).unwrap();
}

/// Files may not grow any more, as on a full disk: nothing is stored, nothing is lost.
#[test]
fn a_disk_that_takes_no_more() {
    let (world, runtime, flow) = begin("a_disk_that_takes_no_more");
    limit_files(&runtime, Some(16 << 10));
    refuses(&runtime, "disk I/O error");
    let answered = world.audit().answered;
    // Who asks for a change is told, and does not wait for ever.
    let asked = world.command(&["queue", "resume"]).output().unwrap();
    assert_eq!(asked.status.code(), Some(75), "{asked:?}");
    // Blocks and pings go on to come; each of them is tried in vain.
    std::thread::sleep(Duration::from_secs(3));
    assert!(
        world.audit().answered <= answered + 8,
        "what was signed may still be posted"
    );
    let log = runtime.log();
    assert!(
        log.lines().count() < 20,
        "one line for each change of state:\n{log}"
    );
    limit_files(&runtime, None);
    until("it is ready again", || runtime.get("/ready").0 == 200);
    until("pings are answered again", || {
        world.audit().answered > answered + 8
    });
    flow.stop();
    world.finish(runtime, &HashSet::new());
}

/// The store's file is moved away, and back.
#[test]
fn a_store_that_is_not_there_any_more() {
    let (world, runtime, flow) = begin("a_store_that_is_not_there_any_more");
    let store = world.path().join("agentry.db");
    let away = world.path().join("away.db");
    std::fs::rename(&store, &away).unwrap();
    refuses(&runtime, "cannot be found any more");
    std::fs::rename(&away, &store).unwrap();
    until("it is ready again", || runtime.get("/ready").0 == 200);
    flow.stop();
    world.finish(runtime, &HashSet::new());
}

/// Pages are overwritten under a runtime: it ends with the reason, and does not start again.
#[test]
fn a_store_that_is_damaged_under_a_runtime() {
    let (world, mut runtime, flow) = begin("a_store_that_is_damaged_under_a_runtime");
    flow.stop();
    until("all is answered", || world.audit().unmined.is_empty());
    let store = world.path().join("agentry.db");
    for name in ["agentry.db", "agentry.db-wal"] {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(world.path().join(name))
            .unwrap();
        let length = file.metadata().unwrap().len();
        // All but the header; in the log whatever page it is.
        for at in (4096..length).step_by(512) {
            file.write_all_at(&[0xa5; 512], at).unwrap();
        }
    }
    let flow = world.flow(Dice::new("after the damage"), Duration::from_millis(20));
    let status = runtime.wait("it ends");
    flow.stop();
    assert_eq!(status.code(), Some(65), "{}", runtime.log());
    let log = runtime.log();
    assert!(log.contains("the store is damaged"), "{log}");
    let doctor = world.command(&["doctor"]).output().unwrap();
    assert_eq!(doctor.status.code(), Some(65), "{doctor:?}");
    let mut again = world.spawn(&[], &[]);
    assert!(!again.ready(), "it started on a damaged store");
    let status = again.wait("it refuses to start");
    assert_eq!(status.code(), Some(65), "{}", again.log());
    let said = again.log();
    assert!(said.contains(&store.display().to_string()), "{said}");
}
