//! The keys of the table `meta`.

pub(super) const CHAIN_ID: &str = "chain_id";
pub(super) const GENESIS: &str = "genesis";
pub(super) const CURSOR: &str = "cursor";
pub(super) const HALTED: &str = "halted";
pub(super) const MEMPOOL: &str = "mempool";
pub(super) const CARDS_FINAL: &str = "cards_final";
pub(super) const DIRECTORY_FROM: &str = "directory_from";
pub(super) const DIRECTORY_PROGRESS: &str = "directory_progress";
/// How far the runtime's own time had come, in milliseconds since the epoch.
pub(super) const TIME: &str = "time";
/// Messages with ids below this one are not known any more.
pub(super) const IDS_FROM: &str = "ids_from";
