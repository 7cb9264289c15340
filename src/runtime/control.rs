//! The socket through which commands reach a running runtime.
//!
//! A runtime serves `<store>.sock` (mode 0600): only the store's owner may write to it. A request
//! and its answer are one line of JSON each: the operation, and its result or error
//! ([`crate::ops`]).

mod socket;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use agentry_core::InboxId;
use agentry_core::rows::TaskId;
use agentry_protocol::Json;
use agentry_store::{is_locked, open_for_a_look, place, read, with_suffix};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::metrics::Condition;
use super::reload::Applied;
use crate::doors::console::sessions::Sessions;
use crate::ops::cards::{CardWanted, Registered};
use crate::ops::change::StoreChange;
use crate::ops::console::{self, ConsoleCode};
use crate::ops::coordinator::{CoordinatorInbox, CoordinatorStatus, InboxWanted};
use crate::ops::queues::waits::WaitingRows;
use crate::ops::send::{SendRequest, Sent};
use crate::ops::{OperationError, Operations};

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

/// An operation, as it is sent to the runtime. The answer is the `Result` of the method of
/// [`Operations`] that carries it out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Send {
        from: String,
        message: Box<SendRequest>,
    },
    Change(StoreChange),
    Reload {
        restart: Vec<String>,
    },
    Register {
        who: String,
        card: CardWanted,
    },
    Withdraw {
        who: String,
        key: String,
    },
    CancelTask(TaskId),
    Open(InboxId),
    Waits(WaitingRows),
    Condition,
    CoordinatorStatus,
    CoordinatorInbox(InboxWanted),
    /// The tables are about to be read on this machine, so it is never passed on to another.
    Refresh,
    /// Somebody on this machine is about to open the console: never passed on, either.
    OpenConsole {
        read_only: bool,
    },
    /// The same.
    ConsoleWaits {
        code: String,
    },
}

impl Request {
    /// How long the client waits for the answer.
    const fn patience(&self) -> Duration {
        match self {
            Self::Reload { .. } | Self::Refresh => RELOAD_PATIENCE,
            _ => PATIENCE,
        }
    }
}

/// Calls the operations of the runtime that has a store open, from another process. Each method is
/// that of [`Operations`] with the same name.
///
/// # Errors
/// [`ControlError::NotRunning`] if no runtime has the store open, [`ControlError::Refused`] if the
/// operation failed; otherwise, the failure to reach the runtime.
#[derive(Clone, Debug)]
pub struct Client {
    store: PathBuf,
}

