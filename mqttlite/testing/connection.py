"""A connection from a client, with what a broker adds to the server's side of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqttlite.enums import ClosedBy, ProtocolVersion, ReasonCode, describe_reason
from mqttlite.errors import ConnectionClosed, ConnectionLost, ProtocolError
from mqttlite.message import Will
from mqttlite.packets import Disconnect, Puback, Pubrec
from mqttlite.protocol import ConnectionState, ReceiptState, ServerConnection
from mqttlite.testing.options import BrokerOptions

if TYPE_CHECKING:
    from mqttlite.testing.session import BrokerSession

V5 = ProtocolVersion.MQTT_5_0


class BrokerConnection(ServerConnection):
    """What ``BrokerCore.connection_opened()`` returns, and the other calls want to have.

    ``owner`` is the session that is using the connection: None before CONNECT was accepted,
    and again once the connection is ending. ``will`` is what to publish if it ends badly.
    """

    def __init__(self, now: float, options: BrokerOptions) -> None:
        super().__init__(
            now,
            receive_maximum=options.receive_maximum,
            maximum_packet_size=options.maximum_packet_size,
            topic_alias_maximum=options.topic_alias_maximum,
        )
        self.owner: BrokerSession | None = None
        self.will: Will | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self.state is ConnectionState.OPEN

    @property
    def is_ending(self) -> bool:
        """Whether nothing that the client sends counts any more."""
        return self.state in (ConnectionState.CLOSING, ConnectionState.CLOSED)

    def answer(self, reason_code: int) -> None:
        """Acknowledge the oldest message of QoS 1 or 2 that is not acknowledged yet."""
        receipt = self._unacknowledged[0]
        if not reason_code or self.version != V5:
            receipt.accept()
            return
        self._unacknowledged.popleft()
        receipt.state = ReceiptState.ANSWERED
        if receipt.qos == 1:
            self._incoming_in_flight -= 1
            self.send(Puback(receipt.packet_id, reason_code))
        else:
            if reason_code >= ReasonCode.UNSPECIFIED_ERROR:  # [MQTT-4.3.3-9] the flow ends here
                self._incoming_in_flight -= 1
                del self.session.incoming[receipt.packet_id]
            self.send(Pubrec(receipt.packet_id, reason_code))
        self._send_acknowledgements()

    def end(self, reason_code: int | None) -> None:
        """Close from this side: with a DISCONNECT, or (None) without a word.

        Who cannot be told why is not told: a server of MQTT 3.x sends no DISCONNECT, and none
        does before CONNACK [MQTT-3.14.0-1].
        """
        if reason_code is None:
            self.lose(ConnectionLost("the broker dropped the connection"))
        elif self.is_open and self.version == V5:
            self.disconnect(reason_code)
        elif not self.is_ending:
            self.close_cause = ConnectionClosed(
                f"the server disconnected: {describe_reason(reason_code)}",
                reason_code=reason_code,
                by=ClosedBy.SERVER,
            )
            self.state = ConnectionState.CLOSING

    def _receive_disconnect(self, packet: Disconnect) -> None:
        expiry = (packet.properties or {}).get("session_expiry_interval", 0)
        agreed = ((self.connect and self.connect.properties) or {}).get("session_expiry_interval")
        if expiry and not agreed:  # section 3.14.2.2.2
            raise ProtocolError("DISCONNECT gives a session expiry to a session that has none")
        super()._receive_disconnect(packet)
