"""The end of a connection: DISCONNECT from either side, and nothing behind it."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectionClosed, ConnectionLost, PacketTooLarge
from mqttlite.packets import Disconnect, Message, Puback, Pubcomp, Pubrel, Suback
from mqttlite.protocol import ConnectionState
from tests.behaviour import rule
from tests.unit.protocol.sides import V5, V311, Client, Server, connack


@pytest.mark.parametrize(("version", "expected"), [(V5, "e0 00"), (V311, "e0 00")])
def test_disconnect(version: Any, expected: str) -> None:
    client = Client(version=version)
    client.connection.disconnect()
    assert client.connection.state is ConnectionState.CLOSING
    assert not client.connection.is_closed
    assert client.sent() == expected
    cause = client.connection.close_cause
    assert type(cause) is ConnectionClosed
    assert cause.by is ClosedBy.CLIENT
    assert cause.reason_code == 0
    assert "the client disconnected" in str(cause)


def test_disconnect_with_a_reason() -> None:
    client = Client()
    client.connection.disconnect(0x04, {"reason_string": "bye"})
    assert client.sent() == "e0 08 04 06 1f 00 03 62 79 65"
    assert client.connection.close_cause is not None
    assert client.connection.close_cause.reason_code == 4


def test_the_server_disconnects() -> None:
    server = Server()
    server.connection.disconnect(0x8B)
    assert server.sent() == "e0 01 8b"
    assert server.connection.close_cause is not None
    assert server.connection.close_cause.by is ClosedBy.SERVER


def test_cause_of_ones_own() -> None:
    client = Client()
    cause = ConnectionLost("for a reason")
    client.connection.disconnect(cause=cause)
    assert client.connection.close_cause is cause


def test_disconnect_twice() -> None:
    client = Client()
    client.connection.disconnect()
    cause = client.connection.close_cause
    client.connection.disconnect(0x04)
    assert client.sent() == "e0 00"
    assert client.connection.close_cause is cause
    client.connection.receive_eof()
    client.connection.disconnect(0x04)
    assert client.connection.close_cause is cause
    assert client.connection.is_closed


def test_nothing_after_disconnect() -> None:
    # [MQTT-3.14.4-1] [MQTT-3.14.4-2]
    client = Client()
    message = client.message("32 06 00 01 74 00 09 00")
    client.publish("t", b"", 1)
    client.connection.disconnect()
    assert client.sent() == "32 06 00 01 74 00 01 00 e0 00"
    message.ack()
    client.connection.unsubscribe(["f"])
    client.connection.send(Pubrel(1))
    assert client.give("c0 00", "40 02 00 01", "30 04 00 01 74 00") == []
    assert client.sent() == ""
    assert list(client.session.outgoing) == [1]


def test_packets_behind_the_fault_of_the_same_bytes_are_not_looked_at() -> None:
    client = Client()
    assert client.give("40 02 00 07", "30 04 00 01 74 00", "e0 00") == []
    assert client.failure()


class TestFromTheServer:
    def test_disconnect(self) -> None:
        client = Client()
        client.publish("t", b"", 1)
        (packet,) = client.give("e0 01 8b")
        assert packet == Disconnect(0x8B, packet.properties)
        assert client.connection.is_closed
        assert client.sent() == ""  # what was not taken is dropped
        assert client.connection.unsent_size == 0
        cause = client.connection.close_cause
        assert type(cause) is ConnectionClosed
        assert cause.by is ClosedBy.SERVER
        assert cause.reason_code == 0x8B
        assert cause.reason_string is None
        assert cause.server_reference is None
        assert str(cause) == "the server disconnected: server shutting down (0x8B)"

    def test_explanation_and_another_server(self) -> None:
        client = Client()
        client.give("e0 0b 9c 09 1f 00 02 6e 6f 1c 00 01 62")
        cause = client.connection.close_cause
        assert cause is not None
        assert str(cause) == "the server disconnected: use another server (0x9C), no; use b"
        assert cause.reason_string == "no"
        assert cause.server_reference == "b"

    def test_messages_before_it_are_received(self) -> None:
        client = Client()
        message, packet = client.give("30 04 00 01 74 00", "e0 00", "30 04 00 01 74 00")
        assert isinstance(message, Message)
        assert isinstance(packet, Disconnect)

    def test_session_expiry_is_not_for_the_server(self) -> None:
        # [MQTT-3.14.2-2]
        client = Client()
        client.give("e0 07 00 05 11 00 00 00 05")
        assert client.failure().reason_code == 0x82
        assert client.sent() == "e0 01 82"

    def test_mqtt_3_1_1_has_none(self) -> None:
        client = Client(version=V311)
        assert client.give("e0 00") == []
        assert client.failure()
        assert client.sent() == ""


class TestLost:
    def test_eof(self) -> None:
        client = Client()
        client.publish("t", b"", 1)
        client.connection.receive_eof()
        assert client.connection.is_closed
        assert type(client.connection.close_cause) is ConnectionLost
        assert client.connection.close_cause.by is ClosedBy.NETWORK
        assert client.connection.close_cause.reason_code is None
        assert client.sent() == ""
        assert client.give("30 04 00 01 74 00") == []
        client.publish("t")
        assert client.sent() == ""

    def test_the_first_cause_stays(self) -> None:
        client = Client()
        client.connection.disconnect()
        cause = client.connection.close_cause
        client.connection.receive_eof()
        assert client.connection.close_cause is cause


class TestSmallPackets:
    """Rule 24: what would be too large for the peer first loses what is only said to people."""

    @rule(24)
    def test_reason_string_is_left_out(self) -> None:
        client = Client(connack("27 00 00 00 10"))  # 16 bytes
        properties: Any = {"reason_string": "x" * 20, "user_properties": [("a", "b")]}
        client.connection.send(Puback(1, 0x80, properties))
        assert client.sent() == "40 0b 00 01 80 07 26 00 01 61 00 01 62"

    def test_user_properties_are_left_out_too(self) -> None:
        client = Client(connack("27 00 00 00 10"))
        properties: Any = {"reason_string": "x" * 20, "user_properties": [("a", "b" * 20)]}
        client.connection.send(Pubcomp(1, 0x92, properties))
        assert client.sent() in ("70 04 00 01 92 00", "70 03 00 01 92")

    def test_it_stays_if_it_fits(self) -> None:
        client = Client(connack("27 00 00 00 10"))
        client.connection.send(Puback(1, 0x80, {"reason_string": "x" * 7}))
        assert client.sent() == "40 0e 00 01 80 0a 1f 00 07" + " 78" * 7

    def test_disconnect(self) -> None:
        client = Client(connack("27 00 00 00 09"))
        client.connection.disconnect(
            0x04, {"session_expiry_interval": 1, "reason_string": "x" * 20}
        )
        assert client.sent() == "e0 07 04 05 11 00 00 00 01"

    def test_suback_of_a_server(self) -> None:
        connect = "10 13 00 04 4d 51 54 54 05 02 00 00 05 27 00 00 00 09 00 01 63"
        server = Server(connect)
        server.connection.send(Suback(1, [1], {"reason_string": "x" * 20}))
        assert server.sent() == "90 04 00 01 00 01"
        with pytest.raises(PacketTooLarge, match="11 bytes, the peer takes at most 9"):
            server.connection.send(Suback(1, [1] * 6, {"reason_string": "x" * 20}))
        assert server.sent() == ""
