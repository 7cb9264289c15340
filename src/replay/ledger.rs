//! Matches what would be sent with what was sent.
//!
//! An agent's transaction is matched with a message that would be sent to the same address in answer
//! to the same message, preferably one with the same content. Otherwise it belongs to the message
//! named in its header; a text without a header belongs to the oldest text without a header from the
//! same address that has no answer yet. A transaction that matches nothing was sent on the agent's
//! own initiative.
//!
//! A report stays open until everything that would be sent for it was sent, however many messages
//! later. The reports that wait for nothing are reported first, the oldest first. Memory is bounded:
//! if hundreds of thousands wait at the same time, the oldest are *cut*. They are reported as not
//! compared, and later answers to them are not matched with other messages.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use agentry_core::AgentId;
use agentry_core::rows::ReceiptRequest;
use agentry_protocol::{Address, TransactionHash};

use super::report::{Cause, Compared, Did, Mark, Report, Would};

/// How many reports that wait for nothing stay open: the agent may have sent more than the
/// behaviours would.
const MAX_SETTLED: usize = 4_096;

/// About how many bytes open reports may take: enough for 200,000 messages that wait for answers.
const MAX_BYTES: usize = 256 << 20;

/// The approximate size of a report without its texts, in bytes.
const REPORT: usize = 1_024;

/// For how many addresses the answers to cut reports are counted.
const MAX_OVERDUE: usize = 100_000;

/// How many transactions of one message are kept.
const MAX_REPETITIONS: usize = 64;

/// The number of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReportId(u64);

/// A message that would be sent, and the delivery updates that its sender wants.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) would: Would,
    /// The transaction that its header would name.
    pub(super) re: Option<TransactionHash>,
    pub(super) receipt: Option<ReceiptRequest>,
}

/// An open report.
#[derive(Debug)]
struct Open {
    agent: AgentId,
    report: Report,
    /// The transactions of the message, if the cause is a message.
    questions: Vec<TransactionHash>,
    /// The sender, if the cause is a text without a header.
    plain: Option<Address>,
    would: Vec<Pending>,
    did: Vec<Did>,
    /// What would be sent is only partly known.
    incomplete: bool,
    /// What was sent is only partly known.
    cut: bool,
    bytes: usize,
}

#[derive(Debug)]
struct Pending {
    send: Send,
    /// It is matched with a sent message.
    matched: bool,
}

/// The match of a transaction.
#[derive(Debug)]
pub(super) enum Placed {
    /// It is matched with a message whose sender wants these delivery updates.
    For(Option<ReceiptRequest>),
    /// It belongs to a report, but matches nothing that would be sent.
    Alone,
    /// It answers a message that was not replayed.
    Outside,
    /// No replayed event caused it.
    Unasked,
}

/// All open reports.
#[derive(Debug)]
pub(super) struct Ledger {
    open: BTreeMap<ReportId, Open>,
    /// The reports that wait for nothing.
    settled: BTreeSet<ReportId>,
    next: u64,
    bytes: usize,
    max_bytes: usize,
    cut: u64,
    /// How many plain answers to an address belong to reports that were cut. They come before the
    /// answers of open reports.
    overdue: HashMap<(AgentId, Address), u64>,
    by_question: HashMap<(AgentId, TransactionHash), ReportId>,
    /// The reports that a transaction to an address may belong to, the oldest first.
    by_peer: HashMap<(AgentId, Address), VecDeque<ReportId>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::within(MAX_BYTES)
    }
}

