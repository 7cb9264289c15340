//! A log with a [point](Point::AfterAppend) after each append, at which tests kill the process.

use agentry_store::Log;

#[cfg(debug_assertions)]
mod log {
    use agentry_core::Commit;
    use agentry_core::cluster::Epoch;
    use agentry_store::{Log, LogError, Mark, Position, Record};

    use crate::runtime::kill::{self, Point};

    #[derive(Debug)]
    pub(super) struct Killable(pub(super) Box<dyn Log>);

    impl Log for Killable {
        fn append(&mut self, group: &[&Commit]) -> Result<Mark, LogError> {
            let mark = self.0.append(group)?;
            kill::pass(Point::AfterAppend);
            Ok(mark)
        }

        fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, LogError> {
            self.0.read(after, bytes)
        }

        fn cut(&mut self, through: Position) -> Result<(), LogError> {
            self.0.cut(through)
        }

        fn check(&self, mark: &Mark) -> Result<(), LogError> {
            self.0.check(mark)
        }

        fn lead(&mut self, epoch: Epoch) -> Result<(), LogError> {
            self.0.lead(epoch)
        }
    }
}

/// The log, with the point.
#[cfg(debug_assertions)]
pub(super) fn over(log: Box<dyn Log>) -> Box<dyn Log> {
    Box::new(log::Killable(log))
}

/// The log; a release build has no such point.
#[cfg(not(debug_assertions))]
pub(super) fn over(log: Box<dyn Log>) -> Box<dyn Log> {
    log
}
