//! The socket through which commands reach a running runtime.
//!
//! A runtime serves `<store>.sock` (mode 0600): only the store's owner may write to it. A request
//! and its answer are one line of JSON each.

mod cards;
mod retry;
mod socket;
mod tasks;
mod waits;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix::prelude::*;
use agentry_protocol::Json;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::Shared;
use super::compose::ComposeError;
use super::registry::AgentRegistry;
use super::reload::{Applied, Refused, Reloader};
use super::router::WakeAgents;
use super::send::{self, SendError, SendLinks};
use super::signer::OpenSealed;
use super::submitter::{LookAtQueue, Resume};
use agentry_core::commit::QueueTarget;
use agentry_core::rows::TaskId;
use agentry_core::{Commit, InboxId};
use agentry_store::{StoreError, is_locked, place, with_suffix};

pub use cards::{CardWanted, Registered};
pub use waits::AT_MOST as WAITS_AT_MOST;

/// The longest request: a payload of the largest transaction, twice escaped.
const MAX_LINE: u64 = 8 << 20;

/// How long to wait for the socket of a runtime that has the store open and does not serve it: a
/// runtime that is starting, or a command that changes the store for a moment.
const REACHING: Duration = Duration::from_secs(2);

/// The pause between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(50);

/// How long each side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long reloading the configuration may take: new wallets are unlocked for it.
const RELOAD_PATIENCE: Duration = Duration::from_secs(120);

/// A command's request to the runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// Send a message from a hosted wallet.
    Send {
        /// The agent's name, its wallet's name, or its address.
        from: String,
        /// The message.
        message: Box<send::Request>,
    },
    /// Retry dead letters and failed transactions.
    Retry {
        /// The rows to retry.
        target: QueueTarget,
    },
    /// Drop a row: it is not retried.
    Drop {
        /// The row to drop.
        target: QueueTarget,
    },
    /// Resume posting.
    Resume,
    /// Reload the configuration, and apply the changes.
    Reload {
        /// The agents and fleets whose behaviours are restarted, whether they have changed or not.
        restart: Vec<String>,
    },
    /// Announce a hosted agent in the directory, now and at each renewal.
    Register {
        /// The agent's name, its wallet's name, or its address.
        agent: String,
        /// The card to announce.
        card: CardWanted,
    },
    /// Withdraw an agent's card, and stop announcing it.
    Withdraw {
        /// The agent's name, its wallet's name, or its address.
        agent: String,
        /// Chosen by the client: the same request sent twice is carried out once.
        key: String,
    },
    /// End a task that is running or waiting here.
    CancelTask {
        /// The row of the task.
        task: i64,
    },
    /// Return the content of a sealed message.
    Open {
        /// The row of the inbox.
        inbox: i64,
    },
    /// Return why rows wait, as far as only the runtime knows it.
    Waits {
        /// Rows of the inbox; the first [`WAITS_AT_MOST`] are examined.
        inbox: Vec<i64>,
        /// Rows of the outbox; the same.
        outbox: Vec<i64>,
    },
    /// Return whether the runtime is ready, as `/ready` does.
    Condition,
}

impl Request {
    /// The change that a request about the queues stands for; none, for other requests.
    pub fn into_commit(self, at: u64) -> Option<Commit> {
        match self {
            Self::Send { .. }
            | Self::Register { .. }
            | Self::Withdraw { .. }
            | Self::Reload { .. }
            | Self::Open { .. }
            | Self::Waits { .. }
            | Self::Condition
            | Self::CancelTask { .. } => None,
            Self::Retry { target } => Some(Commit::Retry { target, at }),
            Self::Drop { target } => Some(Commit::Drop { target, at }),
            Self::Resume => Some(Commit::Resume),
        }
    }

    /// How long the client waits for the answer.
    const fn patience(&self) -> Duration {
        match self {
            Self::Reload { .. } => RELOAD_PATIENCE,
            _ => PATIENCE,
        }
    }
}

