//! Agents: what they do for messages and for other events.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::commit::{Handled, Outcome, Plan, Planned, TimerSetting};
use agentry_core::rows::{
    Draft, EventKind, EventRef, EventState, InboxState, ReceiptRequest, ReceiptState,
};
use agentry_core::state::plans::TickData;
use agentry_core::state::row::{Event, Message, Outgoing};
use agentry_core::{
    AgentId, Authenticity, Cause, Commit, CommitResult, OutboxId, TaskId, TaskStart, origin,
};
use agentry_protocol::{
    Address, Amount, Envelope, Header, KnownCommand, Limits, Payload, StoredTransaction, Timestamp,
};
use serde_json::{Value, json};

use super::{BUDGET, Broken, Checked, Clocks, Host, broken};
use crate::peers::{self, FEE, Kind};

/// How often an event is attempted.
pub(super) const ATTEMPTS: u32 = 3;

/// The answer to the question of a task.
pub(super) const ANSWER: &str = "carefully";

/// How many ticks the schedule of each agent has, and how far they are apart, in milliseconds.
const TICKS: usize = 4;
const TICK_EVERY: u64 = 2_001;

/// The behaviours: one acts, one sees some messages after it, and one watches.
const ACTS: &str = "acts";
const ALSO: &str = "also";
const WATCHES: &str = "watches";

/// How an event is handled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// What it sends is signed at once, if the budget suffices.
    pub(crate) signs: bool,
    /// What it decides is stored later, and signed after that.
    pub(crate) is_late: bool,
}

enum Due {
    Message(Message),
    Event(Event),
    Overdue(OutboxId),
}

impl Host {
    /// Handles one of the events that are due. Returns whether there was one.
    pub(crate) fn handle(&mut self, which: u8, how: How, clocks: Clocks) -> Result<bool, Broken> {
        if !self.acts() {
            return Ok(false);
        }
        let now = self.now(clocks);
        let mut due = Vec::new();
        for agent in self.agents() {
            if self.decided.contains_key(&agent) {
                continue;
            }
            due.extend(self.due_event(agent, now).map(Due::Event));
            let messages = self.due_messages(agent, now);
            due.extend(messages.into_iter().map(Due::Message));
            due.extend(self.overdue(agent, now).map(Due::Overdue));
        }
        if due.is_empty() {
            return Ok(false);
        }
        match due.swap_remove(usize::from(which) % due.len()) {
            Due::Message(message) => self.handle_message(&message, how, clocks)?,
            Due::Event(event) => self.handle_event(&event, how, clocks)?,
            Due::Overdue(outbox) => self.handle_overdue(outbox, clocks)?,
        }
        Ok(true)
    }

    /// The next message of each verified sender, and of all unverified senders together.
    fn due_messages(&self, of: AgentId, now: Timestamp) -> Vec<Message> {
        let mut lanes: BTreeMap<Option<&str>, &Message> = BTreeMap::new();
        for row in self.state.inbox().iter() {
            if row.agent != of || row.state != InboxState::Waiting || row.due_at > now {
                continue;
            }
            // It has expired by the runtime's own time only.
            let is_doubted = |exp| exp < now && exp >= self.confirmed;
            if row.expires_at.is_some_and(is_doubted) {
                continue;
            }
            let is_verified = row.authenticity == Authenticity::Verified;
            let lane = lanes.entry(is_verified.then_some(row.sender.as_str()));
            lane.and_modify(|first| {
                if (row.due_at, row.seq) < (first.due_at, first.seq) {
                    *first = row;
                }
            })
            .or_insert(row);
        }
        lanes.into_values().cloned().collect()
    }

    /// The agent's next event other than a message.
    fn due_event(&self, of: AgentId, now: Timestamp) -> Option<Event> {
        let events = self.state.events().iter();
        let due = events.filter(|row| row.agent == of && row.state == EventState::Waiting);
        let first = due.min_by_key(|row| (row.due_at, row.id));
        first.filter(|row| row.due_at <= now).cloned()
    }

    /// Messages that were not acknowledged in time, unless their answer waits for its turn.
    fn overdue(&self, of: AgentId, now: Timestamp) -> impl Iterator<Item = OutboxId> {
        let receipts = self.state.receipts().iter();
        receipts
            .filter(move |row| row.agent == of && row.due_at.is_some_and(|at| at <= now))
            .filter(|row| !self.is_answered(row.outbox))
            .map(|row| row.outbox)
    }

    fn is_answered(&self, first: OutboxId) -> bool {
        let carriers = self.state.outbox().iter();
        let hashes: Vec<_> = carriers
            .filter(|row| row.first() == first)
            .filter_map(|row| Some(row.signed.as_ref()?.hash))
            .collect();
        let mut messages = self.state.inbox().iter();
        messages.any(|row| {
            row.state == InboxState::Waiting && row.re.is_some_and(|re| hashes.contains(&re))
        })
    }

