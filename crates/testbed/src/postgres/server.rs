//! One server of PostgreSQL.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::install::{as_owner, binary, own, program, run};
use crate::{until, usage};

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
            .arg(binary("postgres"))
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
        until("the server takes connections", || {
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
        let main = self.main();
        let all = [main].into_iter().chain(usage::children(main));
        let all: Vec<_> = all.map(|pid| pid.to_string()).collect();
        // One that has ended meanwhile is no error.
        let script = r#"signal=$1; shift; kill -s "$signal" "$@" 2>/dev/null; true"#;
        run(Command::new("sh")
            .args(["-c", script, "sh", signal])
            .args(all));
    }

    /// The process id of its main process.
    fn main(&self) -> u32 {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }

    /// The processor time that its processes have used, with those that have ended.
    pub fn processor_time(&self) -> Duration {
        usage::of_family(self.main())
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

/// A port on which nobody listens.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
