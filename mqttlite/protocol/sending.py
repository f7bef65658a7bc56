"""The sending half of a connection: messages and the flows that they begin, and other packets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, cast

from mqttlite.enums import ClosedBy, PacketType, ProtocolVersion, ReasonCode, describe_reason
from mqttlite.errors import (
    ConnectionClosed,
    NotSupported,
    PacketTooLarge,
    ProtocolError,
    UsageError,
)
from mqttlite.limits import MAXIMUM_PACKET_ID, MAXIMUM_PACKET_SIZE, MAXIMUM_TWO_BYTE_INTEGER
from mqttlite.packets import (
    Auth,
    Connack,
    Disconnect,
    Message,
    Packet,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Unsuback,
    encode,
)
from mqttlite.packets.encode import PUBLISH_STARTS, encode_publish_header, encode_publish_start
from mqttlite.packets.properties import encode_properties
from mqttlite.packets.reasons import REASON_CODES
from mqttlite.packets.types import Acknowledgement
from mqttlite.protocol.aliases import ALIAS_SIZE, OutgoingAliases
from mqttlite.protocol.session import CROWDED
from mqttlite.records import replace
from mqttlite.topics import encode_topic, encoded_topics

if TYPE_CHECKING:
    from mqttlite.message import Properties
    from mqttlite.protocol.session import Outgoing, Session

Tracer = Callable[[str, Packet], None]

V5: Final = ProtocolVersion.MQTT_5_0

_WRITE_SIZE: Final = 128 * 1024
"""Bytes that are written at once: more gains nothing, and less progress would be seen."""

_JOINED_PAYLOAD: Final = 8 * 1024
"""So much of a large payload is copied behind its header, to be written with it."""

_JOINED_LENGTH: Final = 1024
"""Packets below this size are made of one piece: shorter lists are worth the copying."""

_NO_REQUESTS: Final[dict[int, tuple[type[Suback | Unsuback], int]]] = {}

UNSENT_LIMIT: Final = 1024 * 1024
"""Bytes that may wait for the network; messages beyond are for the owner to keep."""

_KEPT_FREE: Final = 16
"""Packet identifiers that publishing leaves alone."""


class ConnectionState(Enum):
    """How far a connection is."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


# A member of an Enum costs more to look up than a global name: these stand in the hot paths.
_OPEN: Final = ConnectionState.OPEN
_PUBACK: Final = PacketType.PUBACK
_PUBREC: Final = PacketType.PUBREC
_PUBCOMP: Final = PacketType.PUBCOMP
_FIRST_ERROR: Final = ReasonCode.UNSPECIFIED_ERROR
_SHORT_PUBREL: Final = 0x6202
_find_topic: Final = encoded_topics.get  # a method of an imported name would be slow to find


