"""What a peer must not send: each case is refused with its reason code, whatever the chunking.

Every packet is written by hand. Where the specification leaves the choice between Malformed
Packet (0x81) and Protocol Error (0x82), the case says what mqttlite calls it.
"""

from typing import Final, NamedTuple

import pytest

from mqttlite.enums import ClosedBy, ProtocolVersion
from mqttlite.errors import MalformedPacket, ProtocolError
from mqttlite.message import Message
from mqttlite.packets import Packet, PacketReader, Puback, decode
from tests.unit.packets.test_golden import ALL, V3, V5, V31, V311, wire

MALFORMED: Final = 0x81
PROTOCOL: Final = 0x82

NOT_5: Final = V3


class Fault(NamedTuple):
    name: str
    versions: tuple[ProtocolVersion, ...]
    data: bytes
    reason_code: int
    message: str


def prop(*section: str | bytes, topic: str | bytes = "0001 74") -> bytes:
    """A PUBLISH of MQTT 5.0 with these bytes as its properties."""
    data = wire(*section)
    body = wire(topic) + bytes((len(data),)) + data
    return bytes((0x30, len(body))) + body


def connack(*section: str | bytes) -> bytes:
    """A CONNACK of MQTT 5.0 with these bytes as its properties."""
    data = wire(*section)
    return bytes((0x20, len(data) + 3, 0, 0, len(data))) + data


def connect(*section: str | bytes, flags: str = "02", payload: str | bytes = "00 00") -> bytes:
    """A CONNECT of MQTT 5.0 with these bytes as its properties."""
    data = wire(*section)
    body = wire("0004", b"MQTT", "05", flags, "0000") + bytes((len(data),)) + data + wire(payload)
    return bytes((0x10, len(body))) + body


def connect_3(*body: str | bytes) -> bytes:
    data = wire(*body)
    return bytes((0x10, len(data))) + data


FIXED_HEADER: Final = [
    Fault("type-0", ALL, wire("00 00"), MALFORMED, "there is no packet type 0"),
    Fault("type-0-flags", ALL, wire("0F 00"), MALFORMED, "there is no packet type 0"),
    Fault("qos-3", ALL, wire("36 05 0001 74 0001"), MALFORMED, "PUBLISH with QoS 3"),
    Fault("qos-3-dup-retain", ALL, wire("3F 05 0001 74 0001"), MALFORMED, "QoS 3"),
    # [MQTT-3.3.1-2]
    Fault("dup-qos-0", ALL, wire("38 04 0001 74 00"), MALFORMED, "DUP and QoS 0"),
    Fault("dup-retain-qos-0", ALL, wire("39 04 0001 74 00"), MALFORMED, "DUP and QoS 0"),
    *(
        Fault(
            f"length-of-five-bytes-{first:02X}",
            ALL,
            bytes((first,)) + wire("FF FF FF FF 00"),
            MALFORMED,
            "the remaining length has more than four bytes",
        )
        for first in (0x20, 0x30, 0x32, 0x40, 0xD0)
    ),
    # [MQTT-1.5.5-1]
    Fault("long-length", (V5,), wire("D0 80 00"), MALFORMED, "the remaining length is written"),
    Fault("long-length-4", (V5,), wire("40 82 80 80 00 0001"), MALFORMED, "with more bytes than"),
    Fault("long-length-publish", (V5,), wire("30 84 00 0001 74 00"), MALFORMED, "more bytes than"),
]

# MQTT 5.0 table 2-2: the flags of every packet but PUBLISH.
FLAGS: Final = {
    "CONNECT": (1, 0),
    "CONNACK": (2, 0),
    "PUBACK": (4, 0),
    "PUBREC": (5, 0),
    "PUBREL": (6, 2),
    "PUBCOMP": (7, 0),
    "SUBSCRIBE": (8, 2),
    "SUBACK": (9, 0),
    "UNSUBSCRIBE": (10, 2),
    "UNSUBACK": (11, 0),
    "PINGREQ": (12, 0),
    "PINGRESP": (13, 0),
    "DISCONNECT": (14, 0),
    "AUTH": (15, 0),
}

