//! The laws that need no comparison.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use agentry_protocol::Authenticity;
use agentry_protocol::command::{Tag, Tags};

use super::history::examine;
use super::{Breach, Contract, caught, words};
use crate::AnyBehaviour;
use crate::testing::{MessageBuilder, Simulation};

/// Longest name of a kind: it stands in lists.
const KIND_MAX: usize = 64;
/// A key that no behaviour knows.
const FOREIGN_KEY: &str = "no-behaviour-has-this-key";
/// Most messages that two of a kind may exchange over one that sets them off.
const EXCHANGE: usize = 100;
/// Messages of a long history.
const LONG_HISTORY: usize = 300;

/// Its kind, its settings, its card.
pub(super) fn form(contract: &Contract) -> Result<(), Breach> {
    let kind = contract.kind;
    let well_formed = !kind.is_empty()
        && kind.len() <= KIND_MAX
        && kind
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !well_formed {
        let detail = format!("KIND {kind:?} is not of a-z, 0-9 and -, 1 to {KIND_MAX} of them");
        return Err(Breach::new("the kind is well formed", detail));
    }
    let behaviour = built(contract)?;
    let mut keys = contract.keys();
    keys.insert(FOREIGN_KEY.to_owned(), true.into());
    if contract.build(keys).is_ok() {
        let detail = "a key that it does not know is taken; give its settings \
                      #[serde(deny_unknown_fields)]";
        return Err(Breach::new("unknown keys are refused", detail));
    }
    card("commands", behaviour.commands())?;
    card("capabilities", behaviour.capabilities())?;
    for kind in ["", "text", "no such type"] {
        let limits = behaviour.task_limits(kind);
        if limits.concurrency == 0 || limits.attempts == 0 || limits.time.is_zero() {
            let detail = format!("task_limits({kind:?}) lets no task begin: {limits:?}");
            return Err(Breach::new("tasks can begin", detail));
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
        let law = "its settings are taken";
        Breach::new(law, format!("{error}; give them with Contract::settings"))
    })
}

/// Whether it takes a message depends on the message alone.
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
                let law = "acceptance depends on the message alone";
                return Err(Breach::new(law, brief(&message)));
            }
            Err(panic) => {
                let law = "acceptance never panics";
                return Err(Breach::new(
                    law,
                    format!("{}: {}", words(&*panic), brief(&message)),
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

/// The beginning of what a message says.
fn brief(message: &crate::Message) -> String {
    let mut text = format!("{:?}", message.payload);
    text.truncate(text.floor_char_boundary(300));
    text
}

/// Everything that strangers post is shown to it, as far as it takes it.
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

/// Two of it come to an end with each other.
///
/// What sets them off has a header, as everything that agents send of their own accord, so that
/// answers name what they answer. Where unverified messages are taken anyone could write it in the
/// name of the other, so there a plain text does it too.
pub(super) async fn end(contract: &Contract) -> Result<(), Breach> {
    let law = "two of it come to an end with each other";
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
                "over {shown} they exchanged {between} messages and had not done; do not answer \
                 what is an answer (Message::is_answer), or declare it Contract::conversational"
            );
            return Err(Breach::new(law, detail));
        }
    }
    Ok(())
}

/// What it remembers after many messages is bounded.
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
            "{bytes} bytes after {LONG_HISTORY} messages, over {}; forget what is over, or raise \
             Contract::state_limit",
            contract.state_limit
        );
        return Err(Breach::new("what it remembers is bounded", detail));
    }
    Ok(())
}
