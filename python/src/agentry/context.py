"""What a handler gets: the event, the state, and what it can ask for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from datetime import datetime, timezone
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Coroutine,
    Dict,
    Generator,
    Generic,
    Iterator,
    List,
    Optional,
    Sequence,
    TypeVar,
    Union,
)

from .lines import Card, Effects, Json, Message, UnknownName, known, without_none
from .llm import Completion, Endpoint, complete
from .model import command_of, is_model, to_command, to_json
from .times import Time, milliseconds
from .wire import log

if TYPE_CHECKING:
    from .serve import Lookups

T = TypeVar("T")

Said = Union[str, Json, Any]
"""What can be said: a text, a command (a `dict` with a `cmd`), or a dataclass."""


class Done:
    """What was asked for is noted. It happens when the handler returns. Waiting for it is allowed and
    has no effect: `await ctx.reply(…)` and `ctx.reply(…)` are the same."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class Pending(Generic[T]):
    """An answer that takes a moment: `await` it in an `async` handler, or call `wait()` in another."""

    def __init__(
        self, begin: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._begin = begin
        self._loop = loop

    def __await__(self) -> Generator[Any, None, T]:
        return self._begin().__await__()

    def wait(self) -> T:
        """The answer. Only in a handler that is not `async`: it would block all agents."""
        try:
            running: Optional[asyncio.AbstractEventLoop] = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            raise RuntimeError("in an async handler, write `await` instead of `.wait()`")
        return asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()


class State(MutableMapping[str, Any]):
    """The agent's state: JSON values by name. What the handler changes is stored when it returns,
    together with everything else that it asked for, and is forgotten if it fails.

    Values can be changed in place: `ctx.state["seen"].append(1)`.
    """

    def __init__(self, stored: Dict[str, Any]) -> None:
        self._now = dict(stored)
        #: What was stored under the keys that were touched, as JSON; none for a new one.
        self._before: Dict[str, Optional[str]] = {}
        self._stored = set(stored)

    def __getitem__(self, key: str) -> Any:
        value = self._now[key]
        self._touch(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str) or not key:
            raise TypeError(f"a key of the state is a text, not {key!r}")
        self._touch(key)
        self._now[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self._now:
            raise KeyError(key)
        self._touch(key)
        del self._now[key]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._now))

    def __len__(self) -> int:
        return len(self._now)

    def _touch(self, key: str) -> None:
        if key not in self._before:
            stored = _text(self._now[key]) if key in self._now else None
            self._before[key] = stored if key in self._stored else None

    def record(self, effects: Effects) -> None:
        """Adds what has changed."""
        for key, before in self._before.items():
            if key not in self._now:
                if before is not None:
                    effects.clear_state(key)
            elif _text(self._now[key]) != before:
                effects.set_state(key, to_json(self._now[key]))


def _text(value: Any) -> str:
    return json.dumps(to_json(value), sort_keys=True, allow_nan=False)


