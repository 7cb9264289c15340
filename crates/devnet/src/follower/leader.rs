//! The leader: the node that is followed.

use std::time::Duration;

use agentry_chain::{NodeClient, NodeOptions};
use serde::Deserialize;

use super::FollowError;
use crate::chain::accounts::Credit;
use crate::error::DevnetError;

/// How many credits are requested at once.
const CREDITS: usize = 10_000;

/// How long one of this module's calls to the leader may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A leader: its RPC, and the plain calls that the RPC client does not have.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    pub(crate) client: NodeClient,
    http: reqwest::Client,
    base: String,
}

#[derive(Deserialize)]
struct Ledger {
    credits: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: i64,
    address: String,
    amount: i64,
}

impl Leader {
    /// Prepares the clients for a leader; nothing is sent.
    pub(crate) fn new(url: &str) -> Result<Leader, DevnetError> {
        let fail = |reason: String| DevnetError::Leader { reason };
        // The client comes first: it installs the process's TLS provider.
        let client = NodeClient::new(url, NodeOptions::default())
            .map_err(|error| fail(error.to_string()))?;
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .map_err(|error| fail(error.to_string()))?;
        Ok(Leader {
            client,
            http,
            base: url.trim_end_matches('/').to_owned(),
        })
    }

    /// The text of a GET; `None` on 404.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<String>, FollowError> {
        let fail =
            |error: reqwest::Error| FollowError::Answer(format!("{path}: {}", error.without_url()));
        let url = format!("{}{path}", self.base);
        let answer = self.http.get(url).send().await.map_err(fail)?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.error_for_status().map_err(fail)?;
        Ok(Some(answer.text().await.map_err(fail)?))
    }

    /// The leader's credits after an id; `None` if it does not record them.
    pub(crate) async fn credits_after(
        &self,
        mut after: i64,
    ) -> Result<Option<Vec<Credit>>, FollowError> {
        let mut all = Vec::new();
        loop {
            let path = format!("/dev/credits?after={after}&limit={CREDITS}");
            let Some(text) = self.get(&path).await? else {
                return Ok(None);
            };
            let ledger: Ledger = serde_json::from_str(&text)
                .map_err(|error| FollowError::Credits(error.to_string()))?;
            let count = ledger.credits.len();
            all.extend(ledger.credits.into_iter().map(|entry| Credit {
                id: entry.id,
                address: entry.address,
                amount: entry.amount,
            }));
            match all.last() {
                Some(last) if count == CREDITS => after = last.id,
                _ => return Ok(Some(all)),
            }
        }
    }
}