UTF8: Final = [
    # [MQTT-1.5.4-1] [MQTT-1.5.3-1] in the topic of a PUBLISH
    *(
        Fault(
            f"topic-{name}",
            versions,
            bytes((0x30, 2 + len(text) + (versions == (V5,)), 0, len(text)))
            + text
            + bytes(versions == (V5,)),
            MALFORMED,
            message,
        )
        for versions in (NOT_5, (V5,))
        for name, text, message in (
            ("surrogate-low", b"a\xed\xa0\x80", "the topic name is not UTF-8 at byte 1"),
            ("surrogate-high", b"\xed\xbf\xbf", "the topic name is not UTF-8 at byte 0"),
            ("overlong", b"\xc0\xaf", "the topic name is not UTF-8 at byte 0"),
            ("overlong-null", b"ab\xc0\x80", "the topic name is not UTF-8 at byte 2"),
            ("cut-off", b"abc\xe2\x82", "the topic name is not UTF-8 at byte 3"),
            ("lone-continuation", b"\x80", "the topic name is not UTF-8 at byte 0"),
            ("above-unicode", b"\xf4\x90\x80\x80", "the topic name is not UTF-8 at byte 0"),
            ("latin-1", b"\xff", "the topic name is not UTF-8 at byte 0"),
            ("null", b"a\x00b", r"the topic name contains U\+0000"),
            ("only-null", b"\x00", r"the topic name contains U\+0000"),
            # [MQTT-3.3.2-2] [MQTT-4.7.1-1]
            ("plus", b"a/+", r"the topic name 'a/\+' contains a wildcard"),
            ("hash", b"#", "the topic name '#' contains a wildcard"),
            ("hash-inside", b"a#b", "the topic name 'a#b' contains a wildcard"),
        )
    ),
    Fault(
        "long-topic-slow-path",
        (V5,),
        wire("30 83 01", "0080", b"t" * 127, b"\xff", "00"),
        MALFORMED,
        "the topic name is not UTF-8 at byte 127",
    ),
    Fault(
        "content-type",
        (V5,),
        prop("03 0002 C3 28"),
        MALFORMED,
        "content_type is not UTF-8 at byte 0",
    ),
    Fault("content-type-null", (V5,), prop("03 0001 00"), MALFORMED, r"content_type contains U\+"),
    # [MQTT-1.5.7-1]
    Fault("pair-name", (V5,), prop("26 0001 FF 0001 61"), MALFORMED, "user_properties is not UTF"),
    Fault("pair-value", (V5,), prop("26 0001 61 0001 FF"), MALFORMED, "user_properties is not UTF"),
    Fault("pair-null", (V5,), prop("26 0001 61 0001 00"), MALFORMED, r"user_properties contains U"),
    Fault("response-topic", (V5,), prop("08 0001 FF"), MALFORMED, "response_topic is not UTF-8"),
    # [MQTT-3.3.2-14]
    Fault("response-topic-plus", (V5,), prop("08 0001", b"+"), MALFORMED, "response_topic '\\+'"),
    Fault("response-topic-hash", (V5,), prop("08 0003", b"a/#"), MALFORMED, "contains a wildcard"),
    Fault("reason-string", (V5,), connack("1F 0001 FF"), MALFORMED, "reason_string is not UTF-8"),
    Fault(
        "client-id",
        ALL,
        connect_3("0004", b"MQTT", "04 02 0000", "0001 FF"),
        MALFORMED,
        "the client identifier is not UTF-8",
    ),
    Fault(
        "client-id-null",
        ALL,
        connect_3("0004", b"MQTT", "04 02 0000", "0001 00"),
        MALFORMED,
        r"the client identifier contains U\+0000",
    ),
    Fault(
        "user-name",
        ALL,
        connect_3("0004", b"MQTT", "04 82 0000", "0000", "0001 FE"),
        MALFORMED,
        "the user name is not UTF-8",
    ),
    Fault(
        "will-topic",
        ALL,
        connect_3("0004", b"MQTT", "04 06 0000", "0000", "0001 FE", "0000"),
        MALFORMED,
        "the will topic is not UTF-8",
    ),
    Fault(
        "will-topic-wildcard",
        ALL,
        connect_3("0004", b"MQTT", "04 06 0000", "0000", "0001", b"#", "0000"),
        MALFORMED,
        "the will topic '#' contains a wildcard",
    ),
    Fault(  # [MQTT-4.7.3-1]
        "will-topic-empty",
        ALL,
        connect_3("0004", b"MQTT", "04 06 0000", "0000", "0000", "0000"),
        MALFORMED,
        "a topic must have at least one character",
    ),
    Fault(
        "filter",
        NOT_5,
        wire("82 06 0001 0001 FF 00"),
        MALFORMED,
        "a topic filter is not UTF-8",
    ),
]

