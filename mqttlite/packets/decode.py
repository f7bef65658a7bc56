"""Bytes to packets: one whole packet. ``PacketReader`` finds the packets in a stream.

What is no packet raises MalformedPacket, what breaks a rule ProtocolError; nothing else.
"""

from collections.abc import Callable
from typing import Final

from mqttlite.enums import PacketType, ProtocolVersion, ReasonCode
from mqttlite.errors import InvalidTopic, MalformedPacket, ProtocolError
from mqttlite.message import Message, Will
from mqttlite.packets.properties import WILL, decode_properties
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
from mqttlite.packets.wire import Cursor, decode_topic
from mqttlite.topics import encode_filter, is_shared

V5: Final = ProtocolVersion.MQTT_5_0
V31: Final = ProtocolVersion.MQTT_3_1


def decode(first: int, body: bytes, version: ProtocolVersion) -> Packet:
    """Read one packet from the first byte of its fixed header and all that follows the length."""
    packet_type = check_header(first, len(body), version)
    if packet_type is not PacketType.PUBLISH:
        return decode_body(packet_type, body, version)
    cursor = Cursor(body, 0, len(body))
    message = decode_publish_head(cursor, first, version)
    message.payload = body[cursor.position :]
    return message


def decode_body(packet_type: PacketType, body: bytes, version: ProtocolVersion) -> Packet:
    """Read a packet other than PUBLISH, whose header has been checked."""
    cursor = Cursor(body, 0, len(body))
    packet = _DECODERS[packet_type][1](cursor, version)
    cursor.expect_end()
    return packet


def check_header(first: int, length: int, version: ProtocolVersion) -> PacketType:
    """Return the packet type that the first byte of a fixed header names.

    Its flags are checked, and what can be said of the body without having it.
    """
    if not first >> 4:
        raise MalformedPacket("there is no packet type 0")
    packet_type = PacketType(first >> 4)
    flags = first & 15
    if packet_type is PacketType.PUBLISH:
        if flags & 6 == 6:  # [MQTT-3.3.1-4]
            raise MalformedPacket("PUBLISH with QoS 3")
        if flags & 14 == 8:  # [MQTT-3.3.1-2]
            raise MalformedPacket("PUBLISH with DUP and QoS 0")
        return packet_type
    expected = _DECODERS[packet_type][0]
    if version == V31 and expected == 2:
        flags &= ~8  # MQTT 3.1 allows DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE
    if flags != expected:  # [MQTT-2.1.3-1] and, for MQTT 3.1.1, [MQTT-2.2.2-2]
        raise MalformedPacket(f"{packet_type.name} has the wrong header flags {first & 15:04b}")
    if packet_type is PacketType.AUTH and version != V5:
        raise ProtocolError("AUTH needs MQTT 5.0")
    if length and packet_type in (PacketType.PINGREQ, PacketType.PINGRESP):
        raise MalformedPacket(f"{packet_type.name} has a body")
    return packet_type


def _packet_id(cursor: Cursor) -> int:
    packet_id = cursor.two_byte_integer("the packet identifier")
    if not packet_id:  # [MQTT-2.2.1-4]
        raise MalformedPacket("a packet identifier must not be 0")
    return packet_id


def _reason_code(cursor: Cursor, packet_type: PacketType) -> int:
    code = cursor.byte("the reason code")
    if code not in REASON_CODES[packet_type]:
        raise ProtocolError(f"0x{code:02X} is not a reason code of {packet_type.name}")
    return code


def _decode_connect(cursor: Cursor, _version: ProtocolVersion) -> Connect:
    name = cursor.binary("the protocol name")
    level = cursor.byte("the protocol level")
    if (name, level) not in ((b"MQTT", 4), (b"MQTT", 5), (b"MQIsdp", 3)):
        raise ProtocolError(
            "unknown protocol name or level", ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        )
    version = ProtocolVersion(level)
    flags = cursor.byte("the connect flags")
    will_flag, will_qos, will_retain = flags & 0x04, flags >> 3 & 3, flags & 0x20
    if flags & 0x01:  # [MQTT-3.1.2-3]
        raise MalformedPacket("the reserved connect flag is set")
    if will_qos == 3 or (not will_flag and (will_qos or will_retain)):  # [MQTT-3.1.2-11 to -15]
        raise MalformedPacket("the will flags contradict each other")
    if flags & 0x40 and not flags & 0x80 and version != V5:  # 3.1.1 [MQTT-3.1.2-22]
        raise MalformedPacket("a password without a user name")
    keep_alive = cursor.two_byte_integer("the keep alive")
    properties = decode_properties(cursor, PacketType.CONNECT) if version == V5 else None
    client_id = cursor.string("the client identifier")
    will = None
    if will_flag:
        will_properties = decode_properties(cursor, WILL) if version == V5 else None
        topic = decode_topic(cursor.binary("the will topic"), "the will topic")
        try:
            will = Will(topic, cursor.binary("the will payload"), qos=will_qos)
        except InvalidTopic as error:
            raise MalformedPacket(str(error)) from None
        will.retain = bool(will_retain)
        will.properties = will_properties or {}
    username = cursor.string("the user name") if flags & 0x80 else None
    password = cursor.binary("the password") if flags & 0x40 else None
    return Connect(
        client_id,
        bool(flags & 0x02),
        keep_alive,
        username,
        password,
        will,
        properties,
        version,
    )


