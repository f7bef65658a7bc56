"""The client goes where servers send it, and back to the server that it prefers."""

from __future__ import annotations

import logging

import pytest

from mqttlite.client import ClientState, Connected, Disconnected, HangUp, Reconnecting
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectionClosed, ConnectRefused
from mqttlite.options import Reconnect
from mqttlite.packets import Connack, Disconnect, Puback
from tests.unit.client.hand import ENDPOINT, Hand

ANOTHER = 0x9C
MOVED = 0x9D
OTHER = Endpoint("mqtt", "other.example", 1883)
NAMED = Endpoint("mqtt", "named.example", 1883)


def dismissed(hand: Hand, reason_code: int, reference: str | None) -> None:
    """The server ends the connection, and says where to go."""
    hand.receive(Disconnect(reason_code, {"server_reference": reference} if reference else None))
    hand.hang_up()


def connect_to_the_second(hand: Hand) -> None:
    """Have a connection to the second server, because the first one cannot be reached."""
    hand.core.connect(hand.now)
    assert hand.take_dial() == ENDPOINT
    hand.core.dial_failed(OSError(), hand.now)
    assert hand.take_dial() == OTHER
    hand.core.transport_opened(hand.now)
    hand.receive(Connack())
    hand.sent()


class TestInConnack:
    @pytest.mark.parametrize("reason_code", [ANOTHER, MOVED])
    @pytest.mark.parametrize("reconnect", [None, Reconnect()])
    def test_connect_follows(self, reason_code: int, reconnect: Reconnect | None) -> None:
        hand = Hand(reconnect=reconnect)
        operation = hand.core.connect(hand.now)
        assert hand.take_dial() == ENDPOINT
        hand.refuse(reason_code, server_reference="named.example")
        assert hand.take_dial() == NAMED
        assert not operation.done
        hand.core.transport_opened(hand.now)
        hand.receive(Connack())
        connack = operation.result()
        assert hand.core.events == [
            Reconnecting("mqtt://named.example:1883", 1),
            Connected(connack, "mqtt://named.example:1883"),
        ]
        [(logger, level, text)] = hand.core.notices
        assert (logger, level) == ("mqttlite.client", logging.INFO)
        assert text.endswith("following to mqtt://named.example:1883")

    def test_several_are_tried_before_the_other_servers(self) -> None:
        hand = Hand(endpoints=(ENDPOINT, OTHER))
        hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(ANOTHER, server_reference="named.example mqtt://user:secret@second.example:7")
        assert hand.take_dial() == NAMED
        hand.core.dial_failed(OSError(), hand.now)
        second = Endpoint("mqtt", "second.example", 7, username="user", password="secret")
        assert hand.take_dial() == second
        hand.core.dial_failed(OSError(), hand.now)
        assert hand.take_dial() == OTHER

    def test_the_deadline_stays(self) -> None:
        hand = Hand(connect_timeout=10.0)
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.now += 4
        hand.refuse(ANOTHER, server_reference="named.example")
        hand.take_dial()
        assert hand.core.next_deadline() == 1010.0
        hand.pass_deadline()
        assert hand.hang_up() == HangUp(graceful=False)
        assert isinstance(operation.error, TimeoutError)
        assert "mqtt://named.example:1883" in str(operation.error)

    def test_there_and_back_again_ends(self) -> None:
        hand = Hand(maximum_redirects=3, reconnect=None)
        operation = hand.core.connect(hand.now)
        tried = []
        for _ in range(4):
            tried.append(hand.take_dial().host)
            there = "named.example" if len(tried) % 2 else "server.example"
            hand.refuse(ANOTHER, server_reference=there)
        assert tried == ["server.example", "named.example"] * 2
        assert hand.core.take_action() is None
        assert isinstance(operation.error, ConnectRefused)
        assert operation.error.reason_code == ANOTHER
        assert operation.error.server_reference == "server.example"
        assert hand.core.is_idle

    def test_at_the_limit_the_next_server_is_tried(self) -> None:
        hand = Hand(endpoints=(ENDPOINT, OTHER), maximum_redirects=0)
        hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(ANOTHER, server_reference="named.example")
        assert hand.take_dial() == OTHER

    def test_without_a_reference_it_is_refused(self) -> None:
        hand = Hand()
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(ANOTHER)
        assert isinstance(operation.error, ConnectRefused)
        assert operation.error.server_reference is None
        assert hand.core.take_action() is None

    def test_credentials_of_the_url_go_along(self) -> None:
        known = Endpoint("mqtt", "server.example", 1883, username="u", password="p")
        hand = Hand(endpoints=(known,))
        hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(ANOTHER, server_reference="named.example")
        hand.sent()
        hand.take_dial()
        hand.core.transport_opened(hand.now)
        assert hand.sent().endswith(b"\0\1u\0\1p")

    def test_never_from_tls_to_plain(self) -> None:
        hand = Hand(endpoints=(Endpoint("mqtts", "server.example", 8883),))
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(ANOTHER, server_reference="mqtt://named.example")
        assert isinstance(operation.error, ConnectRefused)
        assert hand.core.take_action() is None

    def test_a_reference_that_makes_no_connect_packet_is_not_followed(self) -> None:
        # Rule 25: whatever a server says raises nothing. CONNECT cannot carry U+0000.
        hand = Hand()
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(ANOTHER, server_reference="mqtt://a%00b@named.example")
        if hand.core.take_action() is not None:
            hand.core.transport_opened(hand.now)
        assert operation.error is not None

    def test_the_limit_holds_for_one_attempt_only(self) -> None:
        # Rule 9: what failed is a failed attempt, and the next one may end well.
        hand = Hand(maximum_redirects=1, reconnect=Reconnect(retry_first=True))
        hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(ANOTHER, server_reference="named.example")
        assert hand.take_dial() == NAMED
        hand.refuse(0x88)
        hand.pass_deadline()
        assert hand.take_dial() == ENDPOINT
        hand.refuse(ANOTHER, server_reference="named.example")
        assert hand.core.state is ClientState.DIALING
        assert hand.take_dial() == NAMED


