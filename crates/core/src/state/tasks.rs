//! The tasks of behaviours.

use std::sync::Arc;

use agentry_protocol::{Timestamp, Trail};
use serde_json::{Value, json};

use super::events::New;
use super::row::{Task, task};
use super::usage::Kind;
use super::{State, next};
use crate::cause::Cause;
use crate::commit::{Changes, CommitResult, TaskEnd};
use crate::origin::Origin;
use crate::rows::{AgentId, EventKind, InboxId, TaskId, TaskState};
use crate::task::Question;
use crate::{TaskStart, TokenCharge, Tokens};

impl State {
    /// Adds a task of a behaviour, which does not start before the time `from`. The same key is the
    /// same task.
    pub(super) fn submit_task(
        &mut self,
        (agent, behaviour): (AgentId, &str),
        (start, unapproved): (&TaskStart, bool),
        (origin, inbox, cause, trail): (&Origin, Option<InboxId>, &Cause, Trail),
        (at, from): (Timestamp, Timestamp),
        changes: &mut Changes,
    ) {
        let key = task::Index::Key(agent, behaviour.to_owned(), start.key.clone());
        if self.tasks.find(&key).is_some() {
            return;
        }
        let id = TaskId(next(&mut self.facts.ids.task));
        let message = inbox.and_then(|inbox| self.inbox.get(&inbox));
        self.tasks.put(Task {
            id,
            agent,
            behaviour: behaviour.to_owned(),
            key: start.key.clone(),
            origin: origin.task(behaviour, &start.key),
            kind: start.kind.clone(),
            input: start.input.clone(),
            inbox,
            submitter: message.map(|message| message.sender.clone()),
            state: TaskState::Submitted,
            attempts: 0,
            interrupted: 0,
            tokens: Tokens::default(),
            reserved: None,
            due_at: at.max(from),
            unapproved,
            answers: Vec::new(),
            question: None,
            deadline: start.deadline,
            progress: None,
            note: None,
            result: None,
            media_type: None,
            error_code: None,
            error: None,
            made_at: at,
            started_at: None,
            ended_at: None,
            cause: cause.clone(),
            trail,
        });
        changes.tasks = true;
        // The chain shows that it has ended: the work is not done again.
        let done = inbox.and_then(|inbox| self.job_end(agent, inbox, &start.key));
        if let Some((end, duration_ms)) = done {
            self.end_task((id, 0), (&end, None), duration_ms, at, changes);
        }
    }

    /// The open task of this attempt.
    fn attempt(&self, id: TaskId, attempts: u32) -> Option<Arc<Task>> {
        self.tasks
            .get(&id)
            .filter(|row| row.attempts == attempts && row.state.is_open())
    }

    /// The task whose attempt of this number is running.
    fn working(&self, id: TaskId, attempts: u32) -> Option<Arc<Task>> {
        self.attempt(id, attempts)
            .filter(|row| row.state == TaskState::Working)
    }

    /// An attempt starts.
    pub(super) fn begin_task(
        &mut self,
        (id, attempts): (TaskId, u32),
        reserved: TokenCharge,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let begins = self.attempt(id, attempts);
        if begins.is_none_or(|row| row.unapproved) {
            changes.result = CommitResult::Stale;
            return;
        }
        self.reserve_tokens(id, reserved);
        self.tasks.change(&id, |row| {
            row.state = TaskState::Working;
            row.attempts += 1;
            row.started_at = Some(at);
            row.progress = None;
            row.note = None;
        });
    }

    /// An attempt failed and will be retried.
    pub(super) fn retry_task(
        &mut self,
        (id, attempts): (TaskId, u32),
        (code, message): &(String, String),
        used: Option<Tokens>,
        due_at: Timestamp,
        changes: &mut Changes,
    ) {
        if self.working(id, attempts).is_none() {
            changes.result = CommitResult::Stale;
            return;
        }
        self.settle_tokens(id, used);
        self.tasks.change(&id, |row| {
            row.state = TaskState::Submitted;
            row.error_code = Some(code.clone());
            row.error = Some(message.clone());
            row.due_at = due_at;
        });
    }

