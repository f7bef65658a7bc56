"""The client's side of a connection: CONNECT, CONNACK, authentication and the keep alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqttlite.enums import ClosedBy, PacketType, ReasonCode
from mqttlite.errors import (
    ConnectRefused,
    KeepAliveTimeout,
    NotSupported,
    PacketTooLarge,
    ProtocolError,
)
from mqttlite.limits import MAXIMUM_PACKET_ID, MAXIMUM_PACKET_SIZE, MAXIMUM_TWO_BYTE_INTEGER
from mqttlite.message import Properties
from mqttlite.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Message,
    Packet,
    Pingreq,
    Pingresp,
    Suback,
    Subscribe,
    SubscriptionOptions,
    Unsuback,
    Unsubscribe,
    encode,
)
from mqttlite.protocol.aliases import OutgoingAliases
from mqttlite.protocol.connection import (
    SMALLEST_PACKET_SIZE,
    Connection,
    check_problem_information,
    explain,
)
from mqttlite.protocol.sending import V5, ConnectionState, Tracer
from mqttlite.protocol.session import Session
from mqttlite.topics import has_wildcard, is_shared

PING_TIMEOUT: Final = 10.0
"""Seconds in which PINGRESP, or anything else, has to come after PINGREQ."""

_FIRST_PACKETS: Final = (PacketType.CONNACK, PacketType.AUTH)

_MOST_EXCESS: Final = 64 * 1024 * 1024
"""Bytes of payload that a server may send beyond the Receive Maximum, until it is within again."""

_MOST_EARLY: Final = 10_000
"""Packets that may come behind CONNACK before the owner has opened the connection."""

# The PINGREQ has to arrive before the keep alive ends, not to leave just then.
_PING_MARGIN: Final = 0.9


class ClientConnection(Connection):
    """One connection to a server, from CONNECT on.

    After CONNACK ``connack`` is that packet, and ``keep_alive`` what the server wants it to be.

    With an authentication method in CONNECT, AUTH packets come in ``received``, each of which is
    to be answered with ``authenticate()``, until CONNACK, or the AUTH with which a
    ``reauthenticate()`` has succeeded.
    """

    _peer = ClosedBy.SERVER

    connack: Connack | None = None
    ping_round_trip: float | None = None
    """Seconds that the last PINGREQ took to be answered."""
    is_paused = False
    _maximum_own_aliases = 0
    _method: str | None = None  # of authentication
    _awaits_auth = False  # AUTH may come from the server now
    _ping_timeout = PING_TIMEOUT
    _early_error: ProtocolError | None = None
    _excess_size = 0  # bytes of payload that came beyond the Receive Maximum
    _has_remarked = False
    # From when on the answer to PINGREQ may be late; None while none is awaited.
    _ping_time: float | None = None
    _pinged_at = 0.0
    _ping_left = False

    def __init__(
        self,
        session: Session,
        connect: Connect,
        now: float,
        *,
        maximum_packet_size: int = MAXIMUM_PACKET_SIZE,
        maximum_in_flight: int = MAXIMUM_TWO_BYTE_INTEGER,
        maximum_own_aliases: int = 0,
        waits: bool = False,
        ping_timeout: float = PING_TIMEOUT,
        tracer: Tracer | None = None,
    ) -> None:
        """Begin with CONNECT, the first packet and never repeated.

        [MQTT-3.1.0-1] [MQTT-3.1.0-2]. ``maximum_packet_size`` holds in MQTT 3.x, too, where the
        server is not told of it; ``maximum_in_flight`` is a limit of one's own below the server's
        Receive Maximum, ``maximum_own_aliases`` one below its Topic Alias Maximum.
        ``waits``: what comes behind CONNACK is not looked at before ``open()`` and
        ``receive_early()``, so that the owner can first say what becomes of the session. Raises
        UsageError if CONNECT cannot be written.
        """
        properties = connect.properties or {}
        super().__init__(
            session,
            connect.version,
            receive_maximum=properties.get("receive_maximum", MAXIMUM_TWO_BYTE_INTEGER),
            maximum_packet_size=properties.get("maximum_packet_size", maximum_packet_size),
            topic_alias_maximum=properties.get("topic_alias_maximum", 0),
        )
        self.keep_alive = connect.keep_alive
        self._connect: Connect | None = connect  # until the server has accepted it
        self._waits = waits
        self._early: list[Packet] | None = None
        if maximum_in_flight < MAXIMUM_TWO_BYTE_INTEGER:
            self.peer_receive_maximum = maximum_in_flight
        if maximum_own_aliases:
            self._maximum_own_aliases = maximum_own_aliases
        if "authentication_method" in properties:
            self._method = properties["authentication_method"]
            self._awaits_auth = True
        if not properties.get("request_problem_information", 1):
            self._allows_problem_information = False
        if connect.version == V5:
            keeps_session = properties.get("session_expiry_interval", 0) > 0
        else:
            keeps_session = not connect.clean_start
        if not keeps_session:
            self.redelivers = False
        if ping_timeout != PING_TIMEOUT:
            self._ping_timeout = ping_timeout
        self._last_sent = self._last_received = now
        if tracer is not None:
            self.tracer = tracer
            tracer(">", connect)
        self._write(encode(connect, connect.version))

    def _receive_handshake(self, packet: Packet) -> None:
        """[MQTT-3.2.0-1] The first packet from the server is CONNACK, or AUTH if it was asked."""
        connect = self._connect
        if connect is None:
            early = self._early
            if early is None:
                early = self._early = []
            if len(early) >= _MOST_EARLY:
                raise ProtocolError("too much came at once", ReasonCode.QUOTA_EXCEEDED)
            early.append(packet)
            return
        if isinstance(packet, Auth) and self._method is not None:
            if not self._allows_problem_information:
                check_problem_information(packet)
            self._receive_auth(packet)
            return
        if not isinstance(packet, Connack):
            raise ProtocolError(f"{_name(packet)} before CONNACK")
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
                    user_properties=properties.get("user_properties", []),
                )
            )
            return
        if properties.get("authentication_method") != self._method:
            # [MQTT-4.12.0-5] [MQTT-4.12.0-6]
            raise ProtocolError("CONNACK names another authentication method than CONNECT")
        if self._awaits_auth:
            self._awaits_auth = False
        self._obey(properties)
        self.keep_alive = properties.get("server_keep_alive", self.keep_alive)  # [MQTT-3.1.2-21]
        aliases = min(properties.get("topic_alias_maximum", 0), self._maximum_own_aliases)
        if aliases:  # [MQTT-3.2.2-17] [MQTT-3.2.2-18]
            self._own_aliases = OutgoingAliases(aliases)
        if properties.get("session_expiry_interval") == 0:  # the server keeps no sessions
            self.redelivers = False
        self._connect = None
        self.received.append(packet)
        if not self._waits:
            self.open()

    def _obey(self, properties: Properties) -> None:
        """Take note of what the server allows (section 3.2.2.3)."""
        if "receive_maximum" in properties:
            allowed = properties["receive_maximum"]
            self.peer_receive_maximum = min(self.peer_receive_maximum, allowed)
        if "maximum_packet_size" in properties:
            size = properties["maximum_packet_size"]
            if size < SMALLEST_PACKET_SIZE:
                raise ProtocolError(f"no client can work with a maximum packet size of {size}")
            self.peer_maximum_packet_size = size
        if "maximum_qos" in properties:
            self.peer_maximum_qos = properties["maximum_qos"]
        if not properties.get("retain_available", 1):
            self.peer_retain_available = False

    def open(self) -> None:
        """From now on messages may be sent; called by the owner of a connection that ``waits``."""
        self._open()

    def receive_early(self) -> None:
        """Look at what has come behind CONNACK."""
        early, self._early = self._early, None
        try:
            for packet in early or ():
                if self.state is ConnectionState.OPEN:
                    self._receive_open(packet)
        except ProtocolError as error:
            self._fail(error)
        if self._early_error is not None:
            self._fail(self._early_error)

    def fail_early(self) -> None:
        """If the server has left or made a fault, do not wait for the owner any more."""
        for packet in self._early or ():
            if isinstance(packet, Disconnect):
                try:
                    self._receive_disconnect(packet)
                except ProtocolError as error:
                    super()._fail(error)
                return
        if self._early_error is not None:
            super()._fail(self._early_error)

    def _fail(self, error: ProtocolError) -> None:
        """As Connection._fail; but first comes what came before the fault."""
        if self._connect is None and self.state is ConnectionState.CONNECTING:
            self._early_error = self._early_error or error
        else:
            super()._fail(error)

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

    def _receive_excess(self, message: Message) -> None:
        """Bear what Mosquitto 2.0 does: with every acknowledgement it begins to count anew.

        It also sends everything at once that a resumed session has in flight. To disconnect for
        that would not help, it would do the same in the next connection. Whatever is more than
        that, or far too much, is a fault.
        """
        self._excess_size += len(message.payload)
        counted_anew = self.receive_maximum + self._room_given * (self.receive_maximum - 1)
        if (
            not (message.dup or self._incoming_in_flight < counted_anew)
            or self._incoming_in_flight >= MAXIMUM_PACKET_ID
            or self._excess_size > _MOST_EXCESS
        ):
            super()._receive_excess(message)
        if not self._has_remarked:
            self._has_remarked = True
            limit = self.receive_maximum
            self.remarks = (
                f"the server sends more messages than the Receive Maximum, {limit}, allows",
            )

    # --- requests

    @property
    def has_subscription_identifiers(self) -> bool:
        """Whether SUBSCRIBE may bear an identifier (section 3.2.2.3.12)."""
        properties = (self.connack.properties if self.connack else None) or {}
        return self.version == V5 and bool(properties.get("subscription_identifier_available", 1))

    def subscribe(
        self,
        subscriptions: list[tuple[str, SubscriptionOptions]],
        properties: Properties | None = None,
    ) -> int:
        """Send SUBSCRIBE; return its packet identifier, which the SUBACK will have."""
        packet_id = self._allocate_request_id()
        self.send(Subscribe(packet_id, subscriptions, properties))
        self._await_answer(packet_id, Suback, len(subscriptions))
        return packet_id

    def unsubscribe(self, topic_filters: list[str], properties: Properties | None = None) -> int:
        """Send UNSUBSCRIBE; return its packet identifier, which the UNSUBACK will have."""
        packet_id = self._allocate_request_id()
        self.send(Unsubscribe(packet_id, topic_filters, properties))
        self._await_answer(packet_id, Unsuback, len(topic_filters))
        return packet_id

    def check_unsubscribe(self, topic_filters: Sequence[str], properties: Properties) -> None:
        """Raise PacketTooLarge if the server cannot take one of these with the properties."""
        for topic_filter in topic_filters:
            size = len(encode(Unsubscribe(1, [topic_filter], properties), self.version))
            if size > self.peer_maximum_packet_size:  # [MQTT-3.2.2-15]
                raise PacketTooLarge(
                    f"UNSUBSCRIBE from {topic_filter!r} has {size} bytes with its properties, the "
                    f"server takes at most {self.peer_maximum_packet_size}"
                )

    def _await_answer(self, packet_id: int, answer: type[Suback | Unsuback], count: int) -> None:
        if not self._requests:  # it may be one that is shared
            self._requests = {}
        self._requests[packet_id] = (answer, count)

    def _allocate_request_id(self) -> int:
        packet_id = self.session.allocate_packet_id(self._requests)
        if not packet_id:
            raise NotSupported("all 65535 packet identifiers are in use: wait for some answers")
        return packet_id

    def _answer_request(self, packet: Suback | Unsuback) -> None:
        """Match a SUBACK or UNSUBACK to its request [MQTT-3.8.4-2] [MQTT-3.10.4-5]."""
        answer, count = self._requests.pop(packet.packet_id, (None, 0))
        if type(packet) is not answer:
            raise ProtocolError(f"an answer to the unknown request {packet.packet_id}")
        if len(packet.reason_codes) != count and (
            answer is Suback or self.version == V5
        ):  # [MQTT-3.8.4-6] [MQTT-3.11.3-2]
            raise ProtocolError(
                f"{len(packet.reason_codes)} reason codes answer a request of {count} filters"
            )
        self.received.append(packet)

    # --- enhanced authentication (section 4.12)

    def _receive_auth(self, packet: Auth) -> None:
        properties = packet.properties or {}
        if not self._awaits_auth:
            # [MQTT-4.12.0-6]; and the two sides take turns.
            raise ProtocolError("AUTH, though none was asked for")
        if properties.get("authentication_method") != self._method:  # [MQTT-4.12.0-5]
            raise ProtocolError("AUTH names another authentication method than CONNECT")
        ends = self.state is ConnectionState.OPEN and packet.reason_code == ReasonCode.SUCCESS
        if not ends and packet.reason_code != ReasonCode.CONTINUE_AUTHENTICATION:
            # [MQTT-4.12.0-2]; before CONNACK that is the end of it.
            raise ProtocolError(f"a server must not send AUTH 0x{packet.reason_code:02X} here")
        self._awaits_auth = False
        self.received.append(packet)

    def authenticate(self, data: bytes | None) -> None:
        """Answer the server's AUTH [MQTT-4.12.0-3]."""
        self._send_auth(ReasonCode.CONTINUE_AUTHENTICATION, data)

    def reauthenticate(self, data: bytes | None) -> None:
        """Begin to authenticate anew, with the same method [MQTT-4.12.1-1]."""
        self._send_auth(ReasonCode.RE_AUTHENTICATE, data)

    def _send_auth(self, reason_code: ReasonCode, data: bytes | None) -> None:
        assert self._method is not None
        properties: Properties = {"authentication_method": self._method}
        if data is not None:
            properties["authentication_data"] = data
        self.send(Auth(reason_code, properties))
        self._awaits_auth = True

    def _receive_own(self, packet: Packet) -> None:
        if isinstance(packet, Pingresp):
            if self._ping_time is not None:
                self.ping_round_trip = self._last_received - self._pinged_at
            self._ping_time = None
        elif isinstance(packet, (Suback, Unsuback)):
            self._answer_request(packet)
        elif isinstance(packet, Auth):
            self._receive_auth(packet)
        else:
            raise ProtocolError(f"a server must not send {_name(packet)} here")

    def _receive_disconnect(self, packet: Disconnect) -> None:
        if self.version != V5:
            raise ProtocolError("a server of MQTT 3.x must not send DISCONNECT")
        if packet.reason_code == ReasonCode.DISCONNECT_WITH_WILL_MESSAGE:
            raise ProtocolError("DISCONNECT with will message from the server, which has none")
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
            self._ping_time = self._pinged_at = now
            self._ping_left = True
        return data

    def filled(self, count: int, now: float) -> None:
        """As Connection.filled; the answer to a PINGREQ may stand behind a long packet."""
        self._look_for_excess()
        if self._ping_time is not None:
            self._ping_time = now
        super().filled(count, now)

    def _look_for_excess(self) -> None:
        """See whether the server is within the Receive Maximum again."""
        if self._excess_size:
            self._write_answers()
            if self._incoming_in_flight <= self.receive_maximum:
                self._excess_size = 0

    def receive(self, data: bytes | memoryview, now: float) -> None:
        """As Connection.receive; the answer to a PINGREQ may stand behind a long packet."""
        self._look_for_excess()
        if self._ping_time is not None and self._reader.is_inside_packet:
            self._ping_time = now
        super().receive(data, now)
        if self.connack is None and self.state is ConnectionState.CONNECTING:
            incomplete = self._reader.incomplete_type
            if incomplete is not None and incomplete not in _FIRST_PACKETS:
                # What it says of its length may never come: it is another protocol.
                self._fail(ProtocolError("something else than MQTT came before CONNACK"))

    def pause(self, now: float, *, paused: bool) -> None:
        """Nothing is read for a while, or again: only what is read can be missed."""
        if not paused:
            self._last_received = now
            if self._ping_time is not None:
                self._ping_time = self._pinged_at = now
        self.is_paused = paused

    def next_deadline(self) -> float | None:
        """When to send PINGREQ, or to give up waiting for its answer."""
        if self.state is not ConnectionState.OPEN or not self.keep_alive:
            return None
        silence = self._last_sent + self.keep_alive * _PING_MARGIN
        if self.is_paused:
            return None if self.unsent_size else silence
        if self._ping_time is None:
            return min(silence, self._last_received + self.keep_alive * _PING_MARGIN)
        answer = self._answer_deadline(self._ping_time)
        # The server wants to hear something in time while its own answer is on its way, too.
        return answer if not self._ping_left or self.unsent_size else min(answer, silence)

    def _answer_deadline(self, ping_time: float) -> float:
        life = max(ping_time, self._last_received)
        if not self._ping_left:
            return max(life, self._last_sent) + self._ping_timeout
        return min(life + self._ping_timeout, ping_time + max(self._ping_timeout, self.keep_alive))

    def handle_deadline(self, now: float) -> None:
        """Send PINGREQ [MQTT-3.1.2-20], or declare the connection dead [MQTT-3.12.4-1]."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        if self._ping_time is None:
            self._ping_time = self._pinged_at = now
            self._ping_left = False
            self.send(Pingreq())
        elif self.is_paused or now < self._answer_deadline(self._ping_time):
            self.send(Pingreq())
        else:
            self.lose(
                KeepAliveTimeout(
                    f"the server has not answered a ping for {now - self._pinged_at:.1f} seconds",
                    by=ClosedBy.CLIENT,
                )
            )


def _name(packet: Packet) -> str:
    return "PUBLISH" if type(packet).__name__ == "Message" else type(packet).__name__.upper()
