"""Asks everybody who understands a message, whoever that is, and collects the answers.

After uAgents' example of a broadcast to all agents of a protocol.
"""

from __future__ import annotations

from agentry import Agent, Context
from words import Here, WhoIsThere

MOST = 100
"""The most agents that are asked: each message costs a fee."""

agent = Agent("caller")


@agent.on_text
async def ask(ctx: Context, text: str) -> None:
    # The directory on the chain has the cards of all agents that have announced themselves.
    cards = await ctx.find(commands=[WhoIsThere], limit=MOST)
    ctx.state["there"] = []
    for card in cards:
        await ctx.send(card.address, WhoIsThere(), expires_in="1m")
    await ctx.reply(f"asked {len(cards)}")


@agent.on_answer(Here)
async def hear(ctx: Context, here: Here) -> None:
    there = ctx.state.setdefault("there", [])
    if len(there) < MOST:
        there.append(here.name)


if __name__ == "__main__":
    agent.run()
