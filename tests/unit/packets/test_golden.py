"""Packets as the specifications draw them: bytes written by hand, never by the encoder.

``GOLDEN`` is checked in both directions. ``DECODED_ONLY`` are other ways to write a packet that a
receiver has to understand; ``ENCODED_ONLY`` are packets with more than their version can say.
The tables at the end are transcribed from MQTT 5.0, not imported from the package.
"""

from typing import Final, NamedTuple

import pytest

from mqttlite.enums import PacketType, ProtocolVersion, ReasonCode
from mqttlite.errors import ProtocolError, UsageError
from mqttlite.message import Message, Properties, Will
from mqttlite.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    PacketReader,
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
    decode,
    encode,
)

V31: Final = ProtocolVersion.MQTT_3_1
V311: Final = ProtocolVersion.MQTT_3_1_1
V5: Final = ProtocolVersion.MQTT_5_0
ALL: Final = (V31, V311, V5)
V3: Final = (V31, V311)


def wire(*parts: str | bytes) -> bytes:
    """Join the parts of a packet: hexadecimal digits as str, text and data as bytes."""
    return b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts)


class Case(NamedTuple):
    name: str
    versions: tuple[ProtocolVersion, ...]
    packet: Packet
    data: bytes


# Every property of PUBLISH that a publisher may choose, and of a will.
PUBLICATION_PROPERTIES: Final[Properties] = {
    "payload_format_indicator": 1,
    "message_expiry_interval": 86_400,
    "content_type": "text",
    "response_topic": "r/t",
    "correlation_data": b"\x00\xff",
    "user_properties": [("a", "1"), ("a", "2")],
}
PUBLICATION_PROPERTY_BYTES: Final = wire(  # 39 bytes
    "01 01",  # payload format indicator: 2 bytes
    "02 00 01 51 80",  # message expiry interval, 86400 seconds: 5
    *("03 00 04", b"text"),  # content type: 7
    *("08 00 03", b"r/t"),  # response topic: 6
    "09 00 02 00 FF",  # correlation data: 5
    *("26 00 01", b"a", "00 01", b"1"),  # user property: 7
    *("26 00 01", b"a", "00 01", b"2"),  # the same name again: 7
)

CONNECTS: Final = [
    Case(
        "connect-minimal-3.1",
        (V31,),
        Connect("c", keep_alive=60, version=V31),
        wire(
            "10 0F",
            *("00 06", b"MQIsdp", "03"),
            "02",  # clean session
            "00 3C",  # keep alive
            *("00 01", b"c"),
        ),
    ),
    Case(
        "connect-full-3.1",
        (V31,),
        Connect(
            "c1",
            clean_start=False,
            keep_alive=65_535,
            username="u",
            password=b"pw",
            will=Will("w/t", b"bye", qos=2, retain=True),
            version=V31,
        ),
        wire(
            "10 21",
            *("00 06", b"MQIsdp", "03"),
            "F4",  # user name, password, will retain, will QoS 2, will
            "FF FF",
            *("00 02", b"c1"),
            *("00 03", b"w/t"),
            *("00 03", b"bye"),
            *("00 01", b"u"),
            *("00 02", b"pw"),
        ),
    ),
    Case(
        "connect-minimal-3.1.1",
        (V311,),
        Connect(version=V311),
        wire("10 0C", *("00 04", b"MQTT", "04"), "02", "00 00", "00 00"),
    ),
    Case(
        # The variable header is the example of 3.1.1 section 3.1.2.10.
        "connect-example-3.1.1",
        (V311,),
        Connect(
            "id",
            keep_alive=10,
            username="user",
            password=b"\x00\x80\xff",
            will=Will("a/b", b"", qos=1),
            version=V311,
        ),
        wire(
            "10 20",
            *("00 04", b"MQTT", "04"),
            "CE",  # user name, password, will QoS 1, will, clean session
            "00 0A",
            *("00 02", b"id"),
            *("00 03", b"a/b"),
            "00 00",  # an empty will message
            *("00 04", b"user"),
            "00 03 00 80 FF",  # the password is binary data
        ),
    ),
    Case(
        "connect-user-name-3.1.1",
        (V311,),
        Connect("c", clean_start=False, username="", version=V311),
        wire("10 0F", *("00 04", b"MQTT", "04"), "80", "00 00", *("00 01", b"c"), "00 00"),
    ),
    Case(
        "connect-minimal-5.0",
        (V5,),
        Connect(),
        wire("10 0D", *("00 04", b"MQTT", "05"), "02", "00 00", "00", "00 00"),
    ),
    Case(
        # The variable header is the example of 5.0 section 3.1.2.12.
        "connect-example-5.0",
        (V5,),
        Connect(
            "",
            keep_alive=10,
            username="U",
            password=b"P",
            will=Will("w", b"m", qos=1),
            properties={"session_expiry_interval": 10},
        ),
        wire(
            "10 1F",
            *("00 04", b"MQTT", "05"),
            "CE",
            "00 0A",
            "05",  # property length
            "11 00 00 00 0A",
            "00 00",
            "00",  # no will properties
            *("00 01", b"w", "00 01", b"m", "00 01", b"U", "00 01", b"P"),
        ),
    ),
    Case(
        # MQTT 5.0 allows a password alone (section 3.1.2.9).
        "connect-password-alone-5.0",
        (V5,),
        Connect("c", clean_start=False, password=b"\xfe"),
        wire("10 11", *("00 04", b"MQTT", "05"), "40", "00 00", "00", *("00 01", b"c"), "00 01 FE"),
    ),
    Case(
        "connect-will-retain-5.0",
        (V5,),
        Connect("c", will=Will("w", b"m", retain=True)),
        wire(
            "10 15",
            *("00 04", b"MQTT", "05"),
            "26",  # will retain, will, clean start
            "00 00",
            "00",
            *("00 01", b"c"),
            *("00", "00 01", b"w", "00 01", b"m"),
        ),
    ),
    Case(
        "connect-full-5.0",
        (V5,),
        Connect(
            "client",
            clean_start=False,
            keep_alive=300,
            username="user",
            password=b"pass",
            will=Will(
                "will/topic",
                b"gone",
                qos=2,
                retain=True,
                payload_format_indicator=1,
                message_expiry_interval=86_400,
                content_type="text",
                response_topic="r/t",
                correlation_data=b"\x00\xff",
                user_properties=[("a", "1"), ("a", "2")],
                will_delay_interval=5,
            ),
            properties={
                "session_expiry_interval": 4_294_967_295,
                "authentication_method": "M",
                "authentication_data": b"\x01\x02",
                "request_problem_information": 0,
                "request_response_information": 1,
                "receive_maximum": 65_535,
                "topic_alias_maximum": 16,
                "user_properties": [("k", "v")],
                "maximum_packet_size": 1,
            },
        ),
        wire(
            "10 82 01",  # 10 + 1 + 36 + 8 + 1 + 44 + 12 + 6 + 6 + 6 = 130
            *("00 04", b"MQTT", "05"),
            "F4",
            "01 2C",
            "24",  # 36 bytes of properties
            "11 FF FF FF FF",  # session expiry interval: 5
            *("15 00 01", b"M"),  # authentication method: 4
            "16 00 02 01 02",  # authentication data: 5
            "17 00",  # request problem information: 2
            "19 01",  # request response information: 2
            "21 FF FF",  # receive maximum: 3
            "22 00 10",  # topic alias maximum: 3
            *("26 00 01", b"k", "00 01", b"v"),  # user property: 7
            "27 00 00 00 01",  # maximum packet size: 5
            *("00 06", b"client"),
            "2C",  # 44 bytes of will properties
            PUBLICATION_PROPERTY_BYTES,  # 39
            "18 00 00 00 05",  # will delay interval: 5
            *("00 0A", b"will/topic"),
            *("00 04", b"gone"),
            *("00 04", b"user"),
            *("00 04", b"pass"),
        ),
    ),
]

