//! The tasks of hosted agents.

use std::sync::{Arc, Mutex, PoisonError};

use agentry_protocol::Address;

use super::Simulation;
use super::handlers::backoff_ms;
use super::outbox::after_ms;
use super::queue::Item;
use crate::task::{Desk, Task, TaskError, TaskOutput, TaskStart};
use crate::{AnyBehaviour, Event, Settlement, TaskNews, TaskReport};

/// The outcome of an attempt at a task in a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskPlan {
    /// The outcome of the behaviour's `execute`.
    Execute,
    /// The attempt completes at once with this result.
    Complete(TaskOutput),
    /// The attempt fails at once with this error.
    Fail(TaskError),
    /// The attempt does not end before its time limit, its deadline, a cancellation or a restart.
    Hang,
}

/// The state of a task, with the names of the A2A protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskState {
    /// Waiting for its first or next attempt.
    Submitted,
    /// Running.
    Working,
    /// Ended, with this outcome.
    Ended(TaskNews),
}

/// A report of progress, with a description.
type Note = (f64, Option<String>);

#[derive(Debug)]
pub(super) struct TaskRow {
    pub(super) behaviour: usize,
    pub(super) start: TaskStart,
    /// The position in the inbox of the message that started it.
    about: Option<usize>,
    submitter: Option<Address>,
    origin: String,
    attempt: u32,
    pub(super) state: TaskState,
    pub(super) not_before: u64,
    /// The time limit of a hanging attempt.
    pub(super) limit_ms: Option<u64>,
    news: u32,
}

impl TaskRow {
    /// Records that the process ended: a running attempt starts again, with the same time limit.
    pub(super) fn interrupt(&mut self) {
        if self.state == TaskState::Working {
            self.state = TaskState::Submitted;
            self.attempt = self.attempt.saturating_sub(1);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, TaskState::Ended(_))
    }

    fn task(&self, agent: &str) -> Task {
        Task {
            key: self.start.key.clone(),
            kind: self.start.kind.clone(),
            input: self.start.input.clone(),
            deadline_ms: self.start.deadline_ms,
            agent: agent.to_owned(),
            submitter: self.submitter.clone(),
            attempt: self.attempt,
        }
    }
}

impl Simulation {
    pub(super) fn start_task(
        &mut self,
        host: usize,
        behaviour: usize,
        origin: &str,
        start: TaskStart,
        about: Option<usize>,
    ) {
        let now = self.now_ms;
        let Some(hosted) = self.hosts.get_mut(host) else {
            return;
        };
        let store = &mut hosted.store;
        let known = store
            .tasks
            .iter()
            .position(|row| row.behaviour == behaviour && row.start.key == start.key);
        let position = known.unwrap_or(store.tasks.len());
        let message = about.and_then(|row| store.inbox.get_mut(row));
        let submitter = message.as_ref().map(|row| row.message.from.clone());
        if let Some(row) = message
            && !row.tasks.contains(&position)
        {
            row.tasks.push(position);
        }
        if known.is_none() {
            store.tasks.push(TaskRow {
                behaviour,
                start,
                about,
                submitter,
                origin: origin.to_owned(),
                attempt: 0,
                state: TaskState::Submitted,
                not_before: now,
                limit_ms: None,
                news: 0,
            });
        }
    }

    pub(super) fn cancel_task(&mut self, host: usize, behaviour: usize, key: &str) {
        let found = self.hosts.get(host).and_then(|hosted| {
            hosted.store.tasks.iter().position(|row| {
                row.behaviour == behaviour && row.start.key == key && !row.has_ended()
            })
        });
        if let Some(task) = found {
            self.end_task(host, task, TaskNews::Canceled);
        }
    }

    /// Ends tasks that have reached their deadline, and attempts that have reached their time
    /// limit.
    pub(super) fn limit_tasks(&mut self, host: usize) {
        let now = self.now_ms;
        let count = self
            .hosts
            .get(host)
            .map_or(0, |host| host.store.tasks.len());
        for task in 0..count {
            let Some(row) = self.task_row(host, task) else {
                continue;
            };
            if row.has_ended() {
                continue;
            }
            if row
                .start
                .deadline_ms
                .is_some_and(|deadline| deadline <= now)
            {
                let news = TaskNews::Failed {
                    code: "deadline".to_owned(),
                    message: "its deadline passed before it was done".to_owned(),
                };
                self.end_task(host, task, news);
            } else if row.limit_ms.is_some_and(|limit| limit <= now) {
                let error = TaskError::transient("timeout", "the attempt took too long");
                self.attempt_failed(host, task, &error);
            }
        }
    }

