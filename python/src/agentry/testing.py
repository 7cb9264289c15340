"""Tests of agents on a simulated chain: with crashes, repeated messages and lost transactions.

    from agentry.testing import Simulation

    def test_a_visit_is_counted_once(simulation: Simulation) -> None:
        greeter = simulation.host("greeter", "agent.py")
        ada = simulation.peer("ada")

        first = ada.send(greeter, {"cmd": "GREET", "name": "Ada"})
        simulation.repeat(first)
        greeter.crash()
        ada.send(greeter, {"cmd": "GREET", "name": "Ada"})

        assert [message.text for message in ada.received] == ["Hello, Ada!", "Hello again, Ada!"]

The program runs as it does in agentry; chain, clock and peers are simulated by `agentry simulate`,
which decides what happens durably with the same code as a runtime. `AGENTRY` in the environment names
the program `agentry`, if it is not in `PATH`. The fixture `simulation` is in `agentry.pytest_plugin`.

The clock stands still until the test moves it with `advance`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from .lines import Json
from .model import command_of, is_model, to_command
from .times import Time, milliseconds

Said = Union[str, Json, Any]
"""A text, a command, or a dataclass."""

_BEHAVIOUR = "process"
"""The name of an agent's behaviour here."""


class SimulationError(Exception):
    """The simulation refuses a request, for example because the test breaks its rules."""


@dataclass(frozen=True)
class Received:
    """A message that an agent has sent."""

    agent: str
    to: str
    text: Optional[str]
    command: Optional[Json]
    #: The transaction that it answers.
    re: Optional[str]
    thread: Optional[str]
    label: Optional[str]
    amount: int
    sealed: bool
    #: `pending`, `lost`, `mined` or `unsent`.
    place: str
    #: The first transaction that carried it, and all of them.
    transaction: str
    transactions: Sequence[str] = field(repr=False)

    @property
    def cmd(self) -> Optional[str]:
        """The name of the command, if it is one."""
        return None if self.command is None else str(self.command["cmd"])


class Party:
    """An agent or a peer."""

    def __init__(self, simulation: Simulation, name: str, address: str) -> None:
        self._simulation = simulation
        self.name = name
        self.address = address

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def announce(
        self, *, capabilities: Sequence[str] = (), commands: Sequence[Union[str, type]] = ()
    ) -> None:
        """Puts a card into the directory, where agents can find it."""
        names = [one if isinstance(one, str) else command_of(one) for one in commands]
        self._simulation._ask(
            "announce", name=self.name, capabilities=list(capabilities), commands=names
        )

    @property
    def received(self) -> List[Received]:
        """What agents have sent to it, oldest first, each message once."""
        return [sent for sent in self._simulation.sent if sent.to == self.address]


class Posted:
    """A message that a peer has posted."""

    def __init__(self, simulation: Simulation, sender: Party, transaction: str) -> None:
        self._simulation = simulation
        self._sender = sender
        self.transaction = transaction

    @property
    def outcome(self) -> Optional[str]:
        """What became of it: `done`, `rejected`, `failed` or `expired`; none as long as it is open."""
        found = self._found()
        return None if found is None else str(found["outcome"])

    @property
    def reason(self) -> Optional[str]:
        """Why it was rejected or has failed."""
        found = self._found()
        return None if found is None else found.get("reason")

    def _found(self) -> Optional[Json]:
        found: Optional[Json] = self._simulation._ask("outcome", transaction=self.transaction)
        return found

    @property
    def answers(self) -> List[Received]:
        """The answers to it."""
        return [sent for sent in self._sender.received if sent.re == self.transaction]


class Peer(Party):
    """Somebody whose messages the test writes."""

    def send(
        self,
        to: Union[Party, str],
        said: Said,
        *,
        settle: bool = True,
        amount: int = 0,
        thread: Optional[str] = None,
        ack: Optional[str] = None,
        re: Optional[str] = None,
        id: bool = False,
        sealed: bool = False,
    ) -> Posted:
        """Posts a message, and runs and mines until nothing is left to do; without `settle`, it is in the
        next block. `id` gives it an id, by which it is the same message when it is signed again."""
        transaction = self._simulation._ask(
            "post",
            **{"from": self.name},
            to=to.name if isinstance(to, Party) else to,
            said=to_command(said) if is_model(type(said)) else said,
            amount=amount,
            thread=thread,
            ack=ack,
            re=re,
            id=id,
            sealed=sealed,
        )
        if settle:
            self._simulation.settle()
        return Posted(self._simulation, self, str(transaction))

    def answer(self, message: Received, said: Said, **options: Any) -> Posted:
        """Answers a message that an agent has sent to this peer."""
        return self.send(message.agent, said, re=message.transaction, **options)


class Hosted(Party):
    """A hosted agent."""

    @property
    def state(self) -> Dict[str, Any]:
        """Its stored state."""
        state: Dict[str, Any] = self._ask("state", behaviour=_BEHAVIOUR)
        return state

    @property
    def timers(self) -> Dict[str, int]:
        """Its timers: their names, and when they are due, in milliseconds."""
        timers: Dict[str, int] = self._ask("timers", behaviour=_BEHAVIOUR)
        return timers

    @property
    def tasks(self) -> Dict[str, Json]:
        """Its tasks by their keys: their `state`, and their `output`, or `code` and `message`."""
        tasks: Dict[str, Json] = self._ask("tasks")
        return tasks

    @property
    def sent(self) -> List[Received]:
        """What it has sent, oldest first, each message once."""
        return [sent for sent in self._simulation.sent if sent.agent == self.name]

    def tick(self, name: str) -> None:
        """Makes a schedule due now: a function of `every` or `cron`, by its name."""
        self._ask("tick", behaviour=_BEHAVIOUR, name=name)

    def crash(self) -> None:
        """Crashes the runtime between the agent's next run and the storing of its outcome. The run is
        repeated. Called twice, the next two runs are lost."""
        self._ask("crash")

    def kill(self, after: float = 0) -> None:
        """Kills the program in its next run, this many seconds after the run has begun: before, in or
        after the function, depending on the time. The event is tried again half a second later, on the
        simulation's clock."""
        self._ask("kill", after_ms=round(after * 1000))

    def _ask(self, do: str, **values: Any) -> Any:
        return self._simulation._ask(do, agent=self.name, **values)


