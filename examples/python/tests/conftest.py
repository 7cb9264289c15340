"""Programs are in the folder above."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from agentry.testing import Simulation


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    with Simulation(folder=Path(__file__).parent.parent) as simulation:
        yield simulation
