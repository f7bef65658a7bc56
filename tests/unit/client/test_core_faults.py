"""Faults that were found in the core: each of these failed once."""

from __future__ import annotations

import pytest

from mqttlite.client import ClientState, DeliveryState, Dial, SubscriptionState
from mqttlite.endpoint import Endpoint
from mqttlite.enums import Fate
from mqttlite.errors import ConnectionClosed, UsageError
from mqttlite.packets import (
    Connack,
    Message,
    Puback,
    Pubcomp,
    Pubrec,
    Suback,
    SubscriptionOptions,
)
from tests.behaviour import rule
from tests.conformance.conforms import conforms
from tests.unit.client.hand import ENDPOINT, Hand


def test_pubcomp_with_unknown_identifier_during_recovery_is_a_success() -> None:
    # The server had released the message; its PUBCOMP was lost with the connection. Table 3-7 of
    # MQTT 5.0: 0x92 "is not an error during recovery".
    hand = Hand(client_id="me", clean_start=False).connect()
    delivery = hand.publish("t", b"x", 2)
    hand.receive(Pubrec(1))
    hand.sent()
    hand.lose()
    hand.connect(session_present=True)
    assert hand.sent().endswith(b"\x62\x02\x00\x01")
    hand.receive(Pubcomp(1, 0x92))
    assert delivery.fate is Fate.ACKNOWLEDGED
    assert delivery.error is None


@rule(25)
@pytest.mark.parametrize(
    ("garbage", "told"),
    [(b"\x36\x03\0\0\0", 0x81), (b"\x30\x7f", 0x95)],
    ids=["malformed", "too large"],
)
def test_what_this_side_finds_wrong_does_not_stop_reconnection(garbage: bytes, told: int) -> None:
    # Rules 9 and 25. Final reason codes are those that the server gives, not those it is given.
    hand = Hand(maximum_packet_size=20).connect()
    hand.sent()
    hand.core.receive(garbage, hand.now)
    assert hand.sent() == bytes((0xE0, 1, told))
    hand.hang_up()
    assert hand.core.state is ClientState.WAITING


def test_close_while_the_transport_fails_to_open_is_final() -> None:
    # The dialing thread reports its failure before the shell has seen the HangUp.
    hand = Hand()
    hand.core.connect(hand.now)
    hand.core.take_action()
    operation = hand.core.close(hand.now, 5.0)
    hand.core.dial_failed(OSError("no route"), hand.now)
    if hand.core.take_action() is not None:
        hand.lose()
    assert operation.done
    assert hand.core.state is ClientState.IDLE
    assert hand.core.next_deadline() is None


def test_transport_that_opens_after_the_hang_up_is_not_used() -> None:
    hand = Hand(connect_timeout=5.0)
    operation = hand.core.connect(hand.now)
    hand.core.take_action()
    hand.pass_deadline()
    hand.core.transport_opened(hand.now)
    assert hand.sent() == b""
    hand.hang_up()
    assert operation.done
    assert isinstance(operation.error, TimeoutError)


def test_failed_connect_fails_what_was_published_meanwhile() -> None:
    hand = Hand()
    hand.core.connect(hand.now)
    delivery = hand.publish("t", b"x", 1)
    hand.core.take_action()
    hand.core.dial_failed(OSError("no route"), hand.now)
    assert delivery.fate is Fate.CLOSED
    assert delivery in hand.core.finished


def test_failed_connect_ends_the_wait_for_a_subscription() -> None:
    hand = Hand()
    hand.core.connect(hand.now)
    waited_for = hand.subscribe("t").subscribed
    hand.core.take_action()
    hand.core.dial_failed(OSError("no route"), hand.now)
    assert waited_for.done
    assert waited_for.error is not None


def test_a_shell_that_gives_up_leaves_nothing_that_takes_messages() -> None:
    # The I/O thread has failed, or the process has forked.
    hand = Hand().connect()
    hand.core.give_up(RuntimeError("the thread is gone"))
    with pytest.raises(ConnectionClosed):
        hand.publish("t", b"", 1)
    with pytest.raises(ConnectionClosed):
        hand.publish("t", b"", 0)
    assert hand.core.next_deadline() is None


