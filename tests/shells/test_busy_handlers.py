"""Handlers that do all that a program does, and take their time: the connection lasts."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mqttlite.aio import AsyncClient
from mqttlite.errors import ConnectionClosed
from mqttlite.message import Message
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import Call, Peer

pytestmark = [
    pytest.mark.parametrize("version", ["5.0"]),
    pytest.mark.deadline(60.0),
]

embedded = pytest.mark.parametrize("broker", ["embedded"], indirect=True)


class Private(BaseException):
    """What no `except Exception` catches, and neither Python nor asyncio knows."""


@asynccontextmanager
async def one_connection(lab: Lab, **options: Any) -> AsyncIterator[AsyncClient]:
    """Connect a client, and show at the end that it still has the same connection."""
    async with lab.client(**options) as client:
        connection = client._core._connection
        assert connection is not None
        yield client
        await client.publish(f"{lab.topic}/the/end", qos=1, timeout=TIMEOUT)
        assert client._core._connection is connection


# --- longer than the keep alive

SERVER_KEEP_ALIVE = b"\x20\x06\x00\x00\x03\x13\x00\x01"
"""CONNACK: the keep alive is one second."""

PINGREQ, PINGRESP = b"\xc0\x00", b"\xd0\x00"


class Pinged:
    """A server that sends a message, and sets `enough` when it has seen two pings since."""

    def __init__(self, publish: bytes) -> None:
        self.enough = threading.Event()
        self.acknowledged = threading.Event()
        self.packets: list[bytes] = []
        self._publish = publish

    def __call__(self, call: Call) -> None:
        call.read_packet()
        call.send(SERVER_KEEP_ALIVE)
        call.read_packet()
        call.send(b"\x90\x04\x00\x01\x00\x01")  # SUBACK
        call.send(self._publish)
        while True:
            packet = call.read_packet()
            self.packets.append(packet)
            if packet[:1] == b"\x40":
                self.acknowledged.set()
            if packet == PINGREQ:
                call.send(PINGRESP)
                if self.packets.count(PINGREQ) == 2:
                    self.enough.set()


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_handler_takes_longer_than_the_keep_alive(bench: Lab, qos: int) -> None:
    """It is pinged all the while, and the message acknowledged only afterwards."""
    server = Pinged((b"\x30\x05\x00\x01a\x00x", b"\x32\x07\x00\x01a\x00\x07\x00x")[qos])
    finished = bench.queue()

    async def handler(message: Message) -> None:
        assert await bench.blocking(server.enough.wait, TIMEOUT)
        finished.put(message.payload)

    with Peer(server) as peer:
        client = bench.client(peer.url)
        await client.connect()
        await client.subscribe("a", qos=1, handler=handler)
        assert await finished.get(2 * TIMEOUT) == b"x"
        if qos:  # when the handler has returned
            assert await bench.blocking(server.acknowledged.wait, TIMEOUT)
        await client.close()
        assert len(peer.calls) == 1
    acknowledgements = [packet for packet in server.packets if packet[:1] == b"\x40"]
    assert acknowledgements == [b"\x40\x02\x00\x07"] * qos
    assert server.packets[:2] == [PINGREQ, PINGREQ]


async def test_a_handler_takes_long_and_publishes_meanwhile(bench: Lab) -> None:
    """The acknowledgement that it waits for comes after two pings."""

    class Late(Pinged):
        def __call__(self, call: Call) -> None:
            late = threading.Thread(target=self._acknowledge, args=(call,), name="late")
            late.start()
            super().__call__(call)

        def _acknowledge(self, call: Call) -> None:
            if self.enough.wait(TIMEOUT):
                call.send(b"\x40\x02\x00\x02")  # PUBACK

    server = Late(b"\x30\x05\x00\x01a\x00x")
    finished = bench.queue()

    async def handler(message: Message) -> None:
        await client.publish("b", message.payload, qos=1, timeout=2 * TIMEOUT)
        finished.put(server.enough.is_set())

    with Peer(server) as peer:
        client = bench.client(peer.url)
        await client.connect()
        await client.subscribe("a", qos=1, handler=handler)
        assert await finished.get(2 * TIMEOUT) is True
        await client.close()
        assert len(peer.calls) == 1
    assert b"\x32\x07\x00\x01b\x00\x02\x00x" in server.packets


# --- what a handler may call


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_many_handlers_that_publish_and_wait(lab: Lab, qos: int) -> None:
    done = lab.queue()
    async with one_connection(lab) as client:

        async def handler(message: Message) -> None:
            answer = await client.publish(
                f"{message.topic}/answer", message.payload, qos=qos, timeout=TIMEOUT
            )
            done.put((message.topic, answer.done))

        topics = [f"{lab.topic}/{number}" for number in range(50)]
        answers = await client.subscribe(f"{lab.topic}/+/answer", qos=qos, buffer_size=2000)
        for topic in topics:
            await client.subscribe(topic, qos=qos, handler=handler)
        for number in range(10):
            for topic in topics:
                client.publish_nowait(topic, b"%d" % number, qos=qos)
        handled = [await done.get() for _ in range(500)]
        assert {topic: handled.count((topic, True)) for topic in topics} == dict.fromkeys(
            topics, 10
        )
        got: dict[str, list[bytes]] = {}
        for _ in range(500):
            message = await answers.get(TIMEOUT)
            got.setdefault(message.topic, []).append(message.payload)
        numbers = [b"%d" % number for number in range(10)]
        assert got == {f"{topic}/answer": numbers for topic in topics}


async def test_handlers_of_tasks_run_at_once(lab: Lab) -> None:
    if lab.kind.name != "aio":
        pytest.skip("in threads they share one")
    meeting = asyncio.Barrier(10)
    done = lab.queue()

    async def handler(message: Message) -> None:
        await meeting.wait()
        done.put(message.topic)

    async with one_connection(lab) as client:
        topics = [f"{lab.topic}/{number}" for number in range(10)]
        for topic in topics:
            await client.subscribe(topic, qos=1, handler=handler)
        for topic in topics:
            client.publish_nowait(topic, qos=1)
        assert sorted([await done.get() for _ in topics]) == topics


async def test_a_handler_that_asks_another_one_of_its_client(lab: Lab) -> None:
    if lab.kind.name != "aio":
        pytest.skip("in threads they share one")
    done = lab.queue()
    async with one_connection(lab) as client:

        async def serve(message: Message) -> None:
            assert message.response_topic is not None
            assert message.correlation_data is not None
            await client.publish(
                message.response_topic, b"yes", qos=1, correlation_data=message.correlation_data
            )

        async def handler(_message: Message) -> None:
            done.put((await client.request(f"{lab.topic}/service", timeout=TIMEOUT)).payload)

        await client.subscribe(f"{lab.topic}/service", qos=1, handler=serve)
        await client.subscribe(f"{lab.topic}/ask", qos=1, handler=handler)
        await client.publish(f"{lab.topic}/ask", qos=1)
        assert await done.get() == b"yes"


async def test_many_requests_inside_a_handler(lab: Lab) -> None:
    done = lab.queue()
    async with one_connection(lab) as client, lab.client() as server:

        async def serve(message: Message) -> None:
            assert message.response_topic is not None
            assert message.correlation_data is not None
            await server.publish(
                message.response_topic, message.payload, correlation_data=message.correlation_data
            )

        async def handler(message: Message) -> None:
            answer = await client.request(f"{lab.topic}/service", message.payload, timeout=TIMEOUT)
            done.put(answer.payload)

        await server.subscribe(f"{lab.topic}/service", qos=1, handler=serve)
        await client.subscribe(f"{lab.topic}/ask", qos=2, handler=handler)
        for number in range(20):
            client.publish_nowait(f"{lab.topic}/ask", b"%d" % number, qos=2)
        assert [await done.get() for _ in range(20)] == [b"%d" % number for number in range(20)]


async def test_a_handler_that_subscribes_with_a_handler(lab: Lab) -> None:
    """Each one subscribes to the next topic, and sends it a message."""
    done = lab.queue()
    async with one_connection(lab) as client:

        async def handler(message: Message) -> None:
            level = int(message.payload)
            if level == 10:
                done.put(message.topic)
                return
            topic = f"{message.topic}/{level}"
            await client.subscribe(topic, qos=1, handler=handler, timeout=TIMEOUT)
            await client.publish(topic, str(level + 1), qos=2, timeout=TIMEOUT)

        await client.subscribe(lab.topic, qos=1, handler=handler)
        await client.publish(lab.topic, "0", qos=1)
        levels = "/".join(map(str, range(10)))
        assert await done.get() == f"{lab.topic}/{levels}"


@pytest.mark.parametrize("whose", ["subscription", "client"])
async def test_a_handler_that_unsubscribes_itself_owes_nothing(lab: Lab, whose: str) -> None:
    """What had come for it is acknowledged: it takes up no room of the Receive Maximum."""
    entered, leave, got = lab.queue(), lab.queue(), lab.queue()
    subscriptions: list[Any] = []
    async with one_connection(lab, receive_maximum=5) as client:

        async def handler(message: Message) -> None:
            entered.put(message.payload)
            if message.payload == b"0":
                await leave.get()
                if whose == "subscription":
                    await subscriptions[0].unsubscribe(TIMEOUT)
                else:
                    await client.unsubscribe(f"{lab.topic}/a", timeout=TIMEOUT)

        subscriptions.append(await client.subscribe(f"{lab.topic}/a", qos=1, handler=handler))
        await client.subscribe(f"{lab.topic}/b", qos=1, handler=got.put)
        for number in range(20):
            await client.publish(f"{lab.topic}/a", b"%d" % number, qos=1)
        assert await entered.get() == b"0"
        leave.put(None)
        for number in range(20):
            await client.publish(f"{lab.topic}/b", b"%d" % number, qos=1)
        assert [(await got.get()).payload for _ in range(20)] == [b"%d" % n for n in range(20)]
        if whose == "subscription":  # what it had not taken is not handled any more
            with pytest.raises(TimeoutError):
                await entered.get(0.01)


async def test_a_handler_that_closes_the_client_with_much_to_do(lab: Lab) -> None:
    """The rest of the messages are not handled, and close() returns to the handler."""
    options: dict[str, Any] = {"client_id": f"h-{lab.topic}", "clean_start": False}
    done = lab.queue()
    handled: list[bytes] = []
    client = lab.client(**options)

    async def handler(message: Message) -> None:
        handled.append(message.payload)
        if len(handled) == 1:
            await client.close(TIMEOUT)
            done.put(client.is_idle)

    await client.connect()
    await client.subscribe(lab.topic, qos=1, handler=handler)
    async with lab.client() as other:
        for number in range(100):
            await other.publish(lab.topic, b"%d" % number, qos=1)
    assert await done.get() is True
    with pytest.raises(ConnectionClosed):
        await client.publish(lab.topic, b"more", qos=1)
    await client.close(TIMEOUT)
    assert handled == [b"0"]
    async with lab.client(client_id=options["client_id"]):
        pass  # ends the session


@embedded
@pytest.mark.parametrize("kind", ["aio"], indirect=True)
async def test_two_handlers_that_close_the_client(lab: Lab) -> None:
    """Neither waits for the other one's end, which would not come before its own."""
    done: list[bool] = []
    client = lab.client()
    both, leave = asyncio.Barrier(2), asyncio.Event()

    async def handler(_message: Message) -> None:
        await both.wait()
        try:
            await client.close(1.0)
            done.append(client.is_idle)
        finally:
            leave.set()

    await client.connect()
    for name in ("a", "b"):
        await client.subscribe(f"{lab.topic}/{name}", handler=handler)
        client.publish_nowait(f"{lab.topic}/{name}")
    await asyncio.wait_for(leave.wait(), TIMEOUT)
    await client.close(TIMEOUT)
    assert done == [True, True]


