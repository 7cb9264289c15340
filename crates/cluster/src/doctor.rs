//! Whether the server keeps what it acknowledges, and whether our role may do what it has to.

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::ClusterError;
use crate::database::{Database, column, number};
use crate::hosts::now_ms;
use crate::link::Call;
use crate::schema::Layout;

/// A standby of the server, as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Its `application_name`.
    pub name: String,
    /// `streaming` if it is connected and has caught up. `None` if our role may not see it.
    pub state: Option<String>,
    /// `sync` or `quorum` if commits wait for it. `None` if our role may not see it.
    pub sync: Option<String>,
    /// How many bytes of the server's changes it has not stored yet. `None` if our role may not see it,
    /// and while it is not connected for long enough to tell.
    pub lag_bytes: Option<u64>,
    /// How long it took to store what it stored last. `None` if it has stored all, or our role may not
    /// see it.
    pub lag: Option<Duration>,
}

/// A limit that the server sets for our role. agentry turns it off on its own connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// Its name, such as `statement_timeout`.
    pub name: String,
    /// Its value, in milliseconds.
    pub ms: u64,
}

/// What keeps a cluster from working, or from keeping what it acknowledges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub fix: String,
    /// Whether the cluster does not work as long as it is so.
    pub is_fatal: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.found, self.fix)
    }
}

/// What was found out about the server, for `agentry doctor` and `agentry cluster status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The server: host and port.
    pub server: String,
    /// Its version, such as `15.8`.
    pub version: String,
    /// The cluster, if there is one.
    pub layout: Option<Layout>,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// For which standbys commits wait, as the server has it configured. Empty: for none.
    pub synchronous_standby_names: String,
    /// What our commits wait for: `on` or `remote_apply` if nothing is lost when the server is.
    pub synchronous_commit: String,
    /// Its standbys.
    pub standbys: Vec<Standby>,
    /// Connections that are open, and the most that the server takes.
    pub connections: (u32, u32),
    /// The limits that the server sets for our role.
    pub timeouts: Vec<Timeout>,
    /// By how many milliseconds this machine's clock is ahead of the server's at least; negative if it is
    /// behind. 0 if the answer took longer than they differ.
    pub clock_ahead_ms: i64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

const SERVER: &str = "select current_setting('server_version'), \
     current_setting('synchronous_standby_names'), current_setting('synchronous_commit'), \
     coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false), \
     (select count(*)::int from pg_stat_activity where backend_type = 'client backend'), \
     current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int, \
     current_setting('fsync') = 'on' and current_setting('full_page_writes') = 'on', \
     current_user::text";

const STANDBYS: &str = "select coalesce(application_name, ''), state, sync_state, \
     greatest(0, pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn))::bigint, \
     extract(epoch from flush_lag)::float8 from pg_stat_replication order by 1";

/// What these settings are for our role, whatever this connection has set.
const TIMEOUTS: &str = "select name, reset_val::bigint from pg_settings where reset_val <> '0' and name in \
     ('statement_timeout', 'lock_timeout', 'idle_session_timeout', 'transaction_timeout', \
      'idle_in_transaction_session_timeout') order by name";

const CLOCK: &str = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";

/// The rights that our role lacks, one in each row.
const RIGHTS: &str = "select t || ': ' || p from \
     unnest(array['cluster', 'shard', 'log', 'host', 'snapshot', 'job', 'call', 'worker']) t, \
     unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p \
     where not has_table_privilege(to_regclass('agentry.' || t), p) \
     and not (t = 'cluster' and p <> 'SELECT')";

