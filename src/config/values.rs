//! Readers of single values. Each reader reports a value that it cannot accept.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::document::{Given, Raw};
use super::error::{ConfigIssue, Origin};
use super::rate::Rate;

/// Collects errors while values are read. `name` is always the name of the value in a message,
/// for example `chain.rpc`.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) issues: Vec<ConfigIssue>,
    /// Required keys that are not set. They are kept apart: in a file that is not valid TOML, the
    /// key may be in a part that could not be read.
    pub(super) missing: Vec<ConfigIssue>,
}

impl Reader {
    pub(super) fn report(&mut self, origin: &Origin, text: impl Into<String>) {
        self.issues.push(ConfigIssue {
            origin: origin.clone(),
            text: text.into(),
        });
    }

    fn wrong(&mut self, name: &str, given: &Given, wanted: &str) {
        self.report(
            &given.origin,
            format!("`{name}` must be {wanted}, not {}", given.raw.what()),
        );
    }

    /// A text that is not blank.
    pub(super) fn text(&mut self, name: &str, given: &Given) -> Option<String> {
        match &given.raw {
            Raw::Text(text) if text.trim().is_empty() => {
                self.report(&given.origin, format!("`{name}` is empty; give it a value"));
                None
            }
            Raw::Text(text) => Some(text.clone()),
            _ => {
                self.wrong(name, given, "a text in quotes");
                None
            }
        }
    }

    /// A value of a type that parses itself from text.
    pub(super) fn parsed<T>(&mut self, name: &str, given: &Given) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let text = self.text(name, given)?;
        text.parse()
            .map_err(|error| self.report(&given.origin, format!("`{name}` {text:?}: {error}")))
            .ok()
    }

    /// A whole number in a range; outside the file it is a text.
    pub(super) fn integer(
        &mut self,
        name: &str,
        given: &Given,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let number = match &given.raw {
            Raw::Integer(integer) => u64::try_from(*integer).ok(),
            Raw::Text(text) if !matches!(given.origin, Origin::File { .. }) => {
                text.replace('_', "").parse().ok()
            }
            Raw::TooLarge(_) => None,
            _ => {
                self.wrong(name, given, &wanted);
                return None;
            }
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let found = match &given.raw {
                Raw::Integer(integer) => integer.to_string(),
                Raw::Text(text) | Raw::TooLarge(text) => text.clone(),
                other => other.what().to_owned(),
            };
            self.report(
                &given.origin,
                format!("`{name}` must be {wanted}, not {found}"),
            );
        }
        number
    }

    /// A length of time in a range.
    pub(super) fn duration(
        &mut self,
        name: &str,
        given: &Given,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let Raw::Text(text) = &given.raw else {
            self.wrong(name, given, "a length of time such as \"30s\"");
            return None;
        };
        match humantime::parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(_) => {
                let (from, to) = (humantime::format_duration(*range.start()), *range.end());
                let to = humantime::format_duration(to);
                self.report(
                    &given.origin,
                    format!("`{name}` must be {from} to {to}, not {text}"),
                );
                None
            }
            Err(error) => {
                let text = format!(
                    "`{name}` {text:?} is not a length of time ({error}); write one such as \
                     \"500ms\", \"30s\", \"5m\", \"2h\" or \"30d\""
                );
                self.report(&given.origin, text);
                None
            }
        }
    }

    /// A rate, or none if it is unlimited.
    pub(super) fn rate(&mut self, name: &str, given: &Given) -> Option<Option<Rate>> {
        let Raw::Text(text) = &given.raw else {
            self.wrong(name, given, "a rate such as \"60/min\", or \"unlimited\"");
            return None;
        };
        Rate::parse(text)
            .map_err(|error| self.report(&given.origin, format!("`{name}` {text:?} {error}")))
            .ok()
    }

    /// The address of a node.
    pub(super) fn url(&mut self, name: &str, given: &Given) -> Option<Url> {
        let text = self.text(name, given)?;
        match check_url(&text) {
            Ok(url) => Some(url),
            // The text itself may hold a password, so it is not repeated.
            Err(reason) => {
                let example = "write one such as \"http://127.0.0.1:8006\"";
                self.report(&given.origin, format!("`{name}` {reason}; {example}"));
                None
            }
        }
    }

    /// A path; in the file, as in the defaults, it is relative to `folder`.
    pub(super) fn path(&mut self, name: &str, given: &Given, folder: &Path) -> Option<PathBuf> {
        let text = self.text(name, given)?;
        if text.contains('\0') {
            self.report(
                &given.origin,
                format!("`{name}` contains a NUL character, which no path may"),
            );
            return None;
        }
        Some(match given.origin {
            Origin::File { .. } | Origin::Default => folder.join(text),
            Origin::Environment { .. } | Origin::Flag { .. } => text.into(),
        })
    }

    /// A loopback address with a port, which only this machine can reach.
    pub(super) fn loopback(&mut self, name: &str, given: &Given) -> Option<SocketAddr> {
        let text = self.text(name, given)?;
        let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
        match numeric.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Some(address),
            Ok(address) => {
                let text = format!(
                    "`{name}` {address} can be reached from other machines, and what is served there \
                     has no access control; use 127.0.0.1:{} and a proxy",
                    address.port()
                );
                self.report(&given.origin, text);
                None
            }
            Err(_) => {
                let text = format!(
                    "`{name}` {text:?} is not an address with a port; write one such as \
                     \"127.0.0.1:8070\""
                );
                self.report(&given.origin, text);
                None
            }
        }
    }

    /// A list of texts; outside the file they are separated by commas.
    pub(super) fn list(&mut self, name: &str, given: &Given) -> Vec<Given> {
        match &given.raw {
            Raw::List(items) => items.clone(),
            Raw::Text(text) if !matches!(given.origin, Origin::File { .. }) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Given {
                    raw: Raw::Text(item.to_owned()),
                    origin: given.origin.clone(),
                })
                .collect(),
            _ => {
                self.wrong(name, given, "a list of texts");
                Vec::new()
            }
        }
    }
}

