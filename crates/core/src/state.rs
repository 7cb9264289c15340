//! The state machine: everything durable, in memory, and what each commit changes of it.
//!
//! [`State::apply`] is pure and deterministic: the same commits in the same order make the same
//! state, with the same ids. It applies all of a commit or nothing, and a commit that is applied a
//! second time, with nothing in between, changes nothing.
//!
//! | module | contents |
//! |---|---|
//! | [`row`] | the rows, and the indexes by which they are found |
//! | [`table`] | a table of rows, which records what a commit changes |
//! | [`usage`] | how much of an agent's resources each sender may use |
//! | `observe`, `sightings`, `claims`, `cards` | what was seen on the chain |
//! | `outcome`, `events`, `tasks` | what behaviours did |
//! | [`plans`] | what behaviours do by themselves |
//! | `outgoing`, `spending`, `receipts` | what is sent |
//! | [`due`], [`lanes`] | what is to be done next, tasks included |
//! | [`drafts`], [`sent`] | what is to be sent next; what was sent |
//! | `pushes` | where clients are told of tasks |
//! | `approvals`, `tokens` | what operators decide on, and who may call from outside |
//! | [`notices`] | what operators are told of |
//! | `operate` | what operators do, and what the passing of time does |

mod approvals;
mod cards;
mod claims;
pub mod drafts;
pub mod due;
mod events;
pub mod lanes;
pub mod notices;
mod observe;
mod operate;
mod outcome;
mod outgoing;
pub mod plans;
mod pushes;
mod receipts;
pub mod row;
pub mod sent;
mod sightings;
pub mod spending;
pub mod table;
mod tasks;
mod tokens;
pub mod usage;

use std::fmt;
use std::sync::Arc;

use agentry_protocol::{Amount, BlockHash, BlockHeight, ChainId, MessageId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commit::{Changes, Commit, CommitResult};
use crate::rows::{AgentId, EventId, InboxId, OutboxId, ReceiptState, TaskId};
use crate::token::TokenName;
use table::{Archive, ArchiveError, Table};

/// Everything durable.
#[derive(Debug, Default)]
pub struct State {
    /// Single values.
    facts: Facts,
    agents: Table<row::Agent>,
    memory: Table<row::Memory>,
    inbox: Table<row::Message>,
    forged: Table<row::Forged>,
    events: Table<row::Event>,
    outbox: Table<row::Outgoing>,
    receipts: Table<row::Tracking>,
    tasks: Table<row::Task>,
    cards: Table<row::Card>,
    spending: Table<row::Spending>,
    sightings: Table<row::Sighting>,
    gaps: Table<row::Gap>,
    tokens: Table<row::Token>,
    notices: Table<row::Notice>,
    webhooks: Table<row::Webhook>,
    pushes: Table<row::Push>,
}

/// The single values of a state. They are copied with each commit: what is large is shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The chain's id, and the hash of its block 0.
    pub chain: Option<(ChainId, BlockHash)>,
    /// The source's position.
    pub cursor: Option<Arc<Value>>,
    /// Why posting is halted.
    pub halted: Option<String>,
    /// The mempool.db and the node that are known to belong together.
    pub mempool: Option<String>,
    /// The block up to which superseded announcements have been deleted.
    pub cards_final: Option<BlockHeight>,
    /// The block from which on the directory is complete.
    pub directory_from: Option<BlockHeight>,
    /// The position of the directory backfill while it runs.
    pub directory_progress: Option<Arc<Value>>,
    /// How far the runtime's own time had come. It lags by less than a second.
    pub time: Option<Timestamp>,
    /// Messages with ids below this one may have been pruned.
    pub ids_from: Option<MessageId>,
    /// How many addresses have a row in the directory.
    pub addresses: u64,
    /// The ids that were assigned last.
    pub ids: Ids,
}

