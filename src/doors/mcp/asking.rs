//! Asking the person at the host, by the protocol's *elicitation*.
//!
//! Since revision 2026-07-28, a result asks, and the host calls again with the answer. Before, the
//! server sends a request of its own. Neither is possible with a host that does not offer it.

use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction,
    ElicitationSchema, InputRequest, InputRequiredResult, InputResponses,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::Value;

/// How long a person may take, before revision 2026-07-28: the call waits for as long.
const PATIENCE: Duration = Duration::from_secs(300);

/// What became of a question.
pub(super) enum Asked {
    /// The person has answered with this.
    Answered(Value),
    /// The person has refused, or has not answered.
    Refused,
    /// The host is to be given this result; it calls again.
    Pending(InputRequiredResult),
    /// The host does not ask people.
    Unable,
}

/// A question for the person at the host.
pub(super) struct Question {
    /// What identifies it: an answer counts only for the question with its key.
    pub(super) key: String,
    /// The question.
    pub(super) message: String,
    /// The form of the answer.
    pub(super) form: ElicitationSchema,
}

impl Question {
    fn params(self) -> ElicitRequestParams {
        ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: self.message,
            requested_schema: self.form,
        }
    }

    /// The question as a request that a result holds.
    pub(super) fn into_input(self) -> (String, InputRequest) {
        let key = self.key.clone();
        let request = ElicitRequest::new(self.params());
        (key, InputRequest::Elicitation(request))
    }
}

/// Asks a question, or finds its answer among those of an earlier call.
pub(super) async fn ask(
    question: Question,
    given: Option<&InputResponses>,
    state: Option<String>,
    context: &RequestContext<RoleServer>,
) -> Asked {
    if let Some(answer) = given.and_then(|given| given.get(&question.key)) {
        return answered(answer);
    }
    if !context.client_capabilities().is_some_and(has_forms) {
        return Asked::Unable;
    }
    if is_stateless(context) {
        let asked = [question.into_input()].into();
        return Asked::Pending(InputRequiredResult::new(Some(asked), state));
    }
    let peer = &context.peer;
    let answer = tokio::select! {
        () = context.ct.cancelled() => return Asked::Refused,
        answer = peer.create_elicitation_with_timeout(question.params(), Some(PATIENCE)) => answer,
    };
    match answer {
        Ok(ElicitResult {
            action: ElicitationAction::Accept,
            content,
            ..
        }) => Asked::Answered(content.unwrap_or_default()),
        Ok(_) => Asked::Refused,
        Err(error) => {
            tracing::warn!(%error, "the host did not ask its user");
            Asked::Refused
        }
    }
}

/// Whether the revision of a request is one without requests of the server.
fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    let version = context.protocol_version();
    version.is_some_and(|version| !version.has_initialize())
}

/// Whether a host shows forms. One that says nothing of the modes shows forms.
fn has_forms(client: ClientCapabilities) -> bool {
    let elicitation = client.elicitation;
    elicitation.is_some_and(|modes| modes.form.is_some() || modes.url.is_none())
}

/// What the answer of a host says.
pub(super) fn answered(answer: &Value) -> Asked {
    let is_accepted = answer.get("action").and_then(Value::as_str) == Some("accept");
    match answer.get("content") {
        Some(content) if is_accepted => Asked::Answered(content.clone()),
        _ => Asked::Refused,
    }
}
