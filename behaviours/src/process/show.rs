//! Conversion of the sdk's types to lines for a program.

use agentry_sdk::protocol::command::Schemas;
use agentry_sdk::protocol::{AckRequest, Json, JsonRef, Kind, Payload, Timestamp};
use agentry_sdk::{self as sdk, Context};
use serde_json::{Map, Number, Value};

use super::wire;

/// The deepest nesting of a command. JSON parsers differ in their limits: Python's fails at about
/// 1,000 levels, others at 100.
const MAX_DEPTH: usize = 64;

/// A message.
pub(super) fn message(message: &sdk::Message) -> wire::Message {
    let mut shown = wire::Message {
        transaction: message.transaction.to_string(),
        digest: message.digest.to_string(),
        from: message.from.to_string(),
        to: message.to.to_string(),
        amount: message.amount.as_u64(),
        amount_text: match message.amount.as_u64() {
            Some(_) => None,
            None => Some(message.amount.to_string()),
        },
        height: message.height.0,
        authenticity: match message.authenticity {
            sdk::Authenticity::Verified => wire::Authenticity::Verified,
            // No behaviour is shown a forged message; if one were, it would count as unverified.
            sdk::Authenticity::Unverified | sdk::Authenticity::Forged => {
                wire::Authenticity::Unverified
            }
        },
        sealed: message.sealed,
        text: None,
        command: None,
        opaque: None,
        header: message.header.as_ref().map(|header| wire::Header {
            id: header.id.map(|id| id.to_string()),
            re: header.re.map(|re| re.to_string()),
            thread: header.thread.as_ref().map(ToString::to_string),
            expires_ms: header.exp.map(Timestamp::get),
            acknowledge: header.ack.map(|request| match request {
                AckRequest::Received => wire::AckWord::Received,
                AckRequest::Done => wire::AckWord::Done,
            }),
            hops: Some(header.trail.hops).filter(|hops| *hops > 0),
            trace: header.trail.trace.map(|trace| trace.to_string()),
        }),
        answers: message.answers.as_ref().map(|answered| wire::Answered {
            transaction: answered.transaction.to_string(),
            behaviour: answered.behaviour.clone(),
            label: answered.label.clone(),
        }),
    };
    match &message.payload {
        Payload::Text(text) => shown.text = Some(text.clone()),
        Payload::Command(command) => match plain_command(&command.body) {
            Some(body) => shown.command = Some(body),
            None => shown.opaque = Some(command.body.to_compact()),
        },
        Payload::Opaque(json) => shown.opaque = Some(json.to_compact()),
    }
    shown
}

/// The body of a command without its header, if every JSON parser can read it.
pub(super) fn plain_command(body: &Json) -> Option<Map<String, Value>> {
    body.root()
        .entries()
        .filter(|(key, _)| *key != agentry_sdk::protocol::header::HEADER_KEY)
        .map(|(key, value)| Some((key.to_owned(), plain(value, MAX_DEPTH - 1)?)))
        .collect()
}

/// A value with at most `depth` levels of nesting and integers of at most 64 bits.
fn plain(value: JsonRef<'_>, depth: usize) -> Option<Value> {
    Some(match value.kind() {
        Kind::Null => Value::Null,
        Kind::Boolean => Value::Bool(value.as_bool()?),
        Kind::Integer => value
            .as_i64()
            .map(Value::from)
            .or_else(|| value.as_u64().map(Value::from))?,
        Kind::Float => Value::Number(Number::from_f64(value.as_f64()?)?),
        Kind::String => Value::from(value.as_str()?),
        Kind::Array if depth > 0 => value
            .items()
            .map(|item| plain(item, depth - 1))
            .collect::<Option<Vec<_>>>()?
            .into(),
        Kind::Object if depth > 0 => Value::Object(
            value
                .entries()
                .map(|(key, item)| Some((key.to_owned(), plain(item, depth - 1)?)))
                .collect::<Option<Map<_, _>>>()?,
        ),
        Kind::Array | Kind::Object => return None,
    })
}

