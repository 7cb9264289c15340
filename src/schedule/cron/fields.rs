//! The text of a cron expression.

/// The values of an expression's five fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) minutes: Set,
    pub(super) hours: Set,
    pub(super) days: Set,
    /// Whether the last day of a month is one of `days`, whichever it is.
    pub(super) last_day: bool,
    pub(super) months: Set,
    /// From Sunday, which is 0.
    pub(super) weekdays: Set,
    /// Whether a day matches if it is one of `days` *or* `weekdays`: neither field is `*`.
    pub(super) either_day: bool,
}

/// What is wrong with an expression.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Where the wrong part begins, in bytes.
    pub(super) at: usize,
    /// What is wrong with it, and what to write instead.
    pub(super) problem: String,
}

/// Numbers from 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    pub(super) fn contains(self, number: i8) -> bool {
        self.0 & (1 << number) != 0
    }

    /// The smallest number from this one on.
    pub(super) fn from(self, least: i8) -> Option<i8> {
        let rest = self.0 & (u64::MAX << least);
        let number = i8::try_from(rest.trailing_zeros()).ok()?;
        (rest != 0).then_some(number)
    }
}

/// A field: the values that it may have.
struct Field {
    /// A value, with its article.
    value: &'static str,
    first: u8,
    /// The last value of `*`.
    last: u8,
    /// The largest value that may be written. Sunday is both 0 and 7.
    max: u8,
    /// The names of the values from `first` on.
    names: &'static [&'static str],
}

const MINUTE: Field = Field::numbers("a minute", 0, 59);
const HOUR: Field = Field::numbers("an hour", 0, 23);
const DAY: Field = Field::numbers("a day of the month", 1, 31);
const MONTH: Field = Field {
    names: &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
    ..Field::numbers("a month", 1, 12)
};
const WEEKDAY: Field = Field {
    max: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    ..Field::numbers("a day of the week", 0, 6)
};

/// The expressions that a word stands for.
const WORDS: [(&str, &str); 5] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];

/// The day of the month that stands for the last one.
const LAST_DAY: &str = "L";

/// The number of days of each month in a leap year.
const DAYS: [i8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Fields {
    pub(super) fn parse(expression: &str) -> Result<Self, Wrong> {
        let word = expression.trim();
        if word.starts_with('@') {
            let at = expression.len() - expression.trim_start().len();
            return match WORDS
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(word))
            {
                Some((_, meaning)) => Self::parse(meaning),
                None => {
                    let known = WORDS.map(|(known, _)| known).join(", ");
                    Err(wrong(
                        at,
                        format!("`{word}` is unknown; write one of {known}, or five fields"),
                    ))
                }
            };
        }
        let parts: Vec<_> = expression
            .split_ascii_whitespace()
            .map(|part| (part, part.as_ptr().addr() - expression.as_ptr().addr()))
            .collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            return Err(wrong(
                parts.get(5).map_or(expression.len(), |(_, at)| *at),
                format!(
                    "it has {} fields; write five: minute, hour, day of the month, month, day of \
                     the week",
                    parts.len()
                ),
            ));
        };
        let (days, last_day) = days(day)?;
        let fields = Self {
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days,
            last_day,
            months: MONTH.parse(month)?,
            weekdays: WEEKDAY.parse(weekday)?,
            either_day: day.0 != "*" && weekday.0 != "*",
        };
        if fields.never() {
            return Err(wrong(
                day.1,
                format!(
                    "no month `{}` has a day `{}`; write another day, or `{LAST_DAY}` for the last",
                    month.0, day.0
                ),
            ));
        }
        Ok(fields)
    }

    /// Whether it names times in every hour of a day.
    pub(super) const fn every_hour(&self) -> bool {
        self.hours.0.count_ones() == 24
    }

    /// Whether no day matches.
    fn never(&self) -> bool {
        let first = self.days.from(0);
        let exists = (1..).zip(DAYS).any(|(month, length)| {
            self.months.contains(month) && first.is_some_and(|day| day <= length)
        });
        !(exists || self.last_day || self.either_day)
    }
}

/// The days of the month, and whether the last one is among them.
fn days((text, at): (&str, usize)) -> Result<(Set, bool), Wrong> {
    let (mut set, mut last_day) = (Set::default(), false);
    for (item, at) in items(text, at) {
        if item.eq_ignore_ascii_case(LAST_DAY) {
            last_day = true;
        } else {
            set.0 |= DAY.item(item, at, text)?.0;
        }
    }
    Ok((set, last_day))
}

