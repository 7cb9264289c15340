//! A process of the real binary.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{PATIENCE, http, usage, within};

/// A process of the binary. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
    status: Option<u16>,
}

impl Process {
    /// Starts a command, whose log goes to a new file; it may not be ready yet.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        command
            .stdout(Stdio::piped())
            .stderr(File::create(log).unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // If nobody reads any more, the process can write on.
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            lines,
            log: log.to_owned(),
            status: None,
        }
    }

    /// Starts a runtime, with `--json`, and waits until it hosts its agents.
    ///
    /// # Panics
    /// It exits before.
    pub fn run(command: Command, log: &Path) -> Self {
        let mut process = Self::spawn(command, log);
        let is_ready = process.ready();
        assert!(is_ready, "it exited during its start: {}", process.log());
        process
    }

    /// Waits until a runtime hosts its agents; false if it exited before.
    ///
    /// # Panics
    /// It does neither in [`PATIENCE`].
    pub fn ready(&mut self) -> bool {
        let line = within(PATIENCE, || {
            match self.lines.recv_timeout(Duration::from_millis(1)) {
                Ok(line) => Some(Some(line)),
                Err(RecvTimeoutError::Disconnected) => Some(None),
                Err(RecvTimeoutError::Timeout) => None,
            }
        });
        match line.expect("the runtime did not become ready in time") {
            Some(line) => self.hosts(&line),
            None => false,
        }
    }

    /// Whether a runtime has reported that it hosts its agents.
    pub fn told(&mut self) -> bool {
        let line = self.lines.try_recv();
        line.is_ok_and(|line| self.hosts(&line))
    }

    fn hosts(&mut self, line: &str) -> bool {
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        let url = told["status"].as_str().unwrap();
        let (_, port) = url.rsplit_once(':').unwrap();
        self.status = Some(port.parse().unwrap());
        true
    }

    /// Its exit status, if it has exited.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -9`. It may have been killed before.
    ///
    /// # Panics
    /// It had exited by itself.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert!(
            status.signal().is_some(),
            "it exited by itself: {status}: {}",
            self.log()
        );
    }

    /// Waits until it exits.
    ///
    /// # Panics
    /// It does not, in [`PATIENCE`].
    pub fn wait(&mut self, what: &str) -> ExitStatus {
        within(PATIENCE, || self.ended()).unwrap_or_else(|| panic!("timed out: {what}"))
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it as an operator does.
    ///
    /// # Panics
    /// It had exited by itself, or it does not stop with exit code 0.
    pub fn stop(mut self) {
        assert_eq!(self.ended(), None, "it exited by itself: {}", self.log());
        self.terminate();
        let status = self.wait("it stops");
        assert_eq!(status.code(), Some(0), "{status}: {}", self.log());
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The URL of a runtime's HTTP server, without a slash at the end.
    ///
    /// # Panics
    /// It is not [ready](Self::ready).
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The answer of a runtime to a GET, such as of `/ready` or `/metrics`.
    ///
    /// # Panics
    /// It is not [ready](Self::ready), or does not answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        http::get(self.port(), path).unwrap()
    }

    /// The value of one of its metrics, 0 if it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.get("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    fn port(&self) -> u16 {
        self.status.expect("it is not ready")
    }

    /// The processor time that it has used.
    pub fn processor_time(&self) -> Duration {
        usage::of_process(self.child.id())
    }

    /// The same by the names of its threads, of those that run now.
    pub fn processor_time_by_thread(&self) -> BTreeMap<String, Duration> {
        usage::by_thread(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has exited already, or is no longer needed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
