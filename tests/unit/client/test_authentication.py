"""Enhanced authentication: an auth handler, between CONNECT and what the program is told."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import ClientState, Connected, Disconnected, HangUp, Operation
from mqttlite.enums import ClosedBy, ProtocolVersion
from mqttlite.errors import (
    AuthError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConnectRefused,
    ProtocolError,
    UsageError,
)
from mqttlite.message import Properties
from mqttlite.options import Reconnect
from mqttlite.packets import Auth, Connack, Disconnect, Message, Packet, Suback
from tests.unit.client.hand import Hand

CHALLENGE = b"\xf0\x0a\x18\x08\x15\0\1m\x16\0\1?"
ANSWER = b"\xf0\x0a\x18\x08\x15\0\1m\x16\0\1!"
AGAIN = b"\xf0\x0a\x19\x08\x15\0\1m\x16\0\1s"
SUCCESS = b"\xf0\x0a\x00\x08\x15\0\1m\x16\0\1v"
ACCEPTED = b"\x20\x0b\0\0\x08\x15\0\1m\x16\0\1v"
FAILED = b"\xe0\1\x80"


class Handler:
    """An auth handler that remembers what it was called with, and may raise."""

    method = "m"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.first: Any = b"s"
        self.answer: Any = b"!"
        self.raises: dict[str, Exception] = {}

    def start(self) -> Any:
        self._called("start")
        return self.first

    def respond(self, data: bytes, properties: Properties) -> Any:
        self._called("respond", data, properties)
        return self.answer

    def finish(self, data: bytes, properties: Properties) -> None:
        self._called("finish", data, properties)

    def _called(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if name in self.raises:
            raise self.raises.pop(name)


@pytest.fixture
def handler() -> Handler:
    return Handler()


def asks(hand: Hand) -> bool:
    return hand.core.question is not None


def feed(hand: Hand, *data: bytes) -> None:
    hand.core.receive(b"".join(data), hand.now)


def begun(handler: Handler, **options: Any) -> tuple[Hand, Operation[Connack]]:
    """A client that has sent its CONNECT."""
    hand = Hand(auth=handler, **options)
    operation = hand.core.connect(hand.now)
    hand.answer()
    hand.take_dial()
    hand.core.transport_opened(hand.now)
    hand.sent()
    return hand, operation


def connected(handler: Handler, **options: Any) -> Hand:
    hand, operation = begun(handler, **options)
    feed(hand, ACCEPTED)
    hand.answer()
    assert operation.done
    assert hand.core.is_connected
    handler.calls.clear()
    hand.core.events.clear()
    hand.sent()
    return hand


class TestConnecting:
    def test_challenge_and_success(self, handler: Handler) -> None:
        hand = Hand(auth=handler)
        operation = hand.core.connect(hand.now)
        assert handler.calls == []
        hand.answer()
        assert handler.calls == [("start",)]
        hand.take_dial()
        hand.core.transport_opened(hand.now)
        assert b"\x15\0\1m\x16\0\1s" in hand.sent()
        feed(hand, CHALLENGE)
        assert hand.sent() == b""
        hand.answer()
        properties = {"authentication_method": "m", "authentication_data": b"?"}
        assert handler.calls[1:] == [("respond", b"?", properties)]
        assert hand.sent() == ANSWER
        feed(hand, ACCEPTED)
        assert not operation.done
        assert not hand.core.is_connected
        hand.answer()
        properties = {"authentication_method": "m", "authentication_data": b"v"}
        assert handler.calls[2:] == [("finish", b"v", properties)]
        assert operation.done
        assert operation.error is None
        assert hand.core.is_connected
        assert isinstance(hand.core.events[-1], Connected)
        assert not asks(hand)

    def test_several_challenges(self, handler: Handler) -> None:
        hand, operation = begun(handler)
        for _ in range(3):
            feed(hand, CHALLENGE)
            hand.answer()
            assert hand.sent() == ANSWER
        feed(hand, ACCEPTED)
        hand.answer()
        assert operation.done

    def test_success_without_data(self, handler: Handler) -> None:
        hand, operation = begun(handler)
        feed(hand, b"\x20\7\0\0\4\x15\0\1m")
        hand.answer()
        assert handler.calls[1:] == [("finish", b"", {"authentication_method": "m"})]
        assert operation.done

    def test_nothing_to_begin_with_and_nothing_to_answer(self, handler: Handler) -> None:
        handler.first = handler.answer = None
        hand = Hand(auth=handler)
        hand.dial()
        sent = hand.sent()
        assert b"\x15\0\1m" in sent
        assert b"\x16" not in sent
        feed(hand, CHALLENGE)
        hand.answer()
        assert hand.sent() == b"\xf0\6\x18\4\x15\0\1m"

    def test_refused_by_the_server(self, handler: Handler) -> None:
        hand, operation = begun(handler)
        feed(hand, b"\x20\3\0\x87\0")
        hand.hang_up()
        assert isinstance(operation.error, ConnectRefused)
        assert handler.calls == [("start",)]

    def test_there_is_no_falling_back(self, handler: Handler) -> None:
        hand, operation = begun(handler)
        feed(hand, b"\x20\2\0\1")
        hand.hang_up()
        assert operation.error is not None
        assert hand.core.version is ProtocolVersion.MQTT_5_0

    def test_every_attempt_starts_anew(self, handler: Handler) -> None:
        hand = connected(handler)
        hand.lose()
        handler.first = b"again"
        hand.dial()
        assert handler.calls == [("start",)]
        assert b"\x16\0\5again" in hand.sent()


class TestFailing:
    def test_start_raises(self, handler: Handler) -> None:
        handler.raises["start"] = cause = KeyError("secret")
        hand = Hand(auth=handler)
        operation = hand.core.connect(hand.now)
        hand.answer()
        assert isinstance(operation.error, ConnectFailed)
        assert operation.error.__cause__ is cause
        assert "secret" not in str(operation.error)
        assert hand.core.take_action() is None

    @pytest.mark.parametrize("first", ["text", 5, b"x" * 65_536])
    def test_start_returns_nonsense(self, handler: Handler, first: Any) -> None:
        handler.first = first
        hand = Hand(auth=handler)
        operation = hand.core.connect(hand.now)
        hand.answer()
        assert isinstance(operation.error, UsageError)
        assert hand.core.is_idle

    def test_respond_raises(self, handler: Handler) -> None:
        handler.raises["respond"] = cause = KeyError("secret")
        hand, operation = begun(handler)
        feed(hand, CHALLENGE)
        hand.answer()
        assert hand.sent() == FAILED  # [MQTT-4.12.0-2]
        assert hand.hang_up() == HangUp(graceful=True)
        assert isinstance(operation.error, AuthError)
        assert operation.error.__cause__ is cause
        assert "KeyError" in str(operation.error)
        assert "secret" not in str(operation.error)
        assert hand.core.is_idle

    def test_an_error_of_this_library_stays_as_it_is(self, handler: Handler) -> None:
        handler.raises["respond"] = error = AuthError("the server is not mine")
        hand, operation = begun(handler)
        feed(hand, CHALLENGE)
        hand.answer()
        hand.hang_up()
        assert operation.error is error

    def test_the_next_attempt_follows_when_respond_raises(self, handler: Handler) -> None:
        hand = connected(handler)
        hand.lose()
        hand.dial()
        handler.raises["respond"] = AuthError("not now")
        feed(hand, CHALLENGE)
        hand.answer()
        hand.hang_up()
        assert hand.core.state is ClientState.WAITING
        hand.dial()
        feed(hand, ACCEPTED)
        hand.answer()
        assert hand.core.is_connected

    @pytest.mark.parametrize("answer", ["text", 5, b"x" * 65_536])
    def test_respond_returns_nonsense(self, handler: Handler, answer: Any) -> None:
        handler.answer = answer
        hand, operation = begun(handler)
        feed(hand, CHALLENGE)
        hand.answer()
        assert hand.sent() == FAILED
        hand.hang_up()
        assert isinstance(operation.error, (AuthError, UsageError))

    def test_finish_raises_and_nobody_is_told_of_a_connection(self, handler: Handler) -> None:
        handler.raises["finish"] = AuthError("the server does not know the password")
        hand, operation = begun(handler)
        feed(hand, ACCEPTED)
        hand.answer()
        assert hand.sent() == FAILED
        assert hand.hang_up() == HangUp(graceful=True)
        assert not operation.done or operation.error is not None
        assert not [each for each in hand.core.events if isinstance(each, Connected)]
        assert hand.core.counters.connections == 0
        assert hand.core.connack is None

    def test_connect_fails_if_finish_raises(self, handler: Handler) -> None:
        handler.raises["finish"] = error = AuthError("the server does not know the password")
        hand, operation = begun(handler)
        feed(hand, ACCEPTED)
        hand.answer()
        hand.hang_up()
        assert operation.error is error
        assert hand.core.is_idle

    def test_the_delays_grow_while_finish_raises(self, handler: Handler) -> None:
        # Rule 10: the back-off begins anew only after a connection that has lasted.
        hand = connected(handler, reconnect=Reconnect(first_delay=1.0))
        hand.lose()
        delays = []
        for _ in range(5):
            hand.dial()
            handler.raises["finish"] = AuthError("no")
            feed(hand, ACCEPTED)
            hand.answer()
            hand.hang_up()
            disconnected = hand.core.events[-1]
            assert isinstance(disconnected, Disconnected)
            delays.append(disconnected.retry_in)
        assert delays == [2.0, 4.0, 8.0, 16.0, 32.0]

    def test_lost_before_finish_has_answered(self, handler: Handler) -> None:
        hand, _ = begun(handler)
        feed(hand, ACCEPTED)
        question = hand.core.question
        assert question is not None
        hand.lose()
        assert not asks(hand)
        hand.core.answered(question, {"auth": None}, None, hand.now)
        assert not hand.core.is_connected
        assert hand.core.counters.connections == 0

    def test_closed_before_finish_has_answered(self, handler: Handler) -> None:
        hand, operation = begun(handler)
        feed(hand, ACCEPTED)
        question = hand.core.question
        assert question is not None
        hand.core.close(hand.now, 1.0)
        hand.core.answered(question, {"auth": None}, None, hand.now)
        assert hand.core.state is ClientState.HANGING_UP
        assert not operation.done

    def test_no_answer_in_time(self, handler: Handler) -> None:
        hand, operation = begun(handler, connect_timeout=10.0)
        feed(hand, CHALLENGE)
        hand.pass_deadline()
        hand.hang_up()
        assert isinstance(operation.error, TimeoutError)
        assert "the program's own function" in str(operation.error)

    def test_given_up_before_finish_has_answered(self, handler: Handler) -> None:
        hand, _ = begun(handler)
        feed(hand, ACCEPTED)
        hand.core.give_up(OSError("no more threads"))
        hand.dial()
        feed(hand, CHALLENGE)
        assert asks(hand)


class TestHolding:
    """What stands behind CONNACK waits until the server is known to be the right one."""

    def test_it_comes_in_order_when_finish_has_approved(self, handler: Handler) -> None:
        hand = Hand(auth=handler)
        subscription = hand.subscribe("t")
        hand.dial()
        hand.sent()
        feed(hand, ACCEPTED, b"\x30\5\0\1t\0" + b"1")
        hand.receive(Message("t", b"2"))
        assert not subscription.buffer
        assert hand.sent() == b""
        hand.answer()
        assert [message.payload for message in subscription.buffer] == [b"1", b"2"]
        hand.receive(Suback(1, [1]), Message("t", b"3"))
        assert [message.payload for message in subscription.buffer] == [b"1", b"2", b"3"]
        assert hand.core.counters.received_messages == 3

    def test_it_is_never_looked_at_if_finish_raises(self, handler: Handler) -> None:
        handler.raises["finish"] = AuthError("no")
        hand = Hand(auth=handler)
        subscription = hand.subscribe("t")
        hand.dial()
        feed(hand, ACCEPTED, b"\x30\5\0\1t\0" + b"1")
        hand.answer()
        hand.hang_up()
        assert not subscription.buffer
        assert hand.core.counters.received_messages == 0

    def test_there_is_a_limit(self, handler: Handler) -> None:
        # Rule 25: no input makes memory grow without bound.
        hand, _ = begun(handler)
        feed(hand, ACCEPTED)
        feed(hand, b"\x30\4\0\1t\0" * 10_000)
        assert hand.sent() == b""
        assert hand.core.take_action() is None
        feed(hand, b"\x30\4\0\1t\0")
        assert hand.sent() == b"\xe0\1\x97"
        assert hand.core.state is ClientState.HANGING_UP

    def test_the_server_may_leave_meanwhile(self, handler: Handler) -> None:
        hand, _ = begun(handler)
        feed(hand, ACCEPTED)
        hand.receive(Disconnect(0x8B))
        assert hand.hang_up() == HangUp(graceful=False)
        assert not asks(hand)
        assert hand.core.counters.connections == 0


class TestAgain:
    """Re-authentication on the same connection."""

    def test_success(self, handler: Handler) -> None:
        hand = connected(handler)
        operation = hand.core.reauthenticate()
        operation.waiters = ["somebody"]
        assert hand.sent() == b""
        hand.answer()
        assert hand.sent() == AGAIN
        feed(hand, CHALLENGE)
        hand.answer()
        assert hand.sent() == ANSWER
        feed(hand, SUCCESS)
        assert not operation.done
        hand.answer()
        assert [call[0] for call in handler.calls] == ["start", "respond", "finish"]
        assert handler.calls[2][1] == b"v"
        assert operation.done
        assert operation.error is None
        assert hand.core.finished == [operation]
        assert hand.core.is_connected
        assert hand.core.events == []
        assert hand.core.reauthenticate() is not operation

    def test_messages_go_on_meanwhile(self, handler: Handler) -> None:
        hand = connected(handler)
        subscription = hand.subscribed("t")
        hand.core.reauthenticate()
        hand.answer()
        hand.sent()
        feed(hand, SUCCESS)
        hand.receive(Message("t", b"1"))
        assert [message.payload for message in subscription.buffer] == [b"1"]
        hand.publish("t", qos=0)
        assert hand.sent() == b"\x30\4\0\1t\0"

    def test_twice_at_once_is_once(self, handler: Handler) -> None:
        hand = connected(handler)
        operation = hand.core.reauthenticate()
        question = hand.core.question
        assert hand.core.reauthenticate() is operation
        assert hand.core.question is question
        hand.answer()
        assert hand.core.reauthenticate() is operation
        assert hand.sent() == AGAIN
        assert not asks(hand)

    def test_refused_by_the_server(self, handler: Handler) -> None:
        hand = connected(handler)
        operation = hand.core.reauthenticate()
        hand.answer()
        hand.receive(Disconnect(0x87, {"reason_string": "no"}))
        hand.hang_up()
        assert isinstance(operation.error, ConnectionClosed)
        assert operation.error.reason_code == 0x87
        assert operation.error.reason_string == "no"
        assert operation.error.by is ClosedBy.SERVER

    @pytest.mark.parametrize("step", ["start", "respond", "finish"])
    def test_the_handler_raises(self, handler: Handler, step: str) -> None:
        # [MQTT-4.12.1-2]
        hand = connected(handler)
        handler.raises[step] = cause = KeyError("secret")
        operation = hand.core.reauthenticate()
        hand.answer()
        packets = {"start": [], "respond": [CHALLENGE], "finish": [SUCCESS]}
        for packet in packets[step]:
            hand.sent()
            feed(hand, packet)
            hand.answer()
        assert hand.sent() == FAILED
        assert hand.hang_up() == HangUp(graceful=True)
        assert isinstance(operation.error, AuthError)
        assert operation.error.__cause__ is cause
        assert "secret" not in str(operation.error)
        assert hand.core.state is ClientState.WAITING

    @pytest.mark.parametrize("first", ["text", 5, b"x" * 65_536])
    def test_start_returns_nonsense(self, handler: Handler, first: Any) -> None:
        hand = connected(handler)
        handler.first = first
        operation = hand.core.reauthenticate()
        hand.answer()
        hand.hang_up()
        assert isinstance(operation.error, (AuthError, UsageError))

    def test_the_server_takes_no_packet_of_that_size(self, handler: Handler) -> None:
        hand, _ = begun(handler)
        accepted = Connack(properties={"authentication_method": "m", "maximum_packet_size": 50})
        hand.receive(accepted)
        hand.answer()
        handler.first = b"x" * 50
        operation = hand.core.reauthenticate()
        hand.answer()
        hand.hang_up()
        assert isinstance(operation.error, (AuthError, UsageError))

    @pytest.mark.parametrize("answers", [False, True])
    def test_the_connection_is_lost_meanwhile(self, handler: Handler, answers: bool) -> None:
        hand = connected(handler)
        operation = hand.core.reauthenticate()
        if answers:
            hand.answer()
        question = hand.core.question
        hand.lose()
        assert isinstance(operation.error, ConnectionLost)
        assert hand.core.question is None
        if question is not None:
            hand.core.answered(question, {"auth": b"late"}, None, hand.now)
        assert hand.sent() == b""
        assert hand.core.state is ClientState.WAITING
        hand.connect(authentication_method="m")
        assert hand.core.reauthenticate() is not operation

    def test_closed_meanwhile(self, handler: Handler) -> None:
        hand = connected(handler)
        operation = hand.core.reauthenticate()
        hand.answer()
        hand.core.close(hand.now, 1.0)
        hand.hang_up()
        assert isinstance(operation.error, ConnectionClosed)
        assert operation.error.by is ClosedBy.CLIENT

    def test_given_up_meanwhile(self, handler: Handler) -> None:
        hand = connected(handler)
        operation = hand.core.reauthenticate()
        hand.core.give_up(OSError("no more threads"))
        assert operation.error is not None

    def test_without_a_handler(self) -> None:
        hand = Hand().connect()
        with pytest.raises(UsageError, match="auth="):
            hand.core.reauthenticate()

    def test_not_connected(self, handler: Handler) -> None:
        hand = Hand(auth=handler)
        with pytest.raises(ConnectionClosed, match="call connect"):
            hand.core.reauthenticate()
        hand = connected(handler)
        hand.lose()
        with pytest.raises(ConnectionClosed, match="no connection at this moment"):
            hand.core.reauthenticate()
        hand.dial()
        with pytest.raises(ConnectionClosed, match="no connection at this moment"):
            hand.core.reauthenticate()


class TestWhatTheServerMustNot:
    @pytest.mark.parametrize(
        "packet",
        [
            Auth(0x18, {"authentication_method": "other"}),
            Auth(0x00, {"authentication_method": "m"}),
            Connack(properties={"authentication_method": "other"}),
            Connack(),
        ],
    )
    def test_before_connack(self, handler: Handler, packet: Packet) -> None:
        hand, _ = begun(handler)
        hand.receive(packet)
        assert hand.sent() == b"\xe0\1\x82"
        hand.hang_up()
        assert not asks(hand)
        assert handler.calls == [("start",)]
        text = "the server broke the protocol"
        assert [logger for logger, _, said in hand.core.notices if text in said] == [
            "mqttlite.protocol"
        ]

    def test_a_second_challenge_before_the_answer(self, handler: Handler) -> None:
        hand, operation = begun(handler)
        feed(hand, CHALLENGE, CHALLENGE)
        assert hand.sent() == b"\xe0\1\x82"
        hand.hang_up()
        assert isinstance(operation.error, ProtocolError)

    @pytest.mark.parametrize("packet", [CHALLENGE, SUCCESS])
    def test_out_of_the_blue(self, handler: Handler, packet: bytes) -> None:
        hand = connected(handler)
        feed(hand, packet)
        assert hand.sent() == b"\xe0\1\x82"
        assert not asks(hand)

    @pytest.mark.parametrize(
        ("method", "connack"),
        [
            ("m", Connack(properties={"authentication_method": "other"})),
            (None, Connack(properties={"maximum_packet_size": 8})),
        ],
    )
    def test_connect_fails_with_a_connack_that_breaks_the_protocol(
        self, handler: Handler, method: str | None, connack: Connack
    ) -> None:
        # Rule 1.
        hand = Hand(auth=handler if method else None)
        operation = hand.core.connect(hand.now)
        if method:
            hand.answer()
        hand.take_dial()
        hand.core.transport_opened(hand.now)
        hand.receive(connack)
        hand.hang_up()
        assert isinstance(operation.error, ProtocolError)
        assert hand.core.is_idle
