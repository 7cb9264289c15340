//! The database's standby, and what a failover to it loses.
//!
//! A write is acknowledged when the standby has it. While the standby is behind, a write becomes visible
//! all the same if its wait for the standby is cancelled; nobody knows then whether it is durable. The
//! next write that is acknowledged shows that everything before it is.

use crate::database::Database;
use crate::defect::Defect;
use crate::host::{Checked, broken};
use crate::record::Record;
use crate::world::World;

use super::Cluster;

/// What the standby has while it is behind.
#[derive(Debug)]
pub(super) struct Standby {
    database: Database<Record>,
    /// How many claims it knows.
    claims: usize,
}

impl Cluster {
    /// Whether a write is acknowledged now, and everything before it durable.
    pub(super) fn acknowledges(&self) -> bool {
        self.standby.is_none()
    }

    /// What a failover would leave.
    pub(super) fn durable(&self) -> &Database<Record> {
        let standby = self.standby.as_ref();
        standby.map_or(&self.database, |standby| &standby.database)
    }

    /// The standby cannot be reached from now on.
    pub(super) fn fall_behind(&mut self) {
        if self.standby.is_none() {
            self.standby = Some(Standby {
                database: self.database.clone(),
                claims: self.claims.len(),
            });
        }
    }

    /// The standby has everything again.
    pub(super) fn catch_up_standby(&mut self) {
        self.standby = None;
    }
}

impl World {
    /// The standby takes the database's place. What it lacks is lost, and every connection.
    pub(super) fn fail_over(&mut self) -> Checked {
        if let Some(standby) = self.cluster.standby.take() {
            let left = std::mem::replace(&mut self.cluster.database, standby.database);
            self.cluster.left_behind = Some(left);
            self.cluster.claims.truncate(standby.claims);
        }
        self.cluster.failovers += 1;
        if self.defect != Some(Defect::ProofKept) {
            for machine in &mut self.cluster.machines {
                machine.loses_connection();
            }
        }
        self.check_durable()
    }

    /// Has a machine read logs from the database to which it beats. Returns whether it did so before; if
    /// not, it may have read what another one has, which still runs and was left behind.
    pub(super) fn reads_where_it_beats(&mut self, machine: usize) -> bool {
        let now = self.cluster.failovers;
        let before = &mut self.cluster.machines[machine].reads_from;
        std::mem::replace(before, now) == now
    }

    /// Nobody has a record that the log lacks. Of what an owner appends, only what it knows to be
    /// durable counts.
    fn check_durable(&self) -> Checked {
        for (number, host) in self.hosts.iter().enumerate() {
            let (machine, shard) = self.cluster.place(number);
            let appends = self.cluster.machines[machine].appends(shard).is_some();
            let count = if appends {
                host.durable
            } else {
                host.log.len()
            };
            let log = self.cluster.database.shard(shard).log.iter();
            let mut log = log.map(|(_, record)| record);
            if !host.log[..count].iter().all(|own| log.next() == Some(own)) {
                broken!("machine {machine} has a record that a failover of shard {shard} has lost");
            }
        }
        Ok(())
    }
}
