"""Says hello every two seconds.

After uAgents' first example: an agent with a function on an interval.
"""

from __future__ import annotations

from agentry import Agent, Context

agent = Agent("interval")


@agent.every("2s", missed="skip")
async def say_hello(ctx: Context) -> None:
    ctx.log(f"hello, my name is {ctx.agent}")


@agent.on_start
async def introduce(ctx: Context) -> None:
    ctx.log(f"my address is {ctx.address}")


if __name__ == "__main__":
    agent.run()
