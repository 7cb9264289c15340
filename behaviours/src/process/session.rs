//! One life of a program: from its start to its end, one task that reads, writes and watches.
//!
//! Reading never waits for writing, nor writing for reading: a program that does the one and not the
//! other is not answered by a deadlock. What is in memory is bounded: events by their permits,
//! answers to look-ups by [`MAX_LOOKUPS`], after which the program is not read until it reads.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentry_sdk::{Desk, TaskOutput, World};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};

use super::error::{End, ProcessError};
use super::journal::{Journal, printable};
use super::keeper::Inbox;
use super::launch::{Launch, Running};
use super::lines::Found;
use super::show;
use super::wire::{self, Effect, FromProgram, Level, PROTOCOL, ToProgram};

/// How many answers to look-ups may wait for the program to read them.
const MAX_LOOKUPS: usize = 16;

/// How long the output of a program that has ended is still read, and how long one that has closed
/// its output may take to end: the two come one after the other, in either order, within
/// milliseconds. Only a descendant that holds the pipe makes this wait last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How much of a line that is none is shown in an error, in bytes.
const EXCERPT: usize = 200;

/// The times of a program's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) start: Duration,
    pub(super) grace: Duration,
}

/// Something that the program is to answer.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: u64,
    /// The line, with its end.
    pub(super) line: Vec<u8>,
    pub(super) subject: Subject,
    pub(super) answer: oneshot::Sender<Result<Answer, ProcessError>>,
}

/// What it is about.
#[derive(Debug)]
pub(super) enum Subject {
    /// An event, with what can be looked up.
    Event {
        view: View,
        /// Held until the program has answered, even if nobody waits for that any more.
        _permit: OwnedSemaphorePermit,
    },
    /// A task, with who is told of its progress.
    Task(Desk),
}

/// What can be looked up, as of some time.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) world: Arc<dyn World>,
    /// What the clock of the run showed.
    pub(super) now_ms: u64,
    /// When that was.
    pub(super) taken: Instant,
}

impl View {
    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.taken.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.saturating_add(elapsed)
    }
}

/// What the program answers.
#[derive(Debug)]
pub(super) enum Answer {
    Effects(Vec<Effect>),
    Output(TaskOutput),
}

/// How a life ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    /// Whether the program answered anything.
    pub(super) answered: bool,
}

/// Runs the program until it ends, or until nobody needs it.
pub(super) async fn live(launch: &Launch, hello: &[u8], times: Times, inbox: &mut Inbox) -> Ended {
    let running = match launch.start() {
        Ok(running) => running,
        Err(end) => {
            return Ended {
                end,
                answered: false,
            };
        }
    };
    let mut session = Session {
        state: State::Starting {
            until: Instant::now() + times.start,
        },
        times,
        journal: Journal::new(launch.name()),
        unwritten: VecDeque::from([Outgoing::line(hello.to_vec())]),
        written: 0,
        lookups: 0,
        asked: HashMap::new(),
        last_answer: None,
        view: None,
        exited: None,
        eof: false,
    };
    let (end, running) = session.run(running, inbox).await;
    running.end().await;
    let answered = session.last_answer.is_some();
    for ask in session.asked.into_values() {
        ask.give(Err(end.clone().into()));
    }
    Ended { end, answered }
}

#[derive(Debug)]
struct Session {
    state: State,
    times: Times,
    journal: Journal,
    unwritten: VecDeque<Outgoing>,
    /// How much of the first of them is written.
    written: usize,
    /// How many of them answer look-ups.
    lookups: usize,
    asked: HashMap<u64, Asked>,
    last_answer: Option<Instant>,
    view: Option<View>,
    exited: Option<String>,
    eof: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// It has not said `ready`.
    Starting { until: Instant },
    /// It takes events.
    Ready,
    /// Nobody needs it, or it has ended, or closed its output: it is heard until then.
    Ending { until: Instant },
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    lookup: bool,
}

impl Outgoing {
    const fn line(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            lookup: false,
        }
    }
}

/// What the program has to answer.
#[derive(Debug)]
struct Asked {
    subject: Subject,
    answer: oneshot::Sender<Result<Answer, ProcessError>>,
    /// Since when nobody waits for it.
    given_up: Option<Instant>,
}

impl Asked {
    fn give(self, answer: Result<Answer, ProcessError>) {
        // Who asked may be gone; then the answer is nobody's.
        let _ = self.answer.send(answer);
    }
}

/// One thing that happened.
enum Step {
    Asked(bool),
    Read(std::io::Result<Found>),
    Wrote(std::io::Result<usize>),
    Exited(std::io::Result<std::process::ExitStatus>),
    Due,
}

