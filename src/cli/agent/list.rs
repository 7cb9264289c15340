//! `agentry agent list`.

use std::time::Duration;

use agentry_protocol::BlockHeight;
use agentry_sdk::Query;
use agentry_store::read::AnnouncedCard;
use agentry_store::{open_for_reading, read};
use clap::Args;
use serde_json::json;

use super::super::args::duration;
use super::super::output::{Tone, printable};
use super::super::{Context, Failure};
use super::card::{CardLine, knowledge, knowledge_json, until};
use crate::config::Config;
use crate::runtime::clock::{Clock, millis};

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

impl ListArgs {
    fn query(&self) -> Query {
        Query {
            address: None,
            name: self.name.clone(),
            capabilities: self.capabilities.clone(),
            commands: self.commands.clone(),
            announced_since: self.since_height.map(BlockHeight),
            limit: 0,
        }
    }

    fn fits(&self, query: &Query, announced: &AnnouncedCard, now_ms: u64) -> bool {
        let card = &announced.card;
        // For an expired card, every other condition is checked as of the time when it was valid.
        let asked_at = if self.all { card.card.expires } else { now_ms };
        query.fits(card, asked_at)
            && self.fresh.is_none_or(|fresh| {
                let fresh = millis(fresh);
                announced.announced_at >= now_ms.saturating_sub(fresh)
            })
    }
}

pub(super) fn run(args: &ListArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let now_ms = Clock::default().now_ms();
    let db = open_for_reading(&config.store.path)?;
    let cards = read::cards(&db)?;
    let surveyed = read::surveyed(&db)?;
    let known = cards.len();
    let query = args.query();
    let mut found: Vec<AnnouncedCard> = cards
        .into_iter()
        .filter(|announced| args.fits(&query, announced, now_ms))
        .collect();
    found.sort_by(|one, other| {
        (&one.card.card.name, &one.card.address).cmp(&(&other.card.card.name, &other.card.address))
    });
    let fitting = found.len();
    found.truncate(args.limit);
    let out = context.output;
    let lines: Vec<CardLine> = found
        .iter()
        .map(|announced| CardLine::new(announced, now_ms))
        .collect();
    if out.is_json() {
        return out.json(&json!({
            "agents": lines,
            "more": fitting > found.len(),
            "directory": knowledge_json(&surveyed),
        }));
    }
    if lines.is_empty() {
        out.line(match known {
            0 => "no agent has been announced yet",
            _ => "no agent in the directory matches (`--all` includes expired cards)",
        })?;
        return out.line(knowledge(&surveyed));
    }
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            vec![
                line.name.clone(),
                line.address.clone(),
                printable(&line.capabilities.join(", "), 40),
                printable(&line.commands.join(", "), 40),
                if line.expired {
                    format!("expired {}", until(line.expires, now_ms))
                } else {
                    until(line.expires, now_ms)
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
    if fitting > lines.len() {
        out.line(format!(
            "{} more match; --limit {fitting} lists all",
            fitting - lines.len()
        ))?;
    }
    out.line(out.tone(Tone::Faint, &knowledge(&surveyed)))
}
