//! A description of the machine, and tables of numbers.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::fs;
use std::time::Duration;

/// Whether the program was started by `cargo bench`. `cargo test --all-targets` starts it too, and
/// must not wait for a benchmark.
pub(crate) fn is_asked_for() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Prints a line.
pub(crate) fn line(text: impl std::fmt::Display) {
    println!("{text}");
}

/// Prints what is measured, where and when. Every benchmark begins with it.
pub(crate) fn header(title: &str) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?;
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned());
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("\n# {title}\n");
    println!(
        "{}; {cores} cores, {cpu}, {memory} of memory, Linux {}; load average {}\n",
        now()?,
        system.trim(),
        load()
    );
    Ok(())
}

/// The load of the machine: other processes distort every number.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

fn now() -> anyhow::Result<String> {
    let clock = rusqlite::Connection::open_in_memory()?;
    Ok(
        clock.query_row("SELECT strftime('%Y-%m-%d %H:%M UTC', 'now')", [], |row| {
            row.get(0)
        })?,
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Prints a table as Markdown.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
    println!();
}

/// A time, with three significant digits.
pub(crate) fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1_000.0 => format!("{micros:.1} µs"),
        ..10_000.0 => format!("{:.2} ms", micros / 1e3),
        ..1_000_000.0 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// A count per second.
pub(crate) fn rate(count: usize, time: Duration) -> String {
    format!("{:.0}/s", count as f64 / time.as_secs_f64())
}

/// The time that `percent` of the samples do not exceed (nearest rank).
pub(crate) fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let rank = (samples.len() * percent).div_ceil(100).max(1);
    samples.get(rank - 1).copied().unwrap_or_default()
}

/// A number from the environment, for shorter or longer runs.
pub(crate) fn setting(name: &str, default: usize) -> anyhow::Result<usize> {
    match std::env::var(name) {
        Ok(text) => text
            .replace('_', "")
            .parse()
            .map_err(|_| anyhow::anyhow!("{name}={text}: not a number")),
        Err(_) => Ok(default),
    }
}
