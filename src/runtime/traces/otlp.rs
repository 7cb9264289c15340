//! Recording spans with the SDK of OpenTelemetry, and exporting them over OTLP (HTTP, protobuf).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use agentry_protocol::Trace;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, Protocol, SpanExporter,
    WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::names::{ERROR, SCHEMA};
use super::{ENDPOINT_VARIABLES, Role, TracesError};
use crate::config::TracesConfig;
use crate::runtime::metrics::{Metrics, SpanEnd};

/// How many spans wait for their export; a span takes about a kilobyte.
const QUEUE: usize = 4_096;

/// The most spans of one request.
const BATCH: usize = 512;

/// How long spans are gathered for one request.
const GATHER: Duration = Duration::from_secs(1);

/// How long a request may take, unless the variables of OpenTelemetry say otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest text about a failed export that is logged, in characters.
const DETAIL: usize = 300;

/// The path of the service below a base URL.
const PATH: &str = "/v1/traces";

/// Records spans.
pub(super) struct Recorder {
    tracer: SdkTracer,
    stop: watch::Sender<bool>,
    /// None after the stop.
    export: Mutex<Option<JoinHandle<()>>>,
    /// It ends the tracer when it is dropped.
    _provider: SdkTracerProvider,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    pub(super) fn start(
        config: &TracesConfig,
        workers: &tokio::runtime::Handle,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, TracesError> {
        let endpoint = endpoint(config)?;
        let mut exporter = exporter(&endpoint)?;
        let resource = resource();
        exporter.set_resource(&resource);
        let (spans, queue) = mpsc::channel(QUEUE);
        let processor = Queue {
            spans,
            metrics: Arc::clone(metrics),
        };
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        let scope = InstrumentationScope::builder("agentry")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA)
            .build();
        let (stop, stopped) = watch::channel(false);
        let export = Export {
            exporter,
            queue,
            metrics: Arc::clone(metrics),
            stopped,
            fails: false,
        };
        tracing::info!(collector = endpoint.host_str(), "traces are exported");
        Ok(Self {
            tracer: provider.tracer_with_scope(scope),
            stop,
            export: Mutex::new(Some(workers.spawn(export.run()))),
            _provider: provider,
        })
    }

    pub(super) fn begin(
        &self,
        role: Role,
        name: String,
        parent: Option<Trace>,
        began: Option<SystemTime>,
    ) -> Recording {
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(context_of(parent)),
            None => Context::new(),
        };
        let mut builder = SpanBuilder::from_name(name).with_kind(match role {
            Role::Consumer => SpanKind::Consumer,
            Role::Producer => SpanKind::Producer,
            Role::Client => SpanKind::Client,
            Role::Internal => SpanKind::Internal,
        });
        builder.start_time = began;
        Recording(self.tracer.build_with_context(builder, &context))
    }

    pub(super) async fn stop(&self, limit: Duration) {
        // It has ended if nobody listens.
        let _ = self.stop.send(true);
        let export = self
            .export
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut export) = export else {
            return;
        };
        if tokio::time::timeout(limit, &mut export).await.is_err() {
            export.abort();
            tracing::warn!(
                "the collector did not take the last spans in time; they are not exported"
            );
        }
    }
}

/// A span that is recorded. It ends when it is dropped.
pub(super) struct Recording(Span);

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recording").field(&self.trace()).finish()
    }
}

impl Recording {
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.0.set_attribute(KeyValue::new(name, value.to_owned()));
    }

    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.0.set_attribute(KeyValue::new(name, value));
    }

    pub(super) fn float(&mut self, name: &'static str, value: f64) {
        self.0.set_attribute(KeyValue::new(name, value));
    }

    pub(super) fn failed(&mut self, reason: &str) {
        self.text(ERROR, reason);
        self.0.set_status(Status::error(""));
    }

    pub(super) fn trace(&self) -> Option<Trace> {
        let context = self.0.span_context();
        context.is_sampled().then(|| Trace {
            id: context.trace_id().to_bytes(),
            parent: context.span_id().to_bytes(),
            flags: context.trace_flags().to_u8(),
        })
    }
}

fn context_of(trace: Trace) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.id),
        SpanId::from_bytes(trace.parent),
        TraceFlags::new(trace.flags),
        true,
        TraceState::default(),
    )
}

