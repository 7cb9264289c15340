//! Why a devnet does not start, or refuses a call.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::chain::ChainError;

/// An error of a devnet as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevnetError {
    /// Another process listens on the port.
    #[error(
        "listening on 127.0.0.1:{port}: the port is in use; stop the process that uses it, or choose another port (0 takes any free one)"
    )]
    PortInUse {
        /// The requested port.
        port: u16,
    },
    /// The port could not be bound for another reason.
    #[error("listening on 127.0.0.1:{port}: {source}")]
    Listen {
        /// The requested port.
        port: u16,
        /// The reason.
        source: io::Error,
    },
    /// The data directory could not be created, or its lock file could not be opened.
    #[error("opening the data directory {}: {source}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another devnet runs in this directory.
    #[error(
        "the data directory {} is in use by another devnet; stop it, or choose another directory",
        dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds another chain.
    #[error(
        "the data directory {} holds chain {found}, not {wanted}; choose another directory, or start with chain id {found}",
        dir.display()
    )]
    OtherChain {
        /// The directory.
        dir: PathBuf,
        /// The chain id in its database.
        found: String,
        /// The configured chain id.
        wanted: String,
    },
    /// The block time is too short.
    #[error("a block time of {0:?} is too short; give at least 50ms")]
    BlockTime(Duration),
    /// A follower refused a call that only its leader can execute.
    #[error("this devnet follows {leader}; {what} there")]
    Follower {
        /// The leader's URL.
        leader: String,
        /// The action to take at the leader.
        what: &'static str,
    },
    /// The leader's URL is not that of a node.
    #[error("following a leader: {reason}")]
    Leader {
        /// The reason.
        reason: String,
    },
    /// The faucet is switched off.
    #[error("the faucet is switched off in this devnet's configuration")]
    NoFaucet,
    /// An error of the databases.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The node's thread could not be started, or ended before it served.
    #[error("starting the devnet's thread: {0}")]
    Thread(String),
}
