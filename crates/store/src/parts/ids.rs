//! The ids of rows in a merged store.
//!
//! Shards that began with the parts of one store have different ids up to some point, and count on by
//! themselves from there. So up to the first id that two of them have, every row keeps its own; from
//! there on, all rows get new ids, which are larger than any that a shard has assigned: a name that
//! somebody remembers, such as `inbox/12`, never becomes that of another row. Rows of a shard keep their
//! order, and rows of different shards are in the order of their times.

use rusqlite::{Connection, Transaction, params};

/// What has ids: the table, the column of the id, and that of a time that grows with the ids, if there
/// is one.
pub(super) const KINDS: [(&str, &str, &str); 9] = [
    ("agent", "id", "0"),
    ("inbox", "id", "seen_at"),
    ("forged", "rowid", "seen_at"),
    ("event", "id", "made_at"),
    ("outbox", "id", "created_at"),
    ("task", "id", "made_at"),
    ("sighting", "id", "seen_at"),
    ("notice", "id", "at"),
    ("push", "number", "made_at"),
];

/// The columns that refer to rows with ids: of which table, the column, and the table that it refers
/// to. The row is there, or the column is null.
pub(super) const REFERENCES: [(&str, &str, &str); 21] = [
    ("inbox", "agent", "agent"),
    ("progress", "inbox", "inbox"),
    ("forged", "agent", "agent"),
    ("state", "agent", "agent"),
    ("event", "agent", "agent"),
    ("event", "inbox", "inbox"),
    ("outbox", "agent", "agent"),
    ("outbox", "inbox", "inbox"),
    ("receipt", "outbox", "outbox"),
    ("receipt", "agent", "agent"),
    ("task", "agent", "agent"),
    ("task", "inbox", "inbox"),
    ("spending", "agent", "agent"),
    ("sighting", "agent", "agent"),
    ("notice", "agent", "agent"),
    ("push", "agent", "agent"),
    ("usage", "agent", "agent"),
    // The ids themselves.
    ("agent", "id", "agent"),
    ("inbox", "id", "inbox"),
    ("event", "id", "event"),
    ("outbox", "id", "outbox"),
];

/// The same for ids that the table above has no room for.
pub(super) const OWN: [(&str, &str, &str); 5] = [
    ("task", "id", "task"),
    ("sighting", "id", "sighting"),
    ("notice", "id", "notice"),
    ("push", "number", "push"),
    ("forged", "rowid", "forged"),
];

/// Makes the tables that hold the ids while stores are merged.
pub(super) fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "CREATE TEMP TABLE ids (kind TEXT, shard INTEGER, old INTEGER, at INTEGER, new INTEGER,
             PRIMARY KEY (kind, shard, old)) WITHOUT ROWID;
         CREATE TEMP TABLE first (kind TEXT PRIMARY KEY, id INTEGER) WITHOUT ROWID;
         CREATE TEMP TABLE returned (shard INTEGER, id INTEGER, seq INTEGER,
             PRIMARY KEY (shard, id)) WITHOUT ROWID;",
    )
}

/// Collects the ids of the attached part of a shard.
pub(super) fn collect(step: &Transaction<'_>, shard: i64) -> rusqlite::Result<()> {
    for (table, id, at) in KINDS {
        step.execute(
            &format!("INSERT INTO ids SELECT '{table}', ?1, {id}, {at}, {id} FROM part.{table}"),
            [shard],
        )?;
    }
    Ok(())
}

/// Assigns the new ids of a kind. `last` is the largest id that any shard has assigned. Returns the
/// largest that there is now.
pub(super) fn assign(step: &Transaction<'_>, kind: &str, last: i64) -> rusqlite::Result<i64> {
    step.execute(
        "INSERT INTO first SELECT ?1, min(old) FROM
             (SELECT old FROM ids WHERE kind = ?1 GROUP BY old HAVING count(*) > 1)",
        [kind],
    )?;
    // The time never goes back within a shard, so its rows keep their order.
    step.execute(
        "WITH timed AS (
             SELECT shard, old, max(at) OVER (PARTITION BY shard ORDER BY old) AS time
             FROM ids WHERE kind = ?1 AND old >= (SELECT id FROM first WHERE kind = ?1)
         ), placed AS (
             SELECT shard, old, row_number() OVER (ORDER BY time, shard, old) AS place FROM timed
         )
         UPDATE ids SET new = ?2 + placed.place FROM placed
         WHERE ids.kind = ?1 AND ids.shard = placed.shard AND ids.old = placed.old",
        params![kind, last],
    )?;
    let sql = "SELECT coalesce(max(new), 0) FROM ids WHERE kind = ?1";
    let most: i64 = step.query_row(sql, [kind], |row| row.get(0))?;
    Ok(most.max(last))
}

