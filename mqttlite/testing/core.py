"""The embedded broker without input or output: for tests and demonstrations, all in memory.

The owner tells it what happens (``connection_opened``, ``receive``, ``connection_lost``,
``handle_deadline`` at ``next_deadline``), always with the time. After each call it asks
``take_changed()`` for the connections that have something to do, and for each of them writes
``data_to_send()``; closes it once ``state`` is CLOSING and all is written, or at once if it is
CLOSED; and reads from it only while ``wants_data()``.

A connection is a ``BrokerConnection``. Its states are those of every ``Connection``; the broker
adds one thing: at the first sight of CLOSING or CLOSED it is taken from its session, once, and
what the client sent afterwards does not count.

What survives what:

    the end of a connection   the session, for its expiry interval: subscriptions, messages that
                              wait, exchanges of QoS 1 and 2 that have begun, a delayed will
    the end of a session      retained messages; a delayed will is published then
    stop() of the runner      everything: time goes on for the sessions
    forget()                  nothing

Rules. Whoever is to get a message is decided when it comes in; then it waits in the session's
queue if it has to: because the client is away, has acknowledged too little (its Receive Maximum),
or does not read (``maximum_unsent``). Messages of QoS 0 never wait. The bounds, and what happens
at them, are in ``BrokerOptions``; retained messages and the number of sessions have none. What is
in doubt in the specification is done as Mosquitto does it: ``$share`` works in MQTT 3.x, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack, cast

from mqttlite.enums import ReasonCode
from mqttlite.errors import PacketTooLarge, UsageError
from mqttlite.message import (
    Payload,
    Properties,
    PublishProperties,
    as_bytes,
    check_qos,
)
from mqttlite.packets import (
    Connect,
    Disconnect,
    Message,
    Packet,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from mqttlite.protocol import ReceiptState
from mqttlite.protocol.sending import V5
from mqttlite.testing.connection import BrokerConnection
from mqttlite.testing.handshake import answer_connect
from mqttlite.testing.options import BrokerKeywords, BrokerOptions
from mqttlite.testing.routing import Router
from mqttlite.testing.session import BrokerSession, Delivery, Publication, Subscription
from mqttlite.topics import encode_topic, has_wildcard, is_shared


@dataclass(slots=True)
class Counters:
    """What a broker has done since it was made."""

    connections: int = 0
    """Clients that were let in."""
    refused: int = 0
    """Clients that were not."""
    received: int = 0
    """Messages from clients."""
    sent: int = 0
    """Messages to clients; one that is sent again is not counted again."""
    dropped: int = 0
    """Messages that a client did not get, because it was too slow, had too many waiting, or
    takes smaller packets only."""
    expired: int = 0
    """Messages that a client did not get in time."""


class BrokerCore:
    """All of a broker but its sockets. The arguments are the fields of BrokerOptions."""

    def __init__(self, **options: Unpack[BrokerKeywords]) -> None:
        self.options = BrokerOptions(**options)
        self.counters = Counters()
        self.sessions: dict[str, BrokerSession] = {}
        self.router = Router()
        # A dict, not a set, so that things happen in the same order every time.
        self.connections: dict[BrokerConnection, None] = {}
        self._changed: dict[BrokerConnection, None] = {}

    # --- connections

    def connection_opened(self, now: float) -> BrokerConnection:
        """A client has connected."""
        connection = BrokerConnection(now, self.options)
        self.connections[connection] = None
        self._changed[connection] = None
        return connection

    def receive(self, connection: BrokerConnection, data: bytes, now: float) -> None:
        """A client has sent bytes."""
        connection.receive(data, now)
        self._process(connection, now)

    def connection_lost(self, connection: BrokerConnection, now: float) -> None:
        """The network connection of a client is closed, whoever did it."""
        connection.receive_eof()
        self._settle(connection, now)
        del self.connections[connection]
        self._changed.pop(connection, None)

    def take_changed(self) -> list[BrokerConnection]:
        """Return the connections that may have bytes to send, or are to be closed."""
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def data_to_send(self, connection: BrokerConnection, now: float) -> bytes | memoryview:
        """Return the next bytes for a client; empty if there are none."""
        data = connection.data_to_send(now)
        if connection.owner is not None and connection.owner.queue:
            self._flush(connection.owner, now)
        return data

    def wants_data(self, connection: BrokerConnection) -> bool:
        """Whether to read from a client: not if it does not read its answers either."""
        return connection.unsent_size < self.options.maximum_unsent

    def disconnect(
        self, connection: BrokerConnection, now: float, reason_code: int | None = None
    ) -> None:
        """End a connection: with a DISCONNECT, or (None) without a word."""
        connection.end(reason_code)
        self._settle(connection, now)

    def disconnect_all(self, now: float, reason_code: int | None = None) -> None:
        """End all connections: with a DISCONNECT, or (None) without a word."""
        for connection in list(self.connections):
            self.disconnect(connection, now, reason_code)

    def forget(self) -> None:
        """Lose all sessions and retained messages, as a broker does that is killed.

        A connection that is still open is of no use then: end it first.
        """
        for connection in self.connections:
            connection.owner = None
        self.sessions.clear()
        self.router = Router()

    # --- time

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` wants to be called, whatever happens before; None: never."""
        times = [
            *(connection.next_deadline() for connection in self.connections),
            *(session.next_deadline() for session in self.sessions.values()),
        ]
        return min((time for time in times if time is not None), default=None)

    def handle_deadline(self, now: float) -> None:
        """Do what is due: silent clients, sessions that have expired, delayed wills."""
        for connection in list(self.connections):
            connection.handle_deadline(now)
            if connection.is_ending:
                self._settle(connection, now)
        for session in list(self.sessions.values()):
            self._do_what_is_due(session, now)

    # --- publishing

    def publish(
        self,
        topic: str,
        payload: Payload,
        now: float,
        *,
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[PublishProperties],
    ) -> int:
        """Publish a message from the server's side; return how many copies are on their way."""
        encode_topic(topic)
        return self._distribute(
            Publication(
                topic,
                as_bytes(payload),
                check_qos(qos),
                retain,
                cast("Properties", properties),
                None,
                now,
            ),
            now,
        )

    def _distribute(self, publication: Publication, now: float) -> int:
        """Give a message to everybody who wants it [MQTT-4.5.0-1]."""
        if publication.retain:
            self.router.retain(publication)
        routes = self.router.routes(publication)
        for route in routes:
            self._deliver(
                route.session,
                Delivery(publication, route.qos, route.retain, route.identifiers),
                now,
            )
        return len(routes)

    def _deliver(self, session: BrokerSession, delivery: Delivery, now: float) -> None:
        connection = session.connection
        if delivery.qos:
            size = len(delivery.payload)
            options = self.options
            if (
                session.held >= options.maximum_held
                or session.held_bytes + size > options.maximum_held_bytes
            ):
                self.counters.dropped += 1
                return
            session.held_bytes += size
            session.queue.append(delivery)
            self._flush(session, now)
        elif connection is not None and connection.is_open:
            if self.wants_data(connection):
                self._send(connection, delivery, now)
            else:
                self.counters.dropped += 1

    def _flush(self, session: BrokerSession, now: float) -> None:
        """Send what waits in a session, as far as its client takes it [MQTT-3.3.4-7]."""
        connection = session.connection
        if connection is None:
            return
        queue = session.queue
        while queue and connection.send_quota > 0 and self.wants_data(connection):
            delivery = queue.popleft()
            if not self._send(connection, delivery, now):
                session.held_bytes -= len(delivery.payload)

    def _send(self, connection: BrokerConnection, delivery: Delivery, now: float) -> bool:
        if delivery.has_expired(now):  # [MQTT-3.3.2-5]
            self.counters.expired += 1
            return False
        delivery.count_down(now)
        if connection.version != V5:
            delivery.properties = None
        try:
            connection.publish(delivery)
        except UsageError:  # larger than the client takes packets [MQTT-3.1.2-25]
            self.counters.dropped += 1
            return False
        self.counters.sent += 1
        self._changed[connection] = None
        return True

    # --- what clients send

    def _process(self, connection: BrokerConnection, now: float) -> None:
        """Handle what a connection has received, in its order; then see how it is."""
        while packets := connection.take_received():
            for packet in packets:
                # What came before the client's DISCONNECT still counts, but nothing that came
                # before or after this side has ended the connection.
                if connection.owner is not None:
                    self._receive(connection, connection.owner, packet, now)
                elif isinstance(packet, Connect):
                    answer_connect(self, connection, packet, now)
        self._settle(connection, now)

    def _receive(
        self, connection: BrokerConnection, session: BrokerSession, packet: Packet, now: float
    ) -> None:
        if isinstance(packet, Message):
            self._receive_publish(connection, session, packet, now)
        elif isinstance(packet, Subscribe):
            self._receive_subscribe(connection, session, packet, now)
        elif isinstance(packet, Unsubscribe):
            codes: list[int] = [
                ReasonCode.SUCCESS
                if self.router.unsubscribe(session, topic_filter)  # [MQTT-3.10.4-1]
                else ReasonCode.NO_SUBSCRIPTION_EXISTED
                for topic_filter in packet.topic_filters
            ]
            self._answer(connection, Unsuback(packet.packet_id, codes), now)
        else:
            assert isinstance(packet, Disconnect)  # the connection answers all others itself
            if packet.reason_code == ReasonCode.NORMAL_DISCONNECTION:
                connection.will = None  # [MQTT-3.14.4-3]
            interval = (packet.properties or {}).get("session_expiry_interval")
            if interval is not None:
                session.expiry_interval = min(
                    interval, self.options.maximum_session_expiry_interval
                )

    def _answer(self, connection: BrokerConnection, packet: Suback | Unsuback, now: float) -> None:
        try:
            connection.send(packet)
        except PacketTooLarge:  # it cannot be left out, and the client cannot take it
            self.disconnect(connection, now, ReasonCode.PACKET_TOO_LARGE)

    def _receive_publish(
        self, connection: BrokerConnection, session: BrokerSession, message: Message, now: float
    ) -> None:
        fault = self._find_fault(message)
        if fault:
            self.disconnect(connection, now, fault)
            return
        self.counters.received += 1
        code = 0
        if self.options.authorize_publish is not None:
            code = self.options.authorize_publish(session.client_id, message)
        if not code:
            publication = Publication(
                message.topic,
                message.payload,
                message.qos,
                message.retain,
                message.properties,
                session.client_id,
                now,
            )
            if not self._distribute(publication, now):
                code = ReasonCode.NO_MATCHING_SUBSCRIBERS
        if message.qos:
            connection.answer(code)

    def _find_fault(self, message: Message) -> int:
        """Return why a client must not send a message; 0: it may."""
        if message.qos > self.options.maximum_qos:
            return ReasonCode.QOS_NOT_SUPPORTED
        if message.retain and not self.options.retain_available:
            return ReasonCode.RETAIN_NOT_SUPPORTED
        if message.properties and "subscription_identifiers" in message.properties:
            return ReasonCode.PROTOCOL_ERROR  # [MQTT-3.3.4-6]
        return 0

    def _receive_subscribe(
        self, connection: BrokerConnection, session: BrokerSession, packet: Subscribe, now: float
    ) -> None:
        fault = self._find_subscribe_fault(packet)
        if fault:
            self.disconnect(connection, now, fault)
            return
        identifiers = (packet.properties or {}).get("subscription_identifiers", [None])
        authorize = self.options.authorize_subscribe
        codes: list[int] = []
        retained: list[Subscription] = []
        for topic_filter, options in packet.subscriptions:
            code = authorize(session.client_id, topic_filter, options) if authorize else 0
            if code:
                codes.append(code)
                continue
            options.qos = min(options.qos, self.options.maximum_qos)
            codes.append(options.qos)  # [MQTT-3.8.4-7]
            subscription = Subscription(session, topic_filter, options, identifiers[0])
            is_new = self.router.subscribe(subscription)
            if not is_shared(topic_filter) and (
                options.retain_handling == 0  # [MQTT-3.3.1-9]
                or (options.retain_handling == 1 and is_new)  # [MQTT-3.3.1-10] [MQTT-3.3.1-11]
            ):
                retained.append(subscription)
        self._answer(connection, Suback(packet.packet_id, codes), now)  # [MQTT-3.8.4-1]
        for subscription in retained:
            self._send_retained(subscription, now)

    def _find_subscribe_fault(self, packet: Subscribe) -> int:
        """Return why a client must not send a SUBSCRIBE; 0: it may."""
        options = self.options
        filters = [topic_filter for topic_filter, _ in packet.subscriptions]
        if not options.shared_subscription_available and any(map(is_shared, filters)):
            return ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        if not options.wildcard_subscription_available and any(map(has_wildcard, filters)):
            return ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
        has_identifier = "subscription_identifiers" in (packet.properties or {})
        if has_identifier and not options.subscription_identifier_available:
            return ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
        return 0

    def _send_retained(self, subscription: Subscription, now: float) -> None:
        identifier = subscription.identifier
        for publication in list(self.router.retained_for(subscription.topic_filter, now)):
            qos = min(publication.qos, subscription.options.qos)
            identifiers = [] if identifier is None else [identifier]
            delivery = Delivery(publication, qos, True, identifiers)
            self._deliver(subscription.session, delivery, now)

    # --- sessions

    def _settle(self, connection: BrokerConnection, now: float) -> None:
        """See what has become of a connection: acknowledged messages, or its end."""
        self._changed[connection] = None
        session = connection.owner
        if session is None:
            return
        if connection.completed:
            completed, connection.completed = connection.completed, []
            for outgoing in completed:
                session.held_bytes -= len(outgoing.payload)
            self._flush(session, now)
        if connection.is_ending:
            self._leave(connection, session, now)

    def _leave(self, connection: BrokerConnection, session: BrokerSession, now: float) -> None:
        """A connection has ended: what becomes of its session and its will?"""
        connection.owner = None
        incoming = session.flows.incoming
        for packet_id, receipt in list(incoming.items()):
            if receipt.state is ReceiptState.WAITING:  # not taken over: the client sends it again
                del incoming[packet_id]
        session.leave(now)
        will, connection.will = connection.will, None
        if will is not None:
            session.will = will
            session.will_at = now + will.properties.get("will_delay_interval", 0)
        self._do_what_is_due(session, now)

    def _do_what_is_due(self, session: BrokerSession, now: float) -> None:
        if session.will_at is not None and now >= session.will_at:  # [MQTT-3.1.2-8]
            self._publish_will(session, now)
        if session.expires_at is not None and now >= session.expires_at:
            self.end_session(session, now)

    def end_session(self, session: BrokerSession, now: float) -> None:
        """Discard a session [MQTT-4.1.0-2]; a will that was still delayed is published now."""
        del self.sessions[session.client_id]
        for topic_filter in list(session.subscriptions):
            self.router.unsubscribe(session, topic_filter)
        self._publish_will(session, now)

    def _publish_will(self, session: BrokerSession, now: float) -> None:
        """Publish the will of a session, if it has one, and remove it [MQTT-3.1.2-10]."""
        will, session.will, session.will_at = session.will, None, None
        if will is not None:
            self._distribute(
                Publication(
                    will.topic,
                    will.payload,
                    will.qos,
                    will.retain,  # [MQTT-3.1.2-14] [MQTT-3.1.2-15]
                    will.properties,
                    session.client_id,
                    now,
                ),
                now,
            )

    def resume(self, connection: BrokerConnection, session: BrokerSession, now: float) -> None:
        """Go on with a session on a new connection: old messages again, then those that wait."""
        for outgoing in session.flows.outgoing.values():
            assert isinstance(outgoing, Delivery)
            outgoing.count_down(now)
        connection.resume()
        self._flush(session, now)
