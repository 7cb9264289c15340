//! This program in processes of their own, their memory and their processor time.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::pings;

/// A process that serves. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Kept open, so that the process can keep writing.
    output: BufReader<ChildStdout>,
    /// What it printed when it was ready.
    ready: Value,
    /// The time from its start until then.
    pub(super) start_up: Duration,
}

impl Process {
    /// Starts `agentry run`, and waits until it hosts its agents.
    pub(super) fn run(config: &Path) -> anyhow::Result<Self> {
        Self::start(&["run".as_ref(), "--config".as_ref(), config.as_ref()])
    }

    /// Starts `agentry devnet` on the chain in a folder.
    pub(super) fn devnet(dir: &Path) -> anyhow::Result<Self> {
        let rest = ["devnet", "--port", "0", "--block-time", "50ms", "--dir"].map(OsStr::new);
        Self::start(&[&rest[..], &[dir.as_ref()]].concat())
    }

    fn start(arguments: &[&OsStr]) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut child = own()?
            .args(arguments)
            .arg("--json")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        let mut process = Self {
            child,
            output: BufReader::new(output),
            ready: Value::Null,
            start_up: Duration::ZERO,
        };
        // If it is never ready, the time limit of the row ends both.
        let mut line = String::new();
        process.output.read_line(&mut line)?;
        process.start_up = began.elapsed();
        process.ready =
            serde_json::from_str(&line).with_context(|| format!("{arguments:?} did not start"))?;
        Ok(process)
    }

    /// A text of what it printed when it was ready.
    pub(super) fn said(&self, field: &str) -> anyhow::Result<&str> {
        self.ready[field].as_str().context("it printed no address")
    }

    /// Its resident memory, in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<f64> {
        let text = read(&format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("no VmRSS")?.parse::<f64>()? * 1024.0)
    }

    /// The processor time that it uses in a minute, measured for `period` while something is done.
    pub(super) fn busy_minute(
        &self,
        period: Duration,
        mut doing: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Duration> {
        let process = self.child.id().to_string();
        let (began, before) = (Instant::now(), cpu(&process)?);
        while began.elapsed() < period {
            doing()?;
        }
        let used = cpu(&process)? - before;
        Ok(used.div_f64(began.elapsed().as_secs_f64() / 60.0))
    }

    /// Waits until one of its metrics is at least this, and returns the time.
    pub(super) fn wait(&self, metric: &str, at_least: usize) -> anyhow::Result<Instant> {
        pings::wait(metric, at_least, || {
            let address = self.said("status")?.trim_start_matches("http://");
            let mut stream = TcpStream::connect(address).context("the runtime has ended")?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
            std::thread::sleep(Duration::from_millis(5));
            Ok(line.context("no such metric")?.parse()?)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// This program, without what the environment of this process configures.
pub(super) fn own() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AGENTRY") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// The processor time that a process has used so far, user and system; `self` is this one.
pub(super) fn cpu(process: &str) -> anyhow::Result<Duration> {
    let text = read(&format!("/proc/{process}/stat"))?;
    // The second field is a name with arbitrary characters; utime and stime are the 14th and 15th.
    let (_, rest) = text.rsplit_once(") ").context("no name")?;
    let fields = rest.split(' ').skip(11).take(2);
    let ticks: u64 = fields.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    // Linux counts in hundredths of a second here, independent of its timer (man 5 proc).
    Ok(Duration::from_millis(ticks * 10))
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {path}, which needs Linux"))
}
