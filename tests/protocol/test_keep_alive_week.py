"""A week of silence, in no time."""

from __future__ import annotations

from tests.protocol.simulation import Broker, World, make_core

WEEK = 7 * 86_400.0


def test_a_silent_connection_lasts() -> None:
    broker = Broker()
    world = World(make_core(keep_alive=60), broker).connected()
    world.run(WEEK)
    assert world.core.is_connected
    assert (world.connections, world.losses) == (1, 0)
    # One ping every 54 seconds, and not more.
    assert WEEK / 60 < world.steps / 2 < WEEK / 54 * 3


def test_server_keep_alive_is_kept() -> None:
    broker = Broker(connack={"server_keep_alive": 10})
    world = World(make_core(keep_alive=0), broker).connected()
    world.run(86_400.0)
    assert world.losses == 0


def test_a_dead_server_is_noticed_and_left() -> None:
    broker = Broker()
    world = World(make_core(keep_alive=60), broker).connected()
    world.run(1000.0)
    broker.is_silent = True
    before = world.now
    world.run_until(lambda: world.losses == 1)
    assert world.now - before <= 60 + 10
    broker.is_silent = False
    world.run(WEEK)
    assert world.core.is_connected
    assert (world.connections, world.losses) == (2, 1)
