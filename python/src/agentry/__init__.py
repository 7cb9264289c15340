"""Agents for agentry in Python. Needs Python 3.9 and nothing else.

    from dataclasses import dataclass
    from agentry import Agent, Context

    agent = Agent("greeter")

    @dataclass
    class Greet:
        name: str

    @agent.on(Greet)
    async def greet(ctx: Context, message: Greet) -> None:
        ctx.state["greeted"] = ctx.state.get("greeted", 0) + 1
        await ctx.reply(f"Hello, {message.name}!")

    if __name__ == "__main__":
        agent.run()

docs/python.md of agentry is the guide.

| module | contents |
|---|---|
| `agent` | the `Agent`: functions for messages, times and tasks |
| `context` | what a function gets, and what it can ask for |
| `model` | messages as dataclasses, and their JSON Schema |
| `llm` | a question to a model |
| `serve` | the event loop |
| `behaviour` | the bare protocol, without an event loop |
| `lines`, `wire` | the protocol's lines, and how they are read and written |
| `testing` | tests of agents, with crashes, repetitions and losses; a pytest plugin |
"""

from .agent import Agent
from .behaviour import Desk
from .context import Context, Done, Pending, State
from .lines import (
    Answered,
    Card,
    DeliveryUpdate,
    Header,
    Message,
    Output,
    Permanent,
    Question,
    Reject,
    Report,
    Sent,
    Start,
    Task,
    TaskFailed,
    Tick,
    Timer,
    Transient,
    UnknownName,
)
from .llm import Completion
from .model import Length, Mismatch, Range
from .wire import log

__all__ = [
    "Agent",
    "Answered",
    "Card",
    "Completion",
    "Context",
    "DeliveryUpdate",
    "Desk",
    "Done",
    "Header",
    "Length",
    "Message",
    "Mismatch",
    "Output",
    "Pending",
    "Permanent",
    "Question",
    "Range",
    "Reject",
    "Report",
    "Sent",
    "Start",
    "State",
    "Task",
    "TaskFailed",
    "Tick",
    "Timer",
    "Transient",
    "UnknownName",
    "log",
]
