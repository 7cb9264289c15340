"""Behaviours for agentry in Python. Needs Python 3.9 and nothing else.

A behaviour is a class; `run` speaks agentry's protocol for it:

    import agentry

    class Echo(agentry.Behaviour):
        def on_message(self, message, context):
            return agentry.Effects().reply(message.text or "?")

    if __name__ == "__main__":
        agentry.run(Echo())

agentry starts the program when `agents.toml` has it as a behaviour:

    behaviours = [{ kind = "process", program = "./echo.py", texts = true }]

What counts (docs/process.md says it in full):

- A handler may run more than once for one event; what it *returns* happens once. So it does nothing
  that must not be done twice: it returns effects.
- What must be remembered goes through `Effects.set_state` and comes back in `Context.state`. One
  program may serve many agents, and may be killed at any time: attributes of the object are a cache
  at best.
- `print` goes to the standard error, and so into agentry's log. `log` does with a level.
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
    "Fate",
    "Header",
    "Message",
    "Output",
    "Permanent",
    "Reject",
    "Report",
    "Sent",
    "Settlement",
    "Task",
    "TaskFailed",
    "Timer",
    "Transient",
    "UnknownName",
    "log",
    "run",
]

PROTOCOL = 1
"""The version of the protocol that is spoken here."""

_LONGEST_TRACE = 8000
"""How much of the end of a traceback is sent, in characters."""

Json = Dict[str, Any]
"""A JSON object."""


class _Failure(Exception):
    """A failure with a message for the operator, and perhaps one for others."""

    def __init__(self, message: str = "", *, public: Optional[str] = None) -> None:
        super().__init__(message)
        self.public = public


class Transient(_Failure):
    """A failure that another attempt may fix. So is every exception that has no class here.

    The message goes into agentry's log and to the dead letter, and to nobody else. `public` is what
    the sender of the message, or whoever asked for the task, may be told: it can end up on the
    chain, for all to read.
    """


class Permanent(_Failure):
    """A failure that no repetition fixes: the event becomes a dead letter. For `public` see
    `Transient`."""


class Reject(Exception):
    """The message will not be acted on. The reason may be told to its sender, and can end up on the
    chain: no secrets. `Effects.reject` says the same where other effects are to happen too."""


class TaskFailed(Exception):
    """A task failed for good. `code` is a word for programs. Both go to whoever asked for the task,
    and can end up on the chain: no secrets."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class UnknownName(Exception):
    """A name that nobody has, or more than one."""


@dataclass(frozen=True)
class Header:
    """What a message says of itself."""

    id: Optional[str] = None
    re: Optional[str] = None
    thread: Optional[str] = None
    expires_ms: Optional[int] = None
    acknowledge: Optional[str] = None


@dataclass(frozen=True)
class Answered:
    """A message of the agent's that was answered."""

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
    """A timer that has run out."""

    name: str
    data: Any
    due_ms: int


@dataclass(frozen=True)
class Sent:
    """A message that was sent with a label."""

    label: str
    to: str
    id: Optional[str] = None
    transaction: Optional[str] = None


@dataclass(frozen=True)
class Fate:
    """What became of it: `mined`, `received`, `accepted`, `done`, `failed`, `rejected`, `expired`,
    `unacknowledged` or `unsent`."""

    fate: str
    height: Optional[int] = None
    detail: Optional[str] = None
    reason: Optional[str] = None


@dataclass(frozen=True)
class Settlement:
    """What became of a message that came: `done`, `failed`, `rejected` or `expired`."""

    settlement: str
    reason: Optional[str] = None


@dataclass(frozen=True)
class Output:
    """What came out of a task. `incomplete` is a word for why it is not all that it could be."""

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
    deadline_ms: Optional[int] = None
    submitter: Optional[str] = None


@dataclass(frozen=True)
class Report:
    """News of a task: `progress`, `completed`, `failed` or `canceled`."""

    task: Task
    news: str
    progress: Optional[float] = None
    note: Optional[str] = None
    output: Optional[Output] = None
    duration_ms: Optional[int] = None
    code: Optional[str] = None
    message: Optional[str] = None


@dataclass(frozen=True)
class Card:
    """What an agent says of itself in the directory."""

    address: str
    name: str
    capabilities: List[str]
    commands: List[str]
    sealable: bool
    expires_ms: int
    height: int
    description: Optional[str] = None


@dataclass(frozen=True)
class Context:
    """For whom a handler runs, when, and what it remembers."""

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
        """The cards of the directory that fit, by name, then by address; at most 200."""
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
        """The address that a name stands for. Raises `UnknownName`."""
        found = self._wire.look_up({"type": "resolve", "name": name})
        if "address" not in found:
            raise UnknownName(found.get("message", name))
        return found["address"]