/// The ids that were assigned last. None is assigned twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Of an agent.
    pub agent: i64,
    /// Of a message.
    pub inbox: i64,
    /// Of a forged message: its place in the order of arrival.
    pub forged: i64,
    /// Of an event.
    pub event: i64,
    /// Of a transaction.
    pub outbox: i64,
    /// Of a task.
    pub task: i64,
    /// Of an announcement.
    pub card: i64,
    /// Of a sighting.
    pub sighting: i64,
    /// Of a notice.
    #[serde(default)]
    pub notice: i64,
    /// Of a receiver of push notifications.
    #[serde(default)]
    pub push: i64,
}

const fn next(id: &mut i64) -> i64 {
    *id += 1;
    *id
}

/// Why a commit is refused. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A share of the agent's resources is used up.
    Full {
        /// Which, and by how much.
        reason: String,
    },
    /// The commit alone exceeds a share.
    TooMuch {
        /// Which, and by how much.
        reason: String,
    },
    /// The commit names an agent that was never hosted.
    UnknownAgent(AgentId),
    /// There is no such token: it was revoked.
    NoToken(TokenName),
    /// Another token has this name.
    SameToken(TokenName),
    /// A token's budget for the day does not suffice.
    TokenBudget {
        /// The token.
        name: TokenName,
        /// What it may spend on a day, in AIT.
        daily: Amount,
        /// What it has spent on this day, in AIT.
        spent: Amount,
        /// What was requested, in AIT.
        cost: Amount,
    },
    /// Another transaction has the same signed bytes.
    SameBytes(OutboxId),
    /// An amount or a fee is larger than 2^63 - 1.
    Amount(Amount),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { reason } | Self::TooMuch { reason } => f.write_str(reason),
            Self::UnknownAgent(id) => write!(f, "no agent with the id {id} was ever hosted"),
            Self::Amount(amount) => write!(
                f,
                "{amount} is more than the store can hold; the most is {}",
                i64::MAX
            ),
            Self::NoToken(name) => write!(f, "there is no token {name}: it was revoked"),
            Self::SameToken(name) => write!(f, "there is a token {name} already"),
            Self::TokenBudget {
                name,
                daily,
                spent,
                cost,
            } => write!(
                f,
                "the token {name} may spend {daily} on a day (UTC) and has spent {spent}; this \
                 costs {cost}"
            ),
            Self::SameBytes(id) => write!(f, "transaction {id} has the same signed bytes"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a commit was not applied. Nothing of it was.
#[derive(Debug)]
pub enum Failure {
    /// The commit is refused.
    Refused(Refusal),
    /// An archive cannot be read. [`State::reset`] must be called: what the state remembers of the
    /// archives may be wrong.
    Archive(ArchiveError),
}

/// The archives of a state's tables.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "each is the archive of the state's table of that name"
)]
pub struct Archives {
    pub agents: Box<dyn Archive<row::Agent>>,
    pub memory: Box<dyn Archive<row::Memory>>,
    pub inbox: Box<dyn Archive<row::Message>>,
    pub forged: Box<dyn Archive<row::Forged>>,
    pub events: Box<dyn Archive<row::Event>>,
    pub outbox: Box<dyn Archive<row::Outgoing>>,
    pub receipts: Box<dyn Archive<row::Tracking>>,
    pub tasks: Box<dyn Archive<row::Task>>,
    pub cards: Box<dyn Archive<row::Card>>,
    pub spending: Box<dyn Archive<row::Spending>>,
    pub sightings: Box<dyn Archive<row::Sighting>>,
    pub gaps: Box<dyn Archive<row::Gap>>,
    pub tokens: Box<dyn Archive<row::Token>>,
    pub notices: Box<dyn Archive<row::Notice>>,
    pub webhooks: Box<dyn Archive<row::Webhook>>,
    pub pushes: Box<dyn Archive<row::Push>>,
}

/// What a state has that its archives lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// How many rows differ.
    pub rows: usize,
    /// About how many bytes of rows are in memory, the others included that were read.
    pub bytes: usize,
}

