//! Named points at which tests kill the process.
//!
//! A build with debug assertions reads `AGENTRY_KILL_AT=POINT` or `POINT:N` once: the process sends
//! itself SIGKILL when it reaches that point for the Nth time. A release build contains none of
//! this.

/// A point in the handling of a message, a task, or a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A message's inbox row is stored; its agent is not awake yet.
    AfterInbox,
    /// A behaviour has returned its effects; none of them is stored.
    BeforeCommit,
    /// The outcome is stored; nothing was posted.
    AfterCommit,
    /// The signed bytes are about to be posted.
    BeforePost,
    /// The node has answered; the answer is not stored.
    AfterPost,
    /// A reply was seen in a block; the block is not stored.
    BeforeMined,
    /// An attempt at a task is stored as begun; it is not running yet.
    AfterTaskBegin,
    /// An attempt at a task has ended; its result is not stored.
    BeforeTaskEnd,
    /// The end of an attempt is stored; nothing has been notified of it.
    AfterTaskEnd,
    /// A shard was claimed; this host does not lead it yet.
    AfterClaim,
    /// This host leads a shard; nothing of it acts yet.
    AfterLead,
    /// A group of commits is in a cluster's log; nobody was told so.
    AfterAppend,
    /// A shard that is handed over finishes what is in hand.
    WhileHandingOver,
    /// A shard that was handed over does not run any more; it is not released.
    BeforeRelease,
    /// A shard was released; this host does not know that yet.
    AfterRelease,
}

impl Point {
    /// The points that every answered message passes.
    pub const ALL: [Self; 6] = [
        Self::AfterInbox,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::BeforePost,
        Self::AfterPost,
        Self::BeforeMined,
    ];

    /// The points that every completed task passes.
    pub const TASKS: [Self; 3] = [
        Self::AfterTaskBegin,
        Self::BeforeTaskEnd,
        Self::AfterTaskEnd,
    ];

    /// The points that a host of a cluster passes when it gets, runs and hands over a shard.
    pub const CLUSTER: [Self; 6] = [
        Self::AfterClaim,
        Self::AfterLead,
        Self::AfterAppend,
        Self::WhileHandingOver,
        Self::BeforeRelease,
        Self::AfterRelease,
    ];

    /// The name used in the environment variable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AfterInbox => "after-inbox",
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::BeforePost => "before-post",
            Self::AfterPost => "after-post",
            Self::BeforeMined => "before-mined",
            Self::AfterTaskBegin => "after-task-begin",
            Self::BeforeTaskEnd => "before-task-end",
            Self::AfterTaskEnd => "after-task-end",
            Self::AfterClaim => "after-claim",
            Self::AfterLead => "after-lead",
            Self::AfterAppend => "after-append",
            Self::WhileHandingOver => "while-handing-over",
            Self::BeforeRelease => "before-release",
            Self::AfterRelease => "after-release",
        }
    }
}

/// Passes a point; kills the process if a test asked for it.
#[cfg(debug_assertions)]
pub fn pass(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static TARGET: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let wish = std::env::var("AGENTRY_KILL_AT").ok()?;
        let (name, count) = wish.split_once(':').unwrap_or((&wish, "1"));
        Some((name.to_owned(), AtomicU64::new(count.parse().unwrap_or(1))))
    });
    if let Some((name, left)) = target
        && name == point.as_str()
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        let own = rustix::process::getpid();
        // If this fails, the only remaining option is an abort.
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        std::process::abort();
    }
}

/// Passes a point; a release build does nothing.
#[cfg(not(debug_assertions))]
#[inline]
pub fn pass(_: Point) {}
