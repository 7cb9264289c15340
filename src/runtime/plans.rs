//! What behaviours do by themselves: the store is told of it when their agents are hosted.

use agentry_core::Commit;
use agentry_core::commit::{Plan, Planned};
use agentry_protocol::Timestamp;
use agentry_sdk::Starts;
use agentry_store::{Store, StoreError};

use super::registry::Hosted;

/// The most plans of one commit.
const PAGE: usize = 1_000;

/// Why agents are hosted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The runtime starts.
    Start,
    /// Its configuration was reloaded.
    Reload,
}

/// Plans the starts and the schedules of these agents. What is planned already stays as it is.
///
/// # Errors
/// The store cannot be changed.
pub async fn commit<'a>(
    store: &Store,
    agents: impl Iterator<Item = &'a Hosted>,
    occasion: Occasion,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut plans = Vec::new();
    for hosted in agents {
        plans.extend(of(hosted, occasion, now));
        if plans.len() >= PAGE {
            let plans = std::mem::take(&mut plans);
            store.commit_now(Commit::Plan { plans, at: now }).await?;
        }
    }
    if !plans.is_empty() {
        store.commit_now(Commit::Plan { plans, at: now }).await?;
    }
    Ok(())
}

fn of(hosted: &Hosted, occasion: Occasion, now: Timestamp) -> Vec<Plan> {
    let mut plans = Vec::new();
    for instance in hosted.config.behaviours.iter() {
        let plan = |when| Plan {
            agent: hosted.id,
            behaviour: instance.name.clone(),
            when,
        };
        let starts = instance.behaviour.starts();
        if starts != Starts::Never {
            let again = starts == Starts::Always && occasion == Occasion::Start;
            plans.push(plan(Planned::Start { again }));
        }
        let ticks = instance.schedules.iter().filter_map(|scheduled| {
            Some(plan(Planned::Tick {
                name: scheduled.name().to_owned(),
                schedule: scheduled.identity(),
                due_at: scheduled.first(now)?,
            }))
        });
        plans.extend(ticks);
    }
    plans
}