def test_a_shell_that_gives_up_ends_the_wait_for_connect() -> None:
    hand = Hand()
    operation = hand.core.connect(hand.now)
    hand.core.give_up(RuntimeError("the thread is gone"))
    assert operation.done


def test_a_shell_that_gives_up_ends_the_wait_for_close() -> None:
    hand = Hand().connect()
    operation = hand.core.close(hand.now, 5.0)
    hand.core.give_up(RuntimeError("the thread is gone"))
    assert operation.done


def test_expired_messages_take_no_memory() -> None:
    hand = Hand().connect()
    hand.lose()
    for _ in range(1000):
        hand.now += 1
        hand.publish("t", b"x", 1, message_expiry_interval=5)
        hand.core.publisher.outbox.take_expired(hand.now)
    assert len(hand.core.publisher.outbox) <= 6
    assert len(hand.core.publisher.outbox._queue) < 50


def test_sent_messages_are_not_kept_for_their_expiry() -> None:
    hand = Hand().connect(receive_maximum=1)
    for _ in range(1000):
        hand.publish("t", b"x", 1, message_expiry_interval=86_400)
    for packet_id in range(1, 1001):
        hand.receive(Puback(packet_id))
        hand.sent()
    assert not hand.core.publisher.outbox
    assert len(hand.core.publisher.outbox._expiring) < 50


def test_connect_from_the_server_raises_nothing() -> None:
    # CONNECT of an unknown protocol: 0x84 is no reason code of DISCONNECT.
    hand = Hand().connect()
    hand.sent()
    hand.core.receive(b"\x10\x05\0\1X\1\0", hand.now)
    assert hand.sent() == b"\xe0\x01\x82"


def test_close_with_the_smallest_packets() -> None:
    # DISCONNECT with a session expiry has 9 bytes.
    hand = Hand().connect(maximum_packet_size=9)
    hand.sent()
    hand.core.close(hand.now, 5.0)
    assert hand.sent()[:1] == b"\xe0"
    assert hand.core.state is ClientState.HANGING_UP


def test_unsubscribe_is_split_as_subscribe_is() -> None:
    hand = Hand().connect(maximum_packet_size=100)
    subscription = hand.subscribe([f"filter/{number:03}" for number in range(30)])
    hand.sent()
    hand.core.end_subscription(subscription, processed=True)
    assert hand.sent()[:1] == b"\xa2"


def test_refusal_of_many_filters_raises_nothing() -> None:
    hand = Hand().connect(maximum_packet_size=100)
    hand.sent()
    subscription = hand.subscribe([f"filter/{number:03}" for number in range(30)])
    sent = hand.sent()
    count = sent[: 2 + sent[1]].count(b"filter/")
    hand.receive(Suback(int.from_bytes(sent[2:4]), [0x87] * count))
    assert subscription.ended


def test_too_large_filter_on_reconnection_raises_nothing() -> None:
    hand = Hand().connect()
    subscription = hand.subscribed("a/rather/long/topic/filter")
    hand.lose()
    hand.connect(maximum_packet_size=20)
    assert subscription.ended


def test_user_properties_of_subscribe_are_not_left_out_in_a_batch() -> None:
    hand = Hand().connect(maximum_packet_size=100)
    hand.sent()
    filters = [f"filter/{number:02}" for number in range(6)]
    hand.subscribe(filters, user_properties=[("a", "b" * 30)])
    sent = hand.sent()
    assert sent.count(b"filter/") == 6
    assert sent.count(b"b" * 30) == sent.count(b"\x00\x01a\x00\x1e") > 1


@pytest.mark.parametrize(
    "properties", [{"topic_alias": 5}, {"subscription_identifiers": [5]}], ids=str
)
def test_properties_that_a_client_must_not_send(properties: dict[str, object]) -> None:
    # [MQTT-3.2.2-18] [MQTT-3.3.4-6]: refused before a byte is sent.
    hand = Hand().connect()
    hand.sent()
    with pytest.raises(UsageError):
        hand.publish("t", b"", 1, **properties)
    assert hand.sent() == b""