impl Unwritten {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// How far the stored time may lag, in milliseconds: it changes at most once in this interval.
const NOTE_EVERY_MS: u64 = 1000;

/// Runs an expression on every table. What rows of a table refer to is in a table before it.
macro_rules! each_table {
    ($state:ident, $table:ident => $run:expr) => {{
        let State {
            facts: _,
            agents,
            memory,
            inbox,
            forged,
            events,
            outbox,
            receipts,
            tasks,
            cards,
            spending,
            sightings,
            gaps,
            tokens,
            notices,
            webhooks,
            pushes,
        } = $state;
        each_table!(@ $table => $run; agents, memory, inbox, forged, events, outbox, receipts,
            tasks, cards, spending, sightings, gaps, tokens, notices, webhooks, pushes);
    }};
    (@ $table:ident => $run:expr; $($name:ident),+) => {
        $({ let $table = $name; $run; })+
    };
}

impl State {
    /// A state whose rows are in archives, and whose single values are these.
    pub fn over(facts: Facts, archives: Archives) -> Self {
        Self {
            facts,
            agents: Table::over(archives.agents),
            memory: Table::over(archives.memory),
            inbox: Table::over(archives.inbox),
            forged: Table::over(archives.forged),
            events: Table::over(archives.events),
            outbox: Table::over(archives.outbox),
            receipts: Table::over(archives.receipts),
            tasks: Table::over(archives.tasks),
            cards: Table::over(archives.cards),
            spending: Table::over(archives.spending),
            sightings: Table::over(archives.sightings),
            gaps: Table::over(archives.gaps),
            tokens: Table::over(archives.tokens),
            notices: Table::over(archives.notices),
            webhooks: Table::over(archives.webhooks),
            pushes: Table::over(archives.pushes),
        }
    }

    /// Applies a commit: all of it or nothing.
    ///
    /// # Errors
    /// Why the commit was not applied.
    pub fn apply(&mut self, commit: &Commit) -> Result<Changes, Failure> {
        let mut changes = Changes::default();
        let before = self.facts.clone();
        let changed = self.change(commit, &mut changes);
        if changed.is_ok() {
            self.notice(commit, &before);
        }
        if changes.result == CommitResult::Applied && !self.is_changed(&before) {
            changes.result = CommitResult::Unchanged;
        }
        // After an error of an archive, what the commit saw and decided means nothing.
        let read = self.fault().map_err(Failure::Archive);
        match read.and(changed.map_err(Failure::Refused)) {
            Ok(()) => {
                each_table!(self, table => table.keep());
                Ok(changes)
            }
            Err(failure) => {
                each_table!(self, table => table.undo());
                self.facts = before;
                Err(failure)
            }
        }
    }

    /// Whether a commit has changed anything so far, apart from the time and the ids that it noted.
    fn is_changed(&self, before: &Facts) -> bool {
        let mut is_changed = false;
        each_table!(self, table => is_changed = is_changed || table.is_changed());
        is_changed
            || self.facts
                != Facts {
                    time: self.facts.time,
                    ids: self.facts.ids,
                    ..before.clone()
                }
    }

    fn fault(&self) -> Result<(), ArchiveError> {
        let mut fault = Ok(());
        each_table!(self, table => fault = fault.and(table.fault()));
        fault
    }

    /// Writes what commits have changed to the archives.
    ///
    /// # Errors
    /// The first error of an archive. What was written must be undone there, and
    /// [`reset`](Self::reset) must be called.
    pub fn write(&self) -> Result<(), ArchiveError> {
        let mut written = Ok(());
        each_table!(self, table => written = written.and(table.write()));
        written
    }

    /// What commits have changed and the archives do not have yet.
    pub fn unwritten(&self) -> Unwritten {
        let mut unwritten = Unwritten::default();
        each_table!(self, table => unwritten.add(table.unwritten()));
        unwritten
    }

    /// Asks something that may read archives.
    ///
    /// # Errors
    /// The first error of an archive: what the query has found means nothing then.
    pub fn query<T>(&self, query: impl FnOnce(&Self) -> T) -> Result<T, ArchiveError> {
        let found = query(self);
        self.fault().map(|()| found)
    }

    /// Forgets rows of archives that take much memory, after everything was written.
    pub fn trim(&mut self) {
        each_table!(self, table => table.trim());
    }

