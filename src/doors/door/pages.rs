//! Lists of several shards as one, newest first.
//!
//! Each shard numbers its rows by itself, and lists them in the order of their numbers. Lists are merged
//! by the times of their rows, without changing the order of those of one shard. The cursor has the place
//! in each shard from which its rows go on, so every row is listed once.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};
use std::str::FromStr;

use agentry_core::cluster::ShardId;
use agentry_protocol::Timestamp;
use futures_util::future::try_join_all;

use super::super::error::DoorError;
use super::{Door, bad_cursor};

/// An entry of a list.
pub(super) trait Entry {
    /// Its id, which ends with the number of its row.
    fn id(&self) -> &str;

    /// Its time, by which lists are merged.
    fn at(&self) -> Timestamp;
}

/// Entries of one shard, newest first, and the row before which the next ones begin.
pub(super) type Page<T> = (Vec<T>, Option<i64>);

impl Door {
    /// A page of the list of an agent or, if none is named, of all agents that the caller may use. `page`
    /// lists entries of a door's shard before a row.
    ///
    /// # Errors
    /// Those of `page`; the cursor is not one that this list has returned.
    pub(super) async fn listed<T: Entry, P>(
        &self,
        agent: Option<&str>,
        (cursor, limit): (Option<&str>, usize),
        page: impl Fn(Self, Option<i64>) -> P,
    ) -> Result<(Vec<T>, Option<String>), DoorError>
    where
        P: Future<Output = Result<Page<T>, DoorError>>,
    {
        let parsed = cursor.map(str::parse::<i64>).transpose();
        let mut doors = self.in_shards(agent).await?;
        if doors.len() == 1
            && let Some(door) = doors.pop()
        {
            let (entries, next) = page(door, parsed.map_err(|_| bad_cursor())?).await?;
            return Ok((entries, next.map(|row| row.to_string())));
        }
        let places = cursor.map(str::parse::<Places>).transpose();
        let places = places.map_err(|()| bad_cursor())?;
        let lists = doors.into_iter().filter_map(|door| {
            let shard = door.shard()?;
            let before = match &places {
                Some(places) => *places.0.get(&shard)?,
                None => None,
            };
            let list = page(door, before);
            Some(async move {
                let (entries, next) = list.await?;
                Ok::<_, DoorError>(List {
                    shard,
                    entries: entries.into(),
                    place: before,
                    next,
                })
            })
        });
        let (entries, places) = merged(try_join_all(lists).await?, limit);
        let next = (!places.0.is_empty()).then(|| places.to_string());
        Ok((entries, next))
    }
}

/// What was read of the list of a shard.
struct List<T> {
    shard: ShardId,
    entries: VecDeque<T>,
    /// The row before which the entries begin.
    place: Option<i64>,
    /// The row before which those begin that were not read; none if there are no others.
    next: Option<i64>,
}

/// The newest entries of some lists, and from where each goes on.
fn merged<T: Entry>(mut lists: Vec<List<T>>, limit: usize) -> (Vec<T>, Places) {
    let mut taken = Vec::new();
    while taken.len() < limit {
        // What was not read of it may be newer than what was read of others.
        let is_unknown = |list: &List<T>| list.entries.is_empty() && list.next.is_some();
        if lists.iter().any(is_unknown) {
            break;
        }
        let newest = |list: &&mut List<T>| list.entries.front().map(Entry::at);
        let Some(list) = lists.iter_mut().rev().max_by_key(newest) else {
            break;
        };
        let Some(entry) = list.entries.pop_front() else {
            break;
        };
        let row = entry.id().rsplit('/').next();
        list.place = row.and_then(|row| row.parse().ok());
        taken.push(entry);
    }
    let places = lists.into_iter().filter_map(|list| {
        let place = match (list.entries.is_empty(), list.next) {
            (true, None) => return None,
            (true, next) => next,
            (false, _) => list.place,
        };
        Some((list.shard, place))
    });
    (taken, Places(places.collect()))
}

