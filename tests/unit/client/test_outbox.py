"""The queue of messages that wait to be sent."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from mqttlite.client import DeliveryState
from mqttlite.client.outbox import Outbox
from mqttlite.enums import Fate
from mqttlite.errors import QueueFull, UsageError
from tests.behaviour import rule


def delivery(payload: bytes = b"", qos: int = 1, expires_at: float | None = None) -> DeliveryState:
    made = DeliveryState("t", payload, qos)
    made.expires_at = expires_at
    return made


def filled(
    outbox: Outbox, payloads: Iterable[bytes], *, can_wait: bool = True
) -> list[DeliveryState]:
    deliveries = [delivery(payload) for payload in payloads]
    for each in deliveries:
        assert outbox.add(each, can_wait=can_wait) == []
    return deliveries


def test_first_come_first_served() -> None:
    outbox = Outbox(10, 100, "raise")
    assert not outbox
    first, second = filled(outbox, [b"1", b"22"])
    assert len(outbox) == 2
    assert outbox.size == 3
    assert outbox.peek() is first
    assert outbox.pop() is first
    assert outbox.size == 2
    assert outbox.pop() is second
    assert len(outbox) == outbox.size == 0


@rule(20)
@pytest.mark.parametrize(("messages", "size"), [(3, 100), (100, 3)])
def test_bounds(messages: int, size: int) -> None:
    outbox = Outbox(messages, size, "raise")
    filled(outbox, [b"1", b"2", b"3"])
    with pytest.raises(QueueFull, match="3 messages of 3 bytes") as raised:
        outbox.add(delivery(b"4"), can_wait=True)
    assert isinstance(raised.value, UsageError)
    assert len(outbox) == 3
    outbox.pop()
    filled(outbox, [b"4"])


def test_one_message_always_fits() -> None:
    outbox = Outbox(1, 1, "raise")
    filled(outbox, [b"x" * 1000])
    with pytest.raises(QueueFull):
        outbox.add(delivery(), can_wait=True)


def test_empty_payloads_fit_while_the_bytes_are_full() -> None:
    outbox = Outbox(10, 2, "raise")
    filled(outbox, [b"12", b"", b""])
    assert len(outbox) == 3


def test_drop_newest() -> None:
    outbox = Outbox(2, 100, "drop_newest")
    deliveries = filled(outbox, [b"1", b"2"])
    newest = delivery(b"3", expires_at=5.0)
    assert outbox.add(newest, can_wait=True) == [newest]
    assert [outbox.pop(), outbox.pop()] == deliveries
    assert outbox.next_expiry is None


def test_drop_oldest() -> None:
    outbox = Outbox(2, 100, "drop_oldest")
    first, second = filled(outbox, [b"1", b"2"])
    third = delivery(b"3")
    assert outbox.add(third, can_wait=True) == [first]
    assert [outbox.pop(), outbox.pop()] == [second, third]


def test_drop_oldest_makes_room_in_bytes() -> None:
    outbox = Outbox(10, 10, "drop_oldest")
    dropped = filled(outbox, [b"1" * 4, b"2" * 4, b"3" * 2])
    large = delivery(b"x" * 7)
    assert outbox.add(large, can_wait=False) == dropped[:2]
    assert outbox.size == 9
    largest = delivery(b"x" * 1000)
    assert outbox.add(largest, can_wait=False) == [dropped[2], large]
    assert outbox.pop() is largest


class TestWaiting:
    def test_who_can_wait_is_parked(self) -> None:
        outbox = Outbox(1, 100, "wait")
        first, second, third = filled(outbox, [b"1", b"2", b"3"])
        assert len(outbox) == 1
        assert outbox.size == 1
        assert outbox.pop() is first
        assert len(outbox) == 1
        assert outbox.pop() is second
        assert outbox.pop() is third
        assert not outbox

    def test_who_cannot_wait_is_refused(self) -> None:
        outbox = Outbox(1, 100, "wait")
        filled(outbox, [b"1"], can_wait=False)
        with pytest.raises(QueueFull):
            outbox.add(delivery(), can_wait=False)

    @rule(16)
    def test_nobody_goes_before_who_is_parked(self) -> None:
        # Rule 16: waiting publishers are treated fairly.
        outbox = Outbox(10, 10, "wait")
        small, large = filled(outbox, [b"x" * 5, b"x" * 9])
        with pytest.raises(QueueFull):
            outbox.add(delivery(b"x"), can_wait=False)
        (last,) = filled(outbox, [b"x"])
        assert [outbox.pop(), outbox.pop(), outbox.pop()] == [small, large, last]

    def test_several_move_up_at_once(self) -> None:
        outbox = Outbox(10, 10, "wait")
        filled(outbox, [b"x" * 10, b"1", b"2", b"3"])
        assert len(outbox) == 1
        outbox.pop()
        assert len(outbox) == 3
        assert outbox.size == 3

    def test_withdraw(self) -> None:
        outbox = Outbox(1, 100, "wait")
        first, second, third = filled(outbox, [b"1", b"2", b"3"])
        assert outbox.withdraw(second)
        assert not outbox.withdraw(second)
        assert not outbox.withdraw(first)  # it was accepted
        assert [outbox.pop(), outbox.pop()] == [first, third]


class TestExpiry:
    def test_in_the_order_of_their_times(self) -> None:
        outbox = Outbox(10, 100, "wait")
        assert outbox.next_expiry is None
        late, soon = delivery(b"12", expires_at=20.0), delivery(b"3", expires_at=10.0)
        never = delivery(b"45")
        for each in (late, soon, never):
            outbox.add(each, can_wait=True)
        assert outbox.next_expiry == 10.0
        assert outbox.take_expired(9.9) == []
        assert outbox.take_expired(10.0) == [soon]
        assert soon.fate is Fate.EXPIRED
        assert soon.error is not None
        assert (len(outbox), outbox.size) == (2, 4)
        assert outbox.next_expiry == 20.0
        assert outbox.take_expired(30.0) == [late]
        assert outbox.next_expiry is None
        assert outbox.pop() is never

    def test_of_who_is_parked(self) -> None:
        outbox = Outbox(1, 100, "wait")
        (first,) = filled(outbox, [b"1"])
        parked = delivery(b"2", expires_at=10.0)
        outbox.add(parked, can_wait=True)
        assert outbox.take_expired(10.0) == [parked]
        assert outbox.pop() is first
        assert not outbox

    def test_makes_room_for_who_is_parked(self) -> None:
        outbox = Outbox(1, 100, "wait")
        outbox.add(delivery(b"1", expires_at=10.0), can_wait=True)
        (parked,) = filled(outbox, [b"2"])
        outbox.take_expired(10.0)
        assert outbox.pop() is parked

    def test_what_was_sent_does_not_expire(self) -> None:
        outbox = Outbox(10, 100, "wait")
        sent = delivery(expires_at=10.0)
        outbox.add(sent, can_wait=True)
        outbox.pop()
        assert outbox.take_expired(10.0) == []
        assert sent.fate is Fate.PENDING
        assert outbox.next_expiry is None

    def test_what_was_put_back_expires(self) -> None:
        outbox = Outbox(10, 100, "wait")
        again = delivery(expires_at=10.0)
        outbox.add(again, can_wait=True)
        outbox.pop()
        outbox.put_back([again])
        assert outbox.take_expired(10.0) == [again]
        assert not outbox


def test_put_back_before_all_others() -> None:
    outbox = Outbox(2, 100, "wait")
    (third,) = filled(outbox, [b"333"])
    first, second = delivery(b"1"), delivery(b"22")
    outbox.put_back([first, second])
    assert (len(outbox), outbox.size) == (3, 6)
    assert [outbox.pop(), outbox.pop(), outbox.pop()] == [first, second, third]


def test_drop_qos_0() -> None:
    outbox = Outbox(2, 100, "wait")
    deliveries = [delivery(b"x", qos) for qos in (0, 1, 0, 2)]
    for each in deliveries:
        outbox.add(each, can_wait=True)
    assert outbox.drop_qos_0() == [deliveries[0], deliveries[2]]
    assert deliveries[0].fate is deliveries[2].fate is Fate.DROPPED
    assert [outbox.pop(), outbox.pop()] == [deliveries[1], deliveries[3]]
    assert not outbox
    assert outbox.drop_qos_0() == []


def test_drop_qos_0_of_who_is_parked() -> None:
    outbox = Outbox(1, 100, "wait")
    (first,) = filled(outbox, [b"1"])
    outbox.add(parked := delivery(b"x", 0), can_wait=True)
    assert outbox.drop_qos_0() == [parked]
    assert not outbox.withdraw(parked)
    assert outbox.pop() is first
    assert not outbox


def test_take_all() -> None:
    outbox = Outbox(2, 100, "wait")
    deliveries = filled(outbox, [b"1", b"2", b"3"])
    outbox.add(expired := delivery(b"", expires_at=1.0), can_wait=True)
    outbox.put_back([gone := delivery(b"", expires_at=1.0)])
    assert set(outbox.take_expired(1.0)) == {expired, gone}
    outbox.add(later := delivery(b"", expires_at=5.0), can_wait=True)
    assert outbox.take_all() == [*deliveries, later]
    assert len(outbox) == outbox.size == 0
    assert outbox.next_expiry is None
    assert outbox.take_all() == []


@rule(20)
def test_more_messages_than_there_are_identifiers() -> None:
    # Rule 20.
    outbox = Outbox(100_000, 1 << 20, "raise")
    deliveries = filled(outbox, [b""] * 70_000)
    assert [outbox.pop() for _ in deliveries] == deliveries
