//! Every durable change, as one serialisable value.

use agentry_protocol::{
    Address, BlockHash, BlockHeight, ChainId, Envelope, MessageDigest, Payload, PublicKey,
    SignedTransaction, StoredTransaction, TransactionHash,
};
use agentry_sdk::{Authenticity, Standing, TaskOutput, TaskStart};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cause::Cause;
use super::fingerprint::Fingerprint;
use super::rows::{
    AgentId, Charge, Draft, EventId, EventRef, InboxId, OpenTransaction, OutboxId, Prepared,
    ReceiptState, TaskId,
};

/// One atomic change: all of it is in the store, or nothing.
///
/// A commit says *what* happened and when (`at`: milliseconds since the epoch), never how the
/// tables change; that is `apply`'s business alone. It can be carried out twice: what is already
/// so stays so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Commit {
    /// The runtime starts: this is its chain.
    Identify {
        /// The chain's id.
        chain_id: ChainId,
        /// Hash of its block 0.
        genesis: BlockHash,
    },
    /// The runtime starts: these are its agents.
    Host {
        /// All of them.
        agents: Vec<HostedAgent>,
    },
    /// The chain was read on.
    Observe(Observation),
    /// Blocks below those that are watched were read for the cards in them.
    Survey(Survey),
    /// A behaviour is done with a message.
    Outcome(Outcome),
    /// A run for an event failed.
    Failure {
        /// The event.
        event: EventRef,
        /// How many attempts had failed before this one.
        attempts: u32,
        /// What went wrong, for the operator.
        reason: String,
        /// What the sender of the message may be told of it.
        public: String,
        /// When to try again; never, where `None`.
        retry_at: Option<u64>,
        /// The behaviours that watch the message.
        watchers: Vec<String>,
        /// When it failed.
        at: u64,
    },
    /// A message's time was over before its turn came.
    Expire {
        /// The message.
        message: InboxId,
        /// The behaviours that watch it.
        watchers: Vec<String>,
        /// When.
        at: u64,
    },
    /// An event has to wait. That is no attempt.
    Postpone {
        /// The event.
        event: EventRef,
        /// Until when, in milliseconds since the epoch.
        until: u64,
        /// Why.
        reason: String,
    },
    /// Messages of a sender have waited for longer than they may.
    Overwait {
        /// Whose they are.
        agent: AgentId,
        /// Their sender; every one that is not proven, where `None`.
        sender: Option<Address>,
        /// What was seen before this time.
        before: u64,
        /// Why they are given up.
        reason: String,
        /// When.
        at: u64,
    },
    /// The recipient of a message says what became of it.
    Acknowledge {
        /// The message's first transaction.
        outbox: OutboxId,
        /// What.
        state: ReceiptState,
        /// In his words.
        detail: Option<String>,
        /// When.
        at: u64,
    },
    /// A message was not acknowledged in time: it is sent again.
    Resend {
        /// Its first transaction.
        outbox: OutboxId,
        /// How often it could be sent again before this.
        resends_left: u32,
        /// The same message.
        draft: Draft,
        /// The signed bytes, where a nonce was free at once.
        prepared: Option<Prepared>,
        /// When.
        at: u64,
    },
    /// A message was not acknowledged in time, for the last time.
    Unacknowledged {
        /// Its first transaction.
        outbox: OutboxId,
        /// When.
        at: u64,
    },
    /// An attempt at a task begins.
    TaskBegin {
        /// Which.
        task: TaskId,
        /// How many were begun before.
        attempts: u32,
        /// When.
        at: u64,
    },
    /// A task reports how far it is.
    TaskProgress {
        /// Which.
        task: TaskId,
        /// How many attempts were begun.
        attempts: u32,
        /// How far, from 0 to 1.
        progress: f64,
        /// In words.
        note: Option<String>,
        /// Whether the behaviour is told.
        tell: bool,
        /// When.
        at: u64,
    },
    /// An attempt at a task failed; there will be another.
    TaskRetry {
        /// Which.
        task: TaskId,
        /// How many attempts were begun.
        attempts: u32,
        /// Why: a word for programs, and a sentence.
        error: (String, String),
        /// When to try again.
        due_at: u64,
    },
    /// An attempt at a task ended with the process, or with the pool that ran it.
    TaskInterrupt {
        /// Which.
        task: TaskId,
        /// How many attempts were begun.
        attempts: u32,
    },
    /// A task has ended.
    TaskEnd {
        /// Which.
        task: TaskId,
        /// How many attempts were begun.
        attempts: u32,
        /// How.
        end: TaskEnd,
        /// How long the last attempt took, in milliseconds.
        duration_ms: u64,
        /// When.
        at: u64,
    },
    /// An agent's card is announced from now on, and renewed.
    Register {
        /// Whose.
        agent: AgentId,
        /// What the renewal needs to know.
        card: Value,
        /// When it is announced (first, or anew).
        due_at: u64,
    },
    /// An agent's card is renewed no more.
    Unregister {
        /// Whose.
        agent: AgentId,
    },
    /// Somebody asks to send from a hosted wallet.
    Send {
        /// Which wallet.
        agent: AgentId,
        /// What to say.
        draft: Draft,
        /// The signed bytes, where a nonce was free at once.
        prepared: Option<Prepared>,
        /// When.
        at: u64,
    },
    /// Queued transactions were given nonces and signed.
    Prepare {
        /// Which, and what came of it.
        prepared: Vec<(OutboxId, Prepared)>,
        /// When.
        at: u64,
    },
    /// A day's budget does not suffice for queued transactions: they wait.
    Hold {
        /// Which, and why.
        held: Vec<(OutboxId, String)>,
    },
    /// Budgets suffice again for drafts that wait for them: they have their turn.
    Release {
        /// Which.
        ids: Vec<OutboxId>,
    },
    /// Queued transactions whose time is over are not sent any more.
    Lapse {
        /// When.
        at: u64,
    },
    /// A transaction was posted, or cannot be.
    Post {
        /// Which.
        id: OutboxId,
        /// What came of it.
        result: PostResult,
        /// When.
        at: u64,
    },
    /// Transactions were accepted, and are in no block after many.
    Explain {
        /// Which.
        ids: Vec<OutboxId>,
        /// Why, as far as it is known.
        reason: String,
    },
    /// The node's mempool.db has shown what was posted to the node.
    MempoolShown {
        /// Which file, and which node.
        key: String,
    },
    /// A signed transaction's nonce is spent by another: it must be signed anew (`sequential`).
    Renounce {
        /// Which.
        id: OutboxId,
        /// Why.
        reason: String,
    },
    /// An operator wants dead letters or failed transactions tried again.
    Retry {
        /// Which.
        target: QueueTarget,
        /// When.
        at: u64,
    },
    /// Dead letters were judged anew, before they are tried again: keys have become known since.
    Rejudge {
        /// What was found out.
        judged: Vec<Rejudged>,
        /// When.
        at: u64,
    },
    /// An operator wants a message not handled, or a transaction not sent.
    Drop {
        /// Which.
        target: QueueTarget,
        /// When.
        at: u64,
    },
    /// Posting stops until an operator resumes it.
    Halt {
        /// Why.
        reason: String,
    },
    /// An operator lets posting go on.
    Resume,
    /// What was settled before `before` is pruned, and so are ids that are refused at `at`. Neither
    /// time may be one that is not certainly over: what is pruned is not known when it comes again.
    Forget {
        /// Milliseconds since the epoch.
        before: u64,
        /// When.
        at: u64,
    },
}

