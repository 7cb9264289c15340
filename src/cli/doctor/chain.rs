//! Checks that it is the right chain, by its block 0, as a runtime does at its start.

use agentry_protocol::{BlockHash, Dialect, genesis_hash};
use agentry_store::read::Identity;

use super::super::ExitCode;
use super::database::Database;
use super::node::{Node, Nodes};
use super::report::Check;
use crate::config::Config;
use crate::runtime::host::chain::chain_of;

/// Name of the check in the report.
const NAME: &str = "chain";

/// A block 0, and the source that reported it.
struct Source<'a> {
    /// The source that reported it.
    name: &'static str,
    /// The configuration key of the source.
    key: &'static str,
    dialect: Option<Dialect>,
    genesis: Option<BlockHash>,
    /// The names that the source gives to the chains that it serves.
    supported: &'a [String],
}

/// Checks of the chain; `known` is what the store holds about it.
pub(super) fn checks(
    config: &Config,
    nodes: &Nodes,
    database: Option<&Database>,
    known: Option<&Identity>,
) -> Vec<Check> {
    let sources: Vec<Source<'_>> = nodes
        .all()
        .filter_map(|node| {
            let seen = node.seen()?;
            Some(Source {
                name: node.name,
                key: node.key,
                dialect: seen.dialect,
                genesis: seen.genesis,
                supported: &seen.supported_chains,
            })
        })
        .chain(database.and_then(|database| match database {
            Database::Good {
                genesis, dialect, ..
            } => Some(Source {
                name: "chain.db",
                key: "chain.db",
                dialect: *dialect,
                genesis: Some((*genesis)?),
                supported: &[],
            }),
            Database::Bad(_) => None,
        }))
        .collect();
    if sources.is_empty() {
        return vec![Check::skipped(NAME, "no node answers")];
    }
    let others: Vec<Check> = sources
        .iter()
        .filter_map(|source| dialect(config, source))
        .collect();
    if !others.is_empty() {
        return others;
    }
    let mut checks: Vec<Check> = sources
        .iter()
        .map(|source| one(config, source, known))
        .collect();
    let genesis = |node: Option<&Node>| node?.seen()?.genesis;
    let pair = (genesis(Some(&nodes.rpc)), genesis(nodes.submit.as_ref()));
    if let (Some(rpc), Some(submit)) = pair
        && rpc != submit
    {
        checks.push(Check::wrong(
            NAME,
            format!(
                "rpc and submit are nodes of different chains: their blocks 0 are {rpc} and {submit}"
            ),
            "point `chain.rpc` and `chain.submit` at nodes of one chain",
            ExitCode::Config,
        ));
    }
    checks
}

/// Whether a source shows another dialect than the configured one.
fn dialect(config: &Config, source: &Source<'_>) -> Option<Check> {
    let configured = config.chain.dialect;
    let spoken = source.dialect.filter(|spoken| *spoken != configured)?;
    let Source { name, key, .. } = source;
    Some(Check::wrong(
        NAME,
        format!("{name}: it speaks the dialect {spoken}, and `chain.dialect` is {configured}"),
        format!(
            "set `chain.dialect` to {spoken}, with wallets of that dialect, or point `{key}` at a node \
             of {configured}"
        ),
        ExitCode::Config,
    ))
}

fn one(config: &Config, source: &Source<'_>, known: Option<&Identity>) -> Check {
    let id = &config.chain.id;
    let Source { name, key, .. } = source;
    let Some(genesis) = source.genesis else {
        return Check::skipped(NAME, format!("{name}: its block 0 is not available"));
    };
    if let Some(stored) = known.and_then(|known| known.genesis.as_ref()) {
        return if *stored == genesis.to_string() {
            Check::well(NAME, format!("{name}: its block 0 is the store's, of {id}"))
        } else {
            Check::wrong(
                NAME,
                format!("{name}: its block 0 is {genesis}, the store was made with {stored}"),
                format!(
                    "point `{key}` at the store's chain, or configure a new store: `store.path`"
                ),
                ExitCode::Config,
            )
        };
    }
    let names_itself = source.supported.iter().any(|name| name == id.as_str());
    if !config.chain.dialect.derives_genesis() && !source.supported.is_empty() && !names_itself {
        return Check::wrong(
            NAME,
            format!(
                "{name}: it serves {}, not {id}",
                source.supported.join(", ")
            ),
            format!("set `chain.id` to the node's own, or point `{key}` at {id}"),
            ExitCode::Config,
        );
    }
    if !config.chain.dialect.derives_genesis() || genesis == genesis_hash(id) {
        return Check::well(NAME, format!("{name}: its block 0 is that of {id}"));
    }
    match chain_of(genesis, id, source.supported) {
        Some(found) => Check::wrong(
            NAME,
            format!("{name}: its block 0 is that of {found}, not of {id}"),
            format!("set `chain.id` to {found}, or point `{key}` at {id}"),
            ExitCode::Config,
        ),
        None => Check::warning(
            NAME,
            format!(
                "{name}: its block 0 does not follow from the id {id}; some chains began \
                 differently"
            ),
            "compare `chain.id` with the node's own",
        ),
    }
}
