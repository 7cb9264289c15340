//! The pool: the tasks that behaviours have started.
//!
//! A task is a row of the store from the moment it is accepted; the pool takes what is due from
//! there, runs `Behaviour::execute` on the workers, and stores what came of it. It promises:
//!
//! - *One end.* The end of a task is one commit, guarded by the task and the number of the attempt,
//!   so an attempt that was given up cannot end it. The news of it is one event.
//! - *Bounds.* At most `[tasks] concurrency` attempts run at the same time, and at most
//!   [`TaskLimits::concurrency`] of one type of one behaviour of one agent (a [lane][Lane]). Who
//!   runs least has the next turn, so a full or long lane does not hold up the others. An attempt
//!   lasts no longer than [`TaskLimits::time`], nor beyond the task's deadline.
//! - *Attempts.* A transient failure, a panic and the time limit lead to another attempt after a
//!   pause, until [`TaskLimits::attempts`] have failed. An attempt that ended with the process,
//!   whether that was asked to stop or was killed, is not one of them: the task is run again at the
//!   next start. After [`MAX_INTERRUPTIONS`] of these it fails with the code `interrupted`, so that
//!   a task which brings the process down does not do so for ever.
//! - *Ends from outside.* A deadline ends a task with the code `deadline`, also while it waits. What
//!   was canceled is in the store before [`Pool::cancel`] is called; its future is dropped at once.
//!
//! Tasks whose agent or behaviour is gone from agents.toml wait for it, up to their deadline.
//!
//! | module | holds |
//! |---|---|
//! | `schedule` | which task begins when |
//! | `attempt` | one attempt: running it, and its limits |
//! | `progress` | which reports of progress are stored, and which are told |
//! | `verdict` | what follows from how an attempt ended |
//!
//! [`TaskLimits::concurrency`]: agentry_sdk::TaskLimits::concurrency
//! [`TaskLimits::time`]: agentry_sdk::TaskLimits::time
//! [`TaskLimits::attempts`]: agentry_sdk::TaskLimits::attempts
//! [Lane]: crate::store::read::Lane

mod attempt;
mod progress;
mod schedule;
mod verdict;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::Recipient;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Shared;
use super::roster::Roster;
use super::router::WakeAgents;
use crate::config::TasksConfig;
use crate::store::rows::TaskId;

/// How many attempts at one task may end with the process before it has failed.
pub const MAX_INTERRUPTIONS: u32 = 20;

/// The handle through which the rest of the runtime speaks to the pool. Cheap to clone; works
/// before [`serve`] was called, and after it has ended.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// There may be something to begin.
    wake: Notify,
    /// The attempts that run, and what drops each.
    running: Mutex<HashMap<TaskId, Arc<Notify>>>,
}

impl Pool {
    /// Tells that there are tasks which were not there before, or behaviours that do them.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Drops what runs for these tasks. That they are canceled is in the store already.
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

    /// How many attempts run.
    pub fn running(&self) -> usize {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Counts an attempt as running until the returned place goes.
    fn place(&self, task: TaskId) -> Place {
        let cancel = Arc::new(Notify::new());
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(task, Arc::clone(&cancel));
        Place {
            pool: self.clone(),
            task,
            cancel,
        }
    }
}

/// The place of a running attempt in the pool.
#[derive(Debug)]
struct Place {
    pool: Pool,
    task: TaskId,
    cancel: Arc<Notify>,
}

impl Place {
    /// Returns when the task is canceled.
    async fn canceled(&self) {
        self.cancel.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self
            .pool
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // It may be the next attempt's already.
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

/// Runs the tasks of these agents until the returned guard goes, or the process is asked to stop:
/// then what runs is dropped, and runs again at the next start. Must be called once.
///
/// Who has news of a task is woken through `router`.
pub fn serve(
    shared: Shared,
    roster: Roster,
    router: Recipient<WakeAgents>,
    config: &TasksConfig,
) -> Serving {
    let workers = shared.workers.clone();
    let schedule = schedule::Schedule::new(shared, roster, router, config.concurrency);
    Serving(workers.spawn(schedule.run()))
}

/// The pool at work; it ends with this, and so does what runs in it.
#[derive(Debug)]
pub struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}
