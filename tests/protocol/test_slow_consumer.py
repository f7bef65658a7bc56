"""A consumer that does not keep up: the broker holds back, the connection goes on."""

from __future__ import annotations

from mqttlite.packets import Message
from tests.behaviour import rule
from tests.protocol.simulation import Broker, World, make_core, take_all


@rule(17)
def test_the_broker_holds_back_what_has_to_be_acknowledged() -> None:
    broker = Broker()
    world = World(make_core(client_id="c", receive_maximum=10), broker)
    subscription = world.subscribe("t", qos=1)
    world.connected()
    world.run()
    for number in range(1000):
        broker.publish("t", b"%d" % number, 1)
    world.run()
    assert len(subscription.buffer) == 10
    assert len(broker.sessions["c"].queue) == 990
    # The connection lives on, though nobody takes anything.
    world.run(86_400.0)
    assert (world.connections, world.losses) == (1, 0)
    received: list[bytes] = []
    while (message := subscription.take()) is not None:
        received.append(message.payload)
        world.run()
        assert len(subscription.buffer) <= 10
    assert received == [b"%d" % number for number in range(1000)]
    assert subscription.dropped == 0


@rule(17)
def test_what_need_not_be_acknowledged_is_dropped() -> None:
    broker = Broker()
    world = World(make_core(client_id="c"), broker)
    subscription = world.subscribe("t", buffer_size=10)
    world.connected()
    world.run()
    for number in range(1000):
        broker.publish("t", b"%d" % number)
    world.run()
    assert subscription.dropped == 0
    world.run(1.0)
    assert take_all(subscription) == [b"%d" % number for number in range(990, 1000)]
    assert subscription.dropped == 990


@rule(17)
def test_a_consumer_that_keeps_up_loses_nothing() -> None:
    # However much comes before it has its turn.
    broker = Broker()
    world = World(make_core(client_id="c"), broker)
    subscription = world.subscribe("t", buffer_size=10)
    world.connected()
    world.run()
    for number in range(1000):
        broker.publish("t", b"%d" % number)
    received: list[bytes] = []
    while len(received) < 1000:
        world.run(0.1)
        received += take_all(subscription)
    assert received == [b"%d" % number for number in range(1000)]
    assert subscription.dropped == 0


@rule(18)
def test_other_subscriptions_and_publishing_go_on() -> None:
    broker = Broker()
    world = World(make_core(client_id="c", receive_maximum=10), broker)
    slow, fast = world.subscribe("slow", qos=1), world.subscribe("fast", qos=0)
    world.connected()
    world.run()
    for number in range(20):
        broker.publish("slow", b"", 1)
        broker.publish("fast", b"%d" % number)
    delivery = world.publish("up", b"", 2)
    world.run()
    assert delivery.done
    assert len(slow.buffer) == 10
    while slow.take() is not None:
        world.run()
    assert len(take_all(fast)) == 20
    assert [message.payload for message in broker.published] == [b""]
    assert isinstance(broker.published[0], Message)