PROPERTY_LENGTH: Final = [
    Fault("no-property-length", (V5,), wire("30 03 0001 74"), MALFORMED, "the property length"),
    Fault(
        "property-length-cut-off",
        (V5,),
        wire("30 04 0001 74 80"),
        MALFORMED,
        "the packet ends inside of the property length",
    ),
    Fault(
        "property-length-of-five-bytes",
        (V5,),
        wire("30 08 0001 74 80 80 80 80 01"),
        MALFORMED,
        "the property length has more than four bytes",
    ),
    Fault(  # [MQTT-1.5.5-1]
        "property-length-too-long-written",
        (V5,),
        wire("30 05 0001 74 80 00"),
        MALFORMED,
        "the property length is written with more bytes than it needs",
    ),
    Fault(
        "properties-longer-than-packet",
        (V5,),
        wire("30 05 0001 74 02 01"),
        MALFORMED,
        "the properties are longer than the packet",
    ),
    Fault(
        "property-longer-than-section",
        (V5,),
        # The payload would make the four byte integer complete.
        wire("30 09 0001 74 04 02 000000", "00"),
        MALFORMED,
        "the packet ends inside of message_expiry_interval",
    ),
    Fault("byte-cut-off", (V5,), prop("01"), MALFORMED, "inside of payload_format_indicator"),
    Fault("two-bytes-cut-off", (V5,), prop("23 00"), MALFORMED, "inside of topic_alias"),
    Fault("string-cut-off", (V5,), prop("03 0002 61"), MALFORMED, "inside of content_type"),
    Fault("string-length-cut-off", (V5,), prop("03 00"), MALFORMED, "inside of content_type"),
    Fault("binary-cut-off", (V5,), prop("09 FFFF 00"), MALFORMED, "inside of correlation_data"),
    Fault("pair-cut-off", (V5,), prop("26 0001 61"), MALFORMED, "inside of user_properties"),
    Fault("variable-cut-off", (V5,), prop("0B 80"), MALFORMED, "inside of subscription_identif"),
    Fault("identifier-cut-off", (V5,), prop("80"), MALFORMED, "inside of a property identifier"),
    Fault("unknown-identifier", (V5,), prop("00 00"), MALFORMED, "there is no property 0x00"),
    Fault("long-unknown", (V5,), prop("80 01 00"), MALFORMED, "there is no property 0x80"),
    Fault(
        "long-identifier", (V5,), prop("81 00 01"), MALFORMED, "a property identifier is written"
    ),
    Fault(
        "subscription-identifier-of-five-bytes",
        (V5,),
        prop("0B 80 80 80 80 01"),
        MALFORMED,
        "subscription_identifiers has more than four bytes",
    ),
    Fault(
        "long-variable", (V5,), prop("0B 81 00"), MALFORMED, "subscription_identifiers is writte"
    ),
]

PROPERTY_VALUES: Final = [
    *(
        Fault(
            f"{name}-{value}",
            (V5,),
            data,
            PROTOCOL,
            f"{name} must be from 0 to 1, not {value}",
        )
        for value in (2, 255)
        for name, data in (
            ("payload_format_indicator", prop(f"01 {value:02X}")),
            ("request_problem_information", connect(f"17 {value:02X}")),
            ("request_response_information", connect(f"19 {value:02X}")),
            ("maximum_qos", connack(f"24 {value:02X}")),
            ("retain_available", connack(f"25 {value:02X}")),
            ("wildcard_subscription_available", connack(f"28 {value:02X}")),
            ("subscription_identifier_available", connack(f"29 {value:02X}")),
            ("shared_subscription_available", connack(f"2A {value:02X}")),
        )
    ),
    Fault("receive-maximum-0", (V5,), connack("21 0000"), PROTOCOL, "receive_maximum must be from"),
    Fault("receive-maximum-0-connect", (V5,), connect("21 0000"), PROTOCOL, "receive_maximum must"),
    Fault("packet-size-0", (V5,), connack("27 00000000"), PROTOCOL, "maximum_packet_size must be"),
    Fault("packet-size-0-connect", (V5,), connect("27 00000000"), PROTOCOL, "maximum_packet_size"),
    # [MQTT-3.3.2-8], section 3.3.4: DISCONNECT with 0x94
    Fault("alias-0", (V5,), prop("23 0000"), 0x94, "a topic alias must not be 0"),
    Fault(
        "alias-0-only", (V5,), prop("23 0000", topic="0000"), 0x94, "a topic alias must not be 0"
    ),
    Fault(
        "identifier-0", (V5,), prop("0B 00"), PROTOCOL, "subscription_identifiers must be from 1"
    ),
    Fault(
        "identifier-0-subscribe",
        (V5,),
        wire("82 09 0001 02 0B 00 0001 61 00"),
        PROTOCOL,
        "subscription_identifiers must be from 1",
    ),
    # [MQTT-4.7.3-1]
    Fault("response-topic-empty", (V5,), prop("08 0000"), PROTOCOL, "response_topic is empty"),
]

