"""How a connection ends when an error of our own stands in its way: both clients, over sockets."""

from __future__ import annotations

from queue import SimpleQueue

import pytest

from mqttlite import Client
from mqttlite.client import ClientCore
from mqttlite.client.events import Disconnected
from mqttlite.errors import PublishError
from tests.conformance.conforms import conforms
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import Call, Peer

pytestmark = pytest.mark.usefixtures("deadline", "no_leaks")


@conforms("3.1.1", "MQTT-4.8.0-2")
@pytest.mark.parametrize("version", ["3.1.1"])
async def test_an_error_while_a_packet_is_processed_ends_the_connection(
    bench: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = ClientCore.receive

    def fail(core: ClientCore, data: bytes, now: float) -> None:
        if data[0] == 0x30:
            raise MemoryError
        receive(core, data, now)

    monkeypatch.setattr(ClientCore, "receive", fail)
    ended: SimpleQueue[bytes] = SimpleQueue()

    def script(call: Call) -> None:
        call.read_packet()
        call.send(b"\x20\x02\x00\x00")
        call.read_packet()
        call.send(b"\x30\x03\x00\x01t")
        ended.put(call.read_to_end())

    with Peer(script) as peer:
        client = bench.client(peer.url, reconnect=False)
        await client.connect()
        await client.publish("t", b"", qos=0)  # so that CONNACK and PUBLISH are two reads
        assert await bench.blocking(ended.get, True, TIMEOUT) == b""
        await client.close()


def test_an_error_of_the_io_thread_is_reported_as_the_end_of_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receive = ClientCore.receive

    def fail(core: ClientCore, data: bytes, now: float) -> None:
        if data[0] == 0x30:
            raise MemoryError
        receive(core, data, now)

    monkeypatch.setattr(ClientCore, "receive", fail)

    def script(call: Call) -> None:
        call.read_packet()
        call.send(b"\x20\x02\x00\x00")
        call.read_packet()
        call.send(b"\x30\x03\x00\x01t")
        call.read_to_end()

    lost: SimpleQueue[Disconnected] = SimpleQueue()
    with Peer(script) as peer:
        client = Client(peer.url, version="3.1.1", reconnect=False, on_disconnect=lost.put)
        client.connect()
        delivery = client.publish_nowait("t", b"", qos=1)
        with pytest.raises(PublishError):
            delivery.wait(TIMEOUT)
        client.close()
    event = lost.get(timeout=1.0)
    assert isinstance(event.error, MemoryError)
    assert event.retry_in is None
