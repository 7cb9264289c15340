//! `agentry simulate`: the test kit of the sdk for tests in other languages, over JSON lines.
//!
//! | part | what it is |
//! |---|---|
//! | `request` | what a test can ask for |
//! | `kill` | the behaviour `process`, whose program can be killed in a run |
//!
//! The Python package drives it (`agentry.testing`). What happens durably is decided by the runtime's
//! own state machine ([`agentry_sdk::testing`]); the programs are real processes, and the chain, the
//! clock and the peers are simulated.

use std::io::{BufRead, Write};
use std::panic::AssertUnwindSafe;

use agentry_sdk::testing::Simulation;
use clap::Args;
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Context, Failure, runtime};
use request::{Request, Stage};

mod kill;
mod request;

/// Arguments of `simulate`.
#[derive(Clone, Copy, Debug, Args)]
pub struct SimulateArgs {
    /// Determines the random faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The longest request, in bytes.
const LONGEST: usize = 4 << 20;

pub(super) fn run(args: SimulateArgs, context: &Context) -> Result<(), Failure> {
    // What breaks the rules of the test kit is answered, and not printed.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = runtime()?;
    let served = runtime.block_on(serve(args.seed, context));
    // A program may still be ending.
    runtime.shutdown_background();
    served
}

async fn serve(seed: u64, context: &Context) -> Result<(), Failure> {
    let mut stage = Stage::new(Simulation::new(seed), &context.registry);
    let mut lines = lines()?;
    while let Some(line) = lines.recv().await {
        let answer = match read(&line) {
            Err(reason) => json!({ "error": reason }),
            Ok(request) => match AssertUnwindSafe(stage.carry_out(request))
                .catch_unwind()
                .await
            {
                Ok(Ok(value)) => json!({ "ok": value }),
                Ok(Err(reason)) => json!({ "error": reason }),
                Err(panic) => json!({ "error": said(&*panic) }),
            },
        };
        // Not through the printer for people: whoever reads this is a program.
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{answer}").and_then(|()| out.flush());
        written.map_err(|error| Failure::io("writing an answer", &error))?;
    }
    Ok(())
}

fn read(line: &str) -> Result<Request, String> {
    if line.len() > LONGEST {
        return Err(format!("the line has more than {LONGEST} bytes"));
    }
    serde_json::from_str(line).map_err(|error| error.to_string())
}

/// What a panic says.
fn said(panic: &(dyn std::any::Any + Send)) -> Value {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    json!(text.unwrap_or("the simulation failed"))
}

/// The lines of standard input, which a thread reads: programs run on meanwhile.
fn lines() -> Result<mpsc::Receiver<String>, Failure> {
    let (sender, receiver) = mpsc::channel(1);
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("agentry-requests".to_owned())
        .spawn(read)
        .map_err(|error| Failure::io("starting a thread", &error))?;
    Ok(receiver)
}
