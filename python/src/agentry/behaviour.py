"""A behaviour as a class, one method for each kind of event: the protocol without an event loop.

    from agentry.behaviour import Behaviour, Effects, run

    class Echo(Behaviour):
        def on_message(self, message, context):
            return Effects().reply(message.text or "?")

    if __name__ == "__main__":
        run(Echo())

`agentry.Agent` is more comfortable. This is for those who want the bare protocol.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from .lines import (
    PROTOCOL,
    Answered,
    Asked,
    Card,
    DeliveryUpdate,
    Effects,
    Header,
    Json,
    Message,
    Output,
    Permanent,
    Question,
    Reject,
    Report,
    Sent,
    Settlement,
    Start,
    Task,
    TaskFailed,
    Tick,
    Timer,
    Transient,
    UnknownName,
    failure_of,
    known,
    read_report,
    without_none,
)
from .wire import Wire, greet, log, open_wire

__all__ = [
    "Answered",
    "Behaviour",
    "Card",
    "Context",
    "DeliveryUpdate",
    "Desk",
    "Effects",
    "Header",
    "Json",
    "Message",
    "Output",
    "Permanent",
    "Question",
    "Reject",
    "Report",
    "Sent",
    "Settlement",
    "Start",
    "Task",
    "TaskFailed",
    "Tick",
    "Timer",
    "Transient",
    "UnknownName",
    "log",
    "run",
]


@dataclass(frozen=True)
class Context:
    """The context of a run: the agent, the time, the attempt and the state."""

    agent: str
    address: str
    behaviour: str
    attempt: int
    now_ms: int
    state: Mapping[str, Any]
    _wire: Wire = field(repr=False, compare=False)

    def find(
        self,
        *,
        name: Optional[str] = None,
        capabilities: Sequence[str] = (),
        commands: Sequence[str] = (),
        announced_since: Optional[int] = None,
        limit: Optional[int] = None,
    ) -> List[Card]:
        """The cards in the directory that match, sorted by name, then by address; at most 200."""
        query = without_none(
            name=name,
            capabilities=list(capabilities),
            commands=list(commands),
            announced_since=announced_since,
            limit=limit,
        )
        found = self._wire.look_up({"type": "find", "query": query})
        return [known(Card, card) for card in found["cards"]]

    def resolve(self, name: str) -> str:
        """The address of the agent with this name. Raises `UnknownName`."""
        found = self._wire.look_up({"type": "resolve", "name": name})
        if "address" not in found:
            raise UnknownName(found.get("message", name))
        return str(found["address"])


class Desk:
    """The environment of a running task."""

    def __init__(self, wire: Wire, id: int, answers: Sequence[Any] = ()) -> None:
        self._wire = wire
        self._id = id
        self._answers = deque(answers)
        self._canceled = threading.Event()

    def ask(self, question: str, *, schema: Optional[Json] = None, within: float = 86400) -> Any:
        """Asks the submitter of the task, and returns the answer.

        If there is no answer yet, this ends the execution. When the answer has come, perhaps days
        later, the task is executed again from the start, and the same question returns at once. So
        `execute` asks the same questions in the same order each time, and does nothing before them
        that must not happen again. `within` is in seconds.
        """
        if self._answers:
            return self._answers.popleft()
        line = without_none(
            type="ask", id=self._id, question=question, schema=schema, within_ms=int(within * 1000)
        )
        self._wire.write(line)
        raise Asked()

    def progress(self, progress: float, note: Optional[str] = None) -> None:
        """Reports the progress, from 0 to 1, with a description."""
        line = without_none(type="progress", id=self._id, progress=progress, note=note)
        self._wire.write(line)

    def used(self, input: int, output: int) -> None:
        """Reports tokens that a model has read and written, besides those reported before."""
        self._wire.write({"type": "tokens", "id": self._id, "input": input, "output": output})

    @property
    def canceled(self) -> bool:
        """Whether the task was canceled. A long task should check this and end early."""
        return self._canceled.is_set()


class Behaviour:
    """The base class of a behaviour. All handlers except `on_message` are optional. A handler that
    returns `None` has no effects.

    Handlers run one after the other. `execute` runs on a thread of its own.
    """

    def start(self, settings: Json) -> None:
        """Called before the first event, with the table `settings` of agents.toml. An exception
        ends the program and is written to agentry's log."""

    def on_message(self, message: Message, context: Context) -> Optional[Effects]:
        """Handles a message."""
        raise NotImplementedError

    def on_timer(self, timer: Timer, context: Context) -> Optional[Effects]:
        """Handles the expiry of a timer."""

    def on_start(self, start: Start, context: Context) -> Optional[Effects]:
        """Handles a start of the agent (`starts = "once"` or `"always"`)."""

    def on_tick(self, tick: Tick, context: Context) -> Optional[Effects]:
        """Handles a time of a schedule (`schedules = [...]`)."""

    def on_delivery_update(self, sent: Sent, update: DeliveryUpdate, context: Context) -> Optional[Effects]:
        """Handles a delivery update for a message that was sent with a label."""

    def on_settled(
        self, message: Message, settlement: Settlement, context: Context
    ) -> Optional[Effects]:
        """Handles the outcome of a message that other behaviours handled (`watches = true`)."""

    def on_task(self, report: Report, context: Context) -> Optional[Effects]:
        """Handles an update of a task. `Effects.reply` answers the message that started it."""

    def execute(self, task: Task, desk: Desk) -> Union[str, Output]:
        """Does a task. It may take long and have side effects, and may start more than once."""
        raise TaskFailed("no-executor", "this behaviour executes no tasks")


