//! The real node's faults, on demand: [`Fault`], a set of them ([`Faults`]), and the switch that
//! changes the set while the node runs ([`FaultSwitch`]).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

/// How often a fault strikes: a number from 0 (never) to 1 (always).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Probability(f64);

impl Probability {
    /// Always.
    pub const ALWAYS: Probability = Probability(1.0);

    /// A probability, or `None` unless it is from 0 to 1.
    pub fn new(value: f64) -> Option<Probability> {
        (0.0..=1.0).contains(&value).then_some(Probability(value))
    }

    /// The number, from 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// One fault of a real AITBC node, or of the network in front of it.
///
/// Written and read as `name` or `name=value` (the `--fault` flag, `POST /dev/faults`).
/// A fault that takes a probability always strikes if none is given.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// `silent-drop[=P]` (also written `drop=P`): an accepted transaction is dropped with
    /// probability P at the next block, and balances are not checked on submission: transactions of
    /// unknown accounts, or of accounts that cannot pay, are accepted and silently dropped at the
    /// block (hazard 1 in `docs/hazards.md`). `silent-drop=0` has only the second half.
    SilentDrop(Probability),
    /// `replay-destroys-block`: a transaction posted again after it was mined is accepted, and at
    /// the next block *every* transaction drained with it is lost (hazard 2 in `docs/hazards.md`).
    ReplayDestroysBlock,
    /// `import-loses-transactions`: blocks that arrive through importBlock or from a leader keep
    /// their transactions only in `block_metadata`; `parent_hash` and `proposer` stay empty and
    /// accounts unchanged (hazard 4 in `docs/hazards.md`).
    ImportLosesTransactions,
    /// `error-500[=P]`: an RPC request is answered 500 and not processed.
    Error500(Probability),
    /// `error-429[=P]`: an RPC request is answered 429 with `Retry-After: 1` and not processed.
    Error429(Probability),
    /// `hang[=P]`: an RPC request is never answered and not processed.
    Hang(Probability),
    /// `lose-answer[=P]`: a POST is processed, and then the connection is dropped instead of an
    /// answer: the sender cannot know the result.
    LoseAnswer(Probability),
    /// `reorganise=DEPTH@HEIGHT`: when the head reaches HEIGHT, the last DEPTH blocks are replaced:
    /// rows are deleted, ids are freed and used again, and orphaned transactions go back to the
    /// mempool. Strikes once.
    Reorganise {
        /// How many blocks are replaced.
        depth: u64,
        /// At which height of the head.
        at: u64,
    },
    /// `reorganise-drop=DEPTH@HEIGHT`: as `reorganise`, and the orphaned transactions are lost.
    ReorganiseDrop {
        /// How many blocks are replaced.
        depth: u64,
        /// At which height of the head.
        at: u64,
    },
    /// `no-range-transactions`: blocks-range without `transactions`, as before 2026-04-10.
    NoRangeTransactions,
    /// `no-signature-check`: everything is accepted, as by the node of April 2026: signatures,
    /// chain id and size are not checked, and negative amounts are mined. Balances are checked only
    /// at the block, where a transaction that cannot be paid is silently dropped; an amount that
    /// does not fit a 64-bit integer destroys its block.
    NoSignatureCheck,
    /// `late-rows`: the rows of `transaction` are written two blocks after their block
    /// (hazard 5 in `docs/hazards.md`).
    LateRows,
    /// `no-transaction-endpoints`: `/rpc/transactions` and `/rpc/transaction/{hash}` are absent.
    NoTransactionEndpoints,
    /// `mempool-unreadable`: `/rpc/mempool` answers 503, as the real node does while it holds a
    /// payload that it cannot write as JSON, which may be forever.
    MempoolUnreadable,
    /// `unreadable-block=HEIGHT`: a request for the block at this height with its transactions, or
    /// for a range that includes it, is answered with 503, as the real node always does for a
    /// payload that it cannot write as JSON. The block's header can be read.
    UnreadableBlock(u64),
    /// `batch-loss` (August 2026): a transaction that the node cannot handle (a `TRANSFER` whose payload has
    /// a `type` that is no text) is not dropped alone: every transaction drained with it is lost.
    BatchLoss,
    /// `respell[=N]` (August 2026): each accepted transaction gets N copies (1 to 4, by default 2) whose
    /// signatures are spelled in other ways, as anybody can post them; all of them are mined.
    Respell(u8),
    /// `stale-accounts` (August 2026): an account is answered as it was when it was asked for first, as by
    /// a node without Redis.
    StaleAccounts,
    /// `rate-limits` (August 2026): a client may make 200 calls of each reading function in a minute, and 50
    /// POSTs; others are answered 429 with `Retry-After: 60`, as by default on a real node.
    RateLimits,
    /// `empty-hash` (August 2026): the next transaction is stored without its hash, as the first one of a
    /// follower's life is.
    EmptyHash,
    /// `no-push` (August 2026): the node has no Redis, so it gives no leases and pushes no blocks.
    NoPush,
    /// `no-forward`: a follower keeps posted transactions pending forever, as a real one does.
    NoForward,
}