    /// Forgets the rows of archives, and what was not written; sets the single values, and reads
    /// which rows are open. Returns why one of these cannot be read, if so: it is left out.
    ///
    /// # Errors
    /// An archive cannot be read.
    pub fn reset(&mut self, facts: Facts) -> Result<Option<ArchiveError>, ArchiveError> {
        self.facts = facts;
        let mut unreadable = None;
        each_table!(self, table => unreadable = table.reload()?.or(unreadable));
        Ok(unreadable)
    }

    fn change(&mut self, commit: &Commit, changes: &mut Changes) -> Result<(), Refusal> {
        if let Some(at) = commit.runtime_time() {
            let is_newer = |time: Timestamp| time.plus_ms(NOTE_EVERY_MS) <= at;
            if self.facts.time.is_none_or(is_newer) {
                self.facts.time = Some(at);
            }
        }
        match commit {
            Commit::Identify { chain_id, genesis } => {
                self.facts.chain = Some((chain_id.clone(), *genesis));
            }
            Commit::Host { agents } => self.host(agents, changes),
            Commit::Observe(observation) => self.observe(observation, changes)?,
            Commit::Backfill(backfill) => self.backfill(backfill, changes),
            Commit::Outcome(outcome) => self.settle(outcome, changes)?,
            Commit::Failure {
                event,
                attempts,
                reason,
                public,
                retry_at,
                again_at,
                watchers,
                at,
            } => {
                let why = (reason.as_str(), public.as_str());
                let times = (*retry_at, *again_at);
                self.fail(*event, *attempts, why, times, watchers, *at, changes);
            }
            Commit::Expire {
                message,
                watchers,
                at,
            } => self.expire(*message, watchers, *at, changes),
            Commit::Postpone {
                event,
                until,
                reason,
            } => self.postpone(*event, *until, reason),
            Commit::RateLimitTimeout {
                agent,
                sender,
                before,
                reason,
                at,
            } => {
                changes.rows =
                    self.rate_limit_timeout(*agent, sender.as_ref(), *before, reason, *at);
            }
            Commit::Acknowledge {
                outbox,
                state,
                detail,
                at,
            } => self.acknowledge(*outbox, *state, detail.as_deref(), *at, changes),
            Commit::Resend {
                outbox,
                resends_left,
                draft,
                prepared,
                at,
            } => {
                let prepared = prepared.as_ref();
                self.resend(*outbox, *resends_left, draft, prepared, *at, changes)?;
            }
            Commit::Unacknowledged { outbox, at } => {
                self.acknowledge(*outbox, ReceiptState::Unacknowledged, None, *at, changes);
            }
            Commit::TaskBegin {
                task,
                attempts,
                reserved,
                at,
            } => self.begin_task((*task, *attempts), *reserved, *at, changes),
            Commit::TaskAsk {
                task,
                attempts,
                question,
                used,
                at,
            } => self.ask_task((*task, *attempts), question, *used, *at, changes),
            Commit::TaskProgress {
                task,
                attempts,
                progress,
                note,
                tell,
                at,
            } => {
                let report = (*progress, note.as_deref());
                self.task_progress((*task, *attempts), report, *tell, *at, changes);
            }
            Commit::TaskRetry {
                task,
                attempts,
                error,
                used,
                due_at,
            } => self.retry_task((*task, *attempts), error, *used, *due_at, changes),
            Commit::TaskInterrupt { task, attempts } => {
                self.interrupt_task(*task, *attempts, changes);
            }
            Commit::TaskEnd {
                task,
                attempts,
                end,
                used,
                duration_ms,
                at,
            } => self.end_task((*task, *attempts), (end, *used), *duration_ms, *at, changes),
            Commit::Register {
                agent,
                card,
                due_at,
            } => {
                self.register(*agent, card, *due_at)?;
                changes.due.push(*agent);
            }
            Commit::Unregister { agent } => self.unregister(*agent),
            Commit::Plan { plans, at } => {
                for plan in plans {
                    self.plan(plan, *at)?;
                    changes.due.push(plan.agent);
                }
            }
            Commit::Send {
                agent,
                draft,
                prepared,
                token,
                at,
            } => {
                if let Some(token) = token {
                    self.charge_token(token, draft, *at)?;
                }
                let prepared = prepared.as_ref();
                let sent = self.enqueue((*agent, None), draft, prepared, *at, changes)?;
                changes.sends.push(sent);
            }
            Commit::Prepare { prepared, at } => {
                for (id, prepared) in prepared {
                    let sent = self.prepare(*id, prepared, *at, changes)?;
                    changes.sends.push(sent);
                }
            }
            Commit::Hold { held } => changes.rows = self.hold(held),
            Commit::Release { ids } => changes.rows = self.release(ids),
            Commit::ExpireQueued { at } => self.expire_queued(*at, changes),
            Commit::Post { id, result, at } => self.post(*id, result, *at, changes),
            Commit::Explain { ids, reason } => self.explain(ids, reason),
            Commit::MempoolShown { key } => self.facts.mempool = Some(key.clone()),
            Commit::Requeue { id, reason } => self.requeue(*id, reason),
            Commit::Retry { target, at } => self.retry(target, *at, changes),
            Commit::Reverify { verified, at } => changes.rows = self.reverify(verified, *at),
            Commit::Drop { target, at } => self.discard(target, *at, changes),
            Commit::Decide {
                effect,
                granted,
                reason,
                at,
            } => {
                let decision = (*granted, reason.as_deref());
                changes.rows = usize::from(self.decide(*effect, decision, *at, changes));
            }
            Commit::CreateToken(token) => self.create_token(token)?,
            Commit::RevokeToken { name } => {
                changes.rows = usize::from(self.revoke_token(name));
            }
            Commit::SetWebhooks { names } => self.set_webhooks(names),
            Commit::Delivered { webhook, through } => self.delivered_to(webhook, *through),
            Commit::AddPush(push) => self.add_push(push)?,
            Commit::PushTold { number, told } => self.push_told(*number, *told),
            Commit::PushFailed {
                number,
                failures,
                due_at,
            } => self.push_failed(*number, *failures, *due_at),
            Commit::EndPush { number } => {
                changes.rows = usize::from(self.pushes.remove(number).is_some());
            }
            Commit::BudgetLow {
                agent,
                day,
                reason,
                at,
            } => self.budget_low(*agent, *day, Some(reason), *at),
            Commit::Halt { reason } => self.facts.halted = Some(reason.clone()),
            Commit::Resume => changes.rows = usize::from(self.facts.halted.take().is_some()),
            Commit::Outcomes { .. } => {}
            Commit::Prune { before, at } => self.prune(*before, *at, changes),
        }
        Ok(())
    }

