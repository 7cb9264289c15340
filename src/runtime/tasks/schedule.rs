//! Choosing which task begins next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::Recipient;
use agentry_core::rows::TaskId;
use agentry_core::state::lanes::{Deadlines, WaitingTasks};
use agentry_core::state::row::Task;
use agentry_core::state::row::task::Lane;
use agentry_core::{AgentId, Commit, CommitResult, State, TokenCharge};
use agentry_protocol::Timestamp;
use agentry_sdk::durable::missed;
use agentry_sdk::{self as sdk, AnyBehaviour, TaskLimits};
use agentry_store::StoreError;
use tokio::task::JoinSet;

use super::PoolPlace;
use super::allowance::{self, Allowed, until_tomorrow};
use super::attempt::{Attempt, Links, limits, tokens_of};
use super::verdict::{failure, interruption};
use crate::runtime::Shared;
use crate::runtime::jobs::Jobs;
use crate::runtime::kill::{self, Point};
use crate::runtime::registry::AgentRegistry;
use crate::runtime::router::WakeAgents;

/// How long the pool sleeps when no task is scheduled. A wake-up ends the sleep. Tasks that become
/// due because the clock was set, or because a behaviour was added back, are found after it.
const REST: Duration = Duration::from_secs(30);

/// How many tasks of a lane are read at a time; the next look finds further due tasks.
const LANE: usize = 32;

/// How many missed deadlines are stored at a time.
const DEADLINES: usize = 64;

/// How many attempts of a shard workers may run or have in front of them. It bounds the rows in the
/// cluster's database, as the lanes bound those of each agent.
const ON_WORKERS: usize = 256;

/// The pause after the store refused something.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// The running pool.
#[derive(Debug)]
pub(super) struct Schedule {
    links: Links,
    registry: AgentRegistry,
    concurrency: usize,
    /// The running attempts; dropping this ends them.
    attempts: JoinSet<Lane>,
    /// The number of running attempts in each lane that has any.
    running: HashMap<Lane, usize>,
    /// The lane that had the last turn.
    last: Option<Lane>,
    /// The last day on which an agent's tokens were used up. It is logged once a day.
    short: HashMap<AgentId, u64>,
}

/// The behaviour that runs a task, and the task's limits.
#[derive(Clone, Debug)]
struct Doer {
    agent: String,
    behaviour: Arc<dyn AnyBehaviour>,
    limits: TaskLimits,
    daily_tokens: Option<u64>,
}

/// The next attempt at a task.
#[derive(Debug)]
enum Next {
    /// It begins with this row, and reserves this.
    Begins(Arc<Task>, TokenCharge),
    /// There is none: the task has ended.
    Ended,
    /// It waits for tokens.
    Short,
}

/// How many more attempts may begin.
#[derive(Clone, Copy, Debug)]
struct Room {
    here: usize,
    on_workers: usize,
}

impl Room {
    const fn of(self, on_workers: bool) -> usize {
        if on_workers {
            self.on_workers
        } else {
            self.here
        }
    }

    fn most(self) -> usize {
        self.here.max(self.on_workers)
    }

    fn take(&mut self, on_workers: bool) {
        let room = if on_workers {
            &mut self.on_workers
        } else {
            &mut self.here
        };
        *room = room.saturating_sub(1);
    }
}

/// The result of a look into the store.
#[derive(Debug)]
struct Look {
    waiting: Vec<WaitingTasks>,
    deadlines: Deadlines,
}

impl Schedule {
    pub(super) fn new(
        shared: Shared,
        registry: AgentRegistry,
        router: Recipient<WakeAgents>,
        concurrency: usize,
    ) -> Self {
        Self {
            links: Links { shared, router },
            registry,
            concurrency: concurrency.max(1),
            attempts: JoinSet::new(),
            running: HashMap::new(),
            last: None,
            short: HashMap::new(),
        }
    }

