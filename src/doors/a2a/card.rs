//! The card of an agent: what it does, and how it is called.
//!
//! It is signed (a detached JWS over RFC 8785, as the specification says) by the wallet of the agent,
//! if it is hosted, or else by that of `a2a.from`. The key's id is the wallet's address, and the card
//! that the wallet has announced on the chain has the key.

use std::collections::HashMap;

use a2a::{
    AgentCapabilities, AgentCard, AgentCardSignature, AgentInterface, AgentSkill,
    HttpAuthSecurityScheme, SecurityScheme,
};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use agentry_behaviours::executors::a2a::signed_bytes;
use agentry_protocol::Address;
use serde_json::Value;

use super::super::api::{Api, answer};
use super::super::caller::Caller;
use super::super::door::Door;
use super::super::error::{DoorError, ErrorCode};
use super::target::Target;
use super::{BASE, CallError};

/// Serves the card of an agent, to anybody.
pub async fn serve(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    match signed(&api, &request).await {
        Ok(card) => HttpResponse::Ok().json(card),
        Err(error) => {
            answer::log(&error, "a2a");
            answer::error(&error)
        }
    }
}

/// The signed card of the agent in the path.
async fn signed(api: &Api, request: &HttpRequest) -> Result<AgentCard, DoorError> {
    // What a card says is public; which agents have one, the operator has decided.
    let (door, target) = super::target(api, Caller::operator(), request).await?;
    let mut card = card(&target, &base(&door, request), door.seals());
    if let Some(wallet) = signer(&door, &target).await? {
        let fault = |error: &dyn std::fmt::Display| {
            DoorError::new(ErrorCode::Unavailable, "the card cannot be signed now")
                .with_detail(error)
        };
        let value = serde_json::to_value(&card).map_err(|error| fault(&error))?;
        let signature = api.sign(&wallet, signed_bytes(&value)).await?;
        card.signatures = Some(vec![AgentCardSignature {
            protected: signature.protected,
            signature: signature.signature,
            header: None,
        }]);
    }
    Ok(card)
}

/// The card for a caller that asks for it with its token: it has nothing more.
///
/// # Errors
/// The runtime is starting; the wallet that signs is locked.
pub async fn extended(api: &Api, request: &HttpRequest) -> Result<Value, CallError> {
    let card = signed(api, request).await?;
    serde_json::to_value(card).map_err(|error| a2a::A2AError::internal(error.to_string()).into())
}

/// The URL under which the agents are reached: as configured, or as the client has reached it.
fn base(door: &Door, request: &HttpRequest) -> String {
    let settings = door.config().a2a.as_ref();
    if let Some(url) = settings.and_then(|settings| settings.url.as_ref()) {
        return url.to_string();
    }
    // The host was checked: it is this machine, or one of `http.allowed_hosts`.
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("127.0.0.1"))
}

/// The wallet that signs the card of an agent.
async fn signer(door: &Door, target: &Target) -> Result<Option<Address>, DoorError> {
    if let Some(hosted) = &target.hosted {
        return Ok(Some(hosted.address.clone()));
    }
    match door.a2a_from() {
        Some(from) => Ok(Some(door.hosted_agent(from).await?.address)),
        None => Ok(None),
    }
}

/// An agent's card.
fn card(target: &Target, base: &str, seals: bool) -> AgentCard {
    let name = super::super::api::request::percent_encoded(&target.name);
    let url = format!("{base}{BASE}/{name}");
    let text = || vec!["text/plain".to_owned(), "application/json".to_owned()];
    let privacy = if seals {
        "Requests and answers are sealed to their recipients; that they were sent, by whom, to whom, \
         when and how long they are stands on a public chain for ever."
    } else {
        "Requests and answers stand on a public chain for ever: everybody can read them."
    };
    let mut skills: Vec<AgentSkill> = target
        .types()
        .into_iter()
        .map(|kind| AgentSkill {
            description: format!("Does jobs of the type {kind}."),
            tags: vec!["task".to_owned(), kind.to_owned()],
            ..skill(kind)
        })
        .collect();
    if skills.is_empty() {
        skills.push(AgentSkill {
            description: "Answers messages.".to_owned(),
            tags: vec!["talk".to_owned()],
            ..skill("talk")
        });
    }
    let bearer = SecurityScheme::HttpAuth(HttpAuthSecurityScheme {
        scheme: "Bearer".to_owned(),
        description: Some("A token of the operator.".to_owned()),
        bearer_format: None,
    });
    AgentCard {
        name: target.name.clone(),
        description: format!(
            "The agent {} at the address {} of an AITBC chain. {privacy}",
            target.name, target.address
        ),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        supported_interfaces: vec![
            AgentInterface::new(url.clone(), a2a::TRANSPORT_PROTOCOL_JSONRPC),
            AgentInterface::new(url, a2a::TRANSPORT_PROTOCOL_HTTP_JSON),
        ],
        capabilities: AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(true),
            extensions: None,
            extended_agent_card: Some(true),
        },
        default_input_modes: text(),
        default_output_modes: text(),
        skills,
        provider: None,
        documentation_url: None,
        icon_url: None,
        security_schemes: Some(HashMap::from([("bearer".to_owned(), bearer)])),
        security_requirements: Some(vec![HashMap::from([("bearer".to_owned(), Vec::new())])]),
        signatures: None,
    }
}

fn skill(name: &str) -> AgentSkill {
    AgentSkill {
        id: name.to_owned(),
        name: name.to_owned(),
        description: String::new(),
        tags: Vec::new(),
        examples: None,
        input_modes: None,
        output_modes: None,
        security_requirements: None,
    }
}
