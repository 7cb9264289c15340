//! The log in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use agentry_core::Commit;
use agentry_core::cluster::Epoch;

use crate::log::{Log, LogError, Mark, Position, Record, Waits};

/// How often an append that is held looks whether the store closes.
const LOOK: Duration = Duration::from_millis(5);

/// A log in memory that several hosts share. Its clones are the same log.
///
/// It fails on demand as one behind a network does: answers are lost, appends are held, records are
/// trimmed, and acknowledged ones disappear.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    resumed: Condvar,
}

/// What the database of a cluster would keep, and the faults to come.
#[derive(Debug, Default)]
struct Kept {
    texts: BTreeMap<Position, String>,
    head: Position,
    epoch: Epoch,
    faults: VecDeque<Fault>,
    failing_reads: usize,
    is_paused: bool,
}

/// What happens to an append whose answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whether it reaches the log.
    pub arrives: bool,
    /// Whether another host claims the log before this one finds out.
    pub is_claimed: bool,
}

impl Memory {
    /// A log of these records, from the first place on.
    pub fn of(texts: impl Iterator<Item = String>) -> Self {
        let memory = Self::default();
        {
            let mut kept = memory.lock();
            kept.texts = (1..).map(Position).zip(texts).collect();
            kept.head = kept.texts.keys().last().copied().unwrap_or_default();
        }
        memory
    }

    /// The log as another host opens it.
    pub fn open(&self, waits: Waits) -> Box<dyn Log> {
        Box::new(Handle {
            memory: self.clone(),
            waits,
            epoch: None,
            head: Position::default(),
        })
    }

    /// Claims the log for a host: its epoch, and the place of the last record.
    pub fn claim(&self) -> (Epoch, Position) {
        let mut kept = self.lock();
        kept.epoch.0 += 1;
        (kept.epoch, kept.head)
    }

    /// The last epoch, and the place of the last record.
    pub fn now(&self) -> (Epoch, Position) {
        let kept = self.lock();
        (kept.epoch, kept.head)
    }

    /// The records as they are written.
    pub fn texts(&self) -> Vec<String> {
        self.lock().texts.values().cloned().collect()
    }

    /// Loses the answer to an append to come, after those that are to be lost before.
    pub fn lose(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// Loses no answer that is not lost yet.
    pub fn lose_nothing(&self) {
        self.lock().faults.clear();
    }

    /// Lets the next reads fail, as after a lost connection.
    pub fn fail_reads(&self, reads: usize) {
        self.lock().failing_reads = reads;
    }

    /// Holds all appends until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.lock().is_paused = true;
    }

    /// Lets appends through again.
    pub fn resume(&self) {
        self.lock().is_paused = false;
        self.0.resumed.notify_all();
    }

    /// Deletes the records up to a place.
    pub fn trim(&self, through: Position) {
        self.lock().texts.retain(|at, _| *at > through);
    }

    /// Loses the records after a place, though they were acknowledged.
    pub fn rewind(&self, to: Position) {
        let mut kept = self.lock();
        kept.texts.retain(|at, _| *at <= to);
        kept.head = kept.head.min(to);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap()
    }
}

impl Kept {
    /// Appends a text at a place, if that is the next one and the epoch is the last one.
    fn append(&mut self, epoch: Epoch, at: Position, text: &str) -> bool {
        let appends = self.epoch == epoch && self.head.next() == at;
        if appends {
            self.texts.insert(at, text.to_owned());
            self.head = at;
        }
        appends
    }
}

/// The log as one host has it open.
#[derive(Debug)]
struct Handle {
    memory: Memory,
    waits: Waits,
    epoch: Option<Epoch>,
    /// The place of the last record, as this host knows it.
    head: Position,
}

impl Handle {
    /// Waits until appends are let through.
    fn pass(&self) -> Result<MutexGuard<'_, Kept>, LogError> {
        let mut kept = self.memory.lock();
        while kept.is_paused {
            self.waits.waits("the log in memory is paused");
            if self.waits.is_closing() {
                return Err(LogError::Closing);
            }
            kept = self.memory.0.resumed.wait_timeout(kept, LOOK).unwrap().0;
        }
        Ok(kept)
    }
}

impl Log for Handle {
    fn append(&mut self, group: &[&Commit]) -> Result<Mark, LogError> {
        let epoch = self.epoch.ok_or(LogError::Fenced)?;
        let (mark, text) = Record::encode(self.head.next(), group)?;
        loop {
            let mut kept = self.pass()?;
            match kept.faults.pop_front() {
                None if kept.append(epoch, mark.at, &text) => break,
                None => {}
                Some(fault) => {
                    if fault.arrives {
                        kept.append(epoch, mark.at, &text);
                    }
                    if fault.is_claimed {
                        kept.epoch.0 += 1;
                    }
                }
            }
            // The answer was lost, or was no: only the log knows what happened.
            if kept.epoch != epoch {
                return Err(LogError::Fenced);
            }
            if kept.head == mark.at {
                break;
            }
            if kept.head != self.head {
                return Err(LogError::Diverged {
                    at: self.head,
                    what: format!("it ends at {}", kept.head),
                });
            }
        }
        self.head = mark.at;
        self.waits.stored();
        Ok(mark)
    }

    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, LogError> {
        let mut kept = self.memory.lock();
        if kept.failing_reads > 0 {
            kept.failing_reads -= 1;
            return Err(LogError::Unavailable("a read was to fail".to_owned()));
        }
        if after < kept.head && !kept.texts.contains_key(&after.next()) {
            return Err(LogError::Trimmed { after });
        }
        let (mut read, mut size) = (Vec::new(), 0);
        for (at, text) in kept.texts.range(after.next()..) {
            if size >= bytes {
                break;
            }
            size += text.len();
            read.push(Record::decode(*at, text)?);
        }
        Ok(read)
    }

    fn cut(&mut self, _: Position) -> Result<(), LogError> {
        Ok(())
    }

    fn check(&self, mark: &Mark) -> Result<(), LogError> {
        let diverged = |what: String| Err(LogError::Diverged { at: mark.at, what });
        let kept = self.memory.lock();
        if mark.at > kept.head {
            return diverged(format!("it ends at {}, before {}", kept.head, mark.at));
        }
        match kept.texts.get(&mark.at) {
            Some(text) if Mark::of(mark.at, text)? != *mark => {
                diverged(format!("its record {} is another one", mark.at))
            }
            _ => Ok(()),
        }
    }

    fn lead(&mut self, epoch: Epoch) -> Result<(), LogError> {
        let kept = self.memory.lock();
        if kept.epoch != epoch {
            return Err(LogError::Fenced);
        }
        (self.epoch, self.head) = (Some(epoch), kept.head);
        Ok(())
    }
}
