//! Traces: what an agent does because of a message, exported over OTLP.
//!
//! A span is a piece of work: a message that an agent handles, the run of a behaviour, an attempt
//! at a task, a call of a model, a transaction on its way into a block. Its parent is the span that
//! the message, or what follows from it, carries in its [`Trail`](agentry_protocol::Trail), so one
//! trace covers all agents that take part, in whatever processes they are.
//!
//! Spans say who did what, when and for how long. They hold no content of a message, no text of an
//! error and no secret.
//!
//! | module | contents |
//! |---|---|
//! | `otlp` | recording and exporting; with the cargo feature `otlp` |
//! | `absent` | its place without the feature |
//! | `names` | the names of spans and attributes |
//!
//! **It never gets in the way.** Without `[traces]`, nothing is recorded and messages carry the trace
//! that they follow from, unchanged. With it, spans wait in a bounded queue for a task that exports
//! them; if the queue is full, or the collector refuses them or does not answer, they are lost and
//! counted.

#[cfg(not(feature = "otlp"))]
mod absent;
pub(crate) mod names;
#[cfg(feature = "otlp")]
mod otlp;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentry_chain::ChainTransaction;
use agentry_protocol::{Address, BlockHeight, Timestamp, Trace, TransactionHash};
use agentry_sdk::RemoteCall;
use agentry_sdk::task::CallEnd;

#[cfg(not(feature = "otlp"))]
use absent::{Recorder, Recording};
#[cfg(feature = "otlp")]
use otlp::{Recorder, Recording};

use super::metrics::Metrics;
use super::registry::AgentRegistry;
use crate::config::TracesConfig;

/// The variables that name a collector, besides `[traces] endpoint`: the first is the whole URL for
/// traces, the second is a base for all signals.
pub(crate) const ENDPOINT_VARIABLES: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The binary cannot export.
    #[error(
        "[traces] is configured, but this binary was built without the cargo feature `otlp`; build it with the default features, or remove the table"
    )]
    Absent,
    /// The exporter cannot be set up.
    #[error("setting up the export of traces: {0}")]
    Exporter(String),
}

/// What a span's work is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It handles a message.
    Consumer,
    /// It sends a message.
    Producer,
    /// It asks a service.
    Client,
    /// It is a part of something else.
    Internal,
}

/// Records spans, or nothing if traces are off. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Recorder>>);

impl Traces {
    /// Starts to export spans on this tokio runtime, if a collector is configured, in agents.toml or
    /// by the variables of OpenTelemetry.
    ///
    /// # Errors
    /// [`TracesError`].
    pub fn start(
        config: &TracesConfig,
        workers: &tokio::runtime::Handle,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, TracesError> {
        let is_disabled =
            std::env::var("OTEL_SDK_DISABLED").is_ok_and(|text| text.eq_ignore_ascii_case("true"));
        let by_variable = ENDPOINT_VARIABLES
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|text| !text.is_empty()));
        let is_wanted = config.endpoint.is_some() || (by_variable && cfg!(feature = "otlp"));
        if is_disabled || !is_wanted {
            return Ok(Self::default());
        }
        let recorder = Recorder::start(config, workers, metrics)?;
        Ok(Self(Some(Arc::new(recorder))))
    }

    /// Whether spans are recorded.
    pub(crate) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span. Without a parent, it is the first of a new trace.
    pub(crate) fn begin(
        &self,
        role: Role,
        name: impl FnOnce() -> String,
        parent: Option<Trace>,
    ) -> Span {
        self.begin_at(role, name, parent, None)
    }

    /// Begins a span whose work began at another time than now.
    pub(crate) fn begin_at(
        &self,
        role: Role,
        name: impl FnOnce() -> String,
        parent: Option<Trace>,
        began: Option<SystemTime>,
    ) -> Span {
        let recorder = self.0.as_ref();
        Span(recorder.map(|recorder| recorder.begin(role, name(), parent, began)))
    }

    /// Records a call that has ended, as a part of `parent`.
    pub(crate) fn call(&self, call: &RemoteCall, end: &CallEnd, parent: Trace) {
        use names::gen_ai;
        let name = || match &call.model {
            Some(model) => format!("{} {model}", call.operation),
            None => call.operation.to_owned(),
        };
        let mut span = self.begin_at(Role::Client, name, Some(parent), Some(end.began));
        span.text(gen_ai::OPERATION, call.operation);
        span.text(gen_ai::PROVIDER, call.provider);
        span.text(gen_ai::SERVER, &call.host);
        if let Some(port) = call.port {
            span.number(gen_ai::PORT, port.into());
        }
        if let Some(model) = &call.model {
            span.text(gen_ai::MODEL, model);
        }
        if let Some(most) = call.max_tokens {
            span.number(gen_ai::MAX_TOKENS, most);
        }
        if let Some(temperature) = call.temperature {
            span.float(gen_ai::TEMPERATURE, temperature);
        }
        if let Some(used) = end.tokens {
            span.number(gen_ai::INPUT_TOKENS, used.input);
            span.number(gen_ai::OUTPUT_TOKENS, used.output);
        }
        if let Some(error) = &end.error {
            span.failed(error);
        }
    }

    /// Records how transactions of hosted wallets came into a block: from when they were composed,
    /// which the ids of their messages say, until now.
    pub(crate) fn mined(&self, sent: &[SentOut]) {
        for one in sent {
            let began = UNIX_EPOCH + Duration::from_millis(one.composed.get());
            let name = || format!("send {}", one.kind);
            let mut span = self.begin_at(Role::Producer, name, Some(one.trace), Some(began));
            span.text(names::AGENT, &one.agent);
            span.text(names::MESSAGE, one.kind);
            span.text(names::TO, one.to.as_str());
            span.text_of(names::TRANSACTION, || one.hash.to_string());
            span.number(names::BLOCK, one.height.0);
        }
    }

    /// Exports what was recorded, for as long as `limit`, and ends the export.
    pub(crate) async fn stop(&self, limit: Duration) {
        if let Some(recorder) = &self.0 {
            recorder.stop(limit).await;
        }
    }
}

