//! What executors that call a URL have in common: the check of `url`, and limits.

use std::time::Duration;

use agentry_sdk::ConfigureError;
use agentry_sdk::task::MAX_OUTPUT_BYTES;
use reqwest::Url;

use crate::units::{Bytes, Time};

/// The least and the most that `max_response_bytes` may be: a result is no longer than a task's output.
pub(super) const RESPONSE_BYTES: (Bytes, Bytes) = (Bytes(1), Bytes(MAX_OUTPUT_BYTES as u64));

/// The shortest and the longest time limit.
pub(super) const TIMES: (Time, Time) = (Time(Duration::from_millis(1)), Time::seconds(24 * 3600));

pub(super) const fn default_max_response_bytes() -> Bytes {
    Bytes(1 << 20)
}

pub(super) const fn default_connect_timeout() -> Time {
    Time::seconds(10)
}

/// The key `url`, without its fragment; `form` is how to write it.
///
/// # Errors
/// It is not the http or https URL of a host, or it contains a password. The errors omit the URL,
/// since the invalid part may be a password.
pub(super) fn url(text: &str, form: &str) -> Result<Url, ConfigureError> {
    let mut url = Url::parse(text)
        .map_err(|error| refused(&format!("is not a URL: {error}; write it as {form}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refused("is not the http or https URL of a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            "contains a user name or a password, which would be shown; use `key_file` or `key_env`",
        ));
    }
    url.set_fragment(None);
    Ok(url)
}

/// The error of a `url` that cannot be used.
pub(super) fn refused(reason: &str) -> ConfigureError {
    ConfigureError(format!("`url` {reason}"))
}
