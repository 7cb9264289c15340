//! What behaviours do by themselves: when their agent is started, and at the times of schedules.
//!
//! A start stays as a row after it was handled, so that it is known. A schedule is the row of its next
//! tick. Whoever handles a tick, or moves it to the dead letters, says when the next one is: that is
//! in the same commit, so a tick is neither lost nor repeated.

use std::sync::Arc;

use agentry_protocol::{Timestamp, Trail};
use serde_json::{Value, json};

use super::events::New;
use super::row::{Event, event};
use super::{Refusal, State};
use crate::cause::Cause;
use crate::commit::{Plan, Planned};
use crate::origin::Origin;
use crate::rows::{AgentId, EventId, EventKind, EventState};

/// What is stored with a tick.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TickData {
    /// The schedule, as it was planned.
    pub schedule: String,
    /// The time that it is for. A retry is due later.
    pub at: Timestamp,
}

impl TickData {
    /// Reads the data of an event; `None` if it is not that of a tick.
    pub fn read(data: &Value) -> Option<Self> {
        serde::Deserialize::deserialize(data).ok()
    }
}

impl State {
    /// The newest row of a start (which has no name) or of a schedule.
    fn planned(&self, agent: AgentId, behaviour: &str, name: &str) -> Option<Arc<Event>> {
        let at = |id| event::Index::Plan(agent, behaviour.to_owned(), name.to_owned(), EventId(id));
        self.events.range(at(i64::MIN)..=at(i64::MAX)).last()
    }

    /// Plans what a behaviour is to do by itself. What was planned before stays as it is.
    pub(super) fn plan(&mut self, plan: &Plan, at: Timestamp) -> Result<(), Refusal> {
        let (agent, behaviour) = (plan.agent, plan.behaviour.as_str());
        self.check_agent(agent)?;
        match &plan.when {
            Planned::Start { again } => {
                let known = self.planned(agent, behaviour, "");
                if let Some(known) = &known {
                    if !again || known.state == EventState::Waiting {
                        return Ok(());
                    }
                    if known.state == EventState::Held {
                        self.events.remove(&known.id);
                    }
                }
                let data = json!({ "first": known.is_none() });
                self.add_plan((agent, behaviour, ""), EventKind::Start, &data, at, at);
            }
            Planned::Tick {
                name,
                schedule,
                due_at,
            } => {
                let known = self.planned(agent, behaviour, name);
                if let Some(known) = known.filter(|row| row.state == EventState::Waiting) {
                    let is_same =
                        TickData::read(&known.data).is_some_and(|data| data.schedule == *schedule);
                    if is_same {
                        return Ok(());
                    }
                    self.events.remove(&known.id);
                }
                self.add_tick((agent, behaviour, name), schedule.clone(), *due_at, at);
            }
        }
        Ok(())
    }

    /// Adds the tick after this one, if this is the schedule's newest: one that an operator lets be
    /// tried again is not.
    pub(super) fn plan_next(&mut self, id: EventId, due_at: Option<Timestamp>, at: Timestamp) {
        let tick = self
            .events
            .get(&id)
            .filter(|row| row.kind == EventKind::Tick);
        let (Some(tick), Some(due_at)) = (tick, due_at) else {
            return;
        };
        let newest = self.planned(tick.agent, &tick.behaviour, &tick.name);
        if newest.is_some_and(|newest| newest.id == id)
            && let Some(data) = TickData::read(&tick.data)
        {
            let of = (tick.agent, tick.behaviour.as_str(), tick.name.as_str());
            self.add_tick(of, data.schedule, due_at, at);
        }
    }

    fn add_tick(
        &mut self,
        of: (AgentId, &str, &str),
        schedule: String,
        due_at: Timestamp,
        at: Timestamp,
    ) {
        let data = json!(TickData {
            schedule,
            at: due_at
        });
        self.add_plan(of, EventKind::Tick, &data, due_at, at);
    }

    fn add_plan(
        &mut self,
        (agent, behaviour, name): (AgentId, &str, &str),
        kind: EventKind,
        data: &Value,
        due_at: Timestamp,
        at: Timestamp,
    ) {
        let Some(owner) = self.agents.get(&agent) else {
            return;
        };
        let new = New {
            origin: match kind {
                EventKind::Tick => Origin::of_tick(&owner.address, behaviour, name, due_at),
                _ => Origin::of_start(&owner.address, behaviour, at),
            },
            agent,
            behaviour,
            kind,
            name,
            data,
            inbox: None,
            due_at,
            cause: &Cause::Own,
            anchor: None,
            trail: Trail::NONE,
        };
        self.add_event(new, at);
    }
}
