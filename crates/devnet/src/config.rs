//! The configuration of a devnet.

use std::path::PathBuf;
use std::time::Duration;

use agentry_protocol::{Address, ChainId, Dialect};

use crate::fault::Faults;

/// The shortest time between blocks.
pub const MIN_BLOCK_TIME: Duration = Duration::from_millis(50);

/// The node's rule for a transaction's nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoncePolicy {
    /// Every nonce is accepted, as on the node of April 2026.
    #[default]
    Ignored,
    /// The nonce must be the account's counter (counting its pending transactions): a stale one
    /// or a gap is refused, as by later nodes (hazard 7 in `docs/hazards.md`).
    Sequential,
}

/// The configuration of a devnet. `DevnetConfig::default()` is a correct producing node of chain
/// `ait-devnet` on any free port, in `./devnet`; most callers change only `dir`.
#[derive(Clone, Debug)]
pub struct DevnetConfig {
    /// The data directory, created if absent: chain.db, mempool.db and a lock file.
    pub dir: PathBuf,
    /// The TCP port on 127.0.0.1; 0 takes any free one (see `Devnet::url`).
    pub port: u16,
    /// The dialect that the node speaks. A directory that holds a chain of another dialect is refused.
    pub dialect: Dialect,
    /// The chain's id. A directory that holds another chain is refused.
    pub chain_id: ChainId,
    /// The time between blocks, at least [`MIN_BLOCK_TIME`]. A follower polls its leader four times
    /// as often.
    pub block_time: Duration,
    /// Accounts that are credited when the chain is new. They do not change the hash of genesis.
    /// Not for followers, which copy the accounts of their leader.
    pub allocations: Vec<(Address, u64)>,
    /// The URL of a leader: this node then produces nothing and imports the leader's blocks.
    pub follow: Option<String>,
    /// Whether a follower forwards posted transactions to its leader. A real one does not: there
    /// they stay pending forever (see [`crate::Fault::NoForward`]).
    pub forward: bool,
    /// The initial faults.
    pub faults: Faults,
    /// The rule for nonces. In the dialect of August 2026, whose nodes have one of their own, it does not
    /// matter.
    pub account_nonces: NoncePolicy,
    /// Whether `POST /dev/faucet` and `Devnet::fund` credit accounts.
    pub faucet: bool,
    /// Whether blocks are produced every `block_time`. If not, only `Devnet::mine` produces them.
    pub automatic: bool,
    /// The proposer in blocks and in `/health`.
    pub proposer_id: String,
    /// The lowest fee that is accepted, in AIT.
    pub min_fee: u64,
    /// How many transactions may be pending; above it, submissions are answered with 503.
    pub max_pending: usize,
    /// The seed of the faults' random numbers, so that a run can be repeated. `None` takes a random
    /// one; it is logged in both cases.
    pub seed: Option<u64>,
}

impl Default for DevnetConfig {
    fn default() -> DevnetConfig {
        DevnetConfig {
            dir: PathBuf::from("devnet"),
            port: 0,
            dialect: Dialect::default(),
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
