//! Messages that a test writes.

use agentry_protocol::message::compose;
use agentry_protocol::{
    AckRequest, Address, Amount, Authenticity, BlockHeight, ContentHash, Dialect, Header, Json,
    KnownCommand, MessageDigest, MessageId, Number, Payload, StoredTransaction, Thread, Timestamp,
    TransactionHash,
};

use super::{Party, START};
use crate::{Answered, Message, Standing};

/// A message that a test writes, to be [posted](super::Simulation::post) in a simulation, or
/// [built](Self::build) and passed to a handler directly.
///
/// By default it is a *verified* message without a header, from a party named `someone`. The
/// payload is read as a message on the chain is: a text that contains a command is a command.
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
    amount: Amount,
    answers: Option<Answered>,
}

#[derive(Clone, Debug)]
enum Said {
    Payload(Payload),
    Raw(Json),
}

/// A message as it is in a transaction, and what the test says about it.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// Not sealed: [`sealed`](Self::sealed) says whether it would be.
    pub(super) stored: StoredTransaction,
    /// As the test sets it; otherwise it depends on the sender.
    pub(super) authenticity: Option<Authenticity>,
    /// As the test sets it; otherwise nothing is known about the sender.
    pub(super) standing: Option<Standing>,
    pub(super) sealed: bool,
}

impl MessageBuilder {
    /// A message with this payload.
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

    /// Any JSON, as a stranger may post it: invalid commands and headers, extreme numbers, deep
    /// nesting. The JSON includes the header; a header that is set on the builder is ignored.
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
            amount: Amount::ZERO,
            answers: None,
        }
    }

    /// Sets the sender that it names.
    #[must_use]
    pub fn from(mut self, from: impl Into<Address>) -> Self {
        self.from = Some(from.into());
        self
    }

    /// Sets the sender if none was set.
    pub(super) fn or_from(mut self, from: &Address) -> Self {
        self.from.get_or_insert_with(|| from.clone());
        self
    }

    /// Whether a sender was set.
    pub(super) const fn has_sender(&self) -> bool {
        self.from.is_some()
    }

    /// Sets the recipient. The default in a simulation is the first hosted agent.
    #[must_use]
    pub fn to(mut self, to: impl Into<Address>) -> Self {
        self.to = Some(to.into());
        self
    }

    /// Makes its sender verified.
    #[must_use]
    pub fn verified(self) -> Self {
        self.authenticity(Authenticity::Verified)
    }

    /// Makes its sender unverified: no key of the sender is known.
    #[must_use]
    pub fn unverified(self) -> Self {
        self.authenticity(Authenticity::Unverified)
    }

    /// Makes its signature invalid. No behaviour is shown such a message.
    #[must_use]
    pub fn forged(self) -> Self {
        self.authenticity(Authenticity::Forged)
    }

    /// Sets how well the agent knows its sender. By default that depends on the authenticity only.
    #[must_use]
    pub const fn standing(mut self, standing: Standing) -> Self {
        self.standing = Some(standing);
        self
    }

    fn authenticity(mut self, authenticity: Authenticity) -> Self {
        self.authenticity = Some(authenticity);
        self
    }

    /// Marks it as sealed; behaviours are shown the decrypted content.
    #[must_use]
    pub const fn sealed(mut self) -> Self {
        self.sealed = true;
        self
    }

    /// Sets the amount that it transfers, in AIT.
    #[must_use]
    pub const fn amount(mut self, amount: u64) -> Self {
        self.amount = Amount(amount);
        self
    }

    /// Gives it a header with an id of its own, made when it is posted or built.
    #[must_use]
    pub fn with_id(mut self) -> Self {
        self.wants_id = true;
        self.in_header(|_| {})
    }

    /// Gives it this id.
    #[must_use]
    pub fn id(self, id: MessageId) -> Self {
        self.in_header(|header| header.id = Some(id))
    }

    /// Sets the conversation that it belongs to.
    #[must_use]
    pub fn thread(self, thread: Thread) -> Self {
        self.in_header(|header| header.thread = Some(thread))
    }

    /// Sets the time at which it expires.
    #[must_use]
    pub fn expires_at(self, time: Timestamp) -> Self {
        self.in_header(|header| header.exp = Some(time))
    }

    /// Makes it ask for an acknowledgment.
    #[must_use]
    pub fn ack(self, request: AckRequest) -> Self {
        self.in_header(|header| header.ack = Some(request))
    }

    /// Makes it name a transaction that it answers. A simulation treats it as an answer if the
    /// agent sent that transaction to this sender.
    #[must_use]
    pub fn answering(self, transaction: TransactionHash) -> Self {
        self.in_header(|header| header.re = Some(transaction))
    }

    /// Sets its header.
    #[must_use]
    pub fn header(self, header: Header) -> Self {
        self.in_header(|own| *own = header)
    }

    /// Sets [`Message::answers`] of a message that is [built](Self::build). A simulation determines
    /// it itself.
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

    /// Builds the message, for a direct call of a handler: at height 1, at [`START`], by default
    /// to a party named `agent`.
    ///
    /// # Panics
    /// If the payload cannot be posted to a chain: it is larger than 900 kB, or it is a command
    /// without a valid body.
    pub fn build(self) -> Message {
        let answers = self.answers.clone();
        let default = Party::named("agent").address;
        let written = self.write(&default, START, "");
        let digest = written.stored.digest();
        let mut message = written.read(
            TransactionHash::of(digest.as_bytes()),
            digest,
            BlockHeight(1),
            Authenticity::Verified,
        );
        message.answers = answers;
        message
    }

    /// The message as it is posted at `now`. `nonce` distinguishes it from equal messages and is
    /// the same in every run of the same history.
    ///
    /// # Panics
    /// As [`Self::build`].
    pub(super) fn write(self, default_to: &Address, now: Timestamp, nonce: &str) -> Written {
        let mut header = self.header;
        if self.wants_id && header.id.is_none() {
            header.id = Some(made_id(now, &format!("test/{nonce}")));
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
        let from = self.from.unwrap_or_else(|| Party::named("someone").address);
        let to = self.to.unwrap_or_else(|| default_to.clone());
        Written {
            authenticity: self.authenticity,
            standing: self.standing,
            sealed: self.sealed,
            ..Written::new(from, to, payload, self.amount, nonce)
        }
    }
}

