//! Tools that ask the client for something: by requests of their own in revisions before 2026-07-28,
//! and by their result since.

use agentry::ops::send::random_key;
use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
    CreateMessageRequestParams, ElicitRequestParams, ElicitResult, InputRequest, InputRequests,
    InputRequiredResult, InputResponses, SamplingMessage, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};

use crate::fixtures::Fixtures;
use crate::tools::{argument, plain, text, tool};

const PREFIX: &str = "test_input_required_result_";

pub(crate) fn list() -> Vec<Tool> {
    let mut all: Vec<Tool> = [
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_streaming_elicitation",
        "test_input_required_result_elicitation",
        "test_input_required_result_sampling",
        "test_input_required_result_list_roots",
        "test_input_required_result_request_state",
        "test_input_required_result_multiple_inputs",
        "test_input_required_result_multi_round",
        "test_input_required_result_tampered_state",
        "test_input_required_result_capabilities",
    ]
    .map(plain)
    .into();
    for (name, argument) in [("test_sampling", "prompt"), ("test_elicitation", "message")] {
        all.push(tool(
            name,
            json!({
                "type": "object",
                "properties": {argument: {"type": "string"}},
                "required": [argument],
            }),
        ));
    }
    all
}

/// Calls a tool; `None` if it is none of these.
pub(crate) async fn call(
    fixtures: &Fixtures,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Option<Result<CallToolResponse, ErrorData>> {
    let done = match request.name.as_ref() {
        "test_sampling" => sample(context, argument(request, "prompt")).await,
        "test_elicitation" => {
            let (message, schema) = (argument(request, "message"), user());
            elicit(context, message, schema, "User response").await
        }
        "test_elicitation_sep1034_defaults" => {
            elicit(
                context,
                "Values with defaults",
                defaults(),
                "Elicitation completed",
            )
            .await
        }
        "test_elicitation_sep1330_enums" => {
            elicit(context, "Choices", choices(), "Elicitation completed").await
        }
        "test_streaming_elicitation" => {
            let wanted = [("name", asked("name", "What is your name?"))];
            return Some(Ok(answers(request, wanted).map_or_else(
                |asked| InputRequiredResult::from_input_requests(asked).into(),
                |_| text("Thank you").into(),
            )));
        }
        name => {
            let kind = name.strip_prefix(PREFIX)?;
            return Some(required(fixtures, kind, request, context));
        }
    };
    Some(Ok(done.into()))
}

async fn sample(context: &RequestContext<RoleServer>, prompt: &str) -> CallToolResult {
    let messages = vec![SamplingMessage::user_text(prompt)];
    let sampled = context
        .peer
        .create_message(CreateMessageRequestParams::new(messages, 100))
        .await;
    match sampled {
        Ok(sampled) => text(format!("LLM response: {:?}", sampled.message.content)),
        Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
    }
}

async fn elicit(
    context: &RequestContext<RoleServer>,
    message: &str,
    schema: Value,
    what: &str,
) -> CallToolResult {
    let params = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.to_owned(),
        requested_schema: serde_json::from_value(schema).unwrap(),
    };
    match context.peer.create_elicitation(params).await {
        Ok(ElicitResult {
            action, content, ..
        }) => text(format!("{what}: action={action:?}, content={content:?}")),
        Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
    }
}

fn user() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": {"type": "string", "description": "User's response"},
            "email": {"type": "string", "description": "User's email address"},
        },
        "required": ["username", "email"],
    })
}

fn defaults() -> Value {
    let states = ["active", "inactive", "pending"];
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": states, "default": "active"},
            "verified": {"type": "boolean", "default": true},
        },
    })
}

fn choices() -> Value {
    let options = ["option1", "option2", "option3"];
    let titled = |names: [&str; 3]| {
        let one =
            |number: usize| json!({"const": format!("value{number}"), "title": names[number - 1]});
        [one(1), one(2), one(3)]
    };
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {
                "type": "string",
                "oneOf": titled(["First Option", "Second Option", "Third Option"]),
            },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {
                "type": "array",
                "items": {"anyOf": titled(["First Choice", "Second Choice", "Third Choice"])},
            },
        },
    })
}

/// A question for one text.
pub(crate) fn asked(field: &str, message: &str) -> InputRequest {
    let schema = json!({
        "type": "object",
        "properties": {field: {"type": "string"}},
        "required": [field],
    });
    input(json!({
        "method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": schema},
    }))
}

fn input(request: Value) -> InputRequest {
    serde_json::from_value(request).unwrap()
}

