//! `agentry agent show`.

use agentry_protocol::Timestamp;
use agentry_store::open_for_reading;
use agentry_store::read::Renewal;
use clap::Args;
use serde_json::json;

use super::super::output::{moment, printable, printable_lines};
use super::super::{Context, Failure};
use super::card::{knowledge, until};
use crate::config::Config;
use crate::ops::directory;
use crate::runtime::clock::Clock;

/// Arguments of `agent show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// An address, or a name of agents.toml, of a wallet or of the directory
    #[arg(value_name = "ADDR|NAME")]
    who: String,
}

pub(super) fn run(args: &ShowArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let db = open_for_reading(&config.store.path)?;
    let found = directory::show(&db, &args.who, config)?;
    let now = Clock::default().now();
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({
            "address": found.address,
            "card": found.card,
            "contact": found.contact,
            "hosted": found.hosted_as,
            "renews_at": found.renewal.map(|renewal| renewal.due_at),
            "same_name": found.same_name,
            "directory": found.coverage,
        }));
    }
    let Some(line) = found.card else {
        return Err(Failure::no_input(format!(
            "{} has no card in the directory; {}{}",
            args.who,
            knowledge(&found.coverage),
            found.renewal.map_or_else(String::new, |renewal| format!(
                ". It is registered: {}",
                renewal_text(&renewal, now)
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
    fields.extend(line.schemas.iter().map(|(cmd, schema)| {
        let schema = format!("{cmd} {schema}");
        ("schema", printable(&schema, 400))
    }));
    fields.extend(line.endpoints.iter().map(|endpoint| {
        let place = format!("{} {}", endpoint.protocol, endpoint.url);
        ("endpoint", printable(&place, 400))
    }));
    let expired = if line.expired { "expired " } else { "" };
    fields.push((
        "expires",
        format!(
            "{} ({expired}{})",
            moment(line.expires),
            until(line.expires, now)
        ),
    ));
    fields.push((
        "announced",
        format!(
            "{} ({})",
            moment(line.announced),
            until(line.announced, now)
        ),
    ));
    fields.push(("block", line.height.to_string()));
    fields.push(("transaction", line.transaction));
    if let Some(contact) = found.contact {
        fields.push(("contact", contact));
    }
    if let Some(agent) = found.hosted_as {
        fields.push(("hosted as", agent));
    }
    if let Some(renewal) = found.renewal {
        fields.push(("renewal", renewal_text(&renewal, now)));
    }
    if !found.same_name.is_empty() {
        let others: Vec<String> = found.same_name.iter().map(ToString::to_string).collect();
        fields.push((
            "same name",
            format!("{}: use the address", others.join(", ")),
        ));
    }
    out.fields(&fields)
}

fn renewal_text(renewal: &Renewal, now: Timestamp) -> String {
    let reason = renewal
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| {
            format!("; the last attempt failed: {}", printable(reason, 200))
        });
    format!("{}{reason}", until(renewal.due_at, now))
}

fn list(words: &[String]) -> String {
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}
