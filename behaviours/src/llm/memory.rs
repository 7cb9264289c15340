//! What is remembered of a conversation, and where it stands: one entry of the state for each.

use std::collections::{BTreeMap, VecDeque};

use agentry_sdk::protocol::{Authenticity, ContentHash, Timestamp};
use agentry_sdk::{Context, Message, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::MemorySettings;
use super::words::{cut, marked};
use crate::executors::http::Call;

/// The prefix of the state entry of a conversation.
const THREAD: &str = "thread/";

/// The state entry with what senders have spent on a day.
pub(super) const TODAY: &str = "today";

/// How many messages of a conversation wait while one is answered.
const MAX_WAITING: usize = 8;

/// How many notes are kept of a conversation.
const MAX_NOTES: usize = 32;

/// The longest text of a message that is kept, in bytes.
pub(super) const MAX_TEXT: usize = 8 << 10;

/// The longest note and summary, in bytes.
const MAX_NOTE: usize = 1 << 10;
const MAX_SUMMARY: usize = 4 << 10;

/// How many senders are counted on a day. All others are turned away.
const MAX_SENDERS: usize = 8_000;

/// The same for senders that are not trusted: the rest is for those who are.
const MAX_STRANGERS: usize = 2_000;

/// A conversation with one sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Thread {
    /// Who is counted for what it costs.
    pub(super) sender: String,
    /// Whether its messages are sealed.
    #[serde(default)]
    pub(super) is_sealed: bool,
    /// A summary of what was forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    /// What the model has noted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    notes: BTreeMap<String, String>,
    /// The messages and the results of tools, as the model service takes them.
    messages: VecDeque<Value>,
    /// Whether anything in it comes from somebody who is not trusted, other than the sender.
    #[serde(default)]
    pub(super) is_tainted: bool,
    /// The message that is being answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) turn: Option<Turn>,
    /// The messages that wait for that.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) waiting: VecDeque<Waiting>,
    /// The day of `tokens`, counted from the epoch.
    #[serde(default)]
    day: u64,
    /// The tokens that were used on that day.
    #[serde(default)]
    tokens: u64,
    /// When the last message came.
    at: Timestamp,
}

/// A message that is being answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Turn {
    /// The hash of its transaction. The keys of its tasks begin with it.
    pub(super) message: String,
    /// Whether its sender is trusted.
    pub(super) is_trusted: bool,
    /// How often the model was called.
    pub(super) steps: u32,
    /// The tokens that were used.
    pub(super) tokens: u64,
    /// How much was sent, besides the reply.
    pub(super) sends: u32,
    /// The calls of tools that the model has requested last.
    #[serde(default)]
    pub(super) calls: Vec<Running>,
    /// The calls that were made before, to detect repetitions: a tool and its arguments.
    #[serde(default)]
    pub(super) made: Vec<(String, String)>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {
    /// The model's name of the call.
    pub(super) id: String,
    /// The result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<String>,
    /// Whether its task is known to wait for the answer of another agent.
    #[serde(default)]
    pub(super) is_asked: bool,
}

/// A message that waits until the one before it was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    /// The hash of its transaction.
    pub(super) message: String,
    /// Its content, for the model.
    pub(super) text: String,
    /// Whether its sender is trusted.
    pub(super) is_trusted: bool,
    /// Whether its task is known to wait for its turn.
    pub(super) is_asked: bool,
}

/// The name of the state entry of the conversation that a message belongs to. What somebody says in
/// another's name is a conversation of its own, and so is what is sealed.
pub(super) fn name_of(message: &Message) -> String {
    let is_verified = message.authenticity == Authenticity::Verified;
    let mark = match (is_verified, message.sealed) {
        (true, false) => "",
        (true, true) => "!",
        (false, _) => "?",
    };
    let thread = message
        .header
        .as_ref()
        .and_then(|header| header.thread.as_ref());
    let thread = thread.map(ToString::to_string).unwrap_or_default();
    // Both may be as long as a name of the state can be.
    let whole = format!("{mark}{} {thread}", message.from);
    format!("{THREAD}{}", ContentHash::of(whole.as_bytes()))
}

/// Whether a state entry is a conversation.
pub(super) fn is_thread(name: &str) -> bool {
    name.starts_with(THREAD)
}

/// A conversation of the state; none if there is none, or it cannot be read.
pub(super) fn thread(state: &State, name: &str) -> Option<Thread> {
    Thread::deserialize(state.get(name)?).ok()
}

