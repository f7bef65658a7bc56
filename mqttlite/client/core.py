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
that somebody waits for, ``ready`` subscriptions whose consumer wants to know, ``events``, and
``notices`` to be logged.
Nothing is called back, and nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from logging import INFO, WARNING
from typing import Any, Final

from mqttlite.client.backoff import Backoff
from mqttlite.client.events import Connected, Disconnected, Event
from mqttlite.client.operations import DeliveryState, Operation
from mqttlite.client.options import VERSIONS, ClientOptions
from mqttlite.client.publisher import Publisher
from mqttlite.client.requests import ReplyInbox
from mqttlite.client.subscriber import Subscriber
from mqttlite.client.subscriptions import (
    SubscriptionState,
    accept,
    check_filters,
    share_out,
)
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ClosedBy, ProtocolVersion, ReasonCode
from mqttlite.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConnectRefused,
    MqttError,
    NotSupported,
    UsageError,
)
from mqttlite.message import Message
from mqttlite.options import Reconnect
from mqttlite.packets import Connack, Packet, Suback, Unsuback
from mqttlite.protocol import ClientConnection, ConnectionState, Session
from mqttlite.protocol.session import Answerable

_LINGER: Final = 2.0
"""Seconds to wait, after DISCONNECT, for the server to close the connection."""

_GOODBYE: Final = 0.5
"""Seconds of the time-out of ``close()`` that are left for DISCONNECT."""


