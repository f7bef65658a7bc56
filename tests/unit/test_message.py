"""Message, Will, and the payloads that may be given."""

from typing import Any, Final, cast

import pytest

from mqttlite.enums import ReasonCode
from mqttlite.errors import InvalidTopic, UsageError
from mqttlite.message import (
    Message,
    Properties,
    Will,
    as_bytes,
    check_qos,
    check_text,
    remaining_seconds,
)
from tests.behaviour import rule


def _anything(value: object) -> Any:
    return value


class Receipt:
    def __init__(self) -> None:
        self.count = 0
        self.answers: list[tuple[int, Any]] = []

    def acknowledge(self, reason_code: int = 0, properties: Any = None) -> None:
        self.count += 1
        self.answers.append((reason_code, properties))


# --- payloads ---


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("", b""),
        ("ä", b"\xc3\xa4"),
        ("a\0b", b"a\x00b"),  # U+0000 is forbidden in strings of MQTT, not in payloads
        (b"", b""),
        (b"\xff", b"\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abc"), b"abc"),
        (memoryview(b"abcd")[::2], b"ac"),
    ],
)
def test_as_bytes(payload: str | bytes, expected: bytes) -> None:
    result = as_bytes(payload)
    assert result == expected
    assert type(result) is bytes


def test_bytes_are_not_copied_but_buffers_are() -> None:
    payload = bytes(1000)
    assert as_bytes(payload) is payload
    buffer = bytearray(b"abc")
    result = as_bytes(buffer)
    buffer[0] = 0
    assert result == b"abc"


@pytest.mark.parametrize("payload", [None, 1, 1.5, True, ["a"], {"a": 1}, object])
def test_what_is_no_payload(payload: object) -> None:
    name = type(payload).__name__
    with pytest.raises(UsageError, match=f"a payload must be str or bytes, not {name}: encode it"):
        as_bytes(_anything(payload))


def test_a_payload_with_a_surrogate() -> None:
    with pytest.raises(UsageError, match="it has a lone surrogate at position 7") as raised:
        as_bytes("s3cret \ud800")
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


# --- qos ---


def test_check_qos() -> None:
    assert [check_qos(qos) for qos in (0, 1, 2)] == [0, 1, 2]
    assert type(check_qos(True)) is int
    for qos in (-1, 3, 128, "1", None, 0.5, [0]):
        with pytest.raises(UsageError) as raised:
            check_qos(_anything(qos))
        assert str(raised.value) == f"qos must be 0, 1 or 2, not {qos!r}"


# --- Message ---

FULL: Final[Properties] = {
    "payload_format_indicator": 1,
    "message_expiry_interval": 60,
    "response_topic": "r",
    "correlation_data": b"c",
    "user_properties": [("a", "b")],
    "subscription_identifiers": [1, 2],
    "content_type": "text/plain",
}


def test_a_message_without_properties() -> None:
    for properties in (None, cast("Properties", {})):
        message = Message("t", b"p", properties=properties)
        assert (message.topic, message.payload, message.qos) == ("t", b"p", 0)
        assert (message.retain, message.dup, message.packet_id) == (False, False, 0)
        assert message.payload_format_indicator is None
        assert message.message_expiry_interval is None
        assert message.response_topic is None
        assert message.correlation_data is None
        assert message.user_properties == []
        assert message.subscription_identifiers == []
        assert message.content_type is None


def test_a_message_with_properties() -> None:
    message = Message("t", b"p", 2, True, True, 7, FULL)
    assert (message.qos, message.retain, message.dup, message.packet_id) == (2, True, True, 7)
    assert message.payload_format_indicator == 1
    assert message.message_expiry_interval == 60
    assert message.response_topic == "r"
    assert message.correlation_data == b"c"
    assert message.user_properties == [("a", "b")]
    assert message.subscription_identifiers == [1, 2]
    assert message.content_type == "text/plain"


