//! How the database is reached: servers, password, TLS, and how long is waited for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::ClusterError;
use crate::tls::{self, Tls};

/// How long a connection is silent until TCP asks whether the other side is there, and the pause
/// between two questions. With [`PROBES`] a server that vanished is noticed within 4 s even while
/// nothing is sent; the limits of the calls notice everything else.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// How many questions of TCP may stay unanswered.
const PROBES: u32 = 3;

/// How long a server may take to accept a connection, unless the URL says otherwise
/// (`connect_timeout`): several round trips with TLS, on a busy server.
const CONNECT: Duration = Duration::from_secs(2);

/// How long is waited for the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the answer to a beat, with a new connection if the last one was lost. After a beat that
    /// got none, the next one has to succeed within a lease of 2.5 s.
    pub beat: Duration,
    /// For the answer to any other short statement.
    pub call: Duration,
    /// For each part of a snapshot, and each long list.
    pub bulk: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            beat: Duration::from_millis(1_500),
            call: Duration::from_secs(5),
            bulk: Duration::from_secs(30),
        }
    }
}

/// How the database of a cluster is reached. Cheap to clone. `Debug` shows no password.
#[derive(Clone)]
pub struct Settings(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    servers: Vec<Server>,
    password_file: Option<PathBuf>,
    tls: Tls,
    limits: Limits,
}

/// One server.
#[derive(Clone)]
pub(crate) struct Server {
    /// Its host and port, for people.
    pub(crate) name: String,
    /// How long it may take to accept a connection.
    pub(crate) limit: Duration,
    config: Config,
}

impl Settings {
    /// Settings from URLs as libpq has them: `postgresql://user@host,host2/database?sslmode=require`.
    /// Each may name several hosts; of all of them, the one that takes writes is used.
    ///
    /// With `sslmode=prefer`, the default, TLS is used if the server has it; with `require`, always.
    /// In both cases the server's certificate and name are verified, with the root certificates of
    /// the file if there is one, else with this machine's. `verify-full` and `verify-ca` mean the
    /// same as `require`. `sslrootcert` in a URL is the same as `root_certificate`. The password is
    /// read from its file for each new connection; else it is the URL's.
    ///
    /// # Errors
    /// A URL or the root certificates cannot be read.
    pub fn new(
        urls: &[impl AsRef<str>],
        password_file: Option<&Path>,
        root_certificate: Option<&Path>,
    ) -> Result<Self, ClusterError> {
        let (mut servers, mut root) = (Vec::new(), root_certificate.map(Path::to_owned));
        for (number, url) in (1..).zip(urls) {
            let wrong = |why| ClusterError::Url { number, why };
            let (url, in_url) = translate(url.as_ref());
            root = root.or(in_url);
            servers.extend(read(&url).map_err(wrong)?);
        }
        if servers.is_empty() {
            let why = "is missing: give at least one, such as postgresql://agentry@host/agentry";
            return Err(ClusterError::Url { number: 1, why });
        }
        let modes = servers.iter().map(|server| server.config.get_ssl_mode());
        Ok(Self(Arc::new(Inner {
            tls: tls::make(modes.collect(), root.as_deref())?,
            servers,
            password_file: password_file.map(Path::to_owned),
            limits: Limits::default(),
        })))
    }

