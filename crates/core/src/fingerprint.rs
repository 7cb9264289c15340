//! The fingerprint of a message: what two runs of the same behaviour reproduce of it.

use agentry_protocol::command::AckStatus;
use agentry_protocol::{
    ContentHash, Envelope, Json, KnownCommand, MessageId, Payload, TransactionHash,
};
use serde::{Deserialize, Serialize};

/// The longest command name that is kept whole, in bytes. A longer name is cut to this length,
/// which only makes more messages count as the same kind.
const KIND_MAX: usize = 64;

/// What is compared when a message is searched for among those on the chain: another run gives the
/// message another id, and perhaps another text, but the same recipient, question and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The kind of the message. Answers that exclude each other have the same kind: a message has
    /// one final acknowledgment, and a job ends once.
    pub kind: String,
    /// SHA-256 of the content without the header. No two ciphertexts are equal, so only the length
    /// of a sealed message counts, which is part of the kind.
    pub content: ContentHash,
    /// The id in its header.
    pub id: Option<MessageId>,
    /// The transaction that it answers.
    pub re: Option<TransactionHash>,
}

impl Fingerprint {
    /// The fingerprint of a transaction's payload.
    pub fn of(payload: &Json) -> Self {
        let envelope = Envelope::read(payload);
        let header = envelope.header();
        let (kind, content) = match &envelope.payload {
            Payload::Text(text) if header.is_none() => ("plain".to_owned(), text.clone()),
            Payload::Text(text) => ("text".to_owned(), text.clone()),
            Payload::Opaque(json) => ("opaque".to_owned(), json.to_compact()),
            Payload::Command(command) => match envelope.payload.command() {
                Ok(Some(KnownCommand::Sealed(sealed))) => {
                    let length = sealed.ciphertext().len();
                    (format!("SEALED {length}"), String::new())
                }
                Ok(Some(KnownCommand::Ack(ack))) => (ack_kind(ack.status), body(&command.body)),
                Ok(Some(KnownCommand::JobComplete(_) | KnownCommand::JobFailed(_))) => {
                    (JOB_END.to_owned(), body(&command.body))
                }
                _ => (
                    format!("cmd {}", beginning(&command.cmd)),
                    body(&command.body),
                ),
            },
        };
        Self {
            kind,
            content: ContentHash::of(content.as_bytes()),
            id: header.and_then(|header| header.id),
            re: header.and_then(|header| header.re),
        }
    }

    /// Whether the message is a text without a header, which names no question.
    pub fn is_plain(&self) -> bool {
        self.kind == "plain"
    }
}

/// The kind of a message that ends a job.
pub const JOB_END: &str = "JOB end";

fn ack_kind(status: AckStatus) -> String {
    if status.is_last() {
        "ACK end".to_owned()
    } else {
        format!("ACK {status}")
    }
}

/// A command without its header, as JSON text.
fn body(command: &Json) -> String {
    let said = command.root().entries();
    let said = said.filter(|(key, _)| *key != agentry_protocol::header::HEADER_KEY);
    Json::object(said.map(|(key, value)| (key, value.to_json()))).to_compact()
}

fn beginning(cmd: &str) -> &str {
    let mut end = cmd.len().min(KIND_MAX);
    while !cmd.is_char_boundary(end) {
        end -= 1;
    }
    &cmd[..end]
}

#[cfg(test)]
mod tests {
    use agentry_protocol::command::{Ack, JobComplete, JobError, JobFailed, JobId, JobResult};
    use agentry_protocol::{Header, Timestamp, message};

    use super::*;

    const RE: &str = "0x00000000000000000000000000000000000000000000000000000000000000aa";

    fn told(payload: &Payload, id: u64) -> Fingerprint {
        let header = Header {
            id: Some(MessageId::generate(Timestamp::new(1_795_000_000_000 + id)).unwrap()),
            re: Some(RE.parse().unwrap()),
            ..Header::default()
        };
        Fingerprint::of(&message::compose(payload, Some(&header)).unwrap())
    }

    fn ack(status: AckStatus) -> Payload {
        let detail = None;
        KnownCommand::Ack(Ack { status, detail }).to_payload()
    }

    #[test]
    fn two_runs_agree_on_everything_but_the_id() {
        for payload in [
            Payload::Text("pong".to_owned()),
            KnownCommand::Pong.to_payload(),
            ack(AckStatus::Done),
        ] {
            let (one, other) = (told(&payload, 1), told(&payload, 2));
            assert_ne!(one.id, other.id);
            assert_eq!(one.re, Some(RE.parse().unwrap()));
            assert_eq!(
                Fingerprint { id: None, ..one },
                Fingerprint { id: None, ..other }
            );
        }
    }

    #[test]
    fn answers_that_exclude_each_other_have_one_kind() {
        let kind = |payload: Payload| told(&payload, 0).kind;
        assert_eq!(kind(ack(AckStatus::Done)), kind(ack(AckStatus::Expired)));
        assert_ne!(kind(ack(AckStatus::Done)), kind(ack(AckStatus::Received)));
        let result_id = JobId::Transaction(RE.parse().unwrap());
        let complete = KnownCommand::JobComplete(JobComplete {
            result_id,
            result: JobResult::cut("forty-two", 100),
            media_type: None,
            incomplete: None,
            duration_ms: Some(7),
        });
        let failed = KnownCommand::JobFailed(JobFailed {
            result_id,
            error: JobError {
                code: "deadline".parse().unwrap(),
                message: None,
            },
        });
        assert_eq!(kind(complete.to_payload()), kind(failed.to_payload()));
        assert_ne!(kind(complete.to_payload()), kind(ack(AckStatus::Done)));
    }

    #[test]
    fn a_plain_text_differs_from_a_text_with_a_header() {
        let plain = Fingerprint::of(&Json::string("pong"));
        assert!(plain.is_plain() && plain.re.is_none());
        let text = told(&Payload::Text("pong".to_owned()), 0);
        assert_ne!(plain.kind, text.kind);
        assert_eq!(plain.content, text.content);
    }

    #[test]
    fn long_names_of_commands_are_cut_between_characters() {
        let long = "é".repeat(100);
        let command = format!(r#"{{"cmd":"{long}"}}"#);
        let kind = Fingerprint::of(&Json::string(command)).kind;
        assert_eq!(kind, format!("cmd {}", "é".repeat(32)));
    }
}