CONNACKS: Final = [
    Case("connack-0", V3, Connack(), wire("20 02 00 00")),
    Case("connack-session-3.1.1", (V311,), Connack(session_present=True), wire("20 02 01 00")),
    # The return codes of 3.1.1, table 3.1.
    Case(
        "connack-1", V3, Connack(False, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION), wire("20020001")
    ),
    Case("connack-2", V3, Connack(False, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID), wire("20020002")),
    Case("connack-3", V3, Connack(False, ReasonCode.SERVER_UNAVAILABLE), wire("20020003")),
    Case("connack-4", V3, Connack(False, ReasonCode.BAD_USER_NAME_OR_PASSWORD), wire("20020004")),
    Case("connack-5", V3, Connack(False, ReasonCode.NOT_AUTHORIZED), wire("20020005")),
    Case("connack-minimal-5.0", (V5,), Connack(), wire("20 03 00 00 00")),
    Case("connack-session-5.0", (V5,), Connack(True), wire("20 03 01 00 00")),
    Case("connack-refusal-5.0", (V5,), Connack(False, 0x87), wire("20 03 00 87 00")),
    Case(
        "connack-full-5.0",
        (V5,),
        Connack(
            session_present=True,
            properties={
                "session_expiry_interval": 256,
                "assigned_client_identifier": "id",
                "server_keep_alive": 30,
                "authentication_method": "M",
                "authentication_data": b"",
                "response_information": "ri",
                "server_reference": "sr",
                "reason_string": "ok",
                "receive_maximum": 1,
                "topic_alias_maximum": 65_535,
                "maximum_qos": 1,
                "retain_available": 0,
                "user_properties": [("", "")],
                "maximum_packet_size": 4_294_967_295,
                "wildcard_subscription_available": 1,
                "subscription_identifier_available": 0,
                "shared_subscription_available": 1,
            },
        ),
        wire(
            "20 40",
            "01 00",
            "3D",  # 61 bytes of properties
            "11 00 00 01 00",  # session expiry interval: 5
            *("12 00 02", b"id"),  # assigned client identifier: 5
            "13 00 1E",  # server keep alive: 3
            *("15 00 01", b"M"),  # authentication method: 4
            "16 00 00",  # authentication data: 3
            *("1A 00 02", b"ri"),  # response information: 5
            *("1C 00 02", b"sr"),  # server reference: 5
            *("1F 00 02", b"ok"),  # reason string: 5
            "21 00 01",  # receive maximum: 3
            "22 FF FF",  # topic alias maximum: 3
            "24 01",  # maximum QoS: 2
            "25 00",  # retain available: 2
            "26 00 00 00 00",  # user property, both strings empty: 5
            "27 FF FF FF FF",  # maximum packet size: 5
            "28 01",  # wildcard subscription available: 2
            "29 00",  # subscription identifier available: 2
            "2A 01",  # shared subscription available: 2
        ),
    ),
]

