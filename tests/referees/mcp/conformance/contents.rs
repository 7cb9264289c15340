//! Resources and prompts.

use rmcp::ErrorData;
use rmcp::model::{
    ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult, InputRequiredResult,
    Prompt, PromptArgument, PromptMessage, ReadResourceResult, Resource, ResourceContents,
    ResourceTemplate, Role,
};
use serde_json::json;

use crate::inputs::asked;
use crate::tools::PIXEL;

pub(crate) fn resources() -> Vec<Resource> {
    [
        ("test://static-text", "text/plain"),
        ("test://static-binary", "image/png"),
        ("test://watched-resource", "text/plain"),
    ]
    .map(|(uri, kind)| {
        let name = uri.trim_start_matches("test://");
        let resource = Resource::new(uri, name).with_mime_type(kind);
        resource.with_description("A fixture of the conformance suite")
    })
    .into()
}

pub(crate) fn template() -> ResourceTemplate {
    ResourceTemplate::new("test://template/{id}/data", "template")
        .with_description("A fixture of the conformance suite")
        .with_mime_type("application/json")
}

/// Reads a resource; `None` if there is none here.
pub(crate) fn read(uri: &str) -> Option<ReadResourceResult> {
    let contents = match uri {
        "test://static-text" | "test://watched-resource" => {
            let text = "This is the content of the static text resource.";
            ResourceContents::text(text, uri).with_mime_type("text/plain")
        }
        "test://static-binary" => ResourceContents::blob(PIXEL, uri).with_mime_type("image/png"),
        _ => {
            let id = uri
                .strip_prefix("test://template/")?
                .strip_suffix("/data")?;
            let data = format!("Data for ID: {id}");
            let text = json!({"id": id, "templateTest": true, "data": data}).to_string();
            ResourceContents::text(text, uri).with_mime_type("application/json")
        }
    };
    Some(ReadResourceResult::new(vec![contents]))
}

pub(crate) fn prompts() -> Vec<Prompt> {
    let required = |name: &str| PromptArgument::new(name).with_required(true);
    let prompt = |name: &str, arguments: Vec<PromptArgument>| {
        let arguments = (!arguments.is_empty()).then_some(arguments);
        Prompt::new(name, Some("A fixture of the conformance suite"), arguments)
    };
    vec![
        prompt("test_simple_prompt", vec![]),
        prompt(
            "test_prompt_with_arguments",
            vec![required("arg1"), required("arg2")],
        ),
        prompt(
            "test_prompt_with_embedded_resource",
            vec![required("resourceUri")],
        ),
        prompt("test_prompt_with_image", vec![]),
        prompt("test_input_required_result_prompt", vec![]),
    ]
}

pub(crate) fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let argument = |name: &str| {
        let arguments = request.arguments.as_ref();
        arguments
            .and_then(|all| all.get(name)?.as_str())
            .unwrap_or_default()
    };
    let said = |text: String| PromptMessage::new(Role::User, ContentBlock::text(text));
    let messages = match request.name.as_ref() {
        "test_simple_prompt" => vec![said("This is a simple prompt for testing.".to_owned())],
        "test_prompt_with_arguments" => vec![said(format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1"),
            argument("arg2"),
        ))],
        "test_prompt_with_embedded_resource" => {
            let text = "Embedded resource content for testing.";
            let resource = ResourceContents::text(text, argument("resourceUri"));
            let resource = ContentBlock::resource(resource.with_mime_type("text/plain"));
            vec![
                PromptMessage::new(Role::User, resource),
                said("Please process the embedded resource above.".to_owned()),
            ]
        }
        "test_prompt_with_image" => vec![
            PromptMessage::new(Role::User, ContentBlock::image(PIXEL, "image/png")),
            said("Please analyze the image above.".to_owned()),
        ],
        "test_input_required_result_prompt" => {
            let given = request.input_responses.as_ref();
            let Some(answer) = given.and_then(|all| all.get("user_context")) else {
                let asked = asked("context", "What context should the prompt use?");
                let asked = [("user_context".to_owned(), asked)].into();
                return Ok(InputRequiredResult::from_input_requests(asked).into());
            };
            vec![said(format!("Context: {}", answer["content"]["context"]))]
        }
        name => {
            let message = format!("there is no prompt {name:?}");
            return Err(ErrorData::invalid_params(message, None));
        }
    };
    Ok(GetPromptResult::new(messages).into())
}
