//! An embedded AITBC-compatible node, and the real node's faults on demand.
//!
//! [`Devnet::start`] runs a node on its own thread: HTTP on 127.0.0.1, blocks at an interval,
//! and its chain in `<dir>/chain.db` and `<dir>/mempool.db`, laid out as AITBC's are, so that
//! AITBC's own programs work on them unchanged. By default it is a *correct* node: it mines each
//! transaction that it accepts, once, and refuses one that it cannot mine, with the reason.
//! [`Fault`] adds the hazards of the real node, one by one. With [`DevnetConfig::follow`] it
//! follows another node.
//!
//! ```no_run
//! use agentry_devnet::{Devnet, DevnetConfig};
//! use agentry_protocol::Address;
//!
//! let devnet = Devnet::start(DevnetConfig { dir: "/tmp/chain".into(), ..Default::default() })?;
//! devnet.fund(&Address::from_chain("ait1somebody")?, 1_000)?;
//! devnet.faults().set("silent-drop=0.2".parse()?);
//! println!("{} writes {}", devnet.url(), devnet.chain_db().display());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `config`, `error` | the configuration of a node, and why it does not start |
//! | `fault` | faults by name, and the switch that sets them while the node runs |
//! | `chain` | chain.db and mempool.db: schema, blocks, accounts, pending transactions |
//! | `rules` | the rules by which a transaction is accepted |
//! | `producer` | producing blocks from pending transactions |
//! | `import` | importing blocks that another node made |
//! | `follower` | following a leader, through its outages and reorganisations |
//! | `rpc` | the HTTP calls |
//! | `host` | the check of the host that a request names |
//! | `node`, `handle` | the state that all of these share; the thread on which they run |
//! | `sync` | copying blocks from one node to another over RPC |
//! | `writer` | writing blocks without a node, for measurements |

mod chain;
mod clock;
mod config;
mod dialect;
mod error;
mod fault;
mod follower;
mod handle;
mod host;
mod import;
mod node;
mod producer;
mod rate;
mod rpc;
mod rules;
mod sync;
mod text;
mod writer;

pub use chain::ChainError;
pub use config::{DevnetConfig, MIN_BLOCK_TIME, NoncePolicy};
pub use error::DevnetError;
pub use fault::{Fault, FaultError, FaultSwitch, Faults, Probability};
pub use handle::Devnet;
pub use host::{check_host, is_loopback};
pub use producer::MinedBlock;
pub use sync::{SyncError, SyncProgress, SyncReport, sync};
pub use writer::BlockWriter;
