//! Snapshots of a shard's tables, and the trimming of its log.
//!
//! A snapshot is the file that `Store::snapshot` writes. It is kept in parts, so that no statement is
//! large, and under the checksum of the whole file, so that an interrupted copy can be continued and
//! parts of two files are never mixed. It is complete when all of its parts are there.

use std::io::{Read, Write};
use std::path::Path;

use agentry_core::cluster::{Epoch, ShardId};
use sha2::{Digest, Sha256};
use tokio_postgres::types::ToSql;

use crate::ClusterError;
use crate::database::{Database, column, integer, number};
use crate::link::Call;
use crate::quiet::Quiet;

/// The size of a part, in bytes.
pub const PART: usize = 1 << 20;

/// How many records are deleted by one statement: a fraction of a second's work.
const RECORDS: i64 = 2_000;

const WHAT: &str = "the table of snapshots";

/// A snapshot in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The place of the last record that it has.
    pub at: u64,
    /// The SHA-256 of the file.
    pub file: [u8; 32],
    /// How many parts the file has.
    pub parts: u32,
    /// How many of them are there.
    pub stored: u32,
    /// The bytes of those.
    pub bytes: u64,
}

impl SnapshotInfo {
    /// Whether all parts are there.
    pub const fn is_complete(&self) -> bool {
        self.stored == self.parts
    }
}

/// What is left of a shard's log in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSize {
    /// The shard.
    pub shard: ShardId,
    /// The place of the last record.
    pub head: u64,
    /// How many records are there.
    pub records: u64,
    /// The bytes of their texts.
    pub bytes: u64,
}

/// Stores a part under an epoch. The count is 0 if the epoch is not the last one.
const PUT: &str = "with s as (select id from agentry.shard where id = $1 and epoch = $2), \
     i as (insert into agentry.snapshot (shard, seq, file, part, parts, body) \
         select id, $3, $4, $5, $6, $7 from s on conflict do nothing) \
     select count(*) from s";

const LIST: &str = "select seq, file, max(parts), count(*), sum(length(body))::bigint \
     from agentry.snapshot where shard = $1 group by seq, file order by seq desc, file";

const TRIM: &str = "delete from agentry.log where shard = $1 and seq in \
         (select seq from agentry.log where shard = $1 and seq <= $3 order by seq limit $4) \
     and exists (select from agentry.shard where id = $1 and epoch = $2) returning 1";

const SIZES: &str = "select s.id, s.head, count(l.seq), coalesce(sum(octet_length(l.body)), 0)::bigint \
     from agentry.shard s left join agentry.log l on l.shard = s.id group by s.id, s.head order by s.id";

