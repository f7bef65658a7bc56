"""The client's side of a connection: CONNECT, CONNACK and the keep alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectRefused, KeepAliveTimeout, NotSupported, ProtocolError
from mqttlite.limits import MAXIMUM_PACKET_SIZE, MAXIMUM_TWO_BYTE_INTEGER
from mqttlite.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Suback,
    SubscriptionOptions,
    Unsuback,
    encode,
)
from mqttlite.protocol.connection import (
    SMALLEST_PACKET_SIZE,
    V5,
    Connection,
    ConnectionState,
    explain,
)
from mqttlite.protocol.session import Session
from mqttlite.topics import has_wildcard, is_shared

PING_TIMEOUT: Final = 10.0
"""Seconds in which PINGRESP, or anything else, has to come after PINGREQ."""

KERNEL_BACKLOG: Final = 128 * 1024
"""Bytes that a shell lets the system hold unsent, where the system can be told so. On a slow
network megabytes could stand there, behind which the answer to a PINGREQ would come too late."""

# The PINGREQ has to arrive before the keep alive ends, not to leave just then.
_PING_MARGIN: Final = 0.9


class ClientConnection(Connection):
    """One connection to a server, from CONNECT on.

    After CONNACK ``connack`` is that packet, and ``keep_alive`` what the server wants it to be.
    """

    _peer = ClosedBy.SERVER

    def __init__(
        self,
        session: Session,
        connect: Connect,
        now: float,
        *,
        maximum_packet_size: int = MAXIMUM_PACKET_SIZE,
        maximum_in_flight: int = MAXIMUM_TWO_BYTE_INTEGER,
        ping_timeout: float = PING_TIMEOUT,
    ) -> None:
        """Begin with CONNECT, the first packet and never repeated.

        [MQTT-3.1.0-1] [MQTT-3.1.0-2]. ``maximum_packet_size`` holds in MQTT 3.x, too, where the
        server is not told of it; ``maximum_in_flight`` is a limit of one's own below the server's
        Receive Maximum. Raises UsageError if CONNECT cannot be written.
        """
        properties = connect.properties or {}
        super().__init__(
            session,
            connect.version,
            receive_maximum=properties.get("receive_maximum", MAXIMUM_TWO_BYTE_INTEGER),
            maximum_packet_size=properties.get("maximum_packet_size", maximum_packet_size),
            topic_alias_maximum=properties.get("topic_alias_maximum", 0),
        )
        self.connack: Connack | None = None
        self.keep_alive = connect.keep_alive
        self._connect = connect
        self._maximum_in_flight = maximum_in_flight
        self.redelivers = (
            properties.get("session_expiry_interval", 0) > 0
            if connect.version == V5
            else not connect.clean_start
        )
        self._ping_timeout = ping_timeout
        # When PINGREQ was queued, and then when it left; None while no answer is awaited.
        self._ping_time: float | None = None
        self._ping_left = False
        self._last_sent = self._last_received = now
        self._write(encode(connect, connect.version))

    def _receive_handshake(self, packet: Packet) -> None:
        """[MQTT-3.2.0-1] The first packet from the server is CONNACK."""
        if not isinstance(packet, Connack):
            raise ProtocolError(f"{_name(packet)} before CONNACK")
        connect = self._connect
        if packet.session_present and connect.clean_start:  # [MQTT-3.2.2-2]
            raise ProtocolError("the server has a session, though a clean start was asked for")
        self.connack = packet
        properties = packet.properties or {}
        if packet.reason_code:  # [MQTT-3.2.2-7]
            self.lose(
                ConnectRefused(
                    "the server refused the connection: " + explain(packet.reason_code, properties),
                    reason_code=packet.reason_code,
                    reason_string=properties.get("reason_string"),
                    by=ClosedBy.SERVER,
                    server_reference=properties.get("server_reference"),
                )
            )
            return
        allowed = properties.get("receive_maximum", MAXIMUM_TWO_BYTE_INTEGER)
        self.peer_receive_maximum = min(allowed, self._maximum_in_flight)
        self.peer_maximum_packet_size = properties.get("maximum_packet_size", MAXIMUM_PACKET_SIZE)
        if self.peer_maximum_packet_size < SMALLEST_PACKET_SIZE:
            size = self.peer_maximum_packet_size
            self.peer_maximum_packet_size = MAXIMUM_PACKET_SIZE
            raise ProtocolError(f"no client can work with a maximum packet size of {size}")
        self.peer_maximum_qos = properties.get("maximum_qos", 2)
        self.peer_retain_available = bool(properties.get("retain_available", 1))
        self.keep_alive = properties.get("server_keep_alive", self.keep_alive)  # [MQTT-3.1.2-21]
        if properties.get("session_expiry_interval") == 0:  # the server keeps no sessions
            self.redelivers = False
        self.state = ConnectionState.OPEN
        self.received.append(packet)

    def check_subscription(
        self,
        topic_filter: str,
        options: SubscriptionOptions,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Raise NotSupported if the server does not do such subscriptions (section 3.2.2.3)."""
        if self.version != V5 and (options != SubscriptionOptions(options.qos) or user_properties):
            raise NotSupported(
                "no_local, retain_as_published, retain_handling and user_properties need "
                "MQTT 5.0; this connection is 3.x"
            )
        connack = self.connack
        properties = (connack.properties if connack else None) or {}
        if has_wildcard(topic_filter) and not properties.get("wildcard_subscription_available", 1):
            raise NotSupported(f"{topic_filter!r}: the server has no wildcard subscriptions")
        if is_shared(topic_filter) and not properties.get("shared_subscription_available", 1):
            raise NotSupported(f"{topic_filter!r}: the server has no shared subscriptions")

    def _receive_own(self, packet: Packet) -> None:
        if isinstance(packet, Pingresp):
            self._ping_time = None
        elif isinstance(packet, (Suback, Unsuback)):
            self._answer_request(packet)
        elif isinstance(packet, Auth):  # [MQTT-4.12.0-6]
            raise ProtocolError("AUTH, though no authentication method was asked for")
        else:
            raise ProtocolError(f"a server must not send {_name(packet)} here")

    def _receive_disconnect(self, packet: Disconnect) -> None:
        if self.version != V5:
            raise ProtocolError("a server of MQTT 3.x must not send DISCONNECT")
        if packet.properties and "session_expiry_interval" in packet.properties:
            raise ProtocolError("DISCONNECT with a session expiry from the server")
        super()._receive_disconnect(packet)

    # The peer has to hear from this side in time (section 3.1.2.10), and this side wants to
    # notice a connection that is dead without a word: PINGREQ goes out when either direction
    # has been silent for the keep alive. Its answer may be stuck behind a long transfer, in
    # either direction, for as long as that goes on.

    def data_to_send(self, now: float) -> bytes | memoryview:
        """As Connection.data_to_send; takes note of a PINGREQ that leaves."""
        data = super().data_to_send(now)
        if self._ping_time is not None and not self._ping_left and not self.unsent_size:
            self._ping_time = now
            self._ping_left = True
        return data

    def next_deadline(self) -> float | None:
        """When to send PINGREQ, or to give up waiting for its answer."""
        if self.state is not ConnectionState.OPEN or not self.keep_alive:
            return None
        if self._ping_time is None:
            return min(self._last_sent, self._last_received) + self.keep_alive * _PING_MARGIN
        life = max(self._ping_time, self._last_received)
        if not self._ping_left:
            return max(life, self._last_sent) + self._ping_timeout
        deadline = life + self._ping_timeout
        if self._reader.is_inside_packet:
            return deadline
        return min(deadline, self._ping_time + max(self._ping_timeout, self.keep_alive))

    def handle_deadline(self, now: float) -> None:
        """Send PINGREQ [MQTT-3.1.2-20], or declare the connection dead [MQTT-3.12.4-1]."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        if self._ping_time is None:
            self._ping_time = now
            self._ping_left = False
            self.send(Pingreq())
            return
        silence = now - self._ping_time
        self.lose(
            KeepAliveTimeout(
                f"the server has not answered a ping for {silence:.1f} seconds",
                by=ClosedBy.CLIENT,
            )
        )


def _name(packet: Packet) -> str:
    return "PUBLISH" if type(packet).__name__ == "Message" else type(packet).__name__.upper()
