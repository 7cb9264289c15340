//! The story of one message, from its arrival to the last of its effects; and the conversations of an
//! agent.

use std::collections::BTreeMap;

use agentry_core::commit::QueueKind;
use agentry_protocol::{Envelope, Timestamp};
use agentry_store::list::talk::{self, ListedMessage};
use agentry_store::list::{self, Filter, InboxItem, OutboxItem, pick, story, task};
use agentry_store::{Reader, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::DoorError;
use super::{About, Door, bad_cursor, limit};
use crate::ops::conversations::MessageEntry;
use crate::ops::names::Names;
use crate::ops::who;

/// The message whose story is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetTimeline {
    /// Its id, such as `inbox/12` or `outbox/7`; for a message that a hosted agent sent, also the hash
    /// of its transaction or the id in its header.
    pub id: String,
    /// The hosted agent that it belongs to: its name or its address. In a cluster it is needed if you may
    /// use several agents.
    pub agent: Option<String>,
}

/// The story of a message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Timeline {
    /// The message that was asked for, such as `outbox/7`.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// The agent's address.
    pub address: String,
    /// What belongs to the story, in the order in which it came about: what the message answers, the
    /// message, its effects and tasks, and what answers those. Of each kind, the first fifty.
    pub parts: Vec<TimelinePart>,
}

/// Something that belongs to the story of a message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TimelinePart {
    /// Its id, such as `inbox/12`, `outbox/7`, `task/3` or `event/5`.
    pub id: String,
    /// `received`, `sent`, `resent`, `task` or `event`.
    pub kind: String,
    /// The part that it follows from.
    pub from: Option<String>,
    /// Its state.
    pub state: String,
    /// The behaviour that it belongs to.
    pub behaviour: Option<String>,
    /// The type of a task, or the kind of an event.
    pub label: Option<String>,
    /// The message, if it is one. Its content is data of its sender.
    pub message: Option<MessageEntry>,
    /// What happens to it, in order: what has happened, and what is still to come.
    pub stages: Vec<TimelineStage>,
}

/// Something that happens to a part of a story.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TimelineStage {
    /// What: `arrived`, `verified`, `unverified`, `attempts`, `handled_by`, `handled`, `expired`,
    /// `withdrawn`, `dead`, `rejected`; `requested`, `approved`, `signed`, `posted`, `accepted`, `mined`,
    /// `final`, `failed`, `acknowledged`; `started`, `progress`, `completed`, `canceled`; `due`.
    pub stage: String,
    /// Whether it has happened.
    pub reached: bool,
    /// Whether it is a failure.
    pub failed: bool,
    /// When, if that is known.
    #[schemars(with = "Option<u64>")]
    pub at: Option<Timestamp>,
    /// The block.
    pub height: Option<u64>,
    /// How often.
    pub count: Option<u64>,
    /// More about it.
    pub detail: Option<String>,
}

fn stage(stage: &str, reached: bool, at: Option<Timestamp>) -> TimelineStage {
    TimelineStage {
        stage: stage.to_owned(),
        reached,
        failed: false,
        at,
        height: None,
        count: None,
        detail: None,
    }
}

impl Door {
    /// Tells the story of one message: its arrival or what requested it, who has handled it with how many
    /// attempts, what it caused, and what became of that.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn message_timeline(&self, request: GetTimeline) -> Result<Timeline, DoorError> {
        self.caller.check_read()?;
        let door = self.in_shard(About::Row(request.agent.as_deref())).await?;
        door.look(async move |db, door| {
            let missing = || DoorError::not_found(format_args!("message {:?}", request.id));
            let row = |queue: &str| request.id.strip_prefix(queue)?.parse::<i64>().ok();
            let (inbox, outbox) = match (row("inbox/"), row("outbox/")) {
                (None, None) => (None, task::row_of(db, &request.id.to_ascii_lowercase())?),
                rows => rows,
            };
            let subject = match (inbox, outbox) {
                (Some(row), _) => talk::received_at(db, row)?.map(|told| told.to),
                (None, Some(row)) => talk::sent_at(db, row)?.map(|told| told.from),
                (None, None) => None,
            };
            let address = subject.filter(|agent| door.caller.sees(agent));
            let address = address.ok_or_else(missing)?;
            let agent = door.agent(db, Some(&address))?.name;
            let mut teller = Teller {
                door,
                db,
                agent: address.clone(),
                parts: Vec::new(),
            };
            let id = match (inbox, outbox) {
                (Some(row), _) => {
                    teller.begin_with_received(row).await?;
                    format!("inbox/{row}")
                }
                (None, row) => {
                    let row = row.unwrap_or_default();
                    let roots = story::roots(db, row)?.unwrap_or_default();
                    let first = roots.resend_of.unwrap_or(row);
                    let roots = story::roots(db, first)?.unwrap_or_default();
                    match roots.inbox {
                        Some(inbox) => teller.begin_with_received(inbox).await?,
                        None => teller.sent(first, None).await?,
                    }
                    format!("outbox/{row}")
                }
            };
            let mut parts = teller.parts;
            let names = Names::new(&door.config, Some(db))?;
            for part in &mut parts {
                part.message = part.message.take().map(|entry| entry.named(&names));
            }
            Ok(Timeline {
                id,
                agent,
                address,
                parts,
            })
        })
        .await
    }
}

