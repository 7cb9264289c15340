//! Messages of several kinds to the agents of a world: whether each has each of its answers once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use agentry_protocol::command::{ExecuteAiJob, Prompt, StatusReport};
use agentry_protocol::{
    AckRequest, Dialect, Header, KnownCommand, MessageId, Number, Payload, Transaction, compose,
};

use crate::dice::Dice;
use crate::process::Process;
use crate::world::World;
use crate::{PATIENCE, within};

/// The behaviours of every agent that answers all kinds of messages. The program takes a moment, so
/// that kills interrupt it.
pub const BEHAVIOURS: &str = r#"{ kind = "ack" }, { kind = "pong" }, { kind = "status" },
    { kind = "tasks", allow = ["*"], types = { shout = { executor = "command", program = "sh",
      args = ["-c", "sleep 0.05; tr a-z A-Z"], attempts = 100, concurrency = 4 } } }"#;

/// The kinds of messages to the agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// A ping, to which the answer is a pong.
    Ping,
    /// A request for the agent's status.
    Status,
    /// A job of the type `shout`, to which the answer is its result.
    Job,
}

/// A sent message, in one or more transactions.
#[derive(Clone, Debug)]
struct Asked {
    question: Question,
    /// The hashes of its transactions, and their bodies.
    copies: Vec<(String, String)>,
    agent: String,
}

/// A message, and how often each answer to it is on the chain.
type Answered = (Asked, BTreeMap<String, usize>);

/// How messages of a kind were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were sent.
    pub sent: usize,
    /// How many have each of their answers once.
    pub once: usize,
    /// How many lack an answer.
    pub open: usize,
    /// How many have an answer more than once, or one that they must not have.
    pub wrong: usize,
}

/// A conversation with the agents of a world.
#[derive(Debug)]
pub struct Conversation {
    world: Arc<World>,
    /// Whether each message asks for acknowledgments, and some are sent in two transactions.
    thorough: bool,
    asked: Mutex<Vec<Asked>>,
}

