//! `agentry ui`: opens the console.
//!
//! The code that signs a browser in is a secret for as long as it is valid. A browser that is started
//! with an address shows it to every user of the machine, in its list of arguments; so the browser gets
//! the path of a file that only its owner can read, and the file leads to the address. The code stands
//! after `#`, which browsers send to no server, and the page removes it from the address at once.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::global::About;
use super::{Context, ExitCode, Failure, runtime};
use crate::ops::OperationError;
use crate::ops::console::ConsoleCode;
use crate::ops::send::random_key;
use crate::runtime::control::{Client, ControlError};

/// How long the command waits for the browser: as long as the code is valid.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it asks whether the code was used.
const POLL: Duration = Duration::from_millis(100);

/// Arguments of `ui`.
#[derive(Clone, Copy, Debug, Args)]
pub struct UiArgs {
    /// Changes nothing: the console shows everything, and has no actions
    #[arg(long)]
    read_only: bool,
    /// Prints the address instead of opening a browser. It signs in whoever opens it first, within a
    /// minute
    #[arg(long)]
    print: bool,
}

pub(super) fn run(args: &UiArgs, context: &Context) -> Result<(), Failure> {
    let config = context.config_of(About::Anything)?;
    let client = Client::new(&config.store.path);
    runtime()?.block_on(async {
        let code = client.open_console(args.read_only).await;
        let code = code.map_err(|error| match error {
            ControlError::Refused(OperationError::Invalid(reason)) => {
                Failure::new(ExitCode::Config, reason)
            }
            error => error.into(),
        })?;
        if args.print {
            let address = code.address();
            return match context.output.is_json() {
                true => context.output.json(&json!({ "address": address })),
                false => context.output.line(address),
            };
        }
        open(&code, &client, context).await
    })
}

/// Opens the browser, and waits until it has signed in.
async fn open(code: &ConsoleCode, client: &Client, context: &Context) -> Result<(), Failure> {
    let page = Page::new(code)?;
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let started = Command::new(opener)
        .arg(&page.file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut started = started.map_err(|error| {
        let message = format!(
            "no browser can be opened: {opener}: {error}; `agentry ui --print` prints the address"
        );
        Failure::new(ExitCode::Unavailable, message)
    })?;
    let until = Instant::now() + PATIENCE;
    while client.console_waits(&code.code).await? {
        let failed = matches!(started.try_wait(), Ok(Some(status)) if !status.success());
        if failed || Instant::now() >= until {
            let message =
                "no browser has opened the console; `agentry ui --print` prints the address";
            return Err(Failure::new(ExitCode::Unavailable, message));
        }
        tokio::time::sleep(POLL).await;
    }
    match context.output.is_json() {
        true => context.output.json(&json!({ "opened": code.url })),
        false => context
            .output
            .line(format!("opened the console at {}", code.url)),
    }
}

/// A file that only its owner can read, and that leads a browser to the console. It is removed when this
/// is dropped.
struct Page {
    folder: PathBuf,
    file: PathBuf,
}

impl Page {
    fn new(code: &ConsoleCode) -> Result<Self, Failure> {
        let failed = |path: &Path, error: &std::io::Error| {
            Failure::io(format!("making {}", path.display()), error)
        };
        let word = random_key().map_err(|error| {
            Failure::new(ExitCode::System, format!("making a file name: {error}"))
        })?;
        // The folder of the user's session, where nobody else can make files, if there is one.
        let place = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let place = place.filter(|place| place.is_dir());
        let place = place.unwrap_or_else(std::env::temp_dir);
        let folder = place.join(format!("agentry-ui-{word}"));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| failed(&folder, &error))?;
        let page = Self {
            file: folder.join("console.html"),
            folder,
        };
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&page.file);
        let written = made.and_then(|mut file: File| {
            let address = code.address();
            write!(
                file,
                "<!doctype html><meta charset=\"utf-8\"><title>agentry</title>\n\
                 <meta name=\"referrer\" content=\"no-referrer\">\n\
                 <meta http-equiv=\"refresh\" content=\"0; url={address}\">\n"
            )
        });
        written.map_err(|error| failed(&page.file, &error))?;
        Ok(page)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // What cannot be removed holds a code that was used, or has expired.
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_dir(&self.folder);
    }
}
