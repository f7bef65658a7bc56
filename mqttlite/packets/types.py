"""One class for each control packet, for all protocol versions; PUBLISH is ``Message``.

Fields that a version does not know are ignored when it is written, and have their defaults when
it was read. Return codes of MQTT 3.x are given as the reason codes of MQTT 5.
"""

from __future__ import annotations

from typing import ClassVar

from mqttlite.enums import PacketType, ProtocolVersion, ReasonCode
from mqttlite.message import Message, Properties, Will
from mqttlite.records import field, record


@record()
class Connect:
    """The client asks for a connection (section 3.1)."""

    client_id: str = ""
    clean_start: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    # They may hold authentication data.
    properties: Properties | None = field(default=None, repr=False)
    version: ProtocolVersion = ProtocolVersion.MQTT_5_0


@record()
class Connack:
    """The server accepts or refuses the connection (section 3.2)."""

    session_present: bool = False
    reason_code: int = ReasonCode.SUCCESS
    properties: Properties | None = None


@record()
class Acknowledgement:
    """What PUBACK, PUBREC, PUBREL and PUBCOMP have in common (sections 3.4 to 3.7)."""

    packet_type: ClassVar[PacketType]

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None

    # Built once for every message: not with the __init__ that all records share.
    def __init__(
        self, packet_id: int, reason_code: int = 0, properties: Properties | None = None
    ) -> None:
        self.packet_id = packet_id
        self.reason_code = reason_code
        self.properties = properties


class Puback(Acknowledgement):
    """The answer to a PUBLISH of QoS 1."""

    __slots__ = ()
    packet_type = PacketType.PUBACK


class Pubrec(Acknowledgement):
    """The first answer to a PUBLISH of QoS 2."""

    __slots__ = ()
    packet_type = PacketType.PUBREC


class Pubrel(Acknowledgement):
    """The answer to a PUBREC: the sender has forgotten the message."""

    __slots__ = ()
    packet_type = PacketType.PUBREL


class Pubcomp(Acknowledgement):
    """The answer to a PUBREL: the packet identifier is free again."""

    __slots__ = ()
    packet_type = PacketType.PUBCOMP


@record()
class SubscriptionOptions:
    """How a filter is subscribed to (section 3.8.3.1); MQTT 3.x knows only ``qos``."""

    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@record()
class Subscribe:
    """The client subscribes to filters (section 3.8)."""

    packet_id: int
    subscriptions: list[tuple[str, SubscriptionOptions]]
    properties: Properties | None = None


@record()
class Suback:
    """The answer to SUBSCRIBE, a reason code for each filter (section 3.9)."""

    packet_id: int
    reason_codes: list[int]
    properties: Properties | None = None


@record()
class Unsubscribe:
    """The client unsubscribes from filters (section 3.10)."""

    packet_id: int
    topic_filters: list[str]
    properties: Properties | None = None


@record()
class Unsuback:
    """The answer to UNSUBSCRIBE, in MQTT 5 with a reason code for each filter (section 3.11)."""

    packet_id: int
    reason_codes: list[int] = field(default_factory=list)
    properties: Properties | None = None


@record()
class Pingreq:
    """Is anybody there? (section 3.12)."""


@record()
class Pingresp:
    """Yes (section 3.13)."""


@record()
class Disconnect:
    """The end of the connection (section 3.14)."""

    reason_code: int = ReasonCode.NORMAL_DISCONNECTION
    properties: Properties | None = None


@record()
class Auth:
    """A step of an enhanced authentication (section 3.15)."""

    reason_code: int = ReasonCode.SUCCESS
    properties: Properties | None = field(default=None, repr=False)


Packet = (
    Connect
    | Connack
    | Message
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)
"""Any control packet; ``Message`` is PUBLISH."""