/// The conversation that is forgotten to make room for another one: of those that rest, first one of
/// a sender that is not trusted, then the oldest.
pub(super) fn to_forget(state: &State, is_trusted: impl Fn(&str) -> bool) -> Option<String> {
    let threads = state.entries().filter(|(name, _)| is_thread(name));
    let resting = threads.filter_map(|(name, value)| {
        let thread = Thread::deserialize(value).ok();
        let key = match &thread {
            Some(thread) if thread.turn.is_some() || !thread.waiting.is_empty() => return None,
            Some(thread) => (is_trusted(&thread.sender), thread.at),
            None => (false, Timestamp::EPOCH),
        };
        Some((key, name))
    });
    Some(resting.min()?.1.to_owned())
}

impl Thread {
    pub(super) fn new(sender: String, is_sealed: bool, at: Timestamp) -> Self {
        Self {
            sender,
            is_sealed,
            summary: None,
            notes: BTreeMap::new(),
            messages: VecDeque::new(),
            is_tainted: false,
            turn: None,
            waiting: VecDeque::new(),
            day: 0,
            tokens: 0,
            at,
        }
    }

    /// Adds a message that waits. Returns whether there was room.
    pub(super) fn wait(&mut self, waiting: Waiting, at: Timestamp) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.push_back(waiting);
            self.at = at;
        }
        has_room
    }

    /// Begins to answer a message.
    pub(super) fn begin(&mut self, message: String, text: &str, is_trusted: bool, at: Timestamp) {
        self.messages
            .push_back(json!({ "role": "user", "content": text }));
        self.at = at;
        self.turn = Some(Turn {
            message,
            is_trusted,
            steps: 0,
            tokens: 0,
            sends: 0,
            calls: Vec::new(),
            made: Vec::new(),
        });
    }

    /// Whether the model may do no more than reply.
    pub(super) fn is_confined(&self) -> bool {
        self.is_tainted || self.turn.as_ref().is_none_or(|turn| !turn.is_trusted)
    }

    /// Adds what the model has said.
    pub(super) fn said(&mut self, text: &str, calls: &[Call]) {
        let mut message = json!({ "role": "assistant", "content": cut(text, MAX_TEXT) });
        if !calls.is_empty()
            && let Some(message) = message.as_object_mut()
        {
            let calls = calls.iter().map(|call| {
                let mut call = json!(call);
                if let Some(call) = call.as_object_mut() {
                    call.insert("type".to_owned(), "function".into());
                }
                call
            });
            message.insert("tool_calls".to_owned(), calls.collect());
        }
        self.messages.push_back(message);
    }

    /// Adds the results of the calls, if all are there. Returns whether they are.
    pub(super) fn take_results(&mut self) -> bool {
        let Some(turn) = &mut self.turn else {
            return false;
        };
        if turn.calls.iter().any(|call| call.result.is_none()) {
            return false;
        }
        for call in std::mem::take(&mut turn.calls) {
            let result = call.result.unwrap_or_default();
            self.messages.push_back(json!({
                "role": "tool", "tool_call_id": call.id, "content": cut(&result, MAX_TEXT),
            }));
        }
        true
    }

    /// Notes something under a key, in place of what was noted there; an empty text removes it.
    ///
    /// # Errors
    /// There are too many notes.
    pub(super) fn note(&mut self, key: &str, text: &str) -> Result<(), String> {
        let key = cut(key, 64);
        if text.is_empty() {
            self.notes.remove(&key);
            return Ok(());
        }
        if self.notes.len() >= MAX_NOTES && !self.notes.contains_key(&key) {
            return Err(format!("there are {MAX_NOTES} notes already; remove one"));
        }
        self.notes.insert(key, cut(text, MAX_NOTE));
        Ok(())
    }

    /// The messages for the model. Only `system` is of the operator.
    pub(super) fn prompt(&self, system: &str) -> Vec<Value> {
        let mut messages = vec![json!({ "role": "system", "content": system })];
        let mut known = String::new();
        if let Some(summary) = &self.summary {
            known.push_str("What was said before, summed up:\n");
            known.push_str(summary);
            known.push('\n');
        }
        if !self.notes.is_empty() {
            known.push_str("Your notes:\n");
            for (key, text) in &self.notes {
                known.push_str(&format!("{key}: {text}\n"));
            }
        }
        if !known.is_empty() {
            let mark = self.turn.as_ref().map_or("", |turn| &turn.message);
            let content = marked(mark, &known);
            messages.push(json!({ "role": "user", "content": content }));
        }
        messages.extend(self.messages.iter().cloned());
        messages
    }

    /// Whether more is remembered than may be.
    pub(super) fn is_full(&self, settings: &MemorySettings) -> bool {
        self.messages.len() > settings.messages || self.bytes() > settings.bytes.as_usize()
    }

    fn bytes(&self) -> usize {
        self.messages.iter().map(size).sum()
    }

    /// The oldest messages, which are to be forgotten so that half of the room is free; at least the
    /// last message of the sender stays.
    pub(super) fn to_forget(&self, settings: &MemorySettings) -> usize {
        let (mut left, mut bytes) = (self.messages.len(), self.bytes());
        let mut count = 0;
        for (at, message) in self.messages.iter().enumerate() {
            // A conversation begins with what the sender says: a result never stands without its call.
            let is_user = message.get("role").and_then(Value::as_str) == Some("user");
            if is_user {
                count = at;
                if left <= settings.messages / 2 && bytes <= settings.bytes.as_usize() / 2 {
                    break;
                }
            }
            left -= 1;
            bytes -= size(message);
        }
        count
    }

    /// What the oldest messages say, for a summary.
    pub(super) fn transcript(&self, count: usize) -> String {
        let mut text = String::new();
        if let Some(summary) = &self.summary {
            text.push_str(&format!("before: {summary}\n"));
        }
        for message in self.messages.iter().take(count) {
            let part = |key| message.get(key).and_then(Value::as_str).unwrap_or_default();
            text.push_str(&format!("{}: {}\n", part("role"), part("content")));
        }
        text
    }

    /// Forgets the oldest messages. Without a summary, what was summed up before stays.
    pub(super) fn forget(&mut self, count: usize, summary: Option<&str>) {
        self.messages.drain(..count.min(self.messages.len()));
        if let Some(summary) = summary {
            self.summary = Some(cut(summary, MAX_SUMMARY));
        }
    }

    /// The tokens that were used on a day.
    pub(super) fn tokens_on(&self, day: u64) -> u64 {
        if self.day == day { self.tokens } else { 0 }
    }

    /// Counts tokens.
    pub(super) fn spend(&mut self, day: u64, tokens: u64) {
        self.tokens = self.tokens_on(day).saturating_add(tokens);
        self.day = day;
        if let Some(turn) = &mut self.turn {
            turn.tokens = turn.tokens.saturating_add(tokens);
        }
    }

    /// The entry of the state.
    pub(super) fn to_value(&self) -> Value {
        json!(self)
    }
}

