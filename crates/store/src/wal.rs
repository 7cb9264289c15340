//! Checks the write-ahead log of a store.
//!
//! SQLite reads a log up to the first invalid frame, because a crash may have cut the last
//! transaction short. A changed byte in the middle of the log looks the same, and everything that
//! was committed after it would be lost silently: answered messages would be answered again. A
//! crash leaves at most one unfinished transaction, because each is on the disk before the next one
//! starts. So if two or more transactions were committed after an invalid frame, the log is
//! damaged.
//!
//! SQLite does not check which file a log belongs to, either: the log of another store, as after a
//! backup was restored without replacing the log beside it, would be mixed into this one. The
//! header of a file holds a change counter, and a store starts, and continues after it was closed,
//! with a random counter. The first page in the store's own log has nearly the same counter.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::with_suffix;

/// The length of the log's header; see <https://sqlite.org/fileformat2.html#walformat>.
const HEADER: usize = 32;

/// The length of a frame's header.
const FRAME: usize = 24;

/// The offset of the change counter in the header of a database.
const COUNTED: usize = 24;

/// The magic number of a log without its last bit, which is the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;

/// The change counters in a file and in its own log differ by less than this: each change takes a
/// frame of that log.
const FRAMES: u32 = 1 << 20;

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The log is damaged.
    Cut(Cut),
    /// The log belongs to another database.
    Foreign,
}

/// The place at which a log is cut off, although more was committed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The invalid frame, counted from 1.
    pub(super) frame: u64,
    /// How many transactions were committed after it.
    pub(super) lost: u64,
}

/// Checks the log of the store at `store`, if it has one.
///
/// # Errors
/// The log cannot be read.
pub(super) fn look(store: &Path) -> io::Result<Option<Fault>> {
    let file = match File::open(with_suffix(store, "-wal")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut counted = None;
    let cut = cut(&mut BufReader::with_capacity(1 << 16, file), &mut counted)?;
    let mut header = [0; COUNTED + 4];
    let foreign = match counted {
        Some(counted) if fill(&mut File::open(store)?, &mut header)? => {
            let ours = word(&header, COUNTED);
            counted.wrapping_sub(ours).min(ours.wrapping_sub(counted)) > FRAMES
        }
        _ => false,
    };
    Ok(if foreign {
        Some(Fault::Foreign)
    } else {
        cut.map(Fault::Cut)
    })
}

/// Where a log is cut off, and the change counter in the last copy of page 1 in it, if it has one.
fn cut(log: &mut impl Read, counted: &mut Option<u32>) -> io::Result<Option<Cut>> {
    let mut header = [0; HEADER];
    if !fill(log, &mut header)? {
        return Ok(None);
    }
    // A crash can leave a log whose header never reached the disk.
    if header == [0; HEADER] {
        return Ok(None);
    }
    let magic = word(&header, 0);
    let little = match magic & !1 {
        MAGIC => magic & 1 == 0,
        // SQLite will read nothing of it.
        _ => return Ok(Some(Cut { frame: 0, lost: 0 })),
    };
    let salts = &header[16..24];
    let mut sums = Sums {
        little,
        sums: (0, 0),
    };
    sums.add(&header[..24]);
    if !sums.are(&header[24..]) {
        return Ok(Some(Cut { frame: 0, lost: 0 }));
    }
    let page_size = usize::try_from(word(&header, 8)).unwrap_or(0);
    if !(512..=1 << 16).contains(&page_size) {
        return Ok(Some(Cut { frame: 0, lost: 0 }));
    }
    let mut frame = vec![0; FRAME + page_size];
    let mut number = 0;
    let mut found: Option<Cut> = None;
    while fill(log, &mut frame)? {
        number += 1;
        // Frames of an earlier log that this one has not overwritten yet have other salts.
        let ours = &frame[8..16] == salts;
        if found.is_none() {
            sums.add(&frame[..8]);
            sums.add(&frame[FRAME..]);
            if !ours || !sums.are(&frame[16..24]) {
                found = Some(Cut {
                    frame: number,
                    lost: 0,
                });
            } else if word(&frame, 0) == 1 {
                *counted = Some(word(&frame, FRAME + COUNTED));
            }
        }
        let commits = word(&frame, 4) != 0;
        if let Some(cut) = found.as_mut().filter(|_| ours && commits) {
            cut.lost += 1;
        }
    }
    Ok(found.filter(|cut| cut.lost > 1))
}

/// The checksum of SQLite's log: two words over pairs of words.
struct Sums {
    little: bool,
    sums: (u32, u32),
}

impl Sums {
    fn add(&mut self, bytes: &[u8]) {
        let read = |bytes: &[u8]| {
            let word = word(bytes, 0);
            if self.little { word.swap_bytes() } else { word }
        };
        for pair in bytes.chunks_exact(8) {
            let (one, other) = self.sums;
            let one = one.wrapping_add(read(pair)).wrapping_add(other);
            let other = other.wrapping_add(read(&pair[4..])).wrapping_add(one);
            self.sums = (one, other);
        }
    }

    fn are(&self, bytes: &[u8]) -> bool {
        self.sums == (word(bytes, 0), word(bytes, 4))
    }
}

/// Four bytes, big-endian; 0 beyond the end.
fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    u32::from_be_bytes(bytes.unwrap_or_default())
}

/// Fills the buffer; false if fewer bytes are left.
fn fill(from: &mut impl Read, room: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(room) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
