//! A program's entries in agentry's log.

use std::fmt::Debug;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{ask, build_in, reply, sh, with};

/// An entry of the log: level, program, text.
type Entry = (Level, String, String);

static LOG: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// Keeps every entry of this process.
struct Keeps;

impl Subscriber for Keeps {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut read = Reads::default();
        event.record(&mut read);
        let entry = (*event.metadata().level(), read.program, read.message);
        LOG.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Reads {
    program: String,
    message: String,
}

impl Visit for Reads {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "program" {
            self.program = value.to_owned();
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "program" => self.program = format!("{value:?}").replace('"', ""),
            _ => {}
        }
    }
}

/// The entries of a program with this name, once this text is among them.
async fn said(program: &str, last: &str) -> Vec<(Level, String)> {
    let begun = Instant::now();
    loop {
        let log = LOG.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of_it: Vec<(Level, String)> = log
            .into_iter()
            .filter(|(_, named, _)| named.ends_with(program))
            .map(|(level, _, text)| (level, text))
            .collect();
        if of_it.iter().any(|(_, text)| text.contains(last)) {
            return of_it;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{last:?} is not in the log: {of_it:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The entries of a program that is a script in sh, once this text is among them.
async fn log_of(script: &str, last: &str) -> Vec<(Level, String)> {
    log_of_declared(script, None, last).await
}

/// The same, of a program whose declaration is in a file.
async fn log_of_declared(
    script: &str,
    declaration: Option<&str>,
    last: &str,
) -> Vec<(Level, String)> {
    static SUBSCRIBE: Once = Once::new();
    SUBSCRIBE.call_once(|| tracing::subscriber::set_global_default(Keeps).unwrap());
    let folder = tempfile::tempdir().unwrap();
    // A unique name, to tell its entries from those of other tests.
    let name = format!("{}/it", folder.path().display());
    std::os::unix::fs::symlink("/bin/sh", &name).unwrap();
    let mut settings = with(sh(script), "program", json!(name));
    if let Some(declaration) = declaration {
        std::fs::write(folder.path().join("it.json"), declaration).unwrap();
        settings = with(settings, "declared", "it.json");
    }
    let behaviour = build_in(folder.path(), &settings).unwrap();
    assert_eq!(reply(&ask(&behaviour, "hello").await.unwrap()), "done");
    said(&name, last).await
}

#[tokio::test]
async fn lines_on_the_standard_error_and_lines_of_the_protocol_are_entries() {
    let script = r#"
        echo 'before it is ready' >&2
        ready; event
        printf 'red \033[31m, and \377\n' >&2
        echo '{"type":"log","message":"plain"}'
        for level in error warn info debug; do
            echo "{\"type\":\"log\",\"level\":\"$level\",\"message\":\"an entry\"}"
        done
        printf 'without an end' >&2
        answer done
        exec 2>&-
        event
    "#;
    let log = log_of(script, "without an end").await;
    let has = |level: Level, text: &str| log.contains(&(level, text.to_owned()));
    assert!(has(Level::INFO, "the program was started"), "{log:?}");
    assert!(has(Level::INFO, "before it is ready"), "{log:?}");
    assert!(has(Level::INFO, "red \\u{1b}[31m, and \u{fffd}"), "{log:?}");
    assert!(has(Level::INFO, "plain"), "{log:?}");
    for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG] {
        assert!(has(level, "an entry"), "{log:?}");
    }
}

#[tokio::test]
async fn a_flood_is_cut_and_reported() {
    // An entry after a flood is written as soon as the limit allows it.
    let script = r#"
        ready; event
        head -c 100000 /dev/zero | tr '\0' x >&2; echo >&2
        yes 'too much' | head -n 10000 >&2
        answer done
        while sleep 0.05; do echo 'the last word' >&2; done
    "#;
    let log = log_of(script, "the last word").await;
    let flood = log.iter().filter(|(_, text)| text == "too much").count();
    assert!((199..10_000).contains(&flood), "{flood}");
    assert!(log.contains(&(
        Level::WARN,
        "the program exceeded its limit of log entries; some were left out".to_owned()
    )));
    let longest = log.iter().map(|(_, text)| text.len()).max().unwrap();
    assert_eq!(longest, 2_000);
}

#[tokio::test]
async fn a_declaration_that_is_not_that_of_the_file_is_reported() {
    let script = |declares: &str| {
        format!(
            r#"
            echo '{{"type":"ready","protocol":1,"declares":{declares}}}'; event
            answer done
            echo 'the last word' >&2
            "#
        )
    };
    let file = r#"{"protocol":1,"texts":true}"#;
    for (declares, differs) in [
        (r#"{"protocol":1,"texts":true,"answers":false}"#, false),
        (r#"{"protocol":1,"texts":true,"answers":true}"#, true),
    ] {
        let log = log_of_declared(&script(declares), Some(file), "the last word").await;
        let told = |(level, text): &(Level, String)| {
            *level == Level::WARN && text.contains("declares something else than the file")
        };
        assert_eq!(log.iter().any(told), differs, "{log:?}");
    }
}
