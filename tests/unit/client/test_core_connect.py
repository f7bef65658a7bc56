"""Connecting, reconnecting and closing, as the core does it."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import (
    ClientState,
    Connected,
    Dial,
    Disconnected,
    HangUp,
    make_subscription,
)
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ClosedBy, Fate, ProtocolVersion
from mqttlite.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConnectRefused,
    KeepAliveTimeout,
    UsageError,
)
from mqttlite.options import TLS, Reconnect
from mqttlite.packets import Connack, Disconnect, Puback, Suback
from tests.behaviour import rule
from tests.unit.client.hand import ENDPOINT, Hand

OTHER = Endpoint("mqtt", "other.example", 1883)


class TestConnecting:
    def test_success(self) -> None:
        hand = Hand()
        assert hand.core.is_idle
        operation = hand.core.connect(hand.now)
        assert hand.core.state is ClientState.DIALING
        assert not hand.core.is_idle
        assert hand.core.take_action() == Dial(ENDPOINT, TLS())
        assert hand.core.take_action() is None
        assert hand.sent() == b""
        hand.core.transport_opened(hand.now)
        assert hand.sent()[:1] == b"\x10"
        hand.receive(Connack(properties={"assigned_client_identifier": "it"}))
        assert hand.core.is_connected
        assert hand.core.client_id == "it"
        connack = operation.result()
        assert hand.core.connack is connack
        assert hand.core.events == [Connected(connack, "mqtt://server.example:1883")]
        assert hand.core.version is ProtocolVersion.MQTT_5_0

    def test_twice(self) -> None:
        hand = Hand()
        hand.core.connect(hand.now)
        with pytest.raises(UsageError, match="connected already"):
            hand.core.connect(hand.now)

    def test_transport_fails(self) -> None:
        hand = Hand()
        operation = hand.core.connect(hand.now)
        cause = OSError("no route")
        hand.core.dial_failed(cause, hand.now)
        with pytest.raises(ConnectFailed, match=r"mqtt://server\.example:1883: no route") as raised:
            operation.result()
        assert raised.value.__cause__ is cause
        assert hand.core.state is ClientState.IDLE
        assert hand.core.events == []
        assert hand.core.next_deadline() is None
        hand.connect()

    def test_transport_fails_with_an_error_of_its_own(self) -> None:
        hand = Hand()
        operation = hand.core.connect(hand.now)
        hand.core.dial_failed(error := UsageError("no such file"), hand.now)
        assert operation.error is error

    def test_refused(self) -> None:
        hand = Hand()
        operation = hand.core.connect(hand.now)
        hand.core.take_action()
        hand.core.transport_opened(hand.now)
        hand.receive(Connack(False, 0x87))
        assert hand.hang_up() == HangUp(graceful=False)
        assert isinstance(operation.error, ConnectRefused)
        assert operation.error.reason_code == 0x87

    @pytest.mark.parametrize("error", [None, OSError("reset")])
    def test_end_before_connack(self, error: Exception | None) -> None:
        hand = Hand()
        operation = hand.core.connect(hand.now)
        hand.core.take_action()
        hand.core.transport_opened(hand.now)
        hand.lose(error)
        assert isinstance(operation.error, ConnectFailed)
        assert "before CONNACK" in str(operation.error)
        assert operation.error.__cause__ is error

    def test_no_connack_in_time(self) -> None:
        # Rule 1.
        hand = Hand(connect_timeout=5.0)
        operation = hand.core.connect(hand.now)
        hand.core.take_action()
        hand.now += 2
        hand.core.transport_opened(hand.now)
        assert hand.core.next_deadline() == 1005.0
        hand.pass_deadline()
        assert hand.hang_up() == HangUp(graceful=False)
        assert isinstance(operation.error, TimeoutError)
        assert "5 seconds" in str(operation.error)

    def test_several_servers_share_the_time(self) -> None:
        hand = Hand(endpoints=(ENDPOINT, OTHER), connect_timeout=10.0)
        operation = hand.core.connect(hand.now)
        assert hand.core.take_action() == Dial(ENDPOINT, TLS())
        assert hand.core.next_deadline() == 1005.0
        hand.now += 1
        hand.core.dial_failed(OSError(), hand.now)
        assert hand.core.take_action() == Dial(OTHER, TLS())
        assert hand.core.next_deadline() == 1010.0
        hand.core.dial_failed(OSError("last"), hand.now)
        assert operation.error is not None
        assert "other.example" in str(operation.error)

    def test_fall_back_to_mqtt_3_1_1(self) -> None:
        hand = Hand()
        operation = hand.core.connect(hand.now)
        hand.core.take_action()
        hand.core.transport_opened(hand.now)
        hand.core.receive(b"\x20\2\0\1", hand.now)
        hand.hang_up()
        assert hand.core.take_action() == Dial(ENDPOINT, version=ProtocolVersion.MQTT_3_1_1)
        hand.core.transport_opened(hand.now)
        assert hand.sent()[8:9] == b"\4"
        hand.core.receive(b"\x20\2\0\0", hand.now)
        assert operation.done
        assert hand.core.version is ProtocolVersion.MQTT_3_1_1

    def test_no_fall_back_from_a_version_that_was_asked_for(self) -> None:
        hand = Hand(version="5.0")
        operation = hand.core.connect(hand.now)
        hand.core.take_action()
        hand.core.transport_opened(hand.now)
        hand.core.receive(b"\x20\2\0\1", hand.now)
        hand.hang_up()
        assert operation.done
        assert hand.core.take_action() is None

    def test_nothing_is_received_without_a_connection(self) -> None:
        hand = Hand()
        hand.core.receive(b"\x30", hand.now)
        assert hand.core.unsent_size == 0
        assert hand.core.state is ClientState.IDLE


class TestCancelling:
    def test_while_idle(self) -> None:
        hand = Hand()
        hand.core.cancel_connect(hand.now)
        assert hand.core.state is ClientState.IDLE

    def test_while_dialing(self) -> None:
        hand = Hand()
        operation = hand.core.connect(hand.now)
        hand.core.take_action()
        hand.core.cancel_connect(hand.now)
        assert hand.hang_up() == HangUp(graceful=False)
        assert isinstance(operation.error, ConnectFailed)
        assert operation.error.by is ClosedBy.CLIENT
        assert hand.core.state is ClientState.IDLE
        assert hand.core.next_deadline() is None

    def test_when_it_is_connected_already(self) -> None:
        hand = Hand().connect()
        hand.sent()
        hand.core.cancel_connect(hand.now)
        assert hand.sent()[:1] == b"\xe0"
        assert hand.hang_up() == HangUp(graceful=True)
        assert hand.core.state is ClientState.IDLE

    def test_while_it_waits_to_reconnect(self) -> None:
        hand = Hand().connect()
        hand.lose()
        hand.core.cancel_connect(hand.now)
        assert hand.core.state is ClientState.IDLE
        assert hand.core.next_deadline() is None

    def test_while_closing(self) -> None:
        hand = Hand().connect()
        hand.publish("t")
        hand.core.close(hand.now, 5.0)
        hand.core.cancel_connect(hand.now)
        assert hand.core.state is ClientState.CONNECTED


class TestReconnecting:
    def test_after_a_loss(self) -> None:
        hand = Hand(reconnect=Reconnect(first_delay=3.0)).connect()
        hand.core.events.clear()
        hand.lose(OSError("reset"))
        assert hand.core.state is ClientState.WAITING
        (event,) = hand.core.events
        assert isinstance(event, Disconnected)
        assert isinstance(event.error, ConnectionLost)
        assert "reset" in str(event.error)
        assert event.retry_in == 3.0
        assert hand.core.next_deadline() == 1003.0
        hand.pass_deadline()
        assert hand.core.take_action() == Dial(ENDPOINT, TLS())

    @rule(10)
    def test_delays_grow_and_begin_anew(self) -> None:
        hand = Hand(reconnect=Reconnect(stable_after=10.0)).connect()
        delays = []
        for _ in range(3):
            hand.lose()
            delays.append((hand.core.next_deadline() or 0.0) - hand.now)
            hand.connect()
        hand.now += 10.0
        hand.lose()
        delays.append((hand.core.next_deadline() or 0.0) - hand.now)
        assert delays == [1.0, 2.0, 4.0, 1.0]

    @rule(9)
    def test_any_failure_of_an_attempt_is_just_that(self) -> None:
        # Rule 9.
        hand = Hand().connect()
        hand.lose()
        hand.pass_deadline()
        hand.core.dial_failed(OSError(), hand.now)
        assert hand.core.state is ClientState.WAITING
        hand.pass_deadline()
        hand.core.take_action()
        hand.core.transport_opened(hand.now)
        hand.receive(Connack(False, 0x88))
        hand.hang_up()
        assert hand.core.state is ClientState.WAITING
        hand.pass_deadline()
        hand.pass_deadline()
        hand.hang_up()
        assert hand.core.state is ClientState.WAITING

    @rule(10)
    @pytest.mark.parametrize("code", [0x81, 0x87, 0x8E, 0x9D], ids=hex)
    def test_final_reason_codes(self, code: int) -> None:
        hand = Hand().connect()
        delivery = hand.publish("t")
        subscription = hand.subscribe("t")
        hand.core.events.clear()
        hand.receive(Disconnect(code))
        hand.hang_up()
        assert hand.core.state is ClientState.IDLE
        assert isinstance(hand.core.failure, ConnectionClosed)
        assert hand.core.failure.reason_code == code
        assert hand.core.events == [Disconnected(hand.core.failure, None)]
        assert delivery.fate is Fate.CLOSED
        assert subscription.error is hand.core.failure

    @rule(10)
    def test_reason_codes_that_pass(self) -> None:
        hand = Hand().connect()
        hand.receive(Disconnect(0x8B))
        hand.hang_up()
        assert hand.core.state is ClientState.WAITING

    def test_final_while_reconnecting(self) -> None:
        hand = Hand().connect()
        hand.lose()
        hand.dial()
        hand.receive(Connack(False, 0x8A))
        hand.hang_up()
        assert hand.core.state is ClientState.IDLE
        assert isinstance(hand.core.failure, ConnectRefused)

    @rule(11)
    def test_the_next_server(self) -> None:
        # Rule 11.
        hand = Hand(endpoints=(ENDPOINT, OTHER)).connect()
        hand.lose()
        hand.pass_deadline()
        assert hand.core.take_action() == Dial(ENDPOINT, TLS())
        hand.core.dial_failed(OSError(), hand.now)
        assert hand.core.take_action() == Dial(OTHER, TLS())

    @rule(12)
    def test_clean_start_and_identifier(self) -> None:
        # Rule 12.
        hand = Hand().connect(assigned_client_identifier="it")
        assert hand.sent()[9] == 2
        hand.lose()
        hand.dial()
        connect = hand.sent()
        assert connect[9] == 0
        assert connect.endswith(b"\0\2it")
        hand.receive(Connack(True))
        assert hand.core.client_id == "it"

    def test_no_answer_to_a_ping(self) -> None:
        hand = Hand(keep_alive=10).connect()
        hand.sent()
        hand.pass_deadline()
        assert hand.sent() == b"\xc0\0"
        hand.pass_deadline()
        assert hand.sent() == b"\xc0\0"  # for the server to hear from this side
        hand.pass_deadline()
        assert hand.hang_up() == HangUp(graceful=False)
        event = hand.core.events[-1]
        assert isinstance(event, Disconnected)
        assert isinstance(event.error, KeepAliveTimeout)
        assert hand.core.state is ClientState.WAITING

    def test_never(self) -> None:
        hand = Hand(reconnect=None).connect()
        hand.lose()
        assert hand.core.state is ClientState.IDLE
        assert isinstance(hand.core.failure, ConnectionLost)
        hand.connect()
        assert hand.core.failure is None


class TestSubscribingBeforeConnack:
    """Who asks for a subscription meanwhile is told, even if he does not wait yet."""

    def test_declared_before_connecting(self) -> None:
        hand = Hand()
        assert hand.core.subscribe(make_subscription("t")) is None

    def test_connecting_comes_to_nothing(self) -> None:
        hand = Hand(reconnect=None)
        hand.dial()
        declared = make_subscription("t")
        answer = hand.core.subscribe(declared)
        assert answer is not None
        hand.receive(Connack(False, 0x88))
        hand.hang_up()
        with pytest.raises(ConnectRefused):
            answer.result()
        # It is there for the next attempt, of which something else tells.
        assert not declared.subscribed.done
        hand.connect()
        hand.receive(Suback(1, [0]))
        assert declared.subscribed.result() == {"t": 0}

    def test_connecting_succeeds(self) -> None:
        hand = Hand()
        hand.dial()
        answer = hand.core.subscribe(make_subscription("t"))
        assert answer is not None
        hand.receive(Connack())
        hand.receive(Suback(1, [0]))
        assert answer.result() == {"t": 0}


class TestClosing:
    def test_while_idle(self) -> None:
        hand = Hand()
        waited_for = hand.subscribe("t").subscribed
        assert hand.core.close(hand.now, 5.0).done
        assert waited_for.error is not None

    @pytest.mark.parametrize(
        ("options", "goodbye"),
        [
            ({}, b"\xe0\7\0\5\x11\0\0\0\0"),
            ({"client_id": "me", "clean_start": False}, b"\xe0\0"),
            ({"version": "3.1.1"}, b"\xe0\0"),
        ],
    )
    def test_with_nothing_to_wait_for(self, options: Any, goodbye: bytes) -> None:
        # Rule 2. A session that nobody asked for is ended.
        hand = Hand(**options).connect()
        hand.sent()
        operation = hand.core.close(hand.now, 5.0)
        assert hand.sent() == goodbye
        assert not operation.done
        assert hand.core.next_deadline() == 1002.0
        assert hand.hang_up() == HangUp(graceful=True)
        assert operation.done
        assert hand.core.is_idle
        assert hand.core.next_deadline() is None
        event = hand.core.events[-1]
        assert isinstance(event, Disconnected)
        assert event.retry_in is None
        assert str(event.error) == "the client was closed"

    def test_drains(self) -> None:
        hand = Hand().connect()
        delivery = hand.publish("t")
        operation = hand.core.close(hand.now, 5.0)
        assert hand.core.close(hand.now, 5.0) is operation
        assert b"\xe0" not in hand.sent()
        hand.receive(Puback(1))
        assert delivery.fate is Fate.ACKNOWLEDGED
        assert hand.sent()[:1] == b"\xe0"
        hand.hang_up()
        assert operation.done

    def test_drains_no_longer_than_it_may(self) -> None:
        hand = Hand().connect()
        delivery = hand.publish("t")
        hand.sent()
        operation = hand.core.close(hand.now, 5.0)
        assert hand.core.next_deadline() == 1004.5
        hand.pass_deadline()
        assert hand.sent()[:1] == b"\xe0"
        assert hand.core.next_deadline() == 1005.0
        assert hand.core.take_action() == HangUp(graceful=True)
        hand.pass_deadline()  # the server does not close
        assert hand.core.take_action() == HangUp(graceful=False)
        hand.lose()
        assert operation.done
        assert delivery.fate is Fate.CLOSED

    def test_second_call_ends_the_draining(self) -> None:
        hand = Hand().connect()
        hand.publish("t")
        hand.sent()
        operation = hand.core.close(hand.now, 100.0)
        assert hand.core.close(hand.now, 100.0, drain=False) is operation
        assert hand.core.next_deadline() == hand.now
        hand.pass_deadline()
        assert hand.sent()[:1] == b"\xe0"
        assert hand.core.close(hand.now, 100.0, drain=False) is operation

    def test_without_draining(self) -> None:
        hand = Hand().connect()
        hand.publish("t")
        hand.sent()
        hand.core.close(hand.now, 5.0, drain=False)
        assert hand.sent()[:1] == b"\xe0"

    def test_while_connecting(self) -> None:
        hand = Hand()
        connecting = hand.core.connect(hand.now)
        hand.core.take_action()
        hand.core.transport_opened(hand.now)
        hand.sent()
        operation = hand.core.close(hand.now, 5.0)
        assert hand.sent()[:1] == b"\xe0"
        assert hand.hang_up() == HangUp(graceful=True)
        assert operation.done
        assert connecting.error is not None

    def test_while_dialing(self) -> None:
        hand = Hand()
        connecting = hand.core.connect(hand.now)
        hand.core.take_action()
        operation = hand.core.close(hand.now, 5.0)
        assert hand.hang_up() == HangUp(graceful=False)
        assert operation.done
        assert connecting.error is not None

    def test_while_waiting(self) -> None:
        hand = Hand().connect()
        hand.lose()
        assert hand.core.close(hand.now, 5.0).done
        assert hand.core.is_idle

    def test_while_hanging_up(self) -> None:
        hand = Hand().connect()
        hand.receive(Disconnect(0x8B))
        operation = hand.core.close(hand.now, 5.0)
        assert not operation.done
        hand.hang_up()
        assert operation.done
        assert hand.core.is_idle

    def test_link_is_lost_while_draining(self) -> None:
        hand = Hand().connect()
        hand.publish("t")
        operation = hand.core.close(hand.now, 5.0)
        hand.lose()
        assert operation.done
        assert hand.core.is_idle

    def test_connect_again(self) -> None:
        hand = Hand().connect()
        hand.core.close(hand.now, 5.0)
        hand.hang_up()
        hand.connect()
        assert hand.core.is_connected