PUBLISHES: Final = [
    Case("publish-minimal-3", V3, Message("t", b""), wire("30 03 00 01", b"t")),
    Case(
        # The variable header is the example of 3.1.1 section 3.3.2.3.
        "publish-example-3",
        V3,
        Message("a/b", b"", 1, packet_id=10),
        wire("32 07", "00 03", b"a/b", "00 0A"),
    ),
    Case(
        "publish-qos-0-retain-3",
        V3,
        Message("a", b"xyz", retain=True),
        wire("31 06", "00 01", b"a", b"xyz"),
    ),
    Case(
        "publish-qos-2-3",
        V3,
        Message("a", b"\x00", 2, packet_id=65_535),
        wire("34 06", "00 01", b"a", "FF FF", "00"),
    ),
    Case(
        "publish-all-flags-3",
        V3,
        Message("a", b"xyz", 2, retain=True, dup=True, packet_id=256),
        wire("3D 08", "00 01", b"a", "01 00", b"xyz"),
    ),
    Case("publish-minimal-5.0", (V5,), Message("t", b""), wire("30 04 00 01", b"t", "00")),
    Case(
        # The variable header is the example of 5.0 section 3.3.2.3.10.
        "publish-example-5.0",
        (V5,),
        Message("a/b", b"", 1, packet_id=10),
        wire("32 08", "00 03", b"a/b", "00 0A", "00"),
    ),
    Case(
        "publish-dup-5.0",
        (V5,),
        Message("a/b", b"p", 1, dup=True, packet_id=1),
        wire("3A 09", "00 03", b"a/b", "00 01", "00", b"p"),
    ),
    Case(
        # The string of 5.0 figure 1.1.1.4 as a topic: "A" and U+2A6D4.
        "publish-utf-8-5.0",
        (V5,),
        Message("A\U0002a6d4", b"x"),
        wire("30 09", "00 05 41 F0 AA 9B 94", "00", b"x"),
    ),
    Case(
        # [MQTT-1.5.4-3]: EF BB BF is a character like any other, wherever it stands.
        "publish-byte-order-mark-5.0",
        (V5,),
        Message("\ufeffa\ufeff", b""),
        wire("30 0A", "00 07 EF BB BF 61 EF BB BF", "00"),
    ),
    Case(
        "publish-alias-5.0",
        (V5,),
        Message("", b"p", properties={"topic_alias": 65_535}),
        wire("30 07", "00 00", "03", "23 FF FF", b"p"),
    ),
    Case(
        "publish-full-5.0",
        (V5,),
        Message(
            "topic",
            b"payload",
            2,
            retain=True,
            packet_id=0x1234,
            properties={
                **PUBLICATION_PROPERTIES,
                "subscription_identifiers": [1, 127, 128, 268_435_455],
                "topic_alias": 1,
            },
        ),
        wire(
            "35 47",
            *("00 05", b"topic"),
            "12 34",
            "36",  # 54 bytes of properties
            PUBLICATION_PROPERTY_BYTES,  # 39
            "0B 01",  # subscription identifiers: 2, 2, 3 and 5
            "0B 7F",
            "0B 80 01",
            "0B FF FF FF 7F",
            "23 00 01",  # topic alias: 3
            b"payload",
        ),
    ),
    # Remaining Lengths at the bounds of the table in 5.0 section 1.5.5. The topic takes 3 bytes.
    Case("publish-127-3", V3, Message("t", bytes(124)), wire("30 7F 00 01", b"t", bytes(124))),
    Case("publish-128-3", V3, Message("t", bytes(125)), wire("30 80 01 00 01", b"t", bytes(125))),
    Case(
        "publish-16383-3",
        V3,
        Message("t", bytes(16_380)),
        wire("30 FF 7F 00 01", b"t", bytes(16_380)),
    ),
    Case(
        "publish-16384-3",
        V3,
        Message("t", bytes(16_381)),
        wire("30 80 80 01 00 01", b"t", bytes(16_381)),
    ),
    Case(
        "publish-2097151-3",
        V3,
        Message("t", bytes(2_097_148)),
        wire("30 FF FF 7F 00 01", b"t", bytes(2_097_148)),
    ),
    Case(
        "publish-2097152-3",
        V3,
        Message("t", bytes(2_097_149)),
        wire("30 80 80 80 01 00 01", b"t", bytes(2_097_149)),
    ),
    # A property length of two bytes: the content type is 3 bytes and 125 characters.
    Case(
        "publish-property-length-128-5.0",
        (V5,),
        Message("t", b"", properties={"content_type": "c" * 125}),
        wire("30 85 01", "00 01", b"t", "80 01", "03 00 7D", b"c" * 125),
    ),
]

ACKNOWLEDGEMENT_PROPERTIES: Final[Properties] = {
    "reason_string": "no",
    "user_properties": [("k", "v"), ("k", "w")],
}
ACKNOWLEDGEMENT_PROPERTY_BYTES: Final = wire(
    *("1F 00 02", b"no"),  # reason string: 5
    *("26 00 01", b"k", "00 01", b"v"),  # user properties: 7 each
    *("26 00 01", b"k", "00 01", b"w"),
)

