"""One question to a model behind an OpenAI-compatible endpoint, with the standard library alone."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Union

from .lines import Json, Permanent, Transient

_LONGEST = 4 << 20
"""The longest answer that is read, in bytes."""

_EXCERPT = 300
"""How much of a refusal is told to the operator, in characters."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model is. The key appears in no text about it."""

    url: str
    model: str
    key: Optional[str] = field(default=None, repr=False)


@dataclass(frozen=True)
class Completion:
    """What a model has answered. `input_tokens` and `output_tokens` are none if it does not say."""

    text: str
    finish_reason: Optional[str]
    input_tokens: Optional[int]
    output_tokens: Optional[int]
    #: The whole message, for example with tool calls.
    message: Json


def endpoint_of(settings: Any, environment: Mapping[str, str]) -> Optional[Endpoint]:
    """The endpoint that the settings name, or else the environment; none if there is none.

    Raises `ValueError`, which says what is wrong.
    """
    if settings is None:
        url, model = environment.get("AGENTRY_LLM_URL"), environment.get("AGENTRY_LLM_MODEL")
        key = environment.get("AGENTRY_LLM_KEY") or None
        if url is None and model is None:
            return None
        if not url or not model:
            raise ValueError("set both AGENTRY_LLM_URL and AGENTRY_LLM_MODEL")
        return Endpoint(_checked(url), model, key)
    if not isinstance(settings, dict) or settings.keys() - {"url", "model", "key_file"}:
        raise ValueError("`llm` in settings is a table with `url`, `model` and perhaps `key_file`")
    wanted = settings.get("url"), settings.get("model"), settings.get("key_file", "")
    if not all(isinstance(one, str) for one in wanted) or not wanted[0] or not wanted[1]:
        raise ValueError("`llm` in settings needs a `url` and a `model`, which are texts")
    key = None
    if wanted[2]:
        try:
            key = Path(wanted[2]).read_text("ascii").strip() or None
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not ASCII"
            raise ValueError(f"`llm.key_file` {wanted[2]} cannot be read: {reason}") from None
    return Endpoint(_checked(wanted[0]), wanted[1], key)


def of_process(settings: Any) -> Optional[Endpoint]:
    """The endpoint of this process."""
    return endpoint_of(settings, os.environ)


def _checked(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("the url of `llm` must be http or https, with a host and without a user name")
    return url.rstrip("/")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def complete(
    endpoint: Optional[Endpoint],
    prompt: Union[str, Sequence[Json]],
    system: Optional[str],
    max_tokens: int,
    timeout: float,
    parameters: Json,
) -> Completion:
    """Asks the model. Blocks.

    Raises `Transient` if the service may answer later, and `Permanent` if it refuses.
    """
    if endpoint is None:
        raise Permanent(
            "no model is configured: set `settings = { llm = { url = …, model = … } }` of the behaviour"
        )
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body = {"model": endpoint.model, "messages": messages, "max_tokens": max_tokens, **parameters}
    request = urllib.request.Request(
        f"{endpoint.url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    if endpoint.key is not None:
        # Unredirected: never sent elsewhere.
        request.add_unredirected_header("Authorization", f"Bearer {endpoint.key}")
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=timeout) as response:
            read = response.read(_LONGEST + 1)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(endpoint, error) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise Transient(f"the model at {endpoint.url} cannot be asked: {reason}") from None
    if len(read) > _LONGEST:
        raise Permanent(f"the model at {endpoint.url} answered more than {_LONGEST} bytes")
    return _completion(endpoint, read)


def _refusal(endpoint: Endpoint, error: urllib.error.HTTPError) -> Exception:
    """What a status means. A 401 may repeat a part of the key, so its text is left out."""
    told = f"the model at {endpoint.url} answered with status {error.code}"
    if error.code in (408, 409, 425, 429) or error.code >= 500:
        return Transient(told)
    if error.code in (400, 404, 413, 422):
        text = error.read(4 * _EXCERPT).decode("utf-8", "replace")[:_EXCERPT]
        if endpoint.key is not None:
            text = text.replace(endpoint.key, "***")
        told = f"{told}: {text}"
    return Permanent(told)


def _completion(endpoint: Endpoint, read: bytes) -> Completion:
    try:
        answer = json.loads(read)
        choice = answer["choices"][0]
        message, usage = choice["message"], answer.get("usage") or {}
        return Completion(
            text=message.get("content") or "",
            finish_reason=choice.get("finish_reason"),
            input_tokens=usage.get("prompt_tokens"),
            output_tokens=usage.get("completion_tokens"),
            message=message,
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Permanent(f"the model at {endpoint.url} answered something else than a chat") from None
