//! Laws that every log keeps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_core::Commit;
use agentry_core::cluster::Epoch;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tokio::sync::watch;

use super::Fault;
use crate::Condition;
use crate::health::Health;
use crate::log::{Log, LogError, Mark, Position, Record, Waits};

/// How long a law waits for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A log that is tested: new and empty, and nobody else uses it.
///
/// What a log cannot do, or its test cannot bring about, answers `None` or false; the laws about that
/// are left out.
pub trait TestLog: Send + Sync {
    /// Opens it, as another host would.
    ///
    /// # Errors
    /// The log's.
    fn open(&self, waits: Waits) -> Result<Box<dyn Log>, LogError>;

    /// Claims it: the new epoch, and the place of the last record. `None`: it has no epochs.
    fn claim(&self) -> Option<(Epoch, Position)> {
        None
    }

    /// Loses the answer to the next append.
    fn lose(&self, _fault: Fault) -> bool {
        false
    }

    /// Holds appends until [`release`](Self::release).
    fn hold(&self) -> bool {
        false
    }

    /// Lets appends through again.
    fn release(&self) {}

    /// Deletes the records up to a place.
    fn trim(&self, _through: Position) -> bool {
        false
    }

    /// Loses the records after a place, as a database does that is restored from a backup.
    fn rewind(&self, _to: Position) -> bool {
        false
    }
}

impl TestLog for super::Memory {
    fn open(&self, waits: Waits) -> Result<Box<dyn Log>, LogError> {
        Ok(Self::open(self, waits))
    }

    fn claim(&self) -> Option<(Epoch, Position)> {
        Some(Self::claim(self))
    }

    fn lose(&self, fault: Fault) -> bool {
        Self::lose(self, fault);
        true
    }

    fn hold(&self) -> bool {
        self.pause();
        true
    }

    fn release(&self) {
        self.resume();
    }

    fn trim(&self, through: Position) -> bool {
        Self::trim(self, through);
        true
    }

    fn rewind(&self, to: Position) -> bool {
        Self::rewind(self, to);
        true
    }
}

/// Checks all laws of a log. Each law gets a new log.
///
/// # Panics
/// The log breaks a law.
pub fn log_laws(new: &dyn Fn() -> Arc<dyn TestLog>) {
    for law in [
        what_was_appended_is_read_in_order_once_and_after_it_was_opened_again,
        a_read_returns_one_record_at_least_and_about_as_many_bytes_as_were_asked_for,
        the_places_of_what_was_cut_are_not_used_again,
        a_mark_is_that_of_one_record,
        who_has_not_claimed_it_appends_nothing,
        after_a_claim_no_older_epoch_appends,
        a_lost_answer_is_found_out,
        an_append_that_waits_says_so_and_ends_with_its_store,
        what_was_trimmed_is_missed_by_name,
        what_the_log_has_lost_is_missed_by_name,
    ] {
        law(&*new());
    }
    what_was_acknowledged_is_in_the_log_once(new);
}

fn halt(reason: &str) -> Commit {
    let reason = reason.to_owned();
    Commit::Halt { reason }
}

/// The log as a host has it open that leads.
fn led(log: &dyn TestLog) -> Box<dyn Log> {
    let mut opened = log.open(Waits::default()).unwrap();
    if let Some((epoch, _)) = log.claim() {
        opened.lead(epoch).unwrap();
    }
    opened
}

fn append(log: &mut dyn Log, reason: &str) -> Result<Mark, LogError> {
    log.append(&[&halt(reason)])
}

/// All records after a place.
fn all(log: &dyn Log, after: Position) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let after = records.last().map_or(after, |last| last.at);
        let more = log.read(after, 1 << 20).unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// The reasons in all records, which have one commit each and follow each other.
fn reasons(log: &dyn Log) -> Vec<String> {
    let mut reasons = Vec::new();
    for (at, record) in (1..).zip(all(log, Position(0))) {
        assert_eq!(record.at, Position(at));
        match &record.commits[..] {
            [Commit::Halt { reason }] => reasons.push(reason.clone()),
            other => panic!("{other:?}"),
        }
    }
    reasons
}