ACKNOWLEDGEMENTS: Final = [
    Case("puback-minimal", ALL, Puback(1), wire("40 02 00 01")),
    Case("pubrec-minimal", ALL, Pubrec(256), wire("50 02 01 00")),
    Case("pubrel-minimal", ALL, Pubrel(65_535), wire("62 02 FF FF")),
    Case("pubcomp-minimal", ALL, Pubcomp(10), wire("70 02 00 0A")),
    Case("puback-reason", (V5,), Puback(1, 0x10), wire("40 03 00 01 10")),
    Case("pubrec-reason", (V5,), Pubrec(1, 0x97), wire("50 03 00 01 97")),
    Case("pubrel-reason", (V5,), Pubrel(1, 0x92), wire("62 03 00 01 92")),
    Case("pubcomp-reason", (V5,), Pubcomp(1, 0x92), wire("70 03 00 01 92")),
    Case(
        "puback-full",
        (V5,),
        Puback(1, 0x80, ACKNOWLEDGEMENT_PROPERTIES),
        wire("40 17 00 01 80 13", ACKNOWLEDGEMENT_PROPERTY_BYTES),
    ),
    Case(
        "pubrec-full",
        (V5,),
        Pubrec(1, 0x99, ACKNOWLEDGEMENT_PROPERTIES),
        wire("50 17 00 01 99 13", ACKNOWLEDGEMENT_PROPERTY_BYTES),
    ),
    Case(
        "pubrel-full",
        (V5,),
        Pubrel(1, 0x92, ACKNOWLEDGEMENT_PROPERTIES),
        wire("62 17 00 01 92 13", ACKNOWLEDGEMENT_PROPERTY_BYTES),
    ),
    Case(
        "pubcomp-full-success",
        (V5,),
        Pubcomp(1, 0x00, ACKNOWLEDGEMENT_PROPERTIES),
        wire("70 17 00 01 00 13", ACKNOWLEDGEMENT_PROPERTY_BYTES),
    ),
]

SUBSCRIPTIONS: Final = [
    Case(
        "subscribe-minimal-3",
        V3,
        Subscribe(1, [("#", SubscriptionOptions())]),
        wire("82 06", "00 01", "00 01", b"#", "00"),
    ),
    Case(
        # The example of 3.1.1 sections 3.8.2 and 3.8.3.
        "subscribe-example-3",
        V3,
        Subscribe(10, [("a/b", SubscriptionOptions(1)), ("c/d", SubscriptionOptions(2))]),
        wire("82 0E", "00 0A", "00 03", b"a/b", "01", "00 03", b"c/d", "02"),
    ),
    Case(
        # The example of 5.0 sections 3.8.2 and 3.8.3.
        "subscribe-example-5.0",
        (V5,),
        Subscribe(10, [("a/b", SubscriptionOptions(1)), ("c/d", SubscriptionOptions(2))]),
        wire("82 0F", "00 0A", "00", "00 03", b"a/b", "01", "00 03", b"c/d", "02"),
    ),
    Case(
        "subscribe-full-5.0",
        (V5,),
        Subscribe(
            0xFFFE,
            [
                ("+/a", SubscriptionOptions(2, no_local=True)),
                ("/", SubscriptionOptions(0, retain_as_published=True)),
                ("$share/g/#", SubscriptionOptions(1, retain_handling=1)),
                ("b", SubscriptionOptions(2, True, True, 2)),
            ],
            {"subscription_identifiers": [268_435_455], "user_properties": [("k", "v")]},
        ),
        wire(
            "82 2A",
            "FF FE",
            "0C",  # 12 bytes of properties
            "0B FF FF FF 7F",
            *("26 00 01", b"k", "00 01", b"v"),
            *("00 03", b"+/a", "06"),  # no local, QoS 2
            *("00 01", b"/", "08"),  # retain as published
            *("00 0A", b"$share/g/#", "11"),  # retain handling 1, QoS 1
            *("00 01", b"b", "2E"),  # retain handling 2, retain as published, no local, QoS 2
        ),
    ),
    Case("suback-3", V3, Suback(10, [0]), wire("90 03 00 0A 00")),
    # The example of 3.1.1 section 3.9.3, and all the return codes.
    Case("suback-example-3", V3, Suback(10, [0, 2, 0x80, 1]), wire("90 06 00 0A 00 02 80 01")),
    Case("suback-5.0", (V5,), Suback(10, [0, 1, 2, 0xA2]), wire("90 07 00 0A 00 00 01 02 A2")),
    Case(
        "suback-full-5.0",
        (V5,),
        Suback(10, [0x8F], ACKNOWLEDGEMENT_PROPERTIES),
        wire("90 17 00 0A 13", ACKNOWLEDGEMENT_PROPERTY_BYTES, "8F"),
    ),
    Case(
        # The example of 3.1.1 section 3.10.3.
        "unsubscribe-example-3",
        V3,
        Unsubscribe(10, ["a/b", "c/d"]),
        wire("A2 0C", "00 0A", "00 03", b"a/b", "00 03", b"c/d"),
    ),
    Case(
        "unsubscribe-example-5.0",
        (V5,),
        Unsubscribe(10, ["a/b", "c/d"]),
        wire("A2 0D", "00 0A", "00", "00 03", b"a/b", "00 03", b"c/d"),
    ),
    Case(
        "unsubscribe-full-5.0",
        (V5,),
        Unsubscribe(1, ["$share/g/+"], {"user_properties": [("k", "v")]}),
        wire("A2 16", "00 01", "07", "26 00 01", b"k", "00 01", b"v", "00 0A", b"$share/g/+"),
    ),
    Case("unsuback-3", V3, Unsuback(10), wire("B0 02 00 0A")),
    Case("unsuback-5.0", (V5,), Unsuback(10, [0, 0x11]), wire("B0 05 00 0A 00 00 11")),
    Case(
        "unsuback-full-5.0",
        (V5,),
        Unsuback(10, [0x91, 0x00], ACKNOWLEDGEMENT_PROPERTIES),
        wire("B0 18 00 0A 13", ACKNOWLEDGEMENT_PROPERTY_BYTES, "91 00"),
    ),
]

