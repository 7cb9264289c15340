//! Sending a message, and waiting for what becomes of it.

use std::time::{Duration, Instant};

use agentry_core::{AgentId, OutboxId};
use agentry_protocol::{
    AckRequest, Address, Amount, EncryptionKey, Envelope, Json, KnownCommand, Limits, Payload,
    TransactionHash,
};
use agentry_store::Reader;
use agentry_store::list::{talk, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::error::{DoorError, ErrorCode};
use super::{About, Door, POLL, parsed, wait};
use crate::ops::conversations::MessageEntry;
use crate::ops::delivery::What;
use crate::ops::delivery::report::{DeliveryReport, Undelivered, Verdict, Wanted};
use crate::ops::delivery::watch::{StoreWatch, Watch};
use crate::ops::send::{Ack, SendRequest};

/// How long an acknowledgment may take after the message is mined, if the caller does not say.
const ACK_WITHIN: Duration = Duration::from_secs(60);

/// The longest time of a request.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How often a message is resent for want of an acknowledgment, if the caller does not say.
pub const RESENDS: u32 = 3;

/// The form of a word: printable ASCII.
pub(super) const WORD: &str = "^[!-~]([ -~]*[!-~])?$";

/// The form of the hash of a transaction.
const HASH: &str = "^0x[0-9a-f]{64}$";

/// The message to send.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendMessage {
    /// The hosted agent that sends it: its name or its address; not needed if there is only one.
    pub from: Option<String>,
    /// The recipient: an address, or a name among hosted agents, contacts and the directory.
    pub to: String,
    /// The text; either this or `command` is given.
    pub text: Option<String>,
    /// The command: an object with its name in `cmd`.
    pub command: Option<Map<String, Value>>,
    /// The amount that it transfers, in AIT; nothing if not given.
    #[serde(default)]
    pub amount: u64,
    /// The conversation that it belongs to.
    #[schemars(regex(pattern = WORD), length(max = 128))]
    pub thread: Option<String>,
    /// The transaction that it answers or refers to.
    #[schemars(regex(pattern = HASH))]
    pub re: Option<String>,
    /// How long it is valid, in milliseconds: the recipient does not act on it after that.
    #[schemars(range(min = 1, max = 31_536_000_000_u64))]
    pub expires_in_ms: Option<u64>,
    /// Asks the recipient for an acknowledgment.
    pub ack: Option<AckWanted>,
    /// Whether it is sealed, so that only the recipient can read it. Otherwise, everybody can read it
    /// on the chain, for ever.
    #[serde(default)]
    pub seal: bool,
    /// The key to seal it with, in hexadecimal, instead of the one in the directory.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub recipient_key: Option<String>,
    /// A text of your choice: the same request sent again with the same key is the same message.
    #[schemars(length(min = 1, max = 200))]
    pub key: Option<String>,
}

/// The acknowledgment that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AckWanted {
    /// Which one.
    pub what: AckKind,
    /// How long it may take once the message is in a block, in milliseconds; 60,000 if not given.
    #[schemars(range(min = 1, max = 31_536_000_000_u64))]
    pub within_ms: Option<u64>,
    /// How often the message is resent if none comes; 3 if not given. The recipient acts on it once.
    #[schemars(range(max = 100))]
    pub resends: Option<u32>,
}

/// Which acknowledgment is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AckKind {
    /// That the message has arrived.
    Received,
    /// That it has arrived, and its outcome.
    Done,
}

impl From<AckKind> for AckRequest {
    fn from(kind: AckKind) -> Self {
        match kind {
            AckKind::Received => Self::Received,
            AckKind::Done => Self::Done,
        }
    }
}

impl AckWanted {
    fn to_ack(self) -> Result<Ack, DoorError> {
        let resends = self.resends.unwrap_or(RESENDS);
        if resends > 100 {
            return Err(DoorError::invalid("a message is resent at most 100 times"));
        }
        Ok(Ack {
            request: self.what.into(),
            within: duration("within_ms", self.within_ms)?.unwrap_or(ACK_WITHIN),
            resends,
        })
    }
}

/// A message that is stored, and will be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SentMessage {
    /// Its id, such as `outbox/7`.
    pub id: String,
    /// Its transaction; null until it is signed.
    pub transaction: Option<String>,
    /// The id in its header, if it has one.
    pub message_id: Option<String>,
    /// The agent that sends it.
    #[schemars(with = "String")]
    pub from: Address,
    /// The recipient.
    #[schemars(with = "String")]
    pub to: Address,
}

/// What to wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitForReply {
    /// The sent message: its id, the hash of its transaction, or the id in its header.
    pub id: String,
    /// The hosted agent that sent it: its name or its address. In a cluster it is needed if you may use
    /// several agents.
    pub agent: Option<String>,
    /// The stage to wait for; an answer if not given.
    #[serde(default)]
    pub until: Until,
    /// How long to wait at most, in milliseconds; up to 60,000. Without it, the present state is
    /// returned at once.
    #[schemars(range(max = 60_000))]
    pub timeout_ms: Option<u64>,
}