/// A timer.
pub(super) fn timer(timer: &sdk::Timer) -> wire::Event {
    wire::Event::Timer {
        name: timer.name.clone(),
        data: timer.data.clone(),
        due_ms: timer.due_at.get(),
    }
}

/// A start.
pub(super) const fn start(start: sdk::Start) -> wire::Event {
    wire::Event::Start {
        first: start.is_first,
    }
}

/// A time of a schedule.
pub(super) fn tick(tick: &sdk::Tick) -> wire::Event {
    wire::Event::Tick {
        name: tick.name.clone(),
        at_ms: tick.at.get(),
        missed: tick.missed,
    }
}

/// A delivery update for a message that was sent.
pub(super) fn update(sent: &sdk::SentMessage, update: &sdk::DeliveryUpdate) -> wire::Event {
    let (mut height, mut detail, mut reason) = (None, None, None);
    let update = match update {
        sdk::DeliveryUpdate::Mined { height: found } => {
            height = Some(found.0);
            wire::DeliveryUpdate::Mined
        }
        sdk::DeliveryUpdate::Received => wire::DeliveryUpdate::Received,
        sdk::DeliveryUpdate::Accepted { detail: found } => {
            detail.clone_from(found);
            wire::DeliveryUpdate::Accepted
        }
        sdk::DeliveryUpdate::Done { detail: found } => {
            detail.clone_from(found);
            wire::DeliveryUpdate::Done
        }
        sdk::DeliveryUpdate::Failed { detail: found } => {
            detail.clone_from(found);
            wire::DeliveryUpdate::Failed
        }
        sdk::DeliveryUpdate::Rejected { detail: found } => {
            detail.clone_from(found);
            wire::DeliveryUpdate::Rejected
        }
        sdk::DeliveryUpdate::Expired => wire::DeliveryUpdate::Expired,
        sdk::DeliveryUpdate::Unacknowledged => wire::DeliveryUpdate::Unacknowledged,
        sdk::DeliveryUpdate::Unsent { reason: found } => {
            reason = Some(found.clone());
            wire::DeliveryUpdate::Unsent
        }
    };
    wire::Event::DeliveryUpdate {
        sent: wire::Sent {
            label: sent.label.clone(),
            to: sent.to.to_string(),
            id: sent.id.map(|id| id.to_string()),
            transaction: sent.transaction.map(|hash| hash.to_string()),
        },
        update,
        height,
        detail,
        reason,
    }
}

/// The outcome of a message that arrived.
pub(super) fn settled(shown: &sdk::Message, settlement: &sdk::Settlement) -> wire::Event {
    let (settlement, reason) = match settlement {
        sdk::Settlement::Done => (wire::Settlement::Done, None),
        sdk::Settlement::Failed { reason } => (wire::Settlement::Failed, Some(reason.clone())),
        sdk::Settlement::Rejected { reason } => (wire::Settlement::Rejected, Some(reason.clone())),
        sdk::Settlement::Expired => (wire::Settlement::Expired, None),
    };
    wire::Event::Settled {
        message: message(shown),
        settlement,
        reason,
    }
}

/// The name of an event in the log.
pub(super) fn name_of(event: &wire::Event) -> String {
    match event {
        wire::Event::Message { message } => format!("message {}", message.transaction),
        wire::Event::Timer { name, .. } => format!("timer {name:?}"),
        wire::Event::Start { .. } => "start".to_owned(),
        wire::Event::Tick { name, .. } => format!("tick of {name:?}"),
        wire::Event::DeliveryUpdate { sent, .. } => format!("delivery update for {:?}", sent.label),
        wire::Event::Settled { message, .. } => format!("settled {}", message.transaction),
        wire::Event::Task { task, .. } => format!("task {:?}", task.key),
    }
}

/// A task.
pub(super) fn task(task: &sdk::Task) -> wire::Task {
    wire::Task {
        key: task.key.clone(),
        kind: task.kind.clone(),
        input: task.input.clone(),
        deadline_ms: task.deadline.map(Timestamp::get),
        agent: task.agent.clone(),
        submitter: task.submitter.as_ref().map(ToString::to_string),
        attempt: task.attempt,
        idempotency_key: task.idempotency_key.clone(),
        answers: task.answers.clone(),
    }
}

