//! Requests of commands for shards that other hosts own. Each shard that does not run here has a control
//! socket here, too, so that a command finds the owner of its agent from any host. A request is passed
//! on through the database, and the owner has it carried out over the shard's own socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use agentry_cluster::{Database, TakenCall};
use agentry_core::cluster::{Incarnation, ShardId};
use tokio::time::{Instant, sleep};

use crate::doors::api::Api;
use crate::doors::console::sessions::Sessions;
use crate::runtime::control::{self, ControlSocket};
use crate::runtime::presence::Presence;

/// How often the database is asked whether there is an answer.
const LOOK: Duration = Duration::from_millis(50);

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a host takes requests.
const TAKE: Duration = Duration::from_millis(200);

/// The sockets of shards that do not run here.
#[derive(Debug)]
pub(super) struct Relays {
    database: Database,
    presence: Presence,
    console: Sessions,
    sockets: BTreeMap<ShardId, ControlSocket>,
}

impl Relays {
    pub(super) fn new(database: Database, api: &Api) -> Self {
        Self {
            database,
            presence: api.presence().clone(),
            console: api.console().clone(),
            sockets: BTreeMap::new(),
        }
    }

    /// Serves a shard's socket, unless it is served. Must be called within an actix system.
    pub(super) fn serve(&mut self, shard: ShardId, store: &Path) {
        if self.sockets.contains_key(&shard) {
            return;
        }
        let database = self.database.clone();
        let pass_on = move |request: String| {
            let database = database.clone();
            async move { pass_on(&database, shard, &request).await }
        };
        let presence = self.presence.clone();
        let refresh = move || {
            let presence = presence.clone();
            async move {
                let refreshed = presence.refresh(shard).await;
                refreshed.map_err(|error| error.to_string())
            }
        };
        match control::relay(store, self.console.clone(), pass_on, refresh) {
            Ok(socket) => {
                self.sockets.insert(shard, socket);
            }
            Err(error) => {
                tracing::debug!(shard.id = shard.0, %error, "the socket of a shard cannot be made");
            }
        }
    }

    /// Serves nothing any more.
    pub(super) fn end_all(&mut self) {
        self.sockets.clear();
    }

    /// Leaves a shard's socket to the shard, which is about to run here.
    pub(super) fn end(&mut self, shard: ShardId) {
        self.sockets.remove(&shard);
    }
}

/// Has the owner of a shard answer a request.
async fn pass_on(database: &Database, shard: ShardId, request: &str) -> Result<String, String> {
    let text = |error: agentry_cluster::ClusterError| error.to_string();
    let number = database.call(shard, request).await.map_err(text)?;
    let until = Instant::now() + PATIENCE;
    let answer = loop {
        match database.answer(number).await {
            Ok(Some(answer)) => break Ok(answer),
            Ok(None) if Instant::now() < until => sleep(LOOK).await,
            Ok(None) => {
                break Err(format!(
                    "the owner of shard {shard} did not answer within {PATIENCE:?}; whether it carried out the request is unknown"
                ));
            }
            Err(error) if error.is_transient() && Instant::now() < until => sleep(LOOK).await,
            Err(error) => break Err(error.to_string()),
        }
    };
    if let Err(error) = database.end_call(number).await {
        tracing::debug!(%error, "a request is removed later");
    }
    answer
}

/// Takes the requests for the shards of this host, and has them carried out, until this is dropped.
pub(super) async fn take(
    database: Database,
    me: Incarnation,
    path_of: impl Fn(ShardId) -> std::path::PathBuf,
) {
    loop {
        match database.take_calls(me).await {
            Ok(taken) => {
                for one in taken {
                    let store = path_of(one.shard);
                    tokio::spawn(answer(database.clone(), one, store));
                }
            }
            Err(error) => tracing::debug!(%error, "requests of other hosts cannot be taken"),
        }
        sleep(TAKE).await;
    }
}

async fn answer(database: Database, taken: TakenCall, store: std::path::PathBuf) {
    let answer = control::carry_out(&store, &taken.request).await;
    if let Err(error) = database.answer_call(taken.number, &answer).await {
        tracing::warn!(%error, "a request of another host cannot be answered");
    }
}
