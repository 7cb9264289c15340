//! Interpreting a transaction as a message, before anything acts on it.

use agentry_core::rows::DueMessage;
use agentry_protocol::{
    Address, Authenticity, BlockHeight, KnownCommand, MessageDigest, StoredTransaction,
    TransactionHash,
};
use agentry_sdk::Message;

/// Where a message is on the chain, and its sender's standing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainPlace {
    /// Hash of the transaction that carries it.
    pub(crate) hash: TransactionHash,
    /// The message's identity.
    pub(crate) digest: MessageDigest,
    /// The block that contains it.
    pub(crate) height: BlockHeight,
    /// What is known about its sender.
    pub(crate) authenticity: Authenticity,
}

impl From<&DueMessage> for ChainPlace {
    fn from(due: &DueMessage) -> Self {
        Self {
            hash: due.hash,
            digest: due.digest,
            height: due.height,
            authenticity: due.authenticity,
        }
    }
}

/// The span of a message. Its fields are in every log line about the message, from its arrival to the
/// block that includes its answer.
pub(crate) fn span(digest: MessageDigest, from: &str, hash: TransactionHash) -> tracing::Span {
    tracing::info_span!(
        "message",
        message.digest = %digest,
        message.from = from,
        transaction.hash = %hash,
    )
}

/// The message as its transaction carries it: neither opened nor matched to a question.
pub(crate) fn plain(stored: &StoredTransaction, place: ChainPlace) -> Message {
    let mut message = Message::read(
        place.hash,
        place.digest,
        (stored.from.clone(), stored.to.clone()),
        &stored.message(),
        place.height,
        place.authenticity,
    );
    message.amount = stored.amount.clone();
    message
}

/// The transaction that a message says it answers. It counts only if the sender is verified.
pub(crate) fn names(message: &Message) -> Option<TransactionHash> {
    let re = message.header.as_ref().and_then(|header| header.re);
    re.filter(|_| message.authenticity == Authenticity::Verified)
}

/// Whether a message is from the wallet that was asked: both forms of its address count.
pub(crate) fn is_from(message: &Message, asked: &Address) -> bool {
    let key = message.header.as_ref().and_then(|header| header.key);
    asked.is_of(&message.from, key.as_ref())
}

/// The command of a message, if the message is an answer; otherwise the reason why it does not
/// count: it answers nothing that its sender was asked, or it cannot be read.
pub(crate) fn answer(message: &Message, is_asked: bool) -> Result<Option<KnownCommand>, String> {
    let Some(cmd) = message.cmd().filter(|cmd| KnownCommand::names_answer(cmd)) else {
        return Ok(None);
    };
    if !is_asked {
        return Err(format!("{cmd} answers nothing that its sender was asked"));
    }
    message.command().map_err(|error| error.to_string())
}
