//! The descendants of a process and their memory, from /proc.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use rustix::param::page_size;
use rustix::process::Pid;

/// The descendants of a process. Those that start or end during the search may be missing.
pub(super) fn descendants(of: Pid) -> HashSet<Pid> {
    let listed = format!("/proc/{pid}/task/{pid}/children", pid = of.as_raw_pid());
    if Path::new(&listed).exists() {
        below(of, children)
    } else {
        // On a kernel without CONFIG_PROC_CHILDREN, the parent of every process is read.
        let by_parent = by_parent();
        below(of, |parent| {
            by_parent.get(&parent).cloned().unwrap_or_default()
        })
    }
}

fn below(top: Pid, children: impl Fn(Pid) -> Vec<Pid>) -> HashSet<Pid> {
    let mut found = HashSet::new();
    let mut open = vec![top];
    while let Some(parent) = open.pop() {
        open.extend(
            children(parent)
                .into_iter()
                .filter(|child| found.insert(*child)),
        );
    }
    found
}

/// The children of a process: those of all its threads.
fn children(of: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{}/task", of.as_raw_pid()));
    let threads = threads.into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| {
            children
                .split_whitespace()
                .filter_map(pid)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn by_parent() -> HashMap<Pid, Vec<Pid>> {
    let mut found: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let child = entry.file_name().to_str().and_then(pid);
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let (Some(child), Some(parent)) = (child, parent(&stat)) {
            found.entry(parent).or_default().push(child);
        }
    }
    found
}

/// The parent in a line of /proc/…/stat: `pid (name) state parent …`, where the name can contain
/// any character.
fn parent(stat: &str) -> Option<Pid> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1).and_then(pid)
}

fn pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// The total resident memory of these processes, in bytes.
pub(super) fn resident(processes: &HashSet<Pid>) -> u64 {
    let page = u64::try_from(page_size()).unwrap_or(u64::MAX);
    let pages = processes.iter().filter_map(|process| {
        let sizes = fs::read_to_string(format!("/proc/{}/statm", process.as_raw_pid())).ok()?;
        sizes.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    pages.fold(0, u64::saturating_add).saturating_mul(page)
}

/// The number of threads of this process's user, which `RLIMIT_NPROC` counts.
pub(super) fn threads_of_user() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let user = rustix::process::getuid().as_raw();
    let mut found = 0_u64;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = entry.file_name().to_str().and_then(pid).is_some();
        if is_process && entry.metadata().is_ok_and(|entry| entry.uid() == user) {
            let threads = fs::read_dir(entry.path().join("task"));
            let threads = threads.map_or(1, Iterator::count);
            found = found.saturating_add(u64::try_from(threads).unwrap_or(u64::MAX));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_whatever_the_name() {
        for stat in [
            "12 (sh) S 7 12 12",
            "12 (a) S 9 (b) R 7 1 1",
            "12 (a ) b) ) Z 7 0",
        ] {
            assert_eq!(parent(stat), Pid::from_raw(7), "{stat}");
        }
        for stat in ["", "12 sh S 7", "12 (sh)", "12 (sh) S x"] {
            assert_eq!(parent(stat), None, "{stat}");
        }
    }

    #[test]
    fn a_child_is_found_in_both_ways() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let ourselves = rustix::process::getpid();
        let by_scan = by_parent();
        let found = below(ourselves, |parent| {
            by_scan.get(&parent).cloned().unwrap_or_default()
        });
        let all = descendants(ourselves);
        assert!(found.contains(&pid) && all.contains(&pid));
        assert!(resident(&HashSet::from([ourselves])) > 100 << 10);
        assert!(threads_of_user() >= 2);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
