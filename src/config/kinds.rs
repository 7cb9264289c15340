//! The types of values: how each is read and shown.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use agentry_chain::Start;
use agentry_core::nonce::NoncePolicy;
use agentry_protocol::{
    Address, AgentName, Amount, BlockHeight, ChainId, Dialect, EncryptionKey, PublicKey,
};
use serde_json::{Value, json};

use super::database_url::DatabaseUrl;
use super::document::{Given, Raw};
use super::error::Origin;
use super::host_name::HostName;
use super::keys::Holds;
use super::node_url::{CollectorUrl, NodeUrl, masked};
use super::rate::Rate;
use super::values::{Kind, Ranged, Unchecked};

/// A key that need not be set.
impl<T: Kind> Kind for Option<T> {
    const HOLDS: Holds = T::HOLDS;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        Some(T::read(value))
    }

    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::show)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// `true` or `false`; outside the file it is a text.
impl Kind for bool {
    const HOLDS: Holds = Holds::Boolean;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        match &value.given.raw {
            Raw::Boolean(boolean) => Some(*boolean),
            Raw::Text(text) if !value.is_of_file() && text == "true" => Some(true),
            Raw::Text(text) if !value.is_of_file() && text == "false" => Some(false),
            _ => value.must_be("true or false"),
        }
    }

    fn show(&self) -> Value {
        json!(self)
    }
}

/// A text that is not blank.
impl Kind for String {
    const HOLDS: Holds = Holds::Text;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        match &value.given.raw {
            Raw::Text(text) if text.trim().is_empty() => value.wrong("is empty; give it a value"),
            Raw::Text(text) => Some(text.clone()),
            _ => value.must_be("a text in quotes"),
        }
    }

    fn show(&self) -> Value {
        json!(self)
    }
}

macro_rules! texts {
    ($($type:ty),+) => {$(
        impl Kind for $type {
            const HOLDS: Holds = Holds::Text;

            fn read(value: &mut Unchecked<'_>) -> Option<Self> {
                value.parsed()
            }

            fn show(&self) -> Value {
                json!(self.to_string())
            }
        }
    )+};
}

texts!(
    ChainId,
    AgentName,
    Address,
    PublicKey,
    EncryptionKey,
    HostName
);

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl Kind for $type {
            const HOLDS: Holds = Holds::Integer;

            fn read(value: &mut Unchecked<'_>) -> Option<Self> {
                // TOML has no larger ones than those of an `i64`.
                Self::within(value, 0..=i64::MAX.unsigned_abs().min(Self::MAX as u64))
            }

            fn show(&self) -> Value {
                json!(self)
            }
        }

        impl Ranged for $type {
            type Limit = u64;

            fn within(value: &mut Unchecked<'_>, range: RangeInclusive<u64>) -> Option<Self> {
                integer(value, &range)?.try_into().ok()
            }
        }
    )+};
}

integers!(u16, u32, u64, usize);

/// A whole number; outside the file it is a text.
fn integer(value: &mut Unchecked<'_>, range: &RangeInclusive<u64>) -> Option<u64> {
    let wanted = format!("a whole number from {} to {}", range.start(), range.end());
    let (number, found) = match &value.given.raw {
        Raw::Integer(integer) => (u64::try_from(*integer).ok(), integer.to_string()),
        Raw::Text(text) if !value.is_of_file() => {
            (text.replace('_', "").parse().ok(), text.clone())
        }
        Raw::TooLarge(text) => (None, text.clone()),
        _ => return value.must_be(&wanted),
    };
    match number {
        Some(number) if range.contains(&number) => Some(number),
        _ => value.wrong(format!("must be {wanted}, not {found}")),
    }
}

macro_rules! wholes {
    ($($type:ident),+) => {$(
        impl Kind for $type {
            const HOLDS: Holds = Holds::Integer;

            fn read(value: &mut Unchecked<'_>) -> Option<Self> {
                u64::read(value).map(Self)
            }

            fn show(&self) -> Value {
                json!(self.0)
            }
        }
    )+};
}

wholes!(Amount, BlockHeight);

