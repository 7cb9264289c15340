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
    /// Its pages are damaged. Nothing more is stored, and nothing that is read can be relied on.
    Broken(String),
}

impl Condition {
    /// The reason, unless the store is well.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Well => None,
            Self::Refusing(reason) | Self::Spoiled(reason) | Self::Broken(reason) => Some(reason),
        }
    }

    /// The severity: a condition is not replaced by a less severe one.
    const fn rank(&self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Refusing(_) => 1,
            Self::Spoiled(_) => 2,
            Self::Broken(_) => 3,
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
        assert_eq!(met(Trouble::Pages(text("y"))), Condition::Broken(text("y")));
        assert_eq!(met(Trouble::Value(text("x"))), Condition::Broken(text("y")));
        assert!(health.is_broken());
    }
}