fn sampling() -> InputRequest {
    let content = json!({"type": "text", "text": "What is the capital of France?"});
    input(json!({
        "method": "sampling/createMessage",
        "params": {"messages": [{"role": "user", "content": content}], "maxTokens": 100},
    }))
}

fn roots() -> InputRequest {
    input(json!({"method": "roots/list", "params": {}}))
}

/// The answers to these requests if all are there and can be read; else the requests.
pub(crate) fn answers<const N: usize>(
    request: &CallToolRequestParams,
    wanted: [(&str, InputRequest); N],
) -> Result<InputResponses, InputRequests> {
    let given = request.input_responses.clone().unwrap_or_default();
    let is_answered =
        |(key, _): &(&str, InputRequest)| given.get(*key).is_some_and(Value::is_object);
    if wanted.iter().all(is_answered) {
        return Ok(given);
    }
    let requests = wanted.into_iter();
    Err(requests
        .map(|(key, request)| (key.to_owned(), request))
        .collect())
}

/// A tool that asks by its result.
fn required(
    fixtures: &Fixtures,
    kind: &str,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let name = || asked("name", "What is your name?");
    let stateful = |asked| {
        let state = fixtures.new_state();
        CallToolResponse::from(InputRequiredResult::new(Some(asked), Some(state)))
    };
    let stateless = |asked| CallToolResponse::from(InputRequiredResult::from_input_requests(asked));
    let answered = |given: InputResponses| CallToolResponse::from(text(json!(given).to_string()));
    Ok(match kind {
        "elicitation" => answers(request, [("user_name", name())])
            .map_or_else(stateless, |given| {
                text(format!("Hello, {}!", given["user_name"]["content"]["name"])).into()
            }),
        "sampling" => {
            answers(request, [("capital_question", sampling())]).map_or_else(stateless, answered)
        }
        "list_roots" => {
            answers(request, [("client_roots", roots())]).map_or_else(stateless, answered)
        }
        "request_state" | "tampered_state" => {
            let confirm = input(json!({
                "method": "elicitation/create",
                "params": {
                    "mode": "form",
                    "message": "Please confirm",
                    "requestedSchema": {
                        "type": "object",
                        "properties": {"ok": {"type": "boolean"}},
                        "required": ["ok"],
                    },
                },
            }));
            fixtures.check_state(request)?;
            answers(request, [("confirm", confirm)])
                .map_or_else(stateful, |_| text("state-ok").into())
        }
        "multiple_inputs" => {
            fixtures.check_state(request)?;
            let wanted = [
                ("user_name", name()),
                ("greeting", sampling()),
                ("client_roots", roots()),
            ];
            answers(request, wanted).map_or_else(stateful, answered)
        }
        "multi_round" => {
            fixtures.check_state(request)?;
            let second = [(
                "step2",
                asked("color", "Step 2: What is your favorite color?"),
            )];
            if let Ok(given) = answers(request, second.clone()) {
                return Ok(answered(given));
            }
            let first = [("step1", asked("name", "Step 1: What is your name?"))];
            stateful(match answers(request, first) {
                Ok(_) => second
                    .into_iter()
                    .map(|(key, step)| (key.to_owned(), step))
                    .collect(),
                Err(asked) => asked,
            })
        }
        "capabilities" => {
            let declared = context.client_capabilities().unwrap_or_default();
            let wanted = supported(&declared);
            if request.input_responses.is_some() {
                text("Answered").into()
            } else {
                stateful(wanted)
            }
        }
        _ => return Err(ErrorData::invalid_params("no such tool", None)),
    })
}

fn supported(declared: &ClientCapabilities) -> InputRequests {
    let all = [
        (
            declared.elicitation.is_some(),
            "name",
            asked("name", "What is your name?"),
        ),
        (declared.sampling.is_some(), "capital", sampling()),
        (declared.roots.is_some(), "roots", roots()),
    ];
    let supported = all.into_iter().filter(|(declared, ..)| *declared);
    supported
        .map(|(_, key, request)| (key.to_owned(), request))
        .collect()
}

impl Fixtures {
    fn new_state(&self) -> String {
        let state = random_key().unwrap();
        self.states.lock().unwrap().insert(state.clone());
        state
    }

    /// A state that a client sends back is one that was handed out.
    fn check_state(&self, request: &CallToolRequestParams) -> Result<(), ErrorData> {
        let Some(state) = &request.request_state else {
            return Ok(());
        };
        if self.states.lock().unwrap().remove(state) {
            return Ok(());
        }
        Err(ErrorData::invalid_params(
            "the request state is not one of this server",
            None,
        ))
    }
}