def run(behaviour: Behaviour) -> None:
    """Runs the behaviour until agentry closes standard input."""
    wire = open_wire()
    try:
        _serve(behaviour, wire)
    except (BrokenPipeError, KeyboardInterrupt):
        pass


def _serve(behaviour: Behaviour, wire: Wire) -> None:
    hello = greet(wire)
    if hello is None:
        return
    behaviour.start(hello.get("settings", {}))
    wire.write({"type": "ready", "protocol": PROTOCOL})
    desks: Dict[int, Desk] = {}
    while True:
        line = wire.next()
        if line is None:
            return
        kind = line.get("type")
        if kind == "event":
            wire.write(_answer(behaviour, wire, line))
        elif kind == "execute":
            answers = line["task"].get("answers", ())
            desk = desks[line["id"]] = Desk(wire, line["id"], answers)
            work = threading.Thread(
                target=_work, args=(behaviour, wire, line, desk, desks), daemon=True
            )
            work.start()
        elif kind == "cancel":
            canceled = desks.get(line["id"])
            if canceled is not None:
                canceled._canceled.set()


def _answer(behaviour: Behaviour, wire: Wire, line: Json) -> Json:
    """The answer to an event."""
    try:
        context = known(Context, {**line["context"], "_wire": wire})
        effects = _handle(behaviour, line["event"], context)
        asked = [] if effects is None else effects.to_list()
        # Values that are not valid JSON are found here, where the event is still known.
        json.dumps(asked, allow_nan=False)
        return {"type": "effects", "id": line["id"], "effects": asked}
    except Reject as error:
        asked = Effects().reject(str(error)).to_list()
        return {"type": "effects", "id": line["id"], "effects": asked}
    except Exception as error:
        return {"type": "error", "id": line["id"], **failure_of(error)}


def _handle(behaviour: Behaviour, event: Json, context: Context) -> Optional[Effects]:
    kind = event["kind"]
    if kind == "message":
        return behaviour.on_message(Message.read(event["message"]), context)
    if kind == "timer":
        return behaviour.on_timer(known(Timer, event), context)
    if kind == "start":
        return behaviour.on_start(known(Start, event), context)
    if kind == "tick":
        return behaviour.on_tick(known(Tick, event), context)
    if kind == "delivery_update":
        return behaviour.on_delivery_update(known(Sent, event["sent"]), known(DeliveryUpdate, event), context)
    if kind == "settled":
        message = Message.read(event["message"])
        return behaviour.on_settled(message, known(Settlement, event), context)
    if kind == "task":
        return behaviour.on_task(read_report(event), context)
    return None


def _work(
    behaviour: Behaviour, wire: Wire, line: Json, desk: Desk, desks: Dict[int, Desk]
) -> None:
    """Does a task and writes its answer."""
    answer: Json = {"id": line["id"]}
    try:
        output = behaviour.execute(known(Task, line["task"]), desk)
        if isinstance(output, str):
            output = Output(output)
        answer.update(without_none(type="output", **vars(output)))
        # Values that are not valid JSON are found here, where the task is still known.
        json.dumps(answer, allow_nan=False)
    except Asked:
        # Ignored, but due: a program that answers nothing counts as hung.
        answer = {"id": line["id"], "type": "error", "message": "it asked"}
    except Exception as error:
        code = error.code if isinstance(error, TaskFailed) else "failed"
        answer = {"id": line["id"], "type": "error", "code": code, **failure_of(error)}
    finally:
        desks.pop(line["id"], None)
    try:
        wire.write(answer)
    except BrokenPipeError:
        pass
