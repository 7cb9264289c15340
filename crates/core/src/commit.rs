//! Every durable change, as one serialisable value.

use std::fmt;

use agentry_protocol::{
    Address, Amount, BlockHash, BlockHeight, ChainId, ContentHash, Envelope, MessageDigest, Nonce,
    Payload, PublicKey, SignedTransaction, StoredTransaction, Timestamp, Trail, TransactionHash,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cause::Cause;
use crate::fingerprint::Fingerprint;
use crate::push::Push;
use crate::rows::{
    AgentId, Charge, Draft, EventId, EventRef, InboxId, OpenTransaction, OutboxId, Prepared,
    ReceiptState, TaskId, is_false,
};
use crate::task::Question;
use crate::token::{Token, TokenName};
use crate::{Authenticity, Standing, TaskOutput, TaskStart, TokenCharge, Tokens};

/// One atomic change: the store holds all of it or none of it.
///
/// A commit says *what* happened and when (`at`), never how the tables change; only `apply` knows
/// that. A commit is idempotent: applying it a second time changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Commit {
    /// The runtime starts and reports its chain.
    Identify {
        /// The chain's id.
        chain_id: ChainId,
        /// Hash of its block 0.
        genesis: BlockHash,
    },
    /// The runtime starts and reports its agents.
    Host {
        /// All agents.
        agents: Vec<HostedAgent>,
    },
    /// The chain was read further.
    Observe(Observation),
    /// The directory backfill read blocks below the watched ones for the cards in them.
    Backfill(Backfill),
    /// A behaviour has handled an event.
    Outcome(Outcome),
    /// A run for an event failed.
    Failure {
        /// The event.
        event: EventRef,
        /// How many attempts had failed before this one.
        attempts: u32,
        /// What went wrong, for the operator.
        reason: String,
        /// What the sender of the message may be told about it.
        public: String,
        /// When to try again; never if `None`.
        retry_at: Option<Timestamp>,
        /// The next time of the schedule, if the event is a tick that is not retried.
        again_at: Option<Timestamp>,
        /// The behaviours that watch the message.
        watchers: Vec<String>,
        /// When it failed.
        at: Timestamp,
    },
    /// A message expired before its turn came.
    Expire {
        /// The message.
        message: InboxId,
        /// The behaviours that watch it.
        watchers: Vec<String>,
        /// The time of the change.
        at: Timestamp,
    },
    /// An event has to wait. This does not count as an attempt.
    Postpone {
        /// The event.
        event: EventRef,
        /// The time until which it waits.
        until: Timestamp,
        /// The reason.
        reason: String,
    },
    /// Messages of a sender exceeded the rate-limit timeout.
    RateLimitTimeout {
        /// The agent that they were sent to.
        agent: AgentId,
        /// Their sender; all unverified senders if `None`.
        sender: Option<Address>,
        /// Only messages seen before this time are meant.
        before: Timestamp,
        /// Why they are moved to the dead-letter queue.
        reason: String,
        /// The time of the change.
        at: Timestamp,
    },
    /// The recipient of a message acknowledges it.
    Acknowledge {
        /// The message's first transaction.
        outbox: OutboxId,
        /// The acknowledged state.
        state: ReceiptState,
        /// The recipient's explanation.
        detail: Option<String>,
        /// The time of the change.
        at: Timestamp,
    },
    /// A message was not acknowledged in time: it is sent again.
    Resend {
        /// Its first transaction.
        outbox: OutboxId,
        /// How many resends were left before this one.
        resends_left: u32,
        /// The message, unchanged.
        draft: Draft,
        /// The signed bytes, if a nonce was free at once.
        prepared: Option<Prepared>,
        /// The time of the change.
        at: Timestamp,
    },
    /// A message was not acknowledged in time, and no resends are left.
    Unacknowledged {
        /// Its first transaction.
        outbox: OutboxId,
        /// The time of the change.
        at: Timestamp,
    },
    /// An attempt at a task starts.
    TaskBegin {
        /// The task.
        task: TaskId,
        /// How many attempts were started before.
        attempts: u32,
        /// The tokens that the attempt reserves.
        #[serde(default)]
        reserved: TokenCharge,
        /// The time of the change.
        at: Timestamp,
    },
    /// An attempt at a task ends with a question. The task waits for the answer.
    TaskAsk {
        /// The task.
        task: TaskId,
        /// How many attempts were started.
        attempts: u32,
        /// The question.
        question: Question,
        /// The tokens that the attempt has used, if that is known.
        used: Option<Tokens>,
        /// The time of the change.
        at: Timestamp,
    },
    /// A task reports its progress.
    TaskProgress {
        /// The task.
        task: TaskId,
        /// How many attempts were started.
        attempts: u32,
        /// The progress, from 0 to 1.
        progress: f64,
        /// A note for people.
        note: Option<String>,
        /// Whether the behaviour is told.
        tell: bool,
        /// The time of the change.
        at: Timestamp,
    },
    /// An attempt at a task failed and will be retried.
    TaskRetry {
        /// The task.
        task: TaskId,
        /// How many attempts were started.
        attempts: u32,
        /// Why: a code for programs, and a message for people.
        error: (String, String),
        /// The tokens that the attempt has used, if that is known.
        used: Option<Tokens>,
        /// When to try again.
        due_at: Timestamp,
    },
    /// An attempt at a task ended with the process, or with the pool that ran it.
    TaskInterrupt {
        /// The task.
        task: TaskId,
        /// How many attempts were started.
        attempts: u32,
    },
    /// A task has ended.
    TaskEnd {
        /// The task.
        task: TaskId,
        /// How many attempts were started.
        attempts: u32,
        /// How it ended.
        end: TaskEnd,
        /// The tokens that the last attempt has used, if that is known.
        used: Option<Tokens>,
        /// How long the last attempt took, in milliseconds.
        duration_ms: u64,
        /// The time of the change.
        at: Timestamp,
    },
    /// An agent's card is announced and renewed from now on.
    Register {
        /// The agent.
        agent: AgentId,
        /// The data that the renewal needs.
        card: Value,
        /// When it is announced next, for the first time or again.
        due_at: Timestamp,
    },
    /// An agent's card is no longer renewed.
    Unregister {
        /// The agent.
        agent: AgentId,
    },
    /// Behaviours are to do something by themselves.
    Plan {
        /// What, of any agents.
        plans: Vec<Plan>,
        /// The time of the change.
        at: Timestamp,
    },
    /// A transaction from a hosted wallet is requested.
    Send {
        /// The wallet that sends it.
        agent: AgentId,
        /// The content of the transaction.
        draft: Draft,
        /// The signed bytes, if a nonce was free at once.
        prepared: Option<Prepared>,
        /// The token whose holder requests it, and whose budget pays for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenName>,
        /// The time of the change.
        at: Timestamp,
    },
    /// Queued transactions received nonces and were signed.
    Prepare {
        /// The transactions, each with its nonce and signed bytes.
        prepared: Vec<(OutboxId, Prepared)>,
        /// The time of the change.
        at: Timestamp,
    },
    /// A day's budget is too small for queued transactions: they are held.
    Hold {
        /// The transactions, each with the reason.
        held: Vec<(OutboxId, String)>,
    },
    /// Budgets suffice again for held drafts: they are released.
    Release {
        /// The transactions.
        ids: Vec<OutboxId>,
    },
    /// Queued transactions that have expired are no longer sent.
    ExpireQueued {
        /// The time of the change.
        at: Timestamp,
    },
    /// A transaction was posted, or cannot be posted.
    Post {
        /// The transaction.
        id: OutboxId,
        /// The result of the POST.
        result: PostResult,
        /// The time of the change.
        at: Timestamp,
    },
    /// Transactions were accepted, but are still in no block after many blocks.
    Explain {
        /// The transactions.
        ids: Vec<OutboxId>,
        /// Why, as far as that is known.
        reason: String,
    },
    /// The node's mempool.db has shown a transaction that was posted to the node.
    MempoolShown {
        /// The key of the mempool.db and the node.
        key: String,
    },
    /// Another transaction has spent a signed transaction's nonce: it must be re-signed
    /// (`sequential`).
    Requeue {
        /// The transaction.
        id: OutboxId,
        /// The reason.
        reason: String,
    },
    /// An operator retries dead letters or failed transactions.
    Retry {
        /// The rows that are meant.
        target: QueueTarget,
        /// The time of the change.
        at: Timestamp,
    },
    /// Dead letters were verified again before they are retried: keys may have become known since.
    Reverify {
        /// The results.
        verified: Vec<Reverified>,
        /// The time of the change.
        at: Timestamp,
    },
    /// An operator drops a message or event, or a transaction before it is sent.
    Drop {
        /// The rows that are meant.
        target: QueueTarget,
        /// The time of the change.
        at: Timestamp,
    },
    /// An operator decides on an effect of a behaviour that waits for approval.
    Decide {
        /// The effect.
        effect: HeldEffect,
        /// Whether it is carried out.
        granted: bool,
        /// Why, if the operator says so.
        reason: Option<String>,
        /// The time of the change.
        at: Timestamp,
    },
    /// A token is made.
    CreateToken(Token),
    /// A token is no longer valid.
    RevokeToken {
        /// Its name.
        name: TokenName,
    },
    /// The runtime starts and reports its webhooks.
    SetWebhooks {
        /// The names of all.
        names: Vec<String>,
    },
    /// Notices were delivered to a webhook.
    Delivered {
        /// The webhook, by its name.
        webhook: String,
        /// The last of the notices.
        through: i64,
    },
    /// A client wants to be told of a task.
    AddPush(Push),
    /// A client was told of a task that goes on.
    PushTold {
        /// The receiver's number.
        number: i64,
        /// The digest of what was told.
        told: ContentHash,
    },
    /// A client was not reached.
    PushFailed {
        /// The receiver's number.
        number: i64,
        /// How many attempts have failed now.
        failures: u32,
        /// When the next is made.
        due_at: Timestamp,
    },
    /// A client is no longer told of a task.
    EndPush {
        /// The receiver's number.
        number: i64,
    },
    /// An agent has spent most of a day's budget.
    BudgetLow {
        /// The agent.
        agent: AgentId,
        /// The day: days since the epoch, UTC.
        day: u64,
        /// How much of it.
        reason: String,
        /// The time of the change.
        at: Timestamp,
    },
    /// Posting is halted until an operator resumes it.
    Halt {
        /// The reason.
        reason: String,
    },
    /// An operator resumes posting.
    Resume,
    /// What the commits of a stretch of the log came to on the host that appended them. It changes
    /// nothing: hosts that follow compare it with what the same commits came to there.
    Outcomes {
        /// The version of agentry that appended them. What [`Changes`] consists of may differ in
        /// others.
        version: String,
        /// The hash of what each commit changed, in their order.
        hash: ContentHash,
    },
    /// Prunes rows that were settled before `before`, and ids that are refused at `at`. Both times
    /// must certainly have passed: a pruned message is not recognised when it arrives again.
    Prune {
        /// The end of the retention.
        before: Timestamp,
        /// The time of the change.
        at: Timestamp,
    },
}