    /// An attempt ended with a question: the task waits for the answer, and its behaviour is told.
    pub(super) fn ask_task(
        &mut self,
        (id, attempts): (TaskId, u32),
        question: &Question,
        used: Option<Tokens>,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(task) = self.working(id, attempts) else {
            changes.result = CommitResult::Stale;
            return;
        };
        self.tasks.change(&id, |row| {
            row.state = TaskState::InputRequired;
            row.question = Some(question.clone());
        });
        self.settle_tokens(id, used);
        let number = task.answers.len() + 1;
        let news = json!({ "news": "input-required", "number": number, "question": question });
        self.supersede_progress(&task);
        self.tell_owner(&task, &news, at, changes);
    }

    /// A behaviour answers a question of its task, which goes on with the answer. An answer to
    /// another question than the one that is asked changes nothing.
    pub(super) fn answer_task(
        &mut self,
        (agent, behaviour, key): (AgentId, &str, &str),
        number: u32,
        answer: &Value,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let key = task::Index::Key(agent, behaviour.to_owned(), key.to_owned());
        let asks = |task: &Arc<Task>| {
            task.state == TaskState::InputRequired
                && u32::try_from(task.answers.len() + 1) == Ok(number)
        };
        let Some(task) = self.tasks.find(&key).filter(asks) else {
            return;
        };
        self.tasks.change(&task.id, |row| {
            row.state = TaskState::Submitted;
            row.answers.push(answer.clone());
            row.question = None;
            row.due_at = at;
        });
        changes.tasks = true;
    }

    /// An attempt ended with the process: the task waits again as before the attempt.
    pub(super) fn interrupt_task(&mut self, id: TaskId, attempts: u32, changes: &mut Changes) {
        if self.working(id, attempts).is_none() {
            changes.result = CommitResult::Stale;
            return;
        }
        self.settle_tokens(id, None);
        self.tasks.change(&id, |row| {
            row.state = TaskState::Submitted;
            row.interrupted += 1;
            row.error_code = Some("interrupted".to_owned());
            row.error = Some("the process that ran it ended".to_owned());
        });
    }

    /// Sends a behaviour an update on its task. What the task itself holds is not repeated.
    fn tell_owner(&mut self, task: &Task, news: &Value, at: Timestamp, changes: &mut Changes) {
        let data = json!({ "task": task.id, "news": news });
        // A task that ends before its start is reported no sooner than it could have started.
        let begins_at = if task.attempts == 0 {
            task.due_at
        } else {
            Timestamp::EPOCH
        };
        let new = New {
            origin: match news["news"].as_str() {
                Some("progress") => task.origin.progress(news, at),
                Some("input-required") => task.origin.question(task.answers.len() + 1),
                _ => task.origin.end(),
            },
            agent: task.agent,
            behaviour: &task.behaviour,
            kind: EventKind::Task,
            name: &task.key,
            data: &data,
            inbox: task.inbox,
            due_at: at.max(begins_at),
            cause: &task.cause,
            anchor: None,
            trail: task.trail,
        };
        self.add_event(new, at);
        changes.due.push(task.agent);
    }

    /// Whether this update already waits for its behaviour.
    fn was_told(&self, task: &Task, news: &Value, at: Timestamp) -> bool {
        self.updates(task)
            .any(|event| event.made_at == at && event.data["news"] == *news)
    }

    /// Deletes a progress update that its behaviour has not received yet: a later update replaces
    /// it.
    fn supersede_progress(&mut self, task: &Task) {
        let progress: Vec<_> = self
            .updates(task)
            .filter(|event| event.data["news"]["news"] == "progress")
            .map(|event| event.id)
            .collect();
        for id in progress {
            self.events.remove(&id);
        }
    }

