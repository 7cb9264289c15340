//! What agentry makes durable, as values: every change is a [`Commit`].
//!
//! | module | contents |
//! |---|---|
//! | [`commit`] | [`Commit`]: every durable change as one serialisable value, and its [`Changes`] |
//! | [`state`] | [`State`]: everything durable in memory, and what each commit changes of it |
//! | [`record`] | a group of commits as a record of the log, with its checksum |
//! | [`rows`] | the rows that commits change, as the runtime sees them |
//! | [`cause`] | who caused something |
//! | [`standing`] | how well an agent knows a sender, and the share that the sender may use |
//! | [`delivery`] | what becomes of messages |
//! | [`task`] | what starts a task, and what it results in |
//! | [`push`] | where clients are told of tasks |
//! | [`token`] | who may call the runtime from outside |
//! | [`card`] | the cards of the directory |
//! | [`origin`] | what requested a transaction, by its content |
//! | [`fingerprint`] | how the same message of two runs of a behaviour is recognised |
//! | [`nonce`] | the nonces of signed transactions |
//! | [`absence`] | when a transaction may be posted again |
//! | [`catch_up`] | when the chain is read up to its head at the start |
//! | [`cluster`] | which of several hosts owns which part of the agents |
//!
//! Everything here is pure: no I/O, no clock, no randomness. Times and ids come in with the commit.
//! The store applies commits (`agentry-store`); the sdk re-exports what authors of behaviours see.

pub mod absence;
pub mod card;
pub mod catch_up;
pub mod cause;
pub mod cluster;
pub mod commit;
pub mod delivery;
pub mod fingerprint;
pub mod nonce;
pub mod origin;
pub mod push;
pub mod record;
pub mod rows;
pub mod standing;
pub mod state;
pub mod task;
pub mod token;

pub use agentry_protocol::Authenticity;
pub use card::Card;
pub use cause::Cause;
pub use commit::{Changes, Commit, CommitResult, SendResult};
pub use delivery::{DeliveryUpdate, SentMessage, Settlement};
pub use origin::Origin;
pub use push::Push;
pub use rows::{AgentId, EventId, InboxId, OutboxId, TaskId};
pub use standing::Standing;
pub use state::State;
pub use task::{TaskOutput, TaskStart, TokenCharge, Tokens};
pub use token::{Rights, Token, TokenName};
