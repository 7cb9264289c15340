//! The store's condition, published to every subscriber.

use tokio::sync::watch;

use super::error::Trouble;

/// The condition of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Changes are stored.
    #[default]
    Well,
    /// The system refuses to write for now. Changes wait, and are stored once writing works again.
    Refusing(String),
    /// A value in it could not be read back. What does not need that value continues.
    Spoiled(String),
    /// Another host appends to its log, which is elsewhere. Nothing more is stored.
    Fenced,
    /// Its log, which is elsewhere, does not go on from what its tables have, or cannot be read by
    /// this version. Nothing more is stored.
    Halted(String),
    /// Its pages are damaged. Nothing more is stored, and nothing that is read can be relied on.
    Broken(String),
}

impl Condition {
    /// The reason, unless the store is well.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Well => None,
            Self::Fenced => Some("another host makes the changes of this store now"),
            Self::Refusing(reason)
            | Self::Spoiled(reason)
            | Self::Halted(reason)
            | Self::Broken(reason) => Some(reason),
        }
    }

    /// The severity: a condition is not replaced by a less severe one.
    const fn rank(&self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Refusing(_) => 1,
            Self::Spoiled(_) => 2,
            Self::Fenced => 3,
            Self::Halted(_) => 4,
            Self::Broken(_) => 5,
        }
    }
}

/// The published condition of a store. Cheap to clone; all clones share one condition.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(watch::Sender<Condition>);

impl Health {
    /// The channel to the subscribers.
    pub(super) fn watch(&self) -> watch::Receiver<Condition> {
        self.0.subscribe()
    }

    pub(super) fn is_broken(&self) -> bool {
        matches!(*self.0.borrow(), Condition::Broken(_))
    }

    /// Why nothing more is stored, if that is so.
    pub(super) fn end(&self) -> Option<Trouble> {
        match &*self.0.borrow() {
            Condition::Well | Condition::Refusing(_) | Condition::Spoiled(_) => None,
            Condition::Fenced => Some(Trouble::Fenced),
            Condition::Halted(reason) => Some(Trouble::Halted(reason.clone())),
            Condition::Broken(_) => {
                let reason = "it is damaged, and changes would damage it further".to_owned();
                Some(Trouble::Pages(reason))
            }
        }
    }

    /// Whether the system refused to store a change, and nothing was stored since.
    pub(super) fn is_refusing(&self) -> bool {
        matches!(*self.0.borrow(), Condition::Refusing(_))
    }

    /// Reports trouble. It is logged when the condition changes, not on each occurrence.
    pub(super) fn met(&self, trouble: &Trouble) {
        let next = match trouble.clone() {
            Trouble::Refusal(reason) => Condition::Refusing(reason),
            Trouble::Value(what) => Condition::Spoiled(what),
            Trouble::Pages(what) => Condition::Broken(what),
            Trouble::Fenced => Condition::Fenced,
            Trouble::Halted(reason) => Condition::Halted(reason),
            Trouble::Closing => return,
        };
        let changed = self.0.send_if_modified(|now| {
            let worse = next.rank() > now.rank();
            if worse {
                *now = next.clone();
            }
            worse
        });
        if !changed {
            return;
        }
        match next {
            Condition::Well => {}
            Condition::Refusing(reason) => tracing::error!(
                reason,
                "the store accepts no changes; they wait and are retried"
            ),
            Condition::Spoiled(what) => tracing::error!(
                what,
                "a value in the store cannot be read back; work that does not need it continues; run agentry doctor"
            ),
            Condition::Fenced => tracing::warn!(
                "another host makes the changes of the store now; this one makes no more"
            ),
            Condition::Halted(reason) => {
                tracing::error!(reason, "the store makes no more changes");
            }
            Condition::Broken(what) => tracing::error!(
                what,
                "the store is damaged; nothing more is stored in it; run agentry doctor"
            ),
        }
    }

    /// Reports that changes were stored.
    pub(super) fn stored(&self) {
        let changed = self.0.send_if_modified(|now| {
            let refused = matches!(now, Condition::Refusing(_));
            if refused {
                *now = Condition::Well;
            }
            refused
        });
        if changed {
            tracing::info!("the store accepts changes again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_ends_and_damage_stays() {
        let health = Health::default();
        let seen = health.watch();
        let met = |trouble| {
            health.met(&trouble);
            seen.borrow().clone()
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(
            met(Trouble::Refusal(text("full"))),
            Condition::Refusing(text("full"))
        );
        health.stored();
        assert_eq!(*seen.borrow(), Condition::Well);
        assert_eq!(
            met(Trouble::Value(text("x"))),
            Condition::Spoiled(text("x"))
        );
        health.stored();
        assert_eq!(
            met(Trouble::Refusal(text("full"))),
            Condition::Spoiled(text("x"))
        );
        assert_eq!(met(Trouble::Fenced), Condition::Fenced);
        assert_eq!(health.end(), Some(Trouble::Fenced));
        health.stored();
        assert_eq!(met(Trouble::Closing), Condition::Fenced);
        assert_eq!(met(Trouble::Pages(text("y"))), Condition::Broken(text("y")));
        assert_eq!(met(Trouble::Value(text("x"))), Condition::Broken(text("y")));
        assert!(health.is_broken());
    }
}
