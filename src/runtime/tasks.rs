//! The pool that runs the tasks that behaviours have started.
//!
//! A task is a row of the store from the moment it is accepted. The pool takes due tasks from the
//! store, runs `Behaviour::execute` on the workers, and stores the results. It guarantees:
//!
//! - *One end.* A task ends in one commit, guarded by the task and the number of the attempt, so an
//!   abandoned attempt cannot end it. The end is reported as one event.
//! - *Bounds.* At most `[tasks] concurrency` attempts run at the same time, and at most
//!   [`TaskLimits::concurrency`] of one type of one behaviour of one agent (a [lane][Lane]). The
//!   one with the fewest running attempts has the next turn, so a full or long lane does not hold
//!   up the others. An attempt lasts no longer than [`TaskLimits::time`], and ends at the task's
//!   deadline at the latest.
//! - *Attempts.* A transient failure, a panic and the time limit lead to another attempt after a
//!   pause, until [`TaskLimits::attempts`] have failed. An attempt that was interrupted because the
//!   process stopped or was killed does not count: the task runs again at the next start. After
//!   [`MAX_INTERRUPTIONS`] interruptions it fails with the code `interrupted`, so that a task that
//!   crashes the process does not do so for ever.
//! - *Ends from outside.* A deadline ends a task with the code `deadline`, also while the task
//!   waits. A cancellation is in the store before [`Pool::cancel`] is called; the task's future is
//!   dropped immediately.
//!
//! - *Workers.* Tasks of the types in `[tasks] on_workers` run on other machines (see [`super::jobs`]).
//!   Everything here decides about them as about others, but [`TaskLimits::time`] begins when a worker
//!   takes the attempt, and `[tasks] concurrency` does not count it. If its worker is lost, the
//!   attempt is interrupted. The process that hosts the agent may end meanwhile: the next one goes on
//!   with the same attempt.
//! - *Tokens.* An attempt that uses a model begins only if `daily_tokens` of its agent has room for
//!   what it uses at most, as far as that is known before: this much is reserved until it ends. Else
//!   it waits for the next day (UTC).
//!
//! Tasks whose agent or behaviour was removed from agents.toml wait for its return, up to their
//! deadline.
//!
//! | module | holds |
//! |---|---|
//! | `schedule` | choosing which task begins next |
//! | `attempt` | one attempt: running it, and its limits |
//! | `allowance` | whether a day's tokens suffice for an attempt |
//! | `progress` | choosing which progress reports are stored, and which are delivered |
//! | `verdict` | deciding how a task continues after an attempt |
//!
//! [`TaskLimits::concurrency`]: agentry_sdk::TaskLimits::concurrency
//! [`TaskLimits::time`]: agentry_sdk::TaskLimits::time
//! [`TaskLimits::attempts`]: agentry_sdk::TaskLimits::attempts
//! [Lane]: agentry_core::state::row::task::Lane

mod allowance;
mod attempt;
mod progress;
mod schedule;
mod verdict;

pub(crate) use attempt::tokens_of;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::Recipient;
use agentry_core::rows::TaskId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Shared;
use super::registry::AgentRegistry;
use super::router::WakeAgents;
use crate::config::TasksConfig;

/// How many attempts at one task may be interrupted by the end of the process before the task
/// fails.
pub const MAX_INTERRUPTIONS: u32 = 20;

/// The handle through which the rest of the runtime uses the pool. Cheap to clone; works before
/// [`serve`] is called, and after the pool has ended.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Signals that there may be a task to begin.
    wake: Notify,
    /// The running attempts, and the handle that drops each.
    running: Mutex<HashMap<TaskId, Arc<Notify>>>,
}

impl Pool {
    /// Notifies the pool of new tasks, or of behaviours that can run waiting ones.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Drops the running attempts of these tasks, which the store already records as canceled.
    pub fn cancel(&self, tasks: &[TaskId]) {
        let running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for task in tasks {
            if let Some(cancel) = running.get(task) {
                cancel.notify_one();
            }
        }
    }

    /// The number of running attempts.
    pub fn running(&self) -> usize {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether an attempt at a task is running.
    fn runs(&self, task: TaskId) -> bool {
        let running = &self.0.running;
        let running = running.lock().unwrap_or_else(PoisonError::into_inner);
        running.contains_key(&task)
    }

    /// Counts an attempt as running until the returned place is dropped.
    fn place(&self, task: TaskId) -> PoolPlace {
        let cancel = Arc::new(Notify::new());
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(task, Arc::clone(&cancel));
        PoolPlace {
            pool: self.clone(),
            task,
            cancel,
        }
    }
}

/// The place of a running attempt in the pool.
#[derive(Debug)]
struct PoolPlace {
    pool: Pool,
    task: TaskId,
    cancel: Arc<Notify>,
}

impl PoolPlace {
    /// Returns when the task is canceled.
    async fn canceled(&self) {
        self.cancel.notified().await;
    }
}

impl Drop for PoolPlace {
    fn drop(&mut self) {
        let mut running = self
            .pool
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // It may belong to the next attempt already.
        if running
            .get(&self.task)
            .is_some_and(|cancel| Arc::ptr_eq(cancel, &self.cancel))
        {
            running.remove(&self.task);
        }
        drop(running);
        self.pool.wake();
    }
}

/// Runs the tasks of these agents until the returned guard is dropped or the process is asked to
/// stop. Running tasks are dropped then, and run again at the next start. Must be called once.
///
/// The agents that have news of a task are woken through `router`.
pub fn serve(
    shared: Shared,
    registry: AgentRegistry,
    router: Recipient<WakeAgents>,
    config: &TasksConfig,
) -> Serving {
    let workers = shared.workers.clone();
    let schedule = schedule::Schedule::new(shared, registry, router, config.concurrency);
    Serving(workers.spawn(schedule.run()))
}

/// The running pool; dropping it ends the pool and everything that runs in it.
#[derive(Debug)]
pub struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}