/// Passes spans that have ended to the export, without waiting.
struct Queue {
    spans: mpsc::Sender<SpanData>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.metrics.spans(SpanEnd::Dropped, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The task that exports.
struct Export {
    exporter: SpanExporter,
    queue: mpsc::Receiver<SpanData>,
    metrics: Arc<Metrics>,
    stopped: watch::Receiver<bool>,
    /// Whether the last request failed.
    fails: bool,
}

impl Export {
    async fn run(mut self) {
        loop {
            let mut batch = Vec::new();
            let stopped = tokio::select! {
                _ = self.queue.recv_many(&mut batch, BATCH) => *self.stopped.borrow(),
                _ = self.stopped.changed() => true,
            };
            if !stopped && batch.len() < BATCH {
                let stopped = self.stopped.clone();
                self.gather(&mut batch, stopped).await;
            }
            if *self.stopped.borrow() {
                self.queue.close();
            }
            while batch.len() < BATCH
                && let Ok(span) = self.queue.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            self.export(batch).await;
        }
    }

    /// Waits for more spans, for a moment.
    async fn gather(&mut self, batch: &mut Vec<SpanData>, mut stopped: watch::Receiver<bool>) {
        let until = tokio::time::sleep(GATHER);
        tokio::pin!(until);
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                () = &mut until => return,
                _ = stopped.changed() => return,
                count = self.queue.recv_many(batch, room) => if count == 0 {
                    return;
                },
            }
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        match self.exporter.export(batch).await {
            Ok(()) => {
                self.metrics.spans(SpanEnd::Exported, count);
                if std::mem::take(&mut self.fails) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.metrics.spans(SpanEnd::Failed, count);
                if !std::mem::replace(&mut self.fails, true) {
                    let error: String = error.to_string().chars().take(DETAIL).collect();
                    tracing::warn!(
                        error,
                        "the collector does not take spans; they are lost until it does"
                    );
                }
            }
        }
    }
}

/// Where spans are sent: the URL of the service itself.
fn endpoint(config: &TracesConfig) -> Result<url::Url, TracesError> {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let [of_traces, of_all] = ENDPOINT_VARIABLES;
    let below = |base: &str| format!("{}{PATH}", base.trim_end_matches('/'));
    let (name, text) = if let Some(endpoint) = &config.endpoint {
        ("[traces] endpoint", below(endpoint))
    } else if let Some(text) = variable(of_traces) {
        (of_traces, text)
    } else {
        (of_all, below(&variable(of_all).unwrap_or_default()))
    };
    let refused = |reason: &str| TracesError::Exporter(format!("{name} {reason}"));
    let url = url::Url::parse(&text).map_err(|error| refused(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refused("is not the http or https URL of a collector"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            "contains a user name or a password, which would be shown; \
             set OTEL_EXPORTER_OTLP_HEADERS in its place",
        ));
    }
    Ok(url)
}

fn exporter(endpoint: &url::Url) -> Result<SpanExporter, TracesError> {
    let refused = |error: &dyn fmt::Display| TracesError::Exporter(error.to_string());
    // An error means that a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout())
        .build()
        .map_err(|error| refused(&error))?;
    SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint.as_str())
        .build()
        .map_err(|error| refused(&error))
}

fn timeout() -> Duration {
    let set = [
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
        OTEL_EXPORTER_OTLP_TIMEOUT,
    ]
    .iter()
    .find_map(|name| std::env::var(name).ok()?.parse().ok());
    set.map_or(TIMEOUT, Duration::from_millis)
}

/// What the spans are of: `agentry`, unless the variables of OpenTelemetry say otherwise.
fn resource() -> Resource {
    let named = std::env::var_os("OTEL_SERVICE_NAME").is_some()
        || std::env::var("OTEL_RESOURCE_ATTRIBUTES")
            .is_ok_and(|text| text.contains("service.name="));
    let mut resource = Resource::builder();
    if !named {
        resource = resource.with_service_name("agentry");
    }
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    resource.with_attribute(version).build()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn config(endpoint: &str) -> TracesConfig {
        TracesConfig {
            endpoint: Some(endpoint.parse().unwrap()),
        }
    }

    fn start(endpoint: &str, metrics: &Arc<Metrics>) -> Recorder {
        let workers = tokio::runtime::Handle::current();
        Recorder::start(&config(endpoint), &workers, metrics).unwrap()
    }

    fn count(metrics: &Metrics, end: &str) -> u64 {
        let text = metrics.encode().unwrap();
        let start = format!("agentry_trace_spans_total{{end=\"{end}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |count| count.parse().unwrap())
    }

    #[tokio::test]
    async fn spans_beyond_the_queue_are_dropped_and_counted() {
        // It accepts connections, and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let metrics = Arc::new(Metrics::new());
        let recorder = start(&url, &metrics);
        let more = 1_000;
        // The export does not run meanwhile: this test has one thread.
        for _ in 0..QUEUE + more {
            drop(recorder.begin(Role::Internal, "work".to_owned(), None, None));
        }
        assert_eq!(count(&metrics, "dropped"), more as u64);
        let began = Instant::now();
        recorder.stop(Duration::from_millis(200)).await;
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(count(&metrics, "exported"), 0);
        // A second stop has nothing to wait for.
        recorder.stop(Duration::from_secs(3600)).await;
    }

    #[tokio::test]
    async fn what_a_collector_refuses_is_counted() {
        let metrics = Arc::new(Metrics::new());
        let recorder = start("http://127.0.0.1:1", &metrics);
        drop(recorder.begin(Role::Client, "call".to_owned(), None, None));
        recorder.stop(Duration::from_secs(60)).await;
        assert_eq!(count(&metrics, "failed"), 1);
    }

    #[tokio::test]
    async fn a_span_is_part_of_the_trace_that_it_follows_from() {
        let metrics = Arc::new(Metrics::new());
        let recorder = start("http://127.0.0.1:1", &metrics);
        let begin = |parent| recorder.begin(Role::Consumer, "x".to_owned(), parent, None);
        let parent: Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            .parse()
            .unwrap();
        let trace = begin(Some(parent)).trace().unwrap();
        assert_eq!((trace.id, trace.flags), (parent.id, 1));
        assert_ne!(trace.parent, parent.parent);
        let first = begin(None).trace().unwrap();
        assert_ne!(first.id, parent.id);
        // Its sender does not want it recorded.
        assert_eq!(begin(Some(Trace { flags: 0, ..parent })).trace(), None);
        recorder.stop(Duration::ZERO).await;
    }

    #[test]
    fn the_service_is_below_the_endpoint() {
        for (endpoint, expected) in [
            ("http://h:4318", "http://h:4318/v1/traces"),
            ("https://h/otlp/", "https://h/otlp/v1/traces"),
        ] {
            let found = super::endpoint(&config(endpoint)).unwrap();
            assert_eq!(found.as_str(), expected);
        }
        for bad in ["h:4318", "ftp://h", "http://user@h", "http://h/?x"] {
            assert!(bad.parse::<crate::config::CollectorUrl>().is_err(), "{bad}");
        }
    }
}
