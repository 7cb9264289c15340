"""The counter on uAgents."""

import asyncio
import sys

from uagents import Agent, Context, Model


class Add(Model):
    number: int


class Counted(Model):
    number: int
    count: int


agent = Agent(
    name="counter",
    seed="the seed of the counter",
    port=int(sys.argv[1]),
    endpoint=[f"http://127.0.0.1:{sys.argv[1]}/submit"],
    enable_agent_inspector=False,
    publish_agent_details=False,
)


@agent.on_message(model=Add, replies={Counted})
async def add(ctx: Context, sender: str, message: Add) -> None:
    await asyncio.sleep(0.02)
    count = (ctx.storage.get("count") or 0) + 1
    ctx.storage.set("count", count)
    await ctx.send(sender, Counted(number=message.number, count=count))


if __name__ == "__main__":
    if sys.argv[2:] == ["--address"]:
        print(agent.address)
    else:
        agent.run()
