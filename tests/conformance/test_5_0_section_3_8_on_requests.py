"""SUBSCRIBE, UNSUBSCRIBE and their answers, and PINGREQ: sections 3.8 to 3.12 of MQTT 5.0."""

from __future__ import annotations

from typing import Any, Final

import pytest

from mqttlite.client import ClientState, Disconnected
from mqttlite.errors import (
    InvalidTopic,
    KeepAliveTimeout,
    SubscribeError,
    UnsubscribeError,
    UsageError,
)
from mqttlite.packets import Subscribe, SubscriptionOptions, Unsubscribe, encode
from tests.conformance.conforms import conforms
from tests.conformance.wire_5_0 import FAULT, Program, goes_on, refuses
from tests.unit.protocol.sides import V5, Client

# Strings that cannot be written as UTF-8, and what is no string.
NO_STRINGS: Final[list[Any]] = ["\ud800", "a/\udfff", "a\ud83d\ude00", b"a", None, 1]

# Section 3.9.3, and table 3-9.
SUBACK_CODES: Final = frozenset(
    (0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)
)
UNSUBACK_CODES: Final = frozenset((0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91))


def asking(*topic_filters: str) -> Client:
    """A client that has sent SUBSCRIBE for these filters, with the identifier 1."""
    client = Client()
    client.connection.subscribe([(each, SubscriptionOptions()) for each in topic_filters])
    return client


def giving_back(*topic_filters: str) -> Client:
    """A client that has sent UNSUBSCRIBE for these filters, with the identifier 1."""
    client = Client()
    client.connection.unsubscribe(list(topic_filters))
    return client


class TestSubscribe:
    @conforms("5.0", "MQTT-3.8.1-1", "MQTT-3.8.3-2")
    def test_its_flags_and_a_filter_with_its_options(self) -> None:
        program = Program().open()
        program.subscribe("a/b", qos=1)
        assert program.said() == "82 09 00 01 00 00 03 61 2f 62 01"

    @conforms("5.0", "MQTT-3.8.3-2")
    def test_every_filter_has_its_options(self) -> None:
        program = Program().open()
        program.subscribe(["a", "b"], qos=2)
        assert program.said() == "82 0b 00 01 00 00 01 61 02 00 01 62 02"

    @conforms("5.0", "MQTT-3.8.3-2")
    def test_without_a_filter_it_is_refused_before_a_byte_is_sent(self) -> None:
        program = Program().open()
        with pytest.raises(UsageError):
            program.subscribe([])
        assert program.said() == ""
        with pytest.raises(UsageError):
            encode(Subscribe(1, []), V5)

    @conforms("5.0", "MQTT-3.8.3-1")
    def test_filters_are_utf_8(self) -> None:
        program = Program().open()
        program.subscribe("ä/€/😀", qos=0)
        assert program.said() == "82 11 00 01 00 00 0b c3 a4 2f e2 82 ac 2f f0 9f 98 80 00"

    @conforms("5.0", "MQTT-3.8.3-1")
    @pytest.mark.parametrize("topic_filter", NO_STRINGS, ids=ascii)
    def test_other_filters_are_refused_before_a_byte_is_sent(self, topic_filter: Any) -> None:
        program = Program().open()
        with pytest.raises(InvalidTopic):
            program.subscribe(["a", topic_filter])
        assert program.said() == ""

    @conforms("5.0", "MQTT-3.8.3-4")
    def test_no_local_on_a_shared_subscription_is_refused_before_a_byte_is_sent(self) -> None:
        program = Program().open()
        with pytest.raises(UsageError):
            program.subscribe(["a", "$share/g/a"], no_local=True)
        assert program.said() == ""
        with pytest.raises(UsageError):
            encode(Subscribe(1, [("$share/g/a", SubscriptionOptions(no_local=True))]), V5)

    @conforms("5.0", "MQTT-3.8.3-4")
    def test_no_local_is_0_on_a_shared_subscription(self) -> None:
        program = Program().open()
        program.subscribe("$share/g/a", qos=1, retain_as_published=True)
        assert program.said() == "82 10 00 01 00 00 0a 24 73 68 61 72 65 2f 67 2f 61 09"

    @conforms("5.0", "MQTT-3.8.3-5")
    @pytest.mark.parametrize(
        ("arguments", "options"),
        [
            ({"qos": 0}, "00"),
            ({"qos": 1}, "01"),
            ({"qos": 2}, "02"),
            ({"qos": 0, "no_local": True}, "04"),
            ({"qos": 0, "retain_as_published": True}, "08"),
            ({"qos": 0, "retain_handling": 1}, "10"),
            ({"qos": 0, "retain_handling": 2}, "20"),
            (
                {"qos": 2, "no_local": True, "retain_as_published": True, "retain_handling": 2},
                "2e",
            ),
            ({"qos": 1, "no_local": 0xC0, "retain_as_published": "yes"}, "0d"),
        ],
    )
    def test_the_reserved_bits_of_the_options_are_0(
        self, arguments: dict[str, Any], options: str
    ) -> None:
        program = Program().open()
        program.subscribe("f", **arguments)
        assert program.said() == f"82 07 00 01 00 00 01 66 {options}"

    @conforms("5.0", "MQTT-3.8.3-5")
    @pytest.mark.parametrize(
        "arguments",
        [{"qos": 0x40}, {"qos": 0x80}, {"qos": 3}, {"retain_handling": 4}, {"retain_handling": 12}],
        ids=str,
    )
    def test_values_that_would_set_them_are_refused_before_a_byte_is_sent(
        self, arguments: dict[str, Any]
    ) -> None:
        program = Program().open()
        with pytest.raises(UsageError):
            program.subscribe("f", **arguments)
        assert program.said() == ""


