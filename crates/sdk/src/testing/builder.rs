//! Messages that a test writes.

use agentry_protocol::message::compose;
use agentry_protocol::{
    AckRequest, Address, Authenticity, BlockHeight, ContentHash, Header, Json, KnownCommand,
    MessageDigest, MessageId, Number, Payload, Thread, TransactionHash,
};

use super::{Party, START_MS};
use crate::{Answered, Message, Standing};

/// A message that a test writes, to be [posted](super::Simulation::post) in a simulation, or
/// [built](Self::build) and shown to a handler as it is.
///
/// It is a *verified* message without a header, from a party called `someone`, unless told
/// otherwise. What is built is what a reader makes of the payload on the chain: a text that holds
/// a command is a command.
///
/// ```
/// use agentry_sdk::testing::MessageBuilder;
/// use agentry_sdk::protocol::{AckRequest, Authenticity};
///
/// let message = MessageBuilder::text("ping").unverified().ack(AckRequest::Done).build();
/// assert_eq!(message.text(), Some("ping"));
/// assert_eq!(message.authenticity, Authenticity::Unverified);
/// assert_eq!(message.ack_due(), Some(AckRequest::Done));
/// ```
#[derive(Clone, Debug)]
pub struct MessageBuilder {
    said: Said,
    from: Option<Address>,
    pub(super) to: Option<Address>,
    header: Header,
    has_header: bool,
    wants_id: bool,
    authenticity: Option<Authenticity>,
    standing: Option<Standing>,
    sealed: bool,
    amount: u64,
    answers: Option<Answered>,
}

#[derive(Clone, Debug)]
enum Said {
    Payload(Payload),
    Raw(Json),
}

/// A message as it stands in a transaction.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) payload: Json,
    pub(super) amount: u64,
    /// What the test says; else it goes by the sender.
    pub(super) authenticity: Option<Authenticity>,
    /// As the test says; else nothing is known of the sender.
    pub(super) standing: Option<Standing>,
    pub(super) sealed: bool,
}