impl Database {
    /// Stores a file as the snapshot of a shard at a place. Parts that are there already are left out,
    /// so an interrupted copy is continued by the same call. Returns `false` if the epoch is not the
    /// last one.
    ///
    /// # Errors
    /// The file cannot be read, or a part was not stored.
    pub async fn put_snapshot(
        &self,
        shard: ShardId,
        epoch: Epoch,
        at: u64,
        path: &Path,
    ) -> Result<bool, ClusterError> {
        let file = path.to_owned();
        let (sum, size) = on_thread(path, move || sum_of(&file)).await?;
        let parts = size.div_ceil(PART as u64).max(1);
        let parts: i32 = i32::try_from(parts).map_err(|_| ClusterError::TooLarge {
            what: "a snapshot",
            bytes: size,
            most: i32::MAX as u64 * PART as u64,
        })?;
        let (id, seq) = (i32::from(shard.0), integer("a place", at)?);
        let epoch = integer("an epoch", epoch.0)?;
        let there = "select part from agentry.snapshot where shard = $1 and seq = $2 and file = $3";
        let call = Call::read(
            "reading which parts of a snapshot are there",
            self.limits().bulk,
        );
        let rows = self
            .bulk()
            .await
            .query(call, (there, &[&id, &seq, &&sum[..]]))
            .await?;
        let there: Vec<i32> = rows
            .iter()
            .map(|row| column(Some(row), 0, WHAT))
            .collect::<Result<_, _>>()?;
        for part in (0..parts).filter(|part| !there.contains(part)) {
            let file = path.to_owned();
            let body = on_thread(path, move || part_of(&file, part)).await?;
            let parameters: [&(dyn ToSql + Sync); 7] = [
                &id,
                &epoch,
                &seq,
                &&sum[..],
                &part,
                &parts,
                &Quiet(&body[..]),
            ];
            let call = Call::write("storing a part of a snapshot", self.limits().bulk);
            // The connection is given back after each part, so that others are not kept waiting.
            let rows = self.bulk().await.query(call, (PUT, &parameters)).await?;
            if column::<i64>(rows.first(), 0, WHAT)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All snapshots of a shard, newest first; those that are not complete, too.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn snapshots(&self, shard: ShardId) -> Result<Vec<SnapshotInfo>, ClusterError> {
        let call = Call::read("reading the list of snapshots", self.limits().bulk);
        let rows = self
            .bulk()
            .await
            .query(call, (LIST, &[&i32::from(shard.0)]))
            .await?;
        let one = |row| {
            let file: &[u8] = column(Some(row), 1, WHAT)?;
            Ok(SnapshotInfo {
                at: number(WHAT, column::<i64>(Some(row), 0, WHAT)?)?,
                file: file
                    .try_into()
                    .map_err(|error| ClusterError::damaged(WHAT, &error))?,
                parts: number(WHAT, column::<i32>(Some(row), 2, WHAT)?)?,
                stored: number(WHAT, column::<i64>(Some(row), 3, WHAT)?)?,
                bytes: number(WHAT, column::<i64>(Some(row), 4, WHAT)?)?,
            })
        };
        rows.iter().map(one).collect()
    }

    /// The newest snapshot of a shard that is complete.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn newest_snapshot(
        &self,
        shard: ShardId,
    ) -> Result<Option<SnapshotInfo>, ClusterError> {
        let all = self.snapshots(shard).await?;
        Ok(all.into_iter().find(SnapshotInfo::is_complete))
    }

    /// Writes a snapshot to a new file, and makes it durable. Returns `false` if the snapshot was
    /// trimmed meanwhile: then there is a newer one. Nothing is left of a file that is not complete.
    ///
    /// # Errors
    /// The file exists or cannot be written, a part cannot be read, or the snapshot is damaged.
    pub async fn get_snapshot(
        &self,
        shard: ShardId,
        info: &SnapshotInfo,
        to: &Path,
    ) -> Result<bool, ClusterError> {
        let path = to.to_owned();
        let file = on_thread(to, move || std::fs::File::create_new(path)).await?;
        let got = self.write_snapshot(shard, info, to, file).await;
        if !matches!(got, Ok(true)) {
            let path = to.to_owned();
            on_thread(to, move || std::fs::remove_file(path)).await?;
        }
        got
    }

    async fn write_snapshot(
        &self,
        shard: ShardId,
        info: &SnapshotInfo,
        to: &Path,
        mut file: std::fs::File,
    ) -> Result<bool, ClusterError> {
        let get = "select body from agentry.snapshot \
                   where shard = $1 and seq = $2 and file = $3 and part = $4";
        let (id, seq) = (i32::from(shard.0), integer("a place", info.at)?);
        let mut sum = Sha256::new();
        for part in 0..info.parts {
            let part: i32 = number(WHAT, part)?;
            let call = Call::read("reading a part of a snapshot", self.limits().bulk);
            let parameters: [&(dyn ToSql + Sync); 4] = [&id, &seq, &&info.file[..], &part];
            let rows = self.bulk().await.query(call, (get, &parameters)).await?;
            if rows.is_empty() {
                return Ok(false);
            }
            let body: Vec<u8> = column(rows.first(), 0, WHAT)?;
            (file, sum) = on_thread(to, move || {
                sum.update(&body);
                file.write_all(&body)?;
                Ok((file, sum))
            })
            .await?;
        }
        if sum.finalize()[..] != info.file {
            return Err(ClusterError::damaged("a snapshot", &"its checksum differs"));
        }
        on_thread(to, move || file.sync_all()).await?;
        Ok(true)
    }

    /// Deletes what no host needs: the records up to the complete snapshot before the newest, and all
    /// older snapshots. A host that begins from the newest one has time until there are two newer
    /// ones. Returns how many records were deleted; none under an epoch that is not the last one.
    ///
    /// # Errors
    /// Something was not deleted; the next call deletes it.
    pub async fn trim(&self, shard: ShardId, epoch: Epoch) -> Result<u64, ClusterError> {
        let mut places: Vec<u64> = self
            .snapshots(shard)
            .await?
            .iter()
            .filter(|info| info.is_complete())
            .map(|info| info.at)
            .collect();
        places.dedup();
        let [newest, before, ..] = places[..] else {
            return Ok(0);
        };
        let (id, epoch) = (i32::from(shard.0), integer("an epoch", epoch.0)?);
        let (newest, through) = (integer("a place", newest)?, integer("a place", before)?);
        let mut deleted = 0;
        loop {
            let call = Call::write("trimming the log", self.limits().bulk);
            let parameters: [&(dyn ToSql + Sync); 4] = [&id, &epoch, &through, &RECORDS];
            let rows = self.bulk().await.query(call, (TRIM, &parameters)).await?;
            deleted += rows.len() as u64;
            if (rows.len() as i64) < RECORDS {
                break;
            }
        }
        let old = "delete from agentry.snapshot s where shard = $1 \
             and exists (select from agentry.shard where id = $1 and epoch = $2) \
             and (seq < $3 or (seq < $4 and parts <> (select count(*) from agentry.snapshot o \
                 where o.shard = s.shard and o.seq = s.seq and o.file = s.file)))";
        let call = Call::write("deleting old snapshots", self.limits().bulk);
        let parameters: [&(dyn ToSql + Sync); 4] = [&id, &epoch, &through, &newest];
        self.bulk().await.query(call, (old, &parameters)).await?;
        Ok(deleted)
    }

    /// How large the log of each shard is. It reads every record's size.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn log_sizes(&self) -> Result<Vec<LogSize>, ClusterError> {
        const WHAT: &str = "the log's table";
        let call = Call::read("reading the sizes of logs", self.limits().bulk);
        let rows = self.bulk().await.query(call, (SIZES, &[])).await?;
        let one = |row| {
            Ok(LogSize {
                shard: ShardId(number(WHAT, column::<i32>(Some(row), 0, WHAT)?)?),
                head: number(WHAT, column::<i64>(Some(row), 1, WHAT)?)?,
                records: number(WHAT, column::<i64>(Some(row), 2, WHAT)?)?,
                bytes: number(WHAT, column::<i64>(Some(row), 3, WHAT)?)?,
            })
        };
        rows.iter().map(one).collect()
    }
}

/// Does what may block on the file of a snapshot.
async fn on_thread<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ClusterError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|source| ClusterError::File {
        path: path.to_owned(),
        source,
    })
}

/// The checksum and the size of a file.
fn sum_of(path: &Path) -> std::io::Result<([u8; 32], u64)> {
    let (mut file, mut sum, mut size) = (std::fs::File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; PART];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((sum.finalize().into(), size)),
            read => {
                sum.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}

/// A part of a file.
fn part_of(path: &Path, part: i32) -> std::io::Result<Vec<u8>> {
    use std::io::{Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(
        u64::from(part.unsigned_abs()) * PART as u64,
    ))?;
    let mut body = Vec::with_capacity(PART);
    file.take(PART as u64).read_to_end(&mut body)?;
    Ok(body)
}
