"""MQTT 3.1.1, sections 1 and 2: strings, fixed headers, packet identifiers."""

from __future__ import annotations

import pytest

from mqttlite.client import Operation, Unsubscribed
from mqttlite.enums import Fate
from mqttlite.errors import UsageError
from mqttlite.message import Will
from tests.conformance.conforms import conforms
from tests.conformance.talk import ACCEPTED, RESUMED, Talk, all_of

SURROGATE = "a\ud800"
NUL = "a\0"


@conforms("3.1.1", "MQTT-1.5.3-1", "MQTT-1.5.3-2")
@pytest.mark.parametrize("text", [SURROGATE, NUL], ids=["surrogate", "NUL"])
def test_a_string_that_is_not_allowed_is_never_sent(text: str) -> None:
    for arguments in ({"client_id": text}, {"username": text}):
        with pytest.raises(UsageError):
            Talk(**arguments)
    with pytest.raises(UsageError):
        Talk(will=Will(text, b""))
    talk = Talk().open()
    talk.refuses(UsageError, lambda: talk.publish(text, b"", 0))
    talk.refuses(UsageError, lambda: talk.publish(text, b"", 1))
    talk.refuses(UsageError, lambda: talk.subscribe(text))
    talk.refuses(UsageError, lambda: talk.core.unsubscribe_filters(text))
    assert talk.took() == ""


@conforms("3.1.1", "MQTT-1.5.3-1")
@pytest.mark.parametrize(
    "topic",
    ["ff", "c3", "e2 82", "c0 80", "ed a0 80", "ed bf bf", "f4 90 80 80", "61 80 62"],
)
@pytest.mark.parametrize("flags", ["30", "32", "34"])
def test_a_string_that_is_not_utf_8_ends_the_connection(topic: str, flags: str) -> None:
    talk = Talk().open()
    received = talk.listen("#")
    name = bytes.fromhex(topic)
    body = len(name).to_bytes(2) + name + (b"" if flags == "30" else b"\0\1")
    talk.give(flags, len(body).to_bytes(1).hex(), body.hex())
    talk.fault()
    assert all_of(received) == []


@conforms("3.1.1", "MQTT-1.5.3-2", "MQTT-4.7.3-2")
@pytest.mark.parametrize("topic", ["00 01 00", "00 02 61 00", "00 03 61 00 62"])
def test_a_string_with_nul_ends_the_connection(topic: str) -> None:
    talk = Talk().open()
    received = talk.listen("#")
    talk.give("30", f"{len(bytes.fromhex(topic)):02x}", topic)
    talk.fault()
    assert all_of(received) == []


@conforms("3.1.1", "MQTT-1.5.3-3")
def test_a_byte_order_mark_is_a_character() -> None:
    talk = Talk().open()
    received = talk.listen("#", qos=0)
    talk.give("30 06 00 04 ef bb bf 61", "30 06 00 04 61 ef bb bf")
    assert [message.topic for message in all_of(received)] == ["\ufeffa", "a\ufeff"]
    talk.publish("\ufeffa", b"", 0)
    assert talk.took() == "30 06 00 04 ef bb bf 61"
    # So the names with it and without it are two.
    other = talk.listen("a", qos=0)
    talk.give("30 06 00 04 ef bb bf 61")
    assert all_of(other) == []


@conforms("3.1.1", "MQTT-2.2.2-1", "MQTT-3.6.1-1", "MQTT-3.8.1-1", "MQTT-3.10.1-1")
@conforms("3.1.1", "MQTT-3.14.1-1")
def test_the_flags_of_every_packet_that_a_client_sends() -> None:
    talk = Talk(keep_alive=10)
    first = [talk.opened()[:2]]
    talk.give(ACCEPTED)
    received = talk.subscribe("f", 2)
    first.append(talk.took()[:2])
    talk.give("90 03 00 01 02")
    talk.publish("t", b"", 2)
    talk.took()
    talk.give("50 02 00 02")  # PUBREC
    first.append(talk.took()[:2])
    talk.give("70 02 00 02", "32 05 00 01 66 00 07", "34 05 00 01 66 00 08", "62 02 00 09")
    all_of(received)
    received.take()
    answers = talk.sent()
    first += [answers[at : at + 1].hex() for at in range(0, len(answers), 4)]
    talk.pass_deadline()
    first.append(talk.took()[:2])
    talk.give("d0 00")
    talk.core.unsubscribe(received)
    first.append(talk.took()[:2])
    talk.give("b0 02 00 03")
    talk.core.close(talk.now, 5.0)
    first.append(talk.took()[:2])
    # CONNECT, SUBSCRIBE, PUBREL; PUBCOMP, PUBACK, PUBREC; PINGREQ, UNSUBSCRIBE, DISCONNECT
    assert first == ["10", "82", "62", "70", "40", "50", "c0", "a2", "e0"]


