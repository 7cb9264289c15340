//! What would be sent, beside what was: which belongs to which.
//!
//! A transaction of an agent's takes the place of what would be sent to the same address in answer
//! to the same message, if possible of what says the same. What is left belongs to the message that
//! it names in its header; a text without one, to the oldest text without one of the same address
//! that is not answered yet. What nothing of the kind asked for was sent of the agent's own accord.
//!
//! Reports are open for answers as long as there is room, and are told in their order. So memory is
//! bounded, and an answer that came thousands of messages later is not found.

use std::collections::{BTreeMap, HashMap, VecDeque};

use agentry_protocol::{Address, TransactionHash};
use agentry_sdk::Acknowledge;

use super::report::{Cause, Compared, Did, Mark, Report, Would};
use crate::store::AgentId;

/// How many reports are open for answers.
const MAX_OPEN: usize = 4_096;

/// How much memory they take, about, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// How many transactions of one message are remembered.
const MAX_REPETITIONS: usize = 64;

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReportId(u64);

/// A message that would be sent, and what its sender wants to know of it.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) would: Would,
    /// The transaction that it would name.
    pub(super) re: Option<TransactionHash>,
    pub(super) label: Option<String>,
    pub(super) acknowledge: Option<Acknowledge>,
}

/// A report that is open.
#[derive(Debug)]
struct Open {
    agent: AgentId,
    report: Report,
    /// The transactions of the message that is answered, where the cause is one.
    questions: Vec<TransactionHash>,
    /// The address whose text without a header the cause is.
    plain: Option<Address>,
    would: Vec<Pending>,
    did: Vec<Did>,
    /// What would be sent is not known whole.
    in_part: bool,
    bytes: usize,
}

#[derive(Debug)]
struct Pending {
    send: Send,
    /// Something that was sent is taken for it.
    met: bool,
}

/// Where a transaction belongs.
#[derive(Debug)]
pub(super) enum Placed {
    /// It is taken for this message.
    For(Box<Send>),
    /// It has its place in a report; nothing that would be sent is like it.
    Alone,
    /// It answers what was not replayed.
    Outside,
    /// Nothing asked for it.
    Unasked,
}

/// All open reports.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: BTreeMap<ReportId, Open>,
    next: u64,
    bytes: usize,
    by_question: HashMap<(AgentId, TransactionHash), ReportId>,
    /// The reports that a transaction to this address may belong to, the oldest first.
    by_peer: HashMap<(AgentId, Address), VecDeque<ReportId>>,
}