impl Session {
    async fn run(&mut self, mut running: Running, inbox: &mut Inbox) -> (End, Running) {
        loop {
            if matches!(self.state, State::Ready) {
                while let Some(ask) = inbox.waiting.pop_front() {
                    self.ask(ask);
                }
            }
            let due = self.due();
            let dropped = inbox.closed;
            let step = tokio::select! {
                more = inbox.next(), if !dropped => Step::Asked(more),
                found = running.output.next(), if !self.eof && self.lookups <= MAX_LOOKUPS => {
                    Step::Read(found)
                }
                wrote = write(&mut running.input, &self.unwritten, self.written) => {
                    Step::Wrote(wrote)
                }
                status = running.child.wait(), if self.exited.is_none() => Step::Exited(status),
                () = until(due) => Step::Due,
            };
            if let Some(end) = self.step(step, &mut running, inbox) {
                return (end, running);
            }
        }
    }

    /// Takes in what happened; tells when the life is over.
    fn step(&mut self, step: Step, running: &mut Running, inbox: &mut Inbox) -> Option<End> {
        match step {
            Step::Asked(true) => {
                while let Some(id) = inbox.given_up.pop_front() {
                    self.give_up(id);
                }
                None
            }
            Step::Asked(false) => {
                // The end of its input tells a program to end.
                running.input = None;
                self.end_within(self.times.grace);
                None
            }
            Step::Read(Ok(Found::Line(line))) => self.hear(&line).err(),
            Step::Read(Ok(Found::Overlong)) => Some(End::Overlong),
            Step::Read(Ok(Found::End)) => {
                self.eof = true;
                self.end_within(LAST_WORDS);
                self.over(inbox.closed)
            }
            Step::Read(Err(error)) => Some(End::Broken(error.to_string())),
            Step::Wrote(Ok(bytes)) => {
                self.wrote(bytes);
                None
            }
            Step::Wrote(Err(error)) => {
                // It reads no more. It may have ended, and what it said before is still heard.
                running.input = None;
                if self.exited.is_none() && !self.eof {
                    self.journal
                        .say(Level::Warn, &format!("the program reads no more: {error}"));
                }
                self.end_within(LAST_WORDS);
                None
            }
            Step::Exited(status) => {
                self.exited = Some(match status {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                });
                self.end_within(LAST_WORDS);
                self.over(inbox.closed)
            }
            Step::Due => Some(match self.state {
                State::Starting { .. } => End::NotReady(self.times.start),
                State::Ready => End::Hung(self.times.grace),
                State::Ending { .. } => self.last_end(inbox.closed),
            }),
        }
    }

    /// When something has to have happened.
    fn due(&self) -> Option<Instant> {
        match self.state {
            State::Starting { until } | State::Ending { until } => Some(until),
            State::Ready => {
                let first = self
                    .asked
                    .values()
                    .filter_map(|asked| asked.given_up)
                    .min()?;
                let last_sign = self.last_answer.map_or(first, |last| last.max(first));
                Some(last_sign + self.times.grace)
            }
        }
    }

    /// The program is heard for no longer than this.
    fn end_within(&mut self, time: Duration) {
        let latest = Instant::now() + time;
        self.state = State::Ending {
            until: match self.state {
                State::Ending { until } => until.min(latest),
                State::Starting { .. } | State::Ready => latest,
            },
        };
    }

    /// The end, if the program has ended and everything it said is heard.
    fn over(&self, dropped: bool) -> Option<End> {
        (self.eof && self.exited.is_some()).then(|| self.last_end(dropped))
    }

    fn last_end(&self, dropped: bool) -> End {
        match &self.exited {
            _ if dropped => End::Dropped,
            Some(status) => End::Exited(status.clone()),
            None if self.eof => End::Closed,
            None => End::Broken("it closed its standard input".to_owned()),
        }
    }

    fn ask(&mut self, ask: Ask) {
        if let Subject::Event { view, .. } = &ask.subject {
            self.view = Some(view.clone());
        }
        self.unwritten.push_back(Outgoing::line(ask.line));
        self.asked.insert(
            ask.id,
            Asked {
                subject: ask.subject,
                answer: ask.answer,
                given_up: None,
            },
        );
    }

    /// Nobody waits for this answer any more.
    fn give_up(&mut self, id: u64) {
        let Some(asked) = self.asked.get_mut(&id) else {
            return;
        };
        asked.given_up = Some(Instant::now());
        self.say(&ToProgram::Cancel { id }, false);
    }

