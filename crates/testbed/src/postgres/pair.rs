//! A primary with a synchronous standby.

use super::Server;
use crate::until;

/// Two servers: what the first acknowledges is on the second, too.
#[derive(Debug)]
pub struct Pair {
    /// The server that takes writes at first.
    pub primary: Server,
    /// Its synchronous standby.
    pub standby: Server,
}

impl Pair {
    /// A pair that replicates.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with these lines of configuration on both servers.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::of(settings, |port| port)
    }

    /// A pair that replicates over a link: gets the primary's port, and returns the link's.
    pub fn start_over(link: impl FnOnce(u16) -> u16) -> Self {
        Self::of(&[], link)
    }

    fn of(settings: &[&str], link: impl FnOnce(u16) -> u16) -> Self {
        let primary = Server::start(settings);
        let standby = primary.standby("standby", link(primary.port()));
        let pair = Self { primary, standby };
        pair.replicate();
        pair
    }

    /// Has the primary wait for its standby from now on.
    pub fn replicate(&self) {
        self.primary
            .configure(&["synchronous_standby_names = 'standby'"]);
        self.primary.reload();
        until("the standby is synchronous", || {
            let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'";
            self.primary.psql("postgres", sql) == "1"
        });
    }

    /// URLs of a database on both.
    pub fn urls(&self, database: &str) -> [String; 2] {
        [self.primary.url(database), self.standby.url(database)]
    }

    /// Waits until a statement with a text waits for the standby.
    pub fn wait_for_waiting(&self, text: &str) {
        until("a statement waits for the standby", || {
            let sql = format!(
                "select count(*) from pg_stat_activity where wait_event = 'SyncRep' and strpos(query, '{text}') > 0"
            );
            self.primary.psql("postgres", &sql) != "0"
        });
    }

    /// Cancels every wait for the standby, as an operator may who wants the primary to go on.
    pub fn cancel_waits(&self) {
        let sql =
            "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'";
        self.primary.psql("postgres", sql);
    }
}