impl Commit {
    /// The drafts that it adds to the outbox, each with its signed bytes, if there are any yet.
    pub fn sends_mut(&mut self) -> Vec<(&Draft, &mut Option<Prepared>)> {
        match self {
            Self::Outcome(outcome) => {
                let sends = outcome.sends.iter_mut();
                sends.map(|(draft, prepared)| (&*draft, prepared)).collect()
            }
            Self::Send {
                draft, prepared, ..
            }
            | Self::Resend {
                draft, prepared, ..
            } => vec![(draft, prepared)],
            _ => Vec::new(),
        }
    }

    /// The time of the commit by the runtime's own clock; `None` for commits that do not carry it.
    pub const fn runtime_time(&self) -> Option<Timestamp> {
        match self {
            Self::Observe(Observation { at, .. })
            | Self::Backfill(Backfill { at, .. })
            | Self::Outcome(Outcome { at, .. })
            | Self::Failure { at, .. }
            | Self::Expire { at, .. }
            | Self::RateLimitTimeout { at, .. }
            | Self::Acknowledge { at, .. }
            | Self::Resend { at, .. }
            | Self::Unacknowledged { at, .. }
            | Self::TaskBegin { at, .. }
            | Self::TaskAsk { at, .. }
            | Self::TaskProgress { at, .. }
            | Self::TaskEnd { at, .. }
            | Self::Plan { at, .. }
            | Self::Send { at, .. }
            | Self::Prepare { at, .. }
            | Self::BudgetLow { at, .. }
            | Self::Post { at, .. } => Some(*at),
            // Commits of an operator, who may run no runtime; those that use the time that blocks
            // confirm; and those without a time.
            Self::Retry { .. }
            | Self::Reverify { .. }
            | Self::Drop { .. }
            | Self::Decide { .. }
            | Self::CreateToken(_)
            | Self::RevokeToken { .. }
            | Self::SetWebhooks { .. }
            | Self::Delivered { .. }
            | Self::AddPush(_)
            | Self::PushTold { .. }
            | Self::PushFailed { .. }
            | Self::EndPush { .. }
            | Self::ExpireQueued { .. }
            | Self::Prune { .. }
            | Self::Identify { .. }
            | Self::Host { .. }
            | Self::TaskRetry { .. }
            | Self::TaskInterrupt { .. }
            | Self::Register { .. }
            | Self::Unregister { .. }
            | Self::Hold { .. }
            | Self::Release { .. }
            | Self::Requeue { .. }
            | Self::Postpone { .. }
            | Self::Explain { .. }
            | Self::MempoolShown { .. }
            | Self::Halt { .. }
            | Self::Resume
            | Self::Outcomes { .. } => None,
        }
    }
}

