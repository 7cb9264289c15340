//! The laws that need no comparison.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use agentry_protocol::Authenticity;
use agentry_protocol::command::{Tag, Tags};

use super::history::examine;
use super::{Breach, Contract, caught, panic_message};
use crate::AnyBehaviour;
use crate::testing::{MessageBuilder, Simulation};

/// The longest name of a kind, so that it fits in tables.
const KIND_MAX: usize = 64;
/// A key that is unknown to every behaviour.
const FOREIGN_KEY: &str = "no-behaviour-has-this-key";
/// The most messages that two agents may exchange because of one message to them.
const EXCHANGE: usize = 100;
/// The number of messages of a long history.
const LONG_HISTORY: usize = 300;

/// Checks the behaviour's kind, settings, card and task limits.
pub(super) fn form(contract: &Contract) -> Result<(), Breach> {
    let kind = contract.kind;
    let well_formed = !kind.is_empty()
        && kind.len() <= KIND_MAX
        && kind
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !well_formed {
        let detail =
            format!("KIND {kind:?} must have 1 to {KIND_MAX} characters of a-z, 0-9 and -");
        return Err(Breach::new("the kind is well formed", detail));
    }
    let behaviour = built(contract)?;
    let mut keys = contract.keys();
    keys.insert(FOREIGN_KEY.to_owned(), true.into());
    if contract.build(keys).is_ok() {
        let detail = "an unknown key is accepted; add #[serde(deny_unknown_fields)] to the type \
                      of the settings";
        return Err(Breach::new("unknown keys are refused", detail));
    }
    card("commands", behaviour.commands())?;
    card("capabilities", behaviour.capabilities())?;
    for kind in ["", "text", "no such type"] {
        let limits = behaviour.task_limits(kind);
        if limits.concurrency == 0 || limits.attempts == 0 || limits.time.is_zero() {
            let detail = format!("task_limits({kind:?}) lets no task start: {limits:?}");
            return Err(Breach::new("tasks can start", detail));
        }
    }
    Ok(())
}

fn card(what: &str, words: Vec<String>) -> Result<(), Breach> {
    let law = "commands and capabilities fit on a card";
    let mut tags: Vec<Tag> = Vec::new();
    for word in words {
        let tag = word.parse();
        tags.push(tag.map_err(|error| Breach::new(law, format!("{what}: {word:?}: {error}")))?);
    }
    Tags::new(tags)
        .map(drop)
        .map_err(|error| Breach::new(law, format!("{what}: {error}")))
}

fn built(contract: &Contract) -> Result<std::sync::Arc<dyn AnyBehaviour>, Breach> {
    contract.build(contract.keys()).map_err(|error| {
        let law = "the settings are accepted";
        Breach::new(law, format!("{error}; set them with Contract::settings"))
    })
}

/// Checks that acceptance depends on the message only.
pub(super) fn acceptance(contract: &Contract) -> Result<(), Breach> {
    let (one, other) = (built(contract)?, built(contract)?);
    for message in everything(contract) {
        let message = message.build();
        let asked = |behaviour: &dyn AnyBehaviour| {
            (behaviour.accepts(&message), behaviour.watches(&message))
        };
        let all = catch_unwind(AssertUnwindSafe(|| {
            [asked(&*one), asked(&*one), asked(&*other)]
        }));
        match all {
            Ok([first, second, third]) if first == second && second == third => {}
            Ok(_) => {
                let law = "acceptance depends on the message only";
                return Err(Breach::new(law, brief(&message)));
            }
            Err(panic) => {
                let law = "acceptance never panics";
                return Err(Breach::new(
                    law,
                    format!("{}: {}", panic_message(&*panic), brief(&message)),
                ));
            }
        }
    }
    Ok(())
}

fn everything(contract: &Contract) -> Vec<MessageBuilder> {
    let mut messages = contract.samples.clone();
    messages.extend(contract.strange.iter().cloned());
    messages
}

