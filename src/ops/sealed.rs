//! Opening sealed messages, which only the runtime that hosts their recipient can do.

use std::path::Path;

use agentry_core::InboxId;
use agentry_protocol::{Json, Payload, message};
use agentry_store::read;

use super::{OperationError, Operations};
use crate::runtime::control::{Client, ControlError};
use crate::runtime::signer::OpenSealed;

impl Operations {
    /// The content of a sealed message, as an unsealed message would carry it.
    ///
    /// # Errors
    /// There is no such message; it does not open; the wallet cannot be unlocked.
    pub async fn open(&self, inbox: InboxId) -> Result<Json, OperationError> {
        let store = &self.shared.store;
        let found = store.query(move |state| state.inbox().get(&inbox)).await?;
        let row = found.ok_or(OperationError::NoMessage(inbox))?;
        let message = store.report(read::due_message(&row))?;
        let sealed = OpenSealed {
            agent: row.agent,
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

/// Has the runtime that hosts their recipient open sealed messages. A runtime that cannot be
/// reached is not asked again.
#[derive(Debug)]
pub struct Opener {
    client: Client,
    not_running: &'static str,
    unreachable: Option<String>,
}

impl Opener {
    /// An opener for messages of this store. `not_running` is the reason why a message is not
    /// opened if no runtime is running.
    pub fn new(store: &Path, not_running: &'static str) -> Self {
        Self {
            client: Client::new(store),
            not_running,
            unreachable: None,
        }
    }

    /// The content of the sealed message in this row of the inbox.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub async fn open(&mut self, inbox: i64) -> Result<Payload, String> {
        if let Some(why) = &self.unreachable {
            return Err(why.clone());
        }
        match self.client.open(InboxId(inbox)).await {
            Ok(payload) => Ok(Payload::read(&payload)),
            Err(ControlError::Refused(error)) => Err(error.to_string()),
            Err(error) => {
                let why = match error {
                    ControlError::NotRunning { .. } => self.not_running.to_owned(),
                    error => error.to_string(),
                };
                Err(self.unreachable.insert(why).clone())
            }
        }
    }

    /// Whether no runtime answers.
    pub const fn is_closed(&self) -> bool {
        self.unreachable.is_some()
    }

    /// Asks the runtime again although it could not be reached before.
    pub fn again(&mut self) {
        self.unreachable = None;
    }
}