    fn remembers(&self, of: AgentId, key: &str) -> bool {
        [ACTS, ALSO].into_iter().any(|behaviour| {
            let key = (of, behaviour.to_owned(), key.to_owned());
            self.state.memory().get(&key).is_some()
        })
    }

    /// Whether both behaviours that see a note have handled the one with this number.
    pub(crate) fn has_noted(&self, wallet: usize, number: u32) -> bool {
        let mut keys = ["did", "also"].into_iter();
        keys.all(|word| self.remembers(self.agent(wallet), &format!("{word} {number}")))
    }

    fn handle_message(&mut self, message: &Message, how: How, clocks: Clocks) -> Checked {
        let at = self.now(clocks);
        if message.expires_at.is_some_and(|exp| exp < self.confirmed) {
            let expire = Commit::Expire {
                message: message.id,
                watchers: vec![WATCHES.to_owned()],
                at,
            };
            self.commit(expire, clocks)?;
            return Ok(());
        }
        let stored = StoredTransaction::parse(message.stored.as_bytes(), Limits::default());
        let stored = stored.unwrap();
        let envelope = stored.envelope();
        let event = EventRef::Inbox(message.id);
        let mut outcome = Outcome::nothing(event, message.attempts, at);
        outcome.cause = message.cause();
        outcome.handled = Some(Handled::default());
        self.take_acknowledgment(message, &envelope, clocks)?;
        let text = envelope.payload.text().unwrap_or_default();
        let Some((kind, number)) = peers::read_message(text) else {
            self.commit(Commit::Outcome(outcome), clocks)?;
            return Ok(());
        };
        if kind == Kind::Bad || (kind == Kind::Flaky && message.attempts == 0) {
            let failed = message.attempts + 1;
            let retry_at = (failed < ATTEMPTS).then_some(at.plus_ms(500 * u64::from(failed)));
            self.commit(
                Commit::Failure {
                    event,
                    attempts: message.attempts,
                    reason: "it fails".to_owned(),
                    public: "it fails".to_owned(),
                    retry_at,
                    again_at: None,
                    watchers: vec![WATCHES.to_owned()],
                    at,
                },
                clocks,
            )?;
            return Ok(());
        }
        self.check_order(message)?;
        if message.height.is_none() {
            broken!("message {number} is handled, and in no block");
        }
        let is_second = message.done.contains(ACTS);
        let key = if is_second {
            format!("also {number}")
        } else {
            format!("did {number}")
        };
        if self.remembers(message.agent, &key) {
            broken!("message {number} is handled twice");
        }
        let behaviour = if is_second { ALSO } else { ACTS };
        outcome.behaviour = Some(behaviour.to_owned());
        outcome.state = vec![(key, Some(Value::Bool(true)))];
        let is_last = is_second || kind != Kind::Note;
        outcome.handled = is_last.then(|| Handled {
            watchers: vec![WATCHES.to_owned()],
            unacted: None,
        });
        let to = (&message.sender, message.cause());
        let header = envelope.answer_header(message.hash, &Payload::Text(String::new()));
        match kind {
            Kind::Answer | Kind::Flaky => {
                let text = format!("answer {number}");
                let draft = self.draft(event, to, text, header, clocks);
                outcome.sends.push((draft, None));
            }
            Kind::Ask => {
                let id = self.id(clocks);
                let text = format!("ask {number}");
                let header = Some(peers::asking(id));
                let mut draft = self.draft(event, to, text, header, clocks);
                draft.receipt = Some(ReceiptRequest {
                    behaviour: Some(ACTS.to_owned()),
                    label: Some(number.to_string()),
                    wanted: Some("done".to_owned()),
                    within_ms: 30_000,
                    resends: 1,
                });
                outcome.sends.push((draft, None));
            }
            Kind::Task => {
                outcome.tasks_unapproved = peers::is_held(number);
                outcome.tasks.push(TaskStart {
                    key: message.hash.to_string(),
                    kind: "work".to_owned(),
                    input: json!(number),
                    deadline: None,
                });
            }
            Kind::Timer => {
                let set = TimerSetting {
                    due_at: at.plus_ms(5_000),
                    data: json!({ "number": number, "to": message.sender }),
                };
                outcome.timers.push((number.to_string(), Some(set)));
            }
            Kind::Note | Kind::Bad => {}
        }
        self.settle(outcome, message.agent, how, clocks)
    }

