"""Answers a greeting with a greeting. The other half of alice.py."""

from __future__ import annotations

from agentry import Agent, Context
from words import Hello

agent = Agent("bob")


@agent.on(Hello)
async def greet(ctx: Context, message: Hello) -> None:
    ctx.log(f"{ctx.sender} says: {message.text}")
    await ctx.reply(Hello("Hello there alice."))


if __name__ == "__main__":
    agent.run()
