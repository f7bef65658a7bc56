"""MQTT 5.0, section 3.3: PUBLISH."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mqttlite.client import ClientState
from mqttlite.enums import Fate
from mqttlite.errors import InvalidTopic, UsageError
from mqttlite.packets import Message, encode
from tests.conformance.by_hand_5_0 import (
    Talk,
    check_fault,
    packet,
    publish,
    take_apart,
    text,
    two,
)
from tests.conformance.conforms import conforms
from tests.unit.protocol.sides import V5, Client

ILL_FORMED = [b"\xed\xa0\x80", b"\xc0\xaf", b"a\xff", b"a\xe2\x82"]
NO_STRINGS: list[Any] = ["\ud800", "a\0", "x" * 65_536, b"bytes", 5, None]


def kept(**options: Any) -> Talk:
    """A client that wants its session to outlive the connection."""
    return Talk(client_id="me", session_expiry_interval=60, **options)


def alias(number: int) -> bytes:
    """The property Topic Alias."""
    return b"\x23" + two(number)


class TestDup:
    @conforms("5.0", "MQTT-3.3.1-1")
    @pytest.mark.parametrize(("first", "again"), [(0x32, 0x3A), (0x34, 0x3C)], ids=hex)
    def test_flag_is_set_whenever_a_message_is_sent_again(self, first: int, again: int) -> None:
        talk = kept()
        talk.open()
        delivery = talk.publish("t", b"x", first >> 1 & 3)
        rest = text("t"), two(delivery.packet_id), b"\0", b"x"
        assert talk.packets() == [packet(first, *rest)]
        for _ in range(3):
            talk.lose()
            talk.open(session_present=True)
            assert talk.packets() == [packet(again, *rest)]

    @conforms("5.0", "MQTT-3.3.1-1")
    def test_flag_and_retain_do_not_touch_each_other(self) -> None:
        talk = kept()
        talk.open()
        talk.retain("t", 1)
        assert [each[0] for each in talk.packets()] == [0x33]
        talk.lose()
        talk.open(session_present=True)
        assert [each[0] for each in talk.packets()] == [0x3B]

    @conforms("5.0", "MQTT-3.3.1-1")
    @pytest.mark.parametrize("first", [0x3A, 0x3C], ids=hex)
    def test_flag_of_the_server_is_handed_over(self, first: int) -> None:
        talk = Talk()
        talk.open()
        subscription = talk.subscribed("t", 2)
        talk.hear(publish(first=first, packet_id=1), publish(first=first & ~8, packet_id=2))
        assert [message.dup for message in subscription.buffer] == [True, False]

    @conforms("5.0", "MQTT-3.3.1-2")
    def test_message_of_qos_0_never_has_it(self) -> None:
        talk = kept(queue_qos_0=True)
        talk.open(b"\x21\x00\x01")
        talk.publish("t", b"", 0)
        talk.publish("t", b"", 1)
        talk.publish("t", b"", 1)
        talk.publish("t", b"", 0)  # waits behind the one that has no quota
        assert [each[0] for each in talk.packets()] == [0x30, 0x32]
        talk.lose()
        talk.open(session_present=True)
        assert [each[0] for each in talk.packets()] == [0x3A, 0x32, 0x30]

    @conforms("5.0", "MQTT-3.3.1-2")
    def test_message_of_qos_0_cannot_be_written_with_it(self) -> None:
        with pytest.raises(UsageError):
            encode(Message("t", b"", 0, dup=True), V5)

    @conforms("5.0", "MQTT-3.3.1-2")
    @pytest.mark.parametrize("first", [0x38, 0x39], ids=hex)
    def test_message_of_qos_0_from_the_server_with_it_is_malformed(self, first: int) -> None:
        check_fault(Client(), publish(first=first), 0x81)


class TestQos:
    @conforms("5.0", "MQTT-3.3.1-4")
    @pytest.mark.parametrize("qos", [3, 4, -1, "1", None])
    def test_message_of_another_qos_cannot_be_written(self, qos: Any) -> None:
        with pytest.raises(UsageError):
            encode(Message("t", b"", qos, packet_id=1), V5)

    @conforms("5.0", "MQTT-3.3.1-4")
    @pytest.mark.parametrize("first", [0x36, 0x37, 0x3E, 0x3F], ids=hex)
    def test_message_of_the_server_with_both_bits_is_malformed(self, first: int) -> None:
        check_fault(Client(), publish(first=first, packet_id=1), 0x81)


class TestTopic:
    @conforms("5.0", "MQTT-3.3.2-1")
    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_it_is_the_first_field_and_a_string(self, qos: int) -> None:
        talk = Talk()
        talk.open()
        delivery = talk.publish("é/€", b"x", qos, content_type="c")
        topic = b"\x00\x06\xc3\xa9/\xe2\x82\xac"
        packet_id = two(delivery.packet_id) if qos else b""
        rest = topic, packet_id, b"\x04\x03\x00\x01c", b"x"
        assert talk.packets() == [packet(0x30 | qos << 1, *rest)]

    @conforms("5.0", "MQTT-3.3.2-1")
    @pytest.mark.parametrize("qos", [0, 1, 2])
    @pytest.mark.parametrize("topic", ["", *NO_STRINGS], ids=lambda topic: ascii(topic)[:9])
    def test_topic_that_is_no_string_is_refused(self, topic: Any, qos: int) -> None:
        talk = Talk()
        talk.open()
        with pytest.raises(InvalidTopic):
            talk.publish(topic, b"", qos)
        assert talk.sent() == b""
        assert talk.core.is_connected

    @conforms("5.0", "MQTT-3.3.2-1")
    @pytest.mark.parametrize("topic", ILL_FORMED)
    @pytest.mark.parametrize("first", [0x30, 0x32, 0x34], ids=hex)
    def test_topic_of_the_server_that_is_no_string_is_malformed(
        self, first: int, topic: bytes
    ) -> None:
        packet_id = 1 if first != 0x30 else 0
        check_fault(Client(), publish(first=first, packet_id=packet_id, topic=topic), 0x81)

    @conforms("5.0", "MQTT-3.3.2-1")
    @pytest.mark.parametrize(
        "data", [b"\x30\x00", b"\x30\x01\x00", b"\x30\x03\x00\x05t", b"\x32\x04\x00\x03t\x00"]
    )
    def test_topic_of_the_server_that_is_not_all_there_is_malformed(self, data: bytes) -> None:
        check_fault(Client(), data, 0x81)

    @conforms("5.0", "MQTT-3.3.2-1")
    @pytest.mark.parametrize("first", [0x30, 0x32, 0x34], ids=hex)
    def test_topic_of_the_server_is_empty_only_with_an_alias(self, first: int) -> None:
        packet_id = 1 if first != 0x30 else 0
        data = publish(first=first, packet_id=packet_id, topic="")
        check_fault(Client(properties={"topic_alias_maximum": 5}), data, 0x82)

    @conforms("5.0", "MQTT-3.3.2-2")
    @pytest.mark.parametrize("topic", ["+", "#", "a/+/b", "a/#", "a+", "#a", "$share/g/+"])
    def test_topic_with_a_wildcard_is_refused(self, topic: str) -> None:
        talk = Talk()
        talk.open()
        for qos in (0, 1, 2):
            with pytest.raises(InvalidTopic):
                talk.publish(topic, b"", qos)
        assert talk.sent() == b""
        with pytest.raises(UsageError):
            encode(Message(topic, b""), V5)

    @conforms("5.0", "MQTT-3.3.2-2")
    @pytest.mark.parametrize("topic", ["+", "#", "a/+/b", "a/#", "a+", "#a"])
    def test_topic_of_the_server_with_a_wildcard_is_malformed(self, topic: str) -> None:
        check_fault(Client(), publish(topic=topic), 0x81)
        check_fault(Client(), publish(first=0x32, packet_id=1, topic=topic), 0x81)
        with_alias = publish(alias(1), topic=topic)
        check_fault(Client(properties={"topic_alias_maximum": 5}), with_alias, 0x81)


class TestTopicAliases:
    @conforms("5.0", "MQTT-3.3.2-7")
    def test_they_are_forgotten_with_the_connection(self) -> None:
        talk = kept(topic_alias_maximum=5)
        talk.open()
        subscription = talk.subscribed("t")
        talk.hear(publish(alias(1)), publish(alias(1), topic=""))
        assert [message.topic for message in subscription.buffer] == ["t", "t"]
        talk.lose()
        talk.open(session_present=True)
        talk.sent()
        talk.hear(publish(alias(1), topic=""))
        assert talk.sent() == b"\xe0\x01\x82"
        assert len(subscription.buffer) == 2
        assert talk.core.state is ClientState.HANGING_UP

    @conforms("5.0", "MQTT-3.3.2-7")
    def test_they_begin_anew_on_the_next_connection(self) -> None:
        talk = kept(topic_alias_maximum=1)
        talk.open()
        subscription = talk.subscribed("#")
        talk.hear(publish(alias(1), topic="old"))
        talk.lose()
        talk.open(session_present=True)
        talk.hear(publish(alias(1), topic="new"), publish(alias(1), topic=""))
        assert [message.topic for message in subscription.buffer] == ["old", "new", "new"]

    @conforms("5.0", "MQTT-3.3.2-8")
    def test_alias_0_is_refused(self) -> None:
        talk = Talk()
        talk.open(b"\x22\x00\x05")
        for qos in (0, 1, 2):
            with pytest.raises(UsageError):
                talk.publish("t", b"", qos, topic_alias=0)
        assert talk.sent() == b""
        with pytest.raises(UsageError):
            encode(Message("t", b"", properties={"topic_alias": 0}), V5)

    @conforms("5.0", "MQTT-3.3.2-8")
    @pytest.mark.parametrize("maximum", [0, 1, 65_535])
    @pytest.mark.parametrize("topic", ["t", ""])
    def test_alias_0_of_the_server_is_not_taken(self, topic: str, maximum: int) -> None:
        client = Client(properties={"topic_alias_maximum": maximum})
        check_fault(client, publish(alias(0), topic=topic), 0x94)

    @conforms("5.0", "MQTT-3.3.2-10")
    @pytest.mark.parametrize("maximum", [1, 2, 300])
    def test_every_alias_up_to_the_maximum_is_taken(self, maximum: int) -> None:
        talk = Talk(topic_alias_maximum=maximum)
        assert b"\x22" + two(maximum) in take_apart(talk.open()).properties
        subscription = talk.subscribed("#")
        numbers = range(1, maximum + 1)
        talk.hear(*(publish(alias(each), topic=str(each)) for each in numbers))
        talk.hear(*(publish(alias(each), topic="") for each in numbers))
        topics = [message.topic for message in subscription.buffer]
        assert topics == [str(each) for each in numbers] * 2
        assert talk.core.is_connected

    @conforms("5.0", "MQTT-3.3.2-10")
    def test_the_largest_alias_is_taken(self) -> None:
        talk = Talk(topic_alias_maximum=65_535)
        talk.open()
        subscription = talk.subscribed("t", 2)
        talk.hear(publish(alias(65_535)))
        talk.hear(publish(alias(65_535), first=0x32, packet_id=1, topic=""))
        talk.hear(publish(alias(65_535), first=0x34, packet_id=1, topic=""))
        assert [message.qos for message in subscription.buffer] == [0, 1, 2]

    @conforms("5.0", "MQTT-3.3.2-11")
    @pytest.mark.parametrize(("maximum", "number"), [(0, 1), (1, 2), (10, 11), (10, 65_535)])
    @pytest.mark.parametrize("first", [0x30, 0x32, 0x34], ids=hex)
    def test_alias_above_the_maximum_is_not_taken(
        self, first: int, maximum: int, number: int
    ) -> None:
        client = Client(properties={"topic_alias_maximum": maximum} if maximum else None)
        packet_id = 1 if first != 0x30 else 0
        check_fault(client, publish(alias(number), first=first, packet_id=packet_id), 0x94)
        assert not client.session.incoming


class TestResponseTopic:
    @conforms("5.0", "MQTT-3.3.2-13")
    def test_it_is_written_as_a_string(self) -> None:
        talk = Talk()
        talk.open()
        talk.publish("t", b"", 0, response_topic="é/r")
        assert talk.sent() == b"\x30\x0b\x00\x01t\x07\x08\x00\x04\xc3\xa9/r"

    @conforms("5.0", "MQTT-3.3.2-13")
    @pytest.mark.parametrize("value", NO_STRINGS, ids=lambda value: ascii(value)[:9])
    def test_value_that_is_no_string_is_refused(self, value: Any) -> None:
        talk = Talk()
        talk.open()
        with pytest.raises(UsageError):
            talk.publish("t", response_topic=value)
        assert talk.sent() == b""

    @conforms("5.0", "MQTT-3.3.2-13")
    @pytest.mark.parametrize("value", [*ILL_FORMED, b"a\0"])
    def test_value_of_the_server_that_is_no_string_is_malformed(self, value: bytes) -> None:
        check_fault(Client(), publish(b"\x08" + text(value)), 0x81)

    @conforms("5.0", "MQTT-3.3.2-14")
    @pytest.mark.parametrize("value", ["+", "#", "a/+/b", "a/#", "a+"])
    def test_value_with_a_wildcard_is_refused(self, value: str) -> None:
        talk = Talk()
        talk.open()
        for qos in (0, 1, 2):
            with pytest.raises(UsageError):
                talk.publish("t", b"", qos, response_topic=value)
        assert talk.sent() == b""

    @conforms("5.0", "MQTT-3.3.2-14")
    @pytest.mark.parametrize("value", ["+", "#", "a/+/b", "a/#", "a+"])
    def test_value_of_the_server_with_a_wildcard_is_malformed(self, value: str) -> None:
        check_fault(Client(), publish(b"\x08" + text(value)), 0x81)


class TestContentType:
    @conforms("5.0", "MQTT-3.3.2-19")
    def test_it_is_written_as_a_string(self) -> None:
        talk = Talk()
        talk.open()
        talk.publish("t", b"", 0, content_type="é+#")
        assert talk.sent() == b"\x30\x0b\x00\x01t\x07\x03\x00\x04\xc3\xa9+#"

    @conforms("5.0", "MQTT-3.3.2-19")
    @pytest.mark.parametrize("value", NO_STRINGS, ids=lambda value: ascii(value)[:9])
    def test_value_that_is_no_string_is_refused(self, value: Any) -> None:
        talk = Talk()
        talk.open()
        with pytest.raises(UsageError):
            talk.publish("t", content_type=value)
        assert talk.sent() == b""

    @conforms("5.0", "MQTT-3.3.2-19")
    @pytest.mark.parametrize("value", [*ILL_FORMED, b"a\0"])
    def test_value_of_the_server_that_is_no_string_is_malformed(self, value: bytes) -> None:
        check_fault(Client(), publish(b"\x03" + text(value)), 0x81)


class TestActions:
    @conforms("5.0", "MQTT-3.3.4-1")
    @pytest.mark.parametrize("wanted", [True, False])
    def test_each_qos_gets_its_answer(self, wanted: bool) -> None:
        talk = Talk()
        talk.open()
        subscription = talk.subscribed("t" if wanted else "other", 2, ack="manual")

        def answer(data: bytes) -> bytes:
            talk.hear(data)
            if wanted:
                message = subscription.take()
                assert message is not None
                message.ack()
            return talk.sent()

        assert answer(publish()) == b""
        assert answer(publish(first=0x32, packet_id=7)) == b"\x40\x02\x00\x07"
        assert answer(publish(first=0x34, packet_id=8)) == b"\x50\x02\x00\x08"

    @conforms("5.0", "MQTT-3.3.4-1")
    def test_message_that_was_delivered_before_gets_its_answer_again(self) -> None:
        talk = kept()
        talk.open()
        subscription = talk.subscribed("t", 2)
        talk.hear(publish(first=0x34, packet_id=8))
        assert subscription.take() is not None
        assert subscription.take() is None
        assert talk.sent() == b"\x50\x02\x00\x08"
        talk.hear(publish(first=0x3C, packet_id=8))
        assert talk.sent() == b"\x50\x02\x00\x08"
        assert subscription.take() is None

    @conforms("5.0", "MQTT-3.3.4-6")
    @pytest.mark.parametrize("value", [[1], [1, 2], [268_435_455], [], 1])
    @pytest.mark.parametrize("connected", [True, False])
    def test_subscription_identifier_is_refused(self, connected: bool, value: Any) -> None:
        talk = Talk(queue_qos_0=True)
        if connected:
            talk.open()
        else:
            talk.core.connect(talk.now)
        for qos in (0, 1, 2):
            with pytest.raises(UsageError):
                talk.publish("t", b"", qos, subscription_identifiers=value)
        if not connected:
            talk.ask_now()
            talk.hear(packet(0x20, b"\0\0\0"))
        assert talk.sent() == b""


ENDS: dict[str, Callable[[Talk, bytes], None]] = {
    "PUBACK": lambda talk, same: talk.hear(b"\x40\x02" + same),
    "PUBACK 0x87": lambda talk, same: talk.hear(b"\x40\x03" + same + b"\x87"),
    "PUBREC 0x87": lambda talk, same: talk.hear(b"\x50\x03" + same + b"\x87"),
    "PUBCOMP": lambda talk, same: talk.hear(b"\x50\x02" + same, b"\x70\x02" + same),
    "PUBCOMP 0x92": lambda talk, same: talk.hear(b"\x50\x02" + same, b"\x70\x03" + same + b"\x92"),
}


class TestReceiveMaximumOfTheServer:
    @conforms("5.0", "MQTT-3.3.4-7")
    @pytest.mark.parametrize("maximum", [1, 2, 5])
    @pytest.mark.parametrize("end", ENDS)
    def test_no_more_messages_than_it_allows(self, end: str, maximum: int) -> None:
        qos = 1 if end.startswith("PUBACK") else 2
        talk = Talk()
        talk.open(b"\x21" + two(maximum))
        deliveries = [talk.publish("t", b"", qos) for _ in range(maximum + 3)]
        under_way = [each[5:7] for each in talk.packets()]
        assert len(under_way) == maximum
        for left in (2, 1, 0):
            ENDS[end](talk, under_way.pop(0))
            new = [each for each in talk.packets() if each[0] >> 4 == 3]
            assert len(new) == 1
            under_way += [each[5:7] for each in new]
            assert sum(each.packet_id == 0 for each in deliveries) == left
        assert talk.core.is_connected

    @conforms("5.0", "MQTT-3.3.4-7")
    def test_pubrec_makes_no_room(self) -> None:
        talk = Talk()
        talk.open(b"\x21\x00\x01")
        first, _ = talk.publish("t", b"", 2), talk.publish("t", b"", 1)
        talk.sent()
        for code in (b"", b"\x00", b"\x10"):
            talk.hear(packet(0x50, two(first.packet_id), code))
            assert [each[0] for each in talk.packets()] == [0x62]

    @conforms("5.0", "MQTT-3.3.4-7")
    def test_both_qualities_count_together_and_qos_0_does_not(self) -> None:
        talk = Talk()
        talk.open(b"\x21\x00\x03")
        for qos in (0, 1, 0, 2, 0, 1, 0):
            talk.publish("t", b"", qos)
        assert [each[0] for each in talk.packets()] == [0x30, 0x32, 0x30, 0x34, 0x30, 0x32, 0x30]
        talk.publish("t", b"", 1)
        talk.publish("t", b"", 2)
        assert talk.packets() == []

    @conforms("5.0", "MQTT-3.3.4-7")
    def test_what_is_sent_again_counts(self) -> None:
        talk = kept()
        talk.open()
        deliveries = [talk.publish("t", b"", 1) for _ in range(4)]
        talk.sent()
        talk.lose()
        talk.open(b"\x21\x00\x02", session_present=True)
        talk.publish("new", b"", 1)
        ids = [two(each.packet_id) for each in deliveries]
        assert [(each[0], each[5:7]) for each in talk.packets()] == [(0x3A, ids[0]), (0x3A, ids[1])]
        for index in (2, 3):
            talk.hear(b"\x40\x02" + ids[index - 2])
            assert [(each[0], each[5:7]) for each in talk.packets()] == [(0x3A, ids[index])]
        talk.hear(b"\x40\x02" + ids[2])
        assert [each[0] for each in talk.packets()] == [0x32]

    @conforms("5.0", "MQTT-3.3.4-7")
    def test_it_is_that_of_the_connection(self) -> None:
        talk = kept()
        talk.open(b"\x21\x00\x01")
        for _ in range(3):
            talk.publish("t", b"", 1)
        assert len(talk.packets()) == 1
        talk.lose()
        talk.open(session_present=True)
        assert [each[0] for each in talk.packets()] == [0x3A, 0x32, 0x32]

    @conforms("5.0", "MQTT-3.3.4-8")
    def test_other_packets_are_not_held_back(self) -> None:
        talk = Talk(keep_alive=10)
        talk.open(b"\x21\x00\x01")
        talk.publish("t", b"", 2)
        waiting = talk.publish("t", b"", 1)
        assert [each[0] for each in talk.packets()] == [0x34]
        talk.hear(b"\x50\x02\x00\x01")
        assert talk.sent() == b"\x62\x02\x00\x01"
        talk.hear(publish(first=0x32, packet_id=5))
        assert talk.sent() == b"\x40\x02\x00\x05"
        talk.hear(publish(first=0x34, packet_id=6))
        assert talk.sent() == b"\x50\x02\x00\x06"
        talk.hear(b"\x62\x02\x00\x06")
        assert talk.sent() == b"\x70\x02\x00\x06"
        talk.subscribe("f")
        assert [each[0] for each in talk.packets()] == [0x82]
        talk.core.unsubscribe_filters(["g"])
        assert [each[0] for each in talk.packets()] == [0xA2]
        talk.pass_deadline()
        assert talk.sent() == b"\xc0\x00"
        assert waiting.fate is Fate.PENDING
        talk.core.close(talk.now, 5.0, drain=False)
        assert [each[0] for each in talk.packets()] == [0xE0]

    @conforms("5.0", "MQTT-3.3.4-8")
    def test_pubrel_that_is_sent_again_is_not_held_back(self) -> None:
        talk = kept()
        talk.open()
        talk.publish("t", b"", 1)
        released = two(talk.publish("t", b"", 2).packet_id)
        talk.sent()
        talk.hear(b"\x50\x02" + released)
        assert talk.sent() == b"\x62\x02" + released
        talk.lose()
        talk.open(b"\x21\x00\x01", session_present=True)
        assert b"\x62\x02" + released in talk.packets()


class TestOwnReceiveMaximum:
    @conforms("5.0", "MQTT-3.3.4-9")
    @pytest.mark.parametrize("maximum", [1, 3])
    @pytest.mark.parametrize("first", [0x32, 0x34], ids=hex)
    def test_message_too_many_is_not_taken(self, first: int, maximum: int) -> None:
        talk = Talk(receive_maximum=maximum)
        assert b"\x21" + two(maximum) in take_apart(talk.open()).properties
        subscription = talk.subscribed("t", 2, ack="manual")
        talk.hear(*(publish(first=first, packet_id=each) for each in range(1, maximum + 1)))
        talk.hear(publish())  # one of QoS 0 is none too many
        assert talk.core.is_connected
        talk.hear(publish(first=first, packet_id=maximum + 1))
        assert talk.sent() == b"\xe0\x01\x93"
        assert len(subscription.buffer) == maximum + 1
        assert talk.core.state is ClientState.HANGING_UP

    @conforms("5.0", "MQTT-3.3.4-9")
    def test_both_qualities_count_together(self) -> None:
        client = Client(properties={"receive_maximum": 2})
        client.give(publish(first=0x32, packet_id=1).hex())
        client.give(publish(first=0x34, packet_id=2).hex())
        check_fault(client, publish(first=0x32, packet_id=3), 0x93)

    @conforms("5.0", "MQTT-3.3.4-9")
    def test_puback_and_pubcomp_make_room_and_pubrec_does_not(self) -> None:
        client = Client(properties={"receive_maximum": 1})
        for _ in range(3):
            client.message(publish(first=0x32, packet_id=1).hex()).ack()
            assert client.sent() == "40 02 00 01"
            client.message(publish(first=0x34, packet_id=1).hex()).ack()
            client.give("62 02 00 01")
            assert client.sent() == "50 02 00 01 70 02 00 01"
        client.message(publish(first=0x34, packet_id=1).hex()).ack()
        check_fault(client, publish(first=0x34, packet_id=2), 0x93)

    @conforms("5.0", "MQTT-3.3.4-9")
    def test_it_begins_anew_with_the_connection(self) -> None:
        talk = kept(receive_maximum=2)
        talk.open()
        subscription = talk.subscribed("t", 2, ack="manual")
        for again in (0, 8):
            talk.hear(publish(first=0x32 | again, packet_id=1))
            talk.hear(publish(first=0x34 | again, packet_id=2))
            assert talk.core.is_connected
            talk.lose()
            talk.open(session_present=True)
        assert subscription.buffer
