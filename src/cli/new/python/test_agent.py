"""The agent greeter in a simulation: `pytest`."""

from agentry.testing import Simulation


def test_a_visit_is_counted_once(simulation: Simulation) -> None:
    agent = simulation.host("greeter", "agent.py")
    ada = simulation.peer("ada")

    first = ada.send(agent, {"cmd": "GREET", "name": "Ada"})
    simulation.repeat(first)  # The chain shows the message again.
    agent.crash()  # The next run is lost before its outcome is stored.
    ada.send(agent, {"cmd": "GREET", "name": "Ada"})

    assert [message.text for message in ada.received] == [
        "Hello, Ada! You are visitor 1.",
        "Hello, Ada! You are visitor 2.",
    ]
    assert agent.state == {"visits": 2}


def test_a_name_that_is_too_long_is_rejected(simulation: Simulation) -> None:
    agent = simulation.host("greeter", "agent.py")
    ada = simulation.peer("ada")
    message = ada.send(agent, {"cmd": "GREET", "name": "A" * 65})
    assert message.outcome == "rejected" and ada.received == []
