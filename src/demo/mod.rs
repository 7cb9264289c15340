//! The whole conversation of two agents, on two nodes, with evidence: they register and find each
//! other by name, talk, ask how the other is, and hand a task over.
//!
//! | module | holds |
//! |---|---|
//! | [`scene`] | the nodes and the two hosts |
//! | [`evidence`] | what is looked for on the chain, and what was found |
//! | `talk` | saying something, and waiting for what it leads to |
//! | `modules` | the four parts of the conversation |

pub mod evidence;
mod modules;
pub mod scene;
mod talk;

use std::time::{Duration, Instant};

use agentry_chain::NodeError;
use agentry_protocol::BlockHeight;

use self::evidence::Evidence;
use self::scene::Scene;
pub use self::scene::{Place, SceneError};
use self::talk::Talk;
use crate::runtime::clock::millis;
use crate::runtime::control::ControlError;
use crate::store::StoreError;

/// What the one agent says.
pub const PING: &str = "ping";

/// What the other answers by itself.
pub const PONG: &str = "pong";

/// A step of the conversation that has happened.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happened.
    pub what: String,
    /// What proves it: hash, height and the like.
    pub details: Vec<(&'static str, String)>,
    /// How long after the beginning.
    pub after: Duration,
}

/// Goes through the conversation. `tell` is called with each step when it has happened.
///
/// # Errors
/// What did not happen within `limit`, or could not.
pub async fn run(
    place: Place,
    limit: Duration,
    tell: impl FnMut(Step),
) -> Result<Evidence, DemoError> {
    let began = Instant::now();
    // Nodes and hosts start on threads of their own; this one waits for nothing else.
    let scene = tokio::task::spawn_blocking(move || Scene::set(place))
        .await
        .map_err(|_| DemoError::Panicked)??;
    let mut talk = Talk::new(&scene, began, limit, tell);
    // A node that does not answer now is asked for more than this below.
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

/// Why the conversation did not come about.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The nodes or the agents could not be set up.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// The agents' runtime could not be asked.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A node could not be asked.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A runtime's store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A runtime would not do what it was asked.
    #[error("a runtime did not do what it was asked: {0}")]
    Refused(String),
    /// Something did not come.
    #[error("{what} did not come about within {} s", limit.as_secs())]
    Missing {
        /// What.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// The second node shows blocks without their transactions.
    #[error(
        "{node} shows block {height} without its transactions, so an agent there hears nothing: it \
         follows by importing blocks, and lost them. Give a second node that shows them"
    )]
    Bare {
        /// The node's URL.
        node: String,
        /// Which block.
        height: u64,
    },
    /// Something was said more than once.
    #[error("{what} stands {count} times on the chain")]
    NotOnce {
        /// What.
        what: &'static str,
        /// How often.
        count: usize,
    },
    /// A signature is wrong.
    #[error("{what} is not signed by whom it says")]
    NotSigned {
        /// What.
        what: &'static str,
    },
    /// An answer says something else than it should.
    #[error("{what} says something else: {said}")]
    Other {
        /// What.
        what: &'static str,
        /// What it says.
        said: String,
    },
    /// The nodes disagree.
    #[error("the nodes show different blocks at height {height}")]
    Forked {
        /// Where.
        height: u64,
    },
    /// A defect.
    #[error("a thread panicked; that is a defect, please report it with the log")]
    Panicked,
}
