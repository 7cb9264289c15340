//! Beats, and what they show.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentry_core::cluster::{Epoch, HostSeen, Incarnation, ShardId, ShardSeen, View};
use tokio_postgres::Row;

use crate::ClusterError;
use crate::database::{Database, column, number};
use crate::link::Call;

/// What a host says of itself with each beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRow {
    /// The process.
    pub incarnation: Incarnation,
    /// The host's name in its configuration.
    pub name: String,
    /// Where its operations are reached.
    pub address: String,
    /// Its version of agentry.
    pub version: String,
    /// A hash of those settings that must be the same on all hosts.
    pub config_hash: String,
    /// The highest format of records that it reads.
    pub format: u32,
    /// Whether it leaves. Once true, it stays so until [`Database::drain`] takes it back.
    pub draining: bool,
    /// Whether its node has not answered it for a while.
    pub without_node: bool,
    /// The shards that it follows, and the place of the last record that it has of each.
    pub following: BTreeMap<ShardId, u64>,
    /// The node that it posts to, without a password: the same for all hosts.
    pub submit: String,
}

/// The state of a cluster, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Its hosts and shards.
    pub view: View,
    /// What else is known of each host.
    pub hosts: BTreeMap<Incarnation, HostFacts>,
}

/// What nobody but people needs to know of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// For how long it has not beaten, by the database's clock.
    pub silent: Duration,
    /// By how many milliseconds its clock was ahead of the database's at its last beat; negative if it
    /// was behind. What the beat took on its way makes it a little smaller. `None` for a host that does
    /// not say what its clock shows.
    pub clock_ahead_ms: Option<i64>,
    /// The node that it posts to, without a password.
    pub submit: String,
}

/// A host that beats no more and owns nothing is of no use to anybody, and after this time to no
/// person either.
pub const KEEP_HOSTS: Duration = Duration::from_secs(24 * 60 * 60);

const BEAT: &str = "insert into agentry.host as h (incarnation, name, beat, seen, address, version, \
     config_hash, format, draining, without_node, following, submit, clock) \
     values ($1, $2, 1, clock_timestamp(), $3, $4, $5, $6, $7, $8, $9, $10, $11) \
     on conflict (incarnation) do update set name = excluded.name, beat = h.beat + 1, \
     seen = excluded.seen, address = excluded.address, version = excluded.version, \
     config_hash = excluded.config_hash, format = excluded.format, \
     draining = h.draining or excluded.draining, without_node = excluded.without_node, \
     following = excluded.following, submit = excluded.submit, clock = excluded.clock";

const HOSTS: &str = "select incarnation, name, beat, address, version, config_hash, format, draining, \
     without_node, following from agentry.host order by name, incarnation";

const SHARDS: &str = "select id, owner, epoch, head, format, halted from agentry.shard order by id";

impl Database {
    /// Beats: writes our row, and reads all hosts and shards after that, in one round trip. When this
    /// returns `Ok`, the beat is on the standby, too: no other server has taken over before it was
    /// sent.
    ///
    /// # Errors
    /// The beat may not have been seen by others.
    pub async fn beat(&self, row: &HostRow) -> Result<View, ClusterError> {
        let me = row.incarnation.to_string();
        let format: i32 = number("the format of records", row.format)?;
        let following = write_following(&row.following);
        let clock = now_ms();
        let beat: [&(dyn tokio_postgres::types::ToSql + Sync); 11] = [
            &me,
            &row.name,
            &row.address,
            &row.version,
            &row.config_hash,
            &format,
            &row.draining,
            &row.without_node,
            &following,
            &row.submit,
            &clock,
        ];
        let call = Call::write("beating", self.limits().beat);
        let answers = {
            let mut link = self.beats().await;
            link.pipeline(call, &[(BEAT, &beat), (HOSTS, &[]), (SHARDS, &[])])
                .await
        };
        let answers = answers.map_err(uninitialised)?;
        view(&answers[1..])
    }

