//! The four parts of the conversation: registration, messaging, retrieval, and a task.

use std::time::Duration;

use agentry_core::InboxId;
use agentry_core::rows::InboxState;
use agentry_protocol::command::{AckStatus, ExecuteAiJob, StatusReport, Tag};
use agentry_protocol::{Address, KnownCommand, Payload};
use agentry_store::list::talk::Reply;
use agentry_store::read;

use super::evidence::Standing;
use super::talk::{Talk, command};
use super::{DemoError, PING, PONG, Step};
use crate::ops::cards::CardWanted;
use crate::ops::search::{self, Found};
use crate::runtime::clock::Clock;

/// How long a card is valid.
const CARD_TTL_MS: u64 = 3_600_000;

/// Prompt of the task.
const PROMPT: &str = "hello from the other node";

/// Both agents announce themselves, and each finds the other by name on its own node.
pub(super) async fn registration(talk: &mut Talk<'_, impl FnMut(Step)>) -> Result<(), DemoError> {
    let from = talk.height().await?;
    let agents = [
        ("pinger", &talk.scene.pinger),
        ("ponger", &talk.scene.ponger),
    ];
    for (who, (name, _)) in agents.iter().enumerate() {
        let card = CardWanted {
            name: None,
            description: Some("an agent of the demonstration".to_owned()),
            capabilities: None,
            commands: None,
            endpoints: Vec::new(),
            ttl_ms: CARD_TTL_MS,
        };
        talk.client(who).register(name, card).await?;
    }
    for (who, (name, address)) in agents.into_iter().enumerate() {
        let announced = talk
            .find(&format!("the {name}'s card"), 0, from, |found| {
                let said = found.stored.envelope().payload;
                found.stored.from == *address
                    && found.stored.to == *address
                    && matches!(command(&said), Some(KnownCommand::Announce(_)))
            })
            .await?;
        talk.reaches_second(&announced).await?;
        // The other runtime reads the card from its own node.
        let other = 1 - who;
        let found = named(talk, other, name).await?;
        if found != *address {
            return Err(DemoError::Other {
                what: "the directory",
                said: format!("{name} is {found}"),
            });
        }
        let readers = ["pinger", "ponger"];
        talk.mined(
            &format!(
                "registration: the {name} is announced, and the {} finds it by name",
                readers[other]
            ),
            &announced,
            vec![("address", found.to_string())],
        );
    }
    Ok(())
}

/// The address that a runtime's directory has for a name.
async fn named(
    talk: &Talk<'_, impl FnMut(Step)>,
    who: usize,
    name: &'static str,
) -> Result<Address, DemoError> {
    let now = Clock::default().now();
    talk.read(&format!("{name} in the directory"), who, move |db| {
        let counts = |card: &agentry_sdk::Card| card.card.check_time(now).is_ok();
        Ok(read::cards_named(db, name)?
            .into_iter()
            .map(|announced| announced.card)
            .find(counts)
            .map(|card| card.address))
    })
    .await
}

/// A ping, its pong, and both acknowledgments of it.
pub(super) async fn messaging(
    talk: &mut Talk<'_, impl FnMut(Step)>,
) -> Result<(Standing, Standing, Duration), DemoError> {
    let ponger = named(talk, 0, "ponger").await?;
    let ping = Payload::Text(PING.to_owned());
    let sent = talk.say("the ping", &ponger, &ping, false).await?;
    let ping = sent.found;
    talk.mined("messaging: a ping is in a block", &ping, Vec::new());
    let is_pong = |said: &Payload| matches!(said, Payload::Text(text) if text == PONG);
    let pong = talk.answer("the pong", &ping, is_pong).await?;
    talk.mined(
        "messaging: the ponger has answered by itself",
        &pong,
        Vec::new(),
    );
    acknowledged(talk, "messaging", &ping).await?;
    let seen = talk
        .find("the pong", 1, ping.height, |found| found.hash == pong.hash)
        .await?;
    let round_trip = sent.asked.elapsed();
    if seen.block_hash != pong.block_hash {
        return Err(DemoError::Forked {
            height: seen.height.0,
        });
    }
    let head = talk.height().await?;
    let pongs = search::all(&talk.scene.nodes[0], ping.height, head, |found| {
        found.stored.from == talk.scene.ponger && is_pong(&found.stored.envelope().payload)
    })
    .await?;
    if pongs.len() != 1 {
        return Err(DemoError::NotOnce {
            what: "the pong",
            count: pongs.len(),
        });
    }
    if !pong.stored.is_signed_by(&talk.scene.ponger_key) {
        return Err(DemoError::NotSigned { what: "the pong" });
    }
    talk.step(
        "checked: one pong, signed by the ponger, in the same block on both nodes",
        vec![("round trip", format!("{} ms", round_trip.as_millis()))],
    );
    Ok(((&ping).into(), (&pong).into(), round_trip))
}

