//! A whole conversation of two agents on two nodes, with evidence: they register and find each
//! other by name, exchange messages, query a status, and run a task.
//!
//! | module | contents |
//! |---|---|
//! | [`scene`] | the nodes and the two hosts |
//! | [`evidence`] | the evidence that was found |
//! | `talk` | sending a message, and waiting for its effects |
//! | `modules` | the four parts of the conversation |

pub mod evidence;
mod modules;
pub mod scene;
mod talk;

use std::time::{Duration, Instant};

use agentry_chain::NodeError;
use agentry_protocol::BlockHeight;
use agentry_protocol::timestamp::millis;

use self::evidence::Evidence;
use self::scene::Scene;
pub use self::scene::{DemoNodes, SceneError};
use self::talk::Talk;
use crate::runtime::control::ControlError;
use agentry_store::StoreError;

/// Text that the first agent sends.
pub const PING: &str = "ping";

/// Answer of the second agent's behaviour.
pub const PONG: &str = "pong";

/// A completed step of the conversation.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happened.
    pub what: String,
    /// Evidence of the step, such as a hash or a height.
    pub details: Vec<(&'static str, String)>,
    /// Time since the start.
    pub after: Duration,
}

/// Runs the conversation. `tell` is called after each step.
///
/// # Errors
/// A step did not happen within `limit`, or failed.
pub async fn run(
    place: DemoNodes,
    limit: Duration,
    tell: impl FnMut(Step),
) -> Result<Evidence, DemoError> {
    let began = Instant::now();
    // Nodes and hosts start on their own threads; nothing else runs on this one meanwhile.
    let scene = tokio::task::spawn_blocking(move || Scene::set(place))
        .await
        .map_err(|_| DemoError::Panicked)??;
    let mut talk = Talk::new(&scene, began, limit, tell);
    // A node that does not answer now is queried again below.
    let genesis = scene.nodes[0].block(BlockHeight(0)).await.ok().flatten();
    talk.step(
        "two nodes of one chain",
        vec![
            ("genesis node", scene.nodes[0].url().to_owned()),
            ("second node", scene.nodes[1].url().to_owned()),
            (
                "block 0",
                genesis.map_or_else(|| "-".to_owned(), |block| block.hash.to_string()),
            ),
        ],
    );
    talk.step(
        "two agents, each with a wallet and a node of its own",
        vec![
            ("pinger", scene.pinger.to_string()),
            ("ponger", scene.ponger.to_string()),
        ],
    );
    talk.second_shows_transactions().await?;
    modules::registration(&mut talk).await?;
    let (ping, pong, round_trip) = modules::messaging(&mut talk).await?;
    modules::retrieval(&mut talk).await?;
    modules::task(&mut talk).await?;
    let evidence = Evidence {
        ping,
        pong,
        said: talk.into_said(),
        pinger: scene.pinger.to_string(),
        ponger: scene.ponger.to_string(),
        nodes: scene
            .nodes
            .iter()
            .map(|node| node.url().to_owned())
            .collect(),
        round_trip_ms: millis(round_trip),
        total_ms: millis(began.elapsed()),
    };
    tokio::task::spawn_blocking(move || drop(scene))
        .await
        .map_err(|_| DemoError::Panicked)?;
    Ok(evidence)
}

/// Why the conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The nodes or the agents could not be set up.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// The agents' runtime could not be queried.
    #[error(transparent)]
    Control(ControlError),
    /// A node could not be queried.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A runtime's store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A runtime refused a request.
    #[error("a runtime refused a request: {0}")]
    Refused(String),
    /// A step timed out.
    #[error("timed out after {} s waiting for {what}", limit.as_secs())]
    Missing {
        /// What was waited for.
        what: String,
        /// The time limit.
        limit: Duration,
    },
    /// The second node shows blocks without their transactions.
    #[error(
        "{node} shows block {height} without its transactions, so an agent there receives nothing: \
         it follows by importing blocks, and lost them. Use a second node that shows them"
    )]
    Bare {
        /// The node's URL.
        node: String,
        /// Height of the block.
        height: u64,
    },
    /// A message is on the chain more than once.
    #[error("{what} is on the chain {count} times")]
    NotOnce {
        /// Which message.
        what: &'static str,
        /// How often.
        count: usize,
    },
    /// A signature is wrong.
    #[error("{what} is not signed by its stated sender")]
    NotSigned {
        /// Which message.
        what: &'static str,
    },
    /// A message has unexpected content.
    #[error("{what} has unexpected content: {said}")]
    Other {
        /// Which message.
        what: &'static str,
        /// Its content.
        said: String,
    },
    /// The nodes disagree.
    #[error("the nodes show different blocks at height {height}")]
    Forked {
        /// The height.
        height: u64,
    },
    /// A defect of agentry.
    #[error("a thread panicked; please report it with the log")]
    Panicked,
}

impl From<ControlError> for DemoError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(error) => Self::Refused(error.to_string()),
            error => Self::Control(error),
        }
    }
}