    /// Makes an attempt at a task that is due. Returns whether there was one.
    pub(super) async fn work(&mut self, host: usize) -> bool {
        let now = self.now_ms;
        let Some((task, behaviour)) = self.next_task(host) else {
            return false;
        };
        let Some(hosted) = self.hosts.get_mut(host) else {
            return false;
        };
        let Some(row) = hosted.store.tasks.get_mut(task) else {
            return false;
        };
        row.attempt += 1;
        row.state = TaskState::Working;
        let shown = row.task(&hosted.agent.name);
        let limits = behaviour.task_limits(&shown.kind);
        let limit = row.limit_ms.unwrap_or(after_ms(now, limits.time));
        row.limit_ms = Some(limit);
        let notes: Arc<Mutex<Option<Note>>> = Arc::default();
        let outcome = match (self.plan)(&shown) {
            TaskPlan::Hang => return true,
            TaskPlan::Complete(output) => Ok(output),
            TaskPlan::Fail(error) => Err(error),
            TaskPlan::Execute => {
                let kept = Arc::clone(&notes);
                let desk = Desk::new(move |progress, note| {
                    *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((progress, note));
                });
                behaviour.execute(&shown, &desk).await
            }
        };
        if self.dies_before_commit(host) {
            return true;
        }
        let last = notes.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some((progress, note)), Some(_)) = (last, limits.progress_every) {
            self.report(host, task, TaskNews::Progress { progress, note });
        }
        match outcome {
            Ok(output) => {
                let duration_ms = 0;
                let news = TaskNews::Completed {
                    output,
                    duration_ms,
                };
                self.end_task(host, task, news);
            }
            Err(error) => self.attempt_failed(host, task, &error),
        }
        self.may_die_after_commit();
        true
    }

    /// The first task that is due and within its limit of concurrency. A task whose attempt was
    /// interrupted comes first.
    fn next_task(&self, host: usize) -> Option<(usize, Arc<dyn AnyBehaviour>)> {
        let hosted = self.hosts.get(host)?;
        let tasks = &hosted.store.tasks;
        let is_due = |row: &TaskRow| {
            let Some(one) = hosted.instances.get(row.behaviour) else {
                return false;
            };
            let limit = one.behaviour.task_limits(&row.start.kind).concurrency;
            let working = tasks.iter().filter(|other| {
                other.state == TaskState::Working
                    && other.behaviour == row.behaviour
                    && other.start.kind == row.start.kind
            });
            row.state == TaskState::Submitted
                && row.not_before <= self.now_ms
                && working.count() < limit.max(1)
        };
        let due = tasks.iter().enumerate().filter(|(_, row)| is_due(row));
        let (position, row) = due.min_by_key(|(_, row)| row.limit_ms.is_none())?;
        let one = hosted.instances.get(row.behaviour)?;
        Some((position, Arc::clone(&one.behaviour)))
    }

    fn attempt_failed(&mut self, host: usize, task: usize, error: &TaskError) {
        let now = self.now_ms;
        let Some(hosted) = self.hosts.get_mut(host) else {
            return;
        };
        let Some(row) = hosted.store.tasks.get_mut(task) else {
            return;
        };
        let attempts = hosted
            .instances
            .get(row.behaviour)
            .map_or(1, |one| one.behaviour.task_limits(&row.start.kind).attempts);
        if error.is_transient() && row.attempt < attempts {
            row.state = TaskState::Submitted;
            row.limit_ms = None;
            row.not_before = now.saturating_add(backoff_ms(row.attempt));
            return;
        }
        let news = TaskNews::Failed {
            code: error.code().to_owned(),
            message: error.public().to_owned(),
        };
        self.end_task(host, task, news);
    }

    fn end_task(&mut self, host: usize, task: usize, news: TaskNews) {
        let Some(row) = self.task_row(host, task) else {
            return;
        };
        row.state = TaskState::Ended(news.clone());
        row.limit_ms = None;
        self.report(host, task, news);
        let waiting: Vec<usize> = self.hosts.get(host).map_or_else(Vec::new, |hosted| {
            let rows = hosted.store.inbox.iter().enumerate();
            rows.filter(|(_, row)| row.tasks.contains(&task) && row.handled)
                .map(|(position, _)| position)
                .collect()
        });
        for row in waiting {
            self.conclude(host, row);
        }
    }

    fn report(&mut self, host: usize, task: usize, news: TaskNews) {
        let now = self.now_ms;
        let Some(hosted) = self.hosts.get_mut(host) else {
            return;
        };
        let Some(row) = hosted.store.tasks.get_mut(task) else {
            return;
        };
        row.news += 1;
        let key = format!("task/{}/{}", row.origin, row.news);
        let report = TaskReport {
            task: row.task(&hosted.agent.name),
            news,
        };
        let item = Item::own(&key, row.behaviour, Event::Task(report), row.about, now);
        hosted.store.queue.push(item);
    }

    fn task_row(&mut self, host: usize, task: usize) -> Option<&mut TaskRow> {
        self.hosts.get_mut(host)?.store.tasks.get_mut(task)
    }

    /// The outcome of a message by its tasks; none while a task has not ended.
    pub(super) fn settlement_by_tasks(&self, host: usize, tasks: &[usize]) -> Option<Settlement> {
        let rows = &self.hosts.get(host)?.store.tasks;
        let mut settlement = Settlement::Done;
        for row in tasks.iter().filter_map(|task| rows.get(*task)) {
            match &row.state {
                TaskState::Submitted | TaskState::Working => return None,
                TaskState::Ended(TaskNews::Failed { code, .. }) => {
                    settlement = Settlement::of_failed_task(code);
                }
                TaskState::Ended(TaskNews::Canceled) => {
                    settlement = Settlement::of_canceled_task();
                }
                TaskState::Ended(TaskNews::Completed { .. } | TaskNews::Progress { .. }) => {}
            }
        }
        Some(settlement)
    }
}
