//! `agentry config check|show`.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::json;

use super::output::{GivesWay, Row, Tone, printable};
use super::{Context, Failure};
use crate::config::{Config, masked};

/// Maximum width of the configuration's listing on a terminal, in characters.
const WIDTH: usize = 100;

/// The subcommands of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Checks the configuration and prints every error
    Check,
    /// Prints the effective configuration, and where each value comes from
    Show,
}

pub(super) fn run(command: &ConfigCommand, context: &Context) -> Result<(), Failure> {
    let config = context.config()?;
    match command {
        ConfigCommand::Check => check(&config, context),
        ConfigCommand::Show => show(&config, context),
    }
}

fn check(config: &Config, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    let behaviours: usize = config
        .agents
        .iter()
        .map(|agent| agent.behaviours.len())
        .sum::<usize>()
        + config
            .fleets
            .iter()
            .map(|fleet| fleet.behaviours.len())
            .sum::<usize>();
    let node = if config.devnet.is_some() {
        "embedded node"
    } else {
        "node"
    };
    if out.is_json() {
        return out.json(&json!({
            "ok": true,
            "file": config.file,
            "agents": config.agents.len(),
            "fleets": config.fleets.len(),
            "behaviours": behaviours,
            "chain_id": config.chain.id,
            "rpc": masked(&config.chain.rpc),
            "embedded": config.devnet.is_some(),
        }));
    }
    out.line(format!(
        "{}: {}; agents: {}, fleets: {}, behaviours: {behaviours}; chain {} on the {node} {}",
        config.file,
        out.tone(Tone::Good, "ok"),
        config.agents.len(),
        config.fleets.len(),
        config.chain.id,
        masked(&config.chain.rpc),
    ))
}

fn show(config: &Config, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        let settings: BTreeMap<&str, _> = config
            .settings
            .iter()
            .map(|setting| {
                let origin = setting.origin.describe(&config.file);
                (
                    setting.key.as_str(),
                    json!({ "value": setting.value, "origin": origin }),
                )
            })
            .collect();
        return out.json(&json!({ "file": config.file, "settings": settings }));
    }
    // The file's full path is printed once, above the table.
    let file = config.file.rsplit('/').next().unwrap_or(&config.file);
    let rows = config
        .settings
        .iter()
        .map(|setting| {
            let value = match &setting.value {
                serde_json::Value::Null => "-".to_owned(),
                value => printable(&value.to_string(), usize::MAX),
            };
            Row::from(vec![
                setting.key.clone(),
                value,
                setting.origin.describe(file),
            ])
        })
        .collect();
    out.line(&config.file)?;
    out.listing(&["KEY", "VALUE", "FROM"], rows, GivesWay::Wrap(1, WIDTH))
}
