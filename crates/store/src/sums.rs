//! Checksums of a store's pages, in a file beside the store while it is closed.
//!
//! SQLite keeps no checksums of pages: a changed byte within a text or a number is read as if it
//! had been written that way. So closing a store writes `<store>.sums`, and the next opening
//! compares. The file does not exist while a store is open, nor after its process was killed.
//!
//! The checksums belong to one state of the file, identified by the change counter in its header.
//! Closing a store sets that counter at random, because a restored and used backup may have been
//! changed as often as the store that it replaced. A closed store is in SQLite's rollback mode, in
//! which every change by any program increments the counter. So a restored backup, or a store that
//! was changed with `sqlite3`, has another counter, and the checksums do not apply to it.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::with_suffix;

/// The magic bytes at the start of the file.
const MAGIC: &[u8] = b"agentry sums 1\n";

/// A larger store gets no checksums, in bytes: closing it must not take long.
const LARGEST: u64 = 1 << 30;

/// How many bytes of a page's digest are kept.
const SUM: usize = 8;

/// The length of SQLite's header.
const HEADER: usize = 100;

/// The checksums of a file's pages.
#[derive(Debug, PartialEq, Eq)]
struct Sums {
    counter: u32,
    page_size: usize,
    pages: Vec<[u8; SUM]>,
}

/// Writes the checksums of a store that was just closed. If that fails there are none, as after a
/// killed process.
pub(super) fn leave(store: &Path) {
    let left = renumber(store).and_then(|()| Sums::of(store));
    let left = left.and_then(|sums| match sums {
        Some(sums) => sums.write(&at(store)),
        None => Ok(()),
    });
    if let Err(error) = left {
        tracing::debug!(%error, path = %store.display(), "the checksums of the store's pages were not written");
    }
}

/// Gives a closed store, or a new one, a random change counter, in the two places of its header
/// that hold it (<https://www.sqlite.org/fileformat2.html#file_change_counter>).
///
/// # Errors
/// The store cannot be written, or the system provides no random number.
pub(super) fn renumber(store: &Path) -> io::Result<()> {
    let counter = getrandom::u32().map_err(io::Error::other)?.to_be_bytes();
    let mut file = File::options().write(true).open(store)?;
    for at in [24, 92] {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&counter)?;
    }
    file.sync_data()
}

/// The pages, counted from 1, that changed after the store was closed; none if that is not known.
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

/// Removes the checksums: the store is about to change.
///
/// # Errors
/// The file exists and cannot be removed.
pub(super) fn remove(store: &Path) -> io::Result<()> {
    match fs::remove_file(at(store)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The path of the checksums of a store.
pub(super) fn at(store: &Path) -> PathBuf {
    with_suffix(store, ".sums")
}

impl Sums {
    /// The checksums of a file as it is; `None` if it is too large or not a database.
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
        // The file's mode is 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(&text)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// The checksums written on closing; `None` if there are none, or the file is incomplete.
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