impl Ledger {
    fn within(max_bytes: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            settled: BTreeSet::new(),
            next: 0,
            bytes: 0,
            max_bytes,
            cut: 0,
            overdue: HashMap::new(),
            by_question: HashMap::new(),
            by_peer: HashMap::new(),
        }
    }

    /// Whether a report waits for something to be sent.
    pub(super) fn waits(&self) -> bool {
        self.settled.len() < self.open.len()
    }

    /// How many reports were cut.
    pub(super) const fn cut(&self) -> u64 {
        self.cut
    }

    /// Opens a report. `plain`: its cause is a text without a header.
    pub(super) fn begin(
        &mut self,
        agent: AgentId,
        name: &str,
        cause: Cause,
        plain: bool,
    ) -> ReportId {
        let id = ReportId(self.next);
        self.next += 1;
        let (mut questions, mut peer, mut bytes) = (Vec::new(), None, REPORT);
        if let Cause::Message {
            transaction,
            from,
            text,
            ..
        } = &cause
        {
            questions.push(*transaction);
            self.by_question.insert((agent, *transaction), id);
            peer = plain.then(|| from.clone());
            bytes += text.as_ref().map_or(0, String::len);
        }
        self.bytes += bytes;
        let report = Report {
            agent: name.to_owned(),
            cause,
            notes: Vec::new(),
            sends: Vec::new(),
        };
        let open = Open {
            agent,
            report,
            questions,
            plain: peer.clone(),
            would: Vec::new(),
            did: Vec::new(),
            incomplete: false,
            cut: false,
            bytes,
        };
        self.open.insert(id, open);
        self.settled.insert(id);
        if let Some(peer) = peer {
            self.add_candidate(agent, peer, id);
        }
        id
    }

    /// Records that another transaction carried a message again.
    pub(super) fn record_repetition(
        &mut self,
        agent: AgentId,
        first: TransactionHash,
        again: TransactionHash,
    ) {
        let Some(id) = self.by_question.get(&(agent, first)).copied() else {
            return;
        };
        if let Some(open) = self.open.get_mut(&id)
            && open.questions.len() < MAX_REPETITIONS
            && self.by_question.insert((agent, again), id).is_none()
        {
            open.questions.push(again);
        }
    }

    /// Adds a report to the list of an address. Reports are filled in order, so each list is sorted.
    fn add_candidate(&mut self, agent: AgentId, peer: Address, id: ReportId) {
        let reports = self.by_peer.entry((agent, peer)).or_default();
        if reports.back() != Some(&id) {
            reports.push_back(id);
        }
    }

    fn remove_candidate(&mut self, agent: AgentId, peer: Address, id: ReportId) {
        let key = (agent, peer);
        let Some(reports) = self.by_peer.get_mut(&key) else {
            return;
        };
        if let Ok(index) = reports.binary_search(&id) {
            reports.remove(index);
        }
        if reports.is_empty() {
            self.by_peer.remove(&key);
        }
    }

    /// Records a sent message that no replayed event caused.
    pub(super) fn unasked(&mut self, agent: AgentId, name: &str, did: Did) {
        let height = did.height;
        let bytes = did.said.bytes();
        let id = self.begin(agent, name, Cause::Unasked { height }, false);
        if let Some(open) = self.grow(id, bytes) {
            open.report.sends.push(Compared {
                mark: Mark::Unasked,
                would: None,
                did: Some(did),
            });
        }
    }

    /// An open report, which grows by this many bytes.
    fn grow(&mut self, id: ReportId, bytes: usize) -> Option<&mut Open> {
        let open = self.open.get_mut(&id)?;
        open.bytes += bytes;
        self.bytes += bytes;
        Some(open)
    }

    pub(super) fn note(&mut self, id: ReportId, note: String) {
        if let Some(open) = self.grow(id, note.len()) {
            open.report.notes.push(note);
        }
    }

    /// Marks a report whose messages that would be sent are only partly known.
    pub(super) fn mark_incomplete(&mut self, id: ReportId) {
        if let Some(open) = self.open.get_mut(&id) {
            open.incomplete = true;
        }
    }

    /// Records a message that would be sent.
    pub(super) fn would(&mut self, id: ReportId, send: Send) {
        let Some(open) = self.grow(id, send.would.said.bytes()) else {
            return;
        };
        let (agent, to) = (open.agent, send.would.said.to.clone());
        open.would.push(Pending {
            send,
            matched: false,
        });
        self.settled.remove(&id);
        self.add_candidate(agent, to, id);
    }

    /// Records a message that was sent. `names` is the transaction that it answers; `by_operator` is
    /// whether an operator sent it.
    pub(super) fn did(
        &mut self,
        agent: AgentId,
        did: Did,
        names: Option<TransactionHash>,
        by_operator: bool,
    ) -> Placed {
        let peer = (agent, did.said.to.clone());
        if names.is_none() && !by_operator && did.said.is_plain() && self.take_overdue(&peer) {
            return Placed::Outside;
        }
        let asked = names.and_then(|question| self.by_question.get(&(agent, question)).copied());
        // Every transaction of a message stands for the same message.
        let first = |id: ReportId| self.open.get(&id)?.questions.first().copied();
        let names = asked.and_then(first).or(names);
        let has = |fits: &dyn Fn(&Pending) -> bool| {
            self.first(asked, &peer, |open| {
                open.would
                    .iter()
                    .any(|one| !one.matched && one.send.re == names && fits(one))
            })
        };
        let mut found = has(&|one| one.send.would.said.is_same(&did.said));
        if found.is_none() && !by_operator {
            found = has(&|one| one.send.would.said.is_like(&did.said)).or_else(|| {
                if names.is_some() {
                    return asked;
                }
                self.first(None, &peer, |open| {
                    did.said.is_plain()
                        && open.plain.as_ref() == Some(&did.said.to)
                        && open.did.is_empty()
                })
            });
        }
        match found {
            Some(id) => self.place(id, did, names),
            None if names.is_some() && !by_operator => Placed::Outside,
            None => Placed::Unasked,
        }
    }

    /// The first report that fits: the one whose message is named, else the oldest of the address.
    fn first(
        &self,
        asked: Option<ReportId>,
        peer: &(AgentId, Address),
        fits: impl Fn(&Open) -> bool,
    ) -> Option<ReportId> {
        let others = self.by_peer.get(peer).into_iter().flatten().copied();
        let mut reports = asked.into_iter().chain(others);
        reports.find(|id| self.open.get(id).is_some_and(&fits))
    }

    /// Takes an answer to a cut report off the count; false if none was pending.
    fn take_overdue(&mut self, peer: &(AgentId, Address)) -> bool {
        let Some(count) = self.overdue.get_mut(peer) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.overdue.remove(peer);
        }
        true
    }

    fn place(&mut self, id: ReportId, did: Did, names: Option<TransactionHash>) -> Placed {
        let Some(open) = self.grow(id, did.said.bytes()) else {
            return Placed::Outside;
        };
        let position = |fits: &dyn Fn(&Would) -> bool| {
            let fits =
                |one: &Pending| !one.matched && one.send.re == names && fits(&one.send.would);
            open.would.iter().position(fits)
        };
        let matched = position(&|would| would.said.is_same(&did.said))
            .or_else(|| position(&|would| would.said.is_like(&did.said)));
        let (agent, to) = (open.agent, did.said.to.clone());
        open.did.push(did);
        let placed = match matched.and_then(|index| open.would.get_mut(index)) {
            Some(pending) => {
                pending.matched = true;
                Placed::For(pending.send.receipt.take())
            }
            None => Placed::Alone,
        };
        // A report that waits for nothing leaves the list of its address: an agent that answers
        // thousands of messages of one sender must not search all of them for each answer.
        if open.would.iter().all(|one| one.matched) {
            self.settled.insert(id);
            self.remove_candidate(agent, to, id);
        }
        placed
    }

    /// If too many reports are open, closes one: the oldest that waits for nothing, else the oldest
    /// of all, which is cut.
    pub(super) fn overflow(&mut self) -> Option<Report> {
        let is_full = self.bytes > self.max_bytes;
        if (is_full || self.settled.len() > MAX_SETTLED)
            && let Some(id) = self.settled.first().copied()
        {
            return self.close(id).map(Open::compared);
        }
        let oldest = self.open.first_key_value().filter(|_| is_full);
        let id = *oldest?.0;
        let mut open = self.close(id)?;
        self.cut += 1;
        open.cut = true;
        let note = "too many messages waited for answers at the same time: the answers to this one \
                    are no longer searched for";
        open.report.notes.push(note.to_owned());
        let unmatched = open.would.iter().filter(|one| !one.matched);
        for one in unmatched.filter(|one| one.send.re.is_none() && one.send.would.said.is_plain()) {
            let peer = (open.agent, one.send.would.said.to.clone());
            if self.overdue.len() < MAX_OVERDUE || self.overdue.contains_key(&peer) {
                *self.overdue.entry(peer).or_default() += 1;
            }
        }
        Some(open.compared())
    }

    /// Closes the oldest report.
    pub(super) fn conclude(&mut self) -> Option<Report> {
        let id = *self.open.first_key_value()?.0;
        self.close(id).map(Open::compared)
    }

    fn close(&mut self, id: ReportId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.settled.remove(&id);
        self.bytes = self.bytes.saturating_sub(open.bytes);
        for question in &open.questions {
            self.by_question.remove(&(open.agent, *question));
        }
        let peers = open.would.iter().map(|one| &one.send.would.said.to);
        let peers: Vec<Address> = peers.chain(&open.plain).cloned().collect();
        for peer in peers {
            self.remove_candidate(open.agent, peer, id);
        }
        Some(open)
    }
}