    /// The hosts and shards, without beating: for whoever only looks.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn view(&self) -> Result<View, ClusterError> {
        let call = Call::read("reading the cluster's hosts", self.limits().call);
        let answers = self
            .bulk()
            .await
            .pipeline(call, &[(HOSTS, &[]), (SHARDS, &[])])
            .await;
        view(&answers.map_err(uninitialised)?)
    }

    /// As [`view`](Self::view), with what people want to know of each host.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn look(&self) -> Result<Look, ClusterError> {
        const WHAT: &str = "what a host says of itself";
        const FACTS: &str = "select incarnation, \
             greatest(0, extract(epoch from clock_timestamp() - seen))::float8, \
             clock - (extract(epoch from seen) * 1000)::bigint, submit from agentry.host";
        let call = Call::read("reading the cluster's hosts", self.limits().call);
        let statements = [(HOSTS, &[][..]), (SHARDS, &[]), (FACTS, &[])];
        let answers = self.bulk().await.pipeline(call, &statements).await;
        let answers = answers.map_err(uninitialised)?;
        let (view_of, facts) = answers.split_at(2.min(answers.len()));
        let facts = facts.iter().flatten().map(|row| {
            let host = incarnation(WHAT, column(Some(row), 0, WHAT)?)?;
            let silent: f64 = column(Some(row), 1, WHAT)?;
            let facts = HostFacts {
                silent: Duration::try_from_secs_f64(silent).unwrap_or_default(),
                clock_ahead_ms: column(Some(row), 2, WHAT)?,
                submit: column(Some(row), 3, WHAT)?,
            };
            Ok((host, facts))
        });
        Ok(Look {
            hosts: facts.collect::<Result<_, ClusterError>>()?,
            view: view(view_of)?,
        })
    }

    /// Has the hosts of a name hand their shards over and take none, or take some again. Returns how
    /// many there are.
    ///
    /// # Errors
    /// It is not written.
    pub async fn drain(&self, name: &str, drain: bool) -> Result<u64, ClusterError> {
        let call = Call::write("draining a host", self.limits().call);
        let sql = "update agentry.host set draining = $2 where name = $1 returning 1";
        let rows = self
            .bulk()
            .await
            .query(call, (sql, &[&name, &drain]))
            .await?;
        Ok(rows.len() as u64)
    }

    /// Removes the row of a host that has nothing left, so that no other has to find out that it ended.
    ///
    /// # Errors
    /// It is not written.
    pub async fn leave(&self, me: Incarnation) -> Result<(), ClusterError> {
        let call = Call::write("leaving the cluster", self.limits().call);
        let sql = "delete from agentry.host where incarnation = $1";
        let rows = self
            .bulk()
            .await
            .query(call, (sql, &[&me.to_string()]))
            .await;
        rows.map(|_| ())
    }

    /// Removes hosts that own nothing and have not beaten for longer than `after`, by the database's
    /// clock ([`KEEP_HOSTS`] is long enough for people to see them). Returns their names.
    ///
    /// # Errors
    /// It is not written.
    pub async fn remove_dead_hosts(&self, after: Duration) -> Result<Vec<String>, ClusterError> {
        const WHAT: &str = "the name of a host";
        let call = Call::write("removing dead hosts", self.limits().call);
        let sql = "delete from agentry.host where seen < clock_timestamp() - make_interval(secs => $1) \
             and incarnation not in (select owner from agentry.shard where owner is not null) \
             returning name";
        let rows = self
            .bulk()
            .await
            .query(call, (sql, &[&after.as_secs_f64()]))
            .await?;
        rows.iter().map(|row| column(Some(row), 0, WHAT)).collect()
    }
}

/// A table that is missing means that there is no cluster.
pub(crate) fn uninitialised(error: ClusterError) -> ClusterError {
    match error.code() {
        Some("42P01" | "3F000") => ClusterError::NotInitialised,
        _ => error,
    }
}

fn view(answers: &[Vec<Row>]) -> Result<View, ClusterError> {
    let [hosts, shards] = answers else {
        return Err(ClusterError::damaged(
            "the answer to a beat",
            &"a part is missing",
        ));
    };
    Ok(View {
        hosts: hosts.iter().map(host).collect::<Result<_, _>>()?,
        shards: shards.iter().map(shard).collect::<Result<_, _>>()?,
    })
}

fn host(row: &Row) -> Result<HostSeen, ClusterError> {
    const WHAT: &str = "a host's row";
    let row = Some(row);
    Ok(HostSeen {
        incarnation: incarnation(WHAT, column(row, 0, WHAT)?)?,
        name: column(row, 1, WHAT)?,
        beat: number(WHAT, column::<i64>(row, 2, WHAT)?)?,
        address: column(row, 3, WHAT)?,
        version: column(row, 4, WHAT)?,
        config_hash: column(row, 5, WHAT)?,
        format: number(WHAT, column::<i32>(row, 6, WHAT)?)?,
        draining: column(row, 7, WHAT)?,
        without_node: column(row, 8, WHAT)?,
        following: read_following(column(row, 9, WHAT)?)
            .ok_or_else(|| ClusterError::damaged(WHAT, &"what it follows cannot be read"))?,
    })
}

fn shard(row: &Row) -> Result<ShardSeen, ClusterError> {
    const WHAT: &str = "a shard's row";
    let row = Some(row);
    let owner: Option<&str> = column(row, 1, WHAT)?;
    Ok(ShardSeen {
        id: ShardId(number(WHAT, column::<i32>(row, 0, WHAT)?)?),
        owner: owner.map(|owner| incarnation(WHAT, owner)).transpose()?,
        epoch: Epoch(number(WHAT, column::<i64>(row, 2, WHAT)?)?),
        head: number(WHAT, column::<i64>(row, 3, WHAT)?)?,
        format: number(WHAT, column::<i32>(row, 4, WHAT)?)?,
        halted: column(row, 5, WHAT)?,
    })
}

fn incarnation(what: &'static str, text: &str) -> Result<Incarnation, ClusterError> {
    text.parse()
        .map_err(|error| ClusterError::damaged(what, &error))
}

/// What this machine's clock shows, in milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    })
}

/// `3:1041 7:20`: the shards with the places. It is read at each beat of each host, so it is short.
fn write_following(following: &BTreeMap<ShardId, u64>) -> String {
    let all = following.iter().map(|(shard, at)| format!("{shard}:{at}"));
    all.collect::<Vec<_>>().join(" ")
}

fn read_following(text: &str) -> Option<BTreeMap<ShardId, u64>> {
    let one = |one: &str| {
        let (shard, at) = one.split_once(':')?;
        Some((ShardId(shard.parse().ok()?), at.parse().ok()?))
    };
    text.split_whitespace().map(one).collect()
}
