"""Large messages, and those that are sent at once, seen from the whole client."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.client import ClientState, DeliveryState
from mqttlite.enums import Fate
from mqttlite.errors import MqttError
from mqttlite.message import Properties
from mqttlite.packets import Message, Puback
from tests.unit.client.hand import Hand

# PUBLISH of QoS 0 and 1 to "t" with a payload of 100,000 bytes, which is to follow.
LARGE = bytes.fromhex("30 a4 8d 06 00 01 74 00")
LARGE_1 = bytes.fromhex("32 a6 8d 06 00 01 74 00 05 00")


def fill(hand: Hand, data: bytes) -> None:
    room = hand.core.room()
    assert room is not None
    room[: len(data)] = data
    hand.core.filled(len(data), hand.now)


class Agrees:
    """An auth handler that agrees to everything."""

    method = "m"

    def start(self) -> bytes:
        return b"start"

    def respond(self, data: bytes, properties: Properties) -> bytes:  # noqa: ARG002
        return b"respond"

    def finish(self, data: bytes, properties: Properties) -> None:
        """Agree."""


class TestRoom:
    def test_none_without_a_connection(self) -> None:
        hand = Hand()
        assert hand.core.room() is None
        hand.core.connect(hand.now)
        assert hand.core.room() is None

    def test_message(self) -> None:
        hand = Hand().connect()
        subscription = hand.subscribed("t")
        subscription.wanted = True
        subscription.owner = self
        before = hand.core.counters.received_bytes
        hand.core.receive(LARGE, hand.now)
        fill(hand, b"a" * 99_999)
        assert not hand.core.take_ready()
        hand.core.receive(b"b", hand.now)
        assert hand.core.take_ready() == [subscription]
        message = subscription.take()
        assert message is not None
        assert message.payload == b"a" * 99_999 + b"b"
        assert hand.core.counters.received_bytes == before + len(LARGE) + 100_000
        assert hand.core.counters.received_messages == 1

    def test_message_is_complete_with_what_was_filled(self) -> None:
        hand = Hand().connect()
        subscription = hand.subscribed("t")
        hand.sent()
        hand.core.receive(LARGE_1, hand.now)
        fill(hand, bytes(100_000))
        message = subscription.take()
        assert message is not None
        assert len(message.payload) == 100_000
        assert subscription.take() is None
        assert hand.sent() == b"\x40\x02\0\x05"

    def test_none_while_hanging_up(self) -> None:
        hand = Hand().connect()
        hand.core.receive(LARGE, hand.now)
        assert hand.core.room() is not None
        hand.core.filled(0, hand.now)
        hand.core.close(hand.now, 5.0)
        assert hand.core.state is ClientState.HANGING_UP
        assert hand.core.room() is None
        received = hand.core.counters.received_bytes
        hand.core.filled(100_000, hand.now)
        assert hand.core.counters.received_bytes == received + 100_000
        assert hand.core.counters.received_messages == 0

    def test_none_when_connect_is_cancelled(self) -> None:
        hand = Hand(auth=Agrees())
        hand.dial()
        # CONNACK with the authentication method "m", which is still to be approved.
        hand.core.receive(bytes.fromhex("20 07 00 00 04 15 00 01 6d") + LARGE, hand.now)
        assert hand.core.room() is not None
        hand.core.filled(0, hand.now)
        hand.core.cancel_connect(hand.now)
        assert hand.core.state is ClientState.HANGING_UP
        assert hand.core.room() is None

    def test_connection_that_is_gone(self) -> None:
        hand = Hand().connect()
        hand.core.receive(LARGE, hand.now)
        assert hand.core.room() is not None
        hand.core.filled(0, hand.now)
        hand.lose()
        assert hand.core.room() is None
        hand.core.filled(100_000, hand.now)
        assert hand.core.counters.received_messages == 0

    @pytest.mark.skipif(sys.implementation.name != "cpython", reason="about its finalizers")
    def test_connection_that_is_gone_is_forgotten_without_a_word(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[str] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(repr(args.exc_value)))
        hand = Hand().connect()
        hand.subscribed("t")
        hand.receive(Message("t", b"", 1, packet_id=1))  # which nobody acknowledges
        hand.core.receive(LARGE, hand.now)
        assert hand.core.room() is not None
        hand.lose()  # while the network was about to write to the room
        gc.collect()
        del hand
        gc.collect()
        assert not told


class TestAtOnce:
    def test_qos_0(self) -> None:
        hand = Hand().connect()
        hand.publish("t", qos=0)  # from now on the topic is known
        hand.sent()
        delivery = DeliveryState("t", b"x")
        assert hand.core.publisher.send_at_once(delivery) == 7
        assert delivery.fate is Fate.SENT
        assert hand.core.counters.sent_messages == 2
        assert hand.sent() == bytes.fromhex("30 05 00 01 74 00 78")

    def test_qos_1(self) -> None:
        hand = Hand().connect()
        hand.publish("t", qos=0)
        hand.sent()
        delivery = DeliveryState("t", b"x", 1)
        delivery.waiters = ["somebody"]
        assert hand.core.publisher.send_at_once(delivery) == 9
        assert not delivery.done
        assert hand.sent() == bytes.fromhex("32 07 00 01 74 00 01 00 78")
        hand.receive(Puback(1))
        assert delivery.fate is Fate.ACKNOWLEDGED
        assert hand.core.finished == [delivery]

    @pytest.mark.parametrize("qos", [0, 1])
    def test_not_without_a_connection(self, qos: int) -> None:
        hand = Hand()
        delivery = DeliveryState("t", b"x", qos)
        assert hand.core.publisher.send_at_once(delivery) == 0
        hand.connect()
        hand.publish("t", qos=0)
        assert hand.core.publisher.send_at_once(DeliveryState("t", b"x", qos))
        hand.lose()
        assert hand.core.publisher.send_at_once(delivery) == 0
        assert delivery.fate is Fate.PENDING
        assert hand.core.counters.sent_messages == 2

    @pytest.mark.parametrize("qos", [0, 1])
    def test_not_when_closing(self, qos: int) -> None:
        hand = Hand().connect()
        hand.publish("t", qos=1)
        hand.core.close(hand.now, 5.0)  # waits for the acknowledgement
        assert hand.core.state is ClientState.CONNECTED
        delivery = DeliveryState("t", b"x", qos)
        assert hand.core.publisher.send_at_once(delivery) == 0
        with pytest.raises(MqttError, match="not connected"):
            hand.core.publish(delivery, hand.now, can_wait=False)

    @pytest.mark.parametrize("qos", [0, 1])
    def test_not_after_giving_up(self, qos: int) -> None:
        hand = Hand().connect()
        hand.publish("t", qos=0)
        hand.core.give_up(RuntimeError("the shell is at its end"))
        assert hand.core.publisher.send_at_once(DeliveryState("t", b"x", qos)) == 0

    def test_not_before_others_that_wait(self) -> None:
        hand = Hand().connect(receive_maximum=1)
        hand.publish("t", b"1")
        hand.publish("t", b"2")
        hand.sent()
        for qos in (0, 1):
            assert hand.core.publisher.send_at_once(DeliveryState("t", b"x", qos)) == 0
        hand.receive(Puback(1))
        assert hand.sent() == bytes.fromhex("32 07 00 01 74 00 02 00 32")
        assert hand.core.publisher.send_at_once(DeliveryState("t", b"x"))
        assert hand.core.publisher.send_at_once(DeliveryState("t", b"x", 1)) == 0

    def test_again_after_a_reconnection(self) -> None:
        hand = Hand().connect()
        hand.publish("t", qos=0)
        hand.lose()
        hand.connect()
        hand.sent()
        assert hand.core.publisher.send_at_once(DeliveryState("t", b"x")) == 7
        hand.core.close(hand.now, 5.0)
        hand.hang_up()
        assert hand.core.publisher.send_at_once(DeliveryState("t", b"x")) == 0
        hand.connect()
        hand.sent()
        assert hand.core.publisher.send_at_once(DeliveryState("t", b"x")) == 7


OPERATIONS = st.lists(
    st.tuples(
        st.just("publish"),
        st.sampled_from(["t", "u", "bad/#"]),
        st.sampled_from([0, 3, 200, 9000, 600_000]),
        st.integers(0, 2),
        st.booleans(),
        st.booleans(),
    )
    | st.tuples(st.sampled_from(["acknowledge", "send", "send", "lose", "connect", "close"])),
    max_size=40,
)


class Either:
    """One of two clients that are to be the same."""

    def __init__(self, properties: dict[str, Any], *, tries: bool) -> None:
        self.tries = tries
        self.properties = properties
        self.hand = Hand(client_id="c", clean_start=False, outbox_messages=5, when_full="raise")
        self.hand.connect(**properties)
        self.deliveries: list[DeliveryState] = []

    def do(self, operation: tuple[Any, ...]) -> object:
        hand = self.hand
        core = hand.core
        if operation[0] == "publish":
            return self.publish(*operation[1:])
        if operation[0] == "acknowledge" and core.is_connected:
            hand.receive(*(Puback(n) for n, d in core.session.outgoing.items() if d.qos == 1))
        if operation[0] == "send":
            return hand.sent()
        if operation[0] == "lose" and core.is_connected:
            hand.lose()
        if operation[0] == "connect" and core.state is ClientState.WAITING:
            hand.connect(session_present=True, **self.properties)
        if operation[0] == "close":
            core.close(hand.now, 5.0)
        return None

    def publish(self, topic: str, size: int, qos: int, retain: bool, expires: bool) -> object:
        properties: Any = {"message_expiry_interval": 9} if expires else None
        delivery = DeliveryState(topic, bytes(size), qos, retain, properties)
        core = self.hand.core
        try:
            if not (self.tries and core.publisher.send_at_once(delivery)):
                core.publish(delivery, self.hand.now, can_wait=False)
        except MqttError as error:
            return str(error)
        self.deliveries.append(delivery)
        return None

    def state(self) -> object:
        core = self.hand.core
        return (
            core.state,
            core.counters,
            core.next_deadline(),
            [(d.fate, d.packet_id, d.awaiting, str(d.error)) for d in self.deliveries],
        )


@settings(deadline=None, max_examples=300, database=None)
@given(
    st.sampled_from(
        [
            {},
            {"receive_maximum": 2},
            {"maximum_qos": 1},
            {"retain_available": 0},
            {"maximum_packet_size": 210},
        ]
    ),
    OPERATIONS,
)
def test_it_is_the_same_as_to_publish(
    properties: dict[str, Any], operations: list[tuple[Any, ...]]
) -> None:
    one, other = Either(properties, tries=True), Either(properties, tries=False)
    for operation in operations:
        assert one.do(operation) == other.do(operation)
        assert one.state() == other.state()
    assert one.do(("send",)) == other.do(("send",))