OTHERS: Final = [
    Case("pingreq", ALL, Pingreq(), wire("C0 00")),
    Case("pingresp", ALL, Pingresp(), wire("D0 00")),
    Case("disconnect", ALL, Disconnect(), wire("E0 00")),
    Case("disconnect-reason-5.0", (V5,), Disconnect(0x04), wire("E0 01 04")),
    Case(
        "disconnect-full-5.0",
        (V5,),
        Disconnect(
            0x9D,
            {
                "session_expiry_interval": 0,
                "server_reference": "x",
                **ACKNOWLEDGEMENT_PROPERTIES,
            },
        ),
        wire(
            "E0 1E",
            "9D",
            "1C",  # 28 bytes of properties
            "11 00 00 00 00",
            *("1C 00 01", b"x"),
            ACKNOWLEDGEMENT_PROPERTY_BYTES,
        ),
    ),
    Case(
        "disconnect-properties-5.0",
        (V5,),
        Disconnect(0x00, {"session_expiry_interval": 1}),
        wire("E0 07 00 05 11 00 00 00 01"),
    ),
    Case("auth-minimal-5.0", (V5,), Auth(), wire("F0 00")),
    Case(
        "auth-success-5.0",
        (V5,),
        Auth(0x00, {"authentication_method": "M"}),
        wire("F0 06 00 04 15 00 01", b"M"),
    ),
    Case(
        "auth-full-5.0",
        (V5,),
        Auth(
            0x18,
            {
                "authentication_method": "SCRAM",
                "authentication_data": b"\x00\x01",
                **ACKNOWLEDGEMENT_PROPERTIES,
            },
        ),
        wire(
            "F0 22",
            "18",
            "20",  # 32 bytes of properties
            *("15 00 05", b"SCRAM"),
            "16 00 02 00 01",
            ACKNOWLEDGEMENT_PROPERTY_BYTES,
        ),
    ),
]

GOLDEN: Final = [
    *CONNECTS,
    *CONNACKS,
    *PUBLISHES,
    *ACKNOWLEDGEMENTS,
    *SUBSCRIPTIONS,
    *OTHERS,
]

DECODED_ONLY: Final = [
    # Shorter forms exist (5.0 sections 3.4.2.1, 3.4.2.2.1, 3.14.2.1, 3.14.2.2.1).
    Case("puback-explicit-success", (V5,), Puback(1), wire("40 03 00 01 00")),
    Case("puback-no-properties", (V5,), Puback(1, 0x10), wire("40 04 00 01 10 00")),
    Case("pubrec-no-properties", (V5,), Pubrec(1), wire("50 04 00 01 00 00")),
    Case("pubrel-no-properties", (V5,), Pubrel(1), wire("62 04 00 01 00 00")),
    Case("pubcomp-no-properties", (V5,), Pubcomp(1), wire("70 04 00 01 00 00")),
    Case("disconnect-explicit", (V5,), Disconnect(), wire("E0 01 00")),
    Case("disconnect-no-properties", (V5,), Disconnect(0x8E), wire("E0 02 8E 00")),
    # Properties may come in any order (5.0 section 2.2.2.2).
    Case(
        "properties-interleaved",
        (V5,),
        Message(
            "t",
            b"p",
            properties={
                "user_properties": [("k", "v"), ("k", "w")],
                "payload_format_indicator": 0,
                "subscription_identifiers": [2, 1],
            },
        ),
        wire(
            "30 19",
            "00 01",
            b"t",
            "14",
            *("26 00 01", b"k", "00 01", b"v"),
            "0B 02",
            "01 00",
            *("26 00 01", b"k", "00 01", b"w"),
            "0B 01",
            b"p",
        ),
    ),
    # MQTT 3.1.1 does not ask for the shortest Remaining Length.
    Case("long-length-3", V3, Pingresp(), wire("D0 80 80 80 00")),
    Case("long-publish-length-3", V3, Message("t", b"p"), wire("30 84 00 00 01", b"t", b"p")),
    # In MQTT 3.1 the acknowledge flags are reserved, and DUP may be set on any packet of QoS 1.
    Case("connack-reserved-3.1", (V31,), Connack(), wire("20 02 01 00")),
    Case("connack-all-reserved-3.1", (V31,), Connack(), wire("20 02 FF 00")),
    Case("pubrel-dup-3.1", (V31,), Pubrel(1), wire("6A 02 00 01")),
    Case(
        "subscribe-dup-3.1",
        (V31,),
        Subscribe(1, [("a", SubscriptionOptions())]),
        wire("8A 06 00 01 00 01", b"a", "00"),
    ),
    Case(
        "unsubscribe-dup-3.1",
        (V31,),
        Unsubscribe(1, ["a"]),
        wire("AA 05 00 01 00 01", b"a"),
    ),
    # So does a server refuse MQTT 5.0 that knows only MQTT 3.1.1 (3.1.1 section 3.1.2.2).
    Case(
        "connack-of-a-3.1.1-server",
        (V5,),
        Connack(False, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION),
        wire("20 02 00 01"),
    ),
]

