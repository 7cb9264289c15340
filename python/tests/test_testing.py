"""The simulation and the pytest plugin. Needs the program agentry: in PATH, or named by AGENTRY."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated
from dataclasses import dataclass

import pytest

from agentry import Length
from agentry.testing import Simulation, SimulationError
from program import HEAD, PATIENCE, SOURCES

AGENT = """
@dataclass
class Add:
    number: int

@agent.on(Add)
async def add(ctx: Context, message: Add) -> None:
    ctx.state["sum"] = ctx.state.get("sum", 0) + message.number
    await ctx.reply(f"{ctx.state['sum']}")

@agent.on_text
async def text(ctx: Context, text: str) -> None:
    if text == "fail": raise Transient("not now")
    if text == "never": raise Permanent("no")
    if text == "later": await ctx.schedule("later", "1h", ctx.sender)
    if text == "work": await ctx.start_task("shout", text)
    if text == "ask": await ctx.send(ctx.sender, "how are you?", label="how", ack="done", within="10s")

@agent.on_timer("later")
async def later(ctx: Context, timer: Timer) -> None:
    await ctx.send(timer.data, "later")

@agent.task("shout")
def shout(task: Task, desk: Desk) -> str:
    return task.input.upper()

@agent.on_task("shout")
async def shouted(ctx: Context, report: Report) -> None:
    await ctx.reply(report.output.text)

@agent.on_answer(label="how")
async def well(ctx: Context, message: Message) -> None:
    ctx.state["how"] = message.text

@agent.on_delivery("how")
async def delivery(ctx: Context, sent: Sent, update: DeliveryUpdate) -> None:
    ctx.state["update"] = update.update

@agent.every("1h", missed="once")
async def hourly(ctx: Context) -> None:
    ctx.state["hours"] = ctx.state.get("hours", 0) + 1 + ctx.event.missed

if __name__ == "__main__":
    agent.run()
"""


@dataclass
class Add:
    number: Annotated[int, Length()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agent.py").write_text(HEAD + AGENT)
    return tmp_path


def test_repetitions_crashes_and_losses_change_nothing(folder: Path) -> None:
    with Simulation(folder=folder) as simulation:
        agent = simulation.host("tested", "agent.py")
        ada = simulation.peer("ada")
        first = ada.send(agent, Add(1), id=True)
        simulation.repeat(first)
        simulation.repeat(first, resigned=True)
        agent.crash()
        agent.crash()
        ada.send(agent, Add(2), settle=False)
        simulation.mine()
        simulation.settle()
        last = ada.send(agent, Add(3), settle=False)
        simulation.mine()
        simulation.lose()
        simulation.withdraw(1)
        simulation.settle()
        assert [message.text for message in ada.received] == ["1", "3", "6"]
        assert agent.state == {"sum": 6} and last.outcome == "done"
        assert [answer.text for answer in last.answers] == ["6"]
        assert simulation.runs == 3 + 2 and simulation.dead_letters == []


def test_the_clock_moves_timers_schedules_and_retries(folder: Path) -> None:
    with Simulation(folder=folder) as simulation:
        agent = simulation.host("tested", "agent.py", attempts=3)
        ada = simulation.peer("ada")
        ada.send(agent, "later")
        assert list(agent.timers) == ["later"] and ada.received == []
        begun = simulation.now_ms
        simulation.restart(down_for="2h")
        assert simulation.now_ms == begun + 7_200_000
        assert [message.text for message in ada.received] == ["later"]
        assert agent.state == {"hours": 2}
        agent.tick("hourly")
        assert agent.state["hours"] == 3
        failing = ada.send(agent, "fail")
        assert failing.answers == []
        simulation.advance("10s")
        assert (failing.outcome, failing.reason) == ("failed", "acting on it failed")
        assert simulation.dead_letters == ["process: Transient: not now"]
        assert ada.send(agent, "never").outcome == "failed"


def test_tasks_answers_and_deliveries_come_back(folder: Path) -> None:
    with Simulation(folder=folder) as simulation:
        agent = simulation.host("tested", "agent.py")
        ada = simulation.peer("ada")
        ada.send(agent, "work")
        assert ada.received[-1].text == "WORK"
        assert [task["state"] for task in agent.tasks.values()] == ["completed"]
        ada.send(agent, "ask")
        asked = ada.received[-1]
        assert (asked.text, asked.label, asked.place) == ("how are you?", "how", "mined")
        ada.answer(asked, "very well")
        assert agent.state["how"] == "very well"
        simulation.advance("1m")
        assert agent.state["update"] == "unacknowledged"
        # A message of another agent is no answer.
        bob = simulation.peer("bob")
        bob.answer(asked, "forged")
        assert agent.state["how"] == "very well"


def test_mistakes_of_a_test_are_told(folder: Path) -> None:
    with Simulation(folder=folder) as simulation:
        ada = simulation.peer("ada")
        with pytest.raises(SimulationError, match="nobody is called 'b'|nobody is called \"b\""):
            ada.send("b", "x")
        with pytest.raises(SimulationError, match="--declare failed"):
            simulation.host("b", "nothing.py")
        agent = simulation.host("tested", "agent.py")
        with pytest.raises(SimulationError, match="has no schedule \"daily\""):
            agent.tick("daily")
    with pytest.raises(OSError):
        Simulation(binary="/nothing/agentry")


def test_a_new_project_passes_its_tests_with_pytest(tmp_path: Path) -> None:
    program = os.environ.get("AGENTRY") or shutil.which("agentry")
    assert program is not None, "set AGENTRY to the program"
    subprocess.run([program, "new", "--python", "greeter"], cwd=tmp_path, check=True)
    # Without the installed plugin, as where nothing is installed.
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:agentry", "-p", "no:cacheprovider"],
        cwd=tmp_path / "greeter",
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert tested.returncode == 0 and "2 passed" in tested.stdout, tested.stdout + tested.stderr
    assert SOURCES.is_dir()