def _decode_connack(cursor: Cursor, version: ProtocolVersion) -> Connack:
    flags = cursor.byte("the acknowledge flags")
    # In MQTT 3.1 this byte is reserved and says nothing.
    if flags > 1 and version != V31:  # [MQTT-3.2.2-1]
        raise MalformedPacket("the reserved acknowledge flags are set")
    session_present = bool(flags) and version != V31
    # A server of MQTT 3.x refuses the version 5.0 with a CONNACK of its own, two bytes long.
    if version != V5 or cursor.remaining == 1:
        code = cursor.byte("the return code")
        if code >= len(RETURN_CODES) or (version == V5 and not code):
            raise ProtocolError(f"{code} is not a return code of CONNACK")
        return _check_connack(Connack(session_present, RETURN_CODES[code]))
    reason_code = _reason_code(cursor, PacketType.CONNACK)
    properties = decode_properties(cursor, PacketType.CONNACK)
    return _check_connack(Connack(session_present, reason_code, properties))


def _check_connack(packet: Connack) -> Connack:
    if packet.session_present and packet.reason_code:  # [MQTT-3.2.2-6], 3.1.1 [MQTT-3.2.2-4]
        raise ProtocolError("a refusal cannot have a session present")
    return packet


def find_payload(data: bytes, position: int, first: int, version: ProtocolVersion) -> int:
    """Say where the payload of a PUBLISH begins whose topic name is at ``position``.

    0: not enough of the packet is there to tell. What is wrong with it is not noticed here.
    """
    position += 2
    if len(data) < position:
        return 0
    position += (data[position - 2] << 8 | data[position - 1]) + (2 if first & 6 else 0)
    if version != V5:
        return position
    length = shift = 0
    while shift <= 21:
        if len(data) <= position:
            return 0
        byte = data[position]
        position += 1
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return position + length


def decode_publish_head(cursor: Cursor, first: int, version: ProtocolVersion) -> Message:
    """Read a PUBLISH up to its payload, which begins where the cursor is then."""
    qos = first >> 1 & 3
    topic = decode_topic(cursor.binary("the topic name"))
    packet_id = _packet_id(cursor) if qos else 0
    properties = decode_properties(cursor, PacketType.PUBLISH) if version == V5 else None
    if not topic and (properties is None or "topic_alias" not in properties):  # [MQTT-4.7.3-1]
        raise ProtocolError("PUBLISH with neither a topic nor a topic alias")
    return Message(topic, b"", qos, first & 1 != 0, first & 8 != 0, packet_id, properties)


def _acknowledgement_decoder(
    packet_class: type[Puback] | type[Pubrec] | type[Pubrel] | type[Pubcomp],
) -> Callable[[Cursor, ProtocolVersion], Packet]:
    packet_type = packet_class.packet_type

    def decode_acknowledgement(cursor: Cursor, version: ProtocolVersion) -> Packet:
        packet: Acknowledgement = packet_class(_packet_id(cursor))
        if version == V5 and cursor.remaining:
            packet.reason_code = _reason_code(cursor, packet_type)
            if cursor.remaining:
                packet.properties = decode_properties(cursor, packet_type)
        return packet  # type: ignore[return-value]  # one of the four, by its construction

    return decode_acknowledgement


def _decode_subscribe(cursor: Cursor, version: ProtocolVersion) -> Subscribe:
    packet_id = _packet_id(cursor)
    properties = decode_properties(cursor, PacketType.SUBSCRIBE) if version == V5 else None
    if properties and len(properties.get("subscription_identifiers", ())) > 1:
        raise ProtocolError("the property subscription_identifiers comes twice")
    subscriptions = []
    while cursor.remaining:
        topic_filter = _topic_filter(cursor)
        byte = cursor.byte("the subscription options")
        if byte & (0xC0 if version == V5 else 0xFC):  # [MQTT-3.8.3-5]
            raise MalformedPacket("the reserved bits of the subscription options are set")
        if byte & 3 == 3 and version != V5:  # 3.1.1 [MQTT-3-8.3-4]
            raise MalformedPacket("a subscription with QoS 3")
        if byte & 3 == 3 or byte >> 4 & 3 == 3:  # section 3.8.3.1
            raise ProtocolError("a subscription with QoS 3 or Retain Handling 3")
        options = SubscriptionOptions(byte & 3, byte & 4 != 0, byte & 8 != 0, byte >> 4 & 3)
        if options.no_local and is_shared(topic_filter):  # [MQTT-3.8.3-4]
            raise ProtocolError("No Local on a shared subscription")
        subscriptions.append((topic_filter, options))
    if not subscriptions:  # [MQTT-3.8.3-2]
        raise ProtocolError("SUBSCRIBE without a topic filter")
    return Subscribe(packet_id, subscriptions, properties)


