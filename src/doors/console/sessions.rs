//! Who is signed in to the console.
//!
//! `agentry ui` gets a code over the control socket, which only the operator can write to. The page that
//! it opens trades the code for a session: a cookie that scripts cannot read, and a key that the page
//! keeps and sends with each request. A cookie is sent to every port of its host; the key is kept for one
//! origin, so that a server of somebody else on this machine can use neither.
//!
//! Of all three, only hashes are kept, in memory: a restart signs everybody out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use agentry_protocol::ContentHash;
use tokio::time::Instant;

use super::super::caller::Caller;
use crate::config::ConsoleAccess;

/// How long a code is valid: the time that a browser takes to start, with some to spare.
const CODE_LIFE: Duration = Duration::from_secs(60);

/// How many codes are valid at the same time; the oldest gives way.
const CODES: usize = 8;

/// How long a session lasts: a working day.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// After how long without a request a session ends. A page that is open asks more often.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// How many sessions there are at the same time; the one that was used least recently gives way.
const SESSIONS: usize = 16;

/// The random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// A secret: 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system grants no random bytes.
    fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

fn hash(secret: &str) -> ContentHash {
    ContentHash::of(secret.as_bytes())
}

/// What a page presents: the cookie, and its key.
#[derive(Clone)]
pub struct Proof {
    cookie: ContentHash,
    key: ContentHash,
}

impl Proof {
    /// A cookie and a key.
    pub fn of(cookie: &str, key: &str) -> Self {
        Self {
            cookie: hash(cookie),
            key: hash(key),
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(***)")
    }
}

/// A session that has just begun.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The value of the cookie.
    pub cookie: Secret,
    /// The page's key.
    pub key: Secret,
    /// Whether its holder may only read.
    pub read_only: bool,
}

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whether its holder may only read.
    pub read_only: bool,
    /// How long it lasts at most.
    pub left: Duration,
}

impl Session {
    /// Its holder.
    pub fn caller(self) -> Caller {
        Caller::of_console(self.read_only)
    }
}

#[derive(Debug)]
struct Code {
    hash: ContentHash,
    read_only: bool,
    until: Instant,
}

#[derive(Debug)]
struct Open {
    cookie: ContentHash,
    key: ContentHash,
    read_only: bool,
    until: Instant,
    used: Instant,
}

impl Open {
    fn is_over(&self, now: Instant) -> bool {
        self.until <= now || self.used + IDLE <= now
    }
}

/// The codes and the sessions of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    access: ConsoleAccess,
    address: OnceLock<SocketAddr>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    codes: Vec<Code>,
    open: Vec<Open>,
}

impl Sessions {
    /// No sessions.
    pub fn new(access: ConsoleAccess) -> Self {
        Self(Arc::new(Inner {
            access,
            address: OnceLock::new(),
            state: Mutex::default(),
        }))
    }

    /// Whether the console is served.
    pub fn is_on(&self) -> bool {
        self.0.access != ConsoleAccess::Off
    }

    /// The server listens at this address.
    pub fn listens(&self, address: SocketAddr) {
        // A process listens once.
        let _ = self.0.address.set(address);
    }

