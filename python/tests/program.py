"""A program under test, with this test in agentry's place."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from queue import Queue
from typing import Any, Dict, List, Optional

SOURCES = Path(__file__).parent.parent / "src"
PATIENCE = 60
Json = Dict[str, Any]

HEAD = """
from __future__ import annotations
import asyncio, os, time
from dataclasses import dataclass
from agentry import *
agent = Agent("tested")
"""


class Program:
    """A running program. Its lines are read as they come."""

    def __init__(self, text: str, settings: Optional[Json] = None, **env: str) -> None:
        whole = HEAD + textwrap.dedent(text) + "\nagent.run()\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", whole],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1", **env},
        )
        self._lines: "Queue[Optional[Json]]" = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.last = 0
        self.say(type="hello", protocol=1, agentry="0.1.0", settings=settings or {})

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def say(self, **line: Any) -> None:
        """Writes a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Json:
        """Its next line."""
        line = self._lines.get(timeout=PATIENCE)
        assert line is not None, self.end()
        return line

    def ready(self) -> Program:
        """Waits until it is ready."""
        assert self.hear()["type"] == "ready"
        return self

    def event(
        self, event: Json, agent: str = "tested", state: Optional[Json] = None
    ) -> int:
        """Writes an event; its id."""
        self.last += 1
        context = {
            "agent": agent,
            "address": f"ait1{agent}",
            "behaviour": "process",
            "attempt": 1,
            "now_ms": 1_795_000_000_000,
            "state": state or {},
        }
        self.say(type="event", id=self.last, event=event, context=context)
        return self.last

    def message(self, agent: str = "tested", state: Optional[Json] = None, **content: Any) -> int:
        """Writes an event with a message; its id."""
        return self.event({"kind": "message", "message": message(**content)}, agent, state)

    def ask(self, state: Optional[Json] = None, **content: Any) -> List[Json]:
        """The effects of a message."""
        id = self.message(state=state, **content)
        answer = self.hear()
        assert (answer["type"], answer["id"]) == ("effects", id), answer
        effects: List[Json] = answer["effects"]
        return effects

    def fail(self, **content: Any) -> Json:
        """The error of a message."""
        id = self.message(**content)
        answer = self.hear()
        assert (answer["type"], answer["id"]) == ("error", id), answer
        return answer

    def end(self) -> str:
        """Closes its input, waits for its end, and returns its standard error."""
        assert self.process.stdin is not None and self.process.stderr is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        return self.process.stderr.read().decode()


def message(**content: Any) -> Json:
    """A message with this content."""
    return {
        "transaction": "0x00",
        "digest": "d1",
        "from": "ait1sender",
        "to": "ait1tested",
        "amount": 0,
        "height": 7,
        "authenticity": "verified",
        "sealed": False,
        **content,
    }
