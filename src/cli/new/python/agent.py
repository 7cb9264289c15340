"""The agent greeter: it greets visitors and counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from agentry import Agent, Context, Length

agent = Agent("greeter")


@dataclass
class Greet:
    """{"cmd": "GREET", "name": "Ada"}"""

    name: Annotated[str, Length(1, 64)]


@agent.on(Greet)
async def greet(ctx: Context, message: Greet) -> None:
    # The state and the reply are stored together when this returns: a visit is counted once.
    visits = ctx.state.get("visits", 0) + 1
    ctx.state["visits"] = visits
    await ctx.reply(f"Hello, {message.name}! You are visitor {visits}.")


@agent.on_text
async def text(ctx: Context, text: str) -> None:
    await ctx.reply(f"You said: {text}")


if __name__ == "__main__":
    agent.run()
