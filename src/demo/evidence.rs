//! The evidence of the conversation.

use serde::Serialize;

use crate::ops::search::Found;

/// Position of a transaction on the chain.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// Its hash.
    pub hash: String,
    /// The block's height.
    pub height: u64,
    /// The block's hash.
    pub block: String,
}

impl From<&Found> for Standing {
    fn from(found: &Found) -> Self {
        Self {
            hash: found.hash.to_string(),
            height: found.height.0,
            block: found.block_hash.to_string(),
        }
    }
}

/// One message of the conversation.
#[derive(Clone, Debug, Serialize)]
pub struct MessageEvidence {
    /// Description.
    pub what: String,
    /// Its position on the chain.
    #[serde(rename = "transaction")]
    pub standing: Standing,
    /// Time from the start until it was found, in milliseconds.
    pub after_ms: u64,
}

/// Evidence of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// All messages, in order.
    pub said: Vec<MessageEvidence>,
    /// The ping.
    pub ping: Standing,
    /// The pong.
    pub pong: Standing,
    /// Address of the agent that pinged.
    pub pinger: String,
    /// Address of the agent that answered.
    pub ponger: String,
    /// The nodes.
    pub nodes: Vec<String>,
    /// Time from the request to send the ping until the pinger's own node showed the pong.
    pub round_trip_ms: u64,
    /// Duration of the whole demonstration.
    pub total_ms: u64,
}
