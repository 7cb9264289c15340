//! Whose rights a request has.

use std::sync::Arc;

use agentry_protocol::Amount;
use rmcp::ErrorData;
use rmcp::model::Extensions;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::super::caller::{Caller, Rights, Scope};
use super::super::door::Door;
use super::super::error::{DoorError, ErrorCode};
use super::super::shards::Shards;
use super::http;
use crate::config::Config;
use crate::ops::who;
use crate::runtime::cluster::connect;

/// What a host that has started this process may do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The only agent that it uses: its name or its address.
    pub agent: Option<String>,
    /// Whether it only reads.
    pub read_only: bool,
    /// What it may spend.
    pub budget: Option<Amount>,
    /// The cost of one call above which a person is asked.
    pub ask_above: Option<Amount>,
}

/// Where the rights of a request come from.
#[derive(Debug)]
pub(super) enum Access {
    /// From the operator who has started this process.
    Local(Box<Local>),
    /// From the request: a [`Door`] in its extensions.
    Requests,
}

/// The rights of a host that has started this process.
#[derive(Debug)]
pub(super) struct Local {
    config: Arc<Config>,
    options: Options,
    /// Made when it is first needed: the wallet of the agent may not exist before.
    door: OnceCell<Door>,
}

/// What of a caller decides which tools it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Whether it may read.
    pub(super) reads: bool,
    /// Whether it may send.
    pub(super) sends: bool,
    /// Whether it has one agent, and need not say which.
    pub(super) is_bound: bool,
}

impl Local {
    pub(super) fn new(config: Arc<Config>, options: Options) -> Self {
        Self {
            config,
            options,
            door: OnceCell::new(),
        }
    }

    async fn door(&self) -> Result<Door, DoorError> {
        let door = self.door.get_or_try_init(async || {
            let agents = match self.options.agent.clone() {
                None => Scope::All,
                Some(agent) => {
                    let (config, runtime) = (Arc::clone(&self.config), Handle::current());
                    let resolve = move || match &config.cluster {
                        Some(_) => who::resolve_own(&agent, &config),
                        None => runtime.block_on(who::resolve_hosted(&agent, &config)),
                    };
                    let address = tokio::task::spawn_blocking(resolve).await??;
                    Scope::Only([address].into())
                }
            };
            let caller = Caller {
                agents,
                rights: Rights {
                    read: true,
                    send: !self.options.read_only,
                    // What a model sends does not change what the network knows of the agent.
                    operate: false,
                },
                ..Caller::operator()
            };
            let config = Arc::clone(&self.config);
            let Some(cluster) = &config.cluster else {
                return Ok::<_, DoorError>(Door::new(config, caller));
            };
            let count = connect::shards(cluster)
                .await
                .map_err(DoorError::unavailable)?;
            Ok(Door::of_cluster(config, caller, Shards::beside_host(count)))
        });
        door.await.cloned()
    }
}

impl Access {
    /// The operations for the caller of a request.
    ///
    /// # Errors
    /// The agent of `--agent` is not known; the request carries no rights.
    pub(super) async fn door(&self, request: &Extensions) -> Result<Door, DoorError> {
        match self {
            Self::Local(local) => local.door().await,
            Self::Requests => http::rights_of(request).ok_or_else(|| {
                DoorError::new(ErrorCode::Unauthenticated, "the request has no caller")
            }),
        }
    }

    /// Which tools the caller of a request is shown.
    pub(super) fn shown(&self, request: &Extensions) -> Result<Shown, ErrorData> {
        match self {
            Self::Local(local) => Ok(Shown {
                reads: true,
                sends: !local.options.read_only,
                is_bound: local.options.agent.is_some(),
            }),
            Self::Requests => {
                let door: Option<Door> = http::rights_of(request);
                let missing = || ErrorData::internal_error("the request has no caller", None);
                let door = door.ok_or_else(missing)?;
                let caller = door.caller();
                Ok(Shown {
                    reads: caller.rights.read,
                    sends: caller.rights.send,
                    is_bound: matches!(&caller.agents, Scope::Only(agents) if agents.len() == 1),
                })
            }
        }
    }

    /// Whether everything may be told to the caller, such as paths: it is the operator.
    pub(super) const fn is_operator(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}