/// An effect of a behaviour that an operator decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldEffect {
    /// A message that is sent.
    Outbox(OutboxId),
    /// A task that is started.
    Task(TaskId),
}

impl fmt::Display for HeldEffect {
    /// The name that operators use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbox(id) => write!(f, "outbox/{id}"),
            Self::Task(id) => write!(f, "task/{id}"),
        }
    }
}

/// A wallet that is hosted from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostedAgent {
    /// Its address.
    pub address: Address,
    /// Its name in agents.toml.
    pub name: String,
    /// The first block that it reads, if the store does not know it yet; lower blocks are ignored.
    pub start_height: BlockHeight,
}

/// What a behaviour is to do by itself, without a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The agent.
    pub agent: AgentId,
    /// The behaviour, by its name in the agent.
    pub behaviour: String,
    /// When.
    pub when: Planned,
}

/// When a behaviour is to do something by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Planned {
    /// When its agent is first hosted.
    Start {
        /// Whether this start of the runtime counts, too, although the agent was hosted before.
        again: bool,
    },
    /// At the times of a schedule.
    Tick {
        /// The schedule's name; not empty.
        name: String,
        /// What its times are. If the schedule of this name was the same before, its next time
        /// stays; else it is replaced.
        schedule: String,
        /// Its first time.
        due_at: Timestamp,
    },
}

