//! Posting a transaction.

use agentry_protocol::TransactionHash;
use reqwest::Method;

use crate::dialect;
use crate::node::client::detail;
use crate::node::rate::Lane;
use crate::node::{NodeClient, Permit, SubmitError};
use crate::raw;

pub(super) const PATH: &str = "/rpc/transaction";

impl NodeClient {
    /// Posts a signed body once. Returns the hash under which the node accepted it; the caller
    /// compares it with the hash that it computed.
    ///
    /// # Errors
    /// A [`SubmitError`] that says whether the node may have the transaction. When in doubt it is
    /// [`SubmitError::Unknown`]: the transaction counts as accepted until its absence is shown. A
    /// dropped future leaves the same doubt.
    pub async fn submit(&self, body: &str) -> Result<TransactionHash, SubmitError> {
        self.submit_while(body, None).await
    }

    /// As [`submit`](Self::submit), if the permit still holds when the body is about to be sent. A node
    /// within this process has no such moment.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_while(
        &self,
        body: &str,
        permit: Option<Permit>,
    ) -> Result<TransactionHash, SubmitError> {
        let lane = self.lane(&Method::POST, PATH);
        if let Some(Err(wait)) = lane.as_deref().map(Lane::try_turn) {
            return Err(SubmitError::Busy {
                retry_after: Some(wait),
            });
        }
        let answer = match self.exchange(Method::POST, PATH, Some(body), permit).await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => {
                return Err(SubmitError::NotSent {
                    reason: error.to_string(),
                });
            }
            Err(error) => {
                return Err(SubmitError::Unknown {
                    reason: error.to_string(),
                });
            }
        };
        let status = answer.status.as_u16();
        let words = || detail(answer.body.as_deref().unwrap_or_default());
        match status {
            200..=299 => match &answer.body {
                Ok(body) => accepted(body).map_err(|reason| SubmitError::Unknown { reason }),
                Err(error) => Err(SubmitError::Unknown {
                    reason: error.to_string(),
                }),
            },
            // The status line alone says that it was not accepted; the body does not matter.
            400 | 401 | 403 | 404 | 405 | 413 | 415 | 422 => {
                let detail = words();
                Err(SubmitError::Rejected {
                    status,
                    refusal: dialect::refusal(self.configured_dialect(), status, &detail),
                    detail,
                })
            }
            429 => Err(SubmitError::Busy {
                retry_after: match self.heed(&Method::POST, PATH, &answer) {
                    Err(error) => error.pause(),
                    Ok(()) => answer.retry_after,
                },
            }),
            _ => Err(SubmitError::Unknown {
                reason: format!("{} answered {status}: {}", self.url(), words()),
            }),
        }
    }
}

/// The hash in a successful answer.
fn accepted(body: &[u8]) -> Result<TransactionHash, String> {
    let object = raw::Object::parse(body)
        .map_err(|error| format!("the node answered 200 with something unreadable: {error}"))?;
    if object.boolean("success") == Some(false) {
        return Err(format!(
            "the node answered 200 without success: {}",
            detail(body)
        ));
    }
    object
        .string("transaction_hash")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "the node answered 200 without a transaction hash".to_owned())
}
