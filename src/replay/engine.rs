//! The runtime's rules, without the runtime: one agent after the other, in the order of the chain,
//! by the clock of its blocks, in memory.

use std::collections::{BTreeMap, HashMap};

use agentry_protocol::{Address, BlockHeight, ChainId, MessageDigest, PublicKey, TransactionHash};
use agentry_sdk::{Event, Fate, SentMessage, Timer};
use serde_json::Value;

use super::Told;
use super::act::Act;
use super::agenda::{Agenda, Item, What};
use super::bounded::Lately;
use super::cast::Cast;
use super::ledger::{Ledger, ReportId};
use super::past::Past;
use super::report::{Cause, Report, Summary};
use crate::config::BehaviourInstance;
use crate::runtime::conduct::Stage;
use crate::runtime::directory::Directory;
use crate::store::AgentId;

/// How many messages are remembered so as to know them again, and how many of an agent's own to
/// know what answers them.
const REMEMBERED: usize = 200_000;

/// How many timers run out at most between two blocks: one that is set anew for the next moment
/// must not go on for ever.
const TIMERS_A_BLOCK: usize = 1_000;

/// What a behaviour remembers.
type Memory = BTreeMap<String, Value>;

/// Who was asked what.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The transaction that carried it first.
    pub(super) first: TransactionHash,
    pub(super) to: Address,
    pub(super) behaviour: Option<String>,
    pub(super) label: Option<String>,
}

/// A replay at work.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) stage: Stage,
    pub(super) directory: Directory,
    pub(super) chain_id: ChainId,
    pub(super) agenda: Agenda,
    pub(super) summary: Summary,
    pub(super) cast: Cast,
    pub(super) past: Past,
    /// The keys that the store's directory knows, of later announcements, too.
    pub(super) keys: HashMap<Address, PublicKey>,
    memory: HashMap<(AgentId, String), Memory>,
    pub(super) ledger: Ledger,
    /// Messages by their identity, and in which transaction they came first: whoever is shown one
    /// twice acts once.
    pub(super) seen: Lately<(AgentId, String), TransactionHash>,
    pub(super) digests: Lately<(AgentId, MessageDigest), TransactionHash>,
    /// What agents did send.
    pub(super) asked: Lately<TransactionHash, Asked>,
    /// The ids of what they did send, and in which transaction first: a resend carries the same.
    pub(super) sent: Lately<(AgentId, String), TransactionHash>,
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
            seen: Lately::new(REMEMBERED),
            digests: Lately::new(REMEMBERED),
            asked: Lately::new(REMEMBERED),
            sent: Lately::new(REMEMBERED),
            told: Vec::new(),
        }
    }

    /// What can be told by now.
    pub(super) fn told(&mut self) -> Vec<Told> {
        while let Some(report) = self.ledger.overflow() {
            self.conclude(report);
        }
        if self.summary.cut == 0 && self.ledger.cut() > 0 {
            self.warn(
                "more messages wait for their answers at the same time than are held in memory: the \
                 oldest are not compared; replay fewer blocks (--to), or one agent (--agent)"
                    .to_owned(),
            );
        }
        self.summary.cut = self.ledger.cut();
        std::mem::take(&mut self.told)
    }

    /// What is left to be told.
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

    /// The clock moves on to the time of a block; what is due before it happens before it.
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
                self.happens(item.agent, &item.behaviour, event, cause)
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
                self.fate(
                    item.agent,
                    &item.behaviour,
                    awaited.sent,
                    Fate::Unacknowledged,
                    height,
                )
                .await;
            }
        }
    }

    /// A behaviour is told what became of what it sent.
    pub(super) async fn fate(
        &mut self,
        agent: AgentId,
        behaviour: &str,
        sent: SentMessage,
        fate: Fate,
        height: BlockHeight,
    ) {
        let cause = Cause::Fate {
            height,
            behaviour: behaviour.to_owned(),
            label: sent.label.clone(),
            fate: word(&fate).to_owned(),
        };
        self.happens(agent, behaviour, Event::Fate(sent, fate), cause)
            .await;
    }

    /// Shows a behaviour an event that is about no message. It is told of only if something comes
    /// of it.
    async fn happens(&mut self, agent: AgentId, behaviour: &str, event: Event, cause: Cause) {
        let Some(hosted) = self.cast.roster.get(agent) else {
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
                self.file(report, act);
            }
            Err(error) => self.failed(report, instance, &error.to_string()),
        }
    }

    /// Puts down what a run came to. Returns whether it refused what it was shown, and whether it
    /// started tasks.
    pub(super) fn file(&mut self, report: ReportId, act: Act) -> (Option<String>, bool) {
        let tasks = act.tasks > 0;
        if tasks {
            self.summary.tasks += act.tasks;
            self.ledger.in_part(report);
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
        let note = format!("would fail for good: {}: {error}", instance.name);
        self.ledger.note(report, note);
    }

    /// The key under which a sender's signature is judged, where one is known.
    pub(super) fn key_of(&self, address: &Address) -> Option<PublicKey> {
        self.cast
            .roster
            .key_of(address)
            .or_else(|| self.directory.key_of(address))
            .or_else(|| self.keys.get(address).copied())
    }
}

/// A fate in a word.
const fn word(fate: &Fate) -> &'static str {
    match fate {
        Fate::Mined { .. } => "mined",
        Fate::Received => "received",
        Fate::Accepted { .. } => "accepted",
        Fate::Done { .. } => "done",
        Fate::Failed { .. } => "failed",
        Fate::Rejected { .. } => "rejected",
        Fate::Expired => "expired",
        Fate::Unacknowledged => "unacknowledged",
        Fate::Unsent { .. } => "unsent",
    }
}
