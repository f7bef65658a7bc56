"""What an embedded broker can be told: its limits, whom it lets in, and how much it keeps."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from mqttlite.enums import PacketType, ProtocolVersion
from mqttlite.errors import UsageError
from mqttlite.limits import MAXIMUM_PACKET_SIZE, MAXIMUM_TWO_BYTE_INTEGER, NEVER_EXPIRES
from mqttlite.message import Properties
from mqttlite.options import Version
from mqttlite.packets import Connack, Connect, Message, SubscriptionOptions, encode
from mqttlite.packets.reasons import REASON_CODES

Authenticate = Callable[[Connect], int]
"""Says with a reason code whether a client may connect: 0, or 0x80 and above."""

AuthorizePublish = Callable[[str, Message], int]
"""The same for a message; the first argument is the client identifier."""

AuthorizeSubscribe = Callable[[str, str, SubscriptionOptions], int]
"""The same for a subscription: client identifier, topic filter and options."""


@dataclass(slots=True, kw_only=True)
class BrokerOptions:
    """The options of a broker; ``BrokerCore.options`` may be changed while it runs.

    The first group is what CONNACK tells a client (MQTT 5.0 section 3.2.2.3).
    """

    receive_maximum: int = MAXIMUM_TWO_BYTE_INTEGER
    """Messages of QoS 1 and 2 that a client may have unacknowledged; MQTT 5 only."""
    maximum_packet_size: int = MAXIMUM_PACKET_SIZE
    """Bytes of the largest packet that is accepted."""
    topic_alias_maximum: int = 0
    """The highest topic alias that a client may use."""
    maximum_qos: int = 2
    """The highest QoS of messages from clients, and the highest granted to subscriptions."""
    retain_available: bool = True
    wildcard_subscription_available: bool = True
    subscription_identifier_available: bool = True
    shared_subscription_available: bool = True
    server_keep_alive: int | None = None
    """The keep alive that every client of MQTT 5 has to use, in seconds; None: its own."""
    maximum_session_expiry_interval: int = NEVER_EXPIRES
    """Seconds for which a session outlives its connection at most."""

    versions: Collection[Version] = ("5.0", "3.1.1", "3.1")
    """The protocol versions that are spoken; others are refused as an old broker does it."""
    refuse: int | None = None
    """A reason code, 0x80 or above, with which every connection is refused."""
    users: Mapping[str, str | bytes] | None = field(default=None, repr=False)
    """Passwords by user name; who is not in it is refused. None: everybody may connect."""
    authenticate: Authenticate | None = None
    """Asked for every CONNECT that was not refused before."""
    authorize_publish: AuthorizePublish | None = None
    """Asked for every message from a client. In MQTT 3.x, and with QoS 0, nobody tells the
    client of a refusal: the message just goes nowhere."""
    authorize_subscribe: AuthorizeSubscribe | None = None
    """Asked for every topic filter."""

    maximum_held: int = 10_000
    """Messages of QoS 1 and 2 that are held for a session, on their way or waiting. What comes
    when there are so many is dropped for this session."""
    maximum_held_bytes: int = 256 * 1024 * 1024
    """The same in bytes of payload."""
    maximum_unsent: int = 16 * 1024 * 1024
    """Bytes that wait to be read by a client. From there on messages of QoS 0 are dropped for
    it, others wait in its session, and nothing is read from it."""

    def __post_init__(self) -> None:
        if self.maximum_qos not in (0, 1, 2):
            raise UsageError(f"maximum_qos must be 0, 1 or 2, not {self.maximum_qos!r}")
        if self.refuse is not None and (
            self.refuse < 0x80 or self.refuse not in REASON_CODES[PacketType.CONNACK]
        ):
            raise UsageError(f"refuse must be a reason code of CONNACK, not {self.refuse!r}")
        # Whatever else cannot be written is found here, before there is a client.
        encode(Connack(properties=self.connack_properties()), ProtocolVersion.MQTT_5_0)

    def connack_properties(self) -> Properties:
        """What CONNACK says of the limits; nothing of those that are as good as none."""
        properties: Properties = {}
        if self.receive_maximum != MAXIMUM_TWO_BYTE_INTEGER:
            properties["receive_maximum"] = self.receive_maximum
        if self.maximum_packet_size != MAXIMUM_PACKET_SIZE:
            properties["maximum_packet_size"] = self.maximum_packet_size
        if self.topic_alias_maximum:
            properties["topic_alias_maximum"] = self.topic_alias_maximum
        if self.maximum_qos < 2:  # [MQTT-3.2.2-9]
            properties["maximum_qos"] = self.maximum_qos
        if self.server_keep_alive is not None:
            properties["server_keep_alive"] = self.server_keep_alive
        if not self.retain_available:
            properties["retain_available"] = 0
        if not self.wildcard_subscription_available:
            properties["wildcard_subscription_available"] = 0
        if not self.subscription_identifier_available:
            properties["subscription_identifier_available"] = 0
        if not self.shared_subscription_available:
            properties["shared_subscription_available"] = 0
        return properties


class BrokerKeywords(TypedDict, total=False):
    """The fields of BrokerOptions as keyword arguments."""

    receive_maximum: int
    maximum_packet_size: int
    topic_alias_maximum: int
    maximum_qos: int
    retain_available: bool
    wildcard_subscription_available: bool
    subscription_identifier_available: bool
    shared_subscription_available: bool
    server_keep_alive: int | None
    maximum_session_expiry_interval: int
    versions: Collection[Version]
    refuse: int | None
    users: Mapping[str, str | bytes] | None
    authenticate: Authenticate | None
    authorize_publish: AuthorizePublish | None
    authorize_subscribe: AuthorizeSubscribe | None
    maximum_held: int
    maximum_held_bytes: int
    maximum_unsent: int
