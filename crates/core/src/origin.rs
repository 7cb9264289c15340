//! What requested a transaction, and what brought about an event.
//!
//! Requests with the same origin are the same request, so an origin must follow from what is on the
//! chain, and from what behaviours make of it, never from the place of a row: every host that sees
//! the same messages derives the same origins.
//!
//! | of | follows from |
//! |---|---|
//! | a message | its digest, which covers its recipient |
//! | a timer, a task | the event whose outcome set or started it, the behaviour, and its name or key |
//! | the outcome of a message | the message, the behaviour that watches it, and the attempts at the message |
//! | news of a task | the task, and the news |
//! | a delivery update | the sent message's origin, and the update |
//! | a renewal | the agent's address, the card, and when it is announced first |
//! | a start | the agent's address, the behaviour, and when it was planned |
//! | a tick | the agent's address, the behaviour, the schedule's name, and the time |
//!
//! News that can come twice is told apart by its time: the progress of a task, and that a message was
//! not sent, which an operator may let be tried again. Neither is on the chain.
//!
//! A message's origin begins like its digest (`message/7f0c…`). Those of other events would grow with
//! every step, so they are hashed (`event/51ab…`). Each has 160 bits of a SHA-256: who wants two with
//! the same ones has to try 2^80 times.

use std::fmt;

use agentry_protocol::{Address, ContentHash, MessageDigest, Timestamp};
use serde_json::{Value, json};

use crate::delivery::DeliveryUpdate;

/// How many hexadecimal digits of a hash an origin has.
const DIGITS: usize = 40;

/// What a behaviour runs for, or a task, by its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Origin {
    /// An origin that was stored.
    pub fn stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its hash alone: what it is called where a `/` could not be part of a name.
    pub fn digits(&self) -> &str {
        self.0
            .rsplit_once('/')
            .map_or(self.as_str(), |(_, digits)| digits)
    }

    /// A message to an agent.
    pub fn of_message(digest: MessageDigest) -> Self {
        Self(format!("message/{}", digits(digest)))
    }

    /// A card's renewal, registered to be announced first at `due_at`.
    pub fn of_renewal(agent: &Address, card: &Value, due_at: Timestamp) -> Self {
        Self::hashed(&json!(["renewal", agent, card, due_at]))
    }

    /// A start of an agent, planned at this time.
    pub fn of_start(agent: &Address, behaviour: &str, at: Timestamp) -> Self {
        Self::hashed(&json!(["start", agent, behaviour, at]))
    }

    /// A time of a behaviour's schedule.
    pub fn of_tick(agent: &Address, behaviour: &str, name: &str, due_at: Timestamp) -> Self {
        Self::hashed(&json!(["tick", agent, behaviour, name, due_at]))
    }

    /// An update on the delivery of a message that was sent with this origin.
    pub fn of_delivery(sent: &str, update: &DeliveryUpdate, at: Timestamp) -> Self {
        // An operator may let it be sent again after these.
        let is_repeatable = matches!(
            update,
            DeliveryUpdate::Unsent { .. } | DeliveryUpdate::Expired
        );
        Self::hashed(&json!([
            "delivery",
            sent,
            update,
            is_repeatable.then_some(at)
        ]))
    }

    /// A timer that the outcome of this event set.
    pub fn timer(&self, behaviour: &str, name: &str) -> Self {
        Self::hashed(&json!(["timer", self.0, behaviour, name]))
    }

    /// A task that the outcome of this event started.
    pub fn task(&self, behaviour: &str, key: &str) -> Self {
        Self::hashed(&json!(["task", self.0, behaviour, key]))
    }

    /// The outcome of this message, after so many attempts at it, for a behaviour that watches it.
    pub fn outcome(&self, watcher: &str, attempts: u32) -> Self {
        Self::hashed(&json!(["outcome", self.0, watcher, attempts]))
    }

    /// The question of this number of this task.
    pub fn question(&self, number: usize) -> Self {
        Self::hashed(&json!(["question", self.0, number]))
    }

    /// The end of this task.
    pub fn end(&self) -> Self {
        Self::hashed(&json!(["end", self.0]))
    }

    /// Progress of this task, reported at this time.
    pub fn progress(&self, news: &Value, at: Timestamp) -> Self {
        Self::hashed(&json!(["progress", self.0, news, at]))
    }

    /// The origin of what a behaviour sends for this event: the effect of this index.
    pub fn draft(&self, behaviour: &str, index: usize) -> String {
        format!("{self}/{behaviour}/{index}")
    }

    /// The origin of an announcement by this renewal, after so many attempts.
    pub fn announcement(&self, attempts: u32) -> String {
        format!("{self}/{attempts}")
    }

    fn hashed(content: &Value) -> Self {
        let hash = ContentHash::of(content.to_string().as_bytes());
        Self(format!("event/{}", digits(hash)))
    }
}

