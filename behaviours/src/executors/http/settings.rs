//! The keys of `http` in agents.toml.

use std::path::PathBuf;
use std::time::Duration;

use agentry_sdk::protocol::command::Model;
use agentry_sdk::{ConfigureError, Setup};
use reqwest::Url;
use serde::Deserialize;

use crate::executors::key::KeySource;
use crate::executors::remote;
use crate::units::{Bytes, Time, within};

/// The path of the endpoint below a base URL.
const ENDPOINT: &str = "chat/completions";

/// Keys of a request that no job may set, whatever `params` allows: the operator decides on them,
/// or they would change the answer to something other than a text.
const RESERVED: [&str; 9] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "n",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
];

/// The keys of `http` in agents.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// The base URL of the service (`http://127.0.0.1:11434`, with or without `/v1`), or the
    /// complete URL of the endpoint. It is not treated as a secret, so it must not contain a user
    /// name, a password or another secret.
    pub url: String,
    /// The default model.
    pub model: String,
    /// The other models that a job may request. Default: none.
    #[serde(default)]
    pub models: Vec<String>,
    /// The file with the API key, relative to the folder of agents.toml. It is read for each job,
    /// so a new key needs no restart.
    pub key_file: Option<PathBuf>,
    /// The environment variable of agentry with the API key.
    pub key_env: Option<String>,
    /// The system message, which precedes the job's prompt.
    pub system: Option<String>,
    /// The most tokens of the answer. Progress is reported as a part of it.
    pub max_tokens: Option<u32>,
    /// The sampling temperature. From 0 to 2. Default: the service's.
    pub temperature: Option<f64>,
    /// The keys of a job's `params` that are passed on to the service, such as `temperature` or
    /// `seed`. Default: none.
    #[serde(default)]
    pub params: Vec<String>,
    /// The longest answer, in bytes of its text. From 1 to 16 MiB. Default 1 MiB.
    #[serde(default = "remote::default_max_response_bytes")]
    pub max_response_bytes: Bytes,
    /// The time limit for connecting. Default 10 s.
    #[serde(default = "remote::default_connect_timeout")]
    pub connect_timeout: Time,
    /// How long the service may send no part of an answer, because it is silent, busy or still
    /// loading its model. Default 5 min.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Time,
    /// The longest pause before the request is sent again to a busy service, whatever the service
    /// asks for. With 0 it is not sent again within an attempt. Default 1 min.
    #[serde(default = "default_retry_after_max")]
    pub retry_after_max: Time,
    /// Whether to request the answer as a stream, which progress needs. Default `true`.
    #[serde(default = "default_stream")]
    pub stream: bool,
    /// What to do with an answer that is cut off at the limit of tokens. Default: the job fails.
    #[serde(default)]
    pub on_length: OnLength,
}

/// What to do with an answer that is cut off at the limit of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLength {
    /// The job fails, with the code `length`.
    #[default]
    Fail,
    /// The job completes with the partial answer, marked as incomplete.
    Cut,
}

const fn default_idle_timeout() -> Time {
    Time::seconds(300)
}

const fn default_retry_after_max() -> Time {
    Time::seconds(60)
}

const fn default_stream() -> bool {
    true
}

/// A service, and the parameters of requests to it.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) url: Url,
    pub(super) model: String,
    pub(super) models: Vec<String>,
    pub(super) key: KeySource,
    pub(super) system: Option<String>,
    pub(super) max_tokens: Option<u32>,
    pub(super) temperature: Option<f64>,
    pub(super) params: Vec<String>,
    pub(super) max_response_bytes: usize,
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) retry_after_max: Duration,
    pub(super) stream: bool,
    pub(super) on_length: OnLength,
}

impl Service {
    /// The service's host, for the log.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

impl HttpSettings {
    pub(super) fn check(self, setup: &Setup<'_>) -> Result<Service, ConfigureError> {
        for model in std::iter::once(&self.model).chain(&self.models) {
            if let Err(error) = model.parse::<Model>() {
                return Err(ConfigureError(format!("the model {model:?}: {error}")));
            }
        }
        if let Some(name) = self
            .params
            .iter()
            .find(|name| RESERVED.contains(&name.as_str()))
        {
            return Err(ConfigureError(format!(
                "`params` contains {name:?}, which no job may set; remove it"
            )));
        }
        if let Some(temperature) = self.temperature
            && !(0.0..=2.0).contains(&temperature)
        {
            return Err(ConfigureError(format!(
                "`temperature` is {temperature}; it must be from 0 to 2"
            )));
        }
        if self.max_tokens == Some(0) {
            return Err(ConfigureError(
                "`max_tokens` is 0: every answer would be empty; set at least 1".into(),
            ));
        }
        let key = KeySource::of(self.key_file, self.key_env, setup)?;
        let response = self.max_response_bytes;
        let response = within("max_response_bytes", response, remote::RESPONSE_BYTES)?;
        let connect = within("connect_timeout", self.connect_timeout, remote::TIMES)?;
        let idle = within("idle_timeout", self.idle_timeout, remote::TIMES)?;
        let pause = (Time::seconds(0), Time::seconds(24 * 3600));
        Ok(Service {
            url: endpoint(&self.url)?,
            model: self.model,
            models: self.models,
            key,
            system: self.system,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            params: self.params,
            max_response_bytes: response.as_usize(),
            connect_timeout: connect.0,
            idle_timeout: idle.0,
            retry_after_max: within("retry_after_max", self.retry_after_max, pause)?.0,
            stream: self.stream,
            on_length: self.on_length,
        })
    }
}

/// The URL of the endpoint.
fn endpoint(text: &str) -> Result<Url, ConfigureError> {
    let mut url = remote::url(text, "http://host:port")?;
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(&format!("/{ENDPOINT}")) {
        let version = if path.ends_with("/v1") { "" } else { "/v1" };
        url.set_path(&format!("{path}{version}/{ENDPOINT}"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_found_from_the_base_or_given_whole() {
        for (text, expected) in [
            (
                "http://127.0.0.1:11434",
                "http://127.0.0.1:11434/v1/chat/completions",
            ),
            ("http://h:1/", "http://h:1/v1/chat/completions"),
            ("http://h:1/v1", "http://h:1/v1/chat/completions"),
            ("https://h/api/v1/", "https://h/api/v1/chat/completions"),
            ("https://h/openai", "https://h/openai/v1/chat/completions"),
            (
                "https://h/v1/chat/completions",
                "https://h/v1/chat/completions",
            ),
            (
                "https://h/x/chat/completions?api-version=1#top",
                "https://h/x/chat/completions?api-version=1",
            ),
        ] {
            assert_eq!(endpoint(text).unwrap().as_str(), expected);
        }
        for (text, expected) in [
            ("", "is not a URL"),
            ("h:1", "not the http"),
            ("127.0.0.1:8080", "is not a URL"),
            ("ftp://h/", "not the http"),
            (
                "http://user:s3cret@h/",
                "contains a user name or a password",
            ),
            ("http://:s3cret@h:port/", "is not a URL"),
        ] {
            let error = endpoint(text).unwrap_err().0;
            assert!(
                error.contains(expected) && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
