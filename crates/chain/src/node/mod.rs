//! One node's RPC.
//!
//! | module | what it is for |
//! |---|---|
//! | `client` | [`NodeClient`] itself: one HTTP exchange, bounded in size and time |
//! | `budget` | how much of the node's time is used, and how much is left for deferrable requests |
//! | `local` | a node within this process, asked without HTTP |
//! | `calls` | the reading calls |
//! | `mempool` | the mempool, and the proof that it was read whole |
//! | `permit` | a request that leaves only while it may |
//! | `submit` | posting a transaction, and what is known if the POST fails |
//! | `poll` | polling the head |
//! | `pace` | when to poll it again |
//! | `push` | the blocks that a node pushes |
//! | `bucket` | counting what may be done only so often |
//! | `rate` | how often the node lets each call be made |
//! | `seen` | which messages were seen pending, with a signature that was right |
//! | `walk` | iterating over blocks, skipping those that a node cannot serve |
//! | `tls` | why a TLS handshake failed |
//! | `block` | blocks and their transactions, from any of the forms in which nodes show them |

mod block;
mod bucket;
mod budget;
mod calls;
mod client;
mod error;
mod local;
mod mempool;
mod pace;
mod permit;
mod poll;
mod push;
mod rate;
mod seen;
mod submit;
mod text;
mod tls;
mod types;
mod walk;

pub(crate) use block::{LISTED_UNREADABLE, MOST_KEPT_OF_A_BLOCK, RawBlock, Wanted, block_identity};
pub use bucket::Bucket;
pub(crate) use budget::Budget;
pub use client::{NodeClient, NodeOptions};
pub use error::{NodeError, SubmitError};
pub use local::LocalNode;
pub(crate) use pace::Pace;
pub use permit::Permit;
pub use poll::HeadPoll;
pub use push::{PushedBlock, Subscription};
pub use seen::Seen;
pub(crate) use text::{one_line, segment};
pub use types::{
    Account, Block, BlockTransaction, FoundTransaction, Head, Health, ImportOutcome, Mempool,
};
pub use walk::BlockWalk;
