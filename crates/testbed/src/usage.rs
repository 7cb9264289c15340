//! Processor time, from `/proc`: on Linux only.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Linux counts in hundredths of a second here, independent of its timer (man 5 proc).
const TICK: Duration = Duration::from_millis(10);

/// The fields of `/proc/PID/stat` after the name, which may contain anything: state is the first.
fn fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(split(&text))
}

fn split(stat: &str) -> Vec<String> {
    let (_, rest) = stat.rsplit_once(") ").unwrap_or_default();
    rest.split_whitespace().map(ToOwned::to_owned).collect()
}

fn ticks(fields: &[String], which: std::ops::Range<usize>) -> Duration {
    let ticks: u32 = fields[which]
        .iter()
        .map(|field| field.parse::<u32>().unwrap())
        .sum();
    TICK * ticks
}

/// The processor time that a process has used so far, user and system.
///
/// # Panics
/// It does not run.
pub fn of_process(pid: u32) -> Duration {
    ticks(
        &fields(pid).unwrap_or_else(|| panic!("process {pid} does not run")),
        11..13,
    )
}

/// The processor time that a process, its children and those of them that have ended have used.
///
/// # Panics
/// It does not run.
pub fn of_family(pid: u32) -> Duration {
    let own = fields(pid).unwrap_or_else(|| panic!("process {pid} does not run"));
    let children = children(pid)
        .into_iter()
        // One that has ended meanwhile is counted by its parent the next time.
        .filter_map(fields)
        .map(|fields| ticks(&fields, 11..13));
    ticks(&own, 11..15) + children.sum::<Duration>()
}

/// The processor time of a process by the names of its threads, of those that run now.
///
/// # Panics
/// It does not run.
pub fn by_thread(pid: u32) -> BTreeMap<String, Duration> {
    let mut times = BTreeMap::new();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    for thread in threads.flatten() {
        let stat = fs::read_to_string(thread.path().join("stat"));
        let name = fs::read_to_string(thread.path().join("comm"));
        // One that has ended meanwhile is left out.
        let (Ok(stat), Ok(name)) = (stat, name) else {
            continue;
        };
        *times.entry(name.trim().to_owned()).or_default() += ticks(&split(&stat), 11..13);
    }
    times
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let parent = pid.to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| fields(*pid).is_some_and(|fields| fields[1] == parent))
        .collect()
}