impl Open {
    /// The report, with what would be sent compared with what was sent: first the pairs with the
    /// same content, then the rest in order.
    fn compared(self) -> Report {
        let mut would: Vec<Option<Would>> = self
            .would
            .into_iter()
            .map(|one| Some(one.send.would))
            .collect();
        let mut pairs: Vec<(Option<Would>, Did)> = Vec::with_capacity(self.did.len());
        for did in self.did {
            let same = would
                .iter_mut()
                .find(|one| one.as_ref().is_some_and(|one| one.said.is_same(&did.said)));
            pairs.push((same.and_then(Option::take), did));
        }
        let mut left = would.into_iter().flatten();
        let mut report = self.report;
        for (same, did) in pairs {
            let (mark, would) = match same {
                Some(would) => (Mark::Same, Some(would)),
                None => match left.next() {
                    Some(would) => (Mark::Differs, Some(would)),
                    None if self.incomplete => (Mark::NotCompared, None),
                    None => (Mark::Extra, None),
                },
            };
            report.sends.push(Compared {
                mark,
                would,
                did: Some(did),
            });
        }
        let mark = if self.cut {
            Mark::NotCompared
        } else {
            Mark::Missing
        };
        report.sends.extend(left.map(|would| Compared {
            mark,
            would: Some(would),
            did: None,
        }));
        report
    }
}

