//! What a devnet is started with.

use std::path::PathBuf;
use std::time::Duration;

use agentry_protocol::{Address, ChainId};

use crate::fault::Faults;

/// The shortest time between blocks.
pub const MIN_BLOCK_TIME: Duration = Duration::from_millis(50);

/// What the node demands of a transaction's nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoncePolicy {
    /// Anything goes, as on the node of April 2026.
    #[default]
    Ignored,
    /// The nonce must be the account's counter (counting its pending transactions): a stale one
    /// or a gap is refused, as later nodes do (hazard 7 of PROTOCOL.md).
    Sequential,
}

/// How a devnet runs. `DevnetConfig::default()` is a correct producing node of chain
/// `ait-devnet` on any free port, in `./devnet`; most callers change `dir` alone.
#[derive(Clone, Debug)]
pub struct DevnetConfig {
    /// The data directory, made if absent: chain.db, mempool.db and a lock file.
    pub dir: PathBuf,
    /// The TCP port on 127.0.0.1; 0 takes any free one (`Devnet::url` tells which).
    pub port: u16,
    /// The chain's id. A directory that holds another chain is refused.
    pub chain_id: ChainId,
    /// The time between blocks, at least [`MIN_BLOCK_TIME`]. A follower looks at its leader four
    /// times as often.
    pub block_time: Duration,
    /// Accounts credited when the chain is new. They do not change the hash of genesis. Not for
    /// followers, whose accounts are their leader's.
    pub allocations: Vec<(Address, u64)>,
    /// The URL of a leader: this node then produces nothing and imports the leader's blocks.
    pub follow: Option<String>,
    /// Whether a follower passes on to its leader what is posted to it. The real one does not:
    /// there it is pending for ever (see [`crate::Fault::NoForward`]).
    pub forward: bool,
    /// The faults it begins with.
    pub faults: Faults,
    /// What is demanded of nonces.
    pub account_nonces: NoncePolicy,
    /// Whether `POST /dev/faucet` and `Devnet::fund` credit accounts.
    pub faucet: bool,
    /// Whether blocks are produced every `block_time`. Off, they come only by `Devnet::mine`.
    pub automatic: bool,
    /// What `proposer` says in blocks and `/health`.
    pub proposer_id: String,
    /// The lowest fee that is accepted, in AIT.
    pub min_fee: u64,
    /// How many transactions may be pending; past it submissions are answered 503.
    pub max_pending: usize,
    /// Seeds the faults' random numbers, so that a run can be repeated. `None` takes a random
    /// one; it is logged either way.
    pub seed: Option<u64>,
}

impl Default for DevnetConfig {
    fn default() -> DevnetConfig {
        DevnetConfig {
            dir: PathBuf::from("devnet"),
            port: 0,
            chain_id: default_chain_id(),
            block_time: Duration::from_millis(500),
            allocations: Vec::new(),
            follow: None,
            forward: true,
            faults: Faults::none(),
            account_nonces: NoncePolicy::Ignored,
            faucet: true,
            automatic: true,
            proposer_id: String::from("agentry-devnet"),
            min_fee: 0,
            max_pending: 10_000,
            seed: None,
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "a constant that is a well-formed chain id"
)]
fn default_chain_id() -> ChainId {
    "ait-devnet".parse().expect("a well-formed chain id")
}
