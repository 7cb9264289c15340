//! One session with a program, from its start to its end: one task that reads, writes and enforces
//! time limits.
//!
//! Reading never waits for writing, nor writing for reading, so a program that does only one of
//! them causes no deadlock. Memory is bounded: events by their permits, answers to lookups by
//! [`MAX_LOOKUPS`]. At that limit the program's output is not read until the program reads its
//! input.
//!
//! `hear` handles the program's lines.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentry_sdk::protocol::Timestamp;
use agentry_sdk::{Desk, Environment, TaskOutput};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};

use super::error::{End, ProcessError};
use super::journal::Journal;
use super::keeper::Inbox;
use super::launch::{Launch, Running};
use super::lines::Found;
use super::wire::{Declaration, Effect, Level, ToProgram};

mod hear;

/// The most answers to lookups that may wait for the program to read them.
const MAX_LOOKUPS: usize = 16;

/// How long the output of a program that has ended is still read, and how long a program that has
/// closed its output may take to end. Usually both happen within milliseconds, in either order.
/// Only a descendant that holds the pipe open makes this wait longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The time limits of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) start: Duration,
    pub(super) grace: Duration,
}

/// What a session begins with.
pub(super) struct Greeting {
    /// The first line, with its line feed.
    pub(super) hello: Vec<u8>,
    /// What the program has declared, as far as agentry knows.
    pub(super) declared: Option<Arc<Declaration>>,
}

impl fmt::Debug for Greeting {
    /// Omits the line, which holds the program's settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting").finish_non_exhaustive()
    }
}

/// A request to the program.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: u64,
    /// The line, with its line feed.
    pub(super) line: Vec<u8>,
    pub(super) subject: Subject,
    pub(super) answer: oneshot::Sender<Result<Answer, ProcessError>>,
}

/// The agent and the event of a request, for the log.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) agent: String,
    /// The behaviour's name within the agent, if it is known.
    pub(super) behaviour: Option<String>,
    /// The event, such as `message 0x…`.
    pub(super) event: String,
}

/// The subject of a request.
#[derive(Debug)]
pub(super) enum Subject {
    /// An event, with the data for lookups.
    Event {
        about: About,
        view: View,
        /// Held until the program has answered, even if the request was canceled.
        _permit: OwnedSemaphorePermit,
    },
    /// A task, with the desk for reports of progress.
    Task { about: About, desk: Desk },
}

impl Subject {
    const fn about(&self) -> &About {
        match self {
            Self::Event { about, .. } | Self::Task { about, .. } => about,
        }
    }
}

/// The data for lookups, at a certain time.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) environment: Arc<dyn Environment>,
    /// The time of the run's clock.
    pub(super) now: Timestamp,
    /// The instant at which that was read.
    pub(super) taken: Instant,
}

impl View {
    fn now(&self) -> Timestamp {
        self.now.plus(self.taken.elapsed())
    }
}

/// An answer of the program.
#[derive(Debug)]
pub(super) enum Answer {
    Effects(Vec<Effect>),
    Output(TaskOutput),
}

/// How a session ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    /// Whether the program answered anything.
    pub(super) answered: bool,
}

/// Runs the program until it ends or is no longer needed.
pub(super) async fn live(
    launch: &Launch,
    greeting: &Greeting,
    times: Times,
    inbox: &mut Inbox,
) -> Ended {
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
        unwritten: VecDeque::from([Outgoing::line(greeting.hello.clone())]),
        declared: greeting.declared.clone(),
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
    declared: Option<Arc<Declaration>>,
    unwritten: VecDeque<Outgoing>,
    /// How much of the first line is written.
    written: usize,
    /// How many of the lines answer lookups.
    lookups: usize,
    asked: HashMap<u64, Asked>,
    last_answer: Option<Instant>,
    view: Option<View>,
    exited: Option<String>,
    eof: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The program has not said `ready`.
    Starting { until: Instant },
    /// The program accepts events.
    Ready,
    /// The program is no longer needed, has ended, or has closed its output. Its remaining output
    /// is read until this time.
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

/// A request that the program has not answered.
#[derive(Debug)]
struct Asked {
    subject: Subject,
    answer: oneshot::Sender<Result<Answer, ProcessError>>,
    /// When the request was canceled.
    given_up: Option<Instant>,
}

impl Asked {
    fn give(self, answer: Result<Answer, ProcessError>) {
        // The requester may be gone; then the answer is dropped.
        let _ = self.answer.send(answer);
    }
}

/// An event in a session.
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
                status = running.group.child.wait(), if self.exited.is_none() => Step::Exited(status),
                () = until(due) => Step::Due,
            };
            if let Some(end) = self.step(step, &mut running, inbox) {
                return (end, running);
            }
        }
    }

    /// Handles an event. Returns the end of the session, if this is it.
    fn step(&mut self, step: Step, running: &mut Running, inbox: &mut Inbox) -> Option<End> {
        match step {
            Step::Asked(true) => {
                while let Some(id) = inbox.given_up.pop_front() {
                    self.give_up(id);
                }
                None
            }
            Step::Asked(false) => {
                // The end of its input tells the program to end.
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
                // The program no longer reads. It may have ended; what it wrote before is still
                // read.
                running.input = None;
                if self.exited.is_none() && !self.eof {
                    self.journal.say(
                        Level::Warn,
                        &format!("the program no longer reads its input: {error}"),
                    );
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

    /// The next time limit.
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

    /// Limits the time for which the program's output is still read.
    fn end_within(&mut self, time: Duration) {
        let latest = Instant::now() + time;
        self.state = State::Ending {
            until: match self.state {
                State::Ending { until } => until.min(latest),
                State::Starting { .. } | State::Ready => latest,
            },
        };
    }

    /// The end of the session, if the program has ended and all its output is read.
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

    /// Cancels a request.
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
}

/// A line as it is written. All keys are text, so it can always be written as JSON.
pub(super) fn to_line(line: &ToProgram) -> Option<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line).ok()?;
    bytes.push(b'\n');
    Some(bytes)
}

/// Writes a part of the unwritten data. Dropping the future before it is ready writes nothing.
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
