"""CONNECT and CONNACK, as the client sees them."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.enums import ClosedBy, ReasonCode
from mqttlite.errors import ConnectRefused, ProtocolError, UsageError
from mqttlite.limits import MAXIMUM_PACKET_SIZE
from mqttlite.packets import Connack, Connect
from mqttlite.protocol import ClientConnection, Connection, ConnectionState, Session
from tests.conformance.conforms import conforms
from tests.unit.protocol.sides import ALL, V5, V31, V311, Client, connack


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (V31, "10 0f 00 06 4d 51 49 73 64 70 03 02 00 00 00 01 63"),
        (V311, "10 0d 00 04 4d 51 54 54 04 02 00 00 00 01 63"),
        (V5, "10 0e 00 04 4d 51 54 54 05 02 00 00 00 00 01 63"),
    ],
)
def test_connect_is_the_first_packet_and_the_only_one_of_its_kind(
    version: Any, expected: str
) -> None:
    client = Client(None, version=version)
    assert client.connection.state is ConnectionState.CONNECTING
    assert client.sent() == expected
    assert client.sent() == ""


def test_connect_that_cannot_be_written() -> None:
    with pytest.raises(UsageError):
        ClientConnection(Session(), Connect("a\0b"), 0.0)


@pytest.mark.parametrize("version", ALL)
def test_success_opens_the_connection(version: Any) -> None:
    client = Client(None, version=version)
    (packet,) = client.give(connack() if version == V5 else "20 02 00 00")
    assert packet == Connack(False, 0, packet.properties)
    assert client.connection.connack is packet
    assert client.connection.state is ConnectionState.OPEN
    assert not client.connection.is_closed
    assert client.connection.close_cause is None
    assert client.connection.version == version


def test_connack_byte_by_byte() -> None:
    client = Client(None)
    assert client.give("20") == client.give("03") == client.give("00") == client.give("00") == []
    assert len(client.give("00")) == 1


def test_what_stands_behind_connack_is_received_with_it() -> None:
    client = Client(None)
    packet, message = client.give(connack(), "30 05 00 01 74 00 21")
    assert isinstance(packet, Connack)
    assert message.payload == b"!"


def test_limits_that_the_server_does_not_name() -> None:
    connection = Client().connection
    assert connection.peer_receive_maximum == 65_535
    assert connection.peer_maximum_packet_size == MAXIMUM_PACKET_SIZE
    assert connection.peer_maximum_qos == 2
    assert connection.peer_retain_available is True
    assert connection.send_quota == 65_535 - 16


def test_limits_that_the_server_names() -> None:
    # Receive Maximum 5, Maximum QoS 1, Retain Available 0, Maximum Packet Size 100,
    # Server Keep Alive 7.
    connection = Client(connack("21 00 05 24 01 25 00 27 00 00 00 64 13 00 07")).connection
    assert connection.peer_receive_maximum == 5
    assert connection.peer_maximum_packet_size == 100
    assert connection.peer_maximum_qos == 1
    assert connection.peer_retain_available is False
    assert connection.keep_alive == 7
    assert connection.send_quota == 5


def test_limits_that_this_side_names() -> None:
    properties = {"receive_maximum": 3, "maximum_packet_size": 50, "topic_alias_maximum": 2}
    connection = Client(properties=properties, maximum_packet_size=999).connection
    assert connection.receive_maximum == 3
    assert connection.topic_alias_maximum == 2
    assert connection._reader.maximum_packet_size == 50


def test_own_maximum_packet_size_without_a_property() -> None:
    connection = Client(version=V311, maximum_packet_size=999).connection
    assert connection._reader.maximum_packet_size == 999
    assert connection.receive_maximum == 65_535
    assert connection.topic_alias_maximum == 0


@pytest.mark.parametrize(
    ("version", "clean_start", "properties", "answer", "expected"),
    [
        (V5, True, {}, connack(), False),
        (V5, True, {"session_expiry_interval": 0}, connack(), False),
        (V5, True, {"session_expiry_interval": 1}, connack(), True),
        (V5, False, {"session_expiry_interval": 1}, connack("11 00 00 00 00"), False),
        (V5, False, {"session_expiry_interval": 1}, connack("11 00 00 00 05"), True),
        (V311, True, {}, "20 02 00 00", False),
        (V311, False, {}, "20 02 00 00", True),
        (V31, False, {}, "20 02 00 00", True),
    ],
)
def test_whether_the_server_will_deliver_again(
    version: Any, clean_start: bool, properties: dict[str, Any], answer: str, expected: bool
) -> None:
    client = Client(answer, version=version, clean_start=clean_start, properties=properties)
    assert client.connection.redelivers is expected


@pytest.mark.parametrize(
    ("packet", "name"),
    [
        ("30 04 00 01 74 00", "PUBLISH"),
        ("40 02 00 01", "PUBACK"),
        ("90 04 00 01 00 00", "SUBACK"),
        ("d0 00", "PINGRESP"),
        ("e0 00", "DISCONNECT"),
        ("f0 00", "AUTH"),
    ],
)
def test_anything_before_connack_is_a_fault(packet: str, name: str) -> None:
    # [MQTT-3.2.0-1]
    client = Client(None)
    client.sent()
    assert client.give(packet, connack()) == []
    assert str(client.failure()) == f"{name} before CONNACK"
    assert client.failure().by is ClosedBy.CLIENT
    assert client.sent() == "e0 01 82"


def test_a_fault_before_connack_in_mqtt_3_is_not_answered() -> None:
    client = Client(None, version=V311)
    client.sent()
    client.give("d0 00")
    assert str(client.failure()) == "PINGRESP before CONNACK"
    assert client.sent() == ""


def test_connect_that_was_not_taken_yet_stands_before_disconnect() -> None:
    client = Client(None)
    client.give("d0 00")
    assert client.sent() == "10 0e 00 04 4d 51 54 54 05 02 00 00 00 00 01 63 e0 01 82"


@conforms("5.0", "MQTT-3.2.2-2")
@pytest.mark.parametrize(("version", "told"), [(V5, "e0 01 82"), (V311, "")])
def test_session_present_after_a_clean_start_is_a_fault(version: Any, told: str) -> None:
    # [MQTT-3.2.2-2]
    client = Client(None, version=version)
    client.sent()
    client.give(connack(session_present=True) if version == V5 else "20 02 01 00")
    assert "clean start" in str(client.failure())
    assert client.sent() == told
    assert client.connection.connack is None


@pytest.mark.parametrize("version", [V5, V311])
def test_session_present_after_no_clean_start(version: Any) -> None:
    client = Client(None, version=version, clean_start=False)
    (packet,) = client.give(connack(session_present=True) if version == V5 else "20 02 01 00")
    assert packet.session_present
    assert client.connection.state is ConnectionState.OPEN


@conforms("5.0", "MQTT-3.2.2-6")
@pytest.mark.parametrize("version", [V5, V311])
def test_refusal_with_session_present_is_a_fault(version: Any) -> None:
    # [MQTT-3.2.2-6]; 3.1.1 [MQTT-3.2.2-4]
    client = Client(None, version=version, clean_start=False)
    client.give("20 03 01 87 00" if version == V5 else "20 02 01 05")
    assert isinstance(client.failure(), ProtocolError)


# Table 3-1 of MQTT 5.0, transcribed.
REFUSALS = (
    *(0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97),
    *(0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F),
)


@conforms("5.0", "MQTT-3.2.2-7", "MQTT-3.2.2-8")
@pytest.mark.parametrize("code", REFUSALS, ids=hex)
def test_refusal(code: int) -> None:
    client = Client(None)
    client.sent()
    assert client.give(f"20 03 00 {code:02x} 00") == []
    cause = client.connection.close_cause
    assert isinstance(cause, ConnectRefused)
    assert cause.reason_code == code
    assert cause.reason_string is None
    assert cause.server_reference is None
    assert cause.by is ClosedBy.SERVER
    assert f"0x{code:02X}" in str(cause)
    assert client.connection.is_closed
    assert client.connection.connack is not None
    assert client.connection.connack.reason_code == code
    assert client.sent() == ""  # [MQTT-3.2.2-7]: the connection is over


def test_refusal_with_an_explanation() -> None:
    client = Client(None)
    # Reason String "no", Server Reference "b"
    client.give("20 0c 00 9d 09 1f 00 02 6e 6f 1c 00 01 62")
    cause = client.connection.close_cause
    assert isinstance(cause, ConnectRefused)
    assert str(cause) == "the server refused the connection: server moved (0x9D), no; use b"
    assert cause.reason_string == "no"
    assert cause.server_reference == "b"


@pytest.mark.parametrize("version", [V31, V311])
@pytest.mark.parametrize(
    ("return_code", "expected"),
    [
        (1, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION),
        (2, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),
        (3, ReasonCode.SERVER_UNAVAILABLE),
        (4, ReasonCode.BAD_USER_NAME_OR_PASSWORD),
        (5, ReasonCode.NOT_AUTHORIZED),
    ],
)
def test_refusal_of_mqtt_3(version: Any, return_code: int, expected: ReasonCode) -> None:
    client = Client(None, version=version)
    client.give(f"20 02 00 {return_code:02x}")
    cause = client.connection.close_cause
    assert isinstance(cause, ConnectRefused)
    assert cause.reason_code is expected


def test_server_of_mqtt_3_refuses_mqtt_5_in_its_own_words() -> None:
    client = Client(None)
    client.give("20 02 00 01")
    cause = client.connection.close_cause
    assert isinstance(cause, ConnectRefused)
    assert cause.reason_code is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION


@pytest.mark.parametrize("code", [0x01, 0x8B, 0x8D, 0xA2], ids=hex)
def test_refusal_with_a_code_that_connack_does_not_have(code: int) -> None:
    # [MQTT-3.2.2-8]
    client = Client(None)
    client.sent()
    client.give(f"20 03 00 {code:02x} 00")
    assert client.failure()
    assert client.sent()[:5] == "e0 01"


def test_smallest_maximum_packet_size_that_can_be_worked_with() -> None:
    client = Client(connack("27 00 00 00 09"))
    assert client.connection.peer_maximum_packet_size == 9
    client = Client(None)
    client.sent()
    client.give(connack("27 00 00 00 08"))
    assert "maximum packet size of 8" in str(client.failure())
    assert client.sent() == "e0 01 82"


@pytest.mark.parametrize(
    "packet",
    [
        connack(),
        "10 0e 00 04 4d 51 54 54 05 02 00 00 00 00 01 63",
        "82 07 00 01 00 00 01 74 00",
        "a2 06 00 01 00 00 01 74",
        "c0 00",
        "f0 00",
        "f0 02 18 00",
    ],
    ids=["CONNACK", "CONNECT", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ", "AUTH", "AUTH continue"],
)
def test_what_a_server_must_not_send(packet: str) -> None:
    client = Client()
    assert client.give(packet) == []
    assert client.failure().reason_code == 0x82
    assert client.sent() == "e0 01 82"


def test_what_a_server_must_not_send_in_mqtt_3() -> None:
    client = Client(version=V311)
    client.give("c0 00")
    assert str(client.failure()) == "a server must not send PINGREQ here"
    assert client.sent() == ""


def test_the_sides_are_made_from_a_base_that_does_nothing_by_itself() -> None:
    base = Connection(Session(), V5)
    with pytest.raises(NotImplementedError):
        base.next_deadline()
    with pytest.raises(NotImplementedError):
        base.handle_deadline(0.0)
    with pytest.raises(NotImplementedError):
        base._receive_handshake(Connack())
    with pytest.raises(NotImplementedError):
        base._receive_own(Connack())
