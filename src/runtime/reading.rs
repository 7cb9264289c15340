//! What a transaction says as a message, before anybody acts on it.

use agentry_protocol::{
    Address, Authenticity, BlockHeight, KnownCommand, MessageDigest, StoredTransaction,
    TransactionHash,
};
use agentry_sdk::Message;

/// Where a message stands on the chain, and who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Hash of the transaction that carries it.
    pub(crate) hash: TransactionHash,
    /// Its identity.
    pub(crate) digest: MessageDigest,
    /// The block.
    pub(crate) height: BlockHeight,
    /// What is known of its sender.
    pub(crate) authenticity: Authenticity,
}

/// The message as its transaction has it: neither opened, nor known as an answer.
pub(crate) fn plain(stored: &StoredTransaction, place: Place) -> Message {
    let mut message = Message::read(
        place.hash,
        place.digest,
        (stored.from.clone(), stored.to.clone()),
        &stored.payload,
        place.height,
        place.authenticity,
    );
    message.amount = stored.amount.clone();
    message
}

/// The transaction that a message says it answers, if that counts: an answer is its sender's word.
pub(crate) fn names(message: &Message) -> Option<TransactionHash> {
    let re = message.header.as_ref().and_then(|header| header.re);
    re.filter(|_| message.authenticity == Authenticity::Verified)
}

/// Whether a message is from the one who was asked: either form of his address is his.
pub(crate) fn is_from(message: &Message, asked: &Address) -> bool {
    let key = message.header.as_ref().and_then(|header| header.key);
    *asked == message.from || key.is_some_and(|key| asked.matches(&key))
}

/// The command of a message, if it is one that answers; or why it counts as nothing: it answers
/// nothing that its sender was asked, or cannot be read.
pub(crate) fn answer(message: &Message, is_asked: bool) -> Result<Option<KnownCommand>, String> {
    let Some(cmd) = message.cmd().filter(|cmd| KnownCommand::names_answer(cmd)) else {
        return Ok(None);
    };
    if !is_asked {
        return Err(format!("{cmd} answers nothing that its sender was asked"));
    }
    message.command().map_err(|error| error.to_string())
}