    /// The same settings with other limits.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        let inner = Inner {
            limits,
            ..Inner::clone(&self.0)
        };
        Self(Arc::new(inner))
    }

    /// How long is waited for the database.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// The servers, for people: host and port.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.0.servers.iter().map(|server| server.name.as_str())
    }

    /// The database on the first of them, or the user's name if the URL has none, as libpq has it.
    pub fn database(&self) -> &str {
        let config = self.0.servers.first().map(|server| &server.config);
        let name = config.and_then(|config| config.get_dbname().or(config.get_user()));
        name.unwrap_or_default()
    }

    pub(crate) fn all(&self) -> &[Server] {
        &self.0.servers
    }

    pub(crate) fn tls(&self) -> Tls {
        self.0.tls.clone()
    }

    /// The configuration of a connection to a server, with the password as it is now.
    ///
    /// # Errors
    /// The file with the password cannot be read.
    pub(crate) async fn config(&self, server: &Server, name: &str) -> Result<Config, String> {
        let mut config = server.config.clone();
        config.application_name(name);
        if let Some(path) = &self.0.password_file {
            let password = tokio::fs::read(path).await;
            let password = password.map_err(|error| {
                format!("reading its password from {}: {error}", path.display())
            })?;
            config.password(password.trim_ascii_end());
        }
        Ok(config)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("servers", &self.servers().collect::<Vec<_>>())
            .field("password_file", &self.0.password_file)
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

/// A URL as `tokio-postgres` reads it: it does not know libpq's stronger modes, which are what we do
/// in any case, or `sslrootcert`.
fn translate(url: &str) -> (String, Option<PathBuf>) {
    let Some((url, parameters)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let (mut kept, mut root) = (Vec::new(), None);
    for parameter in parameters.split('&') {
        match parameter.split_once('=') {
            Some(("sslmode", "verify-ca" | "verify-full")) => kept.push("sslmode=require"),
            Some(("sslrootcert", path)) => root = Some(PathBuf::from(path)),
            _ => kept.push(parameter),
        }
    }
    (format!("{url}?{}", kept.join("&")), root)
}

/// The servers of a URL. The reason of an error has no part of the URL in it.
fn read(url: &str) -> Result<Vec<Server>, &'static str> {
    if !["postgresql://", "postgres://"]
        .iter()
        .any(|prefix| url.starts_with(prefix))
    {
        return Err("does not begin with postgresql://");
    }
    let config: Config = url.parse().map_err(
        |_| "cannot be read: write postgresql://user@host:port/database?parameter=value, with %40 for @, %2F for / and so on in user and password",
    )?;
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    if hosts.is_empty() && addresses.is_empty() {
        return Err("names no host");
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err("has another number of hosts than of addresses (hostaddr)");
    }
    // The rest of a password.
    if hosts
        .iter()
        .any(|host| matches!(host, Host::Tcp(host) if host.contains('@')))
    {
        return Err("has more than one @: write %40 for those in user and password");
    }
    if config.get_user().is_none() {
        return Err("names no user");
    }
    let ports = config.get_ports();
    let count = hosts.len().max(addresses.len());
    if ports.len() > 1 && ports.len() != count {
        return Err("has another number of ports than of hosts");
    }
    let one = |at: usize| {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let mut only = alone(&config);
        only.port(port);
        let name = match (hosts.get(at), addresses.get(at)) {
            (Some(Host::Tcp(host)), _) => format!("{host}:{port}"),
            (Some(Host::Unix(path)), _) => format!("{}:{port}", path.display()),
            (None, Some(address)) => format!("{address}:{port}"),
            (None, None) => String::new(),
        };
        match hosts.get(at) {
            Some(Host::Tcp(host)) => {
                only.host(host);
            }
            Some(Host::Unix(path)) => {
                only.host_path(path);
            }
            None => {}
        }
        if let Some(address) = addresses.get(at) {
            only.hostaddr(*address);
        }
        Server {
            name,
            limit: config.get_connect_timeout().copied().unwrap_or(CONNECT),
            config: only,
        }
    };
    Ok((0..count).map(one).collect())
}

/// A configuration without its hosts, with what every connection of ours has.
fn alone(config: &Config) -> Config {
    let mut only = Config::new();
    if let Some(user) = config.get_user() {
        only.user(user);
    }
    if let Some(password) = config.get_password() {
        only.password(password);
    }
    if let Some(database) = config.get_dbname() {
        only.dbname(database);
    }
    if let Some(options) = config.get_options() {
        only.options(options);
    }
    only.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .connect_timeout(config.get_connect_timeout().copied().unwrap_or(CONNECT))
        .keepalives(true)
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(KEEPALIVE)
        .keepalives_retries(PROBES)
        // Each connection looks for itself whether the server takes writes: see `session`.
        .target_session_attrs(TargetSessionAttrs::Any);
    only
}

/// Whether a mode may use TLS.
pub(crate) fn may_use_tls(mode: SslMode) -> bool {
    mode != SslMode::Disable
}
