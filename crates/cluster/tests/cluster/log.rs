//! The laws of a log, and hosts that race for one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use agentry_cluster::Database;
use agentry_core::cluster::{Epoch, ShardId};
use agentry_store::{LogError, Mark, Position, Record};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::{block, claim, cluster, halt, lead, open, reasons, server};

const SHARD: ShardId = ShardId(1);

#[test]
fn what_was_appended_is_read_in_order_once_and_by_others() {
    let (settings, database) = block(cluster());
    let claim = block(claim(&database, SHARD, 1));
    let mut log = lead(&settings, SHARD, claim.epoch);
    assert!(log.read(Position(0), 1).unwrap().is_empty());
    let mut marks = Vec::new();
    for reason in ["a", "b \u{1f600} \u{7f}", "c"] {
        marks.push(log.append(&[&halt(reason), &halt(reason)]).unwrap());
    }
    for log in [log, open(&settings, SHARD)] {
        for after in 0..5 {
            let records = log.read(Position(after), usize::MAX).unwrap();
            let read: Vec<_> = records.iter().map(Record::mark).collect();
            assert_eq!(read, marks[(after as usize).min(3)..]);
        }
        for mark in &marks {
            log.check(mark).unwrap();
        }
        log.check(&Mark::START).unwrap();
    }
    // Other shards have logs of their own.
    assert!(
        open(&settings, ShardId(2))
            .read(Position(0), 1)
            .unwrap()
            .is_empty()
    );
    let head = block(database.view()).unwrap().shard(SHARD).unwrap().head;
    assert_eq!(head, 3);
}

#[test]
fn a_read_returns_one_record_at_least_and_about_as_many_bytes_as_were_asked_for() {
    let (settings, database) = block(cluster());
    let mut log = lead(&settings, SHARD, block(claim(&database, SHARD, 1)).epoch);
    for _ in 0..10 {
        log.append(&[&halt(&"x".repeat(1_000))]).unwrap();
    }
    assert_eq!(log.read(Position(0), 0).unwrap().len(), 1);
    assert_eq!(log.read(Position(0), 1).unwrap().len(), 1);
    let some = log.read(Position(3), 3_000).unwrap();
    assert_eq!((some[0].at, some.len()), (Position(4), 3));
    // One that is larger than what is read at once.
    let large = "y".repeat(20 << 20);
    log.append(&[&halt(&large)]).unwrap();
    let read = log.read(Position(10), 1).unwrap();
    assert_eq!(read[0].commits, [halt(&large)]);
    assert_eq!(log.read(Position(9), usize::MAX).unwrap().len(), 2);
}

#[test]
fn only_the_last_epoch_appends() {
    let (settings, database) = block(cluster());
    let first = block(claim(&database, SHARD, 1));
    let mut old = lead(&settings, SHARD, first.epoch);
    old.append(&[&halt("old")]).unwrap();
    let second = block(claim(&database, SHARD, 2));
    assert_eq!((second.epoch, second.head), (first.epoch.next(), 1));
    let mut new = lead(&settings, SHARD, second.epoch);
    new.append(&[&halt("new")]).unwrap();
    for _ in 0..2 {
        let error = old.append(&[&halt("late")]).unwrap_err();
        assert!(matches!(error, LogError::Fenced), "{error}");
    }
    let error = old.lead(first.epoch).unwrap_err();
    assert!(matches!(error, LogError::Fenced), "{error}");
    // One that nobody has claimed.
    let error = open(&settings, SHARD).lead(Epoch(9)).unwrap_err();
    assert!(matches!(error, LogError::Fenced), "{error}");
    // A follower appends nothing.
    let error = open(&settings, SHARD).append(&[&halt("none")]).unwrap_err();
    assert!(matches!(error, LogError::Fenced), "{error}");
    assert_eq!(reasons(&*new), ["old", "new"]);
    new.append(&[&halt("newer")]).unwrap();
}

