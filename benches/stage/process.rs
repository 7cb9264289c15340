//! A runtime in its own process, its memory and its processor time.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

/// `agentry run`. The process is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    /// Kept open, so that the process can keep writing.
    _output: BufReader<ChildStdout>,
    status: String,
    /// The time from the start of the process to the line that reports that it hosts.
    pub(crate) start_up: Duration,
}

impl Running {
    /// Starts it and waits until it hosts its agents.
    pub(crate) fn start(config: &Path) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_agentry"))
            .args(["run", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .context("starting agentry")?;
        let mut output = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let start_up = began.elapsed();
        let status = line
            .split_once("http://")
            .filter(|_| line.starts_with("hosting"))
            .and_then(|_| line.rsplit_once("http://"))
            .and_then(|(_, rest)| rest.split_once('/'))
            .map(|(address, _)| address.to_owned());
        let Some(status) = status else {
            // It has ended, or its output is not as expected.
            let _ = child.kill();
            anyhow::bail!("agentry did not start: {line:?}");
        };
        Ok(Self {
            child,
            _output: output,
            status,
            start_up,
        })
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("no VmRSS")?;
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .context("no number")?
            .parse()?;
        Ok(kib * 1024)
    }

    /// The processor time that it has used so far, user and system.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    /// A value from `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(&self.status)?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let value = line
            .and_then(|line| line.rsplit_once(' '))
            .context("no such metric")?
            .1;
        Ok(value.parse()?)
    }

    /// Waits until a value from `/metrics` is at least this.
    pub(crate) fn wait_metric(
        &self,
        name: &str,
        at_least: u64,
        limit: Duration,
    ) -> anyhow::Result<Duration> {
        let began = Instant::now();
        loop {
            let found = self.metric(name).unwrap_or(0);
            if found >= at_least {
                return Ok(began.elapsed());
            }
            anyhow::ensure!(
                began.elapsed() < limit,
                "{name} is {found} and not {at_least} after {limit:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time that this process has used so far.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu("self")
}

fn cpu(process: &str) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is a name with arbitrary characters; utime and stime are the 14th and 15th.
    let (_, rest) = text.rsplit_once(") ").context("no name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    // Linux counts in hundredths of a second here, independent of its timer (man 5 proc).
    Ok(Duration::from_millis(ticks * 10))
}
