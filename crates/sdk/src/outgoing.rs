//! A message that a behaviour sends.

use std::time::Duration;

use agentry_protocol::{AckRequest, Address, KnownCommand, Payload, Thread, TransactionHash};

/// Whether a message is sealed, so that only its recipient can read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sealing {
    /// An answer to a sealed message is sealed; nothing else is.
    #[default]
    AsAsked,
    /// It goes out readable by all, also as an answer to a sealed message.
    Never,
    /// It is sealed if the recipient's encryption key is known.
    IfPossible,
    /// It is sealed, or the run fails for good.
    Always,
}

/// That a message is to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// What is asked for.
    pub request: AckRequest,
    /// How long after it was mined the acknowledgment may take to come.
    pub within: Duration,
    /// How often it is sent again when none came. A resend keeps the message's id, so its
    /// receiver acts once.
    pub resends: u32,
}

/// A message that is to be sent: an answer, or one of the behaviour's own accord.
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
    /// What is said.
    pub payload: Payload,
    /// What is transferred with it, in AIT.
    pub amount: u64,
    /// The conversation that it belongs to. An answer carries on that of its question by itself.
    pub thread: Option<Thread>,
    /// The transaction that it answers, or is about, where the event is not about that message: an
    /// answer that comes later than its question. A reply names its question by itself.
    pub re: Option<TransactionHash>,
    /// How long after the run it counts; then its receiver does not act on it, and it is not sent
    /// if it was not yet.
    pub expires_in: Option<Duration>,
    /// What acknowledgment is asked for.
    pub acknowledge: Option<Acknowledge>,
    /// Whether it is sealed.
    pub sealing: Sealing,
    /// Under which name the behaviour is told of its fate
    /// ([`Behaviour::on_fate`](crate::Behaviour::on_fate)) and of answers to it
    /// ([`Message::answers`](crate::Message::answers)).
    pub label: Option<String>,
}

impl Outgoing {
    /// A message with this payload.
    pub const fn new(payload: Payload) -> Self {
        Self {
            payload,
            amount: 0,
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

    /// With this amount, in AIT.
    #[must_use]
    pub const fn amount(mut self, amount: u64) -> Self {
        self.amount = amount;
        self
    }

    /// In this conversation.
    #[must_use]
    pub fn thread(mut self, thread: Thread) -> Self {
        self.thread = Some(thread);
        self
    }

    /// In answer to what this transaction said.
    #[must_use]
    pub const fn answering(mut self, transaction: TransactionHash) -> Self {
        self.re = Some(transaction);
        self
    }

    /// Counting for so long.
    #[must_use]
    pub const fn expiring(mut self, after: Duration) -> Self {
        self.expires_in = Some(after);
        self
    }

    /// To be acknowledged; see [`Acknowledge`].
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

    /// Sealed or not.
    #[must_use]
    pub const fn sealing(mut self, sealing: Sealing) -> Self {
        self.sealing = sealing;
        self
    }

    /// Under this label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

/// A message to an address.
#[derive(Clone, Debug, PartialEq)]
pub struct Addressed {
    /// To whom.
    pub to: Address,
    /// What.
    pub outgoing: Outgoing,
}
