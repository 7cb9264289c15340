//! Values on the command line that several commands take.

use std::time::Duration;

/// A length of time on the command line, as `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write one such as 500ms, 30s or 5m"))
}
