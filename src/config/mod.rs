//! agents.toml and what is laid over it: defaults in the code, the file, the environment
//! (`AGENTRY__CHAIN__RPC`), flags.
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | [`Config`]: the validated configuration, plain data |
//! | [`keys`] | every key: what it holds, its default, what it is for |
//! | [`mistake`] | [`ConfigError`]: every mistake, each with its place |
//! | [`load`] | reading it all: [`Config::load`] |
//! | [`rate`] | [`Rate`]: so many in a length of time |
//! | [`hosted`] | agents and fleets with their wallets: [`Config::hosted`] |
//! | `document` | the file as a tree that knows lines and columns |
//! | `layers`, `stack` | which layer's value wins |
//! | `values`, `names`, `behaviours`, `check`, `common`, `owners`, `contacts` | validation |

mod behaviours;
mod check;
mod common;
mod contacts;
mod document;
pub mod hosted;
pub mod keys;
mod layers;
pub mod load;
pub mod mistake;
pub mod model;
mod names;
mod owners;
pub mod rate;
mod stack;
#[cfg(test)]
mod tests;
mod values;

pub use hosted::{HostError, HostedAgent};
pub use layers::Overlay;
pub use load::{BUILT_IN, Source};
pub use mistake::{ConfigError, Mistake, Mistakes, Origin};
pub use model::{
    AgentConfig, AgentDefaults, BehaviourInstance, ChainConfig, Config, Contact, DevnetTable,
    DirectoryConfig, FleetConfig, FleetWallets, HttpConfig, NoncePolicy, Setting, StoreConfig,
    TasksConfig, WalletsConfig, Written,
};
pub use rate::Rate;

pub(crate) use mistake::did_you_mean;
pub(crate) use values::{check_url, plain_url};

/// A node's url as it may be shown: a password in it is hidden.
pub fn masked(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| values::masked_url(&url))
}
