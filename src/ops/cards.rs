//! Announcing hosted agents in the directory, and withdrawing their cards.

use agentry_core::{Commit, EventId};
use agentry_protocol::command::Tags;
use agentry_protocol::{Address, KnownCommand};
use agentry_store::read;
use serde::{Deserialize, Serialize};

use super::directory::words;
use super::send::{self, SendRequest, Sent};
use super::{OperationError, Operations};
use crate::runtime::directory::{Registration, RegistrationError};
use crate::runtime::environment;
use crate::runtime::registry::Hosted;

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
        )
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
    /// The row of the event that announces it, and begins the origin of each announcement.
    pub event: EventId,
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
            due_at: self.shared.clock.now_ms(),
        };
        let receipt = store.commit_now(register).await?;
        let renewal = store.read(move |db| read::renewal(db, agent)).await?;
        self.wake(receipt.due).await;
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
