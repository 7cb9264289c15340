//! `agentry new`: writes a project that runs.
//!
//! The files of a project are those of `new/python`, or of `examples/own-behaviour`, under another
//! name. A Python project gets a copy of the Python package, so that it needs nothing from the network.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agentry_protocol::AgentName;
use clap::Args;
use serde_json::json;

use super::{Context, ExitCode, Failure};

/// Arguments of `new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    #[command(flatten)]
    kind: Kind,
    /// For --rust: a checkout of agentry to build with [default: its repository]
    #[arg(long, value_name = "DIR", requires = "rust")]
    agentry: Option<PathBuf>,
}

/// The language and the name.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Kind {
    /// An agent in Python, of this name
    #[arg(long, value_name = "NAME", value_parser = name)]
    python: Option<String>,
    /// An agent with a behaviour in Rust, of this name
    #[arg(long, value_name = "NAME", value_parser = name)]
    rust: Option<String>,
}

/// The files of a Python project; those of the package are in its folder `agentry`.
const PYTHON: [(&str, &str); 7] = [
    ("agents.toml", include_str!("new/python/agents.toml")),
    ("agent.py", include_str!("new/python/agent.py")),
    ("agent.json", include_str!("new/python/agent.json")),
    ("test_agent.py", include_str!("new/python/test_agent.py")),
    ("conftest.py", include_str!("new/python/conftest.py")),
    ("README.md", include_str!("new/python/README.md")),
    (".gitignore", include_str!("new/python/gitignore")),
];

/// The name of the agent in the files of a Python project.
const PYTHON_NAME: &str = "greeter";

macro_rules! package {
    ($($file:literal),* $(,)?) => {
        [$((
            concat!("agentry/", $file),
            include_str!(concat!("../../python/src/agentry/", $file)),
        )),*]
    };
}

/// The files of the Python package.
const PACKAGE: [(&str, &str); 13] = package![
    "__init__.py",
    "agent.py",
    "behaviour.py",
    "context.py",
    "lines.py",
    "llm.py",
    "model.py",
    "py.typed",
    "pytest_plugin.py",
    "serve.py",
    "testing.py",
    "times.py",
    "wire.py",
];

macro_rules! example {
    ($($file:literal),* $(,)?) => {
        [$(($file, include_str!(concat!("../../examples/own-behaviour/", $file)))),*]
    };
}

/// The files of a Rust project.
const RUST: [(&str, &str); 7] = example![
    "Cargo.toml",
    "Cargo.lock",
    "agents.toml",
    "src/lib.rs",
    "src/main.rs",
    "tests/configuration.rs",
    "tests/reminder.rs",
];

/// The name of the package in the files of a Rust project.
const RUST_NAME: &str = "own-behaviour";

/// What version control leaves out of a Rust project.
const RUST_IGNORES: &str = "/target\n/keystore\n/devnet\n/agentry.db*\n";

/// The longest name, so that wallets, packages and folders can have it.
const LONGEST: usize = 40;

