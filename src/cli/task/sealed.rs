//! Opening sealed answers.

use std::path::PathBuf;

use agentry_protocol::Payload;

use super::super::{Failure, runtime};
use crate::config::Config;
use crate::runtime::control::{self, Answer, ControlError, Request};

/// Asks the running runtime to open sealed messages; only the runtime has the keys.
#[derive(Debug)]
pub(super) struct Opener {
    store: PathBuf,
    runtime: tokio::runtime::Runtime,
    closed: Option<String>,
}

impl Opener {
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        Ok(Self {
            store: config.store.path.clone(),
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
        let request = Request::Open { inbox };
        match self.runtime.block_on(control::ask(&self.store, &request)) {
            Ok(Answer::Opened { payload }) => Ok(Payload::read(&payload)),
            Ok(Answer::Refused { reason }) => Err(reason),
            Ok(_) => Err("the runtime sent an unexpected answer".to_owned()),
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
