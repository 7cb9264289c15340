"""Questions to a model, with a service of the test's own."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from agentry import Permanent, Transient
from agentry.llm import Endpoint, complete, endpoint_of
from program import Program

KEY = "sk-s3cret"


class Service(ThreadingHTTPServer):
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: List[Tuple[str, Dict[str, str], Any]] = []
        self.answer: Tuple[int, Dict[str, str], bytes] = (200, {}, b"")
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        status, headers, text = self.server.answer
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    yield service
    service.shutdown()
    service.server_close()
    thread.join()


def said(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    choices = [{"message": message, "finish_reason": "stop"}]
    return json.dumps({"choices": choices, "usage": usage}).encode()


def test_a_handler_asks_a_model_without_telling_the_key(service: Service, tmp_path: Path) -> None:
    service.answer = (200, {}, said("It rains."))
    (tmp_path / "key").write_text(KEY + "\n")
    text = """
        @agent.on_text
        async def text(ctx, text):
            told = await ctx.llm(text, system="Be brief.", temperature=0)
            await ctx.reply(f"{told.text} {told.output_tokens}")
    """
    llm = {"url": service.url, "model": "small", "key_file": str(tmp_path / "key")}
    with Program(text, {"llm": llm}).ready() as program:
        assert program.ask(text="Weather?")[0]["text"] == "It rains. 7"
        service.answer = (500, {}, b"oops " + KEY.encode())
        failed = program.fail(text="Weather?")
        assert failed["transient"] and "status 500" in failed["message"]
        assert KEY not in json.dumps(failed) + program.end()
    path, headers, body = service.asked[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
        ],
        "max_tokens": 1024,
        "temperature": 0,
    }


def test_failures_are_of_the_right_kind_and_hold_no_key(service: Service) -> None:
    endpoint = Endpoint(service.url, "small", KEY)
    assert KEY not in repr(endpoint)
    for status, text, kind, told in (
        (429, b"slow down", Transient, "status 429"),
        (503, b"", Transient, "status 503"),
        (401, b"Incorrect API key provided: sk-s3", Permanent, "status 401"),
        (400, b"no model small with " + KEY.encode(), Permanent, "no model small with ***"),
        (302, b"", Permanent, "status 302"),
        (200, b"<html>", Permanent, "something else than a chat"),
        (200, b"[]", Permanent, "something else than a chat"),
        (200, b" " * ((4 << 20) + 1), Permanent, "more than"),
    ):
        service.answer = (status, {"location": f"{service.url}/elsewhere"}, text)
        with pytest.raises(kind) as failed:
            complete(endpoint, "x", None, 10, 5, {})
        assert told in str(failed.value) and "sk-s3" not in str(failed.value)
    # A redirect is not followed: it would take the key along.
    assert {path for path, _, _ in service.asked} == {"/v1/chat/completions"}
    with pytest.raises(Transient, match="cannot be asked"):
        complete(Endpoint("http://127.0.0.1:1", "small"), "x", None, 10, 5, {})
    with pytest.raises(Permanent, match="no model is configured"):
        complete(None, "x", None, 10, 5, {})


def test_the_endpoint_is_in_the_settings_or_the_environment(tmp_path: Path) -> None:
    assert endpoint_of(None, {}) is None
    environment = {
        "AGENTRY_LLM_URL": "http://h/v1/", "AGENTRY_LLM_MODEL": "m", "AGENTRY_LLM_KEY": "k",
    }
    assert endpoint_of(None, environment) == Endpoint("http://h/v1", "m", "k")
    given = {"url": "https://h", "model": "m"}
    assert endpoint_of(given, environment) == Endpoint("https://h", "m")
    for wrong in (
        "http://h", {"url": "http://h"}, {**given, "key": "k"}, {**given, "url": "ftp://h"},
        {**given, "url": "http://u:p@h"}, {**given, "key_file": str(tmp_path / "none")},
    ):
        with pytest.raises(ValueError):
            endpoint_of(wrong, {})
    with pytest.raises(ValueError, match="set both"):
        endpoint_of(None, {"AGENTRY_LLM_URL": "http://h"})
