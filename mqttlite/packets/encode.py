"""Packets to bytes. What cannot be written raises UsageError, before anything was sent."""

from collections.abc import Callable
from typing import Any, Final

from mqttlite.enums import PacketType, ProtocolVersion, ReasonCode
from mqttlite.errors import PacketTooLarge, UsageError
from mqttlite.limits import (
    MAXIMUM_PACKET_ID,
    MAXIMUM_TWO_BYTE_INTEGER,
    MAXIMUM_VARIABLE_BYTE_INTEGER,
)
from mqttlite.message import Message, Properties, check_qos
from mqttlite.packets.properties import WILL, encode_properties
from mqttlite.packets.reasons import REASON_CODES, RETURN_CODES
from mqttlite.packets.types import (
    Acknowledgement,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionOptions,
    Unsuback,
    Unsubscribe,
)
from mqttlite.packets.wire import encode_binary, encode_string, encode_variable_byte_integer
from mqttlite.topics import encode_filter, encode_topic, is_shared

V5: Final = ProtocolVersion.MQTT_5_0

PUBLISH_STARTS: Final = [
    [bytes((first, length)) for length in range(128)]
    for first in range(PacketType.PUBLISH << 4, (PacketType.PUBLISH << 4) + 16)
]
"""The two bytes that begin a PUBLISH with a Remaining Length below 128: at [flags][length]."""

# Bits of the fixed header's first byte: PUBREL, SUBSCRIBE and UNSUBSCRIBE have the reserved
# flags 0010, all others 0000 [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1].
_RESERVED_FLAGS: Final = {PacketType.PUBREL: 2, PacketType.SUBSCRIBE: 2, PacketType.UNSUBSCRIBE: 2}


def encode_publish_header(
    topic: bytes,
    payload_length: int,
    qos: int,
    retain: bool,
    dup: bool,
    packet_id: int,
    properties: bytes,
) -> bytes:
    """Write all of a PUBLISH but its payload.

    ``topic`` and ``properties`` are encoded already; ``properties`` is empty in MQTT 3.x. The
    arguments are not checked here.
    """
    flags = qos << 1
    if retain:
        flags |= 1
    if dup:
        flags |= 8
    if qos:
        length = len(topic) + 2 + len(properties) + payload_length
        variable = topic + packet_id.to_bytes(2) + properties
    else:  # [MQTT-2.2.1-2] no packet identifier
        length = len(topic) + len(properties) + payload_length
        variable = topic + properties
    return encode_publish_start(flags, length) + variable


def encode_publish_start(flags: int, length: int) -> bytes:
    """Write the fixed header of a PUBLISH. Raises PacketTooLarge."""
    if length < 128:
        return PUBLISH_STARTS[flags][length]
    if length > MAXIMUM_VARIABLE_BYTE_INTEGER:
        raise _too_large(length)
    return bytes((0x30 | flags,)) + encode_variable_byte_integer(length)


def _too_large(length: int) -> PacketTooLarge:
    return PacketTooLarge(
        f"a packet has at most {MAXIMUM_VARIABLE_BYTE_INTEGER} bytes after its header, "
        f"this one would have {length}"
    )


def encode(packet: Packet, version: ProtocolVersion) -> bytes:
    """Write a packet. CONNECT is written in its own version, all others in ``version``."""
    return _ENCODERS[type(packet)](packet, version)


def _frame(packet_type: PacketType, body: bytes) -> bytes:
    if len(body) > MAXIMUM_VARIABLE_BYTE_INTEGER:
        raise _too_large(len(body))
    first = packet_type << 4 | _RESERVED_FLAGS.get(packet_type, 0)
    return first.to_bytes(1) + encode_variable_byte_integer(len(body)) + body


def _properties(properties: Properties | None, packet: int, version: ProtocolVersion) -> bytes:
    return encode_properties(properties, packet) if version == V5 else b""


def _packet_id(packet_id: int) -> bytes:
    if not 1 <= packet_id <= MAXIMUM_PACKET_ID:  # [MQTT-2.2.1-3]
        raise UsageError(f"a packet identifier is from 1 to 65535, not {packet_id}")
    return packet_id.to_bytes(2)


def _reason_code(code: int, packet_type: PacketType) -> bytes:
    if code not in REASON_CODES[packet_type]:
        raise UsageError(f"0x{code:02X} is not a reason code of {packet_type.name}")
    return code.to_bytes(1)


