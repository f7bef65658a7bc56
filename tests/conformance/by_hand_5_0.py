"""MQTT 5.0 by hand: packets are written and taken apart without the package's own code."""

from __future__ import annotations

from typing import Any, NamedTuple

from mqttlite.client import ClientState, DeliveryState, Dial
from tests.unit.client.hand import Hand
from tests.unit.protocol.sides import Client


def variable(value: int) -> bytes:
    """A Variable Byte Integer (section 1.5.5)."""
    encoded = b""
    while True:
        value, low = divmod(value, 128)
        encoded += bytes((low + 128 if value else low,))
        if not value:
            return encoded


def two(value: int) -> bytes:
    """A Two Byte Integer (section 1.5.2)."""
    return bytes((value // 256, value % 256))


def text(value: str | bytes) -> bytes:
    """A string with its length before it; as bytes one that may be wrong."""
    encoded = value.encode() if isinstance(value, str) else value
    return two(len(encoded)) + encoded


def section(*properties: bytes) -> bytes:
    """Properties, with their length before them."""
    joined = b"".join(properties)
    return variable(len(joined)) + joined


def packet(first: int, *parts: bytes) -> bytes:
    """A packet of this first byte; its Remaining Length is put in."""
    body = b"".join(parts)
    return bytes((first,)) + variable(len(body)) + body


def connack(*properties: bytes, session_present: bool = False) -> bytes:
    """CONNACK, success."""
    return packet(0x20, bytes((session_present, 0)), section(*properties))


def publish(
    *properties: bytes, first: int = 0x30, packet_id: int = 0, topic: str | bytes = "t"
) -> bytes:
    """PUBLISH without a payload; a packet identifier of 0 is left out."""
    return packet(first, text(topic), two(packet_id) if packet_id else b"", section(*properties))


def _cut(data: bytes) -> tuple[int, int]:
    """Where the Remaining Length of a packet ends, and where the packet does."""
    length = 0
    for index in range(1, 5):
        length += data[index] % 128 * 128 ** (index - 1)
        if data[index] < 128:
            return index + 1, index + 1 + length
    raise AssertionError("the Remaining Length has more than four bytes")


def split(data: bytes) -> list[bytes]:
    """Cut what was sent into its packets."""
    packets = []
    while data:
        end = _cut(data)[1]
        packets.append(data[:end])
        data = data[end:]
    return packets


class ConnectParts(NamedTuple):
    """CONNECT, taken apart as section 3.1 draws it."""

    protocol: bytes
    """Protocol name and version."""
    flags: int
    keep_alive: int
    properties: bytes
    payload: bytes


def take_apart(connect: bytes) -> ConnectParts:
    """Take CONNECT apart. Its properties have to be shorter than 128 bytes."""
    assert connect[0] == 0x10
    start, end = _cut(connect)
    assert end == len(connect)
    body = connect[start:]
    length = body[10]
    assert length < 128
    return ConnectParts(
        body[:7],
        body[7],
        body[8] * 256 + body[9],
        body[11 : 11 + length],
        body[11 + length :],
    )


class Talk(Hand):
    """A client core driven by hand, whose server speaks in bytes."""

    def __init__(self, **options: Any) -> None:
        # Without a fallback, for which options would have to be good for MQTT 3.1.1, too.
        options.setdefault("version", "5.0")
        super().__init__(**options)

    def ask(self) -> bytes:
        """Open a transport; return CONNECT, which has to be all that is sent."""
        self.dial()
        (connect,) = self.packets()
        return connect

    def ask_now(self) -> bytes:
        """As ask(), for a core that dials already."""
        assert isinstance(self.core.take_action(), Dial)
        self.core.transport_opened(self.now)
        (connect,) = self.packets()
        return connect

    def retain(self, topic: str, qos: int) -> DeliveryState:
        """Publish a message that the server is to retain."""
        delivery = DeliveryState(topic, b"", qos, True)
        self.core.publish(delivery, self.now, can_wait=False)
        return delivery

    def open(self, *properties: bytes, session_present: bool = False) -> bytes:
        """Have an accepted connection; return CONNECT. What follows CONNACK stays to be sent."""
        connect = self.ask()
        self.hear(connack(*properties, session_present=session_present))
        assert self.core.state is ClientState.CONNECTED
        return connect

    def hear(self, *packets: bytes) -> None:
        """Let the server say something."""
        self.core.receive(b"".join(packets), self.now)

    def packets(self) -> list[bytes]:
        """What the core has to send now, packet by packet."""
        return split(self.sent())


def check_fault(client: Client, data: bytes, reason_code: int) -> None:
    """The server's bytes give nothing, and end the connection with this DISCONNECT."""
    client.sent()
    assert client.give(data.hex()) == []
    assert client.failure().reason_code == reason_code
    assert client.sent() == f"e0 01 {reason_code:02x}"
