//! What a message follows from: how many messages came before it, and the trace that it is part of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::json::{Json, JsonRef};
use crate::text::{read_hex, serde_as_text, write_hex};

/// What a message follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Trail {
    /// How many messages the message follows from, one after the other: 0 for the first message, which
    /// a person, a program or a schedule has sent. An agent that receives one with more than it allows
    /// does not act on it, so agents that answer each other without end are stopped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u32,
    /// The trace that the message is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn is_zero(hops: &u32) -> bool {
    *hops == 0
}

impl Trail {
    /// That of a message which follows from nothing.
    pub const NONE: Self = Self {
        hops: 0,
        trace: None,
    };

    /// That of the messages which follow from a message with this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            hops: self.hops.saturating_add(1),
            ..self
        }
    }

    /// Whether it is [`NONE`](Self::NONE).
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Reads the field `trace` of a header. What is not a trace context counts as missing, as W3C Trace
    /// Context asks for: a receiver must not refuse a message for it.
    pub(super) fn read_trace(value: Option<JsonRef<'_>>) -> Option<Trace> {
        value?.as_str()?.parse().ok()
    }

    /// The fields of a header.
    pub(super) fn fields(self) -> [Option<(&'static str, Json)>; 2] {
        let hops = (self.hops > 0).then(|| ("hops", Json::integer(self.hops.into())));
        let trace = self
            .trace
            .map(|trace| ("trace", Json::string(trace.to_string())));
        [hops, trace]
    }
}

/// A trace context, as the header `traceparent` of [W3C Trace
/// Context](https://www.w3.org/TR/trace-context/#traceparent-header) carries it: the trace that an
/// operation is part of, and the span that caused it.
///
/// Text and serde: the 55 characters of version 00.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The id of the trace; not all zero.
    pub id: [u8; 16],
    /// The id of the span that caused the message; not all zero.
    pub parent: [u8; 8],
    /// Flags. The lowest bit says that the trace may be recorded.
    pub flags: u8,
}

/// A text is not a trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a trace context is 00-<32 digits>-<16 digits>-<2 digits>, lower-case hexadecimal digits, neither id all zero"
)]
pub struct TraceError;

impl FromStr for Trace {
    type Err = TraceError;

    fn from_str(text: &str) -> Result<Self, TraceError> {
        fn part<const N: usize>(text: Option<&str>) -> Result<[u8; N], TraceError> {
            read_hex::<N>(text.ok_or(TraceError)?, true).map_err(|_| TraceError)
        }
        let mut parts = text.split('-');
        if parts.next() != Some("00") {
            return Err(TraceError);
        }
        let id = part(parts.next())?;
        let parent = part(parts.next())?;
        let [flags] = part(parts.next())?;
        if parts.next().is_some() || id == [0; 16] || parent == [0; 8] {
            return Err(TraceError);
        }
        Ok(Self { id, parent, flags })
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("00-")?;
        write_hex(&self.id, formatter)?;
        formatter.write_str("-")?;
        write_hex(&self.parent, formatter)?;
        formatter.write_str("-")?;
        write_hex(&[self.flags], formatter)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Trace({self})")
    }
}

serde_as_text!(Trace, Self::from_str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_is_read_as_w3c_writes_it() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace: Trace = text.parse().unwrap();
        assert_eq!((trace.id[0], trace.parent[1], trace.flags), (0x4b, 0xf0, 1));
        assert_eq!(trace.to_string(), text);
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(wrong.parse::<Trace>(), Err(TraceError), "{wrong}");
        }
    }

    #[test]
    fn what_follows_counts_one_more_and_stays_in_the_trace() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trail = Trail {
            hops: 3,
            trace: trace.parse().ok(),
        };
        assert_eq!(trail.next(), Trail { hops: 4, ..trail });
        let most = Trail {
            hops: u32::MAX,
            ..trail
        };
        assert_eq!(most.next(), most);
        assert_eq!(
            serde_json::to_string(&trail).unwrap(),
            format!(r#"{{"hops":3,"trace":"{trace}"}}"#)
        );
        assert_eq!(serde_json::from_str::<Trail>("{}").unwrap(), Trail::NONE);
    }
}