@conforms("3.1.1", "MQTT-2.2.2-2")
@pytest.mark.parametrize("added", range(1, 16))
@pytest.mark.parametrize(
    "packet",
    [
        "40 02 00 01",
        "50 02 00 01",
        "62 02 00 01",
        "70 02 00 01",
        "90 03 00 01 00",
        "b0 02 00 01",
        "d0 00",
    ],
    ids=["PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK", "PINGRESP"],
)
def test_wrong_flags_end_the_connection(packet: str, added: int) -> None:
    talk = Talk().open()
    talk.subscribe("a", 0)  # with other flags SUBACK would be right, or another packet would be
    talk.took()
    data = bytes.fromhex(packet)
    talk.core.receive(bytes((data[0] ^ added,)) + data[1:], talk.now)
    assert "flags" in str(talk.fault())


@conforms("3.1.1", "MQTT-2.2.2-2")
@pytest.mark.parametrize("flags", range(1, 16))
def test_wrong_flags_of_connack_end_the_connection(flags: int) -> None:
    talk = Talk()
    talk.opened()
    talk.give(f"2{flags:x} 02 00 00")
    talk.fault()


@conforms("3.1.1", "MQTT-3.6.1-1")
@pytest.mark.parametrize("flags", [each for each in range(16) if each != 2])
def test_pubrel_with_wrong_flags_ends_the_connection(flags: int) -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give("34 05 00 01 74 00 07")
    all_of(received)
    received.take()
    assert talk.took() == "50 02 00 07"
    talk.give(f"6{flags:x} 02 00 07")
    talk.fault()


@conforms("3.1.1", "MQTT-2.3.1-1")
def test_what_has_a_packet_identifier_begins_with_one() -> None:
    talk = Talk().open()
    talk.publish("t", b"", 1)
    talk.publish("t", b"", 2)
    talk.subscribe("f", 0)
    talk.core.unsubscribe_filters("g")
    assert talk.took() == (
        "32 05 00 01 74 00 01 34 05 00 01 74 00 02 82 06 00 03 00 01 66 00 a2 05 00 04 00 01 67"
    )


@conforms("3.1.1", "MQTT-2.3.1-1", "MQTT-2.3.1-2")
def test_identifiers_go_round_without_0_and_without_those_in_use() -> None:
    talk = Talk(maximum_in_flight=100).open()
    kept = talk.publish("t", b"", 1)
    talk.subscribe("f", 0)  # not answered: its identifier stays in use, too
    assert talk.took()[:32] == "32 05 00 01 74 00 01 82 06 00 02"
    seen = []
    for _ in range(65_540):
        talk.publish("t", b"", 1)
        identifier = talk.sent()[5:7]
        seen.append(int.from_bytes(identifier))
        talk.core.receive(b"\x40\x02" + identifier, talk.now)
    assert not kept.done
    assert seen[:65_533] == list(range(3, 65_536))
    assert seen[65_533:65_535] == [3, 4]
    assert {0, 1, 2}.isdisjoint(seen)


@conforms("3.1.1", "MQTT-2.3.1-2")
def test_an_identifier_of_an_earlier_connection_is_in_use_until_its_flow_ends() -> None:
    talk = Talk(clean_start=False).open()
    talk.publish("t", b"a", 1)
    talk.publish("t", b"b", 2)
    talk.took()
    assert talk.again() == "3a 06 00 01 74 00 01 61 3c 06 00 01 74 00 02 62"
    talk.core.session.last_packet_id = 0
    talk.publish("t", b"c", 1)
    assert talk.took() == "32 06 00 01 74 00 03 63"


@conforms("3.1.1", "MQTT-2.3.1-3", "MQTT-3.3.1-1", "MQTT-4.4.0-1")
def test_what_is_sent_again_keeps_its_identifier() -> None:
    talk = Talk(clean_start=False).open()
    talk.publish("t", b"a", 1)
    talk.publish("t", b"b", 2)
    talk.publish("t", b"c", 2)
    talk.took()
    talk.give("50 02 00 03")  # PUBREC: the third is released
    assert talk.took() == "62 02 00 03"
    again = "3a 06 00 01 74 00 01 61 3c 06 00 01 74 00 02 62 62 02 00 03"
    assert talk.again() == again
    assert talk.again() == again


@conforms("3.1.1", "MQTT-2.3.1-4", "MQTT-2.3.1-1")
@pytest.mark.parametrize("first", ["32", "34", "3a", "3c", "33", "35"])
def test_identifier_0_ends_the_connection(first: str) -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give(first, "05 00 01 74 00 00")
    talk.fault()
    assert all_of(received) == []


