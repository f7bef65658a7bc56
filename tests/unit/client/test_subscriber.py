"""SUBSCRIBE and UNSUBSCRIBE over all connections, dispatch, and requests."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mqttlite.client import ClientState, DropReason, SubscriptionState
from mqttlite.errors import (
    ConnectionClosed,
    InvalidTopic,
    NotSupported,
    PacketTooLarge,
    SubscribeError,
    UnsubscribeError,
    UsageError,
)
from mqttlite.packets import Message, Suback, SubscriptionOptions, Unsuback
from tests.behaviour import rule
from tests.unit.client.hand import Hand


def connected(**options: Any) -> Hand:
    hand = Hand(**options).connect()
    hand.sent()
    return hand


def unmatched(hand: Hand) -> SubscriptionState:
    subscription = SubscriptionState((), SubscriptionOptions(qos=2))
    subscription.subscribed.waiters = ["somebody"]
    hand.core.subscribe_unmatched(subscription)
    return subscription


def payloads(subscription: SubscriptionState) -> list[bytes]:
    return [message.payload for message in subscription.buffer]


class TestSubscribing:
    def test_granted(self) -> None:
        hand = connected()
        subscription = hand.subscribe(["a", "b"], 2)
        assert hand.sent() == b"\x82\x0b\0\1\0\0\1a\2\0\1b\2"
        hand.receive(Suback(1, [2, 1]))
        assert subscription.subscribed.result() == {"a": 2, "b": 1}
        assert hand.core.finished == [subscription.subscribed]

    def test_refused(self) -> None:
        hand = connected()
        subscription = hand.subscribe(["a", "b"])
        subscription.owner = "the shell's"
        hand.sent()
        hand.receive(Suback(1, [1, 0x87], {"reason_string": "no"}))
        with pytest.raises(SubscribeError) as raised:
            subscription.subscribed.result()
        assert raised.value.reason_codes == {"a": 1, "b": 0x87}
        assert raised.value.reason_string == "no"
        assert subscription.ended
        assert subscription.error is raised.value
        assert hand.core.take_ready() == [subscription]
        assert hand.sent() == b"\xa2\6\0\2\0\0\1a"  # only what was granted

    def test_declared_before_connecting(self) -> None:
        # Rule 14.
        hand = Hand()
        subscription = hand.subscribe("t")
        hand.connect()
        assert hand.sent().endswith(b"\x82\7\0\1\0\0\1t\1")
        hand.receive(Message("t", b"x"), Suback(1, [1]))
        assert payloads(subscription) == [b"x"]

    @pytest.mark.parametrize(
        ("properties", "topic_filter", "error"),
        [
            ({"wildcard_subscription_available": 0}, "#", NotSupported),
            ({"shared_subscription_available": 0}, "$share/g/t", NotSupported),
            ({"maximum_packet_size": 20}, "t" * 20, PacketTooLarge),
        ],
    )
    def test_what_the_server_does_not_do(
        self, properties: Any, topic_filter: str, error: type[Exception]
    ) -> None:
        hand = Hand().connect(**properties)
        hand.sent()
        with pytest.raises(error):
            hand.subscribe(topic_filter)
        assert hand.sent() == b""
        assert not hand.core._subscriber.table.filters
        # The same, found out when the connection comes.
        hand = Hand()
        subscription, other = hand.subscribe(topic_filter), hand.subscribe("u")
        hand.connect(**properties)
        assert isinstance(subscription.error, error)
        assert subscription.subscribed.error is subscription.error
        assert not other.ended

    def test_second_subscription_to_a_filter(self) -> None:
        hand = connected()
        first = hand.subscribed("t", 1)
        second = hand.subscribed("t", 2)
        assert second.subscribed.result() == {"t": 2}
        hand.receive(Message("t", b"x", 1, packet_id=1))
        assert payloads(first) == payloads(second) == [b"x"]
        hand.core.end_subscription(first, processed=True)
        assert hand.sent() == b""
        hand.core.end_subscription(second, processed=True)
        assert hand.sent() == b"\xa2\6\0\3\0\0\1t" + b"\x40\2\0\1"

    def test_user_properties_are_sent(self) -> None:
        hand = connected()
        hand.subscribe("t", user_properties=[("a", "b")])
        assert hand.sent() == b"\x82\x0e\0\1\7\x26\0\1a\0\1b\0\1t\1"

    def test_closing(self) -> None:
        hand = connected()
        hand.publish("t")
        hand.core.close(hand.now, 5.0)
        with pytest.raises(ConnectionClosed):
            hand.subscribe("t")


class TestUnsubscribing:
    def test_answer(self) -> None:
        hand = connected()
        subscription = hand.subscribed(["a", "b"])
        subscription.owner = "the shell's"
        operation = hand.core.unsubscribe(subscription)
        assert hand.sent() == b"\xa2\x09\0\2\0\0\1a\0\1b"
        assert subscription.ended
        assert hand.core.take_ready() == [subscription]
        assert not operation.done
        hand.receive(Unsuback(2, [0, 0x11]))
        assert operation.result().reason_codes == {"a": 0, "b": 0x11}

    def test_failure(self) -> None:
        hand = connected()
        operation = hand.core.unsubscribe(hand.subscribed("a"))
        hand.receive(Unsuback(2, [0x87], {"reason_string": "no"}))
        with pytest.raises(UnsubscribeError) as raised:
            operation.result()
        assert raised.value.reason_codes == {"a": 0x87}
        assert raised.value.reason_string == "no"

    def test_mqtt_3_1_1_has_no_codes(self) -> None:
        hand = connected(version="3.1.1")
        operation = hand.core.unsubscribe(hand.subscribed(["a", "b"]))
        hand.receive(Unsuback(2))
        assert operation.result().reason_codes == {"a": 0, "b": 0}

    def test_several_packets_have_one_answer(self) -> None:
        hand = connected()
        filters = [f"f/{number:03}" for number in range(150)]
        operation = hand.core.unsubscribe_filters(filters)
        assert hand.sent().count(b"\0\5f/") == 150
        hand.receive(Unsuback(1, [0] * 100))
        assert not operation.done
        hand.receive(Unsuback(2, [0] * 50))
        assert operation.result().reason_codes == dict.fromkeys(filters, 0)

    def test_nothing_to_give_back(self) -> None:
        hand = connected()
        first, _ = hand.subscribed("t"), hand.subscribed("t")
        assert hand.core.unsubscribe(first).done
        assert hand.core.unsubscribe(first).done
        assert hand.sent() == b""

    def test_waiting_for_suback_ends(self) -> None:
        hand = connected()
        subscription = hand.subscribe("t")
        hand.core.unsubscribe(subscription)
        with pytest.raises(UsageError, match="was ended"):
            subscription.subscribed.result()
        hand.receive(Suback(1, [1]))

    def test_connection_is_lost_before_the_answer(self) -> None:
        hand = Hand(client_id="me", clean_start=False).connect()
        operation = hand.core.unsubscribe(hand.subscribed("t"))
        hand.sent()
        hand.lose()
        assert operation.result().reason_codes == {}
        hand.connect(session_present=True)
        assert hand.sent().endswith(b"\xa2\6\0\3\0\0\1t")

    def test_without_a_connection(self) -> None:
        hand = Hand(client_id="me", clean_start=False).connect()
        subscription = hand.subscribed("t")
        hand.lose()
        assert hand.core.unsubscribe(subscription).result().reason_codes == {}
        hand.connect(session_present=True)
        assert hand.sent().endswith(b"\xa2\6\0\2\0\0\1t")

    def test_the_new_session_does_not_have_it(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t")
        hand.lose()
        hand.core.unsubscribe(subscription)
        hand.connect()
        assert b"\xa2" not in hand.sent()

    def test_filters_of_a_resumed_session(self) -> None:
        hand = Hand(client_id="me", clean_start=False).connect(session_present=True)
        hand.sent()
        operation = hand.core.unsubscribe_filters("old/#")
        assert hand.sent() == b"\xa2\x0a\0\1\0\0\5old/#"
        hand.receive(Unsuback(1, [0]))
        assert operation.result().reason_codes == {"old/#": 0}

    def test_filters_in_use(self) -> None:
        hand = connected()
        subscription = hand.subscribed(["a", "b"])
        other = hand.subscribed("c")
        hand.core.unsubscribe_filters(["a", "x"])
        assert hand.sent() == b"\xa2\x0c\0\3\0\0\1a\0\1x\0\1b"
        assert subscription.ended
        assert not other.ended

    @pytest.mark.parametrize(
        ("filters", "error"), [([], UsageError), ("a#", InvalidTopic), (5, UsageError)]
    )
    def test_bad_filters(self, filters: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            connected().core.unsubscribe_filters(filters)

    def test_not_connected(self) -> None:
        with pytest.raises(ConnectionClosed):
            Hand().core.unsubscribe_filters("a")


class TestReconnecting:
    @rule(13)
    def test_new_session(self) -> None:
        # Rule 13: in batches, with the original options.
        hand = connected()
        subscription = hand.subscribed("t", 2, no_local=True)
        hand.lose()
        hand.connect()
        assert hand.sent().endswith(b"\x82\7\0\2\0\0\1t\6")
        hand.receive(Suback(2, [2]))
        assert not subscription.ended

    def test_resumed_session(self) -> None:
        hand = Hand(client_id="me", clean_start=False).connect()
        hand.subscribed("t")
        hand.lose()
        hand.connect(session_present=True)
        assert b"\x82" not in hand.sent()[20:]

    def test_what_was_ended_meanwhile_is_given_back(self) -> None:
        hand = Hand(client_id="me", clean_start=False).connect()
        gone = [hand.subscribed("a"), hand.subscribed("b")]
        kept = hand.subscribed("c")
        hand.lose()
        for subscription in gone:
            assert hand.core.end_subscription(subscription, processed=True).done
        hand.connect(session_present=True)
        assert hand.sent().endswith(b"\xa2\x09\0\4\0\0\1a\0\1b")
        assert not kept.ended

    def test_resumed_session_without_an_answer(self) -> None:
        hand = Hand(client_id="me", clean_start=False).connect()
        subscription = hand.subscribe("t")
        hand.sent()
        hand.lose()
        assert not subscription.subscribed.done
        hand.connect(session_present=True)
        assert hand.sent().endswith(b"\x82\7\0\2\0\0\1t\1")

    def test_refused_later(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t")
        hand.lose()
        hand.connect()
        hand.sent()
        hand.receive(Suback(2, [0x87]))
        assert isinstance(subscription.error, SubscribeError)
        assert subscription.ended

    def test_new_session_on_a_server_that_does_not_do_it(self) -> None:
        hand = connected()
        subscription = hand.subscribed("#")
        hand.lose()
        hand.connect(wildcard_subscription_available=0)
        assert isinstance(subscription.error, NotSupported)
        # Nothing is given back that this server never had.
        connect = hand.sent()
        assert len(connect) == 2 + connect[1]

    @rule(13)
    def test_many_filters(self) -> None:
        hand = Hand()
        for number in range(250):
            hand.subscribe(f"f/{number:03}")
        hand.connect()
        sent = hand.sent()
        assert sent.count(b"\0\5f/") == 250
        assert len(hand.core._subscriber._asked) == 3

    def test_messages_that_come_again_are_there_once(self) -> None:
        hand = Hand(client_id="me", clean_start=False).connect()
        subscription = hand.subscribed("t")
        hand.receive(Message("t", b"x", 1, packet_id=1))
        hand.lose()
        hand.connect(session_present=True)
        hand.receive(Message("t", b"x", 1, dup=True, packet_id=1))
        assert payloads(subscription) == [b"x"]


class TestDispatch:
    @rule(17)
    def test_a_full_buffer_is_told_of_once(self) -> None:
        hand = connected()
        subscription = hand.subscribed(["a", "b"], 0, buffer_size=1)
        hand.receive(Message("a", b"1"), Message("a", b"2"), Message("b", b"3"))
        hand.lose_patience()
        assert payloads(subscription) == [b"3"]
        [(_, level, text)] = hand.core.notices
        assert level == logging.WARNING
        assert "a, b is full" in text

    def test_what_was_taken_last_is_acknowledged_at_the_end(self) -> None:
        for processed in (True, False):
            hand = connected()
            subscription = hand.subscribed("t")
            hand.receive(Message("t", b"", 1, packet_id=1))
            assert subscription.take() is not None
            hand.core.end_subscription(subscription, processed=processed)
            assert (b"\x40\2\0\1" in hand.sent()) == processed

    def test_a_message_that_was_failed_at_does_not_hold_back_others(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t", ack="manual")
        hand.receive(*(Message("t", b"", 1, packet_id=each) for each in (1, 2)))
        first, second = subscription.take(), subscription.take()
        assert first is not None
        assert second is not None
        subscription.reject(first)
        second.ack()
        assert hand.sent() == b"\x40\2\0\2"

    @rule(14)
    def test_nobody_matches(self) -> None:
        hand = connected()
        hand.receive(Message("a", b"", 1, packet_id=1), Message("b", b""))
        assert hand.core.drops.totals[DropReason.UNMATCHED] == 2
        [(_, level, text)] = hand.core.notices
        assert level == logging.WARNING
        assert "'a' matches no subscription" in text
        assert hand.sent() == b"\x40\2\0\1"

    @rule(14)
    def test_somebody_takes_what_nobody_matches(self) -> None:
        hand = Hand()
        default = unmatched(hand)
        assert default.subscribed.result() == {}
        hand.connect()
        subscription = hand.subscribed("t")
        hand.receive(Message("t", b"1"), Message("u", b"2"))
        assert payloads(subscription) == [b"1"]
        assert payloads(default) == [b"2"]
        assert hand.core.drops.totals[DropReason.UNMATCHED] == 0
        with pytest.raises(UsageError, match="already"):
            unmatched(hand)
        hand.core.end_subscription(default, processed=True)
        unmatched(hand)

    def test_consumers_that_wait_are_woken_once(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t")
        hand.receive(Message("t", b"1"))
        assert hand.core.take_ready() == []
        subscription.wanted = True
        hand.receive(Message("t", b"2"), Message("t", b"3"))
        assert hand.core.take_ready() == [subscription]
        assert not subscription.wanted

    def test_several_consumers_that_wait(self) -> None:
        hand = connected()
        first, second = hand.subscribed("t"), hand.subscribed("#")
        second.wanted = True
        hand.receive(Message("t", b"1"))
        assert hand.core.take_ready() == [second]
        assert payloads(first) == payloads(second) == [b"1"]

    def test_full_buffer(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t", buffer_size=1)
        hand.receive(Message("t", b"1"), Message("t", b"2"))
        hand.lose_patience()
        assert payloads(subscription) == [b"2"]
        assert subscription.dropped == 1

    def test_program_acknowledges_through_the_shell(self) -> None:
        hand = connected()
        asked: list[Any] = []
        hand.core.set_acknowledger(lambda receipt, _: asked.append(receipt))
        subscription = hand.subscribed("t", ack="manual")
        hand.receive(Message("t", b"", 1, packet_id=1))
        message = subscription.take()
        assert message is not None
        message.ack()
        assert hand.sent() == b""
        asked[0].accept()
        assert hand.sent() == b"\x40\2\0\1"

    def test_program_acknowledges_without_a_shell(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t", ack="manual")
        hand.receive(Message("t", b"", 1, packet_id=1))
        message = subscription.take()
        assert message is not None
        message.ack()
        assert hand.sent() == b"\x40\2\0\1"


class TestRequests:
    """Section 4.10."""

    def opened(self) -> Hand:
        hand = connected()
        operation = hand.core.open_replies("id")
        assert b"mqttlite/reply/id" in hand.sent()
        assert not operation.done
        hand.receive(Suback(1, [1]))
        assert operation.result() == {"mqttlite/reply/id": 1}
        assert hand.core.open_replies("other") is operation
        return hand

    def answer(self, topic: str, correlation_data: bytes, packet_id: int) -> Message:
        return Message(
            topic, b"x", 1, packet_id=packet_id, properties={"correlation_data": correlation_data}
        )

    def test_answers_in_any_order(self) -> None:
        hand = self.opened()
        topic, first, one = hand.core.expect_reply()
        _, second, two = hand.core.expect_reply()
        assert first != second
        hand.receive(self.answer(topic, second, 1))
        assert two.result().payload == b"x"
        assert not one.done
        hand.receive(self.answer(topic, first, 2))
        assert one.done
        assert hand.sent() == b"\x40\2\0\1\x40\2\0\2"

    def test_answers_that_nobody_waits_for(self) -> None:
        hand = self.opened()
        topic, data, operation = hand.core.expect_reply()
        hand.core.forget_reply(data)
        hand.receive(self.answer(topic, data, 1), Message(topic, b"", 1, packet_id=2))
        assert not operation.done
        assert hand.sent() == b"\x40\2\0\1\x40\2\0\2"

    def test_the_end(self) -> None:
        hand = self.opened()
        _, data, operation = hand.core.expect_reply()
        hand.core.give_up(RuntimeError("gone"))
        with pytest.raises(RuntimeError, match="gone"):
            operation.result()
        hand.core.forget_reply(data)
        with pytest.raises(ConnectionClosed, match="given up: gone"):
            hand.core.expect_reply()
        # Connected again: whoever waited for the inbox of the connection before learns so.
        hand.connect()
        with pytest.raises(ConnectionClosed, match="was closed"):
            hand.core.expect_reply()

    def test_a_refusal_after_a_reconnection_ends_what_waits(self) -> None:
        hand = self.opened()
        _, _, operation = hand.core.expect_reply()
        hand.lose()
        hand.connect()
        hand.sent()
        hand.receive(Suback(2, [0x87]))
        with pytest.raises(SubscribeError):
            operation.result()

    def test_it_is_opened_again_after_a_refusal(self) -> None:
        hand = connected()
        hand.core.open_replies("id")
        hand.sent()
        hand.receive(Suback(1, [0x87]))
        hand.core.open_replies("id")
        assert b"mqttlite/reply/id" in hand.sent()
        assert hand.core.take_ready() == []
        assert hand.core.state is ClientState.CONNECTED

    def test_needs_mqtt_5(self) -> None:
        with pytest.raises(NotSupported, match=r"MQTT 5\.0"):
            connected(version="3.1.1").core.open_replies("id")

    def test_needs_a_connection(self) -> None:
        with pytest.raises(ConnectionClosed):
            Hand().core.open_replies("id")
