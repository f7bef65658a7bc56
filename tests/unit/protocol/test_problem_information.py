"""Problem information that was not asked for [MQTT-3.1.2-29], and where it always may come."""

from __future__ import annotations

import pytest

from mqttlite.errors import ConnectRefused, ProtocolError
from mqttlite.packets import SubscriptionOptions
from mqttlite.protocol import ConnectionState
from tests.unit.protocol.sides import Client, connack

REASON = "1f 00 01 72"
PAIR = "26 00 01 61 00 01 62"

# A packet as the server may send it to busy(), up to its property length, and what stands behind.
LAYOUT = {
    "PUBACK": ("40", "00 01 00", ""),
    "PUBREC": ("50", "00 02 00", ""),
    "PUBREL": ("62", "00 09 00", ""),
    "PUBCOMP": ("70", "00 03 00", ""),
    "SUBACK": ("90", "00 04", "00"),
    "UNSUBACK": ("b0", "00 05", "00"),
    "AUTH": ("f0", "18", ""),
}
METHOD = "15 00 01 4d"


def busy(wanted: int | None) -> Client:
    """A client that waits for one packet of every kind."""
    properties: dict[str, object] = {"authentication_method": "M"}
    if wanted is not None:
        properties["request_problem_information"] = wanted
    client = Client(connack(METHOD), properties=properties)
    client.publish(qos=1)
    client.publish(qos=2)
    client.publish(qos=2)
    client.give("50 02 00 03")
    client.connection.subscribe([("f", SubscriptionOptions())])
    client.connection.unsubscribe(["f"])
    client.message("34 06 00 01 74 00 09 00").ack()
    client.connection.reauthenticate(None)
    client.sent()
    return client


def packet(name: str, *properties: str) -> str:
    first, before, behind = LAYOUT[name]
    section = bytes.fromhex("".join((METHOD, *properties) if name == "AUTH" else properties))
    body = bytes.fromhex(before) + bytes((len(section),)) + section + bytes.fromhex(behind)
    return f"{first} {len(body):02x} {body.hex()}"


@pytest.mark.parametrize("name", LAYOUT)
@pytest.mark.parametrize("information", [REASON, PAIR, REASON + PAIR])
def test_it_is_a_fault_if_it_was_not_asked_for(name: str, information: str) -> None:
    client = busy(0)
    assert client.give(packet(name, information)) == []
    assert str(client.failure()).startswith(f"{name} with problem information")
    assert client.sent() == "e0 01 82"
    assert client.connection.completed == []


@pytest.mark.parametrize("name", LAYOUT)
def test_the_same_without_it_is_none(name: str) -> None:
    client = busy(0)
    client.give(packet(name))
    assert client.connection.state is ConnectionState.OPEN


@pytest.mark.parametrize("name", LAYOUT)
@pytest.mark.parametrize("wanted", [None, 1])
def test_it_may_come_if_it_was_asked_for(name: str, wanted: int | None) -> None:
    client = busy(wanted)
    client.give(packet(name, REASON, PAIR))
    assert client.connection.state is ConnectionState.OPEN


def test_it_may_come_in_publish() -> None:
    message = busy(0).message(f"30 0b 00 01 74 07 {PAIR}")
    assert message.user_properties == [("a", "b")]


def test_it_may_come_in_disconnect() -> None:
    client = busy(0)
    client.give(f"e0 0d 8b 0b {REASON} {PAIR}")
    cause = client.connection.close_cause
    assert cause is not None
    assert not isinstance(cause, ProtocolError)
    assert cause.reason_string == "r"
    assert cause.user_properties == [("a", "b")]


def test_it_may_come_in_connack() -> None:
    wish = {"request_problem_information": 0}
    Client(connack(REASON + PAIR), properties=wish)
    client = Client(None, properties=wish)
    client.give(f"20 0e 00 87 0b {REASON} {PAIR}")
    cause = client.connection.close_cause
    assert isinstance(cause, ConnectRefused)
    assert cause.reason_string == "r"
    assert cause.user_properties == [("a", "b")]


@pytest.mark.parametrize("information", [REASON, PAIR])
def test_it_must_not_come_in_auth_before_connack(information: str) -> None:
    properties = {"authentication_method": "M", "request_problem_information": 0}
    client = Client(None, properties=properties)
    client.sent()
    assert client.give(packet("AUTH", information)) == []
    assert str(client.failure()).startswith("AUTH with problem information")
    assert client.sent() == "e0 01 82"
    client = Client(None, properties=properties)
    (auth,) = client.give(packet("AUTH"))
    assert auth.reason_code == 0x18
