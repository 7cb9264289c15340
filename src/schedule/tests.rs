use std::process::Command;

use jiff::ToSpan;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Zones whose clocks change in different ways: not at all, by an hour, at midnight, by half an hour,
/// by a day, to winter time in summer, and during Ramadan.
const ZONES: [&str; 10] = [
    "UTC",
    "Africa/Casablanca",
    "America/Havana",
    "America/Santiago",
    "America/St_Johns",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",
];

const MINUTE_MS: u64 = 60_000;

fn cron(expression: &str, zone: &str) -> Timetable {
    Timetable::parse(&Schedule::cron("test", expression).zone(zone)).unwrap()
}

fn every(ms: u64) -> Timetable {
    Timetable::parse(&Schedule::every("test", Duration::from_millis(ms))).unwrap()
}

fn with(missed: Missed, timetable: &Timetable) -> Timetable {
    Timetable {
        missed,
        ..timetable.clone()
    }
}

/// A time such as `2026-03-29T01:00Z`.
fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().unwrap();
    Timestamp::new(time.as_millisecond().try_into().unwrap())
}

fn instant(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(time.get().try_into().unwrap()).unwrap()
}

/// The ticks after a time.
fn ticks(timetable: &Timetable, from: Timestamp) -> impl Iterator<Item = Timestamp> {
    iter::successors(timetable.after(from), |tick| timetable.after(*tick))
}

/// The next ticks after a time, as local times with their offset from UTC.
fn shown(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let known = TimeZone::get(zone).unwrap();
    let timetable = cron(expression, zone);
    ticks(&timetable, at(from))
        .take(count)
        .map(|tick| {
            let tick = instant(tick);
            let (offset, local) = (known.to_offset(tick), known.to_datetime(tick));
            format!("{} {offset}", local.strftime("%F %H:%M"))
        })
        .collect()
}

fn refused(expression: &str) -> String {
    let schedule = Schedule::cron("test", expression);
    Timetable::parse(&schedule).unwrap_err().to_string()
}

#[test]
fn expressions_name_minutes() {
    for (expression, wanted) in [
        (
            "* * * * *",
            ["2026-01-31 10:31 +00", "2026-01-31 10:32 +00"],
        ),
        (
            "30 10 * * *",
            ["2026-02-01 10:30 +00", "2026-02-02 10:30 +00"],
        ),
        (
            " 5,45-50/5\t* * * * ",
            ["2026-01-31 10:45 +00", "2026-01-31 10:50 +00"],
        ),
        (
            "0 9 * * MON-FRI",
            ["2026-02-02 09:00 +00", "2026-02-03 09:00 +00"],
        ),
        (
            "0 9 * * sat-SUN",
            ["2026-02-01 09:00 +00", "2026-02-07 09:00 +00"],
        ),
        (
            "0 9 * * 7-Mon",
            ["2026-02-01 09:00 +00", "2026-02-02 09:00 +00"],
        ),
        (
            "0 9 * * 7",
            ["2026-02-01 09:00 +00", "2026-02-08 09:00 +00"],
        ),
        (
            "0 9 1 jan-mar/2 *",
            ["2026-03-01 09:00 +00", "2027-01-01 09:00 +00"],
        ),
        (
            "0 0 L * *",
            ["2026-02-28 00:00 +00", "2026-03-31 00:00 +00"],
        ),
        (
            "0 0 29 2 *",
            ["2028-02-29 00:00 +00", "2032-02-29 00:00 +00"],
        ),
        // Either of two restricted days.
        (
            "0 0 13 * FRI",
            ["2026-02-06 00:00 +00", "2026-02-13 00:00 +00"],
        ),
        (
            "0 0 30 2 MON",
            ["2026-02-02 00:00 +00", "2026-02-09 00:00 +00"],
        ),
        ("@hourly", ["2026-01-31 11:00 +00", "2026-01-31 12:00 +00"]),
        ("@daily", ["2026-02-01 00:00 +00", "2026-02-02 00:00 +00"]),
        ("@Weekly", ["2026-02-01 00:00 +00", "2026-02-08 00:00 +00"]),
        ("@monthly", ["2026-02-01 00:00 +00", "2026-03-01 00:00 +00"]),
        ("@yearly", ["2027-01-01 00:00 +00", "2028-01-01 00:00 +00"]),
    ] {
        assert_eq!(
            shown(expression, "UTC", "2026-01-31T10:30:00.5Z", 2),
            wanted,
            "{expression}"
        );
    }
}

