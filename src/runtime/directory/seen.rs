//! Reading the card in a transaction.

use agentry_protocol::authenticity::{Authenticity, examine};
use agentry_protocol::command::CardTimeError;
use agentry_protocol::header::MAX_ID_AHEAD_MS;
use agentry_protocol::{
    BlockHeight, ChainId, KnownCommand, Payload, StoredTransaction, Timestamp, TransactionHash,
};

use agentry_core::commit::CardSeen;

/// The card that a transaction announces or withdraws, if its sender is verified: an ANNOUNCE or
/// WITHDRAW from an address to itself, verified under the key in its header, or the one that follows
/// from its signature; that address is derived from it.
///
/// `now` is the reader's clock, also for an old block; it is the latest possible time if the
/// reader is not sure, because a card that is skipped never comes again. A card that expires more
/// than 30 days after `now` counts as never announced. So does a card that expires more than 30
/// days after the time in its message's id, so that a reader a month later refuses it, too. A card
/// that has expired is kept: as the latest card of its address it replaces the ones before it.
pub fn card_of(
    stored: &StoredTransaction,
    hash: TransactionHash,
    height: BlockHeight,
    chain: &ChainId,
    now: Timestamp,
) -> Option<CardSeen> {
    // Cheap checks first: most transactions here are transfers of unrelated addresses to
    // themselves.
    if stored.from != stored.to {
        return None;
    }
    let envelope = stored.envelope();
    let Payload::Command(command) = &envelope.payload else {
        return None;
    };
    if !matches!(command.cmd.as_str(), "ANNOUNCE" | "WITHDRAW") {
        return None;
    }
    let header = envelope.header()?;
    let known = KnownCommand::read(command).ok()??;
    let announced_at = header.id.map_or(now, |id| id.time().min(now));
    let (card, expires_at) = match &known {
        KnownCommand::Announce(card) => {
            // The sender read its clock twice, and that clock may differ from ours.
            let latest = announced_at.plus_ms(MAX_ID_AHEAD_MS).min(now);
            if let Err(CardTimeError::TooFarAhead { .. }) = card.check_time(latest) {
                return None;
            }
            (Some(known.body().to_compact()), card.expires)
        }
        KnownCommand::Withdraw => (None, Timestamp::EPOCH),
        _ => return None,
    };
    let stated = header.key.as_ref();
    if examine(stored, chain, stated, None).authenticity() != Authenticity::Verified {
        return None;
    }
    let public_key = match stored.dialect.states_keys() {
        true => header.key?,
        false => stored.signer()?,
    };
    Some(CardSeen {
        address: stored.from.clone(),
        hash,
        height,
        public_key,
        card,
        expires_at,
        announced_at,
    })
}