fn what_was_appended_is_read_in_order_once_and_after_it_was_opened_again(test: &dyn TestLog) {
    let mut log = led(test);
    assert!(log.read(Position(0), 1).unwrap().is_empty());
    let groups = [
        vec![halt("a"), Commit::Resume],
        vec![halt("b")],
        vec![halt("c")],
    ];
    let mut marks = Vec::new();
    for (at, group) in (1..).zip(&groups) {
        let mark = log.append(&group.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(mark.at, Position(at));
        marks.push(mark);
    }
    for log in [log, test.open(Waits::default()).unwrap()] {
        for after in 0..4 {
            let records = log.read(Position(after), usize::MAX).unwrap();
            let places: Vec<_> = records.iter().map(|record| record.at.0).collect();
            assert_eq!(places, ((after + 1)..=3).collect::<Vec<_>>());
            for record in records {
                let at = usize::try_from(record.at.0).unwrap() - 1;
                assert_eq!(record.mark(), marks[at]);
                assert_eq!(record.commits, groups[at]);
            }
        }
    }
}

fn a_read_returns_one_record_at_least_and_about_as_many_bytes_as_were_asked_for(
    test: &dyn TestLog,
) {
    let mut log = led(test);
    for _ in 0..10 {
        append(&mut *log, &"x".repeat(1_000)).unwrap();
    }
    assert_eq!(log.read(Position(0), 1).unwrap().len(), 1);
    let some = log.read(Position(3), 3_000).unwrap();
    assert_eq!(some.first().unwrap().at, Position(4));
    assert_eq!(some.len(), 3);
}

fn the_places_of_what_was_cut_are_not_used_again(test: &dyn TestLog) {
    let mut log = led(test);
    for reason in ["a", "b", "c"] {
        append(&mut *log, reason).unwrap();
    }
    log.cut(Position(2)).unwrap();
    let left = log.read(Position(2), usize::MAX).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].at, Position(3));
    drop(log);
    let mut log = led(test);
    assert_eq!(append(&mut *log, "d").unwrap().at, Position(4));
    log.cut(Position(4)).unwrap();
    assert_eq!(append(&mut *log, "e").unwrap().at, Position(5));
}

fn a_mark_is_that_of_one_record(test: &dyn TestLog) {
    let mut log = led(test);
    log.check(&Mark::START).unwrap();
    let marks = ["a", "b"].map(|reason| append(&mut *log, reason).unwrap());
    if test.claim().is_none() {
        // The tables are in the same file, and cannot differ.
        return;
    }
    for log in [&*log, &*test.open(Waits::default()).unwrap()] {
        for mark in [Mark::START, marks[0], marks[1]] {
            log.check(&mark).unwrap();
        }
        for at in [Position(1), Position(3)] {
            let other = Mark { at, ..marks[1] };
            let diverged = log.check(&other);
            assert!(
                matches!(diverged, Err(LogError::Diverged { at: named, .. }) if named == at),
                "{diverged:?}"
            );
        }
    }
}

fn who_has_not_claimed_it_appends_nothing(test: &dyn TestLog) {
    let mut log = test.open(Waits::default()).unwrap();
    if test.claim().is_none() {
        return;
    }
    let refused = append(&mut *log, "a");
    assert!(matches!(refused, Err(LogError::Fenced)), "{refused:?}");
    assert!(reasons(&*log).is_empty());
}

fn after_a_claim_no_older_epoch_appends(test: &dyn TestLog) {
    let mut old = led(test);
    append(&mut *old, "a").unwrap();
    let Some((epoch, head)) = test.claim() else {
        return;
    };
    assert_eq!(head, Position(1));
    // From the claim on, whether who claimed it has begun or not.
    assert!(matches!(append(&mut *old, "b"), Err(LogError::Fenced)));
    let mut new = test.open(Waits::default()).unwrap();
    new.lead(epoch).unwrap();
    append(&mut *new, "c").unwrap();
    for _ in 0..2 {
        assert!(matches!(append(&mut *old, "d"), Err(LogError::Fenced)));
    }
    append(&mut *new, "e").unwrap();
    assert_eq!(reasons(&*new), ["a", "c", "e"]);
    assert_eq!(reasons(&*old), ["a", "c", "e"]);
}

