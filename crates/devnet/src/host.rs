//! The check of the host that a request to a loopback server names.
//!
//! A page of any site can make a visitor's browser send requests to `127.0.0.1`: the site's own
//! name resolves to it (DNS rebinding), and the browser treats the answer as the site's. Such a
//! request names the site as its host.

use std::net::IpAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HOST;
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse};

/// Refuses a request that names another host than this machine's loopback, with 421. A request
/// without a host, as HTTP/1.0 allows, does not come from a browser and is accepted. Use it with
/// [`from_fn`](actix_web::middleware::from_fn).
///
/// # Errors
/// Those of the wrapped service.
pub async fn check_host(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let foreign = request
        .headers()
        .get_all(HOST)
        .map(|host| host.to_str().ok())
        .chain(request.uri().authority().map(|host| Some(host.as_str())))
        .any(|host| !host.is_some_and(is_loopback));
    if foreign {
        let text = "this server answers only requests to localhost and to loopback addresses; a \
                    proxy in front of it must send the header `Host: localhost`\n";
        return Ok(request.into_response(HttpResponse::MisdirectedRequest().body(text)));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// Whether the host of a request, with or without a port, is this machine's loopback. No site can
/// have such a name.
pub fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address, port),
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name
            .strip_suffix('.')
            .unwrap_or(name)
            .eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn loopback_has_these_names_alone() {
        for ours in [
            "localhost",
            "LocalHost:8006",
            "localhost.",
            "localhost:",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8006",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_loopback(ours), "{ours}");
        }
        for foreign in [
            "",
            ":80",
            "evil.example",
            "evil.example:8006",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-localhost",
            "localhost:8006@evil.example",
            "127.0.0.1:8006.evil.example",
            "[::1].evil.example",
            "[::1",
            "[::2]",
            "0.0.0.0",
            "10.0.0.1:8006",
            "::1",
            "localhost evil",
        ] {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }
}
