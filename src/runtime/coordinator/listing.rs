//! Reading an inbox of the coordinator. Anybody can have written what is in it, under any name, so
//! everything of it is bounded, and one message that cannot be read hides no other.

use agentry_chain::list::{Item, ListCutter, ListError};
use agentry_protocol::ContentHash;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// How many messages are asked for: the newest.
pub(super) const LIMIT: usize = 50;

/// The most bytes of an answer that are read. The newest messages come first, so what is beyond is old.
const ANSWER_MAX: usize = 8 << 20;

/// The longest message, in bytes. A longer one is counted, and not kept.
const ITEM_MAX: usize = 64 << 10;

/// The longest text around the messages.
const REST_MAX: usize = 16 << 10;

/// The longest content that is kept, in bytes.
pub(super) const CONTENT_MAX: usize = 8 << 10;

/// The longest other field that is kept, in bytes.
const FIELD_MAX: usize = 200;

/// A message in an inbox, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InboxMessage {
    /// What tells it from others: of its id or, if it has none, of its fields.
    pub(super) identity: ContentHash,
    /// Its id, if it has one that a request can name.
    pub(super) id: Option<String>,
    /// Who it says has sent it.
    pub(super) from: String,
    /// Its type, in the words of the coordinator.
    pub(super) kind: Option<String>,
    /// Its priority, in the words of the coordinator.
    pub(super) priority: Option<String>,
    /// When it was sent, as the coordinator writes it.
    pub(super) sent: Option<String>,
    /// Its content; `None` if it is encrypted with keys of the coordinator.
    pub(super) content: Option<String>,
    /// A field of it was cut.
    pub(super) is_cut: bool,
    /// The coordinator has it marked as read.
    pub(super) is_read: bool,
}

/// The newest messages of an inbox.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Those that can be read, newest first.
    pub(super) messages: Vec<InboxMessage>,
    /// How many cannot: too long, or of another form.
    pub(super) unreadable: u64,
}

/// An answer that is no inbox.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListingError {
    #[error("its answer cannot be split: {0}")]
    Split(#[from] ListError),
    #[error("its answer is not an inbox: {0}")]
    Form(serde_json::Error),
}

/// Reads an inbox while it arrives.
pub(super) struct ListingReader {
    cutter: ListCutter,
    listing: Listing,
    read: usize,
}

impl ListingReader {
    pub(super) fn new() -> Self {
        Self {
            cutter: ListCutter::new("messages", ITEM_MAX, REST_MAX),
            listing: Listing::default(),
            read: 0,
        }
    }

    /// Reads the next bytes. Returns whether more are wanted.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<bool, ListError> {
        let listing = &mut self.listing;
        self.cutter.feed(bytes, &mut |item| {
            if listing.messages.len() + listing.unreadable as usize >= LIMIT {
                return;
            }
            let heard = match item {
                Item::Text(text) => heard(text),
                Item::TooLong => None,
            };
            match heard {
                Some(heard) => listing.messages.push(heard),
                None => listing.unreadable += 1,
            }
        })?;
        self.read += bytes.len();
        Ok(self.read < ANSWER_MAX)
    }

    /// What was read; `is_whole`: the answer has ended.
    pub(super) fn finish(self, is_whole: bool) -> Result<Listing, ListingError> {
        /// What is around the messages.
        #[derive(Deserialize)]
        struct Around {
            #[serde(rename = "messages")]
            _messages: Vec<IgnoredAny>,
        }
        if is_whole {
            let rest = self.cutter.finish()?;
            serde_json::from_slice::<Around>(&rest).map_err(ListingError::Form)?;
        }
        Ok(self.listing)
    }
}

/// A message; `None` if it is of another form.
fn heard(text: &[u8]) -> Option<InboxMessage> {
    let fields: Map<String, Value> = serde_json::from_slice(text).ok()?;
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let mut is_cut = false;
    let mut bounded = |text: &str, max: usize| {
        let kept = text
            .get(..text.floor_char_boundary(max))
            .unwrap_or_default();
        is_cut |= kept.len() < text.len();
        kept.to_owned()
    };
    // A broadcast names its fields in another way than a message to one agent.
    let from = text("sender").or_else(|| text("sender_id"))?;
    let content = match fields.get("content").or_else(|| fields.get("payload")) {
        Some(Value::String(content)) => Some(content.clone()),
        Some(Value::Null) | None => None,
        Some(content) => Some(content.to_string()),
    };
    if content.is_none() && !fields.contains_key("ciphertext") {
        return None;
    }
    let sent = text("sent_at").or_else(|| text("timestamp"));
    let kind = text("message_type");
    let id = text("message_id").filter(|id| !id.is_empty());
    let identity = match id {
        Some(id) => json_digest(&[Some("id"), Some(id)]),
        None => json_digest(&[
            None,
            Some(from),
            sent,
            kind,
            content.as_deref().or_else(|| text("ciphertext")),
        ]),
    };
    Some(InboxMessage {
        identity,
        id: id.filter(|id| is_nameable(id)).map(str::to_owned),
        from: bounded(from, FIELD_MAX),
        kind: kind.map(|kind| bounded(kind, FIELD_MAX)),
        priority: text("priority").map(|priority| bounded(priority, FIELD_MAX)),
        sent: sent.map(|sent| bounded(sent, FIELD_MAX)),
        content: content.map(|content| bounded(&content, CONTENT_MAX)),
        is_cut,
        is_read: text("status") == Some("read"),
    })
}

/// A digest of parts, whatever is in them.
fn json_digest(parts: &[Option<&str>]) -> ContentHash {
    let parts: Vec<Value> = parts.iter().map(|part| Value::from(*part)).collect();
    ContentHash::of(Value::from(parts).to_string().as_bytes())
}

