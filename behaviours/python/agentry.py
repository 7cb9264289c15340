"""Behaviours for agentry in Python. Needs Python 3.9 and nothing else.

A behaviour is a class; `run` implements agentry's protocol for it:

    import agentry

    class Echo(agentry.Behaviour):
        def on_message(self, message, context):
            return agentry.Effects().reply(message.text or "?")

    if __name__ == "__main__":
        agentry.run(Echo())

agentry starts the program when `agents.toml` lists it as a behaviour:

    behaviours = [{ kind = "process", program = "./echo.py", texts = true }]

The rules (docs/process.md is the complete guide):

- A handler may run more than once for one event, but the effects that it *returns* happen once. A
  handler must therefore have no other side effects that must not happen twice.
- Everything that must be remembered goes through `Effects.set_state` and is in `Context.state` at
  the next event. One program may serve many agents and may be killed at any time, so attributes of
  the object are only a cache.
- `print` writes to standard error, and so to agentry's log. `log` writes to the log with a level.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections import deque
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Deque, Dict, List, Mapping, Optional, Sequence, Union

__all__ = [
    "Answered",
    "Behaviour",
    "Card",
    "Context",
    "Desk",
    "Effects",
    "DeliveryUpdate",
    "Header",
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

PROTOCOL = 1
"""The version of the protocol that this module implements."""

_LONGEST_TRACE = 8000
"""The size of the last part of a traceback that is sent, in characters."""

Json = Dict[str, Any]
"""A JSON object."""


class _Failure(Exception):
    """A failure with a message for the operator, and optionally one for others."""

    def __init__(self, message: str = "", *, public: Optional[str] = None) -> None:
        super().__init__(message)
        self.public = public


class _Asked(BaseException):
    """An execution ends because it asks something. Not an `Exception`, so that nothing catches it."""


class Transient(_Failure):
    """A failure that may not occur at the next attempt. Every exception of another class counts as
    one too.

    The message goes to agentry's log and to the dead letter only. `public` is what the sender of
    the message, or the submitter of the task, may be told. It can end up on the chain, where
    everyone can read it.
    """


class Permanent(_Failure):
    """A failure that would occur at every further attempt: the event becomes a dead letter. For
    `public` see `Transient`."""


class Reject(Exception):
    """The message will not be acted on. The sender may be told the reason, and it can end up on the
    chain, so it must not contain secrets. `Effects.reject` does the same together with other
    effects."""


class TaskFailed(Exception):
    """A task failed permanently. `code` is machine-readable. The code and the message go to the
    submitter of the task and can end up on the chain, so they must not contain secrets."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class UnknownName(Exception):
    """A name that no agent has, or that several agents have."""


@dataclass(frozen=True)
class Header:
    """The header of a message."""

    id: Optional[str] = None
    re: Optional[str] = None
    thread: Optional[str] = None
    expires_ms: Optional[int] = None
    acknowledge: Optional[str] = None
    hops: int = 0
    trace: Optional[str] = None


@dataclass(frozen=True)
class Answered:
    """A message of the agent that was answered."""

    transaction: str
    behaviour: Optional[str] = None
    label: Optional[str] = None


@dataclass(frozen=True)
class Message:
    """A message to the agent. It has one of `text`, `command` and `opaque`."""

    transaction: str
    digest: str
    sender: str
    to: str
    height: int
    verified: bool
    sealed: bool
    amount: Optional[int] = None
    amount_text: Optional[str] = None
    text: Optional[str] = None
    command: Optional[Json] = None
    opaque: Optional[str] = None
    header: Optional[Header] = None
    answers: Optional[Answered] = None

    @property
    def cmd(self) -> Optional[str]:
        """The name of the command, if it is one."""
        return None if self.command is None else self.command["cmd"]

    @classmethod
    def _read(cls, line: Json) -> Message:
        header, answers = line.get("header"), line.get("answers")
        return cls(
            transaction=line["transaction"],
            digest=line["digest"],
            sender=line["from"],
            to=line["to"],
            height=line["height"],
            verified=line["authenticity"] == "verified",
            sealed=line["sealed"],
            amount=line.get("amount"),
            amount_text=line.get("amount_text"),
            text=line.get("text"),
            command=line.get("command"),
            opaque=line.get("opaque"),
            header=None if header is None else _known(Header, header),
            answers=None if answers is None else _known(Answered, answers),
        )


@dataclass(frozen=True)
class Timer:
    """A timer that has expired."""

    name: str
    data: Any
    due_ms: int


