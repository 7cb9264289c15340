//! Sums of a store's pages, beside it while it is closed.
//!
//! SQLite keeps no checksum of a page: a byte that changed within a text or a number is read as if it
//! had been written so. Therefore whoever closes a store leaves `<store>.sums`, and whoever opens it
//! next compares. While a store is open there are none, and after a process that was killed neither.
//!
//! The sums are those of one state of the file, which the change counter in its header names. Whoever
//! closes a store sets that counter at random, since a copy that was put back and used has been changed
//! as often as the store that it replaced. A store that is closed is in SQLite's rollback mode, in which
//! every change by any program counts. So a copy that was put back, or a store that somebody changed by
//! `sqlite3`, has another counter, and the sums say nothing about it.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::with_suffix;

/// What the file begins with.
const MAGIC: &[u8] = b"agentry sums 1\n";

/// A store of more bytes gets no sums: closing it must not take long.
const LARGEST: u64 = 1 << 30;

/// How many bytes of a page's digest are kept.
const SUM: usize = 8;

/// Where SQLite's header ends.
const HEADER: usize = 100;

/// The sums of a file's pages.
#[derive(Debug, PartialEq, Eq)]
struct Sums {
    counter: u32,
    page_size: usize,
    pages: Vec<[u8; SUM]>,
}

/// Leaves the sums of a store that was just closed. Where that fails there are none, as after a
/// process that was killed.
pub(super) fn leave(store: &Path) {
    let left = renumber(store).and_then(|()| Sums::of(store));
    let left = left.and_then(|sums| match sums {
        Some(sums) => sums.write(&at(store)),
        None => Ok(()),
    });
    if let Err(error) = left {
        tracing::debug!(%error, path = %store.display(), "no sums of the store's pages were left");
    }
}

/// Gives a closed store, or a new one, a random change counter, in the two places of its header that hold it
/// (<https://www.sqlite.org/fileformat2.html#file_change_counter>).
///
/// # Errors
/// It cannot be written, or the system has no random number.
pub(super) fn renumber(store: &Path) -> io::Result<()> {
    let counter = getrandom::u32().map_err(io::Error::other)?.to_be_bytes();
    let mut file = File::options().write(true).open(store)?;
    for at in [24, 92] {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&counter)?;
    }
    file.sync_data()
}

/// The pages, from 1, that are not as they were when the store was closed; none where that is not
/// known.
///
/// # Errors
/// The store cannot be read.
pub(super) fn changed(store: &Path) -> io::Result<Vec<usize>> {
    let Some(left) = Sums::read(&at(store)) else {
        return Ok(Vec::new());
    };
    let Some(now) = Sums::of(store)?.filter(|now| now.counter == left.counter) else {
        return Ok(Vec::new());
    };
    let count = left.pages.len().max(now.pages.len());
    let page = |sums: &Sums, index: usize| sums.pages.get(index).copied();
    Ok((0..count)
        .filter(|index| page(&left, *index) != page(&now, *index))
        .map(|index| index + 1)
        .collect())
}

/// Takes the sums away: the store is about to change.
///
/// # Errors
/// They are there and cannot be removed.
pub(super) fn remove(store: &Path) -> io::Result<()> {
    match fs::remove_file(at(store)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the sums of a store are.
pub(super) fn at(store: &Path) -> PathBuf {
    with_suffix(store, ".sums")
}

impl Sums {
    /// Those of a file as it is; none, where it is too large or no database.
    fn of(store: &Path) -> io::Result<Option<Self>> {
        let file = File::open(store)?;
        let length = file.metadata()?.len();
        if length > LARGEST || length < HEADER as u64 {
            return Ok(None);
        }
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut header = [0; HEADER];
        file.read_exact(&mut header)?;
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 1 << 16,
            size @ 512.. => usize::from(size),
            _ => return Ok(None),
        };
        let counter = u32::from_be_bytes([header[24], header[25], header[26], header[27]]);
        let mut pages = Vec::new();
        let mut file = header.as_slice().chain(file);
        let mut page = vec![0; page_size];
        loop {
            let mut filled = 0;
            while filled < page_size {
                match file.read(&mut page[filled..])? {
                    0 => break,
                    read => filled += read,
                }
            }
            if filled == 0 {
                break;
            }
            pages.push(sum(&page[..filled]));
            if filled < page_size {
                break;
            }
        }
        Ok(Some(Self {
            counter,
            page_size,
            pages,
        }))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = MAGIC.to_vec();
        text.extend(self.counter.to_be_bytes());
        text.extend(u32::try_from(self.page_size).unwrap_or(0).to_be_bytes());
        self.pages.iter().for_each(|sum| text.extend(sum));
        let digest = Sha256::digest(&text);
        text.extend(digest);
        let folder = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        // Its mode is 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(&text)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Those that were left; none, where there are none, or they are not whole.
    fn read(path: &Path) -> Option<Self> {
        let text = fs::read(path).ok()?;
        let (text, digest) = text.split_at_checked(text.len().checked_sub(32)?)?;
        if Sha256::digest(text).as_slice() != digest {
            return None;
        }
        let rest = text.strip_prefix(MAGIC)?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (page_size, rest) = rest.split_first_chunk()?;
        let pages = rest.chunks_exact(SUM).map(|sum| sum.try_into().ok());
        Some(Self {
            counter: u32::from_be_bytes(*counter),
            page_size: usize::try_from(u32::from_be_bytes(*page_size)).ok()?,
            pages: pages.collect::<Option<_>>()?,
        })
    }
}

fn sum(page: &[u8]) -> [u8; SUM] {
    let digest = Sha256::digest(page);
    let mut sum = [0; SUM];
    for (to, from) in sum.iter_mut().zip(digest) {
        *to = from;
    }
    sum
}