/// Whether the path of a request can hold an id, so that the coordinator reads the same from it.
fn is_nameable(id: &str) -> bool {
    id.len() <= FIELD_MAX && id != "." && id != ".." && !id.contains('/')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listing(text: &[u8]) -> Result<Listing, ListingError> {
        let mut reading = ListingReader::new();
        for chunk in text.chunks(7) {
            reading.feed(chunk)?;
        }
        reading.finish(true)
    }

    #[test]
    fn the_forms_of_the_coordinator_are_read() {
        let direct = json!({
            "sender": "someone", "recipient": "me", "content": "{\"text\": \"hi\"}",
            "message_type": "direct", "encrypted": "False", "priority": "normal",
            "timestamp": "2026-08-22T01:00:00+00:00", "ws_delivered": "False", "status": "pending",
            "sent_at": "2026-08-22T01:00:01+00:00", "message_id": "msg_1",
        });
        let broadcast = json!({
            "sender_id": "agent-coordinator", "receiver_id": "me", "message_type": "broadcast",
            "priority": "high", "payload": {"b": [1]}, "protocol": "broadcast",
            "timestamp": "2026-08-22T01:00:02+00:00",
        });
        let encrypted = json!({
            "ciphertext": "AA==", "session_key": "AA==", "nonce": "AA==", "signature": "AA==",
            "sender_id": "x", "sender": "x", "encrypted": "True", "status": "read",
            "message_id": "msg_2", "timestamp": "t",
        });
        let inbox =
            json!({ "agent_id": "me", "messages": [direct, broadcast, encrypted], "count": 3 });
        let found = listing(inbox.to_string().as_bytes()).unwrap();
        assert_eq!(found.unreadable, 0);
        let [one, two, three] = found.messages.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(
            (one.from.as_str(), one.id.as_deref()),
            ("someone", Some("msg_1"))
        );
        assert_eq!(one.content.as_deref(), Some("{\"text\": \"hi\"}"));
        assert_eq!(one.sent.as_deref(), Some("2026-08-22T01:00:01+00:00"));
        assert!(!one.is_read && !one.is_cut);
        assert_eq!((two.from.as_str(), &two.id), ("agent-coordinator", &None));
        assert_eq!(two.content.as_deref(), Some("{\"b\":[1]}"));
        assert_eq!(three.content, None);
        assert!(three.is_read);
    }

    #[test]
    fn what_is_hostile_is_bounded_and_hides_nothing() {
        let long = "x".repeat(ITEM_MAX);
        let half = "é".repeat(CONTENT_MAX);
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        let text = format!(
            r#"{{"messages": [
                {{"sender": "a", "content": "{long}", "message_id": "1"}},
                {{"sender": "a", "content": "{half}", "message_id": "2"}},
                {{"sender": "a", "content": "\ud800", "message_id": "3"}},
                {{"sender": "a", "content": {deep}, "message_id": "4"}},
                {{"sender": 7, "content": "x", "message_id": "5"}},
                {{"sender": "a", "content": null, "message_id": "6"}},
                17, null, "text", [1], {{}},
                {{"sender": "a", "content": "y", "message_id": ["7"], "message_type": 3}},
                {{"sender": "a", "content": "z", "message_id": "../../x"}}
            ]}}"#
        );
        let found = listing(text.as_bytes()).unwrap();
        assert_eq!(found.unreadable, 10);
        let contents: Vec<usize> = found
            .messages
            .iter()
            .map(|one| one.content.as_ref().unwrap().len())
            .collect();
        assert_eq!(contents, [CONTENT_MAX, 1, 1]);
        assert!(found.messages[0].is_cut);
        assert!(found.messages[1..].iter().all(|one| one.id.is_none()));
    }

    #[test]
    fn an_answer_that_is_no_inbox_is_an_error() {
        for text in [
            "",
            "[]",
            "{}",
            "<html>",
            r#"{"messages":null}"#,
            r#"{"messages":{}}"#,
            r#"{"messages":[1"#,
            r#"{"messages":[1]}x"#,
        ] {
            assert!(listing(text.as_bytes()).is_err(), "{text}");
        }
        let around = format!(r#"{{"a":"{}","messages":[]}}"#, "x".repeat(REST_MAX));
        assert!(listing(around.as_bytes()).is_err());
    }

    #[test]
    fn a_longer_answer_is_read_only_in_part() {
        let message = |n: usize| format!(r#"{{"sender":"a","content":"b","message_id":"{n}"}},"#);
        let mut reading = ListingReader::new();
        assert!(reading.feed(b"{\"messages\":[").unwrap());
        for n in 0..2 * LIMIT {
            assert!(reading.feed(message(n).as_bytes()).unwrap());
        }
        let filler = "x".repeat(ANSWER_MAX);
        assert!(!reading.feed(filler.as_bytes()).unwrap());
        let found = reading.finish(false).unwrap();
        assert_eq!((found.messages.len(), found.unreadable), (LIMIT, 0));
    }

    #[test]
    fn messages_without_an_id_are_told_apart_by_their_fields() {
        let one = heard(br#"{"sender":"a","timestamp":"t","payload":{"x":1}}"#).unwrap();
        let same = heard(br#"{"payload":{"x":1},"sender":"a","timestamp":"t","status":"read"}"#);
        let other = heard(br#"{"sender":"a","timestamp":"u","payload":{"x":1}}"#).unwrap();
        assert_eq!(one.identity, same.unwrap().identity);
        assert_ne!(one.identity, other.identity);
    }
}
