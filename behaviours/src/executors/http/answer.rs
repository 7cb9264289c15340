//! What a service says: one JSON object, or a stream of them.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::failure::Failure;

/// How much of an error that a service tells is kept for the log, in characters.
pub(super) const DETAIL: usize = 500;

/// An object that a service sends: a chat completion, a piece of one, or an error. What else
/// stands in it does not matter.
#[derive(Debug, Deserialize)]
struct Sent {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    /// Which of several answers it belongs to; one is asked for.
    #[serde(default)]
    index: u32,
    /// Of a piece.
    #[serde(default)]
    delta: Option<Said>,
    /// Of a whole.
    #[serde(default)]
    message: Option<Said>,
    /// Why it ends, if it does.
    #[serde(default)]
    finish_reason: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<String>,
}

/// The text that came so far.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    max: usize,
    pieces: u32,
    characters: usize,
    ended: bool,
    /// Whether anything came that belongs to an answer.
    begun: bool,
}

impl Answer {
    /// An answer whose text has at most so many bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            text: String::new(),
            max,
            pieces: 0,
            characters: 0,
            ended: false,
            begun: false,
        }
    }

    /// Takes an object; whether it brought more text.
    pub(super) fn take(&mut self, object: &[u8]) -> Result<bool, Failure> {
        let sent: Sent = serde_json::from_slice(object)
            .map_err(|error| Failure::BadAnswer(error.to_string()))?;
        if let Some(error) = sent.error.filter(|error| !error.is_null()) {
            let told = match &error {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            return Err(Failure::Told(told));
        }
        let mut more = false;
        for choice in sent
            .choices
            .into_iter()
            .flatten()
            .filter(|choice| choice.index == 0)
        {
            self.begun = true;
            self.ended |= choice.finish_reason.is_some();
            let said = choice.delta.or(choice.message);
            let Some(text) = said
                .and_then(|said| said.content)
                .filter(|text| !text.is_empty())
            else {
                continue;
            };
            if self.text.len() + text.len() > self.max {
                return Err(Failure::TooLong(self.max));
            }
            self.text.push_str(&text);
            self.characters += text.chars().count();
            self.pieces = self.pieces.saturating_add(1);
            more = true;
        }
        Ok(more)
    }

    /// How many pieces of text came: about as many as tokens.
    pub(super) const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// How many characters came.
    pub(super) const fn characters(&self) -> usize {
        self.characters
    }

    /// The text of an answer that came in one object.
    pub(super) fn whole(self) -> Result<String, Failure> {
        if self.begun {
            Ok(self.text)
        } else {
            Err(Failure::BadAnswer("it has no choices".to_owned()))
        }
    }

    /// The text of an answer that came as a stream, after its last piece; `done` says whether the
    /// stream was ended properly.
    pub(super) fn streamed(self, done: bool) -> Result<String, Failure> {
        if !self.ended && !done {
            return Err(Failure::Interrupted(
                "the stream ends within the answer".to_owned(),
            ));
        }
        self.whole()
    }
}
