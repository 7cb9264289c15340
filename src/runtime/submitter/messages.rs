//! The messages that the submitter receives.

use actix::prelude::*;
use agentry_core::rows::{Charge, OpenTransaction};
use agentry_core::{AgentId, OutboxId};
use agentry_protocol::{BlockHeight, Nonce, TransactionHash};

/// New blocks of the chain.
#[derive(Debug, Default)]
pub struct ChainNews {
    /// The last block that the source has read and the store has recorded.
    pub read_through: Option<BlockHeight>,
    /// The hosted wallets' transactions that were included in a block since.
    pub mined: Vec<(OutboxId, TransactionHash)>,
    /// The transactions that must be followed (again).
    pub reopened: Vec<OpenTransaction>,
    /// Whether blocks were withdrawn.
    pub withdrawn: bool,
    /// What budgets have paid for transactions that are no longer retried and are in a block
    /// nevertheless.
    pub recharged: Vec<Charge>,
    /// The nonces of hosted wallets' transactions that were not known before.
    pub nonces: Vec<(AgentId, Nonce)>,
    /// Why posting must stop, if it must.
    pub halted: Option<String>,
}

impl Message for ChainNews {
    type Result = ();
}

/// An operator resumes posting.
#[derive(Debug)]
pub struct Resume;

impl Message for Resume {
    type Result = ();
}

/// Something was queued, failed transactions are to be retried, or budgets were changed.
#[derive(Debug, Default)]
pub struct LookAtQueue {
    /// The transactions that are signed already, and paid for again.
    pub reopened: Vec<OpenTransaction>,
}

impl Message for LookAtQueue {
    type Result = ();
}

/// Finish the POSTs in progress. Answered when no POST is under way or waiting.
#[derive(Debug)]
pub struct Drain;

impl Message for Drain {
    type Result = ();
}