# All properties that may come only once, in a packet that may bear them: the same value twice.
TWICE: Final = {
    "payload_format_indicator": prop("01 01 01 01"),
    "message_expiry_interval": prop("02 00000001", "02 00000001"),
    "content_type": prop("03 0000", "03 0000"),
    "response_topic": prop("08 0001 61", "08 0001 61"),
    "correlation_data": prop("09 0000", "09 0000"),
    "topic_alias": prop("23 0001 23 0001"),
    "session_expiry_interval": connect("11 00000000 11 00000000"),
    "request_problem_information": connect("17 01 17 01"),
    "request_response_information": connect("19 00 19 00"),
    "receive_maximum": connect("21 0001 21 0002"),
    "topic_alias_maximum": connect("22 0000 22 0000"),
    "maximum_packet_size": connect("27 00000001 27 00000001"),
    "authentication_method": connect("15 0000 15 0000"),
    "authentication_data": connect("15 0000 16 0000 16 0000"),
    "will_delay_interval": connect(
        flags="06",
        payload=wire("0000", "0A", "18 00000000", "18 00000000", "0001 61", "0000"),
    ),
    "assigned_client_identifier": connack("12 0000 12 0000"),
    "server_keep_alive": connack("13 0000 13 0000"),
    "response_information": connack("1A 0000 1A 0000"),
    "server_reference": connack("1C 0000 1C 0000"),
    "reason_string": connack("1F 0000 1F 0000"),
    "maximum_qos": connack("24 01 24 01"),
    "retain_available": connack("25 01 25 01"),
    "wildcard_subscription_available": connack("28 01 28 01"),
    "subscription_identifier_available": connack("29 01 29 01"),
    "shared_subscription_available": connack("2A 01 2A 01"),
}

REASON_STRING_TWICE: Final = {
    "PUBACK": wire("40 0A 0001 00 06 1F 0000 1F 0000"),
    "PUBREC": wire("50 0A 0001 00 06 1F 0000 1F 0000"),
    "PUBREL": wire("62 0A 0001 00 06 1F 0000 1F 0000"),
    "PUBCOMP": wire("70 0A 0001 00 06 1F 0000 1F 0000"),
    "SUBACK": wire("90 0A 0001 06 1F 0000 1F 0000 00"),
    "UNSUBACK": wire("B0 0A 0001 06 1F 0000 1F 0000 00"),
    "DISCONNECT": wire("E0 08 00 06 1F 0000 1F 0000"),
    "AUTH": wire("F0 0B 00 09 15 0000 1F 0000 1F 0000"),
}

DUPLICATES: Final = [
    *(
        Fault(f"{name}-twice", (V5,), data, PROTOCOL, f"the property {name} comes twice")
        for name, data in TWICE.items()
    ),
    *(
        Fault(
            f"reason-string-twice-{name}",
            (V5,),
            data,
            PROTOCOL,
            "the property reason_string comes twice",
        )
        for name, data in REASON_STRING_TWICE.items()
    ),
    Fault(  # section 3.8.2.1.2; in PUBLISH it may be repeated
        "subscription-identifier-twice",
        (V5,),
        wire("82 0B 0001 04 0B 01 0B 02 0001 61 00"),
        PROTOCOL,
        "the property subscription_identifiers comes twice",
    ),
]

