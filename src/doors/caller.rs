//! Who calls, and what it may do.
//!
//! A check that fails says what is missing. What a caller may not read looks as if it were not there,
//! so that two callers cannot probe each other's messages and tasks.

use std::collections::BTreeSet;

use agentry_core::state::row::token::Index;
use agentry_core::{State, Token, TokenName};
use agentry_protocol::{Address, ContentHash};
use agentry_store::Store;

pub use agentry_core::Rights;

use super::error::{DoorError, ErrorCode};
use crate::runtime::clock::Clock;

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

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name.
    pub name: String,
    /// Its token, whose budget pays for what it sends; none for the operator.
    pub token: Option<TokenName>,
    /// The hosted agents that it may use.
    pub agents: Scope,
    /// What it may do with them.
    pub rights: Rights,
    /// Whom it may send to.
    pub recipients: Scope,
    /// Whether it may look at what operators look at, although it may not operate.
    pub oversees: bool,
}

impl Caller {
    /// The operator, who may do everything.
    pub fn operator() -> Self {
        Self {
            name: "operator".to_owned(),
            token: None,
            agents: Scope::All,
            rights: Rights {
                read: true,
                send: true,
                operate: true,
            },
            recipients: Scope::All,
            oversees: false,
        }
    }

    /// Who is signed in to the console: the operator, or one who may only look.
    pub fn of_console(read_only: bool) -> Self {
        let operator = Self::operator();
        Self {
            name: "console".to_owned(),
            rights: Rights {
                send: !read_only,
                operate: !read_only,
                ..operator.rights
            },
            oversees: true,
            ..operator
        }
    }

    /// The holder of a token.
    pub fn of_token(token: Token) -> Self {
        let scope = |some: Option<BTreeSet<Address>>| some.map_or(Scope::All, Scope::Only);
        Self {
            name: format!("the holder of token {}", token.name),
            token: Some(token.name),
            agents: scope(token.agents),
            oversees: false,
            rights: token.rights,
            recipients: scope(token.recipients),
        }
    }

    /// The holder of the token with this secret.
    ///
    /// # Errors
    /// There is none that is valid now; the store cannot be read.
    pub async fn with_secret(secret: &str, store: &Store) -> Result<Self, DoorError> {
        let hash = ContentHash::of(secret.as_bytes());
        let find = move |state: &State| state.tokens().find(&Index::Secret(hash));
        let token = store.query(find).await?.map(|row| row.token.clone());
        let now = Clock::default().now();
        let valid = token.filter(|token| token.is_valid_at(now));
        let unknown = || DoorError::new(ErrorCode::Unauthenticated, "the token is not valid");
        valid.map(Self::of_token).ok_or_else(unknown)
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

    /// # Errors
    /// It may not look at what operators look at.
    pub fn check_oversee(&self) -> Result<(), DoorError> {
        self.check(self.rights.operate || self.oversees, "operate")
    }

    /// Checks the right to look at what concerns all agents.
    ///
    /// # Errors
    /// It may not look at what operators look at, or not at all agents.
    pub fn check_oversee_all(&self) -> Result<(), DoorError> {
        self.check_oversee()?;
        self.check_all()
    }

    /// Checks the right to change what concerns all agents.
    ///
    /// # Errors
    /// It may not operate, or not all agents.
    pub fn check_operate_all(&self) -> Result<(), DoorError> {
        self.check_operate()?;
        self.check_all()
    }

    fn check_all(&self) -> Result<(), DoorError> {
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
    fn who_only_looks_sees_what_operators_see_and_changes_nothing() {
        let reader = Caller::of_console(true);
        reader.check_read().unwrap();
        reader.check_oversee_all().unwrap();
        assert!(reader.check_send().is_err() && reader.check_operate().is_err());
        Caller::of_console(false).check_operate_all().unwrap();
        let holder = Caller {
            rights: Rights {
                read: true,
                ..Rights::default()
            },
            ..Caller::operator()
        };
        assert!(holder.check_oversee().is_err());
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
            ..Caller::operator()
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
            rights: operator.rights,
            ..caller
        };
        some.check_operate().unwrap();
        assert!(some.check_operate_all().is_err());
    }
}