/// The result of one read of the chain, in the chain's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What was seen on the chain.
    pub steps: Vec<Step>,
    /// The source's position after them, in the form in which the source wants it back.
    pub cursor: Value,
    /// Mined transactions in blocks up to this one are final.
    pub final_through: Option<BlockHeight>,
    /// Set while agents do not act yet, because the chain is still being read up to its head at the
    /// start: the last row of the outbox at the start. Transactions of the hosted wallets that are
    /// seen now may be ones that this store has lost.
    pub catching_up: Option<OutboxId>,
    /// The time of the change.
    pub at: Timestamp,
}

/// The result of one step of the directory backfill, in the chain's order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backfill {
    /// Cards, withdrawn blocks, and heights that could not be read completely.
    pub steps: Vec<Step>,
    /// The last block that the backfill had read before, below the watched ones.
    pub read_before: Option<BlockHeight>,
    /// The backfill's position, in the form in which it wants it back; `None` ends the backfill.
    pub progress: Option<Value>,
    /// The directory is complete from this block on, if that has changed.
    pub known_from: Option<BlockHeight>,
    /// Blocks up to this one are final.
    pub final_through: Option<BlockHeight>,
    /// The time of the change.
    pub at: Timestamp,
}

/// One thing that was seen on the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// A message to a hosted wallet.
    Arrival(Arrival),
    /// A transaction from a hosted wallet, in a block.
    Sighting {
        /// The wallet that sent it.
        agent: AgentId,
        /// The hash of the transaction as the node spells it.
        hash: TransactionHash,
        /// The transaction, if the wallet has signed it and no transaction with this hash was
        /// known.
        own: Option<Box<OwnTransaction>>,
        /// The block's height.
        height: BlockHeight,
        /// The block's hash.
        block_hash: Option<BlockHash>,
    },
    /// A transaction from a hosted wallet that the node has pending.
    Pending {
        /// The wallet that sent it.
        agent: AgentId,
        /// Its hash.
        hash: TransactionHash,
        /// The transaction, if no transaction with this hash was known.
        own: Option<Box<OwnTransaction>>,
        /// The latest possible current time: no block tells when the transaction was sent.
        latest: Timestamp,
    },
    /// Blocks were withdrawn.
    Withdrawn {
        /// Blocks above this height are no longer on the chain; all blocks if `None`.
        above: Option<BlockHeight>,
    },
    /// An agent announced its card, or withdrew it.
    Card(CardSeen),
    /// A height could not be read completely.
    Gap {
        /// The height.
        height: BlockHeight,
        /// The reason.
        reason: String,
    },
    /// A height that was a gap was read completely.
    GapFilled {
        /// The height.
        height: BlockHeight,
    },
}