#[cfg(test)]
mod tests {
    use agentry_protocol::{BlockHeight, Json, Number, Seed};

    use super::super::said::ComparedMessage;
    use super::*;

    const AGENT: AgentId = AgentId(1);

    fn peer(n: u8) -> Address {
        Address::from_public_key(&Seed::from_bytes([n; 32]).public_key())
    }

    fn said(to: &Address, text: &str) -> ComparedMessage {
        ComparedMessage::of(to, &Number::from(0_u64), &Json::string(text)).0
    }

    fn question(ledger: &mut Ledger, from: &Address, n: u64) -> (ReportId, TransactionHash) {
        let transaction = TransactionHash::of(&n.to_be_bytes());
        let cause = Cause::Message {
            height: BlockHeight(n),
            transaction,
            from: from.clone(),
            text: Some("ping".to_owned()),
            sealed: false,
            authenticity: "verified",
        };
        (ledger.begin(AGENT, "a", cause, true), transaction)
    }

    fn send(to: &Address, text: &str) -> Send {
        Send {
            would: Would {
                behaviour: "b".to_owned(),
                said: said(to, text),
            },
            re: None,
            receipt: None,
        }
    }

    fn did(to: &Address, text: &str) -> Did {
        Did {
            height: BlockHeight(9),
            transaction: TransactionHash::of(text.as_bytes()),
            said: said(to, text),
        }
    }

