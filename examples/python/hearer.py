"""Answers everybody who asks who is there. The other half of caller.py; one program can be many agents."""

from __future__ import annotations

from agentry import Agent, Context
from words import Here, WhoIsThere

agent = Agent("hearer")


@agent.on(WhoIsThere)
async def answer(ctx: Context, _: WhoIsThere) -> None:
    await ctx.reply(Here(ctx.agent))


if __name__ == "__main__":
    agent.run()
