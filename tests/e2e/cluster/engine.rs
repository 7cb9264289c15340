//! The servers of PostgreSQL fail.

use agentry_core::cluster::ShardId;
use agentry_testbed::dice::Dice;
use agentry_testbed::fleet::{Engine, Fleet, PACE, SHARDS, setup};
use agentry_testbed::proxy::Way;
use agentry_testbed::until;

/// The primary is killed under load, and its standby promoted; twice, so that the hosts go there and
/// back.
#[test]
fn a_primary_that_is_killed() {
    let test = "a_primary_that_is_killed";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::of(test, &mut dice, setup(), Engine::own(), 2);
    let flow = fleet.world.flow(dice.fork(), PACE);
    for _ in 0..2 {
        fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
        let ms = fleet.fail_over_and_await_answer().as_millis();
        println!("{test}: a new ping was answered {ms} ms after the standby was promoted");
        fleet.restore_standby();
    }
    flow.stop();
    fleet.await_places();
    fleet.finish();
}

/// The standby stops: appends wait until it is back, and nobody takes anything over.
#[test]
fn a_standby_that_is_stopped() {
    let test = "a_standby_that_is_stopped";
    let mut dice = Dice::new(test);
    let fleet = Fleet::of(test, &mut dice, setup(), Engine::own(), 2);
    let flow = fleet.world.flow(dice.fork(), PACE);
    fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
    let epochs = fleet.epochs();
    fleet.engine.standby.stop();
    fleet.engine.wait_for_waiting("insert into agentry.log");
    // Longer than a lease.
    fleet.assert_silent(40);
    assert_eq!(fleet.epochs(), epochs);
    fleet.engine.standby.resume();
    fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
    println!("{test}: the same epochs: {}", fleet.epochs() == epochs);
    flow.stop();
    fleet.finish();
}

/// An operator cancels the waits for a standby that is away, and then promotes the standby: what was
/// visible on the primary is lost, and nobody has acted on it.
#[test]
fn a_wait_that_is_cancelled() {
    let test = "a_wait_that_is_cancelled";
    let mut dice = Dice::new(test);
    let (engine, link) = Engine::over_link();
    let mut fleet = Fleet::of(test, &mut dice, setup(), engine, 2);
    let flow = fleet.world.flow(dice.fork(), PACE);
    fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
    flow.stop();
    fleet.world.settle();
    link.set(Way::Cut);
    until("nothing reaches the standby any more", || {
        let sql = "select count(*) from pg_stat_replication";
        fleet.engine.primary.psql("postgres", sql) == "0"
    });
    let flow = fleet.world.flow(dice.fork(), PACE);
    fleet.engine.wait_for_waiting("insert into agentry.log");
    fleet.world.chain.await_blocks(fleet.world.chain.head(), 3);
    let answered = fleet.world.audit().answered;
    let before = fleet.places();
    until("records are visible that the standby does not have", || {
        fleet.engine.cancel_waits();
        let now = fleet.places();
        let more = now
            .iter()
            .zip(&before)
            .filter(|(now, then)| now.head > then.head);
        more.count() >= 2
    });
    fleet.world.chain.await_blocks(fleet.world.chain.head(), 10);
    assert_eq!(
        fleet.world.audit().answered,
        answered,
        "answered without the standby"
    );
    let heads = "select sum(head) from agentry.shard";
    let [visible, kept] = [&fleet.engine.primary, &fleet.engine.standby]
        .map(|server| server.psql(&fleet.database, heads).parse::<u64>().unwrap());
    assert!(kept < visible, "nothing is to be lost");
    let ms = fleet.fail_over_and_await_answer().as_millis();
    println!("{test}: a new ping was answered {ms} ms after the standby was promoted");
    fleet.restore_standby();
    flow.stop();
    fleet.world.settle();
    fleet.await_places();
    fleet.finish();
}

/// The database loses what it has acknowledged, as a restored backup does. The shard halts, for all
/// hosts, until an operator goes on with what there is.
#[test]
fn a_log_that_lost_records() {
    let test = "a_log_that_lost_records";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::of(test, &mut dice, setup(), Engine::shared(), 3);
    let flow = fleet.world.flow(dice.fork(), PACE);
    let shard = (0..SHARDS)
        .find(|shard| !fleet.agents_in(ShardId(*shard)).is_empty())
        .unwrap();
    let agents = fleet.agents_in(ShardId(shard));
    fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
    fleet.sql(&format!(
        "with s as (update agentry.shard set head = head - 3 where id = {shard} returning head) \
         delete from agentry.log using s where shard = {shard} and seq > s.head"
    ));
    let why = |fleet: &Fleet| {
        let halted = format!("select coalesce(halted, '') from agentry.shard where id = {shard}");
        fleet.sql(&halted)
    };
    until("the shard is halted", || !why(&fleet).is_empty());
    println!("{test}: {}", why(&fleet));
    // Nor does any other host run it when this one ends.
    let owner = fleet.places()[usize::from(shard)].owner.clone();
    if fleet.running().contains(&owner) {
        fleet.kill(&owner);
    }
    let epoch = fleet.places()[usize::from(shard)].epoch;
    // Longer than a lease, and the turns of two hosts.
    fleet.world.chain.await_blocks(fleet.world.chain.head(), 80);
    assert_eq!(fleet.places()[usize::from(shard)].epoch, epoch);
    if fleet.running().len() < fleet.hosts.len() {
        fleet.start(&owner, &[]);
    }

    // A host that was away has its copy yet, and halts the shard once more.
    until("the shard runs again", || {
        if !why(&fleet).is_empty() {
            let shard = shard.to_string();
            let mut command = fleet.command(&owner, &["cluster", "resume", "--shard", &shard]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        fleet.places()[usize::from(shard)].epoch > epoch
    });
    fleet.await_places();
    fleet.await_answer(&agents, fleet.world.chain.head());
    flow.stop();
    fleet.finish();
}
