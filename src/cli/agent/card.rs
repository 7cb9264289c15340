//! Printing of a directory card.

use std::time::Duration;

use agentry_protocol::command::Tags;
use agentry_store::read::{AnnouncedCard, Surveyed};
use serde::Serialize;

use crate::runtime::directory::backfill;

/// A card of the directory, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CardLine {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) public_key: String,
    pub(super) enc_key: Option<String>,
    pub(super) description: Option<String>,
    pub(super) capabilities: Vec<String>,
    pub(super) commands: Vec<String>,
    /// Milliseconds since the epoch.
    #[serde(rename = "expires_at")]
    pub(super) expires: u64,
    /// Whether the card is no longer valid.
    pub(super) expired: bool,
    /// Milliseconds since the epoch.
    #[serde(rename = "announced_at")]
    pub(super) announced: u64,
    pub(super) height: u64,
    pub(super) transaction: String,
}

impl CardLine {
    pub(super) fn new(announced: &AnnouncedCard, now_ms: u64) -> Self {
        let card = &announced.card;
        Self {
            name: card.card.name.to_string(),
            address: card.address.to_string(),
            public_key: card.public_key.to_string(),
            enc_key: card.card.enc_key.map(|key| key.to_string()),
            description: card.card.description.as_ref().map(ToString::to_string),
            capabilities: words(&card.card.capabilities),
            commands: words(&card.card.commands),
            expires: card.card.expires,
            expired: card.card.check_time(now_ms).is_err(),
            announced: announced.announced_at,
            height: card.height.0,
            transaction: card.transaction.to_string(),
        }
    }
}

pub(super) fn words(tags: &Tags) -> Vec<String> {
    tags.as_slice().iter().map(ToString::to_string).collect()
}

/// The time until or since a moment, in its two largest units: `in 6days 23h`, `3h ago`.
pub(super) fn until(at_ms: u64, now_ms: u64) -> String {
    let span = |ms: u64| {
        let spelled = humantime::format_duration(Duration::from_secs(ms / 1000)).to_string();
        let parts: Vec<&str> = spelled.split(' ').take(2).collect();
        parts.join(" ")
    };
    if at_ms >= now_ms {
        format!("in {}", span(at_ms - now_ms))
    } else {
        format!("{} ago", span(now_ms - at_ms))
    }
}

/// Describes which blocks the directory was read from.
pub(super) fn knowledge(surveyed: &Surveyed) -> String {
    let Some(from) = surveyed.from else {
        return "no runtime has read the chain for the directory yet; start `agentry run`"
            .to_owned();
    };
    let standing = surveyed
        .progress
        .as_deref()
        .and_then(backfill::standing)
        .filter(|standing| standing.from < from);
    let mut text = format!("the directory covers the chain from block {from} on");
    match standing {
        Some(standing) => {
            let at = standing
                .at
                .filter(|at| *at >= standing.from)
                .map_or_else(String::new, |at| format!(", and has reached block {at}"));
            text.push_str(&format!(
                "; the runtime reads the blocks from {} up to there{at}",
                standing.from
            ));
        }
        None if from.0 > 0 => {
            text.push_str("; set `from` in [directory] to read older blocks");
        }
        None => {}
    }
    text
}

/// The same as JSON.
pub(super) fn knowledge_json(surveyed: &Surveyed) -> serde_json::Value {
    let standing = surveyed.progress.as_deref().and_then(backfill::standing);
    let standing = standing.filter(|standing| Some(standing.from) < surveyed.from);
    serde_json::json!({
        "from": surveyed.from,
        "reading": standing.map(|standing| serde_json::json!({
            "from": standing.from, "to": standing.to, "at": standing.at,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_two_units() {
        let day = 24 * 60 * 60 * 1000;
        assert_eq!(until(7 * day + 5_000, 0), "in 7days 5s");
        assert_eq!(until(0, 3 * 60 * 60 * 1000 + 61_000), "3h 1m ago");
        assert_eq!(until(1_000, 1_000), "in 0s");
    }
}
