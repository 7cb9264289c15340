//! Due messages by sender: the senders take turns.

use std::collections::HashSet;
use std::ops::Range;

use agentry_core::rows::AgentId;
use agentry_protocol::BlockHeight;
use rusqlite::{Row, params};

use super::{Due, MESSAGE_COLUMN_COUNT, MESSAGE_COLUMNS, message};
use crate::column::{natural, optional_natural};
use crate::{Reader, StoreError};

/// The most senders that are examined in one pull, so that a pull costs little however many senders
/// have to wait.
const MAX_EXAMINED: usize = 256;

/// How soon a message that has expired only by the local clock is examined again, in milliseconds.
const DOUBT_MS: Range<u64> = 50..5_000;

/// The senders whose turn it is with an agent.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// The sender of urgent messages that had the last turn.
    pub urgent: String,
    /// The verified sender that had the last turn.
    pub verified: String,
    /// The unverified sender that had the last turn.
    pub unverified: String,
    /// The verified senders that have to wait.
    pub paused: HashSet<String>,
    /// Whether all unverified senders have to wait.
    pub unverified_paused: bool,
    /// Messages with an `exp` in this range are left alone: they have expired only by the local
    /// clock.
    pub doubted: Range<u64>,
    /// The progress of each lane in examining all of its senders once.
    rounds: [Round; 3],
}

impl Turn {
    /// Examines all senders again, starting at the current turns: senders that were examined before
    /// may have something new.
    pub fn start_over(&mut self) {
        self.rounds = Default::default();
    }

    /// Whether there are senders that were not examined.
    pub(super) fn is_cut(&self) -> bool {
        self.rounds
            .iter()
            .any(|round| matches!(round, Round::At(_)))
    }
}

/// The progress of examining all senders of a lane once, which can take several pulls.
#[derive(Clone, Debug, Default)]
enum Round {
    #[default]
    New,
    At(Circle),
    /// Nothing from them is due.
    Done,
}

/// One round through the senders of a lane.
#[derive(Clone, Debug)]
struct Circle {
    /// The sender after which it started.
    began: String,
    /// Whether the round has passed the last sender.
    wrapped: bool,
}

impl Circle {
    fn behind(sender: &str) -> Self {
        Self {
            began: sender.to_owned(),
            wrapped: sender.is_empty(),
        }
    }

    /// Whether the round ends before this sender.
    fn ends_before(&self, sender: &str) -> bool {
        self.wrapped && !self.began.is_empty() && sender > self.began.as_str()
    }
}

/// The rows of one kind of messages, and how their index is walked.
struct Lane {
    condition: &'static str,
    /// Its place among the [rounds](Turn::rounds).
    index: usize,
}

const URGENT: Lane = Lane {
    condition: "priority > 0",
    index: 0,
};
const VERIFIED: Lane = Lane {
    condition: "authenticity = 'verified'",
    index: 1,
};
const UNVERIFIED: Lane = Lane {
    condition: "authenticity = 'unverified'",
    index: 2,
};

/// Adds the due messages: urgent ones first, then by sender in turn.
pub(super) fn messages(
    db: &Reader,
    agent: AgentId,
    (now, through): (u64, BlockHeight),
    turn: &mut Turn,
    limit: usize,
    due: &mut Due,
) -> Result<(), StoreError> {
    let Turn {
        urgent,
        verified,
        unverified,
        paused,
        unverified_paused,
        doubted,
        rounds,
    } = turn;
    if let (true, Some(round)) = (*unverified_paused, rounds.get_mut(UNVERIFIED.index)) {
        *round = Round::Done;
    }
    let mut pull = Pull {
        db,
        agent,
        now,
        through,
        paused,
        doubted,
        rounds,
    };
    // At most half of the places: a sender of endless urgent messages delays the others but does
    // not stop them.
    pull.lane(&URGENT, urgent, limit.div_ceil(2), due)?;
    pull.lane(&VERIFIED, verified, limit, due)?;
    pull.lane(&UNVERIFIED, unverified, limit.div_ceil(2), due)
}

struct Pull<'a> {
    db: &'a Reader,
    agent: AgentId,
    now: u64,
    through: BlockHeight,
    paused: &'a HashSet<String>,
    doubted: &'a Range<u64>,
    rounds: &'a mut [Round; 3],
}

/// Whether a message is due.
enum Ready {
    Yes,
    /// Not yet; those after it may be.
    NotIt,
    /// Neither it nor those after it.
    NoneFromHere,
}

