"""The sender on agentry."""

from __future__ import annotations

from agentry import Agent, Context
from messages import Add, Counted

agent = Agent("sender")


@agent.on_text
async def start(ctx: Context, text: str) -> None:
    """A number of messages."""
    for number in range(int(text)):
        await ctx.send("counter", Add(number))


@agent.on_answer(Counted)
async def counted(ctx: Context, message: Counted) -> None:
    ctx.state.setdefault("counts", []).append(message.count)


if __name__ == "__main__":
    agent.run()