#[test]
fn a_local_time_that_occurs_twice_has_two_ticks() {
    let shown = |expression| shown(expression, "Europe/Berlin", "2026-10-25T00:15Z", 3);
    let daily = [
        "2026-10-25 02:30 +02",
        "2026-10-25 02:30 +01",
        "2026-10-26 02:30 +01",
    ];
    assert_eq!(shown("30 2 * * *"), daily);
    let hourly = [
        "2026-10-25 02:30 +02",
        "2026-10-25 02:30 +01",
        "2026-10-25 03:30 +01",
    ];
    assert_eq!(shown("30 * * * *"), hourly);
}

#[test]
fn local_times_that_are_skipped_have_one_tick_together() {
    for (expression, zone, from, wanted) in [
        (
            "*/15 2 * * *",
            "Europe/Berlin",
            "2026-03-28T13:00Z",
            ["2026-03-29 03:00 +02", "2026-03-30 02:00 +02"],
        ),
        // The tick at 3:00 and the one for 2:00 are the same.
        (
            "0 2,3 * * *",
            "Europe/Berlin",
            "2026-03-28T13:00Z",
            ["2026-03-29 03:00 +02", "2026-03-30 02:00 +02"],
        ),
        // There is a tick in the next hour anyway.
        (
            "30 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:00Z",
            ["2026-03-29 01:30 +01", "2026-03-29 03:30 +02"],
        ),
        (
            "@daily",
            "America/Havana",
            "2026-03-07T12:00Z",
            ["2026-03-08 01:00 -04", "2026-03-09 00:00 -04"],
        ),
        // A day that was skipped when the island changed sides.
        (
            "0 10 30 12 *",
            "Pacific/Apia",
            "2011-01-01T00:00Z",
            ["2011-12-31 00:00 +14", "2012-12-30 10:00 +14"],
        ),
    ] {
        assert_eq!(
            shown(expression, zone, from, 2),
            wanted,
            "{expression} {zone}"
        );
    }
}

#[test]
fn ticks_that_croniter_omits() {
    assert_eq!(
        shown(
            "20,45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:00Z",
            3
        ),
        [
            "2026-04-05 01:20 +11",
            "2026-04-05 01:45 +11",
            "2026-04-05 01:45 +10:30"
        ]
    );
    // croniter's first tick is on 2026-01-03, a Saturday.
    assert_eq!(
        shown("0 0 1-31 * */2", "UTC", "2026-01-01T12:00Z", 1),
        ["2026-01-02 00:00 +00"]
    );
}

