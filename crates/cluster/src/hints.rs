//! Who is told at once that there is something to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::database::Database;
use crate::link::{Call, Link};

/// How often the connection is looked after. If it is lost, hints are, too, until then.
const LOOK: Duration = Duration::from_secs(5);

/// What hints are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A job was put: for workers.
    Put,
    /// A job has ended: for owners.
    End,
    /// A shard was released: for hosts.
    Released,
}

/// Hints that it may be worth to look, from a connection of its own. A hint may be lost, and may come
/// without a reason: whoever waits for hints looks now and then without one, too. Dropping it closes
/// the connection.
#[derive(Debug)]
pub struct Hints {
    notified: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Hints {
    /// Waits for a hint. One that came since the last call counts; several count as one.
    pub async fn next(&self) {
        self.notified.notified().await;
    }
}

impl Database {
    /// Begins to listen for hints. The first one comes at once.
    pub fn hints(&self, topic: Topic) -> Hints {
        let notified = Arc::new(Notify::new());
        let link = Link::new(self.settings(), "hints").telling(&notified);
        let mut task = JoinSet::new();
        let limit = self.limits().call;
        task.spawn(listen(link, topic, limit, Arc::clone(&notified)));
        Hints {
            notified,
            _task: task,
        }
    }
}

/// Keeps the connection listening.
async fn listen(mut link: Link, topic: Topic, limit: Duration, notified: Arc<Notify>) {
    let listen = match topic {
        Topic::Put => "listen agentry_job",
        Topic::End => "listen agentry_end",
        Topic::Released => "listen agentry_released",
    };
    let mut connection = 0;
    loop {
        let call = Call::read("listening for hints", limit);
        match link.script(call, listen).await {
            // What was missed meanwhile may have been important.
            Ok(()) if connection != link.connections() => {
                connection = link.connections();
                notified.notify_one();
            }
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "no hints for now"),
        }
        tokio::time::sleep(LOOK).await;
    }
}