/// A transaction that a hosted wallet has signed and that the store may not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnTransaction {
    /// The message's identity.
    pub digest: MessageDigest,
    /// Its nonce, if this runtime could have assigned it.
    pub nonce: Option<Nonce>,
    /// The recipient.
    pub recipient: Address,
    /// The amount that it transfers, in AIT, if that is a whole number.
    pub amount: Option<Amount>,
    /// The fee that it pays, in AIT, if that is a whole number.
    pub fee: Option<Amount>,
    /// The fingerprint of its message, which another run would reproduce.
    pub says: Fingerprint,
    /// Its bytes, as posted.
    pub body: String,
}

/// The highest nonce that counts as one of this runtime's: 2^53, which no clock reaches. New nonces
/// are higher than those on the chain; a nonce beyond this limit would leave no room for them.
const MAX_NONCE: Nonce = Nonce::new(1 << 53);

impl From<&SignedTransaction> for OwnTransaction {
    fn from(signed: &SignedTransaction) -> Self {
        let transaction = signed.transaction();
        Self {
            digest: signed.digest(),
            nonce: Nonce::of(&transaction.nonce).filter(|nonce| *nonce <= MAX_NONCE),
            recipient: transaction.to.clone(),
            amount: transaction.amount.as_u64().map(Amount),
            fee: transaction.fee.as_u64().map(Amount),
            says: Fingerprint::of(&signed.message()),
            body: signed.body(),
        }
    }
}

