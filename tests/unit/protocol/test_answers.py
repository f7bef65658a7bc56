"""What an acknowledgement of this side says, beyond that all is well."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.enums import ReasonCode
from mqttlite.errors import UsageError
from mqttlite.protocol import ConnectionState, ReceiptState
from mqttlite.protocol.session import Answer, Answerable, make_answer
from tests.unit.protocol.sides import V5, V31, V311, Client, connack, receipt

QOS_1 = "32 06 00 01 74 00 {:02x} 00"
QOS_2 = "34 06 00 01 74 00 {:02x} 00"

# Tables 3-4 and 3-5: PUBACK and PUBREC have the same.
CODES = (0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)


class TestMakeAnswer:
    def test_nothing_to_say(self) -> None:
        assert make_answer(0, None) is None

    @pytest.mark.parametrize("code", range(256), ids=hex)
    def test_codes(self, code: int) -> None:
        if code in CODES:
            assert make_answer(code, {"reason_string": "r"}) == Answer(code, {"reason_string": "r"})
        else:
            with pytest.raises(UsageError, match=f"0x{code:02X} is not a reason code of PUBACK"):
                make_answer(code, None)

    def test_success_with_properties_is_an_answer(self) -> None:
        properties: Any = {"user_properties": [("a", "b")]}
        assert make_answer(0, properties) == Answer(0, properties)

    @pytest.mark.parametrize(
        "properties",
        [
            {"reason_string": 5},
            {"reason_string": "a\0b"},
            {"user_properties": [("a", 1)]},
            {"content_type": "c"},  # PUBACK has no such property
            {"no_such_property": 1},
        ],
    )
    def test_properties_that_cannot_be_written(self, properties: Any) -> None:
        with pytest.raises(UsageError):
            make_answer(0x87, properties)


class TestOnTheWire:
    @pytest.mark.parametrize(
        ("qos", "first"), [(QOS_1, "40"), (QOS_2, "50")], ids=["QoS 1", "QoS 2"]
    )
    def test_reason_string_and_user_properties(self, qos: str, first: str) -> None:
        client = Client()
        client.message(qos.format(9)).ack(0x97)
        assert client.sent() == f"{first} 03 00 09 97"
        client.message(qos.format(10)).ack(0x97, reason_string="no", user_properties=[("a", "b")])
        reason, pair = "1f 00 02 6e 6f", "26 00 01 61 00 01 62"
        assert client.sent() in (
            f"{first} 10 00 0a 97 0c {reason} {pair}",
            f"{first} 10 00 0a 97 0c {pair} {reason}",
        )
        client.message(qos.format(11)).ack(user_properties=[("a", "b")])
        assert client.sent() == f"{first} 0b 00 0b 00 07 {pair}"

    @pytest.mark.parametrize(("version", "spare"), [(V31, ""), (V311, ""), (V5, "00")])
    def test_mqtt_3_has_no_way_to_say_so(self, version: Any, spare: str) -> None:
        client = Client(version=version)
        for first, answer in (("32", "40"), ("34", "50")):
            message = client.message(f"{first} 0{6 if spare else 5} 00 01 74 00 09 {spare}")
            message.ack(0x97, reason_string="no")
            assert client.sent() == (f"{answer} 02 00 09" if not spare else client_said(answer))

    def test_in_its_turn(self) -> None:
        client = Client()
        first, second, third = client.give(*(QOS_1.format(each) for each in (1, 2, 3)))
        third.ack(0x87)
        second.ack()
        assert client.sent() == ""
        first.ack(0x10)
        assert client.sent() == "40 03 00 01 10 40 02 00 02 40 03 00 03 87"

    def test_the_first_answer_counts(self) -> None:
        client = Client()
        message = client.message(QOS_1.format(9))
        message.ack(0x87)
        message.ack()
        message.ack(0x97)
        assert client.sent() == "40 03 00 09 87"

    def test_the_first_answer_counts_while_it_waits_for_its_turn(self) -> None:
        client = Client()
        first, second = client.give(QOS_1.format(1), QOS_1.format(2))
        second.ack(0x87)
        second.ack()
        first.ack()
        assert client.sent() == "40 02 00 01 40 03 00 02 87"

    def test_wrong_answer_is_none(self) -> None:
        client = Client()
        message = client.message(QOS_1.format(9))
        with pytest.raises(UsageError):
            message.ack(0x92)
        with pytest.raises(UsageError):
            message.ack(0x87, reason_string="a\0")
        assert receipt(message).state is ReceiptState.WAITING
        assert client.sent() == ""
        message.ack(0x87)
        assert client.sent() == "40 03 00 09 87"

    def test_what_makes_it_too_large_is_left_out(self) -> None:
        # [MQTT-3.4.2-2] [MQTT-3.4.2-3]
        client = Client(connack("27 00 00 00 10"))  # 16 bytes
        client.message(QOS_1.format(9)).ack(
            0x97, reason_string="x" * 8, user_properties=[("a", "b")]
        )
        assert client.sent() == "40 0b 00 09 97 07 26 00 01 61 00 01 62"
        client.message(QOS_1.format(9)).ack(0x97, user_properties=[("a", "b" * 9)])
        assert client.sent() in ("40 03 00 09 97", "40 04 00 09 97 00")


def client_said(answer: str) -> str:
    """The same, in MQTT 5.0."""
    return f"{answer} 09 00 09 97 05 1f 00 02 6e 6f"


class TestRefusalOfQos2:
    def test_it_ends_the_flow(self) -> None:
        # [MQTT-4.3.3-9]
        client = Client(properties={"receive_maximum": 1})
        client.message(QOS_2.format(9)).ack(0x80)
        assert client.sent() == "50 03 00 09 80"
        assert not client.session.incoming
        # Neither the identifier nor the quota is taken any more.
        again = client.message(QOS_2.format(9))
        assert not again.dup
        again.ack()
        assert client.sent() == "50 02 00 09"

    def test_below_0x80_it_goes_on(self) -> None:
        client = Client()
        client.message(QOS_2.format(9)).ack(0x10)
        assert client.sent() == "50 03 00 09 10"
        assert list(client.session.incoming) == [9]
        client.give("62 02 00 09")
        assert client.sent() == "70 02 00 09"

    def test_the_same_answer_to_a_message_that_comes_again(self) -> None:
        client = Client()
        client.message(QOS_2.format(9)).ack(0x10)
        client.sent()
        client.connection.receive_eof()
        answer = connack(session_present=True)
        again = Client(answer, session=client.session, clean_start=False)
        again.connection.resume()
        assert again.give(QOS_2.format(9).replace("34", "3c", 1)) == []
        assert again.sent() == "50 03 00 09 10"
        assert again.connection.state is ConnectionState.OPEN

    @pytest.mark.parametrize("too_late", [False, True])
    def test_refusal_that_was_never_sent_is_sent_when_the_message_comes_again(
        self, too_late: bool
    ) -> None:
        client = Client()
        first, second = client.give(QOS_1.format(1), QOS_2.format(9))
        second.ack(0x97)  # it waits for its turn
        client.connection.receive_eof()
        if too_late:
            first.ack()
        answer = connack(session_present=True)
        again = Client(answer, session=client.session, clean_start=False)
        again.connection.resume()
        # The program has had the message, and has refused it.
        assert again.give(QOS_2.format(9).replace("34", "3c", 1)) == []
        assert again.sent() == "50 03 00 09 97"


class TestAcknowledger:
    def test_it_is_given_the_answer_instead(self) -> None:
        client = Client()
        message = client.message(QOS_1.format(9))
        given: list[tuple[Answerable, Answer | None]] = []
        receipt(message).connection.acknowledger = lambda *arguments: given.append(arguments)
        message.ack()
        message.ack(ReasonCode.QUOTA_EXCEEDED, reason_string="full")
        assert given == [
            (receipt(message), None),
            (receipt(message), Answer(0x97, {"reason_string": "full"})),
        ]
        assert client.sent() == ""
        receipt(message).accept(given[1][1])
        assert client.sent() == "40 0b 00 09 97 07 1f 00 04 66 75 6c 6c"

    def test_it_is_not_bothered_with_what_cannot_be_said(self) -> None:
        client = Client()
        message = client.message(QOS_1.format(9))
        receipt(message).connection.acknowledger = lambda *_: pytest.fail("it was called")
        with pytest.raises(UsageError):
            message.ack(0x01)
