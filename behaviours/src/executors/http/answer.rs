//! The answer of a service: one JSON object, or a stream of them.
//!
//! Not every answer completes the job: the model may have been cut off or filtered, or may request
//! a tool call. `behaviours/tests/http/forms.rs` has the formats of the known services.

use agentry_sdk::Tokens;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::failure::Failure;
use super::settings::OnLength;

/// The most tokens of an answer that are believed: a thousand times more than a model can read.
const MOST_TOKENS: u64 = 1_000_000_000;

/// The bytes of text to a token, for estimates. English has about four, other languages fewer.
const BYTES_PER_TOKEN: u64 = 3;

/// About how many tokens a text of this many bytes has.
pub(super) const fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// The most characters of a service's error text that are kept for the log.
pub(super) const DETAIL: usize = 500;

/// An object that a service sends: a chat completion, a piece of one, or an error. Other fields are
/// ignored. Fields that services use in different ways have any type here.
#[derive(Debug, Deserialize)]
struct Sent {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    error: Option<Value>,
    /// `chat.completion`, `chat.completion.chunk`, or `error`.
    #[serde(default)]
    object: Option<Value>,
    /// `error`, in some services' errors.
    #[serde(default, rename = "type")]
    kind: Option<Value>,
    /// In Ollama's own API, the answer or a piece of it; otherwise the text of an error.
    #[serde(default)]
    message: Option<Value>,
    /// The text of an error.
    #[serde(default)]
    detail: Option<Value>,
    /// In Ollama's own API: whether this is the last object.
    #[serde(default)]
    done: Option<Value>,
    /// In Ollama's own API: why the answer ends.
    #[serde(default)]
    done_reason: Option<Value>,
    /// The tokens of the answer so far, or of all of it.
    #[serde(default)]
    usage: Option<Value>,
    /// In Ollama's own API: the tokens that the model has read.
    #[serde(default)]
    prompt_eval_count: Option<Value>,
    /// In Ollama's own API: the tokens that the model has written.
    #[serde(default)]
    eval_count: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    /// The index of the answer that it belongs to; the request asks for one answer.
    #[serde(default)]
    index: Option<u32>,
    /// The message of a piece.
    #[serde(default)]
    delta: Option<Said>,
    /// The message of a complete answer.
    #[serde(default)]
    message: Option<Said>,
    /// Why the answer ends, if it does.
    #[serde(default)]
    finish_reason: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<Value>,
    /// Why the model refuses.
    #[serde(default)]
    refusal: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Value>,
    /// The predecessor of `tool_calls`.
    #[serde(default)]
    function_call: Option<Value>,
}

impl Sent {
    /// The error in this object, in any of the known formats.
    fn told(&self) -> Option<String> {
        let is_error = |word: &Option<Value>| word.as_ref().is_some_and(|word| word == "error");
        if let Some(error) = present(self.error.as_ref()) {
            return Some(text_of(error));
        }
        let says = [&self.message, &self.detail];
        let mut says = says.into_iter().filter_map(|said| present(said.as_ref()));
        if is_error(&self.object) || is_error(&self.kind) {
            return Some(says.next().map_or_else(|| "error".to_owned(), text_of));
        }
        // An answer has choices, or is a message in Ollama's format.
        if self.choices.is_some() {
            return None;
        }
        says.find(|said| !said.is_object()).map(text_of)
    }

    /// The tokens that the model has read and written, each if it is there.
    fn tokens(&self) -> [Option<&Value>; 2] {
        let usage = |key| self.usage.as_ref().and_then(|usage| usage.get(key));
        [
            usage("prompt_tokens").or(self.prompt_eval_count.as_ref()),
            usage("completion_tokens").or(self.eval_count.as_ref()),
        ]
    }

    /// The choices; a message in Ollama's format counts as one.
    fn choices(self) -> Result<Vec<Choice>, Failure> {
        if let Some(choices) = self.choices {
            return Ok(choices);
        }
        let Some(message) = self.message.filter(Value::is_object) else {
            return Ok(Vec::new());
        };
        let message = Said::deserialize(message).map_err(|error| not_a_completion(&error))?;
        let done = self.done == Some(Value::Bool(true));
        Ok(vec![Choice {
            index: None,
            delta: None,
            message: Some(message),
            finish_reason: done.then(|| self.done_reason.unwrap_or_else(|| "stop".into())),
        }])
    }
}

/// Whether a value has content: it is not `null`, `false`, an empty text or an empty list.
fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Object(_) => true,
    })
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn not_a_completion(error: &serde_json::Error) -> Failure {
    Failure::BadAnswer(error.to_string())
}

