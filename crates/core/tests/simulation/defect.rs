//! Defects that are put into the rules of several hosts, to show that the simulation would find them.

/// A rule that the hosts break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The database appends records of an owner that another one has replaced.
    UncheckedEpoch,
    /// A POST leaves although the lease may end before it does.
    UncheckedLease,
    /// A shard is claimed as soon as its owner has not beaten between two of the claimant's beats.
    EarlyClaim,
    /// An owner that is refused an append goes on, signs, and posts what is in no log.
    IgnoredRefusal,
    /// A new owner begins with what it has followed, and does not read the rest of the log.
    UnreadTail,
    /// An append without an answer is taken for lost.
    UnknownTakenForLost,
    /// What an owner reads of its own log is taken for durable, without a write after that.
    ReadTakenForDurable,
    /// A follower reads up to the head that its last beat has shown, which need not be durable.
    FollowedVisible,
    /// After a failover, a follower beats to one database, and reads from the one that was left behind.
    ReadLeftBehind,
    /// A head that the database before a failover has shown counts as durable at the next beat.
    ProofKept,
    /// What is signed is posted before it is durable.
    PostedTooEarly,
}

impl Defect {
    /// Those that schedules find by chance. The others do harm only after an owner has died, too, or after
    /// a second failover: each has a schedule of its own.
    pub(crate) const COMMON: [Self; 9] = [
        Self::UncheckedEpoch,
        Self::UncheckedLease,
        Self::EarlyClaim,
        Self::IgnoredRefusal,
        Self::UnreadTail,
        Self::UnknownTakenForLost,
        Self::ReadTakenForDurable,
        Self::FollowedVisible,
        Self::PostedTooEarly,
    ];
}
