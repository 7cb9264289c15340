//! Checks the store: whether it can be used, and whether a runtime holds it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use agentry_protocol::Timestamp;
use agentry_store::check::{Depth, Seen, at_rest, check};
use agentry_store::read::{self, Identity};
use agentry_store::{Moved, StoreError, is_locked, moved, open_for_a_look, place};
use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::super::{ExitCode, Failure};
use super::report::Check;
use super::{PATIENCE, blocking};
use crate::config::Config;

/// Name of the check in the report.
const NAME: &str = "store";

/// Results for the store.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What the store holds about the chain, if there is a store.
    pub(super) identity: Option<Identity>,
    /// The last time that its runtime recorded.
    pub(super) noted: Option<Timestamp>,
    /// Whether a runtime holds it.
    pub(super) running: bool,
    /// The checks to report.
    pub(super) checks: Vec<Check>,
}

/// Time limit of the check for damage, enough for some gigabytes.
const LOOK_THROUGH: Duration = Duration::from_secs(60);

/// Checks the store.
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

/// The check of a store that did not answer in time.
pub(super) fn silent(name: &str) -> Check {
    Check::warning(
        name,
        "it could not be read in 5 s",
        "check the disk; a large store takes longer: `agentry queue stats`",
    )
}

fn found(path: &Path, id: &str) -> Found {
    let mut found = Found {
        running: is_locked(path).unwrap_or(false),
        ..Found::default()
    };
    // The files of a running runtime change all the time.
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
                "{} belongs to the chain {stored}, but {id} is configured",
                path.display()
            ),
            "set `chain.id` as it was, or configure a separate store for this chain: `store.path`",
            ExitCode::Config,
        ),
        _ => usable(path, seen),
    });
    match moved(path) {
        Ok(Some(Moved::Away { cluster, .. })) => found.checks.push(Check::wrong(
            NAME,
            format!("its agents were moved into the cluster {cluster}"),
            "add the [cluster] table, or move them back with `agentry cluster export`",
            ExitCode::Config,
        )),
        Ok(Some(Moved::Arriving { cluster, .. })) => found.checks.push(Check::wrong(
            NAME,
            format!("the agents of the cluster {cluster} have not arrived in it yet"),
            "run `agentry cluster export` again",
            ExitCode::Config,
        )),
        // What cannot be read was named above.
        Ok(None) | Err(_) => {}
    }
    if let Some(reason) = &identity.halted {
        found.checks.push(Check::wrong(
            "posting",
            format!("it is stopped: {reason}"),
            "check the chain, then `agentry queue resume`",
            ExitCode::Unavailable,
        ));
    }
    found.identity = Some(identity);
    found.noted = noted;
    found
}

fn usable(path: &Path, seen: Seen) -> Check {
    let shown = path.display();
    // Without a runtime nobody would notice before the next start.
    if let Err(error) = access(path, Access::WRITE_OK) {
        let fix = if error == Errno::ROFS {
            "mount its file system writable, or move `store.path`".to_owned()
        } else {
            format!("`chown` and `chmod 600` {shown}")
        };
        let found = format!("this user cannot write to {shown}: {error}");
        return Check::wrong(NAME, found, fix, ExitCode::Denied);
    }
    let mode = fs::metadata(path).map_or(0o600, |data| data.permissions().mode() & 0o777);
    let check = if mode & 0o077 == 0 {
        match seen {
            Seen::Whole => Check::well(NAME, format!("{shown} is intact")),
            Seen::Part => Check::warning(
                NAME,
                format!(
                    "only a part of {shown} was checked in {} s",
                    LOOK_THROUGH.as_secs()
                ),
                "on a copy of it: `sqlite3 COPY 'PRAGMA integrity_check'`",
            ),
        }
    } else {
        Check::warning(
            NAME,
            format!("{shown} is accessible to other users (mode {mode:03o})"),
            format!("chmod 600 {shown}"),
        )
    };
    shared_folder(path).into_iter().fold(check, Check::and)
}

/// Checks a folder in which other users can create files.
fn shared_folder(path: &Path) -> Option<Check> {
    let real = place::real_path(path).ok()?;
    let folder = real.parent()?;
    let mode = place::shared(folder).ok()??;
    let shown = folder.display();
    Some(Check::warning(
        NAME,
        format!("other users can create files in its folder {shown} (mode {mode:04o})"),
        format!("use a separate folder, or `chmod go-w {shown}`"),
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
            let check = format!("there is none at {shown}; `agentry run` creates it");
            let check = Check::well(NAME, check);
            shared_folder(path).into_iter().fold(check, Check::and)
        }
        error => {
            let fix = match &error {
                StoreError::Newer { .. } => "use the newer agentry that wrote it",
                StoreError::Older { .. } => {
                    "move the file away: a new store begins at `chain.start`"
                }
                StoreError::Foreign { .. } => "set `store.path` to a file that only agentry uses",
                StoreError::Broken { .. } | StoreError::Value(_) => {
                    "stop the runtime and restore a backup; without one, move the file away: a \
                     new store then begins at `chain.start`"
                }
                _ => "make sure that this user can read and write it, or move `store.path`",
            };
            let failure = Failure::from(error);
            Check::wrong(NAME, failure.message, fix, failure.code)
        }
    }
}
