"""Topics, shared subscriptions and errors: sections 4.7, 4.8 and 4.13 of MQTT 5.0."""

from __future__ import annotations

from typing import Final

import pytest

from mqttlite.client import Disconnected, HangUp
from mqttlite.errors import ConnectionClosed, ConnectRefused, InvalidTopic, ProtocolError
from mqttlite.message import Will
from tests.conformance.conforms import conforms
from tests.conformance.wire_5_0 import FAULT, Program, goes_on, refuses
from tests.unit.protocol.sides import Client

LONGEST: Final = "x" * 65_535
TOO_LONG: Final = ["x" * 65_536, "ä" * 32_768, "€" * 21_846]


def refused_topic(topic: str) -> None:
    """A topic name is refused wherever it can be given, before a byte is sent."""
    for program in (Program().open(), Program().open("21 00 01")):
        program.publish("u", b"", 1)  # in the second there is no quota left
        program.said()
        for qos in (0, 1, 2):
            with pytest.raises(InvalidTopic):
                program.publish(topic, b"", qos)
        with pytest.raises(InvalidTopic):
            program.publish("t", b"", 0, response_topic=topic)
        assert program.said() == ""
    program.lose()
    with pytest.raises(InvalidTopic):
        program.publish(topic, b"", 1)
    with pytest.raises(InvalidTopic):
        Will(topic)


def refused_filter(topic_filter: str) -> None:
    """A topic filter is refused wherever it can be given, before a byte is sent."""
    program = Program().open()
    for given in (topic_filter, ["a", topic_filter]):
        with pytest.raises(InvalidTopic):
            program.subscribe(given)
        with pytest.raises(InvalidTopic):
            program.core.unsubscribe_filters(given)
    assert program.said() == ""
    program.lose()
    with pytest.raises(InvalidTopic):
        program.subscribe(topic_filter)


def sent_filter(topic_filter: str) -> bytes:
    """The filter as it stands in a SUBSCRIBE; what is around it is checked."""
    program = Program().open()
    program.subscribe(topic_filter, qos=1)
    packet = bytes.fromhex(program.said())
    assert packet[0] == 0x82
    assert packet[1] == len(packet) - 2
    assert packet[2:5] == b"\0\1\0"
    assert packet[-1] == 1
    return packet[5:-1]


class TestWildcards:
    """Section 4.7.1."""

    @conforms("5.0", "MQTT-4.7.0-1")
    @pytest.mark.parametrize("topic", ["#", "+", "a/#", "a/+/b", "+/a", "a#", "a+b", "#/", "/+"])
    def test_not_in_a_topic_name(self, topic: str) -> None:
        refused_topic(topic)

    @conforms("5.0", "MQTT-4.7.0-1")
    @pytest.mark.parametrize(
        "packet",
        ["30 04 00 01 23 00", "30 04 00 01 2b 00", "32 08 00 03 61 2f 23 00 07 00"],
    )
    def test_in_a_topic_name_from_the_server(self, packet: str) -> None:
        assert refuses(Client(), packet) in {*FAULT, 0x90}

    @conforms("5.0", "MQTT-4.7.0-1")
    @pytest.mark.parametrize("topic", ["23", "2b", "61 2f 23"])
    def test_in_a_response_topic_from_the_server(self, topic: str) -> None:
        size = len(bytes.fromhex(topic))
        section = f"08 00 {size:02x} {topic}"
        packet = f"30 {7 + size:02x} 00 01 74 {3 + size:02x} {section}"
        assert refuses(Client(), packet) in {*FAULT, 0x90}

    @conforms("5.0", "MQTT-4.7.1-1")
    @pytest.mark.parametrize(
        "topic_filter", ["a#", "a/#/b", "#/a", "##", "a/b#", "/#/", "#/", "a/##", "#/#", "#+"]
    )
    def test_hash_that_is_not_the_whole_last_level(self, topic_filter: str) -> None:
        refused_filter(topic_filter)

    @conforms("5.0", "MQTT-4.7.1-1")
    @pytest.mark.parametrize(
        ("topic_filter", "expected"),
        [("#", b"\0\1#"), ("a/#", b"\0\3a/#"), ("/#", b"\0\2/#"), ("+/#", b"\0\3+/#")],
    )
    def test_hash_that_is(self, topic_filter: str, expected: bytes) -> None:
        assert sent_filter(topic_filter) == expected

    @conforms("5.0", "MQTT-4.7.1-2")
    @pytest.mark.parametrize("topic_filter", ["a+", "+a", "a/b+", "a/+b/c", "++", "a/++/b", "+#"])
    def test_plus_that_is_not_a_whole_level(self, topic_filter: str) -> None:
        refused_filter(topic_filter)

    @conforms("5.0", "MQTT-4.7.1-2")
    @pytest.mark.parametrize(
        ("topic_filter", "expected"),
        [
            ("+", b"\0\1+"),
            ("+/a", b"\0\3+/a"),
            ("a/+", b"\0\3a/+"),
            ("a/+/b", b"\0\5a/+/b"),
            ("+/+", b"\0\3+/+"),
            ("/+", b"\0\2/+"),
        ],
    )
    def test_plus_that_is(self, topic_filter: str, expected: bytes) -> None:
        assert sent_filter(topic_filter) == expected


