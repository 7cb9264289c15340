//! The cards of the directory.

use agentry_protocol::command::Announce;
use agentry_protocol::{Address, BlockHeight, PublicKey, TransactionHash};

/// What an agent says about itself, in a verified ANNOUNCE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The address of the agent.
    pub address: Address,
    /// The key that signed the ANNOUNCE.
    pub public_key: PublicKey,
    /// The content: name, description, capabilities, commands, encryption key, expiry.
    pub card: Announce,
    /// Hash of the transaction that carried the ANNOUNCE.
    pub transaction: TransactionHash,
    /// The height of the block that contains the ANNOUNCE.
    pub height: BlockHeight,
}
