"""The lines of agentry's protocol with programs, as Python values.

docs/process.md of agentry explains them. A field that this version does not know is ignored: a later
agentry may send more.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field, fields
from typing import Any, Dict, List, Mapping, Optional, Sequence, Type, TypeVar, Union

PROTOCOL = 1
"""The version of the protocol that this package implements."""

LONGEST_TRACE = 8000
"""The size of the last part of a traceback that is sent, in characters."""

Json = Dict[str, Any]
"""A JSON object."""

T = TypeVar("T")


class _Failure(Exception):
    """A failure with a message for the operator, and optionally one for others."""

    def __init__(self, message: str = "", *, public: Optional[str] = None) -> None:
        super().__init__(message)
        self.public = public


class Asked(BaseException):
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
    def read(cls, line: Json) -> Message:
        """The message of a line."""
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
            header=None if header is None else known(Header, header),
            answers=None if answers is None else known(Answered, answers),
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
    #: The JSON Schemas of the parameters of its commands, as far as it says them.
    schemas: Mapping[str, Json] = field(default_factory=dict)


def read_report(event: Json) -> Report:
    """The update of a task that an event holds."""
    output, question = event.get("output"), event.get("question")
    parts = {
        "task": known(Task, event["task"]),
        "output": None if output is None else known(Output, output),
        "question": None if question is None else known(Question, question),
    }
    return known(Report, {**event, **parts})


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
        return self._with({"do": "reply", **outgoing(said, **options)})

    def send(
        self, to: str, said: Union[str, Json], *, re: Optional[str] = None, **options: Any
    ) -> Effects:
        """Sends a message to an address, or to a name that `Context.resolve` would find.

        `re` is the hash of the transaction that it answers, if the question came in another event.
        """
        fields = {**outgoing(said, **options), **without_none(re=re)}
        return self._with({"do": "send", "to": to, **fields})

    def set_state(self, key: str, value: Any) -> Effects:
        """Stores a JSON value in the state, in place of the previous value."""
        return self._with({"do": "set_state", "key": key, "value": value})

    def clear_state(self, key: str) -> Effects:
        """Deletes a value from the state."""
        return self._with({"do": "clear_state", "key": key})

    def schedule(self, name: str, after: float, data: Any = None) -> Effects:
        """Sets a timer for `on_timer`, in seconds. A timer of the same name is replaced."""
        return self._with(
            {"do": "schedule", "name": name, "after_ms": milliseconds(after), "data": data}
        )

    def unschedule(self, name: str) -> Effects:
        """Deletes a timer."""
        return self._with({"do": "unschedule", "name": name})

    def start_task(
        self, key: str, kind: str, input: Any = None, deadline_ms: Optional[int] = None
    ) -> Effects:
        """Starts a task for `execute`. A second start with the same key is the same task."""
        task = without_none(key=key, kind=kind, input=input, deadline_ms=deadline_ms)
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


def failure_of(error: Exception) -> Json:
    """The fields of a failure: everything for the operator, the public text for others."""
    expected = isinstance(error, (Transient, Permanent, TaskFailed))
    failure: Json = {
        "message": f"{type(error).__name__}: {error}",
        "transient": not isinstance(error, (Permanent, TaskFailed)),
    }
    if not expected or error.__cause__ is not None:
        failure["trace"] = "".join(
            traceback.format_exception(type(error), error, error.__traceback__)
        )[-LONGEST_TRACE:]
    public = str(error) if isinstance(error, TaskFailed) else getattr(error, "public", None)
    if expected and public is not None:
        failure["public"] = str(public)
    return failure


def known(cls: Type[T], values: Mapping[str, Any]) -> T:
    """An object from the fields that its class has: a later agentry may send more."""
    names = [one.name for one in fields(cls)]  # type: ignore[arg-type]
    return cls(**{name: values[name] for name in names if name in values})


def without_none(**values: Any) -> Json:
    """The values that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def milliseconds(seconds: float) -> int:
    """Seconds as whole milliseconds."""
    return round(seconds * 1000)


def outgoing(
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
    line: Json = {"text": said} if isinstance(said, str) else {"command": said}
    if amount:
        line["amount"] = amount
    if sealing != "as_asked":
        line["sealing"] = sealing
    if acknowledge is not None:
        line["acknowledge"] = {
            "request": acknowledge,
            "within_ms": milliseconds(within),
            "resends": resends,
        }
    if expires_in is not None:
        line["expires_in_ms"] = milliseconds(expires_in)
    return {**line, **without_none(thread=thread, label=label)}