def _encode_connect(packet: Connect, _version: ProtocolVersion) -> bytes:
    version = packet.version
    if not 0 <= packet.keep_alive <= MAXIMUM_TWO_BYTE_INTEGER:
        raise UsageError(f"keep_alive is from 0 to 65535 seconds, not {packet.keep_alive}")
    flags = 0x02 if packet.clean_start else 0
    payload = encode_string(packet.client_id, "client_id")
    will = packet.will
    if will is not None:
        flags |= 0x04 | check_qos(will.qos) << 3 | (0x20 if will.retain else 0)
        payload += _properties(will.properties, WILL, version)
        payload += encode_topic(will.topic) + encode_binary(will.payload, "the will's payload")
    if packet.username is not None:
        flags |= 0x80
        payload += encode_string(packet.username, "username")
    if packet.password is not None:
        if packet.username is None and version != V5:  # [MQTT-3.1.2-22]
            raise UsageError("MQTT 3.x knows no password without a username")
        flags |= 0x40
        payload += encode_binary(packet.password, "password")
    name = b"\0\6MQIsdp" if version == ProtocolVersion.MQTT_3_1 else b"\0\4MQTT"
    return _frame(
        PacketType.CONNECT,
        name
        + bytes((version, flags))
        + packet.keep_alive.to_bytes(2)
        + _properties(packet.properties, PacketType.CONNECT, version)
        + payload,
    )


def _encode_connack(packet: Connack, version: ProtocolVersion) -> bytes:
    if packet.session_present and packet.reason_code:  # [MQTT-3.2.2-6]
        raise UsageError("a refusal cannot have session_present")
    present = b"\1" if packet.session_present and version != ProtocolVersion.MQTT_3_1 else b"\0"
    if version == V5:
        code = _reason_code(packet.reason_code, PacketType.CONNACK)
    elif packet.reason_code in RETURN_CODES:
        code = RETURN_CODES.index(ReasonCode(packet.reason_code)).to_bytes(1)
    else:
        raise UsageError(f"MQTT 3.x has no return code for 0x{packet.reason_code:02X}")
    properties = _properties(packet.properties, PacketType.CONNACK, version)
    return _frame(PacketType.CONNACK, present + code + properties)


def _encode_publish(packet: Message, version: ProtocolVersion) -> bytes:
    alias = version == V5 and packet.properties and "topic_alias" in packet.properties
    topic = b"\0\0" if alias and not packet.topic else encode_topic(packet.topic)
    if packet.qos:
        _packet_id(packet.packet_id)
    elif packet.dup:  # [MQTT-3.3.1-2]
        raise UsageError("dup cannot be set with qos 0")
    header = encode_publish_header(
        topic,
        len(packet.payload),
        check_qos(packet.qos),
        packet.retain,
        packet.dup,
        packet.packet_id,
        _properties(packet.properties, PacketType.PUBLISH, version),
    )
    return header + packet.payload


def _encode_acknowledgement(packet: Acknowledgement, version: ProtocolVersion) -> bytes:
    body = _packet_id(packet.packet_id)
    if version == V5 and (packet.reason_code or packet.properties):
        body += _reason_code(packet.reason_code, packet.packet_type)
        if packet.properties:
            body += encode_properties(packet.properties, packet.packet_type)
    return _frame(packet.packet_type, body)


def _options_byte(
    topic_filter: str, options: SubscriptionOptions, version: ProtocolVersion
) -> bytes:
    qos = check_qos(options.qos)
    if version != V5:
        return qos.to_bytes(1)
    if options.no_local and is_shared(topic_filter):  # [MQTT-3.8.3-4]
        raise UsageError(f"{topic_filter!r}: no_local is not allowed on a shared subscription")
    if options.retain_handling not in (0, 1, 2):
        raise UsageError(f"retain_handling must be 0, 1 or 2, not {options.retain_handling!r}")
    return (
        qos
        | (4 if options.no_local else 0)
        | (8 if options.retain_as_published else 0)
        | options.retain_handling << 4
    ).to_bytes(1)


