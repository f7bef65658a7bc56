"""MQTT 5.0, sections 1 and 2: data types, the fixed header, packet identifiers, properties."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import ClientState
from mqttlite.enums import Fate
from mqttlite.errors import UsageError
from mqttlite.message import Will
from mqttlite.packets import SubscriptionOptions
from tests.conformance.by_hand_5_0 import (
    Talk,
    check_fault,
    connack,
    packet,
    publish,
    section,
    split,
    take_apart,
    text,
    two,
)
from tests.conformance.conforms import conforms
from tests.unit.protocol.sides import Client

SUBACK = b"\x90\x04\x00\x01\x00\x00"
UNSUBACK = b"\xb0\x04\x00\x01\x00\x00"

ILL_FORMED = {
    "low surrogate": b"a\xed\xbf\xbf",
    "high surrogate": b"\xed\xa0\x80b",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "overlong": b"\xc0\xaf",
    "overlong null": b"a\xc0\x80",
    "cut off": b"a\xe2\x82",
    "lone continuation": b"\x80",
    "above Unicode": b"\xf4\x90\x80\x80",
}

NULL = {"only null": b"\0", "null inside": b"a\0b", "null at the end": b"ab\0"}

REFUSED_STRINGS = ["a\ud800", "\udfff", "\ud83d\ude00", "\0", "a\0b"]
"""Lone surrogates, surrogates that Python does not join to a character, and U+0000."""


def before_connack(**properties: bytes) -> dict[str, bytes]:
    """CONNACKs with one property each."""
    return {name: connack(value) for name, value in properties.items()}


def strings_in_connack(wrong: bytes) -> dict[str, bytes]:
    """CONNACKs that have this string, in each place where CONNACK may have one."""
    string = text(wrong)
    return before_connack(
        assigned_client_identifier=b"\x12" + string,
        response_information=b"\x1a" + string,
        server_reference=b"\x1c" + string,
        reason_string=b"\x1f" + string,
    )


def strings_elsewhere(wrong: bytes) -> dict[str, bytes]:
    """Packets of an open connection that have this string."""
    string = text(wrong)
    reason_string = section(b"\x1f" + string)
    return {
        "topic name": publish(topic=wrong),
        "topic name of QoS 1": publish(first=0x32, packet_id=1, topic=wrong),
        "response topic": publish(b"\x08" + string),
        "content type": publish(b"\x03" + string),
        "PUBACK": packet(0x40, two(1), b"\0", reason_string),
        "PUBREC": packet(0x50, two(1), b"\0", reason_string),
        "PUBREL": packet(0x62, two(1), b"\0", reason_string),
        "PUBCOMP": packet(0x70, two(1), b"\0", reason_string),
        "SUBACK": packet(0x90, two(1), reason_string, b"\0"),
        "UNSUBACK": packet(0xB0, two(1), reason_string, b"\0"),
        "DISCONNECT": packet(0xE0, b"\0", reason_string),
    }


def check_strings(wrong: bytes) -> None:
    for data in strings_in_connack(wrong).values():
        check_fault(Client(None), data, 0x81)
    for data in strings_elsewhere(wrong).values():
        check_fault(Client(), data, 0x81)


class TestStrings:
    @conforms("5.0", "MQTT-1.5.4-1")
    @pytest.mark.parametrize("wrong", ILL_FORMED.values(), ids=ILL_FORMED)
    def test_ill_formed_utf_8_from_the_server_is_malformed(self, wrong: bytes) -> None:
        check_strings(wrong)

    @conforms("5.0", "MQTT-1.5.4-2")
    @pytest.mark.parametrize("wrong", NULL.values(), ids=NULL)
    def test_null_from_the_server_is_malformed(self, wrong: bytes) -> None:
        check_strings(wrong)

    @conforms("5.0", "MQTT-1.5.7-1")
    @pytest.mark.parametrize(
        "wrong", (ILL_FORMED | NULL).values(), ids=list(ILL_FORMED) + list(NULL)
    )
    def test_both_halves_of_a_pair_from_the_server_are_strings(self, wrong: bytes) -> None:
        for pair in (text(wrong) + text("v"), text("n") + text(wrong)):
            check_fault(Client(None), connack(b"\x26" + pair), 0x81)
            check_fault(Client(), publish(b"\x26" + pair), 0x81)
            check_fault(Client(), packet(0xE0, b"\0", section(b"\x26" + pair)), 0x81)

    @conforms("5.0", "MQTT-1.5.4-1", "MQTT-1.5.4-2")
    @pytest.mark.parametrize("wrong", REFUSED_STRINGS, ids=ascii)
    def test_client_is_not_made_with_a_string_that_cannot_be_sent(self, wrong: str) -> None:
        for arguments in ({"client_id": wrong}, {"username": wrong}):
            with pytest.raises(UsageError):
                Talk(**arguments)
        with pytest.raises(UsageError):
            Will(wrong)
        for name in ("content_type", "response_topic"):
            properties: Any = {name: wrong}
            with pytest.raises(UsageError):
                Talk(will=Will("w", **properties))

    @conforms("5.0", "MQTT-1.5.4-1", "MQTT-1.5.4-2")
    @pytest.mark.parametrize("wrong", REFUSED_STRINGS, ids=ascii)
    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_message_with_a_string_that_cannot_be_sent_is_refused(
        self, wrong: str, qos: int
    ) -> None:
        talk = Talk()
        talk.open()
        with pytest.raises(UsageError):
            talk.publish(wrong, b"", qos)
        for name in ("content_type", "response_topic"):
            with pytest.raises(UsageError):
                talk.publish("t", b"", qos, **{name: wrong})
        assert talk.sent() == b""
        assert talk.core.is_connected

    @conforms("5.0", "MQTT-1.5.7-1")
    @pytest.mark.parametrize("wrong", REFUSED_STRINGS, ids=ascii)
    def test_pair_with_half_a_string_that_cannot_be_sent_is_refused(self, wrong: str) -> None:
        talk = Talk()
        talk.open()
        for pair in ((wrong, "v"), ("n", wrong)):
            with pytest.raises(UsageError):
                Talk(user_properties=[pair])
            with pytest.raises(UsageError):
                Talk(will=Will("w", user_properties=[pair]))
            with pytest.raises(UsageError):
                talk.publish("t", user_properties=[pair])
            with pytest.raises(UsageError):
                talk.subscribe("f", user_properties=[pair])
        assert talk.sent() == b""

    @conforms("5.0", "MQTT-1.5.7-1")
    def test_both_halves_of_a_pair_are_written_as_strings(self) -> None:
        talk = Talk()
        talk.open()
        talk.publish("t", b"", 0, user_properties=[("é", "\U0001f600")])
        pair = b"\x26\x00\x02\xc3\xa9\x00\x04\xf0\x9f\x98\x80"
        assert talk.sent() == b"\x30\x0f\x00\x01t\x0b" + pair

    @conforms("5.0", "MQTT-1.5.4-1")
    @pytest.mark.parametrize(
        ("string", "encoded"),
        [
            ("é", b"\xc3\xa9"),
            ("\ud7ff\ue000", b"\xed\x9f\xbf\xee\x80\x80"),  # around the surrogates
            ("\U0010ffff", b"\xf4\x8f\xbf\xbf"),
        ],
        ids=ascii,
    )
    def test_characters_of_all_lengths_go_both_ways(self, string: str, encoded: bytes) -> None:
        talk = Talk(client_id=string, username=string)
        assert take_apart(talk.open()).payload == text(encoded) + text(encoded)
        talk.publish(string, b"", 0)
        assert talk.packets() == [packet(0x30, text(encoded), b"\0")]
        client = Client()
        assert client.message(publish(topic=encoded).hex()).topic == string

    @conforms("5.0", "MQTT-1.5.4-3")
    def test_byte_order_mark_is_a_character_that_is_kept(self) -> None:
        mark = b"\xef\xbb\xbf"
        client = Client()
        message = client.message(
            publish(
                b"\x08" + text(mark + b"r" + mark),
                b"\x03" + text(mark),
                b"\x26" + text(mark + b"n") + text(mark + b"v"),
                topic=mark + b"a" + mark,
            ).hex()
        )
        assert message.topic == "\ufeffa\ufeff"
        assert message.response_topic == "\ufeffr\ufeff"
        assert message.content_type == "\ufeff"
        assert message.user_properties == [("\ufeffn", "\ufeffv")]

    @conforms("5.0", "MQTT-1.5.4-3")
    def test_identifier_with_a_byte_order_mark_is_given_back_as_it_came(self) -> None:
        mark = b"\xef\xbb\xbf"
        talk = Talk()
        talk.open(b"\x12" + text(mark + b"c"))
        assert talk.core.client_id == "\ufeffc"
        talk.lose()
        assert take_apart(talk.ask()).payload == text(mark + b"c")

    @conforms("5.0", "MQTT-1.5.4-3")
    def test_topics_that_differ_by_a_byte_order_mark_are_two(self) -> None:
        talk = Talk()
        talk.open()
        subscription = talk.subscribed("t")
        marked = talk.subscribed("\ufefft")
        talk.hear(publish(topic=b"\xef\xbb\xbft"))
        assert len(marked.buffer) == 1
        assert not subscription.buffer


class TestVariableByteIntegers:
    @conforms("5.0", "MQTT-1.5.5-1")
    @pytest.mark.parametrize(
        ("length", "written"),
        [
            (127, b"\x7f"),
            (128, b"\x80\x01"),
            (16_383, b"\xff\x7f"),
            (16_384, b"\x80\x80\x01"),
            (2_097_151, b"\xff\xff\x7f"),
            (2_097_152, b"\x80\x80\x80\x01"),
        ],
    )
    def test_remaining_length_has_the_fewest_bytes(self, length: int, written: bytes) -> None:
        talk = Talk()
        talk.open()
        payload = bytes(length - 4)
        talk.publish("t", payload, 0)
        assert talk.sent() == b"\x30" + written + b"\x00\x01t\x00" + payload

    @conforms("5.0", "MQTT-1.5.5-1")
    @pytest.mark.parametrize(
        ("length", "written"),
        [
            (127, b"\x7f"),
            (128, b"\x80\x01"),
            (16_383, b"\xff\x7f"),
            (16_384, b"\x80\x80\x01"),
        ],
    )
    def test_property_length_has_the_fewest_bytes(self, length: int, written: bytes) -> None:
        talk = Talk()
        talk.open()
        string = "c" * (length - 3)
        talk.publish("t", b"", 0, content_type=string)
        (sent,) = talk.packets()
        assert sent.endswith(b"\x00\x01t" + written + b"\x03" + text(string))
        assert sent == packet(0x30, b"\x00\x01t", written, b"\x03", text(string))

    @conforms("5.0", "MQTT-1.5.5-1")
    def test_subscribe_has_the_fewest_bytes(self) -> None:
        talk = Talk()
        talk.open()
        talk.subscribe("f" * 200, 0, user_properties=[("n", "v" * 200)])
        body = b"\x00\x01" + b"\xce\x01" + b"\x26\x00\x01n\x00\xc8" + b"v" * 200
        body += b"\x00\xc8" + b"f" * 200 + b"\x00"
        assert talk.sent() == b"\x82\x9d\x03" + body

    @conforms("5.0", "MQTT-1.5.5-1")
    @pytest.mark.parametrize(
        "data",
        [
            b"\xd0\x80\x00",  # the Remaining Length of PINGRESP, 0
            b"\x30\x84\x00\x00\x01t\x00",  # that of PUBLISH
            b"\x30\x05\x00\x01t\x80\x00",  # the property length
            b"\x30\x80\x80\x80\x80\x01",  # five bytes
            b"\x30\x08\x00\x01t\x80\x80\x80\x80\x01",
        ],
    )
    def test_more_bytes_than_needed_or_allowed_are_malformed(self, data: bytes) -> None:
        check_fault(Client(), data, 0x81)


class TestFixedHeader:
    @conforms("5.0", "MQTT-2.1.3-1")
    def test_flags_of_every_packet_that_a_client_sends(self) -> None:
        talk = Talk(keep_alive=10)
        firsts = [talk.open()[0]]

        def note() -> None:
            firsts.extend(each[0] for each in talk.packets())

        talk.subscribe("f")
        note()
        talk.hear(SUBACK)
        talk.core.unsubscribe_filters(["f"])
        note()
        talk.hear(b"\xb0\x04\x00\x02\x00\x00")
        talk.publish("t", b"", 0)
        note()
        talk.hear(publish(first=0x32, packet_id=1))
        note()
        talk.hear(publish(first=0x34, packet_id=1))
        note()
        talk.hear(b"\x62\x02\x00\x01")
        note()
        delivery = talk.publish("t", b"", 2)
        note()
        talk.hear(packet(0x50, two(delivery.packet_id)))
        note()
        talk.pass_deadline()
        note()
        talk.core.close(talk.now, 5.0, drain=False)
        note()
        assert [f"{first:02x}" for first in firsts] == [
            *("10", "82", "a2", "30", "40", "50", "70", "34", "62", "c0", "e0")
        ]

    @conforms("5.0", "MQTT-2.1.3-1")
    @pytest.mark.parametrize("flags", range(16))
    def test_wrong_flags_from_the_server_are_malformed(self, flags: int) -> None:
        for right, body in (
            (0x40, b"\x02\x00\x01"),
            (0x50, b"\x02\x00\x01"),
            (0x62, b"\x02\x00\x01"),
            (0x70, b"\x02\x00\x01"),
            (0x90, SUBACK[1:]),
            (0xB0, UNSUBACK[1:]),
            (0xD0, b"\x00"),
            (0xE0, b"\x00"),
        ):
            first = right & 0xF0 | flags
            if first != right:
                check_fault(Client(), bytes((first,)) + body, 0x81)
        if flags:
            check_fault(Client(None), bytes((0x20 | flags,)) + b"\x03\x00\x00\x00", 0x81)


class TestPacketIdentifiers:
    @conforms("5.0", "MQTT-2.2.1-2")
    def test_publish_of_qos_0_has_none(self) -> None:
        talk = Talk()
        talk.open()
        talk.publish("a/b", b"x", 0)
        assert talk.sent() == b"\x30\x07\x00\x03a/b\x00x"
        # What comes is read so: these bytes would make an identifier and no properties.
        message = Client().message(b"\x30\x06\x00\x01t\x00\x01\x00".hex())
        assert message.payload == b"\x01\x00"

    @conforms("5.0", "MQTT-2.2.1-3")
    def test_identifiers_are_not_zero_and_not_in_use(self) -> None:
        talk = Talk()
        talk.open()
        talk.publish("t", b"", 1)
        talk.publish("t", b"", 2)
        talk.subscribe("f")
        talk.core.unsubscribe_filters(["g"])
        talk.publish("t", b"", 1)
        used = []
        for each in talk.packets():
            start = 2 if each[0] in (0x82, 0xA2) else 5
            used.append(int.from_bytes(each[start : start + 2]))
        assert len(used) == 5
        assert len(set(used)) == 5
        assert 0 not in used

    @conforms("5.0", "MQTT-2.2.1-3")
    def test_identifiers_in_use_are_passed_over_when_they_have_gone_round(self) -> None:
        talk = Talk()
        talk.open()
        kept = talk.publish("t", b"", 2).packet_id
        asked = talk.subscribe("f")
        asking = int.from_bytes(talk.packets()[1][2:4])
        for _ in range(65_535):
            talk.publish("t", b"", 1)
            (sent,) = talk.packets()
            packet_id = int.from_bytes(sent[5:7])
            assert packet_id not in (0, kept, asking)
            talk.hear(packet(0x40, two(packet_id)))
        assert not asked.subscribed.done
        assert talk.core.is_connected

    @conforms("5.0", "MQTT-2.2.1-3")
    def test_identifiers_in_use_are_those_of_the_session(self) -> None:
        talk = Talk()
        talk.open()
        first = talk.publish("t", b"", 1)
        talk.lose()
        talk.open(session_present=True)
        second = talk.publish("u", b"", 1)
        assert first.packet_id != second.packet_id
        assert not first.done

    @conforms("5.0", "MQTT-2.2.1-4")
    @pytest.mark.parametrize("first", [0x32, 0x34, 0x3A, 0x3C], ids=hex)
    def test_message_of_the_server_without_an_identifier_is_malformed(self, first: int) -> None:
        check_fault(Client(), bytes((first,)) + b"\x06\x00\x01t\x00\x00\x00", 0x81)

    @conforms("5.0", "MQTT-2.2.1-4")
    @pytest.mark.parametrize("packet_id", [1, 255, 256, 65_535])
    def test_every_identifier_of_the_server_is_good(self, packet_id: int) -> None:
        talk = Talk()
        talk.open()
        talk.hear(publish(first=0x32, packet_id=packet_id))
        assert talk.sent() == b"\x40\x02" + two(packet_id)
        talk.hear(publish(first=0x34, packet_id=packet_id))
        assert talk.sent() == b"\x50\x02" + two(packet_id)

    @conforms("5.0", "MQTT-2.2.1-4")
    def test_identifiers_of_the_two_sides_have_nothing_to_do_with_each_other(self) -> None:
        talk = Talk()
        talk.open()
        delivery = talk.publish("t", b"", 2)
        talk.sent()
        same = two(delivery.packet_id)
        talk.hear(packet(0x34, text("t"), same, b"\0"))
        assert talk.sent() == b"\x50\x02" + same
        talk.hear(b"\x50\x02" + same, b"\x62\x02" + same)
        assert talk.packets() == [b"\x62\x02" + same, b"\x70\x02" + same]
        talk.hear(b"\x70\x02" + same)
        assert delivery.fate is Fate.ACKNOWLEDGED

    @conforms("5.0", "MQTT-2.2.1-5")
    @pytest.mark.parametrize("packet_id", [1, 0x1234, 65_535])
    def test_answers_to_the_server_have_its_identifier(self, packet_id: int) -> None:
        talk = Talk()
        talk.open()
        talk.hear(publish(first=0x32, packet_id=packet_id))
        assert talk.sent() == b"\x40\x02" + two(packet_id)
        talk.hear(publish(first=0x34, packet_id=packet_id))
        assert talk.sent() == b"\x50\x02" + two(packet_id)
        talk.hear(b"\x62\x02" + two(packet_id))
        assert talk.sent() == b"\x70\x02" + two(packet_id)

    @conforms("5.0", "MQTT-2.2.1-5")
    def test_answers_of_the_server_are_told_apart_by_their_identifiers(self) -> None:
        talk = Talk()
        talk.open()
        first, second = talk.publish("t", b"", 1), talk.publish("t", b"", 1)
        third, fourth = talk.publish("t", b"", 2), talk.publish("t", b"", 2)
        talk.sent()
        talk.hear(b"\x40\x02" + two(second.packet_id), b"\x50\x02" + two(fourth.packet_id))
        assert talk.sent() == b"\x62\x02" + two(fourth.packet_id)
        talk.hear(b"\x70\x02" + two(fourth.packet_id))
        assert [each.fate for each in (second, fourth)] == [Fate.ACKNOWLEDGED] * 2
        assert not first.done
        assert not third.done

    @conforms("5.0", "MQTT-2.2.1-6")
    def test_suback_belongs_to_the_subscribe_of_its_identifier(self) -> None:
        talk = Talk()
        talk.open()
        first, second = talk.subscribe("f", 0), talk.subscribe("g", 1)
        ids = [each[2:4] for each in talk.packets()]
        assert ids[0] != ids[1]
        talk.hear(packet(0x90, ids[1], b"\x00\x01"))
        assert second.subscribed.value == {"g": 1}
        assert not first.subscribed.done
        talk.hear(packet(0x90, ids[0], b"\x00\x00"))
        assert first.subscribed.value == {"f": 0}

    @conforms("5.0", "MQTT-2.2.1-6")
    def test_unsuback_belongs_to_the_unsubscribe_of_its_identifier(self) -> None:
        talk = Talk()
        talk.open()
        first = talk.core.unsubscribe_filters(["f"])
        second = talk.core.unsubscribe_filters(["g"])
        ids = [each[2:4] for each in talk.packets()]
        assert ids[0] != ids[1]
        talk.hear(packet(0xB0, ids[1], b"\x00\x11"))
        assert second.result().reason_codes == {"g": 0x11}
        assert not first.done
        talk.hear(packet(0xB0, ids[0], b"\x00\x00"))
        assert first.result().reason_codes == {"f": 0}

    @conforms("5.0", "MQTT-2.2.1-6")
    @pytest.mark.parametrize("answer", [SUBACK, UNSUBACK], ids=["SUBACK", "UNSUBACK"])
    def test_answer_to_no_request_is_a_protocol_error(self, answer: bytes) -> None:
        check_fault(Client(), answer, 0x82)

    @conforms("5.0", "MQTT-2.2.1-6")
    def test_answer_to_a_request_of_the_other_kind_is_a_protocol_error(self) -> None:
        client = Client()
        client.connection.subscribe([("f", SubscriptionOptions(0))])
        check_fault(client, UNSUBACK, 0x82)
        client = Client()
        client.connection.unsubscribe(["f"])
        check_fault(client, SUBACK, 0x82)


class TestProperties:
    @conforms("5.0", "MQTT-2.2.2-1")
    def test_no_properties_are_a_length_of_0(self) -> None:
        talk = Talk(will=Will("w", b""))
        # The will's properties, behind the client identifier.
        assert take_apart(talk.open()).payload == b"\x00\x00" + b"\x00" + b"\x00\x01w\x00\x00"
        talk.publish("t", b"x", 0)
        assert talk.sent() == b"\x30\x05\x00\x01t\x00x"
        talk.subscribe("f", 0)
        assert talk.sent() == b"\x82\x07\x00\x01\x00\x00\x01f\x00"
        talk.core.unsubscribe_filters(["g"])
        assert talk.sent() == b"\xa2\x06\x00\x02\x00\x00\x01g"

    @conforms("5.0", "MQTT-2.2.2-1")
    def test_properties_of_the_server_may_be_none(self) -> None:
        talk = Talk()
        talk.ask()
        talk.hear(b"\x20\x03\x00\x00\x00")
        assert talk.core.state is ClientState.CONNECTED
        message = Client().message("30 05 00 01 74 00 78")
        assert message.payload == b"x"
        assert not message.properties

    @conforms("5.0", "MQTT-2.2.2-1")
    @pytest.mark.parametrize(
        "data", [b"\x30\x03\x00\x01t", b"\x32\x05\x00\x01t\x00\x01", b"\x90\x02\x00\x01"]
    )
    def test_property_length_left_out_is_malformed(self, data: bytes) -> None:
        check_fault(Client(), data, 0x81)


def test_what_is_sent_is_cut_as_it_was_written() -> None:
    # The helper that other tests rely on.
    packets = [b"\xc0\x00", b"\x30\x80\x01" + bytes(128), b"\x40\x02\x00\x01"]
    assert split(b"".join(packets)) == packets
