//! Accounts: balances, counters, and the credits that no transaction made.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::{ChainError, Doing as _};

/// A row of `account`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountRow {
    pub(crate) balance: i64,
    pub(crate) nonce: i64,
}

/// A credit by the initial allocation or the faucet.
#[derive(Clone, Debug)]
pub(crate) struct Credit {
    pub(crate) id: i64,
    pub(crate) address: String,
    pub(crate) amount: i64,
}

/// The amounts that a transaction moves: `value` from the sender to the recipient, and `fee` from
/// the sender; no account receives the fee.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer<'a> {
    pub(crate) sender: &'a str,
    pub(crate) recipient: &'a str,
    pub(crate) value: i64,
    pub(crate) fee: i64,
}

/// An account, or `None` if it is not on the chain.
pub(crate) fn get(
    db: &Connection,
    chain: &str,
    address: &str,
) -> Result<Option<AccountRow>, ChainError> {
    db.prepare_cached("SELECT balance, nonce FROM account WHERE chain_id = ?1 AND address = ?2")
        .and_then(|mut statement| {
            statement
                .query_row([chain, address], |row| {
                    Ok(AccountRow {
                        balance: row.get(0)?,
                        nonce: row.get(1)?,
                    })
                })
                .optional()
        })
        .doing("reading an account")
}

/// Writes an account.
pub(crate) fn put(
    db: &Connection,
    chain: &str,
    address: &str,
    account: AccountRow,
    now: &str,
) -> Result<(), ChainError> {
    db.prepare_cached(
        "INSERT INTO account (chain_id, address, balance, nonce, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (chain_id, address)
         DO UPDATE SET balance = ?3, nonce = ?4, updated_at = ?5",
    )
    .and_then(|mut statement| {
        statement.execute(params![chain, address, account.balance, account.nonce, now])
    })
    .doing("writing an account")?;
    Ok(())
}

/// Executes a transfer and returns the sender's counter after it. `None` if a balance would exceed
/// the column's range; then nothing is written. The caller checks whether the sender can pay.
pub(crate) fn apply(
    db: &Connection,
    chain: &str,
    transfer: Transfer<'_>,
    now: &str,
) -> Result<Option<i64>, ChainError> {
    let mut sender = get(db, chain, transfer.sender)?.unwrap_or_default();
    let Some(debited) = transfer
        .value
        .checked_add(transfer.fee)
        .and_then(|cost| sender.balance.checked_sub(cost))
    else {
        return Ok(None);
    };
    sender.balance = debited;
    sender.nonce += 1;
    let credited = if transfer.sender == transfer.recipient {
        let Some(balance) = debited.checked_add(transfer.value) else {
            return Ok(None);
        };
        sender.balance = balance;
        None
    } else {
        let mut recipient = get(db, chain, transfer.recipient)?.unwrap_or_default();
        let Some(balance) = recipient.balance.checked_add(transfer.value) else {
            return Ok(None);
        };
        recipient.balance = balance;
        Some(recipient)
    };
    put(db, chain, transfer.sender, sender, now)?;
    if let Some(recipient) = credited {
        put(db, chain, transfer.recipient, recipient, now)?;
    }
    Ok(Some(sender.nonce))
}

/// Reverts a transfer. An account that is then empty, and that no credit created, is removed.
pub(crate) fn undo(
    db: &Connection,
    chain: &str,
    transfer: Transfer<'_>,
    now: &str,
) -> Result<(), ChainError> {
    let mut sender = get(db, chain, transfer.sender)?.unwrap_or_default();
    sender.balance = sender
        .balance
        .saturating_add(transfer.value)
        .saturating_add(transfer.fee);
    sender.nonce -= 1;
    put(db, chain, transfer.sender, sender, now)?;
    let mut recipient = get(db, chain, transfer.recipient)?.unwrap_or_default();
    recipient.balance = recipient.balance.saturating_sub(transfer.value);
    put(db, chain, transfer.recipient, recipient, now)?;
    for address in [transfer.sender, transfer.recipient] {
        db.prepare_cached(
            "DELETE FROM account
             WHERE chain_id = ?1 AND address = ?2 AND balance = 0 AND nonce = 0
               AND NOT EXISTS (SELECT 1 FROM devnet_credit WHERE address = ?2)",
        )
        .and_then(|mut statement| statement.execute([chain, address]))
        .doing("deleting an account")?;
    }
    Ok(())
}