class TestInDisconnect:
    def test_another_server_is_gone_to_at_once_and_once(self) -> None:
        hand = Hand().connect()
        hand.core.events.clear()
        dismissed(hand, ANOTHER, "named.example")
        disconnected, reconnecting = hand.core.events
        assert isinstance(disconnected, Disconnected)
        assert disconnected.retry_in == 0.0
        assert isinstance(disconnected.error, ConnectionClosed)
        assert disconnected.error.by is ClosedBy.SERVER
        assert disconnected.error.reason_code == ANOTHER
        assert reconnecting == Reconnecting("mqtt://named.example:1883", 1)
        assert hand.core.notices[-1][:2] == ("mqttlite.client", logging.INFO)
        assert hand.core.notices[-1][2].endswith("following")
        assert hand.take_dial() == NAMED
        hand.core.transport_opened(hand.now)
        hand.receive(Connack())
        hand.lose()
        hand.pass_deadline()
        assert hand.take_dial() == ENDPOINT

    def test_a_server_that_has_moved_is_replaced(self) -> None:
        hand = Hand().connect()
        dismissed(hand, MOVED, "named.example")
        assert hand.take_dial() == NAMED
        hand.core.dial_failed(OSError(), hand.now)
        assert hand.core.state is ClientState.WAITING
        hand.pass_deadline()
        assert hand.take_dial() == NAMED

    def test_it_has_the_time_of_a_new_attempt(self) -> None:
        hand = Hand(connect_timeout=10.0).connect()
        hand.now += 100
        dismissed(hand, ANOTHER, "named.example")
        assert hand.core.next_deadline() == 1105.0  # the other five seconds are the old server's
        hand.take_dial()
        hand.core.dial_failed(OSError(), hand.now)
        assert hand.take_dial() == ENDPOINT
        assert hand.core.next_deadline() == 1110.0

    def test_there_and_back_again_is_slowed_down(self) -> None:
        hand = Hand(maximum_redirects=2).connect()
        for there in ("named.example", "server.example"):
            dismissed(hand, ANOTHER, there)
            hand.connect_now()
        dismissed(hand, ANOTHER, "named.example")
        assert hand.core.state is ClientState.WAITING
        assert hand.core.take_action() is None

    def test_after_a_lasting_connection_it_counts_anew(self) -> None:
        hand = Hand(maximum_redirects=1, reconnect=Reconnect(stable_after=5)).connect()
        for _ in range(3):
            dismissed(hand, ANOTHER, "named.example")
            hand.connect_now()
            hand.now += 5

    @pytest.mark.parametrize("reason_code", [ANOTHER, MOVED])
    def test_not_without_reconnection(self, reason_code: int) -> None:
        hand = Hand(reconnect=None).connect()
        dismissed(hand, reason_code, "named.example")
        assert hand.core.take_action() is None
        assert hand.core.is_idle
        assert isinstance(hand.core.failure, ConnectionClosed)
        assert hand.core.failure.server_reference == "named.example"

    def test_moved_to_nobody_knows_where_is_final(self) -> None:
        hand = Hand().connect()
        dismissed(hand, MOVED, None)
        assert hand.core.is_idle
        assert hand.core.failure is not None

    def test_another_server_that_is_not_named_is_waited_for(self) -> None:
        hand = Hand().connect()
        dismissed(hand, ANOTHER, None)
        assert hand.core.state is ClientState.WAITING

    def test_not_while_closing(self) -> None:
        hand = Hand().connect()
        hand.sent()
        hand.publish("t")
        closing = hand.core.close(hand.now, 10.0)
        dismissed(hand, ANOTHER, "named.example")
        assert closing.done
        assert hand.core.is_idle
        assert hand.core.take_action() is None

    def test_functions_are_asked_anew(self) -> None:
        tokens = iter(["one", "two"])
        hand = Hand(username="u", asked={"password": lambda: next(tokens)}).connect()
        assert b"\0\1u\0\3one" in hand.sent()
        dismissed(hand, ANOTHER, "named.example")
        assert hand.core.take_action() is None
        hand.answer()
        assert hand.take_dial() == NAMED
        hand.core.transport_opened(hand.now)
        assert hand.sent().endswith(b"\0\1u\0\3two")


