//! `mcp`: a tool of an [MCP](https://modelcontextprotocol.io) server does the job.
//!
//! ```toml
//! [agent.behaviours.tools.search]
//! executor = "mcp"
//! url = "http://127.0.0.1:8090/mcp"
//! tool = "search"
//! key_file = "keys/search"
//! ```
//!
//! The server is spoken to over HTTP (streamable HTTP, revisions 2026-07-28 and earlier). The job's
//! `params` are the arguments of the tool. Its result is the text of what the tool returns, or else
//! its structured content as JSON; images and other content are left out. As a tool of
//! [`llm`](crate::llm), it needs no description: the server's is used.
//!
//! Redirects are not followed and the proxies of the environment are not used, so the key goes to the
//! configured host only. Each attempt opens a connection, and the tool is called once in it.
//!
//! | code | meaning | tried again? |
//! |---|---|---|
//! | `bad-request` | the job's `params` are not an object | no |
//! | `no-key` | the key cannot be read | no |
//! | `unreachable` | the server does not answer, or not as one of MCP | yes |
//! | `silent` | the server did not answer for `idle_timeout` | yes |
//! | `call-failed` | the call failed: the connection was lost, or the server refused it | yes |
//! | `tool-failed` | the tool says that it failed | no |
//! | `no-tool` | the server has no tool of this name | no |
//! | `empty` | the tool returned nothing that is a text | no |

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentry_sdk::{ConfigureError, Desk, Executor, RemoteCall, Setup, Task, TaskError, TaskOutput};
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, ContentBlock, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, RunningService, serve_client_with_lifecycle};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::key::{Key, KeySource};
use super::remote;
use crate::net;
use crate::units::{Bytes, Time, within};

/// How long the server's description of a tool is kept.
const KEPT: Duration = Duration::from_secs(600);

/// The most characters of a server's text that are kept for the log.
const DETAIL: usize = 500;

/// The keys of `mcp` in agents.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpSettings {
    /// The URL of the server, without a secret in it.
    pub url: String,
    /// The name of the tool.
    pub tool: String,
    /// The file with the key that the server asks for as a bearer token, read for each job.
    pub key_file: Option<PathBuf>,
    /// The environment variable of agentry with the key.
    pub key_env: Option<String>,
    /// The longest answer of the server. From 1 to 16 MiB. Default 1 MiB.
    #[serde(default = "remote::default_max_response_bytes")]
    pub max_response_bytes: Bytes,
    /// The time limit for connecting. Default 10 s.
    #[serde(default = "remote::default_connect_timeout")]
    pub connect_timeout: Time,
    /// How long the server may take for an answer. Default 5 min.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Time,
}

const fn default_idle_timeout() -> Time {
    Time::seconds(300)
}

/// Does each job with a tool of an MCP server.
#[derive(Debug)]
pub struct Mcp {
    url: Url,
    tool: String,
    key: KeySource,
    max_response_bytes: usize,
    connect_timeout: Duration,
    idle_timeout: Duration,
    /// What the server says of the tool, and since when.
    described: Mutex<Option<(Instant, Described)>>,
}

/// What a server says of a tool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Described {
    /// What it does.
    pub(crate) description: String,
    /// A JSON Schema of its arguments.
    pub(crate) parameters: Value,
}

type Session = RunningService<RoleClient, ()>;

