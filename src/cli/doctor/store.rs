//! The store: whether it can be used, and whether a runtime has it.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{ExitCode, Failure};
use super::report::Check;
use super::{PATIENCE, blocking};
use crate::config::Config;
use crate::store::read::{self, Identity};
use crate::store::{StoreError, open_for_a_look, with_suffix};

/// How it is called in a report.
const NAME: &str = "store";

/// What was found of the store.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What it remembers of the chain, where there is a store.
    pub(super) identity: Option<Identity>,
    /// Whether a runtime has it.
    pub(super) running: bool,
    /// What there is to say.
    pub(super) checks: Vec<Check>,
}

/// Looks at the store.
pub(super) async fn look(config: &Config) -> Found {
    let path = config.store.path.clone();
    let id = config.chain.id.to_string();
    blocking(PATIENCE, move || found(&path, &id))
        .await
        .unwrap_or_else(|| Found {
            checks: vec![silent(NAME)],
            ..Found::default()
        })
}

/// That the store did not answer in time.
pub(super) fn silent(name: &str) -> Check {
    Check::warning(
        name,
        "it could not be read in 5 s",
        "look at the disk; a large store takes longer: `agentry queue stats`",
    )
}

fn found(path: &Path, id: &str) -> Found {
    let mut found = Found {
        running: is_held(path),
        ..Found::default()
    };
    let read = open_for_a_look(path).and_then(|db| Ok(read::identity(&db)?));
    let identity = match read {
        Ok(identity) => identity,
        Err(error) => {
            found.checks.push(unreadable(path, error));
            return found;
        }
    };
    found.checks.push(match &identity.chain_id {
        Some(stored) if stored != id => Check::wrong(
            NAME,
            format!(
                "{} is of the chain {stored}, configured is {id}",
                path.display()
            ),
            "set `chain.id` as it was, or give this chain a store of its own: `store.path`",
            ExitCode::Config,
        ),
        _ => usable(path),
    });
    if let Some(reason) = &identity.halted {
        found.checks.push(Check::wrong(
            "posting",
            format!("it is stopped: {reason}"),
            "look at the chain, then `agentry queue resume`",
            ExitCode::Unavailable,
        ));
    }
    found.identity = Some(identity);
    found
}

fn usable(path: &Path) -> Check {
    let shown = path.display();
    let mode = fs::metadata(path).map_or(0o600, |data| data.permissions().mode() & 0o777);
    if mode & 0o077 == 0 {
        Check::well(NAME, format!("{shown} can be read"))
    } else {
        Check::warning(
            NAME,
            format!("{shown} is not its owner's alone (mode {mode:03o})"),
            format!("chmod 600 {shown}"),
        )
    }
}

fn unreadable(path: &Path, error: StoreError) -> Check {
    match error {
        StoreError::Missing { .. } => Check::well(
            NAME,
            format!(
                "there is none at {}; `agentry run` makes it",
                path.display()
            ),
        ),
        StoreError::Older { found, known, .. } => Check::warning(
            NAME,
            format!("it has version {found}, this agentry writes {known}"),
            "copy it if you may want to go back, then `agentry run` brings it up to date",
        ),
        error => {
            let mend = match &error {
                StoreError::Newer { .. } => "use the newer agentry that wrote it",
                StoreError::Foreign { .. } => "give agentry a `store.path` of its own",
                _ => "see that this user can read it; else put a backup back, or move `store.path`",
            };
            let failure = Failure::from(error);
            Check::wrong(NAME, failure.message, mend, failure.code)
        }
    }
}

/// Whether a runtime has the store. Asked by a shared lock that is given back at once: two who ask
/// do not stand in each other's way, and a runtime would have to begin in that very instant.
fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(with_suffix(path, ".lock")) else {
        return false;
    };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}