impl Commit {
    /// When it happened by the runtime's own time, of what happens while a runtime works.
    pub(super) const fn runtime_time(&self) -> Option<u64> {
        match self {
            Self::Observe(Observation { at, .. })
            | Self::Survey(Survey { at, .. })
            | Self::Outcome(Outcome { at, .. })
            | Self::Failure { at, .. }
            | Self::Expire { at, .. }
            | Self::Overwait { at, .. }
            | Self::Acknowledge { at, .. }
            | Self::Resend { at, .. }
            | Self::Unacknowledged { at, .. }
            | Self::TaskBegin { at, .. }
            | Self::TaskProgress { at, .. }
            | Self::TaskEnd { at, .. }
            | Self::Send { at, .. }
            | Self::Prepare { at, .. }
            | Self::Post { at, .. } => Some(*at),
            // An operator's, who may have no runtime; what is over by the time that blocks confirm;
            // and what says no time.
            Self::Retry { .. }
            | Self::Rejudge { .. }
            | Self::Drop { .. }
            | Self::Lapse { .. }
            | Self::Forget { .. }
            | Self::Identify { .. }
            | Self::Host { .. }
            | Self::TaskRetry { .. }
            | Self::TaskInterrupt { .. }
            | Self::Register { .. }
            | Self::Unregister { .. }
            | Self::Hold { .. }
            | Self::Release { .. }
            | Self::Renounce { .. }
            | Self::Postpone { .. }
            | Self::Explain { .. }
            | Self::MempoolShown { .. }
            | Self::Halt { .. }
            | Self::Resume => None,
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
    /// Where it begins, if the store does not know it yet: lower blocks are not its business.
    pub start_height: BlockHeight,
}

/// What one reading of the chain brought, in the chain's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What was seen.
    pub steps: Vec<Step>,
    /// The source's position after them, as it wants it back.
    pub cursor: Value,
    /// Mined transactions in blocks up to this one are final.
    pub final_through: Option<BlockHeight>,
    /// Where agents do not act yet, since the chain is being read up to where it stood at the
    /// start: the last row of the outbox then. What is seen of the wallets themselves may be what
    /// this store has forgotten.
    pub catching_up: Option<OutboxId>,
    /// When.
    pub at: u64,
}

/// What reading blocks for the cards in them brought, in the chain's order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// Cards, blocks withdrawn, and heights that could not be read whole.
    pub steps: Vec<Step>,
    /// The last block that this reading had read before, of those below the ones that are watched.
    pub read_before: Option<BlockHeight>,
    /// Where it stands, as it wants it back; `None` ends it.
    pub progress: Option<Value>,
    /// From this block on the directory is whole, where that is news.
    pub known_from: Option<BlockHeight>,
    /// Blocks up to this one are final.
    pub final_through: Option<BlockHeight>,
    /// When.
    pub at: u64,
}