    /// First attempts have the chain's order, for each verified sender.
    fn check_order(&self, message: &Message) -> Checked {
        let is_first = |row: &Message| row.attempts == 0 && row.state == InboxState::Waiting;
        if !is_first(message) || message.authenticity != Authenticity::Verified {
            return Ok(());
        }
        let mut others = self.state.inbox().iter();
        let earlier = others.find(|row| {
            let is_of_same = (row.agent, &row.sender) == (message.agent, &message.sender);
            // One that may have expired is passed by the others.
            is_of_same && is_first(row) && row.height < message.height && row.expires_at.is_none()
        });
        match earlier {
            Some(earlier) => broken!("{} was sent before {}", earlier.id, message.id),
            None => Ok(()),
        }
    }

    /// Stores an outcome, with signed bytes if a nonce is free at once.
    fn settle(&mut self, mut outcome: Outcome, of: AgentId, how: How, clocks: Clocks) -> Checked {
        if how.is_late {
            self.decided.insert(of, outcome);
            return Ok(());
        }
        for (draft, prepared) in &mut outcome.sends {
            let may_sign = how.signs && !draft.unapproved && !self.nonces.follows_counter();
            if may_sign && self.spent(of, clocks) + FEE <= BUDGET {
                let message = (&draft.recipient, &draft.payload);
                *prepared = Some(self.prepared(of, message, None, clocks));
            }
        }
        let changes = self.commit(Commit::Outcome(outcome), clocks)?;
        if changes.result == CommitResult::Stale {
            broken!("the outcome of an event that is due is stale");
        }
        Ok(())
    }

    /// Stores what agents have decided before, unless something has happened that makes it void.
    pub(crate) fn store_decided(&mut self, clocks: Clocks) -> Checked {
        for (_, outcome) in std::mem::take(&mut self.decided) {
            self.commit(Commit::Outcome(outcome), clocks)?;
        }
        Ok(())
    }

    /// A text to somebody, who may also be its cause. A header without an id gets one.
    fn draft(
        &mut self,
        event: EventRef,
        (to, cause): (&Address, Cause),
        text: String,
        header: Option<Header>,
        clocks: Clocks,
    ) -> Draft {
        let header = header.map(|header| Header {
            id: header.id.or_else(|| Some(self.id(clocks))),
            ..header
        });
        let origin = self.state.origin(event).unwrap();
        Draft {
            message_id: header.as_ref().and_then(|header| header.id),
            cause,
            unapproved: peers::needs_approval(&text),
            ..Draft::new(
                origin.draft(ACTS, 0),
                to.clone(),
                Amount(FEE),
                peers::payload(text, header.as_ref()),
            )
        }
    }

    /// A verified answer to a message of the agent may acknowledge it.
    fn take_acknowledgment(
        &mut self,
        message: &Message,
        envelope: &Envelope,
        clocks: Clocks,
    ) -> Checked {
        let (Some(re), Ok(Some(KnownCommand::Ack(ack)))) = (message.re, envelope.payload.command())
        else {
            return Ok(());
        };
        let is_asked =
            |row: &Outgoing| row.agent == message.agent && row.recipient == message.sender;
        let asked = self.with_hash(re).find(|row| is_asked(row));
        let asked = asked.map(|row| row.first());
        if let (Some(outbox), Authenticity::Verified) = (asked, message.authenticity) {
            let acknowledged = Commit::Acknowledge {
                outbox,
                state: ReceiptState::from(ack.status),
                detail: None,
                at: self.now(clocks),
            };
            self.commit(acknowledged, clocks)?;
        }
        Ok(())
    }

