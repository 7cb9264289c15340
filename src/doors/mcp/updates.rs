//! Telling subscribers what has changed.
//!
//! This process need not be the runtime: a resource has changed if its content is another than a
//! moment ago.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{ResourceUpdatedNotificationParam, SubscriptionFilter};
use rmcp::service::{Peer, RoleServer, SubscriptionContext};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::super::door::Door;
use super::resources::Place;

/// The pause between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// How many resources a connection, or a stream, watches.
const WATCHED: usize = 16;

/// How many looks are taken at the same time, for all connections: fewer than the store serves, so
/// that subscribers delay each other, and nobody else.
const LOOKS: usize = 2;

static LOOKING: Semaphore = Semaphore::const_new(LOOKS);

/// The resources that a connection watches, before revision 2026-07-28.
#[derive(Debug, Default)]
pub(super) struct Watched {
    watches: Mutex<HashMap<String, Watch>>,
}

/// A task that watches a resource, until this is dropped.
#[derive(Debug)]
struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watched {
    /// Watches a resource.
    ///
    /// # Errors
    /// It cannot be watched; there are too many.
    pub(super) async fn add(
        &self,
        uri: &str,
        door: Door,
        peer: Peer<RoleServer>,
    ) -> Result<(), ErrorData> {
        let place = watchable(uri).ok_or_else(|| {
            ErrorData::invalid_params("this resource cannot be subscribed to", None)
        })?;
        let mut known = Content::of(&place, &door).await;
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if watches.len() >= WATCHED && !watches.contains_key(uri) {
            let message = format!("a connection subscribes to at most {WATCHED} resources");
            return Err(ErrorData::invalid_params(message, None));
        }
        let told = ResourceUpdatedNotificationParam::new(uri);
        let task = tokio::spawn(async move {
            while !peer.is_transport_closed() {
                tokio::time::sleep(EVERY).await;
                if known.has_changed(&place, &door).await
                    && peer.notify_resource_updated(told.clone()).await.is_err()
                {
                    return;
                }
            }
        });
        watches.insert(uri.to_owned(), Watch(task.abort_handle()));
        Ok(())
    }

    /// Stops watching a resource.
    pub(super) fn remove(&self, uri: &str) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.remove(uri);
    }
}

/// The part of a request for notifications that is fulfilled.
pub(super) fn accepted(requested: &SubscriptionFilter) -> SubscriptionFilter {
    let uris = requested.resource_subscriptions.as_ref().map(|uris| {
        let watched = uris.iter().filter(|uri| watchable(uri).is_some());
        watched.take(WATCHED).cloned().collect()
    });
    let mut accepted = SubscriptionFilter::default();
    accepted.resource_subscriptions = uris;
    accepted
}

/// Watches the resources of a stream until it ends.
pub(super) async fn follow(subscription: &SubscriptionContext, door: &Door) {
    let uris = subscription.accepted().resource_subscriptions.clone();
    let mut watched = Vec::new();
    for uri in uris.unwrap_or_default() {
        if let Some(place) = watchable(&uri) {
            let known = Content::of(&place, door).await;
            watched.push((uri, place, known));
        }
    }
    loop {
        tokio::select! {
            () = subscription.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        for (uri, place, known) in &mut watched {
            let has_changed = known.has_changed(place, door).await;
            let sink = subscription.sink();
            if has_changed && sink.notify_resource_updated(uri.clone()).await.is_err() {
                return;
            }
        }
    }
}

fn watchable(uri: &str) -> Option<Place> {
    uri.parse().ok().filter(Place::is_watched)
}

/// The content of a resource, as a hash; none if it could not be read.
struct Content(Option<u64>);

impl Content {
    async fn of(place: &Place, door: &Door) -> Self {
        // It is never closed.
        let _turn = LOOKING.acquire().await;
        let read = place.read(door).await.ok();
        Self(read.map(|content| {
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            hasher.finish()
        }))
    }

    /// Whether it is another now. One that cannot be read has not changed.
    async fn has_changed(&mut self, place: &Place, door: &Door) -> bool {
        let now = Self::of(place, door).await;
        let has_changed = now.0.is_some() && now.0 != self.0;
        if now.0.is_some() {
            *self = now;
        }
        has_changed
    }
}