CONNECTS: Final = [
    Fault("name", ALL, connect_3("0004", b"mqtt", "04 02 0000 0000"), 0x84, "unknown protocol"),
    Fault("level-6", ALL, connect_3("0004", b"MQTT", "06 02 0000 00 0000"), 0x84, "name or level"),
    Fault(
        "level-3-MQTT", ALL, connect_3("0004", b"MQTT", "03 02 0000 0000"), 0x84, "name or level"
    ),
    Fault("level-4-old", ALL, connect_3("0006", b"MQIsdp", "04 02 0000 0000"), 0x84, "or level"),
    # [MQTT-3.1.2-3]
    Fault(
        "reserved", ALL, connect_3("0004", b"MQTT", "04 03 0000 0000"), MALFORMED, "reserved con"
    ),
    Fault("reserved-5", (V5,), connect(flags="01"), MALFORMED, "the reserved connect flag is set"),
    Fault(  # [MQTT-3.1.2-12]
        "will-qos-3",
        (V5,),
        connect(flags="1C", payload="0000 00 0001 61 0000"),
        MALFORMED,
        "the will flags contradict each other",
    ),
    Fault("will-qos-alone", (V5,), connect(flags="0A"), MALFORMED, "the will flags contradict"),
    Fault("will-qos-2-alone", (V5,), connect(flags="12"), MALFORMED, "the will flags contradict"),
    Fault("will-retain-alone", (V5,), connect(flags="22"), MALFORMED, "the will flags contradict"),
    Fault(  # 3.1.1 [MQTT-3.1.2-22]
        "password-alone",
        ALL,
        connect_3("0004", b"MQTT", "04 42 0000 0000 0000"),
        MALFORMED,
        "a password without a user name",
    ),
    Fault(
        "password-alone-3.1",
        ALL,
        connect_3("0006", b"MQIsdp", "03 42 0000 0001 61 0000"),
        MALFORMED,
        "a password without a user name",
    ),
    Fault("no-name", ALL, wire("10 00"), MALFORMED, "the packet ends inside of the protocol name"),
    Fault("no-level", ALL, connect_3("0004", b"MQTT"), MALFORMED, "inside of the protocol level"),
    Fault("no-flags", ALL, connect_3("0004", b"MQTT", "04"), MALFORMED, "of the connect flags"),
    Fault(
        "no-keep-alive", ALL, connect_3("0004", b"MQTT", "04 02 00"), MALFORMED, "the keep alive"
    ),
    Fault("no-id", ALL, connect_3("0004", b"MQTT", "04 02 0000"), MALFORMED, "the client identifi"),
    Fault(
        "no-will-topic",
        ALL,
        connect_3("0004", b"MQTT", "04 06 0000 0000"),
        MALFORMED,
        "inside of the will topic",
    ),
    Fault(
        "no-will-payload",
        ALL,
        connect_3("0004", b"MQTT", "04 06 0000 0000 0001 61"),
        MALFORMED,
        "inside of the will payload",
    ),
    Fault(  # [MQTT-3.1.2-19]
        "no-user-name",
        ALL,
        connect_3("0004", b"MQTT", "04 82 0000 0000"),
        MALFORMED,
        "inside of the user name",
    ),
    Fault(  # [MQTT-3.1.2-21]
        "no-password",
        ALL,
        connect_3("0004", b"MQTT", "04 C2 0000 0000 0000"),
        MALFORMED,
        "inside of the password",
    ),
    Fault(
        "trailing",
        ALL,
        connect_3("0004", b"MQTT", "04 02 0000 0000 00"),
        MALFORMED,
        "1 bytes follow the end of the packet",
    ),
    Fault(  # section 3.1.2.11.10
        "data-without-method",
        (V5,),
        connect("16 0000"),
        PROTOCOL,
        "authentication data without an authentication method",
    ),
]

CONNACKS: Final = [
    # [MQTT-3.2.2-1]
    Fault("connack-flags", (V311,), wire("20 02 02 00"), MALFORMED, "reserved acknowledge flags"),
    Fault(
        "connack-flags-5", (V5,), wire("20 03 80 00 00"), MALFORMED, "reserved acknowledge flags"
    ),
    # 3.1.1 [MQTT-3.2.2-4]
    Fault(
        "connack-session-refused", (V311,), wire("20 02 01 05"), PROTOCOL, "a refusal cannot have"
    ),
    # [MQTT-3.2.2-6]
    Fault("connack-session-refused-5", (V5,), wire("20 03 01 87 00"), PROTOCOL, "a refusal cannot"),
    Fault("connack-3-session-refused-5", (V5,), wire("20 02 01 01"), PROTOCOL, "a refusal cannot"),
    Fault("connack-code-6", NOT_5, wire("20 02 00 06"), PROTOCOL, "6 is not a return code"),
    Fault("connack-3-success-5", (V5,), wire("20 02 00 00"), PROTOCOL, "0 is not a return code"),
    Fault("connack-3-code-5", (V5,), wire("20 02 00 87"), PROTOCOL, "135 is not a return code"),
    Fault("connack-empty", ALL, wire("20 00"), MALFORMED, "inside of the acknowledge flags"),
    Fault("connack-short", NOT_5, wire("20 01 00"), MALFORMED, "inside of the return code"),
    Fault("connack-short-5", (V5,), wire("20 01 00"), MALFORMED, "inside of the reason code"),
    Fault("connack-trailing", NOT_5, wire("20 03 00 00 00"), MALFORMED, "1 bytes follow the end"),
    Fault("connack-trailing-5", (V5,), wire("20 04 00 00 00 00"), MALFORMED, "1 bytes follow"),
    Fault(
        "connack-data-without-method",
        (V5,),
        connack("16 0001 61"),
        PROTOCOL,
        "authentication data without an authentication method",
    ),
]