class Simulation:
    """A chain, a clock, hosted agents and peers. Close it after use, or use it with `with`."""

    def __init__(
        self,
        *,
        seed: int = 1,
        folder: Union[str, Path] = ".",
        binary: Optional[str] = None,
    ) -> None:
        self._folder = Path(folder).resolve()
        program = binary or os.environ.get("AGENTRY") or shutil.which("agentry")
        if program is None:
            raise SimulationError(
                "the program agentry is not in PATH; set AGENTRY in the environment to its path"
            )
        self._process = subprocess.Popen(
            [program, "simulate", "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._made = tempfile.TemporaryDirectory(prefix="agentry-test-")

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the simulation and its programs."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._made.cleanup()

    def host(
        self,
        name: str,
        program: Union[str, Path],
        *,
        settings: Optional[Mapping[str, Any]] = None,
        args: Sequence[str] = (),
        env: Optional[Mapping[str, str]] = None,
        attempts: Optional[int] = None,
        behaviours: Sequence[Json] = (),
    ) -> Hosted:
        """Hosts an agent with a Python program, which is asked what it declares. `behaviours` adds
        further ones, as in agents.toml, such as `{"kind": "ack"}`."""
        path = self._folder / program
        environment = {"PYTHONPATH": str(Path(__file__).parent.parent), **(env or {})}
        command = [sys.executable, str(path), *args]
        declared = Path(self._made.name) / f"{name}.json"
        printed = subprocess.run(
            [*command, "--declare"],
            env={**os.environ, **environment},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if printed.returncode != 0:
            raise SimulationError(f"{path} --declare failed:\n{printed.stderr}")
        declared.write_text(printed.stdout, "utf-8")
        keys: Json = {
            "kind": _BEHAVIOUR,
            "program": command[0],
            "args": command[1:],
            "directory": str(self._folder),
            "declared": str(declared),
            "env": environment,
            "settings": dict(settings or {}),
        }
        found = self._ask(
            "host",
            name=name,
            behaviours=[keys, *behaviours],
            folder=str(self._folder),
            attempts=attempts,
        )
        return Hosted(self, name, found["address"])

    def peer(self, name: str, *, stranger: bool = False) -> Peer:
        """Adds somebody whose messages the test writes. A stranger's messages are not verified."""
        found = self._ask("peer", name=name, stranger=stranger)
        return Peer(self, name, found["address"])

    @property
    def sent(self) -> List[Received]:
        """What agents have sent, in order for each agent."""
        names = Received.__dataclass_fields__
        return [
            Received(**{name: one[name] for name in names}) for one in self._ask("sent")
        ]

    @property
    def now_ms(self) -> int:
        """The time, in milliseconds since the epoch."""
        return int(self._ask("now"))

    @property
    def dead_letters(self) -> List[str]:
        """Why events are no longer retried."""
        letters: List[str] = self._ask("dead_letters")
        return letters

    @property
    def runs(self) -> int:
        """How often functions have run, whether or not their outcome was stored."""
        return int(self._ask("runs")["runs"])

    def settle(self) -> None:
        """Runs what is due and mines what is sent, until nothing is left to do at this time."""
        self._ask("settle")

    def advance(self, time: Time) -> None:
        """Moves the clock, and settles whenever something becomes due."""
        self._ask("advance", ms=milliseconds(time))

    def restart(self, *, down_for: Optional[Time] = None) -> None:
        """Restarts the runtime, after it was down for this time."""
        self._ask("restart", down_ms=0 if down_for is None else milliseconds(down_for))
        self.settle()

    def repeat(self, message: Posted, *, resigned: bool = False, settle: bool = True) -> None:
        """Shows a message again: the same message with other bytes, as chains do; or `resigned` by its
        sender, which only its `id` shows to be the same."""
        self._ask("repeat", transaction=message.transaction, resigned=resigned)
        if settle:
            self.settle()

    def lose(self) -> int:
        """Makes the node lose what agents have posted and is in no block; it is posted again later.
        Returns how many messages these are."""
        return int(self._ask("lose"))

    def refuse(self, reason: str) -> int:
        """Makes the node refuse for good what agents have posted and is in no block."""
        return int(self._ask("refuse", reason=reason))

    def mine(self) -> int:
        """Mines one block without running anything; its height."""
        return int(self._ask("mine"))

    def withdraw(self, blocks: int) -> None:
        """Removes the last blocks from the chain, as a reorganisation does."""
        self._ask("withdraw", blocks=blocks)

    def disturb(self, percent: int) -> None:
        """Crashes, losses, repetitions and withdrawals at random from now on, each with this
        probability. None of them changes what a correct agent does in the end."""
        self._ask("disturb", percent=percent)

    def _ask(self, do: str, **values: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SimulationError(f"agentry has ended with code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise SimulationError(f"{do}: {answer['error']}")
        return answer["ok"]