#[test]
fn a_refused_expression_says_what_is_wrong_where_and_what_to_write() {
    for (expression, problem) in [
        (
            "",
            "1: it has 0 fields; write five: minute, hour, day of the month, month, day of the week",
        ),
        (
            "0 0 * *",
            "8: it has 4 fields; write five: minute, hour, day of the month, month, day of the week",
        ),
        (
            "0 0 0 * * *",
            "11: it has 6 fields; write five: minute, hour, day of the month, month, day of the week",
        ),
        (
            "@reboot",
            "1: `@reboot` is unknown; write one of @hourly, @daily, @weekly, @monthly, @yearly, or five fields",
        ),
        ("60 * * * *", "1: `60` is not a minute; write 0 to 59"),
        ("0 24 * * *", "3: `24` is not an hour; write 0 to 23"),
        (
            "0 0 0 * *",
            "5: `0` is not a day of the month; write 1 to 31",
        ),
        (
            "0 0 1 13 *",
            "7: `13` is not a month; write 1 to 12 or JAN to DEC",
        ),
        (
            "0 0 * * MON,8",
            "13: `8` is not a day of the week; write 0 to 7 or SUN to SAT",
        ),
        (
            "0 0 * * mo",
            "9: `mo` is not a day of the week; write 0 to 7 or SUN to SAT",
        ),
        (
            "0 0 * FEB-MON *",
            "7: `MON` is not a month; write 1 to 12 or JAN to DEC",
        ),
        ("+5 * * * *", "1: `+5` is not a minute; write 0 to 59"),
        ("999 * * * *", "1: `999` is not a minute; write 0 to 59"),
        ("é * * * 9", "1: `é` is not a minute; write 0 to 59"),
        ("0 0 ? * 1", "5: `?` is not used; write `*`"),
        (
            "0 0 15W * *",
            "5: `15W` is not a day of the month; write 1 to 31",
        ),
        (
            "0 0 1-L * *",
            "5: `L` is not a day of the month; write 1 to 31",
        ),
        (
            "0 0 * * FRI#2",
            "9: `FRI#2` is not a day of the week; write 0 to 7 or SUN to SAT",
        ),
        (
            "0 0 * * 5L",
            "9: `5L` is not a day of the week; write 0 to 7 or SUN to SAT",
        ),
        ("1,,2 * * * *", "3: a value is missing beside a comma"),
        ("1,2, * * * *", "5: a value is missing beside a comma"),
        ("* 1,* * * *", "5: `*` is every value; write it alone"),
        ("0 5-5 * * *", "3: a range needs two values; write `5`"),
        (
            "0 0 * * SUN-SUN",
            "9: a range needs two values; write `SUN`",
        ),
        ("0 0 * * 7-7", "9: a range needs two values; write `7`"),
        ("0 0 * * 7-SUN", "9: a range needs two values; write `7`"),
        (
            "0 22-0 * * *",
            "3: the range runs backwards; write `22-23,0`",
        ),
        (
            "0 22-2 * * *",
            "3: the range runs backwards; write `22-23,0-2`",
        ),
        (
            "0 23-1 * * *",
            "3: the range runs backwards; write `23,0-1`",
        ),
        (
            "0 0 * * FRI-MON",
            "9: the range runs backwards; write `FRI-6,0-MON`",
        ),
        (
            "0 0 * * sat-mon",
            "9: the range runs backwards; write `sat,0-mon`",
        ),
        (
            "0 0 * DEC-JAN *",
            "7: the range runs backwards; write `DEC,1`",
        ),
        ("50/15 * * * *", "1: a step needs a range; write `50`"),
        ("0 0 * * SUN/2", "9: a step needs a range; write `SUN-6/2`"),
        ("5/15 * * * *", "1: a step needs a range; write `5-59/15`"),
        (
            "*/0 * * * *",
            "1: the step must be 1 to 59, not `0`; longer periods are a schedule of `every`",
        ),
        (
            "*/90 * * * *",
            "1: the step must be 1 to 59, not `90`; longer periods are a schedule of `every`",
        ),
        (
            "1-5/x * * * *",
            "1: the step must be 1 to 4, not `x`; longer periods are a schedule of `every`",
        ),
        (
            "0 0 30 2 *",
            "5: no month `2` has a day `30`; write another day, or `L` for the last",
        ),
        (
            "0 0 31 4,jun *",
            "5: no month `4,jun` has a day `31`; write another day, or `L` for the last",
        ),
    ] {
        let wanted = format!("cron expression `{expression}`, character {problem}");
        assert_eq!(refused(expression), wanted);
    }
}

#[test]
fn what_an_error_says_to_write_is_accepted() {
    for expression in [
        "0 22-23,0-2 * * *",
        "0 23,0-1 * * *",
        "0 0 * * FRI-6,0-MON",
        "0 0 * DEC,1 *",
        "5-59/15 * * * *",
        "0 0 L 2 *",
    ] {
        cron(expression, "UTC");
    }
}

#[test]
fn an_unknown_zone_is_refused() {
    for (zone, wanted) in [
        (
            "Europe/Berlim",
            "time zone `Europe/Berlim` is unknown; write an IANA name such as `UTC` or \
             `Europe/Berlin`; did you mean `Europe/Berlin`?",
        ),
        (
            "+02:00",
            "time zone `+02:00` is unknown; write an IANA name such as `UTC` or `Europe/Berlin`",
        ),
    ] {
        let schedule = Schedule::cron("test", "@daily").zone(zone);
        assert_eq!(Timetable::parse(&schedule).unwrap_err().to_string(), wanted);
    }
}

