//! What a commit may change that is applied a second time in a row.

use agentry_core::Commit;
use agentry_core::commit::{Backfill, Observation, Step};
use serde_json::Value;

use crate::testing::rows::{Rows, sorted};

/// Whether a commit withdraws blocks of which it has shown something itself. A source withdraws
/// blocks before it reads others. Shown a second time, what is in them is not new.
pub(super) fn withdraws_its_own(commit: &Commit) -> bool {
    let withdraws = |step: &Step| matches!(step, Step::Withdrawn { .. });
    steps(commit).iter().skip(1).any(withdraws)
}

/// Whether a commit has shown cards or withdrawn blocks. Shown a second time, a card may get another
/// id.
pub(super) fn renumbers(commit: &Commit) -> bool {
    let renumbers = |step: &Step| matches!(step, Step::Card(_) | Step::Withdrawn { .. });
    steps(commit).iter().any(renumbers)
}

fn steps(commit: &Commit) -> &[Step] {
    match commit {
        Commit::Observe(Observation { steps, .. }) | Commit::Backfill(Backfill { steps, .. }) => {
            steps
        }
        _ => &[],
    }
}

/// The rows without the numbers of which only the order matters. A message that returns a second time
/// gets another number, and keeps its place among those in blocks. An address has one card in a
/// block, so the ids of cards that are read a second time order nothing.
pub(super) fn ranked(mut rows: Rows) -> Rows {
    let mut change = |table, change: &dyn Fn(&mut Vec<Value>)| {
        let rows = rows.entry(table).or_default();
        let mut parsed = rows
            .iter()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect();
        change(&mut parsed);
        *rows = sorted(parsed);
    };
    change("inbox", &|messages| {
        messages.sort_by_key(|row| row["seq"].as_i64());
        let mut place = 0;
        for row in messages {
            let in_block = !row["height"].is_null();
            row["seq"] = if in_block { place.into() } else { Value::Null };
            place += i64::from(in_block);
        }
    });
    change("card", &|cards| {
        for row in cards {
            row["id"] = Value::Null;
        }
    });
    rows
}
