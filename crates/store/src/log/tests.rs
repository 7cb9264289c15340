//! Laws that every log keeps.

use agentry_core::Commit;

use super::{Local, Log, Memory, Position};
use crate::schema;
use crate::tables::Database;

fn halt(reason: &str) -> Commit {
    let reason = reason.to_owned();
    Commit::Halt { reason }
}

/// Runs a law over every implementation. A law gets a function that opens the log again.
fn over_each(law: impl Fn(&dyn Fn() -> Box<dyn Log>)) {
    let memory = Memory::default();
    law(&|| Box::new(memory.clone()));
    let db = Database::new(schema::in_memory().unwrap());
    law(&|| Box::new(Local::open(&db).unwrap()));
}

#[test]
fn what_was_appended_is_read_in_order_once_and_after_it_was_opened_again() {
    over_each(|open| {
        let mut log = open();
        assert!(log.read(Position(0), 1).unwrap().is_empty());
        let groups = [
            vec![halt("a"), Commit::Resume],
            vec![halt("b")],
            vec![halt("c")],
        ];
        for (at, group) in (1..).zip(&groups) {
            let group: Vec<_> = group.iter().collect();
            assert_eq!(log.append(&group).unwrap(), Position(at));
        }
        for log in [log, open()] {
            for after in 0..4 {
                let records = log.read(Position(after), usize::MAX).unwrap();
                let places: Vec<_> = records.iter().map(|record| record.at.0).collect();
                assert_eq!(places, ((after + 1)..=3).collect::<Vec<_>>());
                for record in records {
                    let at = usize::try_from(record.at.0).unwrap();
                    assert_eq!(record.commits, groups[at - 1]);
                }
            }
        }
    });
}

#[test]
fn a_read_returns_one_record_at_least_and_about_as_many_bytes_as_were_asked_for() {
    over_each(|open| {
        let mut log = open();
        for _ in 0..10 {
            log.append(&[&halt(&"x".repeat(1_000))]).unwrap();
        }
        assert_eq!(log.read(Position(0), 1).unwrap().len(), 1);
        let some = log.read(Position(3), 3_000).unwrap();
        assert_eq!(some.first().unwrap().at, Position(4));
        assert_eq!(some.len(), 3);
    });
}

#[test]
fn the_places_of_what_was_cut_are_not_used_again() {
    over_each(|open| {
        let mut log = open();
        for reason in ["a", "b", "c"] {
            log.append(&[&halt(reason)]).unwrap();
        }
        log.cut(Position(2)).unwrap();
        let left = log.read(Position(2), usize::MAX).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].at, Position(3));
        assert_eq!(open().append(&[&halt("d")]).unwrap(), Position(4));
        log = open();
        log.cut(Position(4)).unwrap();
        assert_eq!(log.append(&[&halt("e")]).unwrap(), Position(5));
    });
}
