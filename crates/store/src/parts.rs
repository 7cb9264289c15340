//! A store as the parts of a cluster's shards, and parts as one store.
//!
//! | module | content |
//! |---|---|
//! | `divide` | what a shard begins with: the rows of its agents, and what all shards know |
//! | `merge` | one store out of those of shards |
//! | `ids` | the ids of rows in a merged store |
//!
//! A row belongs to an agent, and an agent to one shard ([`shard_of`](agentry_core::cluster::shard_of)).
//! What belongs to no agent is in every shard: which chain it is and how far it was read, the directory,
//! the tokens, the webhooks, the heights that could not be read. Whatever a row is called where it has to
//! be the same everywhere follows from its [origin](agentry_core::origin), never from its id. So ids can
//! be assigned again, as long as what refers to them is changed with them.

mod divide;
mod ids;
#[cfg(test)]
mod law;
mod merge;

pub use merge::{Part, merge, rewind};

/// The tables whose rows belong to agents, with the column that names the agent. What rows of a table
/// refer to is in a table before it.
const OF_AGENTS: [(&str, &str); 13] = [
    ("agent", "id"),
    ("inbox", "agent"),
    ("forged", "agent"),
    ("state", "agent"),
    ("event", "agent"),
    ("outbox", "agent"),
    ("receipt", "agent"),
    ("task", "agent"),
    ("spending", "agent"),
    ("sighting", "agent"),
    ("notice", "agent"),
    ("push", "agent"),
    ("usage", "agent"),
];

/// The tables that every shard has.
const OF_ALL: [&str; 4] = ["card", "token", "webhook", "gap"];

/// The columns of a table. That of the order of forged messages has no declaration.
fn columns(db: &rusqlite::Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_info(?1, 'main') ORDER BY cid";
    let mut names = db.prepare_cached(sql)?;
    let names = names.query_map([table], |row| row.get(0))?;
    let mut names: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
    if table == "forged" {
        names.push("rowid".to_owned());
    }
    Ok(names)
}

/// Sets up a connection for writing a whole file at once: if that is interrupted, the file is made
/// again.
fn for_a_whole_file(db: &rusqlite::Connection) -> rusqlite::Result<()> {
    // Their rows come in an order in which references are complete at the end only.
    db.pragma_update(None, "foreign_keys", false)?;
    db.pragma_update(None, "temp_store", "memory")?;
    db.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "off")
}

/// Makes a file durable that was written without.
fn sync(path: &std::path::Path) -> Result<(), crate::StoreError> {
    let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| crate::StoreError::Io {
        path: path.to_owned(),
        source,
    })
}
