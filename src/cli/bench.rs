//! `agentry bench`: measures what a runtime costs on this machine, each figure beside its floor.
//!
//! Each row is measured by a process of its own, which this one starts: what one row leaves in
//! memory does not change the next, and a row that is stopped leaves nothing running.
//!
//! | module | holds |
//! |---|---|
//! | `answers` | the rows about answering messages |
//! | `idle` | the rows about starting, idling and reading |
//! | `limits` | the row about a node that limits how often it is called |
//! | [`fleet`] | wallets in a vault, and runtimes that host them |
//! | [`pings`] | messages to answer, and waiting for the answers |
//! | `process` | this program in processes of their own |
//! | `sink` | a node that accepts everything at once |
//! | `measure`, `machine` | a line of the table; the machine |

mod answers;
pub mod fleet;
mod idle;
mod limits;
mod machine;
mod measure;
pub mod pings;
mod process;
mod sink;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use indicatif::ProgressBar;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use self::fleet::{FEW_ROUNDS, Fleet};
use self::measure::Measure;
use super::interrupt::Signals;
use super::{Context, ExitCode, Failure, logging, runtime};

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Only this row; may be given several times [default: all rows]
    #[arg(long, value_name = "ROW", value_parser = names())]
    only: Vec<String>,
    /// Smaller sizes, for a run of about two minutes
    #[arg(long)]
    quick: bool,
    /// The folder for temporary files; its disk is measured [default: that of the system]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The smallest sizes, which show only that every row can be measured
    #[arg(long, hide = true, conflicts_with = "quick")]
    tiny: bool,
    /// Measures one row, in this folder, and prints it for the process that shows the table
    #[arg(long, hide = true, requires = "only")]
    worker: Option<PathBuf>,
}

/// Measures the lines of a row.
type Measuring = fn(&Bench<'_>) -> anyhow::Result<Vec<Measure>>;

/// The rows. `docs/performance.md` describes them.
const ROWS: [(&str, Measuring); 14] = [
    ("throughput", answers::throughput),
    ("alone", answers::alone),
    ("http", answers::http),
    ("latency", answers::latency),
    ("limits", limits::limits),
    ("read", idle::read),
    ("memory", idle::memory),
    ("start", idle::start),
    ("idle", idle::idle),
    ("cost-agents", answers::cost_agents),
    ("cost-store", answers::cost_store),
    ("cost-sender", answers::cost_sender),
    ("size", answers::size),
    ("restart", idle::restart),
];

/// How long a row may take, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(3 * 60 * 60);

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(ROWS.map(|(name, _)| name))
}

/// What the measuring code of a row is given.
struct Bench<'a> {
    /// An empty folder.
    dir: &'a Path,
    args: &'a BenchArgs,
    tell: &'a dyn Fn(Told),
}

/// What the process that measures a row prints, line by line.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// What it is doing now.
    Doing(String),
    /// The row.
    Measured(Vec<Measure>),
    /// Why there is none.
    Failed(String),
}

impl Bench<'_> {
    /// Shows what is going on.
    fn say(&self, doing: &str) {
        (self.tell)(Told::Doing(doing.to_owned()));
    }

    /// A size in a full run, or in a quick one.
    fn scaled(&self, full: usize, quick: usize) -> usize {
        match (self.args.quick, self.args.tiny) {
            (true, _) => quick,
            (_, true) => quick.div_ceil(100),
            _ => full,
        }
    }

    /// How many messages are answered. A sink puts no answer in a block, and the runtime follows
    /// 20,000 transactions at most until they are in one.
    fn messages(&self) -> usize {
        self.scaled(15_000, 5_000)
    }

    /// How many agents answer them.
    fn agents(&self) -> usize {
        self.scaled(1_000, 500)
    }

    /// How many agents there are where they are many.
    fn crowd(&self) -> usize {
        self.scaled(100_000, 5_000)
    }

    /// How long a runtime that is idle is watched.
    fn period(&self) -> Duration {
        Duration::from_millis(self.scaled(60_000, 5_000) as u64)
    }

    /// Wallets whose vault has few rounds of key derivation.
    fn fleet(&self, name: &str, agents: usize) -> anyhow::Result<Fleet> {
        self.say(&format!("making wallets: {agents}"));
        Fleet::make(&self.dir.join(name), agents, FEW_ROUNDS)
    }
}

pub(super) fn run(args: &BenchArgs, context: &Context) -> Result<(), Failure> {
    match &args.worker {
        Some(dir) => work(args, dir, context),
        None => runtime()?.block_on(in_folder(args, context)),
    }
}

