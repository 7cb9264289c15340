//! Which tasks may start, and which have missed their deadline.

use std::ops::Bound;
use std::sync::Arc;

use agentry_protocol::Timestamp;

use super::State;
use super::row::Task;
use super::row::task::{Index, Lane};
use crate::rows::TaskId;

/// The tasks that wait in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingTasks {
    /// The lane.
    pub lane: Lane,
    /// The tasks that may start, first come first.
    pub due: Vec<TaskId>,
    /// When the next of them may start, if no more are due than were requested.
    pub next_at: Option<Timestamp>,
}

/// The deadlines of the waiting tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deadlines {
    /// The tasks whose deadline has passed, or the time for an answer to their question.
    pub missed: Vec<Arc<Task>>,
    /// The next deadline, if no more have passed than were requested.
    pub next: Option<Timestamp>,
}

impl State {
    /// The tasks that wait in every lane at `now`; at most `limit` of each that may start. Costs a
    /// few seeks per lane, however many tasks wait.
    pub fn waiting_tasks(&self, now: Timestamp, limit: usize) -> Vec<WaitingTasks> {
        let mut waiting = Vec::new();
        let mut from = Bound::Unbounded;
        while let Some((Index::Waiting(lane, ..), _)) =
            self.tasks.entries((from, Bound::Unbounded)).next()
        {
            let place = |at, id| Index::Waiting(lane.clone(), at, TaskId(id));
            let (mut due, mut next_at) = (Vec::new(), None);
            let of_lane = place(Timestamp::EPOCH, i64::MIN)..=place(Timestamp::MAX, i64::MAX);
            from = Bound::Excluded(of_lane.end().clone());
            for (entry, id) in self.tasks.entries(of_lane).take(limit) {
                match entry {
                    Index::Waiting(_, at, _) if at > now => {
                        next_at = Some(at);
                        break;
                    }
                    _ => due.push(id),
                }
            }
            waiting.push(WaitingTasks { lane, due, next_at });
        }
        waiting
    }

    /// The deadlines of the waiting tasks at `now`, questions included; at most `limit` that have passed.
    pub fn deadlines(&self, now: Timestamp, limit: usize) -> Deadlines {
        let mut deadlines = Deadlines::default();
        let place = |at, id| Index::Deadline(at, TaskId(id));
        let all = place(Timestamp::EPOCH, i64::MIN)..=place(Timestamp::MAX, i64::MAX);
        for (entry, id) in self.tasks.entries(all).take(limit) {
            match entry {
                Index::Deadline(at, _) if at > now => {
                    deadlines.next = Some(at);
                    break;
                }
                _ => deadlines.missed.extend(self.tasks.get(&id)),
            }
        }
        deadlines
    }

    /// The tasks with a running attempt, including those that were running when the process ended.
    pub fn working_tasks(&self) -> Vec<Arc<Task>> {
        let at = |id| Index::Working(TaskId(id));
        self.tasks.range(at(i64::MIN)..=at(i64::MAX)).collect()
    }
}
