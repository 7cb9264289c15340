//! How effects are stored, and how events are read from what is stored. For runtimes: a behaviour
//! needs none of this.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::commit::{Outcome, TimerSetting};
use agentry_core::delivery::DeliveryData;
use agentry_core::rows::{EventKind, ReceiptRequest};
use agentry_core::state::due::DueEvent;
use agentry_core::state::plans::TickData;
use agentry_core::state::row;
use agentry_core::task::{MAX_QUESTIONS, Question};
use agentry_protocol::command::{QUESTION_MAX, Schema};
use agentry_protocol::timestamp::millis;
use agentry_protocol::{Address, Header, Json, Limits, Payload, Timestamp, Trail};
use serde::Deserialize;
use serde_json::Value;

use crate::task::{Ask, TASK_FAILED};
use crate::{
    Addressed, Effect, Effects, Event, Message, Outgoing, Settlement, Start, Task, TaskError,
    TaskNews, TaskOutput, TaskReport, Tick, Timer,
};

/// The least time until a timer fires, or a task begins, that was set or started by a timer or by
/// news of a task. These are not requested one by one: without a pause they could loop without end.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The least delay of a timer or a task that is set or started because of an event of this kind;
/// `None` is a message.
pub const fn least_pause(kind: Option<EventKind>) -> Duration {
    match kind {
        Some(EventKind::Timer | EventKind::Task) => LEAST_PAUSE,
        Some(
            EventKind::Delivery
            | EventKind::Settled
            | EventKind::Renewal
            | EventKind::Start
            | EventKind::Tick,
        )
        | None => Duration::ZERO,
    }
}

/// What the messages of a run carry on, for an event other than a message and for the message that an
/// event is about.
pub fn trail(event: Option<&row::Event>, message: Option<&Message>) -> Trail {
    match (event, message) {
        (Some(event), _) if event.kind != EventKind::Settled => event.trail,
        (_, message) => message
            .map(|message| message.trail().next())
            .unwrap_or_default(),
    }
}

/// Why an agent does not act on a message that follows from too many others, if so.
pub fn stops(trail: Trail, max_hops: u32) -> Option<String> {
    let hops = trail.hops;
    (hops >= max_hops).then(|| {
        format!("it follows from {hops} messages, one after the other: max_hops is {max_hops}")
    })
}

/// The longest that a task waits for the answer to a question.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Ask {
    /// The question of a task, as it is stored.
    ///
    /// # Errors
    /// It exceeds a limit: the task fails.
    pub fn of_task(self, row: &row::Task, now: Timestamp) -> Result<Question, TaskError> {
        let refused = |reason| TaskError::permanent("bad-question", reason);
        self.checked(row, now).map_err(refused)
    }

    fn checked(self, row: &row::Task, now: Timestamp) -> Result<Question, String> {
        if row.answers.len() >= MAX_QUESTIONS {
            return Err(format!("it asks more than {MAX_QUESTIONS} questions"));
        }
        let Self {
            question,
            schema,
            within,
        } = self;
        if question.is_empty() || question.len() > QUESTION_MAX {
            let bytes = question.len();
            return Err(format!(
                "its question has {bytes} bytes; it must have 1 to {QUESTION_MAX}"
            ));
        }
        if let Some(schema) = &schema {
            let json = Json::parse(schema.to_string().as_bytes(), Limits::NONE);
            let json = json.map_err(|error| error.to_string());
            let checked =
                json.and_then(|json| Schema::new(json).map_err(|fault| fault.to_string()));
            checked.map_err(|reason| format!("the schema of its question is refused: {reason}"))?;
        }
        let until = now.plus(within.min(LONGEST_WAIT));
        Ok(Question {
            text: question,
            schema,
            until: row.deadline.map_or(until, |deadline| deadline.min(until)),
        })
    }
}

