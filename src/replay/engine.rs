//! The runtime's rules without the runtime: one agent after the other, in the order of the chain, by
//! the clock of its blocks, in memory.

use std::collections::{BTreeMap, HashMap};

use agentry_core::AgentId;
use agentry_protocol::{Address, BlockHeight, ChainId, MessageDigest, PublicKey, TransactionHash};
use agentry_sdk::{DeliveryUpdate, Event, SentMessage, Timer};
use serde_json::Value;

use super::Told;
use super::act::Act;
use super::agenda::{Agenda, Item, What};
use super::bounded::Recent;
use super::cast::Cast;
use super::ledger::{Ledger, ReportId};
use super::past::Past;
use super::report::{Cause, Report, Summary};
use crate::config::BehaviourInstance;
use crate::runtime::directory::Directory;
use crate::runtime::runner::Stage;

/// How many received messages are kept to recognise repetitions, and how many sent messages are kept
/// to recognise their answers.
const REMEMBERED: usize = 200_000;

/// The most timers that fire between two blocks: a timer that always schedules itself again at once
/// must not run forever.
const TIMERS_A_BLOCK: usize = 1_000;

/// The state of a behaviour.
type Memory = BTreeMap<String, Value>;

/// A message that an agent sent.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The first transaction that carried it.
    pub(super) first: TransactionHash,
    pub(super) to: Address,
    pub(super) behaviour: Option<String>,
    pub(super) label: Option<String>,
}

/// The state of a running replay.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) stage: Stage,
    pub(super) directory: Directory,
    pub(super) chain_id: ChainId,
    pub(super) agenda: Agenda,
    pub(super) summary: Summary,
    pub(super) cast: Cast,
    pub(super) past: Past,
    /// The keys in the store's directory, including those announced later.
    pub(super) keys: HashMap<Address, PublicKey>,
    memory: HashMap<(AgentId, String), Memory>,
    pub(super) ledger: Ledger,
    /// Messages by their identity, with the first transaction that carried each: a repeated message
    /// is acted on once.
    pub(super) seen: Recent<(AgentId, String), TransactionHash>,
    pub(super) digests: Recent<(AgentId, MessageDigest), TransactionHash>,
    /// The messages that agents sent.
    pub(super) asked: Recent<TransactionHash, Asked>,
    /// The ids of those messages, with their first transaction: a resend has the same id.
    pub(super) sent: Recent<(AgentId, String), TransactionHash>,
    told: Vec<Told>,
}

impl Engine {
    pub(super) fn new(
        stage: Stage,
        directory: Directory,
        chain_id: ChainId,
        cast: Cast,
        past: Past,
    ) -> Self {
        let keys = past
            .cards
            .iter()
            .map(|card| (card.address.clone(), card.public_key))
            .collect();
        Self {
            stage,
            directory,
            chain_id,
            cast,
            keys,
            past,
            agenda: Agenda::default(),
            summary: Summary::default(),
            memory: HashMap::new(),
            ledger: Ledger::default(),
            seen: Recent::new(REMEMBERED),
            digests: Recent::new(REMEMBERED),
            asked: Recent::new(REMEMBERED),
            sent: Recent::new(REMEMBERED),
            told: Vec::new(),
        }
    }

