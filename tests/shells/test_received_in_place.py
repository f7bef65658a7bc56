"""Large payloads, which are received where they stay, among small ones, and cut and paused.

The clients have buffers that they use again and again, and that connections share: each payload
here is like no other, so that no byte can come from elsewhere unseen.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import ssl
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mqttlite.aio import AsyncClient
from mqttlite.options import TLS
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT, Asyncio, Kind, Lab, Threads
from tests.shells.mischief import AT_ONCE, only_5
from tests.shells.peer import Call, Peer, Script
from tests.shells.test_written_soon import publish, subscribed, wait_until
from tests.support.certificates import Certificates
from tests.support.websocket_bridge import WebSocketBridge

pytestmark = pytest.mark.deadline(60.0)


@pytest.fixture(params=["sync", "aio", "uvloop"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Both kinds of client, and the loop that keeps a buffer until it has told of its bytes."""
    if request.param == "sync":
        return Threads()
    if request.param == "aio":
        return Asyncio()
    pytest.importorskip("uvloop")
    from tests.shells.test_uvloop import Uvloop  # noqa: PLC0415 - it skips where there is none

    return Uvloop()


@pytest.fixture(autouse=True)
def complaints() -> Iterator[list[str]]:
    """What the garbage collector complains of, which only one test here looks at."""
    found: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda args: found.append(repr(args.exc_value))
    yield found
    gc.collect()
    sys.unraisablehook = before


def bytes_of(name: object, size: int) -> bytes:
    """Bytes that only this payload has."""
    return hashlib.shake_256(repr(name).encode()).digest(size)


# From 64 KiB missing on a payload is gathered in place, from 16 KiB on bytes are read into it; of
# memory there is 1 MiB at first.
SIZES = [
    0,
    1,
    16 * 1024,
    64 * 1024 - 1,
    64 * 1024,
    64 * 1024 + 1,
    80 * 1024,
    100_001,
    1024 * 1024 - 1,
    1024 * 1024,
    1024 * 1024 + 1,
    5,
    3_333_333,
    2 * 1024 * 1024,
    7,
]

PIECES = [1, 5, 65_536, 65_535, 100_000, 16_384, 65_537, 13, 300_000, 2, 1_000_000]


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Cut into pieces of these sizes, over and over."""
    start = number = 0
    while start < len(data):
        size = sizes[number % len(sizes)]
        yield data[start : start + size]
        start += size
        number += 1


def payloads(name: object) -> list[bytes]:
    return [bytes_of((name, number), size) for number, size in enumerate(SIZES)]


class Rounds:
    """Servers that send one piece each, in turn, until they have no more."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed = threading.Condition()
        self._going = list(range(count))
        self._turn = 0

    def send(self, number: int, call: Call, data: bytes, sizes: list[int]) -> None:
        for piece in pieces(data, sizes):
            with self._changed:
                assert self._changed.wait_for(lambda: self._is_turn_of(number), TIMEOUT)
            call.send(piece)
            with self._changed:
                self._turn += 1
                self._changed.notify_all()
        with self._changed:
            position = self._going.index(number)
            turn = self._turn % len(self._going)
            self._going.remove(number)
            self._turn = turn - (position < turn)
            self._changed.notify_all()

    def _is_turn_of(self, number: int) -> bool:
        return self._going[self._turn % len(self._going)] == number


def sends(rounds: Rounds, number: int, qos: int) -> Script:
    """Make one of the servers."""

    def script(call: Call) -> None:
        subscribed(call)
        data = b"".join(publish(p, qos, i + 1) for i, p in enumerate(payloads(number)))
        rounds.send(number, call, data, PIECES[number:] + PIECES[:number])
        serve_quietly(call)

    return script


def serve_quietly(call: Call) -> None:
    """Read what comes, and answer to what wants it."""
    while True:
        received = call.read_packet()
        if received[0] == 0xA2:
            call.send(b"\xb0\x04" + received[2:4] + b"\0\0")
        elif received[0] == 0x32:
            start = 4 + received[3]
            call.send(b"\x40\x02" + received[start : start + 2])
        elif received[0] >> 4 == 5:
            call.send(b"\x62\x02" + received[2:4])
        elif received[0] == 0xE0:
            return