class Effects:
    """What should happen, in this order: all of it or nothing.

    `reply` and `send` take a text or a command (a `dict` with a `cmd`), and these options:

    - `amount`: what is transferred with it, in AIT;
    - `thread`: the conversation; an answer carries on that of its question by itself;
    - `expires_in`: seconds after which it does not count any more;
    - `acknowledge`: `"received"` or `"done"`, with `within` seconds and `resends`;
    - `sealing`: `"as_asked"`, `"never"`, `"if_possible"` or `"always"`;
    - `label`: under which the behaviour is told of its fate and of answers to it.
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

        `re` is the hash of the transaction that it answers, where the question came in another
        event.
        """
        outgoing = {**_outgoing(said, **options), **_without_none(re=re)}
        return self._with({"do": "send", "to": to, **outgoing})

    def set_state(self, key: str, value: Any) -> Effects:
        """Remembers a JSON value, in place of what was there."""
        return self._with({"do": "set_state", "key": key, "value": value})

    def clear_state(self, key: str) -> Effects:
        """Forgets a value."""
        return self._with({"do": "clear_state", "key": key})

    def schedule(self, name: str, after: float, data: Any = None) -> Effects:
        """Has `on_timer` run after so many seconds. A timer of the same name is replaced."""
        return self._with(
            {"do": "schedule", "name": name, "after_ms": _milliseconds(after), "data": data}
        )

    def unschedule(self, name: str) -> Effects:
        """Forgets a timer."""
        return self._with({"do": "unschedule", "name": name})

    def start_task(
        self, key: str, kind: str, input: Any = None, deadline_ms: Optional[int] = None
    ) -> Effects:
        """Has `execute` do a task. A second start of the same key is the same task."""
        task = _without_none(key=key, kind=kind, input=input, deadline_ms=deadline_ms)
        return self._with({"do": "start_task", **task})

    def cancel_task(self, key: str) -> Effects:
        """Has a task not done, or not finished."""
        return self._with({"do": "cancel_task", "key": key})

    def reject(self, reason: str) -> Effects:
        """Says that the message will not be acted on. Its sender may be told why."""
        return self._with({"do": "reject", "reason": reason})

    def to_list(self) -> List[Json]:
        """The effects as they are written on the wire."""
        return list(self._effects)

    def _with(self, effect: Json) -> Effects:
        self._effects.append(effect)
        return self


class Desk:
    """What a running task has around it."""

    def __init__(self, wire: _Wire, id: int) -> None:
        self._wire = wire
        self._id = id
        self._canceled = threading.Event()

    def progress(self, progress: float, note: Optional[str] = None) -> None:
        """Says how far the work is, from 0 to 1, and where, in words."""
        line = _without_none(type="progress", id=self._id, progress=progress, note=note)
        self._wire.write(line)

    @property
    def canceled(self) -> bool:
        """Whether nobody waits for the result any more: a long task looks now and then, and ends."""
        return self._canceled.is_set()


class Behaviour:
    """What a program does. All handlers but `on_message` may be left out; one that returns `None`
    asks for nothing.

    Handlers run one after the other. `execute` runs on a thread of its own.
    """

    def start(self, settings: Json) -> None:
        """Takes the table `settings` of agents.toml, before the first event. An exception here ends
        the program, and agentry's log says why."""

    def on_message(self, message: Message, context: Context) -> Optional[Effects]:
        """A message came."""
        raise NotImplementedError

    def on_timer(self, timer: Timer, context: Context) -> Optional[Effects]:
        """A timer has run out."""

    def on_fate(self, sent: Sent, fate: Fate, context: Context) -> Optional[Effects]:
        """Something became of a message that was sent with a label."""

    def on_settled(
        self, message: Message, settlement: Settlement, context: Context
    ) -> Optional[Effects]:
        """Something became of a message that others acted on (`watches = true`)."""

    def on_task(self, report: Report, context: Context) -> Optional[Effects]:
        """News of a task. `Effects.reply` answers the message that started it."""

    def execute(self, task: Task, desk: Desk) -> Union[str, Output]:
        """Does a task. It may take long and touch the world, and may be begun more than once."""
        raise TaskFailed("no-executor", "this behaviour executes no tasks")


def log(message: str, level: str = "info") -> None:
    """Writes into agentry's log: `error`, `warn`, `info` or `debug`."""
    if _current is None:
        print(f"{level}: {message}", file=sys.stderr)
    else:
        _current.write({"type": "log", "level": level, "message": message})


def run(behaviour: Behaviour) -> None:
    """Speaks with agentry until it closes the standard input."""
    global _current
    wire = _Wire(sys.stdin.buffer, sys.stdout.buffer)
    _current = wire
    # The standard output belongs to the protocol: what a library prints goes into the log.
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
        sys.exit(f"agentry.py speaks version {PROTOCOL} of the protocol and was sent {hello}")
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
            desk = desks[line["id"]] = Desk(wire, line["id"])
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
        # What is no JSON is found here, where it can still be said of which event it is.
        json.dumps(asked, allow_nan=False)
        return {"type": "effects", "id": line["id"], "effects": asked}
    except Reject as error:
        effects = Effects().reject(str(error)).to_list()
        return {"type": "effects", "id": line["id"], "effects": effects}
    except Exception as error:
        return {"type": "error", "id": line["id"], **_failure(error)}


def _failure(error: Exception) -> Json:
    """What is said of a failure: to the operator all of it, to others what is meant for them."""
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
    if kind == "fate":
        return behaviour.on_fate(_known(Sent, event["sent"]), _known(Fate, event), context)
    if kind == "settled":
        message = Message._read(event["message"])
        return behaviour.on_settled(message, _known(Settlement, event), context)
    if kind == "task":
        output = event.get("output")
        parts = {
            "task": _known(Task, event["task"]),
            "output": None if output is None else _known(Output, output),
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
        # What is no JSON is found here, where it can still be said of which task it is.
        json.dumps(answer, allow_nan=False)
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
        """Writes a line at once, whole."""
        text = json.dumps(line, separators=(",", ":"), allow_nan=False)
        with self._writing:
            self._sink.write(text.encode("ascii") + b"\n")
            self._sink.flush()

    def look_up(self, question: Json) -> Json:
        """Asks for something and waits for the answer. What else comes is kept for later."""
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
    """An object of what its class knows: a later agentry may say more."""
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
    """What `reply` and `send` have in common, as it is written on the wire."""
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
