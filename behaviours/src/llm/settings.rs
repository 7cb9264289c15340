//! The keys of `llm` in agents.toml.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_sdk::task::TaskLimits;
use agentry_sdk::{AnyExecutor, ConfigureError, Executor, Setup, TaskError};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::tools;
use crate::executors::http::HttpSettings;
use crate::executors::mcp::Mcp;
use crate::tasks::settings::{divide, with_own_keys};
use crate::units::{Bytes, Time, within};

/// The keys of `llm` in agents.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmSettings {
    /// The model: the keys of the executor [`http`](crate::executors::http). `system` says who the
    /// agent is and what it is for.
    pub model: HttpSettings,
    /// The senders that are trusted: addresses, or names of agents in agents.toml, of contacts, or of
    /// agents in the directory. `["*"]` trusts every verified sender. For the others, the model may
    /// only reply. Default: none is trusted.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Whether senders that are not trusted get answers, too. Default `true`.
    #[serde(default = "default_strangers")]
    pub strangers: bool,
    /// Whether senders whose signature cannot be checked get answers, too. Default `false`.
    #[serde(default)]
    pub unverified: bool,
    /// The agents that the model may send messages and give tasks to: addresses or names, or `["*"]`
    /// for every agent. Default: none.
    #[serde(default)]
    pub send_to: Vec<String>,
    /// Further tools, by name. Each has an `executor`, the keys of that executor, and the keys of
    /// [`ToolSettings`].
    #[serde(default)]
    pub tools: BTreeMap<String, Map<String, Value>>,
    /// The limits of what the model may do and spend.
    #[serde(default)]
    pub limits: LimitSettings,
    /// What is remembered of conversations.
    #[serde(default)]
    pub memory: MemorySettings,
}

const fn default_strangers() -> bool {
    true
}

/// The keys of a tool, besides those of its executor and those of a type of job
/// ([`TypeSettings`](crate::tasks::TypeSettings)).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSettings {
    /// What the tool does, for the model. A tool of an MCP server needs none.
    pub description: Option<String>,
    /// What its arguments must look like: a JSON Schema, an object. Default: an object with the text
    /// `input`, or what the MCP server says.
    pub parameters: Option<Map<String, Value>>,
    /// Whether its results are as good as what a trusted sender says. Otherwise, the model may only
    /// reply for as long as it remembers a result. Default `false`.
    #[serde(default)]
    pub trusted: bool,
    /// Whether the model may use it whoever has asked. Default `false`.
    #[serde(default)]
    pub public: bool,
}

/// The keys of [`ToolSettings`].
const TOOL_KEYS: [&str; 4] = ["description", "parameters", "trusted", "public"];

/// The limits of what the model may do and spend.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// How often the model is called for a message. From 1 to 100. Default 8.
    pub steps: u32,
    /// The tokens for a message. Default 50,000.
    pub message_tokens: u64,
    /// The tokens for a conversation, on one day. Default 500,000.
    pub thread_tokens: u64,
    /// The tokens for a sender, on one day. All senders whose signature cannot be checked count as
    /// one. Default 500,000.
    pub sender_tokens: u64,
    /// The messages and tasks that the model may send for a message, besides the reply. Each costs a
    /// fee. From 0 to 32. Default 4.
    pub sends: u32,
    /// The same for a sender, on one day. Default 100.
    pub sender_sends: u32,
    /// How many calls of the model run at the same time. From 1 to 1,024. Default 4.
    pub concurrency: usize,
    /// The time limit of an attempt at a call. From 1 ms to 1 day. Default 5 min.
    pub time: Time,
    /// The number of attempts after which a call has failed. From 1 to 100. Default 3.
    pub attempts: u32,
    /// How long the model waits for the result of a task that it gave to another agent. From 1 s to
    /// 30 days. Default 10 min.
    pub task_time: Time,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            steps: 8,
            message_tokens: 50_000,
            thread_tokens: 500_000,
            sender_tokens: 500_000,
            sends: 4,
            sender_sends: 100,
            concurrency: 4,
            time: Time::seconds(300),
            attempts: 3,
            task_time: Time::seconds(600),
        }
    }
}

impl LimitSettings {
    fn check(&self) -> Result<(), ConfigureError> {
        let least = Time(Duration::from_millis(1));
        within("limits.steps", self.steps, (1, 100))?;
        within("limits.sends", self.sends, (0, 32))?;
        within("limits.concurrency", self.concurrency, (1, 1024))?;
        within("limits.time", self.time, (least, Time::seconds(24 * 3600)))?;
        within("limits.attempts", self.attempts, (1, 100))?;
        let month = Time::seconds(30 * 24 * 3600);
        within(
            "limits.task_time",
            self.task_time,
            (Time::seconds(1), month),
        )?;
        Ok(())
    }

    /// The limits of calls of the model.
    pub(super) const fn of_calls(&self) -> TaskLimits {
        TaskLimits {
            concurrency: self.concurrency,
            time: self.time.0,
            attempts: self.attempts,
            progress_every: None,
        }
    }
}