/// A message to a hosted wallet, seen on the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// The agent that it is for.
    pub agent: AgentId,
    /// Hash of the transaction that carries it.
    pub hash: TransactionHash,
    /// Its identity.
    pub digest: MessageDigest,
    /// The sender that it names.
    pub sender: Address,
    /// The block.
    pub height: BlockHeight,
    /// The transaction as the chain keeps it, canonical JSON.
    pub stored: String,
    /// Whether the sender is verified.
    pub authenticity: Authenticity,
    /// How well the agent knows the sender.
    pub standing: Standing,
    /// What identifies it among the messages of its sender: see
    /// [`Envelope::identity`](agentry_protocol::Envelope::identity).
    pub identity: String,
    /// The transaction that it answers.
    pub re: Option<TransactionHash>,
    /// The conversation that it belongs to.
    pub thread: Option<String>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Whether it takes priority over other messages.
    pub urgent: bool,
    /// Why it is not acted on, if that is already certain: it becomes a dead letter at once.
    pub refused: Option<String>,
}

/// The possible range of the current time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// It is certainly not earlier than this.
    pub earliest: Timestamp,
    /// It is certainly not later than this.
    pub latest: Timestamp,
}

impl From<Timestamp> for Now {
    fn from(now: Timestamp) -> Self {
        Self {
            earliest: now,
            latest: now,
        }
    }
}

impl Arrival {
    /// An arrival of this transaction at the time `now`.
    pub fn new(
        agent: AgentId,
        hash: TransactionHash,
        stored: &StoredTransaction,
        height: BlockHeight,
        authenticity: Authenticity,
        now: impl Into<Now>,
    ) -> Self {
        let now = now.into();
        let envelope = stored.envelope();
        let digest = stored.digest();
        let header = envelope.header();
        // Only an id of a verified sender counts, and so does the time in it.
        let verified = authenticity == Authenticity::Verified;
        let refused = header
            .and_then(|header| header.id)
            .filter(|_| verified)
            .and_then(|id| id.check_between(now.earliest, now.latest).err());
        Self {
            agent,
            hash,
            digest,
            sender: stored.from.clone(),
            height,
            stored: stored.stored_text(),
            authenticity,
            standing: Standing::unknown(authenticity),
            identity: envelope.identity(digest, authenticity).to_string(),
            re: header.and_then(|header| header.re),
            thread: header.and_then(|header| header.thread.as_ref().map(ToString::to_string)),
            expires_at: header.and_then(|header| header.exp),
            urgent: verified && is_urgent(&envelope),
            refused: refused.map(|error| error.to_string()),
        }
    }
}

/// Whether a message takes priority: questions about the agent itself, cancellations, and answers,
/// which end conversations. A sealed message does not show what it is, so it is never urgent.
fn is_urgent(envelope: &Envelope) -> bool {
    match &envelope.payload {
        Payload::Command(command) => matches!(
            command.cmd.as_str(),
            "STATUS_REPORT"
                | "STATUS"
                | "CANCEL_JOB"
                | "ACK"
                | "JOB_PROGRESS"
                | "JOB_COMPLETE"
                | "JOB_FAILED"
                | "JOB_INPUT_REQUIRED"
                | "JOB_INPUT"
                | "JOB_RESULT"
        ),
        Payload::Text(_) | Payload::Opaque(_) => false,
    }
}

/// A verified ANNOUNCE or WITHDRAW.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardSeen {
    /// The agent's address.
    pub address: Address,
    /// The transaction that carried it.
    pub hash: TransactionHash,
    /// The block.
    pub height: BlockHeight,
    /// The key that signed it.
    pub public_key: PublicKey,
    /// The parameters of ANNOUNCE, JSON; `None` for WITHDRAW.
    pub card: Option<String>,
    /// When it expires; the epoch for WITHDRAW.
    pub expires_at: Timestamp,
    /// When it was announced: the time in the message's id, or when it was seen if it has no id.
    pub announced_at: Timestamp,
}

