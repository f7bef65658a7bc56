"""Subscription identifiers: each subscription gets each message once, whatever the server sends.

A server may send one copy of a message with the identifiers of all filters that match, or one
copy for each of those filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqttlite.client import ClientState, DropReason, SubscriptionState
from mqttlite.client import subscriptions as module
from mqttlite.client.subscriptions import SubscriptionTable, make_subscription
from mqttlite.packets import (
    Message,
    PacketReader,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    encode,
)
from tests.unit.client.hand import Hand

FIRST = 1  # the identifiers begin with it if the random number is 0
Copies = Literal["one for all", "one for each"]

KINDS: tuple[Copies, ...] = ("one for all", "one for each")
MATCHES = {
    "a/b": {"a/b", "a/+", "a/#", "+/b", "#", "$share/g/a/b", "$share/g/#", "$share/h/a/+"},
    "a/c": {"a/+", "a/#", "#", "$share/g/#", "$share/h/a/+"},
    "c": {"c", "#", "$share/g/#"},
}
FILTERS = sorted(set().union(*MATCHES.values()))


def connected(**properties: Any) -> Hand:
    hand = Hand(random=lambda: 0.0).connect(**properties)
    hand.sent()
    return hand


def identifiers(asked: list[Subscribe]) -> list[tuple[list[str], list[int]]]:
    """The filters of each SUBSCRIBE, and its identifiers."""
    return [
        ([name for name, _ in each.subscriptions], _identifiers_of(each.properties))
        for each in asked
    ]


def _identifiers_of(properties: Any) -> list[int]:
    return list((properties or {}).get("subscription_identifiers", []))


def copy(topic: str, *numbers: int, packet_id: int = 0) -> Message:
    properties: Any = {"subscription_identifiers": list(numbers)} if numbers else None
    return Message(topic, b"x", 1 if packet_id else 0, False, False, packet_id, properties)


def count(*subscriptions: SubscriptionState) -> list[int]:
    """How many messages each has got since the last time."""
    counts = [len(each.buffer) for each in subscriptions]
    for each in subscriptions:
        each.buffer.clear()
    return counts


class Model:
    """A server that knows what one client has subscribed to, and obeys at once."""

    def __init__(self, copies: Copies, *, has_identifiers: bool = True, **options: Any) -> None:
        self.copies = copies
        self.hand = Hand(random=lambda: 0.0, **options)
        self.filters: dict[str, list[int]] = {}
        self._connack: dict[str, Any] = {}
        if not has_identifiers:
            self._connack["subscription_identifier_available"] = 0
        self.connect()

    def connect(self, *, keeps_session: bool = False) -> None:
        if not keeps_session:
            self.filters.clear()
        self.hand.connect(session_present=keeps_session, **self._connack)
        self._reader = PacketReader(None, 1_000_000)
        self.obey()

    def reconnect(self, *, keeps_session: bool) -> None:
        self.hand.lose()
        assert self.hand.core.state is ClientState.WAITING
        self.connect(keeps_session=keeps_session)

    def obey(self) -> None:
        answers: list[bytes] = []
        for packet in self._reader.feed(self.hand.sent()):
            if isinstance(packet, Subscribe):
                for name, _ in packet.subscriptions:
                    self.filters[name] = _identifiers_of(packet.properties)
                codes = [options.qos for _, options in packet.subscriptions]
                answers.append(encode(Suback(packet.packet_id, codes), self.hand.version))
            elif isinstance(packet, Unsubscribe):
                for name in packet.topic_filters:
                    del self.filters[name]
                codes = [0] * len(packet.topic_filters)
                answers.append(encode(Unsuback(packet.packet_id, codes), self.hand.version))
        self.hand.core.receive(b"".join(answers), self.hand.now)

    def subscribe(self, filters: str | Sequence[str]) -> SubscriptionState:
        subscription = self.hand.subscribe(filters)
        self.obey()
        assert subscription.subscribed.done
        return subscription

    def unsubscribe(self, subscription: SubscriptionState) -> None:
        self.hand.core.end_subscription(subscription, processed=True)
        self.obey()

    def publish(self, topic: str) -> None:
        matching = [each for each in self.filters if each in MATCHES[topic]]
        own = [each for each in matching if not each.startswith("$share/")]
        copies = [self.filters[each] for each in matching if each not in own]
        if self.copies == "one for each":
            copies += [self.filters[each] for each in own]
        elif own:
            copies.append([number for each in own for number in self.filters[each]])
        self.hand.receive(*[copy(topic, *numbers) for numbers in copies])


def expected(subscription: SubscriptionState, topic: str) -> int:
    """Once for all its own filters, and once for each share that it takes part in."""
    matching = [each for each in subscription.topic_filters if each in MATCHES[topic]]
    shared = [each for each in matching if each.startswith("$share/")]
    return len(shared) + (len(matching) > len(shared))


class TestTurnedOn:
    def test_not_without_an_overlap(self) -> None:
        hand = connected()
        hand.subscribe(["a/b", "a/c", "b/#"])
        hand.subscribe("c/+")
        assert identifiers(hand.consent()) == [(["a/b", "a/c", "b/#"], []), (["c/+"], [])]

    def test_by_an_overlap(self) -> None:
        # By hand: the first filter is asked for again, with retain handling 2.
        hand = connected()
        hand.subscribed("a/#")
        hand.subscribe("a/b")
        assert hand.sent() == (
            b"\x82\x0b\0\2\2\x0b\x01\0\3a/#\x21" + b"\x82\x0b\0\3\2\x0b\x02\0\3a/b\x01"
        )

    def test_what_is_known_is_told_once(self) -> None:
        hand = connected()
        hand.subscribed(["a/#", "b"])
        hand.subscribed("a/b")
        hand.subscribe("c")
        assert identifiers(hand.consent()) == [(["c"], [FIRST + 3])]

    def test_other_options_stay_when_a_filter_is_identified(self) -> None:
        hand = connected()
        hand.subscribed(
            "a/#", 2, no_local=True, retain_as_published=True, user_properties=[("k", "v")]
        )
        hand.subscribe("a/b")
        first, second = hand.consent()
        [(name, options)] = first.subscriptions
        assert name == "a/#"
        assert (options.qos, options.no_local, options.retain_as_published) == (2, True, True)
        assert options.retain_handling == 2
        assert first.properties == {
            "user_properties": [("k", "v")],
            "subscription_identifiers": [FIRST],
        }
        [(_, options)] = second.subscriptions
        assert options.retain_handling == 0

    def test_by_an_overlap_within_one_subscription(self) -> None:
        hand = connected()
        hand.subscribe(["a/b", "a/+", "c"])
        assert identifiers(hand.consent()) == [
            (["a/b"], [FIRST]),
            (["a/+"], [FIRST + 1]),
            (["c"], [FIRST + 2]),
        ]

    def test_the_same_filter_twice_is_no_overlap(self) -> None:
        hand = connected()
        hand.subscribed("a")
        hand.subscribe("a")
        assert identifiers(hand.consent()) == [(["a"], [])]

    def test_a_shared_filter_overlaps_too(self) -> None:
        hand = connected()
        hand.subscribed("$share/g/a")
        hand.subscribe("a")
        assert identifiers(hand.consent()) == [(["$share/g/a"], [FIRST]), (["a"], [FIRST + 1])]

    def test_before_connecting(self) -> None:
        hand = Hand(random=lambda: 0.0)
        hand.subscribe("a/#")
        hand.subscribe("a/b")
        hand.dial()
        hand.sent()
        hand.core.receive(b"\x20\3\0\0\0", hand.now)
        assert identifiers(hand.consent()) == [(["a/#"], [FIRST]), (["a/b"], [FIRST + 1])]

    def test_again_in_a_new_session_with_the_retained_messages(self) -> None:
        hand = connected()
        hand.subscribed("a/#")
        hand.subscribed("a/b")
        hand.lose()
        hand.connect()
        hand.sent()
        hand.lose()
        hand.dial()
        hand.sent()
        hand.core.receive(b"\x20\3\0\0\0", hand.now)
        asked = hand.consent()
        assert identifiers(asked) == [(["a/#"], [FIRST]), (["a/b"], [FIRST + 1])]
        assert [each.subscriptions[0][1].retain_handling for each in asked] == [0, 0]

    def test_nothing_is_said_again_in_a_session_that_goes_on(self) -> None:
        hand = connected()
        hand.subscribed("a/#")
        hand.subscribed("a/b")
        hand.lose()
        hand.connect(session_present=True)
        assert hand.consent() == []

    def test_a_refusal_while_identifying_ends_the_subscription(self) -> None:
        hand = connected()
        first = hand.subscribed("a/#")
        hand.subscribe("a/b")
        hand.sent()
        hand.receive(Suback(2, [0x87]))
        assert first.ended
        assert first.error is not None

    def test_the_first_one_is_drawn_at_random(self) -> None:
        # 1 and 2**27: 81 80 80 40 as a variable byte integer.
        hand = Hand(random=lambda: 1.0).connect()
        hand.sent()
        hand.subscribe(["a", "+"])
        assert hand.sent() == (
            b"\x82\x0c\0\1\5\x0b\x81\x80\x80\x40\0\1a\x01"
            b"\x82\x0c\0\2\5\x0b\x82\x80\x80\x40\0\1+\x01"
        )


class TestWithoutIdentifiers:
    def test_a_server_without(self) -> None:
        hand = connected(subscription_identifier_available=0)
        hand.subscribed("a/#")
        hand.subscribe("a/b")
        assert identifiers(hand.consent()) == [(["a/b"], [])]

    @pytest.mark.parametrize("version", ["3.1.1", "3.1"])
    def test_mqtt_3(self, version: str) -> None:
        hand = Hand(version=version, client_id="me").connect()
        hand.subscribed("a/#")
        hand.subscribe("a/b")
        assert hand.sent() == b"\x82\x08\0\2\0\3a/b\x01"

    def test_the_next_server_has_them(self) -> None:
        hand = connected(subscription_identifier_available=0)
        hand.subscribed("a/#")
        hand.subscribed("a/b")
        hand.lose()
        hand.connect()
        assert identifiers(hand.consent()) == [(["a/#"], [FIRST]), (["a/b"], [FIRST + 1])]

    def test_a_filter_that_has_no_room_for_one_stays_without(self) -> None:
        # A SUBSCRIBE of 17 bytes would be one of 19: then messages go by their topic.
        name = "a/" + "b" * 7
        hand = connected(maximum_packet_size=17)
        long = hand.subscribed(name)
        short = hand.subscribe("a/#")
        assert identifiers(hand.consent()) == [(["a/#"], [FIRST + 1])]
        hand.receive(copy(name, FIRST + 1))
        assert count(long, short) == [1, 1]

    def test_too_many_filters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_MOST_IDENTIFIED", 2)
        hand = connected()
        first = hand.subscribed(["a/b", "a/+"])
        second = hand.subscribe("#")
        assert identifiers(hand.consent()) == [(["#"], [])]
        hand.receive(copy("a/b", FIRST, FIRST + 1))
        assert count(first, second) == [1, 1]


class TestDispatch:
    @pytest.mark.parametrize("copies", KINDS)
    def test_two_subscriptions_overlap(self, copies: Copies) -> None:
        server = Model(copies)
        first, second = server.subscribe("a/#"), server.subscribe("a/b")
        server.publish("a/b")
        assert count(first, second) == [1, 1]
        server.publish("a/c")
        assert count(first, second) == [1, 0]

    @pytest.mark.parametrize("copies", KINDS)
    def test_filters_of_one_subscription_overlap(self, copies: Copies) -> None:
        server = Model(copies)
        first, second = server.subscribe(["a/b", "a/+", "a/#"]), server.subscribe("a/b")
        server.publish("a/b")
        assert count(first, second) == [1, 1]

    @pytest.mark.parametrize("copies", KINDS)
    def test_a_share_brings_messages_of_its_own(self, copies: Copies) -> None:
        server = Model(copies)
        first = server.subscribe("a/b")
        shared = server.subscribe("$share/g/a/b")
        both = server.subscribe(["$share/g/#", "a/#"])
        server.publish("a/b")
        assert count(first, shared, both) == [1, 1, 2]

    def test_a_message_of_a_share_is_for_nobody_else(self) -> None:
        hand = connected()
        first = hand.subscribed("a")
        shared = hand.subscribed("$share/g/a")
        hand.receive(copy("a", FIRST + 1))
        assert count(first, shared) == [0, 1]

    @pytest.mark.parametrize("copies", KINDS)
    def test_the_same_filter_in_two_subscriptions(self, copies: Copies) -> None:
        server = Model(copies)
        first, second = server.subscribe("a/b"), server.subscribe(["a/b", "#"])
        server.publish("a/b")
        assert count(first, second) == [1, 1]
        server.unsubscribe(first)
        server.publish("a/b")
        assert count(second) == [1]

    @pytest.mark.parametrize("order", [(FIRST, FIRST + 1), (FIRST + 1, FIRST)])
    def test_a_copy_for_nobody_is_acknowledged(self, order: tuple[int, int]) -> None:
        hand = connected()
        subscription = hand.subscribed(["a", "+"])
        hand.sent()
        hand.receive(*[copy("a", each, packet_id=n) for n, each in enumerate(order, 1)])
        assert subscription.take() is not None
        assert subscription.take() is None
        assert hand.sent() == b"\x40\2\0\1\x40\2\0\2"
        assert hand.core.counters.dropped_messages == {}

    def test_retained_messages_go_to_the_new_subscription_only(self) -> None:
        hand = connected()
        first = hand.subscribed("a/#")
        second = hand.subscribed("a/b")
        hand.receive(Message("a/b", b"x", 0, True, False, 0, {"subscription_identifiers": [2]}))
        assert count(first, second) == [0, 1]

    def test_an_unknown_identifier_goes_by_the_topic(self) -> None:
        # An earlier process has given it, and the session goes on.
        hand = connected()
        first, second = hand.subscribed("a/#"), hand.subscribed("a/b")
        hand.receive(copy("a/b", 77))
        assert count(first, second) == [1, 1]
        hand.receive(copy("a/b", FIRST, 77))
        assert count(first, second) == [1, 1]
        hand.receive(copy("other", 77))
        assert hand.core.counters.dropped_messages[DropReason.UNMATCHED] == 1

    def test_no_identifier_goes_by_the_topic(self) -> None:
        hand = connected()
        first, second = hand.subscribed("a/#"), hand.subscribed("a/b")
        hand.receive(copy("a/b"))
        assert count(first, second) == [1, 1]

    def test_identifiers_of_an_ended_subscription(self) -> None:
        hand = connected()
        first, second = hand.subscribed("a/#"), hand.subscribed("a/b")
        hand.core.end_subscription(second, processed=True)
        hand.receive(copy("a/b", FIRST + 1))
        assert count(first) == [1]

    def test_a_filter_that_comes_again_has_another_identifier(self) -> None:
        hand = connected()
        hand.subscribed("a/#")
        second = hand.subscribed("a/b")
        hand.core.end_subscription(second, processed=True)
        hand.subscribe("a/b")
        assert identifiers(hand.consent()) == [(["a/b"], [FIRST + 2])]

    @pytest.mark.parametrize("copies", KINDS)
    def test_an_overlap_before_the_first_suback(self, copies: Copies) -> None:
        # Rule 14: never silently lost; and each gets it once.
        server = Model(copies)
        first = server.hand.subscribe("a/#")
        second = server.hand.subscribe("a/b")
        server.obey()
        server.publish("a/b")
        assert count(first, second) == [1, 1]

    @pytest.mark.parametrize("copies", KINDS)
    def test_an_overlap_while_there_is_no_connection(self, copies: Copies) -> None:
        server = Model(copies)
        first = server.subscribe("a/#")
        server.hand.lose()
        second = server.hand.subscribe("a/b")
        server.connect(keeps_session=True)
        server.publish("a/b")
        assert count(first, second) == [1, 1]

    @pytest.mark.parametrize("copies", KINDS)
    def test_the_connection_is_lost_while_identifying(self, copies: Copies) -> None:
        server = Model(copies)
        first = server.subscribe("a/#")
        second = server.hand.subscribe("a/b")
        server.hand.sent()  # it never arrives
        server.reconnect(keeps_session=True)
        server.publish("a/b")
        assert count(first, second) == [1, 1]


class TestTable:
    """What was found is remembered, and not too much of it."""

    def table(self) -> tuple[SubscriptionTable, SubscriptionState, SubscriptionState]:
        table = SubscriptionTable()
        first, second = make_subscription("a/#"), make_subscription("a/+")
        table.add(first)
        table.add(second)
        return table, first, second

    def test_remembered_until_something_changes(self) -> None:
        table, first, second = self.table()
        for _ in range(2):
            assert table.route_by_identifiers("a/b", [1]) == (first,)
            assert table.route_by_identifiers("a/b", [2]) == (second,)
            assert set(table.route_by_identifiers("a/b", [2, 1]) or ()) == {first, second}
        third = make_subscription("a/#")
        table.add(third)
        assert table.route_by_identifiers("a/b", [1]) == (first, third)
        table.remove(first)
        assert table.route_by_identifiers("a/b", [1]) == (third,)

    def test_many_topics(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_ROUTES_CACHED", 2)
        table, first, _ = self.table()
        for number in range(10):
            assert table.route_by_identifiers(f"a/{number}", [1]) == (first,)
        assert len(table._routes_by_identifiers) <= 2

    @pytest.mark.parametrize(
        ("topic", "numbers"), [("a/" + "b" * 255, [1]), ("a/b", [1, 2, 1, 2, 1, 2, 1, 2, 1])]
    )
    def test_what_is_too_long_to_remember(self, topic: str, numbers: list[int]) -> None:
        table, first, _ = self.table()
        for _ in range(2):
            assert first in (table.route_by_identifiers(topic, numbers) or ())
        assert not table._routes_by_identifiers


STEPS = st.one_of(
    st.tuples(
        st.just("subscribe"),
        st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3, unique=True),
    ),
    st.tuples(st.just("unsubscribe"), st.integers(0, 9)),
    st.tuples(st.just("publish"), st.sampled_from(sorted(MATCHES))),
    st.tuples(st.just("reconnect"), st.booleans()),
)


def play(server: Model, steps: list[tuple[str, Any]]) -> None:
    live: list[SubscriptionState] = []
    for step, argument in steps:
        if step == "subscribe":
            live.append(server.subscribe(argument))
        elif step == "unsubscribe" and live:
            server.unsubscribe(live.pop(argument % len(live)))
        elif step == "reconnect":
            server.reconnect(keeps_session=argument)
        topics = [argument] if step == "publish" else sorted(MATCHES)
        for topic in topics:
            server.publish(topic)
            assert count(*live) == [expected(each, topic) for each in live]


@given(steps=st.lists(STEPS, max_size=12), copies=st.sampled_from(KINDS))
def test_each_subscription_gets_each_message_once(
    steps: list[tuple[str, Any]], copies: Copies
) -> None:
    play(Model(copies), steps)


@given(steps=st.lists(STEPS, max_size=12), version=st.sampled_from(["5.0", "3.1.1"]))
def test_without_identifiers_one_copy_is_for_all(
    steps: list[tuple[str, Any]], version: str
) -> None:
    # Without identifiers nobody can tell what a share brought.
    steps = [
        (step, [each for each in argument if "$" not in each] or ["#"])
        if step == "subscribe"
        else (step, argument)
        for step, argument in steps
    ]
    server = Model(
        "one for all",
        has_identifiers=version == "3.1.1",  # where the server cannot say that it has none
        version=version,
        client_id="me",
        clean_start=False,
    )
    play(server, steps)
