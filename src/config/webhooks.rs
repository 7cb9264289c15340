//! Validates `[[webhook]]`.

use std::fmt;
use std::str::FromStr;

use agentry_core::rows::NoticeKind;
use agentry_protocol::AgentName;
use serde_json::{Value, json};
use url::Url;

use super::check::Check;
use super::keys::{Described, Holds};
use super::model::WebhookConfig;
use super::owners::Names;
use super::values::{Kind, Unchecked, valid};

/// What a webhook is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeName(pub NoticeKind);

impl fmt::Display for NoticeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for NoticeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = NoticeKind::parse(text).map(Self);
        known.ok_or_else(|| {
            let words = NoticeKind::ALL.iter().map(|kind| kind.as_str());
            let words = words.collect::<Vec<_>>().join(", ");
            format!("what a webhook is told of is one of {words}")
        })
    }
}

/// The address of a webhook. Its path and its query may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl WebhookUrl {
    /// The address.
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for WebhookUrl {
    /// Without what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "{}://{host}", self.0.scheme())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str("/***")
    }
}

impl Kind for WebhookUrl {
    const HOLDS: Holds = Holds::Url;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        let text = String::read(value)?;
        let has_host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
        // The text itself may hold a secret, so it is not repeated.
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && has_host(&url) => {
                Some(Self(url))
            }
            _ => value.wrong("is not an https address with a host"),
        }
    }

    fn show(&self) -> Value {
        json!(self.to_string())
    }
}

impl WebhookConfig {
    /// Whether it may be on this machine or in a private network.
    pub fn may_be_private(&self) -> bool {
        self.allow_private.unwrap_or(false)
    }

    /// Whether it is told of this.
    pub fn wants(&self, kind: NoticeKind) -> bool {
        let named = self.events.as_ref();
        named.is_none_or(|events| events.contains(&NoticeName(kind)))
    }
}

impl Check<'_> {
    pub(super) fn webhooks(&mut self) -> Vec<WebhookConfig> {
        let mut names = Names::new();
        let mut webhooks: Vec<WebhookConfig> = Vec::new();
        for item in self.layers.items("webhook") {
            self.unknown_keys(item, &WebhookConfig::TABLE, "[[webhook]]");
            let name = valid::<AgentName>(item.get("name"));
            let name = name.as_ref().map_or("?", AgentName::as_str);
            let path = format!("webhook.{name}");
            let Some(webhook) = self.read_keys::<WebhookConfig>(Some(item), &path) else {
                continue;
            };
            let (name, url) = (webhook.name.as_str(), webhook.url.expose());
            self.unique(&mut names, name, "webhooks", item.origin_of("name"));
            if url.scheme() != "https" && !webhook.may_be_private() {
                let text = format!(
                    "`url` of webhook {name:?} must be https: what it is told would be readable on \
                     its way. A receiver on this machine needs allow_private = true"
                );
                self.reader.report(item.origin_of("url"), text);
            }
            webhooks.push(webhook);
        }
        webhooks
    }
}
