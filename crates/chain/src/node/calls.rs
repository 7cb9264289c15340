//! The reading calls, and the import of a block.

use agentry_protocol::json::{Json, Limits};
use agentry_protocol::{Address, BlockHash, BlockHeight, Dialect, Nonce, TransactionHash};

use crate::dialect::{self, Signs};
use crate::list::Item;
use crate::node::block::{RawBlock, RowsBuilder, Wanted, head};
use crate::node::client::{List, NodeClient};
use crate::node::{
    Account, Block, FoundTransaction, Head, Health, ImportOutcome, NodeError, one_line, segment,
};
use crate::raw::{self, Object};
use crate::row::Row;
use crate::source::{Everything, Interest};

/// The longest block of a range that is read. A block of a real chain holds 1 MB of transactions;
/// with their columns and JSON's escapes that becomes a few MB. A longer one is missing from the
/// range: fetched alone, it is read row by row.
const LONGEST_BLOCK: usize = 16 << 20;

/// The longest row that is read: twice the longest transaction that is parsed.
const LONGEST_ROW: usize = 8 << 20;

/// The longest description of a node's calls that is read: those of August 2026 have 110 calls.
const LONGEST_DESCRIPTION: usize = 16 << 20;

/// How many bytes of one range's text are kept. Blocks beyond them are left out.
const MOST_OF_A_RANGE: usize = 16 << 20;