#[test]
fn a_period_is_whole_milliseconds_from_a_second_to_ten_years() {
    for (period, wanted) in [
        (
            Duration::from_millis(999),
            Some("must be 1s to 10years, not 999ms"),
        ),
        (Duration::from_secs(1), None),
        (
            Duration::from_micros(1_000_500),
            Some("must be whole milliseconds, not 1s 500us"),
        ),
        (MAX_PERIOD, None),
        (
            MAX_PERIOD + Duration::from_millis(1),
            Some("must be 1s to 10years, not 10years 1ms"),
        ),
    ] {
        let found = Timetable::parse(&Schedule::every("test", period)).err();
        let wanted = wanted.map(|wanted| format!("a schedule's period {wanted}"));
        assert_eq!(found.map(|error| error.to_string()), wanted);
    }
}

#[test]
fn there_is_no_tick_after_the_year_9999() {
    let year = cron("@yearly", "UTC");
    assert_eq!(
        year.after(at("9998-06-01T00:00Z")),
        Some(at("9999-01-01T00:00Z"))
    );
    for last in [
        at("9999-06-01T00:00Z"),
        Timestamp::MAX_STATED,
        Timestamp::MAX,
    ] {
        assert_eq!(year.after(last), None);
    }
    assert_eq!(every(1_000).after(Timestamp::MAX_STATED), None);
    assert_eq!(every(1_000).after(Timestamp::MAX), None);
}

#[test]
fn missed_ticks_run_as_the_schedule_says() {
    let due = at("2026-01-01T00:00Z");
    let (every, cron) = (every(60 * MINUTE_MS), cron("@hourly", "UTC"));
    let run = |hours: u64, missed| {
        let at = due.plus_ms(hours * 60 * MINUTE_MS);
        Some(Tick { at, missed })
    };
    let next = |hours: u64| Some(due.plus_ms(hours * 60 * MINUTE_MS));
    for (missed, late_ms, wanted_run, wanted_next) in [
        (Missed::All, 0, run(0, 0), next(1)),
        (Missed::All, 300 * MINUTE_MS, run(0, 0), next(1)),
        (Missed::Once, 0, run(0, 0), next(1)),
        (Missed::Once, 60 * MINUTE_MS - 1, run(0, 0), next(1)),
        (Missed::Once, 60 * MINUTE_MS, run(1, 1), next(2)),
        (Missed::Once, 330 * MINUTE_MS, run(5, 5), next(6)),
        (Missed::Skip, 60_000, run(0, 0), next(1)),
        (Missed::Skip, 60_001, None, next(1)),
        (Missed::Skip, 301 * MINUTE_MS, run(5, 5), next(6)),
        (Missed::Skip, 302 * MINUTE_MS, None, next(6)),
    ] {
        for timetable in [&every, &cron] {
            let turn = with(missed, timetable).turn(due, due.plus_ms(late_ms));
            let wanted = Turn {
                run: wanted_run,
                next: wanted_next,
            };
            assert_eq!(turn, wanted, "{missed:?} {late_ms} ms late: {timetable:?}");
        }
    }
}

#[test]
fn a_runtime_that_was_down_for_decades_counts_to_a_limit() {
    let (due, now) = (at("1970-01-01T00:00Z"), at("2026-11-30T08:30:15Z"));
    let turn = cron("*/2 * * * *", "UTC").turn(due, now);
    let last = at("2026-11-30T08:30Z");
    let missed = MAX_COUNTED as u64;
    assert_eq!(turn.run, Some(Tick { at: last, missed }));
    assert_eq!(turn.next, Some(at("2026-11-30T08:32Z")));

    let turn = every(1_000).turn(due, now);
    let missed = now.ms_since(due) / 1_000;
    assert_eq!(turn.run, Some(Tick { at: now, missed }));
}

/// A field of an expression, and its values; `None` for `*`.
type FieldOf = (String, Option<Vec<i8>>);

