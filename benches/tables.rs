//! `cargo bench --bench tables`: how long a start and a reload take with one `[[agent]]` table per
//! agent, whose wallets are in one vault, and with a `[[fleet]]` of the same size.
//! `AGENTRY_SCALE_AGENTS` adds another number of agents.

#[expect(dead_code, reason = "each benchmark uses a part of the common stage")]
mod stage;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stage::fleet::{Fleet, Place, ROUNDS};
use stage::process::Running;
use stage::{chain, report};

/// How often each is repeated.
const TIMES: usize = 5;

/// The numbers of agents.
const USUAL: [usize; 2] = [2_000, 10_000];

fn main() -> anyhow::Result<()> {
    if !report::is_asked_for() {
        return Ok(());
    }
    report::header("One table per agent: start and reload")?;
    let more = report::setting("AGENTRY_SCALE_AGENTS", USUAL[0])?;
    let mut rows = Vec::new();
    for agents in USUAL
        .into_iter()
        .chain((!USUAL.contains(&more)).then_some(more))
    {
        let dir = tempfile::tempdir()?;
        let fleet = Fleet::make(&dir.path().join("fleet"), agents, ROUNDS)?;
        chain::make(&dir.path().join("node"), fleet.allocations())?;
        let place = Place::db(&dir.path().join("node"), "http://127.0.0.1:9");
        for is_fleet in [false, true] {
            let (what, name) = match is_fleet {
                false => ("tables", "tables"),
                true => ("a fleet", "one"),
            };
            let configure = |name: &str| match is_fleet {
                false => fleet.configure_tables(name, &place),
                true => fleet.configure(name, &place),
            };
            let mut new = Vec::new();
            for number in 0..TIMES {
                new.push(Running::start(&configure(&format!("{name}{number}"))?)?.start_up);
            }
            let config = configure(&format!("{name}0"))?;
            let mut again = Vec::new();
            for _ in 0..TIMES {
                again.push(Running::start(&config)?.start_up);
            }
            let running = Running::start(&config)?;
            let mut reloads = Vec::new();
            for _ in 0..TIMES {
                reloads.push(reload(&config)?);
            }
            drop(running);
            for (case, times) in [
                ("the start, a new store", &mut new),
                ("the start, a store that knows them", &mut again),
                ("`agentry reload`, nothing changed", &mut reloads),
            ] {
                rows.push(vec![
                    agents.to_string(),
                    what.to_owned(),
                    case.to_owned(),
                    report::time(report::percentile(times, 50)),
                    report::time(report::percentile(times, 100)),
                ]);
            }
        }
    }
    report::table(&["agents", "as", "what", "median", "longest"], &rows);
    report::line(format!("Load average at the end: {}", report::load()));
    Ok(())
}

/// The time from the start of the command to its end.
fn reload(config: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_agentry"))
        .args(["reload", "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .status()?;
    anyhow::ensure!(status.success(), "the reload failed: {status}");
    Ok(began.elapsed())
}
