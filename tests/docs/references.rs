//! The references of commands and configuration keys match the program's own texts.

use std::fmt::Write;
use std::fs;

use agentry::cli::{Cli, ExitCode};
use agentry::config::keys::{Holds, TABLES, Table};
use agentry::doors::ErrorCode;
use clap::{Command, CommandFactory};

use crate::page::top;

const BEGIN: &str = "<!-- generated from here: UPDATE=1 cargo test --test docs -->\n";
const END: &str = "<!-- generated to here -->\n";

/// Compares the text between the marks of a page with the expected text, or, with `UPDATE=1`,
/// replaces it.
fn check(page: &str, expected: &str) {
    let path = top().join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has a begin mark");
    let (found, after) = rest.split_once(END).expect("the page has an end mark");
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    let first = found
        .lines()
        .zip(expected.lines())
        .find(|(found, expected)| found != expected);
    panic!(
        "{page} is out of date, first at {first:?} (the page, the program); \
         `UPDATE=1 cargo test --test docs` updates it"
    );
}

#[test]
fn the_openapi_document_is_current() {
    let path = top().join("docs/openapi.json");
    let expected = agentry::doors::api::openapi::text();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/openapi.json is out of date; `UPDATE=1 cargo test --test docs` updates it"
    );
}

#[test]
fn each_code_of_an_error_is_explained() {
    let page = fs::read_to_string(top().join("docs/http.md")).unwrap();
    for code in ErrorCode::ALL {
        let (status, word) = (code.status().to_string(), format!("`{}`", code.as_str()));
        let row = page
            .lines()
            .find(|line| line.starts_with("| ") && line.contains(&word));
        let row = row.unwrap_or_else(|| panic!("docs/http.md does not name {word}"));
        assert!(row.contains(&status), "{row}: {status}");
    }
}

#[test]
fn the_reference_of_commands_is_current() {
    let mut root = Cli::command().term_width(98);
    root.build();
    let mut text = String::new();
    describe(&root, &mut Vec::new(), &mut text);
    check("docs/commands.md", &text);
}

fn describe(command: &Command, path: &mut Vec<String>, text: &mut String) {
    path.push(command.get_name().to_owned());
    let depth = path.len();
    writeln!(
        text,
        "\n{} `{}`\n",
        "#".repeat(depth.min(2) + 1),
        path.join(" ")
    )
    .unwrap();
    let mut shown = command.clone().term_width(98);
    // The options of every command are listed once, with the first command.
    if depth > 1 {
        for every in ["config", "set", "json", "help"] {
            if shown
                .get_arguments()
                .any(|argument| argument.get_id() == every)
            {
                shown = shown.mut_arg(every, |argument| argument.hide(true));
            }
        }
    }
    // An environment variable is named, but its current value is not shown.
    let names: Vec<String> = shown
        .get_arguments()
        .map(|argument| argument.get_id().to_string())
        .collect();
    for name in names {
        shown = shown.mut_arg(name, |argument| argument.hide_env_values(true));
    }
    let help = shown.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    writeln!(text, "```text\n{}\n```", help.join("\n").trim_end()).unwrap();
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help" && !inner.is_hide_set())
    {
        describe(inner, path, text);
    }
    path.pop();
}

#[test]
fn the_table_of_exit_codes_is_current() {
    let mut text = String::from("| code | | |\n|---|---|---|\n");
    for code in ExitCode::ALL {
        let (number, word, meaning) = (code as u8, code.word(), code.meaning());
        writeln!(text, "| {number} | {word} | {meaning} |").unwrap();
    }
    check("docs/operating.md", &text);
}

#[test]
fn the_reference_of_configuration_keys_is_current() {
    let mut text = String::new();
    for table in TABLES {
        describe_table(table, &mut text);
    }
    check("docs/configuration.md", &text);
}

fn describe_table(table: &Table, text: &mut String) {
    let (open, close) = if table.repeated {
        ("[[", "]]")
    } else {
        ("[", "]")
    };
    writeln!(
        text,
        "\n## `{open}{}{close}`: {}\n",
        table.name, table.about
    )
    .unwrap();
    writeln!(
        text,
        "| key | type | default | description |\n|---|---|---|---|"
    )
    .unwrap();
    for key in table.keys() {
        let default = match (key.default, key.holds) {
            (None, _) => String::new(),
            (Some(default), Holds::Integer) => format!("`{default}`"),
            (Some(""), Holds::List) => "`[]`".to_owned(),
            (Some(default), _) => format!("`\"{default}\"`"),
        };
        let about = key.about.replace('|', "\\|");
        writeln!(
            text,
            "| `{}` | {} | {default} | {about} |",
            key.name,
            holds(key.holds)
        )
        .unwrap();
    }
}

const fn holds(holds: Holds) -> &'static str {
    match holds {
        Holds::Text => "text",
        Holds::Integer => "whole number",
        Holds::Duration => "time, such as `\"30s\"`",
        Holds::Url => "URL",
        Holds::Path => "path",
        Holds::List => "list of texts",
        Holds::Boolean => "true or false",
        Holds::Word => "word",
        Holds::Tables => "list of tables",
    }
}
