//! Sending a message.
//!
//! | part | holds |
//! |---|---|
//! | [`direct`] | sending from any wallet of the operator, hosted or not |

pub mod direct;

use std::time::Duration;

use actix::prelude::*;
use agentry_core::{Commit, OutboxId, State, TokenName};
use agentry_protocol::{
    AckRequest, Address, Amount, Chain, EncryptionKey, Json, MessageId, Payload, Thread, Trail,
    TransactionHash,
};
use agentry_sdk::{Acknowledge, Outgoing, Sealing};
use agentry_store::StoreError;
use serde::{Deserialize, Serialize};

use super::{OperationError, Operations};
use crate::runtime::Shared;
use crate::runtime::compose::{self, Author, Circumstances, ComposeError};
use crate::runtime::registry::Hosted;
use crate::runtime::signer::{PublicKeys, SignError};
use crate::runtime::submitter::{Outbox, Queueing, Submit};
use crate::runtime::traces::{Role, names};

/// The message to send.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendRequest {
    /// The recipient.
    pub to: Address,
    /// The content: a text, or a command (a string that holds JSON, or an object).
    pub payload: Json,
    /// The amount that it transfers, in AIT.
    pub amount: Amount,
    /// The conversation that it belongs to.
    pub thread: Option<Thread>,
    /// How long it is valid.
    pub expires_in: Option<Duration>,
    /// The acknowledgment that it asks for.
    pub ack: Option<Ack>,
    /// Whether it is sealed.
    pub seal: bool,
    /// The key to seal it with, instead of the directory's.
    pub recipient_key: Option<EncryptionKey>,
    /// The transaction that it refers to: that of a job to be canceled.
    pub re: Option<TransactionHash>,
    /// The token whose holder sends it, and whose budget pays for it; none if the operator does.
    #[serde(default)]
    pub token: Option<TokenName>,
    /// Chosen by the caller: the same request sent twice is carried out once.
    pub key: String,
}

/// The acknowledgment that a message asks for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ack {
    /// Which acknowledgment.
    pub request: AckRequest,
    /// How long it may take to arrive once the message is mined.
    pub within: Duration,
    /// How often the message is resent.
    pub resends: u32,
}

/// No random key could be made for a request.
#[derive(Debug, thiserror::Error)]
#[error("generating a request key: {0}")]
pub struct KeyError(#[from] getrandom::Error);

/// A random key for a request.
///
/// # Errors
/// The system grants no random bytes.
pub fn random_key() -> Result<String, KeyError> {
    let mut key = [0_u8; 16];
    getrandom::fill(&mut key)?;
    Ok(hex::encode(key))
}

impl SendRequest {
    /// A message that asks for no acknowledgment.
    pub fn new(to: Address, payload: Json, key: String) -> Self {
        Self {
            to,
            payload,
            amount: Amount::ZERO,
            thread: None,
            expires_in: None,
            ack: None,
            seal: false,
            recipient_key: None,
            re: None,
            token: None,
            key,
        }
    }

    /// The message as a behaviour would return it.
    fn outgoing(&self) -> Outgoing {
        Outgoing {
            amount: self.amount,
            thread: self.thread.clone(),
            re: self.re,
            expires_in: self.expires_in,
            acknowledge: self.ack.map(|ack| Acknowledge {
                request: ack.request,
                within: ack.within,
                resends: ack.resends,
            }),
            sealing: if self.seal {
                Sealing::Always
            } else {
                Sealing::Never
            },
            ..Outgoing::new(Payload::read(&self.payload))
        }
    }
}

/// The message that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The row of the outbox.
    pub outbox: OutboxId,
    /// The transaction's hash, if it is signed already.
    pub hash: Option<TransactionHash>,
    /// The id in its header.
    pub id: Option<MessageId>,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message cannot be composed.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The wallet cannot be unlocked.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The parts that sending needs.
#[derive(Clone, Debug)]
pub struct SendLinks {
    /// The chain.
    pub chain: Chain,
    /// The wallets' public keys.
    pub keys: Recipient<PublicKeys>,
    /// Stores what is to be sent, and sends it.
    pub outbox: Outbox,
}

impl Operations {
    /// Sends a message from a hosted wallet: `from` is its agent's name, its own, or its address.
    /// When this returns `Ok`, the message is stored and will be sent.
    ///
    /// # Errors
    /// The wallet is not hosted; the message cannot be composed.
    pub async fn send(&self, from: &str, request: &SendRequest) -> Result<Sent, OperationError> {
        let hosted = self.hosted(from)?;
        Ok(send(&self.shared, &self.links.send, &hosted, request).await?)
    }
}

/// The origin of what a request with this key sends.
pub(super) fn origin(key: &str) -> String {
    format!("control/{key}")
}

/// Sends a message from this wallet.
pub(super) async fn send(
    shared: &Shared,
    links: &SendLinks,
    hosted: &Hosted,
    request: &SendRequest,
) -> Result<Sent, SendError> {
    let agent = hosted.id;
    let public_key = match hosted.public_key {
        Some(key) => key,
        None => PublicKeys::of(agent, &links.keys).await?.0,
    };
    let now = shared.clock.local();
    let recipient_key = request
        .recipient_key
        .or_else(|| shared.directory.enc_key_of(&request.to, now));
    // Nothing came before it: it begins a trace, if traces are recorded.
    let mut work = shared
        .traces
        .begin(Role::Internal, || "compose".to_owned(), None);
    work.text(names::AGENT, &hosted.config.name);
    work.text(names::TO, request.to.as_str());
    let draft = compose::compose(
        &request.outgoing(),
        Author::hosted(hosted, public_key, None),
        Circumstances {
            origin: &origin(&request.key),
            to: &request.to,
            answers: None,
            trail: Trail {
                trace: work.trace(),
                ..Trail::NONE
            },
            recipient_key,
            chain: &links.chain,
            now,
            plain: true,
        },
    )?;
    let submit = Submit {
        agent,
        commit: Commit::Send {
            agent,
            draft,
            prepared: None,
            token: request.token.clone(),
            at: shared.clock.now(),
        },
        queueing: Queueing::AtOnce,
        seen_at: None,
        span: tracing::info_span!("outgoing", agent.name = hosted.config.name),
    };
    let changes = links.outbox.commit(submit).await?;
    work.end();
    let sent = changes.sends.into_iter().next();
    let sent = sent.ok_or_else(|| StoreError::Refused("the store recorded no message".to_owned()));
    let outbox = sent?.id();
    // If the request was sent twice, what was stored the first time counts.
    let row = move |state: &State| state.outbox().get(&outbox);
    let row = shared.store.query(row).await?;
    Ok(Sent {
        outbox,
        hash: row.as_ref().and_then(|row| Some(row.signed.as_ref()?.hash)),
        id: row.and_then(|row| row.message_id),
    })
}
