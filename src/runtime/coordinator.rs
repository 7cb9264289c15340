//! AITBC's agent coordinator: hosted agents announce themselves there, and their inboxes are read.
//!
//! The coordinator is a service beside the chain. Whoever reaches it can register any agent, and write
//! to any inbox under any name. So nothing of it is believed: what is read is kept apart, for the
//! operator alone. No behaviour sees it, nothing is ever answered, and a coordinator that is slow, wrong
//! or absent holds up nothing else.
//!
//! | module | holds |
//! |---|---|
//! | `announcer` | the task of a process: whose turn it is, and what to do after a failure |
//! | `client` | the calls |
//! | `listing` | reading an inbox that anybody can have written |
//! | `book` | what is known of each agent, and the messages |
//! | `rate` | how often the coordinator is asked |

mod announcer;
mod book;
mod client;
mod listing;
mod rate;

use std::sync::Arc;

use agentry_behaviours::net;
use agentry_protocol::ChainId;
use tokio::task::JoinHandle;
use url::Url;

use self::announcer::Announcer;
use self::book::Book;
use self::client::CoordinatorClient;
use super::clock::Clock;
use super::metrics::Metrics;
use super::presence::Presence;
use crate::config::{CoordinatorConfig, masked};
use crate::ops::coordinator::{AnnouncedAgent, CoordinatorMessage};

/// The coordinator cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// Its URL is none. One of a configuration is always one.
    #[error("the url of the coordinator is not valid")]
    Url,
    /// The HTTP client cannot be made.
    #[error("the HTTP client of the coordinator: {0}")]
    Client(String),
}

/// What a process needs to announce its agents.
#[derive(Debug)]
pub(super) struct CoordinatorLinks {
    /// The chain of the agents.
    pub(super) chain: ChainId,
    /// The shards of the process, with their agents.
    pub(super) presence: Presence,
    /// Counters and gauges.
    pub(super) metrics: Arc<Metrics>,
    /// The source of time.
    pub(super) clock: Clock,
}

/// The agents of this process in the coordinator. They are announced until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Coordinator {
    url: Arc<str>,
    book: Arc<Book>,
    _serving: Arc<Serving>,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Coordinator {
    /// Begins to announce the agents that the process hosts, now and later.
    ///
    /// # Errors
    /// [`CoordinatorError`].
    pub(super) fn start(
        config: CoordinatorConfig,
        links: CoordinatorLinks,
        workers: &tokio::runtime::Handle,
    ) -> Result<Self, CoordinatorError> {
        let base = Url::parse(&config.url).map_err(|_| CoordinatorError::Url)?;
        let calls = CoordinatorClient::new(base);
        let calls = calls.map_err(|error| CoordinatorError::Client(net::reasons(error)))?;
        let url = masked(&config.url).into();
        let book = Arc::new(Book::default());
        let announcer = Announcer::new(config, links, calls, Arc::clone(&book));
        Ok(Self {
            url,
            book,
            _serving: Arc::new(Serving(workers.spawn(announcer.serve()))),
        })
    }

    /// Its URL, without a password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The announced agents whose addresses are wanted.
    pub fn agents(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<AnnouncedAgent> {
        self.book.agents(is_wanted)
    }

    /// The messages that were found in the inboxes of the agents whose addresses are wanted; of one
    /// agent, the one found last first.
    pub fn messages(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<CoordinatorMessage> {
        self.book.messages(is_wanted)
    }
}
