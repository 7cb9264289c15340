//! A small HTTP request: its status, its date, and the beginning of its answer.

use std::time::SystemTime;

use agentry_protocol::Timestamp;
use reqwest::{Client, redirect};

use super::PATIENCE;

/// Maximum number of bytes of an answer that are read.
const LARGEST: usize = 64 << 10;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The header `Date`; its precision is one second.
    pub(super) date: Option<Timestamp>,
    /// The local clock before the request.
    pub(super) before: Timestamp,
    /// The local clock when the headers arrived.
    pub(super) after: Timestamp,
    /// The answer's text, up to the limit.
    pub(super) body: Vec<u8>,
}

/// Requests a page; `None` if there is no answer.
pub(super) async fn get(url: &str) -> Option<Answer> {
    // An error means that a provider is already installed, which is fine.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .ok()?;
    let before = now();
    let mut response = client.get(url).send().await.ok()?;
    let after = now();
    let date = response
        .headers()
        .get(reqwest::header::DATE)
        .and_then(|date| read_date(date.to_str().ok()?));
    let mut answer = Answer {
        status: response.status().as_u16(),
        date,
        before,
        after,
        body: Vec::new(),
    };
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = LARGEST - answer.body.len();
        answer
            .body
            .extend_from_slice(&chunk[..chunk.len().min(room)]);
        if answer.body.len() == LARGEST {
            break;
        }
    }
    Some(answer)
}

/// The local clock.
pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Parses an HTTP date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn read_date(date: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = date.split_once(", ")?.1.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (clock, zone) = (words.next()?, words.next()?);
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    let text = format!("{year}-{month:02}-{day}T{clock}Z");
    let time = humantime::parse_rfc3339(&text).ok()?;
    (zone == "GMT").then(|| time.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_http_spells_them() {
        let known = read_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(known, Some(Timestamp::new(784_111_777_000)));
        for other in [
            "",
            "now",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
        ] {
            assert_eq!(read_date(other), None, "{other}");
        }
    }
}
