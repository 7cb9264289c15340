//! The cross-node test, replayed for real: a ping from one agent through one node, the autonomous
//! pong of another agent through another node, and the proof that both stand on the chain.
//!
//! | module | holds |
//! |---|---|
//! | [`scene`] | the nodes and the two hosts |
//! | [`evidence`] | what is looked for on the chain, and what was found |

pub mod evidence;
pub mod scene;

use std::time::{Duration, Instant};

use agentry_chain::NodeError;
use agentry_protocol::{BlockHeight, Json};

use self::evidence::{Evidence, Found};
use self::scene::Scene;
pub use self::scene::{Place, SceneError};
use crate::runtime::control::{self, Answer, ControlError, Request};
use crate::runtime::send;

/// What the one agent says.
pub const PING: &str = "ping";

/// What the other answers by itself.
pub const PONG: &str = "pong";

/// How often a node is asked whether something is there by now.
const POLL: Duration = Duration::from_millis(20);

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
    mut tell: impl FnMut(Step),
) -> Result<Evidence, DemoError> {
    let began = Instant::now();
    let deadline = began + limit;
    let mut step = |what: &str, details: Vec<(&'static str, String)>| {
        tell(Step {
            what: what.to_owned(),
            details,
            after: began.elapsed(),
        });
    };
    // Nodes and hosts start on threads of their own; this one waits for nothing else.
    let scene = tokio::task::spawn_blocking(move || Scene::set(place))
        .await
        .map_err(|_| DemoError::Panicked)??;
    // A node that does not answer now is asked for more than this below.
    let genesis = scene.nodes[0].block(BlockHeight(0)).await.ok().flatten();
    step(
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
    step(
        "two agents, each with a wallet of its own",
        vec![
            ("pinger", scene.pinger.to_string()),
            ("ponger", scene.ponger.to_string()),
        ],
    );
    let from = scene.height(deadline).await?;
    let asked = Instant::now();
    let request = Request::Send {
        from: "pinger".to_owned(),
        message: Box::new(send::Request::new(
            scene.ponger.clone(),
            Json::string(PING),
            format!("demo/{}/{}", std::process::id(), from.0),
        )),
    };
    let answer = control::ask(&scene.pinger_store, &request).await?;
    let ping_hash = match answer {
        Answer::Queued {
            hash: Some(hash), ..
        } => hash,
        other => return Err(DemoError::NotSent(format!("{other:?}"))),
    };
    step(
        "the pinger has signed a ping and is posting it",
        vec![
            ("transaction", ping_hash.clone()),
            ("posted to", scene.posted_to.clone()),
        ],
    );
    let on_first = &scene.nodes[0];
    let ping = evidence::wait(on_first, from, deadline, POLL, |found| {
        found.hash.to_string() == ping_hash
    })
    .await?
    .ok_or(DemoError::Missing {
        what: "the ping",
        node: on_first.url().to_owned(),
        limit,
    })?;
    step(
        "the ping stands in a block of the genesis node",
        block(&ping),
    );

    let is_pong = |found: &Found| {
        found.stored.from == scene.ponger
            && found.stored.to == scene.pinger
            && found.stored.payload.root().as_str() == Some(PONG)
    };
    let pong = evidence::wait(on_first, ping.height, deadline, POLL, is_pong)
        .await?
        .ok_or(DemoError::Missing {
            what: "the pong",
            node: on_first.url().to_owned(),
            limit,
        })?;
    let mut details = vec![("transaction", pong.hash.to_string())];
    details.extend(block(&pong));
    step(
        "the ponger has answered by itself; its pong stands in a block",
        details,
    );

    let on_second = &scene.nodes[1];
    let seen = evidence::wait(on_second, ping.height, deadline, POLL, |found| {
        found.hash == pong.hash
    })
    .await?
    .ok_or(DemoError::Missing {
        what: "the pong, as the pinger's node shows it",
        node: on_second.url().to_owned(),
        limit,
    })?;
    let round_trip = asked.elapsed();
    step("the pinger's own node has imported the pong", block(&seen));
    let head = scene.height(deadline).await?;
    let pongs = evidence::all(on_first, ping.height, head, is_pong).await?;
    if pongs.len() != 1 {
        return Err(DemoError::NotOnce { pongs: pongs.len() });
    }
    if !pong.stored.verify(&scene.ponger_key).is_valid() {
        return Err(DemoError::NotSigned);
    }
    if seen.block_hash != pong.block_hash {
        return Err(DemoError::Forked {
            height: seen.height.0,
        });
    }
    step(
        "checked: one pong, signed by the ponger, in the same block on both nodes",
        vec![("round trip", format!("{} ms", round_trip.as_millis()))],
    );
    let evidence = Evidence {
        ping: (&ping).into(),
        pong: (&pong).into(),
        pinger: scene.pinger.to_string(),
        ponger: scene.ponger.to_string(),
        nodes: scene
            .nodes
            .iter()
            .map(|node| node.url().to_owned())
            .collect(),
        round_trip_ms: u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX),
    };
    tokio::task::spawn_blocking(move || drop(scene))
        .await
        .map_err(|_| DemoError::Panicked)?;
    Ok(evidence)
}

fn block(found: &Found) -> Vec<(&'static str, String)> {
    vec![
        ("height", found.height.to_string()),
        ("block", found.block_hash.to_string()),
    ]
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
    /// The ping was not signed.
    #[error("the ping was not signed at once: {0}")]
    NotSent(String),
    /// Something did not come.
    #[error("{what} did not appear on {node} within {} s", limit.as_secs())]
    Missing {
        /// What.
        what: &'static str,
        /// Where it was looked for.
        node: String,
        /// How long.
        limit: Duration,
    },
    /// The ping was answered several times.
    #[error("the ping was answered {pongs} times")]
    NotOnce {
        /// How often.
        pongs: usize,
    },
    /// The pong's signature is wrong.
    #[error("the pong is not signed by the ponger")]
    NotSigned,
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
