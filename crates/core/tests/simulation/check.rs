//! What must hold: at any time, and when everything is done.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::rows::{InboxState, OutboxState};
use agentry_protocol::{Address, BlockHeight};

use super::chain::{FINAL_DEPTH, Transaction};
use super::host::{Checked, Host, broken};
use super::peers::{self, Kind};
use super::world::World;

impl World {
    /// What holds at any time.
    pub(crate) fn check(&self) -> Checked {
        if let Some(digest) = self.chain.repeats() {
            broken!("a block was destroyed: {digest} is in two");
        }
        Ok(())
    }

    /// What holds when everything is done.
    pub(crate) fn check_end(&self) -> Checked {
        // What hosted wallets have sent, by its words.
        let mut sent: BTreeMap<String, u32> = BTreeMap::new();
        for (_, transaction) in self.chain.transactions() {
            if let (Some(_), Some(text)) = (&transaction.own, transaction.text()) {
                *sent.entry(text).or_default() += 1;
            }
        }
        for (_, transaction) in self.chain.transactions() {
            let Some(text) = transaction.text().filter(|_| transaction.own.is_some()) else {
                continue;
            };
            let count = sent.get(&text).copied().unwrap_or(0);
            // A message that is not acknowledged is sent again, and a restored store may have
            // forgotten that it was.
            let most = match (text.starts_with("ask "), self.is_restored) {
                (true, true) => 3,
                (true, false) => 2,
                (false, _) => 1,
            };
            if count > most
                && !self.is_recognised_by_order(transaction)
                && !self.is_out_of_order(&text)
            {
                broken!("{text:?} was sent {count} times");
            }
        }
        let final_through = self.chain.head().saturating_sub(FINAL_DEPTH);
        let mut outgoing = self.owners().flat_map(|host| host.state.outbox().iter());
        let not_final = outgoing.find(|row| {
            let height = row.block.map(|(height, _)| height);
            row.state == OutboxState::Mined && height.is_some_and(|height| height <= final_through)
        });
        if let Some(row) = not_final {
            broken!("{} is not final", row.origin);
        }
        let mut receipts = self.owners().flat_map(|host| host.state.receipts().iter());
        if let Some(row) = receipts.find(|row| row.state.awaits(row.wanted.as_deref())) {
            broken!("nobody knows what became of transaction {}", row.outbox);
        }
        self.check_messages(&sent)?;
        self.check_plain()?;
        self.owners().try_for_each(Host::check_plans)
    }

    /// A restored store takes a text without a header that it finds on the chain for the answer to the
    /// first question to which it has none.
    fn is_recognised_by_order(&self, transaction: &Transaction) -> bool {
        self.is_restored && transaction.is_plain()
    }

    /// What a restored store does not recognise if a reorganisation has changed the order: an answer
    /// to another transaction of its message than the first, or to one that is lost and that the
    /// restored store of its sender signs again; and a timer's message below the message that set the
    /// timer.
    fn is_out_of_order(&self, text: &str) -> bool {
        let came_in_several =
            |number| self.respelled.contains(&number) || self.sent.contains(&number);
        let is_of_several = || peers::number(text).is_some_and(came_in_several);
        self.is_restored && self.is_reorganised && (text.starts_with("timer ") || is_of_several())
    }

    /// Whether a message on the chain need not be acted on: it is a dead letter, it has expired, it is
    /// forged, or an operator or the node has refused it or what the agent sends for it.
    fn is_exception(&self, transaction: &Transaction, number: u32) -> bool {
        let is_in = |state| self.is_in(state, transaction);
        is_in(InboxState::Dead)
            || (self.brief.contains(&number) && is_in(InboxState::Expired))
            || self.dropped.contains(&number)
            || self.forged.contains(&number)
            || self.owners().any(|host| host.has_failed(number))
    }

    fn is_in(&self, state: InboxState, transaction: &Transaction) -> bool {
        self.owners()
            .any(|host| host.is_in(state, transaction.digest))
    }

    fn has_noted(&self, wallet: usize, number: u32) -> bool {
        let mut hosts = self.owners().filter(|host| host.wallets.contains(&wallet));
        hosts.any(|host| host.has_noted(wallet, number))
    }

    /// Every message on the chain was acted on, or is where an operator finds it.
    fn check_messages(&self, sent: &BTreeMap<String, u32>) -> Checked {
        for number in &self.forged {
            let mut tags = Kind::ALL.iter().filter_map(|kind| kind.tag());
            if tags.any(|tag| sent.contains_key(&format!("{tag} {number}"))) {
                broken!("the forged message {number} was acted on");
            }
        }
        for (height, transaction, kind, number) in self.messages() {
            let is_dead = self.is_in(InboxState::Dead, transaction);
            if is_dead && kind != Kind::Bad && !self.dropped.contains(&number) {
                broken!("message {number} at {height} is a dead letter");
            }
            if self.is_exception(transaction, number) {
                continue;
            }
            let to = peers::hosted(&transaction.stored.to);
            if kind == Kind::Note && !to.is_some_and(|to| self.has_noted(to, number)) {
                broken!("message {number} at {height} is not remembered");
            }
            let Some(tag) = kind.tag() else { continue };
            let is_answered = sent.contains_key(&format!("{tag} {number}"));
            if !is_answered && !self.is_recognised_by_order(transaction) {
                broken!("message {number} at {height} has no {tag}");
            }
        }
        Ok(())
    }

    /// The messages to hosted wallets on the chain.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (BlockHeight, &Transaction, Kind, u32)> {
        let to_hosted = |one: &Transaction| peers::hosted(&one.stored.to).is_some();
        self.chain.transactions().filter_map(move |(height, one)| {
            let (kind, number) = peers::read_message(&one.text()?)?;
            to_hosted(one).then_some((height, one, kind, number))
        })
    }

    /// To each sender as many texts without a header were sent as there are questions without one,
    /// whichever answers which.
    fn check_plain(&self) -> Checked {
        type Pair<'a> = (&'a Address, &'a Address);
        let mut questions: BTreeMap<Pair<'_>, BTreeSet<u32>> = BTreeMap::new();
        let mut exceptions: BTreeMap<Pair<'_>, usize> = BTreeMap::new();
        for (_, transaction, kind, number) in self.messages() {
            if !matches!(kind, Kind::Answer | Kind::Flaky) || !transaction.is_plain() {
                continue;
            }
            let pair = (&transaction.stored.to, &transaction.stored.from);
            let is_new = questions.entry(pair).or_default().insert(number);
            if is_new && self.is_exception(transaction, number) {
                *exceptions.entry(pair).or_default() += 1;
            }
        }
        for (pair, questions) in questions {
            let answers = self.chain.transactions().filter(|(_, one)| {
                one.own.is_some() && one.is_plain() && (&one.stored.from, &one.stored.to) == pair
            });
            let (answers, questions) = (answers.count(), questions.len());
            let exceptions = exceptions.get(&pair).copied().unwrap_or(0);
            if answers + exceptions < questions {
                broken!("{answers} answers to {questions} questions");
            }
        }
        Ok(())
    }
}
