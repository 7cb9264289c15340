//! The table of operations. Routing and the OpenAPI document follow from it.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::super::door::Door;
use super::super::door::approvals::{ApprovalPage, DecideApproval, DecidedApproval, ListApprovals};
use super::super::door::directory::{AgentDetails, AgentPage, FindAgents, GetAgent};
use super::super::door::hosted::{HostedPage, ListHosted};
use super::super::door::messages::{GetMessage, MessagePage, ReadInbox};
use super::super::door::overview::{
    GetOverview, GetSeries, GetSpending, Overview, SeriesPage, SpendingPage,
};
use super::super::door::queues::{
    ChangeQueue, ChangedRows, CountQueue, ListQueue, QueueCount, QueuePage, ReloadConfig,
    ResumePosting, ResumedPosting,
};
use super::super::door::send::{DeliveryEntry, SendMessage, SentMessage, WaitForReply};
use super::super::door::status::{GetStatus, StatusPage};
use super::super::door::tasks::{
    AnswerTask, AnsweredTask, CancelTask, CanceledTask, FetchTaskResult, GetTask, ListTasks,
    SubmitTask, TaskPage, TaskResult,
};
use super::super::door::timeline::{
    ConversationMessages, ConversationPage, GetTimeline, ListConversations, ReadConversation,
    Timeline,
};
use super::super::door::work::{GetWork, ListWork, WorkDetails, WorkPage};
use super::super::error::DoorError;
use crate::ops::conversations::MessageEntry;
use crate::ops::tasks::job::Job;
use crate::runtime::reload::Applied;

/// The method of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It changes nothing. What it does not find in the path, it takes from the query.
    Get,
    /// It changes something. What it does not find in the path, it takes from the body.
    Post,
}

impl Verb {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// The answer to a request, as JSON.
pub type Carried = Pin<Box<dyn Future<Output = Result<Vec<u8>, DoorError>> + Send>>;

/// An operation over HTTP.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name.
    pub name: &'static str,
    /// Its method.
    pub verb: Verb,
    /// Its path below the base, with parameters in braces.
    pub path: &'static str,
    /// The right that it needs.
    pub right: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// The status of its answer.
    pub status: u16,
    /// The schema of its request.
    pub request: fn(&mut SchemaGenerator) -> Schema,
    /// The schema of its answer.
    pub answer: fn(&mut SchemaGenerator) -> Schema,
    /// Carries it out.
    pub call: fn(Door, Map<String, Value>) -> Carried,
}

fn parse<T: DeserializeOwned>(request: Map<String, Value>) -> Result<T, DoorError> {
    serde_json::from_value(Value::Object(request))
        .map_err(|error| DoorError::invalid(error.to_string()))
}

fn written<T: Serialize>(answer: &T) -> Result<Vec<u8>, DoorError> {
    let internal = |error: serde_json::Error| {
        DoorError::new(
            super::super::ErrorCode::Internal,
            "the answer cannot be written",
        )
        .with_detail(error)
    };
    serde_json::to_vec(answer).map_err(internal)
}

macro_rules! endpoints {
    ($($verb:ident $path:literal $right:ident $operation:ident($Request:ty) -> $status:literal $Answer:ty: $about:literal;)+) => {
        &[$(Endpoint {
            name: stringify!($operation),
            verb: Verb::$verb,
            path: $path,
            right: stringify!($right),
            about: $about,
            status: $status,
            request: |generator| <$Request as JsonSchema>::json_schema(generator),
            answer: |generator| generator.subschema_for::<$Answer>(),
            call: |door, request| {
                Box::pin(async move {
                    let request: $Request = parse(request)?;
                    written(&door.$operation(request).await?)
                })
            },
        }),+]
    };
}

