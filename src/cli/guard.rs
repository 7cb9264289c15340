//! Protects the process from other users of the machine and from the programs that it starts.

use agentry_behaviours::confine::descriptors;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};

/// Hardens the process. Call it before the process opens, creates or starts anything.
///
/// - Files that it creates are accessible to their owner only, whatever the umask at the start.
/// - File descriptors that were open at the start are closed in the programs that it starts.
/// - It writes no core file, which would contain keys and passwords, and other processes of the
///   same user can neither read its memory nor trace it. Programs that it starts write no core
///   file either.
pub(super) fn guard() {
    umask(Mode::RWXG | Mode::RWXO);
    descriptors::keep_from_programs();
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Neither call can be refused: a limit may always be lowered.
    let _ = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