PUBLISHES: Final = [
    Fault("publish-empty", ALL, wire("30 00"), MALFORMED, "inside of the topic name"),
    Fault("publish-one-byte", ALL, wire("30 01 00"), MALFORMED, "inside of the topic name"),
    Fault("topic-longer", ALL, wire("30 04 0003 74 00"), MALFORMED, "inside of the topic name"),
    Fault("topic-much-longer", ALL, wire("30 04 FFFF 74 00"), MALFORMED, "of the topic name"),
    Fault("no-packet-id", ALL, wire("32 03 0001 74"), MALFORMED, "inside of the packet identifier"),
    Fault("half-packet-id", ALL, wire("34 04 0001 74 00"), MALFORMED, "of the packet identifier"),
    # [MQTT-2.2.1-4], 3.1.1 [MQTT-2.3.1-4]
    Fault("packet-id-0", NOT_5, wire("32 05 0001 74 0000"), MALFORMED, "identifier must not be 0"),
    Fault("packet-id-0-5", (V5,), wire("34 06 0001 74 0000 00"), MALFORMED, "must not be 0"),
    Fault("no-property-length-qos-1", (V5,), wire("32 05 0001 74 0001"), MALFORMED, "property len"),
    # [MQTT-4.7.3-1], section 3.3.2.1
    Fault("empty-topic", NOT_5, wire("30 03 0000 70"), PROTOCOL, "neither a topic nor a topic al"),
    Fault(
        "empty-topic-5", (V5,), prop(topic="0000"), PROTOCOL, "neither a topic nor a topic alias"
    ),
    Fault(
        "no-alias", (V5,), prop("01 01", topic="0000"), PROTOCOL, "neither a topic nor a topic al"
    ),
]

ACKNOWLEDGEMENTS: Final = [
    *(
        Fault(f"{fault}-{first}", versions, bytes.fromhex(first) + wire(rest), MALFORMED, message)
        for first in ("40", "50", "62", "70")
        for fault, versions, rest, message in (
            ("empty", ALL, "00", "inside of the packet identifier"),
            ("half", ALL, "01 00", "inside of the packet identifier"),
            ("packet-id-0", ALL, "02 0000", "a packet identifier must not be 0"),
            ("trailing", NOT_5, "03 0001 00", "1 bytes follow the end of the packet"),
            ("trailing-5", (V5,), "05 0001 00 00 00", "1 bytes follow the end of the packet"),
            ("properties-cut-off", (V5,), "04 0001 00 01", "longer than the packet"),
        )
    ),
]

