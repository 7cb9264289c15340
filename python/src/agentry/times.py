"""Lengths of time as they are written in agents.toml: `"90s"`, `"1m"`, `"1h 30m"`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Union

Time = Union[str, int, float, timedelta]
"""A length of time: a text such as `"1m"`, seconds, or a `timedelta`."""

_UNITS = {
    "ms": 1,
    "s": 1000,
    "sec": 1000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "day": 86_400_000,
    "days": 86_400_000,
    "w": 604_800_000,
}
_PART = re.compile(r"\s*(\d+)\s*([a-z]+)\s*", re.ASCII)


def milliseconds(time: Time) -> int:
    """A length of time in whole milliseconds.

    Raises `ValueError` if it is none, or not more than zero.
    """
    if isinstance(time, str):
        found = _read(time)
    elif isinstance(time, timedelta):
        found = round(time.total_seconds() * 1000)
    else:
        found = round(time * 1000)
    if found <= 0:
        raise ValueError(f"{time!r} must be more than zero")
    return found


def _read(text: str) -> int:
    at, total = 0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part[2] not in _UNITS:
            break
        total += int(part[1]) * _UNITS[part[2]]
        at = part.end()
    if not text or at < len(text):
        raise ValueError(f'{text!r} is no length of time; write "500ms", "30s", "5m", "2h" or "1d"')
    return total