/// Waits for the ponger's acknowledgments that it received a message and acted on it.
async fn acknowledged(
    talk: &mut Talk<'_, impl FnMut(Step)>,
    part: &str,
    message: &Found,
) -> Result<(), DemoError> {
    for (status, word) in [
        (AckStatus::Received, "has received it"),
        (AckStatus::Done, "has acted on it"),
    ] {
        let is_ack = |said: &Payload| matches!(command(said), Some(KnownCommand::Ack(ack)) if ack.status == status);
        let ack = talk
            .answer(&format!("ACK {status}"), message, is_ack)
            .await?;
        let what = format!("{part}: ACK {status}, the ponger {word}");
        talk.mined(&what, &ack, Vec::new());
    }
    Ok(())
}

/// Asks for the ponger's status, and shows the answer as it arrived in the pinger's inbox.
pub(super) async fn retrieval(talk: &mut Talk<'_, impl FnMut(Step)>) -> Result<(), DemoError> {
    let ponger = named(talk, 0, "ponger").await?;
    let question = KnownCommand::StatusReport(StatusReport::default()).to_payload();
    let sent = talk
        .say("the STATUS_REPORT", &ponger, &question, false)
        .await?;
    talk.mined(
        "retrieval: a STATUS_REPORT is sent",
        &sent.found,
        Vec::new(),
    );
    let is_status = |said: &Payload| matches!(command(said), Some(KnownCommand::Status(_)));
    let status = talk.answer("the STATUS", &sent.found, is_status).await?;
    // From the pinger's own inbox: its runtime has verified the sender.
    let what = "the STATUS in the pinger's inbox";
    let is_handled = |reply: &Reply| reply.state == InboxState::Handled.as_str();
    let reply = talk.arrives(what, &status, &sent.found, is_handled).await?;
    let said = status.stored.envelope().payload;
    let details = match command(&said) {
        Some(KnownCommand::Status(status)) => vec![
            ("agent", or_dash(status.agent.as_ref())),
            ("version", or_dash(status.version.as_ref())),
            (
                "can",
                status
                    .capabilities
                    .as_slice()
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
            ("sender", reply.authenticity),
        ],
        _ => Vec::new(),
    };
    talk.mined(
        "retrieval: the STATUS is in the pinger's inbox",
        &status,
        details,
    );
    acknowledged(talk, "retrieval", &sent.found).await
}

fn or_dash(tag: Option<&Tag>) -> String {
    tag.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// Hands over a sealed task, which a program executes, and opens its sealed result.
pub(super) async fn task(talk: &mut Talk<'_, impl FnMut(Step)>) -> Result<(), DemoError> {
    let ponger = named(talk, 0, "ponger").await?;
    let refused = |error: &dyn std::fmt::Display| DemoError::Refused(error.to_string());
    let job = ExecuteAiJob {
        kind: "shout".parse().map_err(|error| refused(&error))?,
        prompt: Some(PROMPT.parse().map_err(|error| refused(&error))?),
        model: None,
        params: None,
        deadline: None,
    };
    let job = KnownCommand::ExecuteAiJob(job).to_payload();
    let sent = talk.say("the job", &ponger, &job, true).await?;
    talk.mined(
        "task: a sealed job is sent",
        &sent.found,
        vec![("asks", PROMPT.to_owned())],
    );
    let is_sealed = |said: &Payload| matches!(command(said), Some(KnownCommand::Sealed(_)));
    let result = talk.answer("the result", &sent.found, is_sealed).await?;
    let what = "the result in the pinger's inbox";
    let reply = talk.arrives(what, &result, &sent.found, |_| true).await?;
    let opened = talk.client(0).open(InboxId(reply.inbox)).await?;
    let text = match command(&Payload::read(&opened)) {
        Some(KnownCommand::JobComplete(complete)) => complete.result.text().to_owned(),
        _ => opened.to_compact(),
    };
    if !text.contains(&PROMPT.to_uppercase()) {
        return Err(DemoError::Other {
            what: "the result",
            said: text,
        });
    }
    talk.mined(
        "task: a program has executed it; its result came sealed, and the pinger opened it",
        &result,
        vec![("result", text.trim().to_owned())],
    );
    acknowledged(talk, "task", &sent.found).await
}