@dataclass(frozen=True)
class Start:
    """A start of the agent. `first`: the program was not told of one before."""

    first: bool


@dataclass(frozen=True)
class Tick:
    """A time of a schedule. It stands for `missed` earlier ones, at which nothing could be run."""

    name: str
    at_ms: int
    missed: int = 0


@dataclass(frozen=True)
class Sent:
    """A message that was sent with a label."""

    label: str
    to: str
    id: Optional[str] = None
    transaction: Optional[str] = None


@dataclass(frozen=True)
class DeliveryUpdate:
    """A delivery update: `mined`, `received`, `accepted`, `done`, `failed`, `rejected`, `expired`,
    `unacknowledged` or `unsent`."""

    update: str
    height: Optional[int] = None
    detail: Optional[str] = None
    reason: Optional[str] = None


@dataclass(frozen=True)
class Settlement:
    """The outcome of a message that arrived: `done`, `failed`, `rejected` or `expired`."""

    settlement: str
    reason: Optional[str] = None


@dataclass(frozen=True)
class Output:
    """The result of a task. `incomplete` is a code that says why the result is incomplete."""

    text: str
    media_type: Optional[str] = None
    incomplete: Optional[str] = None


@dataclass(frozen=True)
class Task:
    """A task of this behaviour."""

    key: str
    kind: str
    input: Any
    agent: str
    attempt: int
    #: The same for all attempts at this task, and different for every other task.
    idempotency_key: str
    deadline_ms: Optional[int] = None
    submitter: Optional[str] = None
    #: The answers to its questions so far; `Desk.ask` returns them.
    answers: Sequence[Any] = ()


@dataclass(frozen=True)
class Question:
    """A question of a task to its submitter."""

    number: int
    text: str
    until_ms: int
    schema: Optional[Any] = None


@dataclass(frozen=True)
class Report:
    """An update of a task: `progress`, `completed`, `failed`, `canceled` or `input_required`."""

    task: Task
    news: str
    progress: Optional[float] = None
    note: Optional[str] = None
    output: Optional[Output] = None
    duration_ms: Optional[int] = None
    code: Optional[str] = None
    message: Optional[str] = None
    question: Optional[Question] = None