impl Client {
    /// A client of the runtime that has this store open.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        let store = store.into();
        Self { store }
    }

    /// Whether a runtime has the store open, and serves it.
    pub async fn reach(&self) -> Result<(), ControlError> {
        connect(&self.store).await.map(drop)
    }

    /// [`Operations::send`].
    pub async fn send(&self, from: &str, message: SendRequest) -> Result<Sent, ControlError> {
        let (from, message) = (from.to_owned(), Box::new(message));
        self.ask(Request::Send { from, message }).await
    }

    /// [`Operations::change`].
    pub async fn change(&self, change: StoreChange) -> Result<usize, ControlError> {
        self.ask(Request::Change(change)).await
    }

    /// [`Operations::reload`].
    pub async fn reload(&self, restart: Vec<String>) -> Result<Applied, ControlError> {
        self.ask(Request::Reload { restart }).await
    }

    /// [`Operations::register`].
    pub async fn register(&self, who: &str, card: CardWanted) -> Result<Registered, ControlError> {
        let who = who.to_owned();
        self.ask(Request::Register { who, card }).await
    }

    /// [`Operations::withdraw`].
    pub async fn withdraw(&self, who: &str, key: String) -> Result<Sent, ControlError> {
        let who = who.to_owned();
        self.ask(Request::Withdraw { who, key }).await
    }

    /// [`Operations::cancel_task`].
    pub async fn cancel_task(&self, task: TaskId) -> Result<bool, ControlError> {
        self.ask(Request::CancelTask(task)).await
    }

    /// [`Operations::open`].
    pub async fn open(&self, inbox: InboxId) -> Result<Json, ControlError> {
        self.ask(Request::Open(inbox)).await
    }

    /// [`Operations::waits`].
    pub async fn waits(&self, rows: WaitingRows) -> Result<BTreeMap<String, String>, ControlError> {
        self.ask(Request::Waits(rows)).await
    }

    /// [`Operations::condition`].
    pub async fn condition(&self) -> Result<Condition, ControlError> {
        self.ask(Request::Condition).await
    }

    /// [`Operations::coordinator_status`].
    pub async fn coordinator_status(&self) -> Result<CoordinatorStatus, ControlError> {
        self.ask(Request::CoordinatorStatus).await
    }

    /// [`Operations::coordinator_inbox`].
    pub async fn coordinator_inbox(
        &self,
        wanted: InboxWanted,
    ) -> Result<CoordinatorInbox, ControlError> {
        self.ask(Request::CoordinatorInbox(wanted)).await
    }

    /// [`Operations::refresh`]. In a cluster, this machine's copy has everything afterwards, wherever its
    /// shard runs.
    pub async fn refresh(&self) -> Result<(), ControlError> {
        self.ask(Request::Refresh).await
    }

    /// A code with which one can sign in to the console of the process that serves the socket.
    pub async fn open_console(&self, read_only: bool) -> Result<ConsoleCode, ControlError> {
        self.ask(Request::OpenConsole { read_only }).await
    }

    /// Whether one can still sign in with a code.
    pub async fn console_waits(&self, code: &str) -> Result<bool, ControlError> {
        let code = code.to_owned();
        self.ask(Request::ConsoleWaits { code }).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, ControlError> {
        let (stream, path) = connect(&self.store).await?;
        let exchange = async {
            let mut line = serde_json::to_string(&request)?;
            line.push('\n');
            let answer = exchange(stream, &line).await?;
            let answer = serde_json::from_str::<Result<T, OperationError>>(&answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        match tokio::time::timeout(request.patience(), exchange).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(source)) => Err(ControlError::Broken { path, source }),
            Err(_) => Err(ControlError::Silent {
                path,
                waited: request.patience(),
            }),
        }
    }
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
            // A shard of a cluster may be between two hosts, or between two uses of this one.
            Ok(false) if !is_copy(store) => return Err(ControlError::NotRunning { path, source }),
            Ok(_) if tokio::time::Instant::now() < until => tokio::time::sleep(PAUSE).await,
            Ok(_) if is_copy(store) => return Err(ControlError::NoHost { path, source }),
            Ok(_) => return Err(ControlError::Unreachable { path, source }),
            Err(source) => {
                let store = store.to_owned();
                return Err(ControlError::Unknown { store, source });
            }
        }
    }
}

/// Whether a store is this machine's copy of a cluster's shard.
fn is_copy(store: &Path) -> bool {
    let opened = open_for_a_look(store);
    opened.is_ok_and(|db| read::is_copy(&db).unwrap_or(false))
}

/// Why a running runtime did not carry out an operation.
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
    /// No host of the cluster runs on this machine.
    #[error("no host of the cluster serves {}, because none runs on this machine: run this where one does ({source}); nothing was sent or changed", path.display())]
    NoHost {
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
    /// It answered that the operation failed.
    #[error(transparent)]
    Refused(#[from] OperationError),
}

/// Serves the socket until the returned guard is dropped. Must be called within an actix system.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(operations: Operations) -> std::io::Result<ControlSocket> {
    let path = socket_path(operations.shared.store.path());
    serve_at(path, move |line| {
        let operations = operations.clone();
        async move { answer_line(&line, &operations).await }
    })
}

/// Serves the socket of a store whose runtime is elsewhere, until the returned guard is dropped:
/// `pass_on` gets each request, and returns the answer or why there is none; `refresh` brings this
/// machine's copy up to date; `console` is that of this process. Must be called within an actix system.
///
/// # Errors
/// The socket cannot be made.
pub fn relay<P, R>(
    store: &Path,
    console: Sessions,
    pass_on: impl Fn(String) -> P + 'static,
    refresh: impl Fn() -> R + 'static,
) -> std::io::Result<ControlSocket>
where
    P: Future<Output = Result<String, String>> + 'static,
    R: Future<Output = Result<(), String>> + 'static,
{
    let (pass_on, refresh) = (Rc::new(pass_on), Rc::new(refresh));
    serve_at(socket_path(store), move |line| {
        let (pass_on, refresh) = (Rc::clone(&pass_on), Rc::clone(&refresh));
        let console = console.clone();
        async move {
            match serde_json::from_str(&line) {
                Ok(Request::Refresh) => {
                    let refreshed = refresh().await.map_err(OperationError::Later);
                    serde_json::to_string(&refreshed)
                }
                Ok(Request::OpenConsole { read_only }) => {
                    serde_json::to_string(&console::open(&console, read_only))
                }
                Ok(Request::ConsoleWaits { code }) => {
                    serde_json::to_string(&Ok::<_, OperationError>(console.waits(&code)))
                }
                _ => pass_on(line).await.or_else(not_now),
            }
        }
    })
}

