//! The address of a node.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use url::Url;

/// The address of a node: `http` or `https`, a host, no query, no fragment, no slash at the end. It
/// may contain a password: show it through [`masked`].
#[derive(Clone, PartialEq, Eq)]
pub struct NodeUrl(String);

impl NodeUrl {
    /// A node on this machine.
    pub fn local(port: u16) -> Self {
        Self(format!("http://127.0.0.1:{port}"))
    }
}

impl FromStr for NodeUrl {
    /// What is wrong with the text, without the text, which may contain a password.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "has the scheme {:?} and not http or https",
                url.scheme()
            ));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("has no host".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "ends in a query (`?…`) or a fragment (`#…`), which it cannot have".to_owned(),
            );
        }
        Ok(Self(plain(&url)))
    }
}

impl Deref for NodeUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<NodeUrl> for String {
    fn from(url: NodeUrl) -> Self {
        url.0
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(self))
    }
}

/// The base URL of a collector: as a [`NodeUrl`], without a user name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl(NodeUrl);

impl FromStr for CollectorUrl {
    /// What is wrong with the text, without the text, which may contain a password.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: NodeUrl = text.parse()?;
        if Url::parse(&url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
        {
            return Err(
                "contains a user name or a password; set OTEL_EXPORTER_OTLP_HEADERS".to_owned(),
            );
        }
        Ok(Self(url))
    }
}

impl Deref for CollectorUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A node's URL for display, with its password masked.
pub fn masked(url: &str) -> String {
    let Ok(mut masked) = Url::parse(url) else {
        return url.to_owned();
    };
    if masked.password().is_some() && masked.set_password(Some("***")).is_err() {
        return format!("{}://***", masked.scheme());
    }
    plain(&masked)
}

fn plain(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_node_urls_are_accepted() {
        for good in [
            "http://127.0.0.1:8006",
            "https://node.example/path/",
            "http://[::1]:1",
        ] {
            assert!(good.parse::<NodeUrl>().is_ok(), "{good}");
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
            assert!(bad.parse::<NodeUrl>().is_err(), "{bad}");
        }
        let secret: NodeUrl = "http://user:hunter2@node:1/".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "http://user:***@node:1");
    }
}
