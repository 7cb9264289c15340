//! One server of PostgreSQL.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long anything may take here. A server starts within a second, on a busy machine within a few.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The superuser of the servers. Nobody needs a password on loopback, except the role `secretive`.
pub const USER: &str = "postgres";

/// Runs a server and ends it when its input ends: so no server outlives the tests, not even if they
/// are killed. It waits for the server, because that is its child, and removes the folder last.
const KEEPER: &str = r#"
    "$1" -D "$2/data" -k "$2" -p "$3" >>"$2/log" 2>&1 &
    server=$!
    read -r order
    case $order in
        wait) ;;
        stop) kill -INT $server ;;
        *) kill -QUIT $server ;;
    esac
    wait $server
    case $order in wait|stop) ;; *) rm -rf "$2" ;; esac
"#;

/// A server that is running, or was.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    port: u16,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    input: ChildStdin,
}

impl Server {
    /// A new server with these lines of configuration, once it takes connections.
    pub fn start(settings: &[&str]) -> Self {
        let server = Self::new();
        copy(template(), &server.data());
        server.configure(settings);
        server.resume();
        server
    }

    /// A standby of this server, once it takes connections. It reaches the server at a port.
    pub fn standby(&self, name: &str, port: u16) -> Self {
        let standby = Self::new();
        let conninfo = format!("host=127.0.0.1 port={port} user={USER} application_name={name}");
        let data = standby.data();
        run(program("pg_basebackup")
            .args([
                "-d",
                &conninfo,
                "-c",
                "fast",
                "-X",
                "stream",
                "-R",
                "--no-sync",
                "-D",
            ])
            .arg(data));
        standby.configure(&["synchronous_standby_names = ''"]);
        standby.resume();
        standby
    }

    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("agentry-pg-")
            .tempdir()
            .unwrap();
        // The keeper removes it.
        let folder = folder.keep();
        own(&folder);
        Self {
            folder,
            port: free_port(),
            running: Mutex::new(None),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Adds lines to the configuration, for the next start or [`reload`](Self::reload).
    pub fn configure(&self, settings: &[&str]) {
        let path = self.data().join("postgresql.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        for line in settings {
            writeln!(file, "{line}").unwrap();
        }
    }

    /// Has the server read its configuration again.
    pub fn reload(&self) {
        self.psql("postgres", "select pg_reload_conf()");
    }

    /// Starts the server again, and waits until it takes connections.
    pub fn resume(&self) {
        let mut keeper = as_owner("sh", &self.folder)
            .args(["-c", KEEPER, "keeper"])
            .arg(binaries().join("postgres"))
            .arg(&self.folder)
            .arg(self.port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C ends the tests first, and their end ends the keeper.
            .process_group(0)
            .spawn()
            .unwrap();
        let input = keeper.stdin.take().unwrap();
        *self.running.lock().unwrap() = Some(Running { keeper, input });
        let port = self.port.to_string();
        wait_until("the server takes connections", || {
            let mut ready = program("pg_isready");
            ready.args(["-q", "-h", "127.0.0.1", "-p", &port]);
            let is_ready = ready.status().unwrap().success();
            let mut running = self.running.lock().unwrap();
            let ended = running.as_mut().unwrap().keeper.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {}", self.log());
            is_ready
        });
    }

    /// Kills every process of the server at once, as a power cut would.
    pub fn crash(&self) {
        self.signal("STOP");
        self.signal("KILL");
        self.order("wait\n");
    }

    /// Stops the server as an operator does: it ends its connections and writes everything.
    pub fn stop(&self) {
        self.order("stop\n");
    }

    fn order(&self, order: &str) {
        let running = self.running.lock().unwrap().take();
        let Some(Running {
            mut keeper,
            mut input,
        }) = running
        else {
            return;
        };
        input.write_all(order.as_bytes()).unwrap();
        keeper.wait().unwrap();
    }

    /// Freezes the processes of the server, or has them go on: their connections stay.
    pub fn freeze(&self, freeze: bool) {
        self.signal(if freeze { "STOP" } else { "CONT" });
    }

    /// Sends a signal to all processes of the server. The main one is first: it would start others in
    /// place of those that end.
    fn signal(&self, signal: &str) {
        let main = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let main = main.lines().next().unwrap().to_owned();
        let children = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                // After the name, which is in brackets: state and parent.
                let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
                (parent == main)
                    .then(|| entry.file_name().into_string().ok())
                    .flatten()
            });
        let all: Vec<_> = [main.clone()].into_iter().chain(children).collect();
        // One that has ended meanwhile is no error.
        let script = r#"signal=$1; shift; kill -s "$signal" "$@" 2>/dev/null; true"#;
        run(Command::new("sh")
            .args(["-c", script, "sh", signal])
            .args(all));
    }

