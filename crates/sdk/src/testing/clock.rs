//! Time in a simulation: it stands still until it is told to go on.

use std::time::Duration;

use super::Simulation;
use super::outbox::after_ms;
use super::queue::Item;

/// The most things that hosted agents may do while the clock stands still. What goes beyond is a
/// loop.
const MAX_STEPS: usize = 20_000;
/// The most blocks that coming to rest may take.
const MAX_ROUNDS: usize = 1_000;

impl Simulation {
    /// Runs what is due now, until nothing is. What is sent waits to be mined.
    ///
    /// # Panics
    /// It does not end: something sets itself off without end.
    pub async fn run_due(&mut self) {
        let mut steps = 0;
        let mut host = 0;
        while host < self.hosts.len() {
            if self.step(host).await {
                steps += 1;
                assert!(
                    steps <= MAX_STEPS,
                    "the agents do not come to rest: {steps} steps while the clock stood still"
                );
            } else {
                host += 1;
            }
        }
    }

    /// Runs what is due and mines what is sent, until nothing moves any more at this time.
    ///
    /// # Panics
    /// It does not come to rest: agents that answer each other without end. Where that is what is
    /// tested, use [`settle_within`](Self::settle_within).
    pub async fn settle(&mut self) {
        assert!(
            self.settle_within(MAX_ROUNDS).await,
            "the conversation does not come to rest within {MAX_ROUNDS} blocks"
        );
    }

    /// As [`settle`](Self::settle), for at most so many blocks. Says whether all is at rest.
    ///
    /// # Panics
    /// As [`run_due`](Self::run_due).
    pub async fn settle_within(&mut self, blocks: usize) -> bool {
        self.run_due().await;
        for _ in 0..blocks {
            if self.is_at_rest() {
                return true;
            }
            self.mine();
            self.run_due().await;
        }
        self.is_at_rest()
    }

    fn is_at_rest(&self) -> bool {
        self.ledger.pool.is_empty() && self.lost.is_empty()
    }

    /// Lets time go by. The clock stops at every timer, retry, time limit and overdue
    /// acknowledgment on the way, and everything comes to rest there.
    ///
    /// # Panics
    /// As [`settle`](Self::settle), or if there are more than 100,000 stops on the way.
    pub async fn advance(&mut self, by: Duration) {
        let end = after_ms(self.now_ms, by);
        self.settle().await;
        for _ in 0..100_000 {
            let Some(next) = self.next_stop().filter(|next| *next <= end) else {
                self.now_ms = end;
                self.settle().await;
                return;
            };
            self.now_ms = next;
            self.settle().await;
        }
        panic!("more than 100,000 stops of the clock on the way");
    }

    /// When something next becomes due, of what is not due now.
    fn next_stop(&self) -> Option<u64> {
        let now = self.now_ms;
        let mut stops = Vec::new();
        for hosted in &self.hosts {
            let store = &hosted.store;
            stops.extend(store.timers.iter().map(|timer| timer.due_ms));
            stops.extend(store.queue.iter().map(|item: &Item| item.not_before));
            stops.extend(store.outbox.iter().filter_map(|draft| draft.overdue_ms));
            for task in store.tasks.iter().filter(|task| !task.has_ended()) {
                stops.push(task.not_before);
                stops.extend(task.limit_ms);
                stops.extend(task.start.deadline_ms);
            }
        }
        stops.into_iter().filter(|stop| *stop > now).min()
    }
}
