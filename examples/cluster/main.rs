//! A cluster on this machine: `cargo run --release -p agentry-testbed --example cluster`.
//!
//! It starts a PostgreSQL primary with a synchronous standby, a node, three hosts and two workers, with
//! the real `agentry` binary, all on loopback. It sends pings and tasks while hosts are killed, and checks
//! that each was answered once: on the chain, in the logs, and in the tables of every host. The exit code
//! is 1 if anything was lost or answered twice.
//!
//! `… -- measure` measures what docs/cluster.md shows under "Numbers".
//!
//! It needs PostgreSQL 15 or later, which it finds where Debian's package puts it, or on the PATH; and
//! Linux. Ctrl-C stops everything and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a drill that cannot go on fails")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program for people"
)]

mod build;
mod drill;
mod measure;
mod progress;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use agentry_testbed::{binary, interrupt, is_interrupted, postgres};
use clap::{Args, Parser, Subcommand};

/// Ctrl-C, as shells report it.
const INTERRUPTED: u8 = 130;

/// Runs a cluster on this machine, kills hosts, and checks that each message was answered once.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    drill: drill::DrillOptions,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures the numbers of docs/cluster.md
    Measure(measure::MeasureOptions),
}

/// What both commands take.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Prints JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Repeats the random choices of another run: which hosts are killed, and when
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// The folder in which the chain, the stores and the logs are made; the system's folder for
    /// temporary files if absent. PostgreSQL's files are always there
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Keeps the chain, the stores and the logs
    #[arg(long, global = true)]
    keep: bool,
    /// The `agentry` binary to run; built first if absent
    #[arg(long, global = true)]
    binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match prepare(&options.common) {
        Ok(()) => {}
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    // What cannot go on panics; dropping what it has started stops all processes.
    std::panic::set_hook(Box::new(|panic| {
        if !is_interrupted() {
            eprintln!("error: {}", panic.payload_as_str().unwrap_or("unknown"));
        }
    }));
    let work = std::panic::catch_unwind(|| match &options.command {
        None => drill::run(&options.drill, &options.common),
        Some(Command::Measure(measure)) => measure::run(measure, &options.common),
    });
    match work {
        _ if is_interrupted() => {
            eprintln!("interrupted: everything is stopped");
            ExitCode::from(INTERRUPTED)
        }
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// Finds PostgreSQL and the binary, and has signals end what will run.
fn prepare(common: &Common) -> Result<(), String> {
    postgres::check().map_err(|error| error.to_string())?;
    if let Some(dir) = &common.dir {
        std::fs::create_dir_all(dir)
            .map_err(|error| format!("creating the folder {}: {error}", dir.display()))?;
    }
    let binary = match &common.binary {
        Some(path) => std::path::absolute(path).map_err(|error| error.to_string())?,
        None => build::binary()?,
    };
    if !binary.exists() {
        return Err(format!("the binary {} does not exist", binary.display()));
    }
    binary::choose(binary);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("listening for signals: {error}"))?;
    std::thread::spawn(move || runtime.block_on(listen()));
    Ok(())
}

/// Ends what runs here at the first SIGINT or SIGTERM.
async fn listen() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    interrupt();
    // Signals that follow are taken, too: stopping must not be stopped.
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Options;

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }
}