    /// A task reports its progress.
    pub(super) fn task_progress(
        &mut self,
        (id, attempts): (TaskId, u32),
        (progress, note): (f64, Option<&str>),
        tell: bool,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(task) = self.working(id, attempts) else {
            changes.result = CommitResult::Stale;
            return;
        };
        self.tasks.change(&id, |row| {
            row.progress = Some(progress);
            row.note = note.map(ToOwned::to_owned);
        });
        let news = json!({ "news": "progress", "progress": progress, "note": note });
        if tell && !self.was_told(&task, &news, at) {
            self.supersede_progress(&task);
            self.tell_owner(&task, &news, at, changes);
        }
    }

    /// Makes room for what is kept of an ended task. If there is no room for its result, returns
    /// the failure with which the task ends instead.
    fn room_for_end(&mut self, task: &Task, end: &TaskEnd) -> Option<TaskEnd> {
        let result = match end {
            TaskEnd::Completed(output) => output.text.len(),
            TaskEnd::Failed { message, .. } => message.len(),
            TaskEnd::Canceled => 0,
        };
        let bytes = task.input_bytes().saturating_add(result) as u64;
        let reason = self.make_room(task.agent, Kind::Ended, &task.cause, bytes)?;
        matches!(end, TaskEnd::Completed(_)).then(|| TaskEnd::no_room(&reason))
    }

    /// Ends a task, and tells its behaviour.
    pub(super) fn end_task(
        &mut self,
        (id, attempts): (TaskId, u32),
        (end, used): (&TaskEnd, Option<Tokens>),
        duration_ms: u64,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(task) = self.attempt(id, attempts) else {
            changes.result = CommitResult::Stale;
            return;
        };
        let no_room = self.room_for_end(&task, end);
        let end = no_room.as_ref().unwrap_or(end);
        self.settle_tokens(id, used);
        let mut news = json!({ "duration_ms": duration_ms });
        self.tasks.change(&id, |row| {
            row.ended_at = Some(at);
            row.question = None;
            match end {
                TaskEnd::Completed(output) => {
                    row.state = TaskState::Completed;
                    row.result = Some(output.text.clone());
                    row.media_type.clone_from(&output.media_type);
                    // The code says why a result is incomplete.
                    row.error_code.clone_from(&output.incomplete);
                    row.error = None;
                }
                TaskEnd::Failed {
                    code,
                    message,
                    public,
                } => {
                    news["message"] = public.as_str().into();
                    row.state = TaskState::Failed;
                    row.result = None;
                    row.media_type = None;
                    row.error_code = Some(code.clone());
                    row.error = Some(message.clone());
                }
                TaskEnd::Canceled => {
                    row.state = TaskState::Canceled;
                    row.result = None;
                    row.media_type = None;
                    row.error_code = None;
                    row.error = None;
                }
            }
            news["news"] = row.state.as_str().into();
        });
        self.task_ended(&task, &news, at, changes);
    }

    fn task_ended(&mut self, task: &Task, news: &Value, at: Timestamp, changes: &mut Changes) {
        self.supersede_progress(task);
        self.tell_owner(task, news, at, changes);
        if let Some(inbox) = task.inbox {
            self.release_outcomes(inbox, at);
        }
    }

    /// A behaviour cancels a task. An ended task stays unchanged.
    pub(super) fn cancel_task(
        &mut self,
        agent: AgentId,
        behaviour: &str,
        key: &str,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let key = task::Index::Key(agent, behaviour.to_owned(), key.to_owned());
        let Some(task) = self.tasks.find(&key).filter(|task| task.state.is_open()) else {
            return;
        };
        self.settle_tokens(task.id, None);
        self.tasks.change(&task.id, |row| {
            row.state = TaskState::Canceled;
            row.ended_at = Some(at);
            row.question = None;
            row.error_code = None;
            row.error = None;
        });
        changes.canceled.push(task.id);
        self.task_ended(&task, &json!({ "news": "canceled" }), at, changes);
    }
}
