"""The messages of restaurant.py and diner.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, List

from agentry import Length, Range

Hour = Annotated[int, Range(0, 23)]


@dataclass
class QueryTables:
    guests: Annotated[int, Range(1, 20)]
    hour: Hour
    hours: Annotated[int, Range(1, 6)] = 2


@dataclass
class FreeTables:
    tables: Annotated[List[int], Length(most=100)]


@dataclass
class BookTable:
    table: int
    hour: Hour
    hours: Annotated[int, Range(1, 6)] = 2


@dataclass
class TableBooked:
    success: bool


@dataclass
class TotalQueries:
    total: int = 0
