"""One network connection, as either side sees it: sans-IO, and thrown away when it is closed.

States: CONNECTING until CONNACK; OPEN; CLOSING when this side has queued its last packet and
waits for the bytes to leave; CLOSED. ``close_cause`` tells why, from CLOSING on.

What the owner does: give it bytes (``receive``), the time (``handle_deadline`` at
``next_deadline``), messages (``publish``) and other packets; afterwards take what is there:
``data_to_send``, ``received`` (messages and rare packets, in order of arrival) and ``completed``
(messages whose flow has ended). The peer's mistakes raise nothing: they queue the right
DISCONNECT and set the close cause; what came before the mistake is still in ``received``.

What survives the connection is in ``Session``. Topic aliases, quotas, unanswered SUBSCRIBE and
UNSUBSCRIBE and the acknowledgements that are due do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Final, cast

from mqttlite.enums import ClosedBy, PacketType, ProtocolVersion, ReasonCode, describe_reason
from mqttlite.errors import (
    ConnectionClosed,
    ConnectionLost,
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
    PacketReader,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Unsuback,
    encode,
)
from mqttlite.packets.encode import encode_publish_header
from mqttlite.packets.properties import encode_properties
from mqttlite.packets.reasons import REASON_CODES
from mqttlite.packets.types import Acknowledgement
from mqttlite.protocol.aliases import ALIAS_SIZE, OutgoingAliases
from mqttlite.protocol.session import Answer, Outgoing, Receipt, ReceiptState, Session
from mqttlite.topics import encode_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mqttlite.message import Properties

Tracer = Callable[[str, Packet], None]

V5: Final = ProtocolVersion.MQTT_5_0

_WRITE_SIZE: Final = 64 * 1024
"""Bytes that are written at once: more gains nothing, and less progress would be seen."""
_JOINED_PAYLOAD: Final = 8 * 1024
"""Payloads from this size on are not copied behind their header."""

_KEPT_FREE: Final = 16
"""Packet identifiers that publishing leaves alone."""

SMALLEST_PACKET_SIZE: Final = 9
"""Bytes of the longest packet that the protocol cannot do without: DISCONNECT with an expiry."""

_MOST_ABANDONED: Final = 8
"""Messages that may be left to be delivered again before the connection is made anew: a server
sends no more once a window of them is unacknowledged, and that of many is as small as 20."""


def explain(reason_code: int, properties: Properties) -> str:
    """Say in words why a connection was refused or ended."""
    words = describe_reason(reason_code)
    if "reason_string" in properties:
        words += f", {properties['reason_string']}"
    if "server_reference" in properties:  # it may have credentials
        names = properties["server_reference"].split()
        words += "; use " + " ".join(name.rpartition("@")[2] for name in names)
    return words


def check_problem_information(packet: Packet) -> None:
    """[MQTT-3.1.2-29] What was not asked for must not come, but where it always may."""
    properties = getattr(packet, "properties", None) or {}
    if not isinstance(packet, Disconnect) and (
        "reason_string" in properties or "user_properties" in properties
    ):
        raise ProtocolError(
            f"{type(packet).__name__.upper()} with problem information, which was not asked for"
        )


def _is_invalid_text(message: Message) -> bool:
    """Whether a payload that is said to be UTF-8 is not."""
    if not message.properties or not message.properties.get("payload_format_indicator"):
        return False
    try:
        message.payload.decode()
    except UnicodeDecodeError:
        return True
    return False


class ConnectionState(Enum):
    """How far a connection is."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Connection:
    """What both sides of a connection have in common: all but the handshake and the keep alive.

    ``receive_maximum``, ``maximum_packet_size`` and ``topic_alias_maximum`` are what this side
    allows the peer; ``peer_...`` is what the peer allows this side.
    """

    def __init__(
        self,
        session: Session,
        version: ProtocolVersion | None,
        *,
        receive_maximum: int = MAXIMUM_TWO_BYTE_INTEGER,
        maximum_packet_size: int = MAXIMUM_PACKET_SIZE,
        topic_alias_maximum: int = 0,
    ) -> None:
        self.session = session
        self.version = version or V5
        self.state = ConnectionState.CONNECTING
        self.close_cause: ConnectionClosed | None = None
        self.received: list[Packet] = []
        self.completed: list[Outgoing] = []

        self.receive_maximum = receive_maximum
        self.topic_alias_maximum = topic_alias_maximum
        self.peer_receive_maximum = MAXIMUM_TWO_BYTE_INTEGER
        self.peer_maximum_packet_size = MAXIMUM_PACKET_SIZE
        self.peer_maximum_qos = 2
        self.peer_retain_available = True

        self._reader = PacketReader(version, maximum_packet_size)
        self._out: deque[bytes | memoryview] = deque()
        self.unsent_size = 0
        """Bytes that ``data_to_send()`` has not handed out yet."""
        self._in_flight = 0  # messages of QoS > 0 that count against peer_receive_maximum
        self._to_resend: deque[Outgoing] = deque()
        self._resend_ids: set[int] = set()
        # SUBSCRIBE and UNSUBSCRIBE: the answer's type, and the number of filters.
        self._requests: dict[int, tuple[type[Suback | Unsuback], int]] = {}
        self._unacknowledged: deque[Receipt] = deque()  # in order of arrival
        self.redelivers = True
        """Whether the peer keeps unacknowledged messages for the next connection."""
        self.resumes_elsewhere = False  # the peer is not the one of the last connection
        self._abandoned = 0
        self._incoming_in_flight = 0  # counts against receive_maximum
        self._room_given = 0  # times that an acknowledgement has made room for a message
        self.remarks: list[str] = []
        """What the owner may want to log."""
        self._aliases: dict[int, str] = {}
        self._own_aliases: OutgoingAliases | None = None
        self._allows_problem_information = True
        self.checks_payload_format = False
        """Whether text that is no UTF-8 is refused (section 3.3.2.3.2)."""
        self.refused_payloads = 0
        self.tracer: Tracer | None = None
        """Called with "<" or ">" and every packet that comes or goes."""
        self._last_received = 0.0
        self._last_sent = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether nothing can come or go any more."""
        return self.state is ConnectionState.CLOSED

    # --- receiving

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the network, of any number. This is the hot path of receiving."""
        if self.state is ConnectionState.CLOSING or self.state is ConnectionState.CLOSED:
            return
        self._last_received = now
        received = self.received
        reader = self._reader
        try:
            packets = reader.feed(data)
            if self.tracer is not None:
                for packet in packets:
                    self.tracer("<", packet)
            for packet in packets:
                if self.state is ConnectionState.OPEN:
                    if type(packet) is Message and not packet.qos and packet.properties is None:
                        received.append(packet)
                    else:
                        self._receive_open(packet)
                elif self.state is ConnectionState.CONNECTING:
                    self._receive_handshake(packet)
                else:
                    return
            if reader.error is not None:
                self._fail(reader.error)
        except ProtocolError as error:
            self._fail(error)

    def receive_eof(self) -> None:
        """The peer has closed, or the network has failed."""
        self.lose(ConnectionLost("the connection was closed without a DISCONNECT"))

    def lose(self, cause: ConnectionClosed) -> None:
        """The network connection is gone: nothing can be sent any more."""
        if self.close_cause is None:
            self.close_cause = cause
        self.state = ConnectionState.CLOSED
        self._out.clear()
        self.unsent_size = 0

    def _receive_handshake(self, packet: Packet) -> None:
        raise NotImplementedError

    def _receive_open(self, packet: Packet) -> None:
        """Any packet on an open connection."""
        if isinstance(packet, Message):
            self._receive_publish(packet)
            return
        if not self._allows_problem_information:
            check_problem_information(packet)
        if isinstance(packet, Puback):
            self._complete(PacketType.PUBACK, packet)
        elif isinstance(packet, Pubrec):
            self._receive_pubrec(packet)
        elif isinstance(packet, Pubrel):
            self._receive_pubrel(packet)
        elif isinstance(packet, Pubcomp):
            # An unknown one answers a PUBREL that told the peer of its unknown PUBREC.
            if packet.packet_id in self.session.outgoing:
                self._complete(PacketType.PUBCOMP, packet)
        elif isinstance(packet, Disconnect):
            self._receive_disconnect(packet)
        else:
            self._receive_own(packet)

    def _receive_own(self, packet: Packet) -> None:
        """The packets that only this side may receive."""
        raise NotImplementedError

    def _receive_disconnect(self, packet: Disconnect) -> None:
        self.received.append(packet)
        properties = packet.properties or {}
        peer = self._peer
        self.lose(
            ConnectionClosed(
                f"the {peer.value} disconnected: {explain(packet.reason_code, properties)}",
                reason_code=packet.reason_code,
                reason_string=properties.get("reason_string"),
                by=peer,
                server_reference=properties.get("server_reference"),
                user_properties=properties.get("user_properties", []),
            )
        )

    _peer = ClosedBy.SERVER

    def _receive_publish(self, message: Message) -> None:
        """A PUBLISH of any QoS, with any properties."""
        properties = message.properties
        if properties is not None and "topic_alias" in properties:
            self._resolve_alias(message, properties["topic_alias"])
        is_invalid = self.checks_payload_format and _is_invalid_text(message)
        if not message.qos:
            if is_invalid:
                self.refused_payloads += 1
            else:
                self.received.append(message)
            return
        known = self.session.incoming.get(message.packet_id) if message.qos == 2 else None
        if (
            known is not None
            and known.state is not ReceiptState.ABANDONED
            and not (
                # MQTT 3.1 does not say that the session is a new one: this tells a new message.
                (self.version == ProtocolVersion.MQTT_3_1 or self.resumes_elsewhere)
                and not message.dup
                and known.connection is not self
            )
        ):
            self._receive_again(known, message)
            return
        self._count_incoming(message)
        receipt = Receipt(self, message.packet_id, message.qos)
        if message.qos == 2:
            self.session.incoming[message.packet_id] = receipt
        self._unacknowledged.append(receipt)
        if is_invalid:
            self.refused_payloads += 1
            self.acknowledge(receipt, Answer(ReasonCode.PAYLOAD_FORMAT_INVALID))
            return
        message._receipt = receipt  # noqa: SLF001 - the receipt is this floor's part of it
        self.received.append(message)

    def _receive_again(self, receipt: Receipt, message: Message) -> None:
        """A QoS 2 message that was delivered before: answered once more [MQTT-4.3.3-10]."""
        if receipt.connection is not self:
            self._count_incoming(message)
            receipt.connection = self
        elif receipt.state is not ReceiptState.ANSWERED:
            return  # its PUBREC will be sent in its turn
        if receipt.state is ReceiptState.ANSWERED:
            receipt.state = ReceiptState.ACKNOWLEDGED
        self._unacknowledged.append(receipt)
        self._send_acknowledgements()

    def _count_incoming(self, message: Message) -> None:
        if self._incoming_in_flight >= self.receive_maximum:
            self._receive_excess(message)
        self._incoming_in_flight += 1

    def _give_room(self) -> None:
        self._incoming_in_flight -= 1
        self._room_given += 1

    def _receive_excess(self, _message: Message) -> None:
        """A message that is more than this side has allowed [MQTT-3.3.4-9]."""
        raise ProtocolError(
            f"more than {self.receive_maximum} messages came before the first of them was "
            f"acknowledged",
            ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
        )

    def _resolve_alias(self, message: Message, alias: int) -> None:
        if alias > self.topic_alias_maximum:  # [MQTT-3.3.2-11] [MQTT-3.1.2-26] [MQTT-3.1.2-27]
            raise ProtocolError(
                f"topic alias {alias} is above the maximum, {self.topic_alias_maximum}",
                ReasonCode.TOPIC_ALIAS_INVALID,
            )
        if message.topic:
            self._aliases[alias] = message.topic
        elif alias in self._aliases:
            message.topic = self._aliases[alias]
        else:
            raise ProtocolError(f"topic alias {alias} was never defined")

    def acknowledge(self, receipt: Receipt, answer: Answer | None = None) -> None:
        """The application has processed a message: acknowledge it, in its turn.

        An ``answer`` with a reason code of 0x80 or above refuses it; MQTT 3.x does not know how
        to say so.
        """
        if receipt.state is ReceiptState.WAITING:
            receipt.answer = answer if self.version == V5 else None
            receipt.state = ReceiptState.ACKNOWLEDGED
            self._send_acknowledgements()

    def abandon(self, receipt: Receipt) -> None:
        """The application will never process a message: let the peer deliver it again, later.

        It stays unacknowledged for as long as this connection lasts, and does not hold back
        the acknowledgements of those that came after it; it is simply acknowledged if the peer
        would not deliver it again. When there are some of them the connection is closed, for
        the peer sends the more slowly the more it waits for.
        """
        if not self.redelivers:
            self.acknowledge(receipt)
        elif receipt.state is ReceiptState.WAITING:
            receipt.state = ReceiptState.ABANDONED
            self._send_acknowledgements()
            self._abandoned += 1
            if self._abandoned >= min(_MOST_ABANDONED, self.receive_maximum):
                self.disconnect(
                    cause=ConnectionClosed(
                        "connecting anew, to get the messages again that were not processed",
                        by=ClosedBy.CLIENT,
                    )
                )

    def _send_acknowledgements(self) -> None:
        """Answer the messages that are done, in the order in which they came.

        [MQTT-4.6.0-2] [MQTT-4.6.0-3]
        """
        if self.state is not ConnectionState.OPEN:  # the peer will deliver them again
            return
        waiting = self._unacknowledged
        while waiting and waiting[0].state is not ReceiptState.WAITING:
            receipt = waiting.popleft()
            if receipt.state is ReceiptState.ABANDONED:
                continue
            receipt.state = ReceiptState.ANSWERED
            if receipt.qos == 1:
                self._give_room()
            if receipt.answer is not None or self.tracer is not None:
                self._send_answer(receipt, receipt.answer or Answer(0))
            elif receipt.qos == 1:
                self._write(b"\x40\x02" + receipt.packet_id.to_bytes(2))
            else:
                self._write(b"\x50\x02" + receipt.packet_id.to_bytes(2))

    def _send_answer(self, receipt: Receipt, answer: Answer) -> None:
        """Send an acknowledgement of any kind."""
        reason_code, properties = answer
        if receipt.qos == 1:
            self.send(Puback(receipt.packet_id, reason_code, properties))
            return
        if reason_code >= ReasonCode.UNSPECIFIED_ERROR:  # [MQTT-4.3.3-9] it ends here
            self._give_room()
            self.session.incoming.pop(receipt.packet_id, None)
        self.send(Pubrec(receipt.packet_id, reason_code, properties))

    def _receive_pubrel(self, packet: Pubrel) -> None:
        receipt = self.session.incoming.get(packet.packet_id)
        if receipt is not None and receipt.state is ReceiptState.WAITING:
            raise ProtocolError("PUBREL for a message that got no PUBREC yet")
        self.session.incoming.pop(packet.packet_id, None)
        if receipt is not None and receipt.connection is self:
            self._give_room()
        # [MQTT-4.3.3-11]; an unknown identifier is no error (section 4.3.3, note).
        code = 0 if receipt is not None else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        self.send(Pubcomp(packet.packet_id, code))

    def _receive_pubrec(self, packet: Pubrec) -> None:
        outgoing = self._sent_here(packet.packet_id)
        if outgoing is None:
            if packet.reason_code < ReasonCode.UNSPECIFIED_ERROR:
                self.send(Pubrel(packet.packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND))
        elif packet.reason_code >= ReasonCode.UNSPECIFIED_ERROR:  # the flow ends here
            self._complete(PacketType.PUBREC, packet)
        elif outgoing.qos != 2:
            raise ProtocolError("PUBREC for a message of QoS 1")
        else:
            outgoing.awaiting = PacketType.PUBCOMP  # [MQTT-4.3.3-6] never PUBLISH again
            # PUBRELs are sent again in the order of the PUBRECs [MQTT-4.6.0-4].
            self.session.outgoing[packet.packet_id] = self.session.outgoing.pop(packet.packet_id)
            outgoing.reason_code = packet.reason_code
            outgoing.response = packet.properties
            self.send(Pubrel(packet.packet_id))  # [MQTT-4.3.3-4]

    def _sent_here(self, packet_id: int) -> Outgoing | None:
        """The message of this identifier, if it was sent (again) on this connection."""
        outgoing = self.session.outgoing.get(packet_id)
        # One that is still to be sent again cannot have been answered.
        return None if packet_id in self._resend_ids else outgoing

    def _complete(self, awaited: PacketType, packet: Puback | Pubrec | Pubcomp) -> None:
        """The flow of an outgoing message has ended, well or badly."""
        outgoing = self._sent_here(packet.packet_id)
        if outgoing is None or outgoing.awaiting is not awaited:
            raise ProtocolError(
                f"{awaited.name} for the packet identifier {packet.packet_id}, which awaits "
                + (outgoing.awaiting.name if outgoing and outgoing.awaiting else "nothing")
            )
        del self.session.outgoing[packet.packet_id]
        self._in_flight -= 1
        outgoing.awaiting = None
        # PUBCOMP cannot refuse (an unknown identifier means that it was released before): what
        # there is to say of the message was in PUBREC.
        if awaited is not PacketType.PUBCOMP or self.resumes_elsewhere:
            outgoing.reason_code = packet.reason_code
            outgoing.response = packet.properties
        self.completed.append(outgoing)
        if self._to_resend:
            self._resend()

    # --- sending

    @property
    def send_quota(self) -> int:
        """How many more messages of QoS 1 and 2 may be published now [MQTT-3.3.4-7]."""
        if self.state is not ConnectionState.OPEN or self._to_resend:
            return 0
        # Some identifiers are left for SUBSCRIBE and UNSUBSCRIBE.
        identifiers = MAXIMUM_PACKET_ID - max(len(self._requests), _KEPT_FREE)
        return min(self.peer_receive_maximum, identifiers) - self._in_flight

    def publish(self, outgoing: Outgoing) -> None:
        """Send a message. For QoS 1 and 2 there has to be ``send_quota``.

        Raises NotSupported or PacketTooLarge, before anything is changed, if the peer cannot
        take it. This is the hot path of publishing.
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
        if size < _JOINED_PAYLOAD:
            self._write(header + payload)
        else:
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
        assert self.tracer is not None
        self.tracer(
            ">",
            Message(
                outgoing.topic,
                outgoing.payload,
                outgoing.qos,
                outgoing.retain,
                dup,
                outgoing.packet_id,
                outgoing.properties,
            ),
        )

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
        for outgoing in list(self.session.outgoing.values()):
            if outgoing.awaiting is PacketType.PUBCOMP:
                self._in_flight += 1
                self.send(Pubrel(outgoing.packet_id))
            else:
                self._to_resend.append(outgoing)
                self._resend_ids.add(outgoing.packet_id)
                self._resend()

    def _resend(self) -> None:
        waiting = self._to_resend
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

    def send(self, packet: Packet) -> None:
        """Send a packet other than PUBLISH.

        Its reason string and user properties are left out if they make it too large for the
        peer [MQTT-3.4.2-2] [MQTT-3.4.2-3].
        """
        data = encode(packet, self.version)
        if len(data) > self.peer_maximum_packet_size:
            packet, data = self._encode_smaller(packet, data)
        if self.tracer is not None and not self.is_ending:
            self.tracer(">", packet)
        self._write(data)

    @property
    def is_ending(self) -> bool:
        """Whether the last packet is queued: nothing that comes counts any more [MQTT-3.14.4-1]."""
        return self.state is ConnectionState.CLOSING or self.state is ConnectionState.CLOSED

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
        if self.state is ConnectionState.CLOSING or self.state is ConnectionState.CLOSED:
            return  # [MQTT-3.14.4-1] nothing after DISCONNECT
        self._out.append(data)
        self.unsent_size += len(data)

    def data_to_send(self, now: float) -> bytes | memoryview:
        """Return the next bytes to write; empty if there are none.

        Packets are joined to pieces of about 64 KiB, a larger payload is cut into them: so the
        owner writes often enough to see that the connection makes progress.
        """
        out = self._out
        if not out:
            return b""
        self._last_sent = now
        if self.unsent_size <= _WRITE_SIZE:
            data = b"".join(out)
            out.clear()
            self.unsent_size = 0
            return data
        parts = []
        size = 0
        while out and size < _WRITE_SIZE:
            part = out.popleft()
            room = _WRITE_SIZE - size
            if len(part) > room:
                view = memoryview(part)
                out.appendleft(view[room:])
                part = view[:room]
            parts.append(part)
            size += len(part)
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
            self.close_cause = error
            self.state = ConnectionState.CLOSING

    # --- time

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` wants to be called, whatever happens before; None: never."""
        raise NotImplementedError

    def handle_deadline(self, now: float) -> None:
        """Do what is due at this time."""
        raise NotImplementedError

    def take_received(self) -> Sequence[Packet]:
        """Hand over what has been received since the last call."""
        received = self.received
        if received:
            self.received = []
        return received
