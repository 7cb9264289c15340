//! Conversion of a program's effects to the sdk's.

use std::time::Duration;

use agentry_sdk::protocol::{AckRequest, Address, Json, Payload, Thread, Timestamp};
use agentry_sdk::{Acknowledge, Context, Effects, Outgoing, Sealing, TaskStart};
use serde_json::{Map, Value};

use super::error::ProcessError;
use super::wire::{self, Effect};

/// The effects in a program's answer.
pub(super) fn effects(asked: Vec<Effect>, context: &Context) -> Result<Effects, ProcessError> {
    let mut effects = Effects::none();
    for (index, effect) in asked.into_iter().enumerate() {
        effects = add(effects, effect, context, index)?;
    }
    Ok(effects)
}

fn add(
    effects: Effects,
    effect: Effect,
    context: &Context,
    index: usize,
) -> Result<Effects, ProcessError> {
    let wrong = |reason| ProcessError::Effect { index, reason };
    Ok(match effect {
        Effect::Reply {
            text,
            command,
            amount,
            thread,
            expires_in_ms,
            acknowledge,
            sealing,
            label,
        } => {
            let said = Said {
                text,
                command,
                amount,
                thread,
                expires_in_ms,
                acknowledge,
                sealing,
                label,
            };
            effects.reply_with(said.outgoing().map_err(wrong)?)
        }
        Effect::Send {
            to,
            text,
            command,
            amount,
            thread,
            re,
            expires_in_ms,
            acknowledge,
            sealing,
            label,
        } => {
            let said = Said {
                text,
                command,
                amount,
                thread,
                expires_in_ms,
                acknowledge,
                sealing,
                label,
            };
            let mut outgoing = said.outgoing().map_err(wrong)?;
            outgoing.re = match re {
                Some(hash) => Some(
                    hash.parse()
                        .map_err(|error| wrong(format!("`re`: {error}")))?,
                ),
                None => None,
            };
            effects.send_with(address(&to, context, index)?, outgoing)
        }
        Effect::SetState { key, value } => effects.set_state(key, value),
        Effect::ClearState { key } => effects.clear_state(key),
        Effect::Schedule {
            name,
            after_ms,
            data,
        } => effects.schedule(name, Duration::from_millis(after_ms), data),
        Effect::Unschedule { name } => effects.unschedule(name),
        Effect::StartTask {
            key,
            kind,
            input,
            deadline_ms,
        } => effects.start_task(TaskStart {
            key,
            kind,
            input,
            deadline: deadline_ms.map(Timestamp::new),
        }),
        Effect::CancelTask { key } => effects.cancel_task(key),
        Effect::AnswerTask {
            key,
            number,
            answer,
        } => effects.answer_task(key, number, answer),
        Effect::Reject { reason } => effects.reject(reason),
    })
}

/// An address, or the address of a name. No name starts like an address.
fn address(to: &str, context: &Context, index: usize) -> Result<Address, ProcessError> {
    if to.starts_with("ait1") {
        return Address::from_chain(to).map_err(|error| ProcessError::Effect {
            index,
            reason: format!("`to`: {error}"),
        });
    }
    context
        .resolve(to)
        .map_err(|error| ProcessError::Name { index, error })
}

/// The fields that `reply` and `send` have in common.
struct Said {
    text: Option<String>,
    command: Option<Map<String, Value>>,
    amount: u64,
    thread: Option<String>,
    expires_in_ms: Option<u64>,
    acknowledge: Option<wire::Acknowledge>,
    sealing: wire::SealingWord,
    label: Option<String>,
}

impl Said {
    fn outgoing(self) -> Result<Outgoing, String> {
        let payload = match (self.text, self.command) {
            (Some(text), None) => Payload::Text(text),
            (None, Some(command)) => read_command(command)?,
            (Some(_), Some(_)) | (None, None) => {
                return Err("a message needs either a `text` or a `command`".to_owned());
            }
        };
        let mut outgoing = Outgoing::new(payload)
            .amount(self.amount)
            .sealing(match self.sealing {
                wire::SealingWord::AsAsked => Sealing::AsAsked,
                wire::SealingWord::Never => Sealing::Never,
                wire::SealingWord::IfPossible => Sealing::IfPossible,
                wire::SealingWord::Always => Sealing::Always,
            });
        if let Some(thread) = self.thread {
            let thread: Thread = thread
                .parse()
                .map_err(|error| format!("`thread`: {error}"))?;
            outgoing = outgoing.thread(thread);
        }
        outgoing.expires_in = self.expires_in_ms.map(Duration::from_millis);
        outgoing.acknowledge = self.acknowledge.map(|asked| Acknowledge {
            request: match asked.request {
                wire::AckWord::Received => AckRequest::Received,
                wire::AckWord::Done => AckRequest::Done,
            },
            within: Duration::from_millis(asked.within_ms),
            resends: asked.resends,
        });
        outgoing.label = self.label;
        Ok(outgoing)
    }
}

fn read_command(command: Map<String, Value>) -> Result<Payload, String> {
    let Some(cmd) = command.get("cmd").and_then(Value::as_str) else {
        return Err("a `command` needs a `cmd`, its name as text".to_owned());
    };
    let cmd = cmd.to_owned();
    let command = Value::Object(command);
    let body = Json::from_serialize(&command).map_err(|error| format!("`command`: {error}"))?;
    Ok(Payload::Command(agentry_sdk::protocol::payload::Command {
        cmd,
        body,
    }))
}
