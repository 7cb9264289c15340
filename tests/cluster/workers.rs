//! Tasks that workers run. Whatever happens to workers, hosts and the database, a job has one result
//! on the chain.

mod stage;

use std::time::Duration;

use agentry_testbed::process::Process;
use agentry_testbed::proxy::{Proxy, Way};
use agentry_testbed::until;
use rustix::process::Signal;
use stage::{Stage, is_at_work};

/// Which of two workers runs the job, and which does not.
fn at_work(stage: &Stage, (one, other): (Process, Process)) -> (Process, Process) {
    until("a worker runs the job", || {
        is_at_work(&one) || is_at_work(&other)
    });
    until("its program has begun", || stage.runs().len() == 1);
    if is_at_work(&one) {
        (one, other)
    } else {
        (other, one)
    }
}

/// Sees that there were so many runs, all for the same task.
fn runs(stage: &Stage, count: usize) {
    let runs = stage.runs();
    assert_eq!(runs.len(), count, "{runs:?}");
    assert!(runs.iter().all(|key| *key == runs[0]), "{runs:?}");
}

#[test]
fn a_worker_runs_a_job_and_hosts_do_not() {
    let stage = Stage::set();
    let _host = stage.host("one");
    stage.submit();
    until("the job is passed on", || stage.rows() == "1|waiting|");
    assert!(stage.runs().is_empty(), "the host does not run it");
    let worker = stage.humble_worker("gpu");
    until("it is taken", || stage.rows() == "1|taken|gpu");
    stage.open_the_gate();
    stage.completes_once();
    runs(&stage, 1);
    assert!(is_at_work(&worker));
}

#[test]
fn the_job_of_a_worker_that_is_killed_is_done_by_another_one() {
    let stage = Stage::set();
    let _host = stage.host("one");
    let workers = (stage.worker("gpu1"), stage.worker("gpu2"));
    stage.submit();
    let (first, second) = at_work(&stage, workers);
    first.kill();
    until("the other one runs it", || stage.runs().len() == 2);
    assert!(is_at_work(&second));
    stage.open_the_gate();
    stage.completes_once();
    runs(&stage, 2);
}

