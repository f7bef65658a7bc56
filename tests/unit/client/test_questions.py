"""What the program is asked for anew, for every attempt to connect."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from mqttlite.client import ClientState, Dial, Disconnected, HangUp
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ClosedBy, ProtocolVersion
from mqttlite.errors import (
    AuthError,
    ConnectFailed,
    ConnectionClosed,
    ConnectRefused,
    MqttError,
    UsageError,
)
from mqttlite.options import TLS, Reconnect
from mqttlite.packets import Connack
from tests.unit.client.hand import ENDPOINT, Hand

SECRET = "hunter2"


def in_turn(*values: Any) -> Callable[[], Any]:
    """A function that gives one value after the other, and raises those that are errors."""
    left = iter(values)

    def give() -> Any:
        value = next(left)
        if isinstance(value, BaseException):
            raise value
        return value

    return give


def asked(hand: Hand) -> list[str]:
    return list(hand.core.question.functions) if hand.core.question else []


class TestAsking:
    def test_before_anything_is_dialed(self) -> None:
        hand = Hand(asked={"username": in_turn("u"), "password": in_turn("p")})
        operation = hand.core.connect(hand.now)
        assert asked(hand) == ["username", "password"]
        assert hand.core.take_action() is None
        assert hand.core.state is ClientState.DIALING
        hand.answer()
        assert hand.core.question is None
        assert hand.take_dial() == ENDPOINT
        hand.core.transport_opened(hand.now)
        sent = hand.sent()
        assert sent[9] == 0xC2  # user name, password, clean start
        assert sent.endswith(b"\0\1u\0\1p")
        hand.receive(Connack())
        assert operation.done
        assert operation.error is None

    def test_nothing_is_asked_without_functions(self) -> None:
        hand = Hand()
        hand.core.connect(hand.now)
        assert hand.core.question is None

    def test_anew_for_every_attempt(self) -> None:
        hand = Hand(username="u", asked={"password": in_turn("one", b"two", "three")}).connect()
        assert hand.sent().endswith(b"\0\3one")
        hand.lose()
        assert hand.core.question is None
        hand.dial()
        assert hand.sent().endswith(b"\0\3two")
        hand.lose()
        hand.dial()
        assert hand.sent().endswith(b"\0\5three")

    def test_once_for_all_servers_of_an_attempt(self) -> None:
        other = Endpoint("mqtt", "other.example", 1883)
        hand = Hand(
            endpoints=(ENDPOINT, other), username="u", asked={"password": in_turn("p", "q")}
        )
        hand.core.connect(hand.now)
        hand.answer()
        hand.take_dial()
        hand.core.dial_failed(OSError(), hand.now)
        assert hand.core.question is None
        assert hand.take_dial() == other
        hand.core.transport_opened(hand.now)
        assert hand.sent().endswith(b"\0\1p")

    def test_none_is_an_answer(self) -> None:
        hand = Hand(asked={"username": in_turn(None), "password": in_turn(None)})
        hand.dial()
        assert hand.sent()[9] == 0x02

    def test_url(self) -> None:
        urls = in_turn("mqtt://one.example", ["mqtt://two.example:7", "mqtt://u:p@three.example"])
        hand = Hand(endpoints=(), asked={"url": urls})
        hand.core.connect(hand.now)
        hand.answer()
        assert hand.take_dial() == Endpoint("mqtt", "one.example", 1883)
        hand.core.transport_opened(hand.now)
        hand.receive(Connack())
        hand.sent()
        hand.lose()
        hand.pass_deadline()
        hand.answer()
        assert hand.take_dial() == Endpoint("mqtt", "two.example", 7)
        hand.core.dial_failed(OSError(), hand.now)
        hand.take_dial()
        hand.core.transport_opened(hand.now)
        assert hand.sent().endswith(b"\0\1u\0\1p")

    def test_answers_go_before_the_credentials_of_the_url(self) -> None:
        url = in_turn("mqtt://old:old@server.example")
        hand = Hand(
            endpoints=(), asked={"url": url, "username": in_turn("u"), "password": in_turn("p")}
        )
        hand.dial()
        assert hand.sent().endswith(b"\0\1u\0\1p")

    def test_tls(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        mine = TLS(server_hostname="x")
        hand = Hand(asked={"tls": in_turn(mine, context, True, None)})
        hand.core.connect(hand.now)
        for expected in (mine, TLS(context=context), TLS(), TLS()):
            hand.answer()
            assert hand.core.take_action() == Dial(ENDPOINT, expected)
            hand.core.transport_opened(hand.now)
            hand.receive(Connack())
            hand.lose()
            hand.pass_deadline()

    def test_tls_stays_the_given_one_otherwise(self) -> None:
        mine = TLS(server_hostname="x")
        hand = Hand(tls=mine, asked={"username": in_turn("u")})
        hand.core.connect(hand.now)
        hand.answer()
        assert hand.core.take_action() == Dial(ENDPOINT, mine)


class TestFailing:
    def test_connect_fails_if_a_function_raises(self) -> None:
        cause = ValueError(SECRET)
        hand = Hand(asked={"username": in_turn(cause)})
        operation = hand.core.connect(hand.now)
        hand.answer()
        error = operation.error
        assert isinstance(error, ConnectFailed)
        assert error.by is ClosedBy.CLIENT
        assert error.__cause__ is cause
        assert "ValueError" in str(error)
        assert SECRET not in str(error)
        assert hand.core.is_idle
        assert hand.core.next_deadline() is None

    def test_an_error_of_this_library_stays_as_it_is(self) -> None:
        error = AuthError("no ticket")
        hand = Hand(asked={"password": in_turn(error)}, username="u")
        operation = hand.core.connect(hand.now)
        hand.answer()
        assert operation.error is error

    @pytest.mark.parametrize(
        ("name", "answer"),
        [
            ("username", 5),
            ("username", SECRET + "\0"),
            ("username", SECRET + "\ud800"),
            ("username", b"bytes"),
            ("password", 5),
            ("password", SECRET + "\ud800"),
            ("password", SECRET * 10_000),
            ("tls", SECRET),
            ("url", 5),
            ("url", []),
            ("url", [5]),
            ("url", f"http://u:{SECRET}@x"),
            ("url", f"mqtt://u:{SECRET}@x?y"),
            ("url", f"mqtt://u%00{SECRET}@x"),
        ],
    )
    def test_an_answer_that_cannot_be_used(self, name: str, answer: Any) -> None:
        # Rules 8 and 9.
        arguments: dict[str, Any] = {"asked": {name: in_turn(answer)}}
        if name == "url":
            arguments["endpoints"] = ()
        elif name == "password":
            arguments["username"] = "u"
        hand = Hand(**arguments)
        operation = hand.core.connect(hand.now)
        hand.answer()
        assert isinstance(operation.error, UsageError)
        assert SECRET not in str(operation.error)
        assert hand.core.take_action() is None
        assert hand.core.is_idle

    @pytest.mark.parametrize("wrong", [5, ValueError(SECRET)])
    def test_the_next_attempt_asks_again(self, wrong: Any) -> None:
        hand = Hand(username="u", asked={"password": in_turn("one", wrong, "two")}).connect()
        hand.sent()
        hand.lose()
        hand.pass_deadline()
        hand.answer()
        assert hand.core.state is ClientState.WAITING
        disconnected = hand.core.events[-1]
        assert isinstance(disconnected, Disconnected)
        assert isinstance(disconnected.error, MqttError)
        assert SECRET not in str(disconnected.error)
        assert all(SECRET not in text for _, _, text in hand.core.notices)
        hand.dial()
        assert hand.sent().endswith(b"\0\3two")

    def test_a_failure_counts_as_an_attempt(self) -> None:
        reconnect = Reconnect(maximum_attempts=1)
        hand = Hand(asked={"username": in_turn("u", OSError())}, reconnect=reconnect).connect()
        hand.lose()
        hand.pass_deadline()
        hand.answer()
        assert hand.core.is_idle
        assert isinstance(hand.core.failure, ConnectFailed)

    def test_a_url_that_was_wrong_leaves_the_next_one_alone(self) -> None:
        urls = in_turn("mqtt://one.example", "nonsense", "mqtt://two.example")
        hand = Hand(endpoints=(), asked={"url": urls}).connect()
        hand.lose()
        hand.pass_deadline()
        hand.answer()
        assert hand.core.state is ClientState.WAITING
        hand.pass_deadline()
        hand.answer()
        assert hand.take_dial().host == "two.example"

    def test_a_second_server_that_cannot_be_used(self) -> None:
        # Rule 9. U+0000 cannot stand in CONNECT.
        url = in_turn(["mqtt://one.example", "mqtt://u%00@two.example"])
        hand = Hand(endpoints=(), asked={"url": url})
        operation = hand.core.connect(hand.now)
        hand.answer()
        if hand.core.take_action() is not None:
            hand.core.dial_failed(OSError(), hand.now)
        if hand.core.take_action() is not None:
            hand.core.transport_opened(hand.now)
        assert operation.error is not None


class TestTime:
    def test_the_functions_are_within_the_time_of_the_attempt(self) -> None:
        hand = Hand(asked={"username": in_turn("u")}, connect_timeout=10.0)
        hand.core.connect(hand.now)
        assert hand.core.next_deadline() == 1010.0
        hand.now += 4
        hand.answer()
        hand.take_dial()
        assert hand.core.next_deadline() == 1010.0

    def test_no_answer_in_time(self) -> None:
        hand = Hand(asked={"username": in_turn("late")}, connect_timeout=10.0)
        operation = hand.core.connect(hand.now)
        question = hand.core.question
        assert question is not None
        hand.pass_deadline()
        assert hand.hang_up() == HangUp(graceful=False)
        assert isinstance(operation.error, TimeoutError)
        assert "the program's own function" in str(operation.error)
        assert hand.core.question is None
        hand.core.answered(question, {"username": "late"}, None, hand.now)
        assert hand.core.is_idle
        assert hand.core.take_action() is None

    def test_an_answer_to_the_question_before_is_ignored(self) -> None:
        hand = Hand(username="u", asked={"password": in_turn("one", "two")}).connect()
        hand.sent()
        hand.lose()
        hand.pass_deadline()
        late = hand.core.question
        assert late is not None
        hand.pass_deadline()
        hand.hang_up()
        hand.pass_deadline()
        hand.core.answered(late, {"password": "late"}, None, hand.now)
        assert hand.core.take_action() is None
        hand.core.answered(late, {}, ValueError(), hand.now)
        assert hand.core.state is ClientState.DIALING
        hand.answer()
        hand.take_dial()
        hand.core.transport_opened(hand.now)
        assert hand.sent().endswith(b"\0\3two")

    @pytest.mark.parametrize("how", ["cancel", "close", "give up"])
    @pytest.mark.parametrize("failure", [None, ValueError()])
    def test_an_answer_that_nobody_wants_any_more(
        self, how: str, failure: Exception | None
    ) -> None:
        hand = Hand(asked={"username": in_turn("u")})
        operation = hand.core.connect(hand.now)
        question = hand.core.question
        assert question is not None
        if how == "give up":
            hand.core.give_up(OSError("no thread"))
        elif how == "close":
            hand.core.close(hand.now, 1.0)
            assert hand.hang_up() == HangUp(graceful=False)
        else:
            hand.core.cancel_connect(hand.now)
            assert hand.hang_up() == HangUp(graceful=False)
        assert hand.core.question is None
        assert operation.error is not None
        hand.core.answered(question, {"username": "u"}, failure, hand.now)
        assert hand.core.is_idle
        assert hand.core.take_action() is None

    @pytest.mark.parametrize("how", ["cancel", "close", "time-out"])
    def test_an_answer_while_the_transport_is_being_closed(self, how: str) -> None:
        hand = Hand(asked={"username": in_turn("u")})
        hand.core.connect(hand.now)
        question = hand.core.question
        assert question is not None
        if how == "cancel":
            hand.core.cancel_connect(hand.now)
        elif how == "close":
            hand.core.close(hand.now, 1.0)
        else:
            hand.pass_deadline()
        hand.core.answered(question, {"username": "u"}, None, hand.now)
        assert hand.hang_up() == HangUp(graceful=False)
        assert hand.core.is_idle


class TestRetryingTheFirst:
    def test_connect_goes_on(self) -> None:
        hand = Hand(reconnect=Reconnect(retry_first=True, first_delay=2.0))
        operation = hand.core.connect(hand.now)
        for delay in (2.0, 4.0):
            hand.take_dial()
            hand.core.dial_failed(OSError("no route"), hand.now)
            assert hand.core.state is ClientState.WAITING
            disconnected = hand.core.events[-1]
            assert isinstance(disconnected, Disconnected)
            assert disconnected.retry_in == delay
            assert hand.core.next_deadline() == hand.now + delay
            hand.pass_deadline()
        assert not operation.done
        hand.connect_now()
        assert operation.done
        assert operation.error is None

    def test_a_function_that_raises_is_asked_again(self) -> None:
        hand = Hand(
            asked={"username": in_turn(OSError(), "u")}, reconnect=Reconnect(retry_first=True)
        )
        operation = hand.core.connect(hand.now)
        hand.answer()
        assert hand.core.state is ClientState.WAITING
        hand.dial()
        hand.receive(Connack())
        assert operation.done
        assert operation.error is None

    def test_a_final_reason_code_ends_it(self) -> None:
        hand = Hand(reconnect=Reconnect(retry_first=True))
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(0x86)
        assert isinstance(operation.error, ConnectRefused)
        assert hand.core.is_idle
        assert hand.core.events == []
        assert hand.core.counters.failed_attempts == 1
        hand.connect()

    def test_so_many_attempts(self) -> None:
        hand = Hand(reconnect=Reconnect(retry_first=True, maximum_attempts=1))
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.core.dial_failed(OSError("first"), hand.now)
        hand.pass_deadline()
        hand.take_dial()
        hand.core.dial_failed(OSError("second"), hand.now)
        assert "second" in str(operation.error)
        assert hand.core.is_idle

    def test_cancelling_while_it_waits(self) -> None:
        hand = Hand(reconnect=Reconnect(retry_first=True))
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.core.dial_failed(OSError(), hand.now)
        hand.core.cancel_connect(hand.now)
        assert isinstance(operation.error, ConnectionClosed)
        assert operation.error.by is ClosedBy.CLIENT
        assert hand.core.is_idle
        assert hand.core.next_deadline() is None
        hand.connect()

    def test_cancelling_a_later_attempt(self) -> None:
        hand = Hand(reconnect=Reconnect(retry_first=True))
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.core.dial_failed(OSError(), hand.now)
        hand.pass_deadline()
        hand.take_dial()
        hand.core.cancel_connect(hand.now)
        hand.hang_up()
        assert operation.error is not None
        assert hand.core.is_idle
        assert hand.core.next_deadline() is None

    def test_closing_while_it_waits(self) -> None:
        hand = Hand(reconnect=Reconnect(retry_first=True))
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.core.dial_failed(OSError(), hand.now)
        closing = hand.core.close(hand.now, 1.0)
        assert closing.done
        assert isinstance(operation.error, ConnectionClosed)
        assert hand.core.is_idle

    def test_connect_begins_with_the_first_delay_again(self) -> None:
        hand = Hand(reconnect=Reconnect(retry_first=True, first_delay=2.0))
        for _ in range(2):
            hand.core.connect(hand.now)
            for delay in (2.0, 4.0):
                hand.take_dial()
                hand.core.dial_failed(OSError(), hand.now)
                assert hand.core.next_deadline() == hand.now + delay
                hand.pass_deadline()
            hand.core.cancel_connect(hand.now)
            hand.hang_up()

    def test_not_unless_it_is_asked_for(self) -> None:
        hand = Hand(reconnect=Reconnect())
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.core.dial_failed(OSError(), hand.now)
        assert operation.error is not None
        assert hand.core.is_idle


class TestFallingBack:
    """MQTT 3.1.1 after a server has refused 5.0, if it can say what is to be said."""

    @pytest.mark.parametrize(
        ("username", "password", "falls_back"),
        [(None, None, True), ("u", None, True), ("u", "p", True), (None, "p", False)],
    )
    def test_what_the_answers_allow(
        self, username: str | None, password: str | None, falls_back: bool
    ) -> None:
        # 3.1.1 has no password without a user name.
        hand = Hand(asked={"username": in_turn(username), "password": in_turn(password)})
        operation = hand.core.connect(hand.now)
        hand.answer()
        hand.take_dial()
        hand.refuse(0x84)
        assert operation.done is not falls_back
        if falls_back:
            hand.take_dial()
            hand.core.transport_opened(hand.now)
            sent = hand.sent()
            assert sent[8:9] == b"\4"
            assert hand.core.version is ProtocolVersion.MQTT_3_1_1
            assert sent.endswith(b"".join(b"\0\1" + x.encode() for x in (username, password) if x))

    def test_the_user_name_of_the_url_counts(self) -> None:
        url = in_turn("mqtt://u@server.example")
        hand = Hand(endpoints=(), asked={"url": url, "password": in_turn("p")})
        hand.core.connect(hand.now)
        hand.answer()
        hand.take_dial()
        hand.refuse(0x84)
        hand.take_dial()
        hand.core.transport_opened(hand.now)
        assert hand.sent().endswith(b"\0\1u\0\1p")

    def test_a_user_name_that_is_too_long_fails_before_a_server_is_asked(self) -> None:
        hand = Hand(asked={"username": in_turn("u" * 65_536)})
        operation = hand.core.connect(hand.now)
        hand.answer()
        assert isinstance(operation.error, UsageError)
        assert hand.core.take_action() is None
