"""The counter on agentry."""

from __future__ import annotations

import asyncio

from agentry import Agent, Context
from messages import Add, Counted

agent = Agent("counter")


@agent.on(Add)
async def add(ctx: Context, message: Add) -> None:
    await asyncio.sleep(0.02)
    count = ctx.state.get("count", 0) + 1
    ctx.state["count"] = count
    await ctx.reply(Counted(message.number, count))


if __name__ == "__main__":
    agent.run()
