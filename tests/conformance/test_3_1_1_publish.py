"""MQTT 3.1.1, sections 3.3 to 3.7, 4.3, 4.5 and 4.6: messages, and their acknowledgements."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import DeliveryState
from mqttlite.enums import Fate
from mqttlite.errors import InvalidTopic, UsageError
from mqttlite.message import Message
from mqttlite.packets import encode
from tests.conformance.conforms import conforms
from tests.conformance.talk import ACCEPTED, Talk, all_of
from tests.unit.protocol.sides import V311


def payloads(received: list[Message]) -> list[bytes]:
    return [message.payload for message in received]


# --- 3.3: PUBLISH


@conforms("3.1.1", "MQTT-3.3.1-1", "MQTT-3.3.1-2", "MQTT-4.3.1-1")
def test_qos_0_is_sent_once_and_never_with_dup() -> None:
    talk = Talk(clean_start=False).open()
    delivery = talk.publish("t", b"x", 0)
    assert talk.took() == "30 04 00 01 74 78"
    assert delivery.fate is Fate.SENT
    assert talk.again() == ""
    with pytest.raises(UsageError):
        encode(Message("t", b"", 0, dup=True), V311)


@conforms("3.1.1", "MQTT-3.3.1-2", "MQTT-4.3.1-1")
def test_qos_0_that_had_to_wait_has_no_dup() -> None:
    talk = Talk(queue_qos_0=True).open()
    talk.lose()
    talk.publish("t", b"x", 0)
    talk.opened()
    talk.give(ACCEPTED)
    assert talk.took() == "30 04 00 01 74 78"


@conforms("3.1.1", "MQTT-3.3.1-2")
@pytest.mark.parametrize("first", ["38", "39"])
def test_qos_0_with_dup_ends_the_connection(first: str) -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give(first, "04 00 01 74 78")
    talk.fault()
    assert all_of(received) == []


@conforms("3.1.1", "MQTT-3.3.1-1")
def test_dup_of_a_message_that_comes_again_is_seen() -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give("32 05 00 01 74 00 01", "3a 05 00 01 74 00 02", "3c 05 00 01 74 00 03")
    assert [message.dup for message in all_of(received)] == [False, True, True]


@conforms("3.1.1", "MQTT-3.3.1-4")
@pytest.mark.parametrize("qos", [3, -1, 4, "1", None])
def test_no_other_qos_is_sent(qos: Any) -> None:
    with pytest.raises(UsageError):
        encode(Message("t", b"", qos, packet_id=1), V311)


@conforms("3.1.1", "MQTT-3.3.1-4")
@pytest.mark.parametrize("first", ["36", "37", "3e", "3f"])
def test_qos_3_ends_the_connection(first: str) -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give(first, "05 00 01 74 00 07")
    talk.fault()
    assert all_of(received) == []


@conforms("3.1.1", "MQTT-3.3.2-1", "MQTT-4.7.3-1", "MQTT-4.7.3-2", "MQTT-4.7.3-3")
@pytest.mark.parametrize("qos", [0, 1])
def test_a_topic_name_that_is_not_allowed_is_refused(qos: int) -> None:
    talk = Talk().open()
    for topic in ("", "a\0", "\ud800", "x" * 65_536, "ü" * 32_768):
        talk.refuses(InvalidTopic, lambda topic=topic: talk.publish(topic, b"", qos))
    # Nor is it queued while there is no connection.
    talk.lose()
    for topic in ("", "a\0", "\ud800", "x" * 65_536):
        with pytest.raises(InvalidTopic):
            talk.publish(topic, b"", qos)
    talk.opened()
    talk.give(ACCEPTED)
    assert talk.took() == ""


@conforms("3.1.1", "MQTT-3.3.2-1", "MQTT-4.7.3-1", "MQTT-4.7.3-3")
def test_the_topic_name_is_the_first_field() -> None:
    talk = Talk().open()
    talk.publish("t€", b"x", 0)
    talk.publish("t€", b"x", 1)
    assert talk.took() == "30 07 00 04 74 e2 82 ac 78 32 09 00 04 74 e2 82 ac 00 01 78"
    talk.publish("x" * 65_535, b"", 0)
    assert talk.sent() == b"\x30\x81\x80\x04\xff\xff" + b"x" * 65_535


@conforms("3.1.1", "MQTT-3.3.2-1", "MQTT-4.7.3-1")
@pytest.mark.parametrize(
    "packet", ["30 00", "30 01 00", "30 02 00 00", "30 03 00 00 78", "32 04 00 00 00 01"]
)
def test_a_message_without_a_topic_name_ends_the_connection(packet: str) -> None:
    talk = Talk().open()
    received = talk.listen("#")
    talk.give(packet)
    talk.fault()
    assert all_of(received) == []


@conforms("3.1.1", "MQTT-3.3.2-1", "MQTT-4.7.3-3")
def test_the_longest_topic_name_can_come() -> None:
    talk = Talk().open()
    received = talk.listen("#", qos=0)
    talk.core.receive(b"\x30\x81\x80\x04\xff\xff" + b"x" * 65_535, talk.now)
    assert [message.topic for message in all_of(received)] == ["x" * 65_535]


@conforms("3.1.1", "MQTT-3.3.2-2", "MQTT-4.7.1-1")
@pytest.mark.parametrize("topic", ["#", "+", "a/#", "a/+/b", "a#", "+a"])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_topic_name_with_a_wildcard_is_refused(topic: str, qos: int) -> None:
    talk = Talk().open()
    talk.refuses(InvalidTopic, lambda: talk.publish(topic, b"", qos))
    assert talk.took() == ""


@conforms("3.1.1", "MQTT-3.3.2-2", "MQTT-4.7.1-1")
@pytest.mark.parametrize(
    "packet", ["30 03 00 01 23", "30 03 00 01 2b", "32 07 00 03 61 2f 23 00 01"]
)
def test_a_topic_name_with_a_wildcard_ends_the_connection(packet: str) -> None:
    talk = Talk().open()
    received = talk.listen("#")
    talk.give(packet)
    talk.fault()
    assert all_of(received) == []


# --- 3.3.4, 4.3: the answers


@conforms("3.1.1", "MQTT-3.3.4-1")
def test_a_message_is_answered_by_its_qos() -> None:
    talk = Talk().open()
    received = talk.listen("t")
    for packet, answer in (
        ("30 04 00 01 74 78", ""),
        ("32 06 00 01 74 00 05 78", "40 02 00 05"),
        ("34 06 00 01 74 00 06 78", "50 02 00 06"),
    ):
        talk.give(packet)
        assert payloads(all_of(received)) == [b"x"]
        received.take()
        assert talk.took() == answer


@conforms("3.1.1", "MQTT-3.3.4-1")
def test_nothing_is_acknowledged_before_the_program_has_it() -> None:
    talk = Talk().open()
    received = talk.listen("t", ack="manual")
    talk.give("32 05 00 01 74 00 05", "34 05 00 01 74 00 06")
    one, two = all_of(received)
    assert talk.took() == ""
    one.ack()
    assert talk.took() == "40 02 00 05"
    two.ack()
    assert talk.took() == "50 02 00 06"


@conforms("3.1.1", "MQTT-4.3.2-1")
def test_qos_1_is_unacknowledged_until_puback() -> None:
    talk = Talk(clean_start=False).open()
    delivery = talk.publish("t", b"x", 1)
    assert talk.took() == "32 06 00 01 74 00 01 78"
    assert talk.again() == "3a 06 00 01 74 00 01 78"
    assert not delivery.done
    talk.give("40 02 00 01")
    assert delivery.fate is Fate.ACKNOWLEDGED
    assert talk.took() == ""
    assert talk.again() == ""
    # The next one has DUP 0 and an identifier that is free.
    talk.publish("t", b"y", 1)
    assert talk.took() == "32 06 00 01 74 00 02 79"


@conforms("3.1.1", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_what_had_to_wait_has_no_dup_when_it_is_first_sent(qos: int) -> None:
    talk = Talk(clean_start=False).open()
    talk.lose()
    talk.publish("t", b"x", qos)
    talk.opened()
    talk.give("20 02 01 00")
    assert talk.took() == f"3{qos * 2} 06 00 01 74 00 01 78"


@conforms("3.1.1", "MQTT-4.3.2-2")
@pytest.mark.parametrize("first", ["32", "3a"])
def test_after_puback_an_identifier_of_qos_1_is_a_new_message(first: str) -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give("32 06 00 01 74 00 05 61")
    assert payloads(all_of(received)) == [b"a"]
    received.take()
    assert talk.took() == "40 02 00 05"
    talk.give(first, "06 00 01 74 00 05 62")
    assert payloads(all_of(received)) == [b"b"]
    received.take()
    assert talk.took() == "40 02 00 05"


@conforms("3.1.1", "MQTT-4.3.3-1")
def test_qos_2_goes_through_its_two_halves() -> None:
    talk = Talk(clean_start=False).open()
    delivery = talk.publish("t", b"x", 2)
    assert talk.took() == "34 06 00 01 74 00 01 78"
    assert talk.again() == "3c 06 00 01 74 00 01 78"  # until PUBREC
    talk.give("50 02 00 01")
    assert talk.took() == "62 02 00 01"
    assert not delivery.done
    for _ in range(2):  # until PUBCOMP, and never the message again
        assert talk.again() == "62 02 00 01"
    talk.give("50 02 00 01")  # once more: only PUBREL answers it
    assert talk.took() == "62 02 00 01"
    talk.give("70 02 00 01")
    assert delivery.fate is Fate.ACKNOWLEDGED
    assert talk.again() == ""


@conforms("3.1.1", "MQTT-4.3.3-1")
@pytest.mark.parametrize("answer", ["40 02 00 01", "70 02 00 01"])
def test_qos_2_is_not_ended_by_another_answer(answer: str) -> None:
    talk = Talk(clean_start=False).open()
    delivery = talk.publish("t", b"x", 2)
    talk.took()
    talk.give(answer)
    talk.fault()
    assert not delivery.done
    talk.opened()
    talk.give("20 02 01 00")
    assert talk.took() == "3c 06 00 01 74 00 01 78"


@conforms("3.1.1", "MQTT-4.3.3-1", "MQTT-4.3.2-1")
def test_identifiers_of_unfinished_flows_are_not_used_again() -> None:
    talk = Talk().open()
    talk.publish("t", b"", 1)
    talk.publish("t", b"", 2)
    talk.took()
    talk.give("50 02 00 02")
    assert talk.took() == "62 02 00 02"
    talk.core.session.last_packet_id = 0
    talk.publish("t", b"", 2)
    assert talk.took() == "34 05 00 01 74 00 03"
    talk.give("70 02 00 02", "40 02 00 01")
    talk.core.session.last_packet_id = 0
    talk.publish("t", b"", 1)
    talk.publish("t", b"", 2)
    assert talk.took() == "32 05 00 01 74 00 01 34 05 00 01 74 00 02"


@conforms("3.1.1", "MQTT-4.3.3-2")
def test_a_qos_2_message_is_delivered_once_until_pubrel() -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give("34 06 00 01 74 00 05 61")
    assert payloads(all_of(received)) == [b"a"]
    received.take()
    assert talk.took() == "50 02 00 05"
    for first in ("3c", "34", "3c"):  # whatever DUP says
        talk.give(first, "06 00 01 74 00 05 61")
        assert talk.took() == "50 02 00 05"
        assert all_of(received) == []
    for _ in range(2):
        talk.give("62 02 00 05")
        assert talk.took() == "70 02 00 05"
    talk.give("3c 06 00 01 74 00 05 62")
    assert payloads(all_of(received)) == [b"b"]
    received.take()
    assert talk.took() == "50 02 00 05"


@conforms("3.1.1", "MQTT-4.3.3-2")
def test_a_qos_2_message_that_the_program_still_has_is_answered_once() -> None:
    talk = Talk().open()
    received = talk.listen("t", ack="manual")
    talk.give("34 06 00 01 74 00 05 61")
    (message,) = all_of(received)
    talk.give("3c 06 00 01 74 00 05 61")
    assert all_of(received) == []
    assert talk.took() == ""
    message.ack()
    assert talk.took() == "50 02 00 05"


# --- 4.5, 4.6: acknowledged wanted or not, and in order


@conforms("3.1.1", "MQTT-4.5.0-2")
def test_a_message_that_nobody_wants_is_acknowledged() -> None:
    talk = Talk().open()
    talk.give("32 05 00 01 75 00 05", "34 05 00 01 75 00 06", "30 03 00 01 75")
    assert talk.took() == "40 02 00 05 50 02 00 06"
    talk.give("62 02 00 06")
    assert talk.took() == "70 02 00 06"


@conforms("3.1.1", "MQTT-4.5.0-2")
def test_what_an_ended_subscription_did_not_take_is_acknowledged() -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give("32 05 00 01 74 00 05", "34 05 00 01 74 00 06")
    talk.core.end_subscription(received, processed=True)
    assert talk.took() == "a2 05 00 02 00 01 74 40 02 00 05 50 02 00 06"


@conforms("3.1.1", "MQTT-4.6.0-1")
def test_qos_2_that_is_sent_again_keeps_its_order() -> None:
    talk = Talk(clean_start=False).open()
    for payload in (b"a", b"b", b"c"):
        talk.publish("t", payload, 2)
    talk.took()
    assert talk.again() == (
        "3c 06 00 01 74 00 01 61 3c 06 00 01 74 00 02 62 3c 06 00 01 74 00 03 63"
    )


@conforms("3.1.1", "MQTT-4.6.0-2", "MQTT-4.6.0-3")
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
def test_messages_are_acknowledged_in_the_order_in_which_they_came(order: tuple[int, ...]) -> None:
    talk = Talk().open()
    received = talk.listen("t", ack="manual")
    talk.give("32 05 00 01 74 00 09", "34 05 00 01 74 00 03")
    talk.give("32 05 00 01 74 00 07", "34 05 00 01 74 00 01")
    messages = all_of(received)
    for each in order:
        messages[each].ack()
    assert talk.took() == "40 02 00 09 50 02 00 03 40 02 00 07 50 02 00 01"


@conforms("3.1.1", "MQTT-4.6.0-4")
def test_pubrels_are_in_the_order_of_the_pubrecs() -> None:
    talk = Talk(clean_start=False).open()
    for _ in range(4):
        talk.publish("t", b"", 2)
    talk.took()
    talk.give("50 02 00 03", "50 02 00 01")
    talk.give("50 02 00 04")
    assert talk.took() == "62 02 00 03 62 02 00 01 62 02 00 04"


@conforms("3.1.1", "MQTT-3.3.1-1", "MQTT-2.3.1-3")
def test_a_message_is_sent_again_in_a_new_connection_only() -> None:
    talk = Talk(clean_start=False, keep_alive=10).open()
    delivery: DeliveryState = talk.publish("t", b"x", 1)
    assert talk.took() == "32 06 00 01 74 00 01 78"
    for _ in range(100):
        talk.pass_deadline()
        assert talk.took() == "c0 00"
        talk.give("d0 00")
    assert not delivery.done
    assert talk.again() == "3a 06 00 01 74 00 01 78"