/// An update of a task.
pub(super) fn report(report: &sdk::TaskReport) -> wire::Event {
    let mut event = NewsOf {
        news: wire::News::Canceled,
        progress: None,
        note: None,
        output: None,
        duration_ms: None,
        code: None,
        message: None,
        question: None,
    };
    match &report.news {
        sdk::TaskNews::Progress { progress, note } => {
            event.news = wire::News::Progress;
            event.progress = Some(*progress);
            event.note.clone_from(note);
        }
        sdk::TaskNews::Completed {
            output,
            duration_ms,
        } => {
            event.news = wire::News::Completed;
            event.output = Some(wire::Output {
                text: output.text.clone(),
                media_type: output.media_type.clone(),
                incomplete: output.incomplete.clone(),
            });
            event.duration_ms = Some(*duration_ms);
        }
        sdk::TaskNews::Failed { code, message } => {
            event.news = wire::News::Failed;
            event.code = Some(code.clone());
            event.message = Some(message.clone());
        }
        sdk::TaskNews::InputRequired {
            number,
            question,
            schema,
            until,
        } => {
            event.news = wire::News::InputRequired;
            event.question = Some(wire::Question {
                number: *number,
                text: question.clone(),
                schema: schema.clone(),
                until_ms: until.get(),
            });
        }
        sdk::TaskNews::Canceled => {}
    }
    wire::Event::Task {
        task: task(&report.task),
        news: event.news,
        progress: event.progress,
        note: event.note,
        output: event.output,
        duration_ms: event.duration_ms,
        code: event.code,
        message: event.message,
        question: event.question,
    }
}

/// The fields of [`wire::Event::Task`] besides the task.
struct NewsOf {
    news: wire::News,
    progress: Option<f64>,
    note: Option<String>,
    output: Option<wire::Output>,
    duration_ms: Option<u64>,
    code: Option<String>,
    message: Option<String>,
    question: Option<wire::Question>,
}

/// The context of a run.
pub(super) fn context(context: &Context) -> wire::RunContext {
    wire::RunContext {
        agent: context.agent.clone(),
        address: context.address.to_string(),
        behaviour: context.behaviour.clone(),
        attempt: context.attempt,
        now_ms: context.now.get(),
        state: context
            .state
            .entries()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect(),
    }
}

/// A card in the directory.
pub(super) fn card(card: &sdk::Card) -> wire::Card {
    let tags = |tags: &agentry_sdk::protocol::command::Tags| {
        tags.as_slice().iter().map(ToString::to_string).collect()
    };
    wire::Card {
        address: card.address.to_string(),
        name: card.card.name.to_string(),
        description: card.card.description.as_ref().map(ToString::to_string),
        capabilities: tags(&card.card.capabilities),
        commands: tags(&card.card.commands),
        schemas: schemas(card.card.schemas.as_ref()),
        endpoints: card
            .card
            .endpoints
            .as_slice()
            .iter()
            .map(|endpoint| wire::Endpoint {
                protocol: endpoint.protocol.to_string(),
                url: endpoint.url.to_string(),
            })
            .collect(),
        sealable: card.card.enc_key.is_some(),
        expires_ms: card.card.expires.get(),
        height: card.height.0,
    }
}

/// The schemas of a card, without what cannot be one.
fn schemas(schemas: Option<&Schemas>) -> Map<String, Value> {
    let object = schemas.map(|schemas| serde_json::from_str(schemas.as_str()));
    let mut object: Map<String, Value> = object.and_then(Result::ok).unwrap_or_default();
    object.retain(|_, schema| schema.is_object());
    object
}

/// A query to the directory.
pub(super) fn query(query: wire::Query) -> sdk::Query {
    let limit = query
        .limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(wire::MAX_CARDS)
        .clamp(1, wire::MAX_CARDS);
    sdk::Query {
        address: None,
        name: query.name,
        capabilities: query.capabilities,
        commands: query.commands,
        announced_since: query.announced_since.map(sdk::protocol::BlockHeight),
        limit,
    }
}
