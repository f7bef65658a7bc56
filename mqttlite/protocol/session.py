"""Session state: what outlives a network connection (MQTT 5.0 section 4.1).

    Session    packet identifiers, and the two tables of QoS flows that have begun
    Outgoing   a PUBLISH that this side sends, until its flow has ended
    Receipt    a PUBLISH of QoS 1 or 2 that this side received, until it is acknowledged

The tables are one per direction: the identifiers of the two sides have nothing to do with each
other (section 2.2.1).
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from mqttlite.enums import PacketType, ProtocolVersion
from mqttlite.errors import UsageError
from mqttlite.limits import MAXIMUM_PACKET_ID
from mqttlite.packets.properties import encode_properties
from mqttlite.packets.reasons import REASON_CODES
from mqttlite.records import record

if TYPE_CHECKING:
    from collections.abc import Container

    from mqttlite.message import Properties
    from mqttlite.protocol.connection import Connection


CROWDED: Final = MAXIMUM_PACKET_ID // 2
"""From so many flows on, it is worth to remember which identifiers are free."""


class Outgoing:
    """A message that this side publishes.

    ``awaiting`` is the packet that will carry its flow on: PUBACK, PUBREC or PUBCOMP; None
    before it is sent. When the flow has ended, ``reason_code`` and ``response`` are what the
    last acknowledgement said.
    """

    # One is made for every message published. No defaults in the class: what an object may have
    # instead of its class's is slow to find.
    __slots__ = (
        "awaiting",
        "packet_id",
        "payload",
        "properties",
        "qos",
        "reason_code",
        "response",
        "retain",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.packet_id = 0
        self.awaiting: PacketType | None = None
        self.reason_code = 0
        self.response: Properties | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.topic!r}, {len(self.payload)} bytes, qos={self.qos})"


class ReceiptState(Enum):
    """How far the application is with a message that it was given."""

    WAITING = 1
    """It has not said yet that it is done."""
    ACKNOWLEDGED = 2
    """It is done: the acknowledgement may be sent."""
    ANSWERED = 3
    """The acknowledgement has been sent (and a QoS 2 message is still to be released)."""
    ABANDONED = 4
    """It will never be done: the sender has to deliver the message again, later."""


# A member of an Enum costs more to look up than a global name: these stand in the hot paths.
_WAITING: Final = ReceiptState.WAITING
_ACKNOWLEDGED: Final = ReceiptState.ACKNOWLEDGED


class Answerable(Protocol):
    """What may stand for a receipt towards its ``acknowledger``."""

    def accept(self, answer: Answer | None = None) -> None:
        """The application has processed the message, or refuses it."""


@record(frozen=True)
class Answer:
    """What an acknowledgement says beyond that all is well."""

    reason_code: int
    properties: Properties | None = None


def make_answer(reason_code: int, properties: Properties | None) -> Answer | None:
    """Check what PUBACK or PUBREC is to say; None if it is nothing. Raises UsageError."""
    if not reason_code and properties is None:
        return None
    if reason_code not in REASON_CODES[PacketType.PUBACK]:
        raise UsageError(f"0x{reason_code:02X} is not a reason code of PUBACK")
    encode_properties(properties, PacketType.PUBACK)
    return Answer(reason_code, properties)


class Receipt:
    """The acknowledgement that a received PUBLISH of QoS 1 or 2 waits for.

    ``connection`` is the one on which the PUBLISH last came: only there may it be answered.
    """

    __slots__ = ("answer", "connection", "packet_id", "qos", "state")

    def __init__(self, connection: Connection, packet_id: int, qos: int) -> None:
        self.connection = connection
        self.packet_id = packet_id
        self.qos = qos
        self.state = _WAITING
        self.answer: Answer | None = None

    @property
    def is_live(self) -> bool:
        """Whether the sender still waits for the answer, and holds others back because of it."""
        if self.qos == 2:
            return self.connection.session.incoming.get(self.packet_id) is self
        return not self.connection.is_closed

    def acknowledge(self, reason_code: int = 0, properties: Properties | None = None) -> None:
        """What ``Message.ack()`` calls: from the program, in any thread."""
        answer = make_answer(reason_code, properties)
        acknowledger = self.connection.acknowledger
        if acknowledger is None:
            self.accept(answer)
        else:
            acknowledger(self, answer)

    def accept(self, answer: Answer | None = None) -> None:
        """The application has processed the message, or refuses it."""
        if self.state is _WAITING:
            if answer is not None and self.connection.version == ProtocolVersion.MQTT_5_0:
                self.answer = answer
            self.state = _ACKNOWLEDGED
            self.connection.answers_due = True

    def abandon(self) -> None:
        """The application will never process the message."""
        self.connection.abandon(self)


class Session:
    """What a client or a server remembers of the other side between two connections.

    ``outgoing`` maps packet identifiers to the messages whose flow has begun, in the order in
    which they were first sent. ``incoming`` maps those of QoS 2 messages that were received and
    not yet released.
    """

    def __init__(self) -> None:
        self.outgoing: dict[int, Outgoing] = {}
        self.incoming: dict[int, Receipt] = {}
        self.last_packet_id = 0
        """The packet identifier that was given out last."""
        # Identifiers that became free while few were: to look for them would take long.
        self._freed: deque[int] | None = None

    def allocate_packet_id(self, also_used: Container[int] = ()) -> int:
        """Return an identifier that no flow uses [MQTT-2.2.1-3], nor ``also_used`` holds.

        Identifiers go round, so that one that has just become free is not used again at once.
        Returns 0 when all 65,535 are in use.
        """
        while self._freed:
            packet_id = self._freed.popleft()
            if packet_id not in self.outgoing and packet_id not in also_used:
                return packet_id
        packet_id = self.last_packet_id
        for _ in range(MAXIMUM_PACKET_ID):
            packet_id = packet_id % MAXIMUM_PACKET_ID + 1
            if packet_id not in self.outgoing and packet_id not in also_used:
                self.last_packet_id = packet_id
                return packet_id
        return 0

    def remember_free(self, packet_id: int) -> None:
        """An identifier has become free while there are more than ``CROWDED`` flows."""
        if self._freed is None:
            self._freed = deque(maxlen=MAXIMUM_PACKET_ID)
        self._freed.append(packet_id)

    def clear(self) -> list[Outgoing]:
        """Forget everything, for the other side has; return what was under way, in order."""
        lost = list(self.outgoing.values())
        self.outgoing.clear()
        self.incoming.clear()
        return lost