impl Kind for Duration {
    const HOLDS: Holds = Holds::Duration;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        Self::within(value, Self::ZERO..=Self::MAX)
    }

    fn show(&self) -> Value {
        json!(humantime::format_duration(*self).to_string())
    }
}

impl Ranged for Duration {
    type Limit = Self;

    fn within(value: &mut Unchecked<'_>, range: RangeInclusive<Self>) -> Option<Self> {
        let Raw::Text(text) = &value.given.raw else {
            return value.must_be("a length of time such as \"30s\"");
        };
        match humantime::parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(_) => {
                let [from, to] = [*range.start(), *range.end()].map(humantime::format_duration);
                value.wrong(format!("must be {from} to {to}, not {text}"))
            }
            Err(error) => value.wrong(format!(
                "{text:?} is not a length of time ({error}); write one such as \"500ms\", \"30s\", \
                 \"5m\", \"2h\" or \"30d\""
            )),
        }
    }
}

/// A rate; `None` is unlimited.
impl Kind for Option<Rate> {
    const HOLDS: Holds = Holds::Word;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        let Raw::Text(text) = &value.given.raw else {
            return value.must_be("a rate such as \"60/min\", or \"unlimited\"");
        };
        match Rate::parse(text) {
            Ok(rate) => Some(rate),
            Err(error) => value.wrong(format!("{text:?} {error}")),
        }
    }

    fn show(&self) -> Value {
        json!(Rate::show(*self))
    }
}

impl Kind for NodeUrl {
    const HOLDS: Holds = Holds::Url;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        match String::read(value)?.parse() {
            Ok(url) => Some(url),
            // The text itself may hold a password, so it is not repeated.
            Err(reason) => value.wrong(format!(
                "{reason}; write one such as \"http://127.0.0.1:8006\""
            )),
        }
    }

    fn show(&self) -> Value {
        json!(masked(self))
    }
}

impl Kind for CollectorUrl {
    const HOLDS: Holds = Holds::Url;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        match String::read(value)?.parse() {
            Ok(url) => Some(url),
            // The text itself may hold a password, so it is not repeated.
            Err(reason) => value.wrong(format!(
                "{reason}; write one such as \"http://127.0.0.1:4318\""
            )),
        }
    }

    fn show(&self) -> Value {
        json!(self.to_string())
    }
}

impl Kind for DatabaseUrl {
    const HOLDS: Holds = Holds::Text;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        match String::read(value)?.parse() {
            Ok(url) => Some(url),
            // The text itself may hold a password, so it is not repeated.
            Err(reason) => value.wrong(format!(
                "{reason}; write one such as \"postgresql://agentry@127.0.0.1/agentry\""
            )),
        }
    }

    fn show(&self) -> Value {
        json!(self.to_string())
    }
}

/// A path; in the file, as in the defaults, it is relative to the file's folder.
impl Kind for PathBuf {
    const HOLDS: Holds = Holds::Path;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        let text = String::read(value)?;
        if text.contains('\0') {
            return value.wrong("contains a NUL character, which no path may");
        }
        Some(match value.given.origin {
            Origin::File { .. } | Origin::Default => value.reader.folder.join(text),
            Origin::Environment { .. } | Origin::Flag { .. } => text.into(),
        })
    }

    fn show(&self) -> Value {
        json!(self.display().to_string())
    }
}

/// A loopback address with a port, which only this machine can reach.
impl Kind for SocketAddr {
    const HOLDS: Holds = Holds::Text;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        let text = String::read(value)?;
        let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
        match numeric.parse::<Self>() {
            Ok(address) if address.ip().is_loopback() => Some(address),
            Ok(address) => value.wrong(format!(
                "{address} can be reached from other machines, and what is served there has no \
                 access control; use 127.0.0.1:{} and a proxy",
                address.port()
            )),
            Err(_) => value.wrong(format!(
                "{text:?} is not an address with a port; write one such as \"127.0.0.1:8070\""
            )),
        }
    }

    fn show(&self) -> Value {
        json!(self.to_string())
    }
}

