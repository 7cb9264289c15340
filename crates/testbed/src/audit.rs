//! The audit: reads the chain to its head, and compares it with what was sent.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use agentry_protocol::{MessageDigest, StoredTransaction};

use crate::chain::Mined;
use crate::process::Process;
use crate::world::{Posting, World};
use crate::{PATIENCE, spending, within};

/// After everything is answered, the number of blocks in which nothing may happen.
const QUIET: u64 = 3;

/// The chain compared with what was sent.
#[derive(Debug, Default)]
pub struct Audit {
    /// Transactions of plain wallets that are not mined.
    pub unmined: Vec<Posting>,
    /// Pings that are mined and not answered.
    pub unanswered: Vec<Posting>,
    /// How many pings are answered.
    pub answered: usize,
    /// Violations of the guarantees.
    pub wrong: Vec<String>,
}

/// How long it took until everything that was sent before was answered.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    /// How many pings were open.
    pub pings: usize,
    /// How many blocks it took.
    pub blocks: u64,
    /// How long it took.
    pub time: Duration,
}

impl World {
    /// Reads the chain.
    pub fn audit(&self) -> Audit {
        // The postings are read first: the chain, read later, may have more of them, never fewer.
        let postings = self.postings();
        let chain = self.chain.transactions();
        let mut audit = Audit::default();
        let mined: HashSet<&str> = chain.iter().map(|mined| mined.hash.as_str()).collect();
        // A row may lack its hash, or have another one, where a chain keeps no signatures.
        let digests: HashSet<MessageDigest> = chain
            .iter()
            .filter_map(|mined| mined.stored.as_ref())
            .filter(|stored| !stored.dialect.keeps_signatures())
            .map(StoredTransaction::digest)
            .collect();
        let keys: HashMap<&str, _> = self
            .agents
            .iter()
            .map(|agent| (agent.address.as_str(), &agent.public_key))
            .collect();
        let mut pongs: HashMap<(&str, &str), Vec<&Mined>> = HashMap::new();
        for one in &chain {
            let Some(key) = keys.get(one.sender.as_str()) else {
                continue;
            };
            // Where the chain keeps no signatures, the node has checked them.
            let signed = one.stored.as_ref().is_some_and(|stored| {
                !stored.dialect.keeps_signatures() || stored.verify(key).is_valid()
            });
            if !signed {
                // Not from the runtime, which signs what it sends.
                continue;
            }
            let says = one.stored.as_ref().map(|stored| stored.message());
            let says = says.as_ref().and_then(|message| message.root().as_str());
            if says != Some("pong") {
                audit
                    .wrong
                    .push(format!("an agent sent an unexpected message: {one:?}"));
            }
            let same: &mut Vec<&Mined> = pongs.entry((&one.sender, &one.recipient)).or_default();
            // Copies of one transaction, whose signatures somebody has spelled in another way, are one.
            let is_copy = |other: &&Mined| match (&other.stored, &one.stored) {
                (Some(other), Some(one)) => {
                    !one.dialect.keeps_signatures() && other.digest() == one.digest()
                }
                _ => false,
            };
            if !same.iter().any(is_copy) {
                same.push(one);
            }
        }
        let asked: HashSet<(&str, &str)> = postings
            .iter()
            .filter(|posting| posting.is_ping)
            .map(|posting| (posting.to.as_str(), posting.from.as_str()))
            .collect();
        for (pair, pongs) in &pongs {
            if pongs.len() > 1 {
                audit
                    .wrong
                    .push(format!("{} pongs for one ping: {pongs:?}", pongs.len()));
            }
            if !asked.contains(pair) {
                audit
                    .wrong
                    .push(format!("a pong without a ping: {pongs:?}"));
            }
        }
        for posting in &postings {
            let is_mined =
                mined.contains(posting.hash.as_str()) || digests.contains(&posting.digest);
            if !is_mined {
                audit.unmined.push(posting.clone());
            } else if posting.is_ping {
                if pongs.contains_key(&(posting.to.as_str(), posting.from.as_str())) {
                    audit.answered += 1;
                } else {
                    audit.unanswered.push(posting.clone());
                }
            }
        }
        audit
    }

