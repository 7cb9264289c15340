"""A cleaner: offers a price for a place and a time, and takes bookings that fit the offer.

After uAgents' example of a cleaning service: a question, an offer, a booking, an answer.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, List

from agentry import Agent, Context, Length, Range

PRICE_PER_HOUR = {"window": 22, "floor": 18, "laundry": 15}
"""What each service costs, in AIT per hour."""

PLACES = ["London Kings Cross", "Paddington"]

MOST_BOOKINGS = 500
"""The most bookings and offers that are kept, of each: the state is read with each event."""


class Service(enum.Enum):
    WINDOW = "window"
    FLOOR = "floor"
    LAUNDRY = "laundry"


@dataclass
class ServiceRequest:
    place: Annotated[str, Length(1, 100)]
    hour: Annotated[int, Range(0, 10**9)]
    hours: Annotated[int, Range(1, 8)]
    services: Annotated[List[Service], Length(1, 3)]
    max_price: Annotated[int, Range(0)]


@dataclass
class ServiceResponse:
    accepted: bool
    price: int = 0


@dataclass
class ServiceBooking:
    hour: Annotated[int, Range(0, 10**9)]
    price: Annotated[int, Range(0)]


@dataclass
class BookingResponse:
    success: bool


agent = Agent("cleaner", capabilities=["cleaning"])


@agent.on(ServiceRequest)
async def offer(ctx: Context, request: ServiceRequest) -> None:
    bookings, offers = ctx.state.get("bookings", {}), ctx.state.setdefault("offers", {})
    price = request.hours * sum(PRICE_PER_HOUR[service.value] for service in request.services)
    hours = range(request.hour, request.hour + request.hours)
    free = not any(str(hour) in bookings for hour in hours)
    if request.place in PLACES and free and price <= request.max_price:
        while len(offers) >= MOST_BOOKINGS:
            del offers[next(iter(offers))]
        offers[f"{ctx.sender} {request.hour}"] = {"price": price, "hours": request.hours}
        await ctx.reply(ServiceResponse(True, price))
    else:
        await ctx.reply(ServiceResponse(False))


@agent.on(ServiceBooking)
async def book(ctx: Context, booking: ServiceBooking) -> None:
    bookings, offers = ctx.state.setdefault("bookings", {}), ctx.state.get("offers", {})
    offered = offers.get(f"{ctx.sender} {booking.hour}")
    hours = range(booking.hour, booking.hour + (offered["hours"] if offered else 0))
    free = not any(str(hour) in bookings for hour in hours)
    success = bool(offered) and offered["price"] == booking.price and free
    if success and len(bookings) + len(hours) <= MOST_BOOKINGS:
        del offers[f"{ctx.sender} {booking.hour}"]
        for hour in hours:
            bookings[str(hour)] = ctx.sender
    else:
        success = False
    await ctx.reply(BookingResponse(success))


if __name__ == "__main__":
    agent.run()
