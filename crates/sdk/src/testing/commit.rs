//! The commit of a run's effects: all of them, or none.

use super::Simulation;
use super::outbox::after_ms;
use super::queue::{Item, SetTimer, Waiting, short};
use crate::effects::Effect;
use crate::{Addressed, BehaviourError, Effects, Event, Outgoing, Sealing, Timer};

impl Simulation {
    /// Carries out the effects of a run. `about` is the message that the event is about, `key`
    /// identifies the event.
    ///
    /// # Errors
    /// An effect is impossible now (transient) or always (permanent). Then no effect happens.
    pub(super) fn commit(
        &mut self,
        host: usize,
        behaviour: usize,
        about: Option<usize>,
        key: &str,
        effects: Effects,
    ) -> Result<(), BehaviourError> {
        effects
            .check()
            .map_err(|error| BehaviourError::permanent(error.to_string()))?;
        for effect in effects.as_slice() {
            self.possible(host, about, effect)?;
        }
        let now = self.now_ms;
        for (index, effect) in effects.into_iter().enumerate() {
            let origin = self.origin(host, behaviour, key, index);
            let Some(hosted) = self.hosts.get_mut(host) else {
                continue;
            };
            let store = &mut hosted.store;
            let message = about
                .and_then(|row| store.inbox.get(row))
                .map(|row| row.message.clone());
            match effect {
                Effect::Reply(outgoing) => {
                    if let Some(message) = message {
                        let to = message.from.clone();
                        let sealed = self.seals(&to, &outgoing, message.sealed) == Ok(true);
                        let addressed = Addressed { to, outgoing };
                        let about = Some(&*message);
                        self.dispatch(host, behaviour, &origin, addressed, about, sealed);
                    }
                }
                Effect::Send(addressed) => {
                    let seals = self.seals(&addressed.to, &addressed.outgoing, false);
                    self.dispatch(host, behaviour, &origin, addressed, None, seals == Ok(true));
                }
                Effect::SetState { key, value } => {
                    if let Some(state) = store.states.get_mut(behaviour) {
                        state.insert(key, value);
                    }
                }
                Effect::ClearState { key } => {
                    if let Some(state) = store.states.get_mut(behaviour) {
                        state.remove(&key);
                    }
                }
                Effect::Schedule { name, after, data } => {
                    self.delete_timer(host, behaviour, &name);
                    let timer = SetTimer {
                        behaviour,
                        name,
                        data,
                        due_ms: after_ms(now, after),
                        key: short(&origin),
                    };
                    if let Some(hosted) = self.hosts.get_mut(host) {
                        hosted.store.timers.push(timer);
                    }
                }
                Effect::Unschedule { name } => self.delete_timer(host, behaviour, &name),
                Effect::StartTask(start) => {
                    self.start_task(host, behaviour, &origin, start, about);
                }
                Effect::CancelTask { key } => self.cancel_task(host, behaviour, &key),
                Effect::Reject { reason } => {
                    if let Some(row) = about.and_then(|row| store.inbox.get_mut(row)) {
                        row.rejected.get_or_insert(reason);
                    }
                }
            }
        }
        Ok(())
    }

    fn origin(&self, host: usize, behaviour: usize, key: &str, index: usize) -> String {
        let hosted = self.hosts.get(host);
        let agent = hosted.map_or("", |host| host.agent.name.as_str());
        let name = hosted
            .and_then(|host| host.instances.get(behaviour))
            .map_or("", |one| one.name.as_str());
        format!("{agent}/{name}/{key}/{index}")
    }

    /// Checks whether an effect can be carried out.
    fn possible(
        &self,
        host: usize,
        about: Option<usize>,
        effect: &Effect,
    ) -> Result<(), BehaviourError> {
        let message = about
            .and_then(|row| self.hosts.get(host)?.store.inbox.get(row))
            .map(|row| &row.message);
        match (effect, message) {
            (Effect::Reply(_), None) => Err(BehaviourError::permanent(
                "a reply needs a message to answer, and this event is not about one",
            )),
            (Effect::Reply(outgoing), Some(message)) => self
                .seals(&message.from, outgoing, message.sealed)
                .map(drop),
            (Effect::Send(addressed), _) => self
                .seals(&addressed.to, &addressed.outgoing, false)
                .map(drop),
            _ => Ok(()),
        }
    }

    /// Whether a message is sent sealed.
    fn seals(
        &self,
        to: &agentry_protocol::Address,
        outgoing: &Outgoing,
        question_sealed: bool,
    ) -> Result<bool, BehaviourError> {
        let can = self.environment.can_seal(to, self.now_ms);
        let must = match outgoing.sealing {
            Sealing::Never => return Ok(false),
            Sealing::IfPossible => return Ok(can),
            Sealing::AsAsked => question_sealed,
            Sealing::Always => true,
        };
        if must && !can {
            // Transient: the recipient's card may still arrive.
            let reason = format!("cannot seal a message to {to}: no encryption key is known");
            return Err(BehaviourError::transient(reason));
        }
        Ok(must)
    }

    fn delete_timer(&mut self, host: usize, behaviour: usize, name: &str) {
        let Some(hosted) = self.hosts.get_mut(host) else {
            return;
        };
        let store = &mut hosted.store;
        store
            .timers
            .retain(|timer| timer.behaviour != behaviour || timer.name != name);
        store.queue.retain(|item| {
            !matches!(
                &item.what,
                Waiting::Own { behaviour: of, event, .. }
                    if *of == behaviour
                        && matches!(&**event, Event::Timer(timer) if timer.name == name)
            )
        });
    }

    /// Queues the timers that have expired.
    pub(super) fn ripen(&mut self, host: usize) {
        let now = self.now_ms;
        let Some(hosted) = self.hosts.get_mut(host) else {
            return;
        };
        let store = &mut hosted.store;
        let (mut ripe, rest): (Vec<SetTimer>, Vec<SetTimer>) = std::mem::take(&mut store.timers)
            .into_iter()
            .partition(|timer| timer.due_ms <= now);
        store.timers = rest;
        ripe.sort_by_key(|timer| timer.due_ms);
        for timer in ripe {
            let event = Event::Timer(Timer {
                name: timer.name,
                data: timer.data,
                due_ms: timer.due_ms,
            });
            let key = format!("timer/{}", timer.key);
            store
                .queue
                .push(Item::own(&key, timer.behaviour, event, None, now));
        }
    }
}
