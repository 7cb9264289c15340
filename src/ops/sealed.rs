//! Opening sealed messages, which only the runtime that hosts their recipient can do.

use agentry_core::InboxId;
use agentry_protocol::{Json, message};
use agentry_store::read;

use super::{OperationError, Operations};
use crate::runtime::signer::OpenSealed;

impl Operations {
    /// The content of a sealed message, as an unsealed message would carry it.
    ///
    /// # Errors
    /// There is no such message; it does not open; the wallet cannot be unlocked.
    pub async fn open(&self, inbox: InboxId) -> Result<Json, OperationError> {
        let found = self.shared.store.read(move |db| {
            let message = read::message_at(db, inbox)?;
            let agent = read::agent_of(db, inbox)?;
            Ok(message.zip(agent))
        });
        let (message, agent) = found.await?.ok_or(OperationError::NoMessage(inbox))?;
        let sealed = OpenSealed {
            agent,
            stored: Box::new(message.stored),
            authenticity: message.authenticity,
        };
        match self.links.open.send(sealed).await {
            Ok(Ok(Ok(payload))) => message::compose(&payload, None)
                .map_err(|error| OperationError::Invalid(error.to_string())),
            Ok(Ok(Err(reason))) => Err(OperationError::Invalid(reason)),
            Ok(Err(error)) => Err(OperationError::Later(error.to_string())),
            Err(_) => Err(OperationError::Later("the runtime is stopping".to_owned())),
        }
    }
}
