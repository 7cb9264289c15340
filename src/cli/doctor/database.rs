//! Checks `chain.db`: whether it can be read as a runtime reads it, and whether it belongs to the
//! node.

use std::fs;
use std::path::Path;

use agentry_chain::{ChainDb, ChainDbOptions, ChainSource, Head, NodeClient, SourceError};
use agentry_protocol::{BlockHash, BlockHeight, Chain, Dialect};
use agentry_store::with_suffix;
use rustix::fs::{Access, access};

use super::super::ExitCode;
use super::super::failure::io_code;
use super::node::{Nodes, common_height};
use super::report::Check;
use super::{PATIENCE, blocking};
use crate::config::Config;

/// Name of the check in the report.
const NAME: &str = "chain.db";

/// How many blocks the database may be behind the node's RPC.
const LAG: u64 = 5;

/// Fix for a damaged database.
const REPAIR: &str = "unset `chain.db` for now: blocks are then read over RPC; stop the node, and \
                      restore a backup of its database or synchronise it again";

/// Result of the check.
#[derive(Debug)]
pub(super) enum Database {
    /// The database cannot be read.
    Bad(Check),
    /// The database can be read.
    Good {
        /// Hash of its block 0.
        genesis: Option<BlockHash>,
        /// The dialect that its tables show.
        dialect: Option<Dialect>,
        /// Its newest block.
        head: Option<Head>,
        /// Description of the files beside it.
        beside: &'static str,
        /// Whether all pages were checked.
        whole: bool,
        /// Comparison with the node of `chain.rpc`, if that answers.
        compared: Option<Compared>,
    },
}

/// Comparison of the database with a node that was asked after it was read.
#[derive(Debug)]
pub(super) struct Compared {
    /// The node's newest block.
    newest: BlockHeight,
    /// The hashes of a block that both have, deeper than a reorganisation reaches: the database's,
    /// and the node's.
    hashes: Option<(BlockHeight, BlockHash, BlockHash)>,
}

/// Checks the database, if one is configured.
pub(super) async fn look(config: &Config, nodes: &Nodes) -> Option<Database> {
    let path = config.chain.db.clone()?;
    let chain = config.chain.chain();
    let files = {
        let path = path.clone();
        blocking(PATIENCE, move || files(&path)).await
    };
    let beside = match files {
        Some(Ok(beside)) => beside,
        Some(Err(check)) => return Some(Database::Bad(check)),
        None => return Some(Database::Bad(silent(&path))),
    };
    let node = nodes.rpc.client.as_ref().filter(|_| nodes.rpc.seen.is_ok());
    let depth = config.chain.final_depth;
    let read = tokio::time::timeout(PATIENCE, read(&path, &chain, node, depth)).await;
    Some(match read {
        Ok(Ok((dialect, genesis, head, compared))) => match damage(&path, &chain).await {
            Ok(whole) => Database::Good {
                genesis,
                dialect,
                head,
                beside,
                whole,
                compared,
            },
            Err(check) => Database::Bad(check),
        },
        Ok(Err(error)) => Database::Bad(unreadable(&error)),
        Err(_) => Database::Bad(silent(&path)),
    })
}

/// Whether all pages are intact; false if not all of them were checked.
async fn damage(path: &Path, chain: &Chain) -> Result<bool, Check> {
    let looked = async {
        let mut source = ChainDb::open(path, chain.id.clone(), ChainDbOptions::of(chain.dialect))?;
        source.damage(PATIENCE).await
    };
    match tokio::time::timeout(PATIENCE * 2, looked).await {
        Ok(Ok(Some(found))) if found.is_empty() => Ok(true),
        Ok(Ok(Some(found))) => Err(Check::wrong(
            NAME,
            format!("{} is damaged: {}", path.display(), found.join("; ")),
            REPAIR,
            ExitCode::Data,
        )),
        Ok(Ok(None)) => Ok(false),
        Ok(Err(error)) => Err(unreadable(&error)),
        Err(_) => Err(silent(path)),
    }
}

fn unreadable(error: &SourceError) -> Check {
    let fix = if error.is_damage() {
        REPAIR
    } else {
        "point `chain.db` at the database of a node, or unset it"
    };
    Check::wrong(NAME, error.to_string(), fix, ExitCode::Data)
}

fn silent(path: &Path) -> Check {
    Check::wrong(
        NAME,
        format!("{} could not be read in 5 s", path.display()),
        "check the disk, or unset `chain.db`",
        ExitCode::Io,
    )
}

/// Reads block 0 and the head, and compares them with the node's blocks.
type Read = (
    Option<Dialect>,
    Option<BlockHash>,
    Option<Head>,
    Option<Compared>,
);