/// The cursor of several lists: for each that goes on, the row before which it does; none if it has not
/// begun.
#[derive(Debug, PartialEq, Eq)]
struct Places(BTreeMap<ShardId, Option<i64>>);

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (shard, place)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_char('.')?;
            }
            write!(f, "{}:", shard.0)?;
            if let Some(row) = place {
                write!(f, "{row}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Places {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let place = |part: &str| {
            let (shard, row) = part.split_once(':').ok_or(())?;
            let row = match row {
                "" => None,
                row => Some(row.parse().map_err(|_| ())?),
            };
            Ok((ShardId(shard.parse().map_err(|_| ())?), row))
        };
        text.split('.')
            .map(place)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Row {
        id: String,
        at: u64,
    }

    impl Entry for Row {
        fn id(&self) -> &str {
            &self.id
        }

        fn at(&self) -> Timestamp {
            Timestamp::new(self.at)
        }
    }

    /// The rows of each shard, oldest first, by their times: the first has the number 1.
    type Shards<'a> = &'a [&'a [u64]];

    /// Rows of a shard before a row, newest first, at most so many.
    fn page(shard: &[u64], before: Option<i64>, most: usize) -> Page<Row> {
        let numbered = (1..).zip(shard.iter().copied());
        let older = numbered.filter(|(number, _)| before.is_none_or(|before| *number < before));
        let mut older: Vec<_> = older
            .map(|(number, at)| {
                (
                    number,
                    Row {
                        id: format!("inbox/{number}"),
                        at,
                    },
                )
            })
            .collect();
        older.reverse();
        let next = (older.len() > most).then(|| older.get(most.wrapping_sub(1)).map(|(n, _)| *n));
        older.truncate(most);
        (
            older.into_iter().map(|(_, row)| row).collect(),
            next.flatten(),
        )
    }

    /// All pages of a list, of which each shard reads at most so many rows at a time.
    fn all(shards: Shards<'_>, limit: usize, most: usize) -> Vec<(u16, String)> {
        let mut cursor: Option<String> = None;
        let mut found = Vec::new();
        loop {
            let places = cursor
                .as_ref()
                .map(|cursor| cursor.parse::<Places>().unwrap());
            let lists = (0..).map(ShardId).zip(shards).filter_map(|(shard, rows)| {
                let before = match &places {
                    Some(places) => *places.0.get(&shard)?,
                    None => None,
                };
                let (entries, next) = page(rows, before, most);
                let entries = entries.into_iter().map(|row| Row {
                    id: format!("{}/{}", shard.0, row.id.rsplit('/').next().unwrap()),
                    ..row
                });
                Some(List {
                    shard,
                    entries: entries.collect(),
                    place: before,
                    next,
                })
            });
            let (entries, places) = merged(lists.collect(), limit);
            assert!(entries.len() <= limit);
            found.extend(entries.into_iter().map(|row| {
                let (shard, _) = row.id.split_once('/').unwrap();
                (shard.parse().unwrap(), row.id.clone())
            }));
            if places.0.is_empty() {
                return found;
            }
            cursor = Some(places.to_string());
        }
    }

    #[test]
    fn every_row_of_every_shard_is_listed_once_and_in_order() {
        let shards: Shards<'_> = &[&[1, 5, 6, 20], &[], &[2, 3, 4, 30, 31, 32, 33], &[7]];
        let wanted = [
            "2/7", "2/6", "2/5", "2/4", "0/4", "3/1", "0/3", "0/2", "2/3", "2/2", "2/1", "0/1",
        ];
        for limit in 1..=13 {
            for most in 1..=limit {
                let found = all(shards, limit, most);
                let ids: Vec<_> = found.iter().map(|(_, id)| id.as_str()).collect();
                assert_eq!(ids, wanted, "{limit} {most}");
            }
        }
    }

    #[test]
    fn only_the_cursor_of_such_a_list_is_one() {
        for text in ["0:12.3:.31:7", "5:"] {
            assert_eq!(text.parse::<Places>().unwrap().to_string(), text);
        }
        for wrong in ["", "12", "1:2:3", "1:x", ":4", "1:2.", "70000:1"] {
            assert_eq!(wrong.parse::<Places>(), Err(()), "{wrong}");
        }
    }
}