impl Database {
    /// Looks at the server. `hosts` is how many hosts the cluster is to have, if that is known: then
    /// the connections that they need are compared with those that the server takes.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub async fn check(&self, hosts: Option<NonZeroU16>) -> Result<Health, ClusterError> {
        const WHAT: &str = "the server's description";
        let call = Call::read("looking at the server", self.limits().call);
        let (answers, server) = {
            let mut link = self.bulk().await;
            let answers = link
                .pipeline(
                    call,
                    &[
                        (SERVER, &[]),
                        (STANDBYS, &[]),
                        (TIMEOUTS, &[]),
                        (CLOCK, &[]),
                    ],
                )
                .await?;
            (answers, link.server().unwrap_or_default().to_owned())
        };
        let row = answers[0].first();
        let standby = |row| {
            let lag: Option<f64> = column(Some(row), 4, WHAT)?;
            let bytes: Option<i64> = column(Some(row), 3, WHAT)?;
            Ok(Standby {
                name: column(Some(row), 0, WHAT)?,
                state: column(Some(row), 1, WHAT)?,
                sync: column(Some(row), 2, WHAT)?,
                lag_bytes: bytes.map(|bytes| number(WHAT, bytes)).transpose()?,
                lag: lag.and_then(|lag| Duration::try_from_secs_f64(lag).ok()),
            })
        };
        let timeout = |row| {
            Ok(Timeout {
                name: column(Some(row), 0, WHAT)?,
                ms: number(WHAT, column::<i64>(Some(row), 1, WHAT)?)?,
            })
        };
        let count = |at| number::<u32, _>(WHAT, column::<i32>(row, at, WHAT)?);
        let mut health = Health {
            server,
            version: column(row, 0, WHAT)?,
            layout: None,
            is_encrypted: column(row, 3, WHAT)?,
            synchronous_standby_names: column(row, 1, WHAT)?,
            synchronous_commit: column(row, 2, WHAT)?,
            standbys: answers[1]
                .iter()
                .map(standby)
                .collect::<Result<_, ClusterError>>()?,
            connections: (count(4)?, count(5)?),
            timeouts: answers[2]
                .iter()
                .map(timeout)
                .collect::<Result<_, ClusterError>>()?,
            clock_ahead_ms: self.clock_ahead().await?,
            problems: Vec::new(),
        };
        health.look(column(row, 6, WHAT)?);
        match self.layout().await {
            Ok(layout) => {
                health.layout = Some(layout);
                self.check_rights(column(row, 7, WHAT)?, &mut health)
                    .await?;
                health.look_at_connections(layout.shards, hosts);
            }
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => health.problem(
                true,
                error.to_string(),
                "use another database, or create the cluster with `agentry cluster init`",
            ),
        }
        Ok(health)
    }

    /// How many synchronous standbys are connected to the server; `None` if our role may not see it.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub async fn synchronous_standbys(&self) -> Result<Option<u32>, ClusterError> {
        const WHAT: &str = "the list of standbys";
        const COUNT: &str = "select count(*) filter (where sync_state in ('sync', 'quorum'))::int, \
             count(*) filter (where sync_state is null)::int from pg_stat_replication";
        let call = Call::read("looking for standbys", self.limits().call);
        let rows = self.bulk().await.query(call, (COUNT, &[])).await?;
        let count = |at| number::<u32, _>(WHAT, column::<i32>(rows.first(), at, WHAT)?);
        Ok((count(1)? == 0).then_some(count(0)?))
    }

    /// By how many milliseconds this machine's clock is ahead of the server's at least.
    async fn clock_ahead(&self) -> Result<i64, ClusterError> {
        let call = Call::read("reading the server's clock", self.limits().call);
        let mut link = self.bulk().await;
        // The statement was prepared before, so its answer takes one round trip.
        let before = now_ms();
        let rows = link.query(call, (CLOCK, &[])).await?;
        let after = now_ms();
        let theirs: i64 = column(rows.first(), 0, "the server's clock")?;
        Ok(least_difference(before, after, theirs))
    }

    async fn check_rights(&self, role: &str, health: &mut Health) -> Result<(), ClusterError> {
        let call = Call::read("reading our rights", self.limits().call);
        let rows = self.bulk().await.query(call, (RIGHTS, &[])).await?;
        let missing: Vec<String> = rows
            .iter()
            .map(|row| column(Some(row), 0, "our rights"))
            .collect::<Result<_, _>>()?;
        if !missing.is_empty() {
            let found = format!(
                "the role {role} lacks rights on the tables of the schema `agentry` ({})",
                missing.join(", ")
            );
            health.problem(
                true,
                found,
                "grant them to it, or make it the owner of the schema",
            );
        }
        Ok(())
    }
}

