//! `ack`: acknowledges messages whose senders ask for it.
//!
//! ```toml
//! behaviours = [{ kind = "ack" }, { kind = "tasks", … }]
//! ```
//!
//! | request | acknowledgments |
//! |---|---|
//! | `received` | `RECEIVED` when the message is stored; `REJECTED` or `EXPIRED` if it is not acted on |
//! | `done` | the same, and finally `DONE` or `FAILED` |
//!
//! It watches the agent's other behaviours and does not act on messages itself: a message that only
//! it accepts is `REJECTED`. An acknowledgment is never acknowledged, and never sealed: everyone
//! can see on the chain that the message arrived.

use agentry_sdk::protocol::command::{Ack, AckStatus, Detail};
use agentry_sdk::protocol::{AckRequest, KnownCommand};
use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Outgoing, Sealing,
    Settlement, Setup,
};
use serde::Deserialize;

/// The keys of `ack` in agents.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckSettings {
    /// Whether the sender is told why a message failed or was rejected, cut to 1,024 bytes. The
    /// reasons are on the chain, where everyone can read them. Default `true`.
    #[serde(default = "default_detail")]
    pub detail: bool,
}

const fn default_detail() -> bool {
    true
}

/// Acknowledges messages whose senders ask for it.
#[derive(Debug)]
pub struct Acknowledger {
    detail: bool,
}

impl Acknowledger {
    fn acknowledgment(&self, status: AckStatus, reason: Option<&str>) -> Effects {
        let detail = reason.filter(|_| self.detail).map(Detail::cut);
        let ack = KnownCommand::Ack(Ack { status, detail });
        Effects::none().reply_with(Outgoing::command(&ack).sealing(Sealing::Never))
    }
}

impl Behaviour for Acknowledger {
    const KIND: &'static str = "ack";
    type Settings = AckSettings;

    fn configure(settings: AckSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self {
            detail: settings.detail,
        })
    }

    fn capabilities(&self) -> Vec<String> {
        vec!["ack".to_owned()]
    }

    fn executes(&self, _: &str) -> bool {
        false
    }

    fn accepts(&self, message: &Message) -> bool {
        message.ack_due().is_some()
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(self.acknowledgment(AckStatus::Received, None))
    }

    fn watches(&self, message: &Message) -> bool {
        message.ack_due().is_some()
    }

    async fn on_settled(
        &self,
        message: &Message,
        settlement: &Settlement,
        _: &Context,
    ) -> Result<Effects, BehaviourError> {
        let done = message.ack_due() == Some(AckRequest::Done);
        Ok(match settlement {
            Settlement::Done if done => self.acknowledgment(AckStatus::Done, None),
            Settlement::Failed { reason } if done => {
                self.acknowledgment(AckStatus::Failed, Some(reason))
            }
            Settlement::Done | Settlement::Failed { .. } => Effects::none(),
            Settlement::Rejected { reason } => {
                self.acknowledgment(AckStatus::Rejected, Some(reason))
            }
            Settlement::Expired => self.acknowledgment(AckStatus::Expired, None),
        })
    }
}
