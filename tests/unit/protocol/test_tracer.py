"""The tracer: every packet that comes or goes is told, once, in order."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.enums import ProtocolVersion
from mqttlite.errors import UsageError
from mqttlite.message import Message
from mqttlite.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionOptions,
    Unsuback,
    Unsubscribe,
)
from mqttlite.protocol import Outgoing, Session
from tests.unit.protocol.sides import ALL, V5, V311, Client, connack

QOS_1 = "32 06 00 01 74 00 {:02x} 00"
QOS_2 = "34 06 00 01 74 00 {:02x} 00"


class Trace:
    """A client whose packets are noted."""

    def __init__(self, answer: str | None = "", **arguments: Any) -> None:
        self._told: list[tuple[str, Packet]] = []
        self.client = Client(answer, tracer=lambda *each: self._told.append(each), **arguments)

    def told(self) -> list[tuple[str, Packet]]:
        """What was told since the last time."""
        told, self._told[:] = list(self._told), []
        return told


@pytest.mark.parametrize("version", ALL)
def test_connect_and_connack(version: ProtocolVersion) -> None:
    trace = Trace(version=version)
    (out, connect), (into, answer) = trace.told()
    assert (out, into) == (">", "<")
    assert connect == Connect("c", version=version)
    assert isinstance(answer, Connack)


def test_connect_is_told_when_it_is_written() -> None:
    trace = Trace(None)
    assert trace.told() == [(">", Connect("c"))]
    trace.client.sent()
    assert trace.told() == []


def test_messages_of_this_side() -> None:
    trace = Trace()
    client = trace.client
    trace.told()
    client.publish("t", b"0", 0, content_type="c")
    client.publish("t", b"1", 1)
    client.publish("t", b"2", 2)
    assert trace.told() == [
        (">", Message("t", b"0", properties={"content_type": "c"})),
        (">", Message("t", b"1", 1, packet_id=1)),
        (">", Message("t", b"2", 2, packet_id=2)),
    ]
    client.give("40 02 00 01", "50 02 00 02")
    client.give("70 02 00 02")
    told = trace.told()
    assert [each for each in told if each[0] == "<"] == [
        ("<", Puback(1)),
        ("<", Pubrec(2)),
        ("<", Pubcomp(2)),
    ]
    assert [each for each in told if each[0] == ">"] == [(">", Pubrel(2))]
    # An answer comes after what it answers.
    assert told.index(("<", Pubrec(2))) < told.index((">", Pubrel(2)))
    assert told[-1] == ("<", Pubcomp(2))


@pytest.mark.parametrize("version", [V311, V5])
def test_messages_of_the_server(version: ProtocolVersion) -> None:
    spare = "00" if version == V5 else ""
    trace = Trace(version=version)
    client = trace.client
    trace.told()
    length = 6 if spare else 5
    received = client.give(
        f"31 0{4 if spare else 3} 00 01 74 {spare}",
        f"32 0{length} 00 01 74 00 01 {spare}",
        f"34 0{length} 00 01 74 00 02 {spare}",
    )
    assert trace.told() == [
        ("<", Message("t", b"", retain=True)),
        ("<", Message("t", b"", 1, packet_id=1)),
        ("<", Message("t", b"", 2, packet_id=2)),
    ]
    for message in reversed(received):
        message.ack()
    assert client.sent() == "40 02 00 01 50 02 00 02"
    assert trace.told() == [(">", Puback(1)), (">", Pubrec(2))]
    client.give("62 02 00 02")
    assert trace.told() == [("<", Pubrel(2)), (">", Pubcomp(2))]
    # Nothing on the wire is other than without it.
    assert client.sent() == "70 02 00 02"


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_was_acknowledged_before_is_told_before(qos: int) -> None:
    trace = Trace()
    client = trace.client
    for message in client.give(QOS_1.format(1), QOS_2.format(2)):
        message.ack()
    trace.told()
    client.publish("t", b"m", qos)
    assert trace.told() == [
        (">", Puback(1)),
        (">", Pubrec(2)),
        (">", Message("t", b"m", qos, packet_id=1 if qos else 0)),
    ]
    assert client.sent().startswith("40 02 00 01 50 02 00 02 3")


def test_requests() -> None:
    trace = Trace()
    client = trace.client
    trace.told()
    client.connection.subscribe([("f", SubscriptionOptions(1))])
    client.connection.unsubscribe(["f"])
    client.give("90 04 00 01 00 01", "b0 04 00 02 00 00")
    assert trace.told() == [
        (">", Subscribe(1, [("f", SubscriptionOptions(1))])),
        (">", Unsubscribe(2, ["f"])),
        ("<", Suback(1, [1])),
        ("<", Unsuback(2, [0])),
    ]


def test_pings() -> None:
    trace = Trace(keep_alive=100)
    trace.told()
    trace.client.connection.handle_deadline(90.0)
    trace.client.give("d0 00")
    assert trace.told() == [(">", Pingreq()), ("<", Pingresp())]


def test_authentication() -> None:
    trace = Trace(None, properties={"authentication_method": "M"})
    trace.told()
    trace.client.give("f0 06 18 04 15 00 01 4d")
    trace.client.connection.authenticate(b"d")
    properties: Any = {"authentication_method": "M", "authentication_data": b"d"}
    assert trace.told() == [
        ("<", Auth(0x18, {"authentication_method": "M"})),
        (">", Auth(0x18, properties)),
    ]


def test_goodbye() -> None:
    trace = Trace()
    trace.told()
    trace.client.connection.disconnect(4)
    trace.client.connection.disconnect()
    assert trace.told() == [(">", Disconnect(4))]
    trace = Trace()
    trace.told()
    trace.client.give("e0 01 8b")
    assert trace.told() == [("<", Disconnect(0x8B))]


def test_what_breaks_the_protocol_is_told_with_the_answer() -> None:
    trace = Trace()
    trace.told()
    trace.client.give("40 02 00 07")
    assert trace.told() == [("<", Puback(7)), (">", Disconnect(0x82))]


def test_what_comes_before_bytes_that_are_no_packet_is_told() -> None:
    trace = Trace()
    trace.told()
    trace.client.give(QOS_1.format(1), "00 00")
    assert trace.told() == [("<", Message("t", b"", 1, packet_id=1)), (">", Disconnect(0x81))]


def test_nothing_is_told_of_half_a_packet() -> None:
    trace = Trace()
    trace.told()
    trace.client.give("32 06 00 01")
    assert trace.told() == []
    trace.client.give("74 00 01 00")
    assert trace.told() == [("<", Message("t", b"", 1, packet_id=1))]


def test_what_is_sent_again_is_told_as_such() -> None:
    client = Client()
    client.publish("a", b"x", 1, content_type="c")
    client.publish("b", b"y", 2)
    client.publish("c", b"z", 2)
    client.give("50 02 00 03")
    trace = Trace(connack(session_present=True), session=client.session, clean_start=False)
    trace.told()
    trace.client.connection.resume()
    assert trace.told() == [
        (">", Message("a", b"x", 1, dup=True, packet_id=1, properties={"content_type": "c"})),
        (">", Message("b", b"y", 2, dup=True, packet_id=2)),
        (">", Pubrel(3)),
    ]


def test_what_waits_for_quota_is_told_when_it_goes() -> None:
    session = Session()
    client = Client(session=session)
    client.publish("a", b"", 1)
    client.publish("b", b"", 1)
    answer = connack("21 00 01", session_present=True)
    trace = Trace(answer, session=session, clean_start=False)
    trace.client.connection.resume()
    first = Message("a", b"", 1, dup=True, packet_id=1)
    second = Message("b", b"", 1, dup=True, packet_id=2)
    assert trace.told()[2:] == [(">", first)]
    trace.client.give("40 02 00 01")
    assert trace.told() == [("<", Puback(1)), (">", second)]


def test_refused_messages_are_told_nothing_of() -> None:
    trace = Trace(connack("24 00 27 00 00 00 14"))
    trace.told()
    refused = (Outgoing("t", b"", 1), Outgoing("t", bytes(100)), Outgoing("#", b""))
    for outgoing in refused:
        with pytest.raises(UsageError):
            trace.client.connection.publish(outgoing)
    assert trace.told() == []


def test_message_with_an_alias_is_told_by_its_name() -> None:
    trace = Trace(connack("22 00 0a"), maximum_own_aliases=10)
    trace.told()
    for _ in range(3):
        trace.client.publish("t", b"x")
    assert [packet.topic for _, packet in trace.told() if isinstance(packet, Message)] == ["t"] * 3


@pytest.mark.parametrize("end", ["disconnect", "receive_eof"])
def test_what_cannot_be_sent_any_more_is_not_told(end: str) -> None:
    trace = Trace()
    messages = trace.client.give(QOS_1.format(1), QOS_2.format(2))
    getattr(trace.client.connection, end)()
    trace.client.sent()
    trace.told()
    for message in messages:
        message.ack()
    assert trace.client.sent() == ""
    assert trace.told() == []


def test_what_was_left_out_of_a_packet_is_not_told() -> None:
    trace = Trace(connack("27 00 00 00 0a"))
    trace.told()
    trace.client.message(QOS_1.format(1)).ack(0x87, reason_string="too long for ten bytes")
    assert "6f 6e 67" not in trace.client.sent()
    (_, answer) = trace.told()[-1]
    assert isinstance(answer, Puback)
    assert not answer.properties
