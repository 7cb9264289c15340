//! The operations for a caller.
//!
//! | part | operations |
//! |---|---|
//! | [`directory`] | finding agents |
//! | [`send`] | sending a message, and waiting for what becomes of it |
//! | [`messages`] | reading messages |
//! | [`tasks`] | requesting tasks of others, and following them |
//! | [`work`] | the tasks that agents do for others |
//! | [`overview`], [`hosted`] | what operators look at first: what is wrong, what was measured and spent, and the agents by trouble |
//! | [`timeline`] | the story of one message, and conversations |
//! | [`status`] | the agents that the caller may use, and the runtime |
//! | [`queues`], [`approvals`] | what operators do |
//! | `part` | the shard that an operation is about, in a cluster |
//! | `pages` | lists of several shards as one |
//!
//! Every list is bounded, and has a cursor: a text that is passed back as it was received. Waits are
//! bounded, and a caller may stop waiting at any time. What is read is read off the async threads,
//! for a bounded number of callers at a time.

pub mod approvals;
pub mod directory;
pub mod hosted;
pub mod messages;
pub mod overview;
mod pages;
mod part;
pub mod queues;
pub mod send;
pub mod status;
pub mod tasks;
pub mod timeline;
pub mod work;

use std::sync::Arc;
use std::time::Duration;

use agentry_core::TokenName;
use agentry_core::rows::AgentRow;
use agentry_protocol::{Address, Amount};
use agentry_store::{Reader, list, open_for_reading, read};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::caller::{Caller, Scope};
use super::error::{DoorError, ErrorCode};
use crate::config::Config;
use crate::ops::sealed::Opener;
use crate::ops::send::random_key;
use crate::ops::who;
use crate::runtime::control::Client;
use crate::runtime::series::Series;
pub(super) use part::About;
use part::Part;

/// The longest that one call waits.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The pause between two looks of a call that waits.
const POLL: Duration = Duration::from_millis(100);

/// How many calls look into the store at the same time.
const LOOKS: usize = 8;

/// How long a call waits for its turn to look into the store.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);

/// How many entries a list has if the caller does not say.
const USUAL_LIMIT: u32 = 20;

/// The most entries of a list.
const MOST: u32 = 100;

static LOOKING: Semaphore = Semaphore::const_new(LOOKS);

/// The operations for a caller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    /// In a cluster, once the shard is known, its store is this machine's copy.
    config: Arc<Config>,
    caller: Caller,
    part: Part,
    /// What this process has measured; nothing if it is not the runtime.
    series: Option<Series>,
}

impl Door {
    /// The operations of the runtime of this configuration, for this caller.
    pub const fn new(config: Arc<Config>, caller: Caller) -> Self {
        Self {
            config,
            caller,
            part: Part::Store,
            series: None,
        }
    }

    /// The same, with what was measured in the last hours.
    #[must_use]
    pub fn with_series(self, series: &Series) -> Self {
        Self {
            series: Some(series.clone()),
            ..self
        }
    }

    /// Who calls.
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The configuration.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the caller may use one agent only.
    pub(super) fn has_one_agent(&self) -> bool {
        matches!(&self.caller.agents, Scope::Only(agents) if agents.len() == 1)
    }

    /// The hosted agent of this name or address, if the caller may use it.
    ///
    /// # Errors
    /// [`DoorError`].
    pub(super) async fn hosted_agent(&self, name: String) -> Result<AgentRow, DoorError> {
        let door = self.in_shard(About::Agent(Some(&name))).await?;
        door.look(async move |db, door| door.agent(db, Some(&name)))
            .await
    }

    /// The running runtime.
    pub(super) fn runtime(&self) -> Client {
        Client::new(&self.config.store.path)
    }

    /// Opens sealed messages.
    fn opener(&self) -> Opener {
        Opener::new(&self.config.store.path, "no runtime is running")
    }