async def expect(messages: Any, name: object) -> None:
    for number, payload in enumerate(payloads(name)):
        message = await messages.get(2 * TIMEOUT)
        assert len(message.payload) == len(payload), f"message {number}"
        assert message.payload == payload, f"message {number}"


@only_5
@pytest.mark.parametrize("qos", [0, 2])
async def test_connections_that_get_large_messages_piece_by_piece(bench: Lab, qos: int) -> None:
    """The pieces of three connections come in turns, all in one loop."""
    rounds = Rounds(3)
    peers = [Peer(sends(rounds, number, qos)) for number in range(3)]
    with peers[0], peers[1], peers[2]:
        clients = [bench.client(peer.url) for peer in peers]

        async def receive(number: int) -> None:
            async with clients[number] as client:
                messages = await client.subscribe("t", qos=2)
                await expect(messages, number)

        for task in [bench.start(receive(number)) for number in range(3)]:
            await task.result()


@only_5
async def test_loops_in_threads_that_get_large_messages(bench: Lab) -> None:
    """Three loops, each in a thread and each with two connections; the pieces come in turns."""
    if bench.kind.name != "aio":
        pytest.skip("loops only")
    rounds = Rounds(6)
    peers = [Peer(sends(rounds, number, 0)) for number in range(6)]
    errors: list[BaseException] = []

    async def receive(number: int) -> None:
        async with AsyncClient(peers[number].url) as client:
            messages = await client.subscribe("t")
            await expect(messages, number)

    async def receive_two(number: int) -> None:
        await asyncio.gather(receive(number), receive(number + 1))

    def run(number: int) -> None:
        try:
            with asyncio.Runner(loop_factory=type(loop)) as runner:
                runner.run(receive_two(number))
        except BaseException as error:
            errors.append(error)

    loop = asyncio.get_running_loop()
    with peers[0], peers[1], peers[2], peers[3], peers[4], peers[5]:
        threads = [threading.Thread(target=run, args=(number,)) for number in (0, 2, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await bench.blocking(thread.join)
    if errors:
        raise errors[0]


@only_5
async def test_over_tls(bench: Lab, certificates: Certificates) -> None:
    """There bytes are never received in place, but from the layer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)

    def script(call: Call) -> None:
        call.sock = context.wrap_socket(call.sock, server_side=True)
        try:
            subscribed(call)
            data = b"".join(publish(payload) for payload in payloads("tls"))
            for piece in pieces(data, PIECES):
                call.send(piece)
            serve_quietly(call)
        finally:
            call.sock.close()

    with Peer(script) as peer:
        url = f"mqtts://localhost:{peer.port}"
        tls = TLS(ca_file=certificates.ca_file)
        async with bench.client(url, tls=tls) as client:
            messages = await client.subscribe("t")
            await expect(messages, "tls")


@only_5
async def test_over_websocket(bench: Lab) -> None:
    with embedded() as broker, WebSocketBridge(broker.port) as bridge:
        url = f"ws://127.0.0.1:{bridge.port}/mqtt"
        async with bench.client(url) as client, bench.client(broker.url) as other:
            messages = await client.subscribe(bench.topic, qos=1)
            for payload in payloads("ws"):
                await other.publish(bench.topic, payload, qos=1, timeout=TIMEOUT)
            await expect(messages, "ws")


LARGE = bytes_of("large", 2_500_000)

CUTS = [70_000, 1_000_000, 1_048_600, len(LARGE) - 16_385, len(LARGE) - 1]


@only_5
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("how", ["EOF", "reset"])
@pytest.mark.parametrize("again", [True, False])
async def test_a_connection_that_is_cut_in_the_middle(
    bench: Lab, cut: int, how: str, again: bool
) -> None:
    """What came of the message is forgotten: the next connection brings all of it, or others."""
    received = threading.Event()

    def first(call: Call) -> None:
        subscribed(call)
        call.send(publish(LARGE, 1, 1)[:cut])
        assert received.wait(TIMEOUT)
        if how == "reset":
            call.reset()

    def second(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"small"))
        if again:
            data = publish(LARGE, 1, 1)
            for piece in pieces(bytes([data[0] | 8]) + data[1:], PIECES):
                call.send(piece)
        call.send(publish(b"last"))
        serve_quietly(call)

    with Peer(first, second) as peer:
        async with bench.client(peer.url, reconnect=AT_ONCE) as client:
            messages = await client.subscribe("t", qos=1)
            await bench.blocking(wait_until, lambda: client.counters.received_bytes >= cut)
            received.set()
            expected = [b"small", LARGE, b"last"] if again else [b"small", b"last"]
            for payload in expected:
                assert (await messages.get(TIMEOUT)).payload == payload
            assert client.counters.connections == 2


@only_5
@pytest.mark.parametrize("begin", [50_000, 70_000, 1_200_000])
async def test_reading_pauses_in_the_middle(bench: Lab, begin: int) -> None:
    """And begins again where it was."""
    data = publish(LARGE, topic="large")

    def script(call: Call) -> None:
        subscribed(call, 2)
        call.send(b"".join(publish(b"%d" % i, topic="small") for i in range(4)) + data[:begin])
        for piece in pieces(data[begin:] + publish(b"end", topic="large"), PIECES):
            call.send(piece)
        serve_quietly(call)

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            small = await client.subscribe("small", buffer_size=2, when_full="pause")
            large = await client.subscribe("large")
            await bench.blocking(wait_until, lambda: small.buffered == 4)
            assert not large.buffered
            for number in range(4):
                assert (await small.get(TIMEOUT)).payload == b"%d" % number
            assert (await large.get(TIMEOUT)).payload == LARGE
            assert (await large.get(TIMEOUT)).payload == b"end"


@only_5
@pytest.mark.parametrize("begin", [70_000, 1_200_000])
@pytest.mark.parametrize("drain", [True, False])
async def test_closing_in_the_middle(bench: Lab, begin: int, drain: bool) -> None:
    """Nothing of it is in the way of the next connection."""

    def first(call: Call) -> None:
        subscribed(call)
        data = publish(LARGE)
        call.send(data[:begin])
        call.read_until(0xE0)
        call.send(data[begin:])  # which nobody reads any more
        call.read_to_end()

    def second(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"small") + publish(LARGE))
        serve_quietly(call)

    with Peer(first, second) as peer:
        client = bench.client(peer.url)
        await client.connect()
        messages = await client.subscribe("t")
        await bench.blocking(wait_until, lambda: client.counters.received_bytes >= begin)
        await client.close(TIMEOUT, drain=drain)
        assert [message async for message in messages] == []
        async with client:
            messages = await client.subscribe("t")
            assert (await messages.get(TIMEOUT)).payload == b"small"
            assert (await messages.get(TIMEOUT)).payload == LARGE


@only_5
async def test_the_payloads_stay_as_they_are(bench: Lab) -> None:
    """Whatever is received afterwards."""
    names = [f"{number}" for number in range(40)]
    sizes = [100, 5_000, 65_000, 66_000, 70_000, 1_100_000]

    def script(call: Call) -> None:
        subscribed(call)
        for number, name in enumerate(names):
            call.send(publish(bytes_of(name, sizes[number % len(sizes)])))
        serve_quietly(call)

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            messages = await client.subscribe("t")
            kept = [(await messages.get(TIMEOUT)).payload for _ in names]
            assert all(type(payload) is bytes for payload in kept)
            for number, (name, payload) in enumerate(zip(names, kept, strict=True)):
                assert payload == bytes_of(name, sizes[number % len(sizes)]), number


@only_5
@pytest.mark.parametrize("how", ["EOF", "reset"])
async def test_what_is_left_of_a_connection_makes_no_noise(
    bench: Lab, how: str, complaints: list[str]
) -> None:
    """When it is collected: nothing is printed."""
    received = threading.Event()

    def first(call: Call) -> None:
        subscribed(call)
        call.send(publish(LARGE)[:200_000])
        assert received.wait(TIMEOUT)
        if how == "reset":
            call.reset()

    def second(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"small"))
        serve_quietly(call)

    with Peer(first, second) as peer:
        async with bench.client(peer.url, reconnect=AT_ONCE) as client:
            messages = await client.subscribe("t")
            await bench.blocking(wait_until, lambda: client.counters.received_bytes >= 200_000)
            received.set()
            assert (await messages.get(TIMEOUT)).payload == b"small"
    gc.collect()
    assert complaints == []
