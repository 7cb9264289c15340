//! A request that leaves only while it may.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Says whether a request may still leave. It is asked when the connection is about to send the body:
/// between that and the moment when it is sent there is no wait, and a process that is frozen in between
/// has to be stopped within microseconds.
#[derive(Clone)]
pub struct Permit(Arc<dyn Fn() -> bool + Send + Sync>);

impl Permit {
    /// A permit for as long as this holds. It is called on any thread, and must not block.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    /// Whether it holds now.
    pub fn holds(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.holds()).finish()
    }
}

/// The permit of a request has ended before its body was sent.
#[derive(Debug, thiserror::Error)]
#[error("the time in which it could be sent has passed")]
pub(super) struct TooLate;

/// A body that is sent only while its permit holds. The node sees the begin of a request without it.
#[derive(Debug)]
pub(super) struct Permitted {
    bytes: Option<Bytes>,
    permit: Permit,
}

impl Permitted {
    pub(super) fn new(bytes: String, permit: Permit) -> Self {
        Self {
            bytes: Some(Bytes::from(bytes)),
            permit,
        }
    }
}

impl Body for Permitted {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        let Some(bytes) = self.bytes.take() else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(match self.permit.holds() {
            true => Ok(Frame::data(bytes)),
            false => Err(TooLate),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
