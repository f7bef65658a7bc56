"""A client of MQTT 5.0 whose server is bytes in hexadecimal: what it says, and how it refuses."""

from __future__ import annotations

from typing import Any, Self

from mqttlite.errors import ProtocolError
from mqttlite.packets import SubscriptionOptions
from mqttlite.protocol import ConnectionState
from tests.unit.client.hand import Hand
from tests.unit.protocol.sides import Client, connack

FAULT = frozenset((0x81, 0x82))
"""Malformed Packet and Protocol Error, where the specification does not say which of them."""


class Program(Hand):
    """A whole client of MQTT 5.0 by hand, over any number of connections.

    It asks for its session to be kept, so that the next connection may find it.
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("client_id", "c")
        options.setdefault("clean_start", False)
        options.setdefault("keep_alive", 0)
        super().__init__(version="5.0", **options)

    def open(self, properties: str = "", *, session_present: bool = False) -> Self:
        """Have an accepted connection. CONNECT is taken; what follows CONNACK is still there."""
        self.dial()
        assert self.said().startswith("10 ")
        self.give(connack(properties, session_present=session_present))
        assert self.core.is_connected
        return self

    def reopen(self, properties: str = "", *, session_present: bool = True) -> Self:
        """Lose the connection, and have the next one: the server has kept the session."""
        self.lose()
        return self.open(properties, session_present=session_present)

    def give(self, *packets: str) -> None:
        """Let bytes arrive."""
        self.core.receive(bytes.fromhex("".join(packets)), self.now)

    def said(self) -> str:
        """What the client has to send now."""
        return self.sent().hex(" ")


def refuses(client: Client, *packets: str) -> int:
    """The reason code of the DISCONNECT with which a client answers these packets.

    Nothing is taken from them, the connection is at its end, and the close cause says the same.
    """
    client.sent()
    assert client.give(*packets) == []
    cause = client.failure()
    goodbye = bytes.fromhex(client.sent())
    assert goodbye[0] == 0xE0
    assert goodbye[1] == len(goodbye) - 2 > 0
    assert cause.reason_code == goodbye[2]
    return goodbye[2]


def goes_on(client: Client) -> bool:
    """Whether the connection is as open as before."""
    return client.connection.state is ConnectionState.OPEN and client.connection.close_cause is None


def accepts(client: Client, *packets: str) -> bool:
    """Whether a client finds nothing wrong with these packets."""
    client.give(*packets)
    return not isinstance(client.connection.close_cause, ProtocolError)


def busy() -> Client:
    """A client that waits for one packet of every kind; it takes topic aliases up to 5."""
    client = Client(properties={"topic_alias_maximum": 5})
    client.publish(qos=1)  # 1, for PUBACK
    client.publish(qos=2)  # 2, for PUBREC
    client.publish(qos=2)  # 3, for PUBCOMP
    client.give("50 02 00 03")
    assert client.connection.subscribe([("f", SubscriptionOptions())]) == 4
    assert client.connection.unsubscribe(["f"]) == 5
    client.message("34 06 00 01 74 00 09 00").ack()  # 9, for PUBREL
    client.sent()
    return client


def waiting_for(name: str) -> Client:
    """A client to which a server may send this packet."""
    return Client(None) if name == "CONNACK" else busy()


# The first byte, what stands before the properties, and what behind them.
_LAYOUT = {
    "CONNACK": ("20", "00 00", ""),
    "PUBLISH": ("30", "00 01 74", ""),
    "PUBACK": ("40", "00 01 00", ""),
    "PUBREC": ("50", "00 02 00", ""),
    "PUBREL": ("62", "00 09 00", ""),
    "PUBCOMP": ("70", "00 03 00", ""),
    "SUBACK": ("90", "00 04", "00"),
    "UNSUBACK": ("b0", "00 05", "00"),
    "DISCONNECT": ("e0", "00", ""),
}
WITH_PROPERTIES = tuple(_LAYOUT)
"""The packets from a server that may have properties, but for AUTH."""


def bearing(name: str, *properties: str) -> str:
    """A packet that ``waiting_for(name)`` waits for, with these properties."""
    first, before, behind = (bytes.fromhex(part) for part in _LAYOUT[name])
    section = bytes.fromhex("".join(properties))
    body = before + bytes((len(section),)) + section + behind
    return (first + bytes((len(body),)) + body).hex(" ")
