//! agents.toml and its layers: defaults in the code, the file, the environment
//! (`AGENTRY__CHAIN__RPC`), flags.
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | [`Config`]: the validated configuration, plain data |
//! | [`keys`] | every key: its type, its default, its purpose |
//! | [`error`] | [`ConfigError`]: every error, each with its location |
//! | [`load`] | loading all layers: [`Config::load`] |
//! | [`rate`] | [`Rate`]: a count per length of time |
//! | [`hosted`] | agents and fleets with their wallets: [`Config::hosted`] |
//! | `document` | the file as a tree with lines and columns |
//! | `layers`, `stack` | merging the layers |
//! | `values`, `names`, `behaviours`, `check`, `common`, `owners`, `contacts` | validation |

mod behaviours;
mod check;
mod common;
mod contacts;
mod document;
pub mod error;
pub mod hosted;
pub mod keys;
mod layers;
pub mod load;
pub mod model;
mod names;
mod owners;
pub mod rate;
mod stack;
#[cfg(test)]
mod tests;
mod values;

pub use error::{ConfigError, ConfigIssue, ConfigIssues, Origin};
pub use hosted::{HostError, HostedAgent};
pub use layers::Overlay;
pub use load::{BUILT_IN, Source};
pub use model::{
    AgentConfig, AgentDefaults, BehaviourInstance, ChainConfig, Config, Contact, DevnetTable,
    DirectoryConfig, FleetConfig, FleetWallets, HttpConfig, NoncePolicy, Setting, StoreConfig,
    TasksConfig, WalletsConfig, Written,
};
pub use rate::Rate;

pub(crate) use error::did_you_mean;
pub(crate) use values::{check_url, plain_url};

/// A node's URL for display, with its password masked.
pub fn masked(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| values::masked_url(&url))
}
