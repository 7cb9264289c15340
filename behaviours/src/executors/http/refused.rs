//! Detection of permanent refusals with a status that means busy.
//!
//! Services report an account without credit, or a model that does not exist, with 429 or 503 as
//! well as with 402 or 404, and within streams. Waiting does not help, so the request is not sent
//! again. The machine-readable fields (`code`, `type`, `status`) are checked first. The text of the
//! error counts only if it is unambiguous: "exceeded your current quota" alone is Google's text for
//! a limit per minute.

use reqwest::StatusCode;
use serde_json::Value;

/// The reason for a permanent refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The account's credit or quota is used up.
    Quota,
    /// The model does not exist.
    Model,
}

/// Codes for an account that needs a payment first, of OpenAI and Azure, Moonshot, LiteLLM,
/// Anthropic, Together, one-api, Alibaba and Volcano Engine.
const QUOTA: [&str; 17] = [
    "insufficient_quota",
    "exceeded_current_quota_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "budget_exceeded",
    "credit_limit",
    "credits_exhausted",
    "insufficient_credits",
    "insufficient_balance",
    "insufficient_funds",
    "insufficient_user_quota",
    "pre_consume_token_quota_failed",
    "quota_exhausted",
    "payment_required",
    "arrearage",
    "accountoverdueerror",
];

/// Texts for the same, of OpenRouter, DeepSeek, Anthropic, LiteLLM, xAI and Hugging Face.
const QUOTA_TEXTS: [&str; 8] = [
    "insufficient credits",
    "insufficient balance",
    "insufficient_quota",
    "credit balance is too low",
    "billing hard limit",
    "budget has been exceeded",
    "used all available credits",
    "account is not active, please check your billing",
];

/// Codes for a model that does not exist.
const MODEL: [&str; 5] = [
    "model_not_found",
    "model_not_available",
    "invalid_model",
    "modelnotfound",
    "modelnotopen",
];

impl Refused {
    /// The refusal in a status and its body, if there is one.
    pub(super) fn with_status(status: StatusCode, body: &[u8]) -> Option<Self> {
        if status == StatusCode::PAYMENT_REQUIRED {
            return Some(Self::Quota);
        }
        Self::in_body(body)
    }

    /// The refusal in an error, in any of the formats of the services, if there is one.
    pub(super) fn in_body(body: &[u8]) -> Option<Self> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return Self::in_text(&String::from_utf8_lossy(body));
        };
        // Google's error is the only item of a list.
        let body = body.get(0).unwrap_or(&body);
        let inner = ["error", "detail"].map(|key| body.get(key));
        inner
            .into_iter()
            .flatten()
            .chain([body])
            .find_map(Self::in_error)
    }

    fn in_error(error: &Value) -> Option<Self> {
        if let Value::String(text) = error {
            return Self::in_word(text).or_else(|| Self::in_text(text));
        }
        let text = |key: &str| error.get(key).and_then(Value::as_str);
        ["code", "type", "status"]
            .into_iter()
            .filter_map(text)
            .find_map(Self::in_word)
            .or_else(|| text("message").and_then(Self::in_text))
    }

    fn in_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase().replace('-', "_");
        if QUOTA.contains(&word.as_str()) {
            Some(Self::Quota)
        } else if MODEL.contains(&word.as_str()) {
            Some(Self::Model)
        } else {
            None
        }
    }

    fn in_text(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let names_model = ["model ", "model:", "model_not_found"]
            .iter()
            .any(|word| text.contains(word));
        let is_missing = ["not found", "does not exist", "model_not_found"]
            .iter()
            .any(|words| text.contains(words));
        if QUOTA_TEXTS.iter().any(|words| text.contains(words)) {
            Some(Self::Quota)
        } else if names_model && is_missing {
            Some(Self::Model)
        } else {
            None
        }
    }

    /// The machine-readable code.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Quota => "quota-exhausted",
            Self::Model => "model-not-found",
        }
    }

    /// The text for the submitter of the job.
    pub(super) const fn public(self) -> &'static str {
        match self {
            Self::Quota => "the service's quota or credit is used up",
            Self::Model => "the service does not have the model",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_common_services_are_told_apart() {
        let (quota, model) = (Some(Refused::Quota), Some(Refused::Model));
        for (body, found) in [
            (
                r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
                quota,
            ),
            (
                r#"{"error":{"message":"m","type":"insufficient_quota","code":"429"}}"#,
                quota,
            ),
            (
                r#"{"error":{"message":"m","type":"invalid_request_error","code":"billing_hard_limit_reached"}}"#,
                quota,
            ),
            (
                r#"{"error":{"message":"m","type":"exceeded_current_quota_error"}}"#,
                quota,
            ),
            (
                r#"{"error":{"message":"Budget has been exceeded! Current cost: 2, Max budget: 1","type":"budget_exceeded","code":"400"}}"#,
                quota,
            ),
            (
                r#"{"error":{"code":429,"message":"Insufficient credits. Add more"}}"#,
                quota,
            ),
            (
                r#"{"error":{"message":"Insufficient Balance","type":"unknown_error"}}"#,
                quota,
            ),
            (
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                quota,
            ),
            (
                r#"{"object":"error","message":"m","type":"Insufficient-Quota","code":42}"#,
                quota,
            ),
            (r#"{"error":"insufficient_quota"}"#, quota),
            (r#"{"detail":{"code":"insufficient_quota"}}"#, quota),
            ("Insufficient credits", quota),
            (
                r#"{"error":{"code":"model_not_found","message":"No available channel for model x","type":"new_api_error"}}"#,
                model,
            ),
            (
                r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","code":404}"#,
                model,
            ),
            (
                r#"{"error":"model \"x\" not found, try pulling it first"}"#,
                model,
            ),
            (r#"{"detail":"Model not found"}"#, model),
            // Errors that pass with time.
            (
                r#"{"error":{"message":"Rate limit reached for m","type":"tokens","code":"rate_limit_exceeded"}}"#,
                None,
            ),
            (
                r#"[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED"}}]"#,
                None,
            ),
            (
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                None,
            ),
            (
                r#"{"error":{"message":"The model is overloaded","type":"overloaded_error"}}"#,
                None,
            ),
            (r#"{"error":{"message":5,"type":null,"code":[]}}"#, None),
            ("[]", None),
            ("404 page not found", None),
            ("", None),
        ] {
            assert_eq!(Refused::in_body(body.as_bytes()), found, "{body}");
        }
        let paid = Refused::with_status(StatusCode::PAYMENT_REQUIRED, b"");
        assert_eq!(paid, quota);
        assert_eq!(
            Refused::with_status(StatusCode::TOO_MANY_REQUESTS, b""),
            None
        );
    }
}
