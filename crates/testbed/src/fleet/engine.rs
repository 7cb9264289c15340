//! The servers of PostgreSQL, and how they fail.

use std::ops::Deref;
use std::sync::OnceLock;

use super::Fleet;
use crate::postgres::Pair;
use crate::proxy::Proxy;

/// The servers of PostgreSQL.
#[derive(Debug)]
pub enum Engine {
    /// Those of all tests that leave them alone.
    Shared(&'static Pair),
    /// The cluster's own.
    Own(Box<Pair>),
}

impl Engine {
    /// The servers of all tests of this process that leave them alone.
    pub fn shared() -> Self {
        static PAIR: OnceLock<Pair> = OnceLock::new();
        Self::Shared(PAIR.get_or_init(Pair::start))
    }

    /// Servers of one cluster.
    pub fn own() -> Self {
        Self::Own(Box::new(Pair::start()))
    }

    /// The same, with a link between the primary and its standby.
    pub fn over_link() -> (Self, Replication) {
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
        let replication = Replication {
            link: link.unwrap(),
            _links: links,
        };
        (Self::Own(Box::new(pair)), replication)
    }

    /// The same, as slow as servers are whose writes survive the machine.
    pub fn durable() -> Self {
        Self::Own(Box::new(Pair::start_with(&["fsync = on"])))
    }
}

/// The link over which a standby gets its records.
#[derive(Debug)]
pub struct Replication {
    link: Proxy,
    /// Runs the link.
    _links: tokio::runtime::Runtime,
}

impl Deref for Replication {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.link
    }
}

impl Deref for Engine {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        match self {
            Self::Shared(pair) => pair,
            Self::Own(pair) => pair,
        }
    }
}

impl Fleet {
    /// Checks that nothing is answered in so many blocks, while appends wait for the standby. What was
    /// posted before is mined by then.
    ///
    /// # Panics
    /// Something is answered.
    pub fn assert_silent(&self, blocks: u64) {
        let chain = &self.world.chain;
        chain.await_blocks(chain.head(), 3);
        let before = self.world.audit().answered;
        chain.await_blocks(chain.head(), blocks);
        let answered = self.world.audit().answered;
        assert_eq!(answered, before, "answered without the standby");
    }

    /// Kills the primary, and promotes its standby, which takes writes when this returns.
    ///
    /// # Panics
    /// The servers are shared.
    pub fn fail_over(&mut self) {
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
    ///
    /// # Panics
    /// The servers are shared.
    pub fn restore_standby(&mut self) {
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
