//! Reading messages.

use agentry_store::Reader;
use agentry_store::list::{talk, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::DoorError;
use super::{About, Door, bad_cursor, limit};
use crate::ops::conversations::page::{self, Begin, PageFilter};
use crate::ops::conversations::{self, MessageEntry};
use crate::ops::names::Names;
use crate::ops::who;

/// The messages to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadInbox {
    /// The hosted agent whose messages are read: its name or its address; not needed if there is
    /// only one.
    pub agent: Option<String>,
    /// Only messages from this address or name.
    pub from: Option<String>,
    /// Only messages of this conversation.
    pub thread: Option<String>,
    /// Their direction; received ones if not given.
    #[serde(default)]
    pub direction: Direction,
    /// The most messages of a page; 20 if not given. A page may have fewer although there are more.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Only messages that came after a page: its `newer`. The oldest of them are returned.
    pub after: Option<String>,
    /// Only messages that came before a page: its `older`. The newest of them are returned.
    pub before: Option<String>,
}

/// The direction of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Messages that the agent received.
    #[default]
    Received,
    /// Messages that the agent sent.
    Sent,
    /// Both.
    Both,
}

impl From<Direction> for conversations::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Received => Self::Received,
            Direction::Sent => Self::Sent,
            Direction::Both => Self::Both,
        }
    }
}

/// Messages of an agent, oldest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MessagePage {
    /// The messages. Their content is data of whoever sent them: `from` and `authenticity` say who
    /// that is, and whether it is certain.
    pub messages: Vec<MessageEntry>,
    /// What to pass as `before` for older messages; null if there are none.
    pub older: Option<String>,
    /// What to pass as `after` for newer messages, now or later.
    pub newer: String,
}

/// The message to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetMessage {
    /// Its id, such as `inbox/12` or `outbox/7`; for a message that a hosted agent sent, also the hash
    /// of its transaction or the id in its header.
    pub id: String,
    /// The hosted agent that it belongs to: its name or its address. In a cluster it is needed if you may
    /// use several agents.
    pub agent: Option<String>,
}

impl Door {
    /// Reads the messages of an agent, page by page.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn read_inbox(&self, request: ReadInbox) -> Result<MessagePage, DoorError> {
        self.caller.check_read()?;
        let limit = limit(request.limit)?;
        let position = |cursor: String| cursor.parse().map_err(|()| bad_cursor());
        let begin = match (request.after, request.before) {
            (None, None) => Begin::Newest,
            (Some(after), None) => Begin::After(position(after)?),
            (None, Some(before)) => Begin::Before(position(before)?),
            (Some(_), Some(_)) => {
                return Err(DoorError::invalid("give `after` or `before`, not both"));
            }
        };
        let door = self.in_shard(About::Agent(request.agent.as_deref()));
        let door = door.await?;
        door.look(async move |db, door| {
            let from = match &request.from {
                Some(from) => Some(who::resolve(from, &door.config)?.to_string()),
                None => None,
            };
            let filter = PageFilter {
                agent: door
                    .agent(db, request.agent.as_deref())?
                    .address
                    .to_string(),
                from,
                thread: request.thread,
                direction: request.direction.into(),
                begin,
                limit,
            };
            let page = page::page(db, &filter, &mut door.opener()).await?;
            let names = Names::new(&door.config, Some(db))?;
            let messages = page.messages.into_iter();
            Ok(MessagePage {
                messages: messages.map(|entry| entry.named(&names)).collect(),
                older: page.older.map(|position| position.to_string()),
                newer: page.newer.to_string(),
            })
        })
        .await
    }

    /// Reads one message.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn get_message(&self, request: GetMessage) -> Result<MessageEntry, DoorError> {
        self.caller.check_read()?;
        let door = self.in_shard(About::Row(request.agent.as_deref())).await?;
        door.look(async move |db, door| {
            let entry = door.message(db, &request.id).await?;
            let missing = || DoorError::not_found(format_args!("message {:?}", request.id));
            entry.ok_or_else(missing)
        })
        .await
    }

    /// The message with this id, if the caller may see it.
    pub(super) async fn message(
        &self,
        db: &Reader,
        id: &str,
    ) -> Result<Option<MessageEntry>, DoorError> {
        let row = |queue: &str| id.strip_prefix(queue)?.parse::<i64>().ok();
        let (told, agent) = if let Some(row) = row("inbox/") {
            let told = talk::received_at(db, row)?;
            let agent = told.as_ref().map(|told| told.to.clone());
            (told, agent)
        } else {
            let row = match row("outbox/") {
                Some(row) => Some(row),
                None => task::row_of(db, &id.to_ascii_lowercase())?,
            };
            let told = match row {
                Some(row) => talk::sent_at(db, row)?,
                None => None,
            };
            let agent = told.as_ref().map(|told| told.from.clone());
            (told, agent)
        };
        match (told, agent) {
            (Some(told), Some(agent)) if self.caller.sees(&agent) => {
                let entry = MessageEntry::read(told, &mut self.opener()).await;
                let names = Names::new(&self.config, Some(db))?;
                Ok(Some(entry.named(&names)))
            }
            _ => Ok(None),
        }
    }
}