#[test]
fn the_result_of_a_worker_that_was_paused_is_refused() {
    let stage = Stage::set();
    let _host = stage.host("one");
    let workers = (stage.worker("gpu1"), stage.worker("gpu2"));
    stage.submit();
    let (first, second) = at_work(&stage, workers);
    first.signal(Signal::STOP);
    until("the other one runs it", || stage.runs().len() == 2);
    assert!(is_at_work(&second));
    // What the first one has started is not paused: both have a result.
    stage.open_the_gate();
    stage.completes_once();
    first.signal(Signal::CONT);
    until("the first one learns that it came too late", || {
        let log = first.log();
        log.contains("a run was dropped") || log.contains("the result of a task is refused")
    });
    stage.completes_once();
    runs(&stage, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_loses_its_job_and_takes_others_later() {
    let stage = Stage::set();
    let _host = stage.host("one");
    let proxy = Proxy::start(stage.server.port()).await;
    tokio::task::block_in_place(|| {
        let first = stage.worker_at("gpu1", proxy.port(), &[]);
        stage.submit();
        until("it runs the job", || stage.runs().len() == 1);
        proxy.set(Way::Cut);
        until("the job is given up", || {
            ["2|waiting|", "1|interrupted|gpu1\n2|waiting|"].contains(&stage.rows().as_str())
        });
        let second = stage.worker("gpu2");
        until("another one runs it", || is_at_work(&second));
        proxy.set(Way::Open);
        until("the first one drops it", || {
            first.log().contains("a run was dropped")
        });
        stage.open_the_gate();
        stage.completes_once();
        runs(&stage, 2);
        drop(second);
        stage.submit();
        until("the first one does another job", || stage.ends().len() == 2);
    });
}

#[test]
fn a_worker_that_is_stopped_gives_back_what_it_cannot_finish() {
    let stage = Stage::set();
    let _host = stage.host("one");
    let mut first = stage.worker_at("gpu1", stage.server.port(), &["--stop-limit", "100ms"]);
    stage.submit();
    until("it runs the job", || stage.runs().len() == 1);
    first.signal(Signal::TERM);
    assert_eq!(first.wait("it stops").code(), Some(0));
    let second = stage.worker("gpu2");
    until("another one runs it", || is_at_work(&second));
    stage.open_the_gate();
    stage.completes_once();
    runs(&stage, 2);
    let log = first.log();
    assert!(log.contains("what runs is given back"), "{log}");
}

#[test]
fn a_worker_that_is_stopped_finishes_what_it_can() {
    let stage = Stage::set();
    let _host = stage.host("one");
    let mut worker = stage.worker_at("gpu", stage.server.port(), &["--stop-limit", "100s"]);
    stage.submit();
    until("it runs the job", || stage.runs().len() == 1);
    worker.signal(Signal::TERM);
    until("it is stopping", || {
        worker.log().contains("finishing what runs")
    });
    stage.submit();
    until("another job waits", || stage.rows().contains("waiting"));
    stage.open_the_gate();
    assert_eq!(worker.wait("it stops").code(), Some(0));
    until("the job is completed", || !stage.ends().is_empty());
    assert!(stage.rows().contains("waiting"), "it takes nothing more");
    runs(&stage, 1);
}

#[test]
fn a_host_that_takes_over_goes_on_with_the_same_attempt() {
    let stage = Stage::set();
    let host = stage.host("one");
    let _worker = stage.worker("gpu");
    stage.submit();
    until("it runs the job", || stage.runs().len() == 1);
    host.kill();
    let next = stage.host("two");
    until("the next host follows it", || {
        next.log().contains("following a task that a worker runs")
    });
    assert_eq!(stage.rows(), "1|taken|gpu");
    stage.open_the_gate();
    stage.completes_once();
    runs(&stage, 1);
}

#[test]
fn a_result_that_no_host_was_there_for_is_not_lost() {
    let stage = Stage::set();
    let host = stage.host("one");
    let worker = stage.worker("gpu");
    stage.submit();
    until("it runs the job", || stage.runs().len() == 1);
    host.kill();
    stage.open_the_gate();
    until("there is a result", || stage.rows() == "1|done|gpu");
    worker.kill();
    let _next = stage.host("two");
    stage.completes_once();
    runs(&stage, 1);
}

#[test]
fn a_host_that_is_stopped_leaves_the_job_to_the_next_one() {
    let stage = Stage::set();
    let mut host = stage.host("one");
    let _worker = stage.worker("gpu");
    stage.submit();
    until("it runs the job", || stage.runs().len() == 1);
    let _next = stage.host("two");
    host.signal(Signal::TERM);
    assert_eq!(host.wait("it stops").code(), Some(0));
    assert_eq!(stage.rows(), "1|taken|gpu");
    stage.open_the_gate();
    stage.completes_once();
    runs(&stage, 1);
}

#[test]
fn a_job_that_is_cancelled_ends_at_its_worker() {
    let stage = Stage::set();
    let _host = stage.host("one");
    let _worker = stage.worker("gpu");
    let job = stage.submit();
    until("it runs the job", || stage.runs().len() == 1);
    stage.cancel(job);
    until("the job is canceled on the chain", || {
        !stage.ends().is_empty()
    });
    until("its row is deleted", || stage.rows().is_empty());
    assert_eq!(stage.ends(), ["JOB_FAILED"]);
    until("its program is gone", || !stage.has_programs());
    runs(&stage, 1);
}

#[test]
fn a_pause_of_the_database_interrupts_nothing() {
    let stage = Stage::set();
    let _host = stage.host("one");
    let worker = stage.worker("gpu");
    stage.submit();
    until("it runs the job", || stage.runs().len() == 1);
    stage.server.freeze(true);
    until("the worker notices", || {
        worker.log().contains("does not answer")
    });
    // Longer than a worker may be silent.
    std::thread::sleep(Duration::from_secs(7));
    stage.server.freeze(false);
    until("the worker goes on", || {
        worker.log().contains("answers again")
    });
    stage.open_the_gate();
    stage.completes_once();
    runs(&stage, 1);
}
