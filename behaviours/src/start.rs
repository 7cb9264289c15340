//! Starting programs, one at a time.

use std::sync::{Mutex, PoisonError};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Starts a program with pipes while this process starts no other one.
///
/// Until it has become its program, a new process holds everything that this process has open, so also
/// the ends of the pipes that another program is being started with. As long as it does, which takes a
/// while on a busy machine, a pipe that its program has closed seems to be read: what is written to it
/// is lost without an error.
pub(crate) fn alone<T>(start: impl FnOnce() -> T) -> T {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    start()
}