/// The result of one behaviour's run for an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The event.
    pub event: EventRef,
    /// How many attempts had failed before this one: an outcome of an older attempt is stale.
    pub attempts: u32,
    /// The behaviour, by its name in the agent; `None` if no behaviour accepts the message.
    pub behaviour: Option<String>,
    /// Who caused it: whose share the timers and tasks use.
    pub cause: Cause,
    /// What it sends, with the signed bytes if a nonce was free at once.
    pub sends: Vec<(Draft, Option<Prepared>)>,
    /// The state that it sets (`Some`) and deletes (`None`).
    pub state: Vec<(String, Option<Value>)>,
    /// The timers that it sets (`Some`) and deletes (`None`).
    pub timers: Vec<(String, Option<TimerSetting>)>,
    /// The tasks that it starts.
    pub tasks: Vec<TaskStart>,
    /// The time before which they do not start and no task updates are delivered.
    pub tasks_from: Timestamp,
    /// Whether they wait for an operator's approval.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tasks_unapproved: bool,
    /// The tasks that it cancels, by their keys.
    pub cancels: Vec<String>,
    /// The answers to questions of tasks: by the task's key, with the number of the question, from 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<(String, u32, Value)>,
    /// Why it rejects the message.
    pub rejected: Option<String>,
    /// Set if no other behaviour is to see the message: its watchers are told. An event other than
    /// a message has one behaviour, so it is handled at once.
    pub handled: Option<Handled>,
    /// The time at which the event is due again: a renewal, or the next time of a schedule.
    pub again_at: Option<Timestamp>,
    /// What the messages that follow from it carry on.
    #[serde(default, skip_serializing_if = "Trail::is_none")]
    pub trail: Trail,
    /// The time of the change.
    pub at: Timestamp,
}

impl Outcome {
    /// An outcome without effects.
    pub const fn nothing(event: EventRef, attempts: u32, at: Timestamp) -> Self {
        Self {
            event,
            attempts,
            behaviour: None,
            cause: Cause::Own,
            sends: Vec::new(),
            state: Vec::new(),
            timers: Vec::new(),
            tasks: Vec::new(),
            tasks_from: Timestamp::EPOCH,
            tasks_unapproved: false,
            cancels: Vec::new(),
            answers: Vec::new(),
            rejected: None,
            handled: None,
            again_at: None,
            trail: Trail::NONE,
            at,
        }
    }
}

/// How a message was handled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handled {
    /// The behaviours that watch it.
    pub watchers: Vec<String>,
    /// Why no behaviour acted on it, if none did: for its sender and for an operator.
    pub unacted: Option<String>,
}

/// When a timer fires, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerSetting {
    /// When it fires.
    pub due_at: Timestamp,
    /// The data that its event carries.
    pub data: Value,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskEnd {
    /// With a result.
    Completed(TaskOutput),
    /// Without a result.
    Failed {
        /// A code for programs.
        code: String,
        /// A message for the operator.
        message: String,
        /// What the requester of the task may be told.
        public: String,
    },
    /// An operator or its submitter canceled it.
    Canceled,
}

impl TaskEnd {
    /// The end of a task for whose result there is no room, for this reason.
    pub fn no_room(reason: &str) -> Self {
        Self::Failed {
            code: "no-room".to_owned(),
            message: format!("its result was not stored: {reason}"),
            public: "there is no room for its result".to_owned(),
        }
    }
}

/// The result of a POST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PostResult {
    /// The node accepted it, or may have accepted it.
    Accepted,
    /// The node refuses it permanently.
    Failed {
        /// The node's reason.
        reason: String,
    },
    /// It is in a block of the node that is posted to, and the source cannot show that block.
    Standing {
        /// The block's height.
        height: BlockHeight,
        /// The block's hash.
        block_hash: BlockHash,
    },
    /// It waits for something that may still happen; the node does not have it.
    Waiting {
        /// What it waits for.
        reason: String,
    },
}