fn field(first: i8, last: i8) -> impl Strategy<Value = FieldOf> {
    let item = (first..=last, first..=last, 0i8..100).prop_map(move |(low, high, step)| {
        let (text, low, high) = match low.cmp(&high) {
            std::cmp::Ordering::Equal => return (low.to_string(), vec![low]),
            std::cmp::Ordering::Less => (format!("{low}-{high}"), low, high),
            std::cmp::Ordering::Greater => ("*".to_owned(), first, last),
        };
        let step = 1 + step % (high - low);
        let values = (low..=high).step_by(step.try_into().unwrap());
        (format!("{text}/{step}"), values.collect())
    });
    let list = vec(item, 1..3).prop_map(|items| {
        let (texts, values): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        (texts.join(","), Some(values.concat()))
    });
    prop_oneof![Just(("*".to_owned(), None)), list]
}

fn fields() -> impl Strategy<Value = [FieldOf; 5]> {
    let (day, month) = (field(1, 31), field(1, 12));
    (field(0, 59), field(0, 23), day, month, field(0, 6))
        .prop_map(|(minute, hour, day, month, weekday)| [minute, hour, day, month, weekday])
}

fn expression(fields: &[FieldOf; 5]) -> String {
    fields.each_ref().map(|(text, _)| text.as_str()).join(" ")
}

/// Whether the fields name a local time, according to the documentation.
fn names(fields: &[FieldOf; 5], local: DateTime) -> bool {
    let has = |field: usize, value| {
        let values = &fields[field].1;
        values.as_ref().is_none_or(|values| values.contains(&value))
    };
    let weekday = local.weekday().to_sunday_zero_offset();
    let (day, weekday) = (has(2, local.day()), has(4, weekday));
    let restricted = fields[2].1.is_some() && fields[4].1.is_some();
    has(0, local.minute())
        && has(1, local.hour())
        && has(3, local.month())
        && if restricted {
            day || weekday
        } else {
            day && weekday
        }
}

/// The ticks of so many minutes after a time, found by looking at each minute.
fn minute_by_minute(
    fields: &[FieldOf; 5],
    zone: &TimeZone,
    from: Timestamp,
    minutes: u64,
) -> Vec<Timestamp> {
    let every_hour = (0..24).all(|hour| {
        let values = &fields[1].1;
        values.as_ref().is_none_or(|values| values.contains(&hour))
    });
    let first = from.get() / MINUTE_MS + 1;
    let local = |minute: u64| zone.to_datetime(instant(Timestamp::new(minute * MINUTE_MS)));
    let is_tick = |minute: &u64| {
        let mut skipped = local(minute - 1).checked_add(1.minute()).unwrap();
        let local = local(*minute);
        while skipped < local {
            if names(fields, skipped) && !every_hour {
                return true;
            }
            skipped = skipped.checked_add(1.minute()).unwrap();
        }
        names(fields, local)
    };
    let minutes = (first..first + minutes).filter(is_tick);
    minutes
        .map(|minute| Timestamp::new(minute * MINUTE_MS))
        .collect()
}

/// A time from 1980 to 2070.
fn times() -> impl Strategy<Value = Timestamp> {
    (315_532_800_000u64..3_155_760_000_000).prop_map(Timestamp::new)
}

fn timetables() -> impl Strategy<Value = Timetable> {
    let cron = (fields(), 0..ZONES.len()).prop_filter_map("no tick", |(fields, zone)| {
        let schedule = Schedule::cron("test", expression(&fields)).zone(ZONES[zone]);
        Timetable::parse(&schedule).ok()
    });
    prop_oneof![1 => (1_000u64..1_000_000_000).prop_map(every), 3 => cron]
}

