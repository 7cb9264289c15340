//! What is open in this process, and must not be in the programs that it starts.

/// The first file descriptor after the standard streams.
const FIRST: i32 = 3;

/// Sees to it that every program which this process starts gets the standard streams alone: whatever
/// else is open now, such as what this process inherited, is closed there. What is opened later is
/// closed there anyhow. To be called first of all in `main`; what is open stays open here.
pub fn keep_from_programs() {
    close_fds::set_fds_cloexec_threadsafe(FIRST, &[]);
}
