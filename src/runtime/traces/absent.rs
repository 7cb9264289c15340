//! In place of `otlp`, in a binary without that feature: there is no recorder.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agentry_protocol::Trace;

use super::{Role, TracesError};
use crate::config::TracesConfig;
use crate::runtime::metrics::Metrics;

#[derive(Debug)]
pub(super) struct Recorder(Infallible);

#[derive(Debug)]
pub(super) struct Recording(Infallible);

impl Recorder {
    pub(super) fn start(
        _: &TracesConfig,
        _: &tokio::runtime::Handle,
        _: &Arc<Metrics>,
    ) -> Result<Self, TracesError> {
        Err(TracesError::Absent)
    }

    pub(super) fn begin(
        &self,
        _: Role,
        _: String,
        _: Option<Trace>,
        _: Option<SystemTime>,
    ) -> Recording {
        match self.0 {}
    }

    #[expect(clippy::unused_async, reason = "the recorder of `otlp` waits")]
    pub(super) async fn stop(&self, _: Duration) {
        match self.0 {}
    }
}

impl Recording {
    pub(super) fn text(&mut self, _: &'static str, _: &str) {
        match self.0 {}
    }

    pub(super) fn number(&mut self, _: &'static str, _: u64) {
        match self.0 {}
    }

    pub(super) fn float(&mut self, _: &'static str, _: f64) {
        match self.0 {}
    }

    pub(super) fn failed(&mut self, _: &str) {
        match self.0 {}
    }

    pub(super) fn trace(&self) -> Option<Trace> {
        match self.0 {}
    }
}
