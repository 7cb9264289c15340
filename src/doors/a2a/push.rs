//! Push notifications: where clients are told of tasks.
//!
//! A receiver belongs to the token with which it was set up, and only this token sees it. What was set
//! up is a row of the store, and [`deliver`](super::deliver) tells it of the task.

use a2a::{
    A2AError, AuthenticationInfo, DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest, GetTaskRequest, ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse, TaskPushNotificationConfig, error_code,
};
use agentry_behaviours::net;
use agentry_core::TokenName;
use agentry_core::push::{Hidden, MOST_OF_TASK, MOST_OF_TOKEN, Push};
use agentry_core::state::row;
use agentry_store::read;
use url::Url;

use super::super::door::{About, Door};
use super::super::error::DoorError;
use super::{CallError, Session, calls};
use crate::ops::change::StoreChange;
use crate::runtime::clock::Clock;

/// The longest URL of a receiver, in bytes.
const URL_MAX: usize = 2_048;

/// The longest token or credentials, in bytes.
const SECRET_MAX: usize = 4_096;

/// The longest id or scheme, in bytes.
const NAME_MAX: usize = 150;

/// A receiver that is as it must be, before its task is known.
#[derive(Clone, Debug)]
pub struct Receiver {
    id: Option<String>,
    url: Hidden,
    token: Option<Hidden>,
    scheme: Option<String>,
    credentials: Option<Hidden>,
}

impl Receiver {
    /// Checks what a client has given.
    ///
    /// # Errors
    /// What is wrong, without what may be secret.
    pub fn of(session: &Session, given: &TaskPushNotificationConfig) -> Result<Self, A2AError> {
        let wrong = |text: String| A2AError::invalid_params(text);
        let is_text = |text: &str, most: usize| {
            let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            (1..=most).contains(&text.len()) && text.bytes().all(is_visible)
        };
        let id = given.id.clone().filter(|id| !id.is_empty());
        if id.as_ref().is_some_and(|id| id.len() > NAME_MAX) {
            return Err(wrong(format!("`id` has at most {NAME_MAX} bytes")));
        }
        target(&given.url, session.door.may_push_privately())
            .map_err(|reason| wrong(format!("`url` {reason}")))?;
        let token = given.token.clone().filter(|token| !token.is_empty());
        let (scheme, credentials) = match &given.authentication {
            Some(AuthenticationInfo {
                scheme,
                credentials,
            }) => (Some(scheme.clone()), credentials.clone()),
            None => (None, None),
        };
        let credentials = credentials.filter(|credentials| !credentials.is_empty());
        let is_word = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if scheme
            .as_deref()
            .is_some_and(|scheme| !is_text(scheme, NAME_MAX) || !is_word(scheme))
        {
            return Err(wrong("`authentication.scheme` is a word".to_owned()));
        }
        for (name, secret) in [
            ("token", &token),
            ("authentication.credentials", &credentials),
        ] {
            if secret
                .as_deref()
                .is_some_and(|secret| !is_text(secret, SECRET_MAX))
            {
                let text = format!("`{name}` has 1 to {SECRET_MAX} visible ASCII characters");
                return Err(wrong(text));
            }
        }
        Ok(Self {
            id,
            url: Hidden::new(given.url.clone()),
            token: token.map(Hidden::new),
            scheme,
            credentials: credentials.map(Hidden::new),
        })
    }
}

/// The URL of a receiver, if it may be called: an https address that is no literal private one. A name
/// is looked at when it is resolved.
///
/// # Errors
/// What is wrong with it, without its text.
pub(super) fn target(text: &str, may_be_private: bool) -> Result<Url, &'static str> {
    if text.len() > URL_MAX {
        return Err("is too long");
    }
    let url = Url::parse(text).map_err(|_| "is no URL")?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("has no host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a password: give it as `authentication`");
    }
    match url.scheme() {
        "https" => {}
        "http" if may_be_private => {}
        _ => return Err("must be https"),
    }
    if !may_be_private && net::is_private(&url) {
        return Err("is not a public address");
    }
    Ok(url)
}

impl Door {
    /// Whether receivers may be on this machine or in a private network.
    pub(super) fn may_push_privately(&self) -> bool {
        let settings = self.config().a2a.as_ref();
        settings
            .and_then(|settings| settings.push_private)
            .unwrap_or(false)
    }

    /// The token of the caller, which owns what it sets up.
    fn owner(&self) -> Result<TokenName, DoorError> {
        let none = || DoorError::invalid("only the holder of a token can be told of tasks");
        self.caller().token.clone().ok_or_else(none)
    }

    /// The receivers that the caller has set up, of all its tasks.
    async fn pushes(&self) -> Result<Vec<row::Push>, DoorError> {
        let owner = self.owner()?;
        let door = self.in_shard(About::Row(None)).await?;
        door.look(async move |db, _| Ok(read::pushes(db, &owner)?))
            .await
    }
}

/// The task, as its receivers name it, if the caller may see it.
async fn task_id(session: &Session, id: &str) -> Result<String, CallError> {
    let wanted = GetTaskRequest {
        id: id.to_owned(),
        history_length: Some(0),
        tenant: None,
    };
    Ok(calls::get_task(session, &wanted).await?.id)
}

