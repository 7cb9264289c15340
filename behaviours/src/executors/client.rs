//! The HTTP client of the executors.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, redirect, retry};

/// A client that goes nowhere else than it is told to: it follows no redirects, uses no proxies of
/// the environment, and sends nothing twice by itself.
pub(super) fn builder(connect_timeout: Duration) -> ClientBuilder {
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

/// An error of reqwest with all its sources, without the URL.
pub(super) fn reasons(error: reqwest::Error) -> String {
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