    /// Works until the process is asked to stop, and then drops the running attempts.
    pub(super) async fn run(mut self) {
        let mut stopping = self.links.shared.stopping.clone();
        let jobs = self.links.shared.jobs.clone();
        let follow = async {
            match jobs {
                Some(jobs) => jobs.serve().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = self.work() => {}
            () = follow => {}
        }
        self.attempts.shutdown().await;
    }

    async fn work(&mut self) {
        // Work that the chain shows as done is not done again.
        self.links.shared.catch_up.done().await;
        while let Err(error) = self.take_up().await {
            tracing::error!(%error, "cannot resume the tasks of the previous process");
            tokio::time::sleep(STORE_PAUSE).await;
        }
        if let Some(jobs) = &self.links.shared.jobs {
            jobs.is_complete();
        }
        loop {
            let next = match self.begin_due().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(%error, "cannot look for tasks");
                    tokio::time::sleep(STORE_PAUSE).await;
                    continue;
                }
            };
            let rest = next.map_or(REST, |next| next.min(REST));
            let pool = self.links.shared.pool.clone();
            tokio::select! {
                () = pool.0.wake.notified() => {}
                Some(ended) = self.attempts.join_next() => self.ended(ended),
                () = tokio::time::sleep(rest) => {}
            }
            while let Some(ended) = self.attempts.try_join_next() {
                self.ended(ended);
            }
        }
    }

    fn ended(&mut self, ended: Result<Lane, tokio::task::JoinError>) {
        match ended {
            Ok(lane) => {
                if let Some(count) = self.running.get_mut(&lane) {
                    *count -= 1;
                    if *count == 0 {
                        self.running.remove(&lane);
                    }
                }
            }
            Err(error) => {
                // A defect in the pool. The lane is unknown: reset the counts once nothing runs.
                tracing::error!(%error, "an attempt at a task ended unexpectedly");
                if self.attempts.is_empty() {
                    self.running.clear();
                }
            }
        }
    }

    /// Goes on with the tasks that workers run, and requeues the others that were running when the
    /// previous process ended.
    async fn take_up(&mut self) -> Result<(), StoreError> {
        let working = self.links.shared.store.query(State::working_tasks).await?;
        let left = match &self.links.shared.jobs {
            Some(jobs) if working.iter().any(|task| jobs.runs(&task.kind)) => jobs.left().await,
            _ => HashSet::new(),
        };
        for task in working {
            if self.links.shared.pool.runs(task.id) {
                // This is another try, after the store has refused something.
                continue;
            }
            let lane = task.lane();
            let is_left = |jobs: &Jobs| left.contains(&jobs.key(task.id, task.attempts));
            if self.links.shared.jobs.as_ref().is_some_and(is_left)
                && self.is_on_workers(&lane)
                && let Some(doer) = self.doer(&lane)
            {
                let place = self.links.shared.pool.place(task.id);
                tracing::info!(task.id = %task.id, attempt = task.attempts, "following a task that a worker runs");
                self.spawn(Task::clone(&task), &lane, (doer, place), true);
                continue;
            }
            let commit = interruption(&task, self.links.shared.clock.now());
            self.links.commit(commit).await?;
            let times = task.interrupted.saturating_add(1);
            tracing::info!(task.id = %task.id, times, "a task was interrupted by the end of the previous process");
        }
        Ok(())
    }

    /// Whether workers run the tasks of a lane.
    fn is_on_workers(&self, lane: &Lane) -> bool {
        let jobs = self.links.shared.jobs.as_ref();
        jobs.is_some_and(|jobs| jobs.runs(&lane.kind))
    }

    /// How many more attempts may begin.
    fn room(&self) -> Room {
        let (workers, here): (Vec<_>, Vec<_>) = self
            .running
            .iter()
            .partition(|(lane, _)| self.is_on_workers(lane));
        let count = |lanes: Vec<(&Lane, &usize)>| lanes.into_iter().map(|(_, count)| count).sum();
        Room {
            here: self.concurrency.saturating_sub(count(here)),
            on_workers: match self.links.shared.jobs {
                Some(_) => ON_WORKERS.saturating_sub(count(workers)),
                None => 0,
            },
        }
    }

    /// Begins as many tasks as there is room for. Returns the time until the next task is due, or
    /// until the next deadline of a waiting task.
    async fn begin_due(&mut self) -> Result<Option<Duration>, StoreError> {
        // The lanes whose next task waits for tokens.
        let mut short = HashSet::new();
        loop {
            let clock = self.links.shared.clock.clone();
            // A wrong clock must not end a task: a deadline has passed only when that is certain.
            let (now, confirmed) = (clock.now(), clock.confirmed());
            let room = self.room();
            let look = self.look(now, confirmed, room.most()).await?;
            let more_missed = look.deadlines.missed.len() == DEADLINES;
            for task in look.deadlines.missed {
                let error = missed(&task, confirmed);
                let commit = Commit::TaskEnd {
                    task: task.id,
                    attempts: task.attempts,
                    end: failure(&error),
                    used: None,
                    duration_ms: 0,
                    at: now,
                };
                self.links.commit(commit).await?;
                tracing::warn!(task.id = %task.id, reason = %error, "a task waited too long");
            }
            if more_missed {
                continue;
            }
            let mut lanes = self.served(look.waiting);
            lanes.retain(|(waiting, _)| !short.contains(&waiting.lane));
            let deadline = look.deadlines.next.map(|at| at.since(confirmed));
            // Without room, the pool waits for an attempt to end.
            let due = lanes
                .iter()
                .filter(|(waiting, _)| room.of(self.is_on_workers(&waiting.lane)) > 0)
                .filter_map(|(waiting, _)| waiting.next_at)
                .min()
                .map(|at| at.since(now));
            let picked = self.pick(&mut lanes, room);
            if picked.is_empty() {
                let day = (!short.is_empty()).then(|| until_tomorrow(clock.local()));
                let next = due.into_iter().chain(deadline).chain(day).min();
                return Ok(next);
            }
            for (task, lane, doer) in picked {
                if short.contains(&lane) {
                    continue;
                }
                if !self.begin(task, &lane, doer).await? {
                    short.insert(lane);
                }
            }
        }
    }

    async fn look(
        &self,
        now: Timestamp,
        confirmed: Timestamp,
        room: usize,
    ) -> Result<Look, StoreError> {
        self.links
            .shared
            .store
            .query(move |state| Look {
                deadlines: state.deadlines(confirmed, DEADLINES),
                waiting: match room {
                    0 => Vec::new(),
                    room => state.waiting_tasks(now, room.min(LANE)),
                },
            })
            .await
    }

    /// The lanes whose behaviour is configured, in the order of their turns. The tasks of other
    /// lanes wait for their behaviour.
    fn served(&self, waiting: Vec<WaitingTasks>) -> Vec<(WaitingTasks, Doer)> {
        let mut lanes: Vec<_> = waiting
            .into_iter()
            .filter_map(|waiting| {
                let doer = self.doer(&waiting.lane)?;
                Some((waiting, doer))
            })
            .collect();
        lanes.sort_by(|(one, _), (other, _)| one.lane.cmp(&other.lane));
        if let Some(last) = &self.last {
            let behind = lanes.partition_point(|(waiting, _)| waiting.lane <= *last);
            lanes.rotate_left(behind);
        }
        lanes
    }

    fn doer(&self, lane: &Lane) -> Option<Doer> {
        let config = self
            .registry
            .get(lane.agent)
            .map(|hosted| Arc::clone(&hosted.config))?;
        let instance = config
            .behaviours
            .iter()
            .find(|instance| instance.name == lane.behaviour)?;
        Some(Doer {
            agent: config.name.clone(),
            limits: limits(&*instance.behaviour, &lane.kind),
            behaviour: Arc::clone(&instance.behaviour),
            daily_tokens: config.common.daily_tokens,
        })
    }

    /// Picks as many tasks as there is room for. The turn goes to the agent with the fewest running
    /// attempts, among its senders to the one with the fewest, and likewise among that sender's
    /// lanes; equals take turns.
    fn pick(
        &mut self,
        lanes: &mut [(WaitingTasks, Doer)],
        mut room: Room,
    ) -> Vec<(TaskId, Lane, Doer)> {
        let jobs = self.links.shared.jobs.clone();
        let on_workers = |lane: &Lane| jobs.as_ref().is_some_and(|jobs| jobs.runs(&lane.kind));
        let mut in_lane = self.running.clone();
        let mut of_agent = HashMap::new();
        let mut of_sender = HashMap::new();
        for (lane, count) in &in_lane {
            *of_agent.entry(lane.agent).or_insert(0) += count;
            let sender = (lane.agent, lane.cause.clone());
            *of_sender.entry(sender).or_insert(0) += count;
        }
        let mut picked = Vec::new();
        while room.most() > 0 {
            let turn = lanes
                .iter_mut()
                .filter(|(waiting, doer)| {
                    let of_type = in_lane
                        .iter()
                        .filter(|(lane, _)| lane.is_of_type(&waiting.lane));
                    let running = of_type.map(|(_, count)| count).sum::<usize>();
                    !waiting.due.is_empty()
                        && running < doer.limits.concurrency
                        && room.of(on_workers(&waiting.lane)) > 0
                })
                .min_by_key(|(waiting, _)| {
                    let sender = (waiting.lane.agent, waiting.lane.cause.clone());
                    (
                        of_agent.get(&waiting.lane.agent).copied().unwrap_or(0),
                        of_sender.get(&sender).copied().unwrap_or(0),
                        in_lane.get(&waiting.lane).copied().unwrap_or(0),
                    )
                });
            let Some((waiting, doer)) = turn else {
                break;
            };
            let task = waiting.due.remove(0);
            room.take(on_workers(&waiting.lane));
            *in_lane.entry(waiting.lane.clone()).or_insert(0) += 1;
            *of_agent.entry(waiting.lane.agent).or_insert(0) += 1;
            let sender = (waiting.lane.agent, waiting.lane.cause.clone());
            *of_sender.entry(sender).or_insert(0) += 1;
            self.last = Some(waiting.lane.clone());
            picked.push((task, waiting.lane.clone(), doer.clone()));
        }
        picked
    }

    /// Begins an attempt at a task. Returns false if the task waits for tokens.
    async fn begin(&mut self, task: TaskId, lane: &Lane, doer: Doer) -> Result<bool, StoreError> {
        let (row, reserved) = match self.next_attempt(task, &doer).await? {
            Next::Begins(row, reserved) => (row, reserved),
            Next::Ended => return Ok(true),
            Next::Short => return Ok(false),
        };
        // Before the commit: a cancellation after the commit finds the attempt that it has to drop.
        let place = self.links.shared.pool.place(task);
        let Some(row) = self.begun(&row, reserved).await? else {
            return Ok(true);
        };
        kill::pass(Point::AfterTaskBegin);
        self.spawn(row, lane, (doer, place), false);
        Ok(true)
    }

    /// Runs an attempt, which `is_adopted` if the previous owner of the shard has begun it.
    fn spawn(
        &mut self,
        row: Task,
        lane: &Lane,
        (doer, place): (Doer, PoolPlace),
        is_adopted: bool,
    ) {
        let attempt = Attempt {
            links: self.links.clone(),
            row,
            agent: doer.agent,
            behaviour: doer.behaviour,
            limits: doer.limits,
            place,
            is_adopted,
        };
        *self.running.entry(lane.clone()).or_insert(0) += 1;
        let lane = lane.clone();
        self.attempts.spawn_on(
            async move {
                attempt.run().await;
                lane
            },
            &self.links.shared.workers,
        );
    }

    /// Whether an attempt may begin, and what it reserves of the agent's tokens of the day. Ends a task
    /// for which they cannot suffice.
    async fn next_attempt(&mut self, task: TaskId, doer: &Doer) -> Result<Next, StoreError> {
        let clock = &self.links.shared.clock;
        let (now, local) = (clock.now(), clock.local());
        let day = local.day();
        let limited = doer.daily_tokens.is_some();
        let find = move |state: &State| {
            let row = state.tasks().get(&task)?;
            // Only a limit needs the sum.
            let used = limited.then(|| state.day_tokens(row.agent, day));
            Some((row, used.unwrap_or_default()))
        };
        let Some((row, used)) = self.links.shared.store.query(find).await? else {
            return Ok(Next::Ended);
        };
        let needs = tokens_of(&*doer.behaviour, &sdk::Task::of(&row, &doer.agent));
        if let (Some(needs), Some(daily)) = (needs, doer.daily_tokens) {
            match allowance::check(daily, needs, used, row.deadline, local) {
                Allowed::Yes => {}
                Allowed::Later => {
                    if self.short.insert(row.agent, day) != Some(day) {
                        tracing::warn!(
                            agent.name = doer.agent,
                            daily_tokens = daily,
                            used = used.counted,
                            "the tokens of this day are used up: tasks wait for the next day (UTC)"
                        );
                    }
                    return Ok(Next::Short);
                }
                Allowed::Never(error) => {
                    let commit = Commit::TaskEnd {
                        task,
                        attempts: row.attempts,
                        end: failure(&error),
                        used: None,
                        duration_ms: 0,
                        at: now,
                    };
                    self.links.commit(commit).await?;
                    tracing::warn!(task.id = %task, reason = error.message(), "a task failed before it began");
                    return Ok(Next::Ended);
                }
            }
        }
        let tokens = needs.unwrap_or(0);
        Ok(Next::Begins(row, TokenCharge { day, tokens }))
    }

    /// Stores that an attempt begins. `None`: the task has ended meanwhile.
    async fn begun(&self, task: &Task, reserved: TokenCharge) -> Result<Option<Task>, StoreError> {
        let mut row = task.clone();
        let commit = Commit::TaskBegin {
            task: row.id,
            attempts: row.attempts,
            reserved,
            at: self.links.shared.clock.now(),
        };
        let changes = self.links.commit(commit).await?;
        row.attempts = row.attempts.saturating_add(1);
        Ok((changes.result != CommitResult::Stale).then_some(row))
    }
}
