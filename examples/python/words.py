"""The messages of alice.py, bob.py, caller.py and hearer.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from agentry import Length


@dataclass
class Hello:
    text: Annotated[str, Length(most=200)]


@dataclass
class WhoIsThere:
    """Asks everybody who hears it."""


@dataclass
class Here:
    name: Annotated[str, Length(1, 64)]
