//! Opening sealed answers.

use agentry_core::InboxId;
use agentry_protocol::Payload;

use super::super::{Failure, runtime};
use crate::config::Config;
use crate::runtime::control::{Client, ControlError};

/// Asks the running runtime to open sealed messages; only the runtime has the keys.
#[derive(Debug)]
pub(super) struct Opener {
    client: Client,
    runtime: tokio::runtime::Runtime,
    closed: Option<String>,
}

impl Opener {
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::new(&config.store.path),
            runtime: runtime()?,
            closed: None,
        })
    }

    /// The content of the sealed message in this row of the inbox.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub(super) fn open(&mut self, inbox: i64) -> Result<Payload, String> {
        if let Some(why) = &self.closed {
            return Err(why.clone());
        }
        match self.runtime.block_on(self.client.open(InboxId(inbox))) {
            Ok(payload) => Ok(Payload::read(&payload)),
            Err(ControlError::Refused(error)) => Err(error.to_string()),
            Err(error) => {
                let why = match error {
                    ControlError::NotRunning { .. } => {
                        "no runtime serves the store: start `agentry run`".to_owned()
                    }
                    error => error.to_string(),
                };
                // The runtime is not asked again during this pass.
                Err(self.closed.insert(why).clone())
            }
        }
    }

    /// Whether no runtime answers.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Asks the runtime again although it did not answer before.
    pub(super) fn again(&mut self) {
        self.closed = None;
    }
}