/// Has the runtime that serves a store's socket carry out a request that came from elsewhere, as it came.
/// Returns its answer.
pub async fn carry_out(store: &Path, request: &str) -> String {
    let asked = async {
        let stream = socket::connect(&socket_path(store)).await?;
        let mut line = request.trim_end().to_owned();
        line.push('\n');
        exchange(stream, &line).await
    };
    let answered = match tokio::time::timeout(RELOAD_PATIENCE, asked).await {
        Ok(Ok(answer)) => return answer,
        Ok(Err(error)) => format!("the shard is being started or moved: {error}"),
        Err(_) => "it did not answer in time".to_owned(),
    };
    not_now(answered).unwrap_or_default()
}

/// The answer that something cannot be carried out now.
fn not_now(reason: String) -> serde_json::Result<String> {
    serde_json::to_string(&Err::<(), _>(OperationError::Later(reason)))
}

/// Sends a line, and returns the line that answers it.
async fn exchange(stream: UnixStream, line: &str) -> std::io::Result<String> {
    let (reader, mut writer) = stream.into_split();
    writer.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    reader.read_line(&mut answer).await?;
    Ok(answer)
}

/// Serves a socket: each line of a client is answered with one.
fn serve_at<F: Future<Output = serde_json::Result<String>> + 'static>(
    path: PathBuf,
    answer: impl Fn(String) -> F + 'static,
) -> std::io::Result<ControlSocket> {
    // The store's lock is ours, so an existing socket is left over from a killed runtime.
    let listener = socket::bind(&path)?;
    let task = actix_rt::spawn(async move {
        let answer = Rc::new(answer);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answer = Rc::clone(&answer);
                    actix_rt::spawn(async move {
                        let served = converse(stream, &*answer);
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

async fn converse<F: Future<Output = serde_json::Result<String>>>(
    stream: UnixStream,
    answer: impl Fn(String) -> F,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    let mut line = String::new();
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let mut text = answer(line).await?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    writer.write_all(text.as_bytes()).await
}

async fn answer_line(line: &str, operations: &Operations) -> serde_json::Result<String> {
    match serde_json::from_str(line) {
        Ok(request) => answer(request, operations).await,
        Err(error) => not_now(format!("the request cannot be read: {error}")),
    }
}

/// Has an operation carried out; returns its result as JSON.
async fn answer(request: Request, operations: &Operations) -> serde_json::Result<String> {
    use serde_json::to_string;
    match request {
        Request::Send { from, message } => to_string(&operations.send(&from, &message).await),
        Request::Change(change) => to_string(&operations.change(change).await),
        Request::Reload { restart } => to_string(&operations.reload(restart).await),
        Request::Register { who, card } => to_string(&operations.register(&who, &card).await),
        Request::Withdraw { who, key } => to_string(&operations.withdraw(&who, key).await),
        Request::CancelTask(task) => to_string(&operations.cancel_task(task).await),
        Request::Open(inbox) => to_string(&operations.open(inbox).await),
        Request::Waits(rows) => to_string(&operations.waits(rows).await),
        Request::Condition => to_string(&Ok::<_, OperationError>(operations.condition())),
        Request::CoordinatorStatus => to_string(&operations.coordinator_status()),
        Request::CoordinatorInbox(wanted) => to_string(&operations.coordinator_inbox(&wanted)),
        Request::Refresh => to_string(&operations.refresh().await),
        Request::OpenConsole { read_only } => {
            to_string(&console::open(&operations.links.console, read_only))
        }
        Request::ConsoleWaits { code } => to_string(&Ok::<_, OperationError>(
            operations.links.console.waits(&code),
        )),
    }
}
