//! Random commits. Their values are few, so that the same messages, rows and times recur, and most
//! of them name rows that exist.

use std::collections::BTreeSet;

use agentry_core::commit::{
    Arrival, Backfill, CardSeen, Handled, HeldEffect, HostedAgent, Observation, Outcome,
    OwnTransaction, Plan, Planned, PostResult, QueueKind, QueueTarget, Reverified, Selection,
    Step as Seen, TaskEnd, TimerSetting,
};
use agentry_core::push::{Hidden, Push};
use agentry_core::rows::{
    AgentId, Draft, EventId, EventRef, InboxId, OutboxId, Prepared, ReceiptRequest, ReceiptState,
    TaskId,
};
use agentry_core::state::State;
use agentry_core::task::Question;
use agentry_core::{
    Authenticity, Cause, Commit, Rights, Standing, TaskOutput, TaskStart, Token, TokenCharge,
    TokenName, Tokens,
};
use agentry_protocol::command::{Ack, AckStatus, JobComplete, JobId, JobResult};
use agentry_protocol::{
    Address, Amount, BlockHash, BlockHeight, Chain, ContentHash, Dialect, Envelope, Header, Json,
    KnownCommand, Limits, MessageId, Nonce, Number, Payload, Seed, SignedTransaction, SigningKey,
    StoredTransaction, Timestamp, Trace, Trail, Transaction, TransactionHash, message,
};
use proptest::prelude::*;
use serde_json::json;

/// The time of the first commit.
pub(crate) const START: Timestamp = Timestamp::new(1_795_000_000_000);

/// The random numbers of one commit. What they mean depends on the commit.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    what: u8,
    numbers: [u8; 10],
    /// When, in units of 10 minutes.
    at: u8,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    // Most commits of a real history are observations, outcomes and posts.
    let what = prop_oneof![4 => Just(0_u8), 4 => Just(1), 1 => Just(2), 5 => 3_u8..42];
    (what, any::<[u8; 10]>(), any::<u8>()).prop_map(|(what, numbers, at)| Step {
        what,
        numbers,
        at,
    })
}

/// Reads the numbers of a step one after the other.
struct Dice<'a> {
    numbers: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    /// Distinguishes the rounds through the numbers.
    drawn: u8,
    state: &'a State,
    at: Timestamp,
}

