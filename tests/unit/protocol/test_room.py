"""Large messages that a connection lets be read to where they stay."""

from __future__ import annotations

import pytest

from mqttlite.packets import Message
from mqttlite.protocol import ConnectionState
from tests.unit.protocol.sides import Client, Server, connack

# PUBLISH of QoS 0 and 1 to "t" with a payload of 100,000 bytes, which is to follow.
LARGE = "30 a4 8d 06 00 01 74 00"
LARGE_1 = "32 a6 8d 06 00 01 74 00 {:02x} 00"


def fill(client: Client, data: bytes) -> list[object]:
    room = client.connection.room()
    assert room is not None
    room[: len(data)] = data
    client.connection.filled(len(data), client.now)
    return list(client.connection.take_received())


def test_message() -> None:
    client = Client()
    assert client.connection.room() is None
    assert client.give(LARGE) == []
    assert fill(client, b"a" * 60_000) == []
    assert fill(client, b"b" * 40_000) == [Message("t", b"a" * 60_000 + b"b" * 40_000)]
    assert client.connection.room() is None


def test_message_of_qos_1() -> None:
    client = Client()
    client.give(LARGE_1.format(7))
    (message,) = fill(client, bytes(100_000))
    assert isinstance(message, Message)
    message.ack()
    assert client.sent() == "40 02 00 07"


@pytest.mark.parametrize("count", [1, 100_000])
def test_due_is_written_before(count: int) -> None:
    client = Client(properties={"receive_maximum": 1})
    first = client.message("32 06 00 01 74 00 01 00")
    client.give(LARGE_1.format(2))
    first.ack()
    assert client.connection.unsent_size == 0
    fill(client, bytes(count))
    assert client.connection.unsent_size == 4
    assert client.connection.remarks == ()  # the second is not one too many
    assert client.sent() == "40 02 00 01"


def test_excess_is_a_fault() -> None:
    client = Client(properties={"receive_maximum": 1})
    client.give("32 06 00 01 74 00 01 00", LARGE_1.format(2))
    assert fill(client, bytes(100_000)) == []
    assert client.failure().reason_code == 0x93
    assert client.sent() == "e0 01 93"


def test_none_when_the_connection_ends() -> None:
    for end in ("disconnect", "eof"):
        client = Client()
        client.give(LARGE)
        room = client.connection.room()
        assert room is not None
        if end == "eof":
            client.connection.receive_eof()
        else:
            client.connection.disconnect()
        assert client.connection.room() is None
        room[:] = bytes(100_000)
        client.connection.filled(100_000, 0.0)
        assert client.connection.take_received() == []


def test_it_is_life() -> None:
    client = Client(connack(), now=1000.0, keep_alive=100)
    client.give(LARGE)
    client.now = 1050.0
    fill(client, b"x")
    client.publish("t")
    client.sent()
    assert client.connection.next_deadline() == 1140.0


def test_the_answer_to_a_ping_may_stand_behind_it() -> None:
    client = Client(connack(), now=1000.0, keep_alive=100)
    client.give(LARGE)
    client.now = 1090.0
    client.connection.handle_deadline(1090.0)
    assert client.sent() == "c0 00"
    assert client.connection.next_deadline() == 1100.0
    for now in (1099.0, 1108.0, 1117.0):
        client.now = now
        assert fill(client, bytes(10_000)) == []
        assert client.connection.next_deadline() == now + 10.0
    client.now = 1126.0
    assert len(fill(client, bytes(70_000))) == 1
    client.now = 1127.0
    client.give("d0 00")
    assert client.connection.ping_round_trip == 37.0


def test_it_is_life_for_longer_than_the_keep_alive() -> None:
    client = Client(connack(), now=1000.0, keep_alive=10)
    client.give(LARGE)
    for now in (1009.0, 1018.0, 1027.0, 1036.0):
        client.now = now
        assert fill(client, bytes(1000)) == []
        client.connection.handle_deadline(now)
        assert client.sent() == "c0 00"  # of which none is answered
    assert client.connection.state is ConnectionState.OPEN


def test_behind_connack() -> None:
    client = Client(None)
    assert client.give(connack(), LARGE)  # CONNACK
    assert fill(client, bytes(100_000)) == [Message("t", bytes(100_000))]


def test_behind_connack_while_the_owner_waits() -> None:
    client = Client(None, waits=True)
    client.give(connack(), LARGE)
    assert fill(client, bytes(100_000)) == []
    client.connection.open()
    client.connection.receive_early()
    assert client.connection.take_received() == [Message("t", bytes(100_000))]


def test_before_connack_it_is_a_fault_with_its_head() -> None:
    client = Client(None)
    client.give(LARGE)
    assert client.connection.state is ConnectionState.CLOSING
    assert client.connection.room() is None


def test_server() -> None:
    server = Server()
    server.give(LARGE)
    room = server.connection.room()
    assert room is not None
    room[:] = b"z" * 100_000
    server.connection.filled(100_000, 0.0)
    assert server.connection.take_received() == [Message("t", b"z" * 100_000)]


def test_tracer() -> None:
    seen: list[object] = []
    client = Client(tracer=lambda *each: seen.append(each))
    client.give(LARGE)
    seen.clear()
    (message,) = fill(client, bytes(100_000))
    assert seen == [("<", message)]