impl Fault {
    /// Every name, for help texts and error messages.
    pub const NAMES: [&'static str; 22] = [
        "silent-drop",
        "replay-destroys-block",
        "import-loses-transactions",
        "error-500",
        "error-429",
        "hang",
        "lose-answer",
        "reorganise",
        "reorganise-drop",
        "no-range-transactions",
        "no-signature-check",
        "late-rows",
        "no-transaction-endpoints",
        "mempool-unreadable",
        "unreadable-block",
        "batch-loss",
        "respell",
        "stale-accounts",
        "rate-limits",
        "empty-hash",
        "no-push",
        "no-forward",
    ];

    /// The fault's name, without its value.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::SilentDrop(_) => "silent-drop",
            Fault::ReplayDestroysBlock => "replay-destroys-block",
            Fault::ImportLosesTransactions => "import-loses-transactions",
            Fault::Error500(_) => "error-500",
            Fault::Error429(_) => "error-429",
            Fault::Hang(_) => "hang",
            Fault::LoseAnswer(_) => "lose-answer",
            Fault::Reorganise { .. } => "reorganise",
            Fault::ReorganiseDrop { .. } => "reorganise-drop",
            Fault::NoRangeTransactions => "no-range-transactions",
            Fault::NoSignatureCheck => "no-signature-check",
            Fault::LateRows => "late-rows",
            Fault::NoTransactionEndpoints => "no-transaction-endpoints",
            Fault::MempoolUnreadable => "mempool-unreadable",
            Fault::UnreadableBlock(_) => "unreadable-block",
            Fault::BatchLoss => "batch-loss",
            Fault::Respell(_) => "respell",
            Fault::StaleAccounts => "stale-accounts",
            Fault::RateLimits => "rate-limits",
            Fault::EmptyHash => "empty-hash",
            Fault::NoPush => "no-push",
            Fault::NoForward => "no-forward",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Fault::SilentDrop(p)
            | Fault::Error500(p)
            | Fault::Error429(p)
            | Fault::Hang(p)
            | Fault::LoseAnswer(p)
                if *p != Probability::ALWAYS =>
            {
                write!(f, "={}", p.get())
            }
            Fault::Reorganise { depth, at } | Fault::ReorganiseDrop { depth, at } => {
                write!(f, "={depth}@{at}")
            }
            Fault::UnreadableBlock(height) => write!(f, "={height}"),
            Fault::Respell(copies) => write!(f, "={copies}"),
            _ => Ok(()),
        }
    }
}