/// The items of a list, and where each begins.
fn items(list: &str, at: usize) -> impl Iterator<Item = (&str, usize)> {
    list.split(',').scan(at, |next, item| {
        let at = *next;
        *next += item.len() + 1;
        Some((item, at))
    })
}

impl Field {
    const fn numbers(value: &'static str, first: u8, last: u8) -> Self {
        Self {
            value,
            first,
            last,
            max: last,
            names: &[],
        }
    }

    fn parse(&self, (text, at): (&str, usize)) -> Result<Set, Wrong> {
        let mut set = Set::default();
        for (item, at) in items(text, at) {
            set.0 |= self.item(item, at, text)?.0;
        }
        Ok(set)
    }

    /// The values of an item of a list.
    fn item(&self, item: &str, at: usize, list: &str) -> Result<Set, Wrong> {
        if item.is_empty() {
            return Err(wrong(at, "a value is missing beside a comma".to_owned()));
        }
        if item == "?" {
            return Err(wrong(at, "`?` is not used; write `*`".to_owned()));
        }
        if item == "*" && list != "*" {
            return Err(wrong(at, "`*` is every value; write it alone".to_owned()));
        }
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (low, high) = if range == "*" {
            (self.first, self.last)
        } else if let Some((low, high)) = range.split_once('-') {
            self.range(low, high, at)?
        } else {
            let low = self.value(range, at)?;
            if let Some(step) = step {
                let last = self.last;
                let instead = match number(step) {
                    Some(wide @ 1..) if wide <= last.saturating_sub(low) => {
                        format!("{range}-{last}/{step}")
                    }
                    _ => range.to_owned(),
                };
                return Err(wrong(
                    at,
                    format!("a step needs a range; write `{instead}`"),
                ));
            }
            (low, low)
        };
        let step = match step {
            None => 1,
            Some(step) => match number(step) {
                Some(step) if (1..=high - low).contains(&step) => step,
                _ => {
                    return Err(wrong(
                        at,
                        format!(
                            "the step must be 1 to {}, not `{step}`; longer periods are a \
                             schedule of `every`",
                            high - low
                        ),
                    ));
                }
            },
        };
        let values = (low..=high).step_by(step.into());
        // 7 is Sunday, which is 0.
        let bits = values.map(|value| 1 << if value > self.last { self.first } else { value });
        Ok(Set(bits.fold(0, |set, bit: u64| set | bit)))
    }

    fn range(&self, low: &str, high: &str, at: usize) -> Result<(u8, u8), Wrong> {
        let &Self {
            first, last, max, ..
        } = self;
        let (written, mut to) = (self.value(low, at)?, self.value(high, at)?);
        // Sunday begins a range as 0, and ends one as 7.
        let from = if written > last { first } else { written };
        if max > last && to == first && from > to {
            to = max;
        }
        if written == to || from == to {
            return Err(wrong(
                at,
                format!("a range needs two values; write `{low}`"),
            ));
        }
        if from > to {
            let until = span(low, from, &last.to_string(), last);
            let then = span(&first.to_string(), first, high, to);
            return Err(wrong(
                at,
                format!("the range runs backwards; write `{until},{then}`"),
            ));
        }
        Ok((from, to))
    }

    fn value(&self, text: &str, at: usize) -> Result<u8, Wrong> {
        let named = (self.first..).zip(self.names);
        let mut named = named.filter(|(_, name)| name.eq_ignore_ascii_case(text));
        let value = named
            .next()
            .map(|(value, _)| value)
            .or_else(|| number(text));
        value
            .filter(|value| (self.first..=self.max).contains(value))
            .ok_or_else(|| wrong(at, self.expected(text)))
    }

    /// The error for a text that is not a value.
    fn expected(&self, text: &str) -> String {
        let Self {
            value, first, max, ..
        } = self;
        let names = match self.names {
            [] => String::new(),
            [first, .., last] => format!(" or {first} to {last}"),
            [only] => format!(" or {only}"),
        };
        format!("`{text}` is not {value}; write {first} to {max}{names}")
    }
}

/// A number without a sign.
fn number(text: &str) -> Option<u8> {
    // `parse` would also accept a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// The text of a range, or of its only value.
fn span(low: &str, from: u8, high: &str, to: u8) -> String {
    if from == to {
        low.to_owned()
    } else {
        format!("{low}-{high}")
    }
}

fn wrong(at: usize, problem: String) -> Wrong {
    Wrong { at, problem }
}
