"""The server's side of a connection: it waits for CONNECT and answers CONNACK."""

from __future__ import annotations

from typing import Final

from mqttlite.enums import ClosedBy, ReasonCode
from mqttlite.errors import KeepAliveTimeout, PacketTooLarge, ProtocolError
from mqttlite.limits import MAXIMUM_PACKET_SIZE, MAXIMUM_TWO_BYTE_INTEGER
from mqttlite.message import Properties
from mqttlite.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Subscribe,
    Unsubscribe,
)
from mqttlite.packets.reasons import RETURN_CODES
from mqttlite.protocol.connection import SMALLEST_PACKET_SIZE, Connection
from mqttlite.protocol.sending import V5, ConnectionState
from mqttlite.protocol.session import Session

CONNECT_TIMEOUT: Final = 10.0
"""Seconds in which CONNECT has to come."""

_MOST_EARLY: Final = 1000
"""Packets that a client may send behind CONNECT, without waiting for CONNACK."""

_GRACE: Final = 1.5  # a client may be silent for one and a half keep alives (section 3.1.2.10)


class ServerConnection(Connection):
    """One connection from a client.

    CONNECT arrives in ``received``; the owner then calls ``accept()`` or ``refuse()``, and what
    the client has sent behind it waits until then.
    """

    _peer = ClosedBy.CLIENT

    def __init__(
        self,
        now: float,
        *,
        receive_maximum: int = MAXIMUM_TWO_BYTE_INTEGER,
        maximum_packet_size: int = MAXIMUM_PACKET_SIZE,
        topic_alias_maximum: int = 0,
    ) -> None:
        super().__init__(
            Session(),
            None,
            receive_maximum=receive_maximum,
            maximum_packet_size=maximum_packet_size,
            topic_alias_maximum=topic_alias_maximum,
        )
        self.connect: Connect | None = None
        self._opened_at = self._last_received = now
        self._early: list[Packet] = []

    def _receive_handshake(self, packet: Packet) -> None:
        if self.connect is not None:  # sent without waiting for CONNACK, as a client may
            if len(self._early) >= _MOST_EARLY:
                raise ProtocolError("too many packets came before CONNACK")
            self._early.append(packet)
            return
        assert isinstance(packet, Connect)  # the reader lets nothing else through
        self.version = packet.version
        if self.version != V5:  # it cannot know of a limit
            self.receive_maximum = MAXIMUM_TWO_BYTE_INTEGER
        self.connect = packet
        properties = packet.properties or {}
        self.peer_receive_maximum = properties.get("receive_maximum", MAXIMUM_TWO_BYTE_INTEGER)
        self.peer_maximum_packet_size = properties.get("maximum_packet_size", MAXIMUM_PACKET_SIZE)
        if self.peer_maximum_packet_size < SMALLEST_PACKET_SIZE:
            raise ProtocolError(
                f"no server can work with a maximum packet size of {self.peer_maximum_packet_size}"
            )
        self.received.append(packet)

    def accept(
        self, session: Session, *, session_present: bool, properties: Properties | None = None
    ) -> None:
        """Answer CONNECT with success and go on with this session."""
        if self.state is not ConnectionState.CONNECTING:
            return
        self.session = session
        connack = Connack(session_present, properties=properties if self.version == V5 else None)
        try:
            self.send(connack)
        except PacketTooLarge as error:
            self._fail(ProtocolError(str(error)))
            return
        self._open()
        early, self._early = self._early, []
        try:
            for packet in early:
                self._receive_open(packet)
        except ProtocolError as error:
            self._fail(error)

    def refuse(self, reason_code: int, properties: Properties | None = None) -> None:
        """Answer CONNECT with a reason code of 0x80 or above, and close."""
        if self.version == V5:
            self.send(Connack(False, reason_code, properties))
        elif reason_code in RETURN_CODES:
            self.send(Connack(False, reason_code))
        else:  # MQTT 3.x has five return codes only
            self.send(Connack(False, ReasonCode.SERVER_UNAVAILABLE))
        self.close_cause = ProtocolError("the connection was refused", ReasonCode(reason_code))
        self.state = ConnectionState.CLOSING

    def _receive_own(self, packet: Packet) -> None:
        if isinstance(packet, Pingreq):
            self.send(Pingresp())
        elif isinstance(packet, (Subscribe, Unsubscribe)):
            self.received.append(packet)
        else:
            raise ProtocolError(f"a client must not send {type(packet).__name__.upper()} here")

    def _say_goodbye(self, reason_code: int, properties: Properties | None) -> None:
        """A server of MQTT 3.x sends no DISCONNECT, and none does before CONNACK.

        [MQTT-3.14.0-1]
        """
        if self.version == V5 and self.state is ConnectionState.OPEN:
            super()._say_goodbye(reason_code, properties)

    def _receive_disconnect(self, packet: Disconnect) -> None:
        expiry = (packet.properties or {}).get("session_expiry_interval", 0)
        agreed = ((self.connect and self.connect.properties) or {}).get("session_expiry_interval")
        if expiry and not agreed:  # section 3.14.2.2.2
            raise ProtocolError("DISCONNECT gives a session expiry to a session that has none")
        super()._receive_disconnect(packet)

    def _fail(self, error: ProtocolError) -> None:
        if self.state is not ConnectionState.CONNECTING:
            super()._fail(error)
            return
        # Before CONNACK there is no DISCONNECT [MQTT-3.14.0-1].
        self.close_cause = error
        if error.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION:
            self._write(b"\x20\x02\x00\x01")  # as MQTT 3.1.1 has it, which any client can read
        self.state = ConnectionState.CLOSING

    def next_deadline(self) -> float | None:
        """When the client has been silent for too long."""
        if self.state is ConnectionState.CONNECTING:
            return self._opened_at + CONNECT_TIMEOUT
        if self.connect is None or not self.connect.keep_alive:
            return None
        if self.state is not ConnectionState.OPEN:
            return None
        return self._last_received + self.connect.keep_alive * _GRACE

    def handle_deadline(self, now: float) -> None:
        """Disconnect a client that has been silent for too long."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        timeout = KeepAliveTimeout("the client has been silent for too long", by=ClosedBy.SERVER)
        if self.state is ConnectionState.OPEN and self.version == V5:
            self.disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT, cause=timeout)
        else:
            self.lose(timeout)
