"""Lines in and out of the program."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from typing import BinaryIO, Deque, Optional, cast

from .lines import PROTOCOL, Json, Transient


class Wire:
    """Lines in and out. Writing is safe from any thread; only one thread may read."""

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
        return cast(Json, json.loads(line)) if line else None


_current: Optional[Wire] = None


def open_wire() -> Wire:
    """The lines of this process. Standard output is reserved for them from here on, so what a library
    prints goes to agentry's log."""
    global _current
    _current = Wire(sys.stdin.buffer, sys.stdout.buffer)
    sys.stdout = sys.stderr
    return _current


def greet(wire: Wire) -> Optional[Json]:
    """Reads agentry's first line; none if there is no line."""
    hello = wire.next()
    if hello is not None and (hello.get("type"), hello.get("protocol")) != ("hello", PROTOCOL):
        sys.exit(f"this program needs version {PROTOCOL} of the protocol, but received {hello}")
    return hello


def log(message: str, level: str = "info") -> None:
    """Writes to agentry's log with the level `error`, `warn`, `info` or `debug`."""
    if _current is None:
        print(f"{level}: {message}", file=sys.stderr)
    else:
        _current.write({"type": "log", "level": level, "message": message})
