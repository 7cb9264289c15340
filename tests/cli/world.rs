//! A separate folder for each test, and the binary run in it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The password of a [`World`]'s wallets.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A folder, with a password file in it.
pub(crate) struct World {
    dir: TempDir,
}

/// Output and exit code of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        world.private("password", PASSWORD);
        world.private("wrong", "hunter2");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that only its owner can access.
    pub(crate) fn private(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The binary, ready to run in the folder, without the environment variables of this process
    /// that it reads.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentry"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AGENTRY") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Like [`Self::command`], through a shell that first runs another command, such as setting the
    /// umask.
    pub(crate) fn command_after(&self, first: &str, arguments: &[&str]) -> Command {
        let direct = self.command(arguments);
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{first}; exec \"$0\" \"$@\""))
            .arg(direct.get_program())
            .args(direct.get_args())
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        for (name, value) in direct.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// Like [`Self::run`], with this on standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A child that refuses early closes the pipe; only its message matters.
        drop(stdin.write_all(input));
        drop(stdin);
        Run::of(child.wait_with_output().unwrap())
    }

    /// Runs with `--json`, checks the output against its documented form, and returns it.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let printed = self.run(&all).json();
        crate::forms::check(&all, &printed);
        printed
    }

    /// A wallet command on the folder `keys`.
    pub(crate) fn wallet(&self, arguments: &[&str]) -> Run {
        self.run(&wallet_arguments(arguments))
    }

    pub(crate) fn wallet_json(&self, arguments: &[&str]) -> Value {
        self.json(&wallet_arguments(arguments))
    }
}

fn wallet_arguments<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["wallet"];
    all.extend(arguments);
    if !arguments.contains(&"--keystore") && !arguments.contains(&"--vault") {
        all.extend(["--keystore", "keys"]);
    }
    if !arguments.contains(&"--password-file") {
        all.extend(["--password-file", "password"]);
    }
    all
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is UTF-8");
        let run = Self {
            code: output.status.code().expect("no signal ended it"),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        for secret in [PASSWORD, "hunter2"] {
            assert!(
                !run.out.contains(secret) && !run.err.contains(secret),
                "{run:#?}"
            );
        }
        assert!(!run.err.contains("panicked"), "{run:#?}");
        run
    }

    /// Checks that the run succeeded and printed one JSON value on one line.
    pub(crate) fn json(&self) -> Value {
        self.good();
        assert_eq!(self.out.lines().count(), 1, "{self:#?}");
        serde_json::from_str(&self.out).expect("json")
    }

    pub(crate) fn good(&self) -> &Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// Checks the exit code and a part of the message, and that nothing else was printed.
    pub(crate) fn failed(&self, code: i32, part: &str) -> &Self {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(self.err.contains(part), "{part:?} is not in {self:#?}");
        assert!(self.out.is_empty(), "{self:#?}");
        self
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A file of test vectors, shared with the protocol's tests.
pub(crate) fn vectors(name: &str) -> Value {
    serde_json::from_str(&vectors_text(name)).unwrap()
}

/// Like [`vectors`], as the raw text.
pub(crate) fn vectors_text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crates/protocol/tests/vectors")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