#[test]
fn another_history_is_named() {
    let (settings, database) = block(cluster());
    let mut log = lead(&settings, SHARD, block(claim(&database, SHARD, 1)).epoch);
    let one = log.append(&[&halt("one")]).unwrap();
    let two = log.append(&[&halt("two")]).unwrap();
    let other = Mark {
        at: two.at,
        sum: one.sum,
    };
    let ahead = Mark {
        at: Position(3),
        sum: one.sum,
    };
    for wrong in [other, ahead] {
        let error = log.check(&wrong).unwrap_err();
        assert!(matches!(error, LogError::Diverged { .. }), "{error}");
    }
    // The head is compared even if the record is no longer there.
    let name = settings.database();
    server().psql(name, "delete from agentry.log where seq = 1");
    log.check(&one).unwrap();
    let error = log.read(Position(0), 1).unwrap_err();
    assert!(
        matches!(error, LogError::Trimmed { after: Position(0) }),
        "{error}"
    );
    assert_eq!(log.read(Position(1), 1).unwrap()[0].mark(), two);
    server().psql(name, "delete from agentry.log");
    let error = log.read(Position(1), 1).unwrap_err();
    assert!(
        matches!(error, LogError::Trimmed { after: Position(1) }),
        "{error}"
    );
    assert!(log.read(Position(2), 1).unwrap().is_empty());
    let error = open(&settings, ShardId(77)).check(&one).unwrap_err();
    assert!(error.to_string().contains("no shard 77"), "{error}");
}

#[test]
fn a_record_that_is_damaged_missing_or_of_a_later_version_is_refused_by_name() {
    let (settings, database) = block(cluster());
    let mut log = lead(&settings, SHARD, block(claim(&database, SHARD, 1)).epoch);
    for reason in ["one", "two", "three"] {
        log.append(&[&halt(reason)]).unwrap();
    }
    let name = settings.database();
    server().psql(
        name,
        "update agentry.log set body = replace(body, 'two', 'twi') where seq = 2",
    );
    let error = log.read(Position(0), usize::MAX).unwrap_err();
    assert!(
        matches!(
            error,
            LogError::Damaged {
                at: Position(2),
                ..
            }
        ),
        "{error}"
    );
    server().psql(name, "delete from agentry.log where seq = 2");
    let error = log.read(Position(0), usize::MAX).unwrap_err();
    assert!(
        matches!(
            error,
            LogError::Damaged {
                at: Position(2),
                ..
            }
        ),
        "{error}"
    );
    let json = r#"{"format":99,"commits":[{"Levitate":{}}]}"#;
    let later = "insert into agentry.log select 1, 2, 1, encode(sha256(convert_to('2 ' || j, 'UTF8')), 'hex') || ' ' || j from (select 'JSON' j) t";
    server().psql(name, &later.replace("JSON", json));
    let error = log.read(Position(1), usize::MAX).unwrap_err();
    assert!(matches!(error, LogError::Newer(99)), "{error}");
}

/// Six hosts claim one shard at random and append as long as they are not fenced.
#[test]
fn of_hosts_that_claim_at_random_what_was_acknowledged_is_stored_and_nothing_else() {
    let seed = std::env::var("AGENTRY_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("AGENTRY_TEST_SEED={seed}");
    let (settings, database) = block(cluster());
    let acknowledged = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for host in 1..=6_u8 {
            let (settings, acknowledged) = (&settings, &acknowledged);
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(seed ^ u64::from(host));
                let database = block(Database::connect(settings)).unwrap();
                let mut log = open(settings, SHARD);
                let me = agentry_core::cluster::Incarnation([host; 16]);
                for round in 0..12 {
                    let seen = block(database.view()).unwrap().shard(SHARD).unwrap().epoch;
                    let Some(claim) = block(database.claim(SHARD, seen, me, 1)).unwrap() else {
                        continue;
                    };
                    match log.lead(claim.epoch) {
                        Ok(()) => {}
                        Err(LogError::Fenced) => continue,
                        Err(error) => panic!("{error}"),
                    }
                    for number in 0..random.random_range(1..20) {
                        let reason = format!("{host} {round} {number} {}", claim.epoch);
                        match log.append(&[&halt(&reason)]) {
                            Ok(mark) => {
                                assert!(mark.at.0 > claim.head);
                                let before = acknowledged.lock().unwrap().insert(mark.at, reason);
                                assert_eq!(before, None, "{}", mark.at);
                            }
                            Err(LogError::Fenced) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    let acknowledged: Vec<_> = acknowledged.into_inner().unwrap().into_values().collect();
    assert_eq!(reasons(&*open(&settings, SHARD)), acknowledged);
    let epochs: Vec<u64> = acknowledged
        .iter()
        .map(|reason| reason.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    let last = block(database.view())
        .unwrap()
        .shard(SHARD)
        .unwrap()
        .clone();
    println!("{} records under {} epochs", acknowledged.len(), last.epoch);
    assert_eq!(last.head, acknowledged.len() as u64);
}
