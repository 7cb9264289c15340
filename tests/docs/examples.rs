//! The program accepts every command and configuration in the documentation.

use std::collections::BTreeSet;

use agentry::cli::Cli;
use agentry::config::{Config, Overlay, Source};
use agentry_sdk::{Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup};
use clap::Parser;
use clap::error::ErrorKind;

use crate::page::{pages, top};

/// A stand-in for the kind of examples/tally.rs, with any keys.
#[derive(Debug)]
struct Tally;

impl Behaviour for Tally {
    const KIND: &'static str = "tally";
    type Settings = serde_json::Map<String, serde_json::Value>;

    fn configure(_: Self::Settings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn accepts(&self, _: &Message) -> bool {
        false
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none())
    }
}

/// The ways a page may call the program.
const CALLS: [&str; 4] = [
    "agentry ",
    "cargo run --release -- ",
    "cargo run -- ",
    "cargo run --example tally -- ",
];

/// The words of a command line; quotes keep words together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut any = false;
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('\'' | '"', None) => {
                quote = Some(c);
                any = true;
            }
            (c, None) if c.is_whitespace() => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (c, None) => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

/// The part of a line that calls the program, without its name, the variables before it, and a
/// comment, a pipe or a redirection after it.
fn call(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches("$ ");
    let line = CALLS.iter().find_map(|call| {
        line.strip_prefix(call)
            .or_else(|| after_variables(line, call))
    })?;
    let end = [" # ", " | ", " > ", " && ", "   #"]
        .iter()
        .filter_map(|mark| line.find(mark))
        .min()
        .unwrap_or(line.len());
    Some(&line[..end])
}

fn after_variables<'a>(line: &'a str, call: &str) -> Option<&'a str> {
    let (before, after) = line.split_once(call)?;
    let all = before.split_whitespace().all(|word| {
        word.split_once('=')
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
            || ["sudo", "-u"].contains(&word)
    });
    (all && !before.is_empty()).then_some(after)
}

