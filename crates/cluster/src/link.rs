//! A connection that is made again when it was lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_postgres::Row;

use crate::ClusterError;
use crate::error::{Unusable, is_fatal, is_passing};
use crate::session::{Bound, Session, Work};
use crate::settings::Settings;

/// How long the first server may take to accept a connection until the next one is tried, too. Much
/// longer than a connection takes, and short beside the pause of a failover.
const STAGGER: Duration = Duration::from_millis(300);

/// One round trip to the database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// What it does, for errors: "reading the log".
    what: &'static str,
    limit: Duration,
    is_write: bool,
}

impl Call {
    /// A round trip that changes nothing.
    pub(crate) const fn read(what: &'static str, limit: Duration) -> Self {
        Self {
            what,
            limit,
            is_write: false,
        }
    }

    /// A round trip that changes something: it is done once the standby has it, too.
    pub(crate) const fn write(what: &'static str, limit: Duration) -> Self {
        Self {
            what,
            limit,
            is_write: true,
        }
    }
}

/// A connection to whichever server takes writes. A call that has no answer within its limit closes
/// it, and so does one that is dropped: the next call makes a new one.
///
/// **A write whose answer is lost may wait at the server**, as long as its standby is away. It must
/// not be cancelled: that would end the wait, and show what a failover loses. So the link leaves it
/// alone, and makes no new connection to a server at which one of its statements still runs.
/// Otherwise, each retry would leave one more of them, until the server has no connection left. The
/// link recognises them by its own name, which no other link has.
#[derive(Debug)]
pub(crate) struct Link {
    settings: Settings,
    name: String,
    session: Option<Session>,
    /// The answer to a write was not seen.
    is_in_doubt: bool,
    /// Which server was used last.
    preferred: usize,
    /// Which server is to be tried last.
    avoided: Option<usize>,
    connections: u64,
    /// Who is told of notifications.
    notified: Arc<Notify>,
}

impl Link {
    /// A link that is not connected yet. `purpose` has letters, digits and spaces only.
    pub(crate) fn new(settings: &Settings, purpose: &str) -> Self {
        let mut random = [0; 6];
        // Without randomness the name may be another link's, which then waits for ours.
        let _ = getrandom::fill(&mut random);
        Self {
            settings: settings.clone(),
            name: format!("agentry {purpose} {}", hex::encode(random)),
            session: None,
            is_in_doubt: false,
            preferred: 0,
            avoided: None,
            connections: 0,
            notified: Arc::default(),
        }
    }

    /// The same link, with someone who is told when a channel is notified that it listens to.
    pub(crate) fn telling(mut self, notified: &Arc<Notify>) -> Self {
        self.notified = Arc::clone(notified);
        self
    }

    /// How many connections were made.
    pub(crate) const fn connections(&self) -> u64 {
        self.connections
    }

    /// The server of the present connection.
    pub(crate) fn server(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.server.as_str())
    }

    /// Closes the connection. The next one is made to another server, if there is one that takes
    /// writes.
    pub(crate) fn avoid(&mut self) {
        self.session = None;
        self.avoided = Some(self.preferred);
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// Why it has no answer.
    pub(crate) async fn query(
        &mut self,
        call: Call,
        one: Bound<'_>,
    ) -> Result<Vec<Row>, ClusterError> {
        let mut answers = self.pipeline(call, &[one]).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// Runs statements in one round trip, each as a transaction of its own.
    ///
    /// # Errors
    /// Why one of them has no answer.
    pub(crate) async fn pipeline(
        &mut self,
        call: Call,
        all: &[Bound<'_>],
    ) -> Result<Vec<Vec<Row>>, ClusterError> {
        self.run(call, Work::Bound(all)).await
    }

    /// Runs statements without parameters as one transaction.
    ///
    /// # Errors
    /// Why it was not done, or not known to be done.
    pub(crate) async fn script(&mut self, call: Call, sql: &str) -> Result<(), ClusterError> {
        self.run(call, Work::Script(sql)).await.map(|_| ())
    }

    /// Prepares a statement, so that its first run takes one round trip only.
    ///
    /// # Errors
    /// It was not prepared.
    pub(crate) async fn prepare(
        &mut self,
        call: Call,
        sql: &'static str,
    ) -> Result<(), ClusterError> {
        self.run(call, Work::Prepare(sql)).await.map(|_| ())
    }

    async fn run(&mut self, call: Call, work: Work<'_>) -> Result<Vec<Vec<Row>>, ClusterError> {
        let until = Instant::now() + call.limit;
        // It is put back when it has answered, so a call that is dropped closes it.
        let mut session = match self.session.take() {
            Some(session) if !session.is_closed() => session,
            _ => self.connect(call, until).await?,
        };
        self.is_in_doubt |= call.is_write;
        let answer = timeout_at(until, session.run(work)).await;
        let (what, server) = (call.what, session.server.clone());
        let error = match answer {
            Ok(Ok(_)) if call.is_write && session.was_cancelled() => {
                ClusterError::Unconfirmed { what, server }
            }
            Ok(Ok(rows)) => {
                self.is_in_doubt = false;
                self.session = Some(session);
                return Ok(rows);
            }
            Ok(Err(error)) => match error.as_db_error() {
                Some(said) if !is_fatal(said) => {
                    let code = said.code().code().to_owned();
                    self.is_in_doubt = false;
                    // A server that takes no writes any more, or whose tables have changed, is
                    // looked at again.
                    if !is_passing(&code) && !["0A000", "26000"].contains(&&*code) {
                        self.session = Some(session);
                    }
                    let message = said.message().to_owned();
                    return Err(ClusterError::Refused {
                        what,
                        server,
                        code,
                        message,
                    });
                }
                _ => ClusterError::Lost {
                    what,
                    server,
                    why: session.why(&error),
                },
            },
            Err(_) => ClusterError::TimedOut {
                what,
                server,
                limit: call.limit,
            },
        };
        Err(error)
    }

    /// Connects to the first server that can be used.
    async fn connect(&mut self, call: Call, until: Instant) -> Result<Session, ClusterError> {
        let servers = self.settings.all();
        let mut order: Vec<_> = (0..servers.len())
            .map(|at| (self.preferred + at) % servers.len())
            .collect();
        order.sort_by_key(|at| self.avoided == Some(*at));
        let mut order = order.into_iter();
        let attempt = |at: usize| {
            let opened = Session::open(
                &self.settings,
                &servers[at],
                &self.name,
                self.is_in_doubt,
                &self.notified,
            );
            async move { (at, opened.await) }
        };
        let (mut tried, mut pending) = (Vec::new(), FuturesUnordered::new());
        pending.extend(order.next().map(attempt));
        while !pending.is_empty() {
            tokio::select! {
                Some((at, opened)) = pending.next() => match opened {
                    Ok(session) => {
                        drop(pending);
                        (self.preferred, self.avoided) = (at, None);
                        self.connections += 1;
                        self.is_in_doubt = false;
                        return Ok(session);
                    }
                    Err(unusable) => {
                        tried.push(unusable);
                        pending.extend(order.next().map(attempt));
                    }
                },
                () = sleep(STAGGER), if order.len() > 0 => {
                    pending.extend(order.next().map(attempt));
                }
                () = sleep_until(until) => {
                    tried.push(Unusable {
                        server: call.what.to_owned(),
                        why: format!("no connection within {:?}", call.limit),
                        is_transient: true,
                    });
                    break;
                }
            }
        }
        Err(ClusterError::Unreachable { tried })
    }
}