@conforms("3.1.1", "MQTT-3.1.3-7")
@rule(31)
def test_empty_client_id_is_never_sent_without_clean_session() -> None:
    # 3.1.1 [MQTT-3.1.3-7]: it is refused when the client is made, if that is known then.
    with pytest.raises(UsageError, match="needs a client_id"):
        Hand(version="3.1.1", session_expiry_interval=60)
    # And no fallback is made to a version in which it would be sent.
    hand = Hand(session_expiry_interval=60)
    hand.dial()
    hand.core.receive(b"\x20\x02\x00\x01", hand.now)
    hand.hang_up()
    assert hand.core.take_action() is None
    assert hand.core.state is ClientState.IDLE


def test_messages_left_to_be_delivered_again_do_not_use_up_the_quota() -> None:
    # A consumer that fails leaves a whole buffer behind: nothing would ever come again.
    hand = Hand(receive_maximum=3).connect()
    subscription = hand.subscribed("t")
    hand.receive(*(Message("t", b"", 1, packet_id=each) for each in (1, 2, 3)))
    hand.core.end_subscription(subscription, processed=False)
    # Acknowledged with a failure, or a new connection: anything but silence.
    assert b"\x40" in hand.sent() or hand.core.state is not ClientState.CONNECTED


def test_refused_subscription_does_not_hold_back_the_acknowledgements_of_others() -> None:
    hand = Hand().connect()
    hand.sent()
    hand.subscribe(["a", "b"])
    hand.sent()
    hand.receive(Message("a", b"", 1, packet_id=9), Suback(1, [1, 0x87]))
    hand.sent()
    hand.receive(Message("of nobody", b"", 1, packet_id=10))
    assert b"\x40\x02\x00\x0a" in hand.sent()


def test_message_of_qos_2_in_the_unmatched_buffer_comes_again_after_close() -> None:
    hand = Hand(client_id="me", clean_start=False)
    hand.core.subscribe_unmatched(SubscriptionState((), SubscriptionOptions(qos=2)))
    hand.connect()
    hand.receive(Message("t", b"x", 2, packet_id=9))
    hand.core.close(hand.now, 5.0)
    hand.hang_up()
    again = SubscriptionState((), SubscriptionOptions(qos=2))
    hand.core.subscribe_unmatched(again)
    hand.connect(session_present=True)
    hand.receive(Message("t", b"x", 2, dup=True, packet_id=9))
    assert [message.payload for message in again.buffer] == [b"x"]


def test_message_of_qos_2_comes_again_to_who_connects_again_after_giving_up() -> None:
    hand = Hand(client_id="me", clean_start=False, reconnect=None).connect()
    hand.subscribed("t", 2)
    hand.receive(Message("t", b"x", 2, packet_id=9))
    hand.lose()
    hand.core.connect(hand.now)
    again = hand.subscribe("t", 2)
    hand.connect_now(session_present=True)
    hand.receive(Message("t", b"x", 2, dup=True, packet_id=9))
    assert [message.payload for message in again.buffer] == [b"x"]


def test_subscription_can_be_declared_after_giving_up() -> None:
    # Rule 14: before connecting again, so that nothing of the resumed session is missed.
    hand = Hand(reconnect=None).connect()
    hand.lose()
    hand.subscribe("t")


@rule(20)
def test_expiry_counts_down_for_what_is_published_again() -> None:
    # Rule 20. It was sent at once, the session was lost, and its time is over.
    hand = Hand().connect()
    delivery = hand.publish("t", b"", 1, message_expiry_interval=10)
    hand.sent()
    hand.lose()
    hand.now += 100
    hand.core.handle_deadline(hand.now)
    hand.connect_now()
    assert delivery.fate is Fate.EXPIRED
    assert b"\x32" not in hand.sent()


def test_expired_message_is_not_sent_though_nobody_looked_at_the_clock() -> None:
    hand = Hand()
    hand.core.connect(hand.now)
    delivery = hand.publish("t", b"", 1, message_expiry_interval=5)
    hand.now += 10
    hand.connect_now()
    hand.sent()
    assert delivery.fate is Fate.EXPIRED


def test_second_server_is_tried_although_the_first_does_not_answer() -> None:
    # Rule 11; one deadline covers them all.
    other = Endpoint("mqtt", "other.example", 1883)
    hand = Hand(endpoints=(ENDPOINT, other), connect_timeout=30.0)
    operation = hand.core.connect(hand.now)
    dialed = []
    while not operation.done:
        action = hand.core.take_action()
        if isinstance(action, Dial):
            dialed.append(action.endpoint)
        elif action is not None:
            hand.lose()
        else:
            hand.pass_deadline()
    assert dialed == [ENDPOINT, other]
    assert hand.now <= 1030.0


