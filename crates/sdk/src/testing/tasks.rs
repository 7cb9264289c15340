//! The tasks of hosted agents.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use agentry_core::commit::TaskEnd;
use agentry_core::rows::TaskState as RowState;
use agentry_core::state::row;
use agentry_core::{AgentId, Commit, TokenCharge};
use serde_json::json;

use super::Simulation;
use super::runs::backoff_ms;
use super::simulation::Subject;
use crate::durable::missed;
use crate::task::{Ask, CompletedTask, Desk, TASK_FAILED, TaskError, TaskOutput, Tokens};
use crate::{AnyBehaviour, TaskNews};

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
    /// Waiting for the answer to a question.
    InputRequired,
    /// Ended, with this outcome.
    Ended(TaskNews),
}

/// A report of progress, with a description.
type Note = (f64, Option<String>);

impl Simulation {
    pub(super) fn task_state(&self, task: &row::Task) -> TaskState {
        let public = self.failures.get(&Subject::Task(task.id));
        let message = public.map_or(TASK_FAILED, String::as_str);
        let news = json!({ "news": task.state.as_str(), "message": message });
        match TaskNews::of(task, &news) {
            Some(news) => TaskState::Ended(news),
            None if task.state == RowState::Working => TaskState::Working,
            None if task.state == RowState::InputRequired => TaskState::InputRequired,
            None => TaskState::Submitted,
        }
    }

    /// The open tasks of an agent, in the order in which they were started.
    fn open_tasks(&self, agent: AgentId) -> Vec<row::Task> {
        let tasks = self.store.tasks().iter();
        tasks
            .filter(|task| task.agent == agent && task.state.is_open())
            .cloned()
            .collect()
    }

    /// Ends the running attempts: the process ended.
    pub(super) fn interrupt_tasks(&mut self) {
        let tasks = self.store.tasks().iter();
        let working = tasks.filter(|task| task.state == RowState::Working);
        let working: Vec<_> = working.map(|task| (task.id, task.attempts)).collect();
        for (task, attempts) in working {
            if !self.results.contains_key(&task) {
                self.must(&Commit::TaskInterrupt { task, attempts });
            }
        }
    }

    /// Ends tasks that have reached their deadline, and attempts that have reached their time
    /// limit.
    pub(super) fn limit_tasks(&mut self, host: usize) {
        let now = self.now;
        let Some(agent) = self.hosts.get(host).map(|host| host.id) else {
            return;
        };
        for task in self.open_tasks(agent) {
            let answer_by = task.question.as_ref().map(|question| question.until);
            if answer_by
                .into_iter()
                .chain(task.deadline)
                .any(|last| last <= now)
            {
                self.end_task(&task, failure(&missed(&task, now)), None);
            } else if self.limits.get(&task.id).is_some_and(|limit| *limit <= now) {
                let error = TaskError::transient("timeout", "the attempt took too long");
                self.attempt_failed(host, &task, &error, None);
            }
        }
    }

