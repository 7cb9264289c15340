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
use std::time::{Duration, Instant};

use agentry_protocol::ContentHash;

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
#[derive(Clone, PartialEq, Eq)]
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
    proof: Proof,
    read_only: bool,
    until: Instant,
    used: Instant,
}

impl Open {
    fn is(&self, proof: &Proof) -> bool {
        self.proof == *proof
    }

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
        let read_only = read_only || self.0.access == ConsoleAccess::ReadOnly;
        self.lock()
            .add_code(hash(code.expose()), read_only, Instant::now());
        Ok(code)
    }

    /// Whether one can still sign in with a code.
    pub fn waits(&self, code: &str) -> bool {
        self.lock().waits(hash(code), Instant::now())
    }

    /// Signs in with a code; `None` if it is not valid, or not any more.
    ///
    /// # Errors
    /// The system grants no random bytes.
    pub fn sign_in(&self, code: &str) -> Result<Option<SignedIn>, getrandom::Error> {
        let (cookie, key) = (Secret::random()?, Secret::random()?);
        let proof = Proof::of(cookie.expose(), key.expose());
        let read_only = self.lock().sign_in(hash(code), &proof, Instant::now());
        Ok(read_only.map(|read_only| SignedIn {
            cookie,
            key,
            read_only,
        }))
    }

    /// The session of a page, if it has one. It is used then.
    pub fn session(&self, proof: &Proof) -> Option<Session> {
        self.lock().session(proof, Instant::now())
    }

    /// Ends a session.
    pub fn sign_out(&self, proof: &Proof) {
        self.lock().open.retain(|open| !open.is(proof));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add_code(&mut self, hash: ContentHash, read_only: bool, now: Instant) {
        self.codes.retain(|code| code.until > now);
        if self.codes.len() == CODES {
            self.codes.remove(0);
        }
        self.codes.push(Code {
            hash,
            read_only,
            until: now + CODE_LIFE,
        });
    }

    fn waits(&self, code: ContentHash, now: Instant) -> bool {
        let mut codes = self.codes.iter();
        codes.any(|one| one.hash == code && one.until > now)
    }

    /// Begins a session; returns whether its holder may only read. `None` if the code is not valid.
    fn sign_in(&mut self, code: ContentHash, proof: &Proof, now: Instant) -> Option<bool> {
        self.codes.retain(|code| code.until > now);
        let at = self.codes.iter().position(|one| one.hash == code)?;
        let read_only = self.codes.remove(at).read_only;
        self.open.retain(|open| !open.is_over(now));
        if self.open.len() == SESSIONS {
            let oldest = self.open.iter().enumerate();
            if let Some((at, _)) = oldest.min_by_key(|(_, open)| open.used) {
                self.open.remove(at);
            }
        }
        self.open.push(Open {
            proof: proof.clone(),
            read_only,
            until: now + SESSION_LIFE,
            used: now,
        });
        Some(read_only)
    }

    fn session(&mut self, proof: &Proof, now: Instant) -> Option<Session> {
        self.open.retain(|open| !open.is_over(now));
        let found = self.open.iter_mut().find(|open| open.is(proof))?;
        found.used = now;
        Some(Session {
            read_only: found.read_only,
            left: found.until - now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(name: &str) -> Proof {
        Proof::of(&format!("cookie {name}"), &format!("key {name}"))
    }

    /// Signs in with a code of its own.
    fn sign_in(state: &mut State, name: &str, now: Instant) {
        state.add_code(hash(name), false, now);
        assert_eq!(state.sign_in(hash(name), &proof(name), now), Some(false));
    }

    #[test]
    fn a_code_is_good_once_and_for_a_minute() {
        let (mut state, now) = (State::default(), Instant::now());
        state.add_code(hash("code"), true, now);
        assert!(state.waits(hash("code"), now));
        assert_eq!(state.sign_in(hash("another"), &proof("one"), now), None);
        let just = now + CODE_LIFE - Duration::from_millis(1);
        assert_eq!(state.sign_in(hash("code"), &proof("one"), just), Some(true));
        assert!(!state.waits(hash("code"), just));
        assert_eq!(state.sign_in(hash("code"), &proof("two"), just), None);
        state.add_code(hash("late"), false, now);
        let late = now + CODE_LIFE;
        assert!(!state.waits(hash("late"), late));
        assert_eq!(state.sign_in(hash("late"), &proof("two"), late), None);
    }

    #[test]
    fn a_session_needs_both_secrets_and_ends() {
        let (mut state, now) = (State::default(), Instant::now());
        sign_in(&mut state, "one", now);
        sign_in(&mut state, "two", now);
        let mixed = Proof::of("cookie one", "key two");
        assert_eq!(state.session(&mixed, now), None);
        assert!(state.session(&proof("one"), now + IDLE / 2).is_some());
        assert_eq!(
            state.session(&proof("two"), now + IDLE),
            None,
            "nobody used it"
        );
        // One that is used lasts until its end.
        let mut at = now;
        while state.session(&proof("one"), at).is_some() {
            at += IDLE / 2;
        }
        assert_eq!(at - now, SESSION_LIFE);
    }

    #[test]
    fn codes_and_sessions_are_bounded() {
        let (mut state, now) = (State::default(), Instant::now());
        let names: Vec<String> = (0..=SESSIONS).map(|number| number.to_string()).collect();
        for name in &names {
            state.add_code(hash(name), false, now);
        }
        let waiting = names.iter().filter(|name| state.waits(hash(name), now));
        assert_eq!(waiting.count(), CODES);
        let mut at = now;
        for name in &names {
            at += Duration::from_secs(1);
            sign_in(&mut state, name, at);
        }
        assert_eq!(state.session(&proof("0"), at), None);
        for name in &names[1..] {
            assert!(state.session(&proof(name), at).is_some());
        }
    }

    #[test]
    fn secrets_are_random_and_shown_nowhere_and_a_read_only_console_stays_so() {
        let sessions = Sessions::new(ConsoleAccess::ReadOnly);
        let code = sessions.code(false).unwrap();
        assert_ne!(code, sessions.code(false).unwrap());
        let signed_in = sessions.sign_in(code.expose()).unwrap().unwrap();
        assert!(signed_in.read_only);
        let proof = Proof::of(signed_in.cookie.expose(), signed_in.key.expose());
        assert!(sessions.session(&proof).unwrap().read_only);
        let shown = format!("{code:?} {signed_in:?} {proof:?} {sessions:?}");
        for secret in [&code, &signed_in.cookie, &signed_in.key] {
            assert!(!shown.contains(secret.expose()), "{shown}");
        }
        sessions.sign_out(&proof);
        assert_eq!(sessions.session(&proof), None);
    }
}
