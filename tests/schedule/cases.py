"""Cron expressions and what croniter for Python makes of them, for the tests of the runtime's schedules.

    python3 cases.py read            prints cases.jsonl.gz; needs only Python
    python3 cases.py make 10000 1    makes 10,000 cases from the seed 1, and prints them

    pip install croniter==7.0.0 tzdata==2026.6
    python3 cases.py make 10000 1 | gzip -9n > cases.jsonl.gz

Each line is a case: an expression, a time zone, a time in seconds since the epoch, and the next three
ticks: the first as the number of minutes after that time's minute, each other as that after the tick
before it. An expression without ticks has none. Half of the times are within two days of a change of
the zone's clocks.
"""

import gzip
import json
import random
import sys
from datetime import datetime, timezone
from pathlib import Path

# Southern and northern zones; changes at midnight and at 0:01, of a whole day, of 30 minutes, to winter
# time in summer, and during Ramadan.
ZONES = [
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
]
# croniter omits ticks where clocks change by less than an hour.
EXCEPT = ["Australia/Lord_Howe"]

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
WEEKDAYS = "sun mon tue wed thu fri sat".split()
# First value, last value, largest value that may be written, names.
FIELDS = [
    (0, 59, 59, []),
    (0, 23, 23, []),
    (1, 31, 31, []),
    (1, 12, 12, MONTHS),
    (0, 6, 7, WEEKDAYS),
]
# How often each field is `*`.
STARS = [0.25, 0.35, 0.5, 0.65, 0.5]
WORDS = ["@hourly", "@daily", "@weekly", "@monthly", "@yearly"]

FIRST = int(datetime(1995, 1, 1, tzinfo=timezone.utc).timestamp())
LAST = int(datetime(2037, 1, 1, tzinfo=timezone.utc).timestamp())
DAY = 24 * 60 * 60


def spelled(dice, value, names, first):
    if names and dice.random() < 0.5 and value - first < len(names):
        name = names[value - first]
        return dice.choice([name, name.upper(), name.capitalize()])
    return str(value)


def item(dice, field):
    first, last, largest, names = field
    if dice.random() < 0.5:
        return spelled(dice, dice.randint(first, largest), names, first)
    if dice.random() < 0.4:
        return f"*/{dice.randint(1, min(last - first, 20))}"
    low = dice.randint(first, largest - 1)
    high = dice.randint(low + 1, largest)
    text = f"{spelled(dice, low, names, first)}-{spelled(dice, high, names, first)}"
    if dice.random() < 0.4:
        text += f"/{dice.randint(1, high - low)}"
    return text


def values(dice, at):
    if dice.random() < STARS[at]:
        return "*"
    items = [item(dice, FIELDS[at]) for _ in range(dice.choice([1, 1, 1, 2, 3]))]
    if at == 2 and dice.random() < 0.1:
        items[0] = dice.choice("lL")
    return ",".join(items)


def expression(dice):
    if dice.random() < 0.02:
        return dice.choice(WORDS)
    if dice.random() < 0.02:
        days, months = dice.choice(["30", "31", "30-31"]), dice.choice(["2", "feb", "4,6", "4-6/2,11"])
        return f"{values(dice, 0)} {values(dice, 1)} {days} {months} *"
    return " ".join(values(dice, at) for at in range(5))


def differs(text):
    """Whether croniter takes a list of all days for `*`, and so demands that both fields match."""
    from croniter import croniter

    fields = text.split()
    if len(fields) != 5 or "*" in (fields[2], fields[4]):
        return False
    expanded, _ = croniter.expand(text)
    return ["*"] in (expanded[2], expanded[4])


def changes(zone):
    """The times at which the clocks of a zone change."""
    def offset(time):
        return datetime.fromtimestamp(time, zone).utcoffset()

    found = []
    for day in range(FIRST, LAST, DAY):
        low, high = day, day + DAY
        if offset(low) == offset(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if offset(middle) == offset(low):
                low = middle
            else:
                high = middle
        found.append(high)
    return found


def cases(count, seed, everything=False):
    from zoneinfo import ZoneInfo, reset_tzpath

    from croniter import CroniterBadDateError, croniter

    reset_tzpath(to=[])
    dice = random.Random(seed)
    zones = [name for name in ZONES if everything or name not in EXCEPT]
    loaded = {name: ZoneInfo(name) for name in zones}
    changed = {name: changes(zone) for name, zone in loaded.items()}
    while count:
        text = expression(dice)
        if differs(text) and not everything:
            continue
        name = dice.choice(zones)
        if changed[name] and dice.random() < 0.5:
            time = dice.choice(changed[name]) + dice.randint(-2 * DAY, 2 * DAY)
        else:
            time = dice.randint(FIRST, LAST)
        if dice.random() < 0.5:
            time -= time % 60
        ticks = croniter(text, datetime.fromtimestamp(time, loaded[name]), ret_type=float)
        try:
            found = [int(ticks.get_next()) // 60 for _ in range(3)]
        except CroniterBadDateError:
            found = []
        before = [time // 60, *found]
        yield [text, name, time, [tick - last for tick, last in zip(found, before)]]
        count -= 1


def main():
    words = sys.argv[1:]
    if words == ["read"]:
        with gzip.open(Path(__file__).with_name("cases.jsonl.gz"), "rt") as lines:
            sys.stdout.writelines(lines)
    elif len(words) == 3 and words[0] == "make":
        for case in cases(int(words[1]), int(words[2])):
            print(json.dumps(case, separators=(",", ":")))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
