//! The course of a job: from the message to the agent until its result.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_sdk::task::{Ask, MAX_QUESTIONS};
use agentry_sdk::{Desk, Task, TaskOutput};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use serde_json::Value;
use tokio::time::Instant;

use super::exchange::{Connection, Operation};
use super::failure::Failure;
use super::result::{Artifacts, output};
use super::settings::Limits;
use super::wire::{self, Event, Message, Part, Place, RemoteTask, State, Status};

/// The pauses before an agent is asked again that could not be reached.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(Duration::from_secs(15))
    .with_jitter()
    .without_max_times();

/// How long the agent may take to take note of a cancellation.
const CANCEL: Duration = Duration::from_secs(10);

/// The longest question that a job can ask, in bytes.
const QUESTION: usize = 4 << 10;

/// The longest note on the progress, in characters.
const NOTE: usize = 500;

/// What is to be done next.
enum Step {
    /// The job is done.
    Done(TaskOutput),
    /// The agent asks something.
    Ask(String),
    /// The agent is at work, and is asked how far it is.
    Follow,
}

/// The agent's task, which is canceled when the job is over before it.
struct Held {
    connection: Connection,
    desk: Desk,
    place: Mutex<Option<Place>>,
}

/// The course of one attempt.
pub(super) struct Course<'a> {
    task: &'a Task,
    desk: &'a Desk,
    limits: Limits,
    held: Arc<Held>,
    artifacts: Artifacts,
    /// How many of the agent's questions were answered.
    answered: usize,
    /// The status with the last question that was answered: the agent may still show it.
    last_asked: Option<String>,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        connection: Connection,
        limits: Limits,
        task: &'a Task,
        desk: &'a Desk,
    ) -> Self {
        Self {
            task,
            desk,
            limits,
            held: Arc::new(Held {
                connection,
                desk: desk.clone(),
                place: Mutex::new(None),
            }),
            artifacts: Artifacts::new(limits.response_bytes),
            answered: 0,
            last_asked: None,
        }
    }

    /// Has the job done.
    pub(super) async fn run(mut self) -> Result<TaskOutput, Failure> {
        let done = self.go().await;
        let is_left = match &done {
            Ok(_) => false,
            // The next attempt goes on with the agent's task.
            Err(failure) => !failure.is_transient() && !failure.is_of_ended_task(),
        };
        let place = self.held.take();
        if let Some(place) = place.filter(|_| is_left) {
            self.held.cancel(&place).await;
        }
        done
    }

    async fn go(&mut self) -> Result<TaskOutput, Failure> {
        let mut step = if self.find().await? {
            Step::Follow
        } else {
            let parts = first_parts(self.task)?;
            self.send(&self.task.idempotency_key, &parts).await?
        };
        loop {
            step = match step {
                Step::Done(output) => return Ok(output),
                Step::Ask(question) => self.answer(question).await?,
                Step::Follow => self.follow().await?,
            };
        }
    }

    /// Looks for the task that an earlier attempt has begun. Whether there is one.
    async fn find(&mut self) -> Result<bool, Failure> {
        if self.task.attempt <= 1 && self.task.answers.is_empty() {
            return Ok(false);
        }
        let key = &self.task.idempotency_key;
        let found = match self.held.connection.list(key).await {
            Ok(found) => found,
            Err(failure) if failure.is_transient() => return Err(failure),
            // An agent that cannot list its tasks may know the message.
            Err(_) => return Ok(false),
        };
        let of_job = |task: &&RemoteTask| task.context_id == *key;
        let Some(task) = found.iter().find(of_job) else {
            return Ok(false);
        };
        self.at(&task.id, &task.context_id)?;
        // The attempt before this one ended with a question, unless the history knows better.
        let asked = self.task.answers.len();
        let sent = |number: &usize| {
            let id = answer_id(key, *number);
            task.history.iter().any(|message| message.message_id == id)
        };
        self.answered = match task.history.is_empty() {
            true => asked.saturating_sub(1),
            false => (1..=asked).rev().find(sent).unwrap_or(0),
        };
        for _ in 0..self.answered {
            // The answer is known, so this returns it at once.
            self.desk.ask(Ask::new("?")).await;
        }
        Ok(true)
    }

    /// Asks the job's sender, and sends the answer.
    async fn answer(&mut self, question: String) -> Result<Step, Failure> {
        if self.answered >= MAX_QUESTIONS {
            return Err(Failure::Refused(format!(
                "it has more than {MAX_QUESTIONS} questions"
            )));
        }
        let answer = self.desk.ask(Ask::new(question)).await;
        self.answered += 1;
        if self.answered < self.task.answers.len() {
            // An agent that knows this answer already shows the question after it.
            self.last_asked = None;
        }
        let id = answer_id(&self.task.idempotency_key, self.answered);
        self.send(&id, &[wire::part(&answer)]).await
    }

    async fn send(&mut self, id: &str, parts: &[Value]) -> Result<Step, Failure> {
        let place = self.held.place();
        let context = match &place {
            Some(place) if !place.context.is_empty() => &place.context,
            _ => &self.task.idempotency_key,
        };
        let task = place.as_ref().map(|place| place.task.as_str());
        let message = wire::message(id, parts, context, task);
        let held = Arc::clone(&self.held);
        if !held.connection.streams() {
            let event = held.connection.send(&message).await?;
            return Ok(self.take(event)?.unwrap_or(Step::Follow));
        }
        let sent = self.listen(Operation::Send(&message, true)).await;
        self.or_follow(sent)
    }

    /// Reads a stream until it decides something or ends.
    async fn listen(&mut self, operation: Operation<'_>) -> Result<Option<Step>, Failure> {
        let held = Arc::clone(&self.held);
        let mut events = held.connection.stream(operation).await?;
        while let Some(event) = events.next().await? {
            if let Some(step) = self.take(event)? {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    /// What follows from a stream that has ended: if the agent's task is known, it is asked for.
    fn or_follow(&self, listened: Result<Option<Step>, Failure>) -> Result<Step, Failure> {
        match listened {
            Ok(Some(step)) => Ok(step),
            Err(failure) if !failure.is_transient() => Err(failure),
            _ if self.held.place().is_some() => Ok(Step::Follow),
            Ok(None) => Err(Failure::Interrupted("the stream ended early".to_owned())),
            Err(failure) => Err(failure),
        }
    }

    /// Asks the agent how far its task is until that decides something.
    async fn follow(&mut self) -> Result<Step, Failure> {
        let mut failing_since = None;
        let mut pauses = PAUSES.build();
        loop {
            let pause = match self.look().await {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => {
                    failing_since = None;
                    pauses = PAUSES.build();
                    self.limits.poll
                }
                Err(failure @ Failure::Lost(_)) => return Err(failure),
                Err(failure) if !failure.is_transient() => return Err(failure),
                Err(failure) => {
                    let now = Instant::now();
                    let since = *failing_since.get_or_insert(now);
                    let pause = pauses.next().unwrap_or(self.limits.poll);
                    if now + pause > since + self.limits.idle {
                        return Err(failure);
                    }
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks for the task once, and listens if that decides nothing and the agent streams.
    async fn look(&mut self) -> Result<Option<Step>, Failure> {
        let Some(place) = self.held.place() else {
            return Err(Failure::BadAnswer(
                "there is neither a message nor a task".to_owned(),
            ));
        };
        let held = Arc::clone(&self.held);
        let task = held.connection.get(&place.task).await?;
        if let Some(step) = self.take_task(task)? {
            return Ok(Some(step));
        }
        if !held.connection.streams() {
            return Ok(None);
        }
        match self.listen(Operation::Subscribe(&place.task)).await {
            // The task may have ended meanwhile, or the agent does not let anyone subscribe.
            Err(Failure::Refused(_)) | Ok(None) => Ok(None),
            other => other,
        }
    }

    /// Takes what the agent says. What is to be done, if that is decided.
    fn take(&mut self, event: Event) -> Result<Option<Step>, Failure> {
        if let Some(task) = event.task {
            return self.take_task(task);
        }
        if let Some(update) = event.status_update {
            self.at(&update.task_id, &update.context_id)?;
            return self.take_status(update.status);
        }
        if let Some(update) = event.artifact_update {
            self.at(&update.task_id, &update.context_id)?;
            self.artifacts.take(update.artifact, update.append)?;
            let note = format!("{} bytes", self.artifacts.bytes());
            self.desk.progress(0.0, Some(note));
            return Ok(None);
        }
        match event.message {
            // The agent answers without a task.
            Some(message) => Ok(Some(Step::Done(self.said(message)?))),
            None => Ok(None),
        }
    }

    fn take_task(&mut self, task: RemoteTask) -> Result<Option<Step>, Failure> {
        self.at(&task.id, &task.context_id)?;
        if !task.artifacts.is_empty() {
            self.artifacts.replace(task.artifacts)?;
        }
        self.take_status(task.status)
    }

    fn take_status(&mut self, status: Status) -> Result<Option<Step>, Failure> {
        let identity = status.identity();
        let text = status.message.as_ref().map(Message::text);
        let text = text.unwrap_or_default();
        Ok(Some(match status.state {
            State::Unknown | State::Submitted | State::Working => {
                let note = match (text.is_empty(), status.state) {
                    (false, _) => text.chars().take(NOTE).collect(),
                    (true, State::Submitted) => "submitted".to_owned(),
                    (true, _) => "working".to_owned(),
                };
                self.desk.progress(0.0, Some(note));
                return Ok(None);
            }
            State::InputRequired if identity.is_some() && identity == self.last_asked => {
                return Ok(None);
            }
            State::InputRequired => {
                self.last_asked = identity;
                let question = text.get(..text.floor_char_boundary(QUESTION));
                let question = question.unwrap_or_default().trim();
                Step::Ask(match question {
                    "" => "The agent that does the job needs more input.".to_owned(),
                    question => question.to_owned(),
                })
            }
            State::Completed => {
                let limit = self.limits.response_bytes;
                let artifacts = std::mem::replace(&mut self.artifacts, Artifacts::new(limit));
                let output = match artifacts.output()? {
                    Some(output) => output,
                    None => self.said(status.message.unwrap_or_default())?,
                };
                Step::Done(output)
            }
            State::Failed => return Err(self.held.connection.shown(Failure::Failed(text))),
            State::Rejected => return Err(self.held.connection.shown(Failure::Rejected(text))),
            State::Canceled => return Err(self.held.connection.shown(Failure::Canceled(text))),
            State::AuthRequired => {
                return Err(self.held.connection.shown(Failure::AuthRequired(text)));
            }
        }))
    }

    /// The result that a message is.
    fn said(&self, message: Message) -> Result<TaskOutput, Failure> {
        let parts: Vec<Part> = message.parts;
        output(&[parts], self.limits.response_bytes)?.ok_or(Failure::Empty)
    }

    /// Remembers the agent's task, which is the same for all that the agent says about the job.
    fn at(&self, task: &str, context: &str) -> Result<(), Failure> {
        let Some(place) = Place::new(task, context) else {
            return Err(Failure::BadAnswer("the task has no usable id".to_owned()));
        };
        let mut known = self.held.lock();
        match &*known {
            Some(known) if known.task != place.task => Err(Failure::BadAnswer(
                "the agent speaks of another task".to_owned(),
            )),
            Some(_) => Ok(()),
            None => {
                *known = Some(place);
                Ok(())
            }
        }
    }
}

impl Held {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> Option<Place> {
        self.lock().clone()
    }

    fn take(&self) -> Option<Place> {
        self.lock().take()
    }

    async fn cancel(&self, place: &Place) {
        cancel(&self.connection, place).await;
    }
}

/// Cancels the agent's task if the job is over while the agent is at work.
impl Drop for Held {
    fn drop(&mut self) {
        let Some(place) = self.take().filter(|_| self.desk.is_over()) else {
            return;
        };
        let connection = self.connection.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { cancel(&connection, &place).await });
        }
    }
}

async fn cancel(connection: &Connection, place: &Place) {
    let canceled = tokio::time::timeout(CANCEL, connection.cancel(&place.task)).await;
    if let Ok(Err(failure)) = canceled {
        tracing::debug!("the agent's task could not be canceled: {failure}");
    }
}

impl Status {
    /// What tells this status from an earlier one; none, if the agent does not say.
    fn identity(&self) -> Option<String> {
        let message = self.message.as_ref().map(|said| said.message_id.as_str());
        let message = message.unwrap_or_default();
        (!message.is_empty() || !self.timestamp.is_empty())
            .then(|| format!("{message} {}", self.timestamp))
    }
}

/// The id of the message with an answer.
fn answer_id(key: &str, number: usize) -> String {
    format!("{key}-{number}")
}

/// The parts of the first message.
fn first_parts(task: &Task) -> Result<Vec<Value>, Failure> {
    let field = |name| task.input.get(name).filter(|value| !value.is_null());
    if field("model").is_some() {
        let reason = "a job of this type has no model".to_owned();
        return Err(Failure::BadRequest(reason));
    }
    let parts = [field("prompt"), field("params")];
    let parts: Vec<Value> = parts.into_iter().flatten().map(wire::part).collect();
    if parts.is_empty() {
        let reason = "a job of this type needs a prompt or params".to_owned();
        return Err(Failure::BadRequest(reason));
    }
    Ok(parts)
}