class TestSuback:
    @conforms("5.0", "MQTT-3.8.4-2")
    def test_it_answers_the_subscribe_of_its_identifier(self) -> None:
        program = Program().open()
        first, second = program.subscribe("a", qos=1), program.subscribe("b", qos=2)
        program.give("90 04 00 02 00 02")
        assert not first.subscribed.done
        assert second.subscribed.result() == {"b": 2}
        program.give("90 04 00 01 00 00")
        assert first.subscribed.result() == {"a": 0}

    @conforms("5.0", "MQTT-3.8.4-2")
    @pytest.mark.parametrize("answer", ["90 04 00 02 00 00", "b0 04 00 01 00 00"])
    def test_another_identifier_or_another_packet_is_no_answer(self, answer: str) -> None:
        assert refuses(asking("a"), answer) == 0x82

    @conforms("5.0", "MQTT-3.8.4-6")
    @pytest.mark.parametrize(
        "answer", ["90 03 00 01 00", "90 04 00 01 00 00", "90 06 00 01 00 00 00 00"]
    )
    def test_more_or_fewer_codes_than_filters(self, answer: str) -> None:
        assert refuses(asking("a", "b"), answer) in FAULT

    @conforms("5.0", "MQTT-3.8.4-6", "MQTT-3.9.3-1")
    def test_the_codes_are_those_of_the_filters_in_their_order(self) -> None:
        program = Program().open()
        subscription = program.subscribe(["c", "a", "b"], qos=2)
        program.give("90 06 00 01 00 02 00 01")
        assert subscription.subscribed.result() == {"c": 2, "a": 0, "b": 1}

    @conforms("5.0", "MQTT-3.9.3-1")
    def test_a_refusal_is_that_of_the_filter_at_its_place(self) -> None:
        program = Program().open()
        subscription = program.subscribe(["c", "a", "b"], qos=2)
        program.give("90 06 00 01 00 02 87 01")
        with pytest.raises(SubscribeError) as raised:
            subscription.subscribed.result()
        assert raised.value.reason_codes == {"c": 2, "a": 0x87, "b": 1}

    @conforms("5.0", "MQTT-3.9.3-2")
    def test_the_codes_of_the_table_are_taken(self) -> None:
        for code in SUBACK_CODES:
            client = asking("a")
            (answer,) = client.give(f"90 04 00 01 00 {code:02x}")
            assert answer.reason_codes == [code]
            assert goes_on(client)

    @conforms("5.0", "MQTT-3.9.3-2")
    def test_other_codes_end_the_connection(self) -> None:
        for code in set(range(0x100)) - SUBACK_CODES:
            assert refuses(asking("a"), f"90 04 00 01 00 {code:02x}") in FAULT
            assert refuses(asking("a", "b"), f"90 05 00 01 00 00 {code:02x}") in FAULT


