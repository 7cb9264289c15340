//! Checks that it is the right chain, by its block 0, as a runtime does at its start.

use agentry_protocol::{BlockHash, genesis_hash};
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
                genesis: seen.genesis,
                supported: &seen.supported_chains,
            })
        })
        .chain(database.and_then(|database| match database {
            Database::Good { genesis, .. } => Some(Source {
                name: "chain.db",
                key: "chain.db",
                genesis: Some((*genesis)?),
                supported: &[],
            }),
            Database::Bad(_) => None,
        }))
        .collect();
    if sources.is_empty() {
        return vec![Check::skipped(NAME, "no node answers")];
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
    if genesis == genesis_hash(id) {
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