/// Collects the parts of a story.
struct Teller<'a> {
    door: &'a Door,
    db: &'a Reader,
    agent: String,
    parts: Vec<TimelinePart>,
}

impl Teller<'_> {
    fn has(&self, id: &str) -> bool {
        self.parts.iter().any(|part| part.id == id)
    }

    /// A received message, what it answers, and what it caused.
    async fn begin_with_received(&mut self, row: i64) -> Result<(), DoorError> {
        let item = received(self.db, row)?;
        let asked = item.and_then(|item| item.re);
        let asked = match asked {
            Some(hash) => task::row_of(self.db, &hash)?,
            None => None,
        };
        let mut from = None;
        if let Some(asked) = asked
            && let Some(told) = talk::sent_at(self.db, asked)?
            && told.from == self.agent
        {
            let id = format!("outbox/{asked}");
            self.sent_alone(asked, None, "sent").await?;
            from = Some(id);
        }
        self.received(row, from).await?;
        let caused = story::caused(self.db, row)?;
        let id = format!("inbox/{row}");
        for row in caused.tasks {
            self.task(row, &id)?;
        }
        for row in caused.outbox {
            self.sent(row, Some(id.clone())).await?;
        }
        for row in caused.events {
            self.event(row, &id)?;
        }
        Ok(())
    }

    async fn message(&self, told: Option<ListedMessage>) -> Option<MessageEntry> {
        match told {
            Some(told) => Some(MessageEntry::read(told, &mut self.door.opener()).await),
            None => None,
        }
    }

    async fn received(&mut self, row: i64, from: Option<String>) -> Result<(), DoorError> {
        let id = format!("inbox/{row}");
        if self.has(&id) {
            return Ok(());
        }
        let Some(item) = received(self.db, row)? else {
            return Ok(());
        };
        let caused = story::caused(self.db, row)?;
        let stages = stages_of_received(&item, &caused.handled_by);
        let message = self.message(talk::received_at(self.db, row)?).await;
        self.parts.push(TimelinePart {
            id,
            kind: "received".to_owned(),
            from,
            state: item.state,
            behaviour: None,
            label: None,
            message,
            stages,
        });
        Ok(())
    }

    async fn sent_alone(
        &mut self,
        row: i64,
        from: Option<String>,
        kind: &str,
    ) -> Result<Option<OutboxItem>, DoorError> {
        let id = format!("outbox/{row}");
        let item = sent(self.db, row)?.filter(|_| !self.has(&id));
        let Some(item) = item else {
            return Ok(None);
        };
        let roots = story::roots(self.db, row)?.unwrap_or_default();
        let stages = stages_of_sent(&item, &roots);
        let message = self.message(talk::sent_at(self.db, row)?).await;
        // The name of the behaviour stands before the number of the effect.
        let behaviour = item.origin.rsplit('/').nth(1).map(ToOwned::to_owned);
        self.parts.push(TimelinePart {
            id,
            kind: kind.to_owned(),
            behaviour: behaviour.filter(|_| roots.inbox.is_some()),
            from,
            state: item.state.clone(),
            label: None,
            message,
            stages,
        });
        Ok(Some(item))
    }

    /// A sent message, what carried it again, and what answers it.
    async fn sent(&mut self, row: i64, from: Option<String>) -> Result<(), DoorError> {
        let Some(item) = self.sent_alone(row, from, "sent").await? else {
            return Ok(());
        };
        let id = format!("outbox/{row}");
        let mut hashes: Vec<String> = item.transaction.into_iter().collect();
        for resend in story::resends(self.db, row)? {
            let resent = self.sent_alone(resend, Some(id.clone()), "resent").await?;
            hashes.extend(resent.and_then(|item| item.transaction));
        }
        for hash in hashes {
            for answer in story::answers(self.db, &self.agent, &hash)? {
                self.received(answer, Some(id.clone())).await?;
            }
        }
        Ok(())
    }

    fn task(&mut self, row: i64, from: &str) -> Result<(), DoorError> {
        let filter = task::ExecutingFilter {
            row: Some(row),
            limit: 1,
            ..task::ExecutingFilter::default()
        };
        let Some(item) = task::executing(self.db, &filter)?.pop() else {
            return Ok(());
        };
        let has_begun = item.started_at.is_some();
        let mut stages = vec![stage("requested", true, Some(item.made_at))];
        stages.push(TimelineStage {
            count: Some(item.attempts).filter(|count| *count > 1),
            ..stage("started", has_begun, item.started_at)
        });
        if let Some(progress) = item.progress {
            let share = format!("{:.0} %", progress * 100.0);
            stages.push(TimelineStage {
                detail: Some(
                    item.note
                        .map_or(share.clone(), |note| format!("{share}: {note}")),
                ),
                ..stage("progress", true, None)
            });
        }
        let end = match item.state.as_str() {
            "failed" => "failed",
            "canceled" => "canceled",
            _ => "completed",
        };
        stages.push(TimelineStage {
            failed: end == "failed",
            detail: item.error,
            ..stage(end, item.ended_at.is_some(), item.ended_at)
        });
        self.parts.push(TimelinePart {
            id: item.id,
            kind: "task".to_owned(),
            from: Some(from.to_owned()),
            state: item.state,
            behaviour: Some(item.behaviour),
            label: Some(item.kind),
            message: None,
            stages,
        });
        Ok(())
    }

    fn event(&mut self, row: i64, from: &str) -> Result<(), DoorError> {
        let filter = Filter {
            row: Some(row),
            limit: 1,
            ..Filter::default()
        };
        let Some(item) = list::events(self.db, &filter)?.pop() else {
            return Ok(());
        };
        let is_dead = item.state == "dead";
        let end = TimelineStage {
            failed: is_dead,
            detail: item.reason,
            count: Some(item.attempts).filter(|count| *count > 0),
            ..stage(if is_dead { "dead" } else { "due" }, is_dead, item.due_at)
        };
        self.parts.push(TimelinePart {
            id: item.id,
            kind: "event".to_owned(),
            from: Some(from.to_owned()),
            state: item.state,
            behaviour: Some(item.behaviour).filter(|name| !name.is_empty()),
            label: Some(item.kind),
            message: None,
            stages: vec![stage("requested", true, Some(item.made_at)), end],
        });
        Ok(())
    }
}

