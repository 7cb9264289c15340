//! The test kit: a simulated chain for tests of behaviours. Feature `testing`.
//!
//! A [`Simulation`] hosts agents with behaviours. It has peers whose messages the test writes, a
//! clock that the test moves, and the faults of a real chain: duplicate messages, withdrawn blocks,
//! lost transactions, a process that crashes at any moment. What happens durably is decided by the
//! state machine of the runtime itself ([`agentry_core::State`]): effects that happen all or not at
//! all and once for each event and behaviour, timers, delivery updates, acknowledgments, tasks. It
//! does not model rates, priorities, budgets, fees, signatures or encryption: an agent handles its
//! events, then its messages in the order of the chain, and a message is verified or sealed because
//! the test says so.
//!
//! [`assert_behaviour_contract`] runs a behaviour through random histories with these faults, and
//! names the law that it breaks.
//!
//! | part | purpose |
//! |---|---|
//! | [`Simulation`] | the simulation: post, settle, advance the clock, inspect |
//! | [`Agent`], [`Party`] | hosted agents; agents and peers with their keys |
//! | [`MessageBuilder`] | messages that the test writes |
//! | [`Sent`], [`Run`], [`Dropped`] | records that a test inspects |
//! | [`Disturbances`] | random faults, from the seed |
//! | [`TaskPlan`] | the outcome of each attempt at a task |
//! | [`TestEnvironment`] | names, cards, statuses |
//! | [`assert_behaviour_contract`], [`Contract`] | the laws for every behaviour |
//! | [`block_on`] | runs a future in a test without a runtime |
//!
//! ```
//! use agentry_sdk::testing::{Agent, Simulation, block_on};
//! use agentry_sdk::{Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup};
//!
//! /// Counts the texts that it receives.
//! #[derive(Debug)]
//! struct Tally;
//!
//! # #[derive(Debug, serde::Deserialize)]
//! # #[serde(deny_unknown_fields)]
//! # struct NoSettings {}
//! impl Behaviour for Tally {
//!     const KIND: &'static str = "tally";
//!     type Settings = NoSettings;
//! #   fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
//! #       Ok(Tally)
//! #   }
//! #   fn accepts(&self, message: &Message) -> bool {
//! #       message.text().is_some() && !message.is_answer()
//! #   }
//! // …
//!     async fn on_message(
//!         &self,
//!         _: &Message,
//!         context: &Context,
//!     ) -> Result<Effects, BehaviourError> {
//!         let count = context.state.get("count").and_then(|count| count.as_u64());
//!         let count = count.unwrap_or(0) + 1;
//!         Ok(Effects::none().set_state("count", count).reply(count.to_string()))
//!     }
//! }
//!
//! block_on(async {
//!     let mut chain = Simulation::new(7);
//!     let tally = chain.host(Agent::named("tally").with::<Tally>(serde_json::json!({})));
//!     let alice = chain.peer("alice");
//!
//!     let first = chain.deliver(alice.text("one")).await;
//!     chain.replay(first); // The same message, seen again.
//!     chain.crash_before_commit(&tally); // The next run is repeated.
//!     chain.deliver(alice.text("two")).await;
//!
//!     let answers = chain.sent_to(&alice);
//!     let texts: Vec<_> = answers.iter().filter_map(|sent| sent.text()).collect();
//!     assert_eq!(texts, ["1", "2"]);
//!     assert_eq!(answers[0].re, Some(first));
//!     assert_eq!(chain.state(&tally, "tally").get("count"), Some(&2.into()));
//! });
//! ```

use agentry_protocol::Timestamp;

mod agent;
mod arrive;
mod block_on;
mod builder;
mod clock;
mod contract;
mod disturb;
mod environment;
mod handlers;
mod ledger;
mod outbox;
mod party;
mod random;
mod runs;
mod sent;
mod simulation;
mod tasks;

pub use agent::Agent;
pub use block_on::block_on;
pub use builder::MessageBuilder;
pub use contract::{Breach, Contract, assert_behaviour_contract};
pub use disturb::Disturbances;
pub use environment::TestEnvironment;
pub use party::Party;
pub use random::Random;
pub use runs::{ATTEMPTS, MAX_HOPS};
pub use sent::{Dropped, Run, Sent, TransactionPlace};
pub use simulation::Simulation;
pub use tasks::{TaskPlan, TaskState};

/// The time at which the clock of a simulation starts, in November 2026.
pub const START: Timestamp = Timestamp::new(1_795_000_000_000);