/// A transaction of a hosted wallet that is part of a trace, in a block.
#[derive(Clone, Debug)]
pub(crate) struct SentOut {
    /// Its sender's name in agents.toml.
    pub(crate) agent: String,
    /// Its recipient.
    pub(crate) to: Address,
    /// The kind of its message; see [`names::kind`].
    pub(crate) kind: &'static str,
    /// When its message was composed.
    pub(crate) composed: Timestamp,
    /// The span that made it.
    pub(crate) trace: Trace,
    /// Its hash.
    pub(crate) hash: TransactionHash,
    /// Its block.
    pub(crate) height: BlockHeight,
}

impl SentOut {
    /// A transaction that the chain shows, if it is one.
    pub(crate) fn of(transaction: &ChainTransaction, registry: &AgentRegistry) -> Option<Self> {
        let stored = &transaction.stored;
        let hosted = registry.at(stored.from.as_str())?;
        let envelope = stored.envelope();
        let header = envelope.header()?;
        Some(Self {
            agent: hosted.config.name.clone(),
            to: stored.to.clone(),
            kind: names::kind(&envelope.payload),
            composed: header.id?.time(),
            trace: header.trail.trace?,
            hash: transaction.hash,
            height: transaction.height,
        })
    }
}

/// A piece of work that is recorded, or not. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Span(Option<Recording>);

impl Span {
    /// Adds an attribute.
    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        if let Some(recording) = &mut self.0 {
            recording.text(name, value);
        }
    }

    /// Adds an attribute that is made only if the span is recorded.
    pub(crate) fn text_of(&mut self, name: &'static str, value: impl FnOnce() -> String) {
        if let Some(recording) = &mut self.0 {
            recording.text(name, &value());
        }
    }

    /// Adds an attribute.
    pub(crate) fn number(&mut self, name: &'static str, value: u64) {
        if let Some(recording) = &mut self.0 {
            recording.number(name, value);
        }
    }

    /// Adds an attribute.
    pub(crate) fn float(&mut self, name: &'static str, value: f64) {
        if let Some(recording) = &mut self.0 {
            recording.float(name, value);
        }
    }

    /// The work failed, with this machine-readable reason.
    pub(crate) fn failed(&mut self, reason: &str) {
        if let Some(recording) = &mut self.0 {
            recording.failed(reason);
        }
    }

    /// Ends the span before it would be dropped.
    pub(crate) fn end(self) {}

    /// What a message that follows from the work carries, and what spans that are a part of it have as
    /// their parent; none if the span is not recorded.
    pub(crate) fn trace(&self) -> Option<Trace> {
        self.0.as_ref().and_then(Recording::trace)
    }
}