fn size(message: &Value) -> usize {
    message.to_string().len()
}

/// What senders have spent on a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Today {
    day: u64,
    senders: BTreeMap<String, Spent>,
}

/// What a sender has spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent {
    pub(super) tokens: u64,
    pub(super) sends: u32,
}

impl Today {
    pub(super) fn of(context: &Context) -> Self {
        let day = context.now.day();
        let stored = context.state.get(TODAY);
        let stored = stored.and_then(|stored| Self::deserialize(stored).ok());
        stored.filter(|today| today.day == day).unwrap_or(Self {
            day,
            senders: BTreeMap::new(),
        })
    }

    /// Whether a sender can be counted.
    pub(super) fn has_room(&self, sender: &str, is_trusted: bool) -> bool {
        let most = if is_trusted {
            MAX_SENDERS
        } else {
            MAX_STRANGERS
        };
        self.senders.contains_key(sender) || self.senders.len() < most
    }

    pub(super) fn spent(&self, sender: &str) -> Spent {
        self.senders.get(sender).copied().unwrap_or_default()
    }

    pub(super) fn spend(&mut self, sender: &str, tokens: u64, sends: u32) {
        let spent = self.senders.entry(sender.to_owned()).or_default();
        spent.tokens = spent.tokens.saturating_add(tokens);
        spent.sends = spent.sends.saturating_add(sends);
    }
}

/// Who is counted for a message: all senders whose signature cannot be checked count as one.
pub(super) fn payer(message: &Message) -> String {
    match message.authenticity {
        Authenticity::Verified => message.from.to_string(),
        Authenticity::Unverified | Authenticity::Forged => "?".to_owned(),
    }
}
