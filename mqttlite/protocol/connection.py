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
from collections.abc import Callable, Sequence
from struct import pack
from typing import TYPE_CHECKING, Final

from mqttlite.enums import ClosedBy, PacketType, ProtocolVersion, ReasonCode, describe_reason
from mqttlite.errors import ConnectionClosed, ConnectionLost, ProtocolError
from mqttlite.limits import MAXIMUM_PACKET_SIZE, MAXIMUM_TWO_BYTE_INTEGER
from mqttlite.packets import (
    Disconnect,
    Message,
    Packet,
    PacketReader,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
)
from mqttlite.protocol.sending import ConnectionState, Sender
from mqttlite.protocol.session import Answer, Answerable, Receipt, ReceiptState, Session

if TYPE_CHECKING:
    from mqttlite.message import Properties

Acknowledger = Callable[[Answerable, Answer | None], None]
"""Called when the program acknowledges a message itself."""

SMALLEST_PACKET_SIZE: Final = 9
"""Bytes of the longest packet that the protocol cannot do without: DISCONNECT with an expiry."""

_MOST_ABANDONED: Final = 8
"""Messages that may be left to be delivered again before the connection is made anew: a server
sends no more once a window of them is unacknowledged, and that of many is as small as 20."""


# A member of an Enum costs more to look up than a global name: these stand in the hot paths.
_OPEN: Final = ConnectionState.OPEN
_PUBACK: Final = PacketType.PUBACK
_PUBCOMP: Final = PacketType.PUBCOMP
_WAITING: Final = ReceiptState.WAITING
_ANSWERED: Final = ReceiptState.ANSWERED
_ABANDONED: Final = ReceiptState.ABANDONED

# The begins of packets that have a packet identifier and nothing else.
_SHORT_PUBACK: Final = 0x4002
_SHORT_PUBREC: Final = 0x5002
_SHORT_PUBCOMP: Final = 0x7002


_NONE: Final[deque[Receipt]] = deque(maxlen=0)


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


