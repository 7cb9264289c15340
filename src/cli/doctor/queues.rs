//! Checks what waits in the store, the dead letters, and the budgets.

use agentry_protocol::{Amount, BlockHeight, Timestamp};
use agentry_store::list::stats::{AgentStats, Oldest, oldest_waiting, stats};
use agentry_store::read::Unmined;
use agentry_store::{StoreError, open_for_a_look, read};

use super::report::Check;
use super::store::silent;
use super::{PATIENCE, about, blocking, http};
use crate::config::Config;
use crate::ops::queues::spending::daily_budget;
use crate::ops::queues::waits::{WaitingRows, Waits};

/// A message that has waited longer is reported as a warning, in milliseconds.
const LONG_MS: u64 = 10 * 60 * 1000;

/// A transaction that was accepted longer ago than this is reported as a warning, in milliseconds:
/// blocks come every few seconds.
const UNMINED_MS: u64 = 60 * 1000;

/// Checks the queues of a store that can be read.
pub(super) async fn look(config: &Config) -> Vec<Check> {
    let path = config.store.path.clone();
    let now = http::now();
    let counted = blocking(PATIENCE, move || {
        let db = open_for_a_look(&path)?;
        let gaps = read::gaps(&db, BlockHeight(0))?;
        let unmined = read::unmined(&db, now.minus_ms(UNMINED_MS))?;
        let waiting = oldest_waiting(&db, now.minus_ms(LONG_MS))?;
        let agents = stats(&db, None, now.day())?;
        Ok::<_, StoreError>((gaps, unmined, waiting, agents))
    });
    match counted.await {
        Some(Ok((gaps, unmined, old, agents))) => {
            let reason = match &old {
                Some(old) => why(old, config).await,
                None => None,
            };
            vec![
                letters(&agents),
                waiting(&agents, old.as_ref(), reason, now),
                accepted(&unmined, now),
                unread(&gaps),
                budgets(config, &agents),
            ]
        }
        // The check of the store reports what is wrong with it.
        Some(Err(_)) => Vec::new(),
        None => vec![silent("queues")],
    }
}

fn letters(agents: &[AgentStats]) -> Check {
    let dead: u64 = agents.iter().map(|agent| agent.dead_letters).sum();
    if dead == 0 {
        return Check::well("dead letters", "none");
    }
    let worst = agents.iter().max_by_key(|agent| agent.dead_letters);
    let worst = worst.map_or("", |agent| agent.agent.as_str());
    Check::warning(
        "dead letters",
        format!("{dead} in all, most of {worst}"),
        "`agentry queue list dead` shows the reasons; then use `agentry queue retry` or `drop`",
    )
}

/// Why a message waits: from the store if it knows, else from the running runtime.
async fn why(old: &Oldest, config: &Config) -> Option<String> {
    if old.reason.is_some() {
        return old.reason.clone();
    }
    let row = old.id.split_once('/')?.1.parse().ok()?;
    let rows = WaitingRows {
        inbox: vec![row],
        outbox: Vec::new(),
    };
    let asked = Waits::of_rows(rows, &config.store.path);
    let waits = tokio::time::timeout(PATIENCE, asked).await.ok()?;
    waits.of(&old.id, true)
}

fn waiting(
    agents: &[AgentStats],
    old: Option<&Oldest>,
    reason: Option<String>,
    now: Timestamp,
) -> Check {
    let name = "waiting";
    if let Some(old) = old {
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        return Check::warning(
            name,
            format!(
                "the oldest message, {} to {}, has waited {}{reason}; {} have waited as long as \
                 {} or longer",
                old.id,
                old.agent,
                about(now.ms_since(old.since)),
                old.count,
                about(LONG_MS)
            ),
            "`agentry queue list inbox` shows the reasons; a runtime must be running",
        );
    }
    let oldest = agents
        .iter()
        .filter_map(|agent| Some((agent.oldest_waiting?, &agent.agent)))
        .min();
    match oldest {
        None => Check::well(name, "no message waits"),
        Some((at, agent)) => Check::well(
            name,
            format!(
                "the oldest message, to {agent}, has waited {}",
                about(now.ms_since(at))
            ),
        ),
    }
}

fn accepted(unmined: &Unmined, now: Timestamp) -> Check {
    let name = "accepted";
    let Some(at) = unmined.oldest_at else {
        return Check::well(
            name,
            "no accepted transaction waits unusually long for its block",
        );
    };
    let reason = unmined.reason.as_deref();
    Check::warning(
        name,
        format!(
            "{} transactions were accepted and are not in a block, the oldest for {}: {}",
            unmined.count,
            about(now.ms_since(at)),
            reason.unwrap_or("the reason is unknown; a runtime must be running to find it"),
        ),
        "`agentry queue list outbox --state accepted` lists them; `chain.submit` must name the \
         node that produces blocks; the wallets need a balance",
    )
}

fn unread(gaps: &[BlockHeight]) -> Check {
    match gaps.first() {
        None => Check::well("gaps", "every block was read whole"),
        Some(first) => Check::warning(
            "gaps",
            format!(
                "{} blocks could not be read whole, such as {first}",
                gaps.len()
            ),
            "the node does not serve them; read its database: `chain.db`, or another node",
        ),
    }
}

fn budgets(config: &Config, agents: &[AgentStats]) -> Check {
    let name = "budgets";
    let spent: Amount = agents.iter().map(|agent| agent.spent.all).sum();
    let spent = config.chain.dialect.amount(spent);
    let tight: Vec<&str> = agents
        .iter()
        .filter(|agent| is_nearly_spent(config, agent))
        .map(|agent| agent.agent.as_str())
        .collect();
    // For the other agents, senders have used up their shares.
    let waiting: Vec<&AgentStats> = agents
        .iter()
        .filter(|agent| agent.waiting_for_budget > 0)
        .collect();
    match (tight.first(), waiting.first()) {
        (None, None) => Check::well(name, format!("{spent} were spent today")),
        (None, Some(first)) => Check::warning(
            name,
            format!(
                "{spent} were spent today; for {} agents senders have used up their shares of \
                 the budget, such as {}, where {} transactions wait",
                waiting.len(),
                first.agent,
                first.waiting_for_budget
            ),
            "`agentry queue list outbox` names the senders; name one in a `[[contact]]` to give \
             it more, or raise `daily_budget`, then `agentry reload`; or wait for midnight UTC",
        ),
        (Some(first), _) => Check::warning(
            name,
            format!(
                "{spent} were spent today; the budget of {} agents is nearly spent, such as \
                 {first}",
                tight.len()
            ),
            "raise `daily_budget`, then `agentry reload`; or wait for midnight UTC",
        ),
    }
}

/// Whether nine tenths of a budget are spent.
fn is_nearly_spent(config: &Config, agent: &AgentStats) -> bool {
    let budget = daily_budget(&agent.agent, config);
    let tenths = |amount: Amount, count| i128::from(amount) * count;
    budget.is_some_and(|all| all > Amount::ZERO && tenths(agent.spent.all, 10) >= tenths(all, 9))
}