proptest! {
    #[test]
    fn ticks_are_found_by_looking_at_each_minute(
        fields in fields(),
        zone in 0..ZONES.len(),
        from in times(),
        before_a_change in any::<bool>(),
    ) {
        let known = TimeZone::get(ZONES[zone]).unwrap();
        let mut from = from;
        if before_a_change && let Some(change) = known.following(instant(from)).next() {
            let change = u64::try_from(change.timestamp().as_millisecond()).unwrap();
            from = Timestamp::new(change - from.get() % (30 * 60 * MINUTE_MS));
        }
        let schedule = Schedule::cron("test", expression(&fields)).zone(ZONES[zone]);
        let days = 2;
        let wanted = minute_by_minute(&fields, &known, from, days * 24 * 60);
        let Ok(timetable) = Timetable::parse(&schedule) else {
            prop_assert_eq!(wanted, []);
            return Ok(());
        };
        let end = from.plus_ms(days * 24 * 60 * MINUTE_MS);
        let found: Vec<_> = ticks(&timetable, from).take_while(|tick| *tick <= end).collect();
        prop_assert_eq!(found, wanted, "{} {} from {}", expression(&fields), ZONES[zone], from);
    }

    #[test]
    fn each_tick_is_later_than_the_one_before(timetable in timetables(), from in times()) {
        let mut before = from;
        for tick in ticks(&timetable, from).take(50) {
            prop_assert!(tick > before, "{} follows {}", tick, before);
            before = tick;
        }
    }

    #[test]
    fn every_tick_runs_once_if_all_run(timetable in timetables(), from in times(), count in 1usize..50) {
        let timetable = with(Missed::All, &timetable);
        let wanted: Vec<_> = ticks(&timetable, from).take(count).collect();
        let now = *wanted.last().unwrap();
        let mut run = Vec::new();
        let mut next = timetable.after(from);
        while let Some(due) = next.filter(|due| *due <= now) {
            let turn = timetable.turn(due, now);
            prop_assert_eq!(turn.run, Some(Tick { at: due, missed: 0 }));
            run.push(due);
            next = turn.next;
        }
        prop_assert_eq!(run, wanted);
    }

    #[test]
    fn one_run_stands_for_all_missed_ticks(
        timetable in timetables(),
        from in times(),
        count in 1usize..50,
        later in 0u64..200_000,
    ) {
        let seen: Vec<_> = ticks(&timetable, from).take(count + 50).collect();
        let now = seen[count - 1].plus_ms(later);
        let (passed, coming) = seen.split_at(seen.partition_point(|tick| *tick <= now));
        let last = Tick { at: passed[passed.len() - 1], missed: passed.len() as u64 - 1 };

        let once = with(Missed::Once, &timetable).turn(seen[0], now);
        let skip = with(Missed::Skip, &timetable).turn(seen[0], now);
        prop_assert_eq!(once.run, Some(last));
        let in_time = now.since(last.at) <= SKIPPED_AFTER;
        prop_assert_eq!(skip.run, Some(last).filter(|_| in_time));
        for turn in [once, skip] {
            if let Some(next) = coming.first() {
                prop_assert_eq!(turn.next, Some(*next));
            }
            prop_assert!(turn.next.is_none_or(|next| next > now));
        }
    }
}

/// An expression, a zone, a time in seconds, and croniter's next ticks, each as the number of minutes
/// after the one before it.
type Case = (String, String, u64, Vec<u64>);

/// `tests/schedule/cases.py` made the cases. They are none of those in which croniter omits ticks.
#[test]
fn ticks_are_those_of_croniter() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schedule/cases.py");
    let output = Command::new("python3").args([script, "read"]).output();
    let output = output.expect("this test needs python3 in PATH");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let cases = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let (mut compared, mut wrong) = (0, Vec::new());
    for case in cases {
        let (expression, zone, from, minutes): Case = case.unwrap();
        let wanted: Vec<_> = minutes
            .iter()
            .scan(from / 60, |minute, after| {
                *minute += after;
                Some(Timestamp::new(*minute * MINUTE_MS))
            })
            .collect();
        let schedule = Schedule::cron("test", &expression).zone(&zone);
        let found = match Timetable::parse(&schedule) {
            Ok(timetable) => ticks(&timetable, Timestamp::new(from * 1000))
                .take(3)
                .collect(),
            Err(error) if error.to_string().contains(": no month `") => Vec::new(),
            Err(error) => panic!("{error}"),
        };
        if found != wanted {
            wrong.push((expression, zone, from, found, wanted));
        }
        compared += 1;
    }
    let count = wrong.len();
    wrong.truncate(20);
    assert!(
        wrong.is_empty(),
        "{count} of {compared} differ, such as {wrong:#?}"
    );
    assert!(compared >= 10_000, "{compared}");
}
