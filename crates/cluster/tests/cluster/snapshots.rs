//! Snapshots, and what is trimmed behind them.

use std::fs;

use agentry_cluster::{ClusterError, PART};
use agentry_core::cluster::{Epoch, ShardId};
use agentry_store::{LogError, Position};

use crate::{block, claim, cluster, halt, lead, server};

const SHARD: ShardId = ShardId(3);

/// A file of some size that is not all the same.
fn file(folder: &tempfile::TempDir, name: &str, size: usize) -> std::path::PathBuf {
    let path = folder.path().join(name);
    let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
    fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_read_as_it_was_stored_and_continued_after_an_interruption() {
    let (settings, database) = cluster().await;
    let folder = tempfile::tempdir().unwrap();
    let epoch = claim(&database, SHARD, 1).await.epoch;
    assert_eq!(database.newest_snapshot(SHARD).await.unwrap(), None);
    for (at, size) in [(1, 0), (2, 1), (3, PART), (4, 3 * PART + 7)] {
        let path = file(&folder, "put", size);
        assert!(
            database
                .put_snapshot(SHARD, epoch, at, &path)
                .await
                .unwrap()
        );
        let info = database.newest_snapshot(SHARD).await.unwrap().unwrap();
        assert_eq!((info.at, info.bytes), (at, size as u64));
        assert_eq!(info.parts as usize, size.div_ceil(PART).max(1));
        let got = folder.path().join(format!("got{at}"));
        assert!(database.get_snapshot(SHARD, &info, &got).await.unwrap());
        assert_eq!(fs::read(&got).unwrap(), fs::read(&path).unwrap());
        let error = database.get_snapshot(SHARD, &info, &got).await.unwrap_err();
        assert!(matches!(error, ClusterError::File { .. }), "{error}");
    }
    assert_eq!(database.newest_snapshot(ShardId(1)).await.unwrap(), None);

    // A copy that was interrupted is no snapshot until it was continued.
    let newest = database.newest_snapshot(SHARD).await.unwrap().unwrap();
    server().psql(
        settings.database(),
        "delete from agentry.snapshot where seq = 4 and part = 2",
    );
    assert_eq!(
        database.newest_snapshot(SHARD).await.unwrap().unwrap().at,
        3
    );
    let gone = database
        .get_snapshot(SHARD, &newest, &folder.path().join("gone"))
        .await
        .unwrap();
    assert!(!gone && !folder.path().join("gone").exists());
    let path = file(&folder, "put", 3 * PART + 7);
    assert!(database.put_snapshot(SHARD, epoch, 4, &path).await.unwrap());
    assert_eq!(
        database.newest_snapshot(SHARD).await.unwrap().unwrap(),
        newest
    );

    // Another host's copy of the same place is another file.
    let other = file(&folder, "other", 2 * PART);
    assert!(
        database
            .put_snapshot(SHARD, epoch, 4, &other)
            .await
            .unwrap()
    );
    let all = database.snapshots(SHARD).await.unwrap();
    assert_eq!(
        all.iter()
            .filter(|info| info.at == 4 && info.is_complete())
            .count(),
        2
    );

    let damage =
        "update agentry.snapshot set body = set_byte(body, 5, 99) where part = 1 and seq = 4";
    server().psql(settings.database(), damage);
    let error = database
        .get_snapshot(SHARD, &newest, &folder.path().join("bad"))
        .await
        .unwrap_err();
    assert!(matches!(error, ClusterError::Damaged { .. }), "{error}");
    assert!(!folder.path().join("bad").exists());
}

#[test]
fn the_log_is_trimmed_behind_the_snapshot_before_the_newest_by_the_last_owner_only() {
    let (settings, database) = block(cluster());
    let folder = tempfile::tempdir().unwrap();
    let epoch = block(claim(&database, SHARD, 1)).epoch;
    let mut log = lead(&settings, SHARD, epoch);
    for number in 1..=9 {
        log.append(&[&halt(&number.to_string())]).unwrap();
    }
    let put = |at: u64| {
        let path = file(&folder, &at.to_string(), at as usize);
        assert!(block(database.put_snapshot(SHARD, epoch, at, &path)).unwrap());
    };
    let trim = |epoch| block(database.trim(SHARD, epoch)).unwrap();
    assert_eq!(trim(epoch), 0);
    put(3);
    assert_eq!(trim(epoch), 0);
    put(5);
    put(8);
    // One that is not complete counts as none.
    server().psql(
        settings.database(),
        "update agentry.snapshot set parts = 2 where seq = 8",
    );
    assert_eq!(trim(Epoch(0)), 0);
    assert_eq!(trim(epoch), 3);
    assert!(matches!(
        log.read(Position(2), 1),
        Err(LogError::Trimmed { .. })
    ));
    assert_eq!(log.read(Position(3), 1).unwrap()[0].at, Position(4));
    server().psql(
        settings.database(),
        "update agentry.snapshot set parts = 1 where seq = 8",
    );
    assert_eq!(trim(epoch), 2);
    let left: Vec<_> = block(database.snapshots(SHARD))
        .unwrap()
        .iter()
        .map(|info| info.at)
        .collect();
    assert_eq!(left, [8, 5]);
    let sizes = block(database.log_sizes()).unwrap();
    assert_eq!(
        (sizes[3].head, sizes[3].records, sizes[0].records),
        (9, 4, 0)
    );
    assert!(sizes[3].bytes > 4 * 64);

    let path = file(&folder, "late", 1);
    let next = block(claim(&database, SHARD, 2));
    assert!(!block(database.put_snapshot(SHARD, epoch, 9, &path)).unwrap());
    assert_eq!(trim(epoch), 0);
    assert_eq!(next.head, 9);
}
