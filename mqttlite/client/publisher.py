"""Sends messages now or later, and settles what becomes of them, over all connections."""

from __future__ import annotations

from typing import Any, Final

from mqttlite.client.drops import Drops
from mqttlite.client.events import DropReason
from mqttlite.client.operations import DeliveryState, Operation
from mqttlite.client.options import ClientOptions
from mqttlite.client.outbox import Outbox
from mqttlite.enums import Fate, PacketType, ReasonCode
from mqttlite.errors import MqttError, UsageError
from mqttlite.message import Properties, check_text, remaining_seconds
from mqttlite.packets.properties import encode_properties
from mqttlite.protocol import ClientConnection, ConnectionState, Session
from mqttlite.protocol.sending import UNSENT_LIMIT
from mqttlite.topics import encode_topic

# A member of an Enum costs more to look up than a global name: these stand in the hot paths.
_PENDING: Final = Fate.PENDING
_SENT: Final = Fate.SENT
_ACKNOWLEDGED: Final = Fate.ACKNOWLEDGED


class Publisher:
    """What waits to be sent is in the outbox, what was sent and not acknowledged in the session.

    ``notify`` is called with a settled delivery that somebody waits for.
    """

    def __init__(
        self,
        options: ClientOptions,
        session: Session,
        drops: Drops,
        finished: list[Operation[Any] | DeliveryState],
    ) -> None:
        self.connection: ClientConnection | None = None
        """The connection that the server has accepted, if there is one."""
        self.direct: ClientConnection | None = None
        """The same, as long as messages may be sent without more ado: not when closing."""
        self.sent_messages = 0
        """Messages that were sent; one that is sent again is not counted again."""
        self.outbox = Outbox(options.outbox_messages, options.outbox_bytes, options.when_full)
        self._queue_qos_0 = options.queue_qos_0
        self._republishes = options.when_session_lost == "republish"
        self._drops = drops
        self._session = session
        self._finished = finished  # those that somebody waits for

    def send_at_once(self, delivery: DeliveryState) -> int:
        """Send a message if nothing stands in the way; return how many bytes are unsent then.

        0: nothing was done, and ``publish()`` is to be called. This is the hot path of publishing.
        """
        connection = self.direct
        if connection is None or self.outbox.length:
            return 0
        unsent = connection.publish_at_once(delivery)
        if unsent:
            self.sent_messages += 1
            if not delivery.qos:
                delivery.fate = _SENT
        return unsent

    def publish(self, delivery: DeliveryState, now: float, *, can_wait: bool) -> None:
        """Send a message, or queue it until it can be sent."""
        if delivery.properties:
            self._prepare(delivery, delivery.properties, now)
        connection = self.connection
        if (
            connection is not None
            and not self.outbox
            and connection.unsent_size < UNSENT_LIMIT
            and (not delivery.qos or connection.send_quota > 0)
            and connection.state is ConnectionState.OPEN
        ):
            connection.publish(delivery)
            self.sent_messages += 1
            if not delivery.qos:
                delivery.fate = Fate.SENT
            return
        self._queue(delivery, now, can_wait=can_wait)

    def _prepare(self, delivery: DeliveryState, properties: Properties, now: float) -> None:
        """Check the properties of a message, and note when it expires."""
        for name in ("topic_alias", "subscription_identifiers"):  # [MQTT-3.3.4-6]
            if name in properties:
                raise UsageError(f"{name} is not for the publisher to set")
        encode_properties(properties, PacketType.PUBLISH)
        if properties.get("payload_format_indicator"):
            check_text(delivery.payload)
        if "message_expiry_interval" in properties:
            delivery.expires_at = now + properties["message_expiry_interval"]

    def _queue(self, delivery: DeliveryState, now: float, *, can_wait: bool) -> None:
        connection = self.connection
        if connection is not None:
            connection.check_publish(delivery)
        else:
            encode_topic(delivery.topic)
            if not delivery.qos and not self._queue_qos_0:
                delivery.settle(Fate.DROPPED)
                self._drops.count(DropReason.NOT_CONNECTED)
                return
        for dropped in self.outbox.add(delivery, can_wait=can_wait):
            self._settle(dropped, Fate.DROPPED)
            self._drops.count(DropReason.OUTBOX_FULL)
        if connection is not None:
            self.send_outbox(connection, now)

    def send_outbox(self, connection: ClientConnection, now: float) -> None:
        """Send what can be sent now of what was queued."""
        outbox = self.outbox
        while outbox.length and connection.state is ConnectionState.OPEN:
            delivery = outbox.peek()
            if delivery.properties is None and connection.publish_at_once(delivery):
                outbox.pop()
                self.sent_messages += 1
                if not delivery.qos:
                    self._settle(delivery, Fate.SENT)
                continue
            if connection.unsent_size >= UNSENT_LIMIT:
                return
            if delivery.qos and connection.send_quota <= 0:
                return
            outbox.pop()
            self._send_queued(delivery, connection, now)

    def _send_queued(
        self, delivery: DeliveryState, connection: ClientConnection, now: float
    ) -> None:
        if delivery.expires_at is not None and delivery.properties is not None:
            if now >= delivery.expires_at:
                self._settle(delivery, Fate.EXPIRED)
                self._drops.count(DropReason.EXPIRED)
                return
            # What is left of its life (section 3.3.2.3.3).
            left = remaining_seconds(delivery.expires_at, now)
            delivery.properties = delivery.properties.copy()
            delivery.properties["message_expiry_interval"] = left
        try:
            connection.publish(delivery)
        except UsageError as error:  # this server cannot take it, though another could have
            self._settle(delivery, Fate.DROPPED, error)
            self._drops.count(DropReason.NOT_SENDABLE)
            return
        self.sent_messages += 1
        if not delivery.qos:
            self._settle(delivery, Fate.SENT)

    def withdraw(self, delivery: DeliveryState) -> None:
        """The caller does not wait any more: forget the message if it was not accepted yet."""
        if self.outbox.withdraw(delivery):
            self._settle(delivery, Fate.DROPPED)

    def settle_completed(self, connection: ClientConnection) -> None:
        """Settle the messages that the server has acknowledged."""
        completed, connection.completed = connection.completed, []
        for delivery in completed:
            # One that was given up in an earlier life of the client is only taken off the list.
            if isinstance(delivery, DeliveryState) and delivery.fate is _PENDING:
                if not delivery.reason_code:
                    delivery.fate = _ACKNOWLEDGED
                elif delivery.reason_code == ReasonCode.PACKET_IDENTIFIER_NOT_FOUND:
                    delivery.settle(Fate.LOST)  # by another server than had received it
                else:
                    delivery.settle_acknowledged()
                if delivery.waiters:
                    self._finished.append(delivery)

    def start_session(self) -> None:
        """The server has no session: publish anew what was not acknowledged, before all else.

        A QoS 2 message that the server had received is not among it: it may have been
        delivered, and must not be twice. By the policy "report" none is.
        """
        again = []
        for delivery in self._session.clear():
            if not isinstance(delivery, DeliveryState) or delivery.done:
                continue
            if delivery.awaiting is PacketType.PUBCOMP or not self._republishes:
                self._settle(delivery, Fate.LOST)
                continue
            delivery.awaiting = None
            delivery.packet_id = 0
            again.append(delivery)
        self.sent_messages -= len(again)  # they will be counted when they are sent
        self.outbox.put_back(again)

    def disconnected(self) -> None:
        """The connection is gone, and with it what only it could have carried."""
        self.connection = self.direct = None
        if not self._queue_qos_0:
            dropped = self.outbox.drop_qos_0()
            self._drops.count(DropReason.NOT_CONNECTED, len(dropped))
            self._notify_all(dropped)

    def expire(self, now: float) -> None:
        """Settle the messages whose time has run out."""
        expired = self.outbox.take_expired(now)
        if expired:
            self._drops.count(DropReason.EXPIRED, len(expired))
            self._notify_all(expired)

    def close(self, error: Exception) -> None:
        """Nothing will be sent any more: settle everything, because of ``error``."""
        for delivery in [*self.outbox.take_all(), *self._session.outgoing.values()]:
            if isinstance(delivery, DeliveryState) and not delivery.done:
                self._settle(delivery, Fate.CLOSED, cause=error)

    def _settle(
        self,
        delivery: DeliveryState,
        fate: Fate,
        error: MqttError | None = None,
        cause: Exception | None = None,
    ) -> None:
        delivery.settle(fate, error, cause)
        if delivery.waiters:
            self._finished.append(delivery)

    def _notify_all(self, deliveries: list[DeliveryState]) -> None:
        for delivery in deliveries:
            if delivery.waiters:
                self._finished.append(delivery)
