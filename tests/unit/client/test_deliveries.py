"""What becomes of messages that are published (rules 20 and 21)."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import ClientState, DeliveryState, Operation
from mqttlite.enums import Fate, PacketType
from mqttlite.errors import (
    ConnectionClosed,
    InvalidTopic,
    NotSupported,
    PacketTooLarge,
    PublishError,
    QueueFull,
    UsageError,
)
from mqttlite.packets import Puback, Pubcomp, Pubrec
from mqttlite.protocol import Outgoing
from tests.behaviour import rule
from tests.unit.client.hand import Hand


def persistent(**options: Any) -> Hand:
    return Hand(client_id="me", clean_start=False, **options)


def park(hand: Hand, payload: bytes = b"x", qos: int = 1) -> DeliveryState:
    delivery = DeliveryState("t", payload, qos)
    delivery.waiters = ["somebody"]
    hand.core.publish(delivery, hand.now, can_wait=True)
    return delivery


class TestOperation:
    def test_value(self) -> None:
        operation: Operation[int] = Operation()
        operation.value = 5
        assert operation.result() == 5

    def test_error(self) -> None:
        operation: Operation[int] = Operation()
        operation.error = RuntimeError("why")
        with pytest.raises(RuntimeError, match="why"):
            operation.result()

    def test_finished_once(self) -> None:
        hand = Hand()
        operation: Operation[int] = Operation()
        operation.waiters = ["somebody"]
        hand.core.finish(operation, 1)
        hand.core.finish(operation, 2, RuntimeError())
        assert operation.result() == 1
        assert hand.core.finished == [operation]


class TestSent:
    def test_qos_0(self) -> None:
        hand = Hand().connect()
        hand.sent()
        delivery = hand.publish("t", b"x", 0)
        assert delivery.fate is Fate.SENT
        assert delivery.done
        assert delivery.error is None
        assert hand.core.finished == []  # it was known at once
        assert hand.sent() == b"\x30\x05\0\1t\0x"

    def test_qos_1(self) -> None:
        hand = Hand().connect()
        delivery = hand.publish("t", b"x", 1)
        assert delivery.fate is Fate.PENDING
        assert not delivery.done
        hand.receive(Puback(1, 0x10, {"reason_string": "none", "user_properties": [("a", "b")]}))
        assert delivery.fate is Fate.ACKNOWLEDGED  # type: ignore[comparison-overlap]
        assert delivery.reason_code == 0x10
        assert delivery.reason_string == "none"
        assert delivery.user_properties == [("a", "b")]
        assert hand.core.finished == [delivery]

    def test_qos_2(self) -> None:
        hand = Hand().connect()
        delivery = hand.publish("t", b"x", 2)
        hand.receive(Pubrec(1))
        assert not delivery.done
        hand.receive(Pubcomp(1))
        assert delivery.fate is Fate.ACKNOWLEDGED
        assert delivery.reason_string is None
        assert delivery.user_properties == []

    def test_properties(self) -> None:
        hand = Hand().connect()
        hand.sent()
        delivery = hand.publish("t", b"x", 0, content_type="c")
        assert delivery.expires_at is None
        assert hand.sent() == b"\x30\x09\0\1t\4\3\0\1cx"

    def test_nobody_waits(self) -> None:
        hand = Hand().connect()
        delivery = DeliveryState("t", b"", 1)
        hand.core.publish(delivery, hand.now, can_wait=False)
        hand.receive(Puback(1))
        assert delivery.fate is Fate.ACKNOWLEDGED
        assert hand.core.finished == []

    def test_refused(self) -> None:
        hand = Hand().connect()
        delivery = hand.publish("a/b", b"", 1)
        hand.receive(Puback(1, 0x87, {"reason_string": "no"}))
        assert delivery.fate is Fate.REFUSED
        error = delivery.error
        assert isinstance(error, PublishError)
        assert str(error) == (
            "the message to 'a/b' was refused by the server: not authorized (0x87), no"
        )
        assert error.fate is Fate.REFUSED
        assert error.reason_code == 0x87
        assert error.reason_string == "no"

    def test_refused_without_an_explanation(self) -> None:
        hand = Hand().connect()
        delivery = hand.publish("t", b"", 2)
        hand.receive(Pubrec(1, 0x97))
        assert str(delivery.error) == (
            "the message to 't' was refused by the server: quota exceeded (0x97)"
        )

    @rule(8)
    def test_repr_does_not_show_the_payload(self) -> None:
        delivery = DeliveryState("t", b"secret", 1)
        assert repr(delivery) == "DeliveryState('t', 6 bytes, qos=1, pending)"
        assert repr(Outgoing("t", b"secret", 2)) == "Outgoing('t', 6 bytes, qos=2)"


class TestRefusedBeforeItIsSent:
    @pytest.mark.parametrize("connected", [True, False])
    @pytest.mark.parametrize(
        ("topic", "qos", "properties", "error"),
        [
            ("a/+", 0, {}, InvalidTopic),
            ("a/+", 1, {}, InvalidTopic),
            ("t", 1, {"content_type": 5}, UsageError),
            ("t", 1, {"reason_string": "x"}, UsageError),
            ("t", 1, {"topic_alias": 1}, UsageError),
        ],
    )
    def test_wrong(
        self, connected: bool, topic: str, qos: int, properties: Any, error: type[Exception]
    ) -> None:
        hand = persistent()
        if connected:
            hand.connect()
        else:
            hand.core.connect(hand.now)
        hand.sent()
        with pytest.raises(error):
            hand.publish(topic, b"", qos, **properties)
        assert hand.sent() == b""
        assert not hand.core.publisher.outbox

    @pytest.mark.parametrize(
        "topic",
        [
            "",
            "a/#",
            "a\0",
            "\ud800",
            "x" * 65_536,
            None,
            5,
            b"t",
            ["t"],
        ],
    )
    def test_topics_are_not_sent_at_once(self, topic: Any) -> None:
        hand = Hand().connect()
        hand.sent()
        for qos in (0, 1):
            delivery = DeliveryState(topic, b"", qos)
            assert hand.core.publisher.send_at_once(delivery) == 0
            with pytest.raises(InvalidTopic):
                hand.core.publish(delivery, hand.now, can_wait=False)
            assert hand.core.publisher.send_at_once(delivery) == 0  # nor later
        assert hand.sent() == b""
        assert not hand.core.session.outgoing

    def test_limits_of_the_server(self) -> None:
        hand = Hand().connect(maximum_qos=0, maximum_packet_size=50)
        with pytest.raises(NotSupported):
            hand.publish("t", b"", 1)
        with pytest.raises(PacketTooLarge):
            hand.publish("t", b"x" * 50, 0)

    def test_limits_of_the_server_while_others_wait(self) -> None:
        hand = Hand().connect(receive_maximum=1, maximum_packet_size=50)
        hand.publish("t", b"", 1)
        hand.publish("t", b"", 1)
        with pytest.raises(PacketTooLarge):
            hand.publish("t", b"x" * 50, 1)

    def test_not_connected(self) -> None:
        hand = Hand()
        with pytest.raises(ConnectionClosed, match="call connect"):
            hand.publish("t")

    def test_closing(self) -> None:
        hand = Hand().connect()
        hand.publish("t", b"", 1)
        hand.core.close(hand.now, 5.0)
        with pytest.raises(ConnectionClosed, match="call connect"):
            hand.publish("t")
        with pytest.raises(ConnectionClosed):
            hand.subscribe("t")

    def test_given_up(self) -> None:
        hand = Hand(reconnect=None).connect()
        hand.lose(OSError("reset by peer"))
        with pytest.raises(ConnectionClosed, match=r"given up: .*reset by peer"):
            hand.publish("t")


class TestQueued:
    def test_until_there_is_quota(self) -> None:
        hand = Hand().connect(receive_maximum=1)
        hand.sent()
        first, second = hand.publish("t", b"1", 1), hand.publish("t", b"2", 1)
        assert hand.sent() == b"\x32\x07\0\1t\0\1\x001"
        hand.receive(Puback(1))
        assert first.fate is Fate.ACKNOWLEDGED
        assert hand.sent() == b"\x32\x07\0\1t\0\2\x002"
        hand.receive(Puback(2))
        assert second.fate is Fate.ACKNOWLEDGED

    @rule(16)
    def test_qos_0_does_not_overtake(self) -> None:
        hand = Hand().connect(receive_maximum=1)
        hand.sent()
        hand.publish("t", b"1", 1)
        hand.publish("t", b"2", 1)
        third = hand.publish("t", b"3", 0)
        assert third.fate is Fate.PENDING
        hand.sent()
        hand.receive(Puback(1))
        assert hand.sent() == b"\x32\x07\0\1t\0\2\x002" + b"\x30\x05\0\1t\x003"
        assert third.fate is Fate.SENT  # type: ignore[comparison-overlap]
        assert third in hand.core.finished

    def test_until_the_network_has_taken_what_is_there(self) -> None:
        hand = Hand().connect()
        hand.sent()
        deliveries = [hand.publish("t", bytes(100_000), 0) for _ in range(20)]
        assert [each.fate for each in deliveries] == [Fate.SENT] * 11 + [Fate.PENDING] * 9
        assert hand.core.unsent_size > 1 << 20
        assert len(hand.sent()) > 2_000_000
        assert all(each.fate is Fate.SENT for each in deliveries)
        assert hand.core.unsent_size == 0

    def test_until_there_is_a_connection(self) -> None:
        hand = persistent()
        hand.core.connect(hand.now)
        first, second = hand.publish("t", b"1", 1), hand.publish("t", b"2", 2)
        hand.connect_now()
        assert hand.sent().endswith(b"\x32\x07\0\1t\0\1\x001" + b"\x34\x07\0\1t\0\2\x002")
        assert not first.done
        assert not second.done

    @rule(20)
    def test_qos_0_without_a_connection_is_dropped(self) -> None:
        hand = Hand()
        hand.core.connect(hand.now)
        delivery = hand.publish("t", b"", 0)
        assert delivery.fate is Fate.DROPPED
        assert isinstance(delivery.error, PublishError)
        assert str(delivery.error) == "the message to 't' was dropped"
        assert delivery.error.reason_code is None

    @rule(20)
    def test_qos_0_without_a_connection_is_queued_on_request(self) -> None:
        hand = Hand(queue_qos_0=True)
        hand.core.connect(hand.now)
        delivery = hand.publish("t", b"x", 0)
        assert delivery.fate is Fate.PENDING
        hand.connect_now()
        assert hand.sent().endswith(b"\x30\x05\0\1t\0x")
        assert delivery.fate is Fate.SENT  # type: ignore[comparison-overlap]

    @pytest.mark.parametrize(("queue_qos_0", "fate"), [(False, Fate.DROPPED), (True, Fate.PENDING)])
    def test_qos_0_when_the_connection_is_lost(self, queue_qos_0: bool, fate: Fate) -> None:
        hand = Hand(queue_qos_0=queue_qos_0).connect(receive_maximum=1)
        hand.publish("t", b"", 1)
        hand.publish("t", b"", 1)
        delivery = hand.publish("t", b"", 0)
        silent = DeliveryState("t", b"", 0)
        hand.core.publish(silent, hand.now, can_wait=False)
        hand.lose()
        assert delivery.fate is silent.fate is fate
        assert (delivery in hand.core.finished) is (fate is Fate.DROPPED)
        assert silent not in hand.core.finished

    def test_what_the_next_server_does_not_take(self) -> None:
        hand = persistent()
        hand.core.connect(hand.now)
        large, small = hand.publish("t", b"x" * 50, 1), hand.publish("t", b"x", 1)
        hand.connect_now(maximum_packet_size=30)
        assert large.fate is Fate.DROPPED
        assert isinstance(large.error, PacketTooLarge)
        assert not small.done
        assert hand.sent().endswith(b"\x32\x07\0\1t\0\1\0x")


class TestFullOutbox:
    def full(self, **options: Any) -> tuple[Hand, DeliveryState]:
        hand = persistent(outbox_messages=1, **options)
        hand.core.connect(hand.now)
        return hand, hand.publish("t", b"1", 1)

    @rule(20)
    def test_wait(self) -> None:
        hand, first = self.full()
        with pytest.raises(QueueFull):
            hand.publish("t")
        second = park(hand)
        assert not second.done
        hand.connect_now()
        assert b"\x32\x07\0\1t\0\2\0x" in hand.sent()
        hand.receive(Puback(1), Puback(2))
        assert first.fate is second.fate is Fate.ACKNOWLEDGED

    def test_who_does_not_wait_any_more(self) -> None:
        hand, first = self.full()
        second = park(hand)
        hand.core.withdraw(second)
        assert second.fate is Fate.DROPPED
        hand.core.withdraw(first)  # it was accepted
        assert not first.done
        hand.connect_now()
        assert hand.sent().count(b"\0\1t\0") == 1

    @rule(20)
    def test_raise(self) -> None:
        hand, _ = self.full(when_full="raise")
        with pytest.raises(QueueFull):
            park(hand)

    @rule(20)
    def test_drop_oldest(self) -> None:
        hand, first = self.full(when_full="drop_oldest")
        second = hand.publish("t", b"2", 1)
        assert first.fate is Fate.DROPPED
        assert hand.core.finished == [first]
        assert not second.done

    @rule(20)
    def test_drop_newest(self) -> None:
        hand, first = self.full(when_full="drop_newest")
        second = hand.publish("t", b"2", 1)
        assert second.fate is Fate.DROPPED
        assert not first.done


class TestExpiry:
    def test_deadline(self) -> None:
        hand = persistent().connect()
        hand.lose()
        delivery = hand.publish("t", b"", 1, message_expiry_interval=0)
        silent = DeliveryState("t", b"", 1, False, {"message_expiry_interval": 0})
        hand.core.publish(silent, hand.now, can_wait=False)
        assert hand.core.next_deadline() == hand.now
        hand.core.handle_deadline(hand.now)
        assert delivery.fate is silent.fate is Fate.EXPIRED
        assert hand.core.finished == [delivery]
        assert str(delivery.error) == "the message to 't' expired before it could be sent"

    @rule(20)
    def test_what_is_left_is_told(self) -> None:
        # Section 3.3.2.3.3
        hand = persistent()
        hand.core.connect(hand.now)
        properties: Any = {"message_expiry_interval": 100}
        delivery = DeliveryState("t", b"", 1, False, properties)
        hand.core.publish(delivery, hand.now, can_wait=False)
        hand.now += 30.5
        hand.connect_now()
        assert hand.sent().endswith(b"\x32\x0b\0\1t\0\1\x05\x02\0\0\0\x46")
        assert properties == {"message_expiry_interval": 100}  # the caller's own

    def test_what_is_sent_at_once_is_told_all(self) -> None:
        hand = Hand().connect()
        hand.sent()
        hand.publish("t", b"", 0, message_expiry_interval=7)
        assert hand.sent() == b"\x30\x09\0\1t\x05\x02\0\0\0\x07"


class TestSessions:
    @rule(13)
    def test_lost_session_publishes_again(self) -> None:
        # Rule 13: what was never acknowledged, in order, before what waits.
        hand = Hand().connect(receive_maximum=2)
        deliveries = [hand.publish("t", b"%d" % number, 1 + number % 2) for number in range(4)]
        hand.sent()
        hand.lose()
        hand.connect()
        sent = hand.sent()
        assert sent.endswith(
            b"\x32\x07\0\1t\0\3\x000\x34\x07\0\1t\0\4\x001"
            b"\x32\x07\0\1t\0\5\x002\x34\x07\0\1t\0\6\x003"
        )
        assert not any(each.done for each in deliveries)

    @rule(13, 21)
    def test_message_of_qos_2_that_the_server_had_is_lost(self) -> None:
        hand = Hand().connect()
        lost, again = hand.publish("t", b"1", 2), hand.publish("t", b"2", 2)
        hand.receive(Pubrec(1))
        hand.sent()
        hand.lose()
        hand.connect()
        assert lost.fate is Fate.LOST
        assert "the server lost the session" in str(lost.error)
        assert lost in hand.core.finished
        assert not again.done
        assert hand.sent().endswith(b"\x34\x07\0\1t\0\3\x002")

    def test_close_settles_everything(self) -> None:
        hand = persistent().connect(receive_maximum=1)
        under_way, waiting = hand.publish("t", b"1", 1), hand.publish("t", b"2", 1)
        parked = park(hand)
        hand.core.close(hand.now, 5.0, drain=False)
        hand.hang_up()
        for each in (under_way, waiting, parked):
            assert each.fate is Fate.CLOSED
            assert isinstance(each.error, PublishError)
            assert isinstance(each.error.__cause__, ConnectionClosed)
            assert each in hand.core.finished

    def test_kept_session_goes_on_in_the_next_life_of_the_client(self) -> None:
        hand = persistent().connect()
        delivery = hand.publish("t", b"1", 2)
        hand.sent()
        hand.core.close(hand.now, 5.0, drain=False)
        hand.hang_up()
        assert delivery.fate is Fate.CLOSED
        error = delivery.error
        hand.core.finished.clear()
        hand.core.close(hand.now, 5.0)
        assert delivery.error is error  # it was settled once
        assert hand.core.finished == []
        hand.connect(session_present=True)
        assert hand.sent().endswith(b"\x3c\x07\0\1t\0\1\x001")
        hand.receive(Pubrec(1), Pubcomp(1))
        assert delivery.fate is Fate.CLOSED
        assert not hand.core.session.outgoing

    def test_lost_session_forgets_what_was_settled_before(self) -> None:
        hand = persistent().connect()
        hand.publish("t", b"1", 2)
        hand.core.close(hand.now, 5.0, drain=False)
        hand.hang_up()
        hand.connect()
        assert not hand.core.session.outgoing
        assert b"\0\1t\0" not in hand.sent()

    def test_messages_of_others_in_the_session_are_left_alone(self) -> None:
        hand = persistent()
        foreign = Outgoing("t", b"", 1)
        foreign.packet_id = 7
        foreign.awaiting = PacketType.PUBACK
        hand.core.session.outgoing[7] = foreign
        hand.connect(session_present=True)
        hand.receive(Puback(7))
        assert not hand.core.session.outgoing
        hand.core.session.outgoing[8] = foreign
        hand.core.close(hand.now, 5.0, drain=False)
        hand.hang_up()
        hand.connect()
        assert hand.core.state is ClientState.CONNECTED
        assert not hand.core.session.outgoing
