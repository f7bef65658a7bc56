"""Messages that this side publishes, until their flow has ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.enums import PacketType
from mqttlite.errors import (
    ConnectionLost,
    InvalidTopic,
    NotSupported,
    PacketTooLarge,
    UsageError,
)
from mqttlite.protocol import ConnectionState, Outgoing, Session
from tests.behaviour import rule
from tests.conformance.conforms import conforms
from tests.unit.protocol.sides import V5, V31, V311, Client, connack

REFUSALS = (0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)


def resumed(session: Session, properties: str = "") -> Client:
    """The next connection of a session that the server still has."""
    client = Client(connack(properties, session_present=True), session=session, clean_start=False)
    client.connection.resume()
    return client


class TestQos0:
    @conforms("5.0", "MQTT-4.3.1-1")
    @pytest.mark.parametrize(
        ("version", "expected"),
        [
            (V31, "30 05 00 03 61 2f 62"),
            (V311, "30 05 00 03 61 2f 62"),
            (V5, "30 06 00 03 61 2f 62 00"),
        ],
    )
    def test_bytes(self, version: Any, expected: str) -> None:
        client = Client(version=version)
        outgoing = client.publish("a/b")
        assert client.sent() == expected
        assert outgoing.awaiting is None
        assert outgoing.packet_id == 0
        assert not client.session.outgoing

    def test_retained(self) -> None:
        client = Client()
        client.connection.publish(Outgoing("t", b"x", 0, True))
        assert client.sent() == "31 05 00 01 74 00 78"

    def test_properties(self) -> None:
        client = Client()
        client.publish("t", b"x", message_expiry_interval=5, content_type="c")
        assert client.sent() in (
            "30 0e 00 01 74 09 02 00 00 00 05 03 00 01 63 78",
            "30 0e 00 01 74 09 03 00 01 63 02 00 00 00 05 78",
        )

    def test_it_needs_no_quota(self) -> None:
        client = Client(connack("21 00 01"))
        client.publish(qos=1)
        client.publish()
        assert client.sent() == "32 06 00 01 74 00 01 00 30 04 00 01 74 00"


class TestQos1:
    def test_flow(self) -> None:
        client = Client()
        outgoing = client.publish("t", b"x", 1)
        assert client.sent() == "32 07 00 01 74 00 01 00 78"
        assert outgoing.awaiting is PacketType.PUBACK
        assert client.session.outgoing == {1: outgoing}
        client.give("40 02 00 01")
        assert client.connection.completed == [outgoing]
        assert outgoing.awaiting is None
        assert outgoing.reason_code == 0
        assert outgoing.response is None
        assert not client.session.outgoing
        assert client.sent() == ""

    def test_no_matching_subscribers_and_properties(self) -> None:
        client = Client()
        outgoing = client.publish(qos=1)
        client.give("40 0a 00 01 10 06 1f 00 03 61 62 63")
        assert outgoing.reason_code == 0x10
        assert outgoing.response == {"reason_string": "abc"}

    @pytest.mark.parametrize("code", REFUSALS, ids=hex)
    def test_refusal(self, code: int) -> None:
        client = Client(connack("21 00 01"))
        outgoing = client.publish(qos=1)
        assert client.connection.send_quota == 0
        client.give(f"40 03 00 01 {code:02x}")
        assert client.connection.completed == [outgoing]
        assert outgoing.reason_code == code
        assert client.connection.send_quota == 1
        assert not client.session.outgoing
        assert client.connection.state is ConnectionState.OPEN

    def test_acknowledgements_in_any_order(self) -> None:
        client = Client()
        first, second = client.publish(qos=1), client.publish(qos=1)
        client.give("40 02 00 02", "40 02 00 01")
        assert client.connection.completed == [second, first]


class TestQos2:
    def test_flow(self) -> None:
        client = Client()
        outgoing = client.publish("t", b"x", 2)
        assert client.sent() == "34 07 00 01 74 00 01 00 78"
        assert outgoing.awaiting is PacketType.PUBREC
        client.give("50 02 00 01")
        assert outgoing.awaiting is PacketType.PUBCOMP  # type: ignore[comparison-overlap]
        assert client.sent() == "62 02 00 01"
        assert client.connection.completed == []
        client.give("70 02 00 01")
        assert client.connection.completed == [outgoing]
        assert not client.session.outgoing
        assert client.sent() == ""

    @rule(15)
    @pytest.mark.parametrize("code", REFUSALS, ids=hex)
    def test_pubrec_with_a_failure_ends_the_flow(self, code: int) -> None:
        # Rule 15: never answered with PUBREL.
        client = Client(connack("21 00 01"))
        outgoing = client.publish(qos=2)
        client.sent()
        client.give(f"50 03 00 01 {code:02x}")
        assert client.connection.completed == [outgoing]
        assert outgoing.reason_code == code
        assert not client.session.outgoing
        assert client.connection.send_quota == 1
        assert client.sent() == ""

    def test_pubrec_without_subscribers_goes_on(self) -> None:
        client = Client()
        client.publish(qos=2)
        client.sent()
        client.give("50 03 00 01 10")
        assert client.sent() == "62 02 00 01"

    def test_what_pubrec_says_is_kept_to_the_end(self) -> None:
        client = Client()
        outgoing = client.publish(qos=2)
        client.give("50 08 00 01 10 04 1f 00 01 72")
        assert outgoing.response == {"reason_string": "r"}
        # PUBCOMP has nothing to say of the message.
        client.give("70 0b 00 01 00 07 26 00 01 61 00 01 62")
        assert client.connection.completed == [outgoing]
        assert outgoing.reason_code == 0x10
        assert outgoing.response == {"reason_string": "r"}

    def test_what_pubrec_says_is_kept_over_a_reconnection(self) -> None:
        client = Client()
        outgoing = client.publish(qos=2)
        client.give("50 08 00 01 10 04 1f 00 01 72")
        again = resumed(client.session)
        again.give("70 03 00 01 92")
        assert again.connection.completed == [outgoing]
        assert outgoing.reason_code == 0x10
        assert outgoing.response == {"reason_string": "r"}

    def test_pubrec_that_refuses_says_why(self) -> None:
        client = Client()
        outgoing = client.publish(qos=2)
        client.give("50 08 00 01 97 04 1f 00 01 72")
        assert client.connection.completed == [outgoing]
        assert outgoing.response == {"reason_string": "r"}

    def test_pubrec_twice_gets_pubrel_twice(self) -> None:
        client = Client()
        client.publish(qos=2)
        client.sent()
        client.give("50 02 00 01", "50 02 00 01")
        assert client.sent() == "62 02 00 01 62 02 00 01"

    def test_pubcomp_is_never_a_failure(self) -> None:
        # Table 3-7: an unknown identifier means that it was released before.
        client = Client()
        outgoing = client.publish(qos=2)
        client.give("50 02 00 01", "70 03 00 01 92")
        assert client.connection.completed == [outgoing]
        assert outgoing.reason_code == 0

    def test_the_quota_is_held_until_pubcomp(self) -> None:
        client = Client(connack("21 00 01"))
        client.publish(qos=2)
        client.give("50 02 00 01")
        assert client.connection.send_quota == 0
        client.give("70 02 00 01")
        assert client.connection.send_quota == 1

    def test_pubrels_in_the_order_of_the_pubrecs(self) -> None:
        # [MQTT-4.6.0-4]
        client = Client()
        client.publish(qos=2)
        client.publish(qos=2)
        client.sent()
        client.give("50 02 00 02", "50 02 00 01")
        assert client.sent() == "62 02 00 02 62 02 00 01"


class TestAnswersThatFitNothing:
    @pytest.mark.parametrize(
        ("qos", "packets"),
        [
            (0, "40 02 00 01"),
            (1, "40 02 00 02"),
            (1, "40 02 00 01 40 02 00 01"),
            (1, "50 02 00 01"),
            (1, "70 02 00 01"),
            (1, "50 03 00 01 80"),
            (2, "40 02 00 01"),
            (2, "70 02 00 01"),
            (2, "50 02 00 01 40 02 00 01"),
            (2, "50 02 00 01 50 03 00 01 80"),
        ],
    )
    def test_protocol_error(self, qos: int, packets: str) -> None:
        client = Client()
        client.publish(qos=qos)
        client.sent()
        client.give(packets)
        assert client.failure().reason_code == 0x82
        assert client.sent().endswith("e0 01 82")

    def test_the_message_is_kept_for_the_next_connection(self) -> None:
        client = Client()
        outgoing = client.publish(qos=2)
        client.give("40 02 00 01")
        assert client.session.outgoing == {1: outgoing}
        assert client.connection.completed == []

    def test_what_it_awaits_is_told(self) -> None:
        client = Client()
        client.publish(qos=2)
        client.give("40 02 00 01")
        assert str(client.failure()) == ("PUBACK for the packet identifier 1, which awaits PUBREC")
        client = Client()
        client.give("40 02 00 01")
        assert str(client.failure()).endswith("1, which awaits nothing")

    def test_unknown_pubrec_is_told_so(self) -> None:
        # Section 4.3.3, note: PUBREL with 0x92. Its PUBCOMP is then unknown, too.
        client = Client()
        client.give("50 02 00 07")
        assert client.sent() == "62 03 00 07 92"
        client.give("70 03 00 07 92")
        assert client.sent() == ""
        assert client.connection.state is ConnectionState.OPEN
        assert client.connection.completed == []

    def test_unknown_pubrec_in_mqtt_3_1_1(self) -> None:
        client = Client(version=V311)
        client.give("50 02 00 07")
        assert client.sent() == "62 02 00 07"

    def test_unknown_pubrec_with_a_failure_is_left_alone(self) -> None:
        client = Client()
        client.give("50 03 00 07 80")
        assert client.sent() == ""
        assert client.connection.state is ConnectionState.OPEN

    def test_wrong_answer_in_mqtt_3_1_1_closes_without_a_word(self) -> None:
        client = Client(version=V311)
        client.give("40 02 00 01")
        assert client.failure()
        assert client.sent() == ""


class TestIdentifiers:
    def test_they_go_round(self) -> None:
        session = Session()
        session.last_packet_id = 65_534
        client = Client(session=session)
        for _ in range(3):
            client.publish(qos=1)
        assert list(session.outgoing) == [65_535, 1, 2]

    @conforms("5.0", "MQTT-2.2.1-3")
    def test_those_in_use_are_passed_over(self) -> None:
        session = Session()
        client = Client(session=session)
        for _ in range(3):
            client.publish(qos=1)
        client.give("40 02 00 02")
        session.last_packet_id = 65_535
        client.publish(qos=1)
        assert list(session.outgoing) == [1, 3, 2]

    @conforms("5.0", "MQTT-2.2.1-3")
    def test_those_of_requests_are_in_use(self) -> None:
        client = Client()
        assert client.connection.unsubscribe(["f"]) == 1
        assert client.publish(qos=1).packet_id == 2
        client.session.last_packet_id = 0
        assert client.publish(qos=1).packet_id == 3

    def test_one_that_has_become_free_is_not_used_at_once(self) -> None:
        client = Client()
        client.publish(qos=1)
        client.give("40 02 00 01")
        assert client.publish(qos=1).packet_id == 2

    def test_none_is_left(self) -> None:
        session = Session()
        session.outgoing = {each: Outgoing("t", b"", 1) for each in range(1, 65_536)}
        assert session.allocate_packet_id() == 0
        client = Client(session=session)
        with pytest.raises(NotSupported, match="65535"):
            client.connection.unsubscribe(["f"])
        del session.outgoing[40_000]
        assert session.allocate_packet_id() == 40_000

    def test_some_are_left_for_requests(self) -> None:
        client = Client()
        assert client.connection.send_quota == 65_535 - 16
        for _ in range(20):
            client.connection.unsubscribe(["f"])
        assert client.connection.send_quota == 65_535 - 20


class TestLimitsOfTheServer:
    @conforms("5.0", "MQTT-3.2.2-11")
    @rule(24)
    def test_maximum_qos(self) -> None:
        # [MQTT-3.2.2-11]
        client = Client(connack("24 01"))
        with pytest.raises(NotSupported, match="QoS 1"):
            client.publish(qos=2)
        assert client.sent() == ""
        assert not client.session.outgoing
        client.publish(qos=1)
        assert client.sent() == "32 06 00 01 74 00 01 00"

    def test_maximum_qos_0(self) -> None:
        client = Client(connack("24 00"))
        with pytest.raises(NotSupported, match="QoS 0"):
            client.publish(qos=1)
        client.publish()

    @conforms("5.0", "MQTT-3.2.2-14")
    @rule(24)
    def test_retain_available(self) -> None:
        # [MQTT-3.2.2-14]
        client = Client(connack("25 00"))
        with pytest.raises(NotSupported, match="retained"):
            client.connection.publish(Outgoing("t", b"", 0, True))
        assert client.sent() == ""
        assert Client(connack("25 01")).connection.peer_retain_available

    @conforms("5.0", "MQTT-3.2.2-15")
    @rule(24)
    @pytest.mark.parametrize(("qos", "size"), [(0, 14), (1, 12), (2, 12)])
    def test_maximum_packet_size(self, qos: int, size: int) -> None:
        # [MQTT-3.2.2-15]: 20 bytes, of which the payload may have so many.
        client = Client(connack("27 00 00 00 14"))
        with pytest.raises(PacketTooLarge, match="packet of 21 bytes, the peer takes at most 20"):
            client.publish("t", b"x" * (size + 1), qos)
        assert client.sent() == ""
        assert not client.session.outgoing
        client.publish("t", b"x" * size, qos)
        assert len(bytes.fromhex(client.sent())) == 20

    def test_maximum_packet_size_with_properties(self) -> None:
        client = Client(connack("27 00 00 00 14"))
        with pytest.raises(PacketTooLarge):
            client.publish("t", b"x" * 10, content_type="cc")
        client.publish("t", b"x" * 9, content_type="cc")
        assert len(bytes.fromhex(client.sent())) == 20

    def test_properties_need_mqtt_5(self) -> None:
        client = Client(version=V311)
        with pytest.raises(NotSupported, match=r"content_type needs MQTT 5\.0"):
            client.publish(content_type="c")
        assert client.sent() == ""

    @pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0", "\ud800"])
    def test_topic_that_is_not_allowed(self, topic: str) -> None:
        client = Client()
        with pytest.raises(InvalidTopic):
            client.publish(topic, qos=1)
        assert client.sent() == ""
        assert client.connection.send_quota == 65_535 - 16
        assert not client.session.outgoing

    def test_property_that_is_not_allowed(self) -> None:
        client = Client()
        with pytest.raises(UsageError):
            client.publish(qos=1, reason_string="x")
        assert not client.session.outgoing


class TestReceiveMaximum:
    @conforms("5.0", "MQTT-3.3.4-7")
    def test_quota_counts_both_qualities(self) -> None:
        # [MQTT-3.3.4-7]
        client = Client(connack("21 00 03"))
        assert client.connection.send_quota == 3
        client.publish(qos=1)
        client.publish(qos=2)
        client.publish(qos=0)
        assert client.connection.send_quota == 1
        client.give("40 02 00 01")
        assert client.connection.send_quota == 2

    def test_there_is_none_without_an_open_connection(self) -> None:
        client = Client(None)
        assert client.connection.send_quota == 0
        client = Client()
        client.connection.disconnect()
        assert client.connection.send_quota == 0


class TestResuming:
    @conforms("5.0", "MQTT-3.3.1-1")
    @rule(13)
    @pytest.mark.parametrize("qos", [1, 2])
    def test_with_dup_and_the_old_identifier(self, qos: int) -> None:
        # [MQTT-3.3.1-1] [MQTT-4.4.0-1]
        client = Client()
        outgoing = client.publish("t", b"x", qos)
        client.connection.receive_eof()
        assert isinstance(client.connection.close_cause, ConnectionLost)
        again = resumed(client.session)
        assert again.sent() == f"3{8 + 2 * qos:x} 07 00 01 74 00 01 00 78"
        assert again.connection.send_quota == 65_535 - 16 - 1
        assert again.session.outgoing == {1: outgoing}

    def test_retain_is_kept(self) -> None:
        client = Client()
        client.connection.publish(Outgoing("t", b"", 1, True))
        assert resumed(client.session).sent() == "3b 06 00 01 74 00 01 00"

    @rule(13)
    def test_pubrel_instead_of_publish(self) -> None:
        # [MQTT-4.3.3-6]
        client = Client()
        outgoing = client.publish("t", b"x", 2)
        client.give("50 02 00 01")
        again = resumed(client.session)
        assert again.sent() == "62 02 00 01"
        again.give("70 02 00 01")
        assert again.connection.completed == [outgoing]

    @rule(13)
    def test_in_the_original_order(self) -> None:
        # [MQTT-4.6.0-1] The PUBREL was sent after all of them.
        client = Client()
        for qos in (1, 2, 1, 2):
            client.publish("t", b"", qos)
        client.give("50 02 00 02", "40 02 00 01")
        assert resumed(client.session).sent() == (
            "3a 06 00 01 74 00 03 00 3c 06 00 01 74 00 04 00 62 02 00 02"
        )

    @conforms("5.0", "MQTT-4.9.0-3")
    def test_pubrels_do_not_wait_for_quota(self) -> None:
        # [MQTT-4.9.0-3]
        client = Client()
        for _ in range(5):
            client.publish("t", b"", 2)
        client.give("50 02 00 03", "50 02 00 01", "50 02 00 05")
        again = resumed(client.session, "21 00 01")
        # In the order of the PUBRECs [MQTT-4.6.0-4]; the one PUBLISH was before them.
        sent = again.sent()
        assert sent.replace("3c 06 00 01 74 00 02 00 ", "", 1) == (
            "62 02 00 03 62 02 00 01 62 02 00 05"
        )
        assert again.connection.send_quota == 0
        again.give("70 02 00 03", "70 02 00 01", "70 02 00 05")
        assert again.sent() == ""
        again.give("50 02 00 02", "70 02 00 02")
        assert again.sent() == "62 02 00 02 3c 06 00 01 74 00 04 00"

    def test_nothing_new_while_pubrels_take_the_quota(self) -> None:
        client = Client()
        for _ in range(3):
            client.publish("t", b"", 2)
        client.give("50 02 00 01", "50 02 00 02", "50 02 00 03")
        again = resumed(client.session, "21 00 02")
        assert again.sent() == "62 02 00 01 62 02 00 02 62 02 00 03"
        for packet, quota in (("70 02 00 01", 0), ("70 02 00 02", 1), ("70 02 00 03", 2)):
            assert again.connection.send_quota <= 0 or quota == 2
            again.give(packet)
            assert again.connection.send_quota == quota
        assert len(again.connection.completed) == 3

    def test_under_a_smaller_receive_maximum(self) -> None:
        client = Client()
        for qos in (1, 2, 1):
            client.publish("t", b"", qos)
        again = resumed(client.session, "21 00 01")
        assert again.sent() == "3a 06 00 01 74 00 01 00"
        assert again.connection.send_quota == 0
        again.give("40 02 00 01")
        assert again.sent() == "3c 06 00 01 74 00 02 00"
        again.give("50 02 00 02")
        assert again.sent() == "62 02 00 02"
        again.give("70 02 00 02")
        assert again.sent() == "3a 06 00 01 74 00 03 00"
        assert again.connection.send_quota == 0
        again.give("40 02 00 03")
        assert again.connection.send_quota == 1

    @rule(13)
    def test_nothing_new_before_all_is_sent_again(self) -> None:
        client = Client()
        for _ in range(3):
            client.publish("t", b"", 1)
        again = resumed(client.session, "21 00 02")
        assert again.connection.send_quota == 0
        again.give("40 02 00 02")  # 3 goes out in its place
        assert again.connection.send_quota == 0
        again.give("40 02 00 01")
        assert again.connection.send_quota == 1

    @pytest.mark.parametrize(
        ("qos", "packets"), [(1, ("40 02 00 02",)), (2, ("50 02 00 02", "70 02 00 02"))]
    )
    def test_what_is_acknowledged_before_it_is_sent_again_is_not_sent_again(
        self, qos: int, packets: tuple[str, ...]
    ) -> None:
        # The server answers late, on the new connection, what came on the old one.
        client = Client()
        client.publish("t", b"", qos)
        second = client.publish("t", b"", qos)
        again = resumed(client.session, "21 00 01")
        again.sent()
        again.give(*packets)
        if again.connection.state is ConnectionState.OPEN:
            assert again.connection.completed == [second]
            assert "00 01 74 00 02" not in again.sent()
            assert again.connection.send_quota == 0  # the first one is still under way
            again.give(*(packet.replace("00 02", "00 01") for packet in packets))
            assert again.connection.send_quota == 1
            assert "00 01 74 00 02" not in again.sent()

    @pytest.mark.parametrize(
        ("outgoing", "properties"),
        [
            (Outgoing("t", b"", 2), "24 01"),
            (Outgoing("t", b"", 1, True), "25 00"),
            (Outgoing("t", b"x" * 100, 1), "27 00 00 00 20"),
        ],
    )
    def test_what_the_server_does_not_take_any_more_is_given_up(
        self, outgoing: Outgoing, properties: str
    ) -> None:
        client = Client()
        client.connection.publish(outgoing)
        follower = client.publish("u", b"", 1)
        again = resumed(client.session, properties)
        assert again.sent() == "3a 06 00 01 75 00 02 00"
        assert again.connection.completed == [outgoing]
        assert outgoing.reason_code == 0x83
        assert outgoing.response is not None
        assert outgoing.response.get("reason_string")
        assert again.session.outgoing == {2: follower}
        assert again.connection.send_quota == 65_535 - 16 - 1

    def test_a_session_that_is_cleared_returns_what_was_under_way(self) -> None:
        client = Client()
        outgoings = [client.publish("t", b"", 1), client.publish("t", b"", 2)]
        client.message("34 06 00 01 74 00 05 00")
        assert client.session.clear() == outgoings
        assert not client.session.outgoing
        assert not client.session.incoming

    def test_nothing_to_send_again(self) -> None:
        assert resumed(Session()).sent() == ""


class TestPieces:
    def test_large_payload_is_cut(self) -> None:
        client = Client()
        payload = bytes(range(256)) * 800  # 204,800 bytes
        client.publish("t", payload)
        assert client.connection.unsent_size == 204_808 + 0
        pieces = []
        while piece := client.connection.data_to_send(0.0):
            pieces.append(bytes(piece))
            left = client.connection.unsent_size
            assert left == 204_808 - sum(map(len, pieces))
        assert b"".join(pieces) == b"\x30\x84\xc0\x0c\x00\x01t\x00" + payload
        assert [len(piece) for piece in pieces] == [8_200, 131_072, 65_536]

    def test_packets_that_just_fill_a_piece(self) -> None:
        client = Client(version=V311)
        for _ in range(3):
            client.publish("t", bytes(65_529))  # and 7 bytes before it
        assert len(client.connection.data_to_send(0.0)) == 131_072
        assert client.connection.unsent_size == 65_536
        assert len(client.connection.data_to_send(0.0)) == 65_536
        assert client.connection.data_to_send(0.0) == b""

    def test_large_payload_is_not_copied(self) -> None:
        client = Client()
        payload = bytes(300_000)
        client.publish("t", payload)
        client.connection.data_to_send(0.0)
        piece = client.connection.data_to_send(0.0)
        assert isinstance(piece, memoryview)
        assert piece.obj is payload

    @pytest.mark.parametrize("size", [8_191, 8_192, 65_535, 65_536, 65_537])
    def test_every_size_arrives(self, size: int) -> None:
        client = Client(version=V311)
        for number in range(20):
            client.publish("t", bytes((number,)) * size)
        sent = bytes.fromhex(client.sent())
        header = {8_191: "30 82 40", 8_192: "30 83 40"}
        start = bytes.fromhex(header[size]) if size in header else sent[:4]
        expected = b"".join(start + b"\x00\x01t" + bytes((number,)) * size for number in range(20))
        assert sent == expected
        assert client.connection.unsent_size == 0

    def test_pieces_of_just_the_size(self) -> None:
        client = Client()
        for _ in range(4):
            client.publish("t", bytes(32_768 - 8))  # packets of 32 KiB
        for _ in range(2):
            client.publish("t", b"x" * 2)
        connection = client.connection
        assert connection.unsent_size == 131_072 + 16
        assert len(connection.data_to_send(0.0)) == 131_072
        assert connection.unsent_size == 16
        assert client.sent() == "30 06 00 01 74 00 78 78 30 06 00 01 74 00 78 78"

    def test_exactly_one_piece(self) -> None:
        client = Client()
        client.publish("t", bytes(131_072 - 8))
        assert len(client.connection.data_to_send(0.0)) == 131_072
        assert client.connection.unsent_size == 0
        assert client.connection.data_to_send(0.0) == b""

    def test_small_packet_that_is_cut(self) -> None:
        client = Client()
        for _ in range(30):
            client.publish("t", b"x" * 4_993)  # packets of 5,000 bytes
        connection = client.connection
        first = bytes(connection.data_to_send(0.0))
        assert len(first) == 131_072
        assert connection.unsent_size == 30 * 5_000 - 131_072
        packet = b"\x30\x85\x27\x00\x01t\x00" + b"x" * 4_993
        assert first + bytes.fromhex(client.sent()) == packet * 30

    @settings(deadline=None, max_examples=200, database=None)
    @given(
        st.lists(
            st.tuples(
                st.one_of(
                    st.integers(0, 20_000), st.integers(65_000, 300_000), st.sampled_from([131_064])
                ),
                st.integers(0, 2),
                st.booleans(),
                st.integers(0, 2),
            ),
            max_size=12,
        )
    )
    def test_what_is_taken_is_what_was_written(
        self, packets: list[tuple[int, int, bool, int]]
    ) -> None:
        client, whole = Client(), Client()
        pieces: list[bytes] = []
        for size, qos, at_once, takes in packets:
            outgoing = Outgoing("t", b"%07d" % size * (size // 7), qos)
            if not (at_once and client.connection.publish_at_once(outgoing)):
                client.connection.publish(outgoing)
            whole.connection.publish(Outgoing("t", outgoing.payload, qos))
            for _ in range(takes):
                unsent = client.connection.unsent_size
                pieces.append(bytes(client.connection.data_to_send(0.0)))
                assert client.connection.unsent_size == unsent - len(pieces[-1])
        while client.connection.unsent_size:
            pieces.append(bytes(client.connection.data_to_send(0.0)))
            assert pieces[-1]
        assert max(map(len, pieces), default=0) <= 131_072
        assert b"".join(pieces).hex(" ") == whole.sent()
        assert client.connection.data_to_send(0.0) == b""