/// The origin of a message that is sent again, with so many resends left before; `sent` is the origin
/// of its first transaction.
pub fn of_resend(sent: &str, resends_left: u32) -> String {
    let sent = ContentHash::of(sent.as_bytes());
    format!("resend/{}/{resends_left}", digits(sent))
}

/// The first [`DIGITS`] of a hash.
fn digits(hash: impl fmt::Display) -> String {
    let mut digits = hash.to_string();
    digits.truncate(DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use agentry_protocol::BlockHeight;
    use proptest::prelude::*;

    use super::*;

    /// What an origin is made of.
    #[derive(Clone, Debug, PartialEq)]
    enum Of {
        Message(u8),
        Renewal(u8, String, u64),
        Start(u8, String, u64),
        Tick(u8, String, String, u64),
        Delivery(String, u64),
        Timer(Box<Self>, String, String),
        Task(Box<Self>, String, String),
        Outcome(Box<Self>, String, u32),
        End(Box<Self>),
        Progress(Box<Self>, String, u64),
    }

    fn origin(of: &Of) -> Origin {
        let address = |byte: &u8| Address::from_chain(&format!("ait1{byte}")).unwrap();
        match of {
            Of::Message(byte) => Origin::of_message(MessageDigest::from_bytes([*byte; 32])),
            Of::Renewal(of, card, due_at) => {
                Origin::of_renewal(&address(of), &json!(card), Timestamp::new(*due_at))
            }
            Of::Start(of, behaviour, at) => {
                Origin::of_start(&address(of), behaviour, Timestamp::new(*at))
            }
            Of::Tick(of, behaviour, name, at) => {
                Origin::of_tick(&address(of), behaviour, name, Timestamp::new(*at))
            }
            Of::Delivery(sent, height) => {
                let height = BlockHeight(*height);
                Origin::of_delivery(sent, &DeliveryUpdate::Mined { height }, Timestamp::EPOCH)
            }
            Of::Timer(event, behaviour, name) => origin(event).timer(behaviour, name),
            Of::Task(event, behaviour, key) => origin(event).task(behaviour, key),
            Of::Outcome(message, watcher, attempts) => origin(message).outcome(watcher, *attempts),
            Of::End(task) => origin(task).end(),
            Of::Progress(task, news, at) => {
                origin(task).progress(&json!(news), Timestamp::new(*at))
            }
        }
    }

    fn of() -> impl Strategy<Value = Of> {
        let word = || "[a/\",]{0,3}";
        let first = prop_oneof![
            (0..4_u8).prop_map(Of::Message),
            (0..2_u8, word(), 0..2_u64).prop_map(|(of, card, at)| Of::Renewal(of, card, at)),
            (0..2_u8, word(), 0..2_u64).prop_map(|(of, one, at)| Of::Start(of, one, at)),
            (0..2_u8, word(), word(), 0..2_u64)
                .prop_map(|(of, one, two, at)| Of::Tick(of, one, two, at)),
            (word(), 0..2_u64).prop_map(|(sent, height)| Of::Delivery(sent, height)),
        ];
        first.prop_recursive(2, 4, 1, move |of| {
            let of = of.prop_map(Box::new);
            prop_oneof![
                (of.clone(), word(), word()).prop_map(|(of, one, two)| Of::Timer(of, one, two)),
                (of.clone(), word(), word()).prop_map(|(of, one, two)| Of::Task(of, one, two)),
                (of.clone(), word(), 0..2_u32).prop_map(|(of, one, two)| Of::Outcome(of, one, two)),
                of.clone().prop_map(Of::End),
                (of, word(), 0..2_u64).prop_map(|(of, one, two)| Of::Progress(of, one, two)),
            ]
        })
    }

    proptest! {
        #[test]
        fn origins_are_equal_if_and_only_if_what_they_are_of_is(
            one in of(),
            other in of(),
            is_same: bool,
        ) {
            let other = if is_same { one.clone() } else { other };
            prop_assert_eq!(origin(&one) == origin(&other), one == other);
        }
    }

    #[test]
    fn what_an_operator_lets_be_sent_again_can_fail_again() {
        let told = |update: &DeliveryUpdate, at| Origin::of_delivery("a/b/0", update, at);
        let reason = "refused".to_owned();
        for (update, differ) in [
            (DeliveryUpdate::Unsent { reason }, true),
            (DeliveryUpdate::Expired, true),
            (DeliveryUpdate::Received, false),
        ] {
            assert_eq!(
                told(&update, Timestamp::new(1)) != told(&update, Timestamp::new(2)),
                differ,
                "{update:?}"
            );
        }
    }
}
