//! The keeper of one program: starts it when it is needed, restarts it when it has ended, and
//! passes requests to it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_sdk::protocol::timestamp::millis;
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::error::{End, ProcessError};
use super::launch::Launch;
use super::session::{Answer, Ask, Greeting, Subject, Times, live, to_line};
use super::settings::ProcessSettings;
use super::watch::Watch;
use super::wire::{Declaration, MAX_EVENT_BYTES, PROTOCOL, ToProgram};

/// If the pause before a restart is longer than this, the run fails at once with the reason, and
/// the runtime tries it again later. A shorter pause does not count as an attempt.
const PATIENCE: Duration = Duration::from_secs(3);

/// A message to the keeper.
#[derive(Debug)]
enum Control {
    Ask(Ask),
    GiveUp(u64),
}

/// A program that is started on demand.
#[derive(Debug)]
pub(super) struct Keeper {
    launch: Arc<Launch>,
    greeting: Arc<Greeting>,
    times: Times,
    pauses: (Duration, Duration),
    permits: Arc<Semaphore>,
    next_id: AtomicU64,
    /// The channel to the task that keeps the program; none before the first use.
    ///
    /// The channel is unbounded: events are limited by their permits, tasks by the runtime's pool,
    /// and each is canceled at most once.
    line: Mutex<Option<mpsc::UnboundedSender<Control>>>,
    /// The program's files, if a change of them restarts it.
    watch: Option<Watch>,
}

impl Keeper {
    pub(super) fn new(
        launch: Launch,
        settings: &ProcessSettings,
        declared: Option<Arc<Declaration>>,
    ) -> Self {
        let hello = ToProgram::Hello {
            protocol: PROTOCOL,
            agentry: env!("CARGO_PKG_VERSION").to_owned(),
            settings: settings.settings.clone(),
        };
        Self {
            watch: settings.restart_on_change.then(|| launch.watch()),
            launch: Arc::new(launch),
            greeting: Arc::new(Greeting {
                hello: to_line(&hello).unwrap_or_default(),
                declared,
            }),
            times: Times {
                start: settings.start_timeout.0,
                grace: settings.grace.0,
            },
            pauses: (settings.restart_min.0, settings.restart_max.0),
            permits: Arc::new(Semaphore::new(settings.in_flight)),
            next_id: AtomicU64::new(1),
            line: Mutex::new(None),
        }
    }

    /// Waits for a permit to send the program one more event.
    pub(super) async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, ProcessError> {
        // The semaphore is never closed.
        Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| End::Dropped.into())
    }

    /// Sends the program a line and waits for the answer. Dropping the future cancels the request.
    pub(super) async fn ask(
        &self,
        subject: Subject,
        line: impl FnOnce(u64) -> ToProgram,
    ) -> Result<Answer, ProcessError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = to_line(&line(id)).ok_or_else(|| {
            ProcessError::Answer("the event cannot be written as JSON".to_owned())
        })?;
        if line.len() > MAX_EVENT_BYTES {
            return Err(ProcessError::TooLarge(line.len()));
        }
        let (answer, answered) = oneshot::channel();
        let to_program = self.line()?;
        let ask = Ask {
            id,
            line,
            subject,
            answer,
        };
        if to_program.send(Control::Ask(ask)).is_err() {
            return Err(End::Dropped.into());
        }
        let _waiting = Waiting { id, to_program };
        match answered.await {
            Ok(answer) => answer,
            // The tokio runtime of the keeper's task has ended.
            Err(_) => Err(End::Dropped.into()),
        }
    }

    /// The channel to the task that keeps the program. Starts that task, and starts it again if its
    /// tokio runtime has ended.
    fn line(&self) -> Result<mpsc::UnboundedSender<Control>, ProcessError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if self.watch.as_ref().is_some_and(Watch::has_changed) && line.take().is_some() {
            // The program answers what it was asked, and then finds the end of its input.
            let (kind, program) = (super::KIND, self.launch.name());
            tracing::info!(
                kind,
                program,
                "the program's files have changed; the program is restarted"
            );
        }
        if let Some(sender) = line.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let runtime = Handle::try_current().map_err(|error| End::Unstarted(error.to_string()))?;
        let (sender, receiver) = mpsc::unbounded_channel();
        runtime.spawn(keep(
            Arc::clone(&self.launch),
            Arc::clone(&self.greeting),
            self.times,
            self.pauses,
            Inbox {
                receiver,
                waiting: VecDeque::new(),
                given_up: VecDeque::new(),
                closed: false,
            },
        ));
        *line = Some(sender.clone());
        Ok(sender)
    }
}

/// Cancels the request when it is dropped. This has no effect on an answered request.
struct Waiting {
    id: u64,
    to_program: mpsc::UnboundedSender<Control>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.to_program.send(Control::GiveUp(self.id));
    }
}

/// The requests to the program, which wait here while it is not running.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Control>,
    /// Requests that were not sent to the program yet.
    pub(super) waiting: VecDeque<Ask>,
    /// Canceled requests that may have been sent to the program.
    pub(super) given_up: VecDeque<u64>,
    /// Whether the channel is closed.
    pub(super) closed: bool,
}

impl Inbox {
    /// Receives the next message; false if the channel is closed.
    pub(super) async fn next(&mut self) -> bool {
        match self.receiver.recv().await {
            None => {
                self.closed = true;
                false
            }
            Some(Control::Ask(ask)) => {
                self.waiting.push_back(ask);
                true
            }
            Some(Control::GiveUp(id)) => {
                let before = self.waiting.len();
                self.waiting.retain(|ask| ask.id != id);
                if self.waiting.len() == before {
                    self.given_up.push_back(id);
                }
                true
            }
        }
    }

    /// Fails all waiting requests.
    fn fail(&mut self, error: &ProcessError) {
        for ask in self.waiting.drain(..) {
            let _ = ask.answer.send(Err(error.clone()));
        }
    }
}

/// Runs the program again and again until it is no longer needed.
async fn keep(
    launch: Arc<Launch>,
    greeting: Arc<Greeting>,
    times: Times,
    (shortest, longest): (Duration, Duration),
    mut inbox: Inbox,
) {
    let pauses = ExponentialBuilder::new()
        .with_min_delay(shortest)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times();
    let mut backoff = pauses.build();
    loop {
        // The new process does not know the requests to the previous one.
        while inbox.waiting.is_empty() {
            if !inbox.next().await {
                return;
            }
            inbox.given_up.clear();
        }
        let begun = live(&launch, &greeting, times, &mut inbox).await;
        inbox.given_up.clear();
        if begun.end == End::Dropped {
            return;
        }
        if begun.answered {
            backoff = pauses.build();
        }
        let pause = backoff.next().unwrap_or(longest).min(longest);
        let kind = super::KIND;
        let program = launch.name();
        tracing::warn!(
            kind,
            program,
            restart_after_ms = millis(pause),
            "the program {}",
            begun.end
        );
        if !begun.answered {
            inbox.fail(&begun.end.clone().into());
        }
        if !rest(&begun.end, Instant::now() + pause, &mut inbox).await {
            return;
        }
    }
}

/// Waits until the program may be started again; false if it is no longer needed.
async fn rest(end: &End, until: Instant, inbox: &mut Inbox) -> bool {
    loop {
        let again = until.saturating_duration_since(Instant::now());
        if again > PATIENCE {
            inbox.fail(&ProcessError::Resting {
                end: end.clone(),
                again,
            });
        }
        tokio::select! {
            () = sleep_until(until) => return true,
            more = inbox.next() => {
                inbox.given_up.clear();
                if !more {
                    return false;
                }
            }
        }
    }
}