SUBSCRIPTIONS: Final = [
    Fault("suback-empty", ALL, wire("90 00"), MALFORMED, "inside of the packet identifier"),
    Fault("suback-id-0", ALL, wire("90 04 0000 00 00"), MALFORMED, "identifier must not be 0"),
    Fault("suback-no-code", NOT_5, wire("90 02 0001"), MALFORMED, "SUBACK without a reason code"),
    Fault("suback-no-code-5", (V5,), wire("90 03 0001 00"), MALFORMED, "SUBACK without a reason"),
    Fault("suback-second-code", NOT_5, wire("90 04 0001 00 03"), PROTOCOL, "reason code of SUBACK"),
    # [MQTT-3.9.3-2] of 3.1.1: a code of MQTT 5.0 is not one of 3.1.1
    Fault("suback-code-of-5", NOT_5, wire("90 03 0001 87"), PROTOCOL, "is 0, 1, 2 or 128"),
    Fault("unsuback-empty", ALL, wire("B0 00"), MALFORMED, "inside of the packet identifier"),
    Fault("unsuback-id-0", ALL, wire("B0 02 0000"), MALFORMED, "identifier must not be 0"),
    Fault("unsuback-trailing", NOT_5, wire("B0 03 0001 00"), MALFORMED, "1 bytes follow the end"),
    Fault("unsuback-no-code", (V5,), wire("B0 03 0001 00"), MALFORMED, "UNSUBACK without a reason"),
    Fault("unsuback-no-properties", (V5,), wire("B0 02 0001"), MALFORMED, "the property length"),
    # [MQTT-3.8.3-2] [MQTT-3.8.3-3]
    Fault("subscribe-nothing", NOT_5, wire("82 02 0001"), PROTOCOL, "SUBSCRIBE without a topic"),
    Fault("subscribe-nothing-5", (V5,), wire("82 03 0001 00"), PROTOCOL, "without a topic filter"),
    Fault("subscribe-id-0", ALL, wire("82 06 0000 0001 61 00"), MALFORMED, "must not be 0"),
    Fault(
        "subscribe-no-options", NOT_5, wire("82 05 0001 0001 61"), MALFORMED, "subscription opti"
    ),
    # 3.1.1 [MQTT-3-8.3-4]
    *(
        Fault(
            f"subscribe-options-{options:02X}",
            NOT_5,
            wire("82 06 0001 0001 61") + bytes((options,)),
            MALFORMED,
            "subscription",
        )
        for options in (0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF)
    ),
    # [MQTT-3.8.3-5]
    *(
        Fault(
            f"subscribe-options-5-{options:02X}",
            (V5,),
            wire("82 07 0001 00 0001 61") + bytes((options,)),
            MALFORMED,
            "subscription",
        )
        for options in (0x40, 0x80, 0xC1)
    ),
    # Section 3.8.3.1: "It is a Protocol Error if the Maximum QoS field has the value 3" and "to
    # send a Retain Handling value of 3".
    Fault(
        "subscribe-qos-3-5",
        (V5,),
        wire("82 07 0001 00 0001 61 03"),
        PROTOCOL,
        "QoS 3 or Retain Handling 3",
    ),
    Fault(
        "subscribe-retain-handling-3",
        (V5,),
        wire("82 07 0001 00 0001 61 30"),
        PROTOCOL,
        "QoS 3 or Retain Handling 3",
    ),
    Fault(  # [MQTT-3.8.3-4]
        "subscribe-no-local-shared",
        (V5,),
        wire("82 10 0001 00 000A", b"$share/g/a", "04"),
        PROTOCOL,
        "No Local on a shared subscription",
    ),
    Fault("subscribe-empty-filter", NOT_5, wire("82 05 0001 0000 00"), MALFORMED, "at least one"),
    # [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    Fault(
        "subscribe-hash", NOT_5, wire("82 08 0001 0003", b"#/a", "00"), MALFORMED, "the last lev"
    ),
    Fault(
        "subscribe-plus", NOT_5, wire("82 07 0001 0002", b"a+", "00"), MALFORMED, "a whole level"
    ),
    Fault(  # [MQTT-4.8.2-2]
        "subscribe-share",
        (V5,),
        wire("82 0E 0001 00 0008", b"$share/g", "00"),
        MALFORMED,
        "a shared subscription needs a filter",
    ),
    # [MQTT-3.10.3-2]
    Fault(
        "unsubscribe-nothing", NOT_5, wire("A2 02 0001"), PROTOCOL, "UNSUBSCRIBE without a topic"
    ),
    Fault(
        "unsubscribe-nothing-5", (V5,), wire("A2 03 0001 00"), PROTOCOL, "without a topic filter"
    ),
    Fault("unsubscribe-id-0", ALL, wire("A2 05 0000 0001 61"), MALFORMED, "must not be 0"),
    Fault("unsubscribe-hash", NOT_5, wire("A2 06 0001 0002", b"a#"), MALFORMED, "a whole level"),
    Fault("unsubscribe-cut", NOT_5, wire("A2 04 0001 0001"), MALFORMED, "inside of a topic filter"),
]

OTHERS: Final = [
    Fault("pingreq-body", ALL, wire("C0 01 00"), MALFORMED, "PINGREQ has a body"),
    Fault("pingresp-body", ALL, wire("D0 02 00 00"), MALFORMED, "PINGRESP has a body"),
    Fault("disconnect-body", NOT_5, wire("E0 01 00"), MALFORMED, "1 bytes follow the end of the p"),
    Fault(
        "disconnect-trailing", (V5,), wire("E0 03 00 00 00"), MALFORMED, "1 bytes follow the end"
    ),
    Fault("auth-3", NOT_5, wire("F0 00"), PROTOCOL, r"AUTH needs MQTT 5\.0"),
    # Section 3.15.2.1: only with 0x00 may the property length be left out.
    Fault(
        "auth-no-properties", (V5,), wire("F0 01 18"), MALFORMED, "inside of the property length"
    ),
    # Section 3.15.2.2.2
    Fault("auth-no-method", (V5,), wire("F0 02 18 00"), PROTOCOL, "authentication method"),
    Fault("auth-data-only", (V5,), wire("F0 05 18 03 16 0000"), PROTOCOL, "authentication method"),
    Fault("auth-trailing", (V5,), wire("F0 06 18 03 15 0000 00"), MALFORMED, "1 bytes follow"),
]

