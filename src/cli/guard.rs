//! What this process keeps from the other users of the machine, and from the programs that it starts.

use agentry_behaviours::confine::descriptors;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};

/// Guards the process. To be called before it opens, makes or starts anything.
///
/// - What it makes, it makes for its owner alone, whatever umask it was started with.
/// - What was open when it was started is closed in the programs that it starts.
/// - It leaves no core file, in which keys and passwords would stand, and another process of the same
///   user can neither read its memory nor trace it. Programs that it starts leave no core file either.
pub(super) fn guard() {
    umask(Mode::RWXG | Mode::RWXO);
    descriptors::keep_from_programs();
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Neither can be refused: a limit may always be lowered.
    let _ = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