/// Sets up a receiver for a task.
///
/// # Errors
/// [`CallError`].
pub async fn create(
    session: &Session,
    given: &TaskPushNotificationConfig,
) -> Result<TaskPushNotificationConfig, CallError> {
    let receiver = Receiver::of(session, given)?;
    add(session, &given.task_id, receiver).await
}

/// Sets up a receiver that was checked.
///
/// # Errors
/// There is no such task; there are too many receivers.
pub(super) async fn add(
    session: &Session,
    task: &str,
    receiver: Receiver,
) -> Result<TaskPushNotificationConfig, CallError> {
    session.door.caller().check_send()?;
    let task = task_id(session, task).await?;
    let to = session.target.address.clone();
    let (agent, _) = session.door.sent_to(task.clone(), to).await?;
    let id = receiver.id.unwrap_or_else(|| task.clone());
    let known = session.door.pushes().await?;
    let mut of_task = known.iter().filter(|row| row.push.task == task);
    let is_full = known.len() >= MOST_OF_TOKEN || of_task.clone().count() >= MOST_OF_TASK;
    if is_full && of_task.all(|row| row.push.id != id) {
        let text = format!(
            "a token has at most {MOST_OF_TASK} receivers of push notifications for a task, and \
             {MOST_OF_TOKEN} in all"
        );
        return Err(A2AError::invalid_params(text).into());
    }
    let push = Push {
        owner: session.door.owner()?,
        id,
        agent,
        target: session.target.name.clone(),
        url: receiver.url,
        token: receiver.token,
        scheme: receiver.scheme,
        credentials: receiver.credentials,
        made_at: Clock::default().now(),
        task,
    };
    let shown = shown(&push);
    let runtime = session.door.runtime();
    let added = runtime.change(StoreChange::AddPush(push)).await;
    added.map_err(DoorError::from)?;
    Ok(shown)
}

/// Looks up a receiver.
///
/// # Errors
/// [`CallError`].
pub async fn get(
    session: &Session,
    wanted: &GetTaskPushNotificationConfigRequest,
) -> Result<TaskPushNotificationConfig, CallError> {
    let found = find(session, &wanted.task_id, &wanted.id).await?;
    let row = found.ok_or_else(|| {
        let missing = "the task has no such receiver of push notifications, or has ended";
        A2AError::new(error_code::TASK_NOT_FOUND, missing)
    })?;
    Ok(shown(&row.push))
}

/// The receivers of a task: all, since they are few.
///
/// # Errors
/// [`CallError`].
pub async fn list(
    session: &Session,
    wanted: &ListTaskPushNotificationConfigsRequest,
) -> Result<ListTaskPushNotificationConfigsResponse, CallError> {
    let task = task_id(session, &wanted.task_id).await?;
    let rows = session.door.pushes().await?;
    let of_task = rows.iter().filter(|row| row.push.task == task);
    Ok(ListTaskPushNotificationConfigsResponse {
        configs: of_task.map(|row| shown(&row.push)).collect(),
        next_page_token: None,
    })
}

/// Removes a receiver; one that is not there is removed already.
///
/// # Errors
/// [`CallError`].
pub async fn delete(
    session: &Session,
    wanted: &DeleteTaskPushNotificationConfigRequest,
) -> Result<(), CallError> {
    session.door.caller().check_send()?;
    if let Some(row) = find(session, &wanted.task_id, &wanted.id).await? {
        let ended = StoreChange::EndPush(row.number);
        let ended = session.door.runtime().change(ended).await;
        ended.map_err(DoorError::from)?;
    }
    Ok(())
}

async fn find(session: &Session, task: &str, id: &str) -> Result<Option<row::Push>, CallError> {
    let task = task_id(session, task).await?;
    let rows = session.door.pushes().await?;
    let is_meant = |row: &row::Push| row.push.task == task && row.push.id == id;
    Ok(rows.into_iter().find(is_meant))
}

/// A receiver as it is shown to its owner. Credentials are shown to nobody.
fn shown(push: &Push) -> TaskPushNotificationConfig {
    TaskPushNotificationConfig {
        url: push.url.expose().to_owned(),
        id: Some(push.id.clone()),
        task_id: push.task.clone(),
        token: push.token.as_ref().map(|token| token.expose().to_owned()),
        authentication: push.scheme.clone().map(|scheme| AuthenticationInfo {
            scheme,
            credentials: None,
        }),
        tenant: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_https_addresses_are_called_unless_private_ones_are_allowed() {
        for private in [
            "https://127.0.0.1/x",
            "https://[::1]:8443/",
            "https://0x7f.1/",
            "https://169.254.169.254/latest",
            "https://[::ffff:10.0.0.1]/",
            "http://example.com/",
        ] {
            target(private, false).unwrap_err();
            target(private, true).unwrap();
        }
        for wrong in [
            "",
            "example.com",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://user:password@example.com/",
            &format!("https://example.com/{}", "x".repeat(URL_MAX)),
        ] {
            for may_be_private in [false, true] {
                let reason = target(wrong, may_be_private).unwrap_err();
                assert!(!reason.contains("example"), "{reason}");
            }
        }
        target("https://example.com:8443/hook?key=1", false).unwrap();
    }
}