ENCODED_ONLY: Final = [
    Case("connack-session-3.1", (V31,), Connack(session_present=True), wire("20 02 00 00")),
    Case(
        "connack-properties-3",
        V3,
        Connack(properties={"reason_string": "r"}),
        wire("20 02 00 00"),
    ),
    Case(
        "publish-properties-3",
        V3,
        Message("t", b"p", properties={"topic_alias": 1}),
        wire("30 04 00 01", b"t", b"p"),
    ),
    Case(
        "connect-properties-3",
        V3,
        Connect(
            "c",
            will=Will("w", b"m", will_delay_interval=1),
            properties={"receive_maximum": 1},
            version=V311,
        ),
        wire(
            *("10 13", "00 04", b"MQTT", "04", "06", "00 00"),
            *("00 01", b"c", "00 01", b"w", "00 01", b"m"),
        ),
    ),
    Case("puback-reason-3", V3, Puback(1, 0x87, {"reason_string": "r"}), wire("40 02 00 01")),
    Case("suback-reason-3", V3, Suback(1, [0x87, 1, 0x9E]), wire("90 05 00 01 80 01 80")),
    Case("unsuback-reason-3", V3, Unsuback(1, [0x11]), wire("B0 02 00 01")),
    Case("disconnect-reason-3", V3, Disconnect(0x04), wire("E0 00")),
    Case(
        "subscribe-options-3",
        V3,
        Subscribe(
            1,
            [("a", SubscriptionOptions(2, True, True, 2))],
            {"subscription_identifiers": [1]},
        ),
        wire("82 06 00 01 00 01", b"a", "02"),
    ),
    Case(
        "unsubscribe-properties-3",
        V3,
        Unsubscribe(1, ["a"], {"user_properties": [("k", "v")]}),
        wire("A2 05 00 01 00 01", b"a"),
    ),
    # An empty list is no property [MQTT-2.2.2-1].
    Case(
        "empty-list",
        (V5,),
        Message("t", b"", properties={"user_properties": []}),
        wire("30 04 00 01", b"t", "00"),
    ),
]


def _by_version(cases: list[Case]) -> list[tuple[ProtocolVersion, Packet, bytes]]:
    return [(version, case.packet, case.data) for case in cases for version in case.versions]


def _ids(cases: list[Case]) -> list[str]:
    return [f"{case.name}@{version.name[5:]}" for case in cases for version in case.versions]


@pytest.mark.parametrize(
    ("version", "packet", "data"),
    _by_version(GOLDEN + ENCODED_ONLY),
    ids=_ids(GOLDEN + ENCODED_ONLY),
)
def test_encode(version: ProtocolVersion, packet: Packet, data: bytes) -> None:
    assert encode(packet, version) == data


@pytest.mark.parametrize(
    ("version", "packet", "data"),
    _by_version(GOLDEN + DECODED_ONLY),
    ids=_ids(GOLDEN + DECODED_ONLY),
)
def test_decode(version: ProtocolVersion, packet: Packet, data: bytes) -> None:
    reader = PacketReader(version)
    packets = reader.feed(data)
    assert reader.error is None
    assert packets == [packet]
    assert type(packets[0]) is type(packet)
    assert not reader.is_inside_packet


@pytest.mark.parametrize(("version", "packet", "data"), _by_version(CONNECTS), ids=_ids(CONNECTS))
def test_a_server_learns_the_version(version: ProtocolVersion, packet: Packet, data: bytes) -> None:
    reader = PacketReader(None)
    assert reader.feed(data) == [packet]
    assert reader.version is version


def test_connect_is_written_in_its_own_version() -> None:
    for case in CONNECTS:
        for version in ALL:
            assert encode(case.packet, version) == case.data


def test_every_packet_type_is_in_the_golden_table() -> None:
    seen = {(case.data[0] >> 4, version) for case in GOLDEN for version in case.versions}
    expected = {(number, version) for number in range(1, 15) for version in ALL} | {(15, V5)}
    assert seen == expected


