//! The simulated chain, with its only node.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::rc::Rc;

use agentry_core::nonce::NoncePolicy;
use agentry_protocol::{
    Address, BlockHeight, MessageDigest, Nonce, SignedTransaction, StoredTransaction, Timestamp,
    TransactionHash,
};

use super::peers;

/// A reorganisation replaces at most as many blocks; blocks below them are final.
pub(crate) const FINAL_DEPTH: u64 = 3;

/// A transaction, as it was posted.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) hash: TransactionHash,
    pub(crate) digest: MessageDigest,
    pub(crate) stored: Rc<StoredTransaction>,
    /// Whether the sender that it names has not signed it.
    pub(crate) is_forged: bool,
    /// Its bytes, if a hosted wallet has signed it.
    pub(crate) own: Option<Rc<SignedTransaction>>,
}

impl Transaction {
    /// A transaction of a hosted wallet.
    pub(crate) fn own(signed: &SignedTransaction) -> Self {
        Self {
            hash: signed.hash(),
            digest: signed.digest(),
            stored: Rc::new(signed.stored()),
            is_forged: false,
            own: Some(Rc::new(signed.clone())),
        }
    }

    /// Whether it is a text without a header.
    pub(crate) fn is_plain(&self) -> bool {
        let envelope = self.stored.envelope();
        envelope.payload.text().is_some() && envelope.header().is_none()
    }

    pub(crate) fn nonce(&self) -> Option<Nonce> {
        Nonce::of(&self.stored.nonce)
    }

    pub(crate) fn text(&self) -> Option<String> {
        peers::text(&self.stored.payload)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Stands for the block's hash.
    pub(crate) id: u64,
    /// When it was mined.
    pub(crate) time: Timestamp,
    pub(crate) transactions: Vec<Transaction>,
}

#[derive(Debug)]
pub(crate) struct Chain {
    /// Whether the node mines a hosted wallet's transaction only if its nonce is the account's
    /// counter.
    pub(crate) nonces: NoncePolicy,
    /// The blocks from height 1.
    pub(crate) blocks: Vec<Block>,
    pub(crate) mempool: Vec<Transaction>,
    last_id: u64,
}

impl Chain {
    pub(crate) fn new(nonces: NoncePolicy) -> Self {
        Self {
            nonces,
            blocks: Vec::new(),
            mempool: Vec::new(),
            last_id: 0,
        }
    }

    /// The counter of a hosted wallet's account as of a block: the next nonce.
    pub(crate) fn counter(&self, of: &Address, through: BlockHeight) -> Nonce {
        let own = self.transactions().filter(|(height, one)| {
            *height <= through && one.own.is_some() && one.stored.from == *of
        });
        let last = own.filter_map(|(_, one)| one.nonce()).max();
        last.map_or(Nonce::default(), Nonce::next)
    }

    /// Mines these transactions in a new block. Those whose turn has not come are pending, and those
    /// whose nonce is spent are gone.
    fn mine_all(&mut self, time: Timestamp, transactions: Vec<Transaction>) {
        self.push(time, Vec::new());
        for one in transactions {
            let turn = match (self.nonces, &one.own, one.nonce()) {
                (NoncePolicy::Sequential, Some(_), Some(nonce)) => {
                    nonce.cmp(&self.counter(&one.stored.from, self.head()))
                }
                _ => Ordering::Equal,
            };
            match (turn, self.blocks.last_mut()) {
                (Ordering::Equal, Some(block)) => block.transactions.push(one),
                (Ordering::Greater, _) => self.post(one),
                _ => {}
            }
        }
    }

    pub(crate) fn head(&self) -> BlockHeight {
        BlockHeight(self.blocks.len() as u64)
    }

    /// All transactions in blocks, in the chain's order, each with the height of its block.
    pub(crate) fn transactions(&self) -> impl Iterator<Item = (BlockHeight, &Transaction)> {
        let blocks = (1..).map(BlockHeight).zip(&self.blocks);
        blocks.flat_map(|(height, block)| block.transactions.iter().map(move |one| (height, one)))
    }

    /// The block that holds a transaction, if one does.
    pub(crate) fn place(&self, digest: MessageDigest) -> Option<BlockHeight> {
        let found = self.transactions().find(|(_, one)| one.digest == digest);
        found.map(|(height, _)| height)
    }

    /// Whether a transaction is in a block or pending.
    pub(crate) fn has(&self, digest: MessageDigest) -> bool {
        let is_pending = self.mempool.iter().any(|one| one.digest == digest);
        is_pending || self.place(digest).is_some()
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = TransactionHash> {
        self.mempool.iter().map(|one| one.hash)
    }

    /// The node takes a transaction, unless it has it pending already.
    pub(crate) fn post(&mut self, transaction: Transaction) {
        if self.mempool.iter().all(|one| one.hash != transaction.hash) {
            self.mempool.push(transaction);
        }
    }

    /// Mines the pending transactions, or only the first of them.
    pub(crate) fn mine(&mut self, time: Timestamp, at_most: usize) {
        let count = at_most.min(self.mempool.len());
        let transactions = self.mempool.drain(..count).collect();
        self.mine_all(time, transactions);
    }

    fn push(&mut self, time: Timestamp, transactions: Vec<Transaction>) {
        self.last_id += 1;
        self.blocks.push(Block {
            id: self.last_id,
            time,
            transactions,
        });
    }

    /// The node forgets one of its pending transactions.
    pub(crate) fn lose(&mut self, which: u8) {
        if !self.mempool.is_empty() {
            let which = usize::from(which) % self.mempool.len();
            self.mempool.remove(which);
        }
    }

    /// Other blocks take the place of the last ones. Two bits of `places` say of each transaction in
    /// these whether it is mined again, pending, or lost.
    pub(crate) fn reorganise(&mut self, depth: u8, blocks: u8, places: u16, time: Timestamp) {
        let depth = usize::from(depth)
            .min(FINAL_DEPTH as usize)
            .min(self.blocks.len().saturating_sub(1));
        if depth == 0 {
            return;
        }
        let withdrawn = self.blocks.split_off(self.blocks.len() - depth);
        // The new branch may hold what was pending on the old one.
        let taken = usize::from(blocks / 16) % 4;
        let taken = self.mempool.drain(..taken.min(self.mempool.len()));
        let mut mined: Vec<_> = taken.collect();
        let withdrawn = withdrawn.into_iter().flat_map(|block| block.transactions);
        for (index, transaction) in withdrawn.enumerate() {
            match (places >> (2 * (index % 8))) & 3 {
                0 | 1 => mined.push(transaction),
                2 => self.post(transaction),
                _ => {}
            }
        }
        // The new branch may be shorter at first, or longer.
        let count = (depth + usize::from(blocks) % 3).saturating_sub(1).max(1);
        let share = mined.len().div_ceil(count).max(1);
        let mut mined = mined.into_iter();
        for _ in 0..count {
            let transactions = mined.by_ref().take(share).collect();
            self.mine_all(time, transactions);
        }
    }

    /// Whether a transaction is in two blocks.
    pub(crate) fn repeats(&self) -> Option<MessageDigest> {
        let mut seen = BTreeSet::new();
        let own = self.transactions().filter(|(_, one)| one.own.is_some());
        let mut digests = own.map(|(_, one)| one.digest);
        digests.find(|digest| !seen.insert(*digest))
    }
}