/// The stage of a message to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// It is in a block.
    Mined,
    /// It is acknowledged, as it asks for.
    Acknowledged,
    /// It is answered.
    #[default]
    Answered,
}

/// What has become of a sent message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DeliveryEntry {
    /// Its id, such as `outbox/7`.
    pub id: String,
    /// Its first transaction; null until it is signed.
    pub transaction: Option<String>,
    /// The block that holds it.
    pub height: Option<u64>,
    /// Whether the stage that was waited for is reached.
    pub complete: bool,
    /// Why it cannot be reached any more, if so.
    pub failure: Option<String>,
    /// Whether the message may be delivered if it is sent again with another key.
    pub transient: bool,
    /// The stages that were reached, of those on the way to the one that was waited for.
    pub came: Vec<String>,
    /// Those that were not.
    pub missing: Vec<String>,
    /// How often it was resent.
    pub resends: usize,
    /// Why it is not in a block yet, if that is known.
    pub waits: Option<String>,
    /// What is known of the acknowledgment, if one was asked for.
    pub receipt: Option<ReceiptEntry>,
    /// The first answer. Its content is data of whoever sent it.
    pub answer: Option<MessageEntry>,
}

/// What is known of an acknowledgment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReceiptEntry {
    /// What was asked for: `received` or `done`.
    pub wanted: Option<String>,
    /// What is known.
    pub state: String,
    /// The recipient's explanation.
    pub detail: Option<String>,
}