/// One thing that was seen on the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// A message to a hosted wallet.
    Arrival(Arrival),
    /// A transaction from a hosted wallet, in a block.
    Sighting {
        /// Who sent it.
        agent: AgentId,
        /// Its hash, as the node spells the transaction.
        hash: TransactionHash,
        /// What it is, where the wallet has signed it and no transaction of this hash was known.
        own: Option<Box<OwnTransaction>>,
        /// The block's height.
        height: BlockHeight,
        /// The block's hash.
        block_hash: Option<BlockHash>,
    },
    /// A transaction from a hosted wallet that the node has pending.
    Pending {
        /// Who sent it.
        agent: AgentId,
        /// Its hash.
        hash: TransactionHash,
        /// What it is, where no transaction of this hash was known.
        own: Option<Box<OwnTransaction>>,
        /// The latest time that it may be now, in milliseconds since the epoch: no block tells when it
        /// was sent.
        latest: u64,
    },
    /// Blocks were withdrawn.
    Withdrawn {
        /// What is higher is no longer on the chain; all of it, where `None`.
        above: Option<BlockHeight>,
    },
    /// An agent announced its card, or withdrew it.
    Card(CardSeen),
    /// A height could not be read whole.
    Gap {
        /// Which.
        height: BlockHeight,
        /// Why.
        reason: String,
    },
    /// It could, later.
    GapFilled {
        /// Which.
        height: BlockHeight,
    },
}

/// A transaction that a hosted wallet has signed, and that its store may not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnTransaction {
    /// The message's identity.
    pub digest: MessageDigest,
    /// Its nonce, where it is one that this runtime could give.
    pub nonce: Option<i64>,
    /// To whom.
    pub recipient: Address,
    /// What it transfers, in AIT, where that is a whole number.
    pub amount: Option<u64>,
    /// What it pays, in AIT.
    pub fee: Option<u64>,
    /// What it says, as far as another run would say the same.
    pub says: Fingerprint,
    /// As it was posted.
    pub body: String,
}

/// The highest nonce that is taken for one of ours: 2^53, which no clock shows. Nonces go on above
/// those that the chain shows; one beyond this would leave no room above it.
const MAX_NONCE: i64 = 1 << 53;

impl From<&SignedTransaction> for OwnTransaction {
    fn from(signed: &SignedTransaction) -> Self {
        let transaction = signed.transaction();
        let nonce = transaction.nonce.as_i64();
        Self {
            digest: signed.digest(),
            nonce: nonce.filter(|nonce| (0..=MAX_NONCE).contains(nonce)),
            recipient: transaction.to.clone(),
            amount: transaction.amount.as_u64(),
            fee: transaction.fee.as_u64(),
            says: Fingerprint::of(&transaction.payload),
            body: signed.body(),
        }
    }
}