impl Dice<'_> {
    fn number(&mut self, below: u8) -> u8 {
        let number = self.numbers.next().copied().unwrap_or_default();
        let round = self.drawn / 10;
        self.drawn = self.drawn.wrapping_add(1);
        number.rotate_left(u32::from(round) * 3) % below
    }

    fn yes(&mut self) -> bool {
        self.number(2) == 1
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.yes() { Some(value(self)) } else { None }
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        let index = usize::from(self.number(u8::try_from(of.len()).unwrap_or(u8::MAX)));
        of[index].clone()
    }

    /// The id of a row: of one that exists, or of one that does not.
    fn id(&mut self, known: impl Iterator<Item = i64>) -> i64 {
        let mut known: Vec<i64> = known.collect();
        known.reverse();
        known.truncate(12);
        known.push(1_000);
        self.pick(&known)
    }

    fn agent(&mut self) -> AgentId {
        // The third is not hosted in most histories.
        AgentId(i64::from(self.pick(&[1_u8, 1, 1, 2, 2, 3])))
    }

    fn inbox(&mut self) -> InboxId {
        let state = self.state;
        InboxId(self.id(state.inbox().iter().map(|row| row.id.0)))
    }

    fn outbox(&mut self) -> OutboxId {
        let state = self.state;
        OutboxId(self.id(state.outbox().iter().map(|row| row.id.0)))
    }

    fn event(&mut self) -> EventId {
        let state = self.state;
        EventId(self.id(state.events().iter().map(|row| row.id.0)))
    }

    fn task(&mut self) -> (TaskId, u32) {
        let state = self.state;
        let id = TaskId(self.id(state.tasks().iter().map(|row| row.id.0)));
        let attempts = state.tasks().get(&id).map_or(0, |row| row.attempts);
        (id, attempts + u32::from(self.number(5) == 0))
    }

    /// A message or another event, with the number of its attempts, rarely a wrong one.
    fn due(&mut self) -> (EventRef, u32) {
        let (event, attempts) = if self.yes() {
            let id = self.inbox();
            let row = self.state.inbox().get(&id);
            (EventRef::Inbox(id), row.map_or(0, |row| row.attempts))
        } else {
            let id = self.event();
            let row = self.state.events().get(&id);
            (EventRef::Event(id), row.map_or(0, |row| row.attempts))
        };
        (event, attempts + u32::from(self.number(6) == 0))
    }

    fn height(&mut self) -> BlockHeight {
        BlockHeight(u64::from(self.number(8)))
    }

    fn word(&mut self) -> String {
        self.pick(&["one", "two", "three"]).to_owned()
    }

    fn names(&mut self) -> BTreeSet<String> {
        (0..self.number(3)).map(|_| self.word()).collect()
    }

    /// A receiver of push notifications, now and then a known one.
    fn push(&mut self) -> Push {
        Push {
            owner: self.token_name(),
            task: self.word(),
            id: self.word(),
            agent: self.agent(),
            target: self.word(),
            url: Hidden::new(self.word()),
            token: self.maybe(Self::word).map(Hidden::new),
            scheme: self.maybe(Self::word),
            credentials: self.maybe(Self::word).map(Hidden::new),
            made_at: self.at,
        }
    }

    /// The number of a receiver that was added lately.
    fn push_number(&mut self, state: &State) -> i64 {
        state.facts().ids.push - i64::from(self.number(3))
    }

    fn token_name(&mut self) -> TokenName {
        self.word().parse().unwrap()
    }

    fn behaviour(&mut self) -> String {
        self.pick(&["pong", "tasks"]).to_owned()
    }

    fn sender(&mut self) -> u8 {
        9 + self.number(3)
    }

    fn cause(&mut self) -> Cause {
        let sender = address(self.sender());
        match self.number(5) {
            0 => Cause::Own,
            1 => Cause::Unverified,
            2 => Cause::Sender(Standing::Stranger, sender),
            3 => Cause::Sender(Standing::Listed, sender),
            _ => Cause::Sender(Standing::Known, sender),
        }
    }

    fn message_id(&mut self) -> MessageId {
        let (made, random) = (u64::from(self.number(3)), self.number(2));
        MessageId::new(START.plus_ms(made * 1_000), [random; 10])
    }

    /// The hash of a transaction that was seen, or another.
    fn hash(&mut self) -> TransactionHash {
        let mut known: Vec<_> = self.state.inbox().iter().map(|row| row.hash).collect();
        known.reverse();
        known.truncate(6);
        known.push(TransactionHash::from_bytes([7; 32]));
        self.pick(&known)
    }

    fn payload(&mut self) -> (Json, Option<MessageId>) {
        let text = Payload::Text(self.word());
        let job = self.hash();
        let header = Header {
            id: self.maybe(Self::message_id),
            re: self.maybe(Self::hash),
            exp: None,
            trail: self.trail(),
            ..Header::default()
        };
        let payload = match self.number(5) {
            0 | 1 => return (Json::string(self.word()), None),
            2 => text,
            3 => KnownCommand::Ack(Ack {
                status: self.pick(&[AckStatus::Done, AckStatus::Failed]),
                detail: None,
            })
            .to_payload(),
            _ => {
                let header = Header {
                    re: Some(job),
                    ..header
                };
                let payload = KnownCommand::JobComplete(JobComplete {
                    result_id: JobId::Transaction(job),
                    result: JobResult::cut("forty-two", 100),
                    media_type: None,
                    incomplete: None,
                    duration_ms: Some(7),
                })
                .to_payload();
                let id = header.id;
                return (message::compose(&payload, Some(&header)).unwrap(), id);
            }
        };
        let id = header.id;
        (message::compose(&payload, Some(&header)).unwrap(), id)
    }

    fn draft(&mut self, origin: &str) -> Draft {
        let (payload, message_id) = self.payload();
        let (recipient, amount) = (address(self.sender()), u64::from(self.number(4) / 3));
        // Often what the chain shows already.
        let seen: Vec<_> = self.state.sightings().iter().map(|row| &row.body).collect();
        let seen = self.maybe(|dice| (!seen.is_empty()).then(|| dice.pick(&seen)));
        let seen = seen.flatten().map(|body| {
            let signed = SignedTransaction::from_body(body.as_bytes(), Limits::default());
            signed.unwrap()
        });
        let (payload, recipient, amount, message_id) = match seen {
            Some(seen) => {
                let message = seen.draft().into_owned();
                let id = Envelope::read(&message)
                    .header()
                    .and_then(|header| header.id);
                let transaction = seen.transaction();
                let amount = transaction.amount.as_u64().unwrap();
                (message, transaction.to.clone(), amount, id)
            }
            None => (payload, recipient, amount, message_id),
        };
        Draft {
            origin: format!("{origin}/{}", self.number(3)),
            recipient,
            amount: Amount(amount),
            fee: Amount(10),
            payload,
            message_id,
            expires_at: self.maybe(|dice| START.plus_ms(u64::from(dice.number(200)) * 600_000)),
            cause: self.cause(),
            receipt: self.maybe(|dice| ReceiptRequest {
                behaviour: dice.maybe(Self::behaviour),
                label: Some(dice.word()),
                wanted: dice.pick(&[None, Some("received".to_owned()), Some("done".to_owned())]),
                within_ms: 1_000,
                resends: u32::from(dice.number(3)),
            }),
            unapproved: self.number(4) == 0,
        }
    }

    /// What a wallet signs for a draft. Few nonces, so that the same bytes recur.
    fn prepared(&mut self, agent: AgentId, draft: &Draft) -> Prepared {
        let signed = sign(agent, draft, Nonce::new(1 + u64::from(self.number(2))));
        Prepared {
            nonce: Nonce::of(&signed.transaction().nonce).unwrap(),
            hash: signed.hash(),
            digest: signed.digest(),
            body: signed.body(),
            since: self.height(),
            day: self.at.day(),
        }
    }

    /// A transaction of a hosted wallet: one of the outbox, or another.
    fn own(&mut self, agent: AgentId) -> (TransactionHash, Box<OwnTransaction>) {
        let signed = self.state.outbox().get(&self.outbox());
        let signed = signed.filter(|row| row.agent == agent);
        let body = signed.and_then(|row| Some(row.signed.as_ref()?.body.clone()));
        let signed = match body {
            Some(body) => SignedTransaction::from_body(body.as_bytes(), Limits::default()).unwrap(),
            None => {
                let draft = self.draft("seen");
                sign(agent, &draft, Nonce::new(1 + u64::from(self.number(2))))
            }
        };
        (signed.hash(), Box::new(OwnTransaction::from(&signed)))
    }

    fn arrival(&mut self) -> Arrival {
        let agent = self.agent();
        let (payload, _) = self.payload();
        let sender = self.sender();
        let known: Vec<_> = self.state.inbox().iter().map(|row| &row.stored).collect();
        let known = self.maybe(|dice| (!known.is_empty()).then(|| dice.pick(&known)));
        let known = known.flatten();
        let signed = Transaction {
            dialect: Dialect::April2026,
            from: address(sender),
            to: address(1),
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(u64::from(self.number(3))),
            payload,
            chain_id: "ait-devnet".parse().unwrap(),
        }
        .sign(&key(sender));
        let authenticity = self.pick(&[
            Authenticity::Verified,
            Authenticity::Verified,
            Authenticity::Unverified,
            Authenticity::Forged,
        ]);
        let height = self.height();
        // Often one that was seen before, perhaps as another agent's or with another authenticity.
        let known = known
            .and_then(|text| StoredTransaction::parse(text.as_bytes(), Limits::default()).ok());
        let stored = known.unwrap_or_else(|| signed.stored());
        let hash = stored.hash();
        let mut arrival = Arrival::new(agent, hash, &stored, height, authenticity, START);
        if authenticity == Authenticity::Verified {
            arrival.standing = self.pick(&[Standing::Stranger, Standing::Listed, Standing::Known]);
        }
        arrival.refused = (self.number(8) == 0).then(|| "refused".to_owned());
        arrival
    }

    fn card(&mut self) -> CardSeen {
        let sender = self.sender();
        let number = self.number(4);
        // What a transaction says is the same whenever it is read.
        let announced_at = START.plus_ms(u64::from(number) * 600_000);
        let card = number.is_multiple_of(2).then(|| "{}".to_owned());
        CardSeen {
            address: address(sender),
            hash: TransactionHash::from_bytes([number; 32]),
            height: self.height(),
            public_key: key(sender).public_key(),
            expires_at: card
                .as_ref()
                .map_or(Timestamp::EPOCH, |_| announced_at.plus_ms(600_000)),
            card,
            announced_at,
        }
    }

    fn seen(&mut self) -> Seen {
        match self.number(12) {
            0..4 => Seen::Arrival(self.arrival()),
            4..7 => {
                let agent = self.agent();
                let (hash, own) = self.own(agent);
                Seen::Sighting {
                    agent,
                    hash,
                    own: (self.number(4) > 0).then_some(own),
                    height: self.height(),
                    block_hash: self.maybe(|dice| BlockHash::from_bytes([dice.number(3); 32])),
                }
            }
            7 => {
                let agent = self.agent();
                let (hash, own) = self.own(agent);
                Seen::Pending {
                    agent,
                    hash,
                    own: (self.number(4) > 0).then_some(own),
                    latest: self.at.plus_ms(5_000),
                }
            }
            8 => Seen::Withdrawn {
                above: (self.number(8) > 0).then(|| self.height()),
            },
            9 => Seen::Card(self.card()),
            10 => Seen::Gap {
                height: self.height(),
                reason: self.word(),
            },
            _ => Seen::GapFilled {
                height: self.height(),
            },
        }
    }

    /// What one read shows, in the chain's order.
    fn steps(&mut self) -> Vec<Seen> {
        let mut steps: Vec<Seen> = (0..=self.number(4)).map(|_| self.seen()).collect();
        let mut lowest = BlockHeight(0);
        for step in &mut steps {
            let height = match step {
                Seen::Withdrawn { above } => {
                    lowest = above.map_or(BlockHeight(0), |above| BlockHeight(above.0 + 1));
                    continue;
                }
                Seen::Arrival(Arrival { height, .. })
                | Seen::Card(CardSeen { height, .. })
                | Seen::Sighting { height, .. } => height,
                Seen::Pending { .. } | Seen::Gap { .. } | Seen::GapFilled { .. } => continue,
            };
            *height = lowest.max(*height);
            lowest = *height;
        }
        steps
    }

    /// A final block: none that is withdrawn.
    fn final_through(&mut self, steps: &[Seen]) -> Option<BlockHeight> {
        let through = self.maybe(Self::height)?;
        let withdrawn = steps.iter().filter_map(|step| match step {
            Seen::Withdrawn { above } => Some(*above),
            _ => None,
        });
        withdrawn.chain([Some(through)]).min().flatten()
    }

    fn outcome(&mut self) -> Outcome {
        let (event, attempts) = self.due();
        let agent = match event {
            EventRef::Inbox(id) => self.state.inbox().get(&id).map(|row| row.agent),
            EventRef::Event(id) => self.state.events().get(&id).map(|row| row.agent),
        };
        let agent = agent.unwrap_or(AgentId(1));
        let behaviour = self.behaviour();
        let sends = (0..self.number(3))
            .map(|_| {
                let draft = self.draft(&format!("{event}/{behaviour}"));
                let prepared = self.maybe(|dice| dice.prepared(agent, &draft));
                (draft, prepared)
            })
            .collect();
        let key = self.hash().to_string();
        Outcome {
            event,
            attempts,
            behaviour: (self.number(6) > 0).then_some(behaviour),
            cause: self.cause(),
            sends,
            state: vec![(self.word(), self.maybe(|dice| json!(dice.number(3))))],
            timers: (0..self.number(2))
                .map(|_| {
                    let setting = (self.number(4) > 0).then(|| TimerSetting {
                        due_at: self.at.plus_ms(1_000),
                        data: json!({ "n": self.number(200) }),
                    });
                    (self.word(), setting)
                })
                .collect(),
            tasks: (0..self.number(2))
                .map(|_| TaskStart {
                    key: self.pick(&["a".to_owned(), "b".to_owned(), key.clone()]),
                    kind: "ask".to_owned(),
                    input: json!({ "prompt": self.word() }),
                    deadline: self.maybe(|dice| dice.at.plus_ms(60_000)),
                })
                .collect(),
            tasks_unapproved: self.number(3) == 0,
            tasks_from: self.at.plus_ms(u64::from(self.number(2)) * 500),
            cancels: self
                .maybe(|dice| dice.pick(&["a", "b"]).to_owned())
                .into_iter()
                .collect(),
            answers: self
                .maybe(|dice| (dice.pick(&["a", "b"]).to_owned(), 1, json!(dice.word())))
                .into_iter()
                .collect(),
            rejected: (self.number(4) == 0).then(|| "rejected".to_owned()),
            handled: (self.number(3) > 0).then(|| Handled {
                watchers: self.watchers(),
                unacted: (self.number(4) == 0).then(|| "unacted".to_owned()),
            }),
            again_at: (self.number(5) == 0).then(|| self.at.plus_ms(1_000)),
            trail: self.trail(),
            at: self.at,
        }
    }

    fn trail(&mut self) -> Trail {
        Trail {
            hops: u32::from(self.number(3)),
            trace: self.maybe(|dice| Trace {
                id: [1 + dice.number(3); 16],
                parent: [7; 8],
                flags: 1,
            }),
        }
    }

    fn plan(&mut self) -> Plan {
        Plan {
            agent: self.agent(),
            behaviour: self.behaviour(),
            when: match self.number(3) {
                0 => Planned::Start { again: self.yes() },
                _ => Planned::Tick {
                    name: self.word(),
                    schedule: self.pick(&["every minute", "every hour"]).to_owned(),
                    due_at: self.at.plus_ms(1_000),
                },
            },
        }
    }

    fn watchers(&mut self) -> Vec<String> {
        (0..self.number(3))
            .map(|n| format!("watcher-{n}"))
            .collect()
    }

    fn target(&mut self) -> QueueTarget {
        match self.number(6) {
            0 => QueueTarget::All,
            1 => QueueTarget::Outbox(self.outbox()),
            2 => QueueTarget::Event(self.event()),
            3 => QueueTarget::Inbox(self.inbox()),
            _ => QueueTarget::Matching(Selection {
                queue: self.maybe(|dice| {
                    dice.pick(&[QueueKind::Inbox, QueueKind::Outbox, QueueKind::Events])
                }),
                agent: self.maybe(|dice| dice.pick(&["agent-1", "agent-2"]).to_owned()),
                sender: (self.number(4) == 0).then(|| address(self.sender()).to_string()),
                recipient: (self.number(4) == 0).then(|| address(self.sender()).to_string()),
                behaviour: (self.number(4) == 0).then(|| self.behaviour()),
                since: (self.number(4) == 0).then_some(self.at),
                reason: (self.number(4) == 0).then(|| self.word()),
            }),
        }
    }

    fn end(&mut self) -> TaskEnd {
        match self.number(3) {
            0 => TaskEnd::Completed(TaskOutput {
                text: self.word(),
                media_type: self.maybe(|_| "text/plain".to_owned()),
                incomplete: self.maybe(|_| "length".to_owned()),
            }),
            1 => TaskEnd::Failed {
                code: "code".to_owned(),
                message: self.word(),
                public: self.word(),
            },
            _ => TaskEnd::Canceled,
        }
    }

    /// Tokens, now and then so many that their sum fits no column.
    fn tokens(&mut self) -> Tokens {
        let mut some = || match self.number(8) {
            0 => Tokens::MOST,
            few => u64::from(few),
        };
        Tokens {
            input: some(),
            output: some(),
        }
    }

    fn ids(&mut self) -> Vec<OutboxId> {
        (0..=self.number(3)).map(|_| self.outbox()).collect()
    }
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}

