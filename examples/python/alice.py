"""Greets bob every three seconds, and hears what bob answers.

After uAgents' example of two agents that talk.
"""

from __future__ import annotations

from agentry import Agent, Context
from words import Hello

agent = Agent("alice")


@agent.every("3s", missed="skip")
async def greet(ctx: Context) -> None:
    # A name of agents.toml, or one that an agent has announced. Sent again until bob has it.
    await ctx.send("bob", Hello("Hello there bob."), ack="received")


@agent.on_answer(Hello)
async def hear(ctx: Context, message: Hello) -> None:
    ctx.log(f"{ctx.sender} answers: {message.text}")
    ctx.state["heard"] = ctx.state.get("heard", 0) + 1


if __name__ == "__main__":
    agent.run()
