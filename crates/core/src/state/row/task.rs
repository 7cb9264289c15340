//! The tasks of behaviours.

use agentry_protocol::{Address, Timestamp, Trail};
use serde_json::Value;

use crate::cause::Cause;
use crate::origin::Origin;
use crate::rows::{AgentId, InboxId, TaskId, TaskState};
use crate::state::table::Row;
use crate::state::usage::{Kind, Used};
use crate::task::{Question, TokenCharge, Tokens};

/// A task of a behaviour.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id, which is never assigned twice.
    pub id: TaskId,
    /// The agent that runs it.
    pub agent: AgentId,
    /// The behaviour that started it.
    pub behaviour: String,
    /// The key that the behaviour gave it.
    pub key: String,
    /// What started it.
    pub origin: Origin,
    /// Its type.
    pub kind: String,
    /// The input that the behaviour gave it.
    pub input: Value,
    /// The message that started it.
    pub inbox: Option<InboxId>,
    /// The sender of that message.
    pub submitter: Option<Address>,
    /// Its state.
    pub state: TaskState,
    /// How many attempts were started.
    pub attempts: u32,
    /// How many of them ended with the process.
    pub interrupted: u32,
    /// The tokens that they have used, as far as that is known.
    pub tokens: Tokens,
    /// What the running attempt has reserved.
    pub reserved: Option<TokenCharge>,
    /// When it may start.
    pub due_at: Timestamp,
    /// Whether it waits for an operator's approval.
    pub unapproved: bool,
    /// The answers to its questions, in order.
    pub answers: Vec<Value>,
    /// The question that it waits with.
    pub question: Option<Question>,
    /// The time after which its result is of no use.
    pub deadline: Option<Timestamp>,
    /// The progress that it reported, from 0 to 1.
    pub progress: Option<f64>,
    /// The note that it reported with its progress.
    pub note: Option<String>,
    /// Its result.
    pub result: Option<String>,
    /// The media type of the result.
    pub media_type: Option<String>,
    /// Why it failed, or why its result is incomplete: a code for programs.
    pub error_code: Option<String>,
    /// Why it failed: a message for people.
    pub error: Option<String>,
    /// When it was submitted.
    pub made_at: Timestamp,
    /// When the last attempt was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Who caused it.
    pub cause: Cause,
    /// What the messages that follow from it carry on.
    pub trail: Trail,
}

impl Task {
    /// How many attempts have failed: not those that ended with the process, and not those that ended
    /// with a question that was answered.
    pub fn failed_attempts(&self) -> u32 {
        let answered = u32::try_from(self.answers.len()).unwrap_or(u32::MAX);
        self.attempts
            .saturating_sub(self.interrupted)
            .saturating_sub(answered)
    }

    /// The time after which it fails if it has not begun again.
    fn waits_until(&self) -> Option<Timestamp> {
        let asked = self.question.as_ref().map(|question| question.until);
        asked.into_iter().chain(self.deadline).min()
    }

    /// The bytes of its input and of what it was answered.
    pub(crate) fn input_bytes(&self) -> usize {
        let answers = self.answers.iter().map(|answer| answer.to_string().len());
        self.input.to_string().len() + answers.sum::<usize>()
    }

    /// The lane in which it waits.
    pub fn lane(&self) -> Lane {
        Lane {
            agent: self.agent,
            behaviour: self.behaviour.clone(),
            kind: self.kind.clone(),
            cause: self.cause.clone(),
        }
    }
}

/// A lane of tasks that takes turns with other lanes: the tasks of one type, of one behaviour of
/// one agent, with the same cause. All lanes of a type share a limit on how many tasks run at the
/// same time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The agent that runs them.
    pub agent: AgentId,
    /// The behaviour that started them.
    pub behaviour: String,
    /// Their type.
    pub kind: String,
    /// Who caused them.
    pub cause: Cause,
}

impl Lane {
    /// Whether another lane is of the same type.
    pub fn is_of_type(&self, other: &Self) -> bool {
        (self.agent, &self.behaviour, &self.kind) == (other.agent, &other.behaviour, &other.kind)
    }
}

/// How a task is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// Waiting for its turn, by its lane and the time at which it may start.
    Waiting(Lane, Timestamp, TaskId),
    /// Waiting, by its deadline.
    Deadline(Timestamp, TaskId),
    /// With a running attempt.
    Working(TaskId),
    /// By the key that its behaviour gave it.
    Key(AgentId, String, String),
    /// By the message that started it.
    Inbox(InboxId, TaskId),
    /// Ended at this time.
    Ended(Timestamp, TaskId),
    /// Ended, by the words of the cause and time.
    Prunable(AgentId, &'static str, String, Timestamp, TaskId),
    /// Open, by its key, whatever behaviour gave it.
    Open(AgentId, String, TaskId),
}

impl Index {
    /// The ends of what may be pruned of a cause.
    pub(crate) fn prunable(agent: AgentId, cause: &Cause) -> (Self, Self) {
        let at = |time, id| {
            let (standing, sender) = cause.words();
            Self::Prunable(agent, standing, sender.to_owned(), time, TaskId(id))
        };
        (at(Timestamp::EPOCH, i64::MIN), at(Timestamp::MAX, i64::MAX))
    }
}

impl Row for Task {
    type Key = TaskId;
    type Index = Index;

    fn key(&self) -> TaskId {
        self.id
    }

    fn is_open(entry: &Index) -> bool {
        matches!(
            entry,
            Index::Waiting(..) | Index::Deadline(..) | Index::Working(..) | Index::Open(..)
        )
    }

    fn indexes(&self) -> Vec<Index> {
        let (behaviour, key) = (self.behaviour.clone(), self.key.clone());
        let mut entries = vec![Index::Key(self.agent, behaviour, key)];
        match self.state {
            TaskState::Submitted => {
                if !self.unapproved {
                    entries.push(Index::Waiting(self.lane(), self.due_at, self.id));
                }
                entries.extend(self.waits_until().map(|at| Index::Deadline(at, self.id)));
            }
            TaskState::InputRequired => {
                entries.extend(self.waits_until().map(|at| Index::Deadline(at, self.id)));
            }
            TaskState::Working => entries.push(Index::Working(self.id)),
            TaskState::Completed | TaskState::Failed | TaskState::Canceled => {}
        }
        if let Some(inbox) = self.inbox {
            entries.push(Index::Inbox(inbox, self.id));
        }
        if let Some(at) = self.ended_at {
            let (standing, sender) = self.cause.words();
            let sender = sender.to_owned();
            entries.push(Index::Ended(at, self.id));
            entries.push(Index::Prunable(self.agent, standing, sender, at, self.id));
        } else {
            entries.push(Index::Open(self.agent, self.key.clone(), self.id));
        }
        entries
    }

    fn uses(&self) -> Vec<Used> {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let input = self.input_bytes();
        let (kind, bytes) = match self.ended_at {
            None => (Kind::Task, input),
            Some(_) => (
                Kind::Ended,
                input + length(&self.result) + length(&self.error),
            ),
        };
        vec![Used {
            agent: self.agent,
            kind,
            cause: self.cause.clone(),
            bytes: bytes as u64,
        }]
    }

    fn bytes(&self) -> usize {
        let result = self.result.as_ref().map_or(0, String::len);
        self.input_bytes() + result
    }
}
