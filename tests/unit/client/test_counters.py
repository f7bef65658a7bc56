"""The client's numbers, and what it has to tell the log."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

import pytest

from mqttlite.client import ClientState, Counters, DropReason, SubscriptionState
from mqttlite.errors import ConnectionClosed
from mqttlite.options import Reconnect
from mqttlite.packets import Connack, Message, Puback, Pubcomp, Pubrec, Suback, SubscriptionOptions
from tests.unit.client.hand import Hand


def connected(**options: Any) -> Hand:
    hand = Hand(**options).connect()
    hand.sent()
    return hand


class TestCounters:
    def test_of_a_new_client(self) -> None:
        counters = Hand().core.counters
        assert counters == Counters()
        assert counters.dropped_messages == {}
        assert counters.ping_round_trip is None
        numbers = [each.name for each in fields(counters)]
        numbers.remove("dropped_messages")
        numbers.remove("ping_round_trip")
        assert [getattr(counters, name) for name in numbers] == [0] * len(numbers)

    def test_they_are_a_picture_of_a_moment(self) -> None:
        hand = connected()
        before = hand.core.counters
        hand.publish("t", qos=0)
        hand.receive(Message("t", b"x"))
        assert before.sent_messages == 0
        assert before.dropped_messages == {}
        after = hand.core.counters
        assert after.sent_messages == 1
        assert after.dropped_messages == {DropReason.UNMATCHED: 1}

    def test_connections_and_failed_attempts(self) -> None:
        hand = Hand()
        hand.core.connect(hand.now)
        assert hand.core.counters.connections == 0
        hand.connect_now()
        assert hand.core.counters.connections == 1
        assert hand.core.counters.failed_attempts == 0
        hand.lose()
        assert hand.core.counters.failed_attempts == 1
        hand.pass_deadline()
        hand.take_dial()
        hand.core.dial_failed(OSError(), hand.now)
        assert hand.core.counters.failed_attempts == 2
        hand.connect()
        assert hand.core.counters.connections == 2
        assert hand.core.counters.failed_attempts == 2

    def test_a_refusal_is_no_connection(self) -> None:
        hand = Hand(reconnect=Reconnect(retry_first=True))
        hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(0x88)
        assert hand.core.counters.connections == 0
        assert hand.core.counters.failed_attempts == 1

    def test_closing_is_no_failure(self) -> None:
        hand = connected()
        hand.core.close(hand.now, 1.0)
        hand.sent()
        hand.hang_up()
        assert hand.core.counters.failed_attempts == 0
        hand.connect()
        assert hand.core.counters.connections == 2

    def test_sent_messages(self) -> None:
        hand = connected(maximum_in_flight=1)
        hand.publish("t", qos=0)
        hand.publish("t", qos=1)
        hand.publish("t", qos=2)
        assert hand.core.counters.sent_messages == 2
        hand.receive(Puback(1))
        assert hand.core.counters.sent_messages == 3

    def test_what_is_sent_again_is_not_counted_again(self) -> None:
        hand = connected()
        hand.publish("t")
        hand.sent()
        hand.lose()
        hand.connect(session_present=True)
        assert b"\x3a" in hand.sent()
        assert hand.core.counters.sent_messages == 1

    def test_what_is_sent_again_in_a_new_session_is_not_counted_again(self) -> None:
        hand = connected()
        hand.publish("t")
        hand.sent()
        hand.lose()
        hand.connect()
        assert hand.sent().endswith(b"\x32\6\0\1t\0\2\0")
        assert hand.core.counters.sent_messages == 1

    def test_received_messages_whoever_they_are_for(self) -> None:
        hand = connected()
        hand.subscribed("a")
        hand.subscribed("+")
        hand.receive(Message("a", b"x"), Message("b", b"x"), Message("a/b", b"x"))
        hand.receive(Message("a", b"x", 1, packet_id=1), Message("a", b"x"))
        assert hand.core.counters.received_messages == 5

    def test_received_messages_around_other_packets(self) -> None:
        hand = connected()
        hand.subscribe("a")
        hand.sent()
        hand.receive(Message("a", b"x"), Suback(1, [1]), Message("a", b"x"))
        assert hand.core.counters.received_messages == 2

    def test_bytes(self) -> None:
        hand = Hand()
        hand.dial()
        connect = len(hand.sent())
        assert hand.core.counters.sent_bytes == connect
        hand.core.receive(b"\x20\3\0", hand.now)
        hand.core.receive(b"\0\0", hand.now)
        assert hand.core.counters.received_bytes == 5
        hand.publish("t", qos=0)
        assert hand.core.counters.sent_bytes == connect
        hand.sent()
        assert hand.core.counters.sent_bytes == connect + 6
        hand.lose()
        hand.connect()
        assert hand.core.counters.received_bytes == 10

    def test_the_outbox(self) -> None:
        hand = connected()
        hand.lose()
        hand.publish("t", b"12345")
        hand.publish("t", b"123")
        counters = hand.core.counters
        assert (counters.outbox_messages, counters.outbox_bytes) == (2, 8)
        assert counters.in_flight == 0
        hand.connect()
        counters = hand.core.counters
        assert (counters.outbox_messages, counters.outbox_bytes) == (0, 0)
        assert counters.in_flight == 2

    def test_in_flight_until_the_last_acknowledgement(self) -> None:
        hand = connected()
        hand.publish("t", qos=0)
        hand.publish("t", qos=2)
        assert hand.core.counters.in_flight == 1
        hand.receive(Pubrec(1))
        assert hand.core.counters.in_flight == 1
        hand.receive(Pubcomp(1))
        assert hand.core.counters.in_flight == 0

    def test_buffered_messages(self) -> None:
        hand = connected()
        first, second = hand.subscribed("a"), hand.subscribed("#")
        everything_else = SubscriptionState((), SubscriptionOptions())
        hand.core.subscribe_unmatched(everything_else)
        hand.receive(Message("a", b"x"), Message("b", b"x"), Message("$x", b"x"))
        assert len(everything_else.buffer) == 1
        assert hand.core.counters.buffered_messages == 4
        first.take()
        second.take()
        assert hand.core.counters.buffered_messages == 2

    def test_ping_round_trip(self) -> None:
        hand = connected(keep_alive=10)
        hand.pass_deadline()
        assert hand.sent() == b"\xc0\0"
        assert hand.core.counters.ping_round_trip is None
        hand.now += 0.25
        hand.core.receive(b"\xd0\0", hand.now)
        assert hand.core.counters.ping_round_trip == 0.25
        hand.lose()
        assert hand.core.counters.ping_round_trip is None
        hand.connect()
        assert hand.core.counters.ping_round_trip is None


class TestNotices:
    def test_traced_packets(self) -> None:
        hand = Hand(username="somebody", password=b"hunter2")
        hand.core.traces_packets = True
        hand.connect()
        hand.receive(Message("t", b"payload"))
        traced = [
            (level, text)
            for logger, level, text in hand.core.notices
            if logger == "mqttlite.packets"
        ]
        assert [level for level, _ in traced] == [logging.DEBUG] * 3
        texts = [text for _, text in traced]
        assert texts[0].startswith("> CONNECT ")
        assert texts[1].startswith("< CONNACK ")
        assert texts[2].startswith("< PUBLISH topic='t'")
        # Rule 8.
        for secret in ("somebody", "hunter2", "payload'"):
            assert secret not in " ".join(texts)

    def test_from_the_next_connection_on(self) -> None:
        hand = connected()
        hand.core.traces_packets = True
        hand.publish("t", qos=0)
        assert hand.core.notices == []
        hand.lose()
        hand.core.notices.clear()
        hand.connect()
        assert [logger for logger, _, _ in hand.core.notices] == ["mqttlite.packets"] * 2

    def test_not_unless_it_is_asked_for(self) -> None:
        hand = connected()
        hand.publish("t", qos=0)
        assert hand.core.notices == []

    def test_a_lost_connection(self) -> None:
        hand = connected()
        hand.lose(OSError("reset"))
        [(logger, level, text)] = hand.core.notices
        assert (logger, level) == ("mqttlite.client", logging.INFO)
        assert "reset" in text
        assert "trying again in 1.0 seconds" in text

    def test_giving_up(self) -> None:
        hand = connected(reconnect=None)
        hand.lose(OSError("reset"))
        [(logger, level, text)] = hand.core.notices
        assert (logger, level) == ("mqttlite.client", logging.WARNING)
        assert "reset" in text

    def test_falling_back(self) -> None:
        hand = Hand()
        hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(0x84)
        [(logger, level, text)] = hand.core.notices
        assert (logger, level) == ("mqttlite.client", logging.INFO)
        assert "3.1.1" in text

    def test_a_server_that_breaks_the_protocol(self) -> None:
        hand = connected()
        hand.receive(Connack())
        assert hand.sent() == b"\xe0\1\x82"
        assert hand.core.state is ClientState.HANGING_UP
        hand.hang_up()
        assert hand.core.notices[0][:2] == ("mqttlite.protocol", logging.WARNING)
        assert "broke the protocol" in hand.core.notices[0][2]


class TestResponseInformation:
    @pytest.mark.parametrize(
        ("asked", "said", "topic"),
        [
            (True, "my/answers", "my/answers/id"),
            (True, "my/answers/", "my/answers/id"),
            (True, None, "mqttlite/reply/id"),
            (True, "", "mqttlite/reply/id"),
            (False, "my/answers", "mqttlite/reply/id"),  # [MQTT-3.1.2-28]
        ],
    )
    def test_it_is_obeyed_if_it_was_asked_for(
        self, asked: bool, said: str | None, topic: str
    ) -> None:
        hand = Hand(request_response_information=asked)
        properties: dict[str, Any] = {} if said is None else {"response_information": said}
        hand.connect(**properties)
        assert (b"\x19\1" in hand.sent()) is asked
        hand.core.open_replies("id")
        assert topic.encode() in hand.sent()
        assert hand.core.expect_reply()[0] == topic

    def test_without_properties(self) -> None:
        hand = connected(request_response_information=True)
        hand.core.open_replies("id")
        assert hand.core.expect_reply()[0] == "mqttlite/reply/id"

    def test_there_is_nothing_to_expect_before_it_is_opened(self) -> None:
        with pytest.raises(ConnectionClosed):
            connected().core.expect_reply()
