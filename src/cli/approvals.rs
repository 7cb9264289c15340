//! `agentry approvals list|show|grant|deny`.

use agentry_store::list::HeldItem;
use agentry_store::{Reader, open_for_reading};
use clap::{Args, Subcommand};
use serde_json::json;

use super::global::About;
use super::names::shown;
use super::output::{GivesWay, Row, first_line, moment, or_dash, printable};
use super::queue::list::line;
use super::{Context, Failure, runtime};
use crate::config::Config;
use crate::ops::approvals::{self, Approval};
use crate::ops::names::Names;
use crate::ops::who;

/// The subcommands of `approvals`.
#[derive(Clone, Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// Lists what waits for approval, oldest first
    List(ListArgs),
    /// Prints all details of one
    Show(ShowArgs),
    /// Lets messages be sent and tasks begin
    Grant(GrantArgs),
    /// Has messages not sent and tasks not begun
    ///
    /// The behaviour learns it as of a message that could not be sent or a task that failed (code
    /// `denied`), and who requested a task is told the reason.
    Deny(DenyArgs),
}

/// Arguments of `approvals list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Only of this agent
    #[arg(long, value_name = "ADDR|NAME")]
    agent: Option<String>,
    /// Maximum number
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
}

/// Arguments of `approvals show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The id, as `approvals list` prints it
    id: String,
}

/// Arguments of `approvals grant`.
#[derive(Clone, Debug, Args)]
pub struct GrantArgs {
    /// Ids, as `approvals list` prints them
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Arguments of `approvals deny`.
#[derive(Clone, Debug, Args)]
pub struct DenyArgs {
    /// Ids, as `approvals list` prints them
    #[arg(required = true)]
    ids: Vec<String>,
    /// Why; the one who requested a task is told this
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) fn run(command: ApprovalsCommand, context: &Context) -> Result<(), Failure> {
    let about = match &command {
        ApprovalsCommand::List(args) => About::named(args.agent.as_deref()),
        _ => About::OneStore,
    };
    let config = context.config_of(about)?;
    runtime()?.block_on(async {
        match command {
            ApprovalsCommand::List(args) => list(&args, &config, context),
            ApprovalsCommand::Show(args) => show(args.id.trim(), &config, context),
            ApprovalsCommand::Grant(args) => decide(&args.ids, true, None, &config, context).await,
            ApprovalsCommand::Deny(args) => {
                decide(&args.ids, false, args.reason, &config, context).await
            }
        }
    })
}

fn open(config: &Config) -> Result<Reader, Failure> {
    Ok(open_for_reading(&config.store.path)?)
}

fn list(args: &ListArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let db = open(config)?;
    let agent = match &args.agent {
        Some(who) => Some(who::resolve_own(who, config)?.to_string()),
        None => None,
    };
    let names = Names::new(config, Some(&db))?;
    let found = approvals::list(&db, agent.as_deref(), args.limit, &names)?;
    let out = context.output;
    if out.is_json() {
        return out.json(&found);
    }
    if found.approvals.is_empty() {
        return out.line("nothing waits for approval");
    }
    let rows = found.approvals.iter().map(|one| Row {
        cells: vec![
            one.item.id.clone(),
            one.item.agent.clone(),
            one.item.behaviour.clone(),
            moment(one.item.created_at),
            what(one, &names),
            text(one),
        ],
        below: Vec::new(),
    });
    let headings = ["ID", "AGENT", "BEHAVIOUR", "SINCE", "WHAT", "TEXT"];
    out.listing(&headings, rows.collect(), GivesWay::Cut(5))?;
    let shown = u64::try_from(found.approvals.len()).unwrap_or(u64::MAX);
    if found.waiting > shown {
        out.line(format!("{shown} of {}; see --limit", found.waiting))?;
    }
    Ok(())
}

/// What would happen.
fn what(approval: &Approval, names: &Names<'_>) -> String {
    match &approval.item.effect {
        HeldItem::Message { to, amount, .. } if amount.0 > 0 => {
            format!("send {} to {}", names.amount(amount), shown(to, names))
        }
        HeldItem::Message { to, .. } => format!("send to {}", shown(to, names)),
        HeldItem::Task { kind, .. } => format!("start task {}", printable(kind, 40)),
    }
}

/// The first line of what would be sent, or of a task's input.
fn text(approval: &Approval) -> String {
    match &approval.item.effect {
        HeldItem::Message { .. } => line(&approval.words, 60),
        HeldItem::Task { input, .. } => first_line(input, 60),
    }
}

fn show(id: &str, config: &Config, context: &Context) -> Result<(), Failure> {
    let db = open(config)?;
    let names = Names::new(config, Some(&db))?;
    let found = approvals::show(&db, id, &names, &config.store.path)?;
    let out = context.output;
    if out.is_json() {
        return out.json(&found);
    }
    let item = &found.item;
    let by = item.brought_about_by.as_deref();
    let mut fields = vec![
        ("id", item.id.clone()),
        ("what", what(&found, &names)),
        ("agent", item.agent.clone()),
        ("from", item.from.clone()),
        ("behaviour", item.behaviour.clone()),
        ("caused by", or_dash(by.map(|by| shown(by, &names)))),
        ("since", moment(item.created_at)),
        ("expires", or_dash(item.expires_at.map(moment))),
    ];
    match &item.effect {
        HeldItem::Message {
            to, amount, fee, ..
        } => {
            fields.push(("to", printable(to, usize::MAX)));
            fields.push(("amount", names.amount(amount)));
            fields.push(("fee", names.amount(fee)));
            let text = match (&found.words.text, found.words.sealed) {
                (Some(text), _) => printable(text, usize::MAX),
                (None, true) => "(sealed: only its recipient can read it)".to_owned(),
                (None, false) => "(unreadable)".to_owned(),
            };
            fields.push(("text", text));
        }
        HeldItem::Task {
            input, submitter, ..
        } => {
            let submitter = submitter.as_deref();
            fields.push((
                "submitter",
                or_dash(submitter.map(|one| shown(one, &names))),
            ));
            fields.push(("input", printable(input, usize::MAX)));
        }
    }
    out.fields(&fields)
}

async fn decide(
    ids: &[String],
    granted: bool,
    reason: Option<String>,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let out = context.output;
    let word = if granted { "granted" } else { "denied" };
    let mut decided = Vec::new();
    for id in ids {
        let id = id.trim();
        approvals::decide(id, granted, reason.clone(), &config.store.path).await?;
        if !out.is_json() {
            out.line(format!("{word} {id}"))?;
        }
        decided.push(id);
    }
    if out.is_json() {
        return out.json(&json!({ word: decided }));
    }
    Ok(())
}
