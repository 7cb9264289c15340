//! Whether it is the right chain: its block 0, as a runtime judges it at its start.

use agentry_protocol::genesis_hash;

use super::super::ExitCode;
use super::node::{Node, Nodes};
use super::report::Check;
use crate::config::Config;
use crate::runtime::host::chain::chain_of;
use crate::store::read::Identity;

/// How it is called in a report.
const NAME: &str = "chain";

/// What there is to say of the chain; `known` is what the store remembers of it.
pub(super) fn checks(config: &Config, nodes: &Nodes, known: Option<&Identity>) -> Vec<Check> {
    if nodes.all().all(|node| node.seen().is_none()) {
        return vec![Check::skipped(NAME, "no node answers")];
    }
    let mut checks: Vec<Check> = nodes
        .all()
        .filter_map(|node| one(config, node, known))
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

fn one(config: &Config, node: &Node, known: Option<&Identity>) -> Option<Check> {
    let seen = node.seen()?;
    let id = &config.chain.id;
    let name = node.name;
    let Some(genesis) = seen.genesis else {
        return Some(Check::skipped(
            NAME,
            format!("{name}: its block 0 cannot be had"),
        ));
    };
    if let Some(stored) = known.and_then(|known| known.genesis.as_ref()) {
        return Some(if *stored == genesis.to_string() {
            Check::well(NAME, format!("{name}: its block 0 is the store's, of {id}"))
        } else {
            Check::wrong(
                NAME,
                format!("{name}: its block 0 is {genesis}, the store was made with {stored}"),
                "point `chain.rpc` and `chain.submit` at nodes of the store's chain, or give a \
                 new store: `store.path`",
                ExitCode::Config,
            )
        });
    }
    if genesis == genesis_hash(id) {
        return Some(Check::well(
            NAME,
            format!("{name}: its block 0 is that of {id}"),
        ));
    }
    Some(match chain_of(genesis, id, &seen.supported_chains) {
        Some(found) => Check::wrong(
            NAME,
            format!("{name}: its block 0 is that of {found}, not of {id}"),
            format!(
                "set `chain.id` to {found}, or point `{}` at a node of {id}",
                node.key
            ),
            ExitCode::Config,
        ),
        None => Check::warning(
            NAME,
            format!(
                "{name}: its block 0 does not follow from the id {id}; some chains began otherwise"
            ),
            "compare `chain.id` with the node's own",
        ),
    })
}
