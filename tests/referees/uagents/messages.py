"""The messages of counter.py and sender.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Add:
    number: int


@dataclass
class Counted:
    number: int
    count: int
