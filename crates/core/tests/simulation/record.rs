//! A record of a log, which the hosts that have read it share.

use std::cell::OnceCell;
use std::rc::Rc;

use agentry_core::commit::Step;
use agentry_core::{Commit, record};
use agentry_protocol::TransactionHash;

use super::host::{Broken, broken};

/// A record. It is parsed once for all hosts that read it at its place: the same text means the same.
#[derive(Clone, Debug)]
pub(crate) struct Record(Rc<Content>);

#[derive(Debug)]
struct Content {
    place: u64,
    text: String,
    /// The transactions of which it has the bytes.
    transactions: Vec<TransactionHash>,
    commits: OnceCell<Vec<Commit>>,
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Record {
    /// The record of a commit, at a place in the log.
    pub(crate) fn of(place: u64, commit: &Commit) -> Self {
        let text = record::encode(place, &[commit]).unwrap();
        let transactions = match commit {
            Commit::Prepare { prepared, .. } => prepared.iter().map(|(_, one)| one.hash).collect(),
            Commit::Outcome(outcome) => {
                let sends = outcome.sends.iter();
                sends
                    .filter_map(|(_, one)| Some(one.as_ref()?.hash))
                    .collect()
            }
            Commit::Send { prepared, .. } | Commit::Resend { prepared, .. } => {
                prepared.iter().map(|one| one.hash).collect()
            }
            Commit::Observe(observation) => {
                let own = observation.steps.iter().filter_map(|step| match step {
                    Step::Sighting { hash, own, .. } | Step::Pending { hash, own, .. } => {
                        own.as_ref().map(|_| *hash)
                    }
                    _ => None,
                });
                own.collect()
            }
            _ => Vec::new(),
        };
        Self(Rc::new(Content {
            place,
            text,
            transactions,
            commits: OnceCell::new(),
        }))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it has the bytes of a transaction.
    pub(crate) fn names(&self, hash: TransactionHash) -> bool {
        self.0.transactions.contains(&hash)
    }

    /// What it says to those that find it at a place in the log.
    pub(crate) fn commits(&self, place: u64) -> Result<&[Commit], Broken> {
        let content = &*self.0;
        if content.place != place {
            broken!("the record of place {} is at {place}", content.place);
        }
        if let Some(commits) = content.commits.get() {
            return Ok(commits);
        }
        match record::decode(place, &content.text) {
            Ok(commits) => Ok(content.commits.get_or_init(|| commits)),
            Err(error) => broken!("record {place} cannot be read: {error}: {}", content.text),
        }
    }
}