fn only(row: i64) -> Filter {
    Filter {
        row: Some(row),
        limit: 1,
        ..Filter::default()
    }
}

fn received(db: &Reader, row: i64) -> Result<Option<InboxItem>, StoreError> {
    Ok(list::inbox(db, &only(row))?.pop())
}

fn sent(db: &Reader, row: i64) -> Result<Option<OutboxItem>, StoreError> {
    Ok(list::outbox(db, &only(row))?.pop())
}

fn stages_of_received(item: &InboxItem, handled_by: &[String]) -> Vec<TimelineStage> {
    let mut stages = vec![
        TimelineStage {
            height: item.height,
            ..stage("arrived", true, Some(item.seen_at))
        },
        stage(&item.authenticity, true, None),
    ];
    if item.attempts > 0 {
        stages.push(TimelineStage {
            failed: true,
            count: Some(item.attempts),
            detail: item.reason.clone(),
            ..stage("attempts", true, None)
        });
    }
    for behaviour in handled_by {
        stages.push(TimelineStage {
            detail: Some(behaviour.clone()),
            ..stage("handled_by", true, None)
        });
    }
    if let Some(reason) = &item.rejected {
        stages.push(TimelineStage {
            failed: true,
            detail: Some(reason.clone()),
            ..stage("rejected", true, None)
        });
    }
    let end = match item.state.as_str() {
        end @ ("expired" | "dead" | "withdrawn") => end,
        _ => "handled",
    };
    stages.push(TimelineStage {
        failed: end != "handled",
        detail: item.reason.clone().filter(|_| end == "dead"),
        ..stage(end, item.state != "waiting", item.settled_at)
    });
    stages
}

