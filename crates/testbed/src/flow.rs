//! A flow of pings from plain wallets, each with one transaction that is reposted until mined.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::http;
use crate::world::{Posting, World};

/// One in this many transactions is unrelated: its recipient is not hosted.
const BYSTANDERS: usize = 4;

/// How many wallets are reserved for the test's other transactions.
const RESERVE: usize = 20;

/// An address that is not hosted.
const NOBODY: &str = "ait10000000000000000000000000000000000000000";

/// A steady flow of pings, until this is stopped.
#[derive(Debug)]
pub struct Flow {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// Starts to ping agents picked at random, with random pauses of up to `longest`.
    pub fn flow(self: &Arc<Self>, mut dice: Dice, longest: Duration) -> Flow {
        let end = Arc::new(AtomicBool::new(false));
        let (world, ended) = (Arc::clone(self), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let mut looked = Instant::now();
            while !ended.load(Ordering::SeqCst) {
                if world.left() <= RESERVE {
                    // The test took too long; the waiting part of it reports the timeout.
                } else if dice.below(BYSTANDERS) == 0 {
                    world.bystander();
                } else {
                    world.ping(dice.below(world.agents.len()));
                }
                std::thread::sleep(dice.up_to(longest));
                if looked.elapsed() > world.chain.block_time() * 2 {
                    world.repost();
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
    pub fn ping(&self, agent: usize) -> Posting {
        let posting = self.write(&self.agents[agent].address, "ping", true);
        self.post(&posting.body);
        posting
    }

    /// Posts an unrelated transaction, which must still be mined.
    pub fn bystander(&self) -> Posting {
        let posting = self.write(&NOBODY.parse().unwrap(), "ping", false);
        self.post(&posting.body);
        posting
    }

    /// Posts a body once, and returns the status, if there is an answer.
    pub fn post(&self, body: &str) -> Option<u16> {
        http::post(self.chain.port(), "/rpc/transaction", body)
            .ok()
            .map(|(status, _)| status)
    }

    /// Posts again the transactions that are certainly neither pending nor mined. No other thread
    /// may post the same transactions at the same time.
    pub fn repost(&self) {
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
    /// Stops the flow, and waits until it has ended.
    pub fn stop(mut self) {
        self.end.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // The test has already failed; the world reports that when it is dropped.
            drop(thread.join());
        }
    }
}
