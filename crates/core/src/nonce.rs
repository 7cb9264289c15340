//! The nonces of hosted wallets' transactions: one trait, and a manager for each policy.
//!
//! | policy | the next nonce | a wallet has | fails when |
//! |---|---|---|---|
//! | [`Timestamps`] | the clock's milliseconds, and above every earlier one | any number of transactions in flight | the node demands the account's counter: it refuses each transaction, or never mines it |
//! | [`Sequential`] | the account's counter on the chain | one transaction in flight | two programs send from one wallet at the same time: one of the two transactions is overtaken, and signed again |

use std::collections::HashMap;
use std::fmt;

use agentry_protocol::Nonce;
use serde::Serialize;

use crate::AgentId;

/// How the nonces of wallets are assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoncePolicy {
    /// [`Timestamps`], as is customary; the node of April 2026 ignores nonces.
    Timestamp,
    /// [`Sequential`], which later nodes require.
    Sequential,
}

impl NoncePolicy {
    /// What assigns nonces under this policy, from the highest nonces in the store on.
    pub fn manager(
        self,
        last: impl IntoIterator<Item = (AgentId, Nonce)>,
    ) -> Box<dyn NonceManager> {
        match self {
            Self::Timestamp => Box::new(Timestamps::new(last)),
            Self::Sequential => Box::new(Sequential),
        }
    }
}

/// Assigns the nonces of hosted wallets. It only decides: its caller queries the chain, and stores
/// the nonce with the signed bytes.
pub trait NonceManager: fmt::Debug + Send {
    /// Whether nonces follow the account's counter on the chain. If so, the counter is queried for
    /// each nonce, and only while no signed transaction of the wallet is unmined: there is no gap to
    /// leave and none to fill.
    fn follows_counter(&self) -> bool;

    /// The next nonce of a wallet. It is at least `floor`: the account's counter
    /// ([`Sequential::floor`]) if [`follows_counter`](Self::follows_counter), else the local time
    /// in milliseconds since the epoch.
    fn next(&mut self, agent: AgentId, floor: Nonce) -> Nonce;

    /// The chain shows a nonce of a wallet that the store did not know.
    fn spent(&mut self, agent: AgentId, nonce: Nonce);

    /// Whether another transaction has taken the place of one with this nonce: the account's counter
    /// is past it, so it can never be mined.
    fn is_overtaken(&self, nonce: Nonce, counter: Nonce) -> bool {
        self.follows_counter() && counter > nonce
    }
}

/// The policy `timestamp`: nonces that are unique and rising for a wallet, across restarts and
/// clocks that step back, without querying the node.
///
/// The highest nonce ever stored is the floor, so no nonce of stored bytes is issued twice. A nonce
/// that was issued and not stored is lost when the process ends.
#[derive(Debug, Default)]
pub struct Timestamps {
    last: HashMap<AgentId, Nonce>,
}

impl Timestamps {
    /// Starts from the highest nonces in the store.
    pub fn new(last: impl IntoIterator<Item = (AgentId, Nonce)>) -> Self {
        Self {
            last: last.into_iter().collect(),
        }
    }
}

impl NonceManager for Timestamps {
    fn follows_counter(&self) -> bool {
        false
    }

    fn next(&mut self, agent: AgentId, floor: Nonce) -> Nonce {
        let last = self.last.get(&agent);
        let next = last.map_or(floor, |last| floor.max(last.next()));
        self.last.insert(agent, next);
        next
    }

    /// Later nonces are above it.
    fn spent(&mut self, agent: AgentId, nonce: Nonce) {
        let last = self.last.entry(agent).or_insert(nonce);
        *last = nonce.max(*last);
    }
}

/// The policy `sequential`: the account's counter on the chain, of which nothing is kept. So a
/// reorganisation or another program's transaction moves the next nonce, at the price of a query
/// for each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequential;

impl Sequential {
    /// The account's counter, unless the answering node has not yet counted the wallet's last mined
    /// transaction: then the nonce after that one.
    pub fn floor(counter: Nonce, last_mined: Option<Nonce>) -> Nonce {
        last_mined.map_or(counter, |mined| counter.max(mined.next()))
    }
}

impl NonceManager for Sequential {
    fn follows_counter(&self) -> bool {
        true
    }

    fn next(&mut self, _: AgentId, floor: Nonce) -> Nonce {
        floor
    }

    /// The counter shows it.
    fn spent(&mut self, _: AgentId, _: Nonce) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn timestamps_rise_for_each_wallet_whatever_the_clock_does(
            times in prop::collection::vec((0_i64..4, 0_u64..1_000_000, any::<bool>()), 1..200),
            restart_at in 0_usize..200,
        ) {
            let mut nonces = Timestamps::default();
            let mut last: HashMap<AgentId, Nonce> = HashMap::new();
            for (index, (agent, now, is_seen)) in times.into_iter().enumerate() {
                if index == restart_at {
                    nonces = Timestamps::new(last.clone());
                }
                let agent = AgentId(agent);
                if is_seen {
                    // On the chain, and unknown to this policy.
                    let nonce = Nonce::new(now);
                    nonces.spent(agent, nonce);
                    let before = last.entry(agent).or_insert(nonce);
                    *before = nonce.max(*before);
                    continue;
                }
                let floor = Nonce::new(now);
                let nonce = nonces.next(agent, floor);
                prop_assert!(nonce >= floor);
                prop_assert!(!nonces.is_overtaken(nonce, nonce.next()));
                if let Some(before) = last.insert(agent, nonce) {
                    prop_assert!(nonce > before);
                }
            }
        }

        #[test]
        fn a_sequential_nonce_is_the_counter_or_follows_the_last_mined(
            counter in 0_u64..1000, mined in prop::option::of(0_u64..1000),
        ) {
            let (counter, mined) = (Nonce::new(counter), mined.map(Nonce::new));
            let nonce = Sequential::floor(counter, mined);
            prop_assert!(nonce >= counter);
            prop_assert!(mined.is_none_or(|mined| nonce > mined));
            // Nothing of it is kept.
            let mut nonces = Sequential;
            nonces.spent(AgentId(1), nonce.next());
            prop_assert_eq!(nonces.next(AgentId(1), nonce), nonce);
            prop_assert!(!nonces.is_overtaken(nonce, nonce));
            prop_assert!(nonces.is_overtaken(nonce, nonce.next()));
        }
    }
}