async fn read(
    path: &Path,
    chain: &Chain,
    node: Option<&NodeClient>,
    depth: u64,
) -> Result<Read, SourceError> {
    let mut source = ChainDb::open(path, chain.id.clone(), ChainDbOptions::of(chain.dialect))?;
    let dialect = source.dialect().await?;
    let (genesis, head) = (source.genesis().await?, source.head().await?);
    let compared = match (node, &head) {
        (Some(node), Some(head)) => compare(&mut source, head, node, depth).await?,
        _ => None,
    };
    Ok((dialect, genesis, head, compared))
}

/// Compares a block that both have. The node is asked last, so that blocks made meanwhile do not
/// make the database appear ahead of it.
async fn compare(
    source: &mut ChainDb,
    head: &Head,
    node: &NodeClient,
    depth: u64,
) -> Result<Option<Compared>, SourceError> {
    let Ok(Some(newest)) = node.head().await else {
        return Ok(None);
    };
    let common = common_height(head.height, newest.height, depth);
    let theirs = node.block(common).await.ok().flatten();
    let ours = source.hash(common).await?;
    Ok(Some(Compared {
        newest: newest.height,
        hashes: ours
            .zip(theirs)
            .map(|(ours, theirs)| (common, ours, theirs.hash)),
    }))
}

/// Checks that the files can be read. They are not opened here: closing a file by other means than
/// SQLite's would drop SQLite's locks.
fn files(path: &Path) -> Result<&'static str, Check> {
    let wal = with_suffix(path, "-wal");
    let shm = with_suffix(path, "-shm");
    fs::metadata(path).map_err(|error| {
        Check::wrong(
            NAME,
            format!("{}: {error}", path.display()),
            "point `chain.db` at the node's database, and give this user access to its folder",
            io_code(error.kind()),
        )
    })?;
    for file in [path, &wal, &shm] {
        let there = file.symlink_metadata().is_ok();
        if there && access(file, Access::READ_OK).is_err() {
            return Err(Check::wrong(
                NAME,
                format!("{} cannot be read by this user", file.display()),
                "add this user to the node's group, and let that group read the file",
                ExitCode::Denied,
            ));
        }
    }
    match (wal.exists(), shm.exists()) {
        (true, true) => Ok("a node has it open, or had it open"),
        // SQLite would create the file, and this command creates nothing.
        (true, false) => Err(Check::warning(
            NAME,
            format!(
                "{} exists without its -shm file: it is a copy",
                wal.display()
            ),
            "point `chain.db` at the database of a running node",
        )),
        (false, _) => Ok("no node has it open"),
    }
}

/// The check that reports the result.
pub(super) fn checks(config: &Config, nodes: &Nodes, found: Option<Database>) -> Option<Check> {
    let (genesis, head, beside, whole, compared) = match found? {
        Database::Bad(check) => return Some(check),
        Database::Good {
            genesis,
            head,
            beside,
            whole,
            compared,
            ..
        } => (genesis, head, beside, whole, compared),
    };
    let id = &config.chain.id;
    let (Some(genesis), Some(head)) = (genesis, head) else {
        return Some(Check::wrong(
            NAME,
            format!("it holds no block of {id}"),
            format!("point `chain.db` at the database of a node of {id}, or set `chain.id`"),
            ExitCode::Config,
        ));
    };
    let seen = nodes.rpc.seen();
    if let Some(other) = seen.and_then(|seen| seen.genesis)
        && other != genesis
    {
        return Some(Check::wrong(
            NAME,
            format!(
                "it belongs to a different chain than the node of rpc: their blocks 0 are \
                 {genesis} and {other}"
            ),
            "point `chain.db` and `chain.rpc` at one node",
            ExitCode::Config,
        ));
    }
    let height = head.height;
    let pages = if whole {
        "its pages are whole"
    } else {
        "not all of its pages could be checked in 5 s"
    };
    let Some(compared) = compared else {
        return Some(Check::well(
            NAME,
            format!("its head is block {height}; {beside}; {pages}"),
        ));
    };
    if let Some((common, ours, theirs)) = compared.hashes
        && ours != theirs
    {
        return Some(Check::wrong(
            NAME,
            format!(
                "it belongs to a different run of the chain than the node of rpc: their blocks \
                 {common} are {ours} and {theirs}; its head is block {height}, the node's is {}",
                compared.newest
            ),
            "point `chain.db` at the database of the node of `chain.rpc`",
            ExitCode::Config,
        ));
    }
    let (behind, ahead) = (
        compared.newest.0.saturating_sub(height.0),
        height.0.saturating_sub(compared.newest.0),
    );
    let other = "point `chain.db` at the database of the node of `chain.rpc`";
    Some(if behind > LAG {
        let found = format!("its head is block {height}, {behind} behind the node of rpc");
        Check::warning(NAME, found, other)
    } else if ahead > LAG {
        let found = format!("its head is block {height}, {ahead} ahead of the node of rpc");
        Check::warning(NAME, found, other)
    } else {
        Check::well(
            NAME,
            format!("its head is block {height}, as the node's; {beside}; {pages}"),
        )
    })
}