class ClientState(Enum):
    """How far the client is with its network connection."""

    IDLE = "idle"
    DIALING = "dialing"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    HANGING_UP = "hanging up"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a network connection; then call ``transport_opened`` or ``dial_failed``."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the network connection, or stop opening one; then call ``transport_closed``.

    Gracefully: write what there is, close that direction, and read until the server closes.
    """

    graceful: bool


class ClientCore:
    """The client's state machine; see the head of the module.

    ``random`` returns floats from 0 to 1, for the jitter. ``acknowledger`` is called with a
    receipt when the program calls ``message.ack()``, and has to see that its ``accept()`` is
    called; a shell sets it to take its lock and pump.
    """

    def __init__(self, options: ClientOptions, random: Callable[[], float]) -> None:
        self.options = options
        self.session = Session()
        self.state = ClientState.IDLE
        self.connack: Connack | None = None
        """The last CONNACK that accepted a connection."""
        self.failure: Exception | None = None
        """Why the client gave up, if it did."""
        self.finished: list[Operation[Any] | DeliveryState] = []
        self.ready: list[SubscriptionState] = []
        self.events: list[Event] = []
        self.acknowledger: Callable[[Answerable], None] = lambda receipt: receipt.accept()
        self.unmatched_messages = 0
        self.notices: list[tuple[int, str]] = []
        """What is to be logged, by level: by the shell, when it holds no lock."""

        self._connection: ClientConnection | None = None
        self._publisher = Publisher(options, self.session, self._notify)
        self._subscriber = Subscriber(self.finish)
        self._replies: ReplyInbox | None = None
        self._reconnect = options.reconnect
        self._backoff = Backoff(options.reconnect or Reconnect(), random)
        self._action: Dial | HangUp | None = None
        self._connecting: Operation[Connack] | None = None
        self._closing: Operation[None] | None = None
        self._cancelled = False
        self._first = True  # no connection has been accepted since connect()
        self._version = VERSIONS[options.version] if options.version else ProtocolVersion.MQTT_5_0
        self._assigned_id = ""
        self._endpoint_index = 0
        self._endpoints_left = 0  # that were not tried in this attempt
        self._connected_at = 0.0
        self._hang_up_cause: Exception | None = None
        # The deadlines, None where there is none.
        self._round_deadline = 0.0
        self._attempt_deadline: float | None = None
        self._retry_at: float | None = None
        self._drain_deadline: float | None = None
        self._close_deadline: float | None = None
        self._hang_up_deadline: float | None = None

    # --- what the program may ask

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
        return self._publisher.outbox.next_expiry

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

    # --- operations

    def finish(self, operation: Operation[Any], value: Any, error: Exception | None = None) -> None:
        """Finish an operation, unless it is done already."""
        if operation.done:
            return
        operation.value = value
        operation.error = error
        operation.done = True
        if operation.waiters:
            self.finished.append(operation)

    def _notify(self, delivery: DeliveryState) -> None:
        self.finished.append(delivery)

    def _wake(self, subscription: SubscriptionState) -> None:
        if subscription.owner is not None:  # the inbox of replies has none
            self.ready.append(subscription)

    # --- connecting

    def connect(self, now: float) -> Operation[Connack]:
        """Begin to connect; the operation ends with CONNACK, or with the reason why not."""
        if self.state is not ClientState.IDLE:
            raise UsageError("the client is connected already, or about to be")
        self._connecting = Operation()
        self.failure = None
        self._first = True
        self._endpoint_index = 0
        self._backoff.failures = 0
        self._begin_attempt(now)
        return self._connecting

    def _begin_attempt(self, now: float) -> None:
        """Try all servers, one after the other, within ``connect_timeout``."""
        self._retry_at = None
        self._round_deadline = now + self.options.connect_timeout
        self._endpoints_left = len(self.options.endpoints)
        self._try_endpoint(now)

    def _try_endpoint(self, now: float) -> None:
        # One that does not answer leaves as much time for each of those behind it.
        self._attempt_deadline = now + (self._round_deadline - now) / self._endpoints_left
        self._dial()

    def _dial(self) -> None:
        self.state = ClientState.DIALING
        self._action = Dial(self._endpoint)

    @property
    def _endpoint(self) -> Endpoint:
        return self.options.endpoints[self._endpoint_index]

    def transport_opened(self, now: float) -> None:
        """The network connection is open, TLS included: CONNECT is sent."""
        if self.state is not ClientState.DIALING:  # it came too late
            self._action = HangUp(graceful=False)
            return
        packet = self.options.connect_packet(
            self._endpoint, self._version, self._assigned_id, first=self._first
        )
        self._connection = ClientConnection(
            self.session,
            packet,
            now,
            maximum_packet_size=self.options.packet_size_limit,
            maximum_in_flight=self.options.in_flight_limit(self._version),
        )
        self.state = ClientState.CONNECTING

    def dial_failed(self, error: Exception, now: float) -> None:
        """The network connection could not be opened, because of ``error``."""
        if self.state is not ClientState.DIALING:  # it was given up before
            self.transport_closed(now)
            return
        if not isinstance(error, MqttError):
            cause = error
            error = ConnectFailed(f"could not connect to {self._endpoint}: {cause}")
            error.__cause__ = cause
        self._ended(error, now, was_open=False)

    def _ended(self, error: Exception, now: float, *, was_open: bool) -> None:
        """There is no network connection any more, because of ``error``: what now?"""
        self._action = None
        if self._closing is not None:
            self._finish_closing()
        elif self._cancelled:
            self._connect_failed(error)
        elif was_open:
            self._backoff.connection_lasted(now - self._connected_at)
            self._retry_later(error, now)
        elif self._may_fall_back(error):
            self.notices.append((INFO, "the server refuses MQTT 5.0: trying 3.1.1"))
            self._version = ProtocolVersion.MQTT_3_1_1
            self._dial()
        else:
            self._attempt_failed(error, now)

    def _attempt_failed(self, error: Exception, now: float) -> None:
        self._endpoint_index = (self._endpoint_index + 1) % len(self.options.endpoints)
        self._endpoints_left -= 1
        if self._endpoints_left:
            self._try_endpoint(now)
            return
        self._attempt_deadline = None
        if self._connecting is None:
            self._retry_later(error, now)
        else:
            self._connect_failed(error)

    def _connect_failed(self, error: Exception) -> None:
        """``connect()`` comes to nothing; what was declared for it is kept for the next one."""
        self.state = ClientState.IDLE
        self._cancelled = False
        self._attempt_deadline = None
        operation, self._connecting = self._connecting, None
        if operation is not None:
            self.finish(operation, None, error)
        self._publisher.close(error)
        for subscription in self._subscriber.table.subscriptions:
            if subscription.subscribed.waiters:
                self.finish(subscription.subscribed, None, error)
                subscription.subscribed = Operation()

    def cancel_connect(self, now: float) -> None:
        """The caller of ``connect()`` does not wait any more: undo it."""
        if self.state is ClientState.IDLE or self._closing is not None:
            return
        self._cancelled = True
        if self.state is ClientState.WAITING:
            self._retry_at = None
            self._connect_failed(self._closed_error())
        elif self.state is ClientState.CONNECTED and self._connection is not None:
            self._say_goodbye(self._connection, now)
        else:
            self._attempt_deadline = None
            self._hang_up(now, graceful=False)

    def _may_fall_back(self, error: Exception) -> bool:
        return (
            self.options.version is None
            and self._version == ProtocolVersion.MQTT_5_0
            and isinstance(error, ConnectRefused)
            and error.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
            # MQTT 3.x needs a name for a session that is to be kept.
            and bool(self.options.client_id or not self.options.keeps_session)
        )

    def _retry_later(self, error: Exception, now: float) -> None:
        """Wait for the next attempt, or give up, as the policy says."""
        policy = self._reconnect
        delay = None
        if policy is not None and _said_by_server(error) not in policy.final_reason_codes:
            delay = self._backoff.next_delay()
        self.events.append(Disconnected(error, delay))
        if delay is None:
            self.give_up(error)
            return
        self.notices.append((INFO, f"no connection ({error}): trying again in {delay:.1f} seconds"))
        self.state = ClientState.WAITING
        self._retry_at = now + delay

    def give_up(self, error: Exception) -> None:
        """There is no connection, and there will be none: fail everything with the reason.

        A shell may call it at any time, when it cannot go on.
        """
        self.failure = error
        self.notices.append((WARNING, f"the connection is over: {error}"))
        if self._connection is not None:
            self._connection.lose(ConnectionLost(str(error)))
            self._connection = None
        self._end(error)

    def _end(self, error: Exception) -> None:
        """The client becomes idle: finish whatever is under way, and forget all deadlines."""
        self.state = ClientState.IDLE
        self._action = None
        self._cancelled = False
        self._retry_at = self._attempt_deadline = self._hang_up_deadline = None
        self._drain_deadline = self._close_deadline = None
        self._publisher.close(error)
        for subscription in self._subscriber.end(error):
            self._wake(subscription)
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

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the network."""
        connection = self._connection
        if connection is not None and self.state is not ClientState.HANGING_UP:
            connection.receive(data, now)
            self._process(connection, now)

    def _process(self, connection: ClientConnection, now: float) -> None:
        """Pass on what a connection has received, and send what has become possible."""
        if received := connection.take_received():
            self._dispatch(received, connection, now)
        if connection.completed:
            self._publisher.settle_completed(connection)
        if self._publisher.outbox:
            self._publisher.send_outbox(connection, now)
        if connection.state is not ConnectionState.OPEN:
            self._check_closed(connection, now)
        elif self._closing is not None:
            self._check_drained(connection, now)

    def _dispatch(
        self, received: Sequence[Packet], connection: ClientConnection, now: float
    ) -> None:
        """Hand messages to their subscriptions. This is the hot path of receiving."""
        table = self._subscriber.table
        routes = table.routes
        for packet in received:
            if type(packet) is not Message:
                self._receive_packet(packet, connection, now)
                continue
            targets = routes.get(packet.topic)
            if targets is None:
                targets = table.route(packet.topic)
            receipt = packet._receipt  # noqa: SLF001
            if receipt is not None:
                receipt.acknowledger = self.acknowledger  # type: ignore[attr-defined]
            if len(targets) == 1:
                target = targets[0]
                if len(target.buffer) < target.buffer_size:
                    target.buffer.append(packet)
                else:
                    self._push_beyond(target, packet)
                if target.wanted:
                    target.wanted = False
                    self.ready.append(target)
            elif targets:
                for target, part in zip(targets, share_out(packet, len(targets)), strict=True):
                    self._push_beyond(target, part)
                    if target.wanted:
                        target.wanted = False
                        self.ready.append(target)
            else:
                self._drop_unmatched(packet)

    def _push_beyond(self, target: SubscriptionState, message: Message) -> None:
        """Give a message to a subscription whose buffer may be full."""
        dropped = target.dropped
        target.push(message)
        if target.dropped and not dropped:
            filters = ", ".join(target.topic_filters)
            text = f"the buffer of the subscription to {filters} is full: messages are dropped"
            self.notices.append((WARNING, text))

    def _drop_unmatched(self, message: Message) -> None:
        """Acknowledge a message that nobody wants [MQTT-4.5.0-2]."""
        self.unmatched_messages += 1
        if self.unmatched_messages == 1:
            text = (
                f"a message to {message.topic!r} matches no subscription: such messages are "
                f"counted and dropped, unless unmatched() takes them"
            )
            self.notices.append((WARNING, text))
        accept(message)

    def _receive_packet(self, packet: Packet, connection: ClientConnection, now: float) -> None:
        if isinstance(packet, Connack):
            self._accepted(packet, connection, now)
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
        self.connack = connack
        self._attempt_deadline = None
        self._connected_at = now
        self._first = False
        assigned = (connack.properties or {}).get("assigned_client_identifier")
        if assigned is not None:  # [MQTT-3.2.2-16]
            self._assigned_id = assigned
        # MQTT 3.1 does not say whether there is a session: to send again is right in both
        # cases, to subscribe again too.
        unknown = self._version == ProtocolVersion.MQTT_3_1 and self.options.keeps_session
        if connack.session_present:
            self._subscriber.forget_redelivered(connection)
        elif not unknown:  # [MQTT-3.2.2-5]
            self._publisher.start_session()
        refused = self._subscriber.connected(
            connection,
            has_filters=connack.session_present,
            may_have_filters=connack.session_present or unknown,
        )
        for subscription in refused:
            self.end_subscription(subscription, processed=True)
        connection.resume()
        self._publisher.connection = connection
        if self._connecting is not None:
            operation, self._connecting = self._connecting, None
            self.finish(operation, connack)
        self.events.append(Connected(connack))

    def _check_closed(self, connection: ClientConnection, now: float) -> None:
        """Hang up if the connection is at its end."""
        if self.state is ClientState.HANGING_UP:
            return
        if connection.state is ConnectionState.CLOSING:
            self._hang_up(now, graceful=True)
        elif connection.state is ConnectionState.CLOSED:
            self._hang_up(now, graceful=False)

    def _hang_up(self, now: float, *, graceful: bool) -> None:
        self.state = ClientState.HANGING_UP
        self._drain_deadline = None
        self._action = HangUp(graceful)
        self._hang_up_deadline = None
        if graceful:
            self._hang_up_deadline = now + _LINGER
            if self._close_deadline is not None:
                self._hang_up_deadline = min(self._hang_up_deadline, self._close_deadline)

    def transport_closed(self, now: float, error: Exception | None = None) -> None:
        """The network connection is gone: because of HangUp, by the server, or by an error."""
        connection, self._connection = self._connection, None
        self._hang_up_deadline = None
        self._action = None
        cause, self._hang_up_cause = self._hang_up_cause, None
        was_open = False
        if connection is not None:
            was_open = connection.connack is not None and not connection.connack.reason_code
            connection.lose(_lost(error, was_open=was_open))
            cause = cause or connection.close_cause
            self._subscriber.disconnected()
            self._publisher.disconnected()
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
        self._publisher.publish(delivery, now, can_wait=can_wait)

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
        self._publisher.withdraw(delivery)

    # --- subscribing

    def subscribe(self, subscription: SubscriptionState) -> None:
        """Add a subscription; it may be declared before connecting."""
        if self._closing is not None:
            self.check_open()
        self._subscriber.subscribe(subscription)

    def subscribe_unmatched(self, subscription: SubscriptionState) -> None:
        """Let a subscription without filters take the messages that no other one matches."""
        table = self._subscriber.table
        if table.unmatched is not None:
            raise UsageError("somebody takes the unmatched messages already")
        table.unmatched = subscription
        table.routes.clear()
        self.finish(subscription.subscribed, {})

    def unsubscribe(self, subscription: SubscriptionState) -> Operation[dict[str, int]]:
        """End a subscription; wakes its consumer."""
        operation = self._subscriber.unsubscribe(subscription)
        self.finish(subscription.subscribed, None, UsageError("the subscription was ended"))
        self._wake(subscription)
        return operation

    def end_subscription(
        self, subscription: SubscriptionState, *, processed: bool
    ) -> Operation[dict[str, int]]:
        """End a subscription whose consumer leaves; what it did not take is discarded."""
        operation = self.unsubscribe(subscription)
        subscription.finish_taken(processed=processed)
        subscription.discard(processed=processed)
        return operation

    def unsubscribe_filters(self, topic_filters: str | Sequence[str]) -> Operation[dict[str, int]]:
        """Unsubscribe from filters that a resumed session has, and end who uses them here."""
        filters = check_filters(topic_filters)
        self.check_open()
        also: list[str] = []
        for subscription in list(self._subscriber.table.subscriptions):
            if any(topic_filter in filters for topic_filter in subscription.topic_filters):
                subscription.end()
                also += self._subscriber.table.remove(subscription)
                self._wake(subscription)
        return self._subscriber.unsubscribe_filters(list(dict.fromkeys(filters + also)))

    # --- requests

    def open_replies(self, random_id: str) -> Operation[dict[str, int]]:
        """Subscribe to the topic on which answers to requests come; once for the client."""
        self.check_open()
        if self._version != ProtocolVersion.MQTT_5_0:
            raise NotSupported("request() needs MQTT 5.0; this connection is 3.x")
        if self._replies is None or self._replies.ended:
            self._replies = ReplyInbox(random_id, self.finish)
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

    def close(self, now: float, timeout: float, *, drain: bool = True) -> Operation[None]:
        """End the connection, with DISCONNECT if there is one; ends within ``timeout`` seconds.

        ``drain``: first wait until everything that was accepted is acknowledged.
        """
        if self._closing is not None:
            if not drain and self._drain_deadline is not None:
                self._drain_deadline = now
            return self._closing
        operation: Operation[None] = Operation()
        if self.state is ClientState.IDLE:
            self._end(self._closed_error())
            self.finish(operation, None)
            return operation
        self._closing = operation
        self._close_deadline = now + timeout
        if self.state is ClientState.CONNECTED:
            goodbye = min(_GOODBYE, timeout / 2)
            self._drain_deadline = now + timeout - goodbye if drain else now
            assert self._connection is not None
            self._check_drained(self._connection, now)
        elif self.state is ClientState.CONNECTING and self._connection is not None:
            self._say_goodbye(self._connection, now)
        elif self.state is ClientState.DIALING:
            self._hang_up(now, graceful=False)
        elif self.state is ClientState.WAITING:
            self._finish_closing()
        return operation

    def _check_drained(self, connection: ClientConnection, now: float) -> None:
        deadline = self._drain_deadline
        waits = self._publisher.outbox or self.session.outgoing
        if self.state is ClientState.CONNECTED and (
            not waits or (deadline is not None and now >= deadline)
        ):
            self._say_goodbye(connection, now)

    def _say_goodbye(self, connection: ClientConnection, now: float) -> None:
        self._attempt_deadline = None
        if connection.version == ProtocolVersion.MQTT_5_0 and not self.options.keeps_session:
            connection.disconnect(properties={"session_expiry_interval": 0})
        else:
            connection.disconnect()
        self._hang_up(now, graceful=True)

    def _finish_closing(self) -> None:
        error = self._closed_error()
        self.events.append(Disconnected(error, None))
        self._end(error)
        if not self.options.keeps_session:
            self.session.clear()

    @staticmethod
    def _closed_error() -> ConnectionClosed:
        return ConnectionClosed("the client was closed", by=ClosedBy.CLIENT)

    # --- what the shell takes

    def data_to_send(self, now: float) -> bytes | memoryview:
        """Return the next bytes to write; empty if there are none."""
        connection = self._connection
        if connection is None:
            return b""
        data = connection.data_to_send(now)
        if connection.state is not ConnectionState.OPEN:
            self._check_closed(connection, now)
        if data and self._publisher.outbox:
            self._publisher.send_outbox(connection, now)
        return data

    def take_action(self) -> Dial | HangUp | None:
        """Return what is to be done with the network connection, once."""
        action, self._action = self._action, None
        return action

    # --- time

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` wants to be called; None: not before something happens."""
        deadlines = [
            self._attempt_deadline,
            self._retry_at,
            self._drain_deadline,
            self._hang_up_deadline,
            self.next_expiry,
            self._connection.next_deadline() if self._connection is not None else None,
        ]
        return min((d for d in deadlines if d is not None), default=None)

    def handle_deadline(self, now: float) -> None:
        """Do what is due at this time."""
        self._publisher.expire(now)
        if _is_due(self._retry_at, now):
            self._begin_attempt(now)
        if _is_due(self._attempt_deadline, now):
            self._attempt_deadline = None
            self._hang_up_cause = TimeoutError(
                f"no CONNACK from {self._endpoint} in time; all servers together have "
                f"{self.options.connect_timeout:g} seconds (connect_timeout)"
            )
            self._hang_up(now, graceful=False)
        if _is_due(self._hang_up_deadline, now):
            self._hang_up(now, graceful=False)
        connection = self._connection
        if connection is not None:
            connection.handle_deadline(now)
            self._process(connection, now)


def _is_due(deadline: float | None, now: float) -> bool:
    return deadline is not None and now >= deadline


def _said_by_server(error: Exception) -> int | None:
    """The reason code that the server gave; not the one that it was given."""
    if isinstance(error, ConnectionClosed) and error.by is ClosedBy.SERVER:
        return error.reason_code
    return None


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
