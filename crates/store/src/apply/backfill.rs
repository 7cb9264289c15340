//! Applies a step of the directory backfill: cards in blocks below the watched ones.

use agentry_core::commit::{Backfill, Receipt, Step};
use rusqlite::{Connection, params};

use super::{cards, height, observe, set_meta};
use crate::{StoreError, meta};

pub(super) fn backfill(
    db: &Connection,
    backfill: &Backfill,
    receipt: &mut Receipt,
) -> Result<(), StoreError> {
    for step in &backfill.steps {
        match step {
            Step::Card(card) => cards::seen(db, card, receipt)?,
            // Cards above the backfill's position were seen by the watcher of the head, perhaps
            // after the reorganisation. The watcher withdraws them itself.
            Step::Withdrawn { above } => {
                if let Some(read) = backfill.read_before {
                    cards::withdraw_between(db, *above, read, receipt)?;
                    db.prepare_cached("DELETE FROM gap WHERE height > ?1 AND height <= ?2")?
                        .execute(params![above.map_or(-1, height), height(read)])?;
                }
            }
            Step::Gap { height, reason } => observe::gap(db, *height, reason, backfill.at)?,
            Step::GapFilled { height } => observe::gap_filled(db, *height)?,
            // The watcher of the head handles these steps.
            Step::Arrival(_) | Step::Sighting { .. } | Step::Pending { .. } => {}
        }
    }
    if let Some(from) = backfill.known_from {
        set_meta(db, meta::DIRECTORY_FROM, &from.to_string())?;
    }
    match &backfill.progress {
        Some(progress) => set_meta(db, meta::DIRECTORY_PROGRESS, &progress.to_string())?,
        None => {
            db.prepare_cached("DELETE FROM meta WHERE key = ?1")?
                .execute(params![meta::DIRECTORY_PROGRESS])?;
        }
    }
    cards::tidy(db, backfill.final_through, receipt)
}