@dataclass(frozen=True)
class Card:
    """What an agent says about itself in the directory."""

    address: str
    name: str
    capabilities: List[str]
    commands: List[str]
    sealable: bool
    expires_ms: int
    height: int
    description: Optional[str] = None
    endpoints: List[Mapping[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """The context of a run: the agent, the time, the attempt and the state."""

    agent: str
    address: str
    behaviour: str
    attempt: int
    now_ms: int
    state: Mapping[str, Any]
    _wire: _Wire = field(repr=False, compare=False)

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
        query = _without_none(
            name=name,
            capabilities=list(capabilities),
            commands=list(commands),
            announced_since=announced_since,
            limit=limit,
        )
        found = self._wire.look_up({"type": "find", "query": query})
        return [_known(Card, card) for card in found["cards"]]

    def resolve(self, name: str) -> str:
        """The address of the agent with this name. Raises `UnknownName`."""
        found = self._wire.look_up({"type": "resolve", "name": name})
        if "address" not in found:
            raise UnknownName(found.get("message", name))
        return found["address"]


class Effects:
    """What should happen, in order: all effects happen, or none.

    `reply` and `send` take a text or a command (a `dict` with a `cmd`), and these options:

    - `amount`: the amount that it transfers, in AIT;
    - `thread`: the conversation; a reply stays in the conversation of its question;
    - `expires_in`: the seconds after which it expires;
    - `acknowledge`: `"received"` or `"done"`, with `within` seconds and `resends`;
    - `sealing`: `"as_asked"`, `"never"`, `"if_possible"` or `"always"`;
    - `label`: the name by which the behaviour recognises delivery updates and answers.
    """

    def __init__(self) -> None:
        self._effects: List[Json] = []

    def reply(self, said: Union[str, Json], **options: Any) -> Effects:
        """Answers the sender of the message that the event is about."""
        return self._with({"do": "reply", **_outgoing(said, **options)})

    def send(
        self, to: str, said: Union[str, Json], *, re: Optional[str] = None, **options: Any
    ) -> Effects:
        """Sends a message to an address, or to a name that `Context.resolve` would find.

        `re` is the hash of the transaction that it answers, if the question came in another event.
        """
        outgoing = {**_outgoing(said, **options), **_without_none(re=re)}
        return self._with({"do": "send", "to": to, **outgoing})

    def set_state(self, key: str, value: Any) -> Effects:
        """Stores a JSON value in the state, in place of the previous value."""
        return self._with({"do": "set_state", "key": key, "value": value})

    def clear_state(self, key: str) -> Effects:
        """Deletes a value from the state."""
        return self._with({"do": "clear_state", "key": key})

    def schedule(self, name: str, after: float, data: Any = None) -> Effects:
        """Sets a timer for `on_timer`, in seconds. A timer of the same name is replaced."""
        return self._with(
            {"do": "schedule", "name": name, "after_ms": _milliseconds(after), "data": data}
        )

    def unschedule(self, name: str) -> Effects:
        """Deletes a timer."""
        return self._with({"do": "unschedule", "name": name})

    def start_task(
        self, key: str, kind: str, input: Any = None, deadline_ms: Optional[int] = None
    ) -> Effects:
        """Starts a task for `execute`. A second start with the same key is the same task."""
        task = _without_none(key=key, kind=kind, input=input, deadline_ms=deadline_ms)
        return self._with({"do": "start_task", **task})

    def cancel_task(self, key: str) -> Effects:
        """Cancels a task that has not ended."""
        return self._with({"do": "cancel_task", "key": key})

    def answer_task(self, key: str, number: int, answer: Any) -> Effects:
        """Answers the question of this number of a task, which goes on with the answer."""
        return self._with({"do": "answer_task", "key": key, "number": number, "answer": answer})

    def reject(self, reason: str) -> Effects:
        """Rejects the message: it will not be acted on. The sender may be told the reason."""
        return self._with({"do": "reject", "reason": reason})

    def to_list(self) -> List[Json]:
        """The effects as they are written on the wire."""
        return list(self._effects)

    def _with(self, effect: Json) -> Effects:
        self._effects.append(effect)
        return self


class Desk:
    """The environment of a running task."""

    def __init__(self, wire: _Wire, id: int, answers: Sequence[Any] = ()) -> None:
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
        line = _without_none(
            type="ask", id=self._id, question=question, schema=schema, within_ms=int(within * 1000)
        )
        self._wire.write(line)
        raise _Asked()

    def progress(self, progress: float, note: Optional[str] = None) -> None:
        """Reports the progress, from 0 to 1, with a description."""
        line = _without_none(type="progress", id=self._id, progress=progress, note=note)
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


def log(message: str, level: str = "info") -> None:
    """Writes to agentry's log with the level `error`, `warn`, `info` or `debug`."""
    if _current is None:
        print(f"{level}: {message}", file=sys.stderr)
    else:
        _current.write({"type": "log", "level": level, "message": message})


def run(behaviour: Behaviour) -> None:
    """Runs the behaviour until agentry closes standard input."""
    global _current
    wire = _Wire(sys.stdin.buffer, sys.stdout.buffer)
    _current = wire
    # Standard output is reserved for the protocol, so what a library prints goes to the log.
    sys.stdout = sys.stderr
    try:
        _serve(behaviour, wire)
    except (BrokenPipeError, KeyboardInterrupt):
        pass


_current: Optional[_Wire] = None


def _serve(behaviour: Behaviour, wire: _Wire) -> None:
    hello = wire.next()
    if hello is None:
        return
    if hello.get("type") != "hello" or hello.get("protocol") != PROTOCOL:
        sys.exit(f"agentry.py needs version {PROTOCOL} of the protocol, but received {hello}")
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


def _answer(behaviour: Behaviour, wire: _Wire, line: Json) -> Json:
    """The answer to an event."""
    try:
        context = _known(Context, {**line["context"], "_wire": wire})
        effects = _handle(behaviour, line["event"], context)
        asked = [] if effects is None else effects.to_list()
        # Values that are not valid JSON are found here, where the event is still known.
        json.dumps(asked, allow_nan=False)
        return {"type": "effects", "id": line["id"], "effects": asked}
    except Reject as error:
        effects = Effects().reject(str(error)).to_list()
        return {"type": "effects", "id": line["id"], "effects": effects}
    except Exception as error:
        return {"type": "error", "id": line["id"], **_failure(error)}


def _failure(error: Exception) -> Json:
    """The fields of a failure: everything for the operator, the public text for others."""
    expected = isinstance(error, (Transient, Permanent, TaskFailed))
    failure = {
        "message": f"{type(error).__name__}: {error}",
        "transient": not isinstance(error, (Permanent, TaskFailed)),
    }
    if not expected or error.__cause__ is not None:
        failure["trace"] = "".join(
            traceback.format_exception(type(error), error, error.__traceback__)
        )[-_LONGEST_TRACE:]
    public = str(error) if isinstance(error, TaskFailed) else getattr(error, "public", None)
    if expected and public is not None:
        failure["public"] = str(public)
    return failure


def _handle(behaviour: Behaviour, event: Json, context: Context) -> Optional[Effects]:
    kind = event["kind"]
    if kind == "message":
        return behaviour.on_message(Message._read(event["message"]), context)
    if kind == "timer":
        return behaviour.on_timer(_known(Timer, event), context)
    if kind == "start":
        return behaviour.on_start(_known(Start, event), context)
    if kind == "tick":
        return behaviour.on_tick(_known(Tick, event), context)
    if kind == "delivery_update":
        return behaviour.on_delivery_update(_known(Sent, event["sent"]), _known(DeliveryUpdate, event), context)
    if kind == "settled":
        message = Message._read(event["message"])
        return behaviour.on_settled(message, _known(Settlement, event), context)
    if kind == "task":
        output = event.get("output")
        question = event.get("question")
        parts = {
            "task": _known(Task, event["task"]),
            "output": None if output is None else _known(Output, output),
            "question": None if question is None else _known(Question, question),
        }
        return behaviour.on_task(_known(Report, {**event, **parts}), context)
    return None


def _work(
    behaviour: Behaviour, wire: _Wire, line: Json, desk: Desk, desks: Dict[int, Desk]
) -> None:
    """Does a task and writes its answer."""
    answer: Json = {"id": line["id"]}
    try:
        output = behaviour.execute(_known(Task, line["task"]), desk)
        if isinstance(output, str):
            output = Output(output)
        parts = {key: getattr(output, key) for key in Output.__dataclass_fields__}
        answer.update(_without_none(type="output", **parts))
        # Values that are not valid JSON are found here, where the task is still known.
        json.dumps(answer, allow_nan=False)
    except _Asked:
        # Ignored, but due: a program that answers nothing counts as hung.
        answer = {"id": line["id"], "type": "error", "message": "it asked"}
    except Exception as error:
        code = error.code if isinstance(error, TaskFailed) else "failed"
        answer = {"id": line["id"], "type": "error", "code": code, **_failure(error)}
    finally:
        desks.pop(line["id"], None)
    try:
        wire.write(answer)
    except BrokenPipeError:
        pass


class _Wire:
    """Lines in and out."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._writing = threading.Lock()
        self._later: Deque[Json] = deque()
        self._looked_up = 0

    def next(self) -> Optional[Json]:
        """The next line; none at the end."""
        return self._later.popleft() if self._later else self._read()

    def write(self, line: Json) -> None:
        """Writes a complete line and flushes it."""
        text = json.dumps(line, separators=(",", ":"), allow_nan=False)
        with self._writing:
            self._sink.write(text.encode("ascii") + b"\n")
            self._sink.flush()

    def look_up(self, question: Json) -> Json:
        """Sends a lookup and waits for the answer. Other lines are kept for later."""
        self._looked_up += 1
        id = self._looked_up
        self.write({**question, "id": id})
        while True:
            line = self._read()
            if line is None:
                raise Transient("agentry closed the standard input")
            if line.get("type") in ("found", "resolved") and line.get("id") == id:
                return line
            self._later.append(line)

    def _read(self) -> Optional[Json]:
        line = self._source.readline()
        return json.loads(line) if line else None


def _known(cls: Any, values: Mapping[str, Any]) -> Any:
    """An object from the fields that its class has: a later agentry may send more."""
    return cls(**{key: values[key] for key in cls.__dataclass_fields__ if key in values})


def _without_none(**values: Any) -> Json:
    return {key: value for key, value in values.items() if value is not None}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _outgoing(
    said: Union[str, Json],
    *,
    amount: int = 0,
    thread: Optional[str] = None,
    expires_in: Optional[float] = None,
    acknowledge: Optional[str] = None,
    within: float = 60,
    resends: int = 3,
    sealing: str = "as_asked",
    label: Optional[str] = None,
) -> Json:
    """The fields that `reply` and `send` have in common, as they are written on the wire."""
    outgoing = {"text": said} if isinstance(said, str) else {"command": said}
    if amount:
        outgoing["amount"] = amount
    if sealing != "as_asked":
        outgoing["sealing"] = sealing
    if acknowledge is not None:
        outgoing["acknowledge"] = {
            "request": acknowledge,
            "within_ms": _milliseconds(within),
            "resends": resends,
        }
    if expires_in is not None:
        outgoing["expires_in_ms"] = _milliseconds(expires_in)
    return {**outgoing, **_without_none(thread=thread, label=label)}
