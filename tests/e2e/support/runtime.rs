//! The real binary, as a child process.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use rustix::process::{Pid, Signal, kill_process};

use super::world::World;
use super::{PATIENCE, http, within};

/// A running runtime. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Runtime {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
    status: Option<u16>,
}

impl World {
    /// Starts a runtime and waits until it hosts its agents.
    pub(crate) fn run(&self) -> Runtime {
        let mut runtime = self.spawn(&[], &[]);
        assert!(runtime.ready(), "the runtime exited during its start");
        runtime
    }

    /// Starts a runtime with additional arguments and variables; it may not be ready yet.
    pub(crate) fn spawn(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Runtime {
        self.spawn_as(self.command(&["run"]), arguments, variables)
    }

    /// The same with another command.
    pub(crate) fn spawn_as(
        &self,
        mut command: Command,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Runtime {
        let log = self.next_log();
        command
            .args(arguments)
            .env("AGENTRY_LOG", "agentry=debug")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Runtime {
            child,
            lines,
            log,
            status: None,
        }
    }

    /// The binary with this world's configuration, without the variables of this process's
    /// environment that it reads.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentry"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AGENTRY") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .arg("--json")
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// The output of a command, which must succeed.
    pub(crate) fn ask(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Runtime {
    /// Waits until it hosts its agents; false if it exited before.
    pub(crate) fn ready(&mut self) -> bool {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => self.hosts(&line),
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => panic!("the runtime did not become ready in time"),
        }
    }

    /// Whether it has reported that it hosts its agents.
    pub(crate) fn told(&mut self) -> bool {
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
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -9`. It may have exited before.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert!(
            status.signal().is_some(),
            "the runtime exited by itself: {status}"
        );
    }

    /// Waits until it exits.
    pub(crate) fn wait(&mut self, what: &str) -> ExitStatus {
        within(PATIENCE, || self.ended()).unwrap_or_else(|| panic!("timed out: {what}"))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Stops it as an operator does; it must succeed.
    pub(crate) fn stop(mut self) {
        assert_eq!(self.ended(), None, "the runtime exited by itself");
        self.terminate();
        let status = self.wait("the runtime stops");
        assert_eq!(status.code(), Some(0), "{status}");
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The answer of `/ready` or `/metrics`.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        http::get(self.status.expect("not ready"), path).unwrap()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // It has exited already, or is no longer needed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
