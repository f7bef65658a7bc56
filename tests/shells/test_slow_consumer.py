"""A consumer that takes one message at a time, when the test wants it, under a flood."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from mqttlite.aio import AsyncClient, AsyncSubscription
from mqttlite.message import Message
from mqttlite.testing import Broker
from tests.behaviour import rule
from tests.shells.brokers import MosquittoBroker, mosquitto
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.leaks import ignored_port, ignored_proxy
from tests.support.proxy import Proxy

pytestmark = [
    pytest.mark.parametrize("version", ["5.0"]),
    pytest.mark.deadline(120.0),
]

WINDOW = 10
"""A Receive Maximum that a flood meets at once."""

WIDEST = 65_535
"""One that is never met: there are no more packet identifiers."""

FLOOD = 20_000

PATIENCE = 60.0
"""Seconds for a broker to work off a flood."""


class EmbeddedBroker(Broker):
    """An embedded broker that holds a flood."""

    obeys = True

    def dropped_nothing(self) -> bool:
        return not self.counters.dropped

    def held(self, client_id: str) -> int | None:
        session = self.sessions[client_id]
        return session.queued + session.unacknowledged


class FloodedMosquitto(MosquittoBroker):
    """A Mosquitto that holds a flood in memory only: it is written to no disk."""

    obeys = False
    """2.0.11 exceeds the Receive Maximum."""

    def dropped_nothing(self) -> bool:
        return "dropped" not in self.mosquitto.log

    def held(self, client_id: str) -> int | None:  # noqa: ARG002 - it does not tell
        return None


AnyBroker = EmbeddedBroker | FloodedMosquitto


@pytest.fixture(scope="module", params=["embedded", "mosquitto"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AnyBroker]:
    """Run a broker of each kind that drops nothing, in the place of the usual ones."""
    if request.param == "mosquitto":
        with mosquitto(tmp_path_factory.mktemp("flood")) as process:
            yield FloodedMosquitto(process)
    else:
        with EmbeddedBroker(maximum_held=2 * FLOOD) as own, ignored_port(own.port):
            yield own


async def flood(
    client: AsyncClient, topic: str, numbers: range, qos: int, consumer: Consumer | None = None
) -> None:
    """Publish numbers; meanwhile the consumer takes one message for every hundred."""
    for start in range(numbers.start, numbers.stop, 100):
        deliveries = [
            client.publish_nowait(topic, b"%d" % number, qos=qos)
            for number in range(start, min(start + 100, numbers.stop))
        ]
        for delivery in deliveries:
            await delivery.wait(TIMEOUT)
        if consumer is not None:
            await consumer.take()


class Consumer:
    """Takes messages one by one, and looks each time how many wait for it."""

    def __init__(self, client: AsyncClient, messages: AsyncSubscription) -> None:
        self._client = client
        assert client._core._connection is not None
        self._connection = client._core._connection
        self._messages = messages
        self.most_buffered = 0
        self.most_unacknowledged = 0
        self.numbers: list[int] = []

    def look(self) -> None:
        assert self._client._core._connection is self._connection, "the connection was lost"
        self.most_buffered = max(self.most_buffered, self._messages.buffered)
        self.most_unacknowledged = max(
            self.most_unacknowledged, len(self._connection._unacknowledged)
        )

    async def take(self) -> None:
        self.look()
        self.numbers.append(int((await self._messages.get(TIMEOUT)).payload))


async def until_buffered(lab: Lab, messages: AsyncSubscription, count: int) -> None:
    deadline = monotonic() + PATIENCE
    while messages.buffered < count:
        assert monotonic() < deadline, f"{messages.buffered} instead of {count} messages came"
        await lab.blocking(lambda: None)


@pytest.mark.parametrize(("qos", "count"), [(1, FLOOD), (2, FLOOD // 10)])
@pytest.mark.parametrize("window", [WINDOW, WIDEST])
async def test_a_flood_is_held_back_and_nothing_is_lost(
    lab: Lab, broker: AnyBroker, qos: int, count: int, window: int
) -> None:
    with Proxy(lab.address) as proxy, ignored_proxy(proxy):
        url = f"mqtt://127.0.0.1:{proxy.port}"
        name = f"slow-{lab.topic}"
        async with (
            lab.client() as publisher,
            lab.client(url, client_id=name, keep_alive=1, receive_maximum=window) as client,
            client.subscribe(lab.topic, qos=qos) as messages,
        ):
            consumer = Consumer(client, messages)
            await flood(publisher, lab.topic, range(count), qos, consumer)
            left = count - len(consumer.numbers)
            # That the consumer has stopped does not hold up the rest; and when this is answered,
            # everything before it has come.
            await client.publish(f"{lab.topic}/other", qos=2, timeout=TIMEOUT)
            if broker.held(name) is not None:
                # The one that was taken last is not acknowledged yet.
                assert broker.held(name) == left + 1
                await until_buffered(lab, messages, min(window - 1, left))

            # Now neither side has anything to say but pings.
            up, down = proxy.bytes_up, proxy.bytes_down
            await lab.blocking(
                proxy.wait_for,
                lambda proxy: proxy.bytes_up >= up + 4 and proxy.bytes_down >= down + 4,
                TIMEOUT,
            )
            while len(consumer.numbers) < count:
                await consumer.take()
            with pytest.raises(TimeoutError):
                await messages.get(0.01)
            consumer.look()
            assert consumer.numbers == list(range(count))
            if broker.obeys:
                assert consumer.most_buffered <= window
                assert consumer.most_unacknowledged <= window
            assert messages.dropped == 0
    assert broker.dropped_nothing()


async def test_a_flood_for_a_slow_handler(lab: Lab, broker: AnyBroker) -> None:
    count = FLOOD // 10
    permits, entered = lab.queue(), lab.queue()

    async def handler(message: Message) -> None:
        entered.put(int(message.payload))
        await permits.get(PATIENCE)

    async with lab.client() as publisher, lab.client(receive_maximum=WINDOW) as client:
        messages = await client.subscribe(lab.topic, qos=1, handler=handler)
        consumer = Consumer(client, messages)
        try:
            await flood(publisher, lab.topic, range(count), qos=1)
            # It has the first message: the others of the window wait.
            await until_buffered(lab, messages, WINDOW - 1)
            for number in range(count):
                assert await entered.get() == number
                consumer.look()
                permits.put(None)
            await client.publish(f"{lab.topic}/end", qos=1, timeout=TIMEOUT)
            consumer.look()
        finally:
            for _ in range(count):
                permits.put(None)
        if broker.obeys:
            assert consumer.most_buffered <= WINDOW
            assert consumer.most_unacknowledged <= WINDOW
    assert broker.dropped_nothing()


@rule(17)
async def test_who_keeps_up_with_a_flood_of_qos_0_loses_nothing(
    lab: Lab, broker: AnyBroker
) -> None:
    """More comes between two turns of the consumer than its buffer holds."""
    async with lab.client() as publisher, lab.client() as client:
        messages = await client.subscribe(lab.topic, buffer_size=100)
        flooding = lab.start(flood(publisher, lab.topic, range(FLOOD), 0))
        for number in range(FLOOD):
            assert int((await messages.get(TIMEOUT)).payload) == number
        await flooding.result()
        assert not messages.dropped
    assert broker.dropped_nothing()


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
@pytest.mark.parametrize("paced", [True, False])
async def test_a_flood_of_qos_0_is_dropped_and_counted(
    lab: Lab, broker: AnyBroker, caplog: pytest.LogCaptureFixture, policy: Any, paced: bool
) -> None:
    size = 100
    caplog.set_level(logging.WARNING)
    async with lab.client() as publisher, lab.client() as client:
        messages = await client.subscribe(lab.topic, buffer_size=size, when_full=policy)
        probe = await client.subscribe(f"{lab.topic}/probe", qos=1)
        consumer = Consumer(client, messages)
        await flood(publisher, lab.topic, range(FLOOD), 0, consumer if paced else None)
        await publisher.publish(f"{lab.topic}/probe", qos=1)
        await probe.get(PATIENCE)
        assert messages.buffered == size
        while messages.buffered:
            await consumer.take()
        consumer.look()
        numbers = consumer.numbers
        assert numbers == sorted(set(numbers)), "in order, and each once"
        assert len(numbers) + messages.dropped == FLOOD
        if not paced:
            kept = range(FLOOD - size, FLOOD) if policy == "drop_oldest" else range(size)
            assert numbers == list(kept)
        elif policy == "drop_oldest":
            assert numbers[-size:] == list(range(FLOOD - size, FLOOD))
    [warning] = [record for record in caplog.records if record.name.startswith("mqttlite")]
    assert warning.levelno == logging.WARNING
    assert f"the subscription to {lab.topic} is full" in warning.getMessage()
    assert broker.dropped_nothing()
