//! One connection: how it is set up, and what the server says on it.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::future::try_join_all;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_postgres::error::DbError;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, Row, SimpleQueryMessage, Statement};

use crate::error::{Unusable, is_passing};
use crate::settings::{Server, Settings};

/// The oldest server that is used, as `server_version_num`. Older ones are out of support soon, and
/// none of them is tested.
pub(crate) const OLDEST: u32 = 150_000;

/// What every connection begins with. A limit of the server's on statements would cancel the wait
/// for the standby, which then looks like success. A role whose commits do not wait would make every
/// acknowledgement worthless; `remote_apply` waits even longer, and stays.
const SETUP: &str = "select set_config(name, '0', false) from pg_settings where name in \
     ('statement_timeout', 'lock_timeout', 'idle_session_timeout', 'transaction_timeout', \
      'idle_in_transaction_session_timeout'); \
     select set_config('synchronous_commit', 'on', false) \
     where current_setting('synchronous_commit') not in ('on', 'remote_apply'); \
     select current_setting('server_version_num'), current_setting('transaction_read_only'), ";

/// A statement with its parameters.
pub(crate) type Bound<'a> = (&'static str, &'a [&'a (dyn ToSql + Sync)]);

/// What is done in one round trip.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work<'a> {
    /// Statements, each as a transaction of its own. All are sent at once.
    Bound(&'a [Bound<'a>]),
    /// Statements without parameters, as one transaction.
    Script(&'a str),
    /// A statement that will be run later. It is known from then on.
    Prepare(&'static str),
}

/// A connection to a server that takes writes. Dropping it closes it at once: whatever it runs goes
/// on at the server.
#[derive(Debug)]
pub(crate) struct Session {
    /// The server, for people.
    pub(crate) server: String,
    client: Client,
    statements: HashMap<&'static str, Statement>,
    said: Arc<Said>,
    driver: AbortHandle,
}

/// What the server said by itself.
#[derive(Debug, Default)]
struct Said {
    /// It ended a wait for its standby.
    cancelled: AtomicBool,
    /// Why the connection ended.
    ended: OnceLock<String>,
    /// Who is told when a channel is notified that this connection listens to.
    notified: Arc<Notify>,
}

impl Session {
    /// Connects to a server under a name. If an earlier statement under the same name may still run
    /// there (`is_in_doubt`), it has to have ended: see [`Link`](crate::link::Link).
    ///
    /// # Errors
    /// It cannot be used: it is away, refuses us, is too old, takes no writes, or still runs the
    /// earlier statement.
    pub(crate) async fn open(
        settings: &Settings,
        server: &Server,
        name: &str,
        is_in_doubt: bool,
        notified: &Arc<Notify>,
    ) -> Result<Self, Unusable> {
        let unusable = |why: String, is_transient| Unusable {
            server: server.name.clone(),
            why,
            is_transient,
        };
        let opened = tokio::time::timeout(server.limit, async {
            let config = settings
                .config(server, name)
                .await
                .map_err(|why| (why, false))?;
            let connected = config.connect(settings.tls()).await;
            let (client, connection) = connected.map_err(|error| explain(&error))?;
            let said = Arc::new(Said {
                notified: Arc::clone(notified),
                ..Said::default()
            });
            let driver = tokio::spawn(drive(connection, Arc::clone(&said))).abort_handle();
            let session = Self {
                server: server.name.clone(),
                client,
                statements: HashMap::new(),
                said,
                driver,
            };
            session.set_up(name, is_in_doubt).await?;
            Ok(session)
        });
        match opened.await {
            Ok(opened) => opened.map_err(|(why, is_transient)| unusable(why, is_transient)),
            Err(_) => Err(unusable(
                format!("it accepts no connection within {:?}", server.limit),
                true,
            )),
        }
    }

    async fn set_up(&self, name: &str, is_in_doubt: bool) -> Result<(), (String, bool)> {
        // A name has nothing that would have to be quoted.
        let running = if is_in_doubt {
            format!(
                "(select count(*) from pg_stat_activity where application_name = '{name}' \
                 and state = 'active' and pid <> pg_backend_pid())"
            )
        } else {
            "0".to_owned()
        };
        let answers = self.client.simple_query(&format!("{SETUP}{running}")).await;
        let answers = answers.map_err(|error| explain(&error))?;
        let last = answers.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let column = |at| {
            last.and_then(|row| row.try_get(at).ok().flatten())
                .unwrap_or("")
        };
        let version = column(0).parse().unwrap_or(0);
        if version < OLDEST {
            let (found, known) = (version / 10_000, OLDEST / 10_000);
            let why = format!("it is PostgreSQL {found}, and agentry needs {known} or later");
            return Err((why, false));
        }
        if column(1) != "off" {
            return Err(("it takes no writes: it is a standby".to_owned(), true));
        }
        if column(2) != "0" {
            let why = "an earlier statement of this process still waits there: is its synchronous standby connected?";
            return Err((why.to_owned(), true));
        }
        Ok(())
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether the server has ended a wait for its standby since this was asked last.
    pub(crate) fn was_cancelled(&self) -> bool {
        self.said.cancelled.swap(false, Ordering::AcqRel)
    }

    /// Why the connection ended.
    pub(crate) fn why(&self, error: &tokio_postgres::Error) -> String {
        match self.said.ended.get() {
            Some(why) => why.clone(),
            None => explain(error).0,
        }
    }

    /// Has the server parse a statement, if it has not yet: a round trip.
    async fn prepare(&mut self, sql: &'static str) -> Result<(), tokio_postgres::Error> {
        if !self.statements.contains_key(sql) {
            let statement = self.client.prepare(sql).await?;
            self.statements.insert(sql, statement);
        }
        Ok(())
    }

    /// Does some work.
    pub(crate) async fn run(
        &mut self,
        work: Work<'_>,
    ) -> Result<Vec<Vec<Row>>, tokio_postgres::Error> {
        let all = match work {
            Work::Script(sql) => {
                self.client.batch_execute(sql).await?;
                return Ok(Vec::new());
            }
            Work::Prepare(sql) => {
                self.prepare(sql).await?;
                return Ok(Vec::new());
            }
            Work::Bound(all) => all,
        };
        for (sql, _) in all {
            self.prepare(sql).await?;
        }
        let answers = all.iter().filter_map(|(sql, parameters)| {
            let statement = self.statements.get(sql)?;
            Some(self.client.query(statement, parameters))
        });
        try_join_all(answers).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Moves the bytes of a connection until it ends.
async fn drive<S, T>(mut connection: Connection<S, T>, said: Arc<Said>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            // The warning comes before the end of the answer that it belongs to, and whoever waits
            // for that end sees the flag.
            Some(Ok(AsyncMessage::Notice(notice))) if is_cancelled_wait(&notice) => {
                said.cancelled.store(true, Ordering::Release);
            }
            Some(Ok(AsyncMessage::Notification(_))) => said.notified.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                // Set before the connection is dropped, which is what callers see.
                let _ = said.ended.set(explain(&error).0);
                return;
            }
            None => return,
        }
    }
}

/// Whether a notice says that a commit did not wait for the standby to its end. The text depends on
/// the server's language; the function does not.
fn is_cancelled_wait(notice: &DbError) -> bool {
    notice.routine() == Some("SyncRepWaitForLSN")
        || notice
            .message()
            .contains("wait for synchronous replication")
}

/// Why the server cannot be used, and whether that may pass. The rows that a detail of the server
/// may show are left out.
fn explain(error: &tokio_postgres::Error) -> (String, bool) {
    if let Some(said) = error.as_db_error() {
        let code = said.code().code();
        return (
            format!("{} (SQLSTATE {code})", said.message()),
            is_passing(code),
        );
    }
    let (mut text, mut is_transient) = (error.to_string(), error.is_closed());
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        if let Some(error) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind::{InvalidData, InvalidInput};
            is_transient = !matches!(error.kind(), InvalidData | InvalidInput);
        }
        cause = error.source();
    }
    if text.contains("invalid peer certificate") {
        text.push_str(
            ". Give the certificate of its authority, write the host as the certificate names it, or set sslmode=disable in the URL if the network is private",
        );
    }
    (text, is_transient)
}
