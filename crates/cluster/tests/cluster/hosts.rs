//! The tables, beats and claims.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_cluster::{ClusterError, Database, HostRow};
use agentry_core::cluster::{Epoch, Incarnation, ShardId};

use crate::{cluster, shards};

fn host(number: u8) -> HostRow {
    HostRow {
        incarnation: Incarnation([number; 16]),
        name: format!("host{number}"),
        address: "http://127.0.0.1:1".to_owned(),
        version: "0.1.0".to_owned(),
        config_hash: "abc".to_owned(),
        format: 1,
        draining: false,
        without_node: false,
        following: BTreeMap::from([(ShardId(1), 7), (ShardId(3), u64::MAX >> 1)]),
        submit: "http://127.0.0.1:2".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_created_once_and_keeps_its_number_of_shards() {
    let (settings, database) = cluster().await;
    let layout = database.layout().await.unwrap();
    assert_eq!(layout.shards.get(), 4);
    assert_eq!(database.init(shards(4)).await.unwrap(), layout);
    let error = database.init(shards(5)).await.unwrap_err();
    assert!(
        matches!(error, ClusterError::OtherShards { found: 4, asked: 5 }),
        "{error}"
    );
    assert_eq!(database.view().await.unwrap().shards.len(), 4);

    // Many at the same time.
    let others = (0..6).map(|_| {
        let settings = settings.clone();
        tokio::spawn(async move {
            let database = Database::connect(&settings).await.unwrap();
            database.init(shards(4)).await.unwrap()
        })
    });
    for other in others.collect::<Vec<_>>() {
        assert_eq!(other.await.unwrap(), layout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_create_a_cluster_at_the_same_time_agree() {
    let server = crate::server();
    let name = server.database();
    let settings = agentry_cluster::Settings::new(&[server.url(&name)], None, None).unwrap();
    let create = |count| {
        let settings = settings.clone();
        tokio::spawn(async move {
            let database = Database::connect(&settings).await.unwrap();
            database.init(shards(count)).await
        })
    };
    let created: Vec<_> = [3, 4, 3, 4].into_iter().map(create).collect();
    let mut layouts = Vec::new();
    for one in created {
        match one.await.unwrap() {
            Ok(layout) => layouts.push(layout),
            Err(error) => assert!(matches!(error, ClusterError::OtherShards { .. }), "{error}"),
        }
    }
    assert_eq!(layouts.len(), 2);
    assert_eq!(layouts[0], layouts[1]);
    let rows = server.psql(&name, "select count(*) from agentry.shard");
    assert_eq!(rows, layouts[0].shards.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_cluster_and_one_of_a_later_version_are_named() {
    let server = crate::server();
    let name = server.database();
    let settings = agentry_cluster::Settings::new(&[server.url(&name)], None, None).unwrap();
    let database = Database::connect(&settings).await.unwrap();
    for error in [
        database.layout().await.map(|_| ()).unwrap_err(),
        database.beat(&host(1)).await.map(|_| ()).unwrap_err(),
        database.view().await.map(|_| ()).unwrap_err(),
    ] {
        assert!(matches!(error, ClusterError::NotInitialised), "{error}");
        assert!(!error.is_transient());
    }
    database.init(shards(2)).await.unwrap();
    server.psql(&name, "update agentry.cluster set format = 99");
    let error = database.init(shards(2)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClusterError::NewerFormat {
                found: 99,
                known: 1
            }
        ),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_more_of_a_host() {
    let (_, database) = cluster().await;
    let one = host(1);
    database.beat(&one).await.unwrap();
    let look = database.look().await.unwrap();
    assert_eq!(look.view.hosts.len(), 1);
    let facts = &look.hosts[&one.incarnation];
    assert_eq!(facts.submit, one.submit);
    // Both are on this machine.
    let ahead = facts.clock_ahead_ms.unwrap();
    assert!((-10_000..=0).contains(&ahead), "{ahead}");
    let health = database.check(None).await.unwrap();
    let ahead = health.clock_ahead_ms;
    assert!((-10_000..=10_000).contains(&ahead), "{ahead}");
    assert!(health.timeouts.is_empty(), "{:?}", health.timeouts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_an_earlier_version_gets_what_it_lacks() {
    let (settings, database) = cluster().await;
    let layout = database.layout().await.unwrap();
    let drop = "drop table agentry.worker; alter table agentry.host drop column submit, \
                drop column clock";
    crate::server().psql(settings.database(), drop);
    let database = Database::connect(&settings).await.unwrap();
    assert!(database.beat(&host(1)).await.is_err());
    assert_eq!(database.init(shards(4)).await.unwrap(), layout);
    database.beat(&host(1)).await.unwrap();
    assert!(database.workers().await.unwrap().0.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_shows_all_hosts_and_shards_and_ourselves() {
    let (_, database) = cluster().await;
    let (one, two) = (host(1), host(2));
    let view = database.beat(&one).await.unwrap();
    assert_eq!((view.hosts.len(), view.hosts[0].beat), (1, 1));
    database.beat(&two).await.unwrap();
    let view = database.beat(&one).await.unwrap();
    assert_eq!(
        view.hosts.iter().map(|host| host.beat).collect::<Vec<_>>(),
        [2, 1]
    );
    let seen = view.host(two.incarnation).unwrap();
    assert_eq!((&seen.name, &seen.following), (&two.name, &two.following));
    assert_eq!(
        (&*seen.address, &*seen.version, &*seen.config_hash),
        ("http://127.0.0.1:1", "0.1.0", "abc")
    );
    assert_eq!(view.shards.len(), 4);
    assert_eq!(view.shards[2].id, ShardId(2));
    assert_eq!(
        (
            view.shards[2].owner,
            view.shards[2].epoch,
            view.shards[2].head
        ),
        (None, Epoch(0), 0)
    );

    // A drain stays until it is taken back, whoever asked for it.
    assert_eq!(database.drain("host2", true).await.unwrap(), 1);
    assert_eq!(database.drain("nobody", true).await.unwrap(), 0);
    database.beat(&two).await.unwrap();
    assert!(
        database
            .view()
            .await
            .unwrap()
            .host(two.incarnation)
            .unwrap()
            .draining
    );
    database.drain("host2", false).await.unwrap();
    assert!(
        !database
            .beat(&two)
            .await
            .unwrap()
            .host(two.incarnation)
            .unwrap()
            .draining
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_claimed_once_for_each_epoch_and_released_by_its_owner_only() {
    let (_, database) = cluster().await;
    let (one, two) = (host(1).incarnation, host(2).incarnation);
    let shard = ShardId(3);
    let claim = database
        .claim(shard, Epoch(0), one, 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((claim.epoch, claim.head), (Epoch(1), 0));
    assert_eq!(database.claim(shard, Epoch(0), two, 1).await.unwrap(), None);
    let claim = database
        .claim(shard, Epoch(1), two, 3)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(claim.epoch, Epoch(2));
    assert!(!database.release(shard, Epoch(1)).await.unwrap());
    assert_eq!(
        database.view().await.unwrap().shard(shard).unwrap().owner,
        Some(two)
    );
    assert!(database.release(shard, Epoch(2)).await.unwrap());
    let seen = database.view().await.unwrap().shard(shard).unwrap().clone();
    assert_eq!((seen.owner, seen.epoch, seen.format), (None, Epoch(2), 3));
    // Its log may have the format 3 now.
    assert_eq!(database.claim(shard, Epoch(2), one, 2).await.unwrap(), None);
    assert_eq!(
        database.claim(ShardId(77), Epoch(0), one, 2).await.unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_hosts_that_claim_at_the_same_time_one_gets_the_shard() {
    let (settings, database) = cluster().await;
    for epoch in 0..8 {
        let claims = (1..=6).map(|number| {
            let settings = settings.clone();
            tokio::spawn(async move {
                let database = Database::connect(&settings).await.unwrap();
                let me = Incarnation([number; 16]);
                let claim = database
                    .claim(ShardId(0), Epoch(epoch), me, 1)
                    .await
                    .unwrap();
                claim.map(|claim| (me, claim.epoch))
            })
        });
        let mut won = Vec::new();
        for claim in claims.collect::<Vec<_>>() {
            won.extend(claim.await.unwrap());
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(won[0].1, Epoch(epoch + 1));
        let view = database.view().await.unwrap();
        assert_eq!(view.shard(ShardId(0)).unwrap().owner, Some(won[0].0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_host_stays_while_it_owns_a_shard() {
    let (_, database) = cluster().await;
    let (one, two) = (host(1), host(2));
    database.beat(&one).await.unwrap();
    database.beat(&two).await.unwrap();
    let claim = database
        .claim(ShardId(0), Epoch(0), one.incarnation, 1)
        .await
        .unwrap()
        .unwrap();
    let long = Duration::from_secs(3600);
    assert!(database.remove_dead_hosts(long).await.unwrap().is_empty());
    assert_eq!(
        database.remove_dead_hosts(Duration::ZERO).await.unwrap(),
        ["host2"]
    );
    database.release(ShardId(0), claim.epoch).await.unwrap();
    database.leave(one.incarnation).await.unwrap();
    assert!(database.view().await.unwrap().hosts.is_empty());
}