/// A list of texts; outside the file they are separated by commas. Those that are wrong are left
/// out.
impl<T: FromStr<Err: Display> + Display> Kind for Vec<T> {
    const HOLDS: Holds = Holds::List;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        let items = match &value.given.raw {
            Raw::List(items) => items.clone(),
            Raw::Text(text) if !value.is_of_file() => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Given {
                    raw: Raw::Text(item.to_owned()),
                    origin: value.given.origin.clone(),
                })
                .collect(),
            _ => value.must_be("a list of texts").unwrap_or_default(),
        };
        let parsed = |item| value.reader.unchecked(value.name, item).parsed();
        Some(items.iter().filter_map(parsed).collect())
    }

    fn show(&self) -> Value {
        json!(self.iter().map(ToString::to_string).collect::<Vec<_>>())
    }
}

impl Kind for NoncePolicy {
    const HOLDS: Holds = Holds::Word;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        match String::read(value)?.as_str() {
            "timestamp" => Some(Self::Timestamp),
            "sequential" => Some(Self::Sequential),
            other => value.wrong(format!(
                "must be \"timestamp\" or \"sequential\", not {other:?}"
            )),
        }
    }

    fn show(&self) -> Value {
        json!(self)
    }
}

impl Kind for Dialect {
    const HOLDS: Holds = Holds::Word;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        let name = String::read(value)?;
        let names = Self::ALL.map(|one| format!("\"{one}\"")).join(" or ");
        match Self::from_name(&name) {
            Some(dialect) => Some(dialect),
            None => value.wrong(format!("must be {names}, not {name:?}")),
        }
    }

    fn show(&self) -> Value {
        json!(self)
    }
}

impl Kind for Start {
    const HOLDS: Holds = Holds::Word;

    fn read(value: &mut Unchecked<'_>) -> Option<Self> {
        match &value.given.raw {
            Raw::Text(text) if text == "head" => Some(Self::Head),
            Raw::Text(text) if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => {
                value.wrong(format!("must be \"head\" or a height, not {text:?}"))
            }
            _ => BlockHeight::read(value).map(Self::Height),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Head => json!("head"),
            Self::Height(height) => height.show(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::Reader;
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
        let mut read = |given: Given, range| u64::within(&mut reader.unchecked("n", &given), range);
        assert_eq!(read(file(Raw::Integer(7)), 1..=9), Some(7));
        assert_eq!(read(flag("1_000"), 1..=9_000), Some(1_000));
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
            assert_eq!(read(bad.clone(), 1..=9), None, "{bad:?}");
        }
        assert_eq!(reader.issues.len(), 8);
    }

    #[test]
    fn only_loopback_is_accepted() {
        let mut reader = Reader::default();
        for good in ["127.0.0.1:8070", "[::1]:1", "localhost:0", "127.1.2.3:9"] {
            assert!(
                reader.read::<SocketAddr>("l", &flag(good)).is_some(),
                "{good}"
            );
        }
        for bad in [
            "0.0.0.0:8070",
            "[::]:1",
            "10.0.0.1:1",
            "127.0.0.1",
            "here:80",
            "8070",
        ] {
            assert!(
                reader.read::<SocketAddr>("l", &flag(bad)).is_none(),
                "{bad}"
            );
        }
        assert_eq!(reader.issues.len(), 6);
    }

    #[test]
    fn paths_of_the_file_are_relative_to_its_folder() {
        let mut reader = Reader {
            folder: "/etc".into(),
            ..Reader::default()
        };
        let mut read = |given: Given| reader.read::<PathBuf>("p", &given);
        assert_eq!(read(file(Raw::Text("a/b".into()))), Some("/etc/a/b".into()));
        assert_eq!(read(flag("a/b")), Some("a/b".into()));
        assert_eq!(read(file(Raw::Text("/a".into()))), Some("/a".into()));
    }

    #[test]
    fn durations_need_a_unit() {
        let mut reader = Reader::default();
        let range = Duration::from_secs(1)..=Duration::from_secs(60);
        let mut read =
            |given: Given| Duration::within(&mut reader.unchecked("d", &given), range.clone());
        assert_eq!(read(flag("30s")), Some(Duration::from_secs(30)));
        for bad in [flag("30"), flag("soon"), flag("2h"), file(Raw::Integer(30))] {
            assert_eq!(read(bad), None);
        }
        assert_eq!(reader.issues.len(), 4);
    }
}
