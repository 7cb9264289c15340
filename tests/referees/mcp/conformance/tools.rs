//! Tools that answer at once.

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ContentBlock, LoggingLevel,
    LoggingMessageNotificationParam, ProgressNotificationParam, ResourceContents, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Map, Value, json};

use crate::fixtures::{Changed, Fixtures};

/// A red pixel.
pub(crate) const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
/// Nothing to hear.
const SILENCE: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

/// A tool with this schema of its arguments.
pub(crate) fn tool(name: &'static str, schema: Value) -> Tool {
    let schema = serde_json::from_value::<Map<String, Value>>(schema).unwrap();
    Tool::new(name, "A fixture of the conformance suite", schema)
}

/// A tool without arguments.
pub(crate) fn plain(name: &'static str) -> Tool {
    tool(name, json!({"type": "object", "properties": {}}))
}

/// A result that is a text.
pub(crate) fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

pub(crate) fn list() -> Vec<Tool> {
    let mut all: Vec<Tool> = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_error_handling",
        "test_tool_with_logging",
        "test_logging_tool",
        "test_tool_with_progress",
        "test_missing_capability",
        "test_trigger_tool_change",
        "test_trigger_prompt_change",
    ]
    .map(plain)
    .into();
    let name = json!({"type": "string"});
    all.push(tool(
        "greet",
        json!({"type": "object", "properties": {"name": name}, "required": ["name"]}),
    ));
    let region = json!({"type": "string", "x-mcp-header": "Region"});
    all.push(tool(
        "test_headers",
        json!({"type": "object", "properties": {"region": region}}),
    ));
    all.push(tool(
        "json_schema_2020_12_tool",
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }},
            "properties": {
                "name": {"type": "string"},
                "address": {"$ref": "#/$defs/address"},
                "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                "phone": {"type": "string"},
                "email": {"type": "string"},
            },
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": false,
        }),
    ));
    all
}

/// Calls a tool; `None` if it is none of these.
pub(crate) async fn call(
    fixtures: &Fixtures,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Option<Result<CallToolResult, ErrorData>> {
    let pixel = || ContentBlock::image(PIXEL, "image/png");
    let resource = |uri: &str, kind: &str, text: &str| {
        ContentBlock::resource(ResourceContents::text(text, uri).with_mime_type(kind))
    };
    Some(Ok(match request.name.as_ref() {
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_image_content" => CallToolResult::success(vec![pixel()]),
        "test_audio_content" => {
            CallToolResult::success(vec![ContentBlock::audio(SILENCE, "audio/wav")])
        }
        "test_embedded_resource" => CallToolResult::success(vec![resource(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content.",
        )]),
        "test_multiple_content_types" => CallToolResult::success(vec![
            ContentBlock::text("Multiple content types test:"),
            pixel(),
            resource(
                "test://mixed-content-resource",
                "application/json",
                r#"{"test":"data","value":123}"#,
            ),
        ]),
        "test_error_handling" => CallToolResult::error(vec![ContentBlock::text(
            "This tool intentionally returns an error for testing",
        )]),
        "test_tool_with_logging" => {
            for note in ["started", "processing data", "completed"] {
                log(context, note).await;
            }
            text("Logged")
        }
        "test_logging_tool" => {
            if context.meta.log_level().is_some() {
                log(context, "started").await;
            }
            text("Logged")
        }
        "test_tool_with_progress" => {
            progress(context).await;
            text("Progressed")
        }
        "test_missing_capability" => {
            let declared = context.client_capabilities().unwrap_or_default();
            let (samples, needed) = (
                declared.sampling.is_some(),
                ClientCapabilities::builder().enable_sampling().build(),
            );
            if !samples {
                return Some(Err(ErrorData::missing_required_client_capability(needed)));
            }
            text("It is declared")
        }
        "test_trigger_tool_change" => {
            // An error means that nobody listens.
            let _ = fixtures.changed.send(Changed::Tools);
            text("Changed")
        }
        "test_trigger_prompt_change" => {
            let _ = fixtures.changed.send(Changed::Prompts);
            text("Changed")
        }
        "greet" => text(format!("Hello, {}!", argument(request, "name"))),
        "test_headers" | "json_schema_2020_12_tool" => text("Called"),
        _ => return None,
    }))
}

/// An argument that is a text.
pub(crate) fn argument<'a>(request: &'a CallToolRequestParams, name: &str) -> &'a str {
    let arguments = request.arguments.as_ref();
    let value = arguments.and_then(|all| all.get(name)?.as_str());
    value.unwrap_or_default()
}

async fn log(context: &RequestContext<RoleServer>, note: &str) {
    let param = LoggingMessageNotificationParam::new(
        LoggingLevel::Info,
        json!(format!("Tool execution {note}")),
    );
    let told = context.peer.notify_logging_message(param).await;
    // Whoever has gone is not told.
    drop(told);
    pause().await;
}

async fn progress(context: &RequestContext<RoleServer>) {
    let Some(token) = context.meta.get_progress_token() else {
        return;
    };
    for part in [0.0, 50.0, 100.0] {
        let param = ProgressNotificationParam::new(token.clone(), part).with_total(100.0);
        drop(context.peer.notify_progress(param).await);
        pause().await;
    }
}

/// What the suite asks for between two notifications.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}