/// The runtime's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// It is stored and will be sent.
    Queued {
        /// The row of the outbox.
        outbox: i64,
        /// The transaction's hash, if it is signed already.
        hash: Option<String>,
        /// The id in its header.
        id: Option<String>,
    },
    /// It is stored, and will be announced.
    Registered(Registered),
    /// The content of a sealed message.
    Opened {
        /// Its payload, as an unsealed message would carry it.
        payload: Json,
    },
    /// Why rows wait.
    Waits {
        /// By id, as `inbox/12`. A row that waits only for its turn is not included.
        reasons: BTreeMap<String, String>,
    },
    /// Whether the runtime is ready.
    Condition {
        /// The answer of `/ready`.
        says: serde_json::Value,
    },
    /// Done.
    Done {
        /// How many rows were changed.
        changed: usize,
    },
    /// The configuration was reloaded.
    Reloaded(Applied),
    /// The configuration was read and not applied.
    NotReloaded {
        /// Every reason.
        reasons: Vec<String>,
    },
    /// Not done now; it may be done later.
    Refused {
        /// The reason.
        reason: String,
    },
    /// Not sent: it must be sealed, and the recipient's encryption key is not known.
    NoRecipientKey {
        /// The reason.
        reason: String,
    },
    /// Not done, and never will be: the request is not valid.
    Invalid {
        /// The reason.
        reason: String,
    },
    /// The wallet or agent is not hosted here.
    NotHosted {
        /// The name, as it was requested.
        who: String,
    },
}

/// The handlers of the socket's requests.
#[derive(Clone, Debug)]
pub struct ControlLinks {
    /// Wakes agents.
    pub wake: Recipient<WakeAgents>,
    /// Resumes posting.
    pub resume: Recipient<Resume>,
    /// Learns that something was queued.
    pub look: Recipient<LookAtQueue>,
    /// Opens sealed messages.
    pub open: Recipient<OpenSealed>,
    /// Reloads the configuration.
    pub reload: Reloader,
    /// The parts that sending needs.
    pub send: SendLinks,
}

/// The path of a store's socket; the same for every path that names the store.
pub fn socket_path(store: &Path) -> PathBuf {
    let store = place::real_path(store).unwrap_or_else(|_| store.to_owned());
    with_suffix(&store, ".sock")
}

/// Connects to the runtime that has this store open. It reports that none runs only if the store's
/// lock is free: a client that took a running runtime for ended would sign beside it.
async fn connect(store: &Path) -> Result<(UnixStream, PathBuf), ControlError> {
    let path = socket_path(store);
    let until = tokio::time::Instant::now() + REACHING;
    loop {
        let source = match socket::connect(&path).await {
            Ok(stream) => return Ok((stream, path)),
            Err(source) => source,
        };
        match is_locked(store) {
            Ok(false) => return Err(ControlError::NotRunning { path, source }),
            Ok(true) if tokio::time::Instant::now() < until => tokio::time::sleep(PAUSE).await,
            Ok(true) => return Err(ControlError::Unreachable { path, source }),
            Err(source) => {
                let store = store.to_owned();
                return Err(ControlError::Unknown { store, source });
            }
        }
    }
}

/// Whether a runtime has this store open, and serves it.
///
/// # Errors
/// [`ControlError::NotRunning`] if none has; otherwise, the failure to reach it.
pub async fn reach(store: &Path) -> Result<(), ControlError> {
    connect(store).await.map(drop)
}

/// Sends a request to the runtime that has this store open.
///
/// # Errors
/// [`ControlError::NotRunning`] if none has; otherwise, the failure to reach it.
pub async fn ask(store: &Path, request: &Request) -> Result<Answer, ControlError> {
    let (stream, path) = connect(store).await?;
    let exchange = async {
        let (reader, mut writer) = stream.into_split();
        let mut line = serde_json::to_string(request).map_err(std::io::Error::from)?;
        line.push('\n');
        writer.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(reader.take(MAX_LINE))
            .read_line(&mut answer)
            .await?;
        serde_json::from_str(&answer).map_err(std::io::Error::from)
    };
    match tokio::time::timeout(request.patience(), exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ControlError::Broken { path, source }),
        Err(_) => Err(ControlError::Silent {
            path,
            waited: request.patience(),
        }),
    }
}

/// Why a running runtime could not be queried.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No runtime serves the socket.
    #[error("no runtime serves {}: start `agentry run` ({source})", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// The error from connecting to it.
        source: std::io::Error,
    },
    /// A runtime has the store open, and its socket cannot be reached.
    #[error("a running agentry has the store open, and its socket {} cannot be reached: {source}. While it starts, it waits for its node and does not serve the socket yet: look at its log, then try again; nothing was sent or changed", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The error from connecting to it.
        source: std::io::Error,
    },
    /// Whether a runtime has the store open cannot be determined.
    #[error("whether a running agentry has the store {} open cannot be determined: {source}. Run this as the user that it runs as; nothing was sent or changed", store.display())]
    Unknown {
        /// The store.
        store: PathBuf,
        /// The error from its lock.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to the runtime at {} broke: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It did not answer.
    #[error("the runtime at {} did not answer within {waited:?}; whether it carried out the request is unknown", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long the client waited.
        waited: Duration,
    },
}

