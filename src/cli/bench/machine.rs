//! The machine on which something is measured.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use super::measure::{Unit, percentile};
use super::pings::now;
use crate::cli::output::moment;

/// The facts about this machine that the figures depend on. A text is `unknown` where the system
/// does not tell. Other programs on the same cores, which the load shows, distort every figure.
pub(super) fn look(dir: &Path) -> io::Result<Vec<(&'static str, String)>> {
    let build = match cfg!(debug_assertions) {
        true => "debug build: its figures mean little",
        false => "release build",
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    Ok(vec![
        (
            "agentry",
            format!("{} ({build})", env!("CARGO_PKG_VERSION")),
        ),
        ("date", moment(now())),
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("cpu", field("/proc/cpuinfo", "model name")),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("system", format!("{os} {} {arch}", kernel.trim())),
        ("durable_write", durable_write(dir)?),
        ("load", load()),
    ])
}

/// The load average of the last minute.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    or_unknown(text.split(' ').next())
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    or_unknown(
        line.and_then(|line| line.split_once(':'))
            .map(|pair| pair.1),
    )
}

fn or_unknown(text: Option<&str>) -> String {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    text.unwrap_or("unknown").to_owned()
}

/// The median time of a durable write in a folder.
fn durable_write(dir: &Path) -> io::Result<String> {
    let path = dir.join("durable");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    fs::remove_file(path)?;
    Ok(Unit::Seconds.show(percentile(&mut times, 50).as_secs_f64()))
}
