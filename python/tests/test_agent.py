"""Agents as programs, one line after the other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agentry import Agent, Context
from program import PATIENCE, SOURCES, Program


def test_a_typed_command_is_answered_and_counted() -> None:
    with Program(
        """
        @dataclass
        class Greet:
            name: str

        @agent.on(Greet)
        async def greet(ctx: Context, message: Greet) -> None:
            ctx.state["seen"] = ctx.state.get("seen", 0) + 1
            await ctx.reply(f"Hello, {message.name}!")
        """
    ).ready() as program:
        effects = program.ask(command={"cmd": "GREET", "name": "Ada", "more": 1})
        assert effects == [
            {"do": "reply", "text": "Hello, Ada!"},
            {"do": "set_state", "key": "seen", "value": 1},
        ]
        # A stranger's mistake is told to them, and is no failure.
        effects = program.ask(command={"cmd": "GREET", "name": 7})
        assert effects == [{"do": "reject", "reason": "GREET: `name` must be a text"}]
        assert program.ask(command={"cmd": "OTHER"}) == []
        assert program.ask(text="hello") == []


def test_everything_that_can_be_asked_for_is_written() -> None:
    with Program(
        """
        @dataclass
        class Poem:
            about: str

        @agent.on_text
        async def all(ctx, text):
            ctx.reply(Poem("rain"), amount=3, thread="t", expires_in="1500ms", ack="done", within="2s",
                      resends=4, sealing="if_possible", label="l")
            ctx.send("ait1other", {"cmd": "X", "n": [1, None]}, re="0x11")
            ctx.schedule("ask:ada", "1m", Poem("sun"))
            ctx.unschedule("ask:bob")
            ctx.start_task("poem", {"a": 1}, deadline_in=60)
            ctx.start_task("poem", key="k")
            ctx.cancel_task("k")
            ctx.answer_task("k", 1, "English")
        """
    ).ready() as program:
        acknowledge = {"request": "done", "within_ms": 2000, "resends": 4}
        assert program.ask(text="x") == [
            {
                "do": "reply",
                "command": {"cmd": "POEM", "about": "rain"},
                "amount": 3,
                "sealing": "if_possible",
                "acknowledge": acknowledge,
                "expires_in_ms": 1500,
                "thread": "t",
                "label": "l",
            },
            {"do": "send", "to": "ait1other", "command": {"cmd": "X", "n": [1, None]}, "re": "0x11"},
            {"do": "schedule", "name": "ask:ada", "after_ms": 60000, "data": {"about": "sun"}},
            {"do": "unschedule", "name": "ask:bob"},
            {
                "do": "start_task",
                "key": "poem:d1",
                "kind": "poem",
                "input": {"a": 1},
                "deadline_ms": 1_795_000_060_000,
            },
            {"do": "start_task", "key": "k", "kind": "poem"},
            {"do": "cancel_task", "key": "k"},
            {"do": "answer_task", "key": "k", "number": 1, "answer": "English"},
        ]


def test_nothing_happens_if_the_handler_raises() -> None:
    with Program(
        """
        @agent.on_text
        def text(ctx, text):
            ctx.state["x"] = 1
            ctx.reply("yes")
            if text == "bug": 1 / 0
            if text == "reject": raise Reject("ask me nicely")
            if text == "permanent": raise Permanent("key s3cret", public="never")
            if text == "nan": ctx.state["x"] = float("nan")
        """
    ).ready() as program:
        failed = program.fail(text="bug")
        assert failed["message"] == "ZeroDivisionError: division by zero"
        assert failed["transient"] and "public" not in failed
        assert "1 / 0" in failed["trace"] or "line" in failed["trace"]
        assert program.ask(text="reject") == [{"do": "reject", "reason": "ask me nicely"}]
        failed = program.fail(text="permanent")
        assert (failed["transient"], failed["public"]) == (False, "never")
        assert program.fail(text="nan")["message"].startswith("ValueError")
        assert len(program.ask(text="fine")) == 2


def test_the_state_is_changed_in_place_and_only_differences_are_stored() -> None:
    with Program(
        """
        @agent.on_text
        async def text(ctx, text):
            state = ctx.state
            state["list"].append(4)
            state["same"] = {"b": 2, "a": 1}
            del state["old"]
            state["brief"] = 1
            del state["brief"]
            state["made"] = Length(1, 2)
            assert "list" in state and len(state) == 3, dict(state)
            assert state.get("absent") is None and state.setdefault("same", 9)["a"] == 1
        """
    ).ready() as program:
        state = {"list": [1], "same": {"a": 1, "b": 2}, "old": 0}
        assert program.ask(state=state, text="x") == [
            {"do": "set_state", "key": "list", "value": [1, 4]},
            {"do": "clear_state", "key": "old"},
            {"do": "set_state", "key": "made", "value": {"least": 1, "most": 2}},
        ]


GATE = """
    @agent.on_text
    async def text(ctx, text):
        if text == "wait":
            await ctx.resolve("gate")
        await ctx.reply(text)