impl Mcp {
    async fn open(&self) -> Result<(Session, Option<Key>), TaskError> {
        let key = self.key.read().await;
        let key = key.map_err(|error| TaskError::permanent("no-key", error))?;
        let client = net::client(self.connect_timeout).build();
        let client = client.map_err(|error| {
            TaskError::transient(
                "unreachable",
                format!("setting up the client: {}", net::reasons(error)),
            )
        })?;
        let headers = key.as_ref().and_then(Key::bearer);
        let headers = headers.map(|value| (AUTHORIZATION, value));
        let config = StreamableHttpClientTransportConfig::with_uri(self.url.as_str())
            .custom_headers(headers.into_iter().collect::<HashMap<_, _>>())
            .max_json_response_size(self.max_response_bytes)
            .max_sse_event_size(self.max_response_bytes);
        let transport = StreamableHttpClientTransport::with_client(client, config);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: None,
        };
        let opened = self
            .in_time(serve_client_with_lifecycle((), transport, lifecycle))
            .await?;
        let session = opened.map_err(|error| failed("unreachable", &error, key.as_ref()))?;
        Ok((session, key))
    }

    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Result<T, TaskError> {
        let answer = tokio::time::timeout(self.idle_timeout, answer).await;
        answer.map_err(|_| {
            let time = humantime::format_duration(self.idle_timeout);
            TaskError::transient("silent", format!("the server did not answer for {time}"))
        })
    }

    /// What the server says of the tool.
    ///
    /// # Errors
    /// It cannot be asked, or has no such tool.
    pub(crate) async fn described(&self) -> Result<Described, TaskError> {
        let kept = {
            let kept = self.described.lock();
            kept.unwrap_or_else(PoisonError::into_inner).clone()
        };
        if let Some((_, kept)) = kept.filter(|(since, _)| since.elapsed() < KEPT) {
            return Ok(kept);
        }
        let (session, key) = self.open().await?;
        let tools = self.in_time(session.list_all_tools()).await?;
        let tools = tools.map_err(|error| failed("call-failed", &error, key.as_ref()))?;
        let found = tools.into_iter().find(|tool| tool.name == self.tool);
        let found = found.ok_or_else(|| {
            TaskError::permanent("no-tool", format!("the server has no tool {:?}", self.tool))
        })?;
        let described = Described {
            description: found.description.unwrap_or_default().into_owned(),
            parameters: Value::Object(found.input_schema.as_ref().clone()),
        };
        let mut kept = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = Some((Instant::now(), described.clone()));
        Ok(described)
    }

    async fn call(&self, task: &Task) -> Result<TaskOutput, TaskError> {
        let arguments = match task.input.get("params") {
            None | Some(Value::Null) => serde_json::Map::new(),
            Some(Value::Object(arguments)) => arguments.clone(),
            Some(_) => {
                let reason = "`params` are not an object";
                return Err(TaskError::permanent("bad-request", reason).with_public(reason));
            }
        };
        let (session, key) = self.open().await?;
        let mut call = CallToolRequestParams::new(self.tool.clone());
        call.arguments = Some(arguments);
        let called = self.in_time(session.call_tool(call)).await?;
        let result = called.map_err(|error| failed("call-failed", &error, key.as_ref()))?;
        let texts = result.content.iter().filter_map(|part| match part {
            ContentBlock::Text(text) => Some(text.text.as_str()),
            _ => None,
        });
        let text = texts.collect::<Vec<_>>().join("\n");
        let text = match (&result.structured_content, text.is_empty()) {
            (Some(content), true) => content.to_string(),
            _ => text,
        };
        if result.is_error == Some(true) {
            return Err(failed("tool-failed", &text, key.as_ref()));
        }
        if text.is_empty() {
            return Err(TaskError::permanent(
                "empty",
                "the tool returned nothing that is a text",
            ));
        }
        Ok(TaskOutput::text(text))
    }
}

/// The failure for what a server, or the connection to it, says.
fn failed(code: &str, error: &impl Display, key: Option<&Key>) -> TaskError {
    let text = error.to_string();
    let text = key.map_or_else(|| text.clone(), |key| key.redact(&text));
    let text: String = text.chars().take(DETAIL).collect();
    let public = "the tool could not be used";
    match code {
        "tool-failed" => TaskError::permanent(code, text).with_public("the tool failed"),
        _ => TaskError::transient(code, text).with_public(public),
    }
}

impl Executor for Mcp {
    const KIND: &'static str = "mcp";
    type Settings = McpSettings;

    fn configure(settings: McpSettings, setup: &Setup<'_>) -> Result<Self, ConfigureError> {
        if settings.tool.is_empty() {
            return Err(ConfigureError("`tool` is empty".into()));
        }
        let response = settings.max_response_bytes;
        let response = within("max_response_bytes", response, remote::RESPONSE_BYTES)?;
        Ok(Self {
            url: remote::url(&settings.url, "http://host:port/mcp")?,
            tool: settings.tool,
            key: KeySource::of(settings.key_file, settings.key_env, setup)?,
            max_response_bytes: response.as_usize(),
            connect_timeout: within("connect_timeout", settings.connect_timeout, remote::TIMES)?.0,
            idle_timeout: within("idle_timeout", settings.idle_timeout, remote::TIMES)?.0,
            described: Mutex::new(None),
        })
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        let call = desk.call(RemoteCall {
            operation: "execute_tool",
            provider: "mcp",
            host: self.url.host_str().unwrap_or_default().to_owned(),
            port: self.url.port_or_known_default(),
            ..RemoteCall::default()
        });
        let done = self.call(task).await;
        call.end(None, done.as_ref().err().map(TaskError::code));
        done
    }
}