impl Written {
    pub(super) fn new(
        from: Address,
        to: Address,
        payload: Json,
        amount: Amount,
        nonce: &str,
    ) -> Self {
        Self {
            stored: StoredTransaction {
                dialect: Dialect::April2026,
                kind: "transfer".into(),
                chain_id: "test".to_owned(),
                from,
                to,
                amount: amount.into(),
                fee: 0_u64.into(),
                nonce: number(nonce),
                payload,
                signature: None,
            },
            authenticity: None,
            standing: None,
            sealed: false,
        }
    }

    /// The same message, signed again.
    pub(super) fn again(mut self, nonce: &str) -> Self {
        self.stored.nonce = number(nonce);
        self
    }

    /// The message as a behaviour sees it. `known` is the authenticity of its sender, unless the
    /// test has set one.
    pub(super) fn read(
        &self,
        hash: TransactionHash,
        digest: MessageDigest,
        height: BlockHeight,
        known: Authenticity,
    ) -> Message {
        let stored = &self.stored;
        let mut message = Message::read(
            hash,
            digest,
            (stored.from.clone(), stored.to.clone()),
            &stored.message(),
            height,
            self.authenticity.unwrap_or(known),
        );
        message.standing = self.standing.unwrap_or(message.standing);
        message.sealed = self.sealed;
        message.amount = stored.amount.clone();
        message
    }
}

/// The number that stands for a nonce in a transaction.
fn number(nonce: &str) -> Number {
    let hash = ContentHash::of(nonce.as_bytes());
    let bytes = hash.as_bytes().iter().take(6);
    Number::from(bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
}

/// A message id that is derived from the message's origin: the same each time it is made.
pub(super) fn made_id(now: Timestamp, origin: &str) -> MessageId {
    let hash = ContentHash::of(origin.as_bytes());
    let mut random = [0; 10];
    for (byte, from) in random.iter_mut().zip(hash.as_bytes()) {
        *byte = *from;
    }
    MessageId::new(now, random)
}

#[cfg(test)]
mod tests {
    use agentry_protocol::Limits;

    use super::*;

    #[test]
    fn a_built_message_is_read_as_on_the_chain() {
        let from = Party::named("alice");
        let message = from
            .command(&KnownCommand::Ping)
            .with_id()
            .thread("a".parse().unwrap())
            .expires_at(Timestamp::new(9))
            .amount(3)
            .sealed()
            .build();
        assert_eq!(message.cmd(), Some("PING"));
        assert_eq!(message.from, from.address);
        assert!(message.sealed);
        assert_eq!(message.amount.as_u64(), Some(3));
        let header = message.header.unwrap();
        assert_eq!(header.id.unwrap().time(), START);
        assert_eq!(header.exp, Some(Timestamp::new(9)));

        let damaged = Json::parse(br#"{"text":"x","msg":{"v":1,"exp":"soon"}}"#, Limits::NONE);
        let message = MessageBuilder::raw(damaged.unwrap()).build();
        assert!(matches!(message.payload, Payload::Opaque(_)));
    }

    #[test]
    #[should_panic(expected = "cannot post this payload")]
    fn a_payload_that_cannot_be_posted_is_refused() {
        MessageBuilder::new(Payload::Opaque(Json::null())).build();
    }
}