    fn handle_event(&mut self, event: &Event, how: How, clocks: Clocks) -> Checked {
        let at = self.now(clocks);
        let what = EventRef::Event(event.id);
        let mut outcome = Outcome::nothing(what, event.attempts, at);
        outcome.cause = event.cause.clone();
        let about = event.inbox.and_then(|id| self.state.inbox().get(&id));
        let key = match event.kind {
            EventKind::Timer => {
                let number = &event.data["number"];
                let to = event.data["to"].as_str().unwrap();
                let to = Address::from_chain(to).unwrap();
                let text = format!("timer {number}");
                let header = Some(Header::default());
                let to = (&to, event.cause.clone());
                let draft = self.draft(what, to, text.clone(), header, clocks);
                outcome.sends.push((draft, None));
                text
            }
            EventKind::Task if event.data["news"]["news"] == "input-required" => {
                let number = event.data["news"]["number"].as_u64().unwrap();
                let number = u32::try_from(number).unwrap();
                outcome.answers = vec![(event.name.clone(), number, json!(ANSWER))];
                format!("question {number} of {}", event.name)
            }
            EventKind::Task => {
                let Some(message) = about else {
                    broken!("a task update of no message");
                };
                let task = event.data.get("task").and_then(Value::as_i64).unwrap();
                let task = self.state.tasks().get(&TaskId(task)).unwrap();
                let header = Header {
                    re: Some(message.hash),
                    ..Header::default()
                };
                let text = format!("result {}", task.input);
                let to = (&message.sender, message.cause());
                let draft = self.draft(what, to, text.clone(), Some(header), clocks);
                outcome.sends.push((draft, None));
                text
            }
            EventKind::Settled => {
                let Some(message) = about else {
                    broken!("an outcome of no message");
                };
                // An operator may let it be tried again.
                format!("settled {} {}", message.identity, event.made_at)
            }
            EventKind::Delivery => {
                let update = &event.data["update"]["update"];
                // An operator may let it be sent after all.
                let at = if update == "unsent" {
                    event.made_at
                } else {
                    Timestamp::EPOCH
                };
                format!("{} {update} {at}", event.name)
            }
            EventKind::Start => "start".to_owned(),
            EventKind::Tick => {
                let tick = TickData::read(&event.data).unwrap().at;
                outcome.again_at =
                    (self.ticks(event.agent).len() < TICKS - 1).then_some(tick.plus_ms(TICK_EVERY));
                // Some fail at first, and some until an operator has them tried again.
                let is_hopeless = tick.get().is_multiple_of(5);
                if event.attempts == 0 && (is_hopeless || tick.get().is_multiple_of(3)) {
                    let failure = Commit::Failure {
                        event: what,
                        attempts: 0,
                        reason: "it fails".to_owned(),
                        public: "it fails".to_owned(),
                        retry_at: (!is_hopeless).then_some(at.plus_ms(500)),
                        again_at: outcome.again_at,
                        watchers: Vec::new(),
                        at,
                    };
                    self.commit(failure, clocks)?;
                    return Ok(());
                }
                format!("tick {tick}")
            }
            EventKind::Renewal => broken!("nobody registered a card"),
        };
        if self.remembers(event.agent, &key) {
            broken!("an event is handled twice: {key}");
        }
        outcome.behaviour = Some(ACTS.to_owned());
        outcome.state = vec![(key, Some(Value::Bool(true)))];
        self.settle(outcome, event.agent, how, clocks)
    }

    /// Each agent does something at its first start, and some times after that.
    pub(super) fn plan(&mut self, clocks: Clocks) -> Checked {
        let at = self.now(clocks);
        let plans = self.agents().flat_map(|agent| {
            let tick = Planned::Tick {
                name: "poll".to_owned(),
                schedule: "every so often".to_owned(),
                due_at: at.plus_ms(TICK_EVERY),
            };
            [Planned::Start { again: false }, tick].map(|when| Plan {
                agent,
                behaviour: ACTS.to_owned(),
                when,
            })
        });
        // What has had its last tick is not begun again.
        let plans = plans.filter(|plan| {
            matches!(plan.when, Planned::Start { .. }) || self.ticks(plan.agent).is_empty()
        });
        let plans = plans.collect();
        self.commit(Commit::Plan { plans, at }, clocks)?;
        Ok(())
    }

    /// The ticks that an agent has handled, and those among the dead letters.
    fn ticks(&self, of: AgentId) -> BTreeSet<Timestamp> {
        let memory = self.state.memory().iter().filter(|row| row.agent == of);
        let handled = memory.filter_map(|row| row.key.strip_prefix("tick ")?.parse().ok());
        let events = self.state.events().iter();
        let dead = events.filter(|row| {
            row.agent == of && row.kind == EventKind::Tick && row.state == EventState::Dead
        });
        let dead = dead.filter_map(|row| Some(TickData::read(&row.data)?.at));
        handled.map(Timestamp::new).chain(dead).collect()
    }

    /// Whether each agent has started once, and had each of its ticks once.
    pub(crate) fn check_plans(&self) -> Checked {
        for of in self.agents() {
            if !self.remembers(of, "start") {
                broken!("agent {of} does not know that it was started");
            }
            let ticks: Vec<_> = self.ticks(of).into_iter().collect();
            let is_even = ticks
                .windows(2)
                .all(|pair| pair[0].plus_ms(TICK_EVERY) == pair[1]);
            if ticks.len() != TICKS || !is_even {
                broken!("agent {of} has the ticks {ticks:?}");
            }
        }
        Ok(())
    }

    fn handle_overdue(&mut self, first: OutboxId, clocks: Clocks) -> Checked {
        let at = self.now(clocks);
        let receipt = self.state.receipts().get(&first).unwrap();
        let commit = if receipt.resends_left == 0 {
            Commit::Unacknowledged { outbox: first, at }
        } else {
            let row = self.state.outbox().get(&first).unwrap();
            let draft = Draft {
                message_id: row.message_id,
                cause: row.cause.clone(),
                ..Draft::new(
                    origin::of_resend(&row.origin, receipt.resends_left),
                    row.recipient.clone(),
                    Amount(FEE),
                    row.payload.clone(),
                )
            };
            Commit::Resend {
                outbox: first,
                resends_left: receipt.resends_left,
                draft,
                prepared: None,
                at,
            }
        };
        self.commit(commit, clocks)?;
        Ok(())
    }
}