class TestNamesAndFilters:
    """Section 4.7.3."""

    @conforms("5.0", "MQTT-4.7.3-1")
    def test_they_are_not_empty(self) -> None:
        refused_topic("")
        refused_filter("")

    @conforms("5.0", "MQTT-4.7.3-1")
    def test_an_empty_name_from_the_server(self) -> None:
        assert refuses(Client(), "30 03 00 00 00") == 0x82
        assert refuses(Client(), "32 05 00 00 00 07 00") == 0x82
        assert refuses(Client(), "30 07 00 01 74 03 08 00 00") in {*FAULT, 0x90}

    @conforms("5.0", "MQTT-4.7.3-1", "MQTT-4.7.3-2")
    def test_one_character_of_any_kind_is_enough(self) -> None:
        program = Program().open()
        for topic in ("a", "/", " ", "\x01"):
            program.publish(topic, b"", 0)
        assert program.said() == (
            "30 04 00 01 61 00 30 04 00 01 2f 00 30 04 00 01 20 00 30 04 00 01 01 00"
        )
        assert sent_filter("/") == b"\0\1/"
        assert sent_filter(" ") == b"\0\1 "

    @conforms("5.0", "MQTT-4.7.3-2")
    @pytest.mark.parametrize("topic", ["\0", "a\0", "\0/a", "a/\0/b"], ids=ascii)
    def test_they_have_no_null(self, topic: str) -> None:
        refused_topic(topic)
        refused_filter(topic)

    @conforms("5.0", "MQTT-4.7.3-2")
    @pytest.mark.parametrize(
        "packet",
        ["30 04 00 01 00 00", "34 08 00 03 61 00 62 00 07 00", "30 08 00 01 74 04 08 00 01 00"],
    )
    def test_a_null_from_the_server(self, packet: str) -> None:
        assert refuses(Client(), packet) == 0x81

    @conforms("5.0", "MQTT-4.7.3-3")
    @pytest.mark.parametrize("topic", TOO_LONG, ids=["a", "ä", "€"])
    def test_they_have_at_most_65535_bytes(self, topic: str) -> None:
        refused_topic(topic)
        refused_filter(topic)

    @conforms("5.0", "MQTT-4.7.3-3")
    def test_they_may_have_65535_bytes(self) -> None:
        program = Program().open()
        program.publish(LONGEST, b"", 0)
        assert program.sent() == bytes.fromhex("30 82 80 04 ff ff") + b"x" * 65_535 + b"\0"
        program.subscribe(LONGEST, qos=1)
        expected = bytes.fromhex("82 85 80 04 00 01 00 ff ff") + b"x" * 65_535 + b"\1"
        assert program.sent() == expected

    @conforms("5.0", "MQTT-4.7.3-3")
    def test_one_of_65535_bytes_from_the_server(self) -> None:
        program = Program().open()
        subscription = program.subscribed("#", 0)
        packet = bytes.fromhex("30 82 80 04 ff ff") + b"x" * 65_535 + b"\0"
        program.core.receive(packet, program.now)
        message = subscription.take()
        assert message is not None
        assert message.topic == LONGEST


