"""A restaurant: says which tables are free, and books them.

After uAgents' example of a restaurant. There, bookings and answers are stored apart: a crash between
them answers `success` and forgets the booking, or the reverse.
"""

from __future__ import annotations

from typing import Dict, List

from agentry import Agent, Context
from tables import BookTable, FreeTables, QueryTables, TableBooked, TotalQueries

SEATS = {1: 2, 2: 4, 3: 4, 4: 6}
"""The seats of each table."""

agent = Agent("restaurant", capabilities=["restaurant"])


def is_free(taken: Dict[str, List[int]], table: int, hour: int, hours: int) -> bool:
    wanted = range(hour, hour + hours)
    return not any(hour in wanted for hour in taken.get(str(table), []))


@agent.on(QueryTables)
async def query(ctx: Context, query: QueryTables) -> None:
    taken = ctx.state.get("taken", {})
    tables = [
        table
        for table, seats in SEATS.items()
        if seats >= query.guests and is_free(taken, table, query.hour, query.hours)
    ]
    ctx.state["queries"] = ctx.state.get("queries", 0) + 1
    await ctx.reply(FreeTables(tables))


@agent.on(BookTable)
async def book(ctx: Context, booking: BookTable) -> None:
    taken = ctx.state.setdefault("taken", {})
    success = booking.table in SEATS and is_free(taken, booking.table, booking.hour, booking.hours)
    if success:
        hours = list(range(booking.hour, booking.hour + booking.hours))
        taken.setdefault(str(booking.table), []).extend(hours)
    await ctx.reply(TableBooked(success))


@agent.on(TotalQueries)
async def total(ctx: Context, _: TotalQueries) -> None:
    await ctx.reply(TotalQueries(ctx.state.get("queries", 0)))


if __name__ == "__main__":
    agent.run()
