//! A message that a behaviour sends.

use std::time::Duration;

use agentry_protocol::{
    AckRequest, Address, Amount, KnownCommand, Payload, Thread, TransactionHash,
};

/// Whether a message is sealed, so that only its recipient can read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sealing {
    /// Sealed if it answers a sealed message.
    #[default]
    AsAsked,
    /// Never sealed, even if it answers a sealed message: everyone can read it.
    Never,
    /// Sealed if the recipient's encryption key is known.
    IfPossible,
    /// Sealed. The run fails if the recipient's encryption key is unknown.
    Always,
}

/// The acknowledgment that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// Which acknowledgment.
    pub request: AckRequest,
    /// How long to wait for the acknowledgment after the message was mined.
    pub within: Duration,
    /// How often the message is sent again if no acknowledgment arrives. A resend keeps the
    /// message's id, so the recipient acts once.
    pub resends: u32,
}

/// A message to be sent: an answer, or a message on the behaviour's own initiative.
///
/// ```
/// use std::time::Duration;
/// use agentry_sdk::{Outgoing, protocol::AckRequest};
///
/// let order = Outgoing::text("three crates of apples")
///     .acknowledged(AckRequest::Done, Duration::from_secs(60), 3)
///     .expiring(Duration::from_secs(3600))
///     .label("order-17");
/// # let _ = order;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The content.
    pub payload: Payload,
    /// The amount that it transfers, in AIT.
    pub amount: Amount,
    /// The conversation that it belongs to. A reply stays in the conversation of its question.
    pub thread: Option<Thread>,
    /// The transaction that it answers or refers to, for a message that is sent in a later event. A
    /// reply refers to its question without this.
    pub re: Option<TransactionHash>,
    /// The time from the run to its expiry. The recipient does not act on an expired message, and
    /// the runtime does not send one.
    pub expires_in: Option<Duration>,
    /// The acknowledgment that it asks for.
    pub acknowledge: Option<Acknowledge>,
    /// Whether it is sealed.
    pub sealing: Sealing,
    /// The name by which the behaviour recognises delivery updates
    /// ([`Behaviour::on_delivery_update`](crate::Behaviour::on_delivery_update)) and answers
    /// ([`Message::answers`](crate::Message::answers)). Without one there are no delivery updates.
    pub label: Option<String>,
}

impl Outgoing {
    /// A message with this payload.
    pub const fn new(payload: Payload) -> Self {
        Self {
            payload,
            amount: Amount::ZERO,
            thread: None,
            re: None,
            expires_in: None,
            acknowledge: None,
            sealing: Sealing::AsAsked,
            label: None,
        }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Payload::Text(text.into()))
    }

    /// A command.
    pub fn command(command: &KnownCommand) -> Self {
        Self::new(command.to_payload())
    }

    /// Sets the amount that it transfers, in AIT.
    #[must_use]
    pub const fn amount(mut self, amount: u64) -> Self {
        self.amount = Amount(amount);
        self
    }

    /// Sets the conversation that it belongs to.
    #[must_use]
    pub fn thread(mut self, thread: Thread) -> Self {
        self.thread = Some(thread);
        self
    }

    /// Makes it an answer to the message in this transaction.
    #[must_use]
    pub const fn answering(mut self, transaction: TransactionHash) -> Self {
        self.re = Some(transaction);
        self
    }

    /// Sets the time from the run to its expiry.
    #[must_use]
    pub const fn expiring(mut self, after: Duration) -> Self {
        self.expires_in = Some(after);
        self
    }

    /// Asks for an acknowledgment; see [`Acknowledge`].
    #[must_use]
    pub const fn acknowledged(
        mut self,
        request: AckRequest,
        within: Duration,
        resends: u32,
    ) -> Self {
        self.acknowledge = Some(Acknowledge {
            request,
            within,
            resends,
        });
        self
    }

    /// Sets whether it is sealed.
    #[must_use]
    pub const fn sealing(mut self, sealing: Sealing) -> Self {
        self.sealing = sealing;
        self
    }

    /// Sets the label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

/// A message and its recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct Addressed {
    /// The recipient's address.
    pub to: Address,
    /// The message.
    pub outgoing: Outgoing,
}
