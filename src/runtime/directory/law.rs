//! The law of the directory: however the chain forks, and in whatever order old and new blocks are
//! read, the latest card of each address on the chain counts in the end.

use std::collections::{BTreeMap, VecDeque};

use agentry_core::Commit;
use agentry_core::commit::{Backfill, CardSeen, Observation, Step};
use agentry_protocol::{
    Address, BlockHeight, KnownCommand, Seed, SigningKey, Timestamp, TransactionHash,
};
use agentry_store::Store;
use proptest::prelude::*;

use super::{Cards, Directory, Registration};

const NOW: Timestamp = Timestamp::new(1_800_000_000_000);

/// Blocks this deep are final; no fork is deeper.
const DEPTH: usize = 3;

/// The announcement or withdrawal of an address in a block.
#[derive(Clone, Copy, Debug)]
struct Said {
    byte: u8,
    /// Whether the address announces a card; otherwise it withdraws its card.
    announces: bool,
}

#[derive(Clone, Debug)]
enum Event {
    /// The chain grows by a block.
    Block(Vec<Said>),
    /// The last blocks are replaced by one block more than there were.
    Fork(usize, Vec<Said>),
    /// This many old blocks are read.
    Read(usize),
    /// The result of that reading is stored, perhaps after a fork.
    Store,
    /// The watcher reads the last blocks again.
    Again,
}

fn block() -> impl Strategy<Value = Vec<Said>> {
    let said = (1..=3_u8, prop::bool::weighted(0.7));
    prop::collection::vec(
        said.prop_map(|(byte, announces)| Said { byte, announces }),
        0..3,
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => block().prop_map(Event::Block),
        3 => (1..=DEPTH, block()).prop_map(|(depth, block)| Event::Fork(depth, block)),
        3 => (1..4_usize).prop_map(Event::Read),
        3 => Just(Event::Store),
        1 => Just(Event::Again),
    ]
}

/// A block, and an id that distinguishes it from others of its height.
#[derive(Clone, Debug)]
struct Block {
    id: u64,
    cards: Vec<CardSeen>,
}

