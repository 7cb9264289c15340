//! The queue of jobs, with workers that race, die, or are late.

use std::collections::BTreeSet;
use std::time::Duration;

use agentry_cluster::{
    Claim, ClusterError, Database, Ended, Hints, JobCount, JobKey, JobState, MAX_PAYLOAD, NewJob,
    Outcome, Put, Room, Settings, Standing, Topic, WorkerRow,
};
use agentry_core::TaskId;
use agentry_core::cluster::{Epoch, ShardId};

use crate::{claim, cluster, server};

const SHARD: ShardId = ShardId(2);
const LIMIT: Duration = Duration::from_secs(60);

fn key(task: i64, attempt: u32) -> JobKey {
    JobKey {
        shard: SHARD,
        task: TaskId(task),
        attempt,
    }
}

async fn owned() -> (Settings, Database, Claim) {
    let (settings, database) = cluster().await;
    let claim = claim(&database, SHARD, 1).await;
    (settings, database, claim)
}

async fn put(database: &Database, epoch: Epoch, key: JobKey, kind: &str) {
    let input = format!("input of {}", key.task);
    let job = NewJob {
        key,
        kind,
        input: input.as_bytes(),
    };
    assert_eq!(database.put_job(epoch, &job).await.unwrap(), Put::There);
}

async fn state(database: &Database, key: JobKey) -> JobState {
    let jobs = database.jobs(&[key.shard]).await.unwrap();
    jobs.into_iter().find(|job| job.key == key).unwrap().state
}