def _encode_subscribe(packet: Subscribe, version: ProtocolVersion) -> bytes:
    if not packet.subscriptions:  # [MQTT-3.8.3-2]
        raise UsageError("SUBSCRIBE needs at least one topic filter")
    identifiers = packet.properties.get("subscription_identifiers") if packet.properties else None
    if identifiers is not None and len(identifiers) > 1:
        raise UsageError("SUBSCRIBE has at most one subscription identifier")
    body = _packet_id(packet.packet_id)
    body += _properties(packet.properties, PacketType.SUBSCRIBE, version)
    body += b"".join(
        encode_filter(topic_filter) + _options_byte(topic_filter, options, version)
        for topic_filter, options in packet.subscriptions
    )
    return _frame(PacketType.SUBSCRIBE, body)


def _encode_suback(packet: Suback, version: ProtocolVersion) -> bytes:
    body = _packet_id(packet.packet_id)
    body += _properties(packet.properties, PacketType.SUBACK, version)
    if not packet.reason_codes:  # [MQTT-3.8.4-6]
        raise UsageError("SUBACK needs at least one reason code")
    for code in packet.reason_codes:
        encoded = _reason_code(code, PacketType.SUBACK)
        failed = code >= ReasonCode.UNSPECIFIED_ERROR
        body += b"\x80" if failed and version != V5 else encoded
    return _frame(PacketType.SUBACK, body)


def _encode_unsubscribe(packet: Unsubscribe, version: ProtocolVersion) -> bytes:
    if not packet.topic_filters:  # [MQTT-3.10.3-2]
        raise UsageError("UNSUBSCRIBE needs at least one topic filter")
    body = _packet_id(packet.packet_id)
    body += _properties(packet.properties, PacketType.UNSUBSCRIBE, version)
    body += b"".join(encode_filter(topic_filter) for topic_filter in packet.topic_filters)
    return _frame(PacketType.UNSUBSCRIBE, body)


def _encode_unsuback(packet: Unsuback, version: ProtocolVersion) -> bytes:
    body = _packet_id(packet.packet_id)
    if version == V5:
        if not packet.reason_codes:  # [MQTT-3.11.3-2]
            raise UsageError("UNSUBACK needs at least one reason code")
        body += encode_properties(packet.properties, PacketType.UNSUBACK)
        body += b"".join(_reason_code(code, PacketType.UNSUBACK) for code in packet.reason_codes)
    return _frame(PacketType.UNSUBACK, body)


def _encode_pingreq(_packet: Pingreq, _version: ProtocolVersion) -> bytes:
    return b"\xc0\x00"


def _encode_pingresp(_packet: Pingresp, _version: ProtocolVersion) -> bytes:
    return b"\xd0\x00"


def _encode_disconnect(packet: Disconnect, version: ProtocolVersion) -> bytes:
    return _frame(
        PacketType.DISCONNECT,
        _reason_and_properties(packet, PacketType.DISCONNECT) if version == V5 else b"",
    )


def _encode_auth(packet: Auth, version: ProtocolVersion) -> bytes:
    if version != V5:
        raise UsageError("AUTH needs MQTT 5.0")
    # Section 3.15.2.2.2: only a bare success may be without.
    if packet.reason_code and "authentication_method" not in (packet.properties or {}):
        raise UsageError("AUTH needs an authentication_method")
    return _frame(PacketType.AUTH, _reason_and_properties(packet, PacketType.AUTH))


def _reason_and_properties(packet: Disconnect | Auth, packet_type: PacketType) -> bytes:
    # Both may be left out if they say nothing (sections 3.14.2.1 and 3.15.2.1).
    if packet.properties:
        return _reason_code(packet.reason_code, packet_type) + encode_properties(
            packet.properties, packet_type
        )
    return _reason_code(packet.reason_code, packet_type) if packet.reason_code else b""


_ENCODERS: Final[dict[type, Callable[[Any, ProtocolVersion], bytes]]] = {
    Connect: _encode_connect,
    Connack: _encode_connack,
    Message: _encode_publish,
    Puback: _encode_acknowledgement,
    Pubrec: _encode_acknowledgement,
    Pubrel: _encode_acknowledgement,
    Pubcomp: _encode_acknowledgement,
    Subscribe: _encode_subscribe,
    Suback: _encode_suback,
    Unsubscribe: _encode_unsubscribe,
    Unsuback: _encode_unsuback,
    Pingreq: _encode_pingreq,
    Pingresp: _encode_pingresp,
    Disconnect: _encode_disconnect,
    Auth: _encode_auth,
}
