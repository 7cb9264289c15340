//! The address of a cluster's database.

use std::fmt;
use std::str::FromStr;

/// The address of a PostgreSQL database, as libpq writes it: `postgresql://user@host1,host2/database`. It
/// may contain a password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The address, with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    /// What is wrong with the text, without the text, which may contain a password.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let schemes = ["postgresql://", "postgres://"];
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
        let Some(rest) = rest else {
            return Err("does not begin with postgresql://".to_owned());
        };
        let (servers, _) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
        let servers = servers
            .rsplit_once('@')
            .map_or(servers, |(_, servers)| servers);
        if servers.split(',').any(str::is_empty) {
            return Err("has no host, or an empty one".to_owned());
        }
        agentry_cluster::Settings::new(&[text], None, None)
            .map(|_| Self(text.to_owned()))
            .map_err(|error| error.to_string())
    }
}

/// Without the password, and without parameters, which may hold one.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgresql", ""));
        let rest = rest.split('?').next().unwrap_or_default();
        let (user, servers) = rest.rsplit_once('@').unwrap_or(("", rest));
        let name = user.split(':').next().unwrap_or_default();
        match (name.is_empty(), user.contains(':')) {
            (true, _) => write!(f, "{scheme}://{servers}"),
            (false, true) => write!(f, "{scheme}://{name}:***@{servers}"),
            (false, false) => write!(f, "{scheme}://{name}@{servers}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_postgresql_are_accepted_and_no_password_is_shown() {
        for (good, shown) in [
            (
                "postgresql://a@db1,db2:5433/x",
                "postgresql://a@db1,db2:5433/x",
            ),
            ("postgres://a@127.0.0.1", "postgres://a@127.0.0.1"),
            (
                "postgresql://a:hunter2@db/x?password=hunter2&sslmode=require",
                "postgresql://a:***@db/x",
            ),
        ] {
            let url: DatabaseUrl = good.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
        for bad in [
            "",
            "db/x",
            "mysql://a@db/x",
            "postgresql://",
            "postgresql://a:hunter2@/x",
            "postgresql://a:hunter2@db:none/x",
        ] {
            let error = bad.parse::<DatabaseUrl>().unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
