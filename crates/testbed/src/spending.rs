//! Compares the spending recorded in the store with its transactions.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// The spending of each budget must be the sum of its transactions, after any number of kills. Both
/// directions are one statement, so that a runtime may write meanwhile.
const DIFFERENCES: &str = "
    WITH paid AS (
        SELECT agent, budget_day AS day, standing, sender, sum(amount + fee) AS spent
        FROM outbox WHERE budget_day IS NOT NULL GROUP BY agent, budget_day, standing, sender
        HAVING spent > 0
    ), known AS (
        SELECT agent, day, standing, sender, spent FROM spending WHERE spent > 0
    )
    SELECT 'paid for', * FROM (SELECT * FROM paid EXCEPT SELECT * FROM known)
    UNION ALL
    SELECT 'known', * FROM (SELECT * FROM known EXCEPT SELECT * FROM paid)";

/// Exactly the signed transactions are paid for.
const UNPAID: &str = "
    SELECT count(*) FROM outbox
    WHERE (budget_day IS NOT NULL) <> (state IN ('prepared', 'accepted', 'mined', 'final'))";

/// Checks a store from which nothing was deleted yet.
pub fn check(store: &Path) {
    if !store.exists() {
        return;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(store, flags).unwrap();
    db.busy_timeout(crate::PATIENCE).unwrap();
    let mut statement = db.prepare(DIFFERENCES).unwrap();
    let wrong: Vec<(String, i64, i64, String, String, i64)> = statement
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
            ))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(
        wrong.is_empty(),
        "(which, agent, day, standing, sender, spent): {wrong:?}"
    );
    let unpaid: i64 = db.query_row(UNPAID, [], |row| row.get(0)).unwrap();
    assert_eq!(unpaid, 0, "transactions that are signed and not paid for");
}
