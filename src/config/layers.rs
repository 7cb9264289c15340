//! Merges defaults, file, environment and flags; the last layer that sets a key wins.
//!
//! The tables that occur once (`[chain]` …) are layered by the `config` crate, key by key, so
//! that each value keeps its origin. Agents, fleets and contacts are only in the file.

use std::collections::HashMap;

use config::{Config as Stack, Environment, Map, Source, ValueKind};

use super::document::{Entry, Given, Raw};
use super::error::{ConfigError, ConfigIssue, ConfigIssues, Origin, did_you_mean};
use super::keys::{self, TABLES, Table};
use super::stack::{Layer, from_value};

/// The prefix of each variable's name.
const PREFIX: &str = "AGENTRY";
/// The separator in a variable's name; keys contain single underscores.
const SEPARATOR: &str = "__";

/// A repeated table (`[[agent]]` …), with the location of its header.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) origin: Origin,
    pub(super) entries: Vec<Entry>,
}

impl Repeated {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Given> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.map(|entry| &entry.value)
    }

    /// Where the value of a key is; of a key that is not set, where the table is.
    pub(super) fn origin_of(&self, key: &str) -> &Origin {
        self.get(key).map_or(&self.origin, |given| &given.origin)
    }
}

/// All layers, merged.
#[derive(Debug)]
pub(super) struct Layers {
    values: HashMap<(&'static str, &'static str), Given>,
    /// Where each table of the file begins.
    headers: HashMap<&'static str, Origin>,
    /// The repeated tables, by their name.
    repeated: HashMap<&'static str, Vec<Repeated>>,
}

impl Layers {
    /// The value of a key of a table that occurs once.
    pub(super) fn get(&self, table: &'static str, key: &'static str) -> Option<&Given> {
        self.values.get(&(table, key))
    }

    /// The value of a key, if a layer above the defaults sets it.
    pub(super) fn explicit(&self, table: &'static str, key: &'static str) -> Option<&Given> {
        self.get(table, key)
            .filter(|given| given.origin != Origin::Default)
    }

    /// Replaces the default of a key.
    pub(super) fn set_default(&mut self, table: &'static str, key: &'static str, text: String) {
        if self.explicit(table, key).is_none() {
            self.values.insert((table, key), Given::default(text));
        }
    }

    /// The tables `[[table]]`, in order.
    pub(super) fn items(&self, table: &str) -> &[Repeated] {
        self.repeated.get(table).map_or(&[], Vec::as_slice)
    }

    /// Whether any layer above the defaults has the table.
    pub(super) fn has_table(&self, table: &str) -> bool {
        self.headers.contains_key(table)
            || self
                .values
                .iter()
                .any(|((name, _), given)| *name == table && given.origin != Origin::Default)
    }

    /// Where to report a key that is missing from a table.
    pub(super) fn header(&self, table: &str) -> Origin {
        self.headers
            .get(table)
            .cloned()
            .unwrap_or(Origin::File { line: 1, column: 1 })
    }
}

/// The layers above the file.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// The environment to read instead of the process's; for tests.
    pub environment: Option<HashMap<String, String>>,
    /// `table.key` and its value, as given by command-line flags; the last wins.
    pub flags: Vec<(String, String)>,
}

/// Merges all layers. Unknown tables and keys are reported.
///
/// # Errors
/// Only when the `config` crate itself fails, for example on a variable that is not Unicode.
pub(super) fn merge(
    root: Vec<Entry>,
    overlay: &Overlay,
    issues: &mut Vec<ConfigIssue>,
) -> Result<Layers, ConfigError> {
    let mut origins = Vec::new();
    let mut layers = Layers {
        values: HashMap::new(),
        headers: HashMap::new(),
        repeated: HashMap::new(),
    };
    let defaults = defaults(&mut origins);
    let file = file(root, &mut layers, &mut origins, issues);
    let environment = environment(overlay, &mut origins, issues)?;
    let flags = flags(overlay, &mut origins, issues);
    let merged = Stack::builder()
        .add_source(defaults)
        .add_source(file)
        .add_source(environment)
        .add_source(flags)
        .build()
        .map_err(crate_failed)?;
    if let ValueKind::Table(tables) = merged.cache.kind {
        for (name, value) in tables {
            let (Some(table), ValueKind::Table(values)) = (keys::table(&name), value.kind) else {
                continue;
            };
            for (name, value) in values {
                if let Some(key) = table.key(&name) {
                    layers
                        .values
                        .insert((table.name, key.name), from_value(value, &origins));
                }
            }
        }
    }
    Ok(layers)
}

