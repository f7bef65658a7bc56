"""Several servers, of which some do not answer (rule 11)."""

from __future__ import annotations

from typing import Any

from mqttlite.client import Dial, HangUp
from mqttlite.endpoint import Endpoint
from mqttlite.errors import ConnectFailed
from mqttlite.options import Reconnect
from tests.behaviour import rule
from tests.protocol.simulation import Broker, Link, World, make_core

SERVERS = tuple(Endpoint("mqtt", f"server{number}.example", 1883) for number in range(3))


class Servers(World):
    """Of the servers only those in ``alive`` take connections."""

    alive: frozenset[Endpoint] = frozenset(SERVERS)

    def __init__(self, broker: Broker, **options: Any) -> None:
        super().__init__(make_core(endpoints=SERVERS, client_id="c", **options), broker)
        self.dialed: list[Endpoint] = []

    def _act(self) -> bool:
        action = self.core.take_action()
        if isinstance(action, Dial):
            self.dialed.append(action.endpoint)
            if action.endpoint in self.alive:
                self.link = Link(self.broker.open(self.now), None)
                self.core.transport_opened(self.now)
            else:
                self.core.dial_failed(OSError("no route"), self.now)
        elif isinstance(action, HangUp):
            self.drop()
        return action is not None


@rule(11)
def test_in_their_order() -> None:
    world = Servers(Broker())
    world.alive = frozenset(SERVERS[2:])
    world.connected()
    assert world.dialed == list(SERVERS)


def test_the_one_that_works_is_kept() -> None:
    world = Servers(Broker())
    world.alive = frozenset(SERVERS[1:])
    world.connected()
    world.dialed.clear()
    for _ in range(3):
        world.drop()
        world.run_until(lambda: world.core.is_connected)
    assert world.dialed == [SERVERS[1]] * 3


def test_the_others_when_it_dies() -> None:
    broker = Broker()
    world = Servers(broker)
    world.connected()
    world.alive = frozenset(SERVERS[:0])
    world.drop()
    world.dialed.clear()
    world.run(1000.0)
    assert set(world.dialed) == set(SERVERS)
    delivery = world.publish("t", b"x", 1)
    world.alive = frozenset(SERVERS[2:])
    world.run_until(lambda: delivery.done)
    assert [message.payload for message in broker.published] == [b"x"]


def test_all_of_them_are_one_attempt() -> None:
    world = Servers(Broker(), reconnect=Reconnect(maximum_attempts=2, first_delay=5.0))
    world.connected()
    world.alive = frozenset()
    world.dialed.clear()
    world.drop()
    world.run(1000.0)
    assert world.core.is_idle
    assert world.dialed == [*SERVERS] * 2
    assert isinstance(world.core.failure, ConnectFailed)


def test_none_of_them() -> None:
    world = Servers(Broker())
    world.alive = frozenset()
    operation = world.connect()
    world.run()
    assert isinstance(operation.error, ConnectFailed)
    assert world.dialed == list(SERVERS)