fn stages_of_sent(item: &OutboxItem, roots: &story::Roots) -> Vec<TimelineStage> {
    let mut stages = vec![stage("requested", true, Some(item.created_at))];
    if item.waits_for_approval {
        stages.push(stage("approved", false, None));
    }
    let is_failed = item.state == "failed";
    let open = |name: &str, at: Option<Timestamp>| stage(name, at.is_some(), at);
    // The reason of a transaction that waits belongs to what it waits for.
    let waits = |one: TimelineStage| TimelineStage {
        detail: item.reason.clone().filter(|_| !one.reached && !is_failed),
        ..one
    };
    stages.push(waits(open("signed", item.prepared_at)));
    stages.push(TimelineStage {
        count: Some(item.posts).filter(|count| *count > 0),
        ..stage("posted", item.posts > 0, roots.posted_at)
    });
    stages.push(open("accepted", item.accepted_at));
    stages.push(TimelineStage {
        height: item.height,
        ..stage("mined", item.mined_at.is_some(), item.mined_at)
    });
    if is_failed {
        // What was not reached will not be.
        stages.retain(|one| one.reached);
        stages.push(TimelineStage {
            failed: true,
            detail: item.reason.clone(),
            ..stage("failed", true, roots.settled_at)
        });
    } else {
        let is_final = item.state == "final";
        let at = roots.settled_at.filter(|_| is_final);
        stages.push(stage("final", is_final, at));
    }
    if let Some(receipt) = item.receipt.as_ref().filter(|one| one.wanted.is_some()) {
        let is_open = receipt.state == "open";
        let failed = ["failed", "rejected", "expired", "unacknowledged", "unsent"];
        let word = format!(
            "{} (asked for: {})",
            receipt.state,
            receipt.wanted.as_deref().unwrap_or("-")
        );
        stages.push(TimelineStage {
            failed: failed.contains(&receipt.state.as_str()),
            count: Some(receipt.resends).filter(|count| *count > 0),
            detail: Some(
                receipt
                    .detail
                    .as_ref()
                    .map_or(word.clone(), |detail| format!("{word}: {detail}")),
            ),
            ..stage(
                "acknowledged",
                !is_open,
                Some(receipt.changed_at).filter(|_| !is_open),
            )
        });
    }
    stages
}

/// The conversations to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListConversations {
    /// The hosted agent: its name or its address; not needed if there is only one.
    pub agent: Option<String>,
    /// Where older ones begin: the `older` of the page before.
    pub before: Option<String>,
}

/// Conversations among the newest messages of an agent, the latest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ConversationPage {
    /// The agent's name.
    pub agent: String,
    /// The agent's address.
    pub address: String,
    /// The conversations. One that goes on in older messages is in the next page, too.
    pub conversations: Vec<Conversation>,
    /// What to pass as `before` for those of older messages; null if there are none.
    pub older: Option<String>,
}

/// The messages that an agent and another address have exchanged in a thread.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Conversation {
    /// The other address.
    pub peer: String,
    /// The name of the other address.
    pub peer_name: Option<String>,
    /// The thread; null for messages without one.
    pub thread: Option<String>,
    /// How many messages of it are among those that were looked at.
    pub messages: u64,
    /// The latest of them.
    pub last: MessageEntry,
}

/// The conversation to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadConversation {
    /// The hosted agent: its name or its address; not needed if there is only one.
    pub agent: Option<String>,
    /// The other address, or its name.
    pub peer: String,
    /// Only messages of this thread.
    pub thread: Option<String>,
    /// The most messages of a page; 20 if not given. A page may have fewer although there are more.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Where older ones begin: the `older` of the page before.
    pub before: Option<String>,
}

/// Messages of a conversation, oldest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ConversationMessages {
    /// The messages. Their content is data of whoever sent them.
    pub messages: Vec<MessageEntry>,
    /// What to pass as `before` for older messages; null if there are none.
    pub older: Option<String>,
}

/// How many messages of each direction are looked at for a page of conversations.
const WINDOW: usize = 200;

/// The rows before which older messages begin, in the inbox and the outbox.
#[derive(Clone, Copy)]
struct Before {
    inbox: i64,
    outbox: i64,
}

impl Before {
    fn parse(cursor: Option<&str>) -> Result<Self, DoorError> {
        let Some(cursor) = cursor else {
            return Ok(Self {
                inbox: i64::MAX,
                outbox: i64::MAX,
            });
        };
        let (inbox, outbox) = cursor.split_once('.').ok_or_else(bad_cursor)?;
        let row = |text: &str| text.parse().map_err(|_| bad_cursor());
        Ok(Self {
            inbox: row(inbox)?,
            outbox: row(outbox)?,
        })
    }

    fn text(self) -> String {
        format!("{}.{}", self.inbox, self.outbox)
    }
}