/// A node's address: `http` or `https`, a host, no query and no fragment.
pub(crate) fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "has the scheme {:?}; a node's is http or https",
            url.scheme()
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("has no host".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "ends in a query (`?…`) or a fragment (`#…`), which a node's URL cannot have"
                .to_owned(),
        );
    }
    Ok(url)
}

/// The text of a URL without a slash at the end.
pub(crate) fn plain_url(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// A URL with its password, if it has one, masked.
pub(crate) fn masked_url(url: &Url) -> String {
    let mut masked = url.clone();
    if masked.password().is_some() && masked.set_password(Some("***")).is_err() {
        return format!("{}://***", url.scheme());
    }
    plain_url(&masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(raw: Raw) -> Given {
        Given {
            raw,
            origin: Origin::File { line: 1, column: 1 },
        }
    }

    fn flag(text: &str) -> Given {
        Given {
            raw: Raw::Text(text.into()),
            origin: Origin::Flag {
                flag: "--set".into(),
            },
        }
    }

    #[test]
    fn numbers_are_text_only_outside_the_file() {
        let mut reader = Reader::default();
        assert_eq!(reader.integer("n", &file(Raw::Integer(7)), 1..=9), Some(7));
        assert_eq!(reader.integer("n", &flag("1_000"), 1..=9_000), Some(1_000));
        assert_eq!(reader.issues, []);
        for bad in [
            file(Raw::Text("7".into())),
            file(Raw::Integer(0)),
            file(Raw::Integer(-7)),
            file(Raw::Integer(10)),
            file(Raw::TooLarge("99999999999999999999".into())),
            file(Raw::Boolean(true)),
            flag("seven"),
            flag("-7"),
        ] {
            assert_eq!(reader.integer("n", &bad, 1..=9), None, "{bad:?}");
        }
        assert_eq!(reader.issues.len(), 8);
    }

    #[test]
    fn only_node_urls_are_accepted() {
        for good in [
            "http://127.0.0.1:8006",
            "https://node.example/path/",
            "http://[::1]:1",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:8006",
            "ftp://x",
            "http://",
            "http://x?a",
            "http://x#a",
            "x y",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        let secret = check_url("http://user:hunter2@node:1/").unwrap();
        assert_eq!(masked_url(&secret), "http://user:***@node:1");
    }

    #[test]
    fn only_loopback_is_accepted() {
        let mut reader = Reader::default();
        for good in ["127.0.0.1:8070", "[::1]:1", "localhost:0", "127.1.2.3:9"] {
            assert!(reader.loopback("l", &flag(good)).is_some(), "{good}");
        }
        for bad in [
            "0.0.0.0:8070",
            "[::]:1",
            "10.0.0.1:1",
            "127.0.0.1",
            "here:80",
            "8070",
        ] {
            assert!(reader.loopback("l", &flag(bad)).is_none(), "{bad}");
        }
        assert_eq!(reader.issues.len(), 6);
    }

    #[test]
    fn paths_of_the_file_are_relative_to_its_folder() {
        let mut reader = Reader::default();
        let given = file(Raw::Text("a/b".into()));
        assert_eq!(
            reader.path("p", &given, Path::new("/etc")),
            Some("/etc/a/b".into())
        );
        assert_eq!(
            reader.path("p", &flag("a/b"), Path::new("/etc")),
            Some("a/b".into())
        );
        let given = file(Raw::Text("/a".into()));
        assert_eq!(
            reader.path("p", &given, Path::new("/etc")),
            Some("/a".into())
        );
    }

    #[test]
    fn durations_need_a_unit() {
        let mut reader = Reader::default();
        let range = Duration::from_secs(1)..=Duration::from_secs(60);
        let second = Some(Duration::from_secs(30));
        assert_eq!(reader.duration("d", &flag("30s"), range.clone()), second);
        for bad in [flag("30"), flag("soon"), flag("2h"), file(Raw::Integer(30))] {
            assert_eq!(reader.duration("d", &bad, range.clone()), None);
        }
        assert_eq!(reader.issues.len(), 4);
    }
}