    /// Has a standby take writes.
    pub fn promote(&self) {
        self.psql("postgres", "select pg_promote(true, 60)");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database on it.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql://{USER}@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    /// Makes a database that nobody else uses, and returns its name.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("create database {name}"));
        name
    }

    /// Runs a statement as superuser and returns its answer: one line for each row.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = program("psql");
        psql.args([
            "-h",
            "127.0.0.1",
            "-U",
            USER,
            "-d",
            database,
            "-X",
            "-q",
            "-A",
            "-t",
        ])
        .args([
            "-v",
            "ON_ERROR_STOP=1",
            "-p",
            &self.port.to_string(),
            "-c",
            sql,
        ]);
        run(&mut psql)
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Puts a certificate in place, so that the server speaks TLS after the next start.
    pub fn put_certificate(&self, certificate: &[u8], key: &[u8]) {
        for (name, bytes) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.data().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            own(&path);
        }
        self.configure(&["ssl = on"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        match running {
            Some(Running { mut keeper, input }) => {
                drop(input);
                let _ = keeper.wait();
            }
            None => drop(fs::remove_dir_all(&self.folder)),
        }
    }
}

/// Waits until something holds. Panics if it does not.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < until, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The folder with PostgreSQL's programs: the newest.
fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let packages = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut found: Vec<_> = packages.map(|entry| entry.path().join("bin")).collect();
        found.sort_by_key(|path| {
            let version = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            version.and_then(|version| version.parse::<u32>().ok())
        });
        let paths = std::env::var_os("PATH").unwrap_or_default();
        found.reverse();
        found.extend(std::env::split_paths(&paths));
        found.into_iter().find(|path| path.join("postgres").exists() && path.join("initdb").exists())
            .expect("these tests start PostgreSQL 15 or later: install it (Debian: `apt-get install postgresql`), or put its `postgres` and `initdb` on the PATH")
    })
}

fn program(name: &str) -> Command {
    let mut program = as_owner(binaries().join(name), Path::new("/"));
    program
        .env("PGCONNECT_TIMEOUT", "10")
        .env_remove("PGPASSWORD");
    program
}

/// A program that runs as the user that may run a server: root may not.
fn as_owner(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner() {
        command.uid(user).gid(group);
    }
    command.current_dir(folder).env("LC_ALL", "C.UTF-8");
    command
}

/// The user `postgres` if this is root.
fn owner() -> Option<(u32, u32)> {
    static OWNER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *OWNER.get_or_init(|| {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let line = users.lines().find(|line| line.starts_with("postgres:"));
        let line = line.expect("PostgreSQL does not run as root, and there is no user `postgres`: install the package postgresql, which makes it");
        let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
        Some((fields.next().unwrap(), fields.next().unwrap()))
    })
}

fn own(path: &Path) {
    if let Some((user, group)) = owner() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// The data of a server that has never run: to copy it is faster than to make it.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (data, _) = TEMPLATE.get_or_init(|| {
        let folder = tempfile::Builder::new()
            .prefix("agentry-pg-")
            .tempdir()
            .unwrap()
            .keep();
        // A static is never dropped: this removes the folder when the tests end.
        let remover = Command::new("sh")
            .args(["-c", r#"read -r never; rm -rf "$1""#, "remover"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        own(&folder);
        let data = folder.join("data");
        run(program("initdb")
            .args([
                "-U", USER, "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8", "-N", "-D",
            ])
            .arg(&data));
        fs::write(data.join("pg_hba.conf"), HBA).unwrap();
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"));
        file.as_mut().unwrap().write_all(CONF.as_bytes()).unwrap();
        (data, remover)
    });
    data
}

/// Who may connect.
const HBA: &str = "host all secretive 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
local all all trust
";

/// Nothing here survives the machine, and whether a server that is killed keeps what it has written
/// does not depend on fsync.
const CONF: &str = "
listen_addresses = '127.0.0.1'
fsync = off
max_connections = 200
shared_buffers = 16MB
wal_sender_timeout = 2s
wal_receiver_timeout = 2s
wal_retrieve_retry_interval = 100ms
";

fn copy(from: &Path, to: &Path) {
    run(as_owner("cp", Path::new("/")).arg("-a").arg(from).arg(to));
}

/// Runs a program to its end and returns what it has printed.
fn run(command: &mut Command) -> String {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?}: {err}");
    out.trim_end().to_owned()
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