FAULTS: Final = [
    *FIXED_HEADER,
    *UTF8,
    *PROPERTY_LENGTH,
    *PROPERTY_VALUES,
    *DUPLICATES,
    *CONNECTS,
    *CONNACKS,
    *PUBLISHES,
    *ACKNOWLEDGEMENTS,
    *SUBSCRIPTIONS,
    *OTHERS,
]

PARAMETERS: Final = [
    pytest.param(version, fault, id=f"{fault.name}@{version.name[5:]}")
    for fault in FAULTS
    for version in fault.versions
]

BEFORE: Final[list[Packet]] = [Puback(7), Message("x", b"yes", 1, packet_id=8), Puback(9)]
AFTER: Final = wire("40 02 000A", "D0 00", "40 02 000B")


def _before(version: ProtocolVersion) -> bytes:
    return wire("40 02 0007", "32 08" if version is not V5 else "32 09", "0001", b"x", "0008") + (
        wire("00" if version is V5 else "", b"yes", "40 02 0009")
    )


def _check(reader: PacketReader, fault: Fault) -> None:
    error = reader.error
    expected = MalformedPacket if fault.reason_code == MALFORMED else ProtocolError
    assert type(error) is expected
    assert error.reason_code == fault.reason_code
    assert error.by is ClosedBy.CLIENT
    with pytest.raises(expected, match=fault.message):
        raise error


@pytest.mark.parametrize(("version", "fault"), PARAMETERS)
def test_in_one_piece(version: ProtocolVersion, fault: Fault) -> None:
    reader = PacketReader(version)
    assert reader.feed(_before(version) + fault.data + AFTER) == BEFORE
    _check(reader, fault)
    first = reader.error
    assert reader.feed(AFTER) == []
    assert reader.error is first
    assert not reader.is_inside_packet


@pytest.mark.parametrize(("version", "fault"), PARAMETERS)
def test_byte_by_byte(version: ProtocolVersion, fault: Fault) -> None:
    reader = PacketReader(version)
    packets = []
    for byte in _before(version) + fault.data:
        packets += reader.feed(bytes((byte,)))
    assert packets == BEFORE
    _check(reader, fault)  # without a byte of what follows
    assert reader.feed(AFTER) == []


@pytest.mark.parametrize("name", FLAGS)
def test_wrong_flags(name: str) -> None:
    number, right = FLAGS[name]
    for version in ALL:
        allowed = {right, right | 8} if version is V31 and right else {right}
        for flags in set(range(16)) - allowed:
            reader = PacketReader(version)
            # Seen in the header: there is no need to wait for the body.
            assert reader.feed(bytes((number << 4 | flags, 4))) == []
            assert type(reader.error) is MalformedPacket
            assert str(reader.error) == f"{name} has the wrong header flags {flags:04b}"
            with pytest.raises(MalformedPacket):
                decode(number << 4 | flags, bytes(4), version)


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    "first",
    [*range(0x10), 0x36, 0x37, 0x38, 0x39, 0x3E, 0x3F, 0x41, 0x52, 0x60, 0x80, 0xF1],
)
def test_a_wrong_header_is_refused_before_its_body(first: int, version: ProtocolVersion) -> None:
    reader = PacketReader(version)
    assert reader.feed(bytes((first,)) + wire("FF FF FF 7F")) == []
    assert type(reader.error) is MalformedPacket
    assert not reader.is_inside_packet


@pytest.mark.parametrize(
    "data",
    [
        wire("20 02 00 00"),
        wire("30 04 0001 74 00"),
        wire("C0 00"),
        wire("82 06 0001 0001 61 00"),
        wire("F0 00"),
    ],
)
def test_a_server_wants_connect_first(data: bytes) -> None:  # [MQTT-3.1.0-1]
    reader = PacketReader(None)
    assert reader.feed(data) == []
    assert type(reader.error) is ProtocolError
    assert reader.error.reason_code == PROTOCOL
    assert str(reader.error) == "the first packet must be CONNECT"
    assert reader.version is None


def test_a_wrong_value_does_not_show_what_it_was() -> None:
    # Passwords and payloads never appear in exceptions (rule 8).
    data = connect_3("0004", b"MQTT", "04 C2 0000 0000", "0007", b"s3cr\x00et", "0002", b"pw")
    reader = PacketReader(None)
    assert reader.feed(data) == []
    assert "s3cr" not in repr(reader.error)
    assert reader.error is not None
    assert reader.error.__cause__ is None
