//! The past as recorded in a store, if there is one. The store is only read.

use std::collections::HashMap;
use std::path::Path;

use agentry_core::AgentId;
use agentry_core::state::sent::Question;
use agentry_protocol::{Address, TransactionHash};
use agentry_sdk::Card;
use agentry_store::{Reader, StoreError, open_if_exists, read};

use super::ReplayError;

/// A store, if there is one.
#[derive(Debug, Default)]
pub(super) struct Past {
    db: Option<Reader>,
    agents: HashMap<Address, AgentId>,
    pub(super) cards: Vec<Card>,
}

impl Past {
    /// The past as recorded in the store at `path`. Blocking.
    ///
    /// # Errors
    /// The store exists and cannot be read; a replay can do without it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let Some(db) = open_if_exists(path)? else {
            return Ok(Self::default());
        };
        let rows = read::agents(&db)?;
        let cards = read::cards(&db)?;
        Ok(Self {
            db: Some(db),
            agents: rows.into_iter().map(|row| (row.address, row.id)).collect(),
            cards: cards.into_iter().map(|announced| announced.card).collect(),
        })
    }

    /// The agent's message that a transaction carried.
    pub(super) fn question(
        &self,
        agent: &Address,
        transaction: TransactionHash,
    ) -> Result<Option<Question>, ReplayError> {
        let (Some(db), Some(id)) = (&self.db, self.agents.get(agent)) else {
            return Ok(None);
        };
        read::question(db, *id, transaction).map_err(ReplayError::Store)
    }

    /// Whether an agent's transaction was sent by an operator or carries the agent's card, and so
    /// was not sent by a behaviour.
    pub(super) fn is_operators(
        &self,
        agent: &Address,
        transaction: TransactionHash,
    ) -> Result<bool, ReplayError> {
        let (Some(db), Some(id)) = (&self.db, self.agents.get(agent)) else {
            return Ok(false);
        };
        let origin = read::origin_of(db, *id, transaction).map_err(ReplayError::Store)?;
        Ok(origin.is_some_and(|origin| origin.starts_with("control/")))
    }
}