impl Pull<'_> {
    /// Adds the due messages of a lane. The turns continue after `last`, which advances.
    fn lane(
        &mut self,
        lane: &Lane,
        last: &mut String,
        limit: usize,
        due: &mut Due,
    ) -> Result<(), StoreError> {
        let Some(round) = self.rounds.get_mut(lane.index) else {
            return Ok(());
        };
        let mut circle = match std::mem::replace(round, Round::Done) {
            Round::New => Circle::behind(last),
            Round::At(circle) => circle,
            Round::Done => return Ok(()),
        };
        let mut senders = Vec::new();
        let mut examined = 0;
        let mut next = last.clone();
        while senders.len() < limit {
            if examined == MAX_EXAMINED {
                if senders.is_empty() {
                    *last = next;
                    if let Some(round) = self.rounds.get_mut(lane.index) {
                        *round = Round::At(circle);
                    }
                }
                break;
            }
            match self.sender_after(lane, &next)? {
                Some(sender) if circle.ends_before(&sender) => break,
                Some(sender) => {
                    examined += 1;
                    next.clone_from(&sender);
                    // A sender with nothing due takes no place from the others.
                    if !self.paused.contains(&sender) && self.has_due(lane, &sender, due)? {
                        senders.push(sender);
                    }
                }
                None if circle.wrapped => break,
                None => {
                    circle.wrapped = true;
                    next.clear();
                }
            }
        }
        let share = (limit / senders.len().max(1)).max(1);
        for sender in senders {
            last.clone_from(&sender);
            self.of_sender(lane, &sender, share, due)?;
        }
        Ok(())
    }

    fn sender_after(&self, lane: &Lane, after: &str) -> Result<Option<String>, StoreError> {
        self.db.first(
            &format!(
                "SELECT sender FROM inbox
                 WHERE agent = ?1 AND state = 'waiting' AND {} AND sender > ?2
                 ORDER BY sender LIMIT 1",
                lane.condition
            ),
            params![self.agent.0, after],
            |row| row.get(0),
        )
    }

    /// Whether a sender has a due message; if not, when it will have one.
    fn has_due(&self, lane: &Lane, sender: &str, due: &mut Due) -> Result<bool, StoreError> {
        let mut statement = self.db.prepare(&format!(
            "SELECT due_at, coalesce(height, 0), expires_at FROM inbox
             WHERE agent = ?1 AND sender = ?2 AND state = 'waiting' AND {}
             ORDER BY due_at, seq",
            lane.condition
        ))?;
        let mut rows = statement.query(params![self.agent.0, sender])?;
        while let Some(row) = rows.next()? {
            match self.ready(row, 0, due)? {
                Ready::Yes => return Ok(true),
                Ready::NotIt => {}
                Ready::NoneFromHere => break,
            }
        }
        Ok(false)
    }

    /// Whether a message is due. The columns from `at` on are its due time, its block and its
    /// expiry.
    fn ready(&self, row: &Row<'_>, at: usize, due: &mut Due) -> Result<Ready, StoreError> {
        let due_at = natural(row, at)?;
        if due_at > self.now {
            due.later(due_at);
            return Ok(Ready::NoneFromHere);
        }
        if BlockHeight(natural(row, at + 1)?) > self.through {
            return Ok(Ready::NoneFromHere);
        }
        match optional_natural(row, at + 2)? {
            Some(exp) if self.doubted.contains(&exp) => {
                let certain_in = exp.saturating_sub(self.doubted.start).saturating_add(1);
                let look_in = certain_in.clamp(DOUBT_MS.start, DOUBT_MS.end);
                due.later(self.now.saturating_add(look_in));
                Ok(Ready::NotIt)
            }
            _ => Ok(Ready::Yes),
        }
    }

    fn of_sender(
        &self,
        lane: &Lane,
        sender: &str,
        share: usize,
        due: &mut Due,
    ) -> Result<(), StoreError> {
        // Without a limit, because skipped messages take no place.
        let mut statement = self.db.prepare(&format!(
            "SELECT {MESSAGE_COLUMNS}, due_at, coalesce(height, 0), expires_at FROM inbox
             WHERE agent = ?1 AND sender = ?2 AND state = 'waiting' AND {}
             ORDER BY due_at, seq",
            lane.condition
        ))?;
        let mut rows = statement.query(params![self.agent.0, sender])?;
        let mut taken = 0;
        while taken < share {
            let Some(row) = rows.next()? else { break };
            match self.ready(row, MESSAGE_COLUMN_COUNT, due)? {
                Ready::Yes => {
                    taken += 1;
                    let message = message(self.db, row)?;
                    if due.messages.iter().all(|other| other.id != message.id) {
                        due.messages.push(message);
                    }
                }
                Ready::NotIt => {}
                Ready::NoneFromHere => break,
            }
        }
        Ok(())
    }
}