/// What is remembered of conversations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemorySettings {
    /// How many conversations are remembered; the one that rested longest is forgotten. From 1 to
    /// 1,000. Default 100.
    pub threads: usize,
    /// How many messages of a conversation are remembered as they are, with the results of tools. From
    /// 4 to 1,000. Default 40.
    pub messages: usize,
    /// How many bytes of text these may have. From 4 to 256 KiB. Default 32 KiB.
    pub bytes: Bytes,
    /// Whether the model sums up the messages that are forgotten, which costs a call. Default `true`.
    pub summary: bool,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            threads: 100,
            messages: 40,
            bytes: Bytes(32 << 10),
            summary: true,
        }
    }
}

impl MemorySettings {
    fn check(&self) -> Result<(), ConfigureError> {
        within("memory.threads", self.threads, (1, 1_000))?;
        within("memory.messages", self.messages, (4, 1_000))?;
        within(
            "memory.bytes",
            self.bytes,
            (Bytes(4 << 10), Bytes(256 << 10)),
        )?;
        Ok(())
    }
}

/// A tool that an executor runs.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) executor: Arc<dyn AnyExecutor>,
    pub(super) limits: TaskLimits,
    pub(super) is_trusted: bool,
    pub(super) is_public: bool,
    pub(super) definition: Definition,
}

/// What the model is told of a tool.
#[derive(Debug)]
pub(super) enum Definition {
    /// This.
    Given(Value),
    /// What its MCP server says, unless it is given.
    OfServer {
        server: Arc<Mcp>,
        description: Option<String>,
        parameters: Option<Map<String, Value>>,
    },
}

impl Definition {
    /// It, for the tool of this name.
    ///
    /// # Errors
    /// The MCP server cannot be asked.
    pub(super) async fn whole(&self, name: &str) -> Result<Value, TaskError> {
        match self {
            Self::Given(definition) => Ok(definition.clone()),
            Self::OfServer {
                server,
                description,
                parameters,
            } => {
                let found = server.described().await?;
                let description = description.as_ref().unwrap_or(&found.description);
                let parameters = parameters.clone().map_or(found.parameters, Value::Object);
                Ok(tools::definition(name, description, &parameters))
            }
        }
    }
}

impl LlmSettings {
    /// Checks the limits, and reads the tools.
    pub(super) fn tools(
        &mut self,
        setup: &Setup<'_>,
    ) -> Result<BTreeMap<String, Tool>, ConfigureError> {
        self.limits.check()?;
        self.memory.check()?;
        let given = std::mem::take(&mut self.tools).into_iter();
        let read = given.map(|(name, keys)| {
            let tool = read_tool(&name, keys, setup);
            let tool =
                tool.map_err(|reason| ConfigureError(format!("`tools.{name}`: {reason}")))?;
            Ok((name, tool))
        });
        read.collect()
    }
}

fn read_tool(name: &str, mut keys: Map<String, Value>, setup: &Setup<'_>) -> Result<Tool, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 48 || !name.chars().all(is_allowed) {
        return Err("a tool's name has 1 to 48 letters, digits, `_` and `-`".to_owned());
    }
    if tools::BUILT_IN.contains(&name) {
        return Err("there is a tool of this name already".to_owned());
    }
    let own = TOOL_KEYS.iter().filter_map(|key| keys.remove_entry(*key));
    let own: ToolSettings =
        serde_json::from_value(Value::Object(own.collect())).map_err(|error| error.to_string())?;
    let (run, limits, rest) = divide(keys)?;
    let mut server = None;
    let executor: Arc<dyn AnyExecutor> = if run.executor == Mcp::KIND {
        let settings = serde_json::from_value(Value::Object(rest));
        let settings = settings.map_err(|error| with_own_keys(&error.to_string()))?;
        let made = Mcp::configure(settings, setup).map_err(|error| error.to_string())?;
        Arc::clone(server.insert(Arc::new(made))) as Arc<dyn AnyExecutor>
    } else {
        let made = setup.executor(&run.executor, rest);
        made.map_err(|error| with_own_keys(&error.to_string()))?
    };
    let definition = match (own.description, own.parameters, server) {
        (Some(description), Some(parameters), _) => {
            let parameters = Value::Object(parameters);
            Definition::Given(tools::definition(name, &description, &parameters))
        }
        (description, parameters, Some(server)) => Definition::OfServer {
            server,
            description,
            parameters,
        },
        (Some(description), None, None) => {
            let text = json!({
                "type": "object",
                "properties": { "input": { "type": "string" } },
                "required": ["input"],
            });
            Definition::Given(tools::definition(name, &description, &text))
        }
        (None, _, None) => {
            return Err(
                "`description` is missing: it tells the model what the tool does".to_owned(),
            );
        }
    };
    Ok(Tool {
        executor,
        limits,
        is_trusted: own.trusted,
        is_public: own.public,
        definition,
    })
}
