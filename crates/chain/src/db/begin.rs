//! Where a cursor begins, and what it knows of the chain below.

use super::query::{BlockRow, Query, Summary};
use crate::source::{Cursor, Entry, Kind, Mark, Origin, Start, WINDOW};

/// The cursor for a chain that has no block yet.
pub(super) fn nothing_yet(start: Start) -> Cursor {
    Cursor::new(Kind::Db, origin(start, None))
}

fn origin(start: Start, head: Option<u64>) -> Origin {
    match start {
        Start::Head => Origin {
            height: head.map_or(0, |height| height.saturating_add(1)),
            lowers: true,
        },
        Start::Height(height) => Origin {
            height: height.0,
            lowers: false,
        },
    }
}

/// A cursor at `start`. It costs about seventy seeks, however long the chain is: nothing is
/// scanned.
pub(super) fn begin(query: Query<'_>, start: Start) -> rusqlite::Result<Cursor> {
    let Some(head) = query.head()? else {
        return Ok(nothing_yet(start));
    };
    let mut cursor = Cursor::new(Kind::Db, origin(start, Some(head.height())));
    cursor.genesis = query.block(0)?.map(|block| block.head.hash);
    mark_now(query, &mut cursor)?;
    let Some(below) = cursor.origin.height.checked_sub(1) else {
        return Ok(cursor);
    };
    let mut window = query.blocks_down_from(below, WINDOW as usize)?;
    window.reverse();
    let (Some(first), Some(tip)) = (window.first(), window.last()) else {
        return Ok(cursor);
    };
    cursor.tip = Some(tip.head.clone());

    // A row older than everything in the window, if one is known: after a fork in the window, new
    // rows have higher ids.
    let mut mark = Mark::default();
    if let Some((last, height)) = query.last_transaction()?
        && height < first.height()
    {
        mark = last;
    }
    for height in sparse(first.height(), tip.height()) {
        if let Some(block) = query.block(height)? {
            cursor.trail.push(unseen(&block));
        }
    }
    for block in &window {
        let summary = query.summary(block.height())?;
        cursor.trail.push(entry(query, block, summary, &mut mark)?);
    }
    Ok(cursor)
}

/// Converts a cursor of the other kind of source into one of this kind: its row ids and digests
/// mean nothing here.
pub(super) fn adopt(query: Query<'_>, cursor: &mut Cursor) -> rusqlite::Result<()> {
    cursor.kind = Kind::Db;
    mark_now(query, cursor)
}

/// Marks the rows that exist now as seen by the search for late rows. Rows above the position are
/// found by their height.
fn mark_now(query: Query<'_>, cursor: &mut Cursor) -> rusqlite::Result<()> {
    cursor.transactions = query
        .last_transaction()?
        .map(|(mark, _)| mark)
        .unwrap_or_default();
    cursor.blocks = query
        .block_mark(query.last_block_id()?)?
        .unwrap_or_default();
    Ok(())
}

/// The heights below the window that a trail which had read them all would still remember,
/// ascending.
fn sparse(window: u64, tip: u64) -> Vec<u64> {
    let mut heights = Vec::new();
    let mut age = WINDOW;
    while age <= tip {
        // Divisible by the largest power of two within its age: the trail keeps it as it grows
        // older.
        let step = 1_u64 << age.ilog2();
        heights.push((tip - age) / step * step);
        age = age.saturating_mul(2);
    }
    heights.extend([0, 1]);
    heights.retain(|height| *height < window);
    heights.sort_unstable();
    heights.dedup();
    heights
}

/// A block of which the trail keeps only the hash.
pub(super) fn unseen(block: &BlockRow) -> Entry {
    Entry {
        height: block.height(),
        hash: block.print(),
        digest: 0,
        tx_id: 0,
        tx_print: 0,
        block_id: block.id,
    }
}

/// A block of the window. `mark` is the highest transaction row seen so far, and moves on.
pub(super) fn entry(
    query: Query<'_>,
    block: &BlockRow,
    summary: Summary,
    mark: &mut Mark,
) -> rusqlite::Result<Entry> {
    if let Some(id) = summary.highest_id().filter(|id| *id > mark.id)
        && let Some(found) = query.transaction_mark(id)?
    {
        *mark = found;
    }
    Ok(Entry {
        digest: summary.digest(block),
        tx_id: mark.id,
        tx_print: mark.print,
        ..unseen(block)
    })
}