impl MessageBuilder {
    /// A message that says this.
    pub fn new(payload: Payload) -> Self {
        Self::of(Said::Payload(payload))
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Payload::Text(text.into()))
    }

    /// A command.
    pub fn command(command: &KnownCommand) -> Self {
        Self::new(command.to_payload())
    }

    /// Any JSON at all, as a stranger may post it: damaged commands and headers, numbers, depths.
    /// It says itself what header it has; what the builder is told of one is left out.
    pub fn raw(payload: Json) -> Self {
        Self::of(Said::Raw(payload))
    }

    fn of(said: Said) -> Self {
        Self {
            said,
            from: None,
            to: None,
            header: Header::default(),
            has_header: false,
            wants_id: false,
            authenticity: None,
            standing: None,
            sealed: false,
            amount: 0,
            answers: None,
        }
    }

    /// Who it says it is from.
    #[must_use]
    pub fn from(mut self, from: impl Into<Address>) -> Self {
        self.from = Some(from.into());
        self
    }

    /// From whom it is if nobody was named yet.
    pub(super) fn or_from(mut self, from: &Address) -> Self {
        self.from.get_or_insert_with(|| from.clone());
        self
    }

    /// Whether it says whom it is from.
    pub(super) const fn has_sender(&self) -> bool {
        self.from.is_some()
    }

    /// To whom it goes. In a simulation this is the first hosted agent by default.
    #[must_use]
    pub fn to(mut self, to: impl Into<Address>) -> Self {
        self.to = Some(to.into());
        self
    }

    /// Its sender is proven.
    #[must_use]
    pub fn verified(self) -> Self {
        self.authenticity(Authenticity::Verified)
    }

    /// No key of its sender is known.
    #[must_use]
    pub fn unverified(self) -> Self {
        self.authenticity(Authenticity::Unverified)
    }

    /// Its signature is wrong. No behaviour is shown such a message.
    #[must_use]
    pub fn forged(self) -> Self {
        self.authenticity(Authenticity::Forged)
    }

    /// How well the agent knows its sender. By default it knows nothing but whether the signature
    /// is right.
    #[must_use]
    pub const fn standing(mut self, standing: Standing) -> Self {
        self.standing = Some(standing);
        self
    }

    fn authenticity(mut self, authenticity: Authenticity) -> Self {
        self.authenticity = Some(authenticity);
        self
    }

    /// It was sealed, and is shown opened.
    #[must_use]
    pub const fn sealed(mut self) -> Self {
        self.sealed = true;
        self
    }

    /// It transfers so many AIT.
    #[must_use]
    pub const fn amount(mut self, amount: u64) -> Self {
        self.amount = amount;
        self
    }

    /// It has a header with an id of its own, made when it is posted or built.
    #[must_use]
    pub fn with_id(mut self) -> Self {
        self.wants_id = true;
        self.in_header(|_| {})
    }

    /// It has this id.
    #[must_use]
    pub fn id(self, id: MessageId) -> Self {
        self.in_header(|header| header.id = Some(id))
    }

    /// It belongs to this conversation.
    #[must_use]
    pub fn thread(self, thread: Thread) -> Self {
        self.in_header(|header| header.thread = Some(thread))
    }

    /// It stops to count after this time, in milliseconds since the epoch.
    #[must_use]
    pub fn expires_at(self, time_ms: u64) -> Self {
        self.in_header(|header| header.exp = Some(time_ms))
    }

    /// It asks for an acknowledgment.
    #[must_use]
    pub fn ack(self, request: AckRequest) -> Self {
        self.in_header(|header| header.ack = Some(request))
    }

    /// It says that it answers this transaction. In a simulation that makes it an answer if the
    /// transaction was the agent's and went to the sender.
    #[must_use]
    pub fn answering(self, transaction: TransactionHash) -> Self {
        self.in_header(|header| header.re = Some(transaction))
    }

    /// It has this header.
    #[must_use]
    pub fn header(self, header: Header) -> Self {
        self.in_header(|own| *own = header)
    }

    /// What [`Message::answers`] is of a message that is [built](Self::build). A simulation finds
    /// it out by itself.
    #[must_use]
    pub fn answers(mut self, answered: Answered) -> Self {
        let transaction = answered.transaction;
        self.answers = Some(answered);
        self.answering(transaction)
    }

    fn in_header(mut self, change: impl FnOnce(&mut Header)) -> Self {
        self.has_header = true;
        change(&mut self.header);
        self
    }

    /// The message, for a handler that is called by hand: at height 1, to a party called
    /// `agent`, at [`START_MS`].
    ///
    /// # Panics
    /// A payload that cannot stand on the chain, such as one over 900 kB or a command whose body
    /// is none.
    pub fn build(self) -> Message {
        let answers = self.answers.clone();
        let default = Party::named("agent").address;
        let written = self.write(&default, START_MS, "");
        let digest = written.digest("");
        let mut message = Message::read(
            TransactionHash::of(digest.as_bytes()),
            digest,
            (written.from, written.to),
            &written.payload,
            BlockHeight(1),
            written.authenticity.unwrap_or(Authenticity::Verified),
        );
        message.standing = written.standing.unwrap_or(message.standing);
        message.sealed = written.sealed;
        message.amount = Number::from(written.amount);
        message.answers = answers;
        message
    }

    /// The message as it is posted at `now_ms`; `nonce` tells it from its like, and is the same in every run of the same history.
    ///
    /// # Panics
    /// As [`Self::build`].
    pub(super) fn write(self, default_to: &Address, now_ms: u64, nonce: &str) -> Written {
        let mut header = self.header;
        if self.wants_id && header.id.is_none() {
            header.id = Some(made_id(now_ms, &format!("test/{nonce}")));
        }
        let payload = match self.said {
            Said::Raw(json) => json,
            Said::Payload(payload) => {
                let header = self.has_header.then_some(&header);
                match compose(&payload, header) {
                    Ok(json) => json,
                    Err(error) => panic!("a test cannot post this payload: {error}"),
                }
            }
        };
        Written {
            from: self.from.unwrap_or_else(|| Party::named("someone").address),
            to: self.to.unwrap_or_else(|| default_to.clone()),
            payload,
            amount: self.amount,
            authenticity: self.authenticity,
            standing: self.standing,
            sealed: self.sealed,
        }
    }
}

impl Written {
    pub(super) fn digest(&self, nonce: &str) -> MessageDigest {
        let text = format!(
            "{} {} {} {nonce} {}",
            self.from,
            self.to,
            self.amount,
            self.payload.to_compact()
        );
        MessageDigest::of(text.as_bytes())
    }
}

/// The id of a message that is known by its origin: the same each time it is made.
pub(super) fn made_id(now_ms: u64, origin: &str) -> MessageId {
    let hash = ContentHash::of(origin.as_bytes());
    let mut random = [0; 10];
    for (byte, from) in random.iter_mut().zip(hash.as_bytes()) {
        *byte = *from;
    }
    MessageId::new(now_ms, random)
}

#[cfg(test)]
mod tests {
    use agentry_protocol::Limits;

    use super::*;

    #[test]
    fn what_is_built_is_what_a_reader_reads() {
        let from = Party::named("alice");
        let message = from
            .command(&KnownCommand::Ping)
            .with_id()
            .thread("a".parse().unwrap())
            .expires_at(9)
            .amount(3)
            .sealed()
            .build();
        assert_eq!(message.cmd(), Some("PING"));
        assert_eq!(message.from, from.address);
        assert!(message.sealed);
        assert_eq!(message.amount.as_u64(), Some(3));
        let header = message.header.unwrap();
        assert_eq!(header.id.unwrap().time_ms(), START_MS);
        assert_eq!(header.exp, Some(9));

        let damaged = Json::parse(br#"{"text":"x","msg":{"v":1,"exp":"soon"}}"#, Limits::NONE);
        let message = MessageBuilder::raw(damaged.unwrap()).build();
        assert!(matches!(message.payload, Payload::Opaque(_)));
    }

    #[test]
    #[should_panic(expected = "cannot post this payload")]
    fn what_cannot_be_posted_is_refused() {
        MessageBuilder::new(Payload::Opaque(Json::null())).build();
    }
}