impl NodeClient {
    /// The newest block. None: the chain has no block yet.
    ///
    /// # Errors
    /// A failed call or an unreadable answer.
    pub async fn head(&self) -> Result<Option<Head>, NodeError> {
        let path = &self.with_chain("/rpc/head".to_owned());
        let body = match self.get(path).await {
            Ok(body) => body,
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let object = Object::parse(&body).map_err(|error| self.unreadable(path, error))?;
        head(&object)
            .map(Some)
            .map_err(|error| self.unreadable(path, error))
    }

    /// One block with its transactions. None: there is no such block.
    ///
    /// # Errors
    /// A failed call or an unreadable answer. A node always answers 5xx for a block that holds a
    /// payload it cannot write as JSON (hazard 6 in `docs/hazards.md`).
    pub async fn block(&self, height: BlockHeight) -> Result<Option<Block>, NodeError> {
        let block = self.raw_block(height, &Everything).await?;
        Ok(block.map(RawBlock::into_block))
    }

    /// The hash of a block, asked for without its transactions. None: there is no such block.
    ///
    /// # Errors
    /// A failed call or an unreadable answer.
    pub async fn block_hash(&self, height: BlockHeight) -> Result<Option<BlockHash>, NodeError> {
        let blocks = self.headers(height, height).await?;
        Ok(blocks.into_iter().next().map(|block| block.hash))
    }

    pub(crate) async fn raw_block(
        &self,
        height: BlockHeight,
        interest: &dyn Interest,
    ) -> Result<Option<RawBlock>, NodeError> {
        if !dialect::shows_blocks_alone(self.configured_dialect()) {
            let blocks = self.raw_blocks(height, height, Wanted::Rows(interest));
            return Ok(blocks.await?.pop());
        }
        let path = format!("/rpc/blocks/{height}");
        let list = List {
            key: "transactions",
            longest_item: LONGEST_ROW,
        };
        let mut rows = RowsBuilder::new(self.configured_dialect(), interest);
        let rest = match self.get_list(&path, list, &mut |row| rows.take(row)).await {
            Ok(rest) => rest,
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let object = Object::parse(&rest).map_err(|error| self.unreadable(&path, error))?;
        let mut block = RawBlock::fields(&object).map_err(|error| self.unreadable(&path, error))?;
        if block.head.height != height {
            return Err(self.unreadable(&path, "it is not the requested block"));
        }
        if object
            .get("transactions")
            .is_some_and(|list| list != b"null")
        {
            block.rows = Some(rows.finish());
        }
        block.is_alone = true;
        Ok(Some(block))
    }

    /// The blocks of a range of heights, both ends included, with their transactions, in ascending
    /// order. Heights that the node does not have are missing from it; so are blocks beyond the
    /// first 16 MiB of transactions, and single blocks longer than that.
    ///
    /// # Errors
    /// A failed call or an unreadable answer. One block that the node cannot write makes the whole
    /// range fail.
    pub async fn blocks_range(
        &self,
        start: BlockHeight,
        end: BlockHeight,
    ) -> Result<Vec<Block>, NodeError> {
        let blocks = self
            .raw_blocks(start, end, Wanted::Rows(&Everything))
            .await?;
        Ok(blocks.into_iter().map(RawBlock::into_block).collect())
    }

    /// The same without their transactions. Some nodes send them anyway; they are ignored.
    ///
    /// # Errors
    /// A failed call or an unreadable answer.
    pub async fn headers(
        &self,
        start: BlockHeight,
        end: BlockHeight,
    ) -> Result<Vec<Block>, NodeError> {
        let blocks = self.raw_blocks(start, end, Wanted::Headers).await?;
        Ok(blocks.into_iter().map(RawBlock::into_block).collect())
    }

    pub(crate) async fn raw_blocks(
        &self,
        start: BlockHeight,
        end: BlockHeight,
        wanted: Wanted<'_>,
    ) -> Result<Vec<RawBlock>, NodeError> {
        let dialect = self.configured_dialect();
        let mut blocks: Vec<RawBlock> = Vec::new();
        let mut kept = 0_usize;
        let mut broken = None;
        let path = self
            .range(start, end, matches!(wanted, Wanted::Rows(_)), &mut |text| {
                if kept > MOST_OF_A_RANGE {
                    return;
                }
                match RawBlock::cut(dialect, text, wanted) {
                    Ok(mut block) if (start..=end).contains(&block.head.height) => {
                        block.is_alone = !dialect::shows_blocks_alone(dialect);
                        kept += block.rows.as_ref().map_or(0, |rows| rows.bytes);
                        blocks.push(block);
                    }
                    Ok(_) => {}
                    Err(error) => broken = broken.take().or(Some(error)),
                }
            })
            .await?;
        if let Some(error) = broken {
            return Err(self.unreadable(&path, error));
        }
        blocks.sort_by_key(|block| block.head.height);
        blocks.dedup_by_key(|block| block.head.height);
        Ok(blocks)
    }

    /// The blocks of a range of heights as the node writes them: one JSON text each, in the node's
    /// order. They can be given to [`import_block`](Self::import_block) of another node. Blocks
    /// beyond the first 16 MiB are left out, as are single blocks longer than that.
    ///
    /// # Errors
    /// A failed call or an unreadable answer.
    pub async fn blocks_range_raw(
        &self,
        start: BlockHeight,
        end: BlockHeight,
    ) -> Result<Vec<String>, NodeError> {
        self.raw_texts(start, end, true).await
    }

    /// Like [`blocks_range_raw`](Self::blocks_range_raw), without their transactions.
    ///
    /// # Errors
    /// A failed call or an unreadable answer.
    pub async fn headers_raw(
        &self,
        start: BlockHeight,
        end: BlockHeight,
    ) -> Result<Vec<String>, NodeError> {
        self.raw_texts(start, end, false).await
    }

    async fn raw_texts(
        &self,
        start: BlockHeight,
        end: BlockHeight,
        transactions: bool,
    ) -> Result<Vec<String>, NodeError> {
        let mut texts: Vec<String> = Vec::new();
        let mut kept = 0_usize;
        let mut broken = None;
        let path = self
            .range(start, end, transactions, &mut |text| {
                if kept > MOST_OF_A_RANGE {
                    return;
                }
                kept += text.len();
                match std::str::from_utf8(text) {
                    Ok(text) => texts.push(text.to_owned()),
                    Err(error) => broken = broken.take().or(Some(error)),
                }
            })
            .await?;
        match broken {
            Some(error) => Err(self.unreadable(&path, error)),
            None => Ok(texts),
        }
    }

    /// Hands the text of each block of a range to `take`. Returns the path of the request.
    async fn range(
        &self,
        start: BlockHeight,
        end: BlockHeight,
        transactions: bool,
        take: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<String, NodeError> {
        let path = format!("/rpc/blocks-range?start={start}&end={end}&include_tx={transactions}");
        let path = self.with_chain(path);
        let list = List {
            key: "blocks",
            longest_item: LONGEST_BLOCK,
        };
        let mut each = |item: Item<'_>| {
            if let Item::Text(text) = item {
                take(text);
            }
        };
        let rest = self.get_list(&path, list, &mut each).await?;
        let object = Object::parse(&rest).map_err(|error| self.unreadable(&path, error))?;
        if object.boolean("success") == Some(false) {
            return Err(self.unreadable(&path, "it reports that the call did not succeed"));
        }
        if object.get("blocks") != Some(b"[]") {
            return Err(self.unreadable(&path, "it has no list of blocks"));
        }
        Ok(path)
    }

    /// An account's balance and counter. Both are 0 for an unknown account, which does not exist. A node
    /// may answer with an old counter: it keeps answers for a while.
    ///
    /// # Errors
    /// A failed call or an unreadable answer.
    pub async fn account(&self, address: &Address) -> Result<Account, NodeError> {
        let dialect = self.configured_dialect();
        let path = self.with_chain(format!("/rpc/accounts/{}", segment(address.as_str())));
        let body = match self.get(&path).await {
            Ok(body) => body,
            Err(error) if absent(&error) && dialect::denies_accounts(dialect) => {
                return Ok(Account {
                    address: address.clone(),
                    balance: 0,
                    nonce: Nonce::default(),
                    exists: false,
                });
            }
            Err(error) => return Err(error),
        };
        let object = Object::parse(&body).map_err(|error| self.unreadable(&path, error))?;
        let named = object.string("address");
        let is_it = |named: &str| dialect.address(named).is_ok_and(|named| named == *address);
        if named.is_some_and(|named| !is_it(&named)) {
            return Err(self.unreadable(&path, "it is about another address"));
        }
        let balance = object.get("balance").and_then(whole_number);
        Ok(Account {
            address: address.clone(),
            balance: balance.ok_or_else(|| self.unreadable(&path, "it has no balance"))?,
            nonce: object.unsigned("nonce").map(Nonce::new).unwrap_or_default(),
            exists: object.boolean("exists").unwrap_or(true),
        })
    }

    /// A transaction by its hash. None: the node does not know it.
    ///
    /// # Errors
    /// [`NodeError::Unsupported`] on nodes of April 2026, which do not have the call; else a failed
    /// call or an unreadable answer.
    pub async fn transaction(
        &self,
        hash: &TransactionHash,
    ) -> Result<Option<FoundTransaction>, NodeError> {
        let path = self.with_chain(format!("/rpc/transaction/{hash}"));
        let body = match self.get_up_to(&path, LONGEST_ROW).await {
            Ok(body) => body,
            Err(error) if route_absent(&error) => return Err(self.unsupported(&path)),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let outer = Object::parse(&body).map_err(|error| self.unreadable(&path, error))?;
        // Some nodes answer with the transaction itself, others wrap it.
        let inner = outer
            .get("transaction")
            .and_then(|text| Object::parse(text).ok());
        let dialect = self.configured_dialect();
        let row = Row::cut(dialect, outer.get("transaction").unwrap_or(&body));
        let object = inner.as_ref().unwrap_or(&outer);
        let stored = row.decode().ok().map(|(_, stored)| stored);
        let contradicts = match (row.hash, &stored) {
            (Some(named), _) => named != *hash,
            (None, Some(stored)) => dialect::identity(stored) != *hash,
            (None, None) => false,
        };
        if contradicts {
            return Err(self.unreadable(&path, "it is not the requested transaction"));
        }
        Ok(Some(FoundTransaction {
            hash: *hash,
            height: object
                .unsigned("block_height")
                .or_else(|| outer.unsigned("block_height"))
                .map(BlockHeight),
            status: object.string("status").map(|text| one_line(&text)),
            stored,
        }))
    }

    /// Hands a block to a node. `raw` is one of [`blocks_range_raw`](Self::blocks_range_raw), with
    /// the call's own fields added.
    ///
    /// # Errors
    /// A failed call (500 for a bad block) or an unreadable answer.
    pub async fn import_block(&self, raw: &str) -> Result<ImportOutcome, NodeError> {
        let path = "/rpc/importBlock";
        let body = self.post(path, raw).await?;
        let object = Object::parse(&body).map_err(|error| self.unreadable(path, error))?;
        if object.boolean("success") == Some(false) {
            let said = object.string("message").unwrap_or_default();
            return Err(self.unreadable(path, format!("it did not succeed: {said}")));
        }
        let height = object
            .unsigned("block_number")
            .or_else(|| object.unsigned("block_height"))
            .ok_or_else(|| self.unreadable(path, "it has no block_number"))?;
        Ok(ImportOutcome {
            height: BlockHeight(height),
            hash: object
                .string("block_hash")
                .map(|text| one_line(&text))
                .unwrap_or_default(),
            already_exists: dialect::had_block(self.configured_dialect(), &object),
        })
    }

    /// The dialect that the node shows, whichever it is asked in. It asks for block 0, which tells unless
    /// the chain is empty; then for the description of its calls. `None`: it cannot be told, as of an old
    /// node without a block.
    ///
    /// # Errors
    /// A failed call or an unreadable answer.
    pub async fn dialect(&self) -> Result<Option<Dialect>, NodeError> {
        // Of the node's own chain: any block will do, and an old node ignores the chain's name.
        let path = "/rpc/blocks-range?start=0&end=0&include_tx=false";
        let mut signs = Signs::default();
        let mut first = |item: Item<'_>| {
            if let Item::Text(text) = item
                && let Ok(block) = Object::parse(text)
                && block.get("height").is_some()
            {
                signs.block_signature = Some(block.get("signature").is_some());
            }
        };
        let list = List {
            key: "blocks",
            longest_item: LONGEST_BLOCK,
        };
        match self.get_list(path, list, &mut first).await {
            // A node may have no chain yet, and fail to find its database.
            Ok(_) => {}
            Err(error) if error.is_server_error() || error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        if signs.block_signature.is_none() {
            signs.transaction_route = self.has_transaction_route().await?;
        }
        Ok(dialect::detect(signs))
    }

    /// Whether the node describes a call that shows a transaction. `None`: it does not describe its calls.
    async fn has_transaction_route(&self) -> Result<Option<bool>, NodeError> {
        let path = "/openapi.json";
        let body = match self.get_up_to(path, LONGEST_DESCRIPTION).await {
            Ok(body) => body,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let object = Object::parse(&body).map_err(|error| self.unreadable(path, error))?;
        let paths = object
            .get("paths")
            .and_then(|text| Object::parse(text).ok());
        Ok(paths.map(|paths| paths.get("/rpc/transaction/{tx_hash}").is_some()))
    }

    /// What a node reports about itself.
    ///
    /// # Errors
    /// A failed call or an unreadable answer.
    pub async fn health(&self) -> Result<Health, NodeError> {
        let path = "/health";
        let body = self.get(path).await?;
        let object = Object::parse(&body).map_err(|error| self.unreadable(path, error))?;
        let word = |text: &[u8]| raw::string(text).map(|text| one_line(&text));
        let chains = object
            .get("supported_chains")
            .and_then(|list| raw::items(list).ok());
        Ok(Health {
            status: object.get("status").and_then(word).unwrap_or_default(),
            supported_chains: chains
                .unwrap_or_default()
                .into_iter()
                .filter_map(word)
                .collect(),
            proposer_id: object.get("proposer_id").and_then(word),
        })
    }
}

/// A 404 from the node itself: the requested item does not exist.
fn absent(error: &NodeError) -> bool {
    error.is_not_found() && !route_absent(error)
}

/// A 404 from the node's web framework: the call itself does not exist.
fn route_absent(error: &NodeError) -> bool {
    matches!(error, NodeError::Status { status: 404, detail, .. } if detail == "Not Found")
}

/// A number of any size, saturated to 128 bits; a float loses its fraction.
fn whole_number(text: &[u8]) -> Option<i128> {
    let json = Json::parse(text, Limits::default()).ok()?;
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Some(float) = json
        .root()
        .as_f64()
        .filter(|_| text.contains(['.', 'e', 'E']))
    {
        // A cast from a float saturates.
        return Some(float as i128);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let saturated = if text.starts_with('-') {
        i128::MIN
    } else {
        i128::MAX
    };
    Some(text.parse().unwrap_or(saturated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_of_any_size_are_read() {
        assert_eq!(whole_number(b"17"), Some(17));
        assert_eq!(whole_number(b"-17"), Some(-17));
        assert_eq!(whole_number(b"17.9"), Some(17));
        let huge = "9".repeat(60);
        assert_eq!(whole_number(huge.as_bytes()), Some(i128::MAX));
        assert_eq!(whole_number(format!("-{huge}").as_bytes()), Some(i128::MIN));
        for not_one in ["null", "\"17\"", "[]", "", "NaN", "--1"] {
            assert_eq!(whole_number(not_one.as_bytes()), None, "{not_one}");
        }
    }
}
