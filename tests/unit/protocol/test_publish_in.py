"""Messages that this side receives, until their flow has ended."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.packets import Message
from mqttlite.protocol import ConnectionState, ReceiptState, Session
from mqttlite.protocol.session import Answerable
from tests.behaviour import rule
from tests.conformance.conforms import conforms
from tests.unit.protocol.sides import ALL, V5, V31, V311, Client, connack, receipt

QOS_1 = "32 06 00 01 74 00 {:02x} 00"
QOS_2 = "34 06 00 01 74 00 {:02x} 00"
QOS_2_AGAIN = "3c 06 00 01 74 00 {:02x} 00"


def resumed(session: Session, **arguments: Any) -> Client:
    answer = connack(session_present=True)
    client = Client(answer, session=session, clean_start=False, **arguments)
    client.connection.resume()
    return client


class TestQos0:
    @pytest.mark.parametrize("version", ALL)
    def test_message(self, version: Any) -> None:
        client = Client(version=version)
        message = client.message("30 05 00 01 74 00 78" if version == V5 else "30 04 00 01 74 78")
        assert message == Message("t", b"x")
        message.ack()
        assert client.sent() == ""

    def test_properties(self) -> None:
        client = Client()
        message = client.message("31 09 00 01 74 04 03 00 01 63 78")
        assert message == Message("t", b"x", retain=True, properties={"content_type": "c"})

    def test_in_the_order_of_arrival(self) -> None:
        client = Client()
        received = client.give("30 05 00 01 74 00 31", QOS_1.format(1), "30 05 00 01 74 00 33")
        assert [message.qos for message in received] == [0, 1, 0]


class TestQos1:
    @rule(17)
    def test_acknowledged_when_it_is_processed(self) -> None:
        # Rule 17.
        client = Client()
        message = client.message("32 07 00 01 74 00 09 00 78")
        assert message == Message("t", b"x", 1, packet_id=9)
        assert client.sent() == ""
        message.ack()
        assert client.sent() == "40 02 00 09"
        message.ack()
        assert client.sent() == ""

    def test_same_identifier_is_a_new_message_after_the_acknowledgement(self) -> None:
        # [MQTT-4.3.2-5]
        client = Client()
        client.message(QOS_1.format(9)).ack()
        again = client.message("3a 06 00 01 74 00 09 00")
        assert again.dup
        again.ack()
        assert client.sent() == "40 02 00 09 40 02 00 09"

    @rule(19)
    def test_acknowledgements_in_the_order_of_arrival(self) -> None:
        # [MQTT-4.6.0-2]; rule 19.
        client = Client()
        first, second, third = client.give(*(QOS_1.format(each) for each in (3, 1, 2)))
        third.ack()
        second.ack()
        assert client.sent() == ""
        first.ack()
        assert client.sent() == "40 02 00 03 40 02 00 01 40 02 00 02"

    @rule(19)
    def test_order_holds_across_the_qualities(self) -> None:
        client = Client()
        first, second, third = client.give(QOS_2.format(5), QOS_1.format(5), QOS_2.format(6))
        third.ack()
        second.ack()
        assert client.sent() == ""
        first.ack()
        assert client.sent() == "50 02 00 05 40 02 00 05 50 02 00 06"

    @rule(13)
    def test_acknowledgement_for_an_old_connection_is_dropped(self) -> None:
        # Rule 13.
        client = Client()
        message = client.message(QOS_1.format(9))
        client.connection.receive_eof()
        again = resumed(client.session)
        message.ack()
        assert client.sent() == ""
        assert again.sent() == ""

    def test_state_of_a_receipt(self) -> None:
        client = Client()
        message = client.message(QOS_1.format(9))
        assert receipt(message).state is ReceiptState.WAITING
        assert receipt(message).is_live
        message.ack()
        assert receipt(message).state is ReceiptState.ACKNOWLEDGED
        assert client.sent() == "40 02 00 09"
        assert receipt(message).state is ReceiptState.ANSWERED
        client.connection.receive_eof()
        assert not receipt(message).is_live

    def test_acknowledger_is_asked_instead(self) -> None:
        client = Client()
        message = client.message(QOS_1.format(9))
        asked: list[Answerable] = []
        receipt(message).connection.acknowledger = lambda each, _: asked.append(each)
        message.ack()
        assert client.sent() == ""
        assert asked == [receipt(message)]
        asked[0].accept()
        assert client.sent() == "40 02 00 09"

    def test_without_an_acknowledger(self) -> None:
        client = Client()
        message = client.message(QOS_1.format(9))
        receipt(message).acknowledge()
        assert client.sent() == "40 02 00 09"


class TestQos2:
    def test_flow(self) -> None:
        client = Client()
        message = client.message("34 07 00 01 74 00 09 00 78")
        assert message == Message("t", b"x", 2, packet_id=9)
        assert list(client.session.incoming) == [9]
        assert receipt(message).is_live
        assert client.sent() == ""
        message.ack()
        assert client.sent() == "50 02 00 09"
        assert list(client.session.incoming) == [9]
        client.give("62 02 00 09")
        assert client.sent() == "70 02 00 09"
        assert not client.session.incoming
        assert not receipt(message).is_live
        message.ack()
        assert client.sent() == ""

    def test_repeated_before_it_is_processed(self) -> None:
        # [MQTT-4.3.3-10]
        client = Client()
        message = client.message(QOS_2.format(9))
        assert client.give(QOS_2_AGAIN.format(9)) == []
        assert client.sent() == ""
        message.ack()
        assert client.sent() == "50 02 00 09"

    def test_repeated_after_pubrec(self) -> None:
        client = Client()
        client.message(QOS_2.format(9)).ack()
        client.sent()
        assert client.give(QOS_2_AGAIN.format(9)) == []
        assert client.sent() == "50 02 00 09"
        assert client.give(QOS_2.format(9)) == []  # whatever DUP says
        assert client.sent() == "50 02 00 09"

    @pytest.mark.parametrize("version", ALL)
    def test_repeated_and_released_at_once(self, version: Any) -> None:
        # MQTT 3.1 lets a server repeat what it waits for: that may cross with the PUBREC.
        spare = " 00" if version == V5 else ""
        length = "06" if version == V5 else "05"
        client = Client(version=version)
        client.message(f"34 {length} 00 01 74 00 09{spare}").ack()
        assert client.sent() == "50 02 00 09"
        assert client.give(f"3c {length} 00 01 74 00 09{spare}", "62 02 00 09") == []
        assert client.sent() == "50 02 00 09 70 02 00 09"

    def test_the_next_message_does_not_get_the_answer_to_the_one_before(self) -> None:
        client = Client()
        client.message(QOS_2.format(9)).ack()
        assert client.sent() == "50 02 00 09"
        (new,) = client.give(QOS_2_AGAIN.format(9), "62 02 00 09", QOS_2.format(9))
        assert client.sent() == "50 02 00 09 70 02 00 09"
        new.ack()
        assert client.sent() == "50 02 00 09"

    def test_repeats_do_not_use_up_the_quota(self) -> None:
        client = Client(properties={"receive_maximum": 1})
        client.message(QOS_2.format(9)).ack()
        for _ in range(5):
            client.give(QOS_2_AGAIN.format(9))
        client.give("62 02 00 09")
        client.message(QOS_2.format(10))
        assert client.connection.state is ConnectionState.OPEN

    def test_same_identifier_is_a_new_message_after_pubrel(self) -> None:
        # [MQTT-4.3.3-12]
        client = Client()
        client.message(QOS_2.format(9)).ack()
        client.give("62 02 00 09")
        assert client.message(QOS_2_AGAIN.format(9)).dup

    def test_repeated_on_the_next_connection_before_it_is_processed(self) -> None:
        client = Client()
        message = client.message(QOS_2.format(9))
        client.connection.receive_eof()
        again = resumed(client.session)
        assert again.give(QOS_2_AGAIN.format(9)) == []
        assert again.sent() == ""
        message.ack()
        assert client.sent() == ""
        assert again.sent() == "50 02 00 09"

    def test_repeated_on_the_next_connection_after_it_is_processed(self) -> None:
        client = Client()
        message = client.message(QOS_2.format(9))
        client.connection.receive_eof()
        again = resumed(client.session)
        message.ack()
        assert again.sent() == ""
        assert again.give(QOS_2_AGAIN.format(9)) == []
        assert again.sent() == "50 02 00 09"

    @rule(15)
    def test_repeated_on_the_next_connection_after_pubrec(self) -> None:
        client = Client()
        client.message(QOS_2.format(9)).ack()
        client.connection.receive_eof()
        again = resumed(client.session)
        assert again.give(QOS_2_AGAIN.format(9)) == []
        assert again.sent() == "50 02 00 09"
        again.give("62 02 00 09")
        assert again.sent() == "70 02 00 09"

    def test_released_on_the_next_connection(self) -> None:
        client = Client(properties={"receive_maximum": 1})
        client.message(QOS_2.format(9)).ack()
        client.connection.receive_eof()
        again = resumed(client.session, properties={"receive_maximum": 1})
        again.give("62 02 00 09")
        assert again.sent() == "70 02 00 09"
        # It did not count on this connection.
        again.message(QOS_2.format(10))
        again.give(QOS_2.format(11))
        assert again.failure().reason_code == 0x93

    @rule(15)
    def test_unknown_pubrel_gets_pubcomp(self) -> None:
        # [MQTT-4.3.3-11]; rule 15.
        client = Client()
        client.give("62 02 00 07")
        assert client.sent() == "70 03 00 07 92"
        assert client.connection.state is ConnectionState.OPEN

    def test_unknown_pubrel_in_mqtt_3_1_1(self) -> None:
        client = Client(version=V311)
        client.give("62 02 00 07")
        assert client.sent() == "70 02 00 07"

    def test_pubrel_before_pubrec_is_a_fault(self) -> None:
        client = Client()
        client.message(QOS_2.format(9))
        client.give("62 02 00 09")
        assert client.failure().reason_code == 0x82
        assert client.sent() == "e0 01 82"
        assert list(client.session.incoming) == [9]

    def test_mqtt_3_1_tells_a_new_message_by_its_dup_flag(self) -> None:
        # There is no Session Present: the session may be a new one.
        client = Client(version=V31, clean_start=False)
        client.message("34 05 00 01 74 00 09")
        again = Client(version=V31, session=client.session, clean_start=False)
        again.message("34 05 00 01 74 00 09").ack()
        assert again.sent() == "50 02 00 09"

    def test_mqtt_3_1_tells_an_old_message_by_its_dup_flag(self) -> None:
        client = Client(version=V31, clean_start=False)
        client.message("34 05 00 01 74 00 09").ack()
        again = Client(version=V31, session=client.session, clean_start=False)
        assert again.give("3c 05 00 01 74 00 09") == []
        assert again.sent() == "50 02 00 09"
        assert again.give("34 05 00 01 74 00 09") == []  # on one connection it is no new one

    def test_mqtt_3_1_1_does_not_look_at_the_dup_flag(self) -> None:
        client = Client(version=V311, clean_start=False)
        client.message("34 05 00 01 74 00 09")
        again = Client("20 02 01 00", version=V311, session=client.session, clean_start=False)
        assert again.give("34 05 00 01 74 00 09") == []


class TestReceiveMaximum:
    @conforms("5.0", "MQTT-3.3.4-9")
    @rule(16)
    @pytest.mark.parametrize("template", [QOS_1, QOS_2])
    def test_an_excess_is_a_fault(self, template: str) -> None:
        # [MQTT-3.3.4-9]; rule 16.
        client = Client(properties={"receive_maximum": 2})
        received = client.give(*(template.format(each) for each in (1, 2, 3)))
        assert len(received) == 2
        assert client.failure().reason_code == 0x93
        assert client.sent() == "e0 01 93"
        assert 3 not in client.session.incoming

    def test_qos_0_does_not_count(self) -> None:
        client = Client(properties={"receive_maximum": 1})
        client.give(QOS_1.format(1), *["30 04 00 01 74 00"] * 5)
        assert client.connection.state is ConnectionState.OPEN

    def test_an_acknowledgement_makes_room(self) -> None:
        client = Client(properties={"receive_maximum": 1})
        for _ in range(3):
            client.message(QOS_1.format(1)).ack()
        assert client.connection.state is ConnectionState.OPEN

    def test_one_that_waits_for_its_turn_makes_no_room(self) -> None:
        client = Client(properties={"receive_maximum": 2})
        _, second = client.give(QOS_1.format(1), QOS_1.format(2))
        second.ack()
        client.give(QOS_1.format(3))
        assert client.failure().reason_code == 0x93

    def test_qos_2_makes_room_with_pubcomp(self) -> None:
        client = Client(properties={"receive_maximum": 1})
        client.message(QOS_2.format(1)).ack()
        client.give("62 02 00 01")
        client.message(QOS_2.format(2)).ack()
        client.give(QOS_2.format(3))
        assert client.failure().reason_code == 0x93

    def test_a_repeat_on_the_next_connection_counts(self) -> None:
        client = Client(properties={"receive_maximum": 1})
        client.message(QOS_2.format(1))
        again = resumed(client.session, properties={"receive_maximum": 1})
        again.give(QOS_2_AGAIN.format(1), QOS_2.format(2))
        assert again.failure().reason_code == 0x93


class TestAbandon:
    def test_it_is_not_acknowledged_and_holds_nobody_back(self) -> None:
        client = Client(properties={"session_expiry_interval": 9})
        first, second = client.give(QOS_1.format(1), QOS_1.format(2))
        receipt(first).abandon()
        second.ack()
        assert client.sent() == "40 02 00 02"
        first.ack()
        assert client.sent() == ""

    def test_others_go_on_that_waited_behind_it(self) -> None:
        client = Client(properties={"session_expiry_interval": 9})
        first, second = client.give(QOS_1.format(1), QOS_1.format(2))
        second.ack()
        assert client.sent() == ""
        receipt(first).abandon()
        assert client.sent() == "40 02 00 02"

    def test_it_is_acknowledged_where_it_would_not_come_again(self) -> None:
        client = Client()
        message = client.message(QOS_1.format(1))
        receipt(message).abandon()
        assert client.sent() == "40 02 00 01"

    def test_qos_2_is_delivered_again(self) -> None:
        client = Client(properties={"session_expiry_interval": 9})
        receipt(client.message(QOS_2.format(1))).abandon()
        again = resumed(client.session)
        again.message(QOS_2_AGAIN.format(1)).ack()
        assert again.sent() == "50 02 00 01"

    @pytest.mark.parametrize(("receive_maximum", "most"), [(1, 1), (3, 3), (8, 8), (100, 8)])
    def test_many_of_them_end_the_connection(self, receive_maximum: int, most: int) -> None:
        client = Client(
            properties={"session_expiry_interval": 9, "receive_maximum": receive_maximum}
        )
        for number in range(1, most + 1):
            assert client.connection.state is ConnectionState.OPEN
            receipt(client.message(QOS_1.format(number))).abandon()
        assert client.connection.state is ConnectionState.CLOSING
        assert client.sent() == "e0 00"
        assert "anew" in str(client.connection.close_cause)

    def test_twice_counts_once(self) -> None:
        client = Client(properties={"session_expiry_interval": 9, "receive_maximum": 2})
        message = client.message(QOS_1.format(1))
        receipt(message).abandon()
        receipt(message).abandon()
        assert client.connection.state is ConnectionState.OPEN

    def test_after_the_acknowledgement_it_does_nothing(self) -> None:
        client = Client(properties={"session_expiry_interval": 9, "receive_maximum": 1})
        message = client.message(QOS_1.format(1))
        message.ack()
        receipt(message).abandon()
        assert client.connection.state is ConnectionState.OPEN


class TestTopicAliases:
    def test_alias_is_defined_and_used(self) -> None:
        # [MQTT-3.3.2-12]
        client = Client(properties={"topic_alias_maximum": 2})
        first = client.message("30 08 00 01 74 03 23 00 02 31")
        second = client.message("30 07 00 00 03 23 00 02 32")
        assert (first.topic, second.topic) == ("t", "t")
        assert (first.payload, second.payload) == (b"1", b"2")

    def test_alias_is_defined_anew(self) -> None:
        client = Client(properties={"topic_alias_maximum": 2})
        client.message("30 07 00 01 74 03 23 00 01")
        client.message("30 07 00 01 75 03 23 00 01")
        assert client.message("30 06 00 00 03 23 00 01").topic == "u"

    def test_with_qos_1(self) -> None:
        client = Client(properties={"topic_alias_maximum": 1})
        client.message("32 09 00 01 74 00 05 03 23 00 01")
        message = client.message("32 08 00 00 00 06 03 23 00 01")
        assert message.topic == "t"
        assert message.packet_id == 6

    @conforms("5.0", "MQTT-3.1.2-26", "MQTT-3.1.2-27", "MQTT-3.3.2-11")
    @rule(22)
    @pytest.mark.parametrize("maximum", [0, 1])
    def test_alias_above_the_maximum(self, maximum: int) -> None:
        client = Client(properties={"topic_alias_maximum": maximum} if maximum else None)
        client.give("30 07 00 01 74 03 23 00 02")
        assert client.failure().reason_code == 0x94
        assert client.sent() == "e0 01 94"

    def test_alias_that_was_never_defined(self) -> None:
        client = Client(properties={"topic_alias_maximum": 1})
        client.give("30 06 00 00 03 23 00 01")
        assert client.failure().reason_code == 0x82
        assert client.sent() == "e0 01 82"

    @conforms("5.0", "MQTT-3.3.2-8")
    def test_alias_0(self) -> None:
        client = Client(properties={"topic_alias_maximum": 1})
        client.give("30 07 00 01 74 03 23 00 00")
        assert client.failure().reason_code == 0x94
        assert client.sent() == "e0 01 94"

    @conforms("5.0", "MQTT-3.3.2-7")
    @rule(22)
    def test_aliases_end_with_the_connection(self) -> None:
        # Rule 22.
        client = Client(properties={"topic_alias_maximum": 1})
        client.message("30 07 00 01 74 03 23 00 01")
        again = resumed(client.session, properties={"topic_alias_maximum": 1})
        again.give("30 06 00 00 03 23 00 01")
        assert again.failure().reason_code == 0x82


class TestMaximumPacketSize:
    @conforms("5.0", "MQTT-3.1.2-24")
    @pytest.mark.parametrize("version", [V5, V311])
    def test_a_packet_that_is_too_large(self, version: Any) -> None:
        # [MQTT-3.1.2-24]; rule 25: told by its header, before its body is there.
        client = Client(version=version, maximum_packet_size=20)
        client.give("30 13")
        assert client.failure().reason_code == 0x95
        assert client.sent() == ("e0 01 95" if version == V5 else "")

    def test_a_packet_that_just_fits(self) -> None:
        client = Client(maximum_packet_size=20)
        assert len(client.message("30 12 00 01 74 00" + "78" * 14).payload) == 14

    def test_what_came_before_is_still_received(self) -> None:
        client = Client(maximum_packet_size=20)
        received = client.give("30 05 00 01 74 00 78", QOS_1.format(1), "30 7f")
        assert [message.qos for message in received] == [0, 1]
        assert client.failure().reason_code == 0x95


class TestMalformed:
    @pytest.mark.parametrize(
        ("packet", "code"),
        [
            ("36 04 00 01 74 00", "81"),
            ("32 06 00 01 74 00 00 00", "82"),
            ("30 80 80 80 80 01", "81"),
            ("31 02 00 05", "81"),
            ("00 00", "81"),
        ],
    )
    def test_disconnect_has_the_fitting_code(self, packet: str, code: str) -> None:
        client = Client()
        client.give(packet)
        assert client.failure()
        assert client.sent() in (f"e0 01 {code}", "e0 01 81")

    def test_nothing_is_read_after_it(self) -> None:
        client = Client()
        client.give("00 00")
        client.sent()
        assert client.give("30 05 00 01 74 00 78") == []
        assert client.sent() == ""