    /// Makes an attempt at a task that is due. Returns whether there was one.
    pub(super) async fn work(&mut self, host: usize) -> bool {
        if self.end_attempt(host) {
            return true;
        }
        let now = self.now;
        let Some((row, behaviour)) = self.next_task(host) else {
            return false;
        };
        let (task, attempts) = (row.id, row.attempts);
        let agent = self.hosts.get(host).map(|host| host.agent.name.clone());
        let tokens = agent.as_ref().and_then(|agent| {
            let shown = self.shown_task(&row, agent);
            behaviour.task_tokens(&shown)
        });
        self.must(&Commit::TaskBegin {
            task,
            attempts,
            reserved: TokenCharge {
                day: now.day(),
                tokens: tokens.unwrap_or(0),
            },
            at: now,
        });
        let begun = self.store.tasks().get(&task);
        let (Some(agent), Some(row)) = (agent, begun) else {
            return false;
        };
        let shown = self.shown_task(&row, &agent);
        let limits = behaviour.task_limits(&shown.kind);
        let limit = now.plus(limits.time);
        self.limits.entry(task).or_insert(limit);
        let notes: Arc<Mutex<Option<Note>>> = Arc::default();
        let kept = Arc::clone(&notes);
        let desk = Desk::new(move |progress, note| {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((progress, note));
        });
        let asked: Arc<Mutex<Option<Ask>>> = Arc::default();
        let asks = Arc::clone(&asked);
        let desk = desk.with_answers(&row.answers, move |ask| {
            *asks.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask);
        });
        let outcome = match (self.plan)(&shown) {
            TaskPlan::Hang => return true,
            TaskPlan::Complete(output) => Ok(output),
            TaskPlan::Fail(error) => Err(error),
            TaskPlan::Execute => {
                let mut work = pin!(behaviour.execute(&shown, &desk));
                let ended = poll_fn(|context| {
                    let polled = work.as_mut().poll(context);
                    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).take();
                    match (polled, asked) {
                        (Poll::Ready(outcome), _) => Poll::Ready(Ok(outcome)),
                        (Poll::Pending, Some(ask)) => Poll::Ready(Err(ask)),
                        (Poll::Pending, None) => Poll::Pending,
                    }
                });
                match ended.await {
                    Ok(outcome) => outcome,
                    Err(ask) => {
                        if !self.dies_before_commit(host) {
                            self.ask(host, &row, ask, desk.tokens());
                        }
                        return true;
                    }
                }
            }
        };
        if self.dies_before_commit(host) {
            return true;
        }
        self.results.insert(task, (outcome, desk.tokens()));
        let last = notes.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (last, limits.progress_every) {
            // It is told before the task ends, and would be superseded otherwise.
            (Some((progress, note)), Some(_)) => {
                self.must(&Commit::TaskProgress {
                    task,
                    attempts: row.attempts,
                    progress,
                    note,
                    tell: true,
                    at: now,
                });
            }
            _ => {
                self.end_attempt(host);
            }
        }
        true
    }

    /// An attempt ended with a question.
    fn ask(&mut self, host: usize, row: &row::Task, ask: Ask, used: Tokens) {
        match ask.of_task(row, self.now) {
            Ok(question) => {
                self.limits.remove(&row.id);
                self.must(&Commit::TaskAsk {
                    task: row.id,
                    attempts: row.attempts,
                    question,
                    used: Some(used),
                    at: self.now,
                });
            }
            Err(error) => self.attempt_failed(host, row, &error, Some(used)),
        }
        self.may_die_after_commit();
    }

    /// Commits the result of an attempt. Returns whether there was one.
    fn end_attempt(&mut self, host: usize) -> bool {
        let agent = self.hosts.get(host).map(|host| host.id);
        let tasks = self.store.tasks();
        let of_host = |task: &row::Task| Some(task.agent) == agent;
        let mut ended = self.results.keys().filter_map(|task| tasks.get(task));
        let Some(row) = ended.find(|row| of_host(row)) else {
            return false;
        };
        match self.results.remove(&row.id) {
            Some((Ok(output), used)) => {
                self.end_task(&row, TaskEnd::Completed(output), Some(used));
            }
            Some((Err(error), used)) => self.attempt_failed(host, &row, &error, Some(used)),
            None => {}
        }
        self.may_die_after_commit();
        true
    }

    /// The first task that is due and within its limit of concurrency. A task whose attempt was
    /// interrupted comes first.
    fn next_task(&self, host: usize) -> Option<(row::Task, Arc<dyn AnyBehaviour>)> {
        let hosted = self.hosts.get(host)?;
        let tasks = self.open_tasks(hosted.id);
        let behaviour_of = |row: &row::Task| {
            let instance = hosted.instance(&row.behaviour)?;
            Some(Arc::clone(&instance.behaviour))
        };
        let is_due = |row: &&row::Task| {
            let Some(behaviour) = behaviour_of(row) else {
                return false;
            };
            let working = tasks.iter().filter(|other| {
                other.state == RowState::Working
                    && (&other.behaviour, &other.kind) == (&row.behaviour, &row.kind)
            });
            let limit = behaviour.task_limits(&row.kind).concurrency;
            row.state == RowState::Submitted
                && row.due_at <= self.now
                && working.count() < limit.max(1)
        };
        let due = tasks.iter().filter(is_due);
        let first = due.min_by_key(|row| !self.limits.contains_key(&row.id))?;
        Some((first.clone(), behaviour_of(first)?))
    }

    fn attempt_failed(
        &mut self,
        host: usize,
        row: &row::Task,
        error: &TaskError,
        used: Option<Tokens>,
    ) {
        let hosted = self.hosts.get(host);
        let instance = hosted.and_then(|host| host.instance(&row.behaviour));
        let most = instance.map_or(1, |one| one.behaviour.task_limits(&row.kind).attempts);
        let failed = row.failed_attempts();
        if !error.is_transient() || failed >= most {
            self.end_task(row, failure(error), used);
            return;
        }
        self.limits.remove(&row.id);
        self.must(&Commit::TaskRetry {
            task: row.id,
            attempts: row.attempts,
            error: (error.code().to_owned(), error.message().to_owned()),
            used,
            due_at: self.now.plus_ms(backoff_ms(failed)),
        });
    }

    fn end_task(&mut self, row: &row::Task, end: TaskEnd, used: Option<Tokens>) {
        self.limits.remove(&row.id);
        if let TaskEnd::Failed { public, .. } = &end {
            let subject = Subject::Task(row.id);
            self.failures.insert(subject, public.clone());
        }
        let host = self.hosts.iter().find(|host| host.id == row.agent);
        if let (TaskEnd::Completed(output), Some(host)) = (&end, host) {
            let done = CompletedTask {
                submitter: row.submitter.clone(),
                output: output.clone(),
            };
            let agent = &host.agent.name;
            self.environment
                .complete(agent, &row.behaviour, &row.key, done);
        }
        self.must(&Commit::TaskEnd {
            task: row.id,
            attempts: row.attempts,
            end,
            used,
            duration_ms: 0,
            at: self.now,
        });
    }
}

fn failure(error: &TaskError) -> TaskEnd {
    TaskEnd::Failed {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        public: error.public().to_owned(),
    }
}
