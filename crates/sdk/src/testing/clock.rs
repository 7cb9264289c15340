//! The clock of a simulation, which moves only when the test advances it.

use std::time::Duration;

use agentry_core::rows::{EventState, InboxState};
use agentry_protocol::Timestamp;

use super::Simulation;

/// The most blocks that settling may take.
const MAX_ROUNDS: usize = 1_000;

impl Simulation {
    /// Runs everything that is due now, until nothing is left. Messages that are sent wait to be
    /// mined.
    pub async fn run_due(&mut self) {
        let mut host = 0;
        while host < self.hosts.len() {
            if !self.step(host).await {
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
        let end = self.now.plus(by);
        self.settle().await;
        for _ in 0..100_000 {
            let Some(next) = self.next_stop().filter(|next| *next <= end) else {
                self.now = end;
                self.settle().await;
                return;
            };
            self.now = next;
            self.settle().await;
        }
        panic!("the clock stopped more than 100,000 times");
    }

    /// The next time at which something becomes due that is not due now.
    fn next_stop(&self) -> Option<Timestamp> {
        let now = self.now;
        let store = &self.store;
        let events = store.events().iter();
        let events = events.filter(|event| event.state == EventState::Waiting);
        let messages = store.inbox().iter();
        let messages = messages.filter(|message| message.state == InboxState::Waiting);
        let open = || store.tasks().iter().filter(|task| task.state.is_open());
        let stops = events
            .map(|event| event.due_at)
            .chain(messages.map(|message| message.due_at))
            .chain(store.receipts().iter().filter_map(|receipt| receipt.due_at))
            .chain(open().map(|task| task.due_at))
            .chain(open().filter_map(|task| task.deadline))
            .chain(open().filter_map(|task| Some(task.question.as_ref()?.until)))
            .chain(open().filter_map(|task| self.limits.get(&task.id).copied()));
        stops.filter(|stop| *stop > now).min()
    }
}