impl Health {
    /// Finds what is wrong with the server's settings.
    fn look(&mut self, is_crash_safe: bool) {
        if !is_crash_safe {
            self.problem(
                false,
                "fsync or full_page_writes is off, so a crash of the server may destroy everything",
                "set both to `on`",
            );
        }
        if !["on", "remote_apply"].contains(&&*self.synchronous_commit) {
            let found = format!(
                "synchronous_commit is `{}`, though every connection sets it",
                self.synchronous_commit
            );
            let fix = "connect without a pooler that shares connections between transactions";
            self.problem(true, found, fix);
        }
        if self.synchronous_standby_names.is_empty() {
            self.problem(
                false,
                "synchronous_standby_names is empty, so what was acknowledged is lost with the server",
                "connect a standby, and name it there",
            );
        } else if self.standbys.iter().any(|standby| standby.sync.is_none()) {
            self.problem(
                false,
                "our role may not see whether a standby is synchronous",
                "grant it `pg_monitor`",
            );
        } else if !self.standbys.iter().any(Standby::is_synchronous) {
            self.problem(
                true,
                "no synchronous standby is connected, so every change waits",
                "start it, or name another one in synchronous_standby_names",
            );
        }
        if !self.timeouts.is_empty() {
            let all = self.timeouts.iter();
            let all: Vec<_> = all
                .map(|one| format!("{} = {} ms", one.name, one.ms))
                .collect();
            self.problem(
                false,
                format!(
                    "the server limits our role ({}); agentry turns that off on its own connections, but a pooler, or a later connection that cannot, would have statements cancelled whose wait for the standby then looks like success",
                    all.join(", ")
                ),
                "set it to 0 for the role: `alter role … set statement_timeout = 0`",
            );
        }
    }

    /// Each shard has a connection at its owner and at the host that follows it; each host has five.
    fn look_at_connections(&mut self, shards: NonZeroU16, hosts: Option<NonZeroU16>) {
        let hosts = hosts.map_or(2, |hosts| u32::from(hosts.get()));
        let needed = 2 * u32::from(shards.get()) + 5 * hosts;
        let (_, most) = self.connections;
        if needed > most {
            let found = format!(
                "{shards} shards on {hosts} hosts need about {needed} connections, and the server takes {most}"
            );
            self.problem(false, found, "raise max_connections");
        }
    }

    fn problem(&mut self, is_fatal: bool, found: impl Into<String>, fix: &str) {
        self.problems.push(Problem {
            found: found.into(),
            fix: fix.to_owned(),
            is_fatal,
        });
    }
}

impl Standby {
    /// Whether commits wait for it.
    pub fn is_synchronous(&self) -> bool {
        matches!(self.sync.as_deref(), Some("sync" | "quorum"))
    }
}

/// The least by which a clock that went from `before` to `after` is ahead of one that showed `theirs`
/// meanwhile.
const fn least_difference(before: i64, after: i64, theirs: i64) -> i64 {
    if before > theirs {
        before - theirs
    } else if after < theirs {
        after - theirs
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::least_difference;

    #[test]
    fn only_what_is_certain_of_two_clocks_counts() {
        for (before, after, theirs, ahead) in [
            (5_000, 5_010, 5_000, 0),
            (5_000, 5_010, 5_010, 0),
            (5_000, 5_010, 3_000, 2_000),
            (5_000, 5_010, 7_010, -2_000),
            // A slow answer makes the comparison less precise.
            (5_000, 9_000, 7_010, 0),
        ] {
            assert_eq!(least_difference(before, after, theirs), ahead);
        }
    }
}