    /// The results that are ready.
    pub(super) fn told(&mut self) -> Vec<Told> {
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
    pub(super) fn finish(&mut self) -> Vec<Told> {
        while let Some(report) = self.ledger.conclude() {
            self.conclude(report);
        }
        std::mem::take(&mut self.told)
    }

    fn conclude(&mut self, report: Report) {
        self.summary.count(&report);
        self.told.push(Told::Report(Box::new(report)));
    }

    pub(super) fn warn(&mut self, text: String) {
        self.told.push(Told::Warning(text));
    }

    pub(super) fn remembered(&self, agent: AgentId, behaviour: &str) -> Memory {
        let key = (agent, behaviour.to_owned());
        self.memory.get(&key).cloned().unwrap_or_default()
    }

    pub(super) fn memory(&mut self, agent: AgentId, behaviour: &str) -> &mut Memory {
        self.memory
            .entry((agent, behaviour.to_owned()))
            .or_default()
    }

    /// Advances the clock to the time of a block. Items that are due before it happen first.
    pub(super) async fn advance(&mut self, now_ms: u64, height: BlockHeight) {
        let now_ms = now_ms.max(self.stage.clock.now_ms());
        for _ in 0..TIMERS_A_BLOCK {
            let Some(item) = self.agenda.pop(now_ms) else {
                break;
            };
            self.stage
                .clock
                .set(item.due_ms.max(self.stage.clock.now_ms()));
            self.due(item, height).await;
        }
        self.stage.clock.set(now_ms);
    }

    async fn due(&mut self, item: Item, height: BlockHeight) {
        match item.what.clone() {
            What::Timer { name, data } => {
                let cause = Cause::Timer {
                    height,
                    behaviour: item.behaviour.clone(),
                    name: name.clone(),
                };
                let event = Event::Timer(Timer {
                    name,
                    data,
                    due_ms: item.due_ms,
                });
                self.deliver(item.agent, &item.behaviour, event, cause)
                    .await;
            }
            What::Overdue(mut awaited) if awaited.resends_left > 0 => {
                awaited.resends_left -= 1;
                let due_ms = item.due_ms.saturating_add(awaited.within_ms.max(1));
                let what = What::Overdue(awaited);
                self.agenda.put(Item {
                    due_ms,
                    what,
                    ..item
                });
            }
            What::Overdue(awaited) => {
                self.update(
                    item.agent,
                    &item.behaviour,
                    awaited.sent,
                    DeliveryUpdate::Unacknowledged,
                    height,
                )
                .await;
            }
        }
    }

    /// Passes a delivery update to a behaviour.
    pub(super) async fn update(
        &mut self,
        agent: AgentId,
        behaviour: &str,
        sent: SentMessage,
        update: DeliveryUpdate,
        height: BlockHeight,
    ) {
        let cause = Cause::DeliveryUpdate {
            height,
            behaviour: behaviour.to_owned(),
            label: sent.label.clone(),
            update: word(&update).to_owned(),
        };
        self.deliver(agent, behaviour, Event::DeliveryUpdate(sent, update), cause)
            .await;
    }

    /// Passes a behaviour an event that is not about a message. The event is reported only if it has
    /// effects to report.
    async fn deliver(&mut self, agent: AgentId, behaviour: &str, event: Event, cause: Cause) {
        let Some(hosted) = self.cast.registry.get(agent) else {
            return;
        };
        let instances = &hosted.config.behaviours;
        let Some(instance) = instances.iter().find(|one| one.name == behaviour) else {
            return;
        };
        let acted = self.act(&hosted, instance, event, None).await;
        let is_quiet = acted
            .as_ref()
            .is_ok_and(|act| act.sends.is_empty() && act.notes.is_empty());
        if is_quiet {
            return;
        }
        let report = self.ledger.begin(agent, &hosted.config.name, cause, false);
        match acted {
            Ok(act) => {
                self.record(report, act);
            }
            Err(error) => self.failed(report, instance, &error.to_string()),
        }
    }

    /// Records the result of a run. Returns the reason if it rejected the message, and whether it
    /// started tasks.
    pub(super) fn record(&mut self, report: ReportId, act: Act) -> (Option<String>, bool) {
        let tasks = act.tasks > 0;
        if tasks {
            self.summary.tasks += act.tasks;
            self.ledger.mark_incomplete(report);
        }
        for note in act.notes {
            self.ledger.note(report, note);
        }
        for send in act.sends {
            self.ledger.would(report, send);
        }
        (act.rejected, tasks)
    }

    pub(super) fn failed(&mut self, report: ReportId, instance: &BehaviourInstance, error: &str) {
        let note = format!("would fail permanently: {}: {error}", instance.name);
        self.ledger.note(report, note);
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

/// The name of a delivery update.
const fn word(update: &DeliveryUpdate) -> &'static str {
    match update {
        DeliveryUpdate::Mined { .. } => "mined",
        DeliveryUpdate::Received => "received",
        DeliveryUpdate::Accepted { .. } => "accepted",
        DeliveryUpdate::Done { .. } => "done",
        DeliveryUpdate::Failed { .. } => "failed",
        DeliveryUpdate::Rejected { .. } => "rejected",
        DeliveryUpdate::Expired => "expired",
        DeliveryUpdate::Unacknowledged => "unacknowledged",
        DeliveryUpdate::Unsent { .. } => "unsent",
    }
}
