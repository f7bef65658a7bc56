"""Subscriptions: their arguments, buffers and acknowledgements, and who gets what."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from mqttlite.client import SubscriptionState, make_subscription
from mqttlite.client.subscriptions import (
    SubscriptionTable,
    check_filters,
    check_handler,
    is_coroutine_function,
    share_out,
)
from mqttlite.errors import InvalidTopic, UsageError
from mqttlite.message import Message
from mqttlite.packets import SubscriptionOptions
from mqttlite.protocol import Receipt, ReceiptState, Session
from tests.unit.client.hand import Hand
from tests.unit.protocol.sides import Client


def qos_0(payload: str) -> Message:
    return Message("t", payload.encode())


def qos_1(client: Client, packet_id: int) -> Message:
    """A message that has come on this connection; its payload is its packet identifier."""
    return client.message(f"32 07 00 01 74 {packet_id:04x} 00 {48 + packet_id:02x}")


def payloads(subscription: SubscriptionState) -> list[bytes]:
    return [message.payload for message in subscription.buffer]


def state_of(message: Message) -> ReceiptState:
    assert isinstance(message._receipt, Receipt)
    return message._receipt.state


def plain() -> None: ...


async def coroutine() -> None: ...


@wraps(plain)
async def wrapping() -> None: ...


@wraps(coroutine)
def wrapped() -> None: ...


class Methods:
    def plain(self) -> None: ...

    async def coroutine(self) -> None: ...

    @staticmethod
    async def static() -> None: ...

    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (None, False),
        (plain, False),
        (coroutine, True),
        (wrapping, True),
        (wrapped, False),
        (lambda: None, False),
        (Methods().plain, False),
        (Methods().coroutine, True),
        (Methods.coroutine, True),
        (Methods.static, True),
        (Methods(), False),
        (partial(plain), False),
        (partial(coroutine), True),
        (partial(Methods().coroutine), True),
        ([].append, False),
        (Methods, False),
        (Mock(), False),
        (AsyncMock(), True),
    ],
)
def test_coroutine_functions(function: Callable[..., Any] | None, expected: bool) -> None:
    assert is_coroutine_function(function) is expected
    assert inspect.iscoroutinefunction(function) is expected


def test_a_function_that_is_marked_as_a_coroutine_function() -> None:
    def marked() -> None: ...

    mark = getattr(inspect, "markcoroutinefunction", None)  # from Python 3.12 on
    if mark is not None:
        mark(marked)
        assert is_coroutine_function(marked)


class TestArguments:
    def test_defaults(self) -> None:
        subscription = make_subscription("a/b")
        assert subscription.topic_filters == ("a/b",)
        assert subscription.options == SubscriptionOptions(0)
        assert subscription.ack == "auto"
        assert subscription.buffer_size == 1000
        assert subscription.user_properties == ()
        assert not subscription.ended

    def test_all(self) -> None:
        subscription = make_subscription(
            ["a", "b"],
            qos=2,
            no_local=True,
            retain_as_published=True,
            retain_handling=2,
            ack="manual",
            buffer_size=5,
            when_full="drop_newest",
            user_properties=[("a", "b")],
        )
        assert subscription.topic_filters == ("a", "b")
        assert subscription.options == SubscriptionOptions(2, True, True, 2)
        assert subscription.ack == "manual"
        assert subscription.buffer_size == 5
        assert subscription.user_properties == (("a", "b"),)

    @pytest.mark.parametrize(
        ("filters", "arguments", "message"),
        [
            ([], {}, "at least one"),
            (5, {}, "not int"),
            (["a", "a"], {}, "given twice"),
            ("t", {"qos": 3}, "qos must be 0, 1 or 2"),
            ("t", {"retain_handling": 3}, "retain_handling must be 0, 1 or 2, not 3"),
            ("t", {"ack": "never"}, "ack must be"),
            ("t", {"when_full": "wait"}, "when_full must be"),
            ("t", {"buffer_size": 0}, "buffer_size must be an int of at least 1, not 0"),
            ("t", {"buffer_size": 1.5}, "buffer_size"),
            ("t", {"buffer_size": True}, "buffer_size"),
            ("$share/g/t", {"no_local": True}, "no_local is not allowed on a shared"),
        ],
    )
    def test_bad(self, filters: Any, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            make_subscription(filters, **arguments)

    @pytest.mark.parametrize("topic_filter", ["", "a/#/b", "a+", "$share/g", "\0", 5, None])
    def test_bad_filter(self, topic_filter: Any) -> None:
        with pytest.raises(InvalidTopic):
            make_subscription([topic_filter])

    def test_handler(self) -> None:
        check_handler(None)
        check_handler(print)
        with pytest.raises(UsageError, match="a handler is a function, not int"):
            check_handler(5)

    def test_filters(self) -> None:
        assert check_filters("a") == ["a"]
        assert check_filters(("a", "b/#")) == ["a", "b/#"]


class TestBuffer:
    def test_first_in_first_out(self) -> None:
        subscription = make_subscription("t")
        for each in "123":
            subscription.push(qos_0(each))
        taken = [subscription.take() for _ in range(4)]
        assert [message and message.payload for message in taken] == [b"1", b"2", b"3", None]

    def test_drop_oldest(self) -> None:
        # Rule 17: with a counter.
        subscription = make_subscription(["a", "b"], buffer_size=2)
        subscription.is_late = True
        for each in "1234":
            subscription.push(qos_0(each))
        assert payloads(subscription) == [b"3", b"4"]
        assert subscription.dropped == 2

    def test_drop_newest(self) -> None:
        subscription = make_subscription("t", buffer_size=2, when_full="drop_newest")
        subscription.is_late = True
        for each in "1234":
            subscription.push(qos_0(each))
        assert payloads(subscription) == [b"1", b"2"]
        assert subscription.dropped == 2

    @pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
    def test_what_has_to_be_acknowledged_is_never_dropped(self, when_full: Any) -> None:
        client = Client()
        subscription = make_subscription("t", buffer_size=2, when_full=when_full)
        for number in range(1, 5):
            subscription.push(qos_1(client, number))
        assert payloads(subscription) == [b"1", b"2", b"3", b"4"]
        subscription.is_late = True
        subscription.push(qos_0("x"))
        assert payloads(subscription) == [b"1", b"2", b"3", b"4"]
        assert subscription.dropped == 1

    @pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
    def test_it_takes_the_place_of_what_need_not_be(self, when_full: Any) -> None:
        client = Client()
        subscription = make_subscription("t", buffer_size=2, when_full=when_full)
        subscription.is_late = True
        subscription.push(qos_0("a"))
        subscription.push(qos_0("b"))
        subscription.push(qos_1(client, 1))
        assert payloads(subscription) == [b"b", b"1"]
        assert subscription.dropped == 1

    def test_messages_of_a_dead_connection_can_be_dropped(self) -> None:
        client = Client()
        subscription = make_subscription("t", buffer_size=1)
        subscription.is_late = True
        subscription.push(qos_1(client, 1))
        client.connection.receive_eof()
        subscription.push(qos_0("x"))
        assert payloads(subscription) == [b"x"]


class TestAcknowledging:
    def test_when_the_next_one_is_taken(self) -> None:
        client = Client()
        subscription = make_subscription("t", qos=1)
        subscription.push(qos_1(client, 1))
        subscription.push(qos_1(client, 2))
        subscription.take()
        assert client.sent() == ""
        subscription.take()
        assert client.sent() == "40 02 00 01"
        assert subscription.take() is None
        assert client.sent() == "40 02 00 02"

    def test_manual(self) -> None:
        client = Client()
        subscription = make_subscription("t", qos=1, ack="manual")
        subscription.push(qos_1(client, 1))
        message = subscription.take()
        assert message is not None
        assert subscription.take() is None
        subscription.finish_taken(processed=True)
        assert client.sent() == ""
        message.ack()
        assert client.sent() == "40 02 00 01"

    @pytest.mark.parametrize(("processed", "expected"), [(True, "40 02 00 01"), (False, "")])
    def test_the_one_taken_last(self, processed: bool, expected: str) -> None:
        client = Client(properties={"session_expiry_interval": 5})
        subscription = make_subscription("t", qos=1)
        subscription.push(qos_1(client, 1))
        subscription.take()
        subscription.finish_taken(processed=processed)
        subscription.finish_taken(processed=True)
        assert client.sent() == expected

    @pytest.mark.parametrize(
        ("processed", "state"),
        [(True, ReceiptState.ANSWERED), (False, ReceiptState.ABANDONED)],
    )
    def test_discard(self, processed: bool, state: ReceiptState) -> None:
        client = Client(properties={"session_expiry_interval": 5})
        subscription = make_subscription("t", qos=1)
        messages = [qos_1(client, 1), qos_1(client, 2), qos_0("x")]
        for message in messages:
            subscription.push(message)
        subscription.discard(processed=processed)
        assert not subscription.buffer
        client.sent()
        assert [state_of(message) for message in messages[:2]] == [state, state]

    def test_discard_unacknowledged(self) -> None:
        client = Client(properties={"session_expiry_interval": 5})
        subscription = make_subscription("t", qos=1)
        messages = [qos_1(client, 1), qos_1(client, 2), qos_0("x")]
        for message in messages:
            subscription.push(message)
        subscription.take()
        subscription.discard_unacknowledged()
        assert payloads(subscription) == [b"x"]
        assert state_of(messages[0]) is state_of(messages[1]) is ReceiptState.ABANDONED

    def test_forget_redelivered(self) -> None:
        old, new = Client(), Client()
        subscription = make_subscription("t", qos=2)
        subscription.push(qos_1(old, 1))
        subscription.push(qos_1(new, 2))
        subscription.push(old.message("34 07 00 01 74 00 03 00 33"))
        subscription.push(qos_0("x"))
        subscription.forget_redelivered(new.connection)
        assert payloads(subscription) == [b"2", b"3", b"x"]
        buffer = subscription.buffer
        subscription.forget_redelivered(new.connection)
        assert subscription.buffer is buffer

    def test_end(self) -> None:
        subscription = make_subscription("t")
        subscription.push(qos_0("x"))
        error = RuntimeError()
        subscription.end(error)
        subscription.end()
        assert subscription.ended
        assert subscription.error is error
        assert subscription.take() is not None


class TestSharing:
    def test_qos_0_is_one_message_for_all(self) -> None:
        message = qos_0("x")
        assert share_out(message, 3) == [message] * 3
        assert all(each is message for each in share_out(message, 3))

    def shared(self, client: Client) -> list[Message]:
        copies = share_out(qos_1(client, 1), 2)
        assert copies[0] == copies[1] == Message("t", b"1", 1, packet_id=1)
        return copies

    def test_acknowledged_when_all_are_done(self) -> None:
        client = Client()
        first, second = self.shared(client)
        first.ack()
        first.ack()
        assert client.sent() == ""
        second.ack()
        assert client.sent() == "40 02 00 01"

    def test_one_that_is_abandoned(self) -> None:
        client = Client(properties={"session_expiry_interval": 5})
        first, second = self.shared(client)
        parts: list[Any] = [first._receipt, second._receipt]
        first.ack()
        parts[1].abandon()
        parts[1].abandon()
        second.ack()
        assert client.sent() == ""
        assert parts[0].receipt.state is ReceiptState.ABANDONED

    def test_what_a_part_says_of_the_whole(self) -> None:
        client = Client()
        part: Any = self.shared(client)[0]._receipt
        assert part.qos == 1
        assert part.connection is client.connection
        assert part.is_live
        client.connection.receive_eof()
        assert not part.is_live

    def test_the_last_answer_is_sent(self) -> None:
        client = Client()
        first, second = self.shared(client)
        second.ack(0x10)
        assert client.sent() == ""
        first.ack(0x83, reason_string="no")
        assert client.sent() == "40 09 00 01 83 05 1f 00 02 6e 6f"

    def test_an_answer_that_there_is_not(self) -> None:
        client = Client()
        first, second = self.shared(client)
        with pytest.raises(UsageError, match="0x81 is not a reason code of PUBACK"):
            first.ack(0x81)
        second.ack()
        assert client.sent() == ""
        first.ack()
        assert client.sent() == "40 02 00 01"

    def test_the_acknowledger_is_asked(self) -> None:
        client = Client()
        asked: list[Any] = []
        parts: list[Any] = [each._receipt for each in self.shared(client)]
        parts[0].receipt.connection.acknowledger = lambda each, _: asked.append(each)
        parts[0].acknowledge()
        parts[1].acknowledge()
        assert asked == parts
        asked[0].accept()
        assert client.sent() == ""
        asked[1].accept()
        assert client.sent() == "40 02 00 01"


class TestTable:
    def test_routes(self) -> None:
        table = SubscriptionTable()
        exact, wide, both = (make_subscription(f) for f in ("a/b", "a/#", ["a/+", "#"]))
        for each in (exact, wide, both):
            table.add(each)
        assert set(table.route("a/b")) == {exact, wide, both}
        assert len(table.route("a/b")) == 3  # each once
        assert set(table.route("a/b/c")) == {wide, both}
        assert table.route("$SYS/x") == ()
        assert table.routes["$SYS/x"] == ()

    def test_what_nobody_matches(self) -> None:
        table = SubscriptionTable()
        unmatched = SubscriptionState((), SubscriptionOptions())
        assert table.route("x") == ()
        table.unmatched = unmatched
        assert table.route("x") == (unmatched,)
        table.add(make_subscription("x"))
        assert unmatched not in table.route("x")
        assert table.everything()[-1] is unmatched
        table.route("y")
        assert table.remove(unmatched) == []
        assert table.unmatched is None
        assert table.route("y") == ()

    def test_remove(self) -> None:
        table = SubscriptionTable()
        first, second = make_subscription(["a", "b"]), make_subscription(["b", "c"])
        table.add(first)
        table.add(second)
        for state in table.filters.values():
            state.asked = True
        table.filters["c"].asked = False
        assert set(table.route("b")) == {first, second}
        assert table.remove(first) == ["a"]
        assert table.route("b") == (second,)
        assert table.remove(first) == []
        assert table.remove(second) == ["b"]  # the server was never asked for c
        assert not table.filters
        assert table.everything() == []

    def test_the_last_one_decides_on_the_options(self) -> None:
        table = SubscriptionTable()
        table.add(make_subscription("a", qos=0))
        table.add(make_subscription("a", qos=2, user_properties=[("x", "y")]))
        assert table.filters["a"].options.qos == 2
        assert table.filters["a"].user_properties == (("x", "y"),)

    def test_the_cache_of_routes_is_bounded(self) -> None:
        table = SubscriptionTable()
        table.route("x" * 257)
        assert not table.routes
        for number in range(16_384):
            table.route(str(number))
        assert len(table.routes) == 16_384
        table.route("one more")
        assert len(table.routes) == 1


def test_receipts_outlive_their_session() -> None:
    # The program acknowledges a message after everything is over.
    hand = Hand().connect()
    subscription = hand.subscribed("t", ack="manual")
    hand.receive(Message("t", b"x", 1, packet_id=9))
    message = subscription.take()
    assert message is not None
    hand.core.close(hand.now, 5.0)
    hand.hang_up()
    message.ack()
    assert isinstance(message._receipt, Receipt)
    assert message._receipt.connection.session is hand.core.session
    assert isinstance(hand.core.session, Session)


def test_user_properties_are_a_list() -> None:
    with pytest.raises(UsageError, match="user_properties must be a list"):
        make_subscription("a", user_properties=5)  # type: ignore[arg-type]