/// Makes a worker's last beat old, as time does.
fn age(settings: &Settings) {
    server().psql(
        settings.database(),
        "update agentry.job set beat = beat - interval '1 hour'",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_seen_until_they_end_or_are_long_lost() {
    let (settings, database, claim) = owned().await;
    let (workers, jobs) = database.workers().await.unwrap();
    assert!(workers.is_empty() && jobs.is_empty());
    let row = |id: &str, running| WorkerRow {
        id: id.to_owned(),
        version: "0.1.0".to_owned(),
        kinds: [
            ("chat".to_owned(), Room { most: 2, running }),
            (
                "a, {b}".to_owned(),
                Room {
                    most: 1,
                    running: 0,
                },
            ),
        ]
        .into(),
    };
    database.beat_worker(&row("b", 0)).await.unwrap();
    database.beat_worker(&row("a", 0)).await.unwrap();
    database.beat_worker(&row("b", 2)).await.unwrap();
    for task in 1..=3 {
        put(&database, claim.epoch, key(task, 1), "chat").await;
    }
    database.take_job("b", &["chat"]).await.unwrap().unwrap();
    let (workers, jobs) = database.workers().await.unwrap();
    let seen: Vec<_> = workers.into_iter().map(|one| one.row).collect();
    assert_eq!(seen, [row("a", 0), row("b", 2)]);
    let count = JobCount {
        waiting: 2,
        taken: 1,
    };
    assert_eq!(jobs, [("chat".to_owned(), count)].into());
    // One that ends removes those that are long lost.
    let old = "update agentry.worker set seen = seen - interval '1 hour' where id = 'a'";
    server().psql(settings.database(), old);
    database.beat_worker(&row("c", 0)).await.unwrap();
    database
        .remove_worker("b", Duration::from_secs(7200))
        .await
        .unwrap();
    let ids = async || {
        let (workers, _) = database.workers().await.unwrap();
        let ids = workers.into_iter().map(|one| one.row.id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids().await, ["a", "c"]);
    database
        .remove_worker("none", Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(ids().await, ["c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_put_once_taken_in_order_by_its_kind_and_ends_with_its_result() {
    let (_, database, claim) = owned().await;
    for (task, kind) in [(1, "render"), (2, "chat"), (3, "chat")] {
        put(&database, claim.epoch, key(task, 1), kind).await;
        put(&database, claim.epoch, key(task, 1), kind).await;
    }
    assert_eq!(database.take_job("w", &["other"]).await.unwrap(), None);
    let taken = database
        .take_job("w", &["other", "chat"])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (taken.key, &*taken.kind, &*taken.input),
        (key(2, 1), "chat", &b"input of 2"[..])
    );
    assert_eq!(state(&database, key(2, 1)).await, JobState::Taken);
    let running = [(key(2, 1), Some("half")), (key(3, 1), None)];
    let standing = database.beat_jobs("w", &running).await.unwrap();
    assert_eq!(standing, [Standing::Ours, Standing::Lost]);
    // A beat without news keeps what was said.
    database.beat_jobs("w", &[(key(2, 1), None)]).await.unwrap();
    let jobs = database.jobs(&[ShardId(0), SHARD]).await.unwrap();
    assert_eq!(jobs.len(), 3);
    assert_eq!(
        (jobs[1].progress.as_deref(), jobs[1].worker.as_deref()),
        (Some("half"), Some("w"))
    );

    assert_eq!(database.job_result(key(2, 1)).await.unwrap(), None);
    let done = Outcome::Done(b"result");
    // An answer that was lost: the same end again.
    for _ in 0..2 {
        assert_eq!(
            database.end_job("w", key(2, 1), done).await.unwrap(),
            Ended::Stored
        );
    }
    let other = Outcome::Done(b"another");
    assert_eq!(
        database.end_job("w", key(2, 1), other).await.unwrap(),
        Ended::Refused
    );
    assert_eq!(
        database.end_job("v", key(2, 1), done).await.unwrap(),
        Ended::Refused
    );
    assert_eq!(
        database.job_result(key(2, 1)).await.unwrap().unwrap(),
        b"result"
    );
    assert_eq!(state(&database, key(2, 1)).await, JobState::Done);
    // Only what has ended is deleted.
    let deleted = database
        .delete_jobs(&[key(1, 1), key(2, 1), key(9, 1)])
        .await
        .unwrap();
    assert_eq!(deleted, 1);
    assert_eq!(database.jobs(&[SHARD]).await.unwrap().len(), 2);
    assert_eq!(
        database.end_job("w", key(2, 1), done).await.unwrap(),
        Ended::Refused
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_race_take_each_job_once() {
    let (settings, database, claim) = owned().await;
    for task in 1..=40 {
        put(&database, claim.epoch, key(task, 1), "chat").await;
    }
    let workers = (0..4).map(|number| {
        let settings = settings.clone();
        tokio::spawn(async move {
            let database = Database::connect(&settings).await.unwrap();
            let (worker, mut taken) = (format!("w{number}"), Vec::new());
            while let Some(job) = database.take_job(&worker, &["chat"]).await.unwrap() {
                let ended = database.end_job(&worker, job.key, Outcome::Done(worker.as_bytes()));
                assert_eq!(ended.await.unwrap(), Ended::Stored);
                taken.push(job.key);
            }
            taken
        })
    });
    let mut all = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        all.extend(worker.await.unwrap());
    }
    assert_eq!(all.len(), 40);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 40);
}

/// A worker that is killed beats no more; one that was only paused comes too late.
#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_a_lost_worker_is_interrupted_and_its_late_end_refused() {
    let (settings, database, claim) = owned().await;
    put(&database, claim.epoch, key(1, 1), "chat").await;
    put(&database, claim.epoch, key(2, 1), "chat").await;
    for task in [1, 2] {
        let taken = database
            .take_job(&format!("w{task}"), &["chat"])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(taken.key, key(task, 1));
    }
    let none = database.interrupt_lost_jobs(LIMIT).await.unwrap();
    assert!(none.is_empty());
    // A host that has only just reached the database interrupts nothing, and a server that has only
    // just started makes every beat new.
    age(&settings);
    let other = Database::connect(&settings).await.unwrap();
    assert!(other.interrupt_lost_jobs(LIMIT).await.unwrap().is_empty());
    assert!(
        database
            .interrupt_lost_jobs(Duration::from_secs(0))
            .await
            .is_ok()
    );
    let states = [
        state(&database, key(1, 1)).await,
        state(&database, key(2, 1)).await,
    ];
    assert_eq!(states, [JobState::Interrupted; 2]);

    let beaten = database
        .beat_jobs("w1", &[(key(1, 1), None)])
        .await
        .unwrap();
    assert_eq!(beaten, [Standing::Lost]);
    let late = database
        .end_job("w1", key(1, 1), Outcome::Done(b"late"))
        .await
        .unwrap();
    assert_eq!(late, Ended::Refused);
    // The owner makes another attempt, which has a result of its own.
    put(&database, claim.epoch, key(1, 2), "chat").await;
    let taken = database.take_job("w3", &["chat"]).await.unwrap().unwrap();
    assert_eq!(taken.key, key(1, 2));
    let late = database
        .end_job("w1", key(1, 2), Outcome::Done(b"late"))
        .await
        .unwrap();
    assert_eq!(late, Ended::Refused);
    let ended = database
        .end_job("w3", key(1, 2), Outcome::Done(b"in time"))
        .await
        .unwrap();
    assert_eq!(ended, Ended::Stored);
    assert_eq!(
        database.job_result(key(1, 2)).await.unwrap().unwrap(),
        b"in time"
    );
    assert_eq!(database.job_result(key(1, 1)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_before_it_is_taken_or_by_its_worker() {
    let (_, database, claim) = owned().await;
    put(&database, claim.epoch, key(1, 1), "chat").await;
    put(&database, claim.epoch, key(2, 1), "chat").await;
    let waiting = database.cancel_job(key(1, 1)).await.unwrap();
    assert_eq!(waiting, Some(JobState::Cancelled));
    let taken = database.take_job("w", &["chat"]).await.unwrap().unwrap();
    assert_eq!(taken.key, key(2, 1));
    assert_eq!(
        database.cancel_job(key(2, 1)).await.unwrap(),
        Some(JobState::Taken)
    );
    let beaten = database.beat_jobs("w", &[(key(2, 1), None)]).await.unwrap();
    assert_eq!(beaten, [Standing::Cancelled]);
    let ended = database
        .end_job("w", key(2, 1), Outcome::Cancelled)
        .await
        .unwrap();
    assert_eq!(ended, Ended::Stored);
    for key in [key(1, 1), key(2, 1), key(3, 1)] {
        assert_eq!(database.cancel_job(key).await.unwrap(), None);
    }
    assert_eq!(state(&database, key(2, 1)).await, JobState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_owner_puts_no_job_and_what_is_too_large_is_refused_by_name() {
    let (_, database, old) = owned().await;
    let new = claim(&database, SHARD, 2).await;
    let job = NewJob {
        key: key(1, 1),
        kind: "chat",
        input: b"",
    };
    assert_eq!(
        database.put_job(old.epoch, &job).await.unwrap(),
        Put::Fenced
    );
    assert_eq!(database.put_job(new.epoch, &job).await.unwrap(), Put::There);
    let large = vec![0; MAX_PAYLOAD + 1];
    let error = database
        .put_job(
            new.epoch,
            &NewJob {
                input: &large,
                ..job
            },
        )
        .await
        .unwrap_err();
    assert!(matches!(error, ClusterError::TooLarge { .. }), "{error}");
    database.take_job("w", &["chat"]).await.unwrap().unwrap();
    let error = database
        .end_job("w", key(1, 1), Outcome::Done(&large))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the result of a job has 33554433 bytes"),
        "{error}"
    );
    // The largest that is taken.
    let most = &large[1..];
    let ended = database
        .end_job("w", key(1, 1), Outcome::Done(most))
        .await
        .unwrap();
    assert_eq!(ended, Ended::Stored);
    assert_eq!(
        database.job_result(key(1, 1)).await.unwrap().unwrap().len(),
        MAX_PAYLOAD
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_owners_are_told_of_what_there_is_to_do() {
    let (_, database, claim) = owned().await;
    let (puts, ends) = (database.hints(Topic::Put), database.hints(Topic::End));
    let within = async |hints: &Hints| {
        tokio::time::timeout(Duration::from_secs(60), hints.next())
            .await
            .unwrap();
    };
    // Each begins with one.
    within(&puts).await;
    within(&ends).await;
    put(&database, claim.epoch, key(1, 1), "chat").await;
    within(&puts).await;
    database.take_job("w", &["chat"]).await.unwrap().unwrap();
    database
        .end_job("w", key(1, 1), Outcome::Failed(b"no"))
        .await
        .unwrap();
    within(&ends).await;
    assert_eq!(state(&database, key(1, 1)).await, JobState::Failed);
}
