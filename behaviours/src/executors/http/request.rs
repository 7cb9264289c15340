//! The request to the service.

use agentry_sdk::{RemoteCall, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::estimate;
use super::failure::Failure;
use super::settings::Service;

/// The parameter that limits the answer.
const MAX_TOKENS: &str = "max_tokens";

/// The parameter that asks for the number of tokens at the end of a stream.
pub(super) const STREAM_OPTIONS: &str = "stream_options";

/// About how many tokens the model reads.
pub(super) fn prompt_tokens(service: &Service, task: &Task) -> u64 {
    let prompt = task.input.get("prompt").and_then(Value::as_str);
    let texts = [service.system.as_deref(), prompt];
    estimate(texts.into_iter().flatten().map(str::len).sum())
}

/// About how many tokens the answer costs at most: of a service without `max_tokens`, only those of
/// the prompt are known.
pub(super) fn most_tokens(service: &Service, task: &Task) -> u64 {
    let params = task.input.get("params");
    let asked = params.and_then(|params| params.get(MAX_TOKENS));
    let most = max_tokens(service, asked).ok().flatten();
    prompt_tokens(service, task).saturating_add(most.map_or(0, u64::from))
}

/// The call of the model, for traces: all requests of an attempt together.
pub(super) fn call(service: &Service, task: &Task) -> RemoteCall {
    let params = task.input.get("params");
    let asked = params.and_then(|params| params.get(MAX_TOKENS));
    let most = max_tokens(service, asked).ok().flatten();
    let model = model(service, task.input.get("model")).unwrap_or(&service.model);
    RemoteCall {
        operation: "chat",
        provider: "openai",
        model: Some(model.to_owned()),
        max_tokens: most.map(u64::from),
        temperature: service.temperature,
        host: service.host().to_owned(),
        port: service.url.port_or_known_default(),
    }
}

/// A request to a service.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) task: &'a Task,
    pub(super) body: Vec<u8>,
    /// About how many tokens the model reads.
    pub(super) prompt_tokens: u64,
    /// Whether the model may request calls of tools.
    pub(super) has_tools: bool,
}

/// What a model is asked in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conversation {
    /// The messages, as the service takes them.
    pub(crate) messages: Vec<Value>,
    /// The definitions of the tools that the model may request to be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Value>,
}

impl Conversation {
    /// About how many tokens the model reads.
    pub(crate) fn tokens(&self) -> u64 {
        let all = self.messages.iter().chain(&self.tools);
        estimate(all.map(|part| part.to_string().len()).sum())
    }
}

/// The body of a request that goes on with a conversation. The answer is one object.
pub(super) fn turn(service: &Service, conversation: &Conversation) -> Vec<u8> {
    let mut body = Map::new();
    body.insert("model".to_owned(), service.model.as_str().into());
    body.insert("messages".to_owned(), conversation.messages.clone().into());
    if !conversation.tools.is_empty() {
        body.insert("tools".to_owned(), conversation.tools.clone().into());
    }
    if let Some(most) = service.max_tokens {
        body.insert(MAX_TOKENS.to_owned(), most.into());
    }
    if let Some(temperature) = service.temperature {
        body.insert("temperature".to_owned(), temperature.into());
    }
    body.insert("stream".to_owned(), false.into());
    Value::Object(body).to_string().into_bytes()
}

/// The body of the request. `counts` is whether a stream is to end with its number of tokens.
pub(super) fn body(service: &Service, task: &Task, counts: bool) -> Result<Vec<u8>, Failure> {
    let field = |name| task.input.get(name);
    let Some(prompt) = field("prompt").and_then(Value::as_str) else {
        let reason = "a job of this type needs a prompt".to_owned();
        return Err(Failure::BadRequest(reason));
    };
    let mut body = Map::new();
    if let Some(params) = field("params").and_then(Value::as_object) {
        if let Some(name) = params.keys().find(|name| !service.params.contains(name)) {
            let reason = format!("params: {name:?} cannot be set here");
            return Err(Failure::BadRequest(reason));
        }
        body.extend(params.clone());
    }
    body.insert("model".to_owned(), model(service, field("model"))?.into());
    let system = service.system.as_ref();
    let system = system.map(|system| json!({ "role": "system", "content": system }));
    let messages = system
        .into_iter()
        .chain([json!({ "role": "user", "content": prompt })]);
    body.insert("messages".to_owned(), messages.collect());
    if let Some(most) = max_tokens(service, body.get(MAX_TOKENS))? {
        body.insert(MAX_TOKENS.to_owned(), most.into());
    }
    if let Some(temperature) = service.temperature {
        body.entry("temperature").or_insert(temperature.into());
    }
    body.insert("stream".to_owned(), service.stream.into());
    if service.stream && counts {
        let options = json!({ "include_usage": true });
        body.insert(STREAM_OPTIONS.to_owned(), options);
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

fn model<'a>(service: &'a Service, asked: Option<&'a Value>) -> Result<&'a str, Failure> {
    let Some(asked) = asked.and_then(Value::as_str) else {
        return Ok(&service.model);
    };
    let allowed = std::iter::once(&service.model).chain(&service.models);
    if allowed.into_iter().any(|allowed| allowed == asked) {
        return Ok(asked);
    }
    Err(Failure::ModelNotAllowed(asked.to_owned()))
}

/// The lower of the operator's limit and the job's.
fn max_tokens(service: &Service, asked: Option<&Value>) -> Result<Option<u32>, Failure> {
    let Some(asked) = asked else {
        return Ok(service.max_tokens);
    };
    let asked = asked.as_u64().and_then(|asked| u32::try_from(asked).ok());
    let Some(asked @ 1..) = asked else {
        let reason = "params: \"max_tokens\" is not a positive integer of 32 bits".to_owned();
        return Err(Failure::BadRequest(reason));
    };
    Ok(Some(
        service.max_tokens.map_or(asked, |most| most.min(asked)),
    ))
}