@conforms("3.1.1", "MQTT-2.3.1-5")
def test_qos_0_has_no_identifier() -> None:
    talk = Talk().open()
    talk.publish("t", b"\0\5", 0)
    assert talk.took() == "30 05 00 01 74 00 05"
    received = talk.listen("t", qos=0)
    talk.give("30 05 00 01 74 00 05")
    assert [message.payload for message in all_of(received)] == [b"\0\5"]
    assert talk.took() == ""


@conforms("3.1.1", "MQTT-2.3.1-6")
def test_acknowledgements_have_the_identifier_of_their_message() -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give("32 05 00 01 74 12 34", "34 05 00 01 74 ff ff")
    all_of(received)
    received.take()
    assert talk.took() == "40 02 12 34 50 02 ff ff"
    talk.give("62 02 ff ff")
    assert talk.took() == "70 02 ff ff"
    talk.publish("t", b"", 2)
    identifier = talk.sent()[5:7].hex()
    talk.give("50 02", identifier)
    assert talk.sent().hex() == "6202" + identifier


@conforms("3.1.1", "MQTT-2.3.1-6", "MQTT-4.8.0-1")
@pytest.mark.parametrize("answer", ["40 02 00 09", "50 02 00 01", "70 02 00 01"])
def test_an_acknowledgement_that_fits_no_message_ends_the_connection(answer: str) -> None:
    talk = Talk().open()
    delivery = talk.publish("t", b"", 1)
    talk.took()
    talk.give(answer)
    talk.fault()
    assert delivery.fate is Fate.PENDING


@conforms("3.1.1", "MQTT-2.3.1-7", "MQTT-3.8.4-2", "MQTT-3.10.4-4")
def test_answers_are_matched_by_their_identifier() -> None:
    talk = Talk().open()
    one, two = talk.subscribe("a", 1), talk.subscribe("b", 2)
    three: Operation[Unsubscribed] = talk.core.unsubscribe_filters("x")
    four: Operation[Unsubscribed] = talk.core.unsubscribe_filters("y")
    assert talk.took() == (
        "82 06 00 01 00 01 61 01 82 06 00 02 00 01 62 02 a2 05 00 03 00 01 78 a2 05 00 04 00 01 79"
    )
    talk.give("b0 02 00 04", "90 03 00 02 02")
    assert (one.granted, two.granted) == ({}, {"b": 2})
    assert (three.done, four.done) == (False, True)
    talk.give("90 03 00 01 01", "b0 02 00 03")
    assert one.granted == {"a": 1}
    assert three.done


@conforms("3.1.1", "MQTT-2.3.1-7", "MQTT-3.8.4-2", "MQTT-3.10.4-4")
@pytest.mark.parametrize(
    "answer",
    ["90 03 00 09 01", "90 03 00 02 01", "b0 02 00 09", "b0 02 00 01", "90 03 00 00 01"],
)
def test_an_answer_with_another_identifier_ends_the_connection(answer: str) -> None:
    talk = Talk().open()
    subscription = talk.subscribe("a", 1)
    unsubscribing = talk.core.unsubscribe_filters("x")
    talk.took()
    talk.give(answer)
    assert not unsubscribing.done
    talk.fault()
    assert subscription.granted == {}


@conforms("3.1.1", "MQTT-4.8.0-1")
@pytest.mark.parametrize(
    "packet",
    [
        "20 02 00 00",
        "10 0d 00 04 4d 51 54 54 04 02 00 00 00 01 63",
        "82 06 00 01 00 01 74 00",
        "a2 05 00 01 00 01 74",
        "c0 00",
        "e0 00",
        "f0 00",
        "00 00",
        "30 01 00",
        "30 03 00 05 74",
        "40 01 00",
        "40 03 00 01 00",
        "d0 01 00",
        "30 ff ff ff ff 01",
    ],
)
def test_a_violation_ends_the_connection_without_disconnect(packet: str) -> None:
    # DISCONNECT would say that all is well, and take the will back.
    talk = Talk(will=Will("w", b"")).open()
    received = talk.listen("t", qos=0)
    talk.give("30 04 00 01 74 61", packet, "30 04 00 01 74 62")
    talk.fault()
    assert [message.payload for message in all_of(received)] == [b"a"]


@conforms("3.1.1", "MQTT-4.8.0-1")
def test_after_a_violation_the_session_goes_on_in_the_next_connection() -> None:
    talk = Talk(clean_start=False).open()
    talk.publish("t", b"", 1)
    talk.took()
    talk.give("00 00")
    talk.fault()
    talk.dial()
    talk.took()
    talk.give(RESUMED)
    assert talk.took() == "3a 05 00 01 74 00 01"
