//! What the chain and its node must show before something is signed or posted.

use std::collections::HashSet;

use agentry_core::absence::Look;
use agentry_core::rows::OpenTransaction;
use agentry_protocol::{Amount, Timestamp, TransactionHash};

use super::*;

#[test]
fn nothing_is_signed_before_the_chain_is_read() {
    on_stage(async || {
        let mut stage = usual(&[1_000]).await;
        stage.shared.catch_up = CatchUp::to(BlockHeight(7), OutboxId(0));
        let submitter = stage.submitter().await;
        let draft = stage.draft(ONE, "one", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        let other = stage.commit(ONE, stage.draft(ONE, "two", Cause::Own));
        assert!(!submitter.signs_at_once(ONE, other).await);
        stage.until(&["queued"]).await;
        stage
            .shared
            .catch_up
            .read(Some(BlockHeight(7)), false, false);
        stage.until(&["accepted"]).await;
    });
}

#[test]
fn nothing_is_posted_to_a_node_of_another_chain() {
    on_stage(async || {
        let mut stage = usual(&[1_000]).await;
        let other = Devnet::start(DevnetConfig {
            dir: stage._dir.path().join("other"),
            chain_id: "ait-other".parse().unwrap(),
            block_time: Duration::from_millis(50),
            ..DevnetConfig::default()
        })
        .unwrap();
        let right = std::mem::replace(&mut stage.devnet, other);
        let settings = SubmitterSettings {
            node_is_known: false,
            ..stage.settings()
        };
        let submitter = stage.submitter_with(settings).await;
        let draft = stage.draft(ONE, "one", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        let node = NodeClient::new(&stage.devnet.url(), NodeOptions::default()).unwrap();
        let began = Instant::now();
        while node.head().await.unwrap().unwrap().height < BlockHeight(30) {
            assert!(began.elapsed() < PATIENCE, "the node makes no blocks");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(stage.states().await, ["queued"]);
        assert!(!stage.shared.metrics.condition().node_up);
        drop(submitter);
        stage.devnet = right;
        let settings = SubmitterSettings {
            node_is_known: false,
            ..stage.settings()
        };
        let _submitter = stage.submitter_with(settings).await;
        stage.until(&["accepted"]).await;
        assert!(stage.shared.metrics.condition().node_up);
    });
}

#[test]
fn a_stop_does_not_wait_for_posts_that_a_halt_holds_back() {
    on_stage(async || {
        let stage = usual(&[1_000]).await;
        let submitter = stage.submitter().await;
        let commit = stage.commit(ONE, stage.draft(ONE, "one", Cause::Own));
        let signed = submitter.sign_at_once(ONE, commit).await;
        let news = ChainNews {
            halted: Some("a test".to_owned()),
            ..ChainNews::default()
        };
        submitter.send(news).await.unwrap();
        submitter.store(signed).await.unwrap();
        let drained = tokio::time::timeout(PATIENCE, submitter.send(Drain)).await;
        drained.unwrap().unwrap();
        assert_eq!(stage.states().await, ["prepared"]);
        submitter.send(Resume).await.unwrap();
        stage.until(&["accepted"]).await;
    });
}

#[test]
fn a_withdrawal_starts_the_proof_over_even_while_the_blocks_are_examined() {
    on_stage(async || {
        let stage = usual(&[]).await;
        let money = Money::new(
            stage.registry.clone(),
            Vec::new(),
            HashSet::new(),
            Timestamp::EPOCH,
        );
        let nonces = stage.policy.manager([]);
        let client = stage.settings().node;
        let mut state = State::new(stage.shared, nonces, money, client);
        let (id, hash) = (OutboxId(1), TransactionHash::from_bytes([1; 32]));
        state.follow(OpenTransaction {
            id,
            agent: ONE,
            hash,
            nonce: Nonce::new(1),
            cost: Amount(10),
            since: BlockHeight(5),
            charge: None,
        });
        let absent = |state: &mut State, head| {
            let look = Look {
                mempool: HashSet::new(),
                head: BlockHeight(head),
                read_through: BlockHeight(head),
            };
            state.absent(&look, 0, &[(id, hash)])
        };
        assert!(absent(&mut state, 9).is_empty());
        assert_eq!(absent(&mut state, 10), [id]);
        assert!(state.doubted(id).is_some());
        state.news(ChainNews {
            withdrawn: true,
            ..ChainNews::default()
        });
        assert!(state.doubted(id).is_none());
        assert!(absent(&mut state, 11).is_empty());
        assert_eq!(absent(&mut state, 12), [id]);
        assert_eq!(state.doubted(id).unwrap().row.since, BlockHeight(0));
    });
}
