"""The examples on a simulated chain, with crashes, repetitions and losses."""

from __future__ import annotations

import pytest

from agentry.testing import Simulation


def test_the_greeter_counts_visits_once_and_writes_later(simulation: Simulation) -> None:
    greeter = simulation.host("greeter", "greeter.py", settings={"ask_after": 60})
    ada = simulation.peer("ada")
    first = ada.send(greeter, {"cmd": "GREET", "name": "Ada"})
    simulation.repeat(first)
    greeter.crash()
    ada.send(greeter, {"cmd": "GREET", "name": "Ada"})
    assert ada.send(greeter, {"cmd": "GREET", "name": ""}).outcome == "rejected"
    simulation.advance("61s")
    assert [message.text for message in ada.received] == [
        "Hello, Ada!",
        "Welcome back, Ada! That makes 2 times.",
        "How have you been, Ada?",
    ]


def test_the_interval_runs(simulation: Simulation) -> None:
    agent = simulation.host("interval", "interval.py")
    simulation.settle()
    before = simulation.runs
    simulation.advance("6s")
    # The start was one run before.
    assert (before, simulation.runs) == (1, 4)
    agent.tick("say_hello")
    assert simulation.runs == 5 and simulation.dead_letters == []


def test_alice_and_bob_talk_although_messages_are_lost(simulation: Simulation) -> None:
    alice = simulation.host("alice", "alice.py")
    bob = simulation.host("bob", "bob.py", behaviours=[{"kind": "ack"}])
    simulation.disturb(20)
    simulation.advance("10s")
    assert alice.state == {"heard": 3}
    told = [message.command for message in bob.received if message.cmd == "HELLO"]
    assert told == [{"cmd": "HELLO", "text": "Hello there bob."}] * 3


def test_the_count_survives_crashes(simulation: Simulation) -> None:
    agent = simulation.host("storage", "storage.py")
    ada = simulation.peer("ada")
    simulation.advance("3s")
    agent.crash()
    ada.send(agent, "how many?")
    simulation.restart()
    simulation.repeat(ada.send(agent, "and now?"))
    assert [message.text for message in ada.received] == [
        "My count is 3. Question 1.",
        "My count is 3. Question 2.",
    ]
    assert agent.state == {"count": 3, "asked": 2}


REQUEST = {
    "cmd": "SERVICE_REQUEST",
    "place": "Paddington",
    "hour": 1000,
    "hours": 2,
    "services": ["window", "floor"],
    "max_price": 100,
}


def test_the_cleaner_books_what_it_has_offered_and_nothing_twice(simulation: Simulation) -> None:
    cleaner = simulation.host("cleaner", "cleaner.py")
    ada, bob = simulation.peer("ada"), simulation.peer("bob")

    def ask(who: object, **change: object) -> object:
        return who.send(cleaner, {**REQUEST, **change}).answers[0].command  # type: ignore[attr-defined]

    def book(who: object, price: int, hour: int = 1000) -> bool:
        booking = {"cmd": "SERVICE_BOOKING", "hour": hour, "price": price}
        return bool(who.send(cleaner, booking).answers[0].command["success"])  # type: ignore[attr-defined]

    offered = {"cmd": "SERVICE_RESPONSE", "accepted": True, "price": 80}
    assert ask(ada) == offered and ask(bob, hour=1001) == offered
    refused = {"cmd": "SERVICE_RESPONSE", "accepted": False, "price": 0}
    assert ask(ada, max_price=79) == refused and ask(ada, place="Mars") == refused
    assert not book(ada, 79) and not book(bob, 80)
    cleaner.crash()
    assert book(ada, 80)
    # Bob's offer overlaps with what Ada has booked meanwhile.
    assert not book(bob, 80, hour=1001)
    assert ask(bob) == refused
    assert cleaner.state["bookings"] == {"1000": ada.address, "1001": ada.address}
    wrong = ada.send(cleaner, {**REQUEST, "services": ["cooking"]})
    assert wrong.outcome == "rejected" and "`services[0]` must be one of" in (wrong.reason or "")


@pytest.mark.parametrize("after", [0, 0.002, 0.02])
def test_a_table_is_booked_once_wherever_a_program_is_killed(
    simulation: Simulation, after: float
) -> None:
    restaurant = simulation.host("restaurant", "restaurant.py", behaviours=[{"kind": "ack"}])
    diner = simulation.host("diner", "diner.py")
    ada = simulation.peer("ada")
    ada.send(diner, "5 at 18")
    assert diner.state["outcome"] == "booked"
    restaurant.kill(after)
    diner.kill(after)
    ada.send(diner, "4 at 20")
    simulation.advance("10s")
    assert diner.state["outcome"] == "booked"
    assert restaurant.state == {"queries": 2, "taken": {"4": [18, 19], "2": [20, 21]}}
    told = ada.send(restaurant, {"cmd": "TOTAL_QUERIES"})
    assert told.answers[0].command == {"cmd": "TOTAL_QUERIES", "total": 2}
    assert simulation.dead_letters == []


def test_the_diner_learns_that_nobody_is_there(simulation: Simulation) -> None:
    diner = simulation.host("diner", "diner.py")
    simulation.peer("restaurant")
    ada = simulation.peer("ada")
    ada.send(diner, "4 at 20")
    simulation.advance("10m")
    assert diner.state["outcome"] == "the restaurant does not answer (unacknowledged)"


def test_everybody_who_understands_is_asked_once(simulation: Simulation) -> None:
    caller = simulation.host("caller", "caller.py")
    hearers = [simulation.host(name, "hearer.py") for name in ("cleo", "dan", "eve")]
    for hearer in hearers:
        hearer.announce(commands=["WHO_IS_THERE"])
    simulation.peer("other").announce(commands=["SOMETHING_ELSE"])
    ada = simulation.peer("ada")
    caller.crash()
    ada.send(caller, "who is there?")
    assert ada.received[0].text == "asked 3"
    assert sorted(caller.state["there"]) == ["cleo", "dan", "eve"]
    assert all(len(hearer.received) == 1 for hearer in hearers)
