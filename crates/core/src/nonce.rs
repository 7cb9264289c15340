//! The two nonce policies.
//!
//! | policy | the next nonce | fails when |
//! |---|---|---|
//! | [`timestamp`](Timestamps) | milliseconds since the epoch, and always above every earlier one | the node demands consecutive ones |
//! | [`sequential`] | the account's counter on the chain | two programs send from one wallet at the same time; then one of the two is lost and signed again |

use std::collections::HashMap;

use agentry_protocol::Nonce;

use crate::AgentId;

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

    /// The chain shows a nonce of a wallet: later nonces are above it.
    pub fn spent(&mut self, agent: AgentId, nonce: Nonce) {
        let last = self.last.entry(agent).or_default();
        *last = nonce.max(*last);
    }

    /// The next nonce of a wallet at the time `now_ms`.
    pub fn next(&mut self, agent: AgentId, now_ms: u64) -> Nonce {
        let now = Nonce::new(now_ms);
        let next = self
            .last
            .get(&agent)
            .map_or(now, |last| now.max(last.next()));
        self.last.insert(agent, next);
        next
    }
}

/// The policy `sequential`: the account's counter on the chain is the floor. If the answering node
/// has not yet counted the wallet's last mined transaction, the nonce follows that one.
///
/// The counter is queried only while no signed transaction of the wallet is unmined, so there is no
/// gap to leave and none to fill.
pub fn sequential(counter: Nonce, last_mined: Option<Nonce>) -> Nonce {
    last_mined.map_or(counter, |mined| counter.max(mined.next()))
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
                let nonce = nonces.next(agent, now);
                prop_assert!(nonce >= Nonce::new(now));
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
            let nonce = sequential(counter, mined);
            prop_assert!(nonce >= counter);
            prop_assert!(mined.is_none_or(|mined| nonce > mined));
        }
    }
}
