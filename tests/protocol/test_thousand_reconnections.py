"""Nothing piles up and nothing is lost over a thousand connections."""

from __future__ import annotations

from tests.behaviour import rule
from tests.protocol.simulation import FAST, Broker, World, make_core, take_all


@rule(9)
def test_thousand_reconnections() -> None:
    broker = Broker()
    core = make_core(client_id="c", clean_start=False, reconnect=FAST)
    world = World(core, broker)
    subscription = world.subscribe("down", qos=2)
    world.connected()
    world.run()
    received: list[bytes] = []
    deliveries = []
    for number in range(1000):
        deliveries.append(world.publish("up", b"%d" % number, 1 + number % 2))
        broker.publish("down", b"%d" % number, 1 + number % 2)
        for _ in range(number % 5):
            world.step()
        world.drop()
        world.run_until(lambda: core.is_connected)
        received += take_all(subscription)
    world.run()
    received += take_all(subscription)
    world.run(10.0)
    assert world.connections == 1001
    assert all(each.fate.value == "acknowledged" for each in deliveries)
    expected = [b"%d" % number for number in range(1000)]
    assert sorted(set(received), key=int) == expected
    twos = [each for each in received if int(each) % 2]
    assert twos == expected[1::2]
    published = [message.payload for message in broker.published]
    assert sorted(set(published), key=int) == expected
    assert [each for each in published if int(each) % 2] == expected[1::2]
    assert not core.session.outgoing
    assert not core.session.incoming
    assert not core.publisher.outbox
    assert len(core._subscriber.table.filters) == 1
