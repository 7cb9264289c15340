"""The event loop of a program: events of different agents at the same time, those of one in order."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Deque, Dict, List, Optional, Set, Tuple

from .behaviour import Desk
from .context import Context
from .lines import (
    PROTOCOL,
    Asked,
    DeliveryUpdate,
    Effects,
    Json,
    Message,
    Output,
    Reject,
    Sent,
    Start,
    Task,
    TaskFailed,
    Tick,
    Timer,
    Transient,
    failure_of,
    known,
    read_report,
    without_none,
)
from .llm import Endpoint
from .wire import Wire

if TYPE_CHECKING:
    from .agent import Agent, Handler

_THREADS = 256
"""The most handlers that are not `async` at the same time: as many as agentry's greatest `in_flight`."""

_LAST_WORDS = 30.0
"""How long handlers may go on after the end of the input, in seconds. agentry kills the program after
its `grace`; this is for a program whose agentry is gone."""


class Lookups:
    """Questions to agentry that are answered at once."""

    def __init__(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._wire = wire
        self._asked: Dict[int, asyncio.Future[Json]] = {}
        self._last = 0

    async def look_up(self, question: Json) -> Json:
        """Asks, and waits for the answer."""
        self._last += 1
        id, answer = self._last, self.loop.create_future()
        self._asked[id] = answer
        try:
            self._wire.write({**question, "id": id})
            found: Json = await answer
            return found
        finally:
            del self._asked[id]

    def answered(self, line: Json) -> None:
        """Takes an answer."""
        asked = self._asked.get(line["id"])
        if asked is not None and not asked.done():
            asked.set_result(line)

    def end(self) -> None:
        """Ends all questions: there will be no answers."""
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(Transient("agentry closed the standard input"))


class Server:
    """Runs an agent's handlers until the end of the input."""

    def __init__(
        self, agent: Agent, wire: Wire, settings: Any, endpoint: Optional[Endpoint]
    ) -> None:
        self._agent = agent
        self._wire = wire
        self._settings = settings
        self._endpoint = endpoint
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="agentry")
        #: Events that wait for their turn, by agent. An agent is here while it has a worker.
        self._waiting: Dict[str, Deque[Json]] = {}
        #: What runs, by the id of its line: the events in `_in_threads` cannot be interrupted.
        self._running: Dict[int, asyncio.Future[Json]] = {}
        self._in_threads: Set[int] = set()
        self._desks: Dict[int, Desk] = {}
        self._work: Set[asyncio.Future[None]] = set()

    async def serve(self, declared: Json) -> None:
        """Says that the program is ready, and serves."""
        self._loop = asyncio.get_running_loop()
        self._lookups = Lookups(self._wire, self._loop)
        self._ended = self._loop.create_future()
        self._wire.write({"type": "ready", "protocol": PROTOCOL, "declares": declared})
        threading.Thread(target=self._read, daemon=True).start()
        await self._ended
        self._lookups.end()
        # Tasks run again at the next start; events are finished.
        for id in list(self._desks):
            self._cancel(id)
        if self._work:
            _, unfinished = await asyncio.wait(self._work, timeout=_LAST_WORDS)
            if unfinished:
                # A thread that does not end would keep the process.
                sys.stderr.flush()
                os._exit(1)

    def _read(self) -> None:
        """Reads lines, on a thread of its own, so that reading never waits for a handler."""
        while True:
            try:
                line = self._wire.next()
            except (OSError, ValueError) as error:
                print(f"a line of agentry cannot be read: {error}", file=sys.stderr)
                line = None
            self._loop.call_soon_threadsafe(self._take, line)
            if line is None:
                return

    def _take(self, line: Optional[Json]) -> None:
        if line is None:
            if not self._ended.done():
                self._ended.set_result(None)
            return
        kind = line.get("type")
        if kind == "event":
            name = line["context"]["agent"]
            waiting = self._waiting.get(name)
            if waiting is None:
                self._waiting[name] = deque([line])
                self._begin(self._answer_all(name))
            else:
                waiting.append(line)
        elif kind == "execute":
            self._execute(line)
        elif kind == "cancel":
            self._cancel(line["id"])
        elif kind in ("found", "resolved"):
            self._lookups.answered(line)

    def _begin(self, work: Any) -> None:
        future = asyncio.ensure_future(work)
        self._work.add(future)
        future.add_done_callback(self._work.discard)

    def _write(self, line: Json) -> None:
        try:
            self._wire.write(line)
        except BrokenPipeError:
            # agentry is gone, and with it everybody who waits for an answer.
            os._exit(0)

    def _cancel(self, id: int) -> None:
        for waiting in self._waiting.values():
            for line in waiting:
                if line["id"] == id:
                    waiting.remove(line)
                    self._write({"type": "error", "id": id, "message": "it was canceled"})
                    return
        desk = self._desks.get(id)
        if desk is not None:
            desk._canceled.set()
        # A thread cannot be interrupted. If it hangs, agentry sees no answer, and kills the program.
        running = self._running.get(id)
        if running is not None and id not in self._in_threads:
            running.cancel()

    # Events.

    async def _answer_all(self, name: str) -> None:
        """Answers an agent's events one after the other, until none waits."""
        waiting = self._waiting[name]
        while waiting:
            line = waiting.popleft()
            id = line["id"]
            work = self._running[id] = asyncio.ensure_future(self._answer(line))
            self._write(await self._until_canceled(id, work))
        del self._waiting[name]

    async def _until_canceled(self, id: int, work: asyncio.Future[Json]) -> Json:
        try:
            return await work
        except asyncio.CancelledError:
            return {"type": "error", "id": id, "message": "it was canceled"}
        finally:
            del self._running[id]
            self._in_threads.discard(id)

    async def _answer(self, line: Json) -> Json:
        id = line["id"]
        try:
            effects = await self._handle(id, line["event"], line["context"])
            # Values that are not valid JSON are found here, where the event is still known.
            json.dumps(effects, allow_nan=False)
            return {"type": "effects", "id": id, "effects": effects}
        except Reject as error:
            effects = Effects().reject(str(error)).to_list()
            return {"type": "effects", "id": id, "effects": effects}
        except Exception as error:
            return {"type": "error", "id": id, **failure_of(error)}

    async def _handle(self, id: int, event: Json, run: Json) -> List[Json]:
        """Runs the handler of an event. An event without one has no effects."""
        read, message = _read_event(event)
        handler, arguments = self._agent._select(read, message, event)
        if handler is None:
            return []
        context = Context(run, read, message, self._settings, self._lookups, self._endpoint)
        await self._call(id, handler, context, *arguments)
        return context.effects()

    async def _call(self, id: int, handler: Handler, *arguments: Any) -> Any:
        if handler.is_async:
            return await handler.call(*arguments)
        self._in_threads.add(id)
        call = partial(handler.call, *arguments)
        return await self._loop.run_in_executor(self._threads, call)

    # Tasks.

    def _execute(self, line: Json) -> None:
        id = line["id"]
        desk = self._desks[id] = Desk(self._wire, id, line["task"].get("answers", ()))
        work = self._running[id] = asyncio.ensure_future(self._output(line, desk))
        self._begin(self._finish(id, work))

    async def _finish(self, id: int, work: asyncio.Future[Json]) -> None:
        try:
            self._write(await self._until_canceled(id, work))
        finally:
            del self._desks[id]

    async def _output(self, line: Json, desk: Desk) -> Json:
        id = line["id"]
        try:
            task = known(Task, line["task"])
            handler = self._agent._executors.get(task.kind)
            if handler is None:
                raise TaskFailed("no-executor", f"this agent executes no tasks of type {task.kind}")
            output = await self._call(id, handler, task, desk)
            if not isinstance(output, Output):
                output = Output(output if isinstance(output, str) else json.dumps(output))
            answer = without_none(type="output", id=id, **vars(output))
            json.dumps(answer, allow_nan=False)
            return answer
        except Asked:
            # Ignored, but due: a program that answers nothing counts as hung.
            return {"id": id, "type": "error", "message": "it asked"}
        except Exception as error:
            code = error.code if isinstance(error, TaskFailed) else "failed"
            return {"id": id, "type": "error", "code": code, **failure_of(error)}


def _read_event(event: Json) -> Tuple[Any, Optional[Message]]:
    """The event, and the message that it is."""
    kind = event["kind"]
    if kind == "message":
        message = Message.read(event["message"])
        return message, message
    if kind == "timer":
        return known(Timer, event), None
    if kind == "start":
        return known(Start, event), None
    if kind == "tick":
        return known(Tick, event), None
    if kind == "delivery_update":
        return known(DeliveryUpdate, event), None
    if kind == "task":
        return read_report(event), None
    return None, None


def sent_of(event: Json) -> Sent:
    """The message that a delivery update is about."""
    return known(Sent, event["sent"])
