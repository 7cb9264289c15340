//! Making a draft of an outgoing message: header, sealing, receipt.

use agentry_core::rows::Draft;
use agentry_protocol::message::{self, ComposeError as WriteError};
use agentry_protocol::sealing::{self, Binding, SealError};
use agentry_protocol::{
    Address, Amount, Chain, EncryptionKey, Header, KnownCommand, MessageId, PublicKey, Timestamp,
    Trail,
};
use agentry_sdk::{BehaviourError, Message, Outgoing, Sealing};

use super::registry::Hosted;

/// The author of a message.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// The wallet's address.
    pub address: &'a Address,
    /// Its public key.
    pub public_key: PublicKey,
    /// The fee that it pays for a transaction, in AIT.
    pub fee: Amount,
    /// The behaviour that sends the message, by its name in the agent; none, if an operator does.
    pub behaviour: Option<&'a str>,
}

impl<'a> Author<'a> {
    /// A hosted wallet, which has this key.
    pub fn hosted(hosted: &'a Hosted, public_key: PublicKey, behaviour: Option<&'a str>) -> Self {
        Self {
            address: &hosted.address,
            public_key,
            fee: hosted.config.common.fee,
            behaviour,
        }
    }
}

/// The recipient of a message and the data that depends on the moment.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The cause of the message; see [`Draft::origin`].
    pub origin: &'a str,
    /// The recipient's address.
    pub to: &'a Address,
    /// The message that it answers.
    pub answers: Option<&'a Message>,
    /// What it follows from.
    pub trail: Trail,
    /// The recipient's encryption key, if it is known.
    pub recipient_key: Option<EncryptionKey>,
    /// The chain.
    pub chain: &'a Chain,
    /// The current time.
    pub now: Timestamp,
    /// Whether a text that asks for nothing is sent as it is, without a header, so that every
    /// client can read it.
    pub plain: bool,
}

/// Why a message cannot be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The payload cannot be sent.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The message cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The recipient's encryption key is not known.
    #[error(
        "the message must be sealed, and no encryption key of {to} is known: it has no card in the directory, and no [[contact]] gives one"
    )]
    NoRecipientKey {
        /// The recipient.
        to: Address,
    },
    /// The amount and the fee exceed what a transaction can transfer.
    #[error(
        "an amount of {amount} with a fee of {fee} is more than a transaction can transfer; \
         the most is {} together",
        Amount::MAX
    )]
    Amount {
        /// The amount to transfer.
        amount: Amount,
        /// The fee.
        fee: Amount,
    },
    /// The message's id could not be made.
    #[error(transparent)]
    Id(#[from] agentry_protocol::header::MessageIdError),
}

impl ComposeError {
    /// Whether a retry may succeed: a card may arrive, and random bytes may become available.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Id(_) | Self::Seal(SealError::Random) | Self::NoRecipientKey { .. }
        )
    }
}

impl From<ComposeError> for BehaviourError {
    fn from(error: ComposeError) -> Self {
        if error.is_transient() {
            Self::transient(error.to_string())
        } else {
            Self::permanent(error.to_string())
        }
    }
}