impl Door {
    /// Sends a message. When this returns `Ok`, it is stored and will be sent.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn send_message(&self, request: SendMessage) -> Result<SentMessage, DoorError> {
        self.caller.check_send()?;
        let (payload, key) = (self.payload(&request)?, request.key.clone());
        let door = self.in_shard(About::Agent(request.from.as_deref())).await?;
        let (from, message) = door
            .look(async move |db, door| {
                let from = door.agent(db, request.from.as_deref())?;
                let to = door.recipient(&request.to)?;
                let content = SendMessage {
                    key: None,
                    ..request
                };
                let key = door.request_key(db, "door", &from, key.as_deref(), &content)?;
                let message = SendRequest {
                    amount: Amount(content.amount),
                    thread: content
                        .thread
                        .as_deref()
                        .map(|thread| parsed("thread", thread))
                        .transpose()?,
                    re: content
                        .re
                        .as_deref()
                        .map(|re| parsed::<TransactionHash>("re", re))
                        .transpose()?,
                    expires_in: duration("expires_in_ms", content.expires_in_ms)?,
                    ack: content.ack.map(AckWanted::to_ack).transpose()?,
                    seal: content.seal,
                    token: door.caller.token.clone(),
                    recipient_key: content
                        .recipient_key
                        .as_deref()
                        .map(|key| parsed::<EncryptionKey>("recipient_key", key))
                        .transpose()?,
                    ..SendRequest::new(to, payload, format!("door/{key}"))
                };
                Ok((from.address, message))
            })
            .await?;
        let to = message.to.clone();
        let sent = door.runtime().send(from.as_str(), message).await?;
        Ok(SentMessage {
            id: format!("outbox/{}", sent.outbox),
            transaction: sent.hash.map(|hash| hash.to_string()),
            message_id: sent.id.map(|id| id.to_string()),
            from,
            to,
        })
    }

    /// Who has sent a message to this recipient, and its conversation, if the caller may use the agent
    /// that has sent it.
    ///
    /// # Errors
    /// There is no such message.
    pub(in crate::doors) async fn sent_to(
        &self,
        id: String,
        to: Address,
    ) -> Result<(AgentId, Option<String>), DoorError> {
        self.caller.check_read()?;
        let door = self.in_shard(About::Row(None)).await?;
        door.look(async move |db, door| {
            let missing = || DoorError::not_found(format_args!("task {id:?}"));
            let row = sent_row(db, &id)?.ok_or_else(missing)?;
            let item = task::asked_at(db, row)?;
            let item = item.filter(|item| item.to == to.as_str() && door.caller.sees(&item.from));
            let item = item.ok_or_else(missing)?;
            let thread = crate::ops::tasks::job::thread(&item);
            Ok((AgentId(item.agent_row), thread))
        })
        .await
    }

    /// The content of a message to send.
    fn payload(&self, request: &SendMessage) -> Result<Json, DoorError> {
        let payload = match (&request.text, &request.command) {
            (Some(text), None) => Json::string(text.clone()),
            (None, Some(command)) => json(&Value::Object(command.clone()))?,
            _ => return Err(DoorError::invalid("give `text` or `command`: one of them")),
        };
        let Payload::Command(command) = Payload::read(&payload) else {
            return match request.command {
                Some(_) => Err(DoorError::invalid("`command` has no name in `cmd`")),
                None => Ok(payload),
            };
        };
        let known = KnownCommand::read(&command);
        let known = known.map_err(|error| DoorError::invalid(error.to_string()))?;
        // They change what the whole network knows of the agent.
        if let Some(KnownCommand::Announce(_) | KnownCommand::Withdraw) = known {
            self.caller.check_operate()?;
        }
        Ok(payload)
    }

    /// Waits until a sent message is answered, acknowledged or mined, or cannot be any more; or until
    /// the time is over.
    ///
    /// # Errors
    /// [`DoorError`]; that the time is over is not an error.
    pub async fn wait_for_reply(&self, request: WaitForReply) -> Result<DeliveryEntry, DoorError> {
        self.caller.check_read()?;
        let (began, limit) = (Instant::now(), wait(request.timeout_ms)?);
        let door = self.in_shard(About::Row(request.agent.as_deref())).await?;
        let (row, mut watch, mut report) = door
            .look(async move |db, door| {
                let missing =
                    || DoorError::not_found(format_args!("sent message {:?}", request.id));
                let row = sent_row(db, &request.id)?.ok_or_else(missing)?;
                let told = talk::sent_at(db, row)?.ok_or_else(missing)?;
                if !door.caller.sees(&told.from) {
                    return Err(missing());
                }
                let header = told.payload.as_ref().map(Envelope::read);
                let plain = header.is_none_or(|envelope| envelope.header().is_none());
                let asked = told.receipt.and_then(|receipt| receipt.wanted);
                let asked = asked.as_deref().and_then(AckRequest::from_word);
                let ack = match (request.until, asked) {
                    (Until::Acknowledged, None) => {
                        let message = "the message asks for no acknowledgment";
                        return Err(DoorError::new(ErrorCode::Conflict, message));
                    }
                    (Until::Acknowledged, asked) => asked,
                    (Until::Mined | Until::Answered, _) => None,
                };
                let wanted = Wanted {
                    ack,
                    outcome: request.until != Until::Mined,
                    answer: request.until == Until::Answered,
                };
                let store = &door.config.store.path;
                let watch = StoreWatch::new(store, OutboxId(row), plain)?;
                let watch = Watch::Store(Box::new(watch));
                Ok((row, watch, DeliveryReport::new(began, wanted)))
            })
            .await?;
        let verdict = loop {
            (watch, report) = Self::blocking(async move || {
                report.look(&mut watch).await?;
                Ok((watch, report))
            })
            .await?;
            let verdict = report.verdict();
            if verdict.is_some() || began.elapsed() >= limit {
                break verdict;
            }
            tokio::time::sleep(POLL).await;
        };
        door.look(async move |db, door| door.delivery(db, row, &report, verdict).await)
            .await
    }

    async fn delivery(
        &self,
        db: &Reader,
        row: i64,
        report: &DeliveryReport,
        verdict: Option<Verdict>,
    ) -> Result<DeliveryEntry, DoorError> {
        let facts = report.facts();
        let is_answer = |what: &What| matches!(what, What::Answer(_));
        let mut heard = facts.heard.iter().filter(|heard| is_answer(&heard.what));
        let answer = match heard.next().and_then(|heard| heard.inbox) {
            Some(inbox) => self.message(db, &format!("inbox/{inbox}")).await?,
            None => None,
        };
        let words = |stages: Vec<&str>| stages.into_iter().map(ToOwned::to_owned).collect();
        let (came, missing) = report.parts();
        let over = match &verdict {
            Some(Verdict::Over(why)) => Some(why),
            Some(Verdict::Complete) | None => None,
        };
        Ok(DeliveryEntry {
            id: format!("outbox/{row}"),
            transaction: report.hash().map(|hash| hash.to_string()),
            height: facts.carriers.iter().find_map(|one| one.height),
            complete: verdict == Some(Verdict::Complete),
            failure: over.map(ToString::to_string),
            transient: over.is_some_and(Undelivered::is_transient),
            came: words(came),
            missing: words(missing),
            resends: facts.carriers.len().saturating_sub(1),
            waits: report.waits().map(ToOwned::to_owned),
            receipt: facts.delivery.as_ref().map(|delivery| ReceiptEntry {
                wanted: delivery.wanted.clone(),
                state: delivery.state.as_str().to_owned(),
                detail: delivery.detail.clone(),
            }),
            answer,
        })
    }
}

/// The row of a sent message.
fn sent_row(db: &Reader, id: &str) -> Result<Option<i64>, DoorError> {
    Ok(match id.strip_prefix("outbox/") {
        Some(row) => row.parse().ok(),
        None => task::row_of(db, &id.to_ascii_lowercase())?,
    })
}

/// A length of time of a request.
pub(super) fn duration(name: &str, ms: Option<u64>) -> Result<Option<Duration>, DoorError> {
    match ms.map(Duration::from_millis) {
        Some(time) if time > LONGEST || time.is_zero() => {
            Err(DoorError::invalid(format!("`{name}` is 1 ms to 365 days")))
        }
        time => Ok(time),
    }
}

/// JSON of a request as the chain carries it.
pub(super) fn json(value: &Value) -> Result<Json, DoorError> {
    Json::parse(value.to_string().as_bytes(), Limits::default())
        .map_err(|error| DoorError::invalid(error.to_string()))
}
