//! The card of an agent: whether it can be trusted, and how the agent is spoken to.

use agentry_sdk::protocol::PublicKey;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::canonical::signed_bytes;

/// The most signatures of a card that are read.
const MAX_SIGNATURES: usize = 16;

/// How operations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// JSON-RPC 2.0.
    JsonRpc,
    /// HTTP with JSON ("REST").
    Rest,
}

/// How the agent is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) url: Url,
    pub(super) binding: Binding,
    /// The tenant that requests name; empty for none.
    pub(super) tenant: String,
    /// Whether the agent streams.
    pub(super) streams: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Card {
    supported_interfaces: Vec<Offer>,
    capabilities: Option<Capabilities>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Offer {
    url: String,
    protocol_binding: String,
    protocol_version: String,
    tenant: Option<String>,
}

#[derive(Deserialize)]
struct Capabilities {
    streaming: Option<bool>,
}

#[derive(Deserialize)]
struct Protected {
    alg: String,
    crit: Option<Value>,
}

/// Reads a card that was at this URL. If there are `keys`, one of them must have signed it.
///
/// # Errors
/// Why the card is refused.
pub(super) fn read(bytes: &[u8], from: &Url, keys: &[PublicKey]) -> Result<Interface, String> {
    let card: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    if !keys.is_empty() {
        verify(&card, keys)?;
    }
    let card = Card::deserialize(&card).map_err(|error| format!("it is not a card: {error}"))?;
    let streams = card.capabilities.and_then(|found| found.streaming);
    let mut usable = card.supported_interfaces.into_iter().filter_map(|offer| {
        let binding = match offer.protocol_binding.as_str() {
            "JSONRPC" => Binding::JsonRpc,
            "HTTP+JSON" => Binding::Rest,
            _ => return None,
        };
        let is_spoken = offer.protocol_version.split('.').next() == Some("1");
        is_spoken.then_some((offer, binding))
    });
    // They are in the agent's order of preference.
    let Some((offer, binding)) = usable.next() else {
        return Err("it has no interface of A2A 1.0 with JSON-RPC or REST".to_owned());
    };
    let url = Url::parse(&offer.url)
        .map_err(|error| format!("the URL of its interface is not one: {error}"))?;
    // A card that someone changed must not lead the job, or the key, to someone else.
    if url.origin() != from.origin() || !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "its interface is at another host, {}, than the card, {}",
            url.origin().ascii_serialization(),
            from.origin().ascii_serialization()
        ));
    }
    Ok(Interface {
        url,
        binding,
        tenant: offer.tenant.unwrap_or_default(),
        streams: streams.unwrap_or(false),
    })
}

/// Checks that one of the keys has signed the card: a detached JWS (RFC 7515, appendix F) with Ed25519
/// (RFC 8037) or secp256k1 (ES256K, RFC 8812).
fn verify(card: &Value, keys: &[PublicKey]) -> Result<(), String> {
    let signatures = card.get("signatures").and_then(Value::as_array);
    let signatures = signatures.map(Vec::as_slice).unwrap_or_default();
    if signatures.is_empty() {
        return Err("it is not signed".to_owned());
    }
    let payload = BASE64_URL_SAFE_NO_PAD.encode(signed_bytes(card));
    let is_by_one = |signature: &Value| {
        let field = |name| signature.get(name).and_then(Value::as_str);
        let (protected, signature) = (field("protected")?, field("signature")?);
        let header = BASE64_URL_SAFE_NO_PAD.decode(protected).ok()?;
        let header: Protected = serde_json::from_slice(&header).ok()?;
        // `crit` names what a verifier must know, such as a payload that is encoded otherwise.
        if header.crit.is_some() {
            return None;
        }
        // RFC 9864 gives EdDSA another name.
        let algorithm = match header.alg.as_str() {
            "Ed25519" => "EdDSA",
            other => other,
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        let text = format!("{protected}.{payload}");
        let made = |key: &PublicKey| key.verify_jws(algorithm, text.as_bytes(), &bytes);
        keys.iter().any(made).then_some(())
    };
    match signatures.iter().take(MAX_SIGNATURES).find_map(is_by_one) {
        Some(()) => Ok(()),
        None => Err("none of its signatures is by a key of `signed_by`".to_owned()),
    }
}
