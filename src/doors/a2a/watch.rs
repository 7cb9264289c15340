//! Streams of updates: server-sent events until a task ends or asks something.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use a2a::{StreamResponse, Task, TaskState};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::api::connections::Connection;
use super::super::api::{Api, access};
use super::super::error::{DoorError, ErrorCode};
use super::calls::{self, Begun};
use super::task::{artifact_update, of_job, status_update};
use super::{CallError, Session};
use crate::ops::tokens::Secret;

/// How often a task is looked at.
pub(super) const POLL: Duration = Duration::from_millis(250);

/// How often a client hears something, and its token is checked again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long a stream lasts: a client subscribes again.
const LONGEST: Duration = Duration::from_secs(3600);

/// How many streams are open at the same time.
const STREAMS: usize = 64;

static OPEN: std::sync::LazyLock<Arc<Semaphore>> =
    std::sync::LazyLock::new(|| Arc::new(Semaphore::new(STREAMS)));

/// How an update is written.
pub type Frame = Box<dyn Fn(&StreamResponse) -> String>;

/// Streams what becomes of a task.
///
/// # Errors
/// Too many streams are open; there is no such task.
pub async fn stream(
    api: &Api,
    session: Session,
    begun: Begun,
    request: &HttpRequest,
    frame: Frame,
) -> Result<HttpResponse, CallError> {
    let busy = |_| DoorError::new(ErrorCode::Busy, "too many streams are open");
    let permit = Arc::clone(&OPEN).try_acquire_owned().map_err(busy)?;
    let mut watch = Watch {
        api: api.clone(),
        secret: Secret::presented(access::secret(request)?),
        session,
        begun,
        frame,
        last: None,
        began: Instant::now(),
        checked: Instant::now(),
        connection: request.conn_data::<Connection>().cloned(),
        is_over: false,
        _permit: permit,
    };
    // What is wrong at the beginning is an error, and no stream.
    let first = watch.look().await?;
    let text = (watch.frame)(&StreamResponse::Task(first.clone()));
    watch.is_over = is_over(&first);
    watch.last = Some(first);
    let begin = stream::once(async move { Ok::<_, Infallible>(Bytes::from(text)) });
    let rest = stream::unfold(watch, |mut watch| async move {
        let text = watch.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), watch))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("x-accel-buffering", "no"))
        .streaming(Box::pin(futures_util::StreamExt::chain(begin, rest))))
}

struct Watch {
    api: Api,
    secret: Secret,
    session: Session,
    begun: Begun,
    frame: Frame,
    last: Option<Task>,
    began: Instant,
    /// When the caller's token was valid last.
    checked: Instant,
    connection: Option<Connection>,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
}

/// Whether a task does not go on by itself.
fn is_over(task: &Task) -> bool {
    task.status.state.is_terminal() || task.status.state == TaskState::InputRequired
}

impl Watch {
    /// The task as it is now.
    async fn look(&self) -> Result<Task, CallError> {
        match &self.begun {
            Begun::Job(id) => {
                let job = calls::job(&self.session, id, 0).await?;
                Ok(of_job(&job, true))
            }
            Begun::Talk { id, .. } => calls::talk(&self.session, id).await,
        }
    }

    /// What is written next; `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        if let Some(connection) = &self.connection {
            connection.writing();
        }
        if self.is_over || self.began.elapsed() >= LONGEST {
            return None;
        }
        if self.checked.elapsed() >= KEEP_ALIVE {
            // It may have been revoked.
            let now = self.api.holder(self.secret.expose()).await;
            if !now.is_ok_and(|now| now == *self.session.door.caller()) {
                return None;
            }
            self.checked = Instant::now();
        }
        let quiet = Instant::now();
        loop {
            tokio::time::sleep(POLL).await;
            // A fault of the moment does not end the stream.
            if let Ok(now) = self.look().await {
                let text = self.changes(&now);
                self.is_over = is_over(&now);
                self.last = Some(now);
                if !text.is_empty() {
                    return Some(text);
                }
            }
            if quiet.elapsed() >= KEEP_ALIVE {
                return Some(": \n\n".to_owned());
            }
        }
    }

    /// What is new of a task.
    fn changes(&self, now: &Task) -> String {
        let mut text = String::new();
        let before = self.last.as_ref();
        if before.is_none_or(|before| before.artifacts != now.artifacts)
            && let Some(update) = artifact_update(now)
        {
            text.push_str(&(self.frame)(&StreamResponse::ArtifactUpdate(update)));
        }
        if before.is_none_or(|before| before.status != now.status) {
            let update = StreamResponse::StatusUpdate(status_update(now));
            text.push_str(&(self.frame)(&update));
        }
        text
    }
}
