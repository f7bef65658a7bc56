"""The numbers that the MQTT specification gives names to."""

from enum import Enum, IntEnum


class ProtocolVersion(IntEnum):
    """The Protocol Level byte of CONNECT (MQTT 5.0 section 3.1.2.2)."""

    MQTT_3_1 = 3
    MQTT_3_1_1 = 4
    MQTT_5_0 = 5


class PacketType(IntEnum):
    """The Control Packet types (MQTT 5.0 section 2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class RetainHandling(IntEnum):
    """When a subscription wants the retained messages (MQTT 5.0 section 3.8.3.1)."""

    SEND = 0
    SEND_IF_NEW = 1
    DO_NOT_SEND = 2


class ReasonCode(IntEnum):
    """The Reason Codes of MQTT 5.0 (section 2.4).

    One byte may have several names, by the packet it stands in; the first one here is the
    canonical one. Return codes of MQTT 3.x are translated into these.
    """

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2

    def __str__(self) -> str:
        return describe_reason(self)


def describe_reason(code: int) -> str:
    """Say a reason code in words, for messages to people: ``not authorized (0x87)``."""
    name = _REASON_NAMES.get(code, "unknown reason")
    return f"{name} (0x{code:02X})"


_REASON_NAMES: dict[int, str] = {
    code.value: code.name.lower().replace("_", " ") for code in ReasonCode
}


class Fate(Enum):
    """What became of a message that was accepted for publishing."""

    PENDING = "pending"
    """Not settled yet: queued, or sent and not yet acknowledged."""
    SENT = "sent"
    """QoS 0: handed to the network; nobody will say more about it."""
    ACKNOWLEDGED = "acknowledged"
    """QoS 1 and 2: the server has taken it over."""
    REFUSED = "refused"
    """The server answered with a reason code of 0x80 or above."""
    EXPIRED = "expired"
    """Its Message Expiry Interval ran out while it waited to be sent."""
    DROPPED = "dropped"
    """Thrown away by the outbox policy, or a QoS 0 message without a connection."""
    LOST = "lost"
    """The server lost the session in the middle of its delivery."""
    CLOSED = "closed"
    """The client was closed before it was acknowledged."""


class ClosedBy(Enum):
    """Who ended a connection."""

    CLIENT = "client"
    SERVER = "server"
    NETWORK = "network"