def test_a_message_with_other_properties_only() -> None:
    message = Message("t", b"", properties={"topic_alias": 1})
    assert message.payload_format_indicator is None
    assert message.message_expiry_interval is None
    assert message.response_topic is None
    assert message.correlation_data is None
    assert message.user_properties == []
    assert message.subscription_identifiers == []
    assert message.content_type is None


def test_empty_lists_are_not_shared() -> None:
    message = Message("t", b"")
    message.user_properties.append(("a", "b"))
    message.subscription_identifiers.append(1)
    assert message.user_properties == []
    assert message.subscription_identifiers == []
    assert Message("t", b"").user_properties == []


def test_messages_are_equal_by_value() -> None:
    values: dict[str, Any] = {
        "topic": "t",
        "payload": b"p",
        "qos": 1,
        "retain": True,
        "dup": True,
        "packet_id": 7,
        "properties": FULL,
    }
    message = Message(**values)
    same = Message(**values)
    same._receipt = Receipt()  # what it is acknowledged with says nothing about the message
    assert message == same
    others: dict[str, Any] = {
        "topic": "u",
        "payload": b"q",
        "qos": 2,
        "retain": False,
        "dup": False,
        "packet_id": 8,
        "properties": None,
    }
    for name, value in others.items():
        assert message != Message(**(values | {name: value})), name
    assert message != "t"
    assert message != Will("t", b"p", qos=1, retain=True)


def test_messages_are_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Message("t", b""))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Will("t"))


def test_a_message_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        setattr(Message("t", b""), "colour", "red")  # noqa: B010 - the type checkers know it


def test_ack() -> None:
    message = Message("t", b"")
    message.ack()  # nothing to acknowledge
    receipt = Receipt()
    message._receipt = receipt
    message.ack()
    assert receipt.count == 1


def test_ack_with_a_reason() -> None:
    message = Message("t", b"")
    message.ack(0x97, reason_string="full", user_properties=[("a", "b")])  # nothing to refuse
    receipt = Receipt()
    message._receipt = receipt
    message.ack()
    message.ack(0x87)
    message.ack(ReasonCode.QUOTA_EXCEEDED, reason_string="full")
    message.ack(0x83, user_properties=(("a", "1"), ("a", "2")))
    message.ack(0x10, reason_string="", user_properties=[("b", "")])
    assert receipt.answers == [
        (0, None),
        (0x87, None),
        (0x97, {"reason_string": "full"}),
        (0x83, {"user_properties": [("a", "1"), ("a", "2")]}),
        (0x10, {"reason_string": "", "user_properties": [("b", "")]}),
    ]


def test_user_properties_of_an_acknowledgement_are_copied() -> None:
    message = Message("t", b"")
    message._receipt = receipt = Receipt()
    pairs = [("a", "1")]
    message.ack(user_properties=pairs)
    pairs.clear()
    assert receipt.answers == [(0, {"user_properties": [("a", "1")]})]


@rule(8)
def test_the_repr_of_a_message_does_not_show_the_payload() -> None:
    message = Message("a/b", b"s3cret", 1, properties={"correlation_data": b"s3cret"})
    assert repr(message) == "Message('a/b', 6 bytes, qos=1)"
    assert repr(Message("t", b"", 0, True)) == "Message('t', 0 bytes, qos=0, retain=True)"
    assert repr(Message("t", b"", 2, False, True)) == "Message('t', 0 bytes, qos=2, dup=True)"
    assert (
        repr(Message("t", b"1", 2, True, True))
        == "Message('t', 1 bytes, qos=2, retain=True, dup=True)"
    )
    assert "s3cret" not in f"{message}"


# --- Will ---


def test_a_will() -> None:
    will = Will("t")
    assert (will.topic, will.payload, will.qos, will.retain) == ("t", b"", 0, False)
    assert will.properties == {}
    will = Will("t", "ä", qos=2, retain=True, will_delay_interval=5, content_type="c")
    assert (will.payload, will.qos, will.retain) == (b"\xc3\xa4", 2, True)
    assert will.properties == {"will_delay_interval": 5, "content_type": "c"}


