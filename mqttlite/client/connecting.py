"""The half of ClientCore that gets a connection: attempts, servers, back-off.

An *attempt* asks the program for what it wants to be asked for (tokens that expire), and then
tries the servers in a *round*, one after the other, within ``connect_timeout``. If none accepts,
the next attempt comes after a delay, as the policy ``Reconnect`` says; the attempt of
``connect()`` itself fails, unless the policy is to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import DEBUG, INFO
from typing import Any, Final

from mqttlite.client.backoff import Backoff
from mqttlite.client.counters import Counters
from mqttlite.client.events import Disconnected, Event, Question, Reconnecting
from mqttlite.client.operations import DeliveryState, Operation
from mqttlite.client.options import VERSIONS, ClientOptions, Given, as_endpoints
from mqttlite.client.servers import Servers
from mqttlite.client.states import ClientState, Dial, HangUp
from mqttlite.enums import ClosedBy, ProtocolVersion, ReasonCode
from mqttlite.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConnectRefused,
    MqttError,
    UsageError,
)
from mqttlite.limits import MAXIMUM_TWO_BYTE_INTEGER
from mqttlite.options import Reconnect
from mqttlite.packets import Connack, Packet
from mqttlite.packets.describe import describe
from mqttlite.protocol import ClientConnection, Session
from mqttlite.protocol.connection import Acknowledger

LINGER: Final = 2.0
"""Seconds to wait, after DISCONNECT, for the server to close the connection."""


class Connecting:
    """What ``ClientCore`` is before and between its connections; see the head of the module."""

    # What most clients have not, or not for long, stands here once for all of them: so an idle
    # one is small, and objects with no more than thirty attributes of their own are also faster.
    # (What is looked at for every packet does not: it would be slow to find.)
    question: Question | None = None
    """What the program is to be asked now; the shell sees to it, and forgets the one before."""
    traces_packets = False
    """Whether the packets of the next connection are to be among the notices."""
    failure: Exception | None = None
    """Why the client gave up, if it did."""
    _acknowledger: Acknowledger | None = None
    _connecting: Operation[Connack] | None = None
    _closing: Operation[None] | None = None
    _cancelled = False
    _first = True  # no connection has been accepted since connect()
    _has_dialed = False  # since connect()
    _assigned_id = ""
    _version = ProtocolVersion.MQTT_5_0
    _found_version = ProtocolVersion.MQTT_5_0  # by the last server that has accepted
    _given = Given()
    _connected_at = 0.0
    _hang_up_cause: Exception | None = None
    # The deadlines, None where there is none.
    _round_deadline = 0.0
    _attempt_deadline: float | None = None
    _retry_at: float | None = None
    _drain_deadline: float | None = None
    _close_deadline: float | None = None
    _hang_up_deadline: float | None = None

    def __init__(self, options: ClientOptions, random: Callable[[], float]) -> None:
        self.options = options
        self.session = Session()
        self.state = ClientState.IDLE
        self._connection: ClientConnection | None = None
        self._action: Dial | HangUp | None = None
        # These two are the same lists for life: others put something into them, too.
        self.finished: list[Operation[Any] | DeliveryState] = []
        self.events: list[Event] = []
        self.notices: list[tuple[str, int, str]] = []
        """What is to be logged, by logger and level: by the shell, when it holds no lock."""
        self._servers = Servers(options, random)
        self._backoff = Backoff(options.reconnect or Reconnect(), random)
        self._counters = Counters()
        if options.version is not None:
            self._version = self._found_version = VERSIONS[options.version]

    # --- what the other half does

    def give_up(self, error: Exception) -> None:
        """There will be no connection any more."""
        raise NotImplementedError

    def transport_closed(self, now: float, error: Exception | None = None) -> None:
        """The network connection is gone."""
        raise NotImplementedError

    def _attempt_over(self, error: Exception) -> None:
        """``connect()`` has failed: nobody has to wait any more."""
        raise NotImplementedError

    def _finish_closing(self) -> None:
        """The network connection is gone, as ``close()`` wanted it."""
        raise NotImplementedError

    def _say_goodbye(self, connection: ClientConnection, now: float) -> None:
        """Send DISCONNECT and hang up."""
        raise NotImplementedError

    # --- attempts

    def connect(self, now: float) -> Operation[Connack]:
        """Begin to connect; the operation ends with CONNACK, or with the reason why not."""
        if self.state is not ClientState.IDLE:
            raise UsageError("the client is connected already, or about to be")
        self._connecting = Operation()
        if self.failure is not None:
            self.failure = None
        self._first = True
        self._has_dialed = False
        self._servers.reset()
        self._backoff.failures = 0
        self._begin_attempt(now)
        return self._connecting

    def _begin_attempt(self, now: float) -> None:
        """Try all servers, one after the other, within ``connect_timeout``."""
        self._retry_at = None
        self._servers.end_round()
        self._round_deadline = self._attempt_deadline = now + self.options.connect_timeout
        self.state = ClientState.DIALING
        functions = dict(self.options.asked)
        if self.options.auth is not None:
            functions["auth"] = self.options.auth.start
        if functions:
            self.question = Question(functions, self._begin_round, self._not_answered)
        else:
            self._begin_round({}, now)

    def _not_answered(self, error: Exception, now: float) -> None:
        """A function of the program that is asked for each attempt has raised."""
        if not isinstance(error, MqttError):
            cause = error
            error = ConnectFailed(
                f"a function that is asked for each attempt raised {type(cause).__name__}",
                by=ClosedBy.CLIENT,
            )
            error.__cause__ = cause
        self._round_failed(error, now)

    def _begin_round(self, answers: Mapping[str, Any], now: float) -> None:
        try:
            self._given = self.options.given(answers)
            if "url" in answers:
                self._servers.replace(as_endpoints(answers["url"]))
            self._servers.begin_round()
            if answers:
                self.options.check_connect(self._servers.all, self._given)
        except UsageError as error:
            self._round_failed(error, now)
        else:
            self._try_server(now)

    def _try_server(self, now: float) -> None:
        # One that does not answer leaves as much time for each of those behind it.
        self._attempt_deadline = now + (self._round_deadline - now) / self._servers.left
        self._dial()

    def _dial(self) -> None:
        self.state = ClientState.DIALING
        server = self._servers.current
        if self._has_dialed:
            self.events.append(Reconnecting(str(server), max(1, self._backoff.failures)))
        self._has_dialed = True
        self._action = Dial(
            server,
            self._given.tls,
            self._given.headers,
            self._version,
            self.options.packet_size_limit,
        )

    def transport_opened(self, now: float) -> None:
        """The network connection is open, TLS included: CONNECT is sent."""
        if self.state is not ClientState.DIALING:  # it came too late
            self._action = HangUp(graceful=False)
            return
        options = self.options
        packet = options.connect_packet(
            self._servers.current,
            self._version,
            self._assigned_id,
            first=self._first,
            given=self._given,
        )
        self._connection = ClientConnection(
            self.session,
            packet,
            now,
            maximum_packet_size=options.packet_size_limit,
            maximum_in_flight=options.in_flight_limit(self._version),
            maximum_own_aliases=MAXIMUM_TWO_BYTE_INTEGER if options.use_topic_aliases else 0,
            waits=True,
            tracer=self._trace if self.traces_packets else None,
        )
        self._connection.acknowledger = self._acknowledger
        if options.check_payload_format:
            self._connection.checks_payload_format = True
        self.state = ClientState.CONNECTING

    def _trace(self, direction: str, packet: Packet) -> None:
        self.notices.append(("mqttlite.packets", DEBUG, f"{direction} {describe(packet)}"))

    def _notice(self, level: int, text: str) -> None:
        self.notices.append(("mqttlite.client", level, text))

    def dial_failed(self, error: Exception, now: float) -> None:
        """The network connection could not be opened, because of ``error``."""
        if self.state is not ClientState.DIALING:  # it was given up before
            self.transport_closed(now)
            return
        if not isinstance(error, MqttError):
            cause = error
            error = ConnectFailed(f"could not connect to {self._servers.current}: {cause}")
            error.__cause__ = cause
        self._ended(error, now, was_open=False)

    def _ended(self, error: Exception, now: float, *, was_open: bool) -> None:
        """There is no network connection any more, because of ``error``: what now?"""
        self._action = None
        self.question = None
        if self._closing is not None:
            self._finish_closing()
        elif self._cancelled:
            if was_open:
                self.events.append(Disconnected(error, None))
            self._connect_failed(error)
        elif was_open:
            self._connection_ended(error, now)
        elif self._may_fall_back(error):
            self._notice(INFO, "the server refuses MQTT 5.0: trying 3.1.1")
            self._version = ProtocolVersion.MQTT_3_1_1
            self._dial()
        elif self._servers.redirect(error, self._given):
            self._servers.follow()
            self._notice(INFO, f"{error}: following to {self._servers.current}")
            self._dial()
        else:
            if self.options.version is None:
                self._version = self._found_version
            if self._servers.next():
                self._try_server(now)
            else:
                self._round_failed(error, now)

    def _connection_ended(self, error: Exception, now: float) -> None:
        """A connection that the server had accepted is over."""
        lasted = now - self._connected_at
        self._backoff.connection_lasted(lasted)
        self._servers.connection_lasted(lasted)
        if self.options.reconnect is not None and self._servers.redirect(error, self._given):
            self._notice(INFO, f"{error}: following")
            self.events.append(Disconnected(error, 0.0))
            self._begin_attempt(now)
        else:
            self._retry_later(error, now)

    def _round_failed(self, error: Exception, now: float) -> None:
        """No server could be connected: ``connect()`` fails, or it is tried again later."""
        self._attempt_deadline = None
        policy = self.options.reconnect
        if self._connecting is None or (policy is not None and policy.retry_first):
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
        self._attempt_over(error)

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
            self._version == ProtocolVersion.MQTT_5_0
            and isinstance(error, ConnectRefused)
            and error.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
            and self.options.may_fall_back(self._servers.current, self._given)
        )

    def _retry_later(self, error: Exception, now: float) -> None:
        """Wait for the next attempt, or give up, as the policy says."""
        policy = self.options.reconnect
        delay = None
        if policy is not None and _said_by_server(error) not in policy.final_reason_codes:
            delay = self._backoff.next_delay()
        self._counters.failed_attempts += 1
        if delay is None and self._connecting is not None:
            self._connect_failed(error)
            return
        self.events.append(Disconnected(error, delay))
        if delay is None:
            self.give_up(error)
            return
        self._notice(INFO, f"no connection ({error}): trying again in {delay:.1f} seconds")
        self.state = ClientState.WAITING
        self._retry_at = now + delay

    def _hang_up(self, now: float, *, graceful: bool) -> None:
        self.state = ClientState.HANGING_UP
        self.question = None
        self._drain_deadline = None
        self._action = HangUp(graceful)
        self._hang_up_deadline = None
        if graceful:
            self._hang_up_deadline = now + LINGER
            if self._close_deadline is not None:
                self._hang_up_deadline = min(self._hang_up_deadline, self._close_deadline)

    def finish(self, operation: Operation[Any], value: Any, error: Exception | None = None) -> None:
        """Finish an operation, unless it is done already."""
        if operation.done:
            return
        operation.value = value
        operation.error = error
        operation.done = True
        if operation.waiters:
            self.finished.append(operation)

    @staticmethod
    def _closed_error() -> ConnectionClosed:
        return ConnectionClosed("the client was closed", by=ClosedBy.CLIENT)

    def take_action(self) -> Dial | HangUp | None:
        """Return what is to be done with the network connection, once."""
        action, self._action = self._action, None
        return action

    def answered(
        self,
        question: Question,
        answers: Mapping[str, Any],
        error: Exception | None,
        now: float,
    ) -> None:
        """The program has been asked, and has answered, or raised ``error``."""
        if question is not self.question:
            return  # nobody wants to know any more
        self.question = None
        if error is None:
            try:
                question.then(answers, now)
            except UsageError as fault:  # the answer is none that can be sent
                error = fault
        if error is not None:
            question.failed(error, now)


def _said_by_server(error: Exception) -> int | None:
    """The reason code that the server gave; not the one that it was given."""
    if isinstance(error, ConnectionClosed) and error.by is ClosedBy.SERVER:
        return error.reason_code
    return None
