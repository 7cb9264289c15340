//! The formats that Prometheus and its relatives read.

use std::fmt;

/// A format of the text of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Format {
    /// Prometheus' text format, version 0.0.4, which every scraper reads.
    Plain,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format for a request with this `Accept` header: OpenMetrics for those who ask for it, as
    /// Prometheus does.
    pub(in crate::runtime) fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Plain,
        }
    }

    /// Its media type.
    pub(in crate::runtime) const fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// A text in this format, from OpenMetrics.
    pub(in crate::runtime) fn of(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Plain => plain(&text).unwrap_or(text),
        }
    }
}

/// The same in the plain format: a counter there is called as its samples are, and neither units nor
/// the end of the text are marked.
fn plain(text: &str) -> Result<String, fmt::Error> {
    use fmt::Write;

    let mut plain = String::with_capacity(text.len() + text.len() / 8);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let comment = |line: &str, word: &str| {
            let (name, rest) = line.strip_prefix(word)?.split_once(' ')?;
            Some((name.to_owned(), rest.to_owned()))
        };
        let of_counter = |line: &str| {
            comment(line, "# TYPE ").is_some_and(|(_, metric_type)| metric_type == "counter")
        };
        if let Some((name, help)) = comment(line, "# HELP ") {
            let suffix = match lines.peek() {
                Some(next) if of_counter(next) => "_total",
                _ => "",
            };
            writeln!(plain, "# HELP {name}{suffix} {help}")?;
        } else if let Some((name, _)) = comment(line, "# TYPE ").filter(|_| of_counter(line)) {
            writeln!(plain, "# TYPE {name}_total counter")?;
        } else {
            writeln!(plain, "{line}")?;
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_called_as_their_samples_are_in_the_plain_format() {
        let text = "# HELP a_posts sent.\n# TYPE a_posts counter\na_posts_total{to=\"x\"} 1\n\
                    # HELP a_up up.\n# TYPE a_up gauge\na_up 1\n\
                    # HELP a_run_seconds long.\n# TYPE a_run_seconds histogram\n# UNIT a_run_seconds seconds\n\
                    a_run_seconds_sum 0.0\n# EOF\n";
        assert_eq!(Format::OpenMetrics.of(text.to_owned()), text);
        assert_eq!(
            Format::Plain.of(text.to_owned()),
            "# HELP a_posts_total sent.\n# TYPE a_posts_total counter\na_posts_total{to=\"x\"} 1\n\
             # HELP a_up up.\n# TYPE a_up gauge\na_up 1\n\
             # HELP a_run_seconds long.\n# TYPE a_run_seconds histogram\na_run_seconds_sum 0.0\n"
        );
    }

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        for other in [None, Some("*/*"), Some("text/plain")] {
            assert_eq!(Format::accepted(other), Format::Plain, "{other:?}");
        }
    }
}
