//! What a service says: one JSON object, or a stream of them.
//!
//! That an answer came does not make it one: a model that was cut off, filtered, or wants a tool
//! to be called has not done the job. What the services do, each in its own form, is in
//! `behaviours/tests/http/forms.rs`.

use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;
use super::settings::OnLength;

/// How much of an error that a service tells is kept for the log, in characters.
pub(super) const DETAIL: usize = 500;

/// An object that a service sends: a chat completion, a piece of one, or an error. What else is in
/// it does not matter. Fields that services use in different ways are of any type here.
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
    /// The answer, or a piece of it, as Ollama's own API has it; or the text of an error.
    #[serde(default)]
    message: Option<Value>,
    /// The text of an error.
    #[serde(default)]
    detail: Option<Value>,
    /// Of Ollama's own API: whether this is the last object.
    #[serde(default)]
    done: Option<Value>,
    /// Of Ollama's own API: why.
    #[serde(default)]
    done_reason: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    /// Which of several answers it belongs to; one is asked for.
    #[serde(default)]
    index: Option<u32>,
    /// Of a piece.
    #[serde(default)]
    delta: Option<Said>,
    /// Of a whole.
    #[serde(default)]
    message: Option<Said>,
    /// Why it ends, if it does.
    #[serde(default)]
    finish_reason: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<Value>,
    /// Why the model does not do what it was asked.
    #[serde(default)]
    refusal: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Value>,
    /// What came before `tool_calls`.
    #[serde(default)]
    function_call: Option<Value>,
}

impl Sent {
    /// The error that this object tells of, in whichever form.
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
        // An answer has choices, or is a message of Ollama's.
        if self.choices.is_some() {
            return None;
        }
        says.find(|said| !said.is_object()).map(text_of)
    }

    /// The choices; a message of Ollama's counts as one.
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

/// A value that says something: not `null`, `false`, an empty text or an empty list.
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

/// Why an answer ends. The words are those of OpenAI, vLLM, SGLang, llama.cpp, Ollama, TGI, and of
/// what gateways pass on from others.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The model has said what it had to say.
    Stop,
    /// It was allowed no more.
    Length,
    /// A filter stepped in.
    Filtered,
    /// The model refused.
    Refused,
    /// It wants a tool to be called.
    Tool,
    /// The service gave up.
    Aborted(String),
    /// A word that is not known here.
    Other(String),
}

impl End {
    fn read(reason: &Value) -> Option<Self> {
        // SGLang's own API puts the word into an object.
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

/// The text that came so far.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    max: usize,
    pieces: u32,
    characters: usize,
    end: Option<End>,
    /// Whether the model refused in words.
    refused: bool,
    /// Whether it asked for a tool.
    tool: bool,
    /// Whether anything came that belongs to an answer.
    begun: bool,
}

/// An answer that is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// The text.
    pub(super) text: String,
    /// Whether the model had more to say than it was allowed.
    pub(super) is_cut: bool,
}

impl Answer {
    /// An answer whose text has at most so many bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            text: String::new(),
            max,
            pieces: 0,
            characters: 0,
            end: None,
            refused: false,
            tool: false,
            begun: false,
        }
    }

    /// Takes an object; whether it brought more text.
    pub(super) fn take(&mut self, object: &[u8]) -> Result<bool, Failure> {
        let sent: Sent =
            serde_json::from_slice(object).map_err(|error| not_a_completion(&error))?;
        if let Some(told) = sent.told() {
            return Err(Failure::told(object, told));
        }
        let mut more = false;
        for choice in sent.choices()? {
            if choice.index.unwrap_or(0) != 0 {
                continue;
            }
            self.begun = true;
            if let Some(end) = choice.finish_reason.as_ref().and_then(End::read) {
                // Of several, one that says that something went wrong is not undone by a later one.
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
            if let Some(content) = said.content {
                more |= self.say(content)?;
            }
        }
        Ok(more)
    }

    /// Adds what a piece says: a text, or a list of parts.
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
                        // What a model thinks before it speaks.
                        _ => {}
                    }
                }
                Ok(more)
            }
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(Failure::BadAnswer(
                "its content is neither a text nor a list of parts".to_owned(),
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

    /// How many pieces of text came: about as many as tokens.
    pub(super) const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// How many characters came.
    pub(super) const fn characters(&self) -> usize {
        self.characters
    }

    /// Whether the service has said why the answer ends.
    pub(super) const fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The answer, if it is one, after its last object.
    pub(super) fn whole(self, on_length: OnLength) -> Result<Whole, Failure> {
        if !self.begun {
            return Err(Failure::BadAnswer("it has no choices".to_owned()));
        }
        let is_empty = self.text.trim().is_empty();
        let done = |is_cut| Whole {
            text: self.text,
            is_cut,
        };
        match self.end {
            _ if self.refused => Err(Failure::Refusal),
            Some(End::Refused) => Err(Failure::Refusal),
            Some(End::Filtered) => Err(Failure::Filtered),
            Some(End::Tool) => Err(Failure::ToolCall),
            Some(End::Aborted(word)) => Err(Failure::Aborted(word)),
            Some(End::Other(word)) => Err(Failure::BadAnswer(format!(
                "it ends for a reason that is not known here: {word:?}"
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

    /// The answer that came as a stream, after its last piece; `done` says whether the stream was
    /// ended as it should be.
    pub(super) fn streamed(self, done: bool, on_length: OnLength) -> Result<Whole, Failure> {
        if self.end.is_none() && !done {
            return Err(Failure::Interrupted(
                "the stream ends within the answer".to_owned(),
            ));
        }
        self.whole(on_length)
    }
}
