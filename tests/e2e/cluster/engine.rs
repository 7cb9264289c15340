//! The servers of PostgreSQL fail.

use std::time::Instant;

use super::fleet::{Engine, Fleet, PACE, setup};
use super::postgres::pair::Pair;
use super::postgres::proxy::{Proxy, Way};
use crate::support::dice::Dice;
use crate::support::until;

impl Fleet {
    /// Kills the primary, and promotes its standby, which takes writes when this returns.
    pub(super) fn fail_over(&mut self) {
        let Engine::Own(pair) = &mut self.engine else {
            panic!("these servers are those of other tests, too");
        };
        pair.primary.crash();
        pair.standby.promote();
        let Pair { primary, standby } = &mut **pair;
        std::mem::swap(primary, standby);
        for host in &mut self.hosts {
            host.servers.reverse();
        }
    }

    /// Gives the primary a new standby in place of the dead one.
    pub(super) fn restore_standby(&mut self) {
        let Engine::Own(pair) = &mut self.engine else {
            panic!("these servers are those of other tests, too");
        };
        pair.standby = pair.primary.standby("standby", pair.primary.port());
        pair.replicate();
        for host in &self.hosts {
            host.servers[1].aim(pair.standby.port());
        }
    }
}

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
        fleet.fail_over();
        let (head, since) = (fleet.world.chain.head(), Instant::now());
        fleet.await_answer(&fleet.everybody(), head);
        let ms = since.elapsed().as_millis();
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
    fleet.world.chain.await_blocks(fleet.world.chain.head(), 3);
    let before = fleet.world.audit().answered;
    // Longer than a lease.
    fleet.world.chain.await_blocks(fleet.world.chain.head(), 40);
    assert_eq!(
        fleet.world.audit().answered,
        before,
        "answered without the standby"
    );
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
    let links = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut link = None;
    let pair = Pair::start_over(|port| {
        let proxy = links.block_on(Proxy::start(port));
        link.insert(proxy).port()
    });
    let link = link.unwrap();
    let mut fleet = Fleet::of(test, &mut dice, setup(), Engine::Own(Box::new(pair)), 2);
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
    fleet.fail_over();
    let (head, since) = (fleet.world.chain.head(), Instant::now());
    fleet.await_answer(&fleet.everybody(), head);
    println!(
        "{test}: a new ping was answered {} ms after the standby was promoted",
        since.elapsed().as_millis()
    );
    fleet.restore_standby();
    flow.stop();
    fleet.world.settle();
    fleet.await_places();
    fleet.finish();
    drop(links);
}