impl Conversation {
    /// A conversation whose messages ask for acknowledgments; some are sent in two transactions.
    pub fn with(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            thorough: true,
            asked: Mutex::default(),
        }
    }

    /// A conversation whose messages have one transaction and one answer each.
    pub fn plain(world: &Arc<World>) -> Self {
        Self {
            thorough: false,
            ..Self::with(world)
        }
    }

    /// Sends an agent a random kind of message.
    pub fn ask(&self, dice: &mut Dice) {
        let question = dice.pick(&[Question::Ping, Question::Status, Question::Job]);
        self.ask_for(question, dice);
    }

    /// As [`Self::ask`], but of this kind.
    pub fn ask_for(&self, question: Question, dice: &mut Dice) {
        let agent = dice.below(self.world.agents.len());
        self.ask_of(agent, question, dice);
    }

    /// Sends this kind of message to this agent.
    pub fn ask_of(&self, agent: usize, question: Question, dice: &mut Dice) {
        let agent = &self.world.agents[agent];
        let wallet = self.world.fresh();
        let payload = match question {
            Question::Ping => Payload::Text("ping".to_owned()),
            Question::Status => KnownCommand::StatusReport(StatusReport::default()).to_payload(),
            Question::Job => KnownCommand::ExecuteAiJob(ExecuteAiJob {
                kind: "shout".parse().unwrap(),
                prompt: Some("hello".parse::<Prompt>().unwrap()),
                model: None,
                params: None,
                deadline: None,
            })
            .to_payload(),
        };
        let header = Header {
            id: Some(MessageId::generate(SystemTime::now().into()).unwrap()),
            ack: self.thorough.then_some(AckRequest::Done),
            key: Some(wallet.public_key),
            ..Header::default()
        };
        let payload = compose(&payload, Some(&header)).unwrap();
        let again = self.thorough && dice.below(3) == 0;
        let copies: Vec<_> = (0..1 + u64::from(again))
            .map(|nonce| {
                let signed = Transaction {
                    dialect: Dialect::April2026,
                    from: wallet.address.clone(),
                    to: agent.address.clone(),
                    amount: Number::from(0_u64),
                    fee: Number::from(10_u64),
                    nonce: Number::from(nonce),
                    payload: payload.clone(),
                    chain_id: "ait-devnet".parse().unwrap(),
                }
                .sign(&wallet.key);
                (signed.hash().to_string(), signed.body())
            })
            .collect();
        for (_, body) in &copies {
            self.world.post(body);
        }
        self.lock().push(Asked {
            question,
            copies,
            agent: agent.address.to_string(),
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts again the transactions that are neither pending nor mined. No other thread may post the
    /// same transactions at the same time.
    pub fn repost(&self) {
        let bodies: BTreeMap<String, String> = self
            .lock()
            .iter()
            .flat_map(|asked| asked.copies.clone())
            .collect();
        for hash in self.world.chain.absent(bodies.keys().cloned()) {
            self.world.post(&bodies[&hash]);
        }
    }

    /// The answers on the chain to each message, with how often each occurs. And the messages of agents
    /// that answer none of these.
    fn answers(&self) -> (Vec<Answered>, Vec<String>) {
        // The chain, read later, may have more of them, never fewer.
        let asked = self.lock().clone();
        let agents = self.world.agents.iter();
        let agents: HashSet<_> = agents.map(|agent| agent.address.as_str()).collect();
        let mut said: HashMap<(String, String), Vec<String>> = HashMap::new();
        let mut strays = Vec::new();
        for one in self.world.chain.transactions() {
            // Only the agents' transactions are read.
            let Some(stored) = one
                .stored
                .as_ref()
                .filter(|_| agents.contains(one.sender.as_str()))
            else {
                continue;
            };
            let envelope = stored.envelope();
            let Some(re) = envelope.header().and_then(|header| header.re) else {
                strays.push(format!("{one:?}"));
                continue;
            };
            let word = match &envelope.payload {
                Payload::Text(text) => text.clone(),
                Payload::Command(command) => match KnownCommand::read(command).unwrap() {
                    Some(KnownCommand::Ack(ack)) => format!("ACK {}", ack.status),
                    Some(KnownCommand::JobComplete(done)) => {
                        format!("JOB_COMPLETE {}", done.result.text().contains("HELLO"))
                    }
                    Some(other) => other.name().to_owned(),
                    None => command.cmd.clone(),
                },
                Payload::Opaque(json) => json.to_compact(),
            };
            said.entry((one.sender.clone(), re.to_string()))
                .or_default()
                .push(word);
        }
        let answers = asked.into_iter().map(|asked| {
            let mut counts = BTreeMap::new();
            for (hash, _) in &asked.copies {
                let words = said.remove(&(asked.agent.clone(), hash.clone()));
                for word in words.into_iter().flatten() {
                    *counts.entry(word).or_default() += 1;
                }
            }
            (asked, counts)
        });
        let answers = answers.collect();
        strays.extend(said.into_iter().map(|answer| format!("{answer:?}")));
        (answers, strays)
    }

    /// The answers that a message must have once each.
    fn wanted(&self, question: Question) -> Vec<&'static str> {
        let answer = match question {
            Question::Ping => "pong",
            Question::Status => "STATUS",
            Question::Job => "JOB_COMPLETE true",
        };
        match self.thorough {
            true => vec!["ACK RECEIVED", answer, "ACK DONE"],
            false => vec![answer],
        }
    }

    /// How the messages of each kind are answered by now.
    pub fn tally(&self) -> BTreeMap<Question, Tally> {
        let mut tallies: BTreeMap<_, Tally> = BTreeMap::new();
        for (asked, counts) in self.answers().0 {
            let wanted = self.wanted(asked.question);
            let tally = tallies.entry(asked.question).or_default();
            tally.sent += 1;
            let is_right =
                |(word, count): (&String, &usize)| *count == 1 && wanted.contains(&word.as_str());
            if !counts.iter().all(is_right) {
                tally.wrong += 1;
            } else if counts.len() == wanted.len() {
                tally.once += 1;
            } else {
                tally.open += 1;
            }
        }
        tallies
    }

    /// The messages without all their answers.
    ///
    /// # Panics
    /// There is a duplicate or an unexpected answer.
    pub fn open(&self) -> Vec<String> {
        let mut open = Vec::new();
        for (asked, counts) in self.answers().0 {
            let wanted = self.wanted(asked.question);
            for (word, count) in &counts {
                assert!(
                    *count == 1 && wanted.contains(&word.as_str()),
                    "{word} is {count} times on the chain for {asked:?}: {counts:?}"
                );
            }
            if counts.len() < wanted.len() {
                open.push(format!("{:?}: {counts:?}", asked.copies));
            }
        }
        open
    }

    /// The messages of agents that answer none of these messages. While messages are sent, answers to
    /// the newest ones may be among them.
    pub fn strays(&self) -> Vec<String> {
        self.answers().1
    }

    /// Waits until all messages have each answer once. Returns whether they have, in [`PATIENCE`].
    ///
    /// # Panics
    /// There is a duplicate or an unexpected answer.
    pub fn settles(&self) -> bool {
        let mut looked = Instant::now();
        let settled = within(PATIENCE, || {
            if looked.elapsed() > self.world.chain.block_time() * 2 {
                self.repost();
                looked = Instant::now();
            }
            self.open().is_empty().then_some(())
        });
        settled.is_some()
    }

    /// Waits until all messages have each answer once.
    ///
    /// # Panics
    /// There is a duplicate or an unexpected answer, or they have not after [`PATIENCE`].
    pub fn settle(&self) {
        assert!(self.settles(), "not answered in time: {:#?}", self.open());
    }

    /// The hashes of all transactions of the conversation.
    pub fn hashes(&self) -> HashSet<String> {
        let asked = self.lock();
        let copies = asked.iter().flat_map(|asked| &asked.copies);
        copies.map(|(hash, _)| hash.clone()).collect()
    }

    /// Settles, and checks that no further answer follows.
    ///
    /// # Panics
    /// One does, or nothing was sent.
    pub fn finish(&self, runtime: Process) {
        self.settle();
        self.world.chain.await_blocks(self.world.chain.head(), 3);
        runtime.stop();
        self.world.chain.await_blocks(self.world.chain.head(), 3);
        assert!(self.open().is_empty());
        self.world.assert_careful(&self.hashes());
        let asked = self.lock().len();
        assert!(
            asked > 0,
            "no message was sent, so the test checked nothing"
        );
        eprintln!("{asked} messages, each answered once");
    }
}
