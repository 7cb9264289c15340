//! The keys of `a2a` in agents.toml.

use std::path::PathBuf;
use std::time::Duration;

use agentry_sdk::protocol::PublicKey;
use agentry_sdk::{ConfigureError, Setup};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName};
use serde::Deserialize;

use crate::executors::key::KeySource;
use crate::executors::remote::{self, refused};
use crate::net::is_private;
use crate::units::{Bytes, Time, within};

/// The path of the card below a base URL.
const WELL_KNOWN: &str = ".well-known/agent-card.json";

/// The keys of `a2a` in agents.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct A2aSettings {
    /// The URL of the agent's card, which ends with `.json`, or the base URL below which the card is
    /// at `/.well-known/agent-card.json`. It is not treated as a secret.
    pub url: String,
    /// The public keys of which one must have signed the card, in hexadecimal digits: 64 of Ed25519,
    /// 66 of secp256k1. Default:
    /// none, and the card need not be signed.
    #[serde(default)]
    pub signed_by: Vec<PublicKey>,
    /// The file with the key that the agent asks for, relative to the folder of agents.toml. It is
    /// read for each job, so a new key needs no restart.
    pub key_file: Option<PathBuf>,
    /// The environment variable of agentry with that key.
    pub key_env: Option<String>,
    /// The header that the key is sent in. Default `Authorization`, as a bearer token; another
    /// header holds the key alone.
    pub key_header: Option<String>,
    /// Whether the agent may be on this machine or in a private network, and be reached without
    /// TLS. Default `false`.
    #[serde(default)]
    pub allow_private: bool,
    /// The longest result, in bytes of its text. From 1 to 16 MiB. Default 1 MiB.
    #[serde(default = "remote::default_max_response_bytes")]
    pub max_response_bytes: Bytes,
    /// The time limit for connecting. Default 10 s.
    #[serde(default = "remote::default_connect_timeout")]
    pub connect_timeout: Time,
    /// How long the agent may be silent or out of reach. Default 1 min.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Time,
    /// How often an agent that cannot stream is asked how far it is. Default 2 s.
    #[serde(default = "default_poll_every")]
    pub poll_every: Time,
}

const fn default_idle_timeout() -> Time {
    Time::seconds(60)
}

const fn default_poll_every() -> Time {
    Time::seconds(2)
}

/// An agent, and how it is reached.
#[derive(Debug)]
pub(super) struct Peer {
    /// The URL of its card.
    pub(super) card: Url,
    pub(super) signed_by: Vec<PublicKey>,
    pub(super) key: KeySource,
    pub(super) key_header: HeaderName,
    pub(super) allow_private: bool,
    pub(super) limits: Limits,
}

/// The limits of an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) response_bytes: usize,
    pub(super) connect: Duration,
    pub(super) idle: Duration,
    pub(super) poll: Duration,
}

impl Peer {
    /// The agent's host, for the log.
    pub(super) fn host(&self) -> &str {
        self.card.host_str().unwrap_or_default()
    }
}

impl A2aSettings {
    pub(super) fn check(self, setup: &Setup<'_>) -> Result<Peer, ConfigureError> {
        let response = self.max_response_bytes;
        let response = within("max_response_bytes", response, remote::RESPONSE_BYTES)?;
        let connect = within("connect_timeout", self.connect_timeout, remote::TIMES)?;
        let idle = within("idle_timeout", self.idle_timeout, remote::TIMES)?;
        let poll = within("poll_every", self.poll_every, remote::TIMES)?;
        let key = KeySource::of(self.key_file, self.key_env, setup)?;
        let key_header = match self.key_header {
            None => AUTHORIZATION,
            Some(_) if matches!(key, KeySource::None) => {
                return Err(ConfigureError(
                    "`key_header` is set, but neither `key_file` nor `key_env`".into(),
                ));
            }
            Some(name) => HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                ConfigureError(format!(
                    "`key_header`: {name:?} is not the name of a header"
                ))
            })?,
        };
        Ok(Peer {
            card: card_url(&self.url, self.allow_private)?,
            signed_by: self.signed_by,
            key,
            key_header,
            allow_private: self.allow_private,
            limits: Limits {
                response_bytes: response.as_usize(),
                connect: connect.0,
                idle: idle.0,
                poll: poll.0,
            },
        })
    }
}

/// The URL of the card.
fn card_url(text: &str, allow_private: bool) -> Result<Url, ConfigureError> {
    let mut url = remote::url(text, "https://host/path")?;
    if !allow_private {
        if url.scheme() == "http" {
            return Err(refused(
                "has no TLS; use https, or set `allow_private` for an agent in a private network",
            ));
        }
        if is_private(&url) {
            return Err(refused(
                "is a private address; set `allow_private` to allow it",
            ));
        }
    }
    if !url.path().ends_with(".json") {
        let path = format!("{}/{WELL_KNOWN}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.set_query(None);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_is_found_from_the_base_or_given_whole() {
        for (text, expected) in [
            ("https://h", "https://h/.well-known/agent-card.json"),
            ("https://h/a/", "https://h/a/.well-known/agent-card.json"),
            ("https://h/a/card.json?x=1#y", "https://h/a/card.json?x=1"),
            (
                "https://1.1.1.1/",
                "https://1.1.1.1/.well-known/agent-card.json",
            ),
        ] {
            assert_eq!(card_url(text, false).unwrap().as_str(), expected);
        }
        for (text, expected) in [
            ("h", "is not a URL"),
            ("ftp://h/", "not the http"),
            ("https://user:s3cret@h/", "a user name or a password"),
            ("http://h/", "has no TLS"),
            ("https://127.0.0.1/", "is a private address"),
            ("https://0x7f.1/", "is a private address"),
            ("https://[::1]/", "is a private address"),
            ("https://169.254.169.254/", "is a private address"),
        ] {
            let error = card_url(text, false).unwrap_err().0;
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(card_url("http://127.0.0.1:1/", true).is_ok());
    }
}