/// Serves the socket until the returned guard is dropped. Must be called within an actix system.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(
    shared: Shared,
    registry: AgentRegistry,
    links: ControlLinks,
) -> std::io::Result<ControlSocket> {
    let path = socket_path(shared.store.path());
    // The store's lock is ours, so an existing socket is left over from a killed runtime.
    let listener = socket::bind(&path)?;
    let task = actix_rt::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (shared, registry, links) =
                        (shared.clone(), registry.clone(), links.clone());
                    actix_rt::spawn(async move {
                        let served = converse(stream, &shared, &registry, &links);
                        match tokio::time::timeout(RELOAD_PATIENCE, served).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => tracing::debug!(%error, "a control connection broke"),
                            Err(_) => tracing::debug!("a control connection took too long"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(ControlSocket { path, task })
}

/// A served socket; dropping it stops serving.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    task: actix_rt::task::JoinHandle<()>,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
        // It may be gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(
    stream: UnixStream,
    shared: &Shared,
    registry: &AgentRegistry,
    links: &ControlLinks,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    let mut line = String::new();
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => answer(request, shared, registry, links)
            .await
            .unwrap_or_else(|error| Answer::Refused {
                reason: error.to_string(),
            }),
        Err(error) => Answer::Refused {
            reason: format!("the request cannot be read: {error}"),
        },
    };
    let mut text = serde_json::to_string(&answer).map_err(std::io::Error::from)?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await
}

async fn answer(
    request: Request,
    shared: &Shared,
    registry: &AgentRegistry,
    links: &ControlLinks,
) -> Result<Answer, StoreError> {
    let at = shared.clock.now_ms();
    match request {
        Request::Send { from, message } => {
            let Some(hosted) = registry.meant(&from) else {
                return Ok(not_hosted(&from));
            };
            Ok(
                match send::send(shared, &links.send, &hosted, &message).await {
                    Ok(sent) => Answer::Queued {
                        outbox: sent.outbox.0,
                        hash: sent.hash.map(|hash| hash.to_string()),
                        id: sent.id.map(|id| id.to_string()),
                    },
                    Err(SendError::Store(error)) => return Err(error),
                    Err(error) => not_sent(&error),
                },
            )
        }
        Request::Retry { target } => retry::retry(target, shared, registry, links).await,
        Request::Drop { target } => {
            let receipt = shared.store.commit_now(Commit::Drop { target, at }).await?;
            // The senders of dropped rows are notified; a router that has ended reads the store
            // when it restarts.
            let _ = links.wake.send(WakeAgents(receipt.due)).await;
            Ok(Answer::Done {
                changed: receipt.changed,
            })
        }
        Request::Resume => {
            let receipt = shared.store.commit_now(Commit::Resume).await?;
            let _ = links.resume.send(Resume).await;
            Ok(Answer::Done {
                changed: receipt.changed,
            })
        }
        Request::Register { agent, card } => {
            cards::register(&agent, &card, shared, registry, links).await
        }
        Request::Withdraw { agent, key } => {
            cards::withdraw(&agent, key, shared, registry, links).await
        }
        Request::CancelTask { task } => tasks::cancel(TaskId(task), shared, links).await,
        Request::Reload { restart } => Ok(match links.reload.reload(restart).await {
            Ok(applied) => Answer::Reloaded(applied),
            Err(Refused(reasons)) => Answer::NotReloaded { reasons },
        }),
        Request::Open { inbox } => tasks::open(InboxId(inbox), shared, links).await,
        Request::Waits { inbox, outbox } => waits::waits(inbox, outbox, shared, registry).await,
        Request::Condition => Ok(match serde_json::to_value(shared.metrics.condition()) {
            Ok(says) => Answer::Condition { says },
            Err(error) => refused(error.to_string()),
        }),
    }
}

const fn refused(reason: String) -> Answer {
    Answer::Refused { reason }
}

fn not_hosted(who: &str) -> Answer {
    Answer::NotHosted {
        who: who.to_owned(),
    }
}

/// Whether sending may succeed later.
fn not_sent(error: &SendError) -> Answer {
    let reason = error.to_string();
    match error {
        SendError::Compose(ComposeError::NoRecipientKey { .. }) => {
            Answer::NoRecipientKey { reason }
        }
        SendError::Compose(error) if !error.is_transient() => Answer::Invalid { reason },
        _ => Answer::Refused { reason },
    }
}
