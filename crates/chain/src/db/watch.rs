//! Knowing when to read again: file events, a ladder of re-reads after each, and a slow poll.
//!
//! Data may become visible some milliseconds after the event that reports it, and some commits
//! raise no event at all (hazard 9 in `docs/hazards.md`). So after an event the file is read at
//! once and again at 0.1, 0.3, 1, 2, 5, 10 and 20 ms, until something new was found; and every
//! 250 ms in any case.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long after an event the file is read again. The second step is long enough for most commits
/// that do not wait for the disk: their first event comes before the transaction can be seen. It is
/// also the shortest pause between two reads in a burst of events.
const LADDER: [Duration; 8] = [
    Duration::ZERO,
    Duration::from_micros(100),
    Duration::from_micros(300),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
];

/// Shorter pauses than this are precise.
const PRECISE: Duration = Duration::from_micros(900);

/// Wakes a reader when the file may have changed.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    poll: Duration,
    signal: Arc<Notify>,
    /// Watches the directory until it is dropped. None: the directory cannot be watched now.
    watcher: Option<(Aim, RecommendedWatcher)>,
    /// The last event, and the next step of the ladder after it.
    ladder: Option<(Instant, usize)>,
    last: Instant,
    warned: bool,
}

impl Watch {
    pub(super) fn new(path: PathBuf, poll: Duration) -> Self {
        let mut watch = Self {
            path,
            poll,
            signal: Arc::new(Notify::new()),
            watcher: None,
            ladder: None,
            last: Instant::now(),
            warned: false,
        };
        watch.aim();
        watch
    }

    /// Something new was found: the file need not be read again for the same event.
    pub(super) fn found(&mut self) {
        self.ladder = None;
    }

    /// Resolves when the file should be read again. Cancel-safe: an event that was taken in is kept
    /// in the ladder, and the clock of the poll is not restarted.
    pub(super) async fn changed(&mut self) {
        loop {
            let poll = self.last + self.poll;
            let step = self
                .ladder
                .and_then(|(event, step)| Some(event + *LADDER.get(step)?));
            let next = step.map_or(poll, |step| step.min(poll));
            tokio::select! {
                biased;
                () = self.signal.notified() => {
                    // In a burst of events the first one is acted on at once and the ladder starts
                    // over with each, but there is a pause between two reads.
                    let now = Instant::now();
                    let soon = now.duration_since(self.last) < LADDER[1];
                    self.ladder = Some((now, usize::from(soon)));
                }
                () = pause_until(next) => {
                    let now = Instant::now();
                    self.ladder = self.ladder.and_then(|(event, _)| {
                        let next = LADDER.iter().position(|step| event + *step > now)?;
                        Some((event, next))
                    });
                    if now >= poll {
                        self.aim();
                    }
                    self.last = now;
                    return;
                }
            }
        }
    }

    /// Watches the current directory of the file, unless it is already being watched.
    fn aim(&mut self) {
        let directory = directory_of(&self.path);
        let aim = Aim::at(&directory);
        if self
            .watcher
            .as_ref()
            .is_some_and(|(aimed, _)| *aimed == aim)
        {
            return;
        }
        match self.watch(&directory) {
            Ok(watcher) => {
                self.watcher = Some((aim, watcher));
                self.warned = false;
                // Changes from before the watch existed raise no event.
                self.signal.notify_one();
            }
            Err(error) => {
                self.watcher = None;
                if !self.warned {
                    self.warned = true;
                    tracing::warn!(
                        chain.directory = %directory.display(),
                        %error,
                        "the chain database's directory cannot be watched; it is polled instead (if a limit is reached: fs.inotify.max_user_instances, fs.inotify.max_user_watches)"
                    );
                }
            }
        }
    }

    fn watch(&self, directory: &Path) -> notify::Result<RecommendedWatcher> {
        let signal = Arc::clone(&self.signal);
        let name = self.path.file_name().unwrap_or_default().to_os_string();
        let directory_itself = directory.to_owned();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let ours = match event {
                    Ok(event) => {
                        is_a_write(event.kind)
                            && event.paths.iter().any(|path| {
                                *path == directory_itself || is_the_database(path, &name)
                            })
                    }
                    // Events were lost, perhaps of this file.
                    Err(_) => true,
                };
                if ours {
                    signal.notify_one();
                }
            })?;
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Waits precisely: tokio's timers have a resolution of a millisecond, and fire up to two late, even
/// if the time has come.
async fn pause_until(time: Instant) {
    let short = time.saturating_duration_since(Instant::now());
    if short >= PRECISE {
        sleep_until(time).await;
    } else if !short.is_zero() {
        let slept = tokio::task::spawn_blocking(move || std::thread::sleep(short));
        // It cannot panic; without threads for it, the runtime is shutting down.
        let _ = slept.await;
    }
}

/// A directory and its identity: one that was removed and created again is another.
#[derive(Debug, PartialEq, Eq)]
struct Aim {
    directory: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Aim {
    fn at(directory: &Path) -> Self {
        let data = std::fs::metadata(directory).ok();
        Self {
            directory: directory.to_owned(),
            identity: data.map(|data| (data.dev(), data.ino())),
        }
    }
}

/// The directory in which the file really lies: SQLite keeps the `-wal` there.
fn directory_of(path: &Path) -> PathBuf {
    let real = std::fs::canonicalize(path);
    let path = real.as_deref().unwrap_or(path);
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Whether an event reports a change: this process's own reads raise events of access.
fn is_a_write(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// The file itself, its `-wal` or its `-journal`; not the mempool's file beside it, nor `-shm`,
/// which this process's own reads touch.
fn is_the_database(path: &Path, name: &std::ffi::OsStr) -> bool {
    let Some(found) = path.file_name() else {
        return false;
    };
    let (found, name) = (found.as_encoded_bytes(), name.as_encoded_bytes());
    found
        .strip_prefix(name)
        .is_some_and(|rest| matches!(rest, b"" | b"-wal" | b"-journal"))
}