    fn marks(ledger: &mut Ledger) -> Vec<Vec<Mark>> {
        std::iter::from_fn(|| ledger.conclude())
            .map(|report| report.sends.iter().map(|one| one.mark).collect())
            .collect()
    }

    #[test]
    fn plain_answers_match_the_oldest_with_the_same_content() {
        let (mut ledger, alice, bob) = (Ledger::default(), peer(1), peer(2));
        for (n, from) in [(1, &alice), (2, &bob), (3, &alice)] {
            let (id, _) = question(&mut ledger, from, n);
            ledger.would(id, send(from, "pong"));
        }
        for to in [&alice, &bob] {
            let placed = ledger.did(AGENT, did(to, "pong"), None, false);
            assert!(matches!(placed, Placed::For(_)), "{placed:?}");
        }
        let unasked = ledger.did(AGENT, did(&peer(3), "pong"), None, false);
        assert!(matches!(unasked, Placed::Unasked));
        let other = ledger.did(AGENT, did(&alice, "pang"), None, false);
        assert!(matches!(other, Placed::For(_)));
        assert_eq!(
            marks(&mut ledger),
            [vec![Mark::Same], vec![Mark::Same], vec![Mark::Differs]]
        );
    }

    #[test]
    fn an_answer_that_names_its_question_belongs_to_it() {
        let (mut ledger, alice) = (Ledger::default(), peer(1));
        let (first, early) = question(&mut ledger, &alice, 1);
        let (second, hash) = question(&mut ledger, &alice, 2);
        let naming = |hash, text| Send {
            re: Some(hash),
            ..send(&alice, text)
        };
        ledger.would(first, naming(early, "a"));
        ledger.would(second, naming(hash, "a"));
        ledger.would(second, naming(hash, "b"));
        // Later, from a timer, in answer to the first.
        let cause = Cause::Timer {
            height: BlockHeight(3),
            behaviour: "b".to_owned(),
            name: "t".to_owned(),
        };
        let later = ledger.begin(AGENT, "a", cause, false);
        ledger.would(later, naming(early, "late"));
        ledger.did(AGENT, did(&alice, "late"), Some(early), false);
        for text in ["b", "c", "d"] {
            ledger.did(AGENT, did(&alice, text), Some(hash), false);
        }
        let unknown = TransactionHash::of(b"before");
        let outside = ledger.did(AGENT, did(&alice, "x"), Some(unknown), false);
        assert!(matches!(outside, Placed::Outside));
        assert_eq!(
            marks(&mut ledger),
            [
                vec![Mark::Missing],
                vec![Mark::Same, Mark::Differs, Mark::Extra],
                vec![Mark::Same]
            ]
        );
    }

    #[test]
    fn an_answer_may_name_any_transaction_of_its_question() {
        let (mut ledger, alice) = (Ledger::default(), peer(1));
        let (id, first) = question(&mut ledger, &alice, 1);
        let answer = Send {
            re: Some(first),
            ..send(&alice, "x")
        };
        ledger.would(id, answer);
        let again = TransactionHash::of(b"again");
        ledger.record_repetition(AGENT, first, again);
        let placed = ledger.did(AGENT, did(&alice, "x"), Some(again), false);
        assert!(matches!(placed, Placed::For(_)), "{placed:?}");
        assert_eq!(marks(&mut ledger), [vec![Mark::Same]]);
        assert!(ledger.by_question.is_empty());
    }

    #[test]
    fn a_message_of_an_operator_is_not_an_answer() {
        let (mut ledger, alice) = (Ledger::default(), peer(1));
        question(&mut ledger, &alice, 1);
        let placed = ledger.did(AGENT, did(&alice, "ping"), None, true);
        assert!(matches!(placed, Placed::Unasked));
        let placed = ledger.did(AGENT, did(&alice, "ping"), None, false);
        assert!(matches!(placed, Placed::Alone));
        let again = ledger.did(AGENT, did(&alice, "ping"), None, false);
        assert!(matches!(again, Placed::Unasked));
        assert_eq!(marks(&mut ledger), [vec![Mark::Extra]]);
    }

