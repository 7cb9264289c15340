//! `agentry queue stats`.

use agentry_protocol::{Dialect, Timestamp};
use agentry_sdk::Standing;
use agentry_store::list::stats::{AgentStats, States, stats};
use clap::Args;
use serde_json::{Value, json};

use super::super::output::printable;
use super::super::{Context, Failure};
use super::open;
use crate::config::Config;
use crate::ops::queues::rows::ago;
use crate::ops::queues::spending::{Spending, daily_budget, daily_tokens, shares};
use crate::ops::who;
use crate::runtime::clock::Clock;
use crate::runtime::submitter::budget;

/// Arguments of `queue stats`.
#[derive(Clone, Debug, Args)]
pub struct QueueStatsArgs {
    /// Only statistics of this agent
    #[arg(long, value_name = "ADDR|NAME")]
    agent: Option<String>,
}

impl QueueStatsArgs {
    /// Whose statistics.
    pub(super) fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }
}

pub(super) fn run(
    args: &QueueStatsArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let db = open(config)?;
    let now = Clock::default().now();
    let today = now.day();
    let agent = match &args.agent {
        Some(agent) => Some(who::resolve_own(agent, config)?.to_string()),
        None => None,
    };
    let agents = stats(&db, agent.as_deref(), today)?;
    if let (Some(agent), true) = (&args.agent, agents.is_empty()) {
        return Err(Failure::no_input(format!(
            "{} knows no agent {agent:?}; `agentry queue stats` lists all that it knows",
            config.store.path.display()
        )));
    }
    let out = context.output;
    if out.is_json() {
        let agents: Vec<Value> = agents
            .iter()
            .map(|agent| with_budget(agent, config))
            .collect();
        return out.json(&json!({ "day": budget::name_of(today), "agents": agents }));
    }
    if agents.is_empty() {
        return out.line("no agent was ever hosted with this store");
    }
    if let ([agent], Some(_)) = (agents.as_slice(), &args.agent) {
        return out.fields(&fields(agent, config, now));
    }
    let rows: Vec<Vec<String>> = agents
        .iter()
        .map(|agent| {
            vec![
                agent.agent.clone(),
                count(&agent.inbox, &["waiting", "withdrawn"]),
                agent
                    .oldest_waiting
                    .map_or_else(|| "-".to_owned(), |at| ago(at, now)),
                count(&agent.events, &["waiting"]),
                count(&agent.outbox, &["queued", "prepared", "accepted"]),
                count(&agent.tasks, &["submitted", "working"]),
                agent.dead_letters.to_string(),
                agent.forged.to_string(),
                spent(agent, config),
            ]
        })
        .collect();
    out.table(
        &[
            "AGENT",
            "INBOX",
            "OLDEST",
            "EVENTS",
            "OUTBOX",
            "TASKS",
            "DEAD",
            "FORGED",
            "SPENT TODAY",
        ],
        &rows,
    )
}

fn count(states: &States, wanted: &[&str]) -> String {
    let sum: u64 = wanted.iter().filter_map(|state| states.get(*state)).sum();
    sum.to_string()
}

fn spent(agent: &AgentStats, config: &Config) -> String {
    let spent = agent.spent.all;
    let of = daily_budget(&agent.agent, config).map_or_else(
        || config.chain.dialect.amount(spent),
        |budget| {
            config
                .chain
                .dialect
                .amount(format_args!("{spent} of {budget}"))
        },
    );
    if agent.waiting_for_budget > 0 {
        format!("{of}, {} wait", agent.waiting_for_budget)
    } else {
        of
    }
}

fn with_budget(agent: &AgentStats, config: &Config) -> Value {
    let mut value = json!(agent);
    value["budget"] = json!(shares(&agent.agent, agent.spent, config));
    value["daily_tokens"] = json!(daily_tokens(&agent.agent, config));
    value
}

/// How many tokens were used, and of how many.
fn of_daily(tokens: u64, daily: Option<u64>) -> String {
    daily.map_or_else(
        || tokens.to_string(),
        |daily| format!("{tokens} of {daily}"),
    )
}

/// Today's spending of an agent as a sentence.
pub(super) fn sentence(spending: &Spending, dialect: Dialect) -> String {
    let Spending {
        agent,
        budget,
        spent,
        daily_tokens,
        tokens,
    } = spending;
    let of_tokens = match (daily_tokens, tokens) {
        (None, 0) => String::new(),
        _ => format!(
            "; its tasks have used {} tokens",
            of_daily(*tokens, *daily_tokens)
        ),
    };
    let (Some(daily), Some(unverified), Some(strangers), Some(listed)) = (
        budget.daily,
        budget.unverified,
        budget.strangers,
        budget.listed,
    ) else {
        let spent = dialect.amount(spent.all);
        return format!("{agent} has spent {spent} today{of_tokens}");
    };
    let of_daily = dialect.amount(format_args!("{} of {daily}", spent.all));
    format!(
        "{agent} has spent {of_daily} today: {} of {unverified} on unverified messages, {} \
         of {strangers} on strangers, {} of {listed} on listed senders{of_tokens}",
        spent.unverified, spent.strangers, spent.listed,
    )
}

fn fields(agent: &AgentStats, config: &Config, now: Timestamp) -> Vec<(&'static str, String)> {
    let states = |states: &States| {
        let parts: Vec<String> = states
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        if parts.is_empty() {
            "empty".to_owned()
        } else {
            parts.join(", ")
        }
    };
    let since = |at: Option<Timestamp>| {
        at.map_or_else(|| "-".to_owned(), |at| format!("{} ago", ago(at, now)))
    };
    let dialect = config.chain.dialect;
    let budget = daily_budget(&agent.agent, config);
    let together = |standing: Standing| {
        let spent = agent.spent.of(standing);
        budget.map_or_else(
            || dialect.amount(spent),
            |budget| dialect.amount(format_args!("{spent} of {}", standing.of_all(budget))),
        )
    };
    let most = agent.senders.first();
    let most = most.filter(|most| most.spent.0 > 0).map(|most| {
        let of = budget.map_or_else(String::new, |budget| {
            format!(" of {}", most.standing.of_one(budget))
        });
        format!(
            "{}, {} ({})",
            dialect.amount(format_args!("{}{of}", most.spent)),
            printable(&most.sender, 200),
            most.standing.as_str()
        )
    });
    vec![
        ("agent", agent.agent.clone()),
        ("address", agent.address.clone()),
        ("inbox", states(&agent.inbox)),
        ("oldest waiting", since(agent.oldest_waiting)),
        ("events", states(&agent.events)),
        ("outbox", states(&agent.outbox)),
        ("oldest queued", since(agent.oldest_queued)),
        ("tasks", states(&agent.tasks)),
        ("dead letters", agent.dead_letters.to_string()),
        ("forged", agent.forged.to_string()),
        ("spent today", spent(agent, config)),
        ("spent on unverified", together(Standing::Unverified)),
        ("spent on strangers", together(Standing::Stranger)),
        ("spent on listed", together(Standing::Listed)),
        (
            "tokens today",
            of_daily(agent.tokens, daily_tokens(&agent.agent, config)),
        ),
        ("most by one sender", most.unwrap_or_else(|| "-".to_owned())),
    ]
}
