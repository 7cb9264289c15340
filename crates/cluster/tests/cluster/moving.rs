//! Filling a cluster from the store of a single machine, and closing it: at most one side acts.

use std::path::PathBuf;

use agentry_cluster::{ClusterError, Database, Moving};
use agentry_core::cluster::{Epoch, Incarnation, ShardId};

use crate::{cluster, halt, lead, shards};

const ONE: Incarnation = Incarnation([1; 16]);
const OTHER: Incarnation = Incarnation([2; 16]);

fn tables(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("tables");
    std::fs::write(&path, text).unwrap();
    path
}

async fn try_claim(database: &Database, shard: u16) -> Option<Epoch> {
    let seen = database.view().await.unwrap();
    let seen = seen.shard(ShardId(shard)).unwrap().epoch;
    let claim = database.claim(ShardId(shard), seen, ONE, 1).await.unwrap();
    claim.map(|claim| claim.epoch)
}

fn in_use(result: &Result<(), ClusterError>) {
    assert!(matches!(result, Err(ClusterError::InUse)), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_filled_as_a_whole_or_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (_, database) = cluster().await;
    let seen = database.view().await.unwrap().shards[0].epoch;
    let old = database.begin_import(ONE).await.unwrap();
    let layout = database.layout().await.unwrap();
    assert_eq!(layout.moving, Some(Moving::Importing(ONE)));
    assert!(matches!(layout.check_open(), Err(ClusterError::Importing)));
    assert_eq!(database.init(shards(4)).await.unwrap(), layout);
    // Neither a claim that was under way when it began nor a later one.
    assert_eq!(
        database.claim(ShardId(0), seen, OTHER, 1).await.unwrap(),
        None
    );
    assert_eq!(try_claim(&database, 0).await, None);
    let path = tables(&folder, "old");
    let fill = async |shard, epoch| database.fill(shard, epoch, 1, &path).await;
    fill(ShardId(0), old[&ShardId(0)]).await.unwrap();
    in_use(&database.end_import(ONE).await);

    // It was interrupted, and begins again with other tables.
    let epochs = database.begin_import(OTHER).await.unwrap();
    in_use(&fill(ShardId(1), old[&ShardId(1)]).await);
    tables(&folder, "new");
    for (shard, epoch) in epochs {
        for _ in 0..2 {
            fill(shard, epoch).await.unwrap();
        }
    }
    in_use(&database.end_import(ONE).await);
    database.end_import(OTHER).await.unwrap();
    in_use(&database.end_import(OTHER).await);
    assert_eq!(database.layout().await.unwrap().moving, None);
    let all = database.snapshots(ShardId(0)).await.unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0].is_complete() && all[0].at == 1 && all[0].bytes == 3);
    assert_eq!(database.view().await.unwrap().shards[3].head, 1);
    assert!(try_claim(&database, 0).await.is_some());
    in_use(&database.begin_import(ONE).await.map(drop));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_a_host_has_used_is_not_filled() {
    let (_, database) = cluster().await;
    let epoch = try_claim(&database, 2).await.unwrap();
    in_use(&database.begin_import(ONE).await.map(drop));
    assert!(database.release(ShardId(2), epoch).await.unwrap());
    // Nothing is in its log.
    database.begin_import(ONE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_closed_only_as_it_was_read() {
    let (settings, database) = cluster().await;
    let epoch = try_claim(&database, 1).await.unwrap();
    let appended = tokio::task::spawn_blocking(move || {
        let mut log = lead(&settings, ShardId(1), epoch);
        log.append(&[&halt("one")]).unwrap();
        log
    });
    let mut log = appended.await.unwrap();
    let fenced = database.fence().await.unwrap();
    assert_eq!(fenced.len(), 4);
    assert_eq!((fenced[1].shard, fenced[1].head), (ShardId(1), 1));
    assert!(fenced[1].epoch > epoch);
    // An owner that was only slow appends nothing any more.
    let late = tokio::task::spawn_blocking(move || log.append(&[&halt("late")]));
    assert!(late.await.unwrap().is_err());
    assert_eq!(database.view().await.unwrap().shards[1].head, 1);

    // A host claims a shard meanwhile: it goes on.
    let claimed = try_claim(&database, 3).await.unwrap();
    in_use(&database.end_export(ONE, &fenced).await);
    assert_eq!(database.layout().await.unwrap().moving, None);
    assert!(database.release(ShardId(3), claimed).await.unwrap());
    in_use(&database.end_export(ONE, &fenced).await);

    let seen = database.view().await.unwrap().shards[0].epoch.next();
    let fenced = database.fence().await.unwrap();
    assert_eq!(fenced[0].epoch, seen);
    in_use(&database.end_export(ONE, &fenced[1..]).await);
    database.end_export(ONE, &fenced).await.unwrap();
    let layout = database.layout().await.unwrap();
    assert_eq!(layout.moving, Some(Moving::Exported(ONE)));
    let error = layout.check_open().unwrap_err();
    assert!(
        error.to_string().contains(&layout.id.to_string()),
        "{error}"
    );
    // A claim that was under way names an epoch that is not the last one.
    assert_eq!(
        database.claim(ShardId(0), seen, OTHER, 1).await.unwrap(),
        None
    );
    assert_eq!(try_claim(&database, 0).await, None);
    assert!(database.fence().await.unwrap().is_empty());
    in_use(&database.begin_import(OTHER).await.map(drop));
}
