"""The sender on uAgents: sends until the counter's endpoint has taken each message."""

import asyncio
import json
import sys

from uagents import Agent, Context, Model
from uagents.resolver import RulesBasedResolver
from uagents_core.types import DeliveryStatus


class Add(Model):
    number: int


class Counted(Model):
    number: int
    count: int


port, counter, endpoint, messages = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
counts = []
agent = Agent(
    name="sender",
    seed="the seed of the sender",
    port=int(port),
    endpoint=[f"http://127.0.0.1:{port}/submit"],
    resolve=RulesBasedResolver({counter: endpoint}),
    enable_agent_inspector=False,
    publish_agent_details=False,
)


@agent.on_message(model=Counted)
async def counted(ctx: Context, sender: str, message: Counted) -> None:
    counts.append(message.count)
    print(json.dumps({"answer": message.number, "count": message.count}), flush=True)


@agent.on_event("startup")
async def start(ctx: Context) -> None:
    asyncio.create_task(send(ctx))


async def send(ctx: Context) -> None:
    for number in range(messages):
        while True:
            status = await ctx.send(counter, Add(number=number))
            if status.status == DeliveryStatus.DELIVERED:
                break
            await asyncio.sleep(0.1)
        print(json.dumps({"sent": number}), flush=True)
    print(json.dumps({"all": messages}), flush=True)


if __name__ == "__main__":
    if sys.argv[5:] == ["--address"]:
        print(agent.address)
    else:
        agent.run()