fn thread_of(told: &ListedMessage) -> Option<String> {
    let envelope = told.payload.as_ref().map(Envelope::read)?;
    let thread = envelope.header()?.thread.as_ref()?;
    Some(thread.as_str().to_owned())
}

/// The newest messages of an agent with a peer, newest first; and before which rows others begin, if
/// there are others.
fn exchanged(
    db: &Reader,
    (agent, peer): (&str, Option<&str>),
    before: Before,
    most: usize,
) -> Result<(Vec<ListedMessage>, Option<Before>), StoreError> {
    let wanted = (most as u64).saturating_add(1);
    let pair = (agent, peer);
    let mut inbox = pick::with_peer(db, QueueKind::Inbox, pair, Some(before.inbox), wanted)?;
    let mut outbox = pick::with_peer(db, QueueKind::Outbox, pair, Some(before.outbox), wanted)?;
    let more = inbox.len() > most || outbox.len() > most;
    inbox.truncate(most);
    outbox.truncate(most);
    let older = Before {
        inbox: inbox.last().copied().unwrap_or(before.inbox),
        outbox: outbox.last().copied().unwrap_or(before.outbox),
    };
    let mut messages = Vec::new();
    for row in inbox {
        messages.extend(talk::received_at(db, row)?);
    }
    for row in outbox {
        messages.extend(talk::sent_at(db, row)?);
    }
    messages.sort_by_key(|told| std::cmp::Reverse(told.turn()));
    Ok((messages, more.then_some(older)))
}

impl Door {
    /// Lists the conversations among the newest messages of an agent.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn list_conversations(
        &self,
        request: ListConversations,
    ) -> Result<ConversationPage, DoorError> {
        self.caller.check_read()?;
        let before = Before::parse(request.before.as_deref())?;
        let door = self
            .in_shard(About::Agent(request.agent.as_deref()))
            .await?;
        door.look(async move |db, door| {
            let row = door.agent(db, request.agent.as_deref())?;
            let address = row.address.to_string();
            let (messages, older) = exchanged(db, (&address, None), before, WINDOW)?;
            let mut places: BTreeMap<(String, Option<String>), usize> = BTreeMap::new();
            let mut found: Vec<(ListedMessage, u64)> = Vec::new();
            for told in messages {
                let peer = match told.authenticity {
                    Some(_) => told.from.clone(),
                    None => told.to.clone(),
                };
                let place = places
                    .entry((peer, thread_of(&told)))
                    .or_insert(found.len());
                match found.get_mut(*place) {
                    Some((_, count)) => *count += 1,
                    None => found.push((told, 1)),
                }
            }
            let names = Names::new(&door.config, Some(db))?;
            let mut opener = door.opener();
            let mut conversations = Vec::new();
            for ((peer, thread), place) in places {
                let Some((told, messages)) = found.get(place).cloned() else {
                    continue;
                };
                let last = MessageEntry::read(told, &mut opener).await.named(&names);
                let peer_name = names.text(&peer);
                conversations.push((
                    place,
                    Conversation {
                        peer,
                        peer_name,
                        thread,
                        messages,
                        last,
                    },
                ));
            }
            conversations.sort_by_key(|(place, _)| *place);
            Ok(ConversationPage {
                agent: row.name,
                address,
                conversations: conversations.into_iter().map(|(_, one)| one).collect(),
                older: older.map(Before::text),
            })
        })
        .await
    }

    /// Reads the messages that an agent and another address have exchanged, page by page.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn read_conversation(
        &self,
        request: ReadConversation,
    ) -> Result<ConversationMessages, DoorError> {
        self.caller.check_read()?;
        let limit = limit(request.limit)?;
        let before = Before::parse(request.before.as_deref())?;
        let door = self
            .in_shard(About::Agent(request.agent.as_deref()))
            .await?;
        door.look(async move |db, door| {
            let row = door.agent(db, request.agent.as_deref())?;
            let peer = who::resolve(&request.peer, &door.config)?.to_string();
            let pair = (row.address.as_str(), Some(peer.as_str()));
            // The rows of one direction that are not in the page are read again for the next one.
            let half = limit.div_ceil(2);
            let (mut told, older) = exchanged(db, pair, before, half)?;
            if request.thread.is_some() {
                told.retain(|told| thread_of(told) == request.thread);
            }
            told.reverse();
            let names = Names::new(&door.config, Some(db))?;
            let mut opener = door.opener();
            let mut messages = Vec::new();
            for told in told {
                messages.push(MessageEntry::read(told, &mut opener).await.named(&names));
            }
            Ok(ConversationMessages {
                messages,
                older: older.map(Before::text),
            })
        })
        .await
    }
}
