//! Asking the reader's interest from the database's thread.

use std::collections::HashMap;
use std::sync::mpsc as answer;

use tokio::sync::mpsc;

/// The caller no longer waits for the answer: the read was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abandoned;

/// Sender and recipient.
pub(super) type Pair = (String, String);

/// A question to the reader, which lives on another thread.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) pairs: Vec<Pair>,
    pub(super) answer: answer::SyncSender<Vec<bool>>,
}

/// How many pairs are cached. The bound keeps a chain on which every transaction has a new pair
/// from filling the memory.
const REMEMBERED: usize = 50_000;

/// Caches which pairs of addresses are wanted, and asks about each only once in a read: a million
/// transactions between the same two addresses cost one question.
#[derive(Debug)]
pub(super) struct Filter {
    questions: mpsc::Sender<Question>,
    known: HashMap<String, HashMap<String, bool>>,
    count: usize,
}

impl Filter {
    pub(super) fn new(questions: mpsc::Sender<Question>) -> Self {
        Self {
            questions,
            known: HashMap::new(),
            count: 0,
        }
    }

    fn known(&self, from: &str, to: &str) -> Option<bool> {
        self.known.get(from)?.get(to).copied()
    }

    /// Which of these pairs are wanted.
    pub(super) fn wants<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Result<Vec<bool>, Abandoned> {
        if self.count > REMEMBERED {
            self.known.clear();
            self.count = 0;
        }
        let mut unknown: Vec<Pair> = Vec::new();
        for (from, to) in pairs.clone() {
            if self.known(from, to).is_none() {
                // Cached as unwanted until the answer arrives, so that it is asked once.
                self.known
                    .entry(from.to_owned())
                    .or_default()
                    .insert(to.to_owned(), false);
                unknown.push((from.to_owned(), to.to_owned()));
                self.count += 1;
            }
        }
        if !unknown.is_empty() {
            let (answer, answered) = answer::sync_channel(1);
            let question = Question {
                pairs: unknown.clone(),
                answer,
            };
            self.questions
                .blocking_send(question)
                .map_err(|_| Abandoned)?;
            let wanted = answered.recv().map_err(|_| Abandoned)?;
            for ((from, to), wanted) in unknown.into_iter().zip(wanted) {
                self.known.entry(from).or_default().insert(to, wanted);
            }
        }
        Ok(pairs
            .map(|(from, to)| self.known(from, to).unwrap_or(false))
            .collect())
    }

    /// Whether one pair is wanted.
    pub(super) fn wants_one(&mut self, from: &str, to: &str) -> Result<bool, Abandoned> {
        Ok(self.wants(std::iter::once((from, to)))?.contains(&true))
    }
}