    /// Waits until everything that was sent is mined and every ping is answered once.
    pub fn settle(&self) {
        let mut looked = Instant::now();
        let settled = within(PATIENCE, || {
            if looked.elapsed() > self.chain.block_time() * 2 {
                self.repost();
                looked = Instant::now();
            }
            let audit = self.audit();
            assert!(audit.wrong.is_empty(), "{:#?}", audit.wrong);
            (audit.unmined.is_empty() && audit.unanswered.is_empty()).then_some(())
        });
        if settled.is_none() {
            let audit = self.audit();
            panic!(
                "not settled in time: {} answered, unmined {:?}, unanswered {:?}; destroyed {:?}, errors {:?}",
                audit.answered,
                hashes(&audit.unmined),
                hashes(&audit.unanswered),
                self.chain.destroyed(),
                self.chain.errors(),
            );
        }
    }

    /// Checks that the runtime has destroyed no block by posting a mined transaction again. `others` are
    /// the transactions that the test posts: a busy node may take one only after the test has posted it
    /// again.
    pub fn assert_careful(&self, others: &HashSet<String>) {
        let mut careless = self.chain.destroyed();
        careless.retain(|hash| !others.contains(hash));
        assert!(
            careless.is_empty(),
            "blocks were destroyed by posting again: {careless:?}"
        );
    }

    /// Settles, waits for more blocks, stops the runtime, waits for more blocks again, and checks
    /// that nothing was answered twice and that only `culprits` destroyed blocks.
    pub fn finish(&self, runtime: Process, culprits: &HashSet<String>) -> usize {
        self.settle();
        self.chain.await_blocks(self.chain.head(), QUIET);
        self.settle();
        runtime.stop();
        self.chain.await_blocks(self.chain.head(), QUIET);
        self.settle();
        let pings = self.postings().into_iter().map(|posting| posting.hash);
        self.assert_careful(&culprits.iter().cloned().chain(pings).collect());
        let errors = self.chain.errors();
        assert!(errors.is_empty(), "{errors:?}");
        spending::check(&self.path().join("agentry.db"));
        let answered = self.audit().answered;
        assert!(
            answered > 0,
            "no ping was sent, so the test checked nothing"
        );
        answered
    }

    /// Measures how long it takes until every ping that a node has now is answered.
    pub fn recovery(&self) -> Recovery {
        let (began, head) = (Instant::now(), self.chain.head());
        let sent = self.postings();
        let absent = self
            .chain
            .absent(sent.iter().map(|posting| posting.hash.clone()));
        let taken: HashSet<String> = sent
            .into_iter()
            .map(|posting| posting.hash)
            .filter(|hash| !absent.contains(hash))
            .collect();
        let before = self.audit();
        let waiting: HashSet<String> = before
            .unmined
            .iter()
            .chain(&before.unanswered)
            .filter(|posting| posting.is_ping && taken.contains(&posting.hash))
            .map(|posting| posting.from.to_string())
            .collect();
        let open = |audit: &Audit| {
            audit
                .unmined
                .iter()
                .chain(&audit.unanswered)
                .filter(|posting| posting.is_ping && waiting.contains(posting.from.as_str()))
                .count()
        };
        let done = within(PATIENCE, || {
            (open(&self.audit()) == 0).then(|| began.elapsed())
        });
        let time = done.unwrap_or_else(|| {
            let audit = self.audit();
            panic!(
                "no recovery: of {} pings, these are not answered: {:?}, and these are not mined: {:?}",
                waiting.len(),
                hashes(&audit.unanswered),
                hashes(&audit.unmined)
            )
        });
        let last = self
            .chain
            .transactions()
            .into_iter()
            .filter(|mined| waiting.contains(&mined.recipient))
            .map(|mined| mined.height)
            .max();
        Recovery {
            pings: waiting.len(),
            blocks: last.map_or(0, |last| last.saturating_sub(head)),
            time,
        }
    }
}

fn hashes(postings: &[Posting]) -> Vec<&str> {
    postings
        .iter()
        .map(|posting| posting.hash.as_str())
        .collect()
}

impl std::fmt::Display for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            pings,
            blocks,
            time,
        } = self;
        write!(
            f,
            "{pings} pings answered after {blocks} blocks, {} ms",
            time.as_millis()
        )
    }
}