"""


def test_agents_run_at_the_same_time_and_each_in_order() -> None:
    with Program(GATE).ready() as program:
        first = program.message("one", text="wait")
        asked = program.hear()
        assert (asked["type"], asked["name"]) == ("resolve", "gate")
        second = program.message("one", text="second")
        other = program.message("two", text="other")
        # The other agent does not wait, and the second event of the first one does.
        assert program.hear()["id"] == other
        program.say(type="resolved", id=asked["id"], address="ait1gate")
        assert [program.hear()["id"], program.hear()["id"]] == [first, second]


def test_functions_in_threads_run_at_the_same_time_and_can_look_up() -> None:
    with Program(
        """
        @agent.on_text
        def text(ctx, text):
            cards = ctx.find(capabilities=["painting"], commands=["PAINT"], limit=3).wait()
            ctx.reply(f"{text}: {cards[0].name} {cards[0].schemas}")
        """
    ).ready() as program:
        events = [program.message(name, text=name) for name in ("one", "two")]
        asked = [program.hear(), program.hear()]
        query = {"capabilities": ["painting"], "commands": ["PAINT"], "limit": 3}
        assert all(ask["query"] == query for ask in asked)
        card = {
            "address": "a", "name": "Pia", "capabilities": [], "commands": [], "sealable": True,
            "expires_ms": 1, "height": 1, "schemas": {"PAINT": {}}, "later": 1,
        }
        for ask in reversed(asked):
            program.say(type="found", id=ask["id"], cards=[card])
        answers = sorted((program.hear() for _ in events), key=lambda answer: int(answer["id"]))
        texts = [answer["effects"][0]["text"] for answer in answers]
        assert texts == ["one: Pia {'PAINT': {}}", "two: Pia {'PAINT': {}}"]


def test_waiting_in_an_async_handler_is_refused() -> None:
    with Program(
        """
        @agent.on_text
        async def text(ctx, text):
            ctx.resolve("gate").wait()
        """
    ).ready() as program:
        assert "write `await`" in program.fail(text="x")["message"]


def test_a_canceled_event_ends_and_the_next_one_runs() -> None:
    with Program(GATE).ready() as program:
        first = program.message(text="wait")
        program.hear()
        waiting = program.message(text="never")
        third = program.message(text="third")
        program.say(type="cancel", id=waiting)
        assert program.hear() == {"type": "error", "id": waiting, "message": "it was canceled"}
        program.say(type="cancel", id=first)
        assert program.hear() == {"type": "error", "id": first, "message": "it was canceled"}
        assert program.hear()["id"] == third


def test_what_is_running_ends_before_the_program_does() -> None:
    with Program(
        """
        @agent.on_text
        def text(ctx, text):
            time.sleep(0.2)
            ctx.reply(text)
        """
    ).ready() as program:
        program.message(text="last")
        assert program.end() == ""
        assert program.hear()["effects"][0]["text"] == "last"
        assert program.process.returncode == 0


def test_lookups_fail_when_the_input_ends() -> None:
    with Program(GATE).ready() as program:
        program.message(text="wait")
        program.hear()
        program.end()
        assert program.hear()["message"] == "Transient: agentry closed the standard input"


def test_times_starts_timers_and_deliveries_reach_their_functions() -> None:
    with Program(
        """
        @agent.every("1m")
        async def poll(ctx): ctx.send("a", f"poll {ctx.event.missed}")
        @agent.cron("0 9 * * MON", zone="Europe/Berlin", missed="all", name="report")
        def monday(ctx): ctx.send("a", "report")
        @agent.on_start
        async def start(ctx): ctx.send("a", "start")
        @agent.on_start(once=True)
        def first(ctx): ctx.send("a", "first")
        @agent.on_timer("ask")
        async def ask(ctx, timer): ctx.send("a", f"{timer.name} {timer.data}")
        @agent.on_timer("ask:ada")
        async def ask_ada(ctx, timer): ctx.send("a", "ada")
        @agent.on_delivery("ask")
        async def update(ctx, sent, update): ctx.send("a", f"{sent.label} {update.update}")
        @agent.on_task("poem")
        async def news(ctx, report): ctx.reply(f"{report.news} {report.output.text}")
        """
    ).ready() as program:
        task = {"key": "k", "kind": "poem", "input": 1, "agent": "a", "attempt": 1, "idempotency_key": "i"}
        sent = {"label": "ask:ada", "to": "x"}
        for event, told in (
            ({"kind": "tick", "name": "poll", "at_ms": 1, "missed": 2}, ["poll 2"]),
            ({"kind": "tick", "name": "report", "at_ms": 1, "missed": 0}, ["report"]),
            ({"kind": "tick", "name": "gone", "at_ms": 1, "missed": 0}, []),
            ({"kind": "start", "first": True}, ["start", "first"]),
            ({"kind": "start", "first": False}, ["start"]),
            ({"kind": "timer", "name": "ask:bob", "data": [1], "due_ms": 1}, ["ask:bob [1]"]),
            ({"kind": "timer", "name": "ask:ada", "data": None, "due_ms": 1}, ["ada"]),
            ({"kind": "timer", "name": "asked", "data": None, "due_ms": 1}, []),
            ({"kind": "delivery_update", "sent": sent, "update": "mined", "height": 1}, ["ask:ada mined"]),
            ({"kind": "task", "task": task, "news": "completed", "output": {"text": "o"}}, ["completed o"]),
            ({"kind": "something_new"}, []),
        ):
            program.event(event)
            assert [effect["text"] for effect in program.hear()["effects"]] == told, event


def test_answers_go_to_those_who_wait_for_them() -> None:
    with Program(
        """
        @dataclass
        class Free:
            seats: int

        @agent.on_answer(Free, label="table")
        async def free(ctx, message): ctx.send("a", f"free {message.seats}")
        @agent.on_answer(label="table")
        async def other(ctx, message): ctx.send("a", f"other {message.text}")
        @agent.on(Free)
        async def asked(ctx, message): ctx.send("a", "asked")
        """
    ).ready() as program:
        answers = {"transaction": "0x1", "behaviour": "process", "label": "table:7"}
        free = {"cmd": "FREE", "seats": 2}
        assert program.ask(command=free, answers=answers)[0]["text"] == "free 2"
        assert program.ask(text="no", answers=answers)[0]["text"] == "other no"
        assert program.ask(command=free)[0]["text"] == "asked"
        assert program.ask(text="no", answers={**answers, "label": "tables"}) == []
        assert program.ask(text="no", answers={"transaction": "0x1"}) == []


def test_tasks_report_ask_fail_and_are_canceled() -> None:
    with Program(
        """
        @agent.task("poem")
        async def poem(task, desk):
            desk.progress(0.5, "half")
            desk.used(3, 4)
            if task.input == "ask": return desk.ask("Which?", schema={"type": "string"})
            if task.input == "wait": await asyncio.sleep(1000)
            if task.input == "fail": raise TaskFailed("no-rhyme", "nothing rhymes")
            return {"about": task.input}

        @agent.task("slow")
        def slow(task, desk):
            desk.progress(0)
            while not desk.canceled: time.sleep(0.01)
            return "ended"
        """
    ).ready() as program:
        def execute(id: int, input: str, kind: str = "poem", **more: object) -> None:
            task = {"key": "k", "kind": kind, "input": input, "agent": "a", "attempt": 1}
            program.say(type="execute", id=id, task={**task, "idempotency_key": "i", **more})

        execute(1, "rain")
        assert program.hear() == {"type": "progress", "id": 1, "progress": 0.5, "note": "half"}
        assert program.hear() == {"type": "tokens", "id": 1, "input": 3, "output": 4}
        assert program.hear() == {"type": "output", "id": 1, "text": '{"about": "rain"}'}
        execute(2, "ask")
        program.hear(), program.hear()
        assert program.hear()["question"] == "Which?"
        assert program.hear()["type"] == "error"
        execute(3, "ask", answers=["this"])
        program.hear(), program.hear()
        assert program.hear()["text"] == "this"
        execute(4, "fail")
        program.hear(), program.hear()
        failed = program.hear()
        assert (failed["code"], failed["public"], failed["transient"]) == ("no-rhyme", "nothing rhymes", False)
        execute(5, "wait")
        program.hear(), program.hear()
        program.say(type="cancel", id=5)
        assert program.hear() == {"type": "error", "id": 5, "message": "it was canceled"}
        execute(6, "", kind="slow")
        program.hear()
        program.say(type="cancel", id=6)
        assert program.hear() == {"type": "output", "id": 6, "text": "ended"}
        execute(7, "", kind="other")
        assert program.hear()["code"] == "no-executor"


def test_prints_go_to_the_log_and_settings_are_checked() -> None:
    text = """
        @dataclass
        class Settings:
            greeting: str = "Hello"

        agent = Agent("tested", settings=Settings)

        @agent.on_text
        async def text(ctx, text):
            print("printed")
            ctx.log("said", level="warn")
            await ctx.reply(ctx.settings.greeting)
    """
    with Program(text, {"greeting": "Moin"}).ready() as program:
        program.message(text="x")
        assert program.hear() == {"type": "log", "level": "warn", "message": "tested: said"}
        assert program.hear()["effects"][0]["text"] == "Moin"
        assert "printed" in program.end()
    for settings, told in (
        ({"greting": "Moin"}, "unknown key `greting`; the keys are greeting, llm"),
        ({"greeting": 1}, "`greeting` must be a text"),
        ({"llm": {"url": "x"}}, "needs a `url` and a `model`"),
    ):
        with Program(text, settings) as program:
            program.process.wait(PATIENCE)
            assert program.process.returncode == 1
            assert told in program.end()


def test_an_agent_declares_itself() -> None:
    agent = Agent("tested", capabilities=["b", "a"])
    assert agent.declaration() == {
        "protocol": 1, "commands": {}, "texts": False, "answers": False, "starts": "never",
        "schedules": [], "capabilities": ["a", "b"], "tasks": {},
    }

    @agent.on("RAW")
    async def raw(ctx: Context, message: object) -> None: ...

    @agent.on_start(once=True)
    async def start(ctx: Context) -> None: ...

    @agent.every("90s", missed="skip")
    async def poll(ctx: Context) -> None: ...

    @agent.cron("@daily")
    async def report(ctx: Context) -> None: ...

    @agent.task("poem", time="2m", attempts=2, progress_every="5s")
    async def poem(task: object, desk: object) -> str:
        return ""

    declared = agent.declaration()
    assert declared["commands"] == {"RAW": {}} and declared["starts"] == "once"
    assert declared["schedules"] == [
        {"name": "poll", "when": {"every_ms": 90000}, "missed": "skip"},
        {"name": "report", "when": {"cron": {"expression": "@daily"}}, "missed": "once"},
    ]
    limits = {"concurrency": 1, "time_ms": 120000, "attempts": 2, "progress_every_ms": 5000}
    assert declared["tasks"] == {"poem": limits}
    agent.on_start(start)
    assert agent.declaration()["starts"] == "always"


def test_mistakes_are_found_when_the_program_starts() -> None:
    agent = Agent("tested")
    agent.on("A")(print)
    with pytest.raises(ValueError, match="there is a command 'A' already"):
        agent.on("A")
    with pytest.raises(ValueError, match="shortest period is 1s"):
        agent.every("10ms")
    with pytest.raises(ValueError, match="is no length of time"):
        agent.every("often")
    with pytest.raises(ValueError, match="missed is"):
        agent.every("1m", missed="never")
    with pytest.raises(TypeError, match="neither a dataclass nor"):
        agent.on(int)
    with pytest.raises(ValueError, match="1 to 64 characters"):
        agent.task("")


def test_another_protocol_is_refused() -> None:
    program = subprocess.run(
        [sys.executable, "-c", "from agentry import Agent; Agent('a').run()"],
        input=b'{"type":"hello","protocol":2}\n',
        capture_output=True,
        timeout=PATIENCE,
        env={"PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert program.returncode == 1 and b"version 1 of the protocol" in program.stderr
