"""The pytest plugin: the fixture `simulation`. pytest finds it where the package is installed; elsewhere,
a conftest.py names it with `pytest_plugins = ["agentry.pytest_plugin"]`."""

from __future__ import annotations

from typing import Iterator

import pytest

from .testing import Simulation


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Iterator[Simulation]:
    """A simulation of its own for each test. Programs are looked for beside the test's file. The marker
    `agentry_seed(7)` sets the seed of random faults."""
    marker = request.node.get_closest_marker("agentry_seed")
    seed = marker.args[0] if marker else 1
    with Simulation(seed=seed, folder=request.path.parent) as simulation:
        yield simulation


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line("markers", "agentry_seed(seed): the seed of the simulation's random faults")
