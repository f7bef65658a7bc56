"""Session state, delivery, retry, ordering and flow control: sections 4.1 to 4.6 and 4.9."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import Dial, SubscriptionState
from mqttlite.enums import Fate
from mqttlite.protocol import Session
from mqttlite.protocol.session import Answer
from tests.conformance.conforms import conforms
from tests.conformance.wire_5_0 import Program
from tests.unit.protocol.sides import Client, receipt

FAILURES = (0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
YEAR = 365 * 86_400.0


def payloads(subscription: SubscriptionState) -> list[bytes]:
    """What a subscription has received and not given away yet."""
    return [message.payload for message in subscription.buffer]


def ack_all(subscription: SubscriptionState) -> None:
    while message := subscription.take():
        message.ack()


class TestSessionState:
    """Section 4.1."""

    @conforms("5.0", "MQTT-4.1.0-1")
    def test_it_lasts_as_long_as_the_connection(self) -> None:
        # The server was asked to forget the session with the connection: not before.
        program = Program(clean_start=True, session_expiry_interval=0, keep_alive=60).open()
        subscription = program.subscribed("t", 2, ack="manual")
        sent, released = program.publish("t", b"", 2), program.publish("t", b"", 2)
        program.give("50 02 00 03", "34 07 00 01 74 00 07 00 61")
        ack_all(subscription)
        program.said()
        for _ in range(1000):
            program.pass_deadline()
            assert program.said() == "c0 00"
            program.give("d0 00")
        program.give("3c 07 00 01 74 00 07 00 61")
        assert payloads(subscription) == []
        assert program.said() == "50 02 00 07"
        program.give("70 02 00 03", "50 02 00 02")
        assert released.fate is Fate.ACKNOWLEDGED
        assert program.said() == "62 02 00 02"
        program.give("70 02 00 02", "30 05 00 01 74 00 62")
        assert sent.fate is Fate.ACKNOWLEDGED
        assert payloads(subscription) == [b"b"]


class TestSender:
    """Section 4.3: messages of this client."""

    @pytest.mark.parametrize(
        ("qos", "first", "answers"),
        [
            pytest.param(1, "32", ["40 02 {}"], marks=conforms("5.0", "MQTT-4.3.2-1")),
            pytest.param(2, "34", ["50 02 {}", "70 02 {}"], marks=conforms("5.0", "MQTT-4.3.3-1")),
        ],
    )
    def test_new_messages_have_unused_identifiers(
        self, qos: int, first: str, answers: list[str]
    ) -> None:
        session = Session()
        session.last_packet_id = 65_533
        client = Client(session=session)
        for _ in range(4):
            client.publish("t", b"", qos)
        assert client.sent() == " ".join(
            f"{first} 06 00 01 74 {each} 00" for each in ("ff fe", "ff ff", "00 01", "00 02")
        )
        # All but 1 are still in use when the identifiers come round again.
        client.give(*(answer.format("00 01") for answer in answers))
        client.sent()
        session.last_packet_id = 65_533
        for _ in range(2):
            client.publish("t", b"", qos)
        assert client.sent() == (f"{first} 06 00 01 74 00 01 00 {first} 06 00 01 74 00 03 00")

    @conforms("5.0", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
    def test_the_identifiers_of_requests_are_used(self) -> None:
        program = Program().open()
        program.subscribe("a")
        program.core.unsubscribe_filters("b")
        program.said()
        program.core.session.last_packet_id = 0
        program.publish("t", b"", 1)
        program.publish("t", b"", 2)
        assert program.said() == "32 06 00 01 74 00 03 00 34 06 00 01 74 00 04 00"

    @pytest.mark.parametrize(
        ("qos", "first", "again", "acknowledgement"),
        [
            pytest.param(
                1, "32", "3a", "40 02 00 01", marks=conforms("5.0", "MQTT-4.3.2-2", "MQTT-4.3.2-3")
            ),
            pytest.param(
                2, "34", "3c", "50 02 00 01", marks=conforms("5.0", "MQTT-4.3.3-2", "MQTT-4.3.3-3")
            ),
        ],
    )
    def test_a_message_is_unacknowledged_until_its_acknowledgement(
        self, qos: int, first: str, again: str, acknowledgement: str
    ) -> None:
        program = Program().open()
        delivery = program.publish("t", b"x", qos)
        assert program.said() == f"{first} 07 00 01 74 00 01 00 78"
        for _ in range(3):
            program.reopen()
            assert program.said() == f"{again} 07 00 01 74 00 01 00 78"
            assert not delivery.done
        program.give(acknowledgement)
        program.said()
        program.reopen()
        assert "78" not in program.said()

    @conforms("5.0", "MQTT-4.3.3-4")
    @pytest.mark.parametrize("pubrec", ["50 02 00 01", "50 03 00 01 00", "50 03 00 01 10"])
    def test_pubrec_is_answered_with_pubrel(self, pubrec: str) -> None:
        program = Program().open()
        program.publish("t", b"x", 2)
        program.said()
        program.give(pubrec)
        assert program.said() in ("62 02 00 01", "62 03 00 01 00", "62 04 00 01 00 00")

    @conforms("5.0", "MQTT-4.3.3-5", "MQTT-4.3.3-6")
    def test_pubrel_is_unacknowledged_until_pubcomp(self) -> None:
        program = Program().open()
        delivery = program.publish("t", b"x", 2)
        program.give("50 02 00 01")
        assert program.said() == "34 07 00 01 74 00 01 00 78 62 02 00 01"
        for _ in range(3):
            program.reopen()
            assert program.said() == "62 02 00 01"
            assert not delivery.done
        program.give("70 02 00 01")
        assert delivery.fate is Fate.ACKNOWLEDGED
        program.reopen()
        assert program.said() == ""

    @conforms("5.0", "MQTT-4.3.3-6")
    def test_no_publish_again_although_pubrec_comes_again(self) -> None:
        program = Program().open()
        program.publish("t", b"x", 2)
        program.give("50 02 00 01")
        program.said()
        program.give("50 02 00 01")
        assert program.said() == "62 02 00 01"
        program.reopen()
        program.give("50 02 00 01")
        assert program.said() == "62 02 00 01 62 02 00 01"

    @conforms("5.0", "MQTT-4.3.3-7")
    @pytest.mark.parametrize("properties", ["", "21 00 01"], ids=["at once", "in its turn"])
    def test_a_message_that_was_sent_does_not_expire(self, properties: str) -> None:
        program = Program().open()
        before = program.publish("a", b"", 1)
        delivery = program.publish("t", b"", 2, message_expiry_interval=1)
        assert program.said() == ("32 06 00 01 61 00 01 00 34 0b 00 01 74 00 02 05 02 00 00 00 01")
        program.now += YEAR
        program.core.handle_deadline(program.now)
        assert not delivery.done
        program.reopen(properties)
        program.now += YEAR
        program.core.handle_deadline(program.now)
        program.give("40 02 00 01")
        assert before.done
        assert program.said().endswith("3c 0b 00 01 74 00 02 05 02 00 00 00 01")
        program.give("50 02 00 02", "70 02 00 02")
        assert delivery.fate is Fate.ACKNOWLEDGED


class TestReceiver:
    """Section 4.3: messages of the server."""

    @conforms("5.0", "MQTT-4.3.2-4")
    def test_qos_1_is_acknowledged_once_the_program_has_it(self) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 1, ack="manual")
        program.give("32 07 00 01 74 12 34 00 78")
        message = subscription.take()
        assert message is not None
        assert program.said() == ""
        message.ack()
        assert program.said() == "40 02 12 34"

    @conforms("5.0", "MQTT-4.3.2-5")
    @pytest.mark.parametrize("first", ["32", "3a"])
    def test_after_puback_the_identifier_is_that_of_a_new_message(self, first: str) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 1, ack="manual")
        program.give("32 07 00 01 74 00 07 00 61")
        ack_all(subscription)
        assert program.said() == "40 02 00 07"
        program.give(f"{first} 07 00 01 74 00 07 00 61")
        assert payloads(subscription) == [b"a"]
        ack_all(subscription)
        assert program.said() == "40 02 00 07"

    @conforms("5.0", "MQTT-4.3.3-8", "MQTT-4.3.3-11")
    def test_qos_2_is_acknowledged_once_the_program_has_it_and_then_released(self) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 2, ack="manual")
        program.give("34 07 00 01 74 12 34 00 78")
        message = subscription.take()
        assert message is not None
        assert program.said() == ""
        message.ack()
        assert program.said() == "50 02 12 34"
        program.give("62 02 12 34")
        assert program.said() in ("70 02 12 34", "70 03 12 34 00", "70 04 12 34 00 00")

    @conforms("5.0", "MQTT-4.3.3-9")
    @pytest.mark.parametrize("first", ["34", "3c"])
    @pytest.mark.parametrize("code", FAILURES, ids=hex)
    def test_after_a_refusing_pubrec_the_identifier_is_that_of_a_new_message(
        self, code: int, first: str
    ) -> None:
        client = Client(properties={"receive_maximum": 1})
        refused = client.message("34 07 00 01 74 00 07 00 61")
        client.connection.acknowledge(receipt(refused), Answer(code))
        assert client.sent() == f"50 03 00 07 {code:02x}"
        message = client.message(f"{first} 07 00 01 74 00 07 00 61")
        message.ack()
        assert client.sent() == "50 02 00 07"

    @conforms("5.0", "MQTT-4.3.3-10")
    def test_repeats_before_pubrel_are_acknowledged_and_not_delivered(self) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 2, ack="manual")
        program.give("34 07 00 01 74 00 07 00 61")
        ack_all(subscription)
        assert program.said() == "50 02 00 07"
        for first in ("3c", "34"):
            program.give(f"{first} 07 00 01 74 00 07 00 61")
            assert program.said() == "50 02 00 07"
        program.reopen()
        program.said()
        program.give("3c 07 00 01 74 00 07 00 61")
        assert program.said() == "50 02 00 07"
        assert payloads(subscription) == []

    @conforms("5.0", "MQTT-4.3.3-10")
    def test_a_repeat_before_pubrec_is_not_delivered(self) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 2, ack="manual")
        program.give("34 07 00 01 74 00 07 00 61")
        program.reopen()
        program.give("3c 07 00 01 74 00 07 00 61")
        assert payloads(subscription) == [b"a"]
        ack_all(subscription)
        assert program.said() == "50 02 00 07"

    @conforms("5.0", "MQTT-4.3.3-11")
    def test_pubrel_on_the_next_connection_is_answered(self) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 2, ack="manual")
        program.give("34 07 00 01 74 00 07 00 61")
        ack_all(subscription)
        program.reopen()
        program.said()
        program.give("62 02 00 07")
        assert program.said() == "70 02 00 07"
        # PUBCOMP is lost, and PUBREL comes again.
        program.reopen()
        program.said()
        program.give("62 02 00 07")
        assert program.said() == "70 03 00 07 92"

    @conforms("5.0", "MQTT-4.3.3-12")
    @pytest.mark.parametrize("first", ["34", "3c"])
    def test_after_pubcomp_the_identifier_is_that_of_a_new_message(self, first: str) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 2, ack="manual")
        program.give("34 07 00 01 74 00 07 00 61")
        ack_all(subscription)
        program.give("62 02 00 07", f"{first} 07 00 01 74 00 07 00 62")
        assert payloads(subscription) == [b"b"]
        ack_all(subscription)
        assert program.said() == "50 02 00 07 70 02 00 07 50 02 00 07"

    @conforms("5.0", "MQTT-4.3.3-13")
    def test_the_handshake_goes_on_although_the_message_has_expired(self) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 2, ack="manual")
        program.give("34 0b 00 01 74 00 07 05 02 00 00 00 01")
        program.now += YEAR
        program.core.handle_deadline(program.now)
        program.reopen()
        program.said()
        program.now += YEAR
        program.give("3c 0b 00 01 74 00 07 05 02 00 00 00 01")
        ack_all(subscription)
        assert program.said() == "50 02 00 07"
        program.now += YEAR
        program.give("62 02 00 07")
        assert program.said() == "70 02 00 07"


class TestRetry:
    """Section 4.4."""

    @conforms("5.0", "MQTT-4.4.0-1")
    def test_a_session_that_goes_on(self) -> None:
        program = Program().open()
        program.publish("a", b"", 0)
        program.publish("b", b"", 1)
        program.publish("c", b"", 2)
        program.publish("d", b"", 2)
        program.give("50 02 00 03")
        program.said()
        program.reopen()
        # Whether PUBREL stands before or behind the messages is left open.
        messages, pubrel = "3a 06 00 01 62 00 01 00 3c 06 00 01 63 00 02 00", "62 02 00 03"
        assert program.said() in (f"{messages} {pubrel}", f"{pubrel} {messages}")

    @conforms("5.0", "MQTT-4.4.0-1")
    def test_nothing_is_sent_again_on_a_connection_that_goes_on(self) -> None:
        program = Program(keep_alive=60).open()
        program.publish("b", b"", 1)
        program.publish("c", b"", 2)
        program.publish("d", b"", 2)
        program.give("50 02 00 03")
        program.said()
        for _ in range(1000):
            program.pass_deadline()
            assert program.said() == "c0 00"
            program.give("d0 00")

    @conforms("5.0", "MQTT-4.4.0-1")
    def test_a_session_that_the_server_does_not_have(self) -> None:
        program = Program().open()
        program.publish("b", b"", 1)
        program.publish("d", b"", 2)
        program.give("50 02 00 02")
        program.said()
        program.reopen(session_present=False)
        # The unacknowledged message is published as a new one: DUP is 0. There is no PUBREL.
        said = bytes.fromhex(program.said())
        assert said[:5] == b"\x32\x06\0\1b"
        assert len(said) == 8

    @conforms("5.0", "MQTT-4.4.0-1")
    def test_a_clean_start(self) -> None:
        program = Program(clean_start=True, session_expiry_interval=100).open()
        program.publish("b", b"", 1)
        program.publish("d", b"", 2)
        program.give("50 02 00 02")
        program.core.close(program.now, 5.0, drain=False)
        program.said()
        program.hang_up()
        program.core.connect(program.now)
        assert isinstance(program.core.take_action(), Dial)
        program.core.transport_opened(program.now)
        connect = bytes.fromhex(program.said())
        assert connect[:2] == bytes((0x10, len(connect) - 2))
        assert connect[9] & 0x02  # Clean Start
        program.give("20 03 00 00 00")
        assert program.core.is_connected
        assert program.said() == ""

    @conforms("5.0", "MQTT-4.4.0-2")
    @pytest.mark.parametrize(("qos", "first"), [(1, "40"), (2, "50")], ids=["PUBACK", "PUBREC"])
    @pytest.mark.parametrize("code", FAILURES, ids=hex)
    def test_a_refusal_acknowledges(self, qos: int, first: str, code: int) -> None:
        program = Program().open()
        delivery = program.publish("t", b"x", qos)
        program.said()
        program.give(f"{first} 03 00 01 {code:02x}")
        assert delivery.fate is Fate.REFUSED
        assert program.said() == ""
        program.reopen()
        assert program.said() == ""
        program.reopen(session_present=False)
        assert program.said() == ""


class TestAcknowledgingEverything:
    """Section 4.5: a client acknowledges what it gets, whether it has asked for it or not."""

    @conforms("5.0", "MQTT-4.5.0-2")
    @pytest.mark.parametrize(
        ("packet", "answer", "then"),
        [
            ("30 04 00 01 74 00", "", ()),
            ("32 06 00 01 74 00 07 00", "40 02 00 07", ()),
            ("34 06 00 01 74 00 07 00", "50 02 00 07", ("62 02 00 07", "70 02 00 07")),
        ],
        ids=["QoS 0", "QoS 1", "QoS 2"],
    )
    @pytest.mark.parametrize("case", ["wanted", "not wanted", "not wanted any more", "unmatched"])
    def test_by_its_qos(self, case: str, packet: str, answer: str, then: tuple[str, ...]) -> None:
        program = Program().open()
        subscription = program.subscribed("t" if case == "wanted" else "u", 2)
        if case == "not wanted any more":  # UNSUBACK has not come yet
            leaving = program.subscribed("t", 2)
            program.core.end_subscription(leaving, processed=True)
            assert program.said()[:2] == "a2"
        if case == "unmatched":
            subscription = SubscriptionState([], subscription.options)
            program.core.subscribe_unmatched(subscription)
        program.give(packet)
        while subscription.take():
            pass
        assert program.said() == answer
        if then:
            program.give(then[0])
            assert program.said() == then[1]


class TestOrder:
    """Section 4.6."""

    @conforms("5.0", "MQTT-4.6.0-1")
    def test_messages_are_sent_again_in_their_order(self) -> None:
        program = Program().open("21 00 05")
        program.core.session.last_packet_id = 65_532  # the order is not that of the numbers
        for number in range(7):
            program.publish("t", b"%d" % number, 1 + number % 2)
        assert program.said().count("00 01 74") == 5
        program.give("40 02 ff ff", "50 03 ff fe 97")  # 2 and 1 are done; 5 and 6 follow
        assert program.said().count("00 01 74") == 2
        program.reopen()
        assert program.said() == (
            "3a 07 00 01 74 ff fd 00 30 3c 07 00 01 74 00 01 00 33 "
            "3a 07 00 01 74 00 02 00 34 3c 07 00 01 74 00 03 00 35 3a 07 00 01 74 00 04 00 36"
        )

    @conforms("5.0", "MQTT-4.6.0-1")
    def test_they_are_sent_again_before_new_ones_and_within_the_quota(self) -> None:
        program = Program().open()
        for number in range(3):
            program.publish("t", b"%d" % number, 1)
        program.said()
        program.lose()
        program.publish("t", b"3", 1)
        program.open("21 00 01", session_present=True)
        said = [program.said()]
        for number in range(1, 5):
            program.give(f"40 02 00 {number:02x}")
            said.append(program.said())
        assert said == [
            "3a 07 00 01 74 00 01 00 30",
            "3a 07 00 01 74 00 02 00 31",
            "3a 07 00 01 74 00 03 00 32",
            "32 07 00 01 74 00 04 00 33",
            "",
        ]

    @pytest.mark.parametrize(
        ("qos", "first", "answer"),
        [
            pytest.param(1, "32", "40", marks=conforms("5.0", "MQTT-4.6.0-2")),
            pytest.param(2, "34", "50", marks=conforms("5.0", "MQTT-4.6.0-3")),
        ],
    )
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)], ids=str)
    def test_acknowledgements_are_sent_in_the_order_of_the_messages(
        self, qos: int, first: str, answer: str, order: tuple[int, ...]
    ) -> None:
        program = Program().open()
        subscription = program.subscribed("t", qos, ack="manual")
        identifiers = ("00 09", "00 02", "ff ff")
        program.give(*(f"{first} 06 00 01 74 {each} 00" for each in identifiers))
        messages: list[Any] = [subscription.take() for _ in identifiers]
        for index in order:
            messages[index].ack()
        assert program.said() == " ".join(f"{answer} 02 {each}" for each in identifiers)

    @conforms("5.0", "MQTT-4.6.0-3")
    def test_pubrecs_of_messages_that_come_again_are_sent_in_their_order(self) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 2, ack="manual")
        program.give(*(f"34 06 00 01 74 00 {each} 00" for each in ("07", "08", "09")))
        first, second, third = (subscription.take() for _ in range(3))
        assert first
        assert second
        assert third
        second.ack()
        program.reopen()
        program.said()
        third.ack()
        program.give(*(f"3c 06 00 01 74 00 {each} 00" for each in ("07", "08", "09")))
        assert program.said() == ""
        first.ack()
        assert program.said() == "50 02 00 07 50 02 00 08 50 02 00 09"

    @conforms("5.0", "MQTT-4.6.0-3")
    def test_a_repeat_does_not_overtake(self) -> None:
        program = Program().open()
        subscription = program.subscribed("t", 2, ack="manual")
        program.give("34 06 00 01 74 00 07 00", "34 06 00 01 74 00 08 00")
        first, second = subscription.take(), subscription.take()
        assert first
        assert second
        second.ack()
        program.give("3c 06 00 01 74 00 08 00")
        assert program.said() == ""
        first.ack()
        assert program.said().startswith("50 02 00 07 50 02 00 08")

    @conforms("5.0", "MQTT-4.6.0-4")
    def test_pubrels_are_sent_in_the_order_of_the_pubrecs(self) -> None:
        program = Program().open()
        for _ in range(3):
            program.publish("t", b"", 2)
        program.said()
        program.give("50 02 00 03", "50 02 00 01", "50 02 00 02")
        assert program.said() == "62 02 00 03 62 02 00 01 62 02 00 02"

    @conforms("5.0", "MQTT-4.6.0-4")
    def test_pubrels_are_sent_again_in_the_order_of_the_pubrecs(self) -> None:
        program = Program().open()
        for _ in range(3):
            program.publish("t", b"", 2)
        program.give("50 02 00 03", "50 02 00 01", "50 02 00 02")
        program.said()
        program.reopen()
        assert program.said() == "62 02 00 03 62 02 00 01 62 02 00 02"


class TestFlowControl:
    """Section 4.9."""

    @conforms("5.0", "MQTT-4.9.0-1")
    @pytest.mark.parametrize("quota", [1, 2, 17, 1000])
    def test_the_first_quota_is_not_0_and_at_most_the_receive_maximum(self, quota: int) -> None:
        program = Program().open(f"21 {quota:04x}")
        for _ in range(quota + 5):
            program.publish("t", b"", 1)
        said = bytes.fromhex(program.said())
        assert said.count(b"\x32\x06\0\1t") * 8 == len(said)
        assert 0 < len(said) // 8 <= quota

    @conforms("5.0", "MQTT-4.9.0-1")
    def test_it_begins_anew_with_every_connection(self) -> None:
        program = Program().open("21 00 03")
        for _ in range(5):
            program.publish("t", b"", 1)
        program.reopen("21 00 02")
        assert program.said() == "3a 06 00 01 74 00 01 00 3a 06 00 01 74 00 02 00"

    @conforms("5.0", "MQTT-4.9.0-1")
    def test_it_does_not_grow_by_a_pubrel_that_is_sent_again(self) -> None:
        program = Program().open()
        program.publish("t", b"", 2)
        program.give("50 02 00 01")
        program.reopen("21 00 01")
        assert program.said() == "62 02 00 01"
        program.give("70 02 00 01")
        program.publish("t", b"", 1)
        program.publish("t", b"", 1)
        assert program.said() == "32 06 00 01 74 00 02 00"

    @conforms("5.0", "MQTT-4.9.0-2")
    def test_no_message_without_quota(self) -> None:
        program = Program().open("21 00 02")
        for qos in (1, 2, 2, 1, 1):
            program.publish("t", b"", qos)
        assert program.said() == "32 06 00 01 74 00 01 00 34 06 00 01 74 00 02 00"
        program.give("50 02 00 02")  # gives nothing back
        assert program.said() == "62 02 00 02"
        program.give("40 02 00 01")
        assert program.said() == "34 06 00 01 74 00 03 00"
        program.give("50 03 00 03 97")  # a refusal does
        assert program.said() == "32 06 00 01 74 00 04 00"
        program.give("70 02 00 02")
        assert program.said() == "32 06 00 01 74 00 05 00"
        program.give("40 03 00 04 80", "40 02 00 05")
        assert program.said() == ""

    @conforms("5.0", "MQTT-4.9.0-3")
    def test_everything_else_goes_on_without_quota(self) -> None:
        program = Program(keep_alive=60).open("21 00 01")
        subscription = program.subscribed("t", 2, ack="manual")
        program.publish("t", b"", 2)
        program.publish("t", b"", 1)
        program.said()
        program.give("32 06 00 01 74 00 07 00", "34 06 00 01 74 00 08 00", "30 04 00 01 74 00")
        assert len(subscription.buffer) == 3
        ack_all(subscription)
        assert program.said() == "40 02 00 07 50 02 00 08"
        program.give("62 02 00 08")
        assert program.said() == "70 02 00 08"
        program.give("50 02 00 02")
        assert program.said() == "62 02 00 02"
        other = program.subscribe("u", 0)
        assert program.said() == "82 07 00 03 00 00 01 75 00"
        program.give("90 04 00 03 00 00")
        assert other.subscribed.result() == {"u": 0}
        operation = program.core.unsubscribe(other)
        assert program.said() == "a2 06 00 04 00 00 01 75"
        program.give("b0 04 00 04 00 00")
        assert operation.done
        program.pass_deadline()
        assert program.said() == "c0 00"
        program.give("d0 00")
        program.core.close(program.now, 5.0, drain=False)
        assert program.said() == "e0 00"

    @conforms("5.0", "MQTT-4.9.0-3")
    def test_a_pubrel_is_sent_again_without_quota(self) -> None:
        program = Program().open()
        program.publish("a", b"", 1)
        program.publish("b", b"", 2)
        program.give("50 02 00 02")
        program.said()
        program.reopen("21 00 01")
        # The message uses up the quota, or waits for it.
        assert "62 02 00 02" in program.said()