    fn host(&mut self, agents: &[crate::commit::HostedAgent], changes: &mut Changes) {
        for agent in agents {
            let known = self
                .agents
                .find(&row::agent::Index::Address(agent.address.clone()))
                .map(|known| known.id);
            let id = match known {
                Some(id) => {
                    self.agents
                        .change(&id, |row| row.name.clone_from(&agent.name));
                    id
                }
                None => {
                    let id = AgentId(next(&mut self.facts.ids.agent));
                    self.agents.put(row::Agent {
                        id,
                        address: agent.address.clone(),
                        name: agent.name.clone(),
                        start_height: agent.start_height,
                        last_nonce: None,
                        low_budget_day: None,
                    });
                    id
                }
            };
            changes.agents.push(id);
        }
    }

    /// Checks that an agent exists.
    fn check_agent(&self, agent: AgentId) -> Result<(), Refusal> {
        match self.agents.get(&agent) {
            Some(_) => Ok(()),
            None => Err(Refusal::UnknownAgent(agent)),
        }
    }

    /// The single values.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The hosted wallets, past and present.
    pub fn agents(&self) -> &Table<row::Agent> {
        &self.agents
    }

    /// The state of behaviours.
    pub fn memory(&self) -> &Table<row::Memory> {
        &self.memory
    }

    /// The messages to hosted wallets.
    pub fn inbox(&self) -> &Table<row::Message> {
        &self.inbox
    }

    /// The messages of senders who did not sign them.
    pub fn forged(&self) -> &Table<row::Forged> {
        &self.forged
    }

