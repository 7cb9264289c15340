//! The runtime's state without the runtime: one agent after the other, in the order of the chain, by
//! the clock of its blocks.

use std::collections::HashMap;
use std::sync::Arc;

use agentry_core::commit::{Changes, HostedAgent, Observation, Step};
use agentry_core::state::due::{DueEvent, Turn};
use agentry_core::state::row;
use agentry_core::{AgentId, Commit, InboxId, OutboxId};
use agentry_protocol::{Address, BlockHeight, Chain, PublicKey, Timestamp};
use agentry_store::{Scratch, StoreError};
use serde_json::Value;

use super::cast::Cast;
use super::ledger::{Ledger, ReportId};
use super::past::Past;
use super::report::{Report, Summary};
use super::{ReplayError, ReplayEvent};
use crate::runtime::directory::Directory;
use crate::runtime::runner::Stage;

/// The most events and messages that are handled at a time: a timer that always schedules itself
/// again must not run forever.
const STEPS: usize = 1_000;

/// The state of a running replay.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) stage: Stage,
    pub(super) directory: Directory,
    pub(super) chain: Chain,
    pub(super) summary: Summary,
    pub(super) cast: Cast,
    pub(super) past: Past,
    /// The keys in the store's directory, including those announced later.
    pub(super) keys: HashMap<Address, PublicKey>,
    pub(super) ledger: Ledger,
    /// What agents received, did and sent.
    pub(super) state: Scratch,
    /// The reports of the messages that wait.
    pub(super) waiting: HashMap<InboxId, Waiting>,
    /// The block whose time the clock has.
    pub(super) height: BlockHeight,
    told: Vec<ReplayEvent>,
}

/// A message that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) report: ReportId,
    /// Whether it would start tasks. They do not run, so its outcome is unknown.
    pub(super) has_tasks: bool,
}

/// Something that is due.
enum Item {
    Message(Arc<row::Message>),
    Event(DueEvent),
    Overdue(OutboxId),
}

impl Engine {
    /// # Errors
    /// There is no place for the state.
    pub(super) fn new(
        stage: Stage,
        directory: Directory,
        chain: Chain,
        cast: Cast,
        past: Past,
    ) -> Result<Self, ReplayError> {
        let keys = past
            .cards
            .iter()
            .map(|card| (card.address.clone(), card.public_key))
            .collect();
        // Ids are assigned in order, so these agents get those that they have.
        let mut agents = cast.registry.all();
        agents.sort_by_key(|agent| agent.id);
        let agents = agents.iter().map(|agent| HostedAgent {
            address: agent.address.clone(),
            name: agent.config.name.clone(),
            start_height: BlockHeight(0),
        });
        let mut state = Scratch::new()?;
        state.apply(&Commit::Host {
            agents: agents.collect(),
        })?;
        Ok(Self {
            stage,
            directory,
            chain,
            cast,
            keys,
            past,
            summary: Summary::default(),
            ledger: Ledger::default(),
            state,
            waiting: HashMap::new(),
            height: BlockHeight(0),
            told: Vec::new(),
        })
    }

    /// The results that are ready.
    pub(super) fn told(&mut self) -> Vec<ReplayEvent> {
        while let Some(report) = self.ledger.overflow() {
            self.conclude(report);
        }
        if self.summary.cut == 0 && self.ledger.cut() > 0 {
            self.warn(
                "more messages wait for answers at the same time than fit into memory: the oldest \
                 are not compared; replay fewer blocks (--to) or one agent (--agent)"
                    .to_owned(),
            );
        }
        self.summary.cut = self.ledger.cut();
        std::mem::take(&mut self.told)
    }

    /// The remaining results.
    pub(super) fn finish(&mut self) -> Vec<ReplayEvent> {
        while let Some(report) = self.ledger.conclude() {
            self.conclude(report);
        }
        std::mem::take(&mut self.told)
    }

    fn conclude(&mut self, report: Report) {
        self.summary.count(&report);
        self.told.push(ReplayEvent::Report(Box::new(report)));
    }

    pub(super) fn warn(&mut self, text: String) {
        self.told.push(ReplayEvent::Warning(text));
    }

    /// The time of the clock.
    pub(super) fn now(&self) -> Timestamp {
        self.stage.clock.now()
    }

    /// Applies what was seen on the chain.
    pub(super) fn observe(&mut self, step: Step) -> Result<Changes, StoreError> {
        self.state.apply(&Commit::Observe(Observation {
            steps: vec![step],
            cursor: Value::Null,
            final_through: None,
            catching_up: None,
            at: self.stage.clock.now(),
        }))
    }

    /// Advances the clock to the time of a block. What is due before then happens first.
    pub(super) async fn advance(
        &mut self,
        now: Timestamp,
        height: BlockHeight,
    ) -> Result<(), ReplayError> {
        self.height = height;
        let now = now.max(self.now());
        self.work(now).await?;
        self.stage.clock.set(now);
        Ok(())
    }

    /// Does what is due by a time, each by its own.
    pub(super) async fn work(&mut self, by: Timestamp) -> Result<(), ReplayError> {
        for _ in 0..STEPS {
            let Some((at, agent, item)) = self.next(by)? else {
                self.waiting.clear();
                break;
            };
            self.stage.clock.set(at.max(self.now()));
            let Some(hosted) = self.cast.registry.get(agent) else {
                break;
            };
            match item {
                Item::Message(message) => self.handle_message(&hosted, &message).await?,
                Item::Event(event) => self.handle_event(&hosted, &event).await?,
                Item::Overdue(outbox) => {
                    let at = self.now();
                    self.state.apply(&Commit::Unacknowledged { outbox, at })?;
                }
            }
        }
        Ok(())
    }

    /// What is due first, by a time.
    fn next(&self, by: Timestamp) -> Result<Option<(Timestamp, AgentId, Item)>, StoreError> {
        self.state.query(|state| {
            let all = BlockHeight(u64::MAX);
            let of_agent = |agent| {
                let due = state.due(agent, by, all, &mut Turn::default(), 1);
                let messages = due.messages.into_iter();
                let messages = messages.map(|row| (row.due_at, Item::Message(row)));
                let events = due.events.into_iter();
                let events = events.map(|event| (event.row.due_at, Item::Event(event)));
                let overdue = due.overdue.into_iter().map(|overdue| {
                    let receipt = state.receipts().get(&overdue.outbox);
                    let at = receipt.and_then(|receipt| receipt.due_at).unwrap_or(by);
                    (at, Item::Overdue(overdue.outbox))
                });
                let items = messages.chain(events).chain(overdue);
                items.map(move |(at, item)| (at, agent, item))
            };
            let agents = state.agents_due(by).into_iter();
            agents.flat_map(of_agent).min_by_key(|(at, ..)| *at)
        })
    }

    /// The key that verifies a sender's signatures, if one is known.
    pub(super) fn key_of(&self, address: &Address) -> Option<PublicKey> {
        self.cast
            .registry
            .key_of(address)
            .or_else(|| self.directory.key_of(address))
            .or_else(|| self.keys.get(address).copied())
    }
}
