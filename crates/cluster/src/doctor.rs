//! Whether the server keeps what it acknowledges, and whether our role may do what it has to.

use std::num::NonZeroU16;

use crate::ClusterError;
use crate::database::{Database, column, number};
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
    /// What keeps the cluster from working, or from keeping what it acknowledges: each with what to
    /// do about it.
    pub problems: Vec<String>,
}

const SERVER: &str = "select current_setting('server_version'), \
     current_setting('synchronous_standby_names'), current_setting('synchronous_commit'), \
     coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false), \
     (select count(*)::int from pg_stat_activity where backend_type = 'client backend'), \
     current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int, \
     current_setting('fsync') = 'on' and current_setting('full_page_writes') = 'on', \
     current_user::text";

const STANDBYS: &str =
    "select coalesce(application_name, ''), state, sync_state from pg_stat_replication order by 1";

/// The rights that our role lacks, one in each row.
const RIGHTS: &str = "select t || ': ' || p from \
     unnest(array['cluster', 'shard', 'log', 'host', 'snapshot', 'job', 'call']) t, \
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
                .pipeline(call, &[(SERVER, &[]), (STANDBYS, &[])])
                .await?;
            (answers, link.server().unwrap_or_default().to_owned())
        };
        let row = answers[0].first();
        let standby = |row| {
            Ok(Standby {
                name: column(Some(row), 0, WHAT)?,
                state: column(Some(row), 1, WHAT)?,
                sync: column(Some(row), 2, WHAT)?,
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
            Err(error) => health.problems.push(error.to_string()),
        }
        Ok(health)
    }

    async fn check_rights(&self, role: &str, health: &mut Health) -> Result<(), ClusterError> {
        let call = Call::read("reading our rights", self.limits().call);
        let rows = self.bulk().await.query(call, (RIGHTS, &[])).await?;
        let missing: Vec<String> = rows
            .iter()
            .map(|row| column(Some(row), 0, "our rights"))
            .collect::<Result<_, _>>()?;
        if !missing.is_empty() {
            health.problems.push(format!(
                "the role {role} lacks rights on the tables of the schema `agentry` ({}): grant them",
                missing.join(", ")
            ));
        }
        Ok(())
    }
}

impl Health {
    /// Finds what is wrong with the server's settings.
    fn look(&mut self, is_crash_safe: bool) {
        if !is_crash_safe {
            self.problem("fsync or full_page_writes is off, so a crash of the server may destroy everything: set both to `on`");
        }
        if !["on", "remote_apply"].contains(&&*self.synchronous_commit) {
            self.problems.push(format!(
                "synchronous_commit is `{}`, though every connection sets it: connect without a pooler that shares connections between transactions",
                self.synchronous_commit
            ));
        }
        if self.synchronous_standby_names.is_empty() {
            self.problem("synchronous_standby_names is empty, so what was acknowledged is lost with the server: connect a standby, and name it there");
        } else if self.standbys.iter().any(|standby| standby.sync.is_none()) {
            self.problem(
                "our role may not see whether a standby is synchronous: grant it `pg_monitor`",
            );
        } else if !self.standbys.iter().any(Standby::is_synchronous) {
            self.problem("no synchronous standby is connected, so every change waits: start it, or name another one in synchronous_standby_names");
        }
    }

    /// Each shard has a connection at its owner and at the host that follows it; each host has five.
    fn look_at_connections(&mut self, shards: NonZeroU16, hosts: Option<NonZeroU16>) {
        let hosts = hosts.map_or(2, |hosts| u32::from(hosts.get()));
        let needed = 2 * u32::from(shards.get()) + 5 * hosts;
        let (_, most) = self.connections;
        if needed > most {
            self.problems.push(format!(
                "{shards} shards on {hosts} hosts need about {needed} connections, and the server takes {most}: raise max_connections"
            ));
        }
    }

    fn problem(&mut self, text: &str) {
        self.problems.push(text.to_owned());
    }
}

impl Standby {
    /// Whether commits wait for it.
    pub fn is_synchronous(&self) -> bool {
        matches!(self.sync.as_deref(), Some("sync" | "quorum"))
    }
}
