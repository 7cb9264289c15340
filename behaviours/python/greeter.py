#!/usr/bin/env python3
"""Greets visitors, remembers them, and writes to them later.

In agents.toml:

    behaviours = [{ kind = "process", program = "./greeter.py", commands = ["GREET"] }]

It handles this command:

    {"cmd": "GREET", "name": "Ada"}

It answers "Hello, Ada!", and at Ada's next visit "Welcome back, Ada! That makes 2 times.". Some
time after the last visit it sends Ada one message. Its settings, all of them optional:

    settings = { greeting = "Good day", ask_after = 3600 }   # ask_after: seconds; 0 never asks
"""

from __future__ import annotations

from typing import Optional

import agentry

MAX_NAME = 64
"""The longest name that is repeated to its sender, in characters."""

MAX_VISITORS = 1000
"""The most visitors that are remembered. Anyone can write to an agent from any number of addresses,
and the state is read and written with each event, so its size must be bounded."""


class Greeter(agentry.Behaviour):
    """A complete behaviour: settings, state, a timer, replies, and an unprompted message."""

    def __init__(self) -> None:
        self.greeting = "Hello"
        self.ask_after = 3600.0

    def start(self, settings: agentry.Json) -> None:
        unknown = settings.keys() - {"greeting", "ask_after"}
        if unknown:
            raise ValueError(f"unknown keys in settings: {unknown}")
        self.greeting = str(settings.get("greeting", self.greeting))
        self.ask_after = float(settings.get("ask_after", self.ask_after))

    def on_message(
        self, message: agentry.Message, context: agentry.Context
    ) -> Optional[agentry.Effects]:
        name = (message.command or {}).get("name", "stranger")
        # Content from the chain comes from a stranger, and may be anything.
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            return agentry.Effects().reject(f"a name needs 1 to {MAX_NAME} printable characters")

        # The state belongs to this agent and this behaviour. It is stored together with the reply,
        # so a visit is counted once, even if this code runs several times for it.
        key = f"visitor:{message.sender}"
        visits = context.state.get(key, {"visits": 0})["visits"] + 1
        if visits == 1:
            text = f"{self.greeting}, {name}!"
        else:
            text = f"Welcome back, {name}! That makes {visits} times."
        effects = agentry.Effects().reply(text)
        effects.set_state(key, {"visits": visits, "last_ms": context.now_ms})
        if key not in context.state and len(context.state) >= MAX_VISITORS:
            effects.clear_state(min(context.state, key=lambda key: context.state[key]["last_ms"]))

        if self.ask_after > 0:
            # One timer for each visitor: a new visit restarts it.
            data = {"to": message.sender, "name": name}
            effects.schedule(f"ask:{message.sender}", self.ask_after, data)
        return effects

    def on_timer(
        self, timer: agentry.Timer, context: agentry.Context
    ) -> Optional[agentry.Effects]:
        return agentry.Effects().send(
            timer.data["to"], f"How have you been, {timer.data['name']}?", label=timer.name
        )

    def on_delivery_update(
        self, sent: agentry.Sent, update: agentry.DeliveryUpdate, context: agentry.Context
    ) -> Optional[agentry.Effects]:
        # A visitor that the message did not reach is deleted.
        if update.update == "unsent":
            agentry.log(f"could not write to {sent.to}: {update.reason}", level="warn")
            return agentry.Effects().clear_state(f"visitor:{sent.to}")
        return None


if __name__ == "__main__":
    agentry.run(Greeter())
