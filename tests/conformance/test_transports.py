"""What the specifications ask of the network connection: both clients, over sockets."""

from __future__ import annotations

from queue import SimpleQueue

import pytest

from mqttlite.client import ClientCore
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
        if data.startswith(b"\x30"):
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
