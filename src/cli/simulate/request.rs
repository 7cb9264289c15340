//! What a test can ask for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use agentry_protocol::{AckRequest, Address, BlockHeight, Json, Payload, Thread, TransactionHash};
use agentry_sdk::testing::{
    Agent, Disturbances, MessageBuilder, Party, Sent, Simulation, TaskState, TransactionPlace,
};
use agentry_sdk::{Card, Registry, Settlement, TaskNews};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::kill::{self, Mortal};
use crate::runtime::directory::Registration;

/// How long cards are valid, in milliseconds.
const CARD_TTL_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// A request: one line. The answer is `{"ok": …}` or `{"error": "…"}`.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Hosts an agent. Each behaviour is a table as in an agents.toml in `folder`.
    Host {
        name: String,
        behaviours: Vec<Map<String, Value>>,
        folder: PathBuf,
        #[serde(default)]
        attempts: Option<u32>,
    },
    /// Adds somebody whose messages the test writes. A stranger's key is not known.
    Peer {
        name: String,
        #[serde(default)]
        stranger: bool,
    },
    /// Puts a party's card into the directory.
    Announce {
        name: String,
        #[serde(default)]
        capabilities: Vec<String>,
        #[serde(default)]
        commands: Vec<String>,
    },
    /// Posts a message, for the next block.
    Post(Post),
    /// Posts a message again: as the chain can show it twice, or signed again by its sender.
    Repeat {
        transaction: TransactionHash,
        #[serde(default)]
        resigned: bool,
    },
    /// Runs and mines until nothing is left to do at this time.
    Settle {},
    /// Mines one block, without running anything.
    Mine {},
    /// Moves the clock, and settles at each time at which something becomes due.
    Advance { ms: u64 },
    /// Makes a schedule due now, and settles.
    Tick {
        agent: String,
        behaviour: String,
        name: String,
    },
    /// Crashes the runtime between the agent's next run and its commit.
    Crash { agent: String },
    /// Kills the agent's program in its next run, this long after the run has begun.
    Kill { agent: String, after_ms: u64 },
    /// Restarts the runtime, after it was down for this time.
    Restart {
        #[serde(default)]
        down_ms: u64,
    },
    /// Makes the node lose what agents have posted and is in no block; it is posted again later.
    Lose {},
    /// Makes the node refuse it for good.
    Refuse { reason: String },
    /// Removes the last blocks from the chain, as a reorganisation does.
    Withdraw { blocks: usize },
    /// Crashes, losses, repetitions and withdrawals at random, each with this probability in percent.
    Disturb { percent: u8 },
    /// What agents have sent, in order for each agent.
    Sent {},
    /// The stored state of a behaviour.
    State { agent: String, behaviour: String },
    /// The timers of a behaviour, each with its time in milliseconds.
    Timers { agent: String, behaviour: String },
    /// The tasks of an agent.
    Tasks { agent: String },
    /// What became of a message to an agent.
    Outcome { transaction: TransactionHash },
    /// The events that are no longer retried.
    DeadLetters {},
    /// How often handlers ran, and how many of these runs were committed.
    Runs {},
    /// The time, in milliseconds since the epoch.
    Now {},
}

/// A message to post.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Post {
    from: String,
    to: String,
    /// A text, or an object with a `cmd`.
    said: Value,
    #[serde(default)]
    amount: u64,
    #[serde(default)]
    thread: Option<String>,
    /// `received` or `done`.
    #[serde(default)]
    ack: Option<String>,
    /// The transaction that it answers.
    #[serde(default)]
    re: Option<TransactionHash>,
    /// Whether it has an id, by which it is known when it was signed again.
    #[serde(default)]
    id: bool,
    #[serde(default)]
    sealed: bool,
}

/// The simulation, and who is in it.
pub(super) struct Stage {
    chain: Simulation,
    registry: Registry,
    parties: BTreeMap<String, Party>,
}

impl Stage {
    /// A stage for agents with the behaviours of this registry.
    pub(super) fn new(chain: Simulation, registry: &Registry) -> Self {
        Self {
            chain,
            registry: registry.clone().with::<Mortal>(),
            parties: BTreeMap::new(),
        }
    }

    fn party(&self, name: &str) -> Result<Party, String> {
        let known = self.parties.get(name).cloned();
        known.ok_or_else(|| format!("nobody is called {name:?}: host it, or add a peer"))
    }

