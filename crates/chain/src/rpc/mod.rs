//! Under construction.
use crate::node::NodeClient;
use async_trait::async_trait;
use agentry_protocol::{BlockHash, ChainId};
use crate::node::Head;
use crate::source::{Batch, ChainSource, Cursor, Interest, Nature, SourceError, Start};

/// Options.
#[derive(Debug, Clone, Default)]
pub struct RpcOptions {}

/// The source.
#[derive(Debug)]
pub struct RpcSource {}

#[async_trait]
impl ChainSource for RpcSource {
    fn nature(&self) -> Nature { Nature { name: "rpc", exemptions: &[] } }
    async fn genesis(&mut self) -> Result<Option<BlockHash>, SourceError> { Err(SourceError::Closed) }
    async fn head(&mut self) -> Result<Option<Head>, SourceError> { Err(SourceError::Closed) }
    async fn begin(&mut self, _start: Start) -> Result<Cursor, SourceError> { Err(SourceError::Closed) }
    async fn read(&mut self, _cursor: &Cursor, _interest: &dyn Interest, _limit: usize) -> Result<Batch, SourceError> { Err(SourceError::Closed) }
    async fn changed(&mut self) { std::future::pending().await }
}
impl RpcSource {
    /// Makes it.
    #[must_use]
    pub fn new(_node: NodeClient, _chain: ChainId, _options: RpcOptions) -> Self { Self {} }
}
