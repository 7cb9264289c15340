"""The agent: functions for messages, times and tasks, and what they declare about themselves."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import sys
from dataclasses import dataclass
from typing import (
    Any,
    Awaitable,
    Callable,
    Dict,
    List,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    overload,
)

from .context import Context
from .behaviour import Desk
from .lines import (
    DeliveryUpdate,
    Json,
    Message,
    Output,
    Reject,
    Report,
    Sent,
    Start,
    Task,
    Tick,
    Timer,
    without_none,
)
from .llm import of_process
from .model import Mismatch, check, command_of, from_command, is_model, schema_of
from .serve import Server, sent_of
from .times import Time, milliseconds
from .wire import greet, open_wire

M = TypeVar("M")
Outcome = Union[None, Awaitable[None]]
Result = Union[str, Output, Json, Awaitable[Union[str, Output, Json]]]

OnModel = Callable[[Context, M], Outcome]
OnMessage = Callable[[Context, Message], Outcome]
OnText = Callable[[Context, str], Outcome]
OnTime = Callable[[Context], Outcome]
OnTimer = Callable[[Context, Timer], Outcome]
OnDelivery = Callable[[Context, Sent, DeliveryUpdate], Outcome]
OnTask = Callable[[Context, Report], Outcome]
Executor = Callable[[Task, Desk], Result]

_MAX_NAME = 64
"""The longest name of a command, a schedule, a label or a type of task here, in characters."""


@dataclass(frozen=True)
class Handler:
    """A function of the author."""

    call: Callable[..., Any]
    is_async: bool
    #: The class that the message is read as.
    model: Optional[type] = None


@dataclass(frozen=True)
class _Answers:
    """Which answers a function handles."""

    label: Optional[str]
    cmd: Optional[str]
    handler: Handler


class Agent:
    """An agent, as a set of functions.

        agent = Agent("greeter")

        @agent.on(Greet)
        async def greet(ctx: Context, message: Greet) -> None:
            await ctx.reply(f"Hello, {message.name}!")

        if __name__ == "__main__":
            agent.run()

    A function is `async`, or runs in a thread. Functions of one agent run one after the other, those of
    different agents at the same time: one program can serve a whole fleet. What a function asks for
    happens when it returns, all of it or nothing.

    `capabilities` are words for the agent's card. `settings` is a dataclass for the table `settings` of
    agents.toml; without one, `ctx.settings` is that table.
    """

    def __init__(
        self,
        name: str,
        *,
        capabilities: Sequence[str] = (),
        settings: Optional[type] = None,
    ) -> None:
        self.name = name
        self._capabilities = list(capabilities)
        self._settings_class = settings
        if settings is not None:
            check(settings)
        self._commands: Dict[str, Handler] = {}
        self._text: Optional[Handler] = None
        self._answers: List[_Answers] = []
        self._timers: Dict[str, Handler] = {}
        self._deliveries: Dict[str, Handler] = {}
        self._schedules: Dict[str, Tuple[Json, Handler]] = {}
        self._starts: List[Tuple[bool, Handler]] = []
        self._executors: Dict[str, Handler] = {}
        self._limits: Dict[str, Json] = {}
        self._reports: Dict[str, Handler] = {}

    # Messages.

    @overload
    def on(self, what: str) -> Callable[[OnMessage], OnMessage]: ...

    @overload
    def on(self, what: Type[M]) -> Callable[[OnModel[M]], OnModel[M]]: ...

    def on(self, what: Any) -> Any:
        """Handles a command: a dataclass, whose object the function gets, or the command's name, and the
        function gets the `Message`. A message that is not of the class is rejected, and its sender may
        be told why."""
        cmd, model = _command(what)
        _unused(cmd, self._commands, "command")

        def decorate(function: Any) -> Any:
            self._commands[cmd] = _handler(function, model)
            return function

        return decorate

    def on_text(self, function: OnText) -> OnText:
        """Handles texts."""
        if self._text is not None:
            raise ValueError("there is a function for texts already")
        self._text = _handler(function)
        return function

    @overload
    def on_answer(self, *, label: Optional[str] = None) -> Callable[[OnMessage], OnMessage]: ...

    @overload
    def on_answer(
        self, what: Type[M], *, label: Optional[str] = None
    ) -> Callable[[OnModel[M]], OnModel[M]]: ...

    def on_answer(self, what: Any = None, *, label: Optional[str] = None) -> Any:
        """Handles answers to messages that the agent has sent: those of this class, those to messages
        with this label (`ask` for `ask:ada`, too), or all. The first function that fits gets it."""
        cmd, model = (None, None) if what is None else _command(what)

        def decorate(function: Any) -> Any:
            self._answers.append(_Answers(label, cmd, _handler(function, model)))
            return function

        return decorate

    def on_delivery(self, label: str) -> Callable[[OnDelivery], OnDelivery]:
        """Handles delivery updates of messages that were sent with this label (`ask` for `ask:ada`,
        too): whether they were mined, received, done, or not sent."""
        return _keep(self._deliveries, label, "function for the label")

    # Times.

    def every(
        self, period: Time, *, missed: str = "once", name: Optional[str] = None
    ) -> Callable[[OnTime], OnTime]:
        """Runs the function again and again: `"1m"`, at least `"1s"`. `missed` says what becomes of
        times at which nothing could run: `"skip"`, `"once"` or `"all"`. `name`, by default that of the
        function, stands for the schedule: under another name it begins again."""
        found = milliseconds(period)
        if found < 1000:
            raise ValueError(f"{period!r} is too short: the shortest period is 1s")
        return self._schedule({"every_ms": found}, missed, name)

    def cron(
        self,
        expression: str,
        *,
        zone: Optional[str] = None,
        missed: str = "once",
        name: Optional[str] = None,
    ) -> Callable[[OnTime], OnTime]:
        """Runs the function at the minutes that a cron expression names, such as `"0 9 * * MON-FRI"`, in
        UTC or in the time zone of this name. For the others see `every`."""
        return self._schedule(
            {"cron": without_none(expression=expression, zone=zone)}, missed, name
        )

    def _schedule(
        self, when: Json, missed: str, name: Optional[str]
    ) -> Callable[[OnTime], OnTime]:
        if missed not in ("skip", "once", "all"):
            raise ValueError(f'missed is "skip", "once" or "all", not {missed!r}')

        def decorate(function: OnTime) -> OnTime:
            found = name or function.__name__
            _unused(found, self._schedules, "schedule")
            schedule = {"name": found, "when": when, "missed": missed}
            self._schedules[found] = (schedule, _handler(function))
            return function

        return decorate

    def on_timer(self, name: str) -> Callable[[OnTimer], OnTimer]:
        """Handles timers that `ctx.schedule` has set under this name (`ask` for `ask:ada`, too)."""
        return _keep(self._timers, name, "function for the timer")

    @overload
    def on_start(self, function: OnTime) -> OnTime: ...

    @overload
    def on_start(self, *, once: bool = False) -> Callable[[OnTime], OnTime]: ...

    def on_start(self, function: Optional[OnTime] = None, *, once: bool = False) -> Any:
        """Runs the function when agentry starts, or with `once=True` only when it hosts the agent for
        the first time. A reload is no start."""

        def decorate(function: OnTime) -> OnTime:
            self._starts.append((once, _handler(function)))
            return function

        return decorate if function is None else decorate(function)

    # Tasks.

    def task(
        self,
        kind: str,
        *,
        concurrency: int = 1,
        time: Time = "10m",
        attempts: int = 3,
        progress_every: Optional[Time] = None,
    ) -> Callable[[Executor], Executor]:
        """Executes tasks that `ctx.start_task(kind, …)` has started: work that takes long, and may have
        side effects. The function gets the `Task` and a `Desk`, and returns a text, JSON or an
        `Output`. It can run more than once for one task: after a crash, or a failure."""
        _unused(kind, self._executors, "task")
        limits = {
            "concurrency": concurrency,
            "time_ms": milliseconds(time),
            "attempts": attempts,
        }
        if progress_every is not None:
            limits["progress_every_ms"] = milliseconds(progress_every)

        def decorate(function: Executor) -> Executor:
            self._executors[kind] = _handler(function)
            self._limits[kind] = limits
            return function

        return decorate

    def on_task(self, kind: str) -> Callable[[OnTask], OnTask]:
        """Handles news of tasks of this type: their progress, their questions, their end.
        `ctx.reply` answers the message that started the task."""
        return _keep(self._reports, kind, "function for news of the task")

    # Running.

    def declaration(self) -> Json:
        """What the agent says about itself: agentry reads it from the file that `declared` in
        agents.toml names."""
        starts = "never"
        if self._starts:
            starts = "once" if all(once for once, _ in self._starts) else "always"
        return {
            "protocol": 1,
            "commands": {
                cmd: {} if handler.model is None else schema_of(handler.model)
                for cmd, handler in sorted(self._commands.items())
            },
            "texts": self._text is not None,
            "answers": bool(self._answers),
            "starts": starts,
            "schedules": [schedule for schedule, _ in self._schedules.values()],
            "capabilities": sorted(self._capabilities),
            "tasks": dict(sorted(self._limits.items())),
        }

    def run(self) -> None:
        """Serves agentry on standard input and output, until it closes the input. With the argument
        `--declare`, prints the declaration instead."""
        if sys.argv[1:] == ["--declare"]:
            print(json.dumps(self.declaration(), indent=2))
            return
        if sys.stdin is not None and sys.stdin.isatty():
            sys.exit(
                f"{sys.argv[0]} is a program of agentry, which starts it: run `agentry dev` in the "
                "folder of its agents.toml. `--declare` prints what it declares"
            )
        wire = open_wire()
        hello = greet(wire)
        if hello is None:
            return
        given = dict(hello.get("settings", {}))
        try:
            endpoint = of_process(given.pop("llm", None))
            settings = self._settings(given)
        except (Mismatch, ValueError) as error:
            sys.exit(f"settings: {error}")
        server = Server(self, wire, settings, endpoint)
        try:
            asyncio.run(server.serve(self.declaration()))
        except (BrokenPipeError, KeyboardInterrupt):
            pass

    def _settings(self, given: Json) -> Any:
        if self._settings_class is None:
            return given
        names = [one.name for one in dataclasses.fields(self._settings_class)]
        unknown = sorted(given.keys() - set(names))
        if unknown:
            raise ValueError(f"unknown key `{unknown[0]}`; the keys are {', '.join(names)}, llm")
        return from_command(self._settings_class, given)

    def _select(
        self, event: Any, message: Optional[Message], line: Json
    ) -> Tuple[Optional[Handler], Tuple[Any, ...]]:
        """The function for an event, and its arguments after the context.

        Raises `Reject` if a message is not of the class that its command stands for.
        """
        if message is not None:
            return self._select_message(message)
        if isinstance(event, Timer):
            return _named(self._timers, event.name), (event,)
        if isinstance(event, Tick):
            _, handler = self._schedules.get(event.name, (None, None))
            return handler, ()
        if isinstance(event, Start):
            return _together([one for once, one in self._starts if event.first or not once]), ()
        if isinstance(event, DeliveryUpdate):
            sent = sent_of(line)
            return _named(self._deliveries, sent.label), (sent, event)
        if isinstance(event, Report):
            return self._reports.get(event.task.kind), (event,)
        return None, ()

    def _select_message(self, message: Message) -> Tuple[Optional[Handler], Tuple[Any, ...]]:
        handler: Optional[Handler] = None
        if message.answers is not None:
            handler = self._select_answer(message, message.answers.label)
        elif message.cmd is not None:
            handler = self._commands.get(message.cmd)
        elif message.text is not None:
            return self._text, (message.text,)
        if handler is None or handler.model is None:
            return handler, (message,)
        try:
            return handler, (from_command(handler.model, message.command or {}),)
        except Mismatch as error:
            raise Reject(f"{message.cmd}: {error}") from error

    def _select_answer(self, message: Message, label: Optional[str]) -> Optional[Handler]:
        for answers in self._answers:
            fits = answers.label is None or (label is not None and _is_of(label, answers.label))
            if fits and (answers.cmd is None or answers.cmd == message.cmd):
                return answers.handler
        return None


def _handler(function: Callable[..., Any], model: Optional[type] = None) -> Handler:
    return Handler(function, inspect.iscoroutinefunction(function), model)


def _command(what: Any) -> Tuple[str, Optional[type]]:
    if isinstance(what, str):
        return what, None
    if not is_model(what):
        raise TypeError(f"{what!r} is neither a dataclass nor the name of a command")
    check(what)
    return command_of(what), what


def _unused(name: str, taken: Dict[str, Any], what: str) -> None:
    if not 0 < len(name) <= _MAX_NAME:
        raise ValueError(f"the name of a {what} has 1 to {_MAX_NAME} characters, unlike {name!r}")
    if name in taken:
        raise ValueError(f"there is a {what} {name!r} already")


def _keep(handlers: Dict[str, Handler], name: str, what: str) -> Callable[[Any], Any]:
    _unused(name, handlers, what)

    def decorate(function: Any) -> Any:
        handlers[name] = _handler(function)
        return function

    return decorate


def _is_of(name: str, of: str) -> bool:
    """Whether a name is this one, or this one with something after a `:`."""
    return name == of or name.startswith(f"{of}:")


def _named(handlers: Dict[str, Handler], name: str) -> Optional[Handler]:
    """The handler of a name: of the whole, or of the longest part of it that ends before a `:`."""
    while name not in handlers and ":" in name:
        name = name.rpartition(":")[0]
    return handlers.get(name)


def _together(handlers: List[Handler]) -> Optional[Handler]:
    """One handler that calls all of them, one after the other."""
    if len(handlers) < 2:
        return handlers[0] if handlers else None

    async def call(context: Context) -> None:
        for handler in handlers:
            if handler.is_async:
                await handler.call(context)
            else:
                await asyncio.get_running_loop().run_in_executor(None, handler.call, context)

    return Handler(call, True)
