//! Telling operators of what needs them: each notice of the store is posted to each webhook, in order,
//! at least once.
//!
//! A call is that of [Standard Webhooks](https://www.standardwebhooks.com), version 1: the headers
//! `webhook-id`, `webhook-timestamp` and `webhook-signature`, which is the HMAC-SHA256 of both and the
//! body. A call that is not answered with 2xx is repeated, with pauses of up to an hour; what was
//! delivered is stored, so a restart goes on from there.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentry_behaviours::net;
use agentry_core::state::row::{Agent, Notice};
use agentry_core::{Commit, State};
use agentry_protocol::{ContentHash, Timestamp};
use agentry_store::StoreError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Client;
use serde_json::json;
use sha2::Sha256;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::{Shared, backoff};
use crate::config::model::WebhookConfig;

/// How often the store is asked for notices.
const POLL: Duration = Duration::from_secs(1);

/// How many notices are read at a time.
const PAGE: usize = 64;

/// How long a call may take.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// The first pause before a call is repeated.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);

/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// The length of a secret, in bytes (Standard Webhooks).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The longest file with a secret, in bytes.
const FILE_MAX: u64 = 1 << 10;

/// The longest reason that is told, in bytes.
const REASON_MAX: usize = 2_000;

/// A webhook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Its secret cannot be read.
    #[error("the secret of webhook {name:?}, {}, cannot be read: {source}", path.display())]
    Secret {
        /// The webhook.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its secret is none.
    #[error("the secret of webhook {name:?}, {}, must be `whsec_` and the base64 of 24 to 64 random bytes: printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\" > {}", path.display(), path.display())]
    NotASecret {
        /// The webhook.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// Its address is a literal one, and not public.
    #[error(
        "the url of webhook {0:?} is not a public address; a receiver on this machine or in a private network needs allow_private = true"
    )]
    Private(String),
    /// The HTTP client cannot be made.
    #[error("the HTTP client of webhook {name:?}: {reason}")]
    Client {
        /// The webhook.
        name: String,
        /// Why.
        reason: String,
    },
}

/// Makes the webhooks of a configuration ready to be called.
///
/// # Errors
/// [`WebhookError`].
pub(super) async fn prepare(configs: &[WebhookConfig]) -> Result<Vec<Webhook>, WebhookError> {
    let mut webhooks = Vec::with_capacity(configs.len());
    for config in configs {
        webhooks.push(Webhook::new(config.clone()).await?);
    }
    Ok(webhooks)
}

/// Calls webhooks until the returned guard is dropped. Must be called within an actix system.
///
/// # Errors
/// The store's.
pub(super) async fn serve(webhooks: Vec<Webhook>, shared: &Shared) -> Result<Serving, StoreError> {
    let names = webhooks
        .iter()
        .map(|webhook| webhook.config.name.to_string());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    let known = |state: &State| state.webhook_names();
    // A runtime without webhooks, which is the usual one, stores nothing about them.
    if shared.store.query(known).await? != names {
        shared
            .store
            .commit_now(Commit::SetWebhooks { names })
            .await?;
    }
    let calls = webhooks.into_iter();
    let calls = calls.map(|webhook| actix_rt::spawn(webhook.serve(shared.clone())));
    Ok(Serving(calls.collect()))
}

/// The calls of the webhooks; dropping it ends them.
#[derive(Debug)]
pub(super) struct Serving(Vec<actix_rt::task::JoinHandle<()>>);

impl Drop for Serving {
    fn drop(&mut self) {
        for call in &self.0 {
            call.abort();
        }
    }
}

/// A webhook that is ready to be called.
#[derive(Clone)]
pub(super) struct Webhook {
    config: WebhookConfig,
    secret: Zeroizing<Vec<u8>>,
    client: Client,
}

impl Webhook {
    /// Reads the secret, and makes the client.
    ///
    /// # Errors
    /// [`WebhookError`].
    async fn new(config: WebhookConfig) -> Result<Self, WebhookError> {
        let name = config.name.to_string();
        let path = &config.secret_file;
        let text = read_secret(path).await;
        let text = text.map_err(|source| WebhookError::Secret {
            name: name.clone(),
            path: path.clone(),
            source,
        })?;
        let secret = decode(&text).ok_or_else(|| WebhookError::NotASecret {
            name: name.clone(),
            path: path.clone(),
        })?;
        let client = if config.may_be_private() {
            net::client(TIME_LIMIT)
        } else if net::is_private(config.url.expose()) {
            return Err(WebhookError::Private(name));
        } else {
            net::public_client(TIME_LIMIT)
        };
        let client = client.timeout(TIME_LIMIT).build();
        let client = client.map_err(|error| WebhookError::Client {
            name,
            reason: net::reasons(error),
        })?;
        Ok(Self {
            config,
            secret,
            client,
        })
    }

