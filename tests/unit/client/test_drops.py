"""Messages that go no further are counted, each with its reason, and told of on request."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mqttlite.client import ClientState, Dropped, DropReason, SubscriptionState
from mqttlite.client.drops import Drops
from mqttlite.enums import Fate
from mqttlite.errors import NotSupported, PublishError, UsageError
from mqttlite.packets import Message, Puback, Pubrec, SubscriptionOptions
from tests.behaviour import rule
from tests.unit.client.hand import Hand

INVALID = b"\xff"
IS_TEXT: Any = {"payload_format_indicator": 1}


def connected(**options: Any) -> Hand:
    hand = Hand(**options).connect()
    hand.core.drops.is_watched = True
    hand.sent()
    return hand


def told(hand: Hand) -> list[Dropped]:
    """What is told of the drops; the totals have to say the same."""
    new = hand.core.drops.take_new()
    assert hand.core.drops.take_new() == []
    return new


class TestCounting:
    def test_nothing_yet(self) -> None:
        drops = Drops()
        assert drops.totals[DropReason.EXPIRED] == 0
        assert drops.take_new() == []

    def test_totals(self) -> None:
        drops = Drops()
        drops.count(DropReason.EXPIRED)
        drops.count(DropReason.EXPIRED, 4)
        drops.count(DropReason.UNMATCHED)
        assert drops.totals == {DropReason.EXPIRED: 5, DropReason.UNMATCHED: 1}

    def test_nothing_is_kept_for_nobody(self) -> None:
        drops = Drops()
        drops.count(DropReason.EXPIRED)
        drops.is_watched = True
        assert drops.take_new() == []

    def test_many_are_told_as_one(self) -> None:
        drops = Drops()
        drops.is_watched = True
        for _ in range(1000):
            drops.count(DropReason.BUFFER_FULL, 2, ("a", "b"))
            drops.count(DropReason.BUFFER_FULL, 1, ("c",))
            drops.count(DropReason.EXPIRED)
        assert drops.take_new() == [
            Dropped(DropReason.BUFFER_FULL, 2000, ("a", "b")),
            Dropped(DropReason.BUFFER_FULL, 1000, ("c",)),
            Dropped(DropReason.EXPIRED, 1000),
        ]
        assert drops.take_new() == []
        drops.count(DropReason.EXPIRED)
        assert drops.take_new() == [Dropped(DropReason.EXPIRED, 1)]
        assert drops.totals[DropReason.EXPIRED] == 1001

    def test_none_is_no_news(self) -> None:
        drops = Drops()
        drops.is_watched = True
        drops.count(DropReason.NOT_CONNECTED, 0)
        assert drops.take_new() == []
        assert drops.totals[DropReason.NOT_CONNECTED] == 0


class TestReceived:
    @pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
    def test_a_full_buffer(self, when_full: str) -> None:
        hand = connected()
        hand.subscribed(["a", "b"], buffer_size=1, when_full=when_full)
        hand.receive(*[Message("a", b"x")] * 4)
        assert told(hand) == []
        hand.lose_patience()
        assert told(hand) == [Dropped(DropReason.BUFFER_FULL, 3, ("a", "b"))]
        hand.receive(*[Message("a", b"x")] * 2)  # nobody is waited for twice
        assert told(hand) == [Dropped(DropReason.BUFFER_FULL, 2, ("a", "b"))]

    def test_a_full_buffer_of_one_of_several(self) -> None:
        hand = connected()
        hand.subscribed("a", buffer_size=1)
        hand.subscribed("#")
        hand.receive(*[Message("a", b"x")] * 3)
        hand.lose_patience()
        assert told(hand) == [Dropped(DropReason.BUFFER_FULL, 2, ("a",))]

    def test_one_warning_for_a_subscription(self) -> None:
        hand = connected()
        hand.subscribed("a", buffer_size=1)
        hand.receive(*[Message("a", b"x")] * 4)
        hand.lose_patience()
        hand.receive(*[Message("a", b"x")] * 4)
        [(logger, level, text)] = hand.core.notices
        assert (logger, level) == ("mqttlite.client", logging.WARNING)
        assert "the buffer of the subscription to a is full" in text

    def test_unmatched(self) -> None:
        hand = connected()
        hand.receive(*[Message("a", b"x")] * 3, Message("b", b"x"))
        assert told(hand) == [Dropped(DropReason.UNMATCHED, 4)]
        [(logger, level, text)] = hand.core.notices
        assert (logger, level) == ("mqttlite.client", logging.WARNING)
        assert "'a' matches no subscription" in text

    def test_text_that_is_none(self) -> None:
        hand = connected(check_payload_format=True)
        subscription = hand.subscribed("t")
        hand.receive(
            Message("t", INVALID, properties=IS_TEXT),
            Message("t", INVALID, 1, packet_id=1, properties=IS_TEXT),
            Message("t", INVALID),
            Message("t", "é".encode(), properties=IS_TEXT),
        )
        assert hand.sent() == b"\x40\3\0\1\x99"
        assert [message.payload for message in subscription.buffer] == [INVALID, "é".encode()]
        assert told(hand) == [Dropped(DropReason.INVALID_PAYLOAD, 2)]
        hand.receive()
        assert told(hand) == []

    def test_text_is_not_checked_unless_it_is_asked_for(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t")
        hand.receive(Message("t", INVALID, properties=IS_TEXT))
        assert len(subscription.buffer) == 1
        assert told(hand) == []


class TestPublished:
    @pytest.mark.parametrize(
        ("when_full", "lost"), [("drop_oldest", [0, 1]), ("drop_newest", [1, 2])]
    )
    def test_a_full_outbox(self, when_full: str, lost: list[int]) -> None:
        hand = connected(outbox_messages=1, when_full=when_full)
        hand.lose()
        deliveries = [hand.publish("t") for _ in range(3)]
        assert [n for n, each in enumerate(deliveries) if each.fate is Fate.DROPPED] == lost
        assert told(hand) == [Dropped(DropReason.OUTBOX_FULL, 2)]

    def test_qos_0_without_a_connection(self) -> None:
        hand = connected()
        hand.lose()
        assert hand.publish("t", qos=0).fate is Fate.DROPPED
        assert told(hand) == [Dropped(DropReason.NOT_CONNECTED, 1)]

    def test_qos_0_that_waited_when_the_connection_was_lost(self) -> None:
        hand = connected(maximum_in_flight=1)
        for _ in range(2):
            hand.publish("t")
        waiting = [hand.publish("t", qos=0) for _ in range(2)]
        assert told(hand) == []
        hand.lose()
        assert [each.fate for each in waiting] == [Fate.DROPPED] * 2
        assert told(hand) == [Dropped(DropReason.NOT_CONNECTED, 2)]

    def test_expired_in_time(self) -> None:
        hand = connected(maximum_in_flight=1, keep_alive=0)
        hand.publish("t")
        for _ in range(2):
            hand.publish("t", message_expiry_interval=5)
        hand.sent()
        assert hand.core.next_deadline() == hand.now + 5
        hand.pass_deadline()
        assert told(hand) == [Dropped(DropReason.EXPIRED, 2)]

    def test_expired_when_it_could_be_sent(self) -> None:
        hand = connected(maximum_in_flight=1)
        hand.publish("t")
        late = hand.publish("t", message_expiry_interval=5)
        hand.now += 5
        hand.receive(Puback(1))
        assert late.fate is Fate.EXPIRED
        assert told(hand) == [Dropped(DropReason.EXPIRED, 1)]

    def test_more_than_the_server_takes(self) -> None:
        hand = connected()
        hand.lose()
        delivery = hand.publish("t", qos=2)
        hand.connect(maximum_qos=1)
        assert delivery.fate is Fate.DROPPED
        assert isinstance(delivery.error, NotSupported)
        assert told(hand) == [Dropped(DropReason.NOT_SENDABLE, 1)]

    def test_refused_messages_are_not_among_them(self) -> None:
        hand = connected()
        delivery = hand.publish("t")
        hand.receive(Puback(1, 0x97))
        assert delivery.fate is Fate.REFUSED
        assert told(hand) == []

    def test_payload_that_is_no_text(self) -> None:
        hand = connected()
        with pytest.raises(UsageError, match="payload_format_indicator"):
            hand.publish("t", INVALID, payload_format_indicator=1)
        hand.publish("t", INVALID, qos=0, payload_format_indicator=0)
        hand.publish("t", b"text", qos=0, payload_format_indicator=1)
        assert hand.sent() == b"\x30\7\0\1t\2\1\0\xff" + b"\x30\x0a\0\1t\2\1\1text"


class TestSessionLost:
    """What becomes of messages in flight when the server has lost the session."""

    def in_flight(self, **options: Any) -> tuple[Hand, list[Any]]:
        """One of QoS 1, one of QoS 2, and one that the server has received already."""
        hand = connected(maximum_in_flight=3, **options)
        deliveries = [hand.publish("1"), hand.publish("2", qos=2), hand.publish("3", qos=2)]
        hand.receive(Pubrec(3))
        deliveries.append(hand.publish("4"))
        hand.sent()
        hand.lose()
        return hand, deliveries

    def test_report(self) -> None:
        hand, deliveries = self.in_flight(when_session_lost="report")
        hand.core.finished.clear()
        hand.connect()
        sent = hand.sent()
        fates = [each.fate for each in deliveries]
        assert fates == [Fate.LOST, Fate.LOST, Fate.LOST, Fate.PENDING]
        assert hand.core.finished == deliveries[:3]
        for each in deliveries[:3]:
            assert isinstance(each.error, PublishError)
            assert each.error.fate is Fate.LOST
        # What was never sent is not lost.
        assert sent.endswith(b"\x32\6\0\x014\0\4\0")
        assert sent.count(b"\0\x011") == sent.count(b"\0\x012") == 0

    def test_republish(self) -> None:
        hand, deliveries = self.in_flight()
        hand.connect()
        fates = [each.fate for each in deliveries]
        assert fates == [Fate.PENDING, Fate.PENDING, Fate.LOST, Fate.PENDING]
        assert hand.sent().endswith(
            b"\x32\6\0\x011\0\4\0" + b"\x34\6\0\x012\0\5\0" + b"\x32\6\0\x014\0\6\0"
        )

    @pytest.mark.parametrize("policy", ["report", "republish"])
    def test_a_session_that_goes_on(self, policy: str) -> None:
        hand, deliveries = self.in_flight(when_session_lost=policy)
        hand.connect(session_present=True)
        assert [each.fate for each in deliveries] == [Fate.PENDING] * 4
        assert b"\x3a\6\0\x011\0\1\0" + b"\x3c\6\0\x012\0\2\0" in hand.sent()


@rule(17, 18)
class TestPatience:
    """A full buffer with another policy stops the reading, but only for a quarter of a second."""

    def full(self, **options: Any) -> tuple[Hand, SubscriptionState]:
        hand = connected()
        subscription = hand.subscribed("t", buffer_size=4, **options)
        hand.receive(*[Message("t", b"%d" % n) for n in range(8)])
        assert not hand.core.wants_data(hand.now)
        return hand, subscription

    def test_nothing_is_dropped_if_the_program_takes_it_in_time(self) -> None:
        hand, subscription = self.full()
        for _ in range(6):
            assert not hand.core.wants_data(hand.now)
            assert subscription.take() is not None
        assert hand.core.wants_data(hand.now)
        deadline = hand.core.next_deadline()
        assert deadline is not None
        assert deadline > hand.now + 1  # that of the keep alive
        hand.receive(*[Message("t", b"x")] * 3)
        assert not hand.core.wants_data(hand.now)
        assert subscription.dropped == 0
        assert told(hand) == []

    def test_not_for_longer(self) -> None:
        hand, _ = self.full()
        assert hand.core.next_deadline() == hand.now + 0.25
        hand.core.handle_deadline(hand.now + 0.24)
        assert not hand.core.wants_data(hand.now + 0.24)
        hand.core.handle_deadline(hand.now + 0.25)
        assert hand.core.wants_data(hand.now + 0.25)

    @pytest.mark.parametrize(
        ("when_full", "left"), [("drop_oldest", b"4567"), ("drop_newest", b"0123")]
    )
    def test_then_it_is_as_the_policy_says(self, when_full: str, left: bytes) -> None:
        hand, subscription = self.full(when_full=when_full)
        hand.lose_patience()
        assert b"".join(message.payload for message in subscription.buffer) == left
        assert subscription.dropped == 4

    def test_what_was_taken_meanwhile_counts(self) -> None:
        hand, subscription = self.full()
        taken = [subscription.take() for _ in range(2)]
        hand.lose_patience()
        assert [each and each.payload for each in taken] == [b"0", b"1"]
        assert [message.payload for message in subscription.buffer] == [b"4", b"5", b"6", b"7"]
        assert subscription.dropped == 2

    def test_who_takes_many_has_more_time(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t", buffer_size=4)
        hand.receive(*[Message("t", b"x")] * 11)
        for _ in range(2):
            assert not hand.core.wants_data(hand.now)
            for _ in range(3):
                subscription.take()
            began = hand.now
            hand.pass_deadline()
            assert hand.now == began + 0.25
        assert len(subscription.buffer) == 5
        assert told(hand) == []
        hand.lose_patience()
        assert told(hand) == [Dropped(DropReason.BUFFER_FULL, 1, ("t",))]

    def test_one_that_has_just_enough_room_by_then(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t", buffer_size=4)
        hand.receive(*[Message("t", b"x")] * 5)
        assert not hand.core.wants_data(hand.now)
        subscription.take()
        hand.lose_patience()
        assert len(subscription.buffer) == 4
        assert told(hand) == []

    def test_who_is_late_is_waited_for_again_when_it_has_caught_up(self) -> None:
        hand, subscription = self.full()
        hand.lose_patience()
        hand.receive(Message("t", b"x"))
        assert hand.core.wants_data(hand.now)
        assert subscription.dropped == 5
        while subscription.take() is not None:
            pass
        subscription.wanted = True  # what a consumer sets that finds nothing
        hand.receive(*[Message("t", b"x")] * 5)
        assert not hand.core.wants_data(hand.now)
        assert subscription.dropped == 5

    def test_of_several_filters_too(self) -> None:
        hand = connected()
        first, second = (hand.subscribed(each, buffer_size=1) for each in ("t", "#"))
        hand.receive(*[Message("t", b"x")] * 2)
        hand.lose_patience()
        for subscription in (first, second):
            assert subscription.take() is not None
            subscription.wanted = True
        hand.receive(*[Message("t", b"x")] * 2)
        assert not hand.core.wants_data(hand.now)
        assert (first.dropped, second.dropped) == (1, 1)

    def test_one_that_pauses_goes_on_to_do_so(self) -> None:
        hand = connected()
        patient = hand.subscribed("t", buffer_size=1, when_full="pause")
        other = hand.subscribed("#", buffer_size=1)
        hand.receive(*[Message("t", b"x")] * 3)
        assert not hand.core.wants_data(hand.now)
        hand.pass_deadline()
        assert not hand.core.wants_data(hand.now)
        assert (len(patient.buffer), patient.dropped) == (3, 0)
        assert (len(other.buffer), other.dropped) == (1, 2)

    def test_beside_one_that_pauses_already(self) -> None:
        # What a layer holds back still comes.
        hand = connected()
        patient = hand.subscribed("t", buffer_size=1, when_full="pause")
        hand.receive(*[Message("t", b"x")] * 2)
        assert not hand.core.wants_data(hand.now)
        other = hand.subscribed("u", buffer_size=1)
        hand.receive(*[Message("u", b"x")] * 3)
        assert not hand.core.wants_data(hand.now)
        patient.discard(processed=True)
        assert not hand.core.wants_data(hand.now)
        hand.lose_patience()
        assert (len(other.buffer), other.dropped) == (1, 2)

    def test_no_longer_than_the_connection_lasts(self) -> None:
        hand, subscription = self.full()
        hand.lose()
        deadline = hand.core.next_deadline()
        assert deadline is not None
        hand.connect()
        assert not hand.core.wants_data(hand.now)
        hand.lose_patience()
        assert subscription.dropped == 4

    def test_nothing_is_due_when_the_client_is_closed(self) -> None:
        hand, subscription = self.full()
        hand.core.close(hand.now, 1.0)
        hand.sent()
        hand.hang_up()
        assert hand.core.next_deadline() is None
        assert len(subscription.buffer) == 8


class TestPausing:
    """A full buffer with the policy "pause" stops the reading, and loses nothing."""

    def paused(self, **options: Any) -> tuple[Hand, SubscriptionState]:
        hand = connected(**options)
        subscription = hand.subscribed("t", buffer_size=4, when_full="pause")
        hand.receive(*[Message("t", b"x")] * 5)
        hand.sent()
        return hand, subscription

    def test_with_the_first_message_that_is_one_too_many(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t", buffer_size=4, when_full="pause")
        for _ in range(4):
            hand.receive(Message("t", b"x"))
            assert hand.core.wants_data(hand.now)
        hand.receive(*[Message("t", b"x")] * 3)
        assert not hand.core.wants_data(hand.now)
        assert len(subscription.buffer) == 7
        assert subscription.dropped == 0
        assert told(hand) == []

    def test_until_half_of_it_is_done(self) -> None:
        hand, subscription = self.paused()
        for _ in range(2):
            subscription.take()
            assert not hand.core.wants_data(hand.now)
        subscription.take()
        assert hand.core.wants_data(hand.now)
        hand.receive(*[Message("t", b"x")] * 2)
        assert hand.core.wants_data(hand.now)
        hand.receive(Message("t", b"x"))
        assert not hand.core.wants_data(hand.now)

    def test_until_the_subscription_has_ended(self) -> None:
        hand, subscription = self.paused()
        assert not hand.core.wants_data(hand.now)
        subscription.end()
        assert hand.core.wants_data(hand.now)

    def test_for_as_long_as_one_of_several_is_full(self) -> None:
        hand = connected()
        fast = hand.subscribed("t", buffer_size=4, when_full="pause")
        slow = hand.subscribed("#", buffer_size=4, when_full="pause")
        hand.receive(*[Message("t", b"x")] * 5)
        fast.discard(processed=True)
        assert not hand.core.wants_data(hand.now)
        slow.discard(processed=True)
        assert hand.core.wants_data(hand.now)

    def test_what_the_server_holds_back_does_not_pause(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t", buffer_size=1, when_full="pause")
        hand.receive(*[Message("t", b"x", 1, packet_id=n) for n in range(1, 6)])
        assert len(subscription.buffer) == 5
        assert hand.core.wants_data(hand.now)

    def test_the_unmatched_messages_may_pause(self) -> None:
        hand = connected()
        everything_else = SubscriptionState(
            (), SubscriptionOptions(), buffer_size=1, when_full="pause"
        )
        hand.core.subscribe_unmatched(everything_else)
        hand.receive(*[Message("t", b"x")] * 2)
        assert not hand.core.wants_data(hand.now)

    def test_not_without_a_connection(self) -> None:
        assert Hand().core.wants_data(0.0)
        hand, _ = self.paused()
        hand.lose()
        assert hand.core.wants_data(hand.now)
        hand.dial()
        assert hand.core.wants_data(hand.now)

    def test_still_on_the_next_connection(self) -> None:
        hand, _ = self.paused()
        hand.lose()
        hand.connect()
        assert not hand.core.wants_data(hand.now)

    def test_pings_go_out_and_their_answers_are_not_missed(self) -> None:
        # Rule 23: what nobody reads is not missed; the server hears of this side all the same.
        hand, subscription = self.paused()
        assert not hand.core.wants_data(hand.now)
        for _ in range(5):
            hand.pass_deadline()
            assert hand.sent() == b"\xc0\0"
            assert not hand.core.wants_data(hand.now)
        assert hand.core.is_connected
        subscription.discard(processed=True)
        assert hand.core.wants_data(hand.now)
        hand.core.receive(b"\xd0\0" * 5, hand.now)
        assert hand.core.is_connected

    def test_after_the_pause_silence_counts_again(self) -> None:
        hand, subscription = self.paused()
        assert not hand.core.wants_data(hand.now)
        hand.pass_deadline()
        hand.sent()
        subscription.discard(processed=True)
        assert hand.core.wants_data(hand.now)
        hand.pass_deadline()
        hand.sent()
        assert hand.core.state is ClientState.HANGING_UP