/// Measures one row, and tells the process that shows it.
fn work(args: &BenchArgs, dir: &Path, context: &Context) -> Result<(), Failure> {
    let tell = |told: Told| drop(context.output.json(&told));
    let bench = Bench {
        dir,
        args,
        tell: &tell,
    };
    let row = ROWS
        .iter()
        .find(|(name, _)| args.only.iter().any(|only| only == name));
    let measured = row.map(|(name, measure)| {
        let mut measures = measure(&bench)?;
        let rows = measures.iter_mut().map(|measure| &mut measure.row);
        rows.for_each(|row| (*name).clone_into(row));
        anyhow::Ok(measures)
    });
    tell(match measured {
        Some(Ok(measures)) => Told::Measured(measures),
        Some(Err(error)) => Told::Failed(format!("{error:#}")),
        None => Told::Failed("no such row".to_owned()),
    });
    Ok(())
}

/// Measures in a temporary folder, which is removed also after a signal.
async fn in_folder(args: &BenchArgs, context: &Context) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let place = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new()
        .prefix("agentry-bench-")
        .tempdir_in(&place)
        .map_err(|error| Failure::io(format!("making a folder in {}", place.display()), &error))?;
    tokio::select! {
        measured = measure_all(args, folder.path(), context) => {
            remove(folder.path());
            measured
        }
        signal = signals.next() => {
            remove(folder.path());
            std::process::exit(128 + signal.as_raw_value())
        }
    }
}

async fn measure_all(args: &BenchArgs, folder: &Path, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    let looking = |error| Failure::io(format!("writing to {}", folder.display()), &error);
    let mut machine = machine::look(folder).map_err(looking)?;
    if !out.is_json() {
        out.fields(&machine)?;
    }
    let is_asked_for =
        |name: &&str| args.only.is_empty() || args.only.iter().any(|one| one == name);
    let rows: Vec<&str> = ROWS
        .iter()
        .map(|(name, _)| *name)
        .filter(is_asked_for)
        .collect();
    let bar = out.progress(rows.len() as u64, "");
    let (mut measures, mut failed) = (Vec::new(), Vec::new());
    for row in rows {
        match measure(row, args, folder, &bar).await {
            Ok(found) => measures.extend(found),
            Err(failure) => failed.push(format!("row {row}: {}", failure.message)),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    machine.push(("load_at_end", machine::load()));
    if out.is_json() {
        let texts = machine
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text.into()));
        let machine: Map<String, Value> = texts.collect();
        out.json(&json!({ "machine": machine, "measures": measures, "failed": failed }))?;
    } else {
        out.fields(&machine[machine.len() - 1..])?;
        out.line("")?;
        let headings = ["row", "what", "figure", "ratio", "beside", "its figure"];
        let cells: Vec<_> = measures.iter().map(Measure::cells).collect();
        out.table(&headings, &cells)?;
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(ExitCode::Failed, failed.join("\n"))),
    }
}

/// Measures a row in a process of its own.
async fn measure(
    row: &str,
    args: &BenchArgs,
    folder: &Path,
    bar: &ProgressBar,
) -> Result<Vec<Measure>, Failure> {
    bar.set_message(row.to_owned());
    let dir = folder.join(row);
    let io = |error| Failure::io(format!("in {}", folder.display()), &error);
    std::fs::create_dir(&dir).map_err(io)?;
    let command = process::own().map_err(|error| Failure::internal(error.to_string()))?;
    let mut child = tokio::process::Command::from(command)
        .args(["bench", "--json", "--only", row, "--worker"])
        .arg(&dir)
        .args(args.quick.then_some("--quick"))
        .args(args.tiny.then_some("--tiny"))
        // Blocks come so fast that the runtime would warn about answers that seem to be missing.
        .env(logging::FILTER, "error")
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::io("starting agentry", &error))?;
    let group = Group(
        child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)),
    );
    let output = child.stdout.take();
    let output = output.ok_or_else(|| Failure::internal("a process has no output"))?;
    let mut lines = BufReader::new(output).lines();
    let read = async {
        while let Some(line) = lines.next_line().await.map_err(io)? {
            match serde_json::from_str(&line) {
                Ok(Told::Doing(doing)) => bar.set_message(format!("{row}: {doing}")),
                Ok(Told::Measured(measures)) => return Ok(measures),
                Ok(Told::Failed(reason)) => return Err(Failure::new(ExitCode::Failed, reason)),
                Err(error) => return Err(Failure::internal(format!("{line:?}: {error}"))),
            }
        }
        Err(Failure::internal("the process that measures it has ended"))
    };
    let measured = tokio::time::timeout(LIMIT, read).await;
    drop(group);
    remove(&dir);
    measured.unwrap_or_else(|_| Err(Failure::internal(format!("no end after {LIMIT:?}"))))
}

/// A process and all that it started; killed when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        // All of it may have ended already.
        let _ = self.0.map(|group| kill_process_group(group, Signal::KILL));
    }
}

/// Removes a folder. Processes that were just killed may still be writing to it.
fn remove(folder: &Path) {
    for _ in 0..20 {
        if std::fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
