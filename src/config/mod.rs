//! agents.toml and its layers: defaults in the code, the file, the environment
//! (`AGENTRY__CHAIN__RPC`), flags.
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | [`Config`]: the validated configuration, and the description of every key |
//! | [`keys`] | what a description of a key is, and what follows from it |
//! | [`error`] | [`ConfigError`]: every error, each with its location |
//! | [`load`] | loading all layers: [`Config::load`] |
//! | [`node_url`] | [`NodeUrl`]: the address of a node; [`CollectorUrl`]: that of a collector |
//! | [`console`] | [`ConsoleAccess`]: who may do what in the web console |
//! | [`coordinator`] | `[coordinator]`: AITBC's agent coordinator |
//! | `database_url` | the address of a cluster's database |
//! | [`rate`] | [`Rate`]: a count per length of time |
//! | `host_name` | the name of a host |
//! | [`hosted`] | agents and fleets with their wallets: [`Config::hosted`] |
//! | `document` | the file as a tree with lines and columns |
//! | `layers`, `stack` | merging the layers |
//! | `values`, `kinds` | reading and showing single values |
//! | `check`, `owners`, `contacts`, `names`, `behaviours` | validation of tables |

pub mod approve;
mod behaviours;
mod check;
pub mod console;
mod contacts;
pub mod coordinator;
mod database_url;
mod document;
pub mod error;
mod host_name;
pub mod hosted;
pub mod keys;
mod kinds;
mod layers;
pub mod load;
pub mod model;
mod names;
pub mod node_url;
mod owners;
pub mod rate;
mod schedules;
mod stack;
#[cfg(test)]
mod tests;
mod values;
pub mod webhooks;

pub use console::ConsoleAccess;
pub use database_url::DatabaseUrl;
pub use error::{ConfigError, ConfigIssue, ConfigIssues, Origin};
pub use host_name::HostName;
pub use hosted::{HostError, HostedAgent};
pub use layers::Overlay;
pub use load::{BUILT_IN, Source};
pub use model::{
    AgentConfig, BehaviourInstance, ChainConfig, ClusterConfig, CommonConfig, Config, Contact,
    CoordinatorConfig, DevnetTable, DirectoryConfig, FleetConfig, FleetWallets, HttpConfig,
    Setting, StoreConfig, TasksConfig, TracesConfig, WalletsConfig, Written,
};
pub use node_url::{CollectorUrl, NodeUrl, masked};
pub use rate::Rate;

pub(crate) use error::did_you_mean;