class TestSharedSubscriptions:
    """Section 4.8.2."""

    @conforms("5.0", "MQTT-4.8.2-1", "MQTT-4.8.2-2")
    @pytest.mark.parametrize(
        ("topic_filter", "expected"),
        [
            ("$share/g/a", b"\0\x0a$share/g/a"),
            ("$share/a b/+/c", b"\0\x0e$share/a b/+/c"),
            ("$share/g/#", b"\0\x0a$share/g/#"),
            ("$share/g//", b"\0\x0a$share/g//"),
            ("$share/g//a", b"\0\x0b$share/g//a"),
        ],
    )
    def test_with_a_name_and_a_filter(self, topic_filter: str, expected: bytes) -> None:
        assert sent_filter(topic_filter) == expected

    @conforms("5.0", "MQTT-4.8.2-1")
    @pytest.mark.parametrize("topic_filter", ["$share", "$share/", "$share//a", "$share//"])
    def test_without_a_name(self, topic_filter: str) -> None:
        refused_filter(topic_filter)

    @conforms("5.0", "MQTT-4.8.2-2")
    @pytest.mark.parametrize(
        "topic_filter",
        ["$share/+/a", "$share/#/a", "$share/g+/a", "$share/#g/a", "$share/#", "$share/+"],
    )
    def test_with_a_wildcard_in_its_name(self, topic_filter: str) -> None:
        refused_filter(topic_filter)

    @conforms("5.0", "MQTT-4.8.2-2")
    @pytest.mark.parametrize(
        "topic_filter", ["$share/g", "$share/g/", "$share/g/a#", "$share/g/#/a", "$share/g/a+"]
    )
    def test_without_a_filter_that_is_one(self, topic_filter: str) -> None:
        refused_filter(topic_filter)


class TestOtherErrors:
    """Section 4.13.2: a reason code of 0x80 or above ends the connection."""

    @conforms("5.0", "MQTT-4.13.2-1")
    @pytest.mark.parametrize("code", [0x80, 0x81, 0x87, 0x88, 0x95, 0x9D, 0x9F], ids=hex)
    def test_in_connack(self, code: int) -> None:
        program = Program()
        operation = program.core.connect(program.now)
        program.dial()
        program.said()
        program.give(f"20 03 00 {code:02x} 00")
        assert program.said() == ""
        assert isinstance(program.core.take_action(), HangUp)
        program.lose()
        with pytest.raises(ConnectRefused) as raised:
            operation.result()
        assert raised.value.reason_code == code

    @conforms("5.0", "MQTT-4.13.2-1")
    @pytest.mark.parametrize("code", [0x80, 0x82, 0x8B, 0x8D, 0x8E, 0x97, 0x9D, 0xA0], ids=hex)
    def test_in_disconnect_of_the_server(self, code: int) -> None:
        program = Program().open()
        program.give(f"e0 01 {code:02x}", "32 06 00 01 74 00 07 00")
        program.publish("t", b"", 1)
        assert program.said() == ""
        assert isinstance(program.core.take_action(), HangUp)
        program.lose()
        (event,) = (each for each in program.core.events if isinstance(each, Disconnected))
        assert isinstance(event.error, ConnectionClosed)
        assert event.error.reason_code == code

    @conforms("5.0", "MQTT-4.13.2-1")
    @pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "not sent"])
    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            ("00 00", 0x81),
            ("d0 01", 0x81),
            ("c0 00", 0x82),
            ("40 02 00 09", 0x82),
            ("30 04 00 01 23 00", 0x81),
            ("30 07 00 01 74 03 23 00 01", 0x94),
            ("30 ff 01", 0x95),
        ],
    )
    def test_in_disconnect_of_this_client(self, fault: str, code: int, *, is_sent: bool) -> None:
        program = Program(maximum_packet_size=100).open()
        program.give(fault)
        if is_sent:
            assert program.said() == f"e0 01 {code:02x}"
        assert isinstance(program.core.take_action(), HangUp)
        # Though the network takes nothing, or the server does not close its direction.
        program.pass_deadline()
        assert program.core.take_action() == HangUp(graceful=False)
        program.lose()
        (event,) = (each for each in program.core.events if isinstance(each, Disconnected))
        assert isinstance(event.error, ProtocolError)
        assert event.error.reason_code == code

    @conforms("5.0", "MQTT-4.13.2-1")
    def test_too_many_messages_end_the_connection(self) -> None:
        program = Program(receive_maximum=1).open()
        program.subscribed("t", 1, ack="manual")
        program.give("32 06 00 01 74 00 07 00", "32 06 00 01 74 00 08 00")
        assert program.said() == "e0 01 93"
        assert isinstance(program.hang_up(), HangUp)

    @conforms("5.0", "MQTT-4.13.2-1")
    def test_in_another_packet_it_does_not(self) -> None:
        client = Client()
        client.publish(qos=1)
        client.publish(qos=2)
        client.connection.unsubscribe(["f"])
        client.give("40 03 00 01 80", "50 03 00 02 97", "b0 04 00 03 00 87")
        assert goes_on(client)
