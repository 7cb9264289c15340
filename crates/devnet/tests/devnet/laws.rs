//! The laws of a correct node, under random transfers, blocks, reorganisations and restarts.

use std::collections::HashSet;

use agentry_devnet::{DevnetConfig, NoncePolicy};
use agentry_protocol::{Address, Limits, Number, StoredTransaction};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof,
};
use proptest::{proptest, test_runner::TestCaseError};

use crate::common::{Node, Wallet, manual};

#[derive(Clone, Debug)]
enum Step {
    Pay {
        from: u8,
        to: u8,
        amount: u64,
        fee: u64,
    },
    Mine,
    Reorganise(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..4_u8, 0..4_u8, 0..400_u64, 0..40_u64)
            .prop_map(|(from, to, amount, fee)| Step::Pay { from, to, amount, fee }),
        6 => Just(Step::Mine),
        2 => (1..4_u64).prop_map(Step::Reorganise),
        1 => Just(Step::Restart),
    ]
}

const FUNDED: i64 = 3 * 500;

/// No balance is below zero, and all funds exist except for the fees of mined transactions.
fn check_conservation(node: &Node) -> Result<(), TestCaseError> {
    let accounts = node.accounts();
    prop_assert!(
        accounts.iter().all(|(_, balance, _)| *balance >= 0),
        "{accounts:?}"
    );
    let burnt: i64 = node
        .db()
        .query_row(
            "SELECT coalesce(sum(fee), 0) FROM \"transaction\"",
            [],
            |row| row.get(0),
        )
        .unwrap();
    prop_assert_eq!(
        accounts.iter().map(|(_, balance, _)| balance).sum::<i64>() + burnt,
        FUNDED
    );
    let sent: i64 = node.rows().len() as i64;
    prop_assert_eq!(
        accounts.iter().map(|(_, _, counter)| counter).sum::<i64>(),
        sent
    );
    Ok(())
}

async fn run(steps: Vec<Step>, sequential: bool) -> Result<(), TestCaseError> {
    let account_nonces = if sequential {
        NoncePolicy::Sequential
    } else {
        NoncePolicy::Ignored
    };
    let mut node = Node::start(DevnetConfig {
        account_nonces,
        ..manual()
    });
    let wallets: Vec<Wallet> = (0..4).map(Wallet::of).collect();
    for wallet in &wallets[..3] {
        node.devnet().fund(&wallet.address, 500).unwrap();
    }
    let mut accepted = HashSet::new();
    for (index, step) in steps.into_iter().enumerate() {
        match step {
            Step::Pay {
                from,
                to,
                amount,
                fee,
            } => {
                let (from, to) = (&wallets[usize::from(from)], &wallets[usize::from(to)]);
                let mut transaction = from.transaction(to, amount, fee, index as u64);
                if sequential {
                    // The counter, plus one for each pending transaction.
                    let account = node.client().account(&from.address).await.unwrap();
                    let pending = node.pending().await;
                    let mine = pending
                        .iter()
                        .filter(|other| other["from"] == from.address.as_str());
                    transaction.nonce = Number::from(account.nonce.get() + mine.count() as u64);
                }
                let signed = transaction.sign(&from.key);
                if node.post("/rpc/transaction", signed.body()).await.0 == 200 {
                    accepted.insert(signed.hash().to_string());
                }
            }
            Step::Mine => {
                node.devnet().mine().unwrap();
            }
            Step::Reorganise(depth) => {
                // A depth beyond the chain is refused, and changes nothing.
                let deep_enough = node.height().await >= depth;
                prop_assert_eq!(node.devnet().reorganise(depth).is_ok(), deep_enough);
            }
            Step::Restart => node.restart(),
        }
        check_conservation(&node)?;
    }
    for _ in 0..accepted.len() + 1 {
        if node.pending().await.is_empty() {
            break;
        }
        node.devnet().mine().unwrap();
    }
    check_conservation(&node)?;
    // A reorganisation can change the order of transactions so that one can no longer be paid: it
    // stays pending, and with sequential nonces also those after it. No other transaction does.
    let mut left = HashSet::new();
    for pending in node.pending().await {
        let sender: Address = pending["from"].as_str().unwrap().parse().unwrap();
        let account = node.client().account(&sender).await.unwrap();
        let cost = pending["amount"].as_i64().unwrap() + pending["fee"].as_i64().unwrap();
        let behind_another = sequential && pending["nonce"].as_u64() != Some(account.nonce.get());
        prop_assert!(
            account.balance < i128::from(cost) || behind_another,
            "{pending} can be mined: {account:?}"
        );
        left.insert(
            StoredTransaction::parse(pending.to_string().as_bytes(), Limits::default())
                .unwrap()
                .hash()
                .to_string(),
        );
    }
    let mined: Vec<String> = node.rows().into_iter().map(|(_, hash, _)| hash).collect();
    prop_assert_eq!(mined.len() + left.len(), accepted.len());
    prop_assert_eq!(
        mined.into_iter().chain(left).collect::<HashSet<_>>(),
        accepted
    );
    let blocks = node.blocks();
    prop_assert!(
        blocks
            .iter()
            .enumerate()
            .all(|(index, (height, _))| index as i64 == *height)
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn money_is_conserved_and_each_accepted_transaction_is_mined_once(
        steps in proptest::collection::vec(step(), 1..60),
        sequential in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps, sequential))?;
    }
}
