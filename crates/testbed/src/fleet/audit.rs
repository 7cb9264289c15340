//! The audit at the end of each test: chain, logs and tables.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_cluster::{PgLog, Settings};
use agentry_core::cluster::ShardId;
use agentry_store::Store;

use super::{Fleet, SHARDS};
use crate::chain::open;
use crate::{PATIENCE, spending};

/// After everything is answered, the number of blocks in which nothing may happen.
const QUIET: u64 = 3;

/// Tables that hold nothing of the state: a local log, and how far the tables are.
const NO_STATE: [&str; 2] = ["log", "meta"];

/// Records that have an older epoch than one before them.
const OUTDATED: &str = "select shard, seq, epoch, before from ( \
     select shard, seq, epoch, max(epoch) over (partition by shard order by seq) as before \
     from agentry.log) l where epoch < before";

/// Shards whose records are not all those up to their heads, from the first one that was not trimmed.
const HOLES: &str = "select s.id, s.head, count(l.seq), max(l.seq) from agentry.shard s \
     left join agentry.log l on l.shard = s.id group by s.id, s.head \
     having count(l.seq) <> s.head - coalesce(min(l.seq) - 1, s.head) or max(l.seq) <> s.head \
     or (count(l.seq) = 0 and s.head > 0)";

impl Fleet {
    /// Settles, stops the hosts, and checks everything. Returns how many pings were answered.
    ///
    /// # Panics
    /// Something is wrong.
    pub fn finish(mut self) -> usize {
        let world = Arc::clone(&self.world);
        world.settle();
        world.chain.await_blocks(world.chain.head(), QUIET);
        world.settle();
        self.stop();
        world.chain.await_blocks(world.chain.head(), QUIET);
        world.settle();
        let pings = world.postings().into_iter().map(|posting| posting.hash);
        world.assert_careful(&pings.collect::<HashSet<_>>());
        self.check();
        let answered = world.audit().answered;
        assert!(
            answered > 0,
            "no ping was sent, so the test checked nothing"
        );
        answered
    }

    /// Stops the hosts as an operator does who stops them all.
    ///
    /// # Panics
    /// One has exited by itself, or does not stop with exit code 0.
    pub fn stop(&mut self) {
        let mut running: Vec<_> = self
            .hosts
            .iter_mut()
            .filter_map(|host| host.runtime.take())
            .collect();
        for runtime in &mut running {
            assert_eq!(
                runtime.ended(),
                None,
                "a host exited by itself: {}",
                runtime.log()
            );
            runtime.terminate();
        }
        for mut runtime in running {
            let status = runtime.wait("a host stops");
            assert_eq!(status.code(), Some(0), "{status}: {}", runtime.log());
        }
    }

    /// The records of an older epoch that follow a claim: shard, number, epoch, an epoch before it.
    pub fn outdated(&self) -> String {
        self.sql(OUTDATED)
    }

    /// Checks the logs and the tables of a cluster whose hosts are stopped.
    pub fn check(&self) {
        let errors = self.world.chain.errors();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(
            self.outdated(),
            "",
            "(shard, seq, epoch, an epoch before it)"
        );
        assert_eq!(self.sql(HOLES), "", "(shard, head, records, last record)");
        for shard in (0..SHARDS).map(ShardId) {
            self.check_shard(shard);
        }
    }

    /// The tables of each host, once they have what the log has, and new tables from the log alone must
    /// be the same.
    fn check_shard(&self, shard: ShardId) {
        let head = self.places()[usize::from(shard.0)].head;
        let new = self.new_tables(shard);
        let mut files: Vec<PathBuf> = vec![new.clone()];
        let hosts = self.hosts.iter();
        let hosts = hosts.map(|host| self.copy(&host.name, shard));
        files.extend(hosts.filter(|path| path.exists()));
        let states = files.iter().map(|path| self.state(shard, head, path));
        let states: Vec<_> = states.collect();
        for (path, state) in files.iter().zip(&states).skip(1) {
            for (table, rows) in &states[0] {
                let found = &state[table];
                let missing: Vec<_> = rows.iter().filter(|row| !found.contains(row)).collect();
                let more: Vec<_> = found.iter().filter(|row| !rows.contains(row)).collect();
                assert!(
                    missing.is_empty() && more.is_empty() && rows.len() == found.len(),
                    "{} differs from its log in {table}: {missing:#?} are missing, {more:#?} are there",
                    path.display()
                );
            }
        }
        spending::check(&new);
    }

    /// The tables of a machine that has had none, as a command makes them.
    fn new_tables(&self, shard: ShardId) -> PathBuf {
        let number = shard.to_string();
        let command = ["queue", "stats", "--shard", &number];
        let output = self.command("audit", &command).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        self.copy("audit", shard)
    }

    /// The rows of each table of a file, once it has followed the log to its head.
    fn state(&self, shard: ShardId, head: u64, path: &Path) -> BTreeMap<String, Vec<String>> {
        let url = self.engine.primary.url(&self.database);
        let settings = Settings::new(&[url], None, None).unwrap();
        let store = Store::follow(path, move |waits| PgLog::open(&settings, shard, waits));
        let store = store.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut position = store.position();
        let level = self.links.block_on(async {
            let level = position.wait_for(|position| position.0 >= head);
            tokio::time::timeout(PATIENCE, level)
                .await
                .map(|level| level.map(|at| *at))
        });
        let at = level.expect("the log was not read in time").unwrap();
        assert_eq!(at.0, head, "{}", path.display());
        drop(store);
        let db = open(path);
        let mut tables = db
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            .unwrap();
        let names = tables.query_map([], |row| row.get(0)).unwrap();
        let names: Vec<String> = names.collect::<Result<_, _>>().unwrap();
        let names = names
            .into_iter()
            .filter(|name| !NO_STATE.contains(&name.as_str()));
        names
            .map(|name| {
                let mut statement = db.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
                let columns = statement.column_count();
                let rows = statement.query_map([], |row| {
                    let values = (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at));
                    let values: Vec<_> = values.collect::<Result<_, _>>()?;
                    Ok(format!("{values:?}"))
                });
                let mut rows: Vec<String> = rows.unwrap().collect::<Result<_, _>>().unwrap();
                rows.sort();
                (name, rows)
            })
            .collect()
    }
}
