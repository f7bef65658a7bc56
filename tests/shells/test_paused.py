"""when_full="pause": the client stops reading, and loses nothing."""

import threading
from typing import Any

import pytest

from mqttlite.errors import ConnectionClosed
from mqttlite.options import Reconnect
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import ACCEPTED, Call, Peer, Script
from tests.shells.wire import split

only_5 = pytest.mark.parametrize("version", ["5.0"])

AT_ONCE = Reconnect(first_delay=0.01, maximum_delay=0.05)
PAUSE: dict[str, Any] = {"buffer_size": 10, "when_full": "pause"}
COUNT = 50


def suback(call: Call, is_5: bool) -> None:
    request = call.read_packet()
    assert request[0] == 0x82
    call.send(b"\x90" + (b"\x04" if is_5 else b"\x03") + request[2:4] + b"\0\0"[: 1 + is_5])


def publish(number: int, is_5: bool) -> bytes:
    payload = b"%04d" % number
    return bytes((0x30, 3 + is_5 + len(payload), 0, 1)) + b"t" + b"\0" * is_5 + payload


def flood(call: Call, is_5: bool) -> None:
    """Let the client connect and subscribe, and send it more than it has room for."""
    call.read_packet()
    call.send(ACCEPTED["5.0" if is_5 else "3.1.1"])
    suback(call, is_5)
    call.send(b"".join(publish(i, is_5) for i in range(COUNT)))


def floods(is_5: bool, then: Script) -> Script:
    def script(call: Call) -> None:
        flood(call, is_5)
        then(call)

    return script


async def take(messages: Any, count: int = COUNT) -> list[int]:
    return [int((await messages.get(TIMEOUT)).payload) for _ in range(count)]


@rule(17, 18)
@pytest.mark.deadline(60)
async def test_nothing_is_lost_and_the_buffer_is_bounded(lab: Lab) -> None:
    """12 MB come, of which only what is read at once ever stands in the buffer."""
    count, size = 3_000, 4_096
    async with lab.client() as other, lab.client() as client:
        messages = await client.subscribe(lab.topic, **PAUSE)
        for i in range(count):
            await other.publish(lab.topic, b"%d" % i + bytes(size))
        await other.publish(f"{lab.topic}/other", b"", qos=1)  # the server has them all now
        most = 0
        for i in range(count):
            most = max(most, messages.buffered)
            payload = (await messages.get(TIMEOUT)).payload
            assert payload == b"%d" % i + bytes(size)
        assert most <= count // 3
        assert messages.dropped == 0
        assert client.is_connected


@rule(17, 18)
async def test_another_subscription_goes_on_afterwards(lab: Lab) -> None:
    handled = lab.queue()
    async with lab.client() as other, lab.client() as client:
        messages = await client.subscribe(f"{lab.topic}/much", **PAUSE)
        await client.subscribe(f"{lab.topic}/little", qos=1, handler=handled.put)
        for i in range(COUNT):
            await other.publish(f"{lab.topic}/much", b"%d" % i)
        await other.publish(f"{lab.topic}/little", b"", qos=1)
        assert await take(messages) == list(range(COUNT))
        await handled.get()


@rule(17, 18)
async def test_the_connection_stays_alive(bench: Lab) -> None:
    """The pause lasts until the server has seen two pings; their answers wait behind the flood."""
    is_5 = bench.is_5
    pinged = threading.Event()

    def script(call: Call) -> None:
        for _ in range(2):
            assert call.read_packet() == b"\xc0\0"
            call.send(b"\xd0\0")
        pinged.set()
        while (request := call.read_packet())[0] == 0xC0:  # another one may be on its way
            call.send(b"\xd0\0")
        assert request[0] == 0x32
        start = 2 + 3
        call.send(b"\x40\x02" + request[start : start + 2])
        call.read_to_end()

    with Peer(floods(is_5, script)) as peer:
        async with bench.client(peer.url, keep_alive=1) as client:
            messages = await client.subscribe("t", **PAUSE)
            assert await bench.blocking(pinged.wait, TIMEOUT)
            assert client.is_connected
            assert await take(messages) == list(range(COUNT))
            await client.publish("t", b"", qos=1, timeout=TIMEOUT)
            assert client.counters.connections == 1
        assert len(peer.calls) == 1


async def first_message(messages: Any) -> None:
    """Wait until the flood has come."""
    assert await take(messages, 1) == [0]


@rule(17, 18)
async def test_closing(bench: Lab) -> None:
    with Peer(floods(bench.is_5, lambda call: call.read_to_end())) as peer:
        client = bench.client(peer.url)
        await client.connect()
        messages = await client.subscribe("t", **PAUSE)
        await first_message(messages)
        await client.close()
        assert client.is_idle
        # What was received before can still be taken.
        rest = [int(message.payload) async for message in messages]
        assert rest == list(range(1, 1 + len(rest)))
        assert split(peer.calls[0].received)[-1][0] == 0xE0


@rule(17, 18)
async def test_unsubscribing(bench: Lab) -> None:
    """Nobody has to take what is in the buffer: reading goes on."""
    is_5 = bench.is_5

    def script(call: Call) -> None:
        request = call.read_packet()
        assert request[0] == 0xA2
        call.send(b"\xb0" + (b"\x04" if is_5 else b"\x02") + request[2:4] + b"\0\0"[: 2 * is_5])
        call.read_to_end()

    with Peer(floods(is_5, script)) as peer:
        async with bench.client(peer.url) as client:
            messages = await client.subscribe("t", **PAUSE)
            await first_message(messages)
            await messages.unsubscribe(TIMEOUT)
            with pytest.raises(ConnectionClosed):
                await messages.get(TIMEOUT)
            assert client.is_connected


@rule(17, 18)
async def test_the_connection_is_lost(bench: Lab) -> None:
    """It may be noticed late, when there is room again; then the client is back."""
    up = bench.queue()
    is_5 = bench.is_5

    def second(call: Call) -> None:
        call.send(publish(9999, is_5))
        call.read_to_end()

    with Peer(floods(is_5, lambda _call: None), floods(is_5, second)) as peer:
        options: dict[str, Any] = {"reconnect": AT_ONCE, "on_connect": up.put}
        async with bench.client(peer.url, **options) as client:
            messages = await client.subscribe("t", **PAUSE)
            await up.get()
            assert await take(messages) == list(range(COUNT))
            await up.get()
            assert await take(messages) == list(range(COUNT))
            assert await take(messages, 1) == [9999]
            assert sum(client.counters.dropped_messages.values()) == 0


@rule(17, 18)
@only_5
async def test_qos_1_never_pauses(lab: Lab) -> None:
    """The server holds those back: other answers come, whoever takes nothing."""
    async with lab.client(receive_maximum=20) as client:
        messages = await client.subscribe(f"{lab.topic}/a", qos=1, **PAUSE)
        for i in range(COUNT):
            client.publish_nowait(f"{lab.topic}/a", b"%d" % i, qos=1)
        await client.publish(f"{lab.topic}/b", b"", qos=2, timeout=TIMEOUT)
        assert await take(messages) == list(range(COUNT))
