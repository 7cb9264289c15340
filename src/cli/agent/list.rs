//! `agentry agent list`.

use std::time::Duration;

use agentry_protocol::BlockHeight;
use agentry_sdk::Query;
use agentry_store::open_for_reading;
use clap::Args;
use serde_json::json;

use super::super::args::duration;
use super::super::output::{Tone, printable};
use super::super::{Context, Failure};
use super::card::{knowledge, until};
use crate::config::Config;
use crate::ops::directory::{self, CardList, ListCards};
use crate::runtime::clock::Clock;

/// Arguments of `agent list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Only agents with this capability; if given several times, with all of them
    #[arg(long = "capability", value_name = "WORD")]
    capabilities: Vec<String>,
    /// Only agents that accept this command; if given several times, all of them
    #[arg(long = "command", value_name = "CMD")]
    commands: Vec<String>,
    /// Only agents with this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only cards announced within this time
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "since_height")]
    fresh: Option<Duration>,
    /// Only cards announced in this block or a later one
    #[arg(long, value_name = "HEIGHT")]
    since_height: Option<u64>,
    /// Also cards that have expired
    #[arg(long)]
    all: bool,
    /// Maximum number of agents, sorted by name
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
}

pub(super) fn run(args: ListArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let now = Clock::default().now();
    let db = open_for_reading(&config.store.path)?;
    let wanted = ListCards {
        query: Query {
            name: args.name,
            capabilities: args.capabilities,
            commands: args.commands,
            announced_since: args.since_height.map(BlockHeight),
            ..Query::all()
        },
        fresh: args.fresh,
        expired: args.all,
        after: None,
        limit: args.limit,
    };
    let CardList {
        cards,
        matching,
        known,
        coverage,
    } = directory::list(&db, &wanted, now)?;
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({
            "agents": cards,
            "more": matching > cards.len(),
            "directory": coverage,
        }));
    }
    if cards.is_empty() {
        out.line(match known {
            0 => "no agent has been announced yet",
            _ => "no agent in the directory matches (`--all` includes expired cards)",
        })?;
        return out.line(knowledge(&coverage));
    }
    let rows: Vec<Vec<String>> = cards
        .iter()
        .map(|line| {
            vec![
                line.name.clone(),
                line.address.clone(),
                printable(&line.capabilities.join(", "), 40),
                printable(&line.commands.join(", "), 40),
                if line.expired {
                    format!("expired {}", until(line.expires, now))
                } else {
                    until(line.expires, now)
                },
                line.height.to_string(),
            ]
        })
        .collect();
    out.table(
        &[
            "NAME",
            "ADDRESS",
            "CAPABILITIES",
            "COMMANDS",
            "EXPIRES",
            "BLOCK",
        ],
        &rows,
    )?;
    if matching > cards.len() {
        out.line(format!(
            "{} more match; --limit {matching} lists all",
            matching - cards.len()
        ))?;
    }
    out.line(out.tone(Tone::Faint, &knowledge(&coverage)))
}
