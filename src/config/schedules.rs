//! The `schedules` of a behaviour: those of its own, and those in agents.toml.

use std::collections::HashSet;

use agentry_sdk::effects::MAX_STATE_KEY_BYTES;
use agentry_sdk::{AnyBehaviour, Missed, Schedule, When};

use super::document::{Entry, Given, Raw};
use super::error::{Origin, did_you_mean};
use super::values::Reader;
use crate::schedule::Scheduled;

const KEYS: [&str; 5] = ["name", "every", "cron", "zone", "missed"];

/// The schedules of a behaviour. `place` is, for example, `behaviour "poll" of agent "a"`, `origin`
/// where it stands, and `given` the value of its `schedules`.
pub(super) fn read(
    (place, origin): (&str, &Origin),
    behaviour: &dyn AnyBehaviour,
    given: Option<&Given>,
    reader: &mut Reader,
) -> Vec<Scheduled> {
    let own = behaviour.schedules().into_iter();
    let mut schedules: Vec<(Schedule, &Origin)> = own.map(|one| (one, origin)).collect();
    if let Some(given) = given {
        match (&given.raw, behaviour.takes_schedules()) {
            (_, false) => {
                let text = format!("{place}: a behaviour of this kind takes no `schedules`");
                reader.report(&given.origin, text);
            }
            (Raw::List(items), true) => {
                for item in items {
                    let read = table(place, item, reader);
                    schedules.extend(read.map(|schedule| (schedule, &item.origin)));
                }
            }
            (other, true) => {
                let text = format!(
                    "`schedules` of {place} must be a list of tables, for example \
                     [{{ every = \"1m\" }}], not {}",
                    other.what()
                );
                reader.report(&given.origin, text);
            }
        }
    }
    let mut names = HashSet::new();
    let mut found = Vec::with_capacity(schedules.len());
    for (schedule, origin) in schedules {
        let name = schedule.name.clone();
        if name.is_empty() || name.len() > MAX_STATE_KEY_BYTES {
            let text = format!(
                "{place}: the name of a schedule must have 1 to {MAX_STATE_KEY_BYTES} bytes"
            );
            reader.report(origin, text);
        } else if !names.insert(name.clone()) {
            let text = format!(
                "{place} has two schedules named {name:?}; give one of them another `name`"
            );
            reader.report(origin, text);
        } else {
            match Scheduled::new(schedule) {
                Ok(scheduled) => found.push(scheduled),
                Err(error) => reader.report(origin, format!("{place}, schedule {name:?}: {error}")),
            }
        }
    }
    found
}

/// A schedule's table. Its name is by default how its times are written.
fn table(place: &str, item: &Given, reader: &mut Reader) -> Option<Schedule> {
    let Raw::Table(entries) = &item.raw else {
        let text = format!(
            "a schedule of {place} must be a table, for example {{ every = \"1m\" }}, not {}",
            item.raw.what()
        );
        reader.report(&item.origin, text);
        return None;
    };
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let mut is_whole = true;
    for entry in entries {
        if !KEYS.contains(&entry.key.as_str()) {
            let hint = did_you_mean(&entry.key, KEYS);
            let text = format!("unknown key `{}` in a schedule of {place}{hint}", entry.key);
            reader.report(&entry.origin, text);
            is_whole = false;
        }
    }
    let mut text = |entry: &Entry| {
        let text = reader.read::<String>(&entry.key, &entry.value);
        is_whole &= text.is_some();
        text
    };
    let (name, cron) = (
        find("name").and_then(&mut text),
        find("cron").and_then(&mut text),
    );
    let zone = find("zone").and_then(&mut text);
    let missed = find("missed").and_then(&mut text);
    let every = find("every").map(|entry| (entry, reader.read("every", &entry.value)));
    let missed = match missed.as_deref() {
        None => Missed::default(),
        Some("skip") => Missed::Skip,
        Some("once") => Missed::Once,
        Some("all") => Missed::All,
        Some(other) => {
            let text = format!(
                "`missed` of a schedule of {place} must be \"skip\", \"once\" or \"all\", not {other:?}"
            );
            reader.report(&item.origin, text);
            return None;
        }
    };
    let (written, when) = match (every, cron) {
        (Some((entry, period)), None) if zone.is_none() => {
            let written = match &entry.value.raw {
                Raw::Text(text) => text.clone(),
                _ => String::new(),
            };
            (written, When::Every(period?))
        }
        (None, Some(expression)) => (expression.clone(), When::Cron { expression, zone }),
        (Some(_), None) => {
            let text = format!("a schedule of {place} has a `zone`, which only `cron` takes");
            reader.report(&item.origin, text);
            return None;
        }
        (None, None) if find("cron").is_some() => return None,
        _ => {
            let text = format!("a schedule of {place} must have one of `every` and `cron`");
            reader.report(&item.origin, text);
            return None;
        }
    };
    is_whole.then(|| Schedule {
        name: name.unwrap_or(written),
        when,
        missed,
    })
}
