//! Tasks: attempts that run here, and those that workers elsewhere run.

use agentry_core::commit::TaskEnd;
use agentry_core::rows::TaskState;
use agentry_core::state::row::Task;
use agentry_core::task::Question;
use agentry_core::{Commit, CommitResult, TaskId, TaskOutput, TokenCharge};
use agentry_protocol::Timestamp;
use serde_json::json;

use super::agent::{ANSWER, ATTEMPTS};
use super::{Broken, Checked, Clocks, Host, broken};

impl Host {
    /// Starts or ends one of the tasks. Returns whether there was one.
    pub(crate) fn work(&mut self, which: u8, fails: bool, clocks: Clocks) -> Result<bool, Broken> {
        if !self.acts() {
            return Ok(false);
        }
        let at = self.now(clocks);
        let open: Vec<_> = self
            .state
            .tasks()
            .iter()
            .filter(|task| match task.state {
                TaskState::Submitted => task.due_at <= at && !task.unapproved,
                TaskState::Working => self.running.contains(&task.id),
                TaskState::InputRequired
                | TaskState::Completed
                | TaskState::Failed
                | TaskState::Canceled => false,
            })
            .cloned()
            .collect();
        if open.is_empty() {
            return Ok(false);
        }
        let row = &open[usize::from(which) % open.len()];
        let commit = if row.state == TaskState::Submitted {
            self.running.insert(row.id);
            Commit::TaskBegin {
                task: row.id,
                attempts: row.attempts,
                reserved: TokenCharge::default(),
                at,
            }
        } else {
            self.running.remove(&row.id);
            attempt_ends(row, fails, at)?
        };
        self.commit(commit, clocks)?;
        Ok(true)
    }

    /// An attempt that runs here goes to a worker elsewhere, if there is any. Its begin must be durable.
    pub(crate) fn give_away(&mut self, which: u8) -> Option<(TaskId, u32)> {
        if self.durable < self.log.len() {
            return None;
        }
        let running: Vec<_> = self.running.iter().copied().collect();
        let task = *running.get(usize::from(which) % running.len().max(1))?;
        let attempts = self.state.tasks().get(&task)?.attempts;
        self.running.remove(&task);
        self.away.insert((task, attempts));
        Some((task, attempts))
    }

    /// A worker reports the end of an attempt, perhaps long after that was given up: then it counts only
    /// if no other attempt has begun. Returns whether it ends one that runs, and that was not given away.
    pub(crate) fn attempt_reported(
        &mut self,
        (task, attempts): (TaskId, u32),
        fails: bool,
        clocks: Clocks,
    ) -> Result<bool, Broken> {
        let is_awaited = self.away.remove(&(task, attempts));
        let at = self.now(clocks);
        let Some(row) = self.state.tasks().get(&task) else {
            return Ok(false);
        };
        let reported = Task {
            attempts,
            ..(*row).clone()
        };
        let changes = self.commit(attempt_ends(&reported, fails, at)?, clocks)?;
        let is_running = !is_awaited && row.state == TaskState::Working;
        Ok(is_running && changes.result == CommitResult::Applied)
    }

    /// An attempt elsewhere is given up: its worker is lost.
    pub(crate) fn give_up(&mut self, which: u8, clocks: Clocks) -> Checked {
        let away: Vec<_> = self.away.iter().copied().collect();
        let Some((task, attempts)) = away.get(usize::from(which) % away.len().max(1)) else {
            return Ok(());
        };
        let (task, attempts) = (*task, *attempts);
        self.away.remove(&(task, attempts));
        self.commit(Commit::TaskInterrupt { task, attempts }, clocks)?;
        Ok(())
    }

    /// All workers report at last.
    pub(crate) fn take_back(&mut self) {
        let away = std::mem::take(&mut self.away);
        self.running.extend(away.into_iter().map(|(task, _)| task));
    }
}

/// The end of an attempt at a task.
fn attempt_ends(row: &Task, fails: bool, at: Timestamp) -> Result<Commit, Broken> {
    let (task, attempts) = (row.id, row.attempts);
    // Every other task asks something before it can complete.
    let asks = row.input.as_u64().is_some_and(|number| number % 2 == 1);
    let commit = if fails && row.failed_attempts() < ATTEMPTS {
        Commit::TaskRetry {
            task,
            attempts,
            error: ("failed".to_owned(), "it fails".to_owned()),
            used: None,
            due_at: at.plus_ms(1_000),
        }
    } else if asks && row.answers.is_empty() {
        Commit::TaskAsk {
            task,
            attempts,
            question: Question {
                text: "how?".to_owned(),
                schema: None,
                until: Timestamp::MAX_STATED,
            },
            used: None,
            at,
        }
    } else {
        let answers = if asks { vec![json!(ANSWER)] } else { vec![] };
        if row.answers != answers {
            broken!("a task has the answers {:?}", row.answers);
        }
        Commit::TaskEnd {
            task,
            attempts,
            end: TaskEnd::Completed(TaskOutput::text(row.input.to_string())),
            used: None,
            duration_ms: 1,
            at,
        }
    };
    Ok(commit)
}