/// The end of a task that waited with a question, or whose deadline passed, until now.
pub fn missed(row: &row::Task, now: Timestamp) -> TaskError {
    let is_late = row.deadline.is_some_and(|deadline| deadline <= now);
    match &row.question {
        Some(_) if !is_late => {
            let reason = "its question was not answered in time";
            TaskError::permanent("input-timeout", reason).with_public(reason)
        }
        _ => missed_deadline(),
    }
}

/// The end of a task whose deadline passed before it was done.
pub fn missed_deadline() -> TaskError {
    let reason = "its deadline passed before it was done";
    TaskError::permanent("deadline", reason).with_public(reason)
}

/// A message that a run sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Sending {
    /// The position of its effect, from 0.
    pub index: usize,
    /// Its recipient; `None`: it answers the message that the event is about.
    pub to: Option<Address>,
    /// The message.
    pub outgoing: Outgoing,
}

impl Effects {
    /// Adds the effects of a run to its outcome, and returns the messages, which are still to be
    /// composed. Timers and tasks wait at least `pause`.
    pub fn record(self, outcome: &mut Outcome, pause: Duration) -> Vec<Sending> {
        let now = outcome.at;
        outcome.tasks_from = now.plus(pause);
        let mut sends = Vec::new();
        for (index, effect) in self.into_iter().enumerate() {
            match effect {
                Effect::Reply(outgoing) => sends.push(Sending {
                    index,
                    to: None,
                    outgoing,
                }),
                Effect::Send(Addressed { to, outgoing }) => sends.push(Sending {
                    index,
                    to: Some(to),
                    outgoing,
                }),
                Effect::SetState { key, value } => outcome.state.push((key, Some(value))),
                Effect::ClearState { key } => outcome.state.push((key, None)),
                Effect::Schedule { name, after, data } => {
                    let due_at = now.plus(after.max(pause));
                    let setting = TimerSetting { due_at, data };
                    outcome.timers.push((name, Some(setting)));
                }
                Effect::Unschedule { name } => outcome.timers.push((name, None)),
                Effect::StartTask(task) => outcome.tasks.push(task),
                Effect::CancelTask { key } => outcome.cancels.push(key),
                Effect::AnswerTask {
                    key,
                    number,
                    answer,
                } => outcome.answers.push((key, number, answer)),
                Effect::Reject { reason } => outcome.rejected = Some(reason),
            }
        }
        sends
    }
}

impl Event {
    /// An event other than a message, as its behaviour in `agent` sees it; `None` if what it is about
    /// was pruned, and for a renewal. `message` is the message that it is about. A tick stands for
    /// none that was missed.
    pub fn of(due: &DueEvent, message: Option<&Arc<Message>>, agent: &str) -> Option<Self> {
        let row = &due.row;
        Some(match row.kind {
            EventKind::Timer => Self::Timer(Timer {
                name: row.name.clone(),
                data: row.data.clone(),
                due_at: row.due_at,
            }),
            EventKind::Delivery => {
                let update = DeliveryData::read(&row.data)?.update;
                Self::DeliveryUpdate(due.sent.clone()?, update)
            }
            EventKind::Settled => {
                let settlement = Settlement::deserialize(&row.data).ok()?;
                Self::Settled(Arc::clone(message?), settlement)
            }
            EventKind::Task => {
                let task = due.task.as_ref()?;
                Self::Task(TaskReport {
                    task: Task::of(task, agent),
                    news: TaskNews::of(task, row.data.get("news")?)?,
                })
            }
            EventKind::Start => Self::Start(Start {
                is_first: row.data.get("first")?.as_bool()?,
            }),
            EventKind::Tick => Self::Tick(Tick {
                name: row.name.clone(),
                at: TickData::read(&row.data)?.at,
                missed: 0,
            }),
            EventKind::Renewal => return None,
        })
    }
}

