//! The clock of a simulation, which moves only when the test advances it.

use std::time::Duration;

use super::Simulation;
use super::outbox::after_ms;
use super::queue::Item;

/// The most steps that hosted agents may take while the clock does not move. More means a loop.
const MAX_STEPS: usize = 20_000;
/// The most blocks that settling may take.
const MAX_ROUNDS: usize = 1_000;

impl Simulation {
    /// Runs everything that is due now, until nothing is left. Messages that are sent wait to be
    /// mined.
    ///
    /// # Panics
    /// If it does not end: an event causes another one without end.
    pub async fn run_due(&mut self) {
        let mut steps = 0;
        let mut host = 0;
        while host < self.hosts.len() {
            if self.step(host).await {
                steps += 1;
                assert!(
                    steps <= MAX_STEPS,
                    "the agents do not settle: {steps} steps while the clock did not move"
                );
            } else {
                host += 1;
            }
        }
    }

    /// Runs everything that is due and mines everything that is sent, until nothing is left to do
    /// at this time.
    ///
    /// # Panics
    /// If the simulation does not settle: agents answer each other without end. To test for that,
    /// use [`settle_within`](Self::settle_within).
    pub async fn settle(&mut self) {
        assert!(
            self.settle_within(MAX_ROUNDS).await,
            "the conversation does not settle within {MAX_ROUNDS} blocks"
        );
    }

    /// As [`settle`](Self::settle), for at most this many blocks. Returns whether the simulation
    /// settled.
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

    /// Advances the clock. It stops at every timer, retry, time limit and acknowledgment that
    /// becomes overdue, and the simulation [settles](Self::settle) at each stop.
    ///
    /// # Panics
    /// As [`settle`](Self::settle), or if the clock stops more than 100,000 times.
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
        panic!("the clock stopped more than 100,000 times");
    }

    /// The next time at which something becomes due that is not due now.
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
