"""The client's keep alive: PINGREQ in time, and how long its answer is awaited (rule 23)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.enums import ClosedBy
from mqttlite.errors import KeepAliveTimeout
from mqttlite.protocol import ConnectionState
from tests.behaviour import rule
from tests.conformance.conforms import conforms
from tests.unit.protocol.sides import Client, connack, receipt

PINGREQ = "c0 00"
PINGRESP = "d0 00"
MESSAGE = "30 04 00 01 74 00"


def make(properties: str = "", keep_alive: int = 100) -> Client:
    """A connection with a keep alive of 100 seconds, open at 1000."""
    return Client(connack(properties), now=1000.0, keep_alive=keep_alive)


def pass_to(client: Client, now: float) -> str:
    """Let time pass; what is sent then."""
    client.now = now
    client.connection.handle_deadline(now)
    return client.sent()


def test_no_deadline_before_connack() -> None:
    assert Client(None, keep_alive=100).connection.next_deadline() is None


def test_keep_alive_0_is_none() -> None:
    client = make(keep_alive=0)
    assert client.connection.next_deadline() is None
    assert pass_to(client, 1e9) == ""
    assert client.connection.state is ConnectionState.OPEN


def test_ping_before_the_keep_alive_ends() -> None:
    client = make()
    assert client.connection.next_deadline() == 1090.0
    assert pass_to(client, 1089.9) == ""
    assert pass_to(client, 1090.0) == PINGREQ
    assert pass_to(client, 1095.0) == ""


def test_answer_begins_it_anew() -> None:
    client = make()
    pass_to(client, 1090.0)
    assert client.connection.next_deadline() == 1100.0
    client.now = 1091.0
    assert client.give(PINGRESP) == []
    assert client.connection.next_deadline() == 1180.0  # PINGREQ was sent at 1090
    assert pass_to(client, 1180.0) == PINGREQ


@rule(23)
def test_no_answer() -> None:
    client = make()
    pass_to(client, 1090.0)
    assert pass_to(client, 1099.9) == ""
    assert client.connection.state is ConnectionState.OPEN
    assert pass_to(client, 1100.0) == ""  # nobody would hear a DISCONNECT
    assert client.connection.is_closed
    cause = client.connection.close_cause
    assert isinstance(cause, KeepAliveTimeout)
    assert cause.by is ClosedBy.CLIENT
    assert "10.0 seconds" in str(cause)
    assert client.connection.next_deadline() is None
    assert pass_to(client, 2000.0) == ""


def test_ping_timeout_is_chosen_by_the_owner() -> None:
    client = Client(now=0.0, keep_alive=100, ping_timeout=3.0)
    pass_to(client, 90.0)
    assert client.connection.next_deadline() == 93.0


@rule(23)
def test_ping_when_only_this_side_is_silent() -> None:
    # [MQTT-3.1.2-20]: whatever comes in.
    client = make()
    for now in range(1010, 1090, 10):
        client.now = now
        client.give(MESSAGE)
    assert client.connection.next_deadline() == 1090.0
    assert pass_to(client, 1090.0) == PINGREQ


@rule(23)
def test_ping_when_only_the_server_is_silent() -> None:
    # Whatever goes out: it may vanish.
    client = make()
    for now in range(1010, 1090, 10):
        client.now = now
        client.publish()
        client.sent()
    assert client.connection.next_deadline() == 1090.0
    assert pass_to(client, 1090.0) == PINGREQ


def test_traffic_both_ways_needs_no_ping() -> None:
    client = make()
    for now in range(1010, 1500, 10):
        client.publish()
        assert pass_to(client, now) == "30 04 00 01 74 00"
        client.give(MESSAGE)
    assert client.connection.next_deadline() == 1490.0 + 90.0


def test_something_else_than_the_answer_is_life_for_a_while() -> None:
    client = make()
    pass_to(client, 1090.0)
    client.now = 1095.0
    client.give(MESSAGE)
    assert client.connection.next_deadline() == 1105.0
    # But not for longer than a keep alive: a server that answers no ping is no server.
    for now in range(1100, 1190, 5):
        # It wants to hear from this side in the meantime.
        assert pass_to(client, now) == (PINGREQ if now == 1180 else "")
        client.give(MESSAGE)
    assert client.connection.next_deadline() == 1190.0
    pass_to(client, 1190.0)
    assert isinstance(client.connection.close_cause, KeepAliveTimeout)


def test_short_keep_alive_leaves_the_answer_its_time() -> None:
    client = make(keep_alive=1)
    pass_to(client, 1000.9)
    client.now = 1005.0
    client.give(MESSAGE)
    assert pass_to(client, 1005.0) == PINGREQ
    while client.connection.state is ConnectionState.OPEN:
        deadline = client.connection.next_deadline()
        assert deadline is not None
        assert pass_to(client, deadline) in (PINGREQ, "")
    assert client.now == 1010.9


@rule(23)
def test_long_packet_from_the_server_is_life() -> None:
    client = make()
    client.give("30 ff ff 7f 00 01 74 00")
    assert pass_to(client, 1090.0) == PINGREQ
    for now in range(1095, 3000, 5):
        client.now = now
        client.give("00")
        assert pass_to(client, now) == ("" if (now - 1090) % 90 else PINGREQ)
        assert client.connection.state is ConnectionState.OPEN
    # It has stopped.
    assert client.connection.next_deadline() == 2995.0 + 10.0
    pass_to(client, 3005.0)
    assert client.connection.is_closed


@rule(23)
def test_long_packet_to_the_server_is_life() -> None:
    client = make()
    client.publish("t", bytes(20_000_000))
    now = 1000.0
    pings = 0
    while client.connection.unsent_size:
        now += 5.0
        client.connection.handle_deadline(now)
        assert client.connection.state is ConnectionState.OPEN
        pings += bytes(client.connection.data_to_send(now)).endswith(b"\xc0\0")
    assert now > 1700.0
    assert pings == 1
    # Only now, when it has left, the answer can come.
    assert client.connection.next_deadline() == now + 10.0


def test_stuck_transfer_to_the_server_is_death() -> None:
    client = make()
    client.publish("t", bytes(10_000_000))
    client.connection.data_to_send(1001.0)
    client.connection.handle_deadline(1091.0)
    assert client.connection.next_deadline() == 1101.0
    client.connection.handle_deadline(1101.0)
    assert isinstance(client.connection.close_cause, KeepAliveTimeout)


def test_acknowledgement_that_waits_for_its_turn_is_not_sent() -> None:
    client = make()
    _, second = client.give("32 06 00 01 74 00 01 00", "32 06 00 01 74 00 02 00")
    for now in (1050.0, 1080.0):
        client.now = now
        second.ack()
        assert client.give(MESSAGE)
        assert client.sent() == ""
    # Nothing has left since CONNECT: the server is to hear something in time.
    assert client.connection.next_deadline() == 1090.0
    assert pass_to(client, 1090.0) == PINGREQ


def test_message_that_is_left_to_be_delivered_again_is_not_answered() -> None:
    client = Client(
        connack(), now=1000.0, keep_alive=100, properties={"session_expiry_interval": 9}
    )
    first = client.message("32 06 00 01 74 00 01 00")
    client.now = 1050.0
    receipt(first).abandon()
    assert client.sent() == ""
    assert client.give(MESSAGE)
    assert client.connection.next_deadline() == 1090.0


@conforms("5.0", "MQTT-3.1.2-21", "MQTT-3.2.2-21")
@rule(23)
def test_server_keep_alive_wins() -> None:
    # [MQTT-3.1.2-21]
    client = make("13 00 0a")
    assert client.connection.keep_alive == 10
    assert client.connection.next_deadline() == 1009.0


def test_server_keep_alive_0_turns_it_off() -> None:
    assert make("13 00 00").connection.next_deadline() is None


def test_server_keep_alive_turns_it_on() -> None:
    assert make("13 00 0a", keep_alive=0).connection.next_deadline() == 1009.0


def test_none_after_disconnect() -> None:
    client = make()
    client.connection.disconnect()
    assert client.connection.next_deadline() is None


def test_unexpected_pingresp_does_no_harm() -> None:
    client = make()
    assert client.give(PINGRESP, PINGRESP) == []
    assert client.connection.state is ConnectionState.OPEN
    assert client.connection.next_deadline() == 1090.0


@pytest.mark.parametrize("late", [1090.0, 5000.0])
def test_late_alarm_still_pings_before_it_gives_up(late: float) -> None:
    # The machine was asleep.
    client = make()
    assert pass_to(client, late) == PINGREQ
    assert client.connection.state is ConnectionState.OPEN
    assert client.connection.next_deadline() == late + 10.0


@pytest.mark.parametrize("keep_alive", [1, 5, 8])
def test_answer_that_is_late_does_not_make_this_side_silent(keep_alive: int) -> None:
    # Its time is longer than the keep alive: the server hears something all the same.
    client = make(keep_alive=keep_alive)
    last = now = 1000.0
    while client.connection.state is ConnectionState.OPEN:
        deadline = client.connection.next_deadline()
        assert deadline is not None
        assert deadline > now
        now = deadline
        if pass_to(client, now):
            assert now - last <= keep_alive
            last = now
    assert now == pytest.approx(1000.0 + 0.9 * keep_alive + 10.0)


class Life:
    """A connection whose time passes without a hitch, and what both sides have said in it."""

    def __init__(self, keep_alive: int, ping_timeout: float) -> None:
        self.client = Client(keep_alive=keep_alive, ping_timeout=ping_timeout)
        self.keep_alive = keep_alive
        self.longest = keep_alive + ping_timeout
        self.now = self.last_sent = self.last_heard = 0.0
        self.is_inside = False

    @property
    def is_open(self) -> bool:
        return self.client.connection.state is ConnectionState.OPEN

    def take(self) -> None:
        """Send what there is; see that the time of silence was not too long."""
        self.client.now = self.now
        if self.client.sent():
            assert self.now - self.last_sent <= self.keep_alive
            self.last_sent = self.now

    def pass_to(self, then: float) -> None:
        """Let time pass; the alarms go off when they are to."""
        connection = self.client.connection
        while (deadline := connection.next_deadline()) is not None and deadline <= then:
            self.now = max(self.now, deadline)
            connection.handle_deadline(self.now)
            self.take()
            following = connection.next_deadline()
            assert following is None or following > self.now
        self.now = then

    def hear(self, packet: str) -> None:
        self.client.now = self.last_heard = self.now
        self.client.give(packet)
        self.take()

    def do(self, what: str) -> None:
        """One thing that may happen. In a long packet nothing else can come."""
        if what == "send":
            self.client.publish()
            self.take()
        elif self.is_inside:
            self.hear("00")
        elif what == "long":
            self.hear("30 ff ff 7f 00 01 74 00")
            self.is_inside = True
        else:
            self.hear(PINGRESP if what == "answer" else MESSAGE)


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 100),
    st.integers(1, 50),
    st.lists(
        st.tuples(
            st.integers(0, 60), st.sampled_from(["message", "answer", "send", "long", "send"])
        ),
        max_size=60,
    ),
)
def test_neither_side_is_ever_silent_for_long(
    keep_alive: int, ping_timeout: int, events: list[tuple[int, str]]
) -> None:
    life = Life(keep_alive, ping_timeout)
    for delay, what in events:
        life.pass_to(life.now + delay)
        if not life.is_open:
            break
        assert life.now - life.last_sent <= keep_alive
        life.do(what)
    if life.is_open:
        # Whatever was before, a server that says nothing any more is noticed.
        life.pass_to(life.last_heard + life.longest)
    assert isinstance(life.client.connection.close_cause, KeepAliveTimeout)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["message", "send"])), max_size=60),
)
def test_server_that_answers_every_ping_is_never_given_up(
    keep_alive: int, events: list[tuple[int, str]]
) -> None:
    client = Client(keep_alive=keep_alive)
    now = 0.0
    for delay, what in events:
        then = now + delay
        while (deadline := client.connection.next_deadline()) is not None and deadline <= then:
            now = client.now = deadline
            client.connection.handle_deadline(now)
            if PINGREQ in client.sent():
                # At the last moment.
                client.now = now + 9.99
                then = max(then, client.now)
                while (other := client.connection.next_deadline()) and other <= client.now:
                    client.connection.handle_deadline(other)
                    client.sent()
                client.give(PINGRESP)
                now = client.now
        now = client.now = then
        if what == "send":
            client.publish()
            client.sent()
        else:
            client.give(MESSAGE)
        assert client.connection.state is ConnectionState.OPEN