    #[test]
    fn a_partly_known_report_is_not_compared() {
        let (mut ledger, alice) = (Ledger::default(), peer(1));
        let (id, hash) = question(&mut ledger, &alice, 1);
        ledger.mark_incomplete(id);
        ledger.did(AGENT, did(&alice, "done"), Some(hash), false);
        assert_eq!(marks(&mut ledger), [vec![Mark::NotCompared]]);
    }

    /// Thousands of messages arrive before the first answer is mined: each answer is found.
    #[test]
    fn an_answer_is_found_however_many_messages_later_it_comes() {
        for named in [false, true] {
            let mut ledger = Ledger::default();
            let count: u64 = 3 * MAX_SETTLED as u64;
            let sender = |n: u64| peer(u8::try_from(n % 200).unwrap());
            let mut told = Vec::new();
            let mut questions = Vec::new();
            for n in 0..count {
                let from = sender(n);
                let (id, hash) = question(&mut ledger, &from, n);
                let re = named.then_some(hash);
                ledger.would(
                    id,
                    Send {
                        re,
                        ..send(&from, "pong")
                    },
                );
                questions.push(re);
                told.extend(std::iter::from_fn(|| ledger.overflow()));
            }
            for (n, re) in (0..count).zip(questions) {
                let placed = ledger.did(AGENT, did(&sender(n), "pong"), re, false);
                assert!(matches!(placed, Placed::For(_)), "{n}: {placed:?}");
                told.extend(std::iter::from_fn(|| ledger.overflow()));
            }
            assert!(ledger.settled.len() <= MAX_SETTLED && ledger.cut() == 0);
            told.extend(std::iter::from_fn(|| ledger.conclude()));
            let marks = told.iter().flat_map(|report| &report.sends);
            assert_eq!(
                marks.filter(|one| one.mark == Mark::Same).count() as u64,
                count
            );
        }
    }

    #[test]
    fn cut_reports_are_reported_and_cause_no_difference() {
        let (mut ledger, alice) = (Ledger::within(100 * REPORT), peer(1));
        let mut told = Vec::new();
        for n in 0..300 {
            let (id, _) = question(&mut ledger, &alice, n);
            ledger.would(id, send(&alice, "pong"));
            told.extend(std::iter::from_fn(|| ledger.overflow()));
        }
        let cut = ledger.cut();
        assert!(cut >= 200 && cut == told.len() as u64, "{cut}");
        assert!(told.iter().all(|report| {
            report.sends[0].mark == Mark::NotCompared && report.notes.len() == 1
        }));
        // The answers to cut reports come first and match no other report.
        for n in 0..300 {
            let placed = ledger.did(AGENT, did(&alice, "pong"), None, false);
            let is_overdue = matches!(placed, Placed::Outside);
            assert_eq!(is_overdue, n < cut, "{n}: {placed:?}");
        }
        assert!(
            marks(&mut ledger)
                .iter()
                .all(|marks| *marks == [Mark::Same])
        );
        assert!(ledger.overdue.is_empty());
    }

    #[test]
    fn open_reports_are_bounded() {
        let (mut ledger, alice) = (Ledger::default(), peer(1));
        let mut told = 0;
        for n in 0..10_000 {
            let (id, _) = question(&mut ledger, &alice, n);
            if n % 2 == 0 {
                ledger.would(id, send(&peer(2), "x"));
            }
            while ledger.overflow().is_some() {
                told += 1;
            }
        }
        assert_eq!(told, 5_000 - MAX_SETTLED);
        while ledger.conclude().is_some() {}
        assert_eq!(ledger.bytes, 0);
        assert!(ledger.by_peer.is_empty() && ledger.by_question.is_empty());
        assert!(ledger.settled.is_empty());
    }
}
