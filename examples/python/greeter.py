#!/usr/bin/env python3
"""Greets visitors, remembers them, and writes to them later.

It handles this command:

    {"cmd": "GREET", "name": "Ada"}

It answers "Hello, Ada!", and at Ada's next visit "Welcome back, Ada! That makes 2 times.". Some
time after the last visit it sends Ada one message. Its settings, all of them optional:

    settings = { greeting = "Good day", ask_after = 3600 }   # ask_after: seconds; 0 never asks

In agents.toml, with the package of the folder python/:

    behaviours = [{ kind = "process", program = "examples/python/greeter.py", declared =
    "examples/python/greeter.json", env = { PYTHONPATH = "python/src" } }]
"""

from __future__ import annotations

from dataclasses import dataclass

from agentry import Agent, Context, DeliveryUpdate, Reject, Sent, Timer

MAX_NAME = 64
"""The longest name that is repeated to its sender, in characters."""

MAX_VISITORS = 1000
"""The most visitors that are remembered. Anyone can write to an agent from any number of addresses,
and the state is read and written with each event, so its size must be bounded."""


@dataclass
class Settings:
    greeting: str = "Hello"
    ask_after: float = 3600


@dataclass
class Greet:
    name: str = "stranger"


agent = Agent("greeter", settings=Settings)


@agent.on(Greet)
async def greet(ctx: Context, message: Greet) -> None:
    name = message.name
    # Content from the chain comes from a stranger, and may be anything.
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise Reject(f"a name needs 1 to {MAX_NAME} printable characters")

    # The state belongs to this agent and this behaviour. It is stored together with the reply, so a
    # visit is counted once, even if this function runs several times for it.
    key = f"visitor:{ctx.sender}"
    if key not in ctx.state and len(ctx.state) >= MAX_VISITORS:
        del ctx.state[min(ctx.state, key=lambda key: int(ctx.state[key]["last_ms"]))]
    visits = ctx.state.get(key, {"visits": 0})["visits"] + 1
    ctx.state[key] = {"visits": visits, "last_ms": ctx.now_ms}
    if visits == 1:
        await ctx.reply(f"{ctx.settings.greeting}, {name}!")
    else:
        await ctx.reply(f"Welcome back, {name}! That makes {visits} times.")

    if ctx.settings.ask_after > 0:
        # One timer for each visitor: a new visit restarts it.
        data = {"to": ctx.sender, "name": name}
        await ctx.schedule(f"ask:{ctx.sender}", ctx.settings.ask_after, data)


@agent.on_timer("ask")
async def ask(ctx: Context, timer: Timer) -> None:
    await ctx.send(timer.data["to"], f"How have you been, {timer.data['name']}?", label=timer.name)


@agent.on_delivery("ask")
async def delivery(ctx: Context, sent: Sent, update: DeliveryUpdate) -> None:
    # A visitor that the message did not reach is deleted.
    if update.update == "unsent":
        ctx.log(f"could not write to {sent.to}: {update.reason}", level="warn")
        ctx.state.pop(f"visitor:{sent.to}", None)


if __name__ == "__main__":
    agent.run()