fn sign(agent: AgentId, draft: &Draft, nonce: Nonce) -> SignedTransaction {
    let byte = u8::try_from(agent.0).unwrap();
    let chain = Chain {
        id: "ait-devnet".parse().unwrap(),
        dialect: Dialect::April2026,
    };
    let draft = draft.clone();
    draft
        .transaction(address(byte), chain, nonce)
        .sign(&key(byte))
}

fn hosted(byte: u8) -> HostedAgent {
    HostedAgent {
        address: address(byte),
        name: format!("agent-{byte}"),
        start_height: BlockHeight(u64::from(byte % 2)),
    }
}

/// The commit that a step means in this state.
pub(crate) fn commit(step: &Step, state: &State) -> Commit {
    let at = START.plus_ms(u64::from(step.at) * 600_000);
    let mut dice = Dice {
        numbers: step.numbers.iter().cycle(),
        drawn: 0,
        state,
        at,
    };
    let dice = &mut dice;
    if state.agents().iter().next().is_none() {
        return Commit::Host {
            agents: vec![hosted(1), hosted(2)],
        };
    }
    match step.what {
        0 => {
            let steps = dice.steps();
            Commit::Observe(Observation {
                final_through: dice.final_through(&steps),
                steps,
                cursor: json!({ "height": dice.number(9) }),
                catching_up: (dice.number(4) > 0).then(|| dice.outbox()),
                at,
            })
        }
        1 => Commit::Outcome(dice.outcome()),
        2 => Commit::Post {
            id: dice.outbox(),
            result: match dice.number(6) {
                0..3 => PostResult::Accepted,
                3 => PostResult::Failed {
                    reason: dice.word(),
                },
                4 => PostResult::Standing {
                    height: dice.height(),
                    block_hash: BlockHash::from_bytes([1; 32]),
                },
                _ => PostResult::Waiting {
                    reason: dice.word(),
                },
            },
            at,
        },
        3 => Commit::Identify {
            chain_id: "ait-devnet".parse().unwrap(),
            genesis: BlockHash::from_bytes([dice.number(2); 32]),
        },
        4 => Commit::Host {
            agents: vec![hosted(1 + dice.number(3)), hosted(1)],
        },
        5 => {
            let steps = dice.steps();
            Commit::Backfill(Backfill {
                final_through: dice.final_through(&steps),
                steps,
                read_before: dice.maybe(Dice::height),
                progress: dice.maybe(|dice| json!(dice.number(9))),
                known_from: dice.maybe(Dice::height),
                at,
            })
        }
        6 | 7 => {
            let (event, attempts) = dice.due();
            Commit::Failure {
                event,
                attempts,
                reason: dice.word(),
                public: dice.word(),
                retry_at: dice.maybe(|dice| dice.at.plus_ms(1_000)),
                again_at: dice.maybe(|dice| dice.at.plus_ms(2_000)),
                watchers: dice.watchers(),
                at,
            }
        }
        8 => Commit::Expire {
            message: dice.inbox(),
            watchers: dice.watchers(),
            at,
        },
        9 => Commit::Postpone {
            event: dice.due().0,
            until: at.plus_ms(u64::from(dice.number(3)) * 1_000),
            reason: dice.word(),
        },
        10 => Commit::RateLimitTimeout {
            agent: dice.agent(),
            sender: dice.maybe(|dice| address(dice.sender())),
            before: at,
            reason: dice.word(),
            at,
        },
        11 | 12 => Commit::Acknowledge {
            outbox: dice.outbox(),
            state: dice.pick(ReceiptState::ALL),
            detail: dice.maybe(Dice::word),
            at,
        },
        13 => {
            let outbox = dice.outbox();
            let receipt = state.receipts().get(&outbox);
            let agent = receipt.as_ref().map_or(AgentId(1), |row| row.agent);
            let draft = dice.draft(&format!("resend/{outbox}"));
            let prepared = dice.maybe(|dice| dice.prepared(agent, &draft));
            Commit::Resend {
                outbox,
                resends_left: receipt.map_or(1, |row| row.resends_left),
                draft,
                prepared,
                at,
            }
        }
        14 => Commit::Unacknowledged {
            outbox: dice.outbox(),
            at,
        },
        15 | 16 => {
            let (task, attempts) = dice.task();
            Commit::TaskBegin {
                task,
                attempts,
                reserved: TokenCharge {
                    day: at.day(),
                    tokens: dice.tokens().sum(),
                },
                at,
            }
        }
        17 => {
            let (task, attempts) = dice.task();
            Commit::TaskProgress {
                task,
                attempts,
                progress: 0.5,
                note: dice.maybe(Dice::word),
                tell: dice.yes(),
                at,
            }
        }
        18 => {
            let (task, attempts) = dice.task();
            Commit::TaskRetry {
                task,
                attempts,
                error: (dice.word(), dice.word()),
                used: dice.maybe(Dice::tokens),
                due_at: at.plus_ms(1_000),
            }
        }
        19 => {
            let (task, attempts) = dice.task();
            Commit::TaskInterrupt { task, attempts }
        }
        20 => {
            let (task, attempts) = dice.task();
            Commit::TaskEnd {
                task,
                attempts,
                end: dice.end(),
                used: dice.maybe(Dice::tokens),
                duration_ms: 5,
                at,
            }
        }
        21 => Commit::Register {
            agent: dice.agent(),
            card: json!({ "name": dice.word() }),
            due_at: at,
        },
        22 => Commit::Unregister {
            agent: dice.agent(),
        },
        23 => {
            let agent = dice.agent();
            let event = dice.event();
            let origin = match state.origin(EventRef::Event(event)) {
                Some(origin) if dice.yes() => origin.to_string(),
                _ => "cli".to_owned(),
            };
            let draft = dice.draft(&origin);
            let prepared = dice.maybe(|dice| dice.prepared(agent, &draft));
            Commit::Send {
                token: dice.maybe(Dice::token_name),
                agent,
                draft,
                prepared,
                at,
            }
        }
        24 | 25 => {
            let ids = dice.ids();
            let prepared = ids.into_iter().filter_map(|id| {
                let row = state.outbox().get(&id)?;
                let draft = Draft {
                    amount: row.amount,
                    ..Draft::new(
                        row.origin.clone(),
                        row.recipient.clone(),
                        row.fee,
                        row.payload.clone(),
                    )
                };
                Some((id, dice.prepared(row.agent, &draft)))
            });
            Commit::Prepare {
                prepared: prepared.collect(),
                at,
            }
        }
        26 => Commit::Hold {
            held: dice
                .ids()
                .into_iter()
                .map(|id| (id, "held".to_owned()))
                .collect(),
        },
        27 => Commit::Release { ids: dice.ids() },
        28 => Commit::ExpireQueued { at },
        29 => match dice.number(6) {
            0 => Commit::Explain {
                ids: dice.ids(),
                reason: dice.word(),
            },
            1 => Commit::MempoolShown { key: dice.word() },
            2 => Commit::Requeue {
                id: dice.outbox(),
                reason: dice.word(),
            },
            3 => Commit::Halt {
                reason: dice.word(),
            },
            4 => Commit::Outcomes {
                version: dice.word(),
                hash: ContentHash::of(dice.word().as_bytes()),
            },
            _ => Commit::Resume,
        },
        30 => Commit::Retry {
            target: dice.target(),
            at,
        },
        31 => Commit::Reverify {
            verified: (0..=dice.number(2))
                .map(|_| {
                    let id = dice.inbox();
                    Reverified {
                        id,
                        authenticity: dice.pick(&[
                            Authenticity::Verified,
                            Authenticity::Unverified,
                            Authenticity::Forged,
                        ]),
                        identity: dice.word(),
                        urgent: dice.yes(),
                    }
                })
                .collect(),
            at,
        },
        34 => {
            let (task, attempts) = dice.task();
            Commit::TaskAsk {
                task,
                attempts,
                question: Question {
                    text: dice.word(),
                    schema: dice.maybe(|dice| json!({ "const": dice.word() })),
                    until: at.plus_ms(60_000),
                },
                used: None,
                at,
            }
        }
        35 => Commit::Decide {
            effect: if dice.yes() {
                HeldEffect::Outbox(dice.outbox())
            } else {
                HeldEffect::Task(dice.task().0)
            },
            granted: dice.number(3) > 0,
            reason: dice.maybe(Dice::word),
            at,
        },
        36 => Commit::CreateToken(Token {
            name: dice.token_name(),
            secret: ContentHash::from_bytes([dice.number(3); 32]),
            agents: dice.maybe(|_| [address(1)].into()),
            rights: Rights {
                read: dice.yes(),
                send: dice.yes(),
                operate: dice.yes(),
            },
            recipients: dice.maybe(|dice| [address(dice.sender())].into()),
            daily_budget: dice.maybe(|dice| Amount(u64::from(dice.number(200)))),
            made_at: at,
            expires_at: dice.maybe(|dice| dice.at.plus_ms(60_000)),
        }),
        37 => Commit::RevokeToken {
            name: dice.token_name(),
        },
        38 => Commit::SetWebhooks {
            names: dice.names().into_iter().collect(),
        },
        39 if dice.yes() => Commit::Delivered {
            webhook: dice.word(),
            through: state.facts().ids.notice - i64::from(dice.number(3)),
        },
        40 => Commit::AddPush(dice.push()),
        41 if dice.yes() => Commit::EndPush {
            number: dice.push_number(state),
        },
        41 if dice.yes() => Commit::PushTold {
            number: dice.push_number(state),
            told: ContentHash::from_bytes([dice.number(3); 32]),
        },
        41 => Commit::PushFailed {
            number: dice.push_number(state),
            failures: u32::from(dice.number(3)),
            due_at: at,
        },
        39 => Commit::BudgetLow {
            agent: dice.agent(),
            day: at.day(),
            reason: dice.word(),
            at,
        },
        33 => Commit::Plan {
            plans: (0..=dice.number(2)).map(|_| dice.plan()).collect(),
            at,
        },
        _ if dice.yes() => Commit::Drop {
            target: dice.target(),
            at,
        },
        _ => Commit::Prune {
            before: at,
            // Ids are refused 30 days after they were made.
            at: START.plus_ms(u64::from(dice.number(4)) * 20 * 86_400_000),
        },
    }
}

/// Always the same history of so many commits, of which none is refused.
pub(crate) fn history(length: usize) -> Vec<Commit> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut state = State::default();
    let mut history = Vec::new();
    while history.len() < length {
        let tree = step().new_tree(&mut runner).unwrap();
        let commit = commit(&proptest::strategy::ValueTree::current(&tree), &state);
        if state.apply(&commit).is_ok() {
            history.push(commit);
        }
    }
    history
}
