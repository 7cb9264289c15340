//! Tasks: ending those that are executed here.

use agentry_core::Commit;
use agentry_core::commit::TaskEnd;
use agentry_core::rows::TaskId;
use agentry_store::read;

use super::{OperationError, Operations};

impl Operations {
    /// Ends a task that runs or waits here, and notifies its submitter. Returns whether there was
    /// such a task.
    ///
    /// # Errors
    /// The store's.
    pub async fn cancel_task(&self, task: TaskId) -> Result<bool, OperationError> {
        let shared = &self.shared;
        loop {
            let row = shared.store.read(move |db| read::task(db, task)).await?;
            let Some(row) = row.filter(|row| row.state.is_open()) else {
                return Ok(false);
            };
            let receipt = shared
                .store
                .commit_now(Commit::TaskEnd {
                    task,
                    attempts: row.attempts,
                    end: TaskEnd::Canceled,
                    duration_ms: 0,
                    at: shared.clock.now_ms(),
                })
                .await?;
            // Another attempt began meanwhile, or the task has ended.
            if receipt.stale {
                continue;
            }
            shared.pool.cancel(&[task]);
            self.wake(receipt.due).await;
            return Ok(true);
        }
    }
}
