"""Books a table at the restaurant. The other half of restaurant.py.

A conversation of two steps: the answer to the first message brings the second one. Each step happens
once, whatever crashes in between, and if the restaurant cannot be reached, the diner learns it.
"""

from __future__ import annotations

from agentry import Agent, Context, DeliveryUpdate, Sent
from tables import BookTable, FreeTables, QueryTables, TableBooked

agent = Agent("diner")


@agent.on_text
async def wish(ctx: Context, text: str) -> None:
    """A text such as `3 at 20`."""
    guests, _, hour = text.partition(" at ")
    query = QueryTables(int(guests), int(hour))
    ctx.state["hour"] = query.hour
    await ctx.send("restaurant", query, ack="done", label="query")


@agent.on_answer(FreeTables, label="query")
async def choose(ctx: Context, free: FreeTables) -> None:
    if free.tables:
        await ctx.send("restaurant", BookTable(free.tables[0], ctx.state["hour"]), label="book")
    else:
        ctx.state["outcome"] = "no table is free"


@agent.on_answer(TableBooked, label="book")
async def booked(ctx: Context, answer: TableBooked) -> None:
    ctx.state["outcome"] = "booked" if answer.success else "somebody was faster"


@agent.on_delivery("query")
async def delivery(ctx: Context, sent: Sent, update: DeliveryUpdate) -> None:
    if update.update in ("unacknowledged", "unsent", "failed", "rejected"):
        ctx.state["outcome"] = f"the restaurant does not answer ({update.update})"


if __name__ == "__main__":
    agent.run()
