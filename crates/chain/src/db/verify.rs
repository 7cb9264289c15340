//! Whether what a cursor has read is still there.

use agentry_protocol::BlockHeight;

use super::begin;
use super::query::{BlockRow, Query};
use crate::node::Head;
use crate::source::{ChainEvent, Cursor, Entry, Kind, Mark, SourceError, Trail, WINDOW};

/// Moves `cursor` back to where its chain and the database's diverge, if they do, and reports it.
pub(super) fn verify(
    query: Query<'_>,
    cursor: &mut Cursor,
) -> rusqlite::Result<Result<Option<ChainEvent>, SourceError>> {
    let genesis = query.block(0)?.map(|block| block.head.hash);
    match (cursor.genesis, genesis) {
        (Some(expected), Some(found)) if expected != found => {
            return Ok(Err(SourceError::OtherChain { expected, found }));
        }
        (None, Some(found)) if cursor.tip.is_some() => cursor.genesis = Some(found),
        _ => {}
    }
    if cursor.kind != Kind::Db {
        begin::adopt(query, cursor)?;
    }
    let Some(tip) = cursor.tip.clone() else {
        marks(query, cursor)?;
        return Ok(Ok(None));
    };
    if genesis.is_none() && cursor.genesis.is_some() && query.head()?.is_none() {
        // The node has created its file again but not its first block yet. Until then nothing is
        // known about the chain.
        return Ok(Ok(None));
    }
    let withdrawn = match fork(query, cursor, &tip)? {
        Remaining::Whole => None,
        Remaining::Through(fork) => {
            let above = Some(fork.height);
            Some(ChainEvent::Withdrawn {
                above,
                depth: cursor.withdraw(Some(fork)),
            })
        }
        Remaining::Nothing => Some(ChainEvent::Withdrawn {
            above: None,
            depth: cursor.withdraw(None),
        }),
    };
    marks(query, cursor)?;
    if let Some(ChainEvent::Withdrawn {
        above: Some(above), ..
    }) = &withdrawn
    {
        refill(query, cursor, above.0)?;
    }
    Ok(Ok(withdrawn))
}

/// Which part of the cursor's chain is still canonical.
enum Remaining {
    /// All of it: no block was replaced. The chain may be shorter than it was.
    Whole,
    /// Everything through this block.
    Through(Head),
    /// None of the blocks in the trail, except block 0.
    Nothing,
}

/// Where a block differs from the one that was read. Blocks that are only missing prove nothing:
/// the file may be an older copy, or the node may be catching up again.
fn fork(query: Query<'_>, cursor: &Cursor, tip: &Head) -> rusqlite::Result<Remaining> {
    let start = Trail::window_start(tip.height.0);
    let blocks = query.blocks(start, tip.height.0, WINDOW as usize)?;
    let in_window = |entry: &Entry| -> Option<&BlockRow> {
        let at = blocks
            .binary_search_by_key(&entry.height, BlockRow::height)
            .ok()?;
        blocks.get(at)
    };
    let is_other = |entry: &Entry, block: &BlockRow| block.print() != entry.hash;
    let window = || {
        cursor
            .trail
            .newest_first()
            .take_while(|entry| entry.height >= start)
    };
    let mut conflict = window()
        .filter(|entry| in_window(entry).is_some_and(|block| is_other(entry, block)))
        .map(|entry| entry.height)
        .min();
    // The blocks above a replaced block belong to the same branch as it.
    let above =
        |entry: &Entry, conflict: Option<u64>| conflict.is_some_and(|at| entry.height >= at);
    if let Some(block) = window()
        .filter(|entry| !above(entry, conflict))
        .find_map(in_window)
    {
        return Ok(match conflict {
            Some(_) => Remaining::Through(block.head.clone()),
            None => Remaining::Whole,
        });
    }
    for entry in cursor
        .trail
        .newest_first()
        .filter(|entry| entry.height < start)
    {
        match query.block(entry.height)? {
            None => {}
            Some(block) if is_other(entry, &block) => conflict = Some(entry.height),
            Some(_) if conflict.is_none() => return Ok(Remaining::Whole),
            // Only block 0 is the same, far below the window: another run of the same chain.
            Some(block) if block.head.height == BlockHeight(0) => return Ok(Remaining::Nothing),
            Some(block) => return Ok(Remaining::Through(block.head)),
        }
    }
    Ok(match conflict {
        Some(_) => Remaining::Nothing,
        None => Remaining::Whole,
    })
}

/// After a fork the window is lower, where the trail is sparse: the blocks that are there now
/// become the baseline for later changes. A row above the mark is not part of it: it is new, and
/// read with the late ones.
fn refill(query: Query<'_>, cursor: &mut Cursor, tip: u64) -> rusqlite::Result<()> {
    for block in query.blocks(Trail::window_start(tip), tip, WINDOW as usize)? {
        if cursor.trail.get(block.height()).is_none() {
            let mut entry = begin::unseen(&block);
            entry.digest = query.summary(block.height())?.digest(&block);
            if block.id > cursor.blocks.id {
                entry.block_id = 0;
            }
            cursor.trail.fill(entry);
        }
    }
    Ok(())
}

/// Moves the marks down where their rows are gone or have been replaced: SQLite may have given
/// their ids, and all above, to other rows (hazard 3 in `docs/hazards.md`).
fn marks(query: Query<'_>, cursor: &mut Cursor) -> rusqlite::Result<()> {
    if !transaction_exists(query, cursor.transactions)? {
        let mut lower = Mark::default();
        for entry in cursor.trail.newest_first() {
            let mark = Mark {
                id: entry.tx_id,
                print: entry.tx_print,
            };
            if mark.id > 0 && mark.id < cursor.transactions.id && transaction_exists(query, mark)? {
                lower = mark;
                break;
            }
        }
        cursor.transactions = lower;
    }
    if !block_exists(query, cursor.blocks)? {
        let mut lower = Mark::default();
        for entry in cursor
            .trail
            .newest_first()
            .filter(|entry| entry.block_id > 0)
        {
            let now = query
                .block(entry.height)?
                .filter(|block| block.print() == entry.hash);
            if let Some(block) = now.filter(|block| block.id == entry.block_id) {
                lower = block.mark();
                break;
            }
        }
        cursor.blocks = lower;
    }
    Ok(())
}

fn transaction_exists(query: Query<'_>, mark: Mark) -> rusqlite::Result<bool> {
    Ok(mark.id == 0 || query.transaction_mark(mark.id)? == Some(mark))
}

fn block_exists(query: Query<'_>, mark: Mark) -> rusqlite::Result<bool> {
    Ok(mark.id == 0 || query.block_mark(mark.id)? == Some(mark))
}