/// Why a text is not a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// No fault has this name.
    #[error("unknown fault {name:?}; the faults are {}", Fault::NAMES.join(", "))]
    Unknown {
        /// The given name.
        name: String,
    },
    /// The value is not a probability.
    #[error(
        "fault {name}: {value:?} is not a probability; give a number from 0 to 1, as in {name}=0.2"
    )]
    Probability {
        /// The fault.
        name: String,
        /// The given value.
        value: String,
    },
    /// The value is not `DEPTH@HEIGHT`.
    #[error("fault {name}: give DEPTH@HEIGHT with a depth from 1 to the height, as in {name}=3@40")]
    Place {
        /// The fault.
        name: String,
    },
    /// The value is not a height.
    #[error("fault {name}: give the height of a block, as in {name}=7")]
    Height {
        /// The fault.
        name: String,
    },
    /// The value is not a number of copies.
    #[error("fault {name}: give a number of copies from 1 to 4, as in {name}=2")]
    Copies {
        /// The fault.
        name: String,
    },
    /// The fault takes no value.
    #[error("fault {name} takes no value")]
    NoValue {
        /// The fault.
        name: String,
    },
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Fault, FaultError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        let probability = || match value {
            None => Ok(Probability::ALWAYS),
            Some(value) => value
                .parse()
                .ok()
                .and_then(Probability::new)
                .ok_or_else(|| FaultError::Probability {
                    name: name.to_owned(),
                    value: value.to_owned(),
                }),
        };
        let place = || {
            value
                .and_then(|value| value.split_once('@'))
                .and_then(|(depth, at)| Some((depth.parse().ok()?, at.parse().ok()?)))
                .filter(|(depth, at): &(u64, u64)| (1..=*at).contains(depth))
                .ok_or_else(|| FaultError::Place {
                    name: name.to_owned(),
                })
        };
        let height = || {
            value
                .and_then(|value| value.parse().ok())
                .ok_or_else(|| FaultError::Height {
                    name: name.to_owned(),
                })
        };
        let copies = || {
            let copies = value.map_or(Some(2), |value| value.parse().ok());
            copies
                .filter(|copies| (1..=4).contains(copies))
                .ok_or_else(|| FaultError::Copies {
                    name: name.to_owned(),
                })
        };
        let plain = |fault| match value {
            None => Ok(fault),
            Some(_) => Err(FaultError::NoValue {
                name: name.to_owned(),
            }),
        };
        match name {
            "silent-drop" | "drop" => probability().map(Fault::SilentDrop),
            "replay-destroys-block" => plain(Fault::ReplayDestroysBlock),
            "import-loses-transactions" => plain(Fault::ImportLosesTransactions),
            "error-500" => probability().map(Fault::Error500),
            "error-429" => probability().map(Fault::Error429),
            "hang" => probability().map(Fault::Hang),
            "lose-answer" => probability().map(Fault::LoseAnswer),
            "reorganise" => place().map(|(depth, at)| Fault::Reorganise { depth, at }),
            "reorganise-drop" => place().map(|(depth, at)| Fault::ReorganiseDrop { depth, at }),
            "no-range-transactions" => plain(Fault::NoRangeTransactions),
            "no-signature-check" => plain(Fault::NoSignatureCheck),
            "late-rows" => plain(Fault::LateRows),
            "no-transaction-endpoints" => plain(Fault::NoTransactionEndpoints),
            "mempool-unreadable" => plain(Fault::MempoolUnreadable),
            "unreadable-block" => height().map(Fault::UnreadableBlock),
            "batch-loss" => plain(Fault::BatchLoss),
            "respell" => copies().map(Fault::Respell),
            "stale-accounts" => plain(Fault::StaleAccounts),
            "rate-limits" => plain(Fault::RateLimits),
            "empty-hash" => plain(Fault::EmptyHash),
            "no-push" => plain(Fault::NoPush),
            "no-forward" => plain(Fault::NoForward),
            _ => Err(FaultError::Unknown {
                name: name.to_owned(),
            }),
        }
    }
}

/// A set of faults, at most one of each name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults(BTreeMap<&'static str, Fault>);

