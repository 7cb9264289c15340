//! Announcing hosted agents in the directory, and withdrawing their cards.

use std::path::Path;
use std::time::{Duration, Instant};

use agentry_core::{Commit, EventId, OutboxId};
use agentry_protocol::command::Tags;
use agentry_protocol::{Address, KnownCommand, TransactionHash};
use agentry_store::list::talk;
use agentry_store::{Reader, StoreError, open_for_reading, read};
use serde::{Deserialize, Serialize};

use super::directory::words;
use super::send::{self, SendRequest, Sent};
use super::{OperationError, Operations};
use crate::runtime::directory::{EndpointWanted, Registration, RegistrationError};
use crate::runtime::environment;
use crate::runtime::registry::Hosted;

/// How often the store is checked while waiting.
const POLL: Duration = Duration::from_millis(50);

/// The card that an operator announces for a hosted agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardWanted {
    /// The announced name; the name in agents.toml if none is given.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The capabilities; those that its behaviours declare if none are given.
    pub capabilities: Option<Vec<String>>,
    /// The commands; those that its behaviours declare if none are given.
    pub commands: Option<Vec<String>>,
    /// Where else it can be reached.
    #[serde(default)]
    pub endpoints: Vec<EndpointWanted>,
    /// How long a card is valid, in milliseconds.
    pub ttl_ms: u64,
}

impl CardWanted {
    fn registration(&self, hosted: &Hosted) -> Result<Registration, RegistrationError> {
        let given = |given: &Option<Vec<String>>, declared: fn(&Hosted) -> Tags| {
            given.clone().unwrap_or_else(|| words(&declared(hosted)))
        };
        // An agent of a fleet is called `fleet/wallet`, which is not a valid name in a card.
        let own = hosted.config.name.rsplit('/').next().unwrap_or_default();
        Registration::new(
            self.name.as_deref().unwrap_or(own),
            self.description.as_deref(),
            &given(&self.capabilities, environment::capabilities),
            &given(&self.commands, environment::commands),
            self.ttl_ms,
        )?
        .with_schemas(environment::schemas(hosted))
        .with_endpoints(&self.endpoints)
    }
}

/// The registration as it was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The agent's name in agents.toml.
    pub agent: String,
    /// Its address.
    pub address: Address,
    /// The name under which it is announced.
    pub card: Registration,
    /// The row of the event that announces it.
    pub event: EventId,
}

/// Why a card is not announced yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unannounced {
    /// Its transaction is queued.
    Queued(OutboxId),
    /// The last attempt failed.
    Failed(String),
}

impl Registered {
    /// Waits for the hash of the announcement's transaction; `None` after the deadline.
    ///
    /// # Errors
    /// The store's.
    pub async fn signed(
        &self,
        store: &Path,
        deadline: Instant,
    ) -> Result<Option<TransactionHash>, StoreError> {
        until_some(store, deadline, |db| {
            let found = read::announcement(db, self.event)?;
            Ok(found.and_then(|(_, hash)| hash))
        })
        .await
    }

    /// Waits until the card of this transaction is the current one, and returns its block; `None`
    /// after the deadline.
    ///
    /// # Errors
    /// The store's.
    pub async fn in_directory(
        &self,
        hash: TransactionHash,
        store: &Path,
        deadline: Instant,
    ) -> Result<Option<u64>, StoreError> {
        until_some(store, deadline, |db| {
            let card = read::card(db, &self.address)?.map(|found| found.card);
            let current = card.filter(|card| card.transaction == hash);
            Ok(current.map(|card| card.height.0))
        })
        .await
    }

    /// Why the announcement is not signed yet, as far as the store knows.
    ///
    /// # Errors
    /// The store's.
    pub fn unannounced(&self, store: &Path) -> Result<Option<Unannounced>, StoreError> {
        let db = open_for_reading(store)?;
        if let Some((outbox, _)) = read::announcement(&db, self.event)? {
            return Ok(Some(Unannounced::Queued(outbox)));
        }
        let mut agents = read::agents(&db)?.into_iter();
        let renewal = match agents.find(|agent| agent.address == self.address) {
            Some(agent) => read::renewal(&db, agent.id)?,
            None => None,
        };
        let reason = renewal.and_then(|renewal| renewal.reason);
        Ok(reason.map(Unannounced::Failed))
    }
}