fn a_lost_answer_is_found_out(test: &dyn TestLog) {
    let faults = [(false, false), (true, false), (false, true), (true, true)];
    let mut wanted = Vec::new();
    for (number, (arrives, is_claimed)) in faults.into_iter().enumerate() {
        let mut log = led(test);
        let reason = format!("{number}");
        let fault = Fault {
            arrives,
            is_claimed,
        };
        if !test.lose(fault) {
            return;
        }
        match append(&mut *log, &reason) {
            Ok(mark) => {
                assert!(!is_claimed);
                wanted.push(reason);
                assert_eq!(mark, all(&*log, Position(0)).last().unwrap().mark());
                append(&mut *log, "next").unwrap();
                wanted.push("next".to_owned());
            }
            Err(LogError::Fenced) if is_claimed => {
                wanted.extend(arrives.then_some(reason));
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        assert_eq!(reasons(&*log), wanted, "{fault:?}");
    }
}

/// Appends are held as long as this exists; a law that fails lets them through, too.
pub(super) struct Held<'a>(&'a dyn TestLog);

impl<'a> Held<'a> {
    /// `None`: the test cannot hold appends.
    pub(super) fn hold(log: &'a dyn TestLog) -> Option<Self> {
        log.hold().then_some(Self(log))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

fn an_append_that_waits_says_so_and_ends_with_its_store(test: &dyn TestLog) {
    let health = Health::default();
    let condition = health.watch();
    let closing = watch::Sender::new(false);
    let mut log = test.open(Waits::new(health, closing.subscribe())).unwrap();
    let Some((epoch, _)) = test.claim() else {
        return;
    };
    log.lead(epoch).unwrap();
    let is_refusing = || matches!(*condition.borrow(), Condition::Refusing(_));
    let Some(held) = Held::hold(test) else {
        return;
    };
    let waiting = std::thread::spawn(move || {
        let stored = append(&mut *log, "a");
        (log, stored)
    });
    until(is_refusing);
    drop(held);
    let (mut log, stored) = waiting.join().unwrap();
    assert_eq!(stored.unwrap().at, Position(1));
    assert_eq!(*condition.borrow(), Condition::Well);

    let held = Held::hold(test);
    let waiting = std::thread::spawn(move || append(&mut *log, "b"));
    until(is_refusing);
    closing.send_replace(true);
    until(|| waiting.is_finished());
    drop(held);
    let ended = waiting.join().unwrap();
    assert!(matches!(ended, Err(LogError::Closing)), "{ended:?}");
}

fn what_was_trimmed_is_missed_by_name(test: &dyn TestLog) {
    let mut log = led(test);
    let marks = ["a", "b", "c"].map(|reason| append(&mut *log, reason).unwrap());
    if !test.trim(Position(2)) {
        return;
    }
    for after in [Position(0), Position(1)] {
        let missed = log.read(after, usize::MAX);
        assert!(
            matches!(missed, Err(LogError::Trimmed { after: named }) if named == after),
            "{missed:?}"
        );
    }
    assert_eq!(log.read(Position(2), 1).unwrap()[0].mark(), marks[2]);
    for mark in &marks {
        log.check(mark).unwrap();
    }
    assert!(test.trim(Position(3)));
    assert!(log.read(Position(3), 1).unwrap().is_empty());
    let missed = log.read(Position(2), 1);
    assert!(
        matches!(missed, Err(LogError::Trimmed { .. })),
        "{missed:?}"
    );
    assert_eq!(append(&mut *led(test), "d").unwrap().at, Position(4));
}

fn what_the_log_has_lost_is_missed_by_name(test: &dyn TestLog) {
    let mut log = led(test);
    let marks = ["a", "b", "c"].map(|reason| append(&mut *log, reason).unwrap());
    if !test.rewind(Position(2)) {
        return;
    }
    let missed = test.open(Waits::default()).unwrap().check(&marks[2]);
    assert!(
        matches!(missed, Err(LogError::Diverged { .. })),
        "{missed:?}"
    );
    let appended = append(&mut *log, "d");
    assert!(
        matches!(appended, Err(LogError::Diverged { .. })),
        "{appended:?}"
    );
    assert_eq!(reasons(&*test.open(Waits::default()).unwrap()), ["a", "b"]);
}

/// One step of a random history of a log.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// This host appends, whether it leads or not.
    Append(usize),
    /// This host claims the log, and leads.
    Lead(usize),
    /// This host's process ends, and it opens the log again.
    Reopen(usize),
    /// The next answer is lost.
    Lose(Fault),
}

fn step() -> impl Strategy<Value = Step> {
    let fault = (any::<bool>(), any::<bool>());
    prop_oneof![
        6 => (0..3_usize).prop_map(Step::Append),
        2 => (0..3_usize).prop_map(Step::Lead),
        1 => (0..3_usize).prop_map(Step::Reopen),
        1 => fault.prop_map(|(arrives, is_claimed)| Step::Lose(Fault { arrives, is_claimed })),
    ]
}

/// Random histories of three hosts.
fn what_was_acknowledged_is_in_the_log_once(new: &dyn Fn() -> Arc<dyn TestLog>) {
    if new().claim().is_none() {
        return;
    }
    let mut runner = TestRunner::new(Config {
        cases: 16,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..Config::default()
    });
    let histories = prop::collection::vec(step(), 1..40);
    let law = runner.run(&histories, |history| {
        let test = new();
        let open = || test.open(Waits::default()).unwrap();
        let mut hosts = [open(), open(), open()];
        let (mut certain, mut possible) = (Vec::new(), Vec::new());
        for (number, step) in history.into_iter().enumerate() {
            match step {
                Step::Lead(host) => {
                    let (epoch, head) = test.claim().unwrap();
                    hosts[host].lead(epoch).unwrap();
                    let records = all(&*hosts[host], Position(0));
                    prop_assert_eq!(head, records.last().map_or(Position(0), |last| last.at));
                }
                Step::Reopen(host) => hosts[host] = open(),
                Step::Lose(fault) => drop(test.lose(fault)),
                Step::Append(host) => {
                    let reason = format!("{number}");
                    possible.push(reason.clone());
                    match append(&mut *hosts[host], &reason) {
                        Ok(_) => certain.push(reason),
                        Err(LogError::Fenced) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
        }
        let found = reasons(&*open());
        let among = |some: &[String], all: &[String]| {
            let mut all = all.iter();
            some.iter().all(|one| all.any(|other| one == other))
        };
        prop_assert!(among(&certain, &found), "{certain:?} in {found:?}");
        prop_assert!(among(&found, &possible), "{found:?} in {possible:?}");
        Ok(())
    });
    if let Err(broken) = law {
        panic!("{broken}");
    }
}

/// Waits until something is so.
fn until(is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it did not come to that");
        std::thread::sleep(Duration::from_millis(2));
    }
}
