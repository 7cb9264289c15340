//! The operations, whatever the binding.

use a2a::{
    A2AError, CancelTaskRequest, GetTaskRequest, ListTasksRequest, ListTasksResponse, Message,
    Part, PartContent, Role, SendMessageRequest, SendMessageResponse, Task, TaskState, error_code,
};
use serde_json::{Map, Value};

use super::super::door::LONGEST_WAIT;
use super::super::door::send::{AckKind, AckWanted, SendMessage, Until, WaitForReply};
use super::super::door::tasks::{AnswerTask, CancelTask, GetTask, ListTasks, SubmitTask};
use super::super::error::ErrorCode;
use super::push::{self, Receiver};
use super::task::{id_of, id_of_message, of_answer, of_job, of_message, state};
use super::{CallError, Session};
use crate::ops::tasks::job::Job;
use crate::ops::tasks::offer::Offer;

/// The metadata of a message that names the type of a job, where an agent does several.
pub const TYPE: &str = "agentry/type";

/// How long a cancellation is waited for.
const CANCELING: std::time::Duration = std::time::Duration::from_secs(20);

/// How many tasks are looked at for one page.
const LOOKED_AT: usize = 1_000;

/// The entries of a page, if the client does not say.
const USUAL_PAGE: i32 = 50;

/// The most entries of a page.
const LARGEST_PAGE: i32 = 100;

/// What a message has begun, or goes on with.
#[derive(Clone, Debug)]
pub enum Begun {
    /// A job, by the id of its task.
    Job(String),
    /// A message that waits for an answer.
    Talk {
        /// The id of its task.
        id: String,
        /// Its conversation.
        context: Option<String>,
    },
}

/// Sends a message, and waits for its outcome unless the client does not want that.
///
/// # Errors
/// [`CallError`].
pub async fn send_message(
    session: &Session,
    request: SendMessageRequest,
) -> Result<SendMessageResponse, CallError> {
    let configuration = request.configuration.as_ref();
    let history = configuration.and_then(|one| one.history_length) != Some(0);
    let at_once = configuration.and_then(|one| one.return_immediately);
    let wait = if at_once.unwrap_or(false) {
        0
    } else {
        longest_ms()
    };
    match begin(session, &request).await? {
        Begun::Job(id) => {
            let job = job(session, &id, wait).await?;
            Ok(SendMessageResponse::Task(of_job(&job, history)))
        }
        Begun::Talk { id, context } => {
            let sent = session.door.wait_for_reply(reply(&id, wait)).await?;
            let context = context.as_deref();
            Ok(match &sent.answer {
                Some(answer) => {
                    SendMessageResponse::Message(of_answer(answer, &id, context.unwrap_or(&id)))
                }
                None => SendMessageResponse::Task(of_message(&sent, &id, context)),
            })
        }
    }
}

fn longest_ms() -> u64 {
    u64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(u64::MAX)
}

fn reply(id: &str, timeout_ms: u64) -> WaitForReply {
    WaitForReply {
        id: id.to_owned(),
        agent: None,
        until: Until::Answered,
        timeout_ms: Some(timeout_ms),
    }
}

/// Sends a message: a job, the answer to a question of one, or a text. Its task is told to the receiver
/// that the client names, if it does.
///
/// # Errors
/// [`CallError`].
pub async fn begin(session: &Session, request: &SendMessageRequest) -> Result<Begun, CallError> {
    let configuration = request.configuration.as_ref();
    let receiver = configuration.and_then(|one| one.task_push_notification_config.as_ref());
    // Nothing is sent if the receiver is not as it must be.
    let receiver = receiver.map(|given| Receiver::of(session, given));
    let receiver = receiver.transpose()?;
    let begun = send(session, request).await?;
    if let Some(receiver) = receiver {
        let (Begun::Job(id) | Begun::Talk { id, .. }) = &begun;
        push::add(session, id, receiver).await?;
    }
    Ok(begun)
}

