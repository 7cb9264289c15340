//! Who calls, and what it may do.
//!
//! A check that fails says what is missing. What a caller may not read looks as if it were not there,
//! so that two callers cannot probe each other's messages and tasks.

use std::collections::BTreeSet;

use agentry_protocol::Address;

use super::error::{DoorError, ErrorCode};

/// Some addresses, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All addresses.
    All,
    /// These addresses, in the form in which they are written here.
    Only(BTreeSet<Address>),
}

impl Scope {
    /// Whether an address is in it.
    pub fn contains(&self, address: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(addresses) => addresses.contains(address),
        }
    }
}

/// What a caller may do with its agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Reads messages, tasks, the state of agents, and the directory.
    pub read: bool,
    /// Sends messages, and requests, answers and cancels tasks.
    pub send: bool,
    /// Retries and drops rows of the queues, resumes posting, reloads the configuration.
    pub operate: bool,
}

impl Rights {
    /// All rights.
    pub const ALL: Self = Self {
        read: true,
        send: true,
        operate: true,
    };
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name: keys of requests of callers with different names do not collide.
    pub name: String,
    /// The hosted agents that it may use.
    pub agents: Scope,
    /// What it may do with them.
    pub rights: Rights,
    /// Whom it may send to.
    pub recipients: Scope,
}

impl Caller {
    /// The operator, who may do everything.
    pub fn operator() -> Self {
        Self {
            name: "operator".to_owned(),
            agents: Scope::All,
            rights: Rights::ALL,
            recipients: Scope::All,
        }
    }

    /// # Errors
    /// It may not read.
    pub fn check_read(&self) -> Result<(), DoorError> {
        self.check(self.rights.read, "read")
    }

    /// # Errors
    /// It may not send.
    pub fn check_send(&self) -> Result<(), DoorError> {
        self.check(self.rights.send, "send")
    }

    /// # Errors
    /// It may not operate.
    pub fn check_operate(&self) -> Result<(), DoorError> {
        self.check(self.rights.operate, "operate")
    }

    /// Checks the right to change what concerns all agents.
    ///
    /// # Errors
    /// It may not operate, or not all agents.
    pub fn check_operate_all(&self) -> Result<(), DoorError> {
        self.check_operate()?;
        match self.agents {
            Scope::All => Ok(()),
            Scope::Only(_) => Err(self.refusal("this concerns all agents")),
        }
    }

    /// Checks the right to send to an address.
    ///
    /// # Errors
    /// It is not among the recipients.
    pub fn check_recipient(&self, to: &Address) -> Result<(), DoorError> {
        if self.recipients.contains(to.as_str()) {
            Ok(())
        } else {
            Err(self.refusal(&format!("{to} is not among its recipients")))
        }
    }

    /// Whether it may use the hosted agent at an address.
    pub fn sees(&self, agent: &str) -> bool {
        self.agents.contains(agent)
    }

    fn check(&self, granted: bool, right: &str) -> Result<(), DoorError> {
        if granted {
            Ok(())
        } else {
            Err(self.refusal(&format!("the right {right:?} is missing")))
        }
    }

    fn refusal(&self, missing: &str) -> DoorError {
        let message = format!("{} may not do this: {missing}", self.name);
        DoorError::new(ErrorCode::NotAllowed, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::from_chain(text).unwrap()
    }

    #[test]
    fn a_caller_may_do_what_it_was_granted_and_nothing_else() {
        let operator = Caller::operator();
        let (one, other) = (address("ait1one"), address("ait1other"));
        operator.check_read().unwrap();
        operator.check_send().unwrap();
        operator.check_operate_all().unwrap();
        operator.check_recipient(&one).unwrap();
        let caller = Caller {
            name: "reader".to_owned(),
            agents: Scope::Only([one.clone()].into()),
            rights: Rights {
                read: true,
                ..Rights::default()
            },
            recipients: Scope::Only([other.clone()].into()),
        };
        caller.check_read().unwrap();
        assert!(caller.sees("ait1one") && !caller.sees("ait1other"));
        caller.check_recipient(&other).unwrap();
        for refused in [
            caller.check_send(),
            caller.check_operate(),
            caller.check_operate_all(),
            caller.check_recipient(&one),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.code(), ErrorCode::NotAllowed);
            assert!(error.to_string().contains("reader"), "{error}");
        }
        let some = Caller {
            rights: Rights::ALL,
            ..caller
        };
        some.check_operate().unwrap();
        assert!(some.check_operate_all().is_err());
    }
}
