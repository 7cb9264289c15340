//! The numbers of docs/cluster.md, measured on this machine.
//!
//! | module | rows |
//! |---|---|
//! | `failures` | hosts are killed, moved, frozen; primaries are killed; everything in random order |
//! | `load` | processor time of hosts and of the database under load |
//! | `latency` | what the log adds to the time of an answer |
//! | `workers` | a worker is killed |
//! | `machine` | the facts about the machine |

mod failures;
mod latency;
mod load;
mod machine;
mod workers;

use agentry_testbed::dice::Dice;
use agentry_testbed::fleet::setup;
use agentry_testbed::is_interrupted;
use agentry_testbed::world::Setup;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Common;
use super::progress::Progress;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Row {
    /// From the SIGKILL of a host to the first answer from elsewhere
    Kill,
    /// How long agents are silent while their shard moves
    Move,
    /// What is lost or answered twice in random failures
    Rounds,
    /// What an owner does that goes on past its lease
    Zombie,
    /// From a promotion to the first answer
    Primary,
    /// What the log adds to the time of an answer
    Latency,
    /// Processor time of a message, and that of the database
    Load,
    /// A worker is killed that runs a task
    Workers,
}

/// What is measured, and how often.
#[derive(Clone, Debug, Args)]
pub(super) struct MeasureOptions {
    /// The rows; all of them if absent
    #[arg(value_enum)]
    rows: Vec<Row>,
    /// How many hosts are killed
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// How often a host hands over everything, and takes it back
    #[arg(long, default_value_t = 10)]
    moves: usize,
    /// How many failures there are in random order
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// How many owners go on past their leases
    #[arg(long, default_value_t = 5)]
    zombies: usize,
    /// How many primaries are killed
    #[arg(long, default_value_t = 5)]
    failovers: usize,
    /// How many pings are timed, each on one machine and in a cluster
    #[arg(long, default_value_t = 300)]
    pings: usize,
    /// How many messages are a load
    #[arg(long, default_value_t = 5_000)]
    messages: usize,
    /// How often each load is repeated
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// How many workers are killed
    #[arg(long, default_value_t = 3)]
    workers: usize,
}

/// One line of the table.
#[derive(Clone, Debug)]
struct Figure {
    what: String,
    value: String,
    aim: String,
    /// None if there is no aim.
    is_reached: Option<bool>,
}

impl Figure {
    fn new(
        what: impl Into<String>,
        value: impl Into<String>,
        aim: impl Into<String>,
        is_reached: bool,
    ) -> Self {
        Self {
            what: what.into(),
            value: value.into(),
            aim: aim.into(),
            is_reached: Some(is_reached),
        }
    }

    /// A figure that explains others.
    fn only(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            value: value.into(),
            aim: String::new(),
            is_reached: None,
        }
    }

    fn reached(&self) -> &'static str {
        match self.is_reached {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        }
    }
}

/// What the rows share.
struct Bench<'a> {
    options: &'a MeasureOptions,
    common: &'a Common,
    dice: Dice,
    progress: Progress,
}

impl Bench<'_> {
    /// How clusters are set up here: they log what an operator's do.
    fn setup(&self) -> Setup {
        Setup {
            log: None,
            dir: self.common.dir.clone(),
            keep: self.common.keep,
            ..setup()
        }
    }

    fn measure(&mut self, row: Row) -> Vec<Figure> {
        match row {
            Row::Kill => self.kill(),
            Row::Move => self.moves(),
            Row::Rounds => self.rounds(),
            Row::Zombie => self.zombie(),
            Row::Primary => self.primary(),
            Row::Latency => self.latency(),
            Row::Load => self.load(),
            Row::Workers => self.workers(),
        }
    }
}

/// Measures the rows and prints the table. Returns whether all could be measured, and each aim about
/// lost and doubled answers was reached.
pub(super) fn run(options: &MeasureOptions, common: &Common) -> bool {
    let progress = Progress::begin();
    let seed = common.seed.unwrap_or_else(Dice::any_seed);
    let mut facts = machine::look(seed);
    let mut bench = Bench {
        options,
        common,
        dice: Dice::of(seed),
        progress,
    };
    let rows = match options.rows.as_slice() {
        [] => Row::value_variants(),
        rows => rows,
    };
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for row in rows {
        progress.say(&format!("measuring {row:?}"));
        let measured = std::panic::AssertUnwindSafe(|| bench.measure(*row));
        match std::panic::catch_unwind(measured) {
            Ok(measured) => figures.extend(measured.into_iter().map(|figure| (*row, figure))),
            Err(_) if is_interrupted() => return false,
            // The hook has said why.
            Err(_) => failed.push(*row),
        }
    }
    facts.push(("load after", machine::load()));
    print(&facts, &figures, common.json);
    for row in &failed {
        eprintln!("error: {row:?} was not measured; the reason is above");
    }
    let all_safe = figures.iter().all(|(row, figure)| {
        !matches!(row, Row::Rounds | Row::Zombie | Row::Workers) || figure.is_reached != Some(false)
    });
    failed.is_empty() && all_safe
}

fn name(row: Row) -> String {
    let value = row.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn print(facts: &[(&'static str, String)], figures: &[(Row, Figure)], as_json: bool) {
    if as_json {
        let machine: serde_json::Map<_, _> = facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect();
        let rows = figures.iter().map(|(row, figure)| {
            json!({ "row": name(*row), "what": figure.what, "measured": figure.value,
                    "aim": figure.aim, "reached": figure.is_reached })
        });
        let rows: Vec<_> = rows.collect();
        println!("{:#}", json!({ "machine": machine, "rows": rows }));
        return;
    }
    for (name, value) in facts {
        println!("{name:<12}{value}");
    }
    println!();
    println!("| row | what | measured | aim | reached |");
    println!("|---|---|---|---|---|");
    for (row, figure) in figures {
        println!(
            "| `{}` | {} | {} | {} | {} |",
            name(*row),
            figure.what,
            figure.value,
            figure.aim,
            figure.reached()
        );
    }
}