class Sender:
    """What a connection sends. ``peer_...`` is what the peer allows this side."""

    _peer = ClosedBy.SERVER

    # What most connections never change stands here once for all of them: so an idle one is
    # small, and objects with no more than thirty attributes of their own are also faster. (What
    # hot paths look at must not stand here, unless no object ever has its own.)
    close_cause: ConnectionClosed | None = None
    peer_receive_maximum = MAXIMUM_TWO_BYTE_INTEGER
    peer_maximum_packet_size = MAXIMUM_PACKET_SIZE
    peer_maximum_qos = 2
    peer_retain_available = True
    resumes_elsewhere = False  # the peer is not the one of the last connection
    tracer: Tracer | None = None
    """Called with "<" or ">" and every packet that comes or goes."""
    _to_resend: deque[Outgoing] | None = None
    _resend_ids: set[int] | frozenset[int] = frozenset()
    _own_aliases: OutgoingAliases | None = None

    def __init__(self, session: Session, version: ProtocolVersion | None) -> None:
        self.session = session
        self.version = version or V5
        self.state = ConnectionState.CONNECTING
        self.completed: list[Outgoing] = []
        """Messages whose flow has ended."""
        self.unsent_size = 0
        """Bytes that ``data_to_send()`` has not handed out yet."""
        self._out: list[bytes | memoryview] = []
        self._last_sent = 0.0
        self._in_flight = 0  # messages of QoS > 0 that count against peer_receive_maximum
        self.answers_due = False
        """Whether received packets can be answered, which is done before all else is sent."""
        # Answers that come to no more than type and packet identifier, two numbers for each: they
        # are written all at once.
        self._short_answers: list[int] = []
        # What publish_at_once() may do without a closer look; see _open().
        self._simple_size = -1
        self._simple_in_flight = 0
        self._no_properties = b""
        # SUBSCRIBE and UNSUBSCRIBE: the answer's type, and the number of filters.
        self._requests = _NO_REQUESTS

    def _open(self) -> None:
        """Messages may be sent from now on; what the peer allows is known."""
        self.state = ConnectionState.OPEN
        self._no_properties = b"\0" if self.version == V5 else b""
        if self.tracer is None and self._own_aliases is None:
            # 8: the longest fixed header, the packet identifier, and that there are no properties.
            self._simple_size = min(self.peer_maximum_packet_size - 8, UNSENT_LIMIT)
        self._simple_in_flight = min(self.peer_receive_maximum, MAXIMUM_PACKET_ID - _KEPT_FREE)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can come or go any more."""
        return self.state is ConnectionState.CLOSED

    @property
    def is_ending(self) -> bool:
        """Whether the last packet is queued: nothing that comes counts any more [MQTT-3.14.4-1]."""
        return self.state is ConnectionState.CLOSING or self.state is ConnectionState.CLOSED

    def _write_answers(self) -> None:
        """Write the answers to what has been received."""
        raise NotImplementedError

    # --- messages

    @property
    def send_quota(self) -> int:
        """How many more messages of QoS 1 and 2 may be published now [MQTT-3.3.4-7]."""
        if self.state is not ConnectionState.OPEN or self._to_resend:
            return 0
        # Some identifiers are left for SUBSCRIBE and UNSUBSCRIBE.
        identifiers = MAXIMUM_PACKET_ID - max(len(self._requests), _KEPT_FREE)
        return min(self.peer_receive_maximum, identifiers) - self._in_flight

    def publish_at_once(self, outgoing: Outgoing) -> int:
        """Send a message that needs no closer look; return ``unsent_size`` as it is then.

        0: nothing was done, because something is out of the ordinary: ``publish()`` knows what
        to make of it. This is the hot path of publishing.
        """
        unsent = self.unsent_size
        try:
            topic = _find_topic(outgoing.topic)
        except TypeError:  # a list, for example
            return 0
        if (
            topic is None
            or unsent >= UNSENT_LIMIT
            or self.state is not _OPEN
            or outgoing.properties is not None
        ):
            return 0
        payload = outgoing.payload
        no_properties = self._no_properties
        length = len(topic) + len(payload) + len(no_properties)
        if length > self._simple_size:
            return 0
        flags = 0
        if outgoing.retain:
            if not self.peer_retain_available:
                return 0
            flags = 1
        identifier = b""
        qos = outgoing.qos
        if qos:
            session = self.session
            packet_id = session.last_packet_id + 1
            if packet_id > MAXIMUM_PACKET_ID:
                packet_id = 1
            if (
                self._in_flight >= self._simple_in_flight
                or qos > self.peer_maximum_qos
                or packet_id in session.outgoing
                or self._to_resend
                or self._requests
            ):
                return 0
            session.last_packet_id = outgoing.packet_id = packet_id
            # [MQTT-4.3.2-3] [MQTT-4.3.3-3]
            session.outgoing[packet_id] = outgoing
            outgoing.awaiting = _PUBACK if qos == 1 else _PUBREC
            self._in_flight += 1
            identifier = packet_id.to_bytes(2)
            length += 2
            flags += qos + qos
        if self.answers_due:  # they were given before
            self._write_answers()
            unsent = self.unsent_size
        start = (
            PUBLISH_STARTS[flags][length] if length < 128 else encode_publish_start(flags, length)
        )
        if length < _JOINED_LENGTH:
            self._out.append(b"".join((start, topic, identifier, no_properties, payload)))
        else:
            self._out.append(b"".join((start, topic, identifier, no_properties)))
            self._out.append(payload)
        unsent += len(start) + length
        self.unsent_size = unsent
        return unsent

    def publish(self, outgoing: Outgoing) -> None:
        """Send a message. For QoS 1 and 2 there has to be ``send_quota``.

        Raises NotSupported or PacketTooLarge, before anything is changed, if the peer cannot
        take it.
        """
        topic, properties = self.check_publish(outgoing)
        qos = outgoing.qos
        payload = outgoing.payload
        size = len(payload)
        packet_id = 0
        if qos:
            packet_id = outgoing.packet_id = self.session.allocate_packet_id(self._requests)
        if self._own_aliases is not None:
            topic, properties = self._apply_alias(self._own_aliases, outgoing, topic, properties)
        header = encode_publish_header(
            topic, size, qos, outgoing.retain, False, packet_id, properties
        )
        if self.tracer is not None:
            self._trace_publish(outgoing, dup=False)
        if qos:
            # [MQTT-4.3.2-3] [MQTT-4.3.3-3]
            self.session.outgoing[packet_id] = outgoing
            outgoing.awaiting = PacketType.PUBACK if qos == 1 else PacketType.PUBREC
            self._in_flight += 1
        self._write(header)
        self._write(payload)

    def _apply_alias(
        self, aliases: OutgoingAliases, outgoing: Outgoing, topic: bytes, properties: bytes
    ) -> tuple[bytes, bytes]:
        """Return what to write of the topic and the properties, with a topic alias if it has one.

        Not for a message that the alias would make too large for the peer.
        """
        size = len(topic) + len(properties) + len(outgoing.payload)
        if size + 7 + ALIAS_SIZE > self.peer_maximum_packet_size:
            return topic, properties
        alias, is_known = aliases.use(outgoing.topic)
        if not alias:
            return topic, properties
        own: Properties = {"topic_alias": alias}  # [MQTT-3.3.2-9] [MQTT-3.3.2-10]
        own.update(outgoing.properties or {})
        # What a peer knows by its alias has an empty name (section 3.3.2.3.4).
        return b"\0\0" if is_known else topic, encode_properties(own, PacketType.PUBLISH)

    def _trace_publish(self, outgoing: Outgoing, *, dup: bool) -> None:
        self._trace(
            Message(
                outgoing.topic,
                outgoing.payload,
                outgoing.qos,
                outgoing.retain,
                dup,
                outgoing.packet_id,
                outgoing.properties,
            )
        )

    def _trace(self, packet: Packet) -> None:
        assert self.tracer is not None
        if self.answers_due:  # they go before it, here as on the wire
            self._write_answers()
        self.tracer(">", packet)

    def check_publish(self, outgoing: Outgoing) -> tuple[bytes, bytes]:
        """Return the encoded topic and properties of a message that the peer can take.

        Raises UsageError if they cannot be encoded, NotSupported or PacketTooLarge.
        """
        if outgoing.qos > self.peer_maximum_qos:  # [MQTT-3.2.2-11]
            raise NotSupported(f"the server takes messages up to QoS {self.peer_maximum_qos} only")
        if outgoing.retain and not self.peer_retain_available:  # [MQTT-3.2.2-14]
            raise NotSupported("the server takes no retained messages")
        properties = b""
        if self.version == V5:
            properties = b"\0"
            if outgoing.properties:
                properties = encode_properties(outgoing.properties, PacketType.PUBLISH)
        elif outgoing.properties:
            name = next(iter(outgoing.properties))
            raise NotSupported(f"{name} needs MQTT 5.0; this connection is 3.x")
        topic = encode_topic(outgoing.topic)
        size = len(outgoing.payload)
        # 7: the longest fixed header, and the packet identifier.
        if len(topic) + len(properties) + size + 7 > self.peer_maximum_packet_size:
            header = encode_publish_header(topic, size, outgoing.qos, False, False, 0, properties)
            total = len(header) + size
            if total > self.peer_maximum_packet_size:  # [MQTT-3.2.2-15]
                raise PacketTooLarge(
                    f"the message makes a packet of {total} bytes, the peer takes at most "
                    f"{self.peer_maximum_packet_size}"
                )
        return topic, properties

    def resume(self) -> None:
        """The peer has kept the session: send again what it did not acknowledge.

        In the original order [MQTT-4.6.0-1] [MQTT-4.6.0-4], with the old packet identifiers
        [MQTT-4.4.0-1], and before anything new. No more messages at once than the peer's Receive
        Maximum; PUBREL does not wait for it [MQTT-4.9.0-3].
        """
        if not self.session.outgoing:
            return
        waiting: deque[Outgoing] = deque()
        self._to_resend = waiting
        self._resend_ids = set()
        for outgoing in list(self.session.outgoing.values()):
            if outgoing.awaiting is PacketType.PUBCOMP:
                self._in_flight += 1
                self.send(Pubrel(outgoing.packet_id))
            else:
                waiting.append(outgoing)
                self._resend_ids.add(outgoing.packet_id)
                self._resend(waiting)

    def _resend(self, waiting: deque[Outgoing]) -> None:
        assert isinstance(self._resend_ids, set)
        while waiting and self._in_flight < self.peer_receive_maximum:
            outgoing = waiting.popleft()
            self._resend_ids.discard(outgoing.packet_id)
            self._in_flight += 1
            try:
                topic, properties = self.check_publish(outgoing)
            except UsageError as error:
                self._give_up(outgoing, error)
                continue
            header = encode_publish_header(
                topic,
                len(outgoing.payload),
                outgoing.qos,
                outgoing.retain,
                True,  # [MQTT-3.3.1-1]
                outgoing.packet_id,
                properties,
            )
            if self.tracer is not None:
                self._trace_publish(outgoing, dup=True)
            self._write(header)
            self._write(outgoing.payload)

    def _give_up(self, outgoing: Outgoing, error: UsageError) -> None:
        """The peer does not take any more what it took when the message was first sent."""
        del self.session.outgoing[outgoing.packet_id]
        self._in_flight -= 1
        outgoing.awaiting = None
        outgoing.reason_code = ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR
        outgoing.response = {"reason_string": str(error)}
        self.completed.append(outgoing)

    # --- the flows that messages have begun

    def _receive_pubrec(self, packet: Pubrec) -> None:
        packet_id = packet.packet_id
        outgoing = self._sent_here(packet_id)
        if outgoing is None:
            if packet.reason_code < ReasonCode.UNSPECIFIED_ERROR:
                self.send(Pubrel(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND))
        elif packet.reason_code >= _FIRST_ERROR:  # the flow ends here
            self._complete(PacketType.PUBREC, packet)
        elif outgoing.qos != 2:
            raise ProtocolError("PUBREC for a message of QoS 1")
        else:
            outgoing.awaiting = _PUBCOMP  # [MQTT-4.3.3-6] never PUBLISH again
            # PUBRELs are sent again in the order of the PUBRECs [MQTT-4.6.0-4].
            self.session.outgoing[packet_id] = self.session.outgoing.pop(packet_id)
            outgoing.reason_code = packet.reason_code
            outgoing.response = packet.properties
            if self.tracer is not None:
                self.send(Pubrel(packet_id))
            else:  # [MQTT-4.3.3-4]
                self._short_answers += (_SHORT_PUBREL, packet_id)
                self.answers_due = True

    def _sent_here(self, packet_id: int) -> Outgoing | None:
        """The message of this identifier, if it was sent (again) on this connection."""
        # One that is still to be sent again cannot have been answered.
        return None if packet_id in self._resend_ids else self.session.outgoing.get(packet_id)

    def _complete(self, awaited: PacketType, packet: Puback | Pubrec | Pubcomp) -> None:
        """The flow of an outgoing message has ended, well or badly."""
        packet_id = packet.packet_id
        flows = self.session.outgoing
        outgoing = flows.get(packet_id)
        if (
            outgoing is None
            or outgoing.awaiting is not awaited
            or packet_id in self._resend_ids  # what is still to be sent cannot have been answered
        ):
            outgoing = self._sent_here(packet_id)
            raise ProtocolError(
                f"{awaited.name} for the packet identifier {packet_id}, which awaits "
                + (outgoing.awaiting.name if outgoing and outgoing.awaiting else "nothing")
            )
        del flows[packet_id]
        if len(flows) > CROWDED:
            self.session.remember_free(packet_id)
        self._in_flight -= 1
        outgoing.awaiting = None
        # PUBCOMP cannot refuse (an unknown identifier means that it was released before): what
        # there is to say of the message was in PUBREC.
        if awaited is not _PUBCOMP or self.resumes_elsewhere:
            outgoing.reason_code = packet.reason_code
            outgoing.response = packet.properties
        self.completed.append(outgoing)
        if self._to_resend:
            self._resend(self._to_resend)

    # --- other packets

    def send(self, packet: Packet) -> None:
        """Send a packet other than PUBLISH.

        Its reason string and user properties are left out if they make it too large for the
        peer [MQTT-3.4.2-2] [MQTT-3.4.2-3].
        """
        data = encode(packet, self.version)
        if len(data) > self.peer_maximum_packet_size:
            packet, data = self._encode_smaller(packet, data)
        if self.tracer is not None and not self.is_ending:
            self._trace(packet)
        self._write(data)

    def _encode_smaller(self, packet: Packet, data: bytes) -> tuple[Packet, bytes]:
        if isinstance(packet, (Acknowledgement, Connack, Suback, Unsuback, Disconnect, Auth)):
            for left_out in (("reason_string",), ("reason_string", "user_properties")):
                kept = (packet.properties or {}).items()
                properties = {name: value for name, value in kept if name not in left_out}
                smaller = replace(packet, properties=cast("Properties", properties))
                data = encode(smaller, self.version)
                if len(data) <= self.peer_maximum_packet_size:
                    return smaller, data
        raise PacketTooLarge(
            f"the packet has {len(data)} bytes, the peer takes at most "
            f"{self.peer_maximum_packet_size}"
        )

    def _write(self, data: bytes) -> None:
        if self.is_ending:  # [MQTT-3.14.4-1] nothing after DISCONNECT
            return
        if self.answers_due:  # they were given before
            self._write_answers()
        self._out.append(data)
        self.unsent_size += len(data)

    def data_to_send(self, now: float) -> bytes | memoryview:
        """Return the next bytes to write; empty if there are none.

        Packets are joined to pieces of at most 128 KiB, a larger payload is cut into them: so the
        owner writes often enough to see that the connection makes progress.
        """
        if not self.unsent_size:
            return b""
        out = self._out
        self._last_sent = now
        if self.unsent_size <= _WRITE_SIZE:
            data = b"".join(out)
            out.clear()
            self.unsent_size = 0
            return data
        size = count = 0
        while size < _WRITE_SIZE:
            size += len(out[count])
            count += 1
        parts = out[:count]
        del out[:count]
        if size > _WRITE_SIZE:  # cut the last one
            view = memoryview(parts.pop())
            before = size - len(view)
            # Joining is copying: only the begin of a payload goes with its header.
            room = min(_WRITE_SIZE - before, _JOINED_PAYLOAD) if parts else _WRITE_SIZE
            out.insert(0, view[room:])
            parts.append(view[:room])
            size = before + room
        self.unsent_size -= size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # --- closing

    def disconnect(
        self,
        reason_code: int = ReasonCode.NORMAL_DISCONNECTION,
        properties: Properties | None = None,
        cause: ConnectionClosed | None = None,
    ) -> None:
        """Say goodbye: DISCONNECT is the last packet, the network connection is to be closed."""
        if self.is_ending:
            return
        if cause is None:
            us = ClosedBy.CLIENT if self._peer is ClosedBy.SERVER else ClosedBy.SERVER
            cause = ConnectionClosed(
                f"the {us.value} disconnected: {describe_reason(reason_code)}",
                reason_code=reason_code,
                by=us,
            )
        self._say_goodbye(reason_code, properties)
        self.close_cause = cause
        self.state = ConnectionState.CLOSING

    def _say_goodbye(self, reason_code: int, properties: Properties | None) -> None:
        self.send(Disconnect(reason_code, properties))

    def _fail(self, error: ProtocolError) -> None:
        """The peer broke the protocol: tell it so and close (section 4.13)."""
        if self.version == V5:
            code = error.reason_code
            if code not in REASON_CODES[PacketType.DISCONNECT]:
                code = ReasonCode.PROTOCOL_ERROR
            self.disconnect(code, cause=error)
        else:
            # A DISCONNECT of MQTT 3.x has no reason code: it would say that all is well, and
            # take back the will.
            self._write_answers()
            self.close_cause = error
            self.state = ConnectionState.CLOSING
