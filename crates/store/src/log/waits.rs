//! What a log that is elsewhere and its store tell each other.

use tokio::sync::watch;

use crate::error::Trouble;
use crate::health::Health;

/// Given to a log when a store opens it: to say that commits wait, and to learn that the store closes.
///
/// Cheap to clone. The default is that of no store: nobody is told, and it never closes.
#[derive(Clone, Debug)]
pub struct Waits {
    health: Health,
    closing: watch::Receiver<bool>,
}

impl Default for Waits {
    fn default() -> Self {
        Self::new(Health::default(), watch::Sender::new(false).subscribe())
    }
}

impl Waits {
    pub(crate) const fn new(health: Health, closing: watch::Receiver<bool>) -> Self {
        Self { health, closing }
    }

    /// Says that commits wait, and why. It may be said again and again: the store logs and publishes
    /// only what changes.
    pub fn waits(&self, why: &str) {
        self.health.met(&Trouble::Refusal(why.to_owned()));
    }

    /// Says that commits wait no longer.
    pub fn stored(&self) {
        self.health.stored();
    }

    /// Whether the store closes. Then the log must not wait any longer.
    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits until the store closes.
    pub async fn closing(&self) {
        let mut closing = self.closing.clone();
        if closing.wait_for(|closing| *closing).await.is_err() {
            // There is no store, or it ended without saying so.
            std::future::pending::<()>().await;
        }
    }
}