impl Ledger {
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
        let (mut questions, mut peer, mut bytes) = (Vec::new(), None, 512);
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
            in_part: false,
            bytes,
        };
        self.open.insert(id, open);
        if let Some(peer) = peer {
            self.may_belong(agent, peer, id);
        }
        id
    }

    /// A message came once more, in another transaction.
    pub(super) fn carried_again(
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

    /// Reports are filled one after the other, so each list is in order.
    fn may_belong(&mut self, agent: AgentId, peer: Address, id: ReportId) {
        let reports = self.by_peer.entry((agent, peer)).or_default();
        if reports.back() != Some(&id) {
            reports.push_back(id);
        }
    }

    fn belongs_no_more(&mut self, agent: AgentId, peer: Address, id: ReportId) {
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

    /// Puts down what was sent though nothing that was replayed asked for it.
    pub(super) fn unasked(&mut self, agent: AgentId, name: &str, did: Did) {
        let height = did.height;
        let bytes = did.said.bytes();
        let id = self.begin(agent, name, Cause::Unasked { height }, false);
        if let Some(open) = self.open.get_mut(&id) {
            open.bytes += bytes;
            self.bytes += bytes;
            open.report.sends.push(Compared {
                mark: Mark::Unasked,
                would: None,
                did: Some(did),
            });
        }
    }

    pub(super) fn note(&mut self, id: ReportId, note: String) {
        if let Some(open) = self.open.get_mut(&id) {
            open.bytes += note.len();
            self.bytes += note.len();
            open.report.notes.push(note);
        }
    }

    /// What would be sent for this report is not known whole.
    pub(super) fn in_part(&mut self, id: ReportId) {
        if let Some(open) = self.open.get_mut(&id) {
            open.in_part = true;
        }
    }

    /// Something would be sent.
    pub(super) fn would(&mut self, id: ReportId, send: Send) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        let bytes = send.would.said.bytes();
        open.bytes += bytes;
        self.bytes += bytes;
        let (agent, to) = (open.agent, send.would.said.to.clone());
        open.would.push(Pending { send, met: false });
        self.may_belong(agent, to, id);
    }

    /// Something was sent. `names`: the transaction that it answers; `by_operator`: an operator
    /// asked for it.
    pub(super) fn did(
        &mut self,
        agent: AgentId,
        did: Did,
        names: Option<TransactionHash>,
        by_operator: bool,
    ) -> Placed {
        let peer = (agent, did.said.to.clone());
        let asked = names.and_then(|question| self.by_question.get(&(agent, question)).copied());
        // Whichever of its transactions is named, the message is the same.
        let first = |id: ReportId| self.open.get(&id)?.questions.first().copied();
        let names = asked.and_then(first).or(names);
        let others = self.by_peer.get(&peer).into_iter().flatten().copied();
        let reports: Vec<ReportId> = asked.into_iter().chain(others).collect();
        let has = |fits: &dyn Fn(&Pending) -> bool| {
            self.first(&reports, |open| {
                open.would
                    .iter()
                    .any(|one| !one.met && one.send.re == names && fits(one))
            })
        };
        let mut found = has(&|one| one.send.would.said.is_same(&did.said));
        if found.is_none() && !by_operator {
            found = has(&|one| one.send.would.said.is_like(&did.said)).or_else(|| {
                if names.is_some() {
                    return asked;
                }
                self.first(&reports, |open| {
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

    fn first(&self, reports: &[ReportId], fits: impl Fn(&Open) -> bool) -> Option<ReportId> {
        let fits = |id: &&ReportId| self.open.get(id).is_some_and(&fits);
        reports.iter().find(fits).copied()
    }

    fn place(&mut self, id: ReportId, did: Did, names: Option<TransactionHash>) -> Placed {
        let Some(open) = self.open.get_mut(&id) else {
            return Placed::Outside;
        };
        let bytes = did.said.bytes();
        open.bytes += bytes;
        self.bytes += bytes;
        let position = |fits: &dyn Fn(&Would) -> bool| {
            let fits = |one: &Pending| !one.met && one.send.re == names && fits(&one.send.would);
            open.would.iter().position(fits)
        };
        let met = position(&|would| would.said.is_same(&did.said))
            .or_else(|| position(&|would| would.said.is_like(&did.said)));
        let (agent, to) = (open.agent, did.said.to.clone());
        open.did.push(did);
        let placed = match met.and_then(|index| open.would.get_mut(index)) {
            Some(pending) => {
                pending.met = true;
                Placed::For(Box::new(pending.send.clone()))
            }
            None => Placed::Alone,
        };
        // What has all that it waits for is looked at no more: an agent that answers thousands of
        // messages of one sender must not go through all of them for each.
        if open.would.iter().all(|one| one.met) {
            self.belongs_no_more(agent, to, id);
        }
        placed
    }

    /// The oldest reports, where too many are open.
    pub(super) fn overflow(&mut self) -> Option<Report> {
        if self.open.len() <= MAX_OPEN && self.bytes <= MAX_BYTES {
            return None;
        }
        self.conclude()
    }

    /// The oldest report, which is open no more.
    pub(super) fn conclude(&mut self) -> Option<Report> {
        let (id, open) = self.open.pop_first()?;
        self.bytes = self.bytes.saturating_sub(open.bytes);
        for question in &open.questions {
            self.by_question.remove(&(open.agent, *question));
        }
        let peers = open.would.iter().map(|one| &one.send.would.said.to);
        let peers: Vec<Address> = peers.chain(&open.plain).cloned().collect();
        for peer in peers {
            self.belongs_no_more(open.agent, peer, id);
        }
        Some(open.compared())
    }
}

impl Open {
    /// The report, with what would be sent beside what was: the same beside the same first, then
    /// the rest in order.
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
                    None if self.in_part => (Mark::NotCompared, None),
                    None => (Mark::Extra, None),
                },
            };
            report.sends.push(Compared {
                mark,
                would,
                did: Some(did),
            });
        }
        report.sends.extend(left.map(|would| Compared {
            mark: Mark::Missing,
            would: Some(would),
            did: None,
        }));
        report
    }
}

#[cfg(test)]
mod tests {
    use agentry_protocol::{BlockHeight, Json, Number, Seed};

    use super::super::said::Said;
    use super::*;

    const AGENT: AgentId = AgentId(1);

    fn peer(n: u8) -> Address {
        Address::from_public_key(&Seed::from_bytes([n; 32]).public_key())
    }

    fn said(to: &Address, text: &str) -> Said {
        Said::of(to, &Number::from(0_u64), &Json::string(text)).0
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
            label: None,
            acknowledge: None,
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
    fn plain_answers_go_to_the_oldest_that_says_the_same() {
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
    fn what_names_its_question_belongs_there() {
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
        // Later, of its own accord, in answer to the first.
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
        ledger.carried_again(AGENT, first, again);
        let placed = ledger.did(AGENT, did(&alice, "x"), Some(again), false);
        assert!(matches!(placed, Placed::For(_)), "{placed:?}");
        assert_eq!(marks(&mut ledger), [vec![Mark::Same]]);
        assert!(ledger.by_question.is_empty());
    }

    #[test]
    fn what_an_operator_asked_for_is_no_answer() {
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
    fn what_is_known_in_part_is_not_held_against_it() {
        let (mut ledger, alice) = (Ledger::default(), peer(1));
        let (id, hash) = question(&mut ledger, &alice, 1);
        ledger.in_part(id);
        ledger.did(AGENT, did(&alice, "done"), Some(hash), false);
        assert_eq!(marks(&mut ledger), [vec![Mark::NotCompared]]);
    }

    #[test]
    fn open_reports_are_bounded() {
        let (mut ledger, alice) = (Ledger::default(), peer(1));
        let mut told = 0;
        for n in 0..10_000 {
            let (id, _) = question(&mut ledger, &alice, n);
            ledger.would(id, send(&peer(2), "x"));
            while ledger.overflow().is_some() {
                told += 1;
            }
        }
        assert_eq!(told, 10_000 - MAX_OPEN);
        while ledger.conclude().is_some() {}
        assert_eq!(ledger.bytes, 0);
        assert!(ledger.by_peer.is_empty() && ledger.by_question.is_empty());
    }
}
