//! When the chain is read up to its head at the start.
//!
//! Until then agents do not act, and nothing is signed or posted: the store may be older than what
//! the chain shows of its own wallets, because it was restored from a copy, or because it is new.

use agentry_protocol::BlockHeight;

/// The block up to which the chain must be read: its head at the start.
#[derive(Clone, Debug)]
pub struct Goal {
    target: BlockHeight,
    is_forked: bool,
}

impl Goal {
    /// The chain must be read up to `target`.
    pub const fn to(target: BlockHeight) -> Self {
        Self {
            target,
            is_forked: false,
        }
    }

    /// The head at the start.
    pub const fn target(&self) -> BlockHeight {
        self.target
    }

    /// The chain is read through this block; `withdrawn` says whether this reading has withdrawn
    /// blocks, and `more` whether the source has blocks above it. Returns whether that is far enough.
    ///
    /// After a withdrawal the head at the start may not be on the chain any more, and its height may
    /// never be reached again. Then all that the source has is enough, but nothing less: the blocks
    /// that were withdrawn may have been replaced long before the start.
    pub fn read(&mut self, through: BlockHeight, withdrawn: bool, more: bool) -> bool {
        self.is_forked |= withdrawn;
        through >= self.target || (self.is_forked && !more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(height: u64) -> BlockHeight {
        BlockHeight(height)
    }

    #[test]
    fn the_head_at_the_start_is_far_enough() {
        let mut goal = Goal::to(at(10));
        assert!(!goal.read(at(5), false, true));
        assert!(!goal.read(at(9), false, false));
        assert!(goal.read(at(12), false, true));
    }

    #[test]
    fn after_a_withdrawal_all_that_there_is_is_far_enough() {
        let mut goal = Goal::to(at(10));
        assert!(!goal.read(at(9), false, false));
        assert!(goal.read(at(4), true, false));
    }

    #[test]
    fn blocks_above_those_that_were_replaced_are_read_first() {
        let mut goal = Goal::to(at(10));
        assert!(!goal.read(at(2), true, true));
        assert!(!goal.read(at(4), false, true));
        assert!(goal.read(at(9), false, false));
    }
}