    /// The address that the server listens at, once it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address.get().copied()
    }

    /// The name of the cookie. Cookies do not distinguish ports, so its name does.
    pub fn cookie_name(&self) -> String {
        let port = self.address().map_or(0, |address| address.port());
        format!("agentry_console_{port}")
    }

    /// A new code, with which one can sign in once.
    ///
    /// # Errors
    /// The system grants no random bytes.
    pub fn code(&self, read_only: bool) -> Result<Secret, getrandom::Error> {
        let code = Secret::random()?;
        let now = Instant::now();
        let mut state = self.lock();
        state.codes.retain(|code| code.until > now);
        if state.codes.len() == CODES {
            state.codes.remove(0);
        }
        state.codes.push(Code {
            hash: hash(code.expose()),
            read_only: read_only || self.0.access == ConsoleAccess::ReadOnly,
            until: now + CODE_LIFE,
        });
        Ok(code)
    }

    /// Whether one can still sign in with a code.
    pub fn waits(&self, code: &str) -> bool {
        let (code, now) = (hash(code), Instant::now());
        let state = self.lock();
        let mut codes = state.codes.iter();
        codes.any(|one| one.hash == code && one.until > now)
    }

    /// Signs in with a code; `None` if it is not valid, or not any more.
    ///
    /// # Errors
    /// The system grants no random bytes.
    pub fn sign_in(&self, code: &str) -> Result<Option<SignedIn>, getrandom::Error> {
        let (cookie, key) = (Secret::random()?, Secret::random()?);
        let (code, now) = (hash(code), Instant::now());
        let mut state = self.lock();
        state.codes.retain(|code| code.until > now);
        let Some(at) = state.codes.iter().position(|one| one.hash == code) else {
            return Ok(None);
        };
        let read_only = state.codes.remove(at).read_only;
        state.open.retain(|open| !open.is_over(now));
        if state.open.len() == SESSIONS {
            let oldest = state.open.iter().enumerate();
            if let Some((at, _)) = oldest.min_by_key(|(_, open)| open.used) {
                state.open.remove(at);
            }
        }
        state.open.push(Open {
            cookie: hash(cookie.expose()),
            key: hash(key.expose()),
            read_only,
            until: now + SESSION_LIFE,
            used: now,
        });
        Ok(Some(SignedIn {
            cookie,
            key,
            read_only,
        }))
    }

    /// The session of a page, if it has one. It is used then.
    pub fn session(&self, proof: &Proof) -> Option<Session> {
        let now = Instant::now();
        let mut state = self.lock();
        state.open.retain(|open| !open.is_over(now));
        let mut open = state.open.iter_mut();
        let found = open.find(|open| open.cookie == proof.cookie && open.key == proof.key)?;
        found.used = now;
        Some(Session {
            read_only: found.read_only,
            left: found.until - now,
        })
    }

    /// Ends a session.
    pub fn sign_out(&self, proof: &Proof) {
        let is = |open: &Open| open.cookie == proof.cookie && open.key == proof.key;
        self.lock().open.retain(|open| !is(open));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(ConsoleAccess::On)
    }

    fn proof(signed_in: &SignedIn) -> Proof {
        Proof::of(signed_in.cookie.expose(), signed_in.key.expose())
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_is_good_once_and_for_a_minute() {
        let sessions = sessions();
        let code = sessions.code(false).unwrap();
        assert!(sessions.waits(code.expose()));
        assert!(sessions.sign_in("another").unwrap().is_none());
        let signed_in = sessions.sign_in(code.expose()).unwrap().unwrap();
        assert!(!signed_in.read_only);
        assert!(!sessions.waits(code.expose()));
        assert!(sessions.sign_in(code.expose()).unwrap().is_none());
        let late = sessions.code(false).unwrap();
        tokio::time::advance(CODE_LIFE).await;
        assert!(!sessions.waits(late.expose()));
        assert!(sessions.sign_in(late.expose()).unwrap().is_none());
        assert!(!format!("{code:?} {signed_in:?}").contains(code.expose()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_needs_both_secrets_and_ends() {
        let sessions = sessions();
        let sign_in = || {
            let code = sessions.code(true).unwrap();
            sessions.sign_in(code.expose()).unwrap().unwrap()
        };
        let (one, other) = (sign_in(), sign_in());
        assert!(sessions.session(&proof(&one)).unwrap().read_only);
        let mixed = Proof::of(one.cookie.expose(), other.key.expose());
        assert!(sessions.session(&mixed).is_none());
        sessions.sign_out(&proof(&one));
        assert!(sessions.session(&proof(&one)).is_none());
        assert!(sessions.session(&proof(&other)).is_some());
        // One that is used lasts until its end.
        let mut lasted = Duration::ZERO;
        while sessions.session(&proof(&other)).is_some() {
            tokio::time::advance(IDLE / 2).await;
            lasted += IDLE / 2;
        }
        assert_eq!(lasted, SESSION_LIFE);
        let idle = sign_in();
        tokio::time::advance(IDLE).await;
        assert!(sessions.session(&proof(&idle)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn codes_and_sessions_are_bounded() {
        let sessions = sessions();
        let codes: Vec<_> = (0..=CODES).map(|_| sessions.code(false).unwrap()).collect();
        let waiting = codes.iter().filter(|code| sessions.waits(code.expose()));
        assert_eq!(waiting.count(), CODES);
        let mut signed_in = Vec::new();
        for _ in 0..=SESSIONS {
            let code = sessions.code(false).unwrap();
            signed_in.push(sessions.sign_in(code.expose()).unwrap().unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(sessions.session(&proof(&signed_in[0])).is_none());
        for one in &signed_in[1..] {
            assert!(sessions.session(&proof(one)).is_some());
        }
    }

    #[test]
    fn a_console_that_is_read_only_stays_so() {
        let sessions = Sessions::new(ConsoleAccess::ReadOnly);
        let code = sessions.code(false).unwrap();
        assert!(sessions.sign_in(code.expose()).unwrap().unwrap().read_only);
    }
}
