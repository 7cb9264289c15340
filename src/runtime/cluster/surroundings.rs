//! What a host shows in its metrics of what is around it: the standby of the database, and the workers.
//! It decides nothing by it.

use std::sync::Arc;
use std::time::Duration;

use agentry_cluster::Database;

use crate::runtime::metrics::Metrics;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(10);

/// Looks until this is dropped.
pub(super) async fn watch(database: Database, metrics: Arc<Metrics>, kinds: Vec<String>) {
    loop {
        match database.synchronous_standbys().await {
            Ok(count) => metrics.saw_standbys(count),
            Err(error) => {
                tracing::debug!(%error, "the standbys of the cluster's database are not known");
                metrics.saw_standbys(None);
            }
        }
        match database.workers().await {
            Ok((workers, jobs)) => metrics.saw_workers(&kinds, &workers, &jobs),
            Err(error) => tracing::debug!(%error, "the workers of the cluster are not known"),
        }
        tokio::time::sleep(LOOK).await;
    }
}
