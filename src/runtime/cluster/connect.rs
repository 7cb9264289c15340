//! The database of a configuration, and what a host says of itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use agentry_cluster::{ClusterError, Database, HostRow, Settings, random_id};
use agentry_core::record;
use agentry_protocol::ContentHash;

use crate::config::{ClusterConfig, Config, masked};

/// The settings that hosts of one cluster may have of their own.
const OWN: [&str; 12] = [
    "chain.rpc",
    "chain.db",
    "cluster.host",
    "cluster.database",
    "cluster.password_file",
    "cluster.root_certificate",
    "store.path",
    "http.listen",
    "wallets.keystore_dir",
    "wallets.vault",
    "wallets.password_file",
    "traces.endpoint",
];

/// How the database of a configuration is reached.
///
/// # Errors
/// Its address or its root certificates cannot be read.
pub fn settings(config: &ClusterConfig) -> Result<Settings, ClusterError> {
    Settings::new(
        &[config.database.expose()],
        config.password_file.as_deref(),
        config.root_certificate.as_deref(),
    )
}

/// The database of a configuration.
///
/// # Errors
/// It cannot be reached.
pub async fn database(config: &ClusterConfig) -> Result<Database, ClusterError> {
    Database::connect(&settings(config)?).await
}

/// How many shards a configured cluster has.
///
/// # Errors
/// Its database cannot be reached.
pub async fn shards(config: &ClusterConfig) -> Result<NonZeroU16, ClusterError> {
    Ok(database(config).await?.layout().await?.shards)
}

/// The name of this host.
pub fn name(config: &ClusterConfig) -> String {
    match &config.host {
        Some(name) => name.to_string(),
        None => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .to_ascii_lowercase(),
    }
}

/// A hash of the settings that are the same on all hosts of a cluster. Paths are among them only where
/// they do not differ by machine.
pub fn config_hash(config: &Config) -> String {
    let mut text = String::new();
    for setting in &config.settings {
        if !OWN.contains(&setting.key.as_str()) {
            text.push_str(&format!("{} = {}\n", setting.key, setting.value));
        }
    }
    let hash = ContentHash::of(text.as_bytes()).to_string();
    hash.chars().take(16).collect()
}

/// The format of records that this host reads and writes.
///
/// A build with debug assertions takes a later one from `AGENTRY_RECORD_FORMAT`, so that tests see what
/// an upgrade to a version with another format does. A release build contains none of this.
pub(super) fn format() -> u32 {
    #[cfg(debug_assertions)]
    if let Some(later) = std::env::var("AGENTRY_RECORD_FORMAT")
        .ok()
        .and_then(|later| later.parse().ok())
    {
        return later;
    }
    record::FORMAT
}

/// What this process says of itself.
///
/// # Errors
/// The system has no random numbers.
pub(super) fn row(
    config: &Config,
    cluster: &ClusterConfig,
    address: SocketAddr,
) -> Result<HostRow, getrandom::Error> {
    Ok(HostRow {
        incarnation: random_id()?,
        name: name(cluster),
        address: address.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_hash: config_hash(config),
        format: format(),
        draining: false,
        without_node: false,
        following: BTreeMap::new(),
        submit: masked(&config.chain.submit),
    })
}