/// Rows of the queues, as an operator names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueTarget {
    /// A message.
    Inbox(InboxId),
    /// A transaction.
    Outbox(OutboxId),
    /// An event other than a message.
    Event(EventId),
    /// All dead letters and all failed transactions.
    All,
    /// The dead letters and failed transactions that match every condition.
    Matching(Selection),
}

/// A queue of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Messages.
    Inbox,
    /// Transactions.
    Outbox,
    /// Other events of an agent: timers, delivery updates, outcomes of watched messages, task
    /// updates.
    Events,
}

/// The conditions that select rows; `None` is no condition. A condition on a property that a
/// queue's rows do not have matches none of them: events have no sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// The rows are in this queue.
    pub queue: Option<QueueKind>,
    /// The rows belong to the agent with this name or address.
    pub agent: Option<String>,
    /// The messages are from this address.
    pub sender: Option<String>,
    /// The transactions are to this address.
    pub recipient: Option<String>,
    /// The rows belong to this behaviour: its events, and what it sent.
    pub behaviour: Option<String>,
    /// The rows are not older than this time.
    pub since: Option<Timestamp>,
    /// This is the reason of their last failure.
    pub reason: Option<String>,
}

/// The result of verifying a dead letter again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverified {
    /// The message.
    pub id: InboxId,
    /// Whether its sender is verified.
    pub authenticity: Authenticity,
    /// What identifies it among the sender's messages.
    pub identity: String,
    /// Whether it takes priority over other messages.
    pub urgent: bool,
}

/// How a commit went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitResult {
    /// It was applied.
    #[default]
    Applied,
    /// There was nothing to change: all that it says is known, or nothing is left that it is about.
    Unchanged,
    /// It came too late, and nothing was changed: its event, message or task was withdrawn,
    /// settled, retried or begun in the meantime.
    Stale,
}

/// What became of a requested transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// It is stored, with the bytes that were signed for it now, if any were.
    Stored(OutboxId),
    /// The same request was stored before. What was signed for it now is discarded.
    Known(OutboxId),
    /// The chain already shows it. What was signed for it now is paid for, and never posted.
    OnChain(OutboxId),
}

impl SendResult {
    /// The row of the transaction.
    pub const fn id(self) -> OutboxId {
        match self {
            Self::Stored(id) | Self::Known(id) | Self::OnChain(id) => id,
        }
    }
}

/// What a commit changed, for the parts of the runtime that must act on it.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// How it went.
    pub result: CommitResult,
    /// How many of the rows that the commit selects were changed.
    pub rows: usize,
    /// The agents that have something to do now.
    pub due: Vec<AgentId>,
    /// What became of the requested transactions, in the order of the request.
    pub sends: Vec<SendResult>,
    /// The transactions that were mined.
    pub mined: Vec<(OutboxId, TransactionHash)>,
    /// The transactions that must be followed, possibly again: signed, and in no block.
    pub reopened: Vec<OpenTransaction>,
    /// The rows of the hosted wallets, in the order of the request.
    pub agents: Vec<AgentId>,
    /// New messages.
    pub arrived: usize,
    /// New messages that were refused because their senders' share is used up.
    pub refused: usize,
    /// Messages that were already known.
    pub repeated: usize,
    /// Whether there are new tasks.
    pub tasks: bool,
    /// The tasks that were canceled.
    pub canceled: Vec<TaskId>,
    /// The addresses whose cards may have changed.
    pub cards: Vec<Address>,
    /// What budgets have paid, without having been asked first, for transactions that are on the
    /// chain: failed ones that were mined nevertheless, and ones that this store had lost.
    pub recharged: Vec<Charge>,
    /// The nonces of hosted wallets' transactions that the store did not know.
    pub nonces: Vec<(AgentId, Nonce)>,
}

impl Changes {
    /// Whether the commit was applied.
    pub fn is_applied(&self) -> bool {
        self.result == CommitResult::Applied
    }

    /// Nothing was changed: the commit came too late.
    pub fn stale() -> Self {
        Self {
            result: CommitResult::Stale,
            ..Self::default()
        }
    }
}
