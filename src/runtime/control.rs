//! The socket through which commands reach a running runtime.
//!
//! A runtime serves `<store>.sock` (mode 0600): who may write there owns the store. One request
//! and one answer are one line of JSON each.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::Shared;
use super::roster::Roster;
use super::router::WakeAgents;
use super::send::{self, SendError, SendLinks};
use super::submitter::{LookAtQueue, Resume};
use crate::store::commit::QueueTarget;
use crate::store::{Commit, StoreError, with_suffix};

/// The longest request: a payload of the largest transaction, twice escaped.
const MAX_LINE: u64 = 8 << 20;

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a command asks of the runtime.
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
    /// Try dead letters and failed transactions again.
    Retry {
        /// Which.
        target: QueueTarget,
    },
    /// Give something up.
    Drop {
        /// Which.
        target: QueueTarget,
    },
    /// Let posting go on.
    Resume,
}

impl Request {
    /// The change that a request about the queues stands for; none, for one that sends.
    pub fn into_commit(self, at: u64) -> Option<Commit> {
        match self {
            Self::Send { .. } => None,
            Self::Retry { target } => Some(Commit::Retry { target, at }),
            Self::Drop { target } => Some(Commit::Drop { target, at }),
            Self::Resume => Some(Commit::Resume),
        }
    }
}

/// What the runtime answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// It is stored and will be sent.
    Queued {
        /// The row of the outbox.
        outbox: i64,
        /// The transaction's hash, where it is signed already.
        hash: Option<String>,
        /// The id in its header.
        id: Option<String>,
    },
    /// Done.
    Done {
        /// How many rows were changed.
        changed: usize,
    },
    /// Not done.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Whom the socket passes requests on to.
#[derive(Clone, Debug)]
pub struct ControlLinks {
    /// Wakes agents.
    pub wake: Recipient<WakeAgents>,
    /// Posting goes on.
    pub resume: Recipient<Resume>,
    /// Something was queued.
    pub look: Recipient<LookAtQueue>,
    /// What sending needs.
    pub send: SendLinks,
}

/// Where the socket of a store is.
pub fn socket_path(store: &Path) -> PathBuf {
    with_suffix(store, ".sock")
}

/// Asks the runtime that has this store open.
///
/// # Errors
/// [`ControlError::NotRunning`] where none has, and what goes wrong on the way.
pub async fn ask(store: &Path, request: &Request) -> Result<Answer, ControlError> {
    let path = socket_path(store);
    let stream = UnixStream::connect(&path)
        .await
        .map_err(|source| ControlError::NotRunning {
            path: path.clone(),
            source,
        })?;
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
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ControlError::Broken { path, source }),
        Err(_) => Err(ControlError::Silent { path }),
    }
}

/// Why a running runtime could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No runtime serves the socket.
    #[error("no runtime serves {}: start `agentry run` ({source})", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What connecting to it said.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the runtime at {} broke off: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It did not answer.
    #[error("the runtime at {} did not answer within 10 s; whether it did what was asked is unknown", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
    },
}

/// Serves the socket until the returned guard goes. Must be called within an actix system.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(
    shared: Shared,
    roster: Roster,
    links: ControlLinks,
) -> std::io::Result<ControlSocket> {
    let path = socket_path(shared.store.path());
    // The store's lock is ours, so what lies there is left over from a runtime that was killed.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let task = actix_rt::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (shared, roster, links) = (shared.clone(), roster.clone(), links.clone());
                    actix_rt::spawn(async move {
                        let served = converse(stream, &shared, &roster, &links);
                        match tokio::time::timeout(PATIENCE, served).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => tracing::debug!(%error, "a control connection broke"),
                            Err(_) => tracing::debug!("a control connection took too long"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a control connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(ControlSocket { path, task })
}

/// A served socket; it ends with this.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    task: actix_rt::task::JoinHandle<()>,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
        // If it is gone already, all the better.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(
    stream: UnixStream,
    shared: &Shared,
    roster: &Roster,
    links: &ControlLinks,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => answer(request, shared, roster, links)
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
    roster: &Roster,
    links: &ControlLinks,
) -> Result<Answer, StoreError> {
    let at = shared.clock.now_ms();
    match request {
        Request::Send { from, message } => {
            let Some(hosted) = roster.meant(&from) else {
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
                    Err(error) => Answer::Refused {
                        reason: error.to_string(),
                    },
                },
            )
        }
        Request::Retry { target } => {
            let receipt = shared.store.commit(Commit::Retry { target, at }).await?;
            let look = LookAtQueue {
                reopened: receipt.reopened,
            };
            // Both look at the store when they are back, should they have ended.
            let _ = links.look.send(look).await;
            let _ = links.wake.send(WakeAgents(receipt.due)).await;
            Ok(Answer::Done {
                changed: receipt.changed,
            })
        }
        Request::Drop { target } => {
            let receipt = shared.store.commit(Commit::Drop { target, at }).await?;
            Ok(Answer::Done {
                changed: receipt.changed,
            })
        }
        Request::Resume => {
            let receipt = shared.store.commit(Commit::Resume).await?;
            let _ = links.resume.send(Resume).await;
            Ok(Answer::Done {
                changed: receipt.changed,
            })
        }
    }
}

fn not_hosted(who: &str) -> Answer {
    Answer::Refused {
        reason: format!("{who} is not hosted here"),
    }
}
