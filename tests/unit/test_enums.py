"""The numbers of the specification, transcribed from its tables."""

import pytest

from mqttlite.enums import (
    ClosedBy,
    Fate,
    PacketType,
    ProtocolVersion,
    ReasonCode,
    RetainHandling,
    describe_reason,
)
from tests.unit.packets.test_golden import REASON_CODE_TABLE


def test_protocol_versions() -> None:
    assert [(version.name, version.value) for version in ProtocolVersion] == [
        ("MQTT_3_1", 3),
        ("MQTT_3_1_1", 4),
        ("MQTT_5_0", 5),
    ]


def test_packet_types() -> None:  # table 2-1
    names = (
        "CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE "
        "UNSUBACK PINGREQ PINGRESP DISCONNECT AUTH"
    )
    assert [kind.name for kind in PacketType] == names.split()
    assert [kind.value for kind in PacketType] == list(range(1, 16))


def test_retain_handling() -> None:  # section 3.8.3.1
    assert (RetainHandling.SEND, RetainHandling.SEND_IF_NEW, RetainHandling.DO_NOT_SEND) == (
        0,
        1,
        2,
    )


REASONS = """
    00 SUCCESS
    00 NORMAL_DISCONNECTION
    00 GRANTED_QOS_0
    01 GRANTED_QOS_1
    02 GRANTED_QOS_2
    04 DISCONNECT_WITH_WILL_MESSAGE
    10 NO_MATCHING_SUBSCRIBERS
    11 NO_SUBSCRIPTION_EXISTED
    18 CONTINUE_AUTHENTICATION
    19 RE_AUTHENTICATE
    80 UNSPECIFIED_ERROR
    81 MALFORMED_PACKET
    82 PROTOCOL_ERROR
    83 IMPLEMENTATION_SPECIFIC_ERROR
    84 UNSUPPORTED_PROTOCOL_VERSION
    85 CLIENT_IDENTIFIER_NOT_VALID
    86 BAD_USER_NAME_OR_PASSWORD
    87 NOT_AUTHORIZED
    88 SERVER_UNAVAILABLE
    89 SERVER_BUSY
    8A BANNED
    8B SERVER_SHUTTING_DOWN
    8C BAD_AUTHENTICATION_METHOD
    8D KEEP_ALIVE_TIMEOUT
    8E SESSION_TAKEN_OVER
    8F TOPIC_FILTER_INVALID
    90 TOPIC_NAME_INVALID
    91 PACKET_IDENTIFIER_IN_USE
    92 PACKET_IDENTIFIER_NOT_FOUND
    93 RECEIVE_MAXIMUM_EXCEEDED
    94 TOPIC_ALIAS_INVALID
    95 PACKET_TOO_LARGE
    96 MESSAGE_RATE_TOO_HIGH
    97 QUOTA_EXCEEDED
    98 ADMINISTRATIVE_ACTION
    99 PAYLOAD_FORMAT_INVALID
    9A RETAIN_NOT_SUPPORTED
    9B QOS_NOT_SUPPORTED
    9C USE_ANOTHER_SERVER
    9D SERVER_MOVED
    9E SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
    9F CONNECTION_RATE_EXCEEDED
    A0 MAXIMUM_CONNECT_TIME
    A1 SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
    A2 WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
"""


def test_reason_codes() -> None:  # section 2.4
    rows = [line.split() for line in REASONS.strip().splitlines()]
    table = {name: int(number, 16) for number, name in rows}
    assert {name: member.value for name, member in ReasonCode.__members__.items()} == table
    used = set().union(*(bytes.fromhex(codes) for codes in REASON_CODE_TABLE.values()))
    assert {member.value for member in ReasonCode} == used


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "success (0x00)"),
        (0x87, "not authorized (0x87)"),
        (0xA2, "wildcard subscriptions not supported (0xA2)"),
        (0x03, "unknown reason (0x03)"),
        (0xFF, "unknown reason (0xFF)"),
    ],
)
def test_describe_reason(code: int, words: str) -> None:
    assert describe_reason(code) == words


def test_a_reason_code_prints_in_words() -> None:
    assert str(ReasonCode.SERVER_BUSY) == "server busy (0x89)"
    assert f"{ReasonCode.SERVER_BUSY}" == "server busy (0x89)"
    assert int(ReasonCode.SERVER_BUSY) == 0x89


def test_fates_and_closers_have_distinct_names() -> None:
    assert len({fate.value for fate in Fate}) == len(Fate.__members__) == 8
    assert [who.value for who in ClosedBy] == ["client", "server", "network"]
