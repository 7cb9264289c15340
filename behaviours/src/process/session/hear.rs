//! Handling of a program's lines.

use std::time::Duration;

use agentry_sdk::protocol::{Json, JsonRef, Limits};
use agentry_sdk::task::Ask;
use agentry_sdk::{Desk, TaskOutput, Tokens};
use serde_json::Value;
use tokio::time::Instant;

use super::super::error::{End, ProcessError};
use super::super::journal::printable;
use super::super::show;
use super::super::wire::{self, Declaration, FromProgram, Level, PROTOCOL, ToProgram};
use super::{Answer, Asked, Session, State, Subject};

/// The limits for JSON in a line. The length of lines is limited by their reader, the depth is that
/// of serde.
const LIMITS: Limits = Limits {
    max_bytes: wire::MAX_LINE_BYTES,
    max_depth: 128,
};

/// The byte order mark of UTF-8, which is not part of the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How much of an invalid line is shown in an error, in bytes.
const EXCERPT: usize = 200;

impl Session {
    /// Handles a line of the program.
    pub(super) fn hear(&mut self, line: &[u8]) -> Result<(), End> {
        // Some languages write a byte order mark before the first line, or before each line.
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let garbage = |reason: String| End::Garbage {
            reason,
            line: excerpt(line),
        };
        let json = Json::parse(line, LIMITS).map_err(|error| garbage(error.to_string()))?;
        // An invalid answer fails one run. Any other invalid line means that the program's output
        // cannot be relied on.
        let field = |name| json.root().get(name);
        let answers = field("type").and_then(JsonRef::as_str).is_some_and(|word| {
            matches!(word, "effects" | "output" | "error" | "progress" | "ask")
        });
        let id = field("id").and_then(JsonRef::as_u64);
        // This reports a number that would lose digits.
        match json.root().decode::<FromProgram>() {
            Ok(said) => self.take_in(said, garbage),
            Err(error) => match id {
                Some(id) if answers => {
                    self.answered(id, Err(ProcessError::Answer(error.to_string())));
                    Ok(())
                }
                _ => Err(garbage(error.to_string())),
            },
        }
    }

    fn take_in(
        &mut self,
        said: FromProgram,
        garbage: impl FnOnce(String) -> End,
    ) -> Result<(), End> {
        let starting = matches!(self.state, State::Starting { .. });
        match said {
            FromProgram::Log { level, message } => self.journal.say(level, &message),
            FromProgram::Ready { protocol, declares } if starting => {
                if protocol != PROTOCOL {
                    return Err(End::Version(protocol));
                }
                self.compare(declares.as_deref());
                self.state = State::Ready;
                self.journal.say(Level::Debug, "the program is ready");
            }
            FromProgram::Ready { .. } if matches!(self.state, State::Ready) => {
                return Err(garbage("it said `ready` before".to_owned()));
            }
            // The program says `ready` while it is being stopped.
            FromProgram::Ready { .. } => {}
            _ if starting => return Err(garbage("it must say `ready` first".to_owned())),
            FromProgram::Effects { id, effects } => self.answered(id, Ok(Answer::Effects(effects))),
            FromProgram::Output {
                id,
                text,
                media_type,
                incomplete,
            } => {
                let mut output = TaskOutput::text(text);
                if media_type.is_some() {
                    output.media_type = media_type;
                }
                output.incomplete = incomplete;
                self.answered(id, Ok(Answer::Output(output)));
            }
            FromProgram::Error {
                id,
                message,
                public,
                trace,
                transient,
                code,
            } => {
                if let (Some(trace), Some(asked)) = (trace, self.asked.get(&id)) {
                    self.journal.trace(asked.subject.about(), &trace);
                }
                let failed = ProcessError::Failed {
                    message,
                    transient,
                    public,
                    code,
                };
                self.answered(id, Err(failed));
            }
            FromProgram::Progress { id, progress, note } => {
                if let Some(desk) = self.desk(id) {
                    desk.progress(progress, note);
                }
            }
            FromProgram::Ask {
                id,
                question,
                schema,
                within_ms,
            } => {
                if let Some(desk) = self.desk(id) {
                    let mut ask = Ask::new(question);
                    ask.schema = schema.map(Value::Object);
                    if let Some(within) = within_ms {
                        ask.within = Duration::from_millis(within);
                    }
                    desk.put(ask);
                }
            }
            FromProgram::Tokens { id, input, output } => {
                if let Some(desk) = self.desk(id) {
                    desk.used(Tokens { input, output });
                }
            }
            FromProgram::Find { id, query } => self.find(id, query),
            FromProgram::Resolve { id, name } => self.resolve(id, &name),
        }
        Ok(())
    }

    /// Compares what the program declares with the file that agentry has read.
    fn compare(&mut self, declares: Option<&Declaration>) {
        if let (Some(declared), Some(declares)) = (&self.declared, declares)
            && **declared != *declares
        {
            self.journal.say(
                Level::Warn,
                "the program declares something else than the file that `declared` in agents.toml \
                 names, and only the file counts: write the file again with what the program prints \
                 with --declare, and reload the configuration; `agentry dev` does both",
            );
        }
    }

    /// The desk of a running task.
    fn desk(&self, id: u64) -> Option<&Desk> {
        match self.asked.get(&id) {
            Some(Asked {
                subject: Subject::Task { desk, .. },
                given_up: None,
                ..
            }) => Some(desk),
            _ => None,
        }
    }

    fn answered(&mut self, id: u64, answer: Result<Answer, ProcessError>) {
        let Some(asked) = self.asked.remove(&id) else {
            self.journal.say(
                Level::Warn,
                &format!("the program answered {id}, which is unknown or was answered before"),
            );
            return;
        };
        self.last_answer = Some(Instant::now());
        let fits = match (&asked.subject, &answer) {
            (_, Err(_))
            | (Subject::Event { .. }, Ok(Answer::Effects(_)))
            | (Subject::Task { .. }, Ok(Answer::Output(_))) => true,
            (Subject::Event { .. }, Ok(Answer::Output(_)))
            | (Subject::Task { .. }, Ok(Answer::Effects(_))) => false,
        };
        asked.give(if fits {
            answer
        } else {
            Err(ProcessError::Answer(
                "the answer to an event is `effects`, the answer to a task is `output`".to_owned(),
            ))
        });
    }

    fn find(&mut self, id: u64, query: wire::Query) {
        let cards = self.view.as_ref().map_or_else(Vec::new, |view| {
            let found = view.environment.find(&show::query(query), view.now());
            // The limit applies even if an environment ignores it.
            found.iter().take(wire::MAX_CARDS).map(show::card).collect()
        });
        self.say(&ToProgram::Found { id, cards }, true);
    }

    fn resolve(&mut self, id: u64, name: &str) {
        let (address, message) = match &self.view {
            None => (
                None,
                Some("lookups are not possible before the first event".to_owned()),
            ),
            Some(view) => match view.environment.resolve(name, view.now()) {
                Ok(address) => (Some(address.to_string()), None),
                Err(error) => (None, Some(error.to_string())),
            },
        };
        self.say(
            &ToProgram::Resolved {
                id,
                address,
                message,
            },
            true,
        );
    }
}

/// The beginning of a line.
fn excerpt(line: &[u8]) -> String {
    let cut = line.get(..EXCERPT).unwrap_or(line);
    let mut text = printable(&String::from_utf8_lossy(cut));
    if cut.len() < line.len() {
        text.push('…');
    }
    text
}
