//! The content of a message, in a form that can be compared.

use agentry_protocol::header::HEADER_KEY;
use agentry_protocol::{
    Address, Command, ContentHash, Envelope, Json, Number, Payload, StoredTransaction,
    TransactionHash,
};
use serde::Serialize;
use serde_json::value::RawValue;

/// The most characters of a text that are kept for display.
const SHOWN: usize = 2_000;

/// Fields of STATUS that change all the time.
const VOLATILE: [&str; 3] = ["uptime_ms", "queue", "tasks"];

/// A sent message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComparedMessage {
    /// Its recipient.
    pub to: Address,
    /// What it transfers, in AIT, if anything; written as a number.
    #[serde(serialize_with = "exact_number")]
    pub amount: Option<String>,
    /// A text, or a command as JSON without its header; at most 2,000 characters. None for a sealed
    /// message that cannot be read.
    pub text: Option<String>,
    /// Whether only its recipient can read it.
    pub sealed: bool,
    #[serde(skip)]
    sort: Sort,
    #[serde(skip)]
    header: Option<Shape>,
    #[serde(skip)]
    content: Option<ContentHash>,
}

/// Writes a number as on the chain, with all its digits.
fn exact_number<S: serde::Serializer>(
    number: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = number.as_deref().unwrap_or("0");
    let raw = RawValue::from_string(text.to_owned()).map_err(serde::ser::Error::custom)?;
    raw.serialize(serializer)
}

/// The kind of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sort {
    Text,
    Command(String),
    Sealed,
    Other,
}

/// The parts of a header that do not change from one run to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    thread: Option<String>,
    ack: Option<&'static str>,
    expires: bool,
}

impl ComparedMessage {
    /// The content of a transaction, and the transaction that it answers.
    pub(super) fn read(stored: &StoredTransaction) -> (Self, Option<TransactionHash>) {
        Self::of(&stored.to, &stored.amount, &stored.message())
    }

    /// The content of a payload, and the transaction that it answers.
    pub(super) fn of(
        to: &Address,
        amount: &Number,
        payload: &Json,
    ) -> (Self, Option<TransactionHash>) {
        let envelope = Envelope::read(payload);
        let header = envelope.header();
        let re = header.and_then(|header| header.re);
        let shape = header.map(|header| Shape {
            thread: header.thread.as_ref().map(ToString::to_string),
            ack: header.ack.map(agentry_protocol::AckRequest::as_str),
            expires: header.exp.is_some(),
        });
        let (sort, text) = match &envelope.payload {
            Payload::Text(text) => (Sort::Text, Some(text.clone())),
            Payload::Command(command) if command.cmd == "SEALED" => (Sort::Sealed, None),
            Payload::Command(command) => {
                let status = command.cmd == "STATUS";
                let is_kept = |key: &str| key != "msg" && !(status && VOLATILE.contains(&key));
                let entries = command.body.root().entries();
                let kept = entries.filter(|(key, _)| is_kept(key));
                let body = Json::object(kept.map(|(key, value)| (key, value.to_json())));
                (Sort::Command(command.cmd.clone()), Some(body.to_compact()))
            }
            Payload::Opaque(json) => (Sort::Other, Some(json.to_compact())),
        };
        let amount = Some(amount.to_string()).filter(|amount| amount != "0");
        let said = Self {
            to: to.clone(),
            amount,
            sealed: sort == Sort::Sealed,
            sort,
            header: shape,
            content: text.as_ref().map(|text| ContentHash::of(text.as_bytes())),
            text: text.map(|text| truncated(&text)),
        };
        (said, re)
    }

    /// The same, with the text of a sealed message from its plain payload.
    pub(super) fn with_text(mut self, payload: &Payload) -> Self {
        if self.sealed {
            self.text = display_text(payload);
        }
        self
    }

    /// Whether both have the same content and recipient. The text of sealed messages is not compared.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (
            &self.to,
            &self.amount,
            &self.sort,
            &self.header,
            &self.content,
        ) == (
            &other.to,
            &other.amount,
            &other.sort,
            &other.header,
            &other.content,
        )
    }

    /// Whether one may take the other's place: the same recipient and kind.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.to == other.to && self.sort == other.sort
    }

    /// Whether it is a text without a header.
    pub(super) fn is_plain(&self) -> bool {
        self.sort == Sort::Text && self.header.is_none()
    }

    /// Its approximate size in memory.
    pub(super) fn bytes(&self) -> usize {
        self.text.as_ref().map_or(0, String::len) + 256
    }
}

/// A payload as text for display; `None` if it is sealed.
pub(super) fn display_text(payload: &Payload) -> Option<String> {
    Some(truncated(&match payload {
        Payload::Text(text) => text.clone(),
        Payload::Command(command) if command.cmd == "SEALED" => return None,
        Payload::Command(command) => body(command),
        Payload::Opaque(json) => json.to_compact(),
    }))
}

/// A command without its header, and without fields that change all the time.
fn body(command: &Command) -> String {
    let is_status = command.cmd == "STATUS";
    let is_kept = |key: &str| key != HEADER_KEY && !(is_status && VOLATILE.contains(&key));
    let entries = command.body.root().entries();
    let kept = entries.filter(|(key, _)| is_kept(key));
    Json::object(kept.map(|(key, value)| (key, value.to_json()))).to_compact()
}

/// A text, cut to the length that is shown.
pub(super) fn truncated(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use agentry_protocol::{Limits, Seed};

    use super::*;

    fn said(json: &str) -> ComparedMessage {
        let to = Address::from_public_key(&Seed::from_bytes([1; 32]).public_key());
        let payload = Json::parse(json.as_bytes(), Limits::default()).unwrap();
        ComparedMessage::of(&to, &Number::from(0_u64), &payload).0
    }

    #[test]
    fn fields_that_change_all_the_time_are_not_compared() {
        let one = said(r#"{"text":"a","msg":{"v":1,"exp":1795000000000,"thread":"t"}}"#);
        let other = said(r#"{"text":"a","msg":{"v":1,"exp":1795000009999,"thread":"t"}}"#);
        assert!(one.is_same(&other));
        for different in [
            r#"{"text":"b","msg":{"v":1,"exp":1795000000000,"thread":"t"}}"#,
            r#"{"text":"a","msg":{"v":1,"exp":1795000000000,"thread":"u"}}"#,
            r#"{"text":"a","msg":{"v":1,"thread":"t"}}"#,
            r#"{"text":"a","msg":{"v":1,"exp":1795000000000,"thread":"t","ack":"done"}}"#,
            r#""a""#,
        ] {
            assert!(!one.is_same(&said(different)), "{different}");
        }
        let status = |uptime: u64| said(&format!(r#"{{"cmd":"STATUS","uptime_ms":{uptime}}}"#));
        assert!(status(1).is_same(&status(2)));
        let other = |uptime: u64| said(&format!(r#"{{"cmd":"OTHER","uptime_ms":{uptime}}}"#));
        assert!(!other(1).is_same(&other(2)));
    }

    #[test]
    fn long_texts_with_the_same_beginning_differ() {
        let long = |end: &str| said(&format!("\"{}{end}\"", "é".repeat(3_000)));
        let (one, other) = (long("1"), long("2"));
        assert_eq!(one.text, other.text);
        assert_eq!(one.text.as_ref().unwrap().chars().count(), SHOWN + 1);
        assert!(!one.is_same(&other));
        assert!(one.is_like(&other) && one.is_same(&long("1")));
    }
}