    fn enter(&mut self, party: Party) -> Value {
        let told = json!({ "name": party.name, "address": party.address });
        self.parties.insert(party.name.clone(), party);
        told
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// What is wrong with it.
    ///
    /// # Panics
    /// As the simulation does, if the test breaks its rules.
    pub(super) async fn carry_out(&mut self, request: Request) -> Result<Value, String> {
        match request {
            Request::Host {
                name,
                behaviours,
                folder,
                attempts,
            } => self.host(name, behaviours, &folder, attempts),
            Request::Peer { name, stranger } => {
                if self.parties.contains_key(&name) {
                    return Err(format!("there is a {name:?} already"));
                }
                let party = match stranger {
                    true => self.chain.stranger(name),
                    false => self.chain.peer(name),
                };
                Ok(self.enter(party))
            }
            Request::Announce {
                name,
                capabilities,
                commands,
            } => self.announce(&name, &capabilities, &commands),
            Request::Post(post) => {
                let message = self.message(post)?;
                Ok(json!(self.chain.post(message)))
            }
            Request::Repeat {
                transaction,
                resigned,
            } => Ok(json!(match resigned {
                true => self.chain.resend(transaction),
                false => self.chain.replay(transaction),
            })),
            Request::Tick {
                agent,
                behaviour,
                name,
            } => {
                let agent = self.party(&agent)?;
                self.chain.tick(&agent, &behaviour, &name).await;
                Ok(Value::Null)
            }
            Request::Crash { agent } => {
                let agent = self.party(&agent)?;
                self.chain.crash_before_commit(&agent);
                Ok(Value::Null)
            }
            Request::Kill { agent, after_ms } => {
                self.party(&agent)?;
                kill::arm(agent, Duration::from_millis(after_ms));
                Ok(Value::Null)
            }
            request => self.move_on(request).await,
        }
    }

    /// Requests that are about the chain, the clock and the process, and questions.
    async fn move_on(&mut self, request: Request) -> Result<Value, String> {
        let chain = &mut self.chain;
        match request {
            Request::Settle {} => chain.settle().await,
            Request::Mine {} => return Ok(json!(chain.mine().0)),
            Request::Advance { ms } => chain.advance(Duration::from_millis(ms)).await,
            Request::Restart { down_ms } => chain.down_for(Duration::from_millis(down_ms)),
            Request::Lose {} => return Ok(json!(chain.lose_pending())),
            Request::Refuse { reason } => return Ok(json!(chain.refuse_pending(&reason))),
            Request::Withdraw { blocks } => chain.withdraw(blocks),
            Request::Disturb { percent } => chain.disturb(Disturbances::all(percent)),
            question => return self.answer(question),
        }
        Ok(Value::Null)
    }

    fn answer(&self, question: Request) -> Result<Value, String> {
        let chain = &self.chain;
        Ok(match question {
            Request::Sent {} => chain.sent().iter().map(|sent| self.sent(sent)).collect(),
            Request::State { agent, behaviour } => {
                let state = chain.state(&self.party(&agent)?, &behaviour);
                let entries = state.entries();
                let entries = entries.map(|(key, value)| (key.to_owned(), value.clone()));
                Value::Object(entries.collect())
            }
            Request::Timers { agent, behaviour } => {
                let timers = chain.timers(&self.party(&agent)?, &behaviour);
                let timers = timers.into_iter().map(|(name, due)| (name, json!(due)));
                Value::Object(timers.collect())
            }
            Request::Tasks { agent } => {
                let tasks = chain.tasks(&self.party(&agent)?);
                let tasks = tasks.into_iter();
                Value::Object(tasks.map(|(key, state)| (key, task(state))).collect())
            }
            Request::Outcome { transaction } => match chain.settlement(transaction) {
                None => Value::Null,
                Some(Settlement::Done) => json!({ "outcome": "done" }),
                Some(Settlement::Expired) => json!({ "outcome": "expired" }),
                Some(Settlement::Failed { reason }) => {
                    json!({ "outcome": "failed", "reason": reason })
                }
                Some(Settlement::Rejected { reason }) => {
                    json!({ "outcome": "rejected", "reason": reason })
                }
            },
            Request::DeadLetters {} => {
                let letters = chain.dead_letters().iter();
                letters.map(|(_, reason)| json!(reason)).collect()
            }
            Request::Runs {} => {
                let committed = chain.runs().iter().filter(|run| run.committed).count();
                json!({ "runs": chain.runs().len(), "committed": committed })
            }
            Request::Now {} => json!(chain.now()),
            other => return Err(format!("{other:?} is no question")),
        })
    }

    fn host(
        &mut self,
        name: String,
        behaviours: Vec<Map<String, Value>>,
        folder: &std::path::Path,
        attempts: Option<u32>,
    ) -> Result<Value, String> {
        if self.parties.contains_key(&name) {
            return Err(format!("there is a {name:?} already"));
        }
        let mut agent = Agent::named(name);
        if let Some(attempts) = attempts {
            agent = agent.attempts(attempts);
        }
        for mut keys in behaviours {
            let mut word = |key: &str| match keys.remove(key) {
                Some(Value::String(word)) => Some(word),
                _ => None,
            };
            let kind = word("kind").ok_or("a behaviour has no `kind`")?;
            let named = word("name").unwrap_or_else(|| kind.clone());
            // The simulation would panic.
            let checked = self.registry.build(&kind, keys.clone(), folder);
            checked.map_err(|error| format!("behaviour {named:?}: {error}"))?;
            agent = agent.with_kind(&self.registry, kind, named, Value::Object(keys), folder);
        }
        let party = self.chain.host(agent);
        Ok(self.enter(party))
    }

    fn announce(
        &self,
        name: &str,
        capabilities: &[String],
        commands: &[String],
    ) -> Result<Value, String> {
        let party = self.party(name)?;
        let registration = Registration::new(name, None, capabilities, commands, CARD_TTL_MS);
        let registration = registration.map_err(|error| error.to_string())?;
        self.chain.environment().announce(Card {
            card: registration.announce(self.chain.now(), party.encryption_key),
            transaction: TransactionHash::of(name.as_bytes()),
            height: BlockHeight(self.chain.height().0.max(1)),
            address: party.address,
            public_key: party.public_key,
        });
        Ok(Value::Null)
    }

    fn message(&self, post: Post) -> Result<MessageBuilder, String> {
        // A command is posted as an object, a text as a text.
        let payload: Json = post
            .said
            .to_string()
            .parse()
            .map_err(|error| format!("{error}"))?;
        let mut message = MessageBuilder::new(Payload::read(&payload))
            .from(self.party(&post.from)?.address)
            .to(self.address(&post.to)?)
            .amount(post.amount);
        if post.id || post.ack.is_some() {
            message = message.with_id();
        }
        if let Some(thread) = post.thread {
            let thread: Thread = thread.parse().map_err(|error| format!("thread: {error}"))?;
            message = message.thread(thread);
        }
        message = match post.ack.as_deref() {
            None => message,
            Some("received") => message.ack(AckRequest::Received),
            Some("done") => message.ack(AckRequest::Done),
            Some(other) => return Err(format!("ack is received or done, not {other:?}")),
        };
        if let Some(re) = post.re {
            message = message.answering(re);
        }
        Ok(if post.sealed {
            message.sealed()
        } else {
            message
        })
    }

    /// A party's address, by its name or as it is.
    fn address(&self, who: &str) -> Result<Address, String> {
        match who.parse() {
            Ok(address) => Ok(address),
            Err(_) => Ok(self.party(who)?.address),
        }
    }

    fn sent(&self, sent: &Sent) -> Value {
        let to = self.parties.values().find(|party| party.address == sent.to);
        let command = match &sent.payload {
            Payload::Command(command) => {
                serde_json::from_str(&command.body.to_compact()).unwrap_or_default()
            }
            _ => Value::Null,
        };
        let (place, height) = match sent.place {
            TransactionPlace::Pending => ("pending", None),
            TransactionPlace::Lost => ("lost", None),
            TransactionPlace::Mined(height) => ("mined", Some(height.0)),
            TransactionPlace::Unsent => ("unsent", None),
        };
        json!({
            "agent": sent.agent,
            "to": sent.to,
            "to_name": to.map(|party| &party.name),
            "text": sent.text(),
            "command": command,
            "re": sent.re,
            "thread": sent.thread.as_ref().map(ToString::to_string),
            "label": sent.label,
            "amount": sent.amount,
            "sealed": sent.sealed,
            "transaction": sent.transaction,
            "transactions": sent.transactions,
            "place": place,
            "height": height,
        })
    }
}

fn task(state: TaskState) -> Value {
    match state {
        TaskState::Submitted => json!({ "state": "submitted" }),
        TaskState::Working => json!({ "state": "working" }),
        TaskState::InputRequired => json!({ "state": "input_required" }),
        TaskState::Ended(TaskNews::Completed { output, .. }) => {
            json!({ "state": "completed", "output": output.text })
        }
        TaskState::Ended(TaskNews::Failed { code, message }) => {
            json!({ "state": "failed", "code": code, "message": message })
        }
        TaskState::Ended(_) => json!({ "state": "canceled" }),
    }
}