    /// Runs something that blocks, off the async threads, when it is its turn.
    async fn blocking<T: Send + 'static>(
        work: impl AsyncFnOnce() -> Result<T, DoorError> + Send + 'static,
    ) -> Result<T, DoorError> {
        let turn = tokio::time::timeout(LOOK_PATIENCE, LOOKING.acquire()).await;
        let busy = || DoorError::new(ErrorCode::Busy, "too many requests read the store");
        let Ok(Ok(turn)) = turn else {
            return Err(busy());
        };
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            // Also if the caller has stopped waiting.
            let _turn = turn;
            runtime.block_on(work())
        })
        .await?
    }

    /// Looks into the store.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl AsyncFnOnce(&Reader, &Self) -> Result<T, DoorError> + Send + 'static,
    ) -> Result<T, DoorError> {
        let this = self.clone();
        Self::blocking(async move || {
            let db = open_for_reading(&this.config.store.path)?;
            look(&db, &this).await
        })
        .await
    }

    /// The agent that is meant by a name or an address; without one, the only one that the caller may
    /// use.
    fn agent(&self, db: &Reader, given: Option<&str>) -> Result<AgentRow, DoorError> {
        let found = |address: Address| match read::agent(db, &address)? {
            Some(row) if self.caller.sees(address.as_str()) => Ok(row),
            _ => Err(unknown(address.as_str())),
        };
        match self.named(given)? {
            Named::Given(given) => {
                // The store knows the hosted agents by name, without a look at all wallets.
                let address = match list::addresses_of(db, given)?.as_slice() {
                    [address] => Address::from_chain(address).map_err(|_| unknown(given))?,
                    _ => who::resolve_own(given, &self.config)
                        .map_err(|error| unknown(given).with_detail(error))?,
                };
                found(address).map_err(|_| unknown(given))
            }
            Named::Only(address) => found(address.clone()),
            Named::Configured(name) => found(who::resolve_own(name, &self.config)?),
        }
    }

    /// How the agent of a request is named: in the request or, without that, by being the only one that
    /// the caller may use.
    fn named<'a>(&'a self, given: Option<&'a str>) -> Result<Named<'a>, DoorError> {
        let several = "you may use several agents: say which, by its name or its address";
        match (given, &self.caller.agents) {
            (Some(given), _) => Ok(Named::Given(given)),
            (None, Scope::Only(agents)) => match (agents.first(), agents.len()) {
                (Some(address), 1) => Ok(Named::Only(address)),
                (None, _) => Err(DoorError::not_found("agent that you may use")),
                (Some(_), _) => Err(DoorError::invalid(several)),
            },
            (None, Scope::All) => match (self.config.agents.as_slice(), &*self.config.fleets) {
                ([agent], []) => Ok(Named::Configured(&agent.name)),
                _ => Err(DoorError::invalid(several)),
            },
        }
    }

    /// The recipient that is meant by a name or an address, to whom the caller may send.
    fn recipient(&self, given: &str) -> Result<Address, DoorError> {
        let to = who::resolve(given, &self.config)?;
        self.caller.check_recipient(&to)?;
        Ok(to)
    }

    /// An amount with the unit of the chain.
    pub fn amount(&self, amount: Amount) -> String {
        self.config.chain.dialect.amount(amount)
    }

    /// The fee that an agent pays for each transaction; the agent is meant as in a request.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn fee(&self, agent: Option<&str>) -> Result<Amount, DoorError> {
        let door = self.in_shard(About::Agent(agent)).await?;
        let agent = agent.map(ToOwned::to_owned);
        door.look(async move |db, door| {
            let agent = door.agent(db, agent.as_deref())?;
            let configured = who::configured(&agent.name, &door.config);
            Ok(configured.map_or(door.config.defaults.fee, |agent| agent.common.fee))
        })
        .await
    }

    /// The key of a request for the runtime, below `kind`: the same for the same request of this
    /// caller with the same key, and random without one.
    ///
    /// # Errors
    /// The key was used for another request.
    fn request_key<R: Serialize>(
        &self,
        db: &Reader,
        kind: &str,
        agent: &AgentRow,
        given: Option<&str>,
        request: &R,
    ) -> Result<String, DoorError> {
        let failed = |error: &dyn std::fmt::Display| {
            DoorError::new(ErrorCode::Internal, "no key for the request").with_detail(error)
        };
        let Some(given) = given else {
            return random_key().map_err(|error| failed(&error));
        };
        if given.is_empty() || given.len() > 200 {
            return Err(DoorError::invalid("`key` has 1 to 200 bytes"));
        }
        // A name of a token is never empty.
        let token = self.caller.token.as_ref().map_or("", TokenName::as_str);
        let of_caller = hashed(&[
            token.as_bytes(),
            self.caller.name.as_bytes(),
            agent.address.as_str().as_bytes(),
            given.as_bytes(),
        ]);
        let content = serde_json::to_vec(request).map_err(|error| failed(&error))?;
        let key = format!("{of_caller}-{}", hashed(&[&content]));
        let used = read::origin_beginning(db, &format!("control/{kind}/{of_caller}-"))?;
        let is_other = |origin: &String| !origin.starts_with(&format!("control/{kind}/{key}"));
        match used.filter(is_other) {
            Some(_) => Err(DoorError::new(
                ErrorCode::KeyReused,
                "`key` was used for another request",
            )),
            None => Ok(key),
        }
    }
}

/// How the agent of a request is named.
enum Named<'a> {
    /// By its name or address, in the request.
    Given(&'a str),
    /// It is the only one that the caller may use.
    Only(&'a Address),
    /// It is the only one of the configuration.
    Configured(&'a str),
}

/// The error that there is no such hosted agent, also for those who may not see it.
fn unknown(what: &str) -> DoorError {
    DoorError::not_found(format_args!("hosted agent {what:?}"))
}

/// The first half of the SHA-256 of some parts, in hexadecimal.
fn hashed(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    hex::encode(hash.get(..16).unwrap_or_default())
}

/// The number of entries of a page.
fn limit(given: Option<u32>) -> Result<usize, DoorError> {
    match given.unwrap_or(USUAL_LIMIT) {
        limit @ 1..=MOST => Ok(limit as usize),
        _ => Err(DoorError::invalid(format!("`limit` is 1 to {MOST}"))),
    }
}

/// How long a call waits.
fn wait(given_ms: Option<u64>) -> Result<Duration, DoorError> {
    let wait = Duration::from_millis(given_ms.unwrap_or(0));
    if wait > LONGEST_WAIT {
        let most = LONGEST_WAIT.as_millis();
        return Err(DoorError::invalid(format!(
            "a call waits at most {most} ms"
        )));
    }
    Ok(wait)
}

/// Parses a value of a request.
fn parsed<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, DoorError>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error| DoorError::invalid(format!("`{name}`: {error}")))
}

/// The error of a cursor that no list has returned.
fn bad_cursor() -> DoorError {
    DoorError::invalid("the cursor is not one that this list has returned")
}