/// Every operation.
pub static ENDPOINTS: &[Endpoint] = endpoints![
    Get "/status" read agent_status(GetStatus) -> 200 StatusPage:
        "The agents that you may use, and the condition of the runtime";
    Get "/overview" operate overview(GetOverview) -> 200 Overview:
        "Whether anything is wrong: what operators look at first";
    Get "/series" operate get_series(GetSeries) -> 200 SeriesPage:
        "What was measured in the last two hours: rates, durations, the age of the queue, spending";
    Get "/spending" operate get_spending(GetSpending) -> 200 SpendingPage:
        "What an agent, or all agents, have spent on the last days";
    Get "/hosted" read list_hosted(ListHosted) -> 200 HostedPage:
        "Lists hosted agents with what they have to do, searched and sorted by trouble";
    Get "/conversations" read list_conversations(ListConversations) -> 200 ConversationPage:
        "Lists the conversations among the newest messages of an agent";
    Get "/conversations/{peer}" read read_conversation(ReadConversation) -> 200 ConversationMessages:
        "Reads the messages that an agent and another address have exchanged";
    Get "/agents" read find_agents(FindAgents) -> 200 AgentPage:
        "Finds agents in the directory, by what they offer";
    Get "/agents/{who}" read get_agent(GetAgent) -> 200 AgentDetails:
        "Looks up one agent";
    Get "/messages" read read_inbox(ReadInbox) -> 200 MessagePage:
        "Reads the messages of an agent";
    Post "/messages" send send_message(SendMessage) -> 202 SentMessage:
        "Sends a message: it is stored when this returns, and will be sent";
    Get "/messages/{id}" read get_message(GetMessage) -> 200 MessageEntry:
        "Reads one message";
    Get "/messages/{id}/delivery" read wait_for_reply(WaitForReply) -> 200 DeliveryEntry:
        "What has become of a sent message; waits for its answer, its acknowledgment, or its block";
    Get "/messages/{id}/timeline" read message_timeline(GetTimeline) -> 200 Timeline:
        "Tells the story of one message, from its arrival to the last of its effects";
    Get "/tasks" read list_tasks(ListTasks) -> 200 TaskPage:
        "Lists the tasks that your agents have requested";
    Post "/tasks" send submit_task(SubmitTask) -> 202 Job:
        "Requests a task: it is stored when this returns, and will be sent";
    Get "/tasks/{id}" read get_task(GetTask) -> 200 Job:
        "Looks up a requested task; waits until it has ended or asks something";
    Post "/tasks/{id}/cancel" send cancel_task(CancelTask) -> 202 CanceledTask:
        "Asks the agent that does a task to cancel it";
    Post "/tasks/{id}/answer" send answer_task(AnswerTask) -> 202 AnsweredTask:
        "Answers the question that a task asks";
    Post "/tasks/{id}/result" read fetch_result(FetchTaskResult) -> 200 TaskResult:
        "The whole result of a task; of one that was cut, the rest is fetched, which needs the right `send`";
    Get "/work" read list_work(ListWork) -> 200 WorkPage:
        "Lists the tasks that your agents do for others";
    Get "/work/{id}" read get_work(GetWork) -> 200 WorkDetails:
        "Looks up a task that one of your agents does for others";
    Get "/approvals" operate list_approvals(ListApprovals) -> 200 ApprovalPage:
        "Lists the effects that wait for an operator's approval";
    Post "/approvals/{id}" operate decide_approval(DecideApproval) -> 200 DecidedApproval:
        "Grants or denies an effect that waits";
    Get "/queue" operate list_queue(ListQueue) -> 200 QueuePage:
        "Lists rows of a queue: what waits, and dead letters";
    Get "/queue/count" operate count_queue(CountQueue) -> 200 QueueCount:
        "Counts the dead letters that a retry or a drop of all would change";
    Post "/queue/retry" operate retry_queue(ChangeQueue) -> 200 ChangedRows:
        "Has dead letters handled, or failed transactions posted, once more";
    Post "/queue/drop" operate drop_queue(ChangeQueue) -> 200 ChangedRows:
        "Drops rows of the queues: they are not retried";
    Post "/queue/resume" operate resume_posting(ResumePosting) -> 200 ResumedPosting:
        "Resumes posting after a halt";
    Post "/reload" operate reload(ReloadConfig) -> 200 Applied:
        "Reloads the configuration, and applies what has changed";
];

/// Every path, once.
pub fn paths() -> BTreeSet<&'static str> {
    ENDPOINTS.iter().map(|endpoint| endpoint.path).collect()
}

/// The names of the parameters in a path.
pub fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    let parts = path.split('/');
    parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// A path as the server matches it. An id, such as `inbox/12`, may be written with its slash.
pub fn pattern(path: &str) -> String {
    path.replace("{id}", "{id:[^/]+(?:/[0-9]+)?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_their_own_names_and_places() {
        let names: BTreeSet<_> = ENDPOINTS.iter().map(|endpoint| endpoint.name).collect();
        let places = ENDPOINTS.iter();
        let places: BTreeSet<_> = places.map(|one| (one.verb.as_str(), one.path)).collect();
        assert_eq!(
            (names.len(), places.len()),
            (ENDPOINTS.len(), ENDPOINTS.len())
        );
        for endpoint in ENDPOINTS {
            assert!(["read", "send", "operate"].contains(&endpoint.right));
        }
    }
}