/// A message to a hosted wallet, seen on the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// To whom.
    pub agent: AgentId,
    /// Hash of the transaction that carries it.
    pub hash: TransactionHash,
    /// Its identity.
    pub digest: MessageDigest,
    /// Who it says it is from.
    pub sender: Address,
    /// The block.
    pub height: BlockHeight,
    /// The transaction as the chain keeps it, canonical JSON.
    pub stored: String,
    /// What is known of the sender.
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
    /// When it stops to count, in milliseconds since the epoch.
    pub expires_at: Option<u64>,
    /// Whether it goes before the others.
    pub urgent: bool,
    /// Why it is not acted on, if that is certain already: it is a dead letter at once.
    pub refused: Option<String>,
}

/// What time it may be, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// It is certainly not before.
    pub earliest: u64,
    /// It is certainly not after.
    pub latest: u64,
}

impl From<u64> for Now {
    fn from(now_ms: u64) -> Self {
        Self {
            earliest: now_ms,
            latest: now_ms,
        }
    }
}

impl Arrival {
    /// An arrival of a transaction at the time `now`.
    pub fn new(
        agent: AgentId,
        hash: TransactionHash,
        stored: &StoredTransaction,
        height: BlockHeight,
        authenticity: Authenticity,
        now: impl Into<Now>,
    ) -> Self {
        let now = now.into();
        let envelope = Envelope::read(&stored.payload);
        let digest = stored.digest();
        let header = envelope.header();
        // An id counts only from a proven sender; so does what it says about it.
        let proven = authenticity == Authenticity::Verified;
        let refused = header
            .and_then(|header| header.id)
            .filter(|_| proven)
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
            urgent: proven && is_urgent(&envelope),
            refused: refused.map(|error| error.to_string()),
        }
    }
}

/// Whether a message goes before the others: questions about the agent itself, what takes work
/// back, and answers, which end conversations. A sealed one does not tell.
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
        ),
        Payload::Text(_) | Payload::Opaque(_) => false,
    }
}

/// A verified ANNOUNCE or WITHDRAW.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardSeen {
    /// Whose.
    pub address: Address,
    /// The transaction that carried it.
    pub hash: TransactionHash,
    /// The block.
    pub height: BlockHeight,
    /// The key that signed it.
    pub public_key: PublicKey,
    /// The parameters of ANNOUNCE, JSON; none for WITHDRAW.
    pub card: Option<String>,
    /// Until when it counts, in milliseconds since the epoch; of WITHDRAW 0.
    pub expires_at: u64,
    /// When it was announced, in milliseconds since the epoch: as the message's id says, else
    /// when it was seen.
    pub announced_at: u64,
}

/// What came of one behaviour's run for an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The event.
    pub event: EventRef,
    /// How many attempts had failed before this one: an outcome of an older attempt is stale.
    pub attempts: u32,
    /// The behaviour, by its name in the agent; `None` where none accepts the message.
    pub behaviour: Option<String>,
    /// Who brought it about: whose the timers and tasks are.
    pub cause: Cause,
    /// What it sends, with the signed bytes where a nonce was free at once.
    pub sends: Vec<(Draft, Option<Prepared>)>,
    /// What it remembers (`Some`) and forgets (`None`).
    pub state: Vec<(String, Option<Value>)>,
    /// The timers that it sets (`Some`) and forgets (`None`).
    pub timers: Vec<(String, Option<TimerSetting>)>,
    /// The tasks that it starts.
    pub tasks: Vec<TaskStart>,
    /// Before when they do not begin (milliseconds since the epoch), and nothing is told of them.
    pub tasks_from: u64,
    /// The tasks that it cancels, by their keys.
    pub cancels: Vec<String>,
    /// Why it refuses the message.
    pub rejected: Option<String>,
    /// No other behaviour is to see the message; who watches it is told. An event that is no
    /// message has one behaviour, so it is handled at once.
    pub handled: Option<Handled>,
    /// The event comes again at this time (milliseconds since the epoch): a renewal.
    pub again_at: Option<u64>,
    /// When.
    pub at: u64,
}