async fn send(session: &Session, request: &SendMessageRequest) -> Result<Begun, CallError> {
    let message = &request.message;
    if message.role == Role::Agent {
        return Err(
            A2AError::invalid_params("the role of a message to an agent is ROLE_USER").into(),
        );
    }
    let (id, most) = (&message.message_id, 150);
    if id.is_empty() || id.len() > most {
        let text = format!("`messageId` has 1 to {most} bytes");
        return Err(A2AError::invalid_params(text).into());
    }
    let content = Content::of(message)?;
    if let Some(task) = message.task_id.as_ref().filter(|task| !task.is_empty()) {
        return go_on(session, task, message, content).await;
    }
    let key = Some(format!("a2a/{id}"));
    let thread = message.context_id.clone().filter(|id| !id.is_empty());
    let to = session.target.address.to_string();
    let does_jobs = session.target.offer.as_ref().is_some_and(Offer::does_jobs);
    if does_jobs || !session.target.types().is_empty() {
        let job = SubmitTask {
            from: session.from.clone(),
            to,
            kind: kind(session, request)?,
            prompt: content.text,
            model: None,
            params: content.data,
            thread,
            useful_for_ms: None,
            ack: None,
            seal: session.seal,
            anyway: false,
            key,
        };
        let job = session.door.submit_task(job).await?;
        return Ok(Begun::Job(id_of(&job)));
    }
    if content.data.is_some() {
        return Err(A2AError::content_type_not_supported().into());
    }
    let sent = session.door.send_message(SendMessage {
        from: session.from.clone(),
        to,
        text: content.text,
        thread: thread.clone(),
        // It gives the message a header, and with it an id.
        ack: Some(AckWanted {
            what: AckKind::Done,
            within_ms: None,
            resends: None,
        }),
        seal: session.seal,
        key,
        ..SendMessage::default()
    });
    let sent = sent.await?;
    Ok(Begun::Talk {
        id: id_of_message(&sent),
        context: thread,
    })
}

/// The message belongs to a task: it answers its question.
async fn go_on(
    session: &Session,
    task: &str,
    message: &Message,
    content: Content,
) -> Result<Begun, CallError> {
    let job = job(session, task, 0).await?;
    let context = job.thread.clone().unwrap_or_else(|| id_of(&job));
    if message
        .context_id
        .as_ref()
        .is_some_and(|given| *given != context)
    {
        let text = format!("the task {task} does not belong to this context");
        return Err(A2AError::invalid_params(text).into());
    }
    if state(&job) != TaskState::InputRequired {
        let text = format!("the task {task} waits for no input");
        return Err(A2AError::unsupported_operation(text).into());
    }
    let answer = match (content.text, content.data) {
        (None, Some(data)) => Value::Object(data),
        (text, _) => Value::String(text.unwrap_or_default()),
    };
    let (id, agent) = (job.id.clone(), None);
    let answer = AnswerTask { id, agent, answer };
    session.door.answer_task(answer).await?;
    Ok(Begun::Job(id_of(&job)))
}

