//! The name of a host.

use std::fmt;
use std::str::FromStr;

/// The longest name of a host.
const LONGEST: usize = 253;

/// The name of a host, without a port: letters, digits, `-` and `.`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Whether the host of a request, with or without a port, has this name.
    pub fn is(&self, host: &str) -> bool {
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        let name = name.strip_suffix('.').unwrap_or(name);
        name.eq_ignore_ascii_case(&self.0) && port.bytes().all(|byte| byte.is_ascii_digit())
    }
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if text.len() <= LONGEST && text.split('.').all(is_part) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("a host is named without scheme and port, such as \"agents.example.com\"")
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_own_name_alone() {
        let host: HostName = "Agents.Example.com".parse().unwrap();
        for its in [
            "agents.example.com",
            "AGENTS.example.com:443",
            "agents.example.com.",
        ] {
            assert!(host.is(its), "{its}");
        }
        for other in [
            "",
            "example.com",
            "x.agents.example.com",
            "agents.example.com.evil.test",
            "agents.example.com:443@evil.test",
            "agents.example.com:x",
        ] {
            assert!(!host.is(other), "{other}");
        }
        for wrong in [
            "",
            "https://a.b",
            "a.b:80",
            "a b",
            "-a",
            "a..b",
            "*.b",
            "a/b",
        ] {
            assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
        }
    }
}