impl Outcome {
    /// An outcome in which nothing happens.
    pub const fn nothing(event: EventRef, attempts: u32, at: u64) -> Self {
        Self {
            event,
            attempts,
            behaviour: None,
            cause: Cause::Own,
            sends: Vec::new(),
            state: Vec::new(),
            timers: Vec::new(),
            tasks: Vec::new(),
            tasks_from: 0,
            cancels: Vec::new(),
            rejected: None,
            handled: None,
            again_at: None,
            at,
        }
    }
}

/// A message is handled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handled {
    /// The behaviours that watch it.
    pub watchers: Vec<String>,
    /// Why nobody acted on it, if nobody did: for its sender, and for an operator.
    pub unacted: Option<String>,
}

/// When a timer runs out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerSetting {
    /// Milliseconds since the epoch.
    pub due_at: u64,
    /// What comes with it.
    pub data: Value,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskEnd {
    /// With a result.
    Completed(TaskOutput),
    /// Without.
    Failed {
        /// A word for programs.
        code: String,
        /// A sentence, for the operator.
        message: String,
        /// What whoever asked for the task may be told.
        public: String,
    },
    /// An operator or its submitter took it back.
    Canceled,
}

/// What came of a POST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PostResult {
    /// The node took it, or may have taken it.
    Accepted,
    /// The node refuses it for good.
    Failed {
        /// In its words.
        reason: String,
    },
    /// It stands in a block of the node that is posted to, which the source cannot show.
    Standing {
        /// The block's height.
        height: BlockHeight,
        /// The block's hash.
        block_hash: BlockHash,
    },
    /// It waits for something that may come; it is not with the node.
    Waiting {
        /// For what.
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
    /// An event that is no message.
    Event(EventId),
    /// All dead letters and all failed transactions.
    All,
    /// The dead letters and failed transactions of which all of this is true.
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
    /// What else waits for an agent: timers, fates, settlements, news of tasks.
    Events,
}

/// What is true of the rows that are meant. What a queue's rows do not have (an event no sender),
/// none of them matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// They stand in this queue.
    pub queue: Option<QueueKind>,
    /// They are those of the agent of this name or address.
    pub agent: Option<String>,
    /// The messages are from this address.
    pub sender: Option<String>,
    /// The transactions are to this address.
    pub recipient: Option<String>,
    /// They are this behaviour's: its events, and what it sent.
    pub behaviour: Option<String>,
    /// They are not older than this, in milliseconds since the epoch.
    pub since: Option<u64>,
}

/// What was found out about a dead letter that was judged anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejudged {
    /// The message.
    pub id: InboxId,
    /// What is known of its sender.
    pub authenticity: Authenticity,
    /// What identifies it among his messages.
    pub identity: String,
    /// Whether it goes before the others.
    pub urgent: bool,
}

/// The row of something that was asked to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The row.
    pub id: OutboxId,
    /// Whether the request made it; otherwise it was there before, with other signed bytes.
    pub fresh: bool,
    /// Whether the chain shows it already: then nothing that was signed for it is posted.
    pub standing: bool,
}

/// What a commit changed, for those who must act on it.
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// The commit came too late: the message was withdrawn, settled or tried again since. Nothing
    /// was changed.
    pub stale: bool,
    /// How many rows it changed that the commit was about.
    pub changed: usize,
    /// The agents that have something to do now.
    pub due: Vec<AgentId>,
    /// The rows of what was asked to be sent, in the order of the request.
    pub sends: Vec<Sent>,
    /// The transactions that stand in a block since.
    pub mined: Vec<(OutboxId, TransactionHash)>,
    /// The transactions that must be followed (again): signed, and in no block.
    pub reopened: Vec<OpenTransaction>,
    /// The rows of the hosted wallets, in the order of the request.
    pub agents: Vec<AgentId>,
    /// New messages.
    pub arrived: usize,
    /// New messages that were refused, because there is no more room for their senders.
    pub refused: usize,
    /// Messages that were already known.
    pub repeated: usize,
    /// Whether there are tasks that were not there before.
    pub tasks: bool,
    /// The tasks that were taken back.
    pub canceled: Vec<TaskId>,
    /// The addresses whose cards may have changed.
    pub cards: Vec<Address>,
    /// What budgets have paid for transactions that stand on the chain, and for which nobody had
    /// asked them: those that were given up and are mined all the same, and those that this store
    /// had forgotten.
    pub recharged: Vec<Charge>,
    /// The nonces of hosted wallets' transactions that were not known.
    pub nonces: Vec<(AgentId, i64)>,
}