impl Faults {
    /// No faults: a correct node.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Adds a fault, replacing one of the same name.
    pub fn set(&mut self, fault: Fault) {
        self.0.insert(fault.name(), fault);
    }

    /// Removes a fault by its name (a value after `=` is ignored). Returns whether it was set.
    pub fn clear(&mut self, name: &str) -> bool {
        let name = name.split_once('=').map_or(name, |(name, _)| name).trim();
        self.0
            .remove(if name == "drop" { "silent-drop" } else { name })
            .is_some()
    }

    /// The fault with that name, if it is set.
    pub fn get(&self, name: &str) -> Option<Fault> {
        self.0.get(name).copied()
    }

    /// The faults, by name.
    pub fn iter(&self) -> impl Iterator<Item = Fault> + '_ {
        self.0.values().copied()
    }

    /// Whether no fault is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<T: IntoIterator<Item = Fault>>(faults: T) -> Faults {
        let mut set = Faults::none();
        for fault in faults {
            set.set(fault);
        }
        set
    }
}

/// Changes a running node's faults. Cheap to clone; every clone acts on the same node.
#[derive(Clone, Debug, Default)]
pub struct FaultSwitch(Arc<RwLock<Faults>>);

impl FaultSwitch {
    pub(crate) fn new(faults: Faults) -> FaultSwitch {
        FaultSwitch(Arc::new(RwLock::new(faults)))
    }

    /// Sets a fault, replacing one of the same name.
    pub fn set(&self, fault: Fault) {
        tracing::warn!(fault = %fault, "devnet fault set");
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .set(fault);
    }

    /// Clears a fault by its name. Returns whether it was set.
    pub fn clear(&self, name: &str) -> bool {
        let cleared = self
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear(name);
        if cleared {
            tracing::info!(fault = name, "devnet fault cleared");
        }
        cleared
    }

    /// Clears every fault: the node is correct again.
    pub fn clear_all(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Faults::none();
        tracing::info!("devnet faults cleared");
    }

    /// The faults that are set now.
    pub fn current(&self) -> Faults {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the fault with that name is set.
    pub fn is_set(&self, name: &str) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_reads_back_as_it_is_written() {
        for text in [
            "silent-drop",
            "silent-drop=0.2",
            "silent-drop=0",
            "replay-destroys-block",
            "import-loses-transactions",
            "error-500=0.5",
            "error-429",
            "hang",
            "lose-answer=0.25",
            "reorganise=3@40",
            "reorganise-drop=1@2",
            "no-range-transactions",
            "no-signature-check",
            "late-rows",
            "no-transaction-endpoints",
            "mempool-unreadable",
            "unreadable-block=7",
            "batch-loss",
            "respell=3",
            "stale-accounts",
            "rate-limits",
            "empty-hash",
            "no-push",
            "no-forward",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
            assert!(Fault::NAMES.contains(&fault.name()));
        }
        assert_eq!(
            "drop=0.2".parse::<Fault>().unwrap().to_string(),
            "silent-drop=0.2"
        );
    }

    #[test]
    fn a_wrong_fault_is_named() {
        for (text, expected) in [
            ("silent-drip", "unknown fault \"silent-drip\""),
            ("hang=2", "is not a probability"),
            ("hang=NaN", "is not a probability"),
            ("reorganise", "DEPTH@HEIGHT"),
            ("reorganise=0@3", "DEPTH@HEIGHT"),
            ("reorganise=4@3", "DEPTH@HEIGHT"),
            ("unreadable-block", "the height of a block"),
            ("unreadable-block=-1", "the height of a block"),
            ("late-rows=1", "takes no value"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_switch_acts_on_all_its_clones() {
        let switch = FaultSwitch::new(Faults::none());
        let other = switch.clone();
        other.set(Fault::LateRows);
        assert!(switch.is_set("late-rows"));
        assert!(switch.clear("late-rows"));
        assert!(other.current().is_empty());
    }
}