class TestUnsubscribe:
    @conforms("5.0", "MQTT-3.10.1-1", "MQTT-3.10.3-2")
    def test_its_flags_and_a_filter(self) -> None:
        program = Program().open()
        program.core.unsubscribe_filters("a/b")
        assert program.said() == "a2 08 00 01 00 00 03 61 2f 62"

    @conforms("5.0", "MQTT-3.10.1-1", "MQTT-3.10.3-2")
    def test_at_the_end_of_a_subscription(self) -> None:
        program = Program().open()
        subscription = program.subscribed(["a", "b"])
        program.core.unsubscribe(subscription)
        assert program.said() == "a2 09 00 02 00 00 01 61 00 01 62"

    @conforms("5.0", "MQTT-3.10.3-2")
    def test_without_a_filter_it_is_refused_before_a_byte_is_sent(self) -> None:
        program = Program().open()
        with pytest.raises(UsageError):
            program.core.unsubscribe_filters([])
        assert program.said() == ""
        with pytest.raises(UsageError):
            encode(Unsubscribe(1, []), V5)

    @conforms("5.0", "MQTT-3.10.3-1")
    def test_filters_are_utf_8_and_follow_each_other(self) -> None:
        program = Program().open()
        program.core.unsubscribe_filters(["ä", "€", "😀"])
        assert program.said() == ("a2 12 00 01 00 00 02 c3 a4 00 03 e2 82 ac 00 04 f0 9f 98 80")

    @conforms("5.0", "MQTT-3.10.3-1")
    @pytest.mark.parametrize("topic_filter", NO_STRINGS, ids=ascii)
    def test_other_filters_are_refused_before_a_byte_is_sent(self, topic_filter: Any) -> None:
        program = Program().open()
        with pytest.raises(InvalidTopic):
            program.core.unsubscribe_filters(["a", topic_filter])
        assert program.said() == ""


class TestUnsuback:
    @conforms("5.0", "MQTT-3.10.4-4", "MQTT-3.10.4-5")
    def test_it_is_waited_for_and_answers_the_unsubscribe_of_its_identifier(self) -> None:
        program = Program().open()
        first = program.core.unsubscribe_filters("a")
        second = program.core.unsubscribe_filters("b")
        program.said()
        assert not first.done
        assert not second.done
        program.give("b0 04 00 02 00 11")
        assert not first.done
        assert second.result().reason_codes == {"b": 0x11}
        program.give("b0 04 00 01 00 00")
        assert first.result().reason_codes == {"a": 0x00}

    @conforms("5.0", "MQTT-3.10.4-5")
    @pytest.mark.parametrize("answer", ["b0 04 00 02 00 00", "90 04 00 01 00 00"])
    def test_another_identifier_or_another_packet_is_no_answer(self, answer: str) -> None:
        assert refuses(giving_back("a"), answer) == 0x82

    @conforms("5.0", "MQTT-3.11.3-1")
    def test_the_codes_are_those_of_the_filters_in_their_order(self) -> None:
        program = Program().open()
        operation = program.core.unsubscribe_filters(["c", "a", "b"])
        program.give("b0 06 00 01 00 00 11 87")
        with pytest.raises(UnsubscribeError) as raised:
            operation.result()
        assert raised.value.reason_codes == {"c": 0x00, "a": 0x11, "b": 0x87}

    @conforms("5.0", "MQTT-3.11.3-2")
    def test_the_codes_of_the_table_are_taken(self) -> None:
        for code in UNSUBACK_CODES:
            client = giving_back("a")
            (answer,) = client.give(f"b0 04 00 01 00 {code:02x}")
            assert answer.reason_codes == [code]
            assert goes_on(client)

    @conforms("5.0", "MQTT-3.11.3-2")
    def test_other_codes_end_the_connection(self) -> None:
        for code in set(range(0x100)) - UNSUBACK_CODES:
            assert refuses(giving_back("a"), f"b0 04 00 01 00 {code:02x}") in FAULT
            assert refuses(giving_back("a", "b"), f"b0 05 00 01 00 00 {code:02x}") in FAULT

    @conforms("5.0", "MQTT-3.11.3-2")
    @pytest.mark.parametrize(
        "answer", ["b0 03 00 01 00", "b0 04 00 01 00 00", "b0 06 00 01 00 00 00 00"]
    )
    def test_more_or_fewer_codes_than_filters(self, answer: str) -> None:
        assert refuses(giving_back("a", "b"), answer) in FAULT


class TestPingresp:
    @conforms("5.0", "MQTT-3.12.4-1")
    def test_without_it_the_connection_is_dead(self) -> None:
        program = Program(keep_alive=60).open()
        program.pass_deadline()
        assert program.said() == "c0 00"
        program.pass_deadline()
        program.hang_up()
        (event,) = (each for each in program.core.events if isinstance(each, Disconnected))
        assert isinstance(event.error, KeepAliveTimeout)
        assert program.core.state is ClientState.WAITING

    @conforms("5.0", "MQTT-3.12.4-1")
    def test_with_it_the_connection_goes_on(self) -> None:
        program = Program(keep_alive=60).open()
        for _ in range(10):
            program.pass_deadline()
            assert program.said() == "c0 00"
            program.give("d0 00")
        assert program.core.is_connected
