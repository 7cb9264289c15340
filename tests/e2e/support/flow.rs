//! Whoever pings: plain wallets, each with one transaction, which see to it that it is mined.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::http;
use super::world::{Posting, World};

/// Of so many transactions one is a bystander's, to nobody who is hosted.
const BYSTANDERS: usize = 4;

/// How many wallets are left for what else a test sends.
const RESERVE: usize = 20;

/// An address that is not hosted.
const NOBODY: &str = "ait10000000000000000000000000000000000000000";

/// Pings that come all the time, until this is stopped.
#[derive(Debug)]
pub(crate) struct Flow {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// Begins to ping agents picked at random, with random pauses of up to `longest`.
    pub(crate) fn flow(self: &Arc<Self>, mut dice: Dice, longest: Duration) -> Flow {
        let end = Arc::new(AtomicBool::new(false));
        let (world, ended) = (Arc::clone(self), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let mut looked = Instant::now();
            while !ended.load(Ordering::SeqCst) {
                if world.left() <= RESERVE {
                    // It took too long; whoever waits will say for what.
                } else if dice.below(BYSTANDERS) == 0 {
                    world.bystander();
                } else {
                    world.ping(dice.below(world.agents.len()));
                }
                std::thread::sleep(dice.up_to(longest));
                if looked.elapsed() > world.chain.block_time() * 2 {
                    world.mend();
                    looked = Instant::now();
                }
            }
        });
        Flow {
            end,
            thread: Some(thread),
        }
    }

    /// Posts a ping to an agent.
    pub(crate) fn ping(&self, agent: usize) -> Posting {
        let posting = self.write(&self.agents[agent].address, "ping", true);
        self.post(&posting.body);
        posting
    }

    /// Posts a transaction that is nobody's business, and must be mined all the same.
    pub(crate) fn bystander(&self) -> Posting {
        let posting = self.write(&NOBODY.parse().unwrap(), "ping", false);
        self.post(&posting.body);
        posting
    }

    /// Posts a body once, and returns the status, if there is an answer.
    pub(crate) fn post(&self, body: &str) -> Option<u16> {
        http::post(self.chain.port(), "/rpc/transaction", body)
            .ok()
            .map(|(status, _)| status)
    }

    /// Posts again what is certainly neither pending nor mined. Nobody may be posting the same
    /// at the same time.
    pub(crate) fn mend(&self) {
        let postings: HashMap<String, Posting> = self
            .postings()
            .into_iter()
            .map(|posting| (posting.hash.clone(), posting))
            .collect();
        for hash in self.chain.absent(postings.keys().cloned()) {
            self.post(&postings[&hash].body);
        }
    }
}

impl Flow {
    /// Ends it, and waits until it has.
    pub(crate) fn stop(mut self) {
        self.end.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // The test has failed already; a world is told of that when it goes, not its pinger.
            drop(thread.join());
        }
    }
}