fn crate_failed(error: impl std::fmt::Display) -> ConfigError {
    let origin = Origin::Environment {
        variable: format!("{PREFIX}{SEPARATOR}…"),
    };
    let issue = ConfigIssue::new(origin, error.to_string());
    ConfigError::Invalid(ConfigIssues::new(String::new(), vec![issue]))
}

fn defaults(origins: &mut Vec<Origin>) -> Layer {
    let mut layer = Layer(Map::new());
    for table in TABLES.iter().filter(|table| !table.repeated) {
        for key in table.keys() {
            if let Some(default) = key.default {
                let given = Given::default(default.to_owned());
                layer.put(table, key.name, given, origins);
            }
        }
    }
    layer
}

fn file(
    root: Vec<Entry>,
    layers: &mut Layers,
    origins: &mut Vec<Origin>,
    issues: &mut Vec<ConfigIssue>,
) -> Layer {
    let mut layer = Layer(Map::new());
    for entry in root {
        let Some(table) = keys::table(&entry.key) else {
            issues.push(unknown_table(&entry.key, entry.origin));
            continue;
        };
        match (table.repeated, entry.value.raw) {
            (true, Raw::List(items)) => {
                for item in items {
                    let Raw::Table(entries) = item.raw else {
                        let text = format!("`{0}` is a list of tables: write [[{0}]]", table.name);
                        issues.push(ConfigIssue::new(item.origin, text));
                        continue;
                    };
                    layers
                        .repeated
                        .entry(table.name)
                        .or_default()
                        .push(Repeated {
                            origin: item.origin,
                            entries,
                        });
                }
            }
            (false, Raw::Table(entries)) => {
                layers.headers.insert(table.name, entry.origin);
                for entry in entries {
                    known_key(table, entry, &mut layer, origins, issues);
                }
            }
            (repeated, _) => {
                let name = table.name;
                let header = if repeated {
                    format!("[[{name}]]")
                } else {
                    format!("[{name}]")
                };
                let text = format!("`{name}` is a table: write {header} on a line of its own");
                issues.push(ConfigIssue::new(entry.origin, text));
            }
        }
    }
    layer
}

fn known_key(
    table: &Table,
    entry: Entry,
    layer: &mut Layer,
    origins: &mut Vec<Origin>,
    issues: &mut Vec<ConfigIssue>,
) {
    let (table_name, key) = (table.name, &entry.key);
    let (origin, text) = match &entry.value.raw {
        _ if table.key(key).is_none() => (
            entry.origin,
            unknown_key(key, &format!("[{table_name}]"), table),
        ),
        Raw::Table(_) => (
            entry.origin,
            format!("`{table_name}.{key}` is one value, not a table"),
        ),
        Raw::TooLarge(text) | Raw::DateTime(text) => {
            let text = format!("`{table_name}.{key}` cannot be {text}");
            (entry.value.origin, text)
        }
        _ => return layer.put(table, key, entry.value, origins),
    };
    issues.push(ConfigIssue::new(origin, text));
}

fn unknown_table(name: &str, origin: Origin) -> ConfigIssue {
    let known = || TABLES.iter().map(|table| table.name);
    let text = format!(
        "unknown table `{name}`{}; known tables: {}",
        did_you_mean(name, known()),
        known().collect::<Vec<_>>().join(", ")
    );
    ConfigIssue::new(origin, text)
}

/// The message for an unknown key; `place` is the table, for example `[chain]`.
pub(super) fn unknown_key(key: &str, place: &str, table: &Table) -> String {
    format!(
        "unknown key `{key}` in {place}{}; known keys: {}",
        did_you_mean(key, table.names()),
        table.names().collect::<Vec<_>>().join(", ")
    )
}

fn environment(
    overlay: &Overlay,
    origins: &mut Vec<Origin>,
    issues: &mut Vec<ConfigIssue>,
) -> Result<Layer, ConfigError> {
    let found = Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(
            overlay
                .environment
                .clone()
                .map(|map| map.into_iter().collect()),
        )
        .collect()
        .map_err(crate_failed)?;
    let mut layer = Layer(Map::new());
    for (path, value) in found {
        let variable = format!(
            "{PREFIX}{SEPARATOR}{}",
            path.replace('.', SEPARATOR).to_uppercase()
        );
        let text = value.into_string().map_err(crate_failed)?;
        set_outside(
            &path,
            text,
            Origin::Environment { variable },
            &mut layer,
            origins,
            issues,
        );
    }
    Ok(layer)
}

