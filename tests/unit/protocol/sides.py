"""Both sides of a connection, driven by hand: the other side is bytes in hexadecimal."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from mqttlite.enums import ProtocolVersion
from mqttlite.errors import ProtocolError
from mqttlite.message import Message
from mqttlite.packets import Connect
from mqttlite.protocol import (
    ClientConnection,
    Connection,
    ConnectionState,
    Outgoing,
    Receipt,
    ServerConnection,
    Session,
)

V31 = ProtocolVersion.MQTT_3_1
V311 = ProtocolVersion.MQTT_3_1_1
V5 = ProtocolVersion.MQTT_5_0
ALL = (V31, V311, V5)

CONNECT = "10 0e 00 04 4d 51 54 54 05 02 00 00 00 00 01 63"
"""MQTT 5.0, clean start, no keep alive, no properties, client identifier "c"."""

CONNECT_311 = "10 0d 00 04 4d 51 54 54 04 02 00 00 00 01 63"


def connack(properties: str = "", *, session_present: bool = False) -> str:
    """CONNACK of MQTT 5.0, success, with these properties."""
    body = bytes.fromhex(properties)
    head = bytes((0x20, len(body) + 3, session_present, 0, len(body)))
    return (head + body).hex()


C = TypeVar("C", bound=Connection)


class Side(Generic[C]):
    """One side, and the time."""

    connection: C

    def __init__(self, now: float) -> None:
        self.now = now

    def give(self, *packets: str) -> list[Any]:
        """Let bytes arrive; return what the connection has received by them."""
        self.connection.receive(bytes.fromhex("".join(packets)), self.now)
        return list(self.connection.take_received())

    def sent(self) -> str:
        """What the connection has to send, all of it."""
        connection = self.connection
        pieces = iter(lambda: bytes(connection.data_to_send(self.now)), b"")
        return b"".join(pieces).hex(" ")

    def message(self, packet: str) -> Message:
        """Let a PUBLISH arrive; return the message."""
        (message,) = self.give(packet)
        assert isinstance(message, Message)
        return message

    def publish(
        self, topic: str = "t", payload: bytes = b"", qos: int = 0, **properties: Any
    ) -> Outgoing:
        outgoing = Outgoing(topic, payload, qos, False, properties or None)  # type: ignore[arg-type]
        self.connection.publish(outgoing)
        return outgoing

    def failure(self) -> ProtocolError:
        """Why the connection is at its end: the other side has broken the protocol."""
        assert self.connection.state is ConnectionState.CLOSING
        cause = self.connection.close_cause
        assert isinstance(cause, ProtocolError)
        return cause


class Client(Side[ClientConnection]):
    """The client's side, open, with CONNECT already taken; or before CONNACK, with it still there.

    ``answer`` is the CONNACK; None: it has not come yet.
    """

    def __init__(
        self,
        answer: str | None = "",
        *,
        version: ProtocolVersion = V5,
        session: Session | None = None,
        now: float = 0.0,
        keep_alive: int = 0,
        clean_start: bool = True,
        properties: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(now)
        connect = Connect(
            "c",
            clean_start,
            keep_alive,
            properties=properties,  # type: ignore[arg-type]
            version=version,
        )
        self.session = session or Session()
        self.connection = ClientConnection(self.session, connect, now, **arguments)
        if answer is None:
            return
        self.sent()
        self.give(answer or (connack() if version == V5 else "20 02 00 00"))
        assert self.connection.state is ConnectionState.OPEN


class Server(Side[ServerConnection]):
    """The server's side, accepted; or waiting for CONNECT."""

    def __init__(
        self,
        connect: str | None = CONNECT,
        *,
        session: Session | None = None,
        now: float = 0.0,
        **arguments: Any,
    ) -> None:
        super().__init__(now)
        self.connection = ServerConnection(now, **arguments)
        if connect is None:
            return
        self.give(connect)
        self.connection.accept(session or Session(), session_present=session is not None)
        assert self.connection.state is ConnectionState.OPEN
        self.sent()


def receipt(message: Message) -> Receipt:
    """The receipt of a message of QoS 1 or 2."""
    found = message._receipt
    assert isinstance(found, Receipt)
    return found
