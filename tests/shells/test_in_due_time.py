"""What is due at a time comes then, whatever else happens, and also if nothing does."""

from __future__ import annotations

import select
import threading
from typing import Any

import pytest

from mqttlite.enums import Fate
from mqttlite.errors import PublishError
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.mischief import only_5
from tests.shells.peer import Call, Peer, accept
from tests.shells.test_written_soon import SILENT, publish, subscribed

PINGREQ, PINGRESP = b"\xc0\x00", b"\xd0\x00"


def answers_nothing(call: Call) -> None:
    """A server that lets the client in, and says nothing more."""
    accept("5.0", call)
    call.read_to_end()


# --- pings


@only_5
@pytest.mark.parametrize("awaited", [True, False])
async def test_pings_while_the_client_only_sends(bench: Lab, awaited: bool) -> None:
    """A server that says nothing may be dead, however much it is sent."""
    enough = threading.Event()

    def script(call: Call) -> None:
        accept("5.0", call)
        for _ in range(2):
            while call.read_packet() != PINGREQ:
                pass
            call.send(PINGRESP)
        enough.set()
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url, keep_alive=1) as client:
            while not await bench.blocking(enough.wait, 0.01):
                if awaited:
                    await client.publish("t", b"x")
                else:
                    client.publish_nowait("t", b"x")
            assert client.counters.connections == 1
        assert len(peer.calls) == 1


@only_5
async def test_pings_while_the_client_only_receives(bench: Lab) -> None:
    """The server is to hear from it in time."""

    def script(call: Call) -> None:
        subscribed(call)
        pings = 0
        while pings < 2:
            call.send(publish(b"x"))
            if select.select([call.sock], [], [], 0.01)[0]:
                assert call.read_packet() == PINGREQ
                call.send(PINGRESP)
                pings += 1
        call.send(publish(b"end"))
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url, keep_alive=1) as client:
            messages = await client.subscribe("t", buffer_size=100_000)
            while (await messages.get(TIMEOUT)).payload != b"end":
                pass
            assert client.counters.connections == 1


# --- expiry


def takes_one(call: Call) -> None:
    """A server that takes one message at a time, and does not acknowledge it."""
    accept("5.0", call, b"\x20\x06\x00\x00\x03\x21\x00\x01")
    call.read_to_end()


@only_5
@pytest.mark.parametrize("awaited", [True, False])
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_message_expires_while_it_waits_for_its_turn(
    bench: Lab, awaited: bool, qos: int
) -> None:
    """Nothing comes, nothing goes, no ping is due."""
    with Peer(takes_one) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            client.publish_nowait("t", b"in flight", qos=1)
            options: dict[str, Any] = {"qos": qos, "message_expiry_interval": 1}
            if awaited:
                with pytest.raises(PublishError) as raised:
                    await client.publish("t", b"x", **options)
            else:
                delivery = client.publish_nowait("t", b"x", **options)
                with pytest.raises(PublishError) as raised:
                    await delivery.wait(TIMEOUT)
            assert raised.value.fate is Fate.EXPIRED
            assert client.is_connected
            await client.close(0.2)


@only_5
async def test_of_two_messages_the_later_one_expires_first(bench: Lab) -> None:
    """Whoever sleeps until the first one is due has to get up earlier."""
    with Peer(takes_one) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            client.publish_nowait("t", b"in flight", qos=1)
            first = client.publish_nowait("t", b"1", qos=1, message_expiry_interval=1000)
            second = client.publish_nowait("t", b"2", qos=1, message_expiry_interval=1)
            with pytest.raises(PublishError) as raised:
                await second.wait(TIMEOUT)
            assert raised.value.fate is Fate.EXPIRED
            assert not first.done
            await client.close(0.2)


# --- the end


@only_5
@pytest.mark.parametrize("timeout", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("drain", [True, False])
async def test_closing_when_nothing_comes_any_more(bench: Lab, timeout: float, drain: bool) -> None:
    """It ends by itself; what was not acknowledged has failed."""
    with Peer(answers_nothing) as peer:
        client = bench.client(peer.url, **SILENT)
        await client.connect()
        deliveries = [client.publish_nowait("t", qos=qos) for qos in (1, 2)]
        await client.close(timeout, drain=drain)
        assert client.is_idle
        for delivery in deliveries:
            with pytest.raises(PublishError) as raised:
                await delivery.wait(TIMEOUT)
            assert raised.value.fate is Fate.CLOSED


# --- several that wait for the same


@only_5
@pytest.mark.parametrize("qos", [1, 2])
async def test_several_wait_for_one_delivery(bench: Lab, qos: int) -> None:
    """Some give up; those that do not, are told, once each."""
    acknowledge = threading.Event()

    def script(call: Call) -> None:
        accept("5.0", call)
        packet_id = call.read_until(0x30 | qos << 1)[5:7]
        assert acknowledge.wait(TIMEOUT)
        if qos == 1:
            call.send(b"\x40\x02" + packet_id)
        else:
            call.send(b"\x50\x02" + packet_id)
            call.read_until(0x62)
            call.send(b"\x70\x02" + packet_id)
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            delivery = client.publish_nowait("t", b"x", qos=qos)
            told = bench.queue()

            async def wait(timeout: float | None) -> None:
                try:
                    await delivery.wait(timeout)
                except TimeoutError:
                    told.put("late")
                else:
                    told.put("done")

            patient = [bench.start(wait(timeout)) for timeout in (None, TIMEOUT, None, TIMEOUT)]
            impatient = [bench.start(wait(timeout)) for timeout in (0, 0.01, 0.01)]
            for each in impatient:
                await each.result()
            assert [await told.get() for _ in impatient] == ["late"] * 3
            acknowledge.set()
            for each in patient:
                await each.result()
            assert [await told.get() for _ in patient] == ["done"] * 4
            await delivery.wait(0)
