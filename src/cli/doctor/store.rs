//! The store: whether it can be used, and whether a runtime has it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::super::{ExitCode, Failure};
use super::report::Check;
use super::{PATIENCE, blocking};
use crate::config::Config;
use crate::store::check::{Depth, Seen, at_rest, check};
use crate::store::read::{self, Identity};
use crate::store::{StoreError, is_locked, open_for_a_look, place};

/// How it is called in a report.
const NAME: &str = "store";

/// What was found of the store.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What it remembers of the chain, where there is a store.
    pub(super) identity: Option<Identity>,
    /// How far the time of its runtime had come, in milliseconds since the epoch.
    pub(super) noted: Option<u64>,
    /// Whether a runtime has it.
    pub(super) running: bool,
    /// What there is to say.
    pub(super) checks: Vec<Check>,
}

/// How long it is looked through for damage: some gigabytes.
const LOOK_THROUGH: Duration = Duration::from_secs(60);

/// Looks at the store.
pub(super) async fn look(config: &Config) -> Found {
    let path = config.store.path.clone();
    let id = config.chain.id.to_string();
    blocking(LOOK_THROUGH + PATIENCE, move || found(&path, &id))
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
        running: is_locked(path).unwrap_or(false),
        ..Found::default()
    };
    // What a runtime has open changes all the time.
    let at_rest = if found.running { Ok(()) } else { at_rest(path) };
    let read = at_rest.and_then(|()| open_for_a_look(path)).and_then(|db| {
        let seen = check(&db, path, Depth::All, LOOK_THROUGH)?;
        Ok((read::identity(&db)?, read::noted_time(&db)?, seen))
    });
    let (identity, noted, seen) = match read {
        Ok(read) => read,
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
        _ => usable(path, seen),
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
    found.noted = noted;
    found
}

fn usable(path: &Path, seen: Seen) -> Check {
    let shown = path.display();
    // Without a runtime nobody would notice before its next start.
    if let Err(error) = access(path, Access::WRITE_OK) {
        let mend = if error == Errno::ROFS {
            "mount its file system writable, or move `store.path`".to_owned()
        } else {
            format!("`chown` and `chmod 600` {shown}")
        };
        let found = format!("this user cannot write {shown}: {error}");
        return Check::wrong(NAME, found, mend, ExitCode::Denied);
    }
    let mode = fs::metadata(path).map_or(0o600, |data| data.permissions().mode() & 0o777);
    let check = if mode & 0o077 == 0 {
        match seen {
            Seen::Whole => Check::well(NAME, format!("{shown} is whole")),
            Seen::Part => Check::warning(
                NAME,
                format!(
                    "of {shown} only a part was looked through in {} s",
                    LOOK_THROUGH.as_secs()
                ),
                "on a copy of it: `sqlite3 COPY 'PRAGMA integrity_check'`",
            ),
        }
    } else {
        Check::warning(
            NAME,
            format!("{shown} is not its owner's alone (mode {mode:03o})"),
            format!("chmod 600 {shown}"),
        )
    };
    shared_folder(path).into_iter().fold(check, Check::and)
}

/// What there is to say of a folder in which others can make files.
fn shared_folder(path: &Path) -> Option<Check> {
    let real = place::real_path(path).ok()?;
    let folder = real.parent()?;
    let mode = place::shared(folder).ok()??;
    let shown = folder.display();
    Some(Check::warning(
        NAME,
        format!("others can make files in its folder {shown} (mode {mode:04o})"),
        format!("give it a folder of its own, or `chmod go-w {shown}`"),
    ))
}

fn unreadable(path: &Path, error: StoreError) -> Check {
    match error {
        StoreError::Missing { .. } if place::is_too_long(path) => {
            let error = StoreError::TooLong {
                path: path.to_owned(),
            };
            let failure = Failure::from(error);
            Check::wrong(NAME, failure.message, "set `store.path`", failure.code)
        }
        StoreError::Missing { .. } => {
            let shown = path.display();
            let check = format!("there is none at {shown}; `agentry run` makes it");
            let check = Check::well(NAME, check);
            shared_folder(path).into_iter().fold(check, Check::and)
        }
        StoreError::Older { found, known, .. } => Check::warning(
            NAME,
            format!("it has version {found}, this agentry writes {known}"),
            "copy it if you may want to go back, then `agentry run` brings it up to date",
        ),
        error => {
            let mend = match &error {
                StoreError::Newer { .. } => "use the newer agentry that wrote it",
                StoreError::Foreign { .. } => "give agentry a `store.path` of its own",
                StoreError::Broken { .. } | StoreError::Value(_) => {
                    "stop the runtime, put a backup back; without one, move the file away, and a new store begins as `chain.start` says"
                }
                _ => "see that this user can read and write it, or move `store.path`",
            };
            let failure = Failure::from(error);
            Check::wrong(NAME, failure.message, mend, failure.code)
        }
    }
}
