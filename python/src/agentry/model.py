"""Messages as dataclasses: their commands, their JSON Schema, and reading them from strangers.

A field has one of these types: `str`, `int`, `float`, `bool`, an `Enum` of texts or integers,
`Literal`, another dataclass, `Any` (any JSON), and of these `Optional`, `Union`, `list`, `Sequence`
and `dict` with text keys. `Annotated` with `Length` or `Range` bounds a field.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import math
import re
import sys
import typing
import weakref
from dataclasses import dataclass
from typing import Any, Dict, List, Literal, Optional, Tuple, Type, TypeVar, Union

from .lines import Json

M = TypeVar("M")

DEEPEST = 64
"""How deeply what is written may be nested: as deeply as agentry shows commands."""

_TAKEN = ("cmd", "msg")
"""Names of parameters that every command has for itself."""

_NONE = type(None)
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable)
_TABLES = (dict, collections.abc.Mapping)
_WORDS = {str: "a text", int: "an integer", float: "a number", bool: "true or false"}
_SCHEMAS = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True)
class Length:
    """The least and the greatest length of a text, in characters, or of a list."""

    least: int = 0
    most: Optional[int] = None


@dataclass(frozen=True)
class Range:
    """The least and the greatest value of a number."""

    least: Optional[float] = None
    most: Optional[float] = None


class Mismatch(ValueError):
    """What was received is not of the type that was expected. The text names the place and what is
    expected there, and nothing of what was received."""


def is_model(cls: Any) -> bool:
    """Whether it is a class of messages."""
    return isinstance(cls, type) and dataclasses.is_dataclass(cls)


def command_of(cls: type) -> str:
    """The command of a class of messages: its attribute `cmd`, or its name in capital letters, such
    as `BOOK_TABLE` for `BookTable`."""
    given = cls.__dict__.get("cmd")
    if given is not None:
        if not isinstance(given, str) or not re.fullmatch(r"[\w.:-]{1,64}", given, re.ASCII):
            raise TypeError(f"{cls.__name__}.cmd must be 1 to 64 of A-Z a-z 0-9 _ . : -")
        return given
    parts = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", cls.__name__)
    return parts.upper()


def to_command(message: Any) -> Json:
    """A message as a command."""
    cls = type(message)
    if cls not in _HINTS:
        check(cls)
    return {"cmd": command_of(cls), **_fields_to_json(message)}


def to_json(value: Any) -> Any:
    """A value as JSON: dataclasses become tables, enums their values."""
    if is_model(type(value)):
        return _fields_to_json(value)
    if isinstance(value, enum.Enum):
        return to_json(value.value)
    if isinstance(value, collections.abc.Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def _fields_to_json(message: Any) -> Json:
    # What is absent is left out, as everywhere in the protocol.
    values = {one.name: getattr(message, one.name) for one in dataclasses.fields(message)}
    return {name: to_json(value) for name, value in values.items() if value is not None}


def from_command(cls: Type[M], command: Json) -> M:
    """The message that a command holds. Parameters that the class does not have are ignored.

    Raises `Mismatch` if a parameter is missing, of another type, or out of its bounds.
    """
    return _read_model(cls, command, "", 0)


def check(cls: type) -> None:
    """Checks that a class can be used for messages.

    Raises `TypeError`, which names the field and what it may be.
    """
    if not is_model(cls):
        raise TypeError(f"{cls!r} is not a dataclass; write @dataclass above it")
    taken = [one.name for one in dataclasses.fields(cls) if one.name in _TAKEN]
    if taken:
        raise TypeError(f"{cls.__name__}.{taken[0]}: every command has a `{taken[0]}` already")
    command_of(cls)
    schema_of(cls)


def schema_of(cls: type) -> Json:
    """The JSON Schema (draft 2020-12) of the parameters of a message."""
    return _model_schema(cls, ())


#: The types of fields, by class: reading them takes long.
_HINTS: "weakref.WeakKeyDictionary[type, Dict[str, Any]]" = weakref.WeakKeyDictionary()


def _hints(cls: type) -> Dict[str, Any]:
    found = _HINTS.get(cls)
    if found is None:
        try:
            found = _HINTS[cls] = typing.get_type_hints(cls, include_extras=True)
        except NameError as error:
            raise TypeError(f"{cls.__name__}: {error}; define it at the top of the module") from None
    return found


def _is_required(one: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return one.default is missing and one.default_factory is missing


def _split(hint: Any) -> Tuple[Any, List[Any]]:
    """A type, and the bounds that `Annotated` gives it."""
    if hasattr(hint, "__metadata__"):
        return hint.__origin__, list(hint.__metadata__)
    return hint, []


def _choices(hint: Any) -> Optional[Tuple[Any, ...]]:
    """The types of a union."""
    origin = typing.get_origin(hint)
    is_union = origin is Union
    if sys.version_info >= (3, 10):
        import types

        is_union = is_union or origin is types.UnionType
    return typing.get_args(hint) if is_union else None


# Schemas.


def _model_schema(cls: type, above: Tuple[type, ...]) -> Json:
    if cls in above:
        raise TypeError(f"{cls.__name__} contains itself, which messages cannot")
    hints = _hints(cls)
    properties, required = {}, []
    for one in dataclasses.fields(cls):
        where = f"{cls.__name__}.{one.name}"
        properties[one.name] = _schema(hints[one.name], where, (*above, cls))
        if _is_required(one):
            required.append(one.name)
    schema: Json = {"type": "object"}
    if properties:
        schema["properties"] = properties
    if required:
        schema["required"] = required
    return schema


def _schema(hint: Any, where: str, above: Tuple[type, ...]) -> Json:
    hint, bounds = _split(hint)
    schema = _bare_schema(hint, where, above)
    for bound in bounds:
        schema.update(_bound_schema(bound, schema))
    return schema


def _bare_schema(hint: Any, where: str, above: Tuple[type, ...]) -> Json:
    if hint is Any:
        return {}
    if hint in _SCHEMAS:
        return {"type": _SCHEMAS[hint]}
    if hint is _NONE or hint is None:
        return {"type": "null"}
    choices = _choices(hint)
    if choices is not None:
        # What is absent is left out, so `None` needs no schema.
        left = [choice for choice in choices if choice is not _NONE]
        schemas = [_schema(choice, where, above) for choice in left]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in _LISTS or hint is list:
        return {"type": "array", "items": _schema(args[0], where, above)} if args else {"type": "array"}
    if origin in _TABLES or hint is dict:
        if args and args[0] is not str:
            raise TypeError(f"{where}: the keys of a table are texts")
        schema: Json = {"type": "object"}
        if args:
            schema["additionalProperties"] = _schema(args[1], where, above)
        return schema
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [to_json(member) for member in hint]}
    if is_model(hint):
        return _model_schema(hint, above)
    raise TypeError(
        f"{where}: {hint!r} cannot be sent; use str, int, float, bool, an Enum, Literal, a dataclass, "
        "or Optional, Union, list and dict of them"
    )


def _bound_schema(bound: Any, schema: Json) -> Json:
    if isinstance(bound, Length):
        unit = "Items" if schema.get("type") == "array" else "Length"
        found: Json = {f"min{unit}": bound.least} if bound.least else {}
        return found if bound.most is None else {**found, f"max{unit}": bound.most}
    if isinstance(bound, Range):
        ends = {"minimum": bound.least, "maximum": bound.most}
        return {name: end for name, end in ends.items() if end is not None}
    return {}


# Reading.


def _read_model(cls: Type[M], value: Any, where: str, depth: int) -> M:
    if not isinstance(value, dict):
        raise Mismatch(f"{_named(where)} must be a table")
    if depth > DEEPEST:
        raise Mismatch(f"{_named(where)} is nested more than {DEEPEST} levels deep")
    hints, found = _hints(cls), {}
    for one in dataclasses.fields(cls):  # type: ignore[arg-type]
        inside = f"{where}.{one.name}" if where else one.name
        if value.get(one.name) is not None:
            found[one.name] = _read(hints[one.name], value[one.name], inside, depth + 1)
        elif _is_required(one):
            choices = _choices(_split(hints[one.name])[0]) or ()
            if _NONE not in choices and hints[one.name] is not Any:
                raise Mismatch(f"{_named(inside)} is missing")
            found[one.name] = None
    try:
        return cls(**found)
    except Mismatch:
        raise
    except (TypeError, ValueError) as error:
        # Its `__post_init__` refuses it. The text is its author's.
        raise Mismatch(f"{_named(where)}: {error}" if where else str(error)) from error


def _read(hint: Any, value: Any, where: str, depth: int) -> Any:
    hint, bounds = _split(hint)
    read = _read_bare(hint, value, where, depth)
    for bound in bounds:
        _check_bound(bound, read, where)
    return read


def _read_bare(hint: Any, value: Any, where: str, depth: int) -> Any:
    if hint is Any:
        return value
    if hint in _WORDS:
        return _read_scalar(hint, value, where)
    choices = _choices(hint)
    if choices is not None:
        return _read_choice(choices, value, where, depth)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        # `True == 1`, but they are not the same.
        if not any(value == one and type(value) is type(one) for one in args):
            raise Mismatch(f"{_named(where)} must be one of {', '.join(map(repr, args))}")
        return value
    if origin in _LISTS or hint is list:
        if not isinstance(value, list):
            raise Mismatch(f"{_named(where)} must be a list")
        item = args[0] if args else Any
        return [_read(item, one, f"{where}[{at}]", depth + 1) for at, one in enumerate(value)]
    if origin in _TABLES or hint is dict:
        if not isinstance(value, dict):
            raise Mismatch(f"{_named(where)} must be a table")
        item = args[1] if args else Any
        return {key: _read(item, one, f"{where}{{}}", depth + 1) for key, one in value.items()}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        for member in hint:
            if type(member.value) is type(value) and member.value == value:
                return member
        allowed = ", ".join(repr(member.value) for member in hint)
        raise Mismatch(f"{_named(where)} must be one of {allowed}")
    return _read_model(hint, value, where, depth)


def _read_scalar(hint: type, value: Any, where: str) -> Any:
    # `bool` is a kind of `int` in Python, and is none in JSON.
    if hint is float and type(value) in (int, float):
        number = float(value)
        if math.isfinite(number):
            return number
    elif type(value) is hint:
        return value
    raise Mismatch(f"{_named(where)} must be {_WORDS[hint]}")


def _read_choice(choices: Tuple[Any, ...], value: Any, where: str, depth: int) -> Any:
    reasons = []
    for choice in choices:
        if choice is _NONE:
            if value is None:
                return None
            continue
        try:
            return _read(choice, value, where, depth)
        except Mismatch as error:
            reasons.append(str(error))
    raise Mismatch("; or ".join(reasons) or f"{_named(where)} must be absent")


def _check_bound(bound: Any, value: Any, where: str) -> None:
    if isinstance(bound, Length):
        found, unit = len(value), "entries" if isinstance(value, list) else "characters"
        if found < bound.least or (bound.most is not None and found > bound.most):
            raise Mismatch(f"{_named(where)} must have {_ends(bound.least, bound.most)} {unit}")
    elif isinstance(bound, Range):
        too_low = bound.least is not None and value < bound.least
        if too_low or (bound.most is not None and value > bound.most):
            raise Mismatch(f"{_named(where)} must be {_ends(bound.least, bound.most)}")


def _ends(least: Optional[float], most: Optional[float]) -> str:
    if most is None:
        return f"at least {least}"
    return f"at most {most}" if least is None else f"{least} to {most}"


def _named(where: str) -> str:
    return f"`{where}`" if where else "the message"