/// Checks a name: a wallet, a folder, an agent and a package have it.
fn name(text: &str) -> Result<String, String> {
    text.parse::<AgentName>()
        .map_err(|error| error.to_string())?;
    let fits = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
    };
    if text.len() > LONGEST
        || !text.starts_with(|first: char| first.is_ascii_lowercase())
        || text.ends_with('-')
        || !text.chars().all(fits)
    {
        return Err(format!(
            "a name has 1 to {LONGEST} of a-z 0-9 -, begins with a letter and does not end with -"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn run(args: &NewArgs, context: &Context) -> Result<(), Failure> {
    let (name, files) = match (&args.kind.python, &args.kind.rust) {
        (Some(name), _) => (name, python(name)?),
        (None, Some(name)) => (name, rust(name, args.agentry.as_deref())?),
        (None, None) => return Err(Failure::usage("give --python NAME or --rust NAME")),
    };
    let folder = Path::new(name);
    write(folder, &files)?;
    tell(name, &files, args.kind.rust.is_some(), context)
}

type Files = Vec<(String, String)>;

fn python(name: &str) -> Result<Files, Failure> {
    if name == "visitor" || name == "agentry" {
        return Err(Failure::usage(format!(
            "the project has something else that is called {name:?}; choose another name"
        )));
    }
    let files = PYTHON.iter().map(|(path, text)| {
        let text = text.replace(PYTHON_NAME, name);
        ((*path).to_owned(), text)
    });
    let package = PACKAGE.iter();
    let package = package.map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    Ok(files.chain(package).collect())
}

fn rust(name: &str, checkout: Option<&Path>) -> Result<Files, Failure> {
    if ["agentry", "agentry-sdk", "test"].contains(&name) {
        return Err(Failure::usage(format!(
            "a package that is called {name:?} cannot be built; choose another name"
        )));
    }
    let place = match checkout {
        None => format!("git = {:?}", env!("CARGO_PKG_REPOSITORY")),
        Some(path) => {
            let path = fs::canonicalize(path)
                .map_err(|error| Failure::io(format!("looking for {}", path.display()), &error))?;
            if !path.join("crates/sdk/Cargo.toml").is_file() {
                return Err(Failure::no_input(format!(
                    "{} is no checkout of agentry: it has no crates/sdk",
                    path.display()
                )));
            }
            let Some(path) = path.to_str().filter(|path| !path.contains(['"', '\\'])) else {
                return Err(Failure::data(format!(
                    "{} cannot be written into Cargo.toml: move the checkout to a plain path",
                    path.display()
                )));
            };
            format!("path = \"{path}")
        }
    };
    let module = name.replace('-', "_");
    let mut files: Files = RUST
        .iter()
        .map(|(path, text)| {
            let text = match *path {
                "Cargo.toml" => manifest(text, &place),
                _ => (*text).to_owned(),
            };
            let text = text
                .replace(RUST_NAME, name)
                .replace(&RUST_NAME.replace('-', "_"), &module);
            ((*path).to_owned(), text)
        })
        .collect();
    if checkout.is_none() {
        // Its packages of agentry have another source.
        files.retain(|(path, _)| path != "Cargo.lock");
    }
    files.push((".gitignore".to_owned(), RUST_IGNORES.to_owned()));
    files.push(("README.md".to_owned(), rust_readme(name)));
    Ok(files)
}

/// The manifest of a package outside of the repository. `place` stands for `path = "../..`.
fn manifest(text: &str, place: &str) -> String {
    let mut written = String::new();
    // The comment at the top is about the example.
    for line in text.lines().skip_while(|line| line.starts_with('#')) {
        let line = match line.split_once("path = \"../..") {
            None => line.to_owned(),
            Some((before, after)) if place.starts_with("path") => format!("{before}{place}{after}"),
            Some((before, after)) => {
                let rest = after.split_once('"').map_or("", |(_, rest)| rest);
                format!("{before}{place}{rest}")
            }
        };
        written.push_str(&line);
        written.push('\n');
    }
    written
}

fn rust_readme(name: &str) -> String {
    format!(
        "# {name}\n\n\
         A behaviour for [agentry]({}), and the binary that hosts agents with it.\n\n\
         ```sh\n\
         cargo run -- dev     # a node of your own, and the agents of agents.toml\n\
         cargo test           # with crashes, repeated messages and lost transactions\n\
         ```\n\n\
         Type `remind 10 the tea`, and see what the agent answers. docs/writing-behaviours.md of \
         agentry explains `src/lib.rs`.\n",
        env!("CARGO_PKG_REPOSITORY")
    )
}

/// Writes the files into a new folder. If that fails, nothing of it is left.
fn write(folder: &Path, files: &Files) -> Result<(), Failure> {
    fs::create_dir(folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(
            ExitCode::CannotCreate,
            format!(
                "{} exists already, and nothing was written; choose another name",
                folder.display()
            ),
        ),
        _ => Failure::io(format!("making the folder {}", folder.display()), &error),
    })?;
    let written = files.iter().try_for_each(|(path, text)| {
        let path = folder.join(path);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, text))
            .map_err(|error| Failure::io(format!("writing {}", path.display()), &error))
    });
    if written.is_err() {
        // The first error is the one to report.
        drop(fs::remove_dir_all(folder));
    }
    written
}

fn tell(name: &str, files: &Files, is_rust: bool, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    let start = if is_rust {
        "cargo run -- dev"
    } else {
        "agentry dev"
    };
    if out.is_json() {
        let paths: Vec<&String> = files.iter().map(|(path, _)| path).collect();
        return out.json(&json!({ "folder": name, "files": paths, "start": start }));
    }
    out.line(format!(
        "wrote {name}/ with {} files; start it with\n\n    cd {name}\n    {start}\n\n\
         {name}/README.md says what is in it.",
        files.len()
    ))
}