/// The transaction that withdraws a card.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    /// Its row.
    pub outbox: OutboxId,
    /// Its hash.
    pub hash: String,
    /// The agent's address.
    pub address: String,
}

/// Waits until the transaction in this row, which withdraws a card, is signed; `None` after the
/// deadline.
///
/// # Errors
/// The store's.
pub async fn withdrawal(
    outbox: OutboxId,
    store: &Path,
    deadline: Instant,
) -> Result<Option<Withdrawal>, StoreError> {
    until_some(store, deadline, |db| {
        let sent = talk::sent_at(db, outbox.0)?;
        Ok(sent.and_then(|sent| {
            Some(Withdrawal {
                outbox,
                hash: sent.hash?,
                address: sent.from,
            })
        }))
    })
    .await
}

impl Withdrawal {
    /// Waits until it is in a block and the card is gone, and returns the block; `None` after the
    /// deadline.
    ///
    /// # Errors
    /// The store's.
    pub async fn mined(&self, store: &Path, deadline: Instant) -> Result<Option<u64>, StoreError> {
        let address: Option<Address> = self.address.parse().ok();
        until_some(store, deadline, |db| {
            let card = match &address {
                Some(address) => read::card(db, address)?,
                None => None,
            };
            let sent = talk::sent_at(db, self.outbox.0)?;
            Ok(sent.and_then(|sent| sent.height).filter(|_| card.is_none()))
        })
        .await
    }
}

/// Reads the store until there is a result, or the deadline has passed.
async fn until_some<T>(
    store: &Path,
    deadline: Instant,
    look: impl Fn(&Reader) -> Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    loop {
        let found = look(&open_for_reading(store)?)?;
        if found.is_some() || Instant::now() >= deadline {
            return Ok(found);
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Operations {
    /// Has an agent announced, now and at each renewal.
    ///
    /// # Errors
    /// The agent is not hosted; the card is not valid.
    pub async fn register(
        &self,
        who: &str,
        card: &CardWanted,
    ) -> Result<Registered, OperationError> {
        let hosted = self.hosted(who)?;
        let card = card.registration(&hosted);
        let card = card.map_err(|error| OperationError::Invalid(error.to_string()))?;
        let (agent, store) = (hosted.id, &self.shared.store);
        let register = Commit::Register {
            agent,
            card: card.to_value(),
            due_at: self.shared.clock.now(),
        };
        let changes = store.commit_now(register).await?;
        let renewal = store.read(move |db| read::renewal(db, agent)).await?;
        self.wake(changes.due).await;
        let renewal = renewal.ok_or_else(|| {
            OperationError::Later(format!("{who} was withdrawn while it was registered"))
        })?;
        Ok(Registered {
            agent: hosted.config.name.clone(),
            address: hosted.address.clone(),
            card,
            event: renewal.event,
        })
    }

    /// Has an agent's card withdrawn, and no longer announced. The key is chosen by the caller: the
    /// same request sent twice is carried out once.
    ///
    /// # Errors
    /// The agent is not hosted; the withdrawal cannot be signed.
    pub async fn withdraw(&self, who: &str, key: String) -> Result<Sent, OperationError> {
        let hosted = self.hosted(who)?;
        // Before the withdrawal, so that no renewal comes after it.
        let agent = hosted.id;
        let unregister = Commit::Unregister { agent };
        self.shared.store.commit_now(unregister).await?;
        let body = KnownCommand::Withdraw.body();
        let request = SendRequest::new(hosted.address.clone(), body, key);
        Ok(send::send(&self.shared, &self.links.send, &hosted, &request).await?)
    }
}
