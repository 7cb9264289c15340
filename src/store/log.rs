//! Whether the write-ahead log of a store is whole.
//!
//! SQLite reads a log up to the first frame that does not fit, since a crash may have cut the last
//! transaction short. A byte that changed in the middle of it looks the same, and all that was
//! committed behind it would be lost without a word: what was answered would be answered again. A
//! crash leaves one unfinished transaction at most, for each is on the disk before the next begins. So
//! where two or more were committed behind a frame that does not fit, the log is damaged.
//!
//! SQLite does not know whose log it is, either: that of another store, as after a copy that was put
//! back without the log beside it, would be mixed into this one. The header of a file counts its changes,
//! and a store begins, and goes on after it was closed, with a random count. Its first page in a log of
//! its own has nearly the same.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::with_suffix;

/// The length of the log's header; see <https://sqlite.org/fileformat2.html#walformat>.
const HEADER: usize = 32;

/// The length of a frame's header.
const FRAME: usize = 24;

/// Where the header of a database counts its changes.
const COUNTED: usize = 24;

/// What a log begins with, but for the last bit: in which order its sums read their words.
const MAGIC: u32 = 0x377f_0682;

/// Between the count of changes in a file and in a log of its own there are less than this: each
/// takes a frame of that log.
const FRAMES: u32 = 1 << 20;

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is damaged.
    Cut(Cut),
    /// It is of another database.
    Foreign,
}

/// A log is cut off from here on, though more was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The frame that does not fit, from 1.
    pub(super) frame: u64,
    /// How many transactions were committed behind it.
    pub(super) lost: u64,
}

/// Looks through the log of the store at `store`, if it has one.
///
/// # Errors
/// It cannot be read.
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

/// Where a log is cut off, and the count of changes in its last first page, if it has one.
fn cut(log: &mut impl Read, counted: &mut Option<u32>) -> io::Result<Option<Cut>> {
    let mut header = [0; HEADER];
    if !fill(log, &mut header)? {
        return Ok(None);
    }
    // A crash can leave a log without content, whose header never reached the disk.
    if header == [0; HEADER] {
        return Ok(None);
    }
    let magic = word(&header, 0);
    let little = match magic & !1 {
        MAGIC => magic & 1 == 0,
        // Nothing of it will be read.
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
        // Those of an earlier log, which this one has not reached yet, have other salts.
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

/// Four bytes, the highest first; 0 beyond the end.
fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    u32::from_be_bytes(bytes.unwrap_or_default())
}

/// Reads as many bytes as there is room for; false, if there are no more so many.
fn fill(from: &mut impl Read, room: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(room) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