    fn say(&mut self, line: &ToProgram, lookup: bool) {
        if let Some(bytes) = to_line(line) {
            self.unwritten.push_back(Outgoing { bytes, lookup });
            self.lookups += usize::from(lookup);
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if let Some(first) = self.unwritten.front()
            && self.written >= first.bytes.len()
        {
            self.lookups -= usize::from(first.lookup);
            self.unwritten.pop_front();
            self.written = 0;
        }
    }

    /// Takes in a line of the program's.
    fn hear(&mut self, line: &[u8]) -> Result<(), End> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let garbage = |reason: String| End::Garbage {
            reason,
            line: excerpt(line),
        };
        let value: serde_json::Value =
            serde_json::from_slice(line).map_err(|error| garbage(error.to_string()))?;
        // An answer with a mistake in it is the failure of one run; anything else that is wrong
        // means that nothing from this program can be relied on.
        let answers = value
            .get("type")
            .and_then(|word| word.as_str())
            .is_some_and(|word| matches!(word, "effects" | "output" | "error" | "progress"));
        let id = value.get("id").and_then(serde_json::Value::as_u64);
        match serde_json::from_value::<FromProgram>(value) {
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
            FromProgram::Ready { protocol } if starting => {
                if protocol != PROTOCOL {
                    return Err(End::Version(protocol));
                }
                self.state = State::Ready;
                self.journal.say(Level::Debug, "the program is ready");
            }
            FromProgram::Ready { .. } if matches!(self.state, State::Ready) => {
                return Err(garbage("it was ready before".to_owned()));
            }
            // It says so while it is ended.
            FromProgram::Ready { .. } => {}
            _ if starting => return Err(garbage("it has to say `ready` first".to_owned())),
            FromProgram::Effects { id, effects } => self.answered(id, Ok(Answer::Effects(effects))),
            FromProgram::Output {
                id,
                text,
                media_type,
            } => {
                let mut output = TaskOutput::text(text);
                if media_type.is_some() {
                    output.media_type = media_type;
                }
                self.answered(id, Ok(Answer::Output(output)));
            }
            FromProgram::Error {
                id,
                message,
                transient,
                code,
            } => self.answered(
                id,
                Err(ProcessError::Failed {
                    message,
                    transient,
                    code,
                }),
            ),
            FromProgram::Progress { id, progress, note } => {
                if let Some(Asked {
                    subject: Subject::Task(desk),
                    given_up: None,
                    ..
                }) = self.asked.get(&id)
                {
                    desk.progress(progress, note);
                }
            }
            FromProgram::Find { id, query } => self.find(id, query),
            FromProgram::Resolve { id, name } => self.resolve(id, &name),
        }
        Ok(())
    }

    fn answered(&mut self, id: u64, answer: Result<Answer, ProcessError>) {
        let Some(asked) = self.asked.remove(&id) else {
            self.journal.say(
                Level::Warn,
                &format!("the program answers {id}, which was not asked or was answered before"),
            );
            return;
        };
        self.last_answer = Some(Instant::now());
        let fits = match (&asked.subject, &answer) {
            (_, Err(_))
            | (Subject::Event { .. }, Ok(Answer::Effects(_)))
            | (Subject::Task(_), Ok(Answer::Output(_))) => true,
            (Subject::Event { .. }, Ok(Answer::Output(_)))
            | (Subject::Task(_), Ok(Answer::Effects(_))) => false,
        };
        asked.give(if fits {
            answer
        } else {
            Err(ProcessError::Answer(
                "an event is answered with `effects`, a task with `output`".to_owned(),
            ))
        });
    }

    fn find(&mut self, id: u64, query: wire::Query) {
        let cards = self.view.as_ref().map_or_else(Vec::new, |view| {
            let found = view.world.find(&show::query(query), view.now_ms());
            // A limit that a world does not know of holds all the same.
            found.iter().take(wire::MAX_CARDS).map(show::card).collect()
        });
        self.say(&ToProgram::Found { id, cards }, true);
    }

    fn resolve(&mut self, id: u64, name: &str) {
        let (address, message) = match &self.view {
            None => (
                None,
                Some("nothing can be looked up before the first event".to_owned()),
            ),
            Some(view) => match view.world.resolve(name, view.now_ms()) {
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

/// A line as it is written. What is made of it here has no key that is no text, so it always is one.
pub(super) fn to_line(line: &ToProgram) -> Option<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line).ok()?;
    bytes.push(b'\n');
    Some(bytes)
}

/// Writes some of what is unwritten. Dropping the future before it is ready writes nothing.
async fn write(
    input: &mut Option<ChildStdin>,
    unwritten: &VecDeque<Outgoing>,
    written: usize,
) -> std::io::Result<usize> {
    let (Some(input), Some(first)) = (input, unwritten.front()) else {
        return std::future::pending().await;
    };
    input
        .write(first.bytes.get(written..).unwrap_or_default())
        .await
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// How a line begins.
fn excerpt(line: &[u8]) -> String {
    let cut = line.get(..EXCERPT).unwrap_or(line);
    let mut text = printable(&String::from_utf8_lossy(cut));
    if cut.len() < line.len() {
        text.push('…');
    }
    text
}