class TestReturning:
    def test_goes_back_to_the_first_server(self) -> None:
        hand = Hand(endpoints=(ENDPOINT, OTHER), keep_alive=0, reconnect=Reconnect(return_after=60))
        connect_to_the_second(hand)
        assert hand.core.next_deadline() == 1060.0
        hand.pass_deadline()
        assert hand.sent() == b"\xe0\0"
        assert hand.hang_up() == HangUp(graceful=True)
        disconnected = hand.core.events[-1]
        assert isinstance(disconnected, Disconnected)
        assert isinstance(disconnected.error, ConnectionClosed)
        assert disconnected.error.by is ClosedBy.CLIENT
        assert "preferred server" in str(disconnected.error)
        hand.pass_deadline()
        assert hand.take_dial() == ENDPOINT
        hand.core.transport_opened(hand.now)
        hand.receive(Connack(session_present=True))
        hand.sent()
        assert hand.core.next_deadline() is None

    def test_tries_again_later_if_the_first_one_is_not_there(self) -> None:
        hand = Hand(endpoints=(ENDPOINT, OTHER), keep_alive=0, reconnect=Reconnect(return_after=60))
        connect_to_the_second(hand)
        hand.pass_deadline()
        hand.hang_up()
        hand.pass_deadline()
        assert hand.take_dial() == ENDPOINT
        hand.core.dial_failed(OSError(), hand.now)
        assert hand.take_dial() == OTHER
        hand.core.transport_opened(hand.now)
        hand.receive(Connack(session_present=True))
        hand.sent()
        assert hand.core.next_deadline() == hand.now + 60

    def test_waits_while_something_is_in_flight(self) -> None:
        hand = Hand(endpoints=(ENDPOINT, OTHER), keep_alive=0, reconnect=Reconnect(return_after=60))
        connect_to_the_second(hand)
        hand.publish("t")
        hand.sent()
        for _ in range(3):
            hand.pass_deadline()
            assert hand.core.is_connected
            assert hand.sent() == b""
        assert hand.core.next_deadline() is not None
        hand.receive(Puback(1))
        hand.pass_deadline()
        assert hand.sent() == b"\xe0\0"
        assert hand.core.state is ClientState.HANGING_UP

    def test_waits_while_something_is_to_be_sent(self) -> None:
        hand = Hand(
            endpoints=(ENDPOINT, OTHER),
            keep_alive=0,
            maximum_in_flight=1,
            reconnect=Reconnect(return_after=60),
        )
        connect_to_the_second(hand)
        hand.publish("t")
        hand.publish("t")
        hand.sent()
        hand.pass_deadline()
        assert hand.core.is_connected
        hand.receive(Puback(1))
        hand.sent()
        hand.receive(Puback(2))
        hand.pass_deadline()
        assert hand.sent() == b"\xe0\0"

    def test_waits_while_the_network_is_slow(self) -> None:
        hand = Hand(endpoints=(ENDPOINT, OTHER), keep_alive=0, reconnect=Reconnect(return_after=60))
        connect_to_the_second(hand)
        for _ in range(2):
            hand.publish("t", bytes(1 << 20), qos=0)
        hand.pass_deadline()
        assert hand.core.is_connected
        assert len(hand.sent()) > 2 << 20
        hand.pass_deadline()
        assert hand.sent() == b"\xe0\0"

    @pytest.mark.parametrize("return_after", [None, 60])
    def test_stays_at_the_first_server(self, return_after: float | None) -> None:
        hand = Hand(
            endpoints=(ENDPOINT, OTHER),
            keep_alive=0,
            reconnect=Reconnect(return_after=return_after),
        ).connect()
        hand.sent()
        assert hand.core.next_deadline() is None

    def test_stays_if_it_is_not_asked_for(self) -> None:
        hand = Hand(endpoints=(ENDPOINT, OTHER), keep_alive=0)
        connect_to_the_second(hand)
        assert hand.core.next_deadline() is None

    def test_a_lost_connection_is_not_returned_from(self) -> None:
        hand = Hand(
            endpoints=(ENDPOINT, OTHER),
            keep_alive=0,
            reconnect=Reconnect(return_after=60, first_delay=1000, maximum_delay=1000),
        )
        connect_to_the_second(hand)
        hand.lose()
        assert hand.core.next_deadline() == 2000.0

    def test_back_to_the_first_one_if_they_are_shuffled(self) -> None:
        # For the first identifier, the first order, the delay, and the second order.
        numbers = iter([0.1, 0.2, 0.5, 0.5, 0.9, 0.1])
        hand = Hand(
            random=lambda: next(numbers, 0.5),
            endpoints=(ENDPOINT, OTHER),
            keep_alive=0,
            server_order="shuffled",
            reconnect=Reconnect(return_after=60),
        )
        connect_to_the_second(hand)
        hand.pass_deadline()
        hand.hang_up()
        hand.pass_deadline()
        assert hand.take_dial() == ENDPOINT