class Context:
    """The context of one run of a handler.

    A handler may run more than once for one event (after a crash, a timeout or a failure), and what it
    asks for here happens once: when it returns, all of it or nothing. So it must have no other effect
    that must not happen twice.
    """

    def __init__(
        self,
        run: Json,
        event: Any,
        message: Optional[Message],
        settings: Any,
        lookups: Lookups,
        endpoint: Optional[Endpoint],
    ) -> None:
        #: The agent's name in agents.toml.
        self.agent: str = run["agent"]
        #: The agent's address.
        self.address: str = run["address"]
        #: The number of this run for the event, from 1.
        self.attempt: int = run["attempt"]
        #: The time, in milliseconds since the epoch.
        self.now_ms: int = run["now_ms"]
        #: What is stored; see `State`.
        self.state = State(run["state"])
        #: The settings in agents.toml: a `dict`, or an object of the class that `Agent` was given.
        self.settings = settings
        #: The event: a `Message`, `Timer`, `Tick`, `Start`, `DeliveryUpdate` or `Report`.
        self.event = event
        #: The message that is handled; none for other events.
        self.message = message
        self._effects = Effects()
        self._lookups = lookups
        self._endpoint = endpoint

    @property
    def sender(self) -> str:
        """The address of the message's sender."""
        if self.message is None:
            raise RuntimeError("this event is not a message, so it has no sender")
        return self.message.sender

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self.now_ms / 1000, timezone.utc)

    def log(self, text: str, level: str = "info") -> None:
        """Writes to agentry's log with the level `error`, `warn`, `info` or `debug`."""
        log(f"{self.agent}: {text}", level)

    # What happens when the handler returns.

    def reply(
        self,
        said: Said,
        *,
        ack: Optional[str] = None,
        within: Time = 60,
        resends: int = 3,
        amount: int = 0,
        thread: Optional[str] = None,
        expires_in: Optional[Time] = None,
        sealing: str = "as_asked",
        label: Optional[str] = None,
    ) -> Done:
        """Answers the sender of the message that the event is about. For the options see `send`."""
        options = _options(
            ack, within, resends, amount, thread, expires_in, sealing, label
        )
        self._effects.reply(_said(said), **options)
        return Done()

    def send(
        self,
        to: str,
        said: Said,
        *,
        ack: Optional[str] = None,
        within: Time = 60,
        resends: int = 3,
        amount: int = 0,
        thread: Optional[str] = None,
        expires_in: Optional[Time] = None,
        sealing: str = "as_asked",
        label: Optional[str] = None,
        re: Optional[str] = None,
    ) -> Done:
        """Sends a text, a command or a dataclass to an address, or to a name that `resolve` would find.

        - `ack`: the acknowledgment that is asked for: `"received"` or `"done"`. Without one `within`
          this time, the message is sent again, at most `resends` times.
        - `amount`: the AIT that it transfers.
        - `thread`: the conversation; an answer repeats it.
        - `expires_in`: how long it is worth acting on.
        - `sealing`: `"as_asked"`, `"never"`, `"if_possible"` or `"always"`.
        - `label`: the name by which `on_answer` and `on_delivery` recognise it.
        - `re`: the hash of the transaction that it answers, if the question came in another event.
        """
        options = _options(
            ack, within, resends, amount, thread, expires_in, sealing, label
        )
        self._effects.send(to, _said(said), re=re, **options)
        return Done()

    def schedule(self, name: str, after: Time, data: Any = None) -> Done:
        """Sets a timer for `on_timer`. A timer of the same name is replaced. What follows a `:` in the
        name does not select the handler: `ask:ada` is a timer of `on_timer("ask")`."""
        seconds = milliseconds(after) / 1000
        self._effects.schedule(name, seconds, to_json(data))
        return Done()

    def unschedule(self, name: str) -> Done:
        """Deletes a timer."""
        self._effects.unschedule(name)
        return Done()

    def start_task(
        self,
        kind: str,
        input: Any = None,
        *,
        key: Optional[str] = None,
        deadline_in: Optional[Time] = None,
    ) -> Done:
        """Starts a task for the function that `task(kind)` decorates. A second start with the same key
        is the same task; without a key, the message or the time of the event is the key."""
        deadline = None if deadline_in is None else self.now_ms + milliseconds(deadline_in)
        key = f"{kind}:{self._origin()}" if key is None else key
        self._effects.start_task(key, kind, to_json(input), deadline)
        return Done()

    def cancel_task(self, key: str) -> Done:
        """Cancels a task that has not ended."""
        self._effects.cancel_task(key)
        return Done()

    def answer_task(self, key: str, number: int, answer: Any) -> Done:
        """Answers the question of this number of a task, which goes on with the answer."""
        self._effects.answer_task(key, number, to_json(answer))
        return Done()

    def _origin(self) -> str:
        """What led to this run, the same at each attempt."""
        if self.message is not None:
            header = self.message.header
            return (header and header.id) or self.message.digest
        for name in ("at_ms", "due_ms"):
            if hasattr(self.event, name):
                return f"{self.event.name}@{getattr(self.event, name)}"
        raise ValueError("this event has no name of its own: give the task a `key`")

    # What can be asked now.

    def find(
        self,
        *,
        name: Optional[str] = None,
        capabilities: Sequence[str] = (),
        commands: Sequence[Union[str, type]] = (),
        announced_since: Optional[int] = None,
        limit: Optional[int] = None,
    ) -> Pending[List[Card]]:
        """The cards of the directory that match, sorted by name, then by address; at most 200. In
        `commands`, a class of messages stands for its command."""
        query = without_none(
            name=name,
            capabilities=list(capabilities),
            commands=[_command_name(one) for one in commands],
            announced_since=announced_since,
            limit=limit,
        )

        async def find() -> List[Card]:
            found = await self._lookups.look_up({"type": "find", "query": query})
            return [known(Card, card) for card in found["cards"]]

        return Pending(find, self._lookups.loop)

    def resolve(self, name: str) -> Pending[str]:
        """The address of the agent with this name. Raises `UnknownName`."""

        async def resolve() -> str:
            found = await self._lookups.look_up({"type": "resolve", "name": name})
            if "address" not in found:
                raise UnknownName(found.get("message", name))
            return str(found["address"])

        return Pending(resolve, self._lookups.loop)

    def llm(
        self,
        prompt: Union[str, Sequence[Json]],
        *,
        system: Optional[str] = None,
        max_tokens: int = 1024,
        timeout: Time = 25,
        **parameters: Any,
    ) -> Pending[Completion]:
        """Asks a model behind an OpenAI-compatible endpoint: a text, or a list of chat messages.

        The endpoint is in the settings: `settings = { llm = { url = "http://127.0.0.1:11434/v1", model
        = "llama3.2", key_file = "llm.key" } }`, or in the environment: `AGENTRY_LLM_URL`,
        `AGENTRY_LLM_MODEL` and `AGENTRY_LLM_KEY`. Content from the chain is a stranger's: give it as
        the prompt, never as `system`. A handler that runs again asks, and pays, again.
        """
        endpoint = self._endpoint
        seconds = milliseconds(timeout) / 1000

        async def ask() -> Completion:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                None, complete, endpoint, prompt, system, max_tokens, seconds, parameters
            )

        return Pending(ask, self._lookups.loop)

    def effects(self) -> List[Json]:
        """What the handler has asked for, as it is written on the wire: for tests."""
        effects = Effects()
        self.state.record(effects)
        return self._effects.to_list() + effects.to_list()


def _command_name(command: Union[str, type]) -> str:
    return command if isinstance(command, str) else command_of(command)


def _said(said: Said) -> Union[str, Json]:
    if isinstance(said, (str, dict)):
        return said
    if is_model(type(said)):
        return to_command(said)
    raise TypeError(f"a text, a command or a dataclass can be sent, not {type(said).__name__}")


def _options(
    ack: Optional[str],
    within: Time,
    resends: int,
    amount: int,
    thread: Optional[str],
    expires_in: Optional[Time],
    sealing: str,
    label: Optional[str],
) -> Json:
    return {
        "acknowledge": ack,
        "within": milliseconds(within) / 1000,
        "resends": resends,
        "amount": amount,
        "thread": thread,
        "expires_in": None if expires_in is None else milliseconds(expires_in) / 1000,
        "sealing": sealing,
        "label": label,
    }
