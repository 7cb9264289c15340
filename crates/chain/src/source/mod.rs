//! [`ChainSource`], the trait of every source of the chain, and the types it uses.

mod cursor;
mod error;
mod event;
mod time;
mod trail;

use std::sync::Arc;

use async_trait::async_trait;

use agentry_protocol::{BlockHash, BlockHeight, Dialect, Timestamp};

use crate::node::Head;

pub use cursor::{Apart, Cursor};
pub(crate) use cursor::{Kind, Mark, Origin};
pub use error::SourceError;
pub(crate) use event::BYTES_PER_READ;
pub use event::{Batch, ChainEvent, ChainTransaction, Undecodable};
pub(crate) use time::read_time;
pub(crate) use trail::{Entry, HashPrint, Trail, WINDOW};

/// A source from which the chain can be read, from a position on.
///
/// # The laws
/// They hold if the reader stores the `cursor` that a [`Batch`] returned and passes it to the next
/// [`read`](ChainSource::read), in this process or a later one:
///
/// 1. Every transaction that [`Interest`] wants, of every canonical block from the start on, is
///    delivered at least once.
/// 2. In chain order (height, then order in the block), except those marked late.
/// 3. When a reorganisation or reset removes blocks from the chain, [`ChainEvent::Withdrawn`] is
///    delivered before the blocks that replace them.
/// 4. The cost of a read depends on what is new since the cursor, not on the length of the chain.
/// 5. A chain that is shorter than before, and has not replaced any block that was read, is
///    *behind*: nothing is withdrawn, and [`Batch::behind`] says by how much.
///
/// [`Nature::exemptions`] lists the laws that a source cannot keep.
#[async_trait]
pub trait ChainSource: Send {
    /// What kind of source this is, and from which laws it is exempt.
    fn nature(&self) -> Nature;

    /// The dialect that the node or the database shows, whatever this source was made for. None: it does not
    /// show it yet.
    ///
    /// # Errors
    /// When the source cannot be read; see [`SourceError::is_transient`].
    async fn dialect(&mut self) -> Result<Option<Dialect>, SourceError>;

    /// The hash of block 0, which identifies a chain. None while there is no block 0.
    ///
    /// # Errors
    /// When the source cannot be read; see [`SourceError::is_transient`].
    async fn genesis(&mut self) -> Result<Option<BlockHash>, SourceError>;

    /// The newest block. None while there is no block.
    ///
    /// # Errors
    /// When the source cannot be read; see [`SourceError::is_transient`].
    async fn head(&mut self) -> Result<Option<Head>, SourceError>;

    /// When the block at a height was made, according to the chain. None: there is no such
    /// block, or its time cannot be read.
    ///
    /// # Errors
    /// When the source cannot be read; see [`SourceError::is_transient`].
    async fn time(&mut self, height: BlockHeight) -> Result<Option<Timestamp>, SourceError>;

    /// A cursor that begins at `start`. It delivers nothing yet.
    ///
    /// # Errors
    /// When the source cannot be read; see [`SourceError::is_transient`].
    async fn begin(&mut self, start: Start) -> Result<Cursor, SourceError>;

    /// The events since `cursor`. `limit` is a soft bound on their number: a block is never split,
    /// so the last one may exceed it; 0 counts as 1. 16 MiB of transactions are another soft bound.
    ///
    /// Cancel-safe: nothing is lost when the future is dropped, because the cursor is the only
    /// position.
    ///
    /// # Errors
    /// [`SourceError::OtherChain`] when block 0 is not the cursor's; else when the source cannot be
    /// read; see [`SourceError::is_transient`].
    async fn read(
        &mut self,
        cursor: &Cursor,
        interest: Arc<dyn Interest>,
        limit: usize,
    ) -> Result<Batch, SourceError>;

    /// Whether this process has used more of the node's time than its share: then deferrable
    /// requests wait. Always false for a source that sends no requests to the node.
    fn is_over_its_share(&self) -> bool {
        false
    }

    /// Resolves when there may be new events. Cancel-safe.
    async fn changed(&mut self);
}

/// Which transactions are delivered. The others are skipped without being parsed.
pub trait Interest: Send + Sync {
    /// Whether a transaction from one address to another is wanted. The texts come from the chain
    /// and may be anything. It is called for every transaction, on whatever thread the source reads,
    /// so it should be quick.
    fn wants(&self, from: &str, to: &str) -> bool;
}

/// The interest in every transaction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everything;

impl Interest for Everything {
    fn wants(&self, _from: &str, _to: &str) -> bool {
        true
    }
}

/// Where a new cursor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After the newest block: nothing that is already on the chain is delivered. If a
    /// reorganisation later replaces blocks below that point, the blocks that replace them are new
    /// and are delivered.
    Head,
    /// With the block at this height, whether it exists already or not. Nothing below it is
    /// delivered.
    Height(BlockHeight),
}

/// The kind of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// A short name for logs and metrics.
    pub name: &'static str,
    /// Whether reading it uses the time of a node that also serves others.
    pub is_networked: bool,
    /// The laws that it cannot keep.
    pub exemptions: &'static [Exemption],
}

/// What a source cannot see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exemption {
    /// Transactions added to a height more than 64 blocks below the position are not seen. Those
    /// added within these 64 blocks are searched for repeatedly, a few blocks at a time, and are
    /// seen only if they are there before their block is no longer among the 64.
    LateRowsBelowWindow,
    /// A block more than 64 blocks below the position whose own row is rewritten in place (same row
    /// id, same hash, other metadata) is not seen. It matters only for followers, whose
    /// transactions are in that metadata.
    RewrittenMetadataBelowWindow,
    /// Transactions that were added to a height more than 64 blocks below the position, and not read
    /// before the file was replaced by one rebuilt from the same chain, are not seen: the new file
    /// numbers its rows by height, so nothing tells them from rows that were read.
    UnreadRowsBelowWindowOfReplacedFile,
    /// A block that the source cannot read, or that shows fewer transactions than it counts, is
    /// skipped: it becomes a [`ChainEvent::Gap`], and a [`ChainEvent::GapFilled`] once it can be
    /// read. The last 256 gaps are kept.
    Gaps,
}

impl Exemption {
    /// Its meaning, as a sentence for an operator.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::LateRowsBelowWindow => {
                "transactions added to a block more than 64 below the position are not seen"
            }
            Self::RewrittenMetadataBelowWindow => {
                "a block more than 64 below the position that is rewritten in place is not seen"
            }
            Self::UnreadRowsBelowWindowOfReplacedFile => {
                "transactions added to a block more than 64 below the position just before the file \
                 is replaced are not seen"
            }
            Self::Gaps => {
                "a block that the node cannot serve whole is skipped and recorded as a gap"
            }
        }
    }
}