/// The beginning of a message's payload, for an error.
fn brief(message: &crate::Message) -> String {
    let mut text = format!("{:?}", message.payload);
    text.truncate(text.floor_char_boundary(300));
    text
}

/// Shows the behaviour every sample message that it accepts.
pub(super) async fn hostility(contract: &Contract) -> Result<(), Breach> {
    let mut chain = contract.prepared(0);
    let agent = chain.host(contract.agent("agent"));
    let from = chain.peer("mallory");
    for message in everything(contract) {
        let message = message.or_from(&from.address).to(&agent);
        for message in [message.clone(), message.unverified()] {
            let shown = brief(&message.clone().build());
            let played = caught(async {
                chain.deliver(message).await;
                chain.advance(Duration::from_secs(60)).await;
            });
            if let Err(panic) = played.await {
                let detail = format!("{panic}: {shown}");
                return Err(Breach::new("no handler panics", detail));
            }
        }
    }
    examine(&chain)
}

/// Checks that two instances stop answering each other.
///
/// The message that starts the conversation has a header, as all messages that agents send on
/// their own initiative, so that answers name the message that they answer. If the behaviour
/// accepts unverified messages, anyone could post that message in the name of the other instance,
/// so a plain text starts a conversation too.
pub(super) async fn end(contract: &Contract) -> Result<(), Breach> {
    let law = "two instances stop answering each other";
    let plain = built(contract)?.demands() <= Authenticity::Unverified;
    let samples = contract.samples.iter();
    let plain = samples.clone().filter(|_| plain).cloned();
    for sample in samples.map(|sample| sample.clone().with_id()).chain(plain) {
        let mut chain: Simulation = contract.prepared(0);
        let one = chain.host(contract.agent("one"));
        let two = chain.host(contract.agent("two"));
        let played = caught(async {
            chain.post(sample.clone().from(&two).to(&one));
            let ended = chain.settle_within(EXCHANGE).await;
            if ended {
                chain.advance(Duration::from_secs(600)).await;
            }
            (ended, chain)
        });
        let (ended, chain) = played.await.map_err(|panic| Breach::new(law, panic))?;
        let between = chain
            .sent()
            .iter()
            .filter(|sent| [&one.address, &two.address].contains(&&sent.to))
            .count();
        if !ended || between > EXCHANGE {
            let shown = brief(&sample.clone().build());
            let detail = format!(
                "they exchanged {between} messages because of {shown} and did not stop; do not \
                 answer a message that is an answer (Message::is_answer), or declare the behaviour \
                 Contract::conversational"
            );
            return Err(Breach::new(law, detail));
        }
    }
    Ok(())
}

/// Checks that the state is bounded after many messages.
pub(super) async fn memory(contract: &Contract) -> Result<(), Breach> {
    let mut chain = contract.prepared(0);
    let agent = chain.host(contract.agent("agent"));
    let peers = ["ann", "ben", "cid"].map(|name| chain.peer(name));
    let played = caught(async {
        for number in 0..LONG_HISTORY {
            if let Some(peer) = peers.get(number % peers.len()) {
                let message = contract.sample(number, &peer.address).to(&agent);
                chain.deliver(message).await;
            }
            if number % 10 == 9 {
                chain.advance(Duration::from_secs(60)).await;
            }
        }
        chain.advance(Duration::from_secs(7_200)).await;
        chain
    });
    let chain = played
        .await
        .map_err(|panic| Breach::new("no handler panics", panic))?;
    examine(&chain)?;
    let bytes: usize = chain
        .state(&agent, contract.kind)
        .entries()
        .map(|(key, value)| key.len() + value.to_string().len())
        .sum();
    if bytes > contract.state_limit {
        let detail = format!(
            "the state has {bytes} bytes after {LONG_HISTORY} messages; the limit is {}; delete \
             what is no longer needed, or raise Contract::state_limit",
            contract.state_limit
        );
        return Err(Breach::new("the state is bounded", detail));
    }
    Ok(())
}