fn flags(overlay: &Overlay, origins: &mut Vec<Origin>, issues: &mut Vec<ConfigIssue>) -> Layer {
    let mut layer = Layer(Map::new());
    for (path, value) in &overlay.flags {
        let origin = Origin::Flag {
            flag: format!("--set {path}"),
        };
        set_outside(path, value.clone(), origin, &mut layer, origins, issues);
    }
    layer
}

/// A `table.key` that the environment or a flag sets.
fn set_outside(
    path: &str,
    text: String,
    origin: Origin,
    layer: &mut Layer,
    origins: &mut Vec<Origin>,
    issues: &mut Vec<ConfigIssue>,
) {
    let (name, key) = path.split_once('.').unwrap_or((path, ""));
    match keys::table(name) {
        None => issues.push(unknown_table(name, origin)),
        Some(table) if table.repeated => {
            let text = if !table.inherited.is_empty() {
                format!("`{name}` can be set only in the file; [defaults] can be set here")
            } else {
                format!("`{name}` can be set only in the file")
            };
            issues.push(ConfigIssue::new(origin, text));
        }
        Some(table) if table.key(key).is_none() => {
            let text = unknown_key(key, &format!("[{name}]"), table);
            issues.push(ConfigIssue::new(origin, text));
        }
        Some(table) => layer.put(
            table,
            key,
            Given {
                raw: Raw::Text(text),
                origin,
            },
            origins,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    fn merged(text: &str, overlay: &Overlay) -> (Layers, Vec<ConfigIssue>) {
        let (root, mut issues) = document::read(text);
        let layers = merge(root, overlay, &mut issues).unwrap();
        (layers, issues)
    }

    fn overlay(variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Overlay {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        Overlay {
            environment: Some(own(variables).into_iter().collect()),
            flags: own(flags),
        }
    }

    #[test]
    fn the_last_layer_wins_and_keeps_its_origin() {
        let text = "[chain]\nrpc = \"http://file\"\nid = \"file\"\nsubmit = \"http://file\"\n";
        let over = overlay(
            &[
                ("AGENTRY__CHAIN__RPC", "http://env"),
                ("AGENTRY__CHAIN__ID", "env"),
                ("HOME", "/"),
            ],
            &[("chain.id", "flag")],
        );
        let (layers, issues) = merged(text, &over);
        assert!(issues.is_empty(), "{issues:?}");
        let said = |key| {
            let given = layers.get("chain", key).unwrap();
            let Raw::Text(text) = &given.raw else {
                panic!("{given:?}")
            };
            (text.clone(), given.origin.describe("f"))
        };
        assert_eq!(said("id"), ("flag".into(), "flag --set chain.id".into()));
        assert_eq!(
            said("rpc"),
            (
                "http://env".into(),
                "environment AGENTRY__CHAIN__RPC".into()
            )
        );
        assert_eq!(said("submit"), ("http://file".into(), "f:4:10".into()));
        assert_eq!(said("nonce"), ("timestamp".into(), "default".into()));
    }

    #[test]
    fn unknown_names_are_reported_in_every_layer() {
        let over = overlay(
            &[
                ("AGENTRY__CHAIN__RCP", "x"),
                ("AGENTRY__AGENT__FEE", "1"),
                ("AGENTRY_PASSWORD", "p"),
            ],
            &[("chian.id", "x"), ("chain", "x")],
        );
        let (_, issues) = merged("[chains]\n[store]\npth = \"x\"\n", &over);
        let texts: Vec<_> = issues.iter().map(|issue| issue.text.as_str()).collect();
        assert_eq!(texts.len(), 6, "{texts:#?}");
        let all = texts.join("\n");
        for part in [
            "`chains`; did you mean `chain`",
            "`path`",
            "`rpc`",
            "only in the file",
            "`chian`",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn a_table_is_present_when_any_layer_sets_a_key() {
        let has_devnet =
            |text: &str, overlay: &Overlay| merged(text, overlay).0.has_table("devnet");
        assert!(!has_devnet("", &overlay(&[], &[])));
        assert!(has_devnet("[devnet]\n", &overlay(&[], &[])));
        assert!(has_devnet("", &overlay(&[], &[("devnet.dir", "x")])));
    }
}