/// Why an answer ends. The values are those of OpenAI, vLLM, SGLang, llama.cpp, Ollama and TGI, and
/// those that gateways pass on from other services.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The model finished.
    Stop,
    /// The model reached its limit of tokens.
    Length,
    /// A content filter blocked the answer.
    Filtered,
    /// The model refused.
    Refused,
    /// The model requested a tool call.
    Tool,
    /// The service aborted the answer.
    Aborted(String),
    /// An unknown value.
    Other(String),
}

impl End {
    fn read(reason: &Value) -> Option<Self> {
        // SGLang's own API wraps the value in an object.
        let word = reason.get("type").unwrap_or(reason);
        let word = text_of(present(Some(word))?).to_ascii_lowercase();
        Some(match word.as_str() {
            "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" | "complete"
            | "completed" => Self::Stop,
            "length" | "max_tokens" | "max_output_tokens" | "max_length" | "model_length" => {
                Self::Length
            }
            "content_filter"
            | "safety"
            | "recitation"
            | "prohibited_content"
            | "blocklist"
            | "spii"
            | "guardrail_intervened" => Self::Filtered,
            "refusal" => Self::Refused,
            "tool_calls" | "tool_call" | "tool_use" | "function_call" => Self::Tool,
            "abort"
            | "aborted"
            | "error"
            | "cancelled"
            | "canceled"
            | "timeout"
            | "load"
            | "unload"
            | "insufficient_system_resource" => Self::Aborted(word),
            _ => Self::Other(word),
        })
    }
}

/// The text received so far.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    max: usize,
    pieces: u32,
    characters: usize,
    end: Option<End>,
    /// Whether the answer contains a refusal.
    refused: bool,
    /// Whether the answer contains a tool call.
    tool: bool,
    /// Whether the model may request calls of tools.
    has_tools: bool,
    /// The calls that it requests.
    calls: Vec<Call>,
    /// Whether any part of an answer was received.
    begun: bool,
    /// The tokens that the model has read and written, each as the service said last.
    tokens: [Option<u64>; 2],
    /// The last count of tokens that cannot be right.
    wrong_count: Option<String>,
}

/// An answer that completes the job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// The text.
    pub(crate) text: String,
    /// Whether the model reached its limit of tokens.
    pub(crate) is_cut: bool,
    /// The calls of tools that the model requests.
    pub(crate) calls: Vec<Call>,
}

/// A call of a tool that a model requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// The model's name of the call.
    #[serde(default)]
    pub(crate) id: String,
    /// The tool and its arguments.
    pub(crate) function: Function,
}

/// A tool and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Function {
    /// The tool.
    pub(crate) name: String,
    /// An object, as JSON text. Some services send the object itself.
    #[serde(default, deserialize_with = "arguments")]
    pub(crate) arguments: String,
}

fn arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(text_of(&Value::deserialize(deserializer)?))
}

impl Answer {
    /// An empty answer, whose text may grow to this many bytes, and which may request calls of tools
    /// if there are any.
    pub(super) fn new(max: usize, has_tools: bool) -> Self {
        Self {
            text: String::new(),
            max,
            pieces: 0,
            characters: 0,
            end: None,
            refused: false,
            tool: false,
            has_tools,
            calls: Vec::new(),
            begun: false,
            tokens: [None, None],
            wrong_count: None,
        }
    }

    /// Adds an object. Returns whether it contained more text.
    pub(super) fn take(&mut self, object: &[u8]) -> Result<bool, Failure> {
        let sent: Sent =
            serde_json::from_slice(object).map_err(|error| not_a_completion(&error))?;
        if let Some(told) = sent.told() {
            return Err(Failure::told(object, told));
        }
        for (count, told) in self.tokens.iter_mut().zip(sent.tokens()) {
            match told.map(|told| (told, told.as_u64())) {
                None | Some((Value::Null, _)) => {}
                Some((_, Some(tokens))) if tokens <= MOST_TOKENS => *count = Some(tokens),
                Some((told, _)) => {
                    let told = told.to_string().chars().take(DETAIL).collect();
                    self.wrong_count = Some(told);
                }
            }
        }
        let mut more = false;
        for choice in sent.choices()? {
            if choice.index.unwrap_or(0) != 0 {
                continue;
            }
            self.begun = true;
            if let Some(end) = choice.finish_reason.as_ref().and_then(End::read) {
                // A later reason does not replace one that reports a failure.
                if matches!(self.end, None | Some(End::Stop)) {
                    self.end = Some(end);
                }
            }
            let Some(said) = choice.delta.or(choice.message) else {
                continue;
            };
            self.refused |= present(said.refusal.as_ref()).is_some();
            self.tool |= present(said.tool_calls.as_ref()).is_some()
                || present(said.function_call.as_ref()).is_some();
            if let Some(calls) = said
                .tool_calls
                .filter(|calls| self.has_tools && !calls.is_null())
            {
                let calls = Vec::deserialize(calls).map_err(|error| not_a_completion(&error))?;
                self.calls.extend::<Vec<Call>>(calls);
            }
            if let Some(content) = said.content {
                more |= self.say(content)?;
            }
        }
        Ok(more)
    }