def test_a_will_has_a_topic_without_wildcards() -> None:
    for topic in ("", "a/#", "+", "a\0"):
        with pytest.raises(InvalidTopic):
            Will(topic)


def test_the_payload_of_a_will_is_binary_data() -> None:
    assert len(Will("t", bytes(65_535)).payload) == 65_535
    with pytest.raises(
        UsageError, match="payload of a will is at most 65535 bytes, this one has 65536"
    ):
        Will("t", bytes(65_536))
    with pytest.raises(UsageError, match="this one has 65536"):
        Will("t", "ä" * 32_768)
    with pytest.raises(UsageError, match="a payload must be str or bytes, not int"):
        Will("t", _anything(1))


def test_the_qos_of_a_will() -> None:  # [MQTT-3.1.2-12]
    with pytest.raises(UsageError, match="qos must be 0, 1 or 2, not 3"):
        Will("t", qos=3)


def test_a_will_that_is_said_to_be_text() -> None:
    assert Will("t", "ä", payload_format_indicator=1).payload == b"\xc3\xa4"
    assert Will("t", b"\xff", payload_format_indicator=0).payload == b"\xff"
    assert Will("t", b"\xff").payload == b"\xff"
    with pytest.raises(UsageError, match=r"payload_format_indicator says .* at byte 6") as raised:
        Will("t", b"s3cret\xff", payload_format_indicator=1)
    assert "s3cret" not in str(raised.value)


# What section 1.5.4 forbids in strings of MQTT, a payload may have: U+0000, and no characters.
@pytest.mark.parametrize("payload", [b"", b"abc", "ä€\U0001f600".encode(), b"\0", b"\xef\xbf\xbf"])
def test_text(payload: bytes) -> None:
    check_text(payload)


@pytest.mark.parametrize(
    ("payload", "position"),
    [
        (b"\xff", 0),
        (b"s3cret\x80", 6),
        (b"a\xc3", 1),  # it ends too early
        (b"a\xed\xa0\x80", 1),  # a surrogate
        (b"\xc0\x80", 0),  # U+0000, too long
        (b"ab\xf4\x90\x80\x80", 2),  # beyond the last character
    ],
)
def test_what_is_no_text(payload: bytes, position: int) -> None:
    with pytest.raises(UsageError, match=f"not at byte {position}$") as raised:
        check_text(payload)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_wills_are_equal_by_value() -> None:
    will = Will("t", b"p", qos=1, retain=True, will_delay_interval=1)
    assert will == Will("t", "p", qos=1, retain=True, will_delay_interval=1)
    assert will != Will("u", b"p", qos=1, retain=True, will_delay_interval=1)
    assert will != Will("t", b"q", qos=1, retain=True, will_delay_interval=1)
    assert will != Will("t", b"p", qos=2, retain=True, will_delay_interval=1)
    assert will != Will("t", b"p", qos=1, retain=False, will_delay_interval=1)
    assert will != Will("t", b"p", qos=1, retain=True)
    assert will != "t"


@rule(8)
def test_the_repr_of_a_will_does_not_show_the_payload() -> None:
    will = Will("a/b", b"s3cret", qos=1, correlation_data=b"s3cret")
    assert repr(will) == "Will('a/b', 6 bytes, qos=1)"
    assert "s3cret" not in f"{will}"


@pytest.mark.parametrize(
    ("expires_at", "now", "left"),
    [(1010.0, 1000.0, 10), (1010.0, 1000.5, 10), (1010.0, 1009.2, 1), (1010.0, 1011.0, 0)],
)
def test_remaining_seconds(expires_at: float, now: float, left: int) -> None:
    assert remaining_seconds(expires_at, now) == left


def test_remaining_seconds_of_floats() -> None:
    now = 711.65
    assert 1000 + now - now > 1000  # by a hair
    assert remaining_seconds(1000 + now, now) == 1000