#[test]
fn every_command_line_is_accepted() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "sh") {
            let lines = block.text.replace("\\\n", " ");
            for line in lines.lines() {
                let Some(call) = call(line) else { continue };
                seen += 1;
                let arguments = std::iter::once("agentry".to_owned()).chain(words(call));
                if let Err(error) = Cli::try_parse_from(arguments)
                    && error.use_stderr()
                {
                    wrong.push(format!(
                        "{}:{}: {line}\n{error}",
                        page.path.display(),
                        block.line
                    ));
                }
            }
        }
    }
    assert!(seen > 0, "no page calls the program: the search is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The commands named in a text in backticks: `agentry queue list|show` names two.
fn named(text: &str) -> Vec<Vec<String>> {
    let Some(call) = text.strip_prefix("agentry ") else {
        return Vec::new();
    };
    // Replace placeholders.
    let hash = format!("0x{}", "0".repeat(64));
    let call = call.replace("HASH", &hash);
    let mut calls = vec![vec!["agentry".to_owned()]];
    for word in words(&call) {
        calls = calls
            .into_iter()
            .flat_map(|call| {
                word.split('|').map(move |word| {
                    let mut call = call.clone();
                    call.push(word.to_owned());
                    call
                })
            })
            .collect();
    }
    calls
}

#[test]
fn every_named_command_exists() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        for (number, line) in page.prose() {
            for call in line.split('`').skip(1).step_by(2).flat_map(named) {
                seen += 1;
                let Err(error) = Cli::try_parse_from(&call) else {
                    continue;
                };
                // A page can name a command without its required arguments.
                let named_alone = matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::MissingSubcommand
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                );
                if !named_alone {
                    let path = page.path.display();
                    wrong.push(format!("{path}:{number}: {}\n{error}", call.join(" ")));
                }
            }
        }
    }
    assert!(seen > 50, "no page names a command: the search is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names of all metrics, without the suffixes of samples.
fn metrics() -> BTreeSet<String> {
    // A host of a cluster shows all that one alone shows, and more.
    let metrics = agentry::runtime::metrics::Metrics::of_a_cluster();
    let text = metrics.encode().unwrap();
    // These are not exported before there is something to count.
    let later = [
        "agentry_tasks_ended",
        "agentry_task_tokens",
        "agentry_trace_spans",
        "agentry_coordinator_requests",
        "agentry_behaviour_runs",
        "agentry_behaviour_run_seconds",
        "agentry_task_run_seconds",
        "agentry_budget_spent_by",
        "agentry_shard_owner",
        "agentry_shard_epoch",
        "agentry_shard_records",
        "agentry_shard_followers",
        "agentry_shard_lag_records",
        "agentry_cluster_workers",
        "agentry_cluster_jobs_waiting",
        // A worker shows these.
        "agentry_worker_jobs_running",
        "agentry_worker_jobs_most",
        "agentry_worker_jobs_taken",
        "agentry_worker_jobs_ended",
    ];
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .chain(later)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_of_an_alert_exists() {
    let known = metrics();
    let rules = std::fs::read_to_string(top().join("docs/alerts.yml")).unwrap();
    let mut seen = BTreeSet::new();
    for line in rules.lines().filter(|line| line.contains("expr:")) {
        let words = line.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        for name in words.filter(|word| word.starts_with("agentry_")) {
            let name = name.trim_end_matches("_total").trim_end_matches("_bucket");
            assert!(known.contains(name), "{name}: {line}");
            seen.insert(name);
        }
    }
    assert!(seen.len() > 8, "{seen:?}");
}

#[test]
fn every_named_metric_exists() {
    let known = metrics();
    let mut seen = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        for (number, line) in page.prose() {
            for name in line.split('`').skip(1).step_by(2) {
                let is_metric = name.starts_with("agentry_")
                    && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                    && !["agentry_sdk", "agentry_behaviours"].contains(&name);
                if !is_metric {
                    continue;
                }
                seen += 1;
                // A counter's samples have a suffix that its name does not have.
                if !known.contains(name.trim_end_matches("_total")) {
                    wrong.push(format!("{}:{number}: {name}", page.path.display()));
                }
            }
        }
    }
    assert!(seen > 0, "no page names a metric: the search is broken");
    assert!(wrong.is_empty(), "no such metric:\n{}", wrong.join("\n"));
}

#[test]
fn every_configuration_is_valid() {
    let registry = agentry::builtins().with::<Tally>();
    let overlay = Overlay {
        environment: Some(std::collections::HashMap::new()),
        ..Overlay::default()
    };
    let mut seen = 0;
    for page in pages() {
        for block in page.blocks() {
            if block.language != "toml" || !block.text.contains("[chain]") {
                continue;
            }
            seen += 1;
            let source = Source::Text {
                path: top().join("agents.toml"),
                text: block.text,
            };
            if let Err(error) = Config::load(&source, &overlay, &registry) {
                panic!("{}:{}: {error}", page.path.display(), block.line);
            }
        }
    }
    assert!(
        seen > 0,
        "no page shows a configuration: the search is broken"
    );
}

#[test]
fn calls_are_found() {
    assert_eq!(call("agentry queue list"), Some("queue list"));
    assert_eq!(call("AGENTRY_LOG=debug agentry run  # loud"), Some("run "));
    assert_eq!(call("cargo run --release -- run"), Some("run"));
    assert_eq!(call("curl http://127.0.0.1:8070/agentry "), None);
    assert_eq!(words("a 'b c' \"d\" ''"), ["a", "b c", "d", ""]);
}

#[test]
fn the_example_is_the_one_that_compiles() {
    let example = std::fs::read_to_string(top().join("examples/tally.rs")).unwrap();
    let page = pages()
        .into_iter()
        .find(|page| page.path.ends_with("behaviours.md"))
        .unwrap();
    let shown: Vec<String> = page
        .blocks()
        .into_iter()
        .filter(|block| block.language == "rust")
        .map(|block| block.text)
        .collect();
    assert_eq!(
        shown,
        [example],
        "the program in docs/behaviours.md differs from examples/tally.rs"
    );
}