    /// Adds the content of a piece: a text, or a list of parts.
    fn say(&mut self, content: Value) -> Result<bool, Failure> {
        match content {
            Value::Null => Ok(false),
            Value::String(text) => self.add(&text),
            Value::Array(parts) => {
                let mut more = false;
                for part in parts {
                    let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                    match (kind, part.get("text").and_then(Value::as_str)) {
                        ("text" | "output_text", Some(text)) => more |= self.add(text)?,
                        ("refusal", _) => self.refused = true,
                        // The model's reasoning.
                        _ => {}
                    }
                }
                Ok(more)
            }
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(Failure::BadAnswer(
                "the content is neither a text nor a list of parts".to_owned(),
            )),
        }
    }

    fn add(&mut self, text: &str) -> Result<bool, Failure> {
        if text.is_empty() {
            return Ok(false);
        }
        if self.text.len() + text.len() > self.max {
            return Err(Failure::TooLong(self.max));
        }
        self.text.push_str(text);
        self.characters += text.chars().count();
        self.pieces = self.pieces.saturating_add(1);
        Ok(true)
    }

    /// The number of pieces of text, which is about the number of tokens.
    pub(super) const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// The number of characters received.
    pub(super) const fn characters(&self) -> usize {
        self.characters
    }

    /// Whether the service has said why the answer ends.
    pub(super) const fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The tokens of the answer so far, as the service says or, where it does not, by an estimate:
    /// `prompt` for what the model has read. None if no part of an answer was received.
    pub(super) fn tokens(&self, prompt: u64) -> Option<Tokens> {
        let [input, output] = self.tokens;
        let is_known = self.begun || input.is_some() || output.is_some();
        is_known.then(|| Tokens {
            input: input.unwrap_or(prompt),
            output: output.unwrap_or_else(|| estimate(self.text.len())),
        })
    }

    /// The last count of tokens that cannot be right, and was ignored.
    pub(super) fn wrong_count(&self) -> Option<&str> {
        self.wrong_count.as_deref()
    }

    /// The answer, after its last object, if it completes the job.
    fn whole(self, on_length: OnLength) -> Result<Whole, Failure> {
        if !self.begun {
            return Err(Failure::BadAnswer("there are no choices".to_owned()));
        }
        let is_empty = self.text.trim().is_empty();
        let requests = !self.calls.is_empty();
        let done = |is_cut| Whole {
            text: self.text,
            is_cut,
            calls: self.calls,
        };
        match self.end {
            _ if self.refused => Err(Failure::Refusal),
            Some(End::Refused) => Err(Failure::Refusal),
            Some(End::Filtered) => Err(Failure::Filtered),
            Some(End::Tool | End::Stop) | None if requests => Ok(done(false)),
            Some(End::Tool) => Err(Failure::ToolCall),
            Some(End::Aborted(word)) => Err(Failure::Aborted(word)),
            Some(End::Other(word)) => Err(Failure::BadAnswer(format!(
                "unknown finish reason {word:?}"
            ))),
            Some(End::Length) => match on_length {
                OnLength::Cut if !is_empty => Ok(done(true)),
                OnLength::Cut | OnLength::Fail => Err(Failure::Length),
            },
            Some(End::Stop) | None if is_empty && self.tool => Err(Failure::ToolCall),
            Some(End::Stop) | None if is_empty => Err(Failure::Empty),
            Some(End::Stop) | None => Ok(done(false)),
        }
    }

    /// The answer, after its last piece, if it completes the job. `done` says whether it ended as an
    /// answer does: a stream with its end marker.
    pub(super) fn end(self, done: bool, on_length: OnLength) -> Result<Whole, Failure> {
        if self.end.is_none() && !done {
            return Err(Failure::Interrupted(
                "the stream ended before the answer was complete".to_owned(),
            ));
        }
        self.whole(on_length)
    }
}
