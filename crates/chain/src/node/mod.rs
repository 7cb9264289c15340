//! One node's RPC.
//!
//! | module | what it is for |
//! |---|---|
//! | `client` | [`NodeClient`] itself: one HTTP exchange, bounded in size and time |
//! | `calls` | the reading calls |
//! | `mempool` | the mempool, and the proof that it was read whole |
//! | `submit` | posting a transaction, and what is known of its fate |
//! | `walk` | going through blocks, around those that a node cannot serve |
//! | `tls` | what is wrong with TLS when no connection comes about |
//! | `block` | blocks and their transactions, out of whatever form a node shows them in |

mod block;
mod calls;
mod client;
mod error;
mod mempool;
mod submit;
mod text;
mod tls;
mod types;
mod walk;

pub(crate) use block::{LISTED_UNREADABLE, MOST_KEPT_OF_A_BLOCK, RawBlock, Wanted, block_identity};
pub use client::{NodeClient, NodeOptions};
pub use error::{NodeError, SubmitError};
pub(crate) use text::one_line;
pub use types::{
    Account, Block, BlockTransaction, FoundTransaction, Head, Health, ImportOutcome, Mempool,
};
pub use walk::BlockWalk;