impl Outgoing {
    /// When it expires if it is sent now.
    pub fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.expires_in.map(|after| now.plus(after))
    }

    /// Its header, without an id and a key; `trail` is that of the run ([`trail`]). `None` for a text that asks for nothing and answers a
    /// text without a header, or answers nothing and is `plain`: every client can read it.
    pub fn header(
        &self,
        question: Option<&Message>,
        trail: Trail,
        sealed: bool,
        plain: bool,
        now: Timestamp,
    ) -> Option<Header> {
        let asks = self.thread.is_some()
            || self.expires_in.is_some()
            || self.acknowledge.is_some()
            || self.label.is_some()
            || self.re.is_some();
        let is_among_plain = question.map_or(plain, |question| {
            question.text().is_some() && question.header.is_none()
        });
        if is_among_plain && matches!(self.payload, Payload::Text(_)) && !asks && !sealed {
            return None;
        }
        let thread = || question?.header.as_ref()?.thread.clone();
        Some(Header {
            re: question.map(|question| question.transaction).or(self.re),
            thread: self.thread.clone().or_else(thread),
            exp: self.expires_at(now),
            ack: self.acknowledge.map(|acknowledge| acknowledge.request),
            trail,
            ..Header::default()
        })
    }

    /// The request for delivery updates: set for a message that asks for an acknowledgment or has
    /// a label, and for one that a behaviour sends on its own initiative.
    pub fn receipt(&self, behaviour: Option<&str>, is_answer: bool) -> Option<ReceiptRequest> {
        let acknowledge = self.acknowledge;
        let asks = acknowledge.is_some() || self.label.is_some();
        if !asks && (is_answer || behaviour.is_none()) {
            return None;
        }
        Some(ReceiptRequest {
            behaviour: behaviour.map(ToOwned::to_owned),
            label: self.label.clone(),
            wanted: acknowledge.map(|acknowledge| acknowledge.request.to_string()),
            within_ms: acknowledge.map_or(0, |acknowledge| millis(acknowledge.within)),
            resends: acknowledge.map_or(0, |acknowledge| acknowledge.resends),
        })
    }
}

impl Task {
    /// A task as its behaviour sees it, from its row and the name of its agent.
    pub fn of(row: &row::Task, agent: &str) -> Self {
        Self {
            key: row.key.clone(),
            kind: row.kind.clone(),
            input: row.input.clone(),
            deadline: row.deadline,
            agent: agent.to_owned(),
            submitter: row.submitter.clone(),
            attempt: row.attempts,
            answers: row.answers.clone(),
            idempotency_key: row.origin.digits().to_owned(),
            tokens: row.tokens,
        }
    }
}

impl TaskNews {
    /// The news of a task, from what its event holds and from the task's own row; `None` if the row
    /// does not have it.
    pub fn of(task: &row::Task, news: &Value) -> Option<Self> {
        let text = |key| news.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let duration_ms = news.get("duration_ms").and_then(Value::as_u64).unwrap_or(0);
        Some(match news.get("news")?.as_str()? {
            "progress" => Self::Progress {
                progress: news.get("progress")?.as_f64()?,
                note: text("note"),
            },
            "completed" => Self::Completed {
                output: TaskOutput {
                    text: task.result.clone()?,
                    media_type: task.media_type.clone(),
                    incomplete: task.error_code.clone(),
                },
                duration_ms,
            },
            "failed" => Self::Failed {
                code: task.error_code.clone()?,
                // The row's text is for the operator only.
                message: text("message").unwrap_or_else(|| TASK_FAILED.to_owned()),
            },
            "canceled" => Self::Canceled,
            "input-required" => {
                let number = news.get("number")?.as_u64()?;
                // One that was answered meanwhile is not told.
                let question = task.question.as_ref()?;
                let is_asked = u64::try_from(task.answers.len() + 1) == Ok(number);
                Self::InputRequired {
                    number: u32::try_from(number).ok().filter(|_| is_asked)?,
                    question: question.text.clone(),
                    schema: question.schema.clone(),
                    until: question.until,
                }
            }
            _ => return None,
        })
    }
}