/// The type of the job that a message asks for.
fn kind(session: &Session, request: &SendMessageRequest) -> Result<String, A2AError> {
    let named = [&request.message.metadata, &request.metadata];
    let named = named.into_iter().flatten().find_map(|all| all.get(TYPE));
    let types = session.target.types();
    match (named.and_then(Value::as_str), types.as_slice()) {
        (Some(named), _) => Ok(named.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(A2AError::invalid_params(format!(
            "the agent does jobs of several types: say which in the metadata of the message, as \
             {TYPE:?}; it does: {}",
            types.join(", ")
        ))),
    }
}

/// The content of a message.
struct Content {
    text: Option<String>,
    data: Option<Map<String, Value>>,
}

impl Content {
    fn of(message: &Message) -> Result<Self, A2AError> {
        let (mut texts, mut data) = (Vec::new(), None);
        for Part { content, .. } in &message.parts {
            match content {
                PartContent::Text(text) => texts.push(text.as_str()),
                PartContent::Data(Value::Object(object)) if data.is_none() => {
                    data = Some(object.clone());
                }
                PartContent::Data(_) | PartContent::Raw(_) | PartContent::Url(_) => {
                    return Err(A2AError::new(
                        error_code::CONTENT_TYPE_NOT_SUPPORTED,
                        "a message has texts, and at most one JSON object as data",
                    ));
                }
            }
        }
        if texts.is_empty() && data.is_none() {
            return Err(A2AError::invalid_params("the message has no parts"));
        }
        Ok(Self {
            text: (!texts.is_empty()).then(|| texts.join("\n")),
            data,
        })
    }
}

/// The job of a task of this agent.
///
/// # Errors
/// There is no such task, or the caller may not see it.
pub async fn job(session: &Session, id: &str, timeout_ms: u64) -> Result<Job, CallError> {
    let wanted = GetTask {
        id: id.to_owned(),
        agent: None,
        timeout_ms: Some(timeout_ms),
    };
    let job = session.door.get_task(wanted).await?;
    match job.to == session.target.address.as_str() {
        true => Ok(job),
        false => Err(A2AError::task_not_found(id).into()),
    }
}

/// Looks up a task: a job, or a message that waits for its answer.
///
/// # Errors
/// [`CallError`].
pub async fn get_task(session: &Session, request: &GetTaskRequest) -> Result<Task, CallError> {
    let history = request.history_length != Some(0);
    match job(session, &request.id, 0).await {
        Ok(job) => Ok(of_job(&job, history)),
        Err(error) if error.error.code == error_code::TASK_NOT_FOUND => {
            talk(session, &request.id).await
        }
        Err(error) => Err(error),
    }
}

/// Looks up a message that was sent to this agent, as a task.
///
/// # Errors
/// [`CallError`].
pub async fn talk(session: &Session, id: &str) -> Result<Task, CallError> {
    let sent = session
        .door
        .sent_to(id.to_owned(), session.target.address.clone());
    let (_, thread) = sent.await?;
    let sent = session.door.wait_for_reply(reply(id, 0)).await?;
    Ok(of_message(&sent, id, thread.as_deref()))
}

/// Lists the tasks of this agent that the caller may see, newest first.
///
/// # Errors
/// [`CallError`].
pub async fn list_tasks(
    session: &Session,
    request: &ListTasksRequest,
) -> Result<ListTasksResponse, CallError> {
    let size = request.page_size.unwrap_or(USUAL_PAGE);
    if !(1..=LARGEST_PAGE).contains(&size) {
        let text = format!("`pageSize` is 1 to {LARGEST_PAGE}");
        return Err(A2AError::invalid_params(text).into());
    }
    let is_wanted = |job: &Job| {
        let context = request.context_id.as_ref().filter(|id| !id.is_empty());
        let wanted_state = request.status.as_ref();
        let wanted_state = wanted_state.filter(|one| **one != TaskState::Unspecified);
        let after = request
            .status_timestamp_after
            .map(|at| at.timestamp_millis());
        let changed = job.ended.as_ref().map_or(job.asked_at, |ended| ended.at);
        let changed = i64::try_from(changed.get()).unwrap_or(i64::MAX);
        job.to == session.target.address.as_str()
            && context.is_none_or(|id| job.thread.as_ref() == Some(id) || id_of(job) == *id)
            && wanted_state.is_none_or(|wanted| state(job) == *wanted)
            && after.is_none_or(|after| changed > after)
    };
    let mut cursor = request.page_token.clone().filter(|token| !token.is_empty());
    let (mut tasks, mut looked_at) = (Vec::new(), 0);
    let wanted = usize::try_from(size).unwrap_or_default();
    loop {
        let page = session.door.list_tasks(ListTasks {
            agent: session.from.clone(),
            state: None,
            limit: Some(u32::try_from(wanted - tasks.len()).unwrap_or(1)),
            cursor: cursor.take(),
        });
        let page = page.await?;
        looked_at += page.tasks.len().max(1);
        cursor = page.next;
        tasks.extend(page.tasks.into_iter().filter(is_wanted));
        if cursor.is_none() || tasks.len() >= wanted || looked_at >= LOOKED_AT {
            break;
        }
    }
    let history = request.history_length.is_some_and(|length| length > 0);
    let artifacts = request.include_artifacts.unwrap_or(false);
    let tasks = tasks.iter().map(|job| {
        let task = of_job(job, history);
        Task {
            artifacts: task.artifacts.filter(|_| artifacts),
            ..task
        }
    });
    let tasks: Vec<Task> = tasks.collect();
    let count = i32::try_from(tasks.len()).unwrap_or(i32::MAX);
    Ok(ListTasksResponse {
        // How many there are further on is not counted.
        total_size: count.saturating_add(i32::from(cursor.is_some())),
        page_size: size,
        next_page_token: cursor.unwrap_or_default(),
        tasks,
    })
}

/// Has a task canceled, and waits for a while until it is.
///
/// # Errors
/// [`CallError`].
pub async fn cancel_task(
    session: &Session,
    request: &CancelTaskRequest,
) -> Result<Task, CallError> {
    let before = job(session, &request.id, 0).await?;
    if !before.state.is_open() {
        return Err(A2AError::task_not_cancelable(&request.id).into());
    }
    let (id, agent) = (before.id.clone(), None);
    match session.door.cancel_task(CancelTask { id, agent }).await {
        Err(error) if error.code() == ErrorCode::Conflict => {
            return Err(A2AError::task_not_cancelable(&request.id).into());
        }
        canceled => drop(canceled?),
    }
    let after = until_ended(session, &request.id).await?;
    Ok(of_job(&after, true))
}

/// The job, once it has ended or the time is over.
async fn until_ended(session: &Session, id: &str) -> Result<Job, CallError> {
    let deadline = tokio::time::Instant::now() + CANCELING;
    loop {
        let now = job(session, id, 0).await?;
        if !now.state.is_open() || tokio::time::Instant::now() >= deadline {
            return Ok(now);
        }
        tokio::time::sleep(super::watch::POLL).await;
    }
}

/// The error of a task that has ended and cannot be watched.
pub fn ended(id: &str) -> CallError {
    A2AError::unsupported_operation(format!("the task {id} has ended")).into()
}