/// Makes a draft of a message.
///
/// A text that answers a text without a header, and asks for nothing itself, has no header either;
/// every other message has one, with a new id and the author's key.
///
/// # Errors
/// [`ComposeError`].
pub fn compose(
    outgoing: &Outgoing,
    author: Author<'_>,
    circumstances: Circumstances<'_>,
) -> Result<Draft, ComposeError> {
    let Circumstances {
        to,
        answers,
        recipient_key,
        now,
        chain,
        ..
    } = circumstances;
    let (amount, fee) = (outgoing.amount, author.fee);
    if amount.checked_add(fee).is_none() {
        return Err(ComposeError::Amount { amount, fee });
    }
    let sealed = match outgoing.sealing {
        Sealing::AsAsked => answers.is_some_and(|message| message.sealed),
        Sealing::Never => false,
        Sealing::IfPossible => recipient_key.is_some(),
        Sealing::Always => true,
    };
    let Circumstances { trail, plain, .. } = circumstances;
    let to = &chain.dialect.account(to);
    let header = outgoing.header(answers, trail, sealed, plain, now);
    let header = match header {
        Some(header) => Some(Header {
            id: Some(MessageId::generate(now)?),
            key: chain.dialect.states_keys().then_some(author.public_key),
            ..header
        }),
        None => None,
    };
    let payload = if sealed {
        let key = recipient_key.ok_or_else(|| ComposeError::NoRecipientKey { to: to.clone() })?;
        let binding = Binding {
            chain_id: chain.id.as_str(),
            from: author.address,
            to,
        };
        let sealed = sealing::seal(&outgoing.payload, &key, binding)?;
        message::compose(&KnownCommand::Sealed(sealed).to_payload(), header.as_ref())?
    } else {
        message::compose(&outgoing.payload, header.as_ref())?
    };
    Ok(Draft {
        amount,
        message_id: header.and_then(|header| header.id),
        expires_at: outgoing.expires_at(now),
        receipt: outgoing.receipt(author.behaviour, answers.is_some()),
        ..Draft::new(circumstances.origin.to_owned(), to.clone(), fee, payload)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agentry_sdk::durable;

    use agentry_protocol::{
        AckRequest, Authenticity, BlockHeight, DecryptionKey, Dialect, Envelope, Json,
        MessageDigest, Payload, Seed, TransactionHash,
    };

    use super::*;

    struct Environment {
        author: Seed,
        from: Address,
        to: Address,
        key: DecryptionKey,
        chain: Chain,
    }

    fn environment() -> Environment {
        let (author, other) = (Seed::from_bytes([1; 32]), Seed::from_bytes([2; 32]));
        Environment {
            from: Address::from_public_key(&author.public_key()),
            to: Address::from_public_key(&other.public_key()),
            key: DecryptionKey::from_seed(&other),
            author,
            chain: Chain {
                id: "ait-devnet".parse().unwrap(),
                dialect: Dialect::April2026,
            },
        }
    }

    impl Environment {
        fn question(&self, payload: &Json) -> Message {
            Message::read(
                TransactionHash::of(b"question"),
                MessageDigest::of(b"question"),
                (self.to.clone(), self.from.clone()),
                payload,
                BlockHeight(7),
                Authenticity::Verified,
            )
        }

        fn compose(
            &self,
            outgoing: &Outgoing,
            answers: Option<&Message>,
            key: bool,
            plain: bool,
        ) -> Result<Draft, ComposeError> {
            compose(
                outgoing,
                Author {
                    address: &self.from,
                    public_key: self.author.public_key(),
                    fee: Amount(10),
                    behaviour: Some("b"),
                },
                Circumstances {
                    origin: "inbox/1/b/0",
                    to: &self.to,
                    answers,
                    trail: durable::trail(None, answers),
                    recipient_key: key.then(|| self.key.encryption_key()),
                    chain: &self.chain,
                    now: Timestamp::new(1_795_000_000_000),
                    plain,
                },
            )
        }
    }

    #[test]
    fn an_amount_that_no_transaction_can_transfer_is_refused_by_name() {
        let environment = environment();
        let compose = |amount| {
            let outgoing = Outgoing::new(Payload::Text("rich".to_owned())).amount(amount);
            environment.compose(&outgoing, None, false, true)
        };
        let (max, most) = (Amount::MAX.0, Amount::MAX.0 - 10);
        assert_eq!(compose(most).unwrap().amount, Amount(most));
        for amount in [most + 1, max, max + 1, u64::MAX] {
            let error = compose(amount).unwrap_err();
            assert!(!error.is_transient());
            assert!(error.to_string().contains(&amount.to_string()), "{error}");
        }
    }

    #[test]
    fn a_plain_text_is_answered_by_a_plain_text() {
        let environment = environment();
        let question = environment.question(&Json::string("ping"));
        let draft = environment
            .compose(&Outgoing::text("pong"), Some(&question), false, false)
            .unwrap();
        assert_eq!(draft.payload, Json::string("pong"));
        assert_eq!((draft.message_id, draft.receipt), (None, None));
    }

    #[test]
    fn every_other_answer_names_its_question_and_carries_the_thread_on() {
        let environment = environment();
        let asked = Json::parse(
            br#"{"text":"ping","msg":{"v":1,"thread":"t1"}}"#,
            agentry_protocol::Limits::default(),
        )
        .unwrap();
        let question = environment.question(&asked);
        let draft = environment
            .compose(&Outgoing::text("pong"), Some(&question), false, false)
            .unwrap();
        let envelope = Envelope::read(&draft.payload);
        let header = envelope.header().unwrap();
        assert_eq!(header.re, Some(question.transaction));
        assert_eq!(header.thread.as_ref().unwrap().as_str(), "t1");
        assert_eq!(header.trail, Trail::NONE.next());
        assert_eq!(header.key, Some(environment.author.public_key()));
        assert_eq!(header.id, draft.message_id);
        assert!(header.id.is_some());
        let answer = environment
            .compose(
                &Outgoing::command(&KnownCommand::Pong),
                Some(&environment.question(&Json::string("ping"))),
                false,
                false,
            )
            .unwrap();
        assert!(Envelope::read(&answer.payload).header().is_some());
    }

    #[test]
    fn a_message_that_asks_for_something_has_a_header() {
        let environment = environment();
        let plain = environment
            .compose(&Outgoing::text("hi"), None, false, true)
            .unwrap();
        assert_eq!(plain.payload, Json::string("hi"));
        let asking = Outgoing::text("hi")
            .acknowledged(AckRequest::Done, Duration::from_secs(5), 2)
            .expiring(Duration::from_secs(60))
            .label("l");
        let draft = environment.compose(&asking, None, false, true).unwrap();
        let envelope = Envelope::read(&draft.payload);
        let header = envelope.header().unwrap();
        assert_eq!(header.ack, Some(AckRequest::Done));
        assert_eq!(header.exp, Some(Timestamp::new(1_795_000_060_000)));
        assert_eq!(draft.expires_at, header.exp);
        let receipt = draft.receipt.unwrap();
        assert_eq!(receipt.label.as_deref(), Some("l"));
        assert_eq!((receipt.within_ms, receipt.resends), (5000, 2));
    }

    #[test]
    fn an_answer_to_a_sealed_message_is_sealed_or_not_sent() {
        let environment = environment();
        let mut question = environment.question(&Json::string("a secret"));
        question.sealed = true;
        let answer = Outgoing::text("another");
        let draft = environment
            .compose(&answer, Some(&question), true, false)
            .unwrap();
        assert!(!draft.payload.to_compact().contains("another"));
        let error = environment
            .compose(&answer, Some(&question), false, false)
            .unwrap_err();
        assert!(matches!(error, ComposeError::NoRecipientKey { .. }));
        let open = answer.sealing(Sealing::Never);
        let draft = environment
            .compose(&open, Some(&question), false, false)
            .unwrap();
        assert!(draft.payload.to_compact().contains("another"));
    }
}
