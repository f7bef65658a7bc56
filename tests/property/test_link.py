"""Links that break at any byte: every accepted message arrives, QoS 2 once, and in order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.client import DeliveryState
from tests.protocol.simulation import FAST, Broker, World, make_core


class Run:
    """One session, with everything in it drawn from ``rng``."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.is_kept = rng.random() < 0.7
        version = rng.choice(["5.0", "5.0", "3.1.1"])
        options = {
            "client_id": "c",
            "reconnect": FAST,
            "version": version,
            "receive_maximum": rng.choice([1, 2, 5, 1000]),
        }
        if self.is_kept:
            options["clean_start"] = False
            options["session_expiry_interval"] = rng.choice([None, 1000])
        self.core = make_core(random=rng.random, **options)
        self.broker = Broker(
            receive_maximum=rng.choice([1, 2, 3, 65_535]) if version == "5.0" else 65_535
        )
        largest = rng.choice([1, 3, 17, 1 << 20])
        self.world = World(
            self.core,
            self.broker,
            chunk=lambda: rng.randrange(1, largest + 1),
            cuts=iter([rng.randrange(1, 600) for _ in range(rng.randrange(1, 12))]),
        )
        self.subscriptions = [self.world.subscribe(f, qos=2) for f in ("down/#", "down/1")]
        self.received: list[list[tuple[str, bytes]]] = [[], []]
        self.deliveries: list[DeliveryState] = []
        self.sent_down: list[tuple[str, bytes]] = []

    def take(self, likely: float) -> None:
        for subscription, received in zip(self.subscriptions, self.received, strict=True):
            while self.rng.random() < likely:
                message = subscription.take()
                if message is None:
                    break
                received.append((message.topic, message.payload))

    def run(self) -> None:
        rng, world = self.rng, self.world
        world.after_step = lambda: self.take(0.7)
        world.connected_at_last()
        for number in range(rng.randrange(5, 30)):
            qos = rng.choice([1, 2])
            if rng.random() < 0.5:
                self.deliveries.append(world.publish(f"up/{qos}", b"%d" % number, qos))
            else:
                session = self.broker.sessions.get("c")
                if session is not None and session.filters.get("down/#") == 2:
                    self.broker.publish(f"down/{qos}", b"%d" % number, qos)
                    self.sent_down.append((f"down/{qos}", b"%d" % number))
            for _ in range(rng.randrange(4)):
                world.step()
            if rng.random() < 0.2:
                world.run(rng.random() * 3)
        world.run_until(lambda: all(each.done for each in self.deliveries))
        world.after_step = lambda: None
        for _ in range(50):
            self.take(1.0)
            world.run(0.5)

    def check(self) -> None:
        self.check_up()
        if self.is_kept:
            self.check_down()
            self.check_nothing_left()
        operation = self.core.close(self.world.now, 5.0)
        self.world.run_until(lambda: operation.done)
        assert self.core.next_deadline() is None
        assert self.core.is_idle

    def check_up(self) -> None:
        arrived = Counter((message.topic, message.payload) for message in self.broker.published)
        for each in self.deliveries:
            count = arrived[each.topic, each.payload]
            if each.fate.value == "lost":
                assert not self.is_kept
                assert each.qos == 2
            else:
                assert each.fate.value == "acknowledged"
                assert count >= 1
            assert each.qos == 1 or count <= 1 or not self.is_kept
        for qos in (1, 2) if self.is_kept else ():
            topic = f"up/{qos}"
            in_order = [m.payload for m in self.broker.published if m.topic == topic]
            sent = [each.payload for each in self.deliveries if each.topic == topic]
            assert list(dict.fromkeys(in_order)) == sent

    def check_down(self) -> None:
        for received, only in zip(self.received, (None, "down/1"), strict=True):
            counts = Counter(received)
            for message in self.sent_down:
                if only is None or message[0] == only:
                    assert counts[message] >= 1
                    assert message[0] == "down/1" or counts[message] == 1

    def check_nothing_left(self) -> None:
        session = self.broker.sessions["c"]
        assert not self.core.session.outgoing
        assert not self.core.session.incoming
        assert not session.state.outgoing
        assert not session.state.incoming
        assert not session.queue
        connection = self.core._connection
        assert connection is not None
        assert connection._incoming_in_flight == connection._in_flight == 0
        assert not connection._unacknowledged


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_broken_links(seed: int) -> None:
    run = Run(random.Random(seed))
    run.run()
    run.check()


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_broken_links_that_are_the_same_every_time(start: int) -> None:
    for seed in range(start, start + 100):
        run = Run(random.Random(seed))
        run.run()
        run.check()
