//! The facts about the machine that the figures depend on.

use std::fs;
use std::process::Command;

use agentry_testbed::binary;

/// The facts. A text is `unknown` where the system does not tell.
pub(super) fn look(seed: u64) -> Vec<(&'static str, String)> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism();
    let measured_by = match cfg!(debug_assertions) {
        true => "a debug build of the example",
        false => "a release build of the example",
    };
    let version = told(Command::new(binary::path()).arg("--version"));
    vec![
        ("binary", format!("{version}, {}", binary::path().display())),
        ("by", measured_by.to_owned()),
        (
            "date",
            told(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
        ),
        (
            "cores",
            cores.map_or("unknown".to_owned(), |cores| cores.to_string()),
        ),
        ("cpu", field("/proc/cpuinfo", "model name")),
        ("memory", field("/proc/meminfo", "MemTotal")),
        (
            "system",
            format!(
                "{} {} {}",
                std::env::consts::OS,
                kernel.trim(),
                std::env::consts::ARCH
            ),
        ),
        ("database", agentry_testbed::postgres::version()),
        ("load", load()),
        ("seed", seed.to_string()),
    ]
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

fn told(command: &mut Command) -> String {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    or_unknown(text.as_deref())
}

fn or_unknown(text: Option<&str>) -> String {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    text.unwrap_or("unknown").to_owned()
}