    /// The events other than messages.
    pub fn events(&self) -> &Table<row::Event> {
        &self.events
    }

    /// The transactions that hosted wallets send.
    pub fn outbox(&self) -> &Table<row::Outgoing> {
        &self.outbox
    }

    /// What is known about the delivery of sent messages.
    pub fn receipts(&self) -> &Table<row::Tracking> {
        &self.receipts
    }

    /// The tasks of behaviours.
    pub fn tasks(&self) -> &Table<row::Task> {
        &self.tasks
    }

    /// The directory.
    pub fn cards(&self) -> &Table<row::Card> {
        &self.cards
    }

    /// What agents have spent.
    pub fn spending(&self) -> &Table<row::Spending> {
        &self.spending
    }

    /// The transactions of hosted wallets that the outbox does not know.
    pub fn sightings(&self) -> &Table<row::Sighting> {
        &self.sightings
    }

    /// What operators are still to be told of.
    pub fn notices(&self) -> &Table<row::Notice> {
        &self.notices
    }

    /// Where operators are told.
    pub fn webhooks(&self) -> &Table<row::Webhook> {
        &self.webhooks
    }

    /// Where clients are told of tasks.
    pub fn pushes(&self) -> &Table<row::Push> {
        &self.pushes
    }

    /// The tokens of those who may call the runtime from outside.
    pub fn tokens(&self) -> &Table<row::Token> {
        &self.tokens
    }

    /// The heights that could not be read.
    pub fn gaps(&self) -> &Table<row::Gap> {
        &self.gaps
    }

    /// Whether an event is about this message.
    fn has_events(&self, inbox: InboxId) -> bool {
        let (from, to) = (EventId(i64::MIN), EventId(i64::MAX));
        let about = |id| row::event::Index::Inbox(inbox, id);
        self.events.range(about(from)..=about(to)).next().is_some()
    }

    /// The updates on this task that wait for its behaviour.
    fn updates(&self, task: &row::Task) -> impl Iterator<Item = Arc<row::Event>> {
        let update = |id| {
            let (behaviour, key) = (task.behaviour.clone(), task.key.clone());
            row::event::Index::Task(task.agent, behaviour, key, EventId(id))
        };
        self.events.range(update(i64::MIN)..=update(i64::MAX))
    }

    /// The tasks that this message started.
    fn tasks_of(&self, inbox: InboxId) -> impl Iterator<Item = Arc<row::Task>> {
        let (from, to) = (TaskId(i64::MIN), TaskId(i64::MAX));
        let of = |id| row::task::Index::Inbox(inbox, id);
        self.tasks.range(of(from)..=of(to))
    }

    /// Whether the content of a message is still needed: an event is about it, or a task of it is
    /// open.
    fn is_needed(&self, inbox: InboxId) -> bool {
        self.has_events(inbox) || self.tasks_of(inbox).any(|task| task.ended_at.is_none())
    }

    /// Deletes a message. What refers to it stays.
    fn delete_message(&mut self, id: InboxId) -> Option<Arc<row::Message>> {
        let message = self.inbox.remove(&id)?;
        let about = |event| row::event::Index::Inbox(id, EventId(event));
        let events: Vec<_> = self
            .events
            .range(about(i64::MIN)..=about(i64::MAX))
            .map(|event| event.id)
            .collect();
        for event in events {
            self.events.change(&event, |row| row.inbox = None);
        }
        let tasks: Vec<_> = self.tasks_of(id).map(|task| task.id).collect();
        for task in tasks {
            self.tasks.change(&task, |row| row.inbox = None);
        }
        let from = |outbox| row::outbox::Index::Inbox(id, OutboxId(outbox));
        let outgoing: Vec<_> = self
            .outbox
            .range(from(i64::MIN)..=from(i64::MAX))
            .map(|row| row.id)
            .collect();
        for outbox in outgoing {
            self.outbox.change(&outbox, |row| row.inbox = None);
        }
        Some(message)
    }

    /// Deletes a transaction, and what is known about its delivery.
    fn delete_transaction(&mut self, id: OutboxId) {
        self.outbox.remove(&id);
        self.receipts.remove(&id);
    }
}