@embedded
@pytest.mark.parametrize("kind", ["aio"], indirect=True)
async def test_a_handler_that_closes_the_client_in_a_task(lab: Lab) -> None:
    """As asyncio.gather() and a TaskGroup do it, and asyncio.wait_for() in Python 3.11."""
    done: list[bool] = []
    client = lab.client()
    leave = asyncio.Event()

    async def handler(_message: Message) -> None:
        try:
            await asyncio.gather(client.close(1.0))
            done.append(client.is_idle)
        finally:
            leave.set()

    await client.connect()
    await client.subscribe(lab.topic, handler=handler)
    client.publish_nowait(lab.topic)
    await asyncio.wait_for(leave.wait(), TIMEOUT)
    await client.close(TIMEOUT)
    assert done == [True]


# --- what a handler may raise


@embedded
@pytest.mark.parametrize("error", [Private(), BaseExceptionGroup("several", [Private()])])
async def test_whatever_a_handler_raises_is_reported_and_it_goes_on(
    lab: Lab, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    got, errors = lab.queue(), lab.queue()

    async def handler(message: Message) -> None:
        got.put(message.payload)
        raise error

    def on_error(raised: BaseException, message: Message) -> None:
        errors.put((raised, message.payload))

    with caplog.at_level(logging.CRITICAL):
        async with one_connection(lab, on_error=on_error) as client:
            await client.subscribe(lab.topic, handler=handler)
            for number in range(20):
                await client.publish(lab.topic, b"%d" % number)
                assert await got.get() == b"%d" % number
                assert await errors.get(TIMEOUT / 2) == (error, b"%d" % number)


async def test_handlers_that_raise_do_not_disturb_the_others(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    got = lab.queue()

    async def bad(_message: Message) -> None:
        raise KeyError

    with caplog.at_level(logging.CRITICAL):
        async with one_connection(lab) as client:
            await client.subscribe(f"{lab.topic}/bad", qos=1, handler=bad)
            await client.subscribe(f"{lab.topic}/good", qos=2, handler=got.put)
            for number in range(200):
                client.publish_nowait(f"{lab.topic}/bad", qos=0)
                client.publish_nowait(f"{lab.topic}/good", b"%d" % number, qos=2)
            numbers = [b"%d" % number for number in range(200)]
            assert [(await got.get()).payload for _ in range(200)] == numbers