def _topic_filter(cursor: Cursor) -> str:
    topic_filter = cursor.string("a topic filter")
    try:
        encode_filter(topic_filter)
    except InvalidTopic as error:
        raise MalformedPacket(str(error)) from None
    return topic_filter


def _reason_codes(cursor: Cursor, packet_type: PacketType) -> list[int]:
    codes = []
    while cursor.remaining:
        codes.append(_reason_code(cursor, packet_type))
    if not codes:
        raise MalformedPacket(f"{packet_type.name} without a reason code")
    return codes


def _decode_suback(cursor: Cursor, version: ProtocolVersion) -> Suback:
    packet_id = _packet_id(cursor)
    properties = decode_properties(cursor, PacketType.SUBACK) if version == V5 else None
    codes = _reason_codes(cursor, PacketType.SUBACK)
    if version != V5 and not all(code in (0, 1, 2, 0x80) for code in codes):
        raise ProtocolError("a return code of SUBACK is 0, 1, 2 or 128")  # 3.1.1 [MQTT-3.9.3-2]
    return Suback(packet_id, codes, properties)


def _decode_unsubscribe(cursor: Cursor, version: ProtocolVersion) -> Unsubscribe:
    packet_id = _packet_id(cursor)
    properties = decode_properties(cursor, PacketType.UNSUBSCRIBE) if version == V5 else None
    topic_filters = []
    while cursor.remaining:
        topic_filters.append(_topic_filter(cursor))
    if not topic_filters:  # [MQTT-3.10.3-2]
        raise ProtocolError("UNSUBSCRIBE without a topic filter")
    return Unsubscribe(packet_id, topic_filters, properties)


def _decode_unsuback(cursor: Cursor, version: ProtocolVersion) -> Unsuback:
    packet_id = _packet_id(cursor)
    if version != V5:
        return Unsuback(packet_id)
    properties = decode_properties(cursor, PacketType.UNSUBACK)
    return Unsuback(packet_id, _reason_codes(cursor, PacketType.UNSUBACK), properties)


def _decode_pingreq(_cursor: Cursor, _version: ProtocolVersion) -> Pingreq:
    return Pingreq()


def _decode_pingresp(_cursor: Cursor, _version: ProtocolVersion) -> Pingresp:
    return Pingresp()


def _decode_disconnect(cursor: Cursor, version: ProtocolVersion) -> Disconnect:
    packet = Disconnect()
    if version == V5 and cursor.remaining:
        packet.reason_code = _reason_code(cursor, PacketType.DISCONNECT)
        if cursor.remaining:
            packet.properties = decode_properties(cursor, PacketType.DISCONNECT)
    return packet


def _decode_auth(cursor: Cursor, _version: ProtocolVersion) -> Auth:
    if not cursor.remaining:
        return Auth()
    reason_code = _reason_code(cursor, PacketType.AUTH)
    properties = decode_properties(cursor, PacketType.AUTH)
    if not properties or "authentication_method" not in properties:  # section 3.15.2.2.2
        raise ProtocolError("AUTH without an authentication method")
    return Auth(reason_code, properties)


# The reserved flags that each packet must have, and its decoder.
_DECODERS: Final[dict[PacketType, tuple[int, Callable[[Cursor, ProtocolVersion], Packet]]]] = {
    PacketType.CONNECT: (0, _decode_connect),
    PacketType.CONNACK: (0, _decode_connack),
    PacketType.PUBACK: (0, _acknowledgement_decoder(Puback)),
    PacketType.PUBREC: (0, _acknowledgement_decoder(Pubrec)),
    PacketType.PUBREL: (2, _acknowledgement_decoder(Pubrel)),
    PacketType.PUBCOMP: (0, _acknowledgement_decoder(Pubcomp)),
    PacketType.SUBSCRIBE: (2, _decode_subscribe),
    PacketType.SUBACK: (0, _decode_suback),
    PacketType.UNSUBSCRIBE: (2, _decode_unsubscribe),
    PacketType.UNSUBACK: (0, _decode_unsuback),
    PacketType.PINGREQ: (0, _decode_pingreq),
    PacketType.PINGRESP: (0, _decode_pingresp),
    PacketType.DISCONNECT: (0, _decode_disconnect),
    PacketType.AUTH: (0, _decode_auth),
}
