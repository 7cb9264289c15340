//! The servers of PostgreSQL, and how they fail.

use std::ops::Deref;
use std::sync::OnceLock;

use super::Fleet;
use crate::postgres::Pair;

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

    /// The same, as slow as servers are whose writes survive the machine.
    pub fn durable() -> Self {
        Self::Own(Box::new(Pair::start_with(&["fsync = on"])))
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