/// Credits an account with new coins and records the credit. `id` is the leader's if a follower
/// repeats a credit of its leader.
pub(crate) fn credit(
    db: &Connection,
    chain: &str,
    id: Option<i64>,
    address: &str,
    amount: i64,
    now: &str,
) -> Result<(), ChainError> {
    db.prepare_cached("INSERT INTO devnet_credit (id, address, amount) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute(params![id, address, amount]))
        .doing("recording a credit")?;
    let mut account = get(db, chain, address)?.unwrap_or_default();
    account.balance = account.balance.saturating_add(amount);
    put(db, chain, address, account, now)
}

/// The credits after an id, oldest first.
pub(crate) fn credits_after(
    db: &Connection,
    after: i64,
    limit: u64,
) -> Result<Vec<Credit>, ChainError> {
    db.prepare_cached(
        "SELECT id, address, amount FROM devnet_credit WHERE id > ?1 ORDER BY id LIMIT ?2",
    )
    .and_then(|mut statement| {
        statement
            .query_map(params![after, super::blocks::signed(limit)], |row| {
                Ok(Credit {
                    id: row.get(0)?,
                    address: row.get(1)?,
                    amount: row.get(2)?,
                })
            })?
            .collect()
    })
    .doing("reading credits")
}

/// The id of the newest credit; 0 if there is none.
pub(crate) fn newest_credit(db: &Connection) -> Result<i64, ChainError> {
    db.query_row(
        "SELECT coalesce(max(id), 0) FROM devnet_credit",
        [],
        |row| row.get(0),
    )
    .doing("reading the newest credit")
}

/// The sum of all credits.
pub(crate) fn credited(db: &Connection) -> Result<i64, ChainError> {
    db.query_row(
        "SELECT coalesce(sum(amount), 0) FROM devnet_credit",
        [],
        |row| row.get(0),
    )
    .doing("summing credits")
}

/// Deletes every account and credit: a follower starts again with its leader's accounts.
pub(crate) fn delete_all(db: &Connection, chain: &str) -> Result<(), ChainError> {
    db.execute("DELETE FROM account WHERE chain_id = ?1", [chain])
        .doing("deleting accounts")?;
    db.execute("DELETE FROM devnet_credit", [])
        .doing("deleting credits")?;
    Ok(())
}

/// A mined transaction, looked up by the digest of its signed content.
#[derive(Clone, Debug)]
pub(crate) struct Mined {
    pub(crate) hash: String,
    pub(crate) verified: bool,
}

/// The mined transaction of a digest.
pub(crate) fn mined_digest(db: &Connection, digest: &str) -> Result<Option<Mined>, ChainError> {
    db.prepare_cached("SELECT tx_hash, verified FROM devnet_digest WHERE digest = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([digest], |row| {
                    Ok(Mined {
                        hash: row.get(0)?,
                        verified: row.get(1)?,
                    })
                })
                .optional()
        })
        .doing("looking for a mined digest")
}

/// Records that a signed content was mined. A verified record is not replaced by an unverified one.
pub(crate) fn record_digest(
    db: &Connection,
    digest: &str,
    hash: &str,
    verified: bool,
) -> Result<(), ChainError> {
    db.prepare_cached(
        "INSERT INTO devnet_digest (digest, tx_hash, verified) VALUES (?1, ?2, ?3)
         ON CONFLICT (digest) DO UPDATE SET tx_hash = ?2, verified = ?3 WHERE verified < ?3",
    )
    .and_then(|mut statement| statement.execute(params![digest, hash, verified]))
    .doing("recording a mined digest")?;
    Ok(())
}

/// Deletes the digest of a transaction that is no longer mined.
pub(crate) fn delete_digest(db: &Connection, hash: &str, digest: &str) -> Result<(), ChainError> {
    db.prepare_cached("DELETE FROM devnet_digest WHERE digest = ?1 AND tx_hash = ?2")
        .and_then(|mut statement| statement.execute([digest, hash]))
        .doing("deleting a mined digest")?;
    Ok(())
}
