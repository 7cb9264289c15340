//! What a call spends: it is charged before anything is sent, and the person at the host is asked
//! first if it is much.

use agentry_protocol::Amount;
use agentry_protocol::untrusted::printable;
use rmcp::model::{CallToolResponse, ElicitationSchema};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::door::directory::GetAgent;
use super::super::error::{DoorError, ErrorCode};
use super::asking::{Asked, Question, ask};
use super::calls::Call;

/// A call that sends something.
pub(super) struct Sending {
    /// The tool.
    pub(super) tool: &'static str,
    /// What the person is told.
    pub(super) what: String,
    /// The agent that it is about, as it was named.
    pub(super) whom: Option<String>,
    /// What is sent.
    pub(super) content: Value,
    /// What it may cost.
    pub(super) cost: Amount,
}

impl Call<'_> {
    /// What a message costs at most. Without limits, nobody needs to know.
    pub(super) async fn cost(
        &self,
        from: Option<&str>,
        amount: Amount,
        resends: u32,
    ) -> Result<Amount, DoorError> {
        if !self.limits.is_limited() {
            return Ok(Amount::ZERO);
        }
        let fee = self.door.fee(from).await?;
        let each = amount.saturating_add(fee);
        let times = u64::from(resends).saturating_add(1);
        Ok(Amount(each.0.saturating_mul(times)))
    }

    /// Sends something that costs this at most.
    pub(super) async fn spend<T>(
        &self,
        key: Option<String>,
        cost: Amount,
        send: impl Future<Output = Result<T, DoorError>>,
    ) -> Result<T, DoorError> {
        let key = key.as_deref();
        let is_new = self.limits.charge(key, cost)?;
        let sent = send.await;
        if let Err(error) = &sent
            && is_new
        {
            self.limits.refund(key, cost, error);
        }
        sent
    }

    /// Asks the person at the host to agree to a cost above the limit. Returns what is to be answered
    /// before anything is sent, if so.
    ///
    /// # Errors
    /// The person does not agree, or cannot be asked.
    pub(super) async fn confirm(
        &self,
        sending: &Sending,
    ) -> Result<Option<CallToolResponse>, DoorError> {
        let cost = sending.cost;
        if !self.limits.asks(cost) {
            return Ok(None);
        }
        let mut what = sending.what.clone();
        if let Some(who) = sending.whom.clone() {
            // Anybody can announce any name.
            let name = printable(&who, 100);
            let known = self.door.get_agent(GetAgent { who }).await?;
            what = format!("{what} {name} ({})", known.address);
        }
        // The consent is to this, and to nothing else.
        let mut hash = Sha256::new();
        hash.update(json!([sending.tool, what, sending.content]).to_string());
        let hash = hex::encode(hash.finalize());
        let form = json!({
            "type": "object",
            "properties": {"confirm": {"type": "boolean", "title": "Send it"}},
            "required": ["confirm"],
        });
        let form = serde_json::from_value::<ElicitationSchema>(form);
        let form = form.map_err(|error| {
            DoorError::new(ErrorCode::Internal, "there is no form").with_detail(error)
        })?;
        let cost = self.door.amount(cost);
        let question = Question {
            key: format!("confirm-{}", hash.get(..32).unwrap_or_default()),
            message: format!("May agentry {what}? It costs up to {cost}."),
            form,
        };
        let refused = |why: &str| {
            let message = format!("it may cost {cost}, and {why}; nothing was sent");
            Err(DoorError::new(ErrorCode::NotAllowed, message))
        };
        match ask(question, self.given, None, self.context).await {
            Asked::Answered(content) if content["confirm"] == true => Ok(None),
            Asked::Answered(_) | Asked::Refused => refused("the user did not agree"),
            Asked::Pending(asked) => Ok(Some(asked.into())),
            Asked::Unable => refused("this host cannot ask its user, who must agree to that"),
        }
    }
}

/// What a request is charged under, if it can be made again.
pub(super) fn charged_key(tool: &str, from: Option<&str>, key: Option<&str>) -> Option<String> {
    Some(format!("{tool}/{}/{}", from.unwrap_or_default(), key?))
}