# MQTT 5.0 section 2.2.2.2: identifier, name, an encoded value, its decoded form, the packets that
# may have it. "WILL" stands for the Will Properties.
_REASON_PACKETS: Final = "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"
PROPERTY_TABLE: Final[list[tuple[int, str, str, object, str]]] = [
    (0x01, "payload_format_indicator", "01", 1, "PUBLISH WILL"),
    (0x02, "message_expiry_interval", "00000001", 1, "PUBLISH WILL"),
    (0x03, "content_type", "000163", "c", "PUBLISH WILL"),
    (0x08, "response_topic", "000172", "r", "PUBLISH WILL"),
    (0x09, "correlation_data", "000100", b"\x00", "PUBLISH WILL"),
    (0x0B, "subscription_identifiers", "8001", [128], "PUBLISH SUBSCRIBE"),
    (0x11, "session_expiry_interval", "00010000", 65_536, "CONNECT CONNACK DISCONNECT"),
    (0x12, "assigned_client_identifier", "000161", "a", "CONNACK"),
    (0x13, "server_keep_alive", "0100", 256, "CONNACK"),
    (0x15, "authentication_method", "00016D", "m", "CONNECT CONNACK AUTH"),
    (0x16, "authentication_data", "0000", b"", "CONNECT CONNACK AUTH"),
    (0x17, "request_problem_information", "00", 0, "CONNECT"),
    (0x18, "will_delay_interval", "FFFFFFFF", 4_294_967_295, "WILL"),
    (0x19, "request_response_information", "01", 1, "CONNECT"),
    (0x1A, "response_information", "000169", "i", "CONNACK"),
    (0x1C, "server_reference", "000173", "s", "CONNACK DISCONNECT"),
    (0x1F, "reason_string", "000172", "r", _REASON_PACKETS),
    (0x21, "receive_maximum", "0001", 1, "CONNECT CONNACK"),
    (0x22, "topic_alias_maximum", "0000", 0, "CONNECT CONNACK"),
    (0x23, "topic_alias", "0001", 1, "PUBLISH"),
    (0x24, "maximum_qos", "00", 0, "CONNACK"),
    (0x25, "retain_available", "01", 1, "CONNACK"),
    (
        0x26,
        "user_properties",
        "00016B000176",
        [("k", "v")],
        f"CONNECT PUBLISH WILL SUBSCRIBE UNSUBSCRIBE {_REASON_PACKETS}",
    ),
    (0x27, "maximum_packet_size", "00000001", 1, "CONNECT CONNACK"),
    (0x28, "wildcard_subscription_available", "00", 0, "CONNACK"),
    (0x29, "subscription_identifier_available", "01", 1, "CONNACK"),
    (0x2A, "shared_subscription_available", "00", 0, "CONNACK"),
]

# What stands before and after the properties of a packet: first byte, then the two.
FRAMES: Final[dict[str, tuple[int, bytes, bytes]]] = {
    "CONNECT": (0x10, wire("0004", b"MQTT", "05 00 0000"), wire("0001", b"c")),
    "WILL": (
        0x10,
        wire("0004", b"MQTT", "05 04 0000 00", "0001", b"c"),
        wire("0001", b"w", "0000"),
    ),
    "CONNACK": (0x20, wire("00 00"), b""),
    "PUBLISH": (0x30, wire("0001", b"t"), b""),
    "PUBACK": (0x40, wire("0001 00"), b""),
    "PUBREC": (0x50, wire("0001 00"), b""),
    "PUBREL": (0x62, wire("0001 00"), b""),
    "PUBCOMP": (0x70, wire("0001 00"), b""),
    "SUBSCRIBE": (0x82, wire("0001"), wire("0001", b"f", "00")),
    "SUBACK": (0x90, wire("0001"), wire("00")),
    "UNSUBSCRIBE": (0xA2, wire("0001"), wire("0001", b"f")),
    "UNSUBACK": (0xB0, wire("0001"), wire("00")),
    "DISCONNECT": (0xE0, wire("00"), b""),
    "AUTH": (0xF0, wire("00"), b""),
}


def _with_property(packet: str, identifier: int, value: str) -> bytes:
    """A packet with one property, and what else it needs to be correct."""
    method = wire("15 0001", b"m")
    section = bytes((identifier,)) + bytes.fromhex(value)
    needs_method = packet in {"CONNECT", "CONNACK"} and identifier == 0x16
    if needs_method or (packet == "AUTH" and identifier != 0x15):
        section = method + section
    first, before, after = FRAMES[packet]
    body = before + bytes((len(section),)) + section + after
    return bytes((first, len(body))) + body


def test_the_table_has_all_27_properties() -> None:
    assert len({identifier for identifier, *_ in PROPERTY_TABLE}) == 27
    assert {name for _, name, *_ in PROPERTY_TABLE} == set(Properties.__optional_keys__)


@pytest.mark.parametrize("packet", FRAMES)
@pytest.mark.parametrize("row", PROPERTY_TABLE, ids=[row[1] for row in PROPERTY_TABLE])
def test_where_a_property_may_stand(packet: str, row: tuple[int, str, str, object, str]) -> None:
    identifier, name, value, meaning, packets = row
    reader = PacketReader(V5)
    data = _with_property(packet, identifier, value)
    decoded = reader.feed(data)
    if packet not in packets.split():  # section 2.2.2.2: a Malformed Packet
        assert decoded == []
        assert reader.error is not None
        assert reader.error.reason_code == 0x81
        assert f"{name} is not a property of" in str(reader.error)
        return
    assert reader.error is None
    (result,) = decoded
    if packet == "WILL":
        assert isinstance(result, Connect)
        assert result.will is not None
        properties = result.will.properties
    else:
        assert not isinstance(result, (Pingreq, Pingresp))
        assert result.properties is not None
        properties = result.properties
    assert dict(properties)[name] == meaning
    assert encode(result, V5) == data


