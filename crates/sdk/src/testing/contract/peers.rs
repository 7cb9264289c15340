//! The random answers of peers.

use agentry_protocol::command::{
    Ack, AckStatus, JobComplete, JobError, JobFailed, JobId, JobResult, Status,
};
use agentry_protocol::{ContentHash, KnownCommand};

use crate::testing::{MessageBuilder, Random, Sent};

/// The answers of a message's recipient. They depend only on the seed and the message's
/// transaction.
pub(super) fn reaction(seed: u64, sent: &Sent) -> Vec<MessageBuilder> {
    let name = ContentHash::of(format!("{seed} {}", sent.transaction).as_bytes());
    let drawn = name.as_bytes().iter().take(8);
    let mut random = Random::new(drawn.fold(0, |drawn, byte| drawn << 8 | u64::from(*byte)));
    if random.chance(25) {
        return Vec::new();
    }
    let mut said = Vec::new();
    if random.chance(40) {
        said.push(ack(AckStatus::Received));
        if let Some(status) = random.pick(&AckStatus::ALL) {
            said.push(ack(*status));
        }
    }
    match sent.command() {
        Ok(Some(KnownCommand::Ping)) => said.push(KnownCommand::Pong),
        Ok(Some(KnownCommand::StatusReport(_))) => {
            said.push(KnownCommand::Status(Status::default()));
        }
        Ok(Some(KnownCommand::ExecuteAiJob(_))) => said.extend(job_ends(sent, &mut random)),
        Ok(_) | Err(_) => {}
    }
    let mut answers: Vec<MessageBuilder> = said
        .iter()
        .map(|command| MessageBuilder::command(command).with_id())
        .collect();
    if random.chance(30) {
        answers.push(MessageBuilder::text("so be it").with_id());
    }
    answers
        .into_iter()
        .map(|answer| answer.answering(sent.transaction))
        .collect()
}

fn ack(status: AckStatus) -> KnownCommand {
    KnownCommand::Ack(Ack {
        status,
        detail: "as the peer says".parse().ok(),
    })
}

fn job_ends(sent: &Sent, random: &mut Random) -> Option<KnownCommand> {
    let id = sent.header.as_ref().and_then(|header| header.id);
    let result_id = id.map_or(JobId::Transaction(sent.transaction), JobId::Message);
    if random.chance(60) {
        return Some(KnownCommand::JobComplete(JobComplete {
            result_id,
            result: JobResult::cut("done", 1_000),
            media_type: None,
            duration_ms: Some(1),
            incomplete: None,
        }));
    }
    let error = JobError {
        code: "broken".parse().ok()?,
        message: None,
    };
    Some(KnownCommand::JobFailed(JobFailed { result_id, error }))
}
