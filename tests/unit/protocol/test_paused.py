"""The keep alive while nothing is read; how long a ping takes; what SUBSCRIBE may bear."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.errors import KeepAliveTimeout
from mqttlite.protocol import ConnectionState
from tests.unit.protocol.sides import V31, V311, Client, connack

PINGREQ = "c0 00"
PINGRESP = "d0 00"
MESSAGE = "30 04 00 01 74 00"


def make(**arguments: Any) -> Client:
    """A connection with a keep alive of 100 seconds, open at 1000."""
    return Client(now=1000.0, keep_alive=100, **arguments)


def pass_to(client: Client, now: float) -> str:
    """Let time pass; what is sent then."""
    client.now = now
    client.connection.handle_deadline(now)
    return client.sent()


def pause(client: Client, now: float, *, paused: bool) -> None:
    client.now = now
    client.connection.pause(now, paused=paused)
    assert client.connection.is_paused is paused


class TestPaused:
    def test_pings_go_out_and_no_answer_is_missed(self) -> None:
        client = make()
        pause(client, 1000.0, paused=True)
        last = 1000.0
        for _ in range(50):
            deadline = client.connection.next_deadline()
            assert deadline is not None
            assert deadline <= last + 100.0
            assert pass_to(client, deadline - 0.1) == ""
            assert pass_to(client, deadline) == PINGREQ
            last = deadline
            assert client.connection.state is ConnectionState.OPEN
        assert last > 5000.0

    def test_what_is_sent_needs_no_ping(self) -> None:
        client = make()
        pause(client, 1000.0, paused=True)
        client.publish()
        assert pass_to(client, 1080.0) == "30 04 00 01 74 00"
        # Nobody knows how silent the server is: only this side's silence counts.
        assert pass_to(client, 1169.9) == ""
        assert pass_to(client, 1170.0) == PINGREQ

    def test_ping_that_was_sent_before_is_not_missed(self) -> None:
        client = make()
        assert pass_to(client, 1090.0) == PINGREQ
        pause(client, 1091.0, paused=True)
        assert pass_to(client, 1179.9) == ""
        assert client.connection.state is ConnectionState.OPEN
        assert pass_to(client, 1180.0) == PINGREQ

    def test_nothing_is_due_while_something_waits_to_be_sent(self) -> None:
        # It will be sent when there is room, and then it is as good as a PINGREQ.
        client = make()
        pause(client, 1000.0, paused=True)
        client.publish()
        assert client.connection.next_deadline() is None
        client.connection.handle_deadline(9000.0)
        assert client.connection.state is ConnectionState.OPEN
        client.now = 9000.0
        assert client.sent() == "30 04 00 01 74 00"
        assert client.connection.next_deadline() == 9090.0

    def test_keep_alive_0_is_none(self) -> None:
        client = Client(now=1000.0)
        pause(client, 1000.0, paused=True)
        assert client.connection.next_deadline() is None


class TestAfterwards:
    def test_silence_is_counted_from_then_on(self) -> None:
        client = make()
        pause(client, 1000.0, paused=True)
        for now in (1090.0, 1180.0, 1270.0):
            assert pass_to(client, now) == PINGREQ
        pause(client, 1300.0, paused=False)
        # The last PINGREQ awaits its answer as if it had been sent just now.
        assert client.connection.next_deadline() == 1310.0
        assert pass_to(client, 1309.9) == ""
        assert client.connection.state is ConnectionState.OPEN
        assert pass_to(client, 1310.0) == ""
        assert isinstance(client.connection.close_cause, KeepAliveTimeout)

    def test_answers_that_were_not_read_are_as_good_as_ever(self) -> None:
        client = make()
        pause(client, 1000.0, paused=True)
        for now in (1090.0, 1180.0, 1270.0):
            assert pass_to(client, now) == PINGREQ
        pause(client, 1300.0, paused=False)
        assert client.give(PINGRESP, MESSAGE, PINGRESP, PINGRESP)
        # As it was before: 90 seconds after the last that was sent, 1270.
        assert client.connection.next_deadline() == 1360.0
        assert pass_to(client, 1360.0) == PINGREQ
        assert client.connection.next_deadline() == 1370.0
        pass_to(client, 1370.0)
        assert client.connection.is_closed

    def test_without_a_ping(self) -> None:
        client = make()
        pause(client, 1010.0, paused=True)
        client.publish()
        client.now = 1050.0
        client.sent()
        pause(client, 1060.0, paused=False)
        # It has sent at 1050, and can have heard nothing since 1010.
        assert client.connection.next_deadline() == 1140.0
        client.publish()
        client.now = 1100.0
        client.sent()
        assert client.connection.next_deadline() == 1150.0
        assert pass_to(client, 1150.0) == PINGREQ

    def test_short_pauses_do_not_hide_a_silent_server_from_a_ping(self) -> None:
        client = make()
        assert pass_to(client, 1090.0) == PINGREQ
        pause(client, 1095.0, paused=True)
        pause(client, 1096.0, paused=False)
        assert client.connection.next_deadline() == 1106.0
        pass_to(client, 1106.0)
        assert isinstance(client.connection.close_cause, KeepAliveTimeout)

    def test_nothing_is_due_after_the_end(self) -> None:
        client = make()
        pause(client, 1000.0, paused=True)
        client.connection.receive_eof()
        assert client.connection.next_deadline() is None
        pause(client, 1001.0, paused=False)
        assert client.connection.next_deadline() is None


class TestRoundTrip:
    def test_unknown_before_the_first_answer(self) -> None:
        client = make()
        assert client.connection.ping_round_trip is None
        client.give(PINGRESP)  # which answers nothing
        assert client.connection.ping_round_trip is None
        pass_to(client, 1090.0)
        client.now = 1091.0
        client.give(MESSAGE)
        assert client.connection.ping_round_trip is None

    def test_from_ping_to_answer(self) -> None:
        client = make()
        pass_to(client, 1090.0)
        client.now = 1090.25
        client.give(PINGRESP)
        assert client.connection.ping_round_trip == 0.25
        # One that nobody has asked for changes nothing.
        client.now = 1099.0
        client.give(PINGRESP)
        assert client.connection.ping_round_trip == 0.25
        pass_to(client, 1180.0)
        client.now = 1180.5
        client.give(MESSAGE, PINGRESP)
        assert client.connection.ping_round_trip == 0.5

    def test_time_before_the_ping_has_left_is_not_counted(self) -> None:
        client = make()
        client.publish("t", bytes(400_000))
        client.connection.handle_deadline(1090.0)
        for now in (1092.0, 1094.0, 1096.0, 1098.0):
            client.connection.data_to_send(now)
        assert client.connection.unsent_size == 0
        client.now = 1099.0
        client.give(PINGRESP)
        assert client.connection.ping_round_trip == 1.0

    def test_packet_that_stands_before_the_answer_is_counted(self) -> None:
        client = make()
        client.give("30 06 00 01 74 00")
        pass_to(client, 1090.0)
        client.now = 1093.0
        client.give("00")
        client.now = 1095.0
        client.give("00", PINGRESP)
        assert client.connection.ping_round_trip == 5.0


class TestSubscriptionIdentifiers:
    @pytest.mark.parametrize(
        ("properties", "expected"), [("", True), ("29 01", True), ("29 00", False)]
    )
    def test_as_the_server_says(self, properties: str, expected: bool) -> None:
        client = Client(connack(properties))
        assert client.connection.has_subscription_identifiers is expected

    @pytest.mark.parametrize("version", [V31, V311])
    def test_mqtt_3_has_none(self, version: Any) -> None:
        assert not Client(version=version).connection.has_subscription_identifiers
        assert not Client(None, version=version).connection.has_subscription_identifiers