/// The new id of what a column refers to, in SQL.
fn of(kind: &str, column: &str) -> String {
    format!("(SELECT new FROM ids WHERE kind = '{kind}' AND shard = ?1 AND old = {column})")
}

/// What a column may refer to that is gone, in SQL: a number that no row has.
fn of_gone(kind: &str, column: &str) -> String {
    format!(
        "coalesce({}, iif({column} < 0, {column}, -({column} * 65536 + ?1)))",
        of(kind, column)
    )
}

/// The value of a column in the merged store, in SQL; `None` if it is copied.
pub(super) fn value(table: &str, column: &str) -> Option<String> {
    let name = format!("p.{column}");
    let kept = |kind: &str, at: &str| {
        format!("(SELECT id IS NULL OR {at} < id FROM first WHERE kind = '{kind}')")
    };
    let before = |kind: &str, at: &str| {
        format!(
            "coalesce((SELECT new FROM ids WHERE kind = '{kind}' AND shard = ?1 AND old <= {at}
                 ORDER BY old DESC LIMIT 1), 0)"
        )
    };
    match (table, column) {
        // The order of arrival: the id times 2^20; assigned again when a message returns.
        ("inbox", "seq") => Some(format!(
            "CASE WHEN {kept} THEN p.seq WHEN p.seq = p.id * 1048576 THEN {id} * 1048576
                 ELSE (SELECT seq FROM returned WHERE shard = ?1 AND id = p.id) END",
            kept = kept("inbox", "p.seq / 1048576"),
            id = of("inbox", "p.id"),
        )),
        ("outbox", "resend_of") => Some(format!(
            "iif(p.resend_of IS NULL, NULL, {})",
            of_gone("outbox", "p.resend_of")
        )),
        // The last row of the outbox at the time, which need not be of this shard.
        ("sighting", "mark") => Some(format!(
            "CASE WHEN p.mark IS NULL OR {} THEN p.mark ELSE {} END",
            kept("outbox", "p.mark"),
            before("outbox", "p.mark"),
        )),
        ("event", "data") => Some(format!(
            "CASE p.kind
                 WHEN 'delivery' THEN json_set(p.data, '$.outbox', {})
                 WHEN 'task' THEN json_set(p.data, '$.task', {})
                 ELSE p.data END",
            of_gone("outbox", "(p.data ->> '$.outbox')"),
            of_gone("task", "(p.data ->> '$.task')"),
        )),
        // `inbox/12`, as operators name it.
        ("notice", "subject") => Some(
            "CASE WHEN instr(p.subject, '/') = 0 THEN p.subject
                 ELSE substr(p.subject, 1, instr(p.subject, '/')) || coalesce(
                     (SELECT new FROM ids WHERE kind = substr(p.subject, 1, instr(p.subject, '/') - 1)
                         AND shard = ?1
                         AND old = CAST(substr(p.subject, instr(p.subject, '/') + 1) AS INTEGER)), 0)
                 END"
                .to_owned(),
        ),
        _ => {
            let mut all = REFERENCES.iter().chain(&OWN);
            let found = all.find(|(of, name, _)| (*of, *name) == (table, column));
            found.map(|(_, _, kind)| of(kind, &name))
        }
    }
}

/// Orders the messages of the attached part that returned after a reorganisation, where their place
/// follows from an id that is assigned again: after the message that they returned after.
pub(super) fn order_returned(step: &Transaction<'_>, shard: i64) -> rusqlite::Result<()> {
    step.execute(
        "INSERT INTO returned
         SELECT ?1, id, after * 1048576 + 524288
             + row_number() OVER (PARTITION BY after ORDER BY seq, id)
         FROM (SELECT id, seq, coalesce((SELECT new FROM ids WHERE kind = 'inbox' AND shard = ?1
                       AND old <= p.seq / 1048576 ORDER BY old DESC LIMIT 1), 0) AS after
               FROM part.inbox p WHERE p.seq <> p.id * 1048576)",
        [shard],
    )?;
    Ok(())
}
