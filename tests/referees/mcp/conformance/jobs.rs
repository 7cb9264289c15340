//! Tools that answer with a task.

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
    CreateTaskResult, InputRequiredResult, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::task_manager::{TaskContext, TaskExit, TaskOptions};
use serde_json::json;

use crate::fixtures::Fixtures;
use crate::inputs::{answers, asked};
use crate::tools::{plain, text, tool};

pub(crate) fn list() -> Vec<Tool> {
    let seconds = json!({"type": "number"});
    let filename = json!({"type": "string"});
    vec![
        tool(
            "slow_compute",
            json!({"type": "object", "properties": {"seconds": seconds}}),
        ),
        tool(
            "confirm_delete",
            json!({"type": "object", "properties": {"filename": filename}}),
        ),
        plain("failing_job"),
        plain("protocol_error_job"),
        plain("multi_input"),
        plain("test_tool_with_task"),
    ]
}

pub(crate) async fn call(
    fixtures: &Fixtures,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let declared = context.client_capabilities().unwrap_or_default();
    let name = request.name.to_string();
    if !declared.supports_tasks() {
        if name == "failing_job" || name == "test_tool_with_task" {
            let needed = ClientCapabilities::builder().enable_tasks().build();
            return Err(ErrorData::missing_required_client_capability(needed));
        }
        tokio::time::sleep(seconds(request)).await;
        return Ok(text("Done without a task").into());
    }
    let mut user = String::new();
    if name == "test_tool_with_task" {
        match answers(
            request,
            [("user_name", asked("name", "What is your name?"))],
        ) {
            Ok(given) => user = given["user_name"]["content"]["name"].to_string(),
            Err(asked) => return Ok(InputRequiredResult::from_input_requests(asked).into()),
        }
    }
    let time = seconds(request);
    let options = TaskOptions::new().with_poll_interval_ms(100);
    let task = fixtures.tasks.spawn(options, move |task| {
        Box::pin(async move {
            tokio::select! {
                () = task.cancelled() => Err(TaskExit::Cancelled),
                done = run(&name, time, &user, &task) => done,
            }
        })
    });
    Ok(CreateTaskResult::new(task).into())
}

fn seconds(request: &CallToolRequestParams) -> Duration {
    let arguments = request.arguments.as_ref();
    let seconds = arguments.and_then(|all| all.get("seconds")?.as_f64());
    Duration::from_secs_f64(seconds.unwrap_or_default().clamp(0.0, 60.0))
}

async fn run(
    name: &str,
    time: Duration,
    user: &str,
    task: &TaskContext,
) -> Result<CallToolResult, TaskExit> {
    match name {
        "slow_compute" => {
            tokio::time::sleep(time).await;
            Ok(text("Computed"))
        }
        "failing_job" => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(CallToolResult::error(vec![ContentBlock::text(
                "The job failed",
            )]))
        }
        "protocol_error_job" => Err(ErrorData::internal_error("it broke", None).into()),
        "confirm_delete" => {
            let answer = task
                .request_input("confirm", asked("confirm", "Delete it?"))
                .await?;
            Ok(text(answer.to_string()))
        }
        "multi_input" => {
            let (one, two) = tokio::join!(
                task.request_input("first", asked("first", "The first?")),
                task.request_input("second", asked("second", "The second?")),
            );
            Ok(text(format!("{} {}", one?, two?)))
        }
        _ => Ok(text(format!("Hello, {user}!"))),
    }
}
