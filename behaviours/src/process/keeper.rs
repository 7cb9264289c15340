//! Keeps one program: starts it when it is needed, again when it has ended, and brings it what it
//! is asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::error::{End, ProcessError};
use super::launch::Launch;
use super::session::{Answer, Ask, Subject, Times, live, to_line};
use super::settings::ProcessSettings;
use super::watch::Watch;
use super::wire::{MAX_EVENT_BYTES, PROTOCOL, ToProgram};

/// A pause that is longer than this is not waited for: the run fails at once and says why, and the
/// runtime tries it again later. A shorter one costs no attempt.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the keeper is told.
#[derive(Debug)]
enum Control {
    Ask(Ask),
    GiveUp(u64),
}

/// A program that is there when it is needed.
#[derive(Debug)]
pub(super) struct Keeper {
    launch: Arc<Launch>,
    hello: Arc<[u8]>,
    times: Times,
    pauses: (Duration, Duration),
    permits: Arc<Semaphore>,
    next_id: AtomicU64,
    /// The way to the task that holds the program; none before the first use.
    ///
    /// It has no bound of its own: events are bounded by their permits, tasks by the runtime's
    /// pool, and each is given up once.
    line: Mutex<Option<mpsc::UnboundedSender<Control>>>,
    /// The program's files, where a change of them is to end it.
    watch: Option<Watch>,
}

impl Keeper {
    pub(super) fn new(launch: Launch, settings: &ProcessSettings) -> Self {
        let hello = ToProgram::Hello {
            protocol: PROTOCOL,
            agentry: env!("CARGO_PKG_VERSION").to_owned(),
            settings: settings.settings.clone(),
        };
        Self {
            watch: settings.restart_on_change.then(|| launch.watch()),
            launch: Arc::new(launch),
            hello: to_line(&hello).unwrap_or_default().into(),
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

    /// Leave to show the program one more event.
    pub(super) async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, ProcessError> {
        // It is never closed.
        Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| End::Dropped.into())
    }

    /// Has the program answer a line. Dropping the future gives the answer up.
    pub(super) async fn ask(
        &self,
        subject: Subject,
        line: impl FnOnce(u64) -> ToProgram,
    ) -> Result<Answer, ProcessError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = to_line(&line(id))
            .ok_or_else(|| ProcessError::Answer("the event is no JSON".to_owned()))?;
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
            // The tokio runtime that the program was kept on is gone.
            Err(_) => Err(End::Dropped.into()),
        }
    }

    /// The way to the task that holds the program. That task is begun here, and again if the tokio
    /// runtime that it was on is gone.
    fn line(&self) -> Result<mpsc::UnboundedSender<Control>, ProcessError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if self.watch.as_ref().is_some_and(Watch::has_changed) && line.take().is_some() {
            // It answers what it has in hand, and then finds that its input has ended.
            let (kind, program) = (super::KIND, self.launch.name());
            tracing::info!(
                kind,
                program,
                "the program has changed; it is started again"
            );
        }
        if let Some(sender) = line.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let runtime = Handle::try_current().map_err(|error| End::Unstarted(error.to_string()))?;
        let (sender, receiver) = mpsc::unbounded_channel();
        runtime.spawn(keep(
            Arc::clone(&self.launch),
            Arc::clone(&self.hello),
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

/// Gives the answer up when it is dropped. For one that was answered this means nothing.
struct Waiting {
    id: u64,
    to_program: mpsc::UnboundedSender<Control>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.to_program.send(Control::GiveUp(self.id));
    }
}

/// What the program is asked, while it can be and while it cannot.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Control>,
    /// What the program was not asked yet.
    pub(super) waiting: VecDeque<Ask>,
    /// What nobody waits for, of what the program may have been asked.
    pub(super) given_up: VecDeque<u64>,
    /// Whether nothing more can come.
    pub(super) closed: bool,
}

impl Inbox {
    /// Takes in what comes next; false if nothing more can come.
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

    /// Fails all that waits.
    fn fail(&mut self, error: &ProcessError) {
        for ask in self.waiting.drain(..) {
            let _ = ask.answer.send(Err(error.clone()));
        }
    }
}

/// The program's lives, one after the other, until nobody can need it any more.
async fn keep(
    launch: Arc<Launch>,
    hello: Arc<[u8]>,
    times: Times,
    (shortest, longest): (Duration, Duration),
    mut inbox: Inbox,
) {
    let mut pause = shortest;
    loop {
        // Nothing that was asked of an earlier life is in this one's hands.
        while inbox.waiting.is_empty() {
            if !inbox.next().await {
                return;
            }
            inbox.given_up.clear();
        }
        let begun = live(&launch, &hello, times, &mut inbox).await;
        inbox.given_up.clear();
        if begun.end == End::Dropped {
            return;
        }
        if begun.answered {
            pause = shortest;
        }
        let kind = super::KIND;
        let program = launch.name();
        tracing::warn!(
            kind,
            program,
            restart_after_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the program {}",
            begun.end
        );
        if !begun.answered {
            inbox.fail(&begun.end.clone().into());
        }
        if !rest(&begun.end, Instant::now() + pause, &mut inbox).await {
            return;
        }
        pause = pause.saturating_mul(2).min(longest);
    }
}

/// Waits until the program may be started again; false if nobody can need it any more.
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
