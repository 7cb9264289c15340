"""Counts, and remembers the count over restarts.

After uAgents' example of storage. There, a crash between the answer and the storing counts a question
twice, or not at all; here, they are one.
"""

from __future__ import annotations

from agentry import Agent, Context

agent = Agent("storage")


@agent.every("1s", missed="skip")
async def count(ctx: Context) -> None:
    ctx.state["count"] = ctx.state.get("count", 0) + 1


@agent.on_text
async def tell(ctx: Context, text: str) -> None:
    ctx.state["asked"] = ctx.state.get("asked", 0) + 1
    await ctx.reply(f"My count is {ctx.state.get('count', 0)}. Question {ctx.state['asked']}.")


if __name__ == "__main__":
    agent.run()
