"""Messages as dataclasses."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Dict, List, Literal, Optional, Sequence, Union

import pytest

from agentry import Length, Mismatch, Range
from agentry.model import check, command_of, from_command, schema_of, to_command
from agentry.times import milliseconds


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Seat:
    row: int
    window: bool = False


@dataclass
class BookTable:
    name: Annotated[str, Length(1, 8)]
    guests: Annotated[int, Range(1, 20)]
    size: Size
    seats: Annotated[List[Seat], Length(most=2)]
    kind: Literal["in", "out"] = "in"
    note: Optional[str] = None
    tip: Union[int, str] = 0
    extra: Dict[str, float] = field(default_factory=dict)
    any: Any = None


@dataclass
class Named:
    cmd: ClassVar[str] = "other.name"


GOOD: Dict[str, Any] = {
    "name": "Ada",
    "guests": 2,
    "size": "large",
    "seats": [{"row": 1}, {"row": 2, "window": True}],
    "extra": {"a": 1},
}


def test_commands_are_named_after_their_classes() -> None:
    assert command_of(BookTable) == "BOOK_TABLE"
    assert command_of(type("HTTPGet2", (), {})) == "HTTP_GET2"
    assert command_of(Named) == "other.name"
    assert command_of(type("Sub", (Named,), {})) == "SUB"


def test_what_is_written_is_read_again() -> None:
    seats = [Seat(1), Seat(2, True)]
    book = BookTable("Ada", 2, Size.LARGE, seats, extra={"a": 1.0})
    written = to_command(book)
    assert written["cmd"] == "BOOK_TABLE" and written["size"] == "large"
    assert "note" not in written
    assert from_command(BookTable, written) == book
    assert from_command(BookTable, {**GOOD, "unknown": 1}) == book


def test_the_schema_says_what_is_read() -> None:
    schema = schema_of(BookTable)
    assert schema["required"] == ["name", "guests", "size", "seats"]
    seat = {
        "type": "object",
        "properties": {"row": {"type": "integer"}, "window": {"type": "boolean"}},
        "required": ["row"],
    }
    assert schema["properties"] == {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "guests": {"type": "integer", "minimum": 1, "maximum": 20},
        "size": {"enum": ["small", "large"]},
        "seats": {"type": "array", "items": seat, "maxItems": 2},
        "kind": {"enum": ["in", "out"]},
        "note": {"type": "string"},
        "tip": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "extra": {"type": "object", "additionalProperties": {"type": "number"}},
        "any": {},
    }
    assert schema_of(Named) == {"type": "object"}


@pytest.mark.parametrize(
    "change, told",
    [
        ({"name": None}, "`name` is missing"),
        ({"name": 1}, "`name` must be a text"),
        ({"name": ""}, "`name` must have 1 to 8 characters"),
        ({"guests": True}, "`guests` must be an integer"),
        ({"guests": 2.0}, "`guests` must be an integer"),
        ({"guests": 21}, "`guests` must be 1 to 20"),
        ({"size": "huge"}, "`size` must be one of 'small', 'large'"),
        ({"seats": {}}, "`seats` must be a list"),
        ({"seats": [{"row": 1}, {"row": "2"}]}, "`seats[1].row` must be an integer"),
        ({"seats": [{"row": 1}] * 3}, "`seats` must have 0 to 2 entries"),
        ({"kind": "up"}, "`kind` must be one of 'in', 'out'"),
        ({"tip": []}, "`tip` must be an integer; or `tip` must be a text"),
        ({"extra": {"secret": "x"}}, "`extra{}` must be a number"),
        ({"extra": {"x": float("inf")}}, "`extra{}` must be a number"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: Dict[str, Any], told: str) -> None:
    with pytest.raises(Mismatch) as refused:
        from_command(BookTable, {**GOOD, **change})
    assert str(refused.value) == told


def test_a_class_refuses_what_only_it_knows() -> None:
    @dataclass
    class Even:
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise ValueError("odd numbers are not served")

    with pytest.raises(Mismatch, match="^odd numbers are not served$"):
        from_command(Even, {"number": 3})


def test_classes_that_cannot_be_sent_are_refused_by_name() -> None:
    @dataclass
    class Cmd:
        msg: str

    @dataclass
    class Bad:
        when: "Sequence[timedelta]"

    @dataclass
    class Keys:
        table: "Dict[int, str]"

    with pytest.raises(TypeError, match="Cmd.msg: every command has a `msg`"):
        check(Cmd)
    with pytest.raises(TypeError, match="Bad.when: .*timedelta.* cannot be sent"):
        check(Bad)
    with pytest.raises(TypeError, match="Keys.table: the keys of a table are texts"):
        check(Keys)
    with pytest.raises(TypeError, match="write @dataclass above it"):
        check(int)


@dataclass
class Tree:
    left: Optional["Tree"] = None


def test_a_class_does_not_contain_itself() -> None:
    with pytest.raises(TypeError, match="Tree contains itself"):
        check(Tree)


def test_times_are_read_as_in_agents_toml() -> None:
    for text, found in (
        ("500ms", 500), ("1m", 60_000), ("1h 30m", 5_400_000), ("2d", 172_800_000), (1.5, 1500),
        (timedelta(minutes=1), 60_000),
    ):
        assert milliseconds(text) == found
    for wrong in ("", "1", "m", "1 minute!", "-1s", 0, "0s", -1):
        with pytest.raises(ValueError):
            milliseconds(wrong)
