//! What every source of the chain is: [`ChainSource`], and the words it speaks in.

mod cursor;
mod error;
mod event;
mod time;
mod trail;

use async_trait::async_trait;

use agentry_protocol::{BlockHash, BlockHeight};

use crate::node::Head;

pub use cursor::Cursor;
pub(crate) use cursor::{Kind, Mark, Origin};
pub use error::SourceError;
pub(crate) use event::BYTES_PER_READ;
pub use event::{Batch, ChainEvent, ChainTransaction, Undecodable};
pub(crate) use time::milliseconds;
pub(crate) use trail::{Entry, HashPrint, Trail, WINDOW};

/// Where the chain can be read, from a position on.
///
/// # The laws
/// With `cursor` the position that a [`Batch`] returned, stored by the reader and given to the next
/// [`read`](ChainSource::read), in this process or a later one:
///
/// 1. Every transaction that [`Interest`] wants, of every canonical block from the start on, is
///    delivered at least once.
/// 2. In chain order (height, then order in the block), except those marked late.
/// 3. What a reorganisation or reset took off the chain is announced by
///    [`ChainEvent::Withdrawn`] before what stands there now is delivered.
/// 4. The cost of a read follows what is new since the cursor, not what the chain holds.
/// 5. A chain that is shorter than what was read of it, and shows no other block in the place of one
///    that was read, is *behind*: nothing is withdrawn, and [`Batch::behind`] says by how much.
///
/// What a source cannot keep of them by its nature stands in [`Nature::exemptions`].
#[async_trait]
pub trait ChainSource: Send {
    /// What kind of source this is, and from which laws it is exempt.
    fn nature(&self) -> Nature;

    /// The hash of block 0, by which a chain is known. None while there is no block 0.
    ///
    /// # Errors
    /// When the source cannot be read; see [`SourceError::is_transient`].
    async fn genesis(&mut self) -> Result<Option<BlockHash>, SourceError>;

    /// The newest block. None while there is no block.
    ///
    /// # Errors
    /// When the source cannot be read; see [`SourceError::is_transient`].
    async fn head(&mut self) -> Result<Option<Head>, SourceError>;

    /// When the block of a height was made, as the chain says: milliseconds since the epoch. None:
    /// there is no such block, or what it says cannot be read.
    ///
    /// # Errors
    /// When the source cannot be read; see [`SourceError::is_transient`].
    async fn time(&mut self, height: BlockHeight) -> Result<Option<u64>, SourceError>;

    /// A cursor that begins at `start`. It delivers nothing yet.
    ///
    /// # Errors
    /// When the source cannot be read; see [`SourceError::is_transient`].
    async fn begin(&mut self, start: Start) -> Result<Cursor, SourceError>;

    /// What is new since `cursor`. `limit` bounds the events softly: a block is never split, so the
    /// last one may overshoot it; 0 counts as 1. So do 16 MiB of transactions, however many they
    /// are.
    ///
    /// Cancel-safe: nothing is lost when the future is dropped, for the position is the cursor.
    ///
    /// # Errors
    /// [`SourceError::OtherChain`] when block 0 is not the cursor's; else when the source cannot be
    /// read; see [`SourceError::is_transient`].
    async fn read(
        &mut self,
        cursor: &Cursor,
        interest: &dyn Interest,
        limit: usize,
    ) -> Result<Batch, SourceError>;

    /// Whether this process has taken more of the node's time than it should: then what can wait
    /// does. A source that takes none of it never has.
    fn is_over_its_share(&self) -> bool {
        false
    }

    /// Resolves when something may be new, however that is known. Cancel-safe.
    async fn changed(&mut self);
}

/// Which transactions are delivered. The others are passed over without being parsed.
pub trait Interest: Send + Sync {
    /// Whether a transaction from one address to another is wanted. The texts are the chain's, and
    /// may be anything. It is asked on the caller's thread, once per distinct pair and read.
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
    /// After the newest block: of what stood on the chain before, nothing is delivered. Should a
    /// reorganisation later replace blocks below that point, what replaces them is new and is
    /// delivered.
    Head,
    /// With the block of this height, be it old or still to come. Nothing below it is delivered.
    Height(BlockHeight),
}

/// What kind of source one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// A short name for logs and metrics.
    pub name: &'static str,
    /// Reading it takes the time of a node that serves others, too.
    pub is_networked: bool,
    /// The laws that it cannot keep.
    pub exemptions: &'static [Exemption],
}

/// What a source cannot see by its nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exemption {
    /// Transactions added to a height more than 64 blocks below the position are not seen. Those
    /// added within these 64 blocks are looked for again and again, a few blocks at a time, and are
    /// seen only if they are there before their block has fallen out of them.
    LateRowsBelowWindow,
    /// A block more than 64 blocks below the position whose own row is rewritten in place (same row
    /// id, same hash, other metadata) is not seen. It matters for followers alone, whose
    /// transactions stand in that metadata.
    RewrittenMetadataBelowWindow,
    /// A block that the source cannot be given, or that shows fewer transactions than it counts, is
    /// passed over: it becomes a [`ChainEvent::Gap`], and a [`ChainEvent::GapFilled`] once it can be
    /// read. The last 256 gaps are remembered.
    Gaps,
}

impl Exemption {
    /// What it means, as a sentence for an operator.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::LateRowsBelowWindow => {
                "transactions added to a block more than 64 below the position are not seen"
            }
            Self::RewrittenMetadataBelowWindow => {
                "a block more than 64 below the position that is rewritten in place is not seen"
            }
            Self::Gaps => {
                "a block that the node cannot serve whole is passed over and recorded as a gap"
            }
        }
    }
}