    /// Tells of everything that happens, until it is dropped.
    async fn serve(self, shared: Shared) {
        loop {
            match self.deliver(&shared).await {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(POLL).await,
                Err(error) => {
                    tracing::error!(webhook = %self.config.name, %error, "cannot read what to tell");
                    tokio::time::sleep(60 * POLL).await;
                }
            }
        }
    }

    /// Delivers the next notices. Returns whether there were any.
    async fn deliver(&self, shared: &Shared) -> Result<bool, StoreError> {
        let name = self.config.name.to_string();
        let next = move |state: &State| state.undelivered(&name, PAGE);
        let notices = shared.store.query(next).await?;
        for notice in &notices {
            if self.config.wants(notice.kind) {
                self.tell(shared, notice).await?;
            }
            let delivered = Commit::Delivered {
                webhook: self.config.name.to_string(),
                through: notice.id,
            };
            shared.store.commit(delivered).await?;
        }
        Ok(!notices.is_empty())
    }

    /// Posts a notice until it is accepted.
    async fn tell(&self, shared: &Shared, notice: &Notice) -> Result<(), StoreError> {
        let agent = match notice.agent {
            Some(id) => {
                shared
                    .store
                    .query(move |state| state.agents().get(&id))
                    .await?
            }
            None => None,
        };
        let (id, body) = (id(notice, agent.as_deref()), body(notice, agent.as_deref()));
        let mut pauses = backoff::between((SHORTEST_PAUSE, LONGEST_PAUSE));
        loop {
            // The time is that of the attempt: receivers refuse old ones.
            let now = shared.clock.local();
            let error = match self.post(&id, &body, now).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            tracing::warn!(
                webhook = %self.config.name,
                error,
                "a webhook did not accept what it was told; it is told again in {} s",
                pause.as_secs()
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// Posts a body once; `Err` is why it was not accepted, without secrets.
    async fn post(&self, id: &str, body: &str, now: Timestamp) -> Result<(), String> {
        let seconds = now.get() / 1_000;
        let request = self
            .client
            .post(self.config.url.expose().clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", sign(&self.secret, id, seconds, body))
            .body(body.to_owned());
        net::tell(request).await
    }
}

/// The text of a file with a secret.
async fn read_secret(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let file = tokio::fs::File::open(path).await?;
    file.take(FILE_MAX).read_to_string(&mut text).await?;
    Ok(text)
}

/// The bytes of a secret.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let encoded = text.trim().strip_prefix(PREFIX)?;
    let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    SECRET_BYTES.contains(&bytes.len()).then_some(bytes)
}

/// The signature of a call: `v1,` and the base64 of HMAC-SHA256 over id, time and body.
fn sign(secret: &[u8], id: &str, seconds: u64, body: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    let mut text = "v1,".to_owned();
    STANDARD.encode_string(mac.finalize().into_bytes(), &mut text);
    text
}

/// The id of a notice: the same each time that it is told, and for another store another.
fn id(notice: &Notice, agent: Option<&Agent>) -> String {
    let mut content = format!(
        "{}/{}/{}/{}",
        notice.id,
        notice.kind.as_str(),
        notice.at,
        notice.subject
    );
    if let Some(agent) = agent {
        let _ = write!(content, "/{}", agent.address);
    }
    let hash = ContentHash::of(content.as_bytes());
    let digits = hex::encode(hash.as_bytes().get(..16).unwrap_or_default());
    format!("notice_{digits}")
}

/// What is told, as JSON.
fn body(notice: &Notice, agent: Option<&Agent>) -> String {
    let reason = notice.reason.as_deref().map(|reason| {
        let end = reason.floor_char_boundary(REASON_MAX);
        reason.get(..end).unwrap_or_default()
    });
    let subject = Some(notice.subject.as_str()).filter(|subject| !subject.is_empty());
    json!({
        "type": notice.kind,
        "at": notice.at,
        "data": {
            "number": notice.id,
            "agent": agent.map(|agent| &agent.name),
            "address": agent.map(|agent| &agent.address),
            "subject": subject,
            "reason": reason,
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn a_call_is_signed_as_standard_webhooks_says() {
        let secret = decode("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = sign(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_a_secret_that_cannot_be_guessed_is_one() {
        for bad in ["", "whsec_", "secret", "whsec_c2hvcnQ=", "whsec_%%%"] {
            assert!(decode(bad).is_none(), "{bad}");
        }
    }
}
