//! HTTP requests to places that an operator names.
//!
//! A name on the internet can resolve to an address of this machine or of its network. A request that
//! is not meant to reach those goes only to [public addresses](is_public), which is checked after each
//! resolution: a name that resolves to another address later is refused then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, RequestBuilder, Url, redirect, retry};

/// A client that goes nowhere else than it is told to: it follows no redirects, uses no proxies of
/// the environment, and sends nothing twice by itself.
pub fn client(connect_timeout: Duration) -> ClientBuilder {
    // An error means that a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .user_agent(concat!("agentry/", env!("CARGO_PKG_VERSION")))
}

/// A [`client`] that reaches public addresses only. It checks the addresses that names resolve to; a URL
/// that holds an address is not resolved, so refuse one that [is private](is_private) first.
pub fn public_client(connect_timeout: Duration) -> ClientBuilder {
    client(connect_timeout).dns_resolver(Arc::new(PublicOnly))
}

/// Sends a notification, which is accepted with a status of success. The rest of the answer is not read.
///
/// # Errors
/// Why it was not accepted, without the URL.
pub async fn tell(request: RequestBuilder) -> Result<(), String> {
    let answer = request.send().await.map_err(reasons)?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered {status}")),
    }
}

/// An error of reqwest with all its sources, without the URL.
pub fn reasons(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(reason) = source {
        text.push_str(": ");
        text.push_str(&reason.to_string());
        source = reason.source();
    }
    text
}

/// No address of a host is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host has no public address, and `allow_private` is not set")]
pub struct NotPublic;

/// Resolves names to their public addresses.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|found| is_public(found.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether the host of a URL is an address that is not [public](is_public). A name is none: it is checked
/// when it is resolved.
pub fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().is_ok_and(|address| !is_public(address))
}

/// Whether an address is one of the public internet: none of this machine, of a private network or
/// with a special meaning.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        // "This network", and networks of providers (RFC 6598).
        || first == 0
        || (first == 100 && (64..128).contains(&second))
        // Assignments of the IETF, and benchmarks (RFC 2544).
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && (18..20).contains(&second))
        // Multicast, reserved, broadcast.
        || first >= 224;
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // NAT64 and 6to4 reach an address of IPv4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Assignments of the IETF, among them Teredo; documentation.
        [0x2001, second, ..] if second < 0x200 => false,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // The only part of the space whose addresses are global.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_global_addresses_are_public() {
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn a_url_is_private_if_it_holds_an_address_that_is_not_public() {
        for (url, expected) in [
            ("https://127.0.0.1:8443/x", true),
            ("https://0x7f.1/", true),
            ("https://[::1]:8443/", true),
            ("https://[::ffff:10.0.0.1]/", true),
            ("https://1.1.1.1/", false),
            ("https://[2606:4700::1111]/", false),
            ("https://localhost/", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_private(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
