//! Keeps the file descriptors of this process out of the programs that it starts.

/// The first file descriptor after the standard streams.
const FIRST: i32 = 3;

/// Makes every program that this process starts get the standard streams only. File descriptors
/// that are open now, such as inherited ones, are closed in the program; they stay open in this
/// process. Files that are opened later are closed in programs in any case. Call it first in
/// `main`.
pub fn keep_from_programs() {
    close_fds::set_fds_cloexec_threadsafe(FIRST, &[]);
}