@pytest.mark.parametrize("packet", FRAMES)
def test_no_other_property_identifier_is_known(packet: str) -> None:
    known = {identifier for identifier, *_ in PROPERTY_TABLE}
    for identifier in set(range(128)) - known:
        reader = PacketReader(V5)
        assert reader.feed(_with_property(packet, identifier, "00000000")) == []
        assert reader.error is not None
        assert reader.error.reason_code == 0x81
        assert f"there is no property 0x{identifier:02X}" in str(reader.error)


# The reason codes: MQTT 5.0 sections 3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.9.3, 3.11.3,
# 3.14.2.1 and 3.15.2.1.
REASON_CODE_TABLE: Final[dict[str, str]] = {
    "CONNACK": "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F",
    "PUBACK": "00 10 80 83 87 90 91 97 99",
    "PUBREC": "00 10 80 83 87 90 91 97 99",
    "PUBREL": "00 92",
    "PUBCOMP": "00 92",
    "SUBACK": "00 01 02 80 83 87 8F 91 97 9E A1 A2",
    "UNSUBACK": "00 11 80 83 87 8F 91",
    "DISCONNECT": (
        "00 04 80 81 82 83 87 89 8B 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2"
    ),
    "AUTH": "00 18 19",
}

# Section 2.4 gives 0x8C (Bad authentication method) to DISCONNECT, section 3.14.2.1 does not.
DISPUTED: Final = {("DISCONNECT", 0x8C)}

_METHOD: Final = wire("04 15 0001", b"m")
REASON_FRAMES: Final[dict[str, tuple[bytes, bytes]]] = {
    "CONNACK": (wire("20 03 00"), wire("00")),
    "PUBACK": (wire("40 03 0001"), b""),
    "PUBREC": (wire("50 03 0001"), b""),
    "PUBREL": (wire("62 03 0001"), b""),
    "PUBCOMP": (wire("70 03 0001"), b""),
    "SUBACK": (wire("90 05 0001 00 00"), b""),
    "UNSUBACK": (wire("B0 05 0001 00 00"), b""),
    "DISCONNECT": (wire("E0 01"), b""),
    "AUTH": (wire("F0 06"), _METHOD),
}


def _packet_with_reason(packet: str, code: int) -> Packet:
    constructors: dict[str, Packet] = {
        "CONNACK": Connack(False, code),
        "PUBACK": Puback(1, code),
        "PUBREC": Pubrec(1, code),
        "PUBREL": Pubrel(1, code),
        "PUBCOMP": Pubcomp(1, code),
        "SUBACK": Suback(1, [0, code]),
        "UNSUBACK": Unsuback(1, [0, code]),
        "DISCONNECT": Disconnect(code),
        "AUTH": Auth(code, {"authentication_method": "m"}),
    }
    return constructors[packet]


def _codes(packet: str) -> set[int]:
    return set(bytes.fromhex(REASON_CODE_TABLE[packet]))


@pytest.mark.parametrize("packet", REASON_CODE_TABLE)
def test_every_reason_code_of_the_table_is_known(packet: str) -> None:
    before, after = REASON_FRAMES[packet]
    for code in _codes(packet):
        data = before + bytes((code,)) + after
        expected = _packet_with_reason(packet, code)
        reader = PacketReader(V5)
        assert reader.feed(data) == [expected], hex(code)
        if code or packet not in {"PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "DISCONNECT"}:
            assert encode(expected, V5) == data
        assert ReasonCode(code) == code  # each has a name


@pytest.mark.parametrize("packet", REASON_CODE_TABLE)
def test_every_other_reason_code_is_refused(packet: str) -> None:
    before, after = REASON_FRAMES[packet]
    for code in set(range(256)) - _codes(packet):
        if (packet, code) in DISPUTED:
            continue
        reader = PacketReader(V5)
        assert reader.feed(before + bytes((code,)) + after) == [], hex(code)
        assert type(reader.error) is ProtocolError
        assert reader.error.reason_code == 0x82
        assert str(reader.error) == f"0x{code:02X} is not a reason code of {packet}"
        with pytest.raises(UsageError, match=rf"^0x{code:02X} is not a reason code of {packet}$"):
            encode(_packet_with_reason(packet, code), V5)


def test_every_other_return_code_of_3_1_1_is_refused() -> None:
    for version in V3:
        for code in range(6, 256):
            reader = PacketReader(version)
            assert reader.feed(bytes((0x20, 2, 0, code))) == []
            assert type(reader.error) is ProtocolError
            assert f"{code} is not a return code of CONNACK" in str(reader.error)
        for code in set(range(256)) - {0, 1, 2, 0x80}:  # 3.1.1 [MQTT-3.9.3-2]
            reader = PacketReader(version)
            assert reader.feed(bytes((0x90, 3, 0, 1, code))) == []
            assert type(reader.error) is ProtocolError
            assert reader.error.reason_code == 0x82


def test_decode_reads_what_follows_the_length() -> None:
    assert decode(0x40, b"\x00\x01", V5) == Puback(1)
    assert decode(0x35, b"\x00\x01t\x00\x07p", V311) == Message("t", b"p", 2, True, packet_id=7)


def test_packets_know_their_type() -> None:
    assert [kind.packet_type for kind in (Puback, Pubrec, Pubrel, Pubcomp)] == [
        PacketType.PUBACK,
        PacketType.PUBREC,
        PacketType.PUBREL,
        PacketType.PUBCOMP,
    ]
