//! Appends over links that fail.

use std::time::Duration;

use agentry_cluster::{Database, Limits, Settings};
use agentry_core::cluster::ShardId;
use agentry_store::LogError;

use crate::{Appending, block, claim, cluster, halt, lead, open, reasons, server};
use agentry_testbed::proxy::{Proxy, Way};
use agentry_testbed::until;

const SHARD: ShardId = ShardId(0);

/// Short, so that the tests are.
const LIMITS: Limits = Limits {
    beat: Duration::from_millis(300),
    call: Duration::from_millis(300),
    bulk: Duration::from_secs(30),
};

/// The database of some settings, over a link.
fn over(settings: &Settings) -> (Proxy, Settings) {
    let proxy = block(Proxy::start(server().port()));
    let url = server().url(settings.database());
    let url = url.replace(&server().port().to_string(), &proxy.port().to_string());
    let settings = Settings::new(&[url], None, None).unwrap();
    (proxy, settings.with_limits(LIMITS))
}

#[test]
fn an_append_over_a_link_that_fails_is_done_once_when_it_returns() {
    for way in [Way::Cut, Way::Held, Way::HeldThere, Way::HeldBack] {
        let (settings, database) = block(cluster());
        let (proxy, linked) = over(&settings);
        let mut log = lead(&linked, SHARD, block(claim(&database, SHARD, 1)).epoch);
        log.append(&[&halt("before")]).unwrap();
        proxy.set(way);
        let tries = proxy.accepted();
        let appending = Appending::start(log, "meanwhile");
        until("it connects again", || proxy.accepted() > tries + 1);
        assert!(appending.is_under_way(), "{way:?}");
        let arrived = server().psql(settings.database(), "select count(*) from agentry.log");
        assert_eq!(arrived == "2", way == Way::HeldBack, "{way:?}: {arrived}");
        proxy.set(Way::Open);
        let (mut log, appended) = appending.end();
        assert_eq!(appended.unwrap().at.0, 2, "{way:?}");
        log.append(&[&halt("after")]).unwrap();
        assert_eq!(
            reasons(&*open(&settings, SHARD)),
            ["before", "meanwhile", "after"]
        );
    }
}

#[test]
fn an_append_whose_answer_was_lost_is_fenced_if_another_host_claims() {
    for way in [Way::Held, Way::HeldBack] {
        let (settings, database) = block(cluster());
        let (proxy, linked) = over(&settings);
        let mut log = lead(&linked, SHARD, block(claim(&database, SHARD, 1)).epoch);
        log.append(&[&halt("before")]).unwrap();
        proxy.set(way);
        let tries = proxy.accepted();
        let appending = Appending::start(log, "meanwhile");
        until("it connects again", || proxy.accepted() > tries);
        let claimed = block(claim(&database, SHARD, 2));
        proxy.set(Way::Open);
        let error = appending.end().1.unwrap_err();
        assert!(matches!(error, LogError::Fenced), "{error}");
        // Whether it is in the log was known when the other host claimed.
        let is_there = way == Way::HeldBack;
        assert_eq!(claimed.head, 1 + u64::from(is_there));
        let mut new = lead(&settings, SHARD, claimed.epoch);
        new.append(&[&halt("after")]).unwrap();
        let all = reasons(&*new);
        assert_eq!(all.len(), 2 + usize::from(is_there), "{all:?}");
    }
}

#[test]
fn an_append_that_arrives_after_it_was_tried_again_is_refused() {
    let (settings, database) = block(cluster());
    let epoch = block(claim(&database, SHARD, 1)).epoch;
    // The same server over two links: what the first holds, the second does not know.
    let proxy = block(Proxy::start(server().port()));
    let direct = server().url(settings.database());
    let first = direct.replace(&server().port().to_string(), &proxy.port().to_string());
    let both = Settings::new(&[first, direct], None, None).unwrap();
    let both = both.with_limits(Limits {
        call: Duration::from_secs(1),
        ..LIMITS
    });
    let mut log = lead(&both, SHARD, epoch);
    log.append(&[&halt("before")]).unwrap();
    assert_eq!(proxy.accepted(), 1);
    proxy.set(Way::HeldThere);
    let (log, appended) = Appending::start(log, "meanwhile").end();
    assert_eq!(appended.unwrap().at.0, 2);
    proxy.set(Way::Open);
    until("the first try has ended at the server", || {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                   and application_name like 'agentry log%'";
        server().psql(settings.database(), sql) == "1"
    });
    assert_eq!(reasons(&*log), ["before", "meanwhile"]);
}

#[test]
fn a_reader_is_told_once_that_its_connection_was_lost() {
    let (settings, database) = block(cluster());
    let (proxy, linked) = over(&settings);
    let mut log = lead(&settings, SHARD, block(claim(&database, SHARD, 1)).epoch);
    let mark = log.append(&[&halt("one")]).unwrap();
    let follower = open(&linked, SHARD);
    let read = || follower.read(mark.at, 1);
    assert!(read().unwrap().is_empty());
    for is_compared in [false, true] {
        proxy.set(Way::Cut);
        until("it is noticed", || match read() {
            Ok(_) => false,
            Err(LogError::Unavailable(_)) => true,
            Err(error) => panic!("{error}"),
        });
        proxy.set(Way::Open);
        if is_compared {
            follower.check(&mark).unwrap();
        } else {
            let error = read().unwrap_err();
            assert!(matches!(error, LogError::Unavailable(_)), "{error}");
        }
        assert!(read().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_ends_within_its_limit_and_works_again_when_the_link_does() {
    let (settings, _) = cluster().await;
    let proxy = Proxy::start(server().port()).await;
    let url = server().url(settings.database());
    let url = url.replace(&server().port().to_string(), &proxy.port().to_string());
    let settings = Settings::new(&[url], None, None)
        .unwrap()
        .with_limits(LIMITS);
    let database = Database::connect(&settings).await.unwrap();
    for way in [Way::Held, Way::HeldBack, Way::HeldThere, Way::Cut] {
        proxy.set(way);
        let error = database.layout().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        let error = database
            .release(SHARD, agentry_core::cluster::Epoch(7))
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{error}");
        proxy.set(Way::Open);
        database.layout().await.unwrap();
    }
}
