"""The properties of MQTT 5 (section 2.2.2): one table that drives writing, reading and checks."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from mqttlite.enums import PacketType, ReasonCode
from mqttlite.errors import MalformedPacket, ProtocolError, UsageError
from mqttlite.limits import (
    MAXIMUM_FOUR_BYTE_INTEGER,
    MAXIMUM_TWO_BYTE_INTEGER,
    MAXIMUM_VARIABLE_BYTE_INTEGER,
)
from mqttlite.message import Properties
from mqttlite.packets.wire import (
    Cursor,
    decode_topic,
    encode_binary,
    encode_string,
    encode_variable_byte_integer,
)
from mqttlite.topics import encode_topic

WILL: Final = 0
"""Stands for the will in CONNECT where a packet type is asked for: it has its own properties."""


class Property(NamedTuple):
    """One row of the table in section 2.2.2.2."""

    identifier: int
    name: str
    type: "PropertyType"
    packets: frozenset[int]
    minimum: int = 0
    maximum: int = MAXIMUM_FOUR_BYTE_INTEGER
    repeatable: bool = False


class PropertyType(NamedTuple):
    """A data type of the wire (section 1.5): how a value of it is written, and read."""

    encode: Callable[[Property, Any], bytes]
    decode: Callable[[Property, Cursor], Any]


def _integer(encode: Callable[[int], bytes], read: Callable[[Cursor, str], int]) -> PropertyType:
    def write(row: Property, value: Any) -> bytes:
        if not isinstance(value, int) or not row.minimum <= value <= row.maximum:
            raise UsageError(
                f"{row.name} must be an integer from {row.minimum} to {row.maximum}, not {value!r}"
            )
        return encode(value)

    def decode(row: Property, section: Cursor) -> int:
        value = read(section, row.name)
        if not row.minimum <= value <= row.maximum:
            if row.name == "topic_alias":  # [MQTT-3.3.2-8]
                raise ProtocolError("a topic alias must not be 0", ReasonCode.TOPIC_ALIAS_INVALID)
            raise ProtocolError(
                f"{row.name} must be from {row.minimum} to {row.maximum}, not {value}"
            )
        return value

    return PropertyType(write, decode)


def _encode_pair(row: Property, value: Any) -> bytes:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise UsageError(f"{row.name} must be pairs of a name and a value")
    return encode_string(value[0], row.name) + encode_string(value[1], row.name)


def _decode_pair(row: Property, section: Cursor) -> tuple[str, str]:
    return section.string(row.name), section.string(row.name)  # [MQTT-1.5.7-1]


def _decode_topic(row: Property, section: Cursor) -> str:
    topic = decode_topic(section.binary(row.name), row.name)
    if not topic:
        raise ProtocolError(f"{row.name} is empty")
    return topic


def _table() -> tuple[Property, ...]:
    byte = _integer(lambda value: value.to_bytes(1), Cursor.byte)
    two = _integer(lambda value: value.to_bytes(2), Cursor.two_byte_integer)
    four = _integer(lambda value: value.to_bytes(4), Cursor.four_byte_integer)
    variable = _integer(encode_variable_byte_integer, Cursor.variable_byte_integer)
    string = PropertyType(
        lambda row, value: encode_string(value, row.name),
        lambda row, section: section.string(row.name),
    )
    binary = PropertyType(
        lambda row, value: encode_binary(value, row.name),
        lambda row, section: section.binary(row.name),
    )
    topic = PropertyType(lambda _row, value: encode_topic(value), _decode_topic)  # [MQTT-3.3.2-14]
    pair = PropertyType(_encode_pair, _decode_pair)
    p = PacketType
    publish = frozenset((p.PUBLISH, WILL))
    connect = frozenset((p.CONNECT,))
    connack = frozenset((p.CONNACK,))
    auth = frozenset((p.CONNECT, p.CONNACK, p.AUTH))
    both = frozenset((p.CONNECT, p.CONNACK))
    acknowledgements = {p.PUBACK, p.PUBREC, p.PUBREL, p.PUBCOMP, p.SUBACK, p.UNSUBACK}
    reasons = frozenset(acknowledgements | {p.CONNACK, p.DISCONNECT, p.AUTH})
    users = reasons | {p.CONNECT, p.PUBLISH, WILL, p.SUBSCRIBE, p.UNSUBSCRIBE}
    with_identifiers = frozenset((p.PUBLISH, p.SUBSCRIBE))
    sessions = frozenset((p.CONNECT, p.CONNACK, p.DISCONNECT))
    references = frozenset((p.CONNACK, p.DISCONNECT))
    largest = MAXIMUM_VARIABLE_BYTE_INTEGER
    two_max = MAXIMUM_TWO_BYTE_INTEGER
    four_max = MAXIMUM_FOUR_BYTE_INTEGER
    return (
        Property(0x01, "payload_format_indicator", byte, publish, 0, 1),
        Property(0x02, "message_expiry_interval", four, publish),
        Property(0x03, "content_type", string, publish),
        Property(0x08, "response_topic", topic, publish),
        Property(0x09, "correlation_data", binary, publish),
        Property(0x0B, "subscription_identifiers", variable, with_identifiers, 1, largest, True),
        Property(0x11, "session_expiry_interval", four, sessions),
        Property(0x12, "assigned_client_identifier", string, connack),
        Property(0x13, "server_keep_alive", two, connack, 0, two_max),
        Property(0x15, "authentication_method", string, auth),
        Property(0x16, "authentication_data", binary, auth),
        Property(0x17, "request_problem_information", byte, connect, 0, 1),
        Property(0x18, "will_delay_interval", four, frozenset((WILL,))),
        Property(0x19, "request_response_information", byte, connect, 0, 1),
        Property(0x1A, "response_information", string, connack),
        Property(0x1C, "server_reference", string, references),
        Property(0x1F, "reason_string", string, reasons),
        Property(0x21, "receive_maximum", two, both, 1, two_max),
        Property(0x22, "topic_alias_maximum", two, both, 0, two_max),
        Property(0x23, "topic_alias", two, frozenset((p.PUBLISH,)), 1, two_max),
        Property(0x24, "maximum_qos", byte, connack, 0, 1),
        Property(0x25, "retain_available", byte, connack, 0, 1),
        Property(0x26, "user_properties", pair, users, repeatable=True),
        Property(0x27, "maximum_packet_size", four, both, 1, four_max),
        Property(0x28, "wildcard_subscription_available", byte, connack, 0, 1),
        Property(0x29, "subscription_identifier_available", byte, connack, 0, 1),
        Property(0x2A, "shared_subscription_available", byte, connack, 0, 1),
    )


PROPERTIES: Final = _table()
_BY_IDENTIFIER: Final = {row.identifier: row for row in PROPERTIES}
_BY_NAME: Final = {row.name: (row.identifier.to_bytes(1), row) for row in PROPERTIES}


def encode_properties(properties: Properties | None, packet: int) -> bytes:
    """Write the properties of a packet type (or of a WILL), their length first.

    No properties are written as a length of 0 [MQTT-2.2.2-1]. Raises UsageError for a name or
    a value that the packet cannot bear.
    """
    if not properties:
        return b"\0"
    parts: list[bytes] = []
    for name, value in properties.items():
        known = _BY_NAME.get(name)
        if known is None or packet not in known[1].packets:
            raise UsageError(f"{name} is not a property of {_describe(packet)}")
        identifier, row = known
        if not row.repeatable:
            parts += (identifier, row.type.encode(row, value))
        elif isinstance(value, (list, tuple)):
            for item in value:
                parts += (identifier, row.type.encode(row, item))
        else:
            raise UsageError(f"{name} must be a list, not {type(value).__name__}")
    if "authentication_data" in properties and "authentication_method" not in properties:
        raise UsageError("authentication_data needs an authentication_method")
    encoded = b"".join(parts)
    return encode_variable_byte_integer(len(encoded)) + encoded


def decode_properties(cursor: Cursor, packet: int) -> Properties | None:
    """Read the properties of a packet type (or of a WILL); None if there are none."""
    length = cursor.variable_byte_integer("the property length")
    if not length:
        return None
    end = cursor.position + length
    if end > cursor.end:
        raise MalformedPacket("the properties are longer than the packet")
    section = Cursor(cursor.data, cursor.position, end)
    cursor.position = end
    found: dict[str, Any] = {}
    while section.remaining:
        identifier = section.variable_byte_integer("a property identifier")
        row = _BY_IDENTIFIER.get(identifier)
        if row is None:
            raise MalformedPacket(f"there is no property 0x{identifier:02X}")
        if packet not in row.packets:
            raise MalformedPacket(f"{row.name} is not a property of {_describe(packet)}")
        value = row.type.decode(row, section)
        if row.repeatable:
            found.setdefault(row.name, []).append(value)
        elif row.name in found:
            raise ProtocolError(f"the property {row.name} comes twice")
        else:
            found[row.name] = value
    if "authentication_data" in found and "authentication_method" not in found:
        raise ProtocolError("authentication data without an authentication method")
    return cast("Properties", found)


def _describe(packet: int) -> str:
    return "a will" if packet == WILL else PacketType(packet).name