class Connection(Sender):
    """What both sides of a connection have in common: all but the handshake and the keep alive.

    ``receive_maximum``, ``maximum_packet_size`` and ``topic_alias_maximum`` are what this side
    allows the peer.
    """

    topic_alias_maximum = 0
    redelivers = True
    """Whether the peer keeps unacknowledged messages for the next connection."""
    checks_payload_format = False
    """Whether text that is no UTF-8 is refused (section 3.3.2.3.2)."""
    refused_payloads = 0
    acknowledger: Acknowledger | None = None
    """What ``Message.ack()`` calls instead, if the owner of the connection has to take part."""
    remarks: Sequence[str] = ()
    """What the owner may want to log."""
    _allows_problem_information = True
    _unacknowledged: deque[Receipt] = _NONE  # in order of arrival
    _abandoned = 0
    _aliases: dict[int, str] | None = None

    def __init__(
        self,
        session: Session,
        version: ProtocolVersion | None,
        *,
        receive_maximum: int = MAXIMUM_TWO_BYTE_INTEGER,
        maximum_packet_size: int = MAXIMUM_PACKET_SIZE,
        topic_alias_maximum: int = 0,
    ) -> None:
        super().__init__(session, version)
        self.received: list[Packet] = []
        self.receive_maximum = receive_maximum
        if topic_alias_maximum:
            self.topic_alias_maximum = topic_alias_maximum
        self._reader = PacketReader(version, maximum_packet_size)
        self._last_received = 0.0
        self._incoming_in_flight = 0  # counts against receive_maximum
        self._room_given = 0  # times that an acknowledgement has made room for a message

    # --- receiving

    def receive(self, data: bytes | memoryview, now: float) -> None:
        """Take bytes from the network, of any number."""
        if self._may_receive(now):
            self._receive_packets(self._reader.feed(data))

    def room(self) -> memoryview | None:
        """Where to put the next bytes from the network instead, if there is such a place."""
        return None if self.is_ending else self._reader.room()

    def filled(self, count: int, now: float) -> None:
        """So many bytes from the network were put into ``room()``."""
        if self._may_receive(now):
            self._receive_packets(self._reader.filled(count))

    def _may_receive(self, now: float) -> bool:
        """Whether what comes now counts; then it is a sign of life."""
        if self.state is not _OPEN and self.is_ending:
            return False
        self._last_received = now
        if self.answers_due:  # they may have made room for what comes
            self._write_answers()
        return True

    def _receive_packets(self, packets: list[Packet]) -> None:
        """This is the hot path of receiving."""
        reader = self._reader
        received = self.received
        try:
            if self.tracer is not None:
                for packet in packets:
                    self.tracer("<", packet)
            if reader.are_plain and self.state is _OPEN:
                received += packets
                packets = []
            unacknowledged = self._unacknowledged
            incoming = self.session.incoming
            for packet in packets:
                if self.state is _OPEN:
                    if type(packet) is Message:
                        qos = packet.qos
                        packet_id = packet.packet_id
                        if (
                            qos
                            and packet.properties is None
                            and unacknowledged is not _NONE
                            and self._incoming_in_flight < self.receive_maximum
                            and (qos == 1 or packet_id not in incoming)
                        ):  # as _receive_publish() does it; a call more would be felt
                            self._incoming_in_flight += 1
                            receipt = packet._receipt = Receipt(self, packet_id, qos)  # noqa: SLF001
                            if qos == 2:
                                incoming[packet_id] = receipt
                            unacknowledged.append(receipt)
                            received.append(packet)
                        else:
                            self._receive_publish(packet)
                    elif type(packet) is Puback and packet.properties is None:
                        self._complete(_PUBACK, packet)
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
        self._reader.close()
        self._out.clear()
        self.unsent_size = 0

    def _receive_handshake(self, packet: Packet) -> None:
        raise NotImplementedError

    def _receive_open(self, packet: Packet) -> None:
        """Any packet on an open connection."""
        if type(packet) is Message:
            self._receive_publish(packet)
            return
        if not self._allows_problem_information:
            check_problem_information(packet)
        if type(packet) is Pubrel:
            self._receive_pubrel(packet)
        elif type(packet) is Pubrec:
            self._receive_pubrec(packet)
        elif type(packet) is Pubcomp:
            # An unknown one answers a PUBREL that told the peer of its unknown PUBREC.
            if packet.packet_id in self.session.outgoing:
                self._complete(_PUBCOMP, packet)
        elif type(packet) is Puback:
            self._complete(_PUBACK, packet)
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
        is_invalid = False
        properties = message.properties
        if properties is not None:
            if "topic_alias" in properties:
                self._resolve_alias(message, properties["topic_alias"])
            is_invalid = self.checks_payload_format and _is_invalid_text(message)
        qos = message.qos
        if not qos:
            if is_invalid:
                self.refused_payloads += 1
            else:
                self.received.append(message)
            return
        packet_id = message.packet_id
        if qos == 2:
            known = self.session.incoming.get(packet_id)
            if known is not None and self._was_delivered(known, message):
                self._receive_again(known, message)
                return
        if self._incoming_in_flight >= self.receive_maximum:
            self._receive_excess(message)
        self._incoming_in_flight += 1
        receipt = Receipt(self, packet_id, qos)
        if qos == 2:
            self.session.incoming[packet_id] = receipt
        if self._unacknowledged is _NONE:
            self._unacknowledged = deque()
        self._unacknowledged.append(receipt)
        if is_invalid:
            self.refused_payloads += 1
            self.acknowledge(receipt, Answer(ReasonCode.PAYLOAD_FORMAT_INVALID))
            return
        message._receipt = receipt  # noqa: SLF001 - the receipt is this floor's part of it
        self.received.append(message)

    def _was_delivered(self, known: Receipt, message: Message) -> bool:
        """Whether a QoS 2 message is the one that its identifier has a receipt for."""
        if known.state is ReceiptState.ABANDONED:
            return False
        # MQTT 3.1 does not say that the session is a new one: this tells a new message.
        is_unsure = self.version == ProtocolVersion.MQTT_3_1 or self.resumes_elsewhere
        return not (is_unsure and not message.dup and known.connection is not self)

    def _receive_again(self, receipt: Receipt, message: Message) -> None:
        """A QoS 2 message that was delivered before: answered once more [MQTT-4.3.3-10]."""
        if receipt.connection is not self:
            if self._incoming_in_flight >= self.receive_maximum:
                self._receive_excess(message)
            self._incoming_in_flight += 1
            receipt.connection = self
        elif receipt.state is not ReceiptState.ANSWERED:
            return  # its PUBREC will be sent in its turn
        if receipt.state is ReceiptState.ANSWERED:
            receipt.state = ReceiptState.ACKNOWLEDGED
        if self._unacknowledged is _NONE:
            self._unacknowledged = deque()
        self._unacknowledged.append(receipt)
        self.answers_due = True

    def _give_room(self, count: int = 1) -> None:
        self._incoming_in_flight -= count
        self._room_given += count

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
        if self._aliases is None:
            self._aliases = {}
        if message.topic:
            self._aliases[alias] = message.topic
        elif alias in self._aliases:
            message.topic = self._aliases[alias]
        else:
            raise ProtocolError(f"topic alias {alias} was never defined")

    def acknowledge(self, receipt: Receipt, answer: Answer | None = None) -> None:
        """The application has processed a message: acknowledge it, in its turn.

        An ``answer`` with a reason code of 0x80 or above refuses it; MQTT 3.x does not know how
        to say so. It is written with what is sent next, together with all others that are due.
        """
        receipt.accept(answer)

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
            self.answers_due = True
            self._abandoned += 1
            if self._abandoned >= min(_MOST_ABANDONED, self.receive_maximum):
                self.disconnect(
                    cause=ConnectionClosed(
                        "connecting anew, to get the messages again that were not processed",
                        by=ClosedBy.CLIENT,
                    )
                )

    def _write_answers(self) -> None:
        """Answer the messages that are done, in the order in which they came.

        [MQTT-4.6.0-2] [MQTT-4.6.0-3] This is the hot path of acknowledging.
        """
        self.answers_due = False
        if self.state is not _OPEN:  # the peer will deliver them again
            return
        waiting = self._unacknowledged
        short = self._short_answers
        untraced = self.tracer is None
        room = 0
        while waiting:
            receipt = waiting[0]
            state = receipt.state
            if state is _WAITING:
                break
            waiting.popleft()
            if state is _ABANDONED:
                continue
            receipt.state = _ANSWERED
            if receipt.answer is None and untraced:
                if receipt.qos == 1:
                    room += 1
                    short.append(_SHORT_PUBACK)
                else:
                    short.append(_SHORT_PUBREC)
                short.append(receipt.packet_id)
            else:
                self._write_short_answers()
                self._send_answer(receipt, receipt.answer or Answer(0))
        self._give_room(room)
        self._write_short_answers()

    def _write_short_answers(self) -> None:
        short = self._short_answers
        if short:
            data = pack(f">{len(short)}H", *short)
            short.clear()
            self._write(data)

    def _send_answer(self, receipt: Receipt, answer: Answer) -> None:
        """Send an acknowledgement of any kind."""
        reason_code, properties = answer.reason_code, answer.properties
        if receipt.qos == 1:
            self._give_room()
            self.send(Puback(receipt.packet_id, reason_code, properties))
            return
        if reason_code >= ReasonCode.UNSPECIFIED_ERROR:  # [MQTT-4.3.3-9] it ends here
            self._give_room()
            self.session.incoming.pop(receipt.packet_id, None)
        self.send(Pubrec(receipt.packet_id, reason_code, properties))

    def _receive_pubrel(self, packet: Pubrel) -> None:
        packet_id = packet.packet_id
        receipt = self.session.incoming.get(packet_id)
        if receipt is None:
            # [MQTT-4.3.3-11]; an unknown identifier is no error (section 4.3.3, note).
            self.send(Pubcomp(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND))
            return
        if receipt.state is _WAITING:
            raise ProtocolError("PUBREL for a message that got no PUBREC yet")
        if receipt.state is not _ANSWERED:  # a PUBREC that is repeated comes before the PUBCOMP
            self._write_answers()
        del self.session.incoming[packet_id]
        if receipt.connection is self:
            self._give_room()
        if self.tracer is not None:
            self.send(Pubcomp(packet_id))
        else:  # [MQTT-4.3.3-11]
            self._short_answers += (_SHORT_PUBCOMP, packet_id)
            self.answers_due = True

    # --- what is sent

    @property
    def has_data(self) -> bool:
        """Whether ``data_to_send()`` may return any."""
        return self.unsent_size > 0 or self.answers_due

    def data_to_send(self, now: float) -> bytes | memoryview:
        """As Sender.data_to_send; acknowledgements that are due go with it."""
        if self.answers_due:
            self._write_answers()
        return super().data_to_send(now)

    def _say_goodbye(self, reason_code: int, properties: Properties | None) -> None:
        self._write_answers()
        super()._say_goodbye(reason_code, properties)

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
