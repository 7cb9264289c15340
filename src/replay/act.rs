//! The result of a behaviour's run in a replay: nothing is sent, stored or started.

use std::sync::Arc;

use agentry_protocol::{Address, Number, Seed};
use agentry_sdk::{BehaviourError, Effect, Effects, Event, Message, Outgoing, State};

use super::agenda::{Item, What};
use super::engine::Engine;
use super::ledger::Send;
use super::report::Would;
use super::said::{Said, truncated};
use crate::config::BehaviourInstance;
use crate::runtime::clock::millis;
use crate::runtime::compose::{self, Author, Circumstances};
use crate::runtime::registry::Hosted;
use crate::runtime::runner::Runner;

/// The result of a run.
#[derive(Debug, Default)]
pub(super) struct Act {
    pub(super) sends: Vec<Send>,
    pub(super) notes: Vec<String>,
    pub(super) rejected: Option<String>,
    pub(super) tasks: u64,
}

impl Engine {
    /// Runs a behaviour for an event, which is about `message` if there is one. A transient failure
    /// is retried at once, as many times as in the runtime.
    ///
    /// # Errors
    /// Why the event would become a dead letter.
    pub(super) async fn act(
        &mut self,
        hosted: &Arc<Hosted>,
        instance: &BehaviourInstance,
        event: Event,
        message: Option<&Message>,
    ) -> Result<Act, BehaviourError> {
        let runner = Runner::on(self.stage.clone(), hosted);
        let mut attempts = 0;
        loop {
            let state = State::new(self.remembered(hosted.id, &instance.name));
            let effects = runner.run(instance, event.clone(), attempts, state).await;
            let effects = match effects {
                Ok(effects) => effects,
                Err(error) => {
                    attempts += 1;
                    if error.is_transient() && attempts < hosted.config.common.attempts {
                        continue;
                    }
                    return Err(error);
                }
            };
            // If one message cannot be composed, none of the effects happens.
            let sends = self.sends(hosted, instance, &effects, message)?;
            let mut act = Act {
                sends,
                ..Act::default()
            };
            for effect in effects {
                self.take_effect(hosted, instance, effect, &mut act);
            }
            return Ok(act);
        }
    }

    fn sends(
        &self,
        hosted: &Hosted,
        instance: &BehaviourInstance,
        effects: &Effects,
        message: Option<&Message>,
    ) -> Result<Vec<Send>, BehaviourError> {
        let mut sends = Vec::new();
        for effect in effects.as_slice() {
            let (to, outgoing, answers) = match effect {
                Effect::Reply(outgoing) => {
                    let Some(message) = message else {
                        return Err(BehaviourError::permanent(
                            "the behaviour replies, but the event is not about a message",
                        ));
                    };
                    (&message.from, outgoing, Some(message))
                }
                Effect::Send(addressed) => (&addressed.to, &addressed.outgoing, None),
                _ => continue,
            };
            sends.push(self.send(hosted, instance, to, outgoing, answers)?);
        }
        Ok(sends)
    }

    /// A message as the runtime would compose it.
    fn send(
        &self,
        hosted: &Hosted,
        instance: &BehaviourInstance,
        to: &Address,
        outgoing: &Outgoing,
        answers: Option<&Message>,
    ) -> Result<Send, BehaviourError> {
        let now_ms = self.stage.clock.now_ms();
        // The key in the header is not compared, so any key will do if the wallet's is unknown.
        let public_key = hosted
            .public_key
            .unwrap_or_else(|| Seed::from_bytes([1; 32]).public_key());
        let draft = compose::compose(
            outgoing,
            Author::hosted(hosted, public_key, Some(&instance.name)),
            Circumstances {
                origin: "replay",
                to,
                answers,
                recipient_key: self.directory.enc_key_of(to, now_ms),
                chain_id: &self.chain_id,
                now_ms,
                plain: false,
            },
        )
        .map_err(|error| BehaviourError::permanent(error.to_string()))?;
        let (said, re) = Said::of(to, &Number::from(draft.amount), &draft.payload);
        Ok(Send {
            would: Would {
                behaviour: instance.name.clone(),
                said: said.with_text(&outgoing.payload),
            },
            re,
            label: outgoing.label.clone(),
            acknowledge: outgoing.acknowledge,
        })
    }

    /// Takes an effect other than a message.
    fn take_effect(
        &mut self,
        hosted: &Hosted,
        instance: &BehaviourInstance,
        effect: Effect,
        act: &mut Act,
    ) {
        let now_ms = self.stage.clock.now_ms();
        match effect {
            Effect::Reply(_) | Effect::Send(_) => {}
            Effect::SetState { key, value } => {
                let memory = self.memory(hosted.id, &instance.name);
                memory.insert(key, value);
            }
            Effect::ClearState { key } => {
                self.memory(hosted.id, &instance.name).remove(&key);
            }
            Effect::Schedule { name, after, data } => {
                let after = millis(after);
                self.agenda.put(Item {
                    agent: hosted.id,
                    behaviour: instance.name.clone(),
                    due_ms: now_ms.saturating_add(after),
                    what: What::Timer { name, data },
                });
            }
            Effect::Unschedule { name } => {
                self.agenda.unschedule(hosted.id, &instance.name, &name);
            }
            Effect::StartTask(task) => {
                act.tasks += 1;
                let (kind, key) = (truncated(&task.kind), truncated(&task.key));
                act.notes
                    .push(format!("would start task {key} of type {kind}"));
            }
            Effect::CancelTask { key } => {
                act.notes
                    .push(format!("would cancel task {}", truncated(&key)));
            }
            Effect::Reject { reason } => {
                act.notes
                    .push(format!("would reject it: {}", truncated(&reason)));
                act.rejected = Some(reason);
            }
        }
    }
}
