"""The client without input or output: it lives as long as the Client, over many connections.

States, by what there is of a network connection:

    IDLE         none, and none is wanted: before connect(), after close(), after giving up
    DIALING      the shell is asked to open one (action Dial)
    CONNECTING   it is open, CONNECT is sent
    CONNECTED    CONNACK has come
    HANGING_UP   the shell is asked to close it (action HangUp)
    WAITING      none; the next attempt is due at a time

What survives a connection: the session (packet identifiers, QoS 1 and 2 flows), the outbox, the
subscriptions and their buffers, the assigned client identifier, the protocol version that was
found to work, the back-off. What does not, is in ``ClientConnection``.

A shell calls in with what happens: ``transport_opened``, ``dial_failed``, ``receive``,
``transport_closed``, ``handle_deadline`` at ``next_deadline``, and the user's wishes. After
every call it takes what there is: ``data_to_send``, ``take_action``, ``finished`` operations
that somebody waits for, ``take_ready`` subscriptions whose consumer wants to know, ``events``,
new ``drops``, a ``question`` for the program, and ``notices`` to be logged. It reads from the
network while ``wants_data``. Nothing is called back, and nothing here looks at a clock.

The half that gets a connection is in ``Connecting``, above which this class stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from logging import WARNING
from typing import Any, Final, cast

from mqttlite.client.connecting import LINGER, Connecting
from mqttlite.client.counters import Counters
from mqttlite.client.dispatch import Dispatch
from mqttlite.client.drops import Drops
from mqttlite.client.events import (
    Connected,
    Disconnected,
    DropReason,
    Question,
)
from mqttlite.client.operations import DeliveryState, Operation, Unsubscribed
from mqttlite.client.options import ClientOptions, check_user_properties
from mqttlite.client.publisher import Publisher
from mqttlite.client.requests import ReplyInbox
from mqttlite.client.states import ClientState
from mqttlite.client.subscriber import Subscriber
from mqttlite.client.subscriptions import SubscriptionState, check_filters
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ClosedBy, ProtocolVersion, ReasonCode
from mqttlite.errors import (
    AuthError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    MqttError,
    NotSupported,
    ProtocolError,
    UsageError,
)
from mqttlite.message import Message, Properties
from mqttlite.packets import Auth, Connack, Disconnect, Packet, Suback, Unsuback
from mqttlite.protocol import ClientConnection, ConnectionState
from mqttlite.protocol.connection import Acknowledger
from mqttlite.records import replace

_GOODBYE: Final = 0.5
"""Seconds of the time-out of ``close()`` that are left for DISCONNECT."""

_BUSY: Final = 1.0
"""Seconds after which to look again whether nothing is in flight."""

# A member of an Enum costs more to look up than a global name.
_CONNECTED: Final = ClientState.CONNECTED
_HANGING_UP: Final = ClientState.HANGING_UP
_OPEN: Final = ConnectionState.OPEN

_USUAL_GOODBYE: Final = Disconnect()

_PATIENCE: Final = 0.25
"""Seconds for which nothing is read when a buffer is full, so that a program that keeps up, but
gets its turn only between two reads, loses nothing; and again, while it takes many messages."""

_FIRST_IDENTIFIERS: Final = 2**27
"""Among so many the first subscription identifier is chosen at random."""


class ClientCore(Connecting):
    """The client's state machine; see the head of the module.

    ``random`` returns floats from 0 to 1, for the jitter.
    """

    connack: Connack | None = None
    """The last CONNACK that accepted a connection."""
    _replies: ReplyInbox | None = None
    _unverified: Connack | None = None  # which the auth handler has not approved yet
    _reauthenticating: Operation[None] | None = None
    _goodbye: Disconnect | None = None
    _was_writing = False  # at the last look, while hanging up
    _return_at: float | None = None  # to the preferred server
    _patience_ends: float | None = None  # with a consumer that does not keep up
    _session_server: Endpoint | None = None  # that was connected last

    def __init__(self, options: ClientOptions, random: Callable[[], float]) -> None:
        super().__init__(options, random)
        self.drops = Drops()
        self.publisher = Publisher(options, self.session, self.drops, self.finished)
        first_identifier = 0
        if options.use_subscription_identifiers:
            first_identifier = int(random() * _FIRST_IDENTIFIERS) + 1
        self._subscriber = Subscriber(self.finish, first_identifier)
        self._dispatch = Dispatch(self._subscriber.table, self.drops, self.notices)

    # --- what the program may ask

    def set_acknowledger(self, acknowledger: Acknowledger) -> None:
        """Say what is called when the program calls ``message.ack()``.

        It has to see that ``accept()`` is called: a shell takes its lock, and pumps afterwards.
        """
        self._acknowledger = acknowledger
        if self._connection is not None:
            self._connection.acknowledger = acknowledger

    @property
    def counters(self) -> Counters:
        """What the client has done and has to do, as it is now."""
        outbox, connection = self.publisher.outbox, self._connection
        subscriptions = self._subscriber.table.everything()
        return replace(
            self._counters,
            received_messages=self._dispatch.received_messages,
            sent_messages=self.publisher.sent_messages,
            dropped_messages=dict(self.drops.totals),
            outbox_messages=len(outbox),
            outbox_bytes=outbox.size,
            in_flight=len(self.session.outgoing),
            buffered_messages=sum(len(each.buffer) for each in subscriptions),
            ping_round_trip=None if connection is None else connection.ping_round_trip,
        )

    def wants_data(self, now: float) -> bool:
        """Whether to read from the network: not while a subscription has it paused."""
        connection = self._connection
        if self._unverified is not None:
            return False  # before the server is known to be the right one
        if connection is None or self.state is not _CONNECTED:
            return True
        is_full = self._dispatch.is_full
        if is_full is not connection.is_paused:
            connection.pause(now, paused=is_full)
            self._patience_ends = None
        if is_full and self._patience_ends is None and self._dispatch.has_patience:
            self._patience_ends = now + _PATIENCE
        return not is_full

    @property
    def is_connected(self) -> bool:
        """Whether there is an accepted connection now."""
        return self.state is ClientState.CONNECTED

    @property
    def is_idle(self) -> bool:
        """Whether there is no connection, and none is wanted."""
        return self.state is ClientState.IDLE

    @property
    def next_expiry(self) -> float | None:
        """When one of the messages that wait to be sent may expire."""
        return self.publisher.outbox.next_expiry

    @property
    def unsent_size(self) -> int:
        """Bytes that wait to be taken by ``data_to_send()``."""
        return 0 if self._connection is None else self._connection.unsent_size

    @property
    def client_id(self) -> str:
        """The client identifier: the given one, or the one that the server has assigned."""
        return self.options.client_id or self._assigned_id

    @property
    def version(self) -> ProtocolVersion:
        """The protocol version of the connection, or the one that will be tried next."""
        return self._version

    # --- connecting

    def _attempt_over(self, error: Exception) -> None:
        self.publisher.close(error)
        for subscription in self._subscriber.table.subscriptions:
            self.finish(subscription.subscribed, None, error)
            subscription.subscribed = Operation()

    def give_up(self, error: Exception) -> None:
        """There is no connection, and there will be none: fail everything with the reason.

        A shell may call it at any time, when it cannot go on.
        """
        self.failure = error
        self._notice(WARNING, f"the connection is over: {error}")
        if self._connection is not None:
            self._connection.lose(ConnectionLost(str(error)))
            self._connection = None
            self.publisher.connection = self.publisher.direct = None
        self._end(error)

    def _end(self, error: Exception) -> None:
        """The client becomes idle: finish whatever is under way, and forget all deadlines."""
        self.state = ClientState.IDLE
        self._action = self._goodbye = self._unverified = None
        self.question = None
        self._cancelled = False
        self._retry_at = self._attempt_deadline = self._hang_up_deadline = None
        self._drain_deadline = self._close_deadline = None
        self._return_at = self._patience_ends = None
        self.publisher.close(error)
        for subscription in self._subscriber.end(error):
            self._dispatch.wake(subscription)
        self._finish_reauthentication(error)
        if self._replies is not None:
            self._replies.fail(error)
            self._replies = None
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            self.finish(connecting, None, error)
        closing, self._closing = self._closing, None
        if closing is not None:
            self.finish(closing, None)

    # --- the network connection

    def room(self) -> memoryview | None:
        """Where to put the next bytes from the network; None: they are to be received.

        Valid until anything else is received.
        """
        if self._connection is None or self.state is _HANGING_UP:
            return None
        return self._connection.room()

    def filled(self, count: int, now: float) -> None:
        """So many bytes from the network were put into ``room()``."""
        connection = self._connection
        self._counters.received_bytes += count
        if connection is not None and self.state is not _HANGING_UP:
            connection.filled(count, now)
            self._process(connection, now)

    def receive(self, data: bytes | memoryview, now: float) -> None:
        """Take bytes from the network."""
        connection = self._connection
        self._counters.received_bytes += len(data)
        if connection is not None and self.state is not _HANGING_UP:
            connection.receive(data, now)
            self._process(connection, now)

    def _process(self, connection: ClientConnection, now: float) -> None:
        """Pass on what a connection has received, and send what has become possible."""
        while received := connection.take_received():
            packets = iter(received)
            while (packet := self._dispatch.dispatch(packets)) is not None:
                self._receive_packet(packet, connection, now)
        if connection.remarks:
            for text in connection.remarks:
                self.notices.append(("mqttlite.protocol", WARNING, text))
            connection.remarks = ()
        if self._unverified is not None:
            connection.fail_early()
        if connection.refused_payloads:
            self.drops.count(DropReason.INVALID_PAYLOAD, connection.refused_payloads)
            connection.refused_payloads = 0
        if connection.completed:
            self.publisher.settle_completed(connection)
        if self.publisher.outbox:
            self.publisher.send_outbox(connection, now)
        if connection.state is not _OPEN:
            self._check_closed(connection, now)
        elif self._closing is not None:
            self._check_drained(connection, now)

    def _receive_packet(self, packet: Packet, connection: ClientConnection, now: float) -> None:
        """Any packet but PUBLISH and the acknowledgements of those that were sent."""
        if isinstance(packet, Connack):
            if self.options.auth is not None:
                self._unverified = packet
                self._ask_handler(packet, connection)
            else:
                self._accepted(packet, connection, now)
        elif isinstance(packet, Auth):
            self._ask_handler(packet, connection)
        elif isinstance(packet, Suback):
            for subscription in self._subscriber.receive_suback(packet):
                self.end_subscription(subscription, processed=True)
                if isinstance(subscription, ReplyInbox) and subscription.error is not None:
                    subscription.fail(subscription.error)
        elif isinstance(packet, Unsuback):
            self._subscriber.receive_unsuback(packet)

    def _accepted(self, connack: Connack, connection: ClientConnection, now: float) -> None:
        """The server has accepted the connection: resume the session, or begin it anew."""
        self.state = ClientState.CONNECTED
        connection.open()
        self.connack = connack
        if self._found_version is not self._version:
            self._found_version = self._version
        self._attempt_deadline = None
        self._connected_at = now
        self._first = False
        self._servers.connected()
        self._counters.connections += 1
        policy = self.options.reconnect
        if policy is not None and policy.return_after and not self._servers.is_preferred:
            self._return_at = now + policy.return_after
        assigned = (connack.properties or {}).get("assigned_client_identifier")
        if assigned is not None:  # [MQTT-3.2.2-16]
            self._assigned_id = assigned
        # MQTT 3.1 does not say whether there is a session: to send again is right in both
        # cases, to subscribe again too.
        unknown = self._version == ProtocolVersion.MQTT_3_1 and self.options.keeps_session
        server = self._servers.current.without_credentials()
        is_same = self._session_server in (None, server)
        self._session_server = server
        # Another server may have a session of old, which knows nothing of what was done since.
        if not is_same:
            connection.resumes_elsewhere = True
        if connack.session_present:
            if is_same:
                self._subscriber.forget_redelivered(connection)
        elif not unknown:  # [MQTT-3.2.2-5]
            self.publisher.start_session()
        refused = self._subscriber.connected(
            connection,
            has_filters=connack.session_present and is_same,
            may_have_filters=connack.session_present or unknown,
        )
        for subscription in refused:
            self.end_subscription(subscription, processed=True)
        connection.resume()
        self.publisher.connection = self.publisher.direct = connection
        if self._connecting is not None:
            operation, self._connecting = self._connecting, None
            self.finish(operation, connack)
        self.events.append(Connected(connack, str(self._servers.current)))
        connection.receive_early()

    # --- enhanced authentication (section 4.12)

    def _ask_handler(self, packet: Connack | Auth, connection: ClientConnection) -> None:
        """Let the auth handler answer a challenge, or check what came with success."""
        handler = self.options.auth
        assert handler is not None
        properties = packet.properties or {}
        data = properties.get("authentication_data", b"")

        def respond(answers: Mapping[str, Any], _now: float) -> None:
            connection.authenticate(answers["auth"])

        def approved(_answers: Mapping[str, Any], now: float) -> None:
            connack, self._unverified = self._unverified, None
            if connack is not None:
                self._accepted(connack, connection, now)
                self._process(connection, now)
            else:
                self._finish_reauthentication(None)

        if packet.reason_code == ReasonCode.CONTINUE_AUTHENTICATION:
            functions = {"auth": partial(handler.respond, data, properties)}
            self.question = Question(functions, respond, self._authentication_failed)
        else:
            check = {"auth": partial(handler.finish, data, properties)}
            self.question = Question(check, approved, self._authentication_failed)

    def reauthenticate(self) -> Operation[None]:
        """Authenticate anew on the same connection; the operation ends when the server agrees.

        Raises UsageError without an auth handler, ConnectionClosed without a connection.
        """
        self.check_open()
        handler, connection = self.options.auth, self._connection
        if handler is None:
            raise UsageError("to authenticate anew needs an auth handler: give auth=")
        if self.state is not ClientState.CONNECTED or connection is None:
            raise ConnectionClosed("there is no connection at this moment")
        if self._reauthenticating is None:
            self._reauthenticating = Operation()

            def begin(answers: Mapping[str, Any], _now: float) -> None:
                connection.reauthenticate(answers["auth"])

            functions = {"auth": handler.start}
            self.question = Question(functions, begin, self._authentication_failed)
        return self._reauthenticating

    def _finish_reauthentication(self, error: Exception | None) -> None:
        operation, self._reauthenticating = self._reauthenticating, None
        if operation is not None:
            self.finish(operation, None, error)

    def _authentication_failed(self, error: Exception, now: float) -> None:
        """The auth handler has raised: the connection is not to be used [MQTT-4.12.1-2]."""
        if not isinstance(error, MqttError):
            cause = error
            error = AuthError(f"the auth handler raised {type(cause).__name__}")
            error.__cause__ = cause
        self._hang_up_cause = error
        assert self._connection is not None  # without one there is no question of this kind
        self._connection.disconnect(ReasonCode.UNSPECIFIED_ERROR)
        self._check_closed(self._connection, now)

    # --- the end of a connection

    def _check_closed(self, connection: ClientConnection, now: float) -> None:
        """Hang up if the connection is at its end."""
        if self.state is ClientState.HANGING_UP:
            return
        if connection.state is ConnectionState.CLOSING:
            self._hang_up(now, graceful=True)
        elif connection.state is ConnectionState.CLOSED:
            self._hang_up(now, graceful=False)

    def transport_closed(self, now: float, error: Exception | None = None) -> None:
        """The network connection is gone: because of HangUp, by the server, or by an error."""
        connection, self._connection = self._connection, None
        self._hang_up_deadline = self._return_at = self._patience_ends = None
        self._action = self._unverified = None
        cause, self._hang_up_cause = self._hang_up_cause, None
        was_open = False
        if connection is not None:
            was_open = self.publisher.connection is connection
            connection.lose(_lost(error, was_open=was_open))
            if isinstance(connection.close_cause, ProtocolError):
                text = f"the server broke the protocol: {connection.close_cause}"
                self.notices.append(("mqttlite.protocol", WARNING, text))
            cause = cause or connection.close_cause
            self._finish_reauthentication(cause)
            self._subscriber.disconnected()
            self.publisher.disconnected()
        if cause is None:  # it was hung up while dialing
            cause = ConnectFailed("the attempt to connect was given up", by=ClosedBy.CLIENT)
        self._ended(cause, now, was_open=was_open)

    # --- publishing

    def publish(self, delivery: DeliveryState, now: float, *, can_wait: bool) -> None:
        """Send a message, or queue it until it can be sent.

        ``can_wait``: the caller waits for the outcome, so that it can be parked if the outbox
        is full. Raises UsageError for what cannot be sent, QueueFull, and ConnectionClosed if
        the client is not connected and will not be.
        """
        if self.state is ClientState.IDLE or self._closing is not None:
            self.check_open()
        self.publisher.publish(delivery, now, can_wait=can_wait)

    def check_open(self) -> None:
        """Raise if nothing can be asked of this client now, because it is not to be connected."""
        if self.failure is not None:
            raise ConnectionClosed(f"the client has given up: {self.failure}") from self.failure
        if self.state is ClientState.IDLE or self._closing is not None:
            raise ConnectionClosed(
                "the client is not connected: call connect() first, or use it in a with block",
                by=ClosedBy.CLIENT,
            )

    def withdraw(self, delivery: DeliveryState) -> None:
        """The caller does not wait any more: forget the message if it was not accepted yet."""
        self.publisher.withdraw(delivery)

    # --- subscribing

    def subscribe(self, subscription: SubscriptionState) -> Operation[dict[str, int]] | None:
        """Add a subscription; return what tells of the server's answer.

        None: it is declared before connecting, so there is nothing to wait for.
        """
        if self._closing is not None:
            self.check_open()
        self._subscriber.subscribe(subscription)
        return None if self.is_idle else subscription.subscribed

    def subscribe_unmatched(self, subscription: SubscriptionState) -> None:
        """Let a subscription without filters take the messages that no other one matches."""
        table = self._subscriber.table
        if table.unmatched is not None:
            raise UsageError("somebody takes the unmatched messages already")
        table.unmatched = subscription
        table.forget_routes()
        self.finish(subscription.subscribed, {})

    def unsubscribe(
        self, subscription: SubscriptionState, user_properties: Sequence[tuple[str, str]] = ()
    ) -> Operation[Unsubscribed]:
        """End a subscription; wakes its consumer."""
        operation = self._subscriber.unsubscribe(subscription, user_properties)
        self.finish(subscription.subscribed, None, UsageError("the subscription was ended"))
        self._dispatch.wake(subscription)
        return operation

    def end_subscription(
        self,
        subscription: SubscriptionState,
        *,
        processed: bool,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> Operation[Unsubscribed]:
        """End a subscription whose consumer leaves; what it did not take is discarded."""
        self._check_user_properties(subscription.topic_filters, user_properties)
        operation = self.unsubscribe(subscription, user_properties)
        subscription.finish_taken(processed=processed)
        subscription.discard(processed=processed)
        return operation

    def _check_user_properties(
        self, topic_filters: Sequence[str], user_properties: Sequence[tuple[str, str]]
    ) -> None:
        check_user_properties(user_properties)
        if user_properties and self._version != ProtocolVersion.MQTT_5_0:
            raise NotSupported("user_properties need MQTT 5.0; this connection is 3.x")
        if user_properties and self._connection is not None:
            properties: Properties = {"user_properties": list(user_properties)}
            self._connection.check_unsubscribe(topic_filters, properties)

    def unsubscribe_filters(
        self,
        topic_filters: str | Sequence[str],
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> Operation[Unsubscribed]:
        """Unsubscribe from filters that a resumed session has, and end who uses them here."""
        filters = check_filters(topic_filters)
        self._check_user_properties(filters, user_properties)
        self.check_open()
        also: list[str] = []
        for subscription in list(self._subscriber.table.subscriptions):
            if any(topic_filter in filters for topic_filter in subscription.topic_filters):
                subscription.end()
                also += self._subscriber.table.remove(subscription)
                self._dispatch.wake(subscription)
        everything = list(dict.fromkeys(filters + also))
        return self._subscriber.unsubscribe_filters(everything, user_properties)

    # --- requests

    def open_replies(self, random_id: str) -> Operation[dict[str, int]]:
        """Subscribe to the topic on which answers to requests come; once for the client."""
        self.check_open()
        if self._version != ProtocolVersion.MQTT_5_0:
            raise NotSupported("request() needs MQTT 5.0; this connection is 3.x")
        if self._replies is None or self._replies.ended:
            prefix = ""
            # What was not asked for says nothing [MQTT-3.1.2-28].
            if (
                self.options.request_response_information
                and self.connack
                and self.connack.properties
            ):
                prefix = self.connack.properties.get("response_information", "")
            self._replies = ReplyInbox(prefix, random_id, self.finish)
            self._subscriber.subscribe(self._replies)
        return self._replies.subscribed

    def expect_reply(self) -> tuple[str, bytes, Operation[Message]]:
        """Return the response topic and correlation data for one request, and its answer."""
        self.check_open()
        if self._replies is None:  # the client was closed and connected since then
            raise ConnectionClosed("the connection was closed", by=ClosedBy.CLIENT)
        return self._replies.expect()

    def forget_reply(self, correlation_data: bytes) -> None:
        """The caller does not wait for this answer any more."""
        if self._replies is not None:
            self._replies.forget(correlation_data)

    # --- closing

    def close(
        self,
        now: float,
        timeout: float,
        *,
        drain: bool = True,
        goodbye: Disconnect | None = None,
    ) -> Operation[None]:
        """End the connection, with DISCONNECT if there is one; ends within ``timeout`` seconds.

        ``drain``: first wait until everything that was accepted is acknowledged. ``goodbye`` is
        the DISCONNECT to send, in MQTT 5. Raises UsageError if it cannot be.
        """
        if goodbye is not None:
            self.options.check_goodbye(goodbye, self._version)
        if self._closing is not None:
            if goodbye is not None and self.state is ClientState.CONNECTED:
                self._goodbye = goodbye  # the one before has not been said yet
            self._hasten(now, timeout, drain=drain)
            return self._closing
        operation: Operation[None] = Operation()
        if self.state is ClientState.IDLE:
            self._end(self._closed_error())
            self.finish(operation, None)
            return operation
        self._closing = operation
        self.publisher.direct = None
        self._goodbye = goodbye
        self._close_deadline = now + timeout
        if self.state is ClientState.CONNECTED:
            reserve = min(_GOODBYE, timeout / 2)
            self._drain_deadline = now + timeout - reserve if drain else now
            assert self._connection is not None
            self._check_drained(self._connection, now)
        elif self.state is ClientState.CONNECTING and self._connection is not None:
            self._say_goodbye(self._connection, now)
        elif self.state is ClientState.DIALING:
            self._hang_up(now, graceful=False)
        elif self.state is ClientState.WAITING:
            self._finish_closing()
        else:
            self._hasten(now, timeout, drain=drain)
        return operation

    def _hasten(self, now: float, timeout: float, *, drain: bool) -> None:
        """The end is under way already: see that it comes in time."""
        end = now + timeout
        self._close_deadline = min(self._close_deadline or end, end)
        if self._hang_up_deadline is not None:
            self._hang_up_deadline = min(self._hang_up_deadline, end)
        if self._drain_deadline is not None:
            last = end - min(_GOODBYE, timeout / 2) if drain else now
            self._drain_deadline = min(self._drain_deadline, last)

    def _check_drained(self, connection: ClientConnection, now: float) -> None:
        deadline = self._drain_deadline
        waits = self.publisher.outbox or self.session.outgoing
        if self.state is ClientState.CONNECTED and (
            not waits or (deadline is not None and now >= deadline)
        ):
            self._say_goodbye(connection, now)

    def _say_goodbye(self, connection: ClientConnection, now: float) -> None:
        self._attempt_deadline = None
        goodbye = self._goodbye or _USUAL_GOODBYE
        properties = dict(goodbye.properties or {})
        if connection.version == ProtocolVersion.MQTT_5_0 and not self.options.keeps_session:
            properties.setdefault("session_expiry_interval", 0)
        connection.disconnect(goodbye.reason_code, cast("Properties", properties))
        self._hang_up(now, graceful=True)

    def _finish_closing(self) -> None:
        error = self._closed_error()
        self.events.append(Disconnected(error, None))
        goodbye = self._goodbye
        self._end(error)
        interval = ((goodbye and goodbye.properties) or {}).get("session_expiry_interval")
        if not (self.options.keeps_session if interval is None else interval):
            self.session.clear()

    # --- what the shell takes

    def data_to_send(self, now: float) -> bytes | memoryview:
        """Return the next bytes to write; empty if there are none."""
        connection = self._connection
        if connection is None:
            return b""
        if not connection.has_data and connection.state is _OPEN:
            return b""
        data = connection.data_to_send(now)
        self._counters.sent_bytes += len(data)
        if connection.state is not _OPEN:
            self._check_closed(connection, now)
        if data and self.publisher.outbox:
            self.publisher.send_outbox(connection, now)
        return data

    @property
    def has_ready(self) -> bool:
        """Whether there are subscriptions whose consumer is to be woken."""
        return bool(self._dispatch.ready)

    def take_ready(self) -> list[SubscriptionState]:
        """Hand over the subscriptions whose consumer is to be woken."""
        return self._dispatch.take_ready()

    # --- time

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` wants to be called; None: not before something happens."""
        connection = self._connection
        first = None if connection is None else connection.next_deadline()
        expiry = self.publisher.outbox.next_expiry
        is_usual = self.state is _CONNECTED and self._closing is None
        if is_usual and self._return_at is None and expiry is self._patience_ends is None:
            return first  # there are no others, and this is asked for again and again
        for deadline in (
            None if self.state is _HANGING_UP else self._attempt_deadline,
            self._retry_at,
            self._drain_deadline,
            self._hang_up_deadline,
            self._return_at,
            self._patience_ends,
            expiry,
        ):
            if deadline is not None and (first is None or deadline < first):
                first = deadline
        return first

    def handle_deadline(self, now: float) -> None:
        """Do what is due at this time."""
        self.publisher.expire(now)
        if _is_due(self._patience_ends, now):
            self._dispatch.lose_patience()
            self._patience_ends = now + _PATIENCE if self._dispatch.has_patience else None
        if _is_due(self._retry_at, now):
            self._begin_attempt(now)
        # What ends the attempt already is the reason that counts.
        if _is_due(self._attempt_deadline, now) and self.state is not ClientState.HANGING_UP:
            self._attempt_deadline = None
            self._hang_up_cause = TimeoutError(
                f"no CONNACK from {self._asked_server()} in time; all servers together have "
                f"{self.options.connect_timeout:g} seconds (connect_timeout)"
            )
            self._hang_up(now, graceful=False)
        if _is_due(self._hang_up_deadline, now):
            end = self._close_deadline
            if end is not None and now < end and (self.unsent_size or self._was_writing):
                # It is still being written, or what was written last is still on its way.
                self._was_writing = self.unsent_size > 0
                self._hang_up_deadline = min(now + LINGER, end)
            else:
                self._hang_up(now, graceful=False)
        connection = self._connection
        if connection is not None:
            if _is_due(self._return_at, now):
                self._return(connection, now)
            connection.handle_deadline(now)
            self._process(connection, now)

    def _asked_server(self) -> str:
        """Who does not answer: a server, or a function of the program."""
        return "the program's own function" if self.question else str(self._servers.current)

    def _return(self, connection: ClientConnection, now: float) -> None:
        """Leave this server for the preferred one, if nothing is in flight."""
        busy = self.publisher.outbox or self.session.outgoing or self.unsent_size
        if busy or self._reauthenticating is not None:
            self._return_at = now + _BUSY
            return
        self._return_at = None
        self._servers.go_back()
        text = "going back to the preferred server"
        connection.disconnect(cause=ConnectionClosed(text, by=ClosedBy.CLIENT))


def _is_due(deadline: float | None, now: float) -> bool:
    return deadline is not None and now >= deadline


def _lost(error: Exception | None, *, was_open: bool) -> ConnectionClosed:
    """What it means that the network connection ended by itself."""
    said = f": {error}" if error is not None else ""
    lost: ConnectionClosed
    if was_open:
        lost = ConnectionLost(f"the connection was lost{said}")
    else:
        lost = ConnectFailed(f"the server closed the connection before CONNACK{said}")
    lost.__cause__ = error
    return lost
