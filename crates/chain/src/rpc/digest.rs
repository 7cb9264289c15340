//! The digest of a block's content, by which a change is noticed.

use super::fetch::RawBlock;
use crate::node::Head;
use crate::source::{Entry, HashPrint};

/// The digest of a block that the node could not show.
pub(super) const UNREAD: u64 = 0;

/// The digest of a block of which only the header was read.
pub(super) const HEADER: u64 = 1;

/// The digest of a block's content: the number of transactions that it counts in the upper half, a
/// fingerprint of those that it shows in the lower half. The lower half is 0 where the node shows
/// none in this call (blocks-range of older nodes), and is the same whichever call shows them.
pub(super) fn digest(block: &RawBlock) -> u64 {
    let count = 1 << 63 | (block.head.tx_count & 0x7fff_ffff) << 32;
    let rows = block.rows.as_ref().map_or(0, |rows| rows.print.max(1));
    count | u64::from(rows)
}

/// Whether a block's content is unchanged, as far as both digests tell.
pub(super) fn is_same(known: u64, now: u64) -> bool {
    let rows = |digest: u64| digest & 0xffff_ffff;
    let shown_twice = rows(known) != 0 && rows(now) != 0;
    known > HEADER && known >> 32 == now >> 32 && (!shown_twice || rows(known) == rows(now))
}

/// The trail's entry of a block.
pub(super) fn entry(head: &Head, digest: u64) -> Entry {
    Entry {
        height: head.height.0,
        hash: HashPrint::from(&head.hash),
        digest,
        tx_id: 0,
        tx_print: 0,
        block_id: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_compared_by_what_both_looks_show() {
        let of = |count: u64, rows: u64| 1 << 63 | count << 32 | rows;
        assert!(is_same(of(3, 7), of(3, 7)));
        assert!(is_same(of(3, 7), of(3, 0)) && is_same(of(3, 0), of(3, 7)));
        assert!(!is_same(of(3, 7), of(4, 7)));
        assert!(!is_same(of(3, 7), of(3, 8)));
        assert!(!is_same(HEADER, HEADER) && !is_same(UNREAD, of(0, 0)));
    }
}
