//! Which shard an address belongs to, and which hosts are best for a shard.
//!
//! Both follow from SHA-256 of texts, so that every version and every host computes the same. A host
//! that joins or leaves moves only the shards that it is best for (rendezvous hashing).

use std::num::NonZeroU16;

use agentry_protocol::{Address, ContentHash};

use super::ShardId;

/// The shard of the agent with this address, of so many. The address is the agent's canonical one:
/// the other spelling of the same key may belong to another shard.
pub fn shard_of(address: &Address, shards: NonZeroU16) -> ShardId {
    let hash = ContentHash::of(format!("agentry shard of {address}").as_bytes());
    // The high 64 of 256 bits: 65,535 shards differ by less than 10⁻¹⁴ in their share.
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % u64::from(shards.get());
    // It is below a `u16`.
    ShardId(u16::try_from(number).unwrap_or_default())
}

/// How good a host is for a shard, compared with other hosts.
pub(super) fn weight(shard: ShardId, host: &str) -> ContentHash {
    ContentHash::of(format!("agentry rank of {shard} on {host}").as_bytes())
}

/// The hosts of a shard, best first, by rendezvous hashing over the names of the hosts that are alive.
/// The order of two hosts does not depend on which others there are.
pub fn ranks<'a>(shard: ShardId, hosts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut hosts: Vec<_> = hosts.map(|name| (weight(shard, name), name)).collect();
    hosts.sort_by(|a, b| b.cmp(a));
    hosts.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        Address::from_chain(text).unwrap()
    }

    fn shards(count: u16) -> NonZeroU16 {
        NonZeroU16::new(count).unwrap()
    }

    /// A cluster's shards and their places must not change with a version: these numbers are part of
    /// the format.
    #[test]
    fn placement_is_the_same_in_all_versions() {
        let hex = address("ait1000102030405060708090a0b0c0d0e0f10111213");
        let other = address("ait1ffffffffffffffffffffffffffffffffffffffff");
        let of = [1, 2, 32, 1_000, 65_535].map(|count| shard_of(&hex, shards(count)).0);
        assert_eq!(of, [0, 0, 18, 930, 6645]);
        let of = [1, 2, 32, 1_000, 65_535].map(|count| shard_of(&other, shards(count)).0);
        assert_eq!(of, [0, 1, 17, 313, 5743]);
        let hosts = ["alpha", "beta", "gamma"];
        let ranks =
            [0, 1, 2, 3, 31].map(|shard| ranks(ShardId(shard), hosts.into_iter()).join(" "));
        assert_eq!(
            ranks,
            [
                "gamma beta alpha",
                "beta gamma alpha",
                "beta alpha gamma",
                "gamma beta alpha",
                "alpha beta gamma"
            ]
        );
    }

    #[test]
    fn shards_are_about_equally_large() {
        let mut count = [0; 32];
        for number in 0..32_000 {
            let shard = shard_of(&address(&format!("ait1{number:040x}")), shards(32));
            count[usize::from(shard.0)] += 1;
        }
        assert!(
            count.iter().all(|count| (850..1_150).contains(count)),
            "{count:?}"
        );
    }

    proptest! {
        #[test]
        fn a_host_that_joins_or_leaves_moves_only_its_own_shards(
            shard in 0_u16..1_000,
            hosts in proptest::collection::btree_set("[a-z]{1,8}", 2..8),
            which in any::<proptest::sample::Index>(),
        ) {
            let all: Vec<&str> = hosts.iter().map(String::as_str).collect();
            let gone = all[which.index(all.len())];
            let before = ranks(ShardId(shard), all.iter().copied());
            let after = ranks(ShardId(shard), all.iter().copied().filter(|name| *name != gone));
            let left: Vec<_> = before.into_iter().filter(|name| *name != gone).collect();
            prop_assert_eq!(after, left);
        }

        #[test]
        fn the_order_in_which_hosts_are_named_does_not_matter(
            shard in 0_u16..1_000,
            hosts in proptest::collection::btree_set("[a-z]{1,8}", 1..8),
        ) {
            let forward = ranks(ShardId(shard), hosts.iter().map(String::as_str));
            let backward = ranks(ShardId(shard), hosts.iter().rev().map(String::as_str));
            prop_assert_eq!(forward, backward);
        }
    }
}