struct Stage {
    store: Store,
    directory: Directory,
    chain: Vec<Block>,
    /// The first block that the watcher reads.
    watched: usize,
    /// The old blocks that the backfill has read.
    read: Vec<u64>,
    /// The results that the backfill has not stored yet.
    pending: VecDeque<Backfill>,
    next_id: u64,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn card(&mut self, said: Said, height: usize) -> CardSeen {
        self.next_id += 1;
        let key = SigningKey::from_seed(&Seed::from_bytes([said.byte; 32])).public_key();
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&self.next_id.to_be_bytes());
        let name = format!("n{}", self.next_id);
        let card = Registration::new(&name, None, &[], &[], 3_600_000).unwrap();
        let card = KnownCommand::Announce(card.announce(NOW, None));
        CardSeen {
            address: Address::from_public_key(&key),
            hash: TransactionHash::from_bytes(hash),
            height: BlockHeight(height as u64),
            public_key: key,
            card: said.announces.then(|| card.body().to_compact()),
            expires_at: if said.announces {
                NOW.plus_ms(3_600_000)
            } else {
                Timestamp::EPOCH
            },
            announced_at: NOW,
        }
    }

    fn grow(&mut self, said: &[Said]) {
        let height = self.chain.len();
        let cards = said.iter().map(|said| self.card(*said, height)).collect();
        self.next_id += 1;
        self.chain.push(Block {
            id: self.next_id,
            cards,
        });
    }

    fn cards_from(&self, height: usize) -> impl Iterator<Item = Step> {
        let blocks = self.chain.iter().skip(height);
        blocks.flat_map(|block| block.cards.iter().cloned().map(Step::Card))
    }

    async fn commit(&self, commit: Commit) {
        let changes = self.store.commit(commit).await.unwrap();
        let refreshed = self.directory.refresh(&self.store, &changes.cards).await;
        refreshed.unwrap();
    }

    async fn observe(&self, steps: Vec<Step>) {
        let head = self.chain.len() as u64 - 1;
        self.commit(Commit::Observe(Observation {
            steps,
            cursor: serde_json::json!({}),
            catching_up: None,
            final_through: head.checked_sub(DEPTH as u64).map(BlockHeight),
            at: NOW,
        }))
        .await;
    }

    /// Reads further old blocks, after withdrawing those that are no longer on the chain.
    fn backfill(&mut self, blocks: usize) {
        let goal = self.watched + DEPTH;
        let before = self.read.len();
        let stands = self
            .read
            .iter()
            .zip(&self.chain)
            .take_while(|(read, block)| **read == block.id)
            .count();
        let height = |count: usize| count.checked_sub(1).map(|last| BlockHeight(last as u64));
        let mut steps = Vec::new();
        if stands < before {
            let above = height(stands);
            steps.push(Step::Withdrawn { above });
            self.read.truncate(stands);
        }
        let end = (stands + blocks).min(goal).min(self.chain.len());
        for (at, block) in self.chain.iter().enumerate().take(end).skip(stands) {
            // The watcher reports the higher blocks.
            if at < self.watched {
                steps.extend(block.cards.iter().cloned().map(Step::Card));
            }
            self.read.push(block.id);
        }
        self.pending.push_back(Backfill {
            steps,
            read_before: height(before.min(self.watched)),
            final_through: end
                .checked_sub(1 + DEPTH)
                .map(|last| BlockHeight(last as u64)),
            progress: (end < goal).then(|| serde_json::json!({ "read": end })),
            at: NOW,
            ..Backfill::default()
        });
    }

    async fn store_pending(&mut self) {
        while let Some(note) = self.pending.pop_front() {
            self.commit(Commit::Backfill(note)).await;
        }
    }

    async fn happen(&mut self, event: &Event) {
        match event {
            Event::Block(said) => {
                self.grow(said);
                let steps = self.cards_from(self.chain.len() - 1).collect();
                self.observe(steps).await;
            }
            Event::Fork(depth, said) => {
                let stands = self.chain.len().saturating_sub(*depth).max(1);
                let replaced = self.chain.len() - stands;
                self.chain.truncate(stands);
                for _ in 0..=replaced {
                    self.grow(said);
                }
                let above = Some(BlockHeight(stands as u64 - 1));
                let withdrawn = Step::Withdrawn { above };
                let steps = std::iter::once(withdrawn).chain(self.cards_from(stands));
                let steps = steps.collect();
                self.observe(steps).await;
            }
            Event::Read(blocks) => {
                // One reading at a time.
                self.store_pending().await;
                self.backfill(*blocks);
            }
            Event::Store => self.store_pending().await,
            Event::Again => {
                let from = self.chain.len().saturating_sub(DEPTH).max(self.watched);
                let steps = self.cards_from(from).collect();
                self.observe(steps).await;
            }
        }
    }

    /// The cards that count: by address, the name.
    fn expected(&self) -> BTreeMap<Address, TransactionHash> {
        let mut latest = BTreeMap::new();
        for card in self.chain.iter().flat_map(|block| &block.cards) {
            match card.card {
                Some(_) => latest.insert(card.address.clone(), card.hash),
                None => latest.remove(&card.address),
            };
        }
        latest
    }

    fn found(&self) -> BTreeMap<Address, TransactionHash> {
        let all = self.directory.find(&agentry_sdk::Query::all(), NOW);
        all.into_iter()
            .map(|card| (card.address, card.transaction))
            .collect()
    }
}

async fn check(old: &[Vec<Said>], events: &[Event]) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("agentry.db")).unwrap();
    let directory = Directory::load(&store, Vec::new(), &Cards::default())
        .await
        .unwrap();
    let mut stage = Stage {
        store,
        directory,
        chain: Vec::new(),
        watched: old.len(),
        read: Vec::new(),
        pending: VecDeque::new(),
        next_id: 0,
        _dir: dir,
    };
    for said in old {
        stage.grow(said);
    }
    for event in events {
        stage.happen(event).await;
        let done = stage.read.len() >= stage.watched + DEPTH && stage.pending.is_empty();
        let stands = stage.read.iter().zip(&stage.chain);
        if done && stands.into_iter().all(|(read, block)| *read == block.id) {
            prop_assert_eq!(stage.found(), stage.expected());
        }
    }
    while stage.chain.len() < stage.watched + DEPTH {
        stage.happen(&Event::Block(Vec::new())).await;
    }
    stage.happen(&Event::Read(usize::MAX / 2)).await;
    stage.happen(&Event::Store).await;
    prop_assert_eq!(stage.found(), stage.expected());
    let loaded = Directory::load(&stage.store, Vec::new(), &Cards::default())
        .await
        .unwrap();
    prop_assert_eq!(loaded.len(), stage.expected().len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_latest_of_each_address_on_the_chain_counts(
        old in prop::collection::vec(block(), 1..8),
        events in prop::collection::vec(event(), 0..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(&old, &events))?;
    }
}
