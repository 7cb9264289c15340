//! `agentry agent show`.

use agentry_protocol::Address;
use agentry_store::read::{AnnouncedCard, Renewal};
use agentry_store::{Reader, open_for_reading, read};
use clap::Args;
use serde_json::json;

use super::super::output::{moment, printable, printable_lines};
use super::super::who::resolve;
use super::super::{Context, Failure};
use super::card::{CardLine, knowledge, knowledge_json, until};
use crate::config::Config;
use crate::runtime::clock::Clock;

/// Arguments of `agent show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// An address, or a name of agents.toml, of a wallet or of the directory
    #[arg(value_name = "ADDR|NAME")]
    who: String,
}

pub(super) fn run(args: &ShowArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let now_ms = Clock::default().now_ms();
    let db = open_for_reading(&config.store.path)?;
    let surveyed = read::surveyed(&db)?;
    let address = meant(&args.who, config, &db)?;
    let found = read::card(&db, &address)?;
    let agents = read::agents(&db)?;
    let hosted_as = agents.iter().find(|agent| agent.address == address);
    let renewal = match hosted_as {
        Some(agent) => read::renewal(&db, agent.id)?,
        None => None,
    };
    let contact = config
        .contacts
        .iter()
        .find(|contact| contact.address == address)
        .map(|contact| contact.name.to_string());
    let others = match &found {
        Some(found) => same_name(found, now_ms, &db)?,
        None => Vec::new(),
    };
    let line = found.map(|found| CardLine::new(&found, now_ms));
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({
            "address": address,
            "card": line,
            "contact": contact,
            "hosted": hosted_as.map(|agent| &agent.name),
            "renews_at": renewal.map(|renewal| renewal.due_at),
            "same_name": others,
            "directory": knowledge_json(&surveyed),
        }));
    }
    let Some(line) = line else {
        return Err(Failure::no_input(format!(
            "{} has no card in the directory; {}{}",
            args.who,
            knowledge(&surveyed),
            renewal.map_or_else(String::new, |renewal| format!(
                ". It is registered: {}",
                renewal_text(&renewal, now_ms)
            )),
        )));
    };
    let mut fields = vec![
        ("name", line.name.clone()),
        ("address", line.address),
        ("key", line.public_key),
        (
            "sealing key",
            line.enc_key
                .unwrap_or_else(|| "none: it accepts no sealed messages".to_owned()),
        ),
    ];
    if let Some(description) = &line.description {
        fields.push(("description", printable_lines(description, 1024)));
    }
    fields.push(("capabilities", list(&line.capabilities)));
    fields.push(("commands", list(&line.commands)));
    let expired = if line.expired { "expired " } else { "" };
    fields.push((
        "expires",
        format!(
            "{} ({expired}{})",
            moment(line.expires),
            until(line.expires, now_ms)
        ),
    ));
    fields.push((
        "announced",
        format!(
            "{} ({})",
            moment(line.announced),
            until(line.announced, now_ms)
        ),
    ));
    fields.push(("block", line.height.to_string()));
    fields.push(("transaction", line.transaction));
    if let Some(contact) = contact {
        fields.push(("contact", contact));
    }
    if let Some(agent) = hosted_as {
        fields.push(("hosted as", agent.name.clone()));
    }
    if let Some(renewal) = renewal {
        fields.push(("renewal", renewal_text(&renewal, now_ms)));
    }
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        fields.push((
            "same name",
            format!("{}: use the address", others.join(", ")),
        ));
    }
    out.fields(&fields)
}

fn renewal_text(renewal: &Renewal, now_ms: u64) -> String {
    let reason = renewal
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| {
            format!("; the last attempt failed: {}", printable(reason, 200))
        });
    format!("{}{reason}", until(renewal.due_at, now_ms))
}

fn list(words: &[String]) -> String {
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

/// Other agents that have announced the card's name in a valid card.
fn same_name(found: &AnnouncedCard, now_ms: u64, db: &Reader) -> Result<Vec<Address>, Failure> {
    let named = read::cards_named(db, found.card.card.name.as_str())?;
    Ok(named
        .into_iter()
        .map(|other| other.card)
        .filter(|other| {
            other.address != found.card.address && other.card.check_time(now_ms).is_ok()
        })
        .map(|other| other.address)
        .collect())
}

/// Resolves the argument. A name without a valid card means the agent whose card has expired.
fn meant(who: &str, config: &Config, db: &Reader) -> Result<Address, Failure> {
    let unknown = match resolve(who, config) {
        Ok(address) => return Ok(address),
        Err(failure) => failure,
    };
    let named = read::cards_named(db, who)?;
    match named.as_slice() {
        [one] => Ok(one.card.address.clone()),
        _ => Err(unknown),
    }
}
