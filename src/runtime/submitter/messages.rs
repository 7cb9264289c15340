//! What the submitter is told and asked.

use actix::prelude::*;
use agentry_protocol::{BlockHeight, TransactionHash};

use crate::runtime::router::WakeAgents;
use crate::store::commit::Sent;
use crate::store::rows::{Charge, Draft, OpenTransaction, Prepared};
use crate::store::{AgentId, OutboxId};

/// News from the chain.
#[derive(Debug, Default)]
pub struct ChainNews {
    /// Through which block the source has read, and the store knows.
    pub read_through: Option<BlockHeight>,
    /// The hosted wallets' transactions that stand in a block since.
    pub mined: Vec<(OutboxId, TransactionHash)>,
    /// Those that must be followed (again).
    pub reopened: Vec<OpenTransaction>,
    /// Whether blocks were withdrawn.
    pub withdrawn: bool,
    /// What budgets have paid for transactions that were given up and stand in a block all the
    /// same.
    pub recharged: Vec<Charge>,
    /// The nonces of hosted wallets' transactions that were not known.
    pub nonces: Vec<(AgentId, i64)>,
    /// Why posting must stop, if it must.
    pub halted: Option<String>,
}

impl Message for ChainNews {
    type Result = ();
}

/// Nonces and signatures for these drafts, if they can be had at once.
#[derive(Debug)]
pub struct Allot {
    /// Whose.
    pub agent: AgentId,
    /// The drafts.
    pub drafts: Vec<Draft>,
}

impl Message for Allot {
    /// In the drafts' order; `None` for one that has to be queued.
    type Result = Vec<Option<Prepared>>;
}

/// What was allotted is stored, or is not: the commit that held it was void.
#[derive(Debug)]
pub struct Stored {
    /// Whose.
    pub agent: AgentId,
    /// The rows, in the drafts' order; empty, if nothing was stored.
    pub rows: Vec<Sent>,
    /// The signed bytes, in the same order; `None` for those that are queued.
    pub bodies: Vec<Option<Prepared>>,
    /// What each costs, amount and fee, in AIT.
    pub costs: Vec<u64>,
    /// What the chain showed already of what was to be sent: budgets have paid for it.
    pub recharged: Vec<Charge>,
    /// Of it, what is in no block yet, and is followed.
    pub reopened: Vec<OpenTransaction>,
    /// The span of the message that they answer.
    pub span: tracing::Span,
}

impl Message for Stored {
    type Result = ();
}

/// Whom to wake when something became of what was sent.
#[derive(Debug)]
pub struct Connect {
    /// Wakes agents.
    pub wake: Recipient<WakeAgents>,
}

impl Message for Connect {
    type Result = ();
}

/// An operator lets posting go on.
#[derive(Debug)]
pub struct Resume;

impl Message for Resume {
    type Result = ();
}

/// Something was queued, or failed transactions are to be tried again, or budgets were changed.
#[derive(Debug, Default)]
pub struct LookAtQueue {
    /// Those that are signed already, and paid for anew.
    pub reopened: Vec<OpenTransaction>,
}

impl Message for LookAtQueue {
    type Result = ();
}

/// Finish what is in hand. Answered when no POST is under way or waiting.
#[derive(Debug)]
pub struct Drain;

impl Message for Drain {
    type Result = ();
}