def test_connack_after_the_deadline_does_not_count() -> None:
    hand = Hand(connect_timeout=5.0)
    operation = hand.core.connect(hand.now)
    hand.core.take_action()
    hand.core.transport_opened(hand.now)
    hand.pass_deadline()
    hand.receive(Connack())
    hand.hang_up()
    assert isinstance(operation.error, TimeoutError)


def test_resent_message_obeys_the_new_limits_of_the_server() -> None:
    # [MQTT-3.2.2-11] [MQTT-3.2.2-14]
    hand = Hand(client_id="me", clean_start=False).connect()
    delivery = DeliveryState("t", b"", 2, True)
    hand.core.publish(delivery, hand.now, can_wait=False)
    hand.sent()
    hand.lose()
    hand.connect(session_present=True, maximum_qos=1, retain_available=0)
    assert b"\x3d\x06\x00\x01t" not in hand.sent()
    assert delivery.done


def test_mqtt_3_1_keeps_the_messages_that_may_not_come_again() -> None:
    # CONNACK does not say whether the server has the session: better twice than never.
    hand = Hand(version="3.1", client_id="me", clean_start=False)
    subscription = hand.subscribe("t")
    hand.connect()
    hand.receive(Message("t", b"x", 1, packet_id=1))
    hand.lose()
    hand.connect()
    assert [message.payload for message in subscription.buffer] == [b"x"]


def test_subscribing_is_possible_with_a_full_table_of_messages() -> None:
    hand = Hand(version="3.1.1", client_id="me").connect()
    for _ in range(65_535):
        hand.publish("t", b"", 1)
        hand.sent()
    hand.subscribe("t")
    assert hand.sent()[:1] == b"\x82"


def test_transport_that_opens_after_the_shell_has_obeyed_the_hang_up_is_closed() -> None:
    # asyncio: the dialing task is done already, so that to cancel it does nothing.
    hand = Hand(connect_timeout=5.0)
    operation = hand.core.connect(hand.now)
    hand.core.take_action()
    hand.pass_deadline()
    assert hand.core.take_action() is not None
    hand.core.transport_opened(hand.now)
    assert hand.sent() == b""
    hand.hang_up()
    assert isinstance(operation.error, TimeoutError)


def test_dial_that_fails_after_the_hang_up_ends_the_attempt() -> None:
    hand = Hand(endpoints=(ENDPOINT, ENDPOINT), connect_timeout=5.0)
    operation = hand.core.connect(hand.now)
    hand.core.take_action()
    hand.core.cancel_connect(hand.now)
    assert hand.core.take_action() is not None
    hand.core.dial_failed(OSError("no route"), hand.now)
    assert operation.done
    assert hand.core.state is ClientState.IDLE
    assert hand.core.take_action() is None


def test_attempt_that_timed_out_is_over_though_the_shell_reports_a_failure() -> None:
    hand = Hand(endpoints=(ENDPOINT, ENDPOINT), connect_timeout=5.0)
    hand.core.connect(hand.now)
    hand.core.take_action()
    hand.pass_deadline()
    assert hand.core.take_action() is not None
    hand.core.dial_failed(OSError("no route"), hand.now)
    # Whatever it does now, it does not do it without a deadline.
    assert hand.core.state is ClientState.IDLE or hand.core.next_deadline() is not None


def test_cancelled_connect_is_cancelled_though_connack_comes() -> None:
    hand = Hand()
    operation = hand.core.connect(hand.now)
    hand.core.take_action()
    hand.core.transport_opened(hand.now)
    hand.core.cancel_connect(hand.now)
    hand.receive(Connack())
    hand.hang_up()
    assert operation.error is not None
    assert hand.core.state is ClientState.IDLE


def test_a_shell_that_gives_up_leaves_no_connection_to_publish_on() -> None:
    hand = Hand().connect(maximum_qos=0)
    hand.core.give_up(RuntimeError("the shell is at its end"))
    hand.core.connect(hand.now)
    assert hand.publish("t", qos=0).fate is Fate.DROPPED  # as without any connection before
    assert hand.publish("t", qos=1).fate is Fate.PENDING  # the next server may take it
